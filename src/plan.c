/*
 * plan.c
 *	  Does a member have a plan: the one question about plans that a sale asks.
 *
 * It is asked under the lock of the member's account, which every change of a subscription takes.  So the answer is that of
 * now, not of the snapshot of a statement that may have waited for the lock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "owner.h"

static SPIPlanPtr question = NULL;	/* of our own tables alone; replanned by the server when they change */

static void
prepare(void)
{
	Oid			types[] = {INT8OID, INT4OID, TIMESTAMPTZOID};
	SPIPlanPtr	plan;

	if (question)
		return;
	plan = SPI_prepare("SELECT FROM loyalty.subscription s WHERE s.member_id OPERATOR(pg_catalog.=) $1"
					   " AND s.plan_id OPERATOR(pg_catalog.=) $2 AND s.started_at OPERATOR(pg_catalog.<=) $3"
					   " AND s.ends_at OPERATOR(pg_catalog.>) $3", lengthof(types), types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a query of subscriptions");
	question = plan;
}

/* holds_plan(member_id, plan_id, at) */
PG_FUNCTION_INFO_V1(loyalty_holds_plan);
Datum
loyalty_holds_plan(PG_FUNCTION_ARGS)
{
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	bool		latest = !IsolationUsesXactSnapshot() && !IsInParallelMode();
	OwnerSwitch caller;
	bool		holds;

	owner_become(&caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	prepare();
	if (latest)
		PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_plan(question, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read subscriptions");
	holds = SPI_processed > 0;
	if (latest)
		PopActiveSnapshot();
	SPI_finish();
	owner_restore(&caller);
	PG_RETURN_BOOL(holds);
}
