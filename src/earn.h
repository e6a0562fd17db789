/*
 * earn.h
 *	  What one purchase earns.  Pure: expressions in, award out.
 */
#ifndef LOYALTY_EARN_H
#define LOYALTY_EARN_H

#include "ledger.h"

/* One purchase as the mapping reads it. */
typedef struct Purchase
{
	char	   *key;
	Numeric		amount;
	TimestampTz occurred_at;
	Points		spent;			/* paid with points */
	char	   *visit;			/* what the source says; NULL: none, or it says nothing */
	bool		waits;			/* for the event that releases its points */
	TimestampTz released_at;	/* when that came; -infinity when nothing is known */
	TimestampTz deadline;		/* of one that waits: then its points die */
} Purchase;

/* Why a rule paid or not, for award(), why_not() and quote(). */
typedef enum EarnVerdict
{
	EARN_PAID,
	EARN_OUTSIDE_WINDOW,
	EARN_CONDITION_FALSE,
	EARN_OUTSIDE_SEGMENT,
	EARN_NO_OFFER,
	EARN_NOTHING,				/* condition true, points 0 or NULL */
	EARN_EXCLUDED_BY_GROUP
} EarnVerdict;

/*
 * Evaluate the source's rules.  context->ecxt_scantuple holds the source row; the inner and outer slots (virtual, of
 * expression_earn_desc() and expression_account_desc()) are filled here.  `at` is the account's instant.
 * Allocates in CurrentMemoryContext.  Where rules ask for account.units, tier_read_units() was called.  stored: NULL, or what the purchase has earned before; then the award is what
 * each rule gives beyond that.  verdicts: NULL, or one per source->rules.
 */
extern void earn_evaluate(const Source *source, Account *account, ExprContext *context,
						  const Purchase *purchase, TimestampTz at, const Breakdown *stored, Award *award,
						  EarnVerdict *verdicts);

/* Fill the virtual row of account.* and member.*, as far as it is asked for. */
extern void earn_fill_account(TupleTableSlot *slot, Account *account, uint32 columns);

/* When a rule's points (NULL: those of the program's own rules) become available and die, earned at a tier (NULL: none). */
extern void earn_lot_dates(const Source *source, const Rule *rule, const Tier *tier, const Purchase *purchase, TimestampTz at,
						   AwardLot *lot);

/* The same award once more, after award->breakdown has lost something to limits. */
extern void earn_rebuild(const Source *source, const Purchase *purchase, TimestampTz at, Award *award);

#endif
