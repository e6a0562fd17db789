/*
 * config_challenge.c
 *	  Challenges that follow sales.
 *
 * Rule: one that counts visits is not here: challenge.c counts sales, visits are counted in SQL.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "config_load.h"

void
config_load_challenges(Config *config)
{
	static const char *const kinds[] = {"target", "stamp", "streak", NULL};
	uint64		n = config_query("SELECT program, id, kind, metric, unit, source, target, times, period::loyalty.period, starts_at, ends_at, deadline,"
								 " opt_in, name, points, counts_for_tier, reward IS NOT NULL OR choices IS NOT NULL OR EXISTS (SELECT FROM loyalty.event_kind k"
								 " WHERE k.program OPERATOR(pg_catalog.=) c.program AND k.name OPERATOR(pg_catalog.=) 'challenge_completed'), badge"
								 " FROM loyalty.challenge c"
								 " WHERE enabled AND metric OPERATOR(pg_catalog.<>) 'visits' ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		Challenge  *c;
		char	   *text;

		if (p == NULL)
			continue;
		p->challenges = config_grow(config, p->challenges, p->nchallenges, sizeof(Challenge));
		c = &p->challenges[p->nchallenges++];
		p->follows = true;
		c->id = DatumGetInt32(row_datum(&r));
		c->kind = row_choice(row_text(&r), kinds, "challenge.kind");
		text = row_text(&r);
		c->metric = strcmp(text, "spend") == 0 ? CHALLENGE_SPEND : strcmp(text, "purchases") == 0 ? CHALLENGE_PURCHASES : CHALLENGE_POINTS;
		c->unit = DatumGetInt32(row_datum(&r));
		text = row_text(&r);
		c->source_id = text ? config_source_named(config, p, text) : 0;
		c->target = row_numeric(&r);
		c->times = DatumGetInt32(row_datum(&r));	/* NULL is 0 */
		c->period = *(Period *) row_bytes(&r, sizeof(Period));
		c->starts_at = DatumGetTimestampTz(row_datum(&r));
		c->ends_at = DatumGetTimestampTz(row_datum(&r));
		c->deadline = row_interval(&r, &c->has_deadline);
		c->opt_in = DatumGetBool(row_datum(&r));
		c->name = row_text(&r);
		c->points = row_points(&r);
		c->counts_for_tier = DatumGetBool(row_datum(&r));
		c->has_reward = DatumGetBool(row_datum(&r));
		c->badge = row_text(&r);
	}
}
