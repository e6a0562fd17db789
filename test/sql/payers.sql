-- lots of one purchase that have paid for each other's share of its returns: what comes back to one of them does not go
-- round among them a few points at a time, and nothing is lost or gained.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

BEGIN;
CREATE SCHEMA payers_test;
SET LOCAL search_path = payers_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, decimals, sandbox) VALUES ('p', 4, true);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, expiry, pending) VALUES
  ('p', 'sale', 'spent', 'earn.amount', '1 month', NULL),
  ('p', 'sale', 'now', 'earn.amount', '2 months', NULL),
  ('p', 'sale', 'pending', 'earn.amount', '3 months', '10 days');
CREATE VIEW lots AS SELECT (expires_at AT TIME ZONE 'UTC')::date AS expires, trim_scale(points / 10000.0) AS points, trim_scale(remaining / 10000.0) AS remaining, owed FROM loyalty.lot
WHERE member_id = 1 AND program_id = (SELECT id FROM loyalty.program WHERE name = 'p') AND points > 0 ORDER BY expires_at;
CREATE FUNCTION reversed(p numeric) RETURNS TABLE (points numeric, state text, alive numeric, dead numeric) LANGUAGE sql AS $$
  SELECT r.points, r.state, r.alive, r.dead FROM loyalty.reverse(1, (SELECT min(redemption_id) FROM loyalty.redemption
    WHERE member_id = 1 AND program_id = (SELECT id FROM loyalty.program WHERE name = 'p')), points => p) r $$;

SET LOCAL loyalty.now = '2024-01-01';
INSERT INTO sale VALUES (1, 1, 100, '2024-01-01');
SELECT points FROM loyalty.redeem(1, points => 100, program => 'p');
-- the pending lot pays for both others, then the one that has points pays for both others
UPDATE sale SET total = 60;
TABLE lots;
UPDATE sale SET total = 40;
TABLE lots;
-- the least there is comes back: 200,000 times it would have gone round
SELECT * FROM reversed(0.0001);
TABLE lots;
SELECT count(*) < 30 AS few FROM loyalty.statement WHERE member_id = 1 AND program = 'p';
SELECT available, pending FROM loyalty.balance(1, 'p');
SELECT * FROM reversed(29.9999);
TABLE lots;
SELECT * FROM loyalty.verify();

-- all comes back and is as if nothing had been returned and spent, in whatever order
SAVEPOINT purchase_first;
UPDATE sale SET total = 100;
TABLE lots;
SELECT * FROM reversed(NULL);
TABLE lots;
SELECT * FROM loyalty.verify();
ROLLBACK TO purchase_first;
SELECT * FROM reversed(NULL);
TABLE lots;
UPDATE sale SET total = 100;
TABLE lots;
SELECT * FROM loyalty.verify();

-- when those who paid have died the points are dead, and said to be
ROLLBACK TO purchase_first;
SET LOCAL loyalty.now = '2024-03-15';
SELECT * FROM reversed(NULL);
TABLE lots;
SELECT * FROM loyalty.verify();
ROLLBACK;
