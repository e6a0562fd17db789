/*
 * grant.c
 *	  Tiers by hand: invitations, status that was brought along, and their end.
 *
 * A grant lies over what figures give, one at a time in an account: see tier.c.  A blocked account can have one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "call.h"
#include "errcodes.h"
#include "instant.h"
#include "mapping.h"

PG_FUNCTION_INFO_V1(loyalty_grant_tier);
PG_FUNCTION_INFO_V1(loyalty_revoke_tier);

/* What both functions answer, as text; NULL: no tier, no end. */
typedef struct Granted
{
	const char *tier;
	const char *held_until;
	const char *former_tier;
} Granted;

static const Tier *
named_tier(const Program *program, const char *name)
{
	for (int i = 0; name && i < program->ntiers; i++)
		if (strcmp(program->tiers[i].name, name) == 0)
			return &program->tiers[i];
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("program \"%s\" has no tier \"%s\"", program->name, name ? name : ""),
			 errhint("SELECT name FROM loyalty.tier WHERE enabled lists the tiers.")));
}

static const char *
tier_name(const Account *account)
{
	const Tier *tier = config_tier(account->program, account->tier_id);

	return tier ? tier->name : NULL;
}

static const char *
time_text(TimestampTz at)
{
	return TIMESTAMP_NOT_FINITE(at) ? NULL : mapping_canonical(TimestampTzGetDatum(at), TIMESTAMPTZOID);
}

/* Does a tier begin now or earlier, and end after it has begun? */
static void
check_times(TimestampTz now, TimestampTz at, TimestampTz until)
{
	if (TIMESTAMP_NOT_FINITE(at) || at > now)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("at is %s", timestamptz_to_str(at)),
				 errhint("A tier is granted from now on, or was from an earlier time on.")));
	if (until <= at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("until is %s", timestamptz_to_str(until)),
				 errdetail("The tier would begin at %s.", timestamptz_to_str(at)),
				 errhint("It is the first instant at which the tier is not granted any more; leave it out for none.")));
}

/* A grant does not lower another one behind its giver's back. */
static void
check_not_lower(const Account *account, const Tier *tier)
{
	const Tier *held = config_tier(account->program, account->granted_tier_id);

	if (held && held->rank > tier->rank)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_STATE),
				 errmsg("member " INT64_FORMAT " has been granted tier \"%s\" already", account->member_id, held->name),
				 errdetail("Tier \"%s\" is lower.", tier->name),
				 errhint("Call loyalty.revoke_tier() first.")));
}

static Datum
answer(FunctionCallInfo fcinfo, const Program *program, const Granted *granted)
{
	Datum		values[4] = {CStringGetTextDatum(program->name)};
	bool		nulls[4] = {false, granted->tier == NULL, granted->held_until == NULL, granted->former_tier == NULL};

	if (granted->tier)
		values[1] = CStringGetTextDatum(granted->tier);
	if (granted->held_until)
		values[2] = DirectFunctionCall3(timestamptz_in, CStringGetDatum(granted->held_until), ObjectIdGetDatum(InvalidOid),
										Int32GetDatum(-1));
	if (granted->former_tier)
		values[3] = CStringGetTextDatum(granted->former_tier);
	return call_result(fcinfo, values, nulls);
}

/* The account has its new tier: note who did it, and the answer for the key. */
static Granted
finish(Call *call, Intervention *intervention, const Argument *arguments, int n, const char *former)
{
	Granted		granted = {tier_name(call->account), time_text(call->account->tier_until), former};
	Argument	given[] = {{"tier", granted.tier, false}, {"held_until", granted.held_until, false}, {"former_tier", former, false}};

	call_intervene(call, intervention);
	request_keep_answer(call->account, intervention->key, call->name, arguments, n, 0, intervention->entry_no, call->at,
						given, lengthof(given));
	return granted;
}

static Granted
answered(const Request *request)
{
	return (Granted) {request_answer(request, "tier"), request_answer(request, "held_until"),
		request_answer(request, "former_tier")};
}

/* grant_tier(member_id, tier, program, until, reason, key, at) */
Datum
loyalty_grant_tier(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	const Program *program = config_program(call_text(fcinfo, 2));
	const Tier *tier = named_tier(program, call_text(fcinfo, 1));
	TimestampTz now = instant_for_writing(program);
	TimestampTz until = PG_ARGISNULL(3) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(3);
	TimestampTz at = PG_ARGISNULL(6) ? now : PG_GETARG_TIMESTAMPTZ(6);
	Intervention intervention = {.action = "grant tier", .reason = call_text(fcinfo, 4), .key = call_text(fcinfo, 5),
	.tier_id = tier->id, .held_until = until};
	Argument	arguments[] = {{"tier", tier->name, false}, {"until", time_text(until), false},
	{"reason", intervention.reason, false}, {"at", PG_ARGISNULL(6) ? NULL : time_text(at), false}};
	Granted		granted;
	Request		request;
	Call		call;

	request_check_key(intervention.key);
	check_times(now, at, DT_NOEND);
	call_begin_enrolling(&call, "grant_tier", program, member, at);
	if (request_find(call.account, intervention.key, call.name, arguments, lengthof(arguments), &request))
		granted = answered(&request);
	else
	{
		const char *former;

		call.at = ledger_settle(call.account, at);
		check_times(Max(now, call.at), call.at, until);
		check_not_lower(call.account, tier);
		former = tier_name(call.account);
		intervention.entry_no = ledger_grant_tier(call.account, tier->id, until, call.at);
		granted = finish(&call, &intervention, arguments, lengthof(arguments), former);
	}
	call_end(&call);
	return answer(fcinfo, program, &granted);
}

/* revoke_tier(member_id, program, reason, key) */
Datum
loyalty_revoke_tier(PG_FUNCTION_ARGS)
{
	int64		member = call_member(fcinfo, 0);
	const Program *program = config_program(call_text(fcinfo, 1));
	Intervention intervention = {.action = "revoke tier", .reason = call_text(fcinfo, 2), .key = call_text(fcinfo, 3)};
	Argument	arguments[] = {{"reason", intervention.reason, false}};
	Granted		granted;
	Request		request;
	Call		call;

	request_check_key(intervention.key);
	call_begin(&call, "revoke_tier", program, member);
	if (request_find(call.account, intervention.key, call.name, arguments, lengthof(arguments), &request))
		granted = answered(&request);
	else
	{
		const char *former;

		call_settle(&call);
		intervention.tier_id = call.account->granted_tier_id;
		intervention.held_until = call.at;
		if (intervention.tier_id == 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_WRONG_STATE),
					 errmsg("member " INT64_FORMAT " has no granted tier in program \"%s\"", member, program->name),
					 errhint("A tier that figures gave is not revoked; see loyalty.tier_standing.")));
		former = tier_name(call.account);
		intervention.entry_no = ledger_revoke_tier(call.account, call.at);
		granted = finish(&call, &intervention, arguments, lengthof(arguments), former);
	}
	call_end(&call);
	return answer(fcinfo, program, &granted);
}
