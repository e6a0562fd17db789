-- loyalty.points: an exact figure of points, a signed 64-bit count of 1/10,000.

CREATE TYPE loyalty.points;

CREATE OR REPLACE FUNCTION loyalty.points_in(cstring) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_in';
COMMENT ON FUNCTION loyalty.points_in(cstring) IS 'text to points: LY017 names the bad word, its position and the valid forms';
CREATE OR REPLACE FUNCTION loyalty.points_out(loyalty.points) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_out';
COMMENT ON FUNCTION loyalty.points_out(loyalty.points) IS 'canonical text of points';
CREATE OR REPLACE FUNCTION loyalty.points_recv(internal) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_recv';
COMMENT ON FUNCTION loyalty.points_recv(internal) IS 'binary form to points, checked as text is: LY017';
CREATE OR REPLACE FUNCTION loyalty.points_send(loyalty.points) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_send';
COMMENT ON FUNCTION loyalty.points_send(loyalty.points) IS 'binary form of points';

CREATE TYPE loyalty.points (
  INPUT = loyalty.points_in, OUTPUT = loyalty.points_out, RECEIVE = loyalty.points_recv, SEND = loyalty.points_send,
  LIKE = pg_catalog.int8, CATEGORY = 'N'
);
COMMENT ON TYPE loyalty.points IS 'points, exact to 1/10,000, from -922337203685477.5808 to 922337203685477.5807; 22003 beyond';

-- ---- comparison; with numeric as numeric compares ----

CREATE OR REPLACE FUNCTION loyalty.points_eq(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_eq';
COMMENT ON FUNCTION loyalty.points_eq(loyalty.points, loyalty.points) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.points_ne(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_ne';
COMMENT ON FUNCTION loyalty.points_ne(loyalty.points, loyalty.points) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.points_lt(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_lt';
COMMENT ON FUNCTION loyalty.points_lt(loyalty.points, loyalty.points) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.points_le(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_le';
COMMENT ON FUNCTION loyalty.points_le(loyalty.points, loyalty.points) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.points_gt(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_gt';
COMMENT ON FUNCTION loyalty.points_gt(loyalty.points, loyalty.points) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.points_ge(loyalty.points, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_ge';
COMMENT ON FUNCTION loyalty.points_ge(loyalty.points, loyalty.points) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR loyalty.= (loyalty.points, loyalty.points) IS 'equal';
CREATE OPERATOR loyalty.<> (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (loyalty.points, loyalty.points) IS 'different';
CREATE OPERATOR loyalty.< (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (loyalty.points, loyalty.points) IS 'less';
CREATE OPERATOR loyalty.<= (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (loyalty.points, loyalty.points) IS 'less or equal';
CREATE OPERATOR loyalty.> (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (loyalty.points, loyalty.points) IS 'greater';
CREATE OPERATOR loyalty.>= (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (loyalty.points, loyalty.points) IS 'greater or equal';

CREATE OR REPLACE FUNCTION loyalty.points_numeric_eq(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_eq';
COMMENT ON FUNCTION loyalty.points_numeric_eq(loyalty.points, numeric) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_ne(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_ne';
COMMENT ON FUNCTION loyalty.points_numeric_ne(loyalty.points, numeric) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_lt(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_lt';
COMMENT ON FUNCTION loyalty.points_numeric_lt(loyalty.points, numeric) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_le(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_le';
COMMENT ON FUNCTION loyalty.points_numeric_le(loyalty.points, numeric) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_gt(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_gt';
COMMENT ON FUNCTION loyalty.points_numeric_gt(loyalty.points, numeric) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_ge(loyalty.points, numeric) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_ge';
COMMENT ON FUNCTION loyalty.points_numeric_ge(loyalty.points, numeric) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel);
COMMENT ON OPERATOR loyalty.= (loyalty.points, numeric) IS 'equal; exact, nothing is rounded';
CREATE OPERATOR loyalty.<> (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (loyalty.points, numeric) IS 'different; exact, nothing is rounded';
CREATE OPERATOR loyalty.< (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (loyalty.points, numeric) IS 'less; exact, nothing is rounded';
CREATE OPERATOR loyalty.<= (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (loyalty.points, numeric) IS 'less or equal; exact, nothing is rounded';
CREATE OPERATOR loyalty.> (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (loyalty.points, numeric) IS 'greater; exact, nothing is rounded';
CREATE OPERATOR loyalty.>= (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (loyalty.points, numeric) IS 'greater or equal; exact, nothing is rounded';

CREATE OR REPLACE FUNCTION loyalty.numeric_points_eq(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_eq';
COMMENT ON FUNCTION loyalty.numeric_points_eq(numeric, loyalty.points) IS 'equal: implementation of operator =';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_ne(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_ne';
COMMENT ON FUNCTION loyalty.numeric_points_ne(numeric, loyalty.points) IS 'different: implementation of operator <>';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_lt(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_lt';
COMMENT ON FUNCTION loyalty.numeric_points_lt(numeric, loyalty.points) IS 'less: implementation of operator <';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_le(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_le';
COMMENT ON FUNCTION loyalty.numeric_points_le(numeric, loyalty.points) IS 'less or equal: implementation of operator <=';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_gt(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_gt';
COMMENT ON FUNCTION loyalty.numeric_points_gt(numeric, loyalty.points) IS 'greater: implementation of operator >';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_ge(numeric, loyalty.points) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_ge';
COMMENT ON FUNCTION loyalty.numeric_points_ge(numeric, loyalty.points) IS 'greater or equal: implementation of operator >=';

CREATE OPERATOR loyalty.= (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_eq,
  COMMUTATOR = OPERATOR(loyalty.=), NEGATOR = OPERATOR(loyalty.<>), RESTRICT = eqsel, JOIN = eqjoinsel);
COMMENT ON OPERATOR loyalty.= (numeric, loyalty.points) IS 'equal; exact, nothing is rounded';
CREATE OPERATOR loyalty.<> (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_ne,
  COMMUTATOR = OPERATOR(loyalty.<>), NEGATOR = OPERATOR(loyalty.=), RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR loyalty.<> (numeric, loyalty.points) IS 'different; exact, nothing is rounded';
CREATE OPERATOR loyalty.< (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_lt,
  COMMUTATOR = OPERATOR(loyalty.>), NEGATOR = OPERATOR(loyalty.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR loyalty.< (numeric, loyalty.points) IS 'less; exact, nothing is rounded';
CREATE OPERATOR loyalty.<= (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_le,
  COMMUTATOR = OPERATOR(loyalty.>=), NEGATOR = OPERATOR(loyalty.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR loyalty.<= (numeric, loyalty.points) IS 'less or equal; exact, nothing is rounded';
CREATE OPERATOR loyalty.> (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_gt,
  COMMUTATOR = OPERATOR(loyalty.<), NEGATOR = OPERATOR(loyalty.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR loyalty.> (numeric, loyalty.points) IS 'greater; exact, nothing is rounded';
CREATE OPERATOR loyalty.>= (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_ge,
  COMMUTATOR = OPERATOR(loyalty.<=), NEGATOR = OPERATOR(loyalty.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR loyalty.>= (numeric, loyalty.points) IS 'greater or equal; exact, nothing is rounded';

CREATE OR REPLACE FUNCTION loyalty.points_cmp(loyalty.points, loyalty.points) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_cmp';
COMMENT ON FUNCTION loyalty.points_cmp(loyalty.points, loyalty.points) IS 'less than, equal to, greater than: -1, 0, 1';
CREATE OR REPLACE FUNCTION loyalty.points_sortsupport(internal) RETURNS void
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_sortsupport';
COMMENT ON FUNCTION loyalty.points_sortsupport(internal) IS 'sort support';
CREATE OR REPLACE FUNCTION loyalty.points_hash(loyalty.points) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_hash';
COMMENT ON FUNCTION loyalty.points_hash(loyalty.points) IS 'hash';
CREATE OR REPLACE FUNCTION loyalty.points_hash_extended(loyalty.points, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_hash_extended';
COMMENT ON FUNCTION loyalty.points_hash_extended(loyalty.points, bigint) IS 'hash of 64 bits with a seed';

CREATE OPERATOR CLASS loyalty.points_ops DEFAULT FOR TYPE loyalty.points USING btree AS
  OPERATOR 1 loyalty.<, OPERATOR 2 loyalty.<=, OPERATOR 3 loyalty.=, OPERATOR 4 loyalty.>=, OPERATOR 5 loyalty.>,
  FUNCTION 1 loyalty.points_cmp(loyalty.points, loyalty.points),
  FUNCTION 2 loyalty.points_sortsupport(internal),
  FUNCTION 4 pg_catalog.btequalimage(oid);

CREATE OPERATOR CLASS loyalty.points_ops DEFAULT FOR TYPE loyalty.points USING hash AS
  OPERATOR 1 loyalty.=,
  FUNCTION 1 loyalty.points_hash(loyalty.points),
  FUNCTION 2 loyalty.points_hash_extended(loyalty.points, bigint);

-- ---- arithmetic: points with points give points, with numeric numeric ----

CREATE OR REPLACE FUNCTION loyalty.points_pl(loyalty.points, loyalty.points) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_pl';
COMMENT ON FUNCTION loyalty.points_pl(loyalty.points, loyalty.points) IS 'sum; 22003 on overflow: implementation of operator +';
CREATE OR REPLACE FUNCTION loyalty.points_mi(loyalty.points, loyalty.points) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_mi';
COMMENT ON FUNCTION loyalty.points_mi(loyalty.points, loyalty.points) IS 'difference; 22003 on overflow: implementation of operator -';
CREATE OR REPLACE FUNCTION loyalty.points_um(loyalty.points) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_um';
COMMENT ON FUNCTION loyalty.points_um(loyalty.points) IS 'negated; 22003 on overflow: implementation of operator -';
CREATE OR REPLACE FUNCTION loyalty.points_div(loyalty.points, loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_div';
COMMENT ON FUNCTION loyalty.points_div(loyalty.points, loyalty.points) IS 'ratio; 22012 for a division by 0: implementation of operator /';
CREATE OPERATOR loyalty.+ (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_pl, COMMUTATOR = OPERATOR(loyalty.+));
COMMENT ON OPERATOR loyalty.+ (loyalty.points, loyalty.points) IS 'sum of points; 22003 on overflow';
CREATE OPERATOR loyalty.- (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_mi);
COMMENT ON OPERATOR loyalty.- (loyalty.points, loyalty.points) IS 'difference of points; 22003 on overflow';
CREATE OPERATOR loyalty.- (RIGHTARG = loyalty.points, FUNCTION = loyalty.points_um);
COMMENT ON OPERATOR loyalty.- (NONE, loyalty.points) IS 'points negated; 22003 on overflow';
CREATE OPERATOR loyalty./ (LEFTARG = loyalty.points, RIGHTARG = loyalty.points, FUNCTION = loyalty.points_div);
COMMENT ON OPERATOR loyalty./ (loyalty.points, loyalty.points) IS 'ratio of points, numeric; 22012 for a division by 0';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_pl(loyalty.points, numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_pl';
COMMENT ON FUNCTION loyalty.points_numeric_pl(loyalty.points, numeric) IS 'sum, numeric: implementation of operator +';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_pl(numeric, loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_pl';
COMMENT ON FUNCTION loyalty.numeric_points_pl(numeric, loyalty.points) IS 'sum, numeric: implementation of operator +';
CREATE OPERATOR loyalty.+ (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_pl, COMMUTATOR = OPERATOR(loyalty.+));
COMMENT ON OPERATOR loyalty.+ (loyalty.points, numeric) IS 'sum of points and numeric, numeric and unrounded';
CREATE OPERATOR loyalty.+ (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_pl, COMMUTATOR = OPERATOR(loyalty.+));
COMMENT ON OPERATOR loyalty.+ (numeric, loyalty.points) IS 'sum of points and numeric, numeric and unrounded';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_mi(loyalty.points, numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_mi';
COMMENT ON FUNCTION loyalty.points_numeric_mi(loyalty.points, numeric) IS 'difference, numeric: implementation of operator -';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_mi(numeric, loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_mi';
COMMENT ON FUNCTION loyalty.numeric_points_mi(numeric, loyalty.points) IS 'difference, numeric: implementation of operator -';
CREATE OPERATOR loyalty.- (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_mi);
COMMENT ON OPERATOR loyalty.- (loyalty.points, numeric) IS 'difference of points and numeric, numeric and unrounded';
CREATE OPERATOR loyalty.- (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_mi);
COMMENT ON OPERATOR loyalty.- (numeric, loyalty.points) IS 'difference of points and numeric, numeric and unrounded';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_mul(loyalty.points, numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_mul';
COMMENT ON FUNCTION loyalty.points_numeric_mul(loyalty.points, numeric) IS 'product, numeric: implementation of operator *';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_mul(numeric, loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_mul';
COMMENT ON FUNCTION loyalty.numeric_points_mul(numeric, loyalty.points) IS 'product, numeric: implementation of operator *';
CREATE OPERATOR loyalty.* (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_mul, COMMUTATOR = OPERATOR(loyalty.*));
COMMENT ON OPERATOR loyalty.* (loyalty.points, numeric) IS 'product of points and numeric, numeric and unrounded';
CREATE OPERATOR loyalty.* (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_mul, COMMUTATOR = OPERATOR(loyalty.*));
COMMENT ON OPERATOR loyalty.* (numeric, loyalty.points) IS 'product of points and numeric, numeric and unrounded';
CREATE OR REPLACE FUNCTION loyalty.points_numeric_div(loyalty.points, numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric_div';
COMMENT ON FUNCTION loyalty.points_numeric_div(loyalty.points, numeric) IS 'quotient, numeric: implementation of operator /';
CREATE OR REPLACE FUNCTION loyalty.numeric_points_div(numeric, loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points_div';
COMMENT ON FUNCTION loyalty.numeric_points_div(numeric, loyalty.points) IS 'quotient, numeric: implementation of operator /';
CREATE OPERATOR loyalty./ (LEFTARG = loyalty.points, RIGHTARG = numeric, FUNCTION = loyalty.points_numeric_div);
COMMENT ON OPERATOR loyalty./ (loyalty.points, numeric) IS 'quotient of points and numeric, numeric and unrounded';
CREATE OPERATOR loyalty./ (LEFTARG = numeric, RIGHTARG = loyalty.points, FUNCTION = loyalty.numeric_points_div);
COMMENT ON OPERATOR loyalty./ (numeric, loyalty.points) IS 'quotient of points and numeric, numeric and unrounded';

-- ---- casts.  Only points -> numeric is implicit: with a second one every operator would be ambiguous ----

CREATE OR REPLACE FUNCTION loyalty.points_to_numeric(loyalty.points) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_numeric';
COMMENT ON FUNCTION loyalty.points_to_numeric(loyalty.points) IS 'points as numeric, without trailing zeros';
CREATE OR REPLACE FUNCTION loyalty.points_from_numeric(numeric) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'numeric_points';
COMMENT ON FUNCTION loyalty.points_from_numeric(numeric) IS 'numeric as points; LY017 when not finite or beyond 4 decimals, 22003 out of range';
CREATE OR REPLACE FUNCTION loyalty.points_from_integer(integer) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'int4_points';
COMMENT ON FUNCTION loyalty.points_from_integer(integer) IS 'whole points';
CREATE OR REPLACE FUNCTION loyalty.points_from_integer(bigint) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'int8_points';
COMMENT ON FUNCTION loyalty.points_from_integer(bigint) IS 'whole points; 22003 out of range';
CREATE CAST (loyalty.points AS numeric) WITH FUNCTION loyalty.points_to_numeric(loyalty.points) AS IMPLICIT;
CREATE CAST (numeric AS loyalty.points) WITH FUNCTION loyalty.points_from_numeric(numeric) AS ASSIGNMENT;
CREATE CAST (integer AS loyalty.points) WITH FUNCTION loyalty.points_from_integer(integer) AS ASSIGNMENT;
CREATE CAST (bigint AS loyalty.points) WITH FUNCTION loyalty.points_from_integer(bigint) AS ASSIGNMENT;

-- The ledger's columns are bigint counts of 1/10,000, which a cast would read as whole points.
CREATE OR REPLACE FUNCTION loyalty.points_from_ledger(bigint) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_ledger';
COMMENT ON FUNCTION loyalty.points_from_ledger(bigint) IS 'points of a figure of the ledger, a count of 1/10,000';
CREATE OR REPLACE FUNCTION loyalty.points_to_ledger(loyalty.points) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_ledger';
COMMENT ON FUNCTION loyalty.points_to_ledger(loyalty.points) IS 'points as the ledger keeps them, a count of 1/10,000';

-- ---- aggregates ----

CREATE OR REPLACE FUNCTION loyalty.points_larger(loyalty.points, loyalty.points) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_larger';
COMMENT ON FUNCTION loyalty.points_larger(loyalty.points, loyalty.points) IS 'the greater of two';
CREATE OR REPLACE FUNCTION loyalty.points_smaller(loyalty.points, loyalty.points) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_smaller';
COMMENT ON FUNCTION loyalty.points_smaller(loyalty.points, loyalty.points) IS 'the lesser of two';
CREATE OR REPLACE FUNCTION loyalty.points_accumulate(bigint[], loyalty.points) RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_accumulate';
COMMENT ON FUNCTION loyalty.points_accumulate(bigint[], loyalty.points) IS 'state of sum and avg: count, high and low half of the sum';
CREATE OR REPLACE FUNCTION loyalty.points_combine(bigint[], bigint[]) RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_combine';
COMMENT ON FUNCTION loyalty.points_combine(bigint[], bigint[]) IS 'two states of sum and avg in one';
CREATE OR REPLACE FUNCTION loyalty.points_sum(bigint[]) RETURNS loyalty.points
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_sum';
COMMENT ON FUNCTION loyalty.points_sum(bigint[]) IS 'final function of sum; 22003 out of range';
CREATE OR REPLACE FUNCTION loyalty.points_avg(bigint[]) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'points_avg';
COMMENT ON FUNCTION loyalty.points_avg(bigint[]) IS 'final function of avg';

CREATE AGGREGATE loyalty.sum(loyalty.points) (
  SFUNC = loyalty.points_accumulate, STYPE = bigint[], INITCOND = '{0,0,0}',
  COMBINEFUNC = loyalty.points_combine, FINALFUNC = loyalty.points_sum, PARALLEL = SAFE
);
COMMENT ON AGGREGATE loyalty.sum(loyalty.points) IS 'sum of points; null without rows, 22003 when the result is out of range';
CREATE AGGREGATE loyalty.avg(loyalty.points) (
  SFUNC = loyalty.points_accumulate, STYPE = bigint[], INITCOND = '{0,0,0}',
  COMBINEFUNC = loyalty.points_combine, FINALFUNC = loyalty.points_avg, PARALLEL = SAFE
);
COMMENT ON AGGREGATE loyalty.avg(loyalty.points) IS 'average of points, numeric; null without rows';
CREATE AGGREGATE loyalty.min(loyalty.points) (
  SFUNC = loyalty.points_smaller, STYPE = loyalty.points, COMBINEFUNC = loyalty.points_smaller,
  SORTOP = OPERATOR(loyalty.<), PARALLEL = SAFE
);
COMMENT ON AGGREGATE loyalty.min(loyalty.points) IS 'least points; null without rows';
CREATE AGGREGATE loyalty.max(loyalty.points) (
  SFUNC = loyalty.points_larger, STYPE = loyalty.points, COMBINEFUNC = loyalty.points_larger,
  SORTOP = OPERATOR(loyalty.>), PARALLEL = SAFE
);
COMMENT ON AGGREGATE loyalty.max(loyalty.points) IS 'most points; null without rows';
