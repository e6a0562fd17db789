-- The rules of burning, one assertion a rule.
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
SELECT plan(31);

SET LOCAL TimeZone = 'UTC';
CREATE SCHEMA burning_test;
CREATE TABLE burning_test.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, expiry, decimals, sandbox) VALUES ('b', '10 days', 1, true);
DO $$ BEGIN PERFORM loyalty.attach('burning_test.sale', program => 'b', member => 'who', amount => 'total', occurred_at => 'at'); END $$;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('b', 'sale', 'r', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock, ends_at) VALUES ('b', 'cup', 2, 3, '2024-02-01'), ('b', 'plate', 4, NULL, 'infinity');
INSERT INTO burning_test.sale VALUES (1, 1, 10, '2024-01-03'), (2, 1, 10, '2024-01-01'), (3, 1, 10, '2024-01-02');

CREATE FUNCTION pg_temp.lots() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(trim_scale(remaining / 10000.0)::text, ' ' ORDER BY expires_at, entry_no) FROM loyalty.lot WHERE member_id = 1 AND kind = 'a' $$;
CREATE FUNCTION pg_temp.available(at timestamptz) RETURNS numeric LANGUAGE sql AS $$ SELECT available FROM loyalty.balance(1, 'b', at) $$;
CREATE FUNCTION pg_temp.left_over() RETURNS bigint LANGUAGE sql AS $$
  SELECT sum(s.left_over)::bigint FROM loyalty.reward_stock s JOIN loyalty.reward r ON r.id = s.reward_id WHERE r.program = 'b' $$;
CREATE FUNCTION pg_temp.redeem(points numeric, key text DEFAULT NULL) RETURNS numeric LANGUAGE sql AS $$
  SELECT r.points FROM loyalty.redeem(1, points => redeem.points, program => 'b', key => redeem.key) r $$;

SET LOCAL loyalty.now = '2024-01-05';
SELECT is(pg_temp.redeem(12), 12::numeric, 'a redemption takes what it says');
SELECT is(pg_temp.lots(), '0 8 10', 'what dies first is spent first, whatever came first');
SELECT is(pg_temp.available('2024-01-05'), 18::numeric, 'the rest is available');
SELECT is(pg_temp.redeem(0.5, 'k'), 0.5, 'tenths where the program has them');
SELECT is(pg_temp.redeem(0.50, 'k'), 0.5, 'the same call again answers the same');
SELECT is(pg_temp.available('2024-01-05'), 17.5, 'and takes nothing');
SELECT throws_ok($$ SELECT pg_temp.redeem(0.6, 'k') $$, 'LY004', NULL, 'the same key with other points is refused');
SELECT throws_ok($$ SELECT * FROM loyalty.adjust(1, 0.5, 'x', 'b', key => 'k') $$, 'LY004', NULL, 'and so it is in another function');
SELECT throws_ok($$ SELECT pg_temp.redeem(17.6) $$, 'LY001', 'insufficient points', 'no more than there is');
SELECT throws_ok($$ SELECT pg_temp.redeem(0.05) $$, 'LY017', NULL, 'no finer than the program');
SELECT is(pg_temp.available('2024-01-05'), 17.5, 'refusals take nothing');

SET LOCAL loyalty.now = '2024-01-11 23:59:59.999999';
SELECT is(pg_temp.available('2024-01-11 23:59:59.999999'), 17.5, 'a lot lives to its last microsecond');
SAVEPOINT alive;
SELECT is(pg_temp.redeem(17.5), 17.5, 'and can be spent then');
ROLLBACK TO alive;
SET LOCAL loyalty.now = '2024-01-12';
SELECT is(pg_temp.available('2024-01-12'), 10::numeric, 'and is dead at its first dead instant');
SELECT throws_ok($$ SELECT pg_temp.redeem(10.1) $$, 'LY001', NULL, 'and cannot be spent then, with no job run');
SELECT is(pg_temp.redeem(1), 1::numeric, 'the next lot pays');
SELECT is((SELECT sum(points) / 10000 FROM loyalty.movement WHERE member_id = 1 AND kind = 'expire'), -7.5, 'what died is written down by then');

SELECT is((SELECT points FROM loyalty.redeem(1, 'cup', quantity => 2, program => 'b', key => 'cups')), 4::numeric, 'a reward costs its cost by quantity');
SELECT is(pg_temp.left_over(), 1::bigint, 'and comes out of the stock');
SELECT throws_ok($$ SELECT * FROM loyalty.redeem(1, 'cup', quantity => 2, program => 'b') $$, 'LY005', 'reward "cup" is out of stock', 'no more pieces than there are');
SELECT is(pg_temp.left_over(), 1::bigint, 'a refusal leaves the stock');
SAVEPOINT last_piece;
SELECT is((SELECT points FROM loyalty.redeem(1, 'cup', program => 'b')), 2::numeric, 'the last piece');
ROLLBACK TO last_piece;
SELECT is(pg_temp.left_over(), 1::bigint, 'comes back with a rollback');
SELECT throws_ok($$ SELECT * FROM loyalty.redeem(1, 'saucer', program => 'b') $$, 'LY005', NULL, 'an unknown reward is not available');

SET LOCAL loyalty.now = '2024-02-01';
INSERT INTO burning_test.sale VALUES (4, 1, 10, '2024-01-31');
SELECT throws_ok($$ SELECT * FROM loyalty.redeem(1, 'cup', program => 'b') $$, 'LY005', NULL, 'a reward ends at ends_at');
SELECT is((SELECT points FROM loyalty.redeem(1, 'cup', quantity => 2, program => 'b', key => 'cups')), 4::numeric, 'what was had before is answered after');
SELECT ok(loyalty.block(1, 'b', 'test'), 'an account can be blocked');
SELECT throws_ok($$ SELECT pg_temp.redeem(1) $$, 'LY009', NULL, 'and spends nothing then');
SELECT ok(loyalty.unblock(1, 'b'), 'and unblocked');
SELECT is((SELECT points FROM loyalty.redeem(1, 'plate', program => 'b')), 4::numeric, 'and spends again');
SELECT is_empty('SELECT * FROM loyalty.verify()', 'the ledger is sound after all that');
SELECT * FROM finish();
ROLLBACK;
