/*
 * config.c
 *	  Per-backend cache of the configuration: when it is built, when it is stale, when it is freed.
 *
 * What a row of each kind becomes stands in config_WORD.c.
 *
 * Rules:
 * - A generation is built whole, from one snapshot newer than any invalidation seen, and never changed after;
 *	 only expressions are compiled later, when a statement first needs their table.
 * - Invalidation only marks: by relcache messages for the configuration tables (sent by their triggers) and for the
 *	 attached tables (sent by DDL), by any change to functions or roles, because expressions are planned.
 * - A generation that was in use is freed at the end of the transaction, never earlier.
 * - Every table that a loader reads is in config_tables[], or a change of it is seen by nobody.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "config_load.h"
#include "owner.h"
#include "tier.h"

static Config *current;			/* may be stale */
static bool stale;
static List *retired;			/* contexts, in TopMemoryContext */

static Config *config_build(void);
static void watch(Config *config);

static const char *const config_tables[] = {
	"program", "tier", "tier_requirement", "ladder", "ladder_rung", "partner", "source", "rule", "segment", "reward",
	"reward_price", "reward_step", "giving", "event_kind", "member", "unit", "referral_program", "challenge"
};

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

Config *
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

/* ---- building ---- */

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
	config_load_programs(config);
	config_load_units(config);
	config_load_tiers(config);
	config_load_requirements(config);
	for (int i = 0; i < config->nprograms; i++)
		config->programs[i].lowest = tier_of_nothing(&config->programs[i]);
	config_load_ladders(config);
	config_load_sources(config);
	config_load_limits(config);
	config_load_challenges(config);
	config_load_rules(config);
	config_load_segments(config);
	config_load_rewards(config);
	config_load_excluded(config);
	config_load_merged(config);
	PopActiveSnapshot();
	SPI_finish();
	owner_restore(&owner);
	watch(config);
	MemoryContextSetParent(context, CacheMemoryContext);
	return config;
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
