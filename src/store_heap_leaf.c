/*
 * store_heap_leaf.c
 *	  On which page of an index the entries of a member are: what this backend has seen of the primary keys of accounts
 *	  and of lots, both of which begin with the member.
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
