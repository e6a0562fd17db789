/*
 * store_heap_counter.c
 *	  Counters and visits: found by bucket or by name, written one by one.
 *
 * Rule: rows are few and read again by later batches of the same statement, so they are written at once.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "store_heap.h"

int
heap_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n, Counter **counters)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_COUNTER);
	IndexScanDesc scan = heap_primary_scan(store, table, 3);
	ScanKeyData *position = store->counter_position;	/* the scan keeps a pointer to it */
	ScanKeyData keys[3];
	int			found = 0;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyEntryInitialize(&position[0], SK_ROW_MEMBER, 3, BTGreaterStrategyNumber, TIMESTAMPTZOID, InvalidOid,
						   F_TIMESTAMPTZ_CMP, TimestampTzGetDatum(bucket));
	ScanKeyEntryInitialize(&position[1], SK_ROW_MEMBER | SK_ROW_END, 4, BTGreaterStrategyNumber, INT4OID, InvalidOid,
						   F_BTINT4CMP, Int32GetDatum(metric));
	memset(&keys[2], 0, sizeof(ScanKeyData));
	keys[2].sk_flags = SK_ROW_HEADER;
	keys[2].sk_attno = 3;
	keys[2].sk_strategy = BTGreaterStrategyNumber;
	keys[2].sk_argument = PointerGetDatum(position);
	heap_search(store, scan, keys, 3);
	while (found < n && heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(table->slot);
		if (DatumGetTimestampTz(table->slot->tts_values[C_BUCKET]) > until)
			break;
		counters[found] = row_to_counter(table->slot->tts_values, account->context);
		counters[found++]->tid = table->slot->tts_tid;
	}
	ExecClearTuple(table->slot);
	return found;
}

void
heap_change_counter(Account *account, Counter *counter)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_COUNTER);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[C_COUNT];
	bool		nulls[C_COUNT];

	counter_to_row(account, counter, values, nulls);
	if (counter->stored)
		heap_update_row(store, table, &counter->tid, values, nulls);
	else
	{
		heap_insert_now(store, table, values, nulls);
		counter->tid = table->slot->tts_tid;
		counter->stored = true;
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

int
heap_read_visits(Account *account, const char *visit, Visit ***visits)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_VISIT);
	IndexScanDesc scan = heap_primary_scan(store, table, 3);
	ScanKeyData keys[3];
	int			found = 0;

	*visits = NULL;
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyEntryInitialize(&keys[2], 0, 3, BTEqualStrategyNumber, TEXTOID, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(visit));
	heap_search(store, scan, keys, 3);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (found % 8 == 0)
			*visits = found == 0 ? MemoryContextAlloc(account->context, 8 * sizeof(Visit *))
				: repalloc(*visits, mul_size(found + 8, sizeof(Visit *)));
		slot_getallattrs(table->slot);
		(*visits)[found] = row_to_visit(table->slot->tts_values, account->context);
		(*visits)[found++]->tid = table->slot->tts_tid;
	}
	ExecClearTuple(table->slot);
	return found;
}

void
heap_change_visit(Account *account, Visit *visit)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_VISIT);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[V_COUNT];
	bool		nulls[V_COUNT];

	visit_to_row(account, visit, values, nulls);
	if (visit->stored)
		heap_update_row(store, table, &visit->tid, values, nulls);
	else
	{
		heap_insert_now(store, table, values, nulls);
		visit->tid = table->slot->tts_tid;
		visit->stored = true;
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

bool
heap_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_VISIT_OF);
	IndexScanDesc scan = heap_primary_scan(store, table, 4);
	ScanKeyData keys[4];
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	ScanKeyEntryInitialize(&keys[3], 0, 4, BTEqualStrategyNumber, TEXTOID, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(source_key));
	heap_search(store, scan, keys, 4);
	found = heap_next(store, scan, ForwardScanDirection, table->slot);
	if (found)
	{
		slot_getallattrs(table->slot);
		of->visit = table->slot->tts_isnull[W_VISIT] ? NULL
			: MemoryContextStrdup(account->context, TextDatumGetCString(table->slot->tts_values[W_VISIT]));
	}
	ExecClearTuple(table->slot);
	return found;
}

void
heap_insert_visit_of(Account *account, const VisitOf *of)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_VISIT_OF);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[W_COUNT];
	bool		nulls[W_COUNT];

	visit_of_to_row(account, of, values, nulls);
	heap_insert_now(store, table, values, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}
