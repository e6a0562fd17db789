-- Before anything is created: schema loyalty may be there (pg_dump writes it and its owner before CREATE
-- EXTENSION, and the ledger outlives DROP EXTENSION), but it must not be a stranger's, and hold no code.
-- In a trusted install this runs as a superuser: session_user is who asked.

DO $$
DECLARE
  owner oid;
  found_object text;
BEGIN
  SELECT n.nspowner INTO owner FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'loyalty';
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_roles r
    WHERE r.oid OPERATOR(pg_catalog.=) owner
      AND (r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) current_user OR r.rolname OPERATOR(pg_catalog.=) session_user
           OR r.oid OPERATOR(pg_catalog.=) (SELECT d.datdba FROM pg_catalog.pg_database d
                                            WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
           OR r.oid OPERATOR(pg_catalog.=) (SELECT e.extowner FROM pg_catalog.pg_extension e
                                            WHERE e.extname OPERATOR(pg_catalog.=) 'loyalty'))) THEN
    RAISE EXCEPTION 'schema loyalty belongs to %', pg_catalog.pg_get_userbyid(owner)
      USING ERRCODE = 'LY016', HINT = 'Its owner could replace what the extension relies on: drop or rename the schema, or change its owner.';
  END IF;

  SELECT o.identity INTO found_object FROM (
    SELECT 'function ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regprocedure::pg_catalog.text
    FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace
    UNION ALL
    SELECT 'operator ' OPERATOR(pg_catalog.||) p.oid::pg_catalog.regoperator::pg_catalog.text
    FROM pg_catalog.pg_operator p WHERE p.oprnamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace
    UNION ALL
    -- a table's row type and its array are the table's
    SELECT 'type ' OPERATOR(pg_catalog.||) t.oid::pg_catalog.regtype::pg_catalog.text
    FROM pg_catalog.pg_type t
    LEFT JOIN pg_catalog.pg_type e ON e.typarray OPERATOR(pg_catalog.=) t.oid
    WHERE t.typnamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c
                      WHERE c.oid OPERATOR(pg_catalog.=) coalesce(nullif(t.typrelid, 0), e.typrelid)
                        AND c.relkind OPERATOR(pg_catalog.<>) 'c')
    UNION ALL
    SELECT 'cast to ' OPERATOR(pg_catalog.||) c.casttarget::pg_catalog.regtype::pg_catalog.text
    FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) c.castsource OR t.oid OPERATOR(pg_catalog.=) c.casttarget
    WHERE t.typnamespace OPERATOR(pg_catalog.=) 'loyalty'::pg_catalog.regnamespace) o (identity)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'schema loyalty holds a % that is not of this extension', found_object
      USING ERRCODE = 'LY016', HINT = 'Only tables, sequences, indexes and views of an earlier install may be there: drop it first.';
  END IF;
END $$;
