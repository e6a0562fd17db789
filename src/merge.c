/*
 * merge.c
 *	  Two members who turn out to be one: all that one has becomes the other's.
 *
 * Rules:
 * - Entries change hands as they are, with numbers behind those of the other account: lots keep their purchases, their
 *	 expiry and what was taken from them, redemptions can still be reversed, returns find their awards.  No point is
 *	 granted or taken, and no report of a day changes.
 * - Who was merged is the other member for ever: in sources (mapping_member) and in calls (call_member).
 * - Program by program, both accounts locked in the order of all locks.  A sale that is under way meanwhile, and has
 *	 looked before, finds its account merged when it gets the lock, and has to try again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "instant.h"

PG_FUNCTION_INFO_V1(loyalty_merge_members);

typedef struct Merge
{
	int64		from;
	int64		to;
	const char *reason;
	const char *by;
	const char *set_role;
} Merge;

static void
read_arguments(FunctionCallInfo fcinfo, Merge *merge)
{
	call_member(fcinfo, 0);
	merge->from = PG_GETARG_INT64(0);	/* itself, also when it is merged already: what came since follows */
	merge->to = call_member(fcinfo, 1);
	merge->reason = call_text(fcinfo, 2);
	if (merge->from == merge->to)
		call_refuse(PG_GETARG_INT64(1) == merge->to ? "from_member is to_member" : "to_member was merged into from_member",
					"Name the member who is to go first, and the one who stays second.");
	if (merge->reason == NULL || *merge->reason == '\0')
		call_refuse("reason is missing", "Say why: the statement of the account shows it.");
}

/* The programs of the member who goes, with when that membership began. */
static int
read_programs(int64 member, int32 **programs, TimestampTz **enrolled_at)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(member)};
	MemoryContext context = CurrentMemoryContext;
	int			n;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT a.program_id, a.enrolled_at FROM loyalty.account a WHERE a.member_id OPERATOR(pg_catalog.=) $1"
							  " AND a.status OPERATOR(pg_catalog.<>) 'merged' ORDER BY a.program_id",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read accounts");
	n = (int) SPI_processed;
	*programs = MemoryContextAlloc(context, mul_size(Max(n, 1), sizeof(int32)));
	*enrolled_at = MemoryContextAlloc(context, mul_size(Max(n, 1), sizeof(TimestampTz)));
	for (int i = 0; i < n; i++)
	{
		(*programs)[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		(*enrolled_at)[i] = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	return n;
}

/* Call a function of ours, whose search_path is pinned. */
static void
run(const char *sql, int n, Oid *types, Datum *values)
{
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_with_args(sql, n, types, values, NULL, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	SPI_finish();
}

/* Both accounts, the one that goes first; the other is made where there is none. */
static void
lock_both(Store *store, const Program *program, const Merge *merge, const TimestampTz *enrolled_at, Account **accounts)
{
	bool		swap = merge->from < merge->to;
	int64		members[] = {Max(merge->from, merge->to), Min(merge->from, merge->to)};
	TimestampTz made_at[] = {swap ? *enrolled_at : DT_NOEND, swap ? DT_NOEND : *enrolled_at};
	Account    *locked[2];

	store_lock_accounts(store, program, 2, members, made_at, CurrentMemoryContext, locked);
	accounts[0] = locked[swap];
	accounts[1] = locked[!swap];
}

static void
note(const Merge *merge, const Account *account, int64 entry_no, TimestampTz at)
{
	Oid			types[] = {INT8OID, INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int64GetDatum(entry_no),
		CStringGetTextDatum(psprintf("member " INT64_FORMAT " was merged into member " INT64_FORMAT ": %s",
									 merge->from, merge->to, merge->reason)),
		TimestampTzGetDatum(at), TimestampTzGetDatum(account->posted_at), CStringGetTextDatum(merge->by),
		CStringGetTextDatum(merge->set_role)
	};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO loyalty.intervention (member_id, program_id, entry_no, action, reason, at, posted_at, by,"
							  " set_role) VALUES ($1, $2, $3, 'merge', $4, $5, $6, $7, $8)",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not note a merge");
	SPI_finish();
}

/* What both accounts had is one account's, which is returned. */
static Account *
merge_program(Store *store, const Program *program, const Merge *merge, TimestampTz enrolled_at)
{
	Oid			types[] = {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID};
	Datum		values[4] = {Int64GetDatum(merge->from), Int64GetDatum(merge->to), Int32GetDatum(program->id)};
	Account    *accounts[2];
	Account    *joined;
	TimestampTz at = instant_for_writing(program);
	int64		from_entry;
	Standing	standing;

	lock_both(store, program, merge, &enrolled_at, accounts);
	for (int i = 0; i < 2; i++)
	{
		if (accounts[i] == NULL)
			elog(ERROR, "an account of program \"%s\" has gone", program->name);
		call_check_active(accounts[i]);
		at = Max(at, accounts[i]->settled_at);
	}
	for (int i = 0; i < 2; i++)
		ledger_settle(accounts[i], at);
	standing = (Standing) {.own_tier_id = accounts[0]->own_tier_id, .own_until = accounts[0]->own_until,
		.granted_tier_id = accounts[0]->granted_tier_id, .granted_until = accounts[0]->granted_until,
	.kept_tier_id = accounts[0]->kept_tier_id};
	from_entry = ledger_leave(accounts[0], at);
	note(merge, accounts[0], from_entry, at);
	for (int i = 0; i < 2; i++)
		ledger_write(accounts[i]);
	store_flush(store);
	values[3] = TimestampTzGetDatum(at);
	run("SELECT loyalty.merge_entries($1, $2, $3, $4)", lengthof(types), types, values);
	store_lock_accounts(store, program, 1, &merge->to, NULL, CurrentMemoryContext, &joined);
	ledger_pay_debts(joined, at);
	note(merge, joined, ledger_join(joined, &standing, at), at);
	ledger_write(joined);
	return joined;
}

static void
put_account(ReturnSetInfo *set, const Account *account)
{
	const Tier *tier = config_tier(account->program, account->tier_id);
	Datum		values[4] = {
		CStringGetTextDatum(account->program->name), NumericGetDatum(points_to_numeric(account->available)),
		NumericGetDatum(points_to_numeric(account->pending)), tier ? CStringGetTextDatum(tier->name) : (Datum) 0
	};
	bool		nulls[4] = {[3] = tier == NULL};

	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

Datum
loyalty_merge_members(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT8OID, INT8OID};
	OwnerSwitch caller;
	Merge		merge;
	Datum		values[2];
	int32	   *programs;
	TimestampTz *enrolled_at;
	int			n;

	read_arguments(fcinfo, &merge);
	PreventCommandIfReadOnly("loyalty.merge_members()");
	InitMaterializedSRF(fcinfo, 0);
	owner_become(&caller);
	merge.by = GetUserNameFromId(GetSessionUserId(), false);
	merge.set_role = GetUserNameFromId(caller.user, false);
	values[0] = Int64GetDatum(merge.from);
	values[1] = Int64GetDatum(merge.to);
	run("SELECT loyalty.merge_check($1, $2)", 2, types, values);
	n = read_programs(merge.from, &programs, &enrolled_at);
	for (int i = 0; i < n; i++)
	{
		const Program *program = config_program_by_id(programs[i]);
		Store	   *store = store_open(instant_for_writing(program));

		CHECK_FOR_INTERRUPTS();
		put_account((ReturnSetInfo *) fcinfo->resultinfo, merge_program(store, program, &merge, enrolled_at[i]));
		store_close(store);
	}
	run("SELECT loyalty.merge_names($1, $2)", 2, types, values);
	owner_restore(&caller);
	return (Datum) 0;
}
