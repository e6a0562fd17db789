# The ledger fills its own indexes a leaf page at a time (src/store_heap_index.c), and looks keys up on leaf pages (src/store_heap_probe.c).  Whatever comes in which order, by loads, batches,
# concurrent sessions, between deletes and vacuum: each index holds what its table holds, in order, no key twice; so after a crash, so on a
# standby, where PostgreSQL compares every page of a btree with the primary's.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'btree'\nautovacuum = off\njit = off\nmax_wal_size = 4GB\nwal_keep_size = 8GB\nwork_mem = '64MB'");
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION amcheck;
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE TABLE sale (id text COLLATE "C" PRIMARY KEY, who bigint, total numeric, at timestamptz);
	CREATE TABLE ticket (id bigint PRIMARY KEY, who bigint, total numeric, at timestamptz);
	INSERT INTO loyalty.program (name, expiry, sandbox, clawback) VALUES ('p', '6 months, end of month', true, 'to_zero');
	INSERT INTO loyalty.unit (program, name) VALUES ('p', 'nights');
	INSERT INTO loyalty.challenge (program, name, kind, metric, target, period, points, starts_at) VALUES ('p', 'card', 'stamp', 'purchases', 3, 'calendar quarter', 1, '2020-01-01');
	SELECT loyalty.attach('ticket', member => 'who', amount => 'total', occurred_at => 'at'), loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount'), ('p', 'ticket', 'two', 'earn.amount * 2');
	INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('p', 'ticket', 'night', 'nights', '1');
	-- keys that share beginnings, of 1 to 200 characters, some of 450
	CREATE FUNCTION key_of(i int) RETURNS text LANGUAGE sql IMMUTABLE AS
		$$ SELECT repeat(chr(97 + (hashint4(i) & 7)), 1 + (hashint4(i + 1) & 1023) % CASE i % 50 WHEN 0 THEN 190 ELSE 12 END)
			|| CASE WHEN i % 1000 = 7 THEN (SELECT string_agg(md5(i || ' ' || g), '') FROM generate_series(1, 14) g) ELSE '' END || i $$;
	CREATE FUNCTION when_of(i int) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT '2024-01-01 00:00+00'::timestamptz + (hashint4(i + 2) & 2047) * interval '5 hours' $$;
});
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

my $indexes = q{SELECT x.indexrelid::regclass AS index FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
	WHERE x.indrelid IN (SELECT t.oid FROM pg_class t WHERE t.relnamespace = 'loyalty'::regnamespace)};
my $counts = q{SELECT count(*) || ' ' || count(DISTINCT source_key) FROM loyalty.lot};

# amcheck: order, one key once, and every row of the table in the index; on a standby without the levels above
sub sound
{
	my ($node, $name, $check) = @_;
	my ($code, $out, $error) = $node->psql('postgres', qq{SELECT $check FROM ($indexes) i});
	is($code, 0, "$name: the indexes are sound") or diag($error);
	my $by = q{SELECT count(*) || ' ' || count(DISTINCT source_key) FROM loyalty.lot WHERE source_id > 0};
	my $table = $node->safe_psql('postgres', "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; $by");
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SET enable_bitmapscan = off; $by"), $table, "$name: the index finds as much as the table has");
	return;
}
my $whole = 'bt_index_parent_check(index, true, true)';
my $alone = 'bt_index_check(index, true)';

sub check
{
	my ($name) = @_;
	sound($primary, $name, $whole);
	is($primary->safe_psql('postgres', 'SELECT * FROM loyalty.verify()'), '', "$name: verify() has nothing to say");
	$primary->wait_for_catchup($standby);
	sound($standby, "$name, on the standby", $alone);
	return;
}

my $sales = sub { "INSERT INTO sale SELECT key_of(i), (hashint4(i + 3) & 65535) % 3000, 10, when_of(i) FROM generate_series($_[0], $_[1]) i WHERE $_[2]" };
my $tickets = sub { "INSERT INTO ticket SELECT i, (hashint4(i + 3) & 65535) % 3000, 10, when_of(i) FROM generate_series($_[0], $_[1]) i WHERE $_[2]" };

# loads of a statement each: into empty indexes, behind all, between, among
$primary->safe_psql('postgres', $tickets->(20000, 40000, 'true'));
check('a first load');
$primary->safe_psql('postgres', $tickets->(60000, 70000, 'true') . ';' . $sales->(1, 20000, 'i % 2 = 0') . ';' . $tickets->(1, 50000, 'i < 20000 OR i > 40000'));
$primary->safe_psql('postgres', $sales->(1, 20000, 'i % 2 = 1'));
check('loads behind and between');

# what was given back and came again, pages that vacuum has emptied
$primary->safe_psql('postgres', q{DELETE FROM ticket WHERE id BETWEEN 25000 AND 35000; UPDATE sale SET total = 7 WHERE who % 5 = 0});
$primary->safe_psql('postgres', 'VACUUM loyalty.lot');
$primary->safe_psql('postgres', $tickets->(25000, 35000, 'true'));
check('after returns and vacuum');
my ($code, $out, $error) = $primary->psql('postgres', 'BEGIN; ' . $sales->(20001, 30000, 'true') . '; SELECT 1 / 0;');
like($error, qr/division by zero/, 'a load that fails');
$primary->safe_psql('postgres', 'VACUUM loyalty.lot');
$primary->safe_psql('postgres', $sales->(20001, 30000, 'i % 3 <> 0'));
check('after a load that failed');

# many sessions at once, a few rows and a hundred at a time
my $directory = PostgreSQL::Test::Utils::tempdir();
append_to_file("$directory/few.sql", q{\set i random(100000, 900000)
INSERT INTO sale SELECT key_of(i), (hashint4(i) & 65535) % 3000, 10, when_of(i) FROM generate_series(:i, :i + 4) i ON CONFLICT DO NOTHING;
});
append_to_file("$directory/hundred.sql", q{\set i random(1, 9000)
INSERT INTO ticket SELECT 100000 + i, (hashint4(i) & 65535) % 3000, 10, when_of(i) FROM generate_series(:i * 100, :i * 100 + 99) i ON CONFLICT DO NOTHING;
});
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->command_ok([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 60, '-f', "$directory/few.sql", '-f', "$directory/hundred.sql", 'postgres' ], 'six sessions');
check('after six sessions');

# a session that has put lots before, and whose pages are split, given back to others, and made anew meanwhile
my $hundreds = sub { join('', map { my $at = $_[0] + 100 * $_; "INSERT INTO ticket SELECT i, (hashint4(i) & 65535) % 40, 10, when_of(i) FROM generate_series($at, $at + 99) i;" } 0 .. 9) };
$primary->safe_psql('postgres', $hundreds->(3000000) . $tickets->(3001000, 3009000, 'true') . ';' . $hundreds->(3010000) .
	'REINDEX TABLE loyalty.lot;' . $hundreds->(3020000) . 'DELETE FROM ticket WHERE id >= 3000000; DELETE FROM sale;' . "VACUUM loyalty.lot;\n" . $hundreds->(3030000) .
	"VACUUM FULL loyalty.lot;\n" . $hundreds->(3040000) . $sales->(1, 20000, 'true') . ';' . $hundreds->(3050000));
check('after pages have moved below a session');

# A session remembers where it found accounts: they are elsewhere now, in a shorter table, behind an index whose pages are split
# and made anew.
$primary->safe_psql('postgres', q{
	INSERT INTO ticket SELECT 2000000 + i, i, 10, '2024-05-05' FROM generate_series(1, 3000) i;
	UPDATE ticket SET total = 11 WHERE id BETWEEN 2000000 AND 2999999;
	UPDATE ticket SET total = 12 WHERE id BETWEEN 2000000 AND 2999999;
	VACUUM FULL loyalty.account;
	INSERT INTO ticket SELECT 2010000 + i, i, 10, '2024-05-05' FROM generate_series(1, 100) i;
	INSERT INTO ticket SELECT 2020000 + i, 3001 - i, 10, '2024-05-05' FROM generate_series(1, 3000) i;
	CLUSTER loyalty.account USING account_pkey;
	INSERT INTO ticket VALUES (2030001, 1, 10, '2024-05-05');
	INSERT INTO ticket SELECT 2040000 + i, 2 * i, 10, '2024-05-05' FROM generate_series(1, 10000) i;
	INSERT INTO ticket SELECT 2050000 + i, 200 * i, 10, '2024-05-05' FROM generate_series(1, 100) i;
	INSERT INTO ticket SELECT 2060000 + i, 2 * i + 1, 10, '2024-05-05' FROM generate_series(1, 10000) i;
	INSERT INTO ticket SELECT 2070000 + i, 200 * i + 1, 10, '2024-05-05' FROM generate_series(1, 100) i;
	REINDEX TABLE loyalty.account;
	INSERT INTO ticket SELECT 2080000 + i, 199 * i, 10, '2024-05-05' FROM generate_series(1, 100) i;
	INSERT INTO ticket SELECT 2090000 + i, 199 * i, 10, '2024-05-05' FROM generate_series(1, 100) i;
});
is($primary->safe_psql('postgres', q{SELECT count(*) FROM ticket t WHERE t.id BETWEEN 2000000 AND 2999999 AND NOT EXISTS (SELECT FROM loyalty.lot l WHERE l.source_key = t.id::text AND l.member_id = t.who)}),
	'0', 'accounts that have moved: each purchase is its member\'s');

# A session remembers on which pages it found keys: they are split, emptied and made anew, other sources' keys come between, keys have many
# entries because their lots could not stay on their pages.  A key that was not found would be refused as there twice, or its row forgotten.
my $changes = sub { "UPDATE ticket SET total = total - 0.01 WHERE hashint8(id) & 127 = $_[0]; UPDATE sale SET total = total - 0.01 WHERE hashtext(id) & 63 = $_[0]; UPDATE ticket SET total = total - 0.01 WHERE id = $_[0];" };
# of those whose amount was raised further up a second lot holds the rest
my $kept = q{SELECT count(*) FROM (SELECT id::text AS key, total FROM ticket WHERE id NOT BETWEEN 2000000 AND 2003000 UNION ALL SELECT id, total FROM sale) t
	LEFT JOIN loyalty.lot l ON l.source_key = t.key AND l.part = 0 WHERE l.kept_amount IS DISTINCT FROM t.total};
$primary->safe_psql('postgres', $changes->(1) . $tickets->(4000000, 4006000, 'i % 2 = 0') . ';' . $changes->(2) . $sales->(40001, 46000, 'true') . ';' . $changes->(3) .
	"DELETE FROM ticket WHERE id % 3 = 0; DELETE FROM sale WHERE id < 'e';\nVACUUM loyalty.lot;\n" . $changes->(4) . $tickets->(4000000, 4006000, 'i % 2 = 1') . ';' . $changes->(5) .
	"REINDEX INDEX loyalty.lot_source_key;\n" . $changes->(6) . "VACUUM FULL loyalty.lot;\n" . $changes->(7) .
	'BEGIN;' . $changes->(8) x 20 . "COMMIT;\n" . $changes->(8) . 'DELETE FROM ticket WHERE id >= 4000000;' . "SET loyalty.allow_drop = on; DROP INDEX loyalty.lot_source_key; CREATE UNIQUE INDEX lot_source_key ON loyalty.lot (source_id DESC, source_key, part);\n" . $changes->(9) .
	"DROP INDEX loyalty.lot_source_key; CREATE UNIQUE INDEX lot_source_key ON loyalty.lot (source_id, source_key, part);\n" . $changes->(10) .
	'BEGIN ISOLATION LEVEL SERIALIZABLE;' . $changes->(11) . 'COMMIT;');
is($primary->safe_psql('postgres', $kept), '0', 'keys on pages that have changed: what is kept of each purchase is what its row says');
check('after accounts and keys have moved');

# a crash, with nothing of the last load in the tables' files
my $before = $primary->safe_psql('postgres', $counts);
$primary->safe_psql('postgres', $sales->(30001, 40000, 'true') . '; ' . $tickets->(70001, 80000, 'true'));
my $after = $primary->safe_psql('postgres', $counts);
isnt($after, $before, 'there is much to lose');
$primary->stop('immediate');
$primary->start;
is($primary->safe_psql('postgres', $counts), $after, 'nothing is lost in a crash');
check('after a crash');

# The control: a key that is there is refused by the index itself, whoever writes it.
($code, $out, $error) = $primary->psql('postgres', 'INSERT INTO loyalty.lot SELECT * FROM loyalty.lot WHERE source_id IS NOT NULL LIMIT 1');
like($error, qr/duplicate key value violates unique constraint/, 'a key twice is refused');
# and amcheck does find an index that lacks a row
$primary->safe_psql('postgres', q{UPDATE pg_index SET indisready = false WHERE indexrelid = 'loyalty.lot_source_key'::regclass});
$primary->safe_psql('postgres', q{SET loyalty.store = 'sql'; INSERT INTO ticket VALUES (999999, 1, 10, '2024-05-05')});
$primary->safe_psql('postgres', q{UPDATE pg_index SET indisready = true WHERE indexrelid = 'loyalty.lot_source_key'::regclass});
($code, $out, $error) = $primary->psql('postgres', qq{SELECT bt_index_check('loyalty.lot_source_key', true)});
like($error, qr/lacks matching index tuple/, 'the control: a row without an entry is found');

done_testing();
