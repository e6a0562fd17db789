# A year of a real web shop, line by line, against a computation that knows only the documented semantics: every award,
# every balance and every tier of every customer, at instants before and after points die and tiers lapse.

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
my $model = dirname(dirname(__FILE__)) . '/model/online_retail.py';

plan skip_all => "needs the data set UCI Online Retail as $data (LOYALTY_SHARED names the directory above data)"
  if !-r $data;
plan skip_all => 'needs python3, which the independent computation is written in'
  if system('python3 -c "import lzma, zoneinfo" >/dev/null 2>&1') != 0;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($totals, $complaint);
my $computed = IPC::Run::run([ 'python3', $model, $data, $dir ], '>', \$totals, '2>', \$complaint);
ok($computed, 'the independent computation runs, and the data has its published control totals') or diag($complaint);
note($totals);
BAIL_OUT('nothing to compare with') if !$computed;

my $node = PostgreSQL::Test::Cluster->new('online_retail');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nmax_wal_size = 4GB\nwork_mem = '32MB'");
$node->start;

# The shop: an ordinary table, with the line's number as its key.
$node->safe_psql('postgres', q{
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
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
});

for my $p (
	{   name => 'pounds', expiry => '12 months, end of month', period => 'calendar year', validity => '12 months',
		silver => 1000, gold => 5000 },
	{   name => 'quick', expiry => '3 months, end of month', period => 'calendar quarter', validity => '3 months',
		silver => 300, gold => 1500 })
{
	$node->safe_psql('postgres', qq{
		INSERT INTO loyalty.program (name, timezone, expiry, tier_metric, tier_period, tier_validity)
		VALUES ('$p->{name}', 'Europe/London', '$p->{expiry}', 'spend', '$p->{period}', '$p->{validity}');
		INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus)
		VALUES ('$p->{name}', 'bronze', 0, 0, 0), ('$p->{name}', 'silver', 1, $p->{silver}, 0.1),
		       ('$p->{name}', 'gold', 2, $p->{gold}, 0.25);
		SELECT loyalty.attach('shop.invoice_line', program => '$p->{name}', member => 'customer_id::bigint',
			amount => 'quantity * unit_price', occurred_at => 'invoice_date',
			condition => 'quantity > 0 and unit_price > 0');
		INSERT INTO loyalty.rule (program, source, name, kind, points, condition) VALUES
			('$p->{name}', 'invoice_line', 'one per pound', 'base', \$\$earn.amount * loyalty.earn_rate '1 per 1'\$\$, NULL),
			('$p->{name}', 'invoice_line', 'double on Sundays', 'bonus', 'earn.base',
			 'extract(isodow from earn.local_time) = 7');
	});
}

$node->safe_psql('postgres', qq{
	COPY shop.invoice_line (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country)
	FROM '$dir/purchases.csv' (FORMAT csv, HEADER);
	CREATE SCHEMA expected;
	CREATE TABLE expected.line (program text, line_no bigint, points numeric, expires_at timestamptz);
	CREATE TABLE expected.standing (program text, at timestamptz, member_id bigint, enrolled boolean, available numeric, tier text);
	CREATE TABLE expected.account (program text, member_id bigint, points numeric, spend numeric);
	COPY expected.line FROM '$dir/lines.csv' (FORMAT csv);
	COPY expected.standing FROM '$dir/standings.csv' (FORMAT csv);
	COPY expected.account FROM '$dir/accounts.csv' (FORMAT csv);
	ANALYZE;
});
is($node->safe_psql('postgres', 'SELECT count(*) FROM shop.invoice_line'), 541909, 'the shop sold all lines');

# nothing_differs QUERY, NAME: the query lists differences; the first ones are shown.
sub nothing_differs
{
	my ($query, $name) = @_;
	my $differences = $node->safe_psql('postgres', "SET TimeZone = 'Europe/London'; $query LIMIT 5");
	is($differences, '', $name);
}

nothing_differs(q{
	SELECT program, line_no, e.points AS expected, l.points, e.expires_at AS expected_to_expire, l.expires_at
	  FROM expected.line e
	  FULL JOIN (SELECT p.name AS program, l.source_key::bigint AS line_no, sum(l.points) / 10000 AS points,
	                    max(l.expires_at) AS expires_at
	               FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id GROUP BY 1, 2) l USING (program, line_no)
	 WHERE e.points IS DISTINCT FROM l.points
	    OR (e.expires_at IS DISTINCT FROM l.expires_at AND e.points > 0)    -- an award of no points has nothing to expire
	 ORDER BY 1, 2}, 'every line has its award, with its points and its expiry, and no other line has one');

nothing_differs(q{
	SELECT program, member_id, e.points AS expected, s.points
	  FROM expected.account e
	  FULL JOIN (SELECT program, member_id, sum(points) AS points FROM loyalty.award_share GROUP BY 1, 2) s
	       USING (program, member_id)
	 WHERE e.points IS DISTINCT FROM s.points
	 ORDER BY 1, 2}, 'the shares of the rules add up to what each customer earned');

nothing_differs(q{
	SELECT e.program, e.at, e.member_id, e.available AS expected, b.available
	  FROM expected.standing e
	  LEFT JOIN LATERAL loyalty.balance(e.member_id, e.program, e.at) b ON true
	 WHERE e.available IS DISTINCT FROM coalesce(b.available, 0)
	 ORDER BY 1, 2, 3}, 'every balance is right at every instant');

nothing_differs(q{
	SELECT e.program, e.at, e.member_id, e.tier AS expected, b.tier
	  FROM expected.standing e
	  LEFT JOIN LATERAL loyalty.balance(e.member_id, e.program, e.at) b ON true
	 WHERE e.enrolled AND e.tier IS DISTINCT FROM b.tier
	 ORDER BY 1, 2, 3}, 'every tier is right at every instant');

# The views read the same as the function, as of an instant after everybody's last purchase.
for my $at ('2012-01-01 00:00', '2012-04-01 00:00')
{
	nothing_differs(qq{
		SET loyalty.now = '$at Europe/London';
		SELECT e.program, e.member_id, e.available AS expected, b.available, e.tier AS expected_tier, b.tier
		  FROM expected.standing e
		  LEFT JOIN loyalty.member_balance b USING (program, member_id)
		 WHERE e.at = '$at Europe/London'
		   AND (e.available IS DISTINCT FROM b.available OR e.tier IS DISTINCT FROM b.tier)
		 ORDER BY 1, 2}, "the view member_balance agrees as of $at");
}

nothing_differs('SELECT * FROM loyalty.verify()', 'the ledger is sound');

# The control: a comparison that finds nothing must be able to find something.
isnt($node->safe_psql('postgres', q{
	UPDATE expected.line SET points = points + 1 WHERE program = 'pounds' AND line_no = 1;
	SELECT count(*) FROM expected.line e JOIN loyalty.program p ON p.name = e.program
	  JOIN loyalty.lot l ON l.program_id = p.id AND l.source_key = e.line_no::text WHERE e.points <> l.points / 10000.0;
}), 0, 'control: one point too much in one line is seen');

done_testing();
