/*
 * trust.h
 *	  Which code an expression may run in its author's name.
 */
#ifndef LOYALTY_TRUST_H
#define LOYALTY_TRUST_H

#include "postgres.h"
#include "parser/parse_node.h"

/*
 * Raise LY007, with the position in pstate's text, for whatever an analyzed expression must not hold: volatile
 * functions, code of strangers, aggregates, window functions, system columns.  Before planning: planning runs
 * immutable functions.
 */
extern void trust_check(ParseState *pstate, Node *expr, Oid author);

/* Immutable, and nothing but PostgreSQL's own functions and this extension's in C.  Of a planned expression. */
extern bool trust_is_built_in(Node *expr);

/* code of PostgreSQL or of this extension alone, mutable or not: no function of an author */
extern bool trust_is_ours(Node *expr);

#endif
