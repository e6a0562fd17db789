-- Tiers: how long they are held, how they are lost, those that are not, those given by hand, and ladders that change.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA tier_test;
SET LOCAL search_path = tier_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, program text, who bigint, total numeric, at timestamptz);
CREATE FUNCTION program(name text, timezone text, VARIADIC settings text[] DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO loyalty.program (name, timezone, sandbox) VALUES (program.name, program.timezone, true);
  FOR i IN 1 .. cardinality(settings) BY 2 LOOP
    EXECUTE format('UPDATE loyalty.program SET %I = %L WHERE name = %L', settings[i], settings[i + 1], program.name);
  END LOOP;
  INSERT INTO loyalty.tier (program, name, rank, threshold)
  VALUES (program.name, 'green', 0, 0), (program.name, 'silver', 1, 100), (program.name, 'gold', 2, 500), (program.name, 'black', 3, 2000);
  PERFORM loyalty.attach('sale', program => program.name, name => 'sale', member => 'who', amount => 'total', occurred_at => 'at',
    condition => format('program = %L', program.name));
  INSERT INTO loyalty.rule (program, source, name, kind, points, condition)
  VALUES (program.name, 'sale', 'one', 'base', 'earn.amount', NULL), (program.name, 'sale', 'gold', 'bonus', '1000', $r$account.tier = 'gold'$r$);
END $$;
-- a purchase at its own time, as history lives it
CREATE FUNCTION buy(id int, program text, who bigint, total numeric, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('loyalty.now', at::text, false);
  INSERT INTO sale VALUES (id, program, who, total, at);
  RETURN b.tier FROM loyalty.balance(who, program) b;
END $$;
CREATE FUNCTION give_back(id int, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  s sale;
BEGIN
  PERFORM set_config('loyalty.now', at::text, false);
  DELETE FROM sale d WHERE d.id = give_back.id RETURNING d.* INTO s;
  RETURN b.tier FROM loyalty.balance(s.who, s.program) b;
END $$;
-- what balance(), both views and a rule say at an instant
CREATE FUNCTION everywhere(program text, who bigint, at timestamptz) RETURNS TABLE (balance text, view text, standing text, held_until timestamptz, bonus numeric)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('loyalty.now', everywhere.at::text, false);
  RETURN QUERY SELECT b.tier, m.tier, s.tier, s.held_until,
    (SELECT q.points FROM loyalty.quote('tier_test.sale', jsonb_build_object('id', -1, 'program', everywhere.program, 'who', everywhere.who, 'total', 1, 'at', everywhere.at)) q WHERE q.rule = 'gold')
  FROM loyalty.balance(everywhere.who, everywhere.program) b, loyalty.member_balance m, loyalty.tier_standing s
  WHERE m.member_id = everywhere.who AND m.program = everywhere.program AND s.member_id = everywhere.who AND s.program = everywhere.program;
END $$;
-- the life of a tier, what is due included
CREATE FUNCTION life(program text, who bigint, until timestamptz) RETURNS TABLE (at timestamptz, from_tier text, to_tier text, held_until timestamptz, reason text)
LANGUAGE sql AS $$
  SELECT c.at, f.name, t.name, c.held_until, c.reason FROM (
    SELECT k.at, k.change_no, k.from_tier_id, k.to_tier_id, k.held_until, k.reason FROM loyalty.tier_change k JOIN loyalty.program p ON p.id = k.program_id
    WHERE k.member_id = who AND p.name = life.program
    UNION ALL SELECT d.at, NULL, d.from_tier_id, d.to_tier_id, d.held_until, 'due' FROM loyalty.program p, loyalty.due_tier_changes(who, p.id, life.until) d WHERE p.name = life.program) c
  LEFT JOIN loyalty.tier f ON f.id = c.from_tier_id LEFT JOIN loyalty.tier t ON t.id = c.to_tier_id ORDER BY c.at, c.change_no
$$;

-- ---- validity: to the end of the next period; to the end of February after; N months after promotion
SELECT program('next', 'Europe/Istanbul', 'tier_period', 'calendar year');
SELECT program('february', 'America/Los_Angeles', 'tier_period', 'calendar year', 'tier_validity', '14 months');
SELECT program('months', 'Pacific/Auckland', 'tier_period', 'lifetime', 'tier_validity', '6 months');
SELECT program('march', 'Europe/Berlin', 'tier_period', 'year from 1 march', 'tier_validity', '0', 'grace', '1 month');
SELECT program('birthday', 'Europe/Berlin', 'tier_period', 'membership year', 'tier_validity', '12 months');
SELECT buy(1, 'next', 1, 600, '2024-05-17 10:00+00'), buy(2, 'february', 1, 600, '2024-05-17 10:00+00'), buy(3, 'march', 1, 600, '2024-02-29 22:59:59.999999+00');
SELECT buy(4, 'months', 1, 600, '2024-08-30 12:00+00'), buy(5, 'birthday', 1, 600, '2024-02-29 12:00+00');
SELECT program, held_until FROM loyalty.tier_standing WHERE program IN ('next', 'february', 'march', 'months', 'birthday') ORDER BY 1;
SELECT p, e.* FROM (VALUES ('next', '2025-12-31 21:00+00'::timestamptz), ('february', '2026-03-01 08:00+00'), ('march', '2024-03-31 22:00+00'), ('birthday', '2026-02-27 23:00+00')) v (p, t),
  LATERAL (SELECT x.* FROM everywhere(p, 1, t - interval '1 microsecond') x UNION ALL SELECT x.* FROM everywhere(p, 1, t) x) e;
-- figures of a lifetime stay: the review finds them again
SELECT (SELECT tier FROM loyalty.balance(1, 'months', '2025-02-28 10:59:59.999999+00')), (SELECT tier FROM loyalty.balance(1, 'months', '2035-02-28 11:00+00'));
-- to the end of the month in which the validity ends
SELECT program('to month', 'Pacific/Auckland', 'tier_period', 'lifetime', 'tier_validity', '6 months', 'tier_validity_to', 'month');
SELECT buy(6, 'to month', 1, 600, '2024-08-30 12:00+00'), buy(7, 'to month', 2, 600, '2024-08-31 12:00+00');
SELECT member_id, held_until, held_until AT TIME ZONE 'Pacific/Auckland' AS local FROM loyalty.tier_standing WHERE program = 'to month' ORDER BY 1;

-- ---- downgrade: nothing happens for years
SELECT program('requalify', 'UTC', 'tier_validity', '12 months');
SELECT program('one level', 'UTC', 'tier_validity', '12 months', 'downgrade', 'one_level');
SELECT program('never', 'UTC', 'tier_validity', '12 months', 'downgrade', 'never');
SELECT buy(10, 'requalify', 1, 2500, '2020-06-01'), buy(11, 'one level', 1, 2500, '2020-06-01'), buy(12, 'never', 1, 2500, '2020-06-01');
SELECT buy(13, 'requalify', 2, 2500, '2020-06-01'), buy(14, 'requalify', 2, 600, '2021-06-01');  -- the next full period gives gold
SELECT p, w, l.* FROM (VALUES ('requalify', 1), ('requalify', 2), ('one level', 1), ('never', 1)) v (p, w), life(p, w, '2030-01-01') l ORDER BY 1, 2, l.at;
SELECT e.* FROM unnest(ARRAY['2021-12-31 23:59:59.999999+00', '2022-01-01 00:00+00', '2022-12-31 23:59:59.999999+00', '2023-01-01 00:00+00', '2024-01-01 00:00+00']::timestamptz[]) t, everywhere('one level', 1, t) e;
-- written down in one go or step by step: the same
SELECT everywhere('one level', 1, '2022-05-01');
SELECT balance FROM everywhere('one level', 1, '2022-05-01'), LATERAL (SELECT loyalty.adjust(1, 1, 'touch', program => 'one level')) a;
SELECT * FROM life('one level', 1, '2030-01-01');

-- ---- returns: fall, keep and grace with each downgrade policy; black by two purchases, one of which comes back
CREATE TABLE outcome (policy text, downgrade text, at_once text, after_grace text, next_year text);
DO $$
DECLARE
  r text;
  d text;
  n int := 100;
  name text;
  o outcome;
BEGIN
  FOREACH r IN ARRAY '{fall,keep,grace}'::text[] LOOP
    FOREACH d IN ARRAY '{requalify,one_level,never}'::text[] LOOP
      name := r || ' ' || d;
      PERFORM tier_test.program(name, 'UTC', 'on_return', r, 'downgrade', d, 'grace', '10 days');
      PERFORM tier_test.buy(n, name, 1, 150, '2020-06-01'), tier_test.buy(n + 1, name, 1, 2000, '2020-06-02');
      o := (r, d, tier_test.give_back(n + 1, '2020-06-03'));
      SELECT b.tier INTO o.after_grace FROM loyalty.balance(1, name, '2020-06-13') b;
      SELECT b.tier INTO o.next_year FROM loyalty.balance(1, name, '2022-01-11') b;
      INSERT INTO tier_test.outcome SELECT o.*;
      n := n + 2;
    END LOOP;
  END LOOP;
END $$;
SELECT * FROM outcome;

-- ---- never lost: gold is, black above it is not
SELECT program('permanent', 'UTC', 'tier_validity', '0');
UPDATE loyalty.tier SET permanent = true WHERE program = 'permanent' AND name = 'gold';
SELECT buy(200, 'permanent', 1, 2500, '2020-06-01'), buy(201, 'permanent', 2, 600, '2020-06-01'), buy(202, 'permanent', 3, 300, '2020-06-01');
SELECT m, l.* FROM unnest('{1,2,3}'::bigint[]) m, life('permanent', m, '2030-01-01') l ORDER BY 1, 2;
-- the purchase that had just given it takes it back
SELECT give_back(201, '2020-07-01');
-- one that gave it once more, years later, does not; nor does the one that gave it, when its period is long over
SELECT buy(203, 'permanent', 1, 900, '2024-06-01'), give_back(203, '2024-06-02'), give_back(200, '2024-06-03');
SELECT held_until, tier FROM loyalty.tier_standing WHERE program = 'permanent' AND member_id = 1;
-- where nothing is ever lost, the same
SELECT buy(204, 'never', 1, 2100, '2024-06-01'), give_back(204, '2024-06-02');

-- ---- by hand: invitations, and levels that were brought along
SELECT program('hand', 'UTC');
INSERT INTO loyalty.tier (program, name, rank) VALUES ('hand', 'circle', 4);
SET loyalty.now = '2024-03-01';
SELECT * FROM loyalty.grant_tier(1, 'gold', 'hand', '2024-12-31', 'status match', 'import 1');
SELECT * FROM loyalty.grant_tier(1, 'gold', 'hand', '2024-12-31', 'status match', 'import 1');
SELECT * FROM loyalty.grant_tier(1, 'black', 'hand', '2024-12-31', 'status match', 'import 1');
SELECT * FROM loyalty.grant_tier(2, 'circle', 'hand', reason => 'invited');
SELECT * FROM loyalty.grant_tier(3, 'silver', 'hand', '2025-02-28', at => '2023-01-01');
SELECT e.* FROM unnest(ARRAY['2024-03-01', '2024-12-30 23:59:59.999999+00', '2024-12-31']::timestamptz[]) t, everywhere('hand', 1, t) e;
-- a purchase and its return have nothing to do with it; what figures gave meanwhile shows when it is over
SELECT buy(300, 'hand', 1, 2100, '2024-04-01'), give_back(300, '2024-04-02'), buy(301, 'hand', 1, 150, '2024-04-03');
SELECT * FROM life('hand', 1, '2030-01-01');
SELECT held_until FROM loyalty.tier_standing WHERE program = 'hand' AND member_id = 1;
-- gold by figures too: nothing changes when the grant is over
SELECT buy(302, 'hand', 3, 600, '2024-05-01');
SELECT * FROM life('hand', 3, '2030-01-01');
-- who falls below by figures does not see it
SELECT tier FROM loyalty.balance(2, 'hand', '2100-01-01');
SELECT * FROM loyalty.revoke_tier(2, 'hand', 'left', 'out 1');
SELECT * FROM loyalty.revoke_tier(2, 'hand', 'left', 'out 1');
SELECT * FROM loyalty.revoke_tier(2, 'hand');
-- refused
SELECT * FROM loyalty.grant_tier(1, 'silver', 'hand');
SELECT * FROM loyalty.grant_tier(1, 'purple', 'hand');
SELECT * FROM loyalty.grant_tier(1, 'gold', 'hand', '2020-01-01');
SELECT * FROM loyalty.grant_tier(1, 'gold', 'hand', at => '2999-01-01');
SELECT * FROM loyalty.grant_tier(NULL, 'gold', 'hand');
SELECT i.member_id, i.action, t.name AS tier, i.held_until, i.reason, i.key, i.at FROM loyalty.intervention i JOIN loyalty.tier t ON t.id = i.tier_id
WHERE t.program = 'hand' ORDER BY i.at, i.member_id;
-- a tier that somebody holds by hand is not deleted
DELETE FROM loyalty.tier WHERE program = 'hand' AND name = 'circle';
-- two members who are one have the better grant
SELECT * FROM loyalty.grant_tier(40, 'circle', 'hand', '2025-06-30');
SELECT tier FROM loyalty.merge_members(40, 1, 'the same person') WHERE program = 'hand';
SELECT * FROM life('hand', 1, '2030-01-01');

-- ---- ladders that change
SELECT program('live', 'UTC');
SELECT ladder_no, waiting FROM loyalty.ladder_now WHERE program = 'live';
UPDATE loyalty.tier SET threshold = 90 WHERE program = 'live' AND name = 'silver';  -- nobody is there: at once
SELECT waiting FROM loyalty.ladder_now WHERE program = 'live';
SELECT buy(400, 'live', 1, 95, '2024-03-01'), buy(401, 'live', 2, 600, '2024-03-01'), buy(402, 'live', 3, 1200, '2024-03-01'), buy(403, 'live', 4, 50, '2024-03-01');
SELECT buy(404, 'live', 5, 600, '2023-03-01');   -- gold by the year before
SET loyalty.now = '2024-04-01';
UPDATE loyalty.tier SET threshold = CASE name WHEN 'silver' THEN 200 WHEN 'gold' THEN 1000 WHEN 'black' THEN 1200 END WHERE program = 'live' AND rank > 0;
SELECT ladder_no, waiting FROM loyalty.ladder_now WHERE program = 'live';
-- nothing has happened yet: neither to who is there, nor to who comes, nor to what is asked
SELECT member_id, tier, next_tier, to_next, to_keep FROM loyalty.tier_standing WHERE program = 'live' ORDER BY 1;
SELECT buy(405, 'live', 6, 95, '2024-04-01');
SELECT * FROM loyalty.preview_tiers('live');
SELECT * FROM loyalty.preview_members('live') ORDER BY 1;
SELECT * FROM loyalty.preview_tiers('live', keep => true);
SELECT * FROM loyalty.preview_tiers('live', '{"silver": 90, "gold": 95}');
SELECT * FROM loyalty.preview_tiers('live', '{"purple": 90}');
SELECT * FROM loyalty.preview_tiers('live', '{"gold": "many"}');
-- a tier that is new is there at once
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('live', 'ruby', 4, 5000);
SELECT buy(406, 'live', 7, 5000, '2024-04-01');
-- a review that was due before stands on the ladder of its time
SELECT buy(407, 'live', 8, 600, '2022-03-01'), buy(408, 'live', 8, 150, '2023-03-01');
SET loyalty.now = '2024-04-02';
SELECT * FROM loyalty.apply_tiers('live');
SELECT member_id, tier, next_tier, to_next, to_keep FROM loyalty.tier_standing WHERE program = 'live' ORDER BY 1;
SELECT m, tier FROM generate_series(1, 8) m, loyalty.balance(m, 'live') b;
SELECT m, tier FROM generate_series(1, 8) m, loyalty.balance(m, 'live', '2024-04-01 23:59:59.999999+00') b;
SELECT m, l.* FROM unnest('{2,3,5,8}'::bigint[]) m, life('live', m, '2025-06-01') l ORDER BY 1, 2;
-- written down by the job, which finds them: the same
SELECT count(*) FROM loyalty.settle_batch(0, 0, 1000) s WHERE s.settled > 0;
SELECT m, l.* FROM unnest('{2,3,8}'::bigint[]) m, life('live', m, '2024-04-02') l ORDER BY 1, 2;
SELECT count(*) FROM loyalty.settle_batch(0, 0, 1000) s WHERE s.settled > 0;
SELECT from_tier, to_tier, members FROM loyalty.tier_movement WHERE program = 'live' AND month = '2024-04-01' ORDER BY 1, 2;
-- applied again, keeping: who loses waits for the review
SET loyalty.now = '2024-05-01';
UPDATE loyalty.tier SET threshold = threshold * 10 WHERE program = 'live' AND rank > 0;
SELECT * FROM loyalty.preview_tiers('live', keep => true);
SELECT ladder_no, since FROM loyalty.apply_tiers('live', keep => true);
SELECT m, l.* FROM unnest('{3,7}'::bigint[]) m, life('live', m, '2026-01-01') l ORDER BY 1, 2;
-- metric, and requirements
SET loyalty.now = '2024-06-01';
UPDATE loyalty.program SET tier_metric = 'points' WHERE name = 'live';
INSERT INTO loyalty.tier_requirement (program, tier, metric, threshold) VALUES ('live', 'silver', 'spend', 40);
SELECT tier_metric, waiting FROM loyalty.ladder_now WHERE program = 'live';
SELECT metric, value, tier FROM loyalty.tier_standing WHERE program = 'live' AND member_id = 4;
SELECT ladder_no FROM loyalty.apply_tiers('live');
SELECT metric, value, tier FROM loyalty.tier_standing WHERE program = 'live' AND member_id = 4;
-- who comes now begins on the ladder of now, whatever the date of the purchase
SELECT buy(409, 'live', 9, 41, '2024-06-01');
SELECT tier FROM loyalty.balance(9, 'live');
-- another period is counted from the ledger
UPDATE loyalty.program SET tier_period = 'calendar month' WHERE name = 'live';
SELECT ladder_no FROM loyalty.apply_tiers('live');
SELECT s.period_start, s.period_end FROM loyalty.program p, LATERAL loyalty.settled(9, p.id, '2024-12-31') s WHERE p.name = 'live';
SELECT s.period_start, s.period_end FROM loyalty.program p, LATERAL loyalty.settled(9, p.id, '2025-01-01') s WHERE p.name = 'live';
SELECT * FROM loyalty.apply_tiers('purple');

-- ---- standing: the nearest way, the end of the period at this pace, and after it when nothing more comes
SELECT program('stand', 'UTC');
DELETE FROM loyalty.tier WHERE program = 'stand' AND name = 'black';
INSERT INTO loyalty.tier (program, name, rank) VALUES ('stand', 'black', 3), ('stand', 'guest', 4);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
  ('stand', 'black', 1, 'spend', 2000), ('stand', 'black', 2, 'spend', 1000), ('stand', 'black', 2, 'points', 1600);
SELECT buy(500, 'stand', 1, 300, '2024-07-01'), buy(501, 'stand', 2, 700, '2024-02-01'), buy(502, 'stand', 3, 20, '2024-07-01'), buy(503, 'stand', 4, 900, '2023-07-01');
SET loyalty.now = '2024-07-02';
SELECT member_id, tier, next_tier, to_next, to_next_metric, to_keep, to_keep_metric, projected_tier, falls_to, held_until FROM loyalty.tier_standing WHERE program = 'stand' ORDER BY 1;
SELECT member_id, tier, option, metric, value, threshold, missing, round(done, 4) AS done, round(projected, 2) AS projected FROM loyalty.tier_progress
WHERE program = 'stand' AND member_id IN (1, 2) AND rank > 1 ORDER BY 1, rank, option, metric;
-- points are nearer than money: 1000 of the gold bonus, once it is gold
SELECT buy(504, 'stand', 2, 100, '2024-07-02');
SELECT next_tier, to_next, to_next_metric FROM loyalty.tier_standing WHERE program = 'stand' AND member_id = 2;
-- the first instant of a period, a lifetime, a tier by hand
SET loyalty.now = '2025-01-01';
SELECT member_id, tier, to_next, to_keep, projected_tier, falls_to FROM loyalty.tier_standing WHERE program = 'stand' ORDER BY 1;
SELECT member_id, tier, projected_tier, falls_to FROM loyalty.tier_standing WHERE program = 'to month' ORDER BY 1;
SELECT tier FROM loyalty.grant_tier(3, 'guest', 'stand', '2025-03-01');
SELECT tier FROM loyalty.grant_tier(1, 'guest', 'stand', '2025-03-01');
SELECT tier, next_tier, to_next, to_keep, projected_tier, falls_to FROM loyalty.tier_standing WHERE program = 'stand' AND member_id IN (1, 3) ORDER BY member_id;
SELECT * FROM loyalty.verify();
ROLLBACK;
