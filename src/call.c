/*
 * call.c
 *	  What the entry functions share.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "fixed.h"
#include "follow.h"
#include "instant.h"

/* ---- arguments ---- */

char *
call_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Numeric
call_number(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_NUMERIC(n);
}

void
call_refuse(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg_internal("%s", what),
			 errhint("%s", hint)));
}

int64
call_member(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member_id is null")));
	return config_member_now(PG_GETARG_INT64(n));
}

Points
call_points(const Program *program, Numeric value)
{
	Points		points = 0;
	Points		smallest = POINTS_ONE;
	FixedStatus status = fixed_from_numeric(value, POINTS_SCALE, &points);

	for (int i = 0; i < program->decimals; i++)
		smallest /= 10;
	if (status == FIXED_NOT_FINITE || status == FIXED_OVERFLOW || (status == FIXED_OK && points == 0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("points is %s", request_number(value)),
				 errhint("It is a number other than 0, below 922,337,203,685,477.")));
	if (status == FIXED_INEXACT || points % smallest != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("points is %s", request_number(value)),
				 errdetail("Points of program \"%s\" have at most %d decimals.", program->name, program->decimals)));
	return points;
}

/* ---- the account ---- */

void
call_refuse_erased(int64 member)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_WRONG_STATE),
			 errmsg("member " INT64_FORMAT " was erased", member),
			 errhint("That cannot be undone: the person joins again under another number.")));
}

static void
open_call(Call *call, const char *name)
{
	*call = (Call) {.name = name};
	PreventCommandIfReadOnly(psprintf("loyalty.%s()", name));
	owner_become(&call->caller);
	call->store = store_open(GetCurrentStatementStartTimestamp());
}

/* The accounts of `members` (descending, distinct), locked; enrolled_at: see store_lock_accounts(). */
static void
lock_accounts(Call *call, const Program *program, int n, const int64 *members, const TimestampTz *enrolled_at,
			  Account **accounts)
{
	call->program = program;
	store_post_at(call->store, instant_for_writing(program));
	store_lock_accounts(call->store, program, n, members, enrolled_at, CurrentMemoryContext, accounts);
	for (int i = 0; i < n; i++)
	{
		if (accounts[i] == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
					 errmsg("member " INT64_FORMAT " has no account in program \"%s\"", members[i], program->name),
					 errhint("The first purchase enrolls a member, or loyalty.enroll().")));
		if (strcmp(accounts[i]->status, "erased") == 0)
			call_refuse_erased(members[i]);
	}
}

void
call_begin(Call *call, const char *name, const Program *program, int64 member)
{
	Account    *account;

	open_call(call, name);
	lock_accounts(call, program, 1, &member, NULL, &account);
	call->account = account;
}

void
call_begin_enrolling(Call *call, const char *name, const Program *program, int64 member, TimestampTz at)
{
	Account    *account;

	if (config_member_erased(member))
		call_refuse_erased(member);
	open_call(call, name);
	lock_accounts(call, program, 1, &member, program->automatic ? &at : NULL, &account);
	call->account = account;
}

void
call_begin_two(Call *call, const char *name, const Program *program, int64 member, int64 other)
{
	int64		members[] = {Max(member, other), Min(member, other)};
	Account    *accounts[2];

	Assert(member != other);
	open_call(call, name);
	lock_accounts(call, program, 2, members, NULL, accounts);
	call->account = accounts[member < other];
	call->other = accounts[member > other];
}

/* A redemption's program never changes, so that it can be asked before the account is locked. */
void
call_begin_redemption(Call *call, const char *name, int64 member, int64 redemption_id)
{
	Redemption *redemption;
	Account    *account;

	open_call(call, name);
	redemption = store_find_redemption(call->store, member, redemption_id, CurrentMemoryContext);
	if (redemption == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member " INT64_FORMAT " has no redemption " INT64_FORMAT, member, redemption_id),
				 errhint("loyalty.redeem() returns its number.")));
	lock_accounts(call, config_program_by_id(redemption->program_id), 1, &member, NULL, &account);
	call->account = account;
}

void
call_settle(Call *call)
{
	call->at = follow_instant(call->account, instant_for_writing(call->program));
	if (call->other)
		call->at = ledger_settle(call->other, Max(call->at, call->account->settled_at));
	call->at = ledger_settle(call->account, call->at);
}

void
call_settle_at(Call *call, TimestampTz at)
{
	Assert(call->other == NULL);
	call->at = ledger_settle(call->account, Min(at, instant_for_writing(call->program)));
}

void
call_end(Call *call)
{
	if (call->other)
		ledger_write(call->other);
	ledger_write(call->account);
	store_close(call->store);
	owner_restore(&call->caller);
}

void
call_check_active(const Account *account)
{
	if (strcmp(account->status, "active") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACCOUNT_BLOCKED),
				 errmsg("account of member " INT64_FORMAT " in program \"%s\" is %s", account->member_id,
						account->program->name, account->status),
				 errhint("loyalty.unblock() lifts it.")));
}

void
call_check_available(const Account *account, Points points)
{
	if (account->debt > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INSUFFICIENT_POINTS),
				 errmsg("insufficient points"),
				 errdetail("The member owes %s points; %s are needed.", points_to_text(account->debt),
						   points_to_text(points)),
				 errhint("Debts are repaid by what becomes available; nothing can be spent before.")));
	if (account->available < points)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INSUFFICIENT_POINTS),
				 errmsg("insufficient points"),
				 errdetail("%s points are available and %s are needed.", points_to_text(account->available),
						   points_to_text(points)),
				 errhint("Pending, held and expired points cannot be spent; see loyalty.balance().")));
}

/* ---- interventions ---- */

void
call_intervene(Call *call, const Intervention *intervention)
{
	store_insert_intervention(call->account, intervention, call->at, call->caller.user);
}

void
call_intervened(Call *call, int64 entry_no, Intervention *i)
{
	Oid			types[] = {INT8OID, INT4OID, INT8OID};
	Datum		values[] = {
		Int64GetDatum(call->account->member_id), Int32GetDatum(call->program->id), Int64GetDatum(entry_no)
	};
	HeapTuple	row;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT i.points, i.available_at, i.expires_at, i.counts_for_tier FROM loyalty.intervention i"
							  " WHERE i.member_id OPERATOR(pg_catalog.=) $1 AND i.program_id OPERATOR(pg_catalog.=) $2"
							  " AND i.entry_no OPERATOR(pg_catalog.=) $3",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "intervention " INT64_FORMAT " has gone", entry_no);
	row = SPI_tuptable->vals[0];
	i->entry_no = entry_no;
	i->points = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
	i->available_at = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
	i->is_lot = !isnull;
	i->expires_at = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	i->counts_for_tier = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 4, &isnull));
	SPI_finish();
}

/* ---- results ---- */

Datum
call_result(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	TupleDesc	desc = set && IsA(set, ReturnSetInfo) ? set->expectedDesc : NULL;

	/* in FROM the executor has worked out the row already */
	if (desc == NULL && get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* a set of one: isDone is ExprSingleResult unless somebody says otherwise */
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
