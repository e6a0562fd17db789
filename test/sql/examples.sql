-- The programmes of examples/, as anyone would run them: in a database of their own.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
\set home :DBNAME
CREATE DATABASE loyalty_examples;
\c loyalty_examples
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
\i examples/starbucks.sql
\i examples/ulta.sql
\i examples/marriott.sql
\i examples/hilton.sql
\i examples/tesco.sql
\i examples/hyatt.sql
\i examples/executive_club.sql
\i examples/delta.sql
\i examples/payback.sql
\i examples/costco.sql
\i examples/freedom.sql
\c :home
DROP DATABASE loyalty_examples;
