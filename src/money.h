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
	return fixed_add(a, b);
}

static inline Numeric
money_subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline int
money_compare(Numeric a, Numeric b)
{
	return fixed_compare(a, b);
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
