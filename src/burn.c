/*
 * burn.c
 *	  redeem(): points for a reward, or for nothing in particular, at once or reserved.
 *
 * Order of a call, which gives every retry the same answer:
 * 1. arguments that are wrong whatever the member has;
 * 2. the account's lock, then the key: a call that was made before answers with what it made, whatever has
 *	  happened to reward, account and redemption since;
 * 3. account, reward, points, stock; 4. lots, redemption, request.
 */
#include "postgres.h"

#include "common/int.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "call.h"
#include "errcodes.h"
#include "fixed.h"
#include "stock.h"
#include "voucher.h"

PG_FUNCTION_INFO_V1(loyalty_redeem);
PG_FUNCTION_INFO_V1(loyalty_redeem_share);

/* The arguments of one call. */
typedef struct Redeem
{
	int64		member;
	char	   *reward;
	Points		points;			/* 0: by the pieces of the reward */
	bool		share;			/* of what the reward costs: others pay the rest */
	int32		quantity;
	char	   *key;
	char	   *reason;
	Interval   *hold;			/* NULL: at once */
} Redeem;

#define HOLD_DAYS_LIMIT 30
#define HOLD_DEFAULT (15 * USECS_PER_MINUTE)

static void
refuse_long_hold(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
			 errmsg("hold is too long"),
			 errdetail("Points can be held for %d days at most.", HOLD_DAYS_LIMIT)));
}

/* How long to hold; nothing: as long as by default.  Its end is judged when it is known. */
static Interval *
read_hold(const Interval *given)
{
	Interval   *hold = palloc(sizeof(Interval));

	*hold = *given;
	if (hold->month == 0 && hold->day == 0 && hold->time == 0)
		hold->time = HOLD_DEFAULT;
	if (hold->month < 0 || hold->day < 0 || hold->time < 0)
		call_refuse("hold is negative", "It says how long the points are reserved, 15 minutes for instance.");
	if (hold->month > HOLD_DAYS_LIMIT || hold->day > HOLD_DAYS_LIMIT || hold->time > HOLD_DAYS_LIMIT * USECS_PER_DAY)
		refuse_long_hold();
	return hold;
}

/* The same for every way in which the same length is written. */
static const char *
hold_text(const Interval *hold)
{
	StringInfoData text;

	if (hold == NULL)
		return NULL;
	initStringInfo(&text);
	if (hold->month)
		appendStringInfo(&text, "%d months ", hold->month);
	if (hold->day)
		appendStringInfo(&text, "%d days ", hold->day);
	appendStringInfo(&text, "%s seconds", fixed_to_text(hold->time, 6));
	return text.data;
}

static void
read_arguments(FunctionCallInfo fcinfo, const Program *program, Redeem *redeem)
{
	Numeric		points = call_number(fcinfo, 2);
	const Reward *reward;

	redeem->member = call_member(fcinfo, 0);
	redeem->reward = call_text(fcinfo, 1);
	redeem->quantity = PG_ARGISNULL(3) ? 1 : PG_GETARG_INT32(3);
	redeem->key = call_text(fcinfo, 5);
	redeem->reason = call_text(fcinfo, 7);
	redeem->hold = PG_ARGISNULL(6) ? NULL : read_hold(PG_GETARG_INTERVAL_P(6));
	reward = redeem->reward && points ? config_reward(program, redeem->reward) : NULL;
	if (redeem->share ? points == NULL : (redeem->reward == NULL) == (points == NULL) && !(reward && reward->by_points))
		call_refuse(points ? "both reward and points are given" : "neither reward nor points is given",
					"Name a reward, or say how many points.");
	if (redeem->quantity < 1)
		call_refuse(psprintf("quantity is %d", redeem->quantity), "It is 1 or more.");
	if (points && redeem->quantity != 1 && !(redeem->share && redeem->reward))
		call_refuse(psprintf("quantity is %d", redeem->quantity), redeem->reward ? "Leave it out, or leave points out." : "Only rewards have a quantity.");
	redeem->points = points ? call_points(program, points) : 0;
	if (redeem->points < 0)
		call_refuse(psprintf("points is %s", points_to_text(redeem->points)), "It is above 0.");
	request_check_key(redeem->key);
}

static void
refuse_reward(const Program *program, const char *reward, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_REWARD_NOT_AVAILABLE),
			 errmsg("reward \"%s\" of program \"%s\" is not available", reward, program->name),
			 errdetail_internal("%s", detail),
			 errhint("SELECT name, starts_at, ends_at, enabled FROM loyalty.reward lists the rewards.")));
}

/* The reward, and what it costs and gives.  Its stock is the last thing to be looked at. */
static const Reward *
find_reward(const Account *account, const Redeem *redeem, TimestampTz at, Terms *terms)
{
	const Program *program = account->program;
	const Reward *reward = config_reward(program, redeem->reward);

	if (reward == NULL)
		refuse_reward(program, redeem->reward, "There is no reward of this name.");
	if (!reward->enabled)
		refuse_reward(program, redeem->reward, "It is disabled.");
	if (at < reward->starts_at)
		refuse_reward(program, redeem->reward, psprintf("It starts at %s.", timestamptz_to_str(reward->starts_at)));
	if (at >= reward->ends_at)
		refuse_reward(program, redeem->reward, psprintf("It ended at %s.", timestamptz_to_str(reward->ends_at)));
	if (reward->special)
		voucher_terms(account, reward, redeem->share ? 0 : redeem->points, redeem->quantity, at, terms);
	else if (pg_mul_s64_overflow(reward->cost, redeem->quantity, &terms->points))
		call_refuse(psprintf("quantity is %d", redeem->quantity), "So many pieces cost more points than there can be.");
	return reward;
}

/* Local time of the program: a day is as long as it is there. */
static TimestampTz
hold_end(const Call *call, const Interval *hold)
{
	TimestampTz end = calendar_add(call->at, hold->month, hold->day, call->program->zone) + hold->time;

	if (end > calendar_add(call->at, 0, HOLD_DAYS_LIMIT, call->program->zone))
		refuse_long_hold();
	return Max(end, call->at + 1);
}

static Redemption *
burn(Call *call, const Redeem *redeem)
{
	Account    *account = call->account;
	Redemption *redemption = MemoryContextAllocZero(account->context, sizeof(Redemption));
	const Reward *reward = NULL;
	Terms		terms = {.points = redeem->points, .pieces = redeem->quantity};

	call_settle(call);
	call_check_active(account);
	if (redeem->reward)
		reward = find_reward(account, redeem, call->at, &terms);
	if (redeem->share)
		terms.points = redeem->points;
	call_check_available(account, terms.points);
	if (reward && reward->has_stock)
		stock_take(reward, terms.pieces);
	*redemption = (Redemption) {
		.redemption_id = store_next_redemption(call->store), .program_id = call->program->id,
		.reward_id = reward ? reward->id : 0, .quantity = terms.pieces, .points = terms.points,
		.taken = terms.points, .vouchers = terms.vouchers,
		.state = redeem->hold ? REDEMPTION_HELD : REDEMPTION_CAPTURED, .key = redeem->key, .reason = redeem->reason,
		.held_until = redeem->hold ? hold_end(call, redeem->hold) : DT_NOEND, .at = call->at, .changed_at = call->at
	};
	if (redeem->hold)
		ledger_hold(account, redemption, call->at);
	else
		ledger_burn(account, terms.points, ENTRY_REDEEM, redemption->redemption_id, call->at, &redemption->first_entry,
					&redemption->last_entry);
	store_insert_redemption(account, redemption);
	if (terms.vouchers > 0)
		voucher_give(account, redemption, &terms);
	return redemption;
}

static Datum
redeem_points(FunctionCallInfo fcinfo, bool share)
{
	char	   *name = call_text(fcinfo, 4);
	const Program *program = config_program(name);
	Redeem		redeem = {.share = share};
	Redemption *redemption;
	Request		request;
	Call		call;
	Argument	arguments[5];
	Datum		values[3 + VOUCHER_ANSWER];
	bool		nulls[3 + VOUCHER_ANSWER] = {false};

	read_arguments(fcinfo, program, &redeem);
	arguments[0] = (Argument) {"reward", redeem.reward, false};
	arguments[1] = (Argument) {"points", redeem.points ? points_to_text(redeem.points) : NULL, true};
	arguments[2] = (Argument) {"quantity", redeem.quantity != 1 ? psprintf("%d", redeem.quantity) : NULL, true};
	arguments[3] = (Argument) {"hold", hold_text(redeem.hold), false};
	arguments[4] = (Argument) {"reason", redeem.reason, false};
	call_begin(&call, "redeem", program, redeem.member);
	if (request_find(call.account, redeem.key, "redeem", arguments, lengthof(arguments), &request))
	{
		redemption = ledger_redemption(call.account, request.redemption_id);
		if (redemption == NULL)
			elog(ERROR, "redemption " INT64_FORMAT " has gone", request.redemption_id);
		if (redemption->state == REDEMPTION_HELD)
			call_settle(&call);	/* it may have lapsed */
	}
	else
	{
		redemption = burn(&call, &redeem);
		request_keep(call.account, redeem.key, "redeem", arguments, lengthof(arguments), redemption->redemption_id, 0,
					 redemption->at);
	}
	call_end(&call);
	values[0] = Int64GetDatum(redemption->redemption_id);
	values[1] = NumericGetDatum(points_to_numeric(redemption->points));
	values[2] = CStringGetTextDatum(redemption_state_names[redemption->state]);
	voucher_answer(redeem.member, redemption, values + 3, nulls + 3);
	return call_result(fcinfo, values, nulls);
}

Datum
loyalty_redeem(PG_FUNCTION_ARGS)
{
	return redeem_points(fcinfo, false);
}

/* The same for one of several who pay for a reward: it names the reward, and points is what this one pays. */
Datum
loyalty_redeem_share(PG_FUNCTION_ARGS)
{
	return redeem_points(fcinfo, true);
}
