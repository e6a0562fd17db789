# One award each, whatever happens to the table of purchases: inserted, replayed by COPY into a copy of the table, reconciled,
# dumped and restored.  And one gift of all one has, however many sessions give it at once.  Beside each stands a control
# that must fail.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_connections = 60");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();
chmod 0777, $dir;

sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql); }

# ---- the same purchases, over and over

$node->safe_psql('postgres', 'CREATE DATABASE shop');
sql('shop', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE SCHEMA shop;
	CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric(12,2), ordered_at timestamptz NOT NULL);
	INSERT INTO loyalty.program (name, expiry, decimals) VALUES ('stars', '12 months', 1);
	INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('stars', 'green', 0, 0, 0), ('stars', 'gold', 1, 500, 0.25);
	SELECT loyalty.attach('shop.orders', program => 'stars', member => 'customer_id', amount => 'total', occurred_at => 'ordered_at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('stars', 'orders', 'one', 'earn.amount');
	INSERT INTO shop.orders SELECT g, g % 50, (g * 37 % 1000)::numeric / 10, now() - (1000 - g) * interval '5 hours' FROM generate_series(1, 1000) g;
	INSERT INTO shop.orders SELECT g, g % 50, 5, now() FROM generate_series(1001, 4000) g;
});
# What the ledger holds, and that each purchase has one award.
my $ledger = q{SELECT count(*) || ' lots, ' || count(DISTINCT source_key) || ' purchases, ' || sum(points) || ' points, ' ||
	(SELECT sum(available) || ' available, ' || sum(spend) || ' spent' FROM loyalty.account) FROM loyalty.lot};
my $expected = sql('shop', $ledger);
like($expected, qr/^4000 lots, 4000 purchases/, 'inserted: one award each');

sub holds
{
	my ($db, $name) = @_;
	is(sql($db, $ledger), $expected, "$name: one award each");
	is(sql($db, 'SELECT * FROM loyalty.verify()'), '', "$name: sound");
	return;
}

# Into a copy, which takes the place of the table: it is the same source.
sql('shop', qq{
	COPY shop.orders TO '$dir/orders';
	CREATE TABLE shop.orders_copy (LIKE shop.orders INCLUDING ALL);
	SELECT loyalty.detach('shop.orders');
	SELECT loyalty.attach('shop.orders_copy', program => 'stars', member => 'customer_id', amount => 'total', occurred_at => 'ordered_at', name => 'orders');
	COPY shop.orders_copy FROM '$dir/orders'});
holds('shop', 'replayed by COPY into a copy');
is(sql('shop', q{SELECT * FROM loyalty.reconcile('shop.orders_copy', take_back => true)}), '0|0|0', 'reconcile finds nothing to do');
holds('shop', 'reconciled');
# Once more, row by row and in one go, after an archive has taken them away.
sql('shop', qq{
	BEGIN;
	SET LOCAL loyalty.archiving = on;
	DELETE FROM shop.orders_copy;
	COMMIT;
	COPY shop.orders_copy FROM '$dir/orders';
	BEGIN;
	SET LOCAL loyalty.archiving = on;
	DELETE FROM shop.orders_copy WHERE id <= 300;
	COMMIT;
	DO \$\$ DECLARE o record; BEGIN FOR o IN SELECT * FROM shop.orders WHERE id <= 300 LOOP INSERT INTO shop.orders_copy VALUES (o.id, o.customer_id, o.total, o.ordered_at); END LOOP; END \$\$});
holds('shop', 'archived and loaded again');
# What no trigger has seen is posted by reconcile, once.
sql('shop', q{
	ALTER TABLE shop.orders_copy DISABLE TRIGGER USER;
	INSERT INTO shop.orders_copy VALUES (5001, 1, 10, now()), (5002, 60, 10, now());
	ALTER TABLE shop.orders_copy ENABLE TRIGGER USER});
is(sql('shop', q{SELECT * FROM loyalty.reconcile('shop.orders_copy')}), '2|2|0', 'reconcile posts what no trigger saw');
is(sql('shop', q{SELECT * FROM loyalty.reconcile('shop.orders_copy')}), '0|0|0', 'and not again');
$expected = sql('shop', $ledger);
like($expected, qr/^4002 lots, 4002 purchases/, 'one award each');

$node->command_ok([ 'pg_dump', '-p', $node->port, '-Fc', '-f', "$dir/shop.dump", 'shop' ], 'pg_dump');
for my $way ([ 'restored' ], [ 'restored -j2', '-j', '2' ])
{
	my ($name, @options) = @$way;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS restored');
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'restored', '-e', @options, "$dir/shop.dump" ], "pg_restore, $name");
	holds('restored', $name);
	is(sql('restored', q{SELECT * FROM loyalty.reconcile('shop.orders_copy', take_back => true)}), '0|0|0', "$name: reconcile finds nothing to do");
	sql('restored', qq{
		BEGIN;
		SET LOCAL loyalty.archiving = on;
		DELETE FROM shop.orders_copy WHERE id <= 4000;
		COMMIT;
		COPY shop.orders_copy FROM '$dir/orders'});
	holds('restored', "$name and replayed");
}

# The control: a copy that is a source of its own earns on its own account.
sql('restored', qq{
	CREATE TABLE shop.other (LIKE shop.orders INCLUDING ALL);
	SELECT loyalty.attach('shop.other', program => 'stars', member => 'customer_id', amount => 'total', occurred_at => 'ordered_at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('stars', 'other', 'other', 'earn.amount');
	COPY shop.other FROM '$dir/orders'});
isnt(sql('restored', $ledger), $expected, 'control: another source earns again, and this test sees it');

# ---- twenty sessions give all there is

my $files = 0;
sub at_once
{
	my ($n, $sql) = @_;
	# from a file: IPC::Run feeds a process that it has started when it waits for it, one after the other
	PostgreSQL::Test::Utils::append_to_file("$dir/at_once_" . ++$files . '.sql', $sql);
	my @runs = map {
		my ($out, $err) = ('', '');
		IPC::Run::start([ 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', 'shop', '-f', "$dir/at_once_$files.sql" ],
			'<', \undef, '>', \$out, '2>', \$err)
	} 1 .. $n;
	return scalar grep { $_->finish } @runs;
}

sql('shop', q{
	INSERT INTO loyalty.program (name) VALUES ('gift');
	CREATE TABLE shop.gift (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
	SELECT loyalty.attach('shop.gift', program => 'gift', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('gift', 'gift', 'gift', 'earn.amount');
	INSERT INTO shop.gift SELECT g, 1, 100, now() FROM generate_series(1, 10) g;
	INSERT INTO shop.gift SELECT 100 + g, g, 1, now() FROM generate_series(2, 30) g});
my $gift = 'SELECT member_id, available::text FROM loyalty.member_balance WHERE program = \'gift\' AND member_id IN (1, 2) ORDER BY 1';
is(at_once(20, "SELECT count(*) FROM loyalty.transfer(1, 2, 1000, 'gift');"), 1, 'twenty sessions give all to one member: one succeeds');
is(sql('shop', $gift), "1|0\n2|1001", 'and all of it is there once');
is(at_once(20, "SELECT count(*) FROM loyalty.transfer(2, 3 + floor(random() * 27)::int, 1001, 'gift');"), 1, 'to as many members: one succeeds');
is(sql('shop', q{SELECT sum(available) FROM loyalty.member_balance WHERE program = 'gift'}), '1029', 'and all of it is there once');
# in a ring, each the next: nobody waits for ever
sql('shop', q{INSERT INTO shop.gift SELECT 200 + g, g, 1000, now() FROM generate_series(3, 8) g});
is(at_once(20, join('', map { my $f = 3 + $_ % 6; my $t = 3 + ($_ * 5 + 1 + int($_ / 7)) % 6; $f == $t ? '' : "SELECT count(*) FROM loyalty.transfer($f, $t, 1, 'gift');" } 1 .. 40)), 20, 'to and fro among six members: no deadlock');
is(sql('shop', q{SELECT sum(available) FROM loyalty.member_balance WHERE program = 'gift'}), '7029', 'and the sum stays');
is(sql('shop', 'SELECT * FROM loyalty.verify()'), '', 'sound');

# The control: to look and then to take, without a lock, gives the same points away many times.
sql('shop', q{CREATE TABLE shop.naive (who int PRIMARY KEY, points int); INSERT INTO shop.naive VALUES (1, 1000), (2, 0)});
my $naive = q{DO $$ BEGIN IF (SELECT points FROM shop.naive WHERE who = 1) >= 1000 THEN PERFORM pg_sleep(1);
	UPDATE shop.naive SET points = points - 1000 WHERE who = 1; UPDATE shop.naive SET points = points + 1000 WHERE who = 2; ELSE RAISE 'insufficient'; END IF; END $$;};
cmp_ok(at_once(20, $naive), '>', 1, 'control: the naive way gives more than once, and this test sees it');

$node->stop;
done_testing();
