/*
 * reconcile.h
 *	  An attached table beside what it has earned: for reconcile*.c and backfill.c alone.
 */
#ifndef LOYALTY_RECONCILE_H
#define LOYALTY_RECONCILE_H

#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"
#include "utils/tuplesort.h"

#include "mapping.h"
#include "post.h"
#include "store.h"

struct TupleConversionMap;

/* The table or one of its leaves. */
typedef struct Leaf
{
	Relation	rel;
	TupleTableSlot *slot;
	struct TupleConversionMap *map;	/* to the root's row; NULL: as it is */
} Leaf;

typedef struct Work
{
	PostRows	post;			/* how post_rows() reads it */
	const Attached *attached;
	const Source *source;
	TimestampTz since;
	TimestampTz until;
	int64		low;			/* members > low and <= high; a backfill in parts */
	int64		high;
	bool		take_back;
	Snapshot	snapshot;
	Store	   *reader;			/* to look at single keys while the lots are walked through */
	Leaf	   *leaves;
	int			nleaves;
	Mapping    *mapping;
	MemoryContext row_context;
	Tuplesortstate *compare;
	TupleTableSlot *compare_slot;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	HeapTupleData tuple;
	MemoryContext next_context;

	int64		posted;
	int64		missing;
	int64		orphaned;
} Work;

/* ---- the table, reconcile_table.c ---- */

/* Lock the table of a function's first argument, then look what it is. */
extern const Attached *reconcile_lock(FunctionCallInfo fcinfo);
extern void reconcile_refuse(Oid relid, const char *what, const char *hint);

extern void reconcile_begin(Work *work);
extern void reconcile_end(Work *work);

/* Every row of every leaf, with the mapping set on it. */
typedef void (*RowWork) (Work *work, int leaf, ItemPointer tid, HeapTuple row);
extern void reconcile_scan(Work *work, RowWork row_work);

/* the leaf's row as the root's, in row_context or in the buffer: good until the next one */
extern HeapTuple reconcile_root_row(Leaf *leaf);
extern Datum reconcile_eval(Work *work, Expression *expression, bool *isnull);

/* ---- what is to be posted, reconcile_post.c ---- */

extern void reconcile_begin_sort(Work *work);
extern void reconcile_put_row(Work *work, int64 member, HeapTuple row); /* that the mapping is set on */
extern void reconcile_put_gone(Work *work, int64 member, const char *key);	/* an award under a key that is no row of theirs */
extern void reconcile_post_sorted(Work *work);

/* ---- rows, lots and refunds by their keys, reconcile_walk.c ---- */

#define ROW_AWAY	0			/* outside of what is asked for, or of an excluded member: says only that the key is there */
#define ROW_IDLE	1			/* does not count */
#define ROW_COUNTS	2
#define ROW_RETURN	3			/* counts, and returns a purchase */

/* A row as reconcile_add_row() wrote it down. */
typedef struct Row
{
	char	   *key;			/* NULL: no more */
	bool		has_member;
	int64		member;
	Numeric		amount;			/* NULL: none */
	char	   *of_key;			/* of the purchase that it returns; NULL: it names none */
	int			state;
	bool		released;		/* what waited for an event may go on */
	int			leaf;
	ItemPointerData tid;
} Row;

/* The lots of one key. */
typedef struct Lots
{
	const char *key;			/* NULL: no more */
	Lot		  **lots;
	int			n;
	int			max;
	Lot		   *ahead;			/* the first of the next key */
} Lots;

/* The refunds of a source's rows in the order of keys, some rows ahead. */
#define REFUND_PAGE	200			/* read at once */

typedef struct RefundWalk
{
	MemoryContext context;		/* of a page */
	Refund	   *page[REFUND_PAGE];
	int			n;
	int			next;
	char	   *last_key;		/* of the page before; NULL: none was read */
	int32		last_part;
	MemoryContext key_context;	/* of what follows, and last_key */
	const char *key;			/* NULL: no more */
	Refunds		refunds;		/* of one row */
	int			room;
} RefundWalk;

extern bool reconcile_in_range(const Work *work, TimestampTz at);	/* that is asked for */

extern void reconcile_begin_rows(Work *work);
extern void reconcile_add_row(Work *work, int leaf, ItemPointer tid, HeapTuple row);	/* a RowWork */
extern void reconcile_next_row(Work *work, MemoryContext context, Row *row);

/* `contexts` take turns: the lot that was read ahead lives in the other one */
extern void reconcile_next_lots(Store *store, MemoryContext *contexts, Lots *group);
extern void reconcile_next_refunds(Work *work, RefundWalk *walk);

/* ---- would post_rows() find nothing to do? reconcile_step.c ---- */

extern bool reconcile_return_in_step(Work *work, const Row *row, const Refunds *refunds);
extern bool reconcile_in_step(Work *work, const Lots *group, const Row *row);

#endif
