/*
 * store_sql_lot.c
 *	  Lots: open ones in burn order, new ones, changed ones, and those of source keys.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store_sql.h"

#define FETCHED_LOTS	500

void
sql_read_lots(Account *account, int n)
{
	bool		first = account->nlots == 0 && account->read_entry_no == 0;
	/* entries are whole numbers: behind the one before open_from is at open_from */
	Datum		parameters[] = {
		Int64GetDatum(account->member_id),
		Int32GetDatum(account->program->id),
		TimestampTzGetDatum(first ? account->open_from_expires_at : account->read_expires_at),
		Int64GetDatum(first ? account->open_from_entry_no - 1 : account->read_entry_no),
		Int64GetDatum(n)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	uint64		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_READ_LOTS, parameters, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		Lot		   *lot;

		sql_row(i, values, nulls);
		lot = row_to_lot(values, nulls, account->context);
		account->read_expires_at = lot->expires_at;
		account->read_entry_no = lot->entry_no;
		ledger_take_lot(account, lot);
	}
	account->all_read = found < n;
	sql_leave(&call);
}

int
sql_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context, Lot **lots)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), TimestampTzGetDatum(expires_at),
		Int64GetDatum(entry_no), Int64GetDatum(n)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	found = (int) sql_run(account->store, SQL_READ_BACK, parameters, NULL);
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		lots[i] = row_to_lot(values, nulls, context);
	}
	sql_leave(&call);
	return found;
}

Lot *
sql_find_lot(Account *account, TimestampTz expires_at, int64 entry_no)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), TimestampTzGetDatum(expires_at),
		Int64GetDatum(entry_no)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	Lot		   *lot = NULL;

	sql_enter(&call);
	if (sql_run(account->store, SQL_FIND_LOT, parameters, NULL) > 0)
	{
		sql_row(0, values, nulls);
		lot = row_to_lot(values, nulls, account->context);
	}
	sql_leave(&call);
	return lot;
}

/* The other store asks so, too: it is rare. */
int
sql_read_moved(Account *account, int64 entry_no, LotPlace **places)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int64GetDatum(entry_no)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	found = (int) sql_run(account->store, SQL_READ_MOVED, parameters, NULL);
	if (found > 0)
		*places = MemoryContextAlloc(account->context, mul_size(found, sizeof(LotPlace)));
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		(*places)[i] = (LotPlace) {DatumGetTimestampTz(values[0]), DatumGetInt64(values[1])};
	}
	sql_leave(&call);
	return found;
}

void
sql_insert_lots(Account *account, Lot **lots, int n)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	for (int i = 0; i < n; i++)
	{
		lot_to_row(lots[i], values, nulls);
		sql_keep_row(store, STORE_LOT, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

/* One by one: Citus has no UPDATE … FROM unnest(…). */
void
sql_change_lots(Account *account, Lot **lots, int n)
{
	SqlCall		call;

	sql_enter(&call);
	for (int i = 0; i < n; i++)
	{
		const Lot  *lot = lots[i];
		Datum		values[] = {
			Int64GetDatum(lot->member_id), Int32GetDatum(lot->program_id), TimestampTzGetDatum(lot->expires_at),
			Int64GetDatum(lot->entry_no), Int64GetDatum(lot->remaining), Int64GetDatum(lot->owed),
			NumericGetDatum(lot->kept_amount), Int16GetDatum(lot->life)
		};
		bool		nulls[lengthof(values)] = {[6] = lot->kept_amount == NULL};
		uint64		changed;

		CHECK_FOR_INTERRUPTS();
		changed = sql_run(account->store, SQL_CHANGE_LOT, values, nulls);
		if (changed != 1)
			sql_refuse_change(STORE_LOT, lot->member_id, lot->entry_no, changed);
	}
	sql_leave(&call);
}

/* ---- source keys ---- */

/* Take the lots that the last statement found for one key, from row `first` on; nth 0: all, else those of keys[nth-1]. */
static uint64
take_lots(KeyLots *result, uint64 first, uint64 found, int64 nth, MemoryContext context)
{
	uint64		row = first;
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];

	*result = (KeyLots) {0};
	for (; row < found; row++)
	{
		sql_row(row, values, nulls);
		if (nth > 0 && DatumGetInt64(values[L_COUNT]) != nth)
			break;
		if (result->nlots % 8 == 0)
			result->lots = result->lots == NULL ? MemoryContextAlloc(context, 8 * sizeof(Lot *))
				: repalloc(result->lots, (result->nlots + 8) * sizeof(Lot *));
		result->lots[result->nlots++] = row_to_lot(values, nulls, context);
	}
	return row;
}

void
sql_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	Datum		parameters[2] = {Int32GetDatum(source_id)};
	SqlCall		call;

	sql_enter(&call);
	if (n > FEW_ROWS)
	{
		Datum	   *texts = palloc(mul_size(n, sizeof(Datum)));
		uint64		found;
		uint64		row = 0;

		for (int i = 0; i < n; i++)
			texts[i] = CStringGetTextDatum(keys[i]);
		parameters[1] = sql_array(texts, NULL, n, TEXTOID);
		found = sql_run(store, SQL_PROBE_KEYS, parameters, NULL);
		for (int i = 0; i < n; i++)
			row = take_lots(&results[i], row, found, i + 1, context);
		Assert(row == found);
	}
	else
		for (int i = 0; i < n; i++)
		{
			parameters[1] = CStringGetTextDatum(keys[i]);
			take_lots(&results[i], 0, sql_run(store, SQL_PROBE_KEY, parameters, NULL), 0, context);
		}
	sql_leave(&call);
}

/* ---- the lots of a source ---- */

void
sql_begin_source(Store *base, int32 source_id)
{
	SqlStore   *store = sql_of(base);
	SqlCall		call;

	sql_enter(&call);
	sql_write_rows(store);
	if (store->cursor)
		SPI_cursor_close(store->cursor);
	store->cursor = sql_cursor(base, SQL_READ_SOURCE, (Datum[]) {Int32GetDatum(source_id)});
	if (store->fetched == NULL)
		store->fetched = AllocSetContextCreate(base->context, "loyalty lots", ALLOCSET_DEFAULT_SIZES);
	store->nfetched = store->next_fetched = 0;
	sql_leave(&call);
}

/* The next rows of the cursor, as copies. */
static void
fetch_lots(SqlStore *store)
{
	SqlCall		call;

	MemoryContextReset(store->fetched);
	sql_enter(&call);
	SPI_cursor_fetch(store->cursor, true, FETCHED_LOTS);
	store->nfetched = SPI_processed;
	store->next_fetched = 0;
	MemoryContextSwitchTo(store->fetched);
	store->fetched_rows = palloc(FETCHED_LOTS * sizeof(HeapTuple));
	store->fetched_desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	for (int i = 0; i < store->nfetched; i++)
		store->fetched_rows[i] = heap_copytuple(SPI_tuptable->vals[i]);
	sql_leave(&call);
}

Lot *
sql_next_source_lot(Store *base, MemoryContext context)
{
	SqlStore   *store = sql_of(base);
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];

	if (store->next_fetched == store->nfetched)
		fetch_lots(store);
	if (store->nfetched == 0)
		return NULL;
	heap_deform_tuple(store->fetched_rows[store->next_fetched++], store->fetched_desc, values, nulls);
	return row_to_lot(values, nulls, context);
}
