/*
 * tier.h
 *	  Which tier figures give, and what time does to it.  Pure: changes the account in memory, reads nothing.
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

/*
 * Add to the counters of the period that holds `counted_at` (a return adds what is negative), and let the tier
 * follow at `at`: up at once, down as program.on_return says.
 */
extern void tier_count(Account *account, TimestampTz counted_at, Numeric spend, Points earned, TimestampTz at);

/* The account goes: from `at` on it has no tier. */
extern void tier_leave(Account *account, TimestampTz at);

/* What stood on another account comes in: the better of the two is held, and what the figures of both give. */
extern void tier_join(Account *account, const Standing *other, TimestampTz at);

/* By hand: at least this tier until then; and no more. */
extern void tier_grant(Account *account, int32 tier_id, TimestampTz until, TimestampTz at);
extern void tier_revoke(Account *account, TimestampTz at);

/* As if this ladder were applied at `at`, to which the account is settled. */
extern void tier_try_ladder(Account *account, const Program *next, TimestampTz at);

#endif
