-- Programs, tiers, rewards: what is refused when written, what is kept of what they were.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO loyalty.program (name) VALUES ('a'), ('b') RETURNING name, is_default;
UPDATE loyalty.program SET is_default = true WHERE name = 'b';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET is_default = false WHERE name = 'a';
UPDATE loyalty.program SET is_default = true WHERE name = 'b' RETURNING name, is_default;

INSERT INTO loyalty.program (name, timezone) VALUES ('x', 'Europe/Istambul');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.program (name, timezone) VALUES ('x', 'EST5EDT') RETURNING timezone;
INSERT INTO loyalty.program (name) VALUES (' ');
INSERT INTO loyalty.program (name, pending) VALUES ('y', '-1 day');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.program (name, grace) VALUES ('y', '3000 years');
INSERT INTO loyalty.program (name, point_value) VALUES ('y', 'NaN');
\set VERBOSITY terse
INSERT INTO loyalty.program (name, decimals) VALUES ('y', 5);
\set VERBOSITY default
INSERT INTO loyalty.program (name, clawback) VALUES ('y', 'keep');
INSERT INTO loyalty.program (name, tier_validity_to) VALUES ('y', 'week');
SET client_min_messages = notice;
INSERT INTO loyalty.program (name, tier_metric) VALUES ('z', 'spent');
SET client_min_messages = warning;
INSERT INTO loyalty.program (name, tier_metric) VALUES ('y', ' nights');
\echo :LAST_ERROR_SQLSTATE

-- tiers
INSERT INTO loyalty.tier (program, name, rank) VALUES ('nix', 'gold', 1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('a', 'gold', 1, 'NaN');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('a', 'gold', 1, 100);
UPDATE loyalty.tier SET program = 'b' WHERE name = 'gold';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.tier SET id = 4711;
INSERT INTO loyalty.tier_requirement (program, tier, metric, threshold) VALUES ('a', 'gold', '', 10);
\echo :LAST_ERROR_SQLSTATE
-- a new name is no other program
UPDATE loyalty.program SET name = 'c' WHERE name = 'a';
SELECT program, name FROM loyalty.tier;

-- rewards
INSERT INTO loyalty.reward (program, name, cost) VALUES ('c', 'coffee', 0.00001);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.reward (program, name, cost) VALUES ('c', 'coffee', 'Infinity');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('c', 'coffee', 150);

-- what the ledger names stays
INSERT INTO loyalty.account (member_id, enrolled_at, settled_at, next_change_at, available, pending, held, debt, next_entry,
  open_from_expires_at, open_from_entry_no, tier_until, period_start, period_end, previous_start, program_id, tier_id, visits,
  visits_previous, earned, earned_previous, spend, spend_previous)
SELECT 1, now(), now(), 'infinity', 0, 0, 0, 0, 1, '-infinity', 0, 'infinity', now(), now(), now(), p.id, t.id, 0, 0, 0, 0, 0, 0
FROM loyalty.program p JOIN loyalty.tier t ON t.program = p.name WHERE p.name = 'c';
DELETE FROM loyalty.tier WHERE name = 'gold';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET decimals = 2 WHERE name = 'c';
UPDATE loyalty.program SET decimals = 1 WHERE name = 'c';
INSERT INTO loyalty.lot (member_id, expires_at, entry_no, points, remaining, owed, earned_at, available_at, at, posted_at, program_id)
SELECT 1, 'infinity', 1, 10000, 10000, 0, now(), now(), now(), now(), id FROM loyalty.program WHERE name = 'c';
UPDATE loyalty.program SET decimals = 0 WHERE name = 'c';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET decimals = 3 WHERE name = 'c' RETURNING decimals;
TRUNCATE loyalty.reward CASCADE;
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.reward;
DELETE FROM loyalty.program WHERE name = 'c';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.program WHERE name = 'x';

-- a restore writes what it has, and a setting alone makes no restore
CREATE ROLE loyalty_test_admin;
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
SET loyalty.restoring = on;
INSERT INTO loyalty.program (name, tier_metric, valid_from) VALUES ('restored', 'visits', '2020-01-01 00:00+00') RETURNING valid_from = '2020-01-01 00:00+00' AS kept;
SET ROLE loyalty_test_admin;
INSERT INTO loyalty.program (name, tier_metric) VALUES ('restored too', '');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
RESET loyalty.restoring;
ROLLBACK;

-- history: one row a former state that others could see
INSERT INTO loyalty.program (name) VALUES ('history');
UPDATE loyalty.program SET rounding = 'down' WHERE name = 'history';
UPDATE loyalty.program SET rounding = 'up' WHERE name = 'history';
BEGIN;
UPDATE loyalty.program SET rounding = 'half_up' WHERE name = 'history';
UPDATE loyalty.program SET rounding = 'half_even' WHERE name = 'history';
COMMIT;
DELETE FROM loyalty.program WHERE name = 'history';
SELECT former ->> 'rounding' AS rounding, valid_from < valid_to AS has_length, changed_by = session_user AS by_me,
       valid_from = lag(valid_to) OVER (ORDER BY valid_from) AS without_gap
FROM loyalty.config_history WHERE config = 'program' AND former ->> 'name' = 'history' ORDER BY valid_from;
DELETE FROM loyalty.config_history WHERE former ->> 'name' = 'history';
