-- export_member() and erase_member(): all that is said of a person, and nothing of it afterwards but amounts and proofs.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

-- every column of every table is declared; one line in loyalty.personal_data() (sql/code/65-privacy.sql) for a new table
SELECT * FROM loyalty.undeclared_data() ORDER BY 1, 2;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA privacy_test;
SET LOCAL search_path = privacy_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE web (id int PRIMARY KEY, card text, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
INSERT INTO loyalty.program (name, sandbox, clawback, pending) VALUES ('q', true, 'debt', '14 days');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 100);
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'coffee', 20);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('sale', program => 'q', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('web', program => 'p', member => 'card', amount => 'total', occurred_at => 'at', on_error => 'skip') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points, condition) VALUES ('p', 'sale', 'one', 'earn.amount', NULL), ('q', 'sale', 'one', 'earn.amount', NULL), ('p', 'web', 'bad', '1 / (total - 7)', NULL);
SET LOCAL loyalty.now = '2024-06-01';
INSERT INTO sale VALUES (1, 1, 120, '2024-01-10'), (2, 1, 30, '2024-05-30'), (3, 2, 40, '2024-01-10'), (4, 3, 5, '2024-01-10');
SELECT count(*) FROM loyalty.enroll(1, 'p', external_id => 'ada@secret.example', attributes => '{"name": "Ada Secret", "birth_date": "1980-02-03"}');
INSERT INTO web VALUES (1, 'ada@secret.example', 7, '2024-02-01');
SELECT points FROM loyalty.redeem(1, 'coffee', program => 'p', key => 'r1', reason => 'Ada Secret at the door');
SELECT points, state FROM loyalty.redeem(1, points => 30, program => 'p', hold => '1 day', reason => 'hold for Ada Secret');
SELECT points FROM loyalty.adjust(1, 15, 'a present for Ada Secret', 'p', key => 'a1', counts_for_tier => true);
SELECT points FROM loyalty.adjust(1, -5, 'Ada Secret broke a cup', 'p');
SELECT points FROM loyalty.transfer(1, 2, 10, 'p', reason => 'Ada Secret gives');
SELECT points FROM loyalty.redeem(1, points => 110, program => 'q', reason => 'Ada Secret');
SELECT purpose FROM loyalty.give_consent(1, 'marketing', 'store 12', '2024-01-01', wording => 'v1');
DELETE FROM sale WHERE id = 1;      -- q: a debt, beside what is pending
-- Ada had registered before
SELECT count(*) FROM loyalty.merge_members(3, 1, 'Ada Secret registered twice');

-- export: everything, in words; other members are not named
CREATE FUNCTION hide(j jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT j #- '{posted_at}' #- '{by}' #- '{set_role}' #- '{changed_at}' #- '{redemption_id}' #- '{at}' #- '{settled_at}' $$;
CREATE TEMP TABLE exported AS SELECT loyalty.export_member(3) AS j;
SELECT j - 'tables' - 'statement' FROM exported;
SELECT s ->> 'program' AS program, s ->> 'kind' AS kind, s ->> 'points' AS points, s ->> 'what' AS what FROM exported, jsonb_array_elements(j -> 'statement') s;
SELECT t.key AS table, jsonb_array_length(t.value) AS rows FROM exported, jsonb_each(j -> 'tables') t ORDER BY 1;
SELECT t.key AS table, hide(r.value) FROM exported, jsonb_each(j -> 'tables') t, jsonb_array_elements(t.value) r
WHERE t.key IN ('member', 'member_alias', 'lot_origin', 'redemption', 'intervention', 'review', 'consent', 'tier_change') ORDER BY 1, 2;
SELECT a.* FROM exported, jsonb_array_elements(j -> 'tables' -> 'account') r, jsonb_to_record(r) a (member_id bigint, program text, status text, tier text, available numeric, pending numeric, debt numeric, spend numeric) ORDER BY 1, 2;
SELECT loyalty.export_member(2) -> 'tables' -> 'lot_origin' AS of_the_other;
SELECT loyalty.export_member(77);
\echo :LAST_ERROR_SQLSTATE

-- what is not declared stops both: a table, a column
CREATE TABLE loyalty.gossip (member_id bigint PRIMARY KEY, says text NOT NULL);
ALTER TABLE loyalty.review ADD COLUMN remark text;
SELECT * FROM loyalty.undeclared_data() ORDER BY 1, 2;
SELECT loyalty.export_member(1);
SELECT * FROM loyalty.erase_member(1);
\echo :LAST_ERROR_SQLSTATE
SET LOCAL loyalty.allow_drop = on;
DROP TABLE loyalty.gossip;
ALTER TABLE loyalty.review DROP COLUMN remark;
RESET loyalty.allow_drop;

-- sums before and after
CREATE TEMP VIEW sums AS SELECT p.name, sum(l.points) / 10000 AS granted, count(*) AS lots, (SELECT count(*) FROM loyalty.request q WHERE q.program_id = p.id) AS keys
FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name IN ('p', 'q') GROUP BY p.name, p.id;
SELECT * FROM sums ORDER BY 1;
CREATE TEMP TABLE before AS SELECT * FROM loyalty.program_daily WHERE program IN ('p', 'q') AND day < '2024-06-01';
-- somewhere it is written
CREATE FUNCTION mentions(word text) RETURNS TABLE (relation text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
  r text;
BEGIN
  FOR r IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r' ORDER BY 1 LOOP
    RETURN QUERY EXECUTE format('SELECT %L, count(*) FROM loyalty.%I t WHERE t::text ILIKE %L HAVING count(*) > 0', r, r, '%' || word || '%');
  END LOOP;
END $$;
SELECT * FROM mentions('secret');
SELECT * FROM mentions('1980-02-03');

SELECT * FROM loyalty.erase_member(3, 'asked by letter 17', 'e1');
SELECT * FROM mentions('secret');
SELECT * FROM mentions('1980-02-03');
SELECT member_id, reason, key, forfeited, touched FROM loyalty.erasure WHERE member_id IN (1, 3);
SELECT * FROM loyalty.member WHERE member_id IN (1, 3) AND (attributes <> '{}' OR birth_date IS NOT NULL OR erased_at IS NULL);
SELECT member_id, status FROM loyalty.member WHERE member_id IN (1, 3) ORDER BY 1;
SELECT program, available, pending, held, debt FROM loyalty.member_balance WHERE member_id = 1 ORDER BY 1;
SELECT program, entry_no, kind, points, balance_after, what FROM loyalty.statement WHERE member_id = 1 ORDER BY program, entry_no, at;
SELECT * FROM sums ORDER BY 1;
SELECT b.day FROM before b FULL JOIN (SELECT * FROM loyalty.program_daily WHERE program IN ('p', 'q') AND day < '2024-06-01') d USING (program, day) WHERE b IS DISTINCT FROM d;
SELECT loyalty.has_consent(1, 'marketing'), loyalty.has_consent(3, 'marketing');
SELECT purpose, given, source, wording, key, arguments FROM loyalty.consent WHERE member_id = 1 ORDER BY consent_no;
SELECT * FROM loyalty.verify();

-- once more, by any of the numbers: the same answer; another reason under the key is another call
SELECT * FROM loyalty.erase_member(1, 'asked by letter 17', 'e1');
SELECT count(*) FROM loyalty.erase_member(1);
SELECT * FROM loyalty.erase_member(1, 'other', 'e1');
\echo :LAST_ERROR_SQLSTATE

-- nothing comes after: purchases and returns change nothing, calls are refused
INSERT INTO sale VALUES (10, 1, 1000, '2024-06-02'), (11, 3, 1000, '2024-06-02'), (12, 2, 10, '2024-06-02');
UPDATE sale SET total = 1 WHERE id = 2;
DELETE FROM sale WHERE id = 2;
SELECT program, available, pending, held, debt FROM loyalty.member_balance WHERE member_id = 1 ORDER BY 1;
SELECT why_not FROM loyalty.why_not('sale', '10');
SELECT * FROM loyalty.adjust(1, 5, 'x', 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.adjust(3, 5, 'x', 'p');
SELECT * FROM loyalty.transfer(2, 1, 5, 'p');
SELECT * FROM loyalty.enroll(1, 'p', external_id => 'back');
INSERT INTO loyalty.program (name) VALUES ('new');
SELECT * FROM loyalty.enroll(1, 'new');
SELECT * FROM loyalty.unblock(1, 'p');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app');
SELECT * FROM loyalty.merge_members(1, 2, 'x');
INSERT INTO loyalty.opening_balance (member_id, program, points, key) VALUES (1, 'new', 5, 'o');
SELECT posted, missing FROM loyalty.reconcile('sale');
SELECT count(*) FROM loyalty.account a JOIN loyalty.member m USING (member_id) WHERE m.status = 'erased' AND (a.available, a.pending, a.held, a.debt) IS DISTINCT FROM (0, 0, 0, 0);
SELECT * FROM loyalty.verify();

-- what runs on ends: subscriptions with what they give, pools with the name of the family
ALTER SEQUENCE loyalty.pool_pool_id_seq RESTART WITH 1000000;
INSERT INTO loyalty.program (name, sandbox) VALUES ('club', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('club', 'green', 0, 0), ('club', 'gold', 1, 1000);
INSERT INTO loyalty.plan (program, name, fee, period, tier, points_a_month) VALUES ('club', 'prime', 120, '1 year', 'gold', 10);
SELECT count(e.tier) FROM generate_series(21, 23) m, LATERAL loyalty.enroll(m, 'club') e;
SELECT state, paid_until, points FROM loyalty.subscribe(21, 'prime', program => 'club');
SELECT loyalty.create_pool(21, 'The Secrets', program => 'club') AS pool \gset
SELECT loyalty.join_pool(22, :pool), loyalty.create_pool(23, 'Secret & Sons', 'company', 'club') > 0 AS other;
SET LOCAL loyalty.now = '2024-06-15';
SELECT tier, available, pending FROM loyalty.balance(21, 'club');
SELECT * FROM loyalty.erase_member(21);
SELECT state, paid_until, ends_at, next_payment_at, paid FROM loyalty.subscription_status WHERE member_id = 21;
SELECT loyalty.has_plan(21, 'prime', '2024-06-14 23:59:59.999999+00') AS before, loyalty.has_plan(21, 'prime') AS after;
SELECT tier, available, pending FROM loyalty.balance(21, 'club');
SELECT action, at, reason FROM loyalty.subscription_event WHERE member_id = 21 ORDER BY event_id;
-- who is left owns the pool, and its name; with the last one it goes
SELECT m.member_id, m.role, m.left_at, p.name FROM loyalty.pool_member m JOIN loyalty.pool p USING (pool_id) WHERE pool_id = :pool ORDER BY place;
SELECT * FROM loyalty.erase_member(22);
SELECT * FROM loyalty.erase_member(22);
SELECT * FROM mentions('secret');
SELECT * FROM loyalty.erase_member(23);
SELECT * FROM mentions('secret');
SELECT * FROM loyalty.verify();

-- whoever is not known; no reason; who may
SELECT * FROM loyalty.erase_member(77);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.erase_member(NULL);
SELECT * FROM loyalty.erase_member(2, '');
CREATE ROLE privacy_app;
SELECT loyalty.grant_access('privacy_app', 'app');
SET ROLE privacy_app;
SELECT * FROM loyalty.erase_member(2);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.export_member(2);
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
ROLLBACK;
