-- Benefits: who has what at an instant.  Nothing is written down but uses: a benefit begins and ends with tier and plan.

CREATE OR REPLACE FUNCTION loyalty.config_benefit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('benefit', OLD.name, OLD.program, loyalty.in_ledger('benefit', OLD.id), 'was used');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('benefit', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  NEW.quantity_period := NEW.quantity_period::loyalty.period::text;
  PERFORM loyalty.refuse_unavailable('period of a limit', NEW.quantity_period);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_benefit() IS 'trigger: checks a benefit';
REVOKE ALL ON FUNCTION loyalty.config_benefit() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_benefit_level() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP <> 'DELETE' AND NOT loyalty.restoring() THEN
    PERFORM loyalty.check_program(NEW.program);
  END IF;
  RETURN coalesce(NEW, OLD);
END $$;
COMMENT ON FUNCTION loyalty.config_benefit_level() IS 'trigger: checks a level of a benefit';
REVOKE ALL ON FUNCTION loyalty.config_benefit_level() FROM PUBLIC;

-- The tiers of an account one after the other: as written, then as they will be when nothing more is earned.
CREATE OR REPLACE FUNCTION loyalty.tier_line(member_id bigint, program_id integer)
RETURNS TABLE (tier_id integer, since timestamptz, until timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH change AS (
    SELECT c.at, 0 AS due, c.change_no, c.from_tier_id, c.to_tier_id FROM loyalty.tier_change c
    WHERE c.member_id = tier_line.member_id AND c.program_id = tier_line.program_id
    UNION ALL
    SELECT d.at, 1, d.nth, d.from_tier_id, d.to_tier_id
    FROM loyalty.due_tier_changes(tier_line.member_id, tier_line.program_id, '4000-01-01 00:00+00')
      WITH ORDINALITY d (at, from_tier_id, to_tier_id, held_until, nth)
  ), step AS (
    SELECT a.enrolled_at AS at, -1 AS due, 0::bigint AS change_no,
      CASE WHEN EXISTS (SELECT FROM change) THEN (SELECT c.from_tier_id FROM change c ORDER BY c.at, c.due, c.change_no LIMIT 1) ELSE a.tier_id END AS tier_id
    FROM loyalty.account a WHERE a.member_id = tier_line.member_id AND a.program_id = tier_line.program_id
    UNION ALL
    SELECT c.at, c.due, c.change_no, c.to_tier_id FROM change c
  ), line AS (
    SELECT s.tier_id, s.at AS since, coalesce(lead(s.at) OVER (ORDER BY s.at, s.due, s.change_no), 'infinity') AS until FROM step s
  )
  SELECT l.tier_id, l.since, l.until FROM line l WHERE l.since < l.until ORDER BY l.since;
END $$;
COMMENT ON FUNCTION loyalty.tier_line(bigint, integer) IS 'the tiers of an account from its beginning on, those included that it will have when nothing more is earned';
REVOKE ALL ON FUNCTION loyalty.tier_line(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.tier_at(member_id bigint, program_id integer, at timestamptz) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  a record;
  found_id integer;
BEGIN
  SELECT c.enrolled_at, c.settled_at INTO a FROM loyalty.account c WHERE c.member_id = tier_at.member_id AND c.program_id = tier_at.program_id;
  IF at >= a.settled_at THEN
    RETURN (SELECT s.tier_id FROM loyalty.settled(tier_at.member_id, tier_at.program_id, at) s);
  END IF;
  SELECT l.tier_id INTO found_id FROM loyalty.tier_line(tier_at.member_id, tier_at.program_id) l WHERE l.since <= at AND at < l.until;
  RETURN found_id;
END $$;
COMMENT ON FUNCTION loyalty.tier_at(bigint, integer, timestamptz) IS 'loyalty.tier.id of an account at any instant; NULL: none';
REVOKE ALL ON FUNCTION loyalty.tier_at(bigint, integer, timestamptz) FROM PUBLIC;

-- The one place that asks for plans.
CREATE OR REPLACE FUNCTION loyalty.plan_held(member_id bigint, plan text, program text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  held boolean := false;
BEGIN
  IF to_regprocedure('loyalty.has_plan(bigint,text,timestamptz,text)') IS NOT NULL THEN
    EXECUTE 'SELECT loyalty.has_plan($1, $2, $3, $4)' INTO held USING plan_held.member_id, plan_held.plan, plan_held.at, plan_held.program;
  END IF;
  RETURN coalesce(held, false);
END $$;
COMMENT ON FUNCTION loyalty.plan_held(bigint, text, text, timestamptz) IS 'does a member have a plan of a program at an instant';
REVOKE ALL ON FUNCTION loyalty.plan_held(bigint, text, text, timestamptz) FROM PUBLIC;

-- Each benefit that the member has at an instant, on the best way to it: no limit before the greatest quantity, then the highest tier.
CREATE OR REPLACE FUNCTION loyalty.benefits_at(member_id bigint, program_id integer, at timestamptz, benefit text)
RETURNS TABLE (benefit_id integer, tier text, rank integer, plan text, value text, quantity integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT DISTINCT ON (b.id) b.id, w.tier, w.rank, w.plan, w.value, w.quantity
  FROM loyalty.program p
  JOIN loyalty.account a ON a.member_id = benefits_at.member_id AND a.program_id = p.id AND a.enrolled_at <= benefits_at.at AND a.status <> 'merged'
  JOIN loyalty.benefit b ON b.program = p.name AND b.enabled AND b.starts_at <= benefits_at.at AND benefits_at.at < b.ends_at
    AND (benefits_at.benefit IS NULL OR b.name = benefits_at.benefit)
  JOIN loyalty.benefit_way w ON w.benefit_id = b.id
  WHERE p.id = benefits_at.program_id
    AND (w.rank IS NULL OR w.rank <= (SELECT t.rank FROM loyalty.tier t WHERE t.enabled AND t.id = (SELECT loyalty.tier_at(benefits_at.member_id, benefits_at.program_id, benefits_at.at))))
    AND (w.plan IS NULL OR loyalty.plan_held(benefits_at.member_id, w.plan, p.name, benefits_at.at))
    AND (b.segment IS NULL OR loyalty.in_segment(benefits_at.member_id, b.segment, p.name, greatest(benefits_at.at, loyalty.instant())))
  ORDER BY b.id, w.quantity IS NOT NULL, w.quantity DESC, w.rank DESC NULLS LAST;
END $$;
COMMENT ON FUNCTION loyalty.benefits_at(bigint, integer, timestamptz, text) IS 'inside of member_benefits(): the benefits of an account at an instant, or the one that is named';
REVOKE ALL ON FUNCTION loyalty.benefits_at(bigint, integer, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.benefit_used(member_id bigint, benefit_id integer, at timestamptz)
RETURNS TABLE (used bigint, period_start timestamptz, period_end timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT (SELECT coalesce(sum(u.quantity), 0) FROM loyalty.benefit_use u
          WHERE u.member_id = benefit_used.member_id AND u.benefit_id = b.id AND u.cancelled_at IS NULL
            AND u.at >= o.period_start AND u.at < o.period_end), o.period_start, o.period_end
  FROM loyalty.benefit b
  JOIN loyalty.program p ON p.name = b.program
  JOIN loyalty.account a ON a.member_id = benefit_used.member_id AND a.program_id = p.id
  CROSS JOIN LATERAL loyalty.period_bounds(b.quantity_period::loyalty.period, benefit_used.at, p.timezone, a.enrolled_at) o (period_start, period_end)
  WHERE b.id = benefit_used.benefit_id;
END $$;
COMMENT ON FUNCTION loyalty.benefit_used(bigint, integer, timestamptz) IS 'how many of a benefit were used in the period that holds an instant';
REVOKE ALL ON FUNCTION loyalty.benefit_used(bigint, integer, timestamptz) FROM PUBLIC;

-- ---- what applications ask ----

CREATE OR REPLACE FUNCTION loyalty.member_benefits(member_id bigint, at timestamptz DEFAULT NULL, program text DEFAULT NULL)
RETURNS TABLE (program text, benefit text, kind text, title text, value text, because text, since timestamptz, until timestamptz,
  quantity integer, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.member_benefits(bigint, timestamptz, text) IS
  'what a member has beside points at an instant, past or to come, now when left out; in one program, in all when left out. since, until: how long it was and will be so by the tier if nothing more is earned; quantity, used, left_over: of limited ones, in the period';
REVOKE ALL ON FUNCTION loyalty.member_benefits(bigint, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.member_benefits_as_owner(in_member bigint, in_at timestamptz, in_program text)
RETURNS TABLE (program text, benefit text, kind text, title text, value text, because text, since timestamptz, until timestamptz,
  quantity integer, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.member_now(in_member);
  asked timestamptz := coalesce(in_at, loyalty.instant());
BEGIN
  IF in_program IS NOT NULL THEN
    PERFORM loyalty.check_program(in_program);
  END IF;
  RETURN QUERY
  WITH given AS (
    SELECT a.program_id, a.enrolled_at, g.at, b.*
    FROM loyalty.account a
    JOIN loyalty.program p ON p.id = a.program_id AND (in_program IS NULL OR p.name = in_program)
    CROSS JOIN LATERAL (SELECT CASE WHEN in_at IS NULL THEN greatest(asked, a.settled_at) ELSE asked END AS at) g
    CROSS JOIN LATERAL loyalty.benefits_at(who, a.program_id, g.at, NULL) b
    WHERE a.member_id = who
  ), line AS MATERIALIZED (
    SELECT o.program_id, t.rank, l.since, l.until
    FROM (SELECT DISTINCT g.program_id FROM given g WHERE g.rank IS NOT NULL) o
    CROSS JOIN LATERAL loyalty.tier_line(who, o.program_id) l
    LEFT JOIN loyalty.tier t ON t.id = l.tier_id AND t.enabled
  )
  SELECT b.program, b.name, b.kind, b.title, g.value, coalesce('tier ' || g.tier, 'plan ' || g.plan, 'member'),
    nullif(greatest(b.starts_at, CASE WHEN g.plan IS NULL THEN coalesce(
      (SELECT max(l.until) FROM line l WHERE l.program_id = g.program_id AND l.until <= g.at AND (l.rank IS NULL OR l.rank < g.rank)), g.enrolled_at) END), '-infinity'),
    nullif(least(b.ends_at, CASE WHEN g.plan IS NULL THEN
      (SELECT min(l.since) FROM line l WHERE l.program_id = g.program_id AND l.since > g.at AND (l.rank IS NULL OR l.rank < g.rank)) END), 'infinity'),
    g.quantity, CASE WHEN g.quantity IS NOT NULL THEN u.used END, CASE WHEN g.quantity IS NOT NULL THEN greatest(g.quantity - u.used, 0) END, CASE WHEN g.quantity IS NOT NULL THEN nullif(u.period_end, 'infinity') END
  FROM given g
  JOIN loyalty.benefit b ON b.id = g.benefit_id
  CROSS JOIN LATERAL loyalty.benefit_used(who, b.id, g.at) u
  ORDER BY b.program, b.name;
END $$;
COMMENT ON FUNCTION loyalty.member_benefits_as_owner(bigint, timestamptz, text) IS 'the body of member_benefits()';
REVOKE ALL ON FUNCTION loyalty.member_benefits_as_owner(bigint, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.named_benefit(program text, benefit text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  in_program text := loyalty.program_name(program);
  id integer;
BEGIN
  SELECT n.id INTO id FROM loyalty.benefit n WHERE n.program = in_program AND n.name = named_benefit.benefit;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no benefit "%"', in_program, named_benefit.benefit
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.benefit lists the benefits.';
  END IF;
  RETURN id;
END $$;
COMMENT ON FUNCTION loyalty.named_benefit(text, text) IS 'the id of a benefit by its name; raises LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.named_benefit(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_benefit(member_id bigint, benefit text, program text DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.has_benefit(bigint, text, text, timestamptz) IS
  'does a member have a benefit at an instant, now when left out; used up or not. false for who has no account. For policies and conditions: in a query write (SELECT loyalty.has_benefit(…)), which asks once';
REVOKE ALL ON FUNCTION loyalty.has_benefit(bigint, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_benefit_as_owner(in_member bigint, in_benefit text, in_program text, in_at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
  b loyalty.benefit;
  who bigint := loyalty.member_now(in_member);
BEGIN
  SELECT n.* INTO b FROM loyalty.benefit n WHERE n.id = loyalty.named_benefit(in_program, in_benefit);
  RETURN EXISTS (
    SELECT FROM loyalty.program p
    JOIN loyalty.account a ON a.member_id = who AND a.program_id = p.id
    CROSS JOIN LATERAL loyalty.benefits_at(who, p.id, coalesce(in_at, greatest(loyalty.instant(), a.settled_at)), b.name)
    WHERE p.name = b.program);
END $$;
COMMENT ON FUNCTION loyalty.has_benefit_as_owner(bigint, text, text, timestamptz) IS 'the body of has_benefit()';
REVOKE ALL ON FUNCTION loyalty.has_benefit_as_owner(bigint, text, text, timestamptz) FROM PUBLIC;

-- ---- uses ----

CREATE OR REPLACE FUNCTION loyalty.use_benefit(
  member_id bigint, benefit text, program text DEFAULT NULL, key text DEFAULT NULL, quantity integer DEFAULT 1, reason text DEFAULT NULL)
RETURNS TABLE (use_id bigint, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.use_benefit(bigint, text, text, text, integer, text) IS
  'use a benefit once, or so many times at once: LY005 when the member has not got it, LY008 when it is used up in the period; the same key again: the same answer, no second use';
REVOKE ALL ON FUNCTION loyalty.use_benefit(bigint, text, text, text, integer, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.use_benefit_as_owner(in_member bigint, in_benefit text, in_program text, in_key text, in_quantity integer, in_reason text)
RETURNS TABLE (use_id bigint, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  b loyalty.benefit;
  in_program_id integer;
  who bigint := loyalty.member_now(in_member);
  n integer := coalesce(in_quantity, 1);
  arguments json;
  at timestamptz;
  answer jsonb;
  way record;
  spent record;
  id bigint;
BEGIN
  SELECT x.* INTO b FROM loyalty.benefit x WHERE x.id = loyalty.named_benefit(in_program, in_benefit);
  SELECT p.id INTO in_program_id FROM loyalty.program p WHERE p.name = b.program;
  arguments := json_build_object('benefit', b.id, 'quantity', nullif(n, 1), 'reason', in_reason);
  at := loyalty.call_begin(who, in_program_id);
  answer := loyalty.find_call(who, in_program_id, in_key, 'use_benefit', arguments);
  IF answer IS NULL THEN
    IF n < 1 THEN
      RAISE EXCEPTION 'quantity is %', n USING ERRCODE = 'LY017', HINT = 'It is 1 or more.';
    ELSIF EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = who AND a.program_id = in_program_id AND a.status <> 'active') THEN
      RAISE EXCEPTION 'account of member % in program "%" is blocked', who, b.program
        USING ERRCODE = 'LY009', HINT = 'loyalty.unblock() lifts it.';
    END IF;
    SELECT w.* INTO way FROM loyalty.benefits_at(who, in_program_id, at, b.name) w;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'member % does not have benefit "%"', who, b.name
        USING ERRCODE = 'LY005', HINT = 'loyalty.member_benefits() lists what a member has.';
    END IF;
    SELECT s.* INTO spent FROM loyalty.benefit_used(who, b.id, at) s;
    IF way.quantity IS NOT NULL AND spent.used + n > way.quantity THEN
      RAISE EXCEPTION 'benefit "%" is used up', b.name
        USING ERRCODE = 'LY008', DETAIL = format('%s of %s are used, and %s wanted.', spent.used, way.quantity, n),
              HINT = CASE WHEN isfinite(spent.period_end) THEN format('The next period begins at %s.', spent.period_end) ELSE 'It does not come again.' END;
    END IF;
    INSERT INTO loyalty.benefit_use AS u (member_id, program_id, benefit_id, quantity, at, posted_at, reason, key, by, set_role)
    VALUES (who, in_program_id, b.id, n, at, statement_timestamp(), in_reason, in_key, session_user, loyalty.caller()) RETURNING u.use_id INTO id;
    answer := jsonb_strip_nulls(jsonb_build_object('use_id', id, 'used', spent.used + n, 'left_over', way.quantity - spent.used - n,
      'period_end', CASE WHEN way.quantity IS NOT NULL AND isfinite(spent.period_end) THEN to_jsonb(spent.period_end AT TIME ZONE 'UTC') END));
    PERFORM loyalty.keep_call(who, in_program_id, in_key, 'use_benefit', arguments, at, answer);
  END IF;
  RETURN QUERY SELECT (answer ->> 'use_id')::bigint, (answer ->> 'used')::bigint, (answer ->> 'left_over')::bigint,
    (answer ->> 'period_end')::timestamp AT TIME ZONE 'UTC';
END $$;
COMMENT ON FUNCTION loyalty.use_benefit_as_owner(bigint, text, text, text, integer, text) IS 'the body of use_benefit()';
REVOKE ALL ON FUNCTION loyalty.use_benefit_as_owner(bigint, text, text, text, integer, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cancel_use(member_id bigint, use_id bigint, reason text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (benefit text, used bigint, left_over bigint)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.cancel_use(bigint, bigint, text, text) IS
  'a use of a benefit counts no more, in the period in which it was; used and left_over now. LY006 when it was cancelled before by another call';
REVOKE ALL ON FUNCTION loyalty.cancel_use(bigint, bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cancel_use_as_owner(in_member bigint, in_use bigint, in_reason text, in_key text)
RETURNS TABLE (benefit text, used bigint, left_over bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.member_now(in_member);
  u loyalty.benefit_use;
  b loyalty.benefit;
  arguments json := json_build_object('use_id', in_use, 'reason', in_reason);
  at timestamptz;
BEGIN
  SELECT x.* INTO u FROM loyalty.benefit_use x WHERE x.member_id = who AND x.use_id = in_use;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no use %', in_member, in_use
      USING ERRCODE = 'LY017', HINT = 'loyalty.use_benefit() returns its number.';
  END IF;
  at := loyalty.call_begin(who, u.program_id);
  IF loyalty.find_call(who, u.program_id, in_key, 'cancel_use', arguments) IS NULL THEN
    UPDATE loyalty.benefit_use x SET cancelled_at = at, cancelled_by = session_user, cancel_reason = in_reason
    WHERE x.member_id = who AND x.use_id = in_use AND x.cancelled_at IS NULL;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'use % was cancelled before', in_use USING ERRCODE = 'LY006';
    END IF;
    PERFORM loyalty.keep_call(who, u.program_id, in_key, 'cancel_use', arguments, at, '{}');
  END IF;
  SELECT n.* INTO b FROM loyalty.benefit n WHERE n.id = u.benefit_id;
  RETURN QUERY SELECT b.name, s.used, CASE WHEN w.quantity IS NOT NULL THEN greatest(w.quantity - s.used, 0) END
  FROM loyalty.benefit_used(who, b.id, at) s LEFT JOIN loyalty.benefits_at(who, u.program_id, at, b.name) w ON true;
END $$;
COMMENT ON FUNCTION loyalty.cancel_use_as_owner(bigint, bigint, text, text) IS 'the body of cancel_use()';
REVOKE ALL ON FUNCTION loyalty.cancel_use_as_owner(bigint, bigint, text, text) FROM PUBLIC;
