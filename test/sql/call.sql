-- Keys of calls: one key, one effect, for ever, over all functions of a member and program, with the same answers and the
-- same errors whether a call is written in C or in plpgsql.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA call_test;
SET LOCAL search_path = call_test, public;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
-- numbers that do not depend on other tests, nor others' on this one
DO $$
DECLARE
  s regclass;
BEGIN
  FOR s IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'S' LOOP
    EXECUTE format('ALTER SEQUENCE %s RESTART WITH 1000000', s);
  END LOOP;
END $$;
INSERT INTO loyalty.program (name, sandbox, point_value, money) VALUES ('c', true, 0.01, 'EUR'), ('d', true, NULL, '');
SET LOCAL loyalty.now = '2024-05-01 12:00+00';
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('c', 'green', 0, 0), ('c', 'gold', 1, 1000), ('c', 'black', 2, 5000);
INSERT INTO loyalty.unit (program, name) VALUES ('c', 'nights');
INSERT INTO loyalty.reward (program, name, kind, cost, value) VALUES ('c', 'five off', 'discount', 10, 5);
INSERT INTO loyalty.plan (program, name, fee, period) VALUES ('c', 'prime', 9.99, '1 month'), ('c', 'gold', 99, '1 year');
INSERT INTO loyalty.cause (program, name) VALUES ('c', 'trees'), ('c', 'school');
INSERT INTO loyalty.giving (program, name, kind, funded_by, share) VALUES ('c', 'one per cent', 'amount', 'shop', 0.01);
INSERT INTO loyalty.survey (program, name, question) VALUES ('c', 'recommend', 'Would you?');
INSERT INTO loyalty.recognition (program, name, allowance, period) VALUES ('c', 'thanks', 100, 'calendar month');
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('c', 'bring', 10, 10);
INSERT INTO loyalty.benefit (program, name, quantity) VALUES ('c', 'lounge', 50);
INSERT INTO loyalty.exchange_rate (program, to_program, name, rate) VALUES ('c', 'd', 'rate', 0.5);
SELECT sum(a.points) AS points FROM generate_series(1, 4) m, LATERAL loyalty.enroll(m, 'c') e, LATERAL loyalty.adjust(m, 1000, 'to begin with', 'c') a;
INSERT INTO loyalty.referral_code (member_id, program_id, code, posted_at, by) SELECT 4, p.id, 'CALLTEST2345', now(), 'test' FROM loyalty.program p WHERE p.name = 'c';

-- what is called, in this order: %1$L is the key, %2$s what differs when the same key comes with another argument
CREATE TABLE called (place int GENERATED ALWAYS AS IDENTITY, call text, member bigint, command text, value text, other text);
INSERT INTO called (call, member, command, value, other) VALUES
 ('adjust', 1, 'SELECT a.points FROM loyalty.adjust(1, %2$s, ''test'', ''c'', %1$L) a', '5', '6'),
 ('adjust_unit', 1, 'SELECT 1 FROM loyalty.adjust_unit(1, ''nights'', %2$s, ''test'', ''c'', %1$L) a', '5', '6'),
 ('redeem', 1, 'SELECT r.redemption_id FROM loyalty.redeem(1, points => %2$s, program => ''c'', key => %1$L) r', '7', '8'),
 ('reverse', 1, 'SELECT r.redemption_id FROM loyalty.reverse(1, (SELECT max(redemption_id) FROM loyalty.redemption WHERE member_id = 1 AND points = 70000), %2$s, %1$L) r', '2', '3'),
 ('capture', 1, 'SELECT r.redemption_id FROM loyalty.capture(1, (SELECT redemption_id FROM loyalty.redemption WHERE member_id = 1 AND points = 110000), %2$s, %1$L) r', '2', '3'),
 ('release', 1, 'SELECT r.redemption_id FROM loyalty.release(1, (SELECT redemption_id FROM loyalty.redemption WHERE member_id = 1 AND points = %2$s0000), %1$L) r', '12', '7'),
 ('transfer', 1, 'SELECT t.entry_no FROM loyalty.transfer(1, 2, %2$s, ''c'', %1$L) t LIMIT 1', '5', '6'),
 ('change_expiry', 1, 'SELECT 1 FROM loyalty.change_expiry(1, %2$L, ''test'', program => ''c'', key => %1$L) t LIMIT 1', '2030-01-01 00:00+00', '2031-01-01 00:00+00'),
 ('grant_tier', 1, 'SELECT 1 FROM loyalty.grant_tier(1, %2$L, ''c'', ''2030-01-01 00:00+00'', key => %1$L) t', 'gold', 'black'),
 ('revoke_tier', 1, 'SELECT 1 FROM loyalty.revoke_tier(1, ''c'', %2$L, key => %1$L) t', 'a reason', 'another'),
 ('use_voucher', 1, 'SELECT v.voucher_id FROM loyalty.use_voucher(1, voucher_id => (SELECT min(voucher_id) FROM loyalty.voucher WHERE member_id = 1), reference => %2$L, key => %1$L) v', 'a', 'b'),
 ('restore_voucher', 1, 'SELECT v.voucher_id FROM loyalty.restore_voucher(1, voucher_id => (SELECT min(voucher_id) FROM loyalty.voucher WHERE member_id = 1), reason => %2$L, key => %1$L) v', 'a', 'b'),
 ('cancel_voucher', 1, 'SELECT v.voucher_id FROM loyalty.cancel_voucher(1, voucher_id => (SELECT min(voucher_id) FROM loyalty.voucher WHERE member_id = 1), reason => %2$L, key => %1$L) v', 'a', 'b'),
 ('use_benefit', 1, 'SELECT u.use_id FROM loyalty.use_benefit(1, ''lounge'', ''c'', %1$L, quantity => %2$s) u', '1', '2'),
 ('cancel_use', 1, 'SELECT 1 FROM loyalty.cancel_use(1, (SELECT max(use_id) FROM loyalty.benefit_use WHERE member_id = 1), %2$L, %1$L) u', 'a', 'b'),
 ('subscribe', 1, 'SELECT s.subscription_id FROM loyalty.subscribe(1, %2$L, program => ''c'', key => %1$L) s', 'prime', 'gold'),
 ('renew', 1, 'SELECT s.paid_until FROM loyalty.renew(1, (SELECT max(subscription_id) FROM loyalty.subscription WHERE member_id = 1), reference => %2$L, key => %1$L) s', 'a', 'b'),
 ('change_plan', 1, 'SELECT s.paid_until FROM loyalty.change_plan(1, (SELECT min(subscription_id) FROM loyalty.subscription WHERE member_id = 1), %2$L, key => %1$L) s', 'gold', 'prime'),
 ('cancel_subscription', 1, 'SELECT s.ends_at FROM loyalty.cancel_subscription(1, (SELECT max(subscription_id) FROM loyalty.subscription WHERE member_id = 1), %2$L, key => %1$L) s', 'none', 'full'),
 ('choose_cause', 1, 'SELECT 1 FROM loyalty.choose_cause(1, %2$L, program => ''c'', key => %1$L) c', 'trees', 'school'),
 ('donate', 1, 'SELECT d.donation_id FROM loyalty.donate(1, %2$s, ''trees'', ''c'', %1$L) d', '3', '4'),
 ('return_donation', 1, 'SELECT 1 FROM loyalty.return_donation(1, (SELECT min(donation_id) FROM loyalty.donation WHERE member_id = 1), %2$L, %1$L) d', 'a', 'b'),
 ('answer', 1, 'SELECT a.response_id FROM loyalty.answer(1, ''recommend'', %2$s, program => ''c'', key => %1$L) a', '9', '8'),
 ('recognise', 1, 'SELECT r.given_no FROM loyalty.recognise(1, 2, %2$s, ''thanks'', program => ''c'', key => %1$L) r', '3', '4'),
 ('withdraw_recognition', 1, 'SELECT w.points FROM loyalty.withdraw_recognition(1, 1, %2$L, ''c'', %1$L) w', 'a', 'b'),
 ('refer', 1, 'SELECT r.referral_id FROM loyalty.refer(''CALLTEST2345'', 1, ''c'', %1$L, %2$L) r', '{"device": "a"}', '{"device": "b"}'),
 ('exchange', 1, 'SELECT e.exchange_id FROM loyalty.exchange(1, ''c'', ''d'', %2$s, %1$L) e', '4', '6'),
 ('create_pool', 1, 'SELECT loyalty.create_pool(1, %2$L, program => ''c'', key => %1$L)', 'home', 'house'),
 ('join_pool', 2, 'SELECT loyalty.join_pool(2, (SELECT max(pool_id) FROM loyalty.pool WHERE name = ''home''), %2$L, key => %1$L)', 'member', 'owner'),
 ('share_pool_tier', 1, 'SELECT loyalty.share_pool_tier(1, %2$s, ''c'', key => %1$L)', 'true', 'false'),
 ('pool_role', 2, 'SELECT loyalty.pool_role(2, %2$L, ''c'', key => %1$L)', 'burner', 'member'),
 ('redeem_pool', 2, 'SELECT r.pool_redemption_id FROM loyalty.redeem_pool(2, points => %2$s, program => ''c'', key => %1$L) r', '9', '8'),
 ('reverse_pool', 2, 'SELECT r.pool_redemption_id FROM loyalty.reverse_pool(2, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption WHERE points = 90000), %2$s, %1$L) r', '2', '3'),
 ('capture_pool', 2, 'SELECT r.pool_redemption_id FROM loyalty.capture_pool(2, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption WHERE points = 210000), %2$s, %1$L) r', '2', '3'),
 ('release_pool', 2, 'SELECT r.pool_redemption_id FROM loyalty.release_pool(2, (SELECT max(pool_redemption_id) FROM loyalty.pool_redemption WHERE points = %2$s0000), %1$L) r', '22', '9'),
 ('leave_pool', 2, 'SELECT loyalty.leave_pool(2, ''c'', %2$s, %1$L)', 'NULL', '1'),
 ('choose_challenge_reward', 3, 'SELECT c.redemption_id FROM loyalty.choose_challenge_reward(3, ''card'', %2$L, ''c'', %1$L) c', 'five off', 'ten off');
-- all that there are; keys of persons, not of accounts, are tested in consent and privacy, those of a member's role in member_role
SELECT DISTINCT p.proname AS call_without_a_test
FROM loyalty.access_list() l JOIN pg_proc p ON l.object = 'function' AND p.proname = ANY (string_to_array(l.names, ' ')) AND p.pronamespace = 'loyalty'::regnamespace
WHERE 'key' = ANY (p.proargnames) AND p.proname NOT IN (SELECT call FROM called) AND p.provolatile = 'v'
  AND p.proname NOT IN ('award', 'why_not', 'attach', 'check_key', 'check_refund_of', 'open_balance', 'give_consent', 'withdraw_consent', 'erase_member', 'my_redeem') ORDER BY 1;

-- what they act on
SELECT count(*) AS held FROM loyalty.redeem(1, points => 11, program => 'c', hold => '1 day') a, loyalty.redeem(1, points => 12, program => 'c', hold => '1 day') b;
SELECT state FROM loyalty.redeem(1, 'five off', program => 'c');
INSERT INTO loyalty.reward (program, name, kind, cost, value) VALUES ('c', 'ten off', 'discount', 20, 10);
INSERT INTO loyalty.challenge (program, name, kind, target, choices) VALUES ('c', 'card', 'stamp', 1, '{five off,ten off}');
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => 'c', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO sale VALUES (1, 3, 5, '2024-05-01 12:00+00'), (2, 3, 5, '2024-05-01 12:00+00');
CREATE FUNCTION attempt(command text, key text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text;
  detail text;
BEGIN
  EXECUTE format(command, key, value) INTO answer;
  RETURN 'ok ' || coalesce(answer, '-');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' / ', SQLSTATE, SQLERRM, nullif(detail, ''));
END $$;
-- each call with a new key, again, with another argument; with the key of another call, an empty and a long one
CREATE FUNCTION try(INOUT call text, OUT first text, OUT again text, OUT other text, OUT taken text, OUT empty text, OUT long text) LANGUAGE plpgsql AS $$
DECLARE
  c called;
  rows bigint;
BEGIN
  SELECT x.* INTO c FROM called x WHERE x.call = try.call;
  -- holds of the pool
  IF c.call IN ('capture_pool', 'release_pool') THEN
    PERFORM FROM loyalty.redeem_pool(2, points => CASE c.call WHEN 'capture_pool' THEN 21 ELSE 22 END, program => 'c', hold => '1 day');
  END IF;
  PERFORM FROM loyalty.adjust(c.member, 1, 'before ' || c.call, 'c', 'before ' || c.call);
  empty := attempt(c.command, '', c.value);
  long := attempt(c.command, repeat('ü', 251), c.value);
  taken := attempt(c.command, 'before ' || c.call, CASE c.call WHEN 'adjust' THEN '1' ELSE c.value END);
  first := attempt(c.command, 'key of ' || c.call, c.value);
  SELECT count(*) INTO rows FROM loyalty.request;
  again := CASE WHEN attempt(c.command, 'key of ' || c.call, c.value) = first AND (SELECT count(*) FROM loyalty.request) = rows THEN 'same' ELSE 'differs' END;
  other := attempt(c.command, 'key of ' || c.call, c.other);
  -- and the key is taken for all others
  IF attempt('SELECT 1 FROM loyalty.adjust(' || c.member || ', 99, ''x'', ''c'', %1$L) a', 'key of ' || c.call, NULL) NOT LIKE 'LY004 /%' THEN
    again := 'the key is still free';
  END IF;
  first := regexp_replace(first, '^ok .*', 'ok');
END $$;
SELECT t.call, t.first, t.again, replace(t.other, 'LY004 / key "key of ' || t.call || '" was used with other arguments / ', 'LY004 ') AS other,
  replace(t.taken, 'LY004 / key "before ' || t.call || '" was used by another call / It was used by adjust, and now by ' || t.call || '.', 'LY004 of another call') AS taken,
  replace(t.empty, 'LY017 / key is empty', 'LY017') AS empty, replace(t.long, 'LY008 / key is too long / It has 502 bytes, and at most 500 are allowed.', 'LY008') AS long
FROM (SELECT call FROM called ORDER BY place OFFSET 0) c, LATERAL try(c.call) t;
SELECT * FROM loyalty.verify();
ROLLBACK;
