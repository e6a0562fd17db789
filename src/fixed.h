/*
 * fixed.h
 *	  Exact passage between numeric, text and scaled 64-bit integers.
 *
 * Never goes through floating point and never wraps: what does not fit is said.
 */
#ifndef LOYALTY_FIXED_H
#define LOYALTY_FIXED_H

#include "postgres.h"
#include "utils/numeric.h"

typedef enum FixedStatus
{
	FIXED_OK,					/* exact */
	FIXED_INEXACT,				/* digits beyond the scale were cut off, towards zero */
	FIXED_NOT_FINITE,			/* NaN or infinity */
	FIXED_OVERFLOW				/* beyond int64 */
} FixedStatus;

/* *result = trunc(value * 10^scale), 0 <= scale <= 8.  *result is set for OK and INEXACT only. */
extern FixedStatus fixed_from_numeric(Numeric value, int scale, int64 *result);

/* -1, 0, 1; NaN is above all numbers, as in SQL */
extern int	fixed_sign(Numeric value);
extern int	fixed_compare(Numeric a, Numeric b);

/* the sum, of the larger scale, as numeric's own; palloc'd */
extern Numeric fixed_add(Numeric a, Numeric b);

/* value / 10^scale, without trailing zeros; palloc'd */
extern Numeric fixed_to_numeric(int64 value, int scale);

/* the same for 128 bits */
extern Numeric fixed_to_numeric_wide(int128 value, int scale);

/*
 * "-3.25": [sign] digits [. digits], nothing around.  NOT_FINITE stands for text that is no such number.
 * INEXACT: digits other than 0 beyond the scale.
 */
extern FixedStatus fixed_from_text(const char *at, int length, int scale, int64 *result);

/* "-3.25", without trailing zeros; palloc'd */
extern char *fixed_to_text(int64 value, int scale);

#endif
