-- The programme of loyalty.sql twice more, with what makes a sale work beyond points: a status unit on each purchase, a
-- segment that a rule asks for, three challenges.  In rooms nobody completes one; in tenth there is an award for about
-- every tenth purchase when members buy ten times.

CREATE TABLE shop.orders_rooms (LIKE shop.orders_floor INCLUDING ALL);
CREATE TABLE shop.orders_tenth (LIKE shop.orders_floor INCLUDING ALL);

INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period)
SELECT p, 'Europe/Istanbul', '12 months, end of month', 'spend', 'calendar year' FROM unnest('{rooms,tenth}'::text[]) p;

INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
SELECT p, t.name, t.rank, t.threshold, t.earn_bonus FROM unnest('{rooms,tenth}'::text[]) p, loyalty.tier t WHERE t.program = 'stars';

SELECT loyalty.attach('shop.orders_' || p, program => p, member => 'customer_id', amount => 'total',
                      occurred_at => 'ordered_at', condition => $$status = 'paid'$$) FROM unnest('{rooms,tenth}'::text[]) p;

INSERT INTO loyalty.rule (program, source, name, kind, points, condition)
SELECT p, 'orders_' || p, r.name, r.kind, r.points, r.condition FROM unnest('{rooms,tenth}'::text[]) p, loyalty.rule r WHERE r.program = 'stars';
INSERT INTO loyalty.rule (program, source, name, kind, unit, points)
SELECT p, 'orders_' || p, 'a stay', 'base', 'stay', '1' FROM unnest('{rooms,tenth}'::text[]) p;
INSERT INTO loyalty.segment (program, name, condition)
SELECT p, 'regulars', 'account.spend > 100' FROM unnest('{rooms,tenth}'::text[]) p;
INSERT INTO loyalty.rule (program, source, name, kind, points, segment)
SELECT p, 'orders_' || p, 'regulars +1', 'bonus', '1', 'regulars' FROM unnest('{rooms,tenth}'::text[]) p;

INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, points, starts_at)
SELECT p, c.* FROM unnest('{rooms,tenth}'::text[]) p, (VALUES
  ('card', 'stamp', 'purchases', 5, 'lifetime', 10, timestamptz '2020-01-01'),
  ('big year', 'target', 'spend', 1e9, 'calendar year', 500, '2020-01-01'),
  ('traveller', 'target', 'stay', 1e6, 'lifetime', 500, '2020-01-01')) c (name, kind, metric, target, period, points, starts_at);
UPDATE loyalty.challenge SET target = 1e6 WHERE program = 'rooms' AND name = 'card';
