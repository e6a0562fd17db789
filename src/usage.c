/*
 * usage.c
 *	  What an account has used of the limits of rules: read when first asked for, kept with the account, written with it.
 *
 * Rules:
 * - All of it follows from the ledger's kept awards: loyalty.recount_limits() finds it again, verify() compares.
 * - A period of the calendar, a membership year and the lifetime are a row each.  For rolling periods and cooldowns each
 *	 instant at which the rule has paid is a row, which ends as it begins.
 * - What was paid at p is in the rolling window of t when p <= t < period_bucket(p), as counters of tiers have it.  Months
 *	 differ, so that what came later may leave earlier: the order of leaving is not the order of coming.
 * - The instants of a rule are read once, from the first that matters on, and added up in memory.
 * - Read and written under the account's lock.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "errcodes.h"
#include "store.h"
#include "usage.h"

/* By how much n months before an instant may miss the instants from which it is n months. */
#define CALENDAR_SLACK	(8 * USECS_PER_DAY)

typedef struct Leaving
{
	TimestampTz at;
	const Usage *usage;
} Leaving;

/* ---- rows ---- */

static bool
is_stored(const Account *account)
{
	return account->stored && account->store;
}

static Usage *
make_usage(Account *account, const Usage *from)
{
	Usage	   *usage = MemoryContextAlloc(account->context, sizeof(Usage));

	*usage = *from;
	return usage;
}

/* The row of a period that has bounds. */
static Usage *
usage_between(Account *account, int32 rule_id, TimestampTz start, TimestampTz end)
{
	Usage	   *usage;

	for (int i = 0; i < account->nusages; i++)
	{
		usage = account->usages[i];
		if (usage->rule_id == rule_id && usage->period_start == start && usage->period_end == end)
			return usage;
	}
	usage = make_usage(account, &(Usage) {.rule_id = rule_id, .period_start = start, .period_end = end});
	if (account->nusages % 8 == 0)
		account->usages = account->nusages == 0 ? MemoryContextAlloc(account->context, 8 * sizeof(Usage *))
			: repalloc(account->usages, (account->nusages + 8) * sizeof(Usage *));
	account->usages[account->nusages++] = usage;
	if (is_stored(account))
		store_read_usage(account, usage);
	return usage;
}

static Usage *
usage_in(Account *account, int32 rule_id, const Period *period, TimestampTz at)
{
	TimestampTz start;
	TimestampTz end;

	period_bounds(period, at, account->enrolled_at, account->program->zone, &start, &end);
	return usage_between(account, rule_id, start, end);
}

/* ---- instants ---- */

static Paid *
paid_of(Account *account, int32 rule_id)
{
	Paid	   *paid = account->paid;

	while (paid && paid->rule_id != rule_id)
		paid = paid->next;
	if (paid == NULL)
	{
		paid = MemoryContextAllocZero(account->context, sizeof(Paid));
		paid->rule_id = rule_id;
		paid->since = DT_NOEND;
		paid->next = account->paid;
		account->paid = paid;
	}
	return paid;
}

int
usage_position(const Paid *paid, TimestampTz at)
{
	int			low = 0;
	int			high = paid->n;

	if (high > 0 && paid->usages[high - 1]->period_start < at)
		return high;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (paid->usages[middle]->period_start < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static Usage *
paid_at(const Paid *paid, TimestampTz at)
{
	int			i = usage_position(paid, at);

	return i < paid->n && paid->usages[i]->period_start == at ? paid->usages[i] : NULL;
}

static Usage *
keep_paid(Account *account, Paid *paid, const Usage *from)
{
	int			i = usage_position(paid, from->period_start);

	if (paid->n == paid->max)
	{
		paid->max = Max(8, paid->max * 2);
		paid->usages = paid->usages == NULL ? MemoryContextAlloc(account->context, mul_size(paid->max, sizeof(Usage *)))
			: repalloc_huge(paid->usages, mul_size(paid->max, sizeof(Usage *)));
	}
	memmove(&paid->usages[i + 1], &paid->usages[i], (paid->n - i) * sizeof(Usage *));
	paid->n++;
	paid->usages[i] = make_usage(account, from);
	return paid->usages[i];
}

/* What is in memory may be newer than what is stored. */
const Paid *
usage_paid(Account *account, int32 rule_id, TimestampTz since)
{
	Paid	   *paid = paid_of(account, rule_id);
	Usage	   *stored = NULL;
	int			n;

	if (since >= paid->since)
		return paid;
	n = is_stored(account) ? store_read_uses(account, rule_id, since, paid->since, &stored) : 0;
	for (int i = 0; i < n; i++)
		if (paid_at(paid, stored[i].period_start) == NULL)
			(void) keep_paid(account, paid, &stored[i]);
	if (stored)
		pfree(stored);
	paid->since = since;
	return paid;
}

static Usage *
usage_at(Account *account, int32 rule_id, TimestampTz at)
{
	Paid	   *paid = paid_of(account, rule_id);
	Usage	   *usage = paid_at(paid, at);

	if (usage)
		return usage;
	usage = keep_paid(account, paid, &(Usage) {.rule_id = rule_id, .period_start = at, .period_end = at});
	if (at < paid->since && is_stored(account))
		store_read_usage(account, usage);
	return usage;
}

/* ---- counting ---- */

static void
refuse_more(const Account *account, const RuleLimit *limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
			 errmsg("rule \"%s\" has given member " INT64_FORMAT " more than can be counted", limit->name, account->member_id),
			 errhint("Give the rule a shorter period.")));
}

static void
add_usage(const Account *account, const RuleLimit *limit, Usage *usage, Units units, int32 uses)
{
	if (pg_add_s64_overflow(usage->used, units, &usage->used) || pg_add_s32_overflow(usage->uses, uses, &usage->uses))
		refuse_more(account, limit);
	usage->changed = true;
}

bool
usage_is_rolling(bool given, const Period *period)
{
	return given && period->kind == PERIOD_ROLLING;
}

static bool
same_period(const RuleLimit *limit)
{
	return memcmp(&limit->cap_period, &limit->uses_period, sizeof(Period)) == 0;
}

void
usage_count(Account *account, const RuleLimit *limit, TimestampTz at, Units units, int32 uses)
{
	bool		rolling_cap = usage_is_rolling(limit->has_cap, &limit->cap_period);
	bool		rolling_uses = usage_is_rolling(limit->has_uses, &limit->uses_period);

	if (units == 0 && uses == 0)
		return;
	if (limit->has_cap && !rolling_cap)
		add_usage(account, limit, usage_in(account, limit->rule_id, &limit->cap_period, at), units, uses);
	if (limit->has_uses && !rolling_uses && !(limit->has_cap && same_period(limit)))
		add_usage(account, limit, usage_in(account, limit->rule_id, &limit->uses_period, at), units, uses);
	if (rolling_cap || rolling_uses || limit->has_cooldown)
		add_usage(account, limit, usage_at(account, limit->rule_id, at), units, uses);
}

/* ---- rolling windows ---- */

static void
add_used(const Account *account, const RuleLimit *limit, Used *used, const Usage *usage)
{
	if (pg_add_s64_overflow(used->units, usage->used, &used->units))
		refuse_more(account, limit);
	used->uses += usage->uses;
}

static TimestampTz
leaves_at(const Account *account, const Period *period, const Usage *usage)
{
	return period_bucket(period, usage->period_start, account->enrolled_at, account->program->zone);
}

static int
compare_leaving(const void *a, const void *b)
{
	TimestampTz left = ((const Leaving *) a)->at;
	TimestampTz right = ((const Leaving *) b)->at;

	return (left > right) - (left < right);
}

/* What of paid[from, to) has not left the window at an instant, in the order in which it leaves. */
static Leaving *
leaving_after(const Account *account, const Period *period, const Paid *paid, int from, int to, TimestampTz at)
{
	Leaving    *leaving = MemoryContextAllocHuge(CurrentMemoryContext, mul_size(to - from, sizeof(Leaving)));
	int			n = 0;

	for (int i = from; i < to; i++)
	{
		CHECK_FOR_INTERRUPTS();
		leaving[n].usage = paid->usages[i];
		leaving[n].at = leaves_at(account, period, paid->usages[i]);
		n += leaving[n].at > at;
	}
	qsort(leaving, n, sizeof(Leaving), compare_leaving);
	return leaving;
}

/*
 * A purchase comes late: it will be in the windows of those in paid[next, last), too.  `now` is what the window at its
 * own instant holds, of paid[first, next).
 */
static Used
most_later(const Account *account, const RuleLimit *limit, const Period *period, const Paid *paid, int first, int next, int last,
		   TimestampTz at, Used now)
{
	Leaving    *leaving = leaving_after(account, period, paid, first, last, at);
	const Leaving *out = leaving;
	Used		most = now;

	for (int i = next; i < last; i++)
	{
		for (; out->at <= paid->usages[i]->period_start; out++)
		{
			now.units -= out->usage->used;
			now.uses -= out->usage->uses;
		}
		add_used(account, limit, &now, paid->usages[i]);
		most.units = Max(most.units, now.units);
		most.uses = Max(most.uses, now.uses);
	}
	pfree(leaving);
	return most;
}

static Used
most_in_window(Account *account, const RuleLimit *limit, const Period *period, TimestampTz at)
{
	pg_tz	   *zone = account->program->zone;
	TimestampTz since = calendar_add(at, -period->months, -period->days, zone);
	const Paid *paid = usage_paid(account, limit->rule_id, since - CALENDAR_SLACK);
	int			next = usage_position(paid, at + 1);
	int			first = next;
	Used		used = {0};

	while (first > 0 && paid->usages[first - 1]->period_start >= since - CALENDAR_SLACK)
	{
		const Usage *usage = paid->usages[--first];

		CHECK_FOR_INTERRUPTS();
		if (usage->period_start >= since + CALENDAR_SLACK || leaves_at(account, period, usage) > at)
			add_used(account, limit, &used, usage);
	}
	if (next == paid->n)
		return used;
	return most_later(account, limit, period, paid, first, next,
					  usage_position(paid, calendar_add(at, period->months, period->days, zone)), at, used);
}

Used
usage_most(Account *account, const RuleLimit *limit, const Period *period, TimestampTz at)
{
	const Usage *usage;

	if (period->kind == PERIOD_ROLLING)
		return most_in_window(account, limit, period, at);
	usage = usage_in(account, limit->rule_id, period, at);
	return (Used) {.units = usage->used, .uses = usage->uses};
}

/* ---- writing ---- */

static void
write_rows(Account *account, Usage **usages, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!usages[i]->changed)
			continue;
		store_change_usage(account, usages[i]);
		usages[i]->changed = false;
	}
}

void
usage_write(Account *account)
{
	write_rows(account, account->usages, account->nusages);
	for (Paid *paid = account->paid; paid; paid = paid->next)
		write_rows(account, paid->usages, paid->n);
}
