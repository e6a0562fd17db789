/*
 * ledger_burn.c
 *	  Points leave their lots for a redemption, in burn order.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "errcodes.h"
#include "ledger.h"
#include "ledger_entry.h"

int64
ledger_forfeit(Account *account, const char *reason, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	LotCursor	cursor = {0};
	int			first = account->nmovements;
	Lot		   *lot;

	if (account->debt > 0)
		ledger_grant(account, account->debt, LOT_ADJUST, at, at, DT_NOEND, false, at);	/* pays all that is owed */
	while ((account->available > 0 || account->pending > 0) && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		Points		points = lot->remaining;

		CHECK_FOR_INTERRUPTS();
		if (points == 0 || !ledger_lives(account, lot, at))
			continue;
		ledger_change_lot(account, lot, -points, at);
		ledger_move(account, lot, ENTRY_ADJUST, -points, at, 0, 0);
	}
	for (int i = first; i < account->nmovements; i++)
		if (account->movements[i].kind == ENTRY_ADJUST)
			account->movements[i].reason = reason;
	MemoryContextSwitchTo(old);
	return ledger_note(account);
}

void
ledger_burn(Account *account, Points points, EntryKind kind, int64 redemption_id, TimestampTz at,
			int64 *first_entry, int64 *last_entry)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	LotCursor	cursor = {0};
	bool		leading = true;
	Lot		   *lot;

	Assert(points > 0 && points <= account->available && at >= account->settled_at);
	*first_entry = account->next_entry;
	while (points > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		Points		part = Min(lot->remaining, points);

		CHECK_FOR_INTERRUPTS();
		if (part == 0 || !ledger_lives(account, lot, at))
			continue;
		if (lot->available_at > at)
		{
			leading = false;
			continue;
		}
		ledger_change_lot(account, lot, -part, at);
		ledger_move(account, lot, kind, -part, at, redemption_id, 0);
		points -= part;
		if (leading)
		{
			/* just behind an emptied lot, or at one that still holds points */
			account->open_from_expires_at = lot->expires_at;
			account->open_from_entry_no = lot->entry_no + (lot->remaining == 0 ? 1 : 0);
		}
	}
	if (points > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("lots of member " INT64_FORMAT " hold less than the balance of the account", account->member_id),
				 errdetail("%s points are missing.", points_to_text(points)),
				 errhint("Call SELECT * FROM loyalty.verify().")));
	*last_entry = account->next_entry - 1;
	MemoryContextSwitchTo(old);
}

Points
ledger_take_back(Account *account, Lot **lots, int n, const char *reason, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Points		taken = 0;

	for (int i = 0; i < n; i++)
	{
		Points		points = lots[i]->remaining;

		CHECK_FOR_INTERRUPTS();
		Assert(points > 0 && lots[i]->expires_at > at);
		ledger_change_lot(account, lots[i], -points, at);
		ledger_move(account, lots[i], ENTRY_ADJUST, -points, at, 0, 0);
		account->movements[account->nmovements - 1].reason = reason;
		taken = points_add(taken, points);
	}
	MemoryContextSwitchTo(old);
	return taken;
}
