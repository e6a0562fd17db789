/*
 * config_load.h
 *	  The inside of the configuration's cache: for config*.c alone.
 *
 * A loader reads the rows of one kind into the generation that is being built; config_build() calls them in the order
 * in which they need each other.
 */
#ifndef LOYALTY_CONFIG_LOAD_H
#define LOYALTY_CONFIG_LOAD_H

#include "access/htup.h"
#include "utils/relcache.h"

#include "config.h"

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

/* A member who earns nothing. */
typedef struct ExcludedMember
{
	int64		member_id;
	bool		erased;
} ExcludedMember;

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
	ExcludedMember *excluded;	/* ascending */
	int			nmerged;
	MergedMember *merged;		/* ascending */
	List	   *attached;		/* of Attached */
	int			nwatched;
	Oid		   *watched;		/* relations whose invalidation makes this stale */
} Config;

/* The generation in force; builds it when there is none, or when it is stale. */
extern Config *config_get(void);

/* ---- rows, config_row.c ---- */

/* A row of the last query, read column by column in the order of its SELECT. */
typedef struct RowReader
{
	HeapTuple	tuple;
	TupleDesc	desc;
	int			column;
	MemoryContext context;
	bool		isnull;			/* the column that was read last */
} RowReader;

/* What belongs to a partner (row t) is there as long as the partner is enabled. */
#define PARTNER_TAKES_PART " AND NOT EXISTS (SELECT FROM loyalty.partner k WHERE k.program OPERATOR(pg_catalog.=) t.program" \
	" AND k.name OPERATOR(pg_catalog.=) t.partner AND NOT k.enabled)"

extern uint64 config_query(const char *sql);	/* the number of rows */
extern RowReader config_row(Config *config, uint64 row);
extern void *config_grow(Config *config, void *rows, int n, Size size);	/* room for one more, zeroed */

extern Datum row_datum(RowReader *reader);
extern char *row_text(RowReader *reader);	/* NULL: null; likewise below */
extern Numeric row_numeric(RowReader *reader);
extern Points row_points(RowReader *reader);	/* 0: null */
extern void *row_bytes(RowReader *reader, size_t size);
extern Interval row_interval(RowReader *reader, bool *given);
extern char **row_texts(RowReader *reader, int *n);
extern int	row_choice(const char *value, const char *const *choices, const char *column);

/* ---- loaders, in the order in which they are called ---- */

extern void config_load_programs(Config *config);
extern void config_load_units(Config *config);
extern void config_load_tiers(Config *config);
extern void config_load_requirements(Config *config);
extern void config_load_ladders(Config *config);
extern void config_load_sources(Config *config);
extern void config_load_limits(Config *config);
extern void config_load_challenges(Config *config);
extern void config_load_rules(Config *config);
extern void config_load_segments(Config *config);
extern void config_load_rewards(Config *config);
extern void config_load_excluded(Config *config);
extern void config_load_merged(Config *config);

/* ---- what loaders ask each other ---- */

extern Program *config_program_named(Config *config, const char *name); /* NULL: there is none */
extern int32 config_metric(const Program *program, const char *name, const char *column);
extern int32 config_source_named(Config *config, const Program *program, const char *name); /* 0: there is none */

/* compiles it, under the settings of its program; NULL: there is none */
extern Segment *config_segment_named(Config *config, const Program *program, const char *name);

/* The rules of a source, compiled; what they may depend on is added to it. */
extern void config_compile_rules(Config *config, Source *source, Relation relation);

#endif
