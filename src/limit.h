/*
 * limit.h
 *	  Caps, uses, cooldowns and budgets of rules: what they leave of an award, and what has been used of them.
 */
#ifndef LOYALTY_LIMIT_H
#define LOYALTY_LIMIT_H

#include "ledger.h"

/* How a statement goes about budgets; see limit.c. */
typedef enum PurseMode
{
	PURSE_READS,				/* foresees, takes nothing */
	PURSE_ONE,					/* one purchase, which either takes or gives back */
	PURSE_MANY
} PurseMode;

/* Of one source's rules, from limit_open() to limit_close(), in the current memory. */
extern Purse *limit_open(const Source *source, PurseMode mode, bool all_new);
extern void limit_set_mode(Purse *purse, PurseMode mode);
extern void limit_close(Purse *purse);	/* writes what is still in memory */

/*
 * Trim award->breakdown, built for `account` and a purchase that occurred_at, to what the limits of its rules leave, and
 * take it from their budgets.  true: something was lost, earn_rebuild() is due.  account->purse is set.
 */
extern bool limit_trim(Account *account, const Source *source, TimestampTz occurred_at, Award *award);

/* For the ledger: an award is granted; an award's kept amount changes to `kept` (NULL: nothing of 0). */
extern void limit_award(Account *account, int32 source_id, const bytea *breakdown, TimestampTz earned_at);
extern void limit_keep(Account *account, const Lot *lot, Numeric kept);
extern void limit_write(Account *account);

/* "its cap left 7 of 10 points"; NULL when there was no limit.  unit NULL: points */
extern const char *limit_words(const BreakdownEntry *entry, const Unit *unit);

#endif
