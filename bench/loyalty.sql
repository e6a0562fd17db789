-- The contestant: the programme of docs, three rules, attached to shop.orders; and a plain one to burn from.

CREATE EXTENSION loyalty;
SELECT loyalty.install();

INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period)
VALUES ('stars', 'Europe/Istanbul', '12 months, end of month', 'spend', 'calendar year'),
       ('burn', 'Europe/Istanbul', '12 months, end of month', 'spend', 'calendar year');

INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
VALUES ('stars', 'green', 0, 0, 0), ('stars', 'gold', 1, 500, 0.25), ('stars', 'black', 2, 2500, 0.70);

SELECT loyalty.attach('shop.orders', program => 'stars', member => 'customer_id', amount => 'total',
                      occurred_at => 'ordered_at', condition => $$status = 'paid'$$);
SELECT loyalty.attach('shop.refill', program => 'burn', member => 'customer_id', amount => 'total',
                      occurred_at => 'ordered_at', condition => $$status = 'paid'$$);

INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
  ('stars', 'orders', 'one per lira', 'base', $$earn.amount * loyalty.earn_rate '1 per 1'$$, NULL),
  ('stars', 'orders', 'double weekends', 'bonus', $$earn.base$$, $$extract(isodow from earn.local_time) in (6, 7)$$),
  ('stars', 'orders', 'coffee +50', 'bonus', $$50$$, $$category = 'coffee' and earn.amount >= 20$$),
  ('burn', 'refill', 'one for one', 'base', $$earn.amount$$, NULL);
