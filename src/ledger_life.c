/*
 * ledger_life.c
 *	  Points that live as long as their account is active ("18 months inactive"), and die all at once.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - An account has lives, numbered from 1.  A lot with the number of a life dies with it, at inactive_at; what comes
 *	 later belongs to the next one.  So a lot of a former life is dead, whatever comes back to it, and no lot is touched.
 * - Each purchase of which something is kept puts inactive_at off, and nothing else does; a membership is active from
 *	 its beginning.  active_at is the greatest instant of such purchases.  Returning the last one finds the earlier one again.
 * - Only a program whose expiry is of this kind counts activity; elsewhere inactive_at is infinity, and nothing is paid.
 * - A tier may suspend expiry: then the account has a life without end, and each lot of a finite date is marked by its
 *	 number below 0: it does not die before the life ends, which has an end from the day on which the tier is left.
 * - Time never runs backwards: what has died stays dead when a purchase comes late or comes back.  Of one that comes back
 *	 only its own points live again, if all of them had been taken and its own time is not over.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "ledger.h"
#include "ledger_entry.h"
#include "money.h"
#include "store.h"

#define LOTS_A_PAGE 64

static bool
counts_activity(const Account *account)
{
	return account->program->expiry.kind == EXPIRY_INACTIVE;
}

/* A live lot keeps its own date, for when that is the later one.  What waits for an event dies at its deadline. */
void
ledger_suspend_lot(Account *account, Lot *lot)
{
	if (lot->life == -account->life || lot->expires_at == DT_NOEND || lot->available_at == DT_NOEND)
		return;
	lot->life = -account->life;
	lot->changed = true;
}

void
ledger_suspend(Account *account, TimestampTz at)
{
	LotCursor	cursor = {0};
	Lot		   *lot;

	while ((account->available > 0 || account->pending > 0) && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (lot->remaining > 0 && ledger_lives(account, lot, at))
			ledger_suspend_lot(account, lot);
	}
	account->inactive_at = account->active_at = DT_NOEND;
	account->changed = true;
}

/* On leaving, all that was suspended lives at least as long as if it had been earned then. */
void
ledger_follow_tier(Account *account, TimestampTz at)
{
	const Tier *tier = config_tier(account->program, account->tier_id);

	if (tier && tier->suspends)
		ledger_suspend(account, at);
	else if (ledger_is_suspended(account))
	{
		account->active_at = DT_NOBEGIN;
		account->inactive_at = expiry_instant(&account->program->expiry, at, account->program->zone);
		account->next_change_at = Min(account->next_change_at, account->inactive_at);
		account->changed = true;
	}
}

static TimestampTz
inactive_after(const Account *account, TimestampTz active_at)
{
	return expiry_inactive_at(&account->program->expiry, active_at, account->program->zone);
}

static void
set_active(Account *account, TimestampTz active_at)
{
	account->active_at = active_at;
	account->inactive_at = inactive_after(account, Max(active_at, account->enrolled_at));
	account->next_change_at = Min(account->next_change_at, account->inactive_at);
	account->changed = true;
}

void
ledger_begin_life(Account *account)
{
	account->life = 1;
	account->active_at = DT_NOBEGIN;
	account->inactive_at = counts_activity(account) ? inactive_after(account, account->enrolled_at) : DT_NOEND;
}

void
ledger_active(Account *account, TimestampTz active_at)
{
	if (counts_activity(account) && active_at > account->active_at)
		set_active(account, active_at);
}

/* An account from the time before its program counted activity is active when points first come again. */
int16
ledger_present_life(Account *account, TimestampTz at)
{
	if (!counts_activity(account) && account->inactive_at == DT_NOEND)
		return 0;
	if (account->inactive_at == DT_NOEND)
	{
		account->inactive_at = inactive_after(account, at);
		account->next_change_at = Min(account->next_change_at, account->inactive_at);
	}
	return account->inactive_at > at ? account->life : 0;
}

void
ledger_end_life(Account *account, TimestampTz at)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	LotCursor	cursor = {0};
	Lot		   *lot;

	while ((account->available > 0 || account->pending > 0) && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		Points	   *part = lot->available_at > at ? &account->pending : &account->available;

		CHECK_FOR_INTERRUPTS();
		if (lot->remaining == 0 || lot->life <= 0 || !ledger_lives(account, lot, at))
			continue;
		*part = points_subtract(*part, lot->remaining);
		ledger_move(account, lot, ENTRY_EXPIRE, -lot->remaining, at, 0, 0);
	}
	if (account->life == PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("account of member " INT64_FORMAT " has been inactive too often", account->member_id),
				 errdetail("Its points have died of inactivity %d times.", PG_INT16_MAX)));
	account->life++;
	account->changed = true;
	MemoryContextSwitchTo(old);
}

/* When a lot shows activity; -infinity: it does not.  Points that were earned before they came are an opening balance. */
static TimestampTz
activity_of(const Lot *lot)
{
	if (lot->kind == LOT_AWARD)
		return ledger_keeps_something(lot, lot->kept_amount) ? Min(lot->earned_at, lot->at) : DT_NOBEGIN;
	return lot->kind == LOT_ADJUST && lot->earned_at < lot->at ? lot->earned_at : DT_NOBEGIN;
}

/* All lots of the account, as they are now: only the return of its last purchase asks. */
static TimestampTz
last_activity(Account *account)
{
	MemoryContext page = AllocSetContextCreate(CurrentMemoryContext, "loyalty page", ALLOCSET_DEFAULT_SIZES);
	TimestampTz expires_at = DT_NOEND;
	TimestampTz last = DT_NOBEGIN;
	int64		entry_no = PG_INT64_MAX;
	Lot		   *lots[LOTS_A_PAGE];
	int			found = account->stored ? LOTS_A_PAGE : 0;

	for (int i = 0; i < account->nfresh; i++)
		last = Max(last, activity_of(account->fresh[i]));
	while (found == LOTS_A_PAGE)
	{
		CHECK_FOR_INTERRUPTS();
		found = store_read_back(account, expires_at, entry_no, LOTS_A_PAGE, page, lots);
		for (int i = 0; i < found; i++)
		{
			const Lot  *known = ledger_known_lot(account, lots[i]->entry_no);

			last = Max(last, activity_of(known ? known : lots[i]));
			expires_at = lots[i]->expires_at;
			entry_no = lots[i]->entry_no;
		}
		MemoryContextReset(page);
	}
	MemoryContextDelete(page);
	return last;
}

/* The earlier time may be over by now: then the life ends here. */
void
ledger_passive(Account *account, TimestampTz active_at, TimestampTz at)
{
	bool		was_active = account->inactive_at > at;

	if (!counts_activity(account) || account->active_at == DT_NOBEGIN || active_at < account->active_at)
		return;
	set_active(account, last_activity(account));
	if (was_active && account->inactive_at <= at)
		ledger_end_life(account, at);
}

void
ledger_revive(Account *account, Lot **lots, int nlots, TimestampTz active_at, TimestampTz at)
{
	ledger_active(account, active_at);
	if (!counts_activity(account) || inactive_after(account, active_at) <= at)
		return;
	for (int i = 0; i < nlots; i++)
		if (lots[i]->life > 0 && lots[i]->remaining == 0)
		{
			lots[i]->life = account->life;
			lots[i]->changed = true;
		}
}
