/*
 * store_heap_index.c
 *	  Entries of a unique btree, inserted in runs: all that belong on one leaf page go there at once.
 *
 * PostgreSQL inserts entry by entry: it goes down the tree, looks for an equal one, adds, and writes a record.  Sorted
 * entries go to the same page by the hundred, and then one descent, one lock and one image of the page do for all.
 *
 * Rules:
 * - The steps and their order are those of _bt_doinsert() and _bt_insertonpg().  Only the plain case is done here: there
 *	 is room on the page, the key lies below the page's high key, no entry of that key is there, dead or alive.
 *	 Everything else, splits, duplicates, waiting for who inserts the same, is left to _bt_doinsert().
 * - That a key is not there is found and holds under the lock of the leaf page on which it would have to be.
 * - All comparing comes before the page is touched; between the first change and its record nothing can fail.
 * - test/t/070_index_runs.pl holds the indexes against their tables by amcheck, after a crash and on a standby, too.
 */
#include "postgres.h"

#include "access/nbtxlog.h"
#include "access/xloginsert.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/rel.h"

#include "store_heap.h"

#define RECORD_COST		100		/* bytes of log that cost as much as a record of one entry does beside the entry, about */
#define LARGE_ENTRY		1000	/* bytes; larger ones are not ours: nbtree wants three on a page, and says so */

#define PLAIN_KEYS		4

struct HeapEntries
{
	Relation	index;
	Relation	heap;
	MemoryContext context;		/* of the entries */
	int			n;
	IndexTuple	list[RUN_ENTRIES];
	LeafMap    *map;			/* pages of the index by members; NULL: not asked */
	LeafHint   *leaf;			/* behind which the first of them may belong; becomes where the last has gone; NULL: not asked */
	BlockNumber blocks;			/* the index has at least so many */

	/* the keys of the index are up to four integers, ascending: they are laid out and compared here */
	bool		plain;
	int			nkeys;
	int16		width[PLAIN_KEYS];	/* bytes */
	int16		offset[PLAIN_KEYS]; /* in an entry that has no NULL */
	Size		size;			/* of such an entry */

	/* the entry at hand */
	IndexTuple	entry;
	BTScanInsert key;			/* for nbtree */
	int64		value[PLAIN_KEYS];

	/* where entries go on a leaf page as it is before the first of them */
	Buffer		buffer;
	Page		page;
	OffsetNumber first;			/* on the page */
	OffsetNumber last;
	OffsetNumber guess;			/* the first of them may belong behind this */
	bool		rightmost;
	Size		room;			/* left on the page */
	int			nplaces;
	OffsetNumber places[RUN_ENTRIES];
};

/* Does nbtree compare a column's values as the integers that they are? */
static bool
is_plain(Relation index, int column)
{
	Oid			compare = index_getprocid(index, column + 1, BTORDER_PROC);

	return TupleDescAttr(RelationGetDescr(index), column)->attbyval && (index->rd_indoption[column] & INDOPTION_DESC) == 0 &&
		(compare == F_BTINT8CMP || compare == F_BTINT4CMP || compare == F_TIMESTAMPTZ_CMP);
}

static void
plan_keys(HeapEntries *entries)
{
	int			offset = MAXALIGN(sizeof(IndexTupleData));

	entries->nkeys = IndexRelationGetNumberOfKeyAttributes(entries->index);
	entries->plain = entries->nkeys <= PLAIN_KEYS && entries->nkeys == IndexRelationGetNumberOfAttributes(entries->index);
	for (int i = 0; i < entries->nkeys && entries->plain; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(entries->index), i);

		entries->plain = is_plain(entries->index, i);
		entries->width[i] = column->attlen;
		entries->offset[i] = att_align_nominal(offset, column->attalign);
		offset = entries->offset[i] + column->attlen;
	}
	entries->size = MAXALIGN(offset);
}

/* In a context that lives until heap_end_entries(). */
HeapEntries *
heap_begin_entries(Relation index, Relation heap, MemoryContext context)
{
	HeapEntries *entries = MemoryContextAlloc(context, sizeof(HeapEntries));

	entries->index = index;
	entries->heap = heap;
	entries->context = AllocSetContextCreate(context, "loyalty index entries", ALLOCSET_DEFAULT_SIZES);
	entries->n = 0;
	entries->map = NULL;
	entries->leaf = NULL;
	entries->key = NULL;
	plan_keys(entries);
	return entries;
}

void
heap_end_entries(HeapEntries *entries)
{
	Assert(entries->n == 0);
	MemoryContextDelete(entries->context);
	if (entries->key)
		pfree(entries->key);
	pfree(entries);
}

static inline int64
plain_value(const HeapEntries *run, IndexTuple entry, int i)
{
	const char *at = (const char *) entry + run->offset[i];

	return run->width[i] == sizeof(int64) ? *(const int64 *) at : *(const int32 *) at;
}

/* -1, 0, 1: where the key of the entry at hand stands beside another's. */
static inline int
compare_plain(const HeapEntries *run, IndexTuple entry)
{
	for (int i = 0; i < run->nkeys; i++)
	{
		int64		value = plain_value(run, entry, i);

		if (run->value[i] != value)
			return run->value[i] < value ? -1 : 1;
	}
	return 0;
}

/* For nbtree's own comparing; false: part of the key is NULL. */
static bool
set_scan_keys(const HeapEntries *run)
{
	for (int i = 0; i < run->nkeys; i++)
	{
		bool		isnull;

		run->key->scankeys[i].sk_argument = index_getattr(run->entry, i + 1, RelationGetDescr(run->index), &isnull);
		if (isnull)
			return false;
	}
	return true;
}

/* An entry becomes the one at hand; false: part of its key is NULL. */
static bool
take_entry(HeapEntries *run, IndexTuple entry)
{
	run->entry = entry;
	if (!run->plain || IndexTupleHasNulls(entry))
		return set_scan_keys(run);
	for (int i = 0; i < run->nkeys; i++)
		run->value[i] = plain_value(run, entry, i);
	return true;
}

/* -1, 0, 1: where an entry's key stands beside that of the one at hand. */
static int
compare_entry(const HeapEntries *run, IndexTuple entry)
{
	if (run->plain && !IndexTupleHasNulls(entry))
		return -compare_plain(run, entry);
	for (int i = 0; i < run->nkeys; i++)
	{
		ScanKey		key = &run->key->scankeys[i];
		bool		isnull;
		Datum		value = index_getattr(entry, i + 1, RelationGetDescr(run->index), &isnull);
		int			c = DatumGetInt32(FunctionCall2Coll(&key->sk_func, key->sk_collation, value, key->sk_argument));

		if (c != 0)
			return (c > 0) == ((key->sk_flags & SK_BT_DESC) == 0) ? 1 : -1;
	}
	return 0;
}

/* The same beside what stands on the page; the high key may be a part of a key, which is nbtree's to compare. */
static int
compare_with(const HeapEntries *run, OffsetNumber place)
{
	if (run->plain && place >= run->first)
	{
		IndexTuple	entry = (IndexTuple) PageGetItem(run->page, PageGetItemId(run->page, place));

		if (!IndexTupleHasNulls(entry))
			return compare_plain(run, entry);
	}
	if (run->plain)
		(void) set_scan_keys(run);
	return _bt_compare(run->index, run->key, run->page, place);
}

/*
 * The first entry from place on that is behind the key at hand; InvalidOffsetNumber: an equal one is there.  Looks near
 * the guess first, and then farther and farther behind it.
 */
static OffsetNumber
find_place(const HeapEntries *run, OffsetNumber place, OffsetNumber guess)
{
	OffsetNumber end = run->last + 1;
	int			look = guess;
	int			step = 1;		/* 0: it is before the guess, or between two looks */

	while (place < end)
	{
		int			c;

		look = Max(place, Min(look, end - 1));
		c = compare_with(run, look);
		if (c == 0)
			return InvalidOffsetNumber;
		if (c < 0)
		{
			end = look;
			step = 0;
		}
		else
		{
			place = look + 1;
			look += step;
			step *= 2;
		}
		if (step == 0)
			look = place + (end - place) / 2;
	}
	return place;
}

/* Find places for as many entries as belong on the page and have room there. */
static void
plan_run(HeapEntries *run, IndexTuple *entries, int n)
{
	OffsetNumber place = run->first;

	for (run->nplaces = 0; run->nplaces < n; run->nplaces++)
	{
		IndexTuple	entry = entries[run->nplaces];
		Size		size = MAXALIGN(IndexTupleSize(entry)) + sizeof(ItemIdData);

		if (size > Min(run->room, LARGE_ENTRY) || !take_entry(run, entry) ||
			(run->nplaces > 0 && compare_entry(run, entries[run->nplaces - 1]) >= 0))
			return;
		place = find_place(run, place, run->nplaces == 0 ? run->guess : place);
		if (place == InvalidOffsetNumber ||
			(place > run->last && !run->rightmost && compare_with(run, P_HIKEY) >= 0))
			return;
		run->places[run->nplaces] = place;
		run->room -= size;
	}
}

static void
log_entry(Buffer buffer, Page page, OffsetNumber place, IndexTuple entry)
{
	xl_btree_insert record = {.offnum = place};
	XLogRecPtr	end;

	XLogBeginInsert();
	XLogRegisterData((char *) &record, SizeOfBtreeInsert);
	XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
	XLogRegisterBufData(0, (char *) entry, IndexTupleSize(entry));
	end = XLogInsert(RM_BTREE_ID, XLOG_BTREE_INSERT_LEAF);
	PageSetLSN(page, end);		/* a macro that reads it twice */
}

/* Does an image of the page cost less than the records of the entries that go there? */
static bool
is_image_cheaper(const HeapEntries *run, IndexTuple *entries)
{
	Size		records = 0;

	for (int i = 0; i < run->nplaces; i++)
		records += IndexTupleSize(entries[i]) + RECORD_COST;
	return PageGetPageSize(run->page) - run->room < records;
}

static void
write_run(const HeapEntries *run, IndexTuple *entries)
{
	bool		logged = RelationNeedsWAL(run->index);
	bool		as_image = logged && is_image_cheaper(run, entries);

	START_CRIT_SECTION();
	for (int i = 0; i < run->nplaces; i++)
	{
		OffsetNumber place = run->places[i] + i;

		if (PageAddItem(run->page, (Item) entries[i], MAXALIGN(IndexTupleSize(entries[i])), place, false, false) ==
			InvalidOffsetNumber)
			elog(PANIC, "could not add an entry to block %u of index \"%s\"", BufferGetBlockNumber(run->buffer),
				 RelationGetRelationName(run->index));
		MarkBufferDirty(run->buffer);
		if (logged && !as_image)
			log_entry(run->buffer, run->page, place, entries[i]);
	}
	if (as_image)
		log_newpage_buffer(run->buffer, true);
	END_CRIT_SECTION();
}

/* Look at the page of run->buffer, which is locked; false: entries do not go there. */
static bool
see_page(HeapEntries *run)
{
	BTPageOpaque opaque;

	run->page = BufferGetPage(run->buffer);
	run->nplaces = 0;
	if (PageIsNew(run->page))
		return false;
	opaque = BTPageGetOpaque(run->page);
	run->first = P_FIRSTDATAKEY(opaque);
	run->last = run->guess = PageGetMaxOffsetNumber(run->page);
	run->rightmost = P_RIGHTMOST(opaque);
	run->room = PageGetExactFreeSpace(run->page);
	return P_ISLEAF(opaque) && !P_IGNORE(opaque) && !P_INCOMPLETE_SPLIT(opaque);
}

/* Where the entry at hand may belong. */
static LeafHint
known_leaf(const HeapEntries *run)
{
	if (run->leaf && run->leaf->block != InvalidBlockNumber)
		return *run->leaf;
	return run->map && run->plain ? heap_leaf_of(run->map, run->value[0]) : (LeafHint) {InvalidBlockNumber};
}

/* The page of a hint, which need not be looked for where it was found last. */
Buffer
heap_read_leaf(Relation index, const LeafHint *leaf)
{
	if (BufferIsValid(leaf->buffer) && ReadRecentBuffer(index->rd_locator, MAIN_FORKNUM, leaf->block, leaf->buffer))
		return leaf->buffer;
	return ReadBuffer(index, leaf->block);
}

/*
 * The page where a neighbour has gone before, if the first of the entries goes behind a key of it: whatever has become
 * of the tree since, what lies between keys of a page belongs there.
 */
static bool
take_leaf(HeapEntries *run, IndexTuple *entries, int n)
{
	LeafHint	leaf = known_leaf(run);

	if (leaf.block >= run->blocks)
		return false;
	run->buffer = heap_read_leaf(run->index, &leaf);
	_bt_lockbuf(run->index, run->buffer, BT_WRITE);
	if (see_page(run))
	{
		if (leaf.place != InvalidOffsetNumber)
			run->guess = leaf.place;
		plan_run(run, entries, n);
		if (run->nplaces > 0 && run->places[0] > run->first)
			return true;
	}
	_bt_relbuf(run->index, run->buffer);
	return false;
}

/* Go down the tree; entries may not go to the page where it ends. */
static void
search_leaf(HeapEntries *run, IndexTuple *entries, int n)
{
	(void) take_entry(run, entries[0]);
	(void) set_scan_keys(run);
	_bt_freestack(_bt_search(run->index, run->heap, run->key, &run->buffer, BT_WRITE));
	if (see_page(run))
		plan_run(run, entries, n);
}

/* The page has entries of a member, or would have them: so it has all from its first entry on up to his. */
static void
note_page(const HeapEntries *run, LeafMap *map, int64 member)
{
	IndexTuple	entry;
	int64		first;

	if (run->first > run->last)
		return;
	entry = (IndexTuple) PageGetItem(run->page, PageGetItemId(run->page, run->first));
	first = plain_value(run, entry, 0);
	if (!IndexTupleHasNulls(entry) && first <= member)
		heap_note_leaf(map, first, member, BufferGetBlockNumber(run->buffer), run->buffer);
}

/* Insert as many of the entries as go to the page of the first one; returns how many. */
static int
insert_run(HeapEntries *run, IndexTuple *entries, int n)
{
	if (run->key == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(run));

		run->key = _bt_mkscankey(run->index, entries[0]);
		MemoryContextSwitchTo(old);
	}
	if (!take_entry(run, entries[0]) || !run->key->heapkeyspace)
		return 0;
	run->key->scantid = NULL;	/* so a search ends where the first equal one would be */
	if (!take_leaf(run, entries, n))
	{
		search_leaf(run, entries, n);
		if (run->map && run->plain && run->nplaces > 0)
			note_page(run, run->map, run->value[0]);
	}
	if (run->nplaces > 0)
	{
		CheckForSerializableConflictIn(run->index, NULL, BufferGetBlockNumber(run->buffer));
		write_run(run, entries);
		if (run->leaf)
			*run->leaf = (LeafHint) {
				BufferGetBlockNumber(run->buffer), run->buffer, run->places[run->nplaces - 1] + run->nplaces - 1
			};
	}
	_bt_relbuf(run->index, run->buffer);
	return run->nplaces;
}

static void
insert_runs(HeapEntries *run, IndexTuple *entries, int n)
{
	Assert(n <= RUN_ENTRIES && run->index->rd_index->indisunique && run->index->rd_index->indimmediate);
	while (n > 0)
	{
		int			done;

		CHECK_FOR_INTERRUPTS();
		done = insert_run(run, entries, n);
		if (done == 0)
		{
			_bt_doinsert(run->index, entries[0], UNIQUE_CHECK_YES, false, run->heap);
			done = 1;
		}
		entries += done;
		n -= done;
	}
}

/* The entries that were added go into the index. */
void
heap_insert_entries(HeapEntries *entries)
{
	MemoryContext old = MemoryContextSwitchTo(entries->context);

	insert_runs(entries, entries->list, entries->n);
	entries->n = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(entries->context);
}

/* The next entries lie together, perhaps on the page that *leaf says, which becomes the one where they are, or the map. */
void
heap_expect_leaf(HeapEntries *entries, LeafMap *map, LeafHint *leaf, BlockNumber blocks)
{
	entries->map = map;
	entries->leaf = leaf;
	entries->blocks = blocks;
}

static IndexTuple
form_entry(const HeapEntries *entries, Datum *values, bool *nulls)
{
	IndexTuple	entry;

	if (!entries->plain || memchr(nulls, true, entries->nkeys))
		return index_form_tuple(RelationGetDescr(entries->index), values, nulls);
	entry = palloc0(entries->size);
	entry->t_info = entries->size;
	for (int i = 0; i < entries->nkeys; i++)
	{
		char	   *at = (char *) entry + entries->offset[i];

		if (entries->width[i] == sizeof(int64))
			*(int64 *) at = DatumGetInt64(values[i]);
		else
			*(int32 *) at = DatumGetInt32(values[i]);
	}
	return entry;
}

void
heap_add_entry(HeapEntries *entries, Datum *values, bool *nulls, ItemPointer tid)
{
	MemoryContext old = MemoryContextSwitchTo(entries->context);
	IndexTuple	entry = form_entry(entries, values, nulls);

	MemoryContextSwitchTo(old);
	entry->t_tid = *tid;
	entries->list[entries->n++] = entry;
	if (entries->n == RUN_ENTRIES)
		heap_insert_entries(entries);
}

/* ---- reading ---- */

/* The first entry of the page that is not before the key at hand. */
static OffsetNumber
first_not_before(const HeapEntries *finder)
{
	OffsetNumber place = finder->first;
	OffsetNumber end = finder->last + 1;

	while (place < end)
	{
		OffsetNumber middle = place + (end - place) / 2;

		if (compare_with(finder, middle) > 0)
			place = middle + 1;
		else
			end = middle;
	}
	return place;
}

/*
 * The rows to which a page's entries of a key point, n at most.  They need not be all: who does not find the row that
 * his snapshot sees among them searches the index.
 */
int
heap_look_at_leaf(HeapEntries *finder, const LeafHint *leaf, const int64 *key, ItemPointer tids, int n)
{
	int			found = 0;

	if (!finder->plain)
		return 0;
	memcpy(finder->value, key, finder->nkeys * sizeof(int64));
	finder->buffer = heap_read_leaf(finder->index, leaf);
	_bt_lockbuf(finder->index, finder->buffer, BT_READ);
	if (see_page(finder))
		for (OffsetNumber place = first_not_before(finder); place <= finder->last && found < n; place++)
		{
			ItemId		item = PageGetItemId(finder->page, place);
			IndexTuple	entry = (IndexTuple) PageGetItem(finder->page, item);

			if (IndexTupleHasNulls(entry) || BTreeTupleIsPosting(entry) || compare_plain(finder, entry) != 0)
				break;
			if (!ItemIdIsDead(item))
				tids[found++] = entry->t_tid;
		}
	_bt_relbuf(finder->index, finder->buffer);
	return found;
}

/* A search for a member has ended on this page. */
void
heap_know_leaf(HeapEntries *finder, LeafMap *map, BlockNumber block, int64 member)
{
	if (!finder->plain || heap_leaf_map_full(map))
		return;
	finder->buffer = ReadBuffer(finder->index, block);
	_bt_lockbuf(finder->index, finder->buffer, BT_READ);
	if (see_page(finder))
		note_page(finder, map, member);
	_bt_relbuf(finder->index, finder->buffer);
}

/* ---- rows of a batch, in any order ---- */

bool
heap_can_run(Relation index, const IndexInfo *info)
{
	return index->rd_rel->relam == BTREE_AM_OID && info->ii_Unique && index->rd_index->indimmediate &&
		info->ii_ReadyForInserts && info->ii_Expressions == NIL && info->ii_Predicate == NIL;
}

/* One with a NULL stands anywhere: _bt_doinsert() takes it. */
static int
compare_entries(const void *a, const void *b, void *run)
{
	return take_entry(run, *(const IndexTuple *) b) ? compare_entry(run, *(const IndexTuple *) a) : 0;
}

/* Accounts come highest first, the rows of each in order: stretches that rise, which are in order from behind. */
static void
sort_entries(HeapEntries *run, IndexTuple *entries, int n)
{
	IndexTuple *sorted = palloc(n * sizeof(IndexTuple));
	int			done = 0;

	for (int end = n, first; end > 0; end = first)
	{
		for (first = end - 1; first > 0 && compare_entries(&entries[first - 1], &entries[first], run) < 0;)
			first--;
		memcpy(&sorted[done], &entries[first], (end - first) * sizeof(IndexTuple));
		done += end - first;
	}
	qsort_arg(sorted, n, sizeof(IndexTuple), compare_entries, run);	/* looks first whether there is anything to do */
	memcpy(entries, sorted, n * sizeof(IndexTuple));
}

/* The rows of the slots go into an index of which heap_can_run() says so. */
void
heap_index_rows(Relation index, IndexInfo *info, Relation heap, EState *estate, TupleTableSlot **slots, int n)
{
	HeapEntries *run = heap_begin_entries(index, heap, CurrentMemoryContext);
	IndexTuple *entries = palloc(n * sizeof(IndexTuple));
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	for (int i = 0; i < n; i++)
	{
		FormIndexDatum(info, slots[i], estate, values, nulls);
		entries[i] = form_entry(run, values, nulls);
		entries[i]->t_tid = slots[i]->tts_tid;
	}
	run->key = _bt_mkscankey(index, entries[0]);
	sort_entries(run, entries, n);
	for (int i = 0; i < n; i += RUN_ENTRIES)
		insert_runs(run, entries + i, Min(n - i, RUN_ENTRIES));
	heap_end_entries(run);
}
