/*
 * store_heap_entry.c
 *	  Movements, debts, tier changes, usage of limits, redemptions and requests.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "errcodes.h"
#include "store_heap.h"

void
heap_insert_movements(Account *account, const Movement *movements, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_MOVEMENT);
	MemoryContext old = heap_begin_rows(store);

	for (int i = 0; i < n; i++)
	{
		Datum		values[M_COUNT];
		bool		nulls[M_COUNT];

		movement_to_row(account, &movements[i], values, nulls);
		heap_insert_row(store, table, values, nulls);
	}
	heap_end_rows(store, old);
}

/* The index on (member_id, program_id, origin_entry_no), by its columns: whoever copied the table named it anew. */
static Relation
origin_index(HeapStore *store, HeapTable *table)
{
	static const AttrNumber columns[] = {M_MEMBER_ID + 1, M_PROGRAM_ID + 1, M_ORIGIN_ENTRY_NO + 1};
	ResultRelInfo *indexes = heap_indexes(store, table);

	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		IndexInfo  *info = indexes->ri_IndexRelationInfo[i];

		if (info->ii_NumIndexKeyAttrs == lengthof(columns) &&
			memcmp(info->ii_IndexAttrNumbers, columns, sizeof(columns)) == 0)
			return indexes->ri_IndexRelationDescs[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_VERSION_MISMATCH),
			 errmsg("table loyalty.movement has no index on (member_id, program_id, origin_entry_no)"),
			 errhint("Create movement_origin again, as loyalty.install() does: WHERE origin_entry_no IS NOT NULL.")));
	return NULL;
}

static int
compare_entries(const void *a, const void *b)
{
	int64		one = ((const Movement *) a)->entry_no;
	int64		two = ((const Movement *) b)->entry_no;

	return one < two ? -1 : one > two;
}

int
heap_read_origin(Account *account, int64 origin, Movement **movements)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_MOVEMENT);
	IndexScanDesc scan;
	ScanKeyData keys[3];
	int			n = 0;
	int			max = 0;

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	*movements = NULL;
	heap_account_keys(keys, account);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(origin));
	scan = index_beginscan(table->rel, origin_index(store, table), store->base.snapshot, NULL, 3, 0);
	heap_search(store, scan, keys, 3);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (n == max)
		{
			max = Max(8, max * 2);
			*movements = *movements == NULL ? MemoryContextAlloc(account->context, max * sizeof(Movement))
				: repalloc(*movements, mul_size(max, sizeof(Movement)));
		}
		slot_getallattrs(table->slot);
		row_to_movement(table->slot->tts_values, table->slot->tts_isnull, *movements + n++);
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	if (n > 1)
		qsort(*movements, n, sizeof(Movement), compare_entries);
	return n;
}

void
heap_read_debts(Account *account)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_DEBT);
	IndexScanDesc scan;
	ScanKeyData keys[2];

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	scan = heap_primary_scan(store, table, 2);
	heap_account_keys(keys, account);
	heap_search(store, scan, keys, 2);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		Debt	   *debt;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(table->slot);
		if (DatumGetInt64(table->slot->tts_values[D_LEFT_OVER]) == 0)
			continue;
		debt = row_to_debt(table->slot->tts_values, account->context);
		debt->tid = table->slot->tts_tid;
		ledger_take_debt(account, debt);
	}
	ExecClearTuple(table->slot);
}

void
heap_insert_debts(Account *account, Debt **debts, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_DEBT);
	MemoryContext old = heap_begin_rows(store);

	for (int i = 0; i < n; i++)
	{
		Datum		values[D_COUNT];
		bool		nulls[D_COUNT];

		debt_to_row(account, debts[i], values, nulls);
		heap_insert_row(store, table, values, nulls);
	}
	heap_end_rows(store, old);
}

void
heap_change_debts(Account *account, Debt **debts, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_DEBT);

	for (int i = 0; i < n; i++)
	{
		Datum		values[D_COUNT];
		bool		nulls[D_COUNT];

		CHECK_FOR_INTERRUPTS();
		debt_to_row(account, debts[i], values, nulls);
		heap_update_row(store, table, &debts[i]->tid, values, nulls);
		ExecClearTuple(table->slot);
	}
}

void
heap_insert_tier_changes(Account *account, const TierChange *changes, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_TIER_CHANGE);
	MemoryContext old = heap_begin_rows(store);

	for (int i = 0; i < n; i++)
	{
		Datum		values[T_COUNT];
		bool		nulls[T_COUNT];

		tier_change_to_row(account, &changes[i], values, nulls);
		heap_insert_row(store, table, values, nulls);
	}
	heap_end_rows(store, old);
}

void
heap_read_usage(Account *account, Usage *usage)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_USAGE);
	IndexScanDesc scan = heap_primary_scan(store, table, 5);
	ScanKeyData keys[5];

	heap_account_keys(keys, account);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(usage->rule_id));
	ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(usage->period_start));
	ScanKeyInit(&keys[4], 5, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(usage->period_end));
	heap_search(store, scan, keys, 5);
	if (!heap_next(store, scan, ForwardScanDirection, table->slot))
		return;
	slot_getallattrs(table->slot);
	row_to_usage(table->slot->tts_values, table->slot->tts_isnull, usage);
	usage->tid = table->slot->tts_tid;
	ExecClearTuple(table->slot);
}

int
heap_read_uses(Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_USAGE);
	IndexScanDesc scan = heap_primary_scan(store, table, 5);
	ScanKeyData keys[5];
	int			n = 0;

	heap_account_keys(keys, account);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(rule_id));
	ScanKeyInit(&keys[3], 4, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE, TimestampTzGetDatum(from));
	ScanKeyInit(&keys[4], 4, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(to));
	heap_search(store, scan, keys, 5);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(table->slot);
		if (table->slot->tts_values[U_PERIOD_START] != table->slot->tts_values[U_PERIOD_END])
			continue;
		row_append_usage(table->slot->tts_values, table->slot->tts_isnull, usages, n)->tid = table->slot->tts_tid;
		n++;
	}
	ExecClearTuple(table->slot);
	return n;
}

/* A new row is written at once: its account may be worked again before a batch is full. */
void
heap_change_usage(Account *account, Usage *usage)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_USAGE);
	MemoryContext old = heap_begin_rows(store);
	Datum		values[U_COUNT];
	bool		nulls[U_COUNT];

	usage_to_row(account, usage, values, nulls);
	heap_put_row(store, table, &usage->tid, &usage->stored, values, nulls);
	heap_end_rows(store, old);
}

void
heap_insert_redemption(Account *account, const Redemption *redemption)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_REDEMPTION);
	MemoryContext old = heap_begin_rows(store);
	Datum		values[R_COUNT];
	bool		nulls[R_COUNT];

	redemption_to_row(account, redemption, values, nulls);
	heap_insert_row(store, table, values, nulls);
	heap_end_rows(store, old);
}

/* The redemption in a slot. */
static Redemption *
heap_redemption(TupleTableSlot *slot, MemoryContext context)
{
	Redemption *redemption;

	slot_getallattrs(slot);
	redemption = row_to_redemption(slot->tts_values, slot->tts_isnull, context);
	redemption->tid = slot->tts_tid;
	return redemption;
}

Redemption *
heap_find_redemption(Store *base, int64 member, int64 redemption_id, MemoryContext context)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_REDEMPTION);
	Redemption *redemption = NULL;
	IndexScanDesc scan;
	ScanKeyData keys[2];

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	scan = heap_primary_scan(store, table, 2);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(member));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(redemption_id));
	heap_search(store, scan, keys, 2);
	if (heap_next(store, scan, ForwardScanDirection, table->slot))
		redemption = heap_redemption(table->slot, context);
	ExecClearTuple(table->slot);
	return redemption;
}

/* Of the account, by one of the partial indexes. */
static void
read_redemptions(Account *account, const char *index_name, ScanKey keys, int nkeys)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_REDEMPTION);
	Relation	index = index_open(row_relation(index_name), AccessShareLock);
	IndexScanDesc scan;

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	scan = index_beginscan(table->rel, index, store->base.snapshot, NULL, nkeys, 0);
	heap_search(store, scan, keys, nkeys);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		ledger_take_redemption(account, heap_redemption(table->slot, account->context));
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
}

void
heap_read_holds(Account *account)
{
	ScanKeyData keys[2];

	heap_account_keys(keys, account);
	read_redemptions(account, "redemption_held", keys, 2);
}

void
heap_read_spent(Account *account, int32 source_id, const char *source_key)
{
	ScanKeyData keys[3];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	heap_text_key(&keys[2], 3, source_key);
	read_redemptions(account, "redemption_source", keys, 3);
}

void
heap_change_redemption(Account *account, Redemption *redemption)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_REDEMPTION);
	Datum		values[R_COUNT];
	bool		nulls[R_COUNT];
	HeapTuple	changed;
	MemoryContext old;

	if (!table_tuple_fetch_row_version(table->rel, &redemption->tid, SnapshotAny, table->slot))
		elog(ERROR, "redemption " INT64_FORMAT " of member " INT64_FORMAT " has gone", redemption->redemption_id,
			 account->member_id);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	redemption_to_row(account, redemption, values, nulls);
	changed = heap_modify_tuple_by_cols(ExecFetchSlotHeapTuple(table->slot, false, NULL), RelationGetDescr(table->rel), 3,
										(int[]) {R_STATE + 1, R_TAKEN + 1, R_CHANGED_AT + 1},
										(Datum[]) {values[R_STATE], values[R_TAKEN], values[R_CHANGED_AT]},
										(bool[]) {false, false, false});
	ExecForceStoreHeapTuple(changed, table->slot, false);
	heap_update_row(store, table, &redemption->tid, NULL, NULL);
	MemoryContextSwitchTo(old);
	ExecClearTuple(table->slot);
	ResetPerTupleExprContext(store->estate);
}

/* They are neighbours: a redemption takes all its points at once. */
int
heap_read_taking(Account *account, const Redemption *redemption, Movement **movements)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_MOVEMENT);
	int			room = redemption->last_entry - redemption->first_entry + 1;
	int			n = 0;
	IndexScanDesc scan;
	ScanKeyData keys[4];

	*movements = MemoryContextAlloc(account->context, mul_size(room, sizeof(Movement)));
	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	scan = heap_primary_scan(store, table, 4);
	heap_account_keys(keys, account);
	ScanKeyInit(&keys[2], 3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(redemption->first_entry));
	ScanKeyInit(&keys[3], 3, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(redemption->last_entry));
	heap_search(store, scan, keys, 4);
	while (n < room && heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(table->slot);
		row_to_movement(table->slot->tts_values, table->slot->tts_isnull, &(*movements)[n++]);
	}
	ExecClearTuple(table->slot);
	return n;
}

void
heap_insert_request(Account *account, const Request *request)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_REQUEST);
	MemoryContext old = heap_begin_rows(store);
	Datum		values[Q_COUNT];
	bool		nulls[Q_COUNT];

	request_to_row(account, request, values, nulls);
	heap_insert_row(store, table, values, nulls);
	heap_end_rows(store, old);
}

bool
heap_find_request(Account *account, const char *key, Request *request)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_REQUEST);
	IndexScanDesc scan = heap_primary_scan(store, table, 3);
	ScanKeyData keys[3];

	heap_account_keys(keys, account);
	heap_text_key(&keys[2], 3, key);
	heap_search(store, scan, keys, 3);
	if (!heap_next(store, scan, ForwardScanDirection, table->slot))
		return false;
	slot_getallattrs(table->slot);
	row_to_request(table->slot->tts_values, table->slot->tts_isnull, key, request);
	ExecClearTuple(table->slot);
	return true;
}
