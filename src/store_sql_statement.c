/*
 * store_sql_statement.c
 *	  The statements of store_sql, which say in SQL what a store does.
 *
 * Rules:
 * - Tables are named in full, by the names that Citus knows (never a shard's), and so are operators and functions:
 *	 statements run as the ledger's owner under the caller's search_path.  (A search_path of our own around each call
 *	 would cost a quarter of a purchase.)
 * - One plan a statement and backend, of the ledger's tables alone, and generic: what is asked has one good plan.
 * - Statements on accounts name one account, and lock one row.
 * - No user's expression is evaluated between sql_enter() and sql_leave(), but what the ledger's owner has put on the
 *	 ledger's tables.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "store_sql.h"

/* What a caller's search_path has no say in. */
#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define GT " OPERATOR(pg_catalog.>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define LE " OPERATOR(pg_catalog.<=) "
#define LT " OPERATOR(pg_catalog.<) "

typedef struct SqlText
{
	StoreTableId table;			/* whose columns stand for {columns}, {parameters}, {assignments}, {arrays} */
	const char *text;
	Oid			types[9];		/* of the parameters, one more than any has; none: the table's columns */
	int			options;
} SqlText;

static const SqlText texts[] = {
	[SQL_LOCK_ACCOUNT] = {STORE_ACCOUNT,
		"SELECT {columns} FROM loyalty.account WHERE member_id" EQ "$1 AND program_id" EQ "$2 FOR NO KEY UPDATE",
	{INT8OID, INT4OID}},

	[SQL_TRY_ACCOUNT] = {STORE_ACCOUNT,
		"SELECT {columns} FROM loyalty.account WHERE member_id" EQ "$1 AND program_id" EQ "$2 FOR NO KEY UPDATE SKIP LOCKED",
	{INT8OID, INT4OID}},

	[SQL_READ_ACCOUNT] = {STORE_ACCOUNT,
		"SELECT {columns} FROM loyalty.account WHERE member_id" EQ "$1 AND program_id" EQ "$2",
	{INT8OID, INT4OID}},

	/* what Citus counts right: VALUES and RETURNING, not INSERT … SELECT */
	[SQL_ENROLL_ACCOUNT] = {STORE_ACCOUNT,
		"INSERT INTO loyalty.account ({columns}) VALUES ({parameters}) ON CONFLICT DO NOTHING RETURNING member_id"},

	/* {assignments}: of all columns but these two */
	[SQL_CHANGE_ACCOUNT] = {STORE_ACCOUNT,
	"UPDATE loyalty.account SET {assignments} WHERE member_id" EQ "$1 AND program_id" EQ "$14"},

	[SQL_WALK_ACCOUNTS] = {STORE_ACCOUNT,
		"SELECT {columns} FROM loyalty.account WHERE (member_id, program_id)" GT "($1, $2)"
		" ORDER BY member_id, program_id LIMIT $3",
	{INT8OID, INT4OID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_READ_MEMBER] = {STORE_MEMBER,
		"SELECT {columns} FROM loyalty.member WHERE member_id" EQ "$1",
	{INT8OID}},

	/* from a position on, in burn order */
	[SQL_READ_LOTS] = {STORE_LOT,
		"SELECT {columns} FROM loyalty.lot WHERE member_id" EQ "$1 AND program_id" EQ "$2"
		" AND (expires_at, entry_no)" GT "($3, $4) AND remaining" NE "0"
		" ORDER BY expires_at, entry_no LIMIT $5",
	{INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	/* the same backwards, closed ones too */
	[SQL_READ_BACK] = {STORE_LOT,
		"SELECT {columns} FROM loyalty.lot WHERE member_id" EQ "$1 AND program_id" EQ "$2"
		" AND (expires_at, entry_no)" LT "($3, $4) ORDER BY expires_at DESC, entry_no DESC LIMIT $5",
	{INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_CHANGE_LOT] = {STORE_LOT,
		"UPDATE loyalty.lot SET remaining = $5, owed = $6, kept_amount = $7, life = $8"
		" WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND expires_at" EQ "$3 AND entry_no" EQ "$4",
	{INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, NUMERICOID, INT2OID}},

	/* points may have gone on more than once */
	[SQL_READ_MOVED] = {STORE_LOT,
		"WITH RECURSIVE moved (number, dies_at) AS ("
		"SELECT o.entry_no, o.expires_at FROM loyalty.lot_origin o"
		" WHERE o.origin_member_id" EQ "$1 AND o.program_id" EQ "$2 AND o.origin_entry_no" EQ "$3 AND o.member_id" EQ "$1"
		" UNION ALL SELECT o.entry_no, o.expires_at FROM moved m JOIN loyalty.lot_origin o"
		" ON o.origin_member_id" EQ "$1 AND o.program_id" EQ "$2 AND o.origin_entry_no" EQ "m.number AND o.member_id" EQ "$1)"
		" SELECT m.dies_at, m.number FROM moved m",
	{INT8OID, INT4OID, INT8OID}},

	[SQL_PROBE_KEY] = {STORE_LOT,
		"SELECT {columns} FROM loyalty.lot WHERE source_id" EQ "$1 AND source_key" EQ "$2 ORDER BY part",
	{INT4OID, TEXTOID}},

	[SQL_PROBE_KEYS] = {STORE_LOT,
		"SELECT {columns}, k.nth FROM pg_catalog.unnest($2) WITH ORDINALITY AS k (key, nth)"
		" JOIN loyalty.lot ON source_id" EQ "$1 AND source_key" EQ "k.key ORDER BY k.nth, part",
	{INT4OID, TEXTARRAYOID}},

	/* all lots of a source, by a cursor */
	[SQL_READ_SOURCE] = {STORE_LOT,
		"SELECT {columns} FROM loyalty.lot WHERE source_id" EQ "$1 ORDER BY source_key, part",
	{INT4OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_FIND_REFUNDS] = {STORE_REFUND,
		"SELECT {columns} FROM loyalty.refund WHERE source_id" EQ "$1 AND source_key" EQ "$2"
		" ORDER BY source_id, source_key, part",
	{INT4OID, TEXTOID}},

	[SQL_FIND_REFUNDS_OF] = {STORE_REFUND,
		"SELECT {columns} FROM loyalty.refund WHERE of_source_id" EQ "$1 AND of_key" EQ "$2"
		" ORDER BY source_id, source_key, part",
	{INT4OID, TEXTOID}},

	[SQL_READ_REFUNDS] = {STORE_REFUND,
		"SELECT {columns} FROM loyalty.refund WHERE source_id" EQ "$1 AND (source_key, part)" GT "($2, $3)"
		" ORDER BY source_key, part LIMIT $4",
	{INT4OID, TEXTOID, INT4OID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_DELETE_REFUND] = {STORE_REFUND,
		"DELETE FROM loyalty.refund WHERE member_id" EQ "$1 AND source_id" EQ "$2 AND source_key" EQ "$3 AND part" EQ "$4",
	{INT8OID, INT4OID, TEXTOID, INT4OID}},

	[SQL_FIND_LOT] = {STORE_LOT,
		"SELECT {columns} FROM loyalty.lot"
		" WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND expires_at" EQ "$3 AND entry_no" EQ "$4",
	{INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID}},

	[SQL_READ_ORIGIN] = {STORE_MOVEMENT,
		"SELECT {columns} FROM loyalty.movement WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND origin_entry_no" EQ "$3"
		" ORDER BY entry_no",
	{INT8OID, INT4OID, INT8OID}},

	[SQL_READ_DEBTS] = {STORE_DEBT,
		"SELECT {columns} FROM loyalty.debt WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND left_over" NE "0"
		" ORDER BY entry_no",
	{INT8OID, INT4OID}},

	[SQL_CHANGE_DEBT] = {STORE_DEBT,
		"UPDATE loyalty.debt SET left_over = $4 WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND entry_no" EQ "$3",
	{INT8OID, INT4OID, INT8OID, INT8OID}},

	[SQL_READ_USAGE] = {STORE_USAGE,
		"SELECT {columns} FROM loyalty.rule_usage WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND rule_id" EQ "$3"
		" AND period_start" EQ "$4 AND period_end" EQ "$5",
	{INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}},

	[SQL_READ_USES] = {STORE_USAGE,
		"SELECT {columns} FROM loyalty.rule_usage WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND rule_id" EQ "$3"
		" AND period_start" GE "$4 AND period_start" LE "$5 AND period_end" EQ "period_start"
		" ORDER BY period_start",
	{INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}},

	[SQL_CHANGE_USAGE] = {STORE_USAGE,
		"UPDATE loyalty.rule_usage SET used = $6, uses = $7 WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND rule_id" EQ "$3"
		" AND period_start" EQ "$4 AND period_end" EQ "$5",
	{INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID}},

	[SQL_READ_COUNTERS] = {STORE_COUNTER,
		"SELECT {columns} FROM loyalty.counter WHERE member_id" EQ "$1 AND program_id" EQ "$2"
		" AND (bucket, metric)" GT "($3, $4) AND bucket" LE "$5 ORDER BY bucket, metric LIMIT $6",
	{INT8OID, INT4OID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_CHANGE_COUNTER] = {STORE_COUNTER,
		"UPDATE loyalty.counter SET value = $5 WHERE member_id" EQ "$1 AND bucket" EQ "$2 AND program_id" EQ "$3"
		" AND metric" EQ "$4",
	{INT8OID, TIMESTAMPTZOID, INT4OID, INT4OID, NUMERICOID}},

	[SQL_READ_VISITS] = {STORE_VISIT,
		"SELECT {columns} FROM loyalty.visit WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND visit" EQ "$3",
	{INT8OID, INT4OID, TEXTOID}},

	[SQL_CHANGE_VISIT] = {STORE_VISIT,
		"UPDATE loyalty.visit SET purchases = $4 WHERE member_id" EQ "$1 AND bucket" EQ "$2 AND program_id" EQ "$3"
		" AND visit" EQ "$5",
	{INT8OID, TIMESTAMPTZOID, INT4OID, INT4OID, TEXTOID}},

	[SQL_FIND_VISIT_OF] = {STORE_VISIT_OF,
		"SELECT {columns} FROM loyalty.visit_of WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND source_id" EQ "$3"
		" AND source_key" EQ "$4",
	{INT8OID, INT4OID, INT4OID, TEXTOID}},

	[SQL_READ_PROGRESS] = {STORE_PROGRESS,
		"SELECT {columns} FROM loyalty.progress WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND challenge_id" EQ "$3"
		" AND period_start" EQ "$4",
	{INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID}},

	[SQL_CHANGE_PROGRESS] = {STORE_PROGRESS,
		"UPDATE loyalty.progress SET completed_at = $5, times = $6, value = $7"
		" WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND challenge_id" EQ "$3 AND period_start" EQ "$4",
	{INT8OID, INT4OID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, NUMERICOID}},

	[SQL_READ_CHALLENGE_AWARDS] = {STORE_CHALLENGE_AWARD,
		"SELECT {columns} FROM loyalty.challenge_award WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND challenge_id" EQ "$3",
	{INT8OID, INT4OID, INT4OID}},

	[SQL_FIND_REDEMPTION] = {STORE_REDEMPTION,
		"SELECT {columns} FROM loyalty.redemption WHERE member_id" EQ "$1 AND redemption_id" EQ "$2",
	{INT8OID, INT8OID}},

	[SQL_READ_HOLDS] = {STORE_REDEMPTION,
		"SELECT {columns} FROM loyalty.redemption WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND state" EQ "'held'",
	{INT8OID, INT4OID}},

	[SQL_READ_SPENT] = {STORE_REDEMPTION,
		"SELECT {columns} FROM loyalty.redemption WHERE member_id" EQ "$1 AND source_id" EQ "$2 AND source_key" EQ "$3",
	{INT8OID, INT4OID, TEXTOID}},

	[SQL_CHANGE_REDEMPTION] = {STORE_REDEMPTION,
		"UPDATE loyalty.redemption SET state = $3, taken = $4, changed_at = $5"
		" WHERE member_id" EQ "$1 AND redemption_id" EQ "$2",
	{INT8OID, INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}},

	[SQL_READ_TAKING] = {STORE_MOVEMENT,
		"SELECT {columns} FROM loyalty.movement WHERE member_id" EQ "$1 AND program_id" EQ "$2"
		" AND entry_no" GE "$3 AND entry_no" LE "$4 ORDER BY entry_no",
	{INT8OID, INT4OID, INT8OID, INT8OID}, CURSOR_OPT_FAST_PLAN},

	[SQL_FIND_REQUEST] = {STORE_REQUEST,
		"SELECT {columns} FROM loyalty.request WHERE member_id" EQ "$1 AND program_id" EQ "$2 AND key" EQ "$3",
	{INT8OID, INT4OID, TEXTOID}},
};

static const char insert_row[] = "INSERT INTO {table} ({columns}) VALUES ({parameters})";
static const char insert_rows[] = "INSERT INTO {table} ({columns}) SELECT * FROM ROWS FROM ({arrays})";

static SPIPlanPtr plans[SQL_STATEMENTS];

StaticAssertDecl(A_MEMBER_ID + 1 == 1 && A_PROGRAM_ID + 1 == 14, "SQL_CHANGE_ACCOUNT names its account by $1 and $14");

/* ---- preparing ---- */

/* One of {table}, {columns}, {parameters}, {assignments}, {arrays}; returns its length. */
static int
append_word(StringInfo sql, const char *word, const StoreLayout *layout)
{
	int			length = strchr(word, '}') - word + 1;
	const char *separator = "";

	if (strncmp(word, "{table}", length) == 0)
		appendStringInfo(sql, "loyalty.%s", layout->name);
	else
		for (int i = 0; i < layout->ncolumns; i++)
		{
			if (strncmp(word, "{assignments}", length) == 0 && (i == A_MEMBER_ID || i == A_PROGRAM_ID))
				continue;
			appendStringInfoString(sql, separator);
			separator = ", ";
			if (strncmp(word, "{columns}", length) == 0)
				appendStringInfo(sql, "\"%s\"", layout->columns[i].name);
			else if (strncmp(word, "{parameters}", length) == 0)
				appendStringInfo(sql, "$%d", i + 1);
			else if (strncmp(word, "{arrays}", length) == 0)
				appendStringInfo(sql, "pg_catalog.unnest($%d)", i + 1);
			else
				appendStringInfo(sql, "\"%s\" = $%d", layout->columns[i].name, i + 1);
		}
	return length;
}

static SPIPlanPtr
prepare(SqlStatement statement)
{
	bool		inserts = statement >= SQL_INSERT_ROW;
	bool		arrays = statement >= SQL_INSERT_ROWS;
	const StoreLayout *layout = &store_layout[arrays ? statement - SQL_INSERT_ROWS :
											  inserts ? statement - SQL_INSERT_ROW : texts[statement].table];
	const char *text = arrays ? insert_rows : inserts ? insert_row : texts[statement].text;
	int			options = CURSOR_OPT_GENERIC_PLAN | (inserts ? 0 : texts[statement].options);
	Oid			types[STORE_MAX_COLUMNS];
	int			ntypes = 0;
	StringInfoData sql;
	SPIPlanPtr	plan;

	initStringInfo(&sql);
	while (*text)
	{
		if (*text == '{')
			text += append_word(&sql, text, layout);
		else
			appendStringInfoChar(&sql, *text++);
	}
	if (inserts || !OidIsValid(texts[statement].types[0]))
	{
		for (; ntypes < layout->ncolumns; ntypes++)
			types[ntypes] = arrays ? get_array_type(layout->columns[ntypes].type) : layout->columns[ntypes].type;
	}
	else
		for (; OidIsValid(texts[statement].types[ntypes]); ntypes++)
			types[ntypes] = texts[statement].types[ntypes];
	plan = SPI_prepare_cursor(sql.data, ntypes, types, options);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql.data, SPI_result_code_string(SPI_result));
	return plan;
}

/* ---- running ---- */

void
sql_enter(SqlCall *call)
{
	call->context = CurrentMemoryContext;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	owner_become(&call->caller);
}

void
sql_leave(const SqlCall *call)
{
	owner_restore(&call->caller);
	SPI_finish();
}

/*
 * What a read sees: of a reader, its snapshot; else what is committed now and what this transaction has written.
 * Under READ COMMITTED that is SPI's own way.  Under REPEATABLE READ it must be asked for, as foreign keys do; not
 * for locks and writes, which must fail where somebody else was first.
 */
static Snapshot
snapshot_for(const Store *store, SqlStatement statement)
{
	if (store->reader)
		return store->snapshot;
	switch (statement)
	{
		case SQL_LOCK_ACCOUNT:
		case SQL_TRY_ACCOUNT:
		case SQL_ENROLL_ACCOUNT:
		case SQL_CHANGE_ACCOUNT:
		case SQL_CHANGE_LOT:
		case SQL_CHANGE_REDEMPTION:
		case SQL_DELETE_REFUND:
		case SQL_CHANGE_DEBT:
		case SQL_CHANGE_USAGE:
		case SQL_CHANGE_COUNTER:
		case SQL_CHANGE_VISIT:
		case SQL_CHANGE_PROGRESS:
			return InvalidSnapshot;
		default:
			if (statement >= SQL_INSERT_ROW || !IsolationUsesXactSnapshot())
				return InvalidSnapshot;
			return GetLatestSnapshot();
	}
}

static SPIPlanPtr
plan_of(SqlStatement statement)
{
	if (plans[statement] == NULL)
		plans[statement] = prepare(statement);
	return plans[statement];
}

uint64
sql_run(Store *store, SqlStatement statement, const Datum *values, const bool *nulls)
{
	SPIPlanPtr	plan = plan_of(statement);
	char		marks[STORE_MAX_COLUMNS];
	int			result;

	if (SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);	/* of the last one: loops run many */
	memset(marks, ' ', sizeof(marks));
	for (int i = SPI_getargcount(plan) - 1; nulls && i >= 0; i--)
		marks[i] = nulls[i] ? 'n' : ' ';
	result = SPI_execute_snapshot(plan, unconstify(Datum *, values), marks, snapshot_for(store, statement),
								  InvalidSnapshot, store->reader, true, 0);
	if (result < 0)
		elog(ERROR, "could not run statement %d: %s", (int) statement, SPI_result_code_string(result));
	return SPI_processed;
}

void
sql_row(uint64 row, Datum *values, bool *nulls)
{
	Assert(SPI_tuptable->tupdesc->natts <= STORE_MAX_COLUMNS);
	heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
}

Portal
sql_cursor(Store *store, SqlStatement statement, const Datum *values)
{
	Portal		portal;

	if (store->reader)
		PushActiveSnapshot(store->snapshot);
	portal = SPI_cursor_open(NULL, plan_of(statement), unconstify(Datum *, values), NULL, store->reader);
	if (store->reader)
		PopActiveSnapshot();
	return portal;
}
