-- British Airways Executive Club, 2024: six to nine Avios a pound by level; levels by tier points together with flights, or by flights alone, in
-- the member's own year, and held for the next one to the end of its month; Avios die after 36 months without a flight or a reward flight;
-- a household burns from one pot.
BEGIN;
CREATE SCHEMA executive_club;
CREATE TABLE executive_club.flights (
  flight_id bigint PRIMARY KEY,
  member bigint NOT NULL,
  gbp numeric(10,2) NOT NULL,
  tier_points integer NOT NULL,
  flown timestamptz NOT NULL
);
CREATE TABLE executive_club.reward_flights (
  booking text PRIMARY KEY,
  member bigint NOT NULL,
  flown timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, enrollment, expiry, tier_metric, tier_period, tier_validity, tier_validity_to, sandbox)
VALUES ('avios', 'Europe/London', 'explicit', '36 months inactive', 'tier points', 'membership year', '12 months', 'month', true);
SELECT loyalty.attach('executive_club.flights', program => 'avios',
         member => 'member', amount => 'gbp', occurred_at => 'flown') IS NOT NULL AS attached;
-- activity is a row with an amount: a reward flight has no rule, and so no Avios
SELECT loyalty.attach('executive_club.reward_flights', program => 'avios',
         member => 'member', amount => '1', occurred_at => 'flown') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES
 ('avios', 'flights', 'avios', NULL, $$earn.amount * CASE account.tier WHEN 'gold' THEN 9 WHEN 'silver' THEN 8 WHEN 'bronze' THEN 7 ELSE 6 END$$),
 ('avios', 'flights', 'tier points', 'tier points', 'tier_points'),
 ('avios', 'flights', 'flights', 'flights', '1');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES
 ('avios', 'blue', 0, 0), ('avios', 'bronze', 1, NULL), ('avios', 'silver', 2, NULL), ('avios', 'gold', 3, NULL);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
 ('avios', 'bronze', 1, 'tier points', 300), ('avios', 'bronze', 1, 'flights', 2), ('avios', 'bronze', 2, 'flights', 25),
 ('avios', 'silver', 1, 'tier points', 600), ('avios', 'silver', 1, 'flights', 4), ('avios', 'silver', 2, 'flights', 50),
 ('avios', 'gold', 1, 'tier points', 1500), ('avios', 'gold', 1, 'flights', 4);

SET LOCAL timezone = 'Europe/London';
SET LOCAL datestyle = 'ISO, YMD';
-- joined on 29 February: the year ends on 28 February at 00:00
SET LOCAL loyalty.now = '2024-02-29 09:00';
SELECT count(*) AS members FROM unnest('{1,2}'::bigint[]) m, LATERAL loyalty.enroll(m, 'avios');
SET LOCAL loyalty.now = '2025-02-27 23:59:59.999999';
-- 600 points on three flights are bronze only; the fourth makes silver; what it earns is bronze's 7 a pound, the next one silver's 8
INSERT INTO executive_club.flights VALUES (1, 1, 500, 300, '2024-05-01 12:00'), (2, 1, 500, 299, '2024-05-02 12:00'), (3, 1, 100, 1, '2024-05-03 12:00');
SELECT tier, value, to_next, to_next_metric FROM loyalty.tier_standing WHERE program = 'avios' AND member_id = 1;
INSERT INTO executive_club.flights VALUES (4, 1, 100, 0, '2025-02-27 23:59:59.999999');
INSERT INTO executive_club.flights VALUES (5, 1, 100, 0, '2025-02-27 23:59:59.999999');
SELECT f.flight_id, a.points FROM executive_club.flights f, LATERAL loyalty.award('executive_club.flights', f.flight_id::text) a WHERE a.unit IS NULL ORDER BY 1;
-- silver for the year to 28 February 2026 and on to the end of that month
SELECT tier, held_until FROM loyalty.tier_standing WHERE program = 'avios' AND member_id = 1;
-- a microsecond later is another year
SET LOCAL loyalty.now = '2025-02-28 00:00';
SELECT unit, value FROM loyalty.member_unit WHERE program = 'avios' AND member_id = 1 ORDER BY unit;

-- a flight that was refunded: three are left, 599 tier points, and bronze
DELETE FROM executive_club.flights WHERE flight_id IN (3, 5);
SELECT tier, held_until FROM loyalty.tier_standing WHERE program = 'avios' AND member_id = 1;

-- the household: 3,000 + 3,000 + 700 and 600 in one pot; what was granted first goes first
INSERT INTO executive_club.flights VALUES (6, 2, 100, 10, '2025-02-28 00:00');
SELECT loyalty.create_pool(1, 'home', 'household', 'avios') AS pool \gset
SELECT loyalty.join_pool(2, :pool, 'member', asked_by => 1) AS joined;
SELECT points, payers FROM loyalty.redeem_pool(1, points => 7000, program => 'avios', reason => 'LHR-JFK');
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'avios' ORDER BY member_id;

-- 36 months after the last flight, of 28 February 2025, member 2's are gone, unless a reward flight came in between
SELECT at::timestamptz, b.available FROM unnest('{2028-02-27 23:59:59.999999,2028-02-28 00:00}'::text[]) at, LATERAL loyalty.balance(2, 'avios', at::timestamptz) b;
SET LOCAL loyalty.now = '2027-08-31 12:00';
INSERT INTO executive_club.reward_flights VALUES ('ABC123', 2, '2027-08-31 10:00');
SELECT at::timestamptz, b.available FROM unnest('{2028-02-28 00:00,2030-08-31 09:59:59.999999,2030-08-31 10:00}'::text[]) at, LATERAL loyalty.balance(2, 'avios', at::timestamptz) b;
ROLLBACK;
