-- Status units, visits, rolling windows, and tiers that ask for several of them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA counter_test;
SET LOCAL search_path = counter_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET loyalty.now = '2020-03-10 10:00+00';
CREATE FUNCTION standing(member bigint) RETURNS TABLE (tier text, value numeric, spend numeric, units jsonb, until timestamptz) LANGUAGE sql AS $$
  SELECT s.tier, s.value, trim_scale(n.spend), (SELECT jsonb_object_agg(u.unit, u.value) FROM loyalty.member_unit u WHERE u.member_id = s.member_id AND u.program = s.program), s.held_until
  FROM loyalty.tier_standing s JOIN loyalty.program p ON p.name = s.program
  CROSS JOIN LATERAL loyalty.settled(s.member_id, p.id, loyalty.instant()) n
  WHERE s.member_id = standing.member $$;

-- ---- Hilton: silver by any of 4 stays, 10 nights, 25,000 base points; gold 20, 40, 75,000; diamond 30, 60, 120,000
SAVEPOINT empty;
INSERT INTO loyalty.program (name, sandbox, tier_metric) VALUES ('hilton', true, 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
VALUES ('hilton', 'member', 0, 0, 0), ('hilton', 'silver', 1, 10, 0.2), ('hilton', 'gold', 2, 40, 0.8), ('hilton', 'diamond', 3, 60, 1);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
  ('hilton', 'silver', 1, 'stays', 4), ('hilton', 'silver', 2, 'base points', 25000),
  ('hilton', 'gold', 1, 'stays', 20), ('hilton', 'gold', 2, 'base points', 75000),
  ('hilton', 'diamond', 1, 'stays', 30), ('hilton', 'diamond', 2, 'base points', 120000);
SELECT name, decimals FROM loyalty.unit WHERE program = 'hilton' ORDER BY id;
CREATE TABLE stay (id int PRIMARY KEY, who bigint, paid numeric, nights int, at timestamptz DEFAULT '2020-03-10 10:00+00', eligible boolean DEFAULT true);
SELECT loyalty.attach('stay', program => 'hilton', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, unit, points, condition) VALUES
  ('hilton', 'stay', '10 per dollar', 'base', NULL, 'earn.amount * 10', NULL),
  ('hilton', 'stay', 'stay bonus', 'bonus', NULL, '500', NULL),
  ('hilton', 'stay', 'base', 'base', 'base points', 'earn.amount * 10', NULL),
  ('hilton', 'stay', 'nights', 'base', 'nights', 'nights', 'eligible'),
  ('hilton', 'stay', 'double nights', 'bonus', 'nights', 'earn.base', 'eligible and earn.amount >= 1000'),
  ('hilton', 'stay', 'one stay', 'base', 'stays', '1', 'eligible');
SELECT rule, points, unit, why_not, tier FROM loyalty.quote('stay', '{"who": 1, "paid": 1000, "nights": 3, "eligible": true, "at": "2020-03-10T10:00:00Z"}');
INSERT INTO stay VALUES (1, 1, 1000, 3);
SELECT rule, points, unit FROM loyalty.award('stay', '1');
SELECT rule, why_not FROM loyalty.why_not('stay', '1');
SELECT * FROM standing(1);
SELECT available FROM loyalty.balance(1, 'hilton');
SELECT u.name AS unit, l.points, l.remaining, l.part, l.expires_at FROM loyalty.lot l LEFT JOIN loyalty.unit u ON u.id = l.unit ORDER BY l.part;
SELECT rule, unit, value FROM loyalty.unit_share ORDER BY 1;
SELECT entry_no, kind, points, what FROM loyalty.statement WHERE member_id = 1 ORDER BY 1;
-- by stays: the fourth; the third night rule gives no stay
INSERT INTO stay (id, who, paid, nights, eligible) VALUES (2, 1, 10, 1, true), (3, 1, 10, 1, true), (4, 1, 10, 1, false);
SELECT * FROM standing(1);
INSERT INTO stay VALUES (5, 1, 10, 1);
SELECT * FROM standing(1);
SELECT available FROM loyalty.balance(1, 'hilton');
-- a return takes the stay and the nights, and the tier
DELETE FROM stay WHERE id = 5;
SELECT * FROM standing(1);
INSERT INTO stay VALUES (5, 1, 10, 1);
SELECT * FROM standing(1);
-- base points without the bonus: 2,500 dollars; one night is enough for nobody else
INSERT INTO stay VALUES (6, 2, 2499.99, 1);
SELECT * FROM standing(2);
UPDATE stay SET paid = 2500 WHERE id = 6;
SELECT * FROM standing(2);
-- partial returns follow the amount by the formula, whatever the path: 2 nights (doubled) of 2500
UPDATE stay SET paid = 1250 WHERE id = 6;
SELECT * FROM standing(2);
UPDATE stay SET paid = 1 WHERE id = 6;
UPDATE stay SET paid = 2500 WHERE id = 6;
SELECT * FROM standing(2);
-- changes hands, is taken and comes back, in one statement and in several
UPDATE stay SET who = 3 WHERE id = 6;
SELECT * FROM standing(2);
SELECT * FROM standing(3);
DELETE FROM stay WHERE id = 6;
INSERT INTO stay VALUES (6, 3, 2500, 1);
SELECT * FROM standing(3);
-- nights across two periods: by their own dates
INSERT INTO stay SELECT 100 + n, 4, 1, 1, timestamptz '2019-12-25 10:00+00' + n * interval '1 day' FROM generate_series(0, 12) n;
SELECT * FROM standing(4);
SELECT c.bucket, u.name, c.value FROM loyalty.counter c JOIN loyalty.unit u ON u.id = c.metric WHERE c.member_id = 4 AND u.name = 'nights' ORDER BY 1;
-- a late row of the last period counts there
INSERT INTO stay VALUES (120, 4, 1, 30, '2019-07-01 10:00+00');
SELECT * FROM standing(4);
SELECT c.bucket, u.name, c.value FROM loyalty.counter c JOIN loyalty.unit u ON u.id = c.metric WHERE c.member_id = 4 AND u.name = 'nights' ORDER BY 1;
SELECT * FROM loyalty.verify();
-- next year: nothing but time
SET loyalty.now = '2021-12-31 23:59:59.999999+00';
SELECT tier, value, until FROM standing(1);
SET loyalty.now = '2022-01-01 00:00+00';
SELECT tier, value, until FROM standing(1);
SET loyalty.now = '2020-03-10 10:00+00';

-- ---- by hand
SELECT * FROM loyalty.adjust_unit(5, 'nights', 12, 'other chain', 'hilton', 'k1');
SELECT loyalty.enroll(5, 'hilton', at => '2019-05-01') IS NOT NULL AS enrolled;
SELECT unit, value, counted_at, tier FROM loyalty.adjust_unit(5, 'nights', 12, 'other chain', 'hilton', 'k1');
SELECT unit, value, counted_at, tier FROM loyalty.adjust_unit(5, 'nights', 12, 'other chain', 'hilton', 'k1');
SELECT * FROM loyalty.adjust_unit(5, 'nights', 13, 'other chain', 'hilton', 'k1');
SELECT unit, value, counted_at, tier FROM loyalty.adjust_unit(5, 'nights', -3, 'counted twice', 'hilton');
SELECT unit, value, counted_at, tier FROM loyalty.adjust_unit(5, 'stays', 25, 'last year', 'hilton', at => '2019-08-01');
SELECT * FROM loyalty.adjust_unit(5, 'night', 1, 'x', 'hilton');
SELECT * FROM loyalty.adjust_unit(5, 'nights', 0.5, 'x', 'hilton');
SELECT * FROM loyalty.adjust_unit(5, 'nights', 1, '', 'hilton');
SELECT * FROM loyalty.adjust_unit(5, 'nights', 1, 'x', 'hilton', at => '2020-03-11');
SELECT * FROM standing(5);
SELECT action, value, counted_at, reason, counts_for_tier FROM loyalty.intervention WHERE member_id = 5 ORDER BY entry_no;
SELECT * FROM loyalty.verify();

-- ---- rules that ask for units; limits of unit rules
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
  ('hilton', 'stay', 'regular', 'bonus', '7', $$(account.units ->> 'nights')::numeric >= 9$$);
INSERT INTO stay VALUES (200, 5, 10, 1), (201, 3, 10, 1);
SELECT rule, points FROM loyalty.award('stay', '200') WHERE rule = 'regular';
SELECT rule, points FROM loyalty.award('stay', '201') WHERE rule = 'regular';
UPDATE loyalty.rule SET cap = 5, cap_period = 'calendar year', enabled = false WHERE name = 'nights' AND program = 'hilton';
UPDATE loyalty.rule SET enabled = true WHERE name = 'nights' AND program = 'hilton';
INSERT INTO stay VALUES (202, 6, 10, 3), (203, 6, 10, 4);
SELECT rule, points, wanted, limited_by FROM loyalty.award('stay', '203') WHERE unit = 'nights';
SELECT rule, why_not FROM loyalty.why_not('stay', '203') WHERE rule = 'nights';
SELECT * FROM standing(6);
DELETE FROM stay WHERE id = 202;
INSERT INTO stay VALUES (204, 6, 10, 4);
SELECT * FROM standing(6);
SELECT * FROM loyalty.verify();
-- refused
INSERT INTO loyalty.rule (program, source, name, unit, points, expiry) VALUES ('hilton', 'stay', 'bad', 'nights', '1', '12 months');
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('hilton', 'stay', 'bad', 'spend', '1');
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('hilton', 'stay', 'bad', '', '1');
UPDATE loyalty.rule SET unit = 'stays' WHERE name = 'nights' AND program = 'hilton';
DELETE FROM loyalty.unit WHERE name = 'stays';
UPDATE loyalty.unit SET name = 'night' WHERE name = 'nights' AND program = 'hilton';

-- ---- merged members have what both had
SELECT program FROM loyalty.merge_members(6, 5, 'same person');
SELECT * FROM standing(5);
SELECT count(*) FROM loyalty.counter WHERE member_id = 6;
SELECT * FROM loyalty.verify();

-- ---- verify() sees what is wrong, recount_counters() finds it again
SAVEPOINT broken;
UPDATE loyalty.counter SET value = value + 1 WHERE member_id = 1 AND metric = (SELECT id FROM loyalty.unit WHERE name = 'stays' AND program = 'hilton');
DELETE FROM loyalty.counter WHERE member_id = 3;
SELECT invariant, member_id, detail FROM loyalty.verify() ORDER BY 2, 3;
SELECT loyalty.recount_counters('hilton');
SELECT * FROM loyalty.verify();
ROLLBACK TO SAVEPOINT empty;

-- ---- Marriott: titanium 75 nights; ambassador 100 nights and 23,000 dollars
INSERT INTO loyalty.program (name, sandbox, tier_metric, timezone) VALUES ('marriott', true, 'nights', 'America/Los_Angeles');
INSERT INTO loyalty.tier (program, name, rank, threshold)
VALUES ('marriott', 'member', 0, 0), ('marriott', 'silver', 1, 10), ('marriott', 'gold', 2, 25), ('marriott', 'platinum', 3, 50), ('marriott', 'titanium', 4, 75), ('marriott', 'ambassador', 5, NULL);
INSERT INTO loyalty.tier_requirement (program, tier, metric, threshold) VALUES ('marriott', 'ambassador', 'nights', 100), ('marriott', 'ambassador', 'spend', 23000);
CREATE TABLE stay (id int PRIMARY KEY, who bigint, paid numeric, nights int, at timestamptz DEFAULT '2020-03-10 10:00+00');
SELECT loyalty.attach('stay', program => 'marriott', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('marriott', 'stay', 'nights', 'nights', 'nights');
INSERT INTO stay VALUES (1, 1, 22999.99, 99), (2, 2, 22999.99, 100), (3, 3, 23000, 99), (4, 4, 23000, 100);
SELECT member_id, tier, value, next_tier, to_next FROM loyalty.tier_standing ORDER BY 1;
UPDATE stay SET paid = 23000 WHERE id = 2;
SELECT member_id, tier FROM loyalty.tier_standing WHERE member_id = 2;
-- midnight of the year lies in Los Angeles
INSERT INTO stay VALUES (5, 5, 1, 6, '2020-01-01 07:59:59.999999+00'), (6, 5, 1, 7, '2020-01-01 08:00+00');
SELECT bucket, value FROM loyalty.counter WHERE member_id = 5 ORDER BY 1;
SELECT tier, value FROM standing(5);
SELECT * FROM loyalty.verify();
ROLLBACK TO SAVEPOINT empty;
SET loyalty.now = '2020-03-10 10:00+00';

-- ---- visits: local days with a kept purchase, here in Auckland, where the clock goes back on 5 April 2020
INSERT INTO loyalty.program (name, sandbox, tier_metric, timezone) VALUES ('days', true, 'visits', 'Pacific/Auckland');
SELECT counts_visits FROM loyalty.program WHERE name = 'days';
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('days', 'guest', 0, 0), ('days', 'regular', 1, 3);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => 'days', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SET loyalty.now = '2020-04-10 10:00+00';
-- 4 April local: from 3 April 11:00 UTC; the 5th has 25 hours, to 5 April 12:00 UTC
INSERT INTO sale VALUES (1, 1, 10, '2020-04-03 11:00+00'), (2, 1, 10, '2020-04-04 10:59:59.999999+00');
SELECT tier, value FROM standing(1);
INSERT INTO sale VALUES (3, 1, 10, '2020-04-04 11:00+00'), (4, 1, 10, '2020-04-05 11:59:59.999999+00');
SELECT tier, value FROM standing(1);
INSERT INTO sale VALUES (5, 1, 0, '2020-04-05 12:00+00');
SELECT tier, value FROM standing(1);
SELECT visit, purchases, bucket FROM loyalty.visit ORDER BY 1;
-- the day stays while one purchase of it is kept
DELETE FROM sale WHERE id = 3;
SELECT tier, value FROM standing(1);
UPDATE sale SET total = 0 WHERE id = 4;
SELECT tier, value FROM standing(1);
UPDATE sale SET total = 20 WHERE id = 4;
SELECT tier, value FROM standing(1);
INSERT INTO sale VALUES (3, 1, 10, '2020-04-04 11:00+00');
SELECT * FROM loyalty.verify();
SAVEPOINT broken;
UPDATE loyalty.visit SET purchases = purchases + 1 WHERE visit = '2020-04-04';
UPDATE loyalty.account SET visits = 7;
SELECT invariant, detail FROM loyalty.verify() ORDER BY 1;
ROLLBACK TO SAVEPOINT broken;
-- another program begins to count when a rule asks: from the ledger
INSERT INTO loyalty.program (name, sandbox) VALUES ('late', true);
SELECT loyalty.attach('sale', program => 'late', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO sale VALUES (10, 2, 10, '2020-04-06 10:00+00'), (11, 2, 10, '2020-04-07 10:00+00');
SELECT a.visits FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = 'late';
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('late', 'sale', 'third', '3', 'account.visits >= 2');
SELECT a.visits FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = 'late';
INSERT INTO sale VALUES (12, 2, 10, '2020-04-07 11:00+00');
SELECT rule, points, program FROM loyalty.award('sale', '12');
SELECT * FROM loyalty.verify();
ROLLBACK TO SAVEPOINT empty;

-- ---- what is a visit: whatever the source says; here a receipt that is in several rows
INSERT INTO loyalty.program (name, sandbox, tier_metric) VALUES ('receipts', true, 'visits');
CREATE TABLE line (id int PRIMARY KEY, who bigint, total numeric, receipt int, at timestamptz DEFAULT '2020-04-10 10:00+00');
SELECT loyalty.attach('line', program => 'receipts', member => 'who', amount => 'total', occurred_at => 'at', visit => 'receipt') > 0 AS attached;
INSERT INTO line VALUES (1, 1, 10, 7), (2, 1, 10, 7), (3, 1, 10, 8), (4, 1, 10, NULL), (5, 1, 10, 9);
SELECT value FROM standing(1);
SELECT visit, purchases FROM loyalty.visit ORDER BY 1;
-- returns count where the purchase was counted, whatever the row says by then
UPDATE line SET receipt = 8, total = 5 WHERE id = 1;
DELETE FROM line WHERE id IN (1, 4);
SELECT value FROM standing(1);
DELETE FROM line WHERE id = 2;
SELECT value FROM standing(1);
INSERT INTO line VALUES (1, 1, 10, 9);
SELECT visit, purchases FROM loyalty.visit ORDER BY 1;
-- another member: another row of it
UPDATE line SET who = 2 WHERE id IN (1, 3);
SELECT member_id, value FROM loyalty.tier_standing ORDER BY 1;
SELECT * FROM loyalty.verify();
SELECT program FROM loyalty.merge_members(2, 1, 'same');
SELECT member_id, value FROM loyalty.tier_standing ORDER BY 1;
SELECT * FROM loyalty.verify();
UPDATE loyalty.source SET visit = NULL WHERE name = 'line';
ROLLBACK TO SAVEPOINT empty;

-- ---- rolling: what the last 12 months hold, at every instant
INSERT INTO loyalty.program (name, sandbox, timezone, tier_period, tier_validity) VALUES ('roll', true, 'America/Los_Angeles', 'rolling 12 months', '6 months');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('roll', 'base', 0, 0), ('roll', 'gold', 1, 100);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, nights int DEFAULT 1);
SELECT loyalty.attach('sale', program => 'roll', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('roll', 'sale', 'nights', 'nights', 'nights'), ('roll', 'sale', 'points', NULL, 'earn.amount');
SET loyalty.now = '2020-06-01 12:00+00';
INSERT INTO sale VALUES (1, 1, 60, '2020-02-29 20:00+00'), (2, 1, 50, '2020-04-01 07:00+00');
SELECT * FROM standing(1);
-- 2020-02-29 12:00 local leaves on 2021-02-28 12:00; 2020-04-01 00:00 on 2021-04-01 00:00, both local
SET loyalty.now = '2020-10-01 06:59:59.999999+00';
SELECT * FROM standing(1);
SET loyalty.now = '2020-10-01 07:00+00';
SELECT * FROM standing(1);
SET loyalty.now = '2021-02-28 19:59:59.999999+00';
SELECT * FROM standing(1);
SET loyalty.now = '2021-02-28 20:00+00';
SELECT * FROM standing(1);
SET loyalty.now = '2021-04-01 06:59:59.999999+00';
SELECT * FROM standing(1);
SET loyalty.now = '2021-04-01 07:00+00';
SELECT * FROM standing(1);
SET loyalty.now = '2020-06-01 12:00+00';
-- a late row counts by its own date: this one leaves first
INSERT INTO sale VALUES (3, 1, 5, '2019-12-31 20:00+00');
SELECT spend, units FROM standing(1);
SET loyalty.now = '2020-12-31 20:00+00';
SELECT spend, units FROM standing(1);
-- and this one has left before it came
INSERT INTO sale VALUES (4, 1, 1000, '2019-12-31 20:00+00');
SELECT tier, spend, units FROM standing(1);
-- written at that instant: the figures stay the same, and a return of what has left changes none
SELECT entry_no > 0 AS adjusted FROM loyalty.adjust(1, 1, 'x', 'roll');
SELECT spend, earned, period_end FROM loyalty.account;
DELETE FROM sale WHERE id IN (3, 4);
SELECT spend, earned FROM loyalty.account;
SELECT * FROM loyalty.verify();
-- a return inside of the window takes its part, and the tier with it
SELECT tier, spend, units FROM standing(1);
UPDATE sale SET total = 45 WHERE id = 2;
SELECT tier, spend, units, until FROM standing(1);
UPDATE sale SET total = 50 WHERE id = 2;
SELECT tier, spend, units, until FROM standing(1);
SET loyalty.now = '2022-01-01 00:00+00';
SELECT loyalty.adjust(1, 1, 'y', 'roll') IS NOT NULL AS adjusted;
SELECT spend, earned, period_end FROM loyalty.account;
SELECT at, reason, held_until FROM loyalty.tier_change ORDER BY change_no;
SELECT * FROM loyalty.verify();
-- what has left the window is forgotten, and nobody sees it: figures, returns of what was counted there, the window's end
SAVEPOINT full_table;
INSERT INTO sale VALUES (8, 1, 7, '2021-06-01 12:00+00');
CREATE TABLE seen AS SELECT s.* FROM standing(1) s;
SELECT count(*) FILTER (WHERE c.bucket > '-infinity' AND c.bucket <= a.settled_at) AS left_it, count(*) FILTER (WHERE c.bucket > a.settled_at) AS in_it
FROM loyalty.counter c JOIN loyalty.account a USING (member_id, program_id);
SELECT loyalty.maintenance_step(loyalty.job_begin('maintenance'), 1000, 'infinity') AS more;
SELECT count(*) FILTER (WHERE c.bucket > '-infinity' AND c.bucket <= a.settled_at) AS left_it, count(*) FILTER (WHERE c.bucket > a.settled_at) AS in_it
FROM loyalty.counter c JOIN loyalty.account a USING (member_id, program_id);
SELECT count(*) AS differ FROM (TABLE seen EXCEPT SELECT * FROM standing(1)) x;
UPDATE sale SET total = 20 WHERE id = 1;
DELETE FROM sale WHERE id = 2;
INSERT INTO sale VALUES (2, 1, 50, '2020-04-01 07:00+00'), (9, 1, 3, '2020-04-01 08:00+00');
SELECT count(*) AS differ FROM (TABLE seen EXCEPT SELECT * FROM standing(1)) x;
SELECT * FROM loyalty.verify();
SELECT loyalty.forget_counters('-9223372036854775808', 0, 9223372036854775807, 0) AS more;
ROLLBACK TO full_table;
-- other windows, live: counted from the ledger
UPDATE loyalty.program SET tier_period = 'rolling 24 months' WHERE name = 'roll';
SELECT count(*) FROM loyalty.apply_tiers('roll');
SELECT spend, earned, period_end FROM loyalty.account;
SELECT spend, units FROM standing(1);
UPDATE loyalty.program SET tier_period = 'calendar year' WHERE name = 'roll';
SELECT count(*) FROM loyalty.apply_tiers('roll');
SELECT spend, spend_previous, earned, period_start, period_end, previous_start FROM loyalty.account;
SELECT * FROM loyalty.verify();
UPDATE loyalty.program SET tier_period = 'lifetime' WHERE name = 'roll';
SELECT count(*) FROM loyalty.apply_tiers('roll');
SELECT spend, units FROM standing(1);
SELECT * FROM loyalty.verify();
UPDATE loyalty.program SET tier_period = 'rolling 30 days' WHERE name = 'roll';
SELECT count(*) FROM loyalty.apply_tiers('roll');
SELECT * FROM loyalty.verify();

-- validity 0: the tier is what the window holds
UPDATE loyalty.program SET tier_validity = '0', tier_metric = 'visits' WHERE name = 'roll';
UPDATE loyalty.tier SET threshold = 2 WHERE name = 'gold';
SELECT count(*) FROM loyalty.apply_tiers('roll');
SET loyalty.now = '2022-03-01 00:00+00';
INSERT INTO sale VALUES (20, 2, 1, '2022-02-01 20:00+00'), (21, 2, 1, '2022-02-03 20:00+00'), (22, 2, 1, '2022-02-03 21:00+00'), (23, 2, 1, '2022-02-04 01:00+00');
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-03 19:59:59.999999+00';
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-03 20:00+00';
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-06 00:59:59.999999+00';
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-06 01:00+00';
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-01 00:00+00';
DELETE FROM sale WHERE id = 23;
SELECT * FROM standing(2);
SET loyalty.now = '2022-03-06 00:00+00';
SELECT * FROM standing(2);
INSERT INTO sale VALUES (24, 2, 1, '2022-03-05 20:00+00'), (25, 2, 1, '2022-03-06 20:00+00');
SELECT * FROM loyalty.verify();
SELECT at, reason, held_until FROM loyalty.tier_change WHERE member_id = 2 ORDER BY change_no;
ROLLBACK TO empty;
-- a metric that is misspelt: refused, or shown
INSERT INTO loyalty.program (name, tier_metric) VALUES ('typo', 'Spend');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.program (name, tier_metric) VALUES ('typo', 'nigths');
INSERT INTO loyalty.tier (program, name, rank) VALUES ('typo', 'gold', 1);
INSERT INTO loyalty.tier_requirement (program, tier, metric, threshold) VALUES ('typo', 'gold', 'VISITS', 3);
SELECT * FROM loyalty.status() WHERE item LIKE 'unit %';
ROLLBACK;
