/*
 * tier.c
 *	  Counters of the running and the last period, promotion, validity, downgrade.
 *
 * Rules:
 * - Periods are half-open; a purchase counts in the period of its own date.  Two periods are kept: the running
 *	 one and the last full one, the only ones that a tier is ever reviewed by.
 * - A tier reached by the figures of a period is held until that period's end + tier_validity + grace; where
 *	 a period has no end (lifetime) until the promotion + tier_validity + grace.  Reaching the threshold again in a
 *	 later period prolongs it.
 * - At that instant: requalify = the best that the running and the last full period give, never above the
 *	 tier held; one_level = at most one rung down.  A tier that was requalified so lasts at least to the end of
 *	 the running period, so that a validity of 0 does not fall on every instant.
 * - A return takes a tier that the figures of its period gave: it is what the figures that are left give.  Figures
 *	 that are left prolong it no longer than they would have done alone.
 * - Nothing falls below what figures of 0 give.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "money.h"
#include "tier.h"

static void roll_period(Account *account, TimestampTz at);
static void review_tier(Account *account);
static void set_tier(Account *account, int tier, TimestampTz until, TimestampTz at, const char *reason);

static int
tier_index(const Program *program, int32 id)
{
	for (int i = 0; i < program->ntiers; i++)
		if (program->tiers[i].id == id)
			return i;
	return -1;
}

typedef struct Figures
{
	Numeric		spend;
	Points		earned;
	Numeric		earned_numeric; /* made when first asked for */
} Figures;

static bool
reaches(Figures *figures, TierMetric metric, Numeric threshold)
{
	if (metric == METRIC_SPEND)
		return money_compare(figures->spend, threshold) >= 0;
	if (figures->earned_numeric == NULL)
		figures->earned_numeric = points_to_numeric(figures->earned);
	return money_compare(figures->earned_numeric, threshold) >= 0;
}

/* Of the requirements, which stand by option: is there one option of which all are reached? */
static bool
reaches_option(Figures *figures, const Tier *tier)
{
	for (int first = 0, end; first < tier->nrequirements; first = end)
	{
		bool		all = true;

		for (end = first; end < tier->nrequirements && tier->requirements[end].option == tier->requirements[first].option; end++)
			all = all && reaches(figures, tier->requirements[end].metric, tier->requirements[end].threshold);
		if (all)
			return true;
	}
	return false;
}

/* The highest tier that the figures reach, by its threshold or by an option of its requirements; -1 for none. */
static int
tier_by_figures(const Program *program, Numeric spend, Points earned)
{
	Figures		figures = {.spend = spend, .earned = earned};

	for (int i = program->ntiers - 1; i >= 0; i--)
	{
		const Tier *tier = &program->tiers[i];

		if ((tier->threshold && reaches(&figures, program->metric, tier->threshold)) || reaches_option(&figures, tier))
			return i;
	}
	return -1;
}

static int
tier_by_period(const Account *account)
{
	return tier_by_figures(account->program, account->spend, account->earned);
}

static int
tier_by_previous(const Account *account)
{
	return tier_by_figures(account->program, account->spend_previous, account->earned_previous);
}

int
tier_of_nothing(const Program *program)
{
	return tier_by_figures(program, money_zero(), 0);
}

static TimestampTz
add_interval(TimestampTz at, const Interval *interval, pg_tz *zone)
{
	if (TIMESTAMP_NOT_FINITE(at))
		return at;
	if (interval->month != 0 || interval->day != 0)
		at = calendar_add(at, interval->month, interval->day, zone);
	return at + interval->time;
}

/* Until when a tier holds that the figures of a period ending at `end` gave at instant `at`. */
static TimestampTz
held_until(const Program *program, int tier, TimestampTz end, TimestampTz at)
{
	TimestampTz from = TIMESTAMP_NOT_FINITE(end) ? at : end;

	if (program->downgrade == DOWNGRADE_NEVER || tier <= program->lowest)
		return DT_NOEND;
	if (!program->held->set || program->held->end != from)
	{
		program->held->until = add_interval(add_interval(from, &program->validity, program->zone), &program->grace,
											program->zone);
		program->held->end = from;
		program->held->set = true;
	}
	return program->held->until;
}

void
tier_begin(Account *account)
{
	const Program *program = account->program;
	TimestampTz before;
	int			lowest = program->lowest;

	account->spend = account->spend_previous = money_zero();
	account->earned = account->earned_previous = 0;
	account->visits = account->visits_previous = 0;
	account->tier_id = lowest < 0 ? 0 : program->tiers[lowest].id;
	account->tier_until = DT_NOEND;
	period_bounds(&program->period, account->enrolled_at, account->enrolled_at, program->zone,
				  &account->period_start, &account->period_end);
	account->previous_start = account->period_start;
	if (!TIMESTAMP_NOT_FINITE(account->period_start))
		period_bounds(&program->period, account->period_start - 1, account->enrolled_at, program->zone,
					  &account->previous_start, &before);
}

TimestampTz
tier_next_change(const Account *account)
{
	return Min(account->period_end, account->tier_until);
}

void
tier_settle(Account *account, TimestampTz at)
{
	while (tier_next_change(account) <= at)
	{
		CHECK_FOR_INTERRUPTS();
		if (account->period_end <= account->tier_until)
			roll_period(account, Min(at, account->tier_until));
		else
			review_tier(account);
		account->changed = true;
	}
}

/* Move to the period that holds `at`: what ran becomes the last one, or nothing when more has passed. */
static void
roll_period(Account *account, TimestampTz at)
{
	const Program *program = account->program;
	TimestampTz former = account->period_start;
	TimestampTz end;
	bool		adjacent;

	period_bounds(&program->period, at, account->enrolled_at, program->zone, &account->period_start, &account->period_end);
	period_bounds(&program->period, account->period_start - 1, account->enrolled_at, program->zone,
				  &account->previous_start, &end);
	adjacent = account->previous_start == former;
	account->spend_previous = adjacent ? account->spend : money_zero();
	account->earned_previous = adjacent ? account->earned : 0;
	account->visits_previous = adjacent ? account->visits : 0;
	account->spend = money_zero();
	account->earned = 0;
	account->visits = 0;
}

/* A tier that the running or the last period gives; by the last one, which may be long over, for the running one at least. */
static void
stand_at(Account *account, int tier, TimestampTz at, const char *reason)
{
	bool		running = tier <= tier_by_period(account);
	TimestampTz until = held_until(account->program, tier, running ? account->period_end : account->period_start, at);

	if (until <= at)
		until = account->period_end;
	set_tier(account, tier, until, at, reason);
}

/* The tier's time is over: what do the figures still give? */
static void
review_tier(Account *account)
{
	const Program *program = account->program;
	int			held = tier_index(program, account->tier_id);
	int			tier = Min(Max(tier_by_period(account), tier_by_previous(account)), held);

	if (program->downgrade == DOWNGRADE_ONE_LEVEL)
		tier = Max(tier, held - 1);
	stand_at(account, tier, account->tier_until, "downgrade");
}

static void
set_tier(Account *account, int tier, TimestampTz until, TimestampTz at, const char *reason)
{
	int32		id = tier < 0 ? 0 : account->program->tiers[tier].id;
	int32		former;

	if (id != account->tier_id)
	{
		TierChange *change;

		if (account->ntier_changes == account->max_tier_changes)
		{
			account->max_tier_changes = Max(4, account->max_tier_changes * 2);
			account->tier_changes = account->tier_changes == NULL
				? MemoryContextAlloc(account->context, account->max_tier_changes * sizeof(TierChange))
				: repalloc(account->tier_changes, account->max_tier_changes * sizeof(TierChange));
		}
		change = &account->tier_changes[account->ntier_changes++];
		*change = (TierChange) {.at = at, .change_no = account->next_entry++, .from_tier = account->tier_id,
			.to_tier = id, .held_until = until, .reason = reason};
	}
	former = account->tier_id;
	account->tier_id = id;
	account->tier_until = until;
	account->changed = true;
	if (id != former && (account->program->suspends || ledger_is_suspended(account)))
		ledger_follow_tier(account, at);
}

/* Up at once, by the running period or by a late row of the last one. */
static void
promote(Account *account, bool running, TimestampTz at)
{
	const Program *program = account->program;
	int			held = tier_index(program, account->tier_id);
	int			tier = running ? tier_by_period(account) : tier_by_previous(account);
	TimestampTz until;

	if (tier < held || tier < 0 || (tier == held && account->tier_until == DT_NOEND))
		return;
	until = held_until(program, tier, running ? account->period_end : account->period_start, at);
	if (until <= at)
		return;
	if (tier > held)
		set_tier(account, tier, until, at, "promotion");
	else if (until > account->tier_until)
		set_tier(account, tier, until, at, "renewal");
}

/* Does the tier last because of this period's figures?  One without end rests on every period. */
static bool
rests_on(const Account *account, int tier, bool running, TimestampTz at)
{
	TimestampTz end = running ? account->period_end : account->period_start;
	TimestampTz until;

	if (TIMESTAMP_NOT_FINITE(end))
		return true;
	until = held_until(account->program, tier, end, at);
	return account->tier_until == until || (!running && until <= at && account->tier_until == account->period_end);
}

/*
 * A return has lowered the figures of a period, which gave `former` before.  If they gave the tier, it is now what the
 * figures that are left give, and lasts as long as those say.
 */
static void
fall(Account *account, bool running, int former, TimestampTz at)
{
	const Program *program = account->program;
	int			held = tier_index(program, account->tier_id);
	int			by_running = tier_by_period(account);
	int			by_last = tier_by_previous(account);

	if (program->on_return == ON_RETURN_KEEP || held < 0 || former < held || (running ? by_running : by_last) >= held)
		return;
	if (!rests_on(account, held, running, at))
		return;
	if (program->on_return == ON_RETURN_GRACE && Max(by_running, by_last) < held)
		account->tier_until = Min(account->tier_until, add_interval(at, &program->grace, program->zone));
	else
		stand_at(account, Min(Max(by_running, by_last), held), at, "return");
}

void
tier_count(Account *account, TimestampTz counted_at, Numeric spend, Points earned, TimestampTz at)
{
	bool		running = counted_at >= account->period_start;
	bool		up = earned > 0 || (spend != NULL && money_sign(spend) > 0);
	int			former = -1;

	if (counted_at < account->previous_start || (!running && TIMESTAMP_NOT_FINITE(account->period_start)))
		return;
	if (!up && account->program->ntiers > 0)
		former = running ? tier_by_period(account) : tier_by_previous(account);
	if (spend != NULL)
	{
		Numeric    *counter = running ? &account->spend : &account->spend_previous;

		*counter = money_add(*counter, spend);
	}
	if (running)
		account->earned = points_add(account->earned, earned);
	else
		account->earned_previous = points_add(account->earned_previous, earned);
	account->changed = true;
	if (account->program->ntiers == 0)
		return;
	if (up)
		promote(account, running, at);
	else
		fall(account, running, former, at);
}

void
tier_leave(Account *account, TimestampTz at)
{
	set_tier(account, -1, DT_NOEND, at, "merge");
}

void
tier_join(Account *account, int32 tier_id, TimestampTz until, TimestampTz at)
{
	int			held = tier_index(account->program, account->tier_id);
	int			other = tier_index(account->program, tier_id);

	if (other > held || (other == held && until > account->tier_until))
		set_tier(account, other, until, at, "merge");
	if (account->program->ntiers == 0)
		return;
	promote(account, true, at);
	if (!TIMESTAMP_NOT_FINITE(account->period_start))
		promote(account, false, at);
}
