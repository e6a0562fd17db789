/*
 * ledger_entry.h
 *	  What the files of the ledger share and nobody else may call: one movement, one change of one lot.
 */
#ifndef LOYALTY_LEDGER_ENTRY_H
#define LOYALTY_LEDGER_ENTRY_H

#include "ledger.h"
#include "tier.h"

/* Note a movement; what it does to the lot is the caller's.  `origin`: see Movement; 0: none. */
extern void ledger_move(Account *account, Lot *lot, EntryKind kind, Points points, TimestampTz at,
						int64 redemption_id, int64 origin);

/*
 * ledger_payer.c: a purchase comes back.  Who paid in the place of this lot of it, or the lot itself to its debt, has up to
 * `points` again; returns how many.
 */
extern Points ledger_undo_payments(Account *account, Lot *lot, Points points, TimestampTz at);

/*
 * Points come back to a lot that they had left, by a movement of `kind` (see Movement for the rest).  Its own owed
 * points are paid first (not under pending_only), then the lots that paid for its return have theirs back; dead points
 * stay dead.  Returns how many are alive; when all is restored, ledger_pay_debts() takes from them what is owed.
 */
extern Points ledger_come_back(Account *account, Lot *lot, Points points, EntryKind kind, int64 redemption_id,
							   int64 origin, TimestampTz at);

/* Points go back into a lot, which may have died; the movement that says why is the caller's. */
extern void ledger_refill(Account *account, Lot *lot, Points points, TimestampTz at);

/* ledger_debt.c: a return found `points` of an award's lot nowhere, or the purchase comes back (returns how many). */
extern void ledger_owe(Account *account, Lot *award, Points points, TimestampTz at);
extern Points ledger_cancel_debts(Account *account, Lot *award, Points points, TimestampTz at);
/* Points come back to such a lot: returns how many of them repay its debts. */
extern Points ledger_pay_own_debts(Account *account, Lot *award, Points points, TimestampTz at);
extern void ledger_write_debts(Account *account);

/* A live lot gains or loses points, and the balance (available or pending) with it. */
extern void ledger_change_lot(Account *account, Lot *lot, Points points, TimestampTz at);

/*
 * ledger_life.c: the account's first life begins; the number of that which points of now share (0: it is over); it ends;
 * a purchase of this instant is kept no more; one comes back, and with it its lots from which all was taken.
 */
extern void ledger_begin_life(Account *account);
extern int16 ledger_present_life(Account *account, TimestampTz at);
extern void ledger_end_life(Account *account, TimestampTz at);
extern void ledger_passive(Account *account, TimestampTz active_at, TimestampTz at);
extern void ledger_revive(Account *account, Lot **lots, int nlots, TimestampTz active_at, TimestampTz at);

/* From `at` on, expiry is suspended for the account's live points; for a lot that is granted or refilled since. */
extern void ledger_suspend(Account *account, TimestampTz at);
extern void ledger_suspend_lot(Account *account, Lot *lot);

/* The account's copy of a lot, whatever way it was read; NULL: it has none. */
extern Lot *ledger_known_lot(Account *account, int64 entry_no);

/* What an award gives of a status unit, with room for so many. */
extern void ledger_add_unit(Count *count, int room, int32 unit, Points value);

/* The open hold that lapses first; NULL: none.  Costs nothing where nothing is held. */
extern Redemption *ledger_first_lapse(Account *account);

/* Is anything of a purchase kept?  All or nothing of one whose amount is 0. */
extern bool ledger_keeps_something(const Lot *lot, Numeric kept);

#endif
