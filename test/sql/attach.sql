-- attach() and detach(): which tables can be sources, their keys, their triggers.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA attach_test;
SET LOCAL search_path = attach_test, public;
INSERT INTO loyalty.program (name) VALUES ('p'), ('q');
UPDATE loyalty.program SET is_default = (name = 'p') WHERE is_default <> (name = 'p') AND NOT EXISTS (SELECT FROM loyalty.program WHERE is_default AND name NOT IN ('p', 'q'));

CREATE FUNCTION triggers(relation regclass) RETURNS TABLE (name text, enabled "char") LANGUAGE sql
AS 'SELECT tgname::text, tgenabled FROM pg_trigger WHERE tgrelid = relation AND tgname LIKE ''loyalty%'' ORDER BY 1';

CREATE TABLE sale (id bigint PRIMARY KEY, who int, total numeric, at date, no text, state text, f float8);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', condition => $$state = 'paid'$$) AS id \gset
SELECT name, relation, attached, member, amount, occurred_at, key, condition, on_delete, on_error, replicated, enabled, author = current_user::regrole AS mine
FROM loyalty.source WHERE id = :id;
SELECT * FROM triggers('sale');
-- twice is once too often; another program shares the triggers
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('sale', program => 'q', member => 'who', amount => 'total', occurred_at => 'at', replicated => true) > 0 AS attached;
SELECT * FROM triggers('sale');
SELECT loyalty.detach('sale');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.detach('sale', 'q');
SELECT * FROM triggers('sale');
SELECT loyalty.detach('sale');
SELECT * FROM triggers('sale');
SELECT loyalty.detach('sale');
\echo :LAST_ERROR_SQLSTATE
-- the same source comes back, with a new mapping, whatever the table is called by now
ALTER TABLE sale RENAME TO purchase;
SELECT loyalty.attach('purchase', program => 'p', member => 'who::text', amount => 'total * 2', occurred_at => 'at') = :id AS same;
SELECT name, relation, attached, member, amount, condition FROM loyalty.source WHERE id = :id;
-- it is in use, and its table keeps it
DELETE FROM loyalty.source WHERE id = :id;
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.detach('purchase');

-- keys
CREATE TABLE two (shop int NOT NULL, no text NOT NULL, who int, total numeric, at timestamptz, extra int, UNIQUE (shop, no));
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') AS id \gset
SELECT key FROM loyalty.source WHERE id = :id;
SELECT loyalty.detach('two');
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', key => 'no, shop , concat(extra, '','')') = :id AS same;
SELECT key FROM loyalty.source WHERE id = :id;
SELECT loyalty.detach('two');
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', key => 'no');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', key => 'lower(no), shop');
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', key => 'no, nosuch');
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', key => 'no shop,');
\echo :LAST_ERROR_SQLSTATE
CREATE TABLE keyless (a int UNIQUE, b int NOT NULL, c int NOT NULL UNIQUE DEFERRABLE, who int, total numeric, at timestamptz);
CREATE UNIQUE INDEX ON keyless (b) WHERE a > 1;
CREATE UNIQUE INDEX ON keyless ((b + 1));
SELECT loyalty.attach('keyless', member => 'who', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
CREATE UNIQUE INDEX ON keyless (b);
SELECT loyalty.attach('keyless', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;

-- mappings
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('purchase', program => 'p', member => 'total', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'f', occurred_at => 'at');
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'no');
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', condition => 'state');
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'earn.amount', occurred_at => 'at');
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', on_error => 'ignore');
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', revenue => 'no');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('purchase', program => 'nix', member => 'who', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.source SET amount = 'nosuch' WHERE name = 'two';

-- tables that cannot be sources
CREATE VIEW v AS SELECT * FROM two;
CREATE TEMP TABLE t (LIKE two INCLUDING ALL);
CREATE TABLE child () INHERITS (two);
CREATE TABLE part (id int, at date, who int, total numeric, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE part_2026 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
CREATE TABLE part_2026_1 PARTITION OF part_2026 FOR VALUES IN (1);
SELECT loyalty.attach('v', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('pg_temp.t', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('two', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('child', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('part_2026_1', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('part_2026', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('loyalty.lot', program => 'p', member => 'member_id', amount => 'amount', occurred_at => 'at');
SELECT loyalty.attach('pg_class', program => 'p', member => 'oid', amount => 'relpages', occurred_at => 'now()');
-- the root has all triggers, its leaves have the row trigger, also those that come later
SELECT loyalty.attach('part', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') AS id \gset
SELECT key FROM loyalty.source WHERE id = :id;
CREATE TABLE part_2026_2 PARTITION OF part_2026 FOR VALUES IN (2);
SELECT c.relname, t.* FROM pg_class c, LATERAL triggers(c.oid) t WHERE c.relname LIKE 'part%' AND c.relkind IN ('r', 'p') ORDER BY 1, 2;
SELECT loyalty.detach('part');
SELECT c.relname, t.* FROM pg_class c, LATERAL triggers(c.oid) t WHERE c.relname LIKE 'part%' ORDER BY 1, 2;

-- a table that was dropped and made again is the same source
CREATE TABLE again (id int PRIMARY KEY, who int, total numeric, at timestamptz);
ALTER TABLE again ADD COLUMN colour text;
SELECT loyalty.attach('again', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') AS id \gset
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'again', 'r', 'length(colour)');
DROP TABLE again;
UPDATE loyalty.rule SET points = '2' WHERE source = 'again';
UPDATE loyalty.source SET enabled = false WHERE id = :id;
CREATE TABLE again (id int PRIMARY KEY, who int, total numeric, at timestamptz);
-- if its rules still fit
SELECT loyalty.attach('again', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') = :id AS same;
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.rule SET enabled = false WHERE source = 'again';
SELECT loyalty.attach('again', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') = :id AS same;
SELECT relation, attached, enabled FROM loyalty.source WHERE id = :id;

-- only the owner
CREATE ROLE loyalty_test_admin;
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
GRANT USAGE ON SCHEMA attach_test TO loyalty_test_admin;
GRANT ALL ON purchase TO loyalty_test_admin;
SET ROLE loyalty_test_admin;
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
ALTER TABLE purchase OWNER TO loyalty_test_admin;
GRANT CREATE ON SCHEMA attach_test TO loyalty_test_admin;
SET ROLE loyalty_test_admin;
SELECT loyalty.attach('purchase', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT author FROM loyalty.source WHERE relation = 'purchase'::regclass AND attached;
SELECT loyalty.detach('purchase');
RESET ROLE;
ROLLBACK;
