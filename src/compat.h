/*
 * compat.h
 *	  What differs between PostgreSQL 15 and 18: the only file that looks at PG_VERSION_NUM.
 *
 * The newest interface stands outside; each entry says since when it exists and what the older server does.
 */
#ifndef LOYALTY_COMPAT_H
#define LOYALTY_COMPAT_H

#include "postgres.h"

/*
 * 16 (2022-12): input functions can report bad text without throwing (pg_input_is_valid, COPY … ON_ERROR).
 * Before, every error is thrown.
 */
#if PG_VERSION_NUM < 160000
#define ereturn(context, dummy_value, ...) \
	do { \
		(void) (context); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy_value; \
	} while (0)
#endif

#endif
