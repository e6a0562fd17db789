/*
 * settings.c
 *	  The settings that expressions are read and run under.
 *
 * Only what a session may set and an expression or a key's text may lean on.  A setting that already stands as it
 * should costs a comparison: the usual session pays nothing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"

#include "expression.h"
#include "settings.h"

static void
set(int *nest, bool as_it_should, const char *name, const char *value)
{
	if (as_it_should)
		return;
	if (*nest == 0)
		*nest = NewGUCNestLevel();
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

int
settings_enter(const Program *program, bool authors)
{
	int			nest = 0;

	set(&nest, strcmp(pg_get_timezone_name(session_timezone), program->timezone) == 0, "timezone", program->timezone);
	set(&nest, DateStyle == USE_ISO_DATES && DateOrder == DATEORDER_MDY, "datestyle", "ISO, MDY");
	set(&nest, IntervalStyle == INTSTYLE_POSTGRES, "intervalstyle", "postgres");
	set(&nest, bytea_output == BYTEA_OUTPUT_HEX, "bytea_output", "hex");
	set(&nest, extra_float_digits == 1, "extra_float_digits", "1");
	set(&nest, standard_conforming_strings, "standard_conforming_strings", "on");
	set(&nest, !Transform_null_equals, "transform_null_equals", "off");
	set(&nest, !authors, "search_path", EXPRESSION_SEARCH_PATH);
	return nest;
}

int
settings_enter_source(const Source *source)
{
	return source->uses_settings ? settings_enter(source->program, source->uses_authors) : 0;
}

void
settings_leave(int nest)
{
	if (nest > 0)
		AtEOXact_GUC(true, nest);
}
