/*
 * configure.c
 *	  What the triggers on configuration tables need from C.
 *
 * Rules for whoever maintains this:
 * - config_changed is ENABLE ALWAYS and does nothing but invalidate: it must work while logical replication
 *   applies rows (row triggers only, session_replication_role = replica) and in a data-only restore.
 * - Whoever configures need not be able to read the ledger: in_ledger looks as the ledger's owner and says
 *   yes or no.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "configure.h"
#include "errcodes.h"
#include "expression.h"
#include "guc.h"
#include "owner.h"
#include "virtual_row.h"

static bool finds_row(const char *table, const char *query, int32 argument);
static int	trimmed(const char *string, int start, int end);
static void refuse_other_author(Oid author);
static void list_context(void *argument);

/* Every backend forgets what it knows of this table when the transaction commits. */
PG_FUNCTION_INFO_V1(loyalty_config_changed);
Datum
loyalty_config_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("loyalty.config_changed was not called by a trigger")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}

/* loyalty.check_timezone(text): a full name or a POSIX zone, no abbreviation */
PG_FUNCTION_INFO_V1(loyalty_check_timezone);
Datum
loyalty_check_timezone(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pg_tz	   *zone = strlen(name) > TZ_STRLEN_MAX ? NULL : pg_tzset(name);

	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("time zone \"%s\" is not known", name),
				 errhint("Write a name such as Europe/Istanbul; the view pg_timezone_names lists them.")));
	PG_RETURN_VOID();
}

/* loyalty.lock_install(): one install() until the transaction ends.  Any role could hold an advisory lock. */
PG_FUNCTION_INFO_V1(loyalty_lock_install);
Datum
loyalty_lock_install(PG_FUNCTION_ARGS)
{
	LockDatabaseObject(NamespaceRelationId, get_namespace_oid("loyalty", false), 0, ShareUpdateExclusiveLock);
	PG_RETURN_VOID();
}

/* loyalty.in_ledger(what, id): does the ledger name it? */
PG_FUNCTION_INFO_V1(loyalty_in_ledger);
Datum
loyalty_in_ledger(PG_FUNCTION_ARGS)
{
	static const char *const queries[][2] = {
		{"program", "SELECT FROM loyalty.account WHERE program_id OPERATOR(pg_catalog.=) $1"},
		{"points of program", "SELECT FROM loyalty.lot WHERE program_id OPERATOR(pg_catalog.=) $1"},
		{"source", "SELECT FROM loyalty.lot WHERE source_id OPERATOR(pg_catalog.=) $1"
			" UNION ALL SELECT FROM loyalty.refund WHERE source_id OPERATOR(pg_catalog.=) $1"
		" OR of_source_id OPERATOR(pg_catalog.=) $1"},
		{"tier", "SELECT FROM loyalty.tier_change WHERE from_tier_id OPERATOR(pg_catalog.=) $1"
			" OR to_tier_id OPERATOR(pg_catalog.=) $1"
		" UNION ALL SELECT FROM loyalty.account WHERE $1 OPERATOR(pg_catalog.=) ANY"
		" (ARRAY[tier_id, granted_tier_id, own_tier_id, kept_tier_id] OPERATOR(pg_catalog.||) lent_tier_ids)"},
		{"unit", "SELECT FROM loyalty.counter WHERE metric OPERATOR(pg_catalog.=) $1"
			" UNION ALL SELECT FROM loyalty.lot WHERE unit OPERATOR(pg_catalog.=) $1"
		" UNION ALL SELECT FROM loyalty.intervention WHERE unit_id OPERATOR(pg_catalog.=) $1"},
		{"benefit", "SELECT FROM loyalty.benefit_use WHERE benefit_id OPERATOR(pg_catalog.=) $1"},
		{"reward", "SELECT FROM loyalty.redemption WHERE reward_id OPERATOR(pg_catalog.=) $1"},
		{"challenge", "SELECT FROM loyalty.progress WHERE challenge_id OPERATOR(pg_catalog.=) $1"
		" UNION ALL SELECT FROM loyalty.challenge_join WHERE challenge_id OPERATOR(pg_catalog.=) $1"},
		{"recognition", "SELECT FROM loyalty.recognition_given WHERE recognition_id OPERATOR(pg_catalog.=) $1"},
		{"plan", "SELECT FROM loyalty.subscription WHERE plan_id OPERATOR(pg_catalog.=) $1"},
		{"cause", "SELECT FROM loyalty.donation WHERE cause_id OPERATOR(pg_catalog.=) $1"
			" UNION ALL SELECT FROM loyalty.cause_choice WHERE cause_id OPERATOR(pg_catalog.=) $1"},
		{"giving", "SELECT FROM loyalty.donation WHERE giving_id OPERATOR(pg_catalog.=) $1"
			" UNION ALL SELECT FROM loyalty.cause_choice WHERE giving_id OPERATOR(pg_catalog.=) $1"},
		{"anything", "SELECT FROM loyalty.lot WHERE $1 IS NOT NULL"}
	};
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			i = 0;

	while (i < lengthof(queries) && strcmp(queries[i][0], what) != 0)
		i++;
	if (i == lengthof(queries))
		elog(ERROR, "the ledger does not name a %s", what);
	PG_RETURN_BOOL(finds_row("account", queries[i][1], PG_GETARG_INT32(1)));
}

bool
configure_holds_points(void)
{
	return finds_row("lot", "SELECT FROM loyalty.lot WHERE $1 IS NOT NULL", 0);
}

/* Does this query over the ledger give a row?  No, where `table` is not there. */
static bool
finds_row(const char *table, const char *query, int32 argument)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(argument)};
	Oid			schema = get_namespace_oid("loyalty", true);
	Oid			user;
	int			security;
	bool		found;

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid(table, schema)))
		return false;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(guc_table_owner(table), security | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute_with_args(query, 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ledger");
	found = SPI_processed > 0;
	SPI_finish();
	SetUserIdAndSecContext(user, security);
	return found;
}

/*
 * loyalty.check_expression(text, role, relation, author, what): what expression_compile would say, for the
 * triggers on configuration tables.  Compiling folds immutable functions as the author, so that the caller must
 * be allowed to act as that role.
 */
PG_FUNCTION_INFO_V1(loyalty_check_expression);
Datum
loyalty_check_expression(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"member", "amount", "occurred_at", "key", "source condition", "release", "bonus condition", "base points", "bonus points",
		"segment", "base condition"
	};
	char	   *role = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Oid			author = PG_GETARG_OID(3);
	Relation	relation = NULL;
	Expression *expression;
	bool		base_condition;
	int			i = 0;

	while (i < lengthof(names) && strcmp(names[i], role) != 0)
		i++;
	if (i == lengthof(names))
		elog(ERROR, "unknown role of an expression: %s", role);
	refuse_other_author(author);
	base_condition = i > EXPRESSION_SEGMENT;
	if (i != EXPRESSION_SEGMENT)
		relation = relation_open(PG_GETARG_OID(2), AccessShareLock);
	expression = expression_compile(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									base_condition ? EXPRESSION_RULE_CONDITION : (ExpressionRole) i,
									relation, author, text_to_cstring(PG_GETARG_TEXT_PP(4)));
	if (base_condition && expression->uses_base)
		virtual_row_refuse_base(NULL, -1);
	if (relation)
		relation_close(relation, NoLock);
	PG_RETURN_VOID();
}

/* loyalty.key_column(text, relation, author, what): checks, and says which column it is; 0: none */
PG_FUNCTION_INFO_V1(loyalty_key_column);
Datum
loyalty_key_column(PG_FUNCTION_ARGS)
{
	Oid			author = PG_GETARG_OID(2);
	Relation	relation;
	Expression *expression;

	refuse_other_author(author);
	relation = relation_open(PG_GETARG_OID(1), AccessShareLock);
	expression = expression_compile(text_to_cstring(PG_GETARG_TEXT_PP(0)), EXPRESSION_KEY, relation, author,
									text_to_cstring(PG_GETARG_TEXT_PP(3)));
	relation_close(relation, NoLock);
	PG_RETURN_INT32(expression->plain_column);
}

/* loyalty.columns_named(text, relation): what an update must change to matter to this expression */
PG_FUNCTION_INFO_V1(loyalty_columns_named);
Datum
loyalty_columns_named(PG_FUNCTION_ARGS)
{
	Bitmapset  *columns = expression_columns_named(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1));
	Datum	   *numbers = palloc_array(Datum, Max(bms_num_members(columns), 1));
	int			count = 0;
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
		numbers[count++] = Int32GetDatum(column);
	PG_RETURN_ARRAYTYPE_P(construct_array(numbers, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* loyalty.split_expressions(text): cut where PostgreSQL's parser sees the next expression begin */
PG_FUNCTION_INFO_V1(loyalty_split_expressions);
Datum
loyalty_split_expressions(PG_FUNCTION_ARGS)
{
	char	   *string = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ErrorContextCallback callback = {error_context_stack, list_context, string};
	SelectStmt *select;
	Datum	   *parts;
	int			count;

	error_context_stack = &callback;
	select = castNode(SelectStmt, linitial_node(RawStmt, raw_parser(string, RAW_PARSE_PLPGSQL_EXPR))->stmt);
	error_context_stack = callback.previous;
	count = list_length(select->targetList);
	parts = palloc_array(Datum, count);
	for (int i = 0; i < count; i++)
	{
		int			start = list_nth_node(ResTarget, select->targetList, i)->location;
		int			end = strlen(string);

		if (i + 1 < count)
			end = list_nth_node(ResTarget, select->targetList, i + 1)->location;
		end = trimmed(string, start, end);
		if (i + 1 < count && string[end - 1] == ',')
			end = trimmed(string, start, end - 1);
		parts[i] = PointerGetDatum(cstring_to_text_with_len(string + start, end - start));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(parts, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* where string[start..end) ends without white space */
static int
trimmed(const char *string, int start, int end)
{
	while (end > start && isspace((unsigned char) string[end - 1]))
		end--;
	return end;
}

static void
refuse_other_author(Oid author)
{
	if (!has_privs_of_role(GetUserId(), author))
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_PERMITTED),
				 errmsg("permission denied to act as role %s", GetUserNameFromId(author, true))));
}

/* Only the parser runs inside: what it raises is the list's. */
static void
list_context(void *argument)
{
	int			position = geterrposition();

	errcode(ERRCODE_LY_INVALID_EXPRESSION);
	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(argument);
	}
	errcontext("list of expressions");
}

/* Add up again what was used of a rule's limits: nobody sells meanwhile on the table of its source. */
PG_FUNCTION_INFO_V1(loyalty_recount_limits);
Datum
loyalty_recount_limits(PG_FUNCTION_ARGS)
{
	Oid			types[] = {INT4OID, BOOLOID, BOOLOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	OwnerSwitch owner;
	bool		isnull;

	PreventCommandIfReadOnly("loyalty.recount_limits()");
	owner_become(&owner);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT s.relation::pg_catalog.oid FROM loyalty.rule r JOIN loyalty.source s"
							  " ON s.program OPERATOR(pg_catalog.=) r.program AND s.name OPERATOR(pg_catalog.=) r.source"
							  " WHERE r.id OPERATOR(pg_catalog.=) $1", 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a rule");
	if (SPI_processed > 0)
	{
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

		LockRelationOid(relid, ShareRowExclusiveLock);
		if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
			(void) find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
	}
	if (SPI_execute_with_args("SELECT loyalty.recount_limits_of($1, $2, $3)", 3, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count the limits of a rule");
	SPI_finish();
	owner_restore(&owner);
	PG_RETURN_VOID();
}
