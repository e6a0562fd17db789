/*
 * expression.c
 *	  SQL expressions of configuration rows: parsed, checked, planned once, evaluated in C.
 *
 * Rules for whoever maintains this (the header says what an expression may do):
 * - Text is read with search_path = pg_catalog, loyalty, pg_temp, so that a rule means the same whoever's
 *   session compiles it; a function of the author's is written with its schema.
 * - Everything from parsing to ExecInitExpr happens as the author: literals run input functions, planning
 *   folds immutable functions.  trust_check comes before planning for the same reason.
 * - Errors of the expression become LY007.  They are changed where they are caught, never in an error context
 *   callback, unless the expression is built in: a function of the author's may handle its own errors, and
 *   must see their true codes.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "errcodes.h"
#include "expression.h"
#include "trust.h"

/* What callers see, and what error messages need besides. */
typedef struct NamedExpression
{
	Expression	public;
	char	   *what;
} NamedExpression;

/* One expression on its way from text to Expression. */
typedef struct Compilation
{
	const char *string;
	ExpressionRole role;
	Relation	relation;
	const char *what;
	Expression *expression;
} Compilation;

typedef enum VirtualRow
{
	ROW_EARN,
	ROW_ACCOUNT,
	ROW_MEMBER,
	VIRTUAL_ROWS
} VirtualRow;

static const char *const virtual_names[VIRTUAL_ROWS] = {"earn", "account", "member"};

static int	trimmed(const char *string, int start, int end);
static void refuse_other_author(Oid author);
static void compile(Compilation *c);
static Node *parse(const char *string, ParseState *pstate);
static Node *analyze(Compilation *c, ParseState *pstate, Node *raw);
static ParseState *make_state(Compilation *c);
static bool find_subquery(Node *node, void *context);
static Node *resolve_virtual(ParseState *pstate, ColumnRef *ref);
static void refuse_base(ParseState *pstate, int location);
static int	virtual_attribute(VirtualRow row, const char *name);
static bool in_virtual_row(VirtualRow row, int attribute);
static char *virtual_columns(VirtualRow row);
static TupleDesc virtual_desc(VirtualRow row);
static Node *coerce_result(Compilation *c, ParseState *pstate, Node *node);
static Oid	result_type(ExpressionRole role, Oid given);
static const char *type_hint(ExpressionRole role);
static void refuse_virtual_generated(Compilation *c, ParseState *pstate, Node *node);
static void note_use(Expression *expression);
static bool note_column(Node *node, void *context);
static int	plain_column(Expr *expr);
static Datum eval_as_author(Expression *expression, ExprContext *context, bool *isnull);
static void compile_context(void *argument);
static void split_context(void *argument);
static void eval_context(void *argument);
static void eval_context_built_in(void *argument);
static void set_error_code(void);

Expression *
expression_compile(const char *string, ExpressionRole role, Relation relation, Oid author, const char *what)
{
	NamedExpression *result = palloc0(sizeof(NamedExpression));
	Compilation c = {string, role, relation, what, &result->public};
	ErrorContextCallback callback = {error_context_stack, compile_context, &c};
	Oid			user;
	int			security;
	int			settings;

	error_context_stack = &callback;
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(author)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("the expression was written by a role that is gone"),
				 errhint("Write it again: it then runs as the role that does.")));
	result->what = pstrdup(what);
	result->public.author = author;

	GetUserIdAndSecContext(&user, &security);
	settings = NewGUCNestLevel();
	PG_TRY();
	{
		SetUserIdAndSecContext(author, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		(void) set_config_option("search_path", EXPRESSION_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
		compile(&c);
	}
	PG_CATCH();
	{
		set_error_code();
		PG_RE_THROW();
	}
	PG_END_TRY();
	AtEOXact_GUC(false, settings);
	SetUserIdAndSecContext(user, security);
	error_context_stack = callback.previous;
	return &result->public;
}

Datum
expression_eval(Expression *expression, ExprContext *context, bool *isnull)
{
	ErrorContextCallback callback = {error_context_stack, eval_context, expression};
	Datum		result;

	error_context_stack = &callback;
	if (expression->built_in)
	{
		callback.callback = eval_context_built_in;
		result = ExecEvalExprSwitchContext(expression->state, context, isnull);
	}
	else
		result = eval_as_author(expression, context, isnull);
	error_context_stack = callback.previous;
	return result;
}

TupleDesc
expression_earn_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);
		TupleDesc	d = CreateTemplateTupleDesc(EARN_COLUMNS);

		TupleDescInitEntry(d, EARN_AMOUNT + 1, "amount", NUMERICOID, -1, 0);
		TupleDescInitEntry(d, EARN_OCCURRED_AT + 1, "occurred_at", TIMESTAMPTZOID, -1, 0);
		TupleDescInitEntry(d, EARN_LOCAL_TIME + 1, "local_time", TIMESTAMPOID, -1, 0);
		TupleDescInitEntry(d, EARN_BASE + 1, "base", NUMERICOID, -1, 0);
		MemoryContextSwitchTo(old);
		desc = d;
	}
	return desc;
}

TupleDesc
expression_account_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);
		TupleDesc	d = CreateTemplateTupleDesc(ACCOUNT_COLUMNS);

		TupleDescInitEntry(d, ACCOUNT_MEMBER_ID + 1, "member_id", INT8OID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_TIER + 1, "tier", TEXTOID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_TIER_RANK + 1, "tier_rank", INT4OID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_BALANCE + 1, "balance", NUMERICOID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_SPEND + 1, "spend", NUMERICOID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_VISITS + 1, "visits", INT4OID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_EARNED + 1, "earned", NUMERICOID, -1, 0);
		TupleDescInitEntry(d, ACCOUNT_ENROLLED_AT + 1, "enrolled_at", TIMESTAMPTZOID, -1, 0);
		TupleDescInitEntry(d, MEMBER_ATTRIBUTES + 1, "attributes", JSONBOID, -1, 0);
		TupleDescInitEntry(d, MEMBER_BIRTH_DATE + 1, "birth_date", DATEOID, -1, 0);
		MemoryContextSwitchTo(old);
		desc = d;
	}
	return desc;
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
		"member", "amount", "occurred_at", "key", "source condition", "bonus condition", "base points", "bonus points",
		"base condition"
	};
	char	   *role = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Oid			author = PG_GETARG_OID(3);
	Relation	relation;
	Expression *expression;
	bool		base_condition;
	int			i = 0;

	while (i < lengthof(names) && strcmp(names[i], role) != 0)
		i++;
	if (i == lengthof(names))
		elog(ERROR, "unknown role of an expression: %s", role);
	refuse_other_author(author);
	base_condition = i > EXPRESSION_BONUS_POINTS;
	relation = relation_open(PG_GETARG_OID(2), AccessShareLock);
	expression = expression_compile(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									base_condition ? EXPRESSION_RULE_CONDITION : (ExpressionRole) i,
									relation, author, text_to_cstring(PG_GETARG_TEXT_PP(4)));
	if (base_condition && expression->uses_base)
		refuse_base(NULL, -1);
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

/* loyalty.split_expressions(text): cut where PostgreSQL's parser sees the next expression begin */
PG_FUNCTION_INFO_V1(loyalty_split_expressions);
Datum
loyalty_split_expressions(PG_FUNCTION_ARGS)
{
	char	   *string = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Compilation c = {string, EXPRESSION_KEY, NULL, "list of expressions", NULL};
	ErrorContextCallback callback = {error_context_stack, split_context, &c};
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

/* What parsing leaves behind goes with a context of its own; the planned expression stays. */
static void
compile(Compilation *c)
{
	MemoryContext target = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(target, "loyalty expression parsing", ALLOCSET_SMALL_SIZES);
	Expression *expression = c->expression;
	ParseState *pstate;
	Node	   *node;

	MemoryContextSwitchTo(scratch);
	pstate = make_state(c);
	node = analyze(c, pstate, parse(c->string, pstate));
	trust_check(pstate, node, expression->author);
	refuse_virtual_generated(c, pstate, node);
	node = (Node *) expression_planner((Expr *) node);

	MemoryContextSwitchTo(target);
	expression->expr = copyObject((Expr *) node);
	MemoryContextDelete(scratch);
	expression->type = exprType((Node *) expression->expr);
	expression->state = ExecInitExpr(expression->expr, NULL);
	note_use(expression);
}

/* The source row is range table entry 1, so that its columns are read from the scan slot. */
static ParseState *
make_state(Compilation *c)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;

	pstate->p_sourcetext = c->string;
	pstate->p_pre_columnref_hook = resolve_virtual;
	pstate->p_ref_hook_state = c;
	item = addRangeTableEntryForRelation(pstate, c->relation, AccessShareLock, makeAlias("source", NIL),
										 false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	return pstate;
}

static bool
find_subquery(Node *node, void *context)
{
	ParseState *pstate = context;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("subqueries cannot be used"),
				 errhint("An expression sees the row, earn.*, account.* and member.* only. Keep what it needs in a column."),
				 parser_errposition(pstate, ((SubLink *) node)->location)));
	return raw_expression_tree_walker(node, find_subquery, context);
}

/* Text to raw tree: one expression and nothing around it. */
static Node *
parse(const char *string, ParseState *pstate)
{
	List	   *list = raw_parser(string, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, list)->stmt);
	ResTarget  *target;

	if (select->targetList == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION), errmsg("expression is empty")));
	target = linitial_node(ResTarget, select->targetList);
	if (list_length(select->targetList) != 1 || target->name != NULL || target->indirection != NIL ||
		select->distinctClause || select->intoClause || select->fromClause || select->whereClause ||
		select->groupClause || select->havingClause || select->windowClause || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause || select->withClause ||
		select->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("one expression is expected"),
				 errdetail("There is more than one, or a clause of a query around it."),
				 parser_errposition(pstate, list_length(select->targetList) > 1
									? lsecond_node(ResTarget, select->targetList)->location : target->location)));
	if (IsA(target->val, ColumnRef) && IsA(llast(((ColumnRef *) target->val)->fields), A_Star))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("one value is expected, not all columns"),
				 parser_errposition(pstate, target->location)));
	(void) find_subquery(target->val, pstate);
	return target->val;
}

/* Raw tree to an expression of the wanted type. */
static Node *
analyze(Compilation *c, ParseState *pstate, Node *raw)
{
	Node	   *node = transformExpr(pstate, raw, EXPR_KIND_OTHER);

	if (expression_returns_set(node))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("set-returning functions cannot be used"),
				 parser_errposition(pstate, exprLocation(pstate->p_last_srf ? pstate->p_last_srf : node))));
	node = coerce_result(c, pstate, node);
	assign_expr_collations(pstate, node);
	return node;
}

/* Parser hook: earn.x, account.x and member.x are columns of the two virtual slots. */
static Node *
resolve_virtual(ParseState *pstate, ColumnRef *ref)
{
	Compilation *c = pstate->p_ref_hook_state;
	const char *qualifier = strVal(linitial(ref->fields));
	const char *name;
	VirtualRow	row = 0;
	int			attribute;
	Form_pg_attribute column;

	while (row < VIRTUAL_ROWS && strcmp(qualifier, virtual_names[row]) != 0)
		row++;
	if (row == VIRTUAL_ROWS || list_length(ref->fields) != 2)
		return NULL;
	name = IsA(lsecond(ref->fields), A_Star) ? "*" : strVal(lsecond(ref->fields));
	if (c->role < EXPRESSION_RULE_CONDITION)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("%s.%s cannot be used here", qualifier, name),
				 errdetail("This expression sees the columns of the row alone: its member is not known yet."),
				 parser_errposition(pstate, ref->location)));
	attribute = virtual_attribute(row, name);
	if (attribute == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("column %s.%s does not exist", qualifier, name),
				 errhint("There are %s.", virtual_columns(row)),
				 parser_errposition(pstate, ref->location)));
	if (row == ROW_EARN && attribute == EARN_BASE + 1 && c->role == EXPRESSION_BASE_POINTS)
		refuse_base(pstate, ref->location);
	column = TupleDescAttr(virtual_desc(row), attribute - 1);
	{
		Var		   *var = makeVar(row == ROW_EARN ? INNER_VAR : OUTER_VAR, attribute, column->atttypid,
								  column->atttypmod, column->attcollation, 0);

		var->location = ref->location;
		return (Node *) var;
	}
}

static void
refuse_base(ParseState *pstate, int location)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_EXPRESSION),
			 errmsg("a base rule cannot use earn.base"),
			 errdetail("earn.base is the sum of the base rules, and known to bonus rules only."),
			 errhint("Make it a bonus rule."),
			 pstate ? parser_errposition(pstate, location) : 0));
}

static TupleDesc
virtual_desc(VirtualRow row)
{
	return row == ROW_EARN ? expression_earn_desc() : expression_account_desc();
}

/* account.* and member.* share a slot, and member_id */
static bool
in_virtual_row(VirtualRow row, int attribute)
{
	if (row == ROW_EARN)
		return true;
	if (attribute == ACCOUNT_MEMBER_ID + 1)
		return true;
	return (row == ROW_MEMBER) == (attribute > MEMBER_ATTRIBUTES);
}

static int
virtual_attribute(VirtualRow row, const char *name)
{
	TupleDesc	desc = virtual_desc(row);

	for (int i = 1; i <= desc->natts; i++)
	{
		if (in_virtual_row(row, i) && strcmp(NameStr(TupleDescAttr(desc, i - 1)->attname), name) == 0)
			return i;
	}
	return 0;
}

static char *
virtual_columns(VirtualRow row)
{
	TupleDesc	desc = virtual_desc(row);
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 1; i <= desc->natts; i++)
	{
		if (in_virtual_row(row, i))
			appendStringInfo(&list, "%s%s.%s", list.len > 0 ? ", " : "", virtual_names[row],
							 NameStr(TupleDescAttr(desc, i - 1)->attname));
	}
	return list.data;
}

/* Assignment casts only, and none that would lose what makes points exact. */
static Node *
coerce_result(Compilation *c, ParseState *pstate, Node *node)
{
	Oid			given = exprType(node);
	Oid			wanted = result_type(c->role, getBaseType(given));
	Node	   *result = NULL;

	if (OidIsValid(wanted))
		result = coerce_to_target_type(pstate, node, given, wanted, -1, COERCION_ASSIGNMENT,
									   COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("expression is of type %s", format_type_be(given)),
				 errhint("%s", type_hint(c->role)),
				 parser_errposition(pstate, exprLocation(node))));
	return result;
}

/* What a value of type `given` (no domain) becomes in this role; InvalidOid where it is refused. */
static Oid
result_type(ExpressionRole role, Oid given)
{
	bool		is_float = given == FLOAT4OID || given == FLOAT8OID;
	char		category;
	bool		preferred;

	switch (role)
	{
		case EXPRESSION_MEMBER:
			if (given == INT2OID || given == INT4OID || given == INT8OID)
				return INT8OID;
			get_type_category_preferred(given, &category, &preferred);
			return category == TYPCATEGORY_STRING || given == UNKNOWNOID || given == UUIDOID ? TEXTOID : InvalidOid;
		case EXPRESSION_OCCURRED_AT:
			return TIMESTAMPTZOID;
		case EXPRESSION_KEY:
			if (given == UNKNOWNOID)
				return TEXTOID;
			if (is_float || !IsPinnedObject(TypeRelationId, given) || get_typtype(given) != TYPTYPE_BASE ||
				OidIsValid(get_element_type(given)))
				return InvalidOid;
			return given;
		case EXPRESSION_SOURCE_CONDITION:
		case EXPRESSION_RULE_CONDITION:
			return BOOLOID;
		case EXPRESSION_AMOUNT:
		case EXPRESSION_BASE_POINTS:
		case EXPRESSION_BONUS_POINTS:
			return is_float ? InvalidOid : NUMERICOID;
	}
	return InvalidOid;
}

static const char *
type_hint(ExpressionRole role)
{
	switch (role)
	{
		case EXPRESSION_MEMBER:
			return "A member is a bigint, or the text of an external id.";
		case EXPRESSION_OCCURRED_AT:
			return "The time of a purchase is a timestamptz, a timestamp or a date.";
		case EXPRESSION_KEY:
			return "A key is of a built-in type without fractions of binary floating point: cast it to text.";
		case EXPRESSION_SOURCE_CONDITION:
		case EXPRESSION_RULE_CONDITION:
			return "A condition is a boolean.";
		default:
			return "Amounts and points are exact: cast it to numeric.";
	}
}

/* A virtual generated column is nowhere in the row: the executor would read NULL. */
static void
refuse_virtual_generated(Compilation *c, ParseState *pstate, Node *node)
{
	TupleDesc	desc = RelationGetDescr(c->relation);
	Bitmapset  *used = NULL;

	pull_varattnos(node, 1, &used);
	for (int i = 1; i <= desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i - 1);

		if (column->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL && !column->attisdropped &&
			(bms_is_member(i - FirstLowInvalidHeapAttributeNumber, used) ||
			 bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used)))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_EXPRESSION),
					 errmsg("virtual generated column \"%s\" cannot be used", NameStr(column->attname)),
					 errhint("Make it STORED, or write its expression out.")));
	}
}

static void
note_use(Expression *expression)
{
	Bitmapset  *used = NULL;
	int			i = -1;

	(void) note_column((Node *) expression->expr, expression);
	pull_varattnos((Node *) expression->expr, 1, &used);
	while ((i = bms_next_member(used, i)) >= 0)
		expression->columns = bms_add_member(expression->columns, i + FirstLowInvalidHeapAttributeNumber);
	bms_free(used);
	expression->plain_column = plain_column(expression->expr);
	expression->built_in = trust_is_built_in((Node *) expression->expr);
}

static bool
note_column(Node *node, void *context)
{
	Expression *expression = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		int			column = var->varattno - 1;

		if (var->varno == INNER_VAR)
		{
			expression->uses_base |= column == EARN_BASE;
			expression->uses_local_time |= column == EARN_LOCAL_TIME;
		}
		else if (var->varno == OUTER_VAR && column != ACCOUNT_MEMBER_ID)
		{
			expression->uses_member |= column >= MEMBER_ATTRIBUTES;
			expression->uses_account |= column < MEMBER_ATTRIBUTES;
		}
		return false;
	}
	return expression_tree_walker(node, note_column, context);
}

static int
plain_column(Expr *expr)
{
	while (IsA(expr, RelabelType))
		expr = ((RelabelType *) expr)->arg;
	if (IsA(expr, Var) && ((Var *) expr)->varno == 1 && ((Var *) expr)->varattno > 0)
		return ((Var *) expr)->varattno;
	return 0;
}

static Datum
eval_as_author(Expression *expression, ExprContext *context, bool *isnull)
{
	Datum		result;
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(expression->author,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	PG_TRY();
	{
		result = ExecEvalExprSwitchContext(expression->state, context, isnull);
	}
	PG_CATCH();
	{
		set_error_code();
		PG_RE_THROW();
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, security);
	return result;
}

/* A position in the expression is none in the statement that the client sent. */
static void
compile_context(void *argument)
{
	Compilation *c = argument;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(c->string);
	}
	errcontext("%s", c->what);
}

/* only the parser runs inside */
static void
split_context(void *argument)
{
	set_error_code();
	compile_context(argument);
}

static void
eval_context(void *argument)
{
	errcontext("%s", ((NamedExpression *) argument)->what);
}

static void
eval_context_built_in(void *argument)
{
	set_error_code();
	eval_context(argument);
}

/*
 * Call the error at hand an invalid expression when it is one: bad data, syntax, names, rights, functions.
 * Cancellation, exhausted resources, conflicts with other transactions and damage keep their codes.
 */
static void
set_error_code(void)
{
	switch (ERRCODE_TO_CATEGORY(geterrcode()))
	{
		case MAKE_SQLSTATE('0', 'A', '0', '0', '0'):	/* feature not supported */
		case MAKE_SQLSTATE('2', '1', '0', '0', '0'):	/* cardinality violation */
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):	/* data exception */
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):	/* integrity constraint violation */
		case MAKE_SQLSTATE('2', 'F', '0', '0', '0'):	/* SQL routine exception */
		case MAKE_SQLSTATE('3', '8', '0', '0', '0'):	/* external routine exception */
		case MAKE_SQLSTATE('3', '9', '0', '0', '0'):	/* external routine invocation exception */
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):	/* syntax error or access rule violation */
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):	/* PL/pgSQL error */
			errcode(ERRCODE_LY_INVALID_EXPRESSION);
			break;
		default:
			break;
	}
}
