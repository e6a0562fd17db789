-- Starbucks Rewards, United States, 2023: two stars a dollar from a Starbucks card, one otherwise; stars live for six months,
-- to the end of the month.
BEGIN;
CREATE SCHEMA starbucks;
CREATE TABLE starbucks.orders (
  order_id bigint PRIMARY KEY,
  customer bigint NOT NULL,
  total numeric(10,2) NOT NULL,
  paid_by text NOT NULL,
  ordered_at timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, expiry, sandbox)
VALUES ('starbucks', 'America/Los_Angeles', '6 months, end of month', true);
SELECT loyalty.attach('starbucks.orders', program => 'starbucks',
         member => 'customer', amount => 'total', occurred_at => 'ordered_at') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES
 ('starbucks', 'orders', 'stars', $$earn.amount * CASE paid_by WHEN 'card' THEN loyalty.earn_rate '2 per 1' ELSE loyalty.earn_rate '1 per 1' END$$);
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('starbucks', 'brewed coffee', 'product', 100);

SET LOCAL timezone = 'America/Los_Angeles';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2021-08-31 20:00';
INSERT INTO starbucks.orders VALUES
  (1, 7, 10.00, 'card', '2020-12-15 08:00'),
  (2, 7, 10.00, 'cash', '2020-12-15 08:05'),
  (3, 7, 20.50, 'card', '2021-08-31 19:59');

-- 20 and 10 stars, gone on 1 July 2021; 41 stars, gone on 1 March 2022
SELECT source_key AS "order", points FROM loyalty.award_share WHERE program = 'starbucks' ORDER BY source_key;
SELECT kind, points, at::date, last_day FROM loyalty.statement WHERE program = 'starbucks' ORDER BY entry_no NULLS LAST, at;
SELECT day::timestamptz AS at, b.available FROM unnest('{2021-06-30 23:59:59.999999,2021-07-01 00:00,2021-08-31 20:00,2022-02-28 23:59:59.999999,2022-03-01 00:00}'::text[]) day,
  LATERAL loyalty.balance(7, 'starbucks', day::timestamptz) b;
ROLLBACK;
