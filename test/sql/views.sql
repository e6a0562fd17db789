-- Views: their columns, what they say, to whom.  That they agree with balance() at every instant: balance.sql.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

-- the columns that reports rely on, in types that every tool reads; a comment on each; rights of the reader
SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'v' GROUP BY c.oid, c.relname ORDER BY c.relname;
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'v' AND c.relname <> 'account_now'
  AND a.atttypid NOT IN ('numeric'::regtype, 'date'::regtype, 'timestamptz'::regtype, 'text'::regtype) ORDER BY 1, a.attnum;
SELECT c.relname, a.attname FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'v'
  AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL OR NOT c.reloptions @> '{security_invoker=true}');

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA views_test;
SET LOCAL search_path = views_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('v', 'Europe/Istanbul', '6 months, end of month', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('v', 'green', 0, 0, 0), ('v', 'gold', 1, 100, 0.5), ('v', 'guest', 2, NULL, 0), ('v', 'black', 3, NULL, 0), ('v', 'star', 4, NULL, 0);
INSERT INTO loyalty.tier_requirement (program, tier, option, metric, threshold) VALUES
  ('v', 'black', 1, 'spend', 500), ('v', 'black', 2, 'spend', 300), ('v', 'black', 2, 'points', 1000), ('v', 'star', 1, 'points', 9000);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, category text);
SELECT loyalty.attach('sale', program => 'v', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, expiry, priority) VALUES
  ('v', 'sale', 'one', 'base', 'earn.amount', NULL, NULL, 0),
  ('v', 'sale', 'coffee', 'bonus', '10', $$category = 'coffee'$$, '30 days', 0),
  ('v', 'sale', 'never', 'bonus', '1', 'false', NULL, 0);
INSERT INTO loyalty.reward (program, name, cost) VALUES ('v', 'cup', 40), ('v', 'spoon', 5);
INSERT INTO loyalty.member (member_id) VALUES (1);
INSERT INTO loyalty.member_alias VALUES (1, 'card 7'), (1, 'card 3');

SET loyalty.now = '2020-12-15 10:00+00';
INSERT INTO sale VALUES (1, 1, 90, '2020-12-15 10:00+00', 'coffee'), (2, 1, 20.9, '2020-12-15 10:00+00', NULL);
SET loyalty.now = '2020-12-16 10:00+00';
INSERT INTO sale VALUES (3, 1, 30.5, '2020-12-16 09:00+00', 'coffee'), (4, 2, 8, '2020-12-16 09:00+00', 'tea');
SET loyalty.now = '2020-12-31 21:00+00';  -- a new year in Istanbul
SELECT points, state FROM loyalty.redeem(1, reward => 'cup', program => 'v');
SELECT points, state FROM loyalty.redeem(1, points => 2, program => 'v', reason => 'parking');
SET loyalty.now = '2021-01-02 10:00+00';
UPDATE sale SET total = 10 WHERE id = 2;
DELETE FROM sale WHERE id = 3;
SELECT points FROM loyalty.adjust(1, 7, 'a kindness', program => 'v');
SELECT points FROM loyalty.adjust(1, -3, 'a mistake', program => 'v');
SET loyalty.now = '2021-01-20 10:00+00';

SELECT * FROM loyalty.statement WHERE program = 'v' ORDER BY member_id, entry_no;
SELECT * FROM loyalty.member_balance WHERE program = 'v' ORDER BY member_id;
SELECT * FROM loyalty.award_share WHERE program = 'v' ORDER BY member_id, source_key, points DESC;
SELECT * FROM loyalty.expiring WHERE program = 'v' ORDER BY 1, 4;
SELECT * FROM loyalty.tier_standing WHERE program = 'v' ORDER BY 1;
SELECT * FROM loyalty.tier_movement WHERE program = 'v' ORDER BY month;
SELECT * FROM loyalty.rule_performance WHERE program = 'v' ORDER BY rule;
SELECT * FROM loyalty.reward_performance WHERE program = 'v' ORDER BY reward;
SELECT * FROM loyalty.program_daily WHERE program = 'v' ORDER BY day;

-- what is due counts, without a job: points die on 30 June, and the tier falls after the next year
SET loyalty.now = '2021-06-30 20:59:59.999999+00';
SELECT member_id, available, next_expiry_at, next_expiry_points FROM loyalty.member_balance WHERE program = 'v' ORDER BY 1;
SET loyalty.now = '2021-06-30 21:00+00';
SELECT member_id, available, next_expiry_at, as_of FROM loyalty.member_balance WHERE program = 'v' ORDER BY 1;
SELECT member_id, entry_no, at, kind, points, balance_after, source_key FROM loyalty.statement WHERE program = 'v' AND at > '2021-01-20' ORDER BY 1, 3, 7;
SELECT * FROM loyalty.program_daily WHERE program = 'v' AND day > '2021-01-20' ORDER BY day;
SET loyalty.now = '2025-01-01 00:00+00';
SELECT member_id, tier, held_until, value, next_tier, to_next FROM loyalty.tier_standing WHERE program = 'v' ORDER BY 1;
SELECT * FROM loyalty.tier_movement WHERE program = 'v' ORDER BY month;
-- every day foots
SELECT count(*) AS broken FROM (
  SELECT *, lag(closing, 1, 0) OVER (ORDER BY day) AS before FROM loyalty.program_daily WHERE program = 'v') d
WHERE opening + issued + clawed_back + redeemed + restored + expired + transferred + adjusted <> closing OR opening <> before;

-- a rule's and a tier's new name is the one that is shown
UPDATE loyalty.rule SET name = 'one per lira' WHERE program = 'v' AND name = 'one';
UPDATE loyalty.tier SET name = 'gold card' WHERE program = 'v' AND name = 'gold';
SELECT rule, points FROM loyalty.award_share WHERE program = 'v' ORDER BY source_key, rule;
SELECT kind, what FROM loyalty.statement WHERE program = 'v' AND entry_no <= 5 AND member_id = 1 ORDER BY entry_no;

-- one member is found by index, whatever the size of the ledger
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS 'BEGIN RETURN QUERY EXECUTE ''EXPLAIN '' || query; END';
SET LOCAL enable_seqscan = off;
SELECT v, count(*) FILTER (WHERE p ~ 'Seq Scan on (lot|movement|account)') AS whole_tables
FROM unnest('{member_balance, statement, award_share, expiring, tier_standing}'::text[]) v, plan(format('SELECT * FROM loyalty.%I WHERE member_id = 1', v)) p GROUP BY v ORDER BY v;
RESET enable_seqscan;

-- roles: who was given access reads, with the rights that the reader has; others do not
CREATE ROLE loyalty_test_report;
CREATE ROLE loyalty_test_app;
CREATE ROLE loyalty_test_other;
GRANT USAGE ON SCHEMA loyalty TO loyalty_test_other;
SELECT loyalty.grant_access('loyalty_test_report', 'report'), loyalty.grant_access('loyalty_test_app', 'app');
SET ROLE loyalty_test_report;
SELECT v, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM loyalty.%I WHERE program = ''v''', v), false, true, '')))[1]::text::int AS rows
FROM unnest('{member_balance, statement, award_share, expiring, program_daily, tier_standing, tier_movement, rule_performance, reward_performance}'::text[]) v;
INSERT INTO loyalty.lot SELECT * FROM loyalty.lot;
UPDATE loyalty.member_balance SET available = 1;
SELECT * FROM loyalty.balance(1, 'v');
SET ROLE loyalty_test_app;
SELECT v, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM loyalty.%I WHERE program = ''v''', v), false, true, '')))[1]::text::int AS rows
FROM unnest('{member_balance, statement, award_share, expiring, tier_standing}'::text[]) v;
SELECT count(*) FROM loyalty.program_daily;
SET ROLE loyalty_test_other;
SELECT count(*) FROM loyalty.member_balance;
RESET ROLE;
GRANT SELECT ON loyalty.member_balance TO loyalty_test_other;
SET ROLE loyalty_test_other;
SELECT count(*) FROM loyalty.member_balance;
RESET ROLE;
-- a policy on the tables narrows every view
CREATE POLICY mine ON loyalty.account TO loyalty_test_report USING (member_id = 2);
ALTER TABLE loyalty.account ENABLE ROW LEVEL SECURITY;
SET ROLE loyalty_test_report;
SELECT member_id FROM loyalty.member_balance WHERE program = 'v';
RESET ROLE;
-- a reader's own functions and operators are not taken
CREATE FUNCTION views_test.stolen(bigint, numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 999999.0';
CREATE OPERATOR views_test.* (LEFTARG = bigint, RIGHTARG = numeric, FUNCTION = views_test.stolen);
CREATE FUNCTION views_test.trim_scale(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 999999.0';
SET LOCAL search_path = views_test, pg_catalog;
SELECT max(points) < 999999 AS own FROM loyalty.statement;
SELECT max(available) < 999999 AS own FROM loyalty.balance(1, 'v', '2020-12-20 00:00+00');
SELECT * FROM loyalty.verify();
ROLLBACK;
