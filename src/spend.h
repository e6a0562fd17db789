/*
 * spend.h
 *	  Points that a purchase is paid with.
 *
 * For a source with points_spent alone.  Of one row: spend_begin() under the account's lock, spend_check() where errors
 * of rows are caught, spend_finish(); then what the row earns.
 */
#ifndef LOYALTY_SPEND_H
#define LOYALTY_SPEND_H

#include "earn.h"
#include "ledger.h"

typedef struct Spending
{
	const Source *source;
	Account    *account;
	const Purchase *purchase;
	Points		known;			/* the most that the row had said before */
	Points		stated;			/* and with what it says now */
	Points		taken;			/* what the ledger has taken for it */
	Points		target;			/* what it is to have taken */
	TimestampTz at;
} Spending;

/* What the row in the context says; NULL is 0; LY010 for what cannot be points of the program. */
extern Points spend_read(const Source *source, ExprContext *context, const char *key);

/* LY010 unless the points that a row says go in steps, reach the minimum and stay below the share of its amount. */
extern void spend_check_rules(const Source *source, const Purchase *purchase);

/*
 * What is to be done for a row that counts or not, whose awards so far are `lots`?  false: nothing; else the account is
 * settled to spending->at.
 */
extern bool spend_begin(Spending *spending, const Source *source, Account *account, const Purchase *purchase, bool counts,
						Lot **lots, int nlots, TimestampTz statement_at);

/* LY001, LY009, LY010 when points cannot be taken.  Changes nothing. */
extern void spend_check(const Spending *spending);
extern void spend_finish(const Spending *spending);

/* LY001: somebody without an account pays with points. */
extern void spend_refuse_stranger(const Source *source, const Purchase *purchase);

/* Of the amount, what earns: all of it, or what was not paid with points. */
extern Numeric spend_earning_amount(const Source *source, const Purchase *purchase);

/* What keeps so many points from being taken now, as a sentence; NULL: nothing. */
extern const char *spend_obstacle(const Account *account, Points points);

/* What keeps a member from paying; NULL: nothing, and in memory it is paid. */
extern const char *spend_quote(Account *account, const Purchase *purchase);

#endif
