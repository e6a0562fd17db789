/*
 * ledger_hold.c
 *	  Points are reserved, spent after all or given back, and spent points come back.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - A movement `hold` takes points out of a lot (negative) or puts them back (positive); account.held is the sum of
 *	 all of them.  Capturing puts them back and takes them as `redeem`; so every figure is a sum of entries by time.
 * - Of what a redemption took, in order, the first `taken` points are held or spent still: what comes back comes
 *	 from the end, into its own lot.
 * - A restored point pays first what its lot owes, its debts among that; if it lives, then other debts.  Where the lot has died
 *	 the point is dead: nothing is immortal.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "errcodes.h"
#include "ledger.h"
#include "ledger_entry.h"
#include "store.h"

const char *const redemption_state_names[] = {
	[REDEMPTION_HELD] = "held",
	[REDEMPTION_CAPTURED] = "captured",
	[REDEMPTION_RELEASED] = "released",
	[REDEMPTION_REVERSED] = "reversed",
};

static void return_points(Account *account, Redemption *redemption, Points points, EntryKind kind, TimestampTz at,
						  Returned *returned);

/* ---- redemptions in memory ---- */

static Redemption *
known_redemption(Account *account, int64 redemption_id)
{
	for (int i = 0; i < account->nredemptions; i++)
		if (account->redemptions[i]->redemption_id == redemption_id)
			return account->redemptions[i];
	return NULL;
}

void
ledger_take_redemption(Account *account, Redemption *redemption)
{
	if (known_redemption(account, redemption->redemption_id))
		return;
	if (account->nredemptions == account->max_redemptions)
	{
		account->max_redemptions = Max(4, account->max_redemptions * 2);
		account->redemptions = account->redemptions == NULL
			? MemoryContextAlloc(account->context, account->max_redemptions * sizeof(Redemption *))
			: repalloc(account->redemptions, mul_size(account->max_redemptions, sizeof(Redemption *)));
	}
	account->redemptions[account->nredemptions++] = redemption;
}

Redemption *
ledger_redemption(Account *account, int64 redemption_id)
{
	Redemption *redemption = known_redemption(account, redemption_id);

	if (redemption == NULL)
	{
		redemption = store_find_redemption(account->store, account->member_id, redemption_id, account->context);
		if (redemption && redemption->program_id == account->program->id)
			ledger_take_redemption(account, redemption);
		else
			redemption = NULL;
	}
	return redemption;
}

Redemption *
ledger_first_lapse(Account *account)
{
	Redemption *first = NULL;

	if (account->held == 0)
		return NULL;
	if (!account->holds_read)
		store_read_holds(account);
	account->holds_read = true;
	for (int i = 0; i < account->nredemptions; i++)
	{
		Redemption *hold = account->redemptions[i];

		if (hold->state == REDEMPTION_HELD &&
			(first == NULL || hold->held_until < first->held_until ||
			 (hold->held_until == first->held_until && hold->redemption_id < first->redemption_id)))
			first = hold;
	}
	if (first == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("account of member " INT64_FORMAT " holds points for no redemption", account->member_id),
				 errdetail("Held are %s points.", points_to_text(account->held)),
				 errhint("Call SELECT * FROM loyalty.verify().")));
	return first;
}

static void
set_state(Account *account, Redemption *redemption, RedemptionState state, TimestampTz at)
{
	redemption->state = state;
	redemption->changed_at = at;
	redemption->changed = true;
	if (state == REDEMPTION_RELEASED || state == REDEMPTION_REVERSED)
		redemption->gives_stock = redemption->reward_id != 0;
	account->changed = true;
}

/* ---- holds ---- */

void
ledger_hold(Account *account, Redemption *redemption, TimestampTz at)
{
	Assert(redemption->held_until > at && redemption->state == REDEMPTION_HELD);
	ledger_burn(account, redemption->points, ENTRY_HOLD, redemption->redemption_id, at, &redemption->first_entry,
				&redemption->last_entry);
	account->held = points_add(account->held, redemption->points);
	account->next_change_at = Min(account->next_change_at, redemption->held_until);
	ledger_take_redemption(account, redemption);
}

Returned
ledger_unhold(Account *account, Redemption *redemption, TimestampTz at)
{
	Returned	returned = {0};

	Assert(redemption->state == REDEMPTION_HELD && at >= account->settled_at);
	return_points(account, redemption, redemption->taken, ENTRY_HOLD, at, &returned);
	set_state(account, redemption, REDEMPTION_RELEASED, at);
	return returned;
}

/* What is held still leaves its lots once more, as spent. */
void
ledger_capture(Account *account, Redemption *redemption, Points points, TimestampTz at)
{
	Returned	returned = {0};
	Points		left = points;
	Movement   *taking;
	int			n;

	Assert(redemption->state == REDEMPTION_HELD && points > 0 && points <= redemption->taken);
	return_points(account, redemption, redemption->taken - points, ENTRY_HOLD, at, &returned);
	n = store_read_taking(account, redemption, &taking);
	for (int i = 0; i < n && left > 0; i++)
	{
		Lot			name = {.expires_at = taking[i].lot_expires_at, .entry_no = taking[i].lot_entry_no};
		Points		part = Min(-taking[i].points, left);

		CHECK_FOR_INTERRUPTS();
		ledger_move(account, &name, ENTRY_HOLD, part, at, redemption->redemption_id, 0);
		ledger_move(account, &name, ENTRY_REDEEM, -part, at, redemption->redemption_id, 0);
		left -= part;
	}
	Assert(left == 0);
	account->held = points_subtract(account->held, points);
	set_state(account, redemption, REDEMPTION_CAPTURED, at);
}

/* ---- reversals ---- */

Returned
ledger_reverse(Account *account, Redemption *redemption, Points points, TimestampTz at)
{
	Returned	returned = {0};

	Assert(redemption->state == REDEMPTION_CAPTURED && at >= account->settled_at);
	return_points(account, redemption, points, ENTRY_RESTORE, at, &returned);
	set_state(account, redemption, redemption->taken == 0 ? REDEMPTION_REVERSED : REDEMPTION_CAPTURED, at);
	return returned;
}

/* Into one lot, or to what had paid for its return: see ledger_come_back().  What is neither alive nor dead was owed. */
static void
return_to_lot(Account *account, Lot *lot, Points points, EntryKind kind, int64 redemption_id, TimestampTz at,
			  Returned *returned)
{
	int			first = account->nmovements;
	Points		alive = ledger_come_back(account, lot, points, kind, redemption_id, 0, at);
	Points		dead = 0;

	for (int i = first; i < account->nmovements; i++)
		if (account->movements[i].kind == ENTRY_EXPIRE)
			dead = points_subtract(dead, account->movements[i].points);
	returned->alive = points_add(returned->alive, alive);
	returned->dead = points_add(returned->dead, dead);
	returned->owed = points_add(returned->owed, points - alive - dead);
}

static void
return_points(Account *account, Redemption *redemption, Points points, EntryKind kind, TimestampTz at,
			  Returned *returned)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Points		back = redemption->points - redemption->taken;	/* came back before */
	Points		left = points;
	Points		debt;
	Points		paid;
	Movement   *taking;
	int			n = points > 0 ? store_read_taking(account, redemption, &taking) : 0;

	Assert(points <= redemption->taken);
	for (int i = n - 1; i >= 0 && left > 0; i--)
	{
		Points		part = -taking[i].points;
		Points		passed = Min(part, back);

		CHECK_FOR_INTERRUPTS();
		back -= passed;
		part = Min(part - passed, left);
		if (part == 0)
			continue;
		return_to_lot(account, ledger_lot(account, taking[i].lot_expires_at, taking[i].lot_entry_no), part, kind,
					  redemption->redemption_id, at, returned);
		left -= part;
	}
	if (left > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("redemption " INT64_FORMAT " of member " INT64_FORMAT " has taken less than it says",
						redemption->redemption_id, account->member_id),
				 errdetail("%s points are missing.", points_to_text(left)),
				 errhint("Call SELECT * FROM loyalty.verify().")));
	redemption->taken -= points;
	redemption->changed = true;
	if (kind == ENTRY_HOLD)
		account->held = points_subtract(account->held, points);
	debt = account->debt;
	ledger_pay_debts(account, at);
	paid = Min(points_subtract(debt, account->debt), returned->alive);
	returned->alive -= paid;
	returned->owed = points_add(returned->owed, paid);
	MemoryContextSwitchTo(old);
}
