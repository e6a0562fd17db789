# Many sessions at one balance: of twenty that hold or burn all of it at once one succeeds, of twenty that capture and
# release one hold one does, and nothing is given back twice.
#
#   LOYALTY_TRIES=…  how often each of 20 sessions tries, 100 when not said

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tries = $ENV{LOYALTY_TRIES} // 100;
my $members = 60;
my $node = PostgreSQL::Test::Cluster->new('holds');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 40\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;

$node->safe_psql('postgres', qq{
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install();
INSERT INTO loyalty.program (name) VALUES ('p');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('p', 'prize', 100, 40);
SELECT loyalty.enroll(i, 'p') FROM generate_series(1, $members) i;
SELECT loyalty.adjust(i, 50, 'to begin with', 'p') FROM generate_series(1, $members) i, generate_series(1, 2);
CREATE TABLE done (member bigint, redemption bigint, what text);
CREATE TABLE naive (member bigint PRIMARY KEY, balance int);
INSERT INTO naive SELECT i, 100 FROM generate_series(1, $members) i;

-- all that the member has, in one of three ways
CREATE FUNCTION take(m bigint, how int) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
  r record;
BEGIN
  SELECT * INTO r FROM loyalty.redeem(m, reward => CASE how WHEN 3 THEN 'prize' END, points => CASE WHEN how < 3 THEN 100 END,
                                      program => 'p', hold => CASE WHEN how > 1 THEN '1 day'::interval END);
  INSERT INTO done VALUES (m, r.redemption_id, r.state);
EXCEPTION WHEN SQLSTATE 'LY001' OR SQLSTATE 'LY005' THEN
  NULL;
END \$\$;

-- a redemption of the member comes to an end, or is undone
CREATE FUNCTION finish(m bigint, how int) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
  id bigint := (SELECT min(redemption_id) FROM loyalty.redemption WHERE member_id = m);
BEGIN
  CASE how
    WHEN 1 THEN PERFORM loyalty.capture(m, id, 60);
    WHEN 2 THEN PERFORM loyalty.release(m, id);
    WHEN 3 THEN PERFORM loyalty.reverse(m, id, 20);
  END CASE;
  INSERT INTO done VALUES (m, id, (ARRAY['capture', 'release', 'reverse'])[how]);
EXCEPTION WHEN SQLSTATE 'LY006' THEN
  NULL;
END \$\$;

-- the control: looks, then takes
CREATE FUNCTION take_naively(m bigint) RETURNS void LANGUAGE plpgsql AS \$\$
DECLARE
  has int := (SELECT balance FROM naive WHERE member = m);
BEGIN
  IF has >= 100 THEN
    PERFORM pg_sleep(0.002);
    UPDATE naive SET balance = balance - 100 WHERE member = m;
  END IF;
END \$\$;
});

sub together
{
	my ($name, $script) = @_;
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, $script);
	$node->command_ok([ 'pgbench', '-n', '-c', 20, '-j', 4, '-t', $tries, '-f', $file, 'postgres' ], "20 sessions, $name");
}

sub sound
{
	my ($when) = @_;
	is($node->safe_psql('postgres', 'SELECT * FROM loyalty.verify()'), '', "the ledger is sound after $when");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM loyalty.account WHERE available < 0 OR held < 0 OR available + held > 1000000'), '0', "nobody has less than nothing, or more than there was, after $when");
}

together('take', "\\set m random(1, $members)\n\\set how random(1, 3)\nSELECT take(:m, :how);\n");
sound('taking');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT member) FROM done'), "$members|$members", 'each balance was taken once');
is($node->safe_psql('postgres', q{SELECT 40 - sum(left_over) - (SELECT count(*) FROM loyalty.redemption WHERE reward_id IS NOT NULL) FROM loyalty.reward_stock}),
	'0', 'a piece for each prize');

$node->safe_psql('postgres', 'DELETE FROM done');
together('finish', "\\set m random(1, $members)\n\\set how random(1, 3)\nSELECT finish(:m, :how);\n");
sound('finishing');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT redemption FROM done WHERE what <> 'reverse' GROUP BY 1 HAVING count(*) > 1) x}), '0', 'each hold ended once');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM done WHERE what <> 'reverse'}), '>', 10, 'holds ended');
is($node->safe_psql('postgres', q{SELECT count(*) FROM loyalty.redemption r JOIN (SELECT redemption, count(*) AS n FROM done WHERE what = 'reverse' GROUP BY 1) d ON d.redemption = r.redemption_id
	WHERE r.taken <> CASE WHEN EXISTS (SELECT FROM done c WHERE c.redemption = r.redemption_id AND c.what = 'capture') THEN 600000 ELSE 1000000 END - d.n * 200000}),
	'0', 'what was reversed came back as often as it was said');
is($node->safe_psql('postgres', q{SELECT 40 - sum(left_over) - (SELECT count(*) FROM loyalty.redemption WHERE reward_id IS NOT NULL AND state IN ('held', 'captured')) FROM loyalty.reward_stock}),
	'0', 'the pieces of what was given up are back, once');

together('naively', "\\set m random(1, $members)\nSELECT take_naively(:m);\n");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM naive WHERE balance < 0'), '>', 0, 'control: who looks before taking takes twice');

done_testing();
