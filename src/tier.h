/*
 * tier.h
 *	  Which tier figures give, and what time does to it.  Changes the account in memory; reads counters (counter.c) only
 *	  where tiers ask for status units or the window is rolling.
 */
#ifndef LOYALTY_TIER_H
#define LOYALTY_TIER_H

#include "ledger.h"

/* the last answer to "held until when", kept with a program */
typedef struct HeldMemo
{
	TimestampTz end;
	TimestampTz until;
	bool		set;
} HeldMemo;

/* the index of the tier that figures of 0 give; -1: none */
extern int	tier_of_nothing(const Program *program);

/* counters and tier of an account that begins at its enrolled_at */
extern void tier_begin(Account *account);

/* roll periods and fall due up to `at`, in the order of time */
extern void tier_settle(Account *account, TimestampTz at);

/* the next instant at which tier_settle() would change something; infinity for never */
extern TimestampTz tier_next_change(const Account *account);

/* What an award gives to the counters, or a return takes from them: then nothing is above 0. */
typedef struct UnitCount
{
	int32		unit;
	Points		value;
} UnitCount;

typedef struct Count
{
	Numeric		spend;			/* NULL: none */
	Points		earned;
	int			nunits;
	UnitCount  *units;
	int			purchases;		/* kept ones: 1, -1, 0 */
	const char *visit;			/* which they are; NULL: the local day */
} Count;

/*
 * Add to the counters of the period that holds `counted_at`, and let the tier follow at `at`: up at once, down as
 * program.on_return says.
 */
extern void tier_count(Account *account, TimestampTz counted_at, const Count *count, TimestampTz at);

/* Read what account.units shows: expressions are evaluated away from storage. */
extern void tier_read_units(Account *account);

/* What the account has of a status unit in the running period. */
extern Numeric tier_unit(Account *account, int32 unit);

/* The account goes: from `at` on it has no tier. */
extern void tier_leave(Account *account, TimestampTz at);

/* What stood on another account comes in: the better of the two is held, and what the figures of both give. */
extern void tier_join(Account *account, const Standing *other, TimestampTz at);

/* By hand: at least this tier until then; and no more. */
extern void tier_grant(Account *account, int32 tier_id, TimestampTz until, TimestampTz at);
extern void tier_revoke(Account *account, TimestampTz at);

/* What the account's pool gives: the first of these now, each until its instant.  None: the pool gives nothing. */
extern void tier_lend(Account *account, const Lent *lent, int n, TimestampTz at);

/*
 * The figures of a pool, which is settled to `at`, are the sums of its members' (NULL ones are passed over), who are, too;
 * its tier follows, as an account's follows a purchase or a return.
 */
extern void tier_regard(Account *pool, Account **members, int n, TimestampTz at);

/*
 * Which tiers a pool will have until when if nothing happens, from its present one down; those that figures of 0 give
 * are left out.  Returns how many.  The pool is used up.
 */
extern int	tier_foresee(Account *pool, Lent **lent);

/* As if this ladder were applied at `at`, to which the account is settled. */
extern void tier_try_ladder(Account *account, const Program *next, TimestampTz at);

#endif
