/*
 * breakdown.c
 *	  Which rule gave how much of an award: its bytes and its text.  Its points are in breakdown_share.c.
 *
 * Rules for whoever maintains this:
 * - The bytes are in tables for ever: versions 1 and 2 stay readable, a change makes version 3.
 * - There is one encoding of a breakdown: varints are minimal, nothing follows the last entry.  So equal bytes
 *	 are equal breakdowns, and text, binary and bytea lead to the same bytes.  Version 2 where version 1 cannot say it.
 * - breakdown_decode is the only way in from bytes, and trusts none of them: every read is bounded, every figure
 *	 checked, entries are counted before memory is taken for them.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "breakdown.h"
#include "compat.h"
#include "errcodes.h"
#include "fixed.h"

PG_FUNCTION_INFO_V1(breakdown_in);
PG_FUNCTION_INFO_V1(breakdown_out);
PG_FUNCTION_INFO_V1(breakdown_recv);
PG_FUNCTION_INFO_V1(breakdown_send);
PG_FUNCTION_INFO_V1(bytea_breakdown);

#define VERSION			1
#define VERSION_LIMITED	2
#define HEADER_LENGTH	2
#define VARINT_LENGTH	9		/* bytes of 2^63 - 1 */

static const char *const rounding_names[] = {"down", "half_up", "half_even", "up"};

const char *const breakdown_limit_names[] = {
	[BREAKDOWN_CAP] = "cap",
	[BREAKDOWN_USES] = "uses",
	[BREAKDOWN_BUDGET] = "budget",
	[BREAKDOWN_COOLDOWN] = "cooldown",
};

/* A rule's id, or a tier's behind BREAKDOWN_TIER_RULE. */
static bool
is_rule(int64 rule)
{
	return rule >= 0 && rule <= BREAKDOWN_TIER_RULE + PG_INT32_MAX &&
		(rule & (BREAKDOWN_TIER_RULE - 1)) <= PG_INT32_MAX;
}

/* ---- bytes ---- */

static uint8 *
put_varint(uint8 *at, uint64 value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8) (value | 0x80);
	*at++ = (uint8) value;
	return at;
}

/* The next varint before `end`; NULL when there is none, or one that is too long or not minimal. */
static const uint8 *
get_varint(const uint8 *at, const uint8 *end, int64 *value)
{
	uint64		result = 0;

	for (int i = 0; i < VARINT_LENGTH && at < end; i++)
	{
		uint8		byte = *at++;

		result |= (uint64) (byte & 0x7F) << (7 * i);
		if (byte < 0x80)
		{
			*value = (int64) result;
			return byte == 0 && i > 0 ? NULL : at;
		}
	}
	return NULL;
}

static bool
is_limited(const Breakdown *breakdown)
{
	for (int i = 0; i < breakdown->count; i++)
		if (breakdown->entries[i].lost > 0 || breakdown->entries[i].continued)
			return true;
	return false;
}

static uint8 *
encode_entry(uint8 *at, const BreakdownEntry *entry, bool limited)
{
	if (!is_rule(entry->rule) || entry->units < 0 || entry->lost < 0 || entry->units >= UNITS_LIMIT ||
		entry->lost >= UNITS_LIMIT - entry->units || (entry->lost > 0) != (entry->limit != BREAKDOWN_UNLIMITED))
		elog(ERROR, "rule " INT64_FORMAT " with " INT64_FORMAT " units cannot be kept in a breakdown",
			 entry->rule, entry->units);
	if (!limited)
	{
		at = put_varint(at, (uint64) entry->rule << 1 | (entry->own ? 1 : 0));
		return put_varint(at, entry->units);
	}
	at = put_varint(at, (uint64) entry->rule << 5 | (entry->continued ? 16 : 0) | entry->limit << 1 | (entry->own ? 1 : 0));
	at = put_varint(at, entry->units);
	return put_varint(at, entry->lost);
}

bytea *
breakdown_encode(const Breakdown *breakdown)
{
	bool		limited = is_limited(breakdown);
	bytea	   *bytes;
	uint8	   *at;

	if (breakdown->count > BREAKDOWN_MAX_ENTRIES)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("an award of %d rules is too long", breakdown->count),
				 errdetail("At most %d rules can pay on one purchase.", BREAKDOWN_MAX_ENTRIES)));
	bytes = palloc(VARHDRSZ + HEADER_LENGTH + (Size) breakdown->count * (limited ? 3 : 2) * VARINT_LENGTH);
	at = (uint8 *) VARDATA(bytes);
	*at++ = limited ? VERSION_LIMITED : VERSION;
	*at++ = (uint8) (breakdown->rounding | breakdown->decimals << 4);
	for (int i = 0; i < breakdown->count; i++)
		at = encode_entry(at, &breakdown->entries[i], limited);
	SET_VARSIZE(bytes, (char *) at - (char *) bytes);
	return bytes;
}

static void
damaged(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
			 errmsg("damaged breakdown"),
			 errdetail("%s", what),
			 errhint("SELECT * FROM loyalty.verify() lists what else is wrong.")));
}

/* An entry is so many figures, and figures end with a byte below 0x80: their number is known before they are read. */
static int
count_entries(const uint8 *at, const uint8 *end, int figures)
{
	int			varints = 0;

	for (; at < end; at++)
		varints += *at < 0x80;
	if (varints % figures != 0)
		damaged("The last entry is cut off.");
	if (varints / figures > BREAKDOWN_MAX_ENTRIES)
		damaged("There are too many entries.");
	return varints / figures;
}

static const uint8 *
decode_entry(const uint8 *at, const uint8 *end, bool limited, BreakdownEntry *entry)
{
	int64		mark;

	at = get_varint(at, end, &mark);
	if (at != NULL)
		at = get_varint(at, end, &entry->units);
	entry->lost = 0;
	if (at != NULL && limited)
		at = get_varint(at, end, &entry->lost);
	if (at == NULL)
		damaged("A figure is cut off, too long or padded.");
	entry->own = (mark & 1) != 0;
	entry->limit = limited ? (mark >> 1) & 7 : BREAKDOWN_UNLIMITED;
	entry->continued = limited && (mark & 16) != 0;
	entry->rule = mark >> (limited ? 5 : 1);
	if (entry->limit > BREAKDOWN_COOLDOWN)
		damaged("It has an unknown limit.");
	if (!is_rule(entry->rule))
		damaged("A rule has an impossible number.");
	if (entry->units >= UNITS_LIMIT || entry->lost >= UNITS_LIMIT - entry->units)
		damaged("A rule has more units than any may give.");
	if ((entry->lost > 0) != (entry->limit != BREAKDOWN_UNLIMITED))
		damaged("A limit took nothing, or none took something.");
	return at;
}

Breakdown *
breakdown_decode(const bytea *bytes)
{
	Breakdown  *breakdown = palloc(sizeof(Breakdown));
	const uint8 *at;
	const uint8 *end;
	bool		limited;

	if (VARATT_IS_EXTENDED(bytes) && !VARATT_IS_SHORT(bytes))
		bytes = (const bytea *) pg_detoast_datum((struct varlena *) bytes);
	at = (const uint8 *) VARDATA_ANY(bytes);
	end = at + VARSIZE_ANY_EXHDR(bytes);
	if (end - at < HEADER_LENGTH)
		damaged("It is shorter than its header.");
	limited = *at == VERSION_LIMITED;
	if (*at++ != VERSION && !limited)
		damaged("It has an unknown version.");
	breakdown->rounding = (Rounding) (*at & 0x0F);
	breakdown->decimals = *at++ >> 4;
	if ((int) breakdown->rounding > ROUNDING_UP || breakdown->decimals > POINTS_SCALE)
		damaged("It has an unknown rounding.");

	breakdown->count = count_entries(at, end, limited ? 3 : 2);
	breakdown->entries = palloc(sizeof(BreakdownEntry) * Max(breakdown->count, 1));
	for (int i = 0; i < breakdown->count; i++)
		at = decode_entry(at, end, limited, &breakdown->entries[i]);
	if (at != end)
		damaged("Something follows the last entry.");
	if (limited && !is_limited(breakdown))
		damaged("It has a version that it does not need.");
	return breakdown;
}

/* ---- text: {12: 100, 13: 50.5 elsewhere, 14: 7 of 10 by cap, 15: 3 more, tier 3: 4.25; down, 0} ---- */

typedef struct Reader
{
	const char *input;
	const char *at;
	Node	   *escontext;
} Reader;

static bool
fail(Reader *reader, const char *expected)
{
	ereturn(reader->escontext, false,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("invalid text for type loyalty.breakdown"),
			 errdetail("Expected %s at position %d.", expected,
					   pg_mbstrlen_with_len(reader->input, reader->at - reader->input) + 1),
			 errhint("Valid is {12: 100, 13: 50.5 elsewhere, tier 3: 4.25; down, 0}: rules with their "
					 "unrounded points, rounding, decimals.")));
}

static bool
accept(Reader *reader, const char *token)
{
	reader->at += strspn(reader->at, " \t\n\r");
	if (strncmp(reader->at, token, strlen(token)) != 0)
		return false;
	reader->at += strlen(token);
	return true;
}

static bool
expect(Reader *reader, const char *token)
{
	return accept(reader, token) || fail(reader, psprintf("\"%s\"", token));
}

/* A figure of at least 0 and below `limit` with at most `scale` decimals. */
static bool
read_figure(Reader *reader, int scale, int64 limit, const char *expected, int64 *value)
{
	int			length;

	accept(reader, "");
	length = strspn(reader->at, scale > 0 ? "0123456789." : "0123456789");
	if (fixed_from_text(reader->at, length, scale, value) != FIXED_OK || *value >= limit)
		return fail(reader, expected);
	reader->at += length;
	return true;
}

/* "of 10 by cap": what the rule gave before a limit, and which */
static bool
read_limit(Reader *reader, BreakdownEntry *entry)
{
	int64		wanted;

	entry->limit = BREAKDOWN_UNLIMITED;
	entry->lost = 0;
	if (!accept(reader, "of"))
		return true;
	if (!read_figure(reader, UNITS_SCALE, UNITS_LIMIT, "points below 10000000000 with at most 8 decimals", &wanted))
		return false;
	if (wanted <= entry->units)
		return fail(reader, "more points than the limit left");
	if (!expect(reader, "by"))
		return false;
	for (int i = BREAKDOWN_CAP; i < lengthof(breakdown_limit_names) && entry->limit == BREAKDOWN_UNLIMITED; i++)
		if (accept(reader, breakdown_limit_names[i]))
			entry->limit = i;
	entry->lost = wanted - entry->units;
	return entry->limit != BREAKDOWN_UNLIMITED || fail(reader, "cap, uses, budget or cooldown");
}

static bool
read_entry(Reader *reader, BreakdownEntry *entry)
{
	bool		tier = accept(reader, "tier");

	if (!read_figure(reader, 0, INT64CONST(1) << 31, "the id of a rule or tier", &entry->rule) ||
		!expect(reader, ":") ||
		!read_figure(reader, UNITS_SCALE, UNITS_LIMIT,
					 "points below 10000000000 with at most 8 decimals", &entry->units))
		return false;
	if (tier)
		entry->rule += BREAKDOWN_TIER_RULE;
	if (!read_limit(reader, entry))
		return false;
	entry->continued = accept(reader, "more");
	entry->own = !accept(reader, "elsewhere");
	return true;
}

static bool
read_entries(Reader *reader, Breakdown *breakdown)
{
	int			room = 8;

	breakdown->count = 0;
	breakdown->entries = palloc(sizeof(BreakdownEntry) * room);
	if (accept(reader, ";"))
		return true;
	do
	{
		if (breakdown->count == BREAKDOWN_MAX_ENTRIES)
			return fail(reader, psprintf("at most %d entries", BREAKDOWN_MAX_ENTRIES));
		if (breakdown->count == room)
		{
			room *= 2;
			breakdown->entries = repalloc(breakdown->entries, sizeof(BreakdownEntry) * room);
		}
		if (!read_entry(reader, &breakdown->entries[breakdown->count]))
			return false;
		breakdown->count++;
	} while (accept(reader, ","));
	return accept(reader, ";") || fail(reader, "\"elsewhere\", \",\" or \";\"");
}

static bool
read_rounding(Reader *reader, Breakdown *breakdown)
{
	int64		decimals;

	int			rounding = 0;

	while (rounding < lengthof(rounding_names) && !accept(reader, rounding_names[rounding]))
		rounding++;
	if (rounding == lengthof(rounding_names))
		return fail(reader, "down, half_up, half_even or up");
	breakdown->rounding = (Rounding) rounding;
	if (!expect(reader, ",") ||
		!read_figure(reader, 0, POINTS_SCALE + 1, "a number of decimals from 0 to 4", &decimals))
		return false;
	breakdown->decimals = (int) decimals;
	return true;
}

Datum
breakdown_in(PG_FUNCTION_ARGS)
{
	Reader		reader;
	Breakdown	breakdown;

	reader.input = reader.at = PG_GETARG_CSTRING(0);
	reader.escontext = fcinfo->context;
	if (!expect(&reader, "{") || !read_entries(&reader, &breakdown) ||
		!read_rounding(&reader, &breakdown) || !expect(&reader, "}"))
		PG_RETURN_NULL();
	accept(&reader, "");
	if (*reader.at != '\0')
	{
		fail(&reader, "the end of the text");
		PG_RETURN_NULL();
	}
	PG_RETURN_BYTEA_P(breakdown_encode(&breakdown));
}

Datum
breakdown_out(PG_FUNCTION_ARGS)
{
	Breakdown  *breakdown = breakdown_decode(PG_GETARG_BYTEA_PP(0));
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (int i = 0; i < breakdown->count; i++)
	{
		const BreakdownEntry *entry = &breakdown->entries[i];
		bool		tier = entry->rule >= BREAKDOWN_TIER_RULE;

		appendStringInfo(&out, "%s%s" INT64_FORMAT ": %s", i > 0 ? ", " : "", tier ? "tier " : "",
						 entry->rule - (tier ? BREAKDOWN_TIER_RULE : 0), fixed_to_text(entry->units, UNITS_SCALE));
		if (entry->lost > 0)
			appendStringInfo(&out, " of %s by %s", fixed_to_text(entry->units + entry->lost, UNITS_SCALE),
							 breakdown_limit_names[entry->limit]);
		appendStringInfo(&out, "%s%s", entry->continued ? " more" : "", entry->own ? "" : " elsewhere");
	}
	appendStringInfo(&out, "; %s, %d}", rounding_names[breakdown->rounding], breakdown->decimals);
	PG_RETURN_CSTRING(out.data);
}

Datum
breakdown_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buffer->len - buffer->cursor;
	bytea	   *bytes = palloc(VARHDRSZ + length);

	SET_VARSIZE(bytes, VARHDRSZ + length);
	pq_copymsgbytes(buffer, VARDATA(bytes), length);
	breakdown_decode(bytes);
	PG_RETURN_BYTEA_P(bytes);
}

Datum
breakdown_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}

/* bytea -> breakdown, checked; the other direction needs no function */
Datum
bytea_breakdown(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	breakdown_decode(bytes);
	PG_RETURN_BYTEA_P(bytes);
}
