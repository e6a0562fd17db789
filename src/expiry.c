/*
 * expiry.c
 *	  How long points live.
 *
 * Rules for whoever maintains this:
 * - Two texts that mean the same are the same bytes (weeks are kept as days, years as months), because equality
 *	 and hash compare fields.  Fields that a kind does not use are 0.
 * - in and recv pass the same check(); nothing else makes an Expiry.
 * - The end is computed in the program's zone, at the wall time of the grant: no hidden rounding to a day.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "expiry.h"
#include "words_type.h"

PG_FUNCTION_INFO_V1(expiry_out);
PG_FUNCTION_INFO_V1(expiry_recv);
PG_FUNCTION_INFO_V1(expiry_send);
PG_FUNCTION_INFO_V1(expiry_expires_at);
PG_FUNCTION_INFO_V1(expiry_inactivity);
PG_FUNCTION_INFO_V1(expiry_last_day);

#define PG_GETARG_EXPIRY(n) ((const Expiry *) PG_GETARG_POINTER(n))

static const char *const forms =
"Valid are: never; 365 days; 12 months; 12 months, end of month (day, month, quarter, year); "
"every 31 december; 36 months, every 30 september; 18 months inactive.";

TimestampTz
expiry_instant(const Expiry *expiry, TimestampTz from, pg_tz *zone)
{
	TimestampTz at;

	if (TIMESTAMP_NOT_FINITE(from))
		return from;
	switch ((ExpiryKind) expiry->kind)
	{
		case EXPIRY_AFTER:
			at = calendar_add(from, expiry->months, expiry->days, zone);
			if (expiry->aligned != 0)
				at = calendar_next(at, (CalendarUnit) (expiry->aligned - 1), 1, zone);
			return at;

		case EXPIRY_EVERY:
			{
				int			year;
				int			month;
				int			day;

				if (expiry->months != 0 || expiry->days != 0)
					from = calendar_add(from, expiry->months, expiry->days, zone);
				j2date(calendar_date(from, zone) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
				do
					at = calendar_midnight(calendar_date_of(year++, expiry->month, expiry->day) + 1, zone);
				while (at <= from);
				return at;
			}

		case EXPIRY_NEVER:
		case EXPIRY_INACTIVE:
			break;
	}
	return DT_NOEND;
}

TimestampTz
expiry_inactive_at(const Expiry *expiry, TimestampTz last_activity, pg_tz *zone)
{
	if (expiry->kind != EXPIRY_INACTIVE)
		return DT_NOEND;
	if (TIMESTAMP_NOT_FINITE(last_activity))
		return last_activity;
	return calendar_add(last_activity, expiry->months, expiry->days, zone);
}

/* ---- in and out ---- */

static bool
is_length(const Expiry *expiry)
{
	return expiry->months >= 0 && expiry->months <= WORDS_MAX_MONTHS &&
		expiry->days >= 0 && expiry->days <= WORDS_MAX_DAYS;
}

/* Whatever came from outside: what a kind does not use is 0, what it uses in range. */
static bool
check(const Expiry *expiry)
{
	bool		no_length = expiry->months == 0 && expiry->days == 0;
	bool		no_day = expiry->month == 0 && expiry->day == 0;

	switch (expiry->kind)
	{
		case EXPIRY_NEVER:
			return no_length && no_day && expiry->aligned == 0;
		case EXPIRY_AFTER:
			return is_length(expiry) && no_day && expiry->aligned >= 0 &&
				expiry->aligned <= CALENDAR_YEAR + 1 && expiry->aligned != CALENDAR_WEEK + 1 &&
				(!no_length || expiry->aligned != 0);
		case EXPIRY_EVERY:
			return is_length(expiry) && expiry->aligned == 0 && is_day_of_year(expiry->month, expiry->day);
		case EXPIRY_INACTIVE:
			return is_length(expiry) && !no_length && no_day && expiry->aligned == 0;
		default:
			return false;
	}
}

static bool
parse_end_of_unit(Words *words, Expiry *expiry)
{
	CalendarUnit unit;

	if (!words_expect(words, "of") || !words_unit(words, &unit))
		return false;
	expiry->aligned = unit + 1;
	return words_expect_end(words);
}

static bool
parse_every(Words *words, Expiry *expiry)
{
	expiry->kind = EXPIRY_EVERY;
	return words_day_of_year(words, &expiry->month, &expiry->day) && words_expect_end(words);
}

static bool
parse_after_length(Words *words, Expiry *expiry)
{
	bool		no_length;

	if (!words_length(words, &expiry->months, &expiry->days))
		return false;
	no_length = expiry->months == 0 && expiry->days == 0;
	expiry->kind = EXPIRY_AFTER;
	if (words_accept(words, ","))
	{
		if (words_accept(words, "every"))
			return parse_every(words, expiry);
		return words_accept(words, "end") ? parse_end_of_unit(words, expiry) : words_fail(words, "\"end of\" or \"every\"");
	}
	if (no_length)
	{
		words->next--;
		return words_out_of_range(words, "points would be dead on arrival");
	}
	if (words_accept(words, "inactive"))
		expiry->kind = EXPIRY_INACTIVE;
	else if (!words_at_end(words))
		return words_fail(words, "\", end of\", \", every\", \"inactive\" or the end of the text");
	return words_expect_end(words);
}

static bool
parse(Words *words, Expiry *expiry)
{
	if (words_accept(words, "never"))
		return words_expect_end(words);
	if (words_accept(words, "every"))
		return parse_every(words, expiry);
	if (words_accept(words, "end"))
	{
		expiry->kind = EXPIRY_AFTER;
		return parse_end_of_unit(words, expiry);
	}
	if (words_at_number(words))
		return parse_after_length(words, expiry);
	return words_fail(words, "\"never\", \"every\", \"end of\" or a number");
}

Datum
expiry_out(PG_FUNCTION_ARGS)
{
	const Expiry *expiry = PG_GETARG_EXPIRY(0);
	StringInfoData out;

	initStringInfo(&out);
	switch ((ExpiryKind) expiry->kind)
	{
		case EXPIRY_NEVER:
			appendStringInfoString(&out, "never");
			break;
		case EXPIRY_AFTER:
			append_length(&out, expiry->months, expiry->days);
			if (expiry->aligned != 0)
				appendStringInfo(&out, "%send of %s", out.len > 0 ? ", " : "",
								 unit_name((CalendarUnit) (expiry->aligned - 1)));
			break;
		case EXPIRY_EVERY:
			append_length(&out, expiry->months, expiry->days);
			appendStringInfo(&out, "%severy %d %s", out.len > 0 ? ", " : "", expiry->day, month_name(expiry->month));
			break;
		case EXPIRY_INACTIVE:
			append_length(&out, expiry->months, expiry->days);
			appendStringInfoString(&out, " inactive");
			break;
	}
	PG_RETURN_CSTRING(out.data);
}

Datum
expiry_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	Expiry	   *expiry = palloc0(sizeof(Expiry));

	expiry->kind = (int32) pq_getmsgint(buffer, 4);
	expiry->months = (int32) pq_getmsgint(buffer, 4);
	expiry->days = (int32) pq_getmsgint(buffer, 4);
	expiry->aligned = (int16) pq_getmsgint(buffer, 2);
	expiry->month = (int8) pq_getmsgint(buffer, 1);
	expiry->day = (int8) pq_getmsgint(buffer, 1);
	if (!check(expiry))
		words_refuse_binary("expiry", forms);
	PG_RETURN_POINTER(expiry);
}

Datum
expiry_send(PG_FUNCTION_ARGS)
{
	const Expiry *expiry = PG_GETARG_EXPIRY(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint32(&buffer, expiry->kind);
	pq_sendint32(&buffer, expiry->months);
	pq_sendint32(&buffer, expiry->days);
	pq_sendint16(&buffer, expiry->aligned);
	pq_sendint8(&buffer, expiry->month);
	pq_sendint8(&buffer, expiry->day);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* ---- comparison: an order for indexes and DISTINCT, not of durations ---- */

static int
compare(const Expiry *a, const Expiry *b)
{
	const int32 left[] = {a->kind, a->months, a->days, a->aligned, a->month, a->day};
	const int32 right[] = {b->kind, b->months, b->days, b->aligned, b->month, b->day};

	for (int i = 0; i < lengthof(left); i++)
	{
		if (left[i] != right[i])
			return left[i] < right[i] ? -1 : 1;
	}
	return 0;
}

WORDS_TYPE(expiry, Expiry);

/* ---- what people ask ---- */

Datum
expiry_expires_at(PG_FUNCTION_ARGS)
{
	pg_tz	   *zone = calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	PG_RETURN_TIMESTAMPTZ(expiry_instant(PG_GETARG_EXPIRY(1), PG_GETARG_TIMESTAMPTZ(0), zone));
}

Datum
expiry_inactivity(PG_FUNCTION_ARGS)
{
	pg_tz	   *zone = calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	PG_RETURN_TIMESTAMPTZ(expiry_inactive_at(PG_GETARG_EXPIRY(1), PG_GETARG_TIMESTAMPTZ(0), zone));
}

Datum
expiry_last_day(PG_FUNCTION_ARGS)
{
	pg_tz	   *zone = calendar_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PG_RETURN_DATEADT(calendar_last_day(PG_GETARG_TIMESTAMPTZ(0), zone));
}
