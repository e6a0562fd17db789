/*
 * fixed.c
 *	  Exact passage between numeric, text and scaled 64-bit integers.
 *
 * Rules for whoever maintains this:
 * - What is here runs several times a purchase.  It reads and writes the stored form of numeric itself: a header of
 *	 two bytes (short) or four (long), then digits of base 10,000, most significant first, without zeros at either
 *	 end.  That form is on disk since 9.1 and cannot change without pg_upgrade; test/sql/points.sql and
 *	 test/sql/fixed.sql hold it against numeric's own arithmetic, to the byte.
 * - What is unusual is numeric's own affair: long headers are not written, signs that differ not added.
 * - The value may still carry a 1-byte length word, and then nothing in it is aligned: bytes are copied.
 * - No floating point, and nothing wraps: what does not fit is FIXED_OVERFLOW.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "fixed.h"

/* the header of a stored numeric, as in numeric.c */
#define HEADER_KIND			0xC000	/* both bits: NaN or infinity */
#define HEADER_SHORT		0x8000
#define HEADER_NEGATIVE		0x4000	/* of a long header */
#define SHORT_NEGATIVE		0x2000
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT		0x003F
#define SHORT_SCALE			0x1F80
#define SHORT_SCALE_SHIFT	7
#define LONG_SCALE			0x3FFF

#define BASE				10000
#define BASE_DIGITS			4		/* decimal digits in one digit of base 10,000 */

/* a stored numeric, taken apart; digits may be unaligned */
typedef struct Digits
{
	const char *data;
	int			count;
	int			weight;			/* of the first digit: value = sum of digit[i] * 10,000^(weight - i) */
	int			scale;			/* decimals that are shown */
	bool		negative;
	bool		finite;
} Digits;

static const int power_of_ten[] = {1, 10, 100, 1000, 10000};

static void
read_digits(Numeric numeric, Digits *digits)
{
	const struct varlena *value = (const struct varlena *) numeric;
	const char *data;
	const char *end;
	uint16		header;

	if (VARATT_IS_EXTENDED(value) && !VARATT_IS_SHORT(value))
		value = pg_detoast_datum((struct varlena *) value);
	data = VARDATA_ANY(value);
	end = data + VARSIZE_ANY_EXHDR(value);
	memcpy(&header, data, sizeof(header));
	data += sizeof(header);
	digits->finite = (header & HEADER_KIND) != HEADER_KIND;
	if (header & HEADER_SHORT)
	{
		digits->negative = (header & SHORT_NEGATIVE) != 0;
		digits->weight = header & SHORT_WEIGHT;
		digits->scale = (header & SHORT_SCALE) >> SHORT_SCALE_SHIFT;
		if (header & SHORT_WEIGHT_SIGN)
			digits->weight -= SHORT_WEIGHT + 1;
	}
	else
	{
		int16		weight;

		memcpy(&weight, data, sizeof(weight));
		data += sizeof(weight);
		digits->negative = (header & HEADER_NEGATIVE) != 0;
		digits->weight = weight;
		digits->scale = header & LONG_SCALE;
	}
	digits->data = data;
	digits->count = (end - data) / sizeof(int16);
}

/* digit i; 0 before the first and after the last, which are not stored */
static inline int
digit_at(const Digits *digits, int i)
{
	int16		digit;

	if (i < 0 || i >= digits->count)
		return 0;
	memcpy(&digit, digits->data + i * sizeof(digit), sizeof(digit));
	return digit;
}

static bool
any_digit_from(const Digits *digits, int i)
{
	for (i = Max(i, 0); i < digits->count; i++)
	{
		if (digit_at(digits, i) != 0)
			return true;
	}
	return false;
}

static FixedStatus
signed_result(uint128 magnitude, bool negative, bool exact, int64 *result)
{
	if (magnitude > (uint128) PG_INT64_MAX + (negative ? 1 : 0))
		return FIXED_OVERFLOW;
	*result = negative ? (int64) (-(uint64) magnitude) : (int64) magnitude;
	return exact ? FIXED_OK : FIXED_INEXACT;
}

/* The first `count` digits as a whole number; 64 bits hold 4, seldom more are needed.  At most 7 are. */
static uint128
leading_digits(const Digits *digits, int count)
{
	uint64		narrow = 0;
	uint128		wide;
	int			i;

	for (i = 0; i < Min(count, 4); i++)
		narrow = narrow * BASE + digit_at(digits, i);
	wide = narrow;
	for (; i < Min(count, 7); i++)
		wide = wide * BASE + digit_at(digits, i);
	return wide;
}

int
fixed_sign(Numeric value)
{
	Digits		digits;

	read_digits(value, &digits);
	if (digits.count == 0 && digits.finite)
		return 0;
	return digits.negative ? -1 : 1;
}

FixedStatus
fixed_from_numeric(Numeric value, int scale, int64 *result)
{
	Digits		digits;
	uint128		magnitude;
	int			whole;			/* digits that count in full */
	int			part = scale % BASE_DIGITS; /* decimal digits that count of the next */
	bool		exact;

	Assert(scale >= 0 && scale <= 8);
	read_digits(value, &digits);
	if (!digits.finite)
		return FIXED_NOT_FINITE;

	whole = digits.weight + scale / BASE_DIGITS + 1;
	if (whole > 7 && digit_at(&digits, 0) != 0)
		return FIXED_OVERFLOW;
	magnitude = leading_digits(&digits, whole);
	exact = !any_digit_from(&digits, whole + (part > 0 ? 1 : 0));
	if (part > 0)
	{
		int			next = digit_at(&digits, whole);
		int			cut = power_of_ten[BASE_DIGITS - part];

		magnitude = magnitude * power_of_ten[part] + next / cut;
		exact = exact && next % cut == 0;
	}
	return signed_result(magnitude, digits.negative, exact, result);
}

/* Digits, the most significant one first, as numeric stores them; the weights are of sums and of 64 bits, which are short. */
static Numeric
write_digits(const int16 *digits, int count, int weight, int scale, bool negative)
{
	struct varlena *value;
	uint16		header;

	for (; count > 0 && digits[0] == 0; count--, weight--)
		digits++;
	while (count > 0 && digits[count - 1] == 0)
		count--;
	if (count == 0)
	{
		weight = 0;
		negative = false;
	}
	Assert(weight >= -(SHORT_WEIGHT + 1) && weight <= SHORT_WEIGHT && scale <= SHORT_SCALE >> SHORT_SCALE_SHIFT);
	header = HEADER_SHORT | (negative ? SHORT_NEGATIVE : 0) | (scale << SHORT_SCALE_SHIFT) |
		(weight < 0 ? SHORT_WEIGHT_SIGN : 0) | (weight & SHORT_WEIGHT);
	value = palloc(VARHDRSZ + sizeof(header) + count * sizeof(int16));
	SET_VARSIZE(value, VARHDRSZ + sizeof(header) + count * sizeof(int16));
	memcpy(VARDATA(value), &header, sizeof(header));
	memcpy(VARDATA(value) + sizeof(header), digits, count * sizeof(int16));
	return (Numeric) value;
}

Numeric
fixed_to_numeric(int64 value, int scale)
{
	int16		digits[5 + 2];	/* 2^64 is below 10,000^5, 10^8 is 10,000^2 */
	uint64		rest = value < 0 ? -(uint64) value : (uint64) value;
	int			begin = lengthof(digits);
	int			fraction;		/* digits after the point */

	Assert(scale >= 0 && scale <= 8);
	for (; scale > 0 && rest % 10 == 0; scale--)
		rest /= 10;
	fraction = (scale + BASE_DIGITS - 1) / BASE_DIGITS;
	if (scale % BASE_DIGITS != 0)
	{
		int			unit = power_of_ten[scale % BASE_DIGITS];

		digits[--begin] = rest % unit * (BASE / unit);
		rest /= unit;
	}
	for (; rest > 0; rest /= BASE)
		digits[--begin] = rest % BASE;
	return write_digits(&digits[begin], lengthof(digits) - begin, (int) lengthof(digits) - begin - fraction - 1, scale, value < 0);
}

/* -1, 0, 1: digits of the same weight, then the next ones */
static int
compare_magnitudes(const Digits *a, const Digits *b)
{
	if (a->count == 0 || b->count == 0)
		return (a->count > 0) - (b->count > 0);
	if (a->weight != b->weight)
		return a->weight > b->weight ? 1 : -1;
	for (int i = 0; i < Max(a->count, b->count); i++)
	{
		int			difference = digit_at(a, i) - digit_at(b, i);

		if (difference != 0)
			return difference > 0 ? 1 : -1;
	}
	return 0;
}

int
fixed_compare(Numeric a, Numeric b)
{
	Digits		x;
	Digits		y;

	read_digits(a, &x);
	read_digits(b, &y);
	if (!x.finite || !y.finite)
		return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
	if (x.negative != y.negative)
		return x.negative ? -1 : 1;		/* zero is stored without a sign, and is above what has one */
	return x.negative ? compare_magnitudes(&y, &x) : compare_magnitudes(&x, &y);
}

#define ADD_DIGITS	12			/* of either number and of what lies between */

/* The digits of two numbers of one sign, of weights top to bottom; false: they are too far apart. */
static bool
add_magnitudes(const Digits *x, const Digits *y, int16 *sum, int *top, int *count)
{
	int			bottom = Min(x->weight - x->count, y->weight - y->count) + 1;
	int			carry = 0;

	*top = Max(x->weight, y->weight) + 1;
	*count = *top - bottom + 1;
	if (*count > ADD_DIGITS)
		return false;
	for (int i = *count - 1; i >= 0; i--)
	{
		carry += digit_at(x, x->weight - *top + i) + digit_at(y, y->weight - *top + i);
		sum[i] = carry % BASE;
		carry /= BASE;
	}
	Assert(carry == 0);
	return true;
}

Numeric
fixed_add(Numeric a, Numeric b)
{
	int16		sum[ADD_DIGITS];
	int			top;
	int			count;
	Digits		x;
	Digits		y;

	read_digits(a, &x);
	read_digits(b, &y);
	if (x.finite && y.finite && x.negative == y.negative && abs(Max(x.weight, y.weight)) < SHORT_WEIGHT &&
		Max(x.scale, y.scale) <= SHORT_SCALE >> SHORT_SCALE_SHIFT && add_magnitudes(&x, &y, sum, &top, &count))
		return write_digits(sum, count, top, Max(x.scale, y.scale), x.negative);
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Sums over many rows only: through text, where 64 bits are not enough. */
Numeric
fixed_to_numeric_wide(int128 value, int scale)
{
	char		digits[64];
	char	   *at = digits + sizeof(digits);
	uint128		rest = value < 0 ? -(uint128) value : (uint128) value;
	Datum		numeric;

	if (value >= PG_INT64_MIN && value <= PG_INT64_MAX)
		return fixed_to_numeric((int64) value, scale);

	at -= 8;
	snprintf(at, 8, "e-%d", scale);
	for (; rest > 0; rest /= 10)
		*--at = '0' + (int) (rest % 10);
	if (value < 0)
		*--at = '-';
	numeric = DirectFunctionCall3(numeric_in, CStringGetDatum(at), ObjectIdGetDatum(InvalidOid),
								  Int32GetDatum(-1));
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, numeric));
}

/* One more decimal digit; false when it does not fit. */
static bool
append_digit(uint64 *magnitude, int digit)
{
	return !pg_mul_u64_overflow(*magnitude, 10, magnitude) &&
		!pg_add_u64_overflow(*magnitude, digit, magnitude);
}

FixedStatus
fixed_from_text(const char *at, int length, int scale, int64 *result)
{
	const char *end = at + length;
	uint64		magnitude = 0;
	bool		negative = false;
	bool		point = false;
	bool		exact = true;
	bool		fits = true;
	int			digits = 0;
	int			decimals = 0;

	if (at < end && (*at == '-' || *at == '+'))
		negative = *at++ == '-';
	for (; at < end; at++)
	{
		if (*at == '.' && !point)
		{
			point = true;
			continue;
		}
		if (*at < '0' || *at > '9')
			return FIXED_NOT_FINITE;
		digits++;
		if (point && decimals == scale)
			exact = exact && *at == '0';
		else
		{
			fits = fits && append_digit(&magnitude, *at - '0');
			decimals += point;
		}
	}
	if (digits == 0)
		return FIXED_NOT_FINITE;
	for (; decimals < scale; decimals++)
		fits = fits && append_digit(&magnitude, 0);
	return fits ? signed_result(magnitude, negative, exact, result) : FIXED_OVERFLOW;
}

char *
fixed_to_text(int64 value, int scale)
{
	char		digits[32];
	char	   *at = digits + sizeof(digits);
	uint64		rest = value < 0 ? -(uint64) value : (uint64) value;

	*--at = '\0';
	while (scale > 0 && rest % 10 == 0)
	{
		rest /= 10;
		scale--;
	}
	for (int i = 0; i < scale; i++, rest /= 10)
		*--at = '0' + rest % 10;
	if (scale > 0)
		*--at = '.';
	do
	{
		*--at = '0' + rest % 10;
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		*--at = '-';
	return pstrdup(at);
}
