/*
 * owner.c
 *	  Acting as the owner of the ledger around storage.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "errcodes.h"
#include "guc.h"
#include "owner.h"

Oid
owner_oid(void)
{
	Oid			owner = guc_ledger_owner();

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("the tables of loyalty are not installed"),
				 errhint("Call SELECT loyalty.install() as the role that is to own the ledger.")));
	return owner;
}

void
owner_become(OwnerSwitch *former)
{
	GetUserIdAndSecContext(&former->user, &former->context);
	SetUserIdAndSecContext(owner_oid(), former->context | SECURITY_LOCAL_USERID_CHANGE);
}

void
owner_restore(const OwnerSwitch *former)
{
	SetUserIdAndSecContext(former->user, former->context);
}

void
owner_rows(FunctionCallInfo fcinfo, const char *sql, int n, Oid *types, Datum *values)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerSwitch former;

	InitMaterializedSRF(fcinfo, 0);
	owner_become(&former);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, n, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ledger: %s", sql);
	if (SPI_tuptable->tupdesc->natts != set->setDesc->natts)
		elog(ERROR, "result does not fit: %s", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(set->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	owner_restore(&former);
}
