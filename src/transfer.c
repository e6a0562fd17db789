/*
 * transfer.c
 *	  Points that go on to other lots: to another member (transfer), or to another life (change_expiry).
 *
 * The order of a call is that of burn.c.  What it answers is read from loyalty.lot_origin, the first time as at every
 * retry.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "mapping.h"

PG_FUNCTION_INFO_V1(loyalty_transfer);
PG_FUNCTION_INFO_V1(loyalty_change_expiry);

/* ---- origins ---- */

static ArrayType *
numbers(const Moved *moved, int n, int64 (*number) (const Moved *))
{
	Datum	   *values = palloc(mul_size(n, sizeof(Datum)));

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(number(&moved[i]));
	return construct_array(values, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static int64
to_entry(const Moved *moved)
{
	return moved->to->entry_no;
}

static int64
to_expiry(const Moved *moved)
{
	return moved->to->expires_at;
}

static int64
from_entry(const Moved *moved)
{
	return moved->from->entry_no;
}

static int64
from_expiry(const Moved *moved)
{
	return moved->from->expires_at;
}

static int64
movement_entry(const Moved *moved)
{
	return moved->moved_by;
}

/* An array of instants is an array of int64 under another name. */
static Datum
instants(ArrayType *array)
{
	array->elemtype = TIMESTAMPTZOID;
	return PointerGetDatum(array);
}

static void
keep_origins(const Call *call, int64 to_member, const Moved *moved, int n)
{
	Oid			types[] = {INT8OID, INT8OID, INT4OID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
	INT8ARRAYOID};
	Datum		values[] = {
		Int64GetDatum(to_member), Int64GetDatum(call->account->member_id), Int32GetDatum(call->program->id),
		PointerGetDatum(numbers(moved, n, to_entry)), instants(numbers(moved, n, to_expiry)),
		PointerGetDatum(numbers(moved, n, from_entry)), instants(numbers(moved, n, from_expiry)),
		PointerGetDatum(numbers(moved, n, movement_entry))
	};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO loyalty.lot_origin (member_id, origin_member_id, program_id, entry_no, expires_at,"
							  " origin_entry_no, origin_expires_at, moved_by)"
							  " SELECT $1, $2, $3, * FROM ROWS FROM (pg_catalog.unnest($4), pg_catalog.unnest($5),"
							  " pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8))",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not note where lots come from");
	SPI_finish();
}

/* The call's effect: who did it, what came from where, the key. */
static void
keep(Call *call, Intervention *intervention, int64 to_member, const Moved *moved, int n, const Argument *arguments,
	 int narguments)
{
	intervention->entry_no = moved[0].moved_by;
	intervention->last_entry = moved[n - 1].moved_by;
	keep_origins(call, to_member, moved, n);
	call_intervene(call, intervention);
	request_keep(call->account, intervention->key, call->name, arguments, narguments, 0, intervention->entry_no, call->at);
}

#define EQ " OPERATOR(pg_catalog.=) "

/* The new lots of the intervention at `entry_no`, after all has been written. */
static void
put_lots(FunctionCallInfo fcinfo, const Call *call, int64 entry_no)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[] = {INT8OID, INT4OID, INT8OID};
	Datum		values[] = {Int64GetDatum(call->account->member_id), Int32GetDatum(call->program->id), Int64GetDatum(entry_no)};
	Datum		row[6];
	bool		nulls[6];

	store_flush(call->store);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT l.entry_no, l.points, o.origin_entry_no, l.earned_at, l.available_at, l.expires_at"
							  " FROM loyalty.intervention i JOIN loyalty.lot_origin o ON o.origin_member_id" EQ "i.member_id"
							  " AND o.program_id" EQ "i.program_id"
							  " AND o.moved_by OPERATOR(pg_catalog.>=) i.entry_no AND o.moved_by OPERATOR(pg_catalog.<=) i.last_entry"
							  " JOIN loyalty.lot l ON l.member_id" EQ "o.member_id AND l.program_id" EQ "o.program_id"
							  " AND l.expires_at" EQ "o.expires_at AND l.entry_no" EQ "o.entry_no"
							  " WHERE i.member_id" EQ "$1 AND i.program_id" EQ "$2 AND i.entry_no" EQ "$3 ORDER BY o.moved_by",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read lots");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		row[1] = NumericGetDatum(points_to_numeric(DatumGetInt64(row[1])));
		tuplestore_putvalues(set->setResult, set->setDesc, row, nulls);
	}
	SPI_finish();
}

static void
write_all(Call *call)
{
	if (call->other)
		ledger_write(call->other);
	ledger_write(call->account);
	store_flush(call->store);
}

/* ---- transfer ---- */

typedef struct Transfer
{
	int64		from;
	int64		to;
	Points		points;
	char	   *key;
	char	   *reason;
} Transfer;

static void
read_transfer(FunctionCallInfo fcinfo, const Program *program, Transfer *transfer)
{
	Numeric		points = call_number(fcinfo, 2);

	transfer->from = call_member(fcinfo, 0);
	transfer->to = call_member(fcinfo, 1);
	if (transfer->from == transfer->to)
		call_refuse("from_member is to_member", "Points are transferred to somebody else; loyalty.change_expiry() changes how long they live.");
	if (points == NULL)
		call_refuse("points is null", "Say how many points are given.");
	transfer->points = call_points(program, points);
	if (transfer->points < 0)
		call_refuse(psprintf("points is %s", points_to_text(transfer->points)), "It is above 0; swap the members to give the other way.");
	transfer->key = call_text(fcinfo, 4);
	request_check_key(transfer->key);
	transfer->reason = call_text(fcinfo, 5);
}

static int64
give(Call *call, const Transfer *transfer, const Argument *arguments, int narguments)
{
	Intervention intervention = {.action = "transfer", .points = -transfer->points, .reason = transfer->reason,
	.key = transfer->key};
	Moved	   *moved;
	int			n;

	call_settle(call);
	call_check_active(call->account);
	call_check_active(call->other);
	call_check_available(call->account, transfer->points);
	moved = ledger_transfer(call->account, call->other, transfer->points, transfer->reason, call->at, &n);
	write_all(call);
	keep(call, &intervention, transfer->to, moved, n, arguments, narguments);
	return intervention.entry_no;
}

Datum
loyalty_transfer(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 3));
	Transfer	transfer;
	Request		request;
	Argument	arguments[3];
	Call		call;
	int64		entry_no;

	read_transfer(fcinfo, program, &transfer);
	arguments[0] = (Argument) {"to_member", psprintf(INT64_FORMAT, transfer.to), true};
	arguments[1] = (Argument) {"points", points_to_text(transfer.points), true};
	arguments[2] = (Argument) {"reason", transfer.reason, false};
	InitMaterializedSRF(fcinfo, 0);
	call_begin_two(&call, "transfer", program, transfer.from, transfer.to);
	if (request_find(call.account, transfer.key, "transfer", arguments, lengthof(arguments), &request))
		entry_no = request.entry_no;
	else
		entry_no = give(&call, &transfer, arguments, lengthof(arguments));
	put_lots(fcinfo, &call, entry_no);
	call_end(&call);
	return (Datum) 0;
}

/* ---- change_expiry ---- */

typedef struct ExpiryChange
{
	int64		member;
	int64	   *lots;			/* ascending, distinct; NULL: all */
	int			nlots;
	TimestampTz expires_at;
	char	   *reason;
	char	   *key;
} ExpiryChange;

static int
compare_numbers(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

static void
read_lots(ArrayType *array, ExpiryChange *change)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &n);
	if (n == 0)
		call_refuse("lots is empty", "Name the lots by their entry_no, or leave lots out for all.");
	change->lots = palloc(mul_size(n, sizeof(int64)));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			call_refuse("a lot is null", "Name the lots by their entry_no, or leave lots out for all.");
		change->lots[i] = DatumGetInt64(values[i]);
	}
	qsort(change->lots, n, sizeof(int64), compare_numbers);
	for (int i = 0; i < n; i++)
		if (i == 0 || change->lots[i] != change->lots[i - 1])
			change->lots[change->nlots++] = change->lots[i];
}

static void
read_expiry_change(FunctionCallInfo fcinfo, ExpiryChange *change)
{
	*change = (ExpiryChange) {.member = call_member(fcinfo, 0)};
	if (PG_ARGISNULL(1))
		call_refuse("expires_at is null", "Say when the points die; infinity: never.");
	change->expires_at = PG_GETARG_TIMESTAMPTZ(1);
	change->reason = call_text(fcinfo, 2);
	if (change->reason == NULL || *change->reason == '\0')
		call_refuse("reason is missing", "Say why: the statement of the account shows it.");
	if (!PG_ARGISNULL(3))
		read_lots(PG_GETARG_ARRAYTYPE_P(3), change);
	change->key = call_text(fcinfo, 5);
	request_check_key(change->key);
}

static char *
lots_text(const ExpiryChange *change)
{
	StringInfoData text;

	if (change->lots == NULL)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < change->nlots; i++)
		appendStringInfo(&text, "%s" INT64_FORMAT, i == 0 ? "" : ",", change->lots[i]);
	return text.data;
}

static void
refuse_lot(int64 lot, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("lot " INT64_FORMAT " cannot get another life", lot),
			 errdetail_internal("%s", detail),
			 errhint("loyalty.explain() lists the lots that hold points.")));
}

/* The live lots that are meant; a named one that is not among them is refused. */
static Lot **
find_lots(Account *account, const ExpiryChange *change, TimestampTz at, int *n)
{
	bool	   *found = palloc0(Max(1, change->nlots));
	LotCursor	cursor = {0};
	Lot		  **lots = NULL;
	Lot		   *lot;

	*n = 0;
	while (account->available + account->pending > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		int64	   *named = NULL;

		CHECK_FOR_INTERRUPTS();
		if (lot->remaining == 0 || !ledger_lives(account, lot, at))
			continue;
		if (change->lots)
		{
			named = bsearch(&lot->entry_no, change->lots, change->nlots, sizeof(int64), compare_numbers);
			if (named == NULL)
				continue;
			found[named - change->lots] = true;
		}
		if ((lot->life <= 0 && lot->expires_at == change->expires_at) || (lot->available_at == DT_NOEND && named == NULL))
			continue;
		if (lot->available_at == DT_NOEND)
			refuse_lot(lot->entry_no, "Its points wait for an event of their purchase, which gives them their life.");
		if (change->expires_at <= lot->available_at)
			refuse_lot(lot->entry_no, psprintf("Its points are available from %s: they could never be spent.",
											   timestamptz_to_str(lot->available_at)));
		if (*n % 64 == 0)
			lots = lots ? repalloc(lots, mul_size(*n + 64, sizeof(Lot *))) : palloc(64 * sizeof(Lot *));
		lots[(*n)++] = lot;
	}
	for (int i = 0; i < change->nlots; i++)
		if (!found[i])
			refuse_lot(change->lots[i], "The account has no lot of this number that holds live points.");
	return lots;
}

static int64
change_expiry(Call *call, const ExpiryChange *change, const Argument *arguments, int narguments)
{
	Intervention intervention = {.action = "expiry", .reason = change->reason, .key = change->key};
	Lot		  **lots;
	Moved	   *moved;
	int			n;

	call_settle(call);
	if (change->expires_at <= call->at)
		call_refuse(psprintf("expires_at is %s", timestamptz_to_str(change->expires_at)),
					"It lies ahead; loyalty.adjust() takes points away.");
	lots = find_lots(call->account, change, call->at, &n);
	if (n == 0)
		call_refuse(psprintf("no lot expires otherwise than at %s", timestamptz_to_str(change->expires_at)),
					"Nothing would change.");
	moved = ledger_change_expiry(call->account, lots, n, change->expires_at, change->reason, call->at);
	write_all(call);
	keep(call, &intervention, change->member, moved, n, arguments, narguments);
	return intervention.entry_no;
}

Datum
loyalty_change_expiry(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 4));
	ExpiryChange change;
	Request		request;
	Argument	arguments[3];
	Call		call;
	int64		entry_no;

	read_expiry_change(fcinfo, &change);
	arguments[0] = (Argument) {"expires_at", mapping_canonical(TimestampTzGetDatum(change.expires_at), TIMESTAMPTZOID), false};
	arguments[1] = (Argument) {"reason", change.reason, false};
	arguments[2] = (Argument) {"lots", lots_text(&change), false};
	InitMaterializedSRF(fcinfo, 0);
	call_begin(&call, "change_expiry", program, change.member);
	if (request_find(call.account, change.key, "change_expiry", arguments, lengthof(arguments), &request))
		entry_no = request.entry_no;
	else
		entry_no = change_expiry(&call, &change, arguments, lengthof(arguments));
	put_lots(fcinfo, &call, entry_no);
	call_end(&call);
	return (Datum) 0;
}
