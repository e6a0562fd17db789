-- award(): what a purchase earned; why_not(): why it did not earn more; quote(): what one would earn.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA quote_test;
SET LOCAL search_path = quote_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
INSERT INTO loyalty.program (name, timezone, expiry, sandbox) VALUES ('q', 'Europe/Istanbul', '6 months, end of month', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('q', 'green', 0, 0, 0), ('q', 'gold', 1, 100, 0.25);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, state text, category text);
SELECT loyalty.attach('sale', program => 'q', member => 'who', amount => 'total', occurred_at => 'at', condition => $$state = 'paid'$$) > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, condition, starts_at, priority, exclusive_group, enabled, expiry, pending) VALUES
  ('q', 'sale', 'one', 'base', 'earn.amount', NULL, '-infinity', 0, NULL, true, NULL, NULL),
  ('q', 'sale', 'coffee', 'bonus', '10', $$category = 'coffee'$$, '-infinity', 5, 'g', true, '30 days', '2 days'),
  ('q', 'sale', 'big', 'bonus', '20', 'earn.amount > 50', '-infinity', 4, 'g', true, NULL, NULL),
  ('q', 'sale', 'summer', 'bonus', 'earn.base', NULL, '2020-06-01 00:00+00', 3, NULL, true, NULL, NULL),
  ('q', 'sale', 'nothing', 'bonus', 'earn.amount * 0', NULL, '-infinity', 2, NULL, true, NULL, NULL),
  ('q', 'sale', 'off', 'bonus', '1', NULL, '-infinity', 1, NULL, false, NULL, NULL);
SET loyalty.now = '2020-03-01 10:00+00';
INSERT INTO sale VALUES (1, 1, 40.7, '2020-03-01 10:00+00', 'paid', 'coffee'), (2, 1, 90, '2020-03-01 10:00+00', 'paid', 'coffee'),
  (3, 1, 10, '2020-03-01 10:00+00', 'open', 'coffee'), (4, NULL, 10, '2020-03-01 10:00+00', 'paid', 'coffee'), (5, 2, 99, '2020-03-01 10:00+00', 'paid', NULL);

-- ---- award
SELECT * FROM loyalty.award('sale', '1');
SELECT * FROM loyalty.award('sale', '2');
-- of what is kept; shares add up to the balance
UPDATE sale SET total = 20.35 WHERE id = 1;
SELECT * FROM loyalty.award('sale', '1');
DELETE FROM sale WHERE id = 5;
SELECT * FROM loyalty.award('sale', '5');
SELECT * FROM loyalty.award('sale', '3');
SELECT sum(points) = (SELECT available + pending FROM loyalty.balance(1, 'q')) AS adds_up FROM unnest('{1, 2}'::text[]) k, loyalty.award('sale', k);
SELECT * FROM loyalty.award('pg_class', '1');
\echo :LAST_ERROR_SQLSTATE

-- ---- why_not
SELECT * FROM loyalty.why_not('sale', '1');
SELECT * FROM loyalty.why_not('sale', '2');
SELECT * FROM loyalty.why_not('sale', '3');
SELECT * FROM loyalty.why_not('sale', '4');
SELECT * FROM loyalty.why_not('sale', '5');
SELECT * FROM loyalty.why_not('sale', '6');
SELECT * FROM loyalty.why_not('sale', 'x');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.rule SET condition = 'false' WHERE name = 'one';
INSERT INTO loyalty.rule (program, source, name, kind, points) VALUES ('q', 'sale', 'later', 'bonus', '1');
SELECT * FROM loyalty.why_not('sale', '1');
ALTER TABLE sale DISABLE TRIGGER USER;
INSERT INTO sale VALUES (7, 1, 10, '2020-03-01 10:00+00', 'paid', NULL);
ALTER TABLE sale ENABLE TRIGGER USER;
SELECT * FROM loyalty.why_not('sale', '7');
INSERT INTO loyalty.member (member_id, status) VALUES (8, 'excluded'), (9, 'erased');
INSERT INTO sale VALUES (8, 8, 10, '2020-03-01 10:00+00', 'paid', NULL), (9, 9, 10, '2020-03-01 10:00+00', 'paid', NULL);
SELECT k, w.* FROM unnest('{8, 9}'::text[]) k, loyalty.why_not('sale', k) w WHERE w.rule IS NULL;
SELECT count(*) AS earned FROM loyalty.lot WHERE member_id IN (8, 9);
UPDATE loyalty.account SET status = 'blocked' WHERE member_id = 2;
UPDATE loyalty.program SET enrollment = 'explicit' WHERE name = 'q';
INSERT INTO sale VALUES (10, 2, 10, '2020-03-01 10:00+00', 'paid', NULL), (11, 11, 10, '2020-03-01 10:00+00', 'paid', NULL);
SELECT k, w.* FROM unnest('{10, 11}'::text[]) k, loyalty.why_not('sale', k) w WHERE w.rule IS NULL;
UPDATE loyalty.program SET enrollment = 'automatic' WHERE name = 'q';
UPDATE loyalty.source SET enabled = false WHERE program = 'q';
SELECT * FROM loyalty.why_not('sale', '1');
UPDATE loyalty.source SET enabled = true WHERE program = 'q';
UPDATE loyalty.program SET enabled = false WHERE name = 'q';
SELECT * FROM loyalty.why_not('sale', '1');
UPDATE loyalty.program SET enabled = true WHERE name = 'q';
-- a rule that fails
SAVEPOINT good_rules;
INSERT INTO loyalty.rule (program, source, name, kind, points) VALUES ('q', 'sale', 'bad', 'bonus', '1 / (earn.amount - 7)');
SELECT * FROM loyalty.quote('sale', '{"who": 1, "total": 7, "at": "2020-03-02T10:00:00Z", "state": "paid"}');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.source SET on_error = 'skip' WHERE program = 'q';
INSERT INTO sale VALUES (12, 1, 7, '2020-03-02 10:00+00', 'paid', NULL);
SELECT * FROM loyalty.why_not('sale', '12');
SELECT * FROM loyalty.quote('sale', '{"who": 1, "total": 7, "at": "2020-03-02T10:00:00Z", "state": "paid"}');
SELECT rule, points FROM loyalty.quote('sale', '{"who": 1, "total": 8, "at": "2020-03-02T10:00:00Z", "state": "paid"}') WHERE points > 0;
ROLLBACK TO good_rules;
UPDATE loyalty.rule SET condition = NULL WHERE name = 'one';

-- ---- quote: what is quoted is what is earned, and nothing is written
SELECT * FROM loyalty.quote('sale', '{"who": 3, "total": 60.9, "at": "2020-03-05T10:00:00Z", "state": "paid", "category": "coffee"}');
SELECT * FROM loyalty.quote('sale', '{"who": 1, "total": 60.9, "at": "2020-03-05T10:00:00Z", "state": "paid", "category": "coffee"}');
SELECT * FROM loyalty.quote('sale', '{"who": 3, "total": 160, "at": "2020-07-05T10:00:00Z", "state": "paid"}');
SELECT count(*) AS written FROM loyalty.account WHERE member_id = 3;
SET loyalty.now = '2020-08-01 10:00+00';
CREATE TABLE quoted (i int, rule text, points numeric, why_not text, tier text, program text, unit text);
DO $$
DECLARE
  s sale;
BEGIN
  FOR i IN 20..60 LOOP
    s := (i, i % 2 * 3 + 1, i * 1.37, timestamptz '2020-05-25 00:00+00' + i * interval '9 hours', 'paid', CASE WHEN i % 3 = 0 THEN 'coffee' END);
    PERFORM set_config('loyalty.now', s.at::text, true);
    INSERT INTO quoted SELECT i, q.* FROM loyalty.quote('sale', to_jsonb(s)) q;
    INSERT INTO sale SELECT s.*;
    IF (SELECT b.tier FROM loyalty.balance(s.who, 'q') b) IS DISTINCT FROM (SELECT DISTINCT q.tier FROM quoted q WHERE q.i = s.id) THEN
      RAISE WARNING 'tier of % differs', i;
    END IF;
  END LOOP;
END $$;
SELECT count(*) > 80 AS many, count(DISTINCT rule) AS rules, count(DISTINCT tier) AS tiers FROM quoted WHERE points > 0;
SELECT coalesce(q.i::text, s.source_key) AS key, coalesce(q.rule, s.rule) AS rule, q.points AS quoted, s.points AS earned
FROM (SELECT * FROM quoted WHERE points > 0) q
FULL JOIN (SELECT * FROM loyalty.award_share WHERE program = 'q' AND source_key::int >= 20) s ON s.source_key = q.i::text AND s.rule = q.rule
WHERE q.points IS DISTINCT FROM s.points;

-- bad input
SELECT * FROM loyalty.quote('sale', '{"who": 3}');
SELECT * FROM loyalty.quote('sale', '{"who": 3, "state": "paid"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.quote('sale', '{"who": 3, "state": "paid", "total": -1, "at": "2020-03-05"}');
SELECT * FROM loyalty.quote('sale', '{"whom": 3}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.quote('sale', '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.quote('sale', '{"who": "x"}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.quote('pg_class', '{}');
\echo :LAST_ERROR_SQLSTATE

-- ---- keys of several columns and odd types; two programs over one table; partitions with columns in another order
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('q2', 'Europe/Istanbul', true);
CREATE TABLE line (dropped int, shop text, day date, no numeric, who int, total numeric, PRIMARY KEY (shop, day, no)) PARTITION BY LIST (shop);
ALTER TABLE line DROP COLUMN dropped;
CREATE TABLE line_a (total numeric, who int, no numeric NOT NULL, day date NOT NULL, shop text NOT NULL);
ALTER TABLE line ATTACH PARTITION line_a DEFAULT;
SELECT loyalty.attach('line', program => p, member => 'who', amount => 'total', occurred_at => 'day') > 0 AS attached FROM unnest('{q, q2}'::text[]) p;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('q', 'line', 'line q', 'total'), ('q2', 'line', 'line q2', 'total * 2');
SET LOCAL DateStyle = 'SQL, DMY';
INSERT INTO line (shop, day, no, who, total) VALUES (E'a,b\\c', '02/03/2020', 1.50, 5, 10);
SELECT source_key FROM loyalty.award_share WHERE source = 'line' AND program = 'q2';
SELECT * FROM loyalty.award('line', (SELECT source_key FROM loyalty.award_share WHERE source = 'line' AND program = 'q2'));
SELECT * FROM loyalty.why_not('line', E'a\\,b\\\\c,2020-03-02,1.5');
SELECT * FROM loyalty.why_not('line', E'a\\,b\\\\c,2020-03-02');
\echo :LAST_ERROR_SQLSTATE
SELECT rule, points, program FROM loyalty.quote('line', '{"who": 5, "total": 3, "day": "2020-03-05"}') ORDER BY 3;
SET LOCAL DateStyle = 'ISO, YMD';

-- ---- members by text ids: whom nobody knows the sale would make a member, the quote does not
CREATE TABLE named (id uuid PRIMARY KEY, card text, total numeric, at timestamptz);
SELECT loyalty.attach('named', program => 'q2', member => 'card', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('q2', 'named', 'card', 'total');
INSERT INTO named VALUES ('a0000000-0000-0000-0000-00000000000A', 'c 1', 5, '2020-09-05');
SELECT rule, points, why_not FROM loyalty.quote('named', '{"card": "c 1", "total": 5, "at": "2020-09-05"}');
SELECT rule, points, why_not FROM loyalty.quote('named', '{"card": "c 2", "total": 5, "at": "2020-09-05"}');
SELECT rule, points, why_not FROM loyalty.quote('named', '{"card": "", "total": 5, "at": "2020-09-05"}');
SELECT count(*) AS known FROM loyalty.member_alias WHERE external_id LIKE 'c _';
SELECT rule, why_not FROM loyalty.why_not('named', 'a0000000-0000-0000-0000-00000000000a');
-- written otherwise
SELECT rule, why_not FROM loyalty.why_not('named', 'A0000000-0000-0000-0000-00000000000A');
SELECT rule, points FROM loyalty.award('named', 'a0000000-0000-0000-0000-00000000000a');

-- ---- who may: the ledger is read for whoever may call, the callers own table with the callers rights
CREATE ROLE loyalty_test_app;
SELECT loyalty.grant_access('loyalty_test_app', 'app');
GRANT USAGE ON SCHEMA quote_test TO loyalty_test_app;
SET ROLE loyalty_test_app;
SELECT count(*) FROM loyalty.award('sale', '1');
SELECT rule, points FROM loyalty.quote('sale', '{"who": 3, "total": 60.9, "at": "2020-03-05T10:00:00Z", "state": "paid"}') WHERE points > 0;
SELECT * FROM loyalty.why_not('sale', '1');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT SELECT ON sale TO loyalty_test_app;
SET ROLE loyalty_test_app;
SELECT rule FROM loyalty.why_not('sale', '1') WHERE why_not IS NULL;
RESET ROLE;
SELECT count(*) AS violations FROM loyalty.verify();
ROLLBACK;
