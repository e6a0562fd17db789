/*
 * calendar.h
 *	  Calendar arithmetic in a program's time zone.
 *
 * A local wall time that a clock change skips is moved forward by the gap, one that occurs twice is taken at
 * its first occurrence (as timestamp AT TIME ZONE does).  All raise 22008 when the result leaves
 * PostgreSQL's range.
 */
#ifndef LOYALTY_CALENDAR_H
#define LOYALTY_CALENDAR_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

typedef enum CalendarUnit
{
	CALENDAR_DAY,
	CALENDAR_WEEK,				/* ISO: from Monday */
	CALENDAR_MONTH,
	CALENDAR_QUARTER,
	CALENDAR_YEAR
} CalendarUnit;

/* the same local wall time, months and days later; 31 January + 1 month is the last of February */
extern TimestampTz calendar_add(TimestampTz at, int months, int days, pg_tz *zone);

/* the first instant of the unit that holds `at` in local time, and of the unit `n` units after it */
extern TimestampTz calendar_floor(TimestampTz at, CalendarUnit unit, pg_tz *zone);
extern TimestampTz calendar_next(TimestampTz at, CalendarUnit unit, int n, pg_tz *zone);

/* local midnight at the start of a date */
extern TimestampTz calendar_midnight(DateADT date, pg_tz *zone);

extern DateADT calendar_date(TimestampTz at, pg_tz *zone);		/* local date of an instant */
extern Timestamp calendar_local(TimestampTz at, pg_tz *zone);	/* local wall time of an instant */

/* the last good local day of something that is dead from `expires_at` on: expires_at minus 1 µs, as a date */
extern DateADT calendar_last_day(TimestampTz expires_at, pg_tz *zone);

/* a zone by name, full names and abbreviation-free POSIX strings alike; error 22023 with hint when unknown */
extern pg_tz *calendar_zone(const char *name);

#endif
