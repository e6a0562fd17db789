-- The ladder of a program while it is live: what waits, what would happen, and apply_tiers(); and tiers by hand.
-- Thresholds, requirements, tier_metric and tier_period of a program that has members are a draft until apply_tiers():
-- the first change copies what is in force to loyalty.ladder and ladder_rung (freeze_ladder), and there the engine reads it.
-- A tier that is new, and what a tier asks for that nobody has held, take effect at once.

CREATE OR REPLACE FUNCTION loyalty.watch_ladder(config text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format($ddl$
    CREATE OR REPLACE TRIGGER config_truncate BEFORE TRUNCATE ON loyalty.%1$I
      FOR EACH STATEMENT EXECUTE FUNCTION loyalty.config_truncate();
    CREATE OR REPLACE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON loyalty.%1$I
      FOR EACH ROW EXECUTE FUNCTION loyalty.config_changed();
    CREATE OR REPLACE TRIGGER config_changed_truncate AFTER TRUNCATE ON loyalty.%1$I
      FOR EACH STATEMENT EXECUTE FUNCTION loyalty.config_changed();
    ALTER TABLE loyalty.%1$I ENABLE ALWAYS TRIGGER config_changed;
    ALTER TABLE loyalty.%1$I ENABLE ALWAYS TRIGGER config_changed_truncate;
  $ddl$, config);
END $$;
COMMENT ON FUNCTION loyalty.watch_ladder(text) IS 'create the triggers of a table of ladders';
REVOKE ALL ON FUNCTION loyalty.watch_ladder(text) FROM PUBLIC;

-- Before a row of it changes: called by the triggers that check program, tier and tier_requirement.
CREATE OR REPLACE FUNCTION loyalty.freeze_ladder(program_id integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  no integer;
BEGIN
  IF NOT loyalty.in_ledger('program', freeze_ladder.program_id) THEN
    RETURN;
  END IF;
  INSERT INTO loyalty.ladder (program_id, ladder_no, since) VALUES (freeze_ladder.program_id, 0, '-infinity')
  ON CONFLICT (program_id, ladder_no) DO NOTHING;
  SELECT l.ladder_no INTO no FROM loyalty.ladder l WHERE l.program_id = freeze_ladder.program_id
  ORDER BY l.ladder_no DESC LIMIT 1 FOR NO KEY UPDATE;
  UPDATE loyalty.ladder l SET tier_metric = p.tier_metric, tier_period = p.tier_period::text FROM loyalty.program p
  WHERE p.id = freeze_ladder.program_id AND l.program_id = p.id AND l.ladder_no = no AND l.tier_metric IS NULL;
  WITH fresh AS (
    INSERT INTO loyalty.ladder_rung (program_id, ladder_no, tier_id, option, metric, threshold)
    SELECT p.id, no, t.id, 0, '', t.threshold FROM loyalty.program p JOIN loyalty.tier t ON t.program = p.name
    WHERE p.id = freeze_ladder.program_id
    ON CONFLICT (program_id, ladder_no, tier_id, option, metric) DO NOTHING
    RETURNING tier_id
  )
  INSERT INTO loyalty.ladder_rung (program_id, ladder_no, tier_id, option, metric, threshold)
  SELECT freeze_ladder.program_id, no, t.id, q.option, q.metric, q.threshold
  FROM fresh f JOIN loyalty.tier t ON t.id = f.tier_id
  JOIN loyalty.tier_requirement q ON q.program = t.program AND q.tier = t.name;
END $$;
COMMENT ON FUNCTION loyalty.freeze_ladder(integer) IS 'keep what is in force of a program that has members, because it is about to be changed';
REVOKE ALL ON FUNCTION loyalty.freeze_ladder(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.apply_tiers(program text DEFAULT NULL, keep boolean DEFAULT false)
RETURNS TABLE (ladder_no integer, since timestamptz)
LANGUAGE plpgsql ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  p loyalty.program;
  former loyalty.ladder;
  last_member bigint := -9223372036854775808;
  last_program integer := 0;
  seen bigint;
  anew boolean;
BEGIN
  SELECT o.* INTO p FROM loyalty.program o WHERE o.name = loyalty.program_name(apply_tiers.program);
  PERFORM loyalty.freeze_ladder(p.id);
  SELECT l.* INTO former FROM loyalty.ladder l WHERE l.program_id = p.id ORDER BY l.ladder_no DESC LIMIT 1;
  ladder_no := coalesce(former.ladder_no + 1, 0);
  since := greatest(loyalty.writing_instant(p.id), former.since);
  IF former.ladder_no IS NULL THEN
    RETURN NEXT;
    RETURN;
  END IF;
  anew := former.tier_period <> p.tier_period::text;
  IF anew THEN
    -- what was due is lived through with the counters of its time
    LOOP
      SELECT s.last_member, s.last_program, s.seen INTO last_member, last_program, seen
      FROM loyalty.settle_batch(last_member, last_program, 1000) s;
      EXIT WHEN seen < 1000;
    END LOOP;
  END IF;
  INSERT INTO loyalty.ladder (program_id, ladder_no, since, keep) VALUES (p.id, ladder_no, since, coalesce(apply_tiers.keep, false));
  IF anew THEN
    PERFORM loyalty.recount_counters(p.name);
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.apply_tiers(text, boolean) IS
  'what tier, tier_requirement and program say about tiers is in force from now on, for every account at once; with keep nobody falls by the change itself, but when the tier held is reviewed';
REVOKE ALL ON FUNCTION loyalty.apply_tiers(text, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.tier_if_applied(
  member_id bigint, program_id integer, at timestamptz, tiers text[], thresholds numeric[], keep boolean,
  OUT tier_id integer, OUT to_tier_id integer, OUT held_until timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_tier_if_applied';
COMMENT ON FUNCTION loyalty.tier_if_applied(bigint, integer, timestamptz, text[], numeric[], boolean) IS
  'the tier of an account at an instant, and what it would be and until when if apply_tiers() were called then, with these thresholds';
REVOKE ALL ON FUNCTION loyalty.tier_if_applied(bigint, integer, timestamptz, text[], numeric[], boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_thresholds(program text, thresholds jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  o record;
BEGIN
  IF jsonb_typeof(thresholds) <> 'object' THEN
    RAISE EXCEPTION 'thresholds is not an object'
      USING ERRCODE = 'LY017', HINT = 'Write it as {"tier": threshold, …}.';
  END IF;
  FOR o IN SELECT e.key, e.value, t.name AS tier FROM jsonb_each(thresholds) e
           LEFT JOIN loyalty.tier t ON t.program = check_thresholds.program AND t.name = e.key AND t.enabled LOOP
    IF o.tier IS NULL THEN
      RAISE EXCEPTION 'program "%" has no tier "%"', program, o.key
        USING ERRCODE = 'LY017', HINT = 'SELECT name FROM loyalty.tier WHERE enabled lists the tiers.';
    ELSIF jsonb_typeof(o.value) NOT IN ('number', 'null') OR (jsonb_typeof(o.value) = 'number' AND o.value::numeric < 0) THEN
      RAISE EXCEPTION 'threshold of tier "%" is %', o.key, o.value
        USING ERRCODE = 'LY017', HINT = 'It is a number of 0 or more, or null: not reached by figures.';
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.check_thresholds(text, jsonb) IS 'raise LY017 unless this is what preview_tiers() takes as thresholds';
REVOKE ALL ON FUNCTION loyalty.check_thresholds(text, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.preview_members(program text DEFAULT NULL, thresholds jsonb DEFAULT '{}', keep boolean DEFAULT false)
RETURNS TABLE (member_id bigint, from_tier text, to_tier text, change text, held_until timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
BEGIN
  SELECT o.* INTO p FROM loyalty.program o WHERE o.name = loyalty.program_name(preview_members.program);
  PERFORM loyalty.check_thresholds(p.name, coalesce(preview_members.thresholds, '{}'));
  RETURN QUERY
  WITH wanted AS (
    SELECT coalesce(array_agg(e.key), '{}') AS tiers, coalesce(array_agg((nullif(e.value, 'null'))::numeric), '{}') AS thresholds
    FROM jsonb_each(coalesce(preview_members.thresholds, '{}')) e
  )
  SELECT a.member_id, f.name, t.name,
    CASE WHEN i.tier_id IS NOT DISTINCT FROM i.to_tier_id THEN 'stays' WHEN i.to_tier_id IS NULL OR f.rank > t.rank THEN 'falls' ELSE 'rises' END,
    CASE WHEN isfinite(i.held_until) THEN i.held_until END
  FROM wanted w
  CROSS JOIN loyalty.account a
  CROSS JOIN LATERAL loyalty.tier_if_applied(a.member_id, a.program_id, loyalty.instant(), w.tiers, w.thresholds, coalesce(preview_members.keep, false)) i
  LEFT JOIN loyalty.tier f ON f.id = i.tier_id
  LEFT JOIN loyalty.tier t ON t.id = i.to_tier_id
  WHERE a.program_id = p.id AND a.status <> 'merged';
END $$;
COMMENT ON FUNCTION loyalty.preview_members(text, jsonb, boolean) IS
  'preview_tiers() member by member, with those who stay';
REVOKE ALL ON FUNCTION loyalty.preview_members(text, jsonb, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.preview_tiers(program text DEFAULT NULL, thresholds jsonb DEFAULT '{}', keep boolean DEFAULT false)
RETURNS TABLE (from_tier text, to_tier text, change text, members bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT m.from_tier, m.to_tier, m.change, count(*)
  FROM loyalty.preview_members(preview_tiers.program, preview_tiers.thresholds, preview_tiers.keep) m
  GROUP BY m.from_tier, m.to_tier, m.change
  ORDER BY m.change, m.from_tier, m.to_tier
$$;
COMMENT ON FUNCTION loyalty.preview_tiers(text, jsonb, boolean) IS
  'how many members would rise, fall and stay if apply_tiers() were called now, with the thresholds as they are written, or as given by tier; nothing is changed';
REVOKE ALL ON FUNCTION loyalty.preview_tiers(text, jsonb, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.grant_tier(
  member_id bigint, tier text, program text DEFAULT NULL, until timestamptz DEFAULT NULL, reason text DEFAULT NULL,
  key text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (program text, tier text, held_until timestamptz, former_tier text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_grant_tier';
COMMENT ON FUNCTION loyalty.grant_tier(bigint, text, text, timestamptz, text, text, timestamptz) IS
  'give a member a tier by hand, until an instant or until it is revoked: the member has at least this one, whatever figures say; afterwards what figures gave meanwhile. at: since when, now or earlier';
REVOKE ALL ON FUNCTION loyalty.grant_tier(bigint, text, text, timestamptz, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.revoke_tier(member_id bigint, program text DEFAULT NULL, reason text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (program text, tier text, held_until timestamptz, former_tier text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_revoke_tier';
COMMENT ON FUNCTION loyalty.revoke_tier(bigint, text, text, text) IS 'end what grant_tier() gave: the member has what figures gave';
REVOKE ALL ON FUNCTION loyalty.revoke_tier(bigint, text, text, text) FROM PUBLIC;
