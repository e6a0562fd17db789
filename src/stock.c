/*
 * stock.c
 *	  Taking pieces of a reward.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "errcodes.h"
#include "owner.h"
#include "slots.h"
#include "stock.h"

static SlotTable reward_stock = {.table = "reward_stock", .id_column = "reward_id"};

void
stock_take(const Reward *reward, int32 quantity)
{
	int64		left = 0;

	if (slots_take(&reward_stock, reward->id, quantity, false, &left) < quantity)
		ereport(ERROR,
				(errcode(ERRCODE_LY_REWARD_NOT_AVAILABLE),
				 errmsg("reward \"%s\" is out of stock", reward->name),
				 errdetail(INT64_FORMAT " pieces are left and %d are needed.", left, quantity),
				 errhint("UPDATE loyalty.reward SET stock = … puts up more.")));
}

/* To a slot that nobody holds; where all are held, to the first one when it is free.  There may be none at all. */
static const char *const give[] = {
	"UPDATE loyalty.reward_stock SET left_over = left_over OPERATOR(pg_catalog.+) $2"
	" WHERE reward_id OPERATOR(pg_catalog.=) $1 AND slot OPERATOR(pg_catalog.=) (SELECT s.slot FROM loyalty.reward_stock s"
	" WHERE s.reward_id OPERATOR(pg_catalog.=) $1 LIMIT 1 FOR UPDATE SKIP LOCKED)",
	"UPDATE loyalty.reward_stock SET left_over = left_over OPERATOR(pg_catalog.+) $2"
	" WHERE reward_id OPERATOR(pg_catalog.=) $1 AND slot OPERATOR(pg_catalog.=) 0"
};

void
stock_give(int32 reward_id, int32 quantity)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(reward_id), Int64GetDatum(quantity)};
	uint64		processed = 0;
	OwnerSwitch caller;

	owner_become(&caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < lengthof(give) && processed == 0; i++)
	{
		if (SPI_execute_with_args(give[i], 2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not give back the stock of reward %d", reward_id);
		processed = SPI_processed;
	}
	SPI_finish();
	owner_restore(&caller);
}
