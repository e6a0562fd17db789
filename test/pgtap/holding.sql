-- The rules of holds, reversals and paying with points, one assertion a rule.
\set QUIET 1
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true
\pset format unaligned
\pset tuples_only true
\pset pager off
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty;
DO $$ BEGIN PERFORM loyalty.install(); END $$;
SELECT plan(37);

SET LOCAL TimeZone = 'UTC';
CREATE SCHEMA holding_test;
CREATE TABLE holding_test.sale (id int PRIMARY KEY, who bigint, total numeric, used numeric, at timestamptz);
INSERT INTO loyalty.program (name, expiry, sandbox, point_value) VALUES ('h', '10 days', true, 0.1);
DO $$ BEGIN PERFORM loyalty.attach('holding_test.sale', program => 'h', member => 'who', amount => 'total', occurred_at => 'at', points_spent => 'used'); END $$;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('h', 'sale', 'r', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('h', 'cup', 5, 1);
INSERT INTO holding_test.sale VALUES (1, 1, 10, 0, '2024-01-01'), (2, 1, 20, 0, '2024-01-02'), (3, 1, 30, 0, '2024-01-03');

CREATE FUNCTION pg_temp.lots() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(trim_scale(remaining / 10000.0)::text, ' ' ORDER BY expires_at, entry_no) FROM loyalty.lot WHERE member_id = 1 AND kind = 'a' $$;
CREATE FUNCTION pg_temp.has() RETURNS text LANGUAGE sql AS $$ SELECT available || ' ' || held FROM loyalty.balance(1, 'h') $$;
CREATE FUNCTION pg_temp.hold(points numeric, ttl interval DEFAULT '1 hour', key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
  SELECT r.redemption_id FROM loyalty.redeem(1, points => hold.points, program => 'h', hold => ttl, key => hold.key) r $$;
CREATE FUNCTION pg_temp.capture(id bigint, points numeric DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT c.state || ' ' || c.points FROM loyalty.capture(1, id, capture.points) c $$;
CREATE FUNCTION pg_temp.reverse(id bigint, points numeric DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
  SELECT v.state || ' ' || v.points || ' ' || v.alive || ' ' || v.dead FROM loyalty.reverse(1, id, reverse.points) v $$;
CREATE FUNCTION pg_temp.left_over() RETURNS bigint LANGUAGE sql AS $$
  SELECT sum(s.left_over)::bigint FROM loyalty.reward_stock s JOIN loyalty.reward r ON r.id = s.reward_id WHERE r.program = 'h' $$;
CREATE TABLE holding_test.made (name text PRIMARY KEY, id bigint);

SET LOCAL loyalty.now = '2024-01-05';
INSERT INTO holding_test.made VALUES ('a', pg_temp.hold(25, key => 'k'));
SELECT is(pg_temp.has(), '35 25', 'what is held is not available');
SELECT is(pg_temp.lots(), '0 5 30', 'it has left its lots');
SELECT is((SELECT closing FROM loyalty.program_daily WHERE program = 'h' ORDER BY day DESC LIMIT 1), 60::numeric, 'and is outstanding');
SELECT is(pg_temp.hold(25, key => 'k'), (SELECT id FROM holding_test.made), 'the same call again answers the same');
SELECT throws_ok($$ SELECT pg_temp.hold(25, '2 hours', 'k') $$, 'LY004', NULL, 'another length is another call');
SELECT throws_ok($$ SELECT pg_temp.hold(36) $$, 'LY001', NULL, 'two holds cannot overlap');
SELECT throws_ok($$ SELECT * FROM loyalty.redeem(1, points => 36, program => 'h') $$, 'LY001', NULL, 'nor a burn and a hold');
SELECT throws_ok($$ SELECT pg_temp.hold(1, '31 days') $$, 'LY008', NULL, '30 days at most');
SELECT throws_ok($$ SELECT pg_temp.reverse((SELECT id FROM holding_test.made)) $$, 'LY006', NULL, 'what is held cannot be reversed');
SELECT throws_ok($$ SELECT pg_temp.capture((SELECT id FROM holding_test.made), 26) $$, 'LY006', NULL, 'no more can be captured than is held');
SAVEPOINT held;
SELECT is(pg_temp.capture((SELECT id FROM holding_test.made), 20), 'captured 20', 'a part can be');
SELECT is(pg_temp.lots(), '0 10 30', 'and the last taken go back');
SELECT is(pg_temp.has(), '40 0', 'nothing stays held');
SELECT throws_ok($$ SELECT pg_temp.capture((SELECT id FROM holding_test.made)) $$, 'LY006', NULL, 'a hold is captured once');
SELECT throws_ok($$ SELECT * FROM loyalty.release(1, (SELECT id FROM holding_test.made)) $$, 'LY006', NULL, 'and not released then');
SELECT is(pg_temp.reverse((SELECT id FROM holding_test.made), 15), 'captured 15 15 0', 'a part of it is reversed');
SELECT is(pg_temp.lots(), '5 20 30', 'in the opposite order');
SELECT throws_ok($$ SELECT pg_temp.reverse((SELECT id FROM holding_test.made), 6) $$, 'LY006', NULL, 'no more than what is left');
SET LOCAL loyalty.now = '2024-01-11';
SELECT is(pg_temp.reverse((SELECT id FROM holding_test.made)), 'reversed 5 0 5', 'what has died comes back dead');
SELECT is(pg_temp.has(), '50 0', 'and cannot be spent');
SELECT is((SELECT string_agg(DISTINCT last_day::text, ' ' ORDER BY last_day::text) FROM loyalty.expiring WHERE program = 'h'), '2024-01-11 2024-01-12', 'nothing is immortal');
ROLLBACK TO held;
SET LOCAL loyalty.now = '2024-01-05 00:59:59.999999';
SELECT is(pg_temp.has(), '35 25', 'a hold lasts to its last microsecond');
SET LOCAL loyalty.now = '2024-01-05 01:00';
SELECT is(pg_temp.has(), '60 0', 'and has lapsed at its end, with no job run');
SELECT throws_ok($$ SELECT pg_temp.capture((SELECT id FROM holding_test.made)) $$, 'LY006', NULL, 'what has lapsed cannot be captured');
SELECT is((SELECT points FROM loyalty.redeem(1, points => 60, program => 'h')), 60::numeric, 'and its points can be spent');
ROLLBACK TO held;
INSERT INTO holding_test.made VALUES ('cup', (SELECT redemption_id FROM loyalty.redeem(1, 'cup', program => 'h', hold => '1 hour')));
SELECT is(pg_temp.left_over(), 0::bigint, 'a held reward is out of the stock');
SELECT throws_ok($$ SELECT * FROM loyalty.redeem(1, 'cup', program => 'h') $$, 'LY005', NULL, 'for everybody');
SELECT is((SELECT state FROM loyalty.release(1, (SELECT id FROM holding_test.made WHERE name = 'cup'))), 'released', 'a hold is given up');
SELECT is(pg_temp.left_over(), 1::bigint, 'and the piece is back');

-- paying with points
SELECT lives_ok($$ INSERT INTO holding_test.sale VALUES (4, 1, 100, 35, '2024-01-05') $$, 'a sale is paid with points');
SELECT is(pg_temp.has(), '100 25', 'it burns, and earns');
SELECT throws_ok($$ INSERT INTO holding_test.sale VALUES (5, 1, 1000, 101, '2024-01-05') $$, 'LY001', NULL, 'it cannot be paid with what it earns');
SELECT lives_ok($$ UPDATE holding_test.sale SET total = 50 WHERE id = 4 $$, 'half of it is returned');
SELECT is(pg_temp.has(), '68 25', 'and half of the points, rounded as awards are: 17 stay spent');
SELECT lives_ok($$ DELETE FROM holding_test.sale WHERE id = 4 $$, 'all of it is');
SELECT is(pg_temp.has(), '35 25', 'and it is as it was');
SELECT is_empty('SELECT * FROM loyalty.verify()', 'the ledger is sound after all that');
SELECT * FROM finish();
ROLLBACK;
