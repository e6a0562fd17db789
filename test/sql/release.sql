-- Points that wait for an event: released when the row says that it came, dead when it did not come in time.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA release_test;
SET LOCAL search_path = release_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('w', '100 days', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('w', 'green', 0, 0), ('w', 'gold', 1, 100);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT '2024-01-01', delivered_at timestamptz, ok boolean DEFAULT true);
SELECT loyalty.attach('sale', program => 'w', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok',
  release => 'delivered_at', release_within => '30 days') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, expiry, cap) VALUES
  ('w', 'sale', 'one', 'base', 'earn.amount', NULL, NULL), ('w', 'sale', 'short', 'bonus', '10', '20 days', 25);
CREATE VIEW balance AS SELECT b.available, b.pending, b.tier, b.next_expiry_at, b.next_expiry_points FROM loyalty.balance(1, 'w') b;
CREATE FUNCTION lots() RETURNS TABLE (key text, part int, points numeric, remaining numeric, kept numeric, available_at timestamptz, expires_at timestamptz) LANGUAGE sql AS
$$ SELECT l.source_key, l.part, l.points / 1e4, l.remaining / 1e4, l.kept_amount, l.available_at, l.expires_at FROM loyalty.lot l ORDER BY l.source_key::int, l.part $$;
\set show 'SELECT key, part, trim_scale(points) AS points, trim_scale(remaining) AS remaining, kept, available_at, expires_at FROM lots();'

-- waits, and counts for the tier from the start
SET loyalty.now = '2024-01-02';
SAVEPOINT empty;
INSERT INTO sale VALUES (1, 1, 120);
SELECT * FROM balance;
SELECT rule, points, available_at, expires_at FROM loyalty.award('sale', '1');
:show
SELECT points FROM loyalty.redeem(1, points => 1, program => 'w');
\echo :LAST_ERROR_SQLSTATE
-- another change does not release; the event does, once
UPDATE sale SET total = 60 WHERE id = 1;
SELECT * FROM balance;
SET loyalty.now = '2024-01-05';
UPDATE sale SET delivered_at = '2024-01-04' WHERE id = 1;
SELECT * FROM balance;
:show
UPDATE sale SET delivered_at = '2024-01-05' WHERE id = 1;
UPDATE sale SET delivered_at = NULL WHERE id = 1;
UPDATE sale SET delivered_at = '2024-01-05' WHERE id = 1;
SELECT * FROM balance;
SELECT * FROM loyalty.verify();
-- returns go on by the formula: the rest, all of it back, more than ever
UPDATE sale SET total = 120 WHERE id = 1;
SELECT * FROM balance;
UPDATE sale SET total = 30 WHERE id = 1;
UPDATE sale SET total = 150 WHERE id = 1;
SELECT * FROM balance;
SELECT rule, points, available_at, expires_at FROM loyalty.award('sale', '1');
SELECT points FROM loyalty.redeem(1, points => 100, program => 'w');
DELETE FROM sale WHERE id = 1;
SELECT * FROM balance;
INSERT INTO sale VALUES (1, 1, 150, '2024-01-01', '2024-01-05');
SELECT * FROM balance;
SELECT * FROM loyalty.verify();
-- never spent after its life, and what is due is seen by readers
SET loyalty.now = '2024-01-21 00:00';
SELECT * FROM balance;
SET loyalty.now = '2024-04-10 00:00';
SELECT * FROM balance;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- the event never comes: dead at the deadline, job or no job; too late is too late
INSERT INTO sale VALUES (1, 1, 120), (2, 1, 40);
SET loyalty.now = '2024-01-30 23:59:59.999999';
SELECT * FROM balance;
UPDATE sale SET delivered_at = '2024-01-10' WHERE id = 2;
SELECT * FROM balance;
SET loyalty.now = '2024-01-31';
SELECT * FROM balance;
UPDATE sale SET delivered_at = '2024-01-30' WHERE id = 1;
SELECT * FROM balance;
:show
UPDATE sale SET total = 50 WHERE id = 1;
UPDATE sale SET total = 120 WHERE id = 1;
SELECT * FROM balance;
SELECT balance.pending, balance.available FROM loyalty.balance(1, 'w', '2024-01-15') balance;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- a rule whose points die first: what is returned before takes them first, what is released after keeps the rest
INSERT INTO sale VALUES (1, 1, 120), (2, 1, 120);
UPDATE sale SET total = 60 WHERE id = 1;
SET loyalty.now = '2024-01-22';
UPDATE sale SET total = 60 WHERE id = 2;
SELECT key, part, remaining FROM lots() WHERE part < 64;
UPDATE sale SET delivered_at = '2024-01-22';
SELECT key, part, remaining, expires_at FROM lots() WHERE part >= 64;
SELECT * FROM balance;
UPDATE sale SET total = 120;
SELECT * FROM balance;
SELECT * FROM loyalty.verify();
ROLLBACK TO empty;

-- returned while it waits, cancelled and un-cancelled, to another member; delivered at once; delivered later than now
INSERT INTO sale VALUES (1, 1, 120);
UPDATE sale SET ok = false WHERE id = 1;
SELECT * FROM balance;
UPDATE sale SET ok = true WHERE id = 1;
SELECT * FROM balance;
UPDATE sale SET who = 2 WHERE id = 1;
UPDATE sale SET who = 1 WHERE id = 1;
UPDATE sale SET delivered_at = '2024-01-02', total = 100 WHERE id = 1;
SELECT * FROM balance;
UPDATE sale SET who = 2 WHERE id = 1;
SELECT member_id, available, pending FROM loyalty.member_balance WHERE program = 'w' ORDER BY 1;
INSERT INTO sale VALUES (2, 1, 7, '2024-01-01', '2024-01-01'), (3, 1, 5, '2024-01-01', '2024-01-20');
SELECT * FROM balance;
UPDATE sale SET total = 0 WHERE id = 1;
INSERT INTO sale VALUES (4, 3, 0);
UPDATE sale SET ok = false WHERE id = 4;
UPDATE sale SET ok = true WHERE id = 4;
UPDATE sale SET delivered_at = '2024-01-02' WHERE id = 4;
UPDATE sale SET total = 3 WHERE id = 4;
SELECT member_id, available, pending FROM loyalty.member_balance WHERE program = 'w' ORDER BY 1;
UPDATE sale SET ok = false WHERE id = 4;
SELECT member_id, available, pending FROM loyalty.member_balance WHERE program = 'w' ORDER BY 1;
SELECT * FROM loyalty.verify();
SELECT r.name, u.member_id, u.used / 1e8 AS used, u.uses FROM loyalty.rule_usage u JOIN loyalty.rule r ON r.id = u.rule_id ORDER BY 1, 2;
ROLLBACK TO empty;

-- what no trigger saw is found by reconcile()
INSERT INTO sale VALUES (1, 1, 120), (2, 1, 50);
ALTER TABLE sale DISABLE TRIGGER USER;
UPDATE sale SET delivered_at = '2024-01-02' WHERE id = 1;
ALTER TABLE sale ENABLE TRIGGER USER;
SET loyalty.now = '2024-01-03';
UPDATE loyalty.source SET release_within = NULL WHERE program = 'w';
DELETE FROM sale WHERE id = 2;
INSERT INTO sale VALUES (3, 1, 50), (4, 1, 60), (5, 1, 0);
ALTER TABLE sale DISABLE TRIGGER USER;
UPDATE sale SET delivered_at = '2024-01-02' WHERE id <> 4;
ALTER TABLE sale ENABLE TRIGGER USER;
UPDATE loyalty.rule SET expiry = 'never' WHERE name = 'short';
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM loyalty.reconcile('sale');
SELECT * FROM balance;
:show
ROLLBACK TO empty;

-- expiry that counts from when points are available, and pending on top; a boolean; without a deadline
UPDATE loyalty.program SET expiry_from = 'available', pending = '10 days' WHERE name = 'w';
UPDATE loyalty.source SET release = 'delivered_at IS NOT NULL', release_within = NULL WHERE program = 'w';
INSERT INTO sale VALUES (1, 1, 50);
SET loyalty.now = '2024-03-01';
SELECT * FROM balance;
UPDATE sale SET delivered_at = '2024-03-01' WHERE id = 1;
SELECT * FROM balance;
INSERT INTO sale VALUES (2, 1, 30, '2024-03-01', '2024-03-01');
:show
SELECT * FROM loyalty.verify();
-- quote = award for rows that wait
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 5, "total": 9, "at": "2024-03-01", "ok": true}');
ROLLBACK TO empty;

-- random histories: what is there is what the row says, whatever came before
SELECT setseed(0.3);
DO $$
BEGIN
  FOR i IN 1..60 LOOP
    INSERT INTO sale VALUES (i, i, floor(random() * 50));
    FOR j IN 1..8 LOOP
      CASE floor(random() * 4)
        WHEN 0 THEN UPDATE sale SET total = floor(random() * 50) WHERE id = i AND total >= 0;
        WHEN 1 THEN UPDATE sale SET ok = NOT ok WHERE id = i;
        WHEN 2 THEN UPDATE sale SET delivered_at = coalesce(delivered_at, '2024-01-02') WHERE id = i;
        ELSE UPDATE sale SET total = total * 0.5 WHERE id = i;
      END CASE;
    END LOOP;
  END LOOP;
END $$;
SELECT * FROM loyalty.verify();
-- base points follow the row: what is kept of it, available where delivered, else waiting
SELECT s.id, s.total, s.ok, s.delivered_at, b.available, b.pending FROM sale s CROSS JOIN LATERAL loyalty.balance(s.who, 'w') b
WHERE b.available + b.pending NOT BETWEEN CASE WHEN s.ok THEN floor(s.total) ELSE 0 END AND CASE WHEN s.ok THEN floor(s.total) + 20 ELSE 0 END
  OR s.delivered_at IS NULL AND b.available > 0 OR s.delivered_at IS NOT NULL AND s.ok AND b.pending > 0;
ROLLBACK TO empty;

-- waiting points get their life from the event alone
SET loyalty.now = '2024-01-02';
INSERT INTO sale VALUES (1, 1, 10);
SELECT loyalty.change_expiry(1, 'infinity', 'longer', ARRAY(SELECT entry_no FROM loyalty.lot WHERE member_id = 1 AND remaining > 0 ORDER BY 1 LIMIT 1), 'w');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM loyalty.change_expiry(1, 'infinity', 'all that can', program => 'w');
UPDATE sale SET delivered_at = '2024-01-02' WHERE id = 1;
SELECT available, pending FROM balance;
ROLLBACK TO empty;

-- what is no release
UPDATE loyalty.source SET release = 'total' WHERE program = 'w';
UPDATE loyalty.source SET release = NULL WHERE program = 'w';
UPDATE loyalty.source SET release_within = '-1 day' WHERE program = 'w';
ROLLBACK;
