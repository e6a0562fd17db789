-- Status units that carry over: rollover nights.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

BEGIN;
CREATE SCHEMA carry_test;
SET LOCAL search_path = carry_test, public;
SET LOCAL TimeZone = 'America/New_York';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2023-12-31 23:59:59.999999';
CREATE TABLE stay (id int PRIMARY KEY, who bigint, paid numeric, nights int, at timestamptz);
INSERT INTO loyalty.program (name, timezone, tier_metric, sandbox) VALUES ('inn', 'America/New_York', 'nights', true);
UPDATE loyalty.unit SET carries_over = true WHERE name = 'nights';
SELECT loyalty.attach('stay', program => 'inn', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('inn', 'stay', 'nights', 'nights', 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('inn', 'club', 0, 0), ('inn', 'silver', 1, 10), ('inn', 'gold', 2, 20), ('inn', 'platinum', 3, 40);
CREATE VIEW standing AS SELECT member_id AS who, tier, held_until, value, to_next, to_keep, projected_tier, falls_to FROM loyalty.tier_standing WHERE program = 'inn' ORDER BY 1;

-- 55 nights: platinum takes 40, 15 go on; 9 reach nothing, and nothing goes on; of 40 nothing is left
INSERT INTO stay VALUES (1, 1, 100, 55, '2023-05-01'), (2, 2, 100, 9, '2023-05-01'), (3, 3, 100, 40, '2023-05-01');
SELECT * FROM standing;
SET LOCAL loyalty.now = '2024-01-01';
SELECT * FROM standing;
-- 25 nights and 15: platinum for another year, as it was quoted
SET LOCAL loyalty.now = '2024-03-01 12:00';
SELECT tier FROM loyalty.quote('stay', '{"id": 4, "who": 2, "paid": 1, "nights": 10, "at": "2024-03-01"}');
INSERT INTO stay VALUES (4, 1, 100, 25, '2024-03-01');
SELECT * FROM standing WHERE who = 1;
-- half of last year's stay returned: 27 nights are gold and 7; with 25 gold, no more; and back
UPDATE stay SET paid = 50 WHERE id = 1;
SELECT * FROM standing WHERE who = 1;
UPDATE stay SET paid = 100 WHERE id = 1;
SELECT * FROM standing WHERE who = 1;
-- a late stay of last year goes on, too
INSERT INTO stay VALUES (5, 1, 100, 14, '2023-12-31 23:59');
SELECT * FROM standing WHERE who = 1;
DELETE FROM stay WHERE id = 5;
SELECT * FROM standing WHERE who = 1;

-- the same in one statement as over the years; and whoever settles it when: 5 is touched every month, 6 never.  75 nights, then 25 and 35,
-- then 20, then none
INSERT INTO stay SELECT 10 * w + n, w, 100, CASE WHEN n = 2 THEN 25 WHEN w = 4 THEN 55 ELSE 75 END, CASE n WHEN 1 THEN timestamptz '2023-05-01' ELSE '2024-03-01' END
FROM unnest('{4,5,6}'::int[]) w, generate_series(1, 2) n;
SELECT count(DISTINCT (tier, held_until, value, to_next, to_keep, falls_to)) AS ways FROM standing WHERE who IN (1, 4);
SELECT * FROM standing WHERE who IN (5, 6);
CREATE FUNCTION touch(months int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  FOR m IN 1 .. months LOOP
    PERFORM set_config('loyalty.now', (timestamptz '2024-03-01 12:00' + m * interval '1 month')::text, true);
    SELECT count(*) INTO n FROM loyalty.adjust(5, 1, 'touched', program => 'inn');
  END LOOP;
  RETURN n;
END $$;
SELECT touch(15);
SELECT * FROM standing WHERE who IN (5, 6);
SELECT touch(25);
SELECT * FROM standing WHERE who IN (5, 6);
SELECT at::timestamptz, min(b.tier), max(b.tier) FROM unnest('{5,6}'::bigint[]) m,
  unnest('{2025-12-31 23:59:59.999999,2026-01-01,2026-12-31 23:59:59.999999,2027-01-01,2027-07-01}'::text[]) at, LATERAL loyalty.balance(m, 'inn', at::timestamptz) b
GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();

-- counted anew from the ledger; two who become one; what carries over no more; what cannot
CREATE TEMP TABLE before AS SELECT member_id, bucket, metric, value FROM loyalty.counter WHERE value <> 0;
SELECT count(*) AS programs, count(*) FILTER (WHERE loyalty.recount_counters(name) IS NULL) AS counted FROM loyalty.program WHERE name = 'inn';
(TABLE before EXCEPT SELECT member_id, bucket, metric, value FROM loyalty.counter) UNION ALL (SELECT member_id, bucket, metric, value FROM loyalty.counter EXCEPT TABLE before);
SELECT program, tier FROM loyalty.merge_members(6, 4, 'registered twice') ORDER BY 1;
SELECT c.bucket, c.metric < 0 AS carried, c.value FROM loyalty.counter c WHERE c.member_id = 4 ORDER BY 1, 2;
UPDATE loyalty.unit SET carries_over = false WHERE name = 'nights';
SELECT count(*) AS carried FROM loyalty.counter WHERE metric < 0;
SELECT * FROM loyalty.verify();

-- 600 sales, late ones, returns, changes of hand, in any order: what was carried along the way is what the ledger gives
CREATE TABLE any_stay (LIKE stay INCLUDING INDEXES);
INSERT INTO loyalty.program (name, timezone, tier_metric, tier_period, sandbox) VALUES ('any', 'Pacific/Auckland', 'any nights', 'year from 1 march', true);
UPDATE loyalty.unit SET carries_over = true WHERE name = 'any nights';
INSERT INTO loyalty.unit (program, name, lifetime) VALUES ('any', 'all nights', true);
SELECT loyalty.attach('any_stay', program => 'any', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('any', 'any_stay', 'nights', 'any nights', 'nights'), ('any', 'any_stay', 'for life', 'all nights', 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('any', 'club', 0, 0), ('any', 'silver', 1, 10), ('any', 'gold', 2, 20), ('any', 'platinum', 3, 40);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES ('any', 'gold', 2, 'all nights', 150), ('any', 'platinum', 2, 'all nights', 250);
DO $$
DECLARE
  at timestamptz := '2020-02-29 12:00+13';
  n int := 0;
  r float;
BEGIN
  PERFORM setseed(0.42);
  FOR k IN 1 .. 600 LOOP
    at := at + random() * interval '4 days';
    PERFORM set_config('loyalty.now', at::text, true);
    r := random();
    IF r < 0.65 THEN
      n := n + 1;
      INSERT INTO any_stay VALUES (n, 101 + floor(random() * 8), 100, floor(random() * 30), at - CASE WHEN random() < 0.2 THEN random() * interval '500 days' ELSE '0' END);
    ELSIF r < 0.8 THEN
      UPDATE any_stay SET paid = floor(random() * 100) WHERE id = 1 + floor(random() * n);
    ELSIF r < 0.9 THEN
      DELETE FROM any_stay WHERE id = 1 + floor(random() * n);
    ELSE
      UPDATE any_stay SET who = 101 + floor(random() * 8) WHERE id = 1 + floor(random() * n);
    END IF;
  END LOOP;
END $$;
CREATE TEMP TABLE counted AS SELECT c.member_id, c.bucket, c.metric, c.value FROM loyalty.counter c WHERE c.value <> 0 AND c.program_id = loyalty.program_number('any');
SELECT count(*) > 20 AS carried FROM counted WHERE metric < 0;
SELECT loyalty.recount_counters('any');
CREATE TEMP TABLE again AS SELECT c.member_id, c.bucket, c.metric, c.value FROM loyalty.counter c WHERE c.value <> 0 AND c.program_id = loyalty.program_number('any');
(TABLE counted EXCEPT TABLE again) UNION ALL (TABLE again EXCEPT TABLE counted);
SELECT * FROM loyalty.verify();

UPDATE loyalty.unit SET carries_over = true, lifetime = true WHERE name = 'nights';
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
