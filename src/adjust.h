/*
 * adjust.h
 *	  Points by hand, for rooms that give them inside of a sale.
 */
#ifndef LOYALTY_ADJUST_H
#define LOYALTY_ADJUST_H

#include "call.h"

/*
 * What loyalty.adjust() does for points that are given, to an account that is locked and settled to call->at: once for a
 * key, with all that says who, when and why.  The caller writes the account.  Fills in `intervention`.
 */
extern void adjust_give(Call *call, Points points, const char *reason, const char *key, bool counts_for_tier,
						Intervention *intervention);

#endif
