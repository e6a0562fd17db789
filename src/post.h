/*
 * post.h
 *	  Purchases into the ledger: one ordered pass over the rows of a statement.
 */
#ifndef LOYALTY_POST_H
#define LOYALTY_POST_H

#include "access/htup.h"

#include "mapping.h"

/* What happened to one source row, for one member: a row that changes hands is two of these. */
typedef struct PostRow
{
	int64		member;
	HeapTuple	former;			/* NULL: the row is new to this member */
	HeapTuple	row;			/* NULL: the row is gone from this member */
} PostRow;

/* The next row by (member, arrival); false at the end.  Tuples live until the next call. */
typedef bool (*PostNext) (void *rows, PostRow *row);

/* Post rows of one source; returns how many awards were made or changed. */
extern int64 post_rows(const Attached *attached, const Source *source, PostNext next, void *rows);

#endif
