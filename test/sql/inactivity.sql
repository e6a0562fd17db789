-- Points that die of inactivity: of all that is kept the last purchase counts, to the microsecond, with no job.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA inactivity_test;
SET LOCAL search_path = inactivity_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('m', 'America/New_York', '24 months inactive', true), ('w', 'Pacific/Auckland', '1 month inactive', true);
INSERT INTO loyalty.program (name, timezone, expiry, pending, sandbox, clawback) VALUES ('p', 'UTC', '10 days inactive', '3 days', true, 'debt');
CREATE TABLE stay (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, note text);
CREATE TABLE trip (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('stay', program => 'm', member => 'who', amount => 'total', occurred_at => 'at') > 0,
  loyalty.attach('trip', program => 'w', member => 'who', amount => 'total', occurred_at => 'at') > 0,
  loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('m', 'stay', 'ten', '10 * earn.amount', 'note IS NULL'),
  ('w', 'trip', 'one', 'earn.amount', NULL), ('p', 'sale', 'one', 'earn.amount', NULL);
-- at each instant: balance() there, and what views and verify() say then
CREATE FUNCTION seen(member bigint, program text, VARIADIC at timestamptz[])
RETURNS TABLE (instant timestamptz, available numeric, pending numeric, next_expiry_at timestamptz, next_expiry_points numeric, views text)
LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
BEGIN
  FOREACH t IN ARRAY at LOOP
    PERFORM set_config('loyalty.now', t::text, true);
    RETURN QUERY SELECT t, b.available, b.pending, b.next_expiry_at, b.next_expiry_points, concat_ws('; ',
      CASE WHEN (m.available, m.pending, m.next_expiry_at, m.next_expiry_points) IS DISTINCT FROM (b.available, b.pending, b.next_expiry_at, b.next_expiry_points)
        THEN 'member_balance ' || m::text END,
      CASE WHEN b.next_expiry_at IS DISTINCT FROM (SELECT min(e.expires_at) FROM loyalty.expiring e WHERE e.member_id = seen.member AND e.program = seen.program)
        OR b.next_expiry_points IS DISTINCT FROM (SELECT e.points FROM loyalty.expiring e WHERE e.member_id = seen.member AND e.program = seen.program ORDER BY e.expires_at LIMIT 1)
        THEN 'expiring' END,
      CASE WHEN b.available + b.pending - b.debt + b.held IS DISTINCT FROM (SELECT sum(s.points) FROM loyalty.statement s
          WHERE s.member_id = seen.member AND s.program = seen.program AND s.kind NOT IN ('hold', 'debt', 'repay')) THEN 'statement' END,
      CASE WHEN b.available IS DISTINCT FROM (SELECT coalesce(sum(e.points), 0) FROM loyalty.explain(seen.member, seen.program) e WHERE e.state = 'available') THEN 'explain' END,
      (SELECT string_agg(v::text, '; ') FROM loyalty.verify() v))
    FROM loyalty.balance(seen.member, seen.program) b
    JOIN loyalty.member_balance m ON m.member_id = seen.member AND m.program = seen.program;
  END LOOP;
END $$;

-- ---- two purchases; the second puts the end off, and nothing else does
SET loyalty.now = '2020-02-29 15:00+00';
INSERT INTO stay VALUES (1, 1, 10, '2020-02-29 15:00+00');
SELECT * FROM loyalty.award('stay', '1');
SELECT enrolled_at, active_at, inactive_at, life, next_change_at FROM loyalty.account WHERE member_id = 1;
SELECT * FROM seen(1, 'm', '2020-03-01 00:00+00', '2022-02-28 14:59:59.999999+00', '2022-02-28 15:00+00', '2030-01-01 00:00+00');
SET loyalty.now = '2021-01-01 00:00+00';
INSERT INTO stay VALUES (2, 1, 5, '2020-12-31 20:00+00', 'earns nothing, and is one');
SELECT active_at, inactive_at FROM loyalty.account WHERE member_id = 1;
SET loyalty.now = '2021-06-01 00:00+00';
SELECT points FROM loyalty.adjust(1, 7, 'a gift', program => 'm');
SELECT points FROM loyalty.redeem(1, points => 30, program => 'm');
SELECT points, expires_at FROM loyalty.adjust(1, 3, 'of its own life', program => 'm', expires_at => '2021-07-01 00:00+00');
SELECT active_at, inactive_at FROM loyalty.account WHERE member_id = 1;
SELECT * FROM seen(1, 'm', '2021-06-30 23:59:59.999999+00', '2021-07-01 00:00+00', '2022-12-31 19:59:59.999999+00', '2022-12-31 20:00+00');
SELECT at, kind, points, balance_after, expires_at, last_day FROM loyalty.statement WHERE member_id = 1 ORDER BY entry_no NULLS LAST, at, balance_after DESC;

-- returning the last one finds the earlier date again; buying it again the later one
SET loyalty.now = '2021-08-01 00:00+00';
DELETE FROM stay WHERE id = 2;
SELECT active_at, inactive_at, life FROM loyalty.account WHERE member_id = 1;
SELECT * FROM seen(1, 'm', '2022-02-28 14:59:59.999999+00', '2022-02-28 15:00+00');
SET loyalty.now = '2021-08-02 00:00+00';
INSERT INTO stay VALUES (2, 1, 5, '2020-12-31 20:00+00', 'earns nothing, and is one');
SELECT active_at, inactive_at, life FROM loyalty.account WHERE member_id = 1;
-- partly returned it is kept still
UPDATE stay SET total = 1 WHERE id = 2;
SELECT active_at, inactive_at, life FROM loyalty.account WHERE member_id = 1;

-- returned when the earlier date is over: dead at once, and what comes back later does not live again
SET loyalty.now = '2022-06-01 00:00+00';
SELECT available FROM loyalty.balance(1, 'm');
SELECT redemption_id AS paid FROM loyalty.redeem(1, points => 20, program => 'm') \gset
DELETE FROM stay WHERE id = 2;
SELECT * FROM loyalty.balance(1, 'm');
SELECT active_at, inactive_at, life FROM loyalty.account WHERE member_id = 1;
SELECT alive, dead FROM loyalty.reverse(1, :paid);
SELECT at, kind, points, balance_after, expires_at FROM loyalty.statement WHERE member_id = 1 ORDER BY entry_no NULLS LAST, at, balance_after DESC;
INSERT INTO stay VALUES (3, 1, 2, '2022-06-01 00:00+00');
SELECT * FROM seen(1, 'm', '2022-06-02 00:00+00', '2024-05-31 23:59:59.999999+00', '2024-06-01 00:00+00');
-- the past is read as it was (but that a purchase without points was kept, before it was returned, is not known any more)
SET loyalty.now = '2025-01-01 00:00+00';
SELECT settled FROM loyalty.settle_batch(-1, 0, 1000);
SELECT at, b.available, b.next_expiry_at, b.next_expiry_points FROM (VALUES ('2020-03-01 00:00+00'::timestamptz), ('2021-06-15 00:00+00'), ('2021-08-01 12:00+00'), ('2022-05-31 00:00+00'), ('2022-06-01 00:00+00'),
  ('2024-05-31 23:59:59.999999+00'), ('2024-06-01 00:00+00')) v (at), loyalty.balance(1, 'm', at) b;
SELECT * FROM loyalty.verify();

-- ---- of a purchase that comes back after that, its own points live, if its own time is not over
SET loyalty.now = '2020-01-01 00:00+00';
INSERT INTO stay VALUES (10, 2, 10, '2020-01-01 00:00+00');
SET loyalty.now = '2021-12-01 00:00+00';
INSERT INTO stay VALUES (11, 2, 5, '2021-12-01 00:00+00');
SET loyalty.now = '2022-03-01 00:00+00';
DELETE FROM stay WHERE id = 11;
SELECT available FROM loyalty.balance(2, 'm');
INSERT INTO stay VALUES (11, 2, 5, '2021-12-01 00:00+00');
SELECT * FROM seen(2, 'm', '2022-03-02 00:00+00', '2023-11-30 23:59:59.999999+00', '2023-12-01 00:00+00');
SET loyalty.now = '2024-01-01 00:00+00';
DELETE FROM stay WHERE id = 11;
INSERT INTO stay VALUES (11, 2, 5, '2021-12-01 00:00+00');
SELECT available FROM loyalty.balance(2, 'm');
SELECT * FROM loyalty.verify();

-- ---- late rows: dead on arrival, or alive by their own date; they do not wake what has died
SET loyalty.now = '2024-02-01 00:00+00';
INSERT INTO stay VALUES (12, 2, 1, '2021-12-31 00:00+00'), (13, 2, 2, '2023-02-01 00:00+00');
SELECT * FROM seen(2, 'm', '2024-02-01 00:00+00', '2025-01-31 23:59:59.999999+00', '2025-02-01 00:00+00');
SELECT * FROM loyalty.award('stay', '12');

-- ---- gifts: an inactive account has what is given by hand for a full time, and what is transferred as long as the giver
SET loyalty.now = '2024-03-01 00:00+00';
SELECT FROM loyalty.enroll(3, 'm', at => '2020-01-01 00:00+00');
SELECT points, expires_at FROM loyalty.adjust(3, 50, 'welcome back', program => 'm');
SELECT points, expires_at FROM loyalty.transfer(2, 3, 5, program => 'm');
SELECT points, expires_at FROM loyalty.transfer(3, 2, 1, program => 'm');
SELECT * FROM seen(3, 'm', '2024-03-02 00:00+00', '2025-01-31 23:59:59.999999+00', '2025-02-01 00:00+00', '2026-03-01 00:00+00');
-- the recipient who is active has them with his own
SET loyalty.now = '2024-03-03 00:00+00';
INSERT INTO stay VALUES (14, 4, 1, '2024-03-03 00:00+00');
SELECT points, expires_at FROM loyalty.transfer(2, 4, 3, program => 'm');
SELECT * FROM seen(4, 'm', '2024-03-03 00:00+00', '2026-03-02 23:59:59.999999+00', '2026-03-03 00:00+00');
-- another life by hand
SET loyalty.now = '2024-03-04 00:00+00';
SELECT points, expires_at FROM loyalty.change_expiry(4, 'infinity', 'for ever', program => 'm');
SELECT * FROM seen(4, 'm', '2026-03-03 00:00+00');

-- ---- held points are out of its reach, and come back dead
SET loyalty.now = '2024-04-01 00:00+00';
INSERT INTO sale VALUES (1, 5, 100, '2024-03-20 00:00+00'), (2, 5, 10, '2024-04-01 00:00+00');
SELECT * FROM seen(5, 'p', '2024-04-01 00:00+00');
SET loyalty.now = '2024-04-10 23:00+00';
SELECT state FROM loyalty.redeem(5, points => 4, program => 'p', hold => '2 hours', key => 'h');
SELECT * FROM seen(5, 'p', '2024-04-10 23:59:59.999999+00', '2024-04-11 00:00+00', '2024-04-11 01:00+00');
SELECT kind, points, at FROM loyalty.statement WHERE member_id = 5 ORDER BY entry_no NULLS LAST, at, balance_after DESC;
SET loyalty.now = '2024-04-12 00:00+00';
SELECT settled FROM loyalty.settle_batch(-1, 0, 1000);
SELECT kind, points, at FROM loyalty.statement WHERE member_id = 5 AND at > '2024-04-10' ORDER BY entry_no NULLS LAST, at, balance_after DESC;
SELECT * FROM seen(5, 'p', '2024-04-12 00:00+00');
SELECT sum(expired) AS expired, (SELECT d.closing FROM loyalty.program_daily d WHERE d.program = 'p' ORDER BY d.day DESC LIMIT 1) AS closing FROM loyalty.program_daily WHERE program = 'p';
-- what is owed after a return is not paid by the dead
DELETE FROM sale WHERE id = 2;
SELECT * FROM loyalty.balance(5, 'p');
SELECT * FROM loyalty.verify();

-- ---- summer time: a month in Auckland ends at the same wall time
SET loyalty.now = '2024-03-15 00:00+00';
INSERT INTO trip VALUES (1, 6, 9, '2024-03-14 11:30+00');
SELECT * FROM seen(6, 'w', '2024-04-14 12:29:59.999999+00', '2024-04-14 12:30+00');
SELECT DISTINCT expires_at, last_day FROM loyalty.statement WHERE member_id = 6;

-- ---- merged members: the later activity keeps what is alive; what had died stays dead
SET loyalty.now = '2024-05-01 00:00+00';
INSERT INTO stay VALUES (20, 7, 1, '2021-01-01 00:00+00'), (21, 8, 2, '2022-06-01 00:00+00'), (22, 9, 4, '2024-01-01 00:00+00');
SELECT m, available FROM (VALUES (7), (8), (9)) v (m), loyalty.balance(m, 'm');
SELECT * FROM loyalty.merge_members(9, 8, 'one person');
SELECT * FROM loyalty.merge_members(7, 8, 'one person');
SELECT * FROM seen(8, 'm', '2024-06-01 00:00+00', '2025-12-31 23:59:59.999999+00', '2026-01-01 00:00+00');
SET loyalty.now = '2024-06-02 00:00+00';
DELETE FROM stay WHERE id = 22;
SELECT available FROM loyalty.balance(8, 'm');

-- ---- balances of another system were earned there
SET loyalty.now = '2024-07-01 00:00+00';
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (30, 'm', 500, '2023-07-15 00:00+00', 'old 30');
SELECT * FROM seen(30, 'm', '2024-07-01 00:00+00', '2025-07-14 23:59:59.999999+00', '2025-07-15 00:00+00');
SET loyalty.now = '2024-07-01 00:00+00';
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (31, 'm', 500, '2020-07-15 00:00+00', 'old 31');

-- ---- live change: what was granted before lives as it did; activity counts from the next purchase on
UPDATE loyalty.program SET expiry = 'never' WHERE name = 'w';
SET loyalty.now = '2024-08-01 00:00+00';
INSERT INTO trip VALUES (2, 40, 5, '2024-08-01 00:00+00');
UPDATE loyalty.program SET expiry = '1 month inactive' WHERE name = 'w';
INSERT INTO trip VALUES (3, 40, 7, '2024-08-02 00:00+00');
SELECT * FROM seen(40, 'w', '2024-08-02 00:00+00', '2024-09-02 00:00+00');

-- ---- a rule's or a tier's points cannot die of inactivity; they may live otherwise
INSERT INTO loyalty.rule (program, source, name, points, expiry) VALUES ('m', 'stay', 'bad', '1', '18 months inactive');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.tier (program, name, rank, expiry) VALUES ('m', 'bad', 1, '18 months inactive');
INSERT INTO loyalty.rule (program, source, name, kind, points, expiry) VALUES ('m', 'stay', 'short', 'bonus', '1', '30 days'), ('m', 'stay', 'for ever', 'bonus', '2', 'never');
SET loyalty.now = '2024-09-01 00:00+00';
INSERT INTO stay VALUES (50, 50, 1, '2024-09-01 00:00+00');
SELECT rule, points, expires_at, last_day FROM loyalty.award('stay', '50');
SELECT * FROM seen(50, 'm', '2024-09-01 00:00+00', '2024-10-01 00:00+00', '2026-09-01 00:00+00');

-- ---- verify() sees what is wrong
CREATE FUNCTION broken(command text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RETURN QUERY SELECT v.invariant || ' ' || v.member_id FROM loyalty.verify() v;
  RAISE EXCEPTION 'undo';
EXCEPTION WHEN OTHERS THEN
  IF SQLERRM <> 'undo' THEN RETURN NEXT SQLERRM; END IF;
END $$;
SET loyalty.now = '2024-09-02 00:00+00';
SELECT c, (SELECT string_agg(b, ', ' ORDER BY b) FROM broken(c) b) AS found
FROM (VALUES ('UPDATE loyalty.account SET active_at = active_at - interval ''1 day'' WHERE member_id = 50'),
  ('UPDATE loyalty.account SET active_at = active_at + interval ''1 day'' WHERE member_id = 50'),
  ('UPDATE loyalty.account SET inactive_at = settled_at WHERE member_id = 50'),
  ('UPDATE loyalty.account SET life = 2 WHERE member_id = 50'),
  ('UPDATE loyalty.lot SET life = 2 WHERE member_id = 50 AND life = 1'),
  ('UPDATE loyalty.account SET next_change_at = ''infinity'' WHERE member_id = 30')) v (c);
-- control: undone, nothing is wrong
SELECT * FROM loyalty.verify();
ROLLBACK;
