-- clawback = debt: what a return finds nowhere is owed, refuses burning, is repaid oldest first by what becomes available
-- at its own instant, and is cancelled when the purchase comes back.  Every reader says the same at every instant.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA debt_test;
SET LOCAL search_path = debt_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, kind text DEFAULT 'now', ok boolean DEFAULT true);
INSERT INTO loyalty.program (name, clawback, expiry, sandbox) VALUES ('d', 'debt', '12 months', true);
SELECT loyalty.attach('sale', program => 'd', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition, expiry, pending) VALUES
  ('d', 'sale', 'now', 'earn.amount', $$kind = 'now'$$, NULL, NULL),
  ('d', 'sale', 'later', 'earn.amount', $$kind = 'later'$$, NULL, '10 days'),
  ('d', 'sale', 'short', 'earn.amount', $$kind = 'short'$$, '12 days', '10 days'),
  ('d', 'sale', 'dead', 'earn.amount', $$kind = 'dead'$$, '5 days', '10 days');
CREATE VIEW debts AS SELECT d.amount / 10000 AS amount, d.left_over / 10000 AS left_over, l.source_key AS sale, d.at
FROM loyalty.debt d JOIN loyalty.lot l ON l.member_id = d.member_id AND l.program_id = d.program_id AND l.expires_at = d.lot_expires_at AND l.entry_no = d.lot_entry_no
WHERE d.program_id = (SELECT id FROM loyalty.program WHERE name = 'd') ORDER BY d.entry_no;
CREATE VIEW story AS SELECT row_number() OVER (ORDER BY entry_no NULLS LAST, at) AS n, at, kind, points, balance_after, source_key AS sale, entry_no IS NULL AS due
FROM loyalty.statement WHERE program = 'd';

SET LOCAL loyalty.now = '2024-01-01 10:00';
INSERT INTO sale VALUES (1, 1, 100, '2024-01-01 10:00'), (2, 1, 60, '2024-01-01 10:00');
SELECT points FROM loyalty.redeem(1, points => 150, program => 'd');
UPDATE sale SET ok = false WHERE id = 1;
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
UPDATE sale SET total = 15 WHERE id = 2;
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
SELECT * FROM debts;

-- burning is refused, and taking by hand; giving by hand repays
SELECT loyalty.redeem(1, points => 1, program => 'd');
SELECT loyalty.adjust(1, -1, 'a mistake', program => 'd');
SELECT points FROM loyalty.adjust(1, 50, 'a kindness', program => 'd');
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
SELECT * FROM debts;

-- an award that is available at once repays; pending ones do at their instants, before they die
INSERT INTO sale VALUES (3, 1, 20, '2024-01-01 10:00', 'now'), (4, 1, 10, '2024-01-01 10:00', 'later'), (5, 1, 15, '2024-01-02 10:00', 'later'),
  (6, 1, 7, '2024-01-01 11:00', 'short'), (7, 1, 9, '2024-01-01 10:00', 'dead'), (8, 1, 100, '2024-01-05 10:00', 'later');
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
SELECT at, b.available, b.pending, b.debt FROM unnest(ARRAY['2024-01-06 09:59:59.999999', '2024-01-06 10:00', '2024-01-11 09:59:59.999999', '2024-01-11 10:00', '2024-01-11 10:59:59.999999', '2024-01-11 11:00',
  '2024-01-12 10:00', '2024-01-13 11:00', '2024-01-15 10:00', '2025-01-05 10:00', '2026-01-01']::timestamptz[]) at, loyalty.balance(1, 'd', at) b;
SET LOCAL loyalty.now = '2024-01-20';
SELECT * FROM story WHERE n > 14;
SELECT * FROM loyalty.verify();
SAVEPOINT due;
UPDATE sale SET total = total WHERE id = 3;
SELECT available, pending, debt FROM loyalty.adjust(1, 1, 'settles', program => 'd'), loyalty.balance(1, 'd');
SELECT * FROM story WHERE n > 14;
SELECT * FROM loyalty.verify();
ROLLBACK TO due;

-- the purchase comes back: its debt is cancelled, and who repaid it has his points again, dead where they have died
SET LOCAL loyalty.now = '2025-01-03';
UPDATE sale SET ok = true WHERE id = 1;
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
SELECT * FROM debts;
SELECT source_key AS sale, points / 10000 AS points, remaining / 10000 AS remaining, expires_at > loyalty.instant() AS alive FROM loyalty.lot
WHERE program_id = (SELECT id FROM loyalty.program WHERE name = 'd') AND points > 0 ORDER BY entry_no;
SELECT * FROM loyalty.verify();

-- what verify() finds
CREATE FUNCTION broken(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_ones text;
  n bigint;
BEGIN
  EXECUTE command;
  GET DIAGNOSTICS n = ROW_COUNT;
  SELECT string_agg(DISTINCT v.invariant, ', ' ORDER BY v.invariant) INTO found_ones FROM loyalty.verify() v;
  RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found_ones, 'nothing is found') || CASE WHEN n = 0 THEN ' (nothing was broken)' ELSE '' END;
EXCEPTION WHEN SQLSTATE 'XX999' THEN
  RETURN SQLERRM;
END $$;
SELECT points FROM loyalty.redeem(1, points => (SELECT available FROM loyalty.balance(1, 'd')), program => 'd');
UPDATE sale SET ok = false WHERE id = 8;
SELECT available, pending, debt FROM loyalty.balance(1, 'd');
\pset format unaligned
\pset tuples_only on
SELECT c || E'\n  -> ' || broken(c) FROM (VALUES
  ('UPDATE loyalty.account SET debt = debt - 1 WHERE debt > 0'),
  ('UPDATE loyalty.account SET available = 1 WHERE debt > 0'),
  ('UPDATE loyalty.debt SET left_over = left_over - 1 WHERE left_over > 0'),
  ('UPDATE loyalty.debt SET left_over = left_over - 1, amount = amount - 1 WHERE left_over > 0'),
  ('UPDATE loyalty.debt SET lot_entry_no = lot_entry_no + 1 WHERE left_over > 0'),
  ('DELETE FROM loyalty.debt WHERE left_over > 0'),
  ('DELETE FROM loyalty.debt WHERE left_over = 0'),
  ('DELETE FROM loyalty.movement WHERE kind = ''debt'''),
  ('DELETE FROM loyalty.movement WHERE kind = ''repay'''),
  ('UPDATE loyalty.movement SET origin_entry_no = 1 WHERE kind = ''repay'''),
  ('UPDATE loyalty.movement SET kind = ''debt'' WHERE kind = ''repay''')) v (c);
\pset tuples_only off
\pset format aligned

-- every reader says the same at every instant, before and after the fact
CREATE TABLE event (n serial, at timestamptz, command text);
INSERT INTO event (at, command) VALUES
  ('2025-02-01 08:00', $$INSERT INTO sale VALUES (20, 2, 100, '2025-02-01 08:00', 'now'), (21, 2, 40, '2025-02-01 08:00', 'short')$$),
  ('2025-02-02 08:00', $$SELECT FROM loyalty.redeem(2, points => 90, program => 'd')$$),
  ('2025-02-03 08:00', $$DELETE FROM sale WHERE id = 20$$),
  ('2025-02-09 08:00', $$INSERT INTO sale VALUES (22, 2, 30, '2025-02-09 08:00', 'later'), (23, 2, 25, '2025-02-09 09:00', 'short')$$),
  ('2025-02-11 08:00', $$UPDATE sale SET total = 10 WHERE id = 21$$),
  ('2025-02-25 08:00', $$INSERT INTO sale VALUES (20, 2, 100, '2025-02-01 08:00')$$),
  ('2025-03-01 08:00', $$SELECT FROM loyalty.redeem(2, points => 12, program => 'd')$$),
  ('2025-03-02 08:00', $$UPDATE sale SET who = 1 WHERE id IN (20, 22)$$),
  ('2025-03-02 08:00', $$INSERT INTO sale VALUES (24, 2, 200, '2025-03-01 08:00', 'later')$$),
  ('2025-03-20 08:00', $$UPDATE sale SET who = 2 WHERE id IN (20, 22)$$);
CREATE TABLE seen (at timestamptz, b text);
CREATE FUNCTION disagreement(member bigint) RETURNS text LANGUAGE sql AS $$
  SELECT nullif(concat_ws(', ',
    CASE WHEN (m.available, m.pending, m.held, m.debt, m.tier, m.next_expiry_at, m.next_expiry_points) IS DISTINCT FROM b THEN format('member_balance %s not %s', m, b) END,
    CASE WHEN s.total IS DISTINCT FROM b.available + b.pending THEN format('statement %s', s) END,
    CASE WHEN (SELECT (e.expires_at, e.points)::text FROM loyalty.expiring e WHERE e.member_id = member AND e.program = 'd' ORDER BY e.expires_at LIMIT 1)
      IS DISTINCT FROM (CASE WHEN b.next_expiry_at IS NOT NULL THEN (b.next_expiry_at, b.next_expiry_points)::text END) THEN 'expiring' END,
    CASE WHEN (SELECT d.closing FROM loyalty.program_daily d WHERE d.program = 'd' ORDER BY d.day DESC LIMIT 1) IS DISTINCT FROM
      (SELECT sum(v.available + v.pending + v.held - v.debt) FROM loyalty.member_balance v WHERE v.program = 'd') THEN 'program_daily' END,
    CASE WHEN b.available > 0 AND b.debt > 0 THEN 'available beside debt' END), '')
  FROM loyalty.balance(member, 'd') b, loyalty.member_balance m, (SELECT sum(points) AS total FROM loyalty.statement WHERE member_id = member AND program = 'd') s
  WHERE m.member_id = member AND m.program = 'd' $$;
DO $$
DECLARE
  e record;
  p timestamptz;
  wrong text;
BEGIN
  FOR e IN SELECT v.*, lead(v.at, 1, '2025-04-10') OVER (ORDER BY v.n) AS until FROM event v ORDER BY v.n LOOP
    PERFORM set_config('loyalty.now', e.at::text, true);
    EXECUTE e.command;
    FOR p IN SELECT t FROM generate_series(e.at, e.until, '6 hours') t WHERE t < e.until LOOP
      FOREACH p IN ARRAY ARRAY[p, p + interval '1 hour', p + interval '59 minutes 59.999999 seconds'] LOOP
        PERFORM set_config('loyalty.now', p::text, true);
        wrong := disagreement(2);
        IF wrong IS NOT NULL THEN
          RAISE WARNING 'at %: %', p, wrong;
        END IF;
        INSERT INTO seen SELECT p, b::text FROM loyalty.balance(2, 'd') b;
      END LOOP;
    END LOOP;
  END LOOP;
END $$;
SELECT count(*) AS instants, count(DISTINCT b) > 10 AS differ FROM seen;
SET LOCAL loyalty.now = '2025-04-10';
SELECT points FROM loyalty.adjust(2, 1, 'settles', program => 'd');
SELECT s.at, s.b AS then, n.now FROM seen s, LATERAL (SELECT w::text AS now FROM loyalty.balance(2, 'd', s.at) w) n WHERE s.b <> n.now;

-- What comes back to a lot that has died pays what is left of its own debt before it is dead: a reward that is taken back leaves nothing owed for
-- a purchase that is returned, whichever comes first; also where others had paid a part.  When the purchase comes back, what died stays dead.
INSERT INTO loyalty.program (name, clawback, expiry, sandbox) VALUES ('dead', 'debt', '3 months', true);
CREATE TABLE shop (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('shop', program => 'dead', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('dead', 'shop', 'one', 'earn.amount');
SET LOCAL loyalty.now = '2024-02-01';
INSERT INTO shop SELECT 10 * w, w, 300, '2023-11-30 12:00' FROM generate_series(1, 4) w;
SET LOCAL loyalty.now = '2024-02-20';
SELECT w, r.points FROM generate_series(1, 4) w, LATERAL loyalty.redeem(w, points => 80, program => 'dead', key => 'spent') r;
SELECT w, r.points FROM generate_series(1, 4) w, LATERAL loyalty.redeem(w, points => 50, program => 'dead', key => 'held', hold => '20 days') r;
INSERT INTO shop SELECT 10 * w + 1, w, 27, '2024-02-20' FROM generate_series(3, 4) w;
SET LOCAL loyalty.now = '2024-03-05';
DELETE FROM shop WHERE id IN (10, 30);
CREATE VIEW owing AS SELECT w, b.available, b.held, b.debt FROM generate_series(1, 4) w, LATERAL loyalty.balance(w, 'dead') b ORDER BY w;
TABLE owing;
-- the hold lapses: 1 and 3 owe what was spent, as 2 and 4 do, who return afterwards
SET LOCAL loyalty.now = '2024-03-12';
TABLE owing;
DELETE FROM shop WHERE id IN (20, 40);
TABLE owing;
SELECT w, r.state, r.alive, r.dead FROM generate_series(1, 4) w, LATERAL loyalty.reverse(w, (SELECT d.redemption_id FROM loyalty.redemption d JOIN loyalty.program p ON p.id = d.program_id
  WHERE d.member_id = w AND d.key = 'spent' AND p.name = 'dead'), points => 60) r;
TABLE owing;
SELECT w, r.state, r.alive, r.dead FROM generate_series(1, 4) w, LATERAL loyalty.reverse(w, (SELECT d.redemption_id FROM loyalty.redemption d JOIN loyalty.program p ON p.id = d.program_id
  WHERE d.member_id = w AND d.key = 'spent' AND p.name = 'dead')) r;
TABLE owing;
INSERT INTO shop SELECT 10 * w, w, 300, '2023-11-30 12:00' FROM generate_series(1, 4) w;
TABLE owing;
SELECT member_id, sum(points) AS balance FROM loyalty.statement WHERE program = 'dead' GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();

-- a lot that has repaid a little of its own debt, and another lot nearly all: both are undone at once, not by that little
SET LOCAL loyalty.now = '2024-04-01 10:00';
INSERT INTO loyalty.program (name, clawback, decimals, sandbox) VALUES ('little', 'debt', 4, true);
CREATE TABLE little (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('little', program => 'little', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('little', 'little', 'one per one', 'earn.amount');
INSERT INTO little VALUES (1, 1, 10000, '2024-04-01 10:00');
SELECT points FROM loyalty.redeem(1, points => 0.01, program => 'little', key => 'a little', hold => '1 day');
SELECT points FROM loyalty.redeem(1, points => 9999.99, program => 'little');
DELETE FROM little;
INSERT INTO little VALUES (2, 1, 5000, '2024-04-01 10:00');
SELECT state FROM loyalty.release(1, (SELECT d.redemption_id FROM loyalty.redemption d WHERE d.member_id = 1 AND d.key = 'a little'));
SELECT available, debt FROM loyalty.balance(1, 'little');
INSERT INTO little VALUES (1, 1, 10000, '2024-04-01 10:00');
SELECT available, debt FROM loyalty.balance(1, 'little');
SELECT kind, sum(points), count(*) FROM loyalty.movement m JOIN loyalty.program p ON p.id = m.program_id AND p.name = 'little' GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();
ROLLBACK;
