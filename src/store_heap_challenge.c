/*
 * store_heap_challenge.c
 *	  Progress in challenges, what there was for it, and interventions.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"

#include "store_heap.h"

void
heap_read_progress(Account *account, Progress *progress)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_PROGRESS);
	IndexScanDesc scan = heap_primary_scan(store, table, 4);
	ScanKeyData keys[4];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(progress->challenge_id));
	ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(progress->period_start));
	heap_search(store, scan, keys, 4);
	if (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		slot_getallattrs(table->slot);
		row_to_progress(table->slot->tts_values, table->slot->tts_isnull, account->context, progress);
		progress->tid = table->slot->tts_tid;
	}
	ExecClearTuple(table->slot);
}

void
heap_change_progress(Account *account, Progress *progress)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_PROGRESS);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[P_COUNT];
	bool		nulls[P_COUNT];

	progress_to_row(account, progress, values, nulls);
	if (progress->stored)
		heap_update_row(store, table, &progress->tid, values, nulls);
	else
		heap_insert_row(store, table, values, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

int32
heap_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_CHALLENGE_AWARD);
	IndexScanDesc scan = heap_primary_scan(store, table, 3);
	ScanKeyData keys[3];
	int32		last = 0;

	*owed = 0;
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(challenge_id));
	heap_search(store, scan, keys, 3);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		const Datum *v;

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(table->slot, X_OWED + 1);
		v = table->slot->tts_values;
		*owed = points_add(*owed, DatumGetInt64(v[X_OWED]));
		if (DatumGetTimestampTz(v[X_PERIOD_START]) == period_start)
			last = Max(last, DatumGetInt32(v[X_AWARD_NO]));
	}
	ExecClearTuple(table->slot);
	return last;
}

void
heap_insert_challenge_award(Account *account, const ChallengeAward *award)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_CHALLENGE_AWARD);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[X_COUNT];
	bool		nulls[X_COUNT];

	challenge_award_to_row(account, award, values, nulls);
	heap_insert_row(store, table, values, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

void
heap_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_INTERVENTION);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		values[I_COUNT];
	bool		nulls[I_COUNT];

	intervention_to_row(account, intervention, at, role, values, nulls);
	heap_insert_row(store, table, values, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}
