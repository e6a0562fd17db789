/*
 * challenge.c
 *	  Progress in challenges, inside of the sale.
 *
 * Rules:
 * - What is added here is what loyalty.progress_of_ledger() would add up: the two say the same of windows, deadlines,
 *	 periods and metrics, and verify() compares them.  Visits are counted by loyalty.follow_visits().
 * - One statement a batch writes progress; only where a target was passed, up or down, loyalty.settle_challenges() is
 *	 called, once a batch.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "challenge.h"
#include "fixed.h"
#include "money.h"

/* What the sales of a batch add in one period of a challenge. */
typedef struct Hit
{
	int64		member;
	const Challenge *challenge;
	TimestampTz start;
	TimestampTz end;
	Numeric		spend;			/* NULL: none */
	int64		figure;			/* purchases, or a count of 1/10,000 */
} Hit;

typedef struct Hits
{
	int			n;
	int			max;
	Hit		   *hits;
	int			first;			/* of the account at hand */
} Hits;

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
	bool		isnull;

	if (SPI_execute_plan(plan_of(&plan, "SELECT joined_at FROM loyalty.challenge_join WHERE member_id OPERATOR(pg_catalog.=) $1"
								 " AND program_id OPERATOR(pg_catalog.=) $2 AND challenge_id OPERATOR(pg_catalog.=) $3", 3, types),
						 values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read loyalty.challenge_join");
	if (SPI_processed == 0)
		return DT_NOEND;
	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
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

static Hit *
hit_of(Hits *hits, const Account *account, const Challenge *challenge, TimestampTz at)
{
	Hit		   *hit;

	for (int i = hits->n - 1; i >= hits->first; i--)
		if (hits->hits[i].challenge == challenge && at >= hits->hits[i].start && at < hits->hits[i].end)
			return &hits->hits[i];
	if (hits->n == hits->max)
	{
		hits->max = Max(16, hits->max * 2);
		hits->hits = hits->hits ? repalloc(hits->hits, mul_size(hits->max, sizeof(Hit))) : palloc(mul_size(hits->max, sizeof(Hit)));
	}
	hit = &hits->hits[hits->n++];
	*hit = (Hit) {.member = account->member_id, .challenge = challenge};
	period_bounds(&challenge->period, at, account->enrolled_at, account->program->zone, &hit->start, &hit->end);
	return hit;
}

static void
add_sale(Hits *hits, const Account *account, const Challenge *challenge, const Sale *sale)
{
	Hit		   *hit;

	if (challenge->metric == CHALLENGE_SPEND)
	{
		hit = hit_of(hits, account, challenge, sale->occurred_at);
		hit->spend = hit->spend ? money_add(hit->spend, sale->spend) : sale->spend;
	}
	else
	{
		int64		figure = challenge->metric == CHALLENGE_PURCHASES ? purchases_of(sale) : sale->points;

		if (figure == 0)
			return;
		hit = hit_of(hits, account, challenge, sale->occurred_at);
		hit->figure = challenge->metric == CHALLENGE_PURCHASES ? hit->figure + figure : points_add(hit->figure, figure);
	}
}

static void
add_account(Hits *hits, const Account *account)
{
	const Program *program = account->program;

	hits->first = hits->n;
	for (int c = 0; c < program->nchallenges; c++)
	{
		const Challenge *challenge = &program->challenges[c];
		TimestampTz from = challenge->starts_at;
		TimestampTz until = challenge->ends_at;

		CHECK_FOR_INTERRUPTS();
		if (challenge->opt_in || challenge->has_deadline)
			window_of(account, challenge, &from, &until);
		for (int i = 0; i < account->nsales; i++)
		{
			const Sale *sale = &account->sales[i];

			if (sale->unit == challenge->unit && (challenge->source_id == 0 || sale->source_id == challenge->source_id) &&
				sale->occurred_at >= from && sale->occurred_at < until)
				add_sale(hits, account, challenge, sale);
		}
	}
}

/* ---- writing ---- */

/* Columns of a result or of arguments, as arrays. */
typedef struct Rows
{
	int			n;
	Datum	   *members;
	Datum	   *challenges;
	Datum	   *starts;
	Datum	   *ends;
	Datum	   *deltas;
} Rows;

static Rows
new_rows(int room)
{
	Size		size = mul_size(Max(room, 1), sizeof(Datum));

	return (Rows) {0, palloc(size), palloc(size), palloc(size), palloc(size), palloc(size)};
}

static Datum
array_of(Datum *values, int n, Oid type)
{
	if (type == NUMERICOID)
		return PointerGetDatum(construct_array(values, n, type, -1, false, TYPALIGN_INT));
	if (type == INT4OID)
		return PointerGetDatum(construct_array(values, n, type, sizeof(int32), true, TYPALIGN_INT));
	return PointerGetDatum(construct_array(values, n, type, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Rows
rows_of(const Hits *hits)
{
	Rows		rows = new_rows(hits->n);

	for (int i = 0; i < hits->n; i++)
	{
		const Hit  *hit = &hits->hits[i];

		if (hit->spend ? money_sign(hit->spend) == 0 : hit->figure == 0)
			continue;
		rows.members[rows.n] = Int64GetDatum(hit->member);
		rows.challenges[rows.n] = Int32GetDatum(hit->challenge->id);
		rows.starts[rows.n] = TimestampTzGetDatum(hit->start);
		rows.ends[rows.n] = TimestampTzGetDatum(hit->end);
		rows.deltas[rows.n++] = NumericGetDatum(hit->spend ? hit->spend : fixed_to_numeric(hit->figure,
																						   hit->challenge->metric == CHALLENGE_PURCHASES ? 0 : POINTS_SCALE));
	}
	return rows;
}

/* The next rows of progress are its result: member, challenge, period, value, times, is the target known to be reached. */
static void
write_progress(const Program *program, Rows *rows)
{
	static SPIPlanPtr plan;
	Oid			types[] = {INT4OID, INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID};
	Datum		values[] = {
		Int32GetDatum(program->id), array_of(rows->members, rows->n, INT8OID), array_of(rows->challenges, rows->n, INT4OID),
		array_of(rows->starts, rows->n, TIMESTAMPTZOID), array_of(rows->ends, rows->n, TIMESTAMPTZOID),
		array_of(rows->deltas, rows->n, NUMERICOID)
	};

	if (SPI_execute_plan(plan_of(&plan,
								 "INSERT INTO loyalty.progress AS t (member_id, program_id, challenge_id, period_start, period_end, value)"
								 " SELECT u.m, $1, u.c, u.s, u.e, u.d FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
								 " pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) u (m, c, s, e, d)"
								 " ON CONFLICT ON CONSTRAINT progress_pkey DO UPDATE SET value = t.value OPERATOR(pg_catalog.+) excluded.value"
								 " RETURNING t.member_id, t.challenge_id, t.period_start, t.value, t.times, t.completed_at IS NOT NULL",
								 lengthof(types), types), values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write loyalty.progress");
}

static Numeric
times_target(const Challenge *challenge, int64 times)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(challenge->target), NumericGetDatum(int64_to_numeric(times))));
}

/* Is there more or less to be given than was? */
static bool
is_passed(const Challenge *challenge, Numeric value, int32 times, bool reached)
{
	if (challenge->kind != CHALLENGE_STAMP)
		return (money_compare(value, challenge->target) >= 0) != reached;
	if (challenge->times > 0 && times >= challenge->times)
		return times > challenge->times || money_compare(value, times_target(challenge, times)) < 0;
	return money_compare(value, times_target(challenge, times)) < 0 || money_compare(value, times_target(challenge, times + INT64CONST(1))) >= 0;
}

static const Challenge *
challenge_by_id(const Program *program, int32 id)
{
	for (int i = 0; i < program->nchallenges; i++)
		if (program->challenges[i].id == id)
			return &program->challenges[i];
	elog(ERROR, "challenge %d is not known", id);
}

static Rows
passed_rows(const Program *program)
{
	Rows		rows = new_rows(SPI_processed);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		v[6];
		bool		nulls[6];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, v, nulls);
		if (!is_passed(challenge_by_id(program, DatumGetInt32(v[1])), DatumGetNumeric(v[3]), DatumGetInt32(v[4]), DatumGetBool(v[5])))
			continue;
		rows.members[rows.n] = v[0];
		rows.challenges[rows.n] = v[1];
		rows.starts[rows.n++] = v[2];
	}
	return rows;
}

static void
settle(const Program *program, Rows *rows)
{
	static SPIPlanPtr plan;
	Oid			types[] = {INT4OID, INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID};
	Datum		values[] = {
		Int32GetDatum(program->id), array_of(rows->members, rows->n, INT8OID), array_of(rows->challenges, rows->n, INT4OID),
		array_of(rows->starts, rows->n, TIMESTAMPTZOID)
	};

	if (SPI_execute_plan(plan_of(&plan, "SELECT loyalty.settle_challenges($1, $2, $3, $4, '-infinity')", lengthof(types), types),
						 values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not settle challenges");
}

void
challenge_follow(const Program *program, Account **accounts, int n)
{
	Hits		hits = {0};
	Rows		rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < n; i++)
		if (accounts[i] && accounts[i]->nsales > 0)
			add_account(&hits, accounts[i]);
	rows = rows_of(&hits);
	if (rows.n > 0)
	{
		write_progress(program, &rows);
		rows = passed_rows(program);
		if (rows.n > 0)
			settle(program, &rows);
	}
	SPI_finish();
}
