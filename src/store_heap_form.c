/*
 * store_heap_form.c
 *	  Rows of the ledger's tables, laid out from their values in one pass, and read in one.
 *
 * heap_form_tuple() goes over the columns twice, by their catalog rows of 112 bytes each.  The ledger's rows have 20 to 50
 * columns, nearly all of them numbers of fixed length: a byte a column says all that there is to know.
 *
 * Rules:
 * - The row is the one that heap_form_tuple() makes, byte for byte; test/sql/form.sql holds tables against copies that
 *	 PostgreSQL has made.  What is read is held against what SQL reads by test/t/050_two_stores.pl.
 * - Whatever is not plain (a type of another kind, a value that is stored elsewhere, a row from before a column was
 *	 added) is left to PostgreSQL.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"

#include "compat.h"
#include "store_heap.h"

enum
{
	FORM_BYTE, FORM_SHORT, FORM_INT, FORM_LONG,
	FORM_VARYING,				/* with a header of one byte where the value is short */
	FORM_VARYING_LONG,			/* the same; where it is not short it is aligned as an int64 */
	FORM_UNKNOWN
};

#define FIXED_SIZE		(sizeof(int64) + MAXIMUM_ALIGNOF - 1)	/* bytes of a column and before it, but for what varies */

static uint8
form_of(Form_pg_attribute column)
{
	if (column->attlen == -1 && column->attstorage != TYPSTORAGE_PLAIN)
		return column->attalign == TYPALIGN_INT ? FORM_VARYING
			: column->attalign == TYPALIGN_DOUBLE ? FORM_VARYING_LONG : FORM_UNKNOWN;
	if (!column->attbyval)
		return FORM_UNKNOWN;
	switch (column->attlen)
	{
		case sizeof(char):
			return FORM_BYTE;
		case sizeof(int16):
			return column->attalign == TYPALIGN_SHORT ? FORM_SHORT : FORM_UNKNOWN;
		case sizeof(int32):
			return column->attalign == TYPALIGN_INT ? FORM_INT : FORM_UNKNOWN;
		case sizeof(int64):
			return column->attalign == TYPALIGN_DOUBLE ? FORM_LONG : FORM_UNKNOWN;
		default:
			return FORM_UNKNOWN;
	}
}

static bool
is_long(TupleDesc desc, const HeapTable *table, int i)
{
	return i < table->columns && table->forms[i] == FORM_LONG && TupleDescAttr(desc, i)->attnotnull;
}

/* How the columns of a table are laid out. */
static void
plan_forms(HeapTable *table, MemoryContext context)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	table->stretch = MemoryContextAlloc(context, table->columns);
	table->forms = MemoryContextAlloc(context, table->columns);
	table->varying = table->columns;
	table->plain = true;
	for (int i = table->columns - 1; i >= 0; i--)
	{
		table->forms[i] = form_of(TupleDescAttr(desc, i));
		table->plain &= table->forms[i] != FORM_UNKNOWN;
		table->stretch[i] = 1;
		if (table->forms[i] >= FORM_VARYING)
			table->varying = i;
		if (is_long(desc, table, i) && is_long(desc, table, i + 1))
			table->stretch[i] += table->stretch[i + 1];
	}
}

/* How many bytes the row has at most; 0: a value is stored elsewhere. */
static Size
row_size(const HeapTable *table, const Datum *values, const bool *nulls)
{
	int			natts = RelationGetDescr(table->rel)->natts;
	Size		size = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(natts)) + table->columns * FIXED_SIZE;

	for (int i = table->varying; i < table->columns; i++)
		if (table->forms[i] >= FORM_VARYING && !nulls[i])
		{
			if (VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
				return 0;
			size += VARSIZE_ANY(DatumGetPointer(values[i]));
		}
	return size;
}

/* Lay a value of varying length out; returns its end. */
static char *
form_varying(char *at, const struct varlena *value, uint8 form)
{
	Size		size;

	if (VARATT_IS_SHORT(value))
	{
		size = VARSIZE_SHORT(value);
		memcpy(at, value, size);
	}
	else if (VARATT_CAN_MAKE_SHORT(value))
	{
		size = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(at, size);
		memcpy(at + 1, VARDATA(value), size - 1);
	}
	else
	{
		at = form == FORM_VARYING ? (char *) INTALIGN(at) : (char *) DOUBLEALIGN(at);
		size = VARSIZE(value);
		memcpy(at, value, size);
	}
	return at + size;
}

#define FORM_FIXED(type, value) \
	at = (char *) TYPEALIGN(sizeof(type), at); \
	*(type *) at = (type) (value); \
	at += sizeof(type); \
	break

/* Lay the values out from `at`; returns the end.  bits: NULL when nothing is NULL. */
static char *
form_values(const HeapTable *table, const Datum *values, const bool *nulls, char *at, bits8 *bits, uint16 *infomask)
{
	for (int i = 0, n; i < table->columns; i += n)
	{
		n = table->stretch[i];
		Assert(n == 1 || memchr(&nulls[i], true, n) == NULL);
		if (nulls[i])
			continue;
		if (bits)
			for (int j = i; j < i + n; j++)
				bits[j >> 3] |= 1 << (j & 7);
		switch (table->forms[i])
		{
			case FORM_BYTE:
				FORM_FIXED(char, DatumGetChar(values[i]));
			case FORM_SHORT:
				FORM_FIXED(int16, DatumGetInt16(values[i]));
			case FORM_INT:
				FORM_FIXED(int32, DatumGetInt32(values[i]));
			case FORM_LONG:
				at = (char *) DOUBLEALIGN(at);
				memcpy(at, &values[i], n * sizeof(Datum));
				at += n * sizeof(Datum);
				break;
			default:
				*infomask |= HEAP_HASVARWIDTH;
				at = form_varying(at, (struct varlena *) DatumGetPointer(values[i]), table->forms[i]);
		}
	}
	return at;
}

#define READ_FIXED(type, datum) \
	at = (const char *) TYPEALIGN(sizeof(type), at); \
	values[i] = datum(*(const type *) at); \
	at += sizeof(type); \
	break

/* Read the columns of a row that has all of them. */
static void
read_values(const HeapTable *table, HeapTupleHeader row, Datum *values, bool *nulls)
{
	const bits8 *bits = row->t_infomask & HEAP_HASNULL ? row->t_bits : NULL;
	const char *at = (const char *) row + row->t_hoff;

	memset(nulls, 0, table->columns * sizeof(bool));
	for (int i = 0, n; i < table->columns; i += n)
	{
		n = table->stretch[i];
		if (bits && att_isnull(i, bits))
		{
			nulls[i] = true;
			values[i] = (Datum) 0;
			continue;
		}
		switch (table->forms[i])
		{
			case FORM_BYTE:
				READ_FIXED(char, CharGetDatum);
			case FORM_SHORT:
				READ_FIXED(int16, Int16GetDatum);
			case FORM_INT:
				READ_FIXED(int32, Int32GetDatum);
			case FORM_LONG:
				at = (const char *) DOUBLEALIGN(at);
				memcpy(&values[i], at, n * sizeof(Datum));
				at += n * sizeof(Datum);
				break;
			default:
				/* zeros before a header of four bytes, none before one of one byte */
				if (!VARATT_NOT_PAD_BYTE(at))
					at = (const char *) TYPEALIGN(table->forms[i] == FORM_VARYING ? ALIGNOF_INT : MAXIMUM_ALIGNOF, at);
				values[i] = PointerGetDatum(at);
				at += VARSIZE_ANY(at);
		}
	}
}

/* The columns of the row in the slot that the code knows.  They point into it. */
void
heap_read_row(HeapTable *table, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);

	if (table->forms == NULL)
		plan_forms(table, slot->tts_mcxt);
	if (table->plain && HeapTupleHeaderGetNatts(tuple->t_data) >= table->columns)
	{
		read_values(table, tuple->t_data, values, nulls);
		return;
	}
	slot_getallattrs(slot);
	memcpy(values, slot->tts_values, table->columns * sizeof(Datum));
	memcpy(nulls, slot->tts_isnull, table->columns * sizeof(bool));
}

/*
 * A row of values; columns that a later version appended are NULL.  NULL: leave it to the server.  The context is that
 * of the table's slots, which live as long as the table is open.
 */
HeapTuple
heap_form_row(HeapTable *table, const Datum *values, const bool *nulls, MemoryContext context)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	bool		has_null = desc->natts > table->columns || memchr(nulls, true, table->columns) != NULL;
	Size		size;
	HeapTuple	tuple;
	HeapTupleHeader row;

	if (table->forms == NULL)
		plan_forms(table, context);
	if (!table->plain || (size = row_size(table, values, nulls)) == 0)
		return NULL;
	tuple = MemoryContextAllocZero(context, HEAPTUPLESIZE + size);
	row = tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	row->t_hoff = MAXALIGN(SizeofHeapTupleHeader + (has_null ? BITMAPLEN(desc->natts) : 0));
	row->t_infomask = has_null ? HEAP_HASNULL : 0;
	tuple->t_len = form_values(table, values, nulls, (char *) row + row->t_hoff, has_null ? row->t_bits : NULL,
							   &row->t_infomask) - (char *) row;
	Assert(tuple->t_len <= size);
	ItemPointerSetInvalid(&tuple->t_self);
	HeapTupleHeaderSetNatts(row, desc->natts);
	HeapTupleHeaderSetDatumLength(row, tuple->t_len);
	HeapTupleHeaderSetTypeId(row, desc->tdtypeid);
	HeapTupleHeaderSetTypMod(row, desc->tdtypmod);
	ItemPointerSetInvalid(&row->t_ctid);
	return tuple;
}
