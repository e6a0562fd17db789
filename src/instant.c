/*
 * instant.c
 *	  What time it is.
 */
#include "postgres.h"

#include "access/xact.h"

#include "guc.h"
#include "instant.h"

TimestampTz
instant_for_writing(const Program *program)
{
	TimestampTz now;

	return program->sandbox && guc_now(&now) ? now : GetCurrentStatementStartTimestamp();
}

TimestampTz
instant_for_reading(void)
{
	TimestampTz now;

	return guc_now(&now) ? now : GetCurrentStatementStartTimestamp();
}
