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
#include "access/tableam.h"
#include "executor/executor.h"

#if PG_VERSION_NUM < 150000
#error "loyalty needs PostgreSQL 15 or later"
#endif

/* 16: summarizing indexes, so that an update says which indexes it needs */
#if PG_VERSION_NUM < 160000
typedef bool TU_UpdateIndexes;
#define TU_None false
#define ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters, summarizing) \
	((void) (summarizing), ExecInsertIndexTuples(rri, slot, estate, update, nodup, conflict, arbiters))
#endif
#if PG_VERSION_NUM >= 160000
#define update_indexes_summarizing(u) ((u) == TU_Summarizing)
#else
#define update_indexes_summarizing(u) false
#endif

/* 18: counters of index searches for EXPLAIN */
#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* 18: the invalid tid goes before the estate */
#if PG_VERSION_NUM < 180000
#define ExecCheckIndexConstraints(rri, slot, estate, conflict, tupleid, arbiters) \
	((void) (tupleid), ExecCheckIndexConstraints(rri, slot, estate, conflict, arbiters))
#endif

#endif
