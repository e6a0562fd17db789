-- Charity.  A purchase gives as long as it is kept, in proportion: its rows of loyalty.donation add up to
-- round(given × kept / most), whatever path led there.  Money is the program's, rounded half up to its decimals.

CREATE OR REPLACE FUNCTION loyalty.config_cause() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('cause', OLD.name, OLD.program, loyalty.in_ledger('cause', OLD.id), 'is named by donations');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('cause', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_finite('goal', NEW.goal);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_cause() IS 'trigger: checks a cause';
REVOKE ALL ON FUNCTION loyalty.config_cause() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_giving() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('giving', OLD.name, OLD.program, loyalty.in_ledger('giving', OLD.id), 'is named by donations');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('giving', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_word('kind', NEW.kind, 'amount', 'points', 'round_up');
  PERFORM loyalty.check_word('funded_by', NEW.funded_by, 'shop', 'member');
  PERFORM loyalty.check_finite('share', NEW.share);
  PERFORM loyalty.check_finite('step', NEW.step);
  PERFORM loyalty.check_finite('maximum', NEW.maximum);
  IF NEW.share <= 0 OR NEW.share > 1 THEN
    RAISE EXCEPTION 'share is %', NEW.share USING ERRCODE = 'LY017', HINT = 'It lies above 0 and goes up to 1: 0.05 is 5 %.';
  END IF;
  IF (NEW.kind = 'round_up') <> (NEW.step IS NOT NULL) OR (NEW.kind = 'round_up') = (NEW.share IS NOT NULL) THEN
    RAISE EXCEPTION 'share is % and step % of kind %', coalesce(NEW.share::text, 'null'), coalesce(NEW.step::text, 'null'), NEW.kind
      USING ERRCODE = 'LY017', HINT = 'round_up has a step, amount and points have a share.';
  ELSIF NEW.unit IS NOT NULL AND NEW.kind <> 'amount' THEN
    RAISE EXCEPTION 'unit is % of kind %', NEW.unit, NEW.kind
      USING ERRCODE = 'LY017', HINT = 'Kind amount can be a share of a status unit; what rounds up, or is a share of points, has none.';
  ELSIF NEW.unit IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.unit u WHERE u.program = NEW.program AND u.name = NEW.unit) THEN
    RAISE EXCEPTION 'program "%" has no status unit "%"', NEW.program, NEW.unit
      USING ERRCODE = 'LY017', HINT = 'A rule whose unit it is makes it: what of a purchase counts is what such rules award.';
  ELSIF NEW.cause IS NULL AND NOT NEW.member_chooses THEN
    RAISE EXCEPTION 'cause is missing' USING ERRCODE = 'LY017', HINT = 'Name one, or let members choose.';
  ELSIF NEW.kind = 'points' AND EXISTS (SELECT FROM loyalty.program p WHERE p.name = NEW.program AND p.point_value IS NULL) THEN
    RAISE EXCEPTION 'point_value of program "%" is missing', NEW.program
      USING ERRCODE = 'LY017', HINT = 'A share of points is worth what a point buys: UPDATE loyalty.program SET point_value = …';
  ELSIF TG_OP = 'UPDATE' THEN
    IF (NEW.kind, NEW.funded_by, NEW.unit) IS DISTINCT FROM (OLD.kind, OLD.funded_by, OLD.unit) AND loyalty.in_ledger('giving', OLD.id) THEN
      RAISE EXCEPTION 'kind, funded_by and unit of giving "%" cannot be changed', OLD.name
        USING ERRCODE = 'LY017', HINT = 'Donations name it: disable this one and write another.';
    END IF;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_giving() IS 'trigger: checks a giving';
REVOKE ALL ON FUNCTION loyalty.config_giving() FROM PUBLIC;

-- ---- causes and choices ----

CREATE OR REPLACE FUNCTION loyalty.cause_named(program text, cause text, at timestamptz) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.cause;
BEGIN
  SELECT x.* INTO c FROM loyalty.cause x WHERE x.program = cause_named.program AND x.name = cause_named.cause;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no cause "%"', program, cause
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.cause lists the causes.';
  ELSIF NOT c.enabled OR at < c.starts_at OR at >= c.ends_at THEN
    RAISE EXCEPTION 'nothing can be given to cause "%" of program "%"', cause, program
      USING ERRCODE = 'LY005', DETAIL = CASE WHEN c.enabled THEN format('It is open from %s to %s.', c.starts_at, c.ends_at) ELSE 'It is disabled.' END;
  END IF;
  RETURN c.id;
END $$;
COMMENT ON FUNCTION loyalty.cause_named(text, text, timestamptz) IS 'the id of a cause that is open at an instant; LY017, LY005';
REVOKE ALL ON FUNCTION loyalty.cause_named(text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.choose_cause(
  member_id bigint, cause text, giving text DEFAULT NULL, program text DEFAULT NULL, share numeric DEFAULT NULL, round_up numeric DEFAULT NULL,
  key text DEFAULT NULL)
RETURNS TABLE (program text, giving text, cause text, share numeric, round_up numeric, at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.choose_cause(bigint, text, text, text, numeric, numeric, text) IS
  'from now on a member gives to this cause, by one giving (with a share or step of their own where the member pays), or by all that have no choice of their own; NULL: the choice is withdrawn';
REVOKE ALL ON FUNCTION loyalty.choose_cause(bigint, text, text, text, numeric, numeric, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.choose_cause_as_owner(
  in_member bigint, in_cause text, in_giving text, in_program text, in_share numeric, in_step numeric, in_key text)
RETURNS TABLE (program text, giving text, cause text, share numeric, round_up numeric, at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  g loyalty.giving;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('cause', in_cause, 'giving', in_giving, 'share', trim_scale(in_share), 'round_up', trim_scale(in_step));
  now timestamptz;
  answer jsonb;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.name = loyalty.program_name(in_program);
  IF p.enrollment = 'automatic' THEN
    PERFORM loyalty.enroll(who, p.name);
  END IF;
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'choose_cause', arguments);
  IF answer IS NULL THEN
    SELECT x.* INTO g FROM loyalty.giving x WHERE x.program = p.name AND x.name = in_giving;
    IF in_giving IS NOT NULL AND g.id IS NULL THEN
      RAISE EXCEPTION 'program "%" has no giving "%"', p.name, in_giving
        USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.giving lists them.';
    ELSIF (in_share IS NOT NULL OR in_step IS NOT NULL) AND g.funded_by IS DISTINCT FROM 'member' THEN
      RAISE EXCEPTION 'share or round_up is given' USING ERRCODE = 'LY017', HINT = 'It is the member''s own only where giving names one that the member pays for.';
    ELSIF in_share <= 0 OR in_share > 1 OR in_share = 'NaN' OR (in_share IS NOT NULL AND g.kind = 'round_up') THEN
      RAISE EXCEPTION 'share is %', in_share USING ERRCODE = 'LY017', HINT = 'It lies above 0 and goes up to 1; round_up has none.';
    ELSIF in_step <= 0 OR in_step IN ('NaN', 'Infinity') OR (in_step IS NOT NULL AND g.kind <> 'round_up') THEN
      RAISE EXCEPTION 'round_up is %', in_step USING ERRCODE = 'LY017', HINT = 'It is a sum of money above 0, for instance 1, 5 or 10, of a giving that rounds up.';
    END IF;
    INSERT INTO loyalty.cause_choice AS c (member_id, program_id, giving_id, cause_id, share, step, at, posted_at, key, by, set_role)
    VALUES (who, p.id, g.id, CASE WHEN in_cause IS NOT NULL THEN loyalty.cause_named(p.name, in_cause, now) END, in_share, in_step, now,
            statement_timestamp(), in_key, session_user, loyalty.caller());
    answer := jsonb_build_object('program', p.name, 'giving', g.name, 'cause', in_cause, 'share', coalesce(in_share, g.share),
      'round_up', coalesce(in_step, g.step), 'at', now);
    PERFORM loyalty.keep_call(who, p.id, in_key, 'choose_cause', arguments, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (program text, giving text, cause text, share numeric, round_up numeric, at timestamptz);
END $$;
COMMENT ON FUNCTION loyalty.choose_cause_as_owner(bigint, text, text, text, numeric, numeric, text) IS 'the body of choose_cause()';
REVOKE ALL ON FUNCTION loyalty.choose_cause_as_owner(bigint, text, text, text, numeric, numeric, text) FROM PUBLIC;

-- What a purchase of a member gives: one row a giving.  A choice that names a cause that is closed counts as none.
CREATE OR REPLACE FUNCTION loyalty.givings_of(member_id bigint, program_id integer, source_id integer, occurred_at timestamptz, at timestamptz)
RETURNS TABLE (giving_id integer, cause_id integer, kind text, unit_id integer, funded_by text, share numeric, step numeric, maximum numeric)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.id, w.cause_id, g.kind, n.id, g.funded_by, coalesce(own.share, g.share), coalesce(own.step, g.step), g.maximum
  FROM loyalty.giving g
  JOIN loyalty.program p ON p.name = g.program
  LEFT JOIN loyalty.unit n ON n.program = g.program AND n.name = g.unit
  LEFT JOIN loyalty.source s ON s.program = g.program AND s.name = g.source
  LEFT JOIN LATERAL (
    SELECT c.cause_id, c.share, c.step FROM loyalty.cause_choice c
    WHERE c.member_id = givings_of.member_id AND c.program_id = p.id AND c.giving_id = g.id ORDER BY c.choice_id DESC LIMIT 1) own ON true
  LEFT JOIN LATERAL (
    SELECT c.cause_id FROM loyalty.cause_choice c
    WHERE c.member_id = givings_of.member_id AND c.program_id = p.id AND c.giving_id IS NULL ORDER BY c.choice_id DESC LIMIT 1) general ON true
  CROSS JOIN LATERAL (
    SELECT k.id AS cause_id
    FROM (VALUES (1, CASE WHEN g.member_chooses THEN own.cause_id END), (2, CASE WHEN g.member_chooses AND g.funded_by = 'shop' THEN general.cause_id END),
                 (3, CASE WHEN g.funded_by = 'shop' OR (NOT g.member_chooses AND own.cause_id IS NOT NULL)
                          THEN (SELECT x.id FROM loyalty.cause x WHERE x.program = g.program AND x.name = g.cause) END)) v (place, cause_id)
    JOIN loyalty.cause k ON k.id = v.cause_id AND k.enabled AND givings_of.at >= k.starts_at AND givings_of.at < k.ends_at
    ORDER BY v.place LIMIT 1) w
  WHERE p.id = givings_of.program_id AND g.enabled AND givings_of.occurred_at >= g.starts_at AND givings_of.occurred_at < g.ends_at
    AND (g.source IS NULL OR s.id = givings_of.source_id)
$$;
COMMENT ON FUNCTION loyalty.givings_of(bigint, integer, integer, timestamptz, timestamptz) IS 'by which givings, and to which causes, a purchase gives';
REVOKE ALL ON FUNCTION loyalty.givings_of(bigint, integer, integer, timestamptz, timestamptz) FROM PUBLIC;

-- basis: money, of kind points: points, with a unit: that unit.  Of points that members give the answer is points.
CREATE OR REPLACE FUNCTION loyalty.given_of(
  kind text, funded_by text, basis numeric, share numeric, step numeric, maximum numeric, point_value numeric, money_decimals integer, decimals integer)
RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN basis <= 0 THEN 0
    WHEN kind = 'points' AND funded_by = 'member' THEN trunc(least(basis * share, maximum / point_value), decimals)
    ELSE least(maximum, round(CASE kind WHEN 'round_up' THEN ceil(basis / step) * step - basis
                                        WHEN 'points' THEN basis * share * point_value ELSE basis * share END, money_decimals)) END
$$;
COMMENT ON FUNCTION loyalty.given_of(text, text, numeric, numeric, numeric, numeric, numeric, integer, integer) IS 'what a whole purchase gives: money, or points that a member gives';
REVOKE ALL ON FUNCTION loyalty.given_of(text, text, numeric, numeric, numeric, numeric, numeric, integer, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.giving_for(member_id bigint, amount numeric, program text DEFAULT NULL, source text DEFAULT NULL)
RETURNS TABLE (giving text, cause text, funded_by text, amount numeric)
LANGUAGE c STABLE ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.giving_for(bigint, numeric, text, text) IS
  'what a purchase of this amount would give now, for a till that asks for it: one row a giving in money; shares of points and of status units are not among them';
REVOKE ALL ON FUNCTION loyalty.giving_for(bigint, numeric, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.giving_for_as_owner(in_member bigint, in_amount numeric, in_program text, in_source text)
RETURNS TABLE (giving text, cause text, funded_by text, amount numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT g.name, c.name, o.funded_by, loyalty.given_of(o.kind, o.funded_by, in_amount, o.share, o.step, o.maximum, p.point_value, p.money_decimals, p.decimals)
  FROM loyalty.program p
  LEFT JOIN loyalty.source s ON s.program = p.name AND s.name = in_source
  CROSS JOIN LATERAL loyalty.givings_of(loyalty.member_now(in_member), p.id, s.id, loyalty.instant(), loyalty.instant()) o
  JOIN loyalty.giving g ON g.id = o.giving_id
  JOIN loyalty.cause c ON c.id = o.cause_id
  WHERE p.name = loyalty.program_name(in_program) AND o.kind <> 'points' AND o.unit_id IS NULL
  ORDER BY g.name;
END $$;
COMMENT ON FUNCTION loyalty.giving_for_as_owner(bigint, numeric, text, text) IS 'the body of giving_for()';
REVOKE ALL ON FUNCTION loyalty.giving_for_as_owner(bigint, numeric, text, text) FROM PUBLIC;

-- ---- purchases ----

-- The changes of one statement by purchase, and the newest row of each giving of it.  A purchase that was there before a giving was,
-- gives nothing by it, also when it comes back: its award is not of now.  OFFSET 0 keeps what is asked of the lots by purchase, whatever the
-- statistics say: those of a table that is being filled for the first time say that it is empty, and lots would be joined with lots.
CREATE OR REPLACE FUNCTION loyalty.follow_charity(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  members bigint[];
  donations bigint[];
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = follow_charity.program_id;
  WITH change AS (
    SELECT s.member_id, s.source_id, s.source_key, min(s.occurred_at) AS occurred_at, max(s.at) AS at, sum(s.spend) AS spend,
      sum(s.points) * 0.0001 AS points, min(s.ordinality) AS place
    FROM unnest(sales) WITH ORDINALITY s
    WHERE s.unit = 0 GROUP BY s.member_id, s.source_id, s.source_key
  ), awarded AS (
    SELECT s.member_id, s.source_id, s.source_key, s.unit, sum(s.points) * 0.0001 AS points
    FROM unnest(sales) s
    WHERE s.unit > 0 GROUP BY s.member_id, s.source_id, s.source_key, s.unit
  ), followed AS (
    SELECT c.*, l.giving_id, l.cause_id, l.funded_by, g.kind, l.share, l.step, l.maximum, l.given, l.most AS former_most,
      l.kept + CASE WHEN g.unit IS NOT NULL THEN coalesce(a.points, 0) WHEN g.kind = 'points' THEN c.points ELSE c.spend END AS kept, l.given_now
    FROM change c
    CROSS JOIN LATERAL (
      SELECT DISTINCT ON (d.giving_id) d.*, sum(d.amount) OVER w AS given_now
      FROM loyalty.donation d
      WHERE d.member_id = c.member_id AND d.source_id = c.source_id AND d.source_key = c.source_key
      WINDOW w AS (PARTITION BY d.giving_id)
      ORDER BY d.giving_id, d.donation_id DESC) l
    JOIN loyalty.giving g ON g.id = l.giving_id
    LEFT JOIN loyalty.unit n ON n.program = g.program AND n.name = g.unit
    LEFT JOIN awarded a ON a.unit = n.id AND a.member_id = c.member_id AND a.source_id = c.source_id AND a.source_key = c.source_key
  ), begun AS (
    SELECT c.*, o.giving_id, o.cause_id, o.funded_by, o.kind, o.share, o.step, o.maximum, 0::numeric AS given, 0::numeric AS former_most,
      CASE WHEN o.unit_id IS NOT NULL THEN coalesce(a.points, 0) WHEN o.kind = 'points' THEN c.points ELSE c.spend END AS kept, 0::numeric AS given_now
    FROM change c
    CROSS JOIN LATERAL loyalty.givings_of(c.member_id, p.id, c.source_id, c.occurred_at, c.at) o
    LEFT JOIN awarded a ON a.unit = o.unit_id AND a.member_id = c.member_id AND a.source_id = c.source_id AND a.source_key = c.source_key
    WHERE (c.spend > 0 OR c.points > 0) AND NOT EXISTS (SELECT FROM followed f WHERE f.member_id = c.member_id AND f.source_id = c.source_id AND f.source_key = c.source_key AND f.giving_id = o.giving_id)
      AND EXISTS (SELECT FROM loyalty.lot l WHERE l.source_id = c.source_id AND l.source_key = c.source_key AND l.member_id = c.member_id
                  AND l.at = c.at AND l.kind = 'a'
                  AND NOT EXISTS (SELECT FROM loyalty.lot e WHERE e.source_id = l.source_id AND e.source_key = l.source_key AND e.member_id = l.member_id AND e.at < l.at OFFSET 0) OFFSET 0)
  ), now AS (
    SELECT x.*, greatest(x.former_most, x.kept) AS most,
      CASE WHEN x.kept > x.former_most
           THEN loyalty.given_of(x.kind, x.funded_by, x.kept, x.share, x.step, x.maximum, p.point_value, p.money_decimals, p.decimals) ELSE x.given END AS whole
    FROM (SELECT * FROM followed UNION ALL SELECT * FROM begun) x
  ), target AS (
    SELECT n.*, n.kind = 'points' AND n.funded_by = 'member' AS in_points, CASE WHEN n.kept <= 0 THEN 0 ELSE n.whole * n.kept / n.most END AS part FROM now n
  ), written AS (
    INSERT INTO loyalty.donation AS d (member_id, program_id, cause_id, giving_id, funded_by, amount, source_id, source_key, kept, most, given,
      share, step, maximum, at, posted_at, by)
    SELECT t.member_id, p.id, t.cause_id, t.giving_id, t.funded_by, CASE WHEN t.in_points THEN 0 ELSE round(t.part, p.money_decimals) - t.given_now END,
      t.source_id, t.source_key, t.kept, t.most, t.whole, t.share, t.step, t.maximum, t.at, statement_timestamp(), session_user
    FROM target t
    ORDER BY t.place, t.giving_id
    RETURNING d.member_id, d.donation_id
  )
  SELECT array_agg(w.member_id ORDER BY w.donation_id), array_agg(w.donation_id ORDER BY w.donation_id) INTO members, donations FROM written w;
  IF EXISTS (SELECT FROM loyalty.giving g WHERE g.program = p.name AND g.kind = 'points' AND g.funded_by = 'member') THEN
    PERFORM loyalty.follow_given_points(p.id, sales);
  END IF;
  IF loyalty.tells(p.id, '{donated,donation_returned}') THEN
    PERFORM loyalty.tell(p.id, CASE WHEN d.amount > 0 THEN 'donated' ELSE 'donation_returned' END, d.member_id, d.at,
      jsonb_build_object('donation_id', d.donation_id, 'redemption_id', d.redemption_id, 'cause', c.name, 'giving', g.name, 'funded_by', d.funded_by,
        'points', trim_scale(abs(d.points) * 0.0001), 'amount', abs(d.amount), 'source_id', d.source_id, 'source_key', d.source_key))
    FROM unnest(members, donations) WITH ORDINALITY u (member_id, donation_id, place)
    JOIN loyalty.donation d ON d.member_id = u.member_id AND d.donation_id = u.donation_id
    JOIN loyalty.cause c ON c.id = d.cause_id
    JOIN loyalty.giving g ON g.id = d.giving_id
    WHERE d.amount <> 0 ORDER BY u.place;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.follow_charity(integer, loyalty.sale[]) IS 'part of follow_sales(): what purchases give to causes';
REVOKE ALL ON FUNCTION loyalty.follow_charity(integer, loyalty.sale[]) FROM PUBLIC;

-- A redemption, or several of them, last taken first, give back so many points.
CREATE OR REPLACE FUNCTION loyalty.reverse_given(member_id bigint, redemptions bigint[], points numeric) RETURNS numeric
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  r record;
  left_over numeric := points;
BEGIN
  FOR r IN SELECT d.redemption_id, d.taken * 0.0001 AS taken FROM loyalty.redemption d
           WHERE d.member_id = reverse_given.member_id AND d.redemption_id = ANY (redemptions) AND d.taken > 0 ORDER BY d.redemption_id DESC LOOP
    EXIT WHEN left_over <= 0;
    PERFORM loyalty.reverse(reverse_given.member_id, r.redemption_id, least(left_over, r.taken));
    left_over := left_over - least(left_over, r.taken);
  END LOOP;
  RETURN points - greatest(left_over, 0);
END $$;
COMMENT ON FUNCTION loyalty.reverse_given(bigint, bigint[], numeric) IS 'give back points that were given to causes; returns how many there were';
REVOKE ALL ON FUNCTION loyalty.reverse_given(bigint, bigint[], numeric) FROM PUBLIC;

-- Points that members give of their purchases: the newest row of a purchase says how many are to be given.  They are taken as far as they
-- are available then, and what is not, is not taken later.
CREATE OR REPLACE FUNCTION loyalty.follow_given_points(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p loyalty.program;
  d record;
  change numeric;
  taken bigint;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = follow_given_points.program_id;
  FOR d IN
    SELECT DISTINCT ON (s.place, n.giving_id) n.*, c.name AS cause, f.given_points, f.given_amount, f.redemptions
    FROM (SELECT u.member_id, u.source_id, u.source_key, min(u.ordinality) AS place
          FROM unnest(sales) WITH ORDINALITY u
          WHERE u.unit = 0 GROUP BY u.member_id, u.source_id, u.source_key) s
    JOIN loyalty.donation n ON n.member_id = s.member_id AND n.source_id = s.source_id AND n.source_key = s.source_key
    JOIN loyalty.giving g ON g.id = n.giving_id AND g.kind = 'points' AND g.funded_by = 'member'
    JOIN loyalty.cause c ON c.id = n.cause_id
    CROSS JOIN LATERAL (
      SELECT sum(o.points) * 0.0001 AS given_points, sum(o.amount) AS given_amount, array_agg(o.redemption_id) AS redemptions FROM loyalty.donation o
      WHERE o.member_id = n.member_id AND o.source_id = n.source_id AND o.source_key = n.source_key AND o.giving_id = n.giving_id) f
    ORDER BY s.place, n.giving_id, n.donation_id DESC
  LOOP
    taken := NULL;
    change := CASE WHEN d.kept <= 0 THEN 0 ELSE trunc(d.given * d.kept / d.most, p.decimals) END - d.given_points;
    IF change > 0 THEN
      SELECT least(change, trunc(b.available, p.decimals)) INTO change FROM loyalty.balance(d.member_id, p.name) b;
      IF change > 0 THEN
        SELECT r.redemption_id INTO taken
        FROM loyalty.redeem(d.member_id, points => change, program => p.name, reason => format('given to %s', d.cause)) r;
      END IF;
      UPDATE loyalty.donation o SET given = d.given_points + change WHERE o.member_id = d.member_id AND o.donation_id = d.donation_id AND o.kept = o.most;
    ELSIF change < 0 THEN
      change := -loyalty.reverse_given(d.member_id, d.redemptions, -change);
    END IF;
    UPDATE loyalty.donation o SET points = (change * 10000)::bigint, redemption_id = taken,
      amount = round((d.given_points + change) * p.point_value, p.money_decimals) - d.given_amount
    WHERE o.member_id = d.member_id AND o.donation_id = d.donation_id;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.follow_given_points(integer, loyalty.sale[]) IS 'part of follow_charity(): points that members give of what they earn';
REVOKE ALL ON FUNCTION loyalty.follow_given_points(integer, loyalty.sale[]) FROM PUBLIC;

-- ---- donations by hand ----

CREATE OR REPLACE FUNCTION loyalty.donate(member_id bigint, points numeric, cause text, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (donation_id bigint, redemption_id bigint, cause text, points numeric, amount numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.donate(bigint, numeric, text, text, text) IS
  'a member gives points to a cause: they are spent, the cause gets what they are worth (program.point_value). The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.donate(bigint, numeric, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.donate_as_owner(in_member bigint, in_points numeric, in_cause text, in_program text, in_key text)
RETURNS TABLE (donation_id bigint, redemption_id bigint, cause text, points numeric, amount numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('points', trim_scale(in_points), 'cause', in_cause);
  now timestamptz;
  cause_id integer;
  taken bigint;
  id bigint;
  worth numeric;
  answer jsonb;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.name = loyalty.program_name(in_program);
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'donate', arguments);
  IF answer IS NULL THEN
    cause_id := loyalty.cause_named(p.name, in_cause, now);
    IF p.point_value IS NULL THEN
      RAISE EXCEPTION 'point_value of program "%" is missing', p.name
        USING ERRCODE = 'LY017', HINT = 'What a cause gets for points is what a point buys: UPDATE loyalty.program SET point_value = …';
    END IF;
    SELECT r.redemption_id, round(r.points * p.point_value, p.money_decimals) INTO taken, worth
    FROM loyalty.redeem(who, points => in_points, program => p.name, reason => format('given to %s', in_cause)) r;
    INSERT INTO loyalty.donation AS d (member_id, program_id, cause_id, funded_by, amount, points, redemption_id, at, posted_at, by)
    VALUES (who, p.id, cause_id, 'member', worth, (in_points * 10000)::bigint, taken, now, statement_timestamp(), session_user)
    RETURNING d.donation_id INTO id;
    answer := jsonb_build_object('donation_id', id, 'redemption_id', taken, 'cause', in_cause, 'points', in_points, 'amount', worth);
    PERFORM loyalty.keep_call(who, p.id, in_key, 'donate', arguments, now, answer);
    PERFORM loyalty.tell(p.id, 'donated', who, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (donation_id bigint, redemption_id bigint, cause text, points numeric, amount numeric);
END $$;
COMMENT ON FUNCTION loyalty.donate_as_owner(bigint, numeric, text, text, text) IS 'the body of donate()';
REVOKE ALL ON FUNCTION loyalty.donate_as_owner(bigint, numeric, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.return_donation(member_id bigint, donation_id bigint, reason text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (donation_id bigint, cause text, points numeric, amount numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.return_donation(bigint, bigint, text, text) IS
  'undo a donate(): the points go back to the lots that they came from, and the cause gets nothing. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.return_donation(bigint, bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.return_donation_as_owner(in_member bigint, in_donation bigint, in_reason text, in_key text)
RETURNS TABLE (donation_id bigint, cause text, points numeric, amount numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  d loyalty.donation;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('donation_id', in_donation, 'reason', in_reason);
  now timestamptz;
  id bigint;
  answer jsonb;
BEGIN
  SELECT x.* INTO d FROM loyalty.donation x WHERE x.member_id = who AND x.donation_id = in_donation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no donation %', in_member, in_donation USING ERRCODE = 'LY017', HINT = 'loyalty.donate() returns its number.';
  END IF;
  now := loyalty.call_begin(who, d.program_id);
  answer := loyalty.find_call(who, d.program_id, in_key, 'return_donation', arguments);
  IF answer IS NULL THEN
    IF d.source_key IS NOT NULL OR d.of_donation IS NOT NULL OR EXISTS (
         SELECT FROM loyalty.donation x WHERE x.member_id = who AND x.of_donation = in_donation) THEN
      RAISE EXCEPTION 'donation % cannot be given back', in_donation
        USING ERRCODE = 'LY006', DETAIL = CASE WHEN d.source_key IS NULL THEN 'It has been given back, or is that itself.' ELSE 'It is a purchase''s.' END,
              HINT = CASE WHEN d.source_key IS NULL THEN 'It is given back once, by the number that donate() returned.' ELSE 'Change the purchase: its donation follows.' END;
    END IF;
    PERFORM loyalty.reverse_given(who, ARRAY[d.redemption_id], d.points * 0.0001);
    INSERT INTO loyalty.donation AS x (member_id, program_id, cause_id, funded_by, amount, points, redemption_id, of_donation, at, posted_at, reason, by)
    VALUES (who, d.program_id, d.cause_id, d.funded_by, -d.amount, -d.points, d.redemption_id, in_donation, now, statement_timestamp(), in_reason, session_user)
    RETURNING x.donation_id INTO id;
    answer := jsonb_build_object('donation_id', id, 'cause', (SELECT c.name FROM loyalty.cause c WHERE c.id = d.cause_id),
      'points', trim_scale(d.points * 0.0001), 'amount', d.amount);
    PERFORM loyalty.keep_call(who, d.program_id, in_key, 'return_donation', arguments, now, answer);
    PERFORM loyalty.tell(d.program_id, 'donation_returned', who, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (donation_id bigint, cause text, points numeric, amount numeric);
END $$;
COMMENT ON FUNCTION loyalty.return_donation_as_owner(bigint, bigint, text, text) IS 'the body of return_donation()';
REVOKE ALL ON FUNCTION loyalty.return_donation_as_owner(bigint, bigint, text, text) FROM PUBLIC;

-- ---- receipts and totals ----

CREATE OR REPLACE FUNCTION loyalty.donation_receipt(member_id bigint, year integer, program text DEFAULT NULL)
RETURNS TABLE (receipt text, program text, cause text, title text, money text, donations bigint, amount numeric, points numeric, first_day date, last_day date)
LANGUAGE c STABLE ROWS 3 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.donation_receipt(bigint, integer, text) IS
  'what a member gave in a year of the program''s time zone, by cause, net of what was taken back; what the shop gave is not among it';
REVOKE ALL ON FUNCTION loyalty.donation_receipt(bigint, integer, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.donation_receipt_as_owner(in_member bigint, in_year integer, in_program text)
RETURNS TABLE (receipt text, program text, cause text, title text, money text, donations bigint, amount numeric, points numeric, first_day date, last_day date)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT format('%s-%s-%s-%s', p.id, in_year, c.id, loyalty.member_now(in_member)), p.name, c.name, c.title, p.money, count(DISTINCT concat_ws(',', d.member_id, d.giving_id, d.source_id, coalesce(d.source_key, d.donation_id::text))) FILTER (WHERE d.amount > 0),
    sum(d.amount), trim_scale(sum(d.points) * 0.0001), min((d.at AT TIME ZONE p.timezone)::date), max((d.at AT TIME ZONE p.timezone)::date)
  FROM loyalty.donation d
  JOIN loyalty.program p ON p.id = d.program_id
  JOIN loyalty.cause c ON c.id = d.cause_id
  WHERE d.member_id = loyalty.member_now(in_member) AND p.name = loyalty.program_name(in_program) AND d.funded_by = 'member' AND d.amount <> 0
    AND extract(year FROM d.at AT TIME ZONE p.timezone) = in_year AND d.at <= loyalty.instant()
  GROUP BY p.id, p.name, p.money, c.id, c.name, c.title
  HAVING sum(d.amount) <> 0
  ORDER BY c.name;
END $$;
COMMENT ON FUNCTION loyalty.donation_receipt_as_owner(bigint, integer, text) IS 'the body of donation_receipt()';
REVOKE ALL ON FUNCTION loyalty.donation_receipt_as_owner(bigint, integer, text) FROM PUBLIC;

-- For the cause itself: it needs no right but to call this, and sees nobody.
CREATE OR REPLACE FUNCTION loyalty.cause_report(cause text, program text DEFAULT NULL)
RETURNS TABLE (month date, donations bigint, amount numeric, so_far numeric, goal numeric, reached numeric)
LANGUAGE c STABLE ROWS 12 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.cause_report(text, text) IS 'what a cause was given a month: sums alone, without any right on tables';
REVOKE ALL ON FUNCTION loyalty.cause_report(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cause_report_as_owner(in_cause text, in_program text)
RETURNS TABLE (month date, donations bigint, amount numeric, so_far numeric, goal numeric, reached numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT t.month, t.donations, t.amount, t.so_far, t.goal, t.reached FROM loyalty.cause_total t
  WHERE t.program = loyalty.program_name(in_program) AND t.cause = in_cause ORDER BY t.month;
END $$;
COMMENT ON FUNCTION loyalty.cause_report_as_owner(text, text) IS 'the body of cause_report()';
REVOKE ALL ON FUNCTION loyalty.cause_report_as_owner(text, text) FROM PUBLIC;

-- A donation by hand with its return is one, and so is what a purchase gives by one giving.
CREATE OR REPLACE FUNCTION loyalty.verify_donations(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'donation_points', g.program_id, g.member_id, NULL::bigint,
    format('donation %s is of %s points, and its redemptions have taken %s', g.donation_id, trim_scale(g.points * 0.0001), trim_scale(coalesce(g.taken, 0) * 0.0001))
  FROM (
    SELECT d.program_id, d.member_id, d.donation_id, d.points, sum(r.taken) AS taken
    FROM (SELECT x.program_id, x.member_id, min(x.donation_id) AS donation_id, sum(x.points) AS points, array_agg(DISTINCT x.redemption_id) AS redemptions
          FROM loyalty.donation x
          GROUP BY x.program_id, x.member_id, x.giving_id, x.source_id, x.source_key, CASE WHEN x.source_key IS NULL THEN coalesce(x.of_donation, x.donation_id) END) d
    CROSS JOIN LATERAL unnest(d.redemptions) u (redemption_id)
    LEFT JOIN loyalty.redemption r ON r.member_id = d.member_id AND r.redemption_id = u.redemption_id AND r.state IN ('captured', 'reversed')
    GROUP BY d.program_id, d.member_id, d.donation_id, d.points) g
  WHERE g.points <> coalesce(g.taken, 0)
  LIMIT verify_donations.most;
  RETURN QUERY
  SELECT 'donation', d.program_id, d.member_id, NULL::bigint, format('donation %s gives back donation %s, which is not of this amount', d.donation_id, d.of_donation)
  FROM loyalty.donation d LEFT JOIN loyalty.donation o ON o.member_id = d.member_id AND o.donation_id = d.of_donation
  WHERE d.of_donation IS NOT NULL AND (-d.amount, -d.points) IS DISTINCT FROM (o.amount, o.points)
  LIMIT verify_donations.most;
  RETURN QUERY
  SELECT 'donation_amount', n.program_id, n.member_id, NULL::bigint,
    format('purchase %s gives %s by "%s", and of %s kept are due %s', n.source_key, n.amount_now, g.name, n.kept, round(n.part, p.money_decimals))
  FROM (
    SELECT DISTINCT ON (d.member_id, d.source_id, d.source_key, d.giving_id) d.*, sum(d.amount) OVER w AS amount_now,
      CASE WHEN d.kept <= 0 THEN 0 ELSE d.given * d.kept / nullif(d.most, 0) END AS part
    FROM loyalty.donation d WHERE d.source_key IS NOT NULL
    WINDOW w AS (PARTITION BY d.member_id, d.source_id, d.source_key, d.giving_id)
    ORDER BY d.member_id, d.source_id, d.source_key, d.giving_id, d.donation_id DESC) n
  JOIN loyalty.giving g ON g.id = n.giving_id
  JOIN loyalty.program p ON p.id = n.program_id
  LEFT JOIN (SELECT l.member_id, l.source_id, l.source_key, sum(coalesce(l.kept_amount, 0)) AS kept FROM loyalty.lot l WHERE l.kind = 'a' AND l.part % 64 = 0 GROUP BY 1, 2, 3) k
    ON k.member_id = n.member_id AND k.source_id = n.source_id AND k.source_key = n.source_key
  WHERE NOT (g.kind = 'points' AND g.funded_by = 'member')
    -- decimals of the money may have been others
    AND (n.part IS NULL OR n.amount_now NOT IN (round(n.part, p.money_decimals), round(n.part, scale(n.amount_now)))
         OR n.amount_now <> 0 AND g.kind <> 'points' AND coalesce(k.kept, 0) = 0)
  LIMIT verify_donations.most;
END $$;
COMMENT ON FUNCTION loyalty.verify_donations(integer) IS 'part of verify(): points that were given were spent, and purchases give what is kept of them';
REVOKE ALL ON FUNCTION loyalty.verify_donations(integer) FROM PUBLIC;
