#!/bin/bash
# coverage.sh: which lines of C the tests run.  Called by "make coverage" inside of throwaway.sh, where the copy is our own.
# Prints a line a file: share of its lines that were run, their number, and those that were not; the sum comes last.
#   TESTS=…   targets to run (installcheck installcheck-sql installcheck-pgtap); installcheck-tap adds minutes
set -euo pipefail
mk="make -s with_llvm=no"

# Not optimised, so that a line is a line.  Backends write their counts when they end, as the server's user.
$mk clean
$mk COPT='--coverage -O0' all
$mk install DESTDIR="$PWD/tmp_install"
chmod a+rwx src

for target in ${TESTS:-installcheck installcheck-sql installcheck-pgtap}; do
  $mk COPT='--coverage -O0' "$target" > coverage.log 2>&1 || { cat coverage.log; echo "$target failed"; exit 1; }
done

gcov --stdout --object-directory src src/*.c 2>/dev/null | LC_ALL=C.UTF-8 awk '
  function flush_range() { if (from) { missed[file] = missed[file] " " (from == to ? from : from "-" to); from = 0 } }
  { split($0, part, ":"); count = part[1]; line = part[2] + 0; gsub(/[ *]/, "", count) }
  part[2] + 0 == 0 && part[3] == "Source" { flush_range(); file = part[4]; next }
  file !~ /^src\// || count == "-" || line == 0 { next }
  count ~ /^[#=]+$/ { lines[file]++; if (from && line <= to + 3) to = line; else { flush_range(); from = to = line }; next }
  count ~ /^[0-9]+$/ { flush_range(); lines[file]++; run[file]++ }
  END {
    flush_range()
    for (f in lines) { printf "%5.1f %% of %4d  %s%s\n", 100 * run[f] / lines[f], lines[f], f, missed[f] ? "  not:" missed[f] : "" | "sort -n"; all += lines[f]; ran += run[f] }
    close("sort -n")
    printf "%5.1f %% of %d lines of C\n", 100 * ran / all, all
  }'
