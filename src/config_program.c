/*
 * config_program.c
 *	  Programs and their status units.
 *
 * Rule: a program is loaded before whatever belongs to it; what belongs to a program that is not there is passed over.
 */
#include "postgres.h"

#include "calendar.h"
#include "config_load.h"
#include "errcodes.h"
#include "event.h"
#include "tier.h"

/*
 * Is any room in use that follows the program's sales (see follow_sales() in SQL), is one that changes accounts of
 * others than those who buy (see sales_involve()), and what is told?
 */
static void
read_rooms(Program *p, RowReader *reader)
{
	bool		refers = DatumGetBool(row_datum(reader));
	bool		shares_tiers = DatumGetBool(row_datum(reader));
	bool		gives = DatumGetBool(row_datum(reader));
	bool		counts_visits = DatumGetBool(row_datum(reader));	/* in challenges */

	p->involves = refers || shares_tiers;
	p->follows = p->follows_sql = p->involves || gives || counts_visits;
	p->tells = event_mask(row_text(reader));
}

void
config_load_programs(Config *config)
{
	static const char *const clawbacks[] = {"pending_only", "to_zero", "debt", NULL};
	static const char *const on_returns[] = {"fall", "keep", "grace", NULL};
	static const char *const downgrades[] = {"requalify", "one_level", "never", NULL};
	static const char *const unit_names[] = {"day", "month", "quarter", "year", NULL};
	static const CalendarUnit validity_units[] = {CALENDAR_DAY, CALENDAR_MONTH, CALENDAR_QUARTER, CALENDAR_YEAR};
	uint64		n = config_query("SELECT id, name, timezone, decimals, rounding, expiry, expiry_from, pending, enrollment, clawback,"
								 " on_return, tier_metric, tier_period, tier_validity, downgrade, grace, is_default, enabled, sandbox,"
								 " earn_on_points_paid, point_value, counts_visits, tier_validity_to,"
								 " EXISTS (SELECT FROM loyalty.referral_program x WHERE x.program OPERATOR(pg_catalog.=) p.name),"
								 " EXISTS (SELECT FROM loyalty.tier_sharing x WHERE x.program_id OPERATOR(pg_catalog.=) p.id),"
								 " EXISTS (SELECT FROM loyalty.giving x WHERE x.program OPERATOR(pg_catalog.=) p.name),"
								 " EXISTS (SELECT FROM loyalty.challenge x WHERE x.program OPERATOR(pg_catalog.=) p.name AND x.enabled"
								 " AND x.metric OPERATOR(pg_catalog.=) 'visits'),"
								 " (SELECT pg_catalog.string_agg(x.name, ' ') FROM loyalty.event_kind x"
								 " WHERE x.program OPERATOR(pg_catalog.=) p.name AND x.enabled)"
								 " FROM loyalty.program p");

	config->nprograms = n;
	config->programs = MemoryContextAllocZero(config->context, Max(n, 1) * sizeof(Program));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = &config->programs[i];
		char	   *unit;

		p->id = DatumGetInt32(row_datum(&r));
		p->name = row_text(&r);
		p->held = MemoryContextAllocZero(config->context, sizeof(HeldMemo));
		p->timezone = row_text(&r);
		p->zone = calendar_zone(p->timezone);
		p->decimals = DatumGetInt16(row_datum(&r));
		p->rounding = rounding_from_text(row_text(&r));
		p->expiry = *(Expiry *) row_bytes(&r, sizeof(Expiry));
		p->expiry_from_available = strcmp(row_text(&r), "available") == 0;
		p->pending = *(Interval *) row_bytes(&r, sizeof(Interval));
		p->automatic = strcmp(row_text(&r), "automatic") == 0;
		p->clawback = row_choice(row_text(&r), clawbacks, "program.clawback");
		p->on_return = row_choice(row_text(&r), on_returns, "program.on_return");
		p->metric_name = row_text(&r);
		p->period = *(Period *) row_bytes(&r, sizeof(Period));
		p->validity = *(Interval *) row_bytes(&r, sizeof(Interval));
		p->downgrade = row_choice(row_text(&r), downgrades, "program.downgrade");
		p->grace = *(Interval *) row_bytes(&r, sizeof(Interval));
		p->is_default = DatumGetBool(row_datum(&r));
		p->enabled = DatumGetBool(row_datum(&r));
		p->sandbox = DatumGetBool(row_datum(&r));
		p->earn_on_points_paid = DatumGetBool(row_datum(&r));
		p->point_value = row_numeric(&r);
		p->counts_visits = DatumGetBool(row_datum(&r));
		unit = row_text(&r);
		p->validity_to = unit ? validity_units[row_choice(unit, unit_names, "program.tier_validity_to")] : -1;
		read_rooms(p, &r);
	}
}

Program *
config_program_named(Config *config, const char *name)
{
	for (int i = 0; i < config->nprograms; i++)
		if (strcmp(config->programs[i].name, name) == 0)
			return &config->programs[i];
	return NULL;
}

void
config_load_units(Config *config)
{
	uint64		n = config_query("SELECT program, id, name, decimals, lifetime, carries_over FROM loyalty.unit ORDER BY id");

	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		Unit	   *unit;

		if (p == NULL)
			continue;
		p->units = config_grow(config, p->units, p->nunits, sizeof(Unit));
		unit = &p->units[p->nunits++];
		unit->id = DatumGetInt32(row_datum(&r));
		unit->name = row_text(&r);
		unit->decimals = DatumGetInt16(row_datum(&r));
		unit->lifetime = DatumGetBool(row_datum(&r));
		p->lifetime_units |= unit->lifetime;
		unit->carries_over = DatumGetBool(row_datum(&r));
		p->carrying_units |= unit->carries_over;
	}
	for (int i = 0; i < config->nprograms; i++)
		config->programs[i].metric = config_metric(&config->programs[i], config->programs[i].metric_name,
												  "program.tier_metric");
}

const Unit *
config_unit(const Program *program, const char *name)
{
	for (int i = 0; i < program->nunits; i++)
		if (strcmp(program->units[i].name, name) == 0)
			return &program->units[i];
	return NULL;
}

int32
config_metric(const Program *program, const char *name, const char *column)
{
	static const char *const metrics[] = {"points", "spend", "visits", NULL};	/* 0, -1, -2 */
	const Unit *unit = config_unit(program, name);

	return unit ? unit->id : -row_choice(name, metrics, column);
}

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
		const Program *program = config_program_named(config, name);

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
