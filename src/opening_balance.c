/*
 * opening_balance.c
 *	  Points that members bring along from another system, one lot a row; the body of the view loyalty.opening_balance.
 *
 * A key is not optional here: a file is loaded again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "instant.h"
#include "mapping.h"
#include "pool.h"

PG_FUNCTION_INFO_V1(loyalty_open_balance);

typedef struct Opening
{
	int64		member;
	Points		points;
	TimestampTz earned_at;
	TimestampTz available_at;
	TimestampTz expires_at;
	bool		with_account;	/* they live as long as it is active */
	const char *reason;
	const char *key;
	bool		counts_for_tier;
} Opening;

static void
refuse(const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg_internal("%s", what),
			 errdetail_internal("%s", detail),
			 errhint("Correct the row and load the file again: rows that were loaded before do nothing.")));
}

static TimestampTz
time_or(FunctionCallInfo fcinfo, int n, TimestampTz left_out)
{
	return PG_ARGISNULL(n) ? left_out : PG_GETARG_TIMESTAMPTZ(n);
}

static void
check_times(const Opening *opening, const Account *account, TimestampTz now)
{
	if (TIMESTAMP_NOT_FINITE(opening->earned_at) || opening->earned_at > now)
		refuse(psprintf("earned_at is %s", timestamptz_to_str(opening->earned_at)), "Points were earned before or now.");
	if (TIMESTAMP_NOT_FINITE(opening->available_at))
		refuse(psprintf("available_at is %s", timestamptz_to_str(opening->available_at)), "It is a time; left out it is now.");
	if (opening->with_account && account->inactive_at > now)
		return;
	if (opening->expires_at <= Max(now, opening->available_at))
		refuse(psprintf("expires_at is %s", timestamptz_to_str(opening->expires_at)),
			   psprintf("%s points earned at %s could never be spent.", points_to_text(opening->points),
						timestamptz_to_str(opening->earned_at)));
}

/* open_balance(member_id, points, earned_at, available_at, expires_at, reason, program, key, counts_for_tier) */
static void
read_row(FunctionCallInfo fcinfo, const Program *program, Opening *opening)
{
	TimestampTz now = instant_for_writing(program);
	Numeric		points = call_number(fcinfo, 1);

	opening->member = call_member(fcinfo, 0);
	if (points == NULL)
		refuse("points is null", "A row brings points.");
	opening->points = call_points(program, points);
	if (opening->points < 0)
		refuse(psprintf("points is %s", points_to_text(opening->points)), "A balance that is brought along is above 0.");
	opening->earned_at = time_or(fcinfo, 2, now);
	opening->available_at = Max(time_or(fcinfo, 3, now), now);
	opening->with_account = PG_ARGISNULL(4) && program->expiry.kind == EXPIRY_INACTIVE;
	opening->expires_at = PG_ARGISNULL(4) && !TIMESTAMP_NOT_FINITE(opening->earned_at)
		? opening->with_account ? expiry_inactive_at(&program->expiry, opening->earned_at, program->zone)
		: expiry_instant(&program->expiry, program->expiry_from_available ? opening->available_at : opening->earned_at, program->zone)
		: time_or(fcinfo, 4, DT_NOEND);
	opening->reason = PG_ARGISNULL(5) ? "opening balance" : call_text(fcinfo, 5);
	opening->key = call_text(fcinfo, 7);
	if (opening->key == NULL)
		refuse("key is missing", "Without it the row would count again when the file is loaded again.");
	request_check_key(opening->key);
	opening->counts_for_tier = !PG_ARGISNULL(8) && PG_GETARG_BOOL(8);
}

static const char *
time_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : mapping_canonical(PG_GETARG_DATUM(n), TIMESTAMPTZOID);
}

static int64
open_balance(Call *call, const Opening *opening)
{
	Intervention intervention = {.action = "opening", .points = opening->points, .is_lot = true, .reason = opening->reason,
	.key = opening->key, .counts_for_tier = opening->counts_for_tier};
	Lot		   *lot;

	call_settle(call);
	if (opening->with_account && opening->earned_at < call->at)
		ledger_active(call->account, opening->earned_at);
	check_times(opening, call->account, call->at);
	lot = ledger_grant(call->account, opening->points, LOT_ADJUST, opening->earned_at, opening->available_at, opening->expires_at,
					   opening->with_account, call->at);
	if (opening->counts_for_tier)
		ledger_count(call->account, opening->points, call->at);
	intervention.entry_no = intervention.last_entry = lot->entry_no;
	intervention.available_at = lot->available_at;
	intervention.expires_at = lot->expires_at;
	call_intervene(call, &intervention);
	return lot->entry_no;
}

Datum
loyalty_open_balance(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 6));
	Opening		opening;
	Request		request;
	Call		call;
	Argument	arguments[6];
	bool		opens;

	read_row(fcinfo, program, &opening);
	arguments[0] = (Argument) {"points", points_to_text(opening.points), true};
	arguments[1] = (Argument) {"earned_at", time_argument(fcinfo, 2), false};
	arguments[2] = (Argument) {"available_at", time_argument(fcinfo, 3), false};
	arguments[3] = (Argument) {"expires_at", time_argument(fcinfo, 4), false};
	arguments[4] = (Argument) {"reason", call_text(fcinfo, 5), false};
	arguments[5] = (Argument) {"counts_for_tier", opening.counts_for_tier ? "true" : NULL, false};
	if (opening.counts_for_tier)
		pool_lock(program, opening.member);
	call_begin_enrolling(&call, "opening_balance", program, opening.member, Min(opening.earned_at, instant_for_writing(program)));
	opens = !request_find(call.account, opening.key, "opening_balance", arguments, lengthof(arguments), &request);
	if (opens)
		request_keep(call.account, opening.key, "opening_balance", arguments, lengthof(arguments), 0,
					 open_balance(&call, &opening), call.at);
	call_end(&call);
	if (opens && opening.counts_for_tier)
		pool_review(program, opening.member);
	PG_RETURN_BOOL(opens);
}
