-- Marriott Bonvoy: ten points a dollar and 10/25/50/75/75 % more; levels by nights in a calendar year, the highest by nights and
-- spending together; what is earned in a year is held to the end of February after the next; points die after 24 months without a stay.
BEGIN;
CREATE SCHEMA marriott;
CREATE TABLE marriott.stays (
  stay_id bigint PRIMARY KEY,
  guest bigint NOT NULL,
  nights integer NOT NULL,
  usd numeric(10,2) NOT NULL,
  checked_out timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period, tier_validity, sandbox)
VALUES ('bonvoy', 'America/New_York', '24 months inactive', 'nights', 'calendar year', '14 months', true);
SELECT loyalty.attach('marriott.stays', program => 'bonvoy',
         member => 'guest', amount => 'usd', occurred_at => 'checked_out') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES
 ('bonvoy', 'stays', 'ten per dollar', NULL, $$earn.amount * loyalty.earn_rate '10 per 1'$$),
 ('bonvoy', 'stays', 'nights', 'nights', 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES
 ('bonvoy', 'member', 0, 0, 0), ('bonvoy', 'silver', 1, 10, 0.10), ('bonvoy', 'gold', 2, 25, 0.25), ('bonvoy', 'platinum', 3, 50, 0.50),
 ('bonvoy', 'titanium', 4, 75, 0.75), ('bonvoy', 'ambassador', 5, NULL, 0.75);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
 ('bonvoy', 'ambassador', 1, 'nights', 100), ('bonvoy', 'ambassador', 1, 'spend', 23000);

SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2024-12-31 12:00';
-- guests 1 to 5 stay 0, 10, 25, 50 and 75 nights, guest 6 a hundred for 23,000 dollars, guest 7 a hundred for a dollar less
INSERT INTO marriott.stays
SELECT g, g, (ARRAY[0, 10, 25, 50, 75, 100, 100])[g], (ARRAY[0, 0, 0, 0, 0, 23000, 22999])[g], '2024-03-01 11:00' FROM generate_series(1, 7) g;
SELECT member_id AS guest, tier, held_until FROM loyalty.tier_standing WHERE program = 'bonvoy' ORDER BY member_id;

-- then 1,000 dollars each: 10,000, 11,000, 12,500, 15,000, 17,500 (and 17,500 for the highest)
INSERT INTO marriott.stays SELECT 100 + g, g, 0, 1000, '2024-06-01 11:00' FROM generate_series(1, 7) g;
SELECT s.guest, a.points FROM marriott.stays s, LATERAL (SELECT sum(w.points) AS points FROM loyalty.award('marriott.stays', s.stay_id::text) w WHERE w.unit IS NULL) a
WHERE s.stay_id > 100 ORDER BY s.guest;

-- held to the end of February 2026, to the microsecond
SELECT at::timestamptz, b.tier FROM unnest('{2026-02-28 23:59:59.999999,2026-03-01 00:00}'::text[]) at, LATERAL loyalty.balance(4, 'bonvoy', at::timestamptz) b;

-- the last stay was on 1 June 2024; a gift is no activity, another stay is, and when it is taken back it never was
SET LOCAL loyalty.now = '2025-12-01 12:00';
SELECT count(*) AS gift FROM loyalty.adjust(1, 500, 'sorry for the noise', program => 'bonvoy');
SELECT at::timestamptz, b.available FROM unnest('{2026-06-01 10:59:59.999999,2026-06-01 11:00}'::text[]) at, LATERAL loyalty.balance(1, 'bonvoy', at::timestamptz) b;
INSERT INTO marriott.stays VALUES (201, 1, 1, 0, '2025-12-01 11:00');
SELECT at::timestamptz, b.available FROM unnest('{2026-06-01 11:00,2027-12-01 10:59:59.999999,2027-12-01 11:00}'::text[]) at, LATERAL loyalty.balance(1, 'bonvoy', at::timestamptz) b;
DELETE FROM marriott.stays WHERE stay_id = 201;
SELECT at::timestamptz, b.available FROM unnest('{2026-06-01 10:59:59.999999,2026-06-01 11:00}'::text[]) at, LATERAL loyalty.balance(1, 'bonvoy', at::timestamptz) b;
ROLLBACK;
