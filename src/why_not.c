/*
 * why_not.c
 *	  Why a row of an attached table did not earn, or not more.
 *
 * Rule: what was awarded is read from the ledger, what would be from the row (quote_row); the first says why a rule paid or
 * was limited, the second why it did not.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "errcodes.h"
#include "limit.h"
#include "money.h"
#include "owner.h"
#include "quote.h"
#include "settings.h"
#include "spend.h"

PG_FUNCTION_INFO_V1(loyalty_why_not);

/* Parts of a composite key: separated by commas, \ before a comma or \ that is meant. */
static char **
split_key(const char *key, int n)
{
	char	  **parts = palloc0(n * sizeof(char *));
	StringInfoData part;
	int			i = 0;

	if (n == 1)
	{
		parts[0] = pstrdup(key);
		return parts;
	}
	initStringInfo(&part);
	for (const char *c = key;; c++)
	{
		if (*c == '\0' || *c == ',')
		{
			if (i < n)
				parts[i] = pstrdup(part.data);
			i++;
			resetStringInfo(&part);
			if (*c == '\0')
				break;
			continue;
		}
		if (*c == '\\' && c[1] != '\0')
			c++;
		appendStringInfoChar(&part, *c);
	}
	if (i != n)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("key \"%s\" has %d parts", key, i),
				 errdetail("The keys of this source have %d.", n),
				 errhint("Separate them by commas; write \\, for a comma and \\\\ for a backslash inside of a part.")));
	return parts;
}

/* Find a row by the columns of its key, as the caller; *key becomes the key as the ledger has it. */
static HeapTuple
find_row(Quote *quote, char **key)
{
	const Source *source = quote->source;
	char	  **parts = split_key(*key, source->nkeys);
	Oid		   *types = palloc(source->nkeys * sizeof(Oid));
	Datum	   *values = palloc(source->nkeys * sizeof(Datum));
	int			n = 0;
	StringInfoData sql;
	HeapTuple	row;
	int			nest;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT loyalty_row FROM %s loyalty_row WHERE true", quote_table_name(quote->relid));
	for (int i = 0; i < source->nkeys; i++)
	{
		const Expression *part = source->keys[i];
		Oid			input;
		Oid			param;

		if (part->plain_column <= 0)
			continue;
		getTypeInputInfo(part->type, &input, &param);
		types[n] = part->type;
		values[n++] = OidInputFunctionCall(input, parts[i], param, -1);
		appendStringInfo(&sql, " AND loyalty_row.%s OPERATOR(pg_catalog.=) $%d",
						 quote_identifier(get_attname(quote->relid, part->plain_column, false)), n);
	}
	row = quote_query_row(quote, sql.data, n, types, values);
	if (row == NULL)
		return NULL;
	nest = settings_enter(source->program, source->uses_authors);
	mapping_set_row(quote->mapping, row);
	*key = mapping_key(quote->mapping, source);
	settings_leave(nest);
	return row;
}

static void put_reasons(Quote *quote, char *key);

Datum
loyalty_why_not(PG_FUNCTION_ARGS)
{
	Quote		quote = quote_begin(fcinfo, PG_GETARG_OID(0));
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MemoryContext old = MemoryContextSwitchTo(quote.context);

	for (int i = 0; i < quote.attached->nsources; i++)
	{
		char	   *found = key;

		CHECK_FOR_INTERRUPTS();
		quote.source = quote.attached->sources[i];
		quote.row = quote.source->enabled ? find_row(&quote, &found) : NULL;
		if (quote.row || !quote.source->enabled)
			quote_row(&quote);
		else
			quote.reason = psprintf("there is no such row in %s", quote_table_name(quote.relid));
		put_reasons(&quote, found);
	}
	MemoryContextSwitchTo(old);
	quote_end(&quote);
	return (Datum) 0;
}

static void
put_reason(Quote *quote, const char *rule, const char *why_not)
{
	Datum		values[3];
	bool		nulls[3] = {0};

	values[0] = quote_text(rule, &nulls[0]);
	values[1] = quote_text(why_not, &nulls[1]);
	values[2] = CStringGetTextDatum(quote->source->program->name);
	tuplestore_putvalues(quote->set->setResult, quote->set->setDesc, values, nulls);
}

/* Did the rule pay when the purchase was awarded?  *limit: what a limit left of it, if it did; of a growth the last. */
static bool
rule_paid(const KeyLots *lots, const Rule *rule, const char **limit)
{
	bool		paid = false;

	for (int i = 0; i < lots->nlots; i++)
	{
		Breakdown  *breakdown = lots->lots[i]->breakdown ? breakdown_decode(lots->lots[i]->breakdown) : NULL;

		for (int e = 0; breakdown && e < breakdown->count; e++)
			if (breakdown->entries[e].rule == rule->id)
			{
				paid = true;
				*limit = limit_words(&breakdown->entries[e], rule->unit);
			}
	}
	return paid;
}

static bool
all_taken(const KeyLots *lots)
{
	for (int i = 0; i < lots->nlots; i++)
	{
		const Lot  *lot = lots->lots[i];

		if (lot->kept_amount && (money_sign(lot->kept_amount) != 0 || money_sign(lot->amount) == 0))
			return false;
	}
	return lots->nlots > 0;
}

/* Names of the source's rules that are disabled: they are not in the cache. */
static void
put_disabled_rules(Quote *quote)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(quote->source->program->name), CStringGetTextDatum(quote->source->name)};
	OwnerSwitch owner;

	owner_become(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT name FROM loyalty.rule WHERE NOT enabled AND program OPERATOR(pg_catalog.=) $1"
							  " AND source OPERATOR(pg_catalog.=) $2 ORDER BY id", 2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read rules");
	for (uint64 i = 0; i < SPI_processed; i++)
		put_reason(quote, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), "the rule is disabled");
	SPI_finish();
	owner_restore(&owner);
}

/* Why the row as such earned nothing, when it did; then each rule of the source. */
static void
put_reasons(Quote *quote, char *key)
{
	const Source *source = quote->source;
	KeyLots		lots;

	store_probe_keys(quote->store, source->id, 1, &key, quote->context, &lots);
	if (quote->reason)
		put_reason(quote, NULL, quote->reason);
	else if (lots.nlots == 0 && quote->purchase.spent > 0 && spend_obstacle(quote->account, quote->purchase.spent))
		put_reason(quote, NULL, psprintf("the purchase was not posted: points are missing to pay it. %s",
										 spend_obstacle(quote->account, quote->purchase.spent)));
	else if (lots.nlots == 0)
		put_reason(quote, NULL, "the purchase was not posted: it is older than the attachment, or no trigger saw it; loyalty.reconcile() posts it");
	else if (all_taken(&lots))
		put_reason(quote, NULL, "all that it had earned was taken back");
	if (!source->enabled)
		return;
	for (int i = 0; i < source->nrules; i++)
	{
		const char *why_not = NULL;

		if (rule_paid(&lots, &source->rules[i], &why_not))
			;
		else if (quote->reason || quote->verdicts == NULL)
			continue;			/* the row's reason says it */
		else if (quote->verdicts[i] != EARN_PAID)
			why_not = quote_verdict_text(quote->verdicts[i], &source->rules[i]);
		else if (lots.nlots > 0)
			why_not = "it gave nothing when the purchase was awarded; it would now";
		else
			why_not = "the purchase was not posted";
		put_reason(quote, source->rules[i].name, why_not);
	}
	put_disabled_rules(quote);
}
