-- Writing down what is due, in committed batches.  Balances are right without it, at every instant.

CREATE OR REPLACE FUNCTION loyalty.settle_batch(after_member bigint, after_program integer, n integer)
RETURNS TABLE (last_member bigint, last_program integer, seen bigint, settled bigint)
LANGUAGE c VOLATILE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_settle_batch';
COMMENT ON FUNCTION loyalty.settle_batch(bigint, integer, integer) IS
  'settle those of the next n accounts in primary-key order that are due and that nobody holds';
REVOKE ALL ON FUNCTION loyalty.settle_batch(bigint, integer, integer) FROM PUBLIC;

-- A job that was stopped is taken up again, by one caller.
CREATE OR REPLACE FUNCTION loyalty.job_begin(job_name text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  id bigint;
BEGIN
  SELECT j.job_id INTO id FROM loyalty.job j
  WHERE j.name = job_name AND j.finished_at IS NULL AND j.stopped_at IS NOT NULL
  ORDER BY j.job_id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE loyalty.job j SET stopped_at = NULL, updated_at = clock_timestamp() WHERE j.job_id = id;
  ELSE
    INSERT INTO loyalty.job AS j (name, started_at, updated_at, by)
    VALUES (job_name, clock_timestamp(), clock_timestamp(), session_user) RETURNING j.job_id INTO id;
  END IF;
  RETURN id;
END $$;
COMMENT ON FUNCTION loyalty.job_begin(text) IS 'a new job of this name, or one that was stopped; returns its job_id';
REVOKE ALL ON FUNCTION loyalty.job_begin(text) FROM PUBLIC;

-- What a batch has done.  Also when somebody has deleted the job's row.
CREATE OR REPLACE FUNCTION loyalty.job_step(
  job bigint, member bigint, program integer, batch_seen bigint, batch_done bigint, finished boolean, stopped boolean)
RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE loyalty.job j
  SET member_id = member, program_id = program, seen = j.seen + batch_seen, done = j.done + batch_done, updated_at = clock_timestamp(),
      finished_at = CASE WHEN finished THEN clock_timestamp() END, stopped_at = CASE WHEN stopped AND NOT finished THEN clock_timestamp() END
  WHERE j.job_id = job
$$;
COMMENT ON FUNCTION loyalty.job_step(bigint, bigint, integer, bigint, bigint, boolean, boolean) IS 'note a job''s progress';
REVOKE ALL ON FUNCTION loyalty.job_step(bigint, bigint, integer, bigint, bigint, boolean, boolean) FROM PUBLIC;

-- One batch, in the caller's transaction; true while there is more to do and time left.
CREATE OR REPLACE FUNCTION loyalty.maintenance_step(job bigint, batch integer, stop_at timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  place record;
  s record;
  finished boolean;
BEGIN
  SELECT coalesce(j.member_id, '-9223372036854775808'::bigint) AS member, coalesce(j.program_id, 0) AS program INTO place
  FROM loyalty.job j WHERE j.job_id = job;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'job % is gone', job
      USING ERRCODE = 'LY006', HINT = 'Somebody has deleted its row in loyalty.job: call it again.';
  END IF;
  SELECT b.* INTO s FROM loyalty.settle_batch(place.member, place.program, batch) b;
  PERFORM loyalty.forget_counters(place.member, place.program, s.last_member, s.last_program) WHERE s.seen > 0;
  finished := s.seen < batch;
  PERFORM loyalty.job_step(job, s.last_member, s.last_program, s.seen, s.settled, finished, clock_timestamp() >= stop_at);
  RETURN NOT finished AND clock_timestamp() < stop_at;
END $$;
COMMENT ON FUNCTION loyalty.maintenance_step(bigint, integer, timestamptz) IS 'one batch of run_maintenance(); false at the end';
REVOKE ALL ON FUNCTION loyalty.maintenance_step(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.job_deadline(max_seconds numeric) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF max_seconds IS NULL THEN
    RETURN 'infinity';
  ELSIF max_seconds < 0 OR max_seconds > 1e9 OR max_seconds = 'NaN' THEN
    RAISE EXCEPTION 'max_seconds is %', max_seconds
      USING ERRCODE = 'LY017', HINT = 'It is 0 or more; leave it out to run to the end.';
  END IF;
  RETURN clock_timestamp() + make_interval(secs => max_seconds);
END $$;
COMMENT ON FUNCTION loyalty.job_deadline(numeric) IS 'when a job that may run so long has to stop';
REVOKE ALL ON FUNCTION loyalty.job_deadline(numeric) FROM PUBLIC;

-- Commits, and so cannot pin its search_path: nothing here but qualified names.
CREATE OR REPLACE PROCEDURE loyalty.run_maintenance(batch integer DEFAULT 1000, max_seconds numeric DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  stop_at pg_catalog.timestamptz := loyalty.job_deadline(max_seconds);
  job pg_catalog.int8 := loyalty.job_begin('maintenance');
BEGIN
  COMMIT;
  WHILE loyalty.maintenance_step(job, batch, stop_at) LOOP
    COMMIT;
  END LOOP;
  COMMIT;
  PERFORM loyalty.tend_events();
END $$;
COMMENT ON PROCEDURE loyalty.run_maintenance(integer, numeric) IS
  'write down what is due (releases, expiries, lapsed holds, tiers), forget what has left rolling windows, tend the outbox, batch accounts a transaction, progress in loyalty.job; any time, in parallel, or never';
REVOKE ALL ON PROCEDURE loyalty.run_maintenance(integer, numeric) FROM PUBLIC;
