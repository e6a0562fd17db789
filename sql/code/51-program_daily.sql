-- What the view program_daily adds up: entries by program, quarter of an hour and kind, see src/program_daily.c.

CREATE OR REPLACE FUNCTION loyalty.quarter_sums_add(bytea, integer, timestamptz, text, bigint) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'quarter_sums_add';
COMMENT ON FUNCTION loyalty.quarter_sums_add(bytea, integer, timestamptz, text, bigint) IS 'state of sum_by_quarter';
-- Not for everybody: an aggregate of a stranger's could begin with crafted bytes, which these believe.
REVOKE ALL ON FUNCTION loyalty.quarter_sums_add(bytea, integer, timestamptz, text, bigint) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.quarter_sums_combine(bytea, bytea) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'quarter_sums_combine';
COMMENT ON FUNCTION loyalty.quarter_sums_combine(bytea, bytea) IS 'two states of sum_by_quarter in one';
REVOKE ALL ON FUNCTION loyalty.quarter_sums_combine(bytea, bytea) FROM PUBLIC;

CREATE AGGREGATE loyalty.sum_by_quarter(integer, timestamptz, text, bigint) (
  SFUNC = loyalty.quarter_sums_add, STYPE = bytea, INITCOND = '', SSPACE = 4000000,
  COMBINEFUNC = loyalty.quarter_sums_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE loyalty.sum_by_quarter(integer, timestamptz, text, bigint) IS 'program_id, instant, kind and points of entries, added up by program, kind and quarter of an hour; quarter_sums() has its rows';

CREATE OR REPLACE FUNCTION loyalty.quarter_sums(sums bytea) RETURNS TABLE (program_id integer, at timestamptz, kind text, points numeric)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 10000 AS 'MODULE_PATHNAME', 'quarter_sums';
COMMENT ON FUNCTION loyalty.quarter_sums(bytea) IS 'rows of sum_by_quarter: program, beginning of the quarter of an hour (before 1973 the instant itself), kind, sum';
REVOKE ALL ON FUNCTION loyalty.quarter_sums(bytea) FROM PUBLIC;
