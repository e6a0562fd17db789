-- program_daily foots on every row, and on every day equals the balances of all members at the end of that day, whatever
-- happened and whether or not it is written down; in zones of odd offsets and over changes of clocks.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

BEGIN;
CREATE SCHEMA daily_test;
SET LOCAL search_path = daily_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, decimals, expiry, pending, sandbox) VALUES
  ('kathmandu', 'Asia/Kathmandu', 1, '40 days', '3 days', true), ('york', 'America/New_York', 0, '1 month, end of month', '0', true), ('monrovia', 'Africa/Monrovia', 0, '30 days', '0', true);
SELECT count(loyalty.attach('sale', program => p, member => 'who', amount => 'total', occurred_at => 'at', condition => CASE p WHEN 'monrovia' THEN 'who = 100' ELSE 'who < 100' END))
FROM unnest('{kathmandu,york,monrovia}'::text[]) p;
INSERT INTO loyalty.rule (program, source, name, points) SELECT p, 'sale', p, 'earn.amount * 0.7' FROM unnest('{kathmandu,york,monrovia}'::text[]) p;
-- a quarter of a year around a change of clocks; every entry at its own second around somebody's midnight
CREATE FUNCTION live(day int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  p text;
  n timestamptz := timestamptz '2024-02-01 00:00+00' + make_interval(days => day, hours => day * 7 % 24, mins => (day * 15) % 60, secs => day % 3 - 1);
BEGIN
  PERFORM set_config('loyalty.now', n::text, true);
  INSERT INTO sale SELECT day * 10 + i, 1 + (day + i) % 5, 10 + day * i % 50, n - make_interval(hours => i * 5, secs => i) FROM generate_series(0, 5) i;
  UPDATE sale SET total = total / 2 WHERE id % 37 = day % 37 AND id < day * 10;
  DELETE FROM sale WHERE id % 53 = day % 53 AND id < day * 10;
  UPDATE sale SET who = who % 5 + 1 WHERE id % 41 = day % 41 AND id < day * 10;
  FOREACH p IN ARRAY '{kathmandu,york}'::text[] LOOP
    CASE day % 5
      WHEN 0 THEN PERFORM loyalty.adjust(1 + day % 5, 20 + day, 'gift', p, expires_at => n + interval '9 days');
      WHEN 1 THEN PERFORM loyalty.adjust(1 + day % 5, -1, 'correction', p);
      WHEN 2 THEN PERFORM loyalty.redeem(1 + day % 5, points => 2, program => p);
      WHEN 3 THEN PERFORM loyalty.transfer(1 + day % 5, 1 + (day + 3) % 5, 3, p);
      ELSE PERFORM loyalty.change_expiry(1 + day % 5, n + interval '11 days', 'x', program => p);
    END CASE;
  END LOOP;
EXCEPTION WHEN SQLSTATE 'LY001' THEN
  NULL;  -- nothing available that day
END $$;
SELECT count(live(d)) FROM generate_series(1, 42) d;
-- local midnight lay at 00:44:30 UTC before 1972
SET LOCAL loyalty.now = '1971-06-01 00:00+00';
INSERT INTO sale VALUES (-1, 100, 10, '1971-05-10 00:44:29+00'), (-2, 100, 100, '1971-05-10 00:44:30+00'), (-3, 100, 1000, '1971-05-10 23:59:00+00');

CREATE VIEW wrong AS
SELECT d.program, d.day, 'does not foot' AS what FROM loyalty.program_daily d
WHERE d.opening + d.issued + d.clawed_back + d.redeemed + d.restored + d.expired + d.transferred + d.adjusted <> d.closing
UNION ALL
SELECT n.program, n.day, 'opens otherwise than the day before closed' FROM (
  SELECT d.*, lag(d.closing, 1, 0::numeric) OVER (PARTITION BY d.program ORDER BY d.day) AS former FROM loyalty.program_daily d) n WHERE n.opening <> n.former
UNION ALL
SELECT d.program, d.day, 'transfers do not add up to 0' FROM loyalty.program_daily d WHERE d.transferred <> 0
UNION ALL
SELECT d.program, d.day, format('closes at %s, balances are %s', d.closing, b.total) FROM loyalty.program_daily d
JOIN loyalty.program p ON p.name = d.program
CROSS JOIN LATERAL (SELECT least((d.day + 1)::timestamp AT TIME ZONE p.timezone - interval '1 microsecond', loyalty.instant()) AS at) e
CROSS JOIN LATERAL (SELECT sum(x.available + x.pending + x.held - x.debt) AS total FROM loyalty.account a CROSS JOIN LATERAL loyalty.balance(a.member_id, p.name, e.at) x
                    WHERE a.program_id = p.id) b
WHERE d.closing <> b.total;

SELECT day, issued FROM loyalty.program_daily WHERE program = 'monrovia' ORDER BY 1;
SET LOCAL loyalty.now = '2024-03-16 12:00+00';
TABLE wrong;
SELECT program, count(*) AS days, count(*) FILTER (WHERE expired <> 0) AS with_expiry, sum(issued) > 0 AND sum(clawed_back) < 0 AND sum(redeemed) < 0 AND sum(adjusted) <> 0 AS all_kinds
FROM loyalty.program_daily GROUP BY 1 ORDER BY 1;
-- later, with much that is due and not written; and when it is written
SET LOCAL loyalty.now = '2024-04-25 12:00+00';
TABLE wrong;
CREATE TEMP TABLE before AS SELECT * FROM loyalty.program_daily;
SELECT count(*) FILTER (WHERE next_change_at <= loyalty.instant()) > 5 AS much_is_due FROM loyalty.account;
SELECT settled > 5 AS written FROM loyalty.settle_batch('-9223372036854775808', 0, 1000);
TABLE wrong;
SELECT count(*) FROM (TABLE before EXCEPT TABLE loyalty.program_daily) x;
SELECT * FROM loyalty.verify();
-- the control: a movement that no balance knows is seen
INSERT INTO loyalty.movement SELECT member_id, 1000000, lot_expires_at, lot_entry_no, 10000, at, posted_at, NULL, NULL, program_id, 'adjust', NULL FROM loyalty.movement ORDER BY at DESC LIMIT 1;
SELECT count(*) > 0 AS found FROM wrong;
ROLLBACK;

-- sum_by_quarter() against plain SQL: many programs, kinds, none, years before 1973, sums beyond 64 bits; by one process and by several
CREATE TEMP TABLE entry AS SELECT (1 + i % 7)::integer AS program_id, timestamptz '1960-01-01 00:00+00' + i * interval '11 hours 7 minutes 13 seconds' AS at,
  (ARRAY['redeem', 'expire', NULL, 'issue'])[1 + i % 4] AS kind, CASE WHEN i % 1000 = 0 THEN 9223372036854775807 WHEN i % 1000 = 1 THEN -9223372036854775808 ELSE i END AS points
FROM generate_series(1::bigint, 60000) i, generate_series(1, 3);
INSERT INTO entry VALUES (1, 'infinity', 'issue', 1), (1, '-infinity', 'issue', 2), (1, NULL, 'issue', 4), (NULL, now(), 'issue', 8), (1, now(), 'issue', NULL);
CREATE TEMP VIEW plain AS SELECT program_id, CASE WHEN at < '1973-01-01 00:00+00' OR NOT isfinite(at) THEN at ELSE date_bin('15 minutes', at, '2000-01-01 00:00+00') END AS at,
  kind, sum(points) AS points FROM entry WHERE num_nulls(program_id, at, kind, points) = 0 GROUP BY 1, 2, 3;
CREATE TEMP VIEW ours AS SELECT q.* FROM (SELECT loyalty.sum_by_quarter(program_id, at, kind, points) AS sums FROM entry) s, loyalty.quarter_sums(s.sums) q;
SELECT count(*) FROM ((TABLE plain EXCEPT TABLE ours) UNION ALL (TABLE ours EXCEPT TABLE plain)) x;
SELECT count(*), sum(points), max(points) > 9223372036854775807 AS beyond FROM ours;
BEGIN;
CREATE SCHEMA daily_test;
CREATE TABLE daily_test.entry AS TABLE entry;
ANALYZE daily_test.entry;
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 2;
EXPLAIN (COSTS OFF) SELECT loyalty.sum_by_quarter(program_id, at, kind, points) FROM daily_test.entry;
CREATE TEMP TABLE parallel AS SELECT q.* FROM (SELECT loyalty.sum_by_quarter(program_id, at, kind, points) AS sums FROM daily_test.entry) s, loyalty.quarter_sums(s.sums) q;
SELECT count(*) FROM ((TABLE plain EXCEPT TABLE parallel) UNION ALL (TABLE parallel EXCEPT TABLE plain)) x;
ROLLBACK;
SELECT loyalty.sum_by_quarter(program_id, at, kind, points) AS nothing, (SELECT count(*) FROM loyalty.quarter_sums('')) AS rows FROM entry WHERE false;
-- what is not a state of it
SELECT loyalty.sum_by_quarter(1, now(), repeat('x', 16), 1);
SELECT loyalty.sum_by_quarter(1, now(), i::text, 1) IS NOT NULL FROM generate_series(1, 16) i;
SELECT loyalty.sum_by_quarter(-1, now(), 'issue', 1);
SELECT loyalty.quarter_sums_add('', 1, now(), 'issue', 1);
SELECT loyalty.quarter_sums_combine('\x00', '\x00');
SELECT loyalty.quarter_sums('\x0000');
CREATE FUNCTION pg_temp.try(sums bytea) RETURNS SETOF numeric LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY SELECT q.points FROM loyalty.quarter_sums(sums) q;
EXCEPTION WHEN invalid_binary_representation THEN
  NULL;
END $$;
SELECT count(*) AS damaged, count(*) FILTER (WHERE refused) AS refused FROM (
  SELECT (SELECT count(*) FROM pg_temp.try(set_byte(s.sums, b, 255))) = 0 AS refused FROM (SELECT loyalty.sum_by_quarter(1, '2024-01-01', 'issue', 1) AS sums) s, generate_series(0, 11) b) d;
-- a stranger may use the aggregate, and makes none of his own that begins with crafted bytes
CREATE ROLE loyalty_test_stranger;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_stranger;
CREATE SCHEMA stranger AUTHORIZATION loyalty_test_stranger;
SET ROLE loyalty_test_stranger;
SELECT octet_length(loyalty.sum_by_quarter(1, '2024-01-01', 'issue', 1)) > 0 AS used;
CREATE AGGREGATE stranger.crafted(integer, timestamptz, text, bigint) (SFUNC = loyalty.quarter_sums_add, STYPE = bytea, INITCOND = '\x00000000ffffffff');
CREATE AGGREGATE stranger.crafted(bytea) (SFUNC = loyalty.quarter_sums_combine, STYPE = bytea, INITCOND = '\x00000000ffffffff');
RESET ROLE;
DROP SCHEMA stranger;
REVOKE USAGE ON SCHEMA loyalty FROM loyalty_test_stranger;
DROP ROLE loyalty_test_stranger;
