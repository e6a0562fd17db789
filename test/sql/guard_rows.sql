-- Every command that could take rows, columns or code of a ledger that holds points: refused, and nothing is gone;
-- the same with loyalty.allow_drop does go (the control), and what is none of our business passes.
\set SHOW_CONTEXT never
SET client_min_messages = error;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_guard;
\c loyalty_test_guard
SET client_min_messages = error;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
CREATE SCHEMA shop;
CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now());
CREATE TABLE shop.other (id int PRIMARY KEY, a int);
INSERT INTO loyalty.program (name) VALUES ('p');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 't', 0, 0), ('p', 'u', 1, 1);
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('p', 'r', 'product', 1);
SELECT loyalty.attach('shop.sale', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
-- before there are points all of it may go
BEGIN;
DROP EXTENSION loyalty CASCADE;
DROP SCHEMA loyalty CASCADE;
ROLLBACK;
INSERT INTO shop.sale VALUES (1, 1, 10), (2, 2, 20);
DELETE FROM shop.sale WHERE id = 2;
INSERT INTO loyalty.member (member_id) VALUES (1);
INSERT INTO loyalty.member_alias (member_id, external_id) VALUES (1, 'card 1');
CREATE TABLE shop.card (no int, member_id bigint REFERENCES loyalty.member (member_id));
INSERT INTO shop.card VALUES (1, 1);
CREATE ROLE loyalty_test_bystander;

-- columns of the tables and their rows, in one figure; what is not there counts, too
CREATE FUNCTION shop.holds() RETURNS text LANGUAGE plpgsql AS $$
DECLARE t text; one text; result text := '';
BEGIN
  FOREACH t IN ARRAY '{account, config_history, debt, installed, lot, member, member_alias, movement, program, redemption, request, review, reward, rule, source, tier, tier_change, tier_requirement}'::text[] LOOP
    BEGIN
      EXECUTE format('SELECT count(*) || '' '' || md5(coalesce(string_agg(to_jsonb(x)::text, '' '' ORDER BY to_jsonb(x)::text), '''')) FROM loyalty.%I x', t) INTO one;
    EXCEPTION WHEN OTHERS THEN
      one := SQLSTATE;
    END;
    result := result || t || one;
  END LOOP;
  -- and the code: functions, types, operators, triggers
  RETURN md5(result) || (SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('loyalty')) || ' ' || (SELECT count(*) FROM pg_type WHERE typnamespace = to_regnamespace('loyalty'))
    || ' ' || (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal) || ' ' || (SELECT count(*) FROM pg_event_trigger) || ' ' || (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = to_regnamespace('loyalty'));
END $$;
-- One statement: refused by whom, and is anything gone?  It is undone in any case.
CREATE FUNCTION shop.try(statement text) RETURNS TABLE (state text, lost boolean) LANGUAGE plpgsql AS $$
DECLARE before text := shop.holds();
BEGIN
  BEGIN
    EXECUTE statement;
    state := 'done';
    lost := before <> shop.holds();
    RAISE EXCEPTION USING ERRCODE = 'P0009', MESSAGE = lost::text;
  EXCEPTION WHEN SQLSTATE 'P0009' THEN lost := SQLERRM::boolean; WHEN OTHERS THEN state := SQLSTATE; lost := before <> shop.holds();
  END;
  RETURN NEXT;
END $$;
CREATE TABLE shop.command (n serial, command text);
INSERT INTO shop.command (command) VALUES
  ('DROP EXTENSION loyalty'), ('DROP EXTENSION loyalty CASCADE'), ('DROP EXTENSION IF EXISTS nosuch, loyalty CASCADE'), ('DROP EXTENSION plpgsql CASCADE'),
  ('DROP SCHEMA loyalty'), ('DROP SCHEMA loyalty CASCADE'), ('DROP SCHEMA shop, loyalty CASCADE'), ('DROP SCHEMA "loyalty" CASCADE'),
  ('DROP OWNED BY CURRENT_USER'), ('DROP OWNED BY SESSION_USER CASCADE'), ('DROP OWNED BY loyalty_test_bystander, CURRENT_ROLE CASCADE'),
  ('DROP TABLE loyalty.lot CASCADE'), ('DROP TABLE shop.other, loyalty.lot CASCADE'), ('DROP TABLE IF EXISTS nosuch.nosuch, loyalty.movement CASCADE'), ('SET LOCAL search_path = loyalty; DROP TABLE account CASCADE'),
  ('DROP TABLE loyalty.member CASCADE'), ('DROP TABLE loyalty.program CASCADE'), ('DROP TABLE loyalty.installed'),
  ('DO $d$ BEGIN DROP TABLE loyalty.lot CASCADE; END $d$'), ('DO $d$ BEGIN EXECUTE ''DROP SCHEMA loy'' || ''alty CASCADE''; END $d$'),
  ('DROP TYPE loyalty.expiry CASCADE'), ('DROP TYPE loyalty.points CASCADE'), ('DROP TYPE loyalty.points[] CASCADE'), ('DROP DOMAIN loyalty.points CASCADE'), ('DROP TYPE loyalty.lot CASCADE'),
  ('DROP FUNCTION loyalty.source_row() CASCADE'), ('DROP FUNCTION loyalty.config_stamp CASCADE'), ('DROP ROUTINE loyalty.guard() CASCADE'), ('DROP AGGREGATE loyalty.sum(loyalty.points) CASCADE'),
  ('DROP OPERATOR loyalty.+ (loyalty.points, loyalty.points) CASCADE'), ('DROP OPERATOR CLASS loyalty.points_ops USING btree CASCADE'), ('DROP CAST (loyalty.points AS numeric) CASCADE'),
  ('DROP EVENT TRIGGER loyalty_guard'),
  ('DROP INDEX loyalty.lot_source_key'), ('DROP INDEX loyalty.lot_pkey'), ('DROP SEQUENCE loyalty.program_id_seq CASCADE'),
  ('ALTER TABLE loyalty.lot DROP COLUMN points CASCADE'), ('ALTER TABLE IF EXISTS ONLY loyalty.lot ADD COLUMN x int, DROP COLUMN IF EXISTS remaining CASCADE'), ('ALTER TABLE loyalty.program DROP COLUMN expiry CASCADE'),
  ('ALTER TABLE loyalty.account DROP available CASCADE'), ('ALTER TABLE loyalty.lot DROP CONSTRAINT lot_pkey'), ('ALTER TABLE ONLY loyalty.account DROP CONSTRAINT IF EXISTS account_pkey CASCADE'),
  ('TRUNCATE loyalty.lot'), ('TRUNCATE shop.other, loyalty.account, loyalty.movement'), ('TRUNCATE loyalty.movement RESTART IDENTITY CASCADE'), ('TRUNCATE loyalty.debt'), ('TRUNCATE loyalty.redemption'),
  ('TRUNCATE loyalty.request'), ('TRUNCATE loyalty.tier_change'), ('TRUNCATE loyalty.program CASCADE'), ('TRUNCATE loyalty.source CASCADE'), ('TRUNCATE loyalty.rule'), ('TRUNCATE loyalty.tier'), ('TRUNCATE loyalty.reward CASCADE'),
  ('TRUNCATE loyalty.member CASCADE'), ('TRUNCATE loyalty.member_alias'), ('TRUNCATE loyalty.review'),
  ('TRUNCATE shop.sale'), ('TRUNCATE shop.other, shop.sale CASCADE'),
  ('DELETE FROM loyalty.program'), ('DELETE FROM loyalty.tier'), ('DELETE FROM loyalty.rule'), ('DELETE FROM loyalty.source');
CREATE VIEW shop.tried AS SELECT c.n, c.command, t.state, t.lost FROM shop.command c, LATERAL shop.try(c.command) t;
-- refused, and nothing gone; 2BP01: PostgreSQL refuses it itself, because the extension needs it
SELECT command, state, lost FROM shop.tried ORDER BY n;

-- the control: with the setting the guard's own refusals are gone
SET loyalty.allow_drop = on;
SELECT c.command, t.state, t.lost
FROM (SELECT n, CASE WHEN command ~ '^(DROP (TABLE|EXTENSION|SCHEMA)|ALTER)' AND command !~ 'CASCADE' THEN command || ' CASCADE' ELSE command END AS command FROM shop.command) c, LATERAL shop.try(c.command) t
WHERE c.command ~ '^(DROP (EXTENSION loy|SCHEMA loy|TABLE|INDEX loyalty.lot_source)|ALTER|TRUNCATE loyalty.(lot|debt|member))' ORDER BY c.n;
-- but not for somebody who may not
CREATE ROLE loyalty_test_owner;
GRANT ALL ON SCHEMA shop TO loyalty_test_bystander;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO loyalty_test_bystander;
GRANT TRUNCATE ON ALL TABLES IN SCHEMA loyalty TO loyalty_test_bystander;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_bystander;
BEGIN;
SET LOCAL ROLE loyalty_test_bystander;
SET LOCAL loyalty.allow_drop = on;
SET LOCAL loyalty.restoring = on;
TRUNCATE loyalty.lot;
ROLLBACK;
BEGIN;
SET LOCAL ROLE loyalty_test_bystander;
TRUNCATE shop.sale;
ROLLBACK;
BEGIN;
SET LOCAL ROLE loyalty_test_bystander;
DROP EXTENSION loyalty CASCADE;
ROLLBACK;
RESET loyalty.allow_drop;

-- none of our business
CREATE TABLE shop.passes (command text);
INSERT INTO shop.passes VALUES ('DROP TABLE shop.other'), ('DROP SCHEMA IF EXISTS nosuch CASCADE'), ('CREATE TABLE shop.lot (a int); DROP TABLE shop.lot'), ('CREATE SCHEMA loyalty_2; DROP SCHEMA loyalty_2'),
  ('ALTER TABLE shop.other DROP COLUMN a'), ('ALTER TABLE shop.sale ADD COLUMN a int'), ('CREATE TYPE shop.points AS ENUM (); DROP TYPE shop.points'), ('DROP OWNED BY loyalty_test_owner'),
  ('CREATE FUNCTION shop.sum(int) RETURNS int LANGUAGE sql AS ''SELECT 1''; DROP FUNCTION shop.sum(int)'), ('CREATE TEMP TABLE account (a int); DROP TABLE account'), ('TRUNCATE shop.other'), ('TRUNCATE shop.card'),
  ('CREATE VIEW shop.v AS SELECT 1; DROP VIEW shop.v'), ('CREATE INDEX i ON shop.other (a); DROP INDEX shop.i'), ('REINDEX TABLE loyalty.lot'), ('ANALYZE loyalty.lot'), ('ALTER TABLE loyalty.lot SET (fillfactor = 90)'),
  ('CREATE EXTENSION IF NOT EXISTS tcn; DROP EXTENSION tcn'), ('ALTER TABLE shop.sale RENAME TO purchase'), ('COMMENT ON TABLE loyalty.lot IS ''x''');
SELECT command, t.state FROM shop.passes, LATERAL shop.try(command) t WHERE t.state <> 'done' AND NOT (command LIKE '%tcn%' AND t.state IN ('0A000', '58P01', '22023'));
DROP OWNED BY loyalty_test_bystander;
\c :here
DROP DATABASE loyalty_test_guard;
DROP ROLE loyalty_test_bystander, loyalty_test_owner;
