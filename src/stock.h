/*
 * stock.h
 *	  Pieces of a reward, spread over 16 rows so that buyers do not queue.
 */
#ifndef LOYALTY_STOCK_H
#define LOYALTY_STOCK_H

#include "config.h"

/* Take pieces, as the ledger's owner; LY005 when there are fewer.  A rollback gives them back. */
extern void stock_take(const Reward *reward, int32 quantity);

/* Put pieces back.  Of a reward without stock there is nothing to put back. */
extern void stock_give(int32 reward_id, int32 quantity);

#endif
