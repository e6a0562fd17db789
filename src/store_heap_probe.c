/*
 * store_heap_probe.c
 *	  What keys of purchases have earned before: lots by their source keys.
 *
 * Rule: lots that are kept back from their indexes are indexed before any is looked for.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "store_heap.h"

#define WALK_KEYS		8		/* from so many keys on, see walk_keys() */
#define WALK_ENTRIES	4		/* of the index, for each key that is done */

static IndexScanDesc
key_scan(HeapStore *store, int nkeys)
{
	HeapTable  *table = heap_table(store, STORE_LOT);

	heap_flush_keys(store);
	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	if (store->key_index == NULL)
		store->key_index = index_open(row_relation("lot_source_key"), AccessShareLock);
	if (store->key_scan && store->key_scan->numberOfKeys != nkeys)
	{
		index_endscan(store->key_scan);
		store->key_scan = NULL;
	}
	if (store->key_scan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->base.context);

		store->key_scan = index_beginscan(table->rel, store->key_index, store->base.snapshot, NULL, nkeys, 0);
		MemoryContextSwitchTo(old);
	}
	store->key_scan->xs_snapshot = store->base.snapshot;
	return store->key_scan;
}

static void
text_key(ScanKey key, StrategyNumber strategy, RegProcedure function, const char *value)
{
	ScanKeyEntryInitialize(key, 0, 2, strategy, TEXTOID, C_COLLATION_OID, function, CStringGetTextDatum(value));
}

/* The row in the slot is a lot of this key. */
static void
add_lot(KeyLots *result, HeapTable *table, MemoryContext context)
{
	int			n = result->nlots;

	/* room for 2, 4, 8, … */
	if (n == 0)
		result->lots = MemoryContextAlloc(context, 2 * sizeof(Lot *));
	else if (n >= 2 && (n & (n - 1)) == 0)
		result->lots = repalloc(result->lots, 2 * n * sizeof(Lot *));
	result->lots[result->nlots++] = heap_lot(table, context);
}

static void
probe_key(HeapStore *store, ScanKey scan_keys, char *key, MemoryContext context, KeyLots *result)
{
	IndexScanDesc scan = key_scan(store, 2);
	HeapTable  *table = &store->tables[STORE_LOT];

	CHECK_FOR_INTERRUPTS();
	result->nlots = 0;
	result->lots = NULL;
	text_key(&scan_keys[1], BTEqualStrategyNumber, F_TEXTEQ, key);
	heap_search(store, scan, scan_keys, 2);
	while (heap_next(store, scan, ForwardScanDirection, table->slot))
		add_lot(result, table, context);
	pfree(DatumGetPointer(scan_keys[1].sk_argument));
}

static int
compare_key(const char *key, const text *entry)
{
	int			length = strlen(key);
	int			other = VARSIZE_ANY_EXHDR(entry);
	int			c = memcmp(key, VARDATA_ANY(entry), Min(length, other));

	return c != 0 ? c : length - other;
}

/*
 * Keys that follow each other, as a sequence gives them, are found by walking the index from the first to the last of
 * them, which costs a tenth of a search for each.  Where many others lie between, it is given up.  Returns how many
 * of the keys are done.
 */
static int
walk_keys(HeapStore *store, ScanKey scan_keys, int n, char **keys, MemoryContext context, KeyLots *results)
{
	IndexScanDesc scan = key_scan(store, 3);
	HeapTable  *table = &store->tables[STORE_LOT];
	int			done = 0;

	scan->xs_want_itup = true;
	text_key(&scan_keys[1], BTGreaterEqualStrategyNumber, F_TEXT_GE, keys[0]);
	text_key(&scan_keys[2], BTLessEqualStrategyNumber, F_TEXT_LE, keys[n - 1]);
	heap_search(store, scan, scan_keys, 3);
	for (int walked = 0; heap_next_entry(store, scan, ForwardScanDirection); walked++)
	{
		bool		isnull;
		text	   *entry = DatumGetTextPP(index_getattr(scan->xs_itup, 2, scan->xs_itupdesc, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (walked > WALK_ENTRIES * (done + WALK_KEYS))
			return done;
		while (compare_key(keys[done], entry) < 0)
			done++;				/* ends: the last key is not less than the entry */
		if (compare_key(keys[done], entry) > 0 || !heap_fetch_entry(store, scan, table->slot))
			continue;
		for (int same = done; same < n && strcmp(keys[same], keys[done]) == 0; same++)
			add_lot(&results[same], table, context);
	}
	return n;
}

void
heap_probe_keys(Store *base, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	HeapStore  *store = heap_of(base);
	ScanKeyData scan_keys[3];
	int			done = 0;

	memset(results, 0, n * sizeof(KeyLots));
	ScanKeyInit(&scan_keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	if (n >= WALK_KEYS)
		done = walk_keys(store, scan_keys, n, keys, context, results);
	for (; done < n; done++)
		probe_key(store, scan_keys, keys[done], context, &results[done]);
	ExecClearTuple(store->tables[STORE_LOT].slot);
}

void
heap_begin_source(Store *base, int32 source_id)
{
	HeapStore  *store = heap_of(base);
	ScanKeyData key;

	heap_refresh_snapshot(store);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	heap_search(store, key_scan(store, 1), &key, 1);
}

Lot *
heap_next_source_lot(Store *base, MemoryContext context)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = &store->tables[STORE_LOT];

	if (!heap_next(store, store->key_scan, ForwardScanDirection, table->slot))
		return NULL;
	return heap_lot(table, context);
}
