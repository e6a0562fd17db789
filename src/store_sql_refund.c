/*
 * store_sql_refund.c
 *	  Refunds: by the row that is one, by the purchase that it names, written and taken away.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "store_sql.h"

/* What was kept back is written before it is looked for. */
static void
enter_writing(Store *base, SqlCall *call)
{
	sql_enter(call);
	if (!base->reader && sql_of(base)->rows[STORE_REFUND].n > 0)
		sql_write_rows(sql_of(base));
}

void
sql_find_refunds(Store *base, bool of_purchase, int32 source_id, const char *key, MemoryContext context, Refunds *found)
{
	Datum		values[STORE_MAX_COLUMNS] = {Int32GetDatum(source_id), CStringGetTextDatum(key)};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;

	enter_writing(base, &call);
	found->n = (int) sql_run(base, of_purchase ? SQL_FIND_REFUNDS_OF : SQL_FIND_REFUNDS, values, NULL);
	found->rows = found->n == 0 ? NULL : MemoryContextAlloc(context, mul_size(found->n, sizeof(Refund *)));
	for (int i = 0; i < found->n; i++)
	{
		sql_row(i, values, nulls);
		found->rows[i] = row_to_refund(values, nulls, context);
	}
	sql_leave(&call);
}

int
sql_read_refunds(Store *base, int32 source_id, const char *after_key, int32 after_part, int n, MemoryContext context,
				 Refund **refunds)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int32GetDatum(source_id), CStringGetTextDatum(after_key), Int32GetDatum(after_part), Int64GetDatum(n)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	enter_writing(base, &call);
	found = (int) sql_run(base, SQL_READ_REFUNDS, values, NULL);
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		refunds[i] = row_to_refund(values, nulls, context);
	}
	sql_leave(&call);
	return found;
}

void
sql_insert_refund(Store *base, const Refund *refund)
{
	SqlStore   *store = sql_of(base);
	Datum		values[F_COUNT];
	bool		nulls[F_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	refund_to_row(refund, values, nulls);
	sql_keep_row(store, STORE_REFUND, values, nulls);
	MemoryContextSwitchTo(old);
}

void
sql_delete_refund(Store *base, const Refund *refund)
{
	Datum		values[] = {
		Int64GetDatum(refund->member_id), Int32GetDatum(refund->source_id), CStringGetTextDatum(refund->source_key),
		Int32GetDatum(refund->part)
	};
	SqlCall		call;

	enter_writing(base, &call);
	if (sql_run(base, SQL_DELETE_REFUND, values, NULL) != 1)
		store_refuse_refund(refund);
	sql_leave(&call);
}
