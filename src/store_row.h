/*
 * store_row.h
 *	  The tables of the ledger as both stores see them: their columns, and rows to and from structs.
 *
 * The columns stand in the order of sql/data, and a later version appends only: the enums, the names and types in
 * store_row.c and the tables change together.
 */
#ifndef LOYALTY_STORE_ROW_H
#define LOYALTY_STORE_ROW_H

#include "postgres.h"

#include "store.h"

typedef enum StoreTableId
{
	STORE_ACCOUNT, STORE_LOT, STORE_MOVEMENT, STORE_REFUND, STORE_TIER_CHANGE, STORE_REDEMPTION, STORE_REQUEST,
	STORE_DEBT, STORE_MEMBER, STORE_USAGE, STORE_COUNTER, STORE_VISIT,
	STORE_VISIT_OF, STORE_PROGRESS, STORE_CHALLENGE_AWARD, STORE_INTERVENTION,
	STORE_TABLES
} StoreTableId;

typedef struct StoreColumn
{
	const char *name;
	Oid			type;
} StoreColumn;

typedef struct StoreLayout
{
	const char *name;			/* in schema loyalty */
	int			ncolumns;
	const StoreColumn *columns;
} StoreLayout;

#define STORE_MAX_COLUMNS	48

extern const StoreLayout store_layout[STORE_TABLES];

enum AccountAttribute
{
	A_MEMBER_ID, A_ENROLLED_AT, A_TIER_UNTIL, A_PERIOD_START, A_PERIOD_END, A_PREVIOUS_START, A_OPEN_FROM_EXPIRES_AT,
	A_OPEN_FROM_ENTRY_NO, A_INACTIVE_AT, A_HELD, A_DEBT, A_PENDING, A_EARNED_PREVIOUS, A_PROGRAM_ID,
	A_VISITS_PREVIOUS, A_NEXT_CHANGE_AT, A_SETTLED_AT, A_AVAILABLE, A_NEXT_ENTRY, A_EARNED, A_ACTIVE_AT, A_VISITS,
	A_TIER_ID, A_LIFE, A_SPEND, A_SPEND_PREVIOUS, A_STATUS, A_OWN_TIER_ID, A_OWN_UNTIL, A_GRANTED_TIER_ID,
	A_GRANTED_UNTIL, A_KEPT_TIER_ID, A_LADDER_NO, A_LENT_TIER_IDS, A_LENT_UNTIL, A_COUNT
};

enum LotAttribute
{
	L_MEMBER_ID, L_EXPIRES_AT, L_ENTRY_NO, L_POINTS, L_REMAINING, L_OWED, L_EARNED_AT, L_AVAILABLE_AT, L_AT,
	L_POSTED_AT, L_PROGRAM_ID, L_SOURCE_ID, L_UNIT, L_PART, L_LIFE, L_KIND, L_SOURCE_KEY, L_AMOUNT, L_KEPT_AMOUNT,
	L_BREAKDOWN, L_COUNT
};

enum MovementAttribute
{
	M_MEMBER_ID, M_ENTRY_NO, M_LOT_EXPIRES_AT, M_LOT_ENTRY_NO, M_POINTS, M_AT, M_POSTED_AT, M_REDEMPTION_ID,
	M_ORIGIN_ENTRY_NO, M_PROGRAM_ID, M_KIND, M_REASON, M_COUNT
};

enum RefundAttribute
{
	F_MEMBER_ID, F_FIRST_MEMBER_ID, F_PROGRAM_ID, F_SOURCE_ID, F_SOURCE_KEY, F_PART, F_OF_SOURCE_ID, F_OF_KEY, F_AMOUNT,
	F_AT, F_POSTED_AT, F_COUNT
};

enum TierChangeAttribute
{
	T_MEMBER_ID, T_PROGRAM_ID, T_AT, T_CHANGE_NO, T_POSTED_AT, T_FROM_TIER_ID, T_TO_TIER_ID, T_HELD_UNTIL,
	T_REASON, T_COUNT
};

enum RedemptionAttribute
{
	R_MEMBER_ID, R_REDEMPTION_ID, R_PROGRAM_ID, R_REWARD_ID, R_QUANTITY, R_POINTS, R_STATE, R_KEY, R_REASON, R_VOUCHERS,
	R_HELD_UNTIL, R_FIRST_ENTRY, R_LAST_ENTRY, R_AT, R_POSTED_AT, R_BY, R_TAKEN, R_CHANGED_AT, R_SOURCE_ID, R_SOURCE_KEY,
	R_STATED, R_COUNT
};

enum RequestAttribute
{
	Q_MEMBER_ID, Q_PROGRAM_ID, Q_KEY, Q_CALL, Q_ARGUMENTS, Q_REDEMPTION_ID, Q_ENTRY_NO, Q_AT, Q_ANSWER, Q_COUNT
};

enum DebtAttribute
{
	D_MEMBER_ID, D_ENTRY_NO, D_LOT_EXPIRES_AT, D_LOT_ENTRY_NO, D_AMOUNT, D_LEFT_OVER, D_AT, D_POSTED_AT, D_PROGRAM_ID,
	D_COUNT
};

enum UsageAttribute
{
	U_MEMBER_ID, U_PERIOD_START, U_PERIOD_END, U_USED, U_PROGRAM_ID, U_RULE_ID, U_USES, U_COUNT
};

enum CounterAttribute
{
	C_MEMBER_ID, C_BUCKET, C_PROGRAM_ID, C_METRIC, C_VALUE, C_COUNT
};

enum VisitAttribute
{
	V_MEMBER_ID, V_BUCKET, V_PROGRAM_ID, V_PURCHASES, V_VISIT, V_COUNT
};

enum VisitOfAttribute
{
	W_MEMBER_ID, W_PROGRAM_ID, W_SOURCE_ID, W_SOURCE_KEY, W_VISIT, W_COUNT
};

enum ProgressAttribute
{
	P_MEMBER_ID, P_PERIOD_START, P_PERIOD_END, P_COMPLETED_AT, P_PROGRAM_ID, P_CHALLENGE_ID, P_TIMES, P_VALUE, P_COUNT
};

enum ChallengeAwardAttribute
{
	X_MEMBER_ID, X_PROGRAM_ID, X_CHALLENGE_ID, X_PERIOD_START, X_AWARD_NO, X_COMPLETIONS, X_TAKEN_BACK, X_POINTS_EACH,
	X_POINTS, X_POINTS_TAKEN, X_OWED, X_ENTRY_NO, X_EXPIRES_AT, X_REWARD_ID, X_REDEMPTION_ID, X_REWARD_KEPT, X_BADGE, X_AT,
	X_TAKEN_AT, X_POSTED_AT, X_COUNT
};

enum InterventionAttribute
{
	I_MEMBER_ID, I_PROGRAM_ID, I_ENTRY_NO, I_LAST_ENTRY, I_ACTION, I_POINTS, I_AVAILABLE_AT, I_EXPIRES_AT, I_REASON, I_KEY,
	I_AT, I_POSTED_AT, I_BY, I_SET_ROLE, I_COUNTS_FOR_TIER, I_TIER_ID, I_HELD_UNTIL, I_UNIT_ID, I_VALUE, I_COUNTED_AT,
	I_COUNT
};

enum MemberAttribute
{
	B_MEMBER_ID, B_ATTRIBUTES, B_BIRTH_DATE, B_STATUS, B_ERASED_AT, B_MERGED_INTO, B_COUNT
};

/* An account of which nothing but its name is known. */
extern Account *row_new_account(Store *store, const Program *program, int64 member, MemoryContext context);

/* From a row's values, copied into the account's context or the one given. */
extern void row_to_account(const Datum *v, const bool *nulls, Account *account);
extern Lot *row_to_lot(const Datum *v, const bool *nulls, MemoryContext context);
extern Refund *row_to_refund(const Datum *v, const bool *nulls, MemoryContext context);
extern void row_to_movement(const Datum *v, const bool *nulls, Movement *movement);
extern Debt *row_to_debt(const Datum *v, MemoryContext context);
extern Redemption *row_to_redemption(const Datum *v, const bool *nulls, MemoryContext context);
extern void row_to_request(const Datum *v, const bool *nulls, const char *key, Request *request);
extern void row_to_usage(const Datum *v, const bool *nulls, Usage *usage);

/* one more of an array that grows in the current memory */
extern Usage *row_append_usage(const Datum *v, const bool *nulls, Usage **usages, int n);

extern Counter *row_to_counter(const Datum *v, MemoryContext context);
extern Visit *row_to_visit(const Datum *v, MemoryContext context);
extern void row_to_progress(const Datum *v, const bool *nulls, MemoryContext context, Progress *progress);
extern void row_to_member(const Datum *v, const bool *nulls, Account *account);

/* To a row's values, partly pointing into the struct and partly allocated here and now. */
extern void row_lent_arrays(const Lent *lent, int n, Datum *tier_ids, Datum *until);
extern void account_to_row(const Account *account, Datum *v, bool *nulls);
extern void lot_to_row(const Lot *lot, Datum *v, bool *nulls);
extern void movement_to_row(const Account *account, const Movement *movement, Datum *v, bool *nulls);
extern void refund_to_row(const Refund *refund, Datum *v, bool *nulls);
extern void debt_to_row(const Account *account, const Debt *debt, Datum *v, bool *nulls);
extern void tier_change_to_row(const Account *account, const TierChange *change, Datum *v, bool *nulls);
extern void redemption_to_row(const Account *account, const Redemption *redemption, Datum *v, bool *nulls);
extern void usage_to_row(const Account *account, const Usage *usage, Datum *v, bool *nulls);
extern void counter_to_row(const Account *account, const Counter *counter, Datum *v, bool *nulls);
extern void visit_to_row(const Account *account, const Visit *visit, Datum *v, bool *nulls);
extern void visit_of_to_row(const Account *account, const VisitOf *of, Datum *v, bool *nulls);
extern void progress_to_row(const Account *account, const Progress *progress, Datum *v, bool *nulls);
extern void challenge_award_to_row(const Account *account, const ChallengeAward *award, Datum *v, bool *nulls);
extern void intervention_to_row(const Account *account, const Intervention *intervention, TimestampTz at, Oid role, Datum *v,
								bool *nulls);
extern void request_to_row(const Account *account, const Request *request, Datum *v, bool *nulls);

/* the OID of a relation in schema loyalty; LY014 when it is not there */
extern Oid	row_relation(const char *name);

#endif
