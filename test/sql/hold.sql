-- Holds: redeem(hold), capture(), release(), lapse.  What is held is nobody else's, expiry cannot reach it, and when its
-- time is over it has gone back, whether or not a job has run.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA hold_test;
SET LOCAL search_path = hold_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
-- numbers of redemptions stand in messages
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1001;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('h', '10 days', true);
SELECT loyalty.attach('sale', program => 'h', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('h', 'sale', 'r', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('h', 'cup', 20, 3);
CREATE VIEW lots AS SELECT l.member_id AS who, l.source_key AS sale, l.remaining / 10000 AS remaining, l.expires_at FROM loyalty.lot l
  WHERE l.source_id IN (SELECT id FROM loyalty.source WHERE relation = 'sale'::regclass) ORDER BY 1, l.expires_at, l.entry_no;
CREATE VIEW entries AS SELECT member_id AS who, entry_no, at, kind, points, balance_after AS after, source_key AS sale FROM loyalty.statement
  WHERE program = 'h' ORDER BY 1, entry_no NULLS LAST, at, points DESC;
CREATE VIEW standing AS SELECT member_id AS who, available, pending, held, next_expiry_at AS next, next_expiry_points AS dying FROM loyalty.member_balance WHERE program = 'h' ORDER BY 1;
CREATE VIEW redemptions AS SELECT row_number() OVER (ORDER BY redemption_id) AS n, member_id AS who, state, points / 10000 AS points, taken / 10000 AS taken, held_until, changed_at
  FROM loyalty.redemption WHERE program_id = (SELECT id FROM loyalty.program WHERE name = 'h') ORDER BY redemption_id;
CREATE VIEW stock AS SELECT sum(left_over) AS left_over FROM loyalty.reward_stock WHERE reward_id = (SELECT id FROM loyalty.reward WHERE program = 'h');
-- the redemption with this reason
CREATE FUNCTION r(text) RETURNS bigint LANGUAGE sql AS $$ SELECT redemption_id FROM loyalty.redemption WHERE reason = $1 $$;
-- what every view shows, but for numbers that a due entry has not got yet
CREATE FUNCTION shown() RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(x, E'\n' ORDER BY x COLLATE "C") FROM (
    SELECT to_jsonb(s) - 'entry_no' - 'balance_after' FROM loyalty.statement s WHERE program = 'h'
    UNION ALL SELECT to_jsonb(b) FROM loyalty.member_balance b WHERE program = 'h'
    UNION ALL SELECT to_jsonb(e) FROM loyalty.expiring e WHERE program = 'h'
    UNION ALL SELECT to_jsonb(d) FROM loyalty.program_daily d WHERE program = 'h'
    UNION ALL SELECT to_jsonb(p) FROM loyalty.reward_performance p WHERE program = 'h'
    UNION ALL SELECT to_jsonb(f) FROM (SELECT b.* FROM generate_series(1, 3) i, loyalty.balance(i, 'h') b) f) v (j), LATERAL (SELECT j::text) t (x) $$;
-- do they show the same before and after the job, at this instant; does the last day close on the sum of balances
CREATE FUNCTION same_after_job() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  before text := shown();
  closing numeric := (SELECT closing FROM loyalty.program_daily WHERE program = 'h' ORDER BY day DESC LIMIT 1);
BEGIN
  IF closing <> (SELECT sum(available + pending + held - debt) FROM loyalty.member_balance WHERE program = 'h') THEN
    RETURN 'closing is ' || closing;
  END IF;
  PERFORM loyalty.settle_batch('-9223372036854775808', 0, 100000);
  RETURN CASE WHEN before = shown() THEN 'the same' ELSE E'differs\n' || before || E'\n---\n' || shown() END;
END $$;

INSERT INTO sale VALUES (1, 1, 10, '2024-01-01'), (2, 1, 20, '2024-01-02'), (3, 1, 30, '2024-01-03'), (4, 2, 100, '2024-01-03'), (5, 3, 50, '2024-01-01');
SET LOCAL loyalty.now = '2024-01-05';
-- held: out of the lots, in burn order, and nobody else's
SELECT points, state, voucher FROM loyalty.redeem(1, points => 25, program => 'h', key => 'k1', hold => '9 days', reason => 'one');
TABLE lots;
TABLE standing;
SELECT points FROM loyalty.redeem(1, points => 36, program => 'h');
SELECT points FROM loyalty.redeem(1, points => 36, program => 'h', hold => '1 minute');
SELECT points, state FROM loyalty.redeem(1, points => 5, program => 'h', hold => '1 minute', reason => 'two');
-- retries
SELECT points, state FROM loyalty.redeem(1, points => 25, program => 'h', key => 'k1', hold => '216 hours', reason => 'one');
SELECT points, state FROM loyalty.redeem(1, points => 25, program => 'h', key => 'k1', hold => '9 days', reason => 'one');
SELECT points, state FROM loyalty.redeem(1, points => 25, program => 'h', key => 'k1', reason => 'one');
-- lengths
SELECT state FROM loyalty.redeem(1, points => 1, program => 'h', hold => '30 days 1 microsecond');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.redeem(1, points => 1, program => 'h', hold => '100 years');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.redeem(1, points => 1, program => 'h', hold => '-1 minute');
\echo :LAST_ERROR_SQLSTATE
SAVEPOINT lengths;
SELECT state FROM loyalty.redeem(1, points => 1, program => 'h', hold => '30 days', reason => 'longest');
SELECT state FROM loyalty.redeem(1, points => 1, program => 'h', hold => '0', reason => 'usual');
SELECT held_until - at AS length FROM loyalty.redemption WHERE redemption_id IN (r('longest'), r('usual')) ORDER BY 1;
ROLLBACK TO lengths;
-- lapse: a microsecond before, and at its instant
SET LOCAL loyalty.now = '2024-01-05 00:00:59.999999';
TABLE standing;
SET LOCAL loyalty.now = '2024-01-05 00:01';
TABLE standing;
SELECT * FROM loyalty.balance(1, 'h', '2024-01-05 00:00:59.999999');
SELECT * FROM entries WHERE who = 1;
SELECT * FROM loyalty.capture(1, r('two'));
SELECT * FROM loyalty.release(1, r('two'));
SELECT same_after_job();
SELECT * FROM entries WHERE who = 1;
TABLE redemptions;
SELECT * FROM loyalty.capture(1, r('two'));
\echo :LAST_ERROR_SQLSTATE
-- expiry does not reach what is held: sale 1 has died, and the hold holds
SET LOCAL loyalty.now = '2024-01-11 12:00';
TABLE standing;
SELECT same_after_job();
-- captured in part: the last taken go back, 5 of them to sale 2; dead lots have paid all the same
SELECT * FROM loyalty.capture(1, r('one'), 26);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.capture(1, r('one'), 0);
SELECT * FROM loyalty.capture(1, r('one'), -1);
SELECT points, state FROM loyalty.capture(1, r('one'), 20, key => 'c1');
SELECT * FROM lots WHERE who = 1;
TABLE standing;
SELECT * FROM entries WHERE who = 1 AND entry_no > 9;
SELECT points, state FROM loyalty.capture(1, r('one'), 20.0, key => 'c1');
SELECT points, state FROM loyalty.capture(1, r('one'), 21, key => 'c1');
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.release(1, r('one'), key => 'c1');
SELECT points, state FROM loyalty.capture(1, r('one'));
SELECT points, state FROM loyalty.release(1, r('one'));
SELECT points, state FROM loyalty.redeem(1, points => 25, program => 'h', key => 'k1', hold => '9 days', reason => 'one');
-- others
SELECT * FROM loyalty.capture(2, r('one'));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.capture(1, 0);
SELECT * FROM loyalty.capture(1, NULL);
SELECT * FROM loyalty.capture(NULL, r('one'));
SELECT * FROM loyalty.verify();
-- released when the lot has died: dead on its return, at that instant
SET LOCAL loyalty.now = '2024-01-12 12:00';
SELECT state FROM loyalty.redeem(2, points => 60, program => 'h', hold => '20 days', reason => 'three');
SET LOCAL loyalty.now = '2024-01-13 00:00';
TABLE standing;
SELECT same_after_job();
SET LOCAL loyalty.now = '2024-01-20';
SELECT points, state FROM loyalty.release(2, r('three'), key => 'x');
SELECT points, state FROM loyalty.release(2, r('three'), key => 'x');
SELECT * FROM entries WHERE who = 2;
TABLE standing;
SELECT * FROM loyalty.verify();
-- lapses in the order of time, between expiries, by one look and by none: three holds over a lot that dies
INSERT INTO sale VALUES (6, 3, 40, '2024-01-20');
INSERT INTO sale VALUES (7, 3, 40, '2024-01-21');
SET LOCAL loyalty.now = '2024-01-22';
SELECT state FROM loyalty.redeem(3, points => 15, program => 'h', hold => '3 days', reason => 'a');
SELECT state FROM loyalty.redeem(3, points => 35, program => 'h', hold => '8 days 12 hours', reason => 'b');
SELECT state FROM loyalty.redeem(3, points => 10, program => 'h', hold => '2 days', reason => 'c');
SELECT * FROM lots WHERE who = 3;
SAVEPOINT holds;
-- (the whole way at once: the first look is after all of it)
SET LOCAL loyalty.now = '2024-02-05';
SELECT * FROM entries WHERE who = 3 AND at > '2024-01-22';
SELECT * FROM loyalty.program_daily WHERE program = 'h' AND day > '2024-01-21' ORDER BY day;
SELECT same_after_job();
SELECT * FROM loyalty.program_daily WHERE program = 'h' AND day > '2024-01-21' ORDER BY day;
SELECT * FROM entries WHERE who = 3 AND at > '2024-01-22';
SELECT t, b.* FROM unnest(ARRAY['2024-01-23', '2024-01-24', '2024-01-25', '2024-01-30', '2024-01-30 12:00', '2024-01-31', '2024-02-05']::timestamptz[]) t, loyalty.balance(3, 'h', t) b;
SELECT * FROM loyalty.verify();
ROLLBACK TO holds;
-- (at each instant, and what lies ahead)
SELECT t, b.* FROM unnest(ARRAY['2024-01-23', '2024-01-24', '2024-01-25', '2024-01-30', '2024-01-30 12:00', '2024-01-31', '2024-02-05']::timestamptz[]) t, loyalty.balance(3, 'h', t) b;
SET LOCAL loyalty.now = '2024-01-24';
SELECT * FROM loyalty.expiring WHERE program = 'h' AND member_id = 3;
SELECT same_after_job();
SET LOCAL loyalty.now = '2024-01-25';
SELECT * FROM loyalty.expiring WHERE program = 'h' AND member_id = 3;
SELECT same_after_job();
SET LOCAL loyalty.now = '2024-01-30';
SELECT * FROM loyalty.expiring WHERE program = 'h' AND member_id = 3;
SELECT same_after_job();
SET LOCAL loyalty.now = '2024-01-30 12:00';
SELECT same_after_job();
SELECT * FROM loyalty.verify();
ROLLBACK TO holds;
-- what came back can be spent in the same call, from a lot that was empty
SET LOCAL loyalty.now = '2024-01-25';
SELECT points FROM loyalty.redeem(3, points => 46, program => 'h');
SELECT points FROM loyalty.redeem(3, points => 45, program => 'h');
SELECT * FROM lots WHERE who = 3;
SELECT * FROM loyalty.verify();
ROLLBACK TO holds;

-- rewards: the piece is taken by the hold, given back by release and lapse, once
SET LOCAL loyalty.now = '2024-01-22';
SELECT points, state FROM loyalty.redeem(3, 'cup', quantity => 1, program => 'h', hold => '1 hour', reason => 'cup 1');
SELECT 1 FROM loyalty.release(3, r('c'));
SELECT 1 FROM loyalty.release(3, r('b'));
SELECT points, state FROM loyalty.redeem(3, 'cup', quantity => 2, program => 'h', hold => '2 hours', reason => 'cup 2');
TABLE stock;
SELECT points FROM loyalty.redeem(3, 'cup', program => 'h');
SELECT points, state FROM loyalty.release(3, r('cup 1'));
TABLE stock;
SET LOCAL loyalty.now = '2024-01-22 02:00';
SELECT redemptions, points FROM loyalty.reward_performance WHERE program = 'h';
SELECT same_after_job();
TABLE stock;
SELECT same_after_job();
TABLE stock;
SELECT points, state FROM loyalty.redeem(3, 'cup', program => 'h', hold => '1 hour', reason => 'cup 3');
SELECT points, state FROM loyalty.capture(3, r('cup 3'));
SET LOCAL loyalty.now = '2024-01-22 04:00';
TABLE stock;
SELECT redemptions, points FROM loyalty.reward_performance WHERE program = 'h';
-- a sale writes a lapse down, too
SELECT points, state FROM loyalty.redeem(3, points => 1, program => 'h', hold => '1 minute', reason => 'sold');
SET LOCAL loyalty.now = '2024-01-22 04:02';
INSERT INTO sale VALUES (8, 3, 1, '2024-01-22 04:02');
SELECT state, taken, changed_at FROM loyalty.redemption WHERE redemption_id = r('sold');
-- blocked: nothing is spent, but a hold can be given up
SELECT points, state FROM loyalty.redeem(3, points => 1, program => 'h', hold => '1 minute', reason => 'blocked');
SELECT loyalty.block(3, 'h');
SELECT state FROM loyalty.capture(3, r('blocked'));
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.release(3, r('blocked'));
SELECT * FROM loyalty.verify();

-- what verify() finds about holds
SELECT loyalty.unblock(3, 'h');
SELECT points, state FROM loyalty.redeem(3, points => 2, program => 'h', hold => '1 hour', reason => 'verified');
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
  ('UPDATE loyalty.redemption SET taken = taken - 10000 WHERE reason = ''verified'''),
  ('UPDATE loyalty.redemption SET state = ''captured'' WHERE reason = ''verified'''),
  ('UPDATE loyalty.redemption SET state = ''released'' WHERE reason = ''verified'''),
  ('UPDATE loyalty.redemption SET held_until = at WHERE reason = ''verified'''),
  ('UPDATE loyalty.redemption SET state = ''held'' WHERE reason = ''cup 3'''),
  ('UPDATE loyalty.redemption SET last_entry = last_entry - 1 WHERE reason = ''one'''),
  ('UPDATE loyalty.account SET held = 0, available = available + held WHERE held > 0'),
  ('UPDATE loyalty.account SET next_change_at = ''infinity'' WHERE held > 0'),
  ('UPDATE loyalty.movement SET kind = ''redeem'' WHERE redemption_id = (SELECT max(redemption_id) FROM loyalty.redemption)')) v (c);
ROLLBACK;
