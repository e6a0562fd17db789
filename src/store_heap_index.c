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

#define RECORD_SIZE		60		/* bytes of WAL that a record of one entry needs beside it, about */
#define LARGE_ENTRY		1000	/* bytes; larger ones are not ours: nbtree wants three on a page, and says so */

/* Where entries go on a leaf page as it is before the first of them. */
typedef struct Run
{
	Relation	index;
	BTScanInsert key;			/* of the entry at hand */
	Page		page;
	OffsetNumber last;			/* on the page */
	bool		rightmost;
	Size		room;			/* left on the page */
	int			n;
	OffsetNumber places[RUN_ENTRIES];
} Run;

/* The key of an entry becomes the one at hand; false: part of it is NULL. */
static bool
take_key(const Run *run, IndexTuple entry)
{
	for (int i = 0; i < run->key->keysz; i++)
	{
		bool		isnull;

		run->key->scankeys[i].sk_argument = index_getattr(entry, i + 1, RelationGetDescr(run->index), &isnull);
		if (isnull)
			return false;
	}
	return true;
}

/* -1, 0, 1: where an entry's key stands beside the one at hand. */
static int
compare_entry(const Run *run, IndexTuple entry)
{
	for (int i = 0; i < run->key->keysz; i++)
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

static int
compare_with(const Run *run, OffsetNumber place)
{
	return _bt_compare(run->index, run->key, run->page, place);
}

/* The first entry from place on that is behind the key at hand; InvalidOffsetNumber: an equal one is there. */
static OffsetNumber
find_place(const Run *run, OffsetNumber place)
{
	OffsetNumber end = run->last + 1;
	int			c = place < end ? compare_with(run, place) : -1;

	if (c > 0)
	{
		place++;
		if (place < end && (c = compare_with(run, run->last)) > 0)
			return end;			/* as most do: behind all */
		end = Min(end, run->last);
		while (place < end && c != 0)
		{
			OffsetNumber middle = place + (end - place) / 2;

			c = compare_with(run, middle);
			if (c > 0)
				place = middle + 1;
			else
				end = middle;
		}
	}
	return c == 0 ? InvalidOffsetNumber : place;
}

/* Find places for as many entries as belong on the page and have room there. */
static void
plan_run(Run *run, OffsetNumber place, IndexTuple *entries, int n)
{
	for (run->n = 0; run->n < n; run->n++)
	{
		IndexTuple	entry = entries[run->n];
		Size		size = MAXALIGN(IndexTupleSize(entry)) + sizeof(ItemIdData);

		if (size > Min(run->room, LARGE_ENTRY) || !take_key(run, entry) ||
			(run->n > 0 && compare_entry(run, entries[run->n - 1]) >= 0))
			return;
		place = find_place(run, place);
		if (place == InvalidOffsetNumber ||
			(place > run->last && !run->rightmost && compare_with(run, P_HIKEY) >= 0))
			return;
		run->places[run->n] = place;
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

/* Is the page shorter than the records of the entries that go there? */
static bool
is_image_shorter(const Run *run, IndexTuple *entries)
{
	Size		records = 0;

	for (int i = 0; i < run->n; i++)
		records += IndexTupleSize(entries[i]) + RECORD_SIZE;
	return PageGetPageSize(run->page) - run->room < records;
}

static void
write_run(const Run *run, Buffer buffer, IndexTuple *entries)
{
	bool		logged = RelationNeedsWAL(run->index);
	bool		as_image = logged && is_image_shorter(run, entries);

	START_CRIT_SECTION();
	for (int i = 0; i < run->n; i++)
	{
		OffsetNumber place = run->places[i] + i;

		if (PageAddItem(run->page, (Item) entries[i], MAXALIGN(IndexTupleSize(entries[i])), place, false, false) ==
			InvalidOffsetNumber)
			elog(PANIC, "could not add an entry to block %u of index \"%s\"", BufferGetBlockNumber(buffer),
				 RelationGetRelationName(run->index));
		MarkBufferDirty(buffer);
		if (logged && !as_image)
			log_entry(buffer, run->page, place, entries[i]);
	}
	if (as_image)
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
}

/* Insert as many of the entries as go to the page of the first one; returns how many. */
static int
insert_run(Relation index, Relation heap, IndexTuple *entries, int n)
{
	Run			run = {.index = index, .key = _bt_mkscankey(index, entries[0])};
	Buffer		buffer;
	BTStack		stack;
	BTPageOpaque opaque;

	if (!run.key->anynullkeys && run.key->heapkeyspace)
	{
		run.key->scantid = NULL;	/* so the search ends where the first equal one would be */
		stack = _bt_search(index, heap, run.key, &buffer, BT_WRITE);
		run.page = BufferGetPage(buffer);
		opaque = BTPageGetOpaque(run.page);
		run.last = PageGetMaxOffsetNumber(run.page);
		run.rightmost = P_RIGHTMOST(opaque);
		run.room = PageGetExactFreeSpace(run.page);
		if (P_ISLEAF(opaque) && !P_IGNORE(opaque) && !P_INCOMPLETE_SPLIT(opaque))
			plan_run(&run, P_FIRSTDATAKEY(opaque), entries, n);
		if (run.n > 0)
		{
			CheckForSerializableConflictIn(index, NULL, BufferGetBlockNumber(buffer));
			write_run(&run, buffer, entries);
		}
		_bt_relbuf(index, buffer);
		_bt_freestack(stack);
	}
	pfree(run.key);
	return run.n;
}

static void
insert_runs(Relation index, Relation heap, IndexTuple *entries, int n)
{
	Assert(n <= RUN_ENTRIES && index->rd_index->indisunique && index->rd_index->indimmediate);
	while (n > 0)
	{
		int			done;

		CHECK_FOR_INTERRUPTS();
		done = insert_run(index, heap, entries, n);
		if (done == 0)
		{
			_bt_doinsert(index, entries[0], UNIQUE_CHECK_YES, false, heap);
			done = 1;
		}
		entries += done;
		n -= done;
	}
}

void
heap_insert_entries(HeapEntries *entries)
{
	insert_runs(entries->index, entries->heap, entries->list, entries->n);
	entries->n = 0;
	ResetPerTupleExprContext(entries->estate);
}

void
heap_add_entry(HeapEntries *entries, Datum *values, bool *nulls, ItemPointer tid)
{
	IndexTuple	entry = index_form_tuple(RelationGetDescr(entries->index), values, nulls);

	entry->t_tid = *tid;
	entries->list[entries->n++] = entry;
	if (entries->n == RUN_ENTRIES)
		heap_insert_entries(entries);
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
	return take_key(run, *(const IndexTuple *) b) ? compare_entry(run, *(const IndexTuple *) a) : 0;
}

/* Accounts come highest first, the rows of each in order: stretches that rise, which are in order from behind. */
static void
sort_entries(Run *run, IndexTuple *entries, int n)
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
	Run			run = {.index = index};
	IndexTuple *entries = palloc(n * sizeof(IndexTuple));
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	for (int i = 0; i < n; i++)
	{
		FormIndexDatum(info, slots[i], estate, values, nulls);
		entries[i] = index_form_tuple(RelationGetDescr(index), values, nulls);
		entries[i]->t_tid = slots[i]->tts_tid;
	}
	run.key = _bt_mkscankey(index, entries[0]);
	sort_entries(&run, entries, n);
	for (int i = 0; i < n; i += RUN_ENTRIES)
		insert_runs(index, heap, entries + i, Min(n - i, RUN_ENTRIES));
}
