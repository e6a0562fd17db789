/*
 * redemption.c
 *	  capture(), release(), reverse(): what becomes of a burn.
 *
 * Order of a call, as in burn.c: arguments; the account's lock, then the key; the redemption as it is at the
 * account's instant (a hold whose time is over has lapsed by then); lots, redemption, request.  What was answered is
 * kept with the key, because a redemption goes on changing.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "voucher.h"

PG_FUNCTION_INFO_V1(loyalty_capture);
PG_FUNCTION_INFO_V1(loyalty_release);
PG_FUNCTION_INFO_V1(loyalty_reverse);

/* One call, and its answer. */
typedef struct Change
{
	Call		call;
	int64		redemption_id;
	Numeric		asked;			/* NULL: all */
	char	   *key;
	Redemption *redemption;
	Points		points;
	const char *state;
	Returned	returned;
} Change;

typedef void (*ChangeWork) (Change *change);

static void
refuse_state(const Change *change, const char *what)
{
	const Redemption *r = change->redemption;
	bool		lapsed = r->state == REDEMPTION_RELEASED && r->changed_at == r->held_until;

	ereport(ERROR,
			(errcode(ERRCODE_LY_WRONG_STATE),
			 errmsg("redemption " INT64_FORMAT " cannot be %s", r->redemption_id, what),
			 r->state == REDEMPTION_HELD ? errdetail("It is held until %s.", timestamptz_to_str(r->held_until))
			 : lapsed ? errdetail("It was held until %s, and has lapsed.", timestamptz_to_str(r->held_until))
			 : errdetail("It is %s since %s.", redemption_state_names[r->state], timestamptz_to_str(r->changed_at)),
			 r->state == REDEMPTION_HELD ? errhint("Capture or release it first.")
			 : errhint("A hold is captured or released once, and only what was captured can be reversed.")));
}

/* How many points the call is about; LY006 for more than there are. */
static void
find_points(Change *change, const char *what)
{
	const Redemption *r = change->redemption;

	change->points = change->asked ? call_points(change->call.program, change->asked) : r->taken;
	if (change->points < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("points is %s", points_to_text(change->points)),
				 errhint("It is above 0; leave it out for all.")));
	if (change->points > r->taken)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_STATE),
				 errmsg("redemption " INT64_FORMAT " has fewer points to be %s", r->redemption_id, what),
				 errdetail("%s points are %s, and %s are asked for.", points_to_text(r->taken),
						   r->state == REDEMPTION_HELD ? "held" : "left of it", points_to_text(change->points)),
				 errhint("Leave points out for all that there are.")));
}

static void
capture(Change *change)
{
	if (change->redemption->state != REDEMPTION_HELD)
		refuse_state(change, "captured");
	call_check_active(change->call.account);
	find_points(change, "captured");
	if (change->redemption->vouchers > 0 && change->points < change->redemption->taken)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_STATE),
				 errmsg("redemption " INT64_FORMAT " is captured as a whole", change->redemption_id),
				 errdetail("It has %d vouchers for its %s points.", change->redemption->vouchers,
						   points_to_text(change->redemption->taken)),
				 errhint("Leave points out, or release it.")));
	ledger_capture(change->call.account, change->redemption, change->points, change->call.at);
}

static void
release(Change *change)
{
	if (change->redemption->state != REDEMPTION_HELD)
		refuse_state(change, "released");
	find_points(change, "released");
	change->returned = ledger_unhold(change->call.account, change->redemption, change->call.at);
}

static void
reverse(Change *change)
{
	if (change->redemption->state != REDEMPTION_CAPTURED)
		refuse_state(change, "reversed");
	if (change->redemption->source_id != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_STATE),
				 errmsg("redemption " INT64_FORMAT " cannot be reversed", change->redemption_id),
				 errdetail("Its points were spent on purchase \"%s\".", change->redemption->source_key),
				 errhint("Change or delete the purchase: its points follow.")));
	find_points(change, "reversed");
	change->returned = ledger_reverse(change->call.account, change->redemption, change->points, change->call.at);
}

static void
read_arguments(FunctionCallInfo fcinfo, int points, int key, Change *change)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("redemption_id is null"),
				 errhint("loyalty.redeem() returns it.")));
	change->redemption_id = PG_GETARG_INT64(1);
	change->asked = points > 0 ? call_number(fcinfo, points) : NULL;
	change->key = call_text(fcinfo, key);
	request_check_key(change->key);
}

static Points
answered_points(const Request *request, const char *name)
{
	return points_from_numeric(DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(request_answer(request, name)),
																   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/* What the call answered before. */
static void
answer_again(Change *change, const Request *request)
{
	change->redemption = ledger_redemption(change->call.account, change->redemption_id);
	change->points = answered_points(request, "points");
	change->state = request_answer(request, "state");
	change->returned.alive = answered_points(request, "alive");
	change->returned.dead = answered_points(request, "dead");
}

static void
work(FunctionCallInfo fcinfo, const char *name, Change *change, ChangeWork body)
{
	Call	   *call = &change->call;
	Argument	arguments[2];
	Request		request;

	call_begin_redemption(call, name, call_member(fcinfo, 0), change->redemption_id);
	arguments[0] = (Argument) {"redemption_id", psprintf(INT64_FORMAT, change->redemption_id), true};
	arguments[1] = (Argument) {"points", request_number(change->asked), true};
	if (request_find(call->account, change->key, name, arguments, lengthof(arguments), &request))
		answer_again(change, &request);
	else
	{
		call_settle(call);
		change->redemption = ledger_redemption(call->account, change->redemption_id);
		if (change->redemption == NULL)
			elog(ERROR, "redemption " INT64_FORMAT " has gone", change->redemption_id);
		body(change);
		change->state = redemption_state_names[change->redemption->state];
		request_keep_answer(call->account, change->key, name, arguments, lengthof(arguments), change->redemption_id, 0,
							call->at, (Argument[]) {
								{"points", points_to_text(change->points), true},
								{"state", change->state, false},
								{"alive", points_to_text(change->returned.alive), true},
								{"dead", points_to_text(change->returned.dead), true}}, 4);
	}
	call_end(call);
}

/* The one row: redemption_id, points, state; of reverse() alive and dead, of release() none. */
static Datum
answer(FunctionCallInfo fcinfo, const Change *change)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = Int64GetDatum(change->redemption_id);
	values[1] = NumericGetDatum(points_to_numeric(change->points));
	values[2] = CStringGetTextDatum(change->state);
	values[3] = NumericGetDatum(points_to_numeric(change->returned.alive));
	values[4] = NumericGetDatum(points_to_numeric(change->returned.dead));
	return call_result(fcinfo, values, nulls);
}

/* The one row of capture(): redemption_id, points, state, and the vouchers that it has issued. */
static Datum
answer_capture(FunctionCallInfo fcinfo, const Change *change)
{
	Datum		values[3 + VOUCHER_ANSWER];
	bool		nulls[3 + VOUCHER_ANSWER] = {false};

	values[0] = Int64GetDatum(change->redemption_id);
	values[1] = NumericGetDatum(points_to_numeric(change->points));
	values[2] = CStringGetTextDatum(change->state);
	voucher_answer(change->call.account->member_id, change->redemption, values + 3, nulls + 3);
	return call_result(fcinfo, values, nulls);
}

/* capture(member_id, redemption_id, points, key): redemption_id, points, state, voucher, value, value_unit, valid_until */
Datum
loyalty_capture(PG_FUNCTION_ARGS)
{
	Change		change = {{0}};

	read_arguments(fcinfo, 2, 3, &change);
	work(fcinfo, "capture", &change, capture);
	return answer_capture(fcinfo, &change);
}

/* release(member_id, redemption_id, key): redemption_id, points, state */
Datum
loyalty_release(PG_FUNCTION_ARGS)
{
	Change		change = {{0}};

	read_arguments(fcinfo, 0, 2, &change);
	work(fcinfo, "release", &change, release);
	return answer(fcinfo, &change);
}

/* reverse(member_id, redemption_id, points, key): redemption_id, points, state, alive, dead */
Datum
loyalty_reverse(PG_FUNCTION_ARGS)
{
	Change		change = {{0}};

	read_arguments(fcinfo, 2, 3, &change);
	work(fcinfo, "reverse", &change, reverse);
	return answer(fcinfo, &change);
}
