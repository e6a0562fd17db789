/*
 * config_member.c
 *	  Members who are not as others: excluded, erased, merged into another one.
 *
 * Rule: they are few.  Each purchase asks, so that they are looked up in memory, by number.
 */
#include "postgres.h"

#include "config_load.h"

void
config_load_excluded(Config *config)
{
	uint64		n = config_query("SELECT member_id, status OPERATOR(pg_catalog.=) 'erased' FROM loyalty.member"
								 " WHERE status OPERATOR(pg_catalog.<>) 'active'"
								 " AND status OPERATOR(pg_catalog.<>) 'merged' ORDER BY member_id");

	config->nexcluded = n;
	config->excluded = MemoryContextAlloc(config->context, mul_size(Max(n, 1), sizeof(ExcludedMember)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);

		config->excluded[i].member_id = DatumGetInt64(row_datum(&r));
		config->excluded[i].erased = DatumGetBool(row_datum(&r));
	}
}

void
config_load_merged(Config *config)
{
	uint64		n = config_query("SELECT member_id, merged_into FROM loyalty.member"
								 " WHERE status OPERATOR(pg_catalog.=) 'merged' AND merged_into IS NOT NULL ORDER BY member_id");

	config->nmerged = n;
	config->merged = MemoryContextAlloc(config->context, mul_size(Max(n, 1), sizeof(MergedMember)));
	for (uint64 i = 0; i < n; i++)
	{
		RowReader	r = config_row(config, i);

		config->merged[i].member_id = DatumGetInt64(row_datum(&r));
		config->merged[i].into = DatumGetInt64(row_datum(&r));
	}
}

/* A member's number against a row that begins with one. */
static int
compare_member(const void *key, const void *row)
{
	int64		a = *(const int64 *) key;
	int64		b = *(const int64 *) row;

	return (a > b) - (a < b);
}

static const ExcludedMember *
find_excluded(int64 member_id)
{
	Config	   *config = config_get();

	return bsearch(&member_id, config->excluded, config->nexcluded, sizeof(ExcludedMember), compare_member);
}

bool
config_member_excluded(int64 member_id)
{
	return find_excluded(member_id) != NULL;
}

bool
config_member_erased(int64 member_id)
{
	const ExcludedMember *member = find_excluded(member_id);

	return member && member->erased;
}

int64
config_member_now(int64 member_id)
{
	Config	   *config = config_get();
	const MergedMember *merged;

	for (int i = 0; i < config->nmerged; i++)
	{
		merged = bsearch(&member_id, config->merged, config->nmerged, sizeof(MergedMember), compare_member);
		if (merged == NULL)
			break;
		member_id = merged->into;
	}
	return member_id;
}

bool
config_member_absorbed(int64 member_id)
{
	Config	   *config = config_get();

	for (int i = 0; i < config->nmerged; i++)
		if (config->merged[i].into == member_id)
			return true;
	return false;
}
