/*
 * store_heap_lot.c
 *	  Lots: open ones in burn order, new ones, changed ones.
 *
 * Rule: of a lot only remaining, owed, kept_amount and life change, so that every update is HOT.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store_heap.h"
#include "store_sql.h"

/* The lot in the table's slot. */
Lot *
heap_lot(HeapTable *table, MemoryContext context)
{
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	Lot		   *lot;

	heap_read_row(table, table->slot, values, nulls);
	lot = row_to_lot(values, nulls, context);
	lot->tid = table->slot->tts_tid;
	return lot;
}

/*
 * Lots come in primary-key order from a position on: a row comparison (expires_at, entry_no), because with
 * the expiry alone 100,000 dead lots of equal expiry would be read and thrown away.
 */
static IndexScanDesc
search_from(Account *account, StrategyNumber strategy, TimestampTz expires_at, int64 entry_no)
{
	HeapStore  *store = heap_of(account->store);
	ScanKeyData *position = store->position;	/* the scan keeps a pointer to it */
	ScanKeyData keys[3];
	IndexScanDesc scan;

	if (store->base.snapshot == NULL)
		heap_refresh_snapshot(store);
	heap_flush_keys(store);
	scan = heap_primary_scan(store, &store->tables[STORE_LOT], 3);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(account->member_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(account->program->id));
	ScanKeyEntryInitialize(&position[0], SK_ROW_MEMBER, 3, strategy, TIMESTAMPTZOID, InvalidOid, F_TIMESTAMPTZ_CMP,
						   TimestampTzGetDatum(expires_at));
	ScanKeyEntryInitialize(&position[1], SK_ROW_MEMBER | SK_ROW_END, 4, strategy, INT8OID, InvalidOid, F_BTINT8CMP,
						   Int64GetDatum(entry_no));
	memset(&keys[2], 0, sizeof(ScanKeyData));
	keys[2].sk_flags = SK_ROW_HEADER;
	keys[2].sk_attno = 3;
	keys[2].sk_strategy = strategy;
	keys[2].sk_argument = PointerGetDatum(position);
	heap_search(store, scan, keys, 3);
	return scan;
}

/* Open lots. */
void
heap_read_lots(Account *account, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_LOT);
	IndexScanDesc scan;

	if (account->nlots == 0 && account->read_entry_no == 0)
		scan = search_from(account, BTGreaterEqualStrategyNumber, account->open_from_expires_at, account->open_from_entry_no);
	else
		scan = search_from(account, BTGreaterStrategyNumber, account->read_expires_at, account->read_entry_no);
	while (n > 0)
	{
		Lot		   *lot;

		CHECK_FOR_INTERRUPTS();
		if (!heap_next(store, scan, ForwardScanDirection, table->slot))
		{
			account->all_read = true;
			break;
		}
		lot = heap_lot(table, account->context);
		account->read_expires_at = lot->expires_at;
		account->read_entry_no = lot->entry_no;
		if (lot->remaining == 0)
			continue;
		ledger_take_lot(account, lot);
		n--;
	}
	ExecClearTuple(table->slot);
}

int
heap_read_back(Account *account, TimestampTz expires_at, int64 entry_no, int n, MemoryContext context, Lot **lots)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_LOT);
	IndexScanDesc scan = search_from(account, BTLessStrategyNumber, expires_at, entry_no);
	int			found = 0;

	while (found < n && heap_next(store, scan, BackwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		lots[found++] = heap_lot(table, context);
	}
	ExecClearTuple(table->slot);
	return found;
}

Lot *
heap_find_lot(Account *account, TimestampTz expires_at, int64 entry_no)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_LOT);
	IndexScanDesc scan = search_from(account, BTGreaterEqualStrategyNumber, expires_at, entry_no);
	Lot		   *lot = NULL;

	if (heap_next(store, scan, ForwardScanDirection, table->slot))
		lot = heap_lot(table, account->context);
	ExecClearTuple(table->slot);
	return lot && lot->expires_at == expires_at && lot->entry_no == entry_no ? lot : NULL;
}

static bool
nothing_moved(void)
{
	Relation	origins = table_open(row_relation("lot_origin"), AccessShareLock);
	bool		empty = RelationGetNumberOfBlocks(origins) == 0;

	table_close(origins, NoLock);
	return empty;
}

/* A shop that moves no points pays a look at the size of an empty table. */
int
heap_read_moved(Account *account, int64 entry_no, LotPlace **places)
{
	return nothing_moved() ? 0 : sql_read_moved(account, entry_no, places);
}

void
heap_insert_lots(Account *account, Lot **lots, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_LOT);
	Datum		values[L_COUNT];
	bool		nulls[L_COUNT];
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));

	for (int i = 0; i < n; i++)
	{
		lot_to_row(lots[i], values, nulls);
		heap_insert_row(store, table, values, nulls);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(store->estate);
}

/* remaining and owed stand behind columns of eight bytes, none of them NULL. */
static bool
stands_fixed(TupleDesc desc, HeapTuple tuple)
{
	for (int i = 0; i <= L_OWED; i++)
		if (TupleDescAttr(desc, i)->attlen != sizeof(int64) || (HeapTupleHasNulls(tuple) && att_isnull(i, tuple->t_data->t_bits)))
			return false;
	return true;
}

static bool
same_numeric(Numeric lot, Datum row, bool isnull)
{
	struct varlena *stored;

	if (lot == NULL || isnull)
		return lot == NULL && isnull;
	stored = PG_DETOAST_DATUM_PACKED(row);
	return VARSIZE_ANY_EXHDR(lot) == VARSIZE_ANY_EXHDR(stored) &&
		memcmp(VARDATA_ANY(lot), VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(lot)) == 0;
}

/* Mostly points alone have moved: they are overwritten in the slot's own copy of the row. */
static bool
move_points(const Lot *lot, HeapTable *table)
{
	TupleTableSlot *slot = table->slot;
	bool		no_kept;
	bool		isnull;
	Datum		kept = slot_getattr(slot, L_KEPT_AMOUNT + 1, &no_kept);
	HeapTuple	row;
	int64	   *columns;

	if (DatumGetInt16(slot_getattr(slot, L_LIFE + 1, &isnull)) != lot->life || !same_numeric(lot->kept_amount, kept, no_kept) ||
		!stands_fixed(slot->tts_tupleDescriptor, ExecFetchSlotHeapTuple(slot, false, NULL)))
		return false;
	ExecMaterializeSlot(slot);
	row = ExecFetchSlotHeapTuple(slot, false, NULL);
	columns = (int64 *) ((char *) row->t_data + row->t_data->t_hoff);
	columns[L_REMAINING] = lot->remaining;
	columns[L_OWED] = lot->owed;
	return true;
}

static void
change_row(const Lot *lot, HeapTable *table)
{
	HeapTuple	changed = heap_modify_tuple_by_cols(ExecFetchSlotHeapTuple(table->slot, false, NULL),
													RelationGetDescr(table->rel), 4,
													(int[]) {L_REMAINING + 1, L_OWED + 1, L_KEPT_AMOUNT + 1, L_LIFE + 1},
													(Datum[]) {Int64GetDatum(lot->remaining), Int64GetDatum(lot->owed),
														NumericGetDatum(lot->kept_amount), Int16GetDatum(lot->life)},
													(bool[]) {false, false, lot->kept_amount == NULL, false});

	ExecForceStoreHeapTuple(changed, table->slot, false);
}

void
heap_change_lots(Account *account, Lot **lots, int n)
{
	HeapStore  *store = heap_of(account->store);
	HeapTable  *table = heap_table(store, STORE_LOT);

	for (int i = 0; i < n; i++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_fetch_row_version(table->rel, &lots[i]->tid, SnapshotAny, table->slot))
			elog(ERROR, "lot " INT64_FORMAT " of member " INT64_FORMAT " has gone", lots[i]->entry_no, lots[i]->member_id);
		old = MemoryContextSwitchTo(GetPerTupleMemoryContext(store->estate));
		if (!move_points(lots[i], table))
			change_row(lots[i], table);
		heap_update_row(store, table, &lots[i]->tid, NULL, NULL);
		MemoryContextSwitchTo(old);
		ExecClearTuple(table->slot);
		ResetPerTupleExprContext(store->estate);
	}
}
