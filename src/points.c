/*
 * points.c
 *	  Points: a signed 64-bit count of 1/10,000 point, exact.
 *
 * Rules for whoever maintains this:
 * - Every sum is overflow checked (22003); in and recv accept the same values, all of int64.
 * - Against numeric, points compare as numeric would: nothing is rounded to make two figures comparable.
 * - The state of sum and avg is bigint[] {count, high, low} and not internal, so that distributed databases can
 *	 ship it; the sum has 128 bits and cannot overflow before 2^64 rows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/sortsupport.h"

#include "compat.h"
#include "errcodes.h"
#include "fixed.h"
#include "points.h"
#include "words.h"

PG_FUNCTION_INFO_V1(points_in);
PG_FUNCTION_INFO_V1(points_out);
PG_FUNCTION_INFO_V1(points_recv);
PG_FUNCTION_INFO_V1(points_send);
PG_FUNCTION_INFO_V1(points_numeric);
PG_FUNCTION_INFO_V1(numeric_points);
PG_FUNCTION_INFO_V1(int4_points);
PG_FUNCTION_INFO_V1(int8_points);
PG_FUNCTION_INFO_V1(points_ledger);
PG_FUNCTION_INFO_V1(points_cmp);
PG_FUNCTION_INFO_V1(points_sortsupport);
PG_FUNCTION_INFO_V1(points_hash);
PG_FUNCTION_INFO_V1(points_hash_extended);
PG_FUNCTION_INFO_V1(points_larger);
PG_FUNCTION_INFO_V1(points_smaller);
PG_FUNCTION_INFO_V1(points_pl);
PG_FUNCTION_INFO_V1(points_mi);
PG_FUNCTION_INFO_V1(points_um);
PG_FUNCTION_INFO_V1(points_div);
PG_FUNCTION_INFO_V1(points_accumulate);
PG_FUNCTION_INFO_V1(points_combine);
PG_FUNCTION_INFO_V1(points_sum);
PG_FUNCTION_INFO_V1(points_avg);

static void
out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("points out of range"),
			 errdetail("Points lie between %s and %s.", fixed_to_text(PG_INT64_MIN, POINTS_SCALE),
					   fixed_to_text(PG_INT64_MAX, POINTS_SCALE))));
}

Points
points_add(Points a, Points b)
{
	Points		sum;

	if (unlikely(pg_add_s64_overflow(a, b, &sum)))
		out_of_range();
	return sum;
}

Points
points_subtract(Points a, Points b)
{
	Points		difference;

	if (unlikely(pg_sub_s64_overflow(a, b, &difference)))
		out_of_range();
	return difference;
}

Numeric
points_to_numeric(Points points)
{
	return fixed_to_numeric(points, POINTS_SCALE);
}

Points
points_from_numeric(Numeric value)
{
	Points		points = 0;

	switch (fixed_from_numeric(value, POINTS_SCALE, &points))
	{
		case FIXED_OK:
			break;
		case FIXED_OVERFLOW:
			out_of_range();
			break;
		case FIXED_NOT_FINITE:
		case FIXED_INEXACT:
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("cannot make points of %s", numeric_normalize(value)),
					 errdetail("Points are finite and have at most %d decimals.", POINTS_SCALE),
					 errhint("Round the figure first, for example with trunc(value, %d).", POINTS_SCALE)));
	}
	return points;
}

char *
points_to_text(Points points)
{
	return fixed_to_text(points, POINTS_SCALE);
}

Rounding
rounding_from_text(const char *name)
{
	static const char *const names[] = {"down", "half_up", "half_even", "up"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return (Rounding) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown rounding \"%s\"", name),
			 errhint("Valid are down, half_up, half_even and up.")));
}

Points
points_round(int128 units, Rounding rounding, int decimals)
{
	static const int64 power_of_ten[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
	int64		step = power_of_ten[UNITS_SCALE - decimals];
	int128		whole = units / step;
	int64		rest = (int64) (units % step);
	bool		up = false;

	Assert(units >= 0 && decimals >= 0 && decimals <= POINTS_SCALE);
	switch (rounding)
	{
		case ROUNDING_DOWN:
			break;
		case ROUNDING_HALF_UP:
			up = rest * 2 >= step;
			break;
		case ROUNDING_HALF_EVEN:
			up = rest * 2 > step || (rest * 2 == step && whole % 2 == 1);
			break;
		case ROUNDING_UP:
			up = rest > 0;
			break;
	}
	if (up)
		whole++;
	if (whole > PG_INT64_MAX / power_of_ten[POINTS_SCALE - decimals])
		out_of_range();
	return (Points) whole * power_of_ten[POINTS_SCALE - decimals];
}

/* ---- in and out ---- */

Datum
points_in(PG_FUNCTION_ARGS)
{
	static const char *const forms = "Valid are figures with at most 4 decimals, for example 120, 0.5 or -3.25.";
	Words		words;
	const Word *word = words.words;
	Points		points = 0;
	FixedStatus status;

	if (!words_split(&words, PG_GETARG_CSTRING(0), "points", forms, fcinfo->context))
		PG_RETURN_NULL();
	if (!words_at_number(&words))
	{
		words_fail(&words, "a number");
		PG_RETURN_NULL();
	}
	status = fixed_from_text(word->start, word->length, POINTS_SCALE, &points);
	if (status == FIXED_NOT_FINITE)
	{
		words_fail(&words, "a number");
		PG_RETURN_NULL();
	}
	words.next++;
	if (!words_expect_end(&words))
		PG_RETURN_NULL();
	if (status == FIXED_INEXACT)
	{
		words_out_of_range(&words, "at most 4 decimals");
		PG_RETURN_NULL();
	}
	if (status == FIXED_OVERFLOW)
		ereturn(fcinfo->context, (Datum) 0,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("points out of range"),
				 errdetail("Points lie between %s and %s.", points_to_text(PG_INT64_MIN),
						   points_to_text(PG_INT64_MAX))));
	PG_RETURN_POINTS(points);
}

Datum
points_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(points_to_text(PG_GETARG_POINTS(0)));
}

/* Every 64 bits are points, so there is nothing more to check than their number. */
Datum
points_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(pq_getmsgint64((StringInfo) PG_GETARG_POINTER(0)));
}

Datum
points_send(PG_FUNCTION_ARGS)
{
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, PG_GETARG_POINTS(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* ---- casts ---- */

Datum
points_numeric(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(points_to_numeric(PG_GETARG_POINTS(0)));
}

Datum
numeric_points(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_from_numeric(PG_GETARG_NUMERIC(0)));
}

static Points
points_from_integer(int64 value)
{
	Points		points = 0;

	if (unlikely(pg_mul_s64_overflow(value, POINTS_ONE, &points)))
		out_of_range();
	return points;
}

Datum
int4_points(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_from_integer(PG_GETARG_INT32(0)));
}

Datum
int8_points(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_from_integer(PG_GETARG_INT64(0)));
}

/* The bigint of the ledger is the same 64 bits, in both directions. */
Datum
points_ledger(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(Int64GetDatum(PG_GETARG_INT64(0)));
}

/* ---- comparison ---- */

static inline int
compare(Points a, Points b)
{
	return (a > b) - (a < b);
}

/* Points against numeric: in 64 bits where the figure is exact, else as numeric does. */
static int
compare_numeric(Points a, Numeric b)
{
	Points		exact;

	if (fixed_from_numeric(b, POINTS_SCALE, &exact) == FIXED_OK)
		return compare(a, exact);
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(points_to_numeric(a)),
											 NumericGetDatum(b)));
}

#define COMPARISON(name, operator) \
PG_FUNCTION_INFO_V1(points_##name); \
Datum \
points_##name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(PG_GETARG_POINTS(0) operator PG_GETARG_POINTS(1)); \
} \
PG_FUNCTION_INFO_V1(points_numeric_##name); \
Datum \
points_numeric_##name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(compare_numeric(PG_GETARG_POINTS(0), PG_GETARG_NUMERIC(1)) operator 0); \
} \
PG_FUNCTION_INFO_V1(numeric_points_##name); \
Datum \
numeric_points_##name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(0 operator compare_numeric(PG_GETARG_POINTS(1), PG_GETARG_NUMERIC(0))); \
} \
extern int no_such_thing

COMPARISON(eq, ==);
COMPARISON(ne, !=);
COMPARISON(lt, <);
COMPARISON(le, <=);
COMPARISON(gt, >);
COMPARISON(ge, >=);

Datum
points_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(PG_GETARG_POINTS(0), PG_GETARG_POINTS(1)));
}

static int
compare_datums(Datum a, Datum b, SortSupport support)
{
	return compare(DatumGetPoints(a), DatumGetPoints(b));
}

Datum
points_sortsupport(PG_FUNCTION_ARGS)
{
	SortSupport support = (SortSupport) PG_GETARG_POINTER(0);

#if SIZEOF_DATUM >= 8
	support->comparator = ssup_datum_signed_cmp;	/* tuplesort knows it and sorts without calls */
	(void) compare_datums;
#else
	support->comparator = compare_datums;
#endif
	PG_RETURN_VOID();
}

Datum
points_hash(PG_FUNCTION_ARGS)
{
	return hashint8(fcinfo);
}

Datum
points_hash_extended(PG_FUNCTION_ARGS)
{
	return hashint8extended(fcinfo);
}

Datum
points_larger(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(Max(PG_GETARG_POINTS(0), PG_GETARG_POINTS(1)));
}

Datum
points_smaller(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(Min(PG_GETARG_POINTS(0), PG_GETARG_POINTS(1)));
}

/* ---- arithmetic ---- */

Datum
points_pl(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_add(PG_GETARG_POINTS(0), PG_GETARG_POINTS(1)));
}

Datum
points_mi(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_subtract(PG_GETARG_POINTS(0), PG_GETARG_POINTS(1)));
}

Datum
points_um(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTS(points_subtract(0, PG_GETARG_POINTS(0)));
}

static Datum
as_numeric(Datum points)
{
	return NumericGetDatum(points_to_numeric(DatumGetPoints(points)));
}

Datum
points_div(PG_FUNCTION_ARGS)
{
	return DirectFunctionCall2(numeric_div, as_numeric(PG_GETARG_DATUM(0)),
							   as_numeric(PG_GETARG_DATUM(1)));
}

#define MIXED_ARITHMETIC(name, function) \
PG_FUNCTION_INFO_V1(points_numeric_##name); \
Datum \
points_numeric_##name(PG_FUNCTION_ARGS) \
{ \
	return DirectFunctionCall2(function, as_numeric(PG_GETARG_DATUM(0)), PG_GETARG_DATUM(1)); \
} \
PG_FUNCTION_INFO_V1(numeric_points_##name); \
Datum \
numeric_points_##name(PG_FUNCTION_ARGS) \
{ \
	return DirectFunctionCall2(function, PG_GETARG_DATUM(0), as_numeric(PG_GETARG_DATUM(1))); \
} \
extern int no_such_thing

MIXED_ARITHMETIC(pl, numeric_add);
MIXED_ARITHMETIC(mi, numeric_sub);
MIXED_ARITHMETIC(mul, numeric_mul);
MIXED_ARITHMETIC(div, numeric_div);

/* ---- aggregates ---- */

#define STATE_LENGTH	3		/* count, high and low half of the sum */

/* The three figures of a state, which anybody may have called us with. */
static int64 *
state_figures(ArrayType *state)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] != STATE_LENGTH || ARR_HASNULL(state) ||
		ARR_ELEMTYPE(state) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("expected a state of three figures: count, high and low half of the sum"),
				 errhint("Call the aggregates sum and avg instead.")));
	return (int64 *) ARR_DATA_PTR(state);
}

static inline int128
state_sum(const int64 *figures)
{
	return (int128) (((uint128) (uint64) figures[1] << 64) | (uint64) figures[2]);
}

static void
add_to_state(int64 *figures, int64 count, int128 sum)
{
	uint128		total = (uint128) state_sum(figures) + (uint128) sum;

	figures[0] = (int64) ((uint64) figures[0] + (uint64) count);
	figures[1] = (int64) (uint64) (total >> 64);
	figures[2] = (int64) (uint64) total;
}

/* Inside an aggregate the state is ours to change; called by hand it is not. */
static ArrayType *
own_state(FunctionCallInfo fcinfo)
{
	return AggCheckCallContext(fcinfo, NULL) ? PG_GETARG_ARRAYTYPE_P(0) : PG_GETARG_ARRAYTYPE_P_COPY(0);
}

Datum
points_accumulate(PG_FUNCTION_ARGS)
{
	ArrayType  *state = own_state(fcinfo);

	add_to_state(state_figures(state), 1, PG_GETARG_POINTS(1));
	PG_RETURN_ARRAYTYPE_P(state);
}

Datum
points_combine(PG_FUNCTION_ARGS)
{
	ArrayType  *state = own_state(fcinfo);
	const int64 *other = state_figures(PG_GETARG_ARRAYTYPE_P(1));

	add_to_state(state_figures(state), other[0], state_sum(other));
	PG_RETURN_ARRAYTYPE_P(state);
}

Datum
points_sum(PG_FUNCTION_ARGS)
{
	const int64 *figures = state_figures(PG_GETARG_ARRAYTYPE_P(0));
	int128		sum = state_sum(figures);

	if (figures[0] == 0)
		PG_RETURN_NULL();
	if (sum < PG_INT64_MIN || sum > PG_INT64_MAX)
		out_of_range();
	PG_RETURN_POINTS((Points) sum);
}

Datum
points_avg(PG_FUNCTION_ARGS)
{
	const int64 *figures = state_figures(PG_GETARG_ARRAYTYPE_P(0));

	if (figures[0] == 0)
		PG_RETURN_NULL();
	return DirectFunctionCall2(numeric_div,
							   NumericGetDatum(fixed_to_numeric_wide(state_sum(figures), POINTS_SCALE)),
							   NumericGetDatum(int64_to_numeric(figures[0])));
}
