/*
 * virtual_row.h
 *	  earn.*, account.* and member.* in expressions.
 */
#ifndef LOYALTY_VIRTUAL_ROW_H
#define LOYALTY_VIRTUAL_ROW_H

#include "postgres.h"
#include "parser/parse_node.h"

#include "expression.h"

/* Parser hook (p_pre_columnref_hook): they are columns of the inner and outer slot.  Its state: an ExpressionRole. */
extern Node *virtual_row_column(ParseState *pstate, ColumnRef *ref);

/* LY007: a base rule cannot use earn.base; pstate may be NULL */
extern void virtual_row_refuse_base(ParseState *pstate, int location);

#endif
