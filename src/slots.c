/*
 * slots.c
 *	  Figures in 16 rows each: take, give, look.
 *
 * Rule: only slot 0 goes below zero, and only when nothing is left in the others; what comes back fills it first.  So
 * whoever finds a slot that has enough may take it without a look at the others.
 *
 * The queries run under the caller's search_path: operators are qualified.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "errcodes.h"
#include "slots.h"

static const char *const texts[SLOTS_STATEMENTS] = {
	[SLOTS_FIND] = "SELECT s.slot, s.left_over FROM loyalty.%s s"
	" WHERE s.%s OPERATOR(pg_catalog.=) $1 AND s.left_over OPERATOR(pg_catalog.>=) $2"
	" LIMIT 1 FOR UPDATE SKIP LOCKED",
	[SLOTS_LOCK] = "SELECT s.slot, s.left_over FROM loyalty.%s s"
	" WHERE s.%s OPERATOR(pg_catalog.=) $1 ORDER BY s.slot FOR UPDATE",
	[SLOTS_LOOK] = "SELECT s.slot, s.left_over FROM loyalty.%s s WHERE s.%s OPERATOR(pg_catalog.=) $1",
	[SLOTS_ADD] = "UPDATE loyalty.%s s SET left_over = s.left_over OPERATOR(pg_catalog.+) $2"
	" WHERE s.%s OPERATOR(pg_catalog.=) $1 AND s.slot OPERATOR(pg_catalog.=) $3",
};

static const int parameters[SLOTS_STATEMENTS] = {
	[SLOTS_FIND] = 2, [SLOTS_LOCK] = 1, [SLOTS_LOOK] = 1, [SLOTS_ADD] = 3
};

static uint64
run(SlotTable *table, int statement, int32 id, int64 n, int16 slot, bool reader)
{
	Oid			types[] = {INT4OID, INT8OID, INT2OID};
	Datum		values[] = {Int32GetDatum(id), Int64GetDatum(n), Int16GetDatum(slot)};
	int			result;

	if (table->plans[statement] == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(psprintf(texts[statement], table->table, table->id_column), parameters[statement],
									   types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan: %s", texts[statement]);
		table->plans[statement] = plan;
	}
	result = SPI_execute_plan(table->plans[statement], values, NULL, reader, 0);
	if (result != (statement == SLOTS_ADD ? SPI_OK_UPDATE : SPI_OK_SELECT))
		elog(ERROR, "could not read loyalty.%s of %d: %s", table->table, id, SPI_result_code_string(result));
	return SPI_processed;
}

static void
begin(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
add(SlotTable *table, int32 id, int16 slot, int64 n)
{
	if (n != 0 && run(table, SLOTS_ADD, id, n, slot, false) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("slot %d of %d is not in loyalty.%s", slot, id, table->table),
				 errhint("Call SELECT * FROM loyalty.verify().")));
}

/* The rows of the last query. */
static void
read_slots(Slots *slots)
{
	bool		isnull;

	memset(slots, 0, sizeof(Slots));
	for (uint64 i = 0; i < SPI_processed && i < SLOTS; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];

		slots->slot[i] = DatumGetInt16(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		slots->left[i] = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		slots->n++;
	}
}

static int64
total_left(const Slots *slots)
{
	int64		total = 0;

	for (int i = 0; i < slots->n; i++)
		if (pg_add_s64_overflow(total, slots->left[i], &total))
			elog(ERROR, "what is left is out of range");
	return total;
}

static int64
look(SlotTable *table, int32 id, bool reader)
{
	Slots		slots;

	run(table, SLOTS_LOOK, id, 0, 0, reader);
	read_slots(&slots);
	return total_left(&slots);
}

int64
slots_look(SlotTable *table, int32 id, bool reader)
{
	int64		left;

	begin();
	left = look(table, id, reader);
	SPI_finish();
	return left;
}

static void
change(Slots *slots, int i, int64 n)
{
	if (pg_add_s64_overflow(slots->left[i], n, &slots->left[i]))
		elog(ERROR, "what is left is out of range");
	slots->change[i] += n;
}

int64
slots_take_locked(Slots *slots, int64 wanted)
{
	int64		taken = Max(0, Min(wanted, total_left(slots)));
	int64		rest = taken;

	for (int i = 0; i < slots->n && rest > 0; i++)
	{
		int64		part = Min(Max(slots->left[i], 0), rest);

		change(slots, i, -part);
		rest -= part;
	}
	return taken;
}

void
slots_give_locked(Slots *slots, int64 n)
{
	if (n < 0)
		n += slots_take_locked(slots, -n);
	if (slots->n > 0 && n != 0)
		change(slots, 0, n);
}

static void
lock_all(SlotTable *table, int32 id, Slots *slots)
{
	run(table, SLOTS_LOCK, id, 0, 0, false);
	read_slots(slots);
}

static void
write_all(SlotTable *table, int32 id, Slots *slots)
{
	for (int i = 0; i < slots->n; i++)
		add(table, id, slots->slot[i], slots->change[i]);
	memset(slots->change, 0, sizeof(slots->change));
}

void
slots_lock(SlotTable *table, int32 id, Slots *slots)
{
	begin();
	lock_all(table, id, slots);
	SPI_finish();
}

void
slots_write(SlotTable *table, int32 id, Slots *slots)
{
	begin();
	write_all(table, id, slots);
	SPI_finish();
}

int64
slots_take(SlotTable *table, int32 id, int64 wanted, bool partly, int64 *left)
{
	int64		taken = wanted;
	Slots		slots;

	begin();
	if (run(table, SLOTS_FIND, id, wanted, 0, false) > 0)
	{
		read_slots(&slots);
		add(table, id, slots.slot[0], -wanted);
	}
	else if (partly && look(table, id, false) <= 0)
		taken = 0;				/* whoever waits for the last points of a campaign does so once */
	else
	{
		lock_all(table, id, &slots);
		*left = total_left(&slots);
		taken = *left >= wanted || partly ? slots_take_locked(&slots, wanted) : 0;
		write_all(table, id, &slots);
	}
	SPI_finish();
	return taken;
}

void
slots_give(SlotTable *table, int32 id, int64 n)
{
	Slots		slots;

	begin();
	if (n > 0)
		add(table, id, 0, n);
	else if (n < 0)
	{
		lock_all(table, id, &slots);
		slots_give_locked(&slots, n);
		write_all(table, id, &slots);
	}
	SPI_finish();
}

void
slots_give_free(SlotTable *table, int32 id, int64 n)
{
	Slots		slots;

	begin();
	if (run(table, SLOTS_FIND, id, PG_INT64_MIN, 0, false) > 0)
	{
		read_slots(&slots);
		add(table, id, slots.slot[0], n);
	}
	else
		run(table, SLOTS_ADD, id, n, 0, false);
	SPI_finish();
}
