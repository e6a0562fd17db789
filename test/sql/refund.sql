-- Returns that are rows: of this table or of one of their own, with a reference to a purchase or without.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SELECT loyalty.install() >= 0 AS installed;
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA shop;
SET search_path = shop;
CREATE TABLE sale (id int PRIMARY KEY, of int, who bigint, total numeric, at timestamptz DEFAULT '2024-05-01', ok boolean DEFAULT true);
CREATE TABLE back (no text PRIMARY KEY, sale bigint, who bigint, amount numeric, at timestamptz DEFAULT '2024-06-01');
CREATE TABLE line (doc text, pos int, who bigint, total numeric, of_doc text, of_pos int, PRIMARY KEY (doc, pos));
INSERT INTO loyalty.program (name, decimals) VALUES ('p', 4);
SELECT loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok', refund_of => 'of') > 0 AS attached;
SELECT loyalty.attach('back', member => 'who', amount => 'amount', occurred_at => 'at', refund_of => 'sale', refund_source => 'sale') > 0 AS attached;
SELECT loyalty.attach('line', member => 'who', amount => 'total', occurred_at => $$timestamptz '2024-05-01 00:00+00'$$, refund_of => 'of_doc, of_pos') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'third', 'earn.amount * 0.33333'), ('p', 'line', 'one', 'earn.amount');
CREATE FUNCTION kept(member bigint DEFAULT NULL) RETURNS TABLE (member_id bigint, key text, part int, amount numeric, kept numeric, points numeric) LANGUAGE sql AS $$
  SELECT member_id, source_key, part, amount, kept_amount, trim_scale(remaining / 10000.0) FROM loyalty.lot WHERE kept.member IS NULL OR member_id = kept.member ORDER BY 1, entry_no $$;
CREATE FUNCTION refunds() RETURNS TABLE (member_id bigint, source text, key text, part int, of_key text, amount numeric) LANGUAGE sql AS $$
  SELECT f.member_id, s.name, f.source_key, f.part, f.of_key, f.amount FROM loyalty.refund f JOIN loyalty.source s ON s.id = f.source_id ORDER BY s.id, f.source_key, f.part $$;
CREATE FUNCTION sound() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(v.invariant || ' ' || regexp_replace(v.detail, 'source \d+', 'source'), '; '), 'sound') FROM loyalty.verify() v $$;

\echo ---- a return in the table of the sales, of its own table, by somebody else, by nobody, of more than there was
INSERT INTO sale VALUES (1, NULL, 7, 100), (2, 1, 7, 10);
INSERT INTO back VALUES ('r1', 1, NULL, 20), ('r2', 1, 8, -500);
SELECT * FROM kept(); SELECT * FROM refunds();
DELETE FROM back WHERE no = 'r2';
SELECT * FROM kept();
-- no account for who brought it back
SELECT count(*) FROM loyalty.account WHERE member_id = 8;

\echo ---- the sale itself is changed: down, up to what it was, above it
UPDATE sale SET total = 90 WHERE id = 1;
SELECT * FROM kept(); SELECT * FROM refunds();
UPDATE sale SET total = 100 WHERE id = 1;
SELECT * FROM kept(); SELECT count(*) FROM refunds();
UPDATE sale SET total = 150 WHERE id = 1;
SELECT * FROM kept();
INSERT INTO back VALUES ('r3', 1, NULL, 100);
SELECT * FROM kept();
UPDATE sale SET ok = false WHERE id = 1;
SELECT * FROM kept(); SELECT * FROM refunds();
UPDATE back SET amount = 10 WHERE no = 'r3';
UPDATE sale SET ok = true WHERE id = 1;
SELECT * FROM kept(); SELECT sound();
-- deleted and written again: its own award, less its returns
DELETE FROM sale WHERE id = 1;
INSERT INTO sale VALUES (1, NULL, 7, 150);
SELECT * FROM kept();
DELETE FROM back;
DELETE FROM sale WHERE id = 2;
SELECT * FROM kept(); SELECT count(*) FROM refunds(); SELECT sound();

\echo ---- a return that comes first waits for its sale
INSERT INTO back VALUES ('f', 10, 9, 30);
SELECT * FROM refunds();
INSERT INTO sale VALUES (10, NULL, 9, 100);
SELECT * FROM kept(9);
-- for a sale of somebody else, too
INSERT INTO back VALUES ('g', 11, 9, 30), ('nobody', 12, NULL, 1);
INSERT INTO sale VALUES (11, NULL, 4, 100), (12, NULL, 4, 100);
SELECT * FROM kept(4);
-- one that names nobody cannot wait: it is worked when it is asked for
SELECT * FROM loyalty.reconcile('back');
SELECT * FROM kept(4);
SELECT * FROM loyalty.reconcile('back'); SELECT * FROM loyalty.reconcile('sale'); SELECT sound();

\echo ---- another member, another key, another sale
UPDATE sale SET who = 3 WHERE id = 10;
SELECT * FROM kept(3); SELECT * FROM kept(9); SELECT * FROM refunds();
UPDATE sale SET who = 9 WHERE id = 10;
SELECT * FROM kept(3); SELECT * FROM kept(9);
UPDATE back SET sale = 11 WHERE no = 'f';
SELECT * FROM kept(9); SELECT * FROM kept(4);
UPDATE back SET sale = 10, no = 'h' WHERE no = 'f';
SELECT * FROM kept(9); SELECT * FROM kept(4);
UPDATE sale SET id = 13 WHERE id = 10;
SELECT * FROM kept(9);
SELECT sound();

\echo ---- a sale becomes a return, and a return a sale
INSERT INTO sale VALUES (14, NULL, 6, 50), (15, NULL, 6, 20);
UPDATE sale SET of = 14 WHERE id = 15;
SELECT * FROM kept(6);
UPDATE sale SET of = NULL WHERE id = 15;
SELECT * FROM kept(6); SELECT sound();

\echo ---- a sale of no amount: all or nothing
INSERT INTO sale VALUES (16, NULL, 16, 0);
INSERT INTO back VALUES ('z', 16, 16, 0);
SELECT * FROM kept(16);
DELETE FROM back WHERE no = 'z';
SELECT * FROM kept(16); SELECT sound();

\echo ---- composite keys
INSERT INTO line VALUES ('a,b', 1, 20, 10, NULL, NULL), ('a', 2, 20, 10, NULL, NULL), ('x', 1, 20, 4, 'a,b', 1), ('x', 2, 20, 5, 'a', NULL);
SELECT key, amount, kept FROM kept(20); SELECT key, of_key, amount FROM refunds() WHERE source = 'line';

\echo ---- without a reference: from the newest
INSERT INTO sale VALUES (20, NULL, 5, 10, '2024-01-01'), (21, NULL, 5, 20, '2024-02-01'), (22, NULL, 5, 5, '2024-01-15');
INSERT INTO sale VALUES (30, NULL, 5, -22);
SELECT * FROM kept(5); SELECT * FROM refunds() WHERE member_id = 5;
UPDATE sale SET total = -40 WHERE id = 30;
SELECT key, kept FROM kept(5); SELECT * FROM refunds() WHERE member_id = 5;
UPDATE sale SET total = -21 WHERE id = 30;
SELECT key, kept FROM kept(5); SELECT * FROM refunds() WHERE member_id = 5;
-- a replay does nothing, a load anew takes it again
DELETE FROM sale WHERE id = 30;
SELECT key, kept FROM kept(5);
INSERT INTO sale VALUES (30, NULL, 5, -21);
SELECT key, kept FROM kept(5);
SELECT * FROM loyalty.reconcile('sale');
SELECT loyalty.backfill('sale');
-- what it took from is changed meanwhile
UPDATE sale SET total = 0.5 WHERE id = 22;
SELECT key, kept FROM kept(5);
UPDATE sale SET total = 5 WHERE id = 22;
DELETE FROM sale WHERE id = 21;
INSERT INTO sale VALUES (31, NULL, 5, -2);
SELECT key, kept FROM kept(5); SELECT sound();
-- another member; a member whom nobody knows is not enrolled by it
UPDATE sale SET who = 7 WHERE id = 31;
SELECT key, part, kept FROM kept(7); SELECT * FROM refunds() WHERE key = '31';
UPDATE sale SET who = 5 WHERE id = 31;
SELECT key, part, kept FROM kept(7); SELECT * FROM refunds() WHERE key = '31';
INSERT INTO sale VALUES (32, NULL, 99, -22);
INSERT INTO sale VALUES (33, NULL, 99, 22);
SELECT * FROM kept(99); SELECT * FROM refunds() WHERE member_id = 99; SELECT sound();

\echo ---- a blocked account keeps of a sale that has grown what it was made for, whatever comes first
INSERT INTO sale VALUES (60, NULL, 60, 30), (61, 60, 60, 20);
SELECT loyalty.block(60, 'p');
UPDATE sale SET total = 80 WHERE id = 60;
SELECT key, amount, kept FROM kept(60);
INSERT INTO sale VALUES (62, 60, 60, 1);
SELECT key, amount, kept FROM kept(60); SELECT sound();

\echo ---- a return of nothing: the sale has gone all the same when it is deleted, and another return gives nothing back
INSERT INTO sale VALUES (63, NULL, 63, 50), (64, 63, 63, 0);
DELETE FROM sale WHERE id = 63;
SELECT key, amount, kept FROM kept(63); SELECT sound();
INSERT INTO sale VALUES (65, 63, 63, 5);
SELECT key, amount, kept FROM kept(63); SELECT sound();
INSERT INTO sale VALUES (63, NULL, 63, 50);
SELECT key, amount, kept FROM kept(63); SELECT sound();

\echo ---- a return that waits is brought by another member now: it goes on waiting
INSERT INTO sale VALUES (66, 68, 66, 4), (67, 69, 67, 5);
UPDATE sale SET who = CASE id WHEN 66 THEN 67 ELSE 66 END WHERE id IN (66, 67);
SELECT member_id, key, of_key, amount FROM refunds() WHERE member_id IN (66, 67);
INSERT INTO sale VALUES (68, NULL, 67, 40), (69, NULL, 66, 40);
SELECT member_id, key, kept FROM kept() WHERE member_id IN (66, 67);

\echo ---- without a reference, and what it took from has changed hands: to a higher number and to a lower one
SAVEPOINT before;
INSERT INTO sale VALUES (70, NULL, 71, 30, '2024-03-01'), (71, NULL, 71, 40, '2024-05-01'), (72, NULL, 71, -50, '2024-05-02');
INSERT INTO sale VALUES (73, NULL, 74, 30, '2024-03-01'), (74, NULL, 74, 40, '2024-05-01'), (75, NULL, 74, -75, '2024-05-02');
UPDATE sale SET who = 72 WHERE id = 71;
UPDATE sale SET who = 73 WHERE id = 74;
SELECT member_id, first_member_id, source_key, part, of_key, amount FROM loyalty.refund WHERE source_key IN ('72', '75') ORDER BY source_key, part;
SELECT member_id, key, kept FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept IS NOT NULL; SELECT sound();
-- the return goes
SAVEPOINT moved;
DELETE FROM sale WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... counts no more
UPDATE sale SET ok = false WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... is a sale now
UPDATE sale SET total = 55 WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... stays, changed: all of it is taken anew
UPDATE sale SET total = -10 WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT * FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... follows its purchase, by the same statement or later
UPDATE sale SET who = CASE id WHEN 72 THEN 72 ELSE 73 END WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT * FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
UPDATE sale SET who = CASE who WHEN 72 THEN 71 WHEN 71 THEN 72 WHEN 73 THEN 74 ELSE 73 END WHERE id IN (71, 72, 74, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT * FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... has another key
UPDATE sale SET id = id + 6 WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT * FROM refunds() WHERE key IN ('72', '75', '78', '81'); SELECT sound();
ROLLBACK TO moved;
-- ... names what it had taken from, and goes
UPDATE sale SET of = id - 1 WHERE id IN (72, 75);
SELECT member_id, first_member_id, source_key, part, of_key, amount FROM loyalty.refund WHERE source_key IN ('72', '75') ORDER BY source_key, part;
DELETE FROM sale WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... goes when its member is another one, or that of the purchase is
INSERT INTO sale VALUES (76, NULL, 76, 1), (77, NULL, 77, 1);
SELECT count(*) FROM loyalty.merge_members(71, 76, 'one person');
SELECT count(*) FROM loyalty.merge_members(73, 77, 'one person');
DELETE FROM sale WHERE id IN (72, 75);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 77 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO moved;
-- ... goes and no trigger sees it
SET session_replication_role = replica;
DELETE FROM sale WHERE id = 72;
UPDATE sale SET who = NULL, ok = false WHERE id = 75;
SET session_replication_role = origin;
SELECT count(*) FROM loyalty.reconcile('sale', take_back => true);
SELECT member_id, key, kept, points FROM kept() WHERE member_id BETWEEN 71 AND 74 AND kept > 0; SELECT count(*) FROM refunds() WHERE key IN ('72', '75'); SELECT sound();
ROLLBACK TO before;
RELEASE before;

\echo ---- many at once, with and without hope
INSERT INTO sale SELECT i, NULL, 100 + i % 3, CASE WHEN i % 10 = 9 THEN -7 ELSE 2 END, '2024-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1001, 4000) i;
SELECT member_id, count(*), sum(amount), sum(kept) FROM kept() WHERE member_id BETWEEN 100 AND 102 GROUP BY 1 ORDER BY 1;
SELECT sum(amount) FROM loyalty.refund WHERE member_id BETWEEN 100 AND 102;
SELECT sound();

\echo ---- reconcile() sees what no trigger saw
SET session_replication_role = replica;
INSERT INTO sale VALUES (40, 22, 5, 1), (41, NULL, 5, -1), (42, NULL, 5, 3), (43, 42, 5, 1);
DELETE FROM sale WHERE id = 30;
UPDATE sale SET of = 20 WHERE id = 31;
DELETE FROM back WHERE no = 'h';
SET session_replication_role = origin;
SELECT * FROM loyalty.reconcile('sale');
SELECT key, kept FROM kept(5); SELECT key, part, of_key, amount FROM refunds() WHERE member_id = 5;
SELECT * FROM loyalty.reconcile('sale', take_back => true);
SELECT * FROM loyalty.reconcile('sale', take_back => true);
SELECT key, kept FROM kept(5); SELECT key, part, of_key, amount FROM refunds() WHERE member_id = 5;
SELECT * FROM loyalty.reconcile('back'); SELECT * FROM loyalty.reconcile('back', take_back => true); SELECT * FROM kept(9); SELECT sound();
-- archived returns stay
SET LOCAL loyalty.archiving = on;
DELETE FROM sale WHERE id IN (40, 41);
SET LOCAL loyalty.archiving = off;
SELECT key, of_key, amount FROM refunds() WHERE key IN ('40', '41');

\echo ---- quote() and why_not() know them
SELECT * FROM loyalty.quote('sale', '{"id": 50, "who": 5, "total": -1, "at": "2024-07-01", "ok": true}');
SELECT * FROM loyalty.why_not('sale', '43');

\echo ---- what cannot be attached
SELECT loyalty.attach('line', program => 'p', name => 'x', member => 'who', amount => 'total', occurred_at => 'now()');
SELECT loyalty.detach('line'); SELECT loyalty.detach('back');
SELECT loyalty.attach('line', member => 'who', amount => 'total', occurred_at => $$timestamptz '2024-05-01 00:00+00'$$, refund_of => 'of_doc');
SELECT loyalty.attach('line', member => 'who', amount => 'total', occurred_at => $$timestamptz '2024-05-01 00:00+00'$$, refund_of => 'of_doc, nix');
SELECT loyalty.attach('line', member => 'who', amount => 'total', occurred_at => $$timestamptz '2024-05-01 00:00+00'$$, refund_of => 'of_doc, of_pos', refund_source => 'line');
SELECT loyalty.attach('back', member => 'who', amount => 'amount', occurred_at => 'at', refund_of => 'sale', refund_source => 'nix');
SELECT loyalty.attach('back', member => 'who', amount => 'amount', occurred_at => 'at', refund_of => 'sale, no', refund_source => 'sale');
-- a table of returns none of which names its sale
SELECT loyalty.attach('back', member => 'who', amount => 'amount', occurred_at => 'at', refund_source => 'sale') > 0 AS attached;
INSERT INTO back VALUES ('u', 1, 7, 149);
SELECT * FROM kept(7); SELECT sound();

\echo ---- verify() sees what is broken
SAVEPOINT whole;
UPDATE loyalty.refund SET amount = amount + 1 WHERE source_key = 'u' AND part = 0;
SELECT sound();
ROLLBACK TO whole;
UPDATE loyalty.refund SET member_id = 12345 WHERE source_key = 'g';
SELECT sound();
ROLLBACK;
