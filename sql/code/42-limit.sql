-- Caps, uses, cooldowns and budgets of rules: what is used follows from the ledger, and what is left follows the rule's row.

-- What a rule has given in each kept award of the ledger, before rounding, and whether it is a use.
CREATE OR REPLACE FUNCTION loyalty.rule_awards(rule_id integer)
RETURNS TABLE (member_id bigint, program_id integer, earned_at timestamptz, used numeric, use boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT l.member_id, l.program_id, l.earned_at,
    CASE WHEN l.kept_amount = l.amount THEN b.units * 100000000
         ELSE div(b.units * 100000000 * l.kept_amount, l.amount)
           + CASE WHEN div(b.units * 100000000 * l.kept_amount, l.amount) * l.amount = b.units * 100000000 * l.kept_amount THEN 0 ELSE 1 END END,
    b.units > 0 AND NOT coalesce(m.continued, false)
  FROM loyalty.rule r
  JOIN loyalty.source s ON s.program = r.program AND s.name = r.source
  JOIN loyalty.lot l ON l.source_id = s.id
  CROSS JOIN LATERAL loyalty.breakdown_shares(l.breakdown::loyalty.breakdown) b
  LEFT JOIN LATERAL loyalty.breakdown_limits(l.breakdown::loyalty.breakdown) m ON m.rule = b.rule
  WHERE r.id = rule_awards.rule_id AND b.rule = r.id AND (l.part % 64 = 0 OR l.unit <> 0) AND (l.kept_amount <> 0 OR l.kept_amount = l.amount)
$$;
COMMENT ON FUNCTION loyalty.rule_awards(integer) IS
  'what a rule has given in each award that is kept: count of 1/100,000,000 point before rounding, and whether the award is a use of the rule';
REVOKE ALL ON FUNCTION loyalty.rule_awards(integer) FROM PUBLIC;

-- The rows that rule_usage should have for a rule: of periods that have bounds, and by the instant for cooldowns and rolling periods.
CREATE OR REPLACE FUNCTION loyalty.usage_of_ledger(rule_id integer)
RETURNS TABLE (member_id bigint, program_id integer, period_start timestamptz, period_end timestamptz, used bigint, uses integer)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT w.member_id, w.program_id, b.starts_at, b.ends_at, coalesce(sum(w.used), 0)::bigint, (count(*) FILTER (WHERE w.use))::integer
  FROM loyalty.rule r
  JOIN loyalty.program p ON p.name = r.program
  CROSS JOIN LATERAL (
    SELECT CASE WHEN l.period::text NOT LIKE 'rolling %' THEN l.period END AS period
    FROM (VALUES (r.cap IS NOT NULL, coalesce(r.cap_period, 'lifetime')), (r.max_uses IS NOT NULL, coalesce(r.uses_period, 'lifetime')),
                 (r.cooldown IS NOT NULL, NULL)) l (given, period)
    WHERE l.given GROUP BY 1) k
  CROSS JOIN LATERAL loyalty.rule_awards(r.id) w
  JOIN loyalty.account a ON a.member_id = w.member_id AND a.program_id = w.program_id
  CROSS JOIN LATERAL (
    SELECT x.starts_at, x.ends_at FROM loyalty.period_bounds(k.period, w.earned_at, p.timezone, a.enrolled_at) x WHERE k.period IS NOT NULL
    UNION ALL SELECT w.earned_at, w.earned_at WHERE k.period IS NULL AND (w.use OR w.used > 0)) b
  WHERE r.id = usage_of_ledger.rule_id
  GROUP BY w.member_id, w.program_id, b.starts_at, b.ends_at
$$;
COMMENT ON FUNCTION loyalty.usage_of_ledger(integer) IS 'what rule_usage should say of a rule with a cap, max_uses or a cooldown, added up from the ledger';
REVOKE ALL ON FUNCTION loyalty.usage_of_ledger(integer) FROM PUBLIC;

-- On how many kept purchases a rule has paid a member in the period of its max_uses (else of its cap) that holds an instant.
CREATE OR REPLACE FUNCTION loyalty.rule_uses(member_id bigint, rule_id integer, at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  w record;
BEGIN
  SELECT p.id AS program_id, p.timezone, a.enrolled_at, coalesce(CASE WHEN r.max_uses IS NOT NULL THEN r.uses_period ELSE r.cap_period END, 'lifetime') AS period INTO w
  FROM loyalty.rule r JOIN loyalty.program p ON p.name = r.program
  JOIN loyalty.account a ON a.member_id = rule_uses.member_id AND a.program_id = p.id
  WHERE r.id = rule_uses.rule_id;
  IF w.period::text LIKE 'rolling %' THEN
    RETURN (SELECT coalesce(sum(u.uses), 0) FROM loyalty.rule_usage u
      WHERE u.member_id = rule_uses.member_id AND u.program_id = w.program_id AND u.rule_id = rule_uses.rule_id
        AND u.period_start = u.period_end AND u.period_start <= rule_uses.at AND loyalty.period_bucket(w.period, u.period_start, w.timezone, w.enrolled_at) > rule_uses.at);
  END IF;
  RETURN (SELECT coalesce(sum(u.uses), 0) FROM loyalty.period_bounds(w.period, rule_uses.at, w.timezone, w.enrolled_at) b
    JOIN loyalty.rule_usage u ON u.period_start = b.starts_at AND u.period_end = b.ends_at
    WHERE u.member_id = rule_uses.member_id AND u.program_id = w.program_id AND u.rule_id = rule_uses.rule_id);
END $$;
COMMENT ON FUNCTION loyalty.rule_uses(bigint, integer, timestamptz) IS
  'on how many kept purchases a rule has paid a member in the period of its max_uses (else of its cap) that holds an instant';
REVOKE ALL ON FUNCTION loyalty.rule_uses(bigint, integer, timestamptz) FROM PUBLIC;

-- Called as the owner of the ledger, with the source's table locked against writers.
CREATE OR REPLACE FUNCTION loyalty.recount_limits_of(rule_id integer, usage boolean, budget boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  total bigint;
BEGIN
  IF usage THEN
    DELETE FROM loyalty.rule_usage u WHERE u.rule_id = recount_limits_of.rule_id;
    INSERT INTO loyalty.rule_usage (member_id, program_id, rule_id, period_start, period_end, used, uses)
    SELECT g.member_id, g.program_id, recount_limits_of.rule_id, g.period_start, g.period_end, g.used, g.uses
    FROM loyalty.usage_of_ledger(recount_limits_of.rule_id) g;
  END IF;
  IF budget THEN
    SELECT (r.budget * 100000000)::bigint - coalesce((SELECT sum(w.used) FROM loyalty.rule_awards(r.id) w), 0) INTO total
    FROM loyalty.rule r WHERE r.id = recount_limits_of.rule_id;
    IF total IS NOT NULL THEN
      PERFORM loyalty.spread_budget(recount_limits_of.rule_id, total);
    END IF;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.recount_limits_of(integer, boolean, boolean) IS 'the body of recount_limits()';
REVOKE ALL ON FUNCTION loyalty.recount_limits_of(integer, boolean, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recount_limits(rule_id integer, usage boolean DEFAULT true, budget boolean DEFAULT true) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_recount_limits';
COMMENT ON FUNCTION loyalty.recount_limits(integer, boolean, boolean) IS
  'add up again, from the ledger, what was used of a rule''s cap and uses, and of its budget; waits for the sales that are running on its table, and lets others wait';
REVOKE ALL ON FUNCTION loyalty.recount_limits(integer, boolean, boolean) FROM PUBLIC;

-- Nothing, or less, lies in slot 0; else evenly.
CREATE OR REPLACE FUNCTION loyalty.spread_budget(rule_id integer, total bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO loyalty.rule_budget AS s (rule_id, slot, left_over)
  SELECT spread_budget.rule_id, n, CASE WHEN total > 0 THEN total / 16 + CASE WHEN n < total % 16 THEN 1 ELSE 0 END
                                        WHEN n = 0 THEN total ELSE 0 END
  FROM generate_series(0, 15) n
  ON CONFLICT ON CONSTRAINT rule_budget_pkey DO UPDATE SET left_over = excluded.left_over;
END $$;
COMMENT ON FUNCTION loyalty.spread_budget(integer, bigint) IS 'write what is left of a budget, spread over its slots';
REVOKE ALL ON FUNCTION loyalty.spread_budget(integer, bigint) FROM PUBLIC;

-- A new rule has given nothing.  A limit that is set later, or over another period, is counted from the ledger; a
-- budget that changes changes what is left by the difference, and waits for what sales hold of it.
CREATE OR REPLACE FUNCTION loyalty.rule_limits_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  total bigint;
BEGIN
  IF loyalty.restoring() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' OR NEW.budget IS NULL THEN
    IF TG_OP <> 'INSERT' THEN
      DELETE FROM loyalty.rule_budget b WHERE b.rule_id = OLD.id;
    END IF;
  ELSIF TG_OP = 'INSERT' THEN
    PERFORM loyalty.spread_budget(NEW.id, (NEW.budget * 100000000)::bigint);
  ELSIF OLD.budget IS NULL THEN
    PERFORM loyalty.recount_limits(NEW.id, false, true);
  ELSIF NEW.budget <> OLD.budget THEN
    SELECT sum(l.left_over) INTO total
    FROM (SELECT b.left_over FROM loyalty.rule_budget b WHERE b.rule_id = NEW.id ORDER BY b.slot FOR UPDATE) l;
    PERFORM loyalty.spread_budget(NEW.id, total + ((NEW.budget - OLD.budget) * 100000000)::bigint);
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF (NEW.cap IS NULL, NEW.max_uses IS NULL, NEW.cooldown IS NULL, CASE WHEN NEW.cap IS NOT NULL THEN coalesce(NEW.cap_period, 'lifetime')::text END,
        CASE WHEN NEW.max_uses IS NOT NULL THEN coalesce(NEW.uses_period, 'lifetime')::text END)
       IS DISTINCT FROM
       (OLD.cap IS NULL, OLD.max_uses IS NULL, OLD.cooldown IS NULL, CASE WHEN OLD.cap IS NOT NULL THEN coalesce(OLD.cap_period, 'lifetime')::text END,
        CASE WHEN OLD.max_uses IS NOT NULL THEN coalesce(OLD.uses_period, 'lifetime')::text END) THEN
      PERFORM loyalty.recount_limits(NEW.id, true, false);
    END IF;
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.rule_limits_follow() IS 'trigger: keeps rule_usage and rule_budget in step with the limits of a rule';
REVOKE ALL ON FUNCTION loyalty.rule_limits_follow() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.program_limits_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT loyalty.restoring() THEN
    PERFORM loyalty.recount_limits(r.id, true, false) FROM loyalty.rule r
    WHERE r.program = NEW.name AND (r.cap IS NOT NULL OR r.max_uses IS NOT NULL);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.program_limits_follow() IS 'trigger: another time zone has other periods';
REVOKE ALL ON FUNCTION loyalty.program_limits_follow() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_limits(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  r record;
BEGIN
  FOR r IN SELECT x.id, x.name, x.budget, x.cap IS NOT NULL OR x.max_uses IS NOT NULL OR x.cooldown IS NOT NULL AS counted, p.id AS program_id
           FROM loyalty.rule x JOIN loyalty.program p ON p.name = x.program
           WHERE x.cap IS NOT NULL OR x.max_uses IS NOT NULL OR x.cooldown IS NOT NULL OR x.budget IS NOT NULL LOOP
    IF r.counted THEN
      RETURN QUERY
      SELECT 'rule_usage', r.program_id, coalesce(g.member_id, u.member_id), NULL::bigint,
        format('rule "%s" from %s: used are %s points in %s purchases, kept awards give %s in %s', r.name, coalesce(g.period_start, u.period_start),
               trim_scale(coalesce(u.used, 0) * 0.00000001), coalesce(u.uses, 0), trim_scale(coalesce(g.used, 0) * 0.00000001), coalesce(g.uses, 0))
      FROM loyalty.usage_of_ledger(r.id) g
      FULL JOIN (SELECT * FROM loyalty.rule_usage u WHERE u.rule_id = r.id) u
        ON u.member_id = g.member_id AND u.program_id = g.program_id AND u.period_start = g.period_start AND u.period_end = g.period_end
      WHERE coalesce(g.used, 0) <> coalesce(u.used, 0) OR coalesce(g.uses, 0) <> coalesce(u.uses, 0)
      LIMIT most;
    END IF;
    RETURN QUERY
    SELECT 'rule_budget', r.program_id, NULL::bigint, NULL::bigint,
      format('rule "%s": of a budget of %s points %s are left in %s places, kept awards took %s', r.name, r.budget,
             trim_scale(b.left_over * 0.00000001), b.slots, trim_scale(w.used * 0.00000001))
    FROM (SELECT coalesce(sum(x.left_over), 0) AS left_over, count(*) AS slots FROM loyalty.rule_budget x WHERE x.rule_id = r.id) b
    CROSS JOIN (SELECT coalesce(sum(x.used), 0) AS used FROM loyalty.rule_awards(r.id) x WHERE r.budget IS NOT NULL) w
    WHERE b.slots <> CASE WHEN r.budget IS NULL THEN 0 ELSE 16 END OR b.left_over <> coalesce(trunc(r.budget * 100000000), 0) - w.used;
  END LOOP;
EXCEPTION WHEN SQLSTATE 'LY012' OR SQLSTATE 'LY017' THEN
  NULL;  -- award_breakdown, award_kept
END $$;
COMMENT ON FUNCTION loyalty.verify_limits(integer) IS 'part of verify(): what was used of caps, uses and budgets is what kept awards have taken';
REVOKE ALL ON FUNCTION loyalty.verify_limits(integer) FROM PUBLIC;
