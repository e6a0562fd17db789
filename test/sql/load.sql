-- What comes in one statement ends as it would by batches or row by row: the same members enrolled, the same awards, limits, tiers, challenges, referrals
-- and rows for review.  Three programs that are the same have the same purchases, each in its own way.
-- Control: a budget, which is used up in the order of the rows' members inside of a statement, and of arrival between statements.

\set VERBOSITY terse
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA loading;
SET LOCAL search_path = loading;
SET LOCAL TIME ZONE 'UTC';
SET LOCAL DateStyle = 'ISO';

-- rows in the order of arrival; 2,400 of them are a load that hopes for new keys
CREATE TABLE purchase AS
SELECT g AS id, 900000 + (hashint4(g) & 1023) % 97 + CASE WHEN g % 40 = 0 THEN 1000 + g ELSE 0 END AS who, (hashint4(g + 7) & 1023) % 50 + 0.5 AS total,
  timestamptz '2024-01-01' + g * interval '3 hours' - CASE WHEN g % 17 = 0 THEN interval '20 days' ELSE '0' END AS at,
  CASE WHEN (hashint4(g + 99) & 1023) % 9 = 0 THEN 0 WHEN g % 31 = 0 THEN -1 ELSE 2 END AS divisor
FROM generate_series(1, 2400) g;
-- a member all of whose rows fail, one whose rows count for no rule, one whose rows do not count
INSERT INTO purchase SELECT 3000 + g, 950000 + g % 3, 10, timestamptz '2024-03-01' + g * interval '1 hour', CASE g % 3 WHEN 0 THEN 0 WHEN 1 THEN 7 ELSE -1 END FROM generate_series(1, 9) g;

CREATE FUNCTION make(world text, ways text[] DEFAULT '{whole,batches,single}') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  p text;
BEGIN
  FOREACH p IN ARRAY ways LOOP
    p := world || ' ' || p;
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, divisor numeric)', p);
    INSERT INTO loyalty.program (name, sandbox, expiry, tier_metric, tier_period, decimals) VALUES (p, true, '6 months', 'spend', 'calendar month', 2);
    INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES (p, 'green', 0, 0, 0), (p, 'gold', 1, 60, 0.5), (p, 'black', 2, 200, 1);
    PERFORM loyalty.attach(format('loading.%I', p), program => p, member => 'who', amount => 'total', occurred_at => 'at', condition => 'divisor >= 0', name => 'sales', on_error => 'skip');
    INSERT INTO loyalty.rule (program, source, name, kind, points, condition, cap, cap_period, max_uses, uses_period) VALUES
      (p, 'sales', 'rate', 'base', 'earn.amount / divisor', 'divisor <> 7', NULL, NULL, NULL, NULL),
      (p, 'sales', 'capped', 'bonus', 'earn.amount * 0.3', 'earn.amount > 20', 9, 'calendar month', NULL, NULL),
      (p, 'sales', 'twice', 'bonus', '5', 'earn.amount > 30 AND account.tier IS NOT NULL', NULL, NULL, 2, 'calendar month');
  END LOOP;
END $$;

-- all by one statement, a hundred rows at a time, each by itself
CREATE FUNCTION buy(world text, first_id int DEFAULT 1, last_id int DEFAULT 4000) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  i int;
BEGIN
  EXECUTE format('INSERT INTO %I SELECT * FROM purchase WHERE id BETWEEN %s AND %s ORDER BY id', world || ' whole', first_id, last_id);
  FOR i IN first_id / 100 .. last_id / 100 LOOP
    EXECUTE format('INSERT INTO %I SELECT * FROM purchase WHERE id BETWEEN %s AND %s AND id / 100 = %s ORDER BY id', world || ' batches', first_id, last_id, i);
  END LOOP;
  FOR i IN SELECT id FROM purchase WHERE id BETWEEN first_id AND last_id ORDER BY id LOOP
    EXECUTE format('INSERT INTO %I SELECT * FROM purchase WHERE id = %s', world || ' single', i);
  END LOOP;
END $$;

-- what is left in a program, one line a thing; numbers of entries apart, which follow the order in which rooms came
CREATE FUNCTION left_in(world text) RETURNS TABLE (what text, line text) LANGUAGE sql AS $$
  SELECT 'account', concat_ws('|', a.member_id, a.enrolled_at, a.settled_at, a.available, a.pending, a.debt, a.spend, a.spend_previous, a.visits, a.earned, a.status,
    (SELECT t.name FROM loyalty.tier t WHERE t.id = a.tier_id), a.tier_until, a.active_at)
  FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = world
  UNION ALL
  SELECT 'lot', concat_ws('|', l.member_id, l.expires_at, l.points, l.remaining, l.kept_amount, l.earned_at, l.available_at, l.at, l.source_key, l.part, l.amount)
  FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = world
  UNION ALL
  SELECT 'tier change', concat_ws('|', c.member_id, c.at, (SELECT t.name FROM loyalty.tier t WHERE t.id = c.from_tier_id), (SELECT t.name FROM loyalty.tier t WHERE t.id = c.to_tier_id))
  FROM loyalty.tier_change c JOIN loyalty.program p ON p.id = c.program_id WHERE p.name = world
  UNION ALL
  SELECT 'usage', concat_ws('|', u.member_id, r.name, u.period_start, u.used, u.uses)
  FROM loyalty.rule_usage u JOIN loyalty.rule r ON r.id = u.rule_id WHERE r.program = world
  UNION ALL
  SELECT 'review', concat_ws('|', v.member_id, v.source_key, v.sqlstate, v.settled_at IS NULL)
  FROM loyalty.review v JOIN loyalty.source s ON s.id = v.source_id WHERE s.program = world
  UNION ALL
  SELECT 'progress', concat_ws('|', g.member_id, c.name, g.period_start, g.value, g.times, g.completed_at)
  FROM loyalty.progress g JOIN loyalty.challenge c ON c.id = g.challenge_id WHERE c.program = world
  UNION ALL
  SELECT 'referral', concat_ws('|', r.member_id, r.referrer_member_id, r.state, r.source_key, r.rewarded_at, r.friend_points, r.referrer_points)
  FROM loyalty.referral r JOIN loyalty.program p ON p.id = r.program_id WHERE p.name = world
  UNION ALL
  SELECT 'donation', concat_ws('|', d.member_id, d.source_key, d.amount, d.kept)
  FROM loyalty.donation d JOIN loyalty.program p ON p.id = d.program_id WHERE p.name = world
$$;

CREATE FUNCTION differ(world text) RETURNS TABLE (way text, what text, lines bigint, example text) LANGUAGE sql AS $$
  WITH o AS MATERIALIZED (SELECT * FROM left_in(world || ' single')), l AS MATERIALIZED (
    SELECT w.way, f.what, f.line FROM (VALUES ('whole'), ('batches')) w (way) CROSS JOIN LATERAL left_in(world || ' ' || w.way) f)
  SELECT d.way, d.what, count(*), min(d.line)
  FROM (SELECT w.way, x.* FROM (VALUES ('whole'), ('batches')) w (way) CROSS JOIN LATERAL
        ((SELECT l.what, l.line || ' more' FROM l WHERE l.way = w.way EXCEPT ALL SELECT o.what, o.line || ' more' FROM o)
         UNION ALL (SELECT o.what, o.line || ' less' FROM o EXCEPT ALL SELECT l.what, l.line || ' less' FROM l WHERE l.way = w.way)) x (what, line)) d
  GROUP BY 1, 2 ORDER BY 1, 2
$$;

-- rules that fail, tiers, caps, uses: a load of all rows hopes that no key is there
SELECT make('rules');
SELECT buy('rules');
SELECT what, count(*) FROM left_in('rules single') GROUP BY 1 ORDER BY 1;
SELECT * FROM differ('rules');

-- What follows sales in SQL is done when a thousand rows are worked, and dated then: the same figures at later instants.
CREATE FUNCTION figures_in(world text) RETURNS TABLE (what text, line text) LANGUAGE sql AS $$
  SELECT 'points', concat_ws('|', l.member_id, sum(l.points)) FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = world GROUP BY l.member_id
  UNION ALL
  SELECT 'progress', concat_ws('|', g.member_id, c.name, g.period_start, g.value, g.times, g.completed_at IS NOT NULL)
  FROM loyalty.progress g JOIN loyalty.challenge c ON c.id = g.challenge_id WHERE c.program = world
  UNION ALL
  SELECT 'referral', concat_ws('|', r.member_id, r.state, r.friend_points, r.referrer_points) FROM loyalty.referral r JOIN loyalty.program p ON p.id = r.program_id WHERE p.name = world
  UNION ALL
  SELECT 'donation', concat_ws('|', d.member_id, d.source_key, d.amount, d.kept) FROM loyalty.donation d JOIN loyalty.program p ON p.id = d.program_id WHERE p.name = world
$$;
CREATE FUNCTION figures_differ(world text) RETURNS TABLE (way text, what text, line text) LANGUAGE sql AS $$
  SELECT w.way, x.* FROM (VALUES (' whole'), (' batches')) w (way) CROSS JOIN LATERAL
    ((SELECT * FROM figures_in(world || w.way) EXCEPT ALL SELECT * FROM figures_in(world || ' single')) UNION ALL
     (SELECT * FROM figures_in(world || ' single') EXCEPT ALL SELECT * FROM figures_in(world || w.way))) x ORDER BY 1, 2, 3 LIMIT 10
$$;

-- challenges count and give in the sale; members blocked and excluded on the way
SELECT make('challenges');
INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, points, streak, starts_at)
SELECT p.name, c.* FROM loyalty.program p, (VALUES
  ('card', 'stamp', 'purchases', 3, 'lifetime', 7, NULL::int, timestamptz '2024-01-01'), ('fifty', 'target', 'spend', 50, 'calendar month', 11, NULL, '2024-01-15')) c
WHERE p.name LIKE 'challenges %';
SELECT buy('challenges', 1, 900);
SELECT count(*) FROM loyalty.program p, generate_series(900001, 900010) m, LATERAL loyalty.block(m, p.name, 'test') b WHERE p.name LIKE 'challenges %';
UPDATE loyalty.member SET status = 'excluded' WHERE member_id IN (900020, 900021);
SELECT buy('challenges', 901, 1800);
SELECT count(*) FROM loyalty.program p, generate_series(900001, 900010) m, LATERAL loyalty.unblock(m, p.name, 'test') b WHERE p.name LIKE 'challenges %';
SELECT buy('challenges', 1801);
UPDATE loyalty.member SET status = 'active' WHERE member_id IN (900020, 900021);
SELECT what, count(*) FROM left_in('challenges single') GROUP BY 1 ORDER BY 1;
SELECT * FROM differ('challenges');
SELECT make('visits');
INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, points, streak, starts_at)
SELECT p.name, c.* FROM loyalty.program p, (VALUES
  ('days', 'target', 'visits', 4, 'calendar quarter', 13, NULL, timestamptz '2024-01-01'), ('weekly', 'streak', 'purchases', 1, 'week', 17, 3, '2024-01-01')) c
WHERE p.name LIKE 'visits %';
SELECT buy('visits', 1, 1300);
SELECT what, count(*) FROM figures_in('visits single') GROUP BY 1 ORDER BY 1;
SELECT * FROM figures_differ('visits');

-- Friends and what is given to causes; while statistics say that every table is empty, as an ANALYZE leaves them that comes in the middle of a
-- first load.  A plan made of them that joined rows with rows would not end here.
UPDATE pg_class SET relpages = 1, reltuples = 0 WHERE relnamespace = 'loyalty'::regnamespace AND relkind = 'r';
SELECT make('friends');
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, minimum, final_after)
SELECT p.name, 'c', 100, 50, 20, '10 days' FROM loyalty.program p WHERE p.name LIKE 'friends %';
SET loyalty.now = '2024-01-01';
SELECT r.state, count(*) FROM loyalty.program p, generate_series(900000, 900040) m,
  LATERAL (SELECT e.member_id FROM loyalty.enroll(m + 300, p.name) e) e, LATERAL loyalty.refer(loyalty.referral_code(e.member_id, p.name), m, p.name) r WHERE p.name LIKE 'friends %' GROUP BY 1;
RESET loyalty.now;
INSERT INTO loyalty.cause (program, name) SELECT p.name, 'trees' FROM loyalty.program p WHERE p.name LIKE 'friends %';
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) SELECT p.name, 'one per cent', 'amount', 'shop', 0.01, 'trees' FROM loyalty.program p WHERE p.name LIKE 'friends %';
SELECT buy('friends', 1, 1300);
SELECT what, count(*) FROM figures_in('friends single') GROUP BY 1 ORDER BY 1;
SELECT * FROM figures_differ('friends');

-- the control: a budget
SELECT make('budget');
UPDATE loyalty.rule SET budget = 2000 WHERE program LIKE 'budget %' AND name = 'capped';
SELECT buy('budget');
SELECT d.way, d.what FROM differ('budget') d;
SELECT r.program, sum(b.left_over) FROM loyalty.rule r JOIN loyalty.rule_budget b ON b.rule_id = r.id WHERE r.program LIKE 'budget %' GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();
ROLLBACK;
