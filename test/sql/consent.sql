-- What members allow: the latest statement holds, rules can ask, nothing is ever changed.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA consent_test;
SET LOCAL search_path = consent_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, sandbox) VALUES ('p', true);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, kind, points, condition)
VALUES ('p', 'sale', 'knows us', 'bonus', '50', $$loyalty.has_consent(member.member_id, 'marketing', earn.occurred_at)$$);
INSERT INTO sale VALUES (1, 1, 10, '2024-01-01'), (2, 2, 10, '2024-01-01');

-- given, withdrawn, given again: each counts from its own instant on
SELECT * FROM loyalty.give_consent(1, 'marketing', 'web form', '2024-02-01', 'k1', 'v1');
SELECT * FROM loyalty.withdraw_consent(1, 'marketing', 'phone', '2024-03-01', 'k2');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app', '2024-04-01', 'k3', 'v2', '2024-05-01');
SELECT * FROM loyalty.give_consent(1, 'profiling', 'app', '2024-04-01');
SELECT * FROM loyalty.withdraw_consent(2, 'marketing', 'letter', '2024-02-01');
SELECT at, loyalty.has_consent(1, 'marketing', at) AS marketing, loyalty.has_consent(1, 'profiling', at) AS profiling, loyalty.has_consent(2, 'marketing', at) AS two
FROM (VALUES ('2024-01-31 23:59:59.999999+00'::timestamptz), ('2024-02-01'), ('2024-02-29 23:59:59.999999'), ('2024-03-01'), ('2024-04-01'), ('2024-04-30 23:59:59.999999'), ('2024-05-01')) v (at);
SELECT loyalty.has_consent(1, 'marketing'), loyalty.has_consent(1, 'profiling'), loyalty.has_consent(1, 'nothing'), loyalty.has_consent(77, 'marketing'), loyalty.has_consent(NULL, 'marketing');
SELECT member_id, purpose, given, given_at, until, withdrawn_at, source, wording FROM loyalty.consent_status WHERE member_id IN (1, 2) ORDER BY 1, 2;
SET LOCAL loyalty.now = '2024-03-15';
SELECT member_id, purpose, given, given_at, until, withdrawn_at, source, wording FROM loyalty.consent_status WHERE member_id IN (1, 2) ORDER BY 1, 2;
SELECT loyalty.has_consent(1, 'marketing');
RESET loyalty.now;

-- a rule asks as of the purchase
INSERT INTO sale VALUES (3, 1, 10, '2024-02-10'), (4, 1, 10, '2024-03-10'), (5, 1, 10, '2024-04-10'), (6, 1, 10, '2024-05-10'), (7, 2, 10, '2024-04-10');
SELECT k AS sale, a.rule, a.points FROM generate_series(3, 7) k, loyalty.award('sale', k::text) a ORDER BY 1, 2 DESC;

-- keys: once, and no other arguments
SELECT * FROM loyalty.give_consent(1, 'marketing', 'web form', '2024-02-01', 'k1', 'v1');
SELECT count(*) FROM loyalty.consent WHERE member_id = 1;
SELECT * FROM loyalty.give_consent(1, 'marketing', 'web form', '2024-02-01', 'k1', 'v2');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.withdraw_consent(1, 'marketing', 'web form', '2024-02-01', 'k1');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'web form', NULL, 'k1', 'v1');
SELECT * FROM loyalty.give_consent(2, 'marketing', 'web form', '2024-02-02', 'k1', 'v9');

-- what is refused
SELECT * FROM loyalty.give_consent(77, 'marketing', 'web form');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.give_consent(NULL, 'marketing', 'web form');
SELECT * FROM loyalty.give_consent(1, ' marketing', 'web form');
SELECT * FROM loyalty.give_consent(1, 'marketing', NULL);
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app', '2100-01-01');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app', '-infinity');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app', '2024-01-01', until => '2024-01-01');
SELECT * FROM loyalty.give_consent(1, 'marketing', 'app', key => '');
\echo :LAST_ERROR_SQLSTATE

-- who: an application by its functions alone
CREATE ROLE consent_app;
SELECT loyalty.grant_access('consent_app', 'app');
SET ROLE consent_app;
SELECT purpose, given FROM loyalty.give_consent(2, 'news', 'app');
SELECT loyalty.has_consent(2, 'news');
INSERT INTO loyalty.consent SELECT * FROM loyalty.consent;
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM loyalty.consent_status WHERE purpose = 'news';
RESET ROLE;
SELECT set_role FROM loyalty.consent WHERE purpose = 'news';

-- two who are one: the history is both's
SELECT count(*) FROM loyalty.merge_members(1, 2, 'twice');
SELECT consent_no, purpose, given, at::date, source, key FROM loyalty.consent WHERE member_id IN (1, 2) AND purpose <> 'news' ORDER BY 1;
SELECT loyalty.has_consent(1, 'profiling'), loyalty.has_consent(2, 'profiling');
SELECT consent_no FROM loyalty.withdraw_consent(1, 'profiling', 'app');
SELECT loyalty.has_consent(1, 'profiling'), loyalty.has_consent(2, 'profiling');
SELECT * FROM loyalty.verify();
ROLLBACK;
