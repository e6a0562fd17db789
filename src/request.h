/*
 * request.h
 *	  One key, one effect, for ever, over all functions of a (program, member).
 *
 * Under the account's lock: request_find() first, and only when it says no the work and request_keep().  A key that is
 * NULL asks for nothing and keeps nothing.
 */
#ifndef LOYALTY_REQUEST_H
#define LOYALTY_REQUEST_H

#include "store.h"

/* Arguments in canonical text, in the order in which the function declares them. */
typedef struct Argument
{
	const char *name;
	const char *value;			/* NULL: left out, or as by default */
	bool		number;			/* how it is stored; comparison is by text */
} Argument;

/* LY017 when empty, LY008 when over 500 bytes */
extern void request_check_key(const char *key);

/*
 * Was the key used?  By the same call with the same arguments: true, and what it made.  By any other: LY004, whose
 * detail names the first argument that differs.
 */
extern bool request_find(Account *account, const char *key, const char *call, const Argument *arguments, int n,
						 Request *request);

extern void request_keep(Account *account, const char *key, const char *call, const Argument *arguments, int n,
						 int64 redemption_id, int64 entry_no, TimestampTz at);

/* The same with what was answered, for calls whose effect does not say it for ever. */
extern void request_keep_answer(Account *account, const char *key, const char *call, const Argument *arguments, int n,
								int64 redemption_id, int64 entry_no, TimestampTz at, const Argument *answer, int nanswer);

/* What was answered under a name, as text; NULL: nothing. */
extern const char *request_answer(const Request *request, const char *name);

/* "1.50" and 1.5 are one argument; NULL stays NULL */
extern const char *request_number(Numeric value);

#endif
