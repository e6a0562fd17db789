-- Status units of a lifetime, beside those of the period: tiers for life.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

BEGIN;
CREATE SCHEMA lifetime_test;
SET LOCAL search_path = lifetime_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2024-06-01';
CREATE TABLE stay (id int PRIMARY KEY, who bigint, paid numeric, nights int, at timestamptz);
CREATE TABLE roll (LIKE stay INCLUDING INDEXES);
INSERT INTO loyalty.program (name, tier_metric, tier_period, sandbox) VALUES
  ('life', 'nights', 'calendar year', true), ('rolling', 'nights', 'rolling 12 months', true);
SELECT loyalty.attach('stay', program => 'life', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS attached,
  loyalty.attach('roll', program => 'rolling', member => 'who', amount => 'paid', occurred_at => 'at') > 0 AS rolls;
INSERT INTO loyalty.unit (program, name, lifetime) VALUES ('life', 'all nights', true), ('rolling', 'all nights', true);
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('life', 'stay', 'one per dollar', NULL, 'earn.amount'),
  ('life', 'stay', 'nights', 'nights', 'nights'), ('life', 'stay', 'for life', 'all nights', 'nights'),
  ('rolling', 'roll', 'roll nights', 'nights', 'nights'), ('rolling', 'roll', 'roll for life', 'all nights', 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold)
SELECT p, n, r, t FROM unnest('{life,rolling}'::text[]) p, (VALUES ('member', 0, 0), ('gold', 1, 25), ('platinum', 2, 50)) v (n, r, t);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold)
SELECT p, n, 2, 'all nights', t FROM unnest('{life,rolling}'::text[]) p, (VALUES ('gold', 100), ('platinum', 200)) v (n, t);
CREATE FUNCTION sell(id int, who bigint, paid numeric, nights int, at timestamptz) RETURNS boolean LANGUAGE sql AS $$
  INSERT INTO stay VALUES (id, who, paid, nights, at); INSERT INTO roll VALUES (id, who, paid, nights, at) RETURNING true $$;
CREATE VIEW standing AS
SELECT s.member_id, s.program, s.tier, s.held_until, s.value AS nights, u.value AS all_nights, s.to_next, s.to_next_metric, s.projected_tier, s.falls_to
FROM loyalty.tier_standing s JOIN loyalty.member_unit u ON u.member_id = s.member_id AND u.program = s.program AND u.unit = 'all nights' ORDER BY s.member_id, s.program;

-- thirty nights a year are gold for the year and the next, ninety-five in all are not for life
SELECT count(sell(y, 1, 100, 30, make_timestamptz(y, 3, 1, 0, 0, 0))) FROM generate_series(2018, 2020) y;
SELECT sell(2021, 1, 10, 5, '2021-01-01');
SELECT * FROM standing;
-- five more in 2021, when gold is held by the nights of 2020: it stays from then on
SELECT sell(2022, 1, 10, 5, '2021-01-02');
SELECT * FROM standing;
SELECT tier, metric, value, missing, projected FROM loyalty.tier_progress WHERE program = 'life' AND option = '2' ORDER BY rank;
SELECT p, at::timestamptz, b.tier FROM unnest('{life,rolling}'::text[]) p, unnest('{2021-01-01,2023-01-01,2099-01-01}'::text[]) at, LATERAL loyalty.balance(1, p, at::timestamptz) b;

-- a stay of long ago comes back, and gold with it
DELETE FROM stay WHERE id = 2018;
DELETE FROM roll WHERE id = 2018;
SELECT * FROM standing;
SELECT sell(2018, 1, 100, 30, '2018-03-01');
SELECT member_id, program, tier, held_until, all_nights FROM standing;
-- a late stay of a year that is over counts for life alone: 200 nights; what is quoted is what comes
SELECT DISTINCT tier FROM loyalty.quote('stay', '{"id": 3000, "who": 1, "paid": 2, "nights": 100, "at": "2019-05-05"}');
SELECT sell(3000, 1, 2, 100, '2019-05-05');
SELECT member_id, program, tier, held_until, all_nights FROM standing;
-- half of it returned: 150
UPDATE stay SET paid = 1 WHERE id = 3000;
UPDATE roll SET paid = 1 WHERE id = 3000;
SELECT member_id, program, tier, held_until, all_nights FROM standing;
-- by hand, of the time before
SELECT p, a.unit, a.value, a.tier FROM unnest('{life,rolling}'::text[]) p, LATERAL loyalty.adjust_unit(1, 'all nights', 50, 'before 2018', program => p, at => '2010-01-01') a;
SELECT member_id, program, tier, held_until, all_nights FROM standing;
SELECT * FROM loyalty.verify();

-- counted anew from the ledger: by hand, and when a unit begins or ends to count for ever
SELECT p, loyalty.recount_counters(p) FROM unnest('{life,rolling}'::text[]) p;
UPDATE loyalty.unit SET lifetime = false WHERE name = 'all nights';
SELECT program, unit, value FROM loyalty.member_unit ORDER BY 1, 2;
UPDATE loyalty.unit SET lifetime = true WHERE name = 'all nights';
SELECT program, unit, value FROM loyalty.member_unit ORDER BY 1, 2;
SELECT * FROM loyalty.verify();

-- where returns leave the tier, it is held for a year more, and not for life
SAVEPOINT fall;
UPDATE loyalty.program SET on_return = 'keep' WHERE name IN ('life', 'rolling');
DELETE FROM stay WHERE id = 3000;
DELETE FROM roll WHERE id = 3000;
SELECT member_id, program, tier, held_until, all_nights, falls_to FROM standing;
ROLLBACK TO fall;

-- a household's nights add up, and its tier ends with the stay that had given it
SELECT loyalty.create_pool(1, 'home', 'household', 'life', shares_tier => true) > 0 AS made;
SELECT count(*) AS enrolled FROM loyalty.enroll(2, 'life');
SELECT loyalty.join_pool(2, (SELECT pool_id FROM loyalty.pool WHERE name = 'home')) AS joined;
INSERT INTO stay VALUES (4000, 2, 1, 20, '2024-06-01');
SELECT member_id, program, tier, held_until, all_nights FROM standing WHERE program = 'life';
DELETE FROM stay WHERE id = 3000;
SELECT member_id, program, tier, held_until, all_nights FROM standing WHERE program = 'life';
SELECT loyalty.leave_pool(2, 'life') AS left;
SELECT member_id, program, tier, all_nights FROM standing WHERE program = 'life';
-- both nights of one who was registered twice
SELECT program, tier FROM loyalty.merge_members(2, 1, 'registered twice') ORDER BY 1;
SELECT member_id, program, tier, all_nights FROM standing WHERE program = 'life';
SELECT * FROM loyalty.verify();
ROLLBACK;
