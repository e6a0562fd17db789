# Paths to an attached table that need several sessions, a restart or a second server: prepared transactions, an aborted
# backend, logical replication (first copy and apply), and a subscriber that is attached with replicated => true.
# What a single session can do is in test/sql/paths.sql.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $shop = q{
	CREATE SCHEMA shop;
	CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz NOT NULL DEFAULT now());
	CREATE TABLE shop.part (id int, region text, who bigint, total numeric, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE shop.part_eu (at timestamptz NOT NULL DEFAULT now(), total numeric, region text NOT NULL, who bigint, id int NOT NULL);
	ALTER TABLE shop.part ATTACH PARTITION shop.part_eu FOR VALUES IN ('eu');
	CREATE TABLE shop.part_us PARTITION OF shop.part FOR VALUES IN ('us');
};

# A program of one point per unit, and attached tables.
sub ledger
{
	my ($node, $options) = @_;
	$node->safe_psql('postgres', qq{
		CREATE EXTENSION loyalty;
		SELECT loyalty.install();
		INSERT INTO loyalty.program (name) VALUES ('p');
		SELECT loyalty.attach('shop.sale', member => 'who', amount => 'total', occurred_at => 'at' $options);
		SELECT loyalty.attach('shop.part', member => 'who', amount => 'total', occurred_at => 'at' $options);
		INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 's', 'earn.amount'), ('p', 'part', 't', 'earn.amount');
	});
}

# Purchases without their points, points without their purchase, and balances that are not the sum of their lots:
# worked out from the tables themselves.
my $differences = q{
	WITH sold AS (SELECT 'sale' AS source, id::text AS key, who, floor(total) AS points FROM shop.sale WHERE who IS NOT NULL
	              UNION ALL SELECT 'part', id || ',' || region, who, floor(total) FROM shop.part WHERE who IS NOT NULL),
	earned AS (SELECT s.name AS source, l.source_key AS key, l.member_id AS who, sum(l.remaining) / 10000 AS points
	           FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id GROUP BY 1, 2, 3)
	SELECT source, key, who, sold.points::int, earned.points::int FROM sold FULL JOIN earned USING (source, key, who)
	WHERE coalesce(sold.points, 0) <> coalesce(earned.points, 0)
	UNION ALL
	SELECT 'balance', NULL, a.member_id, a.available / 10000, (coalesce(sum(l.remaining), 0) / 10000)::bigint
	FROM loyalty.account a LEFT JOIN loyalty.lot l USING (member_id, program_id) GROUP BY a.member_id, a.available
	HAVING a.available <> coalesce(sum(l.remaining), 0)
	ORDER BY 1, 2, 3};
sub exact
{
	my ($node, $name) = @_;
	is($node->safe_psql('postgres', $differences), '', $name);
	is($node->safe_psql('postgres', 'SELECT * FROM loyalty.verify()'), '', "$name; verify() finds nothing");
}

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', "max_prepared_transactions = 10\nautovacuum = off");
$publisher->start;
$publisher->safe_psql('postgres', $shop);
ledger($publisher, '');

# ---- prepared transactions

$publisher->safe_psql('postgres', q{
	BEGIN;
	INSERT INTO shop.sale VALUES (1, 1, 10), (2, 2, 20);
	SAVEPOINT a;
	UPDATE shop.sale SET total = 5 WHERE id = 1;
	ROLLBACK TO a;
	INSERT INTO shop.part (id, region, who, total) VALUES (1, 'eu', 1, 11);
	INSERT INTO shop.part_us (id, region, who, total) VALUES (2, 'us', 2, 12);
	PREPARE TRANSACTION 'sold';
	BEGIN;
	INSERT INTO shop.sale VALUES (3, 3, 30);
	PREPARE TRANSACTION 'not sold';
});
is($publisher->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot'), 0, 'nothing is earned before COMMIT PREPARED');
$publisher->restart;
$publisher->safe_psql('postgres', q{COMMIT PREPARED 'sold'});
$publisher->safe_psql('postgres', q{ROLLBACK PREPARED 'not sold'});
exact($publisher, 'prepared transactions earn when they are committed, also after a restart');
is($publisher->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot'), 4, 'and what is rolled back has earned nothing');

# ---- a server that dies in the middle of statements

my $session = $publisher->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{BEGIN});
$session->query_safe(q{INSERT INTO shop.sale SELECT g, g % 5, g FROM generate_series(1000, 4000) g});
$publisher->safe_psql('postgres', q{INSERT INTO shop.sale VALUES (4, 9, 40)});
$publisher->stop('immediate');
eval { $session->quit };
$publisher->start;
exact($publisher, 'an open load is gone with its points after a crash, a committed sale is there');

# ---- two loads of the same members, in other orders, at the same time

{
	my @sessions = map { $publisher->background_psql('postgres') } 1 .. 2;
	$sessions[0]->query_safe(q{BEGIN; INSERT INTO shop.sale VALUES (10, 50, 1), (11, 51, 1), (12, 52, 1)});
	$sessions[1]->query_until(qr/start/, qq{\\echo start\nINSERT INTO shop.sale VALUES (13, 52, 1), (14, 51, 1), (15, 50, 1);\n});
	$sessions[0]->query_safe(q{INSERT INTO shop.sale VALUES (16, 51, 1); COMMIT});
	$_->quit for @sessions;
	exact($publisher, 'a load that waited for another one has seen its points');
	is($publisher->safe_psql('postgres', 'SELECT sum(available) / 10000 FROM loyalty.account WHERE member_id BETWEEN 50 AND 52')+0, 7, 'all seven');
}

# ---- logical replication: points where the shop sells, the sales alone on the subscriber

$publisher->safe_psql('postgres', 'CREATE PUBLICATION sales FOR TABLE shop.sale, shop.part');
my $connection = $publisher->connstr . ' dbname=postgres';

sub subscriber
{
	my ($name, $options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "autovacuum = off\nwal_retrieve_retry_interval = 100ms\nmax_logical_replication_workers = 8");
	$node->start;
	$node->safe_psql('postgres', $shop);
	ledger($node, $options);
	$node->safe_psql('postgres', qq{CREATE SUBSCRIPTION $name CONNECTION '$connection' PUBLICATION sales});
	$node->wait_for_subscription_sync($publisher, $name);
	return $node;
}
sub sell
{
	my ($first) = @_;
	$publisher->safe_psql('postgres', qq{
		INSERT INTO shop.sale SELECT g, g % 7, g % 100 FROM generate_series($first, $first + 500) g;
		UPDATE shop.sale SET total = total - 1 WHERE id >= $first AND total > 50;
		UPDATE shop.sale SET who = 90 WHERE id = $first + 1;
		UPDATE shop.sale SET id = id + 100000 WHERE id = $first + 2;
		DELETE FROM shop.sale WHERE id = $first + 3;
		INSERT INTO shop.part (id, region, who, total) VALUES ($first, 'eu', 1, 10), ($first + 1, 'us', 2, 20), ($first + 2, 'eu', 3, 30);
		UPDATE shop.part SET region = 'us', who = who + 1 WHERE id = $first;
		DELETE FROM shop.part WHERE id = $first + 2;
		BEGIN;
		INSERT INTO shop.sale VALUES ($first + 50000, 1, 1);
		SAVEPOINT a;
		INSERT INTO shop.sale VALUES ($first + 50001, 1, 1);
		ROLLBACK TO a;
		COMMIT;
	});
}

my $blind = subscriber('blind', '');
my $counting = subscriber('counting', ', replicated => true');
exact($counting, 'the first copy has earned where the table is attached with replicated => true');
is($blind->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot'), 0, 'and nothing where it is not');
isnt($blind->safe_psql('postgres', $differences), '', 'control: the comparison sees what the blind subscriber has missed');
my $copied = $counting->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot');

sell(10000);
$publisher->wait_for_catchup($_) for qw(blind counting);
exact($publisher, 'changes have earned on the publisher');
exact($counting, 'applied changes have earned on the subscriber, row by row');
cmp_ok($counting->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot'), '>', $copied, 'with lots of their own');
is($blind->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot'), 0, 'the blind one goes on blind');
is($counting->safe_psql('postgres', q{SELECT md5(string_agg(member_id || ' ' || available, ',' ORDER BY member_id)) FROM loyalty.account}),
	$publisher->safe_psql('postgres', q{SELECT md5(string_agg(member_id || ' ' || available, ',' ORDER BY member_id)) FROM loyalty.account}),
	'both have the same balances');

# The blind one is told: from then on it hears, and reconcile() posts what it has missed.
$blind->safe_psql('postgres', q{
	SELECT loyalty.detach('shop.sale'), loyalty.detach('shop.part');
	SELECT loyalty.attach('shop.sale', member => 'who', amount => 'total', occurred_at => 'at', replicated => true);
	SELECT loyalty.attach('shop.part', member => 'who', amount => 'total', occurred_at => 'at', replicated => true);
});
sell(20000);
$publisher->wait_for_catchup('blind');
isnt($blind->safe_psql('postgres', 'SELECT count(*) FROM loyalty.lot WHERE source_key >= \'20000\''), 0, 'a subscriber that is attached again hears what comes');
$blind->safe_psql('postgres', q{SELECT * FROM loyalty.reconcile('shop.sale'); SELECT * FROM loyalty.reconcile('shop.part')});
exact($blind, 'reconcile() posts what it has missed');

# Loyalty of a sale that the subscriber makes itself, beside the applied ones.
$counting->safe_psql('postgres', q{INSERT INTO shop.sale VALUES (900000, 1, 5)});
sell(30000);
$publisher->wait_for_catchup('counting');
exact($counting, 'a sale of the subscriber\'s own beside applied ones');

# An error in a rule stops the apply of this change, and nothing is half done; put right, all of it arrives.
$counting->safe_psql('postgres', q{INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('p', 'sale', 'stops', '1 / abs(total - 77)', 'id between 40000 and 49999')});
my $log = -s $counting->logfile;
$publisher->safe_psql('postgres', q{INSERT INTO shop.sale VALUES (40000, 1, 1), (40001, 1, 77), (40002, 1, 3)});
$counting->wait_for_log(qr/division by zero/, $log);
is($counting->safe_psql('postgres', 'SELECT count(*) FROM shop.sale WHERE id BETWEEN 40000 AND 40002'), 0, 'a rule that fails stops the apply, and nothing is half done');
$counting->safe_psql('postgres', q{UPDATE loyalty.rule SET enabled = false WHERE name = 'stops'});
$publisher->wait_for_catchup('counting');
exact($counting, 'and when the rule is right all of it arrives and earns');

$_->stop for ($counting, $blind, $publisher);
done_testing();
