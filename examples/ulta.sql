-- Ulta Beauty Rewards, 2024: 1, 1.25 and 1.5 points a dollar; Platinum and Diamond by 500 and 1,200 dollars in a calendar year; points live
-- for twelve months, to the end of the quarter, and do not die while one is Platinum or Diamond; 2,000 points at once buy more than 1,000 twice.
BEGIN;
CREATE SCHEMA ulta;
CREATE TABLE ulta.orders (
  order_id bigint PRIMARY KEY,
  customer bigint NOT NULL,
  total numeric(10,2) NOT NULL,
  ordered_at timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, expiry, tier_period, tier_validity, money, sandbox)
VALUES ('ulta', 'America/Chicago', '12 months, end of quarter', 'calendar year', '12 months', 'USD', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus, suspends_expiry) VALUES
 ('ulta', 'member', 0, 0, 0, false), ('ulta', 'platinum', 1, 500, 0.25, true), ('ulta', 'diamond', 2, 1200, 0.50, true);
SELECT loyalty.attach('ulta.orders', program => 'ulta',
         member => 'customer', amount => 'total', occurred_at => 'ordered_at') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('ulta', 'orders', 'one per dollar', $$earn.amount * loyalty.earn_rate '1 per 1'$$);
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('ulta', 'dollars off', 'discount', 100);
INSERT INTO loyalty.reward_step (program, reward, points, value) VALUES
 ('ulta', 'dollars off', 100, 3), ('ulta', 'dollars off', 250, 8), ('ulta', 'dollars off', 500, 17.50), ('ulta', 'dollars off', 1000, 50), ('ulta', 'dollars off', 2000, 125);

SET LOCAL timezone = 'America/Chicago';
SET LOCAL datestyle = 'ISO, YMD';
-- January 2022: 100 points, the last day is 31 March 2023
SET LOCAL loyalty.now = '2022-01-31 12:00';
INSERT INTO ulta.orders VALUES (1, 1, 100, '2022-01-15 12:00'), (2, 2, 100, '2022-01-15 12:00'), (3, 3, 100, '2022-01-15 12:00');
SELECT points, last_day FROM loyalty.award('ulta.orders', '1');
SELECT at::timestamptz, b.available FROM unnest('{2023-03-31 23:59:59.999999,2023-04-01 00:00}'::text[]) at, LATERAL loyalty.balance(1, 'ulta', at::timestamptz) b;

-- 500 dollars make Platinum, 1,200 Diamond: the next hundred dollars are 125 and 150 points
SET LOCAL loyalty.now = '2022-07-01 12:00';
INSERT INTO ulta.orders VALUES (11, 2, 400, '2022-06-01 12:00'), (12, 3, 1100, '2022-06-01 12:00');
INSERT INTO ulta.orders VALUES (21, 1, 100, '2022-06-02 12:00'), (22, 2, 100, '2022-06-02 12:00'), (23, 3, 100, '2022-06-02 12:00');
SELECT o.customer, b.tier, sum(a.points) AS points FROM ulta.orders o, LATERAL loyalty.award('ulta.orders', o.order_id::text) a, LATERAL loyalty.balance(o.customer, 'ulta') b
WHERE o.order_id > 20 GROUP BY 1, 2 ORDER BY 1;

-- what the others lose in 2023, Platinum and Diamond keep: held to the end of 2023, and what they have then begins to count anew
SELECT m.member_id AS customer, at::timestamptz, b.available, b.tier, b.next_expiry_at
FROM unnest('{1,2,3}'::bigint[]) m (member_id), unnest('{2023-04-01 00:00,2023-07-01 00:00,2023-12-31 23:59:59.999999,2024-01-01 00:00}'::text[]) at,
  LATERAL loyalty.balance(m.member_id, 'ulta', at::timestamptz) b ORDER BY 1, 2;

-- 2,000 points at once are worth 125, twice 1,000 are worth 100
SELECT count(*) AS given FROM loyalty.adjust(1, 4000, 'for the show', program => 'ulta');
SELECT points, value FROM loyalty.redeem(1, 'dollars off', points => 2000, program => 'ulta');
SELECT points, value FROM loyalty.redeem(1, 'dollars off', points => 1000, program => 'ulta');
SELECT points, value FROM loyalty.redeem(1, 'dollars off', points => 1000, program => 'ulta');
ROLLBACK;
