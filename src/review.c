/*
 * review.c
 *	  Errors of rules that must not stop a sale.
 *
 * Only evaluation runs under review_guard(), never a write to the ledger: nothing can be half done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "owner.h"
#include "review.h"

static bool
must_stop(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_QUERY_CANCELED) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR);
}

ErrorData *
review_guard(ReviewWork work, void *pass, void *item)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(pass, item);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		/* whoever catches it rolls back a subtransaction of his own, which must be the innermost again */
		if (must_stop(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* the message, and the rule or mapping that it comes from: the first line of the context */
static char *
describe(const ErrorData *error)
{
	const char *message = error->message ? error->message : "";
	const char *context = error->context ? error->context : "";
	int			length = strcspn(context, "\n");

	return length == 0 ? pstrdup(message) : psprintf("%s (%.*s)", message, length, context);
}

void
review_add(const Source *source, int64 member, const char *key, const ErrorData *error)
{
	Oid			types[] = {INT8OID, INT4OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		Int64GetDatum(member), Int32GetDatum(source->id), CStringGetTextDatum(key ? key : ""),
		CStringGetTextDatum(describe(error)),
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode))
	};
	OwnerSwitch owner;

	owner_become(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO loyalty.review (member_id, source_id, source_key, error, sqlstate)"
							  " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (source_id, source_key, posted_at)"
							  " DO UPDATE SET error = excluded.error, sqlstate = excluded.sqlstate, settled_at = NULL", 5, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not list a purchase for review");
	SPI_finish();
	owner_restore(&owner);
}
