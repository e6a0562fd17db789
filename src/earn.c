/*
 * earn.c
 *	  Rules to award: base, groups, bonuses, tier bonus, one rounding.
 *
 * Rules:
 * - Evaluated in numeric, each result cut to 8 decimals; NULL is 0; negative, not finite or >= 10^10 is LY007.
 * - All bonuses see the same earn.base and not each other.
 * - The award is rounded once; a rule's share is the difference of two rounded prefix sums in award order.
 * - Nothing here reads or writes a relation.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "earn.h"
#include "errcodes.h"
#include "fixed.h"
#include "spend.h"
#include "tier.h"

static Units evaluate_rule(const Source *source, const Rule *rule, ExprContext *context, TimestampTz occurred_at,
						   EarnVerdict *verdict);
static void keep_best_of_groups(const Source *source, Units *units, EarnVerdict *verdicts, int first, int end);
static void fill_slots(const Source *source, Account *account, ExprContext *context, const Purchase *purchase);

static Units
tier_bonus(const Tier *tier, int128 base)
{
	int128		units = base * tier->earn_bonus / 100000000;

	if (units >= UNITS_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("bonus of tier \"%s\" is out of range", tier->name),
				 errdetail("A share of an award is less than 10,000,000,000 points.")));
	return (Units) units;
}

/* What a rule (or any tier) gives beyond what it has given before. */
static Units
beyond_stored(Units units, const Breakdown *stored, int64 first_rule, int64 last_rule)
{
	for (int i = 0; stored && i < stored->count; i++)
		if (stored->entries[i].rule >= first_rule && stored->entries[i].rule <= last_rule)
			units -= Min(units, stored->entries[i].units);
	return units;
}

/* Has it paid before on this purchase?  Then what it gives beyond is no further use of it. */
static bool
has_paid(const Breakdown *stored, int32 rule)
{
	for (int i = 0; stored && i < stored->count; i++)
		if (stored->entries[i].rule == rule && stored->entries[i].units > 0)
			return true;
	return false;
}

/* What the base rules give of points (NULL), or of a status unit. */
static int128
base_of(const Source *source, const Units *units, int nbase, const Unit *unit)
{
	int128		base = 0;

	for (int i = 0; i < nbase; i++)
		if (source->rules[i].unit == unit)
			base += units[i];
	return base;
}

/* earn.base, for the next rules */
static void
show_base(const Source *source, int128 base, ExprContext *context)
{
	if (base > PG_INT64_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("earn.base is out of range"),
				 errdetail("The base rules of source \"%s\" give more than 92,233,720,368 points.", source->name)));
	context->ecxt_innertuple->tts_values[EARN_BASE] = NumericGetDatum(fixed_to_numeric((int64) base, UNITS_SCALE));
	context->ecxt_innertuple->tts_isnull[EARN_BASE] = false;
}

void
earn_evaluate(const Source *source, Account *account, ExprContext *context, const Purchase *purchase,
			  TimestampTz at, const Breakdown *stored, Award *award, EarnVerdict *verdicts)
{
	const Program *program = source->program;
	const Tier *tier = config_tier(program, account->tier_id);
	Units	   *units = palloc(Max(source->nrules, 1) * sizeof(Units));
	EarnVerdict *ours = verdicts ? verdicts : palloc(Max(source->nrules, 1) * sizeof(EarnVerdict));
	int		   *rule_of = palloc((source->nrules + 1) * sizeof(int));
	Breakdown	breakdown = {.rounding = program->rounding, .decimals = program->decimals};
	int128		base;
	int			nbase;
	int			i;

	fill_slots(source, account, context, purchase);
	for (i = 0; i < source->nrules && !source->rules[i].bonus; i++)
		units[i] = evaluate_rule(source, &source->rules[i], context, purchase->occurred_at, &ours[i]);
	keep_best_of_groups(source, units, ours, 0, i);
	nbase = i;
	base = base_of(source, units, nbase, NULL);
	for (; i < source->nrules; i++)
	{
		if (source->uses_base && (i == nbase || source->rules[i].unit != source->rules[i - 1].unit))
			show_base(source, base_of(source, units, nbase, source->rules[i].unit), context);
		units[i] = evaluate_rule(source, &source->rules[i], context, purchase->occurred_at, &ours[i]);
	}
	keep_best_of_groups(source, units, ours, 0, source->nrules);

	breakdown.entries = palloc((source->nrules + 1) * sizeof(BreakdownEntry));
	for (i = 0; i < source->nrules; i++)
	{
		units[i] = beyond_stored(units[i], stored, source->rules[i].id, source->rules[i].id);
		if (units[i] == 0)
			continue;
		rule_of[breakdown.count] = i;
		breakdown.entries[breakdown.count++] = (BreakdownEntry) {
			.rule = source->rules[i].id, .units = units[i], .continued = source->rules[i].limit && has_paid(stored, source->rules[i].id)
		};
	}
	if (tier && tier->earn_bonus > 0 && base > 0)
	{
		Units		bonus = beyond_stored(tier_bonus(tier, base), stored, BREAKDOWN_TIER_RULE, PG_INT64_MAX);

		if (bonus > 0)
		{
			rule_of[breakdown.count] = -1;
			breakdown.entries[breakdown.count++] = (BreakdownEntry) {.rule = BREAKDOWN_TIER_RULE + tier->id, .units = bonus};
		}
	}
	award->breakdown = breakdown;
	award->rule_of = rule_of;
	award->tier = tier;
	earn_rebuild(source, purchase, at, award);
}

/* Each status unit of the program with what the account has of it. */
static Jsonb *
units_object(Account *account)
{
	const Program *program = account->program;
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvNumeric};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < program->nunits; i++)
	{
		key.val.string.val = program->units[i].name;
		key.val.string.len = strlen(program->units[i].name);
		value.val.numeric = tier_unit(account, program->units[i].id);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The virtual rows that expressions see as earn.*, account.* and member.*. */
static void
fill_slots(const Source *source, Account *account, ExprContext *context, const Purchase *purchase)
{
	TupleTableSlot *earn = context->ecxt_innertuple;

	ExecClearTuple(earn);
	earn->tts_values[EARN_AMOUNT] = NumericGetDatum(spend_earning_amount(source, purchase));
	earn->tts_values[EARN_OCCURRED_AT] = TimestampTzGetDatum(purchase->occurred_at);
	earn->tts_values[EARN_LOCAL_TIME] = source->uses_local_time
		? TimestampGetDatum(calendar_local(purchase->occurred_at, source->program->zone)) : (Datum) 0;
	memset(earn->tts_isnull, false, EARN_COLUMNS * sizeof(bool));
	earn->tts_isnull[EARN_LOCAL_TIME] = !source->uses_local_time;
	earn->tts_isnull[EARN_BASE] = true;
	ExecStoreVirtualTuple(earn);

	earn_fill_account(context->ecxt_outertuple, account, source->account_columns);
}

/* One column of account.* or member.*; what is not read is not made. */
static Datum
account_value(Account *account, AccountColumn column, bool *isnull)
{
	const Tier *tier = config_tier(account->program, account->tier_id);

	*isnull = false;
	switch (column)
	{
		case ACCOUNT_MEMBER_ID:
			return Int64GetDatum(account->member_id);
		case ACCOUNT_TIER:
			*isnull = tier == NULL;
			return tier ? CStringGetTextDatum(tier->name) : (Datum) 0;
		case ACCOUNT_TIER_RANK:
			*isnull = tier == NULL;
			return tier ? Int32GetDatum(tier->rank) : (Datum) 0;
		case ACCOUNT_BALANCE:
			return NumericGetDatum(points_to_numeric(account->available));
		case ACCOUNT_SPEND:
			return NumericGetDatum(account->spend);
		case ACCOUNT_VISITS:
			return Int32GetDatum(account->visits);
		case ACCOUNT_EARNED:
			return NumericGetDatum(points_to_numeric(account->earned));
		case ACCOUNT_ENROLLED_AT:
			return TimestampTzGetDatum(account->enrolled_at);
		case ACCOUNT_UNITS:
			return JsonbPGetDatum(units_object(account));
		case MEMBER_ATTRIBUTES:
			*isnull = account->attributes == NULL;
			return PointerGetDatum(account->attributes);
		case MEMBER_BIRTH_DATE:
			*isnull = account->attributes == NULL || !account->has_birth_date;
			return DateADTGetDatum(account->birth_date);
		case ACCOUNT_COLUMNS:
			break;
	}
	pg_unreachable();
}

void
earn_fill_account(TupleTableSlot *slot, Account *account, uint32 columns)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, ACCOUNT_COLUMNS * sizeof(bool));
	for (int i = 0; i < ACCOUNT_COLUMNS; i++)
		if (columns & ACCOUNT_COLUMN(i))
			slot->tts_values[i] = account_value(account, i, &slot->tts_isnull[i]);
	ExecStoreVirtualTuple(slot);
}

static bool
is_true(Expression *condition, ExprContext *context)
{
	bool		isnull;
	Datum		value = expression_eval(condition, context, &isnull);

	return !isnull && DatumGetBool(value);
}

static Units
evaluate_rule(const Source *source, const Rule *rule, ExprContext *context, TimestampTz occurred_at,
			  EarnVerdict *verdict)
{
	Datum		value;
	bool		isnull;
	Units		units = 0;
	FixedStatus status;

	*verdict = EARN_OUTSIDE_WINDOW;
	if (occurred_at < rule->starts_at || occurred_at >= rule->ends_at)
		return 0;
	*verdict = EARN_CONDITION_FALSE;
	if (rule->condition && !is_true(rule->condition, context))
		return 0;
	*verdict = EARN_OUTSIDE_SEGMENT;
	if (rule->segment && !(rule->segment->enabled && is_true(rule->segment->condition, context)))
		return 0;
	*verdict = EARN_NO_OFFER;
	if (rule->has_offer && !is_true(rule->has_offer, context))
		return 0;
	*verdict = EARN_NOTHING;
	value = expression_eval(rule->points, context, &isnull);
	if (isnull)
		return 0;
	status = fixed_from_numeric(DatumGetNumeric(value), UNITS_SCALE, &units);
	if (status == FIXED_NOT_FINITE || status == FIXED_OVERFLOW || units < 0 || units >= UNITS_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("rule \"%s\" of program \"%s\" gives %s points", rule->name, source->program->name,
						DatumGetCString(DirectFunctionCall1(numeric_out, value))),
				 errdetail("The points of a rule are at least 0 and less than 10,000,000,000."),
				 errhint("Bound the rule's expression, with greatest() or least() for instance.")));
	if (units > 0)
		*verdict = EARN_PAID;
	return units;
}

/* Of the rules of one exclusive group the one that gives most stays; ties go to the first in priority, then id. */
static void
keep_best_of_groups(const Source *source, Units *units, EarnVerdict *verdicts, int first, int end)
{
	for (int group = 0; group < source->ngroups; group++)
	{
		int			best = -1;

		for (int i = first; i < end; i++)
		{
			const Rule *rule = &source->rules[i];

			if (rule->group != group || units[i] == 0)
				continue;
			if (best < 0 || units[i] > units[best] ||
				(units[i] == units[best] && (rule->priority > source->rules[best].priority ||
											 (rule->priority == source->rules[best].priority && rule->id < source->rules[best].id))))
				best = i;
		}
		for (int i = first; i < end; i++)
			if (source->rules[i].group == group && i != best && units[i] > 0)
			{
				units[i] = 0;
				verdicts[i] = EARN_EXCLUDED_BY_GROUP;
			}
	}
}

static TimestampTz
add_pending(TimestampTz from, const Interval *pending, pg_tz *zone)
{
	if (pending->month != 0 || pending->day != 0)
		from = calendar_add(from, pending->month, pending->day, zone);
	return from + pending->time;
}

/* What waits for an event waits for ever, and dies at its deadline: see ledger_release(). */
void
earn_lot_dates(const Source *source, const Rule *rule, const Tier *tier, const Purchase *purchase, TimestampTz at,
			   AwardLot *lot)
{
	const Program *program = source->program;
	const Interval *pending = rule && rule->pending ? rule->pending : &program->pending;
	const Expiry *expiry = rule && rule->expiry ? rule->expiry : tier && tier->expiry ? tier->expiry : &program->expiry;
	TimestampTz occurred_at = purchase->occurred_at;

	if (pending->time == 0 && pending->day == 0 && pending->month == 0)
		lot->available_at = Min(occurred_at, at);	/* at once, also when clocks differ */
	else
		lot->available_at = add_pending(occurred_at, pending, program->zone);
	lot->available_at = Max(lot->available_at, purchase->released_at);
	if (purchase->waits)
		lot->available_at = DT_NOEND;
	lot->with_account = expiry->kind == EXPIRY_INACTIVE;
	if (purchase->waits && program->expiry_from_available)
		lot->expires_at = DT_NOEND;
	else
		lot->expires_at = expiry_instant(expiry, program->expiry_from_available ? lot->available_at : occurred_at,
										 program->zone);
	if (purchase->waits)
		lot->expires_at = Min(lot->expires_at, purchase->deadline);
}

/* The lot of a rule's points: lots of equal dates are one. */
static int
lot_of_points(const Source *source, const Rule *rule, const Purchase *purchase, TimestampTz at, Award *award)
{
	AwardLot	dates = award->lots[0];
	int			n;

	earn_lot_dates(source, rule, award->tier, purchase, at, &dates);
	/* while they wait, dates do not tell lives apart */
	for (n = purchase->waits ? award->nlots : 0; n < award->nlots; n++)
		if (award->lots[n].unit == 0 && award->lots[n].available_at == dates.available_at &&
			award->lots[n].expires_at == dates.expires_at && award->lots[n].with_account == dates.with_account)
			return n;
	award->lots[award->nlots++] = dates;
	return n;
}

/* The lot of a status unit, with the dates of the first: it holds no points. */
static int
lot_of_unit(int32 unit, Award *award)
{
	int			n;

	for (n = 0; n < award->nlots; n++)
		if (award->lots[n].unit == unit)
			return n;
	award->lots[award->nlots] = award->lots[0];
	award->lots[n].with_account = false;
	award->lots[award->nlots++].unit = unit;
	return n;
}

/* What a lot of a status unit holds: its own entries alone. */
static void
fill_unit(const Source *source, const Award *award, const int *lot_of, int n)
{
	const Breakdown *all = &award->breakdown;
	AwardLot   *lot = &award->lots[n];
	Breakdown	part = *all;

	part.count = 0;
	part.entries = palloc(all->count * sizeof(BreakdownEntry));
	for (int i = 0; i < all->count; i++)
	{
		if (lot_of[i] != n)
			continue;
		part.decimals = source->rules[award->rule_of[i]].unit->decimals;
		part.entries[part.count] = all->entries[i];
		part.entries[part.count++].own = true;
	}
	lot->breakdown = breakdown_encode(&part);
	lot->value = breakdown_points(&part, NULL, NULL);
}

/* The entries of points: all of them, unless there are units among them. */
static Breakdown
points_of(const Source *source, const Award *award, const int *lot_of, int *of)
{
	Breakdown	points = award->breakdown;

	if (source->awards_units)
		points.entries = palloc((points.count + 1) * sizeof(BreakdownEntry));
	points.count = 0;
	for (int i = 0; i < award->breakdown.count; i++)
	{
		if (award->lots[lot_of[i]].unit != 0)
			continue;
		of[points.count] = lot_of[i];
		if (source->awards_units)
			points.entries[points.count] = award->breakdown.entries[i];
		points.count++;
	}
	return points;
}

/* Lots of equal dates are one lot, and so is each status unit; the entries of a lot are marked as its own. */
void
earn_rebuild(const Source *source, const Purchase *purchase, TimestampTz at, Award *award)
{
	int			count = award->breakdown.count;
	int		   *lot_of = palloc((count + 1) * sizeof(int));
	int		   *of = palloc((count + 1) * sizeof(int));
	Breakdown	points;

	award->points = 0;
	award->nlots = 1;
	award->lots = palloc0((count + 1) * sizeof(AwardLot));
	earn_lot_dates(source, NULL, award->tier, purchase, at, &award->lots[0]);
	for (int i = 0; i < count; i++)
	{
		const Rule *rule = award->rule_of[i] < 0 ? NULL : &source->rules[award->rule_of[i]];

		lot_of[i] = 0;
		if (rule && rule->unit)
			lot_of[i] = lot_of_unit(rule->unit->id, award);
		else if (rule && (rule->expiry || rule->pending) && award->breakdown.entries[i].units > 0)
			lot_of[i] = lot_of_points(source, rule, purchase, at, award);
	}
	points = points_of(source, award, lot_of, of);
	for (int n = 0; n < award->nlots; n++)
	{
		AwardLot   *lot = &award->lots[n];

		if (lot->unit != 0)
			fill_unit(source, award, lot_of, n);
		if (lot->unit != 0 || points.count == 0)
			continue;
		for (int i = 0; i < points.count; i++)
			points.entries[i].own = of[i] == n;
		lot->breakdown = breakdown_encode(&points);
		lot->points = breakdown_points(&points, NULL, NULL);
		award->points = points_add(award->points, lot->points);
	}
}
