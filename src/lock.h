/*
 * lock.h
 *	  The order in which accounts are locked.
 */
#ifndef LOYALTY_LOCK_H
#define LOYALTY_LOCK_H

#include "postgres.h"
#include "utils/array.h"

/* Bring members into the order of locks, each once.  Returns how many are left. */
extern int	lock_order(int64 *members, int n);

/* Those that an array of bigint names. */
extern int	lock_members(ArrayType *array, int64 **members);

#endif
