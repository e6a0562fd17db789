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

/* A lot by its name, read unless the account has it. */
extern Lot *ledger_lot(Account *account, TimestampTz expires_at, int64 entry_no);

/* The open hold that lapses first; NULL: none.  Costs nothing where nothing is held. */
extern Redemption *ledger_first_lapse(Account *account);

#endif
