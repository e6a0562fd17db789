/*
 * event.c
 *	  The outbox: entries and tier changes of an account become rows of loyalty.event, in the same transaction.
 *
 * Rules:
 * - A program that tells nothing pays one comparison a write (program->tells).
 * - What is told is what is written, no more and no less: so a call that is repeated tells nothing again.
 * - loyalty.tell() decides what is kept and who is notified; rooms written in SQL call it too.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "event.h"
#include "owner.h"

static const char *const kind_names[EVENT_KINDS] = {
	"enrolled", "earned", "clawed_back", "expired", "adjusted", "transferred", "redeemed", "held", "released", "reversed",
	"promoted", "demoted"
};

/* One event while it is put together: entries of one kind, instant and redemption are one. */
typedef struct Event
{
	EventKind	kind;
	TimestampTz at;
	Points		points;
	int64		redemption_id;	/* 0: none */
	const Lot  *lot;			/* of what was earned; NULL: no lot alone */
	const TierChange *change;	/* NULL: no change of tier */
} Event;

typedef struct Events
{
	const Account *account;
	Event	   *list;
	int			n;
	int			max;
	int			last[EVENT_KINDS];	/* index of the last one of a kind; -1 */
} Events;

uint32
event_mask(const char *names)
{
	uint32		mask = 0;

	for (const char *name = names; name && *name;)
	{
		size_t		length = strcspn(name, " ");

		for (int i = 0; i < EVENT_KINDS; i++)
			if (strlen(kind_names[i]) == length && strncmp(kind_names[i], name, length) == 0)
				mask |= 1U << i;
		name += length;
		name += *name == ' ';
	}
	return mask;
}

static Event *
add_event(Events *events, EventKind kind, TimestampTz at)
{
	if (events->n == events->max)
	{
		events->max = Max(8, events->max * 2);
		events->list = events->list == NULL ? palloc(events->max * sizeof(Event))
			: repalloc(events->list, mul_size(events->max, sizeof(Event)));
	}
	events->last[kind] = events->n;
	events->list[events->n] = (Event) {.kind = kind, .at = at};
	return &events->list[events->n++];
}

/* Points that an account gained or lost: with those before of the same kind, instant and redemption. */
static void
add_points(Events *events, EventKind kind, TimestampTz at, Points points, int64 redemption_id)
{
	Event	   *event = events->last[kind] < 0 ? NULL : &events->list[events->last[kind]];

	if (event == NULL || event->at != at || event->redemption_id != redemption_id || event->lot)
	{
		event = add_event(events, kind, at);
		event->redemption_id = redemption_id;
	}
	event->points = points_add(event->points, points);
}

static void
add_lots(Events *events)
{
	const Account *account = events->account;

	for (int i = 0; i < account->nfresh; i++)
	{
		const Lot  *lot = account->fresh[i];

		CHECK_FOR_INTERRUPTS();
		if (lot->points == 0)
			continue;
		if (lot->kind == LOT_ADJUST)
			add_points(events, EVENT_ADJUSTED, lot->at, lot->points, 0);
		else if (lot->kind == LOT_TRANSFER)
			add_points(events, EVENT_TRANSFERRED, lot->at, lot->points, 0);
		else
		{
			Event	   *event = add_event(events, EVENT_EARNED, lot->at);

			event->points = lot->points;
			event->lot = lot;
		}
	}
}

static void
add_movement(Events *events, const Movement *m)
{
	switch (m->kind)
	{
		case ENTRY_REDEEM:
			add_points(events, EVENT_REDEEMED, m->at, m->points, m->redemption_id);
			break;
		case ENTRY_HOLD:
			add_points(events, m->points < 0 ? EVENT_HELD : EVENT_RELEASED, m->at, m->points, m->redemption_id);
			break;
		case ENTRY_RESTORE:
			add_points(events, EVENT_REVERSED, m->at, m->points, m->redemption_id);
			break;
		case ENTRY_EXPIRE:
			add_points(events, EVENT_EXPIRED, m->at, m->points, 0);
			break;
		case ENTRY_CLAWBACK:
			add_points(events, EVENT_CLAWED_BACK, m->at, m->points, 0);
			break;
		case ENTRY_TRANSFER:
			add_points(events, EVENT_TRANSFERRED, m->at, m->points, 0);
			break;
		case ENTRY_ADJUST:
			add_points(events, EVENT_ADJUSTED, m->at, m->points, 0);
			break;
		default:
			break;
	}
}

/* A capture releases what was held and redeems it: that is a redemption, and a release only of what is left. */
static void
settle_captures(Events *events)
{
	for (int i = 0; i < events->n; i++)
		for (int j = 0; events->list[i].kind == EVENT_REDEEMED && j < events->n; j++)
			if (events->list[j].kind == EVENT_RELEASED && events->list[j].redemption_id == events->list[i].redemption_id)
				events->list[j].points = points_add(events->list[j].points, events->list[i].points);
}

static void
add_tiers(Events *events)
{
	const Account *account = events->account;

	for (int i = 0; i < account->ntier_changes; i++)
	{
		const TierChange *change = &account->tier_changes[i];
		const Tier *from = config_tier(account->program, change->from_tier);
		const Tier *to = config_tier(account->program, change->to_tier);
		bool		up = to && (from == NULL || to->rank > from->rank);

		add_event(events, up ? EVENT_PROMOTED : EVENT_DEMOTED, change->at)->change = change;
	}
}

static void
put_text(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "", name);
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

static void
put_instant(StringInfo json, const char *name, TimestampTz at)
{
	char		text[MAXDATELEN + 1];

	if (TIMESTAMP_NOT_FINITE(at))
		put_text(json, name, NULL);
	else
		put_text(json, name, JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL));
}

static void
put_tier(StringInfo json, const char *name, const Program *program, int32 id)
{
	const Tier *tier = config_tier(program, id);

	put_text(json, name, tier ? tier->name : NULL);
}

static Datum
event_data(const Account *account, const Event *event)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (event->change)
	{
		put_tier(&json, "from", account->program, event->change->from_tier);
		put_tier(&json, "to", account->program, event->change->to_tier);
		put_instant(&json, "held_until", event->change->held_until);
		put_text(&json, "reason", event->change->reason);
	}
	else if (event->kind != EVENT_ENROLLED)
		appendStringInfo(&json, "\"points\": %s", points_to_text(event->points));
	if (event->lot)
	{
		appendStringInfo(&json, ", \"source_id\": %d", event->lot->source_id);
		put_text(&json, "source_key", event->lot->source_key);
		put_instant(&json, "available_at", event->lot->available_at);
		put_instant(&json, "expires_at", ledger_end_of(account, event->lot));
	}
	if (event->redemption_id != 0)
		appendStringInfo(&json, ", \"redemption_id\": " INT64_FORMAT, event->redemption_id);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
write_events(const Events *events)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4OID, TEXTOID, INT8OID, TIMESTAMPTZOID, JSONBOID};
	const Account *account = events->account;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (plan == NULL)
	{
		SPIPlanPtr	fresh = SPI_prepare("SELECT loyalty.tell($1, $2, $3, $4, $5)", lengthof(types), types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare to tell of events");
		plan = fresh;
	}
	for (int i = 0; i < events->n; i++)
	{
		const Event *event = &events->list[i];
		Datum		values[] = {
			Int32GetDatum(account->program->id), CStringGetTextDatum(kind_names[event->kind]), Int64GetDatum(account->member_id),
			TimestampTzGetDatum(event->at), 0
		};

		CHECK_FOR_INTERRUPTS();
		if ((account->program->tells & (1U << event->kind)) == 0 || (event->kind == EVENT_RELEASED && event->points == 0))
			continue;
		values[4] = event_data(account, event);
		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not tell of an event");
	}
	SPI_finish();
}

void
event_tell(const Account *account)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);
	Events		events = {.account = account};
	OwnerSwitch former;

	memset(events.last, -1, sizeof(events.last));
	if (account->enrolled)
		add_event(&events, EVENT_ENROLLED, account->enrolled_at);
	add_lots(&events);
	for (int i = 0; i < account->nmovements; i++)
		add_movement(&events, &account->movements[i]);
	settle_captures(&events);
	add_tiers(&events);
	if (events.n > 0)
	{
		owner_become(&former);
		write_events(&events);
		owner_restore(&former);
	}
	MemoryContextSwitchTo(old);
}
