/*
 * store_heap_counter.c
 *	  Counters and visits: found by bucket or by name, written one by one.
 *
 * Rule: rows are few and read again by later batches of the same statement, so they are written at once.
 */
#include "postgres.h"

#include "miscadmin.h"

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

	heap_account_keys(keys, account);
	ScanKeyEntryInitialize(&position[0], 0, 3, BTGreaterStrategyNumber, TIMESTAMPTZOID, InvalidOid, F_TIMESTAMPTZ_CMP,
						   TimestampTzGetDatum(bucket));
	ScanKeyEntryInitialize(&position[1], 0, 4, BTGreaterStrategyNumber, INT4OID, InvalidOid, F_BTINT4CMP,
						   Int32GetDatum(metric));
	heap_after_key(&keys[2], position);
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
	MemoryContext old = heap_begin_rows(store);
	Datum		values[C_COUNT];
	bool		nulls[C_COUNT];

	counter_to_row(account, counter, values, nulls);
	heap_put_row(store, table, &counter->tid, &counter->stored, values, nulls);
	heap_end_rows(store, old);
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
	heap_account_keys(keys, account);
	heap_text_key(&keys[2], 3, visit);
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
	MemoryContext old = heap_begin_rows(store);
	Datum		values[V_COUNT];
	bool		nulls[V_COUNT];

	visit_to_row(account, visit, values, nulls);
	heap_put_row(store, table, &visit->tid, &visit->stored, values, nulls);
	heap_end_rows(store, old);
}

bool
heap_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_VISIT_OF);
	IndexScanDesc scan = heap_primary_scan(store, table, 4);
	ScanKeyData keys[4];
	bool		found;

	heap_account_keys(keys, account);
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	heap_text_key(&keys[3], 4, source_key);
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
	MemoryContext old = heap_begin_rows(store);
	Datum		values[W_COUNT];
	bool		nulls[W_COUNT];

	visit_of_to_row(account, of, values, nulls);
	heap_insert_now(store, table, values, nulls);
	heap_end_rows(store, old);
}
