/*
 * store_ops.h
 *	  What a room behind the door of store.h must be able to do.
 *
 * For store.c and the rooms alone.  Each function keeps the contract that store.h gives the one of its name.
 */
#ifndef LOYALTY_STORE_OPS_H
#define LOYALTY_STORE_OPS_H

#include "postgres.h"

#include "store.h"

typedef struct StoreOps
{
	const char *name;
	Size		size;			/* of the room's own struct, which begins with a Store */
	void		(*open) (Store *store);
	void		(*close) (Store *store);	/* after flush; the store's context is deleted next */
	void		(*hope) (Store *store);
	void		(*flush) (Store *store);

	void		(*lock_accounts) (Store *store, const Program *program, int n, const int64 *members,
								  const TimestampTz *enrolled_at, MemoryContext context, Account **accounts);
	Account    *(*read_account) (Store *store, const Program *program, int64 member, MemoryContext context);
	Account    *(*try_account) (Store *store, const Program *program, int64 member, MemoryContext context);
	int			(*walk_accounts) (Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts);
	void		(*read_members) (Store *store, Account **accounts, int n);
	void		(*change_account) (Account *account);

	void		(*read_lots) (Account *account, int n);
	int			(*read_moved) (Account *account, int64 entry_no, LotPlace **places);
	int			(*read_back) (Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context,
							  Lot **lots);
	Lot		   *(*find_lot) (Account *account, TimestampTz expires_at, int64 entry_no);
	void		(*probe_keys) (Store *store, int32 source_id, int n, char **keys, MemoryContext context,
							   KeyLots *results);
	void		(*begin_source) (Store *store, int32 source_id);
	Lot		   *(*next_source_lot) (Store *store, MemoryContext context);
	void		(*insert_lots) (Account *account, Lot **lots, int n);
	void		(*change_lots) (Account *account, Lot **lots, int n);

	void		(*insert_movements) (Account *account, const Movement *movements, int n);
	int			(*read_taking) (Account *account, const Redemption *redemption, Movement **movements);
	int			(*read_origin) (Account *account, int64 origin, Movement **movements);
	void		(*read_debts) (Account *account);
	void		(*insert_debts) (Account *account, Debt **debts, int n);
	void		(*change_debts) (Account *account, Debt **debts, int n);
	void		(*insert_tier_changes) (Account *account, const TierChange *changes, int n);
	void		(*find_refunds) (Store *store, bool of_purchase, int32 source_id, const char *key, MemoryContext context,
								 Refunds *found);
	int			(*read_refunds) (Store *store, int32 source_id, const char *after_key, int32 after_part, int n,
								 MemoryContext context, Refund **refunds);
	void		(*insert_refund) (Store *store, const Refund *refund);
	void		(*delete_refund) (Store *store, const Refund *refund);
	void		(*read_usage) (Account *account, Usage *usage);
	void		(*change_usage) (Account *account, Usage *usage);
	int			(*read_uses) (Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages);
	int			(*read_counters) (Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n,
								  Counter **counters);
	void		(*change_counter) (Account *account, Counter *counter);
	int			(*read_visits) (Account *account, const char *visit, Visit ***visits);
	void		(*change_visit) (Account *account, Visit *visit);
	bool		(*find_visit_of) (Account *account, int32 source_id, const char *source_key, VisitOf *of);
	void		(*insert_visit_of) (Account *account, const VisitOf *of);
	void		(*read_progress) (Account *account, Progress *progress);
	void		(*change_progress) (Account *account, Progress *progress);
	int32		(*read_challenge_awards) (Account *account, int32 challenge_id, TimestampTz period_start, Points *owed);
	void		(*insert_challenge_award) (Account *account, const ChallengeAward *award);
	void		(*insert_intervention) (Account *account, const Intervention *intervention, TimestampTz at, Oid role);
	void		(*insert_redemption) (Account *account, const Redemption *redemption);
	void		(*change_redemption) (Account *account, Redemption *redemption);
	Redemption *(*find_redemption) (Store *store, int64 member, int64 redemption_id, MemoryContext context);
	void		(*read_holds) (Account *account);
	void		(*read_spent) (Account *account, int32 source_id, const char *source_key);
	void		(*insert_request) (Account *account, const Request *request);
	bool		(*find_request) (Account *account, const char *key, Request *request);
} StoreOps;

/* What both rooms have. */
struct Store
{
	const StoreOps *ops;
	MemoryContext context;
	TimestampTz posted_at;
	const Oid  *relations;		/* by StoreTableId */
	Snapshot	snapshot;		/* of a reader; a writer's is its room's affair */
	bool		reader;
	bool		hoping;
};

/* Another session has changed what a row returns: only where it is not of the member whose account is locked. */
extern void store_refuse_refund(const Refund *refund) pg_attribute_noreturn();

extern const StoreOps store_heap;
extern const StoreOps store_sql;

#endif
