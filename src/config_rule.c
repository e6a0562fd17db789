/*
 * config_rule.c
 *	  Rules and their limits.
 *
 * Rules:
 * - Rules stand in the order of award: base, bonus; priority, id.  Only enabled ones are there.
 * - Limits are those of all rules that have any, enabled or not: what a rule has given counts as long as it has them.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "config_load.h"
#include "errcodes.h"
#include "fixed.h"

static Units
limit_units(RowReader *r, bool *given)
{
	Numeric		value = row_numeric(r);
	int64		units = 0;

	*given = value != NULL;
	if (value && fixed_from_numeric(value, UNITS_SCALE, &units) > FIXED_INEXACT)
		units = 0;				/* a row that no trigger has checked must not stop sales */
	return units;
}

static Period
limit_period(RowReader *r)
{
	Period	   *period = row_bytes(r, sizeof(Period));

	return period ? *period : (Period) {.kind = PERIOD_LIFETIME};
}

void
config_load_limits(Config *config)
{
	uint64		n = config_query("SELECT program, source, id, name, cap, cap_period, max_uses, uses_period, budget, cooldown FROM loyalty.rule"
								 " WHERE cap IS NOT NULL OR max_uses IS NOT NULL OR budget IS NOT NULL OR cooldown IS NOT NULL ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		char	   *source = row_text(&r);
		RuleLimit  *limit;

		if (p == NULL)
			continue;
		p->limits = config_grow(config, p->limits, p->nlimits, sizeof(RuleLimit));
		limit = &p->limits[p->nlimits++];
		limit->source_id = config_source_named(config, p, source);
		limit->rule_id = DatumGetInt32(row_datum(&r));
		limit->name = row_text(&r);
		limit->cap = limit_units(&r, &limit->has_cap);
		limit->cap_period = limit_period(&r);
		limit->max_uses = DatumGetInt32(row_datum(&r));
		limit->has_uses = !r.isnull;
		limit->uses_period = limit_period(&r);
		(void) limit_units(&r, &limit->has_budget);
		limit->cooldown = row_interval(&r, &limit->has_cooldown);
	}
}

const RuleLimit *
config_limit(const Program *program, int64 rule)
{
	int			low = 0;
	int			high = program->nlimits;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (program->limits[middle].rule_id < rule)
			low = middle + 1;
		else
			high = middle;
	}
	return low < program->nlimits && program->limits[low].rule_id == rule ? &program->limits[low] : NULL;
}

static int
compare_rules(const void *a, const void *b)
{
	const Rule *x = &((const RuleRow *) a)->rule;
	const Rule *y = &((const RuleRow *) b)->rule;

	if (x->bonus != y->bonus)
		return x->bonus - y->bonus;
	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

void
config_load_rules(Config *config)
{
	uint64		n = config_query("SELECT program, source, id, name, kind, points, condition, starts_at, ends_at, priority,"
								 " exclusive_group, expiry, pending, segment, offer, author, unit FROM loyalty.rule t WHERE enabled" PARTNER_TAKES_PART);

	config->nrules = n;
	config->rules = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(RuleRow));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		RuleRow    *row = &config->rules[i];

		row->program = row_text(&r);
		row->source = row_text(&r);
		row->rule.id = DatumGetInt32(row_datum(&r));
		row->rule.name = row_text(&r);
		row->rule.bonus = strcmp(row_text(&r), "bonus") == 0;
		row->points = row_text(&r);
		row->condition = row_text(&r);
		row->rule.starts_at = DatumGetTimestampTz(row_datum(&r));
		row->rule.ends_at = DatumGetTimestampTz(row_datum(&r));
		row->rule.priority = DatumGetInt32(row_datum(&r));
		row->group = row_text(&r);
		row->rule.expiry = row_bytes(&r, sizeof(Expiry));
		row->rule.pending = row_bytes(&r, sizeof(Interval));
		row->segment = row_text(&r);
		row->rule.offer = row_text(&r);
		row->author = DatumGetObjectId(row_datum(&r));
		row->unit = row_text(&r);
	}
	qsort(config->rules, n, sizeof(RuleRow), compare_rules);
}

/* The exclusive groups of a source's rules, numbered. */
static int
group_number(List **groups, const char *group)
{
	ListCell   *cell;

	if (group == NULL)
		return -1;
	foreach(cell, *groups)
		if (strcmp(lfirst(cell), group) == 0)
			return foreach_current_index(cell);
	*groups = lappend(*groups, (void *) group);
	return list_length(*groups) - 1;
}

/* Whom a rule is for, beside its condition. */
static void
compile_audience(Config *config, const Source *source, const RuleRow *row, Rule *rule, Relation relation)
{
	if (row->segment && (rule->segment = config_segment_named(config, source->program, row->segment)) == NULL)
		elog(ERROR, "rule \"%s\" of program \"%s\" names segment \"%s\", which is gone", rule->name, row->program, row->segment);
	if (rule->offer)
		rule->has_offer = expression_compile(psprintf("loyalty.has_offer(member.member_id, %s, earn.occurred_at, %s)",
													  quote_literal_cstr(rule->offer), quote_literal_cstr(row->program)),
											 EXPRESSION_RULE_CONDITION, relation, row->author,
											 psprintf("offer of rule \"%s\" of program \"%s\"", rule->name, row->program));
}

/* What a rule awards: a unit that is not there must not become points. */
static void
compile_unit(Source *source, const RuleRow *row, Rule *rule)
{
	rule->unit = row->unit ? config_unit(source->program, row->unit) : NULL;
	if (row->unit && rule->unit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("rule \"%s\" of program \"%s\" awards \"%s\", which is no status unit", rule->name, row->program, row->unit),
				 errhint("INSERT INTO loyalty.unit (program, name) makes one.")));
	source->awards_units |= rule->unit != NULL;
}

static Rule *
compile_rule(Config *config, Source *source, const RuleRow *row, List **groups, Relation relation)
{
	Rule	   *rule = &source->rules[source->nrules++];

	*rule = row->rule;
	compile_unit(source, row, rule);
	rule->group = group_number(groups, row->group && rule->unit ? psprintf("%d\n%s", rule->unit->id, row->group) : row->group);
	rule->limit = config_limit(source->program, rule->id);
	if (row->condition)
		rule->condition = expression_compile(row->condition, EXPRESSION_RULE_CONDITION, relation, row->author,
											 psprintf("condition of rule \"%s\" of program \"%s\"", rule->name, row->program));
	rule->points = expression_compile(row->points, rule->bonus ? EXPRESSION_BONUS_POINTS : EXPRESSION_BASE_POINTS,
									  relation, row->author,
									  psprintf("points of rule \"%s\" of program \"%s\"", rule->name, row->program));
	compile_audience(config, source, row, rule, relation);
	return rule;
}

/* What an expression of a rule may depend on; NULL: there is none. */
static void
add_uses(Source *source, const Expression *x)
{
	if (x == NULL)
		return;
	source->uses_base |= x->uses_base;
	source->uses_local_time |= x->uses_local_time;
	source->account_columns |= x->account_columns;
	source->uses_settings |= !x->built_in;
	source->uses_authors |= x->authored;
}

void
config_compile_rules(Config *config, Source *source, Relation relation)
{
	List	   *groups = NIL;

	source->rules = palloc0(Max(config->nrules, 1) * sizeof(Rule));
	source->nrules = 0;
	source->awards_units = false;
	source->account_columns = 0;
	for (int i = 0; i < config->nrules; i++)
	{
		RuleRow    *row = &config->rules[i];
		Rule	   *rule;

		if (strcmp(row->program, source->program->name) != 0 || strcmp(row->source, source->name) != 0)
			continue;
		rule = compile_rule(config, source, row, &groups, relation);
		add_uses(source, rule->condition);
		add_uses(source, rule->points);
		add_uses(source, rule->has_offer);
		add_uses(source, rule->segment ? rule->segment->condition : NULL);
	}
	source->ngroups = list_length(groups);
	source->limited = source->budgeted = false;
	for (int i = 0; i < source->program->nlimits; i++)
	{
		const RuleLimit *limit = &source->program->limits[i];

		source->limited |= limit->source_id == source->id;
		source->budgeted |= limit->source_id == source->id && limit->has_budget;
	}
}
