# A key has one effect: 32 clients make the same calls with the same keys at the same time, and all get the same answer.
# A key that comes with something else is refused, by name of what is different.
#
#   LOYALTY_KEYS=…   how many keys, 2,000 when not said; make test-long: 10,000

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 32;
my $keys = $ENV{LOYALTY_KEYS} // 2000;

my $node = PostgreSQL::Test::Cluster->new('retries');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsynchronous_commit = off\nmax_connections = 50\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;

# shop.call(key): the call of that key, whoever makes it.  Members are few, so that keys wait for each other.  One key in
# ten is of a call that is refused each time.
$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE SCHEMA shop;
	CREATE TABLE shop.answer (client int, key int, answer text);
	CREATE TABLE shop.naive_key (member bigint, key text, answer text);
	CREATE TABLE shop.naive_effect (member bigint, key text);
	INSERT INTO loyalty.program (name) VALUES ('p');
	INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('p', 'cup', 2, 1000000);
	SELECT loyalty.enroll(i, 'p') FROM generate_series(0, 49) i;
	SELECT loyalty.adjust(i, 1000000, 'to begin with', program => 'p') FROM generate_series(0, 49) i;

	CREATE FUNCTION shop.call(client int, key int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		member bigint := $2 % 50;
		named text := 'key ' || $2;
		answer text;
	BEGIN
		CASE $2 % 10
			WHEN 0, 1, 2, 3 THEN SELECT r::text INTO STRICT answer FROM loyalty.redeem(member, points => 1 + $2 % 7, program => 'p', key => named) r;
			WHEN 4, 5 THEN SELECT r::text INTO STRICT answer FROM loyalty.redeem(member, 'cup', quantity => 1 + $2 % 3, program => 'p', key => named) r;
			WHEN 6, 7 THEN SELECT r::text INTO STRICT answer FROM loyalty.adjust(member, 1 + $2 % 5, 'gift', program => 'p', key => named) r;
			WHEN 8 THEN SELECT r::text INTO STRICT answer FROM loyalty.adjust(member, -1 - $2 % 5, 'correction', program => 'p', key => named) r;
			ELSE SELECT r::text INTO STRICT answer FROM loyalty.redeem(member, points => 900000000, program => 'p', key => named) r;
		END CASE;
		INSERT INTO shop.answer VALUES ($1, $2, answer);
	EXCEPTION WHEN SQLSTATE 'LY001' THEN
		INSERT INTO shop.answer VALUES ($1, $2, SQLSTATE);
	END $$;

	-- the control: who looks for the key, and then does it
	CREATE FUNCTION shop.naive_call(client int, key int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT EXISTS (SELECT FROM shop.naive_key n WHERE n.key = 'key ' || $2) THEN
			INSERT INTO shop.naive_effect VALUES ($2 % 50, 'key ' || $2);
			INSERT INTO shop.naive_key VALUES ($2 % 50, 'key ' || $2);
		END IF;
	END $$;
	CREATE INDEX ON shop.naive_key (key);

	-- keys that have not had exactly one effect
	CREATE FUNCTION shop.wrong(naive boolean) RETURNS TABLE (key text, effects bigint) LANGUAGE sql AS $$
		SELECT key, count(*) FROM (SELECT r.key FROM loyalty.redemption r WHERE NOT naive AND r.key IS NOT NULL
			UNION ALL SELECT i.key FROM loyalty.intervention i WHERE NOT naive AND i.key IS NOT NULL
			UNION ALL SELECT n.key FROM shop.naive_effect n WHERE naive) x GROUP BY 1 HAVING count(*) <> 1 $$;
});

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/call.sql", "\\set key :key + 1\nSELECT shop.call(:client_id, :key);\n");
append_to_file("$dir/naive_call.sql", "\\set key :key + 1\nSELECT shop.naive_call(:client_id, :key);\n");

sub pgbench
{
	my ($script, $n) = @_;
	command_ok([ 'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-j', 2, '-t', $n, '-D', 'key=0', '-f', "$dir/$script.sql", '-h', $node->host, '-p', $node->port, 'postgres' ],
		"$clients clients, $n keys each");
}
sub query { return $node->safe_psql('postgres', $_[0]); }

pgbench('call', $keys);
is(query('SELECT count(*) FROM shop.answer'), $keys * $clients, 'every call was answered');
is(query('SELECT count(DISTINCT key), count(*) FROM (SELECT key FROM shop.answer GROUP BY key HAVING count(DISTINCT answer) = 1) x'), "$keys|$keys", 'each key always with the same answer');
is(query('SELECT * FROM shop.wrong(false)'), '', 'no key has had two effects');
is(query("SELECT count(*) FROM loyalty.request WHERE key LIKE 'key %'"), $keys * 9 / 10, 'every key that was not refused has had its effect, and those that were are not remembered');
is(query(q{SELECT count(*) FROM (SELECT a.member_id FROM loyalty.account a WHERE a.available <> 10000 * (1000000
	+ (SELECT coalesce(sum(CASE WHEN k % 10 < 4 THEN -1 - k % 7 WHEN k % 10 < 6 THEN -2 * (1 + k % 3) WHEN k % 10 < 8 THEN 1 + k % 5 WHEN k % 10 = 8 THEN -1 - k % 5 ELSE 0 END), 0)
	   FROM generate_series(1, } . $keys . q{) k WHERE k % 50 = a.member_id))) x}), 0, 'every balance is that of each call once');
is(query(q{SELECT sum(left_over) FROM loyalty.reward_stock}), query("SELECT 1000000 - sum(1 + k % 3) FROM generate_series(1, $keys) k WHERE k % 10 IN (4, 5)"), 'and so is the stock');
is(query('SELECT * FROM loyalty.verify()'), '', 'the ledger is sound');

# The same keys with something else: what, and how the refusal must name it.
my $state = query('SELECT md5(string_agg(x, NULL ORDER BY x)) FROM (SELECT a::text FROM loyalty.account a UNION ALL SELECT r::text FROM loyalty.request r UNION ALL SELECT l::text FROM loyalty.lot l) t (x)');
for my $other (
	[ 'points', 'redeem(k % 50, points => 8 + k % 7' ,'0, 1, 2, 3' ],
	[ 'reason', q{redeem(k % 50, points => 1 + k % 7, reason => 'why'}, '0, 1, 2, 3' ],
	[ 'reward', q{redeem(k % 50, 'cup'}, '0, 1, 2, 3' ],
	[ 'quantity', q{redeem(k % 50, 'cup', quantity => 4 + k % 3}, '4, 5' ],
	[ 'points', q{adjust(k % 50, 6 + k % 5, 'gift'}, '6, 7' ],
	[ 'reason', q{adjust(k % 50, 1 + k % 5, 'present'}, '6, 7' ],
	[ 'expires_at', q{adjust(k % 50, 1 + k % 5, 'gift', expires_at => '2999-01-01'}, '6, 7' ],
	[ 'available_at', q{adjust(k % 50, 1 + k % 5, 'gift', available_at => '2999-01-01'}, '6, 7' ],
	[ 'counts_for_tier', q{adjust(k % 50, 1 + k % 5, 'gift', counts_for_tier => true}, '6, 7' ],
	[ 'redeem', 'redeem(k % 50, points => 1 + k % 5', '6, 7, 8' ],
	[ 'adjust', q{adjust(k % 50, 1 + k % 7, 'gift'}, '0, 1, 2, 3, 4, 5' ])
{
	my ($name, $call, $of) = @$other;
	my $answers = query(qq{
		CREATE TEMP TABLE refusal (sqlstate text, message text);
		DO \$\$
		DECLARE
			k int;
			detail text;
		BEGIN
			FOR k IN SELECT i FROM generate_series(1, least($keys, 2000)) i WHERE i % 10 IN ($of) LOOP
				BEGIN
					PERFORM loyalty.$call, program => 'p', key => 'key ' || k);
					INSERT INTO refusal VALUES ('none', 'key ' || k);
				EXCEPTION WHEN OTHERS THEN
					GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
					INSERT INTO refusal VALUES (SQLSTATE, SQLERRM || ' ' || detail);
				END;
			END LOOP;
		END \$\$;
		SELECT DISTINCT sqlstate, message ~ '\\y$name\\y' FROM refusal;});
	is($answers, 'LY004|t', "other $name (" . ($call =~ s/\(.*//r) . '): LY004 each time, and it is named');
}
is(query('SELECT md5(string_agg(x, NULL ORDER BY x)) FROM (SELECT a::text FROM loyalty.account a UNION ALL SELECT r::text FROM loyalty.request r UNION ALL SELECT l::text FROM loyalty.lot l) t (x)'), $state,
	'no refusal has changed anything');

pgbench('naive_call', 1000);
cmp_ok(query('SELECT count(*) FROM shop.wrong(true)'), '>', 0, 'control: whoever looks for the key and then acts acts twice');

done_testing();
