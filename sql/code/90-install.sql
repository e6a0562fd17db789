-- loyalty.install(): the only thing that creates or alters a table of ours.

CREATE OR REPLACE FUNCTION loyalty.version() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'loyalty' $$;
COMMENT ON FUNCTION loyalty.version() IS 'the version of the installed code';

CREATE OR REPLACE FUNCTION loyalty.install(owner regrole DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  done integer := 0;
  s record;
BEGIN
  IF owner IS NOT NULL THEN
    PERFORM pg_catalog.set_config('role', owner::text, true);
  END IF;
  FOR s IN SELECT i.* FROM loyalty.install_steps() i ORDER BY i.step LOOP
    IF pg_catalog.to_regclass('loyalty.installed') IS NULL
       OR NOT EXISTS (SELECT FROM loyalty.installed d WHERE d.step = s.step) THEN
      EXECUTE s.once;
      INSERT INTO loyalty.installed (step, word, extension_version) VALUES (s.step, s.word, loyalty.version());
      done := done + 1;
    END IF;
  END LOOP;
  FOR s IN SELECT i.* FROM loyalty.install_steps() i ORDER BY i.step LOOP
    EXECUTE s.replay;
  END LOOP;
  RETURN done;
END $$;
COMMENT ON FUNCTION loyalty.install(regrole) IS
  'create or bring up to date the tables and views of schema loyalty, owned by the caller or by owner; returns how many steps were run, 0 when all was there';
REVOKE ALL ON FUNCTION loyalty.install(regrole) FROM PUBLIC;
