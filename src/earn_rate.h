/*
 * earn_rate.h
 *	  How much money gives how many points: "1 per 10", "2 per full 10", "5%".
 */
#ifndef LOYALTY_EARN_RATE_H
#define LOYALTY_EARN_RATE_H

#include "postgres.h"
#include "utils/numeric.h"

typedef enum EarnRateKind
{
	EARN_RATE_PER = 0,			/* 1 per 10: 15 gives 1.5 */
	EARN_RATE_PER_FULL = 1,		/* 2 per full 10: 15 gives 2 */
	EARN_RATE_PERCENT = 2		/* 5%: 15 gives 0.75 */
} EarnRateKind;

/* Fixed length, passed by reference.  Both figures are counts of 1/10,000. */
typedef struct EarnRate
{
	int64		points;
	int64		per;			/* > 0; percent: 100 */
	int32		kind;
	int32		padding;		/* 0: the bytes are compared and hashed */
} EarnRate;

/* exact for every finite amount; at least 8 decimals where the quotient does not end */
extern Numeric earn_rate_apply(Numeric amount, const EarnRate *rate);

#endif
