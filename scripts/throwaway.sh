#!/bin/bash
# throwaway.sh demo|test|test-long|bench|coverage|COMMAND: build in a private copy, stage the extension there, start
# a throw-away server that finds it, run the command, leave nothing behind.
#   PGVERSION=15   which server (the newest installed)      KEEP=1   keep the copy and say where it is
set -euo pipefail
trap '' PIPE   # "make demo | head" must not leave a server behind
what=$1; here=$(cd "$(dirname "$0")/.." && pwd)
v=${PGVERSION:-$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' | sed 's|.*postgresql/\([0-9]*\)/.*|\1|' | sort -n | tail -1)}
bin=/usr/lib/postgresql/$v/bin

work=$(mktemp -d -t loyalty.XXXXXX)
sock=$(mktemp -d -t ls.XXXXXX)
clean() { if [ "${KEEP:-}" ]; then echo "kept: $work" >&2; else rm -rf "$work"; fi; rm -rf "$sock"; }
trap clean EXIT
trap 'exit 130' INT TERM HUP

# Readable for the server's user (a checkout below a 0700 home is not), and one a run, so that parallel
# runs and other server versions never share objects or results.
chmod 755 "$work"; umask 022
(cd "$here" && tar cf - --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' --exclude=./tmp_install --exclude=./results .) |
  tar xf - -C "$work" --no-same-permissions --no-same-owner
chmod -R a+rX "$work"
[ "$(id -u)" != 0 ] || chown postgres "$sock"
cd "$work"
# Data sets beside the project, for the tests that want them: a copy that the server's user can read.
shared=${LOYALTY_SHARED:-$here/../shared}
if [ -d "$shared/data" ]; then
  mkdir shared && cp -r "$shared/data" shared/ && chmod -R a+rX shared
  shared=$work/shared
fi
export PG_CONFIG=$bin/pg_config LC_ALL=C.UTF-8 LOYALTY_SHARED="$shared" LOYALTY_SOURCE=$here
mk="make -s PG_CONFIG=$bin/pg_config with_llvm=no"
if [ "$what" = test ]; then
  # One pass each of both compilers with warnings as errors; the second one's objects are the ones tested.
  ! command -v clang >/dev/null || { $mk CC=clang WERROR='-Werror -Wno-ignored-attributes -Wno-ignored-optimization-argument -Wno-unknown-warning-option' all && $mk clean; }
  mk="$mk WERROR=-Werror"
fi
$mk all
$mk install DESTDIR="$work/tmp_install"
printf '%s\n' "extension_destdir = '$work/tmp_install'" \
  "dynamic_library_path = '$work/tmp_install/usr/lib/postgresql/$v/lib:\$libdir'" > tmp_install/test.conf

# pg_createcluster looks for a free port but does not reserve it: take one at random, and an own socket directory.
for _ in 1 2 3 4 5; do
  PGPORT=$((20000 + RANDOM % 30000)); (exec 3<>/dev/tcp/127.0.0.1/$PGPORT) 2>/dev/null || break
done
export PGPORT TEMP_CONFIG="$work/tmp_install/test.conf"
opts=(-t -v "$v" -i '--locale=C.UTF-8 --encoding=UTF8' -c "-s $sock"
  -o "extension_destdir=$work/tmp_install" -o "dynamic_library_path=$work/tmp_install/usr/lib/postgresql/$v/lib:\$libdir")
case $what in
  demo) cmd='psql -X -q -v ON_ERROR_STOP=1 -f demo/demo.sql' ;;
  test)
    # What hangs shall fail, and say which statement it was.  Compiling views of a few rows takes longer than the tests.
    opts+=(-o statement_timeout=10min -o jit=off); printf '%s\n' 'statement_timeout = 10min' 'jit = off' >> tmp_install/test.conf
    cmd="$mk installcheck || { cat regression.diffs; exit 1; }; $mk installcheck-sql || { cat regression.diffs; exit 1; }; $mk installcheck-pgtap installcheck-tap PROVE_FLAGS='-j2 --timer'" ;;
  test-long)
    export LOYALTY_OPERATIONS=${LOYALTY_OPERATIONS:-10000000} LOYALTY_TRIES=${LOYALTY_TRIES:-1000000} LOYALTY_KEYS=${LOYALTY_KEYS:-10000} LOYALTY_STATEMENTS=${LOYALTY_STATEMENTS:-22000}
    cmd="$mk installcheck-tap PROVE_FLAGS=-v PROVE_TESTS='test/t/050_two_stores.pl test/t/060_double_spend.pl test/t/061_retries.pl test/t/080_random_operations.pl'" ;;
  bench) cmd="bench/run.sh ${PARTS:-}"
    opts+=(-o shared_buffers=1GB -o max_wal_size=8GB -o checkpoint_timeout=1h -o autovacuum=off) ;;
  coverage) cmd=scripts/coverage.sh ;;
  *) cmd=$what ;;
esac
pg_virtualenv "${opts[@]}" bash -ec "$cmd"
