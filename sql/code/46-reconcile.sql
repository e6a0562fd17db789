-- An attached table compared with what it has earned: rows that no trigger saw, rows from before attach().

CREATE OR REPLACE FUNCTION loyalty.reconcile(
  relation regclass, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, take_back boolean DEFAULT false)
RETURNS TABLE (posted bigint, missing bigint, orphaned bigint)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_reconcile';
COMMENT ON FUNCTION loyalty.reconcile(regclass, timestamptz, timestamptz, boolean) IS
  'bring a table and its awards in step: posted awards made or changed now, missing rows that could earn and had none, orphaned keys with an award and no row, taken back only when told to; locks the table against writers';
REVOKE ALL ON FUNCTION loyalty.reconcile(regclass, timestamptz, timestamptz, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.backfill(
  relation regclass, program text DEFAULT NULL, after_member bigint DEFAULT NULL, last_member bigint DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_backfill';
COMMENT ON FUNCTION loyalty.backfill(regclass, text, bigint, bigint) IS
  'post the rows of a table in the order of (occurred_at, key), of all members or of those in a range; returns how many awards were made';
REVOKE ALL ON FUNCTION loyalty.backfill(regclass, text, bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.backfill_ranges(relation regclass, program text, batch integer, after_member bigint) RETURNS bigint[]
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_backfill_ranges';
COMMENT ON FUNCTION loyalty.backfill_ranges(regclass, text, integer, bigint) IS 'the last members of ranges that hold about batch rows each';
REVOKE ALL ON FUNCTION loyalty.backfill_ranges(regclass, text, integer, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.backfill_name(relation regclass, program text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('backfill %s of program %s', relation, loyalty.program_name(program)) $$;
COMMENT ON FUNCTION loyalty.backfill_name(regclass, text) IS 'the name of run_backfill()''s job';
REVOKE ALL ON FUNCTION loyalty.backfill_name(regclass, text) FROM PUBLIC;

-- What is still to do; a job that was stopped has done the members up to its place.
CREATE OR REPLACE FUNCTION loyalty.backfill_begin(job bigint, relation regclass, program text, batch integer) RETURNS bigint[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT loyalty.backfill_ranges(relation, program, batch, (SELECT j.member_id FROM loyalty.job j WHERE j.job_id = job))
$$;
COMMENT ON FUNCTION loyalty.backfill_begin(bigint, regclass, text, integer) IS 'the ranges of members that a backfill has still to do';
REVOKE ALL ON FUNCTION loyalty.backfill_begin(bigint, regclass, text, integer) FROM PUBLIC;

-- One range, in the caller's transaction; the number of the next one, NULL at the end or when time is up.
CREATE OR REPLACE FUNCTION loyalty.backfill_step(
  job bigint, relation regclass, program text, ranges bigint[], n integer, stop_at timestamptz) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  size integer := coalesce(cardinality(ranges), 0);
  done bigint := 0;
  finished boolean := n >= size;
BEGIN
  IF n <= size THEN
    done := loyalty.backfill(relation, program, (SELECT j.member_id FROM loyalty.job j WHERE j.job_id = job), ranges[n]);
  END IF;
  PERFORM loyalty.job_step(job, ranges[least(n, size)], NULL, done, done, finished, clock_timestamp() >= stop_at);
  RETURN CASE WHEN NOT finished AND clock_timestamp() < stop_at THEN n + 1 END;
END $$;
COMMENT ON FUNCTION loyalty.backfill_step(bigint, regclass, text, bigint[], integer, timestamptz) IS 'one batch of run_backfill()';
REVOKE ALL ON FUNCTION loyalty.backfill_step(bigint, regclass, text, bigint[], integer, timestamptz) FROM PUBLIC;

-- Commits, and so cannot pin its search_path: nothing here but qualified names.
CREATE OR REPLACE PROCEDURE loyalty.run_backfill(
  relation pg_catalog.regclass, program text DEFAULT NULL, batch integer DEFAULT 100000, max_seconds numeric DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  stop_at pg_catalog.timestamptz := loyalty.job_deadline(max_seconds);
  job pg_catalog.int8 := loyalty.job_begin(loyalty.backfill_name(relation, program));
  ranges pg_catalog.int8[] := loyalty.backfill_begin(job, relation, program, batch);
  n pg_catalog.int4 := 1;
BEGIN
  COMMIT;
  WHILE n IS NOT NULL LOOP
    n := loyalty.backfill_step(job, relation, program, ranges, n, stop_at);
    COMMIT;
  END LOOP;
END $$;
COMMENT ON PROCEDURE loyalty.run_backfill(regclass, text, integer, numeric) IS
  'backfill() in committed batches of about so many rows, progress in loyalty.job; sales wait for one batch at a time';
REVOKE ALL ON PROCEDURE loyalty.run_backfill(regclass, text, integer, numeric) FROM PUBLIC;
