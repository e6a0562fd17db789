/*
 * owner.c
 *	  Acting as the owner of the ledger around storage.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "commands/proclang.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

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

/* ---- entry functions whose body is written in plpgsql ---- */

static Oid	caller = InvalidOid;	/* the role that called the outermost of them; see loyalty_caller */

/*
 * The body of loyalty.NAME(...) is loyalty.NAME_as_owner(...), of the same arguments.  Only one that came with the entry
 * function will do, and only plpgsql, which gives its rows all at once.
 */
static Oid
body_of(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc entry;
	HeapTuple	found;
	char	   *name;
	Oid			body = InvalidOid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "function %u has gone", function);
	entry = (Form_pg_proc) GETSTRUCT(tuple);
	name = psprintf("%s_as_owner", NameStr(entry->proname));
	found = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name), PointerGetDatum(&entry->proargtypes),
							ObjectIdGetDatum(entry->pronamespace));
	if (HeapTupleIsValid(found))
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(found);

		if (proc->proowner == entry->proowner && proc->prolang == get_language_oid("plpgsql", false) &&
			proc->prorettype == entry->prorettype && proc->proretset == entry->proretset)
			body = proc->oid;
		ReleaseSysCache(found);
	}
	if (!OidIsValid(body))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("function %s has no body", NameStr(entry->proname)),
				 errhint("Bring the extension up to date: ALTER EXTENSION loyalty UPDATE.")));
	ReleaseSysCache(tuple);
	return body;
}

static FmgrInfo *
body_info(FunctionCallInfo fcinfo)
{
	FmgrInfo   *body = fcinfo->flinfo->fn_extra;

	if (body == NULL)
	{
		body = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
		fmgr_info_cxt(body_of(fcinfo->flinfo->fn_oid), body, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = body;
	}
	return body;
}

/* An entry function: its body runs with the rights of the ledger's owner, whoever may call it. */
PG_FUNCTION_INFO_V1(loyalty_as_owner);
Datum
loyalty_as_owner(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, FUNC_MAX_ARGS);
	FmgrInfo   *body = body_info(fcinfo);
	Oid			former = caller;
	OwnerSwitch user;
	Datum		result;

	InitFunctionCallInfoData(*call, body, fcinfo->nargs, fcinfo->fncollation, fcinfo->context, fcinfo->resultinfo);
	memcpy(call->args, fcinfo->args, fcinfo->nargs * sizeof(NullableDatum));
	owner_become(&user);
	PG_TRY();
	{
		if (!OidIsValid(caller))
			caller = user.user;
		result = FunctionCallInvoke(call);
	}
	PG_FINALLY();
	{
		caller = former;
	}
	PG_END_TRY();
	owner_restore(&user);
	fcinfo->isnull = call->isnull;
	return result;
}

Oid
owner_caller(void)
{
	return caller;
}

/* The name of the role that called: current_user, before the body began to run as the owner. */
PG_FUNCTION_INFO_V1(loyalty_caller);
Datum
loyalty_caller(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(GetUserNameFromId(OidIsValid(caller) ? caller : GetUserId(), false)));
}
