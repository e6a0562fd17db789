-- The second net below a ledger that holds points (the first: no table belongs to the extension).

CREATE OR REPLACE FUNCTION loyalty.allow_drop() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'loyalty_allow_drop';
COMMENT ON FUNCTION loyalty.allow_drop() IS 'is the setting loyalty.allow_drop on, and does the current role have the ledger owner''s rights';
REVOKE ALL ON FUNCTION loyalty.allow_drop() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.ledger_truncate() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_ledger_truncate';
COMMENT ON FUNCTION loyalty.ledger_truncate() IS 'trigger: refuses TRUNCATE of a ledger that holds points';
REVOKE ALL ON FUNCTION loyalty.ledger_truncate() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.watch_ledger(ledger_table text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER ledger_truncate BEFORE TRUNCATE ON loyalty.%I
    FOR EACH STATEMENT EXECUTE FUNCTION loyalty.ledger_truncate()', ledger_table);
END $$;
COMMENT ON FUNCTION loyalty.watch_ledger(text) IS 'create the trigger that guards a table of the ledger';
REVOKE ALL ON FUNCTION loyalty.watch_ledger(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.guard() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_guard';
COMMENT ON FUNCTION loyalty.guard() IS 'event trigger: refuses commands that would take a ledger that holds points';
REVOKE ALL ON FUNCTION loyalty.guard() FROM PUBLIC;

-- DROP DATABASE fires no event trigger: nothing here can stop it.
CREATE EVENT TRIGGER loyalty_guard ON ddl_command_start
  WHEN TAG IN ('DROP EXTENSION', 'DROP SCHEMA', 'DROP TABLE', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP INDEX',
               'DROP SEQUENCE', 'DROP TYPE', 'DROP DOMAIN', 'DROP FUNCTION', 'DROP PROCEDURE', 'DROP ROUTINE',
               'DROP AGGREGATE', 'DROP OWNED', 'ALTER TABLE')
  EXECUTE FUNCTION loyalty.guard();
COMMENT ON EVENT TRIGGER loyalty_guard IS 'refuses commands that would take a ledger that holds points';
