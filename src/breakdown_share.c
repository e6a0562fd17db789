/*
 * breakdown_share.c
 *	  The points of a breakdown: of a lot, of a rule, of the part of a purchase that is kept.
 *
 * Rules for whoever maintains this:
 * - A share is the difference of two rounded sums, so shares add up to the award whatever part is kept.
 * - units * kept / amount is divided as whole numbers with the remainder at hand, never rounded twice: in 128
 *	 bits where it fits, which is where amounts have at most 8 decimals, else in numeric, with the same result.
 * - All of an award costs no division.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "breakdown.h"
#include "errcodes.h"
#include "fixed.h"

PG_FUNCTION_INFO_V1(breakdown_points_of);
PG_FUNCTION_INFO_V1(breakdown_shares_of);
PG_FUNCTION_INFO_V1(breakdown_limits_of);

/* How much of the amount is kept, as far as possible in 64 bits. */
typedef struct Part
{
	bool		whole;			/* all: nothing to divide */
	bool		narrow;			/* kept and amount hold it, in the same unit; else numeric */
	int64		kept;
	int64		amount;			/* > 0 */
	Numeric		wide_kept;
	Numeric		wide_amount;
} Part;

static Numeric
call2(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(a), NumericGetDatum(b)));
}

static int
compare_numeric(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static void
impossible_part(Numeric kept, Numeric amount)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("cannot keep %s of %s", numeric_normalize(kept), numeric_normalize(amount)),
			 errhint("The amount is finite and not 0, and what is kept lies between 0 and the amount.")));
}

static void
set_wide_part(Part *part, Numeric kept, Numeric amount)
{
	Numeric		zero = int64_to_numeric(0);

	if (numeric_is_nan(amount) || numeric_is_inf(amount) || compare_numeric(amount, zero) == 0)
		impossible_part(kept, amount);
	part->wide_kept = kept;
	part->wide_amount = amount;
	if (compare_numeric(amount, zero) < 0)
	{
		part->wide_kept = call2(numeric_sub, zero, kept);
		part->wide_amount = call2(numeric_sub, zero, amount);
	}
	if (compare_numeric(part->wide_kept, zero) < 0 ||
		compare_numeric(part->wide_kept, part->wide_amount) > 0)
		impossible_part(kept, amount);
	part->whole = compare_numeric(part->wide_kept, part->wide_amount) == 0;
}

static Part
make_part(Numeric kept, Numeric amount)
{
	static const int scales[] = {2, 4, UNITS_SCALE};
	Part		part = {.whole = true};

	if (kept == NULL && amount == NULL)
		return part;
	for (int i = 0; i < lengthof(scales) && !part.narrow; i++)
		part.narrow = fixed_from_numeric(kept, scales[i], &part.kept) == FIXED_OK &&
			fixed_from_numeric(amount, scales[i], &part.amount) == FIXED_OK &&
			part.kept != PG_INT64_MIN && part.amount != PG_INT64_MIN;
	if (!part.narrow)
	{
		set_wide_part(&part, kept, amount);
		return part;
	}
	if (part.amount < 0)
	{
		part.amount = -part.amount;
		part.kept = -part.kept;
	}
	if (part.amount == 0 || part.kept < 0 || part.kept > part.amount)
		impossible_part(kept, amount);
	part.whole = part.kept == part.amount;
	return part;
}

/*
 * Round a quotient of units of which `rest` tells that something below one unit was cut off.  That matters in
 * two places only: it makes an exact half more than a half, and nothing something.  There one unit more does
 * the same, and cannot reach the end of the step.
 */
static Points
round_quotient(int128 quotient, bool rest, Rounding rounding, int decimals)
{
	static const int64 steps[] = {100000000, 10000000, 1000000, 100000, 10000};
	int64		within = (int64) (quotient % steps[decimals]);

	if (rest && (within == 0 || within == steps[decimals] / 2))
		quotient++;
	return points_round(quotient, rounding, decimals);
}

static Points
round_part(int128 units, const Part *part, Rounding rounding, int decimals)
{
	if (part->whole || units == 0)
		return points_round(units, rounding, decimals);
	if (part->narrow && units <= PG_INT64_MAX)
	{
		int128		product = units * part->kept;

		return round_quotient(product / part->amount, product % part->amount != 0, rounding, decimals);
	}
	else
	{
		Numeric		kept = part->narrow ? int64_to_numeric(part->kept) : part->wide_kept;
		Numeric		amount = part->narrow ? int64_to_numeric(part->amount) : part->wide_amount;
		Numeric		product = call2(numeric_mul, fixed_to_numeric_wide(units, 0), kept);
		Numeric		quotient = call2(numeric_div_trunc, product, amount);
		int64		high;
		int64		low;

		/* up to 10^22 units: in two halves of 9 digits and more */
		fixed_from_numeric(call2(numeric_div_trunc, quotient, int64_to_numeric(1000000000)), 0, &high);
		fixed_from_numeric(call2(numeric_mod, quotient, int64_to_numeric(1000000000)), 0, &low);
		return round_quotient((int128) high * 1000000000 + low,
							  compare_numeric(call2(numeric_mul, quotient, amount), product) != 0,
							  rounding, decimals);
	}
}

/* Shares of neighbours telescope: two roundings a run of own entries. */
Points
breakdown_points(const Breakdown *breakdown, Numeric kept, Numeric amount)
{
	Part		part = make_part(kept, amount);
	Points		points = 0;
	int128		units = 0;
	int			i = 0;

	while (i < breakdown->count)
	{
		int128		before;

		for (; i < breakdown->count && !breakdown->entries[i].own; i++)
			units += breakdown->entries[i].units;
		before = units;
		for (; i < breakdown->count && breakdown->entries[i].own; i++)
			units += breakdown->entries[i].units;
		points = points_add(points,
							round_part(units, &part, breakdown->rounding, breakdown->decimals) -
							round_part(before, &part, breakdown->rounding, breakdown->decimals));
	}
	return points;
}

Points
breakdown_share(const Breakdown *breakdown, int entry, Numeric kept, Numeric amount)
{
	Part		part = make_part(kept, amount);
	int128		before = 0;

	Assert(entry >= 0 && entry < breakdown->count);
	for (int i = 0; i < entry; i++)
		before += breakdown->entries[i].units;
	return round_part(before + breakdown->entries[entry].units, &part,
					  breakdown->rounding, breakdown->decimals) -
		round_part(before, &part, breakdown->rounding, breakdown->decimals);
}

/* Any rest counts as a whole unit: what is kept never counts for less than it is. */
Units
breakdown_units_kept(Units units, Numeric kept, Numeric amount)
{
	Part		part = make_part(kept, amount);
	Numeric		product;
	Numeric		quotient;
	Units		whole;

	if (part.whole || units == 0)
		return units;
	if (part.narrow)
	{
		int128		numerator = (int128) units * part.kept;

		return (Units) (numerator / part.amount) + (numerator % part.amount != 0);
	}
	product = call2(numeric_mul, fixed_to_numeric_wide(units, 0), part.wide_kept);
	quotient = call2(numeric_div_trunc, product, part.wide_amount);
	fixed_from_numeric(quotient, 0, &whole);
	return whole + (compare_numeric(call2(numeric_mul, quotient, part.wide_amount), product) != 0);
}

/* ---- what people ask ---- */

/* kept and amount of a call: both or none */
static void
get_part(FunctionCallInfo fcinfo, Numeric *kept, Numeric *amount)
{
	if (PG_ARGISNULL(1) != PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("either kept or amount is null"),
				 errhint("Give both, or leave both null for the award as it was made.")));
	*kept = PG_ARGISNULL(1) ? NULL : PG_GETARG_NUMERIC(1);
	*amount = PG_ARGISNULL(2) ? NULL : PG_GETARG_NUMERIC(2);
}

Datum
breakdown_points_of(PG_FUNCTION_ARGS)
{
	Numeric		kept;
	Numeric		amount;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	get_part(fcinfo, &kept, &amount);
	PG_RETURN_POINTS(breakdown_points(breakdown_decode(PG_GETARG_BYTEA_PP(0)), kept, amount));
}

/* One row an entry, in the order of the award. */
Datum
breakdown_shares_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Breakdown  *breakdown;
	Numeric		kept;
	Numeric		amount;
	Part		part;
	int128		units = 0;
	Points		before = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	get_part(fcinfo, &kept, &amount);
	breakdown = breakdown_decode(PG_GETARG_BYTEA_PP(0));
	part = make_part(kept, amount);
	for (int i = 0; i < breakdown->count; i++)
	{
		const BreakdownEntry *entry = &breakdown->entries[i];
		bool		nulls[4] = {false, false, false, false};
		Datum		values[4];
		Points		after;

		units += entry->units;
		after = round_part(units, &part, breakdown->rounding, breakdown->decimals);
		values[0] = Int64GetDatum(entry->rule);
		values[1] = BoolGetDatum(entry->own);
		values[2] = NumericGetDatum(fixed_to_numeric(entry->units, UNITS_SCALE));
		values[3] = PointsGetDatum(after - before);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		before = after;
	}
	return (Datum) 0;
}

/* One row a rule that has a limit's mark: what it gave, what was lost to which limit, whether it is a further use. */
Datum
breakdown_limits_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Breakdown  *breakdown;

	InitMaterializedSRF(fcinfo, 0);
	breakdown = breakdown_decode(PG_GETARG_BYTEA_PP(0));
	for (int i = 0; i < breakdown->count; i++)
	{
		const BreakdownEntry *entry = &breakdown->entries[i];
		bool		nulls[4] = {false, false, entry->lost == 0, false};
		Datum		values[4];

		values[0] = Int64GetDatum(entry->rule);
		values[1] = NumericGetDatum(fixed_to_numeric(entry->units + entry->lost, UNITS_SCALE));
		values[2] = entry->lost == 0 ? (Datum) 0 : CStringGetTextDatum(breakdown_limit_names[entry->limit]);
		values[3] = BoolGetDatum(entry->continued);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}
