/*
 * refund.c
 *	  Rows that are returns, and what is kept of a purchase that has some.
 *
 * Rules:
 * - A purchase keeps its awards' amount less what its own row was lowered by less what its returns take, at least
 *	 nothing: whatever came first, and however often any of them was changed.
 * - What its own row was lowered by is a refund too (REFUND_OWN_ROW), written only beside others: without returns the
 *	 kept amount itself says it.
 * - A return acts on the account that owns the purchase, whoever brought the goods back; its refunds carry that member,
 *	 and go with the purchase to its next one.  A row that has gone finds them by whom it named when they were written.
 * - A purchase of which all is kept has no returns, so that a sale without any never looks for them; or returns of
 *	 nothing (an amount of 0), which write down no more than a sale without any.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "money.h"
#include "refund.h"

#define FIRST_PAGE	8			/* lots read at once in search of the newest */
#define NEXT_PAGE	128

/* A purchase and what is known of its returns. */
typedef struct Sale
{
	int32		source_id;
	char	   *key;
	Account    *account;		/* the owner's; NULL: there is no such purchase */
	Lot		  **lots;			/* of the owner, by part */
	int			nlots;
	Refunds		refunds;
} Sale;

static int	post_named(Returns *returns, const ReturnRow *row, const Refunds *mine, TimestampTz at);
static int	post_unnamed(Returns *returns, const ReturnRow *row, const Refunds *mine, TimestampTz at);
static int	drop_refunds(Returns *returns, const ReturnRow *row, Refund *const *drop, int n, TimestampTz at);
static int	change_sale(Returns *returns, Refund *const *drop, int ndrop, Refund *add, TimestampTz at);
static int	take_newest(Returns *returns, const ReturnRow *row, Numeric amount, int part, TimestampTz at);
static int	give_back_last(Returns *returns, const ReturnRow *row, const Refunds *mine, Numeric amount, TimestampTz at);

/* ---- small change ---- */

static inline Numeric
min_money(Numeric a, Numeric b)
{
	return money_compare(a, b) <= 0 ? a : b;
}

static inline bool
same_refund(const Refund *a, const Refund *b)
{
	return a->part == b->part && a->source_id == b->source_id && strcmp(a->source_key, b->source_key) == 0;
}

/* Written under a member who is this one by now? */
static inline bool
written_under(const Refund *refund, int64 member)
{
	return config_member_now(refund->first_member_id) == member;
}

/* Everything of it is this member's: the row, and the purchase still. */
static inline bool
is_of(const Refund *refund, int64 member)
{
	return refund->member_id == member && written_under(refund, member);
}

static inline bool
names(const Refund *refund, const char *of_key)
{
	return refund->of_key && strcmp(refund->of_key, of_key) == 0;
}

static Numeric
sum_of(const Refunds *refunds)
{
	Numeric		sum = money_zero();

	for (int i = 0; i < refunds->n; i++)
		sum = money_add(sum, refunds->rows[i]->amount);
	return sum;
}

static Refund *
new_refund(Returns *returns, const ReturnRow *row, int part, char *of_key, Numeric amount, TimestampTz at)
{
	Refund	   *refund = palloc0(sizeof(Refund));

	refund->member_id = refund->first_member_id = row->member;
	refund->program_id = returns->source->program->id;
	refund->source_id = returns->source->id;
	refund->source_key = row->key;
	refund->part = part;
	refund->of_source_id = returns->source->refund_source_id;
	refund->of_key = of_key;
	refund->amount = amount;
	refund->at = at;
	refund->posted_at = returns->statement_at;
	return refund;
}

/* ---- awards of one purchase ---- */

static int
compare_parts(const void *a, const void *b)
{
	return (*(Lot *const *) a)->part - (*(Lot *const *) b)->part;
}

void
refund_sort_lots(Lot **lots, int nlots)
{
	qsort(lots, nlots, sizeof(Lot *), compare_parts);
}

/* What the awards of a purchase were given for, and what is kept of it. */
static void
sum_awards(Lot *const *lots, int nlots, Numeric *amount, Numeric *kept, bool *gone)
{
	*amount = *kept = money_zero();
	*gone = false;
	for (int i = 0; i < nlots; i++)
	{
		if (!ledger_begins_award(lots, i))
			continue;
		*amount = money_add(*amount, lots[i]->amount);
		if (lots[i]->kept_amount)
			*kept = money_add(*kept, lots[i]->kept_amount);
		else
			*gone = true;
	}
}

bool
refund_possible(Lot *const *lots, int nlots)
{
	for (int i = 0; i < nlots; i++)
		if (lots[i]->kept_amount == NULL || money_compare(lots[i]->kept_amount, lots[i]->amount) != 0)
			return true;
	return false;
}

/* Of what is left for an award and those after it, its share; NULL: nothing of an award of no amount. */
static Numeric
share_of_award(Numeric amount, Numeric kept, Numeric left)
{
	return money_sign(amount) == 0 && kept == NULL ? NULL : min_money(left, amount);
}

static bool
same_share(Numeric now, Numeric former)
{
	return now == NULL ? former == NULL : (former != NULL && money_compare(now, former) == 0);
}

bool
refund_in_step(Lot *const *lots, int nlots, Numeric kept)
{
	Numeric		left = kept ? kept : money_zero();

	for (int i = 0; i < nlots; i++)
	{
		Numeric		now;

		if (!ledger_begins_award(lots, i))
			continue;
		now = share_of_award(lots[i]->amount, kept, left);
		if (!same_share(now, lots[i]->kept_amount))
			return false;
		if (now)
			left = money_subtract(left, now);
	}
	return true;
}

Numeric
refund_rest(Numeric says, const Refunds *refunds)
{
	bool		returned = false;

	for (int i = 0; i < refunds->n; i++)
		if (refunds->rows[i]->part != REFUND_OWN_ROW)
		{
			says = money_subtract(says, refunds->rows[i]->amount);
			returned = true;
		}
	return returned && money_sign(says) <= 0 ? NULL : says;
}

int
refund_keep(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at)
{
	Numeric		left = kept ? kept : money_zero();
	int			changed = 0;

	for (int first = 0, end; first < nlots; first = end)
	{
		Numeric		now = share_of_award(lots[first]->amount, kept, left);

		for (end = first + 1; end < nlots && !ledger_begins_award(lots, end); end++)
			;
		if (!same_share(now, lots[first]->kept_amount))
		{
			ledger_keep(account, lots + first, end - first, now, ledger_settle(account, at));
			changed++;
		}
		if (now)
			left = money_subtract(left, now);
	}
	return changed;
}

/* ---- purchases with returns ---- */

/* Whose purchase is it?  Of its returns' member if they have found theirs, else of whoever keeps something of it. */
static bool
owner_of(const KeyLots *lots, const Refunds *refunds, int64 *member)
{
	const Lot  *owner = NULL;

	for (int i = 0; i < lots->nlots; i++)
		for (int j = 0; j < refunds->n; j++)
			if (refunds->rows[j]->member_id == lots->lots[i]->member_id)
			{
				*member = lots->lots[i]->member_id;
				return true;
			}
	for (int i = 0; i < lots->nlots; i++)
	{
		const Lot  *lot = lots->lots[i];

		if (owner == NULL || (lot->kept_amount && (money_sign(lot->kept_amount) > 0 || money_sign(lot->amount) == 0)))
			owner = lot;
	}
	if (owner)
		*member = owner->member_id;
	return owner != NULL;
}

bool
refund_owner(const Source *source, char *of_key, int64 *member)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Store	   *store = store_open_reader(snapshot);
	KeyLots		lots;
	Refunds		refunds;
	bool		found;

	store_probe_keys(store, source->refund_source_id, 1, &of_key, CurrentMemoryContext, &lots);
	store_find_refunds_of(store, source->refund_source_id, of_key, CurrentMemoryContext, &refunds);
	found = owner_of(&lots, &refunds, member);
	store_close(store);
	UnregisterSnapshot(snapshot);
	return found;
}

/* A purchase, with its owner's account locked; `member`: whose account is locked already. */
static Sale
find_sale(Returns *returns, int64 member, int32 source_id, char *key)
{
	Sale		sale = {.source_id = source_id, .key = key};
	int64		owner = member;
	KeyLots		found;

	sale.account = returns->account(returns, member);
	store_probe_keys(returns->store, source_id, 1, &key, returns->context, &found);
	store_find_refunds_of(returns->store, source_id, key, returns->context, &sale.refunds);
	if (!owner_of(&found, &sale.refunds, &owner))
	{
		sale.account = NULL;
		return sale;
	}
	if (owner != member || sale.account == NULL)
	{
		sale.account = returns->account(returns, owner);
		store_probe_keys(returns->store, source_id, 1, &key, returns->context, &found);
		store_find_refunds_of(returns->store, source_id, key, returns->context, &sale.refunds);
	}
	sale.lots = palloc(Max(found.nlots, 1) * sizeof(Lot *));
	for (int i = 0; i < found.nlots && sale.account; i++)
		if (found.lots[i]->member_id == owner && found.lots[i]->program_id == returns->source->program->id)
			sale.lots[sale.nlots++] = ledger_named_lot(sale.account, found.lots[i]);
	sale.nlots = ledger_leave_moved_on(sale.lots, sale.nlots);
	refund_sort_lots(sale.lots, sale.nlots);
	return sale;
}

/* Write by how much the purchase's own row has lowered it; NULL: by nothing. */
static void
write_own_row(Returns *returns, int64 member, int32 source_id, char *key, Refund *own, Numeric lowered)
{
	Refund		refund = {
		.member_id = member, .first_member_id = member, .program_id = returns->source->program->id,
		.source_id = source_id, .source_key = key,
		.part = REFUND_OWN_ROW, .of_source_id = source_id, .of_key = key, .amount = lowered,
		.at = returns->statement_at, .posted_at = returns->statement_at
	};

	if (own && lowered && own->member_id == member && money_compare(own->amount, lowered) == 0)
		return;
	if (own)
		store_delete_refund(returns->store, own);
	if (lowered)
		store_insert_refund(returns->store, &refund);
}

/* What is kept of `amount`, lowered by the row itself (NULL: not) and by returns; NULL: nothing. */
static Numeric
kept_of(Numeric amount, Numeric lowered, Numeric returned)
{
	Numeric		kept = money_subtract(amount, returned);

	if (lowered)
		kept = money_subtract(kept, lowered);
	return money_sign(kept) > 0 ? kept : NULL;
}

bool
refund_kept(Returns *returns, Account *account, Lot **lots, int nlots, char *key, Numeric says, Numeric *kept)
{
	int32		source_id = returns->source->id;
	Refund	   *own = NULL;
	Numeric		returned = money_zero();
	Numeric		amount;
	Numeric		unused;
	Numeric		lowered = NULL;
	bool		gone;
	int			nreturns = 0;
	bool		ours = says != NULL;
	Refunds		refunds;

	store_find_refunds_of(returns->store, source_id, key, returns->context, &refunds);
	for (int i = 0; i < refunds.n; i++)
	{
		Refund	   *refund = refunds.rows[i];

		ours |= refund->member_id == account->member_id;
		if (refund->part == REFUND_OWN_ROW)
			own = refund;
		else
		{
			returned = money_add(returned, refund->amount);
			nreturns++;
		}
	}
	if (nreturns == 0 || !ours)
		return false;			/* or they went with the purchase to another member */
	sum_awards(lots, nlots, &amount, &unused, &gone);
	if (says == NULL)
		lowered = amount;
	else if (money_compare(says, amount) < 0)
		lowered = money_subtract(amount, says);
	write_own_row(returns, account->member_id, source_id, key, own, lowered);
	for (int i = 0; i < refunds.n; i++)
	{
		Refund		moved = *refunds.rows[i];

		if (moved.part == REFUND_OWN_ROW || moved.member_id == account->member_id)
			continue;
		moved.member_id = account->member_id;
		store_delete_refund(returns->store, refunds.rows[i]);
		store_insert_refund(returns->store, &moved);
	}
	/* what it has grown by is kept only if it earns: an account that is blocked does not */
	if (says && money_compare(says, amount) > 0 && strcmp(account->status, "active") == 0)
		amount = says;
	*kept = says ? kept_of(amount, lowered, returned) : NULL;
	return true;
}

/* Take some refunds of one purchase away, and write another; all of them name it.  Returns how many awards changed. */
static int
change_sale(Returns *returns, Refund *const *drop, int ndrop, Refund *add, TimestampTz at)
{
	const Refund *any = add ? add : drop[0];
	Sale		sale = find_sale(returns, any->member_id, any->of_source_id, any->of_key);
	Refund	   *own = NULL;
	Numeric		returned = add ? add->amount : money_zero();
	Numeric		had = money_zero(); /* returned before */
	int			before = 0;
	int			after = add != NULL;
	Numeric		amount;
	Numeric		kept;
	Numeric		lowered = NULL;
	bool		gone;

	for (int i = 0; i < sale.refunds.n; i++)
	{
		Refund	   *refund = sale.refunds.rows[i];
		bool		dropped = false;

		if (refund->part == REFUND_OWN_ROW)
		{
			own = refund;
			continue;
		}
		before++;
		had = money_add(had, refund->amount);
		for (int j = 0; j < ndrop && !dropped; j++)
			dropped = same_refund(drop[j], refund);
		if (dropped)
		{
			store_delete_refund(returns->store, refund);
			continue;
		}
		after++;
		returned = money_add(returned, refund->amount);
	}
	if (add && sale.account)
		add->member_id = sale.account->member_id;
	if (add)
		store_insert_refund(returns->store, add);
	if (sale.account == NULL)
		return 0;				/* it is remembered until the purchase comes */
	sum_awards(sale.lots, sale.nlots, &amount, &kept, &gone);
	if (own)
		lowered = own->amount;
	else if ((before == 0 || (money_sign(had) == 0 && money_sign(amount) > 0)) && (gone || money_compare(kept, amount) < 0))
		lowered = money_subtract(amount, kept);
	write_own_row(returns, sale.account->member_id, sale.source_id, sale.key, own, after > 0 ? lowered : NULL);
	/* without returns a purchase of no amount is there again, unless its row has gone */
	kept = kept_of(amount, lowered, returned);
	if (kept == NULL && after == 0 && lowered == NULL)
		kept = money_zero();
	return refund_keep(sale.account, sale.lots, sale.nlots, kept, at);
}

/* ---- rows ---- */

int
refund_post(Returns *returns, const ReturnRow *row)
{
	Refunds		found;
	Refunds		mine = {0};
	TimestampTz at = returns->statement_at;

	store_find_refunds(returns->store, returns->source->id, row->key, returns->context, &found);
	mine.rows = palloc(Max(found.n, 1) * sizeof(Refund *));
	for (int i = 0; i < found.n; i++)
		if (found.rows[i]->part != REFUND_OWN_ROW &&
			(!row->gone || found.rows[i]->member_id == row->member || written_under(found.rows[i], row->member)))
			mine.rows[mine.n++] = found.rows[i];
	if (row->amount == NULL)
		return drop_refunds(returns, row, mine.rows, mine.n, at);
	if (mine.n == 0)
		at = Min(row->occurred_at, at);
	return row->of_key ? post_named(returns, row, &mine, at) : post_unnamed(returns, row, &mine, at);
}

/* The row names a purchase: that one alone, by all of its amount. */
static int
post_named(Returns *returns, const ReturnRow *row, const Refunds *mine, TimestampTz at)
{
	Refund	  **same = palloc(Max(mine->n, 1) * sizeof(Refund *));
	Refund	  **other = palloc(Max(mine->n, 1) * sizeof(Refund *));
	int			nsame = 0;
	int			nother = 0;
	int			changed;

	for (int i = 0; i < mine->n; i++)
		if (mine->rows[i]->of_source_id == returns->source->refund_source_id && names(mine->rows[i], row->of_key))
			same[nsame++] = mine->rows[i];
		else
			other[nother++] = mine->rows[i];
	/* one that waits goes on to whom the row names now */
	if (nsame == 1 && nother == 0 && same[0]->part == 0 && is_of(same[0], row->member) &&
		money_compare(same[0]->amount, row->amount) == 0)
		return 0;
	changed = drop_refunds(returns, row, other, nother, at);
	return changed + change_sale(returns, same, nsame, new_refund(returns, row, 0, row->of_key, row->amount, at), at);
}

/* The row names none: from the member's newest; changed, it takes more like a new one, or gives the last back first. */
static int
post_unnamed(Returns *returns, const ReturnRow *row, const Refunds *mine, TimestampTz at)
{
	Numeric		more;
	int			part = 0;
	int			sign;

	for (int i = 0; i < mine->n; i++)
		if (!is_of(mine->rows[i], row->member))
		{
			/* it was another member's, or what it took from has changed hands */
			int			changed = drop_refunds(returns, row, mine->rows, mine->n, at);

			return changed + take_newest(returns, row, row->amount, 0, at);
		}
	for (int i = 0; i < mine->n; i++)
		part = Max(part, mine->rows[i]->part + 1);
	more = money_subtract(row->amount, sum_of(mine));
	sign = money_sign(more);
	if (sign > 0 || mine->n == 0)
		return take_newest(returns, row, more, part, at);
	return sign < 0 ? give_back_last(returns, row, mine, money_abs(more), at) : 0;
}

/* All that these took is given back, purchase by purchase. */
static int
drop_refunds(Returns *returns, const ReturnRow *row, Refund *const *drop, int n, TimestampTz at)
{
	int			changed = 0;

	for (int i = n - 1; i >= 0; i--)
	{
		CHECK_FOR_INTERRUPTS();
		if (drop[i]->of_key)
			changed += change_sale(returns, drop + i, 1, NULL, at);
		else
			store_delete_refund(returns->store, drop[i]);
	}
	return changed;
}

static int
give_back_last(Returns *returns, const ReturnRow *row, const Refunds *mine, Numeric amount, TimestampTz at)
{
	int			changed = 0;

	for (int i = mine->n - 1; i >= 0 && money_sign(amount) > 0; i--)
	{
		Refund	   *refund = mine->rows[i];
		Numeric		part = min_money(amount, refund->amount);
		Refund	   *rest = NULL;

		CHECK_FOR_INTERRUPTS();
		if (money_compare(part, refund->amount) < 0)
		{
			rest = new_refund(returns, row, refund->part, refund->of_key, money_subtract(refund->amount, part), refund->at);
			rest->of_source_id = refund->of_source_id;
		}
		amount = money_subtract(amount, part);
		if (refund->of_key)
			changed += change_sale(returns, &refund, 1, rest, at);
		else
		{
			store_delete_refund(returns->store, refund);
			if (rest)
				store_insert_refund(returns->store, rest);
		}
	}
	return changed;
}

/* ---- the newest kept awards ---- */

/* One that could be taken from. */
typedef struct Candidate
{
	TimestampTz earned_at;
	int64		entry_no;
	char	   *key;
	Numeric		kept;
} Candidate;

/* The newest ones found so far, newest first, no more than suffice. */
typedef struct Newest
{
	Candidate  *rows;
	int			n;
	int			max;
	bool		enough;
} Newest;

static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->earned_at != y->earned_at)
		return x->earned_at > y->earned_at ? -1 : 1;
	return (x->entry_no < y->entry_no) - (x->entry_no > y->entry_no);
}

/* A lot's award, if something of it is kept.  Awards dated ahead of their instant count from it. */
static void
add_candidate(Newest *newest, const Lot *lot, MemoryContext context)
{
	Candidate  *candidate;
	MemoryContext old;

	if (newest->n == newest->max)
	{
		newest->max = Max(16, newest->max * 2);
		newest->rows = newest->rows == NULL ? MemoryContextAlloc(context, newest->max * sizeof(Candidate))
			: repalloc(newest->rows, mul_size(newest->max, sizeof(Candidate)));
	}
	candidate = &newest->rows[newest->n++];
	old = MemoryContextSwitchTo(context);
	candidate->earned_at = Min(lot->earned_at, lot->at);
	candidate->entry_no = lot->entry_no;
	candidate->key = pstrdup(lot->source_key);
	candidate->kept = money_copy(lot->kept_amount);
	MemoryContextSwitchTo(old);
}

/* Order them, and forget what will not be needed. */
static void
trim_candidates(Newest *newest, Numeric amount)
{
	Numeric		sum = money_zero();

	qsort(newest->rows, newest->n, sizeof(Candidate), compare_candidates);
	newest->enough = false;
	for (int i = 0; i < newest->n && !newest->enough; i++)
	{
		sum = money_add(sum, newest->rows[i].kept);
		newest->enough = money_compare(sum, amount) >= 0;
		if (newest->enough)
			newest->n = i + 1;
	}
}

/*
 * Lots are read backwards in burn order, which is not the order of earning; what bounds it: a lot that has points is
 * earned before it expires, and of lots that expire together the later entry was granted later (but for members into
 * whom others were merged).  So what is read is what expires after the purchases that are found were made: one life of
 * points, whatever lies before.
 */
static void
find_newest(Returns *returns, Account *account, Numeric amount, Newest *newest)
{
	TimestampTz expires_at = DT_NOEND;
	int64		entry_no = PG_INT64_MAX;
	int			n = FIRST_PAGE;
	bool		in_order = !config_member_absorbed(account->member_id);
	Lot		   *lots[NEXT_PAGE];
	int			found;
	MemoryContext page = AllocSetContextCreate(CurrentMemoryContext, "loyalty page", ALLOCSET_DEFAULT_SIZES);

	while ((found = store_read_back(account, expires_at, entry_no, n, page, lots)) > 0)
	{
		const Lot  *last = lots[found - 1];

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < found; i++)
			if (lots[i]->kind == LOT_AWARD && lots[i]->source_id == returns->source->refund_source_id &&
				lots[i]->part % LOTS_AN_AWARD == 0 && lots[i]->kept_amount && money_sign(lots[i]->kept_amount) > 0)
				add_candidate(newest, lots[i], returns->context);
		trim_candidates(newest, amount);
		expires_at = last->expires_at;
		entry_no = last->entry_no;
		if (newest->enough && in_order && last->at < newest->rows[newest->n - 1].earned_at)
			entry_no = 0;		/* no later one among those that expire with it */
		if (newest->enough && expires_at != DT_NOBEGIN && expires_at < newest->rows[newest->n - 1].earned_at)
		{
			expires_at = DT_NOBEGIN;	/* only those without points can be later */
			entry_no = PG_INT64_MAX;
		}
		MemoryContextReset(page);
		if (found < n)
			break;
		n = NEXT_PAGE;
	}
	MemoryContextDelete(page);
}

/* Take an amount from the member's newest kept awards, as parts from `part` on; what finds none is written as such. */
static int
take_newest(Returns *returns, const ReturnRow *row, Numeric amount, int part, TimestampTz at)
{
	Account    *account = returns->account(returns, row->member);
	Newest		newest = {0};
	Refund	  **takes;
	int			ntakes = 0;
	int			changed = 0;

	if (account && money_sign(amount) > 0)
		find_newest(returns, account, amount, &newest);
	takes = palloc((newest.n + 1) * sizeof(Refund *));
	for (int i = 0; i < newest.n && money_sign(amount) > 0; i++)
	{
		Numeric		taken = min_money(amount, newest.rows[i].kept);
		int			j = 0;

		amount = money_subtract(amount, taken);
		while (j < ntakes && !names(takes[j], newest.rows[i].key))
			j++;
		if (j < ntakes)
			takes[j]->amount = money_add(takes[j]->amount, taken);
		else
			takes[ntakes++] = new_refund(returns, row, part++, newest.rows[i].key, taken, at);
	}
	for (int i = 0; i < ntakes; i++)
		changed += change_sale(returns, NULL, 0, takes[i], at);
	if (ntakes == 0 || money_sign(amount) > 0)
		store_insert_refund(returns->store, new_refund(returns, row, part, NULL, amount, at));
	return changed;
}
