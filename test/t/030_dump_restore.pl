# Dump and restore, in every supported way, as a superuser and as the owner of a database who is none: afterwards every
# row of every table, every sequence, trigger, grant, policy, view and comment is what it was, a sale earns, and a
# replay of old sales doubles nothing.  Beside it a naive copy whose tables belong to the extension.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\nmax_wal_size = 2GB\njit = off");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($host, $port) = ($node->host, $node->port);

$node->safe_psql('postgres', q{
	CREATE ROLE shop_dba LOGIN;
	CREATE ROLE shop_ledger;
	GRANT shop_ledger TO shop_dba;
	CREATE ROLE shop_app LOGIN;
	CREATE ROLE shop_report;
	CREATE ROLE shop_configurer;
});

my $shop = q{
	CREATE EXTENSION loyalty;
	SELECT loyalty.install(%s);
	CREATE SCHEMA shop;
	CREATE TABLE shop.orders (id bigserial PRIMARY KEY, customer_id bigint, total numeric(12,2), category text, ordered_at timestamptz NOT NULL);
	CREATE TABLE shop.visits (shop text, no int, who bigint, total numeric, at timestamp NOT NULL, PRIMARY KEY (shop, no)) PARTITION BY LIST (shop);
	CREATE TABLE shop.visits_a (at timestamp NOT NULL, total numeric, no int NOT NULL, shop text NOT NULL, who bigint);
	ALTER TABLE shop.visits ATTACH PARTITION shop.visits_a FOR VALUES IN ('a');
	CREATE TABLE shop.visits_b PARTITION OF shop.visits FOR VALUES IN ('b');
	CREATE TABLE shop.gone (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
	INSERT INTO loyalty.program (name, timezone, expiry, pending, decimals) VALUES
		('stars', 'Europe/Istanbul', '12 months, end of month', '0', 0), ('miles', 'America/New_York', 'never', '14 days', 2);
	INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('stars', 'green', 0, 0, 0), ('stars', 'gold', 1, 500, 0.25), ('stars', 'black', 2, 2500, 0.7);
	SELECT loyalty.attach('shop.orders', program => 'stars', member => 'customer_id', amount => 'total', occurred_at => 'ordered_at', condition => 'total > 0');
	SELECT loyalty.attach('shop.orders', program => 'miles', member => 'customer_id', amount => 'total', occurred_at => 'ordered_at', on_error => 'skip');
	SELECT loyalty.attach('shop.visits', program => 'stars', member => 'who', amount => 'total', occurred_at => 'at', replicated => true);
	SELECT loyalty.attach('shop.gone', program => 'stars', member => 'who', amount => 'total', occurred_at => 'at');
	INSERT INTO loyalty.rule (program, source, name, kind, points, condition, expiry) VALUES
		('stars', 'orders', 'one per lira', 'base', $$earn.amount * loyalty.earn_rate '1 per 1'$$, NULL, NULL),
		('stars', 'orders', 'weekend', 'bonus', 'earn.base', $$extract(isodow from earn.local_time) in (6, 7) and category = 'a\b''c'$$, '3 months'),
		('miles', 'orders', 'mile', 'base', $$earn.amount / 7$$, NULL, NULL),
		('miles', 'orders', 'fails', 'base', $$1 / (total - 13)$$, 'total = 13', NULL),
		('stars', 'visits', 'visit', 'base', '5', NULL, NULL),
		('stars', 'gone', 'gone', 'base', 'earn.amount', NULL, NULL);
	INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('stars', 'free coffee', 'product', 150);
	INSERT INTO shop.orders (customer_id, total, category, ordered_at)
		SELECT g %% 40, (g * 37 %% 200)::numeric / 2, CASE WHEN g %% 3 = 0 THEN 'a\b''c' END, timestamptz '2024-01-01 00:00+00' + g * interval '7 hours' FROM generate_series(1, 900) g;
	INSERT INTO shop.orders (customer_id, total, ordered_at) VALUES (7, 13, '2025-01-01'), (NULL, 5, '2025-01-01');
	INSERT INTO shop.visits (shop, no, who, total, at) SELECT CASE WHEN g %% 2 = 0 THEN 'a' ELSE 'b' END, g, g %% 40, 1, timestamp '2025-06-01' + g * interval '1 day' FROM generate_series(1, 60) g;
	INSERT INTO shop.gone VALUES (1, 1, 10, '2025-01-01');
	UPDATE shop.orders SET total = total / 2 WHERE id %% 50 = 0;
	UPDATE shop.orders SET customer_id = 41 WHERE id %% 77 = 0;
	DELETE FROM shop.orders WHERE id %% 90 = 0;
	UPDATE loyalty.rule SET condition = 'true', enabled = false WHERE name = 'weekend';
	INSERT INTO loyalty.member (member_id, attributes, status) VALUES (1, '{"size": 4}', 'active'), (99, '{}', 'excluded');
	INSERT INTO loyalty.member_alias (member_id, external_id) VALUES (1, 'card "1" \ ü');
	SELECT loyalty.detach('shop.gone');
	DROP TABLE shop.gone;
	SELECT loyalty.grant_access('shop_app', 'app'), loyalty.grant_access('shop_report', 'report'), loyalty.grant_access('shop_configurer', 'admin');
	GRANT USAGE ON SCHEMA shop TO shop_app;
	GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO shop_app;
	GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO shop_app;
};
my $policies = q{
	CREATE POLICY of_app ON loyalty.account FOR SELECT TO shop_app USING (member_id = 1);
	ALTER TABLE loyalty.account ENABLE ROW LEVEL SECURITY;
	ALTER TABLE shop.visits DISABLE TRIGGER loyalty_truncate;
};

# Everything there is, one line a thing.  The owner of the extension and of its members may differ, nothing else.
my $rows = q{
	SELECT string_agg(format($f$SELECT %L || ' ' || x::text FROM %s x$f$, c.oid::regclass, c.oid::regclass), ' UNION ALL ' ORDER BY c.oid::regclass::text)
	FROM pg_class c WHERE c.relnamespace IN ('loyalty'::regnamespace, 'shop'::regnamespace) AND c.relkind IN ('r', 'v')};
my $catalog = q{
	SELECT 'sequence ' || s.schemaname || '.' || s.sequencename || ' ' || coalesce(s.last_value::text, '-') || ' ' || s.sequenceowner FROM pg_sequences s WHERE s.schemaname IN ('loyalty', 'shop')
	UNION ALL SELECT 'trigger ' || t.tgrelid::regclass || ' ' || t.tgenabled::text || ' ' || (t.tgparentid <> 0) || ' ' || pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE NOT t.tgisinternal
	UNION ALL SELECT 'event trigger ' || evtname || ' ' || evtenabled::text FROM pg_event_trigger
	UNION ALL SELECT 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || pg_get_userbyid(c.relowner) || ' ' || coalesce(c.reloptions::text, '') || ' ' || c.relrowsecurity || c.relforcerowsecurity
		|| coalesce((SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(c.relacl) a), 'default') || coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c WHERE c.relnamespace IN ('loyalty'::regnamespace, 'shop'::regnamespace)
	UNION ALL SELECT 'column ' || c.oid::regclass || ' ' || row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attidentity::text || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(col_description(c.oid, a.attnum), '')
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
		WHERE c.relnamespace IN ('loyalty'::regnamespace, 'shop'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
	UNION ALL SELECT 'view ' || c.oid::regclass || ' ' || pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'v'
	UNION ALL SELECT 'index ' || i.indexrelid::regclass || ' ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace IN ('loyalty'::regnamespace, 'shop'::regnamespace)
	UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace IN ('loyalty'::regnamespace, 'shop'::regnamespace)
	UNION ALL SELECT 'policy ' || p::text FROM pg_policies p
	UNION ALL SELECT 'function ' || p.oid::regprocedure || ' ' || p.prosecdef || p.provolatile::text || p.proparallel::text || coalesce(p.proconfig::text, '') || ' ' || coalesce((SELECT string_agg(g.grantee || g.privilege, ',' ORDER BY g.grantee || g.privilege)
		FROM (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS grantee, a.privilege_type || a.is_grantable AS privilege FROM aclexplode(p.proacl) a
		      WHERE a.grantee <> p.proowner) g), CASE WHEN p.proacl IS NULL THEN 'default' ELSE '' END) FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace
	UNION ALL SELECT 'schema ' || n.nspname || ' ' || pg_get_userbyid(n.nspowner) || coalesce((SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(n.nspacl) a), '') FROM pg_namespace n WHERE n.nspname IN ('loyalty', 'shop')
	UNION ALL SELECT 'member of the extension ' || pg_describe_object(classid, objid, 0) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty')};

sub snapshot
{
	my ($db) = @_;
	my $union = $node->safe_psql($db, $rows);
	my @sound = map { "verify() says $_" } split(/\n/, $node->safe_psql($db, 'SELECT * FROM loyalty.verify()'));
	# views as of one instant; a view that was written again names the columns of its later UNION branches
	return [ sort(@sound, split(/\n/, $node->safe_psql($db, "SET loyalty.now = '2026-03-01 00:00+00'; $union")),
		map { s/(::\w+) AS \w+(,?)$/$1$2/r } split(/\n/, $node->safe_psql($db, $catalog))) ];
}

sub same
{
	my ($db, $expected, $name) = @_;
	my $found = snapshot($db);
	my %in_expected = map { $_ => 1 } @$expected;
	my %in_found = map { $_ => 1 } @$found;
	my @missing = grep { !$in_found{$_} } @$expected;
	my @extra = grep { !$in_expected{$_} } @$found;
	ok(!@missing && !@extra && @$found == @$expected, "$name: all " . @$expected . ' rows, sequences, triggers, grants, policies and views')
	  or diag('missing ' . @missing . ":\n" . join("\n", @missing[ 0 .. ($#missing > 9 ? 9 : $#missing) ])
		. "\nextra " . @extra . ":\n" . join("\n", @extra[ 0 .. ($#extra > 9 ? 9 : $#extra) ]));
	return;
}

# A sale earns, through all paths of the shop; what comes again earns nothing more.
sub lives
{
	my ($db, $name) = @_;
	is($node->safe_psql($db, q{
		SET ROLE shop_app;
		INSERT INTO shop.orders (customer_id, total, ordered_at) VALUES (1000, 10, now());
		INSERT INTO shop.visits (shop, no, who, total, at) VALUES ('a', 5001, 1000, 1, now());
		INSERT INTO shop.visits_b (shop, no, who, total, at) VALUES ('b', 5002, 1000, 1, now());
		RESET ROLE;
		SELECT string_agg(p.name || ' ' || trunc((a.available + a.pending) / 10000.0, 2), ', ' ORDER BY p.name) FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE a.member_id = 1000}),
		'miles 1.42, stars 20.00', "$name: new sales earn");
	my $sum = 'SELECT sum(remaining) || count(*)::text FROM loyalty.lot';
	my $before = $node->safe_psql($db, $sum);
	$node->safe_psql($db, q{
		CREATE TEMP TABLE again AS SELECT * FROM shop.orders WHERE total <> 13;
		BEGIN;
		SET LOCAL loyalty.archiving = on;
		DELETE FROM shop.orders WHERE total <> 13;
		COMMIT;
		INSERT INTO shop.orders SELECT * FROM again});
	is($node->safe_psql($db, $sum), $before, "$name: the same sales once more earn nothing");
	return;
}

my $databases = 0;
sub fresh
{
	my ($owner) = @_;
	my $db = 'copy_' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER $owner");
	return $db;
}

sub runs
{
	my ($name, @command) = @_;
	my ($out, $err);
	local $ENV{PGHOST} = $host;
	local $ENV{PGPORT} = $port;
	my $good = IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	ok($good && $err !~ /ERROR|errors ignored/, "$name: @command[0..1] runs without an error") or diag($err);
	return;
}

# One restore of $from as $user into $db by these commands.
sub restore
{
	my ($name, $from, $user, @commands) = @_;
	my $db = fresh($user);
	runs($name, @$_) for map { [ map { $_ eq 'DB' ? $db : $_ eq 'USER' ? $user : $_ } @$_ ] } @commands;
	return $db;
}

for my $user ('postgres_like', 'shop_dba')
{
	my $super = $user eq 'postgres_like';
	my $owner = $super ? $node->safe_psql('postgres', 'SELECT current_user') : $user;
	my $from = $super ? 'shop_of_superuser' : 'shop_of_owner';
	my $who = $super ? 'superuser' : 'owner of the database';
	$node->safe_psql('postgres', "CREATE DATABASE $from OWNER $owner");
	# The ledger of the superuser's shop belongs to a role of its own, the other's to himself.
	$node->safe_psql($from, "SET SESSION AUTHORIZATION $owner;" . sprintf($shop, $super ? "owner => 'shop_ledger'" : ''));
	$node->safe_psql($from, $policies);
	my $expected = snapshot($from);
	cmp_ok(scalar @$expected, '>', 2000, "$who: there is much to lose");

	my @pg_dump = ('pg_dump', '-U', $owner, '-d', $from);
	# Row level security on the ledger's account stops a dump by anybody but its owner, who says so.
	runs($who, @pg_dump, '-f', "$dir/$from.sql");
	runs($who, @pg_dump, '-Fc', '-f', "$dir/$from.dump");
	runs($who, @pg_dump, '-Fd', '-j', '2', '-f', "$dir/$from.dir");
	runs($who, @pg_dump, '-s', '-f', "$dir/$from.schema.sql");
	runs($who, @pg_dump, '-a', '-Fc', '-f', "$dir/$from.data.dump");
	my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-U', 'USER', '-d', 'DB', '-f');
	my @pg_restore = ('pg_restore', '-U', 'USER', '-d', 'DB', '-e');
	my @restoring = ('env', 'PGOPTIONS=-c loyalty.restoring=on');

	my %ways = (
		'1 plain through psql' => [ [ @psql, "$dir/$from.sql" ] ],
		'2 pg_restore' => [ [ @pg_restore, "$dir/$from.dump" ] ],
		'3 pg_restore -j2' => [ [ @pg_restore, '-j', '2', "$dir/$from.dump" ] ],
		'4 directory, pg_restore -j2' => [ [ @pg_restore, '-j', '2', "$dir/$from.dir" ] ],
		'5 pg_restore -1' => [ [ @pg_restore, '-1', "$dir/$from.dump" ] ],
		'6 three sections' => [ map { [ @pg_restore, "--section=$_", "$dir/$from.dump" ] } qw(pre-data data post-data) ],
		'7 schema, then data with loyalty.restoring' => [ [ @psql, "$dir/$from.schema.sql" ], [ @restoring, @pg_restore, "$dir/$from.data.dump" ] ],
		'8 the same in one transaction' => [ [ @psql, "$dir/$from.schema.sql" ], [ @restoring, @pg_restore, '-1', "$dir/$from.data.dump" ] ]);
	for my $way (sort keys %ways)
	{
		my $db = restore("$who, $way", $from, $owner, @{ $ways{$way} });
		same($db, $expected, "$who, $way");
		lives($db, "$who, $way") if $way =~ /^[1367]/;
	}

	# --clean over a database in use: refused while the ledger holds points, exact with the setting.
	my $db = restore("$who, 9 --clean", $from, $owner, [ @psql, "$dir/$from.sql" ]);
	$node->safe_psql($db, q{INSERT INTO shop.orders (customer_id, total, ordered_at) VALUES (1000, 10, now()); UPDATE loyalty.program SET money = 'other'});
	my $touched = snapshot($db);
	{
		local $ENV{PGHOST} = $host;
		local $ENV{PGPORT} = $port;
		my ($out, $err);
		IPC::Run::run([ 'pg_restore', '-U', $owner, '-d', $db, '-1', '--clean', '--if-exists', "$dir/$from.dump" ], '>', \$out, '2>', \$err);
		like($err, qr/refused: the ledger of loyalty holds points/, "$who, 9 --clean: refused over a ledger that holds points");
		same($db, $touched, "$who, 9 --clean: and nothing has changed");
		# without a transaction around it goes on after each refusal, and must double nothing
		my $ledger = 'SELECT count(*) || md5(string_agg(x::text, chr(10) ORDER BY x::text)) FROM (SELECT l::text FROM loyalty.lot l UNION ALL SELECT a::text FROM loyalty.account a UNION ALL SELECT m::text FROM loyalty.movement m) x';
		my $before = $node->safe_psql($db, $ledger);
		IPC::Run::run([ 'pg_restore', '-U', $owner, '-d', $db, '--clean', '--if-exists', "$dir/$from.dump" ], '>', \$out, '2>', \$err);
		is($node->safe_psql($db, $ledger), $before, "$who, 9 --clean that goes on after refusals: no lot, account or movement is lost or doubled");
		# PostgreSQL's own --clean cannot drop the primary key of a partition, and goes on.
		local $ENV{PGOPTIONS} = '-c loyalty.allow_drop=on';
		IPC::Run::run([ 'pg_restore', '-U', $owner, '-d', $db, '--clean', '--if-exists', "$dir/$from.dump" ], '>', \$out, '2>', \$err);
		is(join("\n", grep { /ERROR/ && !/cannot drop inherited constraint/ } split(/\n/, $err)), '', "$who, 9 --clean --if-exists with loyalty.allow_drop");
	}
	same($db, $expected, "$who, 9 --clean --if-exists with loyalty.allow_drop");
	lives($db, "$who, 9 --clean");

	# The control of the comparison: a data-only restore without the setting works the sales again.
	$db = restore("$who, control", $from, $owner, [ @psql, "$dir/$from.schema.sql" ]);
	{
		local $ENV{PGHOST} = $host;
		local $ENV{PGPORT} = $port;
		my ($out, $err);
		my $good = IPC::Run::run([ 'pg_restore', '-U', $owner, '-d', $db, "$dir/$from.data.dump" ], '>', \$out, '2>', \$err);
		ok(!$good || $err =~ /ERROR/, "$who, control: data alone without loyalty.restoring does not go through unnoticed");
	}
	$node->safe_psql('postgres', "DROP DATABASE copy_$_") for 1 .. $databases;
	$databases = 0;
}

# ---- pg_dumpall: roles, tablespaces and databases into another server

{
	my $other = PostgreSQL::Test::Cluster->new('other');
	$other->init;
	$other->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\njit = off");
	$other->start;
	my %before = map { $_ => snapshot($_) } qw(shop_of_superuser shop_of_owner);
	$node->command_ok([ 'pg_dumpall', '-p', $port, '-f', "$dir/all.sql" ], 'pg_dumpall');
	my ($code, $out, $err) = $other->psql("postgres", "\\i $dir/all.sql", on_error_stop => 0);
	unlike($err, qr/ERROR:(?!.*role ".*" already exists)/, 'pg_dumpall restores into another server');
	my $here = $node;
	$node = $other;
	same($_, $before{$_}, "pg_dumpall, $_") for qw(shop_of_superuser shop_of_owner);
	lives('shop_of_owner', 'pg_dumpall');
	$node = $here;
	$other->stop;
}

# ---- the control: tables that belong to the extension come back empty, or not at all

{
	$node->safe_psql('postgres', 'CREATE DATABASE naive TEMPLATE shop_of_superuser');
	$node->safe_psql('naive', q{
		DO $$ DECLARE t regclass; BEGIN
			FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'loyalty'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER EXTENSION loyalty ADD TABLE %s', t);
			END LOOP; END $$});
	my $before = $node->safe_psql('naive', 'SELECT count(*) FROM loyalty.lot');
	cmp_ok($before, '>', 0, 'control: the naive ledger holds lots');
	$node->command_ok([ 'pg_dump', '-p', $port, '-Fc', '-f', "$dir/naive.dump", 'naive' ], 'control: and is dumped');
	my $db = fresh($node->safe_psql('postgres', 'SELECT current_user'));
	IPC::Run::run([ 'pg_restore', '-h', $host, '-p', $port, '-d', $db, '-j', '2', "$dir/naive.dump" ], '>', \my $out, '2>', \my $err);
	my ($code, $after) = $node->psql($db, 'SELECT count(*) FROM loyalty.lot');
	isnt($after, $before, 'control: and has lost its lots in the restored database');
}

$node->stop;
done_testing();
