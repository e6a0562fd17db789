/*
 * voucher.c
 *	  What rewards ask and give beside points; using, restoring and cancelling vouchers.
 *
 * Order of an entry function's work, as in burn.c: arguments; whose voucher it is, which never changes but by a merge; the
 * account's lock, then the key; the voucher as it is at the account's instant.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "voucher.h"

PG_FUNCTION_INFO_V1(loyalty_use_voucher);
PG_FUNCTION_INFO_V1(loyalty_restore_voucher);
PG_FUNCTION_INFO_V1(loyalty_cancel_voucher);

/* One call of a function of ours, the one row that it gives; what is read is copied by the caller before done(). */
static HeapTuple
ask(const char *sql, int n, Oid *types, Datum *values, const char *nulls)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, n, types, values, nulls, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not call: %s", sql);
	return SPI_tuptable->vals[0];
}

static void
done(void)
{
	SPI_finish();
}

static Datum
column(HeapTuple row, int n, bool *isnull)
{
	return SPI_getbinval(row, SPI_tuptable->tupdesc, n, isnull);
}

/* In the context that was current before ask(). */
static Datum
kept(HeapTuple row, int n, bool *isnull)
{
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, n - 1);
	Datum		value = column(row, n, isnull);

	return *isnull ? (Datum) 0 : SPI_datumTransfer(value, attribute->attbyval, attribute->attlen);
}

void
voucher_terms(const Account *account, const Reward *reward, Points asked, int32 quantity, TimestampTz at, Terms *terms)
{
	Oid			types[] = {INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID};
	Datum		values[] = {
		Int32GetDatum(reward->id), Int64GetDatum(account->member_id), Int32GetDatum(account->tier_id),
		TimestampTzGetDatum(at), TimestampTzGetDatum(account->enrolled_at), Int64GetDatum(asked), Int32GetDatum(quantity)
	};
	HeapTuple	row = ask("SELECT t.points, t.pieces, t.vouchers, t.value FROM loyalty.reward_terms($1, $2, $3, $4, $5, $6, $7) t",
						  lengthof(types), types, values, NULL);
	bool		isnull;

	terms->points = DatumGetInt64(column(row, 1, &isnull));
	terms->pieces = DatumGetInt32(column(row, 2, &isnull));
	terms->vouchers = DatumGetInt32(column(row, 3, &isnull));
	terms->value = kept(row, 4, &isnull);
	terms->has_value = !isnull;
	done();
}

void
voucher_give(const Account *account, const Redemption *redemption, const Terms *terms)
{
	Oid			types[] = {INT8OID, INT8OID, INT4OID, INT4OID, NUMERICOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int64GetDatum(account->member_id), Int64GetDatum(redemption->redemption_id), Int32GetDatum(redemption->reward_id),
		Int32GetDatum(redemption->vouchers), terms->value, TimestampTzGetDatum(redemption->held_until),
		TimestampTzGetDatum(redemption->at)
	};
	char		nulls[] = "       ";

	nulls[4] = terms->has_value ? ' ' : 'n';
	nulls[5] = redemption->state == REDEMPTION_HELD ? ' ' : 'n';
	ask("SELECT loyalty.give_vouchers($1, $2, $3, $4, $5, $6, $7)", lengthof(types), types, values, nulls);
	done();
}

void
voucher_follow(const Account *account, const Redemption *redemption)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID};
	Datum		values[] = {
		Int64GetDatum(account->member_id), Int64GetDatum(redemption->redemption_id),
		CStringGetTextDatum(redemption_state_names[redemption->state]), TimestampTzGetDatum(redemption->changed_at)
	};
	OwnerSwitch caller;

	owner_become(&caller);
	ask("SELECT loyalty.follow_redemption($1, $2, $3, $4)", lengthof(types), types, values, NULL);
	done();
	owner_restore(&caller);
}

void
voucher_answer(int64 member_id, const Redemption *redemption, Datum *values, bool *nulls)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		arguments[] = {Int64GetDatum(member_id), Int64GetDatum(redemption->redemption_id)};
	OwnerSwitch caller;
	HeapTuple	row;

	memset(nulls, true, VOUCHER_ANSWER * sizeof(bool));
	if (redemption->vouchers == 0)
		return;
	owner_become(&caller);
	row = ask("SELECT v.voucher, v.value, v.value_unit, v.valid_until FROM loyalty.vouchers_of($1, $2) v",
			  lengthof(types), types, arguments, NULL);
	for (int i = 0; i < VOUCHER_ANSWER; i++)
		values[i] = kept(row, i + 1, &nulls[i]);
	done();
	owner_restore(&caller);
}

/* ---- entry functions ---- */

/* One call on one voucher. */
typedef struct VoucherCall
{
	Call		call;
	const char *name;			/* of the function */
	const char *what;			/* used, restored, cancelled */
	int64		member;
	int64		voucher_id;
	const char *words_name;		/* reference or reason */
	char	   *words;
	Numeric		amount;			/* of money; NULL: all */
	char	   *key;
	Request		request;
	Argument	arguments[3];
	int64		redemption_id;
	Points		points;			/* that go back when it is cancelled */
	const char *state;			/* that it is in then */
	const char *left_over;		/* of its value; NULL: it is not worth money */
} VoucherCall;

/* Whose voucher it is; then the account is locked.  Was the key used before? */
static bool
begin(FunctionCallInfo fcinfo, VoucherCall *v)
{
	Oid			types[] = {INT8OID, TEXTOID, INT8OID};
	Datum		values[] = {0, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	char		nulls[] = "   ";
	OwnerSwitch caller;
	HeapTuple	row;
	int32		program;
	bool		isnull;

	v->words = call_text(fcinfo, 3);
	v->key = call_text(fcinfo, 4);
	v->amount = PG_NARGS() > 5 ? call_number(fcinfo, 5) : NULL;
	request_check_key(v->key);
	for (int i = 0; i < 3; i++)
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	if (!PG_ARGISNULL(0))
		values[0] = Int64GetDatum(call_member(fcinfo, 0));
	owner_become(&caller);
	row = ask("SELECT f.holder, f.number, f.program_id FROM loyalty.find_voucher($1, $2, $3) f", 3, types, values, nulls);
	v->member = DatumGetInt64(column(row, 1, &isnull));
	v->voucher_id = DatumGetInt64(column(row, 2, &isnull));
	program = DatumGetInt32(column(row, 3, &isnull));
	done();
	owner_restore(&caller);
	v->arguments[0] = (Argument) {"voucher_id", psprintf(INT64_FORMAT, v->voucher_id), true};
	v->arguments[1] = (Argument) {v->words_name, v->words, false};
	v->arguments[2] = (Argument) {"amount", request_number(v->amount), true};
	call_begin(&v->call, v->name, config_program_by_id(program), v->member);
	return request_find(v->call.account, v->key, v->name, v->arguments, lengthof(v->arguments), &v->request);
}

static void
change(VoucherCall *v)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, NUMERICOID};
	Datum		values[] = {
		Int64GetDatum(v->member), Int64GetDatum(v->voucher_id), CStringGetTextDatum(v->what),
		v->words ? CStringGetTextDatum(v->words) : (Datum) 0, 0,
		CStringGetTextDatum(GetUserNameFromId(v->call.caller.user, false)), NumericGetDatum(v->amount)
	};
	char		nulls[] = {' ', ' ', ' ', v->words ? ' ' : 'n', ' ', ' ', v->amount ? ' ' : 'n'};
	MemoryContext context = CurrentMemoryContext;
	HeapTuple	row;
	bool		isnull;

	call_settle(&v->call);
	if (strcmp(v->what, "used") == 0)
		call_check_active(v->call.account);
	values[4] = TimestampTzGetDatum(v->call.at);
	row = ask("SELECT c.redemption_id, c.points, c.new_state, c.left_over::text"
			  " FROM loyalty.change_voucher($1, $2, $3, $4, $5, $6, $7) c", lengthof(types), types, values, nulls);
	v->redemption_id = DatumGetInt64(column(row, 1, &isnull));
	v->points = DatumGetInt64(column(row, 2, &isnull));
	v->state = MemoryContextStrdup(context, SPI_getvalue(row, SPI_tuptable->tupdesc, 3));
	column(row, 4, &isnull);
	v->left_over = isnull ? NULL : MemoryContextStrdup(context, SPI_getvalue(row, SPI_tuptable->tupdesc, 4));
	done();
}

static Numeric
as_number(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* voucher_id, member_id, state, reward, value, value_unit, argument, at, left_over */
static Datum
answer_voucher(FunctionCallInfo fcinfo, const VoucherCall *v)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		arguments[] = {Int64GetDatum(v->member), Int64GetDatum(v->voucher_id)};
	Datum		values[9];
	bool		nulls[9];
	OwnerSwitch caller;
	HeapTuple	row;

	owner_become(&caller);
	row = ask("SELECT * FROM loyalty.voucher_row($1, $2)", lengthof(types), types, arguments, NULL);
	for (int i = 0; i < lengthof(values); i++)
		values[i] = kept(row, i + 1, &nulls[i]);
	done();
	owner_restore(&caller);
	/* what was answered then, whatever has become of it since */
	values[2] = CStringGetTextDatum(v->state);
	values[7] = TimestampTzGetDatum(v->call.at);
	nulls[8] = v->left_over == NULL;
	values[8] = nulls[8] ? (Datum) 0 : NumericGetDatum(as_number(v->left_over));
	return call_result(fcinfo, values, nulls);
}

/* The voucher, or part of it, is used, or its use undone. */
static Datum
turn(FunctionCallInfo fcinfo, const char *name, const char *what, const char *words_name)
{
	VoucherCall v = {.name = name, .what = what, .words_name = words_name};

	if (begin(fcinfo, &v))
	{
		v.call.at = v.request.at;
		v.state = request_answer(&v.request, "state");
		v.left_over = request_answer(&v.request, "left_over");
	}
	else
	{
		change(&v);
		request_keep_answer(v.call.account, v.key, name, v.arguments, lengthof(v.arguments), v.redemption_id, 0, v.call.at,
							(Argument[]) {{"state", v.state, false}, {"left_over", v.left_over, true}}, 2);
	}
	call_end(&v.call);
	return answer_voucher(fcinfo, &v);
}

Datum
loyalty_use_voucher(PG_FUNCTION_ARGS)
{
	return turn(fcinfo, "use_voucher", "used", "reference");
}

Datum
loyalty_restore_voucher(PG_FUNCTION_ARGS)
{
	return turn(fcinfo, "restore_voucher", "restored", "reason");
}

static Points
answered(const Request *request, const char *name)
{
	return points_from_numeric(as_number(request_answer(request, name)));
}

/* Its points go back as those of a redemption that is reversed: the redemption is, when this was the last of it. */
static void
cancel(VoucherCall *v, Returned *returned)
{
	Redemption *redemption;

	change(v);
	redemption = ledger_redemption(v->call.account, v->redemption_id);
	if (redemption == NULL)
		elog(ERROR, "redemption " INT64_FORMAT " has gone", v->redemption_id);
	if (v->points > 0)
		*returned = ledger_reverse(v->call.account, redemption, v->points, v->call.at);
	request_keep_answer(v->call.account, v->key, v->name, v->arguments, lengthof(v->arguments), v->redemption_id, 0, v->call.at,
						(Argument[]) {
							{"points", points_to_text(v->points), true},
							{"alive", points_to_text(returned->alive), true},
							{"dead", points_to_text(returned->dead), true}}, 3);
}

/* voucher_id, state, redemption_id, points, alive, dead */
Datum
loyalty_cancel_voucher(PG_FUNCTION_ARGS)
{
	VoucherCall v = {.name = "cancel_voucher", .what = "cancelled", .words_name = "reason"};
	Returned	returned = {0};
	Datum		values[6];
	bool		nulls[6] = {false};

	if (begin(fcinfo, &v))
	{
		v.redemption_id = v.request.redemption_id;
		v.points = answered(&v.request, "points");
		returned.alive = answered(&v.request, "alive");
		returned.dead = answered(&v.request, "dead");
	}
	else
		cancel(&v, &returned);
	call_end(&v.call);
	values[0] = Int64GetDatum(v.voucher_id);
	values[1] = CStringGetTextDatum("cancelled");
	values[2] = Int64GetDatum(v.redemption_id);
	values[3] = NumericGetDatum(points_to_numeric(v.points));
	values[4] = NumericGetDatum(points_to_numeric(returned.alive));
	values[5] = NumericGetDatum(points_to_numeric(returned.dead));
	return call_result(fcinfo, values, nulls);
}
