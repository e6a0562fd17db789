-- redeem(): what is spent in which order, rewards and their stock, keys, refusals after which nothing is half done.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA burn_test;
SET LOCAL search_path = burn_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('p', 'Europe/Istanbul', '12 months', true);
INSERT INTO loyalty.program (name, decimals, pending, sandbox) VALUES ('fine', 2, '14 days', true);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'fine', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount'), ('fine', 'sale', 'one for one', 'earn.amount');

-- numbers of the ledger depend on what ran before: show what does not
CREATE VIEW lots AS SELECT p.name AS program, l.source_key AS sale, l.points / 10000 AS points, l.remaining / 10000 AS remaining, l.expires_at
FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE l.source_id IN (SELECT id FROM loyalty.source WHERE relation = 'sale'::regclass);
CREATE VIEW accounts AS SELECT a.member_id, p.name AS program, a.available / 10000 AS available, a.pending / 10000 AS pending, a.settled_at
FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name IN ('p', 'fine');
-- every figure of the account is what its lots and movements say
CREATE VIEW unsound AS
SELECT a.member_id, p.name FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name IN ('p', 'fine')
  AND (a.available + a.pending <> (SELECT coalesce(sum(remaining), 0) FROM loyalty.lot l WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.expires_at > a.settled_at)
    OR EXISTS (SELECT FROM loyalty.lot l WHERE l.member_id = a.member_id AND l.program_id = a.program_id
               AND l.points + (SELECT coalesce(sum(m.points), 0) FROM loyalty.movement m WHERE m.member_id = l.member_id AND m.program_id = l.program_id AND m.lot_entry_no = l.entry_no)
                   <> CASE WHEN l.expires_at > a.settled_at THEN l.remaining ELSE 0 END));

INSERT INTO sale VALUES (1, 1, 100, '2024-03-10 12:00+00'), (2, 1, 50.75, '2024-01-10 12:00+00'), (3, 1, 30, '2024-02-10 12:00+00'), (4, 2, 10, '2024-02-10 12:00+00');
SET LOCAL loyalty.now = '2024-03-20 00:00+00';

-- burn order is by expiry: 50 of sale 2 and 5 of sale 3
SELECT points, state, voucher, redemption_id > 0 AS numbered FROM loyalty.redeem(1, points => 55, program => 'p', key => 'k1', reason => 'at the till');
SELECT sale, points, remaining, expires_at FROM lots WHERE program = 'p' AND remaining <> points ORDER BY expires_at;
SELECT kind, points / 10000 AS points, at, redemption_id = (SELECT max(redemption_id) FROM loyalty.redemption) AS names_it FROM loyalty.movement WHERE member_id = 1 ORDER BY entry_no;
SELECT quantity, points, state, key, reason, last_entry - first_entry AS more, at, by = session_user AS me FROM loyalty.redemption WHERE member_id = 1;
SELECT * FROM accounts WHERE program = 'p' ORDER BY member_id;

-- the same call again: the same answer, once, also written otherwise and after the redemption has changed
SELECT count(DISTINCT redemption_id), count(*) FROM (
  SELECT redemption_id FROM loyalty.redeem(1, points => 55.000, program => 'p', key => 'k1', reason => 'at the till')
  UNION ALL SELECT redemption_id FROM loyalty.redemption WHERE member_id = 1) x;
UPDATE loyalty.redemption SET state = 'reversed' WHERE member_id = 1;
SELECT points, state FROM loyalty.redeem(1, points => 55, program => 'p', key => 'k1', reason => 'at the till');
UPDATE loyalty.redemption SET state = 'captured' WHERE member_id = 1;
-- other arguments
SELECT * FROM loyalty.redeem(1, points => 56, program => 'p', key => 'k1', reason => 'at the till');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.redeem(1, points => 55, program => 'p', key => 'k1');
SELECT * FROM loyalty.redeem(1, 'cup', program => 'p', key => 'k1', reason => 'at the till');
-- a key is the member's and the program's alone
SELECT points FROM loyalty.redeem(2, points => 3, program => 'p', key => 'k1');
SELECT available FROM accounts WHERE program = 'p' ORDER BY member_id;

-- an error is not remembered: the key is free
SELECT * FROM loyalty.redeem(2, points => 8, program => 'p', key => 'k2');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(2, points => 7, program => 'p', key => 'k2');
SELECT * FROM loyalty.redeem(2, points => 1, program => 'p');

-- refusals
SELECT * FROM loyalty.redeem(1, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.redeem(1, 'cup', 5, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 0, program => 'p');
SELECT * FROM loyalty.redeem(1, points => -5, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 0.5, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 'NaN', program => 'p');
SELECT * FROM loyalty.redeem(1, points => 'Infinity', program => 'p');
SELECT * FROM loyalty.redeem(1, points => 1e30, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 0.001, program => 'fine');
SELECT * FROM loyalty.redeem(1, 'cup', quantity => 0, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 5, quantity => 2, program => 'p');
SELECT * FROM loyalty.redeem(NULL, points => 5, program => 'p');
SELECT * FROM loyalty.redeem(1, points => 5, program => 'p', key => '');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.redeem(1, points => 5, program => 'p', key => repeat('k', 501));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.redeem(99, points => 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.redeem(1, points => 5, program => 'nosuch');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.account SET status = 'blocked' WHERE member_id = 1;
SELECT * FROM loyalty.redeem(1, points => 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
-- what it answered before it still answers
SELECT points FROM loyalty.redeem(1, points => 55, program => 'p', key => 'k1', reason => 'at the till');
UPDATE loyalty.account SET status = 'active' WHERE member_id = 1;
-- pending points cannot be spent before they are released, and then they can
SELECT available, pending FROM accounts WHERE program = 'fine' AND member_id = 2;
SET LOCAL loyalty.now = '2024-02-24 11:59:59.999999+00';
SELECT * FROM loyalty.redeem(2, points => 9.99, program => 'fine');
SET LOCAL loyalty.now = '2024-02-24 12:00+00';
SELECT points FROM loyalty.redeem(2, points => 9.99, program => 'fine');
SELECT available, pending FROM accounts WHERE program = 'fine' AND member_id = 2;
TABLE unsound;
SELECT * FROM loyalty.verify();
ROLLBACK;
\set ON_ERROR_ROLLBACK off
BEGIN;
INSERT INTO loyalty.program (name) VALUES ('p');
SET TRANSACTION READ ONLY;
SELECT * FROM loyalty.redeem(1, points => 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
\set ON_ERROR_ROLLBACK on

-- expiry is exact, with no job: 1 microsecond before and at the first dead instant
BEGIN;
CREATE SCHEMA burn_test;
SET LOCAL search_path = burn_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('p', 'Europe/Istanbul', '6 months, end of month', true);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
INSERT INTO sale VALUES (1, 1, 100, '2020-12-15 12:00+03'), (2, 1, 10, '2021-01-02 12:00+03');
SELECT expires_at FROM loyalty.lot WHERE member_id = 1 ORDER BY 1;
SAVEPOINT before;
SET LOCAL loyalty.now = '2021-06-30 20:59:59.999999+00';
SELECT points FROM loyalty.redeem(1, points => 105, program => 'p', key => 'before');
SELECT available FROM loyalty.account WHERE member_id = 1;
ROLLBACK TO before;
SET LOCAL loyalty.now = '2021-06-30 21:00+00';
SELECT points FROM loyalty.redeem(1, points => 11, program => 'p');
SELECT points FROM loyalty.redeem(1, points => 10, program => 'p');
SELECT kind, points / 10000 AS points, at FROM loyalty.movement WHERE member_id = 1 ORDER BY entry_no;

-- rewards
INSERT INTO sale VALUES (3, 2, 5000, '2021-06-01 12:00+03');
INSERT INTO loyalty.reward (program, name, cost, stock, starts_at, ends_at, enabled) VALUES
  ('p', 'cup', 150, 20, '-infinity', 'infinity', true), ('p', 'summer', 10, NULL, '2021-07-01', '2021-09-01', true), ('p', 'gone', 10, NULL, '-infinity', 'infinity', false);
CREATE VIEW stock AS SELECT r.name, r.stock, count(*) AS slots, sum(s.left_over) AS left_over FROM loyalty.reward r JOIN loyalty.reward_stock s ON s.reward_id = r.id GROUP BY 1, 2;
TABLE stock;
SELECT points FROM loyalty.redeem(2, 'cup', program => 'p', key => 'r1');
-- more than any slot holds
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 4, program => 'p', key => 'r2');
TABLE stock;
SELECT r.name, quantity, points / 10000 AS points FROM loyalty.redemption d JOIN loyalty.reward r ON r.id = d.reward_id WHERE member_id = 2 ORDER BY redemption_id;
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 4, program => 'p', key => 'r2');
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 5, program => 'p', key => 'r2');
-- nothing leaks on rollback
SAVEPOINT s;
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 15, program => 'p');
TABLE stock;
ROLLBACK TO s;
TABLE stock;
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 16, program => 'p');
\echo :LAST_ERROR_SQLSTATE
TABLE stock;
SELECT points FROM loyalty.redeem(2, 'summer', program => 'p');
SELECT points FROM loyalty.redeem(2, 'gone', program => 'p');
SELECT points FROM loyalty.redeem(2, 'nosuch', program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(2, 'cup', quantity => 2147483647, program => 'p');
SET LOCAL loyalty.now = '2021-07-01 00:00+00';
SELECT points FROM loyalty.redeem(2, 'summer', program => 'p');
SET LOCAL loyalty.now = '2021-09-01 00:00+00';
SELECT points FROM loyalty.redeem(2, 'summer', program => 'p');
-- what is put up changes what is left by the difference, never below 0
UPDATE loyalty.reward SET stock = 50 WHERE name = 'cup';
TABLE stock;
UPDATE loyalty.reward SET stock = 5 WHERE name = 'cup';
TABLE stock;
UPDATE loyalty.reward SET stock = 4 WHERE name = 'cup';
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(2, 'cup', program => 'p');
UPDATE loyalty.reward SET stock = NULL WHERE name = 'cup';
TABLE stock;
SELECT points FROM loyalty.redeem(2, 'cup', program => 'p');
-- a disabled reward still answers an old call
UPDATE loyalty.reward SET enabled = false WHERE name = 'cup';
SELECT points FROM loyalty.redeem(2, 'cup', program => 'p', key => 'r1');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'half', 0.5);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
