/*
 * store.c
 *	  The door to the ledger's tables, and which of two rooms lies behind it.
 *
 * Rules:
 * - store_heap writes as COPY does, and so knows plain heap tables alone: no partitions, no shards, no triggers, no
 *	 policies that the owner obeys.  Where a table is more than that, store_sql does the same in SQL.
 * - Nothing but this file chooses, and only when a store is opened.
 * - The answer is kept until one of the tables changes in the relation cache.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "rewrite/prs2lock.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#include "errcodes.h"
#include "guc.h"
#include "store_ops.h"
#include "store_row.h"

/* What was found out, until a table changes. */
static bool known = false;
static bool changed;			/* while we looked */
static const char *obstacle_table;	/* NULL: store_heap can do it */
static const char *obstacle;
static Oid	looked_at[STORE_TABLES];

/* ---- choosing ---- */

static void
forget(Datum arg, Oid relid)
{
	for (int i = 0; i < STORE_TABLES; i++)
		if (!OidIsValid(relid) || relid == looked_at[i])
		{
			known = false;
			changed = true;
		}
}

/* Citus keeps the rows of such a table in shards: the table of that name is an empty shell. */
static bool
is_distributed(Oid relid)
{
	Oid			registry;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	if (!OidIsValid(get_extension_oid("citus", true)))
		return false;
	registry = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	if (!OidIsValid(registry))
		return false;
	rel = table_open(registry, AccessShareLock);
	ScanKeyInit(&key, get_attnum(registry, "logicalrelid"), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Triggers that writing rows would have to fire; the ledger's own are on TRUNCATE. */
static bool
has_write_triggers(const TriggerDesc *t)
{
	return t && (t->trig_insert_before_row || t->trig_insert_after_row || t->trig_insert_instead_row ||
				 t->trig_update_before_row || t->trig_update_after_row || t->trig_update_instead_row ||
				 t->trig_insert_before_statement || t->trig_insert_after_statement ||
				 t->trig_update_before_statement || t->trig_update_after_statement);
}

/* It finds columns by their places.  That there are too few is told where they are written. */
static bool
has_columns_in_place(TupleDesc desc, const StoreLayout *layout)
{
	for (int i = 0; i < Min(desc->natts, layout->ncolumns); i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), layout->columns[i].name) != 0)
			return false;
	return true;
}

/* What store_heap cannot do about a table; NULL: nothing. */
static const char *
table_obstacle(Relation rel, const StoreLayout *layout, bool written)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return "is partitioned";
	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return "is no plain heap table";
	if (is_distributed(RelationGetRelid(rel)))
		return "is distributed by Citus";
	if (rel->rd_rel->relrowsecurity && rel->rd_rel->relforcerowsecurity)
		return "has row security that its owner obeys";
	if (written && has_write_triggers(rel->trigdesc))
		return "has triggers";
	if (written && rel->rd_rules)
		return "has rules";
	if (!has_columns_in_place(RelationGetDescr(rel), layout))
		return "has its columns in another order";
	return NULL;
}

static void
look_at_tables(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
	obstacle = NULL;
	changed = false;
	for (int i = 0; i < STORE_TABLES; i++)
	{
		Relation	rel;
		const char *found;

		looked_at[i] = row_relation(store_layout[i].name);
		rel = table_open(looked_at[i], AccessShareLock);
		found = table_obstacle(rel, &store_layout[i], i != STORE_MEMBER);
		table_close(rel, NoLock);
		if (found && obstacle == NULL)
		{
			obstacle = found;
			obstacle_table = store_layout[i].name;
		}
	}
	known = !changed;
}

static const StoreOps *
choose_room(void)
{
	StoreChoice choice = guc_store();

	if (choice == STORE_CHOICE_SQL)
		return &store_sql;
	if (!known)
		look_at_tables();
	if (obstacle == NULL)
		return &store_heap;
	if (choice == STORE_CHOICE_HEAP)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("loyalty.store is \"heap\", which these tables do not allow"),
				 errdetail("Table loyalty.%s %s.", obstacle_table, obstacle),
				 errhint("RESET loyalty.store lets the extension choose.")));
	return &store_sql;
}

/* ---- opening and closing ---- */

static Store *
create(TimestampTz posted_at, Snapshot snapshot)
{
	const StoreOps *ops = choose_room();
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty store", ALLOCSET_DEFAULT_SIZES);
	Store	   *store = MemoryContextAllocZero(context, ops->size);

	store->ops = ops;
	store->context = context;
	store->posted_at = posted_at;
	store->relations = looked_at;
	store->snapshot = snapshot;
	store->reader = snapshot != NULL;
	ops->open(store);
	return store;
}

Store *
store_open(TimestampTz posted_at)
{
	return create(posted_at, NULL);
}

void
store_post_at(Store *store, TimestampTz posted_at)
{
	store->posted_at = posted_at;
}

Store *
store_open_reader(Snapshot snapshot)
{
	Assert(snapshot != NULL);
	return create(0, snapshot);
}

void
store_close(Store *store)
{
	if (!store->reader)
		store->ops->flush(store);
	store->ops->close(store);
	MemoryContextDelete(store->context);
}

void
store_flush(Store *store)
{
	store->ops->flush(store);
}

void
store_hope(Store *store)
{
	store->hoping = true;
	store->ops->hope(store);
}

/* ---- accounts ---- */

void
store_lock_accounts(Store *store, const Program *program, int n, const int64 *members,
					const TimestampTz *enrolled_at, MemoryContext context, Account **accounts)
{
	Assert(!store->reader);
	store->ops->lock_accounts(store, program, n, members, enrolled_at, context, accounts);
	for (int i = 0; i < n; i++)
		if (accounts[i] && strcmp(accounts[i]->status, "merged") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("member " INT64_FORMAT " was merged into another one meanwhile", members[i]),
					 errhint("Try again: it goes to the other member.")));
}

Account *
store_read_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	return store->ops->read_account(store, program, member, context);
}

Account *
store_try_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	Assert(!store->reader);
	return store->ops->try_account(store, program, member, context);
}

int
store_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts)
{
	return store->ops->walk_accounts(store, after_member, after_program, n, accounts);
}

void
store_read_members(Store *store, Account **accounts, int n)
{
	if (n > 0)
		store->ops->read_members(store, accounts, n);
}

void
store_change_account(Account *account)
{
	account->store->ops->change_account(account);
}

/* ---- lots ---- */

void
store_read_lots(Account *account, int n)
{
	account->store->ops->read_lots(account, n);
}

int
store_read_moved(Account *account, int64 entry_no, LotPlace **places)
{
	return account->store->ops->read_moved(account, entry_no, places);
}

Lot *
store_find_lot(Account *account, TimestampTz expires_at, int64 entry_no)
{
	return account->store->ops->find_lot(account, expires_at, entry_no);
}

void
store_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	store->ops->probe_keys(store, source_id, n, keys, context, results);
}

void
store_begin_source(Store *store, int32 source_id)
{
	store->ops->begin_source(store, source_id);
}

Lot *
store_next_source_lot(Store *store, MemoryContext context)
{
	return store->ops->next_source_lot(store, context);
}

int
store_read_taking(Account *account, const Redemption *redemption, Movement **movements)
{
	return account->store->ops->read_taking(account, redemption, movements);
}

void
store_insert_lots(Account *account, Lot **lots, int n)
{
	if (n > 0)
		account->store->ops->insert_lots(account, lots, n);
}

void
store_change_lots(Account *account, Lot **lots, int n)
{
	if (n > 0)
		account->store->ops->change_lots(account, lots, n);
}

int
store_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context, Lot **lots)
{
	return account->store->ops->read_back(account, expires_at, entry_no, n, context, lots);
}

/* ---- refunds ---- */

void
store_find_refunds(Store *store, int32 source_id, const char *key, MemoryContext context, Refunds *found)
{
	store->ops->find_refunds(store, false, source_id, key, context, found);
}

void
store_find_refunds_of(Store *store, int32 of_source_id, const char *of_key, MemoryContext context, Refunds *found)
{
	store->ops->find_refunds(store, true, of_source_id, of_key, context, found);
}

int
store_read_refunds(Store *store, int32 source_id, const char *after_key, int32 after_part, int n, MemoryContext context,
				   Refund **refunds)
{
	return store->ops->read_refunds(store, source_id, after_key ? after_key : "", after_key ? after_part : REFUND_OWN_ROW - 1,
									n, context, refunds);
}

void
store_insert_refund(Store *store, const Refund *refund)
{
	Assert(!store->reader);
	store->ops->insert_refund(store, refund);
}

void
store_delete_refund(Store *store, const Refund *refund)
{
	Assert(!store->reader);
	store->ops->delete_refund(store, refund);
}

void
store_refuse_refund(const Refund *refund)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent return"),
			 errdetail("Another transaction has changed return \"%s\" of member " INT64_FORMAT ".", refund->source_key,
					   refund->member_id),
			 errhint("The transaction might succeed if retried.")));
}

/* ---- movements, tier changes, redemptions, requests ---- */

void
store_insert_movements(Account *account, const Movement *movements, int n)
{
	if (n > 0)
		account->store->ops->insert_movements(account, movements, n);
}

void
store_insert_tier_changes(Account *account, const TierChange *changes, int n)
{
	if (n > 0)
		account->store->ops->insert_tier_changes(account, changes, n);
}

int
store_read_origin(Account *account, int64 origin, Movement **movements)
{
	return account->stored ? account->store->ops->read_origin(account, origin, movements) : 0;
}

void
store_read_debts(Account *account)
{
	account->store->ops->read_debts(account);
}

void
store_insert_debts(Account *account, Debt **debts, int n)
{
	if (n > 0)
		account->store->ops->insert_debts(account, debts, n);
}

void
store_change_debts(Account *account, Debt **debts, int n)
{
	if (n > 0)
		account->store->ops->change_debts(account, debts, n);
}

void
store_read_usage(Account *account, Usage *usage)
{
	account->store->ops->read_usage(account, usage);
}

void
store_change_usage(Account *account, Usage *usage)
{
	account->store->ops->change_usage(account, usage);
}

int
store_read_uses(Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages)
{
	return account->store->ops->read_uses(account, rule_id, from, to, usages);
}

int
store_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n, Counter **counters)
{
	return account->store->ops->read_counters(account, bucket, metric, until, n, counters);
}

void
store_change_counter(Account *account, Counter *counter)
{
	account->store->ops->change_counter(account, counter);
}

int
store_read_visits(Account *account, const char *visit, Visit ***visits)
{
	return account->store->ops->read_visits(account, visit, visits);
}

void
store_change_visit(Account *account, Visit *visit)
{
	account->store->ops->change_visit(account, visit);
}

bool
store_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of)
{
	return account->store->ops->find_visit_of(account, source_id, source_key, of);
}

void
store_insert_visit_of(Account *account, const VisitOf *of)
{
	account->store->ops->insert_visit_of(account, of);
}

void
store_read_progress(Account *account, Progress *progress)
{
	account->store->ops->read_progress(account, progress);
}

void
store_change_progress(Account *account, Progress *progress)
{
	account->store->ops->change_progress(account, progress);
}

int32
store_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed)
{
	return account->store->ops->read_challenge_awards(account, challenge_id, period_start, owed);
}

void
store_insert_challenge_award(Account *account, const ChallengeAward *award)
{
	account->store->ops->insert_challenge_award(account, award);
}

void
store_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role)
{
	account->store->ops->insert_intervention(account, intervention, at, role);
}

/* A sequence is the same thing to both rooms. */
int64
store_next_redemption(Store *store)
{
	return nextval_internal(row_relation("redemption_redemption_id_seq"), false);
}

void
store_insert_redemption(Account *account, const Redemption *redemption)
{
	account->store->ops->insert_redemption(account, redemption);
}

void
store_change_redemption(Account *account, Redemption *redemption)
{
	account->store->ops->change_redemption(account, redemption);
}

Redemption *
store_find_redemption(Store *store, int64 member, int64 redemption_id, MemoryContext context)
{
	return store->ops->find_redemption(store, member, redemption_id, context);
}

void
store_read_holds(Account *account)
{
	account->store->ops->read_holds(account);
}

void
store_read_spent(Account *account, int32 source_id, const char *source_key)
{
	account->store->ops->read_spent(account, source_id, source_key);
}

void
store_insert_request(Account *account, const Request *request)
{
	account->store->ops->insert_request(account, request);
}

bool
store_find_request(Account *account, const char *key, Request *request)
{
	return account->store->ops->find_request(account, key, request);
}
