/*
 * event.h
 *	  The outbox: what happened to accounts, for consumers elsewhere.
 */
#ifndef LOYALTY_EVENT_H
#define LOYALTY_EVENT_H

#include "ledger.h"

/* The kinds that the core tells of, as bits of Program.tells. */
typedef enum EventKind
{
	EVENT_ENROLLED,
	EVENT_EARNED,
	EVENT_CLAWED_BACK,
	EVENT_EXPIRED,
	EVENT_ADJUSTED,
	EVENT_TRANSFERRED,
	EVENT_REDEEMED,
	EVENT_HELD,
	EVENT_RELEASED,
	EVENT_REVERSED,
	EVENT_PROMOTED,
	EVENT_DEMOTED,
	EVENT_KINDS
} EventKind;

/* A list of names, with a space between them, as bits; names that the core does not tell of are passed over. */
extern uint32 event_mask(const char *names);

/* Tell of what is noted for an account and about to be written.  Only where program->tells. */
extern void event_tell(const Account *account);

#endif
