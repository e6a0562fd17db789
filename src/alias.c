/*
 * alias.c
 *	  Other names of members by hand: cards, partner ids.
 *
 * A name belongs to one member; whose it is is not said.  It can be taken away when it was given by
 * mistake: purchases that carry it are then those of whoever has it next.  A lost card keeps its name, and its successor is
 * one more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "call.h"
#include "errcodes.h"
#include "member.h"

PG_FUNCTION_INFO_V1(loyalty_add_alias);
PG_FUNCTION_INFO_V1(loyalty_remove_alias);

#define EQ " OPERATOR(pg_catalog.=) "

static text *
name_argument(FunctionCallInfo fcinfo)
{
	text	   *external_id = PG_ARGISNULL(1) ? cstring_to_text("") : PG_GETARG_TEXT_PP(1);

	member_check_name(text_to_cstring(external_id));
	return external_id;
}

/* How many rows a statement on one member and one name finds or changes. */
static uint64
run(const char *sql, int64 member, text *external_id)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(member), PointerGetDatum(external_id)};
	uint64		n;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, 2, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	n = SPI_processed;
	SPI_finish();
	return n;
}

static void
check_known(int64 member, text *external_id)
{
	if (run("SELECT FROM loyalty.account a WHERE a.member_id" EQ "$1"
			" UNION ALL SELECT FROM loyalty.member m WHERE m.member_id" EQ "$1 AND $2 IS NOT NULL LIMIT 1", member, external_id) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
				 errmsg("member " INT64_FORMAT " is not known", member),
				 errhint("The first purchase enrolls a member, or loyalty.enroll().")));
}

/* add_alias(member_id, external_id): false when the member has the name already */
Datum
loyalty_add_alias(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	text	   *external_id = name_argument(fcinfo);
	int64		other;
	OwnerSwitch caller;
	bool		added;

	PreventCommandIfReadOnly("loyalty.add_alias()");
	owner_become(&caller);
	check_known(member, external_id);
	owner_restore(&caller);
	added = member_add_name(member, external_id);
	if (!added && (!member_find(external_id, &other) || other != member))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("external_id \"%s\" belongs to another member", text_to_cstring(external_id)),
				 errhint("loyalty.remove_alias() takes it away there; loyalty.merge_members() makes one of two members.")));
	PG_RETURN_BOOL(added);
}

/* remove_alias(member_id, external_id): false when the member has no such name */
Datum
loyalty_remove_alias(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	text	   *external_id = name_argument(fcinfo);
	OwnerSwitch caller;
	bool		removed;

	PreventCommandIfReadOnly("loyalty.remove_alias()");
	owner_become(&caller);
	removed = run("DELETE FROM loyalty.member_alias a WHERE a.member_id" EQ "$1 AND a.external_id" EQ "$2", member, external_id) > 0;
	owner_restore(&caller);
	PG_RETURN_BOOL(removed);
}
