/*
 * unit.c
 *	  Status units by hand, and counting again from the ledger.
 *
 * A blocked account can be adjusted, as with points.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "call.h"
#include "counter.h"
#include "fixed.h"
#include "mapping.h"
#include "money.h"

PG_FUNCTION_INFO_V1(loyalty_adjust_unit);
PG_FUNCTION_INFO_V1(loyalty_recount_counters);

typedef struct AdjustUnit
{
	int64		member;
	const Unit *unit;
	Points		value;
	char	   *reason;
	char	   *key;
	bool		has_at;
	TimestampTz at;				/* for when it counts */
} AdjustUnit;

static const Unit *
unit_argument(FunctionCallInfo fcinfo, const Program *program)
{
	char	   *name = call_text(fcinfo, 1);
	const Unit *unit = name ? config_unit(program, name) : NULL;

	if (name == NULL)
		call_refuse("unit is null", "Name a status unit: SELECT name FROM loyalty.unit lists them.");
	if (unit == NULL)
		call_refuse(psprintf("program \"%s\" has no status unit \"%s\"", program->name, name),
					"SELECT name FROM loyalty.unit lists them; a rule that names one makes it.");
	return unit;
}

/* A number other than 0, with no more decimals than the unit's. */
static Points
value_argument(FunctionCallInfo fcinfo, const Unit *unit)
{
	Numeric		value = call_number(fcinfo, 2);
	Points		points = 0;
	Points		smallest = POINTS_ONE;

	if (value == NULL)
		call_refuse("value is null", "Above 0 it is given, below 0 taken.");
	for (int i = 0; i < unit->decimals; i++)
		smallest /= 10;
	if (fixed_from_numeric(value, POINTS_SCALE, &points) != FIXED_OK || points == 0 || points % smallest != 0)
		call_refuse(psprintf("value is %s", request_number(value)),
					psprintf("It is a number other than 0 with at most %d decimals.", unit->decimals));
	return points;
}

static void
read_arguments(FunctionCallInfo fcinfo, const Program *program, AdjustUnit *adjust)
{
	adjust->member = call_member(fcinfo, 0);
	adjust->unit = unit_argument(fcinfo, program);
	adjust->value = value_argument(fcinfo, adjust->unit);
	adjust->reason = call_text(fcinfo, 3);
	if (adjust->reason == NULL || *adjust->reason == '\0')
		call_refuse("reason is missing", "Say why: loyalty.intervention keeps it.");
	adjust->key = call_text(fcinfo, 5);
	request_check_key(adjust->key);
	adjust->has_at = !PG_ARGISNULL(6);
	adjust->at = adjust->has_at ? PG_GETARG_TIMESTAMPTZ(6) : 0;
	if (adjust->has_at && TIMESTAMP_NOT_FINITE(adjust->at))
		call_refuse("at is infinite", "Give a time, or leave it out for now.");
}

static void
count(Call *call, const AdjustUnit *adjust, Intervention *intervention)
{
	Account    *account = call->account;

	call_settle(call);
	if (!adjust->has_at)
		intervention->counted_at = call->at;
	else if (adjust->at > call->at)
		call_refuse(psprintf("at is %s", timestamptz_to_str(adjust->at)), "It lies before now.");
	intervention->entry_no = ledger_note(account);
	ledger_count_unit(account, adjust->unit->id, adjust->value, intervention->counted_at, call->at);
	call_intervene(call, intervention);
}

Datum
loyalty_adjust_unit(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 4));
	Intervention intervention = {.action = "unit", .counts_for_tier = true};
	AdjustUnit	adjust;
	Request		request;
	Call		call;
	Argument	arguments[4];
	const Tier *tier;
	Datum		values[5];
	bool		nulls[5] = {false};

	read_arguments(fcinfo, program, &adjust);
	arguments[0] = (Argument) {"unit", adjust.unit->name, false};
	arguments[1] = (Argument) {"value", points_to_text(adjust.value), true};
	arguments[2] = (Argument) {"reason", adjust.reason, false};
	arguments[3] = (Argument) {"at", adjust.has_at ? mapping_canonical(TimestampTzGetDatum(adjust.at), TIMESTAMPTZOID) : NULL, false};
	intervention.unit_id = adjust.unit->id;
	intervention.value = adjust.value;
	intervention.counted_at = adjust.at;
	intervention.reason = adjust.reason;
	intervention.key = adjust.key;
	call_begin(&call, "adjust_unit", program, adjust.member);
	if (request_find(call.account, adjust.key, "adjust_unit", arguments, lengthof(arguments), &request))
	{
		intervention.entry_no = request.entry_no;
		intervention.counted_at = adjust.has_at ? adjust.at : request.at;
	}
	else
	{
		count(&call, &adjust, &intervention);
		request_keep(call.account, adjust.key, "adjust_unit", arguments, lengthof(arguments), 0, intervention.entry_no, call.at);
	}
	tier = config_tier(program, call.account->tier_id);
	call_end(&call);
	values[0] = Int64GetDatum(intervention.entry_no);
	values[1] = CStringGetTextDatum(adjust.unit->name);
	values[2] = NumericGetDatum(points_to_numeric(adjust.value));
	values[3] = TimestampTzGetDatum(intervention.counted_at);
	values[4] = tier ? CStringGetTextDatum(tier->name) : (Datum) 0;
	nulls[4] = tier == NULL;
	return call_result(fcinfo, values, nulls);
}

/* Nobody sells on this table, or a part of it, until the transaction ends. */
static void
lock_table(Oid relid)
{
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
}

/* Call it with the program's name as the only parameter. */
static void
run(const char *sql, Datum program)
{
	Oid			types[] = {TEXTOID};

	if (SPI_execute_with_args(sql, 1, types, &program, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", sql);
}

/* Locks in the order of sales: tables, then accounts, members descending. */
Datum
loyalty_recount_counters(PG_FUNCTION_ARGS)
{
	OwnerSwitch owner;
	bool		isnull;
	uint64		n;
	Oid		   *tables;

	PreventCommandIfReadOnly("loyalty.recount_counters()");
	owner_become(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run("SELECT s.relation::pg_catalog.oid FROM loyalty.source s WHERE s.program OPERATOR(pg_catalog.=) $1"
		" AND s.attached ORDER BY 1", PG_GETARG_DATUM(0));
	n = SPI_processed;
	tables = palloc(mul_size(Max(n, 1), sizeof(Oid)));
	for (uint64 i = 0; i < n; i++)
		tables[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	for (uint64 i = 0; i < n; i++)
		lock_table(tables[i]);
	run("SELECT pg_catalog.count(*) FROM (SELECT FROM loyalty.account a JOIN loyalty.program p"
		" ON p.id OPERATOR(pg_catalog.=) a.program_id WHERE p.name OPERATOR(pg_catalog.=) $1"
		" ORDER BY a.member_id DESC FOR NO KEY UPDATE OF a) locked", PG_GETARG_DATUM(0));
	run("SELECT loyalty.recount_counters_of(p.id, (-9223372036854775808)::pg_catalog.int8, 9223372036854775807) FROM loyalty.program p"
		" WHERE p.name OPERATOR(pg_catalog.=) $1", PG_GETARG_DATUM(0));
	SPI_finish();
	owner_restore(&owner);
	PG_RETURN_VOID();
}
