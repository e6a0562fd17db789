/*
 * challenge.h
 *	  What sales mean for challenges.
 */
#ifndef LOYALTY_CHALLENGE_H
#define LOYALTY_CHALLENGE_H

#include "postgres.h"
#include "utils/array.h"

#include "follow.h"

/*
 * Count what was noted for the account since it was counted last, and give points for what is complete; the next
 * ledger_write() writes it.  Only where program->nchallenges > 0.
 */
extern void challenge_count(Account *account);

/* for ledger_write(): progress that changed */
extern void challenge_write(Account *account);

/* Of how many rows of progress more or less is due than was given, and could not be given in challenge_count(). */
extern int	challenge_unsettled(const Account *account);

/*
 * Settle them, `n` in all of these accounts (NULL ones are passed over), which are written and flushed.  Called by
 * follow_tell(), as the ledger's owner.  sales, of type loyalty.sale[], NULL: an error is thrown; else noted for these.
 */
extern void challenge_settle(const Program *program, Account **accounts, int naccounts, int n, ArrayType *sales);

#endif
