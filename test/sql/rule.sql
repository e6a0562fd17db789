-- Rules are SQL expressions: what they see, what is refused and where in the text.
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE loyalty_test_author;
CREATE ROLE loyalty_test_stranger;
GRANT ALL ON SCHEMA public TO loyalty_test_author, loyalty_test_stranger;
CREATE SCHEMA rule_test;
GRANT ALL ON SCHEMA rule_test TO loyalty_test_author, loyalty_test_stranger;
CREATE DOMAIN rule_test.money AS numeric CHECK (VALUE >= 0);
CREATE TYPE rule_test.status AS ENUM ('open', 'paid');
CREATE TABLE rule_test.sale (id int PRIMARY KEY, who int, total rule_test.money, at timestamptz, status rule_test.status,
  category text, weight float8, tags text[], source int, "Odd Name" numeric);
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('rule_test.sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.grant_access('loyalty_test_author', 'admin');

-- The message with its position in the text, and the first line of its context: whose text it is.
CREATE FUNCTION pg_temp.context_of(points text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  context text;
BEGIN
  INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', points);
  RETURN 'good';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
  RETURN split_part(context, E'\n', 1);
END $$;
\set SHOW_CONTEXT never
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', 'earn.amount * colour');
\echo :LAST_ERROR_SQLSTATE
SELECT pg_temp.context_of('earn.amount * colour');

CREATE FUNCTION pg_temp.try(points text, condition text DEFAULT NULL, kind text DEFAULT 'bonus') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text; hint text; detail text; state text;
BEGIN
  INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES ('p', 'sale', 'tried', kind, points, condition);
  DELETE FROM loyalty.rule WHERE name = 'tried';
  RETURN 'good';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL, state = RETURNED_SQLSTATE;
  RETURN concat_ws(' | ', state, message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- good ones
SELECT e, pg_temp.try(e) FROM (VALUES
  ('50'), ('earn.amount'), ('total'), ('source.total * 2'), ('earn.base'), ('NULL'), ('''12.5'''),
  ('"Odd Name"'), ('source.source'), ('source'), ('cardinality(tags)'), ('account.spend + account.visits + account.earned + account.balance'),
  ('(member.attributes->>''size'')::numeric'), ('extract(isodow from earn.local_time)'),
  ('account.member_id - member.member_id'), ('weight::numeric'),
  ('case when account.tier = ''gold'' and account.tier_rank > 1 and status = ''paid'' then 1 end'),
  ('extract(year from age(earn.occurred_at, account.enrolled_at)) + extract(year from member.birth_date)'),
  ('length(to_jsonb(source.*)::text)')) v (e);
SELECT e, pg_temp.try('1', e) FROM (VALUES
  ('true'), ('category = ''coffee'' and earn.amount >= 20'), ('status in (''paid'', ''open'')'), ('earn.base > 10'),
  ('earn.local_time::time < ''12:00''')) v (e);

-- refused
SELECT e, pg_temp.try(e) FROM (VALUES
  (''), ('1, 2'), ('1 as x'), ('1 from pg_class'), ('total order by 1'), ('distinct total'), ('1; drop table x'), ('*'), ('source.*'), ('1 +'),
  ('colour'), ('sale.total'), ('earn.colour'), ('earn.*'), ('account.colour'), ('member.name'), ('earn.amount.x'), ('ctid'), ('source.xmin::text::int'),
  ('(select 1)'), ('case when exists (select from pg_class) then 1 end'), ('array_length(array(select 1), 1)'),
  ('sum(total)'), ('row_number() over ()'), ('generate_series(1, 2)'), ('random()::numeric'), ('1 + nextval(''x'')'),
  ('weight'), ('category'), ('true'), ('at'), ('$1'), ('1/0'), ('nosuch(1)'), ('''x''::int'), ('pg_sleep(1)::text::int')) v (e);
SELECT e, pg_temp.try(e, NULL, 'base') FROM (VALUES ('earn.base'), ('earn.amount')) v (e);
SELECT e, pg_temp.try('1', e, 'base') FROM (VALUES ('earn.base > 1'), ('1'), ('null')) v (e);
-- the position of one of them
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('p', 'sale', 'r', '1', 'earn.amount > 1 and (select true)');
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', '1 + random()::numeric');

-- the row itself
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('nix', 'sale', 'r', '1');
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'nix', 'r', '1');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.rule (program, source, name, points, pending) VALUES ('p', 'sale', 'r', '1', '-1 day');
INSERT INTO loyalty.rule (program, source, name, points, kind) VALUES ('p', 'sale', 'r', '1', 'other');
INSERT INTO loyalty.rule (program, source, name, points, expiry) VALUES ('p', 'sale', 'r', '1', '18 months inactive');

-- Whose code: the author's, a superuser's, nobody else's.
SET ROLE loyalty_test_stranger;
CREATE FUNCTION rule_test.strange(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION rule_test.strange_equal(text, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR rule_test.=== (LEFTARG = text, RIGHTARG = int, FUNCTION = rule_test.strange_equal);
CREATE DOMAIN rule_test.strange_number AS numeric CHECK (rule_test.strange(VALUE) > 0);
CREATE TYPE rule_test.strange_row AS (x rule_test.strange_number);
RESET ROLE;
CREATE FUNCTION rule_test.by_superuser(numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION rule_test.withheld(numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT $1';
REVOKE ALL ON FUNCTION rule_test.withheld(numeric) FROM PUBLIC;
SET ROLE loyalty_test_author;
CREATE FUNCTION rule_test.mine(numeric) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION rule_test.restless() RETURNS numeric LANGUAGE sql VOLATILE AS 'SELECT 1.0';
SELECT e, pg_temp.try(e) FROM (VALUES
  ('rule_test.mine(1)'), ('rule_test.by_superuser(1)'), ('rule_test.withheld(1)'), ('rule_test.restless()'), ('mine(1)'),
  ('rule_test.strange(1)'), ('case when category operator(rule_test.===) 1 then 1 end'), ('1::rule_test.strange_number'),
  ('(jsonb_populate_record(null::rule_test.strange_row, ''{"x": 1}'')).x')) v (e);

-- Who wrote it is who writes it; an update of something else does not change that.
INSERT INTO loyalty.rule (program, source, name, points, author) VALUES ('p', 'sale', 'r', 'rule_test.mine(1)', 'pg_monitor') RETURNING author;
RESET ROLE;
UPDATE loyalty.rule SET enabled = false, author = 'loyalty_test_stranger' RETURNING author;
UPDATE loyalty.rule SET points = '2' RETURNING author = current_user::regrole AS me;
UPDATE loyalty.rule SET source = 'nix';
INSERT INTO loyalty.source SELECT program, 'other', 4711, 'pg_class', false, member, amount, occurred_at, key FROM loyalty.source;
\echo :LAST_ERROR_SQLSTATE

-- Nobody checks, and so folds, an expression in somebody else's name.
SET ROLE loyalty_test_author;
SELECT loyalty.check_expression('1', 'bonus points', 'rule_test.sale', 'loyalty_test_stranger', 'x');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT loyalty.check_expression('1', 'bonus points', 'rule_test.sale', 4711, 'points of rule "r" of program "p"');
\echo :LAST_ERROR_SQLSTATE

-- Columns that go or change their name: the next compile says so.
SELECT loyalty.check_expression('"Odd Name"', 'bonus points', 'rule_test.sale', current_user::regrole, 'x');
ALTER TABLE rule_test.sale RENAME COLUMN "Odd Name" TO odd;
SELECT loyalty.check_expression('"Odd Name"', 'bonus points', 'rule_test.sale', current_user::regrole, 'x');
ALTER TABLE rule_test.sale DROP COLUMN category;
SELECT loyalty.check_expression('category = ''x''', 'bonus condition', 'rule_test.sale', current_user::regrole, 'x');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
