/*
 * store_sql_challenge.c
 *	  Progress in challenges, what there was for it, and interventions.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "store_sql.h"

void
sql_read_progress(Account *account, Progress *progress)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(progress->challenge_id),
		TimestampTzGetDatum(progress->period_start)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;

	sql_enter(&call);
	if (sql_run(account->store, SQL_READ_PROGRESS, values, NULL) > 0)
	{
		sql_row(0, values, nulls);
		row_to_progress(values, nulls, account->context, progress);
	}
	sql_leave(&call);
}

void
sql_change_progress(Account *account, Progress *progress)
{
	Datum		values[P_COUNT] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(progress->challenge_id),
		TimestampTzGetDatum(progress->period_start), TimestampTzGetDatum(progress->completed_at), Int32GetDatum(progress->times),
		NumericGetDatum(progress->value)
	};
	bool		nulls[P_COUNT] = {[4] = progress->completed_at == DT_NOEND};
	SqlCall		call;
	uint64		changed;

	sql_enter(&call);
	if (progress->stored)
		changed = sql_run(account->store, SQL_CHANGE_PROGRESS, values, nulls);
	else
	{
		progress_to_row(account, progress, values, nulls);
		changed = sql_run(account->store, SQL_INSERT_ROW + STORE_PROGRESS, values, nulls);
	}
	if (changed != 1)
		sql_refuse_change(STORE_PROGRESS, account->member_id, 0, changed);
	sql_leave(&call);
}

int32
sql_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed)
{
	Datum		values[STORE_MAX_COLUMNS] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(challenge_id)
	};
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	uint64		found;
	int32		last = 0;

	*owed = 0;
	sql_enter(&call);
	sql_write_rows(sql_of(account->store));
	found = sql_run(account->store, SQL_READ_CHALLENGE_AWARDS, values, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		CHECK_FOR_INTERRUPTS();
		sql_row(i, values, nulls);
		*owed = points_add(*owed, DatumGetInt64(values[X_OWED]));
		if (DatumGetTimestampTz(values[X_PERIOD_START]) == period_start)
			last = Max(last, DatumGetInt32(values[X_AWARD_NO]));
	}
	sql_leave(&call);
	return last;
}

void
sql_insert_challenge_award(Account *account, const ChallengeAward *award)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[X_COUNT];
	bool		nulls[X_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	challenge_award_to_row(account, award, values, nulls);
	sql_keep_row(store, STORE_CHALLENGE_AWARD, values, nulls);
	MemoryContextSwitchTo(old);
}

void
sql_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role)
{
	SqlStore   *store = sql_of(account->store);
	Datum		values[I_COUNT];
	bool		nulls[I_COUNT];
	MemoryContext old = MemoryContextSwitchTo(store->kept);

	intervention_to_row(account, intervention, at, role, values, nulls);
	sql_keep_row(store, STORE_INTERVENTION, values, nulls);
	MemoryContextSwitchTo(old);
}
