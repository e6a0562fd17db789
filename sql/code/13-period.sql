-- loyalty.period: what a counter runs over.

CREATE TYPE loyalty.period;

CREATE OR REPLACE FUNCTION loyalty.period_in(cstring) RETURNS loyalty.period
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_in';
COMMENT ON FUNCTION loyalty.period_in(cstring) IS 'text to period: LY017 names the bad word, its position and the valid forms';
CREATE OR REPLACE FUNCTION loyalty.period_out(loyalty.period) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_out';
COMMENT ON FUNCTION loyalty.period_out(loyalty.period) IS 'canonical text of period';
CREATE OR REPLACE FUNCTION loyalty.period_recv(internal) RETURNS loyalty.period
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_recv';
COMMENT ON FUNCTION loyalty.period_recv(internal) IS 'binary form to period, checked as text is: LY017';
CREATE OR REPLACE FUNCTION loyalty.period_send(loyalty.period) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_send';
COMMENT ON FUNCTION loyalty.period_send(loyalty.period) IS 'binary form of period';

CREATE TYPE loyalty.period (
  INPUT = loyalty.period_in, OUTPUT = loyalty.period_out, RECEIVE = loyalty.period_recv, SEND = loyalty.period_send,
  INTERNALLENGTH = 16, ALIGNMENT = int4, STORAGE = plain
);
COMMENT ON TYPE loyalty.period IS 'what a counter runs over: day; week (from Monday); calendar month, quarter, year; year from 1 march; membership year; rolling 12 months; rolling 30 days; lifetime; at most 1200 months and 36600 days; LY017 otherwise';

CREATE OR REPLACE FUNCTION loyalty.period_start(period loyalty.period, at timestamptz, timezone text, enrolled_at timestamptz)
RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_start_of';
COMMENT ON FUNCTION loyalty.period_start(loyalty.period, timestamptz, text, timestamptz) IS 'the first instant of the period that holds an instant, as period_bounds()';
CREATE OR REPLACE FUNCTION loyalty.period_end(period loyalty.period, at timestamptz, timezone text, enrolled_at timestamptz)
RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_end_of';
COMMENT ON FUNCTION loyalty.period_end(loyalty.period, timestamptz, text, timestamptz) IS 'the first instant after the period that holds an instant, as period_bounds()';
CREATE OR REPLACE FUNCTION loyalty.period_bounds(period loyalty.period, at timestamptz, timezone text, enrolled_at timestamptz DEFAULT NULL)
RETURNS TABLE (starts_at timestamptz, ends_at timestamptz)
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'period_bounds_of';
COMMENT ON FUNCTION loyalty.period_bounds(loyalty.period, timestamptz, text, timestamptz) IS
  'the period that holds an instant, starts_at inclusive, ends_at exclusive; no row for null; enrolled_at counts for membership year alone, LY017 without it; 22008 out of range, 22023 unknown time zone';

CREATE OR REPLACE FUNCTION loyalty.period_bucket(period loyalty.period, at timestamptz, timezone text, enrolled_at timestamptz)
RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_bucket_of';
COMMENT ON FUNCTION loyalty.period_bucket(loyalty.period, timestamptz, text, timestamptz) IS
  'where something of an instant is counted: the first instant of its period, -infinity for a lifetime; rolling: the instant at which it leaves the window';

-- ---- comparison: an order for indexes and DISTINCT, not of durations ----

CREATE OR REPLACE FUNCTION loyalty.period_eq(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_eq';
COMMENT ON FUNCTION loyalty.period_eq(loyalty.period, loyalty.period) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.period_ne(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_ne';
COMMENT ON FUNCTION loyalty.period_ne(loyalty.period, loyalty.period) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.period_lt(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_lt';
COMMENT ON FUNCTION loyalty.period_lt(loyalty.period, loyalty.period) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.period_le(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_le';
COMMENT ON FUNCTION loyalty.period_le(loyalty.period, loyalty.period) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.period_gt(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_gt';
COMMENT ON FUNCTION loyalty.period_gt(loyalty.period, loyalty.period) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.period_ge(loyalty.period, loyalty.period) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_ge';
COMMENT ON FUNCTION loyalty.period_ge(loyalty.period, loyalty.period) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR loyalty.= (loyalty.period, loyalty.period) IS 'equal';
CREATE OPERATOR loyalty.<> (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (loyalty.period, loyalty.period) IS 'different';
CREATE OPERATOR loyalty.< (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (loyalty.period, loyalty.period) IS 'less';
CREATE OPERATOR loyalty.<= (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (loyalty.period, loyalty.period) IS 'less or equal';
CREATE OPERATOR loyalty.> (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (loyalty.period, loyalty.period) IS 'greater';
CREATE OPERATOR loyalty.>= (LEFTARG = loyalty.period, RIGHTARG = loyalty.period, FUNCTION = loyalty.period_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (loyalty.period, loyalty.period) IS 'greater or equal';

CREATE OR REPLACE FUNCTION loyalty.period_cmp(loyalty.period, loyalty.period) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_cmp';
COMMENT ON FUNCTION loyalty.period_cmp(loyalty.period, loyalty.period) IS 'less than, equal to, greater than: -1, 0, 1';
CREATE OR REPLACE FUNCTION loyalty.period_hash(loyalty.period) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_hash';
COMMENT ON FUNCTION loyalty.period_hash(loyalty.period) IS 'hash';
CREATE OR REPLACE FUNCTION loyalty.period_hash_extended(loyalty.period, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'period_hash_extended';
COMMENT ON FUNCTION loyalty.period_hash_extended(loyalty.period, bigint) IS 'hash of 64 bits with a seed';

CREATE OPERATOR CLASS loyalty.period_ops DEFAULT FOR TYPE loyalty.period USING btree AS
  OPERATOR 1 loyalty.<, OPERATOR 2 loyalty.<=, OPERATOR 3 loyalty.=, OPERATOR 4 loyalty.>=, OPERATOR 5 loyalty.>,
  FUNCTION 1 loyalty.period_cmp(loyalty.period, loyalty.period),
  FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS loyalty.period_ops DEFAULT FOR TYPE loyalty.period USING hash AS
  OPERATOR 1 loyalty.=,
  FUNCTION 1 loyalty.period_hash(loyalty.period),
  FUNCTION 2 loyalty.period_hash_extended(loyalty.period, bigint);
