/*
 * store_sql.c
 *	  The ledger's tables through SQL: where they are more than plain tables, and as the plain statement of what
 *	  store_heap must do.
 *
 * Rules:
 * - Nothing here decides anything about points.
 * - Accounts are locked by one statement each, in the order given: two statements never wait for each other in a ring,
 *	 and under Citus each goes to one shard.
 * - Every command has a snapshot of its own, taken when it begins: what is read after a lock is what the last holder
 *	 of that lock committed.
 * - New rows are kept back and written many at a time, by arrays; few are written one by one, which is faster then.
 *	 What is kept back is a copy.
 * - What leaves a function lies in the caller's memory: SPI's own goes with sql_leave().
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "store_sql.h"

#define KEPT_ROWS	500
#define FEW_ROWS	4			/* up to here a statement a row costs less than one with arrays */
#define ENROLL_TRIES 1000

/* Rows of one table that are kept back, column by column. */
typedef struct SqlRows
{
	int			n;
	Datum	   *values[STORE_MAX_COLUMNS];
	bool	   *nulls[STORE_MAX_COLUMNS];
} SqlRows;

typedef struct SqlStore
{
	Store		base;
	MemoryContext kept;			/* of what rows point to */
	SqlRows		rows[STORE_TABLES];
} SqlStore;

static void write_rows(SqlStore *store);
static void keep_row(SqlStore *store, StoreTableId id, const Datum *values, const bool *nulls);
static Datum column_array(const Datum *values, const bool *nulls, int n, Oid type);

static inline SqlStore *
sql_of(Store *store)
{
	return (SqlStore *) store;
}

static void
sql_open(Store *base)
{
	sql_of(base)->kept = AllocSetContextCreate(base->context, "loyalty rows", ALLOCSET_DEFAULT_SIZES);
}

static void
sql_close(Store *base)
{
	Assert(base->reader || sql_of(base)->kept != NULL);
}

/* The database keeps all indexes; accounts are stored once, see lock_accounts. */
static void
sql_hope(Store *base)
{
}

/* ---- accounts ---- */

static bool
find_account(Store *store, SqlStatement statement, Account *account)
{
	Datum		parameters[] = {Int64GetDatum(account->member_id), Int32GetDatum(account->program->id)};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];

	if (sql_run(store, statement, parameters, NULL) == 0)
		return false;
	sql_row(0, values, nulls);
	row_to_account(values, nulls, account);
	return true;
}

/* false when another session has enrolled the member first */
static bool
write_new_account(Store *store, SqlStatement statement, Account *account)
{
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];

	account_to_row(account, values, nulls);
	account->stored = sql_run(store, statement, values, nulls) == 1;
	return account->stored;
}

/* Lock an account, or enroll it; false when it is not there and not to be enrolled. */
static bool
lock_or_enroll(Store *store, Account *account, TimestampTz enrolled_at)
{
	for (int i = 0; i < ENROLL_TRIES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (find_account(store, SQL_LOCK_ACCOUNT, account))
			return true;
		if (enrolled_at == DT_NOEND)
			return false;
		ledger_enroll(account, enrolled_at);
		/* hoping, it is written when its work is done; else now, unless somebody else was first */
		if (store->hoping || write_new_account(store, SQL_ENROLL_ACCOUNT, account))
			return true;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
			 errmsg("account of member " INT64_FORMAT " can neither be written nor found", account->member_id),
			 errdetail("%d tries were made.", ENROLL_TRIES),
			 errhint("A trigger or policy on loyalty.account hides rows from the ledger's owner; take it away.")));
	return false;
}

static void
sql_lock_accounts(Store *store, const Program *program, int n, const int64 *members, const TimestampTz *enrolled_at,
				  MemoryContext context, Account **accounts)
{
	SqlCall		call;

	sql_enter(&call);
	if (!store->hoping || n == 0)
		write_rows(sql_of(store));
	for (int i = 0; i < n; i++)
	{
		Assert(i == 0 || members[i - 1] < members[i]);
		accounts[i] = row_new_account(store, program, members[i], context);
		if (!lock_or_enroll(store, accounts[i], enrolled_at ? enrolled_at[i] : DT_NOEND))
			accounts[i] = NULL;
	}
	sql_leave(&call);
}

static Account *
account_by(Store *store, SqlStatement statement, const Program *program, int64 member, MemoryContext context)
{
	Account    *account = row_new_account(store, program, member, context);
	SqlCall		call;
	bool		found;

	sql_enter(&call);
	write_rows(sql_of(store));
	found = find_account(store, statement, account);
	sql_leave(&call);
	return found ? account : NULL;
}

static Account *
sql_read_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	return account_by(store, SQL_READ_ACCOUNT, program, member, context);
}

static Account *
sql_try_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	return account_by(store, SQL_TRY_ACCOUNT, program, member, context);
}

static int
sql_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts)
{
	Datum		parameters[] = {Int64GetDatum(after_member), Int32GetDatum(after_program), Int64GetDatum(n)};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	write_rows(sql_of(store));
	found = (int) sql_run(store, SQL_WALK_ACCOUNTS, parameters, NULL);
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		accounts[i] = (AccountAt) {
			.member_id = DatumGetInt64(values[A_MEMBER_ID]),
			.program_id = DatumGetInt32(values[A_PROGRAM_ID]),
			.next_change_at = DatumGetTimestampTz(values[A_NEXT_CHANGE_AT])
		};
	}
	sql_leave(&call);
	return found;
}

/* One by one, as they were locked. */
static void
sql_read_members(Store *store, Account **accounts, int n)
{
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;

	sql_enter(&call);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (accounts[i] == NULL)
			continue;
		values[0] = Int64GetDatum(accounts[i]->member_id);
		if (sql_run(store, SQL_READ_MEMBER, values, NULL) == 0)
			continue;
		sql_row(0, values, nulls);
		row_to_member(values, nulls, accounts[i]);
	}
	sql_leave(&call);
}

static void
refuse_change(StoreTableId id, int64 member, int64 entry_no, uint64 changed)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
			 errmsg("a row of loyalty.%s changed although its account is locked", store_layout[id].name),
			 entry_no ? errdetail("Of lot " INT64_FORMAT " of member " INT64_FORMAT " %llu rows were changed.", entry_no,
								  member, (unsigned long long) changed)
			 : errdetail("Of the account of member " INT64_FORMAT " %llu rows were changed.", member,
						 (unsigned long long) changed),
			 errhint("Something writes to the ledger beside the extension; call SELECT * FROM loyalty.verify().")));
}

static void
sql_change_account(Account *account)
{
	Store	   *store = account->store;
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];
	SqlCall		call;
	uint64		changed;

	sql_enter(&call);
	if (account->stored)
	{
		account_to_row(account, values, nulls);
		changed = sql_run(store, SQL_CHANGE_ACCOUNT, values, nulls);
	}
	else
		changed = write_new_account(store, SQL_INSERT_ROW + STORE_ACCOUNT, account);
	if (changed != 1)
		refuse_change(STORE_ACCOUNT, account->member_id, 0, changed);
	sql_leave(&call);
}

/* ---- lots ---- */

static void
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

static void
sql_insert_lots(Account *account, Lot **lots, int n)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	for (int i = 0; i < n; i++)
	{
		lot_to_row(lots[i], values, nulls);
		keep_row(store, STORE_LOT, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

/* One by one: Citus has no UPDATE … FROM unnest(…). */
static void
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
			NumericGetDatum(lot->kept_amount)
		};
		bool		nulls[lengthof(values)] = {[6] = lot->kept_amount == NULL};
		uint64		changed;

		CHECK_FOR_INTERRUPTS();
		changed = sql_run(account->store, SQL_CHANGE_LOT, values, nulls);
		if (changed != 1)
			refuse_change(STORE_LOT, lot->member_id, lot->entry_no, changed);
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

static void
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
		parameters[1] = column_array(texts, NULL, n, TEXTOID);
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

static bool
sql_keys_fresh(Store *store, int32 source_id, const char *low, const char *high)
{
	SqlCall		call;
	uint64		found;

	sql_enter(&call);
	found = sql_run(store, SQL_FIND_KEY,
					(Datum[]) {Int32GetDatum(source_id), CStringGetTextDatum(low), CStringGetTextDatum(high)}, NULL);
	sql_leave(&call);
	return found == 0;
}

/* ---- movements, tier changes, redemptions, requests ---- */

static void
sql_insert_movements(Account *account, const Movement *movements, int n)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[M_COUNT];
	bool		nulls[M_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	for (int i = 0; i < n; i++)
	{
		movement_to_row(account, &movements[i], values, nulls);
		keep_row(store, STORE_MOVEMENT, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

static void
sql_insert_tier_changes(Account *account, const TierChange *changes, int n)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[T_COUNT];
	bool		nulls[T_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	for (int i = 0; i < n; i++)
	{
		tier_change_to_row(account, &changes[i], values, nulls);
		keep_row(store, STORE_TIER_CHANGE, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

static void
sql_insert_redemption(Account *account, const Redemption *redemption)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[R_COUNT];
	bool		nulls[R_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	redemption_to_row(account, redemption, values, nulls);
	keep_row(store, STORE_REDEMPTION, values, nulls);
	MemoryContextSwitchTo(old);
}

static bool
sql_find_redemption(Account *account, int64 redemption_id, Redemption *redemption)
{
	Datum		values[STORE_MAX_COLUMNS] = {Int64GetDatum(account->member_id), Int64GetDatum(redemption_id)};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	bool		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_FIND_REDEMPTION, values, NULL) > 0;
	if (found)
	{
		sql_row(0, values, nulls);
		MemoryContextSwitchTo(call.context);
		row_to_redemption(values, nulls, redemption);
	}
	sql_leave(&call);
	return found;
}

static void
sql_insert_request(Account *account, const Request *request)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[Q_COUNT];
	bool		nulls[Q_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	request_to_row(account, request, values, nulls);
	keep_row(store, STORE_REQUEST, values, nulls);
	MemoryContextSwitchTo(old);
}

static bool
sql_find_request(Account *account, const char *key, Request *request)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), CStringGetTextDatum(key)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	bool		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_FIND_REQUEST, values, NULL) > 0;
	if (found)
	{
		sql_row(0, values, nulls);
		MemoryContextSwitchTo(call.context);
		row_to_request(values, nulls, key, request);
	}
	sql_leave(&call);
	return found;
}

/* ---- rows that are kept back ---- */

/* The caller is in the memory of kept rows. */
static void
keep_row(SqlStore *store, StoreTableId id, const Datum *values, const bool *nulls)
{
	const StoreLayout *layout = &store_layout[id];
	SqlRows    *rows = &store->rows[id];

	Assert(CurrentMemoryContext == store->kept);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		int16		length;
		bool		byval;

		if (rows->values[i] == NULL)
		{
			rows->values[i] = MemoryContextAlloc(store->base.context, KEPT_ROWS * sizeof(Datum));
			rows->nulls[i] = MemoryContextAlloc(store->base.context, KEPT_ROWS * sizeof(bool));
		}
		get_typlenbyval(layout->columns[i].type, &length, &byval);
		rows->nulls[i][rows->n] = nulls[i];
		rows->values[i][rows->n] = nulls[i] ? (Datum) 0 : datumCopy(values[i], byval, length);
	}
	if (++rows->n == KEPT_ROWS)
	{
		SqlCall		call;

		sql_enter(&call);
		write_rows(store);
		sql_leave(&call);
	}
}

static Datum
column_array(const Datum *values, const bool *nulls, int n, Oid type)
{
	int			lower = 1;
	int16		length;
	bool		byval;
	char		align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(unconstify(Datum *, values), unconstify(bool *, nulls), 1, &n, &lower,
											  type, length, byval, align));
}

static void
write_table(SqlStore *store, StoreTableId id)
{
	const StoreLayout *layout = &store_layout[id];
	SqlRows    *rows = &store->rows[id];
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	int			n = rows->n;
	uint64		written = 0;

	rows->n = 0;
	if (n > FEW_ROWS)
	{
		for (int i = 0; i < layout->ncolumns; i++)
			values[i] = column_array(rows->values[i], rows->nulls[i], n, layout->columns[i].type);
		written = sql_run(&store->base, SQL_INSERT_ROWS + id, values, NULL);
	}
	else
		for (int r = 0; r < n; r++)
		{
			for (int i = 0; i < layout->ncolumns; i++)
			{
				values[i] = rows->values[i][r];
				nulls[i] = rows->nulls[i][r];
			}
			written += sql_run(&store->base, SQL_INSERT_ROW + id, values, nulls);
		}
	if (written != n)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("rows of loyalty.%s were not written", layout->name),
				 errdetail("Of %d rows %llu were written.", n, (unsigned long long) written),
				 errhint("A trigger or rule on the table swallows them; take it away.")));
}

/* Between sql_enter() and sql_leave(). */
static void
write_rows(SqlStore *store)
{
	bool		any = false;

	for (int i = 0; i < STORE_TABLES; i++)
		if (store->rows[i].n > 0)
		{
			any = true;
			write_table(store, i);
		}
	if (any)
		MemoryContextReset(store->kept);
}

static void
sql_flush(Store *base)
{
	SqlStore   *store = sql_of(base);
	bool		any = false;
	SqlCall		call;

	for (int i = 0; i < STORE_TABLES; i++)
		any |= store->rows[i].n > 0;
	if (!any)
		return;
	sql_enter(&call);
	write_rows(store);
	sql_leave(&call);
}

const StoreOps store_sql = {
	.name = "sql",
	.size = sizeof(SqlStore),
	.open = sql_open,
	.close = sql_close,
	.hope = sql_hope,
	.flush = sql_flush,
	.lock_accounts = sql_lock_accounts,
	.read_account = sql_read_account,
	.try_account = sql_try_account,
	.walk_accounts = sql_walk_accounts,
	.read_members = sql_read_members,
	.change_account = sql_change_account,
	.read_lots = sql_read_lots,
	.probe_keys = sql_probe_keys,
	.keys_fresh = sql_keys_fresh,
	.insert_lots = sql_insert_lots,
	.change_lots = sql_change_lots,
	.insert_movements = sql_insert_movements,
	.insert_tier_changes = sql_insert_tier_changes,
	.insert_redemption = sql_insert_redemption,
	.find_redemption = sql_find_redemption,
	.insert_request = sql_insert_request,
	.find_request = sql_find_request,
};
