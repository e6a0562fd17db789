-- A cashback card as Chase Freedom Flex, 2024: one per cent on all purchases, and in the categories of the quarter, for who has activated them, five
-- on up to 1,500 dollars of the quarter; what is returned takes its cashback along, and leaves a debt where that was paid out.
BEGIN;
CREATE SCHEMA freedom;
CREATE TABLE freedom.charges (
  charge_id bigint PRIMARY KEY,
  card bigint NOT NULL,
  category text NOT NULL,
  usd numeric(10,2) NOT NULL,
  charged_at timestamptz NOT NULL,
  credit_of bigint
);

INSERT INTO loyalty.program (name, timezone, decimals, rounding, clawback, money, point_value, sandbox)
VALUES ('freedom', 'America/New_York', 2, 'half_up', 'debt', 'USD', 1, true);
SELECT loyalty.attach('freedom.charges', program => 'freedom',
         member => 'card', amount => 'usd', occurred_at => 'charged_at', refund_of => 'credit_of') IS NOT NULL AS attached;
INSERT INTO loyalty.segment (program, name, condition) VALUES ('freedom', 'everybody', 'true');
INSERT INTO loyalty.offer (program, name, title, segment, once, starts_at, ends_at)
VALUES ('freedom', '2024 Q1', '5 % on groceries and fitness', 'everybody', false, '2024-01-01 00:00 America/New_York', '2024-04-01 00:00 America/New_York');
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('freedom', 'charges', '1 %', $$earn.amount * loyalty.earn_rate '1%'$$);
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, offer, cap, cap_period)
VALUES ('freedom', 'charges', 'Q1 +4 %', 'bonus', $$earn.amount * loyalty.earn_rate '4%'$$, $$category IN ('groceries', 'fitness')$$, '2024 Q1', 60, 'calendar quarter');
INSERT INTO loyalty.reward (program, name, kind, cost, value, min_quantity) VALUES ('freedom', 'statement credit', 'cashback', 0.01, 0.01, 2000);

SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'ISO, YMD';
CREATE VIEW freedom.cashback AS
SELECT c.charge_id, c.category, c.usd, a.rule, a.points, a.wanted FROM freedom.charges c, LATERAL loyalty.award('freedom.charges', c.charge_id::text) a;
-- 100 before the activation: 1; then 1,000 and 1,000: 50, and 10 and the 20 that are left of 60
SET LOCAL loyalty.now = '2024-01-20 10:00';
INSERT INTO freedom.charges VALUES (1, 7, 'groceries', 100, '2024-01-15 18:00');
SELECT rule, why_not FROM loyalty.why_not('freedom.charges', '1');
SELECT loyalty.activate_offer(7, '2024 Q1', 'freedom') AS activated;
SET LOCAL loyalty.now = '2024-02-10 10:00';
INSERT INTO freedom.charges VALUES (2, 7, 'groceries', 1000, '2024-02-01 18:00'), (3, 7, 'fitness', 1000, '2024-02-02 18:00'), (4, 7, 'travel', 33.33, '2024-02-03 18:00');
SELECT * FROM freedom.cashback ORDER BY charge_id, rule;

-- 600 of the first thousand are credited: 30 go, 24 of them can be earned at 5 % again; the last microsecond of the quarter is in it
INSERT INTO freedom.charges VALUES (5, 7, 'groceries', -600, '2024-02-09 18:00', 2);
SET LOCAL loyalty.now = '2024-04-01 10:00';
INSERT INTO freedom.charges VALUES (6, 7, 'fitness', 700, '2024-03-31 23:59:59.999999'), (7, 7, 'fitness', 700, '2024-04-01 00:00');
SELECT * FROM freedom.cashback WHERE charge_id IN (2, 6, 7) ORDER BY charge_id, rule;
SELECT available FROM loyalty.balance(7, 'freedom');

-- all but three cents are paid out, from 20 dollars on; then all of the second thousand is credited: 30 are owed, less 0.03, and what comes next pays them back
SELECT points, value FROM loyalty.redeem(7, 'statement credit', points => 89.30, program => 'freedom', key => 'to account');
INSERT INTO freedom.charges VALUES (8, 7, 'fitness', -1000, '2024-04-01 09:00', 3);
SELECT available, debt FROM loyalty.balance(7, 'freedom');
INSERT INTO freedom.charges VALUES (9, 7, 'travel', 3200, '2024-04-01 09:30');
SELECT available, debt FROM loyalty.balance(7, 'freedom');
SELECT entry_no, kind, points, balance_after, what FROM loyalty.statement WHERE program = 'freedom' ORDER BY entry_no;
SELECT count(*) AS violated FROM loyalty.verify();
ROLLBACK;
