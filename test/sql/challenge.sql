-- Challenges: stamp cards, targets, streaks, badges; progress follows sales and their returns.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA challenge_test;
SET LOCAL search_path = challenge_test, public;
SET LOCAL TimeZone = 'Europe/Istanbul';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('c', 'Europe/Istanbul', true);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, kind text);
CREATE TABLE check_in (id int PRIMARY KEY, who bigint, at timestamptz);
SELECT loyalty.attach('sale', program => 'c', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('check_in', program => 'c', member => 'who', amount => '0', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('c', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('c', 'free coffee', 150, 2);
SET loyalty.now = '2022-03-31 12:00+03';
CREATE VIEW given AS
SELECT x.member_id AS who, c.name AS challenge, nullif(x.period_start, '-infinity') AT TIME ZONE 'Europe/Istanbul' AS "from", x.award_no AS no, x.completions AS n, x.taken_back AS back,
  trim_scale(x.points * 0.0001) AS points, trim_scale(x.points_taken * 0.0001) AS taken, trim_scale(x.owed * 0.0001) AS owed, x.badge, r.state AS reward
FROM loyalty.challenge_award x JOIN loyalty.challenge c ON c.id = x.challenge_id LEFT JOIN loyalty.redemption r ON r.member_id = x.member_id AND r.redemption_id = x.redemption_id
ORDER BY 1, 2, 3, 4;
CREATE VIEW standing AS
SELECT member_id AS who, challenge, value, target, to_go, completed AS done, streak, deadline FROM loyalty.challenge_progress WHERE program = 'c' ORDER BY 1, 2;
CREATE FUNCTION available(who bigint) RETURNS numeric LANGUAGE sql AS $$ SELECT available FROM loyalty.balance(who, 'c') $$;
SAVEPOINT empty;

-- ---- a stamp card: buy three, get 10 points; as many cards as are filled
INSERT INTO loyalty.challenge (program, name, kind, source, target, points, starts_at) VALUES ('c', 'card', 'stamp', 'sale', 3, 10, '2022-01-01');
INSERT INTO sale SELECT n, 1, 1, '2022-01-01 10:00'::timestamptz + n * interval '1 day' FROM generate_series(1, 2) n;
SELECT * FROM standing;
INSERT INTO sale VALUES (3, 1, 1, '2022-01-05');
SELECT * FROM standing;
SELECT * FROM given;
SELECT available(1);
SELECT entry_no, at, kind, points, what FROM loyalty.statement WHERE program = 'c' ORDER BY entry_no;
INSERT INTO sale SELECT n, 1, 1, '2022-01-05' FROM generate_series(4, 14) n;
SELECT * FROM standing;
SELECT * FROM given;
-- returns take back what is not earned any more, and no more; all of it comes again
DELETE FROM sale WHERE id IN (1, 2, 3, 4, 5, 6);
SELECT * FROM given;
SELECT * FROM standing;
SELECT available(1);
INSERT INTO sale SELECT n, 1, 1, '2022-01-05' FROM generate_series(1, 6) n;
SELECT sum(n - back) AS stand, sum(points - taken) AS points FROM given;
SELECT available(1);
-- a part of a purchase that is returned is still a purchase; growth is no further one; nothing changes for others
UPDATE sale SET total = 0.5 WHERE id = 1;
UPDATE sale SET total = 5 WHERE id = 2;
INSERT INTO sale VALUES (100, 2, 1, '2022-01-05');
SELECT who, value, done FROM standing;
-- a purchase that changes hands
UPDATE sale SET who = 2 WHERE id IN (2, 3);
SELECT who, value, done FROM standing;
UPDATE sale SET total = 8 WHERE id = 2;
UPDATE sale SET who = 1 WHERE id IN (2, 3);
SELECT who, value, done FROM standing;
SELECT * FROM loyalty.verify();
-- a buy and return cycle gains nothing, whether the points are spent or not
DELETE FROM sale;
SELECT available(1), sum(owed) FROM given;
INSERT INTO sale SELECT n, 3, 0.1, '2022-02-01' FROM generate_series(201, 203) n;
SELECT points FROM loyalty.redeem(3, points => 10, program => 'c');
DELETE FROM sale;
SELECT * FROM given WHERE who = 3;
INSERT INTO sale SELECT n, 3, 0.1, '2022-02-01' FROM generate_series(201, 203) n;
SELECT * FROM given WHERE who = 3;
SELECT available(3);
INSERT INTO sale SELECT n, 3, 0.1, '2022-02-01' FROM generate_series(204, 206) n;
SELECT available(3);
SELECT * FROM loyalty.verify();
SELECT * FROM loyalty.challenge_performance WHERE program = 'c';
ROLLBACK TO empty;

-- ---- buy ten, get one free: a reward of the catalogue, that costs nothing, and a badge
INSERT INTO loyalty.challenge (program, name, kind, source, target, reward, badge, starts_at) VALUES ('c', 'coffee card', 'stamp', 'sale', 10, 'free coffee', 'barista', '2022-01-01');
INSERT INTO sale SELECT n, 1, 1, '2022-01-05' FROM generate_series(1, 9) n;
SELECT redemption_id IS NOT NULL AS has FROM loyalty.challenge_award;
INSERT INTO sale VALUES (10, 1, 1, '2022-01-05');
SELECT * FROM given;
SELECT * FROM loyalty.member_badge WHERE program = 'c';
SELECT reward_id IS NOT NULL AS reward, points / 10000 AS points, quantity, state, reason FROM loyalty.redemption;
SELECT available(1);
SELECT sum(left_over) AS stock FROM loyalty.reward_stock;
-- the purchase goes: so do coffee and badge, and the points of the coffee are not the member's
DELETE FROM sale WHERE id = 10;
SELECT * FROM given;
SELECT * FROM loyalty.member_badge WHERE program = 'c';
SELECT available(1), sum(left_over) AS stock FROM loyalty.reward_stock;
-- three cards at once, and two coffees: the third is due until there are more
INSERT INTO sale SELECT n, 1, 1, '2022-01-05' FROM generate_series(10, 30) n;
SELECT * FROM given;
SELECT rewards, rewards_due FROM loyalty.challenge_performance WHERE program = 'c';
SELECT challenge, reward, redemption_id IS NOT NULL AS given FROM loyalty.claim_challenge_rewards(1, 'c');
UPDATE loyalty.reward SET stock = 5 WHERE program = 'c';
SELECT challenge, reward, redemption_id IS NOT NULL AS given FROM loyalty.claim_challenge_rewards(1, 'c');
SELECT challenge, reward, redemption_id IS NOT NULL AS given FROM loyalty.claim_challenge_rewards(1, 'c');
SELECT available(1), sum(left_over) AS stock FROM loyalty.reward_stock;
DELETE FROM sale WHERE id = 30;
SELECT * FROM given;
SELECT available(1), sum(left_over) AS stock FROM loyalty.reward_stock;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- a voucher that was used before the purchase is returned: the return goes through, and the next reward is that one
INSERT INTO loyalty.reward (program, name, kind, cost, value, value_unit) VALUES ('c', 'ten off', 'discount', 100, 10, 'percent');
INSERT INTO loyalty.challenge (program, name, kind, source, target, reward, starts_at) VALUES ('c', 'discount', 'stamp', 'sale', 2, 'ten off', '2022-01-01');
INSERT INTO sale SELECT n, 1, 7, '2022-01-05' FROM generate_series(1, 2) n;
SELECT reward, state, value FROM loyalty.vouchers(1);
SELECT u.state FROM loyalty.vouchers(1) v, LATERAL loyalty.use_voucher(1, voucher_id => v.voucher_id, reference => 'receipt 1') u;
DELETE FROM sale WHERE id = 2;
SELECT n - back AS stand, reward FROM given;
INSERT INTO sale VALUES (3, 1, 7, '2022-01-06');
SELECT n - back AS stand, reward FROM given;
SELECT count(*) AS vouchers FROM loyalty.voucher;
INSERT INTO sale SELECT n, 1, 7, '2022-01-07' FROM generate_series(4, 5) n;
SELECT n - back AS stand, reward FROM given;
SELECT count(*) AS vouchers FROM loyalty.voucher;
SELECT available(1);
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- a condition on rows is a status unit that a rule awards: ten coffees
INSERT INTO loyalty.rule (program, source, name, unit, points, condition) VALUES ('c', 'sale', 'a stamp a coffee', 'coffee stamp', '1', $$kind = 'coffee'$$);
INSERT INTO loyalty.challenge (program, name, kind, metric, target, points, starts_at) VALUES ('c', 'coffees', 'stamp', 'coffee stamp', 2, 5, '2022-01-01');
INSERT INTO sale VALUES (1, 1, 3, '2022-01-05', 'coffee'), (2, 1, 3, '2022-01-05', 'tea'), (3, 1, 3, '2022-01-05', 'coffee'), (4, 1, 3, '2022-01-05', 'coffee');
SELECT * FROM standing;
SELECT * FROM given;
SELECT * FROM loyalty.verify();
DELETE FROM sale WHERE id IN (1, 2, 3);
SELECT * FROM standing;
SELECT * FROM given;
SELECT available(1);
SELECT loyalty.recount_challenge('coffees', 'c');
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- a target: 100 in a calendar month of the program's zone, once each; a late row counts in its own month
INSERT INTO loyalty.challenge (program, name, metric, target, period, points, badge, starts_at) VALUES ('c', 'hundred', 'spend', 100, 'calendar month', 50, 'spender', '2022-01-01');
INSERT INTO sale VALUES (1, 1, 60, '2022-01-31 23:59:59'), (2, 1, 60, '2022-02-01 00:00'), (3, 1, 45, '2022-02-28 23:59:59.999999'), (4, 1, 500, '2022-02-15');
SELECT * FROM given;
INSERT INTO sale VALUES (5, 1, 40, '2022-01-02');
SELECT * FROM given;
SELECT member_id AS who, period_start, value, times, completed_at FROM loyalty.progress ORDER BY period_start;
-- below by a return in part, and above again
UPDATE sale SET total = 59.99 WHERE id = 1;
SELECT * FROM given;
SELECT * FROM loyalty.member_badge WHERE program = 'c';
UPDATE sale SET total = 60 WHERE id = 1;
SELECT * FROM given;
SELECT * FROM standing;
INSERT INTO sale VALUES (6, 1, 30, '2022-03-02');
SELECT * FROM standing;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- a streak: three ISO weeks in a row with two visits each; visits are local days
INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, streak, points, starts_at) VALUES ('c', 'regular', 'streak', 'visits', 2, 'week', 3, 30, '2022-01-03');
SET loyalty.now = '2022-01-30 12:00+03';
INSERT INTO sale VALUES (1, 1, 1, '2022-01-03 00:00'), (2, 1, 1, '2022-01-03 20:00'), (3, 1, 1, '2022-01-09 23:59:59'),
  (4, 1, 1, '2022-01-10'), (5, 1, 1, '2022-01-11'), (6, 1, 1, '2022-01-24'), (7, 1, 1, '2022-01-30');
SELECT * FROM standing;
SELECT period_start, value FROM loyalty.progress ORDER BY 1;
-- the gap is filled by one that comes late
INSERT INTO sale VALUES (8, 1, 1, '2022-01-17'), (9, 1, 1, '2022-01-23');
SELECT * FROM standing;
SELECT * FROM given;
-- one of two purchases of a day goes: the visit stays; the other goes: the run is broken
DELETE FROM sale WHERE id = 1;
SELECT who, done, streak FROM standing;
DELETE FROM sale WHERE id = 9;
SELECT who, value, done, streak FROM standing;
SELECT * FROM given;
INSERT INTO sale VALUES (9, 1, 1, '2022-01-23');
SELECT who, value, done, streak FROM standing;
-- six in a row are two; of a week that has just begun the run is not broken yet
SET loyalty.now = '2022-02-21 12:00+03';
INSERT INTO sale SELECT 100 + n, 1, 1, '2022-01-31'::timestamptz + n * interval '84 hours' FROM generate_series(0, 3) n;
SELECT * FROM standing;
INSERT INTO sale VALUES (120, 1, 1, '2022-02-14'), (121, 1, 1, '2022-02-15');
SELECT * FROM standing;
SELECT * FROM given;
SET loyalty.now = '2022-02-28';
SELECT who, streak FROM standing;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- deadlines: so long after the member has joined, or was enrolled
INSERT INTO loyalty.challenge (program, name, kind, target, deadline, points, opt_in, starts_at) VALUES
  ('c', 'welcome', 'target', 2, '30 days', 20, false, '2022-01-01'), ('c', 'sprint', 'target', 2, '7 days', 40, true, '2022-01-01');
INSERT INTO sale VALUES (1, 1, 1, '2022-01-10 12:00'), (2, 2, 1, '2022-01-10 12:00');
SELECT * FROM standing;
INSERT INTO sale VALUES (3, 1, 1, '2022-02-09 11:59:59'), (4, 2, 1, '2022-02-09 12:00');
SELECT * FROM given;
SET loyalty.now = '2022-03-01 10:00';
SELECT * FROM loyalty.join_challenge(1, 'sprint', 'c');
SET loyalty.now = '2022-03-02 10:00';
SELECT * FROM loyalty.join_challenge(1, 'sprint', 'c');
INSERT INTO sale VALUES (5, 1, 1, '2022-03-01 09:59'), (6, 1, 1, '2022-03-02 10:00'), (7, 2, 1, '2022-03-02');
SELECT who, challenge, value, done, deadline FROM standing;
SET loyalty.now = '2022-03-09 10:00';
INSERT INTO sale VALUES (8, 1, 1, '2022-03-08 10:00'), (9, 1, 1, '2022-03-08 09:59:59');
SELECT * FROM given;
SELECT joined, members, completed_by, share FROM loyalty.challenge_performance WHERE program = 'c' ORDER BY challenge;
SELECT * FROM loyalty.join_challenge(1, 'welcome', 'c');
SELECT * FROM loyalty.join_challenge(77, 'sprint', 'c');
SELECT * FROM loyalty.join_challenge(1, 'nothing', 'c');
UPDATE loyalty.challenge SET enabled = false WHERE name = 'sprint';
SELECT * FROM loyalty.join_challenge(2, 'sprint', 'c');
UPDATE loyalty.challenge SET enabled = true, ends_at = '2022-03-09' WHERE name = 'sprint';
SELECT * FROM loyalty.join_challenge(2, 'sprint', 'c');
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- events are purchases of nothing: five check-ins; points earned
INSERT INTO loyalty.challenge (program, name, kind, metric, source, target, points, times, starts_at) VALUES
  ('c', 'explorer', 'stamp', 'purchases', 'check_in', 2, 5, 2, '2022-01-01'), ('c', 'collector', 'target', 'points', NULL, 50, 7, NULL, '2022-01-01');
INSERT INTO check_in SELECT n, 1, '2022-01-05' FROM generate_series(1, 5) n;
SELECT * FROM standing;
INSERT INTO check_in SELECT n, 1, '2022-01-05' FROM generate_series(6, 9) n;
SELECT * FROM standing;
DELETE FROM check_in WHERE id > 3;
SELECT * FROM standing;
INSERT INTO check_in VALUES (4, 1, '2022-01-05');
INSERT INTO sale VALUES (1, 1, 50, '2022-01-05');
SELECT * FROM given;
UPDATE sale SET total = 49 WHERE id = 1;
SELECT * FROM given;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- a challenge that is written when sales exist counts from then on; recount_challenge() counts what an earlier start brings in
INSERT INTO sale SELECT n, 1 + n % 2, 1, '2022-02-01' FROM generate_series(1, 9) n;
INSERT INTO loyalty.challenge (program, name, kind, target, points) VALUES ('c', 'late', 'stamp', 2, 10);
SELECT starts_at FROM loyalty.challenge WHERE name = 'late';
INSERT INTO sale VALUES (10, 1, 1, '2022-03-31 12:00'), (11, 1, 1, '2022-03-31 11:59');
SELECT * FROM standing;
DELETE FROM sale WHERE id = 1;
SELECT * FROM standing;
UPDATE loyalty.challenge SET starts_at = '2022-01-01' WHERE name = 'late';
SELECT DISTINCT invariant FROM loyalty.verify();
SELECT loyalty.recount_challenge('late', 'c');
SELECT * FROM standing;
SELECT * FROM given;
SELECT loyalty.recount_challenge('late', 'c');
SELECT * FROM loyalty.verify();
-- a higher target takes back at the next recount; planted errors are found and mended
UPDATE loyalty.challenge SET target = 3 WHERE name = 'late';
SELECT loyalty.recount_challenge('late', 'c');
SELECT * FROM standing;
SELECT * FROM given;
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
SELECT broken('UPDATE loyalty.progress SET value = value + 1 WHERE member_id = 1');
SELECT broken('DELETE FROM loyalty.progress WHERE member_id = 1');
SELECT broken('UPDATE loyalty.progress SET times = times + 1 WHERE member_id = 1');
SELECT broken('UPDATE loyalty.challenge_award SET points = points + 1 WHERE member_id = 1 AND award_no = 1');
-- disabled: nothing moves
UPDATE loyalty.challenge SET enabled = false WHERE name = 'late';
DELETE FROM sale WHERE id < 8;
SELECT * FROM standing;
SELECT loyalty.recount_challenge('late', 'c');
UPDATE loyalty.challenge SET enabled = true WHERE name = 'late';
SELECT loyalty.recount_challenge('late', 'c');
SELECT * FROM standing;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- history that is loaded today lives at its own time: the award stands at the instant of the purchase
SET loyalty.now = '2022-03-31 12:00+03';
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('c', 'green', 0, 0), ('c', 'gold', 1, 5);
INSERT INTO loyalty.challenge (program, name, kind, target, points, starts_at) VALUES ('c', 'card', 'stamp', 2, 10, '2020-01-01');
UPDATE loyalty.program SET expiry = '6 months' WHERE name = 'c';
INSERT INTO sale SELECT n, 1, 1, '2020-01-01'::timestamptz + n * interval '1 month' FROM generate_series(1, 8) n;
SELECT at, kind, points, expires_at FROM loyalty.statement WHERE program = 'c' AND kind = 'adjust' ORDER BY entry_no;
SELECT available, tier FROM loyalty.balance(1, 'c', '2020-10-01');
SELECT available, tier FROM loyalty.balance(1, 'c');
-- an award that has died is not taken from others
DELETE FROM sale WHERE id IN (1, 2);
SELECT * FROM given;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- two members become one: progress is one member's, what was given stands
INSERT INTO loyalty.challenge (program, name, kind, metric, target, points, badge, starts_at) VALUES
  ('c', 'card', 'stamp', 'purchases', 5, 10, NULL, '2022-01-01'), ('c', 'days', 'target', 'visits', 3, 10, 'often', '2022-01-01');
INSERT INTO sale SELECT n, 1 + n % 2, 1, '2022-02-01'::timestamptz + n / 4 * interval '1 day' FROM generate_series(1, 13) n;
SELECT * FROM standing;
SELECT count(*) FROM loyalty.merge_members(2, 1, 'the same person');
SELECT * FROM standing;
SELECT * FROM given;
SELECT * FROM loyalty.verify();
INSERT INTO sale VALUES (20, 1, 1, '2022-02-20');
SELECT * FROM given;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- an application without rights on tables
INSERT INTO loyalty.challenge (program, name, kind, target, points, opt_in) VALUES ('c', 'asked', 'target', 1, 10, true);
CREATE ROLE challenge_app;
SELECT loyalty.grant_access('challenge_app', 'app');
GRANT USAGE ON SCHEMA challenge_test TO challenge_app;
GRANT SELECT, INSERT ON sale TO challenge_app;
SELECT tier IS NULL AS enrolled FROM loyalty.enroll(1, 'c');
SET ROLE challenge_app;
SELECT count(*) FROM loyalty.join_challenge(1, 'asked', 'c');
INSERT INTO sale VALUES (1, 1, 1, '2022-03-31 12:00+03');
SELECT challenge, completed FROM loyalty.challenge_progress;
INSERT INTO loyalty.challenge_join VALUES (2, 1, 1, now(), now(), '', '');
SELECT loyalty.recount_challenge('asked', 'c');
RESET ROLE;
SELECT set_role FROM loyalty.challenge_join;
ROLLBACK TO empty;

-- ---- one load of new keys, and the same purchases one by one: the same is given, with a key, a name and a reason to each award
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('d', 'Europe/Istanbul', true);
CREATE TABLE sale_d (LIKE sale INCLUDING ALL);
SELECT loyalty.attach('sale_d', program => 'd', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('d', 'sale_d', 'one', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, unit, points, condition) SELECT p, s, 'night', 'night', '2', 'total > 3' FROM (VALUES ('c', 'sale'), ('d', 'sale_d')) v (p, s);
INSERT INTO loyalty.reward (program, name, cost) VALUES ('c', 'tea', 5), ('d', 'tea', 5);
INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, streak, points, counts_for_tier, reward, badge, starts_at)
SELECT p, c.* FROM (VALUES ('c'), ('d')) v (p), (VALUES
  ('card', 'stamp', 'purchases', 7, 'lifetime', NULL, 10, true, NULL, NULL, timestamptz '2022-01-01'),
  ('month', 'target', 'spend', 20, 'calendar month', NULL, 3, false, NULL, 'spender', '2022-01-01'),
  ('nights', 'stamp', 'night', 10, 'lifetime', NULL, NULL, false, NULL, 'sleeper', '2022-01-01'),
  ('tea', 'target', 'purchases', 30, 'lifetime', NULL, NULL, false, 'tea', NULL, '2022-01-01'),
  ('weeks', 'streak', 'purchases', 1, 'week', 4, 5, false, NULL, NULL, '2022-01-01')) c;
CREATE VIEW purchase AS SELECT n AS id, n % 60 AS who, 1 + n % 5 AS total, '2022-01-03 10:00+03'::timestamptz + n / 60 * interval '37 hours' AS at FROM generate_series(1, 2400) n;
INSERT INTO sale SELECT * FROM purchase;
DO $$
DECLARE r record;
BEGIN
  FOR r IN SELECT * FROM purchase ORDER BY who DESC, id LOOP
    INSERT INTO sale_d VALUES (r.id, r.who, r.total, r.at);
  END LOOP;
END $$;
CREATE FUNCTION given_in(of_program text) RETURNS TABLE (who bigint, challenge text, "from" timestamptz, n bigint, points numeric, rewards bigint, badge text) LANGUAGE sql AS $$
  SELECT x.member_id, c.name, x.period_start, sum(x.completions - x.taken_back), sum(x.points), count(x.redemption_id), x.badge
  FROM loyalty.challenge_award x JOIN loyalty.challenge c ON c.id = x.challenge_id AND c.program = of_program GROUP BY 1, 2, 3, x.badge $$;
SELECT challenge, sum(n) AS completions, trim_scale(sum(points) * 0.0001) AS points, sum(rewards) AS rewards, count(DISTINCT who) AS members, min(badge) AS badge
FROM given_in('c') GROUP BY 1 ORDER BY 1;
(SELECT * FROM given_in('c') EXCEPT SELECT * FROM given_in('d')) UNION ALL (SELECT * FROM given_in('d') EXCEPT SELECT * FROM given_in('c'));
SELECT count(*) AS accounts, count(DISTINCT (a.available, a.earned)) FILTER (WHERE a.available <> b.available OR a.earned <> b.earned) AS differ
FROM loyalty.account a JOIN loyalty.account b USING (member_id) WHERE a.program_id = loyalty.program_number('c') AND b.program_id = loyalty.program_number('d');
-- each award of points has its intervention and its key, and repeating that call gives the same entry
SELECT count(*) AS awards, count(i.entry_no) AS interventions, count(q.key) AS keys, count(*) FILTER (WHERE i.points = x.points AND i.reason = 'challenge ' || c.name AND i.expires_at = x.expires_at) AS equal
FROM loyalty.challenge_award x
JOIN loyalty.challenge c ON c.id = x.challenge_id AND c.program = 'c' AND c.points IS NOT NULL
LEFT JOIN loyalty.intervention i ON i.member_id = x.member_id AND i.program_id = x.program_id AND i.entry_no = x.entry_no
LEFT JOIN loyalty.request q ON q.member_id = x.member_id AND q.program_id = x.program_id AND q.key = i.key AND q.entry_no = i.entry_no;
SELECT i.reason, i.by = session_user AS by, regexp_replace(i.key, '\d+', '#') AS key, q.call, q.arguments, i.counts_for_tier
FROM loyalty.intervention i JOIN loyalty.request q USING (member_id, program_id, entry_no)
WHERE i.member_id = 7 AND i.program_id = loyalty.program_number('c') AND i.action = 'adjust' AND i.key LIKE '% no 1' ORDER BY i.entry_no LIMIT 3;
SELECT a.entry_no = i.entry_no AS same FROM loyalty.intervention i, loyalty.adjust(7, i.points * 0.0001, i.reason, 'c', i.key, counts_for_tier => i.counts_for_tier) a
WHERE i.member_id = 7 AND i.program_id = loyalty.program_number('c') AND i.reason = 'challenge card' ORDER BY i.entry_no LIMIT 1;
-- a load whose keys have earned before adds nothing
CREATE TEMP TABLE before AS SELECT * FROM loyalty.challenge_progress;
SET LOCAL session_replication_role = replica;
DELETE FROM sale;
SET LOCAL session_replication_role = origin;
INSERT INTO sale SELECT * FROM purchase;
(TABLE before EXCEPT TABLE loyalty.challenge_progress) UNION ALL (TABLE loyalty.challenge_progress EXCEPT TABLE before);
-- and what is returned takes all of it back, in one statement
DELETE FROM sale;
SELECT sum(completions - taken_back) AS stand, sum(points - points_taken) AS left FROM loyalty.challenge_award WHERE program_id = loyalty.program_number('c');
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- one of several rewards, or points: the member chooses
INSERT INTO loyalty.reward (program, name, cost) VALUES ('c', 'cake', 200), ('c', 'tea', 100);
INSERT INTO loyalty.challenge (program, name, kind, target, choices, choice_points) VALUES ('c', 'card', 'stamp', 2, '{free coffee,cake}', 30);
SELECT name, starts_at, choices FROM loyalty.challenge WHERE program = 'c';
INSERT INTO sale SELECT n, 1, 10, timestamptz '2022-03-01' + n * interval '1 day' FROM generate_series(1, 6) n;
SELECT * FROM loyalty.challenge_to_choose WHERE program = 'c' ORDER BY reward;
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'cake', 'c', key => 'k');
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'cake', 'c', key => 'k');
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'free coffee', 'c', key => 'k');
\echo :LAST_ERROR_SQLSTATE
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'tea', 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(2, 'card', 'cake', 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', program => 'c');
SELECT * FROM loyalty.claim_challenge_rewards(1, 'c');
SELECT * FROM given;
SELECT available(1), rewards, rewards_due FROM loyalty.challenge_performance WHERE program = 'c';
-- what was chosen is taken back, last first; what was spent of it is owed, and no cake makes up for it
SELECT count(*) AS spent FROM loyalty.redeem(1, points => 90, program => 'c');
DELETE FROM sale WHERE id = 1;
DELETE FROM sale WHERE id = 2;
DELETE FROM sale WHERE id = 3;
SELECT * FROM given;
INSERT INTO sale SELECT n, 1, 0, timestamptz '2022-03-01' + n * interval '1 day' FROM generate_series(11, 14) n;
SELECT DISTINCT challenge, open FROM loyalty.challenge_to_choose;
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'cake', 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', program => 'c');
SELECT * FROM given;
-- one that cannot be had: another one is chosen; without points to choose, points are none
UPDATE loyalty.reward SET stock = 0 WHERE name = 'free coffee';
INSERT INTO sale SELECT n, 1, 0, timestamptz '2022-03-01' + n * interval '1 day' FROM generate_series(15, 18) n;
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'free coffee', 'c');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.challenge SET choice_points = NULL WHERE name = 'card';
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', program => 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT reward, redemption_id IS NOT NULL AS redeemed, points, left_over FROM loyalty.choose_challenge_reward(1, 'card', 'cake', 'c');
INSERT INTO loyalty.challenge (program, name, target, reward, choices) VALUES ('c', 'x', 1, 'tea', '{cake}');
INSERT INTO loyalty.challenge (program, name, target, choices) VALUES ('c', 'x', 1, '{cake,moon}');
INSERT INTO loyalty.challenge (program, name, target, points, choice_points) VALUES ('c', 'x', 1, 5, 5);
INSERT INTO loyalty.challenge (program, name, target, choices, choice_points) VALUES ('c', 'x', 1, '{cake}', 0.5);
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- ---- what is no challenge, and what stays as it is
INSERT INTO loyalty.challenge (program, name, target, points) VALUES ('none', 'x', 1, 1);
INSERT INTO loyalty.challenge (program, name, target) VALUES ('c', 'x', 1);
INSERT INTO loyalty.challenge (program, name, target, points) VALUES ('c', 'x', 0, 1);
INSERT INTO loyalty.challenge (program, name, target, points) VALUES ('c', 'x', 'NaN', 1);
INSERT INTO loyalty.challenge (program, name, target, points) VALUES ('c', 'x', 1, 0.5);
INSERT INTO loyalty.challenge (program, name, target, points, kind) VALUES ('c', 'x', 1, 1, 'quiz');
INSERT INTO loyalty.challenge (program, name, target, points, metric) VALUES ('c', 'x', 1, 1, 'smiles');
INSERT INTO loyalty.challenge (program, name, target, points, period) VALUES ('c', 'x', 1, 1, 'fortnight');
INSERT INTO loyalty.challenge (program, name, target, points, period) VALUES ('c', 'x', 1, 1, 'rolling 30 days');
INSERT INTO loyalty.challenge (program, name, target, points, kind, period) VALUES ('c', 'x', 1, 1, 'streak', 'week');
INSERT INTO loyalty.challenge (program, name, target, points, kind, streak) VALUES ('c', 'x', 1, 1, 'streak', 3);
INSERT INTO loyalty.challenge (program, name, target, points, streak) VALUES ('c', 'x', 1, 1, 3);
INSERT INTO loyalty.challenge (program, name, target, points, times) VALUES ('c', 'x', 1, 1, 2);
INSERT INTO loyalty.challenge (program, name, target, points, deadline) VALUES ('c', 'x', 1, 1, '-1 day');
INSERT INTO loyalty.challenge (program, name, target, reward) VALUES ('c', 'x', 1, 'moon');
INSERT INTO loyalty.challenge (program, name, target, points, source) VALUES ('c', 'x', 1, 1, 'moon');
INSERT INTO loyalty.challenge (program, name, kind, target, points, starts_at) VALUES ('c', 'card', 'stamp', 2, 10, '2020-01-01');
UPDATE loyalty.challenge SET metric = 'spend', period = 'week' WHERE name = 'card';
INSERT INTO sale VALUES (1, 1, 1, '2022-01-01');
UPDATE loyalty.challenge SET metric = 'visits' WHERE name = 'card';
UPDATE loyalty.challenge SET points = 20, target = 3, ends_at = '2030-01-01' WHERE name = 'card';
DELETE FROM loyalty.challenge WHERE name = 'card';
ROLLBACK;
