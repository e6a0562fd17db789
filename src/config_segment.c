/*
 * config_segment.c
 *	  Segments.
 *
 * Rule: a segment's condition is compiled when it is first asked for, under the settings of its program: literals are read then.
 */
#include "postgres.h"

#include "config_load.h"
#include "settings.h"

void
config_load_segments(Config *config)
{
	uint64		n = config_query("SELECT program, id, name, condition, enabled, author FROM loyalty.segment");

	config->segments = MemoryContextAllocZero(config->context, mul_size(Max(n, 1), sizeof(SegmentRow)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);
		Program    *p = config_program_named(config, row_text(&r));
		SegmentRow *row = &config->segments[config->nsegments];

		if (p == NULL)
			continue;
		row->segment.program = p;
		row->segment.id = DatumGetInt32(row_datum(&r));
		row->segment.name = row_text(&r);
		row->condition = row_text(&r);
		row->segment.enabled = DatumGetBool(row_datum(&r));
		row->author = DatumGetObjectId(row_datum(&r));
		config->nsegments++;
	}
}

/* The segment of this name, compiled; under the settings of its program. */
Segment *
config_segment_named(Config *config, const Program *program, const char *name)
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

const Segment *
config_segment(const Program *program, const char *name)
{
	Config	   *config = config_get();
	int			nest = settings_enter(program, false);	/* literals are read now */
	Segment    *segment = config_segment_named(config, config_program_by_id(program->id), name);

	settings_leave(nest);
	return segment;
}
