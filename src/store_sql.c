/*
 * store_sql.c
 *	  The ledger's tables through SQL: where they are more than plain tables, and as the plain statement of what
 *	  store_heap must do.
 *
 * Rules, of the files store_sql_*.c too:
 * - Nothing here decides anything about points.
 * - Every command has a snapshot of its own, taken when it begins: what is read after a lock is what the last holder
 *	 of that lock committed.
 * - New rows are kept back and written many at a time, by arrays; few are written one by one, which is faster then.
 *	 What is kept back is a copy.
 * - What leaves a function lies in the caller's memory: SPI's own goes with sql_leave().
 */
#include "postgres.h"

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

static void
sql_open(Store *base)
{
	sql_of(base)->kept = AllocSetContextCreate(base->context, "loyalty rows", ALLOCSET_DEFAULT_SIZES);
}

static void
sql_close(Store *base)
{
	if (sql_of(base)->cursor)
		SPI_cursor_close(sql_of(base)->cursor);
}

/* The database fills all indexes; a new account is stored when it is written, see lock_or_enroll(). */
static void
sql_hope(Store *base)
{
}

/* ---- rows that are kept back ---- */

/* The caller is in the memory of kept rows. */
void
sql_keep_row(SqlStore *store, StoreTableId id, const Datum *values, const bool *nulls)
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
		sql_write_rows(store);
		sql_leave(&call);
	}
}

Datum
sql_array(const Datum *values, const bool *nulls, int n, Oid type)
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
			values[i] = sql_array(rows->values[i], rows->nulls[i], n, layout->columns[i].type);
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
void
sql_write_rows(SqlStore *store)
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
	sql_write_rows(store);
	sql_leave(&call);
}

/* ---- movements, debts, tier changes ---- */

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
		sql_keep_row(store, STORE_MOVEMENT, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

static int
sql_read_origin(Account *account, int64 origin, Movement **movements)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int64GetDatum(origin)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	uint64		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_READ_ORIGIN, parameters, NULL);
	*movements = found == 0 ? NULL : MemoryContextAlloc(account->context, mul_size(found, sizeof(Movement)));
	for (uint64 i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		row_to_movement(values, nulls, *movements + i);
	}
	sql_leave(&call);
	return found;
}

static void
sql_read_debts(Account *account)
{
	Datum		parameters[] = {Int64GetDatum(account->member_id), Int32GetDatum(account->program->id)};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	uint64		found;

	sql_enter(&call);
	found = sql_run(account->store, SQL_READ_DEBTS, parameters, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		ledger_take_debt(account, row_to_debt(values, account->context));
	}
	sql_leave(&call);
}

static void
sql_insert_debts(Account *account, Debt **debts, int n)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[D_COUNT];
	bool		nulls[D_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	for (int i = 0; i < n; i++)
	{
		debt_to_row(account, debts[i], values, nulls);
		sql_keep_row(store, STORE_DEBT, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

static void
sql_change_debts(Account *account, Debt **debts, int n)
{
	SqlCall		call;

	sql_enter(&call);
	for (int i = 0; i < n; i++)
	{
		Datum		values[] = {
			Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int64GetDatum(debts[i]->entry_no),
			Int64GetDatum(debts[i]->left)
		};
		uint64		changed;

		CHECK_FOR_INTERRUPTS();
		changed = sql_run(account->store, SQL_CHANGE_DEBT, values, NULL);
		if (changed != 1)
			sql_refuse_change(STORE_DEBT, account->member_id, debts[i]->entry_no, changed);
	}
	sql_leave(&call);
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
		sql_keep_row(store, STORE_TIER_CHANGE, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

/* ---- usage of limits ---- */

static void
sql_read_usage(Account *account, Usage *usage)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(usage->rule_id),
		TimestampTzGetDatum(usage->period_start), TimestampTzGetDatum(usage->period_end)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;

	sql_enter(&call);
	if (sql_run(account->store, SQL_READ_USAGE, values, NULL) > 0)
	{
		sql_row(0, values, nulls);
		row_to_usage(values, nulls, usage);
	}
	sql_leave(&call);
}

static void
sql_change_usage(Account *account, Usage *usage)
{
	Datum		values[U_COUNT];
	bool		nulls[U_COUNT];
	SqlCall		call;
	uint64		changed;

	sql_enter(&call);
	if (usage->stored)
	{
		Datum		parameters[] = {
			Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(usage->rule_id),
			TimestampTzGetDatum(usage->period_start), TimestampTzGetDatum(usage->period_end), Int64GetDatum(usage->used),
			Int32GetDatum(usage->uses)
		};

		changed = sql_run(account->store, SQL_CHANGE_USAGE, parameters, NULL);
	}
	else
	{
		usage_to_row(account, usage, values, nulls);
		changed = sql_run(account->store, SQL_INSERT_ROW + STORE_USAGE, values, nulls);
		usage->stored = true;
	}
	if (changed != 1)
		sql_refuse_change(STORE_USAGE, account->member_id, 0, changed);
	sql_leave(&call);
}

static int
sql_read_uses(Account *account, int32 rule_id, TimestampTz from, TimestampTz to, Usage **usages)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(rule_id),
		TimestampTzGetDatum(from), TimestampTzGetDatum(to)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	MemoryContext inner;
	uint64		n;

	sql_enter(&call);
	n = sql_run(account->store, SQL_READ_USES, values, NULL);
	inner = MemoryContextSwitchTo(call.context);
	for (uint64 i = 0; i < n; i++)
	{
		sql_row(i, values, nulls);
		row_append_usage(values, nulls, usages, i);
	}
	MemoryContextSwitchTo(inner);
	sql_leave(&call);
	return n;
}

/* ---- redemptions, requests ---- */

static void
sql_insert_redemption(Account *account, const Redemption *redemption)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[R_COUNT];
	bool		nulls[R_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	redemption_to_row(account, redemption, values, nulls);
	sql_keep_row(store, STORE_REDEMPTION, values, nulls);
	MemoryContextSwitchTo(old);
}

static Redemption *
sql_find_redemption(Store *store, int64 member, int64 redemption_id, MemoryContext context)
{
	Datum		values[STORE_MAX_COLUMNS] = {Int64GetDatum(member), Int64GetDatum(redemption_id)};
	bool		nulls[STORE_MAX_COLUMNS];
	Redemption *redemption = NULL;
	SqlCall		call;

	sql_enter(&call);
	sql_write_rows(sql_of(store));
	if (sql_run(store, SQL_FIND_REDEMPTION, values, NULL) > 0)
	{
		sql_row(0, values, nulls);
		redemption = row_to_redemption(values, nulls, context);
	}
	sql_leave(&call);
	return redemption;
}

static void
read_redemptions(Account *account, SqlStatement statement, const Datum *parameters)
{
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	uint64		found;
	SqlCall		call;

	sql_enter(&call);
	sql_write_rows(sql_of(account->store));
	found = sql_run(account->store, statement, parameters, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		ledger_take_redemption(account, row_to_redemption(values, nulls, account->context));
	}
	sql_leave(&call);
}

static void
sql_read_holds(Account *account)
{
	read_redemptions(account, SQL_READ_HOLDS,
					 (Datum[]) {Int64GetDatum(account->member_id), Int32GetDatum(account->program->id)});
}

static void
sql_read_spent(Account *account, int32 source_id, const char *source_key)
{
	read_redemptions(account, SQL_READ_SPENT,
					 (Datum[]) {Int64GetDatum(account->member_id), Int32GetDatum(source_id), CStringGetTextDatum(source_key)});
}

static void
sql_change_redemption(Account *account, Redemption *redemption)
{
	Datum		values[] = {
		Int64GetDatum(account->member_id), Int64GetDatum(redemption->redemption_id),
		CStringGetTextDatum(redemption_state_names[redemption->state]), Int64GetDatum(redemption->taken),
		TimestampTzGetDatum(redemption->changed_at)
	};
	SqlCall		call;
	uint64		changed;

	sql_enter(&call);
	changed = sql_run(account->store, SQL_CHANGE_REDEMPTION, values, NULL);
	if (changed != 1)
		sql_refuse_change(STORE_REDEMPTION, account->member_id, 0, changed);
	sql_leave(&call);
}

static int
sql_read_taking(Account *account, const Redemption *redemption, Movement **movements)
{
	Datum		parameters[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int64GetDatum(redemption->first_entry),
		Int64GetDatum(redemption->last_entry)
	};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	uint64		found;

	sql_enter(&call);
	sql_write_rows(sql_of(account->store));
	found = sql_run(account->store, SQL_READ_TAKING, parameters, NULL);
	*movements = MemoryContextAlloc(account->context, mul_size(Max(found, 1), sizeof(Movement)));
	for (uint64 i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		row_to_movement(values, nulls, &(*movements)[i]);
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
	sql_keep_row(store, STORE_REQUEST, values, nulls);
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
	.read_moved = sql_read_moved,
	.read_back = sql_read_back,
	.probe_keys = sql_probe_keys,
	.begin_source = sql_begin_source,
	.next_source_lot = sql_next_source_lot,
	.find_lot = sql_find_lot,
	.insert_lots = sql_insert_lots,
	.change_lots = sql_change_lots,
	.insert_movements = sql_insert_movements,
	.read_origin = sql_read_origin,
	.read_debts = sql_read_debts,
	.insert_debts = sql_insert_debts,
	.change_debts = sql_change_debts,
	.insert_tier_changes = sql_insert_tier_changes,
	.find_refunds = sql_find_refunds,
	.read_refunds = sql_read_refunds,
	.insert_refund = sql_insert_refund,
	.delete_refund = sql_delete_refund,
	.read_usage = sql_read_usage,
	.change_usage = sql_change_usage,
	.read_uses = sql_read_uses,
	.read_counters = sql_read_counters,
	.change_counter = sql_change_counter,
	.read_visits = sql_read_visits,
	.change_visit = sql_change_visit,
	.find_visit_of = sql_find_visit_of,
	.insert_visit_of = sql_insert_visit_of,
	.read_progress = sql_read_progress,
	.change_progress = sql_change_progress,
	.read_challenge_awards = sql_read_challenge_awards,
	.insert_challenge_award = sql_insert_challenge_award,
	.insert_intervention = sql_insert_intervention,
	.insert_redemption = sql_insert_redemption,
	.read_taking = sql_read_taking,
	.change_redemption = sql_change_redemption,
	.find_redemption = sql_find_redemption,
	.read_holds = sql_read_holds,
	.read_spent = sql_read_spent,
	.insert_request = sql_insert_request,
	.find_request = sql_find_request,
};
