/*
 * settings.h
 *	  The settings that expressions are read and run under, so that a rule means the same in every session.
 */
#ifndef LOYALTY_SETTINGS_H
#define LOYALTY_SETTINGS_H

#include "config.h"

/*
 * TimeZone of the program, ISO formats, standard literals; for functions of rule authors the search_path of
 * expressions too.  Leave with what enter gave; an error needs no leaving.
 */
extern int	settings_enter(const Program *program, bool authors);
extern int	settings_enter_source(const Source *source);	/* nothing, when nothing of it depends on them */
extern void settings_leave(int nest);

#endif
