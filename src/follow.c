/*
 * follow.c
 *	  Rooms that follow sales: what happened to awards is told to loyalty.follow_sales(), inside of the sale.
 *
 * Rules:
 * - A program that uses no such room pays one comparison an award (program->follows).
 * - They are told after everything of the batch is written, with its accounts still locked, as the ledger's owner.  What
 *	 they do stands or falls with the sale.
 * - They change points by the entry functions alone, and other members' accounts only as sales_involve() said before: so
 *	 these are locked with the accounts of the sale, in the order of all locks.
 * - They work at the instant of the sale: one of last year that is loaded today gives what it gave then.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "challenge.h"
#include "errcodes.h"
#include "follow.h"
#include "lock.h"
#include "money.h"
#include "owner.h"

#define SALE_COLUMNS	11

/* The accounts that rooms are being told of. */
static Account **told;
static int	ntold;

/* Is an earlier award of the same purchase among these? */
static bool
any_before(Lot *const *lots, int n, const Lot *lot)
{
	for (int i = 0; i < n; i++)
		if (lots[i]->source_id == lot->source_id && lots[i]->part / LOTS_AN_AWARD < lot->part / LOTS_AN_AWARD &&
			!(lots[i]->available_at == DT_NOEND && lots[i]->kept_amount == NULL) &&
			strcmp(lots[i]->source_key, lot->source_key) == 0)
			return true;
	return false;
}

/*
 * Is it the member's first award of the purchase?  Not what the purchase grew by; an award that went on in another one,
 * when the event came for which it waited, does not count.
 */
static bool
is_first(const Account *account, const Lot *lot)
{
	return lot->part < LOTS_AN_AWARD ||
		(!any_before(account->named, account->nnamed, lot) && !any_before(account->fresh, account->nfresh, lot) &&
		 !any_before(account->lots, account->nlots, lot));
}

void
follow_note(Account *account, const Lot *first, Numeric spend, Points points)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Sale *sale;

	if (account->nsales == account->max_sales)
	{
		account->max_sales = Max(4, account->max_sales * 2);
		account->sales = account->sales == NULL ? palloc(account->max_sales * sizeof(Sale))
			: repalloc(account->sales, mul_size(account->max_sales, sizeof(Sale)));
	}
	sale = &account->sales[account->nsales++];
	*sale = (Sale) {
		.source_id = first->source_id, .source_key = first->source_key, .unit = first->unit, .occurred_at = first->earned_at,
		.at = account->settled_at, .amount = first->amount, .kept = first->kept_amount, .spend = money_copy(spend),
		.points = points, .first = is_first(account, first)
	};
	MemoryContextSwitchTo(old);
}

/* loyalty.sale */
static TupleDesc
sale_desc(Oid *type)
{
	*type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("sale"),
							ObjectIdGetDatum(get_namespace_oid("loyalty", false)));
	if (!OidIsValid(*type))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("type loyalty.sale is missing"),
				 errhint("Bring the extension up to date: ALTER EXTENSION loyalty UPDATE.")));
	return lookup_rowtype_tupdesc_copy(*type, -1);
}

static Datum
sale_datum(TupleDesc desc, int64 member, const Sale *sale)
{
	Datum		values[SALE_COLUMNS] = {
		Int64GetDatum(member), Int32GetDatum(sale->source_id), CStringGetTextDatum(sale->source_key),
		Int32GetDatum(sale->unit), TimestampTzGetDatum(sale->occurred_at), TimestampTzGetDatum(sale->at),
		NumericGetDatum(sale->amount), sale->kept ? NumericGetDatum(sale->kept) : (Datum) 0,
		NumericGetDatum(sale->spend), Int64GetDatum(sale->points), BoolGetDatum(sale->first)
	};
	bool		nulls[SALE_COLUMNS] = {[7] = sale->kept == NULL};

	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
}

/* What was noted, in the order of accounts and of what happened to each. */
static ArrayType *
sales_array(Account **accounts, int n)
{
	Oid			type;
	TupleDesc	desc = sale_desc(&type);
	int			room = 0;
	int			nsales = 0;
	Datum	   *sales;

	if (desc->natts != SALE_COLUMNS)
		elog(ERROR, "type loyalty.sale has %d columns", desc->natts);
	for (int i = 0; i < n; i++)
		room += accounts[i] ? accounts[i]->nsales : 0;
	sales = palloc(mul_size(Max(room, 1), sizeof(Datum)));
	for (int i = 0; i < n; i++)
		for (int j = 0; accounts[i] && j < accounts[i]->nsales; j++)
			sales[nsales++] = sale_datum(desc, accounts[i]->member_id, &accounts[i]->sales[j]);
	return nsales == 0 ? NULL : construct_array(sales, nsales, type, -1, false, TYPALIGN_DOUBLE);
}

/* A plan that is kept: of a call of a function of ours, no relation in it. */
typedef struct Asking
{
	const char *sql;
	Oid			type;			/* of the second argument, when it was planned */
	SPIPlanPtr	plan;
} Asking;

static Asking sales_asking = {.sql = "SELECT loyalty.follow_sales($1, $2)"};
static Asking skip_asking = {.sql = "SELECT loyalty.follow_sales_or_note($1, $2)"};
static Asking involve_asking = {.sql = "SELECT loyalty.sales_involve($1, $2)"};

/* Ask a function of ours, whose search_path is pinned; the caller reads its answer before SPI_finish(). */
static void
ask(Asking *asking, Oid *types, Datum *values)
{
	const char *sql = asking->sql;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (asking->plan && asking->type != types[1])
	{
		SPI_freeplan(asking->plan);
		asking->plan = NULL;
	}
	if (asking->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(sql, 2, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not plan \"%s\"", sql);
		asking->plan = plan;
		asking->type = types[1];
	}
	result = SPI_execute_plan(asking->plan, values, NULL, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
}

/* Rooms that are written in SQL. */
static void
tell_rooms(const Program *program, ArrayType *sales, bool skip)
{
	Oid			types[2] = {INT4OID};
	Datum		values[2] = {Int32GetDatum(program->id), PointerGetDatum(sales)};

	if (sales == NULL)
		return;
	types[1] = get_array_type(ARR_ELEMTYPE(sales));
	ask(skip ? &skip_asking : &sales_asking, types, values);
	SPI_finish();
}

/* ---- telling ---- */

int
follow_uncounted(Account **accounts, int n)
{
	int			uncounted = 0;

	for (int i = 0; i < n; i++)
		uncounted += accounts[i] && accounts[i]->nsales > accounts[i]->ncounted;
	return uncounted;
}

static int
unsettled_in(Account **accounts, int n)
{
	int			unsettled = 0;

	for (int i = 0; i < n; i++)
		unsettled += accounts[i] ? challenge_unsettled(accounts[i]) : 0;
	return unsettled;
}

bool
follow_asks(const Program *program, Account **accounts, int n)
{
	return program->follows_sql || unsettled_in(accounts, n) > 0;
}

void
follow_tell(const Program *program, Account **accounts, int n, bool skip)
{
	OwnerSwitch former;

	owner_become(&former);
	PG_TRY();
	{
		int			unsettled = unsettled_in(accounts, n);
		ArrayType  *sales = program->follows_sql || (skip && unsettled > 0) ? sales_array(accounts, n) : NULL;

		told = accounts;
		ntold = n;
		challenge_settle(program, accounts, n, unsettled, skip ? sales : NULL);
		if (program->follows_sql)
			tell_rooms(program, sales, skip);
	}
	PG_FINALLY();
	{
		told = NULL;
	}
	PG_END_TRY();
	owner_restore(&former);
	for (int i = 0; i < n; i++)
		if (accounts[i])
			accounts[i]->nsales = 0;
}

TimestampTz
follow_instant(const Account *account, TimestampTz now)
{
	TimestampTz at = DT_NOBEGIN;

	if (told == NULL)
		return now;
	for (int i = 0; i < ntold; i++)
		if (told[i] && told[i]->nsales > 0)
		{
			if (told[i]->member_id == account->member_id)
				return account->settled_at;
			at = Max(at, told[i]->settled_at);
		}
	return Min(at, now);
}

int
follow_involved(const Program *program, const int64 *members, int n, int64 **involved)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {INT4OID, INT8ARRAYOID};
	Datum	   *datums = palloc(mul_size(Max(n, 1), sizeof(Datum)));
	Datum		values[2] = {Int32GetDatum(program->id)};
	OwnerSwitch former;
	MemoryContext old;
	Datum		answer;
	bool		isnull;
	int			found = 0;

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(members[i]);
	values[1] = PointerGetDatum(construct_array(datums, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	pfree(datums);
	owner_become(&former);
	ask(&involve_asking, types, values);
	answer = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	old = MemoryContextSwitchTo(context);
	if (!isnull)
		found = lock_members(DatumGetArrayTypePCopy(answer), involved);
	MemoryContextSwitchTo(old);
	SPI_finish();
	owner_restore(&former);
	return found;
}
