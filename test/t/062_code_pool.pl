# Each code of a pool is given once: 64 sessions take 1,000 codes, some of them change their mind, and nobody is refused
# while a code can come back.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('code_pool');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsynchronous_commit = off\nmax_connections = 80\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE SCHEMA shop;
	CREATE TABLE shop.taken (who bigint, code text);
	CREATE TABLE shop.refused (who bigint, given bigint);
	INSERT INTO loyalty.program (name) VALUES ('p');
	SELECT loyalty.enroll(i, 'p') FROM generate_series(1, 64) i;
	SELECT count(*) FROM generate_series(1, 64) i, loyalty.adjust(i, 1000000, 'welcome', 'p');
	INSERT INTO loyalty.code_pool (program, name) SELECT 'p', 'pool ' || i FROM generate_series(1, 3) i;
	INSERT INTO loyalty.reward (program, name, kind, cost, pool) SELECT 'p', 'gift ' || i, 'code', 1, 'pool ' || i FROM generate_series(1, 3) i;
	INSERT INTO loyalty.code (program, pool, code) SELECT 'p', 'pool ' || p, format('%s-%s', p, i) FROM generate_series(1, 3) p, generate_series(1, 1000) i;

	CREATE FUNCTION shop.take(who bigint, gift text, quantity integer) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO shop.taken SELECT $1, unnest(string_to_array(r.voucher, ', ')) FROM loyalty.redeem($1, $2, quantity => $3, program => 'p') r;
	EXCEPTION WHEN SQLSTATE 'LY005' THEN
		INSERT INTO shop.refused SELECT $1, given FROM loyalty.code_pool_level WHERE pool = replace($2, 'gift', 'pool');
	END $$;

	-- the control: who looks first and takes then
	CREATE TABLE shop.naive (code int PRIMARY KEY, given boolean DEFAULT false);
	CREATE TABLE shop.naive_taken (who bigint, code int);
	INSERT INTO shop.naive SELECT generate_series(1, 1000);
	CREATE FUNCTION shop.naive_take(who bigint) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		found_code int := (SELECT n.code FROM shop.naive n WHERE NOT n.given ORDER BY n.code LIMIT 1);
	BEGIN
		UPDATE shop.naive n SET given = true WHERE n.code = found_code;
		INSERT INTO shop.naive_taken VALUES ($1, found_code);
	END $$;
});

my $dir = PostgreSQL::Test::Utils::tempdir();
my $scripts = 0;
my $who = "\\set who :client_id + 1\n";

# pgbench(CLIENTS, TRIES a client, SCRIPT...)
sub pgbench
{
	my ($clients, $tries, @scripts) = @_;
	my @files;
	for my $i (0 .. $#scripts)
	{
		my $file = "$dir/" . ++$scripts . ".sql";
		append_to_file($file, $scripts[$i][0]);
		push @files, '-f', "$file\@$scripts[$i][1]";
	}
	# a deadlock counts as failed, and stops nobody
	command_like([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $tries, @files, '-h', $node->host, '-p', $node->port, 'postgres' ],
		qr/number of failed transactions: 0 /, "$clients clients, $tries tries each, none fails");
}

# More tries than codes.
pgbench(64, 20, [ "${who}SELECT shop.take(:who, 'gift 1', 1);\n", 1 ]);
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT code) FROM shop.taken WHERE code LIKE '1-%'}), '1000|1000', '1,000 codes are given, none of them twice');
is($node->safe_psql('postgres', q{SELECT count(*), min(given) FROM shop.refused}), '280|1000', 'the others are refused, after the last one is gone');
is($node->safe_psql('postgres', q{SELECT count(*) FROM shop.taken t JOIN loyalty.voucher v ON v.member_id = t.who AND v.code = t.code}), '1000', 'each is a voucher of whoever has it');

# As many tries that stay as there are codes, and 24 sessions that take codes and give them back: nobody is refused.
$node->safe_psql('postgres', 'TRUNCATE shop.refused');
pgbench(64, 50, [ "${who}"
	  . "\\if :client_id < 40\nSELECT CASE WHEN (SELECT count(*) FROM shop.taken WHERE who = :who AND code LIKE '2-%') < 25 THEN shop.take(:who, 'gift 2', 1) END;\n"
	  . "\\else\nBEGIN;\nSELECT shop.take(:who, 'gift 2', 1);\n\\sleep 1 ms\nROLLBACK;\n\\endif\n", 1 ]);
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT code) FROM shop.taken WHERE code LIKE '2-%'}), '1000|1000', 'those who stay have all codes');
is($node->safe_psql('postgres', q{SELECT count(*) FROM shop.refused r JOIN shop.taken t USING (who) WHERE t.code LIKE '2-%'}), '0', 'none of them was refused while another session could give its code back');

# Several at once do not wait for each other.
$node->safe_psql('postgres', 'TRUNCATE shop.refused');
pgbench(64, 10, [ "${who}SELECT shop.take(:who, 'gift 3', 1 + :client_id % 4);\n", 1 ]);
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT code) FROM shop.taken WHERE code LIKE '3-%'}), '1000|1000', 'several at once: all are given, none twice, without deadlock');

is($node->safe_psql('postgres', q{SELECT given, left_over, held FROM loyalty.code_pool_level}), "1000|0|0\n1000|0|0\n1000|0|0", 'the pools are empty');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.verify()'), '', 'the ledger is sound');

pgbench(64, 15, [ "${who}SELECT shop.naive_take(:who);\n", 1 ]);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT code) FROM shop.naive_taken'), '>', 0, 'control: whoever looks first and takes then gives codes twice');

done_testing();
