/*
 * ledger_move.c
 *	  Points go on to another lot: of another member, or of the same one with another life.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - A lot's expiry never changes, so points get another one in a new lot.  What is moved was alive and stays what it
 *	 was: earned when it was earned, pending as long as it was pending.
 * - Points that live as long as their account is active live as long as the new one is; where that is over already, they
 *	 keep the date that they had.
 * - Nothing that has died is moved: nothing comes back to life.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "ledger.h"
#include "ledger_entry.h"

/* Note where the points that `movement` took out of `from` lie now. */
static Moved
move_to(Account *account, const Lot *from, const Movement *movement, TimestampTz expires_at, bool with_account, TimestampTz at)
{
	Lot		   *to = ledger_grant(account, -movement->points, LOT_TRANSFER, from->earned_at, from->available_at, expires_at,
								  with_account, at);

	return (Moved) {.from = from, .to = to, .moved_by = movement->entry_no};
}

/* What does not die while its owner holds a tier has with another one the date that leaving the tier would give it. */
static TimestampTz
end_elsewhere(const Account *from, const Lot *lot, TimestampTz at)
{
	if (lot->life < 0 && ledger_is_suspended(from))
		return Max(lot->expires_at, expiry_instant(&from->program->expiry, at, from->program->zone));
	return ledger_end_of(from, lot);
}

Moved *
ledger_transfer(Account *from, Account *to, Points points, const char *reason, TimestampTz at, int *n)
{
	MemoryContext old = MemoryContextSwitchTo(to->context);
	LotCursor	cursor = {0};
	int			first = from->nmovements;
	int64		entry_no;
	Moved	   *moved;

	ledger_burn(from, points, ENTRY_TRANSFER, 0, at, &entry_no, &entry_no);
	*n = from->nmovements - first;
	moved = palloc(mul_size(*n, sizeof(Moved)));
	for (int i = 0; i < *n; i++)
	{
		Movement   *movement = &from->movements[first + i];
		Lot		   *lot;

		CHECK_FOR_INTERRUPTS();
		movement->reason = reason;
		/* both stand in burn order */
		do
			lot = ledger_next_lot(from, &cursor);
		while (lot->entry_no != movement->lot_entry_no);
		moved[i] = move_to(to, lot, movement, end_elsewhere(from, lot, at), lot->life > 0, at);
	}
	MemoryContextSwitchTo(old);
	return moved;
}

Moved *
ledger_change_expiry(Account *account, Lot **lots, int n, TimestampTz expires_at, const char *reason, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Moved	   *moved = palloc(mul_size(n, sizeof(Moved)));

	for (int i = 0; i < n; i++)
	{
		Points		points = lots[i]->remaining;
		Movement   *movement;

		CHECK_FOR_INTERRUPTS();
		Assert(points > 0 && ledger_lives(account, lots[i], at) && expires_at > Max(at, lots[i]->available_at));
		ledger_change_lot(account, lots[i], -points, at);
		ledger_move(account, lots[i], ENTRY_TRANSFER, -points, at, 0, 0);
		movement = &account->movements[account->nmovements - 1];
		movement->reason = reason;
		moved[i] = move_to(account, lots[i], movement, expires_at, false, at);
	}
	MemoryContextSwitchTo(old);
	return moved;
}
