-- reconcile() and backfill(): what no trigger saw is found, in the order in which it happened, once.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA reconcile_test;
SET LOCAL search_path = reconcile_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, paid boolean DEFAULT true);
INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 100, 1);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', condition => 'paid') AS source \gset
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
CREATE VIEW awards AS SELECT source_key AS key, member_id, part, points / 10000 AS points, remaining / 10000 AS remaining, kept_amount AS kept
FROM loyalty.lot WHERE source_id = (SELECT id FROM loyalty.source WHERE relation = 'sale'::regclass);
SET LOCAL loyalty.now = '2024-06-01';
INSERT INTO sale SELECT i, 1 + i % 3, 10, '2024-01-01'::timestamptz + i * interval '1 day' FROM generate_series(1, 12) i;
-- in step
SELECT * FROM loyalty.reconcile('sale');

-- holes of every kind, planted while no trigger looks
SET LOCAL session_replication_role = replica;
INSERT INTO sale VALUES (14, 1, 10, '2024-01-14', true), (13, 1, 90, '2024-01-13', true), (15, 7, 10, '2024-02-01', true), (16, 7, 10, '2024-02-02', false), (17, NULL, 10, '2024-02-03', true);
UPDATE sale SET total = 4 WHERE id = 1;
UPDATE sale SET total = 15 WHERE id = 2;
UPDATE sale SET who = 8 WHERE id = 3;
UPDATE sale SET paid = false WHERE id = 4;
UPDATE sale SET who = NULL WHERE id = 5;
UPDATE sale SET at = '2024-05-05' WHERE id = 6;
DELETE FROM sale WHERE id IN (7, 8);
SET LOCAL session_replication_role = origin;
SAVEPOINT planted;
-- only those of a range
SELECT * FROM loyalty.reconcile('sale', since => '2024-02-01', until => '2024-02-02');
SELECT * FROM awards WHERE key IN ('13', '15') ORDER BY key;
ROLLBACK TO planted;
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM awards ORDER BY key::int, part, member_id;
-- 13 reached gold (6, 9 and 12 have 30, 13 has 90), so 14 earned double
SELECT * FROM loyalty.reconcile('sale');
-- awards without a row go only when told to
SELECT * FROM loyalty.reconcile('sale', take_back => true, since => '2024-01-08 00:00', until => '2024-01-08 00:00:01');
SELECT * FROM awards WHERE key IN ('7', '8') ORDER BY key;
SELECT * FROM loyalty.reconcile('sale', take_back => true, since => '2024-01-08 00:00', until => '2024-01-09 00:00:01');
SELECT * FROM awards WHERE key IN ('7', '8') ORDER BY key;
SELECT * FROM loyalty.reconcile('sale', take_back => true);
SELECT * FROM loyalty.reconcile('sale');
-- what comes back under its key has its own award again
SET LOCAL session_replication_role = replica;
INSERT INTO sale VALUES (7, 2, 10, '2024-01-08');
UPDATE sale SET who = 1 WHERE id = 3;
SET LOCAL session_replication_role = origin;
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM awards WHERE key IN ('3', '7') ORDER BY key, part;

-- nothing is missing of those who are excluded or not enrolled
INSERT INTO loyalty.member (member_id, status) VALUES (20, 'excluded');
UPDATE loyalty.program SET enrollment = 'explicit' WHERE name = 'p';
SET LOCAL session_replication_role = replica;
INSERT INTO sale VALUES (30, 20, 10, '2024-03-01'), (31, 21, 10, '2024-03-01');
SET LOCAL session_replication_role = origin;
SELECT * FROM loyalty.reconcile('sale');
SELECT tier FROM loyalty.enroll(21, 'p', at => '2024-02-01');
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM loyalty.reconcile('sale');

-- rows that were sold with on_error = skip are posted later, and their review is settled
UPDATE loyalty.source SET on_error = 'skip' WHERE id = :source;
UPDATE loyalty.rule SET points = 'earn.amount / (total - 11)' WHERE program = 'p';
INSERT INTO sale VALUES (40, 1, 11, '2024-05-06');
SELECT source_key, sqlstate, settled_at IS NOT NULL AS settled FROM loyalty.review WHERE source_id = :source;
SELECT * FROM loyalty.reconcile('sale');
UPDATE loyalty.rule SET points = 'earn.amount' WHERE program = 'p';
SELECT * FROM loyalty.reconcile('sale');
SELECT source_key, bool_and(settled_at IS NOT NULL) AS settled FROM loyalty.review WHERE source_id = :source GROUP BY 1;
UPDATE loyalty.source SET on_error = 'fail' WHERE id = :source;

-- refusals
SELECT * FROM loyalty.reconcile('pg_class');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.reconcile(NULL);
SELECT * FROM loyalty.reconcile(12345::regclass);
CREATE ROLE loyalty_test_stranger;
GRANT USAGE ON SCHEMA loyalty, reconcile_test TO loyalty_test_stranger;
GRANT ALL ON sale TO loyalty_test_stranger;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA loyalty TO loyalty_test_stranger;
SET LOCAL ROLE loyalty_test_stranger;
SELECT * FROM loyalty.reconcile('sale');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- the owner of the table, whatever its policies say
ALTER TABLE sale OWNER TO loyalty_test_stranger;
ALTER TABLE sale ENABLE ROW LEVEL SECURITY;
ALTER TABLE sale FORCE ROW LEVEL SECURITY;
SET LOCAL session_replication_role = replica;
INSERT INTO sale VALUES (50, 1, 11, '2024-05-07');
SET LOCAL session_replication_role = origin;
SET LOCAL ROLE loyalty_test_stranger;
SELECT count(*) FROM sale;
SELECT * FROM loyalty.reconcile('sale');
RESET ROLE;
-- a source that is switched off earns nothing this way either
UPDATE loyalty.source SET enabled = false WHERE id = :source;
SET LOCAL session_replication_role = replica;
INSERT INTO sale VALUES (51, 1, 11, '2024-05-07');
SET LOCAL session_replication_role = origin;
SELECT * FROM loyalty.reconcile('sale');
SELECT loyalty.backfill('sale', 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify();
ROLLBACK;

-- backfill: history is lived through by (occurred_at, key), keys as numbers, whatever the order in the table
BEGIN;
CREATE SCHEMA reconcile_test;
SET LOCAL search_path = reconcile_test;
SET LOCAL TimeZone = 'UTC';
INSERT INTO loyalty.program (name, expiry) VALUES ('p', '12 months');
INSERT INTO loyalty.program (name) VALUES ('q');
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 100, 1);
-- partitioned, a leaf with its columns in another order and one gone
CREATE TABLE sale (id int, line text, who bigint, total numeric, at timestamptz, PRIMARY KEY (id, line)) PARTITION BY RANGE (id);
CREATE TABLE sale_1 (total numeric, gone int, line text NOT NULL, at timestamptz, who bigint, id int NOT NULL);
ALTER TABLE sale_1 DROP COLUMN gone;
INSERT INTO sale_1 (id, line, who, total, at) VALUES (10, 'a', 1, 50, '2023-01-01'), (9, 'b', 1, 60, '2023-01-01'), (9, 'a', 1, 10, '2023-01-01'), (8, 'a', 2, 5, '2023-01-02');
ALTER TABLE sale ATTACH PARTITION sale_1 FOR VALUES FROM (0) TO (100);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (100) TO (200);
INSERT INTO sale VALUES (100, 'a', 1, 7, '2023-01-03'), (101, 'a', 1, 1, '2022-12-31');
SELECT loyalty.attach('sale', program => 'q', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT count(*) FROM loyalty.account WHERE member_id IN (1, 2);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
SELECT loyalty.backfill('sale', 'p'), loyalty.backfill('sale', 'p') AS again;
-- 101a 1, 9a 10, 9b 60, 10a 50 reach gold; 100a is doubled
SELECT entry_no, source_key, points / 10000 AS points, expires_at FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = 'p' AND member_id = 1 ORDER BY entry_no;
SELECT posted, missing, orphaned FROM loyalty.reconcile('sale');
SELECT count(*) FROM loyalty.account WHERE member_id IN (1, 2);
-- attach(backfill) does it at once
CREATE TABLE old (id uuid PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO old SELECT gen_random_uuid(), i % 100, 10, '2023-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 3000) i;
SELECT loyalty.attach('old', program => 'q', member => 'who', amount => 'total', occurred_at => 'at', backfill => true) > 0 AS attached;
SELECT count(*), count(DISTINCT member_id) FROM loyalty.lot WHERE source_id = (SELECT id FROM loyalty.source WHERE name = 'old');
SELECT loyalty.backfill('old', 'p');
\echo :LAST_ERROR_SQLSTATE
-- ranges of members
SELECT cardinality(loyalty.backfill_ranges('old', 'q', 1000, NULL)), loyalty.backfill_ranges('old', 'q', 1000, 98), loyalty.backfill_ranges('old', 'q', 1000, 99);
SELECT loyalty.backfill_ranges('old', 'q', 0, NULL);
ROLLBACK;

-- in committed batches, stopped and taken up again
CREATE SCHEMA reconcile_test;
INSERT INTO loyalty.program (name) VALUES ('filled');
CREATE TABLE reconcile_test.old (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO reconcile_test.old SELECT i, 5000 + i % 100, 10, '2023-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 3000) i;
SELECT loyalty.attach('reconcile_test.old', program => 'filled', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
DELETE FROM loyalty.job;
CALL loyalty.run_backfill('reconcile_test.old', 'filled', batch => 1000, max_seconds => 0);
SELECT name, seen, done, member_id, stopped_at IS NOT NULL AS stopped, finished_at IS NOT NULL AS finished FROM loyalty.job;
CALL loyalty.run_backfill('reconcile_test.old', 'filled', batch => 1000);
SELECT name, seen, done, member_id, stopped_at IS NOT NULL AS stopped, finished_at IS NOT NULL AS finished FROM loyalty.job;
SELECT * FROM loyalty.reconcile('reconcile_test.old');
CALL loyalty.run_backfill('reconcile_test.old', 'filled');
SELECT done, finished_at IS NOT NULL AS finished FROM loyalty.job ORDER BY job_id;

SET loyalty.allow_drop = on;
DELETE FROM loyalty.movement WHERE program_id IN (SELECT id FROM loyalty.program WHERE name = 'filled');
DELETE FROM loyalty.lot WHERE program_id IN (SELECT id FROM loyalty.program WHERE name = 'filled');
DELETE FROM loyalty.account WHERE program_id IN (SELECT id FROM loyalty.program WHERE name = 'filled');
DELETE FROM loyalty.job;
DROP SCHEMA reconcile_test CASCADE;
DELETE FROM loyalty.source WHERE program = 'filled';
DELETE FROM loyalty.program WHERE name = 'filled';
DELETE FROM loyalty.config_history;
