-- Limits of rules: caps and uses a member and period, budgets of a campaign.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA limit_test;
SET LOCAL search_path = limit_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('l', 'Europe/Istanbul', true);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT '2020-03-10 10:00+00', kind text);
SELECT loyalty.attach('sale', program => 'l', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SET loyalty.now = '2020-03-10 10:00+00';
-- what a member has had of each rule, and what is left of budgets
CREATE VIEW used AS
SELECT u.member_id AS who, r.name AS rule, u.period_start AT TIME ZONE 'Europe/Istanbul' AS "from", trim_scale(u.used / 1e8) AS used, u.uses
FROM loyalty.rule_usage u JOIN loyalty.rule r ON r.id = u.rule_id ORDER BY 1, 2, 3;
CREATE VIEW left_over AS
SELECT r.name AS rule, trim_scale(sum(b.left_over) / 1e8) AS points FROM loyalty.rule_budget b JOIN loyalty.rule r ON r.id = b.rule_id GROUP BY 1 ORDER BY 1;
CREATE FUNCTION earned(key text, OUT rule text, OUT points numeric, OUT wanted numeric, OUT limited_by text) RETURNS SETOF record LANGUAGE sql AS
$$ SELECT rule, points, wanted, limited_by FROM loyalty.award('limit_test.sale', key) $$;

-- ---- a cap with 7 left and an award of 10 pays 7 and says 10; after a return the 7 can be earned again
SAVEPOINT empty;
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period) VALUES ('l', 'sale', 'one', 'earn.amount', 27, 'calendar month');
INSERT INTO sale VALUES (1, 1, 20);
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 1, "total": 10, "at": "2020-03-10T10:00:00Z"}');
INSERT INTO sale VALUES (2, 1, 10);
SELECT * FROM earned('1');
SELECT * FROM earned('2');
SELECT rule, why_not FROM loyalty.why_not('sale', '2');
SELECT l.breakdown::loyalty.breakdown::text ~ ': 7 of 10 by cap' AS says FROM loyalty.lot l WHERE l.source_key = '2';
SELECT * FROM used;
INSERT INTO sale VALUES (3, 1, 10);
SELECT * FROM earned('3');
SELECT rule, why_not FROM loyalty.why_not('sale', '3');
DELETE FROM sale WHERE id = 2;
SELECT * FROM used;
INSERT INTO sale VALUES (4, 1, 10);
SELECT * FROM earned('4');
-- what comes back was given before: it counts, and stands above the cap
INSERT INTO sale VALUES (2, 1, 10);
SELECT * FROM used;
SELECT available FROM loyalty.balance(1, 'l');
DELETE FROM sale WHERE id IN (2, 4);
-- partial returns, whatever the path: what is kept of 7 counts
INSERT INTO sale VALUES (5, 1, 10);
UPDATE sale SET total = 7 WHERE id = 5;
UPDATE sale SET total = 1 WHERE id = 5;
SELECT * FROM used;
UPDATE sale SET total = 3 WHERE id = 5;
SELECT * FROM used;
UPDATE sale SET total = 10 WHERE id = 5;
SELECT * FROM used;
-- grows above its amount: what lies beyond what is stored, if the cap leaves any
UPDATE sale SET total = 12 WHERE id = 5;
SELECT * FROM earned('5');
UPDATE sale SET total = 10 WHERE id = 1;
UPDATE sale SET total = 14 WHERE id = 5;
SELECT * FROM earned('5');
SELECT * FROM used;
-- another member, another month, a late row of the month before; membership years have their own begin
UPDATE sale SET who = 2 WHERE id = 5;
INSERT INTO sale VALUES (6, 1, 30, '2020-04-01 10:00+00'), (7, 1, 30, '2020-02-29 20:59:59.999999+00'), (8, 1, 30, '2020-02-29 21:00+00');
SELECT * FROM used;
SELECT * FROM loyalty.verify();
UPDATE loyalty.rule SET cap_period = 'membership year' WHERE name = 'one';
SELECT * FROM used;
-- disabled rules are counted, too: what is returned meanwhile can be earned again
UPDATE loyalty.rule SET enabled = false WHERE name = 'one';
DELETE FROM sale WHERE id IN (5, 6);
UPDATE loyalty.rule SET enabled = true, cap_period = 'day' WHERE name = 'one';
INSERT INTO sale VALUES (9, 1, 30, '2020-03-10 20:59+00'), (10, 1, 30, '2020-03-10 21:00+00');
SELECT * FROM used;
UPDATE loyalty.program SET timezone = 'UTC' WHERE name = 'l';
SELECT who, rule, "from" AT TIME ZONE 'Europe/Istanbul' AS "from", used FROM used;
-- another figure counts at once; a cap that goes away and comes back is counted from the ledger
UPDATE loyalty.rule SET cap = 30 WHERE name = 'one';
INSERT INTO sale VALUES (11, 1, 30, '2020-03-10 20:58+00');
SELECT * FROM earned('11');
UPDATE loyalty.rule SET cap = NULL WHERE name = 'one';
INSERT INTO sale VALUES (12, 1, 30, '2020-03-10 20:58+00');
SELECT count(*) FROM used;
UPDATE loyalty.rule SET cap = 1000, cap_period = NULL WHERE name = 'one';
SELECT * FROM used;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- uses: purchases on which it paid; one that grows is one use; one that is returned is none
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, max_uses, uses_period, cap, cap_period) VALUES
  ('l', 'sale', 'one', 'base', 'earn.amount', NULL, NULL, NULL, NULL, NULL),
  ('l', 'sale', 'twice a week', 'bonus', 'earn.amount - 5', 'earn.amount > 2', 2, 'week', 100, 'calendar month');
INSERT INTO sale VALUES (1, 1, 5), (2, 1, 10), (3, 1, 20), (4, 1, 30);
SELECT k, e.* FROM generate_series(1, 4) k, earned(k::text) e;
SELECT rule, why_not FROM loyalty.why_not('sale', '4');
UPDATE sale SET total = 15 WHERE id = 2;
UPDATE sale SET total = 35 WHERE id = 4;
SELECT k, e.* FROM unnest('{2, 4}'::int[]) k, earned(k::text) e;
SELECT * FROM used;
UPDATE sale SET total = 0 WHERE id = 2;
INSERT INTO sale VALUES (5, 1, 100);
SELECT k, e.* FROM unnest('{2, 5}'::int[]) k, earned(k::text) e;
SELECT * FROM used;
SELECT * FROM loyalty.verify();
UPDATE sale SET total = 15 WHERE id = 2;
SELECT * FROM used;
-- a rule that first pays when the purchase grows
INSERT INTO sale VALUES (6, 2, 2);
UPDATE sale SET total = 12 WHERE id = 6;
UPDATE sale SET total = 16 WHERE id = 6;
SELECT * FROM earned('6');
SELECT * FROM used;
UPDATE sale SET total = 11 WHERE id = 6;
SELECT * FROM used;
UPDATE sale SET total = 1 WHERE id = 6;
SELECT * FROM used;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- groups are decided before limits; earn.base and the tier's bonus are what the base rules gave; one rounding
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('l', 'all', 0, 0, 0.5);
INSERT INTO loyalty.rule (program, source, name, kind, points, exclusive_group, priority, cap) VALUES
  ('l', 'sale', 'base', 'base', 'earn.amount', NULL, 0, 4.5),
  ('l', 'sale', 'double', 'bonus', 'earn.base', 'g', 2, 3.25),
  ('l', 'sale', 'other', 'bonus', 'earn.base - 1', 'g', 1, NULL);
INSERT INTO sale VALUES (1, 1, 10.3), (2, 1, 10.3);
SELECT k, e.* FROM generate_series(1, 2) k, earned(k::text) e;
SELECT rule, why_not FROM loyalty.why_not('sale', '2');
SELECT * FROM used;
SELECT sum(points) = 12 AS "4.5 + 3.25 + 5.15, down", sum(points) FROM earned('1');
ROLLBACK TO empty;

-- ---- rules with a life of their own keep their lots; dead on arrival counts
INSERT INTO loyalty.rule (program, source, name, kind, points, expiry, cap, budget) VALUES
  ('l', 'sale', 'one', 'base', 'earn.amount', NULL, 25, NULL), ('l', 'sale', 'short', 'bonus', '10', '1 days', 15, 12);
INSERT INTO sale VALUES (1, 1, 20, DEFAULT), (2, 1, 20, '2020-01-01'), (3, 1, 20, DEFAULT);
SELECT l.source_key, l.part, l.points / 10000 AS points, l.breakdown::loyalty.breakdown::text ~ 'elsewhere' AS elsewhere FROM loyalty.lot l ORDER BY 1, 2;
SELECT * FROM used;
SELECT * FROM left_over;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- budgets: exact, given back, overdrawn only by what comes back
INSERT INTO loyalty.rule (program, source, name, points, budget) VALUES ('l', 'sale', 'campaign', 'earn.amount', 27);
SELECT count(*), sum(left_over) / 1e8 AS points, max(left_over) - min(left_over) <= 1 AS even FROM loyalty.rule_budget;
INSERT INTO sale VALUES (1, 1, 20);
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 2, "total": 10, "at": "2020-03-10T10:00:00Z"}');
SELECT * FROM left_over;
INSERT INTO sale VALUES (2, 2, 10);
SELECT * FROM earned('2');
INSERT INTO sale VALUES (3, 3, 10);
SELECT rule, why_not FROM loyalty.why_not('sale', '3');
SELECT * FROM left_over;
DELETE FROM sale WHERE id = 2;
SELECT * FROM left_over;
INSERT INTO sale VALUES (4, 4, 10), (5, 5, 5), (6, 6, 2);
SELECT k, e.* FROM generate_series(4, 6) k, earned(k::text) e;
INSERT INTO sale VALUES (2, 2, 10);
SELECT * FROM left_over;
SELECT slot, left_over / 1e8 AS points FROM loyalty.rule_budget WHERE left_over <> 0;
INSERT INTO sale VALUES (7, 7, 1);
SELECT count(*) FROM earned('7');
UPDATE sale SET total = 15 WHERE id = 1;
SELECT * FROM left_over;
UPDATE loyalty.rule SET budget = 30.5 WHERE name = 'campaign';
SELECT * FROM left_over;
INSERT INTO sale VALUES (8, 8, 10);
SELECT * FROM earned('8');
SELECT * FROM loyalty.verify();
-- a failed statement and a rolled back one take nothing
SAVEPOINT s;
INSERT INTO sale VALUES (9, 9, 10);
ROLLBACK TO s;
SELECT * FROM left_over;
-- a budget that goes away and comes back is counted from the ledger; disabled rules give back
UPDATE loyalty.rule SET budget = NULL WHERE name = 'campaign';
SELECT count(*) FROM loyalty.rule_budget;
INSERT INTO sale VALUES (10, 10, 10);
UPDATE loyalty.rule SET budget = 100, enabled = false WHERE name = 'campaign';
SELECT * FROM left_over;
DELETE FROM sale WHERE id = 10;
SELECT * FROM left_over;
UPDATE loyalty.rule SET enabled = true, budget = 0 WHERE name = 'campaign';
SELECT * FROM left_over;
INSERT INTO sale VALUES (11, 11, 10);
SELECT count(*) FROM earned('11');
-- statements of many rows, with several budgets, in more than one batch; to the last unit
UPDATE loyalty.rule SET budget = 1000 WHERE name = 'campaign';
INSERT INTO loyalty.rule (program, source, name, kind, points, budget) VALUES ('l', 'sale', 'more', 'bonus', 'earn.amount * 0.37', 1500);
INSERT INTO sale SELECT 100 + i, i % 700, 1 + i % 7 FROM generate_series(1, 1500) i;
SELECT * FROM left_over;
SELECT rule, sum(points) FROM loyalty.award_share WHERE source_key::int > 100 GROUP BY 1 ORDER BY 1;
UPDATE sale SET total = total / 3 WHERE id > 100 AND id % 2 = 0;
DELETE FROM sale WHERE id > 100 AND id % 5 = 0;
INSERT INTO sale SELECT 2000 + i, i % 500, 3 FROM generate_series(1, 900) i;
UPDATE sale SET total = total * 4 WHERE id % 3 = 0;
SELECT * FROM left_over;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- reconcile and replay: one award each, limits as in the order of time
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period, budget) VALUES ('l', 'sale', 'one', 'earn.amount', 15, 'day', 1000);
ALTER TABLE sale DISABLE TRIGGER USER;
INSERT INTO sale VALUES (2, 1, 10, '2020-03-09 10:00+00'), (1, 1, 10, '2020-03-09 09:00+00'), (3, 1, 10, '2020-03-10 09:00+00');
ALTER TABLE sale ENABLE TRIGGER USER;
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM loyalty.reconcile('sale');
SELECT k, e.* FROM generate_series(1, 3) k, earned(k::text) e;
SELECT * FROM used;
SELECT * FROM left_over;
DELETE FROM sale;
SELECT * FROM left_over;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- quote = award: random programmes and purchases
CREATE TABLE quoted (i int, rule text, points numeric, why_not text, tier text);
SELECT setseed(0.42);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('l', 'low', 0, 0, 0), ('l', 'mid', 1, 300, 0.2), ('l', 'top', 2, 900, 0.5);
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, exclusive_group, priority, cap, cap_period, max_uses, uses_period, budget, starts_at, ends_at, expiry, pending)
SELECT 'l', 'sale', 'r' || i, CASE WHEN i <= 4 THEN 'base' ELSE 'bonus' END,
  CASE i % 4 WHEN 0 THEN format('earn.amount * %s', round(random()::numeric * 2, 3)) WHEN 1 THEN round(random()::numeric * 30, 2)::text
    WHEN 2 THEN CASE WHEN i <= 4 THEN 'earn.amount' ELSE format('earn.base * %s', round(random()::numeric, 2)) END ELSE 'earn.amount / 7' END,
  (ARRAY[NULL, 'earn.amount > 20', $$kind = 'x'$$, $$account.tier = 'mid'$$, 'account.spend > 100'])[1 + floor(random() * 5)],
  (ARRAY[NULL, NULL, 'g', 'h'])[1 + floor(random() * 4)], floor(random() * 3),
  CASE WHEN random() < 0.5 THEN round(random()::numeric * 200, 1) END,
  (ARRAY['day', 'week', 'calendar month', 'membership year', 'lifetime', NULL]::loyalty.period[])[1 + floor(random() * 6)],
  CASE WHEN random() < 0.4 THEN floor(random() * 8) END,
  (ARRAY['day', 'week', 'calendar month', 'membership year', 'lifetime', NULL]::loyalty.period[])[1 + floor(random() * 6)],
  CASE WHEN random() < 0.4 THEN round(random()::numeric * 500, 1) END,
  CASE WHEN random() < 0.2 THEN timestamptz '2020-03-20' ELSE '-infinity' END, CASE WHEN random() < 0.2 THEN timestamptz '2020-04-20' ELSE 'infinity' END,
  CASE WHEN random() < 0.2 THEN loyalty.expiry '40 days' END, CASE WHEN random() < 0.2 THEN interval '3 days' END
FROM generate_series(1, 12) i;
DO $$
DECLARE
  s sale;
BEGIN
  FOR i IN 1..400 LOOP
    s := (i, floor(random() * 4), round(random()::numeric * 60, 2), timestamptz '2020-03-01 00:00+00' + i * interval '4 hours', CASE WHEN random() < 0.5 THEN 'x' END);
    PERFORM set_config('loyalty.now', s.at::text, true);
    INSERT INTO quoted SELECT i, q.rule, q.points, q.why_not, q.tier FROM loyalty.quote('sale', to_jsonb(s)) q;
    INSERT INTO sale SELECT s.*;
    IF (SELECT b.tier FROM loyalty.balance(s.who, 'l') b) IS DISTINCT FROM (SELECT DISTINCT q.tier FROM quoted q WHERE q.i = s.id) THEN
      RAISE WARNING 'tier of % differs', i;
    END IF;
    IF random() < 0.3 THEN
      UPDATE sale SET total = round(total * random()::numeric, 2) WHERE id = floor(1 + random() * i);
    END IF;
    IF random() < 0.1 THEN
      DELETE FROM sale WHERE id = floor(1 + random() * i);
    END IF;
  END LOOP;
END $$;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE why_not ~ 'cap leaves') > 10 AS caps, count(*) FILTER (WHERE why_not ~ 'uses are up') > 10 AS uses,
  count(*) FILTER (WHERE why_not ~ 'budget leaves') > 10 AS budgets FROM quoted;
-- what the sale said at the time, from the breakdown: the same points and the same words
SELECT coalesce(q.i::text, s.key) AS key, coalesce(q.rule, s.rule) AS rule, q.points AS quoted, s.points AS earned, q.why_not, s.wanted
FROM (SELECT * FROM quoted WHERE points > 0 OR why_not ~ '(leaves|uses)') q
FULL JOIN (SELECT l.source_key AS key, coalesce(r.name, 'tier ' || t.name) AS rule, b.points::numeric AS points, m.wanted, m.limited_by
           FROM loyalty.lot l CROSS JOIN LATERAL loyalty.breakdown_shares(l.breakdown::loyalty.breakdown) b
           JOIN LATERAL loyalty.breakdown_limits(l.breakdown::loyalty.breakdown) m ON m.rule = b.rule
           LEFT JOIN loyalty.rule r ON r.id = b.rule LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
           WHERE l.part = 0 AND (b.points::numeric > 0 OR m.limited_by IS NOT NULL)) s
  ON s.key = q.i::text AND s.rule = q.rule
WHERE q.points IS DISTINCT FROM s.points OR (s.limited_by IS NOT NULL) IS DISTINCT FROM (q.why_not IS NOT NULL)
  OR s.limited_by IS NOT NULL AND q.why_not !~ ('(' || s.limited_by || ' leaves|its ' || s.limited_by || ' are).* ' || replace(trim_scale(s.wanted)::text, '.', '\.') || ' points');
SELECT bool_and(u.used <= r.cap * 1e8) AS caps_hold, count(*) > 10 AS many FROM loyalty.rule_usage u JOIN loyalty.rule r ON r.id = u.rule_id
WHERE r.cap IS NOT NULL AND r.max_uses IS NULL;
SELECT * FROM loyalty.verify();

-- ---- verify() finds what is wrong
CREATE FUNCTION broken(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
BEGIN
  EXECUTE command;
  SELECT string_agg(DISTINCT v.invariant, ', ') INTO found_ones FROM loyalty.verify() v;
  RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found_ones, 'nothing is found');
EXCEPTION WHEN SQLSTATE 'XX999' THEN
  RETURN SQLERRM;
END $$;
SELECT broken('UPDATE loyalty.rule_usage SET used = used + 1 WHERE ctid = (SELECT min(u.ctid) FROM loyalty.rule_usage u)');
SELECT broken('UPDATE loyalty.rule_usage SET uses = uses - 1 WHERE ctid = (SELECT min(u.ctid) FROM loyalty.rule_usage u)');
SELECT broken('DELETE FROM loyalty.rule_usage WHERE ctid = (SELECT min(u.ctid) FROM loyalty.rule_usage u WHERE u.used > 0)');
SELECT broken('UPDATE loyalty.rule_budget SET left_over = left_over + 1 WHERE slot = 3');
SELECT broken('DELETE FROM loyalty.rule_budget WHERE slot = 3');
-- and recount_limits() mends it
UPDATE loyalty.rule_usage SET used = used + 1;
UPDATE loyalty.rule_budget SET left_over = left_over + 1;
SELECT count(loyalty.recount_limits(r.id, r.cap IS NOT NULL OR r.max_uses IS NOT NULL, r.budget IS NOT NULL)) > 0 AS mended FROM loyalty.rule r WHERE program = 'l';
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- rolling: no window of this length ever holds more; what was paid leaves it at the same local wall time that much later
CREATE VIEW given AS
SELECT l.source_key::int AS id, l.earned_at AS at, b.units AS points, trim_scale(u.used / 1e8) AS used, u.uses
FROM loyalty.lot l CROSS JOIN LATERAL loyalty.breakdown_shares(l.breakdown::loyalty.breakdown) b
JOIN loyalty.rule_usage u ON u.member_id = l.member_id AND u.rule_id = b.rule AND u.period_start = l.earned_at AND u.period_end = l.earned_at ORDER BY 1, 3;
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period) VALUES ('l', 'sale', 'one', 'earn.amount', 27, 'rolling 30 days');
INSERT INTO sale VALUES (1, 1, 20, '2020-01-10 10:00+00'), (2, 1, 10, '2020-01-20 10:00+00'), (3, 1, 10, '2020-02-09 09:59:59.999999+00'), (4, 1, 10, '2020-02-09 10:00+00');
SELECT * FROM given;
SELECT rule, why_not FROM loyalty.why_not('sale', '3');
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 1, "total": 10, "at": "2020-02-09T10:00:01Z"}');
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 1, "total": 30, "at": "2020-02-19T10:00:00Z"}');
-- late: nothing is left where a later window that holds it is full
INSERT INTO sale VALUES (5, 1, 20, '2020-01-25 10:00+00'), (6, 1, 30, '2020-01-01 10:00+00'), (7, 1, 30, '2019-12-21 10:00+00');
SELECT * FROM given WHERE id IN (5, 6, 7);
-- a return gives back to the windows in which it was: that of the 30th holds 12, that of 4 holds 17 and would hold it
UPDATE sale SET total = 5 WHERE id = 1;
INSERT INTO sale VALUES (11, 1, 20, '2020-01-30 10:00+00');
SELECT * FROM given;
DELETE FROM sale WHERE id = 4;
INSERT INTO sale VALUES (8, 1, 20, '2020-02-10 10:00+00');
SELECT * FROM given WHERE id IN (4, 8);
-- what comes back was given before
INSERT INTO sale VALUES (4, 1, 10, '2020-02-09 10:00+00'), (9, 1, 10, '2020-02-10 11:00+00');
SELECT * FROM given WHERE id IN (4, 9);
SELECT * FROM loyalty.verify();
-- another member has windows of his own; whose purchase it becomes, in whose window it is
UPDATE sale SET who = 2 WHERE id = 2;
INSERT INTO sale VALUES (10, 2, 30, '2020-01-20 11:00+00');
SELECT * FROM given WHERE id IN (2, 10);
SELECT * FROM loyalty.verify();
-- another period is counted from the ledger, there and back
CREATE TABLE before AS SELECT * FROM used;
UPDATE loyalty.rule SET cap_period = 'calendar month' WHERE name = 'one';
SELECT * FROM used;
UPDATE loyalty.rule SET cap_period = 'rolling 30 days' WHERE name = 'one';
(SELECT * FROM before WHERE uses > 0 EXCEPT TABLE used) UNION ALL (SELECT * FROM used EXCEPT TABLE before);
ROLLBACK TO empty;

-- uses and cap of different periods, and a cooldown, which shares the instants
INSERT INTO loyalty.rule (program, source, name, points, max_uses, uses_period, cap, cap_period, cooldown) VALUES
  ('l', 'sale', 'one', 'earn.amount', 2, 'rolling 1 month', 25, 'calendar year', '1 hour');
INSERT INTO sale VALUES (1, 1, 10, '2020-01-31 10:00+00'), (2, 1, 10, '2020-01-31 10:59+00'), (3, 1, 10, '2020-02-01 12:00+00'), (4, 1, 10, '2020-02-29 09:59:59.999999+00'),
  (5, 1, 10, '2020-02-29 10:00+00'), (6, 1, 10, '2020-03-01 11:59+00'), (7, 1, 10, '2020-03-01 12:00+00');
SELECT k, e.* FROM generate_series(1, 7) k, earned(k::text) e;
SELECT * FROM used;
DELETE FROM sale WHERE id = 3;
SELECT * FROM used;
SELECT * FROM loyalty.verify();
UPDATE loyalty.rule_usage SET used = used + 1 WHERE period_start = period_end AND uses > 0;
SELECT invariant, detail FROM loyalty.verify() ORDER BY detail LIMIT 1;
SELECT loyalty.recount_limits(id) FROM loyalty.rule WHERE name = 'one';
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- against plain SQL: purchases in order and late, many at once, returned in parts, cancelled, through the end of February and clock changes
UPDATE loyalty.program SET timezone = 'America/New_York' WHERE name = 'l';
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period, max_uses, uses_period) VALUES
  ('l', 'sale', 'one', 'earn.amount', 60, 'rolling 1 month', NULL, NULL), ('l', 'sale', 'two', 'earn.amount', 22, 'rolling 9 days', 5, 'rolling 1 month 2 days'), ('l', 'sale', 'three', '1', NULL, NULL, 2, 'rolling 2 days');
CREATE TABLE model (id int, rule text, at timestamptz, amount numeric, kept numeric, points numeric, PRIMARY KEY (rule, id));
CREATE FUNCTION later(at timestamptz, length text) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
  $$ SELECT (at AT TIME ZONE 'America/New_York' + length::interval) AT TIME ZONE 'America/New_York' $$;
-- the most that a window holds which holds an instant
CREATE FUNCTION most(in_rule text, at timestamptz, length text, OUT points numeric, OUT uses bigint) LANGUAGE sql AS $$
  WITH paid AS (SELECT m.id, m.at, later(m.at, length) AS leaves, ceil(m.points * 1e8 * m.kept / m.amount) / 1e8 AS used, (m.points > 0 AND m.kept > 0)::int AS use FROM model m WHERE m.rule = in_rule)
  SELECT max(w.points), max(w.uses) FROM (
    SELECT coalesce(sum(p.used), 0) AS points, coalesce(sum(p.use), 0) AS uses
    FROM (SELECT most.at AS s UNION SELECT q.at FROM paid q WHERE q.at > most.at AND q.at < later(most.at, length)) s
    LEFT JOIN paid p ON p.at <= s.s AND p.leaves > s.s GROUP BY s.s) w $$;
CREATE FUNCTION buy(in_id int, in_at timestamptz, in_amount numeric) RETURNS void LANGUAGE sql AS $$
  INSERT INTO model SELECT in_id, v.rule, in_at, in_amount, in_amount, v.points FROM (VALUES
    ('one', least(in_amount, greatest(60 - (most('one', in_at, '1 month')).points, 0))),
    ('two', CASE WHEN (most('two', in_at, '1 month 2 days')).uses >= 5 THEN 0 ELSE least(in_amount, greatest(22 - (most('two', in_at, '9 days')).points, 0)) END),
    ('three', CASE WHEN (most('three', in_at, '2 days')).uses >= 2 THEN 0 ELSE 1 END)) v (rule, points) $$;
CREATE FUNCTION run(steps int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  clock timestamptz := '2020-01-25 12:00+00';
  id int := 0;
  s record;
BEGIN
  FOR i IN 1..steps LOOP
    clock := clock + random() * interval '2 days';
    CREATE TEMP TABLE batch ON COMMIT DROP AS
      SELECT id + n AS id, date_trunc('hour', clock - CASE WHEN random() < 0.3 THEN random() * interval '40 days' ELSE n * interval '3 hours' END) AS at, 1 + floor(random() * 20) AS total
      FROM generate_series(1, CASE WHEN random() < 0.2 THEN 4 ELSE 1 END) n;
    FOR s IN SELECT * FROM batch b ORDER BY b.id LOOP
      PERFORM buy(s.id, s.at, s.total::numeric);
      id := s.id;
    END LOOP;
    INSERT INTO sale SELECT b.id, 1, b.total, b.at FROM batch b ORDER BY b.id;
    DROP TABLE batch;
    FOR s IN SELECT m.id, floor(random() * m.amount) AS kept FROM (SELECT DISTINCT ON (m.id) m.* FROM model m ORDER BY m.id) m WHERE m.kept > 0 AND m.at > clock - interval '20 days' AND random() < 0.05 LOOP
      UPDATE model m SET kept = least(m.kept, s.kept) WHERE m.id = s.id;
      IF s.kept = 0 THEN
        DELETE FROM sale WHERE sale.id = s.id;
      ELSE
        UPDATE sale SET total = least(total, s.kept) WHERE sale.id = s.id;
      END IF;
    END LOOP;
  END LOOP;
  RETURN (SELECT count(*) FROM (
    SELECT m.id, m.rule, m.points, ceil(m.points * 1e8 * m.kept / m.amount) / 1e8 FROM model m
    EXCEPT
    SELECT l.source_key::int, r.name, b.units, CASE WHEN l.kept_amount = l.amount THEN b.units ELSE ceil(b.units * 1e8 * l.kept_amount / l.amount) / 1e8 END
    FROM loyalty.lot l CROSS JOIN LATERAL loyalty.breakdown_shares(l.breakdown::loyalty.breakdown) b JOIN loyalty.rule r ON r.id = b.rule) x);
END $$;
SELECT setseed(0.25);
SELECT run(150) AS wrong;
SELECT count(*) > 150 AS many, count(*) FILTER (WHERE points = 0) > 20 AS nothing_left, count(*) FILTER (WHERE points > 0 AND points < amount) > 20 AS trimmed, count(*) FILTER (WHERE kept < amount) > 20 AS returned
FROM model;
-- and so no window has ever held more than it may
SELECT m.rule, trim_scale(max((most(m.rule, m.at, CASE m.rule WHEN 'one' THEN '1 month' WHEN 'two' THEN '9 days' ELSE '2 days' END)).points)) AS most FROM model m GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- what is no limit
INSERT INTO loyalty.rule (program, source, name, points, cap) VALUES ('l', 'sale', 'bad', '1', -1);
INSERT INTO loyalty.rule (program, source, name, points, cap) VALUES ('l', 'sale', 'bad', '1', 'NaN');
INSERT INTO loyalty.rule (program, source, name, points, budget) VALUES ('l', 'sale', 'bad', '1', 0.00001);
INSERT INTO loyalty.rule (program, source, name, points, budget) VALUES ('l', 'sale', 'bad', '1', 'infinity');
INSERT INTO loyalty.rule (program, source, name, points, cap, cap_period) VALUES ('l', 'sale', 'bad', '1', 1, 'rolling 0 days');
INSERT INTO loyalty.rule (program, source, name, points, max_uses) VALUES ('l', 'sale', 'bad', '1', -1);
INSERT INTO loyalty.rule (program, source, name, points, cap, max_uses, budget) VALUES ('l', 'sale', 'largest', 'earn.amount', 90000000000, 2147483647, 90000000000);
INSERT INTO sale VALUES (1, 1, 9999999999), (2, 2, 9999999999);
SELECT * FROM left_over;
SELECT * FROM loyalty.verify();
ROLLBACK;
