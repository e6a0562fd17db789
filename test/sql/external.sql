-- Members that the application knows by a text: an e-mail's hash, a card.
SELECT loyalty.install() >= 0 AS installed;
BEGIN;
CREATE SCHEMA external_test;
SET LOCAL search_path = external_test;
CREATE TABLE web (id int PRIMARY KEY, email text, total numeric, at timestamptz DEFAULT '2026-01-05');
INSERT INTO loyalty.program (name) VALUES ('open');
INSERT INTO loyalty.program (name, enrollment) VALUES ('closed', 'explicit');
SELECT loyalty.attach('web', program => 'open', member => 'email', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('web', program => 'closed', member => 'email', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('open', 'web', 'one for one', 'earn.amount'), ('closed', 'web', 'one for one', 'earn.amount');
SELECT * FROM loyalty.enroll(7, 'closed', at => '2026-01-01', external_id => 'seven');
-- unknown under automatic enrolment: a member of its own number; '' and null name nobody; 'seven' is 7 in both programs
INSERT INTO web VALUES (1, 'a', 10), (2, '', 20), (3, NULL, 40), (4, 'seven', 80), (5, 'a', 160);
CREATE VIEW earned AS SELECT p.name AS program, l.source_key, l.member_id = 7 AS seven, l.member_id >= 1000000000000000 AS numbered, l.points / 10000 AS points
FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name IN ('open', 'closed');
SELECT * FROM earned ORDER BY program, source_key::int;
SELECT count(DISTINCT l.member_id) AS members_named_a FROM loyalty.lot l JOIN loyalty.member_alias a USING (member_id) WHERE a.external_id = 'a';
-- the row goes to another member: returned there, awarded here
UPDATE web SET email = 'b' WHERE id = 1;
SELECT a.external_id, p.name AS program, c.available / 10000 AS available FROM loyalty.account c
JOIN loyalty.member_alias a USING (member_id) JOIN loyalty.program p ON p.id = c.program_id ORDER BY 1, 2;
-- the same through loyalty.member_id(), whoever came first
SELECT loyalty.member_id('b', 'open') = (SELECT member_id FROM loyalty.member_alias WHERE external_id = 'b') AS same;
-- a purchase quoted for somebody new earns what it would
SELECT rule, points, why_not FROM loyalty.quote('web', '{"id": 9, "email": "new", "total": 5, "at": "2026-01-06"}') WHERE program = 'open';
SELECT count(*) AS quoting_makes_nobody FROM loyalty.member_alias WHERE external_id = 'new';
SAVEPOINT s;
INSERT INTO web VALUES (6, repeat('x', 501), 1);
ROLLBACK TO s;
SELECT count(*) AS unsound FROM loyalty.verify();
ROLLBACK;
