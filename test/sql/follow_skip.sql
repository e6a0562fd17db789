-- A room that follows sales fails, and the source says on_error = skip: the sale goes through with its points, what the room did is undone, the purchase is
-- listed, and the room is told again with the member's next purchase or by reconcile().  With on_error = fail the sale fails.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
BEGIN;
-- numbers of pools are the other tests': this goes back with the rest
ALTER SEQUENCE loyalty.pool_pool_id_seq RESTART;
SET LOCAL timezone = UTC;
SET LOCAL DateStyle = ISO;
CREATE SCHEMA skip_shop;
SET LOCAL search_path = skip_shop;
CREATE TABLE orders (id int PRIMARY KEY, who bigint, total numeric, at timestamptz NOT NULL DEFAULT '2026-01-05 12:00+00');
CREATE TABLE strict (LIKE orders INCLUDING ALL);
INSERT INTO loyalty.program (name, sandbox) VALUES ('skip', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('skip', 'green', 0, 0), ('skip', 'gold', 1, 100);
SELECT loyalty.attach('orders', 'skip', member => 'who', amount => 'total', occurred_at => 'at', on_error => 'skip') > 0,
  loyalty.attach('strict', 'skip', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('skip', 'orders', 'one', 'earn.amount'), ('skip', 'strict', 'two', 'earn.amount');
SET LOCAL loyalty.now = '2026-01-01';
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('skip', 'friends', 100, 50);
SELECT r.state FROM generate_series(1, 5) g, LATERAL (SELECT e.member_id FROM loyalty.enroll(500 + g, 'skip') e) e,
  LATERAL loyalty.refer(loyalty.referral_code(e.member_id, 'skip'), g, 'skip') r;
INSERT INTO loyalty.cause (program, name) VALUES ('skip', 'trees');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share, cause) VALUES ('skip', 'one per cent', 'amount', 'shop', 0.01, 'trees');
SET LOCAL loyalty.now = '2026-01-06';
-- what breaks a room, as an error of its own would: after half of its work, for some members alone
CREATE TABLE broken (room text, who bigint);
CREATE FUNCTION break_donation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM skip_shop.broken b WHERE b.room = 'charity' AND b.who = NEW.member_id) THEN RAISE EXCEPTION 'no trees today' USING ERRCODE = 'LY017'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER breaks AFTER INSERT ON loyalty.donation FOR EACH ROW EXECUTE FUNCTION break_donation();
CREATE FUNCTION break_referral() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM skip_shop.broken b WHERE b.room = 'referral' AND b.who = NEW.member_id AND NEW.state <> 'registered') THEN RAISE EXCEPTION 'no friends today' USING ERRCODE = 'LY017'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER breaks AFTER UPDATE ON loyalty.referral FOR EACH ROW EXECUTE FUNCTION break_referral();
CREATE VIEW standing AS
SELECT a.member_id, a.available / 10000 AS available, (SELECT r.state FROM loyalty.referral r WHERE r.member_id = a.member_id) AS referral,
  (SELECT sum(d.amount) FROM loyalty.donation d WHERE d.member_id = a.member_id AND d.program_id = a.program_id) AS given
FROM loyalty.account a WHERE a.program_id = (SELECT id FROM loyalty.program WHERE name = 'skip') ORDER BY 1;
CREATE VIEW listed AS
SELECT r.member_id, r.source_key, r.error, r.sqlstate, r.settled_at IS NOT NULL AS settled, (SELECT string_agg(u.room, ' ' ORDER BY u.untold_no) FROM loyalty.untold u WHERE u.member_id = r.member_id AND u.source_key = r.source_key) AS untold
FROM loyalty.review r JOIN loyalty.source s ON s.id = r.source_id AND s.program = 'skip' ORDER BY r.source_key::int;

-- ---- a statement of many: who is not to blame has everything, of the others nothing is half given
INSERT INTO broken VALUES ('referral', 2), ('charity', 3), ('referral', 4), ('charity', 4);
SAVEPOINT before;
INSERT INTO strict VALUES (1, 2, 10);
ROLLBACK TO before;
INSERT INTO strict VALUES (1, 3, 10);
ROLLBACK TO before;
INSERT INTO orders SELECT g, g, 100 * g FROM generate_series(1, 5) g;
SELECT * FROM standing;
SELECT * FROM listed;
SELECT * FROM loyalty.status() s WHERE s::text LIKE '(review,%';

-- ---- told again: in vain, then not
INSERT INTO orders VALUES (12, 2, 1);
SELECT posted, missing, orphaned FROM loyalty.reconcile('orders');
SELECT * FROM standing WHERE member_id IN (2, 3, 4);
SELECT * FROM listed;
DELETE FROM broken WHERE room = 'referral';
-- by the member's next purchase
INSERT INTO orders VALUES (22, 2, 1);
SELECT * FROM standing WHERE member_id IN (2, 502);
-- a purchase that goes before the room has heard of it: the room hears both, in order
DELETE FROM orders WHERE id = 3;
SELECT * FROM standing WHERE member_id IN (3, 503);
SELECT * FROM listed;
DELETE FROM broken;
SELECT posted, missing, orphaned FROM loyalty.reconcile('orders');
SELECT * FROM standing;
SELECT * FROM listed;
SELECT * FROM loyalty.untold;
SELECT * FROM loyalty.verify();

-- ---- as if nothing had failed
SELECT count(*) FILTER (WHERE s.given = round(t.total * 0.01, 2)) AS as_it_should_be, count(*) FROM standing s JOIN (SELECT who, sum(total) AS total FROM orders GROUP BY 1) t ON t.who = s.member_id;

-- ---- a pool that cannot be looked at, a challenge that cannot give
DROP TRIGGER breaks ON loyalty.donation;
INSERT INTO loyalty.challenge (program, name, kind, target, points, period, metric, streak, starts_at) VALUES ('skip', 'weeks', 'streak', 1, 10, 'week', 'purchases', 2, '2026-01-06');
CREATE FUNCTION break_award() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM skip_shop.broken b WHERE b.room = 'challenge' AND b.who = NEW.member_id) THEN RAISE EXCEPTION 'no challenge today' USING ERRCODE = 'LY017'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER breaks AFTER INSERT ON loyalty.challenge_award FOR EACH ROW EXECUTE FUNCTION break_award();
INSERT INTO broken VALUES ('challenge', 7);
SET LOCAL loyalty.now = '2026-02-01';
INSERT INTO orders SELECT 100 * m + g, m, 1, timestamptz '2026-01-05 12:00+00' + g * interval '1 week' FROM generate_series(6, 8) m, generate_series(1, 2) g;
SELECT * FROM standing WHERE member_id IN (6, 7, 8);
SELECT * FROM listed WHERE NOT settled;
DELETE FROM broken;
SELECT posted, missing, orphaned FROM loyalty.reconcile('orders');
SELECT * FROM standing WHERE member_id IN (6, 7, 8);
SELECT * FROM listed WHERE NOT settled;
DROP TRIGGER breaks ON loyalty.challenge_award;
SELECT loyalty.create_pool(6, 'home', program => 'skip', shares_tier => true) > 0 AS made;
SELECT loyalty.join_pool(7, (SELECT max(pool_id) FROM loyalty.pool));
CREATE FUNCTION break_pool() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no pool today' USING ERRCODE = 'LY017'; END $$;
CREATE TRIGGER breaks BEFORE INSERT OR UPDATE ON loyalty.shared_tier FOR EACH ROW EXECUTE FUNCTION break_pool();
INSERT INTO orders VALUES (1001, 6, 50, '2026-01-20'), (1002, 7, 60, '2026-01-20');
SELECT member_id, error, sqlstate FROM loyalty.review WHERE settled_at IS NULL ORDER BY 1;
SELECT a.member_id, t.name FROM loyalty.account a LEFT JOIN loyalty.tier t ON t.id = a.tier_id WHERE a.member_id IN (6, 7) AND t.program = 'skip' ORDER BY 1;
DROP TRIGGER breaks ON loyalty.shared_tier;
SELECT posted, missing, orphaned FROM loyalty.reconcile('orders');
SELECT a.member_id, t.name FROM loyalty.account a LEFT JOIN loyalty.tier t ON t.id = a.tier_id WHERE a.member_id IN (6, 7) AND t.program = 'skip' ORDER BY 1;
SELECT * FROM listed WHERE NOT settled;
SELECT * FROM loyalty.verify();

-- ---- two registrations of one person; what stops every sale
INSERT INTO broken VALUES ('referral', 10);
SELECT r.state FROM loyalty.refer(loyalty.referral_code(501, 'skip'), 10, 'skip') r;
INSERT INTO orders VALUES (1010, 10, 5, '2026-02-01');
SELECT * FROM listed WHERE NOT settled;
SELECT e.member_id FROM loyalty.enroll(11, 'skip') e;
SAVEPOINT before;
SELECT count(*) FROM loyalty.merge_members(10, 11, 'twice');
SELECT member_id, room FROM loyalty.untold;
ROLLBACK TO before;
CREATE OR REPLACE FUNCTION break_referral() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$;
DELETE FROM broken;
INSERT INTO orders VALUES (1011, 10, 5, '2026-02-01');
ROLLBACK;
