/*
 * lock.c
 *	  The locks of several accounts, for work that is written in SQL.
 *
 * Accounts of a program are locked member descending, whoever locks them: rooms that change the accounts of more than one
 * member lock all of them here before the first change.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "instant.h"
#include "lock.h"
#include "owner.h"
#include "store.h"

static int
compare_descending(const void *a, const void *b)
{
	int64		one = *(const int64 *) a;
	int64		two = *(const int64 *) b;

	return one > two ? -1 : one < two;
}

int
lock_order(int64 *members, int n)
{
	int			distinct = 0;

	qsort(members, n, sizeof(int64), compare_descending);
	for (int i = 0; i < n; i++)
		if (i == 0 || members[i] != members[i - 1])
			members[distinct++] = members[i];
	return distinct;
}

int
lock_members(ArrayType *array, int64 **members)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			known = 0;

	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &n);
	*members = palloc(mul_size(Max(n, 1), sizeof(int64)));
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			(*members)[known++] = DatumGetInt64(values[i]);
	return known;
}

/* lock_accounts(program_id, members): how many of them have an account */
PG_FUNCTION_INFO_V1(loyalty_lock_accounts);
Datum
loyalty_lock_accounts(PG_FUNCTION_ARGS)
{
	const Program *program;
	OwnerSwitch former;
	Store	   *store;
	int64	   *members;
	Account   **accounts;
	int			n = lock_members(PG_GETARG_ARRAYTYPE_P(1), &members);
	int			found = 0;

	PreventCommandIfReadOnly("loyalty.lock_accounts()");
	owner_become(&former);
	program = config_program_by_id(PG_GETARG_INT32(0));
	n = lock_order(members, n);
	accounts = palloc(mul_size(Max(n, 1), sizeof(Account *)));
	store = store_open(instant_for_writing(program));
	store_lock_accounts(store, program, n, members, NULL, CurrentMemoryContext, accounts);
	for (int i = 0; i < n; i++)
		found += accounts[i] != NULL;
	store_close(store);
	owner_restore(&former);
	PG_RETURN_INT32(found);
}

/* writing_instant(program_id) */
PG_FUNCTION_INFO_V1(loyalty_writing_instant);
Datum
loyalty_writing_instant(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(instant_for_writing(config_program_by_id(PG_GETARG_INT32(0))));
}
