-- Delta SkyMiles, 2024: five miles a dollar of the fare and 40/60/80/120 % more, at most 75,000 a ticket; levels by Medallion Qualification Dollars in a
-- calendar year, held to 31 January of the year after the next; miles do not die; choice benefits for the two highest levels, each year.
BEGIN;
CREATE SCHEMA delta;
CREATE TABLE delta.tickets (
  ticket_no text NOT NULL,
  coupon smallint NOT NULL,
  skymiles bigint NOT NULL,
  cabin text NOT NULL,
  fare numeric(10,2) NOT NULL,
  flown timestamptz NOT NULL,
  PRIMARY KEY (ticket_no, coupon)
);
CREATE TABLE delta.cards (
  skymiles bigint NOT NULL,
  year integer NOT NULL,
  PRIMARY KEY (skymiles, year)
);

INSERT INTO loyalty.program (name, timezone, tier_metric, tier_period, tier_validity, clawback, sandbox)
VALUES ('skymiles', 'America/New_York', 'MQD', 'calendar year', '13 months', 'debt', true);
SELECT loyalty.attach('delta.tickets', program => 'skymiles',
         member => 'skymiles', amount => 'fare', occurred_at => 'flown', condition => $$cabin <> 'basic'$$) IS NOT NULL AS attached;
SELECT loyalty.attach('delta.cards', program => 'skymiles',
         member => 'skymiles', amount => '0', occurred_at => 'make_timestamp(year, 1, 1, 0, 0, 0)') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES
 ('skymiles', 'tickets', 'miles', NULL,
   $$least(75000, earn.amount * CASE account.tier WHEN 'diamond' THEN 11 WHEN 'platinum' THEN 9 WHEN 'gold' THEN 8 WHEN 'silver' THEN 7 ELSE 5 END)$$),
 ('skymiles', 'tickets', 'MQD', 'MQD', 'earn.amount'),
 ('skymiles', 'cards', 'MQD headstart', 'MQD', '2500');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES
 ('skymiles', 'member', 0, 0), ('skymiles', 'silver', 1, 5000), ('skymiles', 'gold', 2, 10000), ('skymiles', 'platinum', 3, 15000), ('skymiles', 'diamond', 4, 28000);
INSERT INTO loyalty.benefit (program, name, title, tier, quantity, quantity_period) VALUES
 ('skymiles', 'choice', 'Choice Benefit', 'platinum', 1, 'calendar year');
INSERT INTO loyalty.benefit_level (program, benefit, tier, quantity) VALUES ('skymiles', 'choice', 'diamond', 3);

SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2024-12-31 23:00';
-- a headstart of 2,500 and fares of 2,499 and 1 are silver: 12,495 and 5 miles at five a dollar, the next 100 dollars at seven; a basic fare is nothing
INSERT INTO delta.cards VALUES (1, 2024);
INSERT INTO delta.tickets VALUES ('006-1', 1, 1, 'main', 2499, '2024-01-31 10:00'), ('006-1', 2, 1, 'main', 1, '2024-02-29 10:00'),
  ('006-2', 1, 1, 'main', 100, '2024-03-01 10:00'), ('006-3', 1, 1, 'basic', 1000, '2024-03-02 10:00');
SELECT t.ticket_no, t.coupon, a.rule, a.points FROM delta.tickets t LEFT JOIN LATERAL loyalty.award('delta.tickets', concat(t.ticket_no, ',', t.coupon)) a ON a.unit IS NULL ORDER BY 1, 2;
SELECT tier, value, next_tier, to_next, held_until FROM loyalty.tier_standing WHERE program = 'skymiles';
-- one ticket of 22,900 is diamond at once, and no more than 75,000 miles
INSERT INTO delta.tickets VALUES ('006-4', 1, 1, 'one', 22900, '2024-12-31 22:59');
SELECT points FROM loyalty.award('delta.tickets', '006-4,1') WHERE unit IS NULL;
SELECT tier, held_until FROM loyalty.tier_standing WHERE program = 'skymiles';
SELECT at::timestamptz, b.tier FROM unnest('{2026-01-31 23:59:59.999999,2026-02-01 00:00}'::text[]) at, LATERAL loyalty.balance(1, 'skymiles', at::timestamptz) b;

-- three choices; one is made, then 13,000 dollars are refunded: platinum, which has had its one
SELECT used, left_over FROM loyalty.use_benefit(1, 'choice', program => 'skymiles', reason => 'upgrade certificate', key => 'app 1');
UPDATE delta.tickets SET fare = 9900 WHERE ticket_no = '006-4';
SELECT b.available, b.tier, m.because, m.used, m.left_over FROM loyalty.balance(1, 'skymiles') b, loyalty.member_benefits(1, program => 'skymiles') m;
-- the year is over: another choice; at the end of January 2026 the benefit ends with the level
SET LOCAL loyalty.now = '2025-06-01 12:00';
SELECT used, left_over, until FROM loyalty.member_benefits(1, program => 'skymiles');
SELECT at::timestamptz, loyalty.has_benefit(1, 'choice', 'skymiles', at::timestamptz) FROM unnest('{2026-01-31 23:59:59.999999,2026-02-01 00:00}'::text[]) at;
-- miles that were spent before the refund are owed, and paid by the next flight
SELECT points FROM loyalty.redeem(1, points => 45000, program => 'skymiles', reason => 'JFK-SLC');
DELETE FROM delta.tickets WHERE ticket_no = '006-4';
SELECT available, debt, tier FROM loyalty.balance(1, 'skymiles');
INSERT INTO delta.tickets VALUES ('006-5', 1, 1, 'main', 10000, '2025-06-01 11:00');
SELECT available, debt, tier FROM loyalty.balance(1, 'skymiles');
ROLLBACK;
