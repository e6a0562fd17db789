/*
 * store_sql_account.c
 *	  Accounts and members: lock, enroll, walk, write.
 *
 * Rule: accounts are locked by one statement each, in the order given.  Two callers never wait for each other in a
 * ring, and under Citus each statement goes to one shard.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "store_sql.h"

#define ENROLL_TRIES 1000

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

void
sql_lock_accounts(Store *store, const Program *program, int n, const int64 *members, const TimestampTz *enrolled_at,
				  MemoryContext context, Account **accounts)
{
	SqlCall		call;

	sql_enter(&call);
	if (!store->hoping || n == 0)
		sql_write_rows(sql_of(store));
	for (int i = 0; i < n; i++)
	{
		Assert(i == 0 || members[i - 1] > members[i]);
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
	sql_write_rows(sql_of(store));
	found = find_account(store, statement, account);
	sql_leave(&call);
	return found ? account : NULL;
}

Account *
sql_read_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	return account_by(store, SQL_READ_ACCOUNT, program, member, context);
}

Account *
sql_try_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	return account_by(store, SQL_TRY_ACCOUNT, program, member, context);
}

int
sql_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts)
{
	Datum		parameters[] = {Int64GetDatum(after_member), Int32GetDatum(after_program), Int64GetDatum(n)};
	Datum		values[STORE_MAX_COLUMNS];
	bool		nulls[STORE_MAX_COLUMNS];
	SqlCall		call;
	int			found;

	sql_enter(&call);
	sql_write_rows(sql_of(store));
	found = (int) sql_run(store, SQL_WALK_ACCOUNTS, parameters, NULL);
	for (int i = 0; i < found; i++)
	{
		sql_row(i, values, nulls);
		accounts[i] = (AccountAt) {
			.member_id = DatumGetInt64(values[A_MEMBER_ID]),
			.program_id = DatumGetInt32(values[A_PROGRAM_ID]),
			.next_change_at = DatumGetTimestampTz(values[A_NEXT_CHANGE_AT]),
			.ladder_no = nulls[A_LADDER_NO] ? 0 : DatumGetInt32(values[A_LADDER_NO])
		};
	}
	sql_leave(&call);
	return found;
}

/* One by one, as they were locked. */
void
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

void
sql_refuse_change(StoreTableId id, int64 member, int64 entry_no, uint64 changed)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
			 errmsg("a row of loyalty.%s changed although its account is locked", store_layout[id].name),
			 entry_no ? errdetail("Of lot " INT64_FORMAT " of member " INT64_FORMAT " %llu rows were changed.", entry_no,
								  member, (unsigned long long) changed)
			 : errdetail("Of the %s of member " INT64_FORMAT " %llu rows were changed.", store_layout[id].name, member,
						 (unsigned long long) changed),
			 errhint("Something writes to the ledger beside the extension; call SELECT * FROM loyalty.verify().")));
}

void
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
		sql_refuse_change(STORE_ACCOUNT, account->member_id, 0, changed);
	sql_leave(&call);
}
