/*
 * config_row.c
 *	  A row of configuration, read column by column.
 *
 * Rules:
 * - Values are copied into the cache's context: they outlive the query.
 * - The tables may be a version older or newer, and a row may have been written while triggers were off: what no trigger has
 *	 checked must not stop sales.  A word that this version does not know is LY014.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "config_load.h"
#include "errcodes.h"
#include "fixed.h"

uint64
config_query(const char *sql)
{
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read configuration: %s", sql);
	return SPI_processed;
}

RowReader
config_row(Config *config, uint64 row)
{
	return (RowReader) {.tuple = SPI_tuptable->vals[row], .desc = SPI_tuptable->tupdesc, .context = config->context};
}

void *
config_grow(Config *config, void *rows, int n, Size size)
{
	rows = rows ? repalloc(rows, mul_size(n + 1, size)) : MemoryContextAlloc(config->context, size);
	memset((char *) rows + n * size, 0, size);
	return rows;
}

Datum
row_datum(RowReader *reader)
{
	return SPI_getbinval(reader->tuple, reader->desc, ++reader->column, &reader->isnull);
}

char *
row_text(RowReader *reader)
{
	Datum		value = row_datum(reader);

	return reader->isnull ? NULL : MemoryContextStrdup(reader->context, TextDatumGetCString(value));
}

Numeric
row_numeric(RowReader *reader)
{
	Datum		value = row_datum(reader);
	MemoryContext old;
	Numeric		copy;

	if (reader->isnull)
		return NULL;
	old = MemoryContextSwitchTo(reader->context);
	copy = DatumGetNumericCopy(value);
	MemoryContextSwitchTo(old);
	return copy;
}

/* NULL, and what no trigger has checked, is 0. */
Points
row_points(RowReader *reader)
{
	Datum		value = row_datum(reader);
	Points		points = 0;

	return !reader->isnull && fixed_from_numeric(DatumGetNumeric(value), POINTS_SCALE, &points) == FIXED_OK ? points : 0;
}

void *
row_bytes(RowReader *reader, size_t size)
{
	Datum		value = row_datum(reader);
	void	   *copy;

	if (reader->isnull)
		return NULL;
	copy = MemoryContextAlloc(reader->context, size);
	memcpy(copy, DatumGetPointer(value), size);
	return copy;
}

Interval
row_interval(RowReader *r, bool *given)
{
	Interval   *interval = row_bytes(r, sizeof(Interval));

	*given = interval != NULL;
	return interval ? *interval : (Interval) {0};
}

/* An array of texts; NULL: none. */
char **
row_texts(RowReader *reader, int *n)
{
	Datum		value = row_datum(reader);
	Datum	   *texts;
	char	  **copies;

	*n = 0;
	if (reader->isnull)
		return NULL;
	deconstruct_array_builtin(DatumGetArrayTypeP(value), TEXTOID, &texts, NULL, n);
	copies = MemoryContextAlloc(reader->context, Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		copies[i] = MemoryContextStrdup(reader->context, TextDatumGetCString(texts[i]));
	return copies;
}

int
row_choice(const char *value, const char *const *choices, const char *column)
{
	for (int i = 0; choices[i]; i++)
		if (strcmp(value, choices[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_LY_VERSION_MISMATCH),
			 errmsg("column %s holds \"%s\", which this version does not know", column, value),
			 errhint("Bring the extension and its tables to the same version: ALTER EXTENSION loyalty UPDATE, SELECT loyalty.install().")));
}
