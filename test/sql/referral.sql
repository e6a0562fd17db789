-- Members bring members: codes, registration, the reward inside of the sale, what takes it back, what is refused.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA referral_test;
SET LOCAL search_path = referral_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE cafe (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, sandbox, timezone, point_value) VALUES ('p', true, 'Europe/Istanbul', 0.01);
INSERT INTO loyalty.program (name, sandbox, clawback) VALUES ('debt', true, 'debt');
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('cafe', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SELECT loyalty.attach('cafe', program => 'debt', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
CREATE VIEW balances AS SELECT program, member_id AS member, available, pending, debt FROM loyalty.member_balance WHERE program IN ('p', 'debt') ORDER BY 1, 2;
CREATE VIEW states AS SELECT program, referral, referrer_member_id AS referrer, friend_member_id AS friend, state, reason, qualified_at, rewarded_at, reversed_at, source, source_key AS key, friend_points AS friends, referrer_points AS referrers FROM loyalty.referral_status ORDER BY referral_id;
CREATE FUNCTION bring(referrer bigint, friend bigint, attributes jsonb DEFAULT NULL, program text DEFAULT 'p', key text DEFAULT NULL) RETURNS text LANGUAGE sql
AS $$ SELECT r.state FROM loyalty.refer(loyalty.referral_code(referrer, program), friend, program, key, attributes) r $$;

-- configuration is checked
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('p', 'x', 100.5, 50);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, minimum) VALUES ('p', 'x', 100, 50, 'NaN');
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, source) VALUES ('p', 'x', 100, 50, 'nowhere');
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, within) VALUES ('p', 'x', 100, 50, '-1 day');
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, minimum, source, within, max_per_referrer, referrer_period)
VALUES ('p', 'spring', 100, 50, 20, 'sale', '30 days', 3, 'calendar month');

-- codes: one a member and program, the same for ever, not like any other
SET LOCAL loyalty.now = '2024-03-01 12:00+00';
SELECT count(*) FROM generate_series(1, 9) g, loyalty.enroll(g, 'p', '2024-01-01');
SELECT loyalty.referral_code(1, 'p') = loyalty.referral_code(1, 'p') AS stable, loyalty.referral_code(1, 'p') ~ '^[2-9A-HJ-NP-Z]{12}$' AS readable;
SELECT count(DISTINCT loyalty.new_referral_code()), count(DISTINCT substr(loyalty.new_referral_code(), 12)) FROM generate_series(1, 5000);
SELECT loyalty.referral_code(77, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.referral_code(NULL, 'p');

-- registered before the first purchase; as people type it; once more is the same; whoever comes second is late
SELECT referral_id > 0 AS id, state, registered_at, qualify_until FROM loyalty.refer(lower(regexp_replace(loyalty.referral_code(1, 'p'), '(....)', '\1-', 'g')), 101, 'p', 'k1', '{"device": "d101"}');
SELECT state, registered_at FROM loyalty.refer(loyalty.referral_code(1, 'p'), 101, 'p', 'k1', '{"device": "d101"}');
SELECT state, registered_at FROM loyalty.refer(loyalty.referral_code(1, 'p'), 101, 'p');
-- (codes are random: the detail names them)
\set VERBOSITY terse
SELECT state FROM loyalty.refer(loyalty.referral_code(2, 'p'), 101, 'p', 'k1', '{"device": "d101"}');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.refer(loyalty.referral_code(2, 'p'), 101, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.refer('NOBODYSCODE2', 102, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.refer(loyalty.referral_code(1, 'p'), NULL, 'p');
SELECT state FROM loyalty.refer(loyalty.referral_code(1, 'p'), 102, 'p', attributes => '[1]');
SELECT state FROM loyalty.refer(loyalty.referral_code(1, 'p'), 102, 'p', referral => 'autumn');
INSERT INTO sale VALUES (1, 102, 5, '2024-03-01 12:00');
SELECT state FROM loyalty.refer(loyalty.referral_code(1, 'p'), 102, 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM loyalty.referral WHERE program_id = (SELECT id FROM loyalty.program WHERE name = 'p');

-- below the minimum, or elsewhere: not yet.  The purchase that reaches it gives to both, once
INSERT INTO sale VALUES (10, 101, 19.99, '2024-03-02');
INSERT INTO cafe VALUES (10, 101, 100, '2024-03-02');
SELECT * FROM states;
INSERT INTO sale VALUES (11, 101, 20, '2024-03-03'), (12, 101, 500, '2024-03-03 10:00');
SELECT * FROM states;
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
SELECT program, kind, points, what FROM loyalty.statement WHERE program = 'p' AND member_id = 1;
-- what happens later changes nothing
UPDATE sale SET total = 30 WHERE id = 11;
UPDATE sale SET total = 19 WHERE id = 10;
INSERT INTO sale VALUES (13, 101, 40, '2024-03-04');
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';

-- returned: another purchase takes its place; when none is left, both lose what they got, and have it again when it comes back
DELETE FROM sale WHERE id = 12;
UPDATE sale SET total = 19.99 WHERE id = 11;
SELECT state, key, friends, referrers FROM states;
UPDATE sale SET total = 5 WHERE id = 13;
SELECT state, reversed_at, key, friends, referrers FROM states;
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
UPDATE sale SET total = 20 WHERE id = 13;
SELECT state, qualified_at, rewarded_at, key, friends, referrers FROM states;
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
-- round and round: nothing is gained
CREATE PROCEDURE cycle(n integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    DELETE FROM sale WHERE id = 13;
    INSERT INTO sale VALUES (13, 101, 20, '2024-03-04');
    UPDATE sale SET total = 1 WHERE id = 13;
    UPDATE sale SET total = 20 WHERE id = 13;
  END LOOP;
END $$;
CALL cycle(10);
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
-- a new purchase in the place of the one that went
DELETE FROM sale WHERE id = 13;
INSERT INTO sale VALUES (14, 101, 25, '2024-03-05');
SELECT state, key, friends, referrers FROM states;
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
SELECT count(*) AS lots FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.name = 'p' AND l.kind = 'j';
SELECT state, count(*) FROM loyalty.referral_change WHERE member_id = 101 GROUP BY 1 ORDER BY 1;
SELECT * FROM loyalty.verify();

-- spent already: other points go as far as there are; under clawback = debt the rest is owed
SELECT points FROM loyalty.redeem(1, points => 90, program => 'p');
DELETE FROM sale WHERE id = 14;
SELECT * FROM balances WHERE member = 1 AND program = 'p';
INSERT INTO sale VALUES (15, 1, 50, '2024-03-06'), (14, 101, 25, '2024-03-05');
SELECT * FROM balances WHERE member IN (1, 101) AND program = 'p';
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('debt', 'plain', 100, 50);
SELECT count(*) FROM loyalty.enroll(1, 'debt');
SELECT bring(1, 105, program => 'debt');
INSERT INTO cafe VALUES (20, 105, 1, '2024-03-06');
SELECT points FROM loyalty.redeem(1, points => 90, program => 'debt');
DELETE FROM cafe WHERE id = 20;
SELECT * FROM balances WHERE program = 'debt' AND member IN (1, 105);
INSERT INTO cafe VALUES (20, 105, 1, '2024-03-06');
SELECT * FROM balances WHERE program = 'debt' AND member IN (1, 105);
SELECT * FROM loyalty.verify();

-- pending_only: what waits goes, what could be spent stays, and does not come twice; dead points stay dead
INSERT INTO loyalty.program (name, sandbox, clawback, expiry) VALUES ('only', true, 'pending_only', '60 days');
SELECT loyalty.attach('cafe', program => 'only', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, pending) VALUES ('only', 'plain', 100, 50, '14 days');
SELECT count(*) FROM loyalty.enroll(1, 'only');
SELECT bring(1, 106, program => 'only');
INSERT INTO cafe VALUES (21, 106, 1, '2024-03-01 12:00');
CREATE VIEW only_balances AS SELECT member_id AS member, available, pending, debt FROM loyalty.member_balance WHERE program = 'only' AND member_id IN (1, 106) ORDER BY 1;
SELECT * FROM only_balances;
DELETE FROM cafe WHERE id = 21;
SELECT * FROM only_balances;
INSERT INTO cafe VALUES (21, 106, 1, '2024-03-01 12:00');
SELECT * FROM only_balances;
SET LOCAL loyalty.now = '2024-03-15 12:00+00';
DELETE FROM cafe WHERE id = 21;
SELECT * FROM only_balances;
INSERT INTO cafe VALUES (21, 106, 1, '2024-03-01 12:00');
SELECT * FROM only_balances;
SET LOCAL loyalty.now = '2024-05-01 12:00+00';
DELETE FROM cafe WHERE id = 21;
INSERT INTO cafe VALUES (21, 106, 1, '2024-03-01 12:00');
SELECT * FROM only_balances;
SELECT kind, points, balance_after, what FROM loyalty.statement WHERE program = 'only' AND member_id = 1 ORDER BY entry_no;
SELECT * FROM loyalty.verify();
SET LOCAL loyalty.now = '2024-03-01 12:00+00';

-- refused, with the reason for the house alone: oneself, rings of any length, the same e-mail, address, device
SELECT bring(2, 2);
SELECT bring(2, 110), bring(110, 111), bring(111, 112);
SELECT bring(112, 2);
SELECT bring(111, 110);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM loyalty.enroll(3, 'p', attributes => '{"email_hash": "AbC", "address_hash": "1 main st", "device": "phone"}', external_id => 'card-3');
SELECT bring(3, 113, '{"email_hash": " abc "}'), bring(3, 114, '{"address_hash": "1 MAIN ST", "device": "phone"}'), bring(3, 115, '{"device": "card-3"}'), bring(3, 116, '{"device": "other", "colour": "red"}');
SELECT bring(116, 3);
-- who was refused can be brought by somebody else
SELECT bring(4, 113, '{"email_hash": "abc"}');
-- what is known later counts at the reward
SELECT bring(4, 117);
SELECT count(*) FROM loyalty.enroll(117, 'p', attributes => '{"device": "tablet"}') a, loyalty.enroll(4, 'p', attributes => '{"device": "tablet"}') b;
INSERT INTO sale VALUES (30, 117, 100, '2024-03-07'), (31, 113, 100, '2024-03-07'), (32, 110, 100, '2024-03-07');
SELECT referrer, friend, state, reason, friends, referrers FROM states WHERE program = 'p';
-- blocked and excluded referrers bring nobody; blocked later they get nothing, the friend does
SELECT loyalty.referral_code(5, 'p') IS NOT NULL AS has;
SELECT bring(5, 118);
SELECT loyalty.block(5, 'p');
SELECT bring(5, 119);
\echo :LAST_ERROR_SQLSTATE
SELECT r.state FROM loyalty.refer((SELECT code FROM loyalty.referral_code WHERE member_id = 5), 119, 'p') r;
INSERT INTO sale VALUES (33, 118, 100, '2024-03-07');
SELECT referrer, friend, state, reason, friends, referrers FROM states WHERE referrer = 5;

-- limits: three friends a month for one referrer, the fourth friend is rewarded alone
SELECT bring(6, 120), bring(6, 121), bring(6, 122), bring(6, 123), bring(6, 124), bring(6, 125);
INSERT INTO sale SELECT 40 + g, 120 + g, 20, '2024-03-08' FROM generate_series(0, 3) g;
SELECT * FROM balances WHERE member BETWEEN 120 AND 125 OR member = 6;
-- a return makes room
DELETE FROM sale WHERE id = 40;
SET LOCAL loyalty.now = '2024-04-01 12:00+00';
-- 30 days after 1 March 12:00 it is too late, to the microsecond
INSERT INTO sale VALUES (44, 124, 20, '2024-03-31 11:59:59.999999'), (45, 125, 20, '2024-03-31 12:00');
SELECT friend, state, reason, friends, referrers FROM states WHERE referrer = 6;
SELECT friend_member_id FROM loyalty.referral_status WHERE lapsed AND referrer_member_id = 6;

-- a campaign with an end, points that wait for the window of returns, a limit in all
UPDATE loyalty.referral_program SET enabled = false WHERE name = 'spring';
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points, pending, max_rewarded, ends_at, final_after, known_friends)
VALUES ('p', 'summer', 10, 0, '14 days', 2, '2024-06-01', '20 days', true);
SELECT bring(7, 130), bring(7, 131), bring(7, 132), bring(7, 102);
INSERT INTO sale VALUES (50, 130, 1, '2024-04-01 12:00'), (51, 131, 0, '2024-04-01 12:00'), (52, 132, 1, '2024-04-01 12:00');
SELECT friend, state, reason, friends, referrers FROM states WHERE referrer = 7;
SELECT * FROM balances WHERE member IN (7, 130);
SET LOCAL loyalty.now = '2024-04-15 12:00+00';
SELECT * FROM balances WHERE member = 7;
-- room again; what was rewarded and comes back finds its place even when there is none
DELETE FROM sale WHERE id = 50;
INSERT INTO sale VALUES (53, 102, 1, '2024-04-15 12:00'), (50, 130, 1, '2024-04-01 12:00');
SELECT friend, state, reason, friends, referrers FROM states WHERE referrer = 7;
SELECT rewarded FROM loyalty.referral_count;
-- after final_after a return takes nothing back
SET LOCAL loyalty.now = '2024-04-21 12:00+00';
DELETE FROM sale WHERE id = 51;
SELECT friend, state, friends, referrers FROM states WHERE friend = 131;
SET LOCAL loyalty.now = '2024-06-01';
SELECT bring(7, 133);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('p', 'a', 1, 1), ('p', 'b', 2, 2);
SELECT bring(7, 133);
SELECT state FROM loyalty.refer(loyalty.referral_code(7, 'p'), 133, 'p', referral => 'b');
INSERT INTO sale VALUES (60, 133, 1, '2024-06-01');
SELECT referral, state, friends, referrers FROM states WHERE friend = 133;
DELETE FROM loyalty.referral_program WHERE name = 'b';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.referral_program WHERE name = 'a';

-- explicit enrolment: a stranger is no friend yet
UPDATE loyalty.program SET enrollment = 'explicit' WHERE name = 'p';
SELECT bring(7, 134);
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.program SET enrollment = 'automatic' WHERE name = 'p';

-- two returns of one purchase in one statement: it is looked at once
CREATE TABLE back (id int PRIMARY KEY, sale_id int, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('back', program => 'p', member => 'who', amount => 'total', occurred_at => 'at', refund_of => 'sale_id', refund_source => 'sale') > 0 AS attached;
UPDATE loyalty.referral_program SET minimum = 20 WHERE name = 'b';
SELECT state FROM loyalty.refer(loyalty.referral_code(7, 'p'), 135, 'p', referral => 'b');
INSERT INTO sale VALUES (61, 135, 19, '2024-06-01');
INSERT INTO back VALUES (1, 61, 135, 1, '2024-06-01'), (2, 61, 135, 1, '2024-06-01');
SELECT state FROM states WHERE friend = 135;
INSERT INTO sale VALUES (62, 135, 22, '2024-06-01');
SELECT state FROM states WHERE friend = 135;
INSERT INTO back VALUES (3, 62, 135, 1, '2024-06-01'), (4, 62, 135, 2, '2024-06-01');
SELECT state, friends FROM states WHERE friend = 135;
DELETE FROM back WHERE id = 4;
SELECT state, friends FROM states WHERE friend = 135;
UPDATE loyalty.referral_program SET minimum = 0 WHERE name = 'b';
-- reports
SELECT * FROM loyalty.referral_performance WHERE program = 'p' ORDER BY 2;
-- what members and applications see
CREATE ROLE referral_app;
SELECT loyalty.grant_access('referral_app', 'app');
SET ROLE referral_app;
SELECT * FROM loyalty.referrals(3, 'p');
SELECT count(*) FROM loyalty.referral_status;
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.refer(loyalty.referral_code(8, 'p'), 140, 'p', 'app', referral => 'b');
RESET ROLE;
SELECT set_role FROM loyalty.referral WHERE member_id = 140;

-- two who are one: codes, referrals and what they gave go along; who brought oneself gets nothing
SELECT loyalty.referral_code(8, 'p') AS code \gset
SELECT count(*) FROM loyalty.merge_members(8, 9, 'twice');
SELECT loyalty.referral_code(9, 'p') = :'code' AS same;
INSERT INTO sale VALUES (70, 140, 1, '2024-06-02');
SELECT referrer, friend, state, referrers FROM states WHERE friend = 140;
SELECT state FROM loyalty.refer(:'code', 151, 'p', referral => 'b');
SELECT count(*) FROM loyalty.merge_members(151, 9, 'it was me');
SELECT referrer, friend, state, reason FROM states WHERE friend = 9;
SELECT count(*) FROM loyalty.enroll(141, 'p');
SELECT count(*) FROM loyalty.merge_members(140, 141, 'twice');
DELETE FROM sale WHERE id = 70;
SELECT referrer, friend, state, referrers FROM states WHERE friend = 141;
INSERT INTO sale VALUES (70, 140, 1, '2024-06-02');
SELECT referrer, friend, state, friends, referrers FROM states WHERE friend = 141;
SELECT * FROM loyalty.verify();

-- verify() finds what does not fit
SAVEPOINT planted;
UPDATE loyalty.referral SET state = 'reversed' WHERE member_id = 113 AND state = 'rewarded';
UPDATE loyalty.referral SET friend_points = 600000 WHERE member_id = 110;
UPDATE loyalty.referral_count SET rewarded = 7;
SELECT invariant, member_id, regexp_replace(detail, 'referral \d+', 'referral …') AS detail FROM loyalty.verify() ORDER BY 1, 2;
ROLLBACK TO planted;

-- erased: the friend's attributes go, the referrer keeps the points; an erased referrer is not asked any more
SELECT jsonb_array_length(loyalty.export_member(101) -> 'tables' -> 'referral') AS of_the_friend, loyalty.export_member(101) -> 'tables' -> 'referral' -> 0 -> 'referrer_member_id' AS referrer,
  loyalty.export_member(101) -> 'tables' -> 'referral' -> 0 -> 'attributes' AS attributes, loyalty.export_member(1) -> 'tables' -> 'referral' -> 0 -> 'attributes' AS to_the_referrer;
SELECT count(*) > 0 AS erased FROM loyalty.erase_member(101);
SELECT attributes, state FROM loyalty.referral WHERE member_id = 101;
SELECT arguments FROM loyalty.request WHERE member_id = 101 AND call = 'refer';
SELECT count(*) > 0 AS erased FROM loyalty.erase_member(9);
DELETE FROM sale WHERE id = 70;
INSERT INTO sale VALUES (70, 140, 1, '2024-06-02');
SELECT referrer, friend, state FROM states WHERE friend = 141;
SELECT * FROM balances WHERE member IN (9, 141) AND program = 'p';
SELECT state FROM loyalty.refer(:'code', 152, 'p', referral => 'b');
SELECT * FROM loyalty.verify();
ROLLBACK;
