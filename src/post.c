/*
 * post.c
 *	  Purchases into the ledger: map, lock, probe, earn, keep, write, batch by batch.
 *
 * Rules:
 * - Rows come ordered by member, so accounts are locked in one order whatever the statement.
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

#include "earn.h"
#include "errcodes.h"
#include "instant.h"
#include "money.h"
#include "post.h"
#include "review.h"
#include "settings.h"
#include "spend.h"
#include "store.h"

#define BATCH_ROWS	1000
#define HOPE_ROWS	2000		/* from here on a subtransaction costs less than asking for keys */

#define AWARDS_A_KEY	500

typedef struct PostItem
{
	int64		member;
	HeapTuple	row;			/* NULL when gone */
	bool		counts;			/* the row is there and earns */
	bool		skip;			/* nothing to do: superseded, in error */
	bool		changed;		/* the row was there before, or has gone: its key may come twice */
	Purchase	purchase;
	KeyLots		lots;
} PostItem;

typedef struct Pass
{
	const Source *source;
	PostRows   *rows;
	Mapping    *mapping;
	Store	   *store;
	bool		hoping;
	TimestampTz statement_at;
	MemoryContext context;		/* of one batch */
	PostItem	   *items;			/* room for 2 * BATCH_ROWS: a changed key is two */
	int			nitems;
	int64	   *members;		/* distinct, ascending */
	TimestampTz *enrolled_at;
	Account   **accounts;
	int			naccounts;
	PostItem	   *working;		/* for error messages */
	int64		posted;

	/* of the award being worked */
	Account    *account;
	const Breakdown *stored;
	TimestampTz at;
	Award		award;
	Spending	spending;
} Pass;

static void map_batch(Pass *pass);
static void map_row(Pass *pass, PostRow *row);
static void lock_batch(Pass *pass);
static void probe_batch(Pass *pass);
static void work_batch(Pass *pass);
static void work_item(Pass *pass, Account *account, PostItem *item);

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
	pass.context = AllocSetContextCreate(outer, "loyalty batch", ALLOCSET_DEFAULT_SIZES);
	pass.store = store_open(pass.statement_at);
	if (hoping)
		store_hope(pass.store);
	do
	{
		MemoryContextSwitchTo(pass.context);
		map_batch(&pass);
		if (pass.nitems > 0)
		{
			lock_batch(&pass);
			probe_batch(&pass);
			work_batch(&pass);
		}
		MemoryContextSwitchTo(outer);
		MemoryContextReset(pass.context);
	} while (pass.nitems > 0);
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

	if (rows->all_new && rows->count >= HOPE_ROWS)
	{
		if (post_hoping(mapping, source, rows, &posted))
			return posted;
		rows->rewind(rows);
	}
	return post_pass(mapping, source, rows, false);
}

/* ---- reading ---- */

static void
map_batch(Pass *pass)
{
	PostRow		row;
	int			room = 16;

	pass->nitems = 0;
	pass->items = palloc(room * sizeof(PostItem));
	while (pass->nitems < BATCH_ROWS && pass->rows->next(pass->rows, &row))
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
	if (money_sign(item->purchase.amount) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_SOURCE_ROW),
				 errmsg("purchase \"%s\" of source \"%s\" of program \"%s\" has a negative amount", item->purchase.key,
						source->name, source->program->name),
				 errdetail("Returns as rows of their own are not available in this version."),
				 errhint("Leave such rows out by the source's condition, for instance total >= 0.")));
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
		review_add(pass->source, item->member, item->purchase.key, error);
		item->skip = true;
	}
	return error == NULL;
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
	if (item->counts && pass->source->amount->plain_column == 0)
		item->purchase.amount = money_copy(item->purchase.amount);	/* out of the expression's memory */
	if (gone && strcmp(gone->purchase.key, item->purchase.key) == 0)
		gone->skip = true;		/* the key stays: the row that is there says all */
	if (rows->there)
		rows->there(rows, row->member, item->purchase.key);
}

/* ---- locking and probing ---- */

static void
lock_accounts(Pass *pass, int first, int n)
{
	bool		automatic = pass->source->program->automatic;

	store_lock_accounts(pass->store, pass->source->program, n, pass->members + first,
						automatic ? pass->enrolled_at + first : NULL, pass->context, pass->accounts + first);
	if (pass->source->uses_member)
		store_read_members(pass->store, pass->accounts + first, n);
}

/* The accounts of the batch, in order; a member is enrolled by a row that counts. */
static void
lock_batch(Pass *pass)
{
	pass->members = palloc(pass->nitems * sizeof(int64));
	pass->enrolled_at = palloc(pass->nitems * sizeof(TimestampTz));
	pass->accounts = palloc0(pass->nitems * sizeof(Account *));
	pass->naccounts = 0;
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
		if (item->counts && pass->enrolled_at[n - 1] == DT_NOEND)
			pass->enrolled_at[n - 1] = Min(item->purchase.occurred_at, pass->statement_at);
	}
	/* hoping, each is locked just before it is worked: see store_hope() */
	lock_accounts(pass, 0, pass->hoping ? 0 : pass->naccounts);
}

/*
 * What the keys have earned before.  A statement that only adds rows under keys that are all new (the usual load) is
 * found out by one look at the range of its keys.
 */
static void
probe_batch(Pass *pass)
{
	char	  **keys = palloc(pass->nitems * sizeof(char *));
	KeyLots    *results = palloc0(pass->nitems * sizeof(KeyLots));
	const char *low = NULL;
	const char *high = NULL;
	int			n = 0;

	if (pass->hoping)
		return;
	for (int i = 0; i < pass->nitems; i++)
	{
		char	   *key = pass->items[i].purchase.key;

		if (pass->items[i].skip)
			continue;
		low = low == NULL || strcmp(key, low) < 0 ? key : low;
		high = high == NULL || strcmp(key, high) > 0 ? key : high;
		keys[n++] = key;
	}
	if (n == 0 || (n > 1 && store_keys_fresh(pass->store, pass->source->id, low, high)))
		return;
	store_probe_keys(pass->store, pass->source->id, n, keys, pass->context, results);
	n = 0;
	for (int i = 0; i < pass->nitems; i++)
		if (!pass->items[i].skip)
			pass->items[i].lots = results[n++];
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

/*
 * A key that comes twice for one member in one batch was probed before the first was worked: look again.
 */
static void
probe_again(Pass *pass, Account *account, int first, int at)
{
	PostItem	   *item = &pass->items[at];

	for (int i = first; i < at; i++)
		if (!pass->items[i].skip && strcmp(pass->items[i].purchase.key, item->purchase.key) == 0)
		{
			ledger_write(account);
			lock_accounts(pass, 0, 0);
			store_probe_keys(pass->store, pass->source->id, 1, &item->purchase.key, pass->context, &item->lots);
			return;
		}
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

static void
work_batch(Pass *pass)
{
	int			first = 0;

	for (int a = 0; a < pass->naccounts; a++)
	{
		Account    *account;
		int			end;
		bool		repeats = false;

		if (pass->hoping)
			lock_accounts(pass, a, 1);
		account = pass->accounts[a];

		while (pass->items[first].member != pass->members[a])
			first++;
		for (end = first; end < pass->nitems && pass->items[end].member == pass->members[a]; end++)
			repeats |= pass->items[end].changed;
		if (repeats)
			join_moves(pass, first, end);
		for (int i = first; i < end && account == NULL && pass->source->points_spent; i++)
			(void) spend_item(pass, NULL, &pass->items[i], NULL, 0);
		for (int i = first; i < end && account; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (pass->items[i].skip)
				continue;
			if (repeats)
				probe_again(pass, account, first, i);
			work_item(pass, account, &pass->items[i]);
		}
		if (account)
			ledger_write(account);
		first = end;
	}
	pass->working = NULL;
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

/* A first award, or a further one for what a purchase grew by (`amount`) beyond what is stored. */
static void
award_item(Pass *pass, Account *account, PostItem *item, int award_no, const Breakdown *stored, Numeric amount)
{
	if (award_no >= AWARDS_A_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("purchase \"%s\" of source \"%s\" of program \"%s\" has been awarded too often", item->purchase.key,
						pass->source->name, pass->source->program->name),
				 errdetail("It has grown or changed hands %d times.", AWARDS_A_KEY)));
	pass->account = account;
	pass->stored = stored;
	pass->at = ledger_settle(account, Min(item->purchase.occurred_at, pass->statement_at));
	mapping_set_row(pass->mapping, item->row);
	if (!evaluate(pass, item, earn_item))
		return;
	if (pass->award.nlots > LOTS_AN_AWARD)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("the rules of source \"%s\" give one purchase points of %d different lives", pass->source->name,
						pass->award.nlots),
				 errdetail("At most %d are allowed.", LOTS_AN_AWARD)));
	ledger_award(account, pass->source->id, item->purchase.key, award_no * LOTS_AN_AWARD, &pass->award, amount,
				 item->purchase.occurred_at, pass->at);
	pass->posted++;
}

static int
compare_parts(const void *a, const void *b)
{
	return (*(Lot *const *) a)->part - (*(Lot *const *) b)->part;
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

/*
 * A purchase that has earned before: keep as much of each of its awards as the row now says, lowest first; what
 * lies above all of them earns anew.
 */
static void
keep_item(Pass *pass, Account *account, PostItem *item, Lot **lots, int nlots, int award_no)
{
	Numeric		left = item->counts ? item->purchase.amount : money_zero();
	Breakdown	stored = {0};

	qsort(lots, nlots, sizeof(Lot *), compare_parts);
	for (int first = 0, end; first < nlots; first = end)
	{
		Numeric		amount = lots[first]->amount;
		Numeric		former = lots[first]->kept_amount;
		Numeric		kept = money_compare(left, amount) < 0 ? left : amount;

		for (end = first; end < nlots && lots[end]->part / LOTS_AN_AWARD == lots[first]->part / LOTS_AN_AWARD; end++)
			;
		if (money_sign(amount) == 0 && !item->counts)
			kept = NULL;		/* all or nothing */
		if (kept == NULL ? former != NULL : (former == NULL || money_compare(kept, former) != 0))
		{
			ledger_keep(account, lots + first, end - first, kept, ledger_settle(account, pass->statement_at));
			pass->posted++;
		}
		if (kept)
			left = money_subtract(left, kept);
		add_stored(&stored, lots[first]);
	}
	if (item->counts && money_sign(left) > 0 && strcmp(account->status, "active") == 0)
		award_item(pass, account, item, award_no, &stored, left);
}

static void
work_item(Pass *pass, Account *account, PostItem *item)
{
	Lot		  **own = item->lots.nlots ? palloc(item->lots.nlots * sizeof(Lot *)) : NULL;
	int			nown = 0;
	int			award_no = 0;

	pass->working = item;
	for (int i = 0; i < item->lots.nlots; i++)
	{
		Lot		   *lot = item->lots.lots[i];

		award_no = Max(award_no, lot->part / LOTS_AN_AWARD + 1);
		if (lot->member_id == account->member_id && lot->program_id == account->program->id)
			own[nown++] = ledger_named_lot(account, lot);
	}
	if (pass->source->points_spent && !spend_item(pass, account, item, own, nown))
		return;
	if (nown > 0)
		keep_item(pass, account, item, own, nown, award_no);
	else if (item->counts && strcmp(account->status, "active") == 0)
		award_item(pass, account, item, award_no, NULL, item->purchase.amount);
}
