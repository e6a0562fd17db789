-- make demo: a shop, a loyalty programme, two years of purchases and a week in the life of one member.
-- For an empty database: psql -X -q -f demo/demo.sql
\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
\pset null '-'
SET client_min_messages = warning;
SET TimeZone = 'Europe/Istanbul';
SET DateStyle = 'ISO, YMD';

\ir purchases.sql
\ir shop.sql
\ir program.sql
\ir load.sql
\ir week.sql
\ir time.sql
