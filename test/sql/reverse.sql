-- reverse(): spent points go back to the lots that paid, in the opposite order; what has died meanwhile comes back dead.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA reverse_test;
SET LOCAL search_path = reverse_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1001;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, decimals, expiry, sandbox) VALUES ('v', 1, '10 days', true);
SELECT loyalty.attach('sale', program => 'v', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('v', 'sale', 'r', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('v', 'cup', 5, 10);
CREATE VIEW lots AS SELECT l.source_key AS sale, l.points / 10000 AS points, trim_scale(l.remaining / 10000.0) AS remaining, trim_scale(l.owed / 10000.0) AS owed, l.expires_at FROM loyalty.lot l
  WHERE l.member_id = 1 AND l.source_id IN (SELECT id FROM loyalty.source WHERE relation = 'sale'::regclass) ORDER BY l.expires_at, l.entry_no;
CREATE VIEW entries AS SELECT entry_no, at, kind, points, balance_after AS after, source_key AS sale FROM loyalty.statement
  WHERE program = 'v' AND member_id = 1 ORDER BY entry_no NULLS LAST, at;
CREATE FUNCTION r(text) RETURNS bigint LANGUAGE sql AS $$ SELECT redemption_id FROM loyalty.redemption WHERE reason = $1 $$;
INSERT INTO sale VALUES (1, 1, 10, '2024-01-01'), (2, 1, 20, '2024-01-02'), (3, 1, 30, '2024-01-03');
SET LOCAL loyalty.now = '2024-01-05';

-- from three lots; one dies; two alive with their old dates, one dead, none immortal
SELECT points, state FROM loyalty.redeem(1, points => 45, program => 'v', reason => 'three lots');
SELECT * FROM lots;
SAVEPOINT three;
SET LOCAL loyalty.now = '2024-01-11';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), key => 'r');
SELECT * FROM lots;
SELECT * FROM loyalty.balance(1, 'v');
SELECT * FROM loyalty.expiring WHERE program = 'v';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), key => 'r');
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'));
\echo :LAST_ERROR_SQLSTATE
-- what came back dies with its lot: a microsecond before, and at its instant, with no job
SET LOCAL loyalty.now = '2024-01-11 23:59:59.999999';
SELECT available, next_expiry_at FROM loyalty.balance(1, 'v');
SAVEPOINT microsecond;
SELECT points, state FROM loyalty.redeem(1, points => 50, program => 'v');
ROLLBACK TO microsecond;
SET LOCAL loyalty.now = '2024-01-12';
SELECT available, next_expiry_at FROM loyalty.balance(1, 'v');
SELECT points, state FROM loyalty.redeem(1, points => 30.1, program => 'v');
SELECT points, state FROM loyalty.redeem(1, points => 30, program => 'v', reason => 'again');
SET LOCAL loyalty.now = '2024-01-13';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('again'));
SELECT * FROM loyalty.balance(1, 'v');
SELECT * FROM entries;
SELECT day, redeemed, restored, expired, closing FROM loyalty.program_daily WHERE program = 'v' ORDER BY day;
SELECT * FROM loyalty.verify();
ROLLBACK TO three;

-- in parts, last taken first, over the boundaries of lots
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 10.5, key => 'p1');
SELECT * FROM lots;
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 10.5, key => 'p1');
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 10.6, key => 'p1');
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.capture(1, r('three lots'), key => 'p1');
\echo :LAST_ERROR_SQLSTATE
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 34.6);
\echo :LAST_ERROR_SQLSTATE
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 0.05);
\echo :LAST_ERROR_SQLSTATE
SET LOCAL loyalty.now = '2024-01-11';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 30, key => 'p2');
SELECT * FROM lots;
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'));
SELECT state, points, taken, at, changed_at FROM loyalty.redemption WHERE redemption_id = r('three lots');
SELECT points, state FROM loyalty.redeem(1, points => 45, program => 'v', reason => 'three lots 2');
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 10.5, key => 'p1');
SELECT * FROM loyalty.verify();

-- rewards: the pieces come back with the last of the points
SELECT points, state FROM loyalty.redeem(1, 'cup', quantity => 1, program => 'v', reason => 'cup');
SELECT sum(left_over) FROM loyalty.reward_stock WHERE reward_id = (SELECT id FROM loyalty.reward WHERE program = 'v');
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('cup'), 4);
SELECT sum(left_over) FROM loyalty.reward_stock WHERE reward_id = (SELECT id FROM loyalty.reward WHERE program = 'v');
SELECT redemptions, points FROM loyalty.reward_performance WHERE program = 'v';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('cup'));
SELECT sum(left_over) FROM loyalty.reward_stock WHERE reward_id = (SELECT id FROM loyalty.reward WHERE program = 'v');
SELECT redemptions, points FROM loyalty.reward_performance WHERE program = 'v';
-- a reward that has no stock any more takes none back
SELECT points, state FROM loyalty.redeem(1, 'cup', program => 'v', reason => 'cup 2');
UPDATE loyalty.reward SET stock = NULL WHERE program = 'v';
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('cup 2'));

-- holds: what was captured can be reversed, what was released not
SELECT points, state FROM loyalty.redeem(1, points => 4, program => 'v', hold => '1 hour', reason => 'held');
SELECT points, state FROM loyalty.reverse(1, r('held'));
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.capture(1, r('held'), 3);
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('held'), 4);
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('held'), 1);
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('held'));
SELECT points, state FROM loyalty.redeem(1, points => 1, program => 'v', hold => '1 hour', reason => 'given up');
SELECT points, state FROM loyalty.release(1, r('given up'));
SELECT points, state FROM loyalty.reverse(1, r('given up'));
SELECT * FROM loyalty.verify();
ROLLBACK TO three;

-- a blocked account takes back what it had spent
SELECT loyalty.block(1, 'v');
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'), 1);
SELECT loyalty.unblock(1, 'v');

-- buy, burn, return, reverse: what the lot owes is paid first, so that nothing is gained
SELECT points FROM loyalty.redeem(1, points => 16, program => 'v', reason => 'the rest');
DELETE FROM sale WHERE id = 3;
SELECT * FROM lots;
SELECT * FROM loyalty.verify();
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('the rest'));
SELECT * FROM lots;
SELECT points, state, alive, dead FROM loyalty.reverse(1, r('three lots'));
SELECT * FROM lots;
SELECT available FROM loyalty.balance(1, 'v');
SELECT * FROM loyalty.verify();
-- and the purchase comes back
INSERT INTO sale VALUES (3, 1, 30, '2024-01-03');
SELECT * FROM lots;
SELECT available FROM loyalty.balance(1, 'v');
SELECT * FROM loyalty.verify();
ROLLBACK TO three;

-- the same while the points are held
SELECT points FROM loyalty.redeem(1, points => 15, program => 'v', hold => '1 hour', reason => 'held rest');
DELETE FROM sale WHERE id = 3;
SELECT available, held FROM loyalty.balance(1, 'v');
SET LOCAL loyalty.now = '2024-01-05 01:00';
SELECT available, held FROM loyalty.balance(1, 'v');
SELECT at, kind, points, balance_after AS after FROM loyalty.statement WHERE program = 'v' AND entry_no IS NULL ORDER BY at;
SELECT loyalty.settle_batch('-9223372036854775808', 0, 100000) IS NOT NULL AS settled;
SELECT * FROM lots;
SELECT * FROM loyalty.verify();
ROLLBACK;
