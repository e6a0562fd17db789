/*
 * slots.h
 *	  A figure that many sessions take from at once (stock of a reward, budget of a rule), spread over 16 rows.
 *
 * - Taking: from one slot that has enough and that nobody holds; else all slots in order are waited for, and then it
 *	 is known exactly what is left.  A rollback, or the death of whoever took, gives all back.
 * - Tables have the columns id, slot, left_over (the first by a name of their own).
 * - All of it runs as whoever calls: the ledger's owner.
 */
#ifndef LOYALTY_SLOTS_H
#define LOYALTY_SLOTS_H

#include "postgres.h"
#include "executor/spi.h"

#define SLOTS	16

enum SlotsStatement
{
	SLOTS_FIND, SLOTS_LOCK, SLOTS_LOOK, SLOTS_ADD, SLOTS_STATEMENTS
};

/* One table of slots, with its statements as they are planned. */
typedef struct SlotTable
{
	const char *table;			/* in schema loyalty */
	const char *id_column;
	SPIPlanPtr	plans[SLOTS_STATEMENTS];
} SlotTable;

/* All slots of one figure, locked. */
typedef struct Slots
{
	int			n;
	int16		slot[SLOTS];
	int64		left[SLOTS];
	int64		change[SLOTS];	/* not written yet */
} Slots;

/* What is left as far as is committed, without a lock. */
extern int64 slots_look(SlotTable *table, int32 id, bool reader);

/* Take up to `wanted`; less only when less is left in all.  Returns what was taken; *left what there was, when less. */
extern int64 slots_take(SlotTable *table, int32 id, int64 wanted, bool partly, int64 *left);

/* Put back; or, when negative, take whatever is left or not. */
extern void slots_give(SlotTable *table, int32 id, int64 n);

/* Put back to a slot that nobody holds; where all are held, to the first one when it is free.  There may be none at all. */
extern void slots_give_free(SlotTable *table, int32 id, int64 n);

/* Wait for all slots, take from them or give to them in memory, write them in the end. */
extern void slots_lock(SlotTable *table, int32 id, Slots *slots);
extern int64 slots_take_locked(Slots *slots, int64 wanted);
extern void slots_give_locked(Slots *slots, int64 n);
extern void slots_write(SlotTable *table, int32 id, Slots *slots);

#endif
