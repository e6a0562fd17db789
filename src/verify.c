/*
 * verify.c
 *	  verify() and status(): SQL that reads the ledger as its owner, for those who may call them and have no right
 *	  on its tables.
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/lsyscache.h"

#include "config.h"
#include "errcodes.h"
#include "owner.h"

PG_FUNCTION_INFO_V1(loyalty_verify);
PG_FUNCTION_INFO_V1(loyalty_status);
PG_FUNCTION_INFO_V1(loyalty_compile_mapping);

Datum
loyalty_verify(PG_FUNCTION_ARGS)
{
	owner_rows(fcinfo, "SELECT * FROM loyalty.verify_all(1000)", 0, NULL, NULL);
	return (Datum) 0;
}

Datum
loyalty_status(PG_FUNCTION_ARGS)
{
	owner_rows(fcinfo, "SELECT * FROM loyalty.status_rows()", 0, NULL, NULL);
	return (Datum) 0;
}

Datum
loyalty_compile_mapping(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	LockRelationOid(relid, AccessShareLock);
	if (config_attached(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("table %s is not attached", get_rel_name(relid) ? get_rel_name(relid) : "with this number")));
	PG_RETURN_VOID();
}
