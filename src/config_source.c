/*
 * config_source.c
 *	  Sources, and the attached tables with all that is compiled for them.
 *
 * Rules:
 * - Expressions are compiled when a statement first needs their table, under the settings of the program: literals are read then.
 * - What an expression may depend on (settings, authors, account, units…) is summed up in the source, so that a purchase asks for
 *	 no more than its rules read.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/rel.h"

#include "config_load.h"
#include "mapping.h"
#include "settings.h"

static void compile_source(Config *config, SourceRow *row, Relation relation);

/* Whose purchases the returns among a source's rows are. */
static void
link_returns(Config *config)
{
	for (int i = 0; i < config->nsources; i++)
	{
		SourceRow  *row = &config->sources[i];
		SourceRow  *returned = row;

		for (int j = 0; j < config->nsources && row->refund_source; j++)
			if (config->sources[j].source.program == row->source.program &&
				strcmp(config->sources[j].source.name, row->refund_source) == 0)
				returned = &config->sources[j];
		row->source.refund_source_id = returned->source.id;
		row->source.only_returns = row->refund_source != NULL;
		returned->source.is_returned |= row->source.nrefund_of > 0;
	}
}

void
config_load_sources(Config *config)
{
	uint64		n = config_query("SELECT program, id, name, relation, attached, member, amount, occurred_at, key, condition, refund_of,"
								 " refund_source, release, release_within, on_delete, on_error, enabled" PARTNER_TAKES_PART
								 ", author, points_spent, spend_step, spend_minimum, spend_maximum_share, visit FROM loyalty.source t");

	config->nsources = 0;
	config->sources = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(SourceRow));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		SourceRow  *row = &config->sources[config->nsources++];
		Source	   *s = &row->source;

		s->program = config_program_named(config, row_text(&r));
		s->id = DatumGetInt32(row_datum(&r));
		s->name = row_text(&r);
		s->relid = DatumGetObjectId(row_datum(&r));
		row->attached = DatumGetBool(row_datum(&r));
		row->member = row_text(&r);
		row->amount = row_text(&r);
		row->occurred_at = row_text(&r);
		row->keys = row_texts(&r, &s->nkeys);
		row->condition = row_text(&r);
		row->refund_of = row_texts(&r, &s->nrefund_of);
		row->refund_source = row_text(&r);
		row->release = row_text(&r);
		s->release_within = row_bytes(&r, sizeof(Interval));
		s->keep_deleted = strcmp(row_text(&r), "keep") == 0;
		s->skip_errors = strcmp(row_text(&r), "skip") == 0;
		s->enabled = DatumGetBool(row_datum(&r)) && s->program && s->program->enabled;
		row->author = DatumGetObjectId(row_datum(&r));
		row->points_spent = row_text(&r);
		s->spend_step = row_points(&r);
		s->spend_minimum = row_points(&r);
		s->spend_maximum_share = row_numeric(&r);
		row->visit = row_text(&r);
		if (s->program && row->visit)
			s->program->names_visits = true;
		if (s->program == NULL)
			config->nsources--;
	}
	link_returns(config);
}

int32
config_source_named(Config *config, const Program *program, const char *name)
{
	for (int i = 0; i < config->nsources; i++)
		if (config->sources[i].source.program == program && strcmp(config->sources[i].source.name, name) == 0)
			return config->sources[i].source.id;
	return 0;
}

/* ---- attached tables ---- */

static int
compare_sources(const void *a, const void *b)
{
	int32		x = (*(Source *const *) a)->program->id;
	int32		y = (*(Source *const *) b)->program->id;

	return (x > y) - (x < y);
}

const Attached *
config_attached(Oid relid)
{
	Config	   *config = config_get();
	ListCell   *cell;
	Attached   *attached;
	Relation	relation;
	MemoryContext old;
	int			n = 0;

	foreach(cell, config->attached)
		if (((Attached *) lfirst(cell))->relid == relid)
			return lfirst(cell);
	for (int i = 0; i < config->nsources; i++)
		n += config->sources[i].attached && config->sources[i].source.relid == relid;
	if (n == 0)
		return NULL;
	relation = table_open(relid, AccessShareLock);
	old = MemoryContextSwitchTo(config->context);
	attached = palloc0(sizeof(Attached));
	attached->relid = relid;
	attached->desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	attached->sources = palloc(n * sizeof(Source *));
	for (int i = 0; i < config->nsources; i++)
	{
		SourceRow  *row = &config->sources[i];

		if (!row->attached || row->source.relid != relid)
			continue;
		if (row->source.enabled)
			compile_source(config, row, relation);
		attached->sources[attached->nsources++] = &row->source;
	}
	qsort(attached->sources, attached->nsources, sizeof(Source *), compare_sources);
	config->attached = lappend(config->attached, attached);
	MemoryContextSwitchTo(old);
	table_close(relation, NoLock);
	return attached;
}

static Expression *
compile_mapping(SourceRow *row, const char *text, ExpressionRole role, Relation relation, const char *what)
{
	Source	   *s = &row->source;
	Expression *e;

	if (text == NULL)
		return NULL;
	e = expression_compile(text, role, relation, row->author,
						   psprintf("%s of source \"%s\" of program \"%s\"", what, s->name, s->program->name));
	s->uses_settings |= !e->built_in || (role == EXPRESSION_KEY && mapping_key_uses_settings(e->type));
	s->uses_authors |= e->authored;
	if (role != EXPRESSION_OCCURRED_AT) /* the rest as loyalty.update_condition() has it */
	{
		s->mapped_columns = bms_add_members(s->mapped_columns, e->columns);
		s->mapped_whole_row |= bms_is_member(0, e->columns);
	}
	return e;
}

static void
compile_source(Config *config, SourceRow *row, Relation relation)
{
	Source	   *s = &row->source;
	int			nest = settings_enter(s->program, false);	/* literals are read now */

	s->mapped_columns = NULL;
	s->mapped_whole_row = s->uses_settings = s->uses_authors = false;
	s->member = compile_mapping(row, row->member, EXPRESSION_MEMBER, relation, "member");
	s->amount = compile_mapping(row, row->amount, EXPRESSION_AMOUNT, relation, "amount");
	s->occurred_at = compile_mapping(row, row->occurred_at, EXPRESSION_OCCURRED_AT, relation, "occurred_at");
	s->condition = compile_mapping(row, row->condition, EXPRESSION_SOURCE_CONDITION, relation, "condition");
	s->points_spent = compile_mapping(row, row->points_spent, EXPRESSION_AMOUNT, relation, "points_spent");
	s->visit = compile_mapping(row, row->visit, EXPRESSION_KEY, relation, "visit");
	s->release = compile_mapping(row, row->release, EXPRESSION_RELEASE, relation, "release");
	s->keys = palloc(s->nkeys * sizeof(Expression *));
	for (int i = 0; i < s->nkeys; i++)
		s->keys[i] = compile_mapping(row, row->keys[i], EXPRESSION_KEY, relation, "key");
	s->refund_of = palloc(Max(s->nrefund_of, 1) * sizeof(Expression *));
	for (int i = 0; i < s->nrefund_of; i++)
		s->refund_of[i] = compile_mapping(row, row->refund_of[i], EXPRESSION_KEY, relation, "refund_of");
	config_compile_rules(config, s, relation);
	settings_leave(nest);
}
