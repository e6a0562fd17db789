/*
 * settle.c
 *	  Writing down what is due: one batch of accounts, for run_maintenance().
 *
 * Nothing here makes a balance right: it is right at every instant without.  Accounts that somebody holds are passed
 * over (whoever holds them settles them), and those that another job has done are no longer due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "call.h"
#include "errcodes.h"
#include "instant.h"

PG_FUNCTION_INFO_V1(loyalty_settle_batch);

#define BATCH_LIMIT	100000

static bool
settle_one(Store *store, const AccountAt *place, MemoryContext context)
{
	const Program *program = config_program_by_id(place->program_id);
	TimestampTz at = instant_for_writing(program);
	Account    *account;

	if (place->next_change_at > at && place->ladder_no >= program->ladder_no)
		return false;
	account = store_try_account(store, program, place->member_id, context);
	if (account == NULL || (account->next_change_at > at && account->ladder_no >= program->ladder_no))
		return false;
	ledger_settle(account, at);
	ledger_write(account);
	return true;
}

/* settle_batch(after_member, after_program, n): last_member, last_program, seen, settled */
Datum
loyalty_settle_batch(PG_FUNCTION_ARGS)
{
	int			n = PG_GETARG_INT32(2);
	AccountAt  *places;
	MemoryContext context;
	MemoryContext old;
	OwnerSwitch caller;
	Store	   *store;
	int			seen;
	int64		settled = 0;
	Datum		values[4] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool		nulls[4] = {false};

	if (n < 1 || n > BATCH_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("batch is %d", n),
				 errdetail("It is 1 to %d accounts.", BATCH_LIMIT)));
	PreventCommandIfReadOnly("loyalty.run_maintenance()");
	places = palloc(n * sizeof(AccountAt));
	owner_become(&caller);
	store = store_open(GetCurrentStatementStartTimestamp());
	seen = store_walk_accounts(store, PG_GETARG_INT64(0), PG_GETARG_INT32(1), n, places);
	context = AllocSetContextCreate(CurrentMemoryContext, "loyalty settle", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < seen; i++)
	{
		CHECK_FOR_INTERRUPTS();
		settled += settle_one(store, &places[i], context);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	store_close(store);
	owner_restore(&caller);
	if (seen > 0)
	{
		values[0] = Int64GetDatum(places[seen - 1].member_id);
		values[1] = Int32GetDatum(places[seen - 1].program_id);
	}
	values[2] = Int64GetDatum(seen);
	values[3] = Int64GetDatum(settled);
	return call_result(fcinfo, values, nulls);
}
