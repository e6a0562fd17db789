/*
 * store_sql_counter.c
 *	  Counters and visits: found by bucket or by name, written one by one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store_sql.h"

int
sql_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n, Counter **counters)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), TimestampTzGetDatum(bucket),
		Int32GetDatum(metric), TimestampTzGetDatum(until), Int64GetDatum(n)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	found = (int) sql_run(account->store, SQL_READ_COUNTERS, parameters, NULL);
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		counters[i] = row_to_counter(values, account->context);
	}
	sql_leave(&call);
	return found;
}

/* A row that is stored is changed, one that is not is inserted. */
static void
put_row(Account *account, StoreTableId id, SqlStatement change, bool *stored, const Datum *values, const bool *nulls)
{
	uint64		changed = sql_run(account->store, *stored ? change : SQL_INSERT_ROW + id, values, nulls);

	if (changed != 1)
		sql_refuse_change(id, account->member_id, 0, changed);
	*stored = true;
}

void
sql_change_counter(Account *account, Counter *counter)
{
	Datum		values[C_COUNT];
	bool		nulls[C_COUNT];
	SqlCall		call;

	sql_enter(&call);
	counter_to_row(account, counter, values, nulls);
	put_row(account, STORE_COUNTER, SQL_CHANGE_COUNTER, &counter->stored, values, nulls);
	sql_leave(&call);
}

int
sql_read_visits(Account *account, const char *visit, Visit ***visits)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), CStringGetTextDatum(visit)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	found = (int) sql_run(account->store, SQL_READ_VISITS, parameters, NULL);
	*visits = found == 0 ? NULL : MemoryContextAlloc(account->context, mul_size(found, sizeof(Visit *)));
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		(*visits)[i] = row_to_visit(values, account->context);
	}
	sql_leave(&call);
	return found;
}

void
sql_change_visit(Account *account, Visit *visit)
{
	Datum		values[V_COUNT];
	bool		nulls[V_COUNT];
	SqlCall		call;

	sql_enter(&call);
	visit_to_row(account, visit, values, nulls);
	put_row(account, STORE_VISIT, SQL_CHANGE_VISIT, &visit->stored, values, nulls);
	sql_leave(&call);
}

bool
sql_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(source_id),
		CStringGetTextDatum(source_key)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	bool		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_FIND_VISIT_OF, parameters, NULL) > 0;
	if (found)
	{
		sql_row(0, values, nulls);
		of->visit = nulls[W_VISIT] ? NULL : MemoryContextStrdup(account->context, TextDatumGetCString(values[W_VISIT]));
	}
	sql_leave(&call);
	return found;
}

void
sql_insert_visit_of(Account *account, const VisitOf *of)
{
	Datum		values[W_COUNT];
	bool		nulls[W_COUNT];
	SqlCall		call;
	uint64		written;

	sql_enter(&call);
	visit_of_to_row(account, of, values, nulls);
	written = sql_run(account->store, SQL_INSERT_ROW + STORE_VISIT_OF, values, nulls);
	if (written != 1)
		sql_refuse_change(STORE_VISIT_OF, account->member_id, 0, written);
	sql_leave(&call);
}
