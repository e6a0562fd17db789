/*
 * follow.h
 *	  Rooms that follow sales: challenges, referrals, charity, pools.
 */
#ifndef LOYALTY_FOLLOW_H
#define LOYALTY_FOLLOW_H

#include "ledger.h"

/* As the columns of type loyalty.sale. */
struct Sale
{
	int32		source_id;
	char	   *source_key;
	int32		unit;			/* 0: points */
	TimestampTz occurred_at;
	TimestampTz at;
	Numeric		amount;
	Numeric		kept;			/* NULL: nothing of a purchase of amount 0 */
	Numeric		spend;			/* changes */
	Points		points;
	bool		first;
};

/* Note for the account that an award was made or that what is kept of it changed.  Only where program->follows. */
extern void follow_note(Account *account, const Lot *first, Numeric spend, Points points);

/* How many of these accounts (NULL ones are passed over) have sales that challenges have not counted. */
extern int	follow_uncounted(Account **accounts, int n);

/* Is there anything to tell of these accounts? */
extern bool follow_asks(const Program *program, Account **accounts, int n);

/*
 * Tell the rooms what was noted for these accounts (NULL ones are passed over), all of which is written and flushed.  They
 * may change any account: none of these is good any more.  skip: what a room fails at is undone and noted, and the sale goes on.
 */
extern void follow_tell(const Program *program, Account **accounts, int n, bool skip);

/*
 * The instant of a call: `now`, but for what rooms do while they are told.  That happens at the instant of the sale: for
 * its own accounts the one to which it has brought them.
 */
extern TimestampTz follow_instant(const Account *account, TimestampTz now);

/*
 * Whose accounts the rooms will change, beyond `members` themselves.  Only where program->involves.  Returns how many, in
 * no order, maybe some of `members` among them.
 */
extern int	follow_involved(const Program *program, const int64 *members, int n, int64 **involved);

#endif
