# Random operations by the extension and by an independent model: every answer, balance, counter, tier and lot is the
# same, by both stores, in programmes of all kinds.  See test/model/random_operations.py.
#
#   LOYALTY_SEED=…         another run (random: any; the seed is printed)
#   LOYALTY_OPERATIONS=…   how many, 300,000 when not said; make test-long: 10,000,000

use strict;
use warnings;
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs python3, which the model is written in'
  if system('python3 -c "import zoneinfo; zoneinfo.ZoneInfo(\'Europe/Istanbul\')" >/dev/null 2>&1') != 0;

my $seed = $ENV{LOYALTY_SEED} // 20261121;
$seed = int(rand(2**31)) if $seed eq 'random';
my $operations = $ENV{LOYALTY_OPERATIONS} // 300_000;
diag("LOYALTY_SEED=$seed") if $ENV{LOYALTY_SEED};

my $node = PostgreSQL::Test::Cluster->new('random_operations');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_wal_size = 4GB\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;

# random_operations(NAME, ARGUMENT…): whether nothing differs, and what was printed.
sub random_operations
{
	my ($name, @arguments) = @_;
	my $printed;
	my $same = IPC::Run::run([ 'python3', dirname(dirname(__FILE__)) . '/model/random_operations.py', '--database', $name, @arguments ],
		'>', \$printed, '2>&1');
	return ($same, $printed);
}

my ($same, $printed) = random_operations('operations', '--seed', $seed, '--operations', $operations);
ok($same, "LOYALTY_SEED=$seed LOYALTY_OPERATIONS=$operations: extension and model agree") or diag($printed);
note($printed);

# The controls: what finds nothing must be able to find something.
($same, $printed) = random_operations('tampered', '--seed', 1, '--worlds', 0, '--each', 600, '--tamper', 300, '--jobs', 1, '--no-shrink');
ok(!$same, 'control: one unit less in one lot and in its account is seen');
like($printed, qr/differs at operation (3\d\d|4\d\d)/, 'soon after it has gone');
my %mistakes = (
	life => 'points live a microsecond too long',
	returns => 'what was returned to the last unit of an amount of 0 is kept',
);
foreach my $mistake (sort keys %mistakes)
{
	($same, $printed) = random_operations("wrong_$mistake", '--seed', 1, '--operations', 8000, '--each', 1000, '--mistake', $mistake, '--no-shrink');
	ok(!$same, "control: a model in which $mistakes{$mistake} is found out");
}

done_testing();
