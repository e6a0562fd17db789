/*
 * store_heap_probe.c
 *	  What keys of purchases have earned before: lots by their source keys.
 *
 * Keys that follow each other are walked along; others are looked up on the leaf page where entries of such keys have
 * been seen before, which costs a tenth of a search, and their lots are fetched in the order in which they lie.
 *
 * Rules:
 * - Lots that are kept back from their indexes are indexed before any is looked for.
 * - A page is believed only if it has all entries that a key could have: one before them and one behind them stand there,
 *	 too, or its bounds say so.  Everything else is an ordinary index scan, and so is all under SERIALIZABLE, where what is
 *	 not there must be noted.
 * - Rows are seen by the store's snapshot, as an index scan sees them: a place that was used again is no row of it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
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

static void
add_lot(KeyLots *result, Lot *lot, MemoryContext context)
{
	int			n = result->nlots;

	/* room for 2, 4, 8, … */
	if (n == 0)
		result->lots = MemoryContextAlloc(context, 2 * sizeof(Lot *));
	else if (n >= 2 && (n & (n - 1)) == 0)
		result->lots = repalloc(result->lots, 2 * n * sizeof(Lot *));
	result->lots[result->nlots++] = lot;
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
		add_lot(result, heap_lot(table, context), context);
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
			add_lot(&results[same], heap_lot(table, context), context);
	}
	return n;
}

/* ---- on leaf pages ---- */

#define ENTRIES		16			/* of a key that are followed: where there are more the index is searched */
#define TEXT_PLACE	(MAXALIGN(sizeof(IndexTupleData)) + sizeof(int32))	/* in an entry without NULL */

typedef struct KeyLook
{
	Relation	index;
	SourceKey	key;
	Page		page;
	OffsetNumber first;
	OffsetNumber last;
	int			n;
	ItemPointerData tids[ENTRIES];
} KeyLook;

/* A lot that a key's entries point to. */
typedef struct FoundLot
{
	ItemPointerData tid;
	int			key;			/* which of those asked for */
	Lot		   *lot;			/* NULL: the snapshot sees none there */
} FoundLot;

/* Are its entries laid out and ordered as is believed here? */
static bool
can_look(Relation index)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT2OID};
	TupleDesc	desc = RelationGetDescr(index);
	bool		plain = index->rd_rel->relam == BTREE_AM_OID && desc->natts == lengthof(types) &&
		index->rd_index->indnkeyatts == lengthof(types) && index->rd_indcollation[1] == C_COLLATION_OID &&
		RelationGetIndexPredicate(index) == NIL && RelationGetIndexExpressions(index) == NIL;

	for (int i = 0; plain && i < lengthof(types); i++)
		plain = TupleDescAttr(desc, i)->atttypid == types[i] && index->rd_indoption[i] == 0;
	return plain && !IsolationIsSerializable();
}

/* The key of an entry; false: part of it is NULL. */
static bool
key_of_entry(IndexTuple entry, SourceKey *key)
{
	const text *text;

	if (IndexTupleHasNulls(entry))
		return false;
	text = (const struct varlena *) ((char *) entry + TEXT_PLACE);
	Assert(!VARATT_IS_COMPRESSED(text));	/* which begins at 508 bytes; keys have 500 at most */
	key->source_id = *(int32 *) ((char *) entry + MAXALIGN(sizeof(IndexTupleData)));
	key->length = VARSIZE_ANY_EXHDR(text);
	key->text = VARDATA_ANY(text);
	return true;
}

/* Where the key stands beside that of an entry: NULL is behind all others. */
static inline int
compare_with(const KeyLook *look, OffsetNumber place)
{
	IndexTuple	entry = (IndexTuple) PageGetItem(look->page, PageGetItemId(look->page, place));
	SourceKey	other;
	int32		source_id;
	bool		isnull;

	if (key_of_entry(entry, &other))
		return heap_compare_source_keys(&look->key, &other);
	source_id = DatumGetInt32(index_getattr(entry, 1, RelationGetDescr(look->index), &isnull));
	return !isnull && source_id < look->key.source_id ? 1 : -1;
}

/* Do all entries of the key stand before the page's end?  Where its bound has no key, or this one, they may go on. */
static bool
ends_before_bound(const KeyLook *look)
{
	IndexTuple	bound = (IndexTuple) PageGetItem(look->page, PageGetItemId(look->page, P_HIKEY));
	int32		source_id = *(int32 *) ((char *) bound + MAXALIGN(sizeof(IndexTupleData)));

	if (IndexTupleHasNulls(bound) || BTreeTupleGetNAtts(bound, look->index) > 1)
		return compare_with(look, P_HIKEY) < 0;
	return look->key.source_id < source_id;
}

/*
 * Gather the entries of the key from the page, which is locked; false: they need not be all.  `searched`: a search for
 * the key has ended here, so that none stands on a page before it.
 */
static bool
gather(KeyLook *look, bool searched)
{
	BTPageOpaque opaque = BTPageGetOpaque(look->page);
	OffsetNumber place;
	OffsetNumber end;
	int			c = 1;

	look->n = 0;
	if (!P_ISLEAF(opaque) || P_IGNORE(opaque) || P_INCOMPLETE_SPLIT(opaque))
		return false;
	place = look->first = P_FIRSTDATAKEY(opaque);
	look->last = PageGetMaxOffsetNumber(look->page);
	for (end = look->last + 1; place < end;)
	{
		OffsetNumber middle = place + (end - place) / 2;

		if (compare_with(look, middle) > 0)
			place = middle + 1;
		else
			end = middle;
	}
	if (place == look->first && !searched)
		return false;
	for (; place <= look->last && (c = compare_with(look, place)) == 0; place++)
	{
		ItemId		item = PageGetItemId(look->page, place);
		IndexTuple	entry = (IndexTuple) PageGetItem(look->page, item);

		if (ItemIdIsDead(item))
			continue;
		if (look->n == ENTRIES || BTreeTupleIsPosting(entry))
			return false;
		look->tids[look->n++] = entry->t_tid;
	}
	return place <= look->last || P_RIGHTMOST(opaque) || ends_before_bound(look);
}

static bool
look_at_leaf(KeyLook *look, const LeafHint *leaf)
{
	Buffer		buffer = heap_read_leaf(look->index, leaf);
	bool		good;

	_bt_lockbuf(look->index, buffer, BT_READ);
	look->page = BufferGetPage(buffer);
	good = !PageIsNew(look->page) && gather(look, false);
	_bt_relbuf(look->index, buffer);
	return good;
}

/* The page on which the search has ended has all keys from its first one on up to this one. */
static void
note_page(const KeyLook *look, Buffer buffer)
{
	SourceKey	first;

	if (look->first <= look->last &&
		key_of_entry((IndexTuple) PageGetItem(look->page, PageGetItemId(look->page, look->first)), &first) &&
		heap_compare_source_keys(&first, &look->key) <= 0)
		heap_note_leaf_of_keys(&first, &look->key, BufferGetBlockNumber(buffer), buffer);
}

/* Go down the tree. */
static bool
search_leaf(KeyLook *look, Relation heap)
{
	Datum		values[] = {
		Int32GetDatum(look->key.source_id), PointerGetDatum(cstring_to_text_with_len(look->key.text, look->key.length)),
		Int16GetDatum(PG_INT16_MIN)
	};
	bool		nulls[] = {false, false, false};
	BTScanInsert key = _bt_mkscankey(look->index, index_form_tuple(RelationGetDescr(look->index), values, nulls));
	Buffer		buffer;
	bool		good;

	_bt_freestack(_bt_search(look->index, heap, key, &buffer, BT_READ));
	if (!BufferIsValid(buffer))
		return false;			/* the index is empty */
	look->page = BufferGetPage(buffer);
	good = gather(look, true);
	if (good)
		note_page(look, buffer);
	_bt_relbuf(look->index, buffer);
	return good;
}

/* Where the entries of keys may be; those pages are wanted soon. */
static void
expect_keys(int32 source_id, int n, char **keys, LeafHint *leaves)
{
	for (int i = 0; i < n; i++)
	{
		leaves[i] = heap_leaf_of_key(&(SourceKey) {source_id, strlen(keys[i]), keys[i]});
		heap_page_soon(leaves[i].buffer, InvalidOffsetNumber);
	}
}

/* All entries of a key; false: search the index. */
static bool
find_entries(HeapStore *store, KeyLook *look, const LeafHint *leaf)
{
	MemoryContext outer;
	bool		found;

	if (leaf->block < store->key_blocks && look_at_leaf(look, leaf))
		return true;
	outer = heap_begin_rows(store);
	found = search_leaf(look, store->tables[STORE_LOT].rel);
	heap_end_rows(store, outer);
	return found;
}

static int
compare_places(const void *a, const void *b)
{
	return ItemPointerCompare(&(*(FoundLot *const *) a)->tid, &(*(FoundLot *const *) b)->tid);
}

/* Read lots in the order in which they lie; each key's stay in the order of their entries. */
static void
fetch_found(HeapStore *store, FoundLot *found, int n, MemoryContext context, KeyLots *results)
{
	IndexScanDesc scan = key_scan(store, 2);
	HeapTable  *table = &store->tables[STORE_LOT];
	FoundLot  **order = palloc(Max(n, 1) * sizeof(FoundLot *));

	for (int i = 0; i < n; i++)
		order[i] = &found[i];
	qsort(order, n, sizeof(FoundLot *), compare_places);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		scan->xs_heaptid = order[i]->tid;
		scan->xs_heap_continue = false;
		if (heap_fetch_entry(store, scan, table->slot))
			order[i]->lot = heap_lot(table, context);
	}
	for (int i = 0; i < n; i++)
		if (found[i].lot)
			add_lot(&results[found[i].key], found[i].lot, context);
	pfree(order);
}

/* Keys in ascending order.  What cannot be had from leaf pages is left with nlots -1. */
static void
look_up_keys(HeapStore *store, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	KeyLook		look = {.index = store->key_index};
	LeafHint	leaves[SOON];
	FoundLot   *found;
	int			nfound = 0;
	int			room = n;

	memset(results, 0, n * sizeof(KeyLots));	/* whoever walked may have begun with the first of them */
	found = palloc(room * sizeof(FoundLot));
	if (store->key_blocks == 0)
		store->key_blocks = RelationGetNumberOfBlocks(look.index);	/* not fewer while we have it locked */
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i % SOON == 0)
			expect_keys(source_id, Min(SOON, n - i), keys + i, leaves);
		look.key = (SourceKey) {source_id, strlen(keys[i]), keys[i]};
		if (!find_entries(store, &look, &leaves[i % SOON]))
		{
			results[i].nlots = -1;
			continue;
		}
		if (nfound + look.n > room)
			found = repalloc(found, (room = room * 2 + look.n) * sizeof(FoundLot));
		for (int j = 0; j < look.n; j++)
			found[nfound++] = (FoundLot) {look.tids[j], i};
	}
	fetch_found(store, found, nfound, context, results);
	pfree(found);
}

void
heap_probe_keys(Store *base, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	HeapStore  *store = heap_of(base);
	ScanKeyData scan_keys[3];
	int			done = 0;
	bool		looks;

	memset(results, 0, n * sizeof(KeyLots));
	ScanKeyInit(&scan_keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	if (n >= WALK_KEYS)
		done = walk_keys(store, scan_keys, n, keys, context, results);
	looks = done < n && can_look(key_scan(store, 2)->indexRelation);
	if (looks)
		look_up_keys(store, source_id, n - done, keys + done, context, results + done);
	for (; done < n; done++)
		if (!looks || results[done].nlots < 0)
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
