/*
 * ledger_entry.h
 *	  What the files of the ledger share and nobody else may call: one movement, one change of one lot.
 */
#ifndef LOYALTY_LEDGER_ENTRY_H
#define LOYALTY_LEDGER_ENTRY_H

#include "ledger.h"

/* Note a movement; what it does to the lot is the caller's.  `origin`: see Movement; 0: none. */
extern void ledger_move(Account *account, Lot *lot, EntryKind kind, Points points, TimestampTz at,
						int64 redemption_id, int64 origin);

/* A live lot gains or loses points, and the balance (available or pending) with it. */
extern void ledger_change_lot(Account *account, Lot *lot, Points points, TimestampTz at);

/*
 * An award's points may lie in other lots of the account by now.  Take up to `points` from there, or give back what was
 * taken from there; returns what is left over.
 */
extern Points ledger_take_moved(Account *account, const Lot *award, Points points, TimestampTz at);
extern Points ledger_give_moved(Account *account, const Lot *award, Points points, TimestampTz at);

#endif
