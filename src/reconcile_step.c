/*
 * reconcile_step.c
 *	  Is a row in step with what it has earned: would post_rows() find nothing to do?
 *
 * Rule: the answer is that of keep_item() and refund_post(), and changes with them.  A wrong no costs time, a wrong yes
 * hides a difference for ever.
 */
#include "postgres.h"

#include "instant.h"
#include "money.h"
#include "reconcile.h"
#include "refund.h"

/* Is what is kept of a purchase what its returns leave?  Its own row is another table's affair. */
static bool
sale_in_step(Work *work, char *of_key)
{
	int32		source_id = work->source->refund_source_id;
	KeyLots		found;
	Refunds		refunds;
	Lot		  **lots;
	int			nlots = 0;
	Numeric		amount = money_zero();

	store_probe_keys(work->reader, source_id, 1, &of_key, CurrentMemoryContext, &found);
	store_find_refunds_of(work->reader, source_id, of_key, CurrentMemoryContext, &refunds);
	lots = palloc(Max(found.nlots, 1) * sizeof(Lot *));
	for (int i = 0; i < found.nlots; i++)
		if (refunds.n > 0 && found.lots[i]->member_id == refunds.rows[0]->member_id)
			lots[nlots++] = found.lots[i];
	if (nlots == 0)
		return found.nlots == 0;	/* the return waits for its purchase */
	nlots = ledger_leave_moved_on(lots, nlots);
	refund_sort_lots(lots, nlots);
	for (int i = 0; i < nlots; i++)
		if (ledger_begins_award(lots, i))
			amount = money_add(amount, lots[i]->amount);
	for (int i = 0; i < refunds.n; i++)
		amount = refunds.rows[i]->part == REFUND_OWN_ROW ? money_subtract(amount, refunds.rows[i]->amount) : amount;
	return refund_in_step(lots, nlots, refund_rest(amount, &refunds));
}

/* Would post_rows() find that the row returns what it says? */
bool
reconcile_return_in_step(Work *work, const Row *row, const Refunds *refunds)
{
	Numeric		sum = money_zero();

	if (row->state != ROW_RETURN)
		return refunds->n == 0;
	if (row->of_key)
		return refunds->n == 1 && refunds->rows[0]->part == 0 && refunds->rows[0]->of_key &&
			strcmp(refunds->rows[0]->of_key, row->of_key) == 0 && refunds->rows[0]->of_source_id == work->source->refund_source_id &&
			money_compare(refunds->rows[0]->amount, row->amount) == 0 && sale_in_step(work, row->of_key);
	for (int i = 0; i < refunds->n; i++)
	{
		if (refunds->rows[i]->member_id != row->member)
			return false;
		sum = money_add(sum, refunds->rows[i]->amount);
	}
	return refunds->n > 0 && money_compare(sum, row->amount) == 0;
}

/* Would post_rows() find nothing to do about the lots of the row's key?  The same as keep_item() there. */
bool
reconcile_in_step(Work *work, const Lots *group, const Row *row)
{
	Numeric		says = row->state == ROW_COUNTS ? row->amount : NULL;
	Numeric		kept = says;
	Lot		  **own = palloc(Max(group->n, 1) * sizeof(Lot *));
	int			nown = 0;
	Numeric		amount = money_zero();

	if (row->state == ROW_COUNTS && says == NULL)
		return false;
	for (int i = 0; i < group->n; i++)
		if (group->lots[i]->member_id == row->member)
			own[nown++] = group->lots[i];
	for (int i = 0; i < nown && row->released; i++)
		if (own[i]->available_at == DT_NOEND && own[i]->remaining > 0 &&
			own[i]->expires_at > instant_for_writing(work->source->program))
			return false;
	nown = ledger_leave_moved_on(own, nown);
	for (int i = 0; i < nown; i++)
		if (ledger_begins_award(own, i))
			amount = money_add(amount, own[i]->amount);
	if (says && refund_possible(own, nown))
	{
		Refunds		refunds;

		store_find_refunds_of(work->reader, work->source->id, row->key, CurrentMemoryContext, &refunds);
		kept = refund_rest(says, &refunds);
	}
	return refund_in_step(own, nown, kept) && (says == NULL || money_compare(says, amount) <= 0);
}
