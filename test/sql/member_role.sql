-- Access kind member: a role of its own for a member, which sees and does what is that member's and nothing else.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE ROLE loyalty_test_ann;
CREATE ROLE loyalty_test_bob;
CREATE ROLE loyalty_test_nobody;
CREATE ROLE loyalty_test_family;
CREATE ROLE loyalty_test_admin;
CREATE ROLE loyalty_test_app;
CREATE SCHEMA member_test;
GRANT USAGE ON SCHEMA member_test TO PUBLIC;
SET LOCAL search_path = member_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL loyalty.now = '2024-03-10 10:00+00';
INSERT INTO loyalty.program (name, sandbox, is_default, expiry) VALUES ('own', true, true, '12 months'), ('other', true, false, 'never');
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('own', 'green', 0, 0), ('own', 'gold', 1, 500);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz DEFAULT '2024-03-10 09:00+00');
SELECT loyalty.attach('sale', program => 'own', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('own', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.reward (program, name, cost, kind) VALUES ('own', 'cup', 10, 'product'), ('own', 'book', 40, 'product');
INSERT INTO loyalty.reward (program, name, cost, kind, value) VALUES ('own', 'five off', 20, 'discount', 5);
INSERT INTO loyalty.benefit (program, name, kind, tier) VALUES ('own', 'lounge', 'lounge', 'gold');
INSERT INTO loyalty.challenge (program, name, kind, metric, source, target, points, starts_at) VALUES ('own', 'ten', 'target', 'purchases', 'sale', 10, 5, '2024-01-01');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('own', 'all', 'account.spend >= 0');
INSERT INTO loyalty.offer (program, name, segment, title) VALUES ('own', 'spring', 'all', 'Spring');
-- member 1 is ann, 2 is bob; the secret of each is in the last digits of the figures
INSERT INTO sale VALUES (101, 1, 111), (102, 1, 110), (201, 2, 7000), (202, 2, 777), (301, 3, 3);
SELECT points FROM loyalty.redeem(2, 'five off', key => 'b1') UNION ALL SELECT points FROM loyalty.redeem(1, 'five off', key => 'a1');
SELECT sum(points) FROM loyalty.transfer(2, 1, 9, key => 't1');
SELECT points FROM loyalty.adjust(1, 5, 'sorry for the wait');
-- by hand: the numbers of pools are the test of pools' own
INSERT INTO loyalty.pool (pool_id, program_id, name, kind, created_at, changed_at, by, set_role) SELECT 1000, id, 'bobs', 'household', now(), now(), 'x', 'x' FROM loyalty.program WHERE name = 'own';
INSERT INTO loyalty.pool_member (member_id, pool_id, place, program_id, role, joined_at, by, set_role) SELECT 2, 1000, 1000, id, 'owner', '2024-03-10', 'x', 'x' FROM loyalty.program WHERE name = 'own';

-- ---- which role is which member
SELECT loyalty.grant_access('loyalty_test_family', 'member'), loyalty.grant_access('loyalty_test_admin', 'admin'), loyalty.grant_access('loyalty_test_app', 'app');
GRANT loyalty_test_family TO loyalty_test_ann, loyalty_test_bob, loyalty_test_nobody;
SET ROLE loyalty_test_admin;
SELECT loyalty.add_member_role(1, 'loyalty_test_ann', may_redeem => true) AS added, loyalty.add_member_role(1, 'loyalty_test_ann', may_redeem => true) AS again, loyalty.add_member_role(2, 'loyalty_test_bob') AS other;
SELECT loyalty.add_member_role(2, 'loyalty_test_ann');
SELECT loyalty.add_member_role(99, 'loyalty_test_nobody');
SELECT loyalty.add_member_role(NULL, 'loyalty_test_nobody');
SELECT loyalty.add_member_role(1, NULL);
SELECT loyalty.add_member_role(1, 'loyalty_test_app');
SELECT loyalty.add_member_role(1, current_user::regrole);
SELECT member_id, role, may_redeem, by = session_user AS me, set_role, removed_at FROM loyalty.member_role ORDER BY place;
SET ROLE loyalty_test_app;
SELECT loyalty.add_member_role(1, 'loyalty_test_nobody');
RESET ROLE;

-- ---- what it sees
SET ROLE loyalty_test_ann;
SELECT loyalty.my_member();
SELECT * FROM loyalty.my_balance();
SELECT program, entry_no, kind, points, balance_after, what, source, source_key, last_day FROM loyalty.my_statement();
SELECT kind, points FROM loyalty.my_statement('own', '2024-03-10 09:00:00.000001+00', 'infinity', 1);
SELECT * FROM loyalty.my_tier();
SELECT * FROM loyalty.my_expiring();
SELECT reward, cost, affordable, why_not FROM loyalty.my_rewards();
SELECT reward, code ~ '^\S+$' AS coded, value, state FROM loyalty.my_vouchers();
SELECT benefit FROM loyalty.my_benefits();
SELECT * FROM loyalty.my_offers();
SELECT challenge, value, to_go FROM loyalty.my_challenges();
SELECT * FROM loyalty.my_pools();
SET ROLE loyalty_test_bob;
SELECT program, available, tier FROM loyalty.my_balance('own');
SELECT kind, points, what FROM loyalty.my_statement() WHERE kind = 'transfer';
SELECT benefit FROM loyalty.my_benefits('own');
SELECT program, pool, kind, role, members, available FROM loyalty.my_pools();
-- who may not burn does not see how much there is
RESET ROLE;
INSERT INTO loyalty.pool_member (member_id, pool_id, place, program_id, role, joined_at, by, set_role) SELECT 3, 1000, 1001, id, 'member', '2024-03-10', 'x', 'x' FROM loyalty.program WHERE name = 'own';
SELECT loyalty.add_member_role(3, 'loyalty_test_nobody');
SET ROLE loyalty_test_nobody;
SELECT program, pool, kind, role, members, available FROM loyalty.my_pools();
RESET ROLE;
SELECT loyalty.remove_member_role('loyalty_test_nobody');
DELETE FROM loyalty.pool_member WHERE member_id = 3;
SET ROLE loyalty_test_bob;
SELECT * FROM loyalty.my_balance('nowhere');
-- the application's own table, by a policy that asks who calls
RESET ROLE;
ALTER TABLE sale ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON sale FOR SELECT USING (who = (SELECT loyalty.my_member()));
GRANT SELECT ON sale TO loyalty_test_family;
SET ROLE loyalty_test_ann;
SELECT * FROM sale ORDER BY id;
RESET ROLE;

-- ---- what it does: a reward for itself, once
SET ROLE loyalty_test_ann;
SELECT points, state FROM loyalty.my_redeem('cup', 2, key => 'k1');
SELECT points, state FROM loyalty.my_redeem('cup', 2, key => 'k1');
SELECT points, state FROM loyalty.my_redeem('cup', 1, key => 'k1');
SELECT points FROM loyalty.my_redeem('book', 100);
SELECT points FROM loyalty.my_redeem(NULL);
SELECT points FROM loyalty.my_redeem('yacht');
SELECT program, available FROM loyalty.my_balance();
-- its keys take none away from others, and find none of theirs
SELECT points FROM loyalty.my_redeem('five off', key => 'a1');
SET ROLE loyalty_test_bob;
SELECT points FROM loyalty.my_redeem('cup');
RESET ROLE;
SELECT points FROM loyalty.redeem(1, 'cup', key => 'k1');
SELECT loyalty.set_status(1, 'blocked', 'own', 'checking');
SET ROLE loyalty_test_ann;
SELECT points FROM loyalty.my_redeem('cup');
SELECT available FROM loyalty.my_balance();
RESET ROLE;
SELECT loyalty.set_status(1, 'active', 'own', 'checked');

-- ---- attacks: everything that the role can reach is tried.  Tables and views: none
CREATE FUNCTION readable(role name) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  c record;
BEGIN
  FOR c IN SELECT r.relname FROM pg_class r WHERE r.relnamespace = 'loyalty'::regnamespace AND r.relkind IN ('r', 'p', 'v', 'm', 'S') ORDER BY 1 LOOP
    BEGIN
      EXECUTE format('SET LOCAL ROLE %I', role);
      EXECUTE format('SELECT * FROM loyalty.%I LIMIT 1', c.relname);
      RETURN NEXT c.relname;
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
    RESET ROLE;
  END LOOP;
END $$;
SELECT * FROM readable('loyalty_test_ann');
SELECT count(*) > 50 AS control FROM readable(current_user);
-- functions beyond what PUBLIC may: none that takes a member
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND has_function_privilege('loyalty_test_ann', p.oid, 'EXECUTE')
  AND NOT has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.proname;
-- whatever is asked, nothing of bob comes: his figures, words, vouchers, purchases
CREATE FUNCTION everything() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT to_jsonb(x)::text FROM loyalty.my_balance() x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_balance('own') x
  UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_statement(NULL, NULL, NULL, NULL) x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_statement('own', '-infinity', 'infinity', 2147483647) x
  UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_tier() x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_expiring() x
  UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_rewards() x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_vouchers() x
  UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_benefits() x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_offers() x
  UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_challenges() x UNION ALL SELECT to_jsonb(x)::text FROM loyalty.my_pools() x
  UNION ALL SELECT loyalty.my_member()::text $$;
CREATE VIEW secrets AS
SELECT ': (7000|777|7777|77[0-9][0-9])[,}]|bob|"20[12]"' || coalesce('|' || string_agg(v.code, '|'), '') AS pattern FROM loyalty.voucher v WHERE v.member_id = 2;
SELECT pattern FROM secrets \gset
SET ROLE loyalty_test_ann;
SELECT count(*) FILTER (WHERE e ~ :'pattern') AS leaked, count(*) > 12 AS rows FROM everything() e;
SET ROLE loyalty_test_bob;
SELECT count(*) FILTER (WHERE e ~ :'pattern') > 3 AS control FROM everything() e;
-- settings that the caller makes
SET ROLE loyalty_test_ann;
SET LOCAL loyalty.restoring = on;
SET LOCAL loyalty.member = '2';
SET LOCAL request.jwt.claims = '{"sub": 2}';
SET LOCAL search_path = pg_temp, member_test, public;
SELECT loyalty.my_member();
SELECT count(*) FILTER (WHERE e ~ :'pattern') AS leaked FROM everything() e;
-- calls that are not its
SELECT available FROM loyalty.balance(2);
SELECT * FROM loyalty.rewards_for(2);
SELECT * FROM loyalty.vouchers(2);
SELECT * FROM loyalty.my_balance_as_owner(NULL);
SELECT loyalty.member_of_role('loyalty_test_bob');
SELECT loyalty.caller();
SELECT points FROM loyalty.redeem(2, 'cup');
SELECT loyalty.add_member_role(2, 'loyalty_test_ann');
SELECT loyalty.remove_member_role('loyalty_test_bob');
UPDATE loyalty.member_role SET member_id = 2;
INSERT INTO loyalty.member_role (member_id, role, role_name, may_redeem, added_at, by, set_role) VALUES (2, 'loyalty_test_ann', 'loyalty_test_ann', true, now(), 'x', 'x');
SET ROLE loyalty_test_bob;
RESET ROLE;
SET LOCAL loyalty.restoring = off;
-- who is nobody, and the group that the access was given to
SET ROLE loyalty_test_nobody;
SELECT loyalty.my_member();
SELECT * FROM loyalty.my_balance();
SELECT points FROM loyalty.my_redeem('cup');
SET ROLE loyalty_test_family;
SELECT * FROM loyalty.my_statement();
RESET ROLE;
-- a role that is a member of ann's is not ann
GRANT loyalty_test_ann TO loyalty_test_nobody;
SET ROLE loyalty_test_nobody;
SELECT loyalty.my_member();
RESET ROLE;
REVOKE loyalty_test_ann FROM loyalty_test_nobody;
-- a name or a number that somebody else gets is nobody's
ALTER ROLE loyalty_test_ann RENAME TO loyalty_test_ann2;
ALTER ROLE loyalty_test_nobody RENAME TO loyalty_test_ann;
SET ROLE loyalty_test_ann;
SELECT loyalty.my_member();
SET ROLE loyalty_test_ann2;
SELECT loyalty.my_member();
RESET ROLE;
ALTER ROLE loyalty_test_ann RENAME TO loyalty_test_nobody;
ALTER ROLE loyalty_test_ann2 RENAME TO loyalty_test_ann;

-- ---- another right, another member, none
SELECT loyalty.add_member_role(1, 'loyalty_test_ann', may_redeem => false);
SET ROLE loyalty_test_ann;
SELECT points FROM loyalty.my_redeem('cup');
SELECT available FROM loyalty.my_balance();
RESET ROLE;
-- two registrations of one person: the role is who is left
SELECT program, available FROM loyalty.merge_members(1, 3, 'one person');
SELECT member_id, role, may_redeem, removed_at IS NOT NULL AS removed FROM loyalty.member_role ORDER BY place;
SET ROLE loyalty_test_ann;
SELECT loyalty.my_member();
SELECT what FROM loyalty.my_statement() WHERE kind = 'merge';
RESET ROLE;
SELECT loyalty.remove_member_role('loyalty_test_bob') AS removed, loyalty.remove_member_role('loyalty_test_bob') AS again;
SET ROLE loyalty_test_bob;
SELECT * FROM loyalty.my_balance();
RESET ROLE;
SELECT count(*) > 0 AS erased FROM loyalty.erase_member(3, 'asked for it');
SELECT count(*) FROM loyalty.member_role WHERE member_id = 3;
SET ROLE loyalty_test_ann;
SELECT * FROM loyalty.my_balance();
RESET ROLE;
SELECT loyalty.add_member_role(3, 'loyalty_test_ann');
SELECT loyalty.revoke_access('loyalty_test_family', 'member');
SET ROLE loyalty_test_ann;
SELECT loyalty.my_member();
RESET ROLE;
SELECT * FROM loyalty.verify();
ROLLBACK;
