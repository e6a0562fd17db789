/*
 * counter.h
 *	  What accounts count beside the figures that stand in their own row: status units by period, visits, and what leaves
 *	  a rolling window when.
 */
#ifndef LOYALTY_COUNTER_H
#define LOYALTY_COUNTER_H

#include "ledger.h"

/* The account's value of a metric at a bucket; 0 where nothing was counted. */
extern Numeric counter_value(Account *account, int32 metric, TimestampTz bucket);

extern void counter_add(Account *account, int32 metric, TimestampTz bucket, Numeric value);

/*
 * What leaves a rolling window: `take` is called once for each counter whose bucket is `from` or later and at most `until`.
 * Returns the next bucket; infinity for none.
 */
typedef void (*CounterTaker) (void *arg, const Counter *counter);
extern TimestampTz counter_leave(Account *account, TimestampTz from, TimestampTz until, CounterTaker take, void *arg);

/* In memory alone: one more counter, maybe of a metric and bucket that have one.  For what will leave a rolling window. */
extern void counter_append(Account *account, int32 metric, TimestampTz bucket, Numeric value);

/* All counters that are in memory; returns how many. */
extern int	counter_list(const Account *account, Counter ***counters);

/*
 * One kept purchase more (change 1) or fewer (-1) is this visit; returns by how much the account's visits change.  In a
 * rolling window visits whose bucket is not after `at` have left.
 */
extern int	counter_visit(Account *account, const char *visit, TimestampTz bucket, int change, TimestampTz at);

/* Which visit the source said that a purchase of the account is (NULL: none); false when nothing was said: the day is. */
extern bool counter_visit_of(Account *account, int32 source_id, const char *source_key, const char **visit);

/* Say it, unless it was said before: then *visit becomes that.  Neither text is copied. */
extern void counter_name_visit(Account *account, int32 source_id, const char *source_key, const char **visit);

extern void counter_write(Account *account);

#endif
