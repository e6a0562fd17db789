/*
 * store_sql.h
 *	  Inside of store_sql: its statements, and running them as the ledger's owner.
 */
#ifndef LOYALTY_STORE_SQL_H
#define LOYALTY_STORE_SQL_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/portal.h"

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
	SQL_READ_BACK,
	SQL_CHANGE_LOT,
	SQL_READ_MOVED,
	SQL_PROBE_KEY,
	SQL_PROBE_KEYS,
	SQL_READ_SOURCE,
	SQL_FIND_REFUNDS,
	SQL_FIND_REFUNDS_OF,
	SQL_READ_REFUNDS,
	SQL_DELETE_REFUND,
	SQL_FIND_LOT,
	SQL_READ_ORIGIN,
	SQL_READ_DEBTS,
	SQL_CHANGE_DEBT,
	SQL_FIND_REDEMPTION,
	SQL_READ_HOLDS,
	SQL_READ_SPENT,
	SQL_CHANGE_REDEMPTION,
	SQL_READ_TAKING,
	SQL_FIND_REQUEST,
	SQL_READ_USAGE,
	SQL_CHANGE_USAGE,
	SQL_READ_USES,
	SQL_READ_COUNTERS,
	SQL_CHANGE_COUNTER,
	SQL_READ_VISITS,
	SQL_CHANGE_VISIT,
	SQL_FIND_VISIT_OF,
	SQL_READ_PROGRESS,
	SQL_CHANGE_PROGRESS,
	SQL_READ_CHALLENGE_AWARDS,
	SQL_INSERT_ROW,				/* one for each table */
	SQL_INSERT_ROWS = SQL_INSERT_ROW + STORE_TABLES,	/* the same with an array for each column */
	SQL_STATEMENTS = SQL_INSERT_ROWS + STORE_TABLES
} SqlStatement;

#define KEPT_ROWS	500
#define FEW_ROWS	4			/* up to here a statement a row costs less than one with arrays */

/* Rows of one table that are kept back, column by column. */
typedef struct SqlRows
{
	int			n;
	Datum	   *values[STORE_MAX_COLUMNS];
	bool	   *nulls[STORE_MAX_COLUMNS];
} SqlRows;

typedef struct SqlStore
{
	Store		base;
	MemoryContext kept;			/* of what rows point to */
	SqlRows		rows[STORE_TABLES];

	/* the lots of a source, some rows ahead */
	Portal		cursor;
	MemoryContext fetched;
	TupleDesc	fetched_desc;
	HeapTuple  *fetched_rows;
	int			nfetched;
	int			next_fetched;
} SqlStore;

static inline SqlStore *
sql_of(Store *store)
{
	return (SqlStore *) store;
}

/* Between sql_enter() and sql_leave() the ledger's owner acts. */
typedef struct SqlCall
{
	OwnerSwitch caller;
	MemoryContext context;		/* the caller's */
} SqlCall;

extern void sql_enter(SqlCall *call);
extern void sql_leave(const SqlCall *call);

/* Run one; nulls NULL: none.  Returns how many rows it found or wrote. */
extern uint64 sql_run(Store *store, SqlStatement statement, const Datum *values, const bool *nulls);

/* A row that the last one found; room for STORE_MAX_COLUMNS. */
extern void sql_row(uint64 row, Datum *values, bool *nulls);

/* A cursor on one, which lives until it is closed. */
extern Portal sql_cursor(Store *store, SqlStatement statement, const Datum *values);

/* store_sql.c: keep a row back, in the memory of kept rows; write them, between enter and leave */
extern void sql_keep_row(SqlStore *store, StoreTableId id, const Datum *values, const bool *nulls);
extern void sql_write_rows(SqlStore *store);
extern Datum sql_array(const Datum *values, const bool *nulls, int n, Oid type);

/* store_sql_account.c */
extern void sql_lock_accounts(Store *store, const Program *program, int n, const int64 *members,
							  const TimestampTz *enrolled_at, MemoryContext context, Account **accounts);
extern Account *sql_read_account(Store *store, const Program *program, int64 member, MemoryContext context);
extern Account *sql_try_account(Store *store, const Program *program, int64 member, MemoryContext context);
extern int	sql_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts);
extern void sql_read_members(Store *store, Account **accounts, int n);
extern void sql_change_account(Account *account);
/* LY012: not one row was changed; entry_no 0: of the account */
extern void sql_refuse_change(StoreTableId id, int64 member, int64 entry_no, uint64 changed) pg_attribute_noreturn();

/* store_sql_lot.c */
extern void sql_read_lots(Account *account, int n);
extern int	sql_read_moved(Account *account, int64 entry_no, LotPlace **places);
extern int	sql_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context,
						  Lot **lots);
extern Lot *sql_find_lot(Account *account, TimestampTz expires_at, int64 entry_no);
extern void sql_insert_lots(Account *account, Lot **lots, int n);
extern void sql_change_lots(Account *account, Lot **lots, int n);
extern void sql_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context,
						   KeyLots *results);
extern void sql_begin_source(Store *base, int32 source_id);
extern Lot *sql_next_source_lot(Store *base, MemoryContext context);

/* store_sql_counter.c */
extern int	sql_read_counters(Account *account, TimestampTz bucket, int32 metric, TimestampTz until, int n,
							  Counter **counters);
extern void sql_change_counter(Account *account, Counter *counter);
extern int	sql_read_visits(Account *account, const char *visit, Visit ***visits);
extern void sql_change_visit(Account *account, Visit *visit);
extern bool sql_find_visit_of(Account *account, int32 source_id, const char *source_key, VisitOf *of);
extern void sql_insert_visit_of(Account *account, const VisitOf *of);

/* store_sql_challenge.c */
extern void sql_read_progress(Account *account, Progress *progress);
extern void sql_change_progress(Account *account, Progress *progress);
extern int32 sql_read_challenge_awards(Account *account, int32 challenge_id, TimestampTz period_start, Points *owed);
extern void sql_insert_challenge_award(Account *account, const ChallengeAward *award);
extern void sql_insert_intervention(Account *account, const Intervention *intervention, TimestampTz at, Oid role);

/* store_sql_refund.c */
extern void sql_find_refunds(Store *base, bool of_purchase, int32 source_id, const char *key, MemoryContext context,
							 Refunds *found);
extern int	sql_read_refunds(Store *base, int32 source_id, const char *after_key, int32 after_part, int n,
							 MemoryContext context, Refund **refunds);
extern void sql_insert_refund(Store *base, const Refund *refund);
extern void sql_delete_refund(Store *base, const Refund *refund);

#endif
