-- Paid membership: what a plan gives and when, what is paid, refunded and earned, to the cent and the microsecond.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA plan_test;
SET LOCAL search_path = plan_test;
SET LOCAL TimeZone = 'UTC';
ALTER SEQUENCE loyalty.subscription_subscription_id_seq RESTART WITH 1;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, sandbox, expiry, money) VALUES ('club', true, '12 months', 'EUR');
INSERT INTO loyalty.program (name, sandbox, timezone, enrollment) VALUES ('berlin', true, 'Europe/Berlin', 'explicit');
INSERT INTO loyalty.plan (program, name, fee, period, earn_bonus) VALUES ('club', 'prime', 9.99, '1 month', 0.5);
-- a source that comes after the plan has its rule, too
SELECT loyalty.attach('sale', program => 'club', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('club', 'sale', 'one for one', 'earn.amount');
INSERT INTO loyalty.plan (program, name, fee, period, trial, grace, earn_bonus, points_a_month) VALUES
  ('club', 'gold', 120, '1 year', '0', '10 days', 1, 100), ('club', 'try', 5, '1 month', '14 days', '3 days', 0, 10);
INSERT INTO loyalty.plan (program, name, fee, period, renewal, pro_rata, points_a_month, points_expiry) VALUES
  ('club', 'days', 30, '30 days', 'none', 'days', 0, NULL), ('berlin', 'monthly', 10, '1 month', 'auto', 'time', 50, '1 months, end of month');
SELECT name, points, replace(condition, n.id::text, 'ID') AS condition, enabled FROM loyalty.rule r JOIN (SELECT id, name AS plan FROM loyalty.plan) n
  ON r.condition LIKE '% ' || n.id || ', %' WHERE program = 'club' ORDER BY name;

-- what a member has at an instant, a month's points apart
CREATE FUNCTION has(who bigint, plan text, program text, VARIADIC instants timestamptz[]) RETURNS TABLE (at timestamptz, has boolean) LANGUAGE sql AS $$
  SELECT i, loyalty.has_plan(who, plan, i, program) FROM unnest(instants) i $$;

-- prime from 1 April on, one month paid
SET LOCAL loyalty.now = '2025-04-01 00:00+00';
SELECT subscription_id AS prime, plan, state, started_at, trial_until, paid_until, ends_at, amount, points FROM loyalty.subscribe(1, 'prime', program => 'club', key => 's1') \gset
SELECT :'plan' AS plan, :'state' AS state, :'started_at' AS started_at, :'paid_until' AS paid_until, :'ends_at' AS ends_at, :'amount' AS amount, :'points' AS points;
-- the same call again: the same answer, once; other arguments are another call
SELECT subscription_id = :prime AS same, paid_until, amount FROM loyalty.subscribe(1, 'prime', program => 'club', key => 's1');
SELECT * FROM loyalty.subscribe(1, 'gold', program => 'club', key => 's1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.adjust(1, 5, 'x', 'club', 's1');
SELECT count(*) AS payments, sum(amount) AS paid FROM loyalty.plan_payment WHERE member_id = 1;
-- and one plan is had once
SELECT * FROM loyalty.subscribe(1, 'prime', program => 'club', key => 's2');
\echo :LAST_ERROR_SQLSTATE
-- it begins and ends at its instants
SELECT * FROM has(1, 'prime', 'club', '2025-03-31 23:59:59.999999+00', '2025-04-01 00:00+00', '2025-04-30 23:59:59.999999+00', '2025-05-01 00:00+00');
SELECT has_plan AS in_any_program, loyalty.has_plan(2, 'prime') AS somebody_else FROM loyalty.has_plan(1, 'prime');

-- the bonus in the sale, by the purchase's own time
SET LOCAL loyalty.now = '2025-04-10 00:00+00';
INSERT INTO sale VALUES (1, 1, 100, '2025-04-10 00:00+00'), (2, 2, 100, '2025-04-10 00:00+00'), (3, 1, 100, '2025-03-31 23:59:59.999999+00');
SELECT key, rule, points FROM unnest('{1,2,3}'::text[]) key, loyalty.award('sale', key) ORDER BY key, rule;
SET LOCAL loyalty.now = '2025-05-01 00:00+00';
INSERT INTO sale VALUES (4, 1, 100, '2025-04-30 23:59:59.999999+00'), (5, 1, 100, '2025-05-01 00:00+00');
SELECT key, rule, points FROM unnest('{4,5}'::text[]) key, loyalty.award('sale', key) ORDER BY key, rule;
-- not paid: lapsed, exactly then
SELECT state, next_payment_at, paid FROM loyalty.subscription_status WHERE member_id = 1;
SELECT * FROM loyalty.renew(1, :prime);
\echo :LAST_ERROR_SQLSTATE
SET LOCAL loyalty.now = '2025-04-30 23:59:59.999999+00';
SELECT state, next_payment_at, next_payment, paid FROM loyalty.subscription_status WHERE member_id = 1;

-- cancelled in the middle of a month: pro rata to the cent (9.99 * 15 / 30 = 4.995)
SET LOCAL loyalty.now = '2025-06-01 00:00+00';
SELECT subscription_id AS prime FROM loyalty.subscribe(1, 'prime', program => 'club') \gset
SET LOCAL loyalty.now = '2025-06-16 00:00+00';
SELECT plan, state, paid_until, ends_at, refund, points FROM loyalty.cancel_subscription(1, :prime, 'pro_rata', key => 'c1', reason => 'moves away');
SELECT state, refund FROM loyalty.cancel_subscription(1, :prime, 'pro_rata', key => 'c1', reason => 'moves away');
SELECT state, refund FROM loyalty.cancel_subscription(1, :prime, 'full', key => 'c1', reason => 'moves away');
\echo :LAST_ERROR_SQLSTATE
SELECT state, refund FROM loyalty.cancel_subscription(1, :prime, 'pro_rata');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM has(1, 'prime', 'club', '2025-06-15 23:59:59.999999+00', '2025-06-16 00:00+00', '2025-06-20 00:00+00');
SELECT kind, amount, covers_from, covers_until, of_payment IS NOT NULL AS of_charge, by = session_user AS by_me FROM loyalty.plan_payment
WHERE member_id = 1 AND subscription_id = :prime ORDER BY payment_id;
SELECT action, at, paid_until, ends_at, reason, key, by = session_user AND set_role = current_user AS by_me FROM loyalty.subscription_event
WHERE member_id = 1 AND subscription_id = :prime ORDER BY event_id;
-- by time and by days, at odd times and over the change to summer time
SELECT loyalty.prorated(9.99, '2025-04-01', '2025-05-01', at, 'time', 'UTC', 2) AS by_time, loyalty.prorated(9.99, '2025-04-01', '2025-05-01', at, 'days', 'UTC', 2) AS by_days
FROM unnest('{2025-03-31,2025-04-01,2025-04-01 00:00:01,2025-04-16 12:00,2025-04-30 00:00,2025-04-30 23:59,2025-05-01}'::timestamptz[]) at;
SELECT loyalty.prorated(31, '2025-03-01 00:00 Europe/Berlin', '2025-04-01 00:00 Europe/Berlin', '2025-03-31 00:00 Europe/Berlin', w, 'Europe/Berlin', 2) AS one_day FROM unnest('{time,days}'::text[]) w;

-- a year with points a month: each month's at its first instant; 31 January, the last of February, 31 March
SET LOCAL loyalty.now = '2024-01-31 12:00+00';
SELECT subscription_id AS gold FROM loyalty.subscribe(3, 'gold', program => 'club', key => 'g') \gset
SELECT points / 10000 AS points, available_at, expires_at FROM loyalty.lot WHERE member_id = 3 ORDER BY available_at;
SELECT i.at, b.available, b.pending FROM unnest('{2024-02-29 11:59:59.999999+00,2024-02-29 12:00+00,2024-03-31 12:00+00,2024-12-31 12:00+00,2025-01-30 12:00+00,2025-01-31 12:00+00}'::timestamptz[]) i (at), loyalty.balance(3, 'club', i.at) b;
-- some of them get another life, two are spent; then it is cancelled: months that have begun stay, the others go
SELECT count(*) AS moved FROM loyalty.change_expiry(3, '2030-01-01 00:00+00', 'goodwill', program => 'club', lots => (SELECT array_agg(entry_no) FROM loyalty.lot WHERE member_id = 3 AND available_at > '2024-11-01 00:00+00'));
SET LOCAL loyalty.now = '2024-05-01 00:00+00';
SELECT points FROM loyalty.redeem(3, points => 150, program => 'club');
SET LOCAL loyalty.now = '2024-08-01 00:00+00';
SELECT state, ends_at, refund, points FROM loyalty.cancel_subscription(3, :gold, 'pro_rata');
SELECT available, pending FROM loyalty.balance(3, 'club');
SELECT kind, sum(points) AS points, what FROM loyalty.statement WHERE member_id = 3 GROUP BY kind, what ORDER BY kind, what;
-- all of it back: what is left of begun months goes, too
SET LOCAL loyalty.now = '2024-08-01 00:00+00';
SELECT subscription_id AS gold, points FROM loyalty.subscribe(4, 'gold', program => 'club') \gset
SELECT available, pending FROM loyalty.balance(4, 'club');
SELECT points FROM loyalty.redeem(4, points => 30, program => 'club');
SET LOCAL loyalty.now = '2024-08-02 00:00+00';
SELECT state, refund, points FROM loyalty.cancel_subscription(4, :gold, 'full');
SELECT available, pending FROM loyalty.balance(4, 'club');

-- trial, payment before it ends, grace, payment late, lapse
SET LOCAL loyalty.now = '2024-01-01 00:00+00';
SELECT subscription_id AS try, state, trial_until, paid_until, ends_at, amount, points FROM loyalty.subscribe(5, 'try', program => 'club') \gset
SELECT :'state' AS state, :'trial_until' AS trial_until, :'paid_until' AS paid_until, :'ends_at' AS ends_at, :'amount' AS amount, :'points' AS points;
SET LOCAL loyalty.now = '2024-01-10 00:00+00';
SELECT state, paid_until, ends_at, amount, points FROM loyalty.renew(5, :try, key => 'r1', reference => 'visa 1');
SELECT state, paid_until, ends_at, amount, points FROM loyalty.renew(5, :try, key => 'r1', reference => 'visa 1');
SELECT available, pending FROM loyalty.balance(5, 'club');
SET LOCAL loyalty.now = '2024-02-17 00:00+00';
SELECT state, next_payment_at, next_payment FROM loyalty.subscription_status WHERE member_id = 5;
SELECT state, paid_until, amount, points FROM loyalty.renew(5, :try, amount => 4.50);
SET LOCAL loyalty.now = '2024-03-18 00:00+00';
SELECT state, ends_at FROM loyalty.subscription_status WHERE member_id = 5;
SELECT loyalty.has_plan(5, 'try', '2024-03-17 23:59:59.999999+00', 'club') AS before, loyalty.has_plan(5, 'try', '2024-03-18 00:00+00', 'club') AS after;
-- a trial is had once; without it, it is paid at once
SELECT state FROM loyalty.subscribe(5, 'try', program => 'club', trial => true);
\echo :LAST_ERROR_SQLSTATE
SELECT state, paid_until, amount FROM loyalty.subscribe(5, 'try', program => 'club');
SELECT state, paid_until, amount FROM loyalty.subscribe(6, 'try', program => 'club', trial => false);

-- cancelled with what is paid for: it runs on, and a payment lets it go on
SET LOCAL loyalty.now = '2024-03-20 00:00+00';
SELECT subscription_id AS try FROM loyalty.subscription_status WHERE member_id = 6 \gset
SELECT state, ends_at, refund FROM loyalty.cancel_subscription(6, :try);
SELECT state FROM loyalty.cancel_subscription(6, :try);
\echo :LAST_ERROR_SQLSTATE
SELECT state, next_payment_at FROM loyalty.subscription_status WHERE member_id = 6;
SELECT state, paid_until, ends_at FROM loyalty.renew(6, :try);
-- and at a later instant, money back from there on
SELECT state, paid_until, ends_at, refund, points FROM loyalty.cancel_subscription(6, :try, 'pro_rata', at => '2024-04-18 00:00+00');
SELECT loyalty.has_plan(6, 'try', '2024-04-17 23:59:59.999999+00', 'club') AS before, loyalty.has_plan(6, 'try', '2024-04-18 00:00+00', 'club') AS after;
SELECT state, paid_until, ends_at, points FROM loyalty.renew(6, :try);
SELECT available, pending FROM loyalty.balance(6, 'club');
-- what went back before does not go back again
SELECT state, paid_until, refund, points FROM loyalty.cancel_subscription(6, :try, 'full', at => '2024-04-18 00:00+00');
SELECT amount, covers_from, covers_until FROM loyalty.plan_payment WHERE member_id = 6 ORDER BY payment_id;
SELECT available, pending FROM loyalty.balance(6, 'club');

-- another plan in its place: what is left of the money counts
SET LOCAL loyalty.now = '2024-01-01 00:00+00';
SELECT subscription_id AS prime FROM loyalty.subscribe(7, 'prime', program => 'club') \gset
SET LOCAL loyalty.now = '2024-01-11 00:00+00';
SELECT subscription_id AS gold, plan, state, paid_until, fee, credit, amount, points FROM loyalty.change_plan(7, :prime, 'gold', key => 'u1') \gset
SELECT :'plan' AS plan, :'state' AS state, :'paid_until' AS paid_until, :'fee' AS fee, :'credit' AS credit, :'amount' AS amount, :'points' AS points;
SELECT subscription_id = :gold AS same, amount FROM loyalty.change_plan(7, :prime, 'gold', key => 'u1');
SELECT plan, state, started_at, ends_at, paid, changed_from = :prime AS from_prime, changed_to = :gold AS to_gold FROM loyalty.subscription_status WHERE member_id = 7 ORDER BY subscription_id;
SELECT loyalty.has_plan(7, 'prime', i, 'club') AS prime, loyalty.has_plan(7, 'gold', i, 'club') AS gold FROM unnest('{2024-01-10 23:59:59.999999+00,2024-01-11 00:00+00}'::timestamptz[]) i;
SELECT state FROM loyalty.change_plan(7, :gold, 'gold');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.change_plan(7, :prime, 'days');
\echo :LAST_ERROR_SQLSTATE
-- money that is left over is to be paid back
SELECT fee, credit, amount, points FROM loyalty.change_plan(7, :gold, 'prime');

-- a plan that ends by itself, by days, with a life of its own for its points
SET LOCAL loyalty.now = '2024-02-01 09:30+00';
SELECT subscription_id AS days, paid_until, ends_at FROM loyalty.subscribe(8, 'days', program => 'club', amount => 25) \gset
SET LOCAL loyalty.now = '2024-02-11 09:31+00';
SELECT state, next_payment_at FROM loyalty.subscription_status WHERE member_id = 8;
SELECT refund FROM loyalty.cancel_subscription(8, :days, 'pro_rata');
SELECT state FROM loyalty.subscribe(9, 'monthly', program => 'berlin');
\echo :LAST_ERROR_SQLSTATE
SELECT tier FROM loyalty.enroll(9, 'berlin', '2024-01-01 00:00+00');
-- since an earlier instant: what would be dead already is not given
SELECT subscription_id AS monthly, state, started_at, paid_until, points FROM loyalty.subscribe(9, 'monthly', program => 'berlin', at => '2024-01-15 00:00 Europe/Berlin') \gset
SELECT state, paid_until, points FROM loyalty.renew(9, :monthly, at => '2024-02-14 00:00 Europe/Berlin');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.plan SET grace = '3 days' WHERE program = 'berlin' AND name = 'monthly';
SELECT paid_until AT TIME ZONE 'Europe/Berlin' AS paid_until, ends_at AT TIME ZONE 'Europe/Berlin' AS ends_at, points FROM loyalty.renew(9, :monthly, at => '2024-02-11 00:00 Europe/Berlin');
SELECT points / 10000 AS points, available_at AT TIME ZONE 'Europe/Berlin' AS available_at, expires_at AT TIME ZONE 'Europe/Berlin' AS expires_at FROM loyalty.lot WHERE member_id = 9 ORDER BY available_at;

-- money and members by month; what is earned follows time
SET LOCAL loyalty.now = '2025-07-01 00:00+00';
SELECT plan, month, started, renewals, cancellations, changes, charged, refunded, earned, deferred FROM loyalty.plan_revenue WHERE plan IN ('prime', 'try', 'monthly') ORDER BY plan, month;
SELECT month, charged, refunded, earned, deferred FROM loyalty.plan_revenue WHERE plan = 'gold' ORDER BY month;
SELECT sum(revenue) - sum(earned) - (SELECT sum(d.deferred) FROM (SELECT DISTINCT ON (plan) deferred FROM loyalty.plan_revenue WHERE program = 'club' ORDER BY plan, month DESC) d) AS difference FROM loyalty.plan_revenue WHERE program = 'club';
SELECT plan, month, active_at_start, joined, lost, active_at_end, churn FROM loyalty.plan_churn WHERE plan IN ('try', 'monthly') AND month < '2024-06-01' ORDER BY plan, month;
-- in the middle of a month
SET LOCAL loyalty.now = '2024-01-16 12:00+00';
SELECT month, charged, earned, deferred FROM loyalty.plan_revenue WHERE plan = 'try' ORDER BY month;
SELECT subscription_id IS NOT NULL AS there, state FROM loyalty.subscription_status WHERE member_id = 5;

-- two registrations of one person
SET LOCAL loyalty.now = '2025-07-01 00:00+00';
SELECT points FROM loyalty.subscribe(10, 'gold', program => 'club');
SELECT subscription_id AS gold FROM loyalty.subscription_status WHERE member_id = 10 \gset
INSERT INTO sale VALUES (10, 11, 7, '2025-07-01 00:00+00');
SELECT count(*) AS accounts FROM loyalty.merge_members(10, 11, 'the same');
SELECT loyalty.has_plan(10, 'gold') AS former, loyalty.has_plan(11, 'gold') AS now;
SELECT state, refund, points FROM loyalty.cancel_subscription(10, :gold, 'pro_rata', at => '2025-08-01 00:00+00');
SELECT available, pending FROM loyalty.balance(11, 'club');

-- configuration: rules follow, names may change, what is named stays
UPDATE loyalty.plan SET earn_bonus = 0.25, name = 'premium' WHERE program = 'club' AND name = 'prime';
UPDATE loyalty.plan SET earn_bonus = 0 WHERE program = 'club' AND name = 'gold';
UPDATE loyalty.program SET name = 'society' WHERE name = 'club';
SELECT program, name, points, enabled FROM loyalty.rule WHERE program = 'society' ORDER BY name;
SELECT program, name FROM loyalty.plan ORDER BY id;
DELETE FROM loyalty.plan WHERE name = 'gold';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.plan SET enabled = false WHERE name = 'gold';
SELECT state FROM loyalty.subscribe(12, 'gold', program => 'society');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.subscribe(12, 'nothing', program => 'society');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.plan (program, name, fee) VALUES ('society', 'bad', 1.001);
INSERT INTO loyalty.plan (program, name, fee) VALUES ('society', 'bad', 'NaN');
INSERT INTO loyalty.plan (program, name, fee, period) VALUES ('society', 'bad', 1, '1 month 3 days');
INSERT INTO loyalty.plan (program, name, fee, period) VALUES ('society', 'bad', 1, '5 hours');
INSERT INTO loyalty.plan (program, name, fee, period) VALUES ('society', 'bad', 1, '0');
INSERT INTO loyalty.plan (program, name, fee, points_a_month) VALUES ('society', 'bad', 1, 0.5);
INSERT INTO loyalty.plan (program, name, fee, points_expiry) VALUES ('society', 'bad', 1, '6 months inactive');
INSERT INTO loyalty.plan (program, name, fee, grace, renewal) VALUES ('society', 'bad', 1, '1 day', 'none');
SELECT loyalty.subscribe(12, 'premium', program => 'society', amount => -1);
SELECT loyalty.subscribe(12, 'premium', program => 'society', at => '2025-07-02 00:00+00');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.subscribe(NULL, 'premium', program => 'society');
SELECT loyalty.renew(12, 4711);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.block(2, 'society', 'fraud');
SELECT loyalty.subscribe(2, 'premium', program => 'society');
\echo :LAST_ERROR_SQLSTATE

-- an application: calls and no rights on tables
CREATE ROLE plan_app;
SELECT loyalty.grant_access('plan_app', 'app');
SET ROLE plan_app;
SELECT plan, state, amount FROM loyalty.subscribe(13, 'premium', program => 'society');
SELECT plan, state FROM loyalty.subscription_status WHERE member_id = 13;
INSERT INTO loyalty.subscription (member_id, program_id, plan_id, started_at, paid_from, period, periods, paid_until, ends_at) VALUES (13, 1, 1, now(), now(), '1 day', 0, now(), now());
RESET ROLE;
SELECT set_role, by = session_user AS by_me FROM loyalty.subscription_event WHERE member_id = 13;
SELECT * FROM loyalty.verify();
ROLLBACK;
