/*
 * mapping.c
 *	  A source row read as a purchase.
 *
 * Rules:
 * - A key's text depends on its values alone, never on settings: it is the idempotency key for ever.
 * - Errors name source, program and key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "calendar.h"
#include "errcodes.h"
#include "fixed.h"
#include "mapping.h"
#include "member.h"
#include "money.h"
#include "refund.h"
#include "spend.h"

#define KNOWN_LIMIT	10000		/* external ids remembered */
#define KEY_LIMIT	500			/* bytes */
#define AMOUNT_LIMIT INT64CONST(1000000000000000)	/* 10^15 */

Mapping *
mapping_create(const Attached *attached)
{
	Mapping    *mapping = palloc(sizeof(Mapping));

	mapping->attached = attached;
	mapping->creates_members = false;
	mapping->members = NULL;
	mapping->members_context = CurrentMemoryContext;
	mapping->context = CreateStandaloneExprContext();
	mapping->row = MakeSingleTupleTableSlot(attached->desc, &TTSOpsHeapTuple);
	mapping->earn = MakeSingleTupleTableSlot(expression_earn_desc(), &TTSOpsVirtual);
	mapping->account = MakeSingleTupleTableSlot(expression_account_desc(), &TTSOpsVirtual);
	mapping->context->ecxt_scantuple = mapping->row;
	mapping->context->ecxt_innertuple = mapping->earn;
	mapping->context->ecxt_outertuple = mapping->account;
	return mapping;
}

void
mapping_free(Mapping *mapping)
{
	ExecDropSingleTupleTableSlot(mapping->row);
	ExecDropSingleTupleTableSlot(mapping->earn);
	ExecDropSingleTupleTableSlot(mapping->account);
	FreeExprContext(mapping->context, true);
	if (mapping->members)
		hash_destroy(mapping->members);
	pfree(mapping);
}

void
mapping_set_row(Mapping *mapping, HeapTuple tuple)
{
	ResetExprContext(mapping->context);
	ExecStoreHeapTuple(tuple, mapping->row, false);
}

/* An external id that this statement has met; only short ones are kept. */
typedef struct KnownMember
{
	char		external_id[64];
	int64		member;
} KnownMember;

static HTAB *
known_members(Mapping *mapping)
{
	HASHCTL		control = {.keysize = sizeof(((KnownMember *) NULL)->external_id), .entrysize = sizeof(KnownMember)};

	if (mapping->members && hash_get_num_entries(mapping->members) >= KNOWN_LIMIT)
	{
		hash_destroy(mapping->members);
		mapping->members = NULL;
	}
	if (mapping->members == NULL)
	{
		control.hcxt = mapping->members_context;
		mapping->members = hash_create("loyalty members", 256, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	return mapping->members;
}

/* A member who is named by an external id; unknown ones are created where the program enrols by itself. */
static bool
named_member(Mapping *mapping, const Source *source, text *external_id, int64 *member)
{
	char	   *name = text_to_cstring(external_id);
	bool		is_short = strlen(name) < sizeof(((KnownMember *) NULL)->external_id);
	KnownMember *known;
	bool		found = false;

	known = is_short ? hash_search(known_members(mapping), name, HASH_FIND, NULL) : NULL;
	if (known)
	{
		*member = known->member;
		return true;
	}
	if (*name == '\0')
		return false;
	found = member_find(external_id, member);
	if (!found && mapping->creates_members && source->program->automatic)
	{
		*member = member_create(external_id);
		found = true;
	}
	if (found && is_short)
		((KnownMember *) hash_search(mapping->members, name, HASH_ENTER, NULL))->member = *member;
	return found;
}

bool
mapping_member(Mapping *mapping, const Source *source, int64 *member)
{
	bool		isnull;
	Datum		value;

	if (source->member->plain_column > 0)
		value = slot_getattr(mapping->row, source->member->plain_column, &isnull);
	else
		value = expression_eval(source->member, mapping->context, &isnull);
	if (isnull)
		return false;
	mapping->stranger = false;
	if (source->member->type == TEXTOID)
	{
		text	   *external_id = DatumGetTextPP(value);

		if (named_member(mapping, source, external_id, member))
		{
			*member = config_member_now(*member);
			return true;
		}
		*member = 0;
		mapping->stranger = !mapping->creates_members && source->program->automatic && VARSIZE_ANY_EXHDR(external_id) > 0;
		return mapping->stranger;
	}
	*member = config_member_now(DatumGetInt64(value));
	return true;
}

bool
mapping_account(Mapping *mapping, const Source *source, int64 *member)
{
	char	   *of_key = mapping_refund_of(mapping, source);

	return (of_key && refund_owner(source, of_key, member)) || mapping_member(mapping, source, member);
}

bool
mapping_counts(Mapping *mapping, const Source *source)
{
	bool		isnull;

	return source->condition == NULL ||
		(DatumGetBool(expression_eval(source->condition, mapping->context, &isnull)) && !isnull);
}

/* ---- keys ---- */

bool
mapping_key_uses_settings(Oid type)
{
	return type != INT2OID && type != INT4OID && type != INT8OID && type != NUMERICOID && type != TEXTOID &&
		type != VARCHAROID && type != UUIDOID;
}

char *
mapping_canonical(Datum value, Oid type)
{
	Oid			output;
	bool		varlena;

	switch (type)
	{
		case INT2OID:
			value = Int64GetDatum(DatumGetInt16(value));
			break;
		case INT4OID:
			value = Int64GetDatum(DatumGetInt32(value));
			break;
		case INT8OID:
			break;
		case NUMERICOID:
			value = DirectFunctionCall1(numeric_trim_scale, value);
			return DatumGetCString(DirectFunctionCall1(numeric_out, value));
		case TIMESTAMPTZOID:
			value = DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum("UTC"), value);
			return psprintf("%s+00", DatumGetCString(DirectFunctionCall1(timestamp_out, value)));
		case TEXTOID:
		case VARCHAROID:
			return TextDatumGetCString(value);
		default:
			getTypeOutputInfo(type, &output, &varlena);
			return OidOutputFunctionCall(output, value);
	}
	{
		char		text[MAXINT8LEN + 1];

		pg_lltoa(DatumGetInt64(value), text);
		return pstrdup(text);
	}
}

/* The parts as one text; NULL when one is null, whose number goes to *null_part. */
static char *
key_of_parts(Mapping *mapping, const Source *source, Expression **parts, int nparts, int *null_part)
{
	StringInfoData composite;
	char	   *part = NULL;

	for (int i = 0; i < nparts; i++)
	{
		bool		isnull;
		Datum		value = expression_eval(parts[i], mapping->context, &isnull);

		*null_part = i + 1;
		if (isnull)
			return NULL;
		part = mapping_canonical(value, parts[i]->type);
		if (nparts == 1)
			break;
		if (i == 0)
			initStringInfo(&composite);
		else
			appendStringInfoChar(&composite, ',');
		for (char *c = part; *c; c++)
		{
			if (*c == ',' || *c == '\\')
				appendStringInfoChar(&composite, '\\');
			appendStringInfoChar(&composite, *c);
		}
	}
	if (nparts > 1)
		part = composite.data;
	if (strlen(part) > KEY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("key of source \"%s\" of program \"%s\" is too long", source->name, source->program->name),
				 errdetail("It has %zu bytes, and at most %d are allowed.", strlen(part), KEY_LIMIT),
				 errhint("Attach the table with a shorter unique key.")));
	return part;
}

char *
mapping_key(Mapping *mapping, const Source *source)
{
	int			null_part;
	char	   *key = key_of_parts(mapping, source, source->keys, source->nkeys, &null_part);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_SOURCE_ROW),
				 errmsg("a row of source \"%s\" of program \"%s\" has no key", source->name, source->program->name),
				 errdetail("Part %d of its key is null.", null_part)));
	return key;
}

char *
mapping_refund_of(Mapping *mapping, const Source *source)
{
	int			null_part;

	return source->nrefund_of == 0 ? NULL
		: key_of_parts(mapping, source, source->refund_of, source->nrefund_of, &null_part);
}

bool
mapping_is_return(const Source *source, const char *refund_of, Numeric amount)
{
	return refund_of || source->only_returns || money_sign(amount) < 0;
}

/* ---- amount and time ---- */

static void
refuse_row(const Source *source, const char *key, const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_SOURCE_ROW),
			 errmsg("purchase \"%s\" of source \"%s\" of program \"%s\" has %s", key, source->name,
					source->program->name, what),
			 errdetail_internal("%s", detail),
			 errhint("Correct the row, or leave it out by the source's condition.")));
}

bool
mapping_waits(Mapping *mapping, const Source *source, TimestampTz *released_at)
{
	bool		isnull;
	Datum		value;

	*released_at = DT_NOBEGIN;
	if (source->release == NULL)
		return false;
	value = expression_eval(source->release, mapping->context, &isnull);
	if (isnull)
		return true;
	if (source->release->type == BOOLOID)
		return !DatumGetBool(value);
	*released_at = DatumGetTimestampTz(value);
	return *released_at == DT_NOEND;
}

/* Until when points wait that wait. */
static TimestampTz
deadline(const Source *source, TimestampTz occurred_at)
{
	const Interval *within = source->release_within;

	if (within == NULL)
		return DT_NOEND;
	return calendar_add(occurred_at, within->month, within->day, source->program->zone) + within->time;
}

/* In canonical text, as keys are; NULL: none. */
static char *
read_visit(Mapping *mapping, const Source *source)
{
	Expression *parts[] = {source->visit};
	int			null_part;

	return key_of_parts(mapping, source, parts, 1, &null_part);
}

void
mapping_purchase(Mapping *mapping, const Source *source, Purchase *purchase)
{
	bool		isnull;
	Datum		value;
	int64		whole;
	FixedStatus status;

	value = expression_eval(source->amount, mapping->context, &isnull);
	if (isnull)
		refuse_row(source, purchase->key, "no amount", "The amount is null.");
	purchase->amount = DatumGetNumeric(value);
	status = fixed_from_numeric(purchase->amount, 0, &whole);
	if (status == FIXED_NOT_FINITE || status == FIXED_OVERFLOW || whole >= AMOUNT_LIMIT || whole <= -AMOUNT_LIMIT)
		refuse_row(source, purchase->key, "an impossible amount",
				   psprintf("The amount is %s; its absolute value must be less than 1,000,000,000,000,000.",
							DatumGetCString(DirectFunctionCall1(numeric_out, value))));
	value = expression_eval(source->occurred_at, mapping->context, &isnull);
	if (isnull)
		refuse_row(source, purchase->key, "no time", "The time is null.");
	purchase->occurred_at = DatumGetTimestampTz(value);
	if (TIMESTAMP_NOT_FINITE(purchase->occurred_at))
		refuse_row(source, purchase->key, "an impossible time", "The time is infinite.");
	purchase->spent = source->points_spent ? spend_read(source, mapping->context, purchase->key) : 0;
	if (source->visit && source->program->counts_visits)
		purchase->visit = read_visit(mapping, source);
	purchase->waits = mapping_waits(mapping, source, &purchase->released_at);
	if (purchase->waits)
		purchase->deadline = deadline(source, purchase->occurred_at);
}

/* ---- changes ---- */

bool
mapping_changed(const Source *source, TupleDesc desc, HeapTuple old, HeapTuple new)
{
	int			attribute = -1;

	if (source->mapped_whole_row)
		return true;
	while ((attribute = bms_next_member(source->mapped_columns, attribute)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(desc, attribute - 1);
		bool		old_null;
		bool		new_null;
		Datum		a = heap_getattr(old, attribute, desc, &old_null);
		Datum		b = heap_getattr(new, attribute, desc, &new_null);

		if (old_null != new_null || (!old_null && !datumIsEqual(a, b, att->attbyval, att->attlen)))
			return true;
	}
	return false;
}
