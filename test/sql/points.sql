-- loyalty.points: an exact figure of points.

-- What refuses a text, and why: SQLSTATE, message, detail.
CREATE FUNCTION pg_temp.refused(of regtype, bad text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text;
BEGIN
  EXECUTE format('SELECT %L::%s', bad, of) INTO message;
  RETURN 'accepted as ' || message;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', state, message, nullif(detail, ''));
END $$;

-- text in, canonical text out
SELECT t AS given, t::loyalty.points AS points
FROM unnest(ARRAY['120', '0.5', '-3.25', ' 7 ', E'\t8\n', '+1', '.5', '5.', '00012.3400', '0', '-0', '1.50000000',
  '922337203685477.5807', '-922337203685477.5808']) t;
SELECT left(bad, 30) AS bad, pg_temp.refused('loyalty.points', bad)
FROM unnest(ARRAY['', '   ', 'twelve', '12 points', '1 2', '1.2.3', '--1', '-', '.', '1e3', '0x10', '1,5', '0.00001',
  'NaN', 'infinity', '922337203685477.5808', '-922337203685477.5809', '99999999999999999999999999', 'ölçü 5',
  repeat('9', 200), repeat('y', 200)]) bad;
SELECT 'twelve'::loyalty.points;
\echo :LAST_ERROR_SQLSTATE
SELECT '922337203685477.5808'::loyalty.points;
\echo :LAST_ERROR_SQLSTATE

-- binary form: that of bigint
SELECT loyalty.points_send('0.5');
CREATE TEMP TABLE carried (p loyalty.points, n int);
INSERT INTO carried VALUES ('-922337203685477.5808', 1), ('922337203685477.5807', 2), ('-0.0001', 3), (NULL, 4);
\copy carried TO 'results/points.binary' (FORMAT binary)
\copy carried FROM 'results/points.binary' (FORMAT binary)
\! rm -f results/points.binary
SELECT n, p, count(*) FROM carried GROUP BY n, p ORDER BY n;

-- casts: to numeric implicit, from numbers on assignment
SELECT pg_typeof(coalesce('1.5'::loyalty.points, 2::numeric)), pg_typeof(CASE WHEN true THEN '1'::loyalty.points ELSE 0.0 END), '1.50'::loyalty.points::numeric, 12::loyalty.points,
  (-5000000000)::loyalty.points, 1.2500::loyalty.points, '3'::loyalty.points::text;
INSERT INTO carried VALUES (5, 10), (5000000000, 11), (0.25, 12);
SELECT p FROM carried WHERE n >= 10 ORDER BY n;
SELECT 0.00001::loyalty.points;
\echo :LAST_ERROR_SQLSTATE
SELECT 'NaN'::numeric::loyalty.points;
SELECT '-Infinity'::numeric::loyalty.points;
SELECT 922337203685477.5808::loyalty.points;
SELECT 922337203685478::bigint::loyalty.points;
SELECT 1e100::numeric::loyalty.points;
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.points_from_ledger(12345), loyalty.points_to_ledger('1.2345');

-- every digit against numeric's own arithmetic: short and long headers, weights, scales, both signs, limits
CREATE TEMP TABLE figure (n numeric);
INSERT INTO figure SELECT trunc((random() * 2 - 1)::numeric * (10::numeric ^ (random() * 16)::int)
    * (random()::numeric + 1e-30), (random() * 9)::int) FROM generate_series(1, 20000);
INSERT INTO figure SELECT s * (m * 10::numeric ^ e) FROM unnest(ARRAY[1, -1]) s, generate_series(-30, 30) e,
  unnest(ARRAY[0, 1, 5, 9, 10, 99, 9999, 10000, 10001, 99999999, 12345678, 922337203685477, 9223372036854775807,
    9223372036854775808, 9223372036854775809]) m;
INSERT INTO figure SELECT 9223372036854775807.0 / 10000 + d * 0.0001 FROM generate_series(-3, 3) d;
INSERT INTO figure SELECT -9223372036854775808.0 / 10000 + d * 0.0001 FROM generate_series(-3, 3) d;
INSERT INTO figure SELECT round(1.5, 100 + i) FROM generate_series(0, 5) i;	-- long header: many decimals shown
INSERT INTO figure VALUES (1e2000), (-1e2000), (1e-2000), (0), (round(0, 500));
CREATE FUNCTION pg_temp.as_points(n numeric) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN n::loyalty.points::numeric::text;
EXCEPTION WHEN numeric_value_out_of_range THEN RETURN 'overflow';
WHEN SQLSTATE 'LY017' THEN RETURN 'inexact';
END $$;
SELECT count(*) FILTER (WHERE expected = 'overflow') > 100 AS some_overflow,
  count(*) FILTER (WHERE expected = 'inexact') > 100 AS some_inexact,
  count(*) FILTER (WHERE expected NOT IN ('overflow', 'inexact')) > 5000 AS many_exact,
  count(*) FILTER (WHERE got IS DISTINCT FROM expected) AS wrong, min(n) FILTER (WHERE got IS DISTINCT FROM expected)
FROM (SELECT n, pg_temp.as_points(n) AS got,
    CASE WHEN trunc(n, 4) NOT BETWEEN -922337203685477.5808 AND 922337203685477.5807 THEN 'overflow'
      WHEN trunc(n, 4) <> n THEN 'inexact' ELSE trim_scale(n)::text END AS expected
  FROM figure) f;
-- the same where the value is read from a tuple, with a short length word; text agrees
SELECT count(*) FROM figure f
WHERE CASE WHEN pg_temp.as_points(f.n) NOT IN ('overflow', 'inexact') THEN f.n::loyalty.points <> f.n OR f.n::text::loyalty.points <> f.n END;

-- operators: found and unambiguous with and without loyalty in the search_path
CREATE TEMP TABLE had (p loyalty.points);
INSERT INTO had VALUES ('5'), ('7.5'), ('-1');
SELECT p, p = 5 AS eq, p <> 5.0 AS ne, p > '5' AS gt, 5 <= p AS le, p + 1 AS pl, p - 1.5 AS mi, 2 * p AS mul, p / 4 AS div,
  -p AS neg, p + p AS twice, p = p AS same, p IN (5, 7.5) AS listed, p BETWEEN 0 AND 6 AS held, abs(p) AS abs
FROM had ORDER BY p;
SET search_path = public, loyalty;
SELECT p, p = 5 AS eq, p <> 5.0 AS ne, p > '5' AS gt, 5 <= p AS le, p + 1 AS pl, p - 1.5 AS mi, 2 * p AS mul, p / 4 AS div,
  -p AS neg, p + p AS twice, p = p AS same, p IN (5, 7.5) AS listed, p BETWEEN 0 AND 6 AS held, abs(p) AS abs
FROM had ORDER BY p;
SELECT pg_typeof(p + p), pg_typeof(p - p), pg_typeof(-p), pg_typeof(p + 1.5), pg_typeof(1 + p), pg_typeof(p * 1.1),
  pg_typeof(p / p), pg_typeof(p + '1'), pg_typeof(sum(p)), pg_typeof(avg(p)), pg_typeof(max(p))
FROM had GROUP BY p LIMIT 1;
SELECT p = 5::bigint AS "int8", p = 5::smallint AS "int2", p < 'NaN'::numeric AS nan, p > '-Infinity'::numeric AS inf,
  p = 5.00001 AS inexact, p < 5.00001 AS below, p = 1e30 AS far FROM had WHERE p = 5;
-- against numeric nothing is rounded
SELECT count(*) FROM figure f, (VALUES ('0'::points), ('1'), ('-1'), ('0.0001'), ('922337203685477.5807'), ('-922337203685477.5808')) v(p)
WHERE (p = n) <> (p::numeric = n) OR (p < n) <> (p::numeric < n) OR (p <= n) <> (p::numeric <= n)
  OR (n < p) <> (n < p::numeric) OR (n >= p) <> (n >= p::numeric) OR (p <> n) <> (p::numeric <> n) OR (n > p) <> (n > p::numeric);

-- overflow is an error, never a wrap
SELECT '922337203685477.5807'::points + '0.0001'::points;
SELECT '-922337203685477.5808'::points - '0.0001'::points;
SELECT -('-922337203685477.5808'::points);
\echo :LAST_ERROR_SQLSTATE
SELECT '922337203685477.5807'::points + 0.0001 AS numeric_goes_on;
SELECT '1'::points / '0'::points;

-- indexes, sorting, hashing
CREATE TEMP TABLE many AS SELECT points_from_ledger((i * 7919) % 10007 - 5000) AS p FROM generate_series(1, 10006) i;
CREATE INDEX many_btree ON many (p);
CREATE INDEX many_hash ON many USING hash (p);
ANALYZE many;
EXPLAIN (COSTS OFF) SELECT * FROM many WHERE p = '0.5';
SET enable_seqscan = off; SET enable_bitmapscan = off;
SELECT min(p), max(p) FROM many;
SELECT count(*) FROM many WHERE p > '0.1' AND p <= '0.2';
RESET enable_seqscan; RESET enable_bitmapscan;
SELECT count(*) FROM (SELECT p, lag(p) OVER (ORDER BY p) AS before FROM many) s WHERE before >= p;
SET enable_mergejoin = off; SET enable_nestloop = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM many a JOIN many b USING (p);
SELECT count(*) FROM many a JOIN many b USING (p);
RESET enable_mergejoin; RESET enable_nestloop;
SELECT count(*) FROM pg_opclass c JOIN pg_namespace s ON s.oid = c.opcnamespace WHERE s.nspname = 'loyalty' AND NOT amvalidate(c.oid);

-- aggregates
SELECT sum(p), avg(p), min(p), max(p), count(*) FROM had;
SELECT sum(p), avg(p), min(p), max(p) FROM had WHERE false;
SELECT sum(v), avg(v) FROM (VALUES ('922337203685477.5807'::points), ('922337203685477.5807'), ('-922337203685477.5807')) f(v);
SELECT avg(v) FROM (VALUES ('922337203685477.5807'::points), ('922337203685477.5807')) f(v);
SELECT avg(v) FROM (VALUES ('-922337203685477.5808'::points), ('-922337203685477.5808')) f(v);
SELECT sum(v) FROM (VALUES ('922337203685477.5807'::points), ('0.0001')) f(v);
SELECT points_accumulate('{1,2}', '1');
SELECT points_sum(points_combine(points_accumulate('{0,0,0}', '-1.5'), points_accumulate('{0,0,0}', '-2.25')));
-- in parallel the same
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
CREATE TABLE public.points_parallel AS SELECT points_from_ledger(i - 3000) AS p FROM generate_series(1, 10000) i;
EXPLAIN (COSTS OFF) SELECT sum(p), avg(p) FROM points_parallel;
SELECT sum(p), avg(p), min(p), max(p) FROM points_parallel;
DROP TABLE public.points_parallel;

-- the types as the catalog sees them: nothing half made, nothing without a comment, nothing leakproof
SELECT o.oid::regoperator AS half_made FROM pg_operator o JOIN pg_namespace s ON s.oid = o.oprnamespace WHERE s.nspname = 'loyalty' AND (o.oprcode = 0
  OR o.oprcom <> 0 AND NOT EXISTS (SELECT FROM pg_operator c WHERE c.oid = o.oprcom AND c.oprcom = o.oid)
  OR o.oprnegate <> 0 AND NOT EXISTS (SELECT FROM pg_operator c WHERE c.oid = o.oprnegate AND c.oprnegate = o.oid));
SELECT p.oid::regprocedure AS unsafe_or_uncommented FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace
  AND (EXISTS (SELECT FROM pg_operator o WHERE o.oprcode = p.oid) OR EXISTS (SELECT FROM pg_cast c WHERE c.castfunc = p.oid)
    OR EXISTS (SELECT FROM pg_amproc a WHERE a.amproc = p.oid) OR EXISTS (SELECT FROM pg_aggregate g WHERE p.oid IN (g.aggtransfn, g.aggcombinefn, g.aggfinalfn))
    OR EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend)))
  AND (obj_description(p.oid, 'pg_proc') IS NULL OR provolatile <> 'i' OR proparallel <> 's' OR NOT proisstrict OR proleakproof OR prosecdef);
SELECT count(*) AS uncommented FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE p.pronamespace = 'loyalty'::regnamespace AND obj_description(o.oid, 'pg_operator') IS NULL;
