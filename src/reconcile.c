/*
 * reconcile.c
 *	  The last net: an attached table compared with what it has earned, and brought in step.
 *
 * Rules:
 * - The table is locked first, and read as it is: reconcile_table.c.
 * - Memory is bounded: keys are sorted (spilling) and merged with the index of the lots' keys (reconcile_walk.c); only rows
 *	 that differ are fetched, sorted (reconcile_post.c) and handed to post_rows(), which does all the rest.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "call.h"
#include "instant.h"
#include "money.h"
#include "owner.h"
#include "reconcile.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(loyalty_reconcile);

/* Something of the award is kept: of a purchase of amount 0, until it is taken back. */
static bool
alive(const Lot *lot)
{
	return lot->kept_amount && (money_sign(lot->kept_amount) > 0 || money_sign(lot->amount) == 0);
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
	tuple = reconcile_root_row(leaf);
	mapping_set_row(work->mapping, tuple);
	reconcile_put_row(work, row->member, tuple);
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
			reconcile_put_gone(work, lot->member_id, group->key);
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

/* Refunds are given up under each member who has some. */
static void
put_gone_refunds(Work *work, const Refunds *refunds)
{
	for (int i = 0; i < refunds->n; i++)
		if (i == 0 || refunds->rows[i]->member_id != refunds->rows[i - 1]->member_id)
			reconcile_put_gone(work, refunds->rows[i]->member_id, refunds->rows[i]->source_key);
}

static void
compare_found(Work *work, Store *store, const Row *row, const Lots *group, const Refunds *refunds)
{
	bool		own = false;
	bool		returned = reconcile_return_in_step(work, row, refunds);

	if (row->state == ROW_AWAY)
		return;
	put_others(work, group, row->has_member, row->member, true);
	if (!row->has_member && refunds->n == 0)
		return;
	for (int i = 0; i < group->n && !own; i++)
		own = group->lots[i]->member_id == row->member;
	if (!own && returned && (row->state != ROW_COUNTS || !can_earn(work, store, row->member)))
		return;
	if (own && returned && reconcile_in_step(work, group, row))
		return;
	if (row->state == ROW_RETURN ? refunds->n == 0 : !own && row->state == ROW_COUNTS)
		work->missing++;
	if (group->n > 0 || refunds->n > 0)
		work->post.all_new = false;
	if (row->has_member)
		put_found(work, row);
	else
		put_gone_refunds(work, refunds);
}

/* Returns whose rows have gone: purchases come back. */
static void
compare_gone_refunds(Work *work, const Refunds *refunds)
{
	if (work->source->keep_deleted || !reconcile_in_range(work, refunds->rows[0]->at))
		return;
	work->orphaned++;
	if (work->take_back)
		put_gone_refunds(work, refunds);
}

static void
compare_gone(Work *work, const Lots *group)
{
	if (work->source->keep_deleted || !reconcile_in_range(work, group->lots[0]->earned_at))
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
	reconcile_next_lots(store, contexts, &group);
	reconcile_next_row(work, row_context, &row);
	reconcile_next_refunds(work, &walk);
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
			reconcile_next_lots(store, contexts, &group);
		if (has_row)
			reconcile_next_row(work, row_context, &row);
		if (has_refunds)
			reconcile_next_refunds(work, &walk);
	}
	MemoryContextDelete(row_context);
	MemoryContextDelete(key_context);
	MemoryContextDelete(contexts[0]);
	MemoryContextDelete(contexts[1]);
	MemoryContextDelete(walk.context);
	MemoryContextDelete(walk.key_context);
}

/* Rooms that failed at what followed the source's purchases try again. */
static void
tell_again(const Source *source)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(source->id)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT loyalty.tell_again($1)", 1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not tell rooms again");
	SPI_finish();
}

/*
 * What was listed for review and is posted now, and of which all rooms have heard, is settled; of what failed again the
 * newest entry stays open.
 */
static void
settle_reviews(const Source *source)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(source->id)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE loyalty.review r SET settled_at = pg_catalog.now()"
							  " WHERE r.source_id OPERATOR(pg_catalog.=) $1 AND r.settled_at IS NULL AND"
							  " (NOT EXISTS (SELECT FROM loyalty.untold u WHERE u.member_id OPERATOR(pg_catalog.=) r.member_id"
							  "              AND u.source_id OPERATOR(pg_catalog.=) $1 AND u.source_key OPERATOR(pg_catalog.=) r.source_key)"
							  "  AND EXISTS (SELECT FROM loyalty.lot l WHERE l.source_id OPERATOR(pg_catalog.=) $1"
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
	reconcile_begin(work);
	work->reader = store_open_reader(work->snapshot);
	reconcile_begin_rows(work);
	reconcile_scan(work, reconcile_add_row);
	tuplesort_performsort(work->compare);
	reconcile_begin_sort(work);
	store = store_open(instant_for_writing(work->source->program));
	merge(work, store);
	store_close(store);
	store_close(work->reader);
	tuplesort_end(work->compare);
	ExecDropSingleTupleTableSlot(work->compare_slot);
	reconcile_post_sorted(work);
	reconcile_end(work);
	settings_leave(nest);
	owner_become(&caller);
	tell_again(work->source);
	settle_reviews(work->source);
	owner_restore(&caller);
}

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

	attached = reconcile_lock(fcinfo);
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
