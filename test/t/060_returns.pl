# Purchases that change, go and come back, with burns and corrections between, at random: after every statement every
# balance, owed point and debt is what an independent computation says, under each clawback policy and with both stores.
# The control: with a mistake planted in that computation, the difference is seen.
#
#   LOYALTY_SEED=…   another run (random: any; the seed is printed)
#   LOYALTY_STEPS=…  how many steps, 1000 when not said

use strict;
use warnings;
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $model = dirname(dirname(__FILE__)) . '/model/returns.py';
plan skip_all => 'needs python3, which the independent computation is written in' if system('python3 -c "" >/dev/null 2>&1') != 0;

my $seed = $ENV{LOYALTY_SEED} // 20261122;
$seed = int(rand(2**31)) if $seed eq 'random';
my $steps = $ENV{LOYALTY_STEPS} // 1000;
note("LOYALTY_SEED=$seed LOYALTY_STEPS=$steps");
diag("LOYALTY_SEED=$seed") if $ENV{LOYALTY_SEED};

my $node = PostgreSQL::Test::Cluster->new('returns');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off");
$node->start;

# What the ledger says otherwise than the computation; dies when a statement fails.
sub differences
{
	my ($database, $store, @arguments) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/statements.sql';
	my ($output, $errors);
	IPC::Run::run([ 'python3', $model, @arguments ], '>', $file, '2>', \$errors) or die $errors;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql('postgres', "ALTER DATABASE $database SET loyalty.store = $store");
	IPC::Run::run([ 'psql', '-X', '-q', '-At', '-d', $node->connstr($database), '-f', $file ], '<', \undef, '>', \$output, '2>', \$errors)
	  or die $errors;
	return $output;
}

for my $store ('heap', 'sql')
{
	is(differences("same_$store", $store, $seed, $steps), '', "the ledger agrees after each of $steps steps, store $store");
}
for my $mistake ('life', 'chain', 'owed', 'first', 'release')
{
	isnt(differences("control_$mistake", 'heap', $seed, 400, $mistake), '', "control: a mistake in the computation ($mistake) is seen");
}
$node->stop;
done_testing();
