-- loyalty.earn_rate: how much money gives how many points.

CREATE TYPE loyalty.earn_rate;

CREATE OR REPLACE FUNCTION loyalty.earn_rate_in(cstring) RETURNS loyalty.earn_rate
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_in';
COMMENT ON FUNCTION loyalty.earn_rate_in(cstring) IS 'text to earn_rate: LY017 names the bad word, its position and the valid forms';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_out(loyalty.earn_rate) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_out';
COMMENT ON FUNCTION loyalty.earn_rate_out(loyalty.earn_rate) IS 'canonical text of earn_rate';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_recv(internal) RETURNS loyalty.earn_rate
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_recv';
COMMENT ON FUNCTION loyalty.earn_rate_recv(internal) IS 'binary form to earn_rate, checked as text is: LY017';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_send(loyalty.earn_rate) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_send';
COMMENT ON FUNCTION loyalty.earn_rate_send(loyalty.earn_rate) IS 'binary form of earn_rate';

CREATE TYPE loyalty.earn_rate (
  INPUT = loyalty.earn_rate_in, OUTPUT = loyalty.earn_rate_out, RECEIVE = loyalty.earn_rate_recv, SEND = loyalty.earn_rate_send,
  INTERNALLENGTH = 24, ALIGNMENT = double, STORAGE = plain
);
COMMENT ON TYPE loyalty.earn_rate IS 'money to points: 1 per 10, 2 per full 10, 5%; figures from 0 to 10000000000 with at most 4 decimals; LY017 otherwise';

CREATE OR REPLACE FUNCTION loyalty.numeric_mul_earn_rate(numeric, loyalty.earn_rate) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_mul_earn_rate';
COMMENT ON FUNCTION loyalty.numeric_mul_earn_rate(numeric, loyalty.earn_rate) IS 'points for an amount: implementation of operator *';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_mul_numeric(loyalty.earn_rate, numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_mul_numeric';
COMMENT ON FUNCTION loyalty.earn_rate_mul_numeric(loyalty.earn_rate, numeric) IS 'points for an amount: implementation of operator *';
CREATE OPERATOR loyalty.* (LEFTARG = numeric, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.numeric_mul_earn_rate, COMMUTATOR = OPERATOR(loyalty.*));
COMMENT ON OPERATOR loyalty.* (numeric, loyalty.earn_rate) IS 'unrounded points for an amount: exact; a quotient that does not end is cut towards zero, not before its 8th decimal';
CREATE OPERATOR loyalty.* (LEFTARG = loyalty.earn_rate, RIGHTARG = numeric, FUNCTION = loyalty.earn_rate_mul_numeric, COMMUTATOR = OPERATOR(loyalty.*));
COMMENT ON OPERATOR loyalty.* (loyalty.earn_rate, numeric) IS 'unrounded points for an amount: exact; a quotient that does not end is cut towards zero, not before its 8th decimal';

-- ---- comparison: by what one unit of money gives, then by form ----

CREATE OR REPLACE FUNCTION loyalty.earn_rate_eq(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_eq';
COMMENT ON FUNCTION loyalty.earn_rate_eq(loyalty.earn_rate, loyalty.earn_rate) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_ne(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_ne';
COMMENT ON FUNCTION loyalty.earn_rate_ne(loyalty.earn_rate, loyalty.earn_rate) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_lt(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_lt';
COMMENT ON FUNCTION loyalty.earn_rate_lt(loyalty.earn_rate, loyalty.earn_rate) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_le(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_le';
COMMENT ON FUNCTION loyalty.earn_rate_le(loyalty.earn_rate, loyalty.earn_rate) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_gt(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_gt';
COMMENT ON FUNCTION loyalty.earn_rate_gt(loyalty.earn_rate, loyalty.earn_rate) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_ge(loyalty.earn_rate, loyalty.earn_rate) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_ge';
COMMENT ON FUNCTION loyalty.earn_rate_ge(loyalty.earn_rate, loyalty.earn_rate) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR loyalty.= (loyalty.earn_rate, loyalty.earn_rate) IS 'equal';
CREATE OPERATOR loyalty.<> (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (loyalty.earn_rate, loyalty.earn_rate) IS 'different';
CREATE OPERATOR loyalty.< (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (loyalty.earn_rate, loyalty.earn_rate) IS 'less';
CREATE OPERATOR loyalty.<= (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (loyalty.earn_rate, loyalty.earn_rate) IS 'less or equal';
CREATE OPERATOR loyalty.> (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (loyalty.earn_rate, loyalty.earn_rate) IS 'greater';
CREATE OPERATOR loyalty.>= (LEFTARG = loyalty.earn_rate, RIGHTARG = loyalty.earn_rate, FUNCTION = loyalty.earn_rate_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (loyalty.earn_rate, loyalty.earn_rate) IS 'greater or equal';

CREATE OR REPLACE FUNCTION loyalty.earn_rate_cmp(loyalty.earn_rate, loyalty.earn_rate) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_cmp';
COMMENT ON FUNCTION loyalty.earn_rate_cmp(loyalty.earn_rate, loyalty.earn_rate) IS 'less than, equal to, greater than: -1, 0, 1';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_hash(loyalty.earn_rate) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_hash';
COMMENT ON FUNCTION loyalty.earn_rate_hash(loyalty.earn_rate) IS 'hash';
CREATE OR REPLACE FUNCTION loyalty.earn_rate_hash_extended(loyalty.earn_rate, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'earn_rate_hash_extended';
COMMENT ON FUNCTION loyalty.earn_rate_hash_extended(loyalty.earn_rate, bigint) IS 'hash of 64 bits with a seed';

CREATE OPERATOR CLASS loyalty.earn_rate_ops DEFAULT FOR TYPE loyalty.earn_rate USING btree AS
  OPERATOR 1 loyalty.<, OPERATOR 2 loyalty.<=, OPERATOR 3 loyalty.=, OPERATOR 4 loyalty.>=, OPERATOR 5 loyalty.>,
  FUNCTION 1 loyalty.earn_rate_cmp(loyalty.earn_rate, loyalty.earn_rate),
  FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS loyalty.earn_rate_ops DEFAULT FOR TYPE loyalty.earn_rate USING hash AS
  OPERATOR 1 loyalty.=,
  FUNCTION 1 loyalty.earn_rate_hash(loyalty.earn_rate),
  FUNCTION 2 loyalty.earn_rate_hash_extended(loyalty.earn_rate, bigint);
