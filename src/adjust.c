/*
 * adjust.c
 *	  Corrections by hand: points for no purchase, or points taken away, with a reason and a name under it.
 *
 * A blocked account can be adjusted: that is often why it was blocked.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "adjust.h"
#include "mapping.h"
#include "pool.h"

PG_FUNCTION_INFO_V1(loyalty_adjust);
PG_FUNCTION_INFO_V1(loyalty_keep_adjust);
PG_FUNCTION_INFO_V1(loyalty_close_account);

typedef struct Adjust
{
	int64		member;
	Points		points;
	const char *reason;
	const char *key;
	bool		has_expires_at;
	bool		has_available_at;
	TimestampTz expires_at;
	TimestampTz available_at;
	bool		counts_for_tier;
	bool		has_at;			/* adjust_at() */
	TimestampTz at;
} Adjust;

static void
read_arguments(FunctionCallInfo fcinfo, const Program *program, Adjust *adjust)
{
	Numeric		points = call_number(fcinfo, 1);

	adjust->member = call_member(fcinfo, 0);
	if (points == NULL)
		call_refuse("points is null", "Positive points are given, negative ones taken.");
	adjust->points = call_points(program, points);
	adjust->reason = call_text(fcinfo, 2);
	if (adjust->reason == NULL || *adjust->reason == '\0')
		call_refuse("reason is missing", "Say why: the statement of the account shows it.");
	adjust->key = call_text(fcinfo, 4);
	request_check_key(adjust->key);
	adjust->has_expires_at = !PG_ARGISNULL(5);
	adjust->expires_at = adjust->has_expires_at ? PG_GETARG_TIMESTAMPTZ(5) : 0;
	adjust->has_available_at = !PG_ARGISNULL(6);
	adjust->available_at = adjust->has_available_at ? PG_GETARG_TIMESTAMPTZ(6) : 0;
	adjust->counts_for_tier = !PG_ARGISNULL(7) && PG_GETARG_BOOL(7);
	adjust->has_at = PG_NARGS() > 8 && !PG_ARGISNULL(8);
	adjust->at = adjust->has_at ? PG_GETARG_TIMESTAMPTZ(8) : 0;
	if (adjust->has_available_at && TIMESTAMP_NOT_FINITE(adjust->available_at))
		call_refuse("available_at is infinite", "Give a time, or leave it out for now.");
	if (adjust->points < 0 && (adjust->has_expires_at || adjust->has_available_at))
		call_refuse("expires_at or available_at is given for points that are taken", "Only points that are given have them.");
}

/*
 * Points that nobody earned: they live as the program says, unless the call says otherwise.  An inactive account has them for
 * as long as one that was active now.
 */
static void
give(Call *call, const Adjust *adjust, Intervention *intervention)
{
	const Program *program = call->program;
	TimestampTz available_at = adjust->has_available_at ? Max(adjust->available_at, call->at) : call->at;
	bool		with_account = !adjust->has_expires_at && program->expiry.kind == EXPIRY_INACTIVE;
	TimestampTz expires_at = adjust->has_expires_at ? adjust->expires_at
		: with_account ? expiry_inactive_at(&program->expiry, call->at, program->zone)
		: expiry_instant(&program->expiry, program->expiry_from_available ? available_at : call->at, program->zone);
	Lot		   *lot;

	if (expires_at <= available_at)
		call_refuse(psprintf("expires_at is %s", timestamptz_to_str(expires_at)),
					psprintf("The points are available from %s: they could never be spent.", timestamptz_to_str(available_at)));
	lot = ledger_grant(call->account, adjust->points, LOT_ADJUST, call->at, available_at, expires_at, with_account,
					   call->at);
	intervention->entry_no = intervention->last_entry = lot->entry_no;
	intervention->available_at = lot->available_at;
	intervention->expires_at = lot->expires_at;
	intervention->is_lot = true;
}

static void
take(Call *call, const Adjust *adjust, Intervention *intervention)
{
	Account    *account = call->account;
	int			first = account->nmovements;

	call_check_available(account, -adjust->points);
	ledger_burn(account, -adjust->points, ENTRY_ADJUST, 0, call->at, &intervention->entry_no, &intervention->last_entry);
	for (int i = first; i < account->nmovements; i++)
		account->movements[i].reason = adjust->reason;
}

static const char *
time_argument(bool given, TimestampTz at)
{
	return given ? mapping_canonical(TimestampTzGetDatum(at), TIMESTAMPTZOID) : NULL;
}

#define ADJUST_ARGUMENTS 5

static void
list_arguments(const Adjust *adjust, Argument *arguments)
{
	arguments[0] = (Argument) {"points", points_to_text(adjust->points), true};
	arguments[1] = (Argument) {"reason", adjust->reason, false};
	arguments[2] = (Argument) {"expires_at", time_argument(adjust->has_expires_at, adjust->expires_at), false};
	arguments[3] = (Argument) {"available_at", time_argument(adjust->has_available_at, adjust->available_at), false};
	arguments[4] = (Argument) {"counts_for_tier", adjust->counts_for_tier ? "true" : NULL, false};
}

/* The account is settled to call->at. */
static void
adjust_account(Call *call, const Adjust *adjust, const Argument *arguments, Intervention *intervention)
{
	if (adjust->points > 0)
		give(call, adjust, intervention);
	else
		take(call, adjust, intervention);
	if (adjust->counts_for_tier)
		ledger_count(call->account, adjust->points, call->at);
	call_intervene(call, intervention);
	request_keep(call->account, adjust->key, "adjust", arguments, ADJUST_ARGUMENTS, 0, intervention->entry_no, call->at);
}

static Intervention
intervention_of(const Adjust *adjust)
{
	return (Intervention) {
		.action = "adjust", .points = adjust->points, .reason = adjust->reason, .key = adjust->key,
		.counts_for_tier = adjust->counts_for_tier
	};
}

void
adjust_give(Call *call, Points points, const char *reason, const char *key, bool counts_for_tier, Intervention *intervention)
{
	Adjust		adjust = {
		.member = call->account->member_id, .points = points, .reason = reason, .key = key, .counts_for_tier = counts_for_tier
	};
	Argument	arguments[ADJUST_ARGUMENTS];
	Request		request;

	Assert(points > 0);
	list_arguments(&adjust, arguments);
	*intervention = intervention_of(&adjust);
	if (!call->account->is_new && request_find(call->account, key, "adjust", arguments, ADJUST_ARGUMENTS, &request))
		call_intervened(call, request.entry_no, intervention);
	else
		adjust_account(call, &adjust, arguments, intervention);
}

Datum
loyalty_adjust(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 3));
	Intervention intervention;
	Adjust		adjust;
	Request		request;
	Call		call;
	Argument	arguments[ADJUST_ARGUMENTS];
	Datum		values[4];
	bool		nulls[4] = {false};

	read_arguments(fcinfo, program, &adjust);
	list_arguments(&adjust, arguments);
	intervention = intervention_of(&adjust);
	if (adjust.counts_for_tier)
		pool_lock(program, adjust.member);
	call_begin(&call, "adjust", program, adjust.member);
	if (request_find(call.account, adjust.key, "adjust", arguments, ADJUST_ARGUMENTS, &request))
		call_intervened(&call, request.entry_no, &intervention);
	else
	{
		if (adjust.has_at)
			call_settle_at(&call, adjust.at);
		else
			call_settle(&call);
		adjust_account(&call, &adjust, arguments, &intervention);
	}
	call_end(&call);
	if (adjust.counts_for_tier)
		pool_review(program, adjust.member);
	values[0] = Int64GetDatum(intervention.entry_no);
	values[1] = NumericGetDatum(points_to_numeric(intervention.points));
	values[2] = TimestampTzGetDatum(intervention.available_at);
	values[3] = TimestampTzGetDatum(intervention.expires_at);
	nulls[2] = nulls[3] = !intervention.is_lot;
	return call_result(fcinfo, values, nulls);
}

/* What a room has given is taken back by the rules of a return, or is kept again; false when it is so already. */
Datum
loyalty_keep_adjust(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 1));
	int64		member = call_member(fcinfo, 0);
	bool		kept = PG_GETARG_BOOL(3);
	Intervention given = {0};
	Lot		   *lot;
	Call		call;
	bool		changes;

	pool_lock(program, member);
	call_begin(&call, "keep_adjust", program, member);
	call_intervened(&call, PG_GETARG_INT64(2), &given);
	if (!given.is_lot)
		elog(ERROR, "intervention " INT64_FORMAT " gave no points", given.entry_no);
	call_settle_at(&call, PG_GETARG_TIMESTAMPTZ(5));
	lot = ledger_lot(call.account, given.expires_at, given.entry_no);
	changes = (lot->kept_amount == NULL) != kept;
	if (changes)
	{
		Intervention intervention = {.action = kept ? "redo" : "undo", .points = kept ? given.points : -given.points,
		.reason = call_text(fcinfo, 4), .counts_for_tier = given.counts_for_tier};

		intervention.entry_no = ledger_keep_grant(call.account, lot, kept, intervention.reason, call.at);
		if (given.counts_for_tier)
			ledger_count(call.account, intervention.points, call.at);
		call_intervene(&call, &intervention);
	}
	call_end(&call);
	if (changes && given.counts_for_tier)
		pool_review(program, member);
	PG_RETURN_BOOL(changes);
}

/* The account of a member who is erased: nothing is in it and nothing owed any more, for ever.  Returns what was forfeited. */
Datum
loyalty_close_account(PG_FUNCTION_ARGS)
{
	Intervention intervention = {.action = "erase"};
	Points		points;
	Call		call;

	intervention.reason = call_text(fcinfo, 2);
	call_begin(&call, "close_account", config_program(call_text(fcinfo, 1)), call_member(fcinfo, 0));
	call_settle(&call);
	points = points_add(call.account->available, call.account->pending);
	intervention.points = points_subtract(call.account->debt, points);
	intervention.entry_no = ledger_forfeit(call.account, intervention.reason, call.at);
	if (call.account->held > 0)
		elog(ERROR, "member " INT64_FORMAT " still holds points", call.account->member_id);
	ledger_set_status(call.account, "erased");
	call_intervene(&call, &intervention);
	call_end(&call);
	PG_RETURN_DATUM(NumericGetDatum(points_to_numeric(points)));
}
