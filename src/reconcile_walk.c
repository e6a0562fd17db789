/*
 * reconcile_walk.c
 *	  Rows of the table, lots and refunds, each in the order of their keys.
 *
 * Rules:
 * - Memory is bounded: rows are sorted (spilling), lots are read along the index of their keys, refunds a page at a time.
 * - Keys are compared byte by byte, as the index does ("C").
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "money.h"
#include "reconcile.h"
#include "refund.h"

/* A row of the table as it is compared: columns of the first sort. */
enum
{
	S_KEY, S_MEMBER, S_AMOUNT, S_OF_KEY, S_PLACE, S_LEAF, S_STATE, S_RELEASED, S_COLUMNS
};

bool
reconcile_in_range(const Work *work, TimestampTz at)
{
	return at >= work->since && at < work->until;
}

/* ---- rows ---- */

void
reconcile_begin_rows(Work *work)
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
void
reconcile_add_row(Work *work, int leaf, ItemPointer tid, HeapTuple row)
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

		slot->tts_values[S_AMOUNT] = reconcile_eval(work, source->amount, &slot->tts_isnull[S_AMOUNT]);
		if (!slot->tts_isnull[S_AMOUNT] && mapping_is_return(source, of_key, DatumGetNumeric(slot->tts_values[S_AMOUNT])))
			state = ROW_RETURN;
		if (of_key)
			slot->tts_values[S_OF_KEY] = CStringGetTextDatum(of_key);
		slot->tts_isnull[S_OF_KEY] = of_key == NULL;
	}
	if (work->since != DT_NOBEGIN || work->until != DT_NOEND)
	{
		occurred_at = reconcile_eval(work, source->occurred_at, &isnull);
		if (isnull || !reconcile_in_range(work, DatumGetTimestampTz(occurred_at)))
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

void
reconcile_next_row(Work *work, MemoryContext context, Row *row)
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

/* ---- lots ---- */

/* The next key's lots.  `contexts` take turns: the lot that was read ahead lives in the other one. */
void
reconcile_next_lots(Store *store, MemoryContext *contexts, Lots *group)
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

/* ---- refunds ---- */

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
void
reconcile_next_refunds(Work *work, RefundWalk *walk)
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
