-- What a purchase earns: one assertion a rule of docs/reference.md.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty;
SELECT loyalty.install();
SELECT plan(31);
SET LOCAL TimeZone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, kind text DEFAULT '', paid boolean DEFAULT true);

INSERT INTO loyalty.program (name, expiry, tier_validity, sandbox) VALUES ('p', '12 months', '12 months', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 500, 0.25);
SELECT loyalty.attach('shop.sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', condition => 'paid');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, priority, exclusive_group) VALUES
  ('p', 'sale', 'base', 'base', 'earn.amount', NULL, 0, NULL),
  ('p', 'sale', 'twenty per cent', 'bonus', 'earn.base * 0.2', $$kind = 'bonus'$$, 0, NULL),
  ('p', 'sale', 'five', 'bonus', '5', $$kind = 'group'$$, 0, 'g'),
  ('p', 'sale', 'seven', 'bonus', '7', $$kind = 'group'$$, 0, 'g'),
  ('p', 'sale', 'seven again', 'bonus', '7', $$kind = 'group'$$, 9, 'g'),
  ('p', 'sale', 'unknown', 'bonus', '1000', $$nullif(kind, kind) = ''$$, 0, NULL),
  ('p', 'sale', 'nothing', 'bonus', 'NULL::numeric', NULL, 0, NULL);

CREATE FUNCTION pg_temp.earned(key text) RETURNS numeric LANGUAGE sql AS $$ SELECT coalesce(sum(points), 0) FROM loyalty.award('shop.sale', key) $$;
CREATE FUNCTION pg_temp.has(member bigint, at timestamptz DEFAULT NULL) RETURNS numeric LANGUAGE sql AS $$ SELECT available FROM loyalty.balance(member, 'p', at) $$;
CREATE FUNCTION pg_temp.tier(member bigint, at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT tier FROM loyalty.balance(member, 'p', at) $$;

-- rounding
INSERT INTO shop.sale VALUES (1, 1, 4.99, '2024-03-01', 'bonus');
SELECT is(pg_temp.earned('1'), 5::numeric, '4.99 at 1 per 1 with +20 %, down: 5, not 4: one rounding an award');
SELECT is((SELECT string_agg(rule || ' ' || points, ', ' ORDER BY rule) FROM loyalty.award('shop.sale', '1')), 'base 4, twenty per cent 1', 'shares are differences of rounded prefix sums and add up');
INSERT INTO shop.sale VALUES (2, 1, 0.99, '2024-03-02');
SELECT is((SELECT count(*) FROM loyalty.lot WHERE source_key = '2'), 1::bigint, 'a row that counts leaves a lot, also with 0 points');
INSERT INTO shop.sale VALUES (3, 1, 0, '2024-03-03');
SELECT is(pg_temp.earned('3'), 0::numeric, 'amount 0 is fine');

-- groups, NULL
INSERT INTO shop.sale VALUES (4, 2, 10, '2024-03-01', 'group');
SELECT is((SELECT string_agg(rule || ' ' || points, ', ' ORDER BY rule) FROM loyalty.award('shop.sale', '4')), 'base 10, seven again 7', 'of an exclusive group the greatest stays, and of equals the higher priority');
SELECT is((SELECT why_not FROM loyalty.why_not('shop.sale', '4') WHERE rule = 'unknown') IS NOT NULL, true, 'a condition that is NULL is not true, and why_not says so');

-- which rows
INSERT INTO shop.sale VALUES (5, NULL, 10, '2024-03-01', '', true), (6, 3, 10, '2024-03-01', '', false);
SELECT is((SELECT count(*) FROM loyalty.lot WHERE source_key IN ('5', '6')), 0::bigint, 'no member or condition not true: sold, no lot');
SELECT throws_ok('SELECT * FROM loyalty.balance(3, ''p'')', 'LY002', NULL, 'and nobody is enrolled by it');
UPDATE shop.sale SET paid = true WHERE id = 6;
SELECT is(pg_temp.earned('6'), 10::numeric, 'condition true at last: the award comes then');
UPDATE shop.sale SET paid = false WHERE id = 6;
SELECT is(pg_temp.has(3), 0::numeric, 'condition no longer true: taken back');
UPDATE loyalty.rule SET points = 'earn.amount * 3' WHERE name = 'base';
UPDATE shop.sale SET paid = true WHERE id = 6;
SELECT is(pg_temp.earned('6'), 10::numeric, 'true again: its own award comes back, no rule is evaluated');
DELETE FROM shop.sale WHERE id = 6;
INSERT INTO shop.sale VALUES (6, 3, 10, '2024-03-01');
SELECT is(pg_temp.earned('6'), 10::numeric, 'the same key again later: the same');
UPDATE loyalty.rule SET points = 'earn.amount' WHERE name = 'base';

-- partial returns are path-independent
INSERT INTO shop.sale VALUES (7, 4, 9.99, '2024-03-01', 'bonus'), (8, 4, 9.99, '2024-03-01', 'bonus');
UPDATE shop.sale SET total = 7.50 WHERE id = 7;
UPDATE shop.sale SET total = 3.33 WHERE id = 7;
UPDATE shop.sale SET total = 3.33 WHERE id = 8;
SELECT is((SELECT remaining FROM loyalty.lot WHERE source_key = '7'), (SELECT remaining FROM loyalty.lot WHERE source_key = '8'), 'two partial returns end where one would');
SELECT is((SELECT remaining / 10000 FROM loyalty.lot WHERE source_key = '8'), 3::bigint, 'kept(K) = round(U × K / A): 11.988 × 3.33 / 9.99 = 3.996, down');
UPDATE shop.sale SET total = 9.99 WHERE id = 7;
SELECT is(pg_temp.earned('7'), 11::numeric, 'up again: given back by the same formula');
UPDATE shop.sale SET total = 19.99 WHERE id = 7;
SELECT is(pg_temp.earned('7'), 11::numeric + 12, 'above: what each rule gives beyond what is stored, as a further part');

-- changes hands
UPDATE shop.sale SET who = 5 WHERE id = 8;
SELECT is((SELECT kept_amount FROM loyalty.lot WHERE source_key = '8' AND member_id = 4), 0::numeric, 'another member: returned there');
SELECT is((SELECT sum(points) / 10000 FROM loyalty.lot WHERE source_key = '8' AND member_id = 5)::numeric::int, 3, 'awarded here, for what the row now says');

-- expiry, to the microsecond, with no job running
INSERT INTO shop.sale VALUES (9, 6, 100, '2024-01-31 10:00');
SELECT is((SELECT expires_at FROM loyalty.award('shop.sale', '9') WHERE rule = 'base'), timestamptz '2025-01-31 10:00', '12 months later is the same wall time');
SELECT is(pg_temp.has(6, '2025-01-31 09:59:59.999999'), 100::numeric, 'alive 1 µs before');
SELECT is(pg_temp.has(6, '2025-01-31 10:00'), 0::numeric, 'dead at the instant');
SET LOCAL loyalty.now = '2025-01-31 10:00';
SELECT throws_ok('SELECT * FROM loyalty.redeem(6, points => 1, program => ''p'')', 'LY001', NULL, 'what has expired cannot be spent');
SET LOCAL loyalty.now = '2025-01-31 09:59:59.999999';
SELECT throws_ok('SELECT * FROM loyalty.redeem(4, points => 0.5, program => ''p'')', 'LY017', NULL, 'half a point is no amount of a program without decimals');
RESET loyalty.now;

-- tiers
INSERT INTO shop.sale VALUES (20, 7, 500, '2024-06-01'), (21, 7, 100, '2024-06-02');
SELECT is(pg_temp.earned('20'), 500::numeric, 'the row that reaches a tier does not itself earn at it');
SELECT is(pg_temp.earned('21'), 125::numeric, 'the next one does');
SELECT is(pg_temp.tier(7, '2025-12-31 23:59:59.999999'), 'gold', 'held until 12 months after the end of the year in which it was reached');
SELECT is(pg_temp.tier(7, '2026-01-01'), 'green', 'and then requalified by the last full year, at the instant');
UPDATE shop.sale SET total = 100 WHERE id = 20;
SELECT is((SELECT spend FROM loyalty.account WHERE member_id = 7), 0::numeric, 'a return counts in the period of its purchase, not in this one');
INSERT INTO shop.sale VALUES (22, 8, 500, now()), (23, 8, 10, now());
SELECT is(pg_temp.tier(8, NULL), 'gold', 'promotion at once');
DELETE FROM shop.sale WHERE id = 22;
SELECT is(pg_temp.tier(8, NULL), 'green', 'returned: the tier falls at once (on_return fall)');

SELECT is_empty('SELECT * FROM loyalty.verify()', 'every invariant of the ledger holds');
SELECT * FROM finish();
ROLLBACK;
