#!/bin/bash
# run.sh [PART …]: measure, check that the results are equal, print one table.  Parts: copy single batch redeem
# old_lots memory update returns hold quote daily rooms; all of them unless named.  "make bench [PARTS='copy update']" runs it in a throw-away server;
# elsewhere it needs a superuser's connection (PG* variables) to a server on this machine, and makes and drops the
# databases bench_base and bench_run.  How to read it: bench/README.md.
#   ROWS=1000000  MEMBERS=100000  RUNS=5  SECONDS_EACH=5   size and length
#   WORK_MEM=64MB         for every contestant alike
#   ENGINE=off            floors and hand-written contestants alone, without the extension
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8 PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning"

rows=${ROWS:-1000000} members=${MEMBERS:-100000} runs=${RUNS:-5} seconds=${SECONDS_EACH:-5}
work_mem=${WORK_MEM:-64MB} engine=${ENGINE:-on}
columns='order_id, customer_id, total, ordered_at, status, category'
all_parts='copy single batch redeem old_lots memory update returns hold quote daily rooms'
parts=${*:-${PARTS:-$all_parts}}

work=$(mktemp -d -t loyalty_bench.XXXXXX); chmod 755 "$work"
ours=''   # databases that this run made
clean() {
  rm -rf "$work"
  for database in $ours; do dropdb --if-exists --force "$database" >/dev/null 2>&1 || true; done
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'bench: %s\n' "$*" >&2; exit 1; }
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
value() { sql -d "$1" -c "$2"; }

for part in $parts; do
  [[ " $all_parts " == *" $part "* ]] || die "there is no part $part; parts: $all_parts"
done
sql -d postgres -c 'SELECT 1' >/dev/null || die "cannot connect; run it by \"make bench\", or set PGHOST, PGPORT, PGUSER"
[ "$(value postgres "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")" = t ] || die "needs a superuser: it reads a file by COPY and /proc"

# ---- the database that every run starts from ----

make_base() {
  say "preparing ($rows rows, $members members, engine $engine)"
  sql -d postgres -c 'CREATE DATABASE bench_base'
  sql -d bench_base -f bench/shop.sql
  if [ "$engine" = on ]; then
    sql -d bench_base -f bench/loyalty.sql >/dev/null || die "the extension is not there or refuses bench/loyalty.sql; ENGINE=off measures without it"
  else
    # The ledger's tables use built-in types only, so they can be had without the code.
    sql -d bench_base -c 'CREATE SCHEMA loyalty'
    for piece in account lot redemption; do sql -d bench_base -f sql/data/*-$piece.sql; done
  fi
  sql -d bench_base -f bench/rival.sql -f bench/plpgsql_row.sql -f bench/set_based.sql -f bench/plpgsql_redeem.sql
}

# A fresh copy of it: empty tables, no bloat, and no need to truncate a ledger that refuses to be truncated.
fresh() {
  sql -d postgres -c 'DROP DATABASE IF EXISTS bench_run (FORCE)' -c 'CREATE DATABASE bench_run TEMPLATE bench_base'
}

# purchases N FILE: N purchases, the same ones every time.
purchases() {
  [ -s "$2" ] || value bench_base "COPY (SELECT (shop.purchase(i, $1, $members)).* FROM generate_series(1, $1) i) TO STDOUT" > "$2"
}

# ---- measuring ----

# timed DATABASE < statements: their milliseconds together, on the clock of psql's \timing.
timed() {
  sql -d postgres -c CHECKPOINT
  { printf '%s\n' "SET work_mem = '$work_mem'; SET jit = off;" '\timing on'; cat; } | sql -d "$1" > "$work/timed" || die "a statement failed"
  awk '/^Time: / { ms += $2 } END { printf "%.3f\n", ms }' "$work/timed"
}

# timed_pgbench CLIENTS SCRIPT [-D name=value …]: milliseconds a transaction, async commit.  Fails when one failed.
# It runs for a time, or for -t transactions a client.
timed_pgbench() {
  local clients=$1 script=$2 threads length=(-T "$seconds"); shift 2
  if [ "${1:-}" = -t ]; then length=(-t "$2"); shift 2; fi
  threads=$(( clients < $(nproc) ? clients : $(nproc) ))
  sql -d postgres -c CHECKPOINT
  PGOPTIONS="$PGOPTIONS -c synchronous_commit=off" pgbench -n -M prepared -c "$clients" -j "$threads" "${length[@]}" --random-seed="$round" -f "$script" \
    -D members="$members" "$@" bench_run > "$work/pgbench" 2> "$work/pgbench.err" || { cat "$work/pgbench.err" >&2; die "pgbench failed on $script"; }
  if grep -q 'number of failed transactions: [1-9]' "$work/pgbench"; then cat "$work/pgbench" "$work/pgbench.err" >&2; die "transactions failed in $script"; fi
  awk -v clients="$clients" '/^tps = / { printf "%.4f\n", clients * 1000 / $3 }' "$work/pgbench"
}

# measure WHAT WHO command …: what the command prints is a figure.
measure() {
  local what=$1 who=$2 figure; shift 2
  figure=$("$@") || exit 1
  [ -n "$figure" ] || die "no figure for $what $who"
  printf '%s %s %s\n' "$what" "$who" "$figure" >> "$work/figures"
  say "  $what $who: $figure ms"
}

median() { awk -v what="$1" -v who="$2" '$1 == what && $2 == who { print $3 }' "$work/figures" | sort -g |
  awk '{ v[NR] = $1 } END { if (NR) printf "%.3f\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# row TEXT MUST AIM WHAT WHO AGAINST [note]: the ratio of the medians; spread is that of the rounds' own ratios.
row() {
  local a b spread
  a=$(median "$4" "$5"); b=$(median "$4" "$6")
  if [ -z "$a" ] || [ -z "$b" ]; then return; fi
  spread=$(awk -v what="$4" -v who="$5" -v against="$6" '
    $1 != what { next } $2 == who { x[++n] = $3 } $2 == against { y[++m] = $3 }
    END { for (i = 1; i <= n; i++) { r = x[i] / y[i]; if (i == 1 || r < lo) lo = r; if (i == 1 || r > hi) hi = r }
          printf "%.2f-%.2f, %d rounds", lo, hi, n }' "$work/figures")
  printf '| %s | %s | %s | %s × | %s; medians %s and %s ms%s |\n' "$1" "$2" "$3" \
    "$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", a / b }')" "$spread" "$a" "$b" "${7:-}" >> "$work/table"
}

# equal WHAT FIGURE FIGURE …: benchmarks check their results.
equal() {
  local what=$1 first=$2 other; shift 2
  [ -n "$first" ] || die "no figure: $what"
  for other in "$@"; do [ "$first" = "$other" ] || die "$what differ: $first and $other"; done
}

rounds() { seq 1 "$runs"; }

# members, lots and points, and one hash over points and tier of each member
standing() {
  value bench_run "
    SELECT count(*), sum(lots), sum(points), md5(string_agg(concat_ws(':', a.member_id, points, a.tier_id), ',' ORDER BY a.member_id))
      FROM (SELECT member_id, count(*) AS lots, sum(points) / 10000 AS points FROM $1.lot GROUP BY member_id) l
      JOIN $1.account a USING (member_id)"
}

sound() {   # every paid purchase has its one award, every account's spend is the sum of its purchases, verify() is silent
  equal 'paid purchases without an award, and 0' "$(value bench_run "
    SELECT count(*) FROM shop.orders o WHERE status = 'paid' AND NOT EXISTS
      (SELECT FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id AND s.name = 'orders' WHERE l.source_key = o.order_id::text)")" 0
  equal 'accounts whose spend is not the sum of their purchases, and 0' "$(value bench_run "
    SELECT count(*) FROM (SELECT customer_id, sum(total) AS spend FROM shop.orders WHERE status = 'paid' GROUP BY 1) o
      FULL JOIN loyalty.account a ON a.member_id = o.customer_id WHERE a.spend IS DISTINCT FROM o.spend")" 0
  equal 'findings of loyalty.verify(), and 0' "$(value bench_run 'SELECT count(*) FROM loyalty.verify()')" 0
}

# ---- parts ----

part_copy() {
  local who tables='floor row set' load="$work/purchases" first='' result
  [ "$engine" = off ] || tables='floor loyalty row set'
  purchases "$rows" "$load"
  for round in $(rounds); do
    for who in $tables; do
      fresh
      case $who in
        floor) measure copy floor timed bench_run <<< "COPY shop.orders_floor ($columns) FROM '$load';"; continue ;;
        loyalty) measure copy loyalty timed bench_run <<< "COPY shop.orders ($columns) FROM '$load';"; result=$(standing loyalty) ;;
        row) measure copy row timed bench_run <<< "COPY shop.orders_row ($columns) FROM '$load';"; result=$(standing rival) ;;
        set) measure copy set timed bench_run <<< "BEGIN; COPY shop.orders_set ($columns) FROM '$load'; CALL rival.earn_load(); COMMIT;"; result=$(standing rival) ;;
      esac
      first=${first:-$result}
      equal "members, lots, points and tiers of $who" "$first" "$result"
    done
  done
  say "  every contestant: $first"
  row "COPY of $rows purchases, against floor" '≤ 3.5 ×' '≤ 2.3 ×' copy loyalty floor
  row 'plpgsql row trigger, against loyalty' '≥ 8 ×' '≥ 13 ×' copy row loyalty
  row 'hand-written set-based SQL, against loyalty' '≥ 1.4 ×' '≥ 2 ×' copy set loyalty
  row '(plpgsql row trigger, against floor)' '' '' copy row floor
  row '(hand-written set-based SQL, against floor)' '' '' copy set floor
}

# Members known, one purchase each, so that no run enrols more than another.
know_members() {
  local table
  fresh
  for table in $tables; do
    value bench_run "INSERT INTO shop.$table (customer_id, total, ordered_at, status, category) SELECT i, 10, now(), 'paid', 'food' FROM generate_series(1, $members) i"
    value bench_run "VACUUM ANALYZE shop.$table"
  done
}

inserts() {   # WHAT CLIENTS SCRIPT, into each of $tables, alternating
  local table
  for round in $(rounds); do
    for table in $tables; do
      sed "s/:table/$table/" "$3" > "$work/$table.sql"
      measure "$1" "$table" timed_pgbench "$2" "$work/$table.sql"
    done
  done
}

part_single() {
  local tables='orders_floor orders'; [ "$engine" = on ] || tables=orders_floor
  know_members
  inserts single1 1 bench/pgbench_single.sql
  inserts single8 8 bench/pgbench_single.sql
  if [ "$engine" = on ]; then sound; fi
  row 'single-row insert, async commit, 1 client, against floor' '≤ 2.2 ×' '≤ 1.6 ×' single1 orders orders_floor
  row 'the same, 8 clients' '≤ 2.2 ×' '≤ 1.6 ×' single8 orders orders_floor
}

part_batch() {
  local tables='orders_floor orders' deadlocks; [ "$engine" = on ] || tables=orders_floor
  know_members
  inserts batch 8 bench/pgbench_batch.sql
  if [ "$engine" = on ]; then sound; fi
  deadlocks=$(value postgres "SELECT deadlocks FROM pg_stat_database WHERE datname = 'bench_run'")
  equal 'deadlocks, and 0' "$deadlocks" 0
  row '100-row inserts, 8 clients, skewed members, against floor' '≤ 4 ×, no deadlock' '≤ 2.5 ×' batch orders orders_floor ", $deadlocks deadlocks"
}

# fill FIRST LAST LOTS POINTS: members with LOTS lots each that were earned and expire in different months.
fill() {
  local n
  if [ "$engine" = on ]; then
    for n in $(seq "$3"); do
      value bench_run "
        INSERT INTO shop.refill (customer_id, total, ordered_at, status, category)
        SELECT m, $4, now() - make_interval(months => ($3 - $n) % 11, mins => $3 - $n), 'paid', 'food'
          FROM generate_series($1::bigint, $2) m"
    done
  else
    value bench_run "
      INSERT INTO loyalty.account (member_id, enrolled_at, settled_at, next_change_at, available, pending, held, debt, next_entry,
        open_from_expires_at, open_from_entry_no, tier_until, period_start, period_end, previous_start, program_id,
        visits, visits_previous, earned, earned_previous, spend, spend_previous)
      SELECT m, now(), now(), 'infinity', $3 * $4 * 10000::bigint, 0, 0, 0, $3 + 1, '-infinity', 0, 'infinity', '-infinity', 'infinity', '-infinity', 2,
        0, 0, 0, 0, 0, 0 FROM generate_series($1::bigint, $2) m;
      INSERT INTO loyalty.lot (member_id, expires_at, entry_no, points, remaining, owed, earned_at, available_at, at, posted_at, program_id, source_id, source_key)
      SELECT m, now() + make_interval(months => n::int), n, $4 * 10000::bigint, $4 * 10000::bigint, 0, now(), now(), now(), now(), 2, 2, m || '-' || n
        FROM generate_series($1::bigint, $2) m, generate_series(1, $3) n"
  fi
}

burn_program() { if [ "$engine" = on ]; then value bench_run "SELECT id FROM loyalty.program WHERE name = 'burn'"; else echo 2; fi; }

# what was granted less what is left is what was redeemed, and accounts say the same as their lots
burnt() {
  equal 'points taken from lots and points redeemed' \
    "$(value bench_run "SELECT sum(points - remaining) FROM loyalty.lot WHERE program_id = $program AND expires_at > now()")" \
    "$(value bench_run "SELECT coalesce(sum(points), 0) FROM loyalty.redemption WHERE program_id = $program AND reason IS DISTINCT FROM 'set-up'")"
  equal 'available points and what remains in lots' \
    "$(value bench_run "SELECT sum(available) FROM loyalty.account WHERE program_id = $program")" \
    "$(value bench_run "SELECT sum(remaining) FROM loyalty.lot WHERE program_id = $program AND expires_at > now()")"
}

# Each redemption empties the ten lots of a member of its own; then, for the record, one that takes a part of one lot.
part_redeem() {
  local program who each=$(( members / 100 )) first=1 last=$(( 16 * (members / 100) * runs )) contestants='plpgsql loyalty'
  [ "$engine" = on ] || contestants=plpgsql
  fresh; program=$(burn_program)
  fill 1 "$last" 10 10
  fill $(( last + 1 )) $(( last + members / 5 )) 10 10000
  for table in lot account; do value bench_run "VACUUM ANALYZE loyalty.$table"; done
  for round in $(rounds); do
    for who in $contestants; do
      measure redeem "$who" timed_pgbench 8 "bench/pgbench_redeem_$who.sql" -t "$each" -D i=-1 -D first="$first" -D each="$each" -D points=100 -D program="$program"
      first=$(( first + 8 * each ))
    done
    for who in $contestants; do
      measure redeem_part "$who" timed_pgbench 8 "bench/pgbench_redeem_part_$who.sql" -D first=$(( last + 1 )) -D last=$(( last + members / 5 )) -D points=100 -D program="$program"
    done
  done
  burnt
  row 'redeem of points, 10 lots, 8 clients: plpgsql, against loyalty' '≥ 2.5 ×' '≥ 5 ×' redeem plpgsql loyalty
  row '(redeem of a part of one lot: plpgsql, against loyalty)' '' '' redeem_part plpgsql loyalty
}

part_old_lots() {
  local program old
  if [ "$engine" = off ]; then say '  old_lots: skipped, needs the engine'; return; fi
  # Member 1 has 100,000 dead lots (half expired, half spent) below 10 open ones; member 2 the 10 alone.
  fresh; program=$(burn_program); old=${OLD_LOTS:-100000}
  value bench_run "
    INSERT INTO shop.refill (customer_id, total, ordered_at, status, category)
    SELECT 1, 1, now() - interval '3 years' + i * interval '1 minute', 'paid', 'food' FROM generate_series(1, $old / 2) i;
    INSERT INTO shop.refill (customer_id, total, ordered_at, status, category)
    SELECT 1, 1, now() - interval '11 months' + i * interval '1 second', 'paid', 'food' FROM generate_series(1, $old / 2) i"
  value bench_run "SELECT count(*) FROM generate_series(1, 50) i, LATERAL loyalty.redeem(member_id => 1, points => ($old / 100)::numeric, program => 'burn', key => 'set-up ' || i, reason => 'set-up') r" >/dev/null
  fill 1 2 10 1000000
  equal 'balances of the two members' "$(value bench_run "SELECT available FROM loyalty.balance(1, 'burn')")" "$(value bench_run "SELECT available FROM loyalty.balance(2, 'burn')")"
  for table in lot account; do value bench_run "VACUUM ANALYZE loyalty.$table"; done
  for round in $(rounds); do
    for member in 2 1; do
      measure old_lots "member$member" timed_pgbench 1 bench/pgbench_redeem_part_loyalty.sql -D first="$member" -D last="$member" -D points=1
    done
  done
  equal 'findings of loyalty.verify(), and 0' "$(value bench_run 'SELECT count(*) FROM loyalty.verify()')" 0
  row "redeem with $old old lots, against 10 lots" '≤ 1.3 ×' '1.05 ×' old_lots member1 member2
}

# peak TABLE FILE: the greatest private memory (RssAnon, sampled) and the greatest of all (VmHWM, shared buffers
# included) of a backend that copies, in MB.
peak() {
  local pid='' greatest=0 key kb copy
  sql -d postgres -c CHECKPOINT
  PGAPPNAME=bench_memory sql -d bench_run -c "SET work_mem = '$work_mem'" -c "COPY shop.$1 ($columns) FROM '$2'" \
    -c "SELECT (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+)'))[1]::int / 1024" > "$work/hwm" &
  copy=$!
  while [ -z "$pid" ] && kill -0 $copy 2>/dev/null; do pid=$(value postgres "SELECT pid FROM pg_stat_activity WHERE application_name = 'bench_memory'"); done
  while [ -n "$pid" ] && [ -r "/proc/$pid/status" ]; do
    while read -r key kb _; do
      if [ "$key" = RssAnon: ] && [ "$kb" -gt "$greatest" ]; then greatest=$kb; fi
    done 2>/dev/null < "/proc/$pid/status" || true
    sleep 0.02
  done
  wait $copy || die "COPY failed"
  echo "$(( greatest / 1024 )) $(cat "$work/hwm")"
}

part_memory() {
  local many=$(( rows * 5 )) load="$work/purchases5" floor_private floor_all private all
  purchases "$many" "$load"
  fresh
  read -r floor_private floor_all < <(peak orders_floor "$load") || die 'no figure'
  say "  memory floor: $floor_private MB private, $floor_all MB with shared buffers"
  if [ "$engine" = on ]; then
    fresh
    read -r private all < <(peak orders "$load") || die 'no figure'
    say "  memory loyalty: $private MB private, $all MB with shared buffers"
    equal 'paid purchases and awards' "$(value bench_run "SELECT count(*) FROM shop.orders WHERE status = 'paid'")" \
      "$(value bench_run 'SELECT count(*) FROM loyalty.lot WHERE part = 0')"
    printf '| peak memory of a backend, COPY of %s purchases, above floor | ≤ 300 MB | ≤ 100 MB | %s MB | private memory %s and %s MB (VmHWM with shared buffers %s and %s MB) |\n' \
      "$many" "$(( private - floor_private ))" "$private" "$floor_private" "$all" "$floor_all" >> "$work/table"
  fi
  rm -f "$load"
}

part_update() {
  local table tables='orders_floor orders' before load="$work/purchases"; [ "$engine" = on ] || tables=orders_floor
  purchases "$rows" "$load"
  fresh
  for table in $tables; do value bench_run "COPY shop.$table ($columns) FROM '$load'"; done
  before=$(standing loyalty)
  for round in $(rounds); do
    for table in $tables; do
      value bench_run "VACUUM ANALYZE shop.$table"
      measure update "$table" timed bench_run <<< "UPDATE shop.$table SET note = 'round $round' WHERE order_id <= $(( rows / 5 ));"
    done
  done
  equal 'the ledger before and after' "$before" "$(standing loyalty)"
  row "UPDATE of $(( rows / 5 )) rows that changes no mapped value, against floor" '≤ 1.1 ×' '1.03 ×' update orders orders_floor
}

# Purchases of the last year: one in ten, all over the year, is refunded in part, and then one in ten is deleted.
part_returns() {
  local table tables='orders_floor orders' nth=0; [ "$engine" = on ] || tables=orders_floor
  fresh
  for table in $tables; do
    value bench_run "INSERT INTO shop.$table ($columns) SELECT order_id, customer_id, total, ordered_at + (date_trunc('hour', now()) - '2025-01-02'), status, category
      FROM generate_series(1, $rows) i, shop.purchase(i, $rows, $members)"
  done
  for round in $(rounds); do
    for table in $tables; do
      value bench_run "VACUUM ANALYZE shop.$table"
      measure amount "$table" timed bench_run <<< "UPDATE shop.$table SET total = round(total * 0.9, 2) WHERE order_id % 10 = $nth;"
      measure delete "$table" timed bench_run <<< "DELETE FROM shop.$table WHERE order_id % 10 = $nth;"
    done
    nth=$(( nth + 1 ))
  done
  if [ "$engine" = on ]; then
    equal 'what is kept of purchases and what was paid' "$(value bench_run 'SELECT sum(kept_amount) FROM loyalty.lot')" \
      "$(value bench_run "SELECT sum(total) FROM shop.orders WHERE status = 'paid'")"
    equal 'findings of loyalty.verify(), and 0' "$(value bench_run 'SELECT count(*) FROM loyalty.verify()')" 0
  fi
  row "UPDATE of the amounts of $(( rows / 10 )) purchases, against floor" '≤ 5 ×' '≤ 3 ×' amount orders orders_floor
  row "DELETE of $(( rows / 10 )) purchases, against floor" '≤ 5 ×' '≤ 3 ×' delete orders orders_floor
}

part_hold() {
  local program last=$(( members / 5 ))
  if [ "$engine" = off ]; then say '  hold: skipped, needs the engine'; return; fi
  fresh; program=$(burn_program)
  fill 1 "$last" 10 10000
  for table in lot account; do value bench_run "VACUUM ANALYZE loyalty.$table"; done
  for round in $(rounds); do
    measure hold redeem timed_pgbench 1 bench/pgbench_redeem_part_loyalty.sql -D first=1 -D last="$last" -D points=100
    measure hold both timed_pgbench 1 bench/pgbench_hold_capture.sql -D first=1 -D last="$last" -D points=100
  done
  equal 'available points and what remains in lots' \
    "$(value bench_run "SELECT sum(available) FROM loyalty.account WHERE program_id = $program")" \
    "$(value bench_run "SELECT sum(remaining) FROM loyalty.lot WHERE program_id = $program AND expires_at > now()")"
  equal 'findings of loyalty.verify(), and 0' "$(value bench_run 'SELECT count(*) FROM loyalty.verify()')" 0
  row 'hold and capture, against redeem' '≤ 2 ×' '' hold both redeem
}

# cpu < statement: what the backend's processor time says, in milliseconds.
cpu() {
  { echo "SELECT (regexp_split_to_array(pg_read_file('/proc/self/stat'), ' '))[14:15] AS was \\gset"; cat
    echo "SELECT 10 * (f[14]::int + f[15]::int - (:'was'::int[])[1] - (:'was'::int[])[2]) FROM regexp_split_to_array(pg_read_file('/proc/self/stat'), ' ') f;"
  } | sql -d bench_run | tail -1
}

part_quote() {
  local n=10000 tables='orders'
  if [ "$engine" = off ]; then say '  quote: skipped, needs the engine'; return; fi
  know_members
  for round in $(rounds); do
    measure quote insert cpu <<< "DO \$\$ BEGIN FOR i IN 1..$n LOOP
      INSERT INTO shop.orders (customer_id, total, ordered_at, status, category) VALUES (i, 25, now(), 'paid', 'food'); END LOOP; END \$\$;"
    measure quote quote cpu <<< "DO \$\$ BEGIN FOR i IN 1..$n LOOP
      PERFORM q.points FROM loyalty.quote('shop.orders', jsonb_build_object('customer_id', i, 'total', 25, 'ordered_at', now(), 'status', 'paid', 'category', 'food')) q; END LOOP; END \$\$;"
  done
  row 'processor time of quote, against the insert that it foresees' '≤ 1.2 ×' '' quote quote insert
}

# A year of a program whose points live a year: every lot has its expiry written down, so movements are as many as lots.
part_daily() {
  if [ "$engine" = off ]; then say '  daily: skipped, needs the engine'; return; fi
  local load="$work/purchases"
  purchases "$rows" "$load"
  fresh
  value bench_run "COPY shop.orders ($columns) FROM '$load'"
  value bench_run "CALL loyalty.run_maintenance()"
  for table in lot movement account; do value bench_run "VACUUM ANALYZE loyalty.$table"; done
  for round in $(rounds); do
    measure daily aggregate timed bench_run <<< "SELECT sum(points) FROM (SELECT sum(points) AS points FROM loyalty.lot UNION ALL SELECT sum(points) FROM loyalty.movement) e;"
    measure daily view timed bench_run <<< "SELECT count(*), sum(issued), max(closing) FROM loyalty.program_daily WHERE day BETWEEN '2024-01-01' AND '2024-12-31';"
  done
  say "  daily: $(value bench_run "SELECT (SELECT count(*) FROM loyalty.lot) || ' lots, ' || (SELECT count(*) FROM loyalty.movement) || ' movements'")"
  equal 'issued on all days and points of all lots' "$(value bench_run 'SELECT sum(issued) * 10000 FROM loyalty.program_daily')" "$(value bench_run 'SELECT sum(points) FROM loyalty.lot')"
  row "program_daily of a year, $rows lots and as many movements, against one sequential aggregate over both" '≤ 3 ×' '' daily view aggregate
}

# Each purchase is an award, a stay and progress in three challenges; cards are given for what was bought; nothing is amiss.
rooms_sound() {   # PROGRAM TABLE
  equal "paid purchases of $1, awards, stays and purchases counted" \
    "$(value bench_run "SELECT count(*) FROM shop.$2 WHERE status = 'paid'")" \
    "$(value bench_run "SELECT count(*) FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id AND p.name = '$1' WHERE l.kind = 'a' AND l.unit = 0")" \
    "$(value bench_run "SELECT count(*) FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id AND p.name = '$1' WHERE l.kind = 'a' AND l.unit <> 0")" \
    "$(value bench_run "SELECT sum(t.value) FROM loyalty.progress t JOIN loyalty.challenge c ON c.id = t.challenge_id WHERE c.program = '$1' AND c.name = 'card'")"
  equal "cards of $1 that are full, and were given" \
    "$(value bench_run "SELECT coalesce(sum(o.n / c.target::int), 0) FROM loyalty.challenge c, (SELECT count(*) AS n FROM shop.$2 WHERE status = 'paid' GROUP BY customer_id) o
      WHERE c.program = '$1' AND c.name = 'card'")" \
    "$(value bench_run "SELECT coalesce(sum(x.completions), 0) FROM loyalty.challenge_award x JOIN loyalty.challenge c ON c.id = x.challenge_id AND c.program = '$1'")"
  equal 'findings of loyalty.verify(), and 0' "$(value bench_run 'SELECT count(*) FROM loyalty.verify()')" 0
}

part_rooms() {
  local table tables='orders orders_rooms orders_tenth' load="$work/purchases" awards
  if [ "$engine" = off ]; then say '  rooms: skipped, needs the engine'; return; fi
  sql -d bench_base -f bench/rooms.sql >/dev/null
  purchases "$rows" "$load"
  for round in $(rounds); do
    for table in $tables; do
      fresh
      measure rooms "$table" timed bench_run <<< "COPY shop.$table ($columns) FROM '$load';"
      [ "$table" = orders ] || rooms_sound "${table#orders_}" "$table"
    done
  done
  awards=$(value bench_run 'SELECT count(*) FROM loyalty.challenge_award')
  know_members
  inserts rooms1 1 bench/pgbench_single.sql
  for table in orders_rooms orders_tenth; do rooms_sound "${table#orders_}" "$table"; done
  row "COPY of $rows purchases into a program with a status unit, a segment and three challenges, against one without" '≤ 1.6 ×' '' rooms orders_rooms orders
  row "the same, with $awards awards for completions" '' '' rooms orders_tenth orders
  row 'single-row insert, 1 client, the same, against a program without' '≤ 1.6 ×' '' rooms1 orders_rooms orders
  row 'the same, every fifth purchase of a member completes one' '' '' rooms1 orders_tenth orders
}

# ---- ----

for database in bench_run bench_base; do
  [ -z "$(value postgres "SELECT 1 FROM pg_database WHERE datname = '$database'")" ] || die "database $database is there already; if it is of an earlier run: dropdb $database"
done
ours='bench_run bench_base'
touch "$work/figures" "$work/table"
make_base
for part in $parts; do
  say "part $part"
  "part_$part"
done

printf 'PostgreSQL %s, %s cores (%s), %s MB of memory; shared_buffers %s, work_mem %s, autovacuum %s; %s rounds, alternating; results equal.\n\n' \
  "$(value postgres 'SHOW server_version')" "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)" \
  "$(value postgres 'SHOW shared_buffers')" "$work_mem" "$(value postgres 'SHOW autovacuum')" "$runs"
printf '| work | must | aim | measured | spread |\n|---|---|---|---|---|\n'
cat "$work/table"
