-- What members do beside buying: any table of the application is attached as a source.  Once ever, once a period, not
-- again for some time.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA engagement_test;
SET LOCAL search_path = engagement_test, public;
SET LOCAL TimeZone = 'Europe/Istanbul';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('e', 'Europe/Istanbul', true);
SET loyalty.now = '2022-06-30 12:00+03';

CREATE TABLE review (id int PRIMARY KEY, who bigint, product int, stars int, words int, at timestamptz, state text DEFAULT 'published');
CREATE TABLE profile (who bigint PRIMARY KEY, mail text, phone text, born date, changed_at timestamptz);
CREATE TABLE check_in (id int PRIMARY KEY, who bigint, shop int, at timestamptz);
CREATE TABLE device (who bigint, id text, installed_at timestamptz, PRIMARY KEY (who, id));
CREATE TABLE birthday (who bigint, year int, at timestamptz, PRIMARY KEY (who, year));
CREATE TABLE answer (survey int, who bigint, score int, at timestamptz, PRIMARY KEY (survey, who));
-- an event has no amount: 0
SELECT loyalty.attach('review', 'e', member => 'who', amount => '0', occurred_at => 'at', condition => $$state = 'published'$$) > 0 AS attached;
SELECT loyalty.attach('profile', 'e', member => 'who', amount => '0', occurred_at => 'changed_at', condition => 'mail is not null and phone is not null and born is not null') > 0 AS attached;
SELECT loyalty.attach('check_in', 'e', member => 'who', amount => '0', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('device', 'e', member => 'who', amount => '0', occurred_at => 'installed_at') > 0 AS attached;
SELECT loyalty.attach('birthday', 'e', member => 'who', amount => '0', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('answer', 'e', member => 'who', amount => '0', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition, max_uses, uses_period, cooldown) VALUES
 ('e', 'review', 'review', 'case when words >= 50 then 20 else 10 end', 'stars between 1 and 5', 2, 'calendar month', NULL),
 ('e', 'profile', 'profile completed', '100', NULL, 1, 'lifetime', NULL),
 ('e', 'check_in', 'check-in', '5', NULL, NULL, NULL, '4 hours'),
 ('e', 'device', 'app installed', '50', NULL, 1, 'lifetime', NULL),
 ('e', 'birthday', 'birthday', '200', NULL, 1, 'calendar year', '330 days'),
 ('e', 'answer', 'survey', '15', NULL, NULL, NULL, '1 month');
CREATE VIEW got AS SELECT s.member_id AS who, s.rule, s.source_key AS key, s.earned_at AS at, s.points FROM loyalty.award_share s WHERE s.program = 'e' AND s.points <> 0;
CREATE VIEW cooling AS SELECT u.member_id AS who, r.name AS rule, u.period_start AS at, u.uses FROM loyalty.rule_usage u JOIN loyalty.rule r ON r.id = u.rule_id
WHERE r.program = 'e' AND u.period_start = u.period_end ORDER BY 1, 2, 3;
SAVEPOINT ready;

-- ---- once ever: a profile that is completed, emptied and completed again; an app on two telephones
INSERT INTO profile VALUES (1, 'a@example.org', NULL, NULL, '2022-01-01 10:00');
UPDATE profile SET phone = '+90', born = '1980-02-29', changed_at = '2022-01-02 10:00' WHERE who = 1;
UPDATE profile SET phone = NULL WHERE who = 1;
SELECT available FROM loyalty.balance(1, 'e');
UPDATE profile SET phone = '+91' WHERE who = 1;
DELETE FROM profile;
INSERT INTO profile VALUES (1, 'b@example.org', '+90', '1980-02-29', '2022-03-01');
INSERT INTO device VALUES (1, 'telephone', '2022-01-03'), (1, 'tablet', '2022-02-03');
SELECT who, rule, key, points FROM got ORDER BY at;
SELECT rule, why_not FROM loyalty.why_not('device', '1,tablet');
-- the one that paid goes: the next one may be paid
DELETE FROM device WHERE id = 'telephone';
INSERT INTO device VALUES (1, 'watch', '2022-04-03');
SELECT rule, points FROM got WHERE rule = 'app installed';
ROLLBACK TO ready;

-- ---- twice a month; a review that is taken down gives its place back
INSERT INTO review VALUES (1, 1, 7, 5, 60, '2022-01-31 23:59:59'), (2, 1, 8, 5, 10, '2022-02-01 00:00'), (3, 1, 9, 0, 99, '2022-02-02'),
  (4, 1, 9, 4, 99, '2022-02-03'), (5, 1, 9, 4, 99, '2022-02-04');
SELECT key, rule, points FROM got ORDER BY at;
UPDATE review SET state = 'hidden' WHERE id = 2;
INSERT INTO review VALUES (6, 1, 10, 4, 99, '2022-02-05'), (7, 1, 10, 4, 99, '2022-02-06');
SELECT key, rule, points FROM got ORDER BY at;
ROLLBACK TO ready;

-- ---- a cooldown: not again for 4 hours, from the last one that paid; the last instant before does not, the next one does
INSERT INTO check_in VALUES (1, 1, 1, '2022-01-01 10:00'), (2, 1, 1, '2022-01-01 13:59:59.999999'), (3, 1, 1, '2022-01-01 14:00'), (4, 1, 1, '2022-01-01 17:00'), (5, 2, 1, '2022-01-01 10:30');
SELECT * FROM got ORDER BY 1, at;
SELECT * FROM cooling;
SELECT rule, why_not FROM loyalty.why_not('check_in', '2');
SELECT rule, points, wanted, limited_by FROM loyalty.award('check_in', '1') UNION ALL SELECT rule, points, wanted, limited_by FROM loyalty.award('check_in', '2');
SELECT l.breakdown::loyalty.breakdown::text ~ ': 0 of 5 by cooldown' AS says FROM loyalty.lot l WHERE l.source_key = '2';
SELECT rule, points, why_not FROM loyalty.quote('check_in', '{"who": 1, "at": "2022-01-01 17:59:59"}');
SELECT rule, points, why_not FROM loyalty.quote('check_in', '{"who": 1, "at": "2022-01-01 18:00"}');
-- one that comes late stands between two that paid: too soon after the one, or before the other
INSERT INTO check_in VALUES (6, 2, 1, '2022-01-01 20:00');
INSERT INTO check_in VALUES (7, 2, 1, '2022-01-01 14:29'), (8, 2, 1, '2022-01-01 16:01'), (9, 2, 1, '2022-01-01 06:31');
INSERT INTO check_in VALUES (10, 2, 1, '2022-01-01 06:30'), (11, 2, 1, '2022-01-01 16:00');
SELECT key, at, points FROM got WHERE who = 2 ORDER BY at;
SELECT rule, why_not FROM loyalty.why_not('check_in', '8');
-- taken back: as if it had not paid.  Those that did not pay then stay as they are; what comes new may be paid
DELETE FROM check_in WHERE id = 3;
INSERT INTO check_in VALUES (12, 1, 1, '2022-01-01 14:10');
SELECT * FROM cooling WHERE who = 1;
-- and what comes back was given before
INSERT INTO check_in VALUES (3, 1, 1, '2022-01-01 14:00');
SELECT * FROM cooling WHERE who = 1;
SELECT available FROM loyalty.balance(1, 'e');
SELECT * FROM loyalty.verify();
-- in one statement, and in memory: the first one pays
INSERT INTO check_in SELECT 100 + n, 3, 1, timestamptz '2022-02-01 00:00' + n * interval '1 hour' FROM generate_series(0, 9) n;
SELECT key, at FROM got WHERE who = 3 ORDER BY at;
-- a shorter cooldown counts from now on, and from what has paid; one that is set later knows what had paid
UPDATE loyalty.rule SET cooldown = '1 hour' WHERE name = 'check-in';
INSERT INTO check_in VALUES (120, 3, 1, '2022-02-01 09:00'), (121, 3, 1, '2022-02-01 09:59');
UPDATE loyalty.rule SET cooldown = NULL WHERE name = 'check-in';
SELECT count(*) FROM cooling;
INSERT INTO check_in VALUES (122, 3, 1, '2022-02-01 10:05');
UPDATE loyalty.rule SET cooldown = '3 hours' WHERE name = 'check-in';
INSERT INTO check_in VALUES (123, 3, 1, '2022-02-01 13:04'), (124, 3, 1, '2022-02-01 13:05');
SELECT key, at FROM got WHERE who = 3 ORDER BY at;
SELECT * FROM loyalty.verify();
-- verify() sees what was changed behind its back, and recount_limits() mends it
DELETE FROM loyalty.rule_usage u WHERE u.period_start = u.period_end AND u.member_id = 3;
SELECT DISTINCT invariant FROM loyalty.verify();
SELECT count(loyalty.recount_limits(r.id, true, false)) FROM loyalty.rule r WHERE r.name = 'check-in';
SELECT * FROM loyalty.verify();
ROLLBACK TO ready;

-- ---- a month's cooldown is a month of the calendar in the program's zone: 31 January + 1 month is 28 February
INSERT INTO answer VALUES (1, 1, 9, '2022-01-31 12:00'), (2, 1, 9, '2022-02-28 11:59'), (3, 1, 9, '2022-02-28 12:00'), (4, 1, 9, '2022-03-28 11:00');
SELECT key, at, points FROM got ORDER BY at;
ROLLBACK TO ready;

-- ---- a birthday once a year, whatever date the member says today; a cap beside a cooldown
INSERT INTO birthday VALUES (1, 2021, '2021-12-20'), (1, 2022, '2022-01-05');
SELECT key, points FROM got;
SELECT rule, why_not FROM loyalty.why_not('birthday', '1,2022');
UPDATE loyalty.rule SET cap = 300 WHERE name = 'birthday';
INSERT INTO birthday VALUES (1, 2023, '2022-12-20');
SELECT rule, points, wanted, limited_by FROM loyalty.award('birthday', '1,2023');
SELECT * FROM loyalty.verify();
ROLLBACK TO ready;

-- ---- what is no cooldown
INSERT INTO loyalty.rule (program, source, name, points, cooldown) VALUES ('e', 'review', 'bad', '1', '0');
INSERT INTO loyalty.rule (program, source, name, points, cooldown) VALUES ('e', 'review', 'bad', '1', '-1 day');
INSERT INTO loyalty.rule (program, source, name, points, cooldown) VALUES ('e', 'review', 'bad', '1', '1001 years');
ROLLBACK;
