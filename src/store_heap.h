/*
 * store_heap.h
 *	  Inside of store_heap: what its files share.
 */
#ifndef LOYALTY_STORE_HEAP_H
#define LOYALTY_STORE_HEAP_H

#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "compat.h"
#include "store_ops.h"
#include "store_row.h"

#define INSERT_BATCH	500
#define RUN_ENTRIES		256		/* of an index at a time; about as many as a page has */

/* Where an entry of an index went last: the next one may belong behind it. */
typedef struct LeafHint
{
	BlockNumber block;			/* InvalidBlockNumber: not known */
	Buffer		buffer;			/* where the page was then */
	OffsetNumber place;			/* InvalidOffsetNumber: not known */
} LeafHint;

/* The key of a purchase: the first two columns of lot_source_key. */
typedef struct SourceKey
{
	int32		source_id;
	int			length;
	const char *text;
} SourceKey;

static inline int
heap_compare_source_keys(const SourceKey *a, const SourceKey *b)
{
	int			c;

	if (a->source_id != b->source_id)
		return a->source_id < b->source_id ? -1 : 1;
	c = memcmp(a->text, b->text, Min(a->length, b->length));
	return c != 0 ? c : a->length - b->length;
}

typedef struct HeapEntries HeapEntries;
typedef struct LeafMap LeafMap;

/* One table of the ledger, opened when first needed. */
typedef struct HeapTable
{
	const char *name;
	int			columns;
	bool		read_only;
	Relation	rel;
	ResultRelInfo *rri;			/* NULL until heap_indexes() */
	ResultRelInfo *rest;		/* the same without the index that batches fill in runs; NULL: there is none */
	int			run_index;		/* which of rri's */
	TupleTableSlot *slot;		/* for reading and for single writes */
	TupleTableSlot **batch;		/* rows kept back */
	int			nbatch;
	uint8	   *forms;			/* how each column is laid out, see store_heap_form.c; NULL: not asked yet */
	uint8	   *stretch;		/* columns from here on, more than one where all are Datums of eight bytes and never NULL */
	int			varying;		/* the first column of varying length */
	bool		plain;			/* all of them are known there */
	BulkInsertState bulk;
	IndexScanDesc scan;			/* on its primary key */
	HeapEntries *finder;		/* for looking at a page of it; NULL: not needed yet */
	BlockNumber blocks;			/* it had at least so many when somebody asked; 0: nobody has */
	BlockNumber key_blocks;		/* its primary key, the same */
} HeapTable;

/* The key of a new lot that is not indexed yet. */
typedef struct KeyEntry
{
	uint64		head;			/* the key's first bytes, comparable */
	uint32		key;			/* where it begins, see KeptBack */
	int16		part;
	ItemPointerData tid;
} KeyEntry;

/* The primary key of the same lot, member_id first. */
typedef struct LotPlaceEntry
{
	int64		member_id;
	TimestampTz expires_at;
	int64		entry_no;
} LotPlaceEntry;

/*
 * New lots of one program and source that have no index entries yet: as many as fit into work_mem *
 * hash_mem_multiplier.  They are kept small, because a second load of entries goes between those of the first: more
 * pages for fewer entries each.
 */
typedef struct KeptBack
{
	int32		program_id;
	int32		source_id;
	int			count;
	int			placed;			/* so many of them are in the primary key already */
	int			room;
	KeyEntry   *keys;
	LotPlaceEntry *places;
	char	   *texts;			/* the keys, as stored */
	Size		texts_used;
	Size		texts_room;
} KeptBack;

typedef struct HeapStore
{
	Store		base;
	EState	   *estate;
	HeapTable	tables[STORE_TABLES];
	ScanKeyData position[2];	/* where the scan of lots began: its key points here while it goes on */
	ScanKeyData counter_position[2];	/* the same of the scan of counters */

	bool		refunds_unseen;	/* some were written since the snapshot */

	/*
	 * The index lot_source_key is ours to fill: lots come in member order, and their keys are sorted and inserted
	 * together, page by page.  The primary key is filled then, too, lowest member first.
	 */
	Relation	key_index;
	IndexInfo  *key_info;
	IndexScanDesc key_scan;
	BlockNumber key_blocks;		/* it had at least so many when somebody asked; 0: nobody has */
	bool		keeps_back;		/* these two are all, and plain unique btrees */
	KeptBack	kept;
} HeapStore;

static inline HeapStore *
heap_of(Store *store)
{
	return (HeapStore *) store;
}

/* Keys of a search: the account, which comes first in most indexes; a text; what comes after a pair. */
static inline void
heap_account_keys(ScanKeyData *keys, const Account *account)
{
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
}

static inline void
heap_text_key(ScanKeyData *key, AttrNumber column, const char *text)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, TEXTOID, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(text));
}

/* `pair` are the keys of two neighbouring columns; the scan keeps a pointer to them. */
static inline void
heap_after_key(ScanKeyData *key, ScanKeyData *pair)
{
	pair[0].sk_flags = SK_ROW_MEMBER;
	pair[1].sk_flags = SK_ROW_MEMBER | SK_ROW_END;
	memset(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = pair[0].sk_attno;
	key->sk_strategy = BTGreaterStrategyNumber;
	key->sk_argument = PointerGetDatum(pair);
}

/*
 * A page that was in this buffer is wanted soon, its item at `place` above all; a page of an index says at its end what
 * it is.  If it has gone elsewhere since, nothing is lost.
 */
static inline void
heap_page_soon(Buffer buffer, OffsetNumber place)
{
	char	   *page;

	if (!BufferIsValid(buffer) || BufferIsLocal(buffer))
		return;
	page = BufferGetPage(buffer);
	fetch_soon(GetBufferDescriptor(buffer - 1));
	fetch_soon(page);
	fetch_soon(&((PageHeader) page)->pd_linp[place]);
	fetch_soon(page + BLCKSZ - 1);
}

/* What rows are formed from between the two is freed by the second one. */
static inline MemoryContext
heap_begin_rows(HeapStore *store)
{
	return MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
}

static inline void
heap_end_rows(HeapStore *store, MemoryContext outer)
{
	MemoryContextSwitchTo(outer);
	ResetPerTupleExprContext(store->estate);
}

/* store_heap.c: tables, snapshots, rows */
extern HeapTable *heap_table(HeapStore *store, StoreTableId id);
extern ResultRelInfo *heap_indexes(HeapStore *store, HeapTable *table);
extern bool heap_next(HeapStore *store, IndexScanDesc scan, ScanDirection direction, TupleTableSlot *slot);
extern bool heap_next_entry(HeapStore *store, IndexScanDesc scan, ScanDirection direction);
extern bool heap_fetch_entry(HeapStore *store, IndexScanDesc scan, TupleTableSlot *slot);
extern bool heap_fetch_at(HeapStore *store, HeapTable *table, IndexScanDesc scan, ItemPointerData tid);
extern void heap_search(HeapStore *store, IndexScanDesc scan, ScanKey keys, int nkeys);
extern IndexScanDesc heap_primary_scan(HeapStore *store, HeapTable *table, int nkeys);
extern void heap_renew_snapshot(HeapStore *store);
extern void heap_refresh_snapshot(HeapStore *store);
extern void heap_fill_slot(HeapTable *table, TupleTableSlot *slot, const Datum *values, const bool *nulls);
extern void heap_insert_row(HeapStore *store, HeapTable *table, const Datum *values, const bool *nulls);
extern void heap_insert_now(HeapStore *store, HeapTable *table, const Datum *values, const bool *nulls);
extern void heap_update_row(HeapStore *store, HeapTable *table, ItemPointer tid, const Datum *values,
							const bool *nulls);

/* a row that is stored is changed; one that is not is inserted at once, and has its place then */
extern void heap_put_row(HeapStore *store, HeapTable *table, ItemPointer tid, bool *stored, const Datum *values,
						 const bool *nulls);

/* store_heap_form.c */
extern HeapTuple heap_form_row(HeapTable *table, const Datum *values, const bool *nulls, MemoryContext context);
extern void heap_read_row(HeapTable *table, TupleTableSlot *slot, Datum *values, bool *nulls);

/* store_heap_account.c */
extern void heap_lock_accounts(Store *base, const Program *program, int n, const int64 *members,
							   const TimestampTz *enrolled_at, MemoryContext context, Account **accounts);
extern LeafHint *heap_leaf_hint(int32 program_id, int64 member);
extern Account *heap_read_account(Store *base, const Program *program, int64 member, MemoryContext context);
extern Account *heap_try_account(Store *base, const Program *program, int64 member, MemoryContext context);
extern int	heap_walk_accounts(Store *base, int64 after_member, int32 after_program, int n, AccountAt *accounts);
extern void heap_read_members(Store *base, Account **accounts, int n);
extern void heap_change_account(Account *account);

/* store_heap_lot.c */
extern void heap_read_lots(Account *account, int n);
extern int	heap_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context,
						   Lot **lots);
extern void heap_insert_lots(Account *account, Lot **lots, int n);
extern void heap_change_lots(Account *account, Lot **lots, int n);
extern int	heap_read_moved(Account *account, int64 entry_no, LotPlace **places);
extern Lot *heap_find_lot(Account *account, TimestampTz expires_at, int64 entry_no);
extern Lot *heap_lot(HeapTable *table, MemoryContext context);

/* store_heap_probe.c */
extern void heap_probe_keys(Store *base, int32 source_id, int n, char **keys, MemoryContext context,
							KeyLots *results);
extern void heap_begin_source(Store *base, int32 source_id);
extern Lot *heap_next_source_lot(Store *base, MemoryContext context);

/* store_heap_key.c */
extern void heap_take_key_index(HeapStore *store, HeapTable *table);
extern void heap_insert_key(HeapStore *store, TupleTableSlot *slot);
extern bool heap_keep_back(HeapStore *store, TupleTableSlot *slot);
extern void heap_flush_places(HeapStore *store);
extern void heap_flush_keys(HeapStore *store);

/* store_heap_index.c: entries of a unique btree that has no predicate, added in the index's order */
extern HeapEntries *heap_begin_entries(Relation index, Relation heap, MemoryContext context);
extern void heap_add_entry(HeapEntries *entries, Datum *values, bool *nulls, ItemPointer tid);
extern void heap_expect_leaf(HeapEntries *entries, LeafMap *map, LeafHint *leaf, BlockNumber blocks);
extern void heap_insert_entries(HeapEntries *entries);	/* before it none is in the index */
extern void heap_end_entries(HeapEntries *entries);
extern bool heap_can_run(Relation index, const IndexInfo *info);
extern Buffer heap_read_leaf(Relation index, const LeafHint *leaf);
extern int	heap_look_at_leaf(HeapEntries *finder, const LeafHint *leaf, const int64 *key, ItemPointer tids, int n);
extern void heap_know_leaf(HeapEntries *finder, LeafMap *map, BlockNumber block, int64 member);
extern void heap_index_rows(Relation index, IndexInfo *info, Relation heap, EState *estate, TupleTableSlot **slots, int n);

/* store_heap_leaf.c: hints */
extern LeafMap *heap_leaf_map(StoreTableId table);
extern LeafHint heap_leaf_of(const LeafMap *map, int64 member);
extern void heap_note_leaf(LeafMap *map, int64 first, int64 last, BlockNumber block, Buffer buffer);
extern bool heap_leaf_map_full(const LeafMap *map);
extern LeafHint heap_leaf_of_key(const SourceKey *key);
extern void heap_note_leaf_of_keys(const SourceKey *first, const SourceKey *last, BlockNumber block, Buffer buffer);

/* store_heap_refund.c */
extern void heap_find_refunds(Store *base, bool of_purchase, int32 source_id, const char *key, MemoryContext context,
							  Refunds *found);
extern int	heap_read_refunds(Store *base, int32 source_id, const char *after_key, int32 after_part, int n,
							  MemoryContext context, Refund **refunds);
extern void heap_insert_refund(Store *base, const Refund *refund);
extern void heap_delete_refund(Store *base, const Refund *refund);

/* store_heap_counter.c */
extern int	heap_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n,
							   Counter **counters);
extern void heap_change_counter(Account *account, Counter *counter);
extern int	heap_read_visits(Account *account, const char *visit, Visit ***visits);
extern void heap_change_visit(Account *account, Visit *visit);
extern bool heap_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of);
extern void heap_insert_visit_of(Account *account, const VisitOf *of);

/* store_heap_challenge.c */
extern void heap_read_progress(Account *account, Progress *progress);
extern void heap_change_progress(Account *account, Progress *progress);
extern int32 heap_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed);
extern void heap_insert_challenge_award(Account *account, const ChallengeAward *award);
extern void heap_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role);

/* store_heap_entry.c */
extern void heap_insert_movements(Account *account, const Movement *movements, int n);
extern int	heap_read_origin(Account *account, int64 origin, Movement **movements);
extern void heap_read_debts(Account *account);
extern void heap_insert_debts(Account *account, Debt **debts, int n);
extern void heap_change_debts(Account *account, Debt **debts, int n);
extern void heap_insert_tier_changes(Account *account, const TierChange *changes, int n);
extern void heap_read_usage(Account *account, Usage *usage);
extern void heap_change_usage(Account *account, Usage *usage);
extern int	heap_read_uses(Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages);
extern void heap_insert_redemption(Account *account, const Redemption *redemption);
extern int	heap_read_taking(Account *account, const Redemption *redemption, Movement **movements);
extern void heap_change_redemption(Account *account, Redemption *redemption);
extern Redemption *heap_find_redemption(Store *base, int64 member, int64 redemption_id, MemoryContext context);
extern void heap_read_holds(Account *account);
extern void heap_read_spent(Account *account, int32 source_id, const char *source_key);
extern void heap_insert_request(Account *account, const Request *request);
extern bool heap_find_request(Account *account, const char *key, Request *request);

#endif
