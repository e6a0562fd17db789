/*
 * mapping.h
 *	  A source row read as a purchase: member, key, amount, time, condition.
 */
#ifndef LOYALTY_MAPPING_H
#define LOYALTY_MAPPING_H

#include "access/htup.h"

#include "config.h"
#include "earn.h"

/* What expressions of one table are evaluated with.  Lives in the context it was made in. */
typedef struct Mapping
{
	const Attached *attached;
	ExprContext *context;
	TupleTableSlot *row;
	TupleTableSlot *earn;
	TupleTableSlot *account;
	bool		creates_members;	/* unknown external ids become members where enrolment is automatic */
	bool		stranger;		/* the last one would have become one, and was given as member 0 */
	struct HTAB *members;		/* external ids looked up so far; NULL before the first */
	MemoryContext members_context;
} Mapping;

extern Mapping *mapping_create(const Attached *attached);
extern void mapping_free(Mapping *mapping);

/* Make a row the one that expressions see; it must stay where it is while they do. */
extern void mapping_set_row(Mapping *mapping, HeapTuple tuple);

/* The row's member; false when it names none. */
extern bool mapping_member(Mapping *mapping, const Source *source, int64 *member);

/* Whose account the row changes: the owner's of the purchase that it returns, else its member's; false: nobody's. */
extern bool mapping_account(Mapping *mapping, const Source *source, int64 *member);

/* Does the row count at all? */
extern bool mapping_counts(Mapping *mapping, const Source *source);

/* The row's key in canonical text, palloc'd; LY010 when a part is NULL, LY008 when over 500 bytes. */
extern char *mapping_key(Mapping *mapping, const Source *source);

/* The key of the purchase that the row returns, palloc'd; NULL when it names none. */
extern char *mapping_refund_of(Mapping *mapping, const Source *source);

/* Is the row, which counts, a return?  Its amount then says how much, whatever its sign. */
extern bool mapping_is_return(const Source *source, const char *refund_of, Numeric amount);

/* Amount and time of a row that counts; LY010 when NULL, not finite or out of range. */
extern void mapping_purchase(Mapping *mapping, const Source *source, Purchase *purchase);

/* Do the points of the row wait for an event that has not come?  *released_at: when it came, as far as is known. */
extern bool mapping_waits(Mapping *mapping, const Source *source, TimestampTz *released_at);

/* true when old and new row may read differently: a column that the mapping reads has changed */
extern bool mapping_changed(const Source *source, TupleDesc desc, HeapTuple old, HeapTuple new);

/* true when the canonical text of a type is made by its output function under settings */
extern bool mapping_key_uses_settings(Oid type);

/* A value of a key in canonical text, as mapping_key() encodes it: for keys that people type. */
extern char *mapping_canonical(Datum value, Oid type);

#endif
