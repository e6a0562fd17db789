/*
 * compat.h
 *	  Differences between PostgreSQL 15 and 18: the only file that looks at PG_VERSION_NUM.
 */
#ifndef LOYALTY_COMPAT_H
#define LOYALTY_COMPAT_H

#include "postgres.h"
#include "utils/datetime.h"

/* SQL/JSON: constructors came with 16, JSON_VALUE and its like with 17 (May 2023, September 2024). */
#if PG_VERSION_NUM >= 170000
#define IS_SQL_JSON(node)	(IsA(node, JsonConstructorExpr) || IsA(node, JsonExpr))
#elif PG_VERSION_NUM >= 160000
#define IS_SQL_JSON(node)	IsA(node, JsonConstructorExpr)
#else
#define IS_SQL_JSON(node)	false
#endif

/* 16: memory of settings is PostgreSQL's own, and date parsing names the bad field (2022) */
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

/* Virtual generated columns came with 18; before, no column is one. */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif

#endif
