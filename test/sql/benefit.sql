-- Benefits: who has what at which instant, limited ones, and a policy that asks.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA benefit_test;
SET LOCAL search_path = benefit_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('b', 'Europe/Istanbul', true), ('other', 'UTC', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('b', 'green', 0, 0), ('b', 'silver', 1, 100), ('b', 'gold', 2, 500), ('b', 'black', 3, 2000);
UPDATE loyalty.program SET downgrade = 'one_level' WHERE name = 'b';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => 'b', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('b', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('b', 'big', 'account.spend >= 1000');
INSERT INTO loyalty.benefit (program, name, kind, tier, value, quantity, starts_at, ends_at) VALUES
 ('b', 'app', 'access', NULL, NULL, NULL, '-infinity', 'infinity'),
 ('b', 'free shipping', 'shipping', 'silver', 'standard', NULL, '-infinity', 'infinity'),
 ('b', 'lounge', 'lounge', 'gold', NULL, 2, '-infinity', 'infinity'),
 ('b', 'summer', 'access', 'silver', NULL, NULL, '2024-06-01 00:00+03', '2024-09-01 00:00+03');
INSERT INTO loyalty.benefit (program, name, kind, tier, segment) VALUES ('b', 'concierge', 'service', 'silver', 'big');
INSERT INTO loyalty.benefit (program, name, kind, tier, plan) VALUES ('b', 'returns', 'service', 'black', 'prime'), ('b', 'only plan', 'service', NULL, 'prime');
INSERT INTO loyalty.benefit_level (program, benefit, tier, value, quantity) VALUES ('b', 'free shipping', 'black', 'express', NULL), ('b', 'lounge', 'black', 'with a guest', 5);
-- refused
\set VERBOSITY terse
INSERT INTO loyalty.benefit (program, name, tier) VALUES ('b', 'no', 'purple');
INSERT INTO loyalty.benefit (program, name, quantity) VALUES ('b', 'no', 0);
INSERT INTO loyalty.benefit (program, name, quantity_period) VALUES ('b', 'no', 'a while');
INSERT INTO loyalty.benefit (program, name, starts_at, ends_at) VALUES ('b', 'no', '2024-01-01', '2023-01-01');
INSERT INTO loyalty.benefit (program, name) VALUES ('nowhere', 'no');
\set VERBOSITY default

SET loyalty.now = '2024-05-01 12:00+00';
INSERT INTO sale VALUES (1, 1, 600, '2024-05-01 12:00+00'), (2, 2, 50, '2024-05-01 12:00+00'), (3, 3, 2500, '2024-05-01 12:00+00');
SELECT benefit, kind, value, because, since, until, quantity, used, left_over, period_end FROM loyalty.member_benefits(1);
SELECT benefit, because, since, until FROM loyalty.member_benefits(2);
SELECT benefit, value, because, since, until, quantity, left_over FROM loyalty.member_benefits(3, program => 'b');
SELECT * FROM loyalty.member_benefits(4);
SELECT * FROM loyalty.member_benefits(1, program => 'other');
SELECT * FROM loyalty.member_benefits(1, program => 'nowhere');
-- exact at every instant: before the membership, before and after each change to come
SELECT m, t, string_agg(b.benefit || ' (' || b.because || ')', ', ' ORDER BY b.benefit) AS benefits
FROM (VALUES (1, '2024-05-01 11:59:59.999999+00'::timestamptz), (1, '2024-05-01 12:00+00'), (1, '2024-05-31 20:59:59.999999+00'), (1, '2024-05-31 21:00+00'),
  (1, '2024-08-31 21:00+00'), (1, '2025-12-31 20:59:59.999999+00'), (1, '2025-12-31 21:00+00'), (1, '2026-12-31 21:00+00'), (3, '2025-12-31 21:00+00')) v (m, t)
LEFT JOIN LATERAL loyalty.member_benefits(m, t) b ON true GROUP BY m, t ORDER BY m, t;
-- the same when it is past, written down
SET loyalty.now = '2028-01-01';
SELECT count(*) FROM loyalty.settle_batch(0, 0, 1000);
SELECT m, t, string_agg(b.benefit || ' (' || b.because || ')', ', ' ORDER BY b.benefit) AS benefits, min(b.since) AS since, min(b.until) AS until
FROM (VALUES (1, '2024-05-01 11:59:59.999999+00'::timestamptz), (1, '2024-05-01 12:00+00'), (1, '2024-05-31 21:00+00'), (1, '2024-08-31 21:00+00'),
  (1, '2025-12-31 20:59:59.999999+00'), (1, '2025-12-31 21:00+00'), (1, '2026-12-31 21:00+00'), (3, '2025-12-31 21:00+00')) v (m, t)
LEFT JOIN LATERAL loyalty.member_benefits(m, t) b ON b.benefit <> 'concierge' GROUP BY m, t ORDER BY m, t;
SELECT loyalty.has_benefit(1, 'lounge', 'b'), loyalty.has_benefit(1, 'lounge', 'b', '2025-12-31 20:59:59.999999+00'), loyalty.has_benefit(1, 'lounge', 'b', '2025-12-31 21:00+00'),
  loyalty.has_benefit(1, 'lounge', 'b', '2000-01-01'), loyalty.has_benefit(99, 'app', 'b'), loyalty.has_benefit(99, 'lounge');
SELECT loyalty.has_benefit(1, 'sauna', 'b');
-- a tier by hand, and one that is taken back with the purchase
SET loyalty.now = '2028-02-01';
SELECT tier FROM loyalty.grant_tier(2, 'gold', 'b', '2028-03-01');
SELECT benefit, because, since, until FROM loyalty.member_benefits(2);
INSERT INTO sale VALUES (4, 1, 700, '2028-02-01');
SELECT loyalty.has_benefit(1, 'lounge', 'b');
DELETE FROM sale WHERE id = 4;
SELECT loyalty.has_benefit(1, 'lounge', 'b');

-- ---- limited: 2 a year for gold, 5 for black
SET loyalty.now = '2028-02-02';
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 1', reason => 'IST');
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 1', reason => 'IST');
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 1', reason => 'ESB');
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 2', quantity => 2);
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 2');
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 3');
-- what was used as gold counts as black
INSERT INTO sale VALUES (5, 2, 2000, '2028-02-02');
SELECT quantity, used, left_over, value FROM loyalty.member_benefits(2) WHERE benefit = 'lounge';
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 3', quantity => 3);
-- cancelled: free again
SELECT u.use_id AS third FROM loyalty.benefit_use u WHERE u.member_id = 2 AND u.key = 'visit 3' \gset
SELECT * FROM loyalty.cancel_use(2, :third, 'closed', 'cancel 3');
SELECT * FROM loyalty.cancel_use(2, :third, 'closed', 'cancel 3');
\set VERBOSITY sqlstate
SELECT * FROM loyalty.cancel_use(2, :third);
SELECT * FROM loyalty.cancel_use(1, :third);
\set VERBOSITY default
-- a new year, in the program's zone
SET loyalty.now = '2028-12-31 20:59:59.999999+00';
SELECT used, left_over FROM loyalty.member_benefits(2) WHERE benefit = 'lounge';
SET loyalty.now = '2028-12-31 21:00+00';
SELECT used, left_over FROM loyalty.use_benefit(2, 'lounge', 'b', 'visit 1 of 2029');
-- without limit it is noted all the same
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'free shipping', 'b');
-- refused: who has it not, is not there, is blocked
SELECT * FROM loyalty.use_benefit(1, 'lounge', 'b');
SELECT * FROM loyalty.use_benefit(99, 'lounge', 'b');
SELECT * FROM loyalty.use_benefit(NULL, 'lounge', 'b');
SELECT * FROM loyalty.use_benefit(2, 'lounge', 'b', quantity => 0);
SELECT loyalty.set_status(2, 'blocked', 'b', 'checking');
SELECT * FROM loyalty.use_benefit(2, 'lounge', 'b');
SELECT loyalty.set_status(2, 'active', 'b', 'checked');
SELECT * FROM loyalty.benefit_performance WHERE program = 'b' ORDER BY benefit;
DELETE FROM loyalty.benefit_level WHERE benefit = 'free shipping';
DELETE FROM loyalty.benefit WHERE name = 'free shipping';
DELETE FROM loyalty.benefit WHERE name = 'app';
DELETE FROM loyalty.tier WHERE program = 'b' AND name = 'gold';
UPDATE loyalty.benefit SET enabled = false WHERE name = 'lounge';
SELECT loyalty.has_benefit(2, 'lounge', 'b');

SAVEPOINT rolling;
-- ---- a rolling period: each use leaves it a month later, of January all leave on the last of February
INSERT INTO loyalty.benefit (program, name, kind, quantity, quantity_period) VALUES ('b', 'spa', 'access', 2, 'rolling 1 month');
SET loyalty.now = '2029-01-29 10:00+00';
SELECT used, left_over, period_end FROM loyalty.member_benefits(2) WHERE benefit = 'spa';
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'spa', 'b');
SET loyalty.now = '2029-01-31 09:00+00';
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'spa', 'b', 'second');
SET loyalty.now = '2029-02-28 08:59:59.999999+00';
SELECT * FROM loyalty.use_benefit(2, 'spa', 'b');
SET loyalty.now = '2029-02-28 09:00+00';
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'spa', 'b');
SET loyalty.now = '2029-02-28 10:00+00';
SELECT used, left_over, period_end FROM loyalty.member_benefits(2) WHERE benefit = 'spa';
SELECT used, left_over, period_end FROM loyalty.use_benefit(2, 'spa', 'b', 'second');
ROLLBACK TO rolling;
-- who becomes one member has used both
UPDATE loyalty.benefit SET enabled = true WHERE name = 'lounge';
SELECT tier FROM loyalty.merge_members(2, 3, 'the same') WHERE program = 'b';
SELECT used FROM loyalty.member_benefits(2) WHERE benefit = 'lounge';

-- ---- early access: a policy that asks once a query, for an application that may not read the ledger
CREATE TABLE product (name text, public_from timestamptz, early_from timestamptz);
INSERT INTO product VALUES ('bag', '2029-02-01', '2029-01-01'), ('hat', '2028-12-01', '2028-12-01'), ('coat', '2029-05-01', '2029-04-01');
ALTER TABLE product ENABLE ROW LEVEL SECURITY;
CREATE POLICY on_sale ON product USING (public_from <= loyalty.instant()
  OR early_from <= loyalty.instant() AND (SELECT loyalty.has_benefit(current_setting('shop.member')::bigint, 'free shipping', 'b')));
CREATE ROLE benefit_shop;
GRANT USAGE ON SCHEMA benefit_test TO benefit_shop;
GRANT SELECT ON product TO benefit_shop;
SELECT loyalty.grant_access('benefit_shop', 'app');
SET ROLE benefit_shop;
SET loyalty.now = '2029-01-15';
SET shop.member = '3';
SELECT name FROM product ORDER BY name;
SET shop.member = '1';
SELECT name FROM product ORDER BY name;
SELECT count(*) FROM loyalty.benefit_use;
SELECT benefit FROM loyalty.member_benefits(3) ORDER BY 1;
SELECT used FROM loyalty.use_benefit(3, 'lounge', 'b', 'by the shop');
RESET ROLE;
SELECT set_role FROM loyalty.benefit_use WHERE key = 'by the shop';
-- in a rule
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('b', 'sale', 'lounge extra', 'bonus', '7', $$loyalty.has_benefit(member.member_id, 'lounge', 'b', earn.occurred_at)$$);
INSERT INTO sale VALUES (6, 3, 1, '2029-01-15'), (7, 1, 1, '2029-01-15');
SELECT source_key, rule, points FROM loyalty.award_share WHERE program = 'b' AND source_key IN ('6', '7') ORDER BY 1, 2;
-- a plan gives it, too, from its start to its end
INSERT INTO loyalty.plan (program, name, fee, period, renewal) VALUES ('b', 'prime', 10, '1 year', 'none');
SELECT count(*) FROM loyalty.subscribe(1, 'prime', program => 'b');
SELECT t, string_agg(b.benefit || ' (' || b.because || ')', ', ' ORDER BY b.benefit) AS benefits
FROM unnest('{2029-01-14 23:59:59.999999+00,2029-01-15 00:00+00,2030-01-14 23:59:59.999999+00,2030-01-15 00:00+00}'::timestamptz[]) t
LEFT JOIN LATERAL loyalty.member_benefits(1, t) b ON true GROUP BY t ORDER BY t;
SELECT loyalty.has_benefit(1, 'only plan', 'b'), loyalty.has_benefit(3, 'only plan', 'b'), loyalty.has_benefit(3, 'returns', 'b');
SELECT * FROM loyalty.verify();
ROLLBACK;
