-- verify() finds every planted error, and nothing in a sound ledger; status() tells how things are.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA verify_test;
SET LOCAL search_path = verify_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, pending, sandbox) VALUES ('v', 'Europe/Istanbul', '6 months', '1 day', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('v', 'green', 0, 0, 0), ('v', 'gold', 1, 100, 0.5);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => 'v', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, expiry) VALUES ('v', 'sale', 'one', 'base', 'earn.amount', NULL), ('v', 'sale', 'short', 'bonus', '5', '30 days');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('v', 'cup', 40, 5);

-- a ledger with lots alive, dead, spent, taken back, pending and late, of two members
SET loyalty.now = '2020-01-10 10:00+00';
INSERT INTO sale SELECT i, 1 + i % 2, 10.5 * i, '2020-01-10 10:00+00' FROM generate_series(1, 10) i;
SET loyalty.now = '2020-03-10 10:00+00';
SELECT points FROM loyalty.redeem(1, reward => 'cup', program => 'v');
UPDATE sale SET total = 3 WHERE id IN (2, 3);
DELETE FROM sale WHERE id = 4;
INSERT INTO sale VALUES (11, 1, 0, '2020-03-10 10:00+00'), (12, 2, 500, '2019-12-10 10:00+00'), (13, 1, 50, '2020-03-10 09:00+00'), (14, 2, 7, '2019-01-01 00:00+00');
DELETE FROM sale WHERE id IN (1, 11);
SELECT points FROM loyalty.adjust(1, 12, 'a kindness', program => 'v', counts_for_tier => true);
SELECT points FROM loyalty.adjust(1, -2, 'a mistake', program => 'v');
SELECT loyalty.block(2, 'v', 'asked for'), loyalty.unblock(2, 'v');
SELECT * FROM loyalty.verify();

CREATE FUNCTION broken(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
  n bigint;
BEGIN
  EXECUTE command;
  GET DIAGNOSTICS n = ROW_COUNT;
  SELECT string_agg(DISTINCT v.invariant, ', ' ORDER BY v.invariant) INTO found_ones FROM loyalty.verify() v;
  RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found_ones, 'nothing is found') || CASE WHEN n = 0 AND command ~ '^(UPDATE|DELETE)' THEN ' (nothing was broken)' ELSE '' END;
EXCEPTION WHEN SQLSTATE 'XX999' THEN
  RETURN SQLERRM;
END $$;

\pset format unaligned
\pset tuples_only on
SELECT c || E'\n  -> ' || broken(c) FROM (VALUES
  ('SELECT'),
  -- lots
  ('UPDATE loyalty.lot SET remaining = remaining + 1 WHERE member_id = 1 AND remaining > 0 AND expires_at > ''2020-03-11'' AND source_key = ''8'''),
  ('UPDATE loyalty.lot SET points = points + 10000, remaining = remaining + 10000 WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET remaining = points + 1 WHERE source_key = ''13'' AND part = 0'),
  ('UPDATE loyalty.lot SET owed = -1 WHERE source_key = ''13'' AND part = 0'),
  ('UPDATE loyalty.lot SET expires_at = ''2020-03-01'' WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET kept_amount = 7 WHERE source_key = ''8'''),
  ('UPDATE loyalty.lot SET kept_amount = amount + 1 WHERE source_key = ''8'''),
  ('UPDATE loyalty.lot SET kept_amount = 7 WHERE source_key = ''8'' AND part = 1'),
  ('UPDATE loyalty.lot SET part = 2 WHERE source_key = ''8'' AND part = 1'),
  ('UPDATE loyalty.lot SET breakdown = NULL WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET breakdown = ''\x00ff'' WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET breakdown = loyalty.breakdown ''{1: 84; down, 0}''::bytea WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET entry_no = (SELECT min(m.entry_no) FROM loyalty.movement m WHERE m.member_id = 1) WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET entry_no = 1000 WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET at = ''2030-01-01'' WHERE source_key = ''8'' AND part = 0'),
  ('UPDATE loyalty.lot SET owed = owed + 10000 WHERE source_key = ''8'' AND part = 0'),
  ('DELETE FROM loyalty.lot WHERE source_key = ''8'' AND part = 0'),
  ('DELETE FROM loyalty.lot WHERE source_key = ''13'' AND part = 0'),
  -- movements
  ('DELETE FROM loyalty.movement WHERE kind = ''redeem'''),
  ('DELETE FROM loyalty.movement WHERE kind = ''expire'' AND member_id = 2'),
  ('UPDATE loyalty.movement SET points = points + 1 WHERE kind = ''expire'' AND member_id = 2'),
  ('UPDATE loyalty.movement SET points = points - 1 WHERE kind = ''clawback'' AND member_id = 2'),
  ('UPDATE loyalty.movement SET lot_entry_no = lot_entry_no + 1000 WHERE kind = ''redeem'''),
  ('UPDATE loyalty.movement SET kind = ''expire'' WHERE kind = ''redeem'''),
  ('UPDATE loyalty.movement SET redemption_id = 0 WHERE kind = ''redeem'''),
  -- accounts
  ('UPDATE loyalty.account SET available = available + 1 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET pending = pending - 1, available = available + 1 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET held = 5 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET debt = 5 WHERE member_id = 1'),
  ('INSERT INTO loyalty.debt SELECT member_id, 1, ''infinity'', 1, 5, 5, at, at, program_id FROM loyalty.lot WHERE member_id = 1 LIMIT 1'),
  ('INSERT INTO loyalty.debt SELECT member_id, 1, ''infinity'', 1, 5, 6, at, at, program_id FROM loyalty.lot WHERE member_id = 1 LIMIT 1'),
  ('UPDATE loyalty.account SET spend = spend + 0.01 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET spend_previous = 1 WHERE member_id = 2'),
  ('UPDATE loyalty.account SET earned = earned + 1 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET earned_previous = earned_previous - 1 WHERE member_id = 2'),
  ('UPDATE loyalty.account SET next_entry = 3 WHERE member_id = 1'),
  ('UPDATE loyalty.account SET open_from_expires_at = ''2020-07-11'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET next_change_at = ''infinity'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET next_change_at = ''2020-04-01'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET settled_at = ''2020-01-01'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET settled_at = ''2021-01-01'' WHERE member_id = 1'),
  ('UPDATE loyalty.account SET tier_id = NULL WHERE member_id = 1'),
  ('UPDATE loyalty.account SET tier_id = 0 WHERE member_id = 1'),
  ('UPDATE loyalty.tier_change SET to_tier_id = from_tier_id WHERE member_id = 1'),
  ('DELETE FROM loyalty.account WHERE member_id = 1'),
  -- redemptions
  ('UPDATE loyalty.redemption SET points = points + 1'),
  ('UPDATE loyalty.redemption SET state = ''released'''),
  ('DELETE FROM loyalty.redemption'),
  -- by hand, stock
  ('UPDATE loyalty.intervention SET counts_for_tier = false'),
  ('UPDATE loyalty.intervention SET entry_no = 1 WHERE action = ''block'''),
  ('UPDATE loyalty.intervention SET member_id = 3 WHERE action = ''block'''),
  ('UPDATE loyalty.reward_stock SET left_over = left_over + 5 WHERE slot = 3'),
  ('DELETE FROM loyalty.reward_stock WHERE slot = 3'),
  -- around the ledger
  ('ALTER TABLE sale DISABLE TRIGGER loyalty_row'),
  ('ALTER TABLE sale ENABLE ALWAYS TRIGGER loyalty_row'),
  ('DROP TRIGGER loyalty_level_close ON sale'),
  ('DROP TRIGGER loyalty_truncate ON sale; CREATE TRIGGER loyalty_truncate BEFORE TRUNCATE ON sale EXECUTE FUNCTION loyalty.ledger_truncate()'),
  ('DROP TABLE sale'),
  ('UPDATE loyalty.source SET replicated = true WHERE program = ''v'''),
  ('SET LOCAL loyalty.restoring = on; UPDATE loyalty.rule SET points = ''colour'' WHERE program = ''v'' AND name = ''one'''),
  ('INSERT INTO loyalty.config_history VALUES (''rule'', 0, ''2020-01-01'', ''2020-02-01'', ''{}'', ''x'', ''x''), (''rule'', 0, ''2020-01-15'', ''2020-03-01'', ''{}'', ''x'', ''x'')'),
  ('INSERT INTO loyalty.config_history VALUES (''rule'', 0, ''2020-02-01'', ''2020-01-01'', ''{}'', ''x'', ''x'')')) v (c);
\pset tuples_only off
\pset format aligned

-- rooms beside the core: vouchers, subscriptions, donations
SAVEPOINT rooms;
UPDATE loyalty.program SET point_value = 0.01, money = 'EUR' WHERE name = 'v';
INSERT INTO loyalty.reward (program, name, kind, cost, value) VALUES ('v', 'off', 'discount', 1, 5);
INSERT INTO loyalty.plan (program, name, fee, period) VALUES ('v', 'prime', 10, '1 month'), ('v', 'gold', 120, '1 year');
INSERT INTO loyalty.cause (program, name) VALUES ('v', 'trees');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) VALUES ('v', 'one per cent', 'amount', 'shop', 0.01, 'trees'), ('v', 'tenth', 'points', 'member', 0.1, 'trees');
SELECT tier FROM loyalty.enroll(7, 'v');
SELECT points FROM loyalty.adjust(7, 100, 'x', 'v');
SELECT cause FROM loyalty.choose_cause(7, 'trees', giving => 'tenth', program => 'v');
SELECT count(*) FROM loyalty.redeem(7, 'off', quantity => 4, program => 'v');
SELECT voucher_id AS one FROM loyalty.voucher WHERE member_id = 7 ORDER BY voucher_id LIMIT 1 \gset
SELECT u.state, r.state, a.state, c.state
FROM loyalty.use_voucher(7, voucher_id => :one) u, loyalty.restore_voucher(7, voucher_id => :one) r, loyalty.use_voucher(7, voucher_id => :one + 1) a, loyalty.cancel_voucher(7, voucher_id => :one + 2) c;
SELECT subscription_id AS prime FROM loyalty.subscribe(7, 'prime', program => 'v') \gset
SET loyalty.now = '2020-03-20 10:00+00';
SELECT state, credit FROM loyalty.change_plan(7, :prime, 'gold');
INSERT INTO sale VALUES (20, 7, 120, '2020-03-20 10:00+00'), (21, 7, 80, '2020-03-20 10:00+00'), (22, 7, 60, '2020-03-20 10:00+00');
SET loyalty.now = '2020-03-22 10:00+00';
INSERT INTO sale VALUES (23, 7, 50, '2020-03-22 10:00+00');
UPDATE sale SET total = 30 WHERE id = 21;
DELETE FROM sale WHERE id = 22;
SELECT donation_id AS by_hand FROM loyalty.donate(7, 20, 'trees', 'v') \gset
SELECT amount FROM loyalty.return_donation(7, (SELECT donation_id FROM loyalty.donate(7, 10, 'trees', 'v')));
SELECT c.name AS cause, g.name AS giving, d.source_key, sum(d.amount) AS amount, trim_scale(sum(d.points) / 10000) AS points FROM loyalty.donation d JOIN loyalty.cause c ON c.id = d.cause_id
LEFT JOIN loyalty.giving g ON g.id = d.giving_id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT * FROM loyalty.verify();
\pset format unaligned
\pset tuples_only on
SELECT c || E'\n  -> ' || broken(c) FROM (VALUES
  ('UPDATE loyalty.voucher SET state = ''used'' WHERE member_id = 7 AND state = ''issued'''),
  ('UPDATE loyalty.voucher SET state = ''issued'' WHERE member_id = 7 AND state = ''used'''),
  ('UPDATE loyalty.voucher SET state = ''cancelled'' WHERE member_id = 7 AND state = ''used'''),
  ('UPDATE loyalty.voucher SET state = ''held'' WHERE member_id = 7 AND state = ''issued'''),
  ('DELETE FROM loyalty.voucher_change WHERE member_id = 7'),
  ('DELETE FROM loyalty.voucher WHERE member_id = 7'),
  ('UPDATE loyalty.redemption SET vouchers = 3 WHERE vouchers = 4'),
  ('UPDATE loyalty.subscription SET ends_at = ends_at + interval ''1 day'', paid_until = paid_until + interval ''1 day'' WHERE ends_at > loyalty.instant()'),
  ('UPDATE loyalty.subscription SET paid_until = paid_until - interval ''1 day'''),
  ('UPDATE loyalty.subscription SET changed_to = 0 WHERE changed_to IS NOT NULL'),
  ('UPDATE loyalty.subscription SET changed_from = NULL WHERE changed_from IS NOT NULL'),
  ('DELETE FROM loyalty.subscription_event WHERE action = ''change'''),
  ('DELETE FROM loyalty.plan_payment WHERE kind = ''charge'''),
  ('UPDATE loyalty.plan_payment SET amount = 1 WHERE kind = ''charge'''),
  ('UPDATE loyalty.plan_payment SET covers_until = covers_until + interval ''1 day'' WHERE kind = ''charge'' AND amount = 120'),
  ('DELETE FROM loyalty.subscription'),
  ('UPDATE loyalty.donation SET amount = amount + 0.01 WHERE source_key = ''20'' AND points = 0'),
  ('UPDATE loyalty.donation SET points = points + 1 WHERE source_key = ''23'' AND points > 0'),
  ('UPDATE loyalty.donation SET points = 0 WHERE source_key IS NULL AND redemption_id IS NOT NULL AND of_donation IS NULL'),
  ('UPDATE loyalty.donation SET amount = 1 WHERE of_donation IS NOT NULL'),
  ('DELETE FROM loyalty.donation WHERE amount < 0 AND source_key IS NOT NULL'),
  ('DELETE FROM loyalty.donation WHERE of_donation IS NOT NULL'),
  ('SELECT * FROM loyalty.reverse(7, (SELECT max(redemption_id) FROM loyalty.donation WHERE source_key IS NULL AND of_donation IS NULL AND points = 200000))'),
  ('UPDATE loyalty.redemption SET taken = 0 WHERE reason LIKE ''given to%''')) v (c);
\pset tuples_only off
\pset format aligned
ROLLBACK TO rooms;

-- what it says
UPDATE loyalty.account SET available = available + 12345 WHERE member_id = 1;
UPDATE loyalty.lot SET kept_amount = 7 WHERE source_key = '8';
ALTER TABLE sale DISABLE TRIGGER loyalty_row;
SELECT * FROM loyalty.verify() ORDER BY invariant, entry_no;

-- who may: EXECUTE alone
CREATE ROLE loyalty_test_admin;
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
SET ROLE loyalty_test_admin;
SELECT count(*) FROM loyalty.verify();
SELECT * FROM loyalty.verify_all(1);
SELECT item, regexp_replace(value, '^step (\d+) of \1$', 'all steps') AS value, hint FROM loyalty.status() WHERE item LIKE ANY ('{program v,source sale of v,review,setting%,tables}');
RESET ROLE;
SET LOCAL loyalty.restoring = on;
DELETE FROM loyalty.installed WHERE word = 'lot';
SELECT item, hint FROM loyalty.status() WHERE item IN ('setting loyalty.restoring', 'tables');
ROLLBACK;
