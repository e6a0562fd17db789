/*
 * compat.h
 *	  Differences between PostgreSQL 15, 16, 17 and 18: the only file that asks for PG_VERSION_NUM.
 *
 * Code outside is written for the newest; each entry says since when and what an older server has instead.
 */
#ifndef LOYALTY_COMPAT_H
#define LOYALTY_COMPAT_H

#include "postgres.h"
#include "access/genam.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/datetime.h"

#if PG_VERSION_NUM < 150000
#error "loyalty needs PostgreSQL 15 or later"
#endif

/* 18 (2025): tuple descriptors carry a compact copy of each attribute, which must follow a change */
#if PG_VERSION_NUM >= 180000
#define TupleDescSetStorage(desc, i, storage) \
	(TupleDescAttr(desc, i)->attstorage = (storage), populate_compact_attribute(desc, i))
#else
#define TupleDescSetStorage(desc, i, storage)	(TupleDescAttr(desc, i)->attstorage = (storage))
#endif

/* 18 (2025): index scans count their searches for EXPLAIN */
#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* 18 (2025): the tuple that is being replaced goes before the arbiters */
#if PG_VERSION_NUM < 180000
#define ExecCheckIndexConstraints(rri, slot, estate, conflict, tupleid, arbiters) \
	((void) (tupleid), ExecCheckIndexConstraints(rri, slot, estate, conflict, arbiters))
#endif

/* 18 (2025): virtual generated columns; before, no column is one */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

/* SQL/JSON: constructors came with 16 (2023), JSON_VALUE and its like with 17 (2024) */
#if PG_VERSION_NUM >= 170000
#define IS_SQL_JSON(node)	(IsA(node, JsonConstructorExpr) || IsA(node, JsonExpr))
#elif PG_VERSION_NUM >= 160000
#define IS_SQL_JSON(node)	IsA(node, JsonConstructorExpr)
#else
#define IS_SQL_JSON(node)	false
#endif

/* 16 (2023): where a relation's files are */
#if PG_VERSION_NUM < 160000
#define rd_locator rd_node
#endif

/* 16 (2023): a sorted datum can be lent instead of copied */
#if PG_VERSION_NUM < 160000
#define tuplesort_getdatum(sort, forward, copy, value, isnull, abbreviated) \
	tuplesort_getdatum(sort, forward, value, isnull, abbreviated)
#endif

/* 16 (2023): a btree is searched with its table at hand; 17 (2024): and without the snapshot that may be too old */
#if PG_VERSION_NUM < 160000
#define _bt_search(index, heap, key, buffer, access)	_bt_search(index, key, buffer, access, NULL)
#elif PG_VERSION_NUM < 170000
#define _bt_search(index, heap, key, buffer, access)	_bt_search(index, heap, key, buffer, access, NULL)
#endif

/* 16 (2023): macros of variable-length values have a header of their own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 (2023): an update says which indexes need the new row, summarizing ones alone or all */
#if PG_VERSION_NUM < 160000
typedef bool TU_UpdateIndexes;
#define TU_None false
#define only_summarizing(update_indexes) false
#define ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters, summarizing) \
	((void) (summarizing), ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters))
#else
#define only_summarizing(update_indexes) ((update_indexes) == TU_Summarizing)
#endif

/* 16 (2023): arrays of the built-in types without saying how they are laid out */
#if PG_VERSION_NUM < 160000
#define deconstruct_array_builtin(array, type, elements, nulls, n) \
	deconstruct_array(array, type, -1, false, TYPALIGN_INT, elements, nulls, n)	/* text is all that we read */
#endif

/*
 * 16 (2023): input functions can report bad text without throwing (pg_input_is_valid, COPY … ON_ERROR).
 * Before, every error is thrown.
 */
#if PG_VERSION_NUM < 160000
#define ereturn(context, dummy_value, ...) \
	do { \
		(void) (context); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy_value; \
	} while (0)
#endif

/* 16 (2023): memory of settings is PostgreSQL's own, and date parsing names the bad field */
#if PG_VERSION_NUM < 160000
#define guc_malloc(elevel, size)	malloc(size)
#define guc_free(pointer)	free(pointer)
typedef struct DateTimeErrorExtra
{
	int			unused;
} DateTimeErrorExtra;
#define DecodeDateTime(field, type, n, kind, tm, fraction, zone, extra) \
	((void) (extra), DecodeDateTime(field, type, n, kind, tm, fraction, zone))
#endif

/* Compilers: what lies there is wanted soon; without it is only slower.  Rows and keys that are read in sorted order lie anywhere. */
#if defined(__GNUC__) || defined(__clang__)
#define fetch_soon(address) __builtin_prefetch(address)
#else
#define fetch_soon(address) ((void) (address))
#endif
#define SOON	32				/* so many ahead */

#endif
