-- Settings of a session change nothing: what a rule means, whose purchase it is, and under which key.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_settings;
\c loyalty_test_settings
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
CREATE SCHEMA shop;
SET search_path = shop;
INSERT INTO loyalty.program (name) VALUES ('q');

-- rules and a mapping that lean on everything a session can set
CREATE TABLE odd (id int PRIMARY KEY, who text, total float8, kind text, local timestamp, at timestamptz NOT NULL);
SELECT loyalty.attach('odd', program => 'q', member => $$(extract(year from at) - 2000)::bigint$$, amount => 'total::numeric', occurred_at => 'local') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES
  ('q', 'odd', 'literal time', '1', $$earn.occurred_at >= '2026-03-04'$$),
  ('q', 'odd', 'literal date', '10', $$at::date >= '2026-03-04'$$),
  ('q', 'odd', 'text of a date', '100', $$at::date::text = '2026-01-01'$$),
  ('q', 'odd', 'hour', '1000 * extract(hour from earn.local_time)', NULL),
  ('q', 'odd', 'backslash', '20000', $$kind = 'a\b'$$),
  ('q', 'odd', 'null', '100000', $$who = NULL$$),
  ('q', 'odd', 'operators', '1000000 * (1 + 1)', $$length(kind) = 3$$),
  ('q', 'odd', 'interval', '10000000', $$(at - local::timestamptz)::text = '03:00:00'$$);
CREATE FUNCTION odd_lots() RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$
  SELECT string_agg(concat_ws(' ', l.source_key, l.member_id, l.points / 10000, l.amount, extract(epoch from l.earned_at)), '; ' ORDER BY l.source_key, l.part)
  FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id AND s.name = 'odd' $$;
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.eq(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = hostile.eq);
CREATE FUNCTION hostile.plus(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 77';
CREATE OPERATOR hostile.+ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = hostile.plus);
CREATE FUNCTION hostile.length(text) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 77';
CREATE TABLE hostile.lot (x int);
CREATE TABLE hostile.account (x int);
CREATE FUNCTION sell() RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; BEGIN
  BEGIN
    EXECUTE $q$ INSERT INTO shop.odd VALUES (1, '7', 0.30000000000000004::float8, E'a\\b', timestamp '2026-03-04 00:30:00', timestamptz '2026-03-04 03:30:00+00'),
      (2, NULL, 1e3::float8, 'xyz', timestamp '2026-03-03 23:30:00', timestamptz '2025-12-31 23:30:00+00') $q$;
    result := shop.odd_lots();
    RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = result;
  EXCEPTION WHEN raise_exception THEN RETURN SQLERRM;
  END;
END $$;
SELECT shop.sell();
-- each setting in a session of its own, whose first statement on the table compiles the rules
CREATE TABLE session_result (setting text, result text);
INSERT INTO session_result SELECT 'usual', shop.sell();
\c
SET DateStyle = 'SQL, DMY';
INSERT INTO shop.session_result SELECT 'DateStyle', shop.sell();
\c
SET TimeZone = 'Pacific/Kiritimati';
INSERT INTO shop.session_result SELECT 'TimeZone', shop.sell();
\c
SET standard_conforming_strings = off;
SET escape_string_warning = off;
INSERT INTO shop.session_result SELECT 'standard_conforming_strings', shop.sell();
\c
SET transform_null_equals = on;
INSERT INTO shop.session_result SELECT 'transform_null_equals', shop.sell();
\c
SET IntervalStyle = 'postgres_verbose';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET row_security = off;
INSERT INTO shop.session_result SELECT 'formats', shop.sell();
\c
SET search_path = hostile, shop, pg_catalog;
INSERT INTO shop.session_result SELECT 'search_path', shop.sell();
\c
SET default_transaction_isolation = 'serializable';
SET enable_indexscan = off;
SET enable_seqscan = off;
SET work_mem = '64kB';
SET jit_above_cost = 0;
INSERT INTO shop.session_result SELECT 'planner', shop.sell();
\c
-- worked out by hand, in UTC, the program's zone: 10,000,000 + 2,000,000 + 20,000 + 10 + 1, and 2,000,000 + 23,000
SELECT setting, result FROM shop.session_result
WHERE result <> '1 26 12020011 0.3 1772584200.000000; 2 25 2023000 1000 1772580600.000000' ORDER BY setting COLLATE "C";
SELECT count(*) AS settings FROM shop.session_result;
-- the control: the comparison does find a session that reads a literal in its own zone
SET TimeZone = 'PST8PDT';
SELECT timestamptz '2026-03-04 00:30+00' >= '2026-03-04' AS naive;
RESET TimeZone;

-- a key read back by sessions of other habits is the same key
CREATE TABLE shop.keys (u uuid, t text, z timestamptz, l timestamp, d date, n numeric, b bytea, i interval, bo boolean, v varchar,
  who bigint, total numeric, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (u, t, z, l, d, n, b, i, bo, v));
SELECT loyalty.attach('shop.keys', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('q', 'keys', 'r', 'earn.amount');
INSERT INTO shop.keys VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a,b\c', '2026-01-02 03:04:05+03', '2026-01-02 03:04:05', '2026-01-02', 1.50, '\x00ff', '1 day 02:03', true, 'v', 1, 10);
CREATE FUNCTION shop.keys() RETURNS TABLE (key text, remaining bigint) LANGUAGE sql AS
'SELECT l.source_key, l.remaining / 10000 FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id AND s.name = ''keys'' ORDER BY 1';
SELECT * FROM shop.keys();
SET TimeZone = 'Asia/Kathmandu';
UPDATE shop.keys SET total = 9;
SELECT remaining FROM shop.keys();
SET DateStyle = 'SQL, DMY';
UPDATE shop.keys SET total = 8;
SELECT remaining FROM shop.keys();
SET IntervalStyle = 'iso_8601';
UPDATE shop.keys SET total = 7;
SELECT remaining FROM shop.keys();
SET bytea_output = 'escape';
UPDATE shop.keys SET total = 6;
SELECT remaining FROM shop.keys();
SET extra_float_digits = -5;
DELETE FROM shop.keys;
SELECT * FROM shop.keys();

-- parallel workers read loyalty.now as their leader did, in whatever words and zone it was written
RESET ALL;
CREATE TABLE shop.ones AS SELECT i FROM generate_series(1, 20000) i;
CREATE FUNCTION shop.in_workers() RETURNS TABLE (instants bigint, instant text) LANGUAGE plpgsql AS $$
DECLARE
  leader timestamptz := loyalty.instant();
BEGIN
  SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
  SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_leader_participation = off;
  RETURN QUERY SELECT count(DISTINCT x.at), CASE WHEN min(x.at) = leader THEN (leader AT TIME ZONE 'UTC')::text ELSE format('%s but %s', min(x.at), leader) END
    FROM (SELECT loyalty.instant() AS at FROM shop.ones WHERE loyalty.instant() <> timestamptz 'epoch' + i * interval '1 s' GROUP BY 1) x;
END $$;
SET loyalty.now = '2024-03-28 12:00+00';
SHOW loyalty.now;
SELECT * FROM shop.in_workers();
SET loyalty.now = 'Thu Mar 28 12:00:00 2024 PST';
SHOW loyalty.now;
SELECT * FROM shop.in_workers();
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET loyalty.now = '01/02/2024 00:00';
RESET TimeZone;
RESET DateStyle;
SHOW loyalty.now;
SELECT * FROM shop.in_workers();
SET loyalty.now = '0044-03-15 12:00:00.123456 BC';
SHOW loyalty.now;
SELECT * FROM shop.in_workers();
SET loyalty.now = '';
SELECT instants FROM shop.in_workers();

\c :here
DROP DATABASE loyalty_test_settings;
