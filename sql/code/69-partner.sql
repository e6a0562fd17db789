-- Partners of a program: their configuration, what their roles may see, and points that change programs.

CREATE OR REPLACE FUNCTION loyalty.check_partner(program text, partner text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF partner IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.partner p WHERE p.program = check_partner.program AND p.name = check_partner.partner) THEN
    RAISE EXCEPTION 'program "%" has no partner "%"', program, partner
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.partner lists the partners.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_partner(text, text) IS 'raise LY017 unless the program has this partner';
REVOKE ALL ON FUNCTION loyalty.check_partner(text, text) FROM PUBLIC;

-- A partner that somebody named, now or before, is in the settlement of past months.
CREATE OR REPLACE FUNCTION loyalty.config_partner() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('partner', OLD.name, OLD.program,
      EXISTS (SELECT FROM loyalty.source s WHERE s.program = OLD.program AND s.partner = OLD.name
              UNION ALL SELECT FROM loyalty.rule r WHERE r.program = OLD.program AND r.partner = OLD.name
              UNION ALL SELECT FROM loyalty.reward w WHERE w.program = OLD.program AND w.partner = OLD.name
              UNION ALL SELECT FROM loyalty.config_history h
                WHERE h.config IN ('source', 'rule', 'reward') AND h.former ->> 'program' = OLD.program AND h.former ->> 'partner' = OLD.name),
      'is named by sources, rules or rewards');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('partner', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_finite('issue_price', NEW.issue_price);
  PERFORM loyalty.check_finite('burn_price', NEW.burn_price);
  IF TG_OP = 'UPDATE' AND (NEW.currency, NEW.money_decimals) <> (OLD.currency, OLD.money_decimals) THEN
    RAISE EXCEPTION 'currency and money_decimals of a partner cannot be changed'
      USING ERRCODE = 'LY017', HINT = 'Settled months would change: disable this partner and write another.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_partner() IS 'trigger: checks a partner';
REVOKE ALL ON FUNCTION loyalty.config_partner() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_exchange_rate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('exchange_rate', OLD.name, OLD.program, loyalty.exchanged_at(OLD.id));
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('exchange_rate', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_program(NEW.to_program);
  IF NEW.program = NEW.to_program THEN
    RAISE EXCEPTION 'to_program is the program itself' USING ERRCODE = 'LY017', HINT = 'Points are exchanged for those of another program.';
  END IF;
  PERFORM loyalty.check_finite('rate', NEW.rate);
  PERFORM loyalty.check_finite('minimum', NEW.minimum);
  PERFORM loyalty.check_finite('step', NEW.step);
  IF TG_OP = 'UPDATE' AND NEW.to_program <> OLD.to_program AND EXISTS (SELECT FROM loyalty.program p WHERE p.name = OLD.to_program) THEN
    RAISE EXCEPTION 'to_program of an exchange_rate cannot be changed'
      USING ERRCODE = 'LY017', HINT = 'Disable this one and write another.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_exchange_rate() IS 'trigger: checks an exchange rate';
REVOKE ALL ON FUNCTION loyalty.config_exchange_rate() FROM PUBLIC;

-- Whoever configures need not be able to read what members did.
CREATE OR REPLACE FUNCTION loyalty.exchanged_at(rate_id integer) RETURNS boolean
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.exchanged_at(integer) IS 'has anybody exchanged points at this rate';
REVOKE ALL ON FUNCTION loyalty.exchanged_at(integer) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.exchanged_at_as_owner(rate_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM loyalty.exchange e WHERE e.rate_id = exchanged_at_as_owner.rate_id);
END $$;
COMMENT ON FUNCTION loyalty.exchanged_at_as_owner(integer) IS 'the body of exchanged_at()';
REVOKE ALL ON FUNCTION loyalty.exchanged_at_as_owner(integer) FROM PUBLIC;

-- ---- exchange ----

-- Of several rates that are open the one that started last counts.
CREATE OR REPLACE FUNCTION loyalty.exchange_rate_at(from_program text, to_program text, at timestamptz, points numeric)
RETURNS TABLE (rate_id integer, rate numeric, given numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  r record;
BEGIN
  SELECT x.id, x.rate, x.minimum, x.step INTO r FROM loyalty.exchange_rate x
  WHERE x.program = from_program AND x.to_program = exchange_rate_at.to_program AND x.enabled AND x.starts_at <= at AND x.ends_at > at
  ORDER BY x.starts_at DESC, x.id LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'points of program "%" cannot be exchanged for those of program "%"', from_program, to_program
      USING ERRCODE = 'LY005', DETAIL = format('There is no rate at %s.', at), HINT = 'SELECT * FROM loyalty.exchange_rate lists the rates.';
  ELSIF points IS NULL OR points IN ('NaN', 'Infinity', '-Infinity') OR points <= 0 THEN
    RAISE EXCEPTION 'points is %', coalesce(points::text, 'null') USING ERRCODE = 'LY017', HINT = 'It is a number above 0.';
  ELSIF points < r.minimum THEN
    RAISE EXCEPTION 'points is %', trim_scale(points) USING ERRCODE = 'LY008', DETAIL = format('At least %s are exchanged.', r.minimum);
  ELSIF points % r.step <> 0 THEN
    RAISE EXCEPTION 'points is %', trim_scale(points) USING ERRCODE = 'LY008', DETAIL = format('Points are exchanged in multiples of %s.', r.step);
  END IF;
  rate_id := r.id;
  rate := r.rate;
  SELECT trim_scale(trunc(points * r.rate, p.decimals)) INTO given FROM loyalty.program p WHERE p.name = exchange_rate_at.to_program;
  IF given = 0 THEN
    RAISE EXCEPTION '% points are worth nothing in program "%"', trim_scale(points), to_program
      USING ERRCODE = 'LY008', DETAIL = format('The rate is %s, and what comes is cut to the points of that program.', r.rate), HINT = 'Exchange more at once.';
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.exchange_rate_at(text, text, timestamptz, numeric) IS 'the rate that counts, and what comes for so many points; raises LY005, LY008';
REVOKE ALL ON FUNCTION loyalty.exchange_rate_at(text, text, timestamptz, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.exchange(member_id bigint, from_program text, to_program text, points numeric, key text DEFAULT NULL)
RETURNS TABLE (exchange_id bigint, taken numeric, given numeric, rate numeric, from_entry bigint, to_entry bigint, expires_at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.exchange(bigint, text, text, numeric, text) IS
  'change a member''s points into points of another program, at the rate of loyalty.exchange_rate, cut to the decimals of that program; they live there as its points do. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.exchange(bigint, text, text, numeric, text) FROM PUBLIC;

-- Accounts of one member are locked program by program, as everywhere.
CREATE OR REPLACE FUNCTION loyalty.exchange_as_owner(member_id bigint, from_program text, to_program text, points numeric, key text)
RETURNS TABLE (exchange_id bigint, taken numeric, given numeric, rate numeric, from_entry bigint, to_entry bigint, expires_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.member_now(exchange_as_owner.member_id);
  f loyalty.program;
  t loyalty.program;
  p loyalty.program;
  arguments json;
  former jsonb;
  at timestamptz;
  rate_id integer;
  this_exchange bigint;
BEGIN
  PERFORM loyalty.check_program(exchange_as_owner.from_program);
  PERFORM loyalty.check_program(exchange_as_owner.to_program);
  SELECT x.* INTO f FROM loyalty.program x WHERE x.name = exchange_as_owner.from_program;
  SELECT x.* INTO t FROM loyalty.program x WHERE x.name = exchange_as_owner.to_program;
  IF f.id = t.id THEN
    RAISE EXCEPTION 'from_program is to_program' USING ERRCODE = 'LY017', HINT = 'Points are exchanged for those of another program.';
  END IF;
  arguments := json_build_object('to_program', t.name, 'points', trim_scale(exchange_as_owner.points));
  FOR p IN SELECT x.* FROM loyalty.program x WHERE x.id IN (f.id, t.id) ORDER BY x.id LOOP
    IF p.id = t.id AND t.enrollment = 'automatic'
       AND EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = who AND a.program_id = f.id)
       AND NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = who AND a.program_id = t.id) THEN
      PERFORM FROM loyalty.enroll(who, t.name);
    END IF;
    PERFORM loyalty.lock_accounts(p.id, ARRAY[who]);
  END LOOP;
  former := loyalty.find_call(who, f.id, exchange_as_owner.key, 'exchange', arguments);
  IF former IS NULL THEN
    PERFORM loyalty.check_active(who, f.id), loyalty.check_active(who, t.id);
    at := loyalty.account_instant(who, f.id);
    SELECT o.rate_id, o.rate, o.given INTO rate_id, rate, given FROM loyalty.exchange_rate_at(f.name, t.name, at, exchange_as_owner.points) o;
    this_exchange := nextval(pg_get_serial_sequence('loyalty.exchange', 'exchange_id'));
    taken := trim_scale(exchange_as_owner.points);
    SELECT a.entry_no INTO from_entry FROM loyalty.adjust(who, -taken, format('exchange %s: for %s of %s', this_exchange, given, t.name), f.name) a;
    SELECT a.entry_no, a.expires_at INTO to_entry, expires_at
    FROM loyalty.adjust(who, given, format('exchange %s: for %s of %s', this_exchange, taken, f.name), t.name) a;
    INSERT INTO loyalty.exchange (member_id, exchange_id, from_program_id, to_program_id, rate_id, rate, taken, given, from_entry, to_entry, key, at, posted_at, by, set_role)
    VALUES (who, this_exchange, f.id, t.id, rate_id, rate, taken * 10000, given * 10000, from_entry, to_entry, exchange_as_owner.key, at,
            statement_timestamp(), session_user, loyalty.caller());
    PERFORM loyalty.keep_call(who, f.id, exchange_as_owner.key, 'exchange', arguments, at, jsonb_build_object('exchange_id', this_exchange));
  ELSE
    this_exchange := (former ->> 'exchange_id')::bigint;
  END IF;
  RETURN QUERY
  SELECT e.exchange_id, trim_scale(e.taken * 0.0001), trim_scale(e.given * 0.0001), e.rate, e.from_entry, e.to_entry, i.expires_at
  FROM loyalty.exchange e
  LEFT JOIN loyalty.intervention i ON i.member_id = e.member_id AND i.program_id = e.to_program_id AND i.entry_no = e.to_entry
  WHERE e.member_id = who AND e.exchange_id = this_exchange;
END $$;
COMMENT ON FUNCTION loyalty.exchange_as_owner(bigint, text, text, numeric, text) IS 'the body of exchange()';
REVOKE ALL ON FUNCTION loyalty.exchange_as_owner(bigint, text, text, numeric, text) FROM PUBLIC;

-- ---- what a partner's role sees: rows of the partners whose role the caller has, and no member ----

CREATE OR REPLACE FUNCTION loyalty.partners_of(role_name text) RETURNS TABLE (id integer, program text, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p.id, p.program, p.name FROM loyalty.partner p WHERE pg_has_role(role_name::name, p.role::oid, 'USAGE')
$$;
COMMENT ON FUNCTION loyalty.partners_of(text) IS 'partners whose rows a role sees';
REVOKE ALL ON FUNCTION loyalty.partners_of(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_settlement() RETURNS TABLE (program text, month date, partner text, currency text, issued_points numeric, clawed_back_points numeric,
  issued_money numeric, burnt_points numeric, reversed_points numeric, burnt_money numeric, net_money numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 COST 100000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_settlement() IS 'partner_settlement, the rows of the partner whose role calls';
REVOKE ALL ON FUNCTION loyalty.my_settlement() FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_settlement_as_owner() RETURNS TABLE (program text, month date, partner text, currency text, issued_points numeric, clawed_back_points numeric,
  issued_money numeric, burnt_points numeric, reversed_points numeric, burnt_money numeric, net_money numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT s.* FROM loyalty.partner_settlement s JOIN loyalty.partners_of(loyalty.caller()) o ON o.program = s.program AND o.name = s.partner
  ORDER BY s.program, s.partner, s.month;
END $$;
COMMENT ON FUNCTION loyalty.my_settlement_as_owner() IS 'the body of my_settlement()';
REVOKE ALL ON FUNCTION loyalty.my_settlement_as_owner() FROM PUBLIC;

-- Of what crosses to other partners the sums, not the names.
CREATE OR REPLACE FUNCTION loyalty.my_flow() RETURNS TABLE (program text, month date, partner text, direction text, points numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 COST 100000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_flow() IS
  'points that the calling partner funded or that were burnt with it: funded and burnt with itself (own), funded and burnt elsewhere (out), funded elsewhere and burnt with it (in)';
REVOKE ALL ON FUNCTION loyalty.my_flow() FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_flow_as_owner() RETURNS TABLE (program text, month date, partner text, direction text, points numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT f.program, f.month, o.name, d.direction, trim_scale(sum(f.points))
  FROM loyalty.partner_flow f
  JOIN loyalty.partners_of(loyalty.caller()) o ON o.program = f.program AND o.name IN (f.issuer, f.burner)
  CROSS JOIN LATERAL (SELECT CASE WHEN f.issuer = f.burner THEN 'own' WHEN f.issuer = o.name THEN 'out' ELSE 'in' END AS direction) d
  GROUP BY f.program, f.month, o.name, d.direction ORDER BY f.program, o.name, f.month, d.direction;
END $$;
COMMENT ON FUNCTION loyalty.my_flow_as_owner() IS 'the body of my_flow()';
REVOKE ALL ON FUNCTION loyalty.my_flow_as_owner() FROM PUBLIC;

-- Keys of purchases are shown to whose source it is.
CREATE OR REPLACE FUNCTION loyalty.my_awards(since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
RETURNS TABLE (program text, partner text, at timestamptz, source text, source_key text, rule text, points numeric, kept numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 COST 100000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_awards(timestamptz, timestamptz) IS
  'what the calling partner funded, purchase by purchase and rule by rule: points when granted, kept of them today; the key of a purchase at its own sources alone';
REVOKE ALL ON FUNCTION loyalty.my_awards(timestamptz, timestamptz) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_awards_as_owner(since timestamptz, until timestamptz)
RETURNS TABLE (program text, partner text, at timestamptz, source text, source_key text, rule text, points numeric, kept numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT o.program, o.name, l.at, CASE WHEN w.partner_id = o.id THEN s.name END, CASE WHEN w.partner_id = o.id THEN l.source_key END,
    coalesce(r.name, 'tier ' || t.name, 'rule ' || b.rule), b.points::numeric, coalesce(k.points::numeric, 0)
  FROM loyalty.lot l
  JOIN loyalty.program p ON p.id = l.program_id
  JOIN loyalty.source s ON s.id = l.source_id
  CROSS JOIN LATERAL loyalty.breakdown_shares(l.breakdown::loyalty.breakdown) b
  LEFT JOIN LATERAL loyalty.breakdown_shares(CASE WHEN l.kept_amount <> 0 OR l.kept_amount = l.amount THEN l.breakdown::loyalty.breakdown END,
    CASE WHEN l.kept_amount <> l.amount THEN l.kept_amount END, CASE WHEN l.kept_amount <> l.amount THEN l.amount END) k ON k.rule = b.rule AND k.own
  LEFT JOIN loyalty.partner_owns x ON x.config = 'rule' AND x.id = b.rule AND l.posted_at >= x.valid_from AND l.posted_at < x.valid_to
  LEFT JOIN loyalty.partner_owns w ON w.config = 'source' AND w.id = l.source_id AND l.posted_at >= w.valid_from AND l.posted_at < w.valid_to
  LEFT JOIN loyalty.partner_state q ON q.id = w.partner_id AND l.posted_at >= q.valid_from AND l.posted_at < q.valid_to
  JOIN loyalty.partners_of(loyalty.caller()) o
    ON o.id = CASE WHEN b.rule < 4294967296 THEN coalesce(x.partner_id, w.partner_id) WHEN q.pays_tier_bonus THEN w.partner_id END AND o.program = p.name
  LEFT JOIN loyalty.rule r ON r.id = b.rule
  LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
  WHERE l.kind = 'a' AND l.unit = 0 AND b.own AND b.points::numeric > 0 AND l.at >= since AND l.at < until
  ORDER BY l.at, s.name, l.source_key, b.rule;
END $$;
COMMENT ON FUNCTION loyalty.my_awards_as_owner(timestamptz, timestamptz) IS 'the body of my_awards()';
REVOKE ALL ON FUNCTION loyalty.my_awards_as_owner(timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_redemptions(since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
RETURNS TABLE (program text, partner text, redemption_id bigint, at timestamptz, state text, reward text, quantity integer,
  source text, source_key text, points numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000 COST 100000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_redemptions(timestamptz, timestamptz) IS
  'what was burnt with the calling partner: its rewards, and purchases at its sources that were paid with points; points: what is spent or held of it today';
REVOKE ALL ON FUNCTION loyalty.my_redemptions(timestamptz, timestamptz) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_redemptions_as_owner(since timestamptz, until timestamptz)
RETURNS TABLE (program text, partner text, redemption_id bigint, at timestamptz, state text, reward text, quantity integer,
  source text, source_key text, points numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT o.program, o.name, d.redemption_id, d.at,
    CASE WHEN d.state = 'held' AND d.held_until <= loyalty.instant() THEN 'released' ELSE d.state END,
    r.name, d.quantity, s.name, d.source_key,
    CASE WHEN d.state = 'held' AND d.held_until <= loyalty.instant() THEN 0 ELSE trim_scale(d.taken * 0.0001) END
  FROM loyalty.redemption d
  LEFT JOIN loyalty.partner_owns w ON w.config = 'reward' AND w.id = d.reward_id AND d.posted_at >= w.valid_from AND d.posted_at < w.valid_to
  LEFT JOIN loyalty.partner_owns x ON x.config = 'source' AND x.id = d.source_id AND d.posted_at >= x.valid_from AND d.posted_at < x.valid_to
  JOIN loyalty.partners_of(loyalty.caller()) o ON o.id = coalesce(w.partner_id, x.partner_id)
  LEFT JOIN loyalty.reward r ON r.id = d.reward_id
  LEFT JOIN loyalty.source s ON s.id = d.source_id
  WHERE d.at >= since AND d.at < until
  ORDER BY d.at, d.redemption_id;
END $$;
COMMENT ON FUNCTION loyalty.my_redemptions_as_owner(timestamptz, timestamptz) IS 'the body of my_redemptions()';
REVOKE ALL ON FUNCTION loyalty.my_redemptions_as_owner(timestamptz, timestamptz) FROM PUBLIC;
