-- Surveys: an answer once in its period, points for it once, a follow-up for each detractor, and the score with its error.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE loyalty_test_desk;
CREATE ROLE loyalty_test_shop;
CREATE SCHEMA survey_test;
ALTER SEQUENCE loyalty.response_response_id_seq RESTART;
SET LOCAL search_path = survey_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('s', 'Europe/Istanbul', true);
INSERT INTO loyalty.survey (program, name, question, points, once_per, follow_up_owner, follow_up_days)
VALUES ('s', 'recommend', 'Would you recommend us?', 10, 'calendar quarter', 'anna', 2);
INSERT INTO loyalty.survey (program, name, kind, question, scale_from, scale_to, follow_up_below) VALUES ('s', 'stars', 'rating', 'How was it?', 1, 5, 2);
INSERT INTO loyalty.survey (program, name, kind, question) VALUES ('s', 'wish', 'comment', 'What do you miss?');
SELECT loyalty.grant_access('loyalty_test_shop', 'app'), loyalty.grant_access('loyalty_test_desk', 'admin');
SELECT count(e.program) FROM generate_series(1, 30) m, LATERAL loyalty.enroll(m, 's', at => '2024-01-01 00:00+00') e;

-- ---- an application answers for its members
SET loyalty.now = '2024-03-31 20:59:59.999999+00';
SET ROLE loyalty_test_shop;
SELECT category, points, follow_up_due FROM loyalty.answer(1, 'recommend', 9, 'lovely', 's', 'k1', touchpoint => 'app');
-- again: the same answer, no second effect; other arguments, another call
SELECT category, points, follow_up_due FROM loyalty.answer(1, 'recommend', 9, 'lovely', 's', 'k1', touchpoint => 'app');
SELECT * FROM loyalty.answer(1, 'recommend', 8, 'lovely', 's', 'k1', touchpoint => 'app');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.answer(1, 'recommend', 9, program => 's', key => 'k2');
\echo :LAST_ERROR_SQLSTATE
-- tables are not the application's
SELECT * FROM loyalty.response;
INSERT INTO loyalty.response (member_id) VALUES (1);
-- another quarter, by the local calendar
SET loyalty.now = '2024-03-31 21:00+00';
SELECT category, points, follow_up_due FROM loyalty.answer(1, 'recommend', 3, 'too slow', 's', 'k3', source => 'orders', source_key => '17');
RESET ROLE;
SELECT available FROM loyalty.balance(1, 's');
SELECT kind, points, what FROM loyalty.statement WHERE member_id = 1 ORDER BY entry_no;
SELECT period_start, score, category, comment, touchpoint, source_key, points, at, set_role FROM loyalty.response WHERE member_id = 1 ORDER BY at;

-- ---- each limit of the categories
SELECT score, a.category, a.follow_up_due FROM generate_series(0, 10) score, LATERAL loyalty.answer(10 + score, 'recommend', score, program => 's') a;
SELECT count(*) FROM loyalty.detractor;

-- ---- what is refused
SELECT * FROM loyalty.answer(2, 'recommend', 11, program => 's');
SELECT * FROM loyalty.answer(2, 'recommend', NULL, 'no score', 's');
SELECT * FROM loyalty.answer(2, 'wish', program => 's');
SELECT * FROM loyalty.answer(2, 'nosuch', 1, program => 's');
SELECT * FROM loyalty.answer(4711, 'recommend', 1, program => 's');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.survey SET ends_at = '2024-04-01 00:00+00' WHERE name = 'stars';
SET loyalty.now = '2024-04-01 00:00+00';
SELECT * FROM loyalty.answer(2, 'stars', 5, program => 's');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.survey SET ends_at = 'infinity' WHERE name = 'stars';
SELECT category, points, follow_up_due FROM loyalty.answer(2, 'stars', 1, 'cold', 's');
SELECT category, points, follow_up_due FROM loyalty.answer(3, 'stars', 4, NULL, 's');
SELECT category, points, follow_up_due FROM loyalty.answer(2, 'wish', NULL, 'tea', 's');
DELETE FROM loyalty.survey WHERE name = 'stars';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.survey SET scale_to = 7 WHERE name = 'stars';
INSERT INTO loyalty.survey (program, name, question, points) VALUES ('s', 'half', '?', 0.5);
INSERT INTO loyalty.survey (program, name, question, once_per) VALUES ('s', 'roll', '?', 'rolling 3 months');
\set VERBOSITY terse
INSERT INTO loyalty.survey (program, name, question, scale_to) VALUES ('s', 'five', '?', 5);
\set VERBOSITY default
-- who is blocked may answer, and has no points for it
SELECT loyalty.block(4, 's', 'fraud');
SELECT category, points FROM loyalty.answer(4, 'recommend', 10, program => 's');

-- ---- follow-ups: somebody's, once closed, and who did it
SELECT member_id, survey, score, comment, source, source_key, owner, due, overdue, outcome FROM loyalty.detractor WHERE member_id IN (1, 2, 16) ORDER BY 1;
SELECT response_id AS r FROM loyalty.detractor WHERE member_id = 1 \gset
SET ROLE loyalty_test_shop;
SELECT loyalty.close_follow_up(1, :r, 'no');
RESET ROLE;
SET ROLE loyalty_test_desk;
SELECT loyalty.reassign_follow_up(1, :r, 'bora', '2024-04-05', 'anna is away');
SELECT loyalty.reassign_follow_up(1, :r, 'bora');
SET loyalty.now = '2024-04-06 08:00+00';
SELECT owner, due, overdue FROM loyalty.detractor WHERE member_id = 1;
SELECT loyalty.close_follow_up(1, :r, '');
SELECT loyalty.close_follow_up(1, :r, 'called, a voucher');
SET loyalty.now = '2024-04-07 08:00+00';
SELECT loyalty.close_follow_up(1, :r, 'called, a voucher');
SELECT loyalty.close_follow_up(1, :r, 'no answer');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.reassign_follow_up(1, :r, 'anna');
SELECT loyalty.close_follow_up(2, :r, 'not his');
RESET ROLE;
SELECT change_no, action, owner, due, note, at, set_role FROM loyalty.follow_up_change WHERE member_id = 1 ORDER BY change_no;
SELECT owner, due, overdue, outcome, closed_at FROM loyalty.detractor WHERE member_id = 1;

-- ---- the score.  By hand for April: 1 + 11 + 1 answers; promoters 9, 10 and member 4; passives 7, 8; detractors 0 to 6 and 3:
-- nps = 100 (3 - 8) / 13 = -38.46; se = 100 sqrt((11/13 - (5/13)^2) / 13) = 23.18
SELECT * FROM loyalty.nps ORDER BY month NULLS LAST;
SELECT survey, month, touchpoint, responses, scores, average, deviation, comments, points FROM loyalty.survey_result ORDER BY 1, 2, 3;
-- 60 promoters, 20 passives, 20 detractors of 100: 40, and sqrt(0.8 - 0.16) / 10 = 8
INSERT INTO loyalty.survey (program, name, question) VALUES ('s', 'hundred', '?');
SELECT count(e.program) FROM generate_series(101, 200) m, LATERAL loyalty.enroll(m, 's') e;
SELECT a.category, count(*) FROM generate_series(1, 100) n, LATERAL loyalty.answer(100 + n, 'hundred', CASE WHEN n <= 60 THEN 9 WHEN n <= 80 THEN 8 ELSE 5 END, program => 's') a GROUP BY 1 ORDER BY 1;
SELECT responses, promoters, passives, detractors, nps, standard_error, lower_bound, upper_bound FROM loyalty.nps WHERE survey = 'hundred' AND month IS NULL;

-- ---- answers of one who is two
SELECT count(*) FROM loyalty.answer(20, 'wish', NULL, 'more', 's'), loyalty.answer(21, 'wish', NULL, 'less', 's');
SELECT member_id, score FROM loyalty.detractor WHERE member_id IN (12, 20);
SELECT program, available FROM loyalty.merge_members(12, 20, 'one person');
SELECT program, available FROM loyalty.merge_members(21, 20, 'one person');
SELECT s.name, r.slot, r.comment, r.score FROM loyalty.response r JOIN loyalty.survey s ON s.id = r.survey_id WHERE r.member_id = 20 ORDER BY 1, 2;
SELECT member_id, score FROM loyalty.detractor WHERE member_id IN (12, 20);
SELECT * FROM loyalty.answer(12, 'wish', NULL, 'again', 's');
SELECT * FROM loyalty.verify();
ROLLBACK;
