-- Other names of members: several for one, one member for each; and purchases that come under them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA alias_test;
SET LOCAL search_path = alias_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, card text, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, sandbox) VALUES ('open', true);
INSERT INTO loyalty.program (name, enrollment, sandbox) VALUES ('closed', 'explicit', true);
SELECT loyalty.attach('sale', program => 'open', member => 'coalesce(card, who::text)', amount => 'total', occurred_at => 'at', name => 'open') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'closed', member => 'card', amount => 'total', occurred_at => 'at', name => 'closed') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('open', 'open', 'one', 'earn.amount'), ('closed', 'closed', 'one', 'earn.amount');
SET LOCAL loyalty.now = '2024-03-20 00:00+00';
SELECT tier FROM loyalty.enroll(1, 'open', external_id => 'card 1');
SELECT tier FROM loyalty.enroll(2, 'open');

SELECT loyalty.add_alias(1, 'card 2'), loyalty.add_alias(1, 'partner:77'), loyalty.add_alias(1, 'card 2') AS again, loyalty.add_alias(1, 'card 1') AS by_enroll;
SELECT loyalty.add_alias(2, 'card 2');
\echo :LAST_ERROR_SQLSTATE
SELECT tier FROM loyalty.enroll(2, 'open', external_id => 'partner:77');
SELECT loyalty.add_alias(99, 'card 99');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.add_alias(NULL, 'card 99');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.add_alias(1, '');
SELECT loyalty.add_alias(1, NULL);
SELECT loyalty.add_alias(1, repeat('x', 501));
\echo :LAST_ERROR_SQLSTATE
-- a person of whom attributes are known, and no account
INSERT INTO loyalty.member (member_id) VALUES (3);
SELECT loyalty.add_alias(3, 'card 3');
SELECT member_id, external_id FROM loyalty.member_alias WHERE member_id < 1000 ORDER BY 1, 2;
SELECT loyalty.member_id('partner:77', 'open'), loyalty.member_id('card 3', 'closed');

-- purchases under any of them are one account's, also in one statement, whatever case a C collation sees
INSERT INTO sale VALUES (1, NULL, 'card 1', 10, '2024-03-01'), (2, NULL, 'card 2', 20, '2024-03-02'), (3, NULL, 'partner:77', 40, '2024-03-03'), (4, NULL, 'Card 1', 1000, '2024-03-03');
SELECT available FROM loyalty.balance(1, 'open');
SELECT member_id >= 1000000000000000 AS numbered, available FROM loyalty.member_balance WHERE external_id = 'Card 1' AND program = 'open';
-- explicit: whoever is not enrolled earns nothing there, under no name
SELECT count(*) FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = 'closed';
SELECT tier FROM loyalty.enroll(1, 'closed');
SELECT posted FROM loyalty.reconcile('sale');
SELECT available FROM loyalty.balance(1, 'closed');
-- a row that changes between names of one member changes nothing
UPDATE sale SET card = 'card 2' WHERE id = 1;
SELECT count(*) FROM loyalty.movement m WHERE m.member_id = 1;
SELECT available FROM loyalty.balance(1, 'open');

-- a name given to the wrong member: taken away, it is nobody's, and then the right one's
SELECT loyalty.remove_alias(2, 'card 2'), loyalty.remove_alias(1, 'card 2'), loyalty.remove_alias(1, 'card 2') AS again;
SELECT available FROM loyalty.balance(1, 'open');
SELECT loyalty.add_alias(2, 'card 2');
INSERT INTO sale VALUES (5, NULL, 'card 2', 3, '2024-03-05');
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'open' AND member_id < 1000 ORDER BY 1;
-- purchases that carry it follow, as soon as they change or reconcile meets them
SELECT * FROM loyalty.reconcile('sale');
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'open' AND member_id < 1000 ORDER BY 1;
SELECT * FROM loyalty.verify();

-- an application gives names, an administrator takes them
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SET LOCAL ROLE loyalty_test_app;
SELECT loyalty.add_alias(1, 'card 4');
SELECT loyalty.remove_alias(1, 'card 4');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
ROLLBACK;
