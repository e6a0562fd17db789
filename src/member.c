/*
 * member.c
 *	  Members by their other names.
 *
 * Looking up is done by the index itself, without rights: it runs for every row of a source whose members are texts.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "errcodes.h"
#include "member.h"
#include "owner.h"

#define EXTERNAL_ID_LIMIT	500	/* bytes */

enum
{
	ALIAS_MEMBER_ID = 1, ALIAS_EXTERNAL_ID = 2
};

static Oid
relation_oid(const char *name)
{
	Oid			schema = get_namespace_oid("loyalty", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_LY_VERSION_MISMATCH),
				 errmsg("loyalty.%s does not exist", name),
				 errhint("Call SELECT loyalty.install() as the owner of the ledger.")));
	return relid;
}

void
member_check_name(const char *external_id)
{
	if (*external_id == '\0' || strlen(external_id) > EXTERNAL_ID_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("external_id has %zu bytes", strlen(external_id)),
				 errdetail("It has 1 to %d bytes.", EXTERNAL_ID_LIMIT)));
}

bool
member_find(text *external_id, int64 *member)
{
	Relation	aliases = table_open(relation_oid("member_alias"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		isnull;

	/* the unique index over external_id alone: its "C" order is that of ScanKeyInit() */
	ScanKeyInit(&key, ALIAS_EXTERNAL_ID, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(external_id));
	scan = systable_beginscan(aliases, relation_oid("member_alias_external_id_key"), true, snapshot, 1, &key);
	row = systable_getnext(scan);
	if (row)
		*member = DatumGetInt64(heap_getattr(row, ALIAS_MEMBER_ID, RelationGetDescr(aliases), &isnull));
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(aliases, NoLock);
	return row != NULL;
}

bool
member_add_name(int64 member, text *external_id)
{
	Oid			types[] = {INT8OID, TEXTOID};
	Datum		values[] = {Int64GetDatum(member), PointerGetDatum(external_id)};
	OwnerSwitch caller;
	bool		added;

	owner_become(&caller);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("INSERT INTO loyalty.member_alias (member_id, external_id) VALUES ($1, $2)"
							  " ON CONFLICT (external_id) DO NOTHING", 2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not name a member");
	added = SPI_processed > 0;
	SPI_finish();
	owner_restore(&caller);
	return added;
}

int64
member_create(text *external_id)
{
	int64		member = nextval_internal(relation_oid("member_number"), false);

	member_check_name(text_to_cstring(external_id));
	if (!member_add_name(member, external_id) && !member_find(external_id, &member))
		elog(ERROR, "an external id came and went");
	return member;
}
