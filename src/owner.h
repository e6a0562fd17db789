/*
 * owner.h
 *	  Acting as the owner of the ledger around storage, as foreign-key triggers act as a table's owner.
 *
 * Only between owner_become() and owner_restore(), and no user's expression is evaluated in between.  An error
 * in between needs no cleaning up: the transaction's abort restores the user.
 */
#ifndef LOYALTY_OWNER_H
#define LOYALTY_OWNER_H

#include "postgres.h"
#include "fmgr.h"

typedef struct OwnerSwitch
{
	Oid			user;
	int			context;
} OwnerSwitch;

/* the owner of loyalty.account; LY014 when the tables are not there */
extern Oid	owner_oid(void);

extern void owner_become(OwnerSwitch *former);
extern void owner_restore(const OwnerSwitch *former);

/*
 * The rows of a query of ours become the result of a set-returning function.  It reads as the owner, with the active
 * snapshot, and consists of one call of a function whose search_path is pinned: nothing in it can be hijacked.
 */
extern void owner_rows(FunctionCallInfo fcinfo, const char *sql, int n, Oid *types, Datum *values);

/* The role that called an entry function whose body is running; InvalidOid: none is. */
extern Oid	owner_caller(void);

#endif
