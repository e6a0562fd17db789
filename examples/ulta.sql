-- Ulta Beauty Rewards, 2024: 1, 1.25 and 1.5 points a dollar; Platinum and Diamond by 500 and 1,200 dollars in a calendar year; points live
-- for twelve months, to the end of the quarter, and for ever while one is Platinum or Diamond; 2,000 points at once buy more than 1,000 twice.
BEGIN;
CREATE SCHEMA ulta;
CREATE TABLE ulta.orders (
  order_id bigint PRIMARY KEY,
  customer bigint NOT NULL,
  total numeric(10,2) NOT NULL,
  ordered_at timestamptz NOT NULL
);

INSERT INTO loyalty.program (name, timezone, expiry, tier_period, tier_validity, sandbox)
VALUES ('ulta', 'America/Chicago', '12 months, end of quarter', 'calendar year', '12 months', true);
SELECT loyalty.attach('ulta.orders', program => 'ulta',
         member => 'customer', amount => 'total', occurred_at => 'ordered_at') IS NOT NULL AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('ulta', 'orders', 'one per dollar', $$earn.amount * loyalty.earn_rate '1 per 1'$$);
