/*
 * store_heap_leaf.c
 *	  On which page of an index the entries of a member are: what this backend has seen of the primary keys of accounts
 *	  and of lots, both of which begin with the member.  And the entries of a purchase's key, in lot_source_key.
 *
 * Going down a tree costs ten times what is done on the page where it ends.
 *
 * Rule: hints alone.  Pages are split, emptied and used for other keys: whoever goes to one because of this file
 * believes what stands there now, and tells what he has seen.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "store_heap.h"

#define MAX_RANGES	8192		/* of a million lots or more; what is not known costs the way down the tree */

/* From about this member on up to that of the next one. */
typedef struct LeafRange
{
	int64		member;
	BlockNumber block;
	Buffer		buffer;			/* where the page was */
} LeafRange;

struct LeafMap
{
	int			n;
	int			room;
	LeafRange  *ranges;			/* ascending */
};

static LeafMap account_leaves;
static LeafMap lot_leaves;

#define LONGEST		64			/* bytes of a key that is remembered */

/* From about this key on up to that of the next one. */
typedef struct KeyRange
{
	SourceKey	key;
	BlockNumber block;
	Buffer		buffer;
} KeyRange;

static struct
{
	int			n;
	int			room;
	KeyRange   *ranges;			/* ascending */
	int			last;			/* the answer before: keys are asked for in order */
}			key_leaves;

LeafMap *
heap_leaf_map(StoreTableId table)
{
	Assert(table == STORE_ACCOUNT || table == STORE_LOT);
	return table == STORE_ACCOUNT ? &account_leaves : &lot_leaves;
}

/* How many ranges begin before a member. */
static int
count_before(const LeafMap *map, int64 member)
{
	int			low = 0;
	int			high = map->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (map->ranges[middle].member < member)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The ranges that begin with a member up to `last`, too. */
static int
count_up_to(const LeafMap *map, int64 last)
{
	return last == PG_INT64_MAX ? map->n : count_before(map, last + 1);
}

/* Where the entries of a member may be. */
LeafHint
heap_leaf_of(const LeafMap *map, int64 member)
{
	int			n = count_up_to(map, member);

	if (n == 0)
		return (LeafHint) {InvalidBlockNumber};
	return (LeafHint) {map->ranges[n - 1].block, map->ranges[n - 1].buffer};
}

static void
grow(LeafMap *map)
{
	map->room = Max(64, map->room * 2);
	map->ranges = map->ranges ? repalloc(map->ranges, map->room * sizeof(LeafRange))
		: MemoryContextAlloc(TopMemoryContext, map->room * sizeof(LeafRange));
}

/* The entries of members from `first` to `last` are on one page.  What said otherwise is out of date. */
void
heap_note_leaf(LeafMap *map, int64 first, int64 last, BlockNumber block, Buffer buffer)
{
	int			at = count_before(map, first);
	int			end = count_up_to(map, last);

	Assert(first <= last && at <= end);
	if (at == end && map->n == MAX_RANGES)
		return;
	if (map->n == map->room)
		grow(map);
	memmove(&map->ranges[at + 1], &map->ranges[end], (map->n - end) * sizeof(LeafRange));
	map->ranges[at] = (LeafRange) {first, block, buffer};
	map->n += at + 1 - end;
}

bool
heap_leaf_map_full(const LeafMap *map)
{
	return map->n == MAX_RANGES;
}

/* ---- keys of purchases ---- */

/* How many ranges begin before a key, or with it.  Looks near the last answer first, and then farther and farther. */
static int
key_ranges_up_to(const SourceKey *key)
{
	int			low = 0;
	int			high = key_leaves.n;
	int			look = Min(key_leaves.last, high - 1);
	int			step = 1;

	while (low < high)
	{
		if (heap_compare_source_keys(&key_leaves.ranges[look].key, key) <= 0)
			low = look + 1;
		else
			high = look;
		step = look + 1 == low ? step * 2 : 0;
		look = step > 0 && low + step < high ? low + step - 1 : low + (high - low) / 2;
	}
	return low;
}

/* Where the entries of a key may be. */
LeafHint
heap_leaf_of_key(const SourceKey *key)
{
	int			n = key_ranges_up_to(key);

	if (n == 0)
		return (LeafHint) {InvalidBlockNumber};
	key_leaves.last = n - 1;
	return (LeafHint) {key_leaves.ranges[n - 1].block, key_leaves.ranges[n - 1].buffer};
}

static void
grow_key_leaves(void)
{
	key_leaves.room = Max(64, key_leaves.room * 2);
	key_leaves.ranges = key_leaves.ranges ? repalloc(key_leaves.ranges, key_leaves.room * sizeof(KeyRange))
		: MemoryContextAlloc(TopMemoryContext, key_leaves.room * sizeof(KeyRange));
}

/* The entries of keys from `first` to `last` are on one page.  What said otherwise is out of date. */
void
heap_note_leaf_of_keys(const SourceKey *first, const SourceKey *last, BlockNumber block, Buffer buffer)
{
	int			end = key_ranges_up_to(last);
	int			at = end;
	char	   *text;

	while (at > 0 && heap_compare_source_keys(&key_leaves.ranges[at - 1].key, first) >= 0)
		at--;
	if (first->length > LONGEST || (at == end && key_leaves.n == MAX_RANGES))
		return;
	if (key_leaves.n == key_leaves.room)
		grow_key_leaves();
	text = MemoryContextAlloc(TopMemoryContext, first->length);
	memcpy(text, first->text, first->length);
	for (int i = at; i < end; i++)
		pfree((void *) key_leaves.ranges[i].key.text);
	memmove(&key_leaves.ranges[at + 1], &key_leaves.ranges[end], (key_leaves.n - end) * sizeof(KeyRange));
	key_leaves.ranges[at] = (KeyRange) {{first->source_id, first->length, text}, block, buffer};
	key_leaves.n += at + 1 - end;
}
