-- Status units, visits and rolling windows: what members have of them, by hand and by the ledger.

-- What a member has of each status unit: of views, which ask for it instead of adding up what is due themselves.
CREATE OR REPLACE FUNCTION loyalty.units_at(member_id bigint, program_id integer, at timestamptz, OUT unit_id integer, OUT value numeric)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 2 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_units_at';
COMMENT ON FUNCTION loyalty.units_at(bigint, integer, timestamptz) IS
  'what an account has of each status unit in the period that runs at an instant, not before its settled_at; no row without an account';
REVOKE ALL ON FUNCTION loyalty.units_at(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.adjust_unit(
  member_id bigint, unit text, value numeric, reason text, program text DEFAULT NULL, key text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (entry_no bigint, unit text, value numeric, counted_at timestamptz, tier text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_adjust_unit';
COMMENT ON FUNCTION loyalty.adjust_unit(bigint, text, numeric, text, text, text, timestamptz) IS
  'give (or, below 0, take) a status unit by hand: nights of another system, corrections; it counts for the tier in the period of at, now unless given. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.adjust_unit(bigint, text, numeric, text, text, text, timestamptz) FROM PUBLIC;

-- ---- configuration ----

-- A tier, a rule or a program names what it counts: spend, points, visits, or a status unit, which is made where it is new.
CREATE OR REPLACE FUNCTION loyalty.use_metric(program text, metric text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF metric = 'visits' THEN
    UPDATE loyalty.program p SET counts_visits = true WHERE p.name = use_metric.program AND NOT p.counts_visits;
  ELSIF metric NOT IN ('spend', 'points') THEN
    IF lower(trim(metric)) IN ('spend', 'points', 'visits') THEN
      RAISE EXCEPTION 'metric "%" is not known', metric
        USING ERRCODE = 'LY017', HINT = format('Write %s, or the name of a status unit.', lower(trim(metric)));
    END IF;
    INSERT INTO loyalty.unit (program, name) VALUES (use_metric.program, use_metric.metric) ON CONFLICT ON CONSTRAINT unit_pkey DO NOTHING;
    IF FOUND THEN
      -- a misspelt one would wait for purchases that never come
      RAISE NOTICE 'status unit "%" of program "%" is new', metric, program
        USING HINT = 'Rules award it (rule.unit). spend, points and visits are counted anyway.';
    END IF;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.use_metric(text, text) IS 'make the status unit of this name, unless it is there, or begin to count visits';
REVOKE ALL ON FUNCTION loyalty.use_metric(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_unit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM loyalty.rule r WHERE r.program = OLD.program AND r.unit = OLD.name)
       OR EXISTS (SELECT FROM loyalty.tier_requirement q WHERE q.program = OLD.program AND q.metric = OLD.name)
       OR EXISTS (SELECT FROM loyalty.program p WHERE p.name = OLD.program AND p.tier_metric = OLD.name)
       OR EXISTS (SELECT FROM loyalty.giving g WHERE g.program = OLD.program AND g.unit = OLD.name)
       OR loyalty.in_ledger('unit', OLD.id) THEN
      RAISE EXCEPTION 'status unit "%" of program "%" is in use', OLD.name, OLD.program
        USING ERRCODE = 'LY011', HINT = 'Rules, tiers or the ledger name it: it stays, and awards nothing when its rules are disabled.';
    END IF;
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('status unit', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  IF NEW.name IN ('spend', 'points', 'visits') THEN
    RAISE EXCEPTION '"%" is no name of a status unit', NEW.name
      USING ERRCODE = 'LY017', HINT = 'spend, points and visits are counted anyway.';
  ELSIF NEW.lifetime AND NEW.carries_over THEN
    RAISE EXCEPTION 'status unit "%" is of a lifetime and carries over', NEW.name
      USING ERRCODE = 'LY017', HINT = 'What counts for ever has no next period.';
  ELSIF TG_OP = 'UPDATE' THEN
    IF NEW.name <> OLD.name THEN
      RAISE EXCEPTION 'the name of a status unit cannot be changed'
        USING ERRCODE = 'LY017', HINT = 'Rules and tiers name it.';
    END IF;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_unit() IS 'trigger: checks a status unit';
REVOKE ALL ON FUNCTION loyalty.config_unit() FROM PUBLIC;

-- Of config_rule(): a rule's unit is there, and its points' life is not asked for.
CREATE OR REPLACE FUNCTION loyalty.check_unit(program text, unit text, former text, is_new boolean, expiry loyalty.expiry, pending interval) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT is_new AND unit IS DISTINCT FROM former THEN
    RAISE EXCEPTION 'the unit of a rule cannot be changed'
      USING ERRCODE = 'LY017', HINT = 'Disable this one and write another.';
  ELSIF unit IN ('spend', 'points', 'visits') THEN
    RAISE EXCEPTION '"%" is no name of a status unit', unit
      USING ERRCODE = 'LY017', HINT = 'A rule without unit gives points; spend and visits are counted anyway.';
  ELSIF unit IS NOT NULL AND (expiry IS NOT NULL OR pending IS NOT NULL) THEN
    RAISE EXCEPTION 'expiry or pending is given for a rule that awards %', unit
      USING ERRCODE = 'LY017', HINT = 'Status units count in the period of the purchase, at once.';
  END IF;
  IF unit IS NOT NULL THEN
    PERFORM loyalty.use_metric(program, unit);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_unit(text, text, text, boolean, loyalty.expiry, interval) IS 'raise LY017 unless a rule can award this unit; makes the unit where it is new';
REVOKE ALL ON FUNCTION loyalty.check_unit(text, text, text, boolean, loyalty.expiry, interval) FROM PUBLIC;

-- AFTER ROW: the unit needs its program.  Other periods, other counters.
CREATE OR REPLACE FUNCTION loyalty.program_counters_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN NULL;
  END IF;
  PERFORM loyalty.use_metric(NEW.name, NEW.tier_metric);
  IF TG_OP = 'UPDATE' THEN
    -- another tier_period is counted by apply_tiers()
    IF (NEW.timezone, NEW.counts_visits) IS DISTINCT FROM (OLD.timezone, OLD.counts_visits) THEN
      PERFORM loyalty.recount_counters(NEW.name);
    END IF;
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.program_counters_follow() IS 'trigger: makes the unit that tier_metric names; another time zone, or visits that begin to count, are counted from the ledger';
REVOKE ALL ON FUNCTION loyalty.program_counters_follow() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.unit_counters_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF (NEW.lifetime, NEW.carries_over) <> (OLD.lifetime, OLD.carries_over) AND NOT loyalty.restoring() THEN
    PERFORM loyalty.recount_counters(NEW.program);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.unit_counters_follow() IS 'trigger: a unit that begins or ends to count for ever, or to carry over, is counted from the ledger';
REVOKE ALL ON FUNCTION loyalty.unit_counters_follow() FROM PUBLIC;

-- ---- the ledger ----

-- What counts of the entries of members from low to high, each with its instant.  One line a kept award and metric.
-- In plpgsql, which plans for the members asked for: one, or all.
CREATE OR REPLACE FUNCTION loyalty.counted_of_ledger(program_id integer, low bigint, high bigint)
RETURNS TABLE (member_id bigint, metric integer, counted_at timestamptz, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT l.member_id, -1, least(l.earned_at, l.at), l.kept_amount FROM loyalty.lot l
  WHERE l.program_id = counted_of_ledger.program_id AND l.member_id BETWEEN low AND high AND l.kind = 'a' AND l.part % 64 = 0 AND l.kept_amount <> 0
  UNION ALL
  SELECT l.member_id, l.unit, least(l.earned_at, l.at), CASE WHEN l.kept_amount = l.amount THEN loyalty.breakdown_points(l.breakdown::loyalty.breakdown)::numeric
    ELSE loyalty.breakdown_points(l.breakdown::loyalty.breakdown, l.kept_amount, l.amount)::numeric END
  FROM loyalty.lot l
  WHERE l.program_id = counted_of_ledger.program_id AND l.member_id BETWEEN low AND high AND l.kind = 'a' AND l.breakdown IS NOT NULL
    AND (l.kept_amount <> 0 OR l.kept_amount = l.amount)
  UNION ALL
  SELECT i.member_id, coalesce(i.unit_id, 0), coalesce(i.counted_at, i.at), coalesce(i.value, trim_scale(i.points * 0.0001)) FROM loyalty.intervention i
  WHERE i.program_id = counted_of_ledger.program_id AND i.member_id BETWEEN low AND high AND i.counts_for_tier;
END $$;
COMMENT ON FUNCTION loyalty.counted_of_ledger(integer, bigint, bigint) IS
  'what kept awards, and what was given by hand, count for tiers: metric 0 points, -1 spend, above 0 loyalty.unit.id';
REVOKE ALL ON FUNCTION loyalty.counted_of_ledger(integer, bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.visits_of_ledger(program_id integer, low bigint, high bigint)
RETURNS TABLE (member_id bigint, visit text, bucket timestamptz, purchases integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT v.member_id, v.visit, loyalty.period_bucket(n.tier_period::loyalty.period, v.counted_at, p.timezone, a.enrolled_at), count(*)::integer
  FROM loyalty.program p
  JOIN loyalty.ladder_now n ON n.program_id = p.id
  CROSS JOIN LATERAL (
    SELECT l.member_id, least(l.earned_at, l.at) AS counted_at,
      CASE WHEN o.source_key IS NULL THEN to_char(d.starts_at AT TIME ZONE p.timezone, 'YYYY-MM-DD') ELSE o.visit END AS visit
    FROM loyalty.lot l
    CROSS JOIN LATERAL loyalty.period_bounds('day', least(l.earned_at, l.at), p.timezone) d
    LEFT JOIN loyalty.visit_of o ON o.member_id = l.member_id AND o.program_id = l.program_id AND o.source_id = l.source_id AND o.source_key = l.source_key
    WHERE l.program_id = p.id AND l.member_id BETWEEN low AND high AND l.kind = 'a' AND l.part % 64 = 0
      AND (l.kept_amount <> 0 OR l.kept_amount = l.amount)) v
  JOIN loyalty.account a ON a.member_id = v.member_id AND a.program_id = p.id
  WHERE p.id = visits_of_ledger.program_id AND p.counts_visits AND v.visit IS NOT NULL
  GROUP BY 1, 2, 3;
END $$;
COMMENT ON FUNCTION loyalty.visits_of_ledger(integer, bigint, bigint) IS 'the rows that loyalty.visit should have, added up from kept awards';
REVOKE ALL ON FUNCTION loyalty.visits_of_ledger(integer, bigint, bigint) FROM PUBLIC;

-- Each as of its account's settled_at: what has left a rolling window by then is nowhere.
CREATE OR REPLACE FUNCTION loyalty.counters_of_ledger(program_id integer, low bigint, high bigint)
RETURNS TABLE (member_id bigint, bucket timestamptz, metric integer, value numeric)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH this AS (
    SELECT p.id, p.timezone, p.counts_visits, n.tier_period::loyalty.period AS tier_period, n.tier_period LIKE 'rolling %' AS rolling
    FROM loyalty.program p JOIN loyalty.ladder_now n ON n.program_id = p.id WHERE p.id = counters_of_ledger.program_id
  ), counted AS (
    SELECT c.member_id, c.metric, c.value, p.rolling AND NOT coalesce(u.lifetime, false) AS rolling, a.settled_at,
      CASE WHEN u.lifetime THEN '-infinity' ELSE loyalty.period_bucket(p.tier_period, c.counted_at, p.timezone, a.enrolled_at) END AS bucket
    FROM this p
    CROSS JOIN LATERAL loyalty.counted_of_ledger(p.id, low, high) c
    JOIN loyalty.account a ON a.member_id = c.member_id AND a.program_id = p.id
    LEFT JOIN loyalty.unit u ON u.id = c.metric
    WHERE p.rolling OR c.metric > 0
  ), leaving AS (
    SELECT v.member_id, v.visit, max(v.bucket) AS bucket
    FROM this p
    CROSS JOIN LATERAL loyalty.visits_of_ledger(p.id, low, high) v
    JOIN loyalty.account a ON a.member_id = v.member_id AND a.program_id = p.id
    WHERE p.rolling AND v.bucket > a.settled_at GROUP BY 1, 2
  )
  SELECT c.member_id, c.bucket, c.metric, sum(c.value) FROM counted c WHERE NOT c.rolling OR c.bucket > c.settled_at GROUP BY 1, 2, 3
  UNION ALL
  SELECT c.member_id, '-infinity', c.metric, sum(c.value) FROM counted c WHERE c.rolling AND c.metric > 0 AND c.bucket > c.settled_at GROUP BY 1, 3
  UNION ALL
  SELECT v.member_id, v.bucket, -2, count(*) FROM leaving v GROUP BY 1, 2
$$;
COMMENT ON FUNCTION loyalty.counters_of_ledger(integer, bigint, bigint) IS 'the rows that loyalty.counter should have, added up from kept awards and what was given by hand';
REVOKE ALL ON FUNCTION loyalty.counters_of_ledger(integer, bigint, bigint) FROM PUBLIC;

-- The figures in the account's own row, by its own periods.
CREATE OR REPLACE FUNCTION loyalty.figures_of_ledger(program_id integer, low bigint, high bigint)
RETURNS TABLE (member_id bigint, spend numeric, spend_previous numeric, earned numeric, earned_previous numeric, visits integer, visits_previous integer)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH this AS (
    SELECT p.id, p.timezone, p.counts_visits, n.tier_period::loyalty.period AS tier_period, n.tier_period LIKE 'rolling %' AS rolling
    FROM loyalty.program p JOIN loyalty.ladder_now n ON n.program_id = p.id WHERE p.id = figures_of_ledger.program_id
  ), counted AS (
    SELECT c.member_id, c.metric, c.value,
      CASE WHEN p.rolling THEN loyalty.period_bucket(p.tier_period, c.counted_at, p.timezone, a.enrolled_at) > a.settled_at ELSE c.counted_at >= a.period_start END AS running,
      NOT p.rolling AND c.counted_at >= a.previous_start AND c.counted_at < a.period_start AS last
    FROM this p
    CROSS JOIN LATERAL loyalty.counted_of_ledger(p.id, low, high) c
    JOIN loyalty.account a ON a.member_id = c.member_id AND a.program_id = p.id
    WHERE c.metric <= 0
  ), figure AS (
    SELECT c.member_id, sum(c.value) FILTER (WHERE c.metric = -1 AND c.running) AS spend, sum(c.value) FILTER (WHERE c.metric = -1 AND c.last) AS spend_previous,
      sum(c.value) FILTER (WHERE c.metric = 0 AND c.running) AS earned, sum(c.value) FILTER (WHERE c.metric = 0 AND c.last) AS earned_previous
    FROM counted c GROUP BY 1
  ), visited AS (
    SELECT v.member_id, count(DISTINCT v.visit) FILTER (WHERE CASE WHEN p.rolling THEN v.bucket > a.settled_at ELSE v.bucket = a.period_start END) AS visits,
      count(DISTINCT v.visit) FILTER (WHERE NOT p.rolling AND v.bucket = a.previous_start AND v.bucket < a.period_start) AS visits_previous
    FROM this p
    CROSS JOIN LATERAL loyalty.visits_of_ledger(p.id, low, high) v
    JOIN loyalty.account a ON a.member_id = v.member_id AND a.program_id = p.id GROUP BY 1
  )
  SELECT a.member_id, coalesce(f.spend, 0), coalesce(f.spend_previous, 0), coalesce(f.earned, 0), coalesce(f.earned_previous, 0),
    coalesce(v.visits, 0)::integer, coalesce(v.visits_previous, 0)::integer
  FROM loyalty.account a
  LEFT JOIN figure f ON f.member_id = a.member_id
  LEFT JOIN visited v ON v.member_id = a.member_id
  WHERE a.program_id = figures_of_ledger.program_id AND a.member_id BETWEEN low AND high AND a.status <> 'merged'
$$;
COMMENT ON FUNCTION loyalty.figures_of_ledger(integer, bigint, bigint) IS 'what spend, earned and visits of accounts should be, added up from kept awards and what was given by hand';
REVOKE ALL ON FUNCTION loyalty.figures_of_ledger(integer, bigint, bigint) FROM PUBLIC;

-- What is carried over from period to period follows from what is counted in them, by the thresholds of now.
CREATE OR REPLACE FUNCTION loyalty.carry_counters(program_id integer, low bigint, high bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p record;
  c record;
  at timestamptz;
  figure numeric;
  carried numeric;
BEGIN
  SELECT o.id, o.name, o.timezone, n.tier_period::loyalty.period AS tier_period INTO p
  FROM loyalty.program o JOIN loyalty.ladder_now n ON n.program_id = o.id WHERE o.id = carry_counters.program_id AND n.tier_period NOT LIKE 'rolling %';
  FOR c IN SELECT k.member_id, k.metric, u.name, min(k.bucket) AS bucket, a.period_start, a.enrolled_at
           FROM loyalty.counter k
           JOIN loyalty.unit u ON u.id = k.metric AND u.program = p.name AND u.carries_over
           JOIN loyalty.account a ON a.member_id = k.member_id AND a.program_id = k.program_id
           WHERE k.program_id = p.id AND k.member_id BETWEEN low AND high
           GROUP BY k.member_id, k.metric, u.name, a.period_start, a.enrolled_at LOOP
    at := c.bucket;
    carried := 0;
    WHILE at < c.period_start LOOP
      figure := carried + coalesce((SELECT k.value FROM loyalty.counter k
        WHERE k.member_id = c.member_id AND k.program_id = p.id AND k.bucket = at AND k.metric = c.metric), 0);
      carried := figure - coalesce((SELECT max(t.threshold) FROM loyalty.tier_asks t
        WHERE t.program = p.name AND t.metric = c.name AND t.threshold > 0 AND t.threshold <= figure), figure);
      SELECT b.ends_at INTO at FROM loyalty.period_bounds(p.tier_period, at, p.timezone, c.enrolled_at) b;
      IF carried > 0 THEN
        INSERT INTO loyalty.counter (member_id, program_id, bucket, metric, value) VALUES (c.member_id, p.id, at, -1000 - c.metric, carried);
      END IF;
    END LOOP;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.carry_counters(integer, bigint, bigint) IS 'part of recount_counters(): what units carry over from period to period';
REVOKE ALL ON FUNCTION loyalty.carry_counters(integer, bigint, bigint) FROM PUBLIC;

-- Called as the owner of the ledger, with the accounts locked.  Tiers stay as they are.
CREATE OR REPLACE FUNCTION loyalty.recount_counters_of(program_id integer, low bigint, high bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p record;
BEGIN
  SELECT o.program_id AS id, o.timezone, o.tier_period::loyalty.period AS tier_period INTO p FROM loyalty.ladder_now o WHERE o.program_id = recount_counters_of.program_id;
  DELETE FROM loyalty.counter c WHERE c.program_id = p.id AND c.member_id BETWEEN low AND high;
  DELETE FROM loyalty.visit v WHERE v.program_id = p.id AND v.member_id BETWEEN low AND high;
  INSERT INTO loyalty.visit (member_id, program_id, visit, bucket, purchases)
  SELECT v.member_id, p.id, v.visit, v.bucket, v.purchases FROM loyalty.visits_of_ledger(p.id, low, high) v;
  INSERT INTO loyalty.counter (member_id, program_id, bucket, metric, value)
  SELECT c.member_id, p.id, c.bucket, c.metric, c.value FROM loyalty.counters_of_ledger(p.id, low, high) c;
  IF p.tier_period::text LIKE 'rolling %' THEN
    UPDATE loyalty.account a
    SET period_start = '-infinity', previous_start = '-infinity', period_end = coalesce((
      SELECT min(c.bucket) FROM loyalty.counter c WHERE c.member_id = a.member_id AND c.program_id = p.id AND c.bucket > a.settled_at), 'infinity')
    WHERE a.program_id = p.id AND a.member_id BETWEEN low AND high AND a.status <> 'merged';
  ELSE
    UPDATE loyalty.account a
    SET period_start = b.starts_at, period_end = b.ends_at, previous_start = CASE WHEN isfinite(b.starts_at) THEN (
      SELECT f.starts_at FROM loyalty.period_bounds(p.tier_period, b.starts_at - interval '1 microsecond', p.timezone, a.enrolled_at) f) ELSE b.starts_at END
    FROM loyalty.account k CROSS JOIN LATERAL loyalty.period_bounds(p.tier_period, k.settled_at, p.timezone, k.enrolled_at) b
    WHERE k.member_id = a.member_id AND k.program_id = a.program_id
      AND a.program_id = p.id AND a.member_id BETWEEN low AND high AND a.status <> 'merged';
  END IF;
  PERFORM loyalty.carry_counters(p.id, low, high);
  UPDATE loyalty.account a
  SET spend = f.spend, spend_previous = f.spend_previous, earned = (f.earned * 10000)::bigint, earned_previous = (f.earned_previous * 10000)::bigint,
    visits = f.visits, visits_previous = f.visits_previous, next_change_at = least(a.next_change_at, a.period_end)
  FROM loyalty.figures_of_ledger(p.id, low, high) f
  WHERE a.member_id = f.member_id AND a.program_id = p.id;
END $$;
COMMENT ON FUNCTION loyalty.recount_counters_of(integer, bigint, bigint) IS 'the body of recount_counters(), for some members';
REVOKE ALL ON FUNCTION loyalty.recount_counters_of(integer, bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recount_counters(program text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_recount_counters';
COMMENT ON FUNCTION loyalty.recount_counters(text) IS
  'add up again, from the ledger, what members of a program have counted for tiers; waits for the sales that are running on its tables, and lets others wait. Tiers follow with the next award or review';
REVOKE ALL ON FUNCTION loyalty.recount_counters(text) FROM PUBLIC;

-- ---- forgetting ----

CREATE OR REPLACE FUNCTION loyalty.forget_counters(after_member bigint, after_program integer, last_member bigint, last_program integer) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.forget_counters(bigint, integer, bigint, integer) IS
  'part of run_maintenance(): of accounts in a range of the primary key, those that nobody holds, delete what has left a rolling window; returns how many rows';
REVOKE ALL ON FUNCTION loyalty.forget_counters(bigint, integer, bigint, integer) FROM PUBLIC;

-- Up to the account's own settled_at, under its lock: nothing reads it any more, and a return of what has left changes none.
CREATE OR REPLACE FUNCTION loyalty.forget_counters_as_owner(after_member bigint, after_program integer, last_member bigint, last_program integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rolling integer[] := ARRAY(SELECT n.program_id FROM loyalty.ladder_now n WHERE n.tier_period LIKE 'rolling %');
  gone bigint := 0;
BEGIN
  IF rolling <> '{}' THEN
    WITH mine AS MATERIALIZED (
      SELECT a.member_id, a.program_id, a.settled_at FROM loyalty.account a
      WHERE (a.member_id, a.program_id) > (after_member, after_program) AND (a.member_id, a.program_id) <= (last_member, last_program)
        AND a.program_id = ANY (rolling)
        AND (EXISTS (SELECT FROM loyalty.counter c WHERE c.member_id = a.member_id AND c.program_id = a.program_id AND c.bucket > '-infinity' AND c.bucket <= a.settled_at)
          OR EXISTS (SELECT FROM loyalty.visit v WHERE v.member_id = a.member_id AND v.program_id = a.program_id AND v.bucket <= a.settled_at))
      FOR NO KEY UPDATE SKIP LOCKED
    ), counters AS (
      DELETE FROM loyalty.counter c USING mine a
      WHERE c.member_id = a.member_id AND c.program_id = a.program_id AND c.bucket > '-infinity' AND c.bucket <= a.settled_at RETURNING c.member_id
    ), visits AS (
      DELETE FROM loyalty.visit v USING mine a WHERE v.member_id = a.member_id AND v.program_id = a.program_id AND v.bucket <= a.settled_at RETURNING v.member_id
    )
    SELECT (SELECT count(*) FROM counters) + (SELECT count(*) FROM visits) INTO gone;
  END IF;
  RETURN gone;
END $$;
COMMENT ON FUNCTION loyalty.forget_counters_as_owner(bigint, integer, bigint, integer) IS 'the body of forget_counters()';
REVOKE ALL ON FUNCTION loyalty.forget_counters_as_owner(bigint, integer, bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_counters(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  p record;
BEGIN
  FOR p IN SELECT o.id, n.tier_period LIKE 'rolling %' AS rolling FROM loyalty.program o JOIN loyalty.ladder_now n ON n.program_id = o.id
           WHERE n.tier_period LIKE 'rolling %' OR o.counts_visits OR EXISTS (SELECT FROM loyalty.unit u WHERE u.program = o.name) LOOP
    RETURN QUERY
    SELECT 'counter', p.id, coalesce(e.member_id, c.member_id), NULL::bigint,
      format('%s of %s: counted are %s, kept awards give %s', CASE coalesce(e.metric, c.metric) WHEN 0 THEN 'points' WHEN -1 THEN 'spend' WHEN -2 THEN 'visits'
        ELSE (SELECT u.name FROM loyalty.unit u WHERE u.id = coalesce(e.metric, c.metric)) END,
        coalesce(e.bucket, c.bucket), trim_scale(coalesce(c.value, 0)), trim_scale(coalesce(e.value, 0)))
    FROM loyalty.counters_of_ledger(p.id, -9223372036854775808, 9223372036854775807) e
    FULL JOIN (SELECT k.* FROM loyalty.counter k JOIN loyalty.account a ON a.member_id = k.member_id AND a.program_id = k.program_id
               WHERE k.program_id = p.id AND k.metric >= -2 AND (NOT p.rolling OR k.bucket = '-infinity' OR k.bucket > a.settled_at)) c
      ON c.member_id = e.member_id AND c.bucket = e.bucket AND c.metric = e.metric
    WHERE coalesce(c.value, 0) <> coalesce(e.value, 0) LIMIT most;

    RETURN QUERY
    SELECT 'visit', p.id, coalesce(e.member_id, v.member_id), NULL::bigint,
      format('visit %s of %s: counted are %s purchases, kept are %s', coalesce(e.visit, v.visit), coalesce(e.bucket, v.bucket),
             coalesce(v.purchases, 0), coalesce(e.purchases, 0))
    FROM (SELECT x.* FROM loyalty.visits_of_ledger(p.id, -9223372036854775808, 9223372036854775807) x
          JOIN loyalty.account a ON a.member_id = x.member_id AND a.program_id = p.id WHERE NOT p.rolling OR x.bucket > a.settled_at) e
    FULL JOIN (SELECT k.* FROM loyalty.visit k JOIN loyalty.account a ON a.member_id = k.member_id AND a.program_id = k.program_id
               WHERE k.program_id = p.id AND (NOT p.rolling OR k.bucket > a.settled_at)) v
      ON v.member_id = e.member_id AND v.visit = e.visit AND v.bucket = e.bucket
    WHERE coalesce(v.purchases, 0) <> coalesce(e.purchases, 0) LIMIT most;

    RETURN QUERY
    SELECT 'account_counters', p.id, a.member_id, NULL::bigint,
      format('spend is %s, earned %s, visits are %s and were %s; kept awards give %s, %s, %s and %s', a.spend, trim_scale(a.earned * 0.0001), a.visits,
             a.visits_previous, f.spend, trim_scale(f.earned), f.visits, f.visits_previous)
    FROM loyalty.account a
    JOIN loyalty.figures_of_ledger(p.id, -9223372036854775808, 9223372036854775807) f ON f.member_id = a.member_id
    WHERE a.program_id = p.id AND ((a.visits, a.visits_previous) <> (f.visits, f.visits_previous)
      OR p.rolling AND (a.spend <> f.spend OR a.earned <> f.earned * 10000)) LIMIT most;

    RETURN QUERY
    SELECT 'account_next_change', p.id, a.member_id, NULL::bigint,
      format('period_end is %s, and something leaves the window at %s', a.period_end, c.bucket)
    FROM loyalty.account a
    JOIN (SELECT k.member_id, min(k.bucket) AS bucket FROM loyalty.counter k
          JOIN loyalty.account o ON o.member_id = k.member_id AND o.program_id = k.program_id
          WHERE k.program_id = p.id AND k.bucket > o.settled_at AND k.value <> 0 GROUP BY 1) c ON c.member_id = a.member_id
    WHERE p.rolling AND a.program_id = p.id AND a.period_end > c.bucket LIMIT most;
  END LOOP;
EXCEPTION WHEN SQLSTATE 'LY012' OR SQLSTATE 'LY017' THEN
  NULL;  -- award_breakdown, award_kept
END $$;
COMMENT ON FUNCTION loyalty.verify_counters(integer) IS 'part of verify(): status units, visits and rolling windows are what kept awards give';
REVOKE ALL ON FUNCTION loyalty.verify_counters(integer) FROM PUBLIC;
