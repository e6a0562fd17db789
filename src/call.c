/*
 * call.c
 *	  What the entry functions share.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "call.h"
#include "errcodes.h"
#include "fixed.h"
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

int64
call_member(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member_id is null")));
	return PG_GETARG_INT64(n);
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
call_begin(Call *call, const char *name, const Program *program, int64 member)
{
	*call = (Call) {.name = name, .program = program};
	PreventCommandIfReadOnly(psprintf("loyalty.%s()", name));
	owner_become(&call->caller);
	call->store = store_open(instant_for_writing(program));
	store_lock_accounts(call->store, program, 1, &member, NULL, CurrentMemoryContext, &call->account);
	if (call->account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
				 errmsg("member " INT64_FORMAT " has no account in program \"%s\"", member, program->name),
				 errhint("The first purchase enrolls a member, or loyalty.enroll().")));
}

void
call_settle(Call *call)
{
	call->at = ledger_settle(call->account, instant_for_writing(call->program));
}

void
call_end(Call *call)
{
	ledger_write(call->account);
	store_close(call->store);
	owner_restore(&call->caller);
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

/* ---- results ---- */

Datum
call_result(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* a set of one: isDone is ExprSingleResult unless somebody says otherwise */
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
