/*
 * segment.h
 *	  Is a member in a segment?
 */
#ifndef LOYALTY_SEGMENT_H
#define LOYALTY_SEGMENT_H

#include "ledger.h"

/* As the account stands, which is settled to the instant that is asked for. */
extern bool segment_contains(const Segment *segment, Account *account);

#endif
