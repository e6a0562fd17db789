-- Numbers that are added and compared in the sale, against numeric's own arithmetic, to the byte: fixed.c reads and writes its stored form.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

BEGIN;
CREATE SCHEMA fixed_test;
SET LOCAL search_path = fixed_test, public;
SET LOCAL TimeZone = 'UTC';
INSERT INTO loyalty.program (name, tier_metric, tier_period, sandbox, clawback) VALUES ('p', 'spend', 'lifetime', true, 'to_zero');
CREATE TABLE sale (id int PRIMARY KEY, who bigint, amount numeric, at timestamptz DEFAULT '2024-05-05');
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'amount', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', '1');

-- From 10^-20 to 10^15 (the last digits are the server version's), of no and of many decimals, rounded up to the next digit of base 10,000 and not
CREATE FUNCTION number(seed int) RETURNS numeric LANGUAGE sql AS $$
  SELECT round(CASE seed % 7 WHEN 0 THEN 0 WHEN 1 THEN 9999 WHEN 2 THEN 1 WHEN 3 THEN 99999999.9999 ELSE (hashint4(seed)::bigint + 2147483648) / 7::numeric END
    * 10::numeric ^ ((hashint4(seed + 1) & 1023) % CASE WHEN seed % 11 = 0 THEN 25 ELSE 9 END - CASE WHEN seed % 13 = 0 THEN 20 ELSE 5 END),
    (hashint4(seed + 2) & 1023) % 22) $$;
SELECT count(*), count(DISTINCT x) > 2000 AS many, min(scale(x)), max(scale(x)), max(x) > 1e14 AS large FROM (SELECT number(g) AS x FROM generate_series(1, 6000) g) n;

INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 't0', 0, 0);
INSERT INTO loyalty.tier (program, name, rank, threshold)
SELECT 'p', 't' || row_number() OVER (ORDER BY x), row_number() OVER (ORDER BY x), x
FROM (SELECT DISTINCT x FROM generate_series(1, 400) g, LATERAL (SELECT trim_scale(number(g)) AS x) n WHERE x > 0 AND x < 1e15) n;
SELECT count(*) > 80 AS ladder FROM loyalty.tier WHERE program = 'p';

-- three purchases a member; those of the ladder's own numbers reach just it
INSERT INTO sale SELECT g, g / 3, number(g) FROM generate_series(1, 6000) g WHERE number(g) < 1e15;
INSERT INTO sale SELECT 10000 + t.rank, 10000 + t.rank, t.threshold FROM loyalty.tier t WHERE t.program = 'p' AND t.rank > 0;
INSERT INTO sale SELECT 20000 + t.rank, 20000 + t.rank, t.threshold * 0.999999999999 FROM loyalty.tier t WHERE t.program = 'p' AND t.rank > 0;
CREATE VIEW spent AS
SELECT a.member_id, a.spend, s.spend AS expected, (SELECT t.name FROM loyalty.tier t WHERE t.id = a.tier_id) AS tier,
  (SELECT t.name FROM loyalty.tier t WHERE t.program = 'p' AND t.threshold <= s.spend ORDER BY t.rank DESC LIMIT 1) AS expected_tier
FROM (SELECT who, sum(amount) AS spend FROM sale GROUP BY who) s
JOIN loyalty.account a ON a.member_id = s.who JOIN loyalty.program p ON p.id = a.program_id AND p.name = 'p';
SELECT count(*) > 2000 AS many, bool_and(spend::text = expected::text) AS same, bool_and(numeric_send(spend) = numeric_send(expected)) AS same_bytes,
  bool_and(tier = expected_tier) AS same_tier, count(DISTINCT tier) > 80 AS tiers FROM spent;
SELECT s.member_id - 10000 = t.rank AS just FROM spent s JOIN loyalty.tier t ON t.program = 'p' AND t.name = s.tier WHERE s.member_id BETWEEN 10001 AND 19999 GROUP BY 1;
SELECT s.member_id - 20000 > t.rank AS less FROM spent s JOIN loyalty.tier t ON t.program = 'p' AND t.name = s.tier WHERE s.member_id > 20000 GROUP BY 1;

-- less of it, nothing of it
UPDATE sale SET amount = trunc(amount * 0.37, 9) WHERE id % 5 = 0;
DELETE FROM sale WHERE id % 7 = 0;
SELECT count(*) > 2000 AS many, bool_and(spend = expected) AS same FROM spent;

-- Points and their shares, of four and of eight decimals.
SELECT count(*), count(*) FILTER (WHERE numeric_send(x) <> numeric_send((x::loyalty.points)::numeric)) AS other
FROM (SELECT trim_scale(round((hashint4(g)::numeric * 10::numeric ^ (g % 13 - 9)), 4)) AS x FROM generate_series(1, 20000) g) n WHERE abs(x) < 9e14;
SELECT * FROM loyalty.verify();
ROLLBACK;
