/*
 * store_row.c
 *	  Rows of the ledger's tables to and from structs, for both stores.
 *
 * Rules:
 * - Here alone it is written which column is which field.
 * - What is read is copied: nothing points into a row.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "store_ops.h"
#include "store_row.h"

static const StoreColumn account_columns[] = {
	[A_MEMBER_ID] = {"member_id", INT8OID},
	[A_ENROLLED_AT] = {"enrolled_at", TIMESTAMPTZOID},
	[A_TIER_UNTIL] = {"tier_until", TIMESTAMPTZOID},
	[A_PERIOD_START] = {"period_start", TIMESTAMPTZOID},
	[A_PERIOD_END] = {"period_end", TIMESTAMPTZOID},
	[A_PREVIOUS_START] = {"previous_start", TIMESTAMPTZOID},
	[A_OPEN_FROM_EXPIRES_AT] = {"open_from_expires_at", TIMESTAMPTZOID},
	[A_OPEN_FROM_ENTRY_NO] = {"open_from_entry_no", INT8OID},
	[A_INACTIVE_AT] = {"inactive_at", TIMESTAMPTZOID},
	[A_HELD] = {"held", INT8OID},
	[A_DEBT] = {"debt", INT8OID},
	[A_PENDING] = {"pending", INT8OID},
	[A_EARNED_PREVIOUS] = {"earned_previous", INT8OID},
	[A_PROGRAM_ID] = {"program_id", INT4OID},
	[A_VISITS_PREVIOUS] = {"visits_previous", INT4OID},
	[A_NEXT_CHANGE_AT] = {"next_change_at", TIMESTAMPTZOID},
	[A_SETTLED_AT] = {"settled_at", TIMESTAMPTZOID},
	[A_AVAILABLE] = {"available", INT8OID},
	[A_NEXT_ENTRY] = {"next_entry", INT8OID},
	[A_EARNED] = {"earned", INT8OID},
	[A_ACTIVE_AT] = {"active_at", TIMESTAMPTZOID},
	[A_VISITS] = {"visits", INT4OID},
	[A_TIER_ID] = {"tier_id", INT4OID},
	[A_LIFE] = {"life", INT2OID},
	[A_SPEND] = {"spend", NUMERICOID},
	[A_SPEND_PREVIOUS] = {"spend_previous", NUMERICOID},
	[A_STATUS] = {"status", TEXTOID},
	[A_OWN_TIER_ID] = {"own_tier_id", INT4OID},
	[A_OWN_UNTIL] = {"own_until", TIMESTAMPTZOID},
	[A_GRANTED_TIER_ID] = {"granted_tier_id", INT4OID},
	[A_GRANTED_UNTIL] = {"granted_until", TIMESTAMPTZOID},
	[A_KEPT_TIER_ID] = {"kept_tier_id", INT4OID},
	[A_LADDER_NO] = {"ladder_no", INT4OID},
	[A_LENT_TIER_IDS] = {"lent_tier_ids", INT4ARRAYOID},
	[A_LENT_UNTIL] = {"lent_until", TIMESTAMPTZARRAYOID},
};

static const StoreColumn lot_columns[] = {
	[L_MEMBER_ID] = {"member_id", INT8OID},
	[L_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
	[L_ENTRY_NO] = {"entry_no", INT8OID},
	[L_POINTS] = {"points", INT8OID},
	[L_REMAINING] = {"remaining", INT8OID},
	[L_OWED] = {"owed", INT8OID},
	[L_EARNED_AT] = {"earned_at", TIMESTAMPTZOID},
	[L_AVAILABLE_AT] = {"available_at", TIMESTAMPTZOID},
	[L_AT] = {"at", TIMESTAMPTZOID},
	[L_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[L_PROGRAM_ID] = {"program_id", INT4OID},
	[L_SOURCE_ID] = {"source_id", INT4OID},
	[L_UNIT] = {"unit", INT4OID},
	[L_PART] = {"part", INT2OID},
	[L_LIFE] = {"life", INT2OID},
	[L_KIND] = {"kind", CHAROID},
	[L_SOURCE_KEY] = {"source_key", TEXTOID},
	[L_AMOUNT] = {"amount", NUMERICOID},
	[L_KEPT_AMOUNT] = {"kept_amount", NUMERICOID},
	[L_BREAKDOWN] = {"breakdown", BYTEAOID},
};

static const StoreColumn movement_columns[] = {
	[M_MEMBER_ID] = {"member_id", INT8OID},
	[M_ENTRY_NO] = {"entry_no", INT8OID},
	[M_LOT_EXPIRES_AT] = {"lot_expires_at", TIMESTAMPTZOID},
	[M_LOT_ENTRY_NO] = {"lot_entry_no", INT8OID},
	[M_POINTS] = {"points", INT8OID},
	[M_AT] = {"at", TIMESTAMPTZOID},
	[M_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[M_REDEMPTION_ID] = {"redemption_id", INT8OID},
	[M_ORIGIN_ENTRY_NO] = {"origin_entry_no", INT8OID},
	[M_PROGRAM_ID] = {"program_id", INT4OID},
	[M_KIND] = {"kind", TEXTOID},
	[M_REASON] = {"reason", TEXTOID},
};

static const StoreColumn refund_columns[] = {
	[F_MEMBER_ID] = {"member_id", INT8OID},
	[F_FIRST_MEMBER_ID] = {"first_member_id", INT8OID},
	[F_PROGRAM_ID] = {"program_id", INT4OID},
	[F_SOURCE_ID] = {"source_id", INT4OID},
	[F_SOURCE_KEY] = {"source_key", TEXTOID},
	[F_PART] = {"part", INT4OID},
	[F_OF_SOURCE_ID] = {"of_source_id", INT4OID},
	[F_OF_KEY] = {"of_key", TEXTOID},
	[F_AMOUNT] = {"amount", NUMERICOID},
	[F_AT] = {"at", TIMESTAMPTZOID},
	[F_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
};

static const StoreColumn tier_change_columns[] = {
	[T_MEMBER_ID] = {"member_id", INT8OID},
	[T_PROGRAM_ID] = {"program_id", INT4OID},
	[T_AT] = {"at", TIMESTAMPTZOID},
	[T_CHANGE_NO] = {"change_no", INT8OID},
	[T_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[T_FROM_TIER_ID] = {"from_tier_id", INT4OID},
	[T_TO_TIER_ID] = {"to_tier_id", INT4OID},
	[T_HELD_UNTIL] = {"held_until", TIMESTAMPTZOID},
	[T_REASON] = {"reason", TEXTOID},
};

static const StoreColumn redemption_columns[] = {
	[R_MEMBER_ID] = {"member_id", INT8OID},
	[R_REDEMPTION_ID] = {"redemption_id", INT8OID},
	[R_PROGRAM_ID] = {"program_id", INT4OID},
	[R_REWARD_ID] = {"reward_id", INT4OID},
	[R_QUANTITY] = {"quantity", INT4OID},
	[R_POINTS] = {"points", INT8OID},
	[R_STATE] = {"state", TEXTOID},
	[R_KEY] = {"key", TEXTOID},
	[R_REASON] = {"reason", TEXTOID},
	[R_VOUCHERS] = {"vouchers", INT4OID},
	[R_HELD_UNTIL] = {"held_until", TIMESTAMPTZOID},
	[R_FIRST_ENTRY] = {"first_entry", INT8OID},
	[R_LAST_ENTRY] = {"last_entry", INT8OID},
	[R_AT] = {"at", TIMESTAMPTZOID},
	[R_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[R_BY] = {"by", TEXTOID},
	[R_TAKEN] = {"taken", INT8OID},
	[R_CHANGED_AT] = {"changed_at", TIMESTAMPTZOID},
	[R_SOURCE_ID] = {"source_id", INT4OID},
	[R_SOURCE_KEY] = {"source_key", TEXTOID},
	[R_STATED] = {"stated", INT8OID},
};

static const StoreColumn request_columns[] = {
	[Q_MEMBER_ID] = {"member_id", INT8OID},
	[Q_PROGRAM_ID] = {"program_id", INT4OID},
	[Q_KEY] = {"key", TEXTOID},
	[Q_CALL] = {"call", TEXTOID},
	[Q_ARGUMENTS] = {"arguments", JSONBOID},
	[Q_REDEMPTION_ID] = {"redemption_id", INT8OID},
	[Q_ENTRY_NO] = {"entry_no", INT8OID},
	[Q_AT] = {"at", TIMESTAMPTZOID},
	[Q_ANSWER] = {"answer", JSONBOID},
};

static const StoreColumn debt_columns[] = {
	[D_MEMBER_ID] = {"member_id", INT8OID},
	[D_ENTRY_NO] = {"entry_no", INT8OID},
	[D_LOT_EXPIRES_AT] = {"lot_expires_at", TIMESTAMPTZOID},
	[D_LOT_ENTRY_NO] = {"lot_entry_no", INT8OID},
	[D_AMOUNT] = {"amount", INT8OID},
	[D_LEFT_OVER] = {"left_over", INT8OID},
	[D_AT] = {"at", TIMESTAMPTZOID},
	[D_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[D_PROGRAM_ID] = {"program_id", INT4OID},
};

static const StoreColumn member_columns[] = {
	[B_MEMBER_ID] = {"member_id", INT8OID},
	[B_ATTRIBUTES] = {"attributes", JSONBOID},
	[B_BIRTH_DATE] = {"birth_date", DATEOID},
	[B_STATUS] = {"status", TEXTOID},
	[B_ERASED_AT] = {"erased_at", TIMESTAMPTZOID},
	[B_MERGED_INTO] = {"merged_into", INT8OID},
};

static const StoreColumn usage_columns[] = {
	[U_MEMBER_ID] = {"member_id", INT8OID},
	[U_PERIOD_START] = {"period_start", TIMESTAMPTZOID},
	[U_PERIOD_END] = {"period_end", TIMESTAMPTZOID},
	[U_USED] = {"used", INT8OID},
	[U_PROGRAM_ID] = {"program_id", INT4OID},
	[U_RULE_ID] = {"rule_id", INT4OID},
	[U_USES] = {"uses", INT4OID},
};

static const StoreColumn counter_columns[] = {
	[C_MEMBER_ID] = {"member_id", INT8OID},
	[C_BUCKET] = {"bucket", TIMESTAMPTZOID},
	[C_PROGRAM_ID] = {"program_id", INT4OID},
	[C_METRIC] = {"metric", INT4OID},
	[C_VALUE] = {"value", NUMERICOID},
};

static const StoreColumn visit_columns[] = {
	[V_MEMBER_ID] = {"member_id", INT8OID},
	[V_BUCKET] = {"bucket", TIMESTAMPTZOID},
	[V_PROGRAM_ID] = {"program_id", INT4OID},
	[V_PURCHASES] = {"purchases", INT4OID},
	[V_VISIT] = {"visit", TEXTOID},
};

static const StoreColumn visit_of_columns[] = {
	[W_MEMBER_ID] = {"member_id", INT8OID},
	[W_PROGRAM_ID] = {"program_id", INT4OID},
	[W_SOURCE_ID] = {"source_id", INT4OID},
	[W_SOURCE_KEY] = {"source_key", TEXTOID},
	[W_VISIT] = {"visit", TEXTOID},
};

static const StoreColumn progress_columns[] = {
	[P_MEMBER_ID] = {"member_id", INT8OID},
	[P_PERIOD_START] = {"period_start", TIMESTAMPTZOID},
	[P_PERIOD_END] = {"period_end", TIMESTAMPTZOID},
	[P_COMPLETED_AT] = {"completed_at", TIMESTAMPTZOID},
	[P_PROGRAM_ID] = {"program_id", INT4OID},
	[P_CHALLENGE_ID] = {"challenge_id", INT4OID},
	[P_TIMES] = {"times", INT4OID},
	[P_VALUE] = {"value", NUMERICOID},
};

static const StoreColumn challenge_award_columns[] = {
	[X_MEMBER_ID] = {"member_id", INT8OID},
	[X_PROGRAM_ID] = {"program_id", INT4OID},
	[X_CHALLENGE_ID] = {"challenge_id", INT4OID},
	[X_PERIOD_START] = {"period_start", TIMESTAMPTZOID},
	[X_AWARD_NO] = {"award_no", INT4OID},
	[X_COMPLETIONS] = {"completions", INT4OID},
	[X_TAKEN_BACK] = {"taken_back", INT4OID},
	[X_POINTS_EACH] = {"points_each", INT8OID},
	[X_POINTS] = {"points", INT8OID},
	[X_POINTS_TAKEN] = {"points_taken", INT8OID},
	[X_OWED] = {"owed", INT8OID},
	[X_ENTRY_NO] = {"entry_no", INT8OID},
	[X_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
	[X_REWARD_ID] = {"reward_id", INT4OID},
	[X_REDEMPTION_ID] = {"redemption_id", INT8OID},
	[X_REWARD_KEPT] = {"reward_kept", BOOLOID},
	[X_BADGE] = {"badge", TEXTOID},
	[X_AT] = {"at", TIMESTAMPTZOID},
	[X_TAKEN_AT] = {"taken_at", TIMESTAMPTZOID},
	[X_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
};

static const StoreColumn intervention_columns[] = {
	[I_MEMBER_ID] = {"member_id", INT8OID},
	[I_PROGRAM_ID] = {"program_id", INT4OID},
	[I_ENTRY_NO] = {"entry_no", INT8OID},
	[I_LAST_ENTRY] = {"last_entry", INT8OID},
	[I_ACTION] = {"action", TEXTOID},
	[I_POINTS] = {"points", INT8OID},
	[I_AVAILABLE_AT] = {"available_at", TIMESTAMPTZOID},
	[I_EXPIRES_AT] = {"expires_at", TIMESTAMPTZOID},
	[I_REASON] = {"reason", TEXTOID},
	[I_KEY] = {"key", TEXTOID},
	[I_AT] = {"at", TIMESTAMPTZOID},
	[I_POSTED_AT] = {"posted_at", TIMESTAMPTZOID},
	[I_BY] = {"by", TEXTOID},
	[I_SET_ROLE] = {"set_role", TEXTOID},
	[I_COUNTS_FOR_TIER] = {"counts_for_tier", BOOLOID},
	[I_TIER_ID] = {"tier_id", INT4OID},
	[I_HELD_UNTIL] = {"held_until", TIMESTAMPTZOID},
	[I_UNIT_ID] = {"unit_id", INT4OID},
	[I_VALUE] = {"value", NUMERICOID},
	[I_COUNTED_AT] = {"counted_at", TIMESTAMPTZOID},
};

const StoreLayout store_layout[STORE_TABLES] = {
	[STORE_ACCOUNT] = {"account", lengthof(account_columns), account_columns},
	[STORE_LOT] = {"lot", lengthof(lot_columns), lot_columns},
	[STORE_MOVEMENT] = {"movement", lengthof(movement_columns), movement_columns},
	[STORE_REFUND] = {"refund", lengthof(refund_columns), refund_columns},
	[STORE_TIER_CHANGE] = {"tier_change", lengthof(tier_change_columns), tier_change_columns},
	[STORE_REDEMPTION] = {"redemption", lengthof(redemption_columns), redemption_columns},
	[STORE_REQUEST] = {"request", lengthof(request_columns), request_columns},
	[STORE_DEBT] = {"debt", lengthof(debt_columns), debt_columns},
	[STORE_MEMBER] = {"member", lengthof(member_columns), member_columns},
	[STORE_USAGE] = {"rule_usage", lengthof(usage_columns), usage_columns},
	[STORE_COUNTER] = {"counter", lengthof(counter_columns), counter_columns},
	[STORE_VISIT] = {"visit", lengthof(visit_columns), visit_columns},
	[STORE_VISIT_OF] = {"visit_of", lengthof(visit_of_columns), visit_of_columns},
	[STORE_PROGRESS] = {"progress", lengthof(progress_columns), progress_columns},
	[STORE_CHALLENGE_AWARD] = {"challenge_award", lengthof(challenge_award_columns), challenge_award_columns},
	[STORE_INTERVENTION] = {"intervention", lengthof(intervention_columns), intervention_columns},
};

Oid
row_relation(const char *name)
{
	Oid			schema = get_namespace_oid("loyalty", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("table loyalty.%s does not exist", name),
				 errhint("Call SELECT loyalty.install() as the owner of the ledger.")));
	return relid;
}

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}

static const char *
text_value(const Datum *v, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(v[column]);
}

static EntryKind
entry_kind(const char *name)
{
	for (int i = 0; i < ENTRY_KINDS; i++)
		if (strcmp(entry_kind_names[i], name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_LY_LEDGER_INCONSISTENT),
			 errmsg("a movement of the ledger has kind \"%s\", which is not known", name),
			 errhint("Call SELECT * FROM loyalty.verify().")));
	return 0;
}

/* ---- accounts ---- */

Account *
row_new_account(Store *store, const Program *program, int64 member, MemoryContext context)
{
	Account    *account = MemoryContextAllocZero(context, sizeof(Account));

	account->member_id = member;
	account->program = program;
	account->store = store;
	account->context = context;
	account->posted_at = store->posted_at;
	return account;
}

/* Two arrays of one length without NULLs. */
static void
row_to_lent(const Datum *v, const bool *nulls, Account *account)
{
	ArrayType  *tiers;
	ArrayType  *ends;

	account->nlent = 0;
	if (nulls[A_LENT_TIER_IDS])
		return;
	tiers = DatumGetArrayTypeP(v[A_LENT_TIER_IDS]);
	ends = DatumGetArrayTypeP(v[A_LENT_UNTIL]);
	account->nlent = Min(ArrayGetNItems(ARR_NDIM(tiers), ARR_DIMS(tiers)), ArrayGetNItems(ARR_NDIM(ends), ARR_DIMS(ends)));
	account->lent = palloc(mul_size(Max(account->nlent, 1), sizeof(Lent)));
	for (int i = 0; i < account->nlent; i++)
		account->lent[i] = (Lent) {((int32 *) ARR_DATA_PTR(tiers))[i], ((TimestampTz *) ARR_DATA_PTR(ends))[i]};
}

static void
lent_to_row(const Account *account, Datum *v, bool *nulls)
{
	nulls[A_LENT_TIER_IDS] = nulls[A_LENT_UNTIL] = account->nlent == 0;
	if (account->nlent > 0)
		row_lent_arrays(account->lent, account->nlent, &v[A_LENT_TIER_IDS], &v[A_LENT_UNTIL]);
}

void
row_lent_arrays(const Lent *lent, int n, Datum *tier_ids, Datum *until)
{
	Datum	   *tiers = palloc(mul_size(Max(n, 1), sizeof(Datum)));
	Datum	   *ends = palloc(mul_size(Max(n, 1), sizeof(Datum)));

	for (int i = 0; i < n; i++)
	{
		tiers[i] = Int32GetDatum(lent[i].tier_id);
		ends[i] = TimestampTzGetDatum(lent[i].until);
	}
	*tier_ids = PointerGetDatum(construct_array(tiers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	*until = PointerGetDatum(construct_array(ends, n, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Where nothing is granted or lent, the account's tier is its own. */
static void
row_to_standing(const Datum *v, const bool *nulls, Account *account)
{
	bool		granted = !nulls[A_GRANTED_TIER_ID];
	bool		alone = nulls[A_OWN_UNTIL];

	account->own_tier_id = alone ? account->tier_id : nulls[A_OWN_TIER_ID] ? 0 : DatumGetInt32(v[A_OWN_TIER_ID]);
	account->own_until = alone ? account->tier_until : DatumGetTimestampTz(v[A_OWN_UNTIL]);
	account->granted_tier_id = granted ? DatumGetInt32(v[A_GRANTED_TIER_ID]) : 0;
	account->granted_until = granted ? DatumGetTimestampTz(v[A_GRANTED_UNTIL]) : DT_NOEND;
	account->kept_tier_id = nulls[A_KEPT_TIER_ID] ? 0 : DatumGetInt32(v[A_KEPT_TIER_ID]);
	account->ladder_no = nulls[A_LADDER_NO] ? 0 : DatumGetInt32(v[A_LADDER_NO]);
	row_to_lent(v, nulls, account);
}

static void
standing_to_row(const Account *account, Datum *v, bool *nulls)
{
	bool		granted = account->granted_tier_id != 0;
	bool		alone = !granted && account->nlent == 0;

	v[A_OWN_TIER_ID] = Int32GetDatum(account->own_tier_id);
	nulls[A_OWN_TIER_ID] = alone || account->own_tier_id == 0;
	v[A_OWN_UNTIL] = TimestampTzGetDatum(account->own_until);
	v[A_GRANTED_TIER_ID] = Int32GetDatum(account->granted_tier_id);
	v[A_GRANTED_UNTIL] = TimestampTzGetDatum(account->granted_until);
	nulls[A_OWN_UNTIL] = alone;
	nulls[A_GRANTED_TIER_ID] = nulls[A_GRANTED_UNTIL] = !granted;
	v[A_KEPT_TIER_ID] = Int32GetDatum(account->kept_tier_id);
	nulls[A_KEPT_TIER_ID] = account->kept_tier_id == 0;
	v[A_LADDER_NO] = Int32GetDatum(account->ladder_no);
	nulls[A_LADDER_NO] = account->ladder_no == 0;
	lent_to_row(account, v, nulls);
}

void
row_to_account(const Datum *v, const bool *nulls, Account *account)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	account->member_id = DatumGetInt64(v[A_MEMBER_ID]);
	account->enrolled = false;
	account->enrolled_at = DatumGetTimestampTz(v[A_ENROLLED_AT]);
	account->settled_at = DatumGetTimestampTz(v[A_SETTLED_AT]);
	account->next_change_at = DatumGetTimestampTz(v[A_NEXT_CHANGE_AT]);
	account->available = DatumGetInt64(v[A_AVAILABLE]);
	account->pending = DatumGetInt64(v[A_PENDING]);
	account->held = DatumGetInt64(v[A_HELD]);
	account->debt = DatumGetInt64(v[A_DEBT]);
	account->next_entry = DatumGetInt64(v[A_NEXT_ENTRY]);
	account->open_from_expires_at = DatumGetTimestampTz(v[A_OPEN_FROM_EXPIRES_AT]);
	account->open_from_entry_no = DatumGetInt64(v[A_OPEN_FROM_ENTRY_NO]);
	account->tier_until = DatumGetTimestampTz(v[A_TIER_UNTIL]);
	account->period_start = DatumGetTimestampTz(v[A_PERIOD_START]);
	account->period_end = DatumGetTimestampTz(v[A_PERIOD_END]);
	account->previous_start = DatumGetTimestampTz(v[A_PREVIOUS_START]);
	account->tier_id = nulls[A_TIER_ID] ? 0 : DatumGetInt32(v[A_TIER_ID]);
	account->visits = DatumGetInt32(v[A_VISITS]);
	account->visits_previous = DatumGetInt32(v[A_VISITS_PREVIOUS]);
	account->earned = DatumGetInt64(v[A_EARNED]);
	account->earned_previous = DatumGetInt64(v[A_EARNED_PREVIOUS]);
	account->active_at = DatumGetTimestampTz(v[A_ACTIVE_AT]);
	account->inactive_at = DatumGetTimestampTz(v[A_INACTIVE_AT]);
	account->life = DatumGetInt16(v[A_LIFE]);
	account->spend = DatumGetNumericCopy(v[A_SPEND]);
	account->spend_previous = DatumGetNumericCopy(v[A_SPEND_PREVIOUS]);
	account->status = TextDatumGetCString(v[A_STATUS]);
	row_to_standing(v, nulls, account);
	account->stored = true;
	MemoryContextSwitchTo(old);
}

void
account_to_row(const Account *account, Datum *v, bool *nulls)
{
	memset(nulls, 0, A_COUNT * sizeof(bool));
	v[A_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[A_ENROLLED_AT] = TimestampTzGetDatum(account->enrolled_at);
	v[A_SETTLED_AT] = TimestampTzGetDatum(account->settled_at);
	v[A_NEXT_CHANGE_AT] = TimestampTzGetDatum(account->next_change_at);
	v[A_AVAILABLE] = Int64GetDatum(account->available);
	v[A_PENDING] = Int64GetDatum(account->pending);
	v[A_HELD] = Int64GetDatum(account->held);
	v[A_DEBT] = Int64GetDatum(account->debt);
	v[A_NEXT_ENTRY] = Int64GetDatum(account->next_entry);
	v[A_OPEN_FROM_EXPIRES_AT] = TimestampTzGetDatum(account->open_from_expires_at);
	v[A_OPEN_FROM_ENTRY_NO] = Int64GetDatum(account->open_from_entry_no);
	v[A_TIER_UNTIL] = TimestampTzGetDatum(account->tier_until);
	v[A_PERIOD_START] = TimestampTzGetDatum(account->period_start);
	v[A_PERIOD_END] = TimestampTzGetDatum(account->period_end);
	v[A_PREVIOUS_START] = TimestampTzGetDatum(account->previous_start);
	v[A_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[A_TIER_ID] = Int32GetDatum(account->tier_id);
	nulls[A_TIER_ID] = account->tier_id == 0;
	v[A_VISITS] = Int32GetDatum(account->visits);
	v[A_VISITS_PREVIOUS] = Int32GetDatum(account->visits_previous);
	v[A_EARNED] = Int64GetDatum(account->earned);
	v[A_EARNED_PREVIOUS] = Int64GetDatum(account->earned_previous);
	v[A_ACTIVE_AT] = TimestampTzGetDatum(account->active_at);
	v[A_INACTIVE_AT] = TimestampTzGetDatum(account->inactive_at);
	v[A_LIFE] = Int16GetDatum(account->life);
	v[A_SPEND] = NumericGetDatum(account->spend);
	v[A_SPEND_PREVIOUS] = NumericGetDatum(account->spend_previous);
	v[A_STATUS] = CStringGetTextDatum(account->status);
	standing_to_row(account, v, nulls);
}

void
row_to_member(const Datum *v, const bool *nulls, Account *account)
{
	MemoryContext old = MemoryContextSwitchTo(account->context);

	account->attributes = DatumGetJsonbPCopy(v[B_ATTRIBUTES]);
	MemoryContextSwitchTo(old);
	account->has_birth_date = !nulls[B_BIRTH_DATE];
	account->birth_date = account->has_birth_date ? DatumGetDateADT(v[B_BIRTH_DATE]) : 0;
}

/* ---- lots, movements, tier changes ---- */

Lot *
row_to_lot(const Datum *v, const bool *nulls, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Lot		   *lot = palloc0(sizeof(Lot));

	lot->member_id = DatumGetInt64(v[L_MEMBER_ID]);
	lot->expires_at = DatumGetTimestampTz(v[L_EXPIRES_AT]);
	lot->entry_no = DatumGetInt64(v[L_ENTRY_NO]);
	lot->points = DatumGetInt64(v[L_POINTS]);
	lot->remaining = DatumGetInt64(v[L_REMAINING]);
	lot->owed = DatumGetInt64(v[L_OWED]);
	lot->earned_at = DatumGetTimestampTz(v[L_EARNED_AT]);
	lot->available_at = DatumGetTimestampTz(v[L_AVAILABLE_AT]);
	lot->at = DatumGetTimestampTz(v[L_AT]);
	lot->posted_at = DatumGetTimestampTz(v[L_POSTED_AT]);
	lot->program_id = DatumGetInt32(v[L_PROGRAM_ID]);
	lot->source_id = nulls[L_SOURCE_ID] ? 0 : DatumGetInt32(v[L_SOURCE_ID]);
	lot->unit = DatumGetInt32(v[L_UNIT]);
	lot->part = DatumGetInt16(v[L_PART]);
	lot->life = DatumGetInt16(v[L_LIFE]);
	lot->kind = DatumGetChar(v[L_KIND]);
	lot->source_key = nulls[L_SOURCE_KEY] ? NULL : TextDatumGetCString(v[L_SOURCE_KEY]);
	lot->amount = nulls[L_AMOUNT] ? NULL : DatumGetNumericCopy(v[L_AMOUNT]);
	lot->kept_amount = nulls[L_KEPT_AMOUNT] ? NULL : DatumGetNumericCopy(v[L_KEPT_AMOUNT]);
	lot->breakdown = nulls[L_BREAKDOWN] ? NULL : DatumGetByteaPCopy(v[L_BREAKDOWN]);
	lot->stored = true;
	MemoryContextSwitchTo(old);
	return lot;
}

void
lot_to_row(const Lot *lot, Datum *v, bool *nulls)
{
	memset(nulls, 0, L_COUNT * sizeof(bool));
	v[L_MEMBER_ID] = Int64GetDatum(lot->member_id);
	v[L_EXPIRES_AT] = TimestampTzGetDatum(lot->expires_at);
	v[L_ENTRY_NO] = Int64GetDatum(lot->entry_no);
	v[L_POINTS] = Int64GetDatum(lot->points);
	v[L_REMAINING] = Int64GetDatum(lot->remaining);
	v[L_OWED] = Int64GetDatum(lot->owed);
	v[L_EARNED_AT] = TimestampTzGetDatum(lot->earned_at);
	v[L_AVAILABLE_AT] = TimestampTzGetDatum(lot->available_at);
	v[L_AT] = TimestampTzGetDatum(lot->at);
	v[L_POSTED_AT] = TimestampTzGetDatum(lot->posted_at);
	v[L_PROGRAM_ID] = Int32GetDatum(lot->program_id);
	v[L_SOURCE_ID] = Int32GetDatum(lot->source_id);
	nulls[L_SOURCE_ID] = lot->source_id == 0;
	v[L_UNIT] = Int32GetDatum(lot->unit);
	v[L_PART] = Int16GetDatum(lot->part);
	v[L_LIFE] = Int16GetDatum(lot->life);
	v[L_KIND] = CharGetDatum(lot->kind);
	v[L_SOURCE_KEY] = lot->source_key ? CStringGetTextDatum(lot->source_key) : (Datum) 0;
	nulls[L_SOURCE_KEY] = lot->source_key == NULL;
	v[L_AMOUNT] = NumericGetDatum(lot->amount);
	nulls[L_AMOUNT] = lot->amount == NULL;
	v[L_KEPT_AMOUNT] = NumericGetDatum(lot->kept_amount);
	nulls[L_KEPT_AMOUNT] = lot->kept_amount == NULL;
	v[L_BREAKDOWN] = PointerGetDatum(lot->breakdown);
	nulls[L_BREAKDOWN] = lot->breakdown == NULL;
}

void
movement_to_row(const Account *account, const Movement *m, Datum *v, bool *nulls)
{
	memset(nulls, 0, M_COUNT * sizeof(bool));
	v[M_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[M_ENTRY_NO] = Int64GetDatum(m->entry_no);
	v[M_LOT_EXPIRES_AT] = TimestampTzGetDatum(m->lot_expires_at);
	v[M_LOT_ENTRY_NO] = Int64GetDatum(m->lot_entry_no);
	v[M_POINTS] = Int64GetDatum(m->points);
	v[M_AT] = TimestampTzGetDatum(m->at);
	v[M_POSTED_AT] = TimestampTzGetDatum(account->posted_at);
	v[M_REDEMPTION_ID] = Int64GetDatum(m->redemption_id);
	nulls[M_REDEMPTION_ID] = m->redemption_id == 0;
	v[M_ORIGIN_ENTRY_NO] = Int64GetDatum(m->origin_entry_no);
	nulls[M_ORIGIN_ENTRY_NO] = m->origin_entry_no == 0;
	v[M_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[M_KIND] = CStringGetTextDatum(entry_kind_names[m->kind]);
	v[M_REASON] = m->reason ? CStringGetTextDatum(m->reason) : (Datum) 0;
	nulls[M_REASON] = m->reason == NULL;
}

/* What is read back of one: its reason stays where it is. */
void
row_to_movement(const Datum *v, const bool *nulls, Movement *movement)
{
	*movement = (Movement) {
		.entry_no = DatumGetInt64(v[M_ENTRY_NO]),
		.kind = entry_kind(text_value(v, nulls, M_KIND)),
		.lot_expires_at = DatumGetTimestampTz(v[M_LOT_EXPIRES_AT]),
		.lot_entry_no = DatumGetInt64(v[M_LOT_ENTRY_NO]),
		.points = DatumGetInt64(v[M_POINTS]),
		.at = DatumGetTimestampTz(v[M_AT]),
		.redemption_id = nulls[M_REDEMPTION_ID] ? 0 : DatumGetInt64(v[M_REDEMPTION_ID]),
		.origin_entry_no = nulls[M_ORIGIN_ENTRY_NO] ? 0 : DatumGetInt64(v[M_ORIGIN_ENTRY_NO])
	};
}

Debt *
row_to_debt(const Datum *v, MemoryContext context)
{
	Debt	   *debt = MemoryContextAllocZero(context, sizeof(Debt));

	debt->entry_no = DatumGetInt64(v[D_ENTRY_NO]);
	debt->lot_expires_at = DatumGetTimestampTz(v[D_LOT_EXPIRES_AT]);
	debt->lot_entry_no = DatumGetInt64(v[D_LOT_ENTRY_NO]);
	debt->amount = DatumGetInt64(v[D_AMOUNT]);
	debt->left = DatumGetInt64(v[D_LEFT_OVER]);
	debt->at = DatumGetTimestampTz(v[D_AT]);
	debt->posted_at = DatumGetTimestampTz(v[D_POSTED_AT]);
	debt->stored = true;
	return debt;
}

void
debt_to_row(const Account *account, const Debt *debt, Datum *v, bool *nulls)
{
	memset(nulls, 0, D_COUNT * sizeof(bool));
	v[D_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[D_ENTRY_NO] = Int64GetDatum(debt->entry_no);
	v[D_LOT_EXPIRES_AT] = TimestampTzGetDatum(debt->lot_expires_at);
	v[D_LOT_ENTRY_NO] = Int64GetDatum(debt->lot_entry_no);
	v[D_AMOUNT] = Int64GetDatum(debt->amount);
	v[D_LEFT_OVER] = Int64GetDatum(debt->left);
	v[D_AT] = TimestampTzGetDatum(debt->at);
	v[D_POSTED_AT] = TimestampTzGetDatum(debt->posted_at);
	v[D_PROGRAM_ID] = Int32GetDatum(account->program->id);
}

void
tier_change_to_row(const Account *account, const TierChange *c, Datum *v, bool *nulls)
{
	memset(nulls, 0, T_COUNT * sizeof(bool));
	v[T_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[T_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[T_AT] = TimestampTzGetDatum(c->at);
	v[T_CHANGE_NO] = Int64GetDatum(c->change_no);
	v[T_POSTED_AT] = TimestampTzGetDatum(account->posted_at);
	v[T_FROM_TIER_ID] = Int32GetDatum(c->from_tier);
	nulls[T_FROM_TIER_ID] = c->from_tier == 0;
	v[T_TO_TIER_ID] = Int32GetDatum(c->to_tier);
	nulls[T_TO_TIER_ID] = c->to_tier == 0;
	v[T_HELD_UNTIL] = TimestampTzGetDatum(c->held_until);
	v[T_REASON] = CStringGetTextDatum(c->reason);
}

/* ---- refunds ---- */

Refund *
row_to_refund(const Datum *v, const bool *nulls, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Refund	   *refund = palloc0(sizeof(Refund));

	refund->member_id = DatumGetInt64(v[F_MEMBER_ID]);
	refund->first_member_id = nulls[F_FIRST_MEMBER_ID] ? refund->member_id : DatumGetInt64(v[F_FIRST_MEMBER_ID]);
	refund->program_id = DatumGetInt32(v[F_PROGRAM_ID]);
	refund->source_id = DatumGetInt32(v[F_SOURCE_ID]);
	refund->source_key = TextDatumGetCString(v[F_SOURCE_KEY]);
	refund->part = DatumGetInt32(v[F_PART]);
	refund->of_source_id = DatumGetInt32(v[F_OF_SOURCE_ID]);
	refund->of_key = nulls[F_OF_KEY] ? NULL : TextDatumGetCString(v[F_OF_KEY]);
	refund->amount = DatumGetNumericCopy(v[F_AMOUNT]);
	refund->at = DatumGetTimestampTz(v[F_AT]);
	refund->posted_at = DatumGetTimestampTz(v[F_POSTED_AT]);
	MemoryContextSwitchTo(old);
	return refund;
}

void
refund_to_row(const Refund *refund, Datum *v, bool *nulls)
{
	memset(nulls, 0, F_COUNT * sizeof(bool));
	v[F_MEMBER_ID] = Int64GetDatum(refund->member_id);
	v[F_FIRST_MEMBER_ID] = Int64GetDatum(refund->first_member_id);
	nulls[F_FIRST_MEMBER_ID] = refund->first_member_id == refund->member_id;
	v[F_PROGRAM_ID] = Int32GetDatum(refund->program_id);
	v[F_SOURCE_ID] = Int32GetDatum(refund->source_id);
	v[F_SOURCE_KEY] = CStringGetTextDatum(refund->source_key);
	v[F_PART] = Int32GetDatum(refund->part);
	v[F_OF_SOURCE_ID] = Int32GetDatum(refund->of_source_id);
	v[F_OF_KEY] = text_or_null(refund->of_key, &nulls[F_OF_KEY]);
	v[F_AMOUNT] = NumericGetDatum(refund->amount);
	v[F_AT] = TimestampTzGetDatum(refund->at);
	v[F_POSTED_AT] = TimestampTzGetDatum(refund->posted_at);
}

/* ---- usage of limits ---- */

void
row_to_usage(const Datum *v, const bool *nulls, Usage *usage)
{
	usage->rule_id = DatumGetInt32(v[U_RULE_ID]);
	usage->period_start = DatumGetTimestampTz(v[U_PERIOD_START]);
	usage->period_end = DatumGetTimestampTz(v[U_PERIOD_END]);
	usage->used = DatumGetInt64(v[U_USED]);
	usage->uses = DatumGetInt32(v[U_USES]);
	usage->stored = true;
}

Usage *
row_append_usage(const Datum *v, const bool *nulls, Usage **usages, int n)
{
	if (n % 8 == 0)
		*usages = n == 0 ? palloc(8 * sizeof(Usage)) : repalloc(*usages, mul_size(n + 8, sizeof(Usage)));
	memset(&(*usages)[n], 0, sizeof(Usage));
	row_to_usage(v, nulls, &(*usages)[n]);
	return &(*usages)[n];
}

void
usage_to_row(const Account *account, const Usage *usage, Datum *v, bool *nulls)
{
	memset(nulls, 0, U_COUNT * sizeof(bool));
	v[U_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[U_PERIOD_START] = TimestampTzGetDatum(usage->period_start);
	v[U_PERIOD_END] = TimestampTzGetDatum(usage->period_end);
	v[U_USED] = Int64GetDatum(usage->used);
	v[U_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[U_RULE_ID] = Int32GetDatum(usage->rule_id);
	v[U_USES] = Int32GetDatum(usage->uses);
}

/* ---- counters ---- */

Counter *
row_to_counter(const Datum *v, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Counter    *counter = palloc0(sizeof(Counter));

	counter->bucket = DatumGetTimestampTz(v[C_BUCKET]);
	counter->metric = DatumGetInt32(v[C_METRIC]);
	counter->value = DatumGetNumericCopy(v[C_VALUE]);
	counter->stored = true;
	MemoryContextSwitchTo(old);
	return counter;
}

void
counter_to_row(const Account *account, const Counter *counter, Datum *v, bool *nulls)
{
	memset(nulls, 0, C_COUNT * sizeof(bool));
	v[C_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[C_BUCKET] = TimestampTzGetDatum(counter->bucket);
	v[C_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[C_METRIC] = Int32GetDatum(counter->metric);
	v[C_VALUE] = NumericGetDatum(counter->value);
}

Visit *
row_to_visit(const Datum *v, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Visit	   *visit = palloc0(sizeof(Visit));

	visit->bucket = DatumGetTimestampTz(v[V_BUCKET]);
	visit->purchases = DatumGetInt32(v[V_PURCHASES]);
	visit->visit = TextDatumGetCString(v[V_VISIT]);
	visit->stored = true;
	MemoryContextSwitchTo(old);
	return visit;
}

void
visit_to_row(const Account *account, const Visit *visit, Datum *v, bool *nulls)
{
	memset(nulls, 0, V_COUNT * sizeof(bool));
	v[V_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[V_BUCKET] = TimestampTzGetDatum(visit->bucket);
	v[V_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[V_PURCHASES] = Int32GetDatum(visit->purchases);
	v[V_VISIT] = CStringGetTextDatum(visit->visit);
}

void
visit_of_to_row(const Account *account, const VisitOf *of, Datum *v, bool *nulls)
{
	memset(nulls, 0, W_COUNT * sizeof(bool));
	v[W_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[W_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[W_SOURCE_ID] = Int32GetDatum(of->source_id);
	v[W_SOURCE_KEY] = CStringGetTextDatum(of->source_key);
	v[W_VISIT] = text_or_null(of->visit, &nulls[W_VISIT]);
}

/* ---- challenges ---- */

void
row_to_progress(const Datum *v, const bool *nulls, MemoryContext context, Progress *progress)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	progress->period_end = DatumGetTimestampTz(v[P_PERIOD_END]);
	progress->completed_at = nulls[P_COMPLETED_AT] ? DT_NOEND : DatumGetTimestampTz(v[P_COMPLETED_AT]);
	progress->times = DatumGetInt32(v[P_TIMES]);
	progress->value = DatumGetNumericCopy(v[P_VALUE]);
	progress->stored = true;
	MemoryContextSwitchTo(old);
}

void
progress_to_row(const Account *account, const Progress *progress, Datum *v, bool *nulls)
{
	memset(nulls, 0, P_COUNT * sizeof(bool));
	v[P_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[P_PERIOD_START] = TimestampTzGetDatum(progress->period_start);
	v[P_PERIOD_END] = TimestampTzGetDatum(progress->period_end);
	v[P_COMPLETED_AT] = TimestampTzGetDatum(progress->completed_at);
	nulls[P_COMPLETED_AT] = progress->completed_at == DT_NOEND;
	v[P_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[P_CHALLENGE_ID] = Int32GetDatum(progress->challenge_id);
	v[P_TIMES] = Int32GetDatum(progress->times);
	v[P_VALUE] = NumericGetDatum(progress->value);
}

void
challenge_award_to_row(const Account *account, const ChallengeAward *award, Datum *v, bool *nulls)
{
	memset(v, 0, X_COUNT * sizeof(Datum));
	memset(nulls, 0, X_COUNT * sizeof(bool));
	v[X_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[X_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[X_CHALLENGE_ID] = Int32GetDatum(award->challenge_id);
	v[X_PERIOD_START] = TimestampTzGetDatum(award->period_start);
	v[X_AWARD_NO] = Int32GetDatum(award->award_no);
	v[X_COMPLETIONS] = Int32GetDatum(award->completions);
	v[X_POINTS_EACH] = Int64GetDatum(award->points_each);
	v[X_POINTS] = Int64GetDatum(award->points);
	v[X_ENTRY_NO] = Int64GetDatum(award->entry_no);
	v[X_EXPIRES_AT] = TimestampTzGetDatum(award->expires_at);
	nulls[X_ENTRY_NO] = nulls[X_EXPIRES_AT] = award->entry_no == 0;
	nulls[X_REWARD_ID] = nulls[X_REDEMPTION_ID] = nulls[X_TAKEN_AT] = true;
	v[X_BADGE] = text_or_null(award->badge, &nulls[X_BADGE]);
	v[X_AT] = TimestampTzGetDatum(award->at);
	v[X_POSTED_AT] = TimestampTzGetDatum(account->posted_at);
}

/* ---- interventions ---- */

void
intervention_to_row(const Account *account, const Intervention *i, TimestampTz at, Oid role, Datum *v, bool *nulls)
{
	memset(nulls, 0, I_COUNT * sizeof(bool));
	v[I_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[I_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[I_ENTRY_NO] = Int64GetDatum(i->entry_no);
	v[I_LAST_ENTRY] = Int64GetDatum(i->last_entry);
	nulls[I_LAST_ENTRY] = i->last_entry == 0;
	v[I_ACTION] = CStringGetTextDatum(i->action);
	v[I_POINTS] = Int64GetDatum(i->points);
	nulls[I_POINTS] = i->points == 0;
	v[I_AVAILABLE_AT] = TimestampTzGetDatum(i->available_at);
	v[I_EXPIRES_AT] = TimestampTzGetDatum(i->expires_at);
	nulls[I_AVAILABLE_AT] = nulls[I_EXPIRES_AT] = !i->is_lot;
	v[I_REASON] = text_or_null(i->reason, &nulls[I_REASON]);
	v[I_KEY] = text_or_null(i->key, &nulls[I_KEY]);
	v[I_AT] = TimestampTzGetDatum(at);
	v[I_POSTED_AT] = TimestampTzGetDatum(account->posted_at);
	v[I_BY] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	v[I_SET_ROLE] = CStringGetTextDatum(GetUserNameFromId(role, false));
	v[I_COUNTS_FOR_TIER] = BoolGetDatum(i->counts_for_tier);
	v[I_TIER_ID] = Int32GetDatum(i->tier_id);
	v[I_HELD_UNTIL] = TimestampTzGetDatum(i->held_until);
	nulls[I_TIER_ID] = nulls[I_HELD_UNTIL] = i->tier_id == 0;
	v[I_UNIT_ID] = Int32GetDatum(i->unit_id);
	v[I_VALUE] = i->unit_id ? NumericGetDatum(points_to_numeric(i->value)) : (Datum) 0;
	v[I_COUNTED_AT] = TimestampTzGetDatum(i->counted_at);
	nulls[I_UNIT_ID] = nulls[I_VALUE] = nulls[I_COUNTED_AT] = i->unit_id == 0;
}

/* ---- redemptions, requests ---- */

static RedemptionState
redemption_state(const char *name)
{
	for (int i = 0; i <= REDEMPTION_REVERSED; i++)
		if (strcmp(redemption_state_names[i], name) == 0)
			return i;
	elog(ERROR, "a redemption is \"%s\"", name);
}

Redemption *
row_to_redemption(const Datum *v, const bool *nulls, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Redemption *redemption = palloc0(sizeof(Redemption));

	*redemption = (Redemption) {
		.redemption_id = DatumGetInt64(v[R_REDEMPTION_ID]),
		.program_id = DatumGetInt32(v[R_PROGRAM_ID]),
		.reward_id = nulls[R_REWARD_ID] ? 0 : DatumGetInt32(v[R_REWARD_ID]),
		.quantity = DatumGetInt32(v[R_QUANTITY]),
		.points = DatumGetInt64(v[R_POINTS]),
		.taken = DatumGetInt64(v[R_TAKEN]),
		.state = redemption_state(TextDatumGetCString(v[R_STATE])),
		.key = text_value(v, nulls, R_KEY),
		.reason = text_value(v, nulls, R_REASON),
		.vouchers = DatumGetInt32(v[R_VOUCHERS]),
		.held_until = nulls[R_HELD_UNTIL] ? DT_NOEND : DatumGetTimestampTz(v[R_HELD_UNTIL]),
		.first_entry = DatumGetInt64(v[R_FIRST_ENTRY]),
		.last_entry = DatumGetInt64(v[R_LAST_ENTRY]),
		.at = DatumGetTimestampTz(v[R_AT]),
		.changed_at = DatumGetTimestampTz(v[R_CHANGED_AT]),
		.source_id = nulls[R_SOURCE_ID] ? 0 : DatumGetInt32(v[R_SOURCE_ID]),
		.source_key = text_value(v, nulls, R_SOURCE_KEY),
		.stated = nulls[R_STATED] ? 0 : DatumGetInt64(v[R_STATED])
	};
	MemoryContextSwitchTo(old);
	return redemption;
}

void
redemption_to_row(const Account *account, const Redemption *redemption, Datum *v, bool *nulls)
{
	memset(nulls, 0, R_COUNT * sizeof(bool));
	v[R_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[R_REDEMPTION_ID] = Int64GetDatum(redemption->redemption_id);
	v[R_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[R_REWARD_ID] = Int32GetDatum(redemption->reward_id);
	nulls[R_REWARD_ID] = redemption->reward_id == 0;
	v[R_QUANTITY] = Int32GetDatum(redemption->quantity);
	v[R_POINTS] = Int64GetDatum(redemption->points);
	v[R_STATE] = CStringGetTextDatum(redemption_state_names[redemption->state]);
	v[R_KEY] = text_or_null(redemption->key, &nulls[R_KEY]);
	v[R_REASON] = text_or_null(redemption->reason, &nulls[R_REASON]);
	v[R_VOUCHERS] = Int32GetDatum(redemption->vouchers);
	v[R_HELD_UNTIL] = TimestampTzGetDatum(redemption->held_until);
	nulls[R_HELD_UNTIL] = redemption->held_until == DT_NOEND;
	v[R_FIRST_ENTRY] = Int64GetDatum(redemption->first_entry);
	v[R_LAST_ENTRY] = Int64GetDatum(redemption->last_entry);
	v[R_AT] = TimestampTzGetDatum(redemption->at);
	v[R_POSTED_AT] = TimestampTzGetDatum(account->posted_at);
	v[R_BY] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	v[R_TAKEN] = Int64GetDatum(redemption->taken);
	v[R_CHANGED_AT] = TimestampTzGetDatum(redemption->changed_at);
	v[R_SOURCE_ID] = Int32GetDatum(redemption->source_id);
	v[R_SOURCE_KEY] = text_or_null(redemption->source_key, &nulls[R_SOURCE_KEY]);
	v[R_STATED] = Int64GetDatum(redemption->stated);
	nulls[R_SOURCE_ID] = nulls[R_STATED] = redemption->source_id == 0;
}

void
row_to_request(const Datum *v, const bool *nulls, const char *key, Request *request)
{
	*request = (Request) {
		.key = key,
		.call = text_value(v, nulls, Q_CALL),
		.arguments = DatumGetJsonbPCopy(v[Q_ARGUMENTS]),
		.redemption_id = nulls[Q_REDEMPTION_ID] ? 0 : DatumGetInt64(v[Q_REDEMPTION_ID]),
		.entry_no = nulls[Q_ENTRY_NO] ? 0 : DatumGetInt64(v[Q_ENTRY_NO]),
		.at = DatumGetTimestampTz(v[Q_AT]),
		.answer = nulls[Q_ANSWER] ? NULL : DatumGetJsonbPCopy(v[Q_ANSWER])
	};
}

void
request_to_row(const Account *account, const Request *request, Datum *v, bool *nulls)
{
	memset(nulls, 0, Q_COUNT * sizeof(bool));
	v[Q_MEMBER_ID] = Int64GetDatum(account->member_id);
	v[Q_PROGRAM_ID] = Int32GetDatum(account->program->id);
	v[Q_KEY] = CStringGetTextDatum(request->key);
	v[Q_CALL] = CStringGetTextDatum(request->call);
	v[Q_ARGUMENTS] = JsonbPGetDatum(request->arguments);
	v[Q_REDEMPTION_ID] = Int64GetDatum(request->redemption_id);
	nulls[Q_REDEMPTION_ID] = request->redemption_id == 0;
	v[Q_ENTRY_NO] = Int64GetDatum(request->entry_no);
	nulls[Q_ENTRY_NO] = request->entry_no == 0;
	v[Q_AT] = TimestampTzGetDatum(request->at);
	v[Q_ANSWER] = JsonbPGetDatum(request->answer);
	nulls[Q_ANSWER] = request->answer == NULL;
}
