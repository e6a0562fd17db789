#!/bin/sh
# Compile sql/data/NN-WORD.sql into the function loyalty.install_steps().
# Above the line "-- replay" a file holds what runs once (tables, indexes); below it what runs
# at every loyalty.install() (views, triggers). NN is the step's number and never changes.
set -eu
printf '%s\n' \
  "CREATE FUNCTION loyalty.install_steps() RETURNS TABLE (step integer, word text, once text, replay text)" \
  "LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS \$install_steps\$" \
  "VALUES"
comma=
for file in "$@"; do
  name=$(basename "$file" .sql)
  awk -v step="${name%%-*}" -v word="${name#*-}" -v comma="$comma" '
    BEGIN { printf "%s(%d, \047%s\047, $once$", comma, step, word }
    /^-- replay$/ && !replay { printf "$once$, $replay$"; replay = 1; next }
    { print }
    END { if (!replay) printf "$once$, $replay$"; print "$replay$)" }' "$file"
  comma=", "
done
printf '%s\n' "\$install_steps\$;" \
  "COMMENT ON FUNCTION loyalty.install_steps() IS 'the SQL that loyalty.install() runs, one row a step: once, and at every call';"
