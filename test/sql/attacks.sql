-- The attacks that worked on a naive build, each as the attacker would write it, as roles that may do little or nothing.
-- None may succeed.  Beside the ledger stands a naive one, on which the same attacks do.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_attack;
\c loyalty_test_attack
SET client_min_messages = warning;

\echo ---- 1. the schema of a stranger, before CREATE EXTENSION
CREATE ROLE loyalty_test_mallory;
CREATE ROLE loyalty_test_clerk;
CREATE ROLE loyalty_test_admin;
CREATE ROLE loyalty_test_ledger;
BEGIN;
GRANT CREATE ON DATABASE loyalty_test_attack TO loyalty_test_mallory;
SET ROLE loyalty_test_mallory;
CREATE SCHEMA loyalty;
CREATE TABLE loyalty.lot (x int);
RESET ROLE;
CREATE EXTENSION loyalty;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- one of a superuser's in which a stranger has left code
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA loyalty;
GRANT ALL ON SCHEMA loyalty TO loyalty_test_mallory;
SET ROLE loyalty_test_mallory;
CREATE FUNCTION loyalty.check_install() RETURNS void LANGUAGE sql AS 'SELECT pg_catalog.set_config(''x.owned'', current_user, false)';
RESET ROLE;
CREATE EXTENSION loyalty;
DROP FUNCTION loyalty.check_install();
SET ROLE loyalty_test_mallory;
CREATE OPERATOR loyalty.= (LEFTARG = text, RIGHTARG = name, FUNCTION = texteqname);
RESET ROLE;
CREATE EXTENSION loyalty;
DROP OPERATOR loyalty.= (text, name);
SET ROLE loyalty_test_mallory;
CREATE TYPE loyalty.points AS (x int);
RESET ROLE;
CREATE EXTENSION loyalty;
DROP TYPE loyalty.points;
SET ROLE loyalty_test_mallory;
CREATE TABLE loyalty.account (member_id bigint);
RESET ROLE;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0;
ROLLBACK;
CREATE EXTENSION loyalty;
SELECT loyalty.install(owner => 'loyalty_test_ledger') > 0 AS installed;

CREATE SCHEMA shop;
GRANT ALL ON SCHEMA shop TO loyalty_test_clerk, loyalty_test_admin, loyalty_test_mallory;
GRANT CREATE ON SCHEMA public TO loyalty_test_mallory;
CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now(), note text);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.sale TO loyalty_test_clerk, loyalty_test_mallory;
SELECT loyalty.grant_access('loyalty_test_clerk', 'app');
SELECT loyalty.grant_access('loyalty_test_admin', 'admin');
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('shop.sale', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
INSERT INTO shop.sale VALUES (1, 1, 100), (2, 2, 200);
CREATE TABLE shop.secret AS SELECT 'the secret of the superuser'::text AS s;
CREATE TABLE shop.loot (who name, what text);
GRANT ALL ON shop.loot TO PUBLIC;

-- the naive ledger: SECURITY DEFINER, no search_path, names as they come
CREATE TABLE public.purse (member_id bigint PRIMARY KEY, points numeric);
INSERT INTO public.purse VALUES (1, 100);
CREATE FUNCTION public.naive_earn() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  UPDATE purse SET points = points + NEW.total WHERE member_id = NEW.who; RETURN NEW;
END $$;
CREATE FUNCTION public.naive_balance(m bigint) RETURNS numeric LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  RETURN (SELECT points FROM purse WHERE member_id = m);
END $$;

-- one attack, as one role, and what it says
CREATE FUNCTION public.as_role(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
  PERFORM set_config('role', role, true);
  EXECUTE statement INTO answer;
  RETURN 'succeeded: ' || coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;

\echo ---- 2. calling what is not theirs: every function, by somebody who may nothing
SELECT count(*) > 100 AS many FROM pg_proc WHERE pronamespace = 'loyalty'::regnamespace;
-- no function that reads or writes a table, or is a trigger, runs for a nobody; types' functions need USAGE on the schema besides
SELECT has_schema_privilege('loyalty_test_mallory', 'loyalty', 'USAGE') AS usage;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_mallory;
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'loyalty'::regnamespace AND has_function_privilege('loyalty_test_mallory', p.oid, 'EXECUTE')
  AND (p.provolatile = 'v' OR l.lanname = 'plpgsql' OR p.prosrc ~* '\mloyalty\.(account|lot|movement|program|source|rule|member)\M' AND l.lanname = 'sql' AND p.proname <> 'install_steps'
       OR p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype));
SELECT s, public.as_role('loyalty_test_mallory', s) FROM (VALUES
  ('SELECT loyalty.install()'), ('SELECT loyalty.grant_access(''loyalty_test_mallory'', ''admin'')'), ('SELECT loyalty.attach(''shop.sale'', member => ''who'', amount => ''total'', occurred_at => ''at'')'),
  ('SELECT loyalty.detach(''shop.sale'')'), ('SELECT loyalty.source_row()'), ('SELECT loyalty.in_ledger(''anything'', 0)'), ('SELECT loyalty.check_expression(''1'', ''amount'', ''shop.sale'', ''pg_monitor'', ''x'')'),
  ('SELECT points FROM loyalty.lot'), ('SELECT available FROM loyalty.account'), ('UPDATE loyalty.account SET available = 5'), ('INSERT INTO loyalty.program (name) VALUES (''mine'')'),
  ('DELETE FROM loyalty.lot'), ('TRUNCATE loyalty.lot'), ('LOCK TABLE loyalty.account'), ('SELECT setval(''loyalty.program_id_seq'', 1)'),
  ('CREATE TRIGGER t AFTER INSERT ON shop.sale FOR EACH ROW EXECUTE FUNCTION loyalty.source_row()'),
  ('CREATE FUNCTION loyalty.mine() RETURNS int LANGUAGE sql AS ''SELECT 1'''), ('CREATE TABLE loyalty.mine (x int)'), ('ALTER EVENT TRIGGER loyalty_guard DISABLE'),
  ('CREATE FUNCTION public.c(trigger) RETURNS trigger LANGUAGE c AS ''loyalty'', ''source_row''')) v (s);
-- trigger functions straight from SQL, by a superuser even
SELECT loyalty.source_open();
SELECT loyalty.source_row();
SELECT loyalty.source_close();
SELECT loyalty.source_truncate();
SELECT loyalty.config_changed();
SELECT loyalty.ledger_truncate();
SELECT loyalty.guard();

\echo ---- 3. minting: a table of their own with our triggers, as somebody who may make them
GRANT EXECUTE ON FUNCTION loyalty.source_open(), loyalty.source_row(), loyalty.source_close() TO loyalty_test_mallory;
SET ROLE loyalty_test_mallory;
CREATE TEMP TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now(), note text);
CREATE TRIGGER loyalty_row AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION loyalty.source_row();
INSERT INTO sale VALUES (1000, 1, 1000000);
\echo :LAST_ERROR_SQLSTATE
CREATE TRIGGER loyalty_level_open BEFORE INSERT ON sale FOR EACH STATEMENT EXECUTE FUNCTION loyalty.source_open();
CREATE TRIGGER loyalty_level_close AFTER INSERT ON sale FOR EACH STATEMENT EXECUTE FUNCTION loyalty.source_close();
INSERT INTO sale VALUES (1000, 1, 1000000);
\echo :LAST_ERROR_SQLSTATE
DROP TABLE sale;
-- as a partition of a table that is not attached, and with a trigger of the wrong kind
CREATE TABLE shop.mine (id int, who bigint, total numeric, at timestamptz, note text) PARTITION BY LIST (id);
CREATE TABLE shop.mine_1 PARTITION OF shop.mine FOR VALUES IN (1);
CREATE TRIGGER loyalty_row AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION loyalty.source_row();
INSERT INTO shop.mine VALUES (1, 1, 1000000, now());
DROP TRIGGER loyalty_row ON shop.mine;
CREATE TRIGGER loyalty_row BEFORE INSERT ON shop.mine_1 FOR EACH ROW EXECUTE FUNCTION loyalty.source_row();
INSERT INTO shop.mine VALUES (1, 1, 1000000, now());
RESET ROLE;
-- and one more trigger on the attached table itself does not earn twice
BEGIN;
GRANT TRIGGER ON shop.sale TO loyalty_test_mallory;
SET ROLE loyalty_test_mallory;
CREATE TRIGGER again AFTER INSERT ON shop.sale FOR EACH ROW EXECUTE FUNCTION loyalty.source_row();
CREATE TRIGGER after AFTER INSERT ON shop.sale FOR EACH STATEMENT EXECUTE FUNCTION loyalty.source_close();
INSERT INTO shop.sale VALUES (3, 3, 7);
RESET ROLE;
SELECT (sum(remaining) / 10000)::int AS points, count(*) FROM loyalty.lot WHERE source_key = '3';
ROLLBACK;
-- control: the naive trigger function asks nobody whose table it is on
SET ROLE loyalty_test_mallory;
CREATE TEMP TABLE mint (id int, who bigint, total numeric);
CREATE TRIGGER mint BEFORE INSERT ON mint FOR EACH ROW EXECUTE FUNCTION public.naive_earn();
INSERT INTO mint VALUES (1, 1, 1000000);
DROP TABLE mint;
RESET ROLE;
SELECT points AS naive FROM public.purse;
REVOKE EXECUTE ON FUNCTION loyalty.source_open(), loyalty.source_row(), loyalty.source_close() FROM loyalty_test_mallory;

\echo ---- 4. shadows: temporary tables, functions and operators before ours
SET ROLE loyalty_test_clerk;
CREATE TEMP TABLE account AS SELECT 1::bigint AS member_id, 500000::bigint AS available;
CREATE TEMP TABLE lot (x int);
CREATE TEMP TABLE purse AS SELECT 1::bigint AS member_id, 500000::numeric AS points;
CREATE FUNCTION pg_temp.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2000-01-01'::timestamptz $$;
SET search_path = pg_temp, pg_catalog, loyalty;
INSERT INTO shop.sale VALUES (10, 1, 10);
SELECT public.naive_balance(1) AS paid_by_the_naive_one;
RESET search_path;
RESET ROLE;
SELECT (SELECT available FROM loyalty.account WHERE member_id = 1) / 10000 AS available, (SELECT count(*) FROM pg_temp.lot) AS taken_in;
DROP TABLE pg_temp.account, pg_temp.lot, pg_temp.purse;
DROP FUNCTION pg_temp.now();

\echo ---- 5. rules that act: an author who may configure, but is no superuser
SET ROLE loyalty_test_admin;
CREATE FUNCTION shop.grab() RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN
  RETURN length((xpath('//text()', query_to_xml('SELECT s FROM shop.secret', true, false, '')))[1]::text);
END $$;
-- a volatile function below a stable one: only the outer one can be seen when a rule is written
CREATE FUNCTION shop.run(command text) RETURNS numeric LANGUAGE plpgsql VOLATILE AS $$ BEGIN EXECUTE command; RETURN 1; END $$;
CREATE FUNCTION shop.via(command text) RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN shop.run(command); END $$;
CREATE FUNCTION shop.who() RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE EXCEPTION 'I am %', current_user; END $$;
CREATE FUNCTION shop.reads_ledger() RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT max(left_over) FROM loyalty.debt); END $$;
RESET ROLE;
CREATE PROCEDURE public.with_rule(points text, author name DEFAULT 'loyalty_test_admin') LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
  BEGIN
    EXECUTE format('SET LOCAL ROLE %I', author);
    INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'attack', points);
    RESET ROLE;
    INSERT INTO shop.sale VALUES (900, 9, 1);
    said := format('earned %s as %s', (SELECT l.points / 10000 FROM loyalty.lot l WHERE l.source_key = '900'), current_user);
    RAISE EXCEPTION USING ERRCODE = 'P0009';
  EXCEPTION WHEN SQLSTATE 'P0009' THEN NULL; WHEN OTHERS THEN said := SQLSTATE || ' ' || SQLERRM;
  END;
  -- PostgreSQL 15 says it otherwise than 17
  RAISE INFO '%: %', points, regexp_replace(said, '(must be superuser|permission denied) (to|or) .*', 'refused by PostgreSQL');
END $$;
CALL public.with_rule('shop.grab()');
CALL public.with_rule('shop.via(''ALTER ROLE loyalty_test_admin SUPERUSER'')');
CALL public.with_rule('shop.via(''SET ROLE NONE'')');
CALL public.with_rule('shop.via(''SET LOCAL ROLE postgres'')');
CALL public.with_rule('shop.via(''SET SESSION AUTHORIZATION DEFAULT'')');
CALL public.with_rule('shop.via(''RESET ROLE'')');
CALL public.with_rule('shop.via(''CREATE TEMP TABLE purse (x int)'')');
CALL public.with_rule('shop.via(''DECLARE c CURSOR WITH HOLD FOR SELECT 1'')');
CALL public.with_rule('shop.via(''LISTEN loyalty'')');
CALL public.with_rule('shop.via(''COMMIT'')');
CALL public.with_rule('shop.via(''ROLLBACK'')');
CALL public.with_rule('shop.via(''SET CONSTRAINTS ALL DEFERRED'')');
CALL public.with_rule('shop.via(''COPY shop.loot TO PROGRAM ''''cat'''''')');
CALL public.with_rule('shop.via(''INSERT INTO shop.sale VALUES (901, 9, 1)'')');
CALL public.with_rule('shop.via(''DELETE FROM shop.sale'')');
CALL public.with_rule('shop.via(''SET loyalty.restoring = on'')');
CALL public.with_rule('shop.who()');
CALL public.with_rule('shop.reads_ledger()');
CALL public.with_rule('length(table_to_xml(''shop.secret'', true, false, '''')::text)');
CALL public.with_rule('length(query_to_xml(''SELECT * FROM shop.secret'', true, false, '''')::text)');
CALL public.with_rule('length(pg_read_file(''PG_VERSION''))');
CALL public.with_rule('length(current_setting(''data_directory''))');
CALL public.with_rule('lo_creat(1)::int');
CALL public.with_rule('pg_terminate_backend(1)::int');
CALL public.with_rule('set_config(''role'', ''none'', false)::int');
SELECT current_setting('loyalty.restoring') AS restoring, current_setting('loyalty.allow_drop') AS allow_drop, current_user = session_user AS same;
-- what a rule sets is gone when it has run, also when the sale commits: the next sales of a superuser do earn
SET ROLE loyalty_test_admin;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'loosens',
  'shop.via(''SET loyalty.restoring = on'') + shop.via(''SET loyalty.allow_drop = on'') + shop.via(''SET search_path = shop'') + shop.via(''SET row_security = off'') + shop.via(''SET TimeZone = ''''Asia/Tokyo'''''')');
RESET ROLE;
INSERT INTO shop.sale VALUES (902, 9, 1);
INSERT INTO shop.sale VALUES (903, 9, 1);
SELECT name, setting FROM pg_settings WHERE name IN ('loyalty.restoring', 'loyalty.allow_drop', 'search_path', 'row_security', 'TimeZone') AND source = 'session';
SELECT count(*) AS awards, (sum(points) / 10000)::int AS points FROM loyalty.lot WHERE source_key IN ('902', '903');
UPDATE loyalty.rule SET enabled = false WHERE name = 'loosens';
-- a rule that sells to the same member in another attached table while it is being worked: no figure goes apart
CREATE TABLE shop.line (LIKE shop.sale INCLUDING ALL);
GRANT ALL ON shop.line TO loyalty_test_admin;
SELECT loyalty.attach('shop.line', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'line', 'line', 'earn.amount');
SET ROLE loyalty_test_admin;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('p', 'sale', 'sells', 'shop.via(format(''INSERT INTO shop.line VALUES (%s, %s, 1)'', id, who))', 'id between 910 and 919');
RESET ROLE;
SELECT public.as_role(session_user, 'INSERT INTO shop.sale VALUES (910, 9, 1), (911, 9, 1), (912, 77, 1), (913, 1, 1) RETURNING id') LIKE 'succeeded%' AS sold;
SELECT public.as_role(session_user, 'INSERT INTO shop.sale VALUES (914, 77, 1) RETURNING id') LIKE 'succeeded%' AS sold;
SELECT a.member_id, a.available, l.remaining FROM loyalty.account a,
  LATERAL (SELECT sum(l.remaining) AS remaining FROM loyalty.lot l WHERE l.member_id = a.member_id) l WHERE a.available <> l.remaining;
UPDATE loyalty.rule SET enabled = false WHERE name = 'sells';
SELECT rolsuper FROM pg_roles WHERE rolname = 'loyalty_test_admin';
SELECT * FROM shop.loot;
-- the naive way: whoever evaluates lends his rights
CREATE FUNCTION public.naive_rule(expression text) RETURNS numeric LANGUAGE plpgsql AS $$ DECLARE x numeric; BEGIN EXECUTE 'SELECT ' || expression INTO x; RETURN x; END $$;
SELECT public.naive_rule('length(table_to_xml(''shop.secret'', true, false, '''')::text)') > 0 AS naive_reads_the_secret;

\echo ---- 6. hostile casts, operators, domains and types below a mapping or a rule
SET ROLE loyalty_test_mallory;
CREATE FUNCTION public.steal() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.loot VALUES (current_user, 'stolen'); END $$;
CREATE TYPE public.coin AS ENUM ('a');
CREATE FUNCTION public.coin_numeric(public.coin) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.steal(); RETURN 1; END $$;
CREATE CAST (public.coin AS numeric) WITH FUNCTION public.coin_numeric(public.coin) AS IMPLICIT;
CREATE FUNCTION public.evil_eq(bigint, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.steal(); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = text, FUNCTION = public.evil_eq);
CREATE FUNCTION public.evil_check(numeric) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.steal(); RETURN true; END $$;
CREATE DOMAIN public.evil AS numeric CHECK (public.evil_check(VALUE));
CREATE TABLE shop.trap (id int PRIMARY KEY, who bigint, coin public.coin, total public.evil, at timestamptz DEFAULT now());
GRANT ALL ON shop.trap TO loyalty_test_admin;
RESET ROLE;
CALL public.with_rule('(who = note)::int');
CALL public.with_rule('(who operator(public.=) note)::int');
CALL public.with_rule('1::public.evil');
CALL public.with_rule('(''a''::public.coin)');
CALL public.with_rule('(''a''::public.coin)::numeric');
CALL public.with_rule('public.coin_numeric(''a'')');
CALL public.with_rule('(''a''::public.coin)::numeric', session_user);
-- the superuser attaches a table of mallory's
SELECT loyalty.attach('shop.trap', member => 'who', amount => 'coin', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach('shop.trap', member => 'who', amount => 'total + 1::public.evil', occurred_at => 'at');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT loyalty.attach('shop.trap', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS domain_that_is_only_read;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'trap', 'trap', 'earn.amount');
DELETE FROM shop.loot;
INSERT INTO shop.trap (id, who, coin, total) VALUES (1, 1, 'a', 5);
-- the domain's check belongs to the statement of whoever inserts; nothing of ours runs it again
SELECT count(*) AS checks FROM shop.loot;
-- mallory changes the type afterwards
DROP TRIGGER loyalty_row_update ON shop.trap;
ALTER TABLE shop.trap ALTER COLUMN total TYPE text;
CREATE FUNCTION public.text_numeric(text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.steal(); RETURN 1; END $$;
ALTER FUNCTION public.text_numeric(text) OWNER TO loyalty_test_mallory;
CREATE CAST (text AS numeric) WITH FUNCTION public.text_numeric(text) AS ASSIGNMENT;
INSERT INTO shop.trap (id, who, coin, total) VALUES (2, 1, 'a', '5');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT * FROM shop.loot WHERE who <> 'loyalty_test_mallory';
-- control: the naive cast runs mallory's code as the superuser
SELECT public.naive_rule('''a''::public.coin') AS naive;
SELECT DISTINCT who = session_user AS stolen_from_the_superuser FROM shop.loot;
DELETE FROM shop.loot;

\echo ---- 7. policies and views where a table was
-- the ledger's owner reads configuration; a policy of the owner's own is no attack, one of a stranger's is impossible
SELECT public.as_role('loyalty_test_mallory', 'CREATE POLICY p ON loyalty.account USING (public.steal() IS NULL)');
SELECT public.as_role('loyalty_test_mallory', 'ALTER TABLE loyalty.account ENABLE ROW LEVEL SECURITY');
-- mallory's own table, which was attached: a policy and a view in its place run nothing as anybody else
BEGIN;
CREATE TABLE shop.swap (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now());
ALTER TABLE shop.swap OWNER TO loyalty_test_mallory;
SELECT loyalty.attach('shop.swap', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'swap', 'swap', 'earn.amount');
INSERT INTO shop.swap VALUES (1, 1, 5);
SET ROLE loyalty_test_mallory;
CREATE FUNCTION public.policy(bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.steal(); RETURN true; END $$;
CREATE POLICY p ON shop.swap USING (public.policy(who));
ALTER TABLE shop.swap ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.swap FORCE ROW LEVEL SECURITY;
RESET ROLE;
-- a purchase that no trigger saw makes reconcile() work
SET session_replication_role = replica;
INSERT INTO shop.swap VALUES (2, 2, 7);
RESET session_replication_role;
SELECT * FROM loyalty.reconcile('shop.swap');
-- by somebody to whom policies do apply
SET ROLE loyalty_test_mallory;
GRANT ALL ON shop.swap TO loyalty_test_admin, loyalty_test_ledger;
SET ROLE loyalty_test_admin;
SELECT * FROM loyalty.reconcile('shop.swap');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT USAGE ON SCHEMA shop TO loyalty_test_ledger;
SET ROLE loyalty_test_ledger;
SELECT * FROM loyalty.reconcile('shop.swap');
SET ROLE loyalty_test_mallory;
ALTER TABLE shop.swap RENAME TO swapped;
CREATE VIEW shop.swap AS SELECT id, who, total, at FROM shop.swapped WHERE public.policy(who);
RESET ROLE;
SELECT * FROM loyalty.reconcile('shop.swap');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.reconcile('shop.swapped', take_back => true);
SET ROLE loyalty_test_ledger;
SELECT * FROM loyalty.reconcile('shop.swapped', take_back => true);
RESET ROLE;
SELECT count(*) AS ran_as_somebody_else FROM shop.loot WHERE who <> 'loyalty_test_mallory';
-- control: a plain query of the superuser's over mallory's view does run her code as him
SELECT count(*) FROM shop.swap;
SELECT count(*) AS naive FROM shop.loot WHERE who <> 'loyalty_test_mallory';
ROLLBACK;

\echo ---- 8. settings, locks and crafted bytes
-- a nobody's settings do not count
SET ROLE loyalty_test_mallory;
SET loyalty.restoring = on;
SET loyalty.archiving = on;
SET loyalty.allow_drop = on;
SET loyalty.now = '2099-01-01';
INSERT INTO shop.sale VALUES (20, 20, 5);
DELETE FROM shop.sale WHERE id = 20;
INSERT INTO shop.sale VALUES (21, 20, 6);
RESET loyalty.restoring;
RESET loyalty.archiving;
RESET loyalty.allow_drop;
RESET loyalty.now;
SET loyalty.nosuch = 1;
RESET ROLE;
SELECT l.source_key, l.points / 10000 AS points, l.remaining / 10000 AS remaining, l.at < now() + interval '1 day' AS in_our_time FROM loyalty.lot l WHERE member_id = 20 ORDER BY 1;
-- all advisory locks that one may hold change nothing
SET ROLE loyalty_test_mallory;
SELECT count(pg_advisory_lock(i)) FROM generate_series(0, 100) i;
SELECT count(pg_advisory_lock(classoid::int, 0)) FROM (VALUES ('loyalty.account'::regclass::oid), ('loyalty.lot'::regclass::oid)) v (classoid);
RESET ROLE;
INSERT INTO shop.sale VALUES (22, 20, 7);
SELECT pg_advisory_unlock_all();
-- receive functions make the checks of the input functions
CREATE TEMP TABLE bytes (t text, hex text);
INSERT INTO bytes VALUES ('points', ''), ('points', '00'), ('points', 'ffffffffffffffffff'), ('points', '8000000000000000'), ('points', '7fffffffffffffff'),
  ('earn_rate', ''), ('earn_rate', repeat('ff', 8)), ('earn_rate', repeat('00', 64)), ('earn_rate', repeat('ff', 200)), ('earn_rate', '01'),
  ('expiry', ''), ('expiry', repeat('ff', 16)), ('expiry', repeat('00', 64)), ('expiry', '7f7f7f7f7f7f7f7f7f7f7f7f'), ('expiry', '01'),
  ('period', ''), ('period', repeat('ff', 16)), ('period', repeat('00', 64)), ('period', '7f7f7f7f7f7f7f7f7f7f7f7f'), ('period', '01'),
  ('breakdown', ''), ('breakdown', '00'), ('breakdown', 'ff'), ('breakdown', repeat('ff', 100)), ('breakdown', repeat('00', 100)), ('breakdown', '7fffffff' || repeat('41', 60)), ('breakdown', '01ffffffff'),
  ('points', '00000000000030d4');
-- COPY BINARY: header, one row of one field
CREATE FUNCTION public.receive(t text, hex text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
  EXECUTE format('CREATE TEMP TABLE received (x loyalty.%I)', t);
  -- in octal, the only bytes that every shell's printf knows
  SELECT string_agg(format('\%s%s%s', get_byte(b, i) / 64, get_byte(b, i) / 8 % 8, get_byte(b, i) % 8), '' ORDER BY i) INTO answer
  FROM (SELECT decode('5047434f50590aff0d0a00' || '00000000' || '00000000' || '0001' || lpad(to_hex(length(hex) / 2), 8, '0') || hex || 'ffff', 'hex') AS b) v, generate_series(0, length(b) - 1) i;
  EXECUTE format('COPY received FROM PROGRAM %L (FORMAT binary)', format('printf ''%s''', answer));
  EXECUTE 'SELECT x::text FROM received' INTO answer;
  EXECUTE format('SELECT (x::text::loyalty.%I)::text FROM received', t) INTO STRICT t;
  DROP TABLE received;
  RETURN answer || CASE WHEN answer IS DISTINCT FROM t THEN ' does not read back' ELSE '' END;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE;
END $$;
SELECT t, CASE WHEN length(hex) > 40 THEN left(hex, 20) || '… of ' || length(hex) / 2 ELSE hex END AS bytes, public.receive(t, hex) FROM bytes;

\echo ---- 9. error texts tell nothing of other members, and audit says who
SET ROLE loyalty_test_mallory;
SELECT public.naive_balance(1) AS naive_balance_of_anybody;
INSERT INTO shop.sale VALUES (30, 1, 'NaN');
RESET ROLE;
SET ROLE loyalty_test_admin;
UPDATE loyalty.program SET money = 'x' WHERE name = 'p';
RESET ROLE;
SELECT changed_by = session_user AS session, set_role FROM loyalty.config_history WHERE config = 'program' ORDER BY valid_to DESC LIMIT 1;
SET ROLE loyalty_test_admin;
UPDATE loyalty.rule SET author = 'loyalty_test_ledger', points = 'earn.amount * 1' WHERE name = 'one' RETURNING author;
INSERT INTO loyalty.rule (program, source, name, points, author) VALUES ('p', 'sale', 'two', '1', 'loyalty_test_ledger') RETURNING author;
RESET ROLE;
-- whoever may only use the application changes no rule
SELECT public.as_role('loyalty_test_clerk', 'UPDATE loyalty.rule SET points = ''1000000''');
SELECT public.as_role('loyalty_test_clerk', 'INSERT INTO loyalty.rule (program, source, name, points) VALUES (''p'', ''sale'', ''x'', ''1'')');
SELECT public.as_role('loyalty_test_clerk', 'UPDATE loyalty.lot SET remaining = 5');
SELECT public.as_role('loyalty_test_clerk', 'INSERT INTO loyalty.member_alias VALUES (1, ''mine'')');
SELECT public.as_role('loyalty_test_clerk', 'SELECT arguments FROM loyalty.request');
SELECT public.as_role('loyalty_test_admin', 'UPDATE loyalty.account SET available = 5');
SELECT public.as_role('loyalty_test_admin', 'SELECT loyalty.install()');
SELECT public.as_role('loyalty_test_admin', 'SELECT loyalty.grant_access(''loyalty_test_mallory'', ''admin'')');

\c :here
DROP DATABASE loyalty_test_attack;
DROP ROLE loyalty_test_mallory, loyalty_test_clerk, loyalty_test_admin, loyalty_test_ledger;
