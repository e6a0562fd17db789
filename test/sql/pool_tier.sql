-- The tier of a pool: what its members' figures give together, each of them has, at every instant.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA pool_tier_test;
SET LOCAL search_path = pool_tier_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, nights int);
INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 250, 0.1), ('p', 'black', 2, 1000, 0.5);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'for gold', 'bonus', '5', 'account.tier = ''gold'' AND earn.amount = 1');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'toy', 30);
INSERT INTO loyalty.reward_price (program, reward, tier, cost) VALUES ('p', 'toy', 'gold', 20);
-- where everybody stands
CREATE VIEW tiers AS SELECT member_id AS member, tier, held_until, value FROM loyalty.tier_standing WHERE program = 'p' ORDER BY 1;
CREATE VIEW changes AS
SELECT c.member_id AS member, c.at, f.name AS from_tier, t.name AS to_tier, c.held_until, c.reason
FROM loyalty.tier_change c JOIN loyalty.program p ON p.id = c.program_id AND p.name = 'p'
LEFT JOIN loyalty.tier f ON f.id = c.from_tier_id LEFT JOIN loyalty.tier t ON t.id = c.to_tier_id ORDER BY c.at, c.member_id, c.change_no;
SET LOCAL loyalty.now = '2024-03-01';
INSERT INTO sale VALUES (1, 1, 100, '2024-01-10'), (2, 2, 80, '2024-01-05'), (3, 3, 900, '2024-01-20'), (4, 4, 10, '2024-01-20');
SELECT loyalty.create_pool(1, 'the Does', program => 'p', key => 'c', shares_tier => true) AS home \gset
SELECT loyalty.create_pool(1, 'the Does', program => 'p', key => 'c', shares_tier => true) = :home AS same;
SELECT loyalty.create_pool(1, 'the Does', program => 'p', key => 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.join_pool(2, :home);
TABLE tiers;
SELECT value, tier, next_tier, to_next, shares_tier, shared_tier, held_until, falls_to FROM loyalty.pool_tier WHERE pool_id = :home;

-- the purchase that reaches it: all have it at once, the other one, too; it earns as before
SET LOCAL loyalty.now = '2024-03-02';
INSERT INTO sale VALUES (10, 2, 70, '2024-03-02');
TABLE tiers;
TABLE changes;
SELECT value, tier, next_tier, to_next, shared_tier, held_until, falls_to FROM loyalty.pool_tier WHERE pool_id = :home;
SELECT member_id, tier, held_until, own_tier, own_until, own_value, shared_tier, shared_until, pool_value, next_tier, to_next FROM loyalty.pool_standing WHERE pool_id = :home ORDER BY 1;
-- bonus, rules, prices by tier
INSERT INTO sale VALUES (11, 1, 10, '2024-03-02'), (12, 1, 1, '2024-03-02');
SELECT id, (SELECT sum(l.points) / 10000.0 FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id WHERE s.program = 'p' AND l.source_key = sale.id::text)::numeric(9,2) AS points
FROM sale WHERE id BETWEEN 10 AND 12 ORDER BY 1;
SELECT points FROM loyalty.redeem(1, 'toy', program => 'p');
SELECT points FROM loyalty.redeem(4, 'toy', program => 'p');
-- exact without a job: held for the year after, to its last microsecond
SELECT at, tier FROM (VALUES (timestamptz '2025-12-31 23:59:59.999999'), ('2026-01-01')) v (at) CROSS JOIN LATERAL loyalty.balance(1, 'p', v.at);
SAVEPOINT later;
SET LOCAL loyalty.now = '2025-12-31 23:59:59.999999';
TABLE tiers;
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
SET LOCAL loyalty.now = '2026-01-01';
TABLE tiers;
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
SELECT member_id, from_tier, to_tier FROM (SELECT d.*, m.member_id FROM (VALUES (1::bigint), (2)) m (member_id)
  CROSS JOIN LATERAL loyalty.due_tier_changes(m.member_id, (SELECT id FROM loyalty.program WHERE name = 'p'), '2026-01-01') d) x
JOIN LATERAL (SELECT (SELECT name FROM loyalty.tier WHERE id = x.from_tier_id), (SELECT name FROM loyalty.tier WHERE id = x.to_tier_id)) t (from_tier, to_tier) ON true ORDER BY 1;
INSERT INTO sale VALUES (13, 1, 1, '2026-01-01');
SELECT count(*) > 0 AS ran FROM loyalty.settle_batch(-1, 0, 1000);
TABLE changes;
SELECT * FROM loyalty.verify();
ROLLBACK TO later;
-- reached again in the next year: held for one more
SAVEPOINT again;
SET LOCAL loyalty.now = '2025-06-01';
INSERT INTO sale VALUES (14, 1, 125, '2025-06-01'), (15, 2, 124, '2025-06-01');
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
INSERT INTO sale VALUES (16, 2, 1, '2025-06-01');
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO again;
-- a late purchase counts in its own year
SAVEPOINT late;
DELETE FROM sale WHERE id = 10;
SET LOCAL loyalty.now = '2025-06-01';
INSERT INTO sale VALUES (17, 2, 70, '2024-12-31');
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
SELECT * FROM loyalty.verify();
ROLLBACK TO late;

-- joining: what the joiner has counted counts for all; leaving: each has what is left
SELECT loyalty.join_pool(3, :home), loyalty.join_pool(4, :home);
TABLE tiers;
SELECT shared_tier, held_until FROM loyalty.pool_tier WHERE pool_id = :home;
SELECT loyalty.leave_pool(3, 'p');
TABLE tiers;
SELECT loyalty.leave_pool(4, 'p', asked_by => 1);
TABLE tiers;
SELECT reason, to_tier, count(*) FROM changes GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM loyalty.verify();

-- returns: as the program says
SAVEPOINT returns;
DELETE FROM sale WHERE id = 11;
TABLE tiers;
DELETE FROM sale WHERE id = 12;
UPDATE sale SET total = 69 WHERE id = 10;
TABLE tiers;
UPDATE sale SET total = 70 WHERE id = 10;
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO returns;
UPDATE loyalty.program SET on_return = 'keep' WHERE name = 'p';
DELETE FROM sale WHERE id IN (10, 11, 12);
TABLE tiers;
ROLLBACK TO returns;
DELETE FROM sale WHERE id IN (10, 11, 12);
UPDATE loyalty.program SET on_return = 'grace', grace = '1 month' WHERE name = 'p';
INSERT INTO sale VALUES (19, 2, 70, '2024-03-02');
TABLE tiers;
DELETE FROM sale WHERE id = 19;
TABLE tiers;
SELECT at, tier FROM (VALUES (timestamptz '2024-04-01 23:59:59.999999'), ('2024-04-02')) v (at) CROSS JOIN LATERAL loyalty.balance(1, 'p', v.at);
ROLLBACK TO returns;
-- one level down after the other
UPDATE loyalty.program SET downgrade = 'one_level' WHERE name = 'p';
INSERT INTO sale VALUES (18, 1, 1000, '2024-03-02');
SELECT shared_tier, held_until, falls_to FROM loyalty.pool_tier WHERE pool_id = :home;
SELECT at, tier FROM (VALUES (timestamptz '2025-12-31 23:59:59.999999'), ('2026-01-01'), ('2026-12-31 23:59:59.999999'), ('2027-01-01')) v (at) CROSS JOIN LATERAL loyalty.balance(2, 'p', v.at);
-- and what members have by themselves goes on beside it
SELECT member_id, tier, own_tier, shared_tier FROM loyalty.pool_standing WHERE pool_id = :home ORDER BY 1;
SELECT * FROM loyalty.verify();
ROLLBACK TO returns;

-- a tier by hand lies over it, and under it
SAVEPOINT hand;
SELECT tier, held_until, former_tier FROM loyalty.grant_tier(1, 'black', 'p', until => '2024-07-01');
SELECT at, tier FROM (VALUES (timestamptz '2024-06-30'), ('2024-07-01'), ('2026-01-01')) v (at) CROSS JOIN LATERAL loyalty.balance(1, 'p', v.at);
SELECT loyalty.leave_pool(1, 'p');
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO hand;
-- points by hand that count for tiers; here they do not, spend does
UPDATE loyalty.program SET tier_metric = 'points' WHERE name = 'p';
SELECT ladder_no FROM loyalty.apply_tiers('p');
TABLE tiers;
SELECT points FROM loyalty.adjust(2, 800, 'bridge', 'p', counts_for_tier => true, key => 'a');
TABLE tiers;
SELECT points FROM loyalty.adjust(2, -800, 'bridge', 'p', counts_for_tier => true);
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO hand;
-- other thresholds: for pools, too, at once; first they are shown
UPDATE loyalty.tier SET threshold = 300 WHERE program = 'p' AND name = 'gold';
TABLE tiers;
SELECT member_id, from_tier, to_tier, change FROM loyalty.preview_members('p') ORDER BY 1;
SELECT ladder_no FROM loyalty.apply_tiers('p');
TABLE tiers;
ROLLBACK TO hand;
UPDATE loyalty.tier SET threshold = 261 WHERE program = 'p' AND name = 'black';
SELECT member_id, from_tier, to_tier, change FROM loyalty.preview_members('p') ORDER BY 1;
SELECT ladder_no FROM loyalty.apply_tiers('p');
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO hand;

-- not shared any more, and again
\set VERBOSITY sqlstate
SELECT loyalty.share_pool_tier(2, false, 'p', asked_by => 2);
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.share_pool_tier(4, true, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.share_pool_tier(2, false, 'p', asked_by => 1, key => 's'), loyalty.share_pool_tier(2, false, 'p'), loyalty.share_pool_tier(2, false, 'p', asked_by => 1, key => 's');
TABLE tiers;
SELECT count(*) FROM loyalty.shared_tier WHERE pool_id = :home;
INSERT INTO sale VALUES (20, 1, 500, '2024-03-02');
TABLE tiers;
SELECT * FROM loyalty.verify();
DELETE FROM sale WHERE id = 20;
SELECT loyalty.share_pool_tier(1, true, 'p');
TABLE tiers;
UPDATE loyalty.program SET tier_period = 'membership year' WHERE name = 'p';
\echo :LAST_ERROR_SQLSTATE
-- two members who are one: their figures stay the pool's; the survivor's pool
SAVEPOINT merging;
SELECT tier FROM loyalty.merge_members(2, 4, 'twice');
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO merging;
SELECT tier FROM loyalty.merge_members(3, 2, 'twice');
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO merging;
-- who is erased leaves
SELECT count(*) > 0 AS erased FROM loyalty.erase_member(2, 'asked');
TABLE tiers;
SELECT * FROM loyalty.verify();
ROLLBACK TO merging;
-- verify() sees who does not stand where the pool is, and figures that are not those of its members
UPDATE loyalty.account SET lent_until = ARRAY['2025-01-01'::timestamptz] WHERE member_id = 1 AND lent_until IS NOT NULL;
UPDATE loyalty.shared_tier SET spend = spend + 1 WHERE pool_id = :home;
SELECT invariant, member_id, regexp_replace(detail, '\d+', 'N', 'g') AS detail FROM loyalty.verify() ORDER BY 1, 2;
SELECT loyalty.review_pools('p') AS pools;
SELECT * FROM loyalty.verify();
ROLLBACK TO merging;

-- a rolling window, and nights beside money: what leaves takes the tier with it, at its own instant
INSERT INTO loyalty.program (name, sandbox, tier_period, tier_validity) VALUES ('r', true, 'rolling 30 days', '0');
SELECT loyalty.attach('sale', program => 'r', member => 'who', amount => 'total', occurred_at => 'at', condition => 'id > 1000') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('r', 'sale', 'r', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, points, unit) VALUES ('r', 'sale', 'n', 'nights', 'nights');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('r', 'base', 0, 0), ('r', 'mid', 1, 100), ('r', 'top', 2, NULL);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES ('r', 'top', 1, 'nights', 5);
INSERT INTO sale VALUES (1001, 11, 60, '2024-02-20', 2), (1002, 12, 30, '2024-02-25', 1), (1003, 13, 1, '2024-02-25', 0);
SELECT loyalty.create_pool(11, 'rolls', program => 'r', shares_tier => true) AS rolls \gset
SELECT loyalty.join_pool(12, :rolls), loyalty.join_pool(13, :rolls);
INSERT INTO sale VALUES (1004, 13, 20, '2024-03-01', 2);
SELECT member_id, tier, held_until, own_tier, own_value, shared_tier, shared_until, pool_value FROM loyalty.pool_standing WHERE pool_id = :rolls ORDER BY 1;
SELECT v.at, m.member_id, b.tier FROM (VALUES (timestamptz '2024-03-21 00:00'), ('2024-03-20 23:59:59.999999'), ('2024-03-26')) v (at)
CROSS JOIN (VALUES (11::bigint), (13)) m (member_id) CROSS JOIN LATERAL loyalty.balance(m.member_id, 'r', v.at) b ORDER BY 1, 2;
INSERT INTO sale VALUES (1005, 11, 0, '2024-03-01', 1);
SELECT v.at, b.tier FROM (VALUES (timestamptz '2024-03-20 23:59:59.999999'), ('2024-03-21')) v (at) CROSS JOIN LATERAL loyalty.balance(12, 'r', v.at) b ORDER BY 1;
SELECT value FROM loyalty.adjust_unit(12, 'nights', 3, 'gift', 'r');
SELECT v.at, b.tier FROM (VALUES (timestamptz '2024-03-20 23:59:59.999999'), ('2024-03-21'), ('2024-03-27')) v (at) CROSS JOIN LATERAL loyalty.balance(13, 'r', v.at) b ORDER BY 1;
DELETE FROM sale WHERE id = 1001;
SELECT member_id, tier, held_until, own_tier, shared_tier, shared_until, pool_value FROM loyalty.pool_standing WHERE pool_id = :rolls ORDER BY 1;
SET LOCAL loyalty.now = '2024-03-28';
SELECT member_id, tier, held_until, own_tier, shared_tier, shared_until, pool_value FROM loyalty.pool_standing WHERE pool_id = :rolls ORDER BY 1;
INSERT INTO sale VALUES (1006, 12, 5, '2024-03-28', 0);
SELECT member_id, tier, held_until, own_tier, shared_tier, shared_until, pool_value FROM loyalty.pool_standing WHERE pool_id = :rolls ORDER BY 1;
SELECT * FROM loyalty.verify();
-- lifetime: never lost but by returns
INSERT INTO loyalty.program (name, sandbox, tier_period) VALUES ('l', true, 'lifetime');
SELECT loyalty.attach('sale', program => 'l', member => 'who', amount => 'total', occurred_at => 'at', condition => 'id > 2000') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('l', 'sale', 'l', 'earn.amount');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('l', 'base', 0, 0), ('l', 'high', 1, 100);
INSERT INTO sale VALUES (2001, 21, 60, '2024-02-20'), (2002, 22, 60, '2024-02-25');
SELECT loyalty.join_pool(22, loyalty.create_pool(21, 'for ever', kind => 'company', program => 'l', shares_tier => true));
SELECT member_id, tier, shared_until FROM loyalty.pool_standing WHERE program = 'l' ORDER BY 1;
SELECT tier FROM loyalty.balance(21, 'l', '2199-01-01');
DELETE FROM sale WHERE id = 2002;
SELECT member_id, tier, shared_tier FROM loyalty.pool_standing WHERE program = 'l' ORDER BY 1;
SELECT * FROM loyalty.verify();

-- purchases and returns at random of three members, and the same of one member alone: the pool has the tier of that one, now and later
SAVEPOINT twins;
CREATE FUNCTION pool_at(pool bigint, at timestamptz) RETURNS text LANGUAGE sql AS $$
  SELECT n.name FROM loyalty.shared_tier t CROSS JOIN LATERAL unnest(t.step_tier_ids, t.step_until) u (tier_id, until) JOIN loyalty.tier n ON n.id = u.tier_id
  WHERE t.pool_id = pool AND u.until > at ORDER BY u.until LIMIT 1 $$;
CREATE FUNCTION live(period text, validity interval, down text, returned text, grace_time interval) RETURNS TABLE (steps bigint, tiers bigint, wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
  pool bigint;
  one bigint := (SELECT coalesce(max(member_id), 0) / 10 * 10 + 101 FROM loyalty.account);
  base int := (SELECT coalesce(max(id), 0) / 10000 * 10000 + 10000 FROM sale);
  today timestamptz := '2024-01-05';
  name text := 't' || base;
  what int;
  seen text[] := '{}';
  twin text;
BEGIN
  INSERT INTO loyalty.program (name, sandbox, tier_period, tier_validity, downgrade, on_return, grace) VALUES (name, true, period::loyalty.period, validity, down, returned, grace_time);
  INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES (name, 'a', 0, 0), (name, 'b', 1, 100), (name, 'c', 2, 200), (name, 'd', 3, 400);
  PERFORM loyalty.attach('sale', program => name, member => 'who', amount => 'total', occurred_at => 'at', condition => format('id >= %s AND id < %s', base, base + 10000));
  INSERT INTO loyalty.rule (program, source, name, points) VALUES (name, 'sale', 'r', 'earn.amount');
  PERFORM set_config('loyalty.now', today::text, true);
  INSERT INTO sale SELECT base + g, one + g, 0, today FROM generate_series(0, 3) g;
  pool := loyalty.create_pool(one + 1, 'x', program => name, shares_tier => true);
  PERFORM loyalty.join_pool(one + 2, pool), loyalty.join_pool(one + 3, pool);
  wrong := 0;
  FOR i IN 1..120 LOOP
    today := today + (i * 7919 % 11) * interval '17 hours';
    PERFORM set_config('loyalty.now', today::text, true);
    what := i * 104729 % 7;
    IF what = 0 THEN
      DELETE FROM sale WHERE id IN (base + 10 + i - 2, base + 5000 + i - 2);
    ELSIF what = 1 THEN
      UPDATE sale SET total = total / 2 WHERE id IN (base + 10 + i - 1, base + 5000 + i - 1);
    ELSE
      INSERT INTO sale SELECT base + g.n + i, g.who, i * 31 % 97, today - CASE WHEN what = 2 THEN interval '9 days' ELSE '0' END
      FROM (VALUES (10, one + 1 + i % 3), (5000, one)) g (n, who);
    END IF;
    twin := (SELECT b.tier FROM loyalty.balance(one, name) b);
    seen := seen || twin;
    wrong := wrong + (SELECT count(*) FROM (VALUES (0), (1), (3), (8), (20), (31), (32), (60), (100), (200)) d (days)
      CROSS JOIN LATERAL loyalty.balance(one, name, today + d.days * interval '1 day') b WHERE coalesce(pool_at(pool, today + d.days * interval '1 day'), 'a') <> b.tier)
      + (SELECT count(*) FROM generate_series(1, 3) m CROSS JOIN LATERAL loyalty.balance(one + m, name) b WHERE b.tier < twin);
  END LOOP;
  steps := 120;
  tiers := (SELECT count(DISTINCT t) FROM unnest(seen) t);
  RETURN NEXT;
END $$;
SELECT v.*, l.* FROM (VALUES
  ('calendar month', interval '1 month', 'requalify', 'fall', interval '0'),
  ('calendar month', '0', 'requalify', 'fall', '0'),
  ('calendar month', '10 days', 'one_level', 'fall', '2 days'),
  ('calendar month', '1 month', 'one_level', 'grace', '5 days'),
  ('calendar quarter', '0', 'never', 'fall', '0'),
  ('week', '1 month', 'requalify', 'keep', '0'),
  ('rolling 20 days', '0', 'requalify', 'fall', '0'),
  ('rolling 20 days', '15 days', 'one_level', 'grace', '3 days'),
  ('lifetime', '20 days', 'requalify', 'fall', '0')) v (period, validity, downgrade, on_return, grace)
CROSS JOIN LATERAL live(v.period, v.validity, v.downgrade, v.on_return, v.grace) l;
SELECT * FROM loyalty.verify();
ROLLBACK TO twins;

-- an application needs no right on tables, and cannot call what is inside
CREATE ROLE loyalty_test_till;
SELECT loyalty.grant_access('loyalty_test_till', 'app');
GRANT USAGE ON SCHEMA pool_tier_test TO loyalty_test_till;
GRANT INSERT ON sale TO loyalty_test_till;
SET ROLE loyalty_test_till;
SELECT loyalty.share_pool_tier(1, false, 'p'), loyalty.share_pool_tier(1, true, 'p');
INSERT INTO pool_tier_test.sale VALUES (30, 1, 740, '2024-03-28');
SELECT member_id, tier FROM loyalty.pool_standing WHERE program = 'p' ORDER BY 1;
SELECT loyalty.review_pool(0, 1, ARRAY[1::bigint], '-infinity');
SELECT loyalty.review_pools('p');
UPDATE loyalty.shared_tier SET tier_id = 1;
RESET ROLE;
ROLLBACK;
