/*
 * config.h
 *	  Configuration rows as C structs, cached per backend.
 */
#ifndef LOYALTY_CONFIG_H
#define LOYALTY_CONFIG_H

#include "postgres.h"

extern void config_init(void);
/* For triggers on configuration tables: every backend reloads after this transaction commits. */
extern void config_invalidate(void);

#endif
