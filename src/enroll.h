/*
 * enroll.h
 *	  Whose an external id is.
 */
#ifndef LOYALTY_ENROLL_H
#define LOYALTY_ENROLL_H

#include "config.h"

/*
 * The member that an external id names.  An unknown one gets a number and the name when `create` is set and the program
 * enrolls automatically; else false.  Acts as the ledger's owner.
 */
extern bool enroll_find(const Program *program, text *external_id, bool create, int64 *member);

#endif
