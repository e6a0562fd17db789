-- The tier of a plan: as long as it lasts, by figures before and after.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA plan_test;
SET LOCAL search_path = plan_test;
SET LOCAL TimeZone = 'UTC';
ALTER SEQUENCE loyalty.subscription_subscription_id_seq RESTART WITH 1;
INSERT INTO loyalty.program (name, sandbox, tier_period, tier_validity) VALUES ('ladder', true, 'calendar year', '12 months');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('ladder', 'blue', 0, 0), ('ladder', 'silver', 1, 100), ('ladder', 'gold', 2, 500), ('ladder', 'black', 3, NULL);
INSERT INTO loyalty.plan (program, name, fee, tier, grace) VALUES ('ladder', 'silver club', 10, 'silver', '2 days'), ('ladder', 'gold club', 25, 'gold', '0');
CREATE TABLE buy (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('buy', program => 'ladder', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('ladder', 'buy', 'gold earns', '7', $$account.tier = 'gold'$$);
SET LOCAL loyalty.now = '2024-01-01 00:00+00';
SELECT subscription_id AS club FROM loyalty.subscribe(20, 'gold club', program => 'ladder') \gset
SELECT i AS at, b.tier FROM unnest('{2023-12-31 23:59:59+00,2024-01-01 00:00+00,2024-01-31 23:59:59.999999+00,2024-02-01 00:00+00}'::timestamptz[]) i, loyalty.balance(20, 'ladder', i) b;
SET LOCAL loyalty.now = '2024-01-31 23:59:59.999999+00';
INSERT INTO buy VALUES (1, 20, 1, '2024-01-31 23:59:59.999999+00');
SELECT available FROM loyalty.balance(20, 'ladder');
SELECT paid_until FROM loyalty.renew(20, :club);
SELECT tier FROM loyalty.balance(20, 'ladder', '2024-02-29 23:59:59.999999+00');
SELECT tier FROM loyalty.balance(20, 'ladder', '2024-03-01 00:00+00');
-- two tiers by two plans at once are refused; one takes the other's place
SELECT state FROM loyalty.subscribe(20, 'silver club', program => 'ladder');
\echo :LAST_ERROR_SQLSTATE
SET LOCAL loyalty.now = '2024-02-10 00:00+00';
SELECT subscription_id AS club, ends_at FROM loyalty.change_plan(20, :club, 'silver club') \gset
SELECT :'ends_at' AS ends_at;
SELECT i AS at, b.tier FROM unnest('{2024-02-09 23:59:59.999999+00,2024-02-10 00:00+00,2024-03-11 23:59:59.999999+00,2024-03-12 00:00+00}'::timestamptz[]) i, loyalty.balance(20, 'ladder', i) b;
INSERT INTO buy VALUES (2, 20, 1, '2024-02-10 00:00+00');
SELECT available FROM loyalty.balance(20, 'ladder');
-- cancelled: gone at that instant; what figures have given meanwhile stays
SELECT state FROM loyalty.cancel_subscription(20, :club, 'pro_rata');
SELECT tier FROM loyalty.balance(20, 'ladder');
SELECT subscription_id AS club FROM loyalty.subscribe(20, 'silver club', program => 'ladder') \gset
INSERT INTO buy VALUES (3, 20, 150, '2024-02-10 00:00+00');
SELECT state FROM loyalty.cancel_subscription(20, :club, 'full');
SELECT tier FROM loyalty.balance(20, 'ladder');
-- a higher one that was granted by hand is not touched
SELECT tier FROM loyalty.grant_tier(21, 'black', 'ladder', '2025-01-01 00:00+00', 'invited');
SELECT subscription_id AS club FROM loyalty.subscribe(21, 'gold club', program => 'ladder') \gset
SELECT tier FROM loyalty.balance(21, 'ladder');
SELECT state FROM loyalty.cancel_subscription(21, :club, 'full');
SELECT tier FROM loyalty.balance(21, 'ladder');
SELECT action, reason, regexp_replace(key, '\d+', 'N', 'g') AS key FROM loyalty.intervention WHERE member_id IN (20, 21) AND action LIKE '% tier' ORDER BY member_id, entry_no;
INSERT INTO loyalty.plan (program, name, fee, tier) VALUES ('ladder', 'bad', 1, 'red');
SELECT * FROM loyalty.verify();
ROLLBACK;
