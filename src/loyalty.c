/*
 * loyalty.c
 *	  The module's entry point, and nothing else.
 */
#include "postgres.h"
#include "fmgr.h"

#include "guc.h"
#include "source.h"
#include "config.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	guc_init();
	config_init();
	source_init();
}
