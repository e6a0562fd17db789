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
	const char *key;			/* of a row that is gone and cannot be shown; then both are NULL */
} PostRow;

/* The rows of one source by (member, arrival). */
typedef struct PostRows
{
	bool		(*next) (struct PostRows *rows, PostRow *row);	/* false at the end; tuples live until the next call */
	void		(*rewind) (struct PostRows *rows);
	int64		count;
	bool		all_new;		/* no row has a former state */
	bool		stable;			/* tuples live until the end */
} PostRows;

/* Post them; returns how many awards were made or changed. */
extern int64 post_rows(Mapping *mapping, const Source *source, PostRows *rows);

#endif
