/*
 * spend.c
 *	  Points that a purchase is paid with: its row burns before it earns, and a return restores in proportion.
 *
 * Rules:
 * - The row says how many points; what the ledger has taken follows it, as the award follows it.  With S the most that
 *	 the row ever said, A the amount that was awarded and K what is kept of it, as much is taken as the row says now,
 *	 but no more than round(S x K / A), rounded as awards are: so it does not matter in how many steps one returns.
 * - Points are taken before the row earns, and given back before its award is taken back.
 * - What is taken later is a redemption of its own: what each took lies together, and the newest gives back first.
 * - Steps, minimum and share are asked when the row says more than it ever did, never of a return.
 */
#include "postgres.h"

#include "breakdown.h"
#include "errcodes.h"
#include "fixed.h"
#include "money.h"
#include "post.h"
#include "spend.h"
#include "store.h"

#define SPENT_LIMIT (UNITS_LIMIT / 10000)	/* of 1/10,000 point: what can be shared out as an award is */

static void
refuse_row(const Source *source, const char *key, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_SOURCE_ROW),
			 errmsg("purchase \"%s\" of source \"%s\" of program \"%s\" cannot be paid with so many points", key,
					source->name, source->program->name),
			 errdetail_internal("%s", detail),
			 errhint("Correct the row; loyalty.source says in which steps and how much can be paid with points.")));
}

static const char *
money_text(Numeric amount)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(amount))));
}

Points
spend_read(const Source *source, ExprContext *context, const char *key)
{
	Points		smallest = POINTS_ONE;
	Points		points = 0;
	bool		isnull;
	Datum		value = expression_eval(source->points_spent, context, &isnull);
	FixedStatus status;

	if (isnull)
		return 0;
	for (int i = 0; i < source->program->decimals; i++)
		smallest /= 10;
	status = fixed_from_numeric(DatumGetNumeric(value), POINTS_SCALE, &points);
	if (status != FIXED_OK || points < 0 || points >= SPENT_LIMIT || points % smallest != 0)
		refuse_row(source, key,
				   psprintf("It says %s; points are at least 0, below 10,000,000,000, and have at most %d decimals here.",
							money_text(DatumGetNumeric(value)), source->program->decimals));
	return points;
}

/* points x point_value */
static Numeric
points_as_money(const Program *program, Points points)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(points_to_numeric(points)),
											   NumericGetDatum(program->point_value)));
}

void
spend_check_rules(const Source *source, const Purchase *purchase)
{
	const char *said = points_to_text(purchase->spent);

	if (purchase->spent == 0)
		return;
	if (purchase->spent < source->spend_minimum)
		refuse_row(source, purchase->key,
				   psprintf("%s points are below the minimum of %s.", said, points_to_text(source->spend_minimum)));
	if (source->spend_step > 0 && purchase->spent % source->spend_step != 0)
		refuse_row(source, purchase->key,
				   psprintf("%s points are not in steps of %s.", said, points_to_text(source->spend_step)));
	if (source->spend_maximum_share && source->program->point_value)
	{
		Numeric		paid = points_as_money(source->program, purchase->spent);
		Numeric		most = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(purchase->amount),
															   NumericGetDatum(source->spend_maximum_share)));

		if (money_compare(paid, most) > 0)
			refuse_row(source, purchase->key,
					   psprintf("%s points pay %s; at most %s of %s can be paid with points.", said, money_text(paid),
								money_text(most), money_text(purchase->amount)));
	}
}

Numeric
spend_earning_amount(const Source *source, const Purchase *purchase)
{
	Numeric		earns;

	if (purchase->spent == 0 || source->program->earn_on_points_paid || source->program->point_value == NULL)
		return purchase->amount;
	earns = money_subtract(purchase->amount, points_as_money(source->program, purchase->spent));
	return money_sign(earns) < 0 ? money_zero() : earns;
}

/* ---- what is to be taken ---- */

static bool
is_of_purchase(const Redemption *redemption, const Source *source, const Purchase *purchase)
{
	return redemption->source_id == source->id && strcmp(redemption->source_key, purchase->key) == 0;
}

/* round(stated x kept / awarded), as one share of an award. */
static Points
kept_share(const Program *program, Points stated, Numeric kept, Numeric awarded)
{
	BreakdownEntry entry = {.units = stated * 10000, .own = true};
	Breakdown	whole = {.rounding = program->rounding, .decimals = program->decimals, .count = 1, .entries = &entry};

	if (money_sign(awarded) == 0 || money_compare(kept, awarded) >= 0)
		return stated;
	if (money_sign(kept) <= 0)
		return 0;
	return breakdown_points(&whole, kept, awarded);
}

bool
spend_begin(Spending *spending, const Source *source, Account *account, const Purchase *purchase, bool counts,
			Lot **lots, int nlots, TimestampTz statement_at)
{
	Points		says = counts ? purchase->spent : 0;

	*spending = (Spending) {.source = source, .account = account, .purchase = purchase};
	store_read_spent(account, source->id, purchase->key);
	for (int i = 0; i < account->nredemptions; i++)
		if (is_of_purchase(account->redemptions[i], source, purchase))
		{
			spending->known = Max(spending->known, account->redemptions[i]->stated);
			spending->taken = points_add(spending->taken, account->redemptions[i]->taken);
		}
	spending->stated = Max(spending->known, says);
	spending->target = says;
	if (says > 0 && nlots > 0)
	{
		Numeric		awarded = money_zero();

		for (int i = 0; i < nlots; i++)
			if (lots[i]->part % LOTS_AN_AWARD == 0)
				awarded = money_add(awarded, lots[i]->amount);
		spending->target = Min(says, kept_share(source->program, spending->stated, purchase->amount, awarded));
	}
	if (spending->target == spending->taken)
		return false;
	spending->at = ledger_settle(account, counts && nlots == 0 ? Min(purchase->occurred_at, statement_at) : statement_at);
	return true;
}

/* ---- taking and giving back ---- */

static void
refuse_points(const Source *source, const Purchase *purchase, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INSUFFICIENT_POINTS),
			 errmsg("insufficient points to pay purchase \"%s\" of source \"%s\" of program \"%s\"", purchase->key,
					source->name, source->program->name),
			 errdetail_internal("%s", detail),
			 errhint("Pending, held and expired points cannot be spent, and nothing while there is debt; see loyalty.balance().")));
}

void
spend_refuse_stranger(const Source *source, const Purchase *purchase)
{
	refuse_points(source, purchase,
				  psprintf("The member has no account, and %s points are needed.", points_to_text(purchase->spent)));
}

const char *
spend_obstacle(const Account *account, Points points)
{
	if (account->debt > 0)
		return psprintf("The member owes %s points; %s are needed.", points_to_text(account->debt), points_to_text(points));
	if (account->available < points)
		return psprintf("%s points are available and %s are needed.", points_to_text(account->available),
						points_to_text(points));
	return NULL;
}

void
spend_check(const Spending *spending)
{
	const Account *account = spending->account;
	const char *reason;

	if (spending->target < spending->taken)
		return;
	if (spending->stated > spending->known)
		spend_check_rules(spending->source, spending->purchase);
	if (strcmp(account->status, "active") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACCOUNT_BLOCKED),
				 errmsg("account of member " INT64_FORMAT " in program \"%s\" is %s", account->member_id,
						account->program->name, account->status),
				 errdetail("Purchase \"%s\" is paid with %s points.", spending->purchase->key,
						   points_to_text(spending->purchase->spent)),
				 errhint("loyalty.unblock() lifts it.")));
	reason = spend_obstacle(account, spending->target - spending->taken);
	if (reason)
		refuse_points(spending->source, spending->purchase, reason);
}

static void
take(const Spending *spending, Points points)
{
	Account    *account = spending->account;
	Redemption *redemption = MemoryContextAllocZero(account->context, sizeof(Redemption));

	*redemption = (Redemption) {
		.redemption_id = store_next_redemption(account->store), .program_id = account->program->id, .quantity = 1,
		.points = points, .taken = points, .state = REDEMPTION_CAPTURED, .held_until = DT_NOEND, .at = spending->at,
		.changed_at = spending->at, .source_id = spending->source->id, .source_key = spending->purchase->key,
		.stated = spending->stated
	};
	ledger_burn(account, points, ENTRY_REDEEM, redemption->redemption_id, spending->at, &redemption->first_entry,
				&redemption->last_entry);
	store_insert_redemption(account, redemption);
	ledger_take_redemption(account, redemption);
}

static void
give_back(const Spending *spending, Points points)
{
	Account    *account = spending->account;

	while (points > 0)
	{
		Redemption *newest = NULL;
		Points		part;

		for (int i = 0; i < account->nredemptions; i++)
		{
			Redemption *r = account->redemptions[i];

			if (is_of_purchase(r, spending->source, spending->purchase) && r->taken > 0 &&
				(newest == NULL || r->redemption_id > newest->redemption_id))
				newest = r;
		}
		Assert(newest);
		part = Min(points, newest->taken);
		(void) ledger_reverse(account, newest, part, spending->at);
		points -= part;
	}
}

void
spend_finish(const Spending *spending)
{
	if (spending->target > spending->taken)
		take(spending, spending->target - spending->taken);
	else
		give_back(spending, spending->taken - spending->target);
}

const char *
spend_quote(Account *account, const Purchase *purchase)
{
	const char *reason = spend_obstacle(account, purchase->spent);
	int64		first;
	int64		last;

	if (reason)
		return psprintf("the sale would be refused: insufficient points. %s", reason);
	ledger_burn(account, purchase->spent, ENTRY_REDEEM, 0, account->settled_at, &first, &last);
	return NULL;
}
