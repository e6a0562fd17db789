-- Vouchers for a statement period, as Tesco's: from 150 points, in steps of 50, good for two years to the end of the month.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
-- issue_vouchers() commits: what is made here is taken away at the end
CREATE SCHEMA voucher_issue_test;
CREATE TABLE voucher_issue_test.sale (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, pending, sandbox, money, clawback, is_default) VALUES ('clubcard', 'Europe/London', '12 months', '7 days', true, 'GBP', 'debt', false);
SELECT loyalty.attach('voucher_issue_test.sale', program => 'clubcard', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('clubcard', 'sale', 'one per pound', 'trunc(earn.amount)');
INSERT INTO loyalty.reward (program, name, kind, cost, value, min_quantity, validity) VALUES ('clubcard', 'voucher', 'voucher', 50, 0.50, 3, '24 months, end of month');

INSERT INTO voucher_issue_test.sale (who, total, at) VALUES
 (1, 149.99, '2022-01-10 12:00+00'),  -- 149: none
 (2, 150, '2022-01-10 12:00+00'),     -- 1.50
 (3, 199, '2022-01-10 12:00+00'),     -- 1.50, 49 stay
 (4, 1234, '2022-01-10 12:00+00'),    -- 12.00
 (5, 500, '2022-01-27 12:00+00'),     -- pending still
 (6, 500, '2022-01-26 10:00+00'),     -- available this very instant, not written
 (7, 500, '2021-02-02 10:00+00'),     -- expired this very instant, not written
 (8, 500, '2022-01-10 12:00+00'),     -- blocked
 (9, 300, '2022-01-10 12:00+00'),     -- owes
 (10, 400, '2022-01-10 12:00+00');
SET loyalty.now = '2022-02-02 10:00+00';
SELECT loyalty.block(8, 'clubcard', 'fraud');
SELECT points FROM loyalty.redeem(9, points => 300, program => 'clubcard');
UPDATE voucher_issue_test.sale SET total = 100 WHERE who = 9;
INSERT INTO voucher_issue_test.sale (who, total, at) VALUES (9, 150, '2022-01-11 12:00+00');

SELECT * FROM loyalty.preview_vouchers('clubcard');
CALL loyalty.issue_vouchers('clubcard', '');
\echo :LAST_ERROR_SQLSTATE
CALL loyalty.issue_vouchers('clubcard', '2022-02', 'nothing');
UPDATE loyalty.reward SET enabled = false WHERE program = 'clubcard';
CALL loyalty.issue_vouchers('clubcard', '2022-02');
UPDATE loyalty.reward SET enabled = true WHERE program = 'clubcard';
\echo :LAST_ERROR_SQLSTATE
-- stopped after its first batch, and taken up
CALL loyalty.issue_vouchers('clubcard', '2022-02', batch => 3, max_seconds => 0);
SELECT member_id, value FROM loyalty.voucher_status WHERE program = 'clubcard' ORDER BY 1;
SELECT regexp_replace(name, '\d+', 'N') AS name, seen, done, stopped_at IS NOT NULL AS stopped, finished_at IS NOT NULL AS finished FROM loyalty.job WHERE name LIKE 'vouchers %2022-02';
-- its last day is counted from when it began
SET loyalty.now = '2022-03-02 10:00+00';
CALL loyalty.issue_vouchers('clubcard', '2022-02', batch => 3);
SELECT member_id, state, value, issued_at, valid_until, last_day, issue FROM loyalty.voucher_status WHERE program = 'clubcard' ORDER BY 1;
SELECT regexp_replace(name, '\d+', 'N') AS name, seen, done, stopped_at IS NOT NULL AS stopped, finished_at IS NOT NULL AS finished FROM loyalty.job WHERE name LIKE 'vouchers %2022-02';
SELECT program, reward, issue, at, members, vouchers, points, value, used, expired, finished_at IS NOT NULL AS finished FROM loyalty.voucher_issued WHERE program = 'clubcard';
SELECT member_id, available, debt FROM loyalty.member_balance WHERE program = 'clubcard' ORDER BY 1;
-- again: nothing, whatever members have now
INSERT INTO voucher_issue_test.sale (who, total, at) VALUES (2, 700, '2022-02-10 12:00+00');
CALL loyalty.issue_vouchers('clubcard', '2022-02');
SELECT count(*), sum(value) FROM loyalty.voucher_status WHERE program = 'clubcard';
-- the next one
SELECT * FROM loyalty.preview_vouchers('clubcard');
CALL loyalty.issue_vouchers('clubcard', '2022-05');
SELECT member_id, value, last_day FROM loyalty.voucher_status WHERE program = 'clubcard' AND issue = '2022-05';
-- the member's statement says why
SELECT at, kind, points, balance_after, what FROM loyalty.statement WHERE member_id = 2 AND program = 'clubcard' ORDER BY entry_no;

-- used, given up, let expire
SELECT state, value FROM loyalty.use_voucher(4, voucher_id => (SELECT voucher_id FROM loyalty.vouchers(4, 'clubcard')), reference => 'till 1');
SELECT state, points, alive, dead FROM loyalty.cancel_voucher(3, voucher_id => (SELECT voucher_id FROM loyalty.vouchers(3, 'clubcard')));
SET loyalty.now = '2024-03-01 00:00+00';
SELECT issue, vouchers, value, used, used_value, expired, expired_value, cancelled FROM loyalty.voucher_issued WHERE program = 'clubcard' ORDER BY 1;
SELECT loyalty.last_day(valid_until, 'Europe/London') FROM loyalty.voucher WHERE issue = '2022-02' GROUP BY 1;

-- by the steps of a price list, and with codes of a pool that runs out: what was issued stays, the rest follows
INSERT INTO loyalty.program (name, sandbox, is_default) VALUES ('stepped', true, false);
INSERT INTO loyalty.code_pool (program, name) VALUES ('stepped', 'cards');
INSERT INTO loyalty.code (program, pool, code) VALUES ('stepped', 'cards', 'A'), ('stepped', 'cards', 'B');
INSERT INTO loyalty.reward (program, name, kind, cost, value, pool) VALUES ('stepped', 'card', 'voucher', 100, 1, 'cards');
INSERT INTO loyalty.reward_step (program, reward, points, value) VALUES ('stepped', 'card', 100, 1), ('stepped', 'card', 1000, 20);
SELECT count(*) FROM generate_series(1, 4) i, loyalty.enroll(i, 'stepped') e;
SELECT count(*) FROM generate_series(1, 4) i, loyalty.adjust(i, 500 * i, 'welcome', 'stepped') a;
SELECT * FROM loyalty.preview_vouchers('stepped');
CALL loyalty.issue_vouchers('stepped', 'one', batch => 2);
\echo :LAST_ERROR_SQLSTATE
SELECT member_id, points, value FROM loyalty.voucher_status v JOIN (SELECT redemption_id, points / 10000 AS points FROM loyalty.redemption) r USING (redemption_id) WHERE program = 'stepped' ORDER BY 1;
INSERT INTO loyalty.code (program, pool, code) VALUES ('stepped', 'cards', 'C'), ('stepped', 'cards', 'D');
CALL loyalty.issue_vouchers('stepped', 'one', batch => 2);
SELECT member_id, points, value FROM loyalty.voucher_status v JOIN (SELECT redemption_id, points / 10000 AS points FROM loyalty.redemption) r USING (redemption_id) WHERE program = 'stepped' ORDER BY 1;
SELECT invariant, detail FROM loyalty.verify() WHERE program IN ('clubcard', 'stepped');

RESET loyalty.now;
SELECT loyalty.detach('voucher_issue_test.sale');
DROP TABLE voucher_issue_test.sale;
DROP SCHEMA voucher_issue_test;
BEGIN;
SET LOCAL session_replication_role = replica;
DELETE FROM loyalty.voucher_change WHERE voucher_id IN (SELECT v.voucher_id FROM loyalty.voucher v JOIN loyalty.program p ON p.id = v.program_id WHERE p.name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.voucher WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.voucher_issue WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.movement WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.lot WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.debt WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.redemption WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.request WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.intervention WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.account WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('clubcard', 'stepped'));
DELETE FROM loyalty.code WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.reward_step WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.reward WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.code_pool WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.rule WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.source WHERE program IN ('clubcard', 'stepped');
DELETE FROM loyalty.program WHERE name IN ('clubcard', 'stepped');
DELETE FROM loyalty.job WHERE name LIKE 'vouchers %';
COMMIT;
