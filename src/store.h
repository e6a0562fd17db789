/*
 * store.h
 *	  The only door to the tables of the ledger.  It reads and writes; it never decides.
 *
 * - A store is opened for one statement or call and closed at its end.
 * - lock_accounts takes NO KEY UPDATE locks in the order given; the caller orders by program, and member descending.
 * - What is read after a lock was taken is what the last holder of that lock committed.
 * - Lots are changed in remaining, owed, kept_amount and life alone, so that every such update is HOT.
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

/* What a row that is a return takes from one purchase, as the columns of loyalty.refund. */
typedef struct Refund
{
	int64		member_id;
	int64		first_member_id;	/* under whom it was written: the purchase may have changed hands since */
	int32		program_id;
	int32		source_id;
	char	   *source_key;
	int32		part;
	int32		of_source_id;
	char	   *of_key;			/* NULL: no purchase was found */
	Numeric		amount;
	TimestampTz at;
	TimestampTz posted_at;
	ItemPointerData tid;		/* of a row that was read by store_heap */
} Refund;

#define REFUND_OWN_ROW	(-1)	/* part: by how much the purchase's own row has lowered it */

/* Refunds found for one key, by part. */
typedef struct Refunds
{
	int			n;
	Refund	  **rows;
} Refunds;

/* A call that came with a key, as the columns of loyalty.request. */
typedef struct Request
{
	const char *key;
	const char *call;
	Jsonb	   *arguments;
	int64		redemption_id;	/* 0: none */
	int64		entry_no;		/* 0: none */
	TimestampTz at;
	Jsonb	   *answer;			/* NULL: what it made says it */
} Request;

/* What people did to an account by hand, as the columns of loyalty.intervention. */
typedef struct Intervention
{
	const char *action;			/* adjust, unit, undo, redo, opening, transfer, expiry, block, unblock, erase, grant tier, revoke tier */
	int64		entry_no;
	int64		last_entry;		/* 0: none */
	Points		points;			/* 0: none */
	bool		is_lot;			/* then these: */
	bool		counts_for_tier;
	TimestampTz available_at;
	TimestampTz expires_at;
	int32		tier_id;		/* 0: none; else: */
	TimestampTz held_until;
	int32		unit_id;		/* 0: none; then these: */
	Points		value;
	TimestampTz counted_at;
	const char *reason;
	const char *key;
} Intervention;

/* How far an account has come in one period of a challenge, as the columns of loyalty.progress. */
typedef struct Progress
{
	int32		challenge_id;
	TimestampTz period_start;
	TimestampTz period_end;
	TimestampTz completed_at;	/* infinity: the target is not reached */
	int32		times;
	Numeric		value;			/* NULL: was not asked yet */

	/* of this copy */
	ItemPointerData tid;
	bool		stored;
	bool		changed;

	/* what sales have added since; challenge.c's affair */
	const Challenge *challenge;
	Numeric		spend;			/* NULL: none */
	int64		figure;			/* purchases, or a count of 1/10,000 */
	bool		unsettled;		/* more or less is due than was given */
	bool		awards_read;	/* then these: */
	int32		award_no;		/* of its last award; 0: none */
	Points		owed;			/* of all awards of the challenge */
} Progress;

/* What there was for completions, as the columns of loyalty.challenge_award; 0, NULL: none. */
typedef struct ChallengeAward
{
	int32		challenge_id;
	TimestampTz period_start;
	int32		award_no;
	int32		completions;
	Points		points_each;
	Points		points;
	int64		entry_no;
	TimestampTz expires_at;
	const char *badge;
	TimestampTz at;
} ChallengeAward;

extern Store *store_open(TimestampTz posted_at);
extern void store_post_at(Store *store, TimestampTz posted_at);	/* before an account is locked */
extern Store *store_open_reader(Snapshot snapshot);	/* sees what the snapshot sees, locks and writes nothing */
extern void store_close(Store *store);

/*
 * Lock and read the accounts of `members` (descending, distinct: the order of all locks) in one program.  Unknown ones
 * are enrolled when enrolled_at is given and says when (infinity: not at all), else accounts[i] is NULL.  Allocates in
 * `context`.  A member who was merged after the transaction looked (config_member_now) is a serialization failure.
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
	int32		ladder_no;
} AccountAt;

extern int	store_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts);

/* Fill attributes and birth_date of accounts (NULL ones are passed over) for rules that ask for member.*. */
extern void store_read_members(Store *store, Account **accounts, int n);

/* Append at least one and at most `n` further open lots to account->lots; sets all_read at the end. */
extern void store_read_lots(Account *account, int n);

/*
 * The lots of the same account to which points of lot `entry_no` went on (loyalty.lot_origin), over any number of steps;
 * returns how many.
 */
typedef struct LotPlace
{
	TimestampTz expires_at;
	int64		entry_no;
} LotPlace;

extern int	store_read_moved(Account *account, int64 entry_no, LotPlace **places);

/*
 * At most `n` lots of the account, open or not, that come before a position in burn order, the last one first; as they
 * are stored.  Returns how many.
 */
extern int	store_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context,
							Lot **lots);

/* The lot of one place in burn order; NULL when there is none. */
extern Lot *store_find_lot(Account *account, TimestampTz expires_at, int64 entry_no);

/* Lots of source keys, which are in "C" order; results[i] for keys[i]. */
extern void store_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context,
							 KeyLots *results);

/* All lots of a source in the order of (key, part), "C": begin, then next until NULL.  Allocates in `context`. */
extern void store_begin_source(Store *store, int32 source_id);
extern Lot *store_next_source_lot(Store *store, MemoryContext context);

/*
 * For a big statement whose keys and accounts are hoped to be new.  From here on the keys of new lots are indexed at
 * the end, in store_close(), and an unknown account is not stored when it is locked but when it is written, which
 * saves writing it twice; so the caller locks one account at a time, works and writes it, and takes the next.
 * (Locks and inserts are then still in one order.)  What is there after all ends in unique_violation.
 */
extern void store_hope(Store *store);

extern void store_insert_lots(Account *account, Lot **lots, int n);
extern void store_change_lots(Account *account, Lot **lots, int n);
/* The movements by which a redemption took its points, in order; allocated in account->context. */
extern int	store_read_taking(Account *account, const Redemption *redemption, Movement **movements);

extern void store_insert_movements(Account *account, const Movement *movements, int n);
extern void store_insert_tier_changes(Account *account, const TierChange *changes, int n);
extern void store_change_account(Account *account);

/* Refunds that a row is (by its key), or that name a purchase (by its), in the order of key and part. */
extern void store_find_refunds(Store *store, int32 source_id, const char *key, MemoryContext context, Refunds *found);
extern void store_find_refunds_of(Store *store, int32 of_source_id, const char *of_key, MemoryContext context,
								  Refunds *found);

/* At most `n` refunds of a source's rows that come after (key, part); NULL: from the first.  Returns how many. */
extern int	store_read_refunds(Store *store, int32 source_id, const char *after_key, int32 after_part, int n,
							   MemoryContext context, Refund **refunds);

extern void store_insert_refund(Store *store, const Refund *refund);
extern void store_delete_refund(Store *store, const Refund *refund);

/* The account's open debts by ledger_take_debt(), oldest first. */
extern void store_read_debts(Account *account);
extern void store_insert_debts(Account *account, Debt **debts, int n);
extern void store_change_debts(Account *account, Debt **debts, int n);

/* Stored movements of one origin in the order of their entries, in the account's memory; returns how many. */
extern int	store_read_origin(Account *account, int64 origin, Movement **movements);

/* What an account has used of a limited rule in the period that `usage` names: fill it in, when it is there; write it. */
extern void store_read_usage(Account *account, Usage *usage);
extern void store_change_usage(Account *account, Usage *usage);

/* Instants from (inclusive) to (inclusive) at which a rule with a cooldown or a rolling period has paid, as periods that end as they begin. */
extern int	store_read_uses(Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages);

/*
 * Rows of counters that come after (bucket, metric) and up to the bucket `until`, in order, at most `n`, allocated in the
 * account's memory; returns how many.  Write one.
 */
extern int	store_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n,
								Counter **counters);
extern void store_change_counter(Account *account, Counter *counter);

/* All rows of one visit of the account, in its memory; returns how many.  Write one. */
extern int	store_read_visits(Account *account, const char *visit, Visit ***visits);
extern void store_change_visit(Account *account, Visit *visit);

/* Which visit a purchase of the account was; false when nothing says it.  Write it. */
extern bool store_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of);
extern void store_insert_visit_of(Account *account, const VisitOf *of);

/* How far the account has come in the period of a challenge that `progress` names: fill it in, when it is there; write it. */
extern void store_read_progress(Account *account, Progress *progress);	/* as it is when all is flushed */
extern void store_change_progress(Account *account, Progress *progress);

/* The number of the last award of a challenge and period (0: none); what of all its awards is owed. */
extern int32 store_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed);
extern void store_insert_challenge_award(Account *account, const ChallengeAward *award);

/* What was done by hand, at the account's instant, by a role. */
extern void store_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role);

/* Redemptions and requests of a locked account. */
extern int64 store_next_redemption(Store *store);
extern void store_insert_redemption(Account *account, const Redemption *redemption);
extern void store_change_redemption(Account *account, Redemption *redemption);	/* state, taken, changed_at */
extern Redemption *store_find_redemption(Store *store, int64 member, int64 redemption_id, MemoryContext context);	/* NULL: none */

/* Hand to ledger_take_redemption(): all open holds; what was paid with points on a purchase. */
extern void store_read_holds(Account *account);
extern void store_read_spent(Account *account, int32 source_id, const char *source_key);
extern void store_insert_request(Account *account, const Request *request);
extern bool store_find_request(Account *account, const char *key, Request *request);

/* Inserts may be kept back to be written together; this writes them. */
extern void store_flush(Store *store);

#endif
