# A year of a real web shop with its cancellations, which name no purchase, under each policy of taking points back: what
# is kept of every line, what every customer has and owes, and every tier, against a computation that knows only the
# documented semantics.  Between two parts of the load everybody burns most of what he has, so that returns find points
# spent.  Then: the same final state by one COPY, invoice by invoice and row by row.
#
#   LOYALTY_LONG=1   the last for all customers, not for a sample

use strict;
use warnings;
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = $ENV{TESTDIR} || dirname(dirname(dirname(__FILE__)));
my $shared = $ENV{LOYALTY_SHARED} || "$root/../shared";
my $data = "$shared/data/online_retail.csv.xz";
my $model = dirname(dirname(__FILE__)) . '/model/online_retail_returns.py';

plan skip_all => "needs the data set UCI Online Retail as $data (LOYALTY_SHARED names the directory above data)"
  if !-r $data;
plan skip_all => 'needs python3, which the independent computation is written in'
  if system('python3 -c "import lzma, zoneinfo" >/dev/null 2>&1') != 0;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $burn_at = '2011-06-15 12:00 Europe/London';
my $node = PostgreSQL::Test::Cluster->new('online_retail_returns');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_wal_size = 4GB\nwork_mem = '32MB'\nsynchronize_seqscans = off");
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	CREATE SCHEMA shop;
	CREATE TABLE shop.invoice_line (
		line_no bigserial PRIMARY KEY,
		invoice_no text NOT NULL,
		stock_code text NOT NULL,
		description text,
		quantity integer NOT NULL,
		invoice_date timestamp NOT NULL,
		unit_price numeric NOT NULL,
		customer_id numeric,    -- reads 17850.0, as the file has it
		country text NOT NULL
	);
	CREATE TABLE shop.file (LIKE shop.invoice_line INCLUDING ALL);
});

# The policies that there are.
my @policies;
for my $policy (qw(pending_only to_zero debt))
{
	my ($code, undef, $error) = $node->psql('postgres', qq{
		\\set VERBOSITY sqlstate
		INSERT INTO loyalty.program (name, timezone, expiry, pending, clawback, tier_metric, tier_period, tier_validity, sandbox)
		VALUES ('$policy', 'Europe/London', '12 months, end of month', CASE '$policy' WHEN 'pending_only' THEN interval '14 days' ELSE '0' END,
		        '$policy', 'spend', 'calendar quarter', '3 months', true)}, on_error_stop => 1);
	if ($code != 0 && $error =~ /0A000/)
	{
		note("policy $policy is not available");
		next;
	}
	is($code, 0, "program with policy $policy") or diag($error);
	push @policies, $policy;
	$node->safe_psql('postgres', qq{
		INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
		VALUES ('$policy', 'bronze', 0, 0, 0), ('$policy', 'silver', 1, 300, 0.1), ('$policy', 'gold', 2, 1500, 0.25);
		SELECT loyalty.attach('shop.invoice_line', program => '$policy', member => 'customer_id::bigint',
			amount => 'quantity * unit_price', occurred_at => 'invoice_date', condition => 'quantity <> 0 and unit_price > 0');
		INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
			('$policy', 'invoice_line', 'one per pound', 'base', 'earn.amount', NULL),
			('$policy', 'invoice_line', 'double on Sundays', 'bonus', 'earn.base', 'extract(isodow from earn.local_time) = 7');
	});
}

my ($totals, $complaint);
my $computed = IPC::Run::run([ 'python3', $model, $data, $dir, @policies ], '>', \$totals, '2>', \$complaint);
ok($computed, 'the independent computation runs, and the data has its published control totals') or diag($complaint);
note($totals);
BAIL_OUT('nothing to compare with') if !$computed;
chomp(my $split = slurp_file("$dir/split.txt"));
$split =~ s/\s//g;

$node->safe_psql('postgres', qq{
	CREATE SCHEMA expected;
	CREATE TABLE expected.burn (program text, member_id bigint, points numeric);
	CREATE TABLE expected.kept (program text, line_no bigint, kept numeric, points numeric, owed numeric);
	CREATE TABLE expected.standing (program text, at timestamptz, member_id bigint, available numeric, debt numeric, tier text);
	COPY expected.burn FROM '$dir/burns.csv' (FORMAT csv);
	COPY expected.kept FROM '$dir/kept.csv' (FORMAT csv);
	COPY expected.standing FROM '$dir/standings.csv' (FORMAT csv);
	COPY shop.file (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country)
	FROM '$dir/purchases.csv' (FORMAT csv, HEADER);
	ANALYZE;
	COPY (SELECT * FROM shop.file WHERE line_no <= $split ORDER BY line_no) TO '$dir/first.csv' (FORMAT csv);
	COPY (SELECT * FROM shop.file WHERE line_no > $split ORDER BY line_no) TO '$dir/second.csv' (FORMAT csv);
});
$node->stop;
$node->start;    # nobody is connected to what is copied
$node->safe_psql('template1', "CREATE DATABASE $_ TEMPLATE postgres") for qw(by_statement by_invoice by_row);

# burn DATABASE, WHO: everybody, or those of the sample, as the computation says.
sub burn
{
	my ($database, $who) = @_;
	return $node->safe_psql($database, qq{
		SET loyalty.now = '$burn_at';
		SELECT count(*) FROM expected.burn b, LATERAL loyalty.redeem(b.member_id, points => b.points, program => b.program) WHERE $who});
}

$node->safe_psql('postgres', "COPY shop.invoice_line FROM '$dir/first.csv' (FORMAT csv)");
is(burn('postgres', 'true'), $node->safe_psql('postgres', 'SELECT count(*) FROM expected.burn'), 'everybody could burn what he should have');
$node->safe_psql('postgres', "COPY shop.invoice_line FROM '$dir/second.csv' (FORMAT csv)");
is($node->safe_psql('postgres', 'SELECT count(*) FROM shop.invoice_line'), 541909, 'the shop sold and took back all lines');

# nothing_differs QUERY, NAME: the query lists differences; the first ones are shown.
sub nothing_differs
{
	my ($query, $name) = @_;
	is($node->safe_psql('postgres', "SET TimeZone = 'Europe/London'; $query LIMIT 5"), '', $name);
}

nothing_differs(q{
	SELECT program, line_no, e.kept AS expected, l.kept, e.owed AS expected_to_be_owed, l.owed
	  FROM expected.kept e
	  FULL JOIN (SELECT p.name AS program, l.source_key::bigint AS line_no, sum(l.kept_amount) AS kept, sum(l.owed) / 10000 AS owed
	               FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id GROUP BY 1, 2) l USING (program, line_no)
	 WHERE e.kept IS DISTINCT FROM l.kept OR e.owed IS DISTINCT FROM l.owed
	 ORDER BY 1, 2}, 'of every line as much is kept, and owed, as there should be');
nothing_differs(q{
	SELECT program, line_no, e.points AS expected, l.points
	  FROM expected.kept e
	  LEFT JOIN (SELECT program, source_key::bigint AS line_no, sum(points) AS points FROM loyalty.award_share GROUP BY 1, 2) l USING (program, line_no)
	 WHERE e.points <> coalesce(l.points, 0)
	 ORDER BY 1, 2}, 'and so are its points, rule by rule');
nothing_differs(q{
	SELECT e.program, e.at, e.member_id, e.available AS expected, b.available, e.debt AS expected_debt, b.debt, e.tier AS expected_tier, b.tier
	  FROM expected.standing e
	  LEFT JOIN LATERAL loyalty.balance(e.member_id, e.program, e.at) b ON true
	 WHERE (e.available, e.debt, e.tier) IS DISTINCT FROM (b.available, b.debt, b.tier)
	 ORDER BY 1, 2, 3}, 'every balance, debt and tier is right at every instant');
is($node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.account WHERE program_id = 1'),
	$node->safe_psql('postgres', 'SELECT count(DISTINCT member_id) FROM expected.standing'), 'a return enrolls nobody');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM loyalty.program p WHERE 8905 <> (
		SELECT count(*) FROM (SELECT f.source_key, sum(f.amount) AS amount FROM loyalty.refund f WHERE f.program_id = p.id GROUP BY 1) f
		JOIN shop.invoice_line l ON l.line_no = f.source_key::bigint AND -l.quantity * l.unit_price = f.amount)}), 0,
	'every cancellation is written down with all of its amount');
nothing_differs('SELECT * FROM loyalty.verify()', 'the ledger is sound');
is($node->safe_psql('postgres', q{SELECT string_agg(posted || ' ' || missing || ' ' || orphaned, ', ') FROM loyalty.reconcile('shop.invoice_line')}),
	'0 0 0', 'the table and its awards are in step');

# One state, whatever the statements were.
my $sample = $ENV{LOYALTY_LONG} ? 'true' : 'f.customer_id::bigint % 40 = 7';
my %loads = (
	by_statement => sub { "INSERT INTO shop.invoice_line SELECT * FROM shop.file f WHERE $_[0] ORDER BY line_no" },
	by_invoice => sub { "DO \$\$ DECLARE i record; BEGIN
		FOR i IN SELECT min(f.line_no) AS first, max(f.line_no) AS last, f.invoice_no FROM shop.file f WHERE $_[0] GROUP BY f.invoice_no ORDER BY 1 LOOP
			INSERT INTO shop.invoice_line SELECT * FROM shop.file f WHERE f.line_no BETWEEN i.first AND i.last AND f.invoice_no = i.invoice_no AND $_[0] ORDER BY f.line_no;
		END LOOP; END \$\$" },
	by_row => sub { "DO \$\$ DECLARE l record; BEGIN
		FOR l IN SELECT * FROM shop.file f WHERE $_[0] ORDER BY f.line_no LOOP
			INSERT INTO shop.invoice_line VALUES (l.line_no, l.invoice_no, l.stock_code, l.description, l.quantity, l.invoice_date,
				l.unit_price, l.customer_id, l.country);
		END LOOP; END \$\$" });
my $state = q{
	SET TimeZone = 'UTC';
	SELECT 'account', to_jsonb(a) FROM loyalty.account a ORDER BY a.program_id, a.member_id;
	SELECT 'lot', to_jsonb(l) - 'posted_at' FROM loyalty.lot l ORDER BY l.program_id, l.member_id, l.entry_no;
	SELECT 'movement', to_jsonb(m) - 'posted_at' - 'redemption_id' FROM loyalty.movement m ORDER BY m.program_id, m.member_id, m.entry_no;
	SELECT 'refund', to_jsonb(f) - 'posted_at' FROM loyalty.refund f ORDER BY f.program_id, f.member_id, f.source_key, f.part;
	SELECT 'debt', to_jsonb(d) FROM loyalty.debt d ORDER BY d.program_id, d.member_id, d.entry_no;
	SELECT 'tier_change', to_jsonb(t) - 'posted_at' FROM loyalty.tier_change t ORDER BY t.program_id, t.member_id, t.at, t.change_no;
};
my %states;
for my $database (sort keys %loads)
{
	$node->safe_psql($database, $loads{$database}->("$sample AND f.line_no <= $split"));
	burn($database, $sample =~ s/f\.customer_id/b.member_id/r);
	$node->safe_psql($database, $loads{$database}->("$sample AND f.line_no > $split"));
	$states{$database} = $node->safe_psql($database, $state);
}
note(length($states{by_row}) . ' bytes of state, ' . $node->safe_psql('by_row', 'SELECT count(*) FROM loyalty.refund') . ' refunds');
cmp_ok($node->safe_psql('by_row', 'SELECT count(*) FROM loyalty.refund WHERE of_key IS NOT NULL'), '>', 100, 'there are returns in the sample');
ok($states{by_invoice} eq $states{by_statement}, 'invoice by invoice: the same as by one statement');
ok($states{by_row} eq $states{by_statement}, 'row by row: the same as by one statement');
my $same = q{SELECT md5(string_agg(concat_ws('|', l.program_id, l.member_id, l.source_key, l.remaining, l.owed, l.kept_amount, l.expires_at), ',' ORDER BY l.program_id, l.source_key))
	FROM loyalty.lot l WHERE } . ($ENV{LOYALTY_LONG} ? 'true' : 'l.member_id % 40 = 7');
is($node->safe_psql('by_row', $same), $node->safe_psql('postgres', $same), 'and the same as by COPY of all');

# The controls: comparisons that find nothing must be able to find something.
isnt($node->safe_psql('postgres', q{
	UPDATE loyalty.refund SET amount = amount + 0.01 WHERE source_key = (SELECT min(f.source_key) FROM loyalty.refund f
		JOIN loyalty.lot l ON l.source_id = f.of_source_id AND l.source_key = f.of_key WHERE l.kept_amount > 1);
	SELECT string_agg(DISTINCT invariant, ' ') FROM loyalty.verify()}), '', 'control: a return of a penny more is seen');
$node->safe_psql('by_row', q{UPDATE loyalty.lot SET kept_amount = kept_amount - 0.001 WHERE ctid = (SELECT min(ctid) FROM loyalty.lot WHERE kept_amount > 1)});
ok($node->safe_psql('by_row', $state) ne $states{by_statement}, 'control: a mill less in one line is another state');

done_testing();
