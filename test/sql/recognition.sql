-- Recognition: points that members give each other from an allowance.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
SET LOCAL TimeZone = 'Europe/Istanbul';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox, expiry) VALUES ('r', 'Europe/Istanbul', true, '12 months');
SET loyalty.now = '2022-01-10 12:00+03';
SELECT count(*) FROM generate_series(1, 6) n, LATERAL loyalty.enroll(n, 'r', attributes => CASE WHEN n < 5 THEN '{"staff": true}'::jsonb ELSE '{}' END);
INSERT INTO loyalty.recognition (program, name, allowance, givers, receivers, maximum, per_receiver, back_within, choices)
VALUES ('r', 'thanks', 100, '{"staff": true}', '{"staff": true}', 60, 70, '7 days', '{teamwork,courage}');
SAVEPOINT ready;

-- ---- from the allowance, not from what is earned; used or lost at the end of the month in the program's zone
SELECT * FROM loyalty.allowance(1, 'r');
SELECT given_no, left_over, period_end FROM loyalty.recognise(1, 2, 60, 'for the night shift', 'teamwork', 'r');
SELECT given_no, left_over FROM loyalty.recognise(1, 3, 40, 'for saying no', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 4, 1, 'one more', 'courage', 'r');
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'r' AND available > 0 ORDER BY 1;
SELECT at, kind, points, what, last_day FROM loyalty.statement WHERE program = 'r' AND member_id = 2;
SELECT * FROM loyalty.allowance(1, 'r', '2022-01-31 23:59:59.999999+03');
SELECT * FROM loyalty.allowance(1, 'r', '2022-02-01 00:00+03');
SELECT * FROM loyalty.allowance(1, 'r', '2022-01-10 11:59+03');
SET loyalty.now = '2022-02-01 00:00+03';
SELECT given_no, left_over FROM loyalty.recognise(1, 2, 10, 'a new month', 'teamwork', 'r');
SELECT * FROM loyalty.recognition_feed WHERE program = 'r' ORDER BY at, given_no;
SELECT * FROM loyalty.recognition_summary WHERE program = 'r' ORDER BY month, member_id;
SELECT * FROM loyalty.verify();
ROLLBACK TO ready;

-- ---- limits: at once, for one receiver, back and forth
SELECT * FROM loyalty.recognise(1, 2, 61, 'too much', 'courage', 'r');
SELECT given_no FROM loyalty.recognise(1, 2, 40, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 2, 31, 'x', 'courage', 'r');
SELECT given_no FROM loyalty.recognise(1, 2, 30, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(2, 1, 5, 'back', 'courage', 'r');
SET loyalty.now = '2022-01-17 11:59:59+03';
SELECT * FROM loyalty.recognise(2, 1, 5, 'back', 'courage', 'r');
UPDATE loyalty.recognition SET back_maximum = 5;
SELECT given_no FROM loyalty.recognise(2, 1, 5, 'back', 'courage', 'r');
SELECT * FROM loyalty.recognise(2, 1, 1, 'back', 'courage', 'r');
SET loyalty.now = '2022-01-24 12:00+03';
SELECT given_no FROM loyalty.recognise(2, 1, 6, 'back', 'courage', 'r');
-- rings can be seen
SELECT given_no FROM loyalty.recognise(2, 3, 6, 'x', 'courage', 'r');
SELECT given_no FROM loyalty.recognise(3, 1, 6, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognition_ring WHERE program = 'r' ORDER BY members;
ROLLBACK TO ready;

-- ---- who may, and what is refused
SELECT * FROM loyalty.recognise(1, 1, 5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(5, 1, 5, 'x', 'courage', 'r');
SELECT * FROM loyalty.allowance(5, 'r');
SELECT * FROM loyalty.recognise(1, 5, 5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 77, 5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 2, 5, 'x', 'greed', 'r');
SELECT * FROM loyalty.recognise(1, 2, 5, ' ', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 2, 0.5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 2, -5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(1, 2, 5, 'x', 'courage', 'r', 'medals');
SELECT * FROM loyalty.recognise(NULL, 2, 5, 'x', 'courage', 'r');
SELECT loyalty.block(1, 'r', 'x');
SELECT * FROM loyalty.recognise(1, 2, 5, 'x', 'courage', 'r');
SELECT * FROM loyalty.recognise(2, 1, 5, 'x', 'courage', 'r');
ROLLBACK TO ready;

-- ---- several allowances: the first by priority, or the one that is named
INSERT INTO loyalty.recognition (program, name, allowance, period, givers, priority) VALUES ('r', 'medals', 3, 'calendar quarter', '{"staff": true}', 5);
SELECT recognition, left_over, period_end FROM loyalty.allowance(1, 'r');
SELECT left_over FROM loyalty.recognise(1, 6, 2, 'x', program => 'r');
SELECT left_over FROM loyalty.recognise(1, 2, 2, 'x', 'courage', 'r', 'thanks');
SELECT recognition, given, left_over FROM loyalty.allowance(1, 'r');
ROLLBACK TO ready;

-- ---- keys
SELECT given_no, entry_no, left_over FROM loyalty.recognise(1, 2, 30, 'x', 'courage', 'r', key => 'k');
SELECT given_no, entry_no, left_over FROM loyalty.recognise(1, 2, 30.0, 'x', 'courage', 'r', key => 'k');
SELECT * FROM loyalty.recognise(1, 2, 31, 'x', 'courage', 'r', key => 'k');
SELECT * FROM loyalty.recognise(1, 2, 30, 'x', NULL, 'r', key => 'k');
SELECT entry_no FROM loyalty.adjust(1, 5, 'x', 'r', key => 'k');
SELECT given FROM loyalty.allowance(1, 'r');

-- ---- withdrawn: the allowance is as before, and the points go as far as they are there
SELECT redemption_id IS NOT NULL AS spent FROM loyalty.redeem(2, points => 20, program => 'r');
SELECT * FROM loyalty.withdraw_recognition(1, 1, 'a joke', 'r', key => 'w');
SELECT * FROM loyalty.withdraw_recognition(1, 1, 'a joke', 'r', key => 'w');
SELECT * FROM loyalty.withdraw_recognition(1, 1, 'again', 'r');
SELECT * FROM loyalty.withdraw_recognition(1, 9, 'x', 'r');
SELECT * FROM loyalty.withdraw_recognition(1, 1, NULL, 'r');
SELECT given, left_over FROM loyalty.allowance(1, 'r');
SELECT available FROM loyalty.balance(2, 'r');
SELECT count(*) FROM loyalty.recognition_feed WHERE program = 'r';
SELECT withdrawn_at, withdrawn_points / 10000 AS taken, withdrawn_reason FROM loyalty.recognition_given;
SELECT * FROM loyalty.verify();
-- points that died meanwhile are not taken from others
SELECT given_no FROM loyalty.recognise(1, 3, 30, 'x', 'courage', 'r');
SET loyalty.now = '2023-01-10 12:00+03';
SELECT given_no FROM loyalty.recognise(1, 3, 30, 'x', 'courage', 'r');
SELECT * FROM loyalty.withdraw_recognition(1, 2, 'late', 'r');
SELECT available FROM loyalty.balance(3, 'r');
ROLLBACK TO ready;

-- ---- two members become one; planted errors are found
SELECT given_no FROM loyalty.recognise(1, 2, 30, 'x', 'courage', 'r');
SELECT given_no FROM loyalty.recognise(3, 2, 30, 'x', 'courage', 'r');
SELECT given_no FROM loyalty.recognise(2, 4, 30, 'x', 'courage', 'r');
SELECT count(*) FROM loyalty.merge_members(3, 1, 'same');
SELECT count(*) FROM loyalty.merge_members(2, 4, 'same');
SELECT from_member, given_no, to_member, points FROM loyalty.recognition_feed WHERE program = 'r' ORDER BY 1, 2;
SELECT given, left_over FROM loyalty.allowance(3, 'r');
SELECT * FROM loyalty.verify();
UPDATE loyalty.recognition_given SET points = points + 1 WHERE member_id = 1;
SELECT invariant, member_id FROM loyalty.verify();
ROLLBACK TO ready;

-- ---- an application has no rights on tables
CREATE ROLE recognition_app;
SELECT loyalty.grant_access('recognition_app', 'app');
SET ROLE recognition_app;
SELECT given_no FROM loyalty.recognise(1, 2, 30, 'x', 'courage', 'r');
SELECT left_over FROM loyalty.allowance(1, 'r');
SELECT message FROM loyalty.recognition_feed;
SELECT * FROM loyalty.withdraw_recognition(1, 1, 'x', 'r');
UPDATE loyalty.recognition_given SET points = 1;
RESET ROLE;
SELECT set_role FROM loyalty.recognition_given;
DELETE FROM loyalty.recognition;
ROLLBACK TO ready;

-- ---- what is no recognition
INSERT INTO loyalty.recognition (program, name, allowance) VALUES ('none', 'x', 1);
INSERT INTO loyalty.recognition (program, name, allowance) VALUES ('r', 'x', 0.5);
INSERT INTO loyalty.recognition (program, name, allowance) VALUES ('r', 'x', 'NaN');
INSERT INTO loyalty.recognition (program, name, allowance, period) VALUES ('r', 'x', 1, 'rolling 30 days');
INSERT INTO loyalty.recognition (program, name, allowance, givers) VALUES ('r', 'x', 1, '[]');
INSERT INTO loyalty.recognition (program, name, allowance, minimum) VALUES ('r', 'x', 1, 2);
INSERT INTO loyalty.recognition (program, name, allowance, choices) VALUES ('r', 'x', 1, '{}');
ROLLBACK;
