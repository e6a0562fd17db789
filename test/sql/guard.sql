-- A ledger that holds points is dropped on purpose or not at all.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
-- without points all of it can go
BEGIN;
TRUNCATE loyalty.lot;
DROP TABLE loyalty.lot CASCADE;
DROP EXTENSION loyalty CASCADE;
DROP SCHEMA loyalty CASCADE;
ROLLBACK;

BEGIN;
CREATE ROLE loyalty_test_ledger;
CREATE ROLE loyalty_test_other;
INSERT INTO loyalty.lot (member_id, expires_at, entry_no, points, remaining, owed, earned_at, available_at, at, posted_at, program_id)
VALUES (1, 'infinity', 1, 10000, 10000, 0, now(), now(), now(), now(), 4711);
CREATE VIEW loyalty.guard_test AS SELECT 1 AS x;
SAVEPOINT filled;
\set VERBOSITY terse
DROP EXTENSION loyalty;
\echo :LAST_ERROR_SQLSTATE
DROP EXTENSION IF EXISTS nosuch, loyalty CASCADE;
DROP EXTENSION plpgsql CASCADE;
DROP SCHEMA loyalty CASCADE;
DROP SCHEMA IF EXISTS nosuch, loyalty CASCADE;
DROP TABLE loyalty.lot;
DROP TABLE IF EXISTS loyalty.nosuch, loyalty.config_history;
DROP VIEW loyalty.guard_test;
DROP INDEX loyalty.lot_source_key;
DROP TYPE loyalty.expiry CASCADE;
DROP FUNCTION loyalty.config_stamp() CASCADE;
ALTER TABLE loyalty.lot ADD COLUMN x int, DROP COLUMN points;
ALTER TABLE loyalty.program DROP COLUMN expiry CASCADE;
TRUNCATE loyalty.lot;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE loyalty.account, loyalty.movement, loyalty.debt;
TRUNCATE loyalty.redemption;
TRUNCATE loyalty.request;
TRUNCATE loyalty.tier_change;
DROP OWNED BY CURRENT_USER CASCADE;
\set VERBOSITY default
DROP TABLE loyalty.lot;

-- what is none of our business passes, and fails in its own words
CREATE TABLE public.guard_test (x int, y int);
ALTER TABLE public.guard_test DROP COLUMN y;
ALTER TABLE loyalty.lot SET (fillfactor = 94);
DROP TABLE public.guard_test;
CREATE TYPE public.guard_word AS ENUM ('a');
DROP TYPE public.guard_word;
CREATE FUNCTION public.guard_f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION public.guard_f(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
DROP FUNCTION public.guard_f;
DROP FUNCTION public.guard_f(int), public.guard_f(text);
CREATE SCHEMA guard_test;
DROP SCHEMA guard_test;
DROP OWNED BY loyalty_test_other;
DROP TABLE nosuch.nosuch;
DROP TABLE nosuch;
DROP TYPE nosuch;
DROP EXTENSION nosuch;
DROP OWNED BY nosuch;
CREATE TEMP TABLE lot (x int);
DROP TABLE lot;

-- the setting counts for whoever has the owner's rights, and for nobody else
ALTER TABLE loyalty.account OWNER TO loyalty_test_ledger;
ALTER TABLE loyalty.lot OWNER TO loyalty_test_ledger;
ALTER TABLE loyalty.review OWNER TO loyalty_test_other;
GRANT USAGE, CREATE ON SCHEMA loyalty TO loyalty_test_ledger, loyalty_test_other;
DROP OWNED BY loyalty_test_ledger;
SET loyalty.allow_drop = on;
SET ROLE loyalty_test_other;
DROP TABLE loyalty.review;
\echo :LAST_ERROR_SQLSTATE
SET ROLE loyalty_test_ledger;
TRUNCATE loyalty.lot;
DROP TABLE loyalty.lot CASCADE;
RESET ROLE;
ROLLBACK TO filled;
SET loyalty.allow_drop = on;
DROP EXTENSION loyalty CASCADE;
SELECT count(*) AS lots FROM loyalty.lot;
CREATE EXTENSION loyalty;
\set VERBOSITY terse
SELECT loyalty.install() AS nothing_to_do;
SELECT loyalty.install() AS nothing_to_do;
\set VERBOSITY default
SET loyalty.allow_drop = off;
DROP SCHEMA loyalty CASCADE;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
