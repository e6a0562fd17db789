-- merge_members(): two registrations of one person become one, with all that both have, and stay one.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA merge_test;
SET LOCAL search_path = merge_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE web (id int PRIMARY KEY, card text, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('p', 'Europe/Istanbul', '6 months', true);
INSERT INTO loyalty.program (name, pending, enrollment, tier_metric, sandbox) VALUES ('wait', '14 days', 'explicit', 'points', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 200), ('p', 'black', 2, 1000), ('wait', 'in', 0, 0), ('wait', 'up', 1, 60);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'wait', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('web', program => 'p', member => 'card', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount'), ('wait', 'sale', 'half', 'earn.amount / 2'), ('p', 'web', 'double', 'earn.amount * 2');
CREATE VIEW balances AS SELECT member_id AS member, external_id, program, available, pending, tier, to_next_tier FROM loyalty.member_balance WHERE program IN ('p', 'wait') ORDER BY 3, 1;
CREATE VIEW lots AS SELECT l.member_id AS member, p.name AS program, l.entry_no, coalesce(s.name || ' ' || l.source_key, l.kind::text) AS lot, l.part, l.points / 10000 AS points, l.remaining / 10000 AS remaining, l.amount, l.kept_amount AS kept
FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id LEFT JOIN loyalty.source s ON s.id = l.source_id WHERE p.name IN ('p', 'wait') ORDER BY 2, 1, 3;

-- both have a life: purchases kept, returned, spent, dead, given away, corrected, under keys; one purchase went from 1 to 2
SET LOCAL loyalty.now = '2024-01-10 00:00+00';
SELECT tier FROM loyalty.enroll(1, 'wait', attributes => '{"size": 42, "diet": "vegan"}', external_id => 'card 1');
SELECT tier FROM loyalty.enroll(2, 'p', attributes => '{"size": 43, "birth_date": "1990-02-14"}', external_id => 'card 2');
INSERT INTO sale VALUES (1, 1, 20, '2023-12-20'), (2, 2, 30, '2024-01-05');
SET LOCAL loyalty.now = '2024-07-01 00:00+00';
INSERT INTO sale VALUES (3, 1, 100, '2024-06-10'), (4, 1, 40, '2024-06-11'), (5, 2, 110, '2024-06-12'), (6, 1, 60, '2024-06-25'), (7, 1, 0, '2024-06-26');
INSERT INTO web VALUES (1, 'card 1', 5, '2024-06-20'), (2, 'card 2', 6, '2024-06-21');
UPDATE sale SET total = 30 WHERE id = 4;
UPDATE sale SET who = 2 WHERE id = 6;
SELECT points FROM loyalty.redeem(1, points => 105, program => 'p', key => 'k1');
SELECT points FROM loyalty.redeem(2, points => 15, program => 'p', key => 'k2');
SELECT points FROM loyalty.redeem(2, points => 1, program => 'p', key => 'k1');
SELECT points FROM loyalty.adjust(1, 25, 'sorry', 'p', key => 'k3', counts_for_tier => true);
SELECT points FROM loyalty.adjust(1, -5, 'oh', 'p');
SELECT points FROM loyalty.transfer(1, 2, 7, 'p', key => 'k4');
SELECT count(*) FROM loyalty.change_expiry(1, '2025-06-01', 'long', program => 'p');
TABLE balances;
SELECT * FROM loyalty.verify();
CREATE TEMP TABLE days_before AS SELECT * FROM loyalty.program_daily WHERE program IN ('p', 'wait');
CREATE TEMP TABLE points_before AS SELECT program, sum(available) AS available, sum(pending) AS pending FROM balances GROUP BY 1;

-- refusals
SELECT * FROM loyalty.merge_members(1, 1, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.merge_members(1, 2, NULL);
SELECT * FROM loyalty.merge_members(NULL, 2, 'x');
SELECT * FROM loyalty.merge_members(99, 2, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.merge_members(1, 99, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.block(2, 'p', 'fraud');
SELECT * FROM loyalty.merge_members(1, 2, 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.unblock(2, 'p', 'a mistake');

SELECT * FROM loyalty.merge_members(1, 2, 'registered twice');
TABLE balances;
TABLE lots;
SELECT * FROM loyalty.verify();
-- nothing was granted or taken, on no day
SELECT * FROM points_before b WHERE (program, available, pending) NOT IN (SELECT program, sum(available), sum(pending) FROM balances GROUP BY 1);
SELECT count(*) FROM (TABLE days_before EXCEPT SELECT * FROM loyalty.program_daily WHERE program IN ('p', 'wait')) x;
-- again: nothing is left to be done
SELECT * FROM loyalty.merge_members(1, 2, 'registered twice');
SELECT member_id, attributes, birth_date, status, merged_into FROM loyalty.member ORDER BY 1;
SELECT member_id, external_id FROM loyalty.member_alias ORDER BY 2;
SELECT a.member_id, p.name, a.status, a.available, a.spend, a.tier_id IS NULL AS no_tier FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id ORDER BY 2, 1;
SELECT entry_no, at, kind, points, balance_after, what FROM loyalty.statement WHERE member_id = 2 AND program = 'p' ORDER BY entry_no NULLS LAST, at;
SELECT i.member_id, p.name, i.action, i.points / 10000 AS points, i.reason, i.key FROM loyalty.intervention i JOIN loyalty.program p ON p.id = i.program_id ORDER BY 2, 1, i.entry_no;
SELECT points, what, source, source_key FROM loyalty.explain(2, 'p');

-- the old member is the survivor now: purchases, returns, calls, keys
INSERT INTO sale VALUES (20, 1, 9, '2024-06-30'), (21, 2, 9, '2024-06-30');
INSERT INTO web VALUES (20, 'card 1', 4, '2024-06-30');
SELECT available, tier FROM loyalty.balance(1, 'p');
SELECT available, tier FROM loyalty.balance(2, 'p');
-- returns of what the old one bought: whole, spent long ago, partly before
DELETE FROM sale WHERE id = 3;
SELECT available FROM loyalty.balance(2, 'p');
UPDATE sale SET total = 15 WHERE id = 4;
UPDATE web SET total = 1 WHERE id = 1;
SELECT available FROM loyalty.balance(2, 'p');
SELECT * FROM lots WHERE lot IN ('sale 3', 'sale 4', 'web 1', 'sale 6') AND program = 'p';
-- and back again; a purchase that both have had; the same rows under their one name
INSERT INTO sale VALUES (3, 1, 100, '2024-06-10');
UPDATE sale SET total = 30 WHERE id = 6;
UPDATE sale SET total = 60 WHERE id = 6;
UPDATE sale SET who = 1 WHERE id = 6;
UPDATE sale SET who = 2 WHERE id IN (3, 4);
SELECT available FROM loyalty.balance(2, 'p');
SELECT * FROM lots WHERE lot IN ('sale 3', 'sale 6') AND program = 'p';
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM loyalty.reconcile('web');
SELECT * FROM loyalty.verify();
-- keys: whoever repeats a call of either gets its answer; the key that both have used is the survivor's
SELECT points FROM loyalty.adjust(1, 25, 'sorry', 'p', key => 'k3', counts_for_tier => true);
SELECT points FROM loyalty.adjust(2, 25, 'sorry', 'p', key => 'k3', counts_for_tier => true);
SELECT points FROM loyalty.redeem(2, points => 15, program => 'p', key => 'k2');
SELECT points FROM loyalty.redeem(1, points => 105, program => 'p', key => 'k1');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(1, points => 2, program => 'p', key => 'k9');
SELECT points FROM loyalty.redeem(2, points => 2, program => 'p', key => 'k9');
SELECT points FROM loyalty.transfer(2, 1, 1, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT tier FROM loyalty.enroll(1, 'p', external_id => 'card 3');
SELECT loyalty.add_alias(1, 'card 4'), loyalty.member_id('card 1', 'p'), loyalty.member_id('card 3', 'p');
SELECT available FROM loyalty.balance(2, 'p');
SELECT count(*) FROM loyalty.explain(1, 'p');

-- a third: chains are followed
INSERT INTO sale VALUES (30, 3, 1000, '2024-06-30');
SELECT * FROM loyalty.merge_members(1, 3, 'again');
\echo :LAST_ERROR_SQLSTATE
SELECT program, tier FROM loyalty.merge_members(2, 3, 'again');
SELECT * FROM loyalty.merge_members(3, 1, 'in a ring');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (31, 1, 1, '2024-06-30'), (32, 2, 2, '2024-06-30'), (33, 3, 4, '2024-06-30');
DELETE FROM sale WHERE id IN (1, 2, 5);
SELECT * FROM balances;
SET LOCAL loyalty.now = '2025-07-01 00:00+00';
TABLE balances;
SELECT settled FROM loyalty.settle_batch('-9223372036854775808', 0, 1000);
SELECT * FROM loyalty.verify();

-- debts, caps and uses, rows that are returns: all of one member now
SET LOCAL loyalty.now = '2025-07-02 00:00+00';
INSERT INTO loyalty.program (name, clawback, sandbox) VALUES ('owes', 'debt', true);
CREATE TABLE shop (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, refund_of int);
SELECT loyalty.attach('shop', program => 'owes', member => 'who', amount => 'total', occurred_at => 'at', refund_of => 'refund_of') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period, max_uses, uses_period) VALUES
  ('owes', 'shop', 'one', 'earn.amount', NULL, NULL, NULL, NULL), ('owes', 'shop', 'capped', '10', 35, 'calendar year', 4, 'membership year');
INSERT INTO shop VALUES (1, 7, 100, '2025-06-01', NULL), (2, 8, 20, '2025-06-10', NULL), (3, 8, 40, '2025-06-10', NULL);
SELECT points FROM loyalty.redeem(7, points => 90, program => 'owes');
INSERT INTO shop VALUES (4, 7, -90, '2025-06-12', 1), (5, 8, -10, '2025-06-12', NULL);
SELECT available, debt FROM loyalty.balance(7, 'owes');
SELECT available, debt FROM loyalty.balance(8, 'owes');
SELECT program, available FROM loyalty.merge_members(7, 8, 'twice');
SELECT available, debt FROM loyalty.balance(7, 'owes');
SELECT member_id, used / 100000000 AS used, uses FROM loyalty.rule_usage ORDER BY period_start;
SELECT * FROM loyalty.verify();
-- the cap is one member's; the return of the old member's purchase is taken back, also as a row
INSERT INTO shop VALUES (6, 7, 1, '2025-06-13', NULL), (7, 8, 1, '2025-06-13', NULL);
SELECT l.source_key, l.points / 10000 AS points FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id AND p.name = 'owes' WHERE l.source_key IN ('6', '7') ORDER BY 1;
DELETE FROM shop WHERE id = 4;
SELECT available, debt FROM loyalty.balance(8, 'owes');
DELETE FROM shop;
SELECT available, debt FROM loyalty.balance(8, 'owes');
SELECT * FROM loyalty.verify();

-- what verify() says of halves
CREATE FUNCTION broken(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
BEGIN
  EXECUTE command;
  SELECT string_agg(DISTINCT v.invariant, ', ' ORDER BY v.invariant) INTO found_ones FROM loyalty.verify() v;
  RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found_ones, 'nothing is found');
EXCEPTION WHEN SQLSTATE 'XX999' THEN
  RETURN SQLERRM;
END $$;
SELECT c, broken(c) FROM (VALUES ('SELECT'), ('UPDATE loyalty.account SET status = ''active'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET available = 1 WHERE member_id = 2'), ('UPDATE loyalty.member SET status = ''active'', merged_into = NULL WHERE member_id = 1'),
  ('UPDATE loyalty.redemption SET member_id = 1'), ('UPDATE loyalty.account SET status = ''merged'' WHERE member_id = 3')) v (c);

-- open holds of both: captured, released, lapsed, reversed by either number, with what they hold of stock and code pools
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1000000;
SET LOCAL loyalty.now = '2025-08-01 00:00+00';
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('held', '1 month', true);
INSERT INTO loyalty.code_pool (program, name) VALUES ('held', 'codes');
INSERT INTO loyalty.code (program, pool, code) SELECT 'held', 'codes', 'C' || i FROM generate_series(1, 4) i;
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('held', 'cup', 10, 4);
INSERT INTO loyalty.reward (program, name, kind, cost, pool) VALUES ('held', 'code', 'code', 10, 'codes');
SELECT sum(a.points) FROM (VALUES (41), (42)) m (id), LATERAL loyalty.enroll(m.id, 'held') e, LATERAL loyalty.adjust(m.id, 100, 'x', 'held') a;
SELECT redemption_id AS cup41 FROM loyalty.redeem(41, 'cup', program => 'held', hold => '2 days', key => 'h1') \gset
SELECT redemption_id AS code41 FROM loyalty.redeem(41, 'code', program => 'held', hold => '2 days') \gset
SELECT redemption_id AS part41 FROM loyalty.redeem(41, points => 30, program => 'held', hold => '2 days') \gset
SELECT redemption_id AS lapse41 FROM loyalty.redeem(41, points => 5, program => 'held', hold => '1 hour') \gset
SELECT redemption_id AS late41 FROM loyalty.redeem(41, points => 4, program => 'held', hold => '30 days') \gset
SELECT redemption_id AS cup42 FROM loyalty.redeem(42, 'cup', program => 'held', hold => '2 days', key => 'h1') \gset
SELECT redemption_id AS code42 FROM loyalty.redeem(42, 'code', program => 'held', hold => '2 days') \gset
SELECT redemption_id AS lapse42 FROM loyalty.redeem(42, points => 6, program => 'held', hold => '2 hours') \gset
SELECT program, available FROM loyalty.merge_members(41, 42, 'twice');
SELECT available, held FROM loyalty.balance(42, 'held');
SELECT i.at, b.available, b.held FROM unnest('{2025-08-01 00:59:59.999999+00,2025-08-01 01:00+00,2025-08-01 02:00+00,2025-08-03 00:00+00,2025-08-31 00:00+00}'::timestamptz[]) i (at), loyalty.balance(42, 'held', i.at) b;
SELECT * FROM loyalty.verify();
SET LOCAL loyalty.now = '2025-08-01 03:00+00';
SELECT state FROM loyalty.redeem(41, 'cup', program => 'held', hold => '2 days', key => 'h1');
SELECT state, points FROM loyalty.capture(41, :cup41, key => 'c1');
SELECT state, points FROM loyalty.capture(42, :cup41, key => 'c1');
SELECT state, voucher IS NOT NULL AS given FROM loyalty.capture(42, :code41);
SELECT state, points FROM loyalty.capture(42, :part41, 12);
SELECT state FROM loyalty.capture(42, :lapse41);
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.release(42, :cup42);
SELECT state FROM loyalty.release(41, :code42);
SELECT state, alive, dead FROM loyalty.reverse(41, :part41, 5);
SELECT available, held FROM loyalty.balance(42, 'held');
SELECT sum(left_over) AS cups_left FROM loyalty.reward_stock s JOIN loyalty.reward r ON r.id = s.reward_id WHERE r.program = 'held';
SELECT state, count(*) FROM loyalty.voucher WHERE member_id IN (41, 42) GROUP BY 1 ORDER BY 1;
SELECT count(*) FILTER (WHERE given_at IS NOT NULL) AS given, count(*) FILTER (WHERE held_until IS NOT NULL) AS held FROM loyalty.code WHERE program = 'held';
-- the last hold lapses when its points have died
SELECT settled FROM loyalty.settle_batch(41, 0, 1000);
SET LOCAL loyalty.now = '2025-09-02 00:00+00';
SELECT available, held FROM loyalty.balance(42, 'held');
SELECT count(*) > 0 AS settled FROM loyalty.settle_batch(41, 0, 1000);
SELECT available, held FROM loyalty.balance(42, 'held');
SELECT member_id, state, count(*) FROM loyalty.redemption WHERE member_id IN (41, 42) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM loyalty.verify();

-- who may; and a table that somebody has added is not forgotten in silence
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SET LOCAL ROLE loyalty_test_app;
SELECT * FROM loyalty.merge_members(3, 4, 'x');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
CREATE TABLE loyalty.strange (member_id bigint);
INSERT INTO loyalty.strange VALUES (3);
SELECT * FROM loyalty.merge_members(3, 4, 'x');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
