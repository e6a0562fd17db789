-- loyalty.breakdown: which rule gave how much of an award.
SET search_path = public, loyalty;
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

-- text in, canonical text out, the bytes of the ledger
SELECT t AS given, t::breakdown AS breakdown, t::breakdown::bytea AS bytes, t::breakdown::bytea::breakdown::text = t::breakdown::text AS back
FROM unnest(ARRAY['{12: 100, 13: 50.5 elsewhere, tier 3: 4.25; down, 0}', '{;up,4}', ' { 1 : 0.00000001 ; half_even , 2 } ',
  '{1:9999999999.99999999,2147483647:0 elsewhere;half_up,1}', '{tier 0: 1.50; down, 0}']) t;
SELECT bad, pg_temp.refused('breakdown', bad)
FROM unnest(ARRAY['', '12: 100', '{12: 100}', '{12; down, 0}', '{12: -1; down, 0}', '{12: 10000000000; down, 0}', '{12: 0.000000001; down, 0}',
  '{2147483648: 1; down, 0}', '{tier: 1; down, 0}', '{12: 1 there; down, 0}', '{12: 1; sideways, 0}', '{12: 1; down}', '{12: 1; down, 5}',
  '{12: 1; down, 0', '{12: 1; down, 0} more', '{12: 1,; down, 0}', '{12: NaN; down, 0}']) bad;
SELECT '{12: 1; sideways, 0}'::breakdown;
-- what limits left, and further awards of a purchase: version 2
SELECT t AS given, t::breakdown AS breakdown, t::breakdown::bytea AS bytes, t::breakdown::bytea::breakdown::text = t::breakdown::text AS back
FROM unnest(ARRAY['{12: 7 of 10 by cap, 13: 1; down, 0}', '{12: 0 of 0.5 by uses elsewhere, 13: 3 of 4 by budget more, 14: 5 more elsewhere; up, 2}',
  '{2147483647: 0 of 9999999999.99999999 by cap; down, 0}']) t;
SELECT bad, pg_temp.refused('breakdown', bad)
FROM unnest(ARRAY['{12: 10 of 10 by cap; down, 0}', '{12: 7 of 5 by cap; down, 0}', '{12: 7 of 10; down, 0}', '{12: 7 of 10 by luck; down, 0}', '{12: 7 of 10000000000 by cap; down, 0}',
  '{12: 7 elsewhere more; down, 0}']) bad;
SELECT * FROM breakdown_limits('{12: 7 of 10 by cap, 13: 5 more, tier 3: 1; down, 0}');
SELECT breakdown_points('{12: 7.5 of 10 by cap, 13: 5.5 more; down, 0}', 1, 2) AS half;
\echo :LAST_ERROR_SQLSTATE

-- bytes that are no breakdown
CREATE FUNCTION pg_temp.damaged(bad bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text;
BEGIN
  RETURN 'accepted as ' || (bad::loyalty.breakdown)::text;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', state, message, detail);
END $$;
SELECT bad, pg_temp.damaged(bad)
FROM unnest(ARRAY['\x', '\x01', '\x0100', '\x0200', '\x0104', '\x0150', '\x010019', '\x01001980', '\x01008000', '\x0100190080', '\x0100198000',
  '\x010019ffffffffffffffffff01', '\x0100ffffffffffffffff7f01', '\x010019ffffffffffffffff7f', '\x01001980808080808080808000', '\x0100190a1b',
  '\x01001980808086bbf0d6f00d', '\x0200', '\x0200830300', '\x020083030001', '\x020081030000', '\x020081030005', '\x020083030000', '\x02009103050000']::bytea[]) bad;
SELECT pg_temp.damaged('\x0100'::bytea || decode(repeat('1900', 10001), 'hex')) AS too_many;
SELECT length(pg_temp.damaged('\x0100'::bytea || decode(repeat('1900', 10000), 'hex'))) > 50000 AS not_too_many;
SELECT pg_temp.damaged('\x0100'::bytea || decode(repeat('80', 100000), 'hex')) AS endless;
SELECT '\x02'::bytea::breakdown;
\echo :LAST_ERROR_SQLSTATE
-- what is accepted has one encoding: tens of thousands of hostile strings
SELECT count(*) AS tried, count(*) FILTER (WHERE got LIKE 'accepted%' AND replace(got, 'accepted as ', '')::breakdown::bytea <> bad) AS other_encoding,
  count(*) FILTER (WHERE got NOT LIKE 'accepted%' AND got NOT LIKE 'LY012%') AS other_error
FROM (SELECT bad, pg_temp.damaged(bad) AS got
  FROM (SELECT '\x0100'::bytea || substr(decode(md5(i::text) || md5((-i)::text), 'hex'), 1, i % 14) AS bad FROM generate_series(1, 50000) i
    UNION ALL SELECT '\x0200'::bytea || substr(decode(md5(i::text) || md5((-i)::text), 'hex'), 1, i % 14) FROM generate_series(1, 20000) i
    UNION ALL SELECT set_byte('\x0200830380d0dbc3f40205b103c0a0f0ac990300'::bytea, i % 20, (i / 20) % 256) FROM generate_series(1, 5120) i
    UNION ALL SELECT substr(decode(md5(i::text), 'hex'), 1, i % 16) FROM generate_series(1, 10000) i
    UNION ALL SELECT set_byte('\x01001980d0dbc3f4021bc0a0f0ac9903078080e983cb02'::bytea, i % 22, (i / 22) % 256) FROM generate_series(1, 5632) i) b) g;

-- binary form
CREATE TEMP TABLE carried (b breakdown);
INSERT INTO carried VALUES ('{12: 100, tier 3: 4.25 elsewhere; half_up, 2}'), ('{; down, 0}');
\copy carried TO 'results/breakdown.binary' (FORMAT binary)
\copy carried FROM 'results/breakdown.binary' (FORMAT binary)
SELECT b::text, count(*) FROM carried GROUP BY b::text ORDER BY 1;
\copy (SELECT '\x0109'::bytea) TO 'results/breakdown.binary' (FORMAT binary)
\copy carried FROM 'results/breakdown.binary' (FORMAT binary)
\echo :LAST_ERROR_SQLSTATE
\! rm -f results/breakdown.binary

-- the award: rounded once, shares add up.  4.99 at 1 per 1 with +20 %, down: 5, not 4
SELECT breakdown_points('{1: 4.99, 2: 0.998; down, 0}');
SELECT * FROM breakdown_shares('{1: 4.99, 2: 0.998; down, 0}');
SELECT r AS rounding, array_agg(breakdown_points(format('{1: %s; %s, 0}', u, r)::breakdown) ORDER BY u) AS "0.5 1.5 2.4999 2.5 2.50000001 3"
FROM unnest(ARRAY['down', 'half_up', 'half_even', 'up']) r, unnest(ARRAY[0.5, 1.5, 2.4999, 2.5, 2.50000001, 3]) u GROUP BY r ORDER BY r;
SELECT breakdown_points('{1: 1.23456789; half_up, 0}'), breakdown_points('{1: 1.23456789; half_up, 1}'), breakdown_points('{1: 1.23456789; half_up, 2}'),
  breakdown_points('{1: 1.23456789; half_up, 3}'), breakdown_points('{1: 1.23456789; half_up, 4}');
-- two lots of one award each keep the whole list
SELECT breakdown_points('{1: 4.99, 2: 0.998 elsewhere, 3: 2.02; down, 0}') AS here, breakdown_points('{1: 4.99 elsewhere, 2: 0.998, 3: 2.02 elsewhere; down, 0}') AS there,
  breakdown_points('{1: 4.99, 2: 0.998, 3: 2.02; down, 0}') AS award;
SELECT * FROM breakdown_shares('{1: 4.99, 2: 0.998 elsewhere, tier 3: 2.02; down, 0}', 50, 100);

-- returns: path-independent, all or nothing at the ends
SELECT kept, breakdown_points('{1: 100.5, 2: 33.3333; down, 0}', kept, 99.99) FROM unnest(ARRAY[99.99, 66.66, 50, 33.33, 0.01, 0]) kept;
SELECT breakdown_points('{1: 10; down, 0}', -5, -10) AS both_negative, breakdown_points('{1: 10; up, 0}', 1e-50, 1) AS least, breakdown_points('{1: 10; down, 0}', 1 - 1e-50, 1) AS nearly,
  breakdown_points('{1: 0.5; half_even, 0}', 1, 1) AS half, breakdown_points('{1: 1; half_even, 0}', 1e-40 + 0.5, 1) AS over_half, breakdown_points('{1: 1; half_up, 0}', 0.5 - 1e-40, 1) AS under_half;
SELECT breakdown_points(NULL, 1, 2) IS NULL AS nothing, (SELECT count(*) FROM breakdown_shares(NULL)) AS rows;
SELECT breakdown_points('{1: 10; down, 0}', 11, 10);
\echo :LAST_ERROR_SQLSTATE
SELECT breakdown_points('{1: 10; down, 0}', -1, 10);
SELECT breakdown_points('{1: 10; down, 0}', 0, 0);
SELECT breakdown_points('{1: 10; down, 0}', 'NaN', 10);
SELECT breakdown_points('{1: 10; down, 0}', 1, 'Infinity');
SELECT breakdown_points('{1: 10; down, 0}', 1e-30, -1);
SELECT breakdown_points('{1: 10; down, 0}', 1, NULL);

-- against numeric's own arithmetic, in every mode, to every decimal, narrow and wide amounts
CREATE FUNCTION pg_temp.rounded(v numeric, mode text, d int) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE mode WHEN 'down' THEN trunc(v, d) WHEN 'half_up' THEN round(v, d) WHEN 'up' THEN ceil(v * 10::numeric ^ d) / 10::numeric ^ d
    ELSE CASE WHEN mod(v * 10::numeric ^ d, 1) = 0.5 AND mod(trunc(v * 10::numeric ^ d), 2) = 0 THEN trunc(v, d) ELSE round(v, d) END END $$;
WITH figure AS (
  SELECT trunc((random() * 10 ^ (random() * 9)::int)::numeric, (random() * 8)::int) AS u1, trunc((random() * 100)::numeric, 8) AS u2,
    (random() * 10 ^ (random() * 13)::int + 0.01)::numeric(40, 2) * CASE WHEN random() < 0.1 THEN 1.00000000000000000001 ELSE 1 END AS a, random()::numeric AS part,
    (ARRAY['down', 'half_up', 'half_even', 'up'])[1 + (random() * 3)::int] AS mode, (random() * 4)::int AS d
  FROM generate_series(1, 20000)
), part AS (
  SELECT u1, u2, a, CASE WHEN part < 0.2 THEN a / 2 WHEN part < 0.3 THEN a / 4 WHEN part > 0.9 THEN a ELSE trunc(a * part, 2) END AS k, mode, d FROM figure
), got AS (
  SELECT *, format('{1: %s, 2: %s elsewhere; %s, %s}', u1, u2, mode, d)::breakdown AS b FROM part
)
SELECT count(*) AS tried,
  count(*) FILTER (WHERE breakdown_points(b, k, a) <> pg_temp.rounded(div(u1 * k * 1e60, a) * 1e-60, mode, d)) AS wrong,
  count(*) FILTER (WHERE (SELECT sum(points) FROM breakdown_shares(b, k, a)) <> pg_temp.rounded(div((u1 + u2) * k * 1e60, a) * 1e-60, mode, d)) AS wrong_sum
FROM got;
-- long awards exceed 64 bits of units and stay exact
SELECT breakdown_points(('{' || string_agg(i || ': 9999999999.99999999', ', ') || '; down, 4}')::breakdown) AS thousand,
  breakdown_points(('{' || string_agg(i || ': 9999999999.99999999', ', ') || '; half_up, 4}')::breakdown, 1, 3) AS third,
  breakdown_points(('{' || string_agg(i || ': 9999999999.99999999', ', ') || '; half_up, 4}')::breakdown, 299999999999999.9999, 899999999999999.9997) AS third_of_much
FROM generate_series(1, 1000) i;
