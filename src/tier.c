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
 * - Nothing falls below what figures of 0 give, nor below a permanent tier (where nothing is ever lost, all are) at or
 *	 under the one held.  What gave it can still be returned while its period is one of the two that are kept;
 *	 when a period goes, what it gave that is permanent is noted (kept_tier_id) and no return takes it.
 * - A tier granted by hand lies over what the figures gave (own_tier_id), which goes on as if nothing were granted: the
 *	 member's tier is the better of the two.  No return and no review touches a grant; when it is over, what lies
 *	 under it shows.
 * - A tier that is lent by the account's pool lies over both in the same way.  A pool is an account in memory, whose figures
 *	 are the sums of its members' (tier_regard): all of the above holds for its tier.  What it will be if nothing is bought
 *	 any more is known at once (tier_foresee), and each member's account has it: it is exact at every instant by itself.
 * - An account meets a new ladder at the instant at which it was applied.  Until then it stands on the one before:
 *	 account->program is that one while its events are worked.
 * - A status unit of a lifetime has one counter for ever, which belongs to every period.  A tier that such units alone give
 *	 has no end, and falls with the return of any purchase that had given it.
 * - Of a unit that carries over, what a period has above the highest threshold that it reaches counts in the next one: it
 *	 is a counter of its own there (CARRIED), and follows what is counted late or returned.  Pools carry nothing over.
 * - A rolling window holds what was counted less than its length before the instant: each value leaves it at an
 *	 instant of its own (counter.c), and until the next one, period_end, the figures are exact.  A tier is held until the
 *	 promotion + tier_validity + grace and reviewed by what the window holds then; where both are 0 it is reviewed whenever
 *	 something leaves (tier_until is period_end).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "counter.h"
#include "fixed.h"
#include "money.h"
#include "tier.h"

/* the counter of what came from the period before; other metrics that are no units are 0 to -2 */
#define CARRIED(unit) (-1000 - (unit))

static void end_period(Account *account, TimestampTz at);
static void roll_period(Account *account, TimestampTz at);
static void leave_window(Account *account, TimestampTz until);
static void review_tier(Account *account, TimestampTz at);
static void end_grant(Account *account);
static void end_lent(Account *account);
static void meet_ladder(Account *account, const Program *next, TimestampTz at);
static void promote(Account *account, bool running, TimestampTz at, const char *reason);
static void set_tier(Account *account, int tier, TimestampTz until, TimestampTz at, const char *reason);

static int
tier_index(const Program *program, int32 id)
{
	for (int i = 0; i < program->ntiers; i++)
		if (program->tiers[i].id == id)
			return i;
	return -1;
}

/* What is looked at: an account's running or last period, or what lasts alone; no account: nothing at all. */
typedef struct Figures
{
	Account    *account;
	bool		running;
	bool		lasting;
	Numeric		earned;			/* made when first asked for */
} Figures;

static bool
is_rolling(const Program *program)
{
	return program->period.kind == PERIOD_ROLLING;
}

static bool
is_lifetime(const Program *program, int32 metric)
{
	for (int i = 0; program->lifetime_units && i < program->nunits; i++)
		if (program->units[i].id == metric)
			return program->units[i].lifetime;
	return false;
}

static bool
carries_over(const Account *account, int32 unit)
{
	const Program *program = account->program;

	if (account->store == NULL || is_rolling(program))
		return false;
	for (int i = 0; program->carrying_units && i < program->nunits; i++)
		if (program->units[i].id == unit)
			return program->units[i].carries_over;
	return false;
}

static Numeric
unit_figure(Account *account, int32 unit, TimestampTz bucket)
{
	Numeric		counted = counter_value(account, unit, bucket);

	return carries_over(account, unit) ? money_add(counted, counter_value(account, CARRIED(unit), bucket)) : counted;
}

static Numeric
figure(Figures *figures, int32 metric)
{
	Account    *a = figures->account;

	if (a && is_lifetime(a->program, metric))
		return counter_value(a, metric, DT_NOBEGIN);
	if (a == NULL || figures->lasting || (!figures->running && TIMESTAMP_NOT_FINITE(a->period_start)))
		return money_zero();
	switch (metric)
	{
		case METRIC_SPEND:
			return figures->running ? a->spend : a->spend_previous;
		case METRIC_POINTS:
			if (figures->earned == NULL)
				figures->earned = points_to_numeric(figures->running ? a->earned : a->earned_previous);
			return figures->earned;
		case METRIC_VISITS:
			return int64_to_numeric(figures->running ? a->visits : a->visits_previous);
		default:
			return unit_figure(a, metric, figures->running ? a->period_start : a->previous_start);
	}
}

static bool
reaches(Figures *figures, int32 metric, Numeric threshold)
{
	return money_compare(figure(figures, metric), threshold) >= 0;
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
tier_by_figures(const Program *program, Figures *figures)
{
	for (int i = program->ntiers - 1; i >= 0; i--)
	{
		const Tier *tier = &program->tiers[i];

		if ((tier->threshold && reaches(figures, program->metric, tier->threshold)) || reaches_option(figures, tier))
			return i;
	}
	return -1;
}

static int
tier_by_period(Account *account)
{
	return tier_by_figures(account->program, &(Figures) {.account = account, .running = true});
}

static int
tier_by_previous(Account *account)
{
	return tier_by_figures(account->program, &(Figures) {.account = account});
}

/* What units of a lifetime alone give: nothing but a return takes it. */
static int
tier_for_life(Account *account)
{
	if (!account->program->lifetime_units)
		return -1;
	return tier_by_figures(account->program, &(Figures) {.account = account, .lasting = true});
}

int
tier_of_nothing(const Program *program)
{
	return tier_by_figures(program, &(Figures) {0});
}

void
tier_read_units(Account *account)
{
	if (account->program->nunits > 0)
		(void) tier_unit(account, account->program->units[0].id);
}

Numeric
tier_unit(Account *account, int32 unit)
{
	return figure(&(Figures) {.account = account, .running = true}, unit);
}

/* The highest permanent tier at or under this one; -1: none. */
static int
permanent_under(const Program *program, int tier)
{
	while (tier >= 0 && !program->tiers[tier].permanent)
		tier--;
	return tier;
}

static int
own_tier(const Account *account)
{
	return tier_index(account->program, account->own_tier_id);
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

/* tier_validity after `from`, and on to the end of the unit that has begun then. */
static TimestampTz
valid_until(const Program *program, TimestampTz from)
{
	TimestampTz until = add_interval(from, &program->validity, program->zone);

	if (program->validity_to < 0 || TIMESTAMP_NOT_FINITE(until) ||
		calendar_floor(until, (CalendarUnit) program->validity_to, program->zone) == until)
		return until;
	return calendar_next(until, (CalendarUnit) program->validity_to, 1, program->zone);
}

/* Until when a tier holds that the figures of a period ending at `end` gave at instant `at`. */
static TimestampTz
held_until(Account *account, int tier, TimestampTz end, TimestampTz at)
{
	const Program *program = account->program;
	TimestampTz from = TIMESTAMP_NOT_FINITE(end) ? at : end;

	if (tier <= program->lowest || program->tiers[tier].permanent || tier <= tier_for_life(account))
		return DT_NOEND;
	if (!program->held->set || program->held->end != from)
	{
		program->held->until = add_interval(valid_until(program, from), &program->grace, program->zone);
		program->held->end = from;
		program->held->set = true;
	}
	return program->held->until;
}

/* Is a tier here held by nothing but what the window holds? */
static bool
follows_window(const Program *program)
{
	const Interval *v = &program->validity;
	const Interval *g = &program->grace;

	return is_rolling(program) && v->month == 0 && v->day == 0 && v->time == 0 && g->month == 0 && g->day == 0 && g->time == 0;
}

/* When the figures of the running period are over; a rolling window never is. */
static TimestampTz
running_end(const Account *account)
{
	return is_rolling(account->program) ? DT_NOEND : account->period_end;
}

/* The period that runs at `at`, and the one before. */
static void
set_periods(Account *account, TimestampTz at)
{
	const Program *program = account->program;
	TimestampTz before;

	account->period_start = account->previous_start = DT_NOBEGIN;
	account->period_end = DT_NOEND;
	if (is_rolling(program))
		return;
	period_bounds(&program->period, at, account->enrolled_at, program->zone, &account->period_start, &account->period_end);
	account->previous_start = account->period_start;
	if (!TIMESTAMP_NOT_FINITE(account->period_start))
		period_bounds(&program->period, account->period_start - 1, account->enrolled_at, program->zone,
					  &account->previous_start, &before);
}

void
tier_begin(Account *account)
{
	const Program *program = account->program;
	int			lowest = program->lowest;

	account->spend = account->spend_previous = money_zero();
	account->earned = account->earned_previous = 0;
	account->visits = account->visits_previous = 0;
	account->tier_id = account->own_tier_id = lowest < 0 ? 0 : program->tiers[lowest].id;
	account->tier_until = account->own_until = account->granted_until = DT_NOEND;
	account->granted_tier_id = account->kept_tier_id = 0;
	account->ladder_no = program->ladder_no;
	set_periods(account, account->enrolled_at);
}

/* When does the account meet the next ladder?  Infinity: it has met the one in force. */
static TimestampTz
next_ladder(const Account *account, const Program *program)
{
	if (account->ladder_no >= program->ladder_no)
		return DT_NOEND;
	return Max(config_ladder(program, account->ladder_no + 1)->ladder_since, account->settled_at);
}

TimestampTz
tier_next_change(const Account *account)
{
	TimestampTz at = Min(account->period_end, account->own_until);

	if (account->granted_tier_id != 0)
		at = Min(at, account->granted_until);
	if (account->nlent > 0)
		at = Min(at, account->lent[0].until);
	return Min(at, next_ladder(account, account->program));
}

/* The first thing that becomes true; of several at one instant the ladder is first, then the period. */
static void
settle_next(Account *account, const Program *program, TimestampTz at)
{
	TimestampTz ladder = next_ladder(account, program);
	TimestampTz grant = account->granted_tier_id != 0 ? account->granted_until : DT_NOEND;
	TimestampTz lent = account->nlent > 0 ? account->lent[0].until : DT_NOEND;
	TimestampTz over = Min(grant, lent);

	if (ladder <= Min(account->period_end, account->own_until) && ladder <= over)
		meet_ladder(account, config_ladder(program, account->ladder_no + 1), ladder);
	else if (account->period_end <= account->own_until && account->period_end <= over)
		end_period(account, Min(at, Min(account->own_until, ladder)));
	else if (account->own_until <= over)
		review_tier(account, account->own_until);
	else if (grant <= lent)
		end_grant(account);
	else
		end_lent(account);
}

void
tier_settle(Account *account, TimestampTz at)
{
	const Program *program = account->program;

	while (tier_next_change(account) <= at)
	{
		CHECK_FOR_INTERRUPTS();
		account->program = config_ladder(program, account->ladder_no);
		settle_next(account, program, at);
		account->program = program;
		account->changed = true;
	}
}

/* The figures of a period go, and what they gave that is never lost stays. */
static void
keep_permanent(Account *account, int tier)
{
	const Program *program = account->program;
	int			permanent = permanent_under(program, tier);

	if (permanent > Max(tier_index(program, account->kept_tier_id), program->lowest))
		account->kept_tier_id = program->tiers[permanent].id;
}

/* Of what the account has of a metric now, the part that has left the window.  CounterTaker */
static void
take_left(void *arg, const Counter *counter)
{
	Account    *account = arg;
	Numeric		left = money_subtract(money_zero(), counter->value);
	int64		whole = 0;

	switch (counter->metric)
	{
		case METRIC_SPEND:
			account->spend = money_add(account->spend, left);
			break;
		case METRIC_POINTS:
			(void) fixed_from_numeric(left, POINTS_SCALE, &whole);
			account->earned = points_add(account->earned, whole);
			break;
		case METRIC_VISITS:
			(void) fixed_from_numeric(left, 0, &whole);
			account->visits += (int32) whole;
			break;
		default:
			counter_add(account, counter->metric, DT_NOBEGIN, left);
	}
}

/* What leaves a rolling window up to an instant. */
static void
leave_window(Account *account, TimestampTz until)
{
	account->period_end = counter_leave(account, account->period_end, until, take_left, account);
}

/* Up to `at` the tier stands still: the periods up to there, or what leaves the window; nothing at all stands still where the tier is the window. */
static void
end_period(Account *account, TimestampTz at)
{
	const Program *program = account->program;
	TimestampTz end = account->period_end;

	if (!is_rolling(program))
	{
		roll_period(account, at);
		return;
	}
	if (program->ntiers > 0)
		keep_permanent(account, tier_by_period(account));
	if (!follows_window(program))
	{
		leave_window(account, at);
		return;
	}
	leave_window(account, end);
	if (account->own_until == end)
		review_tier(account, end);
}

/* How much of a figure stands above the highest threshold of its unit that it reaches; 0 where it reaches none. */
static Numeric
above_threshold(const Program *program, int32 unit, Numeric value)
{
	Numeric		best = money_zero();

	for (int i = 0; i < program->ntiers; i++)
	{
		const Tier *tier = &program->tiers[i];

		if (tier->threshold && program->metric == unit && money_compare(tier->threshold, value) <= 0 && money_compare(tier->threshold, best) > 0)
			best = tier->threshold;
		for (int j = 0; j < tier->nrequirements; j++)
			if (tier->requirements[j].metric == unit && money_compare(tier->requirements[j].threshold, value) <= 0 &&
				money_compare(tier->requirements[j].threshold, best) > 0)
				best = tier->requirements[j].threshold;
	}
	return money_sign(best) > 0 ? money_subtract(value, best) : best;
}

/* From a period whose figure has become another, to each next one up to the running one. */
static void
carry_over(Account *account, int32 unit, TimestampTz from)
{
	const Program *program = account->program;
	TimestampTz start;
	TimestampTz end;

	while (from < account->period_start)
	{
		MemoryContext old = MemoryContextSwitchTo(account->context);
		Numeric		change;

		CHECK_FOR_INTERRUPTS();
		period_bounds(&program->period, from, account->enrolled_at, program->zone, &start, &end);
		change = money_subtract(above_threshold(program, unit, unit_figure(account, unit, from)), counter_value(account, CARRIED(unit), end));
		MemoryContextSwitchTo(old);
		if (money_sign(change) == 0)
			return;
		counter_add(account, CARRIED(unit), end, change);
		from = end;
	}
}

static void
carry_units(Account *account, TimestampTz former)
{
	const Program *program = account->program;

	for (int i = 0; program->carrying_units && i < program->nunits; i++)
		if (carries_over(account, program->units[i].id))
			carry_over(account, program->units[i].id, former);
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
	carry_units(account, former);
	if (program->ntiers > 0)
	{
		keep_permanent(account, tier_by_previous(account));
		if (!adjacent)
			keep_permanent(account, tier_by_period(account));
	}
	account->spend_previous = adjacent ? account->spend : money_zero();
	account->earned_previous = adjacent ? account->earned : 0;
	account->visits_previous = adjacent ? account->visits : 0;
	account->spend = money_zero();
	account->earned = 0;
	account->visits = 0;
	if (program->carrying_units && program->ntiers > 0)
		promote(account, true, account->period_start, "promotion");
}

/* A tier that the running or the last period gives; by the last one, which may be long over, for the running one at least. */
static void
stand_at(Account *account, int tier, TimestampTz at, const char *reason)
{
	bool		running = tier <= tier_by_period(account);
	TimestampTz until = held_until(account, tier, running ? running_end(account) : account->period_start, at);

	if (until <= at)
		until = account->period_end;
	set_tier(account, tier, until, at, reason);
}

/* What the running and the last period give, and what is never lost. */
static int
tier_by_all(Account *account)
{
	int			kept = tier_index(account->program, account->kept_tier_id);

	return Max(Max(tier_by_period(account), tier_by_previous(account)), kept);
}

/* The tier's time is over: what do the figures still give?  A permanent one has an end only where a return took it. */
static void
review_tier(Account *account, TimestampTz at)
{
	const Program *program = account->program;
	int			held = own_tier(account);
	int			tier = tier_by_all(account);

	if (held >= 0 && !program->tiers[held].permanent)
		tier = Max(tier, permanent_under(program, held));
	tier = Min(tier, held);
	if (program->downgrade == DOWNGRADE_ONE_LEVEL)
		tier = Max(tier, held - 1);
	stand_at(account, tier, at, "downgrade");
}

/* Of two tiers the higher one; of one and the same that which is held longer. */
static void
take_better(const Program *program, int32 *id, TimestampTz *until, int32 other_id, TimestampTz other_until)
{
	int			tier = tier_index(program, *id);
	int			other = tier_index(program, other_id);

	if (other < 0 || other < tier || (other == tier && other_until <= *until))
		return;
	*id = other_id;
	*until = other_until;
}

/* The member's tier is the best of their own, the granted and the lent one. */
static void
find_best(const Account *account, int32 *id, TimestampTz *until)
{
	*id = account->own_tier_id;
	*until = account->own_until;
	if (account->granted_tier_id != 0)
		take_better(account->program, id, until, account->granted_tier_id, account->granted_until);
	if (account->nlent > 0)
		take_better(account->program, id, until, account->lent[0].tier_id, account->lent[0].until);
}

/* Note when the member's tier has become another. */
static void
show_tier(Account *account, TimestampTz at, const char *reason)
{
	int32		former = account->tier_id;
	int32		id;
	TimestampTz until;

	find_best(account, &id, &until);
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
	account->tier_id = id;
	account->tier_until = until;
	account->changed = true;
	if (id != former && (account->program->suspends || ledger_is_suspended(account)))
		ledger_follow_tier(account, at);
}

/* The tier that figures give. */
static void
set_tier(Account *account, int tier, TimestampTz until, TimestampTz at, const char *reason)
{
	account->own_tier_id = tier < 0 ? 0 : account->program->tiers[tier].id;
	account->own_until = until;
	show_tier(account, at, reason);
}

static void
end_grant(Account *account)
{
	TimestampTz at = account->granted_until;

	account->granted_tier_id = 0;
	account->granted_until = DT_NOEND;
	show_tier(account, at, "grant over");
}

static void
end_lent(Account *account)
{
	TimestampTz at = account->lent[0].until;

	account->lent++;
	account->nlent--;
	show_tier(account, at, "pool");
}

/*
 * From `at` on another ladder is in force: up to what it gives; and, unless it keeps, down from a tier that the figures
 * gave on the one before and do not give now.  What rests on older figures is held as long as it was.
 */
static void
meet_ladder(Account *account, const Program *next, TimestampTz at)
{
	int			held = own_tier(account);
	bool		rested = tier_by_all(account) >= held;
	int			tier;

	account->ladder_no = next->ladder_no;
	account->program = next;
	if (next->ntiers == 0)
		return;
	tier = tier_by_all(account);
	if (tier > held)
	{
		promote(account, true, at, "ladder");
		if (!TIMESTAMP_NOT_FINITE(account->period_start))
			promote(account, false, at, "ladder");
	}
	else if (tier < held && rested && !next->ladder_keeps)
		stand_at(account, Max(tier, permanent_under(next, held)), at, "ladder");
	else if (held > next->lowest && account->own_until == DT_NOEND && !next->tiers[held].permanent)
		stand_at(account, held, at, "ladder");
}

/* Up at once, by the running period or by a late row of the last one. */
static void
promote(Account *account, bool running, TimestampTz at, const char *reason)
{
	const Program *program = account->program;
	int			held = own_tier(account);
	int			tier = running ? tier_by_period(account) : tier_by_previous(account);
	TimestampTz until;

	if (tier < held || tier < 0 || (tier == held && (account->own_until == DT_NOEND || is_rolling(program))))
		return;
	until = held_until(account, tier, running ? running_end(account) : account->period_start, at);
	if (until <= at && is_rolling(program))
		until = account->period_end;
	if (until <= at)
		return;
	if (tier > held)
		set_tier(account, tier, until, at, reason);
	else if (until > account->own_until)
		set_tier(account, tier, until, at, "renewal");
}

/* Does the tier last because of this period's figures?  One without end rests on every period. */
static bool
rests_on(Account *account, int tier, bool running, TimestampTz at)
{
	TimestampTz end = running ? running_end(account) : account->period_start;
	TimestampTz until;

	if (TIMESTAMP_NOT_FINITE(end) || (account->own_until == DT_NOEND && account->program->lifetime_units))
		return true;
	until = held_until(account, tier, end, at);
	return account->own_until == until || (!running && until <= at && account->own_until == account->period_end);
}

/* What lasted for life and rests on nothing any more is held as long as if the running period had given it. */
static void
keep_for_now(Account *account, int held, TimestampTz at)
{
	TimestampTz until = held_until(account, held, running_end(account), at);

	if (account->program->lifetime_units && account->own_until == DT_NOEND && until != DT_NOEND)
		set_tier(account, held, until > at ? until : account->period_end, at, "return");
}

/*
 * A return has lowered the figures of a period, which gave `former` before.  If they gave the tier, it is now what the
 * figures that are left give, and lasts as long as those say.
 */
static void
fall(Account *account, bool running, int former, TimestampTz at)
{
	const Program *program = account->program;
	int			held = own_tier(account);
	int			left;

	if (held < 0 || former < held || (running ? tier_by_period(account) : tier_by_previous(account)) >= held)
		return;
	if (program->on_return == ON_RETURN_KEEP)
	{
		keep_for_now(account, held, at);
		return;
	}
	left = tier_by_all(account);
	if (!rests_on(account, held, running, at))
		return;
	if (program->on_return == ON_RETURN_GRACE && left < held)
		set_tier(account, held, Min(account->own_until, add_interval(at, &program->grace, program->zone)), at, "return");
	else
		stand_at(account, Min(left, held), at, "return");
}

/* ---- counting ---- */

/* In a rolling window: what was added now, and when it leaves. */
static void
add_to_window(Account *account, int32 metric, TimestampTz bucket, Numeric value)
{
	counter_add(account, metric, bucket, value);
	if (bucket >= account->period_end)
		return;
	if (account->own_until == account->period_end && follows_window(account->program))
	{
		account->own_until = bucket;
		find_best(account, &account->tier_id, &account->tier_until);
	}
	account->period_end = bucket;
}

/* gone: the bucket has left the rolling window, and only what lasts is counted. */
static void
add_units(Account *account, const Count *count, TimestampTz bucket, bool gone)
{
	bool		rolling = is_rolling(account->program);

	for (int i = 0; i < count->nunits; i++)
	{
		Numeric		value = points_to_numeric(count->units[i].value);
		bool		lifetime = is_lifetime(account->program, count->units[i].unit);

		if (count->units[i].value == 0 || (gone && !lifetime))
			continue;
		counter_add(account, count->units[i].unit, rolling || lifetime ? DT_NOBEGIN : bucket, value);
		if (rolling && !lifetime)
			add_to_window(account, count->units[i].unit, bucket, value);
		else if (carries_over(account, count->units[i].unit))
			carry_over(account, count->units[i].unit, bucket);
	}
}

static const char *
visit_name(const Account *account, const Count *count, TimestampTz counted_at)
{
	int			year;
	int			month;
	int			day;

	if (count->visit)
		return count->visit;
	j2date(calendar_day(counted_at, account->program->zone) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d", year, month, day);
}

/* running: in the running period, else in the last one */
static void
add_visit(Account *account, const Count *count, bool running, TimestampTz counted_at, TimestampTz bucket, TimestampTz at)
{
	int			change = counter_visit(account, visit_name(account, count, counted_at), bucket, count->purchases, at);

	if (running)
		account->visits += change;
	else
		account->visits_previous += change;
	if (is_rolling(account->program) && bucket < account->period_end)
		add_to_window(account, METRIC_VISITS, bucket, money_zero());
}

static void
add_figures(Account *account, const Count *count, bool running, TimestampTz bucket)
{
	if (count->spend != NULL)
	{
		Numeric    *counter = running ? &account->spend : &account->spend_previous;

		*counter = money_add(*counter, count->spend);
	}
	if (running)
		account->earned = points_add(account->earned, count->earned);
	else
		account->earned_previous = points_add(account->earned_previous, count->earned);
	if (!is_rolling(account->program))
		return;
	if (count->spend && money_sign(count->spend) != 0)
		add_to_window(account, METRIC_SPEND, bucket, count->spend);
	if (count->earned != 0)
		add_to_window(account, METRIC_POINTS, bucket, points_to_numeric(count->earned));
}

static bool
is_up(const Program *program, const Count *count)
{
	bool		up = count->earned > 0 || (count->spend != NULL && money_sign(count->spend) > 0) ||
		(program->counts_visits && count->purchases > 0);

	for (int i = 0; i < count->nunits; i++)
		up |= count->units[i].value > 0;
	return up;
}

/* Is there a unit in it that is of a lifetime, or carries over?  It changes the figures of other periods, too. */
static bool
is_lasting(const Account *account, const Count *count)
{
	const Program *program = account->program;

	for (int i = 0; (program->lifetime_units || program->carrying_units) && i < count->nunits; i++)
		if (count->units[i].value != 0 && (is_lifetime(program, count->units[i].unit) || carries_over(account, count->units[i].unit)))
			return true;
	return false;
}

/* Nothing of it but spend and points, in a calendar or a lifetime: the bucket is not asked for. */
static bool
needs_bucket(const Program *program, const Count *count)
{
	return is_rolling(program) || count->nunits > 0 || (program->counts_visits && count->purchases != 0);
}

/* A period whose figures are about to change, and the tier that they give before they fall. */
typedef struct Review
{
	bool		needed;
	bool		running;
	int			former;
} Review;

static void
begin_review(Account *account, Review *review, bool up)
{
	review->former = -1;
	if (review->needed && !up && own_tier(account) > account->program->lowest)
		review->former = review->running ? tier_by_period(account) : tier_by_previous(account);
}

static void
end_review(Account *account, const Review *review, bool up, TimestampTz at)
{
	if (!review->needed || account->program->ntiers == 0)
		return;
	if (up)
		promote(account, review->running, at, "promotion");
	else
		fall(account, review->running, review->former, at);
}

void
tier_count(Account *account, TimestampTz counted_at, const Count *count, TimestampTz at)
{
	const Program *program = account->program;
	bool		running = counted_at >= account->period_start;
	bool		former_period = counted_at < account->previous_start || (!running && TIMESTAMP_NOT_FINITE(account->period_start));
	bool		up = is_up(program, count);
	bool		lasting = is_lasting(account, count);
	bool		gone = false;
	TimestampTz bucket = 0;
	Review		own = {.running = running};
	Review		present = {.running = true};

	if (needs_bucket(program, count))
	{
		bucket = running && !is_rolling(program) ? account->period_start
			: period_bucket(&program->period, counted_at, account->enrolled_at, program->zone);
		gone = is_rolling(program) && bucket <= at;
		if (gone && !lasting)
			return;				/* it has left the window already */
	}
	own.needed = !former_period && !gone;
	present.needed = lasting && !(own.needed && running);
	begin_review(account, &own, up);
	begin_review(account, &present, up);
	if (count->nunits > 0)
		add_units(account, count, bucket, gone);
	if (program->counts_visits && count->purchases != 0 && former_period && !gone)
		(void) counter_visit(account, visit_name(account, count, counted_at), bucket, count->purchases, at);
	else if (program->counts_visits && count->purchases != 0 && !gone)
		add_visit(account, count, running, counted_at, bucket, at);
	if (own.needed)
		add_figures(account, count, running, bucket);
	account->changed |= own.needed;
	end_review(account, &own, up, at);
	end_review(account, &present, up, at);
}

void
tier_grant(Account *account, int32 tier_id, TimestampTz until, TimestampTz at)
{
	account->granted_tier_id = tier_id;
	account->granted_until = until;
	show_tier(account, at, "granted");
}

void
tier_revoke(Account *account, TimestampTz at)
{
	account->granted_tier_id = 0;
	account->granted_until = DT_NOEND;
	show_tier(account, at, "revoked");
}

void
tier_try_ladder(Account *account, const Program *next, TimestampTz at)
{
	const Program *program = account->program;

	meet_ladder(account, next, at);
	account->program = program;
}

void
tier_leave(Account *account, TimestampTz at)
{
	account->granted_tier_id = account->kept_tier_id = 0;
	account->granted_until = DT_NOEND;
	account->nlent = 0;
	set_tier(account, -1, DT_NOEND, at, "merge");
}

void
tier_join(Account *account, const Standing *other, TimestampTz at)
{
	const Program *program = account->program;
	int			own = tier_index(program, other->own_tier_id);
	int			granted = tier_index(program, other->granted_tier_id);
	int			held = tier_index(program, account->granted_tier_id);

	keep_permanent(account, tier_index(program, other->kept_tier_id));
	if (granted > held || (granted >= 0 && granted == held && other->granted_until > account->granted_until))
	{
		account->granted_tier_id = other->granted_tier_id;
		account->granted_until = other->granted_until;
	}
	if (own > own_tier(account) || (own == own_tier(account) && other->own_until > account->own_until))
		set_tier(account, own, other->own_until, at, "merge");
	show_tier(account, at, "merge");
	if (program->ntiers == 0)
		return;
	promote(account, true, at, "promotion");
	if (!TIMESTAMP_NOT_FINITE(account->period_start))
		promote(account, false, at, "promotion");
}

/* ---- pools ---- */

void
tier_lend(Account *account, const Lent *lent, int n, TimestampTz at)
{
	account->lent = MemoryContextAlloc(account->context, mul_size(Max(n, 1), sizeof(Lent)));
	memcpy(account->lent, lent, n * sizeof(Lent));
	account->nlent = n;
	show_tier(account, at, "pool");
}

static void
add_units_of(Account *pool, Account *member, TimestampTz bucket, bool lifetime)
{
	for (int i = 0; i < pool->program->nunits; i++)
	{
		Numeric		value;

		if (pool->program->units[i].lifetime != lifetime)
			continue;
		value = counter_value(member, pool->program->units[i].id, bucket);
		if (money_sign(value) != 0)
			counter_add(pool, pool->program->units[i].id, bucket, value);
	}
}

/* What leaves a member's window leaves the pool's.  CounterTaker */
static void
take_over(void *arg, const Counter *counter)
{
	counter_append(arg, counter->metric, counter->bucket, counter->value);
}

static void
add_member(Account *pool, Account *member)
{
	pool->spend = money_add(pool->spend, member->spend);
	pool->spend_previous = money_add(pool->spend_previous, member->spend_previous);
	pool->earned = points_add(pool->earned, member->earned);
	pool->earned_previous = points_add(pool->earned_previous, member->earned_previous);
	pool->visits += member->visits;
	pool->visits_previous += member->visits_previous;
	add_units_of(pool, member, pool->period_start, false);
	if (pool->previous_start != pool->period_start)
		add_units_of(pool, member, pool->previous_start, false);
	if (pool->program->lifetime_units)
		add_units_of(pool, member, DT_NOBEGIN, true);
	if (!is_rolling(pool->program))
		return;
	pool->period_end = Min(pool->period_end, member->period_end);
	if (member->period_end != DT_NOEND)
		(void) counter_leave(member, member->period_end, DT_NOEND, take_over, pool);
}

/* Has some figure of the period risen or fallen? */
static void
compare_figures(Account *before, Account *now, bool running, bool *rose, bool *fell)
{
	Figures		old = {.account = before, .running = running};
	Figures		new = {.account = now, .running = running};
	const Program *program = now->program;

	*rose = *fell = false;
	for (int i = -3; i < program->nunits; i++)
	{
		static const int32 metrics[] = {METRIC_SPEND, METRIC_POINTS, METRIC_VISITS};
		int32		metric = i < 0 ? metrics[i + 3] : program->units[i].id;
		int			change = money_compare(figure(&new, metric), figure(&old, metric));

		*rose |= change > 0;
		*fell |= change < 0;
	}
}

/* As after a purchase, or a return, of one account; of a period that both have known. */
static void
follow_figures(Account *pool, Account *former, bool running, int former_tier, TimestampTz at)
{
	bool		rose;
	bool		fell;

	compare_figures(former, pool, running, &rose, &fell);
	if (rose)
		promote(pool, running, at, "promotion");
	if (fell)
		fall(pool, running, former_tier, at);
}

void
tier_regard(Account *pool, Account **members, int n, TimestampTz at)
{
	const Program *program = pool->program;
	Account		former = *pool;
	int			by_running = tier_by_period(&former);
	int			by_last = tier_by_previous(&former);

	pool->spend = pool->spend_previous = money_zero();
	pool->earned = pool->earned_previous = 0;
	pool->visits = pool->visits_previous = 0;
	pool->counting = NULL;
	set_periods(pool, at);
	for (int i = 0; i < n; i++)
		if (members[i])
			add_member(pool, members[i]);
	if (program->ntiers == 0)
		return;
	follow_figures(pool, &former, true, by_running, at);
	if (!TIMESTAMP_NOT_FINITE(pool->period_start))
		follow_figures(pool, &former, false, by_last, at);
	/* nothing but the window holds it: it is looked at when the window changes next, which may be another time now */
	if (follows_window(program) && pool->own_until != DT_NOEND)
		pool->own_until = pool->period_end;
}

int
tier_foresee(Account *pool, Lent **lent)
{
	const Program *program = pool->program;
	int			n = 0;
	int			tier;

	*lent = palloc(mul_size(Max(program->ntiers, 1), sizeof(Lent)));
	while ((tier = own_tier(pool)) > program->lowest)
	{
		bool		stands = pool->own_until == DT_NOEND || (pool->period_end == DT_NOEND && tier_by_all(pool) >= tier);
		TimestampTz until = stands ? DT_NOEND : pool->own_until;

		CHECK_FOR_INTERRUPTS();
		if (!stands)
			tier_settle(pool, until);
		if (stands || own_tier(pool) != tier)
			(*lent)[n++] = (Lent) {program->tiers[tier].id, until};
		if (stands)
			break;
	}
	return n;
}
