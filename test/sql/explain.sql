-- explain(): from a balance to lots, rules and purchases, from a redemption to the lots that paid; and the statement's words.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA explain_test;
SET LOCAL search_path = explain_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE orders (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('p', 'Europe/Istanbul', '12 months, end of month', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 150, 0.5);
SELECT loyalty.attach('orders', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, expiry, pending) VALUES
  ('p', 'orders', 'one per lira', 'base', 'earn.amount', NULL, NULL, NULL),
  ('p', 'orders', 'double weekends', 'bonus', 'earn.base', 'extract(isodow from earn.local_time) in (6, 7)', NULL, NULL),
  ('p', 'orders', 'short', 'bonus', '7', 'total > 90', '30 days', '20 days');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'free coffee', 150);
-- a Saturday, a Monday, nothing, and a gold one
INSERT INTO orders VALUES (4711, 1, 100, '2024-03-09 12:00+00'), (4712, 1, 60, '2024-03-11 12:00+00'), (4713, 1, 0, '2024-03-11 13:00+00'), (4714, 1, 10, '2024-03-12 12:00+00'), (5000, 2, 20, '2024-03-12 12:00+00');
SET LOCAL loyalty.now = '2024-03-20 00:00+00';
SELECT points FROM loyalty.adjust(1, 40, 'sorry', 'p');
SELECT points FROM loyalty.transfer(2, 1, 20, 'p', reason => 'birthday');
SELECT points, what, source, source_key, amount, kept, of_member, state, earned_at, expires_at, last_day FROM loyalty.explain(1, 'p');
-- as much as the balance
SELECT e.points = b.available + b.pending AS equal FROM loyalty.balance(1, 'p') b, (SELECT sum(points) AS points FROM loyalty.explain(1, 'p')) e;
-- which lots paid; a purchase is returned, the redemption stays what it was
SELECT points FROM loyalty.redeem(1, 'free coffee', program => 'p');
SELECT points FROM loyalty.redeem(1, points => 60, program => 'p', reason => 'at the till');
SELECT r.points / 10000 AS redeemed, e.points, e.state, e.what, e.source_key FROM loyalty.redemption r, loyalty.explain(1, 'p', r.redemption_id) e WHERE r.member_id = 1 ORDER BY r.redemption_id, e.lot;
DELETE FROM orders WHERE id = 4712;
SELECT points, what, source_key, amount, kept FROM loyalty.explain(1, 'p', (SELECT max(redemption_id) FROM loyalty.redemption WHERE member_id = 1));
-- over two steps: given on, and made to live longer
SELECT points FROM loyalty.transfer(1, 2, 15, 'p');
SELECT points FROM loyalty.change_expiry(2, 'infinity', 'for ever', program => 'p');
SELECT points, what, source_key, of_member, earned_at, expires_at, last_day FROM loyalty.explain(2, 'p');
-- words
SELECT kind, points, balance_after, what FROM loyalty.statement WHERE program = 'p' AND member_id = 1 ORDER BY entry_no;
SELECT kind, points, balance_after, what FROM loyalty.statement WHERE program = 'p' AND member_id = 2 ORDER BY entry_no;
SET LOCAL loyalty.now = '2025-05-01 00:00+00';
SELECT kind, points, balance_after, what FROM loyalty.statement WHERE program = 'p' AND member_id = 1 AND kind = 'expire' ORDER BY entry_no, at;
SELECT count(*) FROM loyalty.explain(1, 'p');
-- refusals
SELECT * FROM loyalty.explain(99, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.explain(1, 'p', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.explain(NULL, 'p');
SELECT * FROM loyalty.explain(1, 'nosuch');
\echo :LAST_ERROR_SQLSTATE
-- EXECUTE says who may
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
SET LOCAL ROLE loyalty_test_app;
SELECT points, source_key FROM loyalty.explain(2, 'p');
SELECT what FROM loyalty.statement WHERE program = 'p' AND member_id = 2 AND kind = 'transfer' ORDER BY entry_no;
SELECT * FROM loyalty.explain_of(2, 1, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify_origins(1);
RESET ROLE;
ROLLBACK;
