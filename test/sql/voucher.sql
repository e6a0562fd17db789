-- Rewards that are more than a price, and what they give: kinds, vouchers, codes, prices by tier, steps, limits.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA voucher_test;
SET LOCAL search_path = voucher_test;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO';
-- numbers that messages name
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1001;
ALTER SEQUENCE loyalty.voucher_voucher_id_seq RESTART WITH 501;
CREATE TABLE sale (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name, timezone, expiry, sandbox, money, is_default) VALUES ('v', 'Europe/London', 'never', true, 'GBP', false);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('v', 'green', 0, 0), ('v', 'gold', 1, 5000), ('v', 'black', 2, 20000);
SELECT loyalty.attach('sale', program => 'v', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('v', 'sale', 'one for one', 'earn.amount');
CREATE VIEW available AS SELECT member_id, available, held FROM loyalty.member_balance WHERE program = 'v';
-- what is different at each run: codes that were made here
CREATE FUNCTION shown(code text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(code, '[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}', 'XXXX', 'g') $$;
CREATE FUNCTION last_of(who bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT max(redemption_id) FROM loyalty.redemption WHERE member_id = who $$;
-- no figure of ledger, codes or vouchers contradicts another
CREATE FUNCTION unsound() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT invariant || ': ' || detail FROM loyalty.verify() WHERE program = 'v' $$;
INSERT INTO sale (who, total, at) VALUES (1, 4000, '2022-01-10 12:00+00'), (2, 6000, '2022-01-10 12:00+00'), (3, 30000, '2022-01-10 12:00+00'), (4, 149, '2022-01-10 12:00+00'), (5, 150, '2022-01-10 12:00+00');
SET LOCAL loyalty.now = '2022-02-03 10:00+00';

-- ---- what a row can say ----
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('v', 'x', 'gift', 10);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('v', 'x', 'code', 10);
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('v', 'x', 'voucher', 10);
INSERT INTO loyalty.reward (program, name, kind, cost, value, value_unit) VALUES ('v', 'x', 'cashback', 10, 5, 'percent');
INSERT INTO loyalty.reward (program, name, kind, cost, value, value_unit) VALUES ('v', 'x', 'discount', 10, 101, 'percent');
INSERT INTO loyalty.reward (program, name, kind, cost, value) VALUES ('v', 'x', 'discount', 10, 'NaN');
INSERT INTO loyalty.reward (program, name, kind, cost, value, validity) VALUES ('v', 'x', 'discount', 10, 1, '12 months inactive');
INSERT INTO loyalty.reward (program, name, cost, max_period) VALUES ('v', 'x', 10, 'day');
INSERT INTO loyalty.reward (program, name, cost, min_tier) VALUES ('v', 'x', 10, 'platinum');
INSERT INTO loyalty.reward (program, name, cost, pool) VALUES ('v', 'x', 10, 'nowhere');
\set VERBOSITY terse
INSERT INTO loyalty.reward (program, name, cost, min_quantity, max_quantity) VALUES ('v', 'x', 10, 5, 4);
\set VERBOSITY default
UPDATE loyalty.program SET money = '' WHERE name = 'v';
INSERT INTO loyalty.reward (program, name, kind, cost, value) VALUES ('v', 'x', 'cashback', 10, 5);
UPDATE loyalty.program SET money = 'GBP' WHERE name = 'v';

-- ---- each kind ----
INSERT INTO loyalty.reward (program, name, kind, cost, value, value_unit, validity, argument) VALUES
 ('v', 'cup', 'product', 100, NULL, 'money', NULL, NULL),
 ('v', 'ten off', 'discount', 100, 10, 'money', '30 days', NULL),
 ('v', 'fifth off', 'discount', 100, 20, 'percent', '24 months, end of month', NULL),
 ('v', 'money back', 'cashback', 100, 1, 'money', NULL, NULL),
 ('v', 'trees', 'donation', 50, 0.50, 'money', NULL, 'forest'),
 ('v', 'concert', 'experience', 200, NULL, 'money', 'every 31 december', 'hall 1'),
 ('v', 'spa', 'partner_voucher', 300, 25, 'money', NULL, 'partner 7');
SELECT w.name, r.points, r.state, shown(r.voucher), r.value, r.value_unit, r.valid_until
FROM loyalty.reward w, loyalty.redeem(1, w.name, program => 'v', key => 'kind ' || w.name) r WHERE w.program = 'v' ORDER BY w.id;
-- again: the same answer
SELECT w.name, r.points, r.state, shown(r.voucher), r.value, r.value_unit, r.valid_until, r.voucher = v.code AS same
FROM loyalty.reward w, loyalty.redeem(1, w.name, program => 'v', key => 'kind ' || w.name) r
LEFT JOIN loyalty.vouchers(1, 'v') v USING (redemption_id) WHERE w.program = 'v' ORDER BY w.id;
SELECT reward, kind, shown(code), value, value_unit, state, issued_at, valid_until, last_day, argument FROM loyalty.vouchers(1, 'v');
SELECT * FROM available WHERE member_id = 1;
-- several pieces: each a voucher
SELECT r.points, shown(r.voucher), r.value, split_part(r.voucher, ', ', 1) <> split_part(r.voucher, ', ', 2) AS differ FROM loyalty.redeem(1, 'ten off', quantity => 3, program => 'v') r;
SELECT count(*), count(DISTINCT code), min(value) FROM loyalty.vouchers(1, 'v') WHERE redemption_id = last_of(1);
SELECT points FROM loyalty.redeem(1, 'ten off', quantity => 1001, program => 'v');
SELECT points FROM loyalty.redeem(1, 'cup', points => 200, program => 'v');

-- ---- using ----
SELECT code AS code, voucher_id FROM loyalty.vouchers(1, 'v') WHERE reward = 'ten off' ORDER BY voucher_id LIMIT 1 \gset
SELECT voucher_id = :voucher_id AS it, member_id, state, reward, value, value_unit, at FROM loyalty.use_voucher(1, :'code', reference => 'order 7', key => 'u1');
SELECT state, at FROM loyalty.use_voucher(1, :'code', reference => 'order 7', key => 'u1');
SELECT state FROM loyalty.use_voucher(1, :'code', reference => 'order 8', key => 'u1');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.use_voucher(1, :'code', reference => 'order 8');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.cancel_voucher(1, :'code');
-- a member's redemption whose voucher was used cannot be reversed
SELECT state FROM loyalty.reverse(1, (SELECT redemption_id FROM loyalty.vouchers(1, 'v') WHERE voucher_id = :voucher_id));
-- the purchase came back
SELECT state, reward, at FROM loyalty.restore_voucher(1, :'code', reason => 'order 7 came back', key => 'u2');
SELECT state FROM loyalty.restore_voucher(1, :'code', reason => 'order 7 came back', key => 'u2');
SELECT state FROM loyalty.restore_voucher(1, :'code');
-- another's code, an unknown one and none at all; a till knows no member
SELECT state FROM loyalty.use_voucher(2, voucher_id => :voucher_id);
SELECT state FROM loyalty.use_voucher(1, 'nonsense');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.use_voucher(1);
SELECT state FROM loyalty.use_voucher(NULL, voucher_id => :voucher_id);
SELECT member_id, state FROM loyalty.use_voucher(NULL, :'code', reference => 'till 3');
SELECT change_no, state, words, at, by = session_user AS me, set_role = current_user AS as_me FROM loyalty.voucher_change WHERE member_id = 1 AND voucher_id = :voucher_id ORDER BY 1;
-- a blocked account spends nothing
SELECT loyalty.block(1, 'v', 'fraud');
SELECT state FROM loyalty.use_voucher(1, (SELECT code FROM loyalty.vouchers(1, 'v') WHERE reward = 'money back'));
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.unblock(1, 'v', 'no fraud');
-- the last instant is good, the next one is not
SELECT code AS fifth FROM loyalty.vouchers(1, 'v') WHERE reward = 'fifth off' \gset
SELECT code AS cash FROM loyalty.vouchers(1, 'v') WHERE reward = 'money back' \gset
SET LOCAL loyalty.now = '2024-03-01 00:00+00';
SELECT state FROM loyalty.use_voucher(1, :'fifth');
SELECT state FROM loyalty.cancel_voucher(1, :'fifth');
SELECT reward, state, last_day FROM loyalty.voucher_status WHERE member_id = 1 AND program = 'v' ORDER BY voucher_id;
SET LOCAL loyalty.now = '2024-02-29 23:59:59.999999+00';
SELECT reward, state FROM loyalty.voucher_status WHERE member_id = 1 AND program = 'v' AND reward = 'fifth off';
SET LOCAL loyalty.now = '2022-02-03 10:00+00';

-- ---- in parts: what is worth money, until nothing is left ----
SAVEPOINT parts;
ALTER SEQUENCE loyalty.voucher_voucher_id_seq RESTART WITH 1000000;
ALTER SEQUENCE loyalty.redemption_redemption_id_seq RESTART WITH 1000000;
INSERT INTO loyalty.program (name, sandbox, money) VALUES ('part', true, 'EUR');
INSERT INTO loyalty.reward (program, name, kind, cost, value, value_unit, validity) VALUES ('part', 'ten off', 'discount', 10, 10, 'money', '30 days'), ('part', 'fifth off', 'discount', 10, 20, 'percent', NULL);
INSERT INTO loyalty.reward (program, name, kind, cost, validity) VALUES ('part', 'ticket', 'product', 10, '30 days');
SELECT a.points FROM loyalty.enroll(51, 'part') e, loyalty.adjust(51, 100, 'x', 'part') a;
SELECT voucher AS ten, redemption_id AS bought FROM loyalty.redeem(51, 'ten off', program => 'part') \gset
SELECT voucher AS fifth FROM loyalty.redeem(51, 'fifth off', program => 'part') \gset
SELECT state, value, left_over FROM loyalty.use_voucher(51, :'ten', reference => 'till 1', key => 'p1', amount => 3.50);
SELECT state, value, left_over FROM loyalty.use_voucher(NULL, :'ten', reference => 'till 2', key => 'p2', amount => 4);
SELECT state, value, left_over FROM loyalty.use_voucher(51, :'ten', reference => 'till 1', key => 'p1', amount => 3.5);
SELECT state FROM loyalty.use_voucher(51, :'ten', reference => 'till 1', key => 'p1');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 2.51);
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 0);
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => -1);
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 1.001);
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 'NaN');
SELECT state FROM loyalty.use_voucher(51, :'fifth', amount => 1);
\echo :LAST_ERROR_SQLSTATE
-- begun, it is not given up for points, nor is its redemption
SELECT state FROM loyalty.cancel_voucher(51, :'ten');
\echo :LAST_ERROR_SQLSTATE
SELECT state FROM loyalty.reverse(51, :bought);
\echo :LAST_ERROR_SQLSTATE
SELECT reward, state, value, left_over, reference FROM loyalty.vouchers(51, 'part') ORDER BY reward;
SELECT reward, state, left_over, used_at FROM loyalty.voucher_status WHERE program = 'part' ORDER BY reward;
-- the rest; a purchase comes back; then all
SELECT state, left_over FROM loyalty.use_voucher(51, :'ten', reference => 'till 3');
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 0.01);
SELECT state, left_over FROM loyalty.restore_voucher(51, :'ten', reason => 'till 2 came back', key => 'p3', amount => 4);
SELECT state, left_over FROM loyalty.restore_voucher(51, :'ten', reason => 'till 2 came back', key => 'p3', amount => 4);
SELECT state FROM loyalty.restore_voucher(51, :'ten', amount => 6.01);
\echo :LAST_ERROR_SQLSTATE
-- over, with 4 left; what comes back then is dead, and with it all of it
SET LOCAL loyalty.now = '2022-04-10 10:00+00';
SELECT state FROM loyalty.use_voucher(51, :'ten', amount => 1);
SELECT state, left_over FROM loyalty.voucher_status WHERE program = 'part' AND reward = 'ten off';
SELECT state, left_over FROM loyalty.restore_voucher(51, :'ten', reason => 'all came back');
SELECT state FROM loyalty.restore_voucher(51, :'ten');
SELECT change_no, state, amount, words FROM loyalty.voucher_change WHERE member_id = 51 ORDER BY 1;
SELECT state, left_over FROM loyalty.use_voucher(51, :'fifth', reference => 'as a whole');
SELECT * FROM loyalty.verify();
UPDATE loyalty.voucher SET used = used + 1 WHERE member_id = 51 AND value = 10;
UPDATE loyalty.voucher SET used = 20 WHERE member_id = 51 AND value = 20;
SELECT invariant, regexp_replace(detail, '^voucher \d+', 'voucher N') AS detail FROM loyalty.verify() ORDER BY 2;
ROLLBACK TO parts;

-- ---- cancelling ----
SELECT code AS three FROM loyalty.vouchers(1, 'v') WHERE redemption_id = (SELECT max(redemption_id) FROM loyalty.vouchers(1, 'v')) ORDER BY voucher_id LIMIT 1 \gset
SELECT available AS before FROM available WHERE member_id = 1 \gset
SELECT state, points, alive, dead FROM loyalty.cancel_voucher(1, :'three', reason => 'not wanted', key => 'c1');
SELECT state, points, alive, dead FROM loyalty.cancel_voucher(1, :'three', reason => 'not wanted', key => 'c1');
SELECT available - :before AS back FROM available WHERE member_id = 1;
SELECT state, points / 10000 AS points, taken / 10000 AS taken, vouchers FROM loyalty.redemption WHERE member_id = 1 AND redemption_id = (SELECT max(redemption_id) FROM loyalty.vouchers(1, 'v'));
SELECT state, points FROM loyalty.cancel_voucher(1, :'three');
-- the rest of it by reverse(): all of its vouchers are cancelled
SELECT state, points FROM loyalty.reverse(1, (SELECT redemption_id FROM loyalty.vouchers(1, 'v') WHERE code = :'three'));
SELECT state, count(*) FROM loyalty.vouchers(1, 'v') WHERE redemption_id = (SELECT redemption_id FROM loyalty.vouchers(1, 'v') WHERE code = :'three') GROUP BY 1;
SELECT state FROM loyalty.cancel_voucher(1, :'cash');
SELECT unsound();

-- ---- pools of codes ----
INSERT INTO loyalty.code_pool (program, name, refill_below) VALUES ('v', 'books', 3);
COPY loyalty.code (program, pool, code, valid_until) FROM stdin (NULL '');
v	books	BOOK-1	2022-02-10 00:00+00
v	books	BOOK-2	
v	books	BOOK-3	
v	books	BOOK-0	2022-02-01 00:00+00
\.
INSERT INTO loyalty.code (program, pool, code) VALUES ('v', 'books', 'BOOK-2');
\set VERBOSITY terse
INSERT INTO loyalty.code (program, pool, code) VALUES ('v', 'books', '');
\set VERBOSITY default
INSERT INTO loyalty.code (program, pool, code) VALUES ('v', 'films', 'F');
SELECT * FROM loyalty.code_pool_level WHERE program = 'v';
INSERT INTO loyalty.reward (program, name, kind, cost, pool, value, validity) VALUES ('v', 'book', 'code', 10, 'books', 15, '12 months');
-- the first to end goes first, with its own end; what has ended is never given
SELECT voucher, value, valid_until FROM loyalty.redeem(2, 'book', program => 'v', key => 'b1');
SELECT voucher, value, valid_until FROM loyalty.redeem(2, 'book', program => 'v', key => 'b1');
-- a hold keeps one, and shows none
SELECT state, voucher, value, valid_until FROM loyalty.redeem(2, 'book', program => 'v', key => 'b2', hold => '1 hour');
SELECT state, code, value, valid_until FROM loyalty.vouchers(2, 'v');
SELECT * FROM loyalty.code_pool_level WHERE program = 'v';
SELECT * FROM loyalty.status() WHERE item LIKE 'pool %';
SELECT state FROM loyalty.use_voucher(2, voucher_id => (SELECT voucher_id FROM loyalty.vouchers(2, 'v') WHERE state = 'held'));
SELECT voucher FROM loyalty.redeem(3, 'book', program => 'v', quantity => 2);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM available WHERE member_id = 3;
-- released: free again; its voucher never was
SELECT state FROM loyalty.release(2, last_of(2));
SELECT state, code FROM loyalty.vouchers(2, 'v') ORDER BY voucher_id;
SELECT voucher FROM loyalty.redeem(3, 'book', program => 'v', quantity => 2, hold => '1 hour', key => 'b3');
-- captured as a whole; the code is shown, also when it is asked again
SELECT state FROM loyalty.capture(3, last_of(3), points => 10);
SELECT state, voucher, value, valid_until FROM loyalty.capture(3, last_of(3), key => 'cap');
SELECT state, voucher, value, valid_until FROM loyalty.capture(3, last_of(3), key => 'cap');
SELECT state, voucher FROM loyalty.redeem(3, 'book', program => 'v', quantity => 2, hold => '1 hour', key => 'b3');
-- given and cancelled: burnt
SELECT state, points FROM loyalty.cancel_voucher(3, 'BOOK-3');
SELECT voucher FROM loyalty.redeem(2, 'book', program => 'v');
\echo :LAST_ERROR_SQLSTATE
-- a lapsed hold gives its code back, whether or not that was written
INSERT INTO loyalty.code (program, pool, code) VALUES ('v', 'books', 'BOOK-4');
SELECT state FROM loyalty.redeem(2, 'book', program => 'v', key => 'b5', hold => '10 minutes');
SELECT voucher FROM loyalty.redeem(3, 'book', program => 'v');
SET LOCAL loyalty.now = '2022-02-03 10:10+00';
SELECT left_over, held, low FROM loyalty.code_pool_level WHERE program = 'v';
SELECT state FROM loyalty.voucher_status WHERE member_id = 2 AND program = 'v' ORDER BY voucher_id;
SELECT voucher FROM loyalty.redeem(3, 'book', program => 'v', key => 'b6');
SELECT state FROM loyalty.capture(2, last_of(2));
SELECT voucher, state FROM loyalty.redeem(2, 'book', program => 'v', key => 'b5', hold => '10 minutes');
SELECT * FROM available WHERE member_id = 2;
SELECT state, held_until IS NULL AS free, given_at FROM loyalty.voucher_status v FULL JOIN loyalty.code c USING (redemption_id) WHERE c.pool = 'books' AND c.code = 'BOOK-4';
-- what is named by the ledger stays
DELETE FROM loyalty.code WHERE pool = 'books' AND code = 'BOOK-4';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.code SET redemption_id = NULL, given_at = NULL WHERE pool = 'books' AND code = 'BOOK-4';
DELETE FROM loyalty.code WHERE pool = 'books' AND redemption_id IS NULL RETURNING code;
DELETE FROM loyalty.code_pool WHERE name = 'books';
SELECT unsound();

-- ---- price by tier, from a tier on ----
INSERT INTO loyalty.reward (program, name, cost, min_tier) VALUES ('v', 'lounge', 100, NULL), ('v', 'yacht', 500, 'gold');
INSERT INTO loyalty.reward_price (program, reward, tier, cost) VALUES ('v', 'lounge', 'gold', 80.5);
INSERT INTO loyalty.reward_price (program, reward, tier, cost) VALUES ('v', 'lounge', 'gold', 80);
SELECT t.member_id, t.tier, r.points FROM loyalty.tier_standing t, loyalty.redeem(t.member_id, 'lounge', program => 'v') r
WHERE t.program = 'v' AND t.member_id <= 3 ORDER BY 1;
INSERT INTO loyalty.reward_price (program, reward, tier, cost) VALUES ('v', 'lounge', 'black', 60);
SELECT points FROM loyalty.redeem(3, 'lounge', program => 'v', quantity => 2);
SELECT points FROM loyalty.redeem(1, 'yacht', program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(2, 'yacht', program => 'v');
SELECT points FROM loyalty.redeem(3, 'yacht', program => 'v');

-- ---- for a segment, price for a segment ----
INSERT INTO loyalty.segment (program, name, condition) VALUES ('v', 'rich', 'account.balance >= 20000'), ('v', 'any', 'true'), ('v', 'nobody', 'false');
INSERT INTO loyalty.reward (program, name, cost, segment) VALUES ('v', 'club', 10, 'rich'), ('v', 'none', 10, 'nobody');
INSERT INTO loyalty.reward_price (program, reward, segment, cost) VALUES ('v', 'lounge', 'any', 70), ('v', 'lounge', 'rich', 65), ('v', 'lounge', 'nobody', 1);
INSERT INTO loyalty.reward_price (program, reward, segment, cost) VALUES ('v', 'lounge', 'rich', 64);
\set VERBOSITY terse
INSERT INTO loyalty.reward_price (program, reward, tier, segment, cost) VALUES ('v', 'lounge', 'gold', 'rich', 64);
\set VERBOSITY default
SELECT m, r.points FROM generate_series(1, 3) m, loyalty.redeem(m, 'lounge', program => 'v') r ORDER BY 1;
SELECT points FROM loyalty.redeem(1, 'club', program => 'v');
SELECT points FROM loyalty.redeem(3, 'club', program => 'v');
SELECT points FROM loyalty.redeem(3, 'none', program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT m, reward, cost, why_not FROM generate_series(1, 3) m, loyalty.rewards_for(m, 'v') WHERE reward IN ('lounge', 'club', 'none') ORDER BY 2, 1;
-- a segment has changed: at once
UPDATE loyalty.segment SET enabled = false WHERE program = 'v' AND name = 'rich';
SELECT points FROM loyalty.redeem(3, 'club', program => 'v');

-- ---- Ulta: 2,000 points in one go are worth 125, twice 1,000 are worth 100 ----
INSERT INTO loyalty.reward (program, name, kind, cost) VALUES ('v', 'dollars off', 'discount', 100);
INSERT INTO loyalty.reward_step (program, reward, points, value) VALUES ('v', 'dollars off', 100, 3), ('v', 'dollars off', 250, 8), ('v', 'dollars off', 500, 17.50), ('v', 'dollars off', 1000, 50), ('v', 'dollars off', 2000, 125);
SELECT points, value FROM loyalty.redeem(3, 'dollars off', points => 2000, program => 'v', key => 's1');
SELECT points, value FROM loyalty.redeem(3, 'dollars off', points => 2000, program => 'v', key => 's1');
SELECT sum(points) AS points, sum(value) AS value FROM (SELECT r.* FROM generate_series(1, 2) n, loyalty.redeem(3, 'dollars off', points => 1000, program => 'v', key => 's2 ' || n) r) x;
-- the best step that is reached, and no more points than it takes
SELECT points, value FROM loyalty.redeem(3, 'dollars off', points => 1999, program => 'v');
SELECT points, value FROM loyalty.redeem(3, 'dollars off', program => 'v');
SELECT points, value FROM loyalty.redeem(3, 'dollars off', quantity => 3, program => 'v');
SELECT points, value FROM loyalty.redeem(3, 'dollars off', points => 99, program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(3, 'dollars off', points => 1000, quantity => 2, program => 'v');

-- ---- Nectar: blocks of 500 only ----
INSERT INTO loyalty.reward (program, name, kind, cost, value, max_quantity) VALUES ('v', 'nectar', 'discount', 500, 2.50, 10);
SELECT points, value FROM loyalty.redeem(3, 'nectar', points => 1500, program => 'v') r;
SELECT quantity, vouchers FROM loyalty.redemption WHERE member_id = 3 AND redemption_id = last_of(3);
SELECT points, value FROM loyalty.redeem(3, 'nectar', points => 700, program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT points, value FROM loyalty.redeem(3, 'nectar', points => 499, program => 'v');
SELECT points, value FROM loyalty.redeem(3, 'nectar', points => 5500, program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT points, value FROM loyalty.redeem(2, 'fifth off', points => 200, program => 'v');

-- ---- limits a member ----
INSERT INTO loyalty.reward (program, name, cost, max_per_member, max_period) VALUES
 ('v', 'monthly', 1, 2, 'calendar month'), ('v', 'weekly', 1, 2, 'rolling 7 days'), ('v', 'once', 1, 1, NULL);
SELECT count(*) FROM generate_series(1, 2) n, loyalty.redeem(5, 'monthly', program => 'v', key => 'm' || n);
SELECT points FROM loyalty.redeem(5, 'monthly', program => 'v');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.redeem(5, 'monthly', program => 'v', quantity => 3);
SELECT points FROM loyalty.redeem(5, 'once', program => 'v', key => 'o1');
SELECT points FROM loyalty.redeem(5, 'once', program => 'v');
-- given back: had no more
SELECT state FROM loyalty.reverse(5, last_of(5));
SELECT points FROM loyalty.redeem(5, 'once', program => 'v', hold => '1 hour');
SELECT points FROM loyalty.redeem(5, 'once', program => 'v');
SELECT points FROM loyalty.redeem(5, 'weekly', program => 'v');
SET LOCAL loyalty.now = '2022-02-05 10:00+00';
SELECT points FROM loyalty.redeem(5, 'weekly', program => 'v');
SELECT points FROM loyalty.redeem(5, 'weekly', program => 'v');
-- the hold has lapsed meanwhile
SELECT points FROM loyalty.redeem(5, 'once', program => 'v');
SET LOCAL loyalty.now = '2022-02-10 10:09:59.999999+00';
SELECT points FROM loyalty.redeem(5, 'weekly', program => 'v');
SET LOCAL loyalty.now = '2022-02-10 10:10+00';
SELECT points FROM loyalty.redeem(5, 'weekly', program => 'v');
SET LOCAL loyalty.now = '2022-03-01 00:00+00';
SELECT points FROM loyalty.redeem(5, 'monthly', program => 'v');

-- ---- what a member can have ----
UPDATE loyalty.reward SET stock = 0 WHERE program = 'v' AND name = 'cup';
INSERT INTO loyalty.reward (program, name, cost, starts_at, ends_at) VALUES ('v', 'summer', 1, '2022-06-01 00:00+01', '2022-09-01 00:00+01'), ('v', 'over', 1, '-infinity', '2022-02-01 00:00+00');
SELECT * FROM available WHERE member_id = 5;
SELECT reward, kind, cost, value, value_unit, affordable, missing, why_not, again_at, left_over, ends_at, argument FROM loyalty.rewards_for(5, 'v');
SELECT reward, cost, affordable, missing, why_not FROM loyalty.rewards_for(3, 'v') WHERE reward IN ('lounge', 'yacht', 'dollars off', 'nectar');
-- at an instant of the past
SELECT reward, affordable, missing FROM loyalty.rewards_for(5, 'v', '2022-01-10 11:00+00') WHERE reward = 'weekly';
SELECT * FROM loyalty.rewards_for(99, 'v');
\echo :LAST_ERROR_SQLSTATE

-- ---- two registrations of one person ----
SELECT program, available FROM loyalty.merge_members(2, 3, 'one person');
SELECT count(*) FILTER (WHERE member_id = 2) AS former, count(*) FILTER (WHERE member_id = 3 AND reward = 'book') AS books FROM loyalty.voucher_status WHERE program = 'v';
SELECT member_id, state FROM loyalty.use_voucher(2, 'BOOK-2');
SELECT unsound();
ROLLBACK;

-- ---- who sees what ----
BEGIN;
CREATE ROLE voucher_app;
CREATE ROLE voucher_report;
CREATE ROLE voucher_admin;
SELECT loyalty.grant_access('voucher_app', 'app'), loyalty.grant_access('voucher_report', 'report'), loyalty.grant_access('voucher_admin', 'admin');
INSERT INTO loyalty.program (name, is_default) VALUES ('w', false);
SET ROLE voucher_admin;
INSERT INTO loyalty.code_pool (program, name) VALUES ('w', 'books');
INSERT INTO loyalty.code (program, pool, code) VALUES ('w', 'books', 'A'), ('w', 'books', 'B');
INSERT INTO loyalty.code (program, pool, code, redemption_id) VALUES ('w', 'books', 'C', 1);
INSERT INTO loyalty.reward (program, name, kind, cost, pool) VALUES ('w', 'book', 'code', 10, 'books');
SELECT FROM loyalty.enroll(7, 'w');
SELECT FROM loyalty.adjust(7, 100, 'welcome', 'w');
SELECT code FROM loyalty.code;
RESET ROLE;
SET ROLE voucher_app;
SELECT voucher FROM loyalty.redeem(7, 'book', program => 'w');
SELECT code, state FROM loyalty.vouchers(7, 'w');
SELECT reward, affordable FROM loyalty.rewards_for(7, 'w');
SELECT code FROM loyalty.voucher;
SELECT state FROM loyalty.use_voucher(7, 'A');
SELECT 1 FROM loyalty.voucher_change;
SELECT loyalty.give_vouchers(7, 1, 1, 1, 1, NULL, now());
SELECT loyalty.vouchers_as_owner(7, 'w', now());
RESET ROLE;
SET ROLE voucher_report;
SELECT reward, state FROM loyalty.voucher_status WHERE program = 'w';
SELECT state, set_role FROM loyalty.voucher_change WHERE member_id = 7;
SELECT pool, left_over, given FROM loyalty.code_pool_level WHERE program = 'w';
SELECT code FROM loyalty.voucher;
SELECT code FROM loyalty.code;
SELECT code FROM loyalty.vouchers(7, 'w');
RESET ROLE;
ROLLBACK;

-- ---- verify() finds what contradicts ----
BEGIN;
SET LOCAL search_path = pg_catalog;
INSERT INTO loyalty.program (name, is_default) VALUES ('y', false);
INSERT INTO loyalty.code_pool (program, name) VALUES ('y', 'books');
INSERT INTO loyalty.code (program, pool, code) VALUES ('y', 'books', 'A'), ('y', 'books', 'B');
INSERT INTO loyalty.reward (program, name, kind, cost, pool) VALUES ('y', 'book', 'code', 10, 'books');
SELECT FROM loyalty.enroll(8, 'y');
SELECT FROM loyalty.adjust(8, 100, 'welcome', 'y');
SELECT voucher FROM loyalty.redeem(8, 'book', program => 'y');
SELECT invariant, regexp_replace(detail, 'redemption \d+', 'redemption N') AS detail FROM loyalty.verify() WHERE program = 'y';
SAVEPOINT sound;
UPDATE loyalty.voucher SET state = 'held' WHERE member_id = 8;
SELECT invariant, regexp_replace(detail, 'redemption \d+', 'redemption N') AS detail FROM loyalty.verify() WHERE program = 'y';
ROLLBACK TO sound;
DELETE FROM loyalty.voucher WHERE member_id = 8;
SELECT invariant, regexp_replace(detail, 'redemption \d+', 'redemption N') AS detail FROM loyalty.verify() WHERE program = 'y' ORDER BY 1;
ROLLBACK TO sound;
UPDATE loyalty.voucher SET code = 'B' WHERE member_id = 8;
SELECT invariant, regexp_replace(detail, 'redemption \d+', 'redemption N') AS detail FROM loyalty.verify() WHERE program = 'y' ORDER BY 1, 2;
ROLLBACK;
