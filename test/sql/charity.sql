-- Charity: what purchases give and what returns take back, members' choices, points given by hand, receipts and totals.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA charity_test;
SET LOCAL search_path = charity_test;
SET LOCAL TimeZone = 'UTC';
ALTER SEQUENCE loyalty.donation_donation_id_seq RESTART WITH 1;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT '2025-01-10 12:00+00');
CREATE TABLE returned (id int PRIMARY KEY, of int, total numeric, at timestamptz DEFAULT '2025-01-20 12:00+00');
INSERT INTO loyalty.program (name, sandbox, point_value, money) VALUES ('good', true, 0.01, 'EUR');
SELECT loyalty.attach('sale', program => 'good', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('returned', program => 'good', member => 'NULL::bigint', amount => 'total', occurred_at => 'at', refund_of => 'of', refund_source => 'sale') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('good', 'sale', 'ten a euro', 'earn.amount * 10');
INSERT INTO loyalty.cause (program, name, title, goal) VALUES ('good', 'trees', 'A tree for everybody', 10), ('good', 'school', 'A school', NULL), ('good', 'closed', 'Was', NULL);
SET LOCAL loyalty.now = '2025-01-10 12:00+00';
INSERT INTO sale VALUES (1, 1, 100);
SET LOCAL loyalty.now = '2025-01-10 12:01+00';
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) VALUES ('good', 'one per cent', 'amount', 'shop', 0.01, 'trees');
INSERT INTO loyalty.giving (program, name, kind, funded_by, step) VALUES ('good', 'round up', 'round_up', 'member', 1);
CREATE VIEW given AS SELECT d.member_id AS member, c.name AS cause, g.name AS giving, d.source_key AS key, sum(d.amount) AS amount, trim_scale(sum(d.points) / 10000) AS points, count(*) AS rows
FROM loyalty.donation d JOIN loyalty.cause c ON c.id = d.cause_id LEFT JOIN loyalty.giving g ON g.id = d.giving_id GROUP BY 1, 2, 3, 4 ORDER BY 1, 4, 3, 2;

-- shares of the shop for every member; of the member for those who chose it; a purchase of before gives nothing, also when it comes back
INSERT INTO sale VALUES (2, 1, 49.50), (3, 2, 12.34);
SELECT giving, cause, share, round_up, at FROM loyalty.choose_cause(2, 'school', giving => 'round up', program => 'good', key => 'c1');
SELECT giving, cause, share, round_up, at FROM loyalty.choose_cause(2, 'school', giving => 'round up', program => 'good', key => 'c1');
SELECT cause FROM loyalty.choose_cause(2, 'trees', giving => 'round up', program => 'good', key => 'c1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.giving_for(2, 12.34, program => 'good');
INSERT INTO sale VALUES (4, 2, 12.34), (5, 2, 13);
DELETE FROM sale WHERE id = 1;
INSERT INTO sale VALUES (1, 1, 100);
TABLE given;
-- the member's cause, for what the shop gives, too; and a step of their own
SELECT giving, cause FROM loyalty.choose_cause(1, 'school', program => 'good');
SELECT giving, round_up FROM loyalty.choose_cause(2, 'school', giving => 'round up', program => 'good', round_up => 10);
INSERT INTO sale VALUES (6, 1, 49.50), (7, 2, 12.34);
SELECT * FROM given WHERE key IN ('6', '7');
-- withdrawn: the shop's cause again, nothing of the member's
SELECT giving, cause FROM loyalty.choose_cause(1, NULL, program => 'good');
SELECT giving, cause FROM loyalty.choose_cause(2, NULL, giving => 'round up', program => 'good');
INSERT INTO sale VALUES (8, 1, 10), (9, 2, 12.34);
SELECT * FROM given WHERE key IN ('8', '9');

-- returns take back in proportion, whatever path led there: 7.66 of 12.34
SELECT giving FROM loyalty.choose_cause(3, 'trees', giving => 'round up', program => 'good', round_up => 20);
INSERT INTO sale VALUES (21, 3, 12.34), (22, 3, 12.34), (23, 3, 12.34), (24, 3, 12.34);
UPDATE sale SET total = 3 WHERE id = 21;
UPDATE sale SET total = 12 WHERE id = 22;
UPDATE sale SET total = 7 WHERE id = 22;
UPDATE sale SET total = 9 WHERE id = 22;
UPDATE sale SET total = 3 WHERE id = 22;
INSERT INTO returned VALUES (1, 23, 5), (2, 23, 4.34);
SELECT * FROM given WHERE key IN ('21', '22', '23', '24');
SELECT amount, kept, most, given FROM loyalty.donation WHERE source_key = '22' AND step IS NOT NULL ORDER BY donation_id;
-- all, and back again; a purchase that grows gives for what it is then
DELETE FROM sale WHERE id = 24;
DELETE FROM returned WHERE id = 1;
UPDATE sale SET total = 25 WHERE id = 22;
SELECT * FROM given WHERE key IN ('22', '23', '24');
INSERT INTO sale VALUES (24, 3, 12.34);
SELECT * FROM given WHERE key = '24';
-- in other hands: there it gives anew
UPDATE sale SET who = 4 WHERE id = 24;
SELECT * FROM given WHERE key = '24';

-- a share of points: the shop pays what they are worth
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause, member_chooses, source, maximum) VALUES ('good', 'a tenth of points', 'points', 'shop', 0.1, 'trees', false, 'sale', 3);
INSERT INTO sale VALUES (31, 5, 50), (32, 5, 1000);
UPDATE sale SET total = 25 WHERE id = 31;
SELECT * FROM given WHERE key IN ('31', '32') AND giving LIKE 'a tenth%';
-- ... or the member, with the points themselves
INSERT INTO loyalty.giving (program, name, kind, funded_by, share) VALUES ('good', 'my points', 'points', 'member', 0.1);
SELECT share FROM loyalty.choose_cause(6, 'school', giving => 'my points', program => 'good', share => 0.25);
INSERT INTO sale VALUES (41, 6, 3.33);
SELECT available FROM loyalty.balance(6, 'good');
SELECT * FROM given WHERE giving = 'my points';
UPDATE sale SET total = 2 WHERE id = 41;
SELECT available FROM loyalty.balance(6, 'good');
SELECT * FROM given WHERE giving = 'my points';
UPDATE sale SET total = 3.33 WHERE id = 41;
SELECT available FROM loyalty.balance(6, 'good');
SELECT * FROM given WHERE giving = 'my points';
DELETE FROM sale WHERE id = 41;
SELECT available FROM loyalty.balance(6, 'good');
SELECT * FROM given WHERE giving = 'my points';
SELECT kind, points, what FROM loyalty.statement WHERE member_id = 6 AND program = 'good' ORDER BY entry_no;

-- a share of what of the purchase is eligible: what rules award of a status unit, to the cent, whoever funds it; it follows returns and growth
INSERT INTO loyalty.unit (program, name, decimals) VALUES ('good', 'eligible', 2);
INSERT INTO loyalty.rule (program, source, name, unit, points, condition) VALUES ('good', 'sale', 'eligible', 'eligible', 'earn.amount / 2', 'id % 2 = 1');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause, unit) VALUES ('good', 'half per cent', 'amount', 'shop', 0.005, 'trees', 'eligible');
INSERT INTO sale VALUES (51, 8, 199.99), (52, 8, 199.99), (53, 8, 10), (55, 8, 0.5);
SELECT * FROM given WHERE giving = 'half per cent';
SELECT giving FROM loyalty.giving_for(8, 100, program => 'good');
UPDATE sale SET total = 100 WHERE id IN (51, 52);
SELECT * FROM given WHERE giving = 'half per cent';
UPDATE sale SET total = 150 WHERE id = 51;
UPDATE sale SET total = 40 WHERE id = 53;
DELETE FROM sale WHERE id = 55;
SELECT * FROM given WHERE giving = 'half per cent';
DELETE FROM sale WHERE id = 51;
SELECT * FROM given WHERE giving = 'half per cent';
INSERT INTO sale VALUES (51, 8, 199.99);
SELECT * FROM given WHERE giving = 'half per cent';

-- points by hand
SELECT donation_id, cause, points, amount FROM loyalty.donate(5, 150, 'school', program => 'good', key => 'd1');
SELECT donation_id, cause, points, amount FROM loyalty.donate(5, 150, 'school', program => 'good', key => 'd1');
SELECT points FROM loyalty.donate(5, 151, 'school', program => 'good', key => 'd1');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.donate(5, 1000000, 'school', program => 'good');
\echo :LAST_ERROR_SQLSTATE
SELECT max(donation_id) AS d FROM loyalty.donation WHERE member_id = 5 \gset
SELECT available FROM loyalty.balance(5, 'good');
SET LOCAL loyalty.now = '2026-02-01 00:00+00';
SELECT points, amount FROM loyalty.donate(5, 33, 'school', program => 'good');
SELECT cause, points, amount FROM loyalty.return_donation(5, :d, 'by mistake', key => 'b1');
SELECT cause, points, amount FROM loyalty.return_donation(5, :d, 'by mistake', key => 'b1');
SELECT cause FROM loyalty.return_donation(5, :d);
\echo :LAST_ERROR_SQLSTATE
SELECT cause FROM loyalty.return_donation(2, (SELECT max(donation_id) FROM loyalty.donation WHERE member_id = 2));
\echo :LAST_ERROR_SQLSTATE
SELECT available FROM loyalty.balance(5, 'good');

-- receipts: what the member gave, in the year; totals without names
SELECT regexp_replace(receipt, '^\d+-(\d+)-\d+', 'P-\1-C') AS receipt, cause, title, money, donations, amount, points, first_day, last_day FROM unnest('{2,3,5}'::bigint[]) m, loyalty.donation_receipt(m, 2025, 'good') ORDER BY 1, 2;
SELECT cause, donations, amount, points FROM loyalty.donation_receipt(5, 2026, 'good');
SELECT * FROM loyalty.cause_total WHERE program = 'good' ORDER BY cause, month;
SELECT * FROM loyalty.cause_report('trees', 'good');
SET LOCAL loyalty.now = '2025-12-31 23:59+00';
SELECT cause, month, amount, so_far FROM loyalty.cause_total WHERE program = 'good' ORDER BY cause, month;
SET LOCAL loyalty.now = '2026-02-01 00:00+00';

-- refusals
UPDATE loyalty.cause SET enabled = false WHERE name = 'closed';
SELECT cause FROM loyalty.choose_cause(1, 'closed', program => 'good');
\echo :LAST_ERROR_SQLSTATE
SELECT cause FROM loyalty.choose_cause(1, 'nothing', program => 'good');
\echo :LAST_ERROR_SQLSTATE
SELECT cause FROM loyalty.choose_cause(1, 'trees', program => 'good', share => 0.5);
SELECT cause FROM loyalty.choose_cause(1, 'trees', giving => 'my points', program => 'good', share => 1.5);
SELECT cause FROM loyalty.choose_cause(1, 'trees', giving => 'my points', program => 'good', round_up => 5);
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) VALUES ('good', 'bad', 'round_up', 'shop', 0.5, 'trees');
INSERT INTO loyalty.giving (program, name, kind, funded_by, cause) VALUES ('good', 'bad', 'amount', 'shop', 'trees');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, member_chooses) VALUES ('good', 'bad', 'amount', 'shop', 0.5, false);
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause, unit) VALUES ('good', 'bad', 'points', 'shop', 0.5, 'trees', 'eligible');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause, unit) VALUES ('good', 'bad', 'amount', 'shop', 0.5, 'trees', 'elegible');
UPDATE loyalty.giving SET kind = 'points' WHERE name = 'one per cent';
UPDATE loyalty.giving SET unit = NULL WHERE name = 'half per cent';
UPDATE loyalty.rule SET enabled = false WHERE program = 'good' AND unit = 'eligible';
DELETE FROM loyalty.unit WHERE program = 'good';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.giving WHERE name = 'one per cent';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.cause WHERE name = 'trees';
\echo :LAST_ERROR_SQLSTATE

-- many rows in one statement; a sale that fails has given nothing; two registrations of one person
INSERT INTO sale SELECT 1000 + g, 50 + g % 10, g + 0.25, '2026-01-10 12:00+00' FROM generate_series(1, 500) g;
SELECT count(*), sum(d.amount) - sum(round(s.total * 0.01, 2)) AS difference FROM loyalty.donation d JOIN sale s ON s.id::text = d.source_key JOIN loyalty.giving g ON g.id = d.giving_id
WHERE s.id > 1000 AND g.name = 'one per cent';
DELETE FROM sale WHERE id > 1000;
SELECT sum(d.amount) AS left_over, bool_and(d.kept >= 0) AS kept FROM loyalty.donation d WHERE d.source_key::int > 1000;
SELECT count(*) AS accounts FROM loyalty.merge_members(3, 2, 'the same');
UPDATE sale SET total = 0 WHERE id = 23;
SELECT * FROM given WHERE key = '23';
SELECT regexp_replace(receipt, '^\d+-(\d+)-\d+', 'P-\1-C') AS receipt, cause, donations, amount FROM loyalty.donation_receipt(3, 2025, 'good');

-- an application, and the cause itself
CREATE ROLE charity_app;
CREATE ROLE charity_cause;
SELECT loyalty.grant_access('charity_app', 'app');
GRANT USAGE ON SCHEMA loyalty TO charity_cause;
GRANT EXECUTE ON FUNCTION loyalty.cause_report(text, text) TO charity_cause;
SET ROLE charity_app;
SELECT cause FROM loyalty.choose_cause(7, 'school', program => 'good');
SELECT count(*) FROM loyalty.donation;
SET ROLE charity_cause;
SELECT month, so_far FROM loyalty.cause_report('school', 'good');
SELECT count(*) FROM loyalty.donation;
SELECT * FROM loyalty.donation_receipt(5, 2025, 'good');
RESET ROLE;
SELECT * FROM loyalty.verify();
ROLLBACK;
