-- World of Hyatt, 2024: five points a dollar and 10/20/30 % more; levels by nights or by base points in a calendar year, the highest for life
-- by a million base points; held to the end of February after the next year; from twenty nights on every ten bring an award, of some of which the
-- guest chooses one; points die after 24 months without a stay.
BEGIN;
CREATE SCHEMA hyatt;
CREATE TABLE hyatt.stays (
  stay_id bigint PRIMARY KEY,
  guest bigint NOT NULL,
  nights integer NOT NULL,
  usd numeric(10,2) NOT NULL,
  checked_out timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period, tier_validity, sandbox)
VALUES ('hyatt', 'America/Chicago', '24 months inactive', 'nights', 'calendar year', '14 months', true);
SELECT loyalty.attach('hyatt.stays', program => 'hyatt',
         member => 'guest', amount => 'usd', occurred_at => 'checked_out') IS NOT NULL AS attached;
INSERT INTO loyalty.unit (program, name, lifetime) VALUES ('hyatt', 'lifetime base points', true);
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES
 ('hyatt', 'stays', 'five per dollar', NULL, $$earn.amount * loyalty.earn_rate '5 per 1'$$),
 ('hyatt', 'stays', 'nights', 'nights', 'nights'),
 ('hyatt', 'stays', 'base points', 'base points', $$earn.amount * loyalty.earn_rate '5 per 1'$$),
 ('hyatt', 'stays', 'for life', 'lifetime base points', $$earn.amount * loyalty.earn_rate '5 per 1'$$);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES
 ('hyatt', 'member', 0, 0, 0), ('hyatt', 'discoverist', 1, 10, 0.10), ('hyatt', 'explorist', 2, 30, 0.20), ('hyatt', 'globalist', 3, 60, 0.30);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
 ('hyatt', 'discoverist', 2, 'base points', 25000), ('hyatt', 'explorist', 2, 'base points', 50000),
 ('hyatt', 'globalist', 2, 'base points', 100000), ('hyatt', 'globalist', 3, 'lifetime base points', 1000000);
INSERT INTO loyalty.reward (program, name, kind, cost, value, validity) VALUES
 ('hyatt', 'free night', 'voucher', 15000, 1, '180 days'), ('hyatt', 'suite upgrade', 'voucher', 6000, 1, 'every 28 february');
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('hyatt', 'club access', 'experience', 3000);
INSERT INTO loyalty.challenge (program, name, metric, target, period, reward, choices, choice_points) VALUES
 ('hyatt', '20 nights', 'nights', 20, 'calendar year', NULL, '{club access}', 2000),
 ('hyatt', '30 nights', 'nights', 30, 'calendar year', 'free night', NULL, NULL),
 ('hyatt', '40 nights', 'nights', 40, 'calendar year', NULL, '{suite upgrade,club access}', 5000);

SET LOCAL timezone = 'America/Chicago';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2024-12-31 23:59:59';
-- guests 1 to 3 by nights, 4 to 6 by base points; 7 lacks one of each
INSERT INTO hyatt.stays VALUES (1, 1, 10, 0, '2024-02-29 11:00'), (2, 2, 30, 0, '2024-02-29 11:00'), (3, 3, 60, 0, '2024-02-29 11:00'),
  (4, 4, 1, 5000, '2024-02-29 11:00'), (5, 5, 1, 10000, '2024-02-29 11:00'), (6, 6, 1, 20000, '2024-02-29 11:00'), (7, 7, 9, 4999.99, '2024-02-29 11:00');
-- then 1,000 dollars each: 5,500, 6,000, 6,500, and 5,000 for who is a member only
INSERT INTO hyatt.stays SELECT 10 + g, g, 0, 1000, '2024-06-01 11:00' FROM generate_series(1, 7) g;
SELECT s.guest, a.points, b.tier, t.held_until
FROM hyatt.stays s, LATERAL (SELECT sum(w.points) AS points FROM loyalty.award('hyatt.stays', s.stay_id::text) w WHERE w.unit IS NULL) a,
  LATERAL loyalty.balance(s.guest, 'hyatt') b, loyalty.tier_standing t
WHERE s.stay_id > 10 AND t.program = 'hyatt' AND t.member_id = s.guest ORDER BY s.guest;

-- milestones, each once a year: 2 has the free night and one to choose, 3 has reached all of them
SELECT member_id AS guest, challenge, open, reward, points FROM loyalty.challenge_to_choose WHERE program = 'hyatt' ORDER BY member_id, challenge, reward;
SELECT reward, points, left_over FROM loyalty.choose_challenge_reward(3, '20 nights', program => 'hyatt', key => 'app 1');
SELECT reward, points, left_over FROM loyalty.choose_challenge_reward(3, '40 nights', 'suite upgrade', program => 'hyatt');
SELECT reward, last_day FROM loyalty.vouchers(3, 'hyatt') ORDER BY voucher_id;
-- the stay was not one: milestones and level are gone, the 2,000 points too; 6,500 earned at globalist are what they were
DELETE FROM hyatt.stays WHERE stay_id = 3;
SELECT b.available, b.tier FROM loyalty.balance(3, 'hyatt') b;
SELECT reward, state FROM loyalty.vouchers(3, 'hyatt') ORDER BY voucher_id;

-- a new year counts anew; explorist is held to the end of February 2026
SET LOCAL loyalty.now = '2025-01-01 12:00';
INSERT INTO hyatt.stays VALUES (21, 2, 20, 100, '2025-01-01 00:00');
SELECT challenge, value, completed FROM loyalty.challenge_progress WHERE program = 'hyatt' AND member_id = 2 ORDER BY challenge;
SELECT at::timestamptz, b.tier FROM unnest('{2026-02-28 23:59:59.999999,2026-03-01 00:00}'::text[]) at, LATERAL loyalty.balance(2, 'hyatt', at::timestamptz) b;

-- ten years of 99,995 base points and 50 more are a million: globalist without end, as long as the stays stand
INSERT INTO hyatt.stays SELECT y, 8, 1, 19999, make_timestamptz(y, 5, 1, 11, 0, 0) FROM generate_series(2014, 2023) y;
INSERT INTO hyatt.stays VALUES (31, 8, 1, 9.80, '2024-05-01 11:00');
SELECT tier, held_until FROM loyalty.tier_standing WHERE program = 'hyatt' AND member_id = 8;
INSERT INTO hyatt.stays VALUES (32, 8, 1, 0.20, '2024-05-02 11:00');
SELECT b.tier AS now, t.held_until, l.tier AS in_2050
FROM loyalty.tier_standing t, LATERAL loyalty.balance(8, 'hyatt') b, LATERAL loyalty.balance(8, 'hyatt', '2050-01-01') l WHERE t.program = 'hyatt' AND t.member_id = 8;
DELETE FROM hyatt.stays WHERE stay_id = 2014;
SELECT tier, held_until FROM loyalty.tier_standing WHERE program = 'hyatt' AND member_id = 8;
ROLLBACK;
