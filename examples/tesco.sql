-- Tesco Clubcard, 2023: a point for each whole pound; vouchers are issued every quarter from 150 points on, one penny a point, and are good
-- for two years, to the end of the month.  issue_vouchers() commits its batches, so this one cleans up after itself.
CREATE SCHEMA tesco;
CREATE TABLE tesco.baskets (
  basket_id bigint PRIMARY KEY,
  clubcard bigint NOT NULL,
  total numeric(10,2) NOT NULL,
  bought_at timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, money, sandbox, is_default) VALUES ('clubcard', 'Europe/London', 'GBP', true, false);
SELECT loyalty.attach('tesco.baskets', program => 'clubcard',
         member => 'clubcard', amount => 'total', occurred_at => 'bought_at') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('clubcard', 'baskets', 'whole pounds', $$earn.amount * loyalty.earn_rate '1 per full 1'$$);
INSERT INTO loyalty.reward (program, name, kind, cost, value, min_quantity, validity)
VALUES ('clubcard', 'voucher', 'voucher', 50, 0.50, 3, '24 months, end of month');

SET timezone = 'Europe/London';
SET datestyle = 'ISO, YMD';
SET loyalty.now = '2022-02-10 09:00';
INSERT INTO tesco.baskets VALUES
  (1, 149, 149.99, '2022-01-05 18:00'), (2, 150, 150.00, '2022-01-05 18:00'), (3, 199, 199.99, '2022-01-05 18:00'),
  (4, 300, 100.60, '2022-01-05 18:00'), (5, 300, 200.60, '2022-01-06 18:00');

-- 149: none; 150: 1.50; 199: 1.50 and 49 points stay; 100.60 and 200.60: 300 points, 3.00
CALL loyalty.issue_vouchers('clubcard', '2022-02');
SELECT m.member_id AS clubcard, v.value, v.last_day, m.available AS points_left
FROM loyalty.member_balance m LEFT JOIN loyalty.voucher_status v ON v.member_id = m.member_id AND v.program = m.program
WHERE m.program = 'clubcard' ORDER BY m.member_id;

-- on its last day it is good, and the next day it is not
SET loyalty.now = '2024-02-29 23:59';
SELECT state, value FROM loyalty.use_voucher(150, voucher_id => (SELECT v.voucher_id FROM loyalty.vouchers(150, 'clubcard') v), reference => 'till 7');
SET loyalty.now = '2024-03-01 00:00';
SELECT member_id AS clubcard, state FROM loyalty.voucher_status WHERE program = 'clubcard' ORDER BY member_id;

RESET loyalty.now;
SELECT loyalty.detach('tesco.baskets', 'clubcard') IS NOT NULL AS detached;
DROP SCHEMA tesco CASCADE;
