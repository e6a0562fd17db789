# Budgets and caps under many writers: 64 sessions want the last 7 points, sessions die while they hold some, statements
# of one row and of many, cancellations and several budgets meet in every order.  To the last unit, without a deadlock.
# Beside it a naive budget, read and then written, that pays too much.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('budget');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 120\nfsync = off\ndeadlock_timeout = '100ms'\nrestart_after_crash = on");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', q{
	SET client_min_messages = warning;
	CREATE EXTENSION loyalty;
	SELECT loyalty.install() > 0;
	CREATE TABLE sale (id bigserial PRIMARY KEY, who bigint, total numeric, kind text, at timestamptz DEFAULT '2024-01-01');
	INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
	SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points, condition, budget) VALUES ('p', 'sale', 'seven', 'earn.amount', $$kind = 'seven'$$, 27);
	CREATE TABLE naive (budget numeric);
	INSERT INTO naive VALUES (7);
	CREATE TABLE naive_paid (points numeric);
	CREATE FUNCTION naive_sale() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		paid numeric := greatest(0, least(10, (SELECT budget FROM naive)));
	BEGIN
		PERFORM pg_sleep(0.01);
		UPDATE naive SET budget = budget - paid;
		INSERT INTO naive_paid VALUES (paid);
	END $$;
	CREATE VIEW budgets AS
	SELECT r.name, r.budget, sum(b.left_over) / 100000000 AS left_over,
		(SELECT coalesce(sum(w.used), 0) / 100000000 FROM loyalty.rule_awards(r.id) w) AS used
	FROM loyalty.rule r JOIN loyalty.rule_budget b ON b.rule_id = r.id GROUP BY r.id, r.name, r.budget;
});

# So many sessions at once, each script so many times; what the server said of deadlocks is counted below.
sub run_pgbench
{
	my ($what, $clients, $times, %scripts) = @_;
	my @files;
	foreach my $name (sort keys %scripts)
	{
		my ($text, $weight) = @{ $scripts{$name} };
		PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql", $text) if !-e "$dir/$name.sql";
		push @files, '-f', "$dir/$name.sql\@$weight";
	}
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', $clients, '-j', 4, '-t', $times,
			'--max-tries=1', @files, 'postgres' ], '>', \$out, '2>', \$err);
	ok($ok, $what) or diag($err);
	return $ok;
}

sub query { return $node->safe_psql('postgres', $_[0]) }

# ---- the last 7 points ----

query(q{INSERT INTO sale (who, total, kind) VALUES (1000, 20, 'seven')});
run_pgbench('64 writers want 10 of the last 7 points', 64, 1,
	last => [ "BEGIN;\nINSERT INTO sale (who, total, kind) VALUES (:client_id, 10, 'seven');\nSELECT pg_sleep(0.01);\nCOMMIT;\n", 1 ]);
is(query(q{SELECT used || ' of ' || budget || ', left ' || trim_scale(left_over) FROM budgets WHERE name = 'seven'}), '27.0000000000000000 of 27, left 0', 'exactly 7 are paid');
is(query(q{SELECT count(*) || ' ' || sum(points) FROM loyalty.award_share WHERE rule = 'seven' AND member_id < 1000}), '1 7', 'one of them got all 7');
is(query(q{SELECT sum(available) FROM loyalty.member_balance}), '27', 'and nobody else anything');

run_pgbench('the naive budget', 64, 1, naive => [ "SELECT naive_sale();\n", 1 ]);
cmp_ok(query('SELECT sum(points) FROM naive_paid'), '>', 7, 'control: a budget that is read and then written pays more than it has');

# ---- whoever dies takes nothing along ----

query(q{UPDATE loyalty.rule SET budget = 34 WHERE name = 'seven'});

sub hold_and_die
{
	my ($how) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $session = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, 'postgres' ], '<', \$in, '>', \$out, '2>', \$err);
	$in .= "BEGIN; INSERT INTO sale (who, total, kind) VALUES (2000, 5, 'seven'); SELECT 'pid ' || pg_backend_pid() || ' ' || sum(points) FROM loyalty.award_share WHERE member_id = 2000;\n";
	$session->pump until $out =~ /pid (\d+) (\d+)/ || $err;
	my ($pid, $points) = $out =~ /pid (\d+) (\d+)/;
	is($points, 5, "a session holds 5 of 7 points, and is ended ($how)");

	# another one waits for what it holds
	my ($waits, $got) = ('', '');
	my $other = $how eq 'kill -9' ? undef
	  : IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, '-c',
			q{INSERT INTO sale (who, total, kind) VALUES (3000, 10, 'seven'); SELECT 'got ' || sum(points) FROM loyalty.award_share WHERE member_id = 3000}, 'postgres' ],
		'<', \undef, '>', \$got, '2>', \$waits);
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}) if $other;
	$how eq 'kill -9' ? kill('KILL', $pid) : query("SELECT pg_terminate_backend($pid)");
	$other->finish if $other;
	$in .= "\\q\n";
	eval { $session->finish };
	$node->poll_query_until('postgres', 'SELECT true') if !$other;
	return $got;
}

my $kept = query(q{SELECT left_over FROM budgets WHERE name = 'seven'});
cmp_ok($kept, '==', 7, '7 points are left');
hold_and_die('kill -9');
cmp_ok(query(q{SELECT left_over FROM budgets WHERE name = 'seven'}), '==', 7, 'all 7 are left');
like(hold_and_die('pg_terminate_backend'), qr/got 7/, 'whoever waited gets all 7');
cmp_ok(query(q{SELECT left_over FROM budgets WHERE name = 'seven'}), '==', 0, 'none is left');
is(query('SELECT count(*) FROM loyalty.verify()'), '0', 'the ledger is sound');

# ---- all at once ----

query(q{
	INSERT INTO loyalty.rule (program, source, name, kind, points, condition, budget, cap, cap_period, max_uses) VALUES
		('p', 'sale', 'a', 'base', 'earn.amount', $$kind LIKE '%a%'$$, 4000, NULL, NULL, NULL),
		('p', 'sale', 'b', 'bonus', 'earn.amount * 0.37', $$kind LIKE '%b%'$$, 1500, 300, 'day', NULL),
		('p', 'sale', 'c', 'bonus', 'earn.base * 0.5', $$kind LIKE '%c%'$$, 1000, NULL, NULL, 40);
	INSERT INTO sale (who, total, kind) SELECT 1 + i % 50, 1, 'abc' FROM generate_series(1, 500) i;
});
my $log = -s $node->logfile;
my $kinds = q{(ARRAY['a', 'b', 'c', 'ab', 'ac', 'bc', 'abc'])[1 + floor(random() * 7)]};
run_pgbench('sales of one row and of many, cancellations, changes, two statements in a transaction', 24, 60,
	one => [ "INSERT INTO sale (who, total, kind) VALUES (1 + floor(random() * 50), floor(random() * 40), $kinds);\n", 40 ],
	many => [ "INSERT INTO sale (who, total, kind) SELECT 1 + floor(random() * 50), floor(random() * 20), $kinds FROM generate_series(1, 30);\n", 6 ],
	batches => [ "INSERT INTO sale (who, total, kind) SELECT 1 + floor(random() * 90), 1, $kinds FROM generate_series(1, 700);\n", 1 ],
	cancel => [ "DELETE FROM sale WHERE id = (SELECT id FROM sale ORDER BY random() LIMIT 1);\n", 25 ],
	change => [ "UPDATE sale SET total = floor(random() * 40) WHERE id = (SELECT id FROM sale ORDER BY random() LIMIT 1);\n", 20 ],
	undo => [ "BEGIN;\nINSERT INTO sale (who, total, kind) VALUES (1 + floor(random() * 50), 20, 'abc');\nROLLBACK;\n", 8 ],
	hands => [ "UPDATE sale SET who = 1 + who % 50 WHERE id = (SELECT id FROM sale ORDER BY random() LIMIT 1);\n", 8 ]);
unlike(slurp_file($node->logfile, $log), qr/deadlock detected/, 'nobody waited in a ring');
is(query('SELECT count(*) FROM loyalty.verify()'), '0', 'the ledger is sound: budgets, usage, balances') or diag(query('SELECT * FROM loyalty.verify() LIMIT 5'));
is(query('SELECT count(*) FROM budgets WHERE used + left_over <> budget'), '0', 'what was paid and what is left are the budget, to the last unit') or diag(query('SELECT * FROM budgets'));
note(query('SELECT * FROM budgets'));
is(query('SELECT count(*) FROM loyalty.lot WHERE source_key IS NOT NULL') >= 2000, 1, 'much was sold');

# the same with the other store
$node->append_conf('postgresql.conf', "loyalty.store = 'sql'");
$node->reload;
query(q{UPDATE loyalty.rule SET budget = budget + 500 WHERE budget > 100});
$log = -s $node->logfile;
run_pgbench('once more with the store that writes by SQL', 24, 25,
	one => [ '', 40 ], many => [ '', 6 ], cancel => [ '', 25 ], change => [ '', 20 ], undo => [ '', 8 ], hands => [ '', 8 ]);
unlike(slurp_file($node->logfile, $log), qr/deadlock detected/, 'nobody waited in a ring');
is(query('SELECT count(*) FROM loyalty.verify()'), '0', 'the ledger is sound') or diag(query('SELECT * FROM loyalty.verify() LIMIT 5'));
$node->stop;
done_testing();
