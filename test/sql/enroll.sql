-- Members: enrolment, other names, attributes in rules, blocking, corrections by hand.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA enroll_test;
SET LOCAL search_path = enroll_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, enrollment, sandbox, tier_metric) VALUES ('closed', 'explicit', true, 'points');
INSERT INTO loyalty.program (name, decimals, expiry, sandbox) VALUES ('open', 1, '12 months', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('closed', 'green', 0, 0), ('closed', 'gold', 1, 100);
SELECT loyalty.attach('sale', program => 'closed', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'open', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
  ('closed', 'sale', 'one for one', 'base', 'earn.amount', NULL), ('open', 'sale', 'one for one', 'base', 'earn.amount', NULL),
  ('open', 'sale', 'vegans', 'bonus', '100', $$member.attributes->>'diet' = 'vegan'$$),
  ('open', 'sale', 'birthday', 'bonus', '1000', $$to_char(member.birth_date, 'MM-DD') = to_char(earn.local_time, 'MM-DD')$$);
CREATE VIEW accounts AS SELECT a.member_id, p.name AS program, a.enrolled_at, a.available / 10000.0 AS available, a.status
FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name IN ('open', 'closed');
SET LOCAL loyalty.now = '2024-03-01 00:00+00';

-- explicit: sold, no points, until somebody enrolls
INSERT INTO sale VALUES (1, 1, 10, '2024-01-01');
SELECT member_id, program FROM accounts;
SELECT * FROM loyalty.enroll(1, 'closed', at => '2024-01-15');
-- again: the same account
SELECT * FROM loyalty.enroll(1, 'closed');
INSERT INTO sale VALUES (2, 1, 20, '2024-01-20');
SELECT member_id, program, enrolled_at, round(available) AS available FROM accounts ORDER BY 2;

-- when
SELECT * FROM loyalty.enroll(2, 'closed', at => '2024-03-01 00:00:00.000001+00');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.enroll(2, 'closed', at => '-infinity');
SELECT * FROM loyalty.enroll(NULL, 'closed');
SELECT * FROM loyalty.enroll(2, 'nosuch');
\echo :LAST_ERROR_SQLSTATE

-- other names: one member for ever, several for one; a refused call leaves nothing behind
SELECT * FROM loyalty.enroll(2, 'closed', external_id => 'card 17');
SELECT tier FROM loyalty.enroll(2, 'closed', external_id => 'card 17');
SELECT tier FROM loyalty.enroll(2, 'closed', external_id => 'card 18');
SELECT tier FROM loyalty.enroll(3, 'closed', external_id => 'card 17');
\echo :LAST_ERROR_SQLSTATE
SELECT tier FROM loyalty.enroll(3, 'closed', external_id => '');
SELECT member_id, external_id FROM loyalty.member_alias ORDER BY 2;
SELECT count(*) FROM accounts WHERE member_id = 3;
SELECT loyalty.member_id('card 18', 'closed');
SELECT loyalty.member_id('card 99', 'closed');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.member_id('card 99', 'open') >= 1000000000000000 AS numbered;
SELECT loyalty.member_id('card 99', 'closed') = loyalty.member_id('card 99', 'open') AS same;

-- attributes merge; rules see them, and what is not known is NULL
SELECT tier FROM loyalty.enroll(4, 'open', attributes => '{"diet": "vegan", "size": 42, "birth_date": "1990-02-14"}');
SELECT tier FROM loyalty.enroll(4, 'open', attributes => '{"size": 43}');
SELECT * FROM loyalty.member WHERE member_id = 4;
SELECT tier FROM loyalty.enroll(4, 'open', attributes => '[1]');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sale VALUES (10, 4, 1, '2024-02-13'), (11, 4, 1, '2024-02-14'), (12, 5, 1, '2024-02-14');
SELECT l.source_key, l.points / 10000 AS points FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = 'open' AND l.member_id IN (4, 5) ORDER BY 1;

-- blocked: sold, no points, nothing spent; what there was stays
SELECT loyalty.block(1, 'closed', 'fraud'), loyalty.block(1, 'closed');
INSERT INTO sale VALUES (20, 1, 5, '2024-02-20');
SELECT program, status, round(available) AS available FROM accounts WHERE member_id = 1 ORDER BY 1;
SELECT points FROM loyalty.redeem(1, points => 1, program => 'closed');
\echo :LAST_ERROR_SQLSTATE
-- it can be corrected, by hand and by returns, which take what there is; each with who and as which role
SELECT points FROM loyalty.adjust(1, 3, 'found out', 'closed');
SELECT points FROM loyalty.adjust(1, -1, 'and back', 'closed');
UPDATE sale SET total = 15 WHERE id = 2;
SELECT round(available) AS available FROM accounts WHERE member_id = 1 AND program = 'closed';
UPDATE sale SET total = 25 WHERE id = 2;
SELECT round(available) AS available FROM accounts WHERE member_id = 1 AND program = 'closed';
SELECT action, points / 10000 AS points, reason, by = session_user AS me, set_role = current_user AS as_me, at IS NOT NULL AS dated FROM loyalty.intervention WHERE member_id = 1 ORDER BY entry_no;
SELECT loyalty.unblock(1, 'closed', 'a mistake'), loyalty.unblock(1, 'closed');
SELECT points FROM loyalty.redeem(1, points => 1, program => 'closed');
SELECT loyalty.block(99, 'closed');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.set_status(1, 'odd', 'closed', NULL);
SELECT action, points, reason, by = session_user AS me FROM loyalty.intervention WHERE member_id = 1 ORDER BY entry_no;

-- corrections: points for no purchase, which live as the program says
SELECT points, available_at, expires_at FROM loyalty.adjust(4, 50.5, 'sorry', 'open', key => 'a1');
SELECT points, available_at, expires_at FROM loyalty.adjust(4, 50.50, 'sorry', 'open', key => 'a1');
SELECT points FROM loyalty.adjust(4, 50.5, 'sorry!', 'open', key => 'a1');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(4, points => 50.5, program => 'open', key => 'a1');
\echo :LAST_ERROR_SQLSTATE
SELECT points, available_at, expires_at FROM loyalty.adjust(4, 7, 'gift', 'open', available_at => '2024-04-01', expires_at => 'infinity');
SELECT a.available, a.pending FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = 'open' AND member_id = 4;
-- and points taken, first those that die first
SELECT points, available_at, expires_at FROM loyalty.adjust(4, -100, 'too much', 'open', key => 'a2');
SELECT points FROM loyalty.adjust(4, -100, 'too much', 'open', key => 'a2');
SELECT kind, points / 10000 AS points, reason FROM loyalty.movement WHERE member_id = 4 ORDER BY entry_no;
SELECT points FROM loyalty.adjust(4, -100000, 'all', 'open');
\echo :LAST_ERROR_SQLSTATE
-- refusals
SELECT points FROM loyalty.adjust(4, 0, 'x', 'open');
SELECT points FROM loyalty.adjust(4, NULL, 'x', 'open');
SELECT points FROM loyalty.adjust(4, 0.25, 'x', 'open');
SELECT points FROM loyalty.adjust(4, 5, NULL, 'open');
SELECT points FROM loyalty.adjust(4, 5, '', 'open');
SELECT points FROM loyalty.adjust(4, 5, 'x', 'open', expires_at => '2024-02-01');
SELECT points FROM loyalty.adjust(4, 5, 'x', 'open', available_at => 'infinity');
SELECT points FROM loyalty.adjust(4, -5, 'x', 'open', available_at => '2024-04-01');
SELECT points FROM loyalty.adjust(98, 5, 'x', 'open');
\echo :LAST_ERROR_SQLSTATE
-- counts for the tier only when told to
SELECT points FROM loyalty.adjust(2, 100, 'x', 'closed');
SELECT tier FROM loyalty.enroll(2, 'closed');
SELECT points FROM loyalty.adjust(2, 100, 'x', 'closed', counts_for_tier => true);
SELECT tier FROM loyalty.enroll(2, 'closed');
SELECT points FROM loyalty.adjust(2, -1, 'x', 'closed', counts_for_tier => true);
SELECT tier FROM loyalty.enroll(2, 'closed');

-- purchases whose members are external ids: known ones by their name, unknown ones become members where that is automatic
CREATE TABLE web (id int PRIMARY KEY, email text, total numeric, at timestamptz);
SELECT loyalty.attach('web', program => 'open', member => 'email', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('web', program => 'closed', member => 'lower(email)', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('open', 'web', 'web', 'earn.amount'), ('closed', 'web', 'web', 'earn.amount');
SELECT tier FROM loyalty.enroll(6, 'open', external_id => 'six@example.com');
INSERT INTO web VALUES (1, 'six@example.com', 5, '2024-02-01'), (2, 'new@example.com', 5, '2024-02-02'), (3, 'new@example.com', 6, '2024-02-03'), (4, NULL, 5, '2024-02-04'), (5, '', 5, '2024-02-04');
SELECT a.external_id, p.name, l.source_key, l.points / 10000 AS points FROM loyalty.lot l JOIN loyalty.member_alias a USING (member_id) JOIN loyalty.program p ON p.id = l.program_id
WHERE a.external_id LIKE '%example.com' ORDER BY 1, 3;
UPDATE web SET email = 'six@example.com' WHERE id = 3;
DELETE FROM web WHERE id = 2;
SELECT a.external_id, available / 10000 AS available FROM loyalty.account c JOIN loyalty.member_alias a USING (member_id) WHERE a.external_id LIKE '%example.com' ORDER BY 1;
SELECT * FROM loyalty.reconcile('web');

-- an application enrolls, corrects nothing
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SET LOCAL ROLE loyalty_test_app;
SELECT enrolled_at FROM loyalty.enroll(7, 'open', external_id => 'seven', attributes => '{"diet": "vegan"}');
SELECT points FROM loyalty.redeem(2, points => 1, program => 'closed', key => 'app');
SELECT loyalty.adjust(7, 5, 'x', 'open');
SELECT loyalty.block(7, 'open');
SELECT count(*) FROM loyalty.account;
RESET ROLE;
SELECT * FROM loyalty.verify();
ROLLBACK;
