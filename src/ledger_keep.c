/*
 * ledger_keep.c
 *	  A purchase is kept, returned, or comes back: the award follows the row.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - What is taken and given back comes from the stored award and its formula, never from today's rules.
 * - A return takes from the award's own lots, pending ones first, then counts as taken what of them has expired, then
 *	 takes from other available lots; the rest is owed, by the lot or as a debt.  Each lot of the award has its own share
 *	 to lose: who pays for another lot's share says so (origin).
 * - Points that got another life (ledger_move.c) are the award's own, wherever in the account they lie.
 * - When the purchase comes back all this is undone from the end: nobody gains a later expiry by it (ledger_payer.c).
 */
#include "postgres.h"

#include "miscadmin.h"

#include "counter.h"
#include "follow.h"
#include "ledger.h"
#include "ledger_entry.h"
#include "limit.h"
#include "money.h"
#include "store.h"
#include "tier.h"

/* What one lot of an award is to lose and has not lost yet. */
typedef struct Due
{
	Lot		   *lot;
	Points		points;
} Due;

static int	add_moved(Account *account, Due **dues, int n);
static void take_back(Account *account, Due *dues, int n, TimestampTz at);
static void give_back(Account *account, Lot *lot, Points points, TimestampTz at);

/* Of points, or of its status unit. */
static Points
kept_of(const Lot *lot, const Breakdown *breakdown, Numeric kept)
{
	if (breakdown == NULL || kept == NULL)
		return 0;
	if (money_compare(kept, lot->amount) == 0)
		return breakdown_points(breakdown, NULL, NULL);
	if (money_sign(kept) == 0)
		return 0;
	return breakdown_points(breakdown, kept, lot->amount);
}

static Points
kept_points(const Lot *lot, const Breakdown *breakdown, Numeric kept)
{
	return lot->unit ? 0 : kept_of(lot, breakdown, kept);
}

bool
ledger_keeps_something(const Lot *lot, Numeric kept)
{
	return kept && (money_sign(kept) != 0 || money_sign(lot->amount) == 0);
}

/* What the counters gain when the kept amount of an award goes from one to the other; of points: `earned`. */
static Count
count_of(Account *account, Lot **lots, int nlots, Numeric from, Numeric to, Points earned)
{
	Count		count = {
		.spend = money_subtract(to ? to : money_zero(), from ? from : money_zero()), .earned = earned,
		.purchases = ledger_keeps_something(lots[0], to) - ledger_keeps_something(lots[0], from)
	};

	if (account->program->names_visits && count.purchases != 0 &&
		counter_visit_of(account, lots[0]->source_id, lots[0]->source_key, &count.visit) && count.visit == NULL)
		count.purchases = 0;
	for (int i = 0; i < nlots; i++)
	{
		Breakdown  *breakdown = lots[i]->unit && lots[i]->breakdown ? breakdown_decode(lots[i]->breakdown) : NULL;

		if (breakdown)
			ledger_add_unit(&count, nlots, lots[i]->unit,
							points_subtract(kept_of(lots[i], breakdown, to), kept_of(lots[i], breakdown, from)));
	}
	return count;
}

/* Limits and followers hear of each list of rules once: points, and each status unit. */
static void
keep_limits(Account *account, Lot **lots, int nlots, Numeric kept)
{
	for (int i = 0; i < nlots; i++)
		if (i == 0 || lots[i]->unit)
			limit_keep(account, lots[i], kept);
}

static void
note_units(Account *account, Lot **lots, int nlots, const Count *count)
{
	for (int i = 0; i < nlots; i++)
		for (int j = 0; j < count->nunits && lots[i]->unit; j++)
			if (count->units[j].unit == lots[i]->unit && count->units[j].value != 0)
				follow_note(account, lots[i], money_zero(), count->units[j].value);
}

/* The points of an award follow its kept amount.  Returns how many were taken. */
static Points
change_kept(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at)
{
	Due		   *dues = palloc(nlots * sizeof(Due));
	Points		taken = 0;

	kept = kept ? money_copy(kept) : NULL;
	for (int i = 0; i < nlots; i++)
	{
		Lot		   *lot = lots[i];
		Breakdown  *breakdown = lot->breakdown ? breakdown_decode(lot->breakdown) : NULL;
		Points		take = points_subtract(kept_points(lot, breakdown, lot->kept_amount),
										   kept_points(lot, breakdown, kept));

		dues[i] = (Due) {lot, Max(take, 0)};
		if (take < 0)
			give_back(account, lot, -take, at);
		taken = points_add(taken, take);
	}
	/* not before: what is given back to one of the lots may have to go on to who paid for it, in whatever order */
	for (int i = 0; i < nlots; i++)
	{
		lots[i]->kept_amount = kept;
		lots[i]->changed = true;
	}
	nlots = add_moved(account, &dues, nlots);
	take_back(account, dues, nlots, at);
	ledger_pay_debts(account, at);
	account->changed = true;
	return taken;
}

void
ledger_keep(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	TimestampTz counted_at = Min(lots[0]->earned_at, lots[0]->at);
	Numeric		former = lots[0]->kept_amount;
	bool		was_kept = ledger_keeps_something(lots[0], former);
	bool		is_kept_now = ledger_keeps_something(lots[0], kept);
	Count		count = count_of(account, lots, nlots, former, kept, 0);

	if (account->program->nlimits > 0)
		keep_limits(account, lots, nlots, kept);
	if (is_kept_now && !was_kept)
		ledger_revive(account, lots, nlots, counted_at, at);
	count.earned = -change_kept(account, lots, nlots, kept, at);
	if (account->program->follows)
	{
		follow_note(account, lots[0], count.spend, count.earned);
		note_units(account, lots, nlots, &count);
	}
	tier_count(account, counted_at, &count, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	if (was_kept && !is_kept_now)
		ledger_passive(account, counted_at, at);
	MemoryContextSwitchTo(old);
}

/* ---- grants by hand ---- */

int64
ledger_keep_grant(Account *account, Lot *lot, bool kept, const char *reason, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	int			first = account->nmovements;

	if (kept)
	{
		give_back(account, lot, lot->points, at);
		lot->kept_amount = NULL;
	}
	else
	{
		Due		   *dues = palloc(sizeof(Due));
		int			n;

		dues[0] = (Due) {lot, lot->points};
		lot->kept_amount = money_zero();
		n = add_moved(account, &dues, 1);
		take_back(account, dues, n, at);
	}
	lot->changed = true;
	ledger_pay_debts(account, at);
	for (int i = first; i < account->nmovements; i++)
		if (account->movements[i].kind == ENTRY_CLAWBACK)
			account->movements[i].reason = reason;
	MemoryContextSwitchTo(old);
	return ledger_note(account);
}

/* ---- taking back ---- */

/* Points of an award may have another life by now: the lots where they lie pay as its own do, and lose nothing themselves. */
static int
add_moved(Account *account, Due **dues, int n)
{
	int			all = n;
	Points		missing = 0;

	for (int i = 0; i < n; i++)
		missing = points_add(missing, (*dues)[i].points - Min((*dues)[i].lot->remaining, (*dues)[i].points));
	for (int i = 0; i < n && missing > 0; i++)
	{
		LotPlace   *places;
		int			nplaces = store_read_moved(account, (*dues)[i].lot->entry_no, &places);

		if (nplaces == 0)
			continue;
		*dues = repalloc(*dues, mul_size(all + nplaces, sizeof(Due)));
		for (int j = 0; j < nplaces; j++)
			(*dues)[all++] = (Due) {ledger_lot(account, places[j].expires_at, places[j].entry_no), 0};
	}
	return all;
}

/* What a lot has, alive or dead, for what an award's lot is to lose. */
static void
take_from(Account *account, Lot *payer, Due *due, TimestampTz at)
{
	Points		part = Min(payer->remaining, due->points);
	int64		origin = payer == due->lot ? 0 : due->lot->entry_no;

	if (part == 0)
		return;
	if (ledger_lives(account, payer, at))
		ledger_change_lot(account, payer, -part, at);
	else
	{
		/* what has expired counts as taken: the expiry becomes a clawback */
		payer->remaining -= part;
		payer->changed = true;
		ledger_move(account, payer, ENTRY_EXPIRE, part, at, 0, 0);
	}
	ledger_move(account, payer, ENTRY_CLAWBACK, -part, at, 0, origin);
	due->points -= part;
}

/* From one lot of the award: its own share, then that of the others. */
static void
take_own(Account *account, Due *dues, int n, int payer, TimestampTz at)
{
	take_from(account, dues[payer].lot, &dues[payer], at);
	for (int i = 0; i < n; i++)
		take_from(account, dues[payer].lot, &dues[i], at);
}

/* From the other available lots in burn order, for an award whose own points were spent. */
static void
take_from_others(Account *account, Due *due, TimestampTz at)
{
	LotCursor	cursor = {0};
	Lot		   *lot;

	while (due->points > 0 && account->available > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (ledger_lives(account, lot, at) && lot->available_at <= at)
			take_from(account, lot, due, at);
	}
}

static int
compare_dues(const void *a, const void *b)
{
	const Lot  *one = ((const Due *) a)->lot;
	const Lot  *two = ((const Due *) b)->lot;

	if (one->expires_at != two->expires_at)
		return one->expires_at < two->expires_at ? -1 : 1;
	return one->entry_no < two->entry_no ? -1 : one->entry_no > two->entry_no;
}

/* The award's lots in burn order: pending ones first, then what is available, then what has expired. */
static void
take_back(Account *account, Due *dues, int n, TimestampTz at)
{
	const Program *program = account->program;
	bool		pending_only = program->clawback == CLAWBACK_PENDING_ONLY;

	if (n > 1)
		qsort(dues, n, sizeof(Due), compare_dues);
	for (int i = 0; i < n; i++)
		if (ledger_lives(account, dues[i].lot, at) && dues[i].lot->available_at > at)
			take_own(account, dues, n, i, at);
	for (int i = 0; i < n && !pending_only; i++)
		if (ledger_lives(account, dues[i].lot, at))
			take_own(account, dues, n, i, at);
	for (int i = 0; i < n; i++)
		if (!ledger_lives(account, dues[i].lot, at))
			take_own(account, dues, n, i, at);
	for (int i = 0; i < n; i++)
	{
		Due		   *due = &dues[i];

		if (!pending_only)
			take_from_others(account, due, at);
		if (due->points == 0)
			continue;
		if (program->clawback == CLAWBACK_DEBT)
			ledger_owe(account, due->lot, due->points, at);
		else
		{
			due->lot->owed = points_add(due->lot->owed, due->points);
			due->lot->changed = true;
		}
	}
}

/* ---- awards that wait ---- */

/* What was taken from the lots of an award is taken from those in which it goes on, for the same shares. */
static void
take_again(Account *account, Lot **fresh, const Points *remaining, int n, TimestampTz at)
{
	Points	   *missing = palloc(n * sizeof(Points));

	for (int i = 0; i < n; i++)
	{
		Breakdown  *breakdown = fresh[i]->breakdown ? breakdown_decode(fresh[i]->breakdown) : NULL;

		missing[i] = points_subtract(fresh[i]->points, kept_points(fresh[i], breakdown, fresh[i]->kept_amount));
	}
	for (int payer = 0; payer < n; payer++)
	{
		Points		taken = points_subtract(fresh[payer]->points, remaining[payer]);

		/* its own share first, then those of the others */
		for (int i = -1; i < n; i++)
		{
			int			of = i < 0 ? payer : i;
			Points		part = Min(missing[of], taken);
			Due			due = {fresh[of], part};

			take_from(account, fresh[payer], &due, at);
			missing[of] -= part;
			taken -= part;
		}
	}
}

void
ledger_release(Account *account, Lot **lots, int nlots, int first_part, const AwardLot *to, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Numeric		kept = lots[0]->kept_amount;
	TimestampTz counted_at = Min(lots[0]->earned_at, lots[0]->at);
	Lot		  **fresh = palloc(nlots * sizeof(Lot *));
	Points	   *remaining = palloc(nlots * sizeof(Points));
	Points		taken;

	for (int i = 0; i < nlots; i++)
		remaining[i] = lots[i]->remaining;
	taken = change_kept(account, lots, nlots, NULL, at);
	if (ledger_keeps_something(lots[0], kept))
		ledger_active(account, Min(lots[0]->earned_at, at));
	for (int i = 0; i < nlots; i++)
	{
		const Lot  *lot = lots[i];
		bool		alive = ledger_lives(account, lot, at);

		/* what has died stays dead */
		fresh[i] = ledger_grant(account, lot->points, LOT_AWARD, lot->earned_at, to[i].available_at,
								alive ? to[i].expires_at : Min(Min(lot->expires_at, at), to[i].expires_at),
								alive && to[i].with_account, at);
		fresh[i]->source_id = lot->source_id;
		fresh[i]->source_key = lot->source_key;
		fresh[i]->part = first_part + i;
		fresh[i]->amount = lot->amount;
		fresh[i]->kept_amount = kept;
		fresh[i]->breakdown = lot->breakdown;
		fresh[i]->unit = lot->unit;
	}
	take_again(account, fresh, remaining, nlots, at);
	ledger_pay_debts(account, at);
	if (Min(lots[0]->earned_at, at) != counted_at)
	{
		/* a purchase that lay ahead: it counts where it is now found */
		Count		gone = count_of(account, lots, nlots, kept, NULL, -taken);
		Count		come = count_of(account, lots, nlots, NULL, kept, taken);

		tier_count(account, counted_at, &gone, at);
		tier_count(account, Min(lots[0]->earned_at, at), &come, at);
		account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	}
	MemoryContextSwitchTo(old);
}

/* Has lots[i], of the lots of one purchase and account, gone on in another award? */
static bool
moved_on(Lot *const *lots, int nlots, int i)
{
	if (lots[i]->available_at != DT_NOEND || lots[i]->kept_amount != NULL)
		return false;
	if (money_sign(lots[i]->amount) != 0)
		return true;
	/* of an amount of 0 nothing is also what is left of a purchase that is cancelled */
	for (int j = 0; j < nlots; j++)
		if (lots[j]->part / LOTS_AN_AWARD > lots[i]->part / LOTS_AN_AWARD && money_sign(lots[j]->amount) == 0)
			return true;
	return false;
}

int
ledger_leave_moved_on(Lot **lots, int nlots)
{
	Lot		  **left = palloc(Max(nlots, 1) * sizeof(Lot *));
	int			n = 0;

	for (int i = 0; i < nlots; i++)
		if (!moved_on(lots, nlots, i))
			left[n++] = lots[i];
	memcpy(lots, left, n * sizeof(Lot *));
	pfree(left);
	return n;
}

/* ---- giving back ---- */

static void
give_back(Account *account, Lot *lot, Points points, TimestampTz at)
{
	Points		owed = Min(lot->owed, points);

	lot->owed -= owed;
	points -= owed;
	if (points > 0)
		points -= ledger_cancel_debts(account, lot, points, at);
	if (points > 0)
		points -= ledger_undo_payments(account, lot, points, at);
	if (points == 0)
		return;
	ledger_move(account, lot, ENTRY_CLAWBACK, points, at, 0, 0);
	ledger_refill(account, lot, points, at);
}
