-- Costco Executive, United States, 2023: 120 dollars a year (Gold Star 60); two per cent of what is bought, but of fuel, tobacco and postage, at most
-- 1,000 dollars in a membership year; paid out once a year; whoever is not content has the whole fee back.
BEGIN;
CREATE SCHEMA costco;
CREATE TABLE costco.lines (
  receipt bigint,
  line_no integer,
  card bigint NOT NULL,
  department text NOT NULL,
  usd numeric(10,2) NOT NULL,
  bought_at timestamptz NOT NULL,
  PRIMARY KEY (receipt, line_no)
);

INSERT INTO loyalty.program (name, timezone, decimals, rounding, enrollment, money, point_value, tier_period, sandbox)
VALUES ('costco', 'America/Los_Angeles', 2, 'half_up', 'explicit', 'USD', 1, 'membership year', true);
SELECT loyalty.attach('costco.lines', program => 'costco',
         member => 'card', amount => 'usd', occurred_at => 'bought_at') IS NOT NULL AS attached;
INSERT INTO loyalty.plan (program, name, fee, period, grace) VALUES ('costco', 'gold star', 60, '1 year', '1 month'), ('costco', 'executive', 120, '1 year', '1 month');
INSERT INTO loyalty.rule (program, source, name, points, condition, cap, cap_period) VALUES
 ('costco', 'lines', 'two per cent', $$earn.amount * loyalty.earn_rate '2%'$$,
  $$department NOT IN ('fuel', 'tobacco', 'postage') AND loyalty.has_plan(member.member_id, 'executive', earn.occurred_at, 'costco')$$, 1000, 'membership year');
-- who is executive when it is paid out has it
INSERT INTO loyalty.segment (program, name, condition) VALUES ('costco', 'executives', $$loyalty.has_plan(member.member_id, 'executive', NULL, 'costco')$$);
INSERT INTO loyalty.reward (program, name, kind, cost, value, segment, validity)
VALUES ('costco', 'certificate', 'voucher', 0.01, 0.01, 'executives', '12 months');

SET LOCAL timezone = 'America/Los_Angeles';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2023-03-15 10:00';
SELECT member_id, enrolled_at FROM unnest('{1,2}'::bigint[]) m, LATERAL loyalty.enroll(m, 'costco');
SELECT plan, amount, paid_until FROM loyalty.subscribe(1, 'executive', 'costco', key => 'joins');
SELECT plan, amount, paid_until FROM loyalty.subscribe(2, 'gold star', 'costco', key => 'joins');

-- 1,234.56 are 24.69; fuel is nothing; of the 980 for 49,000 the cap leaves 975.31; 20,000 of it are returned: 577.22 stay, and there is room again
SET LOCAL loyalty.now = '2023-07-01 10:00';
INSERT INTO costco.lines VALUES (1, 1, 1, 'food', 1234.56, '2023-04-01 12:00'), (1, 2, 1, 'fuel', 80, '2023-04-01 12:05'), (2, 1, 1, 'jewelry', 49000, '2023-05-01 12:00');
SELECT l.receipt, a.points, a.wanted, a.limited_by FROM costco.lines l, LATERAL loyalty.award('costco.lines', l.receipt || ',' || l.line_no) a ORDER BY 1;
SELECT available FROM loyalty.balance(1, 'costco');
UPDATE costco.lines SET usd = 29000 WHERE receipt = 2;
INSERT INTO costco.lines VALUES (3, 1, 1, 'food', 500, '2023-07-01 09:00');
SELECT available FROM loyalty.balance(1, 'costco');

-- Gold Star earns nothing; from the upgrade in the middle of the year on two per cent, for 120 less the half that is left of 60
INSERT INTO costco.lines VALUES (4, 1, 2, 'food', 100, '2023-07-01 09:00');
SELECT * FROM loyalty.why_not('costco.lines', '4,1');
SET LOCAL loyalty.now = '2023-09-14 10:00';
SELECT plan, paid_until, fee, credit, amount FROM loyalty.change_plan(2, (SELECT subscription_id FROM loyalty.subscription_status WHERE member_id = 2 AND program = 'costco'), 'executive');
SET LOCAL loyalty.now = '2023-09-14 12:00';
INSERT INTO costco.lines VALUES (5, 1, 2, 'food', 100, '2023-09-14 09:59:59.999999'), (6, 1, 2, 'food', 100, '2023-09-14 10:00');
SELECT available FROM loyalty.balance(2, 'costco');

-- paid out at the renewal: 24.69 + 577.22 + 10.00; a membership year begins on its day, and the cap anew
SET LOCAL loyalty.now = '2024-03-15 09:00';
SELECT points, value, valid_until FROM loyalty.redeem(1, 'certificate', points => (SELECT available FROM loyalty.balance(1, 'costco')), program => 'costco', key => 'certificate 2024');
SELECT state, paid_until FROM loyalty.renew(1, (SELECT subscription_id FROM loyalty.subscription_status WHERE member_id = 1 AND program = 'costco'), key => 'renewal 2024');
INSERT INTO costco.lines VALUES (7, 1, 1, 'jewelry', 60000, '2024-03-15 09:00');
SELECT points, wanted, limited_by FROM loyalty.award('costco.lines', '7,1');

-- not content: the fee goes back, and what was not paid out cannot be had any more
SELECT state, refund FROM loyalty.cancel_subscription(2, (SELECT subscription_id FROM loyalty.subscription_status WHERE member_id = 2 AND program = 'costco' AND state = 'active'), 'full', reason => 'not content');
SELECT r.reward, r.why_not, b.available FROM loyalty.rewards_for(2, 'costco') r, loyalty.balance(2, 'costco') b;
SELECT sum(charged) AS charged, sum(refunded) AS refunded FROM loyalty.plan_revenue WHERE program = 'costco';
SELECT count(*) AS violated FROM loyalty.verify();
ROLLBACK;
