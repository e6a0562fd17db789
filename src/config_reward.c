/*
 * config_reward.c
 *	  Rewards.
 *
 * Rule: they stand by program and name, for the search by name.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "config_load.h"
#include "fixed.h"

static int
compare_rewards(const void *a, const void *b)
{
	const Reward *x = a;
	const Reward *y = b;

	if (x->program_id != y->program_id)
		return x->program_id < y->program_id ? -1 : 1;
	return strcmp(x->name, y->name);
}

void
config_load_rewards(Config *config)
{
	uint64		n = config_query("SELECT program, id, name, cost, stock, starts_at, ends_at, enabled" PARTNER_TAKES_PART ", value IS NOT NULL OR s.stepped,"
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
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		Reward	   *reward;
		bool		good;

		if (p == NULL)
			continue;
		reward = &config->rewards[config->nrewards++];
		reward->program_id = p->id;
		reward->id = DatumGetInt32(row_datum(&r));
		reward->name = row_text(&r);
		good = fixed_from_numeric(DatumGetNumeric(row_datum(&r)), POINTS_SCALE, &reward->cost) == FIXED_OK;
		(void) row_datum(&r);
		reward->has_stock = !r.isnull;
		reward->starts_at = DatumGetTimestampTz(row_datum(&r));
		reward->ends_at = DatumGetTimestampTz(row_datum(&r));
		/* a row that no trigger has checked must not stop sales */
		reward->enabled = DatumGetBool(row_datum(&r)) && good && reward->cost > 0;
		reward->by_points = DatumGetBool(row_datum(&r));
		reward->special = DatumGetBool(row_datum(&r));
	}
	qsort(config->rewards, config->nrewards, sizeof(Reward), compare_rewards);
}

const Reward *
config_reward(const Program *program, const char *name)
{
	Config	   *config = config_get();
	Reward		wanted = {.program_id = program->id, .name = unconstify(char *, name)};

	return bsearch(&wanted, config->rewards, config->nrewards, sizeof(Reward), compare_rewards);
}
