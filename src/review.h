/*
 * review.h
 *	  Purchases that were sold but could not be posted, because a source says on_error = 'skip'.
 */
#ifndef LOYALTY_REVIEW_H
#define LOYALTY_REVIEW_H

#include "config.h"

typedef void (*ReviewWork) (void *pass, void *item);

/*
 * Do some evaluation in a subtransaction.  An error is swallowed and returned, unless it is of a kind that must
 * stop the statement (cancel, shutdown, out of memory, internal).  NULL: all went well.
 */
extern ErrorData *review_guard(ReviewWork work, void *pass, void *item);

/* list a purchase in loyalty.review */
extern void review_add(const Source *source, int64 member, const char *key, const ErrorData *error);

#endif
