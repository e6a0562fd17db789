# The same random statements through store_heap and through store_sql: every answer and every row of the ledger is the
# same.  A third database has ledger tables that are partitioned and have triggers, where store_sql is chosen by itself.
#
#   LOYALTY_SEED=…        another run (random: any; the seed is printed)
#   LOYALTY_STATEMENTS=…  how many statements, 2200 when not said

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{LOYALTY_SEED} // 20261121;
$seed = int(rand(2**31)) if $seed eq 'random';
my $statements = $ENV{LOYALTY_STATEMENTS} // 2200;
note("LOYALTY_SEED=$seed LOYALTY_STATEMENTS=$statements");
diag("LOYALTY_SEED=$seed") if $ENV{LOYALTY_SEED};
srand($seed);

# ---- what is there before ----

my $setup = q{
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0;
CREATE SCHEMA shop;
CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, kind text, ok boolean, at timestamptz);
CREATE TABLE shop.part (id int PRIMARY KEY, who bigint, total numeric, kind text, ok boolean, at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE shop.part_low (at timestamptz, gone int, ok boolean, kind text, total numeric, who bigint, id int NOT NULL);
ALTER TABLE shop.part_low DROP COLUMN gone;
ALTER TABLE shop.part ATTACH PARTITION shop.part_low FOR VALUES FROM (MINVALUE) TO (1000000);
CREATE TABLE shop.part_high PARTITION OF shop.part FOR VALUES FROM (1000000) TO (MAXVALUE);
CREATE TABLE shop.back (no int PRIMARY KEY, of int, who bigint, total numeric, at timestamptz);
CREATE TABLE shop.line (doc text, pos int, who bigint, total numeric, kind text, ok boolean, at timestamptz, PRIMARY KEY (doc, pos));
CREATE TABLE shop.paid (id int PRIMARY KEY, who bigint, total numeric, spent numeric, at timestamptz);

INSERT INTO loyalty.program (name, timezone, decimals, rounding, expiry, pending, tier_metric, tier_period, tier_validity, sandbox) VALUES
  ('a', 'Europe/Istanbul', 2, 'half_up', '60 days', '3 days', 'spend', 'calendar month', '1 month', true);
INSERT INTO loyalty.program (name, expiry, enrollment, clawback, tier_metric, tier_period, tier_validity, sandbox) VALUES
  ('b', '3 months, end of month', 'explicit', 'pending_only', 'points', 'week', '20 days', true);
INSERT INTO loyalty.program (name, expiry, pending, clawback, on_return, tier_metric, tier_period, sandbox) VALUES
  ('c', '40 days', '5 days', 'debt', 'grace', 'points', 'calendar month', true);
INSERT INTO loyalty.program (name, timezone, decimals, expiry, tier_metric, tier_period, tier_validity, sandbox) VALUES
  ('r', 'America/Los_Angeles', 1, '40 days', 'visits', 'rolling 1 month 3 days', '6 days', true), ('f', 'Pacific/Auckland', 0, 'never', 'stays', 'rolling 20 days', '0', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES
  ('a', 'low', 0, 0, 0), ('a', 'mid', 1, 300, 0.25), ('a', 'top', 2, 2000, 1), ('b', 'in', 0, 0, 0), ('b', 'up', 1, 500, 0.5), ('c', 'one', 0, 0, 0), ('c', 'two', 1, 200, 0.5),
  ('r', 'one', 0, 0, 0), ('r', 'two', 1, 4, 0.5), ('f', 'one', 0, 0, 0), ('f', 'two', 1, 3, 0.5), ('f', 'three', 2, 30, 1);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
  ('a', 'mid', 1, 'nights', 20), ('a', 'mid', 1, 'spend', 50), ('b', 'up', 1, 'visits', 3), ('r', 'two', 1, 'spend', 900), ('r', 'two', 2, 'half', 12.5);
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('a', 'cup', 25, 4000), ('a', 'pen', 3.5, NULL), ('b', 'bag', 40, NULL);
SELECT loyalty.attach('shop.sale', program => 'a', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok');
SELECT loyalty.attach('shop.sale', program => 'b', member => 'who', amount => 'total', occurred_at => 'at');
SELECT loyalty.attach('shop.sale', program => 'c', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok');
SELECT loyalty.attach('shop.sale', program => 'r', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok');
SELECT loyalty.attach('shop.part', program => 'f', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok', visit => 'kind');
SELECT loyalty.attach('shop.part', program => 'a', member => 'who', amount => 'total', occurred_at => 'at', condition => 'ok', on_delete => 'keep');
SELECT loyalty.attach('shop.back', program => 'a', member => 'who', amount => 'total', occurred_at => 'at', refund_of => 'of', refund_source => 'sale');
SELECT loyalty.attach('shop.line', program => 'a', member => 'who', amount => 'total', occurred_at => 'at', on_error => 'skip');
SELECT loyalty.attach('shop.paid', program => 'a', member => 'who', amount => 'total', occurred_at => 'at', points_spent => 'spent', on_error => 'skip');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, exclusive_group, expiry, pending) VALUES
  ('a', 'sale', 'sale base', 'base', 'earn.amount * 0.37', NULL, NULL, NULL, NULL),
  ('a', 'sale', 'short', 'base', 'earn.amount * 0.1', $$kind = 'x'$$, NULL, '7 days', '0'),
  ('a', 'sale', 'long', 'bonus', 'earn.base', $$kind = 'y'$$, 'g', '200 days', '20 days'),
  ('a', 'sale', 'flat', 'bonus', '11.115', $$kind IN ('x', 'y')$$, 'g', NULL, NULL),
  ('a', 'sale', 'vip', 'bonus', '5', $$member.attributes->>'vip' = 'yes'$$, NULL, NULL, NULL),
  ('b', 'sale', 'b base', 'base', 'earn.amount', $$kind <> 'z'$$, NULL, NULL, NULL),
  ('c', 'sale', 'c base', 'base', 'earn.amount * 0.21', NULL, NULL, NULL, '0'),
  ('c', 'sale', 'c later', 'base', 'earn.amount * 0.1', $$kind <> 'z'$$, NULL, '9 days', NULL),
  ('a', 'part', 'part base', 'base', 'earn.amount', NULL, NULL, NULL, NULL),
  ('a', 'paid', 'paid base', 'base', 'earn.amount / 3', NULL, NULL, '20 days', '0'),
  ('a', 'line', 'line base', 'base', 'earn.amount / (total - 13)', NULL, NULL, '30 days', NULL);
UPDATE loyalty.rule SET cap = 60, cap_period = 'rolling 1 month', cooldown = '2 hours' WHERE name = 'b base';
UPDATE loyalty.rule SET max_uses = 3, uses_period = 'rolling 15 days', cap = 20, cap_period = 'calendar month' WHERE name = 'c later';
UPDATE loyalty.unit SET decimals = 1 WHERE name = 'half';
INSERT INTO loyalty.rule (program, source, name, kind, unit, points, condition, cap, cap_period) VALUES
  ('a', 'sale', 'night', 'base', 'nights', 'earn.amount / 40', NULL, NULL, NULL),
  ('a', 'sale', 'double night', 'bonus', 'nights', 'earn.base', $$kind = 'x'$$, 5, 'calendar month'),
  ('r', 'sale', 'half', 'base', 'half', 'earn.amount / 30', $$kind <> 'z'$$, NULL, NULL),
  ('r', 'sale', 'r base', 'base', NULL, 'earn.amount', NULL, NULL, NULL),
  ('f', 'part', 'stay', 'base', 'stays', '1', NULL, NULL, NULL),
  ('f', 'part', 'f base', 'base', NULL, $$case when (account.units ->> 'stays')::numeric > 2 then 2 else 1 end + account.visits$$, NULL, NULL, NULL);
INSERT INTO loyalty.member (member_id, attributes) SELECT i, '{"vip": "yes"}' FROM generate_series(1, 60, 7) i;
INSERT INTO loyalty.member (member_id, status) VALUES (13, 'excluded');
};

# Tables as somebody may have made them; the trigger tells whether SQL writes them.
my $split_up = q{
SET client_min_messages = warning;
SET loyalty.allow_drop = on;
CREATE TABLE shop.fired (name text, operation text);
CREATE FUNCTION shop.fire() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO shop.fired VALUES (TG_ARGV[0], TG_OP); RETURN NULL; END $$;
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['account', 'movement', 'debt', 'tier_change', 'redemption', 'request'] LOOP
    EXECUTE format('ALTER TABLE loyalty.%I RENAME TO %I', t, t || '_plain');
    EXECUTE format('CREATE TABLE loyalty.%I (LIKE loyalty.%I INCLUDING ALL EXCLUDING IDENTITY) PARTITION BY HASH (member_id)', t, t || '_plain');
    FOR i IN 0..2 LOOP
      EXECUTE format('CREATE TABLE loyalty.%I PARTITION OF loyalty.%I FOR VALUES WITH (MODULUS 3, REMAINDER %s)', t || '_' || i, t, i);
    END LOOP;
  END LOOP;
  FOREACH t IN ARRAY ARRAY['account', 'lot', 'movement', 'debt', 'refund', 'tier_change', 'redemption', 'request'] LOOP
    EXECUTE format('CREATE TRIGGER fire AFTER INSERT OR UPDATE ON loyalty.%I FOR EACH ROW EXECUTE FUNCTION shop.fire(%L)', t, t);
  END LOOP;
END $$;
};

# ---- random statements ----

my @script;
my $made = 0;
my ($next_id, $next_doc) = (1, 1);
my $day = 0;
my $transaction = 0;

sub pick { return $_[ int(rand(@_)) ]; }
sub between { my ($low, $high) = @_; return $low + int(rand($high - $low + 1)); }
sub emit { push @script, @_; $made += @_; }
sub instant { my ($d) = @_; return sprintf("'2024-01-01 00:00+00'::timestamptz + interval '%d hours'", int($d * 24)); }
sub old_id { return between(1, $next_id > 1 ? $next_id - 1 : 1); }

# When: mostly about now, sometimes late, sometimes ahead.
sub when
{
	my $r = rand();
	return instant($r < 0.75 ? $day - rand(2) : $r < 0.95 ? $day - rand(50) : $day + rand(5));
}

# Members 1 to 60, a few of nobody, some new.
sub who { my $r = rand(); return $r < 0.03 ? 'NULL' : $r < 0.9 ? between(1, 60) : between(61, 400); }
sub total { return rand() < 0.05 ? '0' : rand() < 0.03 ? '-1' : sprintf('%.2f', rand() < 0.9 ? rand(90) : rand(3000)); }
sub kind { return pick("'x'", "'y'", "'z'", "'n'", 'NULL'); }
sub counts { return rand() < 0.85 ? 'true' : rand() < 0.5 ? 'false' : 'NULL'; }
sub values_of { return join(', ', who(), total(), kind(), counts(), when()); }
sub table { return pick('shop.sale', 'shop.sale', 'shop.part'); }

sub insert_rows
{
	my ($table, $n) = @_;
	my @rows = map { '(' . (rand() < 0.04 ? old_id() : $next_id++) . ', ' . values_of() . ')' } 1 .. $n;
	my $conflict = pick('', ' ON CONFLICT DO NOTHING', ' ON CONFLICT (id) DO UPDATE SET total = EXCLUDED.total, who = EXCLUDED.who');
	# two rows of one key cannot be updated by one statement: that is refused on both sides alike
	return "INSERT INTO $table (id, who, total, kind, ok, at) VALUES " . join(', ', @rows) . $conflict;
}

# Above the threshold from which keys are hoped to be new; `again`: some of them are not.
sub insert_many
{
	my ($table, $again) = @_;
	my $first = $next_id;
	my $n = between(2000, 2600);
	my $members = pick(10, 300, 5000);
	my $seconds = between(1, 40);
	my $factor = between(1, 90);
	my $where = '';
	$next_id += $n;
	if ($again)
	{
		# their rows are gone, their lots are not
		my $old = old_id();
		emit("DELETE FROM $table WHERE id BETWEEN $old AND $old + 7");
		$where = "UNION ALL SELECT i FROM generate_series($old, $old + 7) i WHERE NOT EXISTS (SELECT FROM $table WHERE id = i)";
	}
	return "INSERT INTO $table (id, who, total, kind, ok, at) SELECT i, (i * 7919::bigint) % $members + 1, (i * $factor) % 100,"
	  . " CASE i % 3 WHEN 0 THEN 'x' WHEN 1 THEN 'y' END, i % 11 <> 0, " . instant($day) . " - i % 100 * interval '$seconds seconds'"
	  . " FROM (SELECT i FROM generate_series($first, $first + $n - 1) i $where) k";
}

sub insert_lines
{
	my @rows = map { "('d' || " . (rand() < 0.2 ? between(1, $next_doc) : $next_doc++) . ', ' . between(1, 3) . ', ' . who() . ', ' . pick('13', total()) . ", 'n', true, " . when() . ')' } 1 .. between(1, 12);
	return 'INSERT INTO shop.line VALUES ' . join(', ', @rows) . ' ON CONFLICT DO NOTHING';
}

# Sales that are paid with points, changed and taken back.
sub paid
{
	my $id = between(1, 40);
	my $many = rand() < 0.3 ? "BETWEEN $id AND " . ($id + 5) : "= $id";
	return pick(
		"INSERT INTO shop.paid SELECT i, " . between(1, 20) . " + i % 3, " . total() . ", i % " . between(1, 30) . ", " . when() . " FROM generate_series($id, $id + " . between(0, 9) . ") i ON CONFLICT DO NOTHING",
		"UPDATE shop.paid SET total = " . total() . " WHERE id $many",
		"UPDATE shop.paid SET spent = " . between(-1, 25) . " WHERE id $many",
		"UPDATE shop.paid SET who = " . between(1, 20) . " WHERE id $many",
		"DELETE FROM shop.paid WHERE id $many",
		"WITH d AS (DELETE FROM shop.paid WHERE id $many RETURNING *) INSERT INTO shop.paid SELECT id, who, total / 2, spent, at FROM d");
}

sub update_rows
{
	my $table = table();
	my $id = old_id();
	my $many = rand() < 0.3 ? "BETWEEN $id AND " . ($id + between(1, 40)) : "= $id";
	my $what = pick('total = total / 2', 'total = total + 17.5', 'total = total * 3', 'total = 0', 'ok = NOT ok', 'who = ' . who(),
		'kind = ' . kind(), 'at = ' . when(), 'total = total', "who = who + 1, total = total + 1");
	return "UPDATE $table SET $what WHERE id $many";
}

# Returns in a table of their own: of an old sale, of one that is to come, of none.
sub returns
{
	my $of = pick(old_id(), old_id(), $next_id + between(0, 3), 'NULL');
	my $no = between(1, 150);
	return pick(
		"INSERT INTO shop.back VALUES ($no, $of, " . who() . ', ' . sprintf('%.2f', rand(60)) . ', ' . when() . ') ON CONFLICT (no) DO UPDATE SET total = EXCLUDED.total, of = EXCLUDED.of',
		"INSERT INTO shop.back VALUES ($no, $of, " . who() . ', ' . sprintf('%.2f', rand(60)) . ', ' . when() . ') ON CONFLICT (no) DO NOTHING',
		"UPDATE shop.back SET total = total * 2, who = " . who() . " WHERE no BETWEEN $no AND $no + 5",
		"UPDATE shop.back SET of = $of WHERE no = $no",
		"DELETE FROM shop.back WHERE no BETWEEN $no AND $no + 3",
		"UPDATE shop.sale SET total = -total WHERE id = " . old_id());
}

sub other_row_statement
{
	my $id = old_id();
	my $table = table();
	return pick(
		"DELETE FROM $table WHERE id = $id",
		"DELETE FROM $table WHERE id BETWEEN $id AND " . ($id + between(1, 25)),
		"UPDATE $table SET id = id + 5000000 WHERE id = $id",
		"UPDATE shop.part SET id = 9000000 - id WHERE id = $id",
		"WITH d AS (DELETE FROM $table WHERE id = $id RETURNING *) INSERT INTO $table (id, who, total, kind, ok, at) SELECT id, who, total + 5, kind, ok, at FROM d",
		"WITH d AS (DELETE FROM shop.sale WHERE id = $id RETURNING *) INSERT INTO shop.sale (id, who, total, kind, ok, at) SELECT id, who + 1, total, kind, true, at FROM d",
		"MERGE INTO $table t USING (VALUES ($id, " . total() . "), (" . $next_id++ . ", " . total() . ")) v (id, total) ON t.id = v.id"
		  . " WHEN MATCHED THEN UPDATE SET total = v.total WHEN NOT MATCHED THEN INSERT VALUES (v.id, " . between(1, 60) . ", v.total, 'x', true, " . when() . ")",
		"UPDATE shop.line SET total = total + " . between(-5, 20) . " WHERE doc = 'd' || " . between(1, $next_doc),
		"DELETE FROM shop.line WHERE doc = 'd' || " . between(1, $next_doc),
		"INSERT INTO shop.part_low (id, who, total, kind, ok, at) VALUES (" . $next_id++ . ", " . values_of() . ") ON CONFLICT DO NOTHING",
		"DO \$\$ BEGIN " . insert_rows($table, 3) . "; PERFORM 1 / (random() * 0)::int; EXCEPTION WHEN OTHERS THEN " . update_rows() . "; END \$\$");
}

# One that the member has, most often in this state.
sub redemption
{
	my ($member, $state) = @_;
	$state = 'released' if rand() < 0.05;
	return "(SELECT " . pick('min', 'max') . "(redemption_id) FROM loyalty.redemption WHERE member_id = $member AND state = '$state')";
}

sub call
{
	my $member = between(1, 80);
	my $program = pick("'a'", "'a'", "'b'", "'c'", "'c'");
	my $key = rand() < 0.6 ? ", key => 'k" . between(1, 9) . "'" : '';
	return pick(
		"SELECT * FROM loyalty.redeem($member, points => " . between(1, 20) . ", program => 'a'$key)",
		"SELECT * FROM loyalty.redeem($member, 'pen', program => 'a'$key)",
		"SELECT * FROM loyalty.redeem($member, points => " . between(1, 60) . ", program => $program$key)",
		"SELECT * FROM loyalty.redeem($member, " . pick("'cup'", "'pen'", "'bag'") . ", quantity => " . between(1, 3) . ", program => $program$key)",
		"SELECT * FROM loyalty.redeem($member, points => " . between(1, 30) . ", program => $program$key, hold => '" . between(1, 60) . " hours')",
		"SELECT * FROM loyalty.redeem($member, 'cup', program => 'a'$key, hold => '" . between(1, 600) . " minutes')",
		"SELECT * FROM loyalty.capture($member, " . redemption($member, 'held') . (rand() < 0.5 ? ', points => ' . between(1, 15) : '') . "$key)",
		"SELECT * FROM loyalty.release($member, " . redemption($member, 'held') . "$key)",
		"SELECT * FROM loyalty.reverse($member, " . redemption($member, 'captured') . (rand() < 0.6 ? ', points => ' . between(1, 15) : '') . "$key)",
		"SELECT * FROM loyalty.adjust($member, " . between(-30, 80) . ", 'test', program => $program$key" . pick('', ', counts_for_tier => true', ', available_at => ' . instant($day + 4), ', expires_at => ' . instant($day + 9)) . ')',
		"SELECT * FROM loyalty.enroll($member, $program" . pick('', ', at => ' . when(), ", attributes => '{\"vip\": \"yes\"}'") . ')',
		"SELECT * FROM loyalty.transfer($member, " . between(1, 80) . ", " . between(1, 25) . ", program => $program$key)",
		"SELECT * FROM loyalty.change_expiry($member, " . instant($day + between(-1, 90)) . ", 'test', program => $program$key)",
		"SELECT * FROM loyalty.change_expiry($member, " . pick("'infinity'", instant($day + 30)) . ", 'test', ARRAY[" . between(1, 40) . ", " . between(1, 40) . "], program => $program$key)",
		"INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES ($member, $program, " . between(0, 90) . ", 'k" . between(1, 9) . "')",
		rand() < 0.3 ? "SELECT * FROM loyalty.merge_members($member, " . between(1, 80) . ", 'test')" : "SELECT loyalty.add_alias($member, 'name " . between(1, 60) . "')",
		"SELECT * FROM loyalty.explain($member, $program)",
		"SELECT loyalty.block($member, $program)",
		"SELECT loyalty.unblock($member, $program)", "SELECT loyalty.unblock($member, $program)",
		"SELECT * FROM loyalty.balance($member, $program)",
		"SELECT * FROM loyalty.balance($member, $program, " . instant($day + between(-20, 40)) . ')',
		"SELECT * FROM loyalty.award('shop.sale', '" . old_id() . "')",
		"SELECT * FROM loyalty.why_not('shop.sale', '" . old_id() . "')");
}

# Members who spend all they have, and return some of what gave it.
sub spend_all
{
	my $low = between(1, 60);
	emit("SELECT r.points, r.state FROM (SELECT c.member_id, b.available FROM loyalty.account c JOIN loyalty.program p ON p.id = c.program_id AND p.name = 'c', loyalty.balance(c.member_id, 'c') b"
		  . " WHERE b.available > 0 AND c.member_id BETWEEN $low AND $low + 20"
		  . " ORDER BY c.member_id) a, loyalty.redeem(a.member_id, points => a.available, program => 'c') r",
		pick("UPDATE shop.sale SET ok = NOT ok WHERE who BETWEEN $low AND $low + 9 AND id % 3 = 0", "UPDATE shop.sale SET total = total / 3 WHERE who BETWEEN $low AND $low + 9"));
}

sub reconcile
{
	emit('SET session_replication_role = replica', insert_rows('shop.sale', between(1, 5)), other_row_statement(),
		'SET session_replication_role = origin', "SELECT * FROM loyalty.reconcile('" . pick('shop.sale', 'shop.part') . "', take_back => true)");
}

sub transaction_statement
{
	if (!$transaction)
	{
		$transaction = 1;
		return pick('BEGIN', 'BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'BEGIN ISOLATION LEVEL SERIALIZABLE') . '; SAVEPOINT s';
	}
	my $r = rand();
	return 'SAVEPOINT s' if $r < 0.3;
	return 'ROLLBACK TO s' if $r < 0.6;
	$transaction = 0;
	return $r < 0.95 ? 'COMMIT' : 'ROLLBACK';
}

sub clock
{
	$day += rand() < 0.1 ? rand(25) : rand(0.6);
	return 'SET loyalty.now = ' . (instant($day) =~ s/::timestamptz \+ interval.*//r =~ s/'2024-01-01 00:00\+00'/"'" . later($day) . "'"/er);
}

sub later
{
	my @t = gmtime(1704067200 + int($day * 24) * 3600);
	return sprintf('%04d-%02d-%02d %02d:00+00', $t[5] + 1900, $t[4] + 1, $t[3], $t[2]);
}

emit(clock());
my $next_many = 40;
while ($made < $statements)
{
	emit(clock()) if rand() < 0.12;
	if ($made >= $next_many && !$transaction)
	{
		$next_many += int($statements / 6);
		emit(insert_many(table(), 0), 'CALL loyalty.run_maintenance(batch => 17)', insert_many(table(), 1));
		reconcile();
		next;
	}
	spend_all() if rand() < 0.02;
	my $r = rand();
	emit($r < 0.22 ? insert_rows(table(), 1)
		: $r < 0.30 ? insert_rows(table(), between(2, 30))
		: $r < 0.33 ? insert_rows(table(), between(100, 400))
		: $r < 0.37 ? insert_lines()
		: $r < 0.42 ? returns()
		: $r < 0.45 ? paid()
		: $r < 0.59 ? update_rows()
		: $r < 0.70 ? other_row_statement()
		: $r < 0.94 ? call()
		: $r < 0.99 || $transaction ? transaction_statement()
		: 'CALL loyalty.run_maintenance(batch => 30)');
}
emit('COMMIT') if $transaction;
emit(clock(), 'CALL loyalty.run_maintenance()');

# ---- running and comparing ----

my $node = PostgreSQL::Test::Cluster->new('two_stores');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nlog_min_messages = panic\nlog_min_error_statement = panic");
$node->start;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $file = "$directory/statements.sql";
append_to_file($file, "\\set VERBOSITY sqlstate\n\\set ON_ERROR_ROLLBACK on\n"
	  . join(";\n", 'SET client_min_messages = warning', "SET TimeZone = 'UTC'", @script) . ";\n");

# Every column of every ledger table but when and where its row was written.
sub ledger
{
	my ($database) = @_;
	my %rows;
	for my $table (qw(account lot movement refund debt tier_change redemption request review member member_alias lot_origin intervention rule_usage counter visit visit_of))
	{
		$rows{$table} = $node->safe_psql($database, qq{
			SET TimeZone = 'UTC';
			SELECT r FROM (SELECT (to_jsonb(t) - 'posted_at')::text FROM loyalty.$table t) x (r) ORDER BY r COLLATE "C"});
	}
	return \%rows;
}

# Which room: forced by the database's setting, or chosen.
sub run
{
	my ($database, $store) = @_;
	my $output;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, $setup);
	$node->safe_psql($database, $split_up) if $store eq 'auto';
	$node->safe_psql('postgres', "ALTER DATABASE $database SET loyalty.store = $store");
	# plans as after an autovacuum that would not come at the same time everywhere
	IPC::Run::run([ 'psql', '-X', '-d', $node->connstr($database), '-f', $file ], '<', \undef, '>&', \$output)
	  or die "psql on $database failed";
	return ($output, ledger($database));
}

# The first lines that differ.
sub same
{
	my ($name, $one, $two) = @_;
	return pass($name) if $one eq $two;
	my @one = split /\n/, $one;
	my @two = split /\n/, $two;
	my $i = 0;
	$i++ while $i < @one && $i < @two && $one[$i] eq $two[$i];
	fail($name);
	diag("LOYALTY_SEED=$seed: line $i of " . @one . ' and ' . @two);
	diag(join("\n", @one[ ($i > 6 ? $i - 6 : 0) .. ($i < @one ? $i : -1) ])) if $i > 0;
	diag('heap: ' . ($one[$i] // 'nothing'), "\nsql:  " . ($two[$i] // 'nothing'));
	return 0;
}

my ($heap_output, $heap) = run('by_heap', 'heap');
my ($sql_output, $sql) = run('by_sql', 'sql');
my ($auto_output, $auto) = run('by_choice', 'auto');

same("$made statements answer alike", $heap_output, $sql_output);
same('and where tables are partitioned and have triggers', $heap_output, $auto_output);
for my $table (sort keys %$heap)
{
	same("loyalty.$table is the same", $heap->{$table}, $sql->{$table});
	same("loyalty.$table is the same where tables are partitioned", $heap->{$table}, $auto->{$table});
}

# Both really were at work, and there was something to compare.
my %lines = map { $_ => scalar(split /\n/, $heap->{$_}) } keys %$heap;
note(join(', ', map { "$_ $lines{$_}" } sort keys %lines));
cmp_ok($lines{lot}, '>', 5000, 'big statements were among them');
my %errors;
$errors{$1}++ while $heap_output =~ /ERROR:  (\w{5})\b/g;
note('errors: ' . join(', ', map { "$_ $errors{$_}" } sort keys %errors));
cmp_ok($lines{$_}, '>', 9, "there are rows in loyalty.$_") for qw(account lot movement debt refund tier_change redemption request review lot_origin intervention rule_usage counter visit visit_of);
is($node->safe_psql('by_choice', q{SELECT string_agg(DISTINCT name, ' ' ORDER BY name) FROM shop.fired WHERE operation = 'INSERT'}),
	'account debt lot movement redemption refund request tier_change', 'triggers on the tables fired: SQL was chosen');
my ($code, undef, $complaint) = $node->psql('by_choice', "SET loyalty.store = heap; INSERT INTO shop.sale VALUES (-1, 1, 1, 'x', true, now())");
isnt($code, 0, 'store_heap is refused where it cannot write');
like($complaint, qr/loyalty\.store is "heap", which these tables do not allow/, 'and the message says why');

is($node->safe_psql($_, 'SELECT * FROM loyalty.verify()'), '', "the ledger of $_ is sound") for qw(by_heap by_sql);

# Readers: one ledger, both rooms.
my $readings = q{
	SET TimeZone = 'UTC';
	SELECT p.name, a.member_id, b.* FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id AND a.member_id <= 120, unnest('{2023-12-01,2024-02-01,2024-03-15,2026-01-01}'::timestamptz[]) at,
	  LATERAL loyalty.balance(a.member_id, p.name, at) b ORDER BY 1, 2, at;
	SELECT id, q.* FROM generate_series(1, 200) id, LATERAL loyalty.award('shop.sale', id::text) q;
	SELECT id, q.* FROM generate_series(1, 200) id, LATERAL loyalty.why_not('shop.sale', id::text) q;};
my ($by_heap, $by_sql) = map { $node->safe_psql('by_heap', "SET loyalty.store = $_; $readings") } qw(heap sql);
cmp_ok(length($by_heap), '>', 10000, 'there is something to read');
same('readers read alike', $by_heap, $by_sql);

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('two_stores_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
same("and on a standby, by $_", $by_heap, $standby->safe_psql('by_heap', "SET loyalty.store = $_; $readings")) for qw(heap sql);
$standby->stop('immediate');

# What a trigger swallows is not lost in silence, and the purchase goes with it.
my $purchase = "INSERT INTO shop.sale SELECT max(id) + 1, 100000, 10, 'x', true, now() FROM shop.sale";
for my $swallowed ([ 'lot', 'INSERT' ], [ 'account', 'UPDATE' ], [ 'account', 'INSERT' ])
{
	my ($table, $operation) = @$swallowed;
	my ($code, undef, $complaint) = $node->psql('by_choice', qq{
		\\set VERBOSITY sqlstate
		BEGIN;
		CREATE FUNCTION shop.swallow() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RETURN NULL; END \$\$;
		CREATE TRIGGER swallow BEFORE $operation ON loyalty.$table FOR EACH ROW EXECUTE FUNCTION shop.swallow();
		$purchase;});
	like($complaint, qr/LY012/, "a trigger that swallows what $operation writes to loyalty.$table is found out");
}

# Whatever a table of the ledger becomes, the next statement of the same session knows it, and knows when it is over.
$node->safe_psql('by_heap', q{
	CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;});
for my $obstacle (
	[ 'has triggers', 'CREATE TRIGGER t AFTER INSERT ON loyalty.movement FOR EACH STATEMENT EXECUTE FUNCTION shop.nothing()' ],
	[ 'has rules', 'CREATE RULE r AS ON INSERT TO loyalty.tier_change DO ALSO NOTHING' ],
	[ 'has row security', 'ALTER TABLE loyalty.lot ENABLE ROW LEVEL SECURITY; ALTER TABLE loyalty.lot FORCE ROW LEVEL SECURITY' ],
	[ 'is no plain heap table', 'ALTER TABLE loyalty.request SET ACCESS METHOD heap2' ],
	[ 'is distributed by Citus', q{SET LOCAL allow_system_table_mods = on;
		CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);
		INSERT INTO pg_catalog.pg_extension VALUES (99999, 'citus', 10, 11, false, '1', NULL, NULL);
		INSERT INTO pg_catalog.pg_dist_partition VALUES ('loyalty.account');
		ALTER TABLE loyalty.account SET (fillfactor = 71)} ])
{
	my ($what, $command) = @$obstacle;
	my (undef, $answer, $complaint) = $node->psql('by_heap', qq{
		BEGIN; $purchase; $command; $purchase; ROLLBACK;
		BEGIN; $command; RESET loyalty.store; SET LOCAL loyalty.store = auto; $purchase; SELECT 'done by SQL'; ROLLBACK;
		BEGIN; $purchase; SELECT 'done directly'; ROLLBACK;}, on_error_stop => 0);
	like($complaint, qr/Table loyalty\.\w+ $what/, "store_heap is refused where a table $what");
	is($answer, "done by SQL\ndone directly", 'store_sql is chosen, and store_heap after it is as before');
}
like(($node->psql('by_heap', q{SELECT loyalty.allow_drop(); CREATE ROLE somebody; SET ROLE somebody; SET loyalty.store = sql}))[2],
	qr/permission denied to set parameter "loyalty\.store"/, 'not everybody chooses');

# The control: a comparison that finds nothing must be able to find something.
$node->safe_psql('by_sql', q{
	UPDATE loyalty.lot SET remaining = remaining + 1 WHERE ctid = (SELECT min(ctid) FROM loyalty.lot);
	UPDATE loyalty.account SET settled_at = settled_at + interval '1 microsecond' WHERE ctid = (SELECT min(ctid) FROM loyalty.account);
	DELETE FROM loyalty.tier_change WHERE ctid = (SELECT max(ctid) FROM loyalty.tier_change);});
my $changed = ledger('by_sql');
is(join(' ', grep { $heap->{$_} ne $changed->{$_} } sort keys %$heap), 'account lot tier_change',
	'control: one row changed, one moved by a microsecond and one gone are seen');

done_testing();
