/*
 * reconcile.c
 *	  The last net: an attached table compared with what it has earned, and brought in step.
 *
 * Rules:
 * - The table is locked SHARE first: rows stay as they are while they are compared, and other sessions can read. Weaker
 *	 would not be exact: a row deleted between our look and our lock of its account would be awarded for ever.
 * - It is then known by its OID and read by the table access method: no policy, view or rule can come in between.
 * - Memory is bounded: keys are sorted (spilling) and merged with the index of the lots' keys; only rows that differ
 *	 are fetched, sorted by (member descending, occurred_at, key) and handed to post_rows(), which does all the rest.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "call.h"
#include "compat.h"
#include "errcodes.h"
#include "guc.h"
#include "instant.h"
#include "mapping.h"
#include "money.h"
#include "post.h"
#include "refund.h"
#include "settings.h"
#include "store.h"

PG_FUNCTION_INFO_V1(loyalty_reconcile);
PG_FUNCTION_INFO_V1(loyalty_backfill);
PG_FUNCTION_INFO_V1(loyalty_backfill_ranges);

/* The table or one of its leaves. */
typedef struct Leaf
{
	Relation	rel;
	TupleTableSlot *slot;
	TupleConversionMap *map;	/* to the root's row; NULL: as it is */
} Leaf;

/* A row of the table as it is compared: columns of the first sort. */
enum
{
	S_KEY, S_MEMBER, S_AMOUNT, S_OF_KEY, S_PLACE, S_LEAF, S_STATE, S_RELEASED, S_COLUMNS
};

#define ROW_AWAY	0			/* outside of what is asked for, or of an excluded member: says only that the key is there */
#define ROW_IDLE	1			/* does not count */
#define ROW_COUNTS	2
#define ROW_RETURN	3			/* counts, and returns a purchase */

#define REFUND_PAGE	200			/* refunds read at once */

/* What is to be posted: columns of the second sort, with those of the key between */
enum
{
	B_MEMBER, B_OCCURRED_AT, B_GONE_KEY, B_ROW, B_KEYS
};

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

/* ---- the table ---- */

static void
refuse_relation(Oid relid, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_CANNOT_ATTACH),
			 errmsg("table \"%s\" %s", get_rel_name(relid) ? get_rel_name(relid) : psprintf("%u", relid), what),
			 errhint("%s", hint)));
}

/* Lock the table of the first argument, then look what it is. */
static const Attached *
lock_relation(FunctionCallInfo fcinfo)
{
	const Attached *attached;
	Oid			relid;
	Oid			owner;
	Relation	relation;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("relation is null")));
	relid = PG_GETARG_OID(0);

	PreventCommandIfReadOnly("loyalty.reconcile()");
	LockRelationOid(relid, ShareLock);
	relation = try_table_open(relid, NoLock);
	if (relation == NULL)
		refuse_relation(relid, "does not exist", "Name a table that is attached.");
	owner = relation->rd_rel->relowner;
	table_close(relation, NoLock);
	if (!has_privs_of_role(GetUserId(), owner) && !guc_has_owner_rights())
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_PERMITTED),
				 errmsg("must be owner of table \"%s\" or of the ledger", get_rel_name(relid))));
	attached = config_attached(relid);
	if (attached == NULL)
		refuse_relation(relid, "is not attached", "SELECT * FROM loyalty.source WHERE attached lists what is.");
	return attached;
}

static void
open_leaves(Work *work)
{
	List	   *relids = find_all_inheritors(work->attached->relid, ShareLock, NULL);
	ListCell   *cell;

	work->leaves = palloc0(list_length(relids) * sizeof(Leaf));
	work->nleaves = 0;
	foreach(cell, relids)
	{
		Relation	rel = table_open(lfirst_oid(cell), NoLock);
		Leaf	   *leaf = &work->leaves[work->nleaves];

		if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			table_close(rel, NoLock);
			continue;
		}
		if (rel->rd_rel->relkind != RELKIND_RELATION)
			refuse_relation(RelationGetRelid(rel), "is no ordinary table", "Detach this partition first.");
		leaf->rel = rel;
		leaf->slot = table_slot_create(rel, NULL);
		if (RelationGetRelid(rel) != work->attached->relid)
			leaf->map = convert_tuples_by_name(RelationGetDescr(rel), work->attached->desc);
		work->nleaves++;
	}
}

static void
close_leaves(Work *work)
{
	for (int i = 0; i < work->nleaves; i++)
	{
		ExecDropSingleTupleTableSlot(work->leaves[i].slot);
		table_close(work->leaves[i].rel, NoLock);
	}
}

/* The leaf's row as the root's, in row_context or in the buffer: good until the next one. */
static HeapTuple
root_row(Leaf *leaf)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(leaf->slot, false, NULL);

	return leaf->map ? execute_attr_map_tuple(tuple, leaf->map) : tuple;
}

static void
begin(Work *work)
{
	work->row_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty reconcile", ALLOCSET_DEFAULT_SIZES);
	work->next_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty reconcile lots", ALLOCSET_DEFAULT_SIZES);
	work->snapshot = RegisterSnapshot(GetLatestSnapshot());
	work->mapping = mapping_create(work->attached);
	work->mapping->creates_members = true;
	open_leaves(work);
}

static void
end(Work *work)
{
	close_leaves(work);
	mapping_free(work->mapping);
	UnregisterSnapshot(work->snapshot);
	MemoryContextDelete(work->row_context);
	MemoryContextDelete(work->next_context);
}

/* Every row of every leaf, with the mapping set on it. */
typedef void (*RowWork) (Work *work, int leaf, ItemPointer tid, HeapTuple row);

static void
scan(Work *work, RowWork row_work)
{
	MemoryContext outer = CurrentMemoryContext;

	for (int i = 0; i < work->nleaves; i++)
	{
		Leaf	   *leaf = &work->leaves[i];
		TableScanDesc table_scan = table_beginscan(leaf->rel, work->snapshot, 0, NULL);

		while (table_scan_getnextslot(table_scan, ForwardScanDirection, leaf->slot))
		{
			HeapTuple	row;

			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(work->row_context);
			MemoryContextSwitchTo(work->row_context);
			row = root_row(leaf);
			mapping_set_row(work->mapping, row);
			row_work(work, i, &leaf->slot->tts_tid, row);
			MemoryContextSwitchTo(outer);
		}
		table_endscan(table_scan);
	}
}

static Datum
evaluate(Work *work, Expression *expression, bool *isnull)
{
	return expression_eval(expression, work->mapping->context, isnull);
}

/* ---- what is to be posted ---- */

static int
sort_columns(const Source *source)
{
	return B_KEYS + source->nkeys;
}

/* A key's part in its own order: numbers as numbers, text by "C"; what has no order as its text. */
static Oid
key_type(const Source *source, int i)
{
	Oid			type = source->keys[i]->type;

	return OidIsValid(lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr) ? type : TEXTOID;
}

static void
begin_sort(Work *work)
{
	const Source *source = work->source;
	TupleDesc	desc = CreateTemplateTupleDesc(sort_columns(source));
	int			n = 2 + source->nkeys;
	AttrNumber *columns = palloc(n * sizeof(AttrNumber));
	Oid		   *operators = palloc(n * sizeof(Oid));
	Oid		   *collations = palloc0(n * sizeof(Oid));
	bool	   *nulls_first = palloc0(n * sizeof(bool));

	TupleDescInitEntry(desc, B_MEMBER + 1, "member", INT8OID, -1, 0);
	TupleDescInitEntry(desc, B_OCCURRED_AT + 1, "occurred_at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, B_GONE_KEY + 1, "gone_key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, B_ROW + 1, "row", RECORDOID, -1, 0);
	TupleDescSetStorage(desc, B_ROW, TYPSTORAGE_PLAIN);
	for (int i = 0; i < source->nkeys; i++)
		TupleDescInitEntry(desc, B_KEYS + i + 1, NULL, key_type(source, i), -1, 0);
	nulls_first[1] = true;		/* what is taken back, before what is given */
	for (int i = 0; i < n; i++)
	{
		TypeCacheEntry *type;

		columns[i] = i < 2 ? B_MEMBER + i + 1 : B_KEYS + i - 1;
		type = lookup_type_cache(TupleDescAttr(desc, columns[i] - 1)->atttypid, TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
		operators[i] = i == 0 ? type->gt_opr : type->lt_opr;	/* members in the order of locks */
		collations[i] = OidIsValid(get_typcollation(type->type_id)) ? C_COLLATION_OID : InvalidOid;
	}
	work->sort = tuplesort_begin_heap(desc, n, columns, operators, collations, nulls_first, work_mem, NULL,
									  TUPLESORT_RANDOMACCESS);
	work->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

/* The row that the mapping is set on goes to its member's place. */
static void
put_row(Work *work, int64 member, HeapTuple row)
{
	TupleTableSlot *slot = work->slot;
	HeapTuple	copy = heap_copytuple(row);

	HeapTupleHeaderSetDatumLength(copy->t_data, copy->t_len);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sort_columns(work->source) * sizeof(bool));
	slot->tts_values[B_MEMBER] = Int64GetDatum(member);
	slot->tts_values[B_OCCURRED_AT] = evaluate(work, work->source->occurred_at, &slot->tts_isnull[B_OCCURRED_AT]);
	slot->tts_isnull[B_GONE_KEY] = true;
	slot->tts_values[B_ROW] = PointerGetDatum(copy->t_data);
	for (int i = 0; i < work->source->nkeys; i++)
	{
		bool	   *isnull = &slot->tts_isnull[B_KEYS + i];
		Datum		value = evaluate(work, work->source->keys[i], isnull);

		if (!*isnull && key_type(work->source, i) != work->source->keys[i]->type)
			value = CStringGetTextDatum(mapping_canonical(value, work->source->keys[i]->type));
		slot->tts_values[B_KEYS + i] = value;
	}
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(work->sort, slot);
	work->post.count++;
}

/* A member's award under a key that is no row of theirs. */
static void
put_gone(Work *work, int64 member, const char *key)
{
	TupleTableSlot *slot = work->slot;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sort_columns(work->source) * sizeof(bool));
	slot->tts_values[B_MEMBER] = Int64GetDatum(member);
	slot->tts_values[B_GONE_KEY] = CStringGetTextDatum(key);
	slot->tts_isnull[B_MEMBER] = slot->tts_isnull[B_GONE_KEY] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(work->sort, slot);
	work->post.count++;
	work->post.all_new = false;
}

static bool
next_post(PostRows *post, PostRow *row)
{
	Work	   *work = (Work *) post;
	Datum		value;
	bool		isnull;

	if (!tuplesort_gettupleslot(work->sort, true, false, work->slot, NULL))
		return false;
	*row = (PostRow) {.member = DatumGetInt64(slot_getattr(work->slot, B_MEMBER + 1, &isnull))};
	value = slot_getattr(work->slot, B_GONE_KEY + 1, &isnull);
	if (!isnull)
	{
		row->key = TextDatumGetCString(value);
		return true;
	}
	value = slot_getattr(work->slot, B_ROW + 1, &isnull);
	work->tuple.t_data = (HeapTupleHeader) DatumGetPointer(value);
	work->tuple.t_len = HeapTupleHeaderGetDatumLength(work->tuple.t_data);
	work->tuple.t_tableOid = InvalidOid;
	ItemPointerSetInvalid(&work->tuple.t_self);
	row->row = &work->tuple;
	return true;
}

static void
rewind_post(PostRows *post)
{
	tuplesort_rescan(((Work *) post)->sort);
}

static void
post_sorted(Work *work)
{
	tuplesort_performsort(work->sort);
	work->post.next = next_post;
	work->post.rewind = rewind_post;
	if (work->post.count > 0)
		work->posted += post_rows(work->mapping, work->source, &work->post);
	tuplesort_end(work->sort);
	ExecDropSingleTupleTableSlot(work->slot);
}

/* ---- comparing ---- */

static bool
in_range(const Work *work, TimestampTz at)
{
	return at >= work->since && at < work->until;
}

static void
begin_compare(Work *work)
{
	TupleDesc	desc = CreateTemplateTupleDesc(S_COLUMNS);
	AttrNumber	columns[] = {S_KEY + 1};
	Oid			operators[] = {lookup_type_cache(TEXTOID, TYPECACHE_LT_OPR)->lt_opr};
	Oid			collations[] = {C_COLLATION_OID};
	bool		nulls_first[] = {false};

	TupleDescInitEntry(desc, S_KEY + 1, "key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, S_MEMBER + 1, "member", INT8OID, -1, 0);
	TupleDescInitEntry(desc, S_AMOUNT + 1, "amount", NUMERICOID, -1, 0);
	TupleDescInitEntry(desc, S_OF_KEY + 1, "of_key", TEXTOID, -1, 0);
	TupleDescInitEntry(desc, S_PLACE + 1, "place", INT8OID, -1, 0);
	TupleDescInitEntry(desc, S_LEAF + 1, "leaf", INT4OID, -1, 0);
	TupleDescInitEntry(desc, S_STATE + 1, "state", INT4OID, -1, 0);
	TupleDescInitEntry(desc, S_RELEASED + 1, "released", BOOLOID, -1, 0);
	work->compare = tuplesort_begin_heap(desc, 1, columns, operators, collations, nulls_first, work_mem, NULL,
										 TUPLESORT_NONE);
	work->compare_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

static bool
waits(Work *work)
{
	TimestampTz released_at;

	return mapping_waits(work->mapping, work->source, &released_at);
}

/* RowWork: what a row says, by its key. */
static void
compare_row(Work *work, int leaf, ItemPointer tid, HeapTuple row)
{
	const Source *source = work->source;
	TupleTableSlot *slot = work->compare_slot;
	int			state = ROW_COUNTS;
	int64		member = 0;
	bool		has_member;
	bool		isnull;
	Datum		occurred_at;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, S_COLUMNS * sizeof(bool));
	slot->tts_isnull[S_AMOUNT] = slot->tts_isnull[S_OF_KEY] = true;
	has_member = mapping_account(work->mapping, source, &member);
	if (!mapping_counts(work->mapping, source))
		state = ROW_IDLE;
	else
	{
		char	   *of_key = mapping_refund_of(work->mapping, source);

		slot->tts_values[S_AMOUNT] = evaluate(work, source->amount, &slot->tts_isnull[S_AMOUNT]);
		if (!slot->tts_isnull[S_AMOUNT] && mapping_is_return(source, of_key, DatumGetNumeric(slot->tts_values[S_AMOUNT])))
			state = ROW_RETURN;
		if (of_key)
			slot->tts_values[S_OF_KEY] = CStringGetTextDatum(of_key);
		slot->tts_isnull[S_OF_KEY] = of_key == NULL;
	}
	if (work->since != DT_NOBEGIN || work->until != DT_NOEND)
	{
		occurred_at = evaluate(work, source->occurred_at, &isnull);
		if (isnull || !in_range(work, DatumGetTimestampTz(occurred_at)))
			state = ROW_AWAY;
	}
	if (has_member && config_member_excluded(member))
		state = ROW_AWAY;
	slot->tts_values[S_KEY] = CStringGetTextDatum(mapping_key(work->mapping, source));
	slot->tts_values[S_MEMBER] = Int64GetDatum(member);
	slot->tts_isnull[S_MEMBER] = !has_member;
	slot->tts_values[S_PLACE] = Int64GetDatum(((int64) ItemPointerGetBlockNumber(tid) << 16) | ItemPointerGetOffsetNumber(tid));
	slot->tts_values[S_LEAF] = Int32GetDatum(leaf);
	slot->tts_values[S_STATE] = Int32GetDatum(state);
	slot->tts_values[S_RELEASED] = BoolGetDatum(source->release && state == ROW_COUNTS && !waits(work));
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(work->compare, slot);
}

/* A row as compare_row() wrote it down. */
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

static void
next_compare(Work *work, MemoryContext context, Row *row)
{
	TupleTableSlot *slot = work->compare_slot;
	MemoryContext old = MemoryContextSwitchTo(context);
	int64		place;
	bool		isnull;
	Datum		value;

	MemoryContextReset(context);
	*row = (Row) {.key = NULL};
	if (tuplesort_gettupleslot(work->compare, true, false, slot, NULL))
	{
		row->key = TextDatumGetCString(slot_getattr(slot, S_KEY + 1, &isnull));
		row->member = DatumGetInt64(slot_getattr(slot, S_MEMBER + 1, &isnull));
		row->has_member = !isnull;
		value = slot_getattr(slot, S_AMOUNT + 1, &isnull);
		row->amount = isnull ? NULL : DatumGetNumericCopy(value);
		value = slot_getattr(slot, S_OF_KEY + 1, &isnull);
		row->of_key = isnull ? NULL : TextDatumGetCString(value);
		place = DatumGetInt64(slot_getattr(slot, S_PLACE + 1, &isnull));
		ItemPointerSet(&row->tid, (BlockNumber) (place >> 16), (OffsetNumber) (place & 0xFFFF));
		row->leaf = DatumGetInt32(slot_getattr(slot, S_LEAF + 1, &isnull));
		row->state = DatumGetInt32(slot_getattr(slot, S_STATE + 1, &isnull));
		row->released = DatumGetBool(slot_getattr(slot, S_RELEASED + 1, &isnull));
	}
	MemoryContextSwitchTo(old);
}

/* The next key's lots.  `contexts` take turns: the lot that was read ahead lives in the other one. */
static void
next_lots(Store *store, MemoryContext *contexts, Lots *group)
{
	MemoryContext context = contexts[0];
	Lot		   *lot = group->ahead;

	contexts[0] = contexts[1];
	contexts[1] = context;
	MemoryContextReset(contexts[1]);
	group->n = 0;
	group->ahead = NULL;
	group->key = NULL;
	if (lot == NULL)
		return;
	group->key = lot->source_key;
	do
	{
		if (group->n == group->max)
			group->lots = repalloc(group->lots, (group->max *= 2) * sizeof(Lot *));
		group->lots[group->n++] = lot;
		lot = store_next_source_lot(store, contexts[1]);
	} while (lot && strcmp(lot->source_key, group->key) == 0);
	group->ahead = lot;
}

/* Something of the award is kept: of a purchase of amount 0, until it is taken back. */
static bool
alive(const Lot *lot)
{
	return lot->kept_amount && (money_sign(lot->kept_amount) > 0 || money_sign(lot->amount) == 0);
}

/* ---- returns ---- */

/* The refunds of a source's rows in the order of keys, some rows ahead. */
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

static Refund *
peek_refund(Work *work, RefundWalk *walk)
{
	if (walk->next == walk->n)
	{
		MemoryContextReset(walk->context);
		walk->n = store_read_refunds(work->reader, work->source->id, walk->last_key, walk->last_part, REFUND_PAGE,
									 walk->context, walk->page);
		walk->next = 0;
		if (walk->n == 0)
			return NULL;
		walk->last_key = MemoryContextStrdup(work->next_context, walk->page[walk->n - 1]->source_key);
		walk->last_part = walk->page[walk->n - 1]->part;
	}
	return walk->page[walk->next];
}

/* The next row's refunds.  What purchases were lowered by themselves is no return. */
static void
next_refunds(Work *work, RefundWalk *walk)
{
	Refund	   *refund;

	MemoryContextReset(walk->key_context);
	walk->key = NULL;
	walk->refunds = (Refunds) {0};
	walk->room = 0;
	while ((refund = peek_refund(work, walk)) != NULL)
	{
		MemoryContext old;
		Refund	   *copy;

		if (walk->key && strcmp(walk->key, refund->source_key) != 0)
			break;
		walk->next++;
		if (refund->part == REFUND_OWN_ROW)
			continue;
		old = MemoryContextSwitchTo(walk->key_context);
		copy = palloc(sizeof(Refund));
		*copy = *refund;
		copy->source_key = pstrdup(refund->source_key);
		copy->of_key = refund->of_key ? pstrdup(refund->of_key) : NULL;
		copy->amount = money_copy(refund->amount);
		walk->key = copy->source_key;
		if (walk->refunds.n == walk->room)
		{
			walk->room = Max(8, walk->room * 2);
			walk->refunds.rows = walk->refunds.rows == NULL ? palloc(walk->room * sizeof(Refund *))
				: repalloc(walk->refunds.rows, walk->room * sizeof(Refund *));
		}
		walk->refunds.rows[walk->refunds.n++] = copy;
		MemoryContextSwitchTo(old);
	}
}

/* Is what is kept of a purchase what its returns leave?  Its own row is another table's affair. */
static bool
sale_in_step(Work *work, char *of_key)
{
	int32		source_id = work->source->refund_source_id;
	KeyLots		found;
	Refunds		refunds;
	Lot		  **lots;
	int			nlots = 0;
	Numeric		amount = money_zero();

	store_probe_keys(work->reader, source_id, 1, &of_key, CurrentMemoryContext, &found);
	store_find_refunds_of(work->reader, source_id, of_key, CurrentMemoryContext, &refunds);
	lots = palloc(Max(found.nlots, 1) * sizeof(Lot *));
	for (int i = 0; i < found.nlots; i++)
		if (refunds.n > 0 && found.lots[i]->member_id == refunds.rows[0]->member_id)
			lots[nlots++] = found.lots[i];
	if (nlots == 0)
		return found.nlots == 0;	/* the return waits for its purchase */
	nlots = ledger_leave_moved_on(lots, nlots);
	refund_sort_lots(lots, nlots);
	for (int i = 0; i < nlots; i++)
		if (i == 0 || lots[i]->part / LOTS_AN_AWARD != lots[i - 1]->part / LOTS_AN_AWARD)
			amount = money_add(amount, lots[i]->amount);
	for (int i = 0; i < refunds.n; i++)
		amount = refunds.rows[i]->part == REFUND_OWN_ROW ? money_subtract(amount, refunds.rows[i]->amount) : amount;
	return refund_in_step(lots, nlots, refund_rest(amount, &refunds));
}

/* Would post_rows() find that the row returns what it says? */
static bool
return_in_step(Work *work, const Row *row, const Refunds *refunds)
{
	Numeric		sum = money_zero();

	if (row->state != ROW_RETURN)
		return refunds->n == 0;
	if (row->of_key)
		return refunds->n == 1 && refunds->rows[0]->part == 0 && refunds->rows[0]->of_key &&
			strcmp(refunds->rows[0]->of_key, row->of_key) == 0 && refunds->rows[0]->of_source_id == work->source->refund_source_id &&
			money_compare(refunds->rows[0]->amount, row->amount) == 0 && sale_in_step(work, row->of_key);
	for (int i = 0; i < refunds->n; i++)
	{
		if (refunds->rows[i]->member_id != row->member)
			return false;
		sum = money_add(sum, refunds->rows[i]->amount);
	}
	return refunds->n > 0 && money_compare(sum, row->amount) == 0;
}

/* Would post_rows() find nothing to do about the lots of the row's key?  The same as keep_item() there. */
static bool
in_step(Work *work, const Lots *group, const Row *row)
{
	Numeric		says = row->state == ROW_COUNTS ? row->amount : NULL;
	Numeric		kept = says;
	Lot		  **own = palloc(Max(group->n, 1) * sizeof(Lot *));
	int			nown = 0;
	Numeric		amount = money_zero();

	if (row->state == ROW_COUNTS && says == NULL)
		return false;
	for (int i = 0; i < group->n; i++)
		if (group->lots[i]->member_id == row->member)
			own[nown++] = group->lots[i];
	for (int i = 0; i < nown && row->released; i++)
		if (own[i]->available_at == DT_NOEND && own[i]->remaining > 0 &&
			own[i]->expires_at > instant_for_writing(work->source->program))
			return false;
	nown = ledger_leave_moved_on(own, nown);
	for (int i = 0; i < nown; i++)
		if (i == 0 || own[i]->part / LOTS_AN_AWARD != own[i - 1]->part / LOTS_AN_AWARD)
			amount = money_add(amount, own[i]->amount);
	if (says && refund_possible(own, nown))
	{
		Refunds		refunds;

		store_find_refunds_of(work->reader, work->source->id, row->key, CurrentMemoryContext, &refunds);
		kept = refund_rest(says, &refunds);
	}
	return refund_in_step(own, nown, kept) && (says == NULL || money_compare(says, amount) <= 0);
}

static void
put_found(Work *work, const Row *row)
{
	Leaf	   *leaf = &work->leaves[row->leaf];
	MemoryContext old;
	ItemPointerData tid = row->tid;
	HeapTuple	tuple;

	MemoryContextReset(work->row_context);
	old = MemoryContextSwitchTo(work->row_context);
	if (!table_tuple_fetch_row_version(leaf->rel, &tid, work->snapshot, leaf->slot))
		elog(ERROR, "row (%u,%u) of a locked table has gone", ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid));
	tuple = root_row(leaf);
	mapping_set_row(work->mapping, tuple);
	put_row(work, row->member, tuple);
	MemoryContextSwitchTo(old);
}

/* Lots of a key that belong to others than the row's member: one post each member. */
static bool
put_others(Work *work, const Lots *group, bool has_member, int64 member, bool put)
{
	bool		found = false;

	for (int i = 0; i < group->n; i++)
	{
		const Lot  *lot = group->lots[i];
		bool		done = has_member && lot->member_id == member;

		if (!alive(lot))
			continue;
		for (int j = 0; j < i && !done; j++)
			done = group->lots[j]->member_id == lot->member_id && alive(group->lots[j]);
		if (done)
			continue;
		found = true;
		if (put)
			put_gone(work, lot->member_id, group->key);
	}
	return found;
}

/* Could the row earn now?  Whoever is not enrolled under explicit enrolment, or blocked, earns nothing. */
static bool
can_earn(Work *work, Store *store, int64 member)
{
	Account    *account = store_read_account(store, work->source->program, member, CurrentMemoryContext);

	return account ? strcmp(account->status, "active") == 0 : work->source->program->automatic;
}

static void
compare_found(Work *work, Store *store, const Row *row, const Lots *group, const Refunds *refunds)
{
	bool		own = false;
	bool		returned = return_in_step(work, row, refunds);

	if (row->state == ROW_AWAY)
		return;
	put_others(work, group, row->has_member, row->member, true);
	if (!row->has_member && refunds->n == 0)
		return;
	for (int i = 0; i < group->n && !own; i++)
		own = group->lots[i]->member_id == row->member;
	if (!own && returned && (row->state != ROW_COUNTS || !can_earn(work, store, row->member)))
		return;
	if (own && returned && in_step(work, group, row))
		return;
	if (row->state == ROW_RETURN ? refunds->n == 0 : !own && row->state == ROW_COUNTS)
		work->missing++;
	if (group->n > 0 || refunds->n > 0)
		work->post.all_new = false;
	if (row->has_member)
		put_found(work, row);
	else
		put_gone(work, refunds->rows[0]->member_id, row->key);
}

/* Returns whose rows have gone: purchases come back. */
static void
compare_gone_refunds(Work *work, const Refunds *refunds)
{
	if (work->source->keep_deleted || !in_range(work, refunds->rows[0]->at))
		return;
	work->orphaned++;
	for (int i = 0; i < refunds->n && work->take_back; i++)
		if (i == 0 || refunds->rows[i]->member_id != refunds->rows[i - 1]->member_id)
			put_gone(work, refunds->rows[i]->member_id, refunds->rows[i]->source_key);
}

static void
compare_gone(Work *work, const Lots *group)
{
	if (work->source->keep_deleted || !in_range(work, group->lots[0]->earned_at))
		return;
	if (put_others(work, group, false, 0, work->take_back))
		work->orphaned++;
}

static int
compare_keys(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a == NULL) - (b == NULL);	/* no more: after all others */
	return strcmp(a, b);
}

/* Rows, lots and refunds, all in the order of keys. */
static void
merge(Work *work, Store *store)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext row_context = AllocSetContextCreate(outer, "loyalty reconcile key", ALLOCSET_SMALL_SIZES);
	MemoryContext key_context = AllocSetContextCreate(outer, "loyalty reconcile work", ALLOCSET_SMALL_SIZES);
	MemoryContext contexts[2] = {
		AllocSetContextCreate(outer, "loyalty reconcile lots", ALLOCSET_SMALL_SIZES),
		AllocSetContextCreate(outer, "loyalty reconcile lots", ALLOCSET_SMALL_SIZES)
	};
	RefundWalk	walk = {
		.context = AllocSetContextCreate(outer, "loyalty reconcile refunds", ALLOCSET_SMALL_SIZES),
		.key_context = AllocSetContextCreate(outer, "loyalty reconcile refunds", ALLOCSET_SMALL_SIZES)
	};
	const Lots	no_lots = {.key = NULL};
	const Refunds no_refunds = {0};
	Lots		group = {.max = 16, .lots = palloc(16 * sizeof(Lot *))};
	Row			row;

	store_begin_source(store, work->source->id);
	group.ahead = store_next_source_lot(store, contexts[1]);
	next_lots(store, contexts, &group);
	next_compare(work, row_context, &row);
	next_refunds(work, &walk);
	while (row.key || group.key || walk.key)
	{
		bool		has_row = compare_keys(row.key, group.key) <= 0 && compare_keys(row.key, walk.key) <= 0;
		bool		has_lots = compare_keys(group.key, row.key) <= 0 && compare_keys(group.key, walk.key) <= 0;
		bool		has_refunds = compare_keys(walk.key, row.key) <= 0 && compare_keys(walk.key, group.key) <= 0;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(key_context);
		MemoryContextSwitchTo(key_context);
		if (has_row)
			compare_found(work, store, &row, has_lots ? &group : &no_lots, has_refunds ? &walk.refunds : &no_refunds);
		if (!has_row && has_lots)
			compare_gone(work, &group);
		if (!has_row && has_refunds)
			compare_gone_refunds(work, &walk.refunds);
		MemoryContextSwitchTo(outer);
		if (has_lots)
			next_lots(store, contexts, &group);
		if (has_row)
			next_compare(work, row_context, &row);
		if (has_refunds)
			next_refunds(work, &walk);
	}
	MemoryContextDelete(row_context);
	MemoryContextDelete(key_context);
	MemoryContextDelete(contexts[0]);
	MemoryContextDelete(contexts[1]);
	MemoryContextDelete(walk.context);
	MemoryContextDelete(walk.key_context);
}

/* What was listed for review and is posted now, is settled; of what failed again the newest entry stays open. */
static void
settle_reviews(const Source *source)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(source->id)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE loyalty.review r SET settled_at = pg_catalog.now()"
							  " WHERE r.source_id OPERATOR(pg_catalog.=) $1 AND r.settled_at IS NULL AND"
							  " (EXISTS (SELECT FROM loyalty.lot l WHERE l.source_id OPERATOR(pg_catalog.=) $1"
							  "          AND l.source_key OPERATOR(pg_catalog.=) r.source_key)"
							  "  OR EXISTS (SELECT FROM loyalty.refund f WHERE f.source_id OPERATOR(pg_catalog.=) $1"
							  "             AND f.source_key OPERATOR(pg_catalog.=) r.source_key AND f.part OPERATOR(pg_catalog.>=) 0)"
							  "  OR EXISTS (SELECT FROM loyalty.review n WHERE n.source_id OPERATOR(pg_catalog.=) $1"
							  "             AND n.source_key OPERATOR(pg_catalog.=) r.source_key"
							  "             AND n.posted_at OPERATOR(pg_catalog.>) r.posted_at))",
							  1, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not settle reviews");
	SPI_finish();
}

static void
reconcile_source(Work *work)
{
	int			nest = settings_enter_source(work->source);
	OwnerSwitch caller;
	Store	   *store;

	work->post = (PostRows) {.all_new = true, .all_keys = true};
	begin(work);
	work->reader = store_open_reader(work->snapshot);
	begin_compare(work);
	scan(work, compare_row);
	tuplesort_performsort(work->compare);
	begin_sort(work);
	store = store_open(instant_for_writing(work->source->program));
	merge(work, store);
	store_close(store);
	store_close(work->reader);
	tuplesort_end(work->compare);
	ExecDropSingleTupleTableSlot(work->compare_slot);
	post_sorted(work);
	end(work);
	settings_leave(nest);
	owner_become(&caller);
	settle_reviews(work->source);
	owner_restore(&caller);
}

/* ---- functions ---- */

Datum
loyalty_reconcile(PG_FUNCTION_ARGS)
{
	Work		work = {
		.since = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1),
		.until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2),
		.take_back = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3)
	};
	const Attached *attached;
	Datum		values[3];
	bool		nulls[3] = {false};

	attached = lock_relation(fcinfo);
	work.attached = attached;
	for (int i = 0; i < attached->nsources; i++)
	{
		work.source = attached->sources[i];
		if (work.source->enabled)
			reconcile_source(&work);
	}
	values[0] = Int64GetDatum(work.posted);
	values[1] = Int64GetDatum(work.missing);
	values[2] = Int64GetDatum(work.orphaned);
	return call_result(fcinfo, values, nulls);
}

static const Source *
source_of_program(const Attached *attached, const char *name)
{
	const Program *program = config_program(name);

	for (int i = 0; i < attached->nsources; i++)
		if (attached->sources[i]->program->id == program->id)
		{
			if (!attached->sources[i]->enabled)
				refuse_relation(attached->relid, "earns nothing now", "Source or program is disabled.");
			return attached->sources[i];
		}
	refuse_relation(attached->relid, psprintf("is not attached to program \"%s\"", program->name),
					"SELECT * FROM loyalty.source WHERE attached lists what is.");
	return NULL;
}

/* RowWork: whatever counts, of the members asked for; post_rows() asks for its key. */
static void
backfill_row(Work *work, int leaf, ItemPointer tid, HeapTuple row)
{
	int64		member;

	if (mapping_account(work->mapping, work->source, &member) && member > work->low && member <= work->high &&
		!config_member_excluded(member) && mapping_counts(work->mapping, work->source))
		put_row(work, member, row);
}

/* backfill(relation, program, after_member, last_member): in one go, or for the members of a range */
Datum
loyalty_backfill(PG_FUNCTION_ARGS)
{
	Work		work = {
		.low = PG_ARGISNULL(2) ? PG_INT64_MIN : PG_GETARG_INT64(2),
		.high = PG_ARGISNULL(3) ? PG_INT64_MAX : PG_GETARG_INT64(3),
		.post = {.all_new = true}
	};
	int			nest;

	work.attached = lock_relation(fcinfo);
	work.source = source_of_program(work.attached, call_text(fcinfo, 1));
	nest = settings_enter_source(work.source);
	begin(&work);
	begin_sort(&work);
	scan(&work, backfill_row);
	post_sorted(&work);
	end(&work);
	settings_leave(nest);
	PG_RETURN_INT64(work.posted);
}

/* RowWork: members, for ranges */
static void
range_row(Work *work, int leaf, ItemPointer tid, HeapTuple row)
{
	int64		member;

	if (mapping_account(work->mapping, work->source, &member) && member > work->low)
		tuplesort_putdatum(work->compare, Int64GetDatum(member), false);
}

/* backfill_ranges(relation, program, batch, after_member): the last members of ranges of about `batch` rows */
Datum
loyalty_backfill_ranges(PG_FUNCTION_ARGS)
{
	Work		work = {.low = PG_ARGISNULL(3) ? PG_INT64_MIN : PG_GETARG_INT64(3)};
	int			batch = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	ArrayBuildState *ranges = initArrayResult(INT8OID, CurrentMemoryContext, false);
	int64		rows = 0;
	int64		last = 0;
	Datum		value;
	bool		isnull;

	if (batch < 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("batch is %d", batch),
				 errhint("It is 1 or more rows.")));
	work.attached = lock_relation(fcinfo);
	work.source = source_of_program(work.attached, call_text(fcinfo, 1));
	begin(&work);
	work.compare = tuplesort_begin_datum(INT8OID, lookup_type_cache(INT8OID, TYPECACHE_LT_OPR)->lt_opr, InvalidOid, false,
										 work_mem, NULL, TUPLESORT_NONE);
	scan(&work, range_row);
	tuplesort_performsort(work.compare);
	while (tuplesort_getdatum(work.compare, true, false, &value, &isnull, NULL))
	{
		if (rows >= batch && DatumGetInt64(value) != last)
		{
			ranges = accumArrayResult(ranges, Int64GetDatum(last), false, INT8OID, CurrentMemoryContext);
			rows = 0;
		}
		last = DatumGetInt64(value);
		rows++;
	}
	if (rows > 0)
		ranges = accumArrayResult(ranges, Int64GetDatum(last), false, INT8OID, CurrentMemoryContext);
	tuplesort_end(work.compare);
	end(&work);
	PG_RETURN_DATUM(makeArrayResult(ranges, CurrentMemoryContext));
}
