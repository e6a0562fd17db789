/*
 * store_heap_account.c
 *	  Accounts and members: find, lock, enroll, walk, write.
 *
 * Rules:
 * - Locks are taken in the order given, one account after the other, and so are the inserts of new ones.
 * - After the last lock of a call the snapshot is a new one: lots are read as the last holders left them.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store_heap.h"

static bool lock_account(HeapStore *store, const Program *program, int64 member, LockWaitPolicy wait,
						 Account **account);
static bool enroll_account(HeapStore *store, Account *account);

/* From the row in the table's slot. */
static void
fill_account(Account *account, HeapTable *table)
{
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];

	heap_read_row(table, table->slot, values, nulls);
	row_to_account(values, nulls, account);
	account->tid = table->slot->tts_tid;
}

/*
 * Where this backend has found accounts last, and put their lots.  Hints: what stands there is believed only if it is
 * the account's row and the snapshot sees it (there is but one such row), or the page where a lot's key belongs.
 */
#define HINTS	8192

typedef struct Hint
{
	int64		member_id;
	int32		program_id;		/* 0: none */
	ItemPointerData tid;		/* of the first version in a chain, as indexes say it */
	Buffer		buffer;			/* where its page was then */
	LeafHint	leaf;			/* of the primary key of lots: where the newest of his has gone */
} Hint;

static Hint hints[HINTS];

static Hint *
hint_of(int32 program_id, int64 member)
{
	return &hints[((uint64) member ^ ((uint64) member >> 12) ^ (uint64) program_id * 389) % HINTS];
}

static void
note_hint(Hint *hint, int32 program_id, int64 member, ItemPointerData tid)
{
	if (hint->member_id != member || hint->program_id != program_id)
		*hint = (Hint) {.member_id = member, .program_id = program_id, .leaf.block = InvalidBlockNumber};
	hint->tid = tid;
}

/* Where the lots of an account that was found lie in their primary key; NULL: that is not noted. */
LeafHint *
heap_leaf_hint(int32 program_id, int64 member)
{
	Hint	   *hint = hint_of(program_id, member);

	return hint->member_id == member && hint->program_id == program_id ? &hint->leaf : NULL;
}

/* Is the row in the table's slot the account's?  Nothing varies before its columns: their places are known. */
static bool
is_of_account(HeapTable *table, int32 program_id, int64 member)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	HeapTuple	row = ExecFetchSlotHeapTuple(table->slot, false, NULL);
	bool		isnull;

	return DatumGetInt64(heap_getattr(row, A_MEMBER_ID + 1, desc, &isnull)) == member &&
		DatumGetInt32(heap_getattr(row, A_PROGRAM_ID + 1, desc, &isnull)) == program_id;
}

static bool
follow_hint(HeapStore *store, HeapTable *table, IndexScanDesc scan, const Hint *hint, int32 program_id, int64 member)
{
	return hint->member_id == member && hint->program_id == program_id &&
		heap_fetch_at(store, table, scan, hint->tid) && is_of_account(table, program_id, member);
}

#define VERSIONS 8				/* of a row that have entries of their own: where there are more the index is searched */

static HeapEntries *
finder_of(HeapStore *store, HeapTable *table, IndexScanDesc scan)
{
	if (table->finder == NULL)
	{
		table->finder = heap_begin_entries(scan->indexRelation, table->rel, store->base.context);
		table->key_blocks = RelationGetNumberOfBlocks(scan->indexRelation);	/* not fewer while we have it locked */
	}
	return table->finder;
}

/* The page of the primary key where entries of such members have been seen before. */
static bool
look_at_leaf(HeapStore *store, HeapTable *table, IndexScanDesc scan, Hint *hint, int32 program_id, int64 member)
{
	HeapEntries *finder = finder_of(store, table, scan);
	LeafHint	leaf = heap_leaf_of(heap_leaf_map(STORE_ACCOUNT), member);
	ItemPointerData tids[VERSIONS];
	int			n;

	if (leaf.block >= table->key_blocks)
		return false;
	n = heap_look_at_leaf(finder, &leaf, (int64[]) {member, program_id}, tids, VERSIONS);
	for (int i = 0; i < n; i++)
	{
		if (!heap_fetch_at(store, table, scan, tids[i]) || !is_of_account(table, program_id, member))
			continue;
		note_hint(hint, program_id, member, tids[i]);
		return true;
	}
	return false;
}

static bool
search_account(HeapStore *store, HeapTable *table, IndexScanDesc scan, Hint *hint, int32 program_id, int64 member)
{
	LeafMap    *map = heap_leaf_map(STORE_ACCOUNT);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(member));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(program_id));
	heap_search(store, scan, keys, 2);
	while (heap_next_entry(store, scan, ForwardScanDirection))
	{
		note_hint(hint, program_id, member, scan->xs_heaptid);
		if (!heap_fetch_entry(store, scan, table->slot))
			continue;
		heap_know_leaf(finder_of(store, table, scan), map, ((BTScanOpaque) scan->opaque)->currPos.currPage, member);
		return true;
	}
	return false;
}

/* Position table->slot on the account's visible row; false when there is none. */
static bool
find_account(HeapStore *store, HeapTable *table, int32 program_id, int64 member)
{
	IndexScanDesc scan = heap_primary_scan(store, table, 2);
	Hint	   *hint = hint_of(program_id, member);

	if (!follow_hint(store, table, scan, hint, program_id, member) &&
		!look_at_leaf(store, table, scan, hint, program_id, member) &&
		!search_account(store, table, scan, hint, program_id, member))
		return false;
	hint->buffer = ((IndexFetchHeapData *) scan->xs_heapfetch)->xs_cbuf;
	return true;
}

/* Of accounts that are looked for soon the pages lie anywhere: have them fetched beside each other. */
static void
expect_accounts(int32 program_id, const int64 *members, int n)
{
	for (int i = 0; i < n; i++)
		fetch_soon(hint_of(program_id, members[i]));
	for (int i = 0; i < n; i++)
	{
		const Hint *hint = hint_of(program_id, members[i]);
		LeafHint	leaf;

		if (hint->member_id == members[i])
		{
			heap_page_soon(hint->buffer, ItemPointerGetOffsetNumber(&hint->tid));
			continue;
		}
		leaf = heap_leaf_of(heap_leaf_map(STORE_ACCOUNT), members[i]);
		heap_page_soon(leaf.buffer, leaf.place);
	}
}

Account *
heap_read_account(Store *base, const Program *program, int64 member, MemoryContext context)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_ACCOUNT);
	Account    *account;

	if (!find_account(store, table, program->id, member))
		return NULL;
	account = row_new_account(&store->base, program, member, context);
	fill_account(account, table);
	return account;
}

void
heap_lock_accounts(Store *base, const Program *program, int n, const int64 *members,
				   const TimestampTz *enrolled_at, MemoryContext context, Account **accounts)
{
	HeapStore  *store = heap_of(base);
	bool		locked = false;

	heap_table(store, STORE_ACCOUNT);
	if (!store->base.hoping || n == 0)
		heap_refresh_snapshot(store);
	for (int i = 0; i < n; i++)
	{
		Assert(i == 0 || members[i - 1] > members[i]);
		CHECK_FOR_INTERRUPTS();
		if (i % SOON == 0)
			expect_accounts(program->id, members + i, Min(SOON, n - i));
		accounts[i] = row_new_account(&store->base, program, members[i], context);
		while (!lock_account(store, program, members[i], LockWaitBlock, &accounts[i]))
		{
			if (enrolled_at == NULL || enrolled_at[i] == DT_NOEND)
			{
				accounts[i] = NULL;
				break;
			}
			ledger_enroll(accounts[i], enrolled_at[i]);
			if (store->base.hoping || enroll_account(store, accounts[i]))
				break;
			/* somebody else enrolled the member in between: now it is there */
			heap_refresh_snapshot(store);
		}
		locked |= accounts[i] && accounts[i]->stored;
	}
	/* what is read from now on is newer than every lock */
	if (!store->base.hoping)
		heap_refresh_snapshot(store);
	else if (locked)
		heap_renew_snapshot(store);
}

/*
 * Lock one account and read what its last holder committed; false when there is none, or when `wait` says not to
 * wait and somebody holds it.  Under REPEATABLE READ a row that somebody changed
 * after the transaction's snapshot is a serialization failure, as it is for UPDATE.
 */
static bool
lock_account(HeapStore *store, const Program *program, int64 member, LockWaitPolicy wait, Account **account)
{
	HeapTable  *table = &store->tables[STORE_ACCOUNT];
	ItemPointerData tid;
	TM_FailureData failure;
	TM_Result	result;

	if (!find_account(store, table, program->id, member))
		return false;
	tid = table->slot->tts_tid;
	result = table_tuple_lock(table->rel, &tid, store->base.snapshot, table->slot, GetCurrentCommandId(true),
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
	fill_account(*account, table);
	return true;
}

Account *
heap_try_account(Store *base, const Program *program, int64 member, MemoryContext context)
{
	HeapStore  *store = heap_of(base);
	Account    *account;

	heap_table(store, STORE_ACCOUNT);
	heap_refresh_snapshot(store);
	account = row_new_account(&store->base, program, member, context);
	if (!lock_account(store, program, member, LockWaitSkip, &account))
		return NULL;
	heap_refresh_snapshot(store);
	return account;
}

int
heap_walk_accounts(Store *base, int64 after_member, int32 after_program, int n, AccountAt *accounts)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_ACCOUNT);
	ScanKeyData position[2];
	ScanKeyData key = {0};
	IndexScanDesc scan;
	Relation	index;
	int			found = 0;

	heap_refresh_snapshot(store);
	ScanKeyEntryInitialize(&position[0], SK_ROW_MEMBER, 1, BTGreaterStrategyNumber, INT8OID, InvalidOid, F_BTINT8CMP,
						   Int64GetDatum(after_member));
	ScanKeyEntryInitialize(&position[1], SK_ROW_MEMBER | SK_ROW_END, 2, BTGreaterStrategyNumber, INT4OID, InvalidOid,
						   F_BTINT4CMP, Int32GetDatum(after_program));
	key.sk_flags = SK_ROW_HEADER;
	key.sk_attno = 1;
	key.sk_strategy = BTGreaterStrategyNumber;
	key.sk_argument = PointerGetDatum(position);
	index = index_open(RelationGetPrimaryKeyIndex(table->rel), AccessShareLock);
	scan = index_beginscan(table->rel, index, store->base.snapshot, NULL, 1, 0);
	heap_search(store, scan, &key, 1);
	while (found < n && heap_next(store, scan, ForwardScanDirection, table->slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		accounts[found++] = (AccountAt) {
			.member_id = DatumGetInt64(slot_getattr(table->slot, A_MEMBER_ID + 1, &isnull)),
			.program_id = DatumGetInt32(slot_getattr(table->slot, A_PROGRAM_ID + 1, &isnull)),
			.next_change_at = DatumGetTimestampTz(slot_getattr(table->slot, A_NEXT_CHANGE_AT + 1, &isnull))
		};
		accounts[found - 1].ladder_no = DatumGetInt32(slot_getattr(table->slot, A_LADDER_NO + 1, &isnull));
		if (isnull)
			accounts[found - 1].ladder_no = 0;
	}
	ExecClearTuple(table->slot);
	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

/* Insert a new account's row; false when another session has enrolled the member first. */
static bool
enroll_account(HeapStore *store, Account *account)
{
	HeapTable  *table = &store->tables[STORE_ACCOUNT];
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];
	uint32		token;
	bool		conflict = false;
	ItemPointerData existing;
	ItemPointerData none;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	account_to_row(account, values, nulls);
	heap_fill_slot(table, table->slot, values, nulls);
	ItemPointerSetInvalid(&none);
	if (!ExecCheckIndexConstraints(heap_indexes(store, table), table->slot, store->estate, &existing, &none, NIL))
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
heap_change_account(Account *account)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_ACCOUNT);
	Datum		values[A_COUNT];
	bool		nulls[A_COUNT];
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	account_to_row(account, values, nulls);
	if (account->stored)
		heap_update_row(store, table, &account->tid, values, nulls);
	else
	{
		/* at once, not with others of a batch: whoever waits for it must wait in the order of locks */
		heap_insert_now(store, table, values, nulls);
		account->tid = table->slot->tts_tid;
		account->stored = true;
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

void
heap_read_members(Store *base, Account **accounts, int n)
{
	HeapStore  *store = heap_of(base);
	HeapTable  *table = heap_table(store, STORE_MEMBER);

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	for (int i = 0; i < n; i++)
	{
		Account    *account = accounts[i];
		ScanKeyData key;
		IndexScanDesc scan;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (account == NULL)
			continue;
		scan = heap_primary_scan(store, table, 1);
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
		heap_search(store, scan, &key, 1);
		if (!heap_next(store, scan, ForwardScanDirection, table->slot))
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
