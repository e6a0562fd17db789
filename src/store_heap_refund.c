/*
 * store_heap_refund.c
 *	  Refunds: by the row that is one, by the purchase that it names, written and taken away.
 *
 * Rule: what was written is seen by the next look.  Few statements write any, and none looks who has no use for them.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"

#include "store_heap.h"

static Refund *
take_refund(TupleTableSlot *slot, MemoryContext context)
{
	Refund	   *refund;

	slot_getallattrs(slot);
	refund = row_to_refund(slot->tts_values, slot->tts_isnull, context);
	refund->tid = slot->tts_tid;
	return refund;
}

/* The table, and a snapshot that sees all that this store has written. */
static HeapTable *
refund_table(HeapStore *store)
{
	HeapTable  *table = heap_table(store, STORE_REFUND);

	if (store->base.snapshot == NULL || store->refunds_unseen)
		heap_refresh_snapshot(store);
	store->refunds_unseen = false;
	return table;
}

static int
compare_refunds(const void *a, const void *b)
{
	const Refund *x = *(Refund *const *) a;
	const Refund *y = *(Refund *const *) b;
	int			c = strcmp(x->source_key, y->source_key);

	if (x->source_id != y->source_id)
		return x->source_id < y->source_id ? -1 : 1;
	return c != 0 ? c : (x->part > y->part) - (x->part < y->part);
}

void
heap_find_refunds(Store *base, bool of_purchase, int32 source_id, const char *key, MemoryContext context, Refunds *found)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = refund_table(store);
	Relation	index = index_open(row_relation(of_purchase ? "refund_of_key" : "refund_source_key"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(table->rel, index, store->base.snapshot, NULL, 2, 0);
	ScanKeyData keys[2];

	*found = (Refunds) {0};
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	heap_text_key(&keys[1], 2, key);
	heap_search(store, scan, keys, 2);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (found->n % 8 == 0)
			found->rows = found->rows == NULL ? MemoryContextAlloc(context, 8 * sizeof(Refund *))
				: repalloc(found->rows, mul_size(found->n + 8, sizeof(Refund *)));
		found->rows[found->n++] = take_refund(table->slot, context);
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
	if (found->n > 1)
		qsort(found->rows, found->n, sizeof(Refund *), compare_refunds);
}

int
heap_read_refunds(Store *base, int32 source_id, const char *after_key, int32 after_part, int n, MemoryContext context,
				  Refund **refunds)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = refund_table(store);
	Relation	index = index_open(row_relation("refund_source_key"), AccessShareLock);
	IndexScanDesc scan = index_beginscan(table->rel, index, store->base.snapshot, NULL, 2, 0);
	ScanKeyData position[2];
	ScanKeyData keys[2];
	int			found = 0;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	ScanKeyEntryInitialize(&position[0], 0, 2, BTGreaterStrategyNumber, TEXTOID, C_COLLATION_OID, F_BTTEXTCMP,
						   CStringGetTextDatum(after_key));
	ScanKeyEntryInitialize(&position[1], 0, 3, BTGreaterStrategyNumber, INT4OID, InvalidOid, F_BTINT4CMP,
						   Int32GetDatum(after_part));
	heap_after_key(&keys[1], position);
	heap_search(store, scan, keys, 2);
	while (found < n && heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		refunds[found++] = take_refund(table->slot, context);
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

void
heap_insert_refund(Store *base, const Refund *refund)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_REFUND);
	MemoryContext old = heap_begin_rows(store);
	Datum		values[F_COUNT];
	bool		nulls[F_COUNT];

	refund_to_row(refund, values, nulls);
	heap_insert_row(store, table, values, nulls);
	store->refunds_unseen = true;
	heap_end_rows(store, old);
}

/* The row was found by this store, so no insert of ours is newer than its snapshot. */
void
heap_delete_refund(Store *base, const Refund *refund)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_REFUND);
	ItemPointerData tid = refund->tid;
	TM_FailureData failure;

	if (table_tuple_delete(table->rel, &tid, GetCurrentCommandId(true), store->base.snapshot, InvalidSnapshot, true, &failure,
						   false) != TM_Ok)
		store_refuse_refund(refund);
	store->refunds_unseen = true;
}
