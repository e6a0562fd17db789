/*
 * reconcile_post.c
 *	  What is to be posted, in the order in which post_rows() takes it.
 *
 * Rule: sorted (spilling) by member descending, the order of locks, then occurred_at and key; what is taken back comes before
 * what is given.  post_rows() may read it twice.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "reconcile.h"

/* What is to be posted: columns of the second sort, with those of the key between */
enum
{
	B_MEMBER, B_OCCURRED_AT, B_GONE_KEY, B_ROW, B_KEYS
};

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

void
reconcile_begin_sort(Work *work)
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
void
reconcile_put_row(Work *work, int64 member, HeapTuple row)
{
	TupleTableSlot *slot = work->slot;
	HeapTuple	copy = heap_copytuple(row);

	HeapTupleHeaderSetDatumLength(copy->t_data, copy->t_len);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sort_columns(work->source) * sizeof(bool));
	slot->tts_values[B_MEMBER] = Int64GetDatum(member);
	slot->tts_values[B_OCCURRED_AT] = reconcile_eval(work, work->source->occurred_at, &slot->tts_isnull[B_OCCURRED_AT]);
	slot->tts_isnull[B_GONE_KEY] = true;
	slot->tts_values[B_ROW] = PointerGetDatum(copy->t_data);
	for (int i = 0; i < work->source->nkeys; i++)
	{
		bool	   *isnull = &slot->tts_isnull[B_KEYS + i];
		Datum		value = reconcile_eval(work, work->source->keys[i], isnull);

		if (!*isnull && key_type(work->source, i) != work->source->keys[i]->type)
			value = CStringGetTextDatum(mapping_canonical(value, work->source->keys[i]->type));
		slot->tts_values[B_KEYS + i] = value;
	}
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(work->sort, slot);
	work->post.count++;
}

/* A member's award under a key that is no row of theirs. */
void
reconcile_put_gone(Work *work, int64 member, const char *key)
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

void
reconcile_post_sorted(Work *work)
{
	tuplesort_performsort(work->sort);
	work->post.next = next_post;
	work->post.rewind = rewind_post;
	if (work->post.count > 0)
		work->posted += post_rows(work->mapping, work->source, &work->post);
	tuplesort_end(work->sort);
	ExecDropSingleTupleTableSlot(work->slot);
}
