/*
 * words.c
 *	  Reading the small languages of earn_rate, expiry and period, and naming the bad word.
 *
 * Rules for whoever maintains this:
 * - Words are compared in ASCII lower case, never by locale: in Turkish the capital of i is not I.
 * - Every error quotes the word and its position in characters, counted from 1, and hints at all valid forms.
 * - Input is hostile: its length is nowhere trusted, a word is cut at WORD_MAX_LENGTH, a quotation too.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/datetime.h"

#include "compat.h"
#include "errcodes.h"
#include "fixed.h"
#include "points.h"
#include "words.h"

#define QUOTE_MAX	80			/* bytes of a bad text that an error repeats */

static const char *const month_names[] = {
	"january", "february", "march", "april", "may", "june",
	"july", "august", "september", "october", "november", "december"
};

/* names of units, by CalendarUnit, and what one is */
static const struct
{
	const char *name;
	const char *names;
	int			months;
	int			days;
}			units[] = {
	{"day", "days", 0, 1},
	{"week", "weeks", 0, 7},
	{"month", "months", 1, 0},
	{"quarter", "quarters", 3, 0},
	{"year", "years", 12, 0}
};

typedef enum WordClass
{
	SPACE, LETTERS, FIGURE, SIGN
} WordClass;

static WordClass
class_of(char c)
{
	if (c == ' ' || (c >= '\t' && c <= '\r'))
		return SPACE;
	if (c == ',' || c == '%')
		return SIGN;
	if ((c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+')
		return FIGURE;
	return LETTERS;
}

/* Text for an error message, cut between characters. */
static char *
quotation(const char *quoted, int length)
{
	int			shown = pg_mbcliplen(quoted, length, QUOTE_MAX);

	return psprintf("%.*s%s", shown, quoted, shown < length ? "..." : "");
}

static bool
report(Words *words, char *detail)
{
	ereturn(words->escontext, false,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("invalid text for type loyalty.%s: \"%s\"", words->type,
					quotation(words->input, strlen(words->input))),
			 errdetail_internal("%s", detail),
			 errhint("%s", words->forms)));
}

static int
position_of(const Words *words, const Word *word)
{
	return pg_mbstrlen_with_len(words->input, word->start - words->input) + 1;
}

bool
words_fail(Words *words, const char *expected)
{
	const Word *word = &words->words[words->next];

	if (words->count == 0)
		return report(words, psprintf("The text is empty; expected %s.", expected));
	if (words_at_end(words))
		return report(words, psprintf("The text ends where %s is expected.", expected));
	return report(words, psprintf("Expected %s instead of \"%s\" at position %d.", expected,
								  quotation(word->start, word->length), position_of(words, word)));
}

bool
words_out_of_range(Words *words, const char *range)
{
	const Word *word = &words->words[words->next - 1];

	return report(words, psprintf("\"%s\" at position %d is out of range: %s.",
								  quotation(word->start, word->length), position_of(words, word),
								  range));
}

bool
words_split(Words *words, const char *input, const char *type, const char *forms, Node *escontext)
{
	const char *at = input;

	words->type = type;
	words->forms = forms;
	words->input = input;
	words->escontext = escontext;
	words->count = 0;
	words->next = 0;
	while (*at != '\0')
	{
		WordClass	class = class_of(*at);
		Word	   *word = &words->words[words->count];
		const char *start = at;

		do
			at++;
		while (*at != '\0' && class_of(*at) == class && class != SIGN);
		if (class == SPACE)
			continue;
		if (words->count == WORDS_MAX)
			return report(words, psprintf("There are more than %d words.", WORDS_MAX));
		word->start = start;
		word->length = at - start;
		for (int i = 0; i < Min(word->length, WORD_MAX_LENGTH); i++)
			word->text[i] = pg_ascii_tolower((unsigned char) start[i]);
		word->text[Min(word->length, WORD_MAX_LENGTH)] = '\0';
		words->count++;
	}
	return true;
}

bool
words_at_end(const Words *words)
{
	return words->next == words->count;
}

bool
words_at_number(const Words *words)
{
	return !words_at_end(words) && class_of(words->words[words->next].text[0]) == FIGURE;
}

bool
words_accept(Words *words, const char *word)
{
	if (words_at_end(words) || strcmp(words->words[words->next].text, word) != 0)
		return false;
	words->next++;
	return true;
}

void
words_refuse_binary(const char *type, const char *forms)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("invalid binary form of type loyalty.%s", type),
			 errhint("Send it as text. %s", forms)));
}

bool
words_expect(Words *words, const char *word)
{
	return words_accept(words, word) || words_fail(words, psprintf("\"%s\"", word));
}

bool
words_expect_end(Words *words)
{
	return words_at_end(words) || words_fail(words, "the end of the text");
}

bool
words_decimal(Words *words, int64 limit, const char *range, int64 *value)
{
	const Word *word = &words->words[words->next];
	FixedStatus status;

	if (!words_at_number(words))
		return words_fail(words, "a number");
	status = fixed_from_text(word->start, word->length, POINTS_SCALE, value);
	if (status == FIXED_NOT_FINITE)
		return words_fail(words, "a number");
	words->next++;
	if (status == FIXED_INEXACT)
		return words_out_of_range(words, "at most 4 decimals");
	if (status == FIXED_OVERFLOW || *value < 0 || *value > limit)
		return words_out_of_range(words, range);
	return true;
}

/* A count of units: digits alone. */
static bool
words_count(Words *words, int64 limit, const char *range, int *count)
{
	const Word *word = &words->words[words->next];
	int64		value;

	if (words_at_end(words) || strspn(word->text, "0123456789") != Min(word->length, WORD_MAX_LENGTH))
		return words_fail(words, "a whole number");
	words->next++;
	if (fixed_from_text(word->start, word->length, 0, &value) != FIXED_OK || value > limit)
		return words_out_of_range(words, range);
	*count = (int) value;
	return true;
}

bool
words_length(Words *words, int *in_months, int *in_days)
{
	static const char *const range = "lengths end at 1200 months and 36600 days";
	int			count;

	*in_months = *in_days = 0;
	do
	{
		int			unit;

		if (!words_count(words, WORDS_MAX_DAYS, range, &count))
			return false;
		for (unit = 0; unit < lengthof(units); unit++)
		{
			if (words_accept(words, units[unit].name) || words_accept(words, units[unit].names))
				break;
		}
		if (unit == lengthof(units))
			return words_fail(words, "a unit (days, weeks, months, quarters, years)");
		*in_months += count * units[unit].months;
		*in_days += count * units[unit].days;
		if (*in_months > WORDS_MAX_MONTHS || *in_days > WORDS_MAX_DAYS)
		{
			words->next--;
			return words_out_of_range(words, range);
		}
	} while (words_at_number(words));
	return true;
}

bool
words_unit(Words *words, CalendarUnit *unit)
{
	for (*unit = CALENDAR_DAY; *unit <= CALENDAR_YEAR; (*unit)++)
	{
		if (*unit != CALENDAR_WEEK && words_accept(words, units[*unit].name))
			return true;
	}
	return words_fail(words, "day, month, quarter or year");
}

static bool
accept_month(Words *words, int8 *month)
{
	for (int i = 0; i < lengthof(month_names); i++)
	{
		if (words_accept(words, month_names[i]))
		{
			*month = i + 1;
			return true;
		}
	}
	return false;
}

bool
words_day_of_year(Words *words, int8 *month, int8 *day)
{
	static const char *const range = "the month has no such day";
	bool		month_first = accept_month(words, month);
	int			count;

	if (!words_count(words, 31, "days of a month go from 1 to 31", &count))
		return false;
	if (!month_first && !accept_month(words, month))
		return words_fail(words, "a month (january to december)");
	if (!is_day_of_year(*month, count))
	{
		if (!month_first)
			words->next--;
		return words_out_of_range(words, range);
	}
	*day = count;
	return true;
}

bool
is_day_of_year(int month, int day)
{
	return month >= 1 && month <= 12 && day >= 1 && day <= day_tab[1][month - 1];
}

void
append_length(StringInfo out, int n_months, int n_days)
{
	if (n_months > 0)
		appendStringInfo(out, "%d %s", n_months, n_months == 1 ? "month" : "months");
	if (n_days > 0)
		appendStringInfo(out, "%s%d %s", n_months > 0 ? " " : "", n_days, n_days == 1 ? "day" : "days");
}

const char *
unit_name(CalendarUnit unit)
{
	return units[unit].name;
}

const char *
month_name(int month)
{
	return month_names[month - 1];
}
