/*
 * store_sql.h
 *	  Inside of store_sql: its statements, and running them as the ledger's owner.
 */
#ifndef LOYALTY_STORE_SQL_H
#define LOYALTY_STORE_SQL_H

#include "postgres.h"

#include "owner.h"
#include "store_ops.h"
#include "store_row.h"

typedef enum SqlStatement
{
	SQL_LOCK_ACCOUNT,
	SQL_TRY_ACCOUNT,
	SQL_READ_ACCOUNT,
	SQL_ENROLL_ACCOUNT,
	SQL_CHANGE_ACCOUNT,
	SQL_WALK_ACCOUNTS,
	SQL_READ_MEMBER,
	SQL_READ_LOTS,
	SQL_CHANGE_LOT,
	SQL_PROBE_KEY,
	SQL_PROBE_KEYS,
	SQL_FIND_KEY,
	SQL_FIND_REDEMPTION,
	SQL_FIND_REQUEST,
	SQL_INSERT_ROW,				/* one for each table */
	SQL_INSERT_ROWS = SQL_INSERT_ROW + STORE_TABLES,	/* the same with an array for each column */
	SQL_STATEMENTS = SQL_INSERT_ROWS + STORE_TABLES
} SqlStatement;

/* Between sql_enter() and sql_leave() the ledger's owner acts, under a search_path of our own. */
typedef struct SqlCall
{
	OwnerSwitch caller;
	int			nest;
	MemoryContext context;		/* the caller's */
} SqlCall;

extern void sql_enter(SqlCall *call);
extern void sql_leave(const SqlCall *call);

/* Run one; nulls NULL: none.  Returns how many rows it found or wrote. */
extern uint64 sql_run(Store *store, SqlStatement statement, const Datum *values, const bool *nulls);

/* A row that the last one found; room for STORE_MAX_COLUMNS. */
extern void sql_row(uint64 row, Datum *values, bool *nulls);

#endif
