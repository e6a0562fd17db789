/*
 * balance.c
 *	  What an account has at an instant: reads, settles in memory, throws away.
 *
 * Rules:
 * - Nothing is written or locked (but AccessShare), so all of it works on a standby.
 * - Now and the future are ledger_settle() of what the active snapshot sees: the same function that writers store.
 *	 The past, before settled_at, is added up from entries by loyalty.balance_before().
 * - Who may call is said by EXECUTE alone: the store asks for no right on tables.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "instant.h"
#include "ledger.h"
#include "owner.h"
#include "pool.h"
#include "store.h"
#include "tier.h"

PG_FUNCTION_INFO_V1(loyalty_instant);
PG_FUNCTION_INFO_V1(loyalty_settled);
PG_FUNCTION_INFO_V1(loyalty_units_at);
PG_FUNCTION_INFO_V1(loyalty_due_tier_changes);
PG_FUNCTION_INFO_V1(loyalty_due_movements);
PG_FUNCTION_INFO_V1(loyalty_tier_if_applied);
PG_FUNCTION_INFO_V1(loyalty_balance);
PG_FUNCTION_INFO_V1(loyalty_award);
PG_FUNCTION_INFO_V1(loyalty_explain);

/* One account while it is looked at. */
typedef struct Reading
{
	MemoryContext context;
	Store	   *store;
	Account    *account;		/* NULL: there is none */
	TimestampTz at;
} Reading;

static void
refuse_infinite(TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("an instant must be finite"),
				 errhint("Leave it out for now.")));
}

static Reading
reading_begin(const Program *program, int64 member)
{
	Reading		reading = {0};

	reading.context = AllocSetContextCreate(CurrentMemoryContext, "loyalty reading", ALLOCSET_SMALL_SIZES);
	reading.store = store_open_reader(GetActiveSnapshot());
	reading.account = store_read_account(reading.store, program, member, reading.context);
	return reading;
}

static void
reading_end(Reading *reading)
{
	store_close(reading->store);
	MemoryContextDelete(reading->context);
}

/* The next instant at which live points die, and how many; infinity for never.  Those of the account's life stand last. */
static TimestampTz
next_expiry(Account *account, TimestampTz at, Points *points)
{
	LotCursor	cursor = {0};
	TimestampTz expires_at = DT_NOEND;
	bool		governed = ledger_is_governed(account, at);
	Lot		   *lot;

	*points = 0;
	while (account->available + account->pending > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		TimestampTz end = ledger_end_of(account, lot);

		if (lot->remaining == 0 || end <= at)
			continue;
		if (!governed && (end == DT_NOEND || (*points > 0 && end != expires_at)))
			break;
		if (end < expires_at)
		{
			expires_at = end;
			*points = 0;
		}
		if (end == expires_at && end != DT_NOEND)
			*points = points_add(*points, lot->remaining);
	}
	return expires_at;
}

Datum
loyalty_instant(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(instant_for_reading());
}

/* loyalty.settled(member_id, program_id, at): no row without an account */
Datum
loyalty_settled(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	Reading		reading;

	refuse_infinite(at);
	InitMaterializedSRF(fcinfo, 0);
	reading = reading_begin(config_program_by_id(PG_GETARG_INT32(1)), PG_GETARG_INT64(0));
	if (reading.account)
	{
		Account    *account = reading.account;
		Datum		values[18];
		bool		nulls[18] = {0};
		Points		expiring;
		MemoryContext old = MemoryContextSwitchTo(reading.context);

		values[0] = TimestampTzGetDatum(at = ledger_settle(account, at));
		values[1] = Int64GetDatum(account->available);
		values[2] = Int64GetDatum(account->pending);
		values[3] = Int64GetDatum(account->held);
		values[4] = Int64GetDatum(account->debt);
		values[5] = Int32GetDatum(account->tier_id);
		nulls[5] = account->tier_id == 0;
		values[6] = TimestampTzGetDatum(account->tier_until);
		values[7] = NumericGetDatum(account->spend);
		values[8] = Int64GetDatum(account->earned);
		values[9] = Int32GetDatum(account->visits);
		values[10] = TimestampTzGetDatum(account->period_start);
		values[11] = TimestampTzGetDatum(account->period_end);
		values[12] = TimestampTzGetDatum(account->next_change_at);
		values[13] = TimestampTzGetDatum(next_expiry(account, at, &expiring));
		values[14] = Int64GetDatum(expiring);
		nulls[13] = nulls[14] = expiring == 0;
		values[15] = TimestampTzGetDatum(account->inactive_at);
		values[16] = Int32GetDatum(account->own_tier_id);
		nulls[16] = account->own_tier_id == 0;
		values[17] = TimestampTzGetDatum(account->own_until);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	reading_end(&reading);
	return (Datum) 0;
}

/* For (member_id, program_id, at) → rows: the account as settling to `at` makes it; there may be none. */
static Reading
begin_settled(FunctionCallInfo fcinfo, TimestampTz at)
{
	Reading		reading;

	refuse_infinite(at);
	InitMaterializedSRF(fcinfo, 0);
	reading = reading_begin(config_program_by_id(PG_GETARG_INT32(1)), PG_GETARG_INT64(0));
	if (reading.account)
		ledger_settle(reading.account, at);
	return reading;
}

/* loyalty.units_at(member_id, program_id, at): each status unit of the program */
Datum
loyalty_units_at(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Reading		reading = begin_settled(fcinfo, PG_GETARG_TIMESTAMPTZ(2));
	MemoryContext old = MemoryContextSwitchTo(reading.context);

	for (int i = 0; reading.account && i < reading.account->program->nunits; i++)
	{
		int32		unit = reading.account->program->units[i].id;
		Datum		values[] = {Int32GetDatum(unit), NumericGetDatum(tier_unit(reading.account, unit))};
		bool		nulls[] = {false, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(old);
	reading_end(&reading);
	return (Datum) 0;
}

/* loyalty.due_tier_changes(member_id, program_id, at): those that settling to `at` would write down */
Datum
loyalty_due_tier_changes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	Reading		reading;

	reading = begin_settled(fcinfo, at);
	if (reading.account)
	{
		for (int i = 0; i < reading.account->ntier_changes; i++)
		{
			const TierChange *change = &reading.account->tier_changes[i];
			Datum		values[4];
			bool		nulls[4] = {0};

			values[0] = TimestampTzGetDatum(change->at);
			values[1] = Int32GetDatum(change->from_tier);
			nulls[1] = change->from_tier == 0;
			values[2] = Int32GetDatum(change->to_tier);
			nulls[2] = change->to_tier == 0;
			values[3] = TimestampTzGetDatum(change->held_until);
			tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		}
	}
	reading_end(&reading);
	return (Datum) 0;
}

/* loyalty.due_movements(member_id, program_id, at): those that settling to `at` would write down */
Datum
loyalty_due_movements(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	Reading		reading;

	reading = begin_settled(fcinfo, at);
	if (reading.account)
	{
		for (int i = 0; i < reading.account->nmovements; i++)
		{
			const Movement *m = &reading.account->movements[i];
			Datum		values[8];
			bool		nulls[8] = {0};

			values[0] = TimestampTzGetDatum(m->at);
			values[1] = CStringGetTextDatum(entry_kind_names[m->kind]);
			values[2] = Int64GetDatum(m->points);
			values[3] = TimestampTzGetDatum(m->lot_expires_at);
			values[4] = Int64GetDatum(m->lot_entry_no);
			values[5] = Int64GetDatum(m->redemption_id);
			nulls[5] = m->redemption_id == 0;
			values[6] = Int64GetDatum(m->origin_entry_no);
			nulls[6] = m->origin_entry_no == 0;
			values[7] = Int64GetDatum(m->entry_no);
			tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		}
	}
	reading_end(&reading);
	return (Datum) 0;
}

/* What waits for apply_tiers(), with other thresholds where names are given. */
static Program
ladder_to_try(const Program *program, ArrayType *names, ArrayType *thresholds, bool keep)
{
	Program		ladder = program->draft ? *program->draft : *program;
	Tier	   *tiers = palloc(mul_size(Max(ladder.ntiers, 1), sizeof(Tier)));
	Datum	   *name;
	Datum	   *threshold;
	bool	   *nulls;
	int			n;
	int			nthresholds;

	for (int t = 0; t < ladder.ntiers; t++)
		tiers[t] = ladder.tiers[t];
	deconstruct_array_builtin(names, TEXTOID, &name, NULL, &n);
	deconstruct_array(thresholds, NUMERICOID, -1, false, TYPALIGN_INT, &threshold, &nulls, &nthresholds);
	for (int i = 0; i < Min(n, nthresholds); i++)
		for (int t = 0; t < ladder.ntiers; t++)
			if (strcmp(TextDatumGetCString(name[i]), tiers[t].name) == 0)
				tiers[t].threshold = nulls[i] ? NULL : DatumGetNumeric(threshold[i]);
	ladder.tiers = tiers;
	ladder.lowest = tier_of_nothing(&ladder);
	ladder.ladder_keeps = keep;
	ladder.period = program->period;	/* of another one there are no figures yet */
	return ladder;
}

/* loyalty.tier_if_applied(member_id, program_id, at, tiers, thresholds, keep): as it is, and as it would be */
Datum
loyalty_tier_if_applied(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Reading		reading = begin_settled(fcinfo, PG_GETARG_TIMESTAMPTZ(2));
	Account    *account = reading.account;

	if (account)
	{
		Program		ladder = ladder_to_try(account->program, PG_GETARG_ARRAYTYPE_P(3), PG_GETARG_ARRAYTYPE_P(4), PG_GETARG_BOOL(5));
		Datum		values[3] = {Int32GetDatum(account->tier_id)};
		bool		nulls[3] = {account->tier_id == 0};
		MemoryContext old = MemoryContextSwitchTo(reading.context);

		pool_try_ladder(account, &ladder);
		tier_try_ladder(account, &ladder, account->settled_at);
		values[1] = Int32GetDatum(account->tier_id);
		nulls[1] = account->tier_id == 0;
		values[2] = TimestampTzGetDatum(account->tier_until);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
	}
	reading_end(&reading);
	return (Datum) 0;
}

static void
unknown_member(int64 member, const Program *program)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_MEMBER),
			 errmsg("member " INT64_FORMAT " has no account in program \"%s\"", member, program->name),
			 errhint("A member gets an account by a first purchase, or by loyalty.enroll().")));
}

/* One row of balance() from a settled account. */
static void
put_balance(ReturnSetInfo *set, Account *account, TimestampTz at)
{
	const Tier *tier = config_tier(account->program, account->tier_id);
	Points		expiring;
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = NumericGetDatum(points_to_numeric(account->available));
	values[1] = NumericGetDatum(points_to_numeric(account->pending));
	values[2] = NumericGetDatum(points_to_numeric(account->held));
	values[3] = NumericGetDatum(points_to_numeric(account->debt));
	values[4] = tier ? CStringGetTextDatum(tier->name) : (Datum) 0;
	nulls[4] = tier == NULL;
	values[5] = TimestampTzGetDatum(next_expiry(account, at, &expiring));
	values[6] = NumericGetDatum(points_to_numeric(expiring));
	nulls[5] = nulls[6] = expiring == 0;
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/* loyalty.balance(member_id, program, at) */
Datum
loyalty_balance(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const Program *program;
	TimestampTz at;
	Reading		reading;
	int64		member;
	bool		past;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member_id is null")));
	program = config_program(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	at = PG_ARGISNULL(2) ? instant_for_reading() : PG_GETARG_TIMESTAMPTZ(2);
	refuse_infinite(at);
	member = config_member_now(PG_GETARG_INT64(0));
	reading = reading_begin(program, member);
	if (reading.account == NULL)
		unknown_member(member, program);
	past = !PG_ARGISNULL(2) && at < reading.account->settled_at;
	if (!past)
	{
		MemoryContext old;

		InitMaterializedSRF(fcinfo, 0);
		old = MemoryContextSwitchTo(reading.context);
		at = ledger_settle(reading.account, at);
		put_balance(set, reading.account, at);
		MemoryContextSwitchTo(old);
	}
	reading_end(&reading);
	if (past)
	{
		Oid			types[] = {INT8OID, INT4OID, TIMESTAMPTZOID};
		Datum		values[] = {Int64GetDatum(member), Int32GetDatum(program->id), TimestampTzGetDatum(at)};

		owner_rows(fcinfo, "SELECT * FROM loyalty.balance_before($1, $2, $3)", 3, types, values);
	}
	return (Datum) 0;
}

/* loyalty.award(relation, key): the ledger is asked as its owner */
Datum
loyalty_award(PG_FUNCTION_ARGS)
{
	Oid			types[] = {REGCLASSOID, TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};

	owner_rows(fcinfo, "SELECT * FROM loyalty.award_of($1, $2)", 2, types, values);
	return (Datum) 0;
}

/* loyalty.explain(member_id, program, redemption_id): the ledger is asked as its owner */
Datum
loyalty_explain(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	char	   *query = PG_ARGISNULL(2) ? "SELECT * FROM loyalty.explain_of($1, $2, NULL)"
		: "SELECT * FROM loyalty.explain_of($1, $2, $3)";
	Oid			types[] = {INT8OID, INT4OID, INT8OID};
	Datum		values[] = {PG_GETARG_DATUM(0), Int32GetDatum(program->id), PG_GETARG_DATUM(2)};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member_id is null")));
	values[0] = Int64GetDatum(config_member_now(PG_GETARG_INT64(0)));
	owner_rows(fcinfo, query, PG_ARGISNULL(2) ? 2 : 3, types, values);
	return (Datum) 0;
}
