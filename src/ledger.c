/*
 * ledger.c
 *	  The only room that changes points; ledger_keep.c (returns), ledger_payer.c (who paid for them), ledger_burn.c (burns),
 *	  ledger_hold.c (holds, and burns that are undone), ledger_debt.c (debts), ledger_move.c (points that go on to other
 *	  lots) and ledger_life.c (points that die of inactivity) are its other doors.
 *
 * Rules:
 * - Whoever calls anything here but a reader holds the account's row lock.
 * - ledger_settle() is pure: it changes the account in memory and notes movements; writers store them,
 *	 readers throw them away.  Both see the same figures at the same instant.
 * - An account's time never runs backwards: every change is at or after settled_at.
 * - Until next_change_at the cached figures are exact.  It may be too early (a lot was emptied), never too late.
 * - A lot that is alive counts in `available` or `pending` with what remains of it; a dead one's remaining is
 *	 what died, and equals its expire movements.
 * - open_from is the place in burn order before which nothing is open.
 * - Settling stops at each instant at which a hold lapses or the account's life ends, so that all happens in the order of time.
 * - While something is owed (debt) nothing is available: whoever makes points available calls ledger_pay_debts().
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "challenge.h"
#include "counter.h"
#include "errcodes.h"
#include "event.h"
#include "follow.h"
#include "ledger.h"
#include "ledger_entry.h"
#include "limit.h"
#include "money.h"
#include "stock.h"
#include "store.h"
#include "tier.h"
#include "voucher.h"

#define LOTS_A_READ 32
#define LOTS_FIRST_READ 4		/* most calls need no more */

const char *const entry_kind_names[] = {
	[ENTRY_REDEEM] = "redeem",
	[ENTRY_HOLD] = "hold",
	[ENTRY_RESTORE] = "restore",
	[ENTRY_EXPIRE] = "expire",
	[ENTRY_CLAWBACK] = "clawback",
	[ENTRY_TRANSFER] = "transfer",
	[ENTRY_REPAY] = "repay",
	[ENTRY_ADJUST] = "adjust",
	[ENTRY_DEBT] = "debt",
};

static bool settle_to_stop(Account *account, TimestampTz at);
static void settle_to(Account *account, TimestampTz at);
static void release_lots(Account *account, TimestampTz at);
static void settle_lots(Account *account, TimestampTz at);
static void open_lot(Account *account, const Lot *lot, TimestampTz at);

/* ---- accounts in memory ---- */

void
ledger_enroll(Account *account, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	account->enrolled_at = account->settled_at = at;
	account->available = account->pending = account->held = account->debt = 0;
	account->next_entry = 1;
	account->open_from_expires_at = DT_NOEND;
	account->open_from_entry_no = PG_INT64_MAX;
	account->status = "active";
	account->enrolled = account->is_new = true;
	tier_begin(account);
	ledger_begin_life(account);
	account->next_change_at = Min(tier_next_change(account), account->inactive_at);
	MemoryContextSwitchTo(old);
}

static int
lot_compare(const Lot *a, TimestampTz expires_at, int64 entry_no)
{
	if (a->expires_at != expires_at)
		return a->expires_at < expires_at ? -1 : 1;
	return a->entry_no < entry_no ? -1 : a->entry_no > entry_no;
}

static void
append_lot(MemoryContext context, Lot ***lots, int *n, int *max, Lot *lot)
{
	if (*n == *max)
	{
		*max = Max(8, *max * 2);
		*lots = *lots == NULL ? MemoryContextAlloc(context, *max * sizeof(Lot *))
			: repalloc(*lots, mul_size(*max, sizeof(Lot *)));
	}
	(*lots)[(*n)++] = lot;
}

/* Into an array in burn order. */
static void
insert_lot(MemoryContext context, Lot ***lots, int *n, int *max, Lot *lot)
{
	int			i;

	append_lot(context, lots, n, max, lot);
	for (i = *n - 1; i > 0 && lot_compare((*lots)[i - 1], lot->expires_at, lot->entry_no) > 0; i--)
		(*lots)[i] = (*lots)[i - 1];
	(*lots)[i] = lot;
}

void
ledger_take_lot(Account *account, Lot *lot)
{
	for (int i = 0; i < account->nnamed; i++)
		if (account->named[i]->entry_no == lot->entry_no)
			lot = account->named[i];
	append_lot(account->context, &account->lots, &account->nlots, &account->max_lots, lot);
}

Lot *
ledger_known_lot(Account *account, int64 entry_no)
{
	for (int i = 0; i < account->nfresh; i++)
		if (account->fresh[i]->entry_no == entry_no)
			return account->fresh[i];
	for (int i = 0; i < account->nlots; i++)
		if (account->lots[i]->entry_no == entry_no)
			return account->lots[i];
	for (int i = 0; i < account->nnamed; i++)
		if (account->named[i]->entry_no == entry_no)
			return account->named[i];
	return NULL;
}

Lot *
ledger_named_lot(Account *account, Lot *lot)
{
	Lot		   *known = ledger_known_lot(account, lot->entry_no);

	Assert(lot->member_id == account->member_id && lot->program_id == account->program->id);
	if (known)
		return known;
	append_lot(account->context, &account->named, &account->nnamed, &account->max_named, lot);
	if (lot->remaining == 0)
		insert_lot(account->context, &account->closed, &account->nclosed, &account->max_closed, lot);
	return lot;
}

Lot *
ledger_lot(Account *account, TimestampTz expires_at, int64 entry_no)
{
	Lot		   *lot = ledger_known_lot(account, entry_no);

	if (lot)
		return lot;
	lot = store_find_lot(account, expires_at, entry_no);
	if (lot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("member " INT64_FORMAT " has no lot " INT64_FORMAT, account->member_id, entry_no),
				 errhint("Call SELECT * FROM loyalty.verify().")));
	return ledger_named_lot(account, lot);
}

/*
 * Stored, fresh and closed lots are each in burn order: the smallest of the three heads is next.  A closed one may have
 * been refilled since, and is not among those that the store gives out.
 */
Lot *
ledger_next_lot(Account *account, LotCursor *cursor)
{
	Lot		   *stored = NULL;
	Lot		   *fresh = cursor->fresh < account->nfresh ? account->fresh[cursor->fresh] : NULL;
	Lot		   *closed = cursor->closed < account->nclosed ? account->closed[cursor->closed] : NULL;

	if (cursor->stored == account->nlots && !account->all_read && account->stored)
		store_read_lots(account, account->nlots == 0 ? LOTS_FIRST_READ : LOTS_A_READ);
	if (cursor->stored < account->nlots)
		stored = account->lots[cursor->stored];
	if (closed && (fresh == NULL || lot_compare(closed, fresh->expires_at, fresh->entry_no) < 0) &&
		(stored == NULL || lot_compare(closed, stored->expires_at, stored->entry_no) < 0))
	{
		cursor->closed++;
		return closed;
	}
	if (stored && (fresh == NULL || lot_compare(stored, fresh->expires_at, fresh->entry_no) < 0))
	{
		cursor->stored++;
		return stored;
	}
	if (fresh)
		cursor->fresh++;
	return fresh;
}

/* ---- settle ---- */

TimestampTz
ledger_settle(Account *account, TimestampTz at)
{
	if (at <= account->settled_at)
	{
		if (account->ladder_no >= account->program->ladder_no)
			return account->settled_at;
		at = account->settled_at;	/* a ladder that was applied since is met there */
	}
	if (at >= account->next_change_at || account->ladder_no < account->program->ladder_no)
	{
		while (settle_to_stop(account, at))
			CHECK_FOR_INTERRUPTS();
		settle_to(account, at);
	}
	account->settled_at = at;
	account->changed = true;
	return at;
}

/*
 * To the next instant up to `at` at which a hold lapses or the life ends (first: what comes back then is dead), or a tier that
 * suspends expiry may end; false: none.
 */
static bool
settle_to_stop(Account *account, TimestampTz at)
{
	Redemption *hold = ledger_first_lapse(account);
	TimestampTz lapses_at = hold ? hold->held_until : DT_NOEND;
	TimestampTz ends_at = account->inactive_at > account->settled_at ? account->inactive_at : DT_NOEND;
	TimestampTz reviewed_at = account->program->suspends || ledger_is_suspended(account) ? tier_next_change(account) : DT_NOEND;

	if (Min(Min(lapses_at, ends_at), reviewed_at) > at)
		return false;
	settle_to(account, Min(Min(lapses_at, ends_at), reviewed_at));
	if (reviewed_at < Min(lapses_at, ends_at))
		return true;			/* the tier may have gone, and the points have a date again */
	if (ends_at <= lapses_at)
		ledger_end_life(account, ends_at);
	else
		ledger_unhold(account, hold, lapses_at);
	return true;
}

/* No hold lapses and no life ends before `at`. */
static void
settle_to(Account *account, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_settle(account, at);
	if (account->debt > 0)
		release_lots(account, at);
	settle_lots(account, at);
	account->settled_at = at;
	MemoryContextSwitchTo(old);
}

/* A lot has died; pending: it never was available. */
static void
expire_lot(Account *account, Lot *lot, bool pending)
{
	Points	   *part = pending ? &account->pending : &account->available;

	*part = points_subtract(*part, lot->remaining);
	ledger_move(account, lot, ENTRY_EXPIRE, -lot->remaining, ledger_end_of(account, lot), 0, 0);
}

/* Move the cursor over what dies up to `at`, from the account's instant on. */
static void
expire_lots(Account *account, LotCursor *cursor, TimestampTz at)
{
	for (;;)
	{
		LotCursor	next = *cursor;
		Lot		   *lot = ledger_next_lot(account, &next);

		CHECK_FOR_INTERRUPTS();
		if (lot == NULL || lot->expires_at > at)
			return;
		*cursor = next;
		if (lot->remaining > 0 && ledger_lives(account, lot, account->settled_at) && (lot->life >= 0 || ledger_end_of(account, lot) <= at))
			expire_lot(account, lot, lot->available_at > account->settled_at);
	}
}

static int
compare_releases(const void *a, const void *b)
{
	const Lot  *one = *(Lot *const *) a;
	const Lot  *two = *(Lot *const *) b;

	if (one->available_at != two->available_at)
		return one->available_at < two->available_at ? -1 : 1;
	return lot_compare(one, two->expires_at, two->entry_no);
}

/*
 * Something is owed: what becomes available up to `at` pays it at its own instant, in the order of time, before any of
 * it dies.  Leaves the account at the last such instant.
 */
static void
release_lots(Account *account, TimestampTz at)
{
	LotCursor	cursor = {0};
	LotCursor	deaths = {0};
	Lot		  **lots = NULL;
	int			n = 0;
	int			max = 0;
	Lot		   *lot;

	while (account->pending > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (lot->remaining > 0 && lot->expires_at > lot->available_at && ledger_lives(account, lot, account->settled_at) &&
			lot->available_at > account->settled_at && lot->available_at <= at)
			append_lot(account->context, &lots, &n, &max, lot);
	}
	if (n > 1)
		qsort(lots, n, sizeof(Lot *), compare_releases);
	for (int i = 0; i < n; i++)
	{
		TimestampTz released_at = lots[i]->available_at;

		expire_lots(account, &deaths, released_at);
		account->pending = points_subtract(account->pending, lots[i]->remaining);
		account->available = points_add(account->available, lots[i]->remaining);
		if (i + 1 < n && lots[i + 1]->available_at == released_at)
			continue;
		account->settled_at = released_at;
		ledger_pay_debts(account, released_at);
	}
}

/* Release what has become available, write down what has expired, find the next such instant. */
static void
settle_lots(Account *account, TimestampTz at)
{
	TimestampTz next = tier_next_change(account);
	LotCursor	cursor = {0};
	bool		found = false;
	Redemption *hold = ledger_first_lapse(account);
	Lot		   *lot;

	if (hold)
		next = Min(next, hold->held_until);
	if (account->inactive_at > at)
		next = Min(next, account->inactive_at);
	while ((account->available > 0 || account->pending > 0) && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		bool		was_pending = lot->available_at > account->settled_at;
		TimestampTz end;

		CHECK_FOR_INTERRUPTS();
		if (lot->remaining == 0 || !ledger_lives(account, lot, account->settled_at))
			continue;
		end = lot->life < 0 ? ledger_end_of(account, lot) : lot->expires_at;
		if (end <= at)
		{
			expire_lot(account, lot, was_pending);
			continue;
		}
		if (!found)
		{
			account->open_from_expires_at = lot->expires_at;
			account->open_from_entry_no = lot->entry_no;
			found = true;
		}
		next = Min(next, end);
		if (was_pending && lot->available_at <= at)
		{
			account->pending = points_subtract(account->pending, lot->remaining);
			account->available = points_add(account->available, lot->remaining);
		}
		else if (was_pending)
			next = Min(next, lot->available_at);
		if (account->pending == 0 && !ledger_is_governed(account, account->settled_at))
			break;				/* the rest dies later */
	}
	if (!found)
	{
		account->open_from_expires_at = DT_NOEND;
		account->open_from_entry_no = PG_INT64_MAX;
	}
	account->next_change_at = next;
}

/* ---- entries ---- */

static int64
next_entry(Account *account)
{
	if (account->next_entry == PG_INT64_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("account of member " INT64_FORMAT " has no entry number left", account->member_id)));
	return account->next_entry++;
}

/* Note a movement; what it does to the lot is the caller's. */
void
ledger_move(Account *account, Lot *lot, EntryKind kind, Points points, TimestampTz at, int64 redemption_id, int64 origin)
{
	Movement   *m;

	Assert(points != 0);
	if (account->nmovements == account->max_movements)
	{
		account->max_movements = Max(8, account->max_movements * 2);
		account->movements = account->movements == NULL
			? MemoryContextAlloc(account->context, account->max_movements * sizeof(Movement))
			: repalloc(account->movements, mul_size(account->max_movements, sizeof(Movement)));
	}
	m = &account->movements[account->nmovements++];
	*m = (Movement) {.entry_no = next_entry(account), .kind = kind, .lot_expires_at = lot->expires_at,
		.lot_entry_no = lot->entry_no, .points = points, .at = at, .redemption_id = redemption_id,
		.origin_entry_no = origin};
	account->changed = true;
}

/* A live lot gains or loses points, and the balance with it. */
void
ledger_change_lot(Account *account, Lot *lot, Points points, TimestampTz at)
{
	Points	   *part = lot->available_at > at ? &account->pending : &account->available;

	Assert(ledger_lives(account, lot, at));
	if (points > 0 && ledger_is_suspended(account))
		ledger_suspend_lot(account, lot);
	lot->remaining = points_add(lot->remaining, points);
	*part = points_add(*part, points);
	Assert(lot->remaining >= 0 && *part >= 0);
	lot->changed = true;
	if (points > 0)
		open_lot(account, lot, at);
}

void
ledger_refill(Account *account, Lot *lot, Points points, TimestampTz at)
{
	if (ledger_lives(account, lot, at))
		ledger_change_lot(account, lot, points, at);
	else
	{
		lot->remaining = points_add(lot->remaining, points);
		lot->changed = true;
		ledger_move(account, lot, ENTRY_EXPIRE, -points, at, 0, 0);
	}
}

/* A lot holds live points: nothing open may lie before open_from, no change before next_change_at. */
static void
open_lot(Account *account, const Lot *lot, TimestampTz at)
{
	if (lot_compare(lot, account->open_from_expires_at, account->open_from_entry_no) < 0)
	{
		account->open_from_expires_at = lot->expires_at;
		account->open_from_entry_no = lot->entry_no;
	}
	account->next_change_at = Min(account->next_change_at, ledger_end_of(account, lot));
	if (lot->available_at > at)
		account->next_change_at = Min(account->next_change_at, lot->available_at);
}

static Lot *
grant(Account *account, Points points, char kind, TimestampTz earned_at, TimestampTz available_at,
	  TimestampTz expires_at, int16 life, TimestampTz at)
{
	Lot		   *lot = MemoryContextAllocZero(account->context, sizeof(Lot));

	Assert(at >= account->settled_at);
	lot->member_id = account->member_id;
	lot->program_id = account->program->id;
	lot->entry_no = next_entry(account);
	lot->points = points;
	lot->kind = kind;
	lot->earned_at = earned_at;
	lot->available_at = available_at;
	lot->expires_at = points == 0 ? DT_NOBEGIN : expires_at;
	lot->life = life;
	lot->at = at;
	lot->posted_at = account->posted_at;
	insert_lot(account->context, &account->fresh, &account->nfresh, &account->max_fresh, lot);
	account->changed = true;
	if (points > 0 && lot->expires_at > at)
		ledger_change_lot(account, lot, points, at);
	else if (points > 0)
	{
		lot->remaining = points;	/* dead on arrival */
		ledger_move(account, lot, ENTRY_EXPIRE, -points, at, 0, 0);
	}
	return lot;
}

Lot *
ledger_grant(Account *account, Points points, char kind, TimestampTz earned_at, TimestampTz available_at,
			 TimestampTz expires_at, bool with_account, TimestampTz at)
{
	int16		life = with_account ? ledger_present_life(account, at) : 0;
	Lot		   *lot = grant(account, points, kind, earned_at, available_at, life ? DT_NOEND : expires_at, life, at);

	ledger_pay_debts(account, at);
	return lot;
}

/* ---- purchases ---- */

void
ledger_add_unit(Count *count, int room, int32 unit, Points value)
{
	if (count->units == NULL)
		count->units = palloc(room * sizeof(UnitCount));
	count->units[count->nunits++] = (UnitCount) {unit, value};
}

void
ledger_award(Account *account, int32 source_id, char *source_key, int first_part, const Award *award,
			 Numeric amount, TimestampTz occurred_at, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Count		count = {.spend = amount, .earned = award->points, .purchases = 1};

	if (account->program->suspends && !ledger_is_suspended(account))
		ledger_follow_tier(account, at);
	ledger_active(account, Min(occurred_at, at));
	for (int i = 0; i < award->nlots; i++)
	{
		const AwardLot *share = &award->lots[i];
		int16		life = share->with_account ? ledger_present_life(account, at) : 0;
		TimestampTz expires_at = share->expires_at;
		Lot		   *lot;

		if (share->with_account && life == 0)
			expires_at = Min(expires_at, expiry_inactive_at(&account->program->expiry, occurred_at, account->program->zone));
		lot = grant(account, share->points, LOT_AWARD, occurred_at, share->available_at, expires_at, life, at);
		lot->source_id = source_id;
		lot->source_key = source_key;
		lot->part = first_part + i;
		lot->amount = lot->kept_amount = amount;
		lot->breakdown = share->breakdown;
		lot->unit = share->unit;
		if (i == 0 && account->program->follows)
			follow_note(account, lot, amount, award->points);
		/* the lots of points each hold the same list */
		if (account->program->nlimits > 0 && (i == 0 || share->unit))
			limit_award(account, source_id, share->breakdown, occurred_at);
		if (share->unit)
			ledger_add_unit(&count, award->nlots, share->unit, share->value);
		if (share->unit && account->program->follows)
			follow_note(account, lot, money_zero(), share->value);
	}
	if (award->names_visit)
	{
		count.visit = award->visit;
		counter_name_visit(account, source_id, source_key, &count.visit);
		count.purchases = count.visit != NULL;
	}
	ledger_pay_debts(account, at);
	tier_count(account, Min(occurred_at, at), &count, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
}

/* ---- by hand ---- */

void
ledger_count(Account *account, Points points, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_count(account, at, &(Count) {.earned = points}, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
}

void
ledger_count_unit(Account *account, int32 unit, Points value, TimestampTz counted_at, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	UnitCount	units = {unit, value};

	tier_count(account, counted_at, &(Count) {.nunits = 1, .units = &units}, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	account->changed = true;
	MemoryContextSwitchTo(old);
}

int64
ledger_note(Account *account)
{
	account->changed = true;
	return next_entry(account);
}

int64
ledger_leave(Account *account, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_leave(account, at);
	account->changed = true;
	MemoryContextSwitchTo(old);
	return next_entry(account);
}

int64
ledger_join(Account *account, const Standing *other, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_join(account, other, at);
	if (account->program->suspends)
		ledger_follow_tier(account, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	account->changed = true;
	MemoryContextSwitchTo(old);
	return next_entry(account);
}

int64
ledger_grant_tier(Account *account, int32 tier_id, TimestampTz until, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_grant(account, tier_id, until, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
	return next_entry(account);
}

int64
ledger_revoke_tier(Account *account, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_revoke(account, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
	return next_entry(account);
}

void
ledger_lend_tier(Account *account, const Lent *lent, int n, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	tier_lend(account, lent, n, at);
	account->next_change_at = Min(account->next_change_at, tier_next_change(account));
	MemoryContextSwitchTo(old);
}

int64
ledger_set_status(Account *account, const char *status)
{
	account->status = MemoryContextStrdup(account->context, status);
	account->changed = true;
	return next_entry(account);
}

/* ---- writing ---- */

void
ledger_write(Account *account)
{
	Lot		  **changed = NULL;
	int			nchanged = 0;
	int			max = 0;

	/* a member who is enrolled and earns nothing, because the rule fails or asks for more, is there all the same */
	if (!account->changed && !(account->enrolled && (account->program->tells || !account->stored)))
		return;
	for (int i = 0; i < account->nlots; i++)
		if (account->lots[i]->changed)
			append_lot(account->context, &changed, &nchanged, &max, account->lots[i]);
	for (int i = 0; i < account->nnamed; i++)
	{
		bool		also_open = false;

		for (int j = 0; j < account->nlots && !also_open; j++)
			also_open = account->lots[j] == account->named[i];
		if (account->named[i]->changed && !also_open)
			append_lot(account->context, &changed, &nchanged, &max, account->named[i]);
	}
	if (nchanged > 0)
		store_change_lots(account, changed, nchanged);
	if (account->nfresh > 0)
		store_insert_lots(account, account->fresh, account->nfresh);
	if (account->nmovements > 0)
		store_insert_movements(account, account->movements, account->nmovements);
	if (account->ndebts > 0)
		ledger_write_debts(account);
	if (account->ntier_changes > 0)
		store_insert_tier_changes(account, account->tier_changes, account->ntier_changes);
	for (int i = 0; i < account->nredemptions; i++)
	{
		Redemption *redemption = account->redemptions[i];

		if (redemption->changed)
			store_change_redemption(account, redemption);
		if (redemption->changed && redemption->vouchers > 0)
			voucher_follow(account, redemption);
		if (redemption->gives_stock)
			stock_give(redemption->reward_id, redemption->quantity);
	}
	store_change_account(account);
	limit_write(account);
	if (account->counting)
		counter_write(account);
	if (account->progressing)
		challenge_write(account);
	if (account->program->tells)
		event_tell(account);
	/* lots are read again when they are needed again */
	account->nlots = account->nfresh = account->nnamed = account->nclosed = account->nmovements = account->ntier_changes = 0;
	account->ndebts = account->open_debt = account->nredemptions = 0;
	account->debts_read = account->holds_read = false;
	account->all_read = false;
	account->read_entry_no = 0;
	account->changed = account->enrolled = account->is_new = false;
}
