-- balance() at any instant: before, at and after each change, in the past and to come, with no job.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA balance_test;
SET LOCAL search_path = balance_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, pending, decimals, sandbox) VALUES ('b', 'Europe/Istanbul', '30 days', '2 days', 1, true);
INSERT INTO loyalty.program (name, timezone, expiry, tier_period, tier_validity, sandbox)
VALUES ('t', 'Europe/Istanbul', '12 months, end of month', 'calendar month', '1 month', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('t', 'green', 0, 0), ('t', 'gold', 1, 100), ('t', 'black', 2, 300);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => p, member => 'who', amount => 'total', occurred_at => 'at', name => 'sale') > 0 AS attached FROM (VALUES ('b'), ('t')) v (p);
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('b', 'sale', 'one', 'earn.amount'), ('t', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('b', 'coffee', 7);

-- ---- the life of one purchase: pending for 2 days, dead after 30
SET loyalty.now = '2020-03-01 00:00+00';
INSERT INTO sale VALUES (1, 1, 10.25, '2020-03-01 00:00+00');
SELECT at, b.* FROM (VALUES ('2020-03-01 00:00+00'::timestamptz), ('2020-03-02 23:59:59.999999+00'), ('2020-03-03 00:00+00'),
  ('2020-03-30 23:59:59.999999+00'), ('2020-03-31 00:00+00'), ('2030-01-01 00:00+00')) v (at), loyalty.balance(1, 'b', at) b;
-- the same by loyalty.now, and before there was a member
SET loyalty.now = '2020-03-30 23:59:59.999999+00';
SELECT * FROM loyalty.balance(1, 'b');
SET loyalty.now = '2020-03-31 00:00+00';
SELECT * FROM loyalty.balance(1, 'b');
SELECT * FROM loyalty.balance(1, 'b', '2019-01-01 00:00+00');
SELECT * FROM loyalty.balance(1, 't', '2019-01-01 00:00+00');
-- an account's time never runs backwards: now is what was written last, the past has to be asked for
SET loyalty.now = '2020-04-05 00:00+00';
INSERT INTO sale VALUES (2, 1, 5, '2020-04-05 00:00+00');
SET loyalty.now = '2020-03-10 00:00+00';
SELECT * FROM loyalty.balance(1, 'b');
SELECT * FROM loyalty.balance(1, 'b', '2020-03-10 00:00+00');
-- late, and dead on arrival
SET loyalty.now = '2020-04-06 00:00+00';
INSERT INTO sale VALUES (3, 1, 100, '2020-03-01 00:00+00'), (4, 1, 3, '2020-03-20 00:00+00');
SELECT * FROM loyalty.balance(1, 'b');
SELECT entry_no, at, kind, points, balance_after, expires_at, last_day FROM loyalty.statement WHERE member_id = 1 AND program = 'b' ORDER BY entry_no;
DELETE FROM sale WHERE who = 1;

-- ---- what was to come is what was: a life of purchases, returns and burns, read at every instant when it lay ahead
-- and again when it was past; and views agree with balance() at each
CREATE TABLE event (at timestamptz, command text);
INSERT INTO event VALUES
  ('2020-05-01 08:00+00', $$INSERT INTO sale VALUES (10, 2, 60.5, '2020-05-01 08:00+00')$$),
  ('2020-05-02 08:00+00', $$INSERT INTO sale VALUES (11, 2, 50.25, '2020-05-02 08:00+00')$$),
  ('2020-05-04 08:00+00', $$SELECT FROM loyalty.redeem(2, reward => 'coffee', program => 'b')$$),
  ('2020-05-04 09:00+00', $$UPDATE sale SET total = 20 WHERE id = 10$$),
  ('2020-05-20 09:00+00', $$INSERT INTO sale VALUES (12, 2, 300, '2020-05-20 08:00+00'), (13, 2, 8, '2020-05-19 08:00+00')$$),
  ('2020-05-21 09:00+00', $$DELETE FROM sale WHERE id = 12$$),
  ('2020-05-22 09:00+00', $$SELECT FROM loyalty.adjust(2, 25.5, 'sorry', program => 'b', available_at => '2020-05-28 08:00+00', expires_at => '2020-06-07 08:00+00')$$),
  ('2020-05-23 09:00+00', $$SELECT FROM loyalty.adjust(2, -10, 'a mistake', program => 'b')$$),
  ('2020-05-24 09:00+00', $$SELECT FROM loyalty.adjust(2, 400, 'a gift', program => 't')$$),
  ('2020-05-31 08:00+00', $$INSERT INTO sale VALUES (14, 2, 40, '2020-05-31 08:00+00')$$),
  ('2020-06-05 08:00+00', $$UPDATE sale SET total = 60.5 WHERE id = 10$$),
  ('2020-06-10 08:00+00', $$INSERT INTO sale VALUES (12, 2, 300, '2020-05-20 08:00+00')$$),
  ('2020-06-10 08:00+00', $$SELECT FROM loyalty.redeem(2, points => 30, program => 'b')$$),
  ('2020-07-20 08:00+00', $$INSERT INTO sale VALUES (15, 2, 1, '2020-07-20 08:00+00')$$),
  ('2021-09-01 08:00+00', $$INSERT INTO sale VALUES (16, 2, 1, '2021-09-01 08:00+00')$$);
CREATE TABLE probe AS
SELECT DISTINCT e.at + d.distance + m.moment AS at FROM event e,
  (VALUES ('0'::interval), ('2 days'), ('30 days'), ('16 hours'), ('1 month'), ('13 months')) d (distance), (VALUES ('0'::interval), ('-1 microsecond'), ('1 microsecond'), ('11 hours')) m (moment)
UNION SELECT t FROM generate_series('2020-04-30 21:00+00'::timestamptz, '2021-09-30 21:00+00', '1 day') t;
CREATE TABLE seen (program text, at timestamptz, b text);

CREATE FUNCTION disagreement(program text, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  b record;
  m record;
  s record;
  e record;
  d numeric;
BEGIN
  PERFORM set_config('loyalty.now', at::text, true);
  SELECT * INTO b FROM loyalty.balance(2, program);
  SELECT v.* INTO m FROM loyalty.member_balance v WHERE v.member_id = 2 AND v.program = disagreement.program;
  SELECT sum(v.points) AS total, (array_agg(v.balance_after ORDER BY v.entry_no NULLS LAST, v.at, v.balance_after DESC))[count(*)] AS last INTO s
  FROM loyalty.statement v WHERE v.member_id = 2 AND v.program = disagreement.program;
  SELECT v.* INTO e FROM loyalty.expiring v WHERE v.member_id = 2 AND v.program = disagreement.program ORDER BY v.expires_at LIMIT 1;
  SELECT v.closing INTO d FROM loyalty.program_daily v WHERE v.program = disagreement.program ORDER BY v.day DESC LIMIT 1;
  RETURN nullif(concat_ws(', ',
    CASE WHEN (m.available, m.pending, m.held, m.debt, m.tier, m.next_expiry_at, m.next_expiry_points) IS DISTINCT FROM b THEN format('member_balance %s not %s', m, b) END,
    CASE WHEN s.total IS DISTINCT FROM b.available + b.pending OR s.last IS DISTINCT FROM s.total THEN format('statement %s', s) END,
    CASE WHEN (e.expires_at, e.points) IS DISTINCT FROM (b.next_expiry_at, b.next_expiry_points) THEN format('expiring %s not %s', e, b) END,
    CASE WHEN d IS DISTINCT FROM (SELECT sum(v.available + v.pending + v.held - v.debt) FROM loyalty.member_balance v WHERE v.program = disagreement.program) THEN format('program_daily %s', d) END), '');
END $$;

DO $$
DECLARE
  e record;
  p record;
  wrong text;
BEGIN
  FOR e IN SELECT v.*, lead(v.at, 1, 'infinity') OVER (ORDER BY v.at, v.ctid) AS until FROM (SELECT *, ctid FROM event) v ORDER BY v.at, v.ctid LOOP
    PERFORM set_config('loyalty.now', e.at::text, true);
    EXECUTE e.command;
    FOR p IN SELECT DISTINCT i.at, g.name FROM probe i, (VALUES ('b'), ('t')) g (name) WHERE i.at >= e.at AND i.at < e.until ORDER BY 1 LOOP
      wrong := disagreement(p.name, p.at);
      IF wrong IS NOT NULL THEN
        RAISE WARNING 'at % in %: %', p.at, p.name, wrong;
      END IF;
      INSERT INTO seen SELECT p.name, p.at, b::text FROM loyalty.balance(2, p.name) b;
      INSERT INTO seen SELECT p.name, p.at, b::text FROM loyalty.balance(2, p.name, p.at) b;
    END LOOP;
  END LOOP;
END $$;
SELECT program, count(*) > 1000 AS many, count(DISTINCT b) AS different FROM seen GROUP BY program ORDER BY program;
SELECT s.program, s.at, s.b AS lay_ahead, b::text AS was FROM seen s, loyalty.balance(2, s.program, s.at) b WHERE s.b <> b::text;
SELECT DISTINCT ON (s.b) s.at, s.b FROM seen s WHERE s.program = 't' AND s.at = date_trunc('month', s.at + interval '3 hours') - interval '3 hours' ORDER BY s.b, s.at;
SELECT * FROM loyalty.verify();

-- ---- bad input
SELECT * FROM loyalty.balance(4711, 'b');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.balance(2, 'nix');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.balance(NULL, 'b');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.balance(2, 'b', 'infinity');
\echo :LAST_ERROR_SQLSTATE
SELECT available FROM loyalty.balance(2, 'b', '294276-01-01 00:00+00');
SELECT available FROM loyalty.balance(2, 'b', '0001-01-01 00:00+00');
UPDATE loyalty.program SET is_default = true WHERE name = 'b' AND NOT EXISTS (SELECT FROM loyalty.program WHERE is_default);
UPDATE loyalty.program SET is_default = false WHERE is_default;
SELECT * FROM loyalty.balance(2);
\echo :LAST_ERROR_SQLSTATE

-- ---- who may: EXECUTE alone decides, and nothing is written
CREATE ROLE loyalty_test_till;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_till;
SET ROLE loyalty_test_till;
SELECT * FROM loyalty.balance(2, 'b');
RESET ROLE;
GRANT EXECUTE ON FUNCTION loyalty.balance(bigint, text, timestamptz) TO loyalty_test_till;
SET ROLE loyalty_test_till;
SELECT * FROM loyalty.balance(2, 'b', '2020-06-30 00:00+00');
SELECT * FROM loyalty.balance(2, 'b', '2022-06-30 00:00+00');
SELECT available FROM loyalty.account;
RESET ROLE;
SAVEPOINT writing;
SET TRANSACTION READ ONLY;
SELECT count(*) FROM loyalty.balance(2, 'b', '2022-06-30 00:00+00') f, loyalty.balance(2, 'b', '2020-06-30 00:00+00') p;
ROLLBACK TO writing;

-- a parallel query may be the first to ask for the configuration
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL loyalty.now = '2025-01-01 00:00+00';
UPDATE loyalty.program SET money = 'lira' WHERE name = 'b';
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY EXECUTE ''EXPLAIN '' || query; END';
SELECT count(*) > 0 AS parallel FROM plan('SELECT count(available), sum(available) FROM loyalty.account_now') p WHERE p LIKE '%Gather%';
SELECT count(available), sum(available) FROM loyalty.account_now;
ROLLBACK;
