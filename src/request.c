/*
 * request.c
 *	  Keys of calls.
 *
 * Rules:
 * - Rows are never pruned and never changed: the primary key of loyalty.request is the promise.
 * - What was left out is not stored, so that an argument that a later version adds finds old calls unchanged.
 * - Errors are not remembered: their transaction rolls the row back with everything else.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "errcodes.h"
#include "request.h"

#define KEY_LIMIT	500			/* bytes */

void
request_check_key(const char *key)
{
	if (key == NULL)
		return;
	if (*key == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("key is empty"),
				 errhint("Give each call a key of its own, or leave it out.")));
	if (strlen(key) > KEY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_LIMIT_EXCEEDED),
				 errmsg("key is too long"),
				 errdetail("It has %zu bytes, and at most %d are allowed.", strlen(key), KEY_LIMIT)));
}

const char *
request_number(Numeric value)
{
	if (value == NULL)
		return NULL;
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value))));
}

/* What a stored object says under a name, as text; NULL when it was left out. */
static const char *
stored_text(Jsonb *object, const char *name)
{
	JsonbValue	value;

	if (object == NULL || getKeyJsonValueFromContainer(&object->root, name, strlen(name), &value) == NULL)
		return NULL;
	if (value.type == jbvNumeric)
		return request_number(value.val.numeric);
	return pnstrdup(value.val.string.val, value.val.string.len);
}

static void
refuse_call(const Request *request, const char *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_KEY_REUSED),
			 errmsg("key \"%s\" was used by another call", request->key),
			 errdetail("It was used by %s, and now by %s.", request->call, call),
			 errhint("A key names one call for ever: give each call a key of its own.")));
}

static void
refuse_argument(const Request *request, const Argument *argument, const char *former)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_KEY_REUSED),
			 errmsg("key \"%s\" was used with other arguments", request->key),
			 errdetail("%s was %s and is now %s.", argument->name, former ? former : "left out",
					   argument->value ? argument->value : "left out"),
			 errhint("Repeat a call with the same arguments, or give it a key of its own.")));
}

bool
request_find(Account *account, const char *key, const char *call, const Argument *arguments, int n, Request *request)
{
	if (key == NULL || !store_find_request(account, key, request))
		return false;
	if (strcmp(request->call, call) != 0)
		refuse_call(request, call);
	for (int i = 0; i < n; i++)
	{
		const char *former = stored_text(request->arguments, arguments[i].name);
		const char *now = arguments[i].value;

		if (former == NULL ? now != NULL : (now == NULL || strcmp(former, now) != 0))
			refuse_argument(request, &arguments[i], former);
	}
	return true;
}

static void
push_argument(JsonbParseState **state, const Argument *argument)
{
	JsonbValue	name = {.type = jbvString};
	JsonbValue	value = {.type = jbvString};

	name.val.string.val = unconstify(char *, argument->name);
	name.val.string.len = strlen(argument->name);
	pushJsonbValue(state, WJB_KEY, &name);
	if (argument->number)
	{
		value.type = jbvNumeric;
		value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(argument->value),
																ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else
	{
		value.val.string.val = unconstify(char *, argument->value);
		value.val.string.len = strlen(argument->value);
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

static Jsonb *
stored_object(const Argument *arguments, int n)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
		if (arguments[i].value)
			push_argument(&state, &arguments[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
request_keep(Account *account, const char *key, const char *call, const Argument *arguments, int n,
			 int64 redemption_id, int64 entry_no, TimestampTz at)
{
	request_keep_answer(account, key, call, arguments, n, redemption_id, entry_no, at, NULL, 0);
}

void
request_keep_answer(Account *account, const char *key, const char *call, const Argument *arguments, int n,
					int64 redemption_id, int64 entry_no, TimestampTz at, const Argument *answer, int nanswer)
{
	Request		request = {.key = key, .call = call, .redemption_id = redemption_id, .entry_no = entry_no, .at = at};

	if (key == NULL)
		return;
	request.arguments = stored_object(arguments, n);
	request.answer = nanswer > 0 ? stored_object(answer, nanswer) : NULL;
	store_insert_request(account, &request);
}

const char *
request_answer(const Request *request, const char *name)
{
	return stored_text(request->answer, name);
}
