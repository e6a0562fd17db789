-- The house rules that the catalog can answer.  Each query lists offenders; none is printed.  When one is: the line
-- above the query says what to do.  At the end a planted offender of each kind must be found.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
BEGIN;
CREATE TEMP TABLE offence (rule text, object text);
CREATE FUNCTION pg_temp.lint() RETURNS void LANGUAGE sql AS $$
  TRUNCATE offence;
  WITH f AS (
    SELECT p.*, p.oid::regprocedure::text AS name, l.lanname AS language,
      EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout)) AS io,
      EXISTS (SELECT FROM pg_aggregate a WHERE p.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn)) AS support,
      EXISTS (SELECT FROM pg_operator o WHERE p.oid = o.oprcode) OR EXISTS (SELECT FROM pg_amproc a WHERE p.oid = a.amproc)
        OR EXISTS (SELECT FROM pg_cast c WHERE p.oid = c.castfunc) AS operation,
      EXISTS (SELECT FROM unnest(p.proargtypes) a (t) WHERE a.t IN (SELECT oid FROM pg_type WHERE typnamespace = 'loyalty'::regnamespace AND typtype = 'b'))
        OR p.prorettype IN (SELECT oid FROM pg_type WHERE typnamespace = 'loyalty'::regnamespace AND typtype = 'b') AS of_our_types
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'loyalty'::regnamespace),
  c AS (SELECT r.*, r.oid::regclass::text AS name FROM pg_class r WHERE r.relnamespace = 'loyalty'::regnamespace),
  -- what the bodies name behind FROM, JOIN...: each is read once, and not once a table
  named AS (
    SELECT f.oid, f.name, f.provolatile, f.proname, m.found[1] AS words, lower(m.found[2]) AS schema, lower(m.found[3]) AS relation, m.found[4] IS NOT NULL AS called
    FROM f, LATERAL regexp_matches(regexp_replace(f.prosrc, '--[^\n]*', '', 'g'),
      '\m((?:from|join|into|update|truncate\s+table|table|truncate)\s+(?:only\s+)?((?:loyalty\.)?)([a-z_0-9]+))\M(\s*\()?', 'gi') AS m (found)
    WHERE f.language IN ('sql', 'plpgsql'))
  INSERT INTO offence
  -- switch to the owner of the ledger in C, around storage only (owner.c)
  SELECT 'SECURITY DEFINER', name FROM f WHERE prosecdef
  UNION ALL
  -- SET search_path = pg_catalog, pg_temp; a procedure that commits qualifies instead
  SELECT 'search_path', name FROM f WHERE language IN ('sql', 'plpgsql') AND prokind <> 'p' AND NOT coalesce(proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}'
  UNION ALL
  -- only a superuser could make such a function; it would leak rows past policies
  SELECT 'LEAKPROOF', name FROM f WHERE proleakproof
  UNION ALL
  -- whoever can call it from SQL crashes the server; a strict sortsupport function is PostgreSQL's way
  SELECT 'internal or any', name FROM f WHERE NOT io AND (2281 = ANY (proargtypes) OR 2276 = ANY (proargtypes) OR prorettype = 2281)
    AND NOT support AND NOT (proisstrict AND EXISTS (SELECT FROM pg_amproc a WHERE a.amproc = f.oid AND a.amprocnum = 2))
  UNION ALL
  -- nobody calls them but aggregates: they must check AggCheckCallContext; keep this list short
  SELECT 'aggregate support on internal', name FROM f WHERE support AND (2281 = ANY (proargtypes) OR prorettype = 2281) AND NOT (proname ~ '^points_(sum|avg)')
  UNION ALL
  -- REVOKE ALL ... FROM PUBLIC below its CREATE FUNCTION; pure I/O, operators, casts and arithmetic on our types stay PUBLIC
  SELECT 'PUBLIC may execute', name FROM f WHERE has_function_privilege('public', oid, 'EXECUTE')
    AND NOT io AND NOT operation AND NOT support AND NOT (prokind = 'a')
    AND NOT (of_our_types AND language = 'c' AND provolatile <> 'v')
    AND proname NOT IN ('version', 'last_day', 'install_steps')
  UNION ALL
  -- no table, view or sequence is for everybody
  SELECT 'PUBLIC may ' || v.privilege, name FROM c, (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) v (privilege)
  WHERE c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege('public', oid, v.privilege)
  UNION ALL
  SELECT 'PUBLIC may use sequence', name FROM c WHERE CASE WHEN relkind = 'S' THEN has_sequence_privilege('public', oid, 'USAGE, UPDATE') END
  UNION ALL
  SELECT 'PUBLIC may create in schema', 'loyalty' WHERE has_schema_privilege('public', 'loyalty', 'CREATE')
  UNION ALL
  -- a strict trigger function would not be a bug, a C function that takes NULL by surprise is
  SELECT 'C function not STRICT', name FROM f WHERE language = 'c' AND pronargs > 0 AND NOT proisstrict AND prokind = 'f'
    AND NOT (proretset) AND NOT support AND prosrc <> 'loyalty_as_owner' AND proname NOT IN ('balance', 'breakdown_points', 'member_id', 'set_status', 'add_alias', 'remove_alias', 'open_balance', 'backfill', 'backfill_ranges', 'in_segment')
  UNION ALL
  -- an entry function has its body beside it, which nobody is granted
  SELECT 'no body as owner', f.name FROM f WHERE prosrc = 'loyalty_as_owner' AND NOT EXISTS (SELECT FROM f b JOIN pg_language l ON l.oid = b.prolang
    WHERE b.proname = f.proname || '_as_owner' AND b.proargtypes = f.proargtypes AND b.prorettype = f.prorettype AND b.proretset = f.proretset AND b.language = 'plpgsql')
  UNION ALL
  SELECT 'body is granted', f.name FROM f JOIN (SELECT unnest(string_to_array(a.names, ' ')) AS name FROM loyalty.access_list() a WHERE a.object = 'function') l ON l.name = f.proname
  WHERE f.proname LIKE '%\_as\_owner'
  UNION ALL
  -- what writes, or runs other people's expressions, stays with the leader
  SELECT 'volatile and PARALLEL SAFE', name FROM f WHERE provolatile = 'v' AND proparallel = 's'
  UNION ALL
  SELECT 'trigger and PARALLEL SAFE', name FROM f WHERE prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AND (proparallel = 's' OR provolatile <> 'v')
  UNION ALL
  SELECT 'type function not IMMUTABLE or STABLE', name FROM f WHERE (io OR operation) AND provolatile = 'v'
  UNION ALL
  SELECT DISTINCT 'IMMUTABLE, and reads a table', n.name FROM named n JOIN c ON c.relname = n.relation AND c.relkind IN ('r', 'p', 'v')
  WHERE n.provolatile = 'i' AND n.schema <> '' AND n.proname <> 'install_steps'
  UNION ALL
  -- write it as a sentence for whoever types \df+ or \d+
  SELECT 'function without COMMENT', name FROM f WHERE obj_description(oid, 'pg_proc') IS NULL AND NOT io AND NOT operation AND NOT support
  UNION ALL
  SELECT 'relation without COMMENT', name FROM c WHERE relkind IN ('r', 'p', 'v', 'm') AND obj_description(oid, 'pg_class') IS NULL
  UNION ALL
  SELECT 'column without COMMENT', name || '.' || a.attname FROM c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE relkind IN ('r', 'p', 'v', 'm') AND col_description(c.oid, a.attnum) IS NULL
  UNION ALL
  SELECT 'type without COMMENT', t.oid::regtype::text FROM pg_type t WHERE t.typnamespace = 'loyalty'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A' AND t.typelem = 0
    AND obj_description(t.oid, 'pg_type') IS NULL
  UNION ALL
  -- tables come from loyalty.install(), never from the script
  SELECT 'relation of the extension', objid::regclass::text FROM pg_depend
  WHERE deptype = 'e' AND classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty')
  UNION ALL
  SELECT 'code outside of the extension', name FROM f WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND d.objid = f.oid)
  UNION ALL
  -- a figure must survive DROP EXTENSION ... CASCADE
  SELECT 'type of ours in member data', name || '.' || a.attname FROM c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE relkind IN ('r', 'p') AND a.atttypid >= 16384 AND c.relname NOT IN ('program', 'rule', 'survey', 'tier', 'reward', 'plan', 'referral_program')
  UNION ALL
  -- security_invoker = true, or the view's readers read with its owner's rights
  SELECT 'view without security_invoker', name FROM c WHERE relkind = 'v' AND NOT coalesce(reloptions, '{}') && '{security_invoker=true, security_invoker=on, security_invoker=1}'
  UNION ALL
  -- nothing that changes the ledger hangs on the ledger: guards and invalidation alone
  SELECT 'trigger on the ledger', c.name || '.' || t.tgname FROM c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
  WHERE c.relname IN ('account', 'lot', 'movement', 'refund', 'debt', 'tier_change', 'redemption', 'request')
    AND t.tgfoid <> ALL (ARRAY['loyalty.ledger_truncate()', 'loyalty.config_changed()']::regprocedure[])
  UNION ALL
  -- write loyalty.lot, not lot: search_path does not hold schema loyalty
  SELECT DISTINCT 'unqualified table', n.name || ': ' || n.words FROM named n JOIN c ON c.relname = n.relation AND c.relkind IN ('r', 'p', 'v') WHERE n.schema = '' AND NOT n.called
  UNION ALL
  SELECT 'event trigger not ours or off', evtname FROM pg_event_trigger WHERE evtname LIKE 'loyalty%' AND evtenabled NOT IN ('O', 'A')
$$;
SELECT pg_temp.lint();
SELECT * FROM offence ORDER BY rule COLLATE "C", object COLLATE "C";

-- the control: one offender of each kind, all found
CREATE FUNCTION loyalty.bad_definer(a int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER PARALLEL SAFE AS 'BEGIN DELETE FROM lot; RETURN 1; END';
CREATE FUNCTION loyalty.bad_immutable() RETURNS int LANGUAGE plpgsql IMMUTABLE LEAKPROOF SET search_path = public AS 'BEGIN RETURN (SELECT count(*) FROM loyalty.lot); END';
CREATE FUNCTION loyalty.bad_names() RETURNS void LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
'BEGIN TRUNCATE TABLE lot; UPDATE ONLY account SET x = 1; INSERT INTO loyalty.lot (x) SELECT y FROM debt JOIN
 lot USING (z), loyalty.lot, lots; -- FROM movement
 END';
CREATE FUNCTION loyalty.bad_internal(internal) RETURNS int LANGUAGE internal AS 'pg_backend_pid';
CREATE FUNCTION loyalty.bad_any("any") RETURNS int LANGUAGE internal AS 'pg_backend_pid';
CREATE FUNCTION loyalty.bad_trigger() RETURNS trigger LANGUAGE plpgsql STABLE AS 'BEGIN RETURN NULL; END';
CREATE TABLE loyalty.bad_table (a int, b loyalty.points);
GRANT SELECT ON loyalty.bad_table TO PUBLIC;
CREATE SEQUENCE loyalty.bad_sequence;
GRANT USAGE ON SEQUENCE loyalty.bad_sequence TO PUBLIC;
GRANT CREATE ON SCHEMA loyalty TO PUBLIC;
CREATE VIEW loyalty.bad_view AS SELECT 1 AS a;
ALTER EXTENSION loyalty ADD TABLE loyalty.bad_table;
CREATE TRIGGER bad BEFORE INSERT ON loyalty.lot FOR EACH ROW EXECUTE FUNCTION loyalty.bad_trigger();
ALTER EVENT TRIGGER loyalty_guard DISABLE;
SELECT pg_temp.lint();
SELECT * FROM offence ORDER BY rule COLLATE "C", object COLLATE "C";
ROLLBACK;
