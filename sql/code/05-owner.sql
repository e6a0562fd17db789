-- What entry functions written in plpgsql stand on.  loyalty.NAME(…) is declared LANGUAGE c, 'loyalty_as_owner': it calls
-- loyalty.NAME_as_owner(…), of the same arguments and result, with the rights of the ledger's owner.  The body is granted
-- to nobody, pins its search_path, and evaluates nothing that a caller wrote.

CREATE OR REPLACE FUNCTION loyalty.caller() RETURNS text
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'loyalty_caller';
COMMENT ON FUNCTION loyalty.caller() IS 'as which role the entry function was called whose body is running';
REVOKE ALL ON FUNCTION loyalty.caller() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.lock_accounts(program_id integer, members bigint[]) RETURNS integer
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_lock_accounts';
COMMENT ON FUNCTION loyalty.lock_accounts(integer, bigint[]) IS
  'lock the accounts of several members in the order of all locks, until the transaction ends; returns how many there are';
REVOKE ALL ON FUNCTION loyalty.lock_accounts(integer, bigint[]) FROM PUBLIC;

-- loyalty.now is for reading, and for writing only in a program flagged sandbox.
CREATE OR REPLACE FUNCTION loyalty.writing_instant(program_id integer) RETURNS timestamptz
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'loyalty_writing_instant';
COMMENT ON FUNCTION loyalty.writing_instant(integer) IS 'the instant of what is written now in a program: the statement''s, or loyalty.now where the program is a sandbox';
REVOKE ALL ON FUNCTION loyalty.writing_instant(integer) FROM PUBLIC;
