-- The programmes of examples/, as anyone would run them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\i examples/starbucks.sql
\i examples/ulta.sql
\i examples/marriott.sql
\i examples/hilton.sql
\i examples/tesco.sql
