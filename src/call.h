/*
 * call.h
 *	  What the entry functions share: their arguments, and the account that they work on.
 */
#ifndef LOYALTY_CALL_H
#define LOYALTY_CALL_H

#include "fmgr.h"

#include "owner.h"
#include "request.h"

/* One call on one account, from call_begin() to call_end(): as the ledger's owner, the account's row locked. */
typedef struct Call
{
	const char *name;			/* of the function */
	const Program *program;
	Account    *account;
	Account    *other;			/* of the other member, where a call has two; NULL */
	Store	   *store;
	TimestampTz at;				/* the account's instant, after call_settle() */
	OwnerSwitch caller;
} Call;

/* NULL for SQL NULL */
extern char *call_text(FunctionCallInfo fcinfo, int n);
extern Numeric call_number(FunctionCallInfo fcinfo, int n);

/* An argument that cannot be, LY017: what is wrong with it, and what it may be. */
extern void call_refuse(const char *what, const char *hint) pg_attribute_noreturn();

/* Who that member is now; LY017 when NULL. */
extern int64 call_member(FunctionCallInfo fcinfo, int n);

/* Points as people type them: finite, not 0, with no more decimals than the program's; LY017. */
extern Points call_points(const Program *program, Numeric value);

/* Lock the member's account; LY002 when there is none.  Refused in read-only transactions. */
extern void call_begin(Call *call, const char *name, const Program *program, int64 member);

/* The same by one of the member's redemptions, in the program that it belongs to; LY017 when there is none. */
extern void call_begin_redemption(Call *call, const char *name, int64 member, int64 redemption_id);
/* The same, and under automatic enrolment an unknown member is enrolled at `at`. */
extern void call_begin_enrolling(Call *call, const char *name, const Program *program, int64 member, TimestampTz at);

/* The same with the account of another member, who is not this one. */
extern void call_begin_two(Call *call, const char *name, const Program *program, int64 member, int64 other);

/* Bring the account, or both to one instant, forward to now. */
extern void call_settle(Call *call);

/* The same to an instant of the past: what follows from a sale happens at the sale's. */
extern void call_settle_at(Call *call, TimestampTz at);
extern void call_end(Call *call);

/* Note what is done by hand, with the names of who does it; read it back by its entry. */
extern void call_intervene(Call *call, const Intervention *intervention);
extern void call_intervened(Call *call, int64 entry_no, Intervention *intervention);

/* LY006: nothing is ever done again to the accounts of a member who was erased. */
extern void call_refuse_erased(int64 member);

/* LY009 unless the account is active */
extern void call_check_active(const Account *account);

/* LY001 unless `points` are available and nothing is owed */
extern void call_check_available(const Account *account, Points points);

/* The one row of a function that returns TABLE. */
extern Datum call_result(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif
