/*
 * earn_rate.c
 *	  How much money gives how many points: "1 per 10", "2 per full 10", "5%".
 *
 * Rules for whoever maintains this:
 * - The product is exact: 64 and 128 bit integers where they suffice, numeric beyond, the same digits from both.
 *	 Only a quotient that does not end is cut, towards zero, after as many decimals as the same amount over a
 *	 rate that does end could need, and never before the 8th.
 * - Equal amounts give equal products, however many trailing zeros they carry.
 * - The bytes are hashed: padding is 0.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "earn_rate.h"
#include "fixed.h"
#include "points.h"
#include "words_type.h"

PG_FUNCTION_INFO_V1(earn_rate_out);
PG_FUNCTION_INFO_V1(earn_rate_recv);
PG_FUNCTION_INFO_V1(earn_rate_send);
PG_FUNCTION_INFO_V1(numeric_mul_earn_rate);
PG_FUNCTION_INFO_V1(earn_rate_mul_numeric);

#define PG_GETARG_EARN_RATE(n)	((const EarnRate *) PG_GETARG_POINTER(n))

/* Both figures end here, in 1/10,000. */
#define FIGURE_LIMIT	(INT64CONST(10000000000) * POINTS_ONE)
#define HUNDRED			(100 * POINTS_ONE)

static const char *const forms =
"Valid are, with at most 4 decimals: 1 per 10; 2 per full 10; 0.5 per 1; 5%.";
static const char *const figure_range = "figures go from 0 to 10000000000";

/* ---- amount times rate ---- */

static Numeric
call2(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(a), NumericGetDatum(b)));
}

/* 10^exponent, exact in both directions */
static Numeric
power_of_ten(int exponent)
{
	char		digits[16];

	snprintf(digits, sizeof(digits), "1e%d", exponent);
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static int64
greatest_common_divisor(int64 a, int64 b)
{
	while (b != 0)
	{
		int64		rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Decimals that 1/divisor has, leaving aside factors other than 2 and 5. */
static int
decimals_of_quotient(int64 divisor)
{
	int			twos = 0;
	int			fives = 0;

	for (; divisor % 2 == 0; divisor /= 2)
		twos++;
	for (; divisor % 5 == 0; divisor /= 5)
		fives++;
	return Max(twos, fives);
}

static Numeric
trim(Numeric value)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value)));
}

/* amount * points / per for any amount: divided as whole numbers, which numeric does exactly */
static Numeric
apply_wide(Numeric amount, const EarnRate *rate)
{
	int64		divisor = greatest_common_divisor(rate->per, rate->points);
	Numeric		points = int64_to_numeric(rate->points / divisor);
	Numeric		per = int64_to_numeric(rate->per / divisor);
	int			decimals;
	Numeric		product;

	amount = trim(amount);
	decimals = DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(amount)));
	decimals = Max(UNITS_SCALE, decimals + decimals_of_quotient(rate->per / divisor));
	product = call2(numeric_mul, call2(numeric_mul, amount, points), power_of_ten(decimals));
	return trim(call2(numeric_mul, call2(numeric_div_trunc, product, per), power_of_ten(-decimals)));
}

static Numeric
apply_per(Numeric amount, const EarnRate *rate)
{
	int64		units;
	int128		product;

	if (fixed_from_numeric(amount, POINTS_SCALE, &units) != FIXED_OK)
		return apply_wide(amount, rate);

	/* points < 2^47, so the product stays below 2^124 */
	product = (int128) units * rate->points * POINTS_ONE;
	if (product % rate->per != 0)
	{
		int64		divisor = greatest_common_divisor(rate->per, rate->points);

		if (POINTS_SCALE + decimals_of_quotient(rate->per / divisor) > UNITS_SCALE)
			return apply_wide(amount, rate);
	}
	product /= rate->per;
	if (product < PG_INT64_MIN || product > PG_INT64_MAX)
		return apply_wide(amount, rate);
	return fixed_to_numeric((int64) product, UNITS_SCALE);
}

static Numeric
apply_per_full(Numeric amount, const EarnRate *rate)
{
	int64		units;
	FixedStatus status = fixed_from_numeric(amount, POINTS_SCALE, &units);

	/* what lies beyond the 4th decimal never completes a full `per` */
	if (status == FIXED_OK || status == FIXED_INEXACT)
	{
		int128		product = (int128) (units / rate->per) * rate->points;

		if (product >= PG_INT64_MIN && product <= PG_INT64_MAX)
			return fixed_to_numeric((int64) product, POINTS_SCALE);
	}
	return trim(call2(numeric_mul,
					  call2(numeric_div_trunc, amount, fixed_to_numeric(rate->per, POINTS_SCALE)),
					  fixed_to_numeric(rate->points, POINTS_SCALE)));
}

Numeric
earn_rate_apply(Numeric amount, const EarnRate *rate)
{
	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		return call2(numeric_mul, amount, int64_to_numeric(rate->points));
	if (rate->kind == EARN_RATE_PER_FULL)
		return apply_per_full(amount, rate);
	return apply_per(amount, rate);
}

Datum
numeric_mul_earn_rate(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(earn_rate_apply(PG_GETARG_NUMERIC(0), PG_GETARG_EARN_RATE(1)));
}

Datum
earn_rate_mul_numeric(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(earn_rate_apply(PG_GETARG_NUMERIC(1), PG_GETARG_EARN_RATE(0)));
}

/* ---- in and out ---- */

/* Whatever came from outside. */
static bool
check(const EarnRate *rate)
{
	return rate->kind >= EARN_RATE_PER && rate->kind <= EARN_RATE_PERCENT &&
		rate->points >= 0 && rate->points <= FIGURE_LIMIT &&
		rate->per > 0 && rate->per <= FIGURE_LIMIT &&
		(rate->kind != EARN_RATE_PERCENT || rate->per == HUNDRED);
}

static bool
parse(Words *words, EarnRate *rate)
{
	if (!words_decimal(words, FIGURE_LIMIT, figure_range, &rate->points))
		return false;
	if (words_accept(words, "%"))
	{
		rate->kind = EARN_RATE_PERCENT;
		rate->per = HUNDRED;
		return words_expect_end(words);
	}
	if (!words_accept(words, "per"))
		return words_fail(words, "\"per\" or \"%\"");
	rate->kind = words_accept(words, "full") ? EARN_RATE_PER_FULL : EARN_RATE_PER;
	if (!words_decimal(words, FIGURE_LIMIT, figure_range, &rate->per))
		return false;
	if (rate->per == 0)
		return words_out_of_range(words, "nothing is earned per 0");
	return words_expect_end(words);
}

Datum
earn_rate_out(PG_FUNCTION_ARGS)
{
	const EarnRate *rate = PG_GETARG_EARN_RATE(0);
	char	   *points = points_to_text(rate->points);

	if (rate->kind == EARN_RATE_PERCENT)
		PG_RETURN_CSTRING(psprintf("%s%%", points));
	PG_RETURN_CSTRING(psprintf("%s per %s%s", points,
							   rate->kind == EARN_RATE_PER_FULL ? "full " : "",
							   points_to_text(rate->per)));
}

Datum
earn_rate_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	EarnRate   *rate = palloc0(sizeof(EarnRate));

	rate->points = pq_getmsgint64(buffer);
	rate->per = pq_getmsgint64(buffer);
	rate->kind = (int32) pq_getmsgint(buffer, 4);
	if (!check(rate))
		words_refuse_binary("earn_rate", forms);
	PG_RETURN_POINTER(rate);
}

Datum
earn_rate_send(PG_FUNCTION_ARGS)
{
	const EarnRate *rate = PG_GETARG_EARN_RATE(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendint64(&buffer, rate->points);
	pq_sendint64(&buffer, rate->per);
	pq_sendint32(&buffer, rate->kind);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* ---- comparison: by what a unit of money gives, then by form, so that equal means the same text ---- */

static int
compare(const EarnRate *a, const EarnRate *b)
{
	int128		left = (int128) a->points * b->per;
	int128		right = (int128) b->points * a->per;

	if (left != right)
		return left < right ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->per != b->per)
		return a->per < b->per ? -1 : 1;
	return 0;
}

WORDS_TYPE(earn_rate, EarnRate);
