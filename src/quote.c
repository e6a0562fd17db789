/*
 * quote.c
 *	  What a row would earn: the way of a purchase without a write.  why_not.c asks the same of a row that is there.
 *
 * Rules:
 * - Rows are read and made with the caller's rights, expressions run as their authors, the account is read as
 *	 balance() reads it.  Nothing is locked (but AccessShare) or written.
 * - The order of the reasons is the order in which source.c, post.c and earn.c ask.
 * - A member without an account is looked at as enrolment would make it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "instant.h"
#include "limit.h"
#include "mapping.h"
#include "quote.h"
#include "review.h"
#include "settings.h"
#include "spend.h"
#include "store.h"
#include "tier.h"

PG_FUNCTION_INFO_V1(loyalty_quote);

static void put_quote(Quote *quote);

Quote
quote_begin(FunctionCallInfo fcinfo, Oid relid)
{
	Quote		quote = {.relid = relid, .set = (ReturnSetInfo *) fcinfo->resultinfo};

	LockRelationOid(relid, AccessShareLock);	/* and hear of changes to it */
	quote.attached = config_attached(relid);
	if (quote.attached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("table %s is not attached", get_rel_name(relid) ? get_rel_name(relid) : "with this number"),
				 errhint("Attach it by loyalty.attach(); of a partitioned table the root is attached.")));
	InitMaterializedSRF(fcinfo, 0);
	quote.now = instant_for_reading();
	quote.context = AllocSetContextCreate(CurrentMemoryContext, "loyalty quote", ALLOCSET_DEFAULT_SIZES);
	quote.store = store_open_reader(GetActiveSnapshot());
	quote.mapping = mapping_create(quote.attached);
	return quote;
}

void
quote_end(Quote *quote)
{
	mapping_free(quote->mapping);
	store_close(quote->store);
	MemoryContextDelete(quote->context);
}

char *
quote_table_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* A copy of a row of the table. */
static HeapTuple
copy_row(Quote *quote, Datum row)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_tableOid = quote->relid, .t_data = header};
	MemoryContext old = MemoryContextSwitchTo(quote->context);
	HeapTuple	copy;

	ItemPointerSetInvalid(&tuple.t_self);
	copy = heap_copytuple(&tuple);
	MemoryContextSwitchTo(old);
	return copy;
}

/* The first column of the first row of the caller's query, a row of the table; NULL when there is none. */
HeapTuple
quote_query_row(Quote *quote, const char *sql, int n, Oid *types, Datum *values)
{
	HeapTuple	row = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, n, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a row: %s", sql);
	if (SPI_processed > 0)
	{
		bool		isnull;

		row = copy_row(quote, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	return row;
}

/* ---- quote(relation, row) ---- */

/* A column that the table has not got is a slip of the pen: say so. */
static void
check_fields(Oid relid, Jsonb *row)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(row))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("a row is a JSON object"),
				 errhint("Name the columns: {\"customer_id\": 1, \"total\": 9.90}.")));
	it = JsonbIteratorInit(&row->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		if (get_attnum(relid, name) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("table %s has no column \"%s\"", get_rel_name(relid), name)));
	}
}

/* jsonb_populate_record(NULL::table, json), called without planning a query for it: that was a third of a quote. */
static HeapTuple
row_of_json(Quote *quote, Datum json)
{
	LOCAL_FCINFO(call, 2);
	Oid			type = get_rel_type_id(quote->relid);
	FmgrInfo	function;

	fmgr_info(F_JSONB_POPULATE_RECORD, &function);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, type,
											 list_make2(makeNullConst(type, -1, InvalidOid), makeNullConst(JSONBOID, -1, InvalidOid)),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL), &function);
	InitFunctionCallInfoData(*call, &function, 2, InvalidOid, NULL, NULL);
	call->args[0].value = (Datum) 0;
	call->args[0].isnull = true;
	call->args[1].value = json;
	call->args[1].isnull = false;
	return copy_row(quote, FunctionCallInvoke(call));
}

Datum
loyalty_quote(PG_FUNCTION_ARGS)
{
	Quote		quote = quote_begin(fcinfo, PG_GETARG_OID(0));
	MemoryContext old = MemoryContextSwitchTo(quote.context);

	quote.foresees = true;
	check_fields(quote.relid, PG_GETARG_JSONB_P(1));
	quote.row = row_of_json(&quote, PG_GETARG_DATUM(1));
	for (int i = 0; i < quote.attached->nsources; i++)
	{
		CHECK_FOR_INTERRUPTS();
		quote.source = quote.attached->sources[i];
		quote_row(&quote);
		put_quote(&quote);
	}
	MemoryContextSwitchTo(old);
	quote_end(&quote);
	return (Datum) 0;
}

/* ---- evaluating ---- */

/* Whose row is it?  Reads the account, if there is one. */
static const char *
member_reason(Quote *quote)
{
	const Source *source = quote->source;
	const Program *program = source->program;
	int64		member;

	if (!program->enabled)
		return psprintf("program \"%s\" is disabled", program->name);
	if (!source->enabled)
		return psprintf("source \"%s\" is disabled", source->name);
	mapping_set_row(quote->mapping, quote->row);
	if (!mapping_member(quote->mapping, source, &member))
		return "the row names no member";
	if (config_member_excluded(member))
		return psprintf("member " INT64_FORMAT " is excluded or erased", member);
	quote->account = quote->mapping->stranger ? NULL : store_read_account(quote->store, program, member, quote->context);
	if (quote->account == NULL && !program->automatic)
		return psprintf("member " INT64_FORMAT " is not enrolled", member);
	if (quote->account && strcmp(quote->account->status, "active") != 0)
		return psprintf("the account of member " INT64_FORMAT " is %s", member, quote->account->status);
	quote->member = member;
	return NULL;
}

/* ReviewWork: the row as a purchase. */
static void
read_purchase(void *arg, void *unused)
{
	Quote	   *quote = arg;

	quote->purchase = (Purchase) {.key = "new"};
	if (!mapping_counts(quote->mapping, quote->source))
		quote->reason = "the condition of the source is not true";
	else
	{
		mapping_purchase(quote->mapping, quote->source, &quote->purchase);
		if (mapping_is_return(quote->source, mapping_refund_of(quote->mapping, quote->source), quote->purchase.amount))
			quote->reason = "the row is a return: it earns nothing";
		else if (quote->foresees)
			spend_check_rules(quote->source, &quote->purchase);
	}
}

/* ReviewWork: what the rules say. */
static void
ask_rules(void *arg, void *unused)
{
	Quote	   *quote = arg;

	quote->verdicts = MemoryContextAllocZero(quote->context, (quote->source->nrules + 1) * sizeof(EarnVerdict));
	earn_evaluate(quote->source, quote->account, quote->mapping->context, &quote->purchase, quote->account->settled_at, NULL,
				  &quote->award, quote->verdicts);
}

/* Evaluate as a sale would: an error stops it unless the source skips errors.  No storage inside, see review.h. */
static void
evaluate(Quote *quote, ReviewWork work)
{
	ErrorData  *error = NULL;

	if (quote->reason)
		return;
	if (quote->source->skip_errors)
		error = review_guard(work, quote, NULL);
	else
		work(quote, NULL);
	if (error)
		quote->reason = psprintf("error %s: %s", unpack_sql_state(error->sqlerrcode), error->message);
}

/* Settle the account to the row's instant; a new member's begins there. */
static void
settle_account(Quote *quote)
{
	TimestampTz at = Min(quote->purchase.occurred_at, quote->now);

	if (quote->account == NULL)
	{
		quote->account = palloc0(sizeof(Account));
		quote->account->member_id = quote->member;
		quote->account->program = quote->source->program;
		quote->account->context = quote->context;
		ledger_enroll(quote->account, at);
	}
	if (quote->source->account_columns & ACCOUNT_OF_MEMBER)
		store_read_members(quote->store, &quote->account, 1);
	ledger_settle(quote->account, at);
	if (quote->source->account_columns & ACCOUNT_OF_COUNTERS)
		tier_read_units(quote->account);
	quote->tier = config_tier(quote->source->program, quote->account->tier_id);
	if (quote->foresees && quote->purchase.spent > 0)
		quote->reason = spend_quote(quote->account, &quote->purchase);
}

/* As the sale would be trimmed; nothing is taken. */
static void
foresee_limits(Quote *quote)
{
	quote->account->purse = limit_open(quote->source, PURSE_READS, true);
	if (limit_trim(quote->account, quote->source, quote->purchase.occurred_at, &quote->award))
		earn_rebuild(quote->source, &quote->purchase, quote->account->settled_at, &quote->award);
}

void
quote_row(Quote *quote)
{
	int			nest = settings_enter(quote->source->program, quote->source->uses_authors);

	quote->account = NULL;
	quote->award = (Award) {0};
	quote->tier = NULL;
	quote->verdicts = NULL;
	quote->reason = member_reason(quote);
	evaluate(quote, read_purchase);
	if (quote->reason == NULL)
		settle_account(quote);
	evaluate(quote, ask_rules);
	if (quote->reason == NULL && quote->source->limited)
		foresee_limits(quote);
	settings_leave(nest);
}

/* The share of an entry: all lots of points hold the same list, each status unit its own. */
static Points
share_of(const Award *award, int64 rule)
{
	for (int n = 0; n < award->nlots; n++)
	{
		Breakdown  *breakdown;

		if (award->lots[n].breakdown == NULL || (n > 0 && award->lots[n].unit == 0))
			continue;
		breakdown = breakdown_decode(award->lots[n].breakdown);
		for (int i = 0; i < breakdown->count; i++)
			if (breakdown->entries[i].rule == rule)
				return breakdown_share(breakdown, i, NULL, NULL);
	}
	return 0;
}

/* What a limit did to a rule's share of a breakdown; NULL: nothing. */
static const char *
limit_text(const Breakdown *breakdown, const Rule *rule)
{
	for (int i = 0; i < breakdown->count; i++)
		if (breakdown->entries[i].rule == rule->id)
			return limit_words(&breakdown->entries[i], rule->unit);
	return NULL;
}

const char *
quote_verdict_text(EarnVerdict verdict, const Rule *rule)
{
	switch (verdict)
	{
		case EARN_PAID:
			return NULL;
		case EARN_OUTSIDE_WINDOW:
			return "the purchase lies outside of starts_at and ends_at";
		case EARN_CONDITION_FALSE:
			return "the condition is not true";
		case EARN_OUTSIDE_SEGMENT:
			return psprintf("the member is not in segment \"%s\"", rule->segment->name);
		case EARN_NO_OFFER:
			return psprintf("the member has not got offer \"%s\", or has not activated it", rule->offer);
		case EARN_NOTHING:
			return "the points are 0";
		case EARN_EXCLUDED_BY_GROUP:
			return "another rule of the exclusive group gives more";
	}
	return NULL;
}

Datum
quote_text(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

static void
put_quote_row(Quote *quote, const char *rule, const Unit *unit, Points points, const char *why_not, const char *tier)
{
	Datum		values[6];
	bool		nulls[6] = {0};

	values[0] = quote_text(rule, &nulls[0]);
	values[1] = NumericGetDatum(points_to_numeric(points));
	values[2] = quote_text(why_not, &nulls[2]);
	values[3] = quote_text(tier, &nulls[3]);
	values[4] = CStringGetTextDatum(quote->source->program->name);
	values[5] = quote_text(unit ? unit->name : NULL, &nulls[5]);
	tuplestore_putvalues(quote->set->setResult, quote->set->setDesc, values, nulls);
}

/* One row a rule, one for the bonus of the tier; one alone when the row earns nothing whatever the rules are. */
static void
put_quote(Quote *quote)
{
	const Source *source = quote->source;
	const Tier *reached = quote->tier;
	const char *tier;
	Points		bonus = quote->tier ? share_of(&quote->award, BREAKDOWN_TIER_RULE + quote->tier->id) : 0;

	if (quote->reason == NULL)
	{
		quote->award.names_visit = source->visit && source->program->counts_visits;
		quote->award.visit = quote->purchase.visit;
		ledger_award(quote->account, source->id, quote->purchase.key, 0, &quote->award, quote->purchase.amount,
					 quote->purchase.occurred_at, quote->account->settled_at);
		reached = config_tier(source->program, quote->account->tier_id);
	}
	tier = reached ? reached->name : NULL;
	if (quote->reason)
		put_quote_row(quote, NULL, NULL, 0, quote->reason, tier);
	else if (source->nrules == 0)
		put_quote_row(quote, NULL, NULL, 0, psprintf("source \"%s\" has no enabled rule", source->name), tier);
	for (int i = 0; i < source->nrules && quote->reason == NULL; i++)
		put_quote_row(quote, source->rules[i].name, source->rules[i].unit, share_of(&quote->award, source->rules[i].id),
					  quote->verdicts[i] == EARN_PAID ? limit_text(&quote->award.breakdown, &source->rules[i])
					  : quote_verdict_text(quote->verdicts[i], &source->rules[i]), tier);
	if (bonus > 0)
		put_quote_row(quote, psprintf("tier %s", quote->tier->name), NULL, bonus, NULL, tier);
}
