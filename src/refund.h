/*
 * refund.h
 *	  Rows that are returns, and what is kept of a purchase that has some.
 */
#ifndef LOYALTY_REFUND_H
#define LOYALTY_REFUND_H

#include "store.h"

/* A pass over rows, as far as returns need it. */
typedef struct Returns
{
	Store	   *store;
	const Source *source;
	TimestampTz statement_at;
	MemoryContext context;		/* of one batch */

	/* the account of a member: locked, and all that was noted for it is written; NULL: there is none */
	Account    *(*account) (struct Returns *returns, int64 member);
} Returns;

/* A row that is, or was, a return. */
typedef struct ReturnRow
{
	int64		member;			/* whom it names */
	char	   *key;
	char	   *of_key;			/* NULL: it names no purchase */
	Numeric		amount;			/* NULL: it has gone, or is none any more */
	bool		gone;			/* from this member; under another one it may have been worked already */
	TimestampTz occurred_at;
} ReturnRow;

/* Bring what the row takes in line with what it says; returns how many awards changed. */
extern int	refund_post(Returns *returns, const ReturnRow *row);

/*
 * The row of a purchase says an amount (NULL: it is gone, or does not count): what is kept of it after its returns, NULL:
 * nothing.  `lots` are all of the account's under this key.  false: it has no returns, and *kept is left alone.
 */
extern bool refund_kept(Returns *returns, Account *account, Lot **lots, int nlots, char *key, Numeric says,
						Numeric *kept);

/* Can there be returns of it?  Asked of its lots alone: if all is kept, there are none. */
extern bool refund_possible(Lot *const *lots, int nlots);

/* Keep as much of each award of a purchase, lowest part first; returns how many changed.  `lots` by part. */
extern int	refund_keep(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at);

/* Is that what is kept of them already? */
extern bool refund_in_step(Lot *const *lots, int nlots, Numeric kept);

/* What a row that counts and says `says` keeps after these returns of it; NULL: nothing. */
extern Numeric refund_rest(Numeric says, const Refunds *refunds);

/* Sort a purchase's lots by part. */
extern void refund_sort_lots(Lot **lots, int nlots);

/* Whose is the purchase with this key, of which the source's rows are returns?  false: not known. */
extern bool refund_owner(const Source *source, char *of_key, int64 *member);

#endif
