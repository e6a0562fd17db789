/*
 * money.h
 *	  Amounts are numeric: exact, of any scale.  Short names for the few operations that we need.
 */
#ifndef LOYALTY_MONEY_H
#define LOYALTY_MONEY_H

#include "postgres.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "compat.h"
#include "fixed.h"

static inline Numeric
money_add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
money_subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline int
money_compare(Numeric a, Numeric b)
{
	if (VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0)
		return 0;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

extern Numeric money_zero(void);	/* the one zero, never freed */

/* -1, 0, 1 */
static inline int
money_sign(Numeric a)
{
	return fixed_sign(a);
}

static inline Numeric
money_abs(Numeric a)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_abs, NumericGetDatum(a)));
}

static inline Numeric
money_copy(Numeric a)
{
	return DatumGetNumericCopy(NumericGetDatum(a));
}

#endif
