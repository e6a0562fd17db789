/*
 * configure.h
 *	  What other rooms ask about the ledger before configuration or tables go.
 */
#ifndef LOYALTY_CONFIGURE_H
#define LOYALTY_CONFIGURE_H

#include "postgres.h"

/* any lot at all; false without tables */
extern bool configure_holds_points(void);

#endif
