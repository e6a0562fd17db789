/*
 * money.c
 *	  Amounts are numeric.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "money.h"

Numeric
money_zero(void)
{
	static Numeric zero = NULL;

	if (zero == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		zero = int64_to_numeric(0);
		MemoryContextSwitchTo(old);
	}
	return zero;
}
