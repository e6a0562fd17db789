/*
 * post.c
 *	  Purchases into the ledger: map, lock, probe, earn, keep, write, batch by batch.
 *
 * Rules:
 * - Rows come ordered by member, highest first, so accounts are locked in one order whatever the statement.  The
 *	 accounts that everybody buys for tend to have low numbers (the first customers, the house's own): they come last.
 * - Everything of a batch is written before the next is read: memory is bounded, and an account that spans two
 *	 batches is simply read again.
 * - What a purchase has earned is asked of the ledger (by its key), never of the old row: the award follows the row.
 * - Expressions run as their author, with the program's TimeZone and DateStyle ISO, between reads and writes and
 *	 never as the ledger's owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "challenge.h"
#include "earn.h"
#include "errcodes.h"
#include "follow.h"
#include "instant.h"
#include "limit.h"
#include "lock.h"
#include "money.h"
#include "post.h"
#include "refund.h"
#include "review.h"
#include "settings.h"
#include "spend.h"
#include "store.h"
#include "tier.h"

#define BATCH_ROWS	1000
#define HOPING_ROWS 200			/* no keys to look for together: what is worked on stays in the processor's cache */
#define HOPING_SIZE (512 * 1024)	/* bytes of memory for them, kept from batch to batch */
#define LOCKS_AT_ONCE	32		/* accounts that are locked, worked and written together, at most */
#define LOCKS_AT_LEAST	4		/* so many of the last ones, which have the lowest numbers */
#define FEW_ROWS	250			/* up to here; a statement of more is not waited for in milliseconds anyway */
#define HOPE_ROWS	2000		/* from here on a subtransaction costs less than asking for keys */

#define AWARDS_A_KEY	500

typedef struct PostItem
{
	int64		member;
	HeapTuple	row;			/* NULL when gone */
	bool		counts;			/* the row is there and earns */
	bool		skip;			/* nothing to do: superseded, in error */
	bool		changed;		/* the row was there before, or has gone: its key may come twice */
	bool		is_return;		/* the row is there, counts, and returns a purchase */
	bool		was_return;		/* what it has returned before, if anything, counts no more */
	char	   *of_key;			/* of the purchase; NULL: the row names none */
	Purchase	purchase;
	KeyLots		lots;
} PostItem;

typedef struct Pass
{
	const Source *source;
	PostRows   *rows;
	Mapping    *mapping;
	Store	   *store;
	Purse	   *purse;			/* NULL: no rule of the source has a limit */
	bool		hoping;
	bool		counting;		/* challenges, before an account is written: no row of the batch gives or takes elsewhere */
	bool		locking;		/* accounts alone, before anything is worked */
	bool		all_locked;		/* that was done: of all batches, and of whoever rooms will change */
	TimestampTz statement_at;
	MemoryContext context;		/* of one batch */
	PostItem	   *items;			/* room for 2 * BATCH_ROWS: a changed key is two */
	int			nitems;
	int64	   *members;		/* distinct, descending */
	TimestampTz *enrolled_at;
	Account   **accounts;
	bool	   *written;		/* in the middle of the batch: what was read of its lots before is old */
	int			naccounts;
	int			nlocked;		/* the first of them, so far */
	List	   *others;			/* of Account: of members who have no row in this batch, or not yet */
	Returns		returns;
	PostItem	   *working;		/* for error messages */
	int64		posted;

	/* of the award being worked */
	Account    *account;
	const Breakdown *stored;
	TimestampTz at;
	Award		award;
	Spending	spending;
} Pass;

static void lock_all(Pass *pass);
static void map_batch(Pass *pass);
static void map_row(Pass *pass, PostRow *row);
static void list_accounts(Pass *pass);
static void list_involved(Pass *pass);
static void lock_accounts(Pass *pass, int first, int n);
static void work_batch(Pass *pass);
static void work_item(Pass *pass, Account *account, PostItem *item);
static Account *account_of(Returns *returns, int64 member);

static void
error_context(void *arg)
{
	Pass	   *pass = arg;

	if (pass->working && pass->working->purchase.key)
		errcontext("purchase \"%s\" of source \"%s\" of program \"%s\"", pass->working->purchase.key,
				   pass->source->name, pass->source->program->name);
	else
		errcontext("source \"%s\" of program \"%s\"", pass->source->name, pass->source->program->name);
}

/* One pass.  hoping: that no key has earned before; if one has, the pass ends in unique_violation. */
static int64
post_pass(Mapping *mapping, const Source *source, PostRows *rows, bool hoping)
{
	Pass		pass = {.mapping = mapping, .source = source, .rows = rows, .hoping = hoping};
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = error_context, .arg = &pass};
	MemoryContext outer = CurrentMemoryContext;
	int			nest = settings_enter_source(source);

	error_context_stack = &callback;
	pass.statement_at = instant_for_writing(source->program);
	pass.context = AllocSetContextCreate(outer, "loyalty batch", hoping ? HOPING_SIZE : ALLOCSET_DEFAULT_MINSIZE,
										 ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	pass.store = store_open(pass.statement_at);
	if (hoping)
		store_hope(pass.store);
	pass.returns = (Returns) {
		.store = pass.store, .source = source, .statement_at = pass.statement_at, .context = pass.context, .account = account_of
	};
	if (source->limited)
		pass.purse = limit_open(source, PURSE_MANY, rows->all_new);
	if ((source->budgeted || source->program->involves) && rows->count > BATCH_ROWS / 2)
		lock_all(&pass);
	do
	{
		MemoryContextSwitchTo(pass.context);
		map_batch(&pass);
		if (pass.nitems > 0)
		{
			list_accounts(&pass);
			work_batch(&pass);
		}
		MemoryContextSwitchTo(outer);
		MemoryContextReset(pass.context);
	} while (pass.nitems > 0);
	if (pass.purse)
		limit_close(pass.purse);
	store_close(pass.store);
	MemoryContextDelete(pass.context);
	error_context_stack = callback.previous;
	settings_leave(nest);
	return pass.posted;
}

/*
 * The usual load brings keys that have never earned, and asking for each costs a third of it.  So hope; when a key
 * is there after all (a replay), all is undone and done again with asking.
 */
static bool
post_hoping(Mapping *mapping, const Source *source, PostRows *rows, int64 *posted)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool good = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*posted = post_pass(mapping, source, rows, true);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		/* whoever catches it rolls back a subtransaction of his own, which must be the innermost again */
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FreeErrorData(error);
		good = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return good;
}

int64
post_rows(Mapping *mapping, const Source *source, PostRows *rows)
{
	int64		posted;

	if (rows->all_new && rows->count >= HOPE_ROWS && !source->only_returns && !source->is_returned && !source->budgeted &&
		!source->program->follows_sql)
	{
		if (post_hoping(mapping, source, rows, &posted))
			return posted;
		rows->rewind(rows);
	}
	return post_pass(mapping, source, rows, false);
}

/* Members of all batches, highest first, and when a row of theirs enrolls them. */
typedef struct Crowd
{
	int64	   *members;
	TimestampTz *enrolled_at;
	int			n;
	int			room;
} Crowd;

/* The members of a batch.  The last one of the batch before may be its first. */
static void
add_to_crowd(Crowd *crowd, const Pass *pass)
{
	if (crowd->n + pass->naccounts > crowd->room)
	{
		crowd->room = Max(crowd->n + pass->naccounts, crowd->room * 2);
		crowd->members = repalloc_huge(crowd->members, mul_size(crowd->room, sizeof(int64)));
		crowd->enrolled_at = repalloc_huge(crowd->enrolled_at, mul_size(crowd->room, sizeof(TimestampTz)));
	}
	for (int i = 0; i < pass->naccounts; i++)
	{
		int			last = crowd->n - 1;

		if (last < 0 || crowd->members[last] != pass->members[i])
		{
			crowd->members[++last] = pass->members[i];
			crowd->enrolled_at[last] = DT_NOEND;
			crowd->n++;
		}
		if (crowd->enrolled_at[last] == DT_NOEND)
			crowd->enrolled_at[last] = pass->enrolled_at[i];
	}
}

/* Them and whoever rooms that follow sales will change, in one order. */
static void
lock_crowd(Pass *pass, Crowd *crowd)
{
	pass->members = crowd->members;
	pass->enrolled_at = crowd->enrolled_at;
	pass->naccounts = crowd->n;
	pass->accounts = palloc_extended(mul_size(Max(crowd->n, 1), sizeof(Account *)), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (pass->source->program->involves)
		list_involved(pass);
	for (int first = 0; first < pass->naccounts; first += BATCH_ROWS)
	{
		lock_accounts(pass, first, Min(BATCH_ROWS, pass->naccounts - first));
		MemoryContextReset(pass->context);
	}
	pass->all_locked = true;
}

/*
 * Budgets are waited for after all accounts of the statement: see limit.c.  And rooms change accounts that stand elsewhere in
 * the order than the batch whose sales they follow.  So where there are more rows than one batch takes, lock the accounts
 * of all batches, and come again.  Who is involved is asked of all members at once: their pools have an order, too, and
 * it is before all accounts.
 */
static void
lock_all(Pass *pass)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "loyalty crowd", ALLOCSET_DEFAULT_SIZES);
	Crowd		crowd = {
		.room = BATCH_ROWS, .members = MemoryContextAlloc(context, BATCH_ROWS * sizeof(int64)),
		.enrolled_at = MemoryContextAlloc(context, BATCH_ROWS * sizeof(TimestampTz))
	};

	pass->locking = true;
	do
	{
		MemoryContextSwitchTo(pass->context);
		map_batch(pass);
		if (pass->nitems > 0)
		{
			list_accounts(pass);
			add_to_crowd(&crowd, pass);
		}
		MemoryContextSwitchTo(outer);
		MemoryContextReset(pass->context);
	} while (pass->nitems > 0);
	MemoryContextSwitchTo(context);
	lock_crowd(pass, &crowd);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	pass->locking = false;
	pass->rows->rewind(pass->rows);
}

/* ---- reading ---- */

static void
map_batch(Pass *pass)
{
	PostRow		row;
	int			room = 16;
	int			limit = pass->hoping ? HOPING_ROWS : BATCH_ROWS;

	pass->nitems = 0;
	pass->items = palloc(room * sizeof(PostItem));
	while (pass->nitems < limit && pass->rows->next(pass->rows, &row))
	{
		CHECK_FOR_INTERRUPTS();
		if (pass->nitems + 2 > room)
			pass->items = repalloc(pass->items, (room *= 2) * sizeof(PostItem));
		if (!config_member_excluded(row.member))
			map_row(pass, &row);
	}
	pass->working = NULL;
}

static PostItem *
add_item(Pass *pass, int64 member, HeapTuple row)
{
	PostItem	   *item = &pass->items[pass->nitems++];

	*item = (PostItem) {.member = member, .row = row};
	pass->working = item;
	return item;
}

/* Everything of a row that is there: does it count, its key, its figures. */
static void
map_present(void *arg, void *work)
{
	Pass	   *pass = arg;
	PostItem	   *item = work;
	const Source *source = pass->source;

	item->purchase.key = mapping_key(pass->mapping, source);
	item->counts = mapping_counts(pass->mapping, source);
	if (!item->counts)
		return;
	mapping_purchase(pass->mapping, source, &item->purchase);
	item->of_key = mapping_refund_of(pass->mapping, source);
	item->is_return = mapping_is_return(source, item->of_key, item->purchase.amount);
	if (item->is_return)
		item->purchase.amount = money_abs(item->purchase.amount);
}

/* Evaluate for one item, in the memory of the batch; false when it failed and the source skips errors. */
static bool
evaluate(Pass *pass, PostItem *item, ReviewWork work)
{
	ErrorData  *error = NULL;

	pass->working = item;
	if (pass->source->skip_errors)
		error = review_guard(work, pass, item);
	else
		work(pass, item);
	if (error)
	{
		if (!pass->locking)
			review_add(pass->source, item->member, item->purchase.key, error);
		item->skip = true;
	}
	return error == NULL;
}

/*
 * May a row that has changed, or gone, have been a return before?  That is read off the former row where it can be told,
 * so that a sale which is changed does not look for returns.
 */
static bool
may_have_returned(Pass *pass, const PostRow *row)
{
	const Source *source = pass->source;
	Purchase	former = {.key = ""};

	if (row->former == NULL || pass->rows->disturbed || source->skip_errors || source->only_returns)
		return true;
	mapping_set_row(pass->mapping, row->former);
	if (!mapping_counts(pass->mapping, source))
		return false;
	mapping_purchase(pass->mapping, source, &former);
	return mapping_is_return(source, mapping_refund_of(pass->mapping, source), former.amount);
}

/* Hope does not know returns: they look at what has been written. */
static void
give_up_hope(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("rows that are returns came with new ones")));
}

static void
map_row(Pass *pass, PostRow *row)
{
	PostRows   *rows = pass->rows;
	PostItem   *gone = NULL;
	PostItem   *item;

	if (row->key || row->former)
	{
		gone = add_item(pass, row->member, NULL);
		gone->changed = true;
		if (row->former)
			mapping_set_row(pass->mapping, row->former);
		gone->purchase.key = row->key ? MemoryContextStrdup(pass->context, row->key)
			: mapping_key(pass->mapping, pass->source);
		gone->was_return = may_have_returned(pass, row);
		gone->skip = rows->disturbed && rows->revived(rows, row->member, gone->purchase.key);
	}
	if (row->row == NULL || (rows->disturbed && !rows->alive(rows, row->row)))
		return;
	item = add_item(pass, row->member, rows->stable ? row->row : heap_copytuple(row->row));
	mapping_set_row(pass->mapping, item->row);
	if (!evaluate(pass, item, map_present))
	{
		if (gone)
			gone->skip = true;
		return;
	}
	if (item->is_return && pass->hoping)
		give_up_hope();
	if (item->counts && pass->source->amount->plain_column == 0)
		item->purchase.amount = money_copy(item->purchase.amount);	/* out of the expression's memory */
	if (gone && strcmp(gone->purchase.key, item->purchase.key) == 0)
	{
		gone->skip = true;		/* the key stays: the row that is there says all */
		item->was_return = gone->was_return;
	}
	else
		item->was_return = rows->all_keys;
	if (rows->there && !pass->locking)
		rows->there(rows, row->member, item->purchase.key);
}

/* ---- locking and probing ---- */

static void
lock_accounts(Pass *pass, int first, int n)
{
	bool		automatic = pass->source->program->automatic;

	store_lock_accounts(pass->store, pass->source->program, n, pass->members + first,
						automatic ? pass->enrolled_at + first : NULL, pass->context, pass->accounts + first);
	if ((pass->source->account_columns & ACCOUNT_OF_MEMBER) && !pass->locking)
		store_read_members(pass->store, pass->accounts + first, n);
	for (int i = first; pass->purse && i < first + n; i++)
		if (pass->accounts[i])
			pass->accounts[i]->purse = pass->purse;
}

/* Accounts without a row of their own, which rooms that follow sales will change: into the order of locks. */
static void
list_involved(Pass *pass)
{
	int64	   *all;
	int			n = follow_involved(pass->source->program, pass->members, pass->naccounts, &all);
	int64	   *members;
	TimestampTz *enrolled_at;
	int			next = 0;

	if (n == 0)
		return;
	members = palloc_extended(mul_size(n + pass->naccounts, sizeof(int64)), MCXT_ALLOC_HUGE);
	memcpy(members, all, n * sizeof(int64));
	memcpy(members + n, pass->members, pass->naccounts * sizeof(int64));
	n = lock_order(members, n + pass->naccounts);
	enrolled_at = palloc_extended(mul_size(n, sizeof(TimestampTz)), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		enrolled_at[i] = next < pass->naccounts && pass->members[next] == members[i] ? pass->enrolled_at[next++] : DT_NOEND;
	pass->members = members;
	pass->enrolled_at = enrolled_at;
	pass->naccounts = n;
	pass->accounts = palloc_extended(mul_size(n, sizeof(Account *)), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	pass->written = palloc0(n * sizeof(bool));
}

/* The accounts of the batch, in order; a member is enrolled by a row that counts. */
static void
list_accounts(Pass *pass)
{
	pass->members = palloc(pass->nitems * sizeof(int64));
	pass->enrolled_at = palloc(pass->nitems * sizeof(TimestampTz));
	pass->accounts = palloc0(pass->nitems * sizeof(Account *));
	pass->written = palloc0(pass->nitems * sizeof(bool));
	pass->others = NIL;
	pass->naccounts = pass->nlocked = 0;
	for (int i = 0; i < pass->nitems; i++)
	{
		PostItem	   *item = &pass->items[i];
		int			n = pass->naccounts;

		if (item->skip)
			continue;
		if (n == 0 || pass->members[n - 1] != item->member)
		{
			pass->members[n] = item->member;
			pass->enrolled_at[n] = DT_NOEND;
			n = ++pass->naccounts;
		}
		/* a return enrolls nobody, unless it is to wait for its purchase under the lock of an account */
		if (item->counts && (!item->is_return || item->of_key) && pass->enrolled_at[n - 1] == DT_NOEND)
			pass->enrolled_at[n - 1] = Min(item->purchase.occurred_at, pass->statement_at);
	}
	if (pass->source->program->involves && !pass->locking && !pass->all_locked)
		list_involved(pass);
}

static int
compare_items(const void *a, const void *b)
{
	return strcmp((*(PostItem *const *) a)->purchase.key, (*(PostItem *const *) b)->purchase.key);
}

/* What the keys of these items have earned before.  Neighbours in key order lie on one page. */
static void
probe_items(Pass *pass, int first, int end)
{
	PostItem  **items = palloc((end - first) * sizeof(PostItem *));
	char	  **keys = palloc((end - first) * sizeof(char *));
	KeyLots    *results = palloc0((end - first) * sizeof(KeyLots));
	int			n = 0;

	for (int i = first; i < end; i++)
		if (!pass->items[i].skip)
			items[n++] = &pass->items[i];
	if (n == 0)
		return;
	qsort(items, n, sizeof(PostItem *), compare_items);
	for (int i = 0; i < n; i++)
		keys[i] = items[i]->purchase.key;
	store_probe_keys(pass->store, pass->source->id, n, keys, pass->context, results);
	for (int i = 0; i < n; i++)
		items[i]->lots = results[i];
}

/*
 * Rows that the statement has added, under keys that are all new: the usual load.  Nobody else can earn for such a row
 * before it is committed, so one look before any account is locked serves the batch.
 */
static bool
keys_fresh(Pass *pass)
{
	if (!pass->rows->all_new || pass->nitems < 2)
		return false;
	probe_items(pass, 0, pass->nitems);
	for (int i = 0; i < pass->nitems; i++)
		if (pass->items[i].lots.nlots > 0)
			return false;
	return true;
}

/* ---- working ---- */

/*
 * A row that goes and one of the same key that comes in one statement (a row that moves between partitions) is one
 * row that changed.  Inside one member's rows of the batch.
 */
static void
join_moves(Pass *pass, int first, int end)
{
	for (int i = first; i < end; i++)
	{
		if (pass->items[i].skip || pass->items[i].row)
			continue;
		for (int j = i + 1; j < end && !pass->items[i].skip; j++)
			pass->items[i].skip = pass->items[j].row && !pass->items[j].skip &&
				strcmp(pass->items[i].purchase.key, pass->items[j].purchase.key) == 0;
	}
}

/* Write what is noted for an account, and look at a key once more. */
static void
probe_again(Pass *pass, int a, PostItem *item)
{
	ledger_write(pass->accounts[a]);
	lock_accounts(pass, 0, 0);
	pass->written[a] = true;
	store_probe_keys(pass->store, pass->source->id, 1, &item->purchase.key, pass->context, &item->lots);
}

/*
 * A key that comes twice for one member in one batch was probed before the first was worked: look again.  And so were
 * the lots of keys whose account was written since.
 */
static void
renew_lots(Pass *pass, int a, int first, int at, bool repeats)
{
	PostItem   *item = &pass->items[at];
	bool		again = pass->written[a] && item->lots.nlots > 0;

	for (int i = first; i < at && repeats && !again; i++)
		again = !pass->items[i].skip && strcmp(pass->items[i].purchase.key, item->purchase.key) == 0;
	if (again)
		probe_again(pass, a, item);
}

/* Returns: the account of a member, in or beside the batch. */
static Account *
account_of(Returns *returns, int64 member)
{
	Pass	   *pass = (Pass *) ((char *) returns - offsetof(Pass, returns));
	Account    *account = NULL;
	bool		known = false;
	ListCell   *cell;

	for (int low = 0, high = pass->nlocked; low < high && !known;)
	{
		int			middle = low + (high - low) / 2;

		known = pass->members[middle] == member;
		if (known)
		{
			account = pass->accounts[middle];
			pass->written[middle] = true;
		}
		else if (pass->members[middle] > member)
			low = middle + 1;
		else
			high = middle;
	}
	foreach(cell, pass->others)
		if (!known && ((Account *) lfirst(cell))->member_id == member)
		{
			account = lfirst(cell);
			known = true;
		}
	if (!known)
	{
		/* a purchase that has changed hands since its return was sorted to its owner: out of the order of locks */
		store_lock_accounts(pass->store, pass->source->program, 1, &member, NULL, pass->context, &account);
		if (account)
			pass->others = lappend(pass->others, account);
	}
	if (account)
		ledger_write(account);
	lock_accounts(pass, 0, 0);
	return account;
}

/* One purchase that either is new or only gives back waits for budgets one by one. */
static void
choose_purse(Pass *pass)
{
	PostItem   *only = NULL;
	int			n = 0;

	for (int i = 0; i < pass->nitems; i++)
		if (!pass->items[i].skip)
		{
			only = &pass->items[i];
			n++;
		}
	if (pass->rows->count == 1 && n == 1 &&
		(!only->counts || only->is_return || (only->lots.nlots == 0 && !pass->source->is_returned)))
		limit_set_mode(pass->purse, PURSE_ONE);
}

/* ReviewWork */
static void
check_spending(void *arg, void *work)
{
	spend_check(&((Pass *) arg)->spending);
}

/* ReviewWork */
static void
refuse_stranger(void *arg, void *work)
{
	spend_refuse_stranger(((Pass *) arg)->source, &((PostItem *) work)->purchase);
}

/* What the row pays with points, before it earns; false when it cannot and the source skips errors. */
static bool
spend_item(Pass *pass, Account *account, PostItem *item, Lot **lots, int nlots)
{
	if (account == NULL)
		return item->skip || !item->counts || item->purchase.spent == 0 || evaluate(pass, item, refuse_stranger);
	if ((pass->hoping && item->purchase.spent == 0) ||
		!spend_begin(&pass->spending, pass->source, account, &item->purchase, item->counts, lots, nlots, pass->statement_at))
		return true;
	if (!evaluate(pass, item, check_spending))
		return false;
	spend_finish(&pass->spending);
	return true;
}

/* One account's items, in the order of their arrival. */
static void
work_account(Pass *pass, int a, int first, int end)
{
	Account    *account = pass->accounts[a];
	bool		repeats = false;

	for (int i = first; i < end; i++)
		repeats |= pass->items[i].changed;
	if (repeats)
		join_moves(pass, first, end);
	for (int i = first; i < end; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (account == NULL && pass->source->points_spent && !spend_item(pass, NULL, &pass->items[i], NULL, 0))
			continue;
		if (pass->items[i].skip || (account == NULL && !pass->items[i].is_return && !pass->items[i].was_return))
			continue;
		if (account && (repeats || pass->written[a]))
			renew_lots(pass, a, first, i, repeats);
		work_item(pass, account, &pass->items[i]);
		/* at the instant of the row: history is lived through */
		if (account && pass->counting && account->nsales > account->ncounted)
			challenge_count(account);
	}
	if (account)
		ledger_write(account);
}

/* The items of accounts a to end - 1, which begin at `first`.  Returns where the others begin. */
static int
work_accounts(Pass *pass, int a, int end, int first, bool fresh)
{
	int			last = first;

	lock_accounts(pass, a, end - a);
	pass->nlocked = end;
	while (last < pass->nitems && (end == pass->naccounts || pass->items[last].member > pass->members[end]))
		last++;
	if (!fresh)
		probe_items(pass, first, last);
	if (pass->purse)
		choose_purse(pass);
	for (; a < end; a++)
	{
		int			next;

		while (first < last && pass->items[first].member > pass->members[a])
			first++;
		for (next = first; next < last && pass->items[next].member == pass->members[a]; next++)
			;
		if (next > first)
			work_account(pass, a, first, next);
		first = next;
	}
	return last;
}

/* Rooms that follow sales work when all of the batch is written; what returns change, challenges count here. */
static void
tell_followers(Pass *pass)
{
	const Program *program = pass->source->program;
	Account   **accounts = palloc((pass->naccounts + list_length(pass->others)) * sizeof(Account *));
	int			n = 0;
	ListCell   *cell;

	for (int a = 0; a < pass->naccounts; a++)
		accounts[n++] = pass->accounts[a];
	foreach(cell, pass->others)
		accounts[n++] = lfirst(cell);
	if (program->nchallenges > 0 && follow_uncounted(accounts, n) > 0)
	{
		lock_accounts(pass, 0, 0);
		for (int i = 0; i < n; i++)
			if (accounts[i] && accounts[i]->nsales > accounts[i]->ncounted)
			{
				challenge_count(accounts[i]);
				ledger_write(accounts[i]);
			}
	}
	if (!follow_asks(program, accounts, n))
		return;
	store_flush(pass->store);
	follow_tell(program, accounts, n, pass->source->skip_errors);
}

/*
 * A few accounts at a time are locked, worked and written before the next are locked, and the fewer are left the fewer:
 * so the last ones, which everybody waits for, are held for the least time.  All of them where a budget is to be waited
 * for (see limit.c), and where rooms that follow sales change them once more.
 */
static int
accounts_at_once(const Pass *pass, int left)
{
	if (pass->hoping)
		return 1;
	if (pass->source->budgeted || pass->source->program->follows || pass->nitems > FEW_ROWS)
		return left;
	return Min(left, Min(Max(left / 3, LOCKS_AT_LEAST), LOCKS_AT_ONCE));
}

static void
work_batch(Pass *pass)
{
	bool		fresh = pass->hoping || keys_fresh(pass);
	int			first = 0;

	pass->counting = pass->source->program->nchallenges > 0;
	for (int i = 0; i < pass->nitems && pass->counting; i++)
		pass->counting = !pass->items[i].is_return && !pass->items[i].was_return;
	if (pass->hoping)
		lock_accounts(pass, 0, 0);	/* what the last batch left is written, what others committed is seen */
	for (int a = 0, n; a < pass->naccounts; a += n)
	{
		n = accounts_at_once(pass, pass->naccounts - a);
		first = work_accounts(pass, a, a + n, first, fresh);
	}
	pass->working = NULL;
	if (pass->source->program->follows)
		tell_followers(pass);
}

/* ReviewWork: what the item's row earns now for pass->account, beyond pass->stored. */
static void
earn_item(void *arg, void *work)
{
	Pass	   *pass = arg;
	PostItem	   *item = work;

	earn_evaluate(pass->source, pass->account, pass->mapping->context, &item->purchase, pass->at, pass->stored,
				  &pass->award, NULL);
}

static void
check_award_no(Pass *pass, PostItem *item, int award_no)
{
	if (award_no >= AWARDS_A_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("purchase \"%s\" of source \"%s\" of program \"%s\" has been awarded too often", item->purchase.key,
						pass->source->name, pass->source->program->name),
				 errdetail("It has grown, was released or changed hands %d times.", AWARDS_A_KEY)));
}

/* A first award, or a further one for what a purchase grew by (`amount`) beyond what is stored. */
static void
award_item(Pass *pass, Account *account, PostItem *item, int award_no, const Breakdown *stored, Numeric amount)
{
	check_award_no(pass, item, award_no);
	pass->account = account;
	pass->stored = stored;
	pass->at = ledger_settle(account, Min(item->purchase.occurred_at, pass->statement_at));
	if (pass->source->account_columns & ACCOUNT_OF_COUNTERS)
		tier_read_units(account);
	mapping_set_row(pass->mapping, item->row);
	if (!evaluate(pass, item, earn_item))
		return;
	if (pass->purse && limit_trim(account, pass->source, item->purchase.occurred_at, &pass->award))
		earn_rebuild(pass->source, &item->purchase, pass->at, &pass->award);
	if (pass->award.nlots > LOTS_AN_AWARD)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("the rules of source \"%s\" give one purchase points of %d different lives and units", pass->source->name,
						pass->award.nlots),
				 errdetail("At most %d are allowed.", LOTS_AN_AWARD)));
	pass->award.names_visit = pass->source->visit && pass->source->program->counts_visits;
	pass->award.visit = item->purchase.visit;
	ledger_award(account, pass->source->id, item->purchase.key, award_no * LOTS_AN_AWARD, &pass->award, amount,
				 item->purchase.occurred_at, pass->at);
	pass->posted++;
}

/* All that a purchase has earned so far, one entry a rule, for the difference to what it would earn now. */
static void
add_stored(Breakdown *stored, const Lot *first)
{
	Breakdown  *more;

	if (first->breakdown == NULL)
		return;
	more = breakdown_decode(first->breakdown);
	stored->entries = stored->entries == NULL ? palloc(more->count * sizeof(BreakdownEntry))
		: repalloc(stored->entries, (stored->count + more->count) * sizeof(BreakdownEntry));
	memcpy(stored->entries + stored->count, more->entries, more->count * sizeof(BreakdownEntry));
	stored->count += more->count;
}

/* A rule whose points lie in this lot and have a life of their own; NULL: the program's. */
static const Rule *
rule_of_lot(const Source *source, const Lot *lot)
{
	Breakdown  *breakdown = lot->breakdown ? breakdown_decode(lot->breakdown) : NULL;

	for (int i = 0; breakdown && i < breakdown->count; i++)
		for (int r = 0; r < source->nrules && breakdown->entries[i].own && breakdown->entries[i].units > 0; r++)
			if (source->rules[r].id == breakdown->entries[i].rule)
				return &source->rules[r];
	return NULL;
}

/* The event has come for which the awards of a purchase wait, unless their time was up before. */
static int
release_awards(Pass *pass, Account *account, PostItem *item, Lot **lots, int nlots, int award_no)
{
	TimestampTz at = ledger_settle(account, pass->statement_at);
	const Tier *tier = config_tier(account->program, account->tier_id);

	for (int first = 0, end; first < nlots; first = end)
	{
		AwardLot	to[LOTS_AN_AWARD];
		bool		alive = false;

		for (end = first; end < nlots && lots[end]->part / LOTS_AN_AWARD == lots[first]->part / LOTS_AN_AWARD; end++)
			alive |= lots[end]->available_at == DT_NOEND && lots[end]->remaining > 0 && ledger_lives(account, lots[end], at);
		if (!alive)
			continue;
		check_award_no(pass, item, award_no);
		item->purchase.released_at = Max(item->purchase.released_at, at);
		for (int i = first; i < end; i++)
			earn_lot_dates(pass->source, rule_of_lot(pass->source, lots[i]), tier, &item->purchase, at, &to[i - first]);
		ledger_release(account, lots + first, end - first, award_no++ * LOTS_AN_AWARD, to, at);
		pass->posted++;
	}
	return award_no;
}

/* The lots of the award that was just made. */
static int
fresh_lots(Account *account, const PostItem *item, int award_no, Lot **lots)
{
	int			n = 0;

	for (int i = 0; i < account->nfresh && n < LOTS_AN_AWARD; i++)
		if (account->fresh[i]->source_key == item->purchase.key && account->fresh[i]->part / LOTS_AN_AWARD == award_no)
			lots[n++] = account->fresh[i];
	refund_sort_lots(lots, n);
	return n;
}

/* Of an award that was just made keep this much; NULL: nothing. */
static void
keep_fresh(Pass *pass, Account *account, PostItem *item, int award_no, Numeric kept)
{
	Lot		   *lots[LOTS_AN_AWARD];
	int			n = fresh_lots(account, item, award_no, lots);

	refund_keep(account, lots, n, kept, pass->at);
}

/*
 * A purchase that has earned before: keep as much of each of its awards as the row now says and its returns leave,
 * lowest first; what the row has grown by above all of them earns anew.
 */
static void
keep_item(Pass *pass, Account *account, PostItem *item, Lot **lots, int nlots, int award_no)
{
	Numeric		says = item->counts && !item->is_return ? item->purchase.amount : NULL;
	Numeric		kept = says;
	Numeric		grown = says;
	Breakdown	stored = {0};
	bool		returned;

	refund_sort_lots(lots, nlots);
	returned = refund_possible(lots, nlots) &&
		refund_kept(&pass->returns, account, lots, nlots, item->purchase.key, says, &kept);
	pass->posted += refund_keep(account, lots, nlots, kept, pass->statement_at);
	for (int i = 0; i < nlots && says; i++)
		if (ledger_begins_award(lots, i))
		{
			grown = money_subtract(grown, lots[i]->amount);
			if (kept)
				kept = money_subtract(kept, lots[i]->amount);
			add_stored(&stored, lots[i]);
		}
		else if (lots[i]->unit != 0)
			add_stored(&stored, lots[i]);
	if (says && pass->source->release && !item->purchase.waits)
		award_no = release_awards(pass, account, item, lots, nlots, award_no);
	if (says == NULL || money_sign(grown) <= 0 || strcmp(account->status, "active") != 0)
		return;
	award_item(pass, account, item, award_no, &stored, grown);
	if (returned)
		keep_fresh(pass, account, item, award_no, kept && money_sign(kept) > 0 ? kept : NULL);
}

/* The first award of a purchase; returns that came before it have waited for it. */
static void
award_first(Pass *pass, Account *account, PostItem *item, int award_no)
{
	Lot		   *lots[LOTS_AN_AWARD];
	Numeric		kept;
	int			n;

	award_item(pass, account, item, award_no, NULL, item->purchase.amount);
	if (!pass->source->is_returned && item->lots.nlots == 0)
		return;
	n = fresh_lots(account, item, award_no, lots);
	if (n > 0 && refund_kept(&pass->returns, account, lots, n, item->purchase.key, item->purchase.amount, &kept))
		refund_keep(account, lots, n, kept, pass->at);
}

/* What the row returns now, or no more. */
static void
work_return(Pass *pass, PostItem *item)
{
	ReturnRow	row = {
		.member = item->member, .key = item->purchase.key, .of_key = item->of_key,
		.amount = item->is_return ? item->purchase.amount : NULL, .gone = item->row == NULL,
		.occurred_at = item->purchase.occurred_at
	};
	ListCell   *cell;

	pass->posted += refund_post(&pass->returns, &row);
	foreach(cell, pass->others)
		ledger_write(lfirst(cell));
}

static void
work_item(Pass *pass, Account *account, PostItem *item)
{
	Lot		  **own = item->lots.nlots ? palloc(item->lots.nlots * sizeof(Lot *)) : NULL;
	int			nown = 0;
	int			award_no = 0;

	pass->working = item;
	for (int i = 0; i < item->lots.nlots && account; i++)
	{
		Lot		   *lot = item->lots.lots[i];

		award_no = Max(award_no, lot->part / LOTS_AN_AWARD + 1);
		if (lot->member_id == account->member_id && lot->program_id == account->program->id)
			own[nown++] = ledger_named_lot(account, lot);
	}
	if (pass->source->release)
		nown = ledger_leave_moved_on(own, nown);
	if (pass->source->points_spent && !spend_item(pass, account, item, own, nown))
		return;
	if (nown > 0)
		keep_item(pass, account, item, own, nown, award_no);
	else if (item->counts && !item->is_return && account && strcmp(account->status, "active") == 0)
		award_first(pass, account, item, award_no);
	if (item->is_return || item->was_return)
		work_return(pass, item);
}
