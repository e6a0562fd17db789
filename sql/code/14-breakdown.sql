-- loyalty.breakdown: which rule gave how much of an award; bytea in tables, this type for people.

CREATE TYPE loyalty.breakdown;

CREATE OR REPLACE FUNCTION loyalty.breakdown_in(cstring) RETURNS loyalty.breakdown
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'breakdown_in';
COMMENT ON FUNCTION loyalty.breakdown_in(cstring) IS 'text to breakdown: LY017 names the position of the error and the valid forms';
CREATE OR REPLACE FUNCTION loyalty.breakdown_out(loyalty.breakdown) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'breakdown_out';
COMMENT ON FUNCTION loyalty.breakdown_out(loyalty.breakdown) IS 'canonical text of breakdown';
CREATE OR REPLACE FUNCTION loyalty.breakdown_recv(internal) RETURNS loyalty.breakdown
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'breakdown_recv';
COMMENT ON FUNCTION loyalty.breakdown_recv(internal) IS 'binary form to breakdown: LY012 when damaged';
CREATE OR REPLACE FUNCTION loyalty.breakdown_send(loyalty.breakdown) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'breakdown_send';
COMMENT ON FUNCTION loyalty.breakdown_send(loyalty.breakdown) IS 'binary form of breakdown';

CREATE TYPE loyalty.breakdown (
  INPUT = loyalty.breakdown_in, OUTPUT = loyalty.breakdown_out, RECEIVE = loyalty.breakdown_recv, SEND = loyalty.breakdown_send,
  LIKE = pg_catalog.bytea
);
COMMENT ON TYPE loyalty.breakdown IS 'unrounded points of each rule of an award, its rounding and decimals: {12: 100, 13: 50.5 elsewhere, 14: 7 of 10 by cap, tier 3: 4.25; down, 0}; elsewhere = in another lot of the award; more = no further use of the rule; LY012 for damaged bytes';

CREATE OR REPLACE FUNCTION loyalty.breakdown_from_bytea(bytea) RETURNS loyalty.breakdown
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bytea_breakdown';
COMMENT ON FUNCTION loyalty.breakdown_from_bytea(bytea) IS 'the breakdown of a lot; LY012 when damaged';
CREATE CAST (bytea AS loyalty.breakdown) WITH FUNCTION loyalty.breakdown_from_bytea(bytea) AS ASSIGNMENT;
CREATE CAST (loyalty.breakdown AS bytea) WITHOUT FUNCTION AS ASSIGNMENT;

CREATE OR REPLACE FUNCTION loyalty.breakdown_points(breakdown loyalty.breakdown, kept numeric DEFAULT NULL, amount numeric DEFAULT NULL)
RETURNS loyalty.points
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'breakdown_points_of';
COMMENT ON FUNCTION loyalty.breakdown_points(loyalty.breakdown, numeric, numeric) IS
  'points of the lot when kept of amount is kept, without both the award itself; LY017 unless 0 <= kept / amount <= 1';
CREATE OR REPLACE FUNCTION loyalty.breakdown_shares(breakdown loyalty.breakdown, kept numeric DEFAULT NULL, amount numeric DEFAULT NULL)
RETURNS TABLE (rule bigint, own boolean, units numeric, points loyalty.points)
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'breakdown_shares_of';
COMMENT ON FUNCTION loyalty.breakdown_shares(loyalty.breakdown, numeric, numeric) IS
  'one row a rule in the order of the award: its id (a tier''s + 4294967296), whether it lies in this lot, its unrounded points, its share when kept of amount is kept; shares add up to the award; LY017 as breakdown_points';
CREATE OR REPLACE FUNCTION loyalty.breakdown_limits(breakdown loyalty.breakdown)
RETURNS TABLE (rule bigint, wanted numeric, limited_by text, continued boolean)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'breakdown_limits_of';
COMMENT ON FUNCTION loyalty.breakdown_limits(loyalty.breakdown) IS
  'one row a rule in the order of the award: its unrounded points before limits, which limit left less (cap, uses, budget, cooldown; NULL: none), whether an earlier award of the purchase was the use';
