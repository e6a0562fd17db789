/*
 * source.h
 *	  Triggers on attached tables.
 */
#ifndef LOYALTY_SOURCE_H
#define LOYALTY_SOURCE_H

extern void source_init(void);

#endif
