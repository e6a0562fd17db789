/*
 * store_heap.c
 *	  The ledger's tables through the table access method and index inserts, as COPY does.
 *
 * Rules, of the files store_heap_*.c too:
 * - Nothing here decides anything about points.
 * - Plain heap tables alone: store.c sees to it.
 * - Columns that a later version appended are left NULL; a table that has fewer is refused.
 * - Reads after a lock use a snapshot taken after it (heap_refresh_snapshot), never the statement's.
 * - Everything is allocated in the store's context, and nothing needs cleaning up when an error is thrown:
 *	 relations, buffers and snapshots belong to resource owners.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "errcodes.h"
#include "store_heap.h"

/* Bytes of a page that one more version of a row takes.  One that is longer and finds no room goes elsewhere, as ever. */
#define ROOM_FOR_ACCOUNT 400
#define ROOM_FOR_OTHERS 280

/* From so many rows on a table gets a page of its own to fill, which costs as much as writing ten. */
#define BULK_ROWS 100
#define RUN_ROWS		8		/* from so many on the entries of a batch are sorted */

static void write_rows(HeapStore *store);
static void flush_table(HeapStore *store, HeapTable *table);

static void
heap_room_open(Store *base)
{
	HeapStore  *store = heap_of(base);
	MemoryContext old = MemoryContextSwitchTo(base->context);

	store->estate = CreateExecutorState();
	for (int i = 0; i < STORE_TABLES; i++)
		store->tables[i] = (HeapTable) {
			.name = store_layout[i].name,
			.columns = store_layout[i].ncolumns,
			.read_only = base->reader || i == STORE_MEMBER
		};
	MemoryContextSwitchTo(old);
}

static void
heap_room_close(Store *base)
{
	HeapStore  *store = heap_of(base);

	heap_flush_keys(store);
	if (store->key_scan)
		index_endscan(store->key_scan);
	if (store->key_index)
		index_close(store->key_index, NoLock);
	for (int i = 0; i < STORE_TABLES; i++)
	{
		HeapTable  *table = &store->tables[i];

		if (table->rel == NULL)
			continue;
		if (table->scan)
			index_endscan(table->scan);
		if (table->bulk)
			FreeBulkInsertState(table->bulk);
		if (table->rri)
			ExecCloseIndices(table->rri);
		for (int j = 0; table->batch && j < INSERT_BATCH && table->batch[j]; j++)
			ExecDropSingleTupleTableSlot(table->batch[j]);
		ExecDropSingleTupleTableSlot(table->slot);
		table_close(table->rel, NoLock);
	}
	if (store->base.snapshot && !store->base.reader)
		UnregisterSnapshot(store->base.snapshot);
}

/* Keys of new lots are indexed at the end, see store_heap_key.c, and accounts stored once, see lock_accounts. */
static void
heap_room_hope(Store *base)
{
}

/* ---- opening ---- */

/* A row of values; columns that a later version appended are NULL. */
void
heap_fill_slot(HeapTable *table, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	HeapTuple	row = heap_form_row(table, values, nulls, slot->tts_mcxt);

	if (row)
	{
		ExecForceStoreHeapTuple(row, slot, true);
		return;
	}
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, table->columns * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, table->columns * sizeof(bool));
	for (int i = table->columns; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	ExecStoreVirtualTuple(slot);
}

HeapTable *
heap_table(HeapStore *store, StoreTableId id)
{
	HeapTable  *table = &store->tables[id];
	MemoryContext old;

	if (table->rel)
		return table;
	old = MemoryContextSwitchTo(store->base.context);
	table->rel = table_open(store->base.relations[id], table->read_only ? AccessShareLock : RowExclusiveLock);
	if (RelationGetNumberOfAttributes(table->rel) < table->columns)
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("table loyalty.%s is of an older version than the code", table->name),
				 errdetail("It has %d columns and the code needs %d.",
						   RelationGetNumberOfAttributes(table->rel), table->columns),
				 errhint("Call SELECT loyalty.install() as the owner of the ledger.")));
	table->slot = table_slot_create(table->rel, NULL);
	MemoryContextSwitchTo(old);
	return table;
}

/* Batches fill the primary key in runs: its entries are next to each other, those of other indexes seldom are. */
static void
choose_run_index(HeapTable *table)
{
	ResultRelInfo *rri = table->rri;
	Oid			primary = RelationGetPrimaryKeyIndex(table->rel);
	int			others = 0;

	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		Relation	index = rri->ri_IndexRelationDescs[i];

		if (RelationGetRelid(index) == primary && heap_can_run(index, rri->ri_IndexRelationInfo[i]))
		{
			table->run_index = i;
			table->rest = makeNode(ResultRelInfo);
		}
	}
	if (table->rest == NULL)
		return;
	*table->rest = *rri;
	table->rest->ri_IndexRelationDescs = palloc(rri->ri_NumIndices * sizeof(Relation));
	table->rest->ri_IndexRelationInfo = palloc(rri->ri_NumIndices * sizeof(IndexInfo *));
	for (int i = 0; i < rri->ri_NumIndices; i++)
		if (i != table->run_index)
		{
			table->rest->ri_IndexRelationDescs[others] = rri->ri_IndexRelationDescs[i];
			table->rest->ri_IndexRelationInfo[others++] = rri->ri_IndexRelationInfo[i];
		}
	table->rest->ri_NumIndices = others;
}

/* Its indexes are opened when a row needs an entry in them: a HOT update needs none. */
ResultRelInfo *
heap_indexes(HeapStore *store, HeapTable *table)
{
	MemoryContext old;

	Assert(!table->read_only);
	if (table->rri)
		return table->rri;
	old = MemoryContextSwitchTo(store->base.context);
	table->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(table->rri, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->rri, table == &store->tables[STORE_ACCOUNT]);
	if (table == &store->tables[STORE_LOT])
		heap_take_key_index(store, table);
	else
		choose_run_index(table);
	MemoryContextSwitchTo(old);
	return table->rri;
}

/*
 * Come to the page of the row that the scan has found.  An index scan prunes a page that it comes to as soon as the
 * reserve of its fillfactor is touched: where each row is updated soon after it was read, that is at each row, and
 * costs more than the update.  So come to the page first, and prune when there is no room left for a new version.
 */
static void
come_to_page(HeapStore *store, IndexScanDesc scan, ItemPointer tid)
{
	IndexFetchHeapData *fetch = (IndexFetchHeapData *) scan->xs_heapfetch;
	bool		is_account = scan->heapRelation == store->tables[STORE_ACCOUNT].rel;
	Buffer		before = fetch->xs_cbuf;
	Page		page;

	fetch->xs_cbuf = ReleaseAndReadBuffer(before, scan->heapRelation, ItemPointerGetBlockNumber(tid));
	if (fetch->xs_cbuf == before)
		return;
	page = BufferGetPage(fetch->xs_cbuf);
	if (PageIsFull(page) || PageGetHeapFreeSpace(page) < (is_account ? ROOM_FOR_ACCOUNT : ROOM_FOR_OTHERS))
		heap_page_prune_opt(scan->heapRelation, fetch->xs_cbuf);
}

/*
 * The next row of a scan that outlives the call: the access method keeps what it allocates on the way (dead items to
 * be marked) until the scan ends, so it must not come from a caller's short-lived memory.
 */
bool
heap_next(HeapStore *store, IndexScanDesc scan, ScanDirection direction, TupleTableSlot *slot)
{
	while (heap_next_entry(store, scan, direction))
		if (heap_fetch_entry(store, scan, slot))
			return true;
	return false;
}

/* The same in two: to the next entry of the index, and its row, if the scan's snapshot sees it. */
bool
heap_next_entry(HeapStore *store, IndexScanDesc scan, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(store->base.context);
	bool		found = index_getnext_tid(scan, direction) != NULL;

	MemoryContextSwitchTo(old);
	return found;
}

bool
heap_fetch_entry(HeapStore *store, IndexScanDesc scan, TupleTableSlot *slot)
{
	come_to_page(store, scan, &scan->xs_heaptid);
	return index_fetch_heap(scan, slot);
}

/* The row of a chain that begins at tid, if the scan's snapshot sees one; no matter whose. */
bool
heap_fetch_at(HeapStore *store, HeapTable *table, IndexScanDesc scan, ItemPointerData tid)
{
	bool		again = false;
	bool		all_dead;

	if (table->blocks == 0)
		table->blocks = RelationGetNumberOfBlocks(table->rel);	/* not fewer while we have the table locked */
	if (ItemPointerGetBlockNumber(&tid) >= table->blocks)
		return false;
	come_to_page(store, scan, &tid);
	return table_index_fetch_tuple(scan->xs_heapfetch, &tid, scan->xs_snapshot, table->slot, &again, &all_dead);
}

void
heap_search(HeapStore *store, IndexScanDesc scan, ScanKey keys, int nkeys)
{
	MemoryContext old = MemoryContextSwitchTo(store->base.context);

	index_rescan(scan, keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* The scan of a table's primary key, ready for heap_search(). */
IndexScanDesc
heap_primary_scan(HeapStore *store, HeapTable *table, int nkeys)
{
	if (table->scan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->base.context);
		Relation	index = index_open(RelationGetPrimaryKeyIndex(table->rel), AccessShareLock);

		table->scan = index_beginscan(table->rel, index, store->base.snapshot, NULL, nkeys, 0);
		index_close(index, NoLock);
		MemoryContextSwitchTo(old);
	}
	table->scan->xs_snapshot = store->base.snapshot;
	return table->scan;
}

void
heap_renew_snapshot(HeapStore *store)
{
	if (store->base.snapshot)
		UnregisterSnapshot(store->base.snapshot);
	store->base.snapshot = RegisterSnapshot(GetLatestSnapshot());
}

/*
 * From here on reads see what has been committed up to now and what this transaction has written.
 */
void
heap_refresh_snapshot(HeapStore *store)
{
	if (store->base.reader)
		return;
	write_rows(store);
	CommandCounterIncrement();
	heap_renew_snapshot(store);
}

/* ---- rows ---- */

/* Keep a row back; it is written with the others of its batch. */
void
heap_insert_row(HeapStore *store, HeapTable *table, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot;

	if (table->batch == NULL)
		table->batch = MemoryContextAllocZero(store->base.context, INSERT_BATCH * sizeof(TupleTableSlot *));
	if (table->batch[table->nbatch] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->base.context);

		table->batch[table->nbatch] = MakeSingleTupleTableSlot(RelationGetDescr(table->rel), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}
	slot = table->batch[table->nbatch++];
	heap_fill_slot(table, slot, values, nulls);
	ExecMaterializeSlot(slot);
	if (table->nbatch == INSERT_BATCH)	/* resets the memory of the values */
		flush_table(store, table);
}

/* Write a row at once; it is in the table's slot then. */
void
heap_insert_now(HeapStore *store, HeapTable *table, const Datum *values, const bool *nulls)
{
	heap_fill_slot(table, table->slot, values, nulls);
	table_tuple_insert(table->rel, table->slot, GetCurrentCommandId(true), 0, NULL);
	ExecInsertIndexTuples(heap_indexes(store, table), table->slot, store->estate, false, false, NULL, NIL, false);
}

static void
index_lots(HeapStore *store, HeapTable *table, int n)
{
	for (int i = 0; i < n; i++)
		if ((n == 1 && !store->base.hoping) || !heap_keep_back(store, table->batch[i]))
		{
			ExecInsertIndexTuples(table->rri, table->batch[i], store->estate, false, false, NULL, NIL, false);
			heap_insert_key(store, table->batch[i]);
		}
	if (!store->base.hoping)
		heap_flush_places(store);	/* not later: the next accounts to be locked are those that more people wait for */
}

static void
index_batch(HeapStore *store, HeapTable *table, int n)
{
	ResultRelInfo *indexes = n >= RUN_ROWS && table->rest ? table->rest : table->rri;

	if (indexes == table->rest)
		heap_index_rows(table->rri->ri_IndexRelationDescs[table->run_index], table->rri->ri_IndexRelationInfo[table->run_index],
						table->rel, store->estate, table->batch, n);
	for (int i = 0; i < n && indexes->ri_NumIndices > 0; i++)
		ExecInsertIndexTuples(indexes, table->batch[i], store->estate, false, false, NULL, NIL, false);
}

static void
flush_table(HeapStore *store, HeapTable *table)
{
	int			n = table->nbatch;
	CommandId	cid = GetCurrentCommandId(true);
	MemoryContext old;

	if (n == 0)
		return;
	table->nbatch = 0;
	(void) heap_indexes(store, table);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	if (n == 1)
		table_tuple_insert(table->rel, table->batch[0], cid, 0, NULL);
	else
	{
		if (table->bulk == NULL && n >= BULK_ROWS)
		{
			MemoryContextSwitchTo(store->base.context);
			table->bulk = GetBulkInsertState();
			MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
		}
		table_multi_insert(table->rel, table->batch, n, cid, 0, table->bulk);
	}
	if (table == &store->tables[STORE_LOT])
		index_lots(store, table, n);
	else
		index_batch(store, table, n);
	for (int i = 0; i < n; i++)
		ExecClearTuple(table->batch[i]);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

/* Keep the keys of new lots back still: they are indexed when something looks for them. */
static void
write_rows(HeapStore *store)
{
	for (int i = 0; i < STORE_TABLES; i++)
		if (store->tables[i].nbatch > 0)
			flush_table(store, &store->tables[i]);
}

static void
heap_room_flush(Store *base)
{
	write_rows(heap_of(base));
	heap_flush_keys(heap_of(base));
}

/*
 * Replace the row at *tid, which this transaction has locked or whose account it has locked; values NULL: the
 * table's slot holds the new row.  *tid becomes the new version's.
 */
void
heap_update_row(HeapStore *store, HeapTable *table, ItemPointer tid, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = table->slot;
	TM_FailureData failure;
	LockTupleMode lockmode;
	TU_UpdateIndexes update_indexes;
	TM_Result	result;

	if (values)
		heap_fill_slot(table, slot, values, nulls);
	result = table_tuple_update(table->rel, tid, slot, GetCurrentCommandId(true), store->base.snapshot, InvalidSnapshot,
								true, &failure, &lockmode, &update_indexes);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("a row of loyalty.%s changed although its account is locked", table->name),
				 errdetail("The update of row (%u,%u) gave result %d.",
						   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid), (int) result),
				 errhint("Something writes to the ledger beside the extension; call SELECT * FROM loyalty.verify().")));
	if (update_indexes != TU_None)
	{
		ResultRelInfo *indexes = heap_indexes(store, table);

		if (table == &store->tables[STORE_LOT])
		{
			heap_flush_keys(store);
			heap_insert_key(store, slot);
		}
		ExecInsertIndexTuples(indexes, slot, store->estate, true, false, NULL, NIL, only_summarizing(update_indexes));
	}
	*tid = slot->tts_tid;
}

void
heap_put_row(HeapStore *store, HeapTable *table, ItemPointer tid, bool *stored, const Datum *values, const bool *nulls)
{
	if (*stored)
		heap_update_row(store, table, tid, values, nulls);
	else
	{
		heap_insert_now(store, table, values, nulls);
		*tid = table->slot->tts_tid;
		*stored = true;
	}
}

const StoreOps store_heap = {
	.name = "heap",
	.size = sizeof(HeapStore),
	.open = heap_room_open,
	.close = heap_room_close,
	.hope = heap_room_hope,
	.flush = heap_room_flush,
	.lock_accounts = heap_lock_accounts,
	.read_account = heap_read_account,
	.try_account = heap_try_account,
	.walk_accounts = heap_walk_accounts,
	.read_members = heap_read_members,
	.change_account = heap_change_account,
	.read_lots = heap_read_lots,
	.read_moved = heap_read_moved,
	.read_back = heap_read_back,
	.probe_keys = heap_probe_keys,
	.begin_source = heap_begin_source,
	.next_source_lot = heap_next_source_lot,
	.find_lot = heap_find_lot,
	.insert_lots = heap_insert_lots,
	.change_lots = heap_change_lots,
	.insert_movements = heap_insert_movements,
	.read_origin = heap_read_origin,
	.read_debts = heap_read_debts,
	.insert_debts = heap_insert_debts,
	.change_debts = heap_change_debts,
	.insert_tier_changes = heap_insert_tier_changes,
	.find_refunds = heap_find_refunds,
	.read_refunds = heap_read_refunds,
	.insert_refund = heap_insert_refund,
	.delete_refund = heap_delete_refund,
	.read_usage = heap_read_usage,
	.change_usage = heap_change_usage,
	.read_uses = heap_read_uses,
	.read_counters = heap_read_counters,
	.change_counter = heap_change_counter,
	.read_visits = heap_read_visits,
	.change_visit = heap_change_visit,
	.find_visit_of = heap_find_visit_of,
	.insert_visit_of = heap_insert_visit_of,
	.read_progress = heap_read_progress,
	.change_progress = heap_change_progress,
	.read_challenge_awards = heap_read_challenge_awards,
	.insert_challenge_award = heap_insert_challenge_award,
	.insert_intervention = heap_insert_intervention,
	.insert_redemption = heap_insert_redemption,
	.read_taking = heap_read_taking,
	.change_redemption = heap_change_redemption,
	.find_redemption = heap_find_redemption,
	.read_holds = heap_read_holds,
	.read_spent = heap_read_spent,
	.insert_request = heap_insert_request,
	.find_request = heap_find_request,
};
