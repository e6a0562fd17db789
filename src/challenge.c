/*
 * challenge.c
 *	  Progress in challenges, inside of the sale.
 *
 * Rules:
 * - What is added here is what loyalty.progress_of_ledger() would add up: the two say the same of windows, deadlines,
 *	 periods and metrics, and verify() compares them.  Visits are counted by loyalty.follow_visits().
 * - An account's sales are counted one by one when they are worked, at their instants, and what is complete then is given
 *	 to the account in memory, before it is written: one write for all of it.
 * - Points and badges are given here, as loyalty.give_challenge() gives them, with the same rows and keys.  Streaks, rewards of
 *	 the catalogue, what is taken back and what is owed are the affair of loyalty.settle_challenges(), called once a batch
 *	 when all of it is written.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "adjust.h"
#include "challenge.h"
#include "fixed.h"
#include "money.h"

/* How far an account has come in challenges, as far as it was asked. */
typedef struct Progressing
{
	Progress  **list;
	int			n;
	int			max;
} Progressing;

static SPIPlanPtr
plan_of(SPIPlanPtr *plan, const char *sql, int n, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	fresh = SPI_prepare(sql, n, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not plan \"%s\"", sql);
		*plan = fresh;
	}
	return *plan;
}

/* ---- what counts ---- */

/* When the member joined; infinity: did not. */
static TimestampTz
joined_at(const Account *account, const Challenge *challenge)
{
	static SPIPlanPtr plan;
	Oid			types[] = {INT8OID, INT4OID, INT4OID};
	Datum		values[] = {
		Int64GetDatum(account->member_id), Int32GetDatum(account->program->id), Int32GetDatum(challenge->id)
	};
	TimestampTz at = DT_NOEND;
	OwnerSwitch former;
	bool		isnull;

	if (account->is_new)
		return DT_NOEND;
	owner_become(&former);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan(plan_of(&plan, "SELECT joined_at FROM loyalty.challenge_join WHERE member_id OPERATOR(pg_catalog.=) $1"
								 " AND program_id OPERATOR(pg_catalog.=) $2 AND challenge_id OPERATOR(pg_catalog.=) $3", 3, types),
						 values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read loyalty.challenge_join");
	if (SPI_processed > 0)
		at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	owner_restore(&former);
	return at;
}

/* Local wall time later, as SQL adds intervals to timestamps. */
static TimestampTz
deadline_of(const Challenge *challenge, const Program *program, TimestampTz from)
{
	Datum		zone = CStringGetTextDatum(program->timezone);
	Datum		local = DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(from));

	local = DirectFunctionCall2(timestamp_pl_interval, local, IntervalPGetDatum(&challenge->deadline));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, local));
}

/* From when to when an account's purchases count. */
static void
window_of(const Account *account, const Challenge *challenge, TimestampTz *from, TimestampTz *until)
{
	TimestampTz begins = challenge->opt_in ? joined_at(account, challenge) : account->enrolled_at;

	*from = challenge->opt_in ? Max(challenge->starts_at, begins) : challenge->starts_at;
	*until = challenge->ends_at;
	if (challenge->has_deadline && !TIMESTAMP_NOT_FINITE(begins))
		*until = Min(*until, deadline_of(challenge, account->program, begins));
}

/* Is it a purchase more, or one less? */
static int
purchases_of(const Sale *sale)
{
	if (!sale->first)
		return 0;
	if (money_sign(sale->amount) == 0)
		return sale->kept ? 1 : -1;
	return (sale->kept && money_sign(sale->kept) != 0) - (money_compare(sale->kept ? sale->kept : money_zero(), sale->spend) != 0);
}

/* The account's row of the period that holds an instant; what is stored of it is asked later. */
static Progress *
progress_at(Account *account, const Challenge *challenge, TimestampTz at)
{
	Progressing *progressing = account->progressing;
	Progress   *progress;

	for (int i = progressing->n - 1; i >= 0; i--)
	{
		progress = progressing->list[i];
		if (progress->challenge == challenge && at >= progress->period_start && at < progress->period_end)
			return progress;
	}
	if (progressing->n == progressing->max)
	{
		progressing->max = Max(8, progressing->max * 2);
		progressing->list = progressing->list == NULL ? palloc(progressing->max * sizeof(Progress *))
			: repalloc(progressing->list, mul_size(progressing->max, sizeof(Progress *)));
	}
	progress = palloc0(sizeof(Progress));
	progress->challenge = challenge;
	progress->challenge_id = challenge->id;
	progress->completed_at = DT_NOEND;
	period_bounds(&challenge->period, at, account->enrolled_at, account->program->zone, &progress->period_start,
				  &progress->period_end);
	return progressing->list[progressing->n++] = progress;
}

static void
add_sale(Account *account, const Challenge *challenge, const Sale *sale)
{
	Progress   *progress;

	if (challenge->metric == CHALLENGE_SPEND)
	{
		progress = progress_at(account, challenge, sale->occurred_at);
		progress->spend = progress->spend ? money_add(progress->spend, sale->spend) : sale->spend;
	}
	else
	{
		int64		figure = challenge->metric == CHALLENGE_PURCHASES ? purchases_of(sale) : sale->points;

		if (figure == 0)
			return;
		progress = progress_at(account, challenge, sale->occurred_at);
		progress->figure = challenge->metric == CHALLENGE_PURCHASES ? progress->figure + figure
			: points_add(progress->figure, figure);
	}
}

static void
add_sales(Account *account)
{
	const Program *program = account->program;

	for (int c = 0; c < program->nchallenges; c++)
	{
		const Challenge *challenge = &program->challenges[c];
		TimestampTz from = challenge->starts_at;
		TimestampTz until = challenge->ends_at;

		CHECK_FOR_INTERRUPTS();
		if (challenge->opt_in || challenge->has_deadline)
			window_of(account, challenge, &from, &until);
		for (int i = account->ncounted; i < account->nsales; i++)
		{
			const Sale *sale = &account->sales[i];

			if (sale->unit == challenge->unit && (challenge->source_id == 0 || sale->source_id == challenge->source_id) &&
				sale->occurred_at >= from && sale->occurred_at < until)
				add_sale(account, challenge, sale);
		}
	}
	account->ncounted = account->nsales;
}

/* What sales have added becomes part of the value; false: nothing. */
static bool
move_on(Account *account, Progress *progress)
{
	Numeric		added = progress->spend;

	if (added == NULL && progress->figure != 0)
		added = fixed_to_numeric(progress->figure, progress->challenge->metric == CHALLENGE_PURCHASES ? 0 : POINTS_SCALE);
	progress->spend = NULL;
	progress->figure = 0;
	if (added == NULL || money_sign(added) == 0)
		return false;
	if (progress->value == NULL && !account->is_new)
		store_read_progress(account, progress);
	progress->value = progress->value ? money_add(progress->value, added) : added;
	progress->changed = account->changed = true;
	return true;
}

/* ---- what there is for it ---- */

/* How many completions a value is that has reached the target; of a streak see loyalty.settle_challenges(). */
static int32
due_of(const Progress *progress)
{
	const Challenge *challenge = progress->challenge;
	int32		most = challenge->times > 0 ? challenge->times : PG_INT32_MAX;
	Datum		times;

	if (challenge->kind != CHALLENGE_STAMP)
		return 1;
	times = DirectFunctionCall2(numeric_div_trunc, NumericGetDatum(progress->value), NumericGetDatum(challenge->target));
	return money_compare(DatumGetNumeric(times), int64_to_numeric(most)) >= 0 ? most : DatumGetInt32(DirectFunctionCall1(numeric_int4, times));
}

/* As loyalty.give_challenge() writes it. */
static char *
award_key(const ChallengeAward *award)
{
	char		start[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(award->period_start))
		EncodeSpecialTimestamp(award->period_start, start);
	else if (timestamp2tm(award->period_start, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "period of challenge %d is out of range", award->challenge_id);
	else
		EncodeDateTime(&tm, fsec, false, 0, NULL, USE_ISO_DATES, start);
	return psprintf("challenge %d from %s no %d", award->challenge_id, start, award->award_no);
}

static Points
times_points(Points points, int32 n)
{
	Points		product;

	if (pg_mul_s64_overflow(points, n, &product))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("points out of range")));
	return product;
}

/* Points for completions, as loyalty.give_challenge() gives them; false: it must, because something is owed. */
static bool
give(Account *account, Progress *progress, int32 due)
{
	const Challenge *challenge = progress->challenge;
	Intervention intervention = {0};
	ChallengeAward award = {
		.challenge_id = challenge->id, .period_start = progress->period_start, .completions = due - progress->times,
		.points_each = challenge->points, .points = times_points(challenge->points, due - progress->times),
		.badge = challenge->badge, .at = account->settled_at
	};

	if (!progress->awards_read && !account->is_new)
		progress->award_no = store_read_challenge_awards(account, challenge->id, progress->period_start, &progress->owed);
	progress->awards_read = true;
	if (progress->owed > 0)
		return false;
	award.award_no = ++progress->award_no;
	if (award.points > 0)
	{
		Call		call = {
			.name = "adjust", .program = account->program, .account = account, .store = account->store,
			.at = account->settled_at, .caller = {.user = owner_oid()}
		};

		adjust_give(&call, award.points, psprintf("challenge %s", challenge->name), award_key(&award),
					challenge->counts_for_tier, &intervention);
		award.entry_no = intervention.entry_no;
		award.expires_at = intervention.expires_at;
	}
	store_insert_challenge_award(account, &award);
	progress->times = due;
	return true;
}

/* Give at once what is points and badges alone; all else waits for challenge_settle(). */
static void
settle(Account *account, Progress *progress)
{
	const Challenge *challenge = progress->challenge;
	bool		reached = money_compare(progress->value, challenge->target) >= 0;
	bool		was_reached = progress->completed_at != DT_NOEND;
	int32		due = !reached || challenge->kind == CHALLENGE_STREAK ? 0 : due_of(progress);

	if (challenge->kind == CHALLENGE_STAMP ? due == progress->times : reached == was_reached)
		return;
	if (challenge->kind == CHALLENGE_STREAK || challenge->has_reward || due < progress->times ||
		(due > progress->times && !give(account, progress, due)))
		progress->unsettled = true;
	else if (reached != was_reached)
		progress->completed_at = reached ? account->settled_at : DT_NOEND;
}

void
challenge_count(Account *account)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	if (account->progressing == NULL)
		account->progressing = palloc0(sizeof(Progressing));
	add_sales(account);
	for (int i = 0; i < account->progressing->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (move_on(account, account->progressing->list[i]))
			settle(account, account->progressing->list[i]);
	}
	MemoryContextSwitchTo(old);
}

void
challenge_write(Account *account)
{
	Progressing *progressing = account->progressing;

	for (int i = 0; i < progressing->n; i++)
		if (progressing->list[i]->changed)
		{
			store_change_progress(account, progressing->list[i]);
			progressing->list[i]->changed = progressing->list[i]->stored = false;
			progressing->list[i]->value = NULL;	/* read again when it is needed again */
		}
}

/* ---- what is given and taken in SQL ---- */

int
challenge_unsettled(const Account *account)
{
	int			n = 0;

	for (int i = 0; account->progressing && i < account->progressing->n; i++)
		n += account->progressing->list[i]->unsettled;
	return n;
}

static Datum
array_of(Datum *values, int n, Oid type)
{
	bool		is_short = type == INT4OID;

	return PointerGetDatum(construct_array(values, n, type, is_short ? sizeof(int32) : sizeof(int64),
										   is_short || FLOAT8PASSBYVAL, is_short ? TYPALIGN_INT : TYPALIGN_DOUBLE));
}

void
challenge_settle(const Program *program, Account **accounts, int naccounts, int n, ArrayType *sales)
{
	static SPIPlanPtr plan;
	Oid			types[5] = {INT4OID, INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID};
	Datum	   *members = palloc(mul_size(n, sizeof(Datum)));
	Datum	   *challenges = palloc(mul_size(n, sizeof(Datum)));
	Datum	   *starts = palloc(mul_size(n, sizeof(Datum)));
	Datum		values[5] = {Int32GetDatum(program->id)};
	int			found = 0;
	int			result;

	if (n == 0)
		return;
	for (int a = 0; a < naccounts; a++)
		for (int i = 0; accounts[a] && accounts[a]->progressing && i < accounts[a]->progressing->n; i++)
		{
			Progress   *progress = accounts[a]->progressing->list[i];

			if (!progress->unsettled)
				continue;
			progress->unsettled = false;
			members[found] = Int64GetDatum(accounts[a]->member_id);
			challenges[found] = Int32GetDatum(progress->challenge_id);
			starts[found++] = TimestampTzGetDatum(progress->period_start);
		}
	Assert(found == n);
	values[1] = array_of(members, n, INT8OID);
	values[2] = array_of(challenges, n, INT4OID);
	values[3] = array_of(starts, n, TIMESTAMPTZOID);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (sales)
	{
		types[4] = get_array_type(ARR_ELEMTYPE(sales));
		values[4] = PointerGetDatum(sales);
		result = SPI_execute_with_args("SELECT loyalty.settle_challenges_or_note($1, $2, $3, $4, $5)", 5, types, values, NULL, false, 0);
	}
	else
		result = SPI_execute_plan(plan_of(&plan, "SELECT loyalty.settle_challenges($1, $2, $3, $4, '-infinity')", 4, types),
								  values, NULL, false, 0);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not settle challenges");
	SPI_finish();
}
