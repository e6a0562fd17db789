# Reading on a streaming standby: balances, views and functions give there what they give on the primary, at any
# instant, with no job; and they write nothing.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
	CREATE EXTENSION loyalty;
	SELECT loyalty.install();
	INSERT INTO loyalty.program (name, timezone, expiry, pending, sandbox) VALUES ('p', 'Europe/Istanbul', '6 months, end of month', '2 days', true);
	INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 500, 0.5);
	SELECT loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
	INSERT INTO sale SELECT i, i % 7, i, timestamptz '2020-01-01 00:00+00' + i * interval '1 day' FROM generate_series(1, 400) i;
	SET loyalty.now = '2021-02-05 00:00+00';
	SELECT FROM loyalty.redeem(3, points => 100);
	UPDATE sale SET total = total / 2 WHERE id % 10 = 0;
});
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

# what every view and function says at an instant, in one line each
sub readings
{
	my ($node, $now) = @_;
	my @queries = (
		(map { "SELECT md5(string_agg(v::text, E'\\n' ORDER BY v::text)), count(*) FROM loyalty.$_ v" }
			  qw(member_balance statement award_share expiring program_daily tier_standing tier_movement rule_performance reward_performance)),
		"SELECT string_agg(b::text, ' ') FROM generate_series(0, 6) m, loyalty.balance(m) b",
		"SELECT string_agg(b::text, ' ') FROM generate_series(0, 6) m, loyalty.balance(m, at => '2020-08-01 00:00+00') b",
		"SELECT string_agg(a::text, ' ') FROM loyalty.award('sale', '10') a",
		"SELECT string_agg(w::text, ' ') FROM loyalty.why_not('sale', '10') w",
		q{SELECT string_agg(q::text, ' ') FROM loyalty.quote('sale', '{"who": 3, "total": 700, "at": "2021-02-06"}') q},
		"SELECT count(*) FROM loyalty.verify()");
	return join("\n", map { $node->safe_psql('postgres', "SET loyalty.now = '$now'; $_") } @queries);
}

$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'the standby is one');
for my $now ('2021-02-05 00:00+00', '2021-02-06 23:59:59.999999+00', '2021-06-30 20:59:59.999999+00', '2021-06-30 21:00+00', '2030-01-01 00:00+00')
{
	my $there = readings($primary, $now);
	is(readings($standby, $now), $there, "the same at $now");
	unlike($there, qr/^$/m, "and all of them answer at $now");
}

# a rule that is changed and a sale that is made are seen, without a new session
my $session = $standby->background_psql('postgres') if $standby->can('background_psql');
my $points = q{SELECT points FROM loyalty.quote('sale', '{"who": 100, "total": 10, "at": "2021-02-06"}')};
is($session->query_safe($points), '10', 'a session of the standby quotes') if $session;
$primary->safe_psql('postgres', q{UPDATE loyalty.rule SET points = 'earn.amount * 2'; INSERT INTO sale VALUES (1000, 9, 10, '2021-02-06')});
$primary->wait_for_catchup($standby);
is($session->query_safe($points), '20', 'and by the new rule once that has come') if $session;
$session->quit if $session;
is($standby->safe_psql('postgres', $points), '20', 'the new rule has come');
is($standby->safe_psql('postgres', "SELECT available + pending FROM loyalty.balance(9, at => '2021-02-07 00:00+00')"), '20', 'so has the sale');

# an account that is not known is the same error
my ($code, $out, $error) = $standby->psql('postgres', 'SELECT * FROM loyalty.balance(4711)');
like($error, qr/member 4711 has no account/, 'an unknown member');

done_testing();
