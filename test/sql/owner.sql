-- Entry functions with a body in plpgsql: as whom it runs, what it returns, what is refused.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
BEGIN;
CREATE ROLE owner_app;
GRANT USAGE ON SCHEMA loyalty TO owner_app;
CREATE FUNCTION loyalty.who(n integer, word text DEFAULT NULL) RETURNS TABLE (i integer, word text, is_owner boolean, caller text)
LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
-- names may differ: plpgsql refuses a result named like an argument
CREATE FUNCTION loyalty.who_as_owner(n integer, given text) RETURNS TABLE (i integer, word text, is_owner boolean, caller text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF n < 0 THEN
    RAISE EXCEPTION 'no';
  END IF;
  RETURN QUERY SELECT g, given, current_user = (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = 'loyalty.account'::regclass),
    loyalty.caller() FROM generate_series(1, n) g;
END $$;
-- one that calls another keeps the caller
CREATE FUNCTION loyalty.who_else() RETURNS text LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
CREATE FUNCTION loyalty.who_else_as_owner() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT string_agg(w.caller, ' ') FROM loyalty.who(1) w) || ' ' || (SELECT count(*) FROM loyalty.account) / 1000000000000;
END $$;
CREATE FUNCTION loyalty.bodyless() RETURNS text LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
CREATE FUNCTION loyalty.sql_body() RETURNS integer LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
CREATE FUNCTION loyalty.sql_body_as_owner() RETURNS integer LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
CREATE FUNCTION loyalty.trusts() RETURNS text LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
CREATE FUNCTION loyalty.trusts_as_owner() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN loyalty.restoring();
END $$;
GRANT EXECUTE ON FUNCTION loyalty.trusts(), loyalty.who(integer, text), loyalty.who_else(), loyalty.bodyless(), loyalty.sql_body() TO owner_app;

SET ROLE owner_app;
SELECT * FROM loyalty.who(2, 'x');
SELECT w.word IS NULL AS null_passed, (loyalty.who(1)).caller FROM loyalty.who(1) w;
SELECT loyalty.who_else();
SELECT count(*) FROM loyalty.who(0);
SAVEPOINT s;
SELECT * FROM loyalty.who(-1);
ROLLBACK TO s;
SELECT current_user, caller FROM loyalty.who(1);
SELECT loyalty.bodyless();
ROLLBACK TO s;
-- only plpgsql gives its rows all at once
SELECT loyalty.sql_body();
ROLLBACK TO s;
-- the caller's settings count no more inside than outside
CREATE FUNCTION pg_temp.loose() RETURNS text LANGUAGE sql AS $$
  SELECT set_config('loyalty.restoring', 'on', true) || ' ' || (SELECT loyalty.trusts()) $$;
SELECT pg_temp.loose();
RESET ROLE;
SELECT pg_temp.loose() AS control;
-- a stranger's function is no body
CREATE FUNCTION loyalty.strange() RETURNS text LANGUAGE c AS '$libdir/loyalty', 'loyalty_as_owner';
CREATE FUNCTION loyalty.strange_as_owner() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN current_user; END';
ALTER FUNCTION loyalty.strange_as_owner() OWNER TO owner_app;
SELECT loyalty.strange();
ROLLBACK;

-- locks of several accounts: unknown ones and doubles do no harm
BEGIN;
INSERT INTO loyalty.program (name) VALUES ('owner lock');
SELECT count(*) FROM loyalty.enroll(900001, 'owner lock') a, loyalty.enroll(900002, 'owner lock') b;
SELECT loyalty.lock_accounts((SELECT id FROM loyalty.program WHERE name = 'owner lock'), '{900001,NULL,900002,900001,77777777}');
SELECT loyalty.lock_accounts((SELECT id FROM loyalty.program WHERE name = 'owner lock'), '{}');
ROLLBACK;
