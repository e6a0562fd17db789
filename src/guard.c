/*
 * guard.c
 *	  Refuses commands that would take a ledger that holds points.
 *
 * Rules for whoever maintains this:
 * - The event trigger fires at ddl_command_start, because one at sql_drop that belongs to the extension does
 *   not see the extension go.  So only the command as it was written is known: names are resolved here, and
 *   what CASCADE would reach is not.
 * - It must never stand in the way of anything else: what does not resolve is the command's own error.
 * - DROP DATABASE fires no event trigger.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "configure.h"
#include "errcodes.h"
#include "guc.h"

static bool takes_ledger(Node *command, Oid schema);
static bool drop_takes_ledger(DropStmt *drop, Oid schema);
static bool object_in_schema(ObjectType type, Node *object, Oid schema);
static Oid	type_namespace(Oid type);
static bool drop_owned_takes_ledger(DropOwnedStmt *drop, Oid schema);
static bool drops_column_or_key(AlterTableStmt *alter, Oid schema);
static void refuse(const char *command);

/* event trigger loyalty_guard */
PG_FUNCTION_INFO_V1(loyalty_guard);
Datum
loyalty_guard(PG_FUNCTION_ARGS)
{
	EventTriggerData *data;
	Oid			schema = get_namespace_oid("loyalty", true);

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("loyalty.guard was not called by an event trigger")));
	data = (EventTriggerData *) fcinfo->context;

	/* scripts of extensions, ours among them, replace their own functions */
	if (!creating_extension && OidIsValid(schema) && takes_ledger(data->parsetree, schema) &&
		!guc_allow_drop() && configure_holds_points())
		refuse(GetCommandTagName(data->tag));
	PG_RETURN_NULL();
}

/* trigger BEFORE TRUNCATE on the tables of the ledger */
PG_FUNCTION_INFO_V1(loyalty_ledger_truncate);
Datum
loyalty_ledger_truncate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("loyalty.ledger_truncate was not called by a trigger")));
	if (!guc_allow_drop() && !guc_restoring() && configure_holds_points())
		refuse("TRUNCATE");
	return PointerGetDatum(NULL);
}

static bool
takes_ledger(Node *command, Oid schema)
{
	switch (nodeTag(command))
	{
		case T_DropStmt:
			return drop_takes_ledger((DropStmt *) command, schema);
		case T_DropOwnedStmt:
			return drop_owned_takes_ledger((DropOwnedStmt *) command, schema);
		case T_AlterTableStmt:
			return drops_column_or_key((AlterTableStmt *) command, schema);
		default:
			return false;
	}
}

static bool
drop_takes_ledger(DropStmt *drop, Oid schema)
{
	ListCell   *cell;

	foreach(cell, drop->objects)
	{
		if (object_in_schema(drop->removeType, lfirst(cell), schema))
			return true;
		/* our functions are written in it: they, and the columns of our types, would go with it */
		if (drop->removeType == OBJECT_EXTENSION && drop->behavior == DROP_CASCADE &&
			strcmp(strVal(lfirst(cell)), "plpgsql") == 0)
			return true;
	}
	return false;
}

static bool
object_in_schema(ObjectType type, Node *object, Oid schema)
{
	Oid			id;

	switch (type)
	{
		case OBJECT_EXTENSION:
			return strcmp(strVal(object), "loyalty") == 0;
		case OBJECT_SCHEMA:
			return get_namespace_oid(strVal(object), true) == schema;
		case OBJECT_TABLE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
			id = RangeVarGetRelid(makeRangeVarFromNameList(castNode(List, object)), NoLock, true);
			return OidIsValid(id) && get_rel_namespace(id) == schema;
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			id = LookupTypeNameOid(NULL, castNode(TypeName, object), true);
			return OidIsValid(id) && type_namespace(id) == schema;
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
		case OBJECT_AGGREGATE:
			id = LookupFuncWithArgs(type, castNode(ObjectWithArgs, object), true);
			return OidIsValid(id) && get_func_namespace(id) == schema;
		default:
			return false;
	}
}

static Oid
type_namespace(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			schema;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	schema = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
	ReleaseSysCache(tuple);
	return schema;
}

/* Does one of these roles own the schema, or the tables in it? */
static bool
drop_owned_takes_ledger(DropOwnedStmt *drop, Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			schema_owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	Oid			ledger_owner = guc_ledger_owner();
	ListCell   *cell;

	ReleaseSysCache(tuple);
	foreach(cell, drop->roles)
	{
		Oid			role = get_rolespec_oid(lfirst(cell), true);

		if (OidIsValid(role) && (role == schema_owner || role == ledger_owner))
			return true;
	}
	return false;
}

static bool
drops_column_or_key(AlterTableStmt *alter, Oid schema)
{
	Oid			id = RangeVarGetRelid(alter->relation, NoLock, true);
	ListCell   *cell;

	if (!OidIsValid(id) || get_rel_namespace(id) != schema)
		return false;
	foreach(cell, alter->cmds)
	{
		AlterTableType type = lfirst_node(AlterTableCmd, cell)->subtype;

		/* without its keys a table lets rows in twice: a restore with --clean that goes on after a refusal does */
		if (type == AT_DropColumn || type == AT_DropConstraint)
			return true;
	}
	return false;
}

static void
refuse(const char *command)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_REFUSED_BY_GUARD),
			 errmsg("%s refused: the ledger of loyalty holds points", command),
			 errhint("To lose them on purpose, SET loyalty.allow_drop = on as the owner of the tables.")));
}
