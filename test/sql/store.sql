-- Which store serves: the heap's, unless a table of the ledger is more than a plain table; then the one that writes by SQL.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT '2026-01-05 12:00+00');
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', 'earn.amount');
CREATE TABLE heard (word text);
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO heard VALUES (TG_ARGV[0]); RETURN NULL; END $$;
INSERT INTO sale VALUES (1, 1, 10);
TABLE heard;

-- a trigger of the user's own sees what is written
CREATE TRIGGER heard AFTER INSERT ON loyalty.lot FOR EACH ROW EXECUTE FUNCTION hear('a lot');
SET LOCAL loyalty.store = 'heap';
INSERT INTO sale VALUES (2, 1, 20);
\echo :LAST_ERROR_SQLSTATE
RESET loyalty.store;
INSERT INTO sale VALUES (3, 1, 30), (4, 2, 40);
TABLE heard;
DROP TRIGGER heard ON loyalty.lot;

-- and a rule is followed
CREATE RULE heard AS ON UPDATE TO loyalty.account DO ALSO INSERT INTO heard VALUES ('an account');
SET LOCAL loyalty.store = 'heap';
DELETE FROM sale WHERE id = 3;
RESET loyalty.store;
DELETE FROM sale WHERE id = 3;
TABLE heard;
DROP RULE heard ON loyalty.account;

-- row security that its owner obeys
ALTER TABLE loyalty.movement ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.movement FORCE ROW LEVEL SECURITY;
SET LOCAL loyalty.store = 'heap';
SELECT state FROM loyalty.redeem(1, points => 5, program => 'p');
RESET loyalty.store;
SELECT state FROM loyalty.redeem(1, points => 5, program => 'p');
ALTER TABLE loyalty.movement NO FORCE ROW LEVEL SECURITY;
ALTER TABLE loyalty.movement DISABLE ROW LEVEL SECURITY;

-- columns that stand elsewhere, as in a ledger of a version before the first
ALTER TABLE loyalty.account RENAME held TO was_held;
ALTER TABLE loyalty.account RENAME debt TO held;
ALTER TABLE loyalty.account RENAME was_held TO debt;
SET LOCAL loyalty.store = 'heap';
INSERT INTO sale VALUES (6, 1, 60);
RESET loyalty.store;
INSERT INTO sale VALUES (6, 1, 60);
ALTER TABLE loyalty.account RENAME debt TO was_debt;
ALTER TABLE loyalty.account RENAME held TO debt;
ALTER TABLE loyalty.account RENAME was_debt TO held;
SET LOCAL loyalty.store = 'heap';
INSERT INTO sale VALUES (5, 2, 50);
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'p' ORDER BY 1;
SELECT * FROM loyalty.verify();
ROLLBACK;
