/*
 * config.h
 *	  Configuration rows as C structs, cached per backend.
 *
 * A generation of the cache is built when first needed and never changed.  An invalidation makes it stale; it is
 * freed at the end of the transaction, so pointers into it stay good for the whole of a statement.
 */
#ifndef LOYALTY_CONFIG_H
#define LOYALTY_CONFIG_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/numeric.h"

#include "expiry.h"
#include "expression.h"
#include "period.h"
#include "points.h"

/* What tiers count; above 0: the id of a status unit. */
#define METRIC_POINTS	0
#define METRIC_SPEND	(-1)
#define METRIC_VISITS	(-2)

/* A status unit: nights, stays, qualifying money. */
typedef struct Unit
{
	int32		id;
	char	   *name;
	int			decimals;
	bool		lifetime;		/* counts for ever, whatever the tier_period */
	bool		carries_over;	/* what stands above the threshold reached counts in the next period */
} Unit;

typedef enum ClawbackPolicy
{
	CLAWBACK_PENDING_ONLY,
	CLAWBACK_TO_ZERO,
	CLAWBACK_DEBT
} ClawbackPolicy;

typedef enum OnReturn
{
	ON_RETURN_FALL,
	ON_RETURN_KEEP,
	ON_RETURN_GRACE
} OnReturn;

typedef enum Downgrade
{
	DOWNGRADE_REQUALIFY,
	DOWNGRADE_ONE_LEVEL,
	DOWNGRADE_NEVER
} Downgrade;

/* One figure that a tier asks for; all of one option must be reached. */
typedef struct Requirement
{
	int32		option;
	int32		metric;
	Numeric		threshold;
} Requirement;

typedef struct Tier
{
	int32		id;
	char	   *name;
	int32		rank;
	Numeric		threshold;		/* NULL: not reached by figures */
	Units		earn_bonus;		/* share of earn.base, 1/10^8 */
	bool		permanent;		/* never lost; all are where nothing is ever lost */
	Expiry	   *expiry;			/* of points earned at it; NULL: the program's */
	bool		suspends;		/* no points of whoever holds it expire */
	int			nrequirements;
	Requirement *requirements;	/* by option; any option does, beside the threshold */
} Tier;

/* The limits of a rule, enabled or not: what it has given counts as long as it has them. */
typedef struct RuleLimit
{
	int32		rule_id;
	int32		source_id;
	char	   *name;
	bool		has_cap;
	bool		has_uses;
	bool		has_budget;
	bool		has_cooldown;
	Units		cap;
	int32		max_uses;
	Period		cap_period;
	Period		uses_period;
	Interval	cooldown;
} RuleLimit;

typedef enum ChallengeKind
{
	CHALLENGE_TARGET,
	CHALLENGE_STAMP,
	CHALLENGE_STREAK
} ChallengeKind;

typedef enum ChallengeMetric
{
	CHALLENGE_SPEND,
	CHALLENGE_PURCHASES,
	CHALLENGE_POINTS			/* or a status unit */
} ChallengeMetric;

/* Enabled ones, but for those that count visits. */
typedef struct Challenge
{
	int32		id;
	ChallengeKind kind;
	ChallengeMetric metric;
	int32		unit;			/* 0: none */
	int32		source_id;		/* 0: all */
	Numeric		target;
	int32		times;			/* 0: without end */
	Period		period;
	TimestampTz starts_at;
	TimestampTz ends_at;
	bool		has_deadline;
	Interval	deadline;
	bool		opt_in;
	char	   *name;
	Points		points;			/* for each completion */
	bool		counts_for_tier;
	bool		has_reward;		/* or its completions are told: loyalty.give_challenge() does both */
	char	   *badge;			/* NULL: none */
} Challenge;

typedef struct Program
{
	int32		id;
	char	   *name;
	char	   *timezone;
	pg_tz	   *zone;
	int			decimals;
	Rounding	rounding;
	Expiry		expiry;
	bool		expiry_from_available;
	Interval	pending;
	bool		automatic;		/* enrolment */
	ClawbackPolicy clawback;
	OnReturn	on_return;
	char	   *metric_name;
	int32		metric;
	Period		period;
	Interval	validity;
	int			validity_to;	/* CalendarUnit to whose end it goes on; -1: none */
	Interval	grace;
	Downgrade	downgrade;
	bool		is_default;
	bool		enabled;
	bool		sandbox;
	bool		earn_on_points_paid;
	Numeric		point_value;	/* NULL: not said */
	int			ntiers;
	Tier	   *tiers;			/* by rank, lowest first; enabled ones */
	bool		suspends;		/* some tier suspends expiry */
	int			lowest;			/* index of the tier that figures of 0 give; -1: none */
	int			nunits;
	bool		lifetime_units; /* some of them count for ever */
	bool		carrying_units; /* some of them carry over */
	Unit	   *units;
	bool		counts_visits;
	bool		names_visits;	/* some source says what is a visit */
	int			nlimits;
	RuleLimit  *limits;			/* of its rules that have any, by rule id */

	/* the last answers of tier_held_until() and lot dates: the same for most purchases of a period */
	struct HeldMemo *held;

	/* ladders: all but thresholds, metric, period and lowest are those of the program */
	int32		ladder_no;		/* of the one in force */
	TimestampTz ladder_since;
	bool		ladder_keeps;	/* nobody fell by the change to it */
	struct Program *former;		/* those before, by number */
	struct Program *draft;		/* what waits for apply_tiers(); NULL: nothing */

	uint32		tells;			/* kinds of events that are told; see event.h */
	bool		follows;		/* some room follows its sales; see follow.h */
	bool		follows_sql;	/* one that is told by loyalty.follow_sales() */
	int			nchallenges;
	Challenge  *challenges;
	bool		involves;		/* and changes accounts of others than the members who buy */
} Program;

/* Members, by a condition over account.* and member.*. */
typedef struct Segment
{
	int32		id;
	const Program *program;
	char	   *name;
	Expression *condition;
	bool		enabled;
} Segment;

typedef struct Rule
{
	int32		id;
	char	   *name;
	bool		bonus;
	Expression *points;
	Expression *condition;		/* NULL: always */
	TimestampTz starts_at;
	TimestampTz ends_at;
	int32		priority;
	int			group;			/* exclusive group, numbered from 0; -1 none */
	Expiry	   *expiry;			/* NULL: the program's */
	Interval   *pending;
	const RuleLimit *limit;		/* NULL: none */
	const Unit *unit;			/* NULL: points */
	const Segment *segment;		/* of members to whom it pays; NULL: all */
	char	   *offer;			/* that the member must have; NULL: none */
	Expression *has_offer;
} Rule;

typedef struct Source
{
	int32		id;
	char	   *name;
	Program    *program;
	Oid			relid;
	bool		enabled;
	bool		keep_deleted;
	bool		skip_errors;
	Expression *member;
	Expression *amount;
	Expression *occurred_at;
	Expression *condition;		/* NULL: every row */
	Expression *points_spent;	/* NULL: nothing is paid with points */
	Points		spend_step;		/* 0: any */
	Points		spend_minimum;
	Numeric		spend_maximum_share;	/* of the amount; NULL: all */
	Expression *visit;			/* NULL: the local day is one */
	Expression *release;		/* NULL: no award waits for an event */
	Interval   *release_within; /* for so long; NULL: without end */
	int			nkeys;
	Expression **keys;
	int			nrefund_of;		/* parts of the key of the purchase that a row returns; 0: no row names one */
	Expression **refund_of;
	int32		refund_source_id;	/* whose purchases are returned: its own, unless every row is a return */
	bool		only_returns;	/* every row is a return */
	bool		is_returned;	/* returns name its purchases, and may come first */
	int			nrules;
	Rule	   *rules;			/* enabled ones in award order: base, bonus; priority, id */
	int			ngroups;
	bool		limited;		/* some rule has a limit */
	bool		budgeted;		/* some rule has a budget */
	bool		uses_base;
	bool		uses_local_time;
	uint32		account_columns;	/* that its rules read: ACCOUNT_COLUMN() */
	bool		awards_units;	/* some rule gives a status unit */
	bool		uses_settings;	/* some value depends on TimeZone, formats or search_path */
	bool		uses_authors;	/* some expression runs functions of its author */
	Bitmapset  *mapped_columns; /* that the mapping reads; NULL and mapped_whole_row for all */
	bool		mapped_whole_row;
} Source;

/* The sources of one attached table, by program id: the order in which accounts are locked. */
typedef struct Attached
{
	Oid			relid;
	TupleDesc	desc;
	int			nsources;
	Source	  **sources;
} Attached;

typedef struct Reward
{
	int32		id;
	int32		program_id;
	char	   *name;
	Points		cost;
	bool		has_stock;
	TimestampTz starts_at;
	TimestampTz ends_at;
	bool		enabled;
	bool		special;		/* more than a price: voucher_terms() says what it asks and gives */
	bool		by_points;		/* can be bought for so many points, too */
} Reward;

extern void config_init(void);

/* NULL when the table is not attached.  Compiles what is not compiled yet. */
extern const Attached *config_attached(Oid relid);

extern const Program *config_program_by_id(int32 id);	/* LY003 when unknown */

/* NULL: the default program; LY003 when unknown, or when there is none by default */
extern const Program *config_program(const char *name);

extern const Unit *config_unit(const Program *program, const char *name);	/* NULL: there is none */

extern const RuleLimit *config_limit(const Program *program, int64 rule);	/* NULL: it has none */

extern const Tier *config_tier(const Program *program, int32 id);	/* NULL for 0 and for tiers that are gone */

/* the program on one of its ladders; on the one in force when there is none of this number yet */
extern const Program *config_ladder(const Program *program, int32 ladder_no);

extern const Segment *config_segment(const Program *program, const char *name);	/* NULL when unknown; compiles it */

extern const Reward *config_reward(const Program *program, const char *name);	/* NULL when unknown */

/* members that earn nothing: excluded or erased (member.status) */
extern bool config_member_excluded(int64 member_id);

/* is it erased? */
extern bool config_member_erased(int64 member_id);

/* has anybody been merged into this member: then entries are not numbered in the order of time */
extern bool config_member_absorbed(int64 member_id);

/* who this member is now: whoever they were merged into, else they themselves */
extern int64 config_member_now(int64 member_id);

#endif
