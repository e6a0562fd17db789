-- loyalty.expiry: how long points live.

CREATE TYPE loyalty.expiry;

CREATE OR REPLACE FUNCTION loyalty.expiry_in(cstring) RETURNS loyalty.expiry
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_in';
COMMENT ON FUNCTION loyalty.expiry_in(cstring) IS 'text to expiry: LY017 names the bad word, its position and the valid forms';
CREATE OR REPLACE FUNCTION loyalty.expiry_out(loyalty.expiry) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_out';
COMMENT ON FUNCTION loyalty.expiry_out(loyalty.expiry) IS 'canonical text of expiry';
CREATE OR REPLACE FUNCTION loyalty.expiry_recv(internal) RETURNS loyalty.expiry
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_recv';
COMMENT ON FUNCTION loyalty.expiry_recv(internal) IS 'binary form to expiry, checked as text is: LY017';
CREATE OR REPLACE FUNCTION loyalty.expiry_send(loyalty.expiry) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_send';
COMMENT ON FUNCTION loyalty.expiry_send(loyalty.expiry) IS 'binary form of expiry';

CREATE TYPE loyalty.expiry (
  INPUT = loyalty.expiry_in, OUTPUT = loyalty.expiry_out, RECEIVE = loyalty.expiry_recv, SEND = loyalty.expiry_send,
  INTERNALLENGTH = 16, ALIGNMENT = int4, STORAGE = plain
);
COMMENT ON TYPE loyalty.expiry IS 'life of points: never; 365 days; 12 months; 12 months, end of month (day, month, quarter, year); every 31 december; 36 months, every 30 september; 18 months inactive; at most 1200 months and 36600 days; LY017 otherwise';

CREATE OR REPLACE FUNCTION loyalty.expires_at("from" timestamptz, expiry loyalty.expiry, timezone text) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_expires_at';
COMMENT ON FUNCTION loyalty.expires_at(timestamptz, loyalty.expiry, text) IS
  'first dead instant of points granted at an instant; infinity for never and for inactive, whose end is the account''s; an infinite instant stays; 22008 out of range, 22023 unknown time zone';
CREATE OR REPLACE FUNCTION loyalty.inactive_at(active_at timestamptz, expiry loyalty.expiry, timezone text) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_inactivity';
COMMENT ON FUNCTION loyalty.inactive_at(timestamptz, loyalty.expiry, text) IS
  'when an account that was last active at this instant loses its points; infinity where the expiry is not one of inactivity';

CREATE OR REPLACE FUNCTION loyalty.last_day(expires_at timestamptz, timezone text) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_last_day';
COMMENT ON FUNCTION loyalty.last_day(timestamptz, text) IS
  'last local day on which points that expire at an instant can be spent; 22023 unknown time zone';

-- ---- comparison: an order for indexes and DISTINCT, not of durations ----

CREATE OR REPLACE FUNCTION loyalty.expiry_eq(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_eq';
COMMENT ON FUNCTION loyalty.expiry_eq(loyalty.expiry, loyalty.expiry) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.expiry_ne(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_ne';
COMMENT ON FUNCTION loyalty.expiry_ne(loyalty.expiry, loyalty.expiry) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.expiry_lt(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_lt';
COMMENT ON FUNCTION loyalty.expiry_lt(loyalty.expiry, loyalty.expiry) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.expiry_le(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_le';
COMMENT ON FUNCTION loyalty.expiry_le(loyalty.expiry, loyalty.expiry) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.expiry_gt(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_gt';
COMMENT ON FUNCTION loyalty.expiry_gt(loyalty.expiry, loyalty.expiry) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.expiry_ge(loyalty.expiry, loyalty.expiry) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_ge';
COMMENT ON FUNCTION loyalty.expiry_ge(loyalty.expiry, loyalty.expiry) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR loyalty.= (loyalty.expiry, loyalty.expiry) IS 'equal';
CREATE OPERATOR loyalty.<> (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (loyalty.expiry, loyalty.expiry) IS 'different';
CREATE OPERATOR loyalty.< (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (loyalty.expiry, loyalty.expiry) IS 'less';
CREATE OPERATOR loyalty.<= (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (loyalty.expiry, loyalty.expiry) IS 'less or equal';
CREATE OPERATOR loyalty.> (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (loyalty.expiry, loyalty.expiry) IS 'greater';
CREATE OPERATOR loyalty.>= (LEFTARG = loyalty.expiry, RIGHTARG = loyalty.expiry, FUNCTION = loyalty.expiry_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (loyalty.expiry, loyalty.expiry) IS 'greater or equal';

CREATE OR REPLACE FUNCTION loyalty.expiry_cmp(loyalty.expiry, loyalty.expiry) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_cmp';
COMMENT ON FUNCTION loyalty.expiry_cmp(loyalty.expiry, loyalty.expiry) IS 'less than, equal to, greater than: -1, 0, 1';
CREATE OR REPLACE FUNCTION loyalty.expiry_hash(loyalty.expiry) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_hash';
COMMENT ON FUNCTION loyalty.expiry_hash(loyalty.expiry) IS 'hash';
CREATE OR REPLACE FUNCTION loyalty.expiry_hash_extended(loyalty.expiry, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'expiry_hash_extended';
COMMENT ON FUNCTION loyalty.expiry_hash_extended(loyalty.expiry, bigint) IS 'hash of 64 bits with a seed';

CREATE OPERATOR CLASS loyalty.expiry_ops DEFAULT FOR TYPE loyalty.expiry USING btree AS
  OPERATOR 1 loyalty.<, OPERATOR 2 loyalty.<=, OPERATOR 3 loyalty.=, OPERATOR 4 loyalty.>=, OPERATOR 5 loyalty.>,
  FUNCTION 1 loyalty.expiry_cmp(loyalty.expiry, loyalty.expiry),
  FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS loyalty.expiry_ops DEFAULT FOR TYPE loyalty.expiry USING hash AS
  OPERATOR 1 loyalty.=,
  FUNCTION 1 loyalty.expiry_hash(loyalty.expiry),
  FUNCTION 2 loyalty.expiry_hash_extended(loyalty.expiry, bigint);
