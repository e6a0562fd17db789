-- Hilton Honors, 2025: ten points a dollar and 20/80/100 % more; each level by any of nights, stays and base points in a calendar year.
BEGIN;
CREATE SCHEMA hilton;
CREATE TABLE hilton.stays (
  stay_id bigint PRIMARY KEY,
  guest bigint NOT NULL,
  nights integer NOT NULL,
  usd numeric(10,2) NOT NULL,
  checked_out timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, tier_period, sandbox) VALUES ('honors', 'America/Chicago', 'calendar year', true);
SELECT loyalty.attach('hilton.stays', program => 'honors',
         member => 'guest', amount => 'usd', occurred_at => 'checked_out') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES
 ('honors', 'stays', 'ten per dollar', NULL, $$earn.amount * loyalty.earn_rate '10 per 1'$$),
 ('honors', 'stays', 'nights', 'nights', 'nights'),
 ('honors', 'stays', 'stays', 'stays', '1'),
 ('honors', 'stays', 'base points', 'base points', $$earn.amount * loyalty.earn_rate '10 per 1'$$);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES
 ('honors', 'member', 0, 0, 0), ('honors', 'silver', 1, NULL, 0.20), ('honors', 'gold', 2, NULL, 0.80), ('honors', 'diamond', 3, NULL, 1.00);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
 ('honors', 'silver', 1, 'nights', 10), ('honors', 'silver', 2, 'stays', 4), ('honors', 'silver', 3, 'base points', 25000),
 ('honors', 'gold', 1, 'nights', 40), ('honors', 'gold', 2, 'stays', 20), ('honors', 'gold', 3, 'base points', 75000),
 ('honors', 'diamond', 1, 'nights', 60), ('honors', 'diamond', 2, 'stays', 30), ('honors', 'diamond', 3, 'base points', 120000);

SET LOCAL timezone = 'America/Chicago';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2025-12-31 12:00';
-- guests 11 to 13 by nights, 21 to 23 by stays, 31 to 33 by base points; 10 and those that lack one of everything are no silver
INSERT INTO hilton.stays VALUES (1, 11, 10, 0, '2025-02-01'), (2, 12, 40, 0, '2025-02-01'), (3, 13, 60, 0, '2025-02-01'),
  (4, 31, 1, 2500, '2025-02-01'), (5, 32, 1, 7500, '2025-02-01'), (6, 33, 1, 12000, '2025-02-01'),
  (7, 10, 9, 2499.90, '2025-02-01');
INSERT INTO hilton.stays SELECT 100 * g + n, 20 + g, 0, 0, '2025-03-01' FROM (VALUES (1, 4), (2, 20), (3, 30)) v (g, stays), generate_series(1, stays) n;
SELECT member_id AS guest, tier FROM loyalty.tier_standing WHERE program = 'honors' ORDER BY member_id;

-- 1,000 dollars: 10,000 for members, 12,000 for silver, 18,000 for gold, 20,000 for diamond
INSERT INTO hilton.stays SELECT 1000 + g, g, 0, 1000, '2025-06-01' FROM unnest('{10,11,12,13}'::int[]) g;
SELECT s.guest, a.points FROM hilton.stays s, LATERAL (SELECT sum(w.points) AS points FROM loyalty.award('hilton.stays', s.stay_id::text) w WHERE w.unit IS NULL) a
WHERE s.stay_id > 1000 ORDER BY s.guest;

-- a stay that is cancelled takes the level with it
DELETE FROM hilton.stays WHERE stay_id = 301;
SELECT member_id AS guest, tier FROM loyalty.tier_standing WHERE program = 'honors' AND member_id = 23;
ROLLBACK;
