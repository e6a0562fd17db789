-- install() makes tables that belong to its caller, and finds out who may not be there.
\set SHOW_CONTEXT never
SET client_min_messages = warning;

SELECT loyalty.install() >= 0 AS installed;
SELECT loyalty.install() AS again;
SELECT count(*) AS owned_by_the_extension FROM pg_depend
WHERE deptype = 'e' AND classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty');

-- every table, column and public function has a comment; no function is SECURITY DEFINER or without search_path
SELECT c.relname, a.attname FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r'
  AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL);
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'loyalty'::regnamespace AND l.lanname IN ('sql', 'plpgsql') AND p.prokind = 'f'
  AND (p.prosecdef OR NOT coalesce(p.proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}');
-- member data has built-in types only
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'loyalty'::regnamespace AND a.atttypid >= 16384 AND NOT a.attisdropped
  AND c.relname NOT IN ('program', 'rule', 'survey', 'plan', 'tier', 'reward', 'referral_program') AND c.relkind = 'r';

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE loyalty_test_ledger;
CREATE ROLE loyalty_test_stranger;
-- the tables belong to somebody else; an error gives the role back
\set VERBOSITY sqlstate
SELECT loyalty.install(owner => 'loyalty_test_ledger');
\set VERBOSITY default
SELECT current_user = session_user AS same;
CREATE FUNCTION loyalty.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT loyalty.install();
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION loyalty.mine();
-- strangers
SET ROLE loyalty_test_stranger;
SELECT loyalty.install();
RESET ROLE;
GRANT EXECUTE ON FUNCTION loyalty.install(regrole), loyalty.install_as_owner(), loyalty.check_install() TO loyalty_test_stranger;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_stranger;
SET ROLE loyalty_test_stranger;
\set VERBOSITY sqlstate
SELECT loyalty.install();
SELECT loyalty.install_as_owner();
\set VERBOSITY default
RESET ROLE;
ROLLBACK;

-- the script itself: a schema that is a stranger's, or holds code
BEGIN;
CREATE ROLE loyalty_test_stranger;
SET LOCAL loyalty.allow_drop = on;
DROP EXTENSION loyalty CASCADE;
DROP SCHEMA loyalty CASCADE;
CREATE SCHEMA loyalty AUTHORIZATION loyalty_test_stranger;
CREATE EXTENSION loyalty;
\echo :LAST_ERROR_SQLSTATE
ALTER SCHEMA loyalty OWNER TO CURRENT_USER;
CREATE TABLE loyalty.left_over (x int);
CREATE FUNCTION loyalty.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION loyalty;
DROP FUNCTION loyalty.f();
CREATE TYPE loyalty.word AS ENUM ('a');
CREATE EXTENSION loyalty;
DROP TYPE loyalty.word;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
ROLLBACK;

-- the owner of a database, no superuser, can have all this
CREATE ROLE loyalty_test_dbo;
CREATE ROLE loyalty_test_ledger;
GRANT loyalty_test_ledger TO loyalty_test_dbo;
CREATE DATABASE loyalty_test_dbo OWNER loyalty_test_dbo;
SELECT current_database() AS here \gset
\c loyalty_test_dbo
SET SESSION AUTHORIZATION loyalty_test_dbo;
CREATE EXTENSION loyalty;
SELECT loyalty.install(owner => 'loyalty_test_ledger') > 0 AS installed;
SELECT loyalty.install() AS again;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace AND relkind IN ('r', 'v');
SELECT rolname, loyalty.grant_access(oid::regrole, 'app') FROM pg_roles WHERE rolname = 'loyalty_test_dbo';
CREATE TABLE sale (id int PRIMARY KEY, who int, total numeric, at timestamptz);
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', 'earn.amount') RETURNING author;
RESET SESSION AUTHORIZATION;
-- whoever brings it up to date, its owner stays
SET loyalty.allow_drop = on;
DROP TABLE loyalty.request, loyalty.redemption CASCADE;
DELETE FROM loyalty.installed WHERE word = 'redemption';
SELECT loyalty.install() AS steps, current_user = session_user AS same;
SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace AND relkind IN ('r', 'v');
\c :here
DROP DATABASE loyalty_test_dbo;
DROP ROLE loyalty_test_dbo, loyalty_test_ledger;
