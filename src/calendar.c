/*
 * calendar.c
 *	  Calendar arithmetic in a program's time zone.
 *
 * Rules for whoever maintains this:
 * - A wall time becomes an instant as "timestamp AT TIME ZONE" does it: one that a clock change skips is moved
 *	 forward by the gap, one that occurs twice is taken after the change (standard time).
 * - A date begins at the first instant whose local date it is, also where midnight is skipped (São Paulo until
 *	 2018, Cairo) or occurs twice (Havana, the Azores).  Only in the latter this differs from AT TIME ZONE, and
 *	 it must: a lot that lives until the end of October must not live an hour of November.
 * - It runs per purchase.  The zone's offset is looked up in a small cache of the segments between two clock
 *	 changes; the pg_tz of a name lives as long as the backend, so its address is a key.
 * - Dates are counted from 2000-01-01 (DateADT), instants and wall times in microseconds from then.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "calendar.h"

#define EPOCH_SECONDS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)	/* 2000-01-01, from 1970 */

/* A stretch of time in which a zone's offset does not change. */
typedef struct Segment
{
	const pg_tz *zone;
	int64		start;			/* Unix seconds: the earliest seen so far, and where it ends */
	int64		end;
	long		offset;			/* seconds east of Greenwich */
} Segment;

#define SEGMENTS 8

static Segment segments[SEGMENTS];
static int	next_segment = 0;

/* A month, quarter or year of a zone, and the beginning of the n-th after it. */
typedef struct Stretch
{
	const pg_tz *zone;
	CalendarUnit unit;
	int			n;
	TimestampTz start;
	TimestampTz end;
	TimestampTz next;
} Stretch;

#define STRETCHES 16			/* purchases of a year end in twelve months */

static Stretch stretches[STRETCHES];
static int	next_stretch = 0;

static void
out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

static inline int64
floor_div(int64 value, int64 divisor)
{
	int64		quotient = value / divisor;

	return value % divisor < 0 ? quotient - 1 : quotient;
}

static inline int64
unix_seconds(TimestampTz at)
{
	return floor_div(at, USECS_PER_SEC) + EPOCH_SECONDS;
}

static const Segment *
find_segment(int64 seconds, const pg_tz *zone)
{
	pg_time_t	at = seconds;
	pg_time_t	boundary;
	long		before;
	long		after;
	int			isdst;
	int64		end;
	Segment    *segment;

	for (int i = 0; i < SEGMENTS; i++)
	{
		segment = &segments[i];
		if (segment->zone == zone && seconds >= segment->start && seconds < segment->end)
			return segment;
	}
	end = pg_next_dst_boundary(&at, &before, &isdst, &boundary, &after, &isdst, zone) == 1 ?
		boundary : PG_INT64_MAX;
	for (int i = 0; i < SEGMENTS; i++)
	{
		segment = &segments[i];
		if (segment->zone == zone && segment->end == end && segment->offset == before)
		{
			segment->start = Min(segment->start, seconds);
			return segment;
		}
	}
	segment = &segments[next_segment];
	next_segment = (next_segment + 1) % SEGMENTS;
	segment->zone = zone;
	segment->start = seconds;
	segment->end = end;
	segment->offset = before;
	return segment;
}

Timestamp
calendar_local(TimestampTz at, pg_tz *zone)
{
	Timestamp	local;

	if (TIMESTAMP_NOT_FINITE(at))
		return at;
	local = at + find_segment(unix_seconds(at), zone)->offset * USECS_PER_SEC;
	if (!IS_VALID_TIMESTAMP(local))
		out_of_range();
	return local;
}

DateADT
calendar_date(TimestampTz at, pg_tz *zone)
{
	if (TIMESTAMP_IS_NOBEGIN(at))
		return DATEVAL_NOBEGIN;
	if (TIMESTAMP_IS_NOEND(at))
		return DATEVAL_NOEND;
	return (DateADT) floor_div(calendar_local(at, zone), USECS_PER_DAY);
}

/*
 * The clock change near a wall time, as DetermineTimeZoneOffset finds it: at most one lies within a day
 * before and after.  `wall` is in seconds from 1970.  False when there is none: `before` holds.
 */
static bool
change_near(int64 wall, const pg_tz *zone, long *before, long *after, int64 *change)
{
	pg_time_t	from = wall - SECS_PER_DAY;
	pg_time_t	boundary;
	int			isdst;
	const Segment *segment = find_segment(from, zone);

	*before = segment->offset;
	if (segment->end > wall + SECS_PER_DAY)
		return false;
	if (pg_next_dst_boundary(&from, before, &isdst, &boundary, after, &isdst, zone) != 1)
		return false;
	*change = boundary;
	return true;
}

/* The instant of a wall time. */
static TimestampTz
instant_of_wall(Timestamp wall, const pg_tz *zone)
{
	int64		seconds = unix_seconds(wall);
	int64		change;
	long		before;
	long		after;
	TimestampTz at;

	if (change_near(seconds, zone, &before, &after, &change))
	{
		/* twice: both offsets would do, the later counts; skipped: neither, before moves it by the gap */
		if (seconds - after >= change)
			before = after;
	}
	at = wall - before * USECS_PER_SEC;
	if (!IS_VALID_TIMESTAMP(at))
		out_of_range();
	return at;
}

/* The first instant of a date. */
TimestampTz
calendar_midnight(DateADT date, pg_tz *zone)
{
	int64		seconds;
	int64		change;
	long		before;
	long		after;
	TimestampTz at;

	if (DATE_IS_NOBEGIN(date))
		return DT_NOBEGIN;
	if (DATE_IS_NOEND(date))
		return DT_NOEND;
	if (date < floor_div(MIN_TIMESTAMP, USECS_PER_DAY) || date >= END_TIMESTAMP / USECS_PER_DAY + 1)
		out_of_range();
	seconds = (int64) date * SECS_PER_DAY + EPOCH_SECONDS;
	if (change_near(seconds, zone, &before, &after, &change))
	{
		if (seconds - before < change)
			seconds -= before;
		else
			seconds = Max(change, seconds - after); /* skipped: the change itself */
	}
	else
		seconds -= before;
	at = (seconds - EPOCH_SECONDS) * USECS_PER_SEC;
	if (!IS_VALID_TIMESTAMP(at))
		out_of_range();
	return at;
}

/* Date of a day of a month, both counted on without limit; a day that the month lacks is its last. */
static DateADT
date_of(int64 month_number, int day)
{
	int			year;
	int			month;

	if (month_number < -4713 * INT64CONST(12) || month_number > 294277 * INT64CONST(12))
		out_of_range();
	year = (int) floor_div(month_number, 12);
	month = (int) (month_number - (int64) year * 12) + 1;
	day = Min(day, day_tab[isleap(year)][month - 1]);
	return date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
}

DateADT
calendar_date_of(int year, int month, int day)
{
	return date_of((int64) year * 12 + month - 1, day);
}

DateADT
calendar_add_months(DateADT date, int n_months)
{
	int			year;
	int			month;
	int			day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return date_of((int64) year * 12 + month - 1 + n_months, day);
}

TimestampTz
calendar_add(TimestampTz at, int n_months, int n_days, pg_tz *zone)
{
	Timestamp	local;
	int64		date;
	Timestamp	time;

	if (TIMESTAMP_NOT_FINITE(at) || (n_months == 0 && n_days == 0))
		return at;
	local = calendar_local(at, zone);
	date = floor_div(local, USECS_PER_DAY);
	time = local - date * USECS_PER_DAY;
	if (n_months != 0)
		date = calendar_add_months((DateADT) date, n_months);
	date += n_days;
	if (date < floor_div(MIN_TIMESTAMP, USECS_PER_DAY) || date >= END_TIMESTAMP / USECS_PER_DAY)
		out_of_range();
	return instant_of_wall(date * USECS_PER_DAY + time, zone);
}

/* First date of the unit that holds a date, and of the n-th after it. */
static DateADT
first_date(DateADT date, CalendarUnit unit, int n)
{
	int			year;
	int			month;
	int			day;
	int64		first;

	if (unit == CALENDAR_DAY || unit == CALENDAR_WEEK)
	{
		int			length = unit == CALENDAR_DAY ? 1 : 7;

		/* 2000-01-03 was a Monday */
		first = unit == CALENDAR_DAY ? date : floor_div((int64) date - 2, 7) * 7 + 2;
		first += (int64) n * length;
		if (first < PG_INT32_MIN / 2 || first > PG_INT32_MAX / 2)
			out_of_range();
		return (DateADT) first;
	}
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	first = (int64) year * 12 + month - 1;
	if (unit == CALENDAR_MONTH)
		return date_of(first + n, 1);
	if (unit == CALENDAR_QUARTER)
		return date_of(floor_div(first, 3) * 3 + (int64) n * 3, 1);
	return date_of((int64) year * 12 + (int64) n * 12, 1);
}

DateADT
calendar_day(TimestampTz at, pg_tz *zone)
{
	DateADT		date = calendar_date(at, zone);

	return calendar_midnight(date + 1, zone) <= at ? date + 1 : date;
}

/* The stretch is known only where its own ends are no error. */
static void
keep_stretch(DateADT day, CalendarUnit unit, int n, TimestampTz next, pg_tz *zone)
{
	if (unit == CALENDAR_DAY || unit == CALENDAR_WEEK || day < -1000 * 366 || day > 1000 * 366)
		return;
	stretches[next_stretch] = (Stretch) {
		.zone = zone, .unit = unit, .n = n, .next = next,
		.start = calendar_midnight(first_date(day, unit, 0), zone),
		.end = calendar_midnight(first_date(day, unit, 1), zone)
	};
	next_stretch = (next_stretch + 1) % STRETCHES;
}

TimestampTz
calendar_next(TimestampTz at, CalendarUnit unit, int n, pg_tz *zone)
{
	DateADT		day;
	TimestampTz next;

	if (TIMESTAMP_NOT_FINITE(at))
		return at;
	for (int i = 0; i < STRETCHES; i++)
	{
		const Stretch *stretch = &stretches[i];

		if (at >= stretch->start && at < stretch->end && stretch->unit == unit && stretch->n == n && stretch->zone == zone)
			return stretch->next;
	}
	day = calendar_day(at, zone);
	next = calendar_midnight(first_date(day, unit, n), zone);
	keep_stretch(day, unit, n, next, zone);
	return next;
}

TimestampTz
calendar_floor(TimestampTz at, CalendarUnit unit, pg_tz *zone)
{
	return calendar_next(at, unit, 0, zone);
}

DateADT
calendar_last_day(TimestampTz expires_at, pg_tz *zone)
{
	if (TIMESTAMP_NOT_FINITE(expires_at))
		return calendar_date(expires_at, zone);
	return calendar_date(expires_at - 1, zone);
}

pg_tz *
calendar_zone(const char *name)
{
	static char last_name[TZ_STRLEN_MAX + 1];
	static pg_tz *last_zone = NULL;
	pg_tz	   *zone;

	if (last_zone != NULL && strcmp(name, last_name) == 0)
		return last_zone;
	zone = pg_tzset(name);
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", name),
				 errhint("The view pg_timezone_names lists the names, for example Europe/Istanbul.")));
	strlcpy(last_name, name, sizeof(last_name));
	last_zone = zone;
	return zone;
}
