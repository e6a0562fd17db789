/*
 * store_heap_key.c
 *	  The index lot_source_key, which is ours to fill: lots come in member order, their keys are sorted and go in together.
 *
 * Rule: a lot that is kept back from its indexes is indexed before any is looked for, and before the store is closed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "store_heap.h"

/* Of the lots' indexes all are PostgreSQL's to fill but this one. */
void
heap_take_key_index(HeapStore *store, HeapTable *table)
{
	ResultRelInfo *rri = table->rri;
	Oid			key_index = row_relation("lot_source_key");
	int			kept = 0;

	if (store->key_index)
		index_close(store->key_index, NoLock);	/* it was opened for reading alone */
	store->key_index = NULL;
	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		if (RelationGetRelid(rri->ri_IndexRelationDescs[i]) == key_index)
		{
			store->key_index = rri->ri_IndexRelationDescs[i];
			store->key_info = rri->ri_IndexRelationInfo[i];
			continue;
		}
		rri->ri_IndexRelationDescs[kept] = rri->ri_IndexRelationDescs[i];
		rri->ri_IndexRelationInfo[kept++] = rri->ri_IndexRelationInfo[i];
	}
	rri->ri_NumIndices = kept;
	if (store->key_index == NULL)
		elog(ERROR, "index lot_source_key is not an index of loyalty.lot");
	store->keeps_back = kept == 1 && heap_can_run(store->key_index, store->key_info) &&
		heap_can_run(rri->ri_IndexRelationDescs[0], rri->ri_IndexRelationInfo[0]) &&
		RelationGetRelid(rri->ri_IndexRelationDescs[0]) == RelationGetPrimaryKeyIndex(table->rel);
}

static uint64
key_head(const text *key)
{
	uint64		head = 0;

	memcpy(&head, VARDATA_ANY(key), Min(VARSIZE_ANY_EXHDR(key), sizeof(head)));
	return pg_ntoh64(head);
}

/* Index the key of a lot. */
void
heap_insert_key(HeapStore *store, TupleTableSlot *slot)
{
	static const int columns[] = {L_SOURCE_ID, L_SOURCE_KEY, L_PART};
	Datum		values[lengthof(columns)];
	bool		nulls[lengthof(columns)];

	for (int i = 0; i < lengthof(columns); i++)
		values[i] = slot_getattr(slot, columns[i] + 1, &nulls[i]);
	index_insert(store->key_index, values, nulls, &slot->tts_tid, store->tables[STORE_LOT].rel, UNIQUE_CHECK_YES, false,
				 store->key_info);
}

static const text *
kept_text(const KeptBack *kept, const KeyEntry *entry)
{
	return (const text *) (kept->texts + entry->key);
}

static void *
grow(MemoryContext context, void *array, Size size)
{
	return array ? repalloc_huge(array, size) : MemoryContextAllocHuge(context, size);
}

static void
grow_kept_back(HeapStore *store, Size text)
{
	MemoryContext context = store->base.context;
	KeptBack   *kept = &store->kept;

	if (kept->count == kept->room)
	{
		kept->room = Max(128, kept->room * 2);
		kept->keys = grow(context, kept->keys, mul_size(kept->room, sizeof(KeyEntry)));
		kept->places = grow(context, kept->places, mul_size(kept->room, sizeof(LotPlaceEntry)));
	}
	if (kept->texts_used + text > kept->texts_room)
	{
		kept->texts_room = Max(Max(kept->texts_used + text, 2 * 1024), kept->texts_room * 2);
		kept->texts = grow(context, kept->texts, kept->texts_room);
	}
}

/* Is there no room for one more? */
static bool
is_full(const KeptBack *kept, Size text)
{
	Size		size = (kept->count + 1) * (sizeof(KeyEntry) + sizeof(LotPlaceEntry)) + kept->texts_used + text;

	return size > Min(get_hash_memory_limit(), PG_UINT32_MAX);
}

static void
keep_key(KeptBack *kept, KeyEntry *entry, const text *key)
{
	if (!VARATT_IS_SHORT(key))
		kept->texts_used = INTALIGN(kept->texts_used);
	entry->key = kept->texts_used;
	entry->head = key_head(key);
	memcpy(kept->texts + kept->texts_used, key, VARSIZE_ANY(key));
	kept->texts_used += VARSIZE_ANY(key);
}

/*
 * A new lot is indexed with others, those of its batch, or in a big load those of the statement.  false: it is to be
 * indexed now (also where somebody has given the table an index of his own).
 */
bool
heap_keep_back(HeapStore *store, TupleTableSlot *slot)
{
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	KeptBack   *kept = &store->kept;
	KeyEntry   *entry;
	const text *key;
	Size		size;

	if (!store->keeps_back)
		return false;
	heap_read_row(&store->tables[STORE_LOT], slot, values, nulls);
	if (nulls[L_SOURCE_KEY])
		return false;
	key = DatumGetTextPP(values[L_SOURCE_KEY]);
	size = VARSIZE_ANY(key) + ALIGNOF_INT;
	if (is_full(kept, size) ||
		kept->program_id != DatumGetInt32(values[L_PROGRAM_ID]) || kept->source_id != DatumGetInt32(values[L_SOURCE_ID]))
		heap_flush_keys(store);
	grow_kept_back(store, size);
	kept->program_id = DatumGetInt32(values[L_PROGRAM_ID]);
	kept->source_id = DatumGetInt32(values[L_SOURCE_ID]);
	kept->places[kept->count] = (LotPlaceEntry) {
		.member_id = DatumGetInt64(values[L_MEMBER_ID]),
		.expires_at = DatumGetTimestampTz(values[L_EXPIRES_AT]),
		.entry_no = DatumGetInt64(values[L_ENTRY_NO])
	};
	entry = &kept->keys[kept->count++];
	entry->part = DatumGetInt16(values[L_PART]);
	entry->tid = slot->tts_tid;
	keep_key(kept, entry, key);
	return true;
}

static inline int
compare_kept(const KeyEntry *x, const KeyEntry *y, const KeptBack *kept)
{
	const text *xkey = kept_text(kept, x);
	const text *ykey = kept_text(kept, y);
	int			xlen;
	int			ylen;
	int			c;

	if (x->head != y->head)
		return x->head < y->head ? -1 : 1;
	xlen = VARSIZE_ANY_EXHDR(xkey);
	ylen = VARSIZE_ANY_EXHDR(ykey);
	c = memcmp(VARDATA_ANY(xkey), VARDATA_ANY(ykey), Min(xlen, ylen));
	return c != 0 ? c : xlen != ylen ? xlen - ylen : x->part - y->part;
}

#define ST_SORT sort_kept
#define ST_ELEMENT_TYPE KeyEntry
#define ST_COMPARE(a, b, kept) compare_kept(a, b, kept)
#define ST_COMPARE_ARG_TYPE const KeptBack
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void
add_place(HeapEntries *entries, const KeptBack *kept, int i)
{
	const LotPlaceEntry *place = &kept->places[i];
	Datum		values[4] = {
		Int64GetDatum(place->member_id), Int32GetDatum(kept->program_id), TimestampTzGetDatum(place->expires_at),
		Int64GetDatum(place->entry_no)
	};
	bool		nulls[4] = {false, false, false, false};

	heap_add_entry(entries, values, nulls, &kept->keys[i].tid);
}

/* The page of a lot's member is wanted soon. */
static void
expect_place(const KeptBack *kept, int i)
{
	LeafHint   *leaf = heap_leaf_hint(kept->program_id, kept->places[i].member_id);

	if (leaf == NULL)
		return;
	if (leaf->block == InvalidBlockNumber)
		*leaf = heap_leaf_of(heap_leaf_map(STORE_LOT), kept->places[i].member_id);
	heap_page_soon(leaf->buffer, leaf->place);
}

static int
compare_places(const void *a, const void *b, void *places)
{
	const LotPlaceEntry *x = (LotPlaceEntry *) places + *(const int *) a;
	const LotPlaceEntry *y = (LotPlaceEntry *) places + *(const int *) b;

	if (x->expires_at != y->expires_at)
		return x->expires_at < y->expires_at ? -1 : 1;
	return (x->entry_no > y->entry_no) - (x->entry_no < y->entry_no);
}

/*
 * Members came highest first: from behind, each with his lots by their expiry, the primary key grows at its end, or
 * page by page.
 */
void
heap_flush_places(HeapStore *store)
{
	HeapTable  *table = &store->tables[STORE_LOT];
	KeptBack   *kept = &store->kept;
	Relation	index;
	HeapEntries *entries;
	int		   *order;

	if (kept->count == kept->placed)
		return;
	index = table->rri->ri_IndexRelationDescs[0];
	entries = heap_begin_entries(index, table->rel, store->base.context);
	order = MemoryContextAllocHuge(store->base.context, mul_size(kept->count, sizeof(int)));
	if (table->key_blocks == 0)
		table->key_blocks = RelationGetNumberOfBlocks(index);	/* not fewer while we have it locked */
	for (int end = kept->count, soon = end, first; end > kept->placed; end = first)
	{
		CHECK_FOR_INTERRUPTS();
		for (; !store->base.hoping && soon > kept->placed && soon > end - SOON; soon--)
			expect_place(kept, soon - 1);
		for (first = end - 1; first > kept->placed && kept->places[first - 1].member_id == kept->places[end - 1].member_id;)
			first--;
		for (int i = first; i < end; i++)
			order[i] = i;
		qsort_arg(&order[first], end - first, sizeof(int), compare_places, kept->places);
		if (!store->base.hoping)
			heap_expect_leaf(entries, heap_leaf_map(STORE_LOT),
							 heap_leaf_hint(kept->program_id, kept->places[first].member_id), table->key_blocks);
		for (int i = first; i < end; i++)
			add_place(entries, kept, order[i]);
		if (!store->base.hoping)
			heap_insert_entries(entries);
	}
	heap_insert_entries(entries);
	heap_end_entries(entries);
	pfree(order);
	kept->placed = kept->count;
}

/* In key order neighbours go to one page. */
static void
flush_keys(HeapStore *store)
{
	const KeptBack *kept = &store->kept;
	HeapEntries *entries = heap_begin_entries(store->key_index, store->tables[STORE_LOT].rel, store->base.context);
	bool		nulls[3] = {false, false, false};

	sort_kept(kept->keys, kept->count, kept);
	for (int i = 0; i < kept->count; i++)
	{
		KeyEntry   *entry = &kept->keys[i];
		Datum		values[3] = {
			Int32GetDatum(kept->source_id), PointerGetDatum(kept_text(kept, entry)), Int16GetDatum(entry->part)
		};

		if (i + SOON < kept->count)
			fetch_soon(kept_text(kept, entry + SOON));
		heap_add_entry(entries, values, nulls, &entry->tid);
	}
	heap_insert_entries(entries);
	heap_end_entries(entries);
}

void
heap_flush_keys(HeapStore *store)
{
	KeptBack   *kept = &store->kept;

	if (kept->count == 0)
		return;
	heap_flush_places(store);
	flush_keys(store);
	kept->count = kept->placed = 0;
	kept->texts_used = 0;
}
