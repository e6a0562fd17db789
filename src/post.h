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
	bool		stable;			/* tuples live as long as the memory context that next() was called in */
	bool		all_keys;		/* rows come without their former states: what they returned before is to be looked up */

	/*
	 * Statements nested in this one (a user's trigger that changes the very rows) were posted before it.  Then a row
	 * counts only if it is still as it was seen, and one that has gone only if no nested statement brought it back.
	 */
	bool		disturbed;
	bool		(*alive) (struct PostRows *rows, HeapTuple row);
	bool		(*revived) (struct PostRows *rows, int64 member, const char *key);

	/* set when this is such a nested statement: called for each row that is there */
	void		(*there) (struct PostRows *rows, int64 member, const char *key);
} PostRows;

/* Post them; returns how many awards were made or changed. */
extern int64 post_rows(Mapping *mapping, const Source *source, PostRows *rows);

#endif
