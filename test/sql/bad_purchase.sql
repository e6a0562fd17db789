-- Purchases and rules that are wrong: refused with program, source or rule, key and figure, or sold without points
-- where the semantics say so; after each of them the ledger is what it was before.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_bad;
\c loyalty_test_bad
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
CREATE SCHEMA shop;
SET search_path = shop;

CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, no text, divisor int);
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
INSERT INTO sale VALUES (1, 1, 10, '2026-01-01'), (2, 2, 20, '2026-01-01');

-- everything that the ledger holds, as one figure, and the table beside it
CREATE FUNCTION fingerprint() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  t regclass; one text; result text := '';
BEGIN
  FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r' ORDER BY relname LOOP
    EXECUTE format('SELECT md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '''')) FROM %s x', t) INTO one;
    result := result || one;
  END LOOP;
  SELECT md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '')) INTO one FROM shop.sale x;
  RETURN md5(result || one);
END $$;
-- What a statement says, and that it has changed nothing.  A good statement is undone.
CREATE FUNCTION refused(statement text) RETURNS TABLE (state text, message text, detail text, hint text, context text, nothing_changed boolean)
LANGUAGE plpgsql AS $$
DECLARE
  before text := shop.fingerprint();
BEGIN
  BEGIN
    EXECUTE statement;
    RAISE EXCEPTION 'not refused';
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
    state := SQLSTATE;
    context := (regexp_match(context, '(?:points|condition|member|amount|key|occurred_at|purchase "\d+") of [^\n]*'))[1];
    message := replace(message, repeat('0', 30), '<30 zeros>');
    detail := replace(detail, repeat('0', 30), '<30 zeros>');
  END;
  nothing_changed := before = shop.fingerprint();
  RETURN NEXT;
END $$;

-- the row.  Good ones stand around each bad one.
CREATE FUNCTION sell(who text, total text, at text) RETURNS text LANGUAGE sql AS
$$ SELECT format('INSERT INTO shop.sale VALUES (10, 1, 1, now()), (11, %s, %s, %s), (12, 2, 1, now())', who, total, at) $$;
\x on
SELECT what, r.* FROM (VALUES
  ('no amount', sell('1', 'NULL', 'now()')), ('NaN', sell('1', '''NaN''', 'now()')), ('infinity', sell('1', '''infinity''', 'now()')),
  ('-infinity', sell('1', '''-infinity''', 'now()')), ('10^30', sell('1', '1000000000000000000000000000000', 'now()')), ('10^15', sell('1', '1000000000000000', 'now()')),
  ('-10^15', sell('1', '-1000000000000000', 'now()')),
  ('a rule gives 10^10', sell('1', '10000000000', 'now()')),
  ('no time', sell('1', '1', 'NULL')), ('endless time', sell('1', '1', '''infinity''')), ('time without beginning', sell('1', '1', '''-infinity'''))) v (what, statement),
  LATERAL refused(statement) r;
-- the same as a change, in a COPY, and for a member who has nothing yet
SELECT what, r.* FROM (VALUES
  ('UPDATE', 'UPDATE shop.sale SET total = CASE id WHEN 2 THEN ''NaN'' ELSE 0::numeric END'),
  ('time of a grown purchase', 'UPDATE shop.sale SET total = 50, at = NULL WHERE id = 1'),
  ('COPY', 'COPY shop.sale (id, who, total, at) FROM PROGRAM ''printf "20\t9\t1\t2026-01-01\n21\t9\tNaN\t2026-01-01\n"''')) v (what, statement),
  LATERAL refused(statement) r;
\x off

-- far away in time, and no amount at all: sold and earned
INSERT INTO sale VALUES (30, 3, 5, '0001-01-01'), (31, 3, 6, '294276-12-31 23:59:59'), (32, 3, 7, '4713-01-01 BC'), (33, 3, 0, now()), (34, 3, 0.000000000000001, now()),
  (35, 3, 9999999999, now());
SELECT source_key, points / 10000 AS points, remaining / 10000 AS remaining, CASE WHEN earned_at <> posted_at THEN earned_at END AS earned_at, available_at <= now() AS at_once, expires_at FROM loyalty.lot WHERE member_id = 3 ORDER BY source_key;
UPDATE loyalty.program SET expiry = '12 months, end of month', pending = '14 days';
INSERT INTO sale VALUES (40, 4, 5, '0001-01-01'), (41, 4, 7, '4713-01-01 BC');
SELECT source_key, points / 10000 AS points, available_at, expires_at FROM loyalty.lot WHERE member_id = 4 ORDER BY source_key;
SELECT available, pending FROM loyalty.account WHERE member_id = 4;
\x on
SELECT r.* FROM refused($$INSERT INTO shop.sale VALUES (42, 4, 6, '294276-12-31 23:59:59')$$) r;
\x off
UPDATE loyalty.program SET expiry = 'never', pending = '0';

-- nobody, and members that earn nothing: the sale goes through
INSERT INTO sale VALUES (50, NULL, 5, now()), (51, NULL, NULL, NULL), (52, 1, 1, now());
INSERT INTO loyalty.member (member_id, status) VALUES (5, 'excluded');
INSERT INTO sale VALUES (53, 5, 5, now()), (54, 5, NULL, NULL);
INSERT INTO sale VALUES (55, 6, 5, now());
UPDATE loyalty.account SET status = 'blocked' WHERE member_id = 6;
INSERT INTO sale VALUES (56, 6, 6, now()), (57, 1, 1, now());
UPDATE loyalty.program SET enrollment = 'explicit';
INSERT INTO sale VALUES (58, 7, 7, now()), (59, 1, 1, now());
UPDATE loyalty.program SET enrollment = 'automatic';
UPDATE loyalty.program SET enabled = false;
INSERT INTO sale VALUES (60, 1, 1000, now());
UPDATE loyalty.program SET enabled = true;
UPDATE loyalty.source SET enabled = false;
INSERT INTO sale VALUES (61, 1, 1000, now());
UPDATE loyalty.source SET enabled = true;
SELECT s.id, s.who, l.points / 10000 AS points, l.remaining / 10000 AS remaining FROM sale s LEFT JOIN loyalty.lot l ON l.source_key = s.id::text WHERE s.id BETWEEN 50 AND 69 ORDER BY 1;
SELECT member_id, available / 10000 AS available, status FROM loyalty.account ORDER BY 1;
-- a member of 2^63 - 1 and below 0 are members; what is beyond is refused before us
INSERT INTO sale VALUES (62, 9223372036854775807, 1, now()), (63, -9223372036854775808, 1, now());
SELECT count(*) FROM loyalty.account WHERE abs(member_id::numeric) > 1e18;

-- rules that fail
CREATE FUNCTION later(a int) RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN 100 / a; END $$;
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'by zero', 'bonus', '10 / divisor', 'divisor IS NOT NULL');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'own function', 'bonus', 'shop.later(divisor)', 'no = ''function''');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'negative', 'bonus', '0 - earn.amount', 'no = ''negative''');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'not a number', 'bonus', '''NaN''::numeric', 'no = ''NaN''');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'infinite', 'bonus', '''infinity''::numeric', 'no = ''infinity''');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'condition', 'bonus', '1', 'no::int > 0 and no <> ''function''');
UPDATE loyalty.rule SET condition = 'no is not null and no not in (''function'', ''negative'', ''NaN'', ''infinity'') and no::int > 0' WHERE name = 'condition';
CREATE FUNCTION sell_by(divisor text, no text) RETURNS text LANGUAGE sql AS
$$ SELECT format('INSERT INTO shop.sale VALUES (110, 1, 1, now(), NULL, NULL), (111, 8, 7, now(), %L, %s), (112, 2, 1, now(), NULL, NULL)', no, coalesce(divisor, 'NULL')) $$;
\x on
SELECT what, r.* FROM (VALUES ('by zero', sell_by('0', NULL)), ('own function by zero', sell_by('0', 'function')),
  ('negative', sell_by(NULL, 'negative')), ('NaN', sell_by(NULL, 'NaN')), ('infinity', sell_by(NULL, 'infinity')), ('condition', sell_by(NULL, 'twelve'))) v (what, statement),
  LATERAL refused(statement) r;
\x off
-- a thousand good rows before and after the bad one, more than one batch and with hope: nothing is half done
SELECT r.state, r.message, r.nothing_changed FROM refused('INSERT INTO shop.sale SELECT g, g % 50, 1, now(), NULL, CASE g WHEN 3500 THEN 0 END FROM generate_series(1001, 6000) g') r;
SELECT r.state, r.message, r.nothing_changed FROM refused('UPDATE shop.sale SET total = total + 1, divisor = id - 59 WHERE id > 40') r;
-- the same where the source says skip: sold, listed, and the others have earned
UPDATE loyalty.source SET on_error = 'skip';
INSERT INTO sale VALUES (110, 1, 1, now(), NULL, NULL), (111, 8, 7, now(), NULL, 0), (112, 8, 8, now(), NULL, 5), (113, 8, 7, now(), 'function', 0),
  (114, 8, 7, now(), 'negative', NULL), (115, 8, 7, now(), 'NaN', NULL), (116, 8, 7, now(), 'infinity', NULL), (117, 8, 7, now(), 'twelve', NULL),
  (118, 8, -1e15, now(), NULL, NULL), (119, 8, NULL, now(), NULL, NULL), (120, 8, 'NaN', now(), NULL, NULL), (121, 8, 7, NULL, NULL, NULL), (122, 8, 9, now(), NULL, NULL);
SELECT member_id, source_key, sqlstate, error, settled_at FROM loyalty.review ORDER BY source_key;
SELECT s.id, l.points / 10000 AS points FROM sale s LEFT JOIN loyalty.lot l ON l.source_key = s.id::text WHERE s.id BETWEEN 110 AND 129 ORDER BY 1;
SELECT available / 10000 AS available FROM loyalty.account WHERE member_id = 8;
-- a change that cannot be worked out leaves what was earned, and is listed
UPDATE sale SET total = 100, divisor = 0 WHERE id = 122;
SELECT s.id, s.total, l.points / 10000 AS points, l.remaining / 10000 AS remaining, r.error FROM sale s JOIN loyalty.lot l ON l.source_key = s.id::text
LEFT JOIN loyalty.review r ON r.source_key = s.id::text WHERE s.id = 122;
-- a load of thousands with some bad ones
INSERT INTO sale SELECT g, 10 + g % 5, 1, now(), NULL, CASE WHEN g % 500 = 0 THEN 0 END FROM generate_series(1001, 4000) g;
SELECT count(*) AS listed FROM loyalty.review WHERE source_key::int > 1000;
SELECT count(*) AS awards, (sum(remaining) / 10000)::bigint AS points FROM loyalty.lot WHERE source_key::int > 1000;
-- cancelled work is not skipped: the statement is over
CREATE FUNCTION slow() RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM pg_sleep(30); RETURN 1; END $$;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('p', 'sale', 'slow', 'shop.slow()', 'no = ''slow''');
SET statement_timeout = '200ms';
INSERT INTO sale VALUES (130, 8, 1, now(), 'slow');
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
SELECT count(*) AS sold FROM sale WHERE id = 130;
UPDATE loyalty.rule SET enabled = false WHERE name = 'slow';
UPDATE loyalty.source SET on_error = 'fail';

-- rules whose ground is gone: an error that names the rule at the next insert at the latest, never no points
CREATE ROLE loyalty_test_author;
GRANT ALL ON SCHEMA shop TO loyalty_test_author;
SELECT loyalty.grant_access('loyalty_test_author', 'admin');
SET ROLE loyalty_test_author;
CREATE FUNCTION shop.mine(numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT $1';
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'by author', 'shop.mine(earn.amount)');
RESET ROLE;
INSERT INTO sale VALUES (200, 1, 1, now());
CREATE FUNCTION see(what text) RETURNS TABLE (what text, state text, message text, context text, nothing_changed boolean) LANGUAGE sql AS
$$ SELECT what, r.state, r.message, r.context, r.nothing_changed FROM shop.refused('INSERT INTO shop.sale VALUES (201, 1, 1, now())') r $$;
SELECT * FROM see('all well');
BEGIN;
DROP FUNCTION shop.mine(numeric);
SELECT * FROM see('function dropped');
ROLLBACK;
BEGIN;
ALTER FUNCTION shop.mine(numeric) RENAME TO yours;
SELECT * FROM see('function renamed');
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION shop.mine(numeric) RETURNS numeric LANGUAGE sql VOLATILE AS 'SELECT $1';
SELECT * FROM see('function volatile');
ROLLBACK;
BEGIN;
ALTER FUNCTION shop.mine(numeric) OWNER TO pg_monitor;
SELECT * FROM see('function of a stranger');
ROLLBACK;
BEGIN;
REVOKE EXECUTE ON FUNCTION shop.mine(numeric) FROM PUBLIC, loyalty_test_author;
ALTER FUNCTION shop.mine(numeric) OWNER TO CURRENT_USER;
REVOKE ALL ON FUNCTION shop.mine(numeric) FROM PUBLIC, loyalty_test_author;
SELECT * FROM see('function withheld');
ROLLBACK;
BEGIN;
REVOKE ALL ON SCHEMA shop FROM loyalty_test_author;
SELECT * FROM see('schema withheld');
ROLLBACK;
ALTER FUNCTION shop.mine(numeric) OWNER TO CURRENT_USER;
DROP OWNED BY loyalty_test_author;
DROP ROLE loyalty_test_author;
SELECT * FROM see('author gone');
\c
SET search_path = shop;
SELECT * FROM see('author gone, new session');
UPDATE loyalty.rule SET enabled = false WHERE name = 'by author';
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'by column', 'length(no)');
SELECT * FROM see('all well');
BEGIN;
ALTER TABLE sale RENAME COLUMN no TO number;
SELECT * FROM see('column of a rule renamed');
ROLLBACK;
BEGIN;
ALTER TABLE sale DROP COLUMN no;
SELECT * FROM see('column of a rule dropped');
ROLLBACK;
BEGIN;
ALTER TABLE sale ALTER COLUMN no TYPE int USING 1;
SELECT * FROM see('type of a column of a rule changed');
ROLLBACK;
BEGIN;
ALTER TABLE sale RENAME COLUMN total TO sum;
SELECT * FROM see('column of the mapping renamed');
ROLLBACK;
BEGIN;
ALTER TABLE sale RENAME COLUMN id TO key;
SELECT * FROM see('column of the key renamed');
ROLLBACK;
-- a column of the mapping cannot go or change its type by the way: the trigger of updates asks for it
ALTER TABLE sale DROP COLUMN who;
ALTER TABLE sale ALTER COLUMN total TYPE numeric(14,4);
-- who takes the trigger along has a table that refuses sales, and changes of sales, until it is put in order
BEGIN;
ALTER TABLE sale DROP COLUMN who CASCADE;
SAVEPOINT s;
INSERT INTO sale (id, total, at) VALUES (301, 3, now());
ROLLBACK TO s;
UPDATE sale SET total = total + 1;
ROLLBACK TO s;
SELECT invariant, detail FROM loyalty.verify() WHERE invariant = 'source_triggers' ORDER BY detail;
ROLLBACK;
-- and who takes it away on purpose has it back by attach_triggers()
BEGIN;
DROP TRIGGER loyalty_row_update ON sale;
ALTER TABLE sale DROP COLUMN who;
ALTER TABLE sale ADD COLUMN who bigint;
SELECT loyalty.attach_triggers('sale');
INSERT INTO sale (id, who, total, at) VALUES (301, 1, 3, now());
SELECT points / 10000 AS column_came_again FROM loyalty.lot WHERE source_key = '301';
ROLLBACK;
BEGIN;
ALTER TABLE sale RENAME TO purchase;
INSERT INTO purchase VALUES (300, 1, 3, now());
SELECT points / 10000 AS renamed_table_earns FROM loyalty.lot WHERE source_key = '300';
ALTER TABLE purchase SET SCHEMA public;
INSERT INTO public.purchase VALUES (302, 1, 3, now());
SELECT points / 10000 AS moved_table_earns FROM loyalty.lot WHERE source_key = '302';
ROLLBACK;
-- the rule is right again in this very session
SELECT * FROM see('all well again');

-- the control: a checker that takes anything for refused would say so of a good sale
SELECT state, message FROM refused('INSERT INTO shop.sale VALUES (400, 1, 1, now())');
CREATE FUNCTION shop.half_done() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before text := shop.fingerprint(); BEGIN
  UPDATE loyalty.account SET available = available + 1 WHERE member_id = 1;
  RETURN before = shop.fingerprint();
END $$;
SELECT shop.half_done() AS naive;

\c :here
DROP DATABASE loyalty_test_bad;
