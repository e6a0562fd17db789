-- loyalty.earn_rate: how much money gives how many points.

SET search_path = public, loyalty;
SELECT 15 * loyalty.earn_rate '1 per 10' AS per, loyalty.earn_rate '2 per full 10' * 15.5 AS "full", 15::bigint * '5%'::loyalty.earn_rate AS percent,
  '5%'::loyalty.earn_rate = '5.0%' AS equal, '5%'::loyalty.earn_rate <> '5 per 100' AS different;
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
SELECT t AS given, t::earn_rate AS rate
FROM unnest(ARRAY['1 per 10', '2 per full 10', '5%', '0.5 per 1', ' 1.50  PER  Full 10.00 ', '2.5 %', '0 per 1', '1 per 0.0001',
  '10000000000 per 10000000000', '1per10', '100%']) t;
SELECT bad, pg_temp.refused('earn_rate', bad)
FROM unnest(ARRAY['', 'one per ten', '1', '1 par 10', '1 per', '1 per full', '1 per ten', '1 per 10 lira', '1 per 0', '-1 per 10',
  '1 per -10', '0.00001 per 1', '5 % off', '%', '10000000001 per 1', '1 per 1e3', '1 full per 10', 'NaN per 1']) bad;
SELECT '1 par 10'::earn_rate;
\echo :LAST_ERROR_SQLSTATE

-- amount times rate
SELECT 15 * earn_rate '1 per 10' AS per, 15 * earn_rate '2 per full 10' AS "full", 15 * earn_rate '5%' AS percent,
  earn_rate '0.5 per 1' * 15 AS commuted, 4.99 * earn_rate '1 per 1' AS itself, 10 * earn_rate '1 per 3' AS third;
SELECT a AS amount, a * earn_rate '1 per 1' AS one, a * earn_rate '2 per full 10' AS "full", a * earn_rate '1 per 3' AS third,
  a * earn_rate '12.5%' AS eighth
FROM unnest(ARRAY[0, 0.01, 9.99, 10, 19.999999, -15, -9.99, 1e15, 12345678901234.56, 1e-12, 10.00000000000000, 1e40, -1e40,
  'NaN', 'Infinity', '-Infinity']::numeric[]) a;
SELECT 1 * earn_rate '0.0001 per 8' AS ends_late, 0.0001 * earn_rate '0.0001 per 8192' AS later, 3e-10 * earn_rate '1 per 3' AS small;
-- equal amounts, equal points, however they are written
SELECT 10 * earn_rate '1 per 3' = 10.000000000000000 * earn_rate '1 per 3' AS equal,
  scale(10 * earn_rate '1 per 3') = scale(10.000000000000000 * earn_rate '1 per 3') AS same_scale;

-- against numeric's own arithmetic: exact where the quotient ends, truncated at 8 decimals or more where not
WITH figures AS (
  SELECT (random() * 10 ^ (random() * 12)::int)::numeric(30, 4) * CASE WHEN random() < 0.2 THEN -1 ELSE 1 END AS amount,
    (random() * 10 ^ (random() * 4)::int)::numeric(20, 4) AS p,
    (random() * 10 ^ (random() * 4)::int)::numeric(20, 4) + 0.0001 AS q, (random() * 8)::int AS s
  FROM generate_series(1, 20000)
), figure AS (
  SELECT trunc(amount, s) + CASE WHEN s > 5 THEN 0.000001 ELSE 0 END AS amount, p, q FROM figures
)
SELECT count(*) AS tried,
  count(*) FILTER (WHERE trunc(amount * format('%s per %s', p, q)::earn_rate, 8) <> sign(amount) * div(abs(amount) * p * 1e8, q) * 1e-8) AS per_wrong,
  count(*) FILTER (WHERE amount * format('%s per full %s', p, q)::earn_rate <> div(amount, q) * p) AS full_wrong,
  count(*) FILTER (WHERE amount * format('%s%%', p)::earn_rate <> amount * p * 0.01) AS percent_wrong
FROM figure;

-- equality is that of the text; the order is that of what a unit of money gives
SELECT string_agg(r::text, ' < ' ORDER BY r)
FROM unnest(ARRAY['5%', '1 per 10', '1 per full 10', '10%', '2 per 20', '3 per 1', '0 per 1']::earn_rate[]) r;
SELECT '1 per 10'::earn_rate = '1.0 PER 10.00' AS same, '1 per 10'::earn_rate = '10%' AS other, '5%'::earn_rate < '1 per 10' AS less;
SELECT count(*) FROM (SELECT DISTINCT r FROM unnest(ARRAY['5%', '5.0%', '1 per 10', '1 per 10']::earn_rate[]) r) d;
SET enable_sort = off;
SELECT count(*) FROM (SELECT r FROM unnest(ARRAY['5%', '5.0%', '1 per 10', '1 per 10']::earn_rate[]) r GROUP BY r) d;
RESET enable_sort;

-- binary form
SELECT earn_rate_send('5%');
CREATE TEMP TABLE carried (r earn_rate);
INSERT INTO carried VALUES ('5%'), ('2 per full 10'), ('0.5 per 1');
\copy carried TO 'results/earn_rate.binary' (FORMAT binary)
\copy carried FROM 'results/earn_rate.binary' (FORMAT binary)
SELECT r, count(*) FROM carried GROUP BY r ORDER BY r;
-- and a false one
\copy (SELECT '\x0000000000002710000000000000000000000000'::bytea) TO 'results/earn_rate.binary' (FORMAT binary)
\copy carried FROM 'results/earn_rate.binary' (FORMAT binary)
\copy (SELECT '\x0000000000002710000000000000271000000007'::bytea) TO 'results/earn_rate.binary' (FORMAT binary)
\copy carried FROM 'results/earn_rate.binary' (FORMAT binary)
\echo :LAST_ERROR_SQLSTATE
\! rm -f results/earn_rate.binary
