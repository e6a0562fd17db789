-- In a trusted install all this belongs to a superuser: whoever created the extension gets the use of it, and
-- may pass it on (loyalty.grant_access).  So does the owner of the schema: a restore by a superuser brings
-- back what that role had granted, in its name.  Last of all pieces, so that it sees every function.

DO $$
DECLARE
  command pg_catalog.text;
BEGIN
  FOR command IN
    SELECT pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %I WITH GRANT OPTION', p.oid::pg_catalog.regprocedure, r.rolname)
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.<>) p.proowner
    WHERE p.pronamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace
      AND p.prokind IN ('f', 'p') AND p.proacl IS NOT NULL
      AND (r.oid OPERATOR(pg_catalog.=) (SELECT e.extowner FROM pg_catalog.pg_extension e
                                         WHERE e.extname OPERATOR(pg_catalog.=) 'loyalty')
           OR r.oid OPERATOR(pg_catalog.=) (SELECT n.nspowner FROM pg_catalog.pg_namespace n
                                            WHERE n.nspname OPERATOR(pg_catalog.=) 'loyalty'))
  LOOP
    EXECUTE command;
  END LOOP;
END $$;
