/*
 * challenge.h
 *	  What sales mean for challenges.
 */
#ifndef LOYALTY_CHALLENGE_H
#define LOYALTY_CHALLENGE_H

#include "follow.h"

/*
 * Add what was noted for these accounts (NULL ones are passed over) to loyalty.progress, and give and take what follows
 * from it.  Only where program->nchallenges > 0; called by follow_tell(), as the ledger's owner.
 */
extern void challenge_follow(const Program *program, Account **accounts, int n);

#endif
