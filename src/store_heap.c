/*
 * store_heap.c
 *	  The ledger's tables through the table access method and index inserts, as COPY does.
 *
 * Rules:
 * - Nothing here decides anything about points.
 * - The columns stand in the order of sql/data; the enums below follow it, and table_columns() refuses a table
 *	 that has fewer.  Columns that a later version appended are left NULL.
 * - Reads after a lock use a snapshot taken after it (refresh_snapshot), never the statement's.
 * - Everything is allocated in the store's context, and nothing needs cleaning up when an error is thrown:
 *	 relations, buffers and snapshots belong to resource owners.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "errcodes.h"
#include "store.h"

#define INSERT_BATCH	500

enum AccountAttribute
{
	A_MEMBER_ID, A_ENROLLED_AT, A_SETTLED_AT, A_NEXT_CHANGE_AT, A_AVAILABLE, A_PENDING, A_HELD, A_DEBT,
	A_NEXT_ENTRY, A_OPEN_FROM_EXPIRES_AT, A_OPEN_FROM_ENTRY_NO, A_TIER_UNTIL, A_PERIOD_START, A_PERIOD_END,
	A_PREVIOUS_START, A_PROGRAM_ID, A_TIER_ID, A_VISITS, A_VISITS_PREVIOUS, A_EARNED, A_EARNED_PREVIOUS,
	A_SPEND, A_SPEND_PREVIOUS, A_STATUS, A_COUNT
};

enum LotAttribute
{
	L_MEMBER_ID, L_EXPIRES_AT, L_ENTRY_NO, L_POINTS, L_REMAINING, L_OWED, L_EARNED_AT, L_AVAILABLE_AT, L_AT,
	L_POSTED_AT, L_PROGRAM_ID, L_SOURCE_ID, L_UNIT, L_PART, L_KIND, L_SOURCE_KEY, L_AMOUNT, L_KEPT_AMOUNT,
	L_BREAKDOWN, L_COUNT
};

enum MovementAttribute
{
	M_MEMBER_ID, M_ENTRY_NO, M_LOT_EXPIRES_AT, M_LOT_ENTRY_NO, M_POINTS, M_AT, M_POSTED_AT, M_REDEMPTION_ID,
	M_ORIGIN_ENTRY_NO, M_PROGRAM_ID, M_KIND, M_REASON, M_COUNT
};

enum TierChangeAttribute
{
	T_MEMBER_ID, T_PROGRAM_ID, T_AT, T_CHANGE_NO, T_POSTED_AT, T_FROM_TIER_ID, T_TO_TIER_ID, T_HELD_UNTIL,
	T_REASON, T_COUNT
};

enum RedemptionAttribute
{
	R_MEMBER_ID, R_REDEMPTION_ID, R_PROGRAM_ID, R_REWARD_ID, R_QUANTITY, R_POINTS, R_STATE, R_KEY, R_REASON, R_VOUCHER,
	R_HELD_UNTIL, R_FIRST_ENTRY, R_LAST_ENTRY, R_AT, R_POSTED_AT, R_BY, R_COUNT
};

enum RequestAttribute
{
	Q_MEMBER_ID, Q_PROGRAM_ID, Q_KEY, Q_CALL, Q_ARGUMENTS, Q_REDEMPTION_ID, Q_ENTRY_NO, Q_AT, Q_COUNT
};

enum MemberAttribute
{
	B_MEMBER_ID, B_ATTRIBUTES, B_BIRTH_DATE, B_STATUS, B_ERASED_AT, B_COUNT
};

/* One table of the ledger, opened when first needed. */
typedef struct StoreTable
{
	const char *name;
	int			columns;
	bool		read_only;
	Relation	rel;
	ResultRelInfo *rri;
	TupleTableSlot *slot;		/* for reading and for single writes */
	TupleTableSlot **batch;		/* rows kept back */
	int			nbatch;
	BulkInsertState bulk;
	IndexScanDesc scan;			/* on its primary key */
} StoreTable;

typedef enum StoreTableId
{
	STORE_ACCOUNT, STORE_LOT, STORE_MOVEMENT, STORE_TIER_CHANGE, STORE_REDEMPTION, STORE_REQUEST, STORE_MEMBER,
	STORE_TABLES
} StoreTableId;

struct Store
{
	MemoryContext context;
	EState	   *estate;
	Snapshot	snapshot;		/* what reads see; registered unless `reader` */
	bool		reader;
	TimestampTz posted_at;
	StoreTable	tables[STORE_TABLES];
	/*
	 * The index lot_source_key is ours to fill: lots come in member order, and in a big statement their keys are
	 * sorted and inserted at its end, which costs a third.
	 */
	Relation	key_index;
	IndexInfo  *key_info;
	IndexScanDesc key_scan;
	bool		hoping;
	MemoryContext key_context;
	struct KeyEntry *keys;
	int			nkeys;
	int			max_keys;
	Size		key_bytes;
};

/* The key of a new lot that is not indexed yet. */
typedef struct KeyEntry
{
	uint64		head;			/* the key's first bytes, comparable */
	text	   *key;
	ItemPointerData tid;
	int16		part;
	int32		source_id;
} KeyEntry;

static StoreTable *open_table(Store *store, StoreTableId id);
static void refresh_snapshot(Store *store);
static bool lock_account(Store *store, const Program *program, int64 member, LockWaitPolicy wait, Account **account);
static bool enroll_account(Store *store, Account *account);
static void insert_row(Store *store, StoreTable *table, const Datum *values, const bool *nulls);
static void flush_table(Store *store, StoreTable *table);
static void take_key_index(Store *store, StoreTable *table);
static void insert_key(Store *store, TupleTableSlot *slot);
static void flush_keys(Store *store);
static void update_row(Store *store, StoreTable *table, ItemPointer tid, const Datum *values, const bool *nulls);

static Store *
store_create(TimestampTz posted_at, bool reader)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty store", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Store	   *store = palloc0(sizeof(Store));

	store->context = context;
	store->posted_at = posted_at;
	store->reader = reader;
	store->estate = CreateExecutorState();
	store->tables[STORE_ACCOUNT] = (StoreTable) {.name = "account", .columns = A_COUNT};
	store->tables[STORE_LOT] = (StoreTable) {.name = "lot", .columns = L_COUNT};
	store->tables[STORE_MOVEMENT] = (StoreTable) {.name = "movement", .columns = M_COUNT};
	store->tables[STORE_TIER_CHANGE] = (StoreTable) {.name = "tier_change", .columns = T_COUNT};
	store->tables[STORE_REDEMPTION] = (StoreTable) {.name = "redemption", .columns = R_COUNT};
	store->tables[STORE_REQUEST] = (StoreTable) {.name = "request", .columns = Q_COUNT};
	store->tables[STORE_MEMBER] = (StoreTable) {.name = "member", .columns = B_COUNT, .read_only = true};
	MemoryContextSwitchTo(old);
	return store;
}

Store *
store_open(TimestampTz posted_at)
{
	return store_create(posted_at, false);
}

Store *
store_open_reader(Snapshot snapshot)
{
	Store	   *store = store_create(0, true);

	store->snapshot = snapshot;
	return store;
}

void
store_close(Store *store)
{
	if (!store->reader)
	{
		store_flush(store);
		flush_keys(store);
	}
	if (store->key_scan)
		index_endscan(store->key_scan);
	if (store->key_index)
		index_close(store->key_index, NoLock);
	for (int i = 0; i < STORE_TABLES; i++)
	{
		StoreTable *table = &store->tables[i];

		if (table->rel == NULL)
			continue;
		if (table->scan)
			index_endscan(table->scan);
		if (table->bulk)
			FreeBulkInsertState(table->bulk);
		if (table->rri)
			ExecCloseIndices(table->rri);
		for (int j = 0; table->batch && j < INSERT_BATCH && table->batch[j]; j++)
			ExecDropSingleTupleTableSlot(table->batch[j]);
		ExecDropSingleTupleTableSlot(table->slot);
		table_close(table->rel, NoLock);
	}
	if (store->snapshot && !store->reader)
		UnregisterSnapshot(store->snapshot);
	FreeExecutorState(store->estate);
	MemoryContextDelete(store->context);
}

/* ---- opening ---- */

/* A row of values; columns that a later version appended are NULL. */
static void
fill_slot(StoreTable *table, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, table->columns * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, table->columns * sizeof(bool));
	for (int i = table->columns; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	ExecStoreVirtualTuple(slot);
}

static Oid
table_oid(const char *name)
{
	Oid			schema = get_namespace_oid("loyalty", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("table loyalty.%s does not exist", name),
				 errhint("Call SELECT loyalty.install() as the owner of the ledger.")));
	return relid;
}

static StoreTable *
open_table(Store *store, StoreTableId id)
{
	StoreTable *table = &store->tables[id];
	MemoryContext old;

	if (table->rel)
		return table;
	old = MemoryContextSwitchTo(store->context);
	table->read_only |= store->reader;
	table->rel = table_open(table_oid(table->name), table->read_only ? AccessShareLock : RowExclusiveLock);
	if (RelationGetNumberOfAttributes(table->rel) < table->columns)
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("table loyalty.%s is of an older version than the code", table->name),
				 errdetail("It has %d columns and the code needs %d.",
						   RelationGetNumberOfAttributes(table->rel), table->columns),
				 errhint("Call SELECT loyalty.install() as the owner of the ledger.")));
	table->slot = table_slot_create(table->rel, NULL);
	if (!table->read_only)
	{
		table->rri = makeNode(ResultRelInfo);
		InitResultRelInfo(table->rri, table->rel, 0, NULL, 0);
		ExecOpenIndices(table->rri, id == STORE_ACCOUNT);
		if (id == STORE_LOT)
			take_key_index(store, table);
	}
	MemoryContextSwitchTo(old);
	return table;
}

/*
 * The next row of a scan that outlives the call: the access method keeps what it allocates on the way (dead items to
 * be marked) until the scan ends, so it must not come from a caller's short-lived memory.
 */
static bool
next_row(Store *store, IndexScanDesc scan, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(store->context);
	bool		found = index_getnext_slot(scan, ForwardScanDirection, slot);

	MemoryContextSwitchTo(old);
	return found;
}

static void
rescan(Store *store, IndexScanDesc scan, ScanKey keys, int nkeys)
{
	MemoryContext old = MemoryContextSwitchTo(store->context);

	index_rescan(scan, keys, nkeys, NULL, 0);
	MemoryContextSwitchTo(old);
}

/* The scan of a table's primary key, ready for rescan(). */
static IndexScanDesc
primary_scan(Store *store, StoreTable *table, int nkeys)
{
	if (table->scan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);
		Relation	index = index_open(RelationGetPrimaryKeyIndex(table->rel), AccessShareLock);

		table->scan = index_beginscan(table->rel, index, store->snapshot, NULL, nkeys, 0);
		index_close(index, NoLock);
		MemoryContextSwitchTo(old);
	}
	table->scan->xs_snapshot = store->snapshot;
	return table->scan;
}

static void
renew_snapshot(Store *store)
{
	if (store->snapshot)
		UnregisterSnapshot(store->snapshot);
	store->snapshot = RegisterSnapshot(GetLatestSnapshot());
}

/*
 * From here on reads see what has been committed up to now and what this transaction has written.
 */
static void
refresh_snapshot(Store *store)
{
	if (store->reader)
		return;
	store_flush(store);
	CommandCounterIncrement();
	renew_snapshot(store);
}

/* ---- accounts ---- */

static void
fill_account(Account *account, TupleTableSlot *slot)
{
	Datum	   *v;
	MemoryContext old = MemoryContextSwitchTo(account->context);

	slot_getallattrs(slot);
	v = slot->tts_values;
	account->member_id = DatumGetInt64(v[A_MEMBER_ID]);
	account->enrolled_at = DatumGetTimestampTz(v[A_ENROLLED_AT]);
	account->settled_at = DatumGetTimestampTz(v[A_SETTLED_AT]);
	account->next_change_at = DatumGetTimestampTz(v[A_NEXT_CHANGE_AT]);
	account->available = DatumGetInt64(v[A_AVAILABLE]);
	account->pending = DatumGetInt64(v[A_PENDING]);
	account->held = DatumGetInt64(v[A_HELD]);
	account->debt = DatumGetInt64(v[A_DEBT]);
	account->next_entry = DatumGetInt64(v[A_NEXT_ENTRY]);
	account->open_from_expires_at = DatumGetTimestampTz(v[A_OPEN_FROM_EXPIRES_AT]);
	account->open_from_entry_no = DatumGetInt64(v[A_OPEN_FROM_ENTRY_NO]);
	account->tier_until = DatumGetTimestampTz(v[A_TIER_UNTIL]);
	account->period_start = DatumGetTimestampTz(v[A_PERIOD_START]);
	account->period_end = DatumGetTimestampTz(v[A_PERIOD_END]);
	account->previous_start = DatumGetTimestampTz(v[A_PREVIOUS_START]);
	account->tier_id = slot->tts_isnull[A_TIER_ID] ? 0 : DatumGetInt32(v[A_TIER_ID]);
	account->visits = DatumGetInt32(v[A_VISITS]);
	account->visits_previous = DatumGetInt32(v[A_VISITS_PREVIOUS]);
	account->earned = DatumGetInt64(v[A_EARNED]);
	account->earned_previous = DatumGetInt64(v[A_EARNED_PREVIOUS]);
	account->spend = DatumGetNumericCopy(v[A_SPEND]);
	account->spend_previous = DatumGetNumericCopy(v[A_SPEND_PREVIOUS]);
	account->status = TextDatumGetCString(v[A_STATUS]);
	account->tid = slot->tts_tid;
	account->stored = true;
	MemoryContextSwitchTo(old);
}

static void
account_values(const Account *account, Datum *v, bool *nulls)
{
	memset(nulls, 0, A_COUNT * sizeof(bool));
	v[A_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[A_ENROLLED_AT] = TimestampTzGetDatum(account->enrolled_at);
	v[A_SETTLED_AT] = TimestampTzGetDatum(account->settled_at);
	v[A_NEXT_CHANGE_AT] = TimestampTzGetDatum(account->next_change_at);
	v[A_AVAILABLE] = Int64GetDatum(account->available);
	v[A_PENDING] = Int64GetDatum(account->pending);
	v[A_HELD] = Int64GetDatum(account->held);
	v[A_DEBT] = Int64GetDatum(account->debt);
	v[A_NEXT_ENTRY] = Int64GetDatum(account->next_entry);
	v[A_OPEN_FROM_EXPIRES_AT] = TimestampTzGetDatum(account->open_from_expires_at);
	v[A_OPEN_FROM_ENTRY_NO] = Int64GetDatum(account->open_from_entry_no);
	v[A_TIER_UNTIL] = TimestampTzGetDatum(account->tier_until);
	v[A_PERIOD_START] = TimestampTzGetDatum(account->period_start);
	v[A_PERIOD_END] = TimestampTzGetDatum(account->period_end);
	v[A_PREVIOUS_START] = TimestampTzGetDatum(account->previous_start);
	v[A_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[A_TIER_ID] = Int32GetDatum(account->tier_id);
	nulls[A_TIER_ID] = account->tier_id == 0;
	v[A_VISITS] = Int32GetDatum(account->visits);
	v[A_VISITS_PREVIOUS] = Int32GetDatum(account->visits_previous);
	v[A_EARNED] = Int64GetDatum(account->earned);
	v[A_EARNED_PREVIOUS] = Int64GetDatum(account->earned_previous);
	v[A_SPEND] = NumericGetDatum(account->spend);
	v[A_SPEND_PREVIOUS] = NumericGetDatum(account->spend_previous);
	v[A_STATUS] = CStringGetTextDatum(account->status);
}

static Account *
new_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	Account    *account = MemoryContextAllocZero(context, sizeof(Account));

	account->member_id = member;
	account->program = program;
	account->store = store;
	account->context = context;
	account->posted_at = store->posted_at;
	return account;
}

/* Position account->slot on the account's visible row; false when there is none. */
static bool
find_account(Store *store, StoreTable *table, const Program *program, int64 member)
{
	ScanKeyData keys[2];
	IndexScanDesc scan = primary_scan(store, table, 2);

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(member));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(program->id));
	rescan(store, scan, keys, 2);
	return next_row(store, scan, table->slot);
}

Account *
store_read_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	StoreTable *table = open_table(store, STORE_ACCOUNT);
	Account    *account;

	if (!find_account(store, table, program, member))
		return NULL;
	account = new_account(store, program, member, context);
	fill_account(account, table->slot);
	return account;
}

void
store_lock_accounts(Store *store, const Program *program, int n, const int64 *members,
					const TimestampTz *enrolled_at, MemoryContext context, Account **accounts)
{
	bool		locked = false;

	open_table(store, STORE_ACCOUNT);
	if (!store->hoping || n == 0)
		refresh_snapshot(store);
	for (int i = 0; i < n; i++)
	{
		Assert(i == 0 || members[i - 1] < members[i]);
		CHECK_FOR_INTERRUPTS();
		accounts[i] = new_account(store, program, members[i], context);
		while (!lock_account(store, program, members[i], LockWaitBlock, &accounts[i]))
		{
			if (enrolled_at == NULL || enrolled_at[i] == DT_NOEND)
			{
				accounts[i] = NULL;
				break;
			}
			ledger_enroll(accounts[i], enrolled_at[i]);
			if (store->hoping || enroll_account(store, accounts[i]))
				break;
			/* somebody else enrolled the member in between: now it is there */
			refresh_snapshot(store);
		}
		locked |= accounts[i] && accounts[i]->stored;
	}
	/* what is read from now on is newer than every lock */
	if (!store->hoping)
		refresh_snapshot(store);
	else if (locked)
		renew_snapshot(store);
}

/*
 * Lock one account and read what its last holder committed; false when there is none, or when `wait` says not to
 * wait and somebody holds it.  Under REPEATABLE READ a row that somebody changed
 * after the transaction's snapshot is a serialization failure, as it is for UPDATE.
 */
static bool
lock_account(Store *store, const Program *program, int64 member, LockWaitPolicy wait, Account **account)
{
	StoreTable *table = &store->tables[STORE_ACCOUNT];
	ItemPointerData tid;
	TM_FailureData failure;
	TM_Result	result;

	if (!find_account(store, table, program, member))
		return false;
	tid = table->slot->tts_tid;
	result = table_tuple_lock(table->rel, &tid, store->snapshot, table->slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, wait,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_WouldBlock)
		return false;
	if (result == TM_Updated || (result == TM_Ok && IsolationUsesXactSnapshot() &&
								 !table_tuple_satisfies_snapshot(table->rel, table->slot, GetTransactionSnapshot()) &&
								 !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(
																							 ExecFetchSlotHeapTuple(table->slot, false, NULL)->t_data))))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	if (result != TM_Ok)
		elog(ERROR, "could not lock account of member " INT64_FORMAT ": result %d", member, result);
	fill_account(*account, table->slot);
	return true;
}

Account *
store_try_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	Account    *account;

	open_table(store, STORE_ACCOUNT);
	refresh_snapshot(store);
	account = new_account(store, program, member, context);
	if (!lock_account(store, program, member, LockWaitSkip, &account))
		return NULL;
	refresh_snapshot(store);
	return account;
}

int
store_walk_accounts(Store *store, int64 after_member, int32 after_program, int n, AccountAt *accounts)
{
	StoreTable *table = open_table(store, STORE_ACCOUNT);
	ScanKeyData position[2];
	ScanKeyData key = {0};
	IndexScanDesc scan;
	Relation	index;
	int			found = 0;

	refresh_snapshot(store);
	ScanKeyEntryInitialize(&position[0], SK_ROW_MEMBER, 1, BTGreaterStrategyNumber, INT8OID, InvalidOid, F_BTINT8CMP,
						   Int64GetDatum(after_member));
	ScanKeyEntryInitialize(&position[1], SK_ROW_MEMBER | SK_ROW_END, 2, BTGreaterStrategyNumber, INT4OID, InvalidOid,
						   F_BTINT4CMP, Int32GetDatum(after_program));
	key.sk_flags = SK_ROW_HEADER;
	key.sk_attno = 1;
	key.sk_strategy = BTGreaterStrategyNumber;
	key.sk_argument = PointerGetDatum(position);
	index = index_open(RelationGetPrimaryKeyIndex(table->rel), AccessShareLock);
	scan = index_beginscan(table->rel, index, store->snapshot, NULL, 1, 0);
	rescan(store, scan, &key, 1);
	while (found < n && next_row(store, scan, table->slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		accounts[found++] = (AccountAt) {
			.member_id = DatumGetInt64(slot_getattr(table->slot, A_MEMBER_ID + 1, &isnull)),
			.program_id = DatumGetInt32(slot_getattr(table->slot, A_PROGRAM_ID + 1, &isnull)),
			.next_change_at = DatumGetTimestampTz(slot_getattr(table->slot, A_NEXT_CHANGE_AT + 1, &isnull))
		};
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

/* Insert a new account's row; false when another session has enrolled the member first. */
static bool
enroll_account(Store *store, Account *account)
{
	StoreTable *table = &store->tables[STORE_ACCOUNT];
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];
	uint32		token;
	bool		conflict = false;
	ItemPointerData existing;
	ItemPointerData none;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	account_values(account, values, nulls);
	fill_slot(table, table->slot, values, nulls);
	ItemPointerSetInvalid(&none);
	if (!ExecCheckIndexConstraints(table->rri, table->slot, store->estate, &existing, &none, NIL))
	{
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(store->estate);
		return false;
	}
	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(table->rel, table->slot, GetCurrentCommandId(true), 0, NULL, token);
	ExecInsertIndexTuples(table->rri, table->slot, store->estate, false, true, &conflict, NIL, false);
	table_tuple_complete_speculative(table->rel, table->slot, token, !conflict);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	account->tid = table->slot->tts_tid;
	account->stored = true;
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
	return !conflict;
}

void
store_change_account(Account *account)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_ACCOUNT);
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	account_values(account, values, nulls);
	if (account->stored)
		update_row(store, table, &account->tid, values, nulls);
	else
	{
		/* at once, not with others of a batch: whoever waits for it must wait in the order of locks */
		fill_slot(table, table->slot, values, nulls);
		table_tuple_insert(table->rel, table->slot, GetCurrentCommandId(true), 0, NULL);
		ExecInsertIndexTuples(table->rri, table->slot, store->estate, false, false, NULL, NIL, false);
		account->tid = table->slot->tts_tid;
		account->stored = true;
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

/* ---- lots ---- */

static Lot *
read_lot(TupleTableSlot *slot, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Lot		   *lot = palloc0(sizeof(Lot));
	Datum	   *v;
	bool	   *nulls;

	slot_getallattrs(slot);
	v = slot->tts_values;
	nulls = slot->tts_isnull;
	lot->member_id = DatumGetInt64(v[L_MEMBER_ID]);
	lot->expires_at = DatumGetTimestampTz(v[L_EXPIRES_AT]);
	lot->entry_no = DatumGetInt64(v[L_ENTRY_NO]);
	lot->points = DatumGetInt64(v[L_POINTS]);
	lot->remaining = DatumGetInt64(v[L_REMAINING]);
	lot->owed = DatumGetInt64(v[L_OWED]);
	lot->earned_at = DatumGetTimestampTz(v[L_EARNED_AT]);
	lot->available_at = DatumGetTimestampTz(v[L_AVAILABLE_AT]);
	lot->at = DatumGetTimestampTz(v[L_AT]);
	lot->posted_at = DatumGetTimestampTz(v[L_POSTED_AT]);
	lot->program_id = DatumGetInt32(v[L_PROGRAM_ID]);
	lot->source_id = nulls[L_SOURCE_ID] ? 0 : DatumGetInt32(v[L_SOURCE_ID]);
	lot->part = DatumGetInt16(v[L_PART]);
	lot->kind = DatumGetChar(v[L_KIND]);
	lot->source_key = nulls[L_SOURCE_KEY] ? NULL : TextDatumGetCString(v[L_SOURCE_KEY]);
	lot->amount = nulls[L_AMOUNT] ? NULL : DatumGetNumericCopy(v[L_AMOUNT]);
	lot->kept_amount = nulls[L_KEPT_AMOUNT] ? NULL : DatumGetNumericCopy(v[L_KEPT_AMOUNT]);
	lot->breakdown = nulls[L_BREAKDOWN] ? NULL : DatumGetByteaPCopy(v[L_BREAKDOWN]);
	lot->tid = slot->tts_tid;
	lot->stored = true;
	MemoryContextSwitchTo(old);
	return lot;
}

static void
lot_values(const Lot *lot, Datum *v, bool *nulls)
{
	memset(nulls, 0, L_COUNT * sizeof(bool));
	v[L_MEMBER_ID] = Int64GetDatum(lot->member_id);
	v[L_EXPIRES_AT] = TimestampTzGetDatum(lot->expires_at);
	v[L_ENTRY_NO] = Int64GetDatum(lot->entry_no);
	v[L_POINTS] = Int64GetDatum(lot->points);
	v[L_REMAINING] = Int64GetDatum(lot->remaining);
	v[L_OWED] = Int64GetDatum(lot->owed);
	v[L_EARNED_AT] = TimestampTzGetDatum(lot->earned_at);
	v[L_AVAILABLE_AT] = TimestampTzGetDatum(lot->available_at);
	v[L_AT] = TimestampTzGetDatum(lot->at);
	v[L_POSTED_AT] = TimestampTzGetDatum(lot->posted_at);
	v[L_PROGRAM_ID] = Int32GetDatum(lot->program_id);
	v[L_SOURCE_ID] = Int32GetDatum(lot->source_id);
	nulls[L_SOURCE_ID] = lot->source_id == 0;
	v[L_UNIT] = Int32GetDatum(0);
	v[L_PART] = Int16GetDatum(lot->part);
	v[L_KIND] = CharGetDatum(lot->kind);
	v[L_SOURCE_KEY] = lot->source_key ? CStringGetTextDatum(lot->source_key) : (Datum) 0;
	nulls[L_SOURCE_KEY] = lot->source_key == NULL;
	v[L_AMOUNT] = NumericGetDatum(lot->amount);
	nulls[L_AMOUNT] = lot->amount == NULL;
	v[L_KEPT_AMOUNT] = NumericGetDatum(lot->kept_amount);
	nulls[L_KEPT_AMOUNT] = lot->kept_amount == NULL;
	v[L_BREAKDOWN] = PointerGetDatum(lot->breakdown);
	nulls[L_BREAKDOWN] = lot->breakdown == NULL;
}

/*
 * Open lots come in primary-key order from a position on: a row comparison (expires_at, entry_no), because with
 * the expiry alone 100,000 dead lots of equal expiry would be read and thrown away.
 */
void
store_read_lots(Account *account, int n)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_LOT);
	bool		first = account->nlots == 0 && account->read_entry_no == 0;
	StrategyNumber strategy = first ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber;
	ScanKeyData position[2];
	ScanKeyData keys[3];
	IndexScanDesc scan;

	if (store->snapshot == NULL)
		refresh_snapshot(store);
	scan = primary_scan(store, table, 3);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyEntryInitialize(&position[0], SK_ROW_MEMBER, 3, strategy, TIMESTAMPTZOID, InvalidOid, F_TIMESTAMPTZ_CMP,
						   TimestampTzGetDatum(first ? account->open_from_expires_at : account->read_expires_at));
	ScanKeyEntryInitialize(&position[1], SK_ROW_MEMBER | SK_ROW_END, 4, strategy, INT8OID, InvalidOid, F_BTINT8CMP,
						   Int64GetDatum(first ? account->open_from_entry_no : account->read_entry_no));
	memset(&keys[2], 0, sizeof(ScanKeyData));
	keys[2].sk_flags = SK_ROW_HEADER;
	keys[2].sk_attno = 3;
	keys[2].sk_strategy = strategy;
	keys[2].sk_argument = PointerGetDatum(position);
	rescan(store, scan, keys, 3);
	while (n > 0)
	{
		Lot		   *lot;

		CHECK_FOR_INTERRUPTS();
		if (!next_row(store, scan, table->slot))
		{
			account->all_read = true;
			break;
		}
		lot = read_lot(table->slot, account->context);
		account->read_expires_at = lot->expires_at;
		account->read_entry_no = lot->entry_no;
		if (lot->remaining == 0)
			continue;
		ledger_take_lot(account, lot);
		n--;
	}
	ExecClearTuple(table->slot);
}

void
store_insert_lots(Account *account, Lot **lots, int n)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_LOT);
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	for (int i = 0; i < n; i++)
	{
		lot_values(lots[i], values, nulls);
		insert_row(store, table, values, nulls);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

void
store_change_lots(Account *account, Lot **lots, int n)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_LOT);

	for (int i = 0; i < n; i++)
	{
		HeapTuple	former;
		HeapTuple	changed;
		Datum		values[L_COUNT];
		bool		nulls[L_COUNT];
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_fetch_row_version(table->rel, &lots[i]->tid, SnapshotAny, table->slot))
			elog(ERROR, "lot " INT64_FORMAT " of member " INT64_FORMAT " has gone", lots[i]->entry_no, lots[i]->member_id);
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
		lot_values(lots[i], values, nulls);
		former = ExecFetchSlotHeapTuple(table->slot, false, NULL);
		changed = heap_modify_tuple_by_cols(former, RelationGetDescr(table->rel), 3,
											(int[]) {L_REMAINING + 1, L_OWED + 1, L_KEPT_AMOUNT + 1},
											(Datum[]) {values[L_REMAINING], values[L_OWED], values[L_KEPT_AMOUNT]},
											(bool[]) {false, false, nulls[L_KEPT_AMOUNT]});
		ExecForceStoreHeapTuple(changed, table->slot, false);
		update_row(store, table, &lots[i]->tid, NULL, NULL);
		MemoryContextSwitchTo(old);
		ExecClearTuple(table->slot);
		ResetPerTupleExprContext(store->estate);
	}
}

/* ---- source keys ---- */

static IndexScanDesc
key_scan(Store *store, int nkeys)
{
	StoreTable *table = open_table(store, STORE_LOT);

	flush_keys(store);
	if (store->snapshot == NULL)
		refresh_snapshot(store);
	if (store->key_index == NULL)
		store->key_index = index_open(table_oid("lot_source_key"), AccessShareLock);
	if (store->key_scan && store->key_scan->numberOfKeys != nkeys)
	{
		index_endscan(store->key_scan);
		store->key_scan = NULL;
	}
	if (store->key_scan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);

		store->key_scan = index_beginscan(table->rel, store->key_index, store->snapshot, NULL, nkeys, 0);
		MemoryContextSwitchTo(old);
	}
	store->key_scan->xs_snapshot = store->snapshot;
	return store->key_scan;
}

static void
text_key(ScanKey key, StrategyNumber strategy, RegProcedure function, const char *value)
{
	ScanKeyEntryInitialize(key, 0, 2, strategy, TEXTOID, C_COLLATION_OID, function, CStringGetTextDatum(value));
}

void
store_probe_keys(Store *store, int32 source_id, int n, char **keys, MemoryContext context, KeyLots *results)
{
	IndexScanDesc scan = key_scan(store, 2);
	TupleTableSlot *slot = store->tables[STORE_LOT].slot;
	ScanKeyData scan_keys[2];

	ScanKeyInit(&scan_keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	for (int i = 0; i < n; i++)
	{
		KeyLots    *result = &results[i];
		int			room = 0;

		CHECK_FOR_INTERRUPTS();
		result->nlots = 0;
		result->lots = NULL;
		text_key(&scan_keys[1], BTEqualStrategyNumber, F_TEXTEQ, keys[i]);
		rescan(store, scan, scan_keys, 2);
		while (next_row(store, scan, slot))
		{
			if (result->nlots == room)
			{
				room = room ? room * 2 : 2;
				result->lots = result->lots ? repalloc(result->lots, room * sizeof(Lot *))
					: MemoryContextAlloc(context, room * sizeof(Lot *));
			}
			result->lots[result->nlots++] = read_lot(slot, context);
		}
		pfree(DatumGetPointer(scan_keys[1].sk_argument));
	}
	ExecClearTuple(slot);
}

void
store_begin_source(Store *store, int32 source_id)
{
	ScanKeyData key;

	refresh_snapshot(store);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	rescan(store, key_scan(store, 1), &key, 1);
}

Lot *
store_next_source_lot(Store *store, MemoryContext context)
{
	TupleTableSlot *slot = store->tables[STORE_LOT].slot;

	if (!next_row(store, store->key_scan, slot))
		return NULL;
	return read_lot(slot, context);
}

bool
store_keys_fresh(Store *store, int32 source_id, const char *low, const char *high)
{
	IndexScanDesc scan = key_scan(store, 3);
	TupleTableSlot *slot = store->tables[STORE_LOT].slot;
	ScanKeyData keys[3];
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(source_id));
	text_key(&keys[1], BTGreaterEqualStrategyNumber, F_TEXT_GE, low);
	text_key(&keys[2], BTLessEqualStrategyNumber, F_TEXT_LE, high);
	rescan(store, scan, keys, 3);
	found = next_row(store, scan, slot);
	ExecClearTuple(slot);
	return !found;
}

/* Of the lots' indexes all are PostgreSQL's to fill but this one. */
static void
take_key_index(Store *store, StoreTable *table)
{
	ResultRelInfo *rri = table->rri;
	Oid			key_index = table_oid("lot_source_key");
	int			kept = 0;

	for (int i = 0; i < rri->ri_NumIndices; i++)
	{
		if (RelationGetRelid(rri->ri_IndexRelationDescs[i]) == key_index)
		{
			store->key_index = rri->ri_IndexRelationDescs[i];
			store->key_info = rri->ri_IndexRelationInfo[i];
			continue;
		}
		rri->ri_IndexRelationDescs[kept] = rri->ri_IndexRelationDescs[i];
		rri->ri_IndexRelationInfo[kept++] = rri->ri_IndexRelationInfo[i];
	}
	rri->ri_NumIndices = kept;
	if (store->key_index == NULL)
		elog(ERROR, "index lot_source_key is not an index of loyalty.lot");
}

void
store_hope(Store *store)
{
	store->hoping = true;
}

static void
insert_key_entry(Store *store, Datum source_id, Datum key, Datum part, bool isnull, ItemPointer tid)
{
	Datum		values[3] = {source_id, key, part};
	bool		nulls[3] = {isnull, isnull, false};

	index_insert(store->key_index, values, nulls, tid, store->tables[STORE_LOT].rel, UNIQUE_CHECK_YES, false,
				 store->key_info);
}

static uint64
key_head(const text *key)
{
	uint64		head = 0;

	memcpy(&head, VARDATA_ANY(key), Min(VARSIZE_ANY_EXHDR(key), sizeof(head)));
	return pg_ntoh64(head);
}

/* Index the key of a new lot, now or with the others of the statement. */
static void
insert_key(Store *store, TupleTableSlot *slot)
{
	bool		isnull;
	bool		never;
	Datum		key = slot_getattr(slot, L_SOURCE_KEY + 1, &isnull);
	Datum		part = slot_getattr(slot, L_PART + 1, &never);
	Datum		source_id = slot_getattr(slot, L_SOURCE_ID + 1, &never);
	KeyEntry   *entry;
	Size		size;

	if (!store->hoping || isnull)
	{
		insert_key_entry(store, source_id, key, part, isnull, &slot->tts_tid);
		return;
	}
	size = VARSIZE_ANY(DatumGetPointer(key));
	if (store->key_bytes + size > (Size) work_mem * 1024)
		flush_keys(store);
	if (store->key_context == NULL)
		store->key_context = GenerationContextCreate(store->context, "loyalty keys", 8 * 1024, 8 * 1024, 8 * 1024 * 1024);
	if (store->nkeys == store->max_keys)
	{
		store->max_keys = Max(1024, store->max_keys * 2);
		store->keys = store->keys == NULL ? MemoryContextAlloc(store->context, store->max_keys * sizeof(KeyEntry))
			: repalloc_huge(store->keys, mul_size(store->max_keys, sizeof(KeyEntry)));
	}
	entry = &store->keys[store->nkeys++];
	entry->key = MemoryContextAlloc(store->key_context, size);
	memcpy(entry->key, DatumGetPointer(key), size);
	entry->head = key_head(entry->key);
	entry->source_id = DatumGetInt32(source_id);
	entry->part = DatumGetInt16(part);
	entry->tid = slot->tts_tid;
	store->key_bytes += sizeof(KeyEntry) + size + 16;
}

static inline int
compare_keys(const KeyEntry *x, const KeyEntry *y)
{
	int			xlen;
	int			ylen;
	int			c;

	if (x->head != y->head)
		return x->head < y->head ? -1 : 1;
	xlen = VARSIZE_ANY_EXHDR(x->key);
	ylen = VARSIZE_ANY_EXHDR(y->key);
	c = memcmp(VARDATA_ANY(x->key), VARDATA_ANY(y->key), Min(xlen, ylen));
	return c != 0 ? c : xlen != ylen ? xlen - ylen : x->part - y->part;
}

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE KeyEntry
#define ST_COMPARE(a, b) compare_keys(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* In key order neighbours go to one page. */
static void
flush_keys(Store *store)
{
	MemoryContext old;

	if (store->nkeys == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	sort_keys(store->keys, store->nkeys);
	for (int i = 0; i < store->nkeys; i++)
	{
		KeyEntry   *entry = &store->keys[i];

		CHECK_FOR_INTERRUPTS();
		insert_key_entry(store, Int32GetDatum(entry->source_id), PointerGetDatum(entry->key), Int16GetDatum(entry->part),
						 false, &entry->tid);
		if (i % 1000 == 0)
			ResetPerTupleExprContext(store->estate);
	}
	store->nkeys = 0;
	store->key_bytes = 0;
	MemoryContextReset(store->key_context);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

/* ---- movements, tier changes ---- */

void
store_insert_movements(Account *account, const Movement *movements, int n)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_MOVEMENT);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	for (int i = 0; i < n; i++)
	{
		const Movement *m = &movements[i];
		Datum		v[M_COUNT] = {0};
		bool		nulls[M_COUNT] = {0};

		v[M_MEMBER_ID] = Int64GetDatum(account->member_id);
		v[M_ENTRY_NO] = Int64GetDatum(m->entry_no);
		v[M_LOT_EXPIRES_AT] = TimestampTzGetDatum(m->lot_expires_at);
		v[M_LOT_ENTRY_NO] = Int64GetDatum(m->lot_entry_no);
		v[M_POINTS] = Int64GetDatum(m->points);
		v[M_AT] = TimestampTzGetDatum(m->at);
		v[M_POSTED_AT] = TimestampTzGetDatum(store->posted_at);
		v[M_REDEMPTION_ID] = Int64GetDatum(m->redemption_id);
		nulls[M_REDEMPTION_ID] = m->redemption_id == 0;
		v[M_ORIGIN_ENTRY_NO] = Int64GetDatum(m->origin_entry_no);
		nulls[M_ORIGIN_ENTRY_NO] = m->origin_entry_no == 0;
		v[M_PROGRAM_ID] = Int32GetDatum(account->program->id);
		v[M_KIND] = CStringGetTextDatum(entry_kind_names[m->kind]);
		v[M_REASON] = m->reason ? CStringGetTextDatum(m->reason) : (Datum) 0;
		nulls[M_REASON] = m->reason == NULL;
		insert_row(store, table, v, nulls);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

void
store_insert_tier_changes(Account *account, const TierChange *changes, int n)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_TIER_CHANGE);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	for (int i = 0; i < n; i++)
	{
		const TierChange *c = &changes[i];
		Datum		v[T_COUNT] = {0};
		bool		nulls[T_COUNT] = {0};

		v[T_MEMBER_ID] = Int64GetDatum(account->member_id);
		v[T_PROGRAM_ID] = Int32GetDatum(account->program->id);
		v[T_AT] = TimestampTzGetDatum(c->at);
		v[T_CHANGE_NO] = Int64GetDatum(c->change_no);
		v[T_POSTED_AT] = TimestampTzGetDatum(store->posted_at);
		v[T_FROM_TIER_ID] = Int32GetDatum(c->from_tier);
		nulls[T_FROM_TIER_ID] = c->from_tier == 0;
		v[T_TO_TIER_ID] = Int32GetDatum(c->to_tier);
		nulls[T_TO_TIER_ID] = c->to_tier == 0;
		v[T_HELD_UNTIL] = TimestampTzGetDatum(c->held_until);
		v[T_REASON] = CStringGetTextDatum(c->reason);
		insert_row(store, table, v, nulls);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

/* ---- redemptions, requests, members ---- */

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}

static const char *
text_value(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

int64
store_next_redemption(Store *store)
{
	return nextval_internal(table_oid("redemption_redemption_id_seq"), false);
}

void
store_insert_redemption(Account *account, const Redemption *redemption)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_REDEMPTION);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		v[R_COUNT] = {0};
	bool		nulls[R_COUNT] = {0};

	v[R_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[R_REDEMPTION_ID] = Int64GetDatum(redemption->redemption_id);
	v[R_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[R_REWARD_ID] = Int32GetDatum(redemption->reward_id);
	nulls[R_REWARD_ID] = redemption->reward_id == 0;
	v[R_QUANTITY] = Int32GetDatum(redemption->quantity);
	v[R_POINTS] = Int64GetDatum(redemption->points);
	v[R_STATE] = CStringGetTextDatum(redemption->state);
	v[R_KEY] = text_or_null(redemption->key, &nulls[R_KEY]);
	v[R_REASON] = text_or_null(redemption->reason, &nulls[R_REASON]);
	v[R_VOUCHER] = text_or_null(redemption->voucher, &nulls[R_VOUCHER]);
	nulls[R_HELD_UNTIL] = true;
	v[R_FIRST_ENTRY] = Int64GetDatum(redemption->first_entry);
	v[R_LAST_ENTRY] = Int64GetDatum(redemption->last_entry);
	v[R_AT] = TimestampTzGetDatum(redemption->at);
	v[R_POSTED_AT] = TimestampTzGetDatum(store->posted_at);
	v[R_BY] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	insert_row(store, table, v, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

bool
store_find_redemption(Account *account, int64 redemption_id, Redemption *redemption)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_REDEMPTION);
	IndexScanDesc scan = primary_scan(store, table, 2);
	ScanKeyData keys[2];
	Datum	   *v = table->slot->tts_values;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(redemption_id));
	rescan(store, scan, keys, 2);
	if (!next_row(store, scan, table->slot))
		return false;
	slot_getallattrs(table->slot);
	*redemption = (Redemption) {
		.redemption_id = redemption_id,
		.reward_id = table->slot->tts_isnull[R_REWARD_ID] ? 0 : DatumGetInt32(v[R_REWARD_ID]),
		.quantity = DatumGetInt32(v[R_QUANTITY]),
		.points = DatumGetInt64(v[R_POINTS]),
		.state = text_value(table->slot, R_STATE),
		.key = text_value(table->slot, R_KEY),
		.reason = text_value(table->slot, R_REASON),
		.voucher = text_value(table->slot, R_VOUCHER),
		.first_entry = DatumGetInt64(v[R_FIRST_ENTRY]),
		.last_entry = DatumGetInt64(v[R_LAST_ENTRY]),
		.at = DatumGetTimestampTz(v[R_AT])
	};
	ExecClearTuple(table->slot);
	return true;
}

void
store_insert_request(Account *account, const Request *request)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_REQUEST);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	Datum		v[Q_COUNT] = {0};
	bool		nulls[Q_COUNT] = {0};

	v[Q_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[Q_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[Q_KEY] = CStringGetTextDatum(request->key);
	v[Q_CALL] = CStringGetTextDatum(request->call);
	v[Q_ARGUMENTS] = JsonbPGetDatum(request->arguments);
	v[Q_REDEMPTION_ID] = Int64GetDatum(request->redemption_id);
	nulls[Q_REDEMPTION_ID] = request->redemption_id == 0;
	v[Q_ENTRY_NO] = Int64GetDatum(request->entry_no);
	nulls[Q_ENTRY_NO] = request->entry_no == 0;
	v[Q_AT] = TimestampTzGetDatum(request->at);
	insert_row(store, table, v, nulls);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

bool
store_find_request(Account *account, const char *key, Request *request)
{
	Store	   *store = account->store;
	StoreTable *table = open_table(store, STORE_REQUEST);
	IndexScanDesc scan = primary_scan(store, table, 3);
	ScanKeyData keys[3];
	Datum	   *v = table->slot->tts_values;
	bool	   *nulls = table->slot->tts_isnull;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyEntryInitialize(&keys[2], 0, 3, BTEqualStrategyNumber, TEXTOID, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(key));
	rescan(store, scan, keys, 3);
	if (!next_row(store, scan, table->slot))
		return false;
	slot_getallattrs(table->slot);
	*request = (Request) {
		.key = key,
		.call = text_value(table->slot, Q_CALL),
		.arguments = DatumGetJsonbPCopy(v[Q_ARGUMENTS]),
		.redemption_id = nulls[Q_REDEMPTION_ID] ? 0 : DatumGetInt64(v[Q_REDEMPTION_ID]),
		.entry_no = nulls[Q_ENTRY_NO] ? 0 : DatumGetInt64(v[Q_ENTRY_NO]),
		.at = DatumGetTimestampTz(v[Q_AT])
	};
	ExecClearTuple(table->slot);
	return true;
}

void
store_read_members(Store *store, Account **accounts, int n)
{
	StoreTable *table = open_table(store, STORE_MEMBER);

	if (store->snapshot == NULL)
		refresh_snapshot(store);
	for (int i = 0; i < n; i++)
	{
		Account    *account = accounts[i];
		ScanKeyData key;
		IndexScanDesc scan;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (account == NULL)
			continue;
		scan = primary_scan(store, table, 1);
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
		rescan(store, scan, &key, 1);
		if (!next_row(store, scan, table->slot))
			continue;
		slot_getallattrs(table->slot);
		old = MemoryContextSwitchTo(account->context);
		account->attributes = DatumGetJsonbPCopy(table->slot->tts_values[B_ATTRIBUTES]);
		MemoryContextSwitchTo(old);
		account->has_birth_date = !table->slot->tts_isnull[B_BIRTH_DATE];
		account->birth_date = account->has_birth_date ? DatumGetDateADT(table->slot->tts_values[B_BIRTH_DATE]) : 0;
	}
	ExecClearTuple(table->slot);
}

/* ---- rows ---- */

/* Keep a row back; it is written with the others of its batch. */
static void
insert_row(Store *store, StoreTable *table, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot;

	if (table->batch == NULL)
		table->batch = MemoryContextAllocZero(store->context, INSERT_BATCH * sizeof(TupleTableSlot *));
	if (table->batch[table->nbatch] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);

		table->batch[table->nbatch] = table_slot_create(table->rel, NULL);
		MemoryContextSwitchTo(old);
	}
	slot = table->batch[table->nbatch++];
	fill_slot(table, slot, values, nulls);
	ExecMaterializeSlot(slot);
	if (table->nbatch == INSERT_BATCH)	/* resets the memory of the values */
		flush_table(store, table);
}

static void
flush_table(Store *store, StoreTable *table)
{
	int			n = table->nbatch;
	CommandId	cid = GetCurrentCommandId(true);
	MemoryContext old;

	if (n == 0)
		return;
	table->nbatch = 0;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
	if (n == 1)
		table_tuple_insert(table->rel, table->batch[0], cid, 0, NULL);
	else
	{
		if (table->bulk == NULL)
		{
			MemoryContextSwitchTo(store->context);
			table->bulk = GetBulkInsertState();
			MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
		}
		table_multi_insert(table->rel, table->batch, n, cid, 0, table->bulk);
	}
	for (int i = 0; i < n; i++)
	{
		ExecInsertIndexTuples(table->rri, table->batch[i], store->estate, false, false, NULL, NIL, false);
		if (table == &store->tables[STORE_LOT])
			insert_key(store, table->batch[i]);
		ExecClearTuple(table->batch[i]);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

void
store_flush(Store *store)
{
	for (int i = 0; i < STORE_TABLES; i++)
		if (store->tables[i].nbatch > 0)
			flush_table(store, &store->tables[i]);
}

/*
 * Replace the row at *tid, which this transaction has locked or whose account it has locked; values NULL: the
 * table's slot holds the new row.  *tid becomes the new version's.
 */
static void
update_row(Store *store, StoreTable *table, ItemPointer tid, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = table->slot;
	TM_FailureData failure;
	LockTupleMode lockmode;
	TU_UpdateIndexes update_indexes;
	TM_Result	result;

	if (values)
		fill_slot(table, slot, values, nulls);
	result = table_tuple_update(table->rel, tid, slot, GetCurrentCommandId(true), store->snapshot, InvalidSnapshot,
								true, &failure, &lockmode, &update_indexes);
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("a row of loyalty.%s changed although its account is locked", table->name),
				 errdetail("The update of row (%u,%u) gave result %d.",
						   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid), (int) result),
				 errhint("Something writes to the ledger beside the extension; call SELECT * FROM loyalty.verify().")));
	if (update_indexes != TU_None && table == &store->tables[STORE_LOT])
		insert_key(store, slot);
	if (update_indexes != TU_None)
		ExecInsertIndexTuples(table->rri, slot, store->estate, true, false, NULL, NIL,
							  only_summarizing(update_indexes));
	*tid = slot->tts_tid;
}
