\echo
\echo '== 2. A loyalty programme ================================================'
\echo
\echo 'Configuration is rows. Three tiers, by what a member spends in a year:'

CREATE EXTENSION loyalty;
DO $$ BEGIN PERFORM loyalty.install(); END $$;

INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period)
VALUES ('stars', 'Europe/Istanbul', '12 months, end of month', 'spend', 'calendar year');

INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
VALUES ('stars', 'green', 0, 0, 0), ('stars', 'gold', 1, 500, 0.25), ('stars', 'black', 2, 2500, 0.70);

SELECT name AS tier, threshold AS "spend from", earn_bonus AS "extra points" FROM loyalty.tier ORDER BY rank;

\echo 'The orders table is attached: which column is the member, the amount, the time,'
\echo 'and which orders count. Then four rules, each an SQL expression over its columns:'

DO $do$ BEGIN
  PERFORM loyalty.attach('shop.orders', program => 'stars',
    member => 'customer_id', amount => 'total', occurred_at => 'ordered_at', condition => $$status = 'paid'$$);
END $do$;

INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
  ('stars', 'orders', 'one per lira',    'base',  $$earn.amount * loyalty.earn_rate '1 per 1'$$, NULL),
  ('stars', 'orders', 'double weekends', 'bonus', $$earn.base$$, $$extract(isodow from earn.local_time) in (6, 7)$$),
  ('stars', 'orders', 'coffee +50',      'bonus', $$50$$, $$category = 'coffee' and earn.amount >= 20$$),
  ('stars', 'orders', 'big basket +10%', 'bonus', $$earn.amount * 0.10$$, $$earn.amount >= 100$$);

SELECT name AS rule, points, coalesce(condition, 'always') AS "when" FROM loyalty.rule ORDER BY id;

\echo 'And something to buy with points:'
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('stars', 'free coffee', 'product', 150);
SELECT name AS reward, cost FROM loyalty.reward;
