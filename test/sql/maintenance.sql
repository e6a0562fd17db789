-- run_maintenance() writes down what is true already: never, often, in parts, nothing changes but that it is written.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SELECT loyalty.install() >= 0 AS installed;

-- It commits, so this test does too, and takes away what it made.
CREATE SCHEMA maintenance_test;
CREATE TABLE maintenance_test.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, expiry, pending, sandbox) VALUES ('maintained', '30 days', '14 days', true), ('left alone', '30 days', '14 days', true);
SELECT loyalty.attach('maintenance_test.sale', program => 'maintained', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('maintenance_test.sale', program => 'left alone', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('maintained', 'sale', 'm', 'earn.amount'), ('left alone', 'sale', 'l', 'earn.amount');
SET loyalty.now = '2024-02-01';
INSERT INTO maintenance_test.sale SELECT i, 1000 + i % 50, 10, '2024-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 500) i;

CREATE VIEW maintenance_test.due AS SELECT p.name AS program, count(*) AS accounts, count(*) FILTER (WHERE a.next_change_at <= '2024-02-05') AS due,
  (sum(a.available) / 10000)::int AS available, (sum(a.pending) / 10000)::int AS pending
FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name IN ('maintained', 'left alone') GROUP BY 1;
SELECT * FROM maintenance_test.due ORDER BY 1;

-- only one program's accounts are to be written: make the other's look as if nothing were due, for a while
UPDATE loyalty.account SET next_change_at = next_change_at + interval '100 years'
WHERE program_id = (SELECT id FROM loyalty.program WHERE name = 'left alone');
SET loyalty.now = '2024-02-05';
DELETE FROM loyalty.job;
-- in parts: time is up after one batch; the next call goes on where it stopped
CALL loyalty.run_maintenance(batch => 30, max_seconds => 0);
SELECT name, seen, done > 0 AS done, stopped_at IS NOT NULL AS stopped, finished_at IS NOT NULL AS finished FROM loyalty.job;
CALL loyalty.run_maintenance(batch => 30, max_seconds => 0);
CALL loyalty.run_maintenance(batch => 30);
SELECT name, seen = (SELECT count(*) FROM loyalty.account) AS all_seen, done, stopped_at, finished_at IS NOT NULL AS finished, by = session_user AS me FROM loyalty.job;
-- again: nothing is due
CALL loyalty.run_maintenance();
SELECT seen = (SELECT count(*) FROM loyalty.account) AS all_seen, done FROM loyalty.job ORDER BY job_id DESC LIMIT 1;
UPDATE loyalty.account SET next_change_at = next_change_at - interval '100 years'
WHERE program_id = (SELECT id FROM loyalty.program WHERE name = 'left alone');
SELECT * FROM maintenance_test.due ORDER BY 1;

-- 20 points come after the job: whoever was maintained has what the others have, and every movement is the same
SET loyalty.now = '2024-02-06';
SELECT count(*), sum(points) FROM generate_series(1000, 1049) m, LATERAL loyalty.redeem(m, points => 20, program => 'maintained') r;
SELECT count(*), sum(points) FROM generate_series(1000, 1049) m, LATERAL loyalty.redeem(m, points => 20, program => 'left alone') r;
SELECT * FROM maintenance_test.due ORDER BY 1;
CREATE VIEW maintenance_test.movements AS SELECT p.name AS program, m.member_id, m.entry_no, m.kind, m.points, m.at, m.lot_expires_at, m.lot_entry_no
FROM loyalty.movement m JOIN loyalty.program p ON p.id = m.program_id WHERE p.name IN ('maintained', 'left alone');
SELECT count(*) AS movements, count(*) FILTER (WHERE kind = 'expire') AS expired FROM maintenance_test.movements WHERE program = 'maintained';
(SELECT member_id, entry_no, kind, points, at, lot_expires_at, lot_entry_no FROM maintenance_test.movements WHERE program = 'maintained'
 EXCEPT SELECT member_id, entry_no, kind, points, at, lot_expires_at, lot_entry_no FROM maintenance_test.movements WHERE program = 'left alone')
UNION ALL
(SELECT member_id, entry_no, kind, points, at, lot_expires_at, lot_entry_no FROM maintenance_test.movements WHERE program = 'left alone'
 EXCEPT SELECT member_id, entry_no, kind, points, at, lot_expires_at, lot_entry_no FROM maintenance_test.movements WHERE program = 'maintained');

-- refusals
CALL loyalty.run_maintenance(batch => 0);
\echo :LAST_ERROR_SQLSTATE
CALL loyalty.run_maintenance(max_seconds => -1);
\echo :LAST_ERROR_SQLSTATE
BEGIN;
CALL loyalty.run_maintenance();
ROLLBACK;
SELECT count(*) AS broken_off FROM loyalty.job WHERE finished_at IS NULL AND stopped_at IS NULL;

-- a stranger's search_path changes nothing
CREATE FUNCTION maintenance_test.evil(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a stranger was called'; END $$;
CREATE OPERATOR maintenance_test.< (FUNCTION = maintenance_test.evil, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE FUNCTION maintenance_test.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'infinity'::timestamptz $$;
SET search_path = maintenance_test, pg_catalog;
CALL loyalty.run_maintenance(max_seconds => 100);
RESET search_path;

SET loyalty.allow_drop = on;
DELETE FROM loyalty.movement WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('maintained', 'left alone'));
DELETE FROM loyalty.redemption WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('maintained', 'left alone'));
DELETE FROM loyalty.lot WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('maintained', 'left alone'));
DELETE FROM loyalty.account WHERE program_id IN (SELECT id FROM loyalty.program WHERE name IN ('maintained', 'left alone'));
DELETE FROM loyalty.job;
DROP SCHEMA maintenance_test CASCADE;
DELETE FROM loyalty.rule WHERE program IN ('maintained', 'left alone');
DELETE FROM loyalty.source WHERE program IN ('maintained', 'left alone');
DELETE FROM loyalty.program WHERE name IN ('maintained', 'left alone');
DELETE FROM loyalty.config_history;
