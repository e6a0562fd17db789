/*
 * counter.c
 *	  Counters of status units, visits and rolling windows: read when first asked for, kept with the account, written with it.
 *
 * Rules:
 * - All of it follows from the ledger's kept awards (and what was granted by hand): loyalty.recount_counters() finds it
 *	 again, verify() compares.
 * - A bucket is the first instant of the period in which a purchase counts (-infinity for a lifetime).  Under a rolling
 *	 period it is the instant at which the purchase leaves the window, and -infinity holds what is in the window now.
 * - Read and written under the account's lock.  A counter that was read stays the account's: what is read again later is
 *	 passed over where there is one.
 * - Programs without units, visits and rolling periods never come here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "counter.h"
#include "money.h"
#include "store.h"

#define COUNTERS_A_READ	64

/* Of one account. */
typedef struct Counting
{
	Counter   **counters;
	int			n;
	int			max;
	TimestampTz *read;			/* buckets of which all is among them */
	int			nread;
	int			max_read;
	Visit	  **visits;			/* all rows of those visits that were asked for */
	int			nvisits;
	int			max_visits;
	VisitOf    *named;			/* which visit purchases were, as far as it was asked or said */
	int			nnamed;
	int			max_named;
} Counting;

static Counting *
counting_of(Account *account)
{
	if (account->counting == NULL)
		account->counting = MemoryContextAllocZero(account->context, sizeof(Counting));
	return account->counting;
}

/* Room for one more in an array of the account's memory. */
static void *
make_room(Account *account, void *array, int n, int *max, Size size)
{
	if (n < *max)
		return array;
	*max = Max(8, *max * 2);
	return array == NULL ? MemoryContextAlloc(account->context, mul_size(*max, size)) : repalloc(array, mul_size(*max, size));
}

static Counter *
find(const Counting *counting, int32 metric, TimestampTz bucket)
{
	for (int i = counting->n - 1; i >= 0; i--)
		if (counting->counters[i]->bucket == bucket && counting->counters[i]->metric == metric)
			return counting->counters[i];
	return NULL;
}

static void
keep(Account *account, Counter *counter)
{
	Counting   *counting = counting_of(account);

	counting->counters = make_room(account, counting->counters, counting->n, &counting->max, sizeof(Counter *));
	counting->counters[counting->n++] = counter;
}

static bool
is_stored(const Account *account)
{
	return account->stored && account->store;
}

/* All counters of a bucket. */
static void
read_bucket(Account *account, TimestampTz bucket)
{
	Counting   *counting = counting_of(account);
	Counter    *page[COUNTERS_A_READ];
	int32		metric = PG_INT32_MIN;
	int			n = COUNTERS_A_READ;

	for (int i = counting->nread - 1; i >= 0; i--)
		if (counting->read[i] == bucket)
			return;
	while (is_stored(account) && n == COUNTERS_A_READ)
	{
		n = store_read_counters(account, bucket, metric, bucket, COUNTERS_A_READ, page);
		for (int i = 0; i < n; i++)
		{
			metric = page[i]->metric;
			if (find(counting, metric, bucket) == NULL)
				keep(account, page[i]);
		}
	}
	counting->read = make_room(account, counting->read, counting->nread, &counting->max_read, sizeof(TimestampTz));
	counting->read[counting->nread++] = bucket;
}

Numeric
counter_value(Account *account, int32 metric, TimestampTz bucket)
{
	const Counter *counter;

	read_bucket(account, bucket);
	counter = find(account->counting, metric, bucket);
	return counter ? counter->value : money_zero();
}

void
counter_add(Account *account, int32 metric, TimestampTz bucket, Numeric value)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Counter    *counter;

	read_bucket(account, bucket);
	counter = find(account->counting, metric, bucket);
	if (counter == NULL)
	{
		counter = palloc0(sizeof(Counter));
		counter->metric = metric;
		counter->bucket = bucket;
		counter->value = money_zero();
		keep(account, counter);
	}
	counter->value = money_add(counter->value, value);
	counter->changed = true;
	account->changed = true;
	MemoryContextSwitchTo(old);
}

TimestampTz
counter_leave(Account *account, TimestampTz from, TimestampTz until, CounterTaker take, void *arg)
{
	Counting   *counting = counting_of(account);
	Counter    *page[COUNTERS_A_READ];
	TimestampTz bucket = from;
	TimestampTz next = DT_NOEND;
	int32		metric = PG_INT32_MIN;
	int			n = is_stored(account) ? COUNTERS_A_READ : 0;
	int			known = counting->n;

	while (n == COUNTERS_A_READ && next == DT_NOEND)
	{
		CHECK_FOR_INTERRUPTS();
		n = store_read_counters(account, bucket, metric, DT_NOEND, COUNTERS_A_READ, page);
		for (int i = 0; i < n && next == DT_NOEND; i++)
		{
			bucket = page[i]->bucket;
			metric = page[i]->metric;
			if (find(counting, metric, bucket))
				continue;
			if (bucket > until)
				next = bucket;
			else
				take(arg, page[i]);
		}
	}
	for (int i = 0; i < known; i++)
	{
		const Counter *counter = counting->counters[i];

		if (counter->bucket > until)
			next = Min(next, counter->bucket);
		else if (counter->bucket >= from)
			take(arg, counter);
	}
	return next;
}

void
counter_append(Account *account, int32 metric, TimestampTz bucket, Numeric value)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Counter    *counter = palloc0(sizeof(Counter));

	Assert(!is_stored(account));
	counter->metric = metric;
	counter->bucket = bucket;
	counter->value = money_copy(value);
	keep(account, counter);
	MemoryContextSwitchTo(old);
}

int
counter_list(const Account *account, Counter ***counters)
{
	*counters = account->counting ? account->counting->counters : NULL;
	return account->counting ? account->counting->n : 0;
}

/* ---- visits ---- */

static void
keep_visit(Account *account, Visit *visit)
{
	Counting   *counting = counting_of(account);

	counting->visits = make_room(account, counting->visits, counting->nvisits, &counting->max_visits, sizeof(Visit *));
	counting->visits[counting->nvisits++] = visit;
}

/* The row of a visit at a bucket, made where there is none; all rows of the visit are the account's then. */
static Visit *
visit_at(Account *account, const char *name, TimestampTz bucket)
{
	Counting   *counting = counting_of(account);
	bool		known = false;
	Visit	   *visit;
	Visit	  **stored;
	int			n;

	for (int i = counting->nvisits - 1; i >= 0; i--)
	{
		if (strcmp(counting->visits[i]->visit, name) != 0)
			continue;
		if (counting->visits[i]->bucket == bucket)
			return counting->visits[i];
		known = true;
	}
	n = known || !is_stored(account) ? 0 : store_read_visits(account, name, &stored);
	for (int i = 0; i < n; i++)
		keep_visit(account, stored[i]);
	for (int i = 0; i < n; i++)
		if (stored[i]->bucket == bucket)
			return stored[i];
	visit = MemoryContextAllocZero(account->context, sizeof(Visit));
	visit->visit = MemoryContextStrdup(account->context, name);
	visit->bucket = bucket;
	keep_visit(account, visit);
	return visit;
}

/* When the visit leaves a rolling window: with the last of its purchases; -infinity: it is not in it. */
static TimestampTz
leaves_at(const Counting *counting, const char *name, TimestampTz at)
{
	TimestampTz last = DT_NOBEGIN;

	for (int i = 0; i < counting->nvisits; i++)
	{
		const Visit *visit = counting->visits[i];

		if (visit->purchases > 0 && visit->bucket > at && strcmp(visit->visit, name) == 0)
			last = Max(last, visit->bucket);
	}
	return last;
}

int
counter_visit(Account *account, const char *name, TimestampTz bucket, int change, TimestampTz at)
{
	Visit	   *visit = visit_at(account, name, bucket);
	bool		rolling = account->program->period.kind == PERIOD_ROLLING;
	bool		before = visit->purchases > 0;
	TimestampTz left = rolling ? leaves_at(account->counting, name, at) : 0;
	TimestampTz leaves;

	visit->purchases += change;
	visit->changed = true;
	account->changed = true;
	if (!rolling)
		return (visit->purchases > 0) - before;
	leaves = leaves_at(account->counting, name, at);
	if (leaves != left && left != DT_NOBEGIN)
		counter_add(account, METRIC_VISITS, left, int64_to_numeric(-1));
	if (leaves != left && leaves != DT_NOBEGIN)
		counter_add(account, METRIC_VISITS, leaves, int64_to_numeric(1));
	return (leaves != DT_NOBEGIN) - (left != DT_NOBEGIN);
}

bool
counter_visit_of(Account *account, int32 source_id, const char *source_key, const char **visit)
{
	Counting   *counting = counting_of(account);
	VisitOf		of = {.source_id = source_id, .source_key = source_key, .stored = true};

	for (int i = counting->nnamed - 1; i >= 0; i--)
		if (counting->named[i].source_id == source_id && strcmp(counting->named[i].source_key, source_key) == 0)
		{
			*visit = counting->named[i].visit;
			return true;
		}
	if (!is_stored(account) || !store_find_visit_of(account, source_id, source_key, &of))
		return false;
	*visit = of.visit;
	return true;
}

void
counter_name_visit(Account *account, int32 source_id, const char *source_key, const char **visit)
{
	Counting   *counting = counting_of(account);

	if (counter_visit_of(account, source_id, source_key, visit))
		return;
	counting->named = make_room(account, counting->named, counting->nnamed, &counting->max_named, sizeof(VisitOf));
	counting->named[counting->nnamed++] = (VisitOf) {.source_id = source_id, .source_key = source_key, .visit = *visit};
}

/* ---- writing ---- */

void
counter_write(Account *account)
{
	Counting   *counting = account->counting;

	for (int i = 0; i < counting->n; i++)
		if (counting->counters[i]->changed)
		{
			store_change_counter(account, counting->counters[i]);
			counting->counters[i]->changed = false;
		}
	for (int i = 0; i < counting->nvisits; i++)
		if (counting->visits[i]->changed)
		{
			store_change_visit(account, counting->visits[i]);
			counting->visits[i]->changed = false;
		}
	for (int i = 0; i < counting->nnamed; i++)
		if (!counting->named[i].stored)
		{
			store_insert_visit_of(account, &counting->named[i]);
			counting->named[i].stored = true;
		}
}
