/*
 * take_back.c
 *	  Points that a room beside the core gave, and takes back: what remains of their own lots, pending ones too.
 *
 * Called by bodies of entry functions alone, which have their own keys: to take back again takes nothing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/array.h"

#include "call.h"
#include "lock.h"

PG_FUNCTION_INFO_V1(loyalty_take_back);

static bool
is_named(const int64 *entries, int n, int64 entry_no)
{
	for (int i = 0; i < n; i++)
		if (entries[i] == entry_no)
			return true;
	return false;
}

/* Of the lots that are named those that hold live points. */
static Lot **
find_lots(Account *account, const int64 *entries, int n, TimestampTz at, int *found)
{
	LotCursor	cursor = {0};
	Lot		  **lots = palloc(mul_size(Max(n, 1), sizeof(Lot *)));
	Lot		   *lot;

	*found = 0;
	while (*found < n && (lot = ledger_next_lot(account, &cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (lot->remaining > 0 && lot->expires_at > at && is_named(entries, n, lot->entry_no))
			lots[(*found)++] = lot;
	}
	return lots;
}

/* take_back(member_id, lots, reason, program) */
Datum
loyalty_take_back(PG_FUNCTION_ARGS)
{
	const Program *program = config_program(call_text(fcinfo, 3));
	Intervention intervention = {.action = "adjust", .reason = call_text(fcinfo, 2)};
	int64	   *entries;
	int			n = lock_members(PG_GETARG_ARRAYTYPE_P(1), &entries);
	Points		taken = 0;
	Call		call;

	n = lock_order(entries, n);
	call_begin(&call, "take_back", program, call_member(fcinfo, 0));
	call_settle(&call);
	if (n > 0)
	{
		int			found;
		Lot		  **lots = find_lots(call.account, entries, n, call.at, &found);

		intervention.entry_no = call.account->next_entry;
		taken = ledger_take_back(call.account, lots, found, intervention.reason, call.at);
		intervention.last_entry = call.account->next_entry - 1;
		intervention.points = -taken;
	}
	if (taken > 0)
		call_intervene(&call, &intervention);
	call_end(&call);
	PG_RETURN_DATUM(NumericGetDatum(points_to_numeric(taken)));
}
