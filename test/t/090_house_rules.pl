# The house rules that the source itself can answer.  Each test lists offenders as file:line and says what to do.  Beside
# each rule stands a planted offender, which must be found.

use strict;
use warnings;
use File::Basename;
use Test::More;

my $root = $ENV{TESTDIR} || dirname(dirname(dirname(__FILE__)));
my %files;
for my $path (glob("$root/src/*.[ch] $root/sql/code/*.sql $root/sql/data/*.sql $root/scripts/* $root/test/sql/*.sql"))
{
	open(my $file, '<', $path) or die "$path: $!";
	local $/;
	$files{ $path =~ s/^\Q$root\E\///r } = <$file>;
}
cmp_ok(scalar(keys %files), '>', 60, 'there are files to look at');

# Comments as blanks, so that lines keep their numbers and words in them break no rule.
sub code
{
	my ($text) = @_;
	$text =~ s{(/\*.*?\*/|"(?:\\.|[^"\\])*")}{my $t = $1; $t =~ /^"/ ? $t : ($t =~ s/[^\n]/ /gr)}gse;
	return $text;
}

# matches NAME, TEXT, PATTERN: "NAME:LINE what" of each match
sub matches
{
	my ($name, $text, $pattern) = @_;
	my @found;
	while ($text =~ /$pattern/g)
	{
		my ($at, $what) = ($-[0], defined $1 ? $1 : $&);
		push @found, "$name:" . (1 + (substr($text, 0, $at) =~ tr/\n//)) . ' ' . ($what =~ s/\s+/ /gr);
	}
	return @found;
}

# The string literal of each call of a function, adjacent literals joined.
sub texts
{
	my ($name, $text, $function) = @_;
	my @found;
	while ($text =~ /\b$function\(((?:\s*(?:"(?:\\.|[^"\\])*"|INT64_FORMAT))+)\s*(,|\))/g)
	{
		my ($at, $literals) = ($-[0], $1);
		my $line = 1 + (substr($text, 0, $at) =~ tr/\n//);
		my $joined = join('', map { /^"(.*)"$/s ? $1 : '0' } $literals =~ /"(?:\\.|[^"\\])*"|INT64_FORMAT/g);
		push @found, [ "$name:$line", $joined ];
	}
	return @found;
}

sub long_functions
{
	my ($name, $text) = @_;
	my @lines = split /\n/, $text;
	my ($start, @found);
	for my $i (0 .. $#lines)
	{
		$start = $i if $lines[$i] eq '{';
		next unless $lines[$i] eq '}' && defined $start;
		my $length = $i - $start + 1;
		# the comment above the function, and its head, say why
		my $above = join("\n", @lines[ ($start > 12 ? $start - 12 : 0) .. $start ]);
		push @found, "$name:" . ($start + 1) . " $length lines" if $length > 70 && $above !~ /\*.*\blong\b.*because/is;
		undef $start;
	}
	return @found;
}

# Words of a user's mistake; what cannot happen speaks of caches, results and SPI.
my $user_error = qr/\b(?:must (?:not|be (?:positive|owner|a member|between|less))|invalid|not allowed|permission|denied|exceeds?|too (?:many|long|large|big)|please|you|unknown (?:program|member|tier|reward|source|rule)|already exists)\b/i;

# Each rule: name, which files, what to do, the check, a planted offender.
my @rules = (
	[ 'no function is longer than 70 lines', qr/^src\/.*\.c$/,
		'Cut it along its branches, or write into the comment above it "long because …".',
		\&long_functions, "static void\nf(void)\n{\n" . "\tg();\n" x 80 . "}\n" ],
	[ 'PG_VERSION_NUM stands in compat.h alone', qr/^src\/(?!compat\.h)/,
		'Give the difference a name in src/compat.h, with its version and date.',
		sub { matches($_[0], code($_[1]), qr/\bPG_VERSION_NUM\b/) }, "#if PG_VERSION_NUM >= 160000\n" ],
	[ 'elog(ERROR) is for what cannot happen', qr/^src\/.*\.c$/,
		'Write ereport(ERROR, errcode of errcodes.h, errmsg, errdetail with the figures, errhint with a way out).',
		sub { grep { /$user_error/ } matches($_[0], code($_[1]), qr/\belog\(ERROR,\s*("(?:\\.|[^"\\])*")/) }, qq{elog(ERROR, "points must be positive");\n} ],
	[ 'every ereport(ERROR) has a code', qr/^src\/.*\.c$/,
		'Begin it with errcode(ERRCODE_LY_…).',
		sub { matches($_[0], code($_[1]), qr/\bereport\(\s*ERROR\s*,\s*\(?\s*(errmsg\w*|errdetail|errhint)/) }, qq{ereport(ERROR,\n\t(errmsg("no")));\n} ],
	[ 'buffers grow', qr/^src\//,
		'Use StringInfo or psprintf; strlcpy where a struct of PostgreSQL has an array.',
		sub { matches($_[0], code($_[1]), qr/\b(v?sprintf|strcpy|strcat|strncpy|strncat|gets|alloca)\s*\(/) }, "strcpy(a, b);\n" ],
	[ 'no static buffer', qr/^src\/.*\.c$/,
		'Allocate in a memory context with a name; a name of a time zone (TZ_STRLEN_MAX) is the exception.',
		sub { matches($_[0], code($_[1]), qr/^\s*(static\s+(?:char|uint8|unsigned char)\s+\w+\[(?!TZ_STRLEN_MAX)[^\]]+\])/m) }, "static char buffer[100];\n" ],
	[ 'memory and files are PostgreSQL\'s', qr/^src\/(?!compat\.h)/,
		'Use palloc, ereport and AllocateFile: what malloc gave, no abort gives back.',
		sub { matches($_[0], code($_[1]), qr/(?<![\w.>])(malloc|calloc|realloc|strdup|free|exit|abort|fopen|system|getenv|printf|time|rand|srand|strtok|localtime|gmtime)\s*\(/) }, "p = malloc(3);\n" ],
	[ 'no clock but the statement\'s', qr/^src\//,
		'Time is the instant (instant.h): statement time or loyalty.now.',
		sub { matches($_[0], code($_[1]), qr/\b(GetCurrentTimestamp|clock_timestamp|timeofday|gettimeofday)\s*\(/) }, "at = GetCurrentTimestamp();\n" ],
	[ 'floating point is not for points', qr/^src\//,
		'Use int64 of 1/10,000 or numeric.',
		sub { grep { !/^src\/compat/ } matches($_[0], code($_[1]), qr/^\s*((?:static\s+|const\s+)*(?:double|float|float8|float4)\s+\w+)/m) }, "\tdouble points;\n" ],
	[ 'primary messages are short, lower case, without full stop', qr/^src\/.*\.c$/,
		'errmsg("cannot do x"): the rest is for errdetail and errhint.',
		sub { map { $_->[0] . ' ' . $_->[1] } grep { $_->[1] =~ /\.$/ || $_->[1] =~ /^[A-Z][a-z]/ || length $_->[1] > 120 } texts(@_, 'errmsg') },
		qq{errmsg("Points are bad.")\n} ],
	[ 'details and hints are sentences', qr/^src\/.*\.c$/,
		'Begin with a capital letter and end with a full stop.',
		sub { map { $_->[0] . ' ' . $_->[1] } grep { $_->[1] !~ /(?:[.:?)…]|\. %s)$/ || $_->[1] =~ /^[a-z]+(?![a-z.(_])/ } grep { $_->[1] ne '%s' && $_->[1] !~ /^%s/ } texts(@_, 'errdetail'), texts(@_, 'errhint') },
		qq{errhint("try again")\n} ],
	[ 'the source is ours', qr/^(?:src|sql|scripts)\//,
		'Write it yourself: no line of another engine with its licence.',
		sub { matches($_[0], $_[1], qr/(Copyright\b[^\n]*|\(c\) \d{4}[^\n]*|All rights reserved|Licensed under[^\n]*|SPDX-[^\n]*|GNU General Public|Apache License)/i) },
		"-- Copyright (c) 2020 Somebody Else\n" ],
	[ 'a file opens with what its maintainer must know', qr/^src\/.*\.[ch]$/,
		'Begin with /*, the name of the file, a line on what it is, and its rules.',
		sub { my ($name, $text) = @_; my $base = basename($name); $text =~ /^\/\*\n \* \Q$base\E\n \*\t/ ? () : ("$name:1") }, "#include <x.h>\n" ],
	[ 'no function is SECURITY DEFINER', qr/^sql\//,
		'Switch to the owner of the ledger in C, around storage only.',
		sub { matches($_[0], $_[1] =~ s/--[^\n]*//gr, qr/\b(SECURITY\s+DEFINER)\b/i) }, "CREATE FUNCTION f() SECURITY DEFINER\n" ],
	[ 'what CREATE FUNCTION makes is commented and withheld in the same file', qr/^sql\/code\//,
		'Add COMMENT ON FUNCTION; REVOKE ALL … FROM PUBLIC unless it is pure.',
		sub {
			my ($name, $text) = @_;
			my %commented = map { $_ => 1 } $text =~ /COMMENT ON (?:FUNCTION|PROCEDURE|AGGREGATE) (loyalty\.\w+)/g;
			return grep { !/ loyalty\.\w+_(?:in|out|recv|send)$/ } map { (/ (loyalty\.\w+)$/ && !$commented{$1}) ? $_ : () }
			  grep { $text =~ /plpgsql/ } matches($name, $text, qr/^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (loyalty\.\w+)/m);
		}, "CREATE OR REPLACE FUNCTION loyalty.f() RETURNS int LANGUAGE plpgsql\n" ],
	[ 'no test waits for a time', qr/^test\/sql\//,
		'Compare figures, or measure it in bench/.',
		sub { matches($_[0], $_[1] =~ s/--[^\n]*//gr, qr/(\\timing\b|EXPLAIN \(?ANALYZE(?![^\n]*TIMING OFF)[^\n]*)/i) }, "\\timing on\n" ]);

for my $rule (@rules)
{
	my ($name, $which, $cure, $check, $planted) = @$rule;
	my @names = grep { $_ =~ $which } sort keys %files;
	my @found = map { $check->($_, $files{$_}) } @names;
	ok(@names > 0 && !@found, $name) or diag(join("\n", @found), "\n$cure");
	my ($like) = grep { $_ =~ $which } qw(src/planted.c sql/code/99-planted.sql test/sql/planted.sql);
	ok(scalar(() = $check->($like, $planted)), "control: $name");
}

# ---- tests and what they expect

my @tests = map { basename($_, '.sql') } glob("$root/test/sql/*.sql");
push @tests, map { basename($_, '.spec') } glob("$root/test/specs/*.spec");
my %expected = map { basename($_) =~ s/(?:_\d)?\.out$//r => $_ } glob("$root/expected/*.out");
is(join(' ', grep { !$expected{$_} || -z $expected{$_} } @tests), '', 'every test has its expected output')
  or diag('Run it, read what it prints against docs/, then: make accept');
my %is_test = map { $_ => 1 } @tests;
is(join(' ', grep { !$is_test{$_} && !-z $expected{$_} } sort keys %expected), '', 'every expected output has its test')
  or diag('Remove it, or bring its test back.');
is(join(' ', grep { !/loyalty--[\d.]+\.sql$/ } glob("$root/sql/*.sql")), '', 'no piece of SQL lies directly in sql/, where pg_regress would take it for a test')
  or diag('Move it to sql/code, sql/data or sql/upgrade.');
is(join(' ', grep { !-x $_ } glob("$root/scripts/*.sh")), '', 'scripts can be executed') or diag('chmod +x');

done_testing();
