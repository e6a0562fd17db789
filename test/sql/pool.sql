-- Pools: households and companies whose members burn across all of their accounts.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA pool_test;
SET LOCAL search_path = pool_test;
SET LOCAL TimeZone = 'UTC';
ALTER TABLE loyalty.pool ALTER pool_id RESTART;	-- numbers that do not depend on other tests
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('p', '12 months', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 250), ('p', 'black', 2, 1000);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, stock) VALUES ('p', 'trip', 200, 2), ('p', 'toy', 30, NULL);
-- what each has; held
CREATE VIEW purses AS SELECT member_id AS member, available, held FROM loyalty.member_balance WHERE program = 'p' ORDER BY 1;
SET LOCAL loyalty.now = '2024-03-01';
INSERT INTO sale VALUES (1, 1, 100, '2024-01-10'), (2, 2, 80, '2024-01-05'), (3, 3, 60, '2024-01-20'), (4, 1, 40, '2024-01-01'), (5, 4, 500, '2024-01-02');

SELECT loyalty.create_pool(1, 'the Does', key => 'c') AS home \gset
SELECT loyalty.create_pool(1, 'the Does', key => 'c') = :home AS same;
SELECT loyalty.create_pool(1, 'others', key => 'c');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.create_pool(1, 'others');
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.join_pool(2, :home, 'burner', asked_by => 1, key => 'j'), loyalty.join_pool(3, :home);
SELECT loyalty.join_pool(2, :home, 'burner', asked_by => 1, key => 'j'), loyalty.join_pool(3, :home);
SELECT loyalty.join_pool(4, :home, asked_by => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.join_pool(4, :home, 'boss');
SELECT loyalty.join_pool(4, -1);
SELECT loyalty.join_pool(99, :home);
SELECT loyalty.create_pool(4, 'x', kind => 'club');
SELECT loyalty.create_pool(4, 'x', program => 'q');
SELECT program, name, kind, members, available, pending, held, debt FROM loyalty.pool_balance WHERE program = 'p';
SELECT name, metric, value, tier, next_tier, to_next FROM loyalty.pool_tier WHERE program = 'p';

-- one burn order over all: what dies first, whoever has it; member 3 may not
SELECT points FROM loyalty.redeem_pool(3, points => 10, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem_pool(4, points => 10, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT pool_redemption_id AS one, points, state, payers FROM loyalty.redeem_pool(2, points => 150, program => 'p', key => 'b1', reason => 'dinner') \gset
SELECT :points AS points, :'state' AS state, :payers AS payers;
TABLE purses;
-- the same call again, and others under its key
SELECT pool_redemption_id = :one AS same, points, state FROM loyalty.redeem_pool(2, points => 150.0, program => 'p', key => 'b1', reason => 'dinner');
SELECT points FROM loyalty.redeem_pool(2, points => 151, program => 'p', key => 'b1', reason => 'dinner');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(2, points => 150, program => 'p', key => 'b1');
\echo :LAST_ERROR_SQLSTATE
TABLE purses;
-- who earned, who paid, who burnt
SELECT member_id, kind, points, regexp_replace(what, '\d+ by', 'N by') AS what, burnt_by FROM loyalty.pool_statement WHERE pool_id = :home ORDER BY at, member_id, entry_no;
SELECT member_id, kind, points, regexp_replace(what, '\d+ by', 'N by') AS what FROM loyalty.statement WHERE program = 'p' AND member_id = 1 ORDER BY entry_no;
INSERT INTO sale VALUES (6, 3, 7, '2024-03-01');
SELECT count(*) AS earned_in_the_pool FROM loyalty.pool_statement WHERE pool_id = :home AND kind = 'earn';

-- given back in parts: the last taken first, into the lots that paid
SELECT points, state, alive, dead FROM loyalty.reverse_pool(2, :one, points => 45, key => 'r1');
TABLE purses;
SELECT points, state, alive, dead FROM loyalty.reverse_pool(2, :one, points => 45, key => 'r1');
SELECT points, state FROM loyalty.reverse_pool(2, :one, points => 46, key => 'r1');
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.reverse_pool(2, :one, points => 106);
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.reverse_pool(3, :one);
SELECT points, state, alive, dead FROM loyalty.reverse_pool(1, :one);
TABLE purses;
SELECT points, state FROM loyalty.reverse_pool(2, :one);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM loyalty.verify();

-- a reward: its stock is taken once, and comes back when all of it does
SELECT pool_redemption_id AS trip, points, state, payers FROM loyalty.redeem_pool(1, 'trip', program => 'p') \gset
SELECT :points AS points, :'state' AS state, :payers AS payers;
TABLE purses;
SELECT d.member_id, w.name, d.points / 10000 AS points FROM loyalty.redemption d LEFT JOIN loyalty.reward w ON w.id = d.reward_id
JOIN loyalty.pool_payment y ON y.member_id = d.member_id AND y.redemption_id = d.redemption_id WHERE y.pool_redemption_id = :trip ORDER BY 1;
SELECT sum(s.left_over) AS stock FROM loyalty.reward_stock s JOIN loyalty.reward w ON w.id = s.reward_id WHERE w.program = 'p' AND w.name = 'trip';
SELECT points, state FROM loyalty.reverse_pool(1, :trip, points => 199);
SELECT sum(s.left_over) AS stock FROM loyalty.reward_stock s JOIN loyalty.reward w ON w.id = s.reward_id WHERE w.program = 'p' AND w.name = 'trip';
SELECT points, state FROM loyalty.reverse_pool(1, :trip);
SELECT sum(s.left_over) AS stock FROM loyalty.reward_stock s JOIN loyalty.reward w ON w.id = s.reward_id WHERE w.program = 'p' AND w.name = 'trip';
SELECT points FROM loyalty.redeem_pool(1, 'trip', quantity => 2, program => 'p');
\echo :LAST_ERROR_SQLSTATE
SAVEPOINT worth;
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'dear', 50);
INSERT INTO loyalty.reward_price (program, reward, tier, cost) VALUES ('p', 'dear', 'gold', 40);
SELECT points FROM loyalty.redeem_pool(1, 'dear', program => 'p');
\echo :LAST_ERROR_SQLSTATE
-- one voucher, of who pays first
INSERT INTO loyalty.reward (program, name, kind, cost, value, validity) VALUES ('p', 'ticket', 'voucher', 125, 5, '1 month');
SELECT points, payers, voucher IS NOT NULL AS voucher FROM loyalty.redeem_pool(1, 'ticket', quantity => 2, program => 'p', key => 't');
SELECT points, payers, voucher IS NOT NULL AS voucher FROM loyalty.redeem_pool(1, 'ticket', quantity => 2, program => 'p', key => 't');
SELECT member_id, reward, state, value FROM loyalty.voucher_status WHERE program = 'p';
SELECT points, state FROM loyalty.reverse_pool(1, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption));
SELECT member_id, reward, state, value FROM loyalty.voucher_status WHERE program = 'p';
ROLLBACK TO worth;
SELECT points FROM loyalty.redeem_pool(1, 'no such', program => 'p');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem_pool(1, program => 'p');
SELECT points FROM loyalty.redeem_pool(1, 'toy', 5, program => 'p');
SELECT points FROM loyalty.redeem_pool(1, points => -1, program => 'p');
SELECT points FROM loyalty.redeem_pool(1, points => 1.5, program => 'p');
SELECT points FROM loyalty.redeem_pool(1, points => 5, quantity => 2, program => 'p');
TABLE purses;

-- held: part is captured, the rest goes back, last taken first
SELECT pool_redemption_id AS hold, points, state FROM loyalty.redeem_pool(2, points => 150, program => 'p', hold => '1 hour') \gset
TABLE purses;
SELECT points, state FROM loyalty.reverse_pool(2, :hold);
\echo :LAST_ERROR_SQLSTATE
SELECT points, state FROM loyalty.capture_pool(2, :hold, points => 105, key => 'cap');
SELECT points, state FROM loyalty.capture_pool(2, :hold, points => 105, key => 'cap');
TABLE purses;
SELECT points, state FROM loyalty.capture_pool(2, :hold);
\echo :LAST_ERROR_SQLSTATE
SELECT state, points, taken, payers FROM loyalty.pool_burn WHERE pool_redemption_id = :hold;
SELECT points, state, alive FROM loyalty.reverse_pool(2, :hold);
-- released, and lapsed
SELECT pool_redemption_id AS hold FROM loyalty.redeem_pool(2, points => 150, program => 'p', hold => '1 hour') \gset
SELECT points, state FROM loyalty.release_pool(2, :hold);
SELECT pool_redemption_id AS hold FROM loyalty.redeem_pool(2, points => 150, program => 'p', hold => '1 hour') \gset
SET LOCAL loyalty.now = '2024-03-01 01:00';
SELECT state, points, taken FROM loyalty.pool_burn WHERE pool_redemption_id = :hold;
SELECT available, held FROM loyalty.pool_balance WHERE program = 'p';
SELECT points, state FROM loyalty.capture_pool(2, :hold);
\echo :LAST_ERROR_SQLSTATE
-- what has lapsed and is not written down yet can be spent at once
SELECT points, payers FROM loyalty.redeem_pool(2, points => 287, program => 'p');
TABLE purses;
SELECT * FROM loyalty.verify();

-- a debt, and a blocked account, are not the others' affair
SAVEPOINT debts;
UPDATE loyalty.program SET clawback = 'debt' WHERE name = 'p';
INSERT INTO sale VALUES (7, 2, 50, '2024-03-01'), (8, 3, 20, '2024-03-01');
DELETE FROM sale WHERE id = 2;
SELECT available, debt FROM loyalty.pool_balance WHERE program = 'p';
SELECT loyalty.block(3, 'p', 'x');
SELECT available, debt FROM loyalty.pool_balance WHERE program = 'p';
SELECT points FROM loyalty.redeem_pool(1, points => 5, program => 'p');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO debts;

-- joining and leaving at any instant: points come and go with who earned them
SET LOCAL loyalty.now = '2024-03-02';
INSERT INTO sale VALUES (9, 1, 10, '2024-03-02'), (10, 2, 20, '2024-03-02');
SELECT loyalty.leave_pool(2, 'p', asked_by => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.leave_pool(2, 'p', key => 'l'), loyalty.leave_pool(2, 'p', key => 'l'), loyalty.leave_pool(2, 'p');
SELECT points FROM loyalty.redeem_pool(1, points => 30, program => 'p');
SELECT points FROM loyalty.redeem_pool(2, points => 1, program => 'p');
SELECT loyalty.create_pool(2, 'office', kind => 'company', program => 'p') AS office \gset
SELECT loyalty.join_pool(2, :home);
\echo :LAST_ERROR_SQLSTATE
-- a company: buyers earn, who is chosen burns
SELECT loyalty.join_pool(4, :office), loyalty.pool_role(4, 'burner', 'p', asked_by => 2), loyalty.pool_role(4, 'burner', 'p');
SELECT loyalty.pool_role(3, 'owner', 'p', asked_by => 4);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.pool_role(99, 'owner', 'p');
SELECT points, payers FROM loyalty.redeem_pool(4, points => 510, program => 'p');
TABLE purses;
SELECT name, value, tier FROM loyalty.pool_tier WHERE program = 'p' ORDER BY name;
-- the last owner goes: who is longest in it follows
SELECT loyalty.leave_pool(2, 'p');
SELECT m.member_id, m.role, m.left_at IS NULL AS still FROM loyalty.pool_member m JOIN loyalty.pool p USING (pool_id) WHERE p.name = 'office' ORDER BY m.place;
-- of what was burnt before somebody left, they have theirs back
SELECT points, alive FROM loyalty.reverse_pool(4, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption));
TABLE purses;
-- two members who are one: the pool of who stays; burns and payments follow
SELECT loyalty.join_pool(2, :home, 'burner');
SELECT available FROM loyalty.merge_members(2, 4, 'twice');
SELECT p.name, m.member_id, m.role FROM loyalty.pool_member m JOIN loyalty.pool p USING (pool_id) WHERE m.left_at IS NULL AND p.program_id = (SELECT id FROM loyalty.program WHERE name = 'p') ORDER BY 1, 2;
SELECT count(*) AS left_over FROM loyalty.pool_payment y WHERE NOT EXISTS (SELECT FROM loyalty.redemption d WHERE d.member_id = y.member_id AND d.redemption_id = y.redemption_id);
SELECT points, state, alive FROM loyalty.reverse_pool(2, (SELECT max(r.pool_redemption_id) FROM loyalty.pool_redemption r JOIN loyalty.pool_burn b USING (pool_redemption_id) WHERE b.taken = 287));
TABLE purses;
SELECT * FROM loyalty.verify();

-- many burns and reversals of random size: sums stay, nobody is overdrawn, what is given back is what was taken
SAVEPOINT many;
INSERT INTO sale SELECT 100 + g, CASE WHEN g % 3 = 0 THEN 3 ELSE 1 END, (g * 7919) % 97 + 1, timestamptz '2024-02-01' + (g * 37) % 500 * interval '1 hour' FROM generate_series(1, 60) g;
SELECT sum(available) AS before, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption) AS last FROM purses \gset
DO $$
DECLARE
  burn record;
  part numeric;
BEGIN
  FOR i IN 1..25 LOOP
    SELECT * INTO burn FROM loyalty.redeem_pool(1, points => 1 + (i * 7919) % 90, program => 'p', hold => CASE WHEN i % 4 = 0 THEN interval '1 hour' END);
    part := greatest(1, trunc(burn.points * (i % 5) / 5));
    IF i % 4 = 0 THEN
      PERFORM loyalty.capture_pool(1, burn.pool_redemption_id, part);
      PERFORM loyalty.reverse_pool(1, burn.pool_redemption_id);
    ELSE
      PERFORM loyalty.reverse_pool(1, burn.pool_redemption_id, part);
      IF part < burn.points AND i % 2 = 0 THEN
        PERFORM loyalty.reverse_pool(1, burn.pool_redemption_id);
      END IF;
    END IF;
  END LOOP;
END $$;
SELECT sum(available) + (SELECT sum(taken) FROM loyalty.pool_burn WHERE pool_redemption_id > :last) = :before AS all_there, min(available) >= 0 AS nobody_overdrawn,
  (SELECT count(DISTINCT payers) FROM loyalty.pool_burn WHERE pool_redemption_id > :last) > 1 AS some_by_several FROM purses;
SELECT * FROM loyalty.verify();
ROLLBACK TO many;

-- verify() sees a payment that is missing, and a pool that nobody owns
SAVEPOINT planted;
DELETE FROM loyalty.pool_payment WHERE member_id = 3;
UPDATE loyalty.pool_member SET role = 'member' WHERE member_id = 1;
SELECT invariant, member_id, regexp_replace(detail, '(redemption|pool) \d+', '\1 N') AS detail FROM loyalty.verify() ORDER BY 1, 3;
ROLLBACK TO planted;
-- what has died of inactivity pays nothing, job or no job
INSERT INTO loyalty.program (name, expiry, sandbox) VALUES ('q', '3 months inactive', true);
SELECT loyalty.attach('sale', program => 'q', member => 'who', amount => 'total', occurred_at => 'at', condition => 'id > 1000') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('q', 'sale', 'q', 'earn.amount');
INSERT INTO sale VALUES (1001, 11, 100, '2024-01-01'), (1002, 12, 50, '2024-03-01');
SELECT loyalty.join_pool(12, loyalty.create_pool(11, 'asleep', program => 'q'));
SELECT available FROM loyalty.pool_balance WHERE name = 'asleep';
SET LOCAL loyalty.now = '2024-04-01';
SELECT available FROM loyalty.pool_balance WHERE name = 'asleep';
SELECT points FROM loyalty.redeem_pool(11, points => 51, program => 'q');
SELECT points, payers FROM loyalty.redeem_pool(11, points => 50, program => 'q');

-- an application needs no right on tables, and cannot call what is inside
CREATE ROLE loyalty_test_till;
SELECT loyalty.grant_access('loyalty_test_till', 'app');
INSERT INTO sale VALUES (500, 1, 10, '2024-03-02');
SET ROLE loyalty_test_till;
SELECT points, payers FROM loyalty.redeem_pool(1, points => 1, program => 'p');
SELECT count(*) > 0 AS reads FROM loyalty.pool_statement;
SELECT loyalty.redeem_share(1, NULL, 1, 1, 'p', NULL, NULL, NULL);
SELECT loyalty.put_pool_member(1, 1, 1, 'owner', now(), NULL);
INSERT INTO loyalty.pool_member (member_id, pool_id, program_id, role, joined_at, by, set_role) VALUES (9, 1, 1, 'owner', now(), 'x', 'x');
RESET ROLE;
SELECT by = session_user AS session, set_role FROM loyalty.pool_redemption ORDER BY pool_redemption_id DESC LIMIT 1;
ROLLBACK;
