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

typedef struct OwnerSwitch
{
	Oid			user;
	int			context;
} OwnerSwitch;

/* the owner of loyalty.account; LY014 when the tables are not there */
extern Oid	owner_oid(void);

extern void owner_become(OwnerSwitch *former);
extern void owner_restore(const OwnerSwitch *former);

#endif
