/*
 * ledger_payer.c
 *	  Lots that paid for what an award's lot was to lose, and how they have their points back.
 *
 * Part of the only room that changes points: the rules at the head of ledger.c hold here.
 * - A payer is known by its movements: a clawback that names the lot (origin), or a repayment of one of the lot's debts.
 *	 What it was given back stands there as well: the latest payment is undone first.
 * - What comes back to a lot of which something was returned pays for that first: what the lot owes, what is left of its
 *	 debts, then those who paid in its place, who may have payers themselves.
 * - Payers may pay in a circle.  It is undone at once, so that no point goes round, and nothing is gained or lost by it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "ledger.h"
#include "ledger_entry.h"
#include "money.h"
#include "store.h"

/* What another lot has paid for an award's lot. */
typedef struct Payment
{
	TimestampTz lot_expires_at;
	int64		lot_entry_no;
	int64		debt;			/* by repaying this debt; 0: at the return */
	int64		entry_no;
	Points		points;			/* below 0: given back */
} Payment;

typedef struct Payments
{
	Payment    *list;
	int			n;
	int			max;
} Payments;

static void
add_payment(Payments *payments, const Movement *m, int64 debt)
{
	if (payments->n == payments->max)
	{
		payments->max = Max(8, payments->max * 2);
		payments->list = payments->list == NULL ? palloc(payments->max * sizeof(Payment))
			: repalloc(payments->list, mul_size(payments->max, sizeof(Payment)));
	}
	payments->list[payments->n++] = (Payment) {m->lot_expires_at, m->lot_entry_no, debt, m->entry_no, -m->points};
}

/* All that was moved for one origin, stored or not yet: payments, and the debts of an award. */
static void
collect_payments(Account *account, int64 origin, bool of_debt, Payments *payments)
{
	Movement   *stored;
	int			nstored = store_read_origin(account, origin, &stored);

	for (int i = 0; i < nstored + account->nmovements; i++)
	{
		/* one by one: what is noted may be moved in memory */
		Movement	m = i < nstored ? stored[i] : account->movements[i - nstored];

		CHECK_FOR_INTERRUPTS();
		if (m.origin_entry_no != origin)
			continue;
		if (m.kind == (of_debt ? ENTRY_REPAY : ENTRY_CLAWBACK))
			add_payment(payments, &m, of_debt ? origin : 0);
		else if (m.kind == ENTRY_DEBT && !of_debt)
			collect_payments(account, m.entry_no, true, payments);
	}
}

static int
compare_payers(const void *a, const void *b)
{
	const Payment *one = a;
	const Payment *two = b;

	if (one->lot_entry_no != two->lot_entry_no)
		return one->lot_entry_no < two->lot_entry_no ? -1 : 1;
	if (one->debt != two->debt)
		return one->debt < two->debt ? -1 : 1;
	return one->entry_no < two->entry_no ? -1 : one->entry_no > two->entry_no;
}

static int
compare_entries(const void *a, const void *b)
{
	int64		one = ((const Payment *) a)->entry_no;
	int64		two = ((const Payment *) b)->entry_no;

	return one < two ? -1 : one > two;
}

/* Those that were not given back: that undid the latest of the same lot and debt.  The last one is the latest. */
static void
open_payments(Account *account, const Lot *lot, Payments *payments)
{
	int			n = 0;

	payments->n = 0;
	collect_payments(account, lot->entry_no, false, payments);
	if (payments->n > 1)
		qsort(payments->list, payments->n, sizeof(Payment), compare_payers);
	for (int i = 0; i < payments->n; i++)
	{
		Points		given = -payments->list[i].points;

		if (given < 0)
			payments->list[n++] = payments->list[i];
		while (given > 0 && n > 0)
		{
			Points		part = Min(given, payments->list[n - 1].points);

			given -= part;
			payments->list[n - 1].points -= part;
			if (payments->list[n - 1].points == 0)
				n--;
		}
	}
	payments->n = n;
	if (n > 1)
		qsort(payments->list, n, sizeof(Payment), compare_entries);
}

/* Has nothing of the purchase been returned, or nobody taken the grant back?  Then nobody has paid for this lot. */
static bool
is_kept(const Lot *lot)
{
	if (lot->amount == NULL)
		return lot->kept_amount == NULL;
	return lot->kept_amount != NULL && money_compare(lot->kept_amount, lot->amount) == 0;
}

/* The latest payment of another lot that is not undone; false when there is none. */
static bool
next_payment(Payments *payments, const Lot *lot, Payment *payment)
{
	while (payments->n > 0)
	{
		*payment = payments->list[--payments->n];
		if (payment->lot_entry_no != lot->entry_no)
			return true;
	}
	return false;
}

/* Points that came back to a lot on their way to those who had paid for it; from: whose payer the lot is itself. */
typedef struct Passing
{
	Lot		   *lot;
	Points		points;			/* still to pass on */
	Lot		   *payer;			/* who is paid now, */
	int64		debt;			/* for this debt, */
	Points		left;			/* and has so much of that payment still open */
	struct Passing *from;
} Passing;

static Points arrive(Account *account, Lot *lot, Points points, TimestampTz at, Passing *from);

/* The lot pays itself now, and the payer has its points again: what it does with them is the caller's. */
static void
repay_payer(Account *account, Passing *passing, Points points, TimestampTz at)
{
	EntryKind	kind = passing->debt ? ENTRY_REPAY : ENTRY_CLAWBACK;

	ledger_move(account, passing->lot, kind, -points, at, 0, passing->debt);
	ledger_move(account, passing->payer, kind, points, at, 0, passing->debt ? passing->debt : passing->lot->entry_no);
	passing->left -= points;
}

static Passing *
passing_of(Passing *last, const Lot *lot)
{
	while (last && last->lot->entry_no != lot->entry_no)
		last = last->from;
	return last;
}

/*
 * Lots have paid for each other in a circle: what all of them have paid is undone at once, each pays for itself.
 * Points would go round until then, a few at a time.  false: somewhere nothing is left of it.
 */
static bool
undo_circle(Account *account, Passing *last, Passing *first, TimestampTz at)
{
	Points		all = last->left;

	for (Passing *one = last; one != first; one = one->from)
		all = Min(all, one->from->left);
	if (all == 0)
		return false;
	for (Passing *one = last;; one = one->from)
	{
		repay_payer(account, one, all, at);
		if (one == first)
			return true;
	}
}

/*
 * The lots that paid in the place of this one have its points back, as far as they go: the rest is left in
 * passing->points.  No lot is twice on the way, so it ends.  Returns how many live.
 */
static Points
pass_on(Account *account, Passing *passing, TimestampTz at)
{
	Payments	payments = {0};
	Payment		p;
	Points		alive = 0;

	open_payments(account, passing->lot, &payments);
	while (passing->points > 0 && next_payment(&payments, passing->lot, &p))
	{
		Points		part = Min(p.points, passing->points);
		Passing    *before;

		CHECK_FOR_INTERRUPTS();
		passing->payer = ledger_lot(account, p.lot_expires_at, p.lot_entry_no);
		passing->debt = p.debt;
		passing->left = p.points;
		before = passing_of(passing, passing->payer);
		if (before == NULL || !undo_circle(account, passing, before, at))
		{
			repay_payer(account, passing, part, at);
			passing->points -= part;
			if (before)
				before->points += part; /* passed on from there */
			else
				alive = points_add(alive, arrive(account, passing->payer, part, at, passing));
		}
		if (!is_kept(passing->payer))	/* it has passed points on, maybe for this lot */
			open_payments(account, passing->lot, &payments);
	}
	return alive;
}

/*
 * The payment that is undone next: the latest.  One of the lot's own to a debt would go on to the latest of the others,
 * and where that is for the same debt, be the lot's own payment again: round by round, each as small as that.  So the
 * other's is undone at once.
 */
static bool
latest_payment(Payments *payments, const Lot *lot, Payment *payment)
{
	int			other = payments->n - 2;

	if (payments->n == 0)
		return false;
	*payment = payments->list[payments->n - 1];
	while (other >= 0 && payments->list[other].lot_entry_no == lot->entry_no)
		other--;
	if (payment->lot_entry_no != lot->entry_no || other < 0 || payments->list[other].debt != payment->debt)
		other = payments->n - 1;
	*payment = payments->list[other];
	payments->n--;
	memmove(&payments->list[other], &payments->list[other + 1], (payments->n - other) * sizeof(Payment));
	return true;
}

Points
ledger_undo_payments(Account *account, Lot *lot, Points points, TimestampTz at)
{
	Payments	payments = {0};
	Payment		p;
	Points		given = 0;

	open_payments(account, lot, &payments);
	while (given < points && latest_payment(&payments, lot, &p))
	{
		Points		part = Min(p.points, points - given);
		Lot		   *payer = ledger_lot(account, p.lot_expires_at, p.lot_entry_no);

		CHECK_FOR_INTERRUPTS();
		if (p.debt)
		{
			ledger_move(account, lot, ENTRY_CLAWBACK, part, at, 0, 0);
			ledger_move(account, lot, ENTRY_DEBT, -part, at, 0, p.debt);
		}
		ledger_come_back(account, payer, part, p.debt ? ENTRY_REPAY : ENTRY_CLAWBACK, 0, p.debt ? p.debt : lot->entry_no,
						 at);
		given += part;
		if (!is_kept(payer))
			open_payments(account, lot, &payments);
	}
	return given;
}

/* What became of points that a movement brought to a lot: see ledger_come_back(). */
static Points
arrive(Account *account, Lot *lot, Points points, TimestampTz at, Passing *from)
{
	/* under pending_only what is owed was left to the member */
	Points		owed = account->program->clawback == CLAWBACK_PENDING_ONLY ? 0 : Min(lot->owed, points);
	Passing		passing = {.lot = lot, .points = points - owed, .from = from};
	Points		alive = 0;

	check_stack_depth();		/* payers have payers */
	if (owed > 0)
	{
		ledger_move(account, lot, ENTRY_CLAWBACK, -owed, at, 0, 0);
		lot->owed -= owed;
		lot->changed = true;
	}
	if (passing.points > 0 && !is_kept(lot))
	{
		passing.points -= ledger_pay_own_debts(account, lot, passing.points, at);
		if (passing.points > 0)
			alive = pass_on(account, &passing, at);
	}
	if (passing.points == 0)
		return alive;
	ledger_refill(account, lot, passing.points, at);
	return ledger_lives(account, lot, at) ? points_add(alive, passing.points) : alive;
}

Points
ledger_come_back(Account *account, Lot *lot, Points points, EntryKind kind, int64 redemption_id, int64 origin,
				 TimestampTz at)
{
	ledger_move(account, lot, kind, points, at, redemption_id, origin);
	return arrive(account, lot, points, at, NULL);
}
