/*
 * pool.c
 *	  The tier of a pool, and what its members are lent of it.
 *
 * Rules:
 * - A pool that shares its tier is an account in memory, of which nothing but the standing is kept (loyalty.shared_tier):
 *	 figures, tier, until when.  What it makes of them is tier.c's affair, as an account's.
 * - Whoever changes what a member has counted, or who is in the pool, has locked the pool's row and then the accounts of all
 *	 members, in the order of all locks; then the pool is reviewed, at the greatest instant of all of them.
 * - What its tier will be if nothing more happens is written into the members' accounts (account.lent_tier_ids): they know it
 *	 at every instant without looking at the pool.  An account for which nothing has changed is not written.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "counter.h"
#include "lock.h"
#include "money.h"
#include "owner.h"
#include "pool.h"
#include "store.h"
#include "store_row.h"
#include "tier.h"

/* the columns of loyalty.shared_tier */
enum StandingAttribute
{
	POOL_ID, POOL_PROGRAM_ID, POOL_SETTLED_AT, POOL_TIER_ID, POOL_TIER_UNTIL, POOL_KEPT_TIER_ID, POOL_LADDER_NO, POOL_PERIOD_START, POOL_PERIOD_END,
	POOL_PREVIOUS_START, POOL_SPEND, POOL_SPEND_PREVIOUS, POOL_EARNED, POOL_EARNED_PREVIOUS, POOL_VISITS, POOL_VISITS_PREVIOUS, POOL_METRICS,
	POOL_BUCKETS, POOL_COUNTED, POOL_STEP_TIER_IDS, POOL_STEP_UNTIL, POOL_COUNT
};

#define STANDING_COLUMNS "pool_id, program_id, settled_at, tier_id, tier_until, kept_tier_id, ladder_no, period_start, period_end," \
	" previous_start, spend, spend_previous, earned, earned_previous, visits, visits_previous, metrics, buckets, counted," \
	" step_tier_ids, step_until"

static Oid	standing_types[POOL_COUNT] = {
	INT8OID, INT4OID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	NUMERICOID, NUMERICOID, INT8OID, INT8OID, INT4OID, INT4OID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID,
	INT4ARRAYOID, TIMESTAMPTZARRAYOID
};

/* A statement of ours that is kept: it names our tables and functions alone. */
typedef struct Asking
{
	const char *sql;
	bool		reads;			/* with the snapshot of who asks */
	SPIPlanPtr	plan;
} Asking;

#define STANDING_OF_POOL "SELECT " STANDING_COLUMNS " FROM loyalty.shared_tier WHERE pool_id OPERATOR(pg_catalog.=) $1"

static Asking read_asking = {.sql = STANDING_OF_POOL};
static Asking look_asking = {.sql = STANDING_OF_POOL,.reads = true};
static Asking pool_asking = {.sql = "SELECT s.pool_id, s.members FROM loyalty.pool_of($2, $1) s",.reads = true};
static Asking write_asking = {.sql = "INSERT INTO loyalty.shared_tier (" STANDING_COLUMNS ")"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
	" ON CONFLICT (pool_id) DO UPDATE SET (" STANDING_COLUMNS ") = ROW (excluded.*)"};
static Asking lock_asking = {.sql = "SELECT loyalty.lock_pools_of($1, ARRAY[$2])"};
static Asking review_asking = {.sql = "SELECT loyalty.review_pools_of($1, ARRAY[$2])"};

static void
ask(Asking *asking, int n, Oid *types, Datum *values, const char *nulls)
{
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (asking->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(asking->sql, n, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan \"%s\"", asking->sql);
		asking->plan = plan;
	}
	result = SPI_execute_plan(asking->plan, values, nulls, asking->reads, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", asking->sql, SPI_result_code_string(result));
}

static void
ask_of_member(Asking *asking, const Program *program, int64 member)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(program->id), Int64GetDatum(member)};
	OwnerSwitch former;

	if (!program->involves)
		return;
	owner_become(&former);
	ask(asking, lengthof(types), types, values, NULL);
	SPI_finish();
	owner_restore(&former);
}

void
pool_lock(const Program *program, int64 member)
{
	ask_of_member(&lock_asking, program, member);
}

void
pool_review(const Program *program, int64 member)
{
	ask_of_member(&review_asking, program, member);
}

/* ---- what is kept of a pool ---- */

/* One that has counted nothing yet. */
static Account *
new_pool(const Program *program, TimestampTz at)
{
	Account    *pool = palloc0(sizeof(Account));

	pool->program = program;
	pool->context = CurrentMemoryContext;
	pool->status = "active";
	pool->next_entry = 1;
	pool->enrolled_at = pool->settled_at = at;
	pool->active_at = DT_NOBEGIN;
	pool->inactive_at = DT_NOEND;
	tier_begin(pool);
	return pool;
}

static void
read_counters(Account *pool, const Datum *v)
{
	ArrayType  *metrics = DatumGetArrayTypeP(v[POOL_METRICS]);
	ArrayType  *buckets = DatumGetArrayTypeP(v[POOL_BUCKETS]);
	Datum	   *values;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(v[POOL_COUNTED]), NUMERICOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
		counter_append(pool, ((int32 *) ARR_DATA_PTR(metrics))[i], ((TimestampTz *) ARR_DATA_PTR(buckets))[i],
					   DatumGetNumeric(values[i]));
}

static void
row_to_pool(const Datum *v, const bool *nulls, Account *pool)
{
	pool->settled_at = DatumGetTimestampTz(v[POOL_SETTLED_AT]);
	pool->tier_id = pool->own_tier_id = nulls[POOL_TIER_ID] ? 0 : DatumGetInt32(v[POOL_TIER_ID]);
	pool->tier_until = pool->own_until = DatumGetTimestampTz(v[POOL_TIER_UNTIL]);
	pool->kept_tier_id = nulls[POOL_KEPT_TIER_ID] ? 0 : DatumGetInt32(v[POOL_KEPT_TIER_ID]);
	pool->ladder_no = DatumGetInt32(v[POOL_LADDER_NO]);
	pool->period_start = DatumGetTimestampTz(v[POOL_PERIOD_START]);
	pool->period_end = DatumGetTimestampTz(v[POOL_PERIOD_END]);
	pool->previous_start = DatumGetTimestampTz(v[POOL_PREVIOUS_START]);
	pool->spend = DatumGetNumericCopy(v[POOL_SPEND]);
	pool->spend_previous = DatumGetNumericCopy(v[POOL_SPEND_PREVIOUS]);
	pool->earned = DatumGetInt64(v[POOL_EARNED]);
	pool->earned_previous = DatumGetInt64(v[POOL_EARNED_PREVIOUS]);
	pool->visits = DatumGetInt32(v[POOL_VISITS]);
	pool->visits_previous = DatumGetInt32(v[POOL_VISITS_PREVIOUS]);
	read_counters(pool, v);
}

/* The pool as it was written last; false: it shares its tier from now on. */
static bool
read_pool(Asking *asking, int64 pool_id, Account *pool)
{
	Datum		values[] = {Int64GetDatum(pool_id)};
	Datum		v[POOL_COUNT];
	bool		nulls[POOL_COUNT];
	bool		found;

	ask(asking, 1, standing_types, values, NULL);
	found = SPI_processed == 1;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(pool->context);

		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, v, nulls);
		row_to_pool(v, nulls, pool);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return found;
}

static void
counters_to_row(const Account *pool, Datum *v)
{
	Counter   **counters;
	int			n = counter_list(pool, &counters);
	Datum	   *metrics = palloc(mul_size(Max(n, 1), sizeof(Datum)));
	Datum	   *buckets = palloc(mul_size(Max(n, 1), sizeof(Datum)));
	Datum	   *values = palloc(mul_size(Max(n, 1), sizeof(Datum)));

	for (int i = 0; i < n; i++)
	{
		metrics[i] = Int32GetDatum(counters[i]->metric);
		buckets[i] = TimestampTzGetDatum(counters[i]->bucket);
		values[i] = NumericGetDatum(counters[i]->value);
	}
	v[POOL_METRICS] = PointerGetDatum(construct_array(metrics, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	v[POOL_BUCKETS] = PointerGetDatum(construct_array(buckets, n, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	v[POOL_COUNTED] = PointerGetDatum(construct_array(values, n, NUMERICOID, -1, false, TYPALIGN_INT));
}

static void
pool_to_row(int64 pool_id, const Account *pool, Datum *v, char *nulls)
{
	memset(nulls, ' ', POOL_COUNT);
	v[POOL_ID] = Int64GetDatum(pool_id);
	v[POOL_PROGRAM_ID] = Int32GetDatum(pool->program->id);
	v[POOL_SETTLED_AT] = TimestampTzGetDatum(pool->settled_at);
	v[POOL_TIER_ID] = Int32GetDatum(pool->own_tier_id);
	nulls[POOL_TIER_ID] = pool->own_tier_id == 0 ? 'n' : ' ';
	v[POOL_TIER_UNTIL] = TimestampTzGetDatum(pool->own_until);
	v[POOL_KEPT_TIER_ID] = Int32GetDatum(pool->kept_tier_id);
	nulls[POOL_KEPT_TIER_ID] = pool->kept_tier_id == 0 ? 'n' : ' ';
	v[POOL_LADDER_NO] = Int32GetDatum(pool->ladder_no);
	v[POOL_PERIOD_START] = TimestampTzGetDatum(pool->period_start);
	v[POOL_PERIOD_END] = TimestampTzGetDatum(pool->period_end);
	v[POOL_PREVIOUS_START] = TimestampTzGetDatum(pool->previous_start);
	v[POOL_SPEND] = NumericGetDatum(pool->spend);
	v[POOL_SPEND_PREVIOUS] = NumericGetDatum(pool->spend_previous);
	v[POOL_EARNED] = Int64GetDatum(pool->earned);
	v[POOL_EARNED_PREVIOUS] = Int64GetDatum(pool->earned_previous);
	v[POOL_VISITS] = Int32GetDatum(pool->visits);
	v[POOL_VISITS_PREVIOUS] = Int32GetDatum(pool->visits_previous);
	counters_to_row(pool, v);
}

/* Write the pool, and find what it will be. */
static int
write_pool(int64 pool_id, Account *pool, Lent **lent)
{
	Datum		v[POOL_COUNT];
	char		nulls[POOL_COUNT];
	int			n;

	pool_to_row(pool_id, pool, v, nulls);
	n = tier_foresee(pool, lent);
	row_lent_arrays(*lent, n, &v[POOL_STEP_TIER_IDS], &v[POOL_STEP_UNTIL]);
	ask(&write_asking, POOL_COUNT, standing_types, v, nulls);
	SPI_finish();
	return n;
}

/* ---- the review ---- */

/* All accounts come to the greatest instant of all of them. */
static TimestampTz
settle_all(Account **accounts, int n, TimestampTz at)
{
	for (int i = 0; i < n; i++)
		if (accounts[i])
			at = Max(at, accounts[i]->settled_at);
	for (int i = 0; i < n; i++)
		if (accounts[i])
		{
			CHECK_FOR_INTERRUPTS();
			(void) ledger_settle(accounts[i], at);
		}
	return at;
}

static int
review(const Program *program, int64 pool_id, Account **accounts, int n, TimestampTz at, Lent **lent)
{
	Account    *pool = new_pool(program, at);

	if (read_pool(&read_asking, pool_id, pool))
		tier_settle(pool, at);
	pool->settled_at = at;
	tier_regard(pool, accounts, n, at);
	return write_pool(pool_id, pool, lent);
}

static bool
is_lent(const Account *account, const Lent *lent, int n)
{
	if (account->nlent != n)
		return false;
	for (int i = 0; i < n; i++)
		if (account->lent[i].tier_id != lent[i].tier_id || account->lent[i].until != lent[i].until)
			return false;
	return true;
}

/* review_pool(pool_id, program_id, members, at): all are locked; pool_id 0: they are in none that shares its tier */
PG_FUNCTION_INFO_V1(loyalty_review_pool);
Datum
loyalty_review_pool(PG_FUNCTION_ARGS)
{
	const Program *program = config_program_by_id(PG_GETARG_INT32(1));
	int64	   *members;
	int			n = lock_members(PG_GETARG_ARRAYTYPE_P(2), &members);
	Account   **accounts = palloc(mul_size(Max(n, 1), sizeof(Account *)));
	Lent	   *lent = NULL;
	int			nlent = 0;
	TimestampTz at;
	OwnerSwitch former;
	Store	   *store;

	PreventCommandIfReadOnly("loyalty.review_pool()");
	n = lock_order(members, n);
	owner_become(&former);
	store = store_open(GetCurrentStatementStartTimestamp());
	store_lock_accounts(store, program, n, members, NULL, CurrentMemoryContext, accounts);
	at = settle_all(accounts, n, PG_GETARG_TIMESTAMPTZ(3));
	if (PG_GETARG_INT64(0) != 0 && !TIMESTAMP_NOT_FINITE(at))
		nlent = review(program, PG_GETARG_INT64(0), accounts, n, at, &lent);
	for (int i = 0; i < n; i++)
		if (accounts[i] && !is_lent(accounts[i], lent, nlent))
		{
			ledger_lend_tier(accounts[i], lent, nlent, at);
			ledger_write(accounts[i]);
		}
	store_close(store);
	owner_restore(&former);
	PG_RETURN_VOID();
}

/* ---- what would be ---- */

/* The pool of a member that shares its tier, and who is in it; 0: none. */
static int64
find_pool(const Account *account, int64 **members, int *n)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(account->program->id), Int64GetDatum(account->member_id)};
	int64		pool_id = 0;

	*n = 0;
	ask(&pool_asking, lengthof(types), types, values, NULL);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		bool		isnull;
		MemoryContext old;

		pool_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		old = MemoryContextSwitchTo(account->context);
		*n = lock_members(DatumGetArrayTypeP(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull)), members);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return pool_id;
}

void
pool_try_ladder(Account *account, const Program *ladder)
{
	TimestampTz at = account->settled_at;
	OwnerSwitch former;
	Account   **accounts;
	Account    *pool;
	Lent	   *lent;
	int64	   *members;
	int64		pool_id;
	int			n;

	if (!account->program->involves)
		return;
	owner_become(&former);
	pool_id = find_pool(account, &members, &n);
	pool = new_pool(account->program, at);
	if (pool_id != 0 && read_pool(&look_asking, pool_id, pool))
	{
		accounts = palloc(mul_size(Max(n, 1), sizeof(Account *)));
		for (int i = 0; i < n; i++)
			accounts[i] = store_read_account(account->store, account->program, members[i], account->context);
		at = settle_all(accounts, n, at);
		tier_settle(pool, at);
		pool->settled_at = at;
		tier_regard(pool, accounts, n, at);
		tier_try_ladder(pool, ladder, at);
		pool->program = ladder;
		n = tier_foresee(pool, &lent);
		tier_lend(account, lent, n, at);
	}
	owner_restore(&former);
}
