/*
 * program_daily.c
 *	  Sums of entries by program, quarter of an hour and kind, which program_daily makes its local days of: every zone's midnight
 *	  has been the beginning of one since 1972.
 *
 * Rules:
 * - The state is one flat bytea, so that parallel workers and shards can send it: a header, and a table of slots, open
 *	 addressing, at most three quarters full.  It is changed in place, which only an aggregate may do.
 * - It comes back through SQL into quarter_sums(), which believes nothing of it.
 * - Sums are 96 bits wide: 2^32 entries of any size have room.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "fixed.h"

#define KINDS			15
#define MAX_PROGRAM		((1 << 27) - 1)
#define KIND_LENGTH		16		/* the ending zero included */
#define FIRST_SLOTS		64

#define QUARTER			(INT64CONST(15) * 60 * USECS_PER_SEC)
#define YEAR_1973		(-INT64CONST(9861) * USECS_PER_DAY)	/* before, each instant is one of its own */

typedef struct Slot
{
	TimestampTz at;
	uint64		low;			/* of the sum */
	int32		high;
	int32		what;			/* program << 4 | number of the kind, which is never 0; 0: the slot is free */
} Slot;

typedef struct QuarterSums
{
	int32		vl_len_;
	int32		nkinds;
	int32		nused;
	int32		nslots;			/* a power of two */
	char		kinds[KINDS][KIND_LENGTH];
	Slot		slots[FLEXIBLE_ARRAY_MEMBER];
} QuarterSums;

#define SUMS_SIZE(nslots)	(offsetof(QuarterSums, slots) + (Size) (nslots) * sizeof(Slot))

PG_FUNCTION_INFO_V1(quarter_sums_add);
PG_FUNCTION_INFO_V1(quarter_sums_combine);
PG_FUNCTION_INFO_V1(quarter_sums);

static QuarterSums *
make_sums(int nslots)
{
	QuarterSums *sums;

	if (SUMS_SIZE(nslots) > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("entries of too many different instants"),
				 errdetail("Sums by quarter of an hour hold at most %d.", (int) (MaxAllocSize / sizeof(Slot) / 4))));
	sums = palloc0(SUMS_SIZE(nslots));
	SET_VARSIZE(sums, SUMS_SIZE(nslots));
	sums->nslots = nslots;
	return sums;
}

/* The slot of a quarter, program and kind, or the free one where it belongs. */
static Slot *
find_slot(QuarterSums *sums, TimestampTz at, int32 what)
{
	uint64		hash = ((uint64) at + (uint64) what) * UINT64CONST(0x9E3779B97F4A7C15);
	uint32		mask = sums->nslots - 1;

	for (uint32 i = (uint32) (hash >> 32) & mask;; i = (i + 1) & mask)
	{
		Slot	   *slot = &sums->slots[i];

		if (slot->what == 0 || (slot->at == at && slot->what == what))
			return slot;
	}
}

static QuarterSums *
grow(QuarterSums *sums)
{
	QuarterSums *grown = make_sums(sums->nslots * 2);

	grown->nkinds = sums->nkinds;
	grown->nused = sums->nused;
	memcpy(grown->kinds, sums->kinds, sizeof(grown->kinds));
	for (int i = 0; i < sums->nslots; i++)
		if (sums->slots[i].what != 0)
			*find_slot(grown, sums->slots[i].at, sums->slots[i].what) = sums->slots[i];
	return grown;
}

static inline int128
sum_of(const Slot *slot)
{
	return (int128) (((uint128) (int128) slot->high << 64) | slot->low);
}

static QuarterSums *
add(QuarterSums *sums, TimestampTz at, int32 what, int128 points)
{
	Slot	   *slot = find_slot(sums, at, what);
	int128		sum;

	if (slot->what == 0)
	{
		if (sums->nused >= sums->nslots / 4 * 3)
		{
			sums = grow(sums);
			slot = find_slot(sums, at, what);
		}
		slot->at = at;
		slot->what = what;
		sums->nused++;
	}
	sum = sum_of(slot) + points;
	slot->high = (int32) (sum >> 64);
	slot->low = (uint64) sum;
	return sums;
}

/* The number of a kind, counted from 1.  There are a dozen of them. */
static int32
kind_number(QuarterSums *sums, const char *kind, int length)
{
	for (int i = 0; i < sums->nkinds; i++)
		if (strncmp(sums->kinds[i], kind, length) == 0 && sums->kinds[i][length] == '\0')
			return i + 1;
	if (sums->nkinds == KINDS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("entries of more than %d kinds", KINDS)));
	memcpy(sums->kinds[sums->nkinds], kind, length);
	return ++sums->nkinds;
}

static TimestampTz
quarter_of(TimestampTz at)
{
	int64		rest;

	if (at < YEAR_1973 || TIMESTAMP_NOT_FINITE(at))
		return at;
	rest = at % QUARTER;
	return at - (rest < 0 ? rest + QUARTER : rest);
}

static void
check_aggregate(FunctionCallInfo fcinfo)
{
	if (!AggCheckCallContext(fcinfo, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("only the aggregate sum_by_quarter may call this function")));
}

static int32
what_of(QuarterSums *sums, int32 program_id, const char *kind, int length)
{
	if (program_id < 0 || program_id > MAX_PROGRAM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the program's number %d is not between 0 and %d", program_id, MAX_PROGRAM)));
	return program_id << 4 | kind_number(sums, kind, length);
}

/* The state so far, which begins as no bytes at all. */
static QuarterSums *
state_of(Datum state)
{
	if (VARSIZE_ANY_EXHDR(DatumGetPointer(state)) == 0)
		return make_sums(FIRST_SLOTS);
	return (QuarterSums *) DatumGetPointer(state);
}

/* quarter_sums_add(bytea, integer, timestamptz, text, bigint) */
Datum
quarter_sums_add(PG_FUNCTION_ARGS)
{
	QuarterSums *sums;
	text	   *kind = PG_GETARG_TEXT_PP(3);
	int			length = VARSIZE_ANY_EXHDR(kind);

	check_aggregate(fcinfo);
	sums = state_of(PG_GETARG_DATUM(0));
	if (length >= KIND_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("the kind of an entry is longer than %d bytes", KIND_LENGTH - 1)));
	PG_RETURN_POINTER(add(sums, quarter_of(PG_GETARG_TIMESTAMPTZ(2)),
						  what_of(sums, PG_GETARG_INT32(1), VARDATA_ANY(kind), length), PG_GETARG_INT64(4)));
}

Datum
quarter_sums_combine(PG_FUNCTION_ARGS)
{
	QuarterSums *sums;
	QuarterSums *other;

	check_aggregate(fcinfo);
	sums = state_of(PG_GETARG_DATUM(0));
	other = (QuarterSums *) PG_GETARG_BYTEA_P_COPY(1);	/* aligned */
	for (int i = 0; VARSIZE(other) > VARHDRSZ && i < other->nslots; i++)
	{
		const Slot *slot = &other->slots[i];
		const char *kind;

		CHECK_FOR_INTERRUPTS();
		if (slot->what == 0)
			continue;
		kind = other->kinds[(slot->what & KINDS) - 1];
		sums = add(sums, slot->at, what_of(sums, slot->what >> 4, kind, strlen(kind)), sum_of(slot));
	}
	PG_RETURN_POINTER(sums);
}

static void
check_sums(const QuarterSums *sums, Size size)
{
	bool		good = size >= SUMS_SIZE(0) && sums->nslots > 0 && size == SUMS_SIZE(sums->nslots) &&
		sums->nkinds >= 0 && sums->nkinds <= KINDS;

	for (int i = 0; good && i < sums->nkinds; i++)
		good = sums->kinds[i][KIND_LENGTH - 1] == '\0' && pg_verifymbstr(sums->kinds[i], strlen(sums->kinds[i]), true);
	for (int i = 0; good && i < sums->nslots; i++)
	{
		const Slot *slot = &sums->slots[i];
		int			kind = slot->what & KINDS;

		good = slot->what == 0 || (slot->what > 0 && kind > 0 && kind <= sums->nkinds &&
								   (IS_VALID_TIMESTAMP(slot->at) || TIMESTAMP_NOT_FINITE(slot->at)));
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("these are not sums by quarter of an hour"),
				 errhint("They come from the aggregate loyalty.sum_by_quarter().")));
}

/* quarter_sums(bytea): its rows */
Datum
quarter_sums(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	QuarterSums *sums = (QuarterSums *) PG_GETARG_BYTEA_P_COPY(0);

	InitMaterializedSRF(fcinfo, 0);
	if (VARSIZE(sums) == VARHDRSZ)
		return (Datum) 0;
	check_sums(sums, VARSIZE(sums));
	for (int i = 0; i < sums->nslots; i++)
	{
		const Slot *slot = &sums->slots[i];
		const char *kind;
		Datum		values[4];
		bool		nulls[4] = {false, false, false, false};

		CHECK_FOR_INTERRUPTS();
		if (slot->what == 0)
			continue;
		kind = sums->kinds[(slot->what & KINDS) - 1];
		values[0] = Int32GetDatum(slot->what >> 4);
		values[1] = TimestampTzGetDatum(slot->at);
		values[2] = CStringGetTextDatum(kind);
		values[3] = NumericGetDatum(fixed_to_numeric_wide(sum_of(slot), 0));
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		pfree(DatumGetPointer(values[2]));
		pfree(DatumGetPointer(values[3]));
	}
	return (Datum) 0;
}
