/*
 * enroll.c
 *	  Members: enrolment by hand, their other names, blocking.
 *
 * Another name (a card number, an e-mail's hash) belongs to one member for ever; who else it belongs to is not said.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "call.h"
#include "enroll.h"
#include "errcodes.h"
#include "instant.h"

PG_FUNCTION_INFO_V1(loyalty_enroll);
PG_FUNCTION_INFO_V1(loyalty_member_id);
PG_FUNCTION_INFO_V1(loyalty_set_status);

#define EXTERNAL_ID_LIMIT	500	/* bytes */

/* ---- names and attributes, as the ledger's owner ---- */

static uint64
run(const char *sql, int nargs, Oid *types, Datum *values, int expected)
{
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) != expected)
		elog(ERROR, "could not write a member: %s", sql);
	return SPI_processed;
}

static void
check_external_id(const char *external_id)
{
	if (*external_id == '\0' || strlen(external_id) > EXTERNAL_ID_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("external_id has %zu bytes", strlen(external_id)),
				 errdetail("It has 1 to %d bytes.", EXTERNAL_ID_LIMIT)));
}

/* The member of an external id; false when there is none. */
static bool
find_alias(text *external_id, int64 *member)
{
	static SPIPlanPtr plan = NULL;	/* asked for every purchase of a source whose members are texts */
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PointerGetDatum(external_id)};
	bool		isnull;

	if (plan == NULL)
	{
		plan = SPI_prepare("SELECT a.member_id FROM loyalty.member_alias a WHERE a.external_id OPERATOR(pg_catalog.=) $1",
						   1, types);
		SPI_keepplan(plan);
	}
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read loyalty.member_alias");
	if (SPI_processed == 0)
		return false;
	*member = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}

/* Whoever comes second waits for the first, and finds the name taken. */
static bool
add_alias(int64 member, text *external_id)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(member), PointerGetDatum(external_id)};

	return run("INSERT INTO loyalty.member_alias (member_id, external_id) VALUES ($1, $2) ON CONFLICT (external_id) DO NOTHING",
			   2, types, values, SPI_OK_INSERT) > 0;
}

static void
name_member(int64 member, text *external_id)
{
	int64		other = member;

	check_external_id(text_to_cstring(external_id));
	if (!add_alias(member, external_id) && (!find_alias(external_id, &other) || other != member))
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
	run("INSERT INTO loyalty.member AS m (member_id, attributes, birth_date)"
		" VALUES ($1, $2 OPERATOR(pg_catalog.-) 'birth_date'::pg_catalog.text,"
		"  ($2 OPERATOR(pg_catalog.->>) 'birth_date'::pg_catalog.text)::pg_catalog.date)"
		" ON CONFLICT (member_id) DO UPDATE SET"
		"  attributes = m.attributes OPERATOR(pg_catalog.||) excluded.attributes,"
		"  birth_date = CASE WHEN $2 OPERATOR(pg_catalog.?) 'birth_date'::pg_catalog.text"
		"   THEN excluded.birth_date ELSE m.birth_date END",
		2, types, values, SPI_OK_INSERT);
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
	owner_become(&caller);
	store = store_open(instant_for_writing(program));
	store_lock_accounts(store, program, 1, &member, &at, CurrentMemoryContext, &account);
	ledger_settle(account, instant_for_writing(program));	/* to answer; not written: `at` may begin a history */
	store_close(store);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!PG_ARGISNULL(3))
		name_member(member, PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		describe_member(member, PG_GETARG_JSONB_P(4));
	SPI_finish();
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

/* A member that nobody has numbered: from 10^15 on, where applications do not number. */
static int64
create_member(text *external_id)
{
	bool		isnull;
	int64		member;

	run("SELECT pg_catalog.nextval('loyalty.member_number'::pg_catalog.regclass)", 0, NULL, NULL, SPI_OK_SELECT);
	member = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (!add_alias(member, external_id) && !find_alias(external_id, &member))
		elog(ERROR, "external_id came and went");
	return member;
}

bool
enroll_find(const Program *program, text *external_id, bool create, int64 *member)
{
	OwnerSwitch caller;
	bool		found;

	check_external_id(text_to_cstring(external_id));
	owner_become(&caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	found = find_alias(external_id, member);
	if (!found && create && program->automatic)
	{
		PreventCommandIfReadOnly("loyalty.member_id()");
		*member = create_member(external_id);
		found = true;
	}
	SPI_finish();
	owner_restore(&caller);
	return found;
}

Datum
loyalty_member_id(PG_FUNCTION_ARGS)
{
	text	   *external_id = PG_ARGISNULL(0) ? cstring_to_text("") : PG_GETARG_TEXT_PP(0);
	const Program *program = config_program(call_text(fcinfo, 1));
	int64		member;

	if (!enroll_find(program, external_id, true, &member))
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
				 errmsg("no member has external_id \"%s\"", text_to_cstring(external_id)),
				 errhint("Program \"%s\" enrolls explicitly: loyalty.enroll(…, external_id => …) says who it is.",
						 program->name)));
	PG_RETURN_INT64(member);
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
