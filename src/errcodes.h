/*
 * errcodes.h
 *	  SQLSTATEs of class LY: part of the interface, never renumbered.
 */
#ifndef LOYALTY_ERRCODES_H
#define LOYALTY_ERRCODES_H

#include "utils/elog.h"

#define LY(n1, n2, n3) MAKE_SQLSTATE('L', 'Y', n1, n2, n3)

/* what a member or an application asked for cannot be done now */
#define ERRCODE_LY_INSUFFICIENT_POINTS		LY('0', '0', '1')
#define ERRCODE_LY_UNKNOWN_MEMBER			LY('0', '0', '2')
#define ERRCODE_LY_UNKNOWN_PROGRAM			LY('0', '0', '3')
#define ERRCODE_LY_KEY_REUSED				LY('0', '0', '4')
#define ERRCODE_LY_REWARD_NOT_AVAILABLE		LY('0', '0', '5')
#define ERRCODE_LY_WRONG_STATE				LY('0', '0', '6')
#define ERRCODE_LY_INVALID_EXPRESSION		LY('0', '0', '7')
#define ERRCODE_LY_LIMIT_EXCEEDED			LY('0', '0', '8')
#define ERRCODE_LY_ACCOUNT_BLOCKED			LY('0', '0', '9')
#define ERRCODE_LY_INVALID_SOURCE_ROW		LY('0', '1', '0')

/* what an administrator did */
#define ERRCODE_LY_NAMED_BY_LEDGER			LY('0', '1', '1')
#define ERRCODE_LY_LEDGER_INCONSISTENT		LY('0', '1', '2')
#define ERRCODE_LY_REFUSED_BY_GUARD			LY('0', '1', '3')
#define ERRCODE_LY_VERSION_MISMATCH			LY('0', '1', '4')
#define ERRCODE_LY_CANNOT_ATTACH			LY('0', '1', '5')
#define ERRCODE_LY_NOT_PERMITTED			LY('0', '1', '6')
#define ERRCODE_LY_INVALID_ARGUMENT			LY('0', '1', '7')

#endif
