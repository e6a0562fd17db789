/*
 * settings.c
 *	  The settings that expressions are read and run under.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/bytea.h"
#include "utils/guc.h"

#include "expression.h"
#include "settings.h"

static void
set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

int
settings_enter(const Program *program, bool authors)
{
	bool		same_zone = strcmp(pg_get_timezone_name(session_timezone), program->timezone) == 0;
	bool		same_style = DateStyle == USE_ISO_DATES && DateOrder == DATEORDER_YMD &&
		IntervalStyle == INTSTYLE_POSTGRES && bytea_output == BYTEA_OUTPUT_HEX;
	bool		same_syntax = standard_conforming_strings && !Transform_null_equals;
	int			nest;

	if (same_zone && same_style && same_syntax && !authors)
		return 0;
	nest = NewGUCNestLevel();
	if (!same_zone)
		set("timezone", program->timezone);
	if (!same_style)
	{
		set("datestyle", "ISO, YMD");
		set("intervalstyle", "postgres");
		set("bytea_output", "hex");
	}
	if (!same_syntax)
	{
		set("standard_conforming_strings", "on");
		set("transform_null_equals", "off");
	}
	if (authors)
		set("search_path", EXPRESSION_SEARCH_PATH);
	return nest;
}

void
settings_leave(int nest)
{
	if (nest > 0)
		AtEOXact_GUC(true, nest);
}
