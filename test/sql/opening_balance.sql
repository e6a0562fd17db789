-- Balances of another system by COPY into a view: each row once, however often the file is loaded.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, decimals, expiry, tier_metric, sandbox) VALUES ('p', 'Europe/Istanbul', 1, '12 months, end of month', 'points', true);
INSERT INTO loyalty.program (name, enrollment, sandbox) VALUES ('closed', 'explicit', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 100);
SET LOCAL loyalty.now = '2024-03-20 00:00+00';

COPY loyalty.opening_balance (member_id, external_id, program, points, earned_at, available_at, expires_at, reason, key, counts_for_tier) FROM stdin (NULL '-');
1	-	p	120.5	2023-06-01 00:00+00	-	-	-	a	-
1	-	p	30	2023-07-01 00:00+00	-	2024-04-01 00:00+00	from the old system	b	-
2	card 2	p	7	-	2024-04-10 00:00+00	infinity	-	a	-
-	card 3	p	100	2023-08-01 00:00+00	-	-	-	a	true
-	card 3	p	5	-	-	-	-	b	false
\.
SELECT member_id, external_id, points, earned_at, available_at, expires_at, reason, key, counts_for_tier FROM loyalty.opening_balance WHERE member_id < 1000 ORDER BY 1, 3;
SELECT external_id, points, counts_for_tier FROM loyalty.opening_balance WHERE member_id > 1000 ORDER BY 2;
SELECT coalesce(external_id, member_id::text) AS who, available, pending, tier, next_expiry_at, next_expiry_points FROM loyalty.member_balance WHERE program = 'p' ORDER BY 1;
SELECT member_id, enrolled_at FROM loyalty.account WHERE member_id < 1000 ORDER BY 1;
SELECT kind, points, balance_after, what, last_day FROM loyalty.statement WHERE member_id = 1 AND program = 'p' ORDER BY entry_no;
SELECT * FROM loyalty.program_daily WHERE program = 'p';
SELECT * FROM loyalty.explain(1, 'p');

-- a wrong row, and nothing of its COPY stays: figures in the detail
SAVEPOINT s;
COPY loyalty.opening_balance (member_id, program, points, expires_at, key) FROM stdin (NULL '-');
5	p	10	-	a
6	p	10	2024-03-20 00:00+00	a
\.
SELECT count(*) FROM loyalty.account WHERE member_id IN (5, 6);
INSERT INTO loyalty.opening_balance (program, points, key) VALUES ('p', 5, 'a');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.opening_balance (member_id, program, points) VALUES (5, 'p', 5);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.opening_balance (member_id, program, key) VALUES (5, 'p', 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'p', -5, 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'p', 0, 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'p', 0.25, 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'p', 1e15, 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (5, 'p', 5, '2022-01-01', 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (5, 'p', 5, '2024-03-21', 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (5, 'p', 5, '-infinity', 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, available_at, key) VALUES (5, 'p', 5, 'infinity', 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, available_at, expires_at, key) VALUES (5, 'p', 5, '2024-05-01', '2024-04-01', 'a');
INSERT INTO loyalty.opening_balance (member_id, external_id, program, points, key) VALUES (5, 'card 2', 'p', 5, 'a');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'nosuch', 5, 'a');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (5, 'closed', 5, 'a');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.opening_balance (external_id, program, points, key) VALUES ('card 5', 'closed', 5, 'a');
-- one key, two different rows
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (1, 'p', 121.5, '2023-06-01', 'a');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.adjust(1, 5, 'x', 'p', key => 'a');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.opening_balance SET points = 1;
DELETE FROM loyalty.opening_balance;

-- the same rows again do nothing, also later, in other words, and when others come with them
SET LOCAL loyalty.now = '2024-03-25 00:00+00';
INSERT INTO loyalty.opening_balance (member_id, program, points, earned_at, key) VALUES (1, 'p', 120.50, '2023-06-01 03:00+03', 'a'), (1, 'p', 1, NULL, 'c');
INSERT INTO loyalty.opening_balance (external_id, program, points, earned_at, key, counts_for_tier) VALUES ('card 3', 'p', 100, '2023-08-01', 'a', true);
SELECT coalesce(external_id, member_id::text) AS who, available, pending FROM loyalty.member_balance WHERE program = 'p' ORDER BY 1;

-- 10,000 rows, twice
COPY loyalty.opening_balance (external_id, program, points, earned_at, key) FROM PROGRAM 'seq 1 10000 | awk ''{print "m" $1 % 4000 "\tp\t" $1 / 10 "\t2023-07-01 00:00+00\trow " $1}''';
ANALYZE loyalty.lot, loyalty.movement, loyalty.redemption, loyalty.account, loyalty.intervention;
SELECT count(*), sum(points) FROM loyalty.opening_balance WHERE key LIKE 'row %';
SELECT count(*), sum(available) FROM loyalty.member_balance WHERE program = 'p' AND external_id LIKE 'm%';
COPY loyalty.opening_balance (external_id, program, points, earned_at, key) FROM PROGRAM 'seq 1 10000 | awk ''{print "m" $1 % 4000 "\tp\t" $1 / 10 "\t2023-07-01 00:00+00\trow " $1}''';
SELECT count(*), sum(points) FROM loyalty.opening_balance WHERE key LIKE 'row %';
SELECT count(*), sum(available) FROM loyalty.member_balance WHERE program = 'p' AND external_id LIKE 'm%';
SELECT * FROM loyalty.verify();

-- the control: by adjust() without a key a row counts twice
SELECT points FROM loyalty.adjust(1, 120.5, 'opening balance', 'p');
SELECT points FROM loyalty.adjust(1, 120.5, 'opening balance', 'p');
SELECT available FROM loyalty.balance(1, 'p');

-- who may
CREATE ROLE loyalty_test_app;
CREATE ROLE loyalty_test_admin;
SELECT loyalty.grant_access('loyalty_test_app', 'app'), loyalty.grant_access('loyalty_test_admin', 'admin');
SET LOCAL ROLE loyalty_test_app;
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (7, 'p', 5, 'a');
\echo :LAST_ERROR_SQLSTATE
SET LOCAL ROLE loyalty_test_admin;
INSERT INTO loyalty.opening_balance (member_id, external_id, program, points, key) VALUES (7, 'card 7', 'p', 5, 'a'), (NULL, 'card 8', 'p', 6, 'a');
SELECT external_id, points FROM loyalty.opening_balance WHERE external_id LIKE 'card %' ORDER BY 1, 2;
SELECT i.action, i.set_role FROM loyalty.intervention i WHERE i.member_id = 7;
RESET ROLE;
ROLLBACK;
