-- grant_access(): what each kind of role can do, and what nobody can.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

-- PUBLIC can call nothing that touches data: triggers, and every function that reads or writes tables
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'loyalty'::regnamespace AND p.provolatile = 'v' AND has_function_privilege('public', p.oid, 'EXECUTE');
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'loyalty'::regnamespace AND l.lanname = 'plpgsql' AND has_function_privilege('public', p.oid, 'EXECUTE');

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE loyalty_test_admin;
CREATE ROLE loyalty_test_app;
CREATE ROLE loyalty_test_report;
CREATE ROLE "loyalty test ""odd""";
SELECT loyalty.grant_access('loyalty_test_admin', 'root');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SELECT loyalty.grant_access('loyalty_test_report', 'report');
SELECT loyalty.grant_access('"loyalty test ""odd"""', 'app');

-- tables can be read by who reads views over them, and written by who configures: configuration only
SELECT r.rolname, c.relname, string_agg(a.privilege, ', ' ORDER BY a.privilege) AS privileges
FROM pg_roles r, pg_class c, (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('TRIGGER'), ('REFERENCES')) a (privilege)
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r' AND r.rolname LIKE 'loyalty%test%' AND has_table_privilege(r.oid, c.oid, a.privilege)
GROUP BY 1, 2 ORDER BY 1, 2;

SET ROLE loyalty_test_admin;
INSERT INTO loyalty.program (name) VALUES ('p');
UPDATE loyalty.program SET rounding = 'up' WHERE name = 'p';
SELECT loyalty.install();
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.grant_access('loyalty_test_app', 'admin');
RESET ROLE;
SET ROLE loyalty_test_app;
SELECT name FROM loyalty.program;
SELECT loyalty.check_expression('1', 'amount', 'pg_class', 'loyalty_test_app', 'x');
RESET ROLE;

-- what it wrote goes on as it, and may not work any more
GRANT CREATE ON SCHEMA public TO loyalty_test_admin;
SET ROLE loyalty_test_admin;
CREATE TABLE public.access_test (id int PRIMARY KEY, who int, total numeric, at timestamptz);
SELECT loyalty.attach('public.access_test', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
RESET ROLE;
SELECT loyalty.revoke_access('loyalty_test_admin', 'admin');
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
SELECT loyalty.detach('public.access_test');
DROP TABLE public.access_test;
SELECT loyalty.revoke_access('loyalty_test_admin', 'admin');
REVOKE CREATE ON SCHEMA public FROM loyalty_test_admin;
SELECT loyalty.revoke_access('loyalty_test_app', 'app');
SELECT loyalty.revoke_access('"loyalty test ""odd"""', 'app');
SELECT count(*) AS left_over FROM pg_proc p, pg_roles r
WHERE p.pronamespace = 'loyalty'::regnamespace AND p.proacl IS NOT NULL AND r.rolname LIKE 'loyalty%test%' AND r.rolname <> 'loyalty_test_report'
  AND has_function_privilege(r.oid, p.oid, 'EXECUTE') AND NOT has_function_privilege('public', p.oid, 'EXECUTE');
DROP ROLE "loyalty test ""odd""", loyalty_test_admin, loyalty_test_app;
ROLLBACK;
