/*
 * store.h
 *	  The only door to the tables of the ledger.  It reads and writes; it never decides.
 *
 * - A store is opened for one statement or call and closed at its end.
 * - lock_accounts takes NO KEY UPDATE locks in the order given; the caller orders by (program, member).
 * - What is read after a lock was taken is what the last holder of that lock committed.
 * - Lots are changed in remaining, owed and kept_amount alone, so that every such update is HOT.
 */
#ifndef LOYALTY_STORE_H
#define LOYALTY_STORE_H

#include "postgres.h"
#include "utils/snapshot.h"

#include "ledger.h"

/* Lots found for one source key, all parts, also those of other members. */
typedef struct KeyLots
{
	int			nlots;
	Lot		  **lots;
} KeyLots;

extern Store *store_open(TimestampTz posted_at);
extern Store *store_open_reader(Snapshot snapshot);	/* sees what the snapshot sees, locks and writes nothing */
extern void store_close(Store *store);

/*
 * Lock and read the accounts of `members` (ascending, distinct) in one program.  Unknown ones are enrolled when
 * enrolled_at is given and says when (infinity: not at all), else accounts[i] is NULL.  Allocates in `context`.
 */
extern void store_lock_accounts(Store *store, const Program *program, int n, const int64 *members,
								const TimestampTz *enrolled_at, MemoryContext context, Account **accounts);

/* The same for one account without a lock and without enrolling: NULL when there is none. */
extern Account *store_read_account(Store *store, const Program *program, int64 member, MemoryContext context);

/* Append at least one and at most `n` further open lots to account->lots; sets all_read at the end. */
extern void store_read_lots(Account *account, int n);

/* Lots of source keys; results[i] for keys[i]. */
extern void store_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context,
							 KeyLots *results);

/* true when no lot of the source has a key in [low, high] ("C" order): then nothing needs probing */
extern bool store_keys_fresh(Store *store, int32 source_id, const char *low, const char *high);

/*
 * From here on the keys of new lots may be indexed late, at the latest by store_close(): for statements whose keys
 * nobody asks for before.  A key that is there already is then found out late, as unique_violation.
 */
extern void store_defer_keys(Store *store);

extern void store_insert_lots(Account *account, Lot **lots, int n);
extern void store_change_lots(Account *account, Lot **lots, int n);
extern void store_insert_movements(Account *account, const Movement *movements, int n);
extern void store_insert_tier_changes(Account *account, const TierChange *changes, int n);
extern void store_change_account(Account *account);

/* Inserts may be kept back to be written together; this writes them. */
extern void store_flush(Store *store);

#endif
