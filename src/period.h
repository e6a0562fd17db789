/*
 * period.h
 *	  What a counter runs over: "day", "week", "calendar month", "calendar quarter", "calendar year",
 *	  "year from 1 march", "membership year", "rolling 12 months", "lifetime".  Half-open.
 */
#ifndef LOYALTY_PERIOD_H
#define LOYALTY_PERIOD_H

#include "postgres.h"
#include "calendar.h"

typedef enum PeriodKind
{
	PERIOD_CALENDAR = 0,		/* the unit that holds the instant */
	PERIOD_YEAR_FROM = 1,		/* a year from a day of the year */
	PERIOD_MEMBERSHIP_YEAR = 2, /* a year from the enrolment's local day */
	PERIOD_ROLLING = 3,			/* the last months + days up to the instant */
	PERIOD_LIFETIME = 4
} PeriodKind;

/* Fixed length, passed by reference. */
typedef struct Period
{
	int32		kind;
	int32		months;			/* ROLLING */
	int32		days;			/* ROLLING */
	int16		unit;			/* CALENDAR: CalendarUnit */
	int8		month;			/* YEAR_FROM */
	int8		day;
} Period;

/*
 * The period [start, end) that holds `at`.  LIFETIME: (-infinity, infinity).  ROLLING: (at - length, at],
 * given as [at - length + 1 µs, at + 1 µs).  `enrolled_at` counts for MEMBERSHIP_YEAR alone.
 */
extern void period_bounds(const Period *period, TimestampTz at, TimestampTz enrolled_at, pg_tz *zone,
						  TimestampTz *start, TimestampTz *end);

/*
 * Where something of an instant is counted: the first instant of its period, -infinity for a lifetime; rolling: the
 * instant at which it leaves the window.
 */
extern TimestampTz period_bucket(const Period *period, TimestampTz at, TimestampTz enrolled_at, pg_tz *zone);

#endif
