-- In a trusted install all this belongs to a superuser: whoever created the extension gets the use of it, and
-- may pass it on (loyalty.grant_access).  Last of all pieces, so that it sees every function.

DO $$
DECLARE
  owner pg_catalog.name;
  command pg_catalog.text;
BEGIN
  SELECT pg_catalog.pg_get_userbyid(e.extowner) INTO owner
  FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'loyalty';
  FOR command IN
    SELECT pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %I WITH GRANT OPTION', p.oid::pg_catalog.regprocedure, owner)
    FROM pg_catalog.pg_proc p
    WHERE p.pronamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace
      AND p.proowner OPERATOR(pg_catalog.<>) (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) owner)
      AND p.prokind IN ('f', 'p') AND p.proacl IS NOT NULL
  LOOP
    EXECUTE command;
  END LOOP;
END $$;
