/*
 * ledger_keep.c
 *	  A purchase is kept, returned, or comes back: the award follows the row.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - What is taken and given back comes from the stored award and its formula, never from today's rules.
 * - lot.owed is what a return could not take: paid first by what comes back.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "ledger.h"
#include "ledger_entry.h"
#include "limit.h"
#include "money.h"
#include "tier.h"

static void take_back(Account *account, Lot *lot, Points points, TimestampTz at);
static void give_back(Account *account, Lot *lot, Points points, TimestampTz at);

static Points
kept_points(const Lot *lot, const Breakdown *breakdown, Numeric kept)
{
	if (breakdown == NULL || kept == NULL)
		return 0;
	if (money_compare(kept, lot->amount) == 0)
		return breakdown_points(breakdown, NULL, NULL);
	if (money_sign(kept) == 0)
		return 0;
	return breakdown_points(breakdown, kept, lot->amount);
}

/* The points of an award follow its kept amount.  Returns how many were taken. */
static Points
change_kept(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at)
{
	Points		taken = 0;

	kept = kept ? money_copy(kept) : NULL;
	for (int i = 0; i < nlots; i++)
	{
		Lot		   *lot = lots[i];
		Breakdown  *breakdown = lot->breakdown ? breakdown_decode(lot->breakdown) : NULL;
		Points		take = points_subtract(kept_points(lot, breakdown, lot->kept_amount),
										   kept_points(lot, breakdown, kept));

		lot->kept_amount = kept;
		lot->changed = true;
		if (take > 0)
			take_back(account, lot, take, at);
		else if (take < 0)
			give_back(account, lot, -take, at);
		taken = points_add(taken, take);
	}
	account->changed = true;
	return taken;
}

void
ledger_keep(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Numeric		former = lots[0]->kept_amount;
	Numeric		difference = money_subtract(kept ? kept : money_zero(), former ? former : money_zero());
	TimestampTz counted_at = Min(lots[0]->earned_at, lots[0]->at);
	Points		taken;

	if (account->program->nlimits > 0)
		limit_keep(account, lots[0], kept);
	taken = change_kept(account, lots, nlots, kept, at);
	tier_count(account, counted_at, difference, -taken, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
}

void
ledger_release(Account *account, Lot **lots, int nlots, int first_part, const AwardLot *to, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Numeric		kept = lots[0]->kept_amount;
	TimestampTz counted_at = Min(lots[0]->earned_at, lots[0]->at);
	Lot		  **fresh = palloc(nlots * sizeof(Lot *));
	Points		taken = change_kept(account, lots, nlots, NULL, at);

	for (int i = 0; i < nlots; i++)
	{
		const Lot  *lot = lots[i];

		/* what has died stays dead */
		fresh[i] = ledger_grant(account, lot->points, LOT_AWARD, lot->earned_at, to[i].available_at,
								lot->expires_at > at ? to[i].expires_at : Min(lot->expires_at, to[i].expires_at), at);
		fresh[i]->source_id = lot->source_id;
		fresh[i]->source_key = lot->source_key;
		fresh[i]->part = first_part + i;
		fresh[i]->amount = fresh[i]->kept_amount = lot->amount;
		fresh[i]->breakdown = lot->breakdown;
	}
	if (money_compare(kept, lots[0]->amount) != 0)
		change_kept(account, fresh, nlots, kept, at);
	if (Min(lots[0]->earned_at, at) != counted_at)
	{
		/* a purchase that lay ahead: it counts where it is now found */
		tier_count(account, counted_at, money_subtract(money_zero(), kept), -taken, at);
		tier_count(account, Min(lots[0]->earned_at, at), kept, taken, at);
		account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	}
	MemoryContextSwitchTo(old);
}

bool
ledger_moved_on(Lot **lots, int nlots, int i)
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

/* From the other available lots in burn order, for an award whose own points were spent. */
static Points
take_from_others(Account *account, Lot *award, Points points, TimestampTz at)
{
	LotCursor	cursor = {0};
	Lot		   *lot;

	while (points > 0 && account->available > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		Points		part = Min(lot->remaining, points);

		CHECK_FOR_INTERRUPTS();
		if (lot == award || part == 0 || lot->expires_at <= at || lot->available_at > at)
			continue;
		ledger_change_lot(account, lot, -part, at);
		ledger_move(account, lot, ENTRY_CLAWBACK, -part, at, 0, award->entry_no);
		points -= part;
	}
	return points;
}

static void
take_back(Account *account, Lot *lot, Points points, TimestampTz at)
{
	bool		pending_only = account->program->clawback == CLAWBACK_PENDING_ONLY;
	Points		own = Min(lot->remaining, points);

	if (own > 0 && lot->expires_at <= at)
	{
		/* what has expired counts as taken: the expiry becomes a clawback */
		lot->remaining -= own;
		lot->changed = true;
		ledger_move(account, lot, ENTRY_EXPIRE, own, at, 0, 0);
		ledger_move(account, lot, ENTRY_CLAWBACK, -own, at, 0, 0);
		points -= own;
	}
	else if (own > 0 && !(pending_only && lot->available_at <= at))
	{
		ledger_change_lot(account, lot, -own, at);
		ledger_move(account, lot, ENTRY_CLAWBACK, -own, at, 0, 0);
		points -= own;
	}
	if (points > 0 && !pending_only)
		points = take_from_others(account, lot, points, at);
	lot->owed = points_add(lot->owed, points);
}

static void
give_back(Account *account, Lot *lot, Points points, TimestampTz at)
{
	Points		owed = Min(lot->owed, points);

	lot->owed -= owed;
	lot->changed = true;
	points -= owed;
	if (points == 0)
		return;
	ledger_move(account, lot, ENTRY_CLAWBACK, points, at, 0, 0);
	if (lot->expires_at > at)
		ledger_change_lot(account, lot, points, at);
	else
	{
		lot->remaining = points_add(lot->remaining, points);
		ledger_move(account, lot, ENTRY_EXPIRE, -points, at, 0, 0);
	}
}
