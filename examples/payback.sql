-- A coalition as Payback is one, Germany, 2021: partners with rates of their own, one balance; a point is worth a cent and can be spent from 200 on;
-- points die 36 months later, on the next 30 September; a coupon counts once, when it was activated.  Partners pay the operator for the points that
-- they give, and are paid for those that are spent with them (these prices are invented).
BEGIN;
CREATE SCHEMA payback;
CREATE TABLE payback.groceries (id bigint PRIMARY KEY, card text NOT NULL, total numeric(10,2) NOT NULL, bought_at timestamptz NOT NULL);
CREATE TABLE payback.drugstore (id bigint PRIMARY KEY, card text NOT NULL, total numeric(10,2) NOT NULL, bought_at timestamptz NOT NULL, points_paid integer);
CREATE TABLE payback.fuel (id bigint PRIMARY KEY, card text NOT NULL, litres numeric(8,2) NOT NULL, total numeric(10,2) NOT NULL, bought_at timestamptz NOT NULL);

INSERT INTO loyalty.program (name, timezone, expiry, money, point_value, sandbox)
VALUES ('payback', 'Europe/Berlin', '36 months, every 30 september', 'EUR', 0.01, true);
INSERT INTO loyalty.partner (program, name, issue_price, burn_price, currency) VALUES
 ('payback', 'rewe', 0.011, 0.01, 'EUR'), ('payback', 'dm', 0.011, 0.01, 'EUR'), ('payback', 'aral', 0.012, 0.01, 'EUR');
SELECT loyalty.attach('payback.groceries', program => 'payback', partner => 'rewe',
         member => 'card', amount => 'total', occurred_at => 'bought_at') IS NOT NULL AS rewe,
       loyalty.attach('payback.drugstore', program => 'payback', partner => 'dm', points_spent => 'points_paid',
         member => 'card', amount => 'total', occurred_at => 'bought_at') IS NOT NULL AS dm,
       loyalty.attach('payback.fuel', program => 'payback', partner => 'aral',
         member => 'card', amount => 'total', occurred_at => 'bought_at') IS NOT NULL AS aral;
UPDATE loyalty.source SET spend_minimum = 200 WHERE program = 'payback' AND name = 'drugstore';
INSERT INTO loyalty.segment (program, name, condition) VALUES ('payback', 'everybody', 'true');
INSERT INTO loyalty.offer (program, name, title, segment, starts_at, ends_at)
VALUES ('payback', 'tenfold', 'Ten times the points at dm', 'everybody', '2021-10-01 00:00 Europe/Berlin', '2021-11-01 00:00 Europe/Berlin');
INSERT INTO loyalty.rule (program, source, name, kind, points, offer) VALUES
 ('payback', 'groceries', 'one for two euros', 'base', $$earn.amount * loyalty.earn_rate '1 per full 2'$$, NULL),
 ('payback', 'drugstore', 'one for a euro', 'base', $$earn.amount * loyalty.earn_rate '1 per full 1'$$, NULL),
 ('payback', 'drugstore', 'coupon tenfold', 'bonus', $$earn.base * 9$$, 'tenfold'),
 ('payback', 'fuel', 'one for a litre', 'base', $$floor(litres)$$, NULL);
INSERT INTO loyalty.reward (program, name, kind, cost, value, partner) VALUES ('payback', 'fuel voucher', 'partner_voucher', 500, 5, 'aral');

SET LOCAL timezone = 'Europe/Berlin';
SET LOCAL datestyle = 'ISO, YMD';
-- 45.90 are 22 points; 30.49 with the coupon 30 and 270, without it 30; 40.5 litres 40.  The last day of September counts to 2024, the day after to 2025
SET LOCAL loyalty.now = '2021-10-02 12:00';
INSERT INTO payback.groceries VALUES (1, '3084 1', 45.90, '2021-09-30 19:00'), (2, '3084 2', 10.00, '2021-09-30 23:59:59.999999'), (3, '3084 2', 10.00, '2021-10-01 00:00');
SET LOCAL loyalty.now = '2021-10-03 12:00';
SELECT loyalty.activate_offer(loyalty.member_id('3084 1', 'payback'), 'tenfold', 'payback') AS activated;
SET LOCAL loyalty.now = '2021-10-04 12:00';
INSERT INTO payback.drugstore VALUES (1, '3084 1', 30.49, '2021-10-04 10:00'), (2, '3084 2', 30.49, '2021-10-04 10:00');
INSERT INTO payback.fuel VALUES (1, '3084 1', 40.50, 68.81, '2021-10-04 11:00');
SELECT external_id AS card, what, points, last_day FROM loyalty.statement JOIN loyalty.member_balance b USING (member_id, program) WHERE program = 'payback' ORDER BY 1, entry_no;
SELECT at::timestamptz, b.available FROM unnest('{2024-09-30 23:59:59.999999,2024-10-01 00:00,2025-09-30 23:59:59.999999,2025-10-01 00:00}'::text[]) at,
  LATERAL loyalty.balance(loyalty.member_id('3084 2', 'payback'), 'payback', at::timestamptz) b;

-- 25 euros at dm, 2 of them paid with 200 points: the 22 that die first, 178 of dm's; half of it goes back, and so do half of the points, and 13 of the 25
INSERT INTO payback.drugstore VALUES (3, '3084 1', 25.00, '2021-10-04 11:30', 200);
SET LOCAL loyalty.now = '2021-10-20 12:00';
UPDATE payback.drugstore SET total = 12.50 WHERE id = 3;
SELECT available, next_expiry_at, next_expiry_points FROM loyalty.balance(loyalty.member_id('3084 1', 'payback'), 'payback');
SELECT reward, why_not FROM loyalty.rewards_for(loyalty.member_id('3084 1', 'payback'), 'payback');

-- whose points were spent with whom; what partners pay and get: 32 points at 0.011, 355 less 13 at 0.011 less 100 at 0.01, 40 at 0.012
SELECT month, issuer, burner, points FROM loyalty.partner_flow WHERE program = 'payback' ORDER BY month, issuer, burner;
SELECT month, partner, issued_points, clawed_back_points, issued_money, burnt_points, reversed_points, burnt_money, net_money
FROM loyalty.partner_settlement WHERE program = 'payback' ORDER BY month, partner;
SELECT count(*) AS violated FROM loyalty.verify();
ROLLBACK;
