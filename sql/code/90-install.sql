-- loyalty.install(): the only thing that creates or alters a table of ours.

CREATE OR REPLACE FUNCTION loyalty.version() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'loyalty' $$;
COMMENT ON FUNCTION loyalty.version() IS 'the version of the installed code';

-- Tables of ours must belong to the one role that install() works as; anything else there is a stranger's.
CREATE OR REPLACE FUNCTION loyalty.check_install() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  o record;
BEGIN
  IF NOT has_schema_privilege('loyalty', 'CREATE') THEN
    RAISE EXCEPTION 'role % cannot create tables in schema loyalty', current_user
      USING ERRCODE = 'LY016', HINT = format('GRANT USAGE, CREATE ON SCHEMA loyalty TO %I, as the owner of the schema.', current_user);
  END IF;
  SELECT c.relname, pg_get_userbyid(c.relowner) AS owner INTO o FROM pg_class c
  WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND NOT pg_has_role(current_user, c.relowner, 'USAGE') LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'loyalty.% belongs to %', o.relname, o.owner
      USING ERRCODE = 'LY016', HINT = format('Call install as that role: SELECT loyalty.install(owner => %L).', o.owner);
  END IF;
  SELECT p.oid::regprocedure AS name INTO o FROM pg_proc p
  WHERE p.pronamespace = 'loyalty'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'loyalty'
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                      AND d.refclassid = 'pg_extension'::regclass) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'schema loyalty holds function % that is not of this extension', o.name
      USING ERRCODE = 'LY016', HINT = 'Drop it, or move it to a schema of its own.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_install() IS 'raise LY016 unless the current role can install here, and nobody else has put something there';
REVOKE ALL ON FUNCTION loyalty.check_install() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.lock_install() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_lock_install';
COMMENT ON FUNCTION loyalty.lock_install() IS 'wait until no other transaction is in install()';
REVOKE ALL ON FUNCTION loyalty.lock_install() FROM PUBLIC;

-- For sql/data.  The values are gone: say so.
CREATE OR REPLACE FUNCTION loyalty.restore_column(config text, column_name text, definition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = format('loyalty.%I', config)::regclass
                 AND a.attname = column_name AND NOT a.attisdropped) THEN
    EXECUTE format('ALTER TABLE loyalty.%I ADD COLUMN %I %s', config, column_name, definition);
    RAISE WARNING 'column % of loyalty.% was dropped with the extension', column_name, config
      USING HINT = 'It has its default in every row: set what it was.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.restore_column(text, text, text) IS 'add a column again that went with the extension';
REVOKE ALL ON FUNCTION loyalty.restore_column(text, text, text) FROM PUBLIC;

-- As the role that will own the tables.  The lock makes a second install() wait until the first has committed.
CREATE OR REPLACE FUNCTION loyalty.install_as_owner() RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET loyalty.allow_drop = on
AS $$
DECLARE
  done integer := 0;
  former integer[] := '{}';
  s record;
BEGIN
  PERFORM loyalty.check_install();
  PERFORM loyalty.lock_install();
  IF to_regclass('loyalty.installed') IS NOT NULL THEN
    SELECT coalesce(array_agg(d.step), former) INTO former FROM loyalty.installed d;
  END IF;
  FOR s IN SELECT i.* FROM loyalty.install_steps() i ORDER BY i.step LOOP
    IF s.step <> ALL (former) THEN
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
COMMENT ON FUNCTION loyalty.install_as_owner() IS 'the body of install()';
REVOKE ALL ON FUNCTION loyalty.install_as_owner() FROM PUBLIC;

-- Whoever calls, tables keep one owner: the one that they have.  A new owner needs what its triggers call, and
-- a place for its tables: granted here, by the caller's rights.
CREATE OR REPLACE FUNCTION loyalty.install(owner regrole DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  former text := current_setting('role');
  owner_name name;
  command text;
  done integer;
BEGIN
  owner := coalesce(owner, (SELECT c.relowner::regrole FROM pg_class c WHERE c.oid = to_regclass('loyalty.account')));
  owner_name := pg_get_userbyid(owner);
  IF owner IS NULL OR owner_name = current_user THEN
    RETURN loyalty.install_as_owner();
  END IF;
  IF NOT pg_has_role(current_user, owner, 'MEMBER') THEN
    RAISE EXCEPTION 'must be a member of role %', owner_name
      USING ERRCODE = 'LY016', HINT = format('GRANT %I TO %I.', owner_name, current_user);
  END IF;
  IF NOT has_schema_privilege(owner, 'loyalty', 'USAGE') OR NOT has_schema_privilege(owner, 'loyalty', 'CREATE') THEN
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA loyalty TO %I', owner_name);
  END IF;
  FOR command IN
    SELECT format('GRANT EXECUTE ON ROUTINE %s TO %I WITH GRANT OPTION', p.oid::regprocedure, owner_name) FROM pg_proc p
    WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prokind IN ('f', 'p') AND p.proacl IS NOT NULL
      AND NOT has_function_privilege(owner, p.oid, 'EXECUTE WITH GRANT OPTION')
  LOOP
    EXECUTE command;
  END LOOP;

  PERFORM set_config('role', owner_name, true);
  BEGIN
    done := loyalty.install_as_owner();
  EXCEPTION WHEN OTHERS THEN
    PERFORM set_config('role', former, true);
    RAISE;
  END;
  PERFORM set_config('role', former, true);
  RETURN done;
END $$;
COMMENT ON FUNCTION loyalty.install(regrole) IS
  'create or bring up to date the tables and views of schema loyalty, owned by owner, or by whoever owns them, or by the caller; returns how many steps were run, 0 when all was there';
REVOKE ALL ON FUNCTION loyalty.install(regrole) FROM PUBLIC;
