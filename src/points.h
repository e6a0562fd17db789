/*
 * points.h
 *	  Points: a signed 64-bit count of 1/10,000 point, exact.
 *
 * Arithmetic raises 22003 on overflow and never wraps.  In tables of member data points are plain bigint of
 * the same unit; the SQL type is for configuration columns, functions and the inside of views.
 */
#ifndef LOYALTY_POINTS_H
#define LOYALTY_POINTS_H

#include "postgres.h"
#include "fmgr.h"
#include "utils/numeric.h"

typedef int64 Points;

#define POINTS_SCALE	4		/* decimals */
#define POINTS_ONE		INT64CONST(10000)

#define DatumGetPoints(d)	((Points) DatumGetInt64(d))
#define PointsGetDatum(p)	Int64GetDatum(p)
#define PG_GETARG_POINTS(n)	DatumGetPoints(PG_GETARG_DATUM(n))
#define PG_RETURN_POINTS(p)	return PointsGetDatum(p)

/* How an award is rounded; the values are stored in breakdowns and never renumbered. */
typedef enum Rounding
{
	ROUNDING_DOWN = 0,
	ROUNDING_HALF_UP = 1,
	ROUNDING_HALF_EVEN = 2,
	ROUNDING_UP = 3
} Rounding;

/* Unrounded results of rules: a count of 1/10^8 point, 0 <= units < 10^18. */
typedef int64 Units;

#define UNITS_SCALE		8
#define UNITS_LIMIT		INT64CONST(1000000000000000000)	/* 10^10 points */

extern Points points_add(Points a, Points b);
extern Points points_subtract(Points a, Points b);
extern Numeric points_to_numeric(Points points);	/* canonical: no trailing zeros */
extern Points points_from_numeric(Numeric value);	/* error when not exact to 1/10,000 */

/* "120.5"; palloc'd */
extern char *points_to_text(Points points);

/* 'down' | 'half_up' | 'half_even' | 'up'; error LY017 otherwise */
extern Rounding rounding_from_text(const char *text);

/*
 * A non-negative sum of units rounded to `decimals` (0-4) decimals of a point.  The sum may exceed a single
 * Units, hence 128 bits; an award beyond int64 raises 22003.
 */
extern Points points_round(int128 units, Rounding rounding, int decimals);

#endif
