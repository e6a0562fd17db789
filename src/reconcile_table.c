/*
 * reconcile_table.c
 *	  An attached table, locked and read as it is.
 *
 * Rules:
 * - The table is locked SHARE first: rows stay as they are while they are compared, and other sessions can read. Weaker
 *	 would not be exact: a row deleted between our look and our lock of its account would be awarded for ever.
 * - It is then known by its OID and read by the table access method: no policy, view or rule can come in between.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "errcodes.h"
#include "guc.h"
#include "reconcile.h"

void
reconcile_refuse(Oid relid, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_CANNOT_ATTACH),
			 errmsg("table \"%s\" %s", get_rel_name(relid) ? get_rel_name(relid) : psprintf("%u", relid), what),
			 errhint("%s", hint)));
}

/* Lock the table of the first argument, then look what it is. */
const Attached *
reconcile_lock(FunctionCallInfo fcinfo)
{
	const Attached *attached;
	Oid			relid;
	Oid			owner;
	Relation	relation;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("relation is null")));
	relid = PG_GETARG_OID(0);

	PreventCommandIfReadOnly("loyalty.reconcile()");
	LockRelationOid(relid, ShareLock);
	relation = try_table_open(relid, NoLock);
	if (relation == NULL)
		reconcile_refuse(relid, "does not exist", "Name a table that is attached.");
	owner = relation->rd_rel->relowner;
	table_close(relation, NoLock);
	if (!has_privs_of_role(GetUserId(), owner) && !guc_has_owner_rights())
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_PERMITTED),
				 errmsg("must be owner of table \"%s\" or of the ledger", get_rel_name(relid))));
	attached = config_attached(relid);
	if (attached == NULL)
		reconcile_refuse(relid, "is not attached", "SELECT * FROM loyalty.source WHERE attached lists what is.");
	return attached;
}

static void
open_leaves(Work *work)
{
	List	   *relids = find_all_inheritors(work->attached->relid, ShareLock, NULL);
	ListCell   *cell;

	work->leaves = palloc0(list_length(relids) * sizeof(Leaf));
	work->nleaves = 0;
	foreach(cell, relids)
	{
		Relation	rel = table_open(lfirst_oid(cell), NoLock);
		Leaf	   *leaf = &work->leaves[work->nleaves];

		if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			table_close(rel, NoLock);
			continue;
		}
		if (rel->rd_rel->relkind != RELKIND_RELATION)
			reconcile_refuse(RelationGetRelid(rel), "is no ordinary table", "Detach this partition first.");
		leaf->rel = rel;
		leaf->slot = table_slot_create(rel, NULL);
		if (RelationGetRelid(rel) != work->attached->relid)
			leaf->map = convert_tuples_by_name(RelationGetDescr(rel), work->attached->desc);
		work->nleaves++;
	}
}

static void
close_leaves(Work *work)
{
	for (int i = 0; i < work->nleaves; i++)
	{
		ExecDropSingleTupleTableSlot(work->leaves[i].slot);
		table_close(work->leaves[i].rel, NoLock);
	}
}

void
reconcile_begin(Work *work)
{
	work->row_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty reconcile", ALLOCSET_DEFAULT_SIZES);
	work->next_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty reconcile lots", ALLOCSET_DEFAULT_SIZES);
	work->snapshot = RegisterSnapshot(GetLatestSnapshot());
	work->mapping = mapping_create(work->attached);
	work->mapping->creates_members = true;
	open_leaves(work);
}

void
reconcile_end(Work *work)
{
	close_leaves(work);
	mapping_free(work->mapping);
	UnregisterSnapshot(work->snapshot);
	MemoryContextDelete(work->row_context);
	MemoryContextDelete(work->next_context);
}

/* The leaf's row as the root's, in row_context or in the buffer: good until the next one. */
HeapTuple
reconcile_root_row(Leaf *leaf)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(leaf->slot, false, NULL);

	return leaf->map ? execute_attr_map_tuple(tuple, leaf->map) : tuple;
}

void
reconcile_scan(Work *work, RowWork row_work)
{
	MemoryContext outer = CurrentMemoryContext;

	for (int i = 0; i < work->nleaves; i++)
	{
		Leaf	   *leaf = &work->leaves[i];
		TableScanDesc table_scan = table_beginscan(leaf->rel, work->snapshot, 0, NULL);

		while (table_scan_getnextslot(table_scan, ForwardScanDirection, leaf->slot))
		{
			HeapTuple	row;

			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(work->row_context);
			MemoryContextSwitchTo(work->row_context);
			row = reconcile_root_row(leaf);
			mapping_set_row(work->mapping, row);
			row_work(work, i, &leaf->slot->tts_tid, row);
			MemoryContextSwitchTo(outer);
		}
		table_endscan(table_scan);
	}
}

Datum
reconcile_eval(Work *work, Expression *expression, bool *isnull)
{
	return expression_eval(expression, work->mapping->context, isnull);
}
