/*
 * config_tier.c
 *	  Tiers, what they ask for, and the ladders on which they stood.
 *
 * Rules:
 * - A program's tiers are those of the ladder in force; former ladders and the draft are copies of the program, of which all but
 *	 thresholds, metric, period and lowest is the same.
 * - Tiers stand by rank, lowest first; only enabled ones are there.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "config_load.h"
#include "fixed.h"
#include "tier.h"

void
config_load_tiers(Config *config)
{
	uint64		n = config_query("SELECT program, id, name, rank, threshold, earn_bonus, expiry, suspends_expiry, permanent"
								 " FROM loyalty.tier WHERE enabled ORDER BY rank");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		Tier	   *tier;

		if (p == NULL)
			continue;
		p->tiers = config_grow(config, p->tiers, p->ntiers, sizeof(Tier));
		tier = &p->tiers[p->ntiers++];
		tier->id = DatumGetInt32(row_datum(&r));
		tier->name = row_text(&r);
		tier->rank = DatumGetInt32(row_datum(&r));
		tier->threshold = row_numeric(&r);
		if (fixed_from_numeric(DatumGetNumeric(row_datum(&r)), UNITS_SCALE, &tier->earn_bonus) > FIXED_INEXACT)
			elog(ERROR, "earn_bonus of tier \"%s\" is out of range", tier->name);
		tier->expiry = row_bytes(&r, sizeof(Expiry));
		tier->suspends = DatumGetBool(row_datum(&r));
		p->suspends |= tier->suspends;
		tier->permanent = DatumGetBool(row_datum(&r)) || p->downgrade == DOWNGRADE_NEVER;
	}
}

void
config_load_requirements(Config *config)
{
	uint64		n = config_query("SELECT program, tier, option, metric, threshold FROM loyalty.tier_requirement ORDER BY option");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		char	   *name = row_text(&r);
		Requirement q;
		char	   *metric;

		if (p == NULL)
			continue;
		q.option = DatumGetInt32(row_datum(&r));
		metric = row_text(&r);
		q.metric = config_metric(p, metric, "tier_requirement.metric");
		q.threshold = row_numeric(&r);
		for (int t = 0; t < p->ntiers; t++)
		{
			Tier	   *tier = &p->tiers[t];

			if (strcmp(tier->name, name) != 0)
				continue;
			tier->requirements = config_grow(config, tier->requirements, tier->nrequirements, sizeof(Requirement));
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
	uint64		n = config_query(psprintf("SELECT tier_id, option, metric, threshold FROM loyalty.ladder_rung"
										  " WHERE program_id OPERATOR(pg_catalog.=) %d AND ladder_no OPERATOR(pg_catalog.=) %d"
										  " ORDER BY tier_id, metric OPERATOR(pg_catalog.<>) '', option", ladder->id, ladder->ladder_no));
	Tier	   *tier = NULL;

	for (int i = 0; i < ladder->ntiers; i++)
		tiers[i] = ladder->tiers[i];
	ladder->tiers = tiers;
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		int32		id = DatumGetInt32(row_datum(&r));
		Requirement q = {.option = DatumGetInt32(row_datum(&r))};
		char	   *metric = row_text(&r);

		q.threshold = row_numeric(&r);
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
			q.metric = config_metric(ladder, metric, "ladder_rung.metric");
			tier->requirements[tier->nrequirements++] = q;
		}
	}
	ladder->lowest = tier_of_nothing(ladder);
}

/* Ladders that were, that is, and that waits: copies of the program, which itself is the one in force. */
void
config_load_ladders(Config *config)
{
	uint64		n = config_query("SELECT program_id, ladder_no, since, keep, tier_metric, tier_period::loyalty.period FROM loyalty.ladder"
								 " ORDER BY program_id, ladder_no");
	Program    *ladders = MemoryContextAllocZero(config->context, mul_size(Max(n, 1), 2 * sizeof(Program)));
	bool	   *frozen = palloc0(Max(n, 1));

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		int32		id = DatumGetInt32(row_datum(&r));
		char	   *metric;

		for (int p = 0; p < config->nprograms; p++)
			if (config->programs[p].id == id)
				ladders[i] = config->programs[p];
		if (ladders[i].id == 0)
			continue;
		ladders[i].ladder_no = DatumGetInt32(row_datum(&r));
		ladders[i].ladder_since = DatumGetTimestampTz(row_datum(&r));
		ladders[i].ladder_keeps = DatumGetBool(row_datum(&r));
		metric = row_text(&r);
		frozen[i] = metric != NULL;
		if (frozen[i])
		{
			ladders[i].metric = config_metric(&ladders[i], metric, "ladder.tier_metric");
			ladders[i].period = *(Period *) row_bytes(&r, sizeof(Period));
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
