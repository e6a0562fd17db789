/*
 * enroll.c
 *	  Members: enrolment by hand, their other names, blocking.
 *
 * Another name (a card number, an e-mail's hash) belongs to one member for ever; whose it is is not said.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "instant.h"
#include "member.h"

PG_FUNCTION_INFO_V1(loyalty_enroll);
PG_FUNCTION_INFO_V1(loyalty_member_id);
PG_FUNCTION_INFO_V1(loyalty_set_status);

/* ---- names and attributes, as the ledger's owner ---- */

static void
name_member(int64 member, text *external_id)
{
	int64		other = member;

	member_check_name(text_to_cstring(external_id));
	if (!member_add_name(member, external_id) && (!member_find(external_id, &other) || other != member))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("external_id \"%s\" belongs to another member", text_to_cstring(external_id)),
				 errhint("An external id names one member for ever.")));
}

/* attributes merge, key by key; birth_date goes to its column */
static void
describe_member(int64 member, Jsonb *attributes)
{
	Oid			types[] = {INT8OID, JSONBOID};
	Datum		values[] = {Int64GetDatum(member), JsonbPGetDatum(attributes)};

	if (!JB_ROOT_IS_OBJECT(attributes))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("attributes is not an object"),
				 errhint("Write it as {\"name\": value, …}.")));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO loyalty.member AS m (member_id, attributes, birth_date)"
		" VALUES ($1, $2 OPERATOR(pg_catalog.-) 'birth_date'::pg_catalog.text,"
		"  ($2 OPERATOR(pg_catalog.->>) 'birth_date'::pg_catalog.text)::pg_catalog.date)"
		" ON CONFLICT (member_id) DO UPDATE SET"
		"  attributes = m.attributes OPERATOR(pg_catalog.||) excluded.attributes,"
		"  birth_date = CASE WHEN $2 OPERATOR(pg_catalog.?) 'birth_date'::pg_catalog.text"
		"   THEN excluded.birth_date ELSE m.birth_date END",
		2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not describe a member");
	SPI_finish();
}

/* ---- enroll ---- */

static TimestampTz
enrolled_at(FunctionCallInfo fcinfo, const Program *program)
{
	TimestampTz now = instant_for_writing(program);
	TimestampTz at = PG_ARGISNULL(2) ? now : PG_GETARG_TIMESTAMPTZ(2);

	if (TIMESTAMP_NOT_FINITE(at) || at > now)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("at is %s", timestamptz_to_str(at)),
				 errhint("A membership begins now or began before.")));
	return at;
}

Datum
loyalty_enroll(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	const Program *program = config_program(call_text(fcinfo, 1));
	TimestampTz at = enrolled_at(fcinfo, program);
	const Tier *tier;
	Account    *account;
	Store	   *store;
	OwnerSwitch caller;
	Datum		values[4];
	bool		nulls[4] = {false};

	PreventCommandIfReadOnly("loyalty.enroll()");
	if (config_member_erased(member))
		call_refuse_erased(member);
	owner_become(&caller);
	store = store_open(instant_for_writing(program));
	store_lock_accounts(store, program, 1, &member, &at, CurrentMemoryContext, &account);
	ledger_write(account);
	ledger_settle(account, instant_for_writing(program));	/* to answer; not written: `at` may begin a history */
	store_close(store);
	if (!PG_ARGISNULL(3))
		name_member(member, PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		describe_member(member, PG_GETARG_JSONB_P(4));
	owner_restore(&caller);
	tier = config_tier(program, account->tier_id);
	values[0] = Int64GetDatum(member);
	values[1] = CStringGetTextDatum(program->name);
	values[2] = tier ? CStringGetTextDatum(tier->name) : (Datum) 0;
	nulls[2] = tier == NULL;
	values[3] = TimestampTzGetDatum(account->enrolled_at);
	return call_result(fcinfo, values, nulls);
}

/* ---- member_id ---- */

Datum
loyalty_member_id(PG_FUNCTION_ARGS)
{
	text	   *external_id = PG_ARGISNULL(0) ? cstring_to_text("") : PG_GETARG_TEXT_PP(0);
	const Program *program = config_program(call_text(fcinfo, 1));
	int64		member;

	member_check_name(text_to_cstring(external_id));
	if (member_find(external_id, &member))
		PG_RETURN_INT64(member);
	if (!program->automatic)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
				 errmsg("no member has external_id \"%s\"", text_to_cstring(external_id)),
				 errhint("Program \"%s\" enrolls explicitly: loyalty.enroll(…, external_id => …) says who it is.",
						 program->name)));
	PreventCommandIfReadOnly("loyalty.member_id()");
	PG_RETURN_INT64(member_create(external_id));
}

/* ---- block, unblock ---- */

Datum
loyalty_set_status(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	char	   *status = call_text(fcinfo, 1);
	const Program *program = config_program(call_text(fcinfo, 2));
	Intervention intervention = {.reason = call_text(fcinfo, 3)};
	Call		call;
	bool		changes;

	if (status == NULL || (strcmp(status, "blocked") != 0 && strcmp(status, "active") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("status is %s", status ? status : "null"),
				 errhint("It is active or blocked.")));
	intervention.action = strcmp(status, "blocked") == 0 ? "block" : "unblock";
	call_begin(&call, intervention.action, program, member);
	changes = strcmp(call.account->status, status) != 0;
	if (changes)
	{
		call_settle(&call);
		intervention.entry_no = ledger_set_status(call.account, status);
		call_intervene(&call, &intervention);
	}
	call_end(&call);
	PG_RETURN_BOOL(changes);
}
