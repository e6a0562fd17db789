/*
 * stock.c
 *	  Taking pieces of a reward.
 */
#include "postgres.h"

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

void
stock_give(int32 reward_id, int32 quantity)
{
	OwnerSwitch caller;

	owner_become(&caller);
	slots_give_free(&reward_stock, reward_id, quantity);
	owner_restore(&caller);
}
