/*
 * guc.h
 *	  Settings, and whether the current role may use them.
 */
#ifndef LOYALTY_GUC_H
#define LOYALTY_GUC_H

#include "postgres.h"
#include "datatype/timestamp.h"

extern void guc_init(void);

/* loyalty.now; false when it is not set.  Honoured for reading, and for writing in sandbox programs only. */
extern bool guc_now(TimestampTz *now);

/* loyalty.store */
typedef enum StoreChoice
{
	STORE_CHOICE_AUTO,
	STORE_CHOICE_HEAP,
	STORE_CHOICE_SQL
} StoreChoice;

extern StoreChoice guc_store(void);

/* who owns loyalty.account; InvalidOid without tables */
extern Oid	guc_ledger_owner(void);

/* the same of any table in schema loyalty */
extern Oid	guc_table_owner(const char *table);

/* superuser, or a member of the role that owns loyalty.account; false without tables */
extern bool guc_has_owner_rights(void);

/* The setting is on, and the current role has the ledger owner's rights. */
extern bool guc_allow_drop(void);
extern bool guc_archiving(void);
extern bool guc_restoring(void);

#endif
