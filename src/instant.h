/*
 * instant.h
 *	  What time it is: of a statement, for writing and for reading.
 *
 * Never clock_timestamp(): one statement has one time.
 */
#ifndef LOYALTY_INSTANT_H
#define LOYALTY_INSTANT_H

#include "config.h"

/* statement_timestamp(); loyalty.now counts in sandbox programs alone */
extern TimestampTz instant_for_writing(const Program *program);

/* loyalty.now when set, else statement_timestamp() */
extern TimestampTz instant_for_reading(void);

#endif
