# Statements of more rows than are worked at once (1,000), whose sales change other members' accounts: referrers, and who shares the tier of a pool.
# Opposite data, many times: nobody waits in a ring.  Beside it the same rows in the same order as two statements of one transaction, as if there
# were no order beyond a thousand rows (or, of limits, beyond one sale): they do.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tries = 25;
my $node = PostgreSQL::Test::Cluster->new('order_of_locks');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ndeadlock_timeout = '50ms'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

sub query { return $node->safe_psql('postgres', $_[0]) }

query(q{
	SET client_min_messages = warning;
	CREATE EXTENSION loyalty;
	SELECT loyalty.install() > 0;
	CREATE TABLE sale (id bigserial PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT now());
	INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
	INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 1000000);
	SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'r', 'earn.amount');
	INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, minimum, max_rewarded) VALUES
		('p', 'waits', 1, 1, 1000000, NULL), ('p', 'a', 1, 1, 0, 1000000), ('p', 'b', 1, 1, 0, 1000000);
	CREATE FUNCTION bring(referrer bigint, friend bigint, campaign text) RETURNS text LANGUAGE sql
	AS $$ SELECT r.state FROM loyalty.enroll(referrer, 'p') e, loyalty.refer(loyalty.referral_code(e.member_id, 'p'), friend, 'p', referral => campaign) r $$;
	CREATE FUNCTION share(one bigint, other bigint) RETURNS void LANGUAGE sql
	AS $$ SELECT loyalty.join_pool(o.member_id, loyalty.create_pool(e.member_id, 'home', program => 'p', shares_tier => true)) FROM loyalty.enroll(one, 'p') e, loyalty.enroll(other, 'p') o $$;

	-- whose sales are in the first thousand rows of a statement (highest numbers first), and in the next
	CREATE TABLE side (what text, side int, part int, who bigint);
	INSERT INTO side
	SELECT 'referrers', 1, 1, 30000 + g FROM generate_series(1, 10) g UNION ALL SELECT 'referrers', 1, 1, 20000 + g FROM generate_series(1, 990) g
	UNION ALL SELECT 'referrers', 1, 2, 6000 + g FROM generate_series(1, 100) g
	UNION ALL SELECT 'referrers', 2, 1, 5100 + g FROM generate_series(1, 1000) g UNION ALL SELECT 'referrers', 2, 2, g FROM generate_series(1, 10) g;
	INSERT INTO side SELECT 'pools', side, part, CASE WHEN who > 30000 OR who <= 10 THEN who + 10 ELSE who END FROM side;
	-- friends of two campaigns with a limit, whom nobody else sells to
	INSERT INTO side
	SELECT 'limits', 1, 1, 38000 + g FROM generate_series(1, 10) g UNION ALL SELECT 'limits', 1, 1, 31000 + g FROM generate_series(1, 990) g
	UNION ALL SELECT 'limits', 1, 2, 100 + g FROM generate_series(11, 20) g
	UNION ALL SELECT 'limits', 2, 1, 38000 + g FROM generate_series(21, 30) g UNION ALL SELECT 'limits', 2, 1, 34000 + g FROM generate_series(1, 990) g
	UNION ALL SELECT 'limits', 2, 2, 100 + g FROM generate_series(31, 40) g;
	DO $$ BEGIN
		PERFORM bring(g, 30000 + g, 'waits') FROM generate_series(1, 10) g;
		PERFORM share(30000 + g, g) FROM generate_series(11, 20) g;
		PERFORM bring(200 + g, CASE WHEN g <= 10 OR g > 20 AND g <= 30 THEN 38000 ELSE 100 END + g, CASE WHEN g <= 10 OR g > 30 THEN 'a' ELSE 'b' END) FROM generate_series(1, 40) g;
	END $$;
});

# Two sessions, one a side, so many rows of each part; returns how many deadlocks there were.
sub race
{
	my ($name, $what, $times, $limit, @parts) = @_;
	my $log = -s $node->logfile;
	my @sessions;

	foreach my $side (1, 2)
	{
		my $file = "$dir/$name$side.sql";
		my $rows = join("SELECT pg_sleep(0.02);\n", map { "INSERT INTO sale (who, total) SELECT who, 1 FROM side WHERE what = '$what' AND side = $side AND part IN ($_) ORDER BY who DESC LIMIT $limit;\n" } @parts);
		# what was bought goes back, so that the next try has everything to give again
		append_to_file($file, ("BEGIN;\n${rows}COMMIT;\nROLLBACK;\nDELETE FROM sale WHERE who IN (SELECT who FROM side WHERE what = '$what' AND side = $side);\n") x $times);
		my ($in, $out, $err) = ('', '', '');
		push @sessions, IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ], '<', \$in, '>', \$out, '2>', \$err);
	}
	$_->finish foreach @sessions;
	my $said = slurp_file($node->logfile, $log);
	unlike($said, qr/ERROR:  (?!deadlock detected)/, "$name: nothing else went wrong");
	return scalar(() = $said =~ /deadlock detected/g);
}

sub sound
{
	is(query('SELECT * FROM loyalty.verify()'), '', 'the ledger is sound');
}

my %who = (referrers => 'friends of the one are brought by members of the other', pools => 'members of the one share tiers with members of the other',
	limits => 'campaigns with a limit are met in opposite order');
foreach my $what ('referrers', 'pools', 'limits')
{
	is(race($what, $what, $tries, 'ALL', '1, 2'), 0, "$who{$what}: nobody waits in a ring in $tries tries");
	sound();
	# on a busy machine two sessions may miss each other for long
	my $met = 0;
	for (my $round = 1; $round <= 10 && !$met; $round++)
	{
		$met = race("control_${what}_$round", $what, $tries, $what eq 'limits' ? 1 : 'ALL', '1', '2');
	}
	cmp_ok($met, '>', 0, 'control: two statements of one transaction do');
}
is(query(q{SELECT count(*) FROM loyalty.referral_count WHERE rewarded = 0}), 2, 'what was rewarded went back');
cmp_ok(query(q{SELECT count(*) FROM loyalty.lot WHERE source_id IS NULL}), '>', 0, 'referrers and friends were rewarded');

$node->append_conf('postgresql.conf', "loyalty.store = 'sql'");
$node->reload;
is(race("sql_$_", $_, 5, 'ALL', '1, 2'), 0, "$_, with the store that writes by SQL") foreach sort keys %who;
sound();
$node->stop;
done_testing();
