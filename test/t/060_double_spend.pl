# The same points are never spent twice: 16 clients earn and spend on 500 accounts, most of them on a few, and most
# accounts are nearly empty most of the time.
#
#   LOYALTY_TRIES=…   how many tries in all, 160,000 when not said; make test-long: 1,000,000

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 16;
my $tries = $ENV{LOYALTY_TRIES} // 160_000;

my $node = PostgreSQL::Test::Cluster->new('double_spend');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsynchronous_commit = off\nmax_connections = 40\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;

# What was earned and spent is written down by the callers, in tables of their own.
$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE SCHEMA shop;
	CREATE TABLE shop.sale (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now());
	CREATE TABLE shop.spent (who bigint, points numeric, redemption_id bigint);
	CREATE TABLE shop.refused (who bigint);
	INSERT INTO loyalty.program (name, expiry) VALUES ('p', '12 months');
	SELECT loyalty.attach('shop.sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
	INSERT INTO shop.sale (who, total) SELECT i, 100 FROM generate_series(1, 500) i;

	CREATE FUNCTION shop.spend(who bigint, points numeric) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO shop.spent SELECT $1, r.points, r.redemption_id FROM loyalty.redeem($1, points => $2, program => 'p') r;
	EXCEPTION WHEN SQLSTATE 'LY001' THEN
		INSERT INTO shop.refused VALUES ($1);
	END $$;

	-- the control: who asks first and takes then
	CREATE TABLE shop.naive (who bigint PRIMARY KEY, balance numeric, lowest numeric DEFAULT 0);
	CREATE TABLE shop.naive_sale (who bigint, total numeric);
	CREATE TABLE shop.naive_spent (who bigint, points numeric);
	INSERT INTO shop.naive (who, balance) SELECT i, 100 FROM generate_series(1, 500) i;
	INSERT INTO shop.naive_sale SELECT i, 100 FROM generate_series(1, 500) i;

	-- whose balance is below zero, or not what was earned and not spent
	CREATE FUNCTION shop.wrong(naive boolean) RETURNS TABLE (who bigint, balance numeric, earned numeric, spent numeric) LANGUAGE sql AS $$
		SELECT b.who, b.balance, e.earned, coalesce(s.spent, 0)
		FROM (SELECT member_id AS who, available AS balance FROM loyalty.member_balance WHERE NOT naive
		      UNION ALL SELECT n.who, n.balance FROM shop.naive n WHERE naive) b
		JOIN (SELECT x.who, sum(x.total) AS earned FROM (SELECT s.who, s.total FROM shop.sale s WHERE NOT naive
		      UNION ALL SELECT s.who, s.total FROM shop.naive_sale s WHERE naive) x GROUP BY 1) e USING (who)
		LEFT JOIN (SELECT x.who, sum(x.points) AS spent FROM (SELECT s.who, s.points FROM shop.spent s WHERE NOT naive
		      UNION ALL SELECT s.who, s.points FROM shop.naive_spent s WHERE naive) x GROUP BY 1) s USING (who)
		WHERE b.balance < 0 OR b.balance <> e.earned - coalesce(s.spent, 0) $$;
});

my $dir = PostgreSQL::Test::Utils::tempdir();
my $who = "\\set who random_zipfian(1, 500, 1.1)\n";
append_to_file("$dir/spend.sql", "$who\\set points random(1, 40)\nSELECT shop.spend(:who, :points);\n");
append_to_file("$dir/earn.sql", "$who\\set total random(1, 40)\nINSERT INTO shop.sale (who, total) VALUES (:who, :total);\n");
append_to_file("$dir/naive_spend.sql", "$who\\set points random(1, 40)\nBEGIN;\nSELECT balance FROM shop.naive WHERE who = :who \\gset\n"
	  . "\\if :balance >= :points\nUPDATE shop.naive SET balance = balance - :points, lowest = least(lowest, balance - :points) WHERE who = :who;\nINSERT INTO shop.naive_spent VALUES (:who, :points);\n\\endif\nCOMMIT;\n");
append_to_file("$dir/naive_earn.sql", "$who\\set total random(1, 40)\nBEGIN;\nUPDATE shop.naive SET balance = balance + :total WHERE who = :who;\nINSERT INTO shop.naive_sale VALUES (:who, :total);\nCOMMIT;\n");

# pgbench(PREFIX, TRIES): four tries to spend for each purchase.
sub pgbench
{
	my ($prefix, $n) = @_;
	command_ok([ 'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-j', 2, '-t', int($n * 1.25 / $clients),
			'-f', "$dir/${prefix}spend.sql\@4", '-f', "$dir/${prefix}earn.sql\@1", '-h', $node->host, '-p', $node->port, 'postgres' ],
		"$clients clients, about $n tries to spend");
}

pgbench('', $tries);
note($node->safe_psql('postgres', q{SELECT count(*) || ' redemptions, ' || (SELECT count(*) FROM shop.refused) || ' refused' FROM shop.spent}));
is($node->safe_psql('postgres', 'SELECT * FROM shop.wrong(false)'), '', 'nobody is below zero, and every balance is what was earned and not spent');
is($node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.account WHERE available < 0 OR pending < 0'), 0, 'nor is any account');
is($node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.statement WHERE balance_after < 0'), 0, 'nor was any, after whatever entry');
is($node->safe_psql('postgres', q{SELECT count(*) FROM shop.spent s FULL JOIN loyalty.redemption r ON r.member_id = s.who AND r.redemption_id = s.redemption_id AND r.points = s.points * 10000
	WHERE s.who IS NULL OR r.member_id IS NULL}), 0, 'each success is one redemption, and each redemption a success');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM shop.refused'), '>', $tries / 20, 'many were refused: accounts were nearly empty');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM shop.spent'), '>', $tries / 20, 'and many were not');
is($node->safe_psql('postgres', 'SELECT * FROM loyalty.verify()'), '', 'the ledger is sound');

pgbench('naive_', 40_000);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM shop.naive WHERE lowest < 0'), '>', 0, 'control: whoever selects first and updates then goes below zero');

done_testing();
