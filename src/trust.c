/*
 * trust.c
 *	  Which code an expression may run in its author's name.
 *
 * Rules for whoever maintains this:
 * - An expression runs as its author, inside other people's statements.  So it may run only code that the
 *   author wrote, or that a superuser vouches for: the owner of a function is the author or a superuser, or
 *   PostgreSQL pins it.  Members of an extension need no rule of their own: those of a trusted extension
 *   belong to a superuser, and whoever owns an extension can add a function of his to it.
 * - Types carry code too.  A domain's checks run when a value is coerced to it; functions over "any" look up
 *   casts of their argument's type, and those over composite types build values of their columns' domains.  So
 *   a type must be trusted like a function, but for enums and for domain columns that are only read, and these
 *   too below whatever looks into types (strict).
 * - Operator classes and input and output functions of base types are a superuser's: they need no check.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "compat.h"
#include "errcodes.h"
#include "trust.h"

typedef struct Check
{
	ParseState *pstate;
	Oid			author;
	int			location;		/* of the node at hand */
	bool		strict;			/* below something that looks into types */
} Check;

static bool check_node(Node *node, void *context);
static bool check_function(Oid function, void *context);
static void check_type(Check *check, Node *node);
static void check_column(Check *check, Var *var);
static void refuse_aggregate(Check *check, Node *node);
static bool looks_into_types(Node *node);
static bool has_value(Node *node);
static bool is_trusted(Check *check, Oid class, Oid object, Oid owner);
static bool type_is_trusted(Check *check, Oid type);
static bool type_is_harmless(Oid type, bool only_read);
static bool not_built_in(Node *node, void *context);
static bool function_not_built_in(Oid function, void *context);

void
trust_check(ParseState *pstate, Node *expr, Oid author)
{
	Check		check = {pstate, author, -1, false};

	(void) check_node(expr, &check);
	Assert(!contain_volatile_functions(expr));
}

bool
trust_is_built_in(Node *expr)
{
	return !contain_mutable_functions(expr) && !not_built_in(expr, NULL);
}

bool
trust_is_ours(Node *expr)
{
	return !not_built_in(expr, NULL);
}

static bool
check_node(Node *node, void *context)
{
	Check	   *check = context;
	bool		strict = check->strict;

	if (node == NULL)
		return false;
	check->location = exprLocation(node);
	refuse_aggregate(check, node);
	if (IsA(node, Var))
		check_column(check, (Var *) node);
	(void) check_functions_in_node(node, check_function, check);
	if (has_value(node))
		check_type(check, node);

	check->strict |= looks_into_types(node);
	(void) expression_tree_walker(node, check_node, context);
	check->strict = strict;
	return false;
}

/* callback of check_functions_in_node: raises, or goes on */
static bool
check_function(Oid function, void *context)
{
	Check	   *check = context;
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->provolatile == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("function %s is volatile", format_procedure(function)),
				 errhint("Only stable and immutable functions give the same points for the same row."),
				 parser_errposition(check->pstate, check->location)));
	if (!is_trusted(check, ProcedureRelationId, function, form->proowner))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("function %s belongs to another role", format_procedure(function)),
				 errdetail("The expression runs as %s, the function is owned by %s.",
						   GetUserNameFromId(check->author, true), GetUserNameFromId(form->proowner, true)),
				 errhint("Use functions of your own, of a superuser or of an extension that a superuser installed."),
				 parser_errposition(check->pstate, check->location)));
	ReleaseSysCache(tuple);
	return false;
}

static void
check_type(Check *check, Node *node)
{
	Oid			type = exprType(node);

	if (type_is_trusted(check, type))
		return;
	if (!check->strict && type_is_harmless(type, IsA(node, Var)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_EXPRESSION),
			 errmsg("type %s belongs to another role", format_type_be(type)),
			 errdetail("Using it here could run its owner's code as %s.", GetUserNameFromId(check->author, true)),
			 errhint("Cast the column to a built-in type, or let the type's owner write the expression."),
			 parser_errposition(check->pstate, check->location)));
}

static void
check_column(Check *check, Var *var)
{
	if (var->varattno >= 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_EXPRESSION),
			 errmsg("system columns cannot be used"),
			 errhint("Use a column of the table."),
			 parser_errposition(check->pstate, check->location)));
}

static void
refuse_aggregate(Check *check, Node *node)
{
	const char *what;

	if (IsA(node, Aggref) || IsA(node, GroupingFunc))
		what = "aggregate functions";
	else if (IsA(node, WindowFunc))
		what = "window functions";
	else
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_EXPRESSION),
			 errmsg("%s cannot be used", what),
			 errhint("An expression sees one row. What the member did before is in account.spend, account.visits and account.earned."),
			 parser_errposition(check->pstate, check->location)));
}

/*
 * Does this look up what belongs to its arguments' types: casts, columns, domains?  A function does when it
 * takes "any" or a polymorphic argument.
 */
static bool
looks_into_types(Node *node)
{
	Oid		   *types;
	int			count;

	if (IsA(node, RowExpr) || IsA(node, ConvertRowtypeExpr) || IS_SQL_JSON(node))
		return true;
	if (!IsA(node, FuncExpr))
		return false;
	(void) get_func_signature(((FuncExpr *) node)->funcid, &types, &count);
	for (int i = 0; i < count; i++)
	{
		if (types[i] != ANYENUMOID && get_typtype(types[i]) == TYPTYPE_PSEUDO)
			return true;
	}
	return false;
}

/* exprType() knows expressions only; these are the parts of one that are not. */
static bool
has_value(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_FuncExpr:
		case T_OpExpr:
		case T_NullIfExpr:
		case T_SubscriptingRef:
		case T_FieldSelect:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CoerceToDomain:
		case T_CaseExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_ArrayExpr:
		case T_RowExpr:
			return true;
		default:
			return IS_SQL_JSON(node);
	}
}

static bool
is_trusted(Check *check, Oid class, Oid object, Oid owner)
{
	return IsPinnedObject(class, object) || owner == check->author || superuser_arg(owner);
}

static bool
type_is_trusted(Check *check, Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		trusted;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	trusted = is_trusted(check, TypeRelationId, type, ((Form_pg_type) GETSTRUCT(tuple))->typowner);
	ReleaseSysCache(tuple);
	return trusted;
}

/* enums and arrays of them; also scalar domains where a column is only read, which checks nothing */
static bool
type_is_harmless(Oid type, bool only_read)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		type = element;
	if (only_read)
		type = getBaseType(type);
	return get_typtype(type) == TYPTYPE_ENUM || IsPinnedObject(TypeRelationId, type);
}

static bool
not_built_in(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, function_not_built_in, NULL))
		return true;
	return expression_tree_walker(node, not_built_in, context);
}

static bool
function_not_built_in(Oid function, void *context)
{
	HeapTuple	tuple;
	bool		in_c;
	Oid			extension;

	if (function < FirstUnpinnedObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	in_c = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId;
	ReleaseSysCache(tuple);
	extension = getExtensionOfObject(ProcedureRelationId, function);
	return !in_c || !OidIsValid(extension) || extension != get_extension_oid("loyalty", true);
}
