/*
 * quote.h
 *	  A row on the way of a purchase, without a write: for quote.c and why_not.c.
 */
#ifndef LOYALTY_QUOTE_H
#define LOYALTY_QUOTE_H

#include "funcapi.h"

#include "earn.h"
#include "mapping.h"
#include "store.h"

/* One row before one source. */
typedef struct Quote
{
	ReturnSetInfo *set;
	Oid			relid;
	const Attached *attached;
	const Source *source;
	MemoryContext context;
	Store	   *store;
	Mapping    *mapping;
	HeapTuple	row;
	TimestampTz now;
	bool		foresees;		/* quote(): points that the row pays with are spent before it earns */

	/* what came out */
	const char *reason;			/* why the row earns nothing; NULL: the rules were asked */
	int64		member;
	Purchase	purchase;
	Account    *account;
	Award		award;
	EarnVerdict *verdicts;		/* one a rule */
	const Tier *tier;			/* before the award: whose bonus it is */
} Quote;

/* Read what is attached of a relation, and begin the rows of the function's result. */
extern Quote quote_begin(FunctionCallInfo fcinfo, Oid relid);
extern void quote_end(Quote *quote);

/* Ask quote->source about quote->row: reason, or account, award and verdicts. */
extern void quote_row(Quote *quote);

extern char *quote_table_name(Oid relid);	/* as SQL names it */

/* the first column of the first row of the caller's query, a row of the table; NULL when there is none */
extern HeapTuple quote_query_row(Quote *quote, const char *sql, int n, Oid *types, Datum *values);

extern const char *quote_verdict_text(EarnVerdict verdict, const Rule *rule);
extern Datum quote_text(const char *text, bool *isnull);

#endif
