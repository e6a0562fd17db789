/*
 * calendar.h
 *	  Calendar arithmetic in a program's time zone.
 *
 * A local wall time that a clock change skips is moved forward by the gap, one that occurs twice is taken after
 * the change, both as timestamp AT TIME ZONE does.  A date begins at its first instant, also where midnight
 * is skipped or occurs twice.  All raise 22008 when the result leaves PostgreSQL's range; infinity stays.
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

/* the first instant of a date: local midnight, or the clock change that skips it */
extern TimestampTz calendar_midnight(DateADT date, pg_tz *zone);

/*
 * The date whose stretch [calendar_midnight, the next one) holds a finite instant: its local date, but where
 * the clock goes back over midnight (St. John's until 2011) the next date, which had begun.
 */
extern DateADT calendar_day(TimestampTz at, pg_tz *zone);

/* a date; a day that the month lacks is its last.  Months later: the same rule */
extern DateADT calendar_date_of(int year, int month, int day);
extern DateADT calendar_add_months(DateADT date, int n_months);

extern DateADT calendar_date(TimestampTz at, pg_tz *zone);		/* local date of an instant */
extern Timestamp calendar_local(TimestampTz at, pg_tz *zone);	/* local wall time of an instant */

/* the last good local day of something that is dead from `expires_at` on: expires_at minus 1 µs, as a date */
extern DateADT calendar_last_day(TimestampTz expires_at, pg_tz *zone);

/* a zone by name, full names and abbreviation-free POSIX strings alike; error 22023 with hint when unknown */
extern pg_tz *calendar_zone(const char *name);

#endif
