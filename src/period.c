/*
 * period.c
 *	  What a counter runs over: calendar units, years from a day, rolling windows, a lifetime.
 *
 * Rules for whoever maintains this:
 * - Bounds are half-open and hold the instant: start <= at < end, for every finite instant and zone.
 * - Neighbours meet: the end of a period is the start of the next, whichever instant was asked for.
 * - As with expiry, equal meaning is equal bytes; in and recv pass the same check().
 */
#include "postgres.h"

#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errcodes.h"
#include "period.h"
#include "words_type.h"

PG_FUNCTION_INFO_V1(period_out);
PG_FUNCTION_INFO_V1(period_recv);
PG_FUNCTION_INFO_V1(period_send);
PG_FUNCTION_INFO_V1(period_bounds_of);
PG_FUNCTION_INFO_V1(period_start_of);
PG_FUNCTION_INFO_V1(period_end_of);
PG_FUNCTION_INFO_V1(period_bucket_of);

#define PG_GETARG_PERIOD(n) ((const Period *) PG_GETARG_POINTER(n))

static const char *const forms =
"Valid are: day; week; calendar month; calendar quarter; calendar year; year from 1 march; "
"membership year; rolling 12 months; rolling 30 days; lifetime.";

/* First instant of the year that begins at this day of `year`. */
static TimestampTz
year_start(int year, int month, int day, pg_tz *zone)
{
	return calendar_midnight(calendar_date_of(year, month, day), zone);
}

/* The year from a day of the year that holds `at`. */
static void
year_bounds(TimestampTz at, int month, int day, pg_tz *zone, TimestampTz *start, TimestampTz *end)
{
	int			year;
	int			at_month;
	int			at_day;

	j2date(calendar_day(at, zone) + POSTGRES_EPOCH_JDATE, &year, &at_month, &at_day);
	*start = year_start(year, month, day, zone);
	if (*start > at)
	{
		*end = *start;
		*start = year_start(year - 1, month, day, zone);
		return;
	}
	*end = year_start(year + 1, month, day, zone);
}

void
period_bounds(const Period *period, TimestampTz at, TimestampTz enrolled_at, pg_tz *zone,
			  TimestampTz *start, TimestampTz *end)
{
	int			year;
	int			month;
	int			day;

	*start = DT_NOBEGIN;
	*end = DT_NOEND;
	if (period->kind == PERIOD_LIFETIME)
		return;
	if (TIMESTAMP_NOT_FINITE(at))
	{
		*start = *end = at;
		return;
	}
	switch ((PeriodKind) period->kind)
	{
		case PERIOD_CALENDAR:
			*start = calendar_floor(at, (CalendarUnit) period->unit, zone);
			*end = calendar_next(at, (CalendarUnit) period->unit, 1, zone);
			break;
		case PERIOD_YEAR_FROM:
			year_bounds(at, period->month, period->day, zone, start, end);
			break;
		case PERIOD_MEMBERSHIP_YEAR:
			if (TIMESTAMP_NOT_FINITE(enrolled_at))
				ereport(ERROR,
						(errcode(ERRCODE_LY_INVALID_ARGUMENT),
						 errmsg("a membership year needs the instant of the enrolment"),
						 errhint("Give enrolled_at, which is neither null nor infinite.")));
			j2date(calendar_date(enrolled_at, zone) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
			year_bounds(at, month, day, zone, start, end);
			break;
		case PERIOD_ROLLING:
			*start = calendar_add(at, -period->months, -period->days, zone) + 1;
			*end = at + 1;
			break;
		case PERIOD_LIFETIME:
			break;
	}
}

TimestampTz
period_bucket(const Period *period, TimestampTz at, TimestampTz enrolled_at, pg_tz *zone)
{
	TimestampTz start;
	TimestampTz end;

	if (period->kind == PERIOD_ROLLING)
		return calendar_add(at, period->months, period->days, zone);
	period_bounds(period, at, enrolled_at, zone, &start, &end);
	return start;
}

/* ---- in and out ---- */

/* Whatever came from outside: what a kind does not use is 0, what it uses in range. */
static bool
check(const Period *period)
{
	bool		no_length = period->months == 0 && period->days == 0;
	bool		no_day = period->month == 0 && period->day == 0;

	switch (period->kind)
	{
		case PERIOD_CALENDAR:
			return no_length && no_day && period->unit >= CALENDAR_DAY && period->unit <= CALENDAR_YEAR;
		case PERIOD_YEAR_FROM:
			return no_length && period->unit == 0 && is_day_of_year(period->month, period->day);
		case PERIOD_ROLLING:
			return period->months >= 0 && period->months <= WORDS_MAX_MONTHS &&
				period->days >= 0 && period->days <= WORDS_MAX_DAYS &&
				!no_length && no_day && period->unit == 0;
		case PERIOD_MEMBERSHIP_YEAR:
		case PERIOD_LIFETIME:
			return no_length && no_day && period->unit == 0;
		default:
			return false;
	}
}

static bool
accept_unit(Words *words, Period *period)
{
	for (CalendarUnit unit = CALENDAR_DAY; unit <= CALENDAR_YEAR; unit++)
	{
		if (words_accept(words, unit_name(unit)))
		{
			period->kind = PERIOD_CALENDAR;
			period->unit = unit;
			return true;
		}
	}
	return false;
}

static bool
parse(Words *words, Period *period)
{
	if (words_accept(words, "lifetime"))
		period->kind = PERIOD_LIFETIME;
	else if (words_accept(words, "membership"))
	{
		period->kind = PERIOD_MEMBERSHIP_YEAR;
		if (!words_expect(words, "year"))
			return false;
	}
	else if (words_accept(words, "rolling"))
	{
		period->kind = PERIOD_ROLLING;
		if (!words_length(words, &period->months, &period->days))
			return false;
		if (period->months == 0 && period->days == 0)
		{
			words->next--;
			return words_out_of_range(words, "a rolling period has at least 1 day");
		}
	}
	else if (words_accept(words, "calendar"))
	{
		if (!accept_unit(words, period))
			return words_fail(words, "day, week, month, quarter or year");
	}
	else if (!accept_unit(words, period))
		return words_fail(words, "a period");
	else if (period->unit == CALENDAR_YEAR && words_accept(words, "from"))
	{
		period->kind = PERIOD_YEAR_FROM;
		period->unit = 0;
		if (!words_day_of_year(words, &period->month, &period->day))
			return false;
	}
	return words_expect_end(words);
}

Datum
period_out(PG_FUNCTION_ARGS)
{
	const Period *period = PG_GETARG_PERIOD(0);
	StringInfoData out;

	initStringInfo(&out);
	switch ((PeriodKind) period->kind)
	{
		case PERIOD_CALENDAR:
			if (period->unit >= CALENDAR_MONTH)
				appendStringInfoString(&out, "calendar ");
			appendStringInfoString(&out, unit_name((CalendarUnit) period->unit));
			break;
		case PERIOD_YEAR_FROM:
			appendStringInfo(&out, "year from %d %s", period->day, month_name(period->month));
			break;
		case PERIOD_MEMBERSHIP_YEAR:
			appendStringInfoString(&out, "membership year");
			break;
		case PERIOD_ROLLING:
			appendStringInfoString(&out, "rolling ");
			append_length(&out, period->months, period->days);
			break;
		case PERIOD_LIFETIME:
			appendStringInfoString(&out, "lifetime");
			break;
	}
	PG_RETURN_CSTRING(out.data);
}

Datum
period_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	Period	   *period = palloc0(sizeof(Period));

	period->kind = (int32) pq_getmsgint(buffer, 4);
	period->months = (int32) pq_getmsgint(buffer, 4);
	period->days = (int32) pq_getmsgint(buffer, 4);
	period->unit = (int16) pq_getmsgint(buffer, 2);
	period->month = (int8) pq_getmsgint(buffer, 1);
	period->day = (int8) pq_getmsgint(buffer, 1);
	if (!check(period))
		words_refuse_binary("period", forms);
	PG_RETURN_POINTER(period);
}

Datum
period_send(PG_FUNCTION_ARGS)
{
	const Period *period = PG_GETARG_PERIOD(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint32(&buffer, period->kind);
	pq_sendint32(&buffer, period->months);
	pq_sendint32(&buffer, period->days);
	pq_sendint16(&buffer, period->unit);
	pq_sendint8(&buffer, period->month);
	pq_sendint8(&buffer, period->day);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* ---- comparison: an order for indexes and DISTINCT, not of durations ---- */

static int
compare(const Period *a, const Period *b)
{
	const int32 left[] = {a->kind, a->unit, a->months, a->days, a->month, a->day};
	const int32 right[] = {b->kind, b->unit, b->months, b->days, b->month, b->day};

	for (int i = 0; i < lengthof(left); i++)
	{
		if (left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	}
	return 0;
}

WORDS_TYPE(period, Period);

/* ---- what people ask ---- */

/* period_bounds(period, at, timezone, enrolled_at): one row, none when one of the first three is null */
Datum
period_bounds_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz start;
	TimestampTz end;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	period_bounds(PG_GETARG_PERIOD(0), PG_GETARG_TIMESTAMPTZ(1),
				  PG_ARGISNULL(3) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(3),
				  calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(2))), &start, &end);
	values[0] = TimestampTzGetDatum(start);
	values[1] = TimestampTzGetDatum(end);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	return (Datum) 0;
}

/* One of the bounds, for those who ask for many rows: period_start(period, at, timezone, enrolled_at) and period_end(). */
static void
ask_bounds(FunctionCallInfo fcinfo, TimestampTz *start, TimestampTz *end)
{
	*start = DT_NOBEGIN;
	*end = DT_NOEND;
	if (PG_GETARG_PERIOD(0)->kind != PERIOD_LIFETIME)
		period_bounds(PG_GETARG_PERIOD(0), PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(3),
					  calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(2))), start, end);
}

Datum
period_start_of(PG_FUNCTION_ARGS)
{
	TimestampTz start;
	TimestampTz end;

	ask_bounds(fcinfo, &start, &end);
	PG_RETURN_TIMESTAMPTZ(start);
}

Datum
period_end_of(PG_FUNCTION_ARGS)
{
	TimestampTz start;
	TimestampTz end;

	ask_bounds(fcinfo, &start, &end);
	PG_RETURN_TIMESTAMPTZ(end);
}

/* period_bucket(period, at, timezone, enrolled_at) */
Datum
period_bucket_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(period_bucket(PG_GETARG_PERIOD(0), PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(3),
										calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(2)))));
}
