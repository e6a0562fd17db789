/*
 * config.c
 *	  Per-backend cache of programs, tiers, sources and rules.
 *
 * Rules:
 * - A generation is built whole, from one snapshot newer than any invalidation seen, and never changed after;
 *	 only expressions are compiled later, when a statement first needs their table.
 * - Invalidation only marks: by relcache messages for the configuration tables (sent by their triggers) and for the
 *	 attached tables (sent by DDL), by any change to functions or roles, because expressions are planned.
 * - A generation that was in use is freed at the end of the transaction, never earlier.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "compat.h"
#include "config.h"
#include "errcodes.h"
#include "event.h"
#include "fixed.h"
#include "mapping.h"
#include "owner.h"
#include "settings.h"
#include "tier.h"

/* A rule or source as its row says it, before its expressions are compiled. */
typedef struct RuleRow
{
	Rule		rule;
	char	   *program;
	char	   *source;
	char	   *points;
	char	   *condition;
	char	   *group;
	char	   *unit;
	char	   *segment;
	Oid			author;
} RuleRow;

typedef struct SegmentRow
{
	Segment		segment;
	char	   *condition;
	Oid			author;
} SegmentRow;

typedef struct SourceRow
{
	Source		source;
	char	   *member;
	char	   *amount;
	char	   *occurred_at;
	char	   *condition;
	char	   *points_spent;
	char	   *release;
	char	   *visit;
	char	  **keys;
	char	  **refund_of;
	char	   *refund_source;
	Oid			author;
	bool		attached;
} SourceRow;

/* A member who was merged into another one. */
typedef struct MergedMember
{
	int64		member_id;
	int64		into;
} MergedMember;

typedef struct Config
{
	MemoryContext context;
	int			nprograms;
	Program    *programs;
	int			nsources;
	SourceRow  *sources;
	int			nrules;
	RuleRow    *rules;
	int			nsegments;
	SegmentRow *segments;
	int			nrewards;
	Reward	   *rewards;		/* by program, name */
	int			nexcluded;
	int64	   *excluded;		/* ascending */
	bool	   *erased;			/* is each of them erased? */
	int			nmerged;
	MergedMember *merged;		/* ascending */
	List	   *attached;		/* of Attached */
	int			nwatched;
	Oid		   *watched;		/* relations whose invalidation makes this stale */
} Config;

static Config *current;			/* may be stale */
static bool stale;
static List *retired;			/* contexts, in TopMemoryContext */

static Config *config_build(void);
static void load_programs(Config *config);
static void load_units(Config *config);
static void load_tiers(Config *config);
static void load_requirements(Config *config);
static void load_ladders(Config *config);
static void load_sources(Config *config);
static void load_limits(Config *config);
static void load_challenges(Config *config);
static void load_rules(Config *config);
static void load_segments(Config *config);
static void load_rewards(Config *config);
static void load_excluded(Config *config);
static void load_merged(Config *config);
static void watch(Config *config);
static void compile_source(Config *config, SourceRow *row, Relation relation);

static const char *const config_tables[] = {"program", "tier", "tier_requirement", "ladder", "ladder_rung", "partner", "source", "rule", "segment", "reward",
"reward_price", "reward_step", "giving", "event_kind", "member", "unit", "referral_program", "challenge"};

/* ---- invalidation ---- */

static void
on_relcache(Datum arg, Oid relid)
{
	if (current == NULL || stale)
		return;
	if (!OidIsValid(relid))
		stale = true;
	for (int i = 0; i < current->nwatched && !stale; i++)
		stale = current->watched[i] == relid;
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

static void
on_transaction(XactEvent event, void *arg)
{
	ListCell   *cell;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	foreach(cell, retired)
		MemoryContextDelete(lfirst(cell));
	list_free(retired);
	retired = NIL;
}

void
config_init(void)
{
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, on_syscache, (Datum) 0);
	RegisterXactCallback(on_transaction, NULL);
}

static Config *
config_get(void)
{
	if (current && stale)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		retired = lappend(retired, current->context);
		current = NULL;
		MemoryContextSwitchTo(old);
	}
	if (current == NULL)
	{
		stale = false;			/* what arrives while we build makes it stale again */
		current = config_build();
	}
	return current;
}

/* ---- loading ---- */

static Config *
config_build(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty configuration", ALLOCSET_SMALL_SIZES);
	Config	   *config = MemoryContextAllocZero(context, sizeof(Config));
	OwnerSwitch owner;

	config->context = context;
	owner_become(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* a parallel query's leader may not take GetLatestSnapshot(); a catalog snapshot is as new */
	PushActiveSnapshot(IsInParallelMode() ? GetCatalogSnapshot(InvalidOid) : GetLatestSnapshot());
	load_programs(config);
	load_units(config);
	load_tiers(config);
	load_requirements(config);
	for (int i = 0; i < config->nprograms; i++)
		config->programs[i].lowest = tier_of_nothing(&config->programs[i]);
	load_ladders(config);
	load_sources(config);
	load_limits(config);
	load_challenges(config);
	load_rules(config);
	load_segments(config);
	load_rewards(config);
	load_excluded(config);
	load_merged(config);
	PopActiveSnapshot();
	SPI_finish();
	owner_restore(&owner);
	watch(config);
	MemoryContextSetParent(context, CacheMemoryContext);
	return config;
}

/* A row of the last query, read column by column in the order of its SELECT. */
typedef struct RowReader
{
	HeapTuple	tuple;
	TupleDesc	desc;
	int			column;
	MemoryContext context;
	bool		isnull;
} RowReader;

static uint64
query(const char *sql)
{
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read configuration: %s", sql);
	return SPI_processed;
}

static RowReader
row_reader(Config *config, uint64 row)
{
	return (RowReader) {.tuple = SPI_tuptable->vals[row], .desc = SPI_tuptable->tupdesc, .context = config->context};
}

static Datum
next_datum(RowReader *reader)
{
	return SPI_getbinval(reader->tuple, reader->desc, ++reader->column, &reader->isnull);
}

static char *
next_text(RowReader *reader)
{
	Datum		value = next_datum(reader);

	return reader->isnull ? NULL : MemoryContextStrdup(reader->context, TextDatumGetCString(value));
}

static Numeric
next_numeric(RowReader *reader)
{
	Datum		value = next_datum(reader);
	MemoryContext old;
	Numeric		copy;

	if (reader->isnull)
		return NULL;
	old = MemoryContextSwitchTo(reader->context);
	copy = DatumGetNumericCopy(value);
	MemoryContextSwitchTo(old);
	return copy;
}

/* NULL, and what no trigger has checked, is 0. */
static Points
next_points(RowReader *reader)
{
	Datum		value = next_datum(reader);
	Points		points = 0;

	return !reader->isnull && fixed_from_numeric(DatumGetNumeric(value), POINTS_SCALE, &points) == FIXED_OK ? points : 0;
}

static void *
next_bytes(RowReader *reader, size_t size)
{
	Datum		value = next_datum(reader);
	void	   *copy;

	if (reader->isnull)
		return NULL;
	copy = MemoryContextAlloc(reader->context, size);
	memcpy(copy, DatumGetPointer(value), size);
	return copy;
}

static int
choice(const char *value, const char *const *choices, const char *column)
{
	for (int i = 0; choices[i]; i++)
		if (strcmp(value, choices[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_LY_VERSION_MISMATCH),
			 errmsg("column %s holds \"%s\", which this version does not know", column, value),
			 errhint("Bring the extension and its tables to the same version: ALTER EXTENSION loyalty UPDATE, SELECT loyalty.install().")));
}

const Unit *
config_unit(const Program *program, const char *name)
{
	for (int i = 0; i < program->nunits; i++)
		if (strcmp(program->units[i].name, name) == 0)
			return &program->units[i];
	return NULL;
}

static int32
metric_named(const Program *program, const char *name, const char *column)
{
	static const char *const metrics[] = {"points", "spend", "visits", NULL};	/* 0, -1, -2 */
	const Unit *unit = config_unit(program, name);

	return unit ? unit->id : -choice(name, metrics, column);
}

static void
load_programs(Config *config)
{
	static const char *const clawbacks[] = {"pending_only", "to_zero", "debt", NULL};
	static const char *const on_returns[] = {"fall", "keep", "grace", NULL};
	static const char *const downgrades[] = {"requalify", "one_level", "never", NULL};
	static const char *const unit_names[] = {"day", "month", "quarter", "year", NULL};
	static const CalendarUnit validity_units[] = {CALENDAR_DAY, CALENDAR_MONTH, CALENDAR_QUARTER, CALENDAR_YEAR};
	uint64		n = query("SELECT id, name, timezone, decimals, rounding, expiry, expiry_from, pending, enrollment, clawback,"
						  " on_return, tier_metric, tier_period, tier_validity, downgrade, grace, is_default, enabled, sandbox,"
						  " earn_on_points_paid, point_value, counts_visits, loyalty.program_follows(id), loyalty.program_involves(id),"
						  " loyalty.program_tells(name), tier_validity_to"
						  " FROM loyalty.program");

	config->nprograms = n;
	config->programs = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(Program));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = &config->programs[i];
		char	   *unit;

		p->id = DatumGetInt32(next_datum(&r));
		p->name = next_text(&r);
		p->held = MemoryContextAllocZero(config->context, sizeof(HeldMemo));
		p->timezone = next_text(&r);
		p->zone = calendar_zone(p->timezone);
		p->decimals = DatumGetInt16(next_datum(&r));
		p->rounding = rounding_from_text(next_text(&r));
		p->expiry = *(Expiry *) next_bytes(&r, sizeof(Expiry));
		p->expiry_from_available = strcmp(next_text(&r), "available") == 0;
		p->pending = *(Interval *) next_bytes(&r, sizeof(Interval));
		p->automatic = strcmp(next_text(&r), "automatic") == 0;
		p->clawback = choice(next_text(&r), clawbacks, "program.clawback");
		p->on_return = choice(next_text(&r), on_returns, "program.on_return");
		p->metric_name = next_text(&r);
		p->period = *(Period *) next_bytes(&r, sizeof(Period));
		p->validity = *(Interval *) next_bytes(&r, sizeof(Interval));
		p->downgrade = choice(next_text(&r), downgrades, "program.downgrade");
		p->grace = *(Interval *) next_bytes(&r, sizeof(Interval));
		p->is_default = DatumGetBool(next_datum(&r));
		p->enabled = DatumGetBool(next_datum(&r));
		p->sandbox = DatumGetBool(next_datum(&r));
		p->earn_on_points_paid = DatumGetBool(next_datum(&r));
		p->point_value = next_numeric(&r);
		p->counts_visits = DatumGetBool(next_datum(&r));
		p->follows = p->follows_sql = DatumGetBool(next_datum(&r));
		p->involves = DatumGetBool(next_datum(&r));
		p->tells = event_mask(next_text(&r));
		unit = next_text(&r);
		p->validity_to = unit ? validity_units[choice(unit, unit_names, "program.tier_validity_to")] : -1;
	}
}

static Program *
program_named(Config *config, const char *name)
{
	for (int i = 0; i < config->nprograms; i++)
		if (strcmp(config->programs[i].name, name) == 0)
			return &config->programs[i];
	return NULL;
}

static void
load_units(Config *config)
{
	uint64		n = query("SELECT program, id, name, decimals FROM loyalty.unit ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		Unit	   *unit;

		if (p == NULL)
			continue;
		p->units = p->units ? repalloc(p->units, (p->nunits + 1) * sizeof(Unit))
			: MemoryContextAlloc(config->context, sizeof(Unit));
		unit = &p->units[p->nunits++];
		unit->id = DatumGetInt32(next_datum(&r));
		unit->name = next_text(&r);
		unit->decimals = DatumGetInt16(next_datum(&r));
	}
	for (int i = 0; i < config->nprograms; i++)
		config->programs[i].metric = metric_named(&config->programs[i], config->programs[i].metric_name,
												  "program.tier_metric");
}

static void
load_tiers(Config *config)
{
	uint64		n = query("SELECT program, id, name, rank, threshold, earn_bonus, expiry, suspends_expiry, permanent"
						  " FROM loyalty.tier WHERE enabled ORDER BY rank");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		Tier	   *tier;

		if (p == NULL)
			continue;
		p->tiers = p->tiers ? repalloc(p->tiers, (p->ntiers + 1) * sizeof(Tier))
			: MemoryContextAlloc(config->context, sizeof(Tier));
		tier = &p->tiers[p->ntiers++];
		memset(tier, 0, sizeof(Tier));
		tier->id = DatumGetInt32(next_datum(&r));
		tier->name = next_text(&r);
		tier->rank = DatumGetInt32(next_datum(&r));
		tier->threshold = next_numeric(&r);
		if (fixed_from_numeric(DatumGetNumeric(next_datum(&r)), UNITS_SCALE, &tier->earn_bonus) > FIXED_INEXACT)
			elog(ERROR, "earn_bonus of tier \"%s\" is out of range", tier->name);
		tier->expiry = next_bytes(&r, sizeof(Expiry));
		tier->suspends = DatumGetBool(next_datum(&r));
		p->suspends |= tier->suspends;
		tier->permanent = DatumGetBool(next_datum(&r)) || p->downgrade == DOWNGRADE_NEVER;
	}
}

static void
load_requirements(Config *config)
{
	uint64		n = query("SELECT program, tier, option, metric, threshold FROM loyalty.tier_requirement ORDER BY option");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		char	   *name = next_text(&r);
		Requirement q;
		char	   *metric;

		if (p == NULL)
			continue;
		q.option = DatumGetInt32(next_datum(&r));
		metric = next_text(&r);
		q.metric = metric_named(p, metric, "tier_requirement.metric");
		q.threshold = next_numeric(&r);
		for (int t = 0; t < p->ntiers; t++)
		{
			Tier	   *tier = &p->tiers[t];

			if (strcmp(tier->name, name) != 0)
				continue;
			tier->requirements = tier->requirements
				? repalloc(tier->requirements, (tier->nrequirements + 1) * sizeof(Requirement))
				: MemoryContextAlloc(config->context, sizeof(Requirement));
			tier->requirements[tier->nrequirements++] = q;
		}
	}
}

/*
 * The tiers of a ladder as they stood when it was changed: their thresholds and requirements, rung by rung.  A tier without
 * a rung is newer, and stands on it as it is.
 */
static void
load_rungs(Config *config, Program *ladder)
{
	Tier	   *tiers = MemoryContextAlloc(config->context, mul_size(Max(ladder->ntiers, 1), sizeof(Tier)));
	uint64		n = query(psprintf("SELECT tier_id, option, metric, threshold FROM loyalty.ladder_rung"
								   " WHERE program_id OPERATOR(pg_catalog.=) %d AND ladder_no OPERATOR(pg_catalog.=) %d"
								   " ORDER BY tier_id, metric OPERATOR(pg_catalog.<>) '', option", ladder->id, ladder->ladder_no));
	Tier	   *tier = NULL;

	for (int i = 0; i < ladder->ntiers; i++)
		tiers[i] = ladder->tiers[i];
	ladder->tiers = tiers;
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		int32		id = DatumGetInt32(next_datum(&r));
		Requirement q = {.option = DatumGetInt32(next_datum(&r))};
		char	   *metric = next_text(&r);

		q.threshold = next_numeric(&r);
		tier = NULL;
		for (int t = 0; t < ladder->ntiers; t++)
			if (tiers[t].id == id)
				tier = &tiers[t];
		if (tier && *metric == '\0')
		{
			tier->threshold = q.threshold;
			tier->nrequirements = 0;
			tier->requirements = MemoryContextAlloc(config->context, mul_size(n, sizeof(Requirement)));
		}
		else if (tier)
		{
			q.metric = metric_named(ladder, metric, "ladder_rung.metric");
			tier->requirements[tier->nrequirements++] = q;
		}
	}
	ladder->lowest = tier_of_nothing(ladder);
}

/* Ladders that were, that is, and that waits: copies of the program, which itself is the one in force. */
static void
load_ladders(Config *config)
{
	uint64		n = query("SELECT program_id, ladder_no, since, keep, tier_metric, tier_period::loyalty.period FROM loyalty.ladder"
						  " ORDER BY program_id, ladder_no");
	Program    *ladders = MemoryContextAllocZero(config->context, mul_size(Max(n, 1), 2 * sizeof(Program)));
	bool	   *frozen = palloc0(Max(n, 1));

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		int32		id = DatumGetInt32(next_datum(&r));
		char	   *metric;

		for (int p = 0; p < config->nprograms; p++)
			if (config->programs[p].id == id)
				ladders[i] = config->programs[p];
		if (ladders[i].id == 0)
			continue;
		ladders[i].ladder_no = DatumGetInt32(next_datum(&r));
		ladders[i].ladder_since = DatumGetTimestampTz(next_datum(&r));
		ladders[i].ladder_keeps = DatumGetBool(next_datum(&r));
		metric = next_text(&r);
		frozen[i] = metric != NULL;
		if (frozen[i])
		{
			ladders[i].metric = metric_named(&ladders[i], metric, "ladder.tier_metric");
			ladders[i].period = *(Period *) next_bytes(&r, sizeof(Period));
		}
	}
	for (uint64 i = 0; i < n; i++)
		if (frozen[i])
			load_rungs(config, &ladders[i]);
	for (uint64 i = 0, first = 0; i < n; i++)
	{
		if (ladders[i].id != ladders[first].id)
			first = i;
		if (ladders[i].id == 0 || (i + 1 < n && ladders[i + 1].id == ladders[i].id))
			continue;
		for (int p = 0; p < config->nprograms; p++)
		{
			Program    *program = &config->programs[p];

			if (program->id != ladders[i].id)
				continue;
			if (frozen[i])
			{
				ladders[n + i] = *program;
				program->draft = &ladders[n + i];
			}
			program->ladder_no = ladders[i].ladder_no;
			program->ladder_since = ladders[i].ladder_since;
			program->ladder_keeps = ladders[i].ladder_keeps;
			program->metric = ladders[i].metric;
			program->period = ladders[i].period;
			program->tiers = ladders[i].tiers;
			program->lowest = ladders[i].lowest;
			program->former = &ladders[first];
			for (uint64 j = first; j < i; j++)
				ladders[j].period = program->period;	/* counters are those of one period: see apply_tiers() */
		}
	}
}

/* An array of texts; NULL: none. */
static char **
next_texts(RowReader *reader, int *n)
{
	Datum		value = next_datum(reader);
	Datum	   *texts;
	char	  **copies;

	*n = 0;
	if (reader->isnull)
		return NULL;
	deconstruct_array_builtin(DatumGetArrayTypeP(value), TEXTOID, &texts, NULL, n);
	copies = MemoryContextAlloc(reader->context, Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		copies[i] = MemoryContextStrdup(reader->context, TextDatumGetCString(texts[i]));
	return copies;
}

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

/* What belongs to a partner (row t) is there as long as the partner is enabled. */
#define PARTNER_TAKES_PART " AND NOT EXISTS (SELECT FROM loyalty.partner k WHERE k.program OPERATOR(pg_catalog.=) t.program" \
	" AND k.name OPERATOR(pg_catalog.=) t.partner AND NOT k.enabled)"

static void
load_sources(Config *config)
{
	uint64		n = query("SELECT program, id, name, relation, attached, member, amount, occurred_at, key, condition, refund_of,"
						  " refund_source, release, release_within, on_delete, on_error, enabled" PARTNER_TAKES_PART
						  ", author, points_spent, spend_step, spend_minimum, spend_maximum_share, visit FROM loyalty.source t");

	config->nsources = 0;
	config->sources = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(SourceRow));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		SourceRow  *row = &config->sources[config->nsources++];
		Source	   *s = &row->source;

		s->program = program_named(config, next_text(&r));
		s->id = DatumGetInt32(next_datum(&r));
		s->name = next_text(&r);
		s->relid = DatumGetObjectId(next_datum(&r));
		row->attached = DatumGetBool(next_datum(&r));
		row->member = next_text(&r);
		row->amount = next_text(&r);
		row->occurred_at = next_text(&r);
		row->keys = next_texts(&r, &s->nkeys);
		row->condition = next_text(&r);
		row->refund_of = next_texts(&r, &s->nrefund_of);
		row->refund_source = next_text(&r);
		row->release = next_text(&r);
		s->release_within = next_bytes(&r, sizeof(Interval));
		s->keep_deleted = strcmp(next_text(&r), "keep") == 0;
		s->skip_errors = strcmp(next_text(&r), "skip") == 0;
		s->enabled = DatumGetBool(next_datum(&r)) && s->program && s->program->enabled;
		row->author = DatumGetObjectId(next_datum(&r));
		row->points_spent = next_text(&r);
		s->spend_step = next_points(&r);
		s->spend_minimum = next_points(&r);
		s->spend_maximum_share = next_numeric(&r);
		row->visit = next_text(&r);
		if (s->program && row->visit)
			s->program->names_visits = true;
		if (s->program == NULL)
			config->nsources--;
	}
	link_returns(config);
}

static int32
source_id_named(Config *config, const Program *program, const char *name)
{
	for (int i = 0; i < config->nsources; i++)
		if (config->sources[i].source.program == program && strcmp(config->sources[i].source.name, name) == 0)
			return config->sources[i].source.id;
	return 0;
}

static Units
limit_units(RowReader *r, bool *given)
{
	Numeric		value = next_numeric(r);
	int64		units = 0;

	*given = value != NULL;
	if (value && fixed_from_numeric(value, UNITS_SCALE, &units) > FIXED_INEXACT)
		units = 0;				/* a row that no trigger has checked must not stop sales */
	return units;
}

static Period
limit_period(RowReader *r)
{
	Period	   *period = next_bytes(r, sizeof(Period));

	return period ? *period : (Period) {.kind = PERIOD_LIFETIME};
}

static Interval
limit_interval(RowReader *r, bool *given)
{
	Interval   *interval = next_bytes(r, sizeof(Interval));

	*given = interval != NULL;
	return interval ? *interval : (Interval) {0};
}

static void
load_limits(Config *config)
{
	uint64		n = query("SELECT program, source, id, name, cap, cap_period, max_uses, uses_period, budget, cooldown FROM loyalty.rule"
						  " WHERE cap IS NOT NULL OR max_uses IS NOT NULL OR budget IS NOT NULL OR cooldown IS NOT NULL ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		char	   *source = next_text(&r);
		RuleLimit  *limit;

		if (p == NULL)
			continue;
		p->limits = p->limits ? repalloc(p->limits, (p->nlimits + 1) * sizeof(RuleLimit))
			: MemoryContextAlloc(config->context, sizeof(RuleLimit));
		limit = &p->limits[p->nlimits++];
		limit->source_id = source_id_named(config, p, source);
		limit->rule_id = DatumGetInt32(next_datum(&r));
		limit->name = next_text(&r);
		limit->cap = limit_units(&r, &limit->has_cap);
		limit->cap_period = limit_period(&r);
		limit->max_uses = DatumGetInt32(next_datum(&r));
		limit->has_uses = !r.isnull;
		limit->uses_period = limit_period(&r);
		(void) limit_units(&r, &limit->has_budget);
		limit->cooldown = limit_interval(&r, &limit->has_cooldown);
	}
}

static void
load_challenges(Config *config)
{
	static const char *const kinds[] = {"target", "stamp", "streak", NULL};
	uint64		n = query("SELECT program, id, kind, metric, unit, source, target, times, period::loyalty.period, starts_at, ends_at, deadline,"
						  " opt_in, name, points, counts_for_tier, reward IS NOT NULL, badge FROM loyalty.challenge WHERE enabled AND metric OPERATOR(pg_catalog.<>) 'visits' ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		Challenge  *c;
		char	   *text;

		if (p == NULL)
			continue;
		p->challenges = p->challenges ? repalloc(p->challenges, (p->nchallenges + 1) * sizeof(Challenge))
			: MemoryContextAlloc(config->context, sizeof(Challenge));
		c = &p->challenges[p->nchallenges++];
		p->follows = true;
		c->id = DatumGetInt32(next_datum(&r));
		c->kind = choice(next_text(&r), kinds, "challenge.kind");
		text = next_text(&r);
		c->metric = strcmp(text, "spend") == 0 ? CHALLENGE_SPEND : strcmp(text, "purchases") == 0 ? CHALLENGE_PURCHASES : CHALLENGE_POINTS;
		c->unit = DatumGetInt32(next_datum(&r));
		text = next_text(&r);
		c->source_id = text ? source_id_named(config, p, text) : 0;
		c->target = next_numeric(&r);
		c->times = DatumGetInt32(next_datum(&r));	/* NULL is 0 */
		c->period = *(Period *) next_bytes(&r, sizeof(Period));
		c->starts_at = DatumGetTimestampTz(next_datum(&r));
		c->ends_at = DatumGetTimestampTz(next_datum(&r));
		c->deadline = limit_interval(&r, &c->has_deadline);
		c->opt_in = DatumGetBool(next_datum(&r));
		c->name = next_text(&r);
		c->points = next_points(&r);
		c->counts_for_tier = DatumGetBool(next_datum(&r));
		c->has_reward = DatumGetBool(next_datum(&r));
		c->badge = next_text(&r);
	}
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

static void
load_rules(Config *config)
{
	uint64		n = query("SELECT program, source, id, name, kind, points, condition, starts_at, ends_at, priority,"
						  " exclusive_group, expiry, pending, segment, offer, author, unit FROM loyalty.rule t WHERE enabled" PARTNER_TAKES_PART);

	config->nrules = n;
	config->rules = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(RuleRow));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		RuleRow    *row = &config->rules[i];

		row->program = next_text(&r);
		row->source = next_text(&r);
		row->rule.id = DatumGetInt32(next_datum(&r));
		row->rule.name = next_text(&r);
		row->rule.bonus = strcmp(next_text(&r), "bonus") == 0;
		row->points = next_text(&r);
		row->condition = next_text(&r);
		row->rule.starts_at = DatumGetTimestampTz(next_datum(&r));
		row->rule.ends_at = DatumGetTimestampTz(next_datum(&r));
		row->rule.priority = DatumGetInt32(next_datum(&r));
		row->group = next_text(&r);
		row->rule.expiry = next_bytes(&r, sizeof(Expiry));
		row->rule.pending = next_bytes(&r, sizeof(Interval));
		row->segment = next_text(&r);
		row->rule.offer = next_text(&r);
		row->author = DatumGetObjectId(next_datum(&r));
		row->unit = next_text(&r);
	}
	qsort(config->rules, n, sizeof(RuleRow), compare_rules);
}

static void
load_segments(Config *config)
{
	uint64		n = query("SELECT program, id, name, condition, enabled, author FROM loyalty.segment");

	config->segments = MemoryContextAllocZero(config->context, mul_size(Max(n, 1), sizeof(SegmentRow)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		SegmentRow *row = &config->segments[config->nsegments];

		if (p == NULL)
			continue;
		row->segment.program = p;
		row->segment.id = DatumGetInt32(next_datum(&r));
		row->segment.name = next_text(&r);
		row->condition = next_text(&r);
		row->segment.enabled = DatumGetBool(next_datum(&r));
		row->author = DatumGetObjectId(next_datum(&r));
		config->nsegments++;
	}
}

static int
compare_rewards(const void *a, const void *b)
{
	const Reward *x = a;
	const Reward *y = b;

	if (x->program_id != y->program_id)
		return x->program_id < y->program_id ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void
load_rewards(Config *config)
{
	uint64		n = query("SELECT program, id, name, cost, stock, starts_at, ends_at, enabled" PARTNER_TAKES_PART ", value IS NOT NULL OR s.stepped,"
						  " value IS NOT NULL OR s.stepped OR p.priced OR pool IS NOT NULL OR validity IS NOT NULL OR"
						  " min_quantity OPERATOR(pg_catalog.>) 1 OR max_quantity IS NOT NULL OR max_per_member IS NOT NULL OR"
						  " min_tier IS NOT NULL OR segment IS NOT NULL FROM loyalty.reward t"
						  " CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM loyalty.reward_step x"
						  " WHERE x.program OPERATOR(pg_catalog.=) t.program AND x.reward OPERATOR(pg_catalog.=) t.name) AS stepped) s"
						  " CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM loyalty.reward_price x"
						  " WHERE x.program OPERATOR(pg_catalog.=) t.program AND x.reward OPERATOR(pg_catalog.=) t.name) AS priced) p");

	config->rewards = MemoryContextAllocZero(config->context, mul_size(Max(n, 1), sizeof(Reward)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);
		Program    *p = program_named(config, next_text(&r));
		Reward	   *reward;
		bool		good;

		if (p == NULL)
			continue;
		reward = &config->rewards[config->nrewards++];
		reward->program_id = p->id;
		reward->id = DatumGetInt32(next_datum(&r));
		reward->name = next_text(&r);
		good = fixed_from_numeric(DatumGetNumeric(next_datum(&r)), POINTS_SCALE, &reward->cost) == FIXED_OK;
		(void) next_datum(&r);
		reward->has_stock = !r.isnull;
		reward->starts_at = DatumGetTimestampTz(next_datum(&r));
		reward->ends_at = DatumGetTimestampTz(next_datum(&r));
		/* a row that no trigger has checked must not stop sales */
		reward->enabled = DatumGetBool(next_datum(&r)) && good && reward->cost > 0;
		reward->by_points = DatumGetBool(next_datum(&r));
		reward->special = DatumGetBool(next_datum(&r));
	}
	qsort(config->rewards, config->nrewards, sizeof(Reward), compare_rewards);
}

static void
load_excluded(Config *config)
{
	uint64		n = query("SELECT member_id, status OPERATOR(pg_catalog.=) 'erased' FROM loyalty.member"
						  " WHERE status OPERATOR(pg_catalog.<>) 'active'"
						  " AND status OPERATOR(pg_catalog.<>) 'merged' ORDER BY member_id");

	config->nexcluded = n;
	config->excluded = MemoryContextAlloc(config->context, mul_size(Max(n, 1), sizeof(int64)));
	config->erased = MemoryContextAlloc(config->context, mul_size(Max(n, 1), sizeof(bool)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);

		config->excluded[i] = DatumGetInt64(next_datum(&r));
		config->erased[i] = DatumGetBool(next_datum(&r));
	}
}

static void
load_merged(Config *config)
{
	uint64		n = query("SELECT member_id, merged_into FROM loyalty.member WHERE status OPERATOR(pg_catalog.=) 'merged'"
						  " AND merged_into IS NOT NULL ORDER BY member_id");

	config->nmerged = n;
	config->merged = MemoryContextAlloc(config->context, mul_size(Max(n, 1), sizeof(MergedMember)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = row_reader(config, i);

		config->merged[i].member_id = DatumGetInt64(next_datum(&r));
		config->merged[i].into = DatumGetInt64(next_datum(&r));
	}
}

static void
watch(Config *config)
{
	Oid			schema = get_namespace_oid("loyalty", false);

	config->watched = MemoryContextAlloc(config->context, (lengthof(config_tables) + config->nsources) * sizeof(Oid));
	for (int i = 0; i < lengthof(config_tables); i++)
		config->watched[config->nwatched++] = get_relname_relid(config_tables[i], schema);
	for (int i = 0; i < config->nsources; i++)
		config->watched[config->nwatched++] = config->sources[i].source.relid;
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
	if (role != EXPRESSION_OCCURRED_AT)
	{
		s->mapped_columns = bms_add_members(s->mapped_columns, e->columns);
		s->mapped_whole_row |= bms_is_member(0, e->columns);
	}
	return e;
}

/* The exclusive groups of a source's rules, numbered. */
static int
group_number(Config *config, SourceRow *row, List **groups, const char *group)
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

/* The segment of this name, compiled; under the settings of its program. */
static Segment *
segment_named(Config *config, const Program *program, const char *name)
{
	for (int i = 0; i < config->nsegments; i++)
	{
		SegmentRow *row = &config->segments[i];

		if (row->segment.program != program || strcmp(row->segment.name, name) != 0)
			continue;
		if (row->segment.condition == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(config->context);

			row->segment.condition = expression_compile(row->condition, EXPRESSION_SEGMENT, NULL, row->author,
														psprintf("condition of segment \"%s\" of program \"%s\"", name,
																 program->name));
			MemoryContextSwitchTo(old);
		}
		return &row->segment;
	}
	return NULL;
}

/* Whom a rule is for, beside its condition. */
static void
compile_audience(Config *config, const Source *source, const RuleRow *row, Rule *rule, Relation relation)
{
	if (row->segment && (rule->segment = segment_named(config, source->program, row->segment)) == NULL)
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

static void
compile_source(Config *config, SourceRow *row, Relation relation)
{
	Source	   *s = &row->source;
	List	   *groups = NIL;
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
	s->rules = palloc0(Max(config->nrules, 1) * sizeof(Rule));
	s->nrules = 0;
	s->awards_units = s->uses_units = false;
	for (int i = 0; i < config->nrules; i++)
	{
		RuleRow    *r = &config->rules[i];
		Rule	   *rule;

		if (strcmp(r->program, s->program->name) != 0 || strcmp(r->source, s->name) != 0)
			continue;
		rule = &s->rules[s->nrules++];
		*rule = r->rule;
		compile_unit(s, r, rule);
		rule->group = group_number(config, row, &groups, r->group && rule->unit
								   ? psprintf("%d\n%s", rule->unit->id, r->group) : r->group);
		rule->limit = config_limit(s->program, rule->id);
		if (r->condition)
			rule->condition = expression_compile(r->condition, EXPRESSION_RULE_CONDITION, relation, r->author,
												 psprintf("condition of rule \"%s\" of program \"%s\"", rule->name, r->program));
		rule->points = expression_compile(r->points, rule->bonus ? EXPRESSION_BONUS_POINTS : EXPRESSION_BASE_POINTS,
										  relation, r->author,
										  psprintf("points of rule \"%s\" of program \"%s\"", rule->name, r->program));
		compile_audience(config, s, r, rule, relation);
		for (int e = 0; e < 4; e++)
		{
			Expression *x = e == 0 ? rule->condition : e == 1 ? rule->points : e == 2 ? rule->has_offer
				: rule->segment ? rule->segment->condition : NULL;

			if (x == NULL)
				continue;
			s->uses_base |= x->uses_base;
			s->uses_local_time |= x->uses_local_time;
			s->uses_account |= x->uses_account;
			s->uses_units |= x->uses_units;
			s->uses_member |= x->uses_member;
			s->uses_settings |= !x->built_in;
			s->uses_authors |= x->authored;
		}
	}
	s->ngroups = list_length(groups);
	s->limited = s->budgeted = false;
	for (int i = 0; i < s->program->nlimits; i++)
	{
		const RuleLimit *limit = &s->program->limits[i];

		s->limited |= limit->source_id == s->id;
		s->budgeted |= limit->source_id == s->id && limit->has_budget;
	}
	settings_leave(nest);
}

/* ---- look-ups ---- */

const Program *
config_program_by_id(int32 id)
{
	Config	   *config = config_get();

	for (int i = 0; i < config->nprograms; i++)
		if (config->programs[i].id == id)
			return &config->programs[i];
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_PROGRAM),
			 errmsg("program number %d does not exist", id)));
}

const Program *
config_program(const char *name)
{
	Config	   *config = config_get();

	if (name)
	{
		const Program *program = program_named(config, name);

		if (program)
			return program;
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_PROGRAM),
				 errmsg("program \"%s\" does not exist", name),
				 errhint("SELECT name FROM loyalty.program lists the programs.")));
	}
	for (int i = 0; i < config->nprograms; i++)
		if (config->programs[i].is_default)
			return &config->programs[i];
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_PROGRAM),
			 errmsg("no program is the default"),
			 errdetail("There are %d programs.", config->nprograms),
			 errhint("Name the program, or set is_default of one in loyalty.program.")));
}

const Tier *
config_tier(const Program *program, int32 id)
{
	for (int i = 0; id != 0 && i < program->ntiers; i++)
		if (program->tiers[i].id == id)
			return &program->tiers[i];
	return NULL;
}

const Program *
config_ladder(const Program *program, int32 ladder_no)
{
	return ladder_no >= program->ladder_no ? program : &program->former[ladder_no];
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

const Segment *
config_segment(const Program *program, const char *name)
{
	Config	   *config = config_get();
	int			nest = settings_enter(program, false);	/* literals are read now */
	Segment    *segment = segment_named(config, config_program_by_id(program->id), name);

	settings_leave(nest);
	return segment;
}

const Reward *
config_reward(const Program *program, const char *name)
{
	Config	   *config = config_get();
	Reward		wanted = {.program_id = program->id, .name = unconstify(char *, name)};

	return bsearch(&wanted, config->rewards, config->nrewards, sizeof(Reward), compare_rewards);
}

/* Its place among those who are excluded, -1: it is not. */
static int
find_excluded(const Config *config, int64 member_id)
{
	int			low = 0;
	int			high = config->nexcluded;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (config->excluded[middle] < member_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < config->nexcluded && config->excluded[low] == member_id ? low : -1;
}

bool
config_member_excluded(int64 member_id)
{
	return find_excluded(config_get(), member_id) >= 0;
}

bool
config_member_erased(int64 member_id)
{
	Config	   *config = config_get();
	int			place = find_excluded(config, member_id);

	return place >= 0 && config->erased[place];
}

static const MergedMember *
find_merged(const Config *config, int64 member_id)
{
	int			low = 0;
	int			high = config->nmerged;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (config->merged[middle].member_id < member_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < config->nmerged && config->merged[low].member_id == member_id ? &config->merged[low] : NULL;
}

int64
config_member_now(int64 member_id)
{
	Config	   *config = config_get();
	const MergedMember *merged;

	for (int i = 0; i < config->nmerged && (merged = find_merged(config, member_id)) != NULL; i++)
		member_id = merged->into;
	return member_id;
}

bool
config_member_absorbed(int64 member_id)
{
	Config	   *config = config_get();

	for (int i = 0; i < config->nmerged; i++)
		if (config->merged[i].into == member_id)
			return true;
	return false;
}
