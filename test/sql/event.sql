-- The outbox: what is told, in what order it is read, what is forgotten.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'
\set ON_ERROR_ROLLBACK on
BEGIN;
SET LOCAL timezone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE SCHEMA event_test;
SET LOCAL search_path = event_test, public;
INSERT INTO loyalty.program (name, timezone, sandbox, expiry) VALUES ('ev', 'UTC', true, '12 months'), ('silent', 'UTC', true, '12 months');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('ev', 'green', 0, 0), ('ev', 'gold', 1, 500);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE other (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT count(*) FROM (SELECT loyalty.attach('sale', program => 'ev', member => 'who', amount => 'total', occurred_at => 'at')
  UNION ALL SELECT loyalty.attach('other', program => 'silent', member => 'who', amount => 'total', occurred_at => 'at')) a;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('ev', 'sale', 'one', 'earn.amount'), ('silent', 'other', 'one', 'earn.amount');
-- nothing is told unless it is asked for
SET loyalty.now = '2026-01-10 10:00+00';
INSERT INTO sale VALUES (1, 1, 5, '2026-01-01');
SELECT count(*) FROM loyalty.event;
INSERT INTO loyalty.event_kind (program, name) VALUES ('ev', 'sold');
INSERT INTO loyalty.event_kind (program, name, ahead) VALUES ('ev', 'earned', '1 day');
INSERT INTO loyalty.event_kind (program, name) SELECT 'ev', k FROM unnest(loyalty.event_kinds()) k WHERE k <> 'held';

INSERT INTO sale VALUES (2, 2, 100, '2026-01-05'), (3, 1, 600, '2026-01-06');
INSERT INTO other VALUES (1, 2, 100, '2026-01-05');
UPDATE sale SET total = 60 WHERE id = 2;
SELECT count(*) FROM loyalty.redeem(1, points => 200, program => 'ev', key => 'a');
SELECT count(*) FROM loyalty.redeem(1, points => 200, program => 'ev', key => 'a');
SELECT redemption_id AS hold FROM loyalty.redeem(1, points => 100, program => 'ev', hold => '10 minutes') \gset
SELECT count(*) FROM loyalty.capture(1, :hold, 30);
SELECT count(*) FROM loyalty.reverse(1, :hold, 10);
SELECT count(*) FROM loyalty.adjust(1, 7, 'kind', program => 'ev');
SELECT count(*) FROM loyalty.transfer(1, 2, 50, program => 'ev');
SELECT count(*) FROM loyalty.enroll(3, 'ev');
DELETE FROM sale WHERE id = 3;
SELECT kind, member_id, at, data - 'redemption_id' - 'source_id' AS data FROM loyalty.events_after(0, program => 'ev');

-- by position: the same again until it is confirmed, and never backwards
SELECT array_agg(kind) FROM loyalty.read_events('mail', 3);
SELECT array_agg(kind) FROM loyalty.read_events('mail', 3);
SELECT min(position) AS first FROM loyalty.events_after(0) \gset
SELECT loyalty.confirm_events('mail', :first + 2) = :first + 2 AS confirmed, loyalty.confirm_events('mail', :first) = :first + 2 AS not_backwards;
SELECT array_agg(kind) FROM loyalty.read_events('mail', 3);
SELECT array_agg(DISTINCT kind) FROM loyalty.read_events('mail', 100, 'ev', '{redeemed,demoted}');
SELECT loyalty.confirm_events('mail', 1000000000);
SELECT * FROM loyalty.events_after(-1);
SELECT * FROM loyalty.events_after(0, 10, 'nowhere');
SELECT position - :first AS position, behind, missed FROM loyalty.event_lag WHERE consumer = 'mail';

-- rooms tell, too
SET loyalty.now = '2026-02-01 10:00+00';
SELECT loyalty.confirm_events('mail', max(position)) > 0 AS confirmed FROM loyalty.events_after(0);
UPDATE loyalty.program SET point_value = 0.01, money = 'EUR' WHERE name = 'ev';
INSERT INTO loyalty.cause (program, name) VALUES ('ev', 'trees');
INSERT INTO loyalty.survey (program, name, kind, question) VALUES ('ev', 'visit', 'nps', 'Would you recommend us?');
SELECT count(*) FROM loyalty.donate(2, 10, 'trees', 'ev');
SELECT category FROM loyalty.answer(2, 'visit', 3, 'cold coffee', 'ev');
SELECT category FROM loyalty.answer(1, 'visit', 10, NULL, 'ev');
SELECT kind, member_id, data - 'redemption_id' - 'donation_id' - 'response_id' AS data FROM loyalty.read_events('mail');

-- purchases that give, bring a friend, win; and their returns
INSERT INTO loyalty.program (name, sandbox, point_value, money) VALUES ('rooms', true, 0.01, 'EUR'), ('quiet', true, 0.01, 'EUR');
CREATE TABLE shop (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('shop', program => p, member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.rule (program, source, name, points) SELECT p, 'shop', 'one', 'earn.amount' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.cause (program, name) SELECT p, 'trees' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) SELECT p, 'one per cent', 'amount', 'shop', 0.01, 'trees' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) SELECT p, 'tenth', 'points', 'member', 0.1, 'trees' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) SELECT p, 'bring', 30, 20 FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.challenge (program, name, kind, metric, target, times, points, starts_at) SELECT p, 'card', 'stamp', 'purchases', 3, 10, 5, '2026-01-01' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.reward (program, name, kind, cost, value, validity) SELECT p, 'off', 'discount', 10, 5, '30 days' FROM unnest('{rooms,quiet}'::text[]) p;
INSERT INTO loyalty.event_kind (program, name) SELECT 'rooms', k FROM unnest(loyalty.event_kinds()) k WHERE k ~ '^(donat|voucher|referral|challenge)';
SELECT count(e.program) FROM unnest('{rooms,quiet}'::text[]) p, generate_series(31, 32) m, LATERAL loyalty.enroll(m, p) e;
SELECT count(r.state) FROM unnest('{rooms,quiet}'::text[]) p, LATERAL loyalty.refer(loyalty.referral_code(31, p), 32, p) r;
SELECT count(c.cause) FROM unnest('{rooms,quiet}'::text[]) p, LATERAL loyalty.choose_cause(32, 'trees', giving => 'tenth', program => p) c;
SELECT loyalty.confirm_events('mail', max(position)) > 0 AS confirmed FROM loyalty.events_after(0);
INSERT INTO shop SELECT i, 32, 100, '2026-02-01 09:00+00' FROM generate_series(1, 3) i;
SELECT count(r.state) FROM unnest('{rooms,quiet}'::text[]) p, LATERAL loyalty.redeem(32, 'off', quantity => 2, program => p) r;
SELECT redemption_id AS hold FROM loyalty.redeem(32, 'off', program => 'rooms', hold => '1 hour') \gset
SELECT state FROM loyalty.capture(32, :hold);
UPDATE shop SET total = 50 WHERE id = 2;
DELETE FROM shop;
INSERT INTO shop VALUES (1, 32, 100, '2026-02-01 09:00+00');
SELECT count(*) FROM loyalty.return_donation(32, (SELECT donation_id FROM loyalty.donate(32, 10, 'trees', 'rooms')), 'a mistake');
SELECT kind, member_id, data - '{redemption_id,donation_id,voucher_id,referral_id,source_id}'::text[] AS data FROM loyalty.read_events('mail', 100);

-- ahead, once
SET loyalty.now = '2026-12-20 10:00+00';
INSERT INTO sale VALUES (10, 4, 700, '2026-06-01');
SELECT loyalty.confirm_events('mail', max(position)) > 0 AS confirmed FROM loyalty.events_after(0);
SELECT loyalty.tend_events(), loyalty.tend_events() AS again;
SELECT kind, member_id, data FROM loyalty.read_events('mail', 100) ORDER BY kind, member_id;
SET loyalty.now = '2027-12-20 10:00+00';
SELECT loyalty.confirm_events('mail', max(position)) > 0 AS confirmed FROM loyalty.events_after(0);
SELECT loyalty.tend_events();
SELECT kind, member_id, data FROM loyalty.read_events('mail', 100) ORDER BY kind, member_id;
-- the fall itself, when it is written down; it bears the instant at which it was true
SET loyalty.now = '2028-02-01 10:00+00';
SELECT loyalty.confirm_events('mail', max(position)) > 0 AS confirmed FROM loyalty.events_after(0);
SELECT count(*) FROM loyalty.settle_batch('-9223372036854775808', 0, 1000);
SELECT kind, member_id, at, data FROM loyalty.read_events('mail', 100) ORDER BY at, kind, member_id;

-- retention
SELECT max(position) AS last FROM loyalty.events_after(0, 1000) \gset
UPDATE loyalty.event e SET posted_at = statement_timestamp() - interval '31 days' WHERE e.position <= :last - 2;
SELECT loyalty.tend_events();
SELECT count(*) FROM loyalty.events_after(0, 1000);
SELECT * FROM loyalty.events_after(:first + 1);
SELECT count(*) FROM loyalty.events_after(:last - 2);
SELECT missed FROM loyalty.event_lag WHERE consumer = 'mail';
-- what is told goes with what happened
SAVEPOINT s;
INSERT INTO sale VALUES (11, 4, 1, '2028-01-01');
ROLLBACK TO s;
SELECT count(*) FROM loyalty.event e WHERE e.position IS NULL;
SELECT * FROM loyalty.verify();
ROLLBACK;
