/*
 * ledger.h
 *	  Accounts, lots and movements in memory, and the only functions that change points.
 *
 * The life of an Account here: store_lock_accounts() fills it under the row lock; ledger_settle() and the
 * other functions below change it and note what is to be written; ledger_write() hands the notes to the store.
 * Readers fill it without a lock, settle it and throw it away.
 */
#ifndef LOYALTY_LEDGER_H
#define LOYALTY_LEDGER_H

#include "postgres.h"
#include "storage/itemptr.h"
#include "utils/date.h"

#include "breakdown.h"
#include "config.h"

typedef enum EntryKind
{
	ENTRY_REDEEM,
	ENTRY_HOLD,
	ENTRY_RESTORE,
	ENTRY_EXPIRE,
	ENTRY_CLAWBACK,
	ENTRY_TRANSFER,
	ENTRY_REPAY,
	ENTRY_ADJUST,
	ENTRY_DEBT,					/* what is owed in the place of a lot that a return found empty */
	ENTRY_KINDS
} EntryKind;

extern const char *const entry_kind_names[];	/* as movement.kind has them */

/* lot.kind */
#define LOT_AWARD		'a'
#define LOT_ADJUST		'j'
#define LOT_TRANSFER	't'

/* part = award number * LOTS_AN_AWARD + lot: awards of one key are its first, what it grew by later, what was released */
#define LOTS_AN_AWARD	64

typedef struct Lot
{
	/* as the columns of loyalty.lot */
	TimestampTz expires_at;
	int64		entry_no;
	Points		points;
	Points		remaining;
	Points		owed;
	TimestampTz earned_at;
	TimestampTz available_at;
	TimestampTz at;
	TimestampTz posted_at;
	int32		source_id;		/* 0: none */
	int32		unit;			/* 0: points; else it has none, and its breakdown is of this status unit */
	int16		part;
	int16		life;			/* of the account's lives, that with which they die; below 0: not before that; 0: none */
	char		kind;
	char	   *source_key;
	Numeric		amount;
	Numeric		kept_amount;
	bytea	   *breakdown;

	/* of this copy */
	int64		member_id;
	int32		program_id;
	ItemPointerData tid;		/* valid when stored */
	bool		stored;
	bool		changed;
} Lot;

/* Of a purchase's lots by part: is lots[i] the first of an award? */
static inline bool
ledger_begins_award(Lot *const *lots, int i)
{
	return i == 0 || lots[i]->part / LOTS_AN_AWARD != lots[i - 1]->part / LOTS_AN_AWARD;
}

typedef struct Movement
{
	int64		entry_no;
	EntryKind	kind;
	TimestampTz lot_expires_at;
	int64		lot_entry_no;
	Points		points;			/* signed: what the lot gains */
	TimestampTz at;
	int64		redemption_id;	/* 0: none */
	int64		origin_entry_no;	/* clawback, new debt: the award's lot; repay, cancelled debt: the debt; 0: none */
	const char *reason;
} Movement;

typedef enum RedemptionState
{
	REDEMPTION_HELD,
	REDEMPTION_CAPTURED,
	REDEMPTION_RELEASED,		/* or lapsed: then it changed at held_until */
	REDEMPTION_REVERSED			/* all of it */
} RedemptionState;

extern const char *const redemption_state_names[];	/* as redemption.state has them */

/* A burn, as the columns of loyalty.redemption; NULL, 0: nothing said. */
typedef struct Redemption
{
	int64		redemption_id;
	int32		program_id;
	int32		reward_id;
	int32		quantity;
	Points		points;			/* when it began */
	Points		taken;			/* of them, what is held or spent still */
	RedemptionState state;
	const char *key;
	const char *reason;
	int32		vouchers;		/* that it has made */
	TimestampTz held_until;		/* infinity: was never held */
	int64		first_entry;	/* of the movements that took the points */
	int64		last_entry;
	TimestampTz at;
	TimestampTz changed_at;
	int32		source_id;		/* of points paid on a sale; 0: none */
	const char *source_key;
	Points		stated;			/* the most that its row ever said */

	/* of this copy */
	ItemPointerData tid;
	bool		changed;
	bool		gives_stock;	/* its pieces of the reward go back when it is written */
} Redemption;

/* What a return found nowhere, under clawback = debt. */
typedef struct Debt
{
	/* as the columns of loyalty.debt */
	int64		entry_no;		/* of the movement that made it */
	TimestampTz lot_expires_at; /* the award's lot */
	int64		lot_entry_no;
	Points		amount;
	Points		left;
	TimestampTz at;
	TimestampTz posted_at;

	/* of this copy */
	ItemPointerData tid;		/* valid when stored */
	bool		stored;
	bool		changed;
} Debt;

/* What an account's tier is made of. */
typedef struct Standing
{
	int32		own_tier_id;
	TimestampTz own_until;
	int32		granted_tier_id;
	TimestampTz granted_until;
	int32		kept_tier_id;
} Standing;

/* A tier that a pool shares with an account, and the first instant at which it is over. */
typedef struct Lent
{
	int32		tier_id;
	TimestampTz until;
} Lent;

typedef struct TierChange
{
	TimestampTz at;
	int64		change_no;		/* an entry number of the account: the order of what happened */
	int32		from_tier;		/* 0: none */
	int32		to_tier;
	TimestampTz held_until;
	const char *reason;
} TierChange;

/* What a member has had from a limited rule in one period, as the columns of loyalty.rule_usage. */
typedef struct Usage
{
	int32		rule_id;
	TimestampTz period_start;
	TimestampTz period_end;
	Units		used;
	int32		uses;

	/* of this copy */
	ItemPointerData tid;
	bool		stored;
	bool		changed;
} Usage;

/* What an account has counted of a metric, as the columns of loyalty.counter; see counter.c. */
typedef struct Counter
{
	TimestampTz bucket;
	int32		metric;
	Numeric		value;

	/* of this copy */
	ItemPointerData tid;
	bool		stored;
	bool		changed;
} Counter;

/* How many kept awards are one visit, as the columns of loyalty.visit. */
typedef struct Visit
{
	TimestampTz bucket;
	int32		purchases;
	const char *visit;

	/* of this copy */
	ItemPointerData tid;
	bool		stored;
	bool		changed;
} Visit;

/* Which visit a purchase was, as the columns of loyalty.visit_of. */
typedef struct VisitOf
{
	int32		source_id;
	const char *source_key;
	const char *visit;			/* NULL: none */

	/* of this copy */
	bool		stored;
} VisitOf;

/* What the budget of a rule gets back (or loses, when negative) with the account's next write. */
typedef struct BudgetChange
{
	int32		rule_id;
	Units		units;
} BudgetChange;

typedef struct Store Store;
typedef struct Purse Purse;
typedef struct Sale Sale;

typedef struct Account
{
	int64		member_id;
	const Program *program;

	/* as the columns of loyalty.account */
	TimestampTz enrolled_at;
	TimestampTz settled_at;
	TimestampTz next_change_at;
	Points		available;
	Points		pending;
	Points		held;
	Points		debt;
	int64		next_entry;
	TimestampTz open_from_expires_at;
	int64		open_from_entry_no;
	int32		tier_id;		/* 0: none */
	TimestampTz tier_until;
	TimestampTz period_start;
	TimestampTz period_end;
	TimestampTz previous_start;
	int32		visits;
	int32		visits_previous;
	Points		earned;
	Points		earned_previous;
	TimestampTz active_at;		/* of the latest purchase that is kept; -infinity: none is known; infinity: expiry is suspended */
	TimestampTz inactive_at;	/* then the present life ends; infinity: without end */
	int16		life;			/* from 1 */
	Numeric		spend;
	Numeric		spend_previous;
	char	   *status;
	int32		own_tier_id;	/* what figures gave; tier_id is the best of this one, the granted and the lent one */
	TimestampTz own_until;
	int32		granted_tier_id;	/* by hand; 0: none */
	TimestampTz granted_until;
	Lent	   *lent;			/* what the account's pool gives, by time: the first of them now */
	int			nlent;
	int32		kept_tier_id;	/* never lost: reached by figures that are not kept any more; 0: none */
	int32		ladder_no;		/* the program's ladder that the account has met */

	/* of the member, read only where a rule asks for it */
	void	   *attributes;		/* jsonb; NULL: nothing is known */
	DateADT		birth_date;
	bool		has_birth_date;

	/* of this copy */
	Store	   *store;			/* where lots are read from */
	MemoryContext context;		/* of everything below */
	ItemPointerData tid;
	bool		stored;
	bool		changed;
	bool		enrolled;		/* since it was written last */
	bool		is_new;			/* and not there before: nothing of it is in any table */
	TimestampTz posted_at;		/* statement time, for what is written */

	Lot		  **lots;			/* open lots read so far, in burn order */
	int			nlots;
	int			max_lots;
	bool		all_read;		/* the store has no more open lots */
	TimestampTz read_expires_at;	/* position of the last one read */
	int64		read_entry_no;
	Lot		  **fresh;			/* lots granted since, in burn order */
	int			nfresh;
	int			max_fresh;
	Lot		  **named;			/* lots read by key, maybe closed */
	int			nnamed;
	int			max_named;
	Lot		  **closed;			/* of the named, those that were empty, in burn order: the store passes over them */
	int			nclosed;
	int			max_closed;
	Redemption **redemptions;	/* read so far */
	int			nredemptions;
	int			max_redemptions;
	bool		holds_read;		/* all open holds are among them */
	Debt	  **debts;			/* open when they were read, oldest first, then new ones */
	int			ndebts;
	int			max_debts;
	int			open_debt;		/* those before it are paid */
	bool		debts_read;
	Movement   *movements;
	int			nmovements;
	int			max_movements;
	TierChange *tier_changes;
	int			ntier_changes;
	int			max_tier_changes;
	Usage	  **usages;			/* of periods, asked for so far: usage.c's affair */
	int			nusages;
	struct Paid *paid;			/* the same by the instant, of rules with cooldowns or rolling periods; NULL: none */
	struct Counting *counting;	/* units, visits and rolling windows asked for so far: counter.c's affair; NULL: none */
	BudgetChange *budget_changes;	/* by rule id */
	int			nbudget_changes;
	Purse	   *purse;			/* of the statement; NULL: none */
	Sale	   *sales;			/* for rooms that follow; follow.c's affair */
	int			nsales;
	int			max_sales;
	int			ncounted;		/* those that challenges have counted; challenge.c's affair, and so is */
	struct Progressing *progressing;	/* how far it has come in challenges, as far as it was asked; NULL: nothing */
} Account;

/* What one row earned, as the domain room says it. */
typedef struct AwardLot
{
	Points		points;
	TimestampTz available_at;
	TimestampTz expires_at;
	bool		with_account;	/* they die with the life of their account, unless expires_at comes first */
	bytea	   *breakdown;		/* NULL: no rule paid */
	int32		unit;			/* 0: points; else points is 0, and */
	Points		value;			/* of the status unit */
} AwardLot;

typedef struct Award
{
	Points		points;			/* sum over lots */
	int			nlots;
	AwardLot   *lots;

	bool		names_visit;	/* the source says which visit it is: */
	const char *visit;			/* NULL: none */

	/* what it was built from, for limits */
	Breakdown	breakdown;
	int		   *rule_of;		/* index of each entry's rule in the source; -1: a tier's bonus */
	const Tier *tier;			/* at which it was earned; NULL: none */
} Award;

/* An account that does not exist yet, as enrolment at an instant makes it. */
extern void ledger_enroll(Account *account, TimestampTz at);

/* Bring the account forward to an instant; never backwards.  Returns the account's instant. */
extern TimestampTz ledger_settle(Account *account, TimestampTz at);

/*
 * Grant an award for a purchase: lots, counters, promotion.  The account is settled to `at`.  Key, award and amount are
 * not copied: they live as long as the account.
 */
extern void ledger_award(Account *account, int32 source_id, char *source_key, int first_part,
						 const Award *award, Numeric amount, TimestampTz occurred_at, TimestampTz at);

/*
 * A purchase's kept amount becomes `kept`; NULL: a purchase of amount 0 is taken back.  `lots` are one award's.
 * Takes back or gives back the difference by the formula of SEMANTICS.md, counters and tier included.
 */
extern void ledger_keep(Account *account, Lot **lots, int nlots, Numeric kept, TimestampTz at);

/*
 * An award whose lots wait for an event (available_at infinity) goes on, as far as it is kept, in lots of its own with
 * these dates: `to`, one for each of `lots`, whose parts count from first_part.  Counters stay.
 */
extern void ledger_release(Account *account, Lot **lots, int nlots, int first_part, const AwardLot *to, TimestampTz at);

/* Of the lots of one purchase and account, those whose award has not gone on in another; returns how many. */
extern int	ledger_leave_moved_on(Lot **lots, int nlots);

/*
 * Take `points` from available lots in burn order, as movements of `kind` that name the redemption.  The caller has
 * settled the account and knows that enough is available.  Returns first and last entry.
 */
extern void ledger_burn(Account *account, Points points, EntryKind kind, int64 redemption_id,
						TimestampTz at, int64 *first_entry, int64 *last_entry);

/* Take all that remains of these live lots, pending or available, as movements `adjust`.  Returns how much. */
extern Points ledger_take_back(Account *account, Lot **lots, int n, const char *reason, TimestampTz at);

/*
 * What is available pays what is owed, oldest debt first.  To be called by whoever makes points available; afterwards
 * either nothing is owed or nothing is available.
 */
extern void ledger_pay_debts(Account *account, TimestampTz at);

/*
 * Points for no purchase.  with_account: they die with the life of the account; expires_at is for one whose life is over.
 */
extern Lot *ledger_grant(Account *account, Points points, char kind, TimestampTz earned_at, TimestampTz available_at,
						 TimestampTz expires_at, bool with_account, TimestampTz at);

/* Does a lot that holds points count?  The account is settled to `at`. */
static inline bool
ledger_lives(const Account *account, const Lot *lot, TimestampTz at)
{
	if (lot->life < 0 && -lot->life == account->life)
		return Max(lot->expires_at, account->inactive_at) > at;
	return lot->expires_at > at && (lot->life <= 0 || lot->life == account->life);
}

/* When its points die, as things stand. */
static inline TimestampTz
ledger_end_of(const Account *account, const Lot *lot)
{
	if (lot->life < 0 && -lot->life == account->life)
		return Max(lot->expires_at, account->inactive_at);
	if (lot->life <= 0)
		return lot->expires_at;
	return lot->life == account->life ? Min(lot->expires_at, account->inactive_at) : DT_NOBEGIN;
}

/* Does the account's tier suspend expiry? */
static inline bool
ledger_is_suspended(const Account *account)
{
	return account->active_at == DT_NOEND;
}

/* Does some lot's end not go by burn order?  That of the account's life may come before or after it. */
static inline bool
ledger_is_governed(const Account *account, TimestampTz at)
{
	return ledger_is_suspended(account) || (account->inactive_at > at && account->inactive_at != DT_NOEND);
}

/* Where a tier suspends expiry: the account's tier has become another one at `at`. */
extern void ledger_follow_tier(Account *account, TimestampTz at);

/* A purchase of this instant is kept: the account's life, if its program counts activity, ends the later for it. */
extern void ledger_active(Account *account, TimestampTz active_at);

/* Points that went on from one lot to another: loyalty.lot_origin. */
typedef struct Moved
{
	const Lot  *from;
	const Lot  *to;
	int64		moved_by;		/* entry of the movement that took them out of `from` */
} Moved;

/* Available points of `from` in burn order become lots of `to` with the same life; both are settled to `at`. */
extern Moved *ledger_transfer(Account *from, Account *to, Points points, const char *reason, TimestampTz at, int *n);

/* All that remains of these live lots of one account goes on to a new lot each, which expires at expires_at. */
extern Moved *ledger_change_expiry(Account *account, Lot **lots, int n, TimestampTz expires_at, const char *reason,
								   TimestampTz at);

/*
 * A lot of points that were given by hand is taken back, by the rules of a return (program.clawback), or is kept again:
 * then all of that is undone.  The caller knows that it is not so already.  Returns the number under which it happened.
 */
extern int64 ledger_keep_grant(Account *account, Lot *lot, bool kept, const char *reason, TimestampTz at);

/* All that lives in the account's lots, pending or not, is taken, and nothing is owed any more.  Returns the number of it. */
extern int64 ledger_forfeit(Account *account, const char *reason, TimestampTz at);

/* Points given or taken by hand that count for the tier. */
extern void ledger_count(Account *account, Points points, TimestampTz at);

/* The same of a status unit, at the instant for which it counts. */
extern void ledger_count_unit(Account *account, int32 unit, Points value, TimestampTz counted_at, TimestampTz at);

/* A number for what is done by hand and changes no points. */
extern int64 ledger_note(Account *account);

/* The tier of another account that has become part of this one.  Returns the number under which it happened. */
extern int64 ledger_join(Account *account, const Standing *other, TimestampTz at);

/* A tier by hand, until then; and its end.  Return the number under which it happened. */
extern int64 ledger_grant_tier(Account *account, int32 tier_id, TimestampTz until, TimestampTz at);
extern int64 ledger_revoke_tier(Account *account, TimestampTz at);

/* The account, settled to `at`, is lent these tiers by its pool and no others; see tier_lend(). */
extern void ledger_lend_tier(Account *account, const Lent *lent, int n, TimestampTz at);

/* The account is about to become part of another one: it has no tier any more.  Returns a number for the note of it. */
extern int64 ledger_leave(Account *account, TimestampTz at);

/* "active", "blocked" or "erased".  Returns the number under which it happened. */
extern int64 ledger_set_status(Account *account, const char *status);

/* Write everything noted since the account was read. */
extern void ledger_write(Account *account);

/* Open lots in burn order, read as needed: start with *cursor zeroed; NULL at the end. */
typedef struct LotCursor
{
	int			stored;
	int			fresh;
	int			closed;
} LotCursor;

extern Lot *ledger_next_lot(Account *account, LotCursor *cursor);

/* The lot of this place in burn order, as the account has it now. */
extern Lot *ledger_lot(Account *account, TimestampTz expires_at, int64 entry_no);

/* the account's own copy of a lot that was read by key */
extern Lot *ledger_named_lot(Account *account, Lot *lot);

/* for the stores: append an open lot that was read in burn order, an open debt in the order of its entry */
extern void ledger_take_lot(Account *account, Lot *lot);
extern void ledger_take_debt(Account *account, Debt *debt);

/*
 * Redemptions.  The account is settled to `at`, and a redemption is the account's own copy, in the right state: the
 * caller has seen to it.  ledger_write() writes what changed, and gives pieces of rewards back.
 */

/* Reserve redemption->points until held_until: out of their lots, where expiry cannot reach them. */
extern void ledger_hold(Account *account, Redemption *redemption, TimestampTz at);

/* Spend so many of the held points; the rest, last taken first, goes back. */
extern void ledger_capture(Account *account, Redemption *redemption, Points points, TimestampTz at);

/* What came back: alive, dead because the lot had died, or at once used for what the lot owed. */
typedef struct Returned
{
	Points		alive;
	Points		dead;
	Points		owed;
} Returned;

/* All held points go back. */
extern Returned ledger_unhold(Account *account, Redemption *redemption, TimestampTz at);

/* Spent points go back, in the opposite order of taking. */
extern Returned ledger_reverse(Account *account, Redemption *redemption, Points points, TimestampTz at);

/* the account's own copy; NULL when there is none of this number */
extern Redemption *ledger_redemption(Account *account, int64 redemption_id);

/* for the stores: append a redemption that was read, unless there is a copy; allocated in account->context */
extern void ledger_take_redemption(Account *account, Redemption *redemption);

#endif
