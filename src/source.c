/*
 * source.c
 *	  Triggers on attached tables: statement levels that collect rows, and one ordered pass at their end.
 *
 * Rules:
 * - A level is opened by BEFORE STATEMENT and worked and closed by AFTER STATEMENT on the attached (root) table.
 *	 Several statement triggers of one query (MERGE, ON CONFLICT DO UPDATE, data-modifying CTEs) share a level: they
 *	 run under the same active snapshot.  It is worked when the last of them has come.
 * - A row trigger puts its row into the newest level of its root table that belongs to the same subtransaction; without
 *	 one (a statement straight on a partition, logical replication) it works its row at once.
 * - An update of nothing mapped never comes here: the WHEN clause of its trigger (loyalty.update_condition()) says so.
 * - A nested statement has a level of its own, whatever opened it; an abort of its subtransaction drops it whole.
 * - Nothing outlives its statement.  A statement that was stopped before its AFTER STATEMENT triggers (a row limit given
 *	 to SPI) leaves a level with rows behind: the commit is refused, because points would be lost.
 * - Levels live below TopTransactionContext and hold no resource that an abort does not release.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "compat.h"
#include "errcodes.h"
#include "guc.h"
#include "mapping.h"
#include "post.h"
#include "settings.h"
#include "source.h"

/* Bytes of a block of rows in memory: the first, and up to which they grow. */
#define FIRST_BLOCK		512
#define LAST_BLOCK		(1024 * 1024)

/* The trigger that sees changes, see loyalty.source_triggers(). */
#define UPDATE_TRIGGER	"loyalty_row_update"

/* One row of a lane in memory. */
typedef struct LaneRow
{
	int64		member;
	int64		arrival;
	HeapTupleHeader former;		/* as composite values */
	HeapTupleHeader row;
} LaneRow;

/* The rows of one statement for one source, on their way into (member descending, arrival) order. */
typedef struct Lane
{
	PostRows	post;			/* how the pass reads it */
	struct Level *level;
	const Source *source;
	LaneRow    *rows;
	int			nrows;
	int			max_rows;
	int			next;			/* reading */
	Tuplesortstate *sort;		/* once the rows outgrow memory */
	TupleTableSlot *slot;
	HeapTupleData former;
	HeapTupleData row;
} Lane;

/* A partition whose rows come through: how they convert to the root's row type. */
typedef struct Leaf
{
	Oid			relid;
	TupleConversionMap *map;	/* NULL: as they are */
	struct Leaf *next;
} Leaf;

/* A purchase that a nested statement has left in the table: it has the last word. */
typedef struct Revived
{
	SubTransactionId subid;
	const Source *source;
	int64		member;
	char	   *key;
} Revived;

typedef struct Level
{
	struct Level *outer;
	Oid			relid;			/* the attached table */
	SubTransactionId subid;
	Snapshot	snapshot;		/* of the query, for its identity alone */
	int			statements;		/* AFTER STATEMENT triggers still to come */
	bool		working;
	MemoryContext context;
	MemoryContext tuples;		/* of lanes, one behind the other in blocks */
	char	   *block;
	Size		block_size;
	Size		block_room;
	Size		bytes;			/* of rows in memory */
	int64		arrival;
	const Attached *attached;	/* NULL before the first row */
	Mapping    *mapping;
	int			nlanes;
	Lane	   *lanes;
	Leaf	   *leaves;
	bool		disturbed;		/* a nested statement on the same table has been worked */
	List	   *revived;		/* of Revived, in context */
} Level;

static Level *newest;

static Level *level_push(Oid relid);
static void level_drop(Level *level);
static void level_work(Level *level);
static void level_add(Level *level, TriggerData *trigger);
static void lane_add(Level *level, Lane *lane, int64 member, HeapTuple former, HeapTuple row, ItemPointer place,
					 Oid relid);
static void lane_begin(Level *level, Lane *lane);
static Level *find_outer(Level *level);
static bool lane_next(PostRows *post, PostRow *row);
static bool lane_alive(PostRows *post, HeapTuple row);
static bool lane_revived(PostRows *post, int64 member, const char *key);
static void lane_there(PostRows *post, int64 member, const char *key);
static void lane_rewind(PostRows *post);
static Oid	attached_root(Relation relation);

PG_FUNCTION_INFO_V1(source_open);
PG_FUNCTION_INFO_V1(source_row);
PG_FUNCTION_INFO_V1(source_close);
PG_FUNCTION_INFO_V1(source_truncate);

/* A rule is asked what a sale earns; it may not sell. */
static void
refuse_inside_rule(Relation relation)
{
	if (expression_running())
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("a rule cannot change table \"%s\"", RelationGetRelationName(relation)),
				 errdetail("The table is attached to a program, and the statement comes from a function of a rule."),
				 errhint("Functions of rules only read.")));
}

static TriggerData *
check_trigger(FunctionCallInfo fcinfo, bool ok_event, const char *when)
{
	if (!CALLED_AS_TRIGGER(fcinfo) || !ok_event)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("loyalty trigger function must be called %s", when),
				 errhint("Triggers are made by loyalty.attach().")));
	return (TriggerData *) fcinfo->context;
}

#define TRIGGER_EVENT(fcinfo) \
	(CALLED_AS_TRIGGER(fcinfo) ? ((TriggerData *) (fcinfo)->context)->tg_event : 0)

/*
 * DROP COLUMN … CASCADE takes the trigger of updates along, because its condition names the columns of the mapping.
 * Inserts would fail over the mapping then, but updates of other values pass unseen.
 */
static void
refuse_unseen_updates(Relation relation)
{
	TriggerDesc *desc = relation->trigdesc;

	for (int i = 0; i < desc->numtriggers; i++)
		if (strcmp(desc->triggers[i].tgname, UPDATE_TRIGGER) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_LY_WRONG_STATE),
			 errmsg("table \"%s\" has no trigger \"%s\"", RelationGetRelationName(relation), UPDATE_TRIGGER),
			 errdetail("An update of a purchase would leave its points as they are."),
			 errhint("See that the mapping in loyalty.source fits the table, then SELECT loyalty.attach_triggers(%s).",
					 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
																   RelationGetRelationName(relation))))));
}

Datum
source_open(PG_FUNCTION_ARGS)
{
	TriggerEvent event = TRIGGER_EVENT(fcinfo);
	TriggerData *trigger = check_trigger(fcinfo, TRIGGER_FIRED_BEFORE(event) && TRIGGER_FIRED_FOR_STATEMENT(event),
										 "before a statement");
	Oid			relid = RelationGetRelid(trigger->tg_relation);
	Level	   *level = newest;

	refuse_inside_rule(trigger->tg_relation);
	if (guc_restoring())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_UPDATE(event))
		refuse_unseen_updates(trigger->tg_relation);
	if (level == NULL || level->relid != relid || level->working || level->statements == 0 ||
		level->snapshot != GetActiveSnapshot() || level->subid != GetCurrentSubTransactionId())
		level = level_push(relid);
	level->statements++;
	return PointerGetDatum(NULL);
}

/* The newest level of a table in this subtransaction that still collects. */
static Level *
find_level(Oid relid)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (Level *level = newest; level; level = level->outer)
		if (level->relid == relid && level->subid == subid && !level->working)
			return level;
	return NULL;
}

Datum
source_row(PG_FUNCTION_ARGS)
{
	TriggerEvent event = TRIGGER_EVENT(fcinfo);
	TriggerData *trigger = check_trigger(fcinfo, TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_ROW(event), "after a row");
	Oid			relid;
	Level	   *level;

	refuse_inside_rule(trigger->tg_relation);
	if (guc_restoring())
		return PointerGetDatum(NULL);
	relid = newest && newest->relid == RelationGetRelid(trigger->tg_relation) ? newest->relid
		: attached_root(trigger->tg_relation);
	level = find_level(relid);
	if (level)
		level_add(level, trigger);
	else
	{
		level = level_push(relid);
		level_add(level, trigger);
		level->disturbed = true;	/* other row triggers may have come first */
		level_work(level);
		level_drop(level);
	}
	return PointerGetDatum(NULL);
}

Datum
source_close(PG_FUNCTION_ARGS)
{
	TriggerEvent event = TRIGGER_EVENT(fcinfo);
	TriggerData *trigger = check_trigger(fcinfo, TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_STATEMENT(event),
										 "after a statement");
	Level	   *level = find_level(RelationGetRelid(trigger->tg_relation));

	/* none: opened while loyalty.restoring was on */
	if (level && --level->statements <= 0)
	{
		level_work(level);
		level_drop(level);
	}
	return PointerGetDatum(NULL);
}

/*
 * A truncated source is a mass return, and nobody means that by the way.
 */
Datum
source_truncate(PG_FUNCTION_ARGS)
{
	TriggerEvent event = TRIGGER_EVENT(fcinfo);
	TriggerData *trigger = check_trigger(fcinfo, TRIGGER_FIRED_BEFORE(event) && TRIGGER_FIRED_BY_TRUNCATE(event),
										 "before TRUNCATE");
	const Attached *attached;
	bool		keeps = true;

	if (guc_restoring() || guc_archiving())
		return PointerGetDatum(NULL);
	attached = config_attached(attached_root(trigger->tg_relation));
	for (int i = 0; i < attached->nsources; i++)
		keeps &= attached->sources[i]->keep_deleted;
	if (!keeps)
		ereport(ERROR,
				(errcode(ERRCODE_LY_REFUSED_BY_GUARD),
				 errmsg("cannot truncate table \"%s\": its rows have earned points",
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("TRUNCATE does not say which purchases go, so their points could not be taken back."),
				 errhint("DELETE the rows to take their points back, or SET LOCAL loyalty.archiving = on as the owner of the ledger to keep them.")));
	return PointerGetDatum(NULL);
}

/* ---- which table ---- */

/* Somebody made our triggers on a table of his own: rows there earn nothing. */
static void
refuse_unattached(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_NOT_PERMITTED),
			 errmsg("table \"%s\" has a loyalty trigger but is not attached", table),
			 errhint("Attach it by loyalty.attach(), or drop its triggers that are named loyalty_….")));
}

/* The table itself when it is attached, else the partition root above it that is. */
static Oid
attached_root(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	List	   *ancestors = NIL;
	ListCell   *cell;

	if (relation->rd_rel->relispartition)
		ancestors = get_partition_ancestors(relid);
	foreach(cell, ancestors)
		if (config_attached(lfirst_oid(cell)))
			return lfirst_oid(cell);
	if (config_attached(relid) == NULL)
		refuse_unattached(RelationGetRelationName(relation));
	return relid;
}

/* ---- levels ---- */

static Level *
level_push(Oid relid)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "loyalty level", ALLOCSET_DEFAULT_SIZES);
	Level	   *level = MemoryContextAllocZero(context, sizeof(Level));

	level->context = context;
	level->relid = relid;
	level->subid = GetCurrentSubTransactionId();
	level->snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	level->outer = newest;
	newest = level;
	return level;
}

static void
level_drop(Level *level)
{
	Level	  **link = &newest;

	while (*link != level)
		link = &(*link)->outer;
	*link = level->outer;
	if (level->mapping)
		mapping_free(level->mapping);
	MemoryContextDelete(level->context);
}

/* Look the sources up when the first row comes. */
static void
level_begin(Level *level)
{
	MemoryContext old = MemoryContextSwitchTo(level->context);

	level->attached = config_attached(level->relid);
	if (level->attached == NULL)
		refuse_unattached(get_rel_name(level->relid));
	level->mapping = mapping_create(level->attached);
	level->mapping->creates_members = true;
	level->tuples = AllocSetContextCreate(level->context, "loyalty rows", ALLOCSET_START_SMALL_SIZES);
	level->lanes = palloc0(level->attached->nsources * sizeof(Lane));
	for (int i = 0; i < level->attached->nsources; i++)
		if (level->attached->sources[i]->enabled)
			level->lanes[level->nlanes++] = (Lane) {.level = level, .source = level->attached->sources[i]};
	MemoryContextSwitchTo(old);
}

/* A partition's row as a row of the root. */
static HeapTuple
root_row(Level *level, Relation relation, HeapTuple tuple)
{
	Oid			relid = RelationGetRelid(relation);
	Leaf	   *leaf;

	if (relid == level->relid)
		return tuple;
	for (leaf = level->leaves; leaf && leaf->relid != relid; leaf = leaf->next)
		;
	if (leaf == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(level->context);

		leaf = palloc(sizeof(Leaf));
		leaf->relid = relid;
		leaf->map = convert_tuples_by_name(CreateTupleDescCopy(RelationGetDescr(relation)), level->attached->desc);
		leaf->next = level->leaves;
		level->leaves = leaf;
		MemoryContextSwitchTo(old);
	}
	return leaf->map ? execute_attr_map_tuple(tuple, leaf->map) : tuple;
}

static bool
row_member(Level *level, const Source *source, HeapTuple tuple, int64 *member)
{
	int			nest;
	bool		named;

	if (tuple == NULL)
		return false;
	mapping_set_row(level->mapping, tuple);
	if (source->member->plain_column > 0 && source->nrefund_of == 0)
		return mapping_member(level->mapping, source, member);
	nest = settings_enter_source(source);
	named = mapping_account(level->mapping, source, member);
	settings_leave(nest);
	return named;
}

/* Put the row of a row trigger into every lane that it concerns. */
static void
level_add(Level *level, TriggerData *trigger)
{
	TriggerEvent event = trigger->tg_event;
	HeapTuple	former = TRIGGER_FIRED_BY_INSERT(event) ? NULL : trigger->tg_trigtuple;
	HeapTuple	row = TRIGGER_FIRED_BY_INSERT(event) ? trigger->tg_trigtuple
		: TRIGGER_FIRED_BY_UPDATE(event) ? trigger->tg_newtuple : NULL;

	ItemPointer place = row ? &row->t_self : NULL;
	Oid			relid = RelationGetRelid(trigger->tg_relation);

	if (level->attached == NULL)
		level_begin(level);
	former = former ? root_row(level, trigger->tg_relation, former) : NULL;
	row = row ? root_row(level, trigger->tg_relation, row) : NULL;
	for (int i = 0; i < level->nlanes; i++)
	{
		Lane	   *lane = &level->lanes[i];
		int64		old_member;
		int64		new_member;
		bool		was;
		bool		is;

		if (former && row && !mapping_changed(lane->source, level->attached->desc, former, row))
			continue;
		if (row == NULL && (lane->source->keep_deleted || guc_archiving()))
			continue;
		was = row_member(level, lane->source, former, &old_member);
		is = row_member(level, lane->source, row, &new_member);
		if (was && is && old_member == new_member)
			lane_add(level, lane, new_member, former, row, place, relid);
		else
		{
			if (was)
				lane_add(level, lane, old_member, former, NULL, NULL, relid);
			if (is)
				lane_add(level, lane, new_member, NULL, row, place, relid);
		}
	}
}

/* One ordered pass a source, by program: the order in which every statement locks. */
static void
level_work(Level *level)
{
	Level	   *outer = find_outer(level);

	level->working = true;
	if (outer && level->arrival > 0)
		outer->disturbed = true;
	for (int i = 0; i < level->nlanes; i++)
	{
		Lane	   *lane = &level->lanes[i];

		if (lane->nrows == 0 && lane->sort == NULL)
			continue;
		lane_begin(level, lane);
		post_rows(level->mapping, lane->source, &lane->post);
		if (lane->sort)
			tuplesort_end(lane->sort);
	}
}

/* ---- lanes ---- */

enum
{
	SORT_MEMBER, SORT_ARRIVAL, SORT_FORMER, SORT_ROW, SORT_COLUMNS
};

/* Rows travel as composite values: aligned, never shortened, so that they can be read in place. */
static TupleDesc
sort_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(SORT_COLUMNS);

	TupleDescInitEntry(desc, SORT_MEMBER + 1, "member", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORT_ARRIVAL + 1, "arrival", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORT_FORMER + 1, "former", RECORDOID, -1, 0);
	TupleDescInitEntry(desc, SORT_ROW + 1, "row", RECORDOID, -1, 0);
	TupleDescSetStorage(desc, SORT_FORMER, TYPSTORAGE_PLAIN);
	TupleDescSetStorage(desc, SORT_ROW, TYPSTORAGE_PLAIN);
	return desc;
}

/* Hand one row of the array to the sort. */
static void
sort_put(Lane *lane, const LaneRow *row)
{
	TupleTableSlot *slot = lane->slot;

	ExecClearTuple(slot);
	slot->tts_values[SORT_MEMBER] = Int64GetDatum(row->member);
	slot->tts_values[SORT_ARRIVAL] = Int64GetDatum(row->arrival);
	slot->tts_isnull[SORT_MEMBER] = slot->tts_isnull[SORT_ARRIVAL] = false;
	slot->tts_isnull[SORT_FORMER] = row->former == NULL;
	slot->tts_isnull[SORT_ROW] = row->row == NULL;
	slot->tts_values[SORT_FORMER] = PointerGetDatum(row->former);
	slot->tts_values[SORT_ROW] = PointerGetDatum(row->row);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(lane->sort, slot);
}

static inline int
compare_rows(const LaneRow *x, const LaneRow *y)
{
	if (x->member != y->member)
		return x->member > y->member ? -1 : 1;
	return (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE LaneRow
#define ST_COMPARE(a, b) compare_rows(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* In sorted order rows lie anywhere.  Always inline: gcc leaves calls out that do nothing but fetch. */
static pg_attribute_always_inline void
row_soon(const Lane *lane, int i)
{
	if (i < lane->nrows && lane->rows[i].row)
	{
		fetch_soon(lane->rows[i].row);
		fetch_soon((const char *) lane->rows[i].row + 64);
	}
}

/* All lanes' rows go to sorts that spill; the memory of the rows is free again. */
static void
level_spill(Level *level)
{
	MemoryContext old = MemoryContextSwitchTo(level->context);

	for (int i = 0; i < level->nlanes; i++)
	{
		Lane	   *lane = &level->lanes[i];

		if (lane->sort == NULL)
		{
			AttrNumber	columns[] = {SORT_MEMBER + 1, SORT_ARRIVAL + 1};
			TypeCacheEntry *int8 = lookup_type_cache(INT8OID, TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
			Oid			operators[] = {int8->gt_opr, int8->lt_opr};
			Oid			collations[] = {InvalidOid, InvalidOid};
			bool		nulls_first[] = {false, false};
			TupleDesc	desc = sort_desc();

			lane->sort = tuplesort_begin_heap(desc, 2, columns, operators, collations, nulls_first, work_mem / 2, NULL,
											  TUPLESORT_RANDOMACCESS);
			lane->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
		}
		sort_rows(lane->rows, lane->nrows);
		for (int j = 0; j < lane->nrows; j++)
		{
			CHECK_FOR_INTERRUPTS();
			row_soon(lane, j + SOON);
			sort_put(lane, &lane->rows[j]);
		}
		lane->nrows = 0;
	}
	MemoryContextReset(level->tuples);
	level->block_size = level->block_room = level->bytes = 0;
	MemoryContextSwitchTo(old);
}

/* A copy of a row, with nothing between it and the next: a big load has many. */
static HeapTupleHeader
keep_row(Level *level, HeapTuple tuple)
{
	Size		size = MAXALIGN(tuple->t_len);
	HeapTupleHeader row;

	if (level->block_room < size)
	{
		level->block_size = Min(Max(FIRST_BLOCK, level->block_size * 2), LAST_BLOCK);
		level->block_room = Max(level->block_size, size);
		level->block = MemoryContextAlloc(level->tuples, level->block_room);
	}
	row = (HeapTupleHeader) level->block;
	level->block += size;
	level->block_room -= size;
	level->bytes += size;
	memcpy(row, tuple->t_data, tuple->t_len);
	HeapTupleHeaderSetDatumLength(row, tuple->t_len);
	return row;
}

/* The copy of a row keeps where the row lies, in header fields that a composite value has no use for. */
static void
remember_place(HeapTupleHeader row, ItemPointer place, Oid relid)
{
	row->t_ctid = *place;
	HeapTupleHeaderSetTypeId(row, relid);
}

/*
 * Rows are held in memory as a hash table's would be (work_mem * hash_mem_multiplier): most loads need no more.  Beyond
 * it they are sorted and handed to a sort, which then has little left to compare, and each has half of work_mem.
 */
static void
lane_add(Level *level, Lane *lane, int64 member, HeapTuple former, HeapTuple row, ItemPointer place, Oid relid)
{
	LaneRow    *entry;

	if (lane->nrows == lane->max_rows)
	{
		lane->max_rows = Max(16, lane->max_rows * 2);
		lane->rows = lane->rows == NULL ? MemoryContextAlloc(level->context, lane->max_rows * sizeof(LaneRow))
			: repalloc_huge(lane->rows, mul_size(lane->max_rows, sizeof(LaneRow)));
	}
	lane->post.all_new = former == NULL && (lane->post.all_new || lane->post.count == 0);
	lane->post.count++;
	entry = &lane->rows[lane->nrows++];
	entry->member = member;
	entry->arrival = level->arrival++;
	entry->former = former ? keep_row(level, former) : NULL;
	entry->row = row ? keep_row(level, row) : NULL;
	if (row)
		remember_place(entry->row, place, relid);
	level->bytes += sizeof(LaneRow);
	if (level->bytes > (lane->sort ? (Size) work_mem * 512 : get_hash_memory_limit()))
		level_spill(level);
}

static void
lane_begin(Level *level, Lane *lane)
{
	if (lane->sort)
	{
		level_spill(level);
		tuplesort_performsort(lane->sort);
	}
	else if (lane->nrows > 1)
		sort_rows(lane->rows, lane->nrows);
	lane->next = 0;
	lane->post.next = lane_next;
	lane->post.rewind = lane_rewind;
	lane->post.disturbed = level->disturbed;
	lane->post.alive = lane_alive;
	lane->post.revived = lane_revived;
	lane->post.there = find_outer(level) ? lane_there : NULL;
	lane->post.stable = lane->sort == NULL;
}

static void
set_tuple(HeapTuple tuple, HeapTupleHeader row)
{
	*tuple = (HeapTupleData) {.t_data = row, .t_len = HeapTupleHeaderGetDatumLength(row)};
	ItemPointerSetInvalid(&tuple->t_self);
}

/* Of a row in memory: for as long as the caller's memory context. */
static HeapTuple
memory_tuple(HeapTupleHeader row)
{
	HeapTuple	tuple;

	if (row == NULL)
		return NULL;
	tuple = palloc(sizeof(HeapTupleData));
	set_tuple(tuple, row);
	return tuple;
}

static HeapTuple
datum_tuple(TupleTableSlot *slot, int column, HeapTuple tuple)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column + 1, &isnull);

	if (isnull)
		return NULL;
	set_tuple(tuple, (HeapTupleHeader) DatumGetPointer(value));
	return tuple;
}

static void
lane_rewind(PostRows *post)
{
	Lane	   *lane = (Lane *) post;

	lane->next = 0;
	if (lane->sort)
		tuplesort_rescan(lane->sort);
}

static bool
lane_next(PostRows *post, PostRow *row)
{
	Lane	   *lane = (Lane *) post;
	bool		isnull;

	if (lane->sort == NULL)
	{
		LaneRow    *entry = &lane->rows[lane->next];

		row_soon(lane, lane->next + SOON);
		if (lane->next++ >= lane->nrows)
			return false;
		*row = (PostRow) {
			.member = entry->member, .former = memory_tuple(entry->former), .row = memory_tuple(entry->row)
		};
		return true;
	}
	if (!tuplesort_gettupleslot(lane->sort, true, false, lane->slot, NULL))
		return false;
	*row = (PostRow) {
		.member = DatumGetInt64(slot_getattr(lane->slot, SORT_MEMBER + 1, &isnull)),
		.former = datum_tuple(lane->slot, SORT_FORMER, &lane->former),
		.row = datum_tuple(lane->slot, SORT_ROW, &lane->row)
	};
	return true;
}

/* ---- nested statements ---- */

/* The open level of the same table below which a level was opened. */
static Level *
find_outer(Level *level)
{
	Level	   *outer = level->outer;

	while (outer && (outer->relid != level->relid || outer->working))
		outer = outer->outer;
	return outer;
}

/* Is this version of a row still the one that is in the table? */
static bool
lane_alive(PostRows *post, HeapTuple row)
{
	Relation	relation = table_open(HeapTupleHeaderGetTypeId(row->t_data), NoLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	bool		alive = table_tuple_fetch_row_version(relation, &row->t_data->t_ctid, SnapshotSelf, slot);

	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	return alive;
}

static bool
lane_revived(PostRows *post, int64 member, const char *key)
{
	Lane	   *lane = (Lane *) post;
	ListCell   *cell;

	foreach(cell, lane->level->revived)
	{
		Revived    *revived = lfirst(cell);

		if (revived->source == lane->source && revived->member == member && strcmp(revived->key, key) == 0)
			return true;
	}
	return false;
}

static void
lane_there(PostRows *post, int64 member, const char *key)
{
	Lane	   *lane = (Lane *) post;
	Level	   *outer = find_outer(lane->level);
	MemoryContext old = MemoryContextSwitchTo(outer->context);
	Revived    *revived = palloc(sizeof(Revived));

	*revived = (Revived) {.subid = lane->level->subid, .source = lane->source, .member = member, .key = pstrdup(key)};
	outer->revived = lappend(outer->revived, revived);
	MemoryContextSwitchTo(old);
}

/* What nested statements of an aborted subtransaction have left is not there. */
static void
forget_revived(Level *level, SubTransactionId subid, SubTransactionId parent, bool aborted)
{
	ListCell   *cell;

	foreach(cell, level->revived)
	{
		Revived    *revived = lfirst(cell);

		if (revived->subid == subid && aborted)
			level->revived = foreach_delete_current(level->revived, cell);
		else if (revived->subid == subid)
			revived->subid = parent;
	}
}

/* ---- ends of transactions ---- */

static void
on_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	Level	  **link = &newest;

	while (*link)
	{
		Level	   *level = *link;

		if (level->subid == subid && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*link = level->outer;
			MemoryContextDelete(level->context);
			continue;
		}
		if (level->subid == subid && event == SUBXACT_EVENT_COMMIT_SUB)
			level->subid = parent;
		if (event == SUBXACT_EVENT_ABORT_SUB || event == SUBXACT_EVENT_COMMIT_SUB)
			forget_revived(level, subid, parent, event == SUBXACT_EVENT_ABORT_SUB);
		link = &level->outer;
	}
}

static void
on_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		for (Level *level = newest; level; level = level->outer)
			if (level->arrival > 0)
				ereport(ERROR,
						(errcode(ERRCODE_LY_REFUSED_BY_GUARD),
						 errmsg("a statement on table \"%s\" was stopped before its end", get_rel_name(level->relid)),
						 errdetail("Its AFTER STATEMENT triggers have not run, and " INT64_FORMAT " rows would earn nothing.",
								   level->arrival),
						 errhint("Run the statement without a row limit.")));
	}
	else
		newest = NULL;			/* the memory goes with the transaction's */
}

void
source_init(void)
{
	RegisterSubXactCallback(on_subtransaction, NULL);
	RegisterXactCallback(on_transaction, NULL);
}
