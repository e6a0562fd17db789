/*
 * ledger_debt.c
 *	  What a return found nowhere, under clawback = debt: owed, repaid by what becomes available, cancelled when the
 *	  purchase comes back.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - A return takes all by clawbacks of the award's lot.  What was not there, a debt lends: a movement `debt` gives it to
 *	 the same lot, so that the lot is as it was, and the debt has this movement's number.
 * - A repayment is a movement `repay` of the lot that paid, which names the debt.  What is left of a debt is the sum of
 *	 its movements of both kinds, at every instant.
 * - account->debt is the sum of what is left, and while it is above 0 nothing is available.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "errcodes.h"
#include "ledger.h"
#include "ledger_entry.h"
#include "store.h"

void
ledger_take_debt(Account *account, Debt *debt)
{
	if (account->ndebts == account->max_debts)
	{
		account->max_debts = Max(8, account->max_debts * 2);
		account->debts = account->debts == NULL
			? MemoryContextAlloc(account->context, account->max_debts * sizeof(Debt *))
			: repalloc(account->debts, mul_size(account->max_debts, sizeof(Debt *)));
	}
	account->debts[account->ndebts++] = debt;
}

/* Before anything changes a debt. */
static void
read_debts(Account *account)
{
	if (!account->debts_read && account->debt > 0 && account->stored)
		store_read_debts(account);
	account->debts_read = true;
}

static void
change_debt(Account *account, Debt *debt, Points points)
{
	debt->left = points_add(debt->left, points);
	account->debt = points_add(account->debt, points);
	Assert(debt->left >= 0 && account->debt >= 0);
	debt->changed = true;
}

void
ledger_owe(Account *account, Lot *award, Points points, TimestampTz at)
{
	Debt	   *debt;

	read_debts(account);
	ledger_move(account, award, ENTRY_CLAWBACK, -points, at, 0, 0);
	debt = MemoryContextAllocZero(account->context, sizeof(Debt));
	debt->entry_no = account->next_entry;
	debt->lot_expires_at = award->expires_at;
	debt->lot_entry_no = award->entry_no;
	debt->amount = points;
	debt->at = at;
	debt->posted_at = account->posted_at;
	ledger_move(account, award, ENTRY_DEBT, points, at, 0, award->entry_no);
	ledger_take_debt(account, debt);
	change_debt(account, debt, points);
}

/* What is left of the debts of a purchase that comes back, the latest first. */
Points
ledger_cancel_debts(Account *account, Lot *award, Points points, TimestampTz at)
{
	Points		cancelled = 0;

	if (account->debt == 0)
		return 0;
	read_debts(account);
	for (int i = account->ndebts - 1; i >= account->open_debt && cancelled < points; i--)
	{
		Debt	   *debt = account->debts[i];
		Points		part = Min(debt->left, points - cancelled);

		if (debt->lot_entry_no != award->entry_no || part == 0)
			continue;
		ledger_move(account, award, ENTRY_CLAWBACK, part, at, 0, 0);
		ledger_move(account, award, ENTRY_DEBT, -part, at, 0, debt->entry_no);
		change_debt(account, debt, -part);
		cancelled += part;
	}
	return cancelled;
}

/* What is left of a lot's own debts, by points that come back to it, whether or not it lives. */
Points
ledger_pay_own_debts(Account *account, Lot *award, Points points, TimestampTz at)
{
	Points		paid = 0;

	if (account->debt == 0)
		return 0;
	read_debts(account);
	for (int i = account->open_debt; i < account->ndebts && paid < points; i++)
	{
		Debt	   *debt = account->debts[i];
		Points		part = Min(debt->left, points - paid);

		if (debt->lot_entry_no != award->entry_no || part == 0)
			continue;
		ledger_move(account, award, ENTRY_REPAY, -part, at, 0, debt->entry_no);
		change_debt(account, debt, -part);
		paid += part;
	}
	return paid;
}

/* Of one lot, to the oldest debts. */
static void
pay_from(Account *account, Lot *lot, TimestampTz at)
{
	while (lot->remaining > 0 && account->open_debt < account->ndebts)
	{
		Debt	   *debt = account->debts[account->open_debt];
		Points		part = Min(lot->remaining, debt->left);

		CHECK_FOR_INTERRUPTS();
		if (part == 0)
		{
			account->open_debt++;
			continue;
		}
		ledger_change_lot(account, lot, -part, at);
		ledger_move(account, lot, ENTRY_REPAY, -part, at, 0, debt->entry_no);
		change_debt(account, debt, -part);
	}
}

void
ledger_pay_debts(Account *account, TimestampTz at)
{
	LotCursor	cursor = {0};
	MemoryContext old;
	Lot		   *lot;

	if (account->debt == 0 || account->available == 0)
		return;
	old = MemoryContextSwitchTo(account->context);
	read_debts(account);
	while (account->debt > 0 && account->available > 0 && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (ledger_lives(account, lot, at) && lot->available_at <= at)
			pay_from(account, lot, at);
		if (account->open_debt == account->ndebts)
			break;
	}
	if (account->debt > 0 && account->available > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
				 errmsg("lots or debts of member " INT64_FORMAT " are less than the account says", account->member_id),
				 errdetail("%s points are owed and %s are available.", points_to_text(account->debt),
						   points_to_text(account->available)),
				 errhint("Call SELECT * FROM loyalty.verify().")));
	MemoryContextSwitchTo(old);
}

void
ledger_write_debts(Account *account)
{
	Debt	  **fresh = palloc(mul_size(account->ndebts, sizeof(Debt *)));
	Debt	  **changed = palloc(mul_size(account->ndebts, sizeof(Debt *)));
	int			nfresh = 0;
	int			nchanged = 0;

	for (int i = 0; i < account->ndebts; i++)
	{
		if (!account->debts[i]->stored)
			fresh[nfresh++] = account->debts[i];
		else if (account->debts[i]->changed)
			changed[nchanged++] = account->debts[i];
	}
	store_change_debts(account, changed, nchanged);
	store_insert_debts(account, fresh, nfresh);
}
