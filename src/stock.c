/*
 * stock.c
 *	  Taking pieces of a reward, and giving them back.
 *
 * From one slot that has enough and that nobody holds; else all slots in order are waited for, and then it is known
 * exactly what is left.  The queries run under the caller's search_path: operators are qualified.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#include "errcodes.h"
#include "owner.h"
#include "stock.h"

/* A statement of this file; planned once a backend, and again when its table changes. */
typedef struct Statement
{
	const char *sql;
	int			nargs;
	int			expected;
	SPIPlanPtr	plan;
} Statement;

static Statement find_free_slot = {
	"SELECT s.slot, s.left_over FROM loyalty.reward_stock s"
	" WHERE s.reward_id OPERATOR(pg_catalog.=) $1 AND s.left_over OPERATOR(pg_catalog.>=) $2"
	" LIMIT 1 FOR UPDATE SKIP LOCKED", 2, SPI_OK_SELECT
};

static Statement lock_all_slots = {
	"SELECT s.slot, s.left_over FROM loyalty.reward_stock s"
	" WHERE s.reward_id OPERATOR(pg_catalog.=) $1 ORDER BY s.slot FOR UPDATE", 1, SPI_OK_SELECT
};

static Statement find_any_slot = {
	"SELECT s.slot, s.left_over FROM loyalty.reward_stock s WHERE s.reward_id OPERATOR(pg_catalog.=) $1"
	" LIMIT 1 FOR UPDATE SKIP LOCKED", 1, SPI_OK_SELECT
};

static Statement take_from_slot = {
	"UPDATE loyalty.reward_stock s SET left_over = s.left_over OPERATOR(pg_catalog.-) $2"
	" WHERE s.reward_id OPERATOR(pg_catalog.=) $1 AND s.slot OPERATOR(pg_catalog.=) $3", 3, SPI_OK_UPDATE
};

static uint64
run(Statement *statement, int32 reward, int64 pieces, int16 slot)
{
	Oid			types[] = {INT4OID, INT8OID, INT2OID};
	Datum		values[] = {Int32GetDatum(reward), Int64GetDatum(pieces), Int16GetDatum(slot)};

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan: %s", statement->sql);
		statement->plan = plan;
	}
	if (SPI_execute_plan(statement->plan, values, NULL, false, 0) != statement->expected)
		elog(ERROR, "could not read the stock of reward %d", reward);
	return SPI_processed;
}

static int64
result_value(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return column == 1 ? DatumGetInt16(value) : DatumGetInt64(value);
}

static void
take_from_all(const Reward *reward, int32 quantity)
{
	uint64		n = run(&lock_all_slots, reward->id, 0, 0);
	int64		left[16];
	int16		slots[16];
	int64		total = 0;

	Assert(n <= lengthof(left));
	for (uint64 i = 0; i < n; i++)
	{
		slots[i] = result_value(i, 1);
		total += left[i] = result_value(i, 2);
	}
	if (total < quantity)
		ereport(ERROR,
				(errcode(ERRCODE_LY_REWARD_NOT_AVAILABLE),
				 errmsg("reward \"%s\" is out of stock", reward->name),
				 errdetail(INT64_FORMAT " pieces are left and %d are needed.", total, quantity),
				 errhint("UPDATE loyalty.reward SET stock = … puts up more.")));
	for (uint64 i = 0; i < n && quantity > 0; i++)
	{
		int64		pieces = Min(left[i], quantity);

		if (pieces > 0)
			run(&take_from_slot, reward->id, pieces, slots[i]);
		quantity -= pieces;
	}
}

void
stock_take(const Reward *reward, int32 quantity)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (run(&find_free_slot, reward->id, quantity, 0) > 0)
		run(&take_from_slot, reward->id, quantity, (int16) result_value(0, 1));
	else
		take_from_all(reward, quantity);
	SPI_finish();
}

/* To a slot that nobody holds; where all are held, to the first one when it is free. */
void
stock_give(int32 reward_id, int32 quantity)
{
	OwnerSwitch caller;

	owner_become(&caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (run(&find_any_slot, reward_id, 0, 0) > 0 || run(&lock_all_slots, reward_id, 0, 0) > 0)
		run(&take_from_slot, reward_id, -(int64) quantity, (int16) result_value(0, 1));
	SPI_finish();
	owner_restore(&caller);
}
