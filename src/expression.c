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

#include "access/sysattr.h"
#include "catalog/catalog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
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
#include "virtual_row.h"

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

static void compile(Compilation *c);
static Node *parse(const char *string, ParseState *pstate);
static Node *analyze(Compilation *c, ParseState *pstate, Node *raw);
static ParseState *make_state(Compilation *c);
static bool find_subquery(Node *node, void *context);
static Node *coerce_result(Compilation *c, ParseState *pstate, Node *node);
static Oid	result_type(ExpressionRole role, Oid given);
static const char *type_hint(ExpressionRole role);
static void refuse_virtual_generated(Compilation *c, ParseState *pstate, Node *node);
static void note_use(Expression *expression);
static bool note_column(Node *node, void *context);
static int	plain_column(Expr *expr);
static Datum eval_as_author(Expression *expression, ExprContext *context, bool *isnull);
static void compile_context(void *argument);
static void eval_context(void *argument);
static void eval_context_built_in(void *argument);
static void set_error_code(void);

static int	running;			/* functions of authors that are being evaluated */

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
		AtEOXact_GUC(false, settings);
		SetUserIdAndSecContext(user, security);
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
	pstate->p_pre_columnref_hook = virtual_row_column;
	pstate->p_ref_hook_state = &c->role;
	if (c->relation)
	{
		item = addRangeTableEntryForRelation(pstate, c->relation, AccessShareLock, makeAlias("source", NIL),
											 false, false);
		addNSItemToQuery(pstate, item, false, true, true);
	}
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

/* What note_names() looks for and finds. */
typedef struct NamedColumns
{
	Oid			relid;
	Bitmapset  *columns;
} NamedColumns;

static bool
note_names(Node *node, void *context)
{
	NamedColumns *named = context;
	bool		found = false;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, note_names, context);
	foreach(cell, ((ColumnRef *) node)->fields)
	{
		AttrNumber	column = IsA(lfirst(cell), String) ? get_attnum(named->relid, strVal(lfirst(cell))) : InvalidAttrNumber;

		if (column > 0)
			named->columns = bms_add_member(named->columns, column);
		found |= column > 0;
	}
	if (!found)
		named->columns = bms_add_member(named->columns, 0);
	return false;
}

/* A whole row, a system column and a column that is gone have no name here: any column may matter. */
Bitmapset *
expression_columns_named(const char *text, Oid relid)
{
	NamedColumns named = {relid, NULL};

	(void) note_names(parse(text, make_parsestate(NULL)), &named);
	return named.columns;
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

/* regclass and its like: their text depends on the search_path */
static bool
is_name_of_object(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_NUMERIC && get_typlen(type) == sizeof(Oid) && type != INT4OID && type != FLOAT4OID;
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
			if (is_float || given == MONEYOID || is_name_of_object(given) || !IsPinnedObject(TypeRelationId, given) ||
				get_typtype(given) != TYPTYPE_BASE || OidIsValid(get_element_type(given)))
				return InvalidOid;
			return given;
		case EXPRESSION_RELEASE:
			if (given == TIMESTAMPTZOID || given == TIMESTAMPOID || given == DATEOID)
				return TIMESTAMPTZOID;
			return given == BOOLOID || given == UNKNOWNOID ? BOOLOID : InvalidOid;
		case EXPRESSION_SOURCE_CONDITION:
		case EXPRESSION_RULE_CONDITION:
		case EXPRESSION_SEGMENT:
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
		case EXPRESSION_RELEASE:
			return "What releases points is a boolean, or the time at which it came.";
		case EXPRESSION_SOURCE_CONDITION:
		case EXPRESSION_RULE_CONDITION:
		case EXPRESSION_SEGMENT:
			return "A condition is a boolean.";
		default:
			return "Amounts and points are exact: cast it to numeric.";
	}
}

/* A virtual generated column is nowhere in the row: the executor would read NULL. */
static void
refuse_virtual_generated(Compilation *c, ParseState *pstate, Node *node)
{
	TupleDesc	desc = c->relation ? RelationGetDescr(c->relation) : NULL;
	Bitmapset  *used = NULL;

	pull_varattnos(node, 1, &used);
	for (int i = 1; desc && i <= desc->natts; i++)
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
	expression->authored = !trust_is_ours((Node *) expression->expr);
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
		else if (var->varno == OUTER_VAR)
			expression->account_columns |= column < 0 ? PG_UINT32_MAX : ACCOUNT_COLUMN(column);
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
	int			settings = NewGUCNestLevel();	/* what the author's function sets must not reach the session */
	int			depth = running;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(expression->author,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	running++;
	PG_TRY();
	{
		result = ExecEvalExprSwitchContext(expression->state, context, isnull);
	}
	PG_CATCH();
	{
		running = depth;
		set_error_code();
		AtEOXact_GUC(false, settings);
		SetUserIdAndSecContext(user, security);
		PG_RE_THROW();
	}
	PG_END_TRY();
	running = depth;
	AtEOXact_GUC(false, settings);
	SetUserIdAndSecContext(user, security);
	return result;
}

bool
expression_running(void)
{
	return running > 0;
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
