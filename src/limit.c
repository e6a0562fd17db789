/*
 * limit.c
 *	  Caps, uses, cooldowns and budgets of rules.
 *
 * Rules:
 * - What is used is a sum over kept awards: units * kept / amount of each, rounded up.  So it ends the same whatever
 *	 path led there, and verify() can add it up again.
 * - Usage of a member is read and written under the account's lock.  It is counted for every rule that has a cap,
 *	 max_uses or a cooldown, enabled or not; a limit that is set later is counted from the ledger (recount_limits).
 *	 How it is kept: usage.c.
 * - A rolling period bounds every window of its length: what comes late gets what all windows that hold it have left.
 * - A limit bounds what is given anew.  What comes back (the same key again, a purchase that is un-cancelled) was
 *	 given before: it counts, and may stand above the limit until something is returned.
 * - Budgets are waited for after all accounts of the statement are locked, and in the order of rule ids: by one new
 *	 purchase at most once a rule, while it holds those before; by a statement of many rows all at once, before its
 *	 first taking (post.c locks all its accounts before that).  So nobody waits in a ring.
 * - Sources without limits never come here.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "calendar.h"
#include "errcodes.h"
#include "fixed.h"
#include "limit.h"
#include "money.h"
#include "owner.h"
#include "slots.h"
#include "usage.h"

static SlotTable rule_budget = {.table = "rule_budget", .id_column = "rule_id"};

typedef struct PurseBudget
{
	int32		rule_id;
	Slots	   *slots;			/* NULL: not locked, nothing is left */
} PurseBudget;

struct Purse
{
	const Source *source;
	PurseMode	mode;
	bool		all_new;		/* nothing can come back */
	bool		locked;
	MemoryContext context;
	int			nbudgets;
	PurseBudget *budgets;		/* by rule id */
};

/* ---- budgets ---- */

Purse *
limit_open(const Source *source, PurseMode mode, bool all_new)
{
	Purse	   *purse = palloc0(sizeof(Purse));

	purse->source = source;
	purse->mode = mode;
	purse->all_new = all_new;
	purse->context = CurrentMemoryContext;
	return purse;
}

void
limit_set_mode(Purse *purse, PurseMode mode)
{
	if (!purse->locked)
		purse->mode = mode;
}

/* All budgets of the source that have something left, or that something may come back to. */
static void
lock_budgets(Purse *purse)
{
	const Program *program = purse->source->program;
	MemoryContext old = MemoryContextSwitchTo(purse->context);

	purse->locked = true;
	purse->budgets = palloc0(program->nlimits * sizeof(PurseBudget));
	for (int i = 0; i < program->nlimits; i++)
	{
		const RuleLimit *limit = &program->limits[i];
		PurseBudget *budget;

		if (limit->source_id != purse->source->id || !limit->has_budget)
			continue;
		budget = &purse->budgets[purse->nbudgets++];
		budget->rule_id = limit->rule_id;
		if (purse->all_new && slots_look(&rule_budget, limit->rule_id, false) <= 0)
			continue;
		budget->slots = palloc(sizeof(Slots));
		slots_lock(&rule_budget, limit->rule_id, budget->slots);
	}
	MemoryContextSwitchTo(old);
}

static Slots *
locked_slots(Purse *purse, int32 rule_id)
{
	if (purse == NULL || purse->mode != PURSE_MANY)
		return NULL;
	if (!purse->locked)
		lock_budgets(purse);
	for (int i = 0; i < purse->nbudgets; i++)
		if (purse->budgets[i].rule_id == rule_id)
			return purse->budgets[i].slots;
	return NULL;
}

static Units
take_budget(Purse *purse, int32 rule_id, Units wanted)
{
	OwnerSwitch caller;
	Slots	   *slots;
	int64		left;

	owner_become(&caller);
	if (purse->mode == PURSE_READS)
		wanted = Min(wanted, Max(0, slots_look(&rule_budget, rule_id, true)));
	else if (purse->mode == PURSE_ONE)
		wanted = slots_take(&rule_budget, rule_id, wanted, true, &left);
	else
	{
		slots = locked_slots(purse, rule_id);
		wanted = slots ? slots_take_locked(slots, wanted) : 0;
	}
	owner_restore(&caller);
	return wanted;
}

static void
give_budget(Purse *purse, int32 rule_id, Units units)
{
	OwnerSwitch caller;
	Slots	   *slots;

	owner_become(&caller);
	slots = locked_slots(purse, rule_id);
	if (slots)
		slots_give_locked(slots, units);
	else
		slots_give(&rule_budget, rule_id, units);
	owner_restore(&caller);
}

void
limit_close(Purse *purse)
{
	OwnerSwitch caller;

	owner_become(&caller);
	for (int i = 0; i < purse->nbudgets; i++)
		if (purse->budgets[i].slots)
			slots_write(&rule_budget, purse->budgets[i].rule_id, purse->budgets[i].slots);
	owner_restore(&caller);
}

/* ---- counting ---- */

static void
change_budget(Account *account, int32 rule_id, Units units)
{
	int			i = 0;

	while (i < account->nbudget_changes && account->budget_changes[i].rule_id < rule_id)
		i++;
	if (i == account->nbudget_changes || account->budget_changes[i].rule_id != rule_id)
	{
		int			n = account->nbudget_changes++;

		account->budget_changes = account->budget_changes == NULL
			? MemoryContextAlloc(account->context, sizeof(BudgetChange))
			: repalloc(account->budget_changes, (n + 1) * sizeof(BudgetChange));
		memmove(&account->budget_changes[i + 1], &account->budget_changes[i], (n - i) * sizeof(BudgetChange));
		account->budget_changes[i] = (BudgetChange) {.rule_id = rule_id};
	}
	account->budget_changes[i].units += units;
}

void
limit_award(Account *account, int32 source_id, const bytea *bytes, TimestampTz earned_at)
{
	Breakdown  *breakdown = bytes ? breakdown_decode(bytes) : NULL;

	for (int i = 0; breakdown && i < breakdown->count; i++)
	{
		const BreakdownEntry *entry = &breakdown->entries[i];
		const RuleLimit *limit = config_limit(account->program, entry->rule);

		if (limit)
			usage_count(account, limit, earned_at, entry->units, entry->units > 0 && !entry->continued);
	}
}

/* What counts of a rule's units when so much of a purchase is kept. */
static Units
kept_units(Units units, Numeric kept, Numeric amount)
{
	if (kept == NULL)
		return 0;
	if (money_compare(kept, amount) == 0)
		return units;
	return money_sign(kept) == 0 ? 0 : breakdown_units_kept(units, kept, amount);
}

static bool
is_kept(Numeric kept, Numeric amount)
{
	return kept && (money_sign(kept) != 0 || money_sign(amount) == 0);
}

void
limit_keep(Account *account, const Lot *lot, Numeric kept)
{
	Breakdown  *breakdown = lot->breakdown ? breakdown_decode(lot->breakdown) : NULL;
	int32		uses = is_kept(kept, lot->amount) - is_kept(lot->kept_amount, lot->amount);

	for (int i = 0; breakdown && i < breakdown->count; i++)
	{
		const BreakdownEntry *entry = &breakdown->entries[i];
		const RuleLimit *limit = config_limit(account->program, entry->rule);
		Units		units;

		if (limit == NULL || entry->units == 0)
			continue;
		units = kept_units(entry->units, kept, lot->amount) - kept_units(entry->units, lot->kept_amount, lot->amount);
		usage_count(account, limit, lot->earned_at, units, entry->continued ? 0 : uses);
		if (limit->has_budget && units != 0)
			change_budget(account, limit->rule_id, -units);
	}
}

static void
write_budgets(Account *account)
{
	for (int i = 0; i < account->nbudget_changes; i++)
		give_budget(account->purse, account->budget_changes[i].rule_id, account->budget_changes[i].units);
	account->nbudget_changes = 0;
}

void
limit_write(Account *account)
{
	usage_write(account);
	write_budgets(account);
}

/* ---- trimming ---- */

static void
trim(BreakdownEntry *entry, BreakdownLimit by, Units left)
{
	if (left >= entry->units)
		return;
	entry->lost += entry->units - left;
	entry->units = left;
	entry->limit = by;
}

/* When the rule may pay again after it has paid. */
static TimestampTz
cooled_down(const RuleLimit *limit, const Program *program, TimestampTz paid)
{
	return calendar_add(paid, limit->cooldown.month, limit->cooldown.day, program->zone) + limit->cooldown.time;
}

/* Has the rule paid on a kept purchase so shortly before, or (when this one comes late) after? */
static bool
is_too_soon(Account *account, const RuleLimit *limit, TimestampTz at)
{
	TimestampTz most = (limit->cooldown.month * INT64CONST(32) + limit->cooldown.day + 2) * USECS_PER_DAY + limit->cooldown.time;
	const Paid *all = usage_paid(account, limit->rule_id, at - most);

	for (int i = usage_position(all, at - most); i < all->n && all->usages[i]->period_start <= at + most; i++)
	{
		TimestampTz paid = all->usages[i]->period_start;

		if (all->usages[i]->uses > 0 &&
			(paid <= at ? cooled_down(limit, account->program, paid) > at : cooled_down(limit, account->program, at) > paid))
			return true;
	}
	return false;
}

static void
trim_entry(Account *account, const RuleLimit *limit, TimestampTz at, BreakdownEntry *entry)
{
	if (limit->has_uses && !entry->continued && usage_most(account, limit, &limit->uses_period, at).uses >= limit->max_uses)
		trim(entry, BREAKDOWN_USES, 0);
	if (limit->has_cooldown && !entry->continued && entry->units > 0 && is_too_soon(account, limit, at))
		trim(entry, BREAKDOWN_COOLDOWN, 0);
	if (limit->has_cap && entry->units > 0)
		trim(entry, BREAKDOWN_CAP, Max(0, limit->cap - usage_most(account, limit, &limit->cap_period, at).units));
}

bool
limit_trim(Account *account, const Source *source, TimestampTz occurred_at, Award *award)
{
	const Program *program = source->program;
	bool		trimmed = false;

	write_budgets(account);		/* what a return has just given back can be had again */
	for (int l = 0; l < program->nlimits; l++)
	{
		const RuleLimit *limit = &program->limits[l];

		for (int i = 0; limit->source_id == source->id && i < award->breakdown.count; i++)
		{
			BreakdownEntry *entry = &award->breakdown.entries[i];

			if (entry->rule != limit->rule_id)
				continue;
			trim_entry(account, limit, occurred_at, entry);
			if (limit->has_budget && entry->units > 0)
				trim(entry, BREAKDOWN_BUDGET, take_budget(account->purse, limit->rule_id, entry->units));
			trimmed |= entry->lost > 0;
		}
	}
	return trimmed;
}

const char *
limit_words(const BreakdownEntry *entry, const Unit *unit)
{
	const char *what = unit ? unit->name : "points";
	const char *wanted = fixed_to_text(entry->units + entry->lost, UNITS_SCALE);

	switch (entry->limit)
	{
		case BREAKDOWN_UNLIMITED:
			return NULL;
		case BREAKDOWN_USES:
			return psprintf("its uses are up: it would have given %s %s", wanted, what);
		case BREAKDOWN_COOLDOWN:
			return psprintf("its cooldown is not over: it would have given %s %s", wanted, what);
		case BREAKDOWN_CAP:
			return psprintf("its cap leaves %s of %s %s", fixed_to_text(entry->units, UNITS_SCALE), wanted, what);
		case BREAKDOWN_BUDGET:
			return psprintf("its budget leaves %s of %s %s", fixed_to_text(entry->units, UNITS_SCALE), wanted, what);
	}
	return NULL;
}
