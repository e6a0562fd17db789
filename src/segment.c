/*
 * segment.c
 *	  Segments: members by a condition over account.* and member.*.
 *
 * Rules:
 * - A segment is a function of account, member and instant, like balance and tier: nobody is put in or taken out.
 * - The condition runs as whoever wrote the segment, with the program's settings, on an account that is settled first.
 * - Nothing is written or locked, so all of it works on a standby.  Members without an account are in no segment.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "earn.h"
#include "errcodes.h"
#include "instant.h"
#include "segment.h"
#include "settings.h"
#include "store.h"
#include "tier.h"

PG_FUNCTION_INFO_V1(loyalty_in_segment);
PG_FUNCTION_INFO_V1(loyalty_segment_members);

#define PAGE	200				/* accounts that are read together */

static bool
evaluate(const Segment *segment, Account *account)
{
	ExprContext *context = CreateStandaloneExprContext();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(expression_account_desc(), &TTSOpsVirtual);
	int			nest = settings_enter(segment->program, segment->condition->authored);
	bool		isnull;
	Datum		value;
	bool		result;

	context->ecxt_outertuple = slot;
	earn_fill_account(slot, account, segment->condition->account_columns);
	value = expression_eval(segment->condition, context, &isnull);
	result = !isnull && DatumGetBool(value);
	settings_leave(nest);
	ExecDropSingleTupleTableSlot(slot);
	FreeExprContext(context, true);
	return result;
}

bool
segment_contains(const Segment *segment, Account *account)
{
	MemoryContext old;
	bool		result;

	if (!segment->enabled)
		return false;
	if ((segment->condition->account_columns & ACCOUNT_OF_MEMBER) && account->attributes == NULL)
		store_read_members(account->store, &account, 1);
	if (segment->condition->account_columns & ACCOUNT_OF_COUNTERS)
		tier_read_units(account);
	old = MemoryContextSwitchTo(account->context);
	result = evaluate(segment, account);
	MemoryContextSwitchTo(old);
	return result;
}

static const Segment *
named_segment(const Program *program, const char *name)
{
	const Segment *segment = config_segment(program, name);

	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("program \"%s\" has no segment \"%s\"", program->name, name),
				 errhint("SELECT program, name FROM loyalty.segment lists the segments.")));
	return segment;
}

static TimestampTz
instant_argument(FunctionCallInfo fcinfo, int n)
{
	TimestampTz at = PG_ARGISNULL(n) ? instant_for_reading() : PG_GETARG_TIMESTAMPTZ(n);

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("an instant must be finite"),
				 errhint("Leave it out for now.")));
	return at;
}

static const Program *
program_argument(FunctionCallInfo fcinfo, int n)
{
	return config_program(PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n)));
}

/* in_segment(member_id, segment, program, at) */
Datum
loyalty_in_segment(PG_FUNCTION_ARGS)
{
	const Segment *segment;
	Store	   *store;
	Account    *account;
	bool		result = false;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	segment = named_segment(program_argument(fcinfo, 2), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	store = store_open_reader(GetActiveSnapshot());
	account = store_read_account(store, segment->program, config_member_now(PG_GETARG_INT64(0)), CurrentMemoryContext);
	if (account)
	{
		ledger_settle(account, instant_argument(fcinfo, 3));
		result = segment_contains(segment, account);
	}
	store_close(store);
	PG_RETURN_BOOL(result);
}

/* Of a page of accounts, those that are in. */
static void
put_members(ReturnSetInfo *set, Store *store, const Segment *segment, const AccountAt *places, int n, TimestampTz at,
			MemoryContext context)
{
	for (int i = 0; i < n; i++)
	{
		Account    *account;
		Datum		values[1] = {Int64GetDatum(places[i].member_id)};
		bool		nulls[1] = {false};

		CHECK_FOR_INTERRUPTS();
		if (places[i].program_id != segment->program->id)
			continue;
		account = store_read_account(store, segment->program, places[i].member_id, context);
		if (account == NULL || strcmp(account->status, "merged") == 0)
			continue;
		ledger_settle(account, at);
		if (segment_contains(segment, account))
			tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
}

/* segment_members(segment, program, at) */
Datum
loyalty_segment_members(PG_FUNCTION_ARGS)
{
	AccountAt	places[PAGE];
	AccountAt	last = {.member_id = PG_INT64_MIN};
	const Segment *segment;
	TimestampTz at = instant_argument(fcinfo, 2);
	MemoryContext page;
	MemoryContext old;
	Store	   *store;
	int			n;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	segment = named_segment(program_argument(fcinfo, 1), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	page = AllocSetContextCreate(CurrentMemoryContext, "loyalty segment", ALLOCSET_DEFAULT_SIZES);
	store = store_open_reader(GetActiveSnapshot());
	while ((n = store_walk_accounts(store, last.member_id, last.program_id, PAGE, places)) > 0)
	{
		last = places[n - 1];
		old = MemoryContextSwitchTo(page);
		put_members((ReturnSetInfo *) fcinfo->resultinfo, store, segment, places, n, at, page);
		MemoryContextSwitchTo(old);
		MemoryContextReset(page);
	}
	store_close(store);
	MemoryContextDelete(page);
	return (Datum) 0;
}
