/*
 * guc.c
 *	  Settings, alphabetical, each with a why.
 *
 * Rules for whoever maintains this:
 * - Everyone may SET them (but loyalty.store): a setting that loosens a promise counts only while the current role
 *   has the rights of the ledger's owner, and that is asked where it is used, at that time.  Inside of an entry
 *   function's body, which runs as the owner, the role that called it is asked.
 * - Nothing here reads a table: the module is loaded where there is no transaction, too.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "owner.h"

static bool allow_drop = false;
static bool archiving = false;
static char *now_text = NULL;
static bool restoring = false;
static int	store = STORE_CHOICE_AUTO;

static const struct config_enum_entry store_choices[] = {
	{"auto", STORE_CHOICE_AUTO, false},
	{"heap", STORE_CHOICE_HEAP, false},
	{"sql", STORE_CHOICE_SQL, false},
	{NULL, 0, false}
};

/* What now_text says, kept by the assign hook; unread: it is to be read when it is asked for. */
static TimestampTz now_value = 0;
static bool now_is_set = false;
static bool now_is_unread = false;

typedef struct NowExtra
{
	bool		is_set;
	bool		is_unread;
	TimestampTz value;
} NowExtra;

static bool check_now(char **value, void **extra, GucSource source);
static void assign_now(const char *value, void *extra);
static bool read_now(const char *value, TimestampTz *result);
static bool is_relative(const char *word);

void
guc_init(void)
{
	/* A ledger that holds points is dropped on purpose or not at all. */
	DefineCustomBoolVariable("loyalty.allow_drop",
							 "Lets commands drop or truncate a ledger that holds points.",
							 "Counts for superusers and the ledger's owner.",
							 &allow_drop, false, PGC_USERSET, 0, NULL, NULL, NULL);

	/* Moving old purchases to an archive is no return. */
	DefineCustomBoolVariable("loyalty.archiving",
							 "Deleting rows of attached tables keeps their points.",
							 "Counts for superusers and the ledger's owner.",
							 &archiving, false, PGC_USERSET, 0, NULL, NULL, NULL);

	/* "What will the balance be on 1 January", and tests that live through years. */
	DefineCustomStringVariable("loyalty.now",
							   "The instant at which balances and tiers are read.",
							   "A timestamp with time zone; empty: the statement's time. Writing uses it in programs flagged sandbox only.",
							   &now_text, "", PGC_USERSET, 0, check_now, assign_now, NULL);

	/* A restore brings rows that were worked before: triggers would work them again. */
	DefineCustomBoolVariable("loyalty.restoring",
							 "Triggers of loyalty let rows in as they are.",
							 "For data-only restores. Counts for superusers and the ledger's owner.",
							 &restoring, false, PGC_USERSET, 0, NULL, NULL, NULL);

	/* Tests hold the two ways against each other; support rules one of them out. */
	DefineCustomEnumVariable("loyalty.store",
							 "How the ledger's tables are written and read.",
							 "auto: directly where they are plain tables, by SQL where they are more; heap; sql.",
							 &store, STORE_CHOICE_AUTO, store_choices, PGC_SUSET, 0, NULL, NULL, NULL);

	MarkGUCPrefixReserved("loyalty");
}

bool
guc_now(TimestampTz *now)
{
	if (now_is_unread && !read_now(now_text, &now_value))
		elog(ERROR, "setting loyalty.now is \"%s\"", now_text);
	now_is_unread = false;
	if (now_is_set)
		*now = now_value;
	return now_is_set;
}

Oid
guc_ledger_owner(void)
{
	return guc_table_owner("account");
}

Oid
guc_table_owner(const char *table)
{
	Oid			schema = get_namespace_oid("loyalty", true);
	Oid			owner = InvalidOid;
	HeapTuple	tuple;

	if (!OidIsValid(schema))
		return InvalidOid;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(get_relname_relid(table, schema)));
	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

bool
guc_has_owner_rights(void)
{
	Oid			user = OidIsValid(owner_caller()) ? owner_caller() : GetUserId();
	Oid			owner;

	if (superuser_arg(user))
		return true;
	owner = guc_ledger_owner();
	return OidIsValid(owner) && has_privs_of_role(user, owner);
}

bool
guc_allow_drop(void)
{
	return allow_drop && guc_has_owner_rights();
}

bool
guc_archiving(void)
{
	return archiving && guc_has_owner_rights();
}

StoreChoice
guc_store(void)
{
	return store;
}

bool
guc_restoring(void)
{
	return restoring && guc_has_owner_rights();
}

/* loyalty.restoring() and loyalty.allow_drop(), for triggers in PL/pgSQL */
PG_FUNCTION_INFO_V1(loyalty_restoring);
Datum
loyalty_restoring(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(guc_restoring());
}

PG_FUNCTION_INFO_V1(loyalty_allow_drop);
Datum
loyalty_allow_drop(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(guc_allow_drop());
}

/* The instant as ISO text in UTC, which means the same in a session of any habits. */
static bool
canonical_now(char **value, TimestampTz now)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fraction;
	char	   *canonical;

	if (timestamp2tm(now, NULL, &tm, &fraction, NULL, NULL) != 0)
		return false;
	tm.tm_isdst = 0;
	EncodeDateTime(&tm, fraction, true, 0, NULL, USE_ISO_DATES, text);
	canonical = guc_malloc(LOG, strlen(text) + 1);
	if (canonical == NULL)
		return false;
	memcpy(canonical, text, strlen(text) + 1);
	guc_free(*value);
	*value = canonical;
	return true;
}

/*
 * A parallel worker takes over the text that its leader's hook has written.  It cannot be read yet: while settings are
 * restored, the table of zone abbreviations is freed memory (seen: a crash of the server), and the zone another.
 */
static bool
check_now(char **value, void **extra, GucSource source)
{
	NowExtra   *result = guc_malloc(LOG, sizeof(NowExtra));

	if (result == NULL)
		return false;
	result->is_set = **value != '\0';
	result->is_unread = result->is_set && InitializingParallelWorker;
	result->value = 0;
	if (result->is_set && !result->is_unread &&
		(!read_now(*value, &result->value) || !canonical_now(value, result->value)))
	{
		guc_free(result);
		GUC_check_errhint("Write a timestamp such as 2026-01-01 00:00+00.");
		return false;
	}
	*extra = result;
	return true;
}

static void
assign_now(const char *value, void *extra)
{
	NowExtra   *now = extra;

	now_is_set = now != NULL && now->is_set;
	now_is_unread = now_is_set && now->is_unread;
	if (now_is_set)
		now_value = now->value;
}

/*
 * Without ereport: a check hook says false.  Words such as "today" are refused: a function that sets the
 * setting would mean another instant each time.
 */
static bool
read_now(const char *value, TimestampTz *result)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			type[MAXDATEFIELDS];
	int			fields;
	int			kind;
	int			zone = 0;
	struct pg_tm tm;
	fsec_t		fraction;
	DateTimeErrorExtra extra;

	if (ParseDateTime(value, buffer, sizeof(buffer), field, type, MAXDATEFIELDS, &fields) != 0)
		return false;
	for (int i = 0; i < fields; i++)
	{
		if (is_relative(field[i]))
			return false;
	}
	if (DecodeDateTime(field, type, fields, &kind, &tm, &fraction, &zone, &extra) != 0 || kind != DTK_DATE)
		return false;
	return tm2timestamp(&tm, fraction, &zone, result) == 0;
}

static bool
is_relative(const char *word)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday", "epoch"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcmp(word, words[i]) == 0)
			return true;
	}
	return false;
}
