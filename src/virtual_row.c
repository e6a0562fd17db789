/*
 * virtual_row.c
 *	  earn.*, account.* and member.* in expressions.
 *
 * Rules for whoever maintains this:
 * - They are no tables: a reference becomes a Var of the inner slot (earn) or the outer one (account and member),
 *   and the two descriptors below say what is there, in the order of the enums of expression.h.
 * - The slots' values are what the descriptors say: the executor checks types when an expression is first run.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "virtual_row.h"

typedef enum VirtualRow
{
	ROW_EARN,
	ROW_ACCOUNT,
	ROW_MEMBER,
	VIRTUAL_ROWS
} VirtualRow;

static const char *const virtual_names[VIRTUAL_ROWS] = {"earn", "account", "member"};

static int	virtual_attribute(VirtualRow row, const char *name);
static bool in_virtual_row(VirtualRow row, int attribute);
static char *virtual_columns(VirtualRow row);
static TupleDesc virtual_desc(VirtualRow row);

Node *
virtual_row_column(ParseState *pstate, ColumnRef *ref)
{
	ExpressionRole role = *(ExpressionRole *) pstate->p_ref_hook_state;
	const char *qualifier = strVal(linitial(ref->fields));
	const char *name;
	VirtualRow	row = 0;
	int			attribute;
	Form_pg_attribute column;
	Var		   *var;

	while (row < VIRTUAL_ROWS && strcmp(qualifier, virtual_names[row]) != 0)
		row++;
	if (row == VIRTUAL_ROWS || list_length(ref->fields) != 2)
		return NULL;
	name = IsA(lsecond(ref->fields), A_Star) ? "*" : strVal(lsecond(ref->fields));
	if (role < EXPRESSION_RULE_CONDITION)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("%s.%s cannot be used here", qualifier, name),
				 errdetail("This expression sees the columns of the row alone: its member is not known yet."),
				 parser_errposition(pstate, ref->location)));
	if (row == ROW_EARN && role == EXPRESSION_SEGMENT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("%s.%s cannot be used here", qualifier, name),
				 errdetail("A segment is asked of a member, with or without a purchase."),
				 parser_errposition(pstate, ref->location)));
	attribute = virtual_attribute(row, name);
	if (attribute == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_EXPRESSION),
				 errmsg("column %s.%s does not exist", qualifier, name),
				 errhint("There are %s.", virtual_columns(row)),
				 parser_errposition(pstate, ref->location)));
	if (row == ROW_EARN && attribute == EARN_BASE + 1 && role == EXPRESSION_BASE_POINTS)
		virtual_row_refuse_base(pstate, ref->location);
	column = TupleDescAttr(virtual_desc(row), attribute - 1);
	var = makeVar(row == ROW_EARN ? INNER_VAR : OUTER_VAR, attribute, column->atttypid, column->atttypmod,
				  column->attcollation, 0);
	var->location = ref->location;
	return (Node *) var;
}

void
virtual_row_refuse_base(ParseState *pstate, int location)
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

typedef struct VirtualColumn
{
	const char *name;
	Oid			type;
} VirtualColumn;

/* Made once a backend, and kept. */
static TupleDesc
make_desc(const VirtualColumn *columns, int n)
{
	MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);
	TupleDesc	desc = CreateTemplateTupleDesc(n);

	for (int i = 0; i < n; i++)
		TupleDescInitEntry(desc, i + 1, columns[i].name, columns[i].type, -1, 0);
	MemoryContextSwitchTo(old);
	return desc;
}

TupleDesc
expression_earn_desc(void)
{
	static const VirtualColumn columns[EARN_COLUMNS] = {
		[EARN_AMOUNT] = {"amount", NUMERICOID},
		[EARN_OCCURRED_AT] = {"occurred_at", TIMESTAMPTZOID},
		[EARN_LOCAL_TIME] = {"local_time", TIMESTAMPOID},
		[EARN_BASE] = {"base", NUMERICOID},
	};
	static TupleDesc desc = NULL;

	if (desc == NULL)
		desc = make_desc(columns, EARN_COLUMNS);
	return desc;
}

TupleDesc
expression_account_desc(void)
{
	static const VirtualColumn columns[ACCOUNT_COLUMNS] = {
		[ACCOUNT_MEMBER_ID] = {"member_id", INT8OID},
		[ACCOUNT_TIER] = {"tier", TEXTOID},
		[ACCOUNT_TIER_RANK] = {"tier_rank", INT4OID},
		[ACCOUNT_BALANCE] = {"balance", NUMERICOID},
		[ACCOUNT_SPEND] = {"spend", NUMERICOID},
		[ACCOUNT_VISITS] = {"visits", INT4OID},
		[ACCOUNT_EARNED] = {"earned", NUMERICOID},
		[ACCOUNT_ENROLLED_AT] = {"enrolled_at", TIMESTAMPTZOID},
		[ACCOUNT_UNITS] = {"units", JSONBOID},
		[MEMBER_ATTRIBUTES] = {"attributes", JSONBOID},
		[MEMBER_BIRTH_DATE] = {"birth_date", DATEOID},
	};
	static TupleDesc desc = NULL;

	if (desc == NULL)
		desc = make_desc(columns, ACCOUNT_COLUMNS);
	return desc;
}
