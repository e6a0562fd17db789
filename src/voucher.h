/*
 * voucher.h
 *	  Rewards that are more than a price, and what their redemptions give: vouchers with a code, a value, an end.
 *
 * All of it is written in SQL (sql/code/41-reward.sql, 61-voucher.sql) and called here, as the ledger's owner, under the
 * account's lock.  Redemptions of points alone and of plain rewards never come here.
 */
#ifndef LOYALTY_VOUCHER_H
#define LOYALTY_VOUCHER_H

#include "ledger.h"

/* What a redemption of a reward takes and gives. */
typedef struct Terms
{
	Points		points;
	int32		pieces;
	int32		vouchers;
	Datum		value;			/* of each voucher, a numeric */
	bool		has_value;
} Terms;

/* asked: points that the caller gives for it; 0: as many as the pieces cost.  LY005, LY008, LY017 when it cannot be had. */
extern void voucher_terms(const Account *account, const Reward *reward, Points asked, int32 quantity, TimestampTz at,
						  Terms *terms);

/* The vouchers of a redemption that was just made. */
extern void voucher_give(const Account *account, const Redemption *redemption, const Terms *terms);

/* A redemption has changed: so do its vouchers. */
extern void voucher_follow(const Account *account, const Redemption *redemption);

#define VOUCHER_ANSWER	4

/* voucher, value, value_unit, valid_until of a redemption, as the last columns of an answer. */
extern void voucher_answer(int64 member_id, const Redemption *redemption, Datum *values, bool *nulls);

#endif
