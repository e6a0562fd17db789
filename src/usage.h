/*
 * usage.h
 *	  What an account has used of the limits of rules, by period and by instant.
 */
#ifndef LOYALTY_USAGE_H
#define LOYALTY_USAGE_H

#include "ledger.h"

/* The instants at which a rule has paid an account, in order: all from `since` on, maybe some before. */
typedef struct Paid
{
	int32		rule_id;
	TimestampTz since;			/* infinity: none was asked for */
	Usage	  **usages;
	int			n;
	int			max;
	struct Paid *next;			/* of another rule */
} Paid;

typedef struct Used
{
	Units		units;
	int64		uses;
} Used;

/* A limit over so much time ends nowhere: what counts is kept by the instant. */
extern bool usage_is_rolling(bool given, const Period *period);

/* Count what a rule has given more (or less) at an instant, wherever its limits look. */
extern void usage_count(Account *account, const RuleLimit *limit, TimestampTz at, Units units, int32 uses);

/* The most that was used in a period that holds an instant; of rolling ones many do, and what comes late is in those after it. */
extern Used usage_most(Account *account, const RuleLimit *limit, const Period *period, TimestampTz at);

/* Where the rule paid; the position of the first that is not before an instant. */
extern const Paid *usage_paid(Account *account, int32 rule_id, TimestampTz since);
extern int	usage_position(const Paid *paid, TimestampTz at);

extern void usage_write(Account *account);

#endif
