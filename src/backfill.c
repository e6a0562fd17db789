/*
 * backfill.c
 *	  The rows that a table had before it was attached are given their points.
 *
 * Rule: in one go, or for the members of a range, so that each range can be committed by itself: a member is in one range.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "call.h"
#include "compat.h"
#include "errcodes.h"
#include "reconcile.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(loyalty_backfill);
PG_FUNCTION_INFO_V1(loyalty_backfill_ranges);

static const Source *
source_of_program(const Attached *attached, const char *name)
{
	const Program *program = config_program(name);

	for (int i = 0; i < attached->nsources; i++)
		if (attached->sources[i]->program->id == program->id)
		{
			if (!attached->sources[i]->enabled)
				reconcile_refuse(attached->relid, "earns nothing now", "Source or program is disabled.");
			return attached->sources[i];
		}
	reconcile_refuse(attached->relid, psprintf("is not attached to program \"%s\"", program->name),
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
		reconcile_put_row(work, member, row);
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

	work.attached = reconcile_lock(fcinfo);
	work.source = source_of_program(work.attached, call_text(fcinfo, 1));
	nest = settings_enter_source(work.source);
	reconcile_begin(&work);
	reconcile_begin_sort(&work);
	reconcile_scan(&work, backfill_row);
	reconcile_post_sorted(&work);
	reconcile_end(&work);
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
	work.attached = reconcile_lock(fcinfo);
	work.source = source_of_program(work.attached, call_text(fcinfo, 1));
	reconcile_begin(&work);
	work.compare = tuplesort_begin_datum(INT8OID, lookup_type_cache(INT8OID, TYPECACHE_LT_OPR)->lt_opr, InvalidOid, false,
										 work_mem, NULL, TUPLESORT_NONE);
	reconcile_scan(&work, range_row);
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
	reconcile_end(&work);
	PG_RETURN_DATUM(makeArrayResult(ranges, CurrentMemoryContext));
}
