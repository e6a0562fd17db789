/*
 * member.h
 *	  Members by their other names.
 */
#ifndef LOYALTY_MEMBER_H
#define LOYALTY_MEMBER_H

#include "postgres.h"

/* LY017 when empty or over 500 bytes */
extern void member_check_name(const char *external_id);

/* The member of an external id; false when there is none. */
extern bool member_find(text *external_id, int64 *member);

/* Give a member another name; false when somebody has it. */
extern bool member_add_name(int64 member, text *external_id);

/* A member whom the application has not numbered: from 10^15 on.  Whoever comes second gets the first one's. */
extern int64 member_create(text *external_id);

#endif
