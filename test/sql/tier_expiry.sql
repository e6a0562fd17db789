-- Points by the tier at which they were earned, and tiers that suspend expiry: programmes as published, to the microsecond.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA tier_expiry_test;
SET LOCAL search_path = tier_expiry_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES
  ('starbucks', 'America/Los_Angeles', '6 months, end of month', true),
  ('ulta', 'America/Chicago', '12 months, end of quarter', true),
  ('kiwi', 'Pacific/Auckland', '6 months, end of month', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, expiry) VALUES ('kiwi', 'blue', 0, 0, NULL), ('kiwi', 'silver', 1, 100, '24 months');
INSERT INTO loyalty.tier (program, name, rank, threshold, suspends_expiry) VALUES ('ulta', 'member', 0, 0, false), ('ulta', 'platinum', 1, 500, true), ('ulta', 'diamond', 2, 1200, true);
CREATE TABLE coffee (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE beauty (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE flight (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT count(loyalty.attach(t, program => p, member => 'who', amount => 'total', occurred_at => 'at')) AS attached
FROM (VALUES ('coffee'::regclass, 'starbucks'), ('beauty', 'ulta'), ('flight', 'kiwi')) v (t, p);
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('starbucks', 'coffee', 'one', 'earn.amount'), ('ulta', 'beauty', 'one', 'earn.amount'), ('kiwi', 'flight', 'one', 'earn.amount');
CREATE FUNCTION seen(member bigint, program text, VARIADIC at timestamptz[])
RETURNS TABLE (instant timestamptz, available numeric, tier text, next_expiry_at timestamptz, next_expiry_points numeric, views text)
LANGUAGE plpgsql AS $$
DECLARE
  t timestamptz;
BEGIN
  FOREACH t IN ARRAY at LOOP
    PERFORM set_config('loyalty.now', t::text, true);
    RETURN QUERY SELECT t, b.available, b.tier, b.next_expiry_at, b.next_expiry_points, concat_ws('; ',
      CASE WHEN (m.available, m.pending, m.tier, m.next_expiry_at, m.next_expiry_points) IS DISTINCT FROM (b.available, b.pending, b.tier, b.next_expiry_at, b.next_expiry_points)
        THEN 'member_balance ' || m::text END,
      CASE WHEN b.next_expiry_at IS DISTINCT FROM (SELECT min(e.expires_at) FROM loyalty.expiring e WHERE e.member_id = seen.member AND e.program = seen.program)
        OR b.next_expiry_points IS DISTINCT FROM (SELECT e.points FROM loyalty.expiring e WHERE e.member_id = seen.member AND e.program = seen.program ORDER BY e.expires_at LIMIT 1)
        THEN 'expiring' END,
      CASE WHEN b.available + b.pending - b.debt + b.held IS DISTINCT FROM (SELECT sum(s.points) FROM loyalty.statement s
          WHERE s.member_id = seen.member AND s.program = seen.program AND s.kind NOT IN ('hold', 'debt', 'repay')) THEN 'statement' END,
      CASE WHEN b.available IS DISTINCT FROM (SELECT coalesce(sum(e.points), 0) FROM loyalty.explain(seen.member, seen.program) e WHERE e.state = 'available') THEN 'explain' END,
      CASE WHEN (SELECT sum(o.available + o.pending + o.held - o.debt) FROM loyalty.member_balance o WHERE o.program = seen.program)
          IS DISTINCT FROM (SELECT d.closing FROM loyalty.program_daily d WHERE d.program = seen.program ORDER BY d.day DESC LIMIT 1) THEN 'program_daily' END,
      (SELECT string_agg(v::text, '; ') FROM loyalty.verify() v))
    FROM loyalty.balance(seen.member, seen.program) b
    JOIN loyalty.member_balance m ON m.member_id = seen.member AND m.program = seen.program;
  END LOOP;
END $$;

-- ---- Starbucks: 6 months, to the end of the month, local time of Seattle
SET loyalty.now = '2022-06-01 00:00+00';
INSERT INTO coffee VALUES (1, 1, 10, '2020-12-15 12:00 America/Los_Angeles'), (2, 1, 20, '2021-08-31 23:59:59 America/Los_Angeles');
SELECT v.id, a.expires_at, a.last_day FROM (VALUES (1), (2)) v (id), loyalty.award('coffee', v.id::text) a;
SELECT at, b.available FROM (VALUES ('2021-06-30 23:59:59.999999 America/Los_Angeles'::timestamptz), ('2021-07-01 00:00 America/Los_Angeles'),
  ('2022-02-28 23:59:59.999999 America/Los_Angeles'), ('2022-03-01 00:00 America/Los_Angeles')) v (at), loyalty.balance(1, 'starbucks', at) b;

-- ---- a tier's own expiry: by the tier held just before the row; the row that reaches it has the program's
SET loyalty.now = '2024-02-29 00:00+00';
INSERT INTO flight VALUES (1, 20, 100, '2024-02-28 11:00+00');
INSERT INTO flight VALUES (2, 20, 7, '2024-02-28 11:30+00');
SELECT v.id, a.expires_at, a.last_day FROM (VALUES (1), (2)) v (id), loyalty.award('flight', v.id::text) a;
SELECT * FROM seen(20, 'kiwi', '2024-08-31 11:59:59.999999+00', '2024-08-31 12:00+00', '2026-02-28 11:29:59.999999+00', '2026-02-28 11:30+00');

-- ---- Ulta: an ordinary member's points of January 2022 can be spent to 2023-03-31
SET loyalty.now = '2022-01-15 18:00+00';
INSERT INTO beauty VALUES (1, 2, 100, '2022-01-15 18:00+00');
SELECT * FROM loyalty.award('beauty', '1');
SELECT * FROM seen(2, 'ulta', '2022-01-16 00:00+00', '2023-04-01 04:59:59.999999+00', '2023-04-01 05:00+00');
-- reaching platinum in October suspends all of them; the points of a lot that died before stay dead
SET loyalty.now = '2022-02-01 00:00+00';
SELECT points, expires_at FROM loyalty.adjust(2, 9, 'soon over', program => 'ulta', expires_at => '2022-03-01 00:00+00');
SELECT points, expires_at FROM loyalty.adjust(2, 5, 'long', program => 'ulta', expires_at => '2030-03-01 00:00+00');
SET loyalty.now = '2022-10-01 18:00+00';
INSERT INTO beauty VALUES (2, 2, 450, '2022-10-01 18:00+00');
SELECT tier FROM loyalty.balance(2, 'ulta');
SET loyalty.now = '2022-11-01 18:00+00';
INSERT INTO beauty VALUES (3, 2, 20, '2022-11-01 18:00+00');
SELECT v.id, a.points, a.expires_at, a.last_day FROM (VALUES (1), (2), (3)) v (id), loyalty.award('beauty', v.id::text) a;
SELECT * FROM seen(2, 'ulta', '2022-11-02 00:00+00', '2023-04-01 05:00+00', '2023-12-31 23:00+00');
-- held to the end of 2023: left at that instant, points have a date again as if earned then, but not before their own
SELECT * FROM seen(2, 'ulta', '2024-01-01 05:59:59.999999+00', '2024-01-01 06:00+00', '2025-04-01 04:59:59.999999+00', '2025-04-01 05:00+00', '2030-02-28 23:59:59.999999+00', '2030-03-01 00:00+00');
SELECT at, kind, points, balance_after, expires_at, last_day FROM loyalty.statement WHERE member_id = 2 ORDER BY entry_no NULLS LAST, at, balance_after DESC;
-- the same when it is written down on the way
SET loyalty.now = '2024-02-01 00:00+00';
SELECT settled FROM loyalty.settle_batch(-1, 0, 1000);
SELECT expires_at, entry_no, points, remaining, life FROM loyalty.lot WHERE member_id = 2 ORDER BY 1, 2;
SELECT * FROM seen(2, 'ulta', '2024-02-01 00:00+00', '2025-04-01 04:59:59.999999+00', '2025-04-01 05:00+00');
-- ordinary again: what is earned now has its own date; burns go in the order of their own dates
SET loyalty.now = '2024-03-01 00:00+00';
INSERT INTO beauty VALUES (4, 2, 10, '2024-03-01 00:00+00');
SELECT redemption_id AS paid FROM loyalty.redeem(2, points => 90, program => 'ulta') \gset
SELECT FROM loyalty.enroll(30, 'ulta');
SELECT points, expires_at FROM loyalty.transfer(2, 30, 30, program => 'ulta');
-- and platinum once more before that date: suspended again, and what comes back
SET loyalty.now = '2024-12-01 00:00+00';
INSERT INTO beauty VALUES (5, 2, 600, '2024-12-01 00:00+00');
SELECT alive, dead FROM loyalty.reverse(2, :paid);
SELECT * FROM seen(2, 'ulta', '2025-04-01 05:00+00', '2025-12-31 00:00+00', '2026-01-01 06:00+00', '2027-04-01 04:59:59.999999+00', '2027-04-01 05:00+00');
-- given away while it is held: as long as with one who had left the tier now
SET loyalty.now = '2025-06-01 00:00+00';
SELECT points, expires_at FROM loyalty.transfer(2, 30, 50, program => 'ulta');
SELECT * FROM loyalty.verify();
-- the purchase that gave the tier is returned: the tier falls at once, and the points have a date again
DELETE FROM beauty WHERE id = 5;
SELECT * FROM seen(2, 'ulta', '2025-06-02 00:00+00', '2026-07-01 04:59:59.999999+00', '2026-07-01 05:00+00');
SELECT settled >= 0 AS settled FROM loyalty.settle_batch(-1, 0, 1000);
-- the past, as it was
SELECT at, b.available, b.tier FROM (VALUES ('2022-06-01 00:00+00'::timestamptz), ('2023-05-01 00:00+00'), ('2024-01-15 00:00+00'), ('2025-05-01 00:00+00'), ('2026-06-30 00:00+00'), ('2026-07-02 00:00+00')) v (at),
  loyalty.balance(2, 'ulta', at) b;

-- ---- with debts and holds between, and merged with one who holds the tier
SET loyalty.now = '2027-01-10 00:00+00';
INSERT INTO beauty VALUES (20, 40, 50, '2026-02-01 00:00+00'), (21, 41, 600, '2027-01-05 00:00+00');
SELECT state FROM loyalty.redeem(40, points => 20, program => 'ulta', hold => '5 days');
SELECT program, available, tier FROM loyalty.merge_members(40, 41, 'one person');
SELECT * FROM seen(41, 'ulta', '2027-01-11 00:00+00');
SET loyalty.now = '2027-01-16 00:00+00';
SELECT settled FROM loyalty.settle_batch(-1, 0, 1000);
SELECT * FROM seen(41, 'ulta', '2027-01-16 00:00+00', '2028-12-31 00:00+00', '2029-01-01 06:00+00', '2030-04-01 05:00+00');

-- ---- what is refused
INSERT INTO loyalty.program (name, expiry) VALUES ('i', '2 years inactive');
INSERT INTO loyalty.tier (program, name, rank, suspends_expiry) VALUES ('i', 'gold', 1, true);
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET expiry = '1 year inactive' WHERE name = 'ulta';

-- ---- live change: whoever holds the tier keeps it until it is left; or has it from the next purchase on
UPDATE loyalty.tier SET suspends_expiry = false WHERE program = 'ulta';
SELECT * FROM seen(41, 'ulta', '2028-12-31 00:00+00', '2029-01-01 06:00+00', '2030-04-01 05:00+00');
SET loyalty.now = '2027-02-01 00:00+00';
INSERT INTO beauty VALUES (30, 50, 600, '2027-02-01 00:00+00'), (31, 50, 10, '2027-02-01 00:00+00');
SELECT * FROM seen(50, 'ulta', '2027-02-01 00:00+00');
UPDATE loyalty.tier SET suspends_expiry = true WHERE program = 'ulta' AND rank > 0;
INSERT INTO beauty VALUES (32, 50, 10, '2027-02-02 00:00+00');
SELECT * FROM seen(50, 'ulta', '2027-02-02 00:00+00', '2028-12-31 00:00+00', '2029-01-01 06:00+00', '2030-04-01 05:00+00');
ROLLBACK;
