/*
 * words.h
 *	  Reading the small languages of earn_rate, expiry and period, and naming the bad word.
 */
#ifndef LOYALTY_WORDS_H
#define LOYALTY_WORDS_H

#include "postgres.h"
#include "lib/stringinfo.h"
#include "nodes/nodes.h"

#include "calendar.h"

/* Longest lengths of time; a century. */
#define WORDS_MAX_MONTHS	1200
#define WORDS_MAX_DAYS		36600

#define WORDS_MAX			12	/* no valid text has more */
#define WORD_MAX_LENGTH		31	/* nor a longer word; longer ones are cut, and then match nothing */

typedef struct Word
{
	char		text[WORD_MAX_LENGTH + 1];	/* lower case */
	const char *start;			/* in the input */
	int			length;			/* there, in bytes */
} Word;

typedef struct Words
{
	const char *type;			/* "expiry" */
	const char *forms;			/* the hint: what is valid */
	const char *input;
	Node	   *escontext;		/* where a soft error goes, or NULL */
	int			count;
	int			next;
	Word		words[WORDS_MAX];
} Words;

/*
 * All return false when the error was reported softly.  The order of calls is the grammar.
 */
extern bool words_split(Words *words, const char *input, const char *type, const char *forms,
						Node *escontext);

/* the next word is this one: take it */
extern bool words_accept(Words *words, const char *word);
extern bool words_at_end(const Words *words);
extern bool words_at_number(const Words *words);

/* report that `expected` does not stand at the next word; always false */
extern bool words_fail(Words *words, const char *expected);

/* a figure is out of its range: reported at the word before; always false */
extern bool words_out_of_range(Words *words, const char *range);

/* what was received in binary is no value of the type; does not return */
extern void words_refuse_binary(const char *type, const char *forms) pg_attribute_noreturn();

extern bool words_expect(Words *words, const char *word);
extern bool words_expect_end(Words *words);

/* a decimal, 0 or more, at most 4 decimals, as a count of 1/10,000; at most `limit` */
extern bool words_decimal(Words *words, int64 limit, const char *range, int64 *value);

/* "12 months", "2 years 10 days": weeks become days, quarters and years months */
extern bool words_length(Words *words, int *in_months, int *in_days);

/* day, month, quarter, year */
extern bool words_unit(Words *words, CalendarUnit *unit);

/* "31 december" or "december 31"; 29 february is a day of the year */
extern bool words_day_of_year(Words *words, int8 *month, int8 *day);

/* canonical text of the same */
extern void append_length(StringInfo out, int n_months, int n_days);
extern const char *unit_name(CalendarUnit unit);
extern const char *month_name(int month);
extern bool is_day_of_year(int month, int day);

#endif
