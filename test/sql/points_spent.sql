-- Paying with points on the sale itself: the row burns, then earns; a return restores in the proportion of the money.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA points_spent_test;
SET LOCAL search_path = points_spent_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1001;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, points_used numeric, ok boolean DEFAULT true, at timestamptz DEFAULT '2024-01-05');
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('p', '10 days', true);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok', points_spent => 'points_used / 2.0 * 2') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'a tenth', 'earn.amount / 10');
CREATE VIEW lots AS SELECT l.member_id AS who, l.source_key AS sale, l.points / 10000 AS points, l.remaining / 10000 AS remaining, l.owed / 10000 AS owed, l.kept_amount AS kept FROM loyalty.lot l
  JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = 'p' ORDER BY 1, l.entry_no;
CREATE VIEW spent AS SELECT member_id AS who, source_key AS sale, points / 10000 AS points, taken / 10000 AS taken, stated / 10000 AS stated, state FROM loyalty.redemption
  WHERE source_id IN (SELECT id FROM loyalty.source WHERE relation = 'sale'::regclass) ORDER BY redemption_id;
CREATE VIEW balances AS SELECT member_id AS who, available FROM loyalty.member_balance WHERE program = 'p' ORDER BY 1;
SET LOCAL loyalty.now = '2024-01-05';
SELECT member_id FROM loyalty.enroll(1, 'p') UNION ALL SELECT member_id FROM loyalty.enroll(2, 'p');
SELECT points FROM loyalty.adjust(1, 100, 'to begin with', 'p');

-- burns first, then earns
INSERT INTO sale VALUES (1, 1, 200, 60), (2, 1, 50, NULL), (3, 1, 10, 0);
TABLE balances;
TABLE lots;
TABLE spent;
SELECT entry_no, kind, points, balance_after, what FROM loyalty.statement WHERE program = 'p' AND member_id = 1 ORDER BY entry_no;
-- what it earns cannot pay it; not more than there is, and the sale fails
INSERT INTO sale VALUES (4, 1, 1000, 70);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (4, 2, 1000, 1);
INSERT INTO sale VALUES (4, 3, 1000, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM sale WHERE id = 4;
-- no points
INSERT INTO sale VALUES (4, 1, 1, -1);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (4, 1, 1, 'NaN');
INSERT INTO sale VALUES (4, 1, 1, 'Infinity');
INSERT INTO sale VALUES (4, 1, 1, 0.5);
INSERT INTO sale VALUES (4, 1, 1, 10000000000);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.block(1, 'p');
INSERT INTO sale VALUES (4, 1, 1, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.unblock(1, 'p');
-- by hand it cannot be undone: the purchase says what is spent
SELECT * FROM loyalty.reverse(1, 1001);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify();

-- returns, in whatever steps: round(60 x kept / 200), down
SAVEPOINT bought;
UPDATE sale SET total = 133 WHERE id = 1;
TABLE spent;
UPDATE sale SET total = 101 WHERE id = 1;
UPDATE sale SET total = 33 WHERE id = 1;
TABLE spent;
TABLE balances;
ROLLBACK TO bought;
UPDATE sale SET total = 33 WHERE id = 1;
TABLE spent;
TABLE balances;
SELECT * FROM loyalty.verify();
-- up again: taken again, in a redemption of its own; down: the newest gives back first
UPDATE sale SET total = 200 WHERE id = 1;
TABLE spent;
UPDATE sale SET total = 100 WHERE id = 1;
TABLE spent;
-- above what it was: as many as the row says
UPDATE sale SET total = 400 WHERE id = 1;
TABLE spent;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- the row says fewer: fewer, whatever the money; more: more
UPDATE sale SET points_used = 20 WHERE id = 1;
TABLE spent;
UPDATE sale SET points_used = 64 WHERE id = 1;
TABLE spent;
UPDATE sale SET points_used = 64, total = 100 WHERE id = 1;
TABLE spent;
UPDATE sale SET points_used = 40 WHERE id = 1;
TABLE spent;
UPDATE sale SET points_used = 200 WHERE id = 1;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- cancelled, and not; deleted, and back; and each time what was earned follows
UPDATE sale SET ok = false WHERE id = 1;
TABLE spent;
TABLE balances;
UPDATE sale SET ok = true WHERE id = 1;
TABLE spent;
TABLE balances;
DELETE FROM sale WHERE id = 1;
TABLE balances;
INSERT INTO sale VALUES (1, 1, 200, 60);
TABLE spent;
TABLE balances;
DELETE FROM sale WHERE id = 1;
SELECT points FROM loyalty.redeem(1, points => 80, program => 'p');
-- it was paid with points that have gone since: it does not come back
INSERT INTO sale VALUES (1, 1, 200, 60);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- restored points serve first for what the return takes back: nothing is gained by spending the award
SELECT points FROM loyalty.redeem(1, points => 66, program => 'p');
DELETE FROM sale WHERE id = 1;
TABLE lots;
TABLE balances;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- what has died comes back dead
SET LOCAL loyalty.now = '2024-01-15';
DELETE FROM sale WHERE id = 1;
TABLE balances;
SELECT kind, points FROM loyalty.statement WHERE program = 'p' AND member_id = 1 AND at = '2024-01-15' ORDER BY entry_no;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- another hand: given back to one, taken from the other, who must have them
UPDATE sale SET who = 2 WHERE id = 1;
SELECT points FROM loyalty.adjust(2, 60, 'to pay', 'p');
UPDATE sale SET who = 2 WHERE id = 1;
TABLE spent;
TABLE balances;
-- another key
UPDATE sale SET id = 11 WHERE id = 1;
TABLE spent;
TABLE balances;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;
-- many rows in one statement, also for one key: nothing twice
SELECT points FROM loyalty.adjust(1, 10000, 'many', 'p');
INSERT INTO sale SELECT i, 1, 10, 2 FROM generate_series(100, 3100) i;
TABLE balances;
SELECT count(*), sum(taken) / 10000 AS taken FROM loyalty.redemption WHERE source_key IS NOT NULL AND member_id = 1;
DELETE FROM sale WHERE id BETWEEN 100 AND 2100;
SELECT state, count(*), sum(taken) / 10000 AS taken FROM loyalty.redemption WHERE source_key IS NOT NULL AND member_id = 1 GROUP BY 1 ORDER BY 1;
UPDATE sale SET total = 5 WHERE id > 2100;
SELECT state, count(*), sum(taken) / 10000 AS taken FROM loyalty.redemption WHERE source_key IS NOT NULL AND member_id = 1 GROUP BY 1 ORDER BY 1;
WITH d AS (DELETE FROM sale WHERE id = 3000 RETURNING *) INSERT INTO sale SELECT id, who, 10, 2, ok, at FROM d;
SELECT count(*), sum(taken) / 10000 AS taken FROM loyalty.redemption WHERE source_key = '3000' AND member_id = 1;
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;

-- what is paid with points earns or not
UPDATE loyalty.program SET earn_on_points_paid = false WHERE name = 'p';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET earn_on_points_paid = false, point_value = 0.5 WHERE name = 'p';
INSERT INTO sale VALUES (5, 1, 200, 40), (6, 1, 1, 20);
SELECT * FROM lots WHERE sale IN ('5', '6');
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 1, "total": 200, "points_used": 10, "at": "2024-01-05", "ok": true}');
INSERT INTO sale VALUES (7, 1, 200, 10);
SELECT points FROM loyalty.award('sale', '7');
-- a return in proportion of the whole amount, the counter as well
UPDATE sale SET total = 100 WHERE id = 5;
SELECT * FROM lots WHERE sale = '5';
SELECT * FROM spent WHERE sale = '5';
SELECT value FROM loyalty.tier_standing WHERE program = 'p' AND member_id = 1;
SELECT * FROM loyalty.verify();
-- quote and why_not
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 1, "total": 200, "points_used": 1000, "at": "2024-01-05", "ok": true}');
SELECT rule, why_not FROM loyalty.why_not('sale', '6');
ROLLBACK TO bought;

-- steps, minimum, share of the order
UPDATE loyalty.source SET spend_step = 10, spend_minimum = 20 WHERE program = 'p';
UPDATE loyalty.source SET spend_maximum_share = 0.5 WHERE program = 'p';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.source SET spend_step = 0.5 WHERE program = 'p';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET point_value = 0.5 WHERE name = 'p';
UPDATE loyalty.source SET spend_maximum_share = 0.5 WHERE program = 'p';
UPDATE loyalty.program SET point_value = NULL WHERE name = 'p';
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (4, 1, 100, 10);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (4, 1, 100, 25);
INSERT INTO sale VALUES (4, 1, 30, 40);
\echo :LAST_ERROR_SQLSTATE
SELECT rule, points FROM loyalty.quote('sale', '{"who": 1, "total": 30, "points_used": 40, "at": "2024-01-05", "ok": true}');
INSERT INTO sale VALUES (4, 1, 40, 40);
-- a return is not asked
UPDATE sale SET total = 20 WHERE id = 4;
SELECT * FROM spent WHERE sale = '4';
UPDATE sale SET points_used = 45 WHERE id = 4;
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;

-- on_error = skip: the sale goes through without, is listed, and posted when it can be
UPDATE loyalty.source SET on_error = 'skip' WHERE program = 'p';
INSERT INTO sale VALUES (4, 1, 100, 70), (5, 1, 10, 5), (6, 3, 10, 5), (7, 1, 10, -5);
TABLE balances;
SELECT source_key, sqlstate, error FROM loyalty.review ORDER BY source_key COLLATE "C";
SELECT rule, why_not FROM loyalty.why_not('sale', '4');
SELECT points FROM loyalty.adjust(1, 100, 'enough', 'p');
UPDATE sale SET points_used = 0 WHERE id IN (6, 7);
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM spent WHERE sale IN ('4', '5', '6', '7');
TABLE balances;
-- a rule that fails: the points are spent, what it earns is posted later, nothing is taken twice
UPDATE loyalty.rule SET points = '1 / (earn.amount - 13)' WHERE program = 'p';
INSERT INTO sale VALUES (8, 1, 13, 5);
SELECT * FROM spent WHERE sale = '8';
UPDATE loyalty.rule SET points = '1' WHERE program = 'p';
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM spent WHERE sale = '8';
SELECT * FROM lots WHERE sale = '8';
SELECT * FROM loyalty.verify();
ROLLBACK TO bought;

-- what verify() finds
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
SELECT c, broken(c) FROM (VALUES
  ('SELECT'),
  ('UPDATE loyalty.redemption SET stated = taken - 1 WHERE source_key = ''1'''),
  ('UPDATE loyalty.lot SET kept_amount = 0 WHERE source_key = ''1''')) v (c);
ROLLBACK;
