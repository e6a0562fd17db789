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
#include "utils/jsonb.h"
#include "utils/snapshot.h"

#include "ledger.h"

/* Lots found for one source key, all parts, also those of other members. */
typedef struct KeyLots
{
	int			nlots;
	Lot		  **lots;
} KeyLots;

/* A burn, as the columns of loyalty.redemption; NULL, 0: nothing said. */
typedef struct Redemption
{
	int64		redemption_id;
	int32		reward_id;
	int32		quantity;
	Points		points;
	const char *state;
	const char *key;
	const char *reason;
	const char *voucher;
	int64		first_entry;
	int64		last_entry;
	TimestampTz at;
} Redemption;

/* A call that came with a key, as the columns of loyalty.request. */
typedef struct Request
{
	const char *key;
	const char *call;
	Jsonb	   *arguments;
	int64		redemption_id;	/* 0: none */
	int64		entry_no;		/* 0: none */
	TimestampTz at;
} Request;

extern Store *store_open(TimestampTz posted_at);
extern Store *store_open_reader(Snapshot snapshot);	/* sees what the snapshot sees, locks and writes nothing */
extern void store_close(Store *store);

/*
 * Lock and read the accounts of `members` (ascending, distinct) in one program.  Unknown ones are enrolled when
 * enrolled_at is given and says when (infinity: not at all), else accounts[i] is NULL.  Allocates in `context`.  A member
 * who was merged after the transaction looked (config_member_now) is a serialization failure.
 */
extern void store_lock_accounts(Store *store, const Program *program, int n, const int64 *members,
								const TimestampTz *enrolled_at, MemoryContext context, Account **accounts);

/* The same for one account without a lock and without enrolling: NULL when there is none. */
extern Account *store_read_account(Store *store, const Program *program, int64 member, MemoryContext context);

/* Lock and read one account without waiting: NULL when there is none, or when somebody else holds it. */
extern Account *store_try_account(Store *store, const Program *program, int64 member, MemoryContext context);

/* Which accounts come next in primary-key order, with the instant at which each changes; returns how many. */
typedef struct AccountAt
{
	int64		member_id;
	int32		program_id;
	TimestampTz next_change_at;
} AccountAt;

extern int	store_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts);

/* Fill attributes and birth_date of accounts (NULL ones are passed over) for rules that ask for member.*. */
extern void store_read_members(Store *store, Account **accounts, int n);

/* Append at least one and at most `n` further open lots to account->lots; sets all_read at the end. */
extern void store_read_lots(Account *account, int n);

/*
 * The lots of the same account to which points of this lot went on (loyalty.lot_origin), over any number of steps, in
 * burn order; returns how many.  `clawed`: what was taken from them in this lot's stead, as far as it is written.
 */
typedef struct MovedLot
{
	Lot		   *lot;
	Points		clawed;
} MovedLot;

extern int	store_read_moved(Account *account, const Lot *lot, MovedLot **moved);

/* Lots of source keys; results[i] for keys[i]. */
extern void store_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context,
							 KeyLots *results);

/* All lots of a source in the order of (key, part), "C": begin, then next until NULL.  Allocates in `context`. */
extern void store_begin_source(Store *store, int32 source_id);
extern Lot *store_next_source_lot(Store *store, MemoryContext context);

/* true when no lot of the source has a key in [low, high] ("C" order): then nothing needs probing */
extern bool store_keys_fresh(Store *store, int32 source_id, const char *low, const char *high);

/*
 * For a big statement whose keys and accounts are hoped to be new.  From here on the keys of new lots are indexed at
 * the end, in store_close(), and an unknown account is not stored when it is locked but when it is written, which
 * saves writing it twice; so the caller locks one account at a time, works and writes it, and takes the next.
 * (Locks and inserts are then still in one order.)  What is there after all ends in unique_violation.
 */
extern void store_hope(Store *store);

extern void store_insert_lots(Account *account, Lot **lots, int n);
extern void store_change_lots(Account *account, Lot **lots, int n);
extern void store_insert_movements(Account *account, const Movement *movements, int n);
extern void store_insert_tier_changes(Account *account, const TierChange *changes, int n);
extern void store_change_account(Account *account);

/* Redemptions and requests of a locked account. */
extern int64 store_next_redemption(Store *store);
extern void store_insert_redemption(Account *account, const Redemption *redemption);
extern bool store_find_redemption(Account *account, int64 redemption_id, Redemption *redemption);
extern void store_insert_request(Account *account, const Request *request);
extern bool store_find_request(Account *account, const char *key, Request *request);

/* Inserts may be kept back to be written together; this writes them. */
extern void store_flush(Store *store);

#endif
