/*
 * pool.h
 *	  Pools that share their tier: for calls that change what an account has counted beside a sale.
 */
#ifndef LOYALTY_POOL_H
#define LOYALTY_POOL_H

#include "ledger.h"

/* Before the member's account is locked: the member's pool, then the accounts of all who are in it. */
extern void pool_lock(const Program *program, int64 member);

/* When the member's account is written: the tier of the pool follows. */
extern void pool_review(const Program *program, int64 member);

/*
 * What the account's pool would give it if this ladder were applied at the account's instant; for readers, who throw the
 * account away.
 */
extern void pool_try_ladder(Account *account, const Program *ladder);

#endif
