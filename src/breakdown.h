/*
 * breakdown.h
 *	  Which rule gave how much of an award: what a lot keeps so that returns never ask today's rules.
 *
 * All rules of an award, in award order, unrounded; a share is the difference of two rounded prefix sums, so
 * shares add up to the award whatever part of the amount is kept.  The lots of one award (rules with an expiry of
 * their own) each keep the whole list and mark the entries that are theirs.
 * In tables it is bytea, in SQL the type loyalty.breakdown (binary coercible from bytea is NOT given: the cast
 * checks).  Bytes: version 1, rounding | decimals << 4, then per entry varint(rule << 1 | own), varint(units).
 * Version 2, when a limit took something from the award or a use was counted before: per entry
 * varint(rule << 5 | continued << 4 | limit << 1 | own), varint(units), varint(lost).
 */
#ifndef LOYALTY_BREAKDOWN_H
#define LOYALTY_BREAKDOWN_H

#include "postgres.h"
#include "points.h"

/* The tier's earn bonus is a share of no rule: TIER_RULE + tier id. */
#define BREAKDOWN_TIER_RULE		(INT64CONST(1) << 32)

/* Rules that can pay on one purchase; LY008 beyond. */
#define BREAKDOWN_MAX_ENTRIES	10000

/* Which limit of its rule left less than the rule gave. */
typedef enum BreakdownLimit
{
	BREAKDOWN_UNLIMITED,
	BREAKDOWN_CAP,
	BREAKDOWN_USES,
	BREAKDOWN_BUDGET,
	BREAKDOWN_COOLDOWN
} BreakdownLimit;

extern const char *const breakdown_limit_names[];	/* "cap" and so on; NULL for BREAKDOWN_UNLIMITED */

typedef struct BreakdownEntry
{
	int64		rule;			/* rule id, or BREAKDOWN_TIER_RULE + tier id */
	Units		units;
	bool		own;			/* lies in this lot */
	bool		continued;		/* the purchase has used the rule in an earlier award: this is no further use */
	BreakdownLimit limit;
	Units		lost;			/* to the limit: > 0 if and only if there is one */
} BreakdownEntry;

typedef struct Breakdown
{
	Rounding	rounding;
	int			decimals;
	int			count;
	BreakdownEntry *entries;
} Breakdown;

extern bytea *breakdown_encode(const Breakdown *breakdown);		/* palloc'd */
extern Breakdown *breakdown_decode(const bytea *bytes);			/* palloc'd; LY012 when damaged */

/*
 * Points of this lot when `kept` of `amount` is kept: the sum of the own entries' shares.  kept = amount is
 * the award itself and costs no numeric arithmetic (pass NULLs); amounts are finite, amount <> 0,
 * 0 <= kept / amount <= 1.
 */
extern Points breakdown_points(const Breakdown *breakdown, Numeric kept, Numeric amount);

/* the same for one entry, own or not */
extern Points breakdown_share(const Breakdown *breakdown, int entry, Numeric kept, Numeric amount);

/* units * kept / amount, rounded up: what of a rule's unrounded points counts towards its limits */
extern Units breakdown_units_kept(Units units, Numeric kept, Numeric amount);

#endif
