-- transfer() and change_expiry(): points that go on to other lots, and what becomes of them when the purchase is returned.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA transfer_test;
SET LOCAL search_path = transfer_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, decimals, expiry, tier_metric, sandbox) VALUES ('p', 1, '12 months', 'points', true);
INSERT INTO loyalty.program (name, pending, clawback, sandbox) VALUES ('wait', '14 days', 'pending_only', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 150);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'wait', member => 'who', amount => 'total', occurred_at => 'at', condition => 'who > 10') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition, expiry) VALUES
  ('p', 'sale', 'one for one', 'earn.amount', 'who < 10', NULL), ('wait', 'sale', 'waits', 'earn.amount', NULL, NULL);
-- what an account holds, lot by lot; the last column: where the points lay before
CREATE VIEW lots AS
SELECT l.member_id AS member, coalesce(l.source_key, l.kind::text) AS lot, trim_scale(l.points / 10000.0) AS points, trim_scale(l.remaining / 10000.0) AS remaining,
  l.earned_at, l.expires_at, l.available_at - l.earned_at AS waits, o.origin_member_id AS of_member, trim_scale(-m.points / 10000.0) AS came
FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id LEFT JOIN loyalty.lot_origin o ON o.member_id = l.member_id AND o.program_id = l.program_id AND o.entry_no = l.entry_no
LEFT JOIN loyalty.movement m ON m.member_id = o.origin_member_id AND m.program_id = o.program_id AND m.entry_no = o.moved_by
WHERE p.name IN ('p', 'wait') ORDER BY l.member_id, l.expires_at, l.entry_no;
CREATE VIEW balances AS SELECT a.member_id AS member, a.program, trim_scale(a.available / 10000.0) AS available, trim_scale(a.pending / 10000.0) AS pending, t.name AS tier
FROM loyalty.account_now a LEFT JOIN loyalty.tier t ON t.id = a.tier_id WHERE a.program IN ('p', 'wait') ORDER BY 1, 2;

INSERT INTO sale VALUES (1, 1, 100, '2024-03-10 12:00+00'), (2, 1, 50.5, '2024-01-10 12:00+00'), (3, 2, 10, '2024-02-10 12:00+00');
SET LOCAL loyalty.now = '2024-04-01 00:00+00';

-- what dies first goes first; earned and dying as before; no tier for it
SELECT points, earned_at, available_at, expires_at FROM loyalty.transfer(1, 2, 60.5, program => 'p', key => 'k1', reason => 'a present');
TABLE lots;
TABLE balances;
-- the same call again: the same lots, once; other arguments are another call
SELECT points, expires_at FROM loyalty.transfer(1, 2, 60.50, program => 'p', key => 'k1', reason => 'a present');
SELECT points FROM loyalty.transfer(1, 2, 60, program => 'p', key => 'k1', reason => 'a present');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.transfer(1, 3, 60.5, program => 'p', key => 'k1', reason => 'a present');
SELECT points FROM loyalty.redeem(1, points => 1, program => 'p', key => 'k1');
\echo :LAST_ERROR_SQLSTATE
TABLE balances;
SELECT action, points / 10000.0 AS points, reason, key, by = session_user AS me, member_id FROM loyalty.intervention ORDER BY member_id, entry_no;
-- the receiver spends what came in burn order; and gives it on
SELECT points FROM loyalty.redeem(2, points => 51, program => 'p');
SELECT points, expires_at FROM loyalty.transfer(2, 1, 19.5, program => 'p');
TABLE lots;
SELECT member_id, kind, points, balance_after FROM loyalty.statement WHERE program = 'p' ORDER BY member_id, entry_no;
SELECT day, opening, issued, redeemed, transferred, closing FROM loyalty.program_daily WHERE program = 'p' ORDER BY day;

-- refusals
SELECT points FROM loyalty.transfer(1, 1, 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.transfer(1, 2, 1000, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.transfer(1, 99, 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.transfer(99, 1, 5, program => 'p');
SELECT points FROM loyalty.transfer(1, 2, 0, program => 'p');
SELECT points FROM loyalty.transfer(1, 2, -5, program => 'p');
SELECT points FROM loyalty.transfer(1, 2, NULL, program => 'p');
SELECT points FROM loyalty.transfer(1, 2, 0.25, program => 'p');
SELECT points FROM loyalty.transfer(1, NULL, 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.block(2, 'p');
SELECT points FROM loyalty.transfer(1, 2, 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.transfer(2, 1, 5, program => 'p');
SELECT loyalty.unblock(2, 'p');
TABLE balances;

-- what was given away is the shortfall of a return; what died counts as taken, wherever it lies
SELECT source_key, points / 10000.0 AS points FROM loyalty.lot WHERE member_id = 1 AND kind = 'a' ORDER BY 1;
DELETE FROM sale WHERE id = 2;
TABLE balances;
TABLE lots;
INSERT INTO sale VALUES (2, 1, 50.5, '2024-01-10 12:00+00');
SELECT * FROM loyalty.verify();
SET LOCAL loyalty.now = '2025-02-01 00:00+00';
TABLE balances;
SELECT points FROM loyalty.transfer(2, 1, 11, program => 'p');
\echo :LAST_ERROR_SQLSTATE

-- another life: new lots that name the old, the rest stays
INSERT INTO sale VALUES (10, 3, 40, '2025-01-01 00:00+00'), (11, 3, 60, '2025-01-20 00:00+00'), (12, 3, 5, '2025-01-21 00:00+00');
SELECT points, earned_at, expires_at FROM loyalty.change_expiry(3, '2027-01-01', 'the till was down',
  (SELECT array_agg(entry_no) FROM loyalty.lot WHERE member_id = 3 AND source_key IN ('10', '11')), program => 'p', key => 'x1');
SELECT points, earned_at, expires_at FROM loyalty.change_expiry(3, '2027-01-01', 'the till was down',
  (SELECT array_agg(entry_no ORDER BY entry_no DESC) FROM loyalty.lot WHERE member_id = 3 AND source_key IN ('10', '11')), program => 'p', key => 'x1');
SELECT lot, points, remaining, earned_at, expires_at, of_member, came FROM lots WHERE member = 3;
-- shorter, of all; those that die then already stay
SELECT points, expires_at FROM loyalty.change_expiry(3, '2025-03-01', 'all', program => 'p', key => 'x2');
SELECT loyalty.change_expiry(3, '2025-03-01', 'all', program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT lot, points, remaining, expires_at FROM lots WHERE member = 3;
TABLE balances;
SELECT kind, points, what FROM loyalty.statement WHERE program = 'p' AND member_id = 3 ORDER BY entry_no;
-- a return finds the points in their new lots before it takes others, over two steps; and gives them back there
UPDATE sale SET total = 10 WHERE id = 11;
SELECT lot, points, remaining, expires_at FROM lots WHERE member = 3 AND remaining > 0;
UPDATE sale SET total = 25 WHERE id = 11;
SELECT lot, points, remaining, expires_at FROM lots WHERE member = 3 AND remaining > 0;
UPDATE sale SET total = 60 WHERE id = 11;
SELECT lot, points, remaining, expires_at FROM lots WHERE member = 3 AND remaining > 0;
SELECT * FROM loyalty.verify();
-- dead in the new lot counts as taken; and comes back dead
SET LOCAL loyalty.now = '2025-03-01 00:00+00';
DELETE FROM sale WHERE id = 11;
INSERT INTO sale VALUES (13, 3, 7, '2025-02-28 00:00+00');
INSERT INTO sale VALUES (11, 3, 60, '2025-01-20 00:00+00');
SELECT available FROM balances WHERE member = 3;
SELECT kind, points, what FROM loyalty.statement WHERE program = 'p' AND member_id = 3 ORDER BY entry_no DESC LIMIT 6;
SELECT * FROM loyalty.verify();
-- refusals
SELECT loyalty.change_expiry(3, '2025-02-28', 'past', program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.change_expiry(3, NULL, 'null', program => 'p');
SELECT loyalty.change_expiry(3, '2026-02-28', NULL, program => 'p');
SELECT loyalty.change_expiry(3, '2026-02-28', 'none', '{}', program => 'p');
SELECT loyalty.change_expiry(3, '2026-02-28', 'null', '{NULL}', program => 'p');
SELECT loyalty.change_expiry(3, '2026-02-28', 'no lot', '{999}', program => 'p');
\echo :LAST_ERROR_SQLSTATE
-- nothing comes back to life
SELECT loyalty.change_expiry(3, '2026-02-28', 'dead', (SELECT ARRAY[min(entry_no)] FROM loyalty.lot WHERE member_id = 3), program => 'p');
SELECT loyalty.change_expiry(99, '2026-02-28', 'who', program => 'p');
\echo :LAST_ERROR_SQLSTATE

-- points that wait go on waiting, and are found by a return that takes waiting points alone
INSERT INTO sale VALUES (20, 11, 30, '2025-02-25 00:00+00'), (21, 11, 8, '2025-02-26 00:00+00');
SELECT loyalty.change_expiry(11, '2025-03-10', 'too early', program => 'wait');
\echo :LAST_ERROR_SQLSTATE
SELECT points, available_at - earned_at AS waits, expires_at FROM loyalty.change_expiry(11, '2025-06-01', 'campaign', program => 'wait');
SELECT * FROM balances WHERE program = 'wait';
UPDATE sale SET total = 20 WHERE id = 20;
SELECT lot, points, remaining, waits FROM lots WHERE member = 11;
SELECT points FROM loyalty.transfer(11, 12, 5, program => 'wait');
SET LOCAL loyalty.now = '2025-03-11 00:00+00';
SELECT * FROM balances WHERE program = 'wait';
DELETE FROM sale WHERE id = 20;
SELECT * FROM balances WHERE program = 'wait';
SELECT * FROM loyalty.verify();

-- who may
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SET LOCAL ROLE loyalty_test_app;
SELECT points FROM loyalty.transfer(3, 1, 2, program => 'p');
SELECT loyalty.change_expiry(3, '2026-02-28', 'no right', program => 'p');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- verify() sees lots without an origin, origins without a lot, and figures that differ
CREATE FUNCTION broken(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
BEGIN
  EXECUTE command;
  SELECT string_agg(DISTINCT v.invariant, ', ' ORDER BY v.invariant) INTO found_ones FROM loyalty.verify() v;
  RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found_ones, 'nothing is found');
EXCEPTION WHEN SQLSTATE 'XX999' THEN
  RETURN SQLERRM;
END $$;
SELECT c, broken(c) FROM (VALUES ('SELECT'), ('DELETE FROM loyalty.lot_origin WHERE member_id = 2'),
  ('UPDATE loyalty.lot_origin SET entry_no = entry_no + 100 WHERE member_id = 2'), ('UPDATE loyalty.lot_origin SET moved_by = 1 WHERE member_id = 1'),
  ('UPDATE loyalty.lot SET kind = ''j'' WHERE member_id = 2 AND kind = ''t'''), ('UPDATE loyalty.lot SET kind = ''t'' WHERE member_id = 2 AND source_key = ''3''')) v (c);
ROLLBACK;
