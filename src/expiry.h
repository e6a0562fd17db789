/*
 * expiry.h
 *	  How long points live: "never", "365 days", "12 months, end of month", "every 31 december",
 *	  "36 months, every 30 september", "18 months inactive".
 */
#ifndef LOYALTY_EXPIRY_H
#define LOYALTY_EXPIRY_H

#include "postgres.h"
#include "calendar.h"

typedef enum ExpiryKind
{
	EXPIRY_NEVER = 0,
	EXPIRY_AFTER = 1,			/* months + days after the grant, then to the end of a unit if `aligned` */
	EXPIRY_EVERY = 2,			/* months + days after the grant, then to the end of this day of a year */
	EXPIRY_INACTIVE = 3			/* months + days after the last activity of the account */
} ExpiryKind;

/* Fixed length, passed by reference. */
typedef struct Expiry
{
	int32		kind;
	int32		months;
	int32		days;
	int16		aligned;		/* 0, or CalendarUnit + 1: "end of" */
	int8		month;			/* EXPIRY_EVERY: 1-12 */
	int8		day;			/* 1-31; 29 february is the last of February in other years */
} Expiry;

/*
 * The first dead instant of points granted at `from`; infinity for NEVER, and for INACTIVE, whose end is the
 * account's.  "6 months, end of month" from 2020-12-15: 2021-07-01 00:00 local.  "every 31 december": the
 * first 1 January 00:00 after `from`.
 */
extern TimestampTz expiry_instant(const Expiry *expiry, TimestampTz from, pg_tz *zone);

/* INACTIVE: when an account last active at `last_activity` loses its points; infinity for the other kinds */
extern TimestampTz expiry_inactive_at(const Expiry *expiry, TimestampTz last_activity, pg_tz *zone);

#endif
