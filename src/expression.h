/*
 * expression.h
 *	  SQL expressions of configuration rows: parsed, checked, planned once, evaluated in C.
 *
 * Rules for whoever maintains this:
 * - An expression sees the columns of one source row (unqualified or as source.x); a rule's also sees earn.*,
 *   account.* and member.*.  Nothing else: no relation, no parameter.
 * - Refused when written and again when compiled: subqueries, aggregates, window and set-returning functions,
 *   volatile functions, and any function, operator or cast that belongs neither to the author, a superuser,
 *   nor an extension.  Errors are LY007 with the position in the text.
 * - It runs as its author, SECURITY_RESTRICTED_OPERATION; the caller provides TimeZone and DateStyle, also for
 *   compiling, which reads literals; and search_path = EXPRESSION_SEARCH_PATH, or functions of the author's that
 *   do not pin theirs would find the tables of whoever's statement it is.
 */
#ifndef LOYALTY_EXPRESSION_H
#define LOYALTY_EXPRESSION_H

#include "postgres.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"

#define EXPRESSION_SEARCH_PATH "pg_catalog, loyalty, pg_temp"

typedef enum ExpressionRole
{
	/* over the source row alone */
	EXPRESSION_MEMBER,			/* result bigint, or text (an external id) */
	EXPRESSION_AMOUNT,			/* numeric */
	EXPRESSION_OCCURRED_AT,		/* timestamptz (timestamp and date are read in TimeZone) */
	EXPRESSION_KEY,				/* any built-in scalar type */
	EXPRESSION_SOURCE_CONDITION,	/* boolean */
	EXPRESSION_RELEASE,			/* boolean, or timestamptz */
	/* over source row, earn.*, account.*, member.* */
	EXPRESSION_RULE_CONDITION,	/* boolean */
	EXPRESSION_BASE_POINTS,		/* numeric; earn.base is refused */
	EXPRESSION_BONUS_POINTS,	/* numeric */
	/* over account.*, member.* alone */
	EXPRESSION_SEGMENT			/* boolean */
} ExpressionRole;

/* Columns of the two virtual slots, in order: attribute number = enum + 1. */
typedef enum EarnColumn			/* earn.*, the inner slot */
{
	EARN_AMOUNT,				/* numeric */
	EARN_OCCURRED_AT,			/* timestamptz */
	EARN_LOCAL_TIME,			/* timestamp, in the program's zone */
	EARN_BASE,					/* numeric */
	EARN_COLUMNS
} EarnColumn;

typedef enum AccountColumn		/* account.* and member.*, the outer slot */
{
	ACCOUNT_MEMBER_ID,			/* bigint; also member.member_id */
	ACCOUNT_TIER,				/* text, NULL without */
	ACCOUNT_TIER_RANK,			/* integer */
	ACCOUNT_BALANCE,			/* numeric: available */
	ACCOUNT_SPEND,				/* numeric, this period */
	ACCOUNT_VISITS,				/* integer, this period */
	ACCOUNT_EARNED,				/* numeric: points earned this period */
	ACCOUNT_ENROLLED_AT,		/* timestamptz */
	ACCOUNT_UNITS,				/* jsonb: every status unit of the program, this period */
	MEMBER_ATTRIBUTES,			/* jsonb */
	MEMBER_BIRTH_DATE,			/* date */
	ACCOUNT_COLUMNS
} AccountColumn;

#define ACCOUNT_COLUMN(column)	(1u << (column))
#define ACCOUNT_OF_MEMBER	(ACCOUNT_COLUMN(MEMBER_ATTRIBUTES) | ACCOUNT_COLUMN(MEMBER_BIRTH_DATE))	/* the member row is needed */
#define ACCOUNT_OF_COUNTERS	ACCOUNT_COLUMN(ACCOUNT_UNITS)	/* counters are needed */

typedef struct Expression
{
	ExprState  *state;
	Expr	   *expr;			/* planned */
	Oid			type;			/* of the result: numeric, boolean, timestamptz, int8, text, or the key's own */
	Oid			author;
	bool		uses_base;		/* earn.base */
	bool		uses_local_time;
	uint32		account_columns;	/* ACCOUNT_COLUMN() of what it reads of account.* and member.* */
	bool		authored;		/* runs functions of its author: search_path matters */
	int			plain_column;	/* > 0: the value of this source column as it stands (attribute number) */
	bool		built_in;		/* immutable functions of PostgreSQL alone: role and settings do not matter */
	Bitmapset  *columns;		/* source columns it reads, attribute numbers; 0 for the whole row */
} Expression;

/*
 * Compile `text` over rows of `relation` (open, locked by the caller) for `author`.  Allocates in
 * CurrentMemoryContext, which must live as long as the expression.  A segment has no relation.  `what` goes into error messages, e.g.
 * "points of rule \"double weekends\" of program \"stars\"".
 */
extern Expression *expression_compile(const char *text, ExpressionRole role, Relation relation,
									  Oid author, const char *what);

/*
 * Columns of a table whose names stand in `text`, attribute numbers; 0 among them: any column, as far as names say.  Nothing is
 * looked up but names and nothing is run, so that whoever wrote the text does not matter.
 */
extern Bitmapset *expression_columns_named(const char *text, Oid relid);

/* descriptors of the two virtual slots (in CacheMemoryContext) */
extern TupleDesc expression_earn_desc(void);
extern TupleDesc expression_account_desc(void);

/*
 * Evaluate in context->ecxt_per_tuple_memory: ecxt_scantuple is the source row, ecxt_innertuple earn.*,
 * ecxt_outertuple account.* (the last two may be NULL for mapping expressions).  Switches to the author and
 * back, also when an error is thrown (the transaction's abort restores the user).
 */
/* inside of an author's function: no sale may begin there */
extern bool expression_running(void);

extern Datum expression_eval(Expression *expression, ExprContext *context, bool *isnull);

#endif
