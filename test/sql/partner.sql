-- Partners of a coalition: who funds points, who is paid for those that are burnt, what a partner's role sees; points that
-- change programs.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA partner_test;
SET LOCAL search_path = partner_test;
SET LOCAL TimeZone = 'UTC';
CREATE TABLE fuel (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, points_paid numeric);
CREATE TABLE grocer (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE TABLE own (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
CREATE ROLE loyalty_test_fuel;
CREATE ROLE loyalty_test_grocer;
CREATE ROLE loyalty_test_nobody;

INSERT INTO loyalty.program (name, timezone, money, sandbox) VALUES ('coalition', 'Europe/Istanbul', 'EUR', true), ('miles', 'UTC', '', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('coalition', 'gold', 1, 400, 0.1);
INSERT INTO loyalty.partner (program, name, issue_price, burn_price, currency, role) VALUES
  ('coalition', 'fuel', 0.011, 0.005, 'EUR', 'loyalty_test_fuel'),
  ('coalition', 'grocer', 0.013, 0.0049, 'EUR', 'loyalty_test_grocer'),
  ('coalition', 'abroad', 0.5, 0.3, 'CHF', NULL);
SELECT loyalty.attach('fuel', program => 'coalition', member => 'who', amount => 'total', occurred_at => 'at', points_spent => 'points_paid', partner => 'fuel') > 0 AS attached;
SELECT loyalty.attach('grocer', program => 'coalition', member => 'who', amount => 'total', occurred_at => 'at', partner => 'grocer') > 0 AS attached;
SELECT loyalty.attach('own', program => 'coalition', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, kind, points, partner) VALUES
  ('coalition', 'fuel', 'fuel 1 for 1', 'base', 'earn.amount', NULL),
  ('coalition', 'grocer', 'grocer 1 for 1', 'base', 'earn.amount', NULL),
  ('coalition', 'grocer', 'brought by fuel', 'bonus', 'earn.base * 0.333', 'fuel'),
  ('coalition', 'own', 'own 1 for 1', 'base', 'earn.amount', NULL);
INSERT INTO loyalty.reward (program, name, cost, partner) VALUES ('coalition', 'car wash', 50, 'fuel'), ('coalition', 'wine', 30, 'grocer'), ('coalition', 'mug', 10, NULL);

-- refused
SELECT loyalty.attach('own', program => 'miles', member => 'who', amount => 'total', occurred_at => 'at', partner => 'fuel');
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.rule SET partner = 'nobody' WHERE program = 'coalition' AND name = 'own 1 for 1';
INSERT INTO loyalty.reward (program, name, cost, partner) VALUES ('miles', 'x', 1, 'fuel');
INSERT INTO loyalty.partner (program, name, issue_price) VALUES ('coalition', 'x', 'NaN');
INSERT INTO loyalty.partner (program, name) VALUES ('coalition', ' x');
UPDATE loyalty.partner SET currency = 'USD' WHERE name = 'fuel';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.partner WHERE name = 'fuel';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM loyalty.partner WHERE name = 'abroad';
INSERT INTO loyalty.partner (program, name, issue_price, burn_price, currency) VALUES ('coalition', 'abroad', 0.5, 0.3, 'CHF');
UPDATE loyalty.source SET partner = 'abroad' WHERE program = 'coalition' AND name = 'own';
UPDATE loyalty.source SET partner = NULL WHERE program = 'coalition' AND name = 'own';

-- what does not balance: none, while it is right
CREATE VIEW unbalanced (program, month, issued, clawed_back, redeemed, restored) AS
SELECT program, month, sum(issued), sum(clawed_back), sum(redeemed), sum(restored) FROM (
  SELECT s.program, s.month, s.issued_points AS issued, s.clawed_back_points AS clawed_back, s.burnt_points AS redeemed, s.reversed_points AS restored
  FROM loyalty.partner_settlement s
  UNION ALL
  SELECT d.program, date_trunc('month', d.day)::date, -d.issued, d.clawed_back, d.redeemed, -d.restored FROM loyalty.program_daily d
  WHERE d.program = 'coalition') x
GROUP BY 1, 2 HAVING sum(issued) <> 0 OR sum(clawed_back) <> 0 OR sum(redeemed) <> 0 OR sum(restored) <> 0
UNION ALL
SELECT program, month, sum(issued_money), sum(burnt_money), sum(net_money), NULL FROM loyalty.partner_settlement GROUP BY 1, 2, currency
HAVING sum(issued_money) <> 0 OR sum(burnt_money) <> 0 OR sum(net_money) <> 0
UNION ALL
SELECT f.program, f.month, f.points, s.points, NULL, NULL
FROM (SELECT program, month, burner, sum(points) AS points FROM loyalty.partner_flow GROUP BY 1, 2, 3) f
FULL JOIN (SELECT program, month, partner, sum(burnt_points - reversed_points) AS points FROM loyalty.partner_settlement GROUP BY 1, 2, 3) s
  ON s.program = f.program AND s.month = f.month AND s.partner IS NOT DISTINCT FROM f.burner
WHERE coalesce(f.points, 0) <> coalesce(s.points, 0);

-- one purchase with three funders; 23:30 UTC of 31 January is February in Istanbul
SET LOCAL loyalty.now = '2024-01-20';
INSERT INTO fuel VALUES (1, 1, 401, '2024-01-10', 0);
INSERT INTO grocer VALUES (1, 1, 100, '2024-01-20');
INSERT INTO own VALUES (1, 2, 90, '2024-01-11');
SET LOCAL loyalty.now = '2024-02-01';
INSERT INTO grocer VALUES (2, 2, 10, '2024-01-31 23:30+00');
SELECT * FROM loyalty.award_share WHERE program = 'coalition' ORDER BY earned_at, rule;
SET LOCAL loyalty.now = '2024-02-10';
SELECT * FROM loyalty.partner_settlement ORDER BY 1, 2, 3, 4;
SELECT * FROM unbalanced;
-- half is returned: each funder has its part back, in the month of the return; then all of it
UPDATE grocer SET total = 50 WHERE id = 1;
SELECT * FROM loyalty.partner_settlement WHERE month = '2024-02-01' ORDER BY 3;
UPDATE grocer SET total = 33.33 WHERE id = 1;
SELECT * FROM unbalanced;
DELETE FROM grocer WHERE id = 1;
SELECT partner, sum(issued_points - clawed_back_points) AS kept, sum(issued_money) AS money FROM loyalty.partner_settlement GROUP BY 1 ORDER BY 1;
INSERT INTO grocer VALUES (1, 1, 100, '2024-01-20');
SELECT * FROM unbalanced;

-- burnt: a reward of fuel, one of grocer, one of the operator, points alone, points on a sale at fuel; with whom, and whose points they were
SELECT redemption_id AS wash FROM loyalty.redeem(1, 'car wash', program => 'coalition', quantity => 8) \gset
SELECT redemption_id AS wine FROM loyalty.redeem(1, 'wine', program => 'coalition') \gset
SELECT redemption_id AS mug FROM loyalty.redeem(1, 'mug', program => 'coalition') \gset
SELECT points FROM loyalty.redeem(2, points => 7, program => 'coalition');
INSERT INTO fuel VALUES (2, 2, 5, '2024-02-09', 40);
SELECT * FROM loyalty.partner_flow ORDER BY 1, 2, 3, 4;
SELECT month, partner, burnt_points, reversed_points, burnt_money, net_money FROM loyalty.partner_settlement WHERE month = '2024-02-01' ORDER BY 2;
SELECT * FROM unbalanced;
-- given back in parts, in March
SET LOCAL loyalty.now = '2024-03-05';
SELECT points, alive FROM loyalty.reverse(1, :wash, points => 33);
SELECT points, alive FROM loyalty.reverse(1, :wash, points => 17);
SELECT points, alive FROM loyalty.reverse(1, :wine);
SELECT * FROM unbalanced;
SELECT points, alive FROM loyalty.reverse(1, :wash);
SELECT points, alive FROM loyalty.reverse(1, :mug);
DELETE FROM fuel WHERE id = 2;
SELECT month, partner, burnt_points, reversed_points, burnt_money, net_money FROM loyalty.partner_settlement WHERE month = '2024-03-01' ORDER BY 2;
SELECT issuer, burner, sum(points) AS points FROM loyalty.partner_flow GROUP BY 1, 2 HAVING sum(points) <> 0 ORDER BY 1, 2;
SELECT partner, sum(burnt_money) AS money FROM loyalty.partner_settlement GROUP BY 1 HAVING sum(burnt_money) <> 0;
SELECT * FROM unbalanced;

-- points that go on to another member, and to another life, stay whose they were
SELECT sum(points) FROM loyalty.transfer(1, 3, 120, program => 'coalition');
\echo :LAST_ERROR_SQLSTATE
SELECT enrolled_at IS NOT NULL AS enrolled FROM loyalty.enroll(3, 'coalition');
SELECT sum(points) FROM loyalty.transfer(1, 3, 420, program => 'coalition');
SELECT sum(points) FROM loyalty.change_expiry(3, '2030-01-01', 'longer', program => 'coalition');
SELECT points FROM loyalty.redeem(3, points => 415, program => 'coalition');
SELECT * FROM loyalty.partner_flow WHERE month = '2024-03-01' ORDER BY 1, 2, 3, 4;
DELETE FROM fuel WHERE id = 1;
SELECT * FROM unbalanced;
SELECT * FROM loyalty.verify();

-- prices and owners are those of when the entry was written
SAVEPOINT prices;
SET LOCAL loyalty.restoring = on;
INSERT INTO loyalty.config_history (config, id, valid_from, valid_to, former, changed_by, set_role)
SELECT 'partner', id, '2023-01-01', '2024-02-01', to_jsonb(p) || '{"issue_price": 0.02}', 'x', 'x' FROM loyalty.partner p WHERE name = 'grocer';
UPDATE loyalty.partner SET valid_from = '2024-02-01' WHERE name = 'grocer';
INSERT INTO loyalty.config_history (config, id, valid_from, valid_to, former, changed_by, set_role)
SELECT 'rule', id, '2023-01-01', '2024-01-31 12:00', to_jsonb(r) || '{"partner": "abroad"}', 'x', 'x' FROM loyalty.rule r WHERE name = 'brought by fuel';
UPDATE loyalty.rule SET valid_from = '2024-01-31 12:00' WHERE name = 'brought by fuel';
SET LOCAL loyalty.restoring = off;
SELECT month, partner, currency, issued_points, clawed_back_points, issued_money FROM loyalty.partner_settlement WHERE month <= '2024-02-01' ORDER BY 1, 2, 3;
SELECT * FROM unbalanced;
ROLLBACK TO prices;
-- a partner and a program that are renamed keep their past
SAVEPOINT names;
UPDATE loyalty.partner SET name = 'grocery' WHERE name = 'grocer';
UPDATE loyalty.program SET name = 'coalition 2' WHERE name = 'coalition';
SELECT program, partner, sum(issued_points) AS points FROM loyalty.partner_settlement GROUP BY 1, 2 ORDER BY 1, 2;
ROLLBACK TO names;
-- a tier's bonus is the operator's unless the partner says otherwise
SAVEPOINT bonus;
INSERT INTO fuel VALUES (8, 8, 400, '2024-03-05', 0), (9, 8, 100, '2024-03-05', 0);
SELECT * FROM loyalty.award_share WHERE program = 'coalition' AND member_id = 8 ORDER BY source_key, rule;
SELECT partner, issued_points FROM loyalty.partner_settlement WHERE month = '2024-03-01' ORDER BY 1;
UPDATE loyalty.partner SET pays_tier_bonus = true WHERE name = 'fuel';
SELECT partner, issued_points FROM loyalty.partner_settlement WHERE month = '2024-03-01' ORDER BY 1;
ROLLBACK TO bonus;

-- disabled: its source and its rules earn nothing, its rewards cannot be had, what was settled stays
SAVEPOINT disabled;
UPDATE loyalty.partner SET enabled = false WHERE name = 'fuel';
INSERT INTO fuel VALUES (10, 5, 10, '2024-03-05', 0);
INSERT INTO grocer VALUES (10, 5, 10, '2024-03-05');
SELECT source, rule, points FROM loyalty.award_share WHERE member_id = 5 AND program = 'coalition';
SELECT points FROM loyalty.redeem(1, 'car wash', program => 'coalition');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) > 0 AS still_settled FROM loyalty.partner_settlement WHERE partner = 'fuel';
ROLLBACK TO disabled;

-- status units are nobody's money
SAVEPOINT units;
INSERT INTO loyalty.unit (program, name) VALUES ('coalition', 'visits to grocer');
INSERT INTO loyalty.rule (program, source, name, points, unit) VALUES ('coalition', 'grocer', 'one visit', '1', 'visits to grocer');
INSERT INTO grocer VALUES (20, 6, 10, '2024-03-05');
SELECT rule, unit FROM loyalty.unit_share WHERE member_id = 6 AND program = 'coalition';
SELECT partner, issued_points FROM loyalty.partner_settlement WHERE month = '2024-03-01' ORDER BY 1;
SELECT * FROM unbalanced;
ROLLBACK TO units;
-- many purchases, returns, burns and reversals of mixed funding: it balances after each round; the control would not
SAVEPOINT many;
SET LOCAL loyalty.now = '2024-04-01';
CREATE TABLE found (round int, wrong bigint);
DO $$
DECLARE
  d record;
BEGIN
  FOR round IN 1..6 LOOP
    PERFORM set_config('loyalty.now', format('2024-%s-01', round + 3), true);
    INSERT INTO grocer SELECT round * 100 + g, g % 5 + 20, (g * 7919 * round) % 97 + g * 0.37, timestamptz '2024-01-01' + (g * round * 37) % 2000 * interval '1 hour' FROM generate_series(1, 40) g;
    INSERT INTO fuel SELECT round * 100 + g, g % 5 + 20, (g * 104729 * round) % 53, timestamptz '2024-01-01' + (g * round * 53) % 2000 * interval '1 hour', 0 FROM generate_series(1, 20) g;
    PERFORM loyalty.adjust(m, 10000, 'so that nobody runs out', program => 'coalition') FROM generate_series(20, 24) m WHERE round = 1;
    UPDATE grocer SET total = total * ((id * 31 + round) % 11) / 10.0 WHERE id > 100 AND (id + round) % 3 = 0;
    PERFORM loyalty.redeem(m, points => 13 + m + round, program => 'coalition') FROM generate_series(20, 24) m;
    PERFORM loyalty.redeem(m, 'wine', program => 'coalition') FROM generate_series(20, 24) m;
    FOR d IN SELECT r.member_id, r.redemption_id, r.taken FROM loyalty.redemption r JOIN loyalty.program p ON p.id = r.program_id
             WHERE p.name = 'coalition' AND r.member_id BETWEEN 20 AND 24 AND r.state = 'captured' AND (r.redemption_id + round) % 3 = 0 LOOP
      PERFORM loyalty.reverse(d.member_id, d.redemption_id, points => greatest(1, d.taken / 10000 * 0.3)::int);
    END LOOP;
    DELETE FROM fuel WHERE id > 100 AND (id + round) % 7 = 0;
    ANALYZE loyalty.lot, loyalty.movement, loyalty.redemption, loyalty.account, loyalty.intervention;
    INSERT INTO found SELECT round, count(*) FROM unbalanced;
  END LOOP;
END $$;
TABLE found;
SELECT count(*) AS months FROM loyalty.partner_settlement WHERE partner = 'grocer' AND burnt_points > 0 AND month > '2024-03-01';
-- each funder keeps what award_share says, but for the rounding of parts of a purchase (and what fuel was not given back before: 310 less 33)
SELECT s.partner, s.points - a.points AS difference, s.points, a.points AS by_award_share
FROM (SELECT partner, sum(issued_points - clawed_back_points) AS points FROM loyalty.partner_settlement GROUP BY 1) s
JOIN (SELECT coalesce(r.partner, c.partner) AS partner, sum(w.points) AS points FROM loyalty.award_share w
      JOIN loyalty.source c ON c.program = w.program AND c.name = w.source LEFT JOIN loyalty.rule r ON r.program = w.program AND r.name = w.rule
      WHERE w.program = 'coalition' AND w.rule NOT LIKE 'tier %' GROUP BY 1) a ON a.partner = s.partner ORDER BY 1;
-- all is returned: nobody keeps or owes anything, but for what was spent before and could not be taken
DELETE FROM fuel;
DELETE FROM grocer;
DELETE FROM own;
SELECT set_config('loyalty.now', '2024-09-02', true) IS NOT NULL AS later;
SELECT partner, sum(issued_money) AS money FROM loyalty.partner_settlement WHERE partner IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT count(*) AS wrong FROM unbalanced;
SELECT * FROM loyalty.verify();
-- the control: a report that forgets what was taken back and burnt
CREATE OR REPLACE VIEW loyalty.funded_entry WITH (security_invoker = true) AS SELECT l.program_id, l.at, 'issue'::text AS kind, l.points::numeric AS points, NULL::integer AS funder_id,
  l.posted_at AS issued_at, NULL::integer AS burner_id, NULL::timestamptz AS burnt_at FROM loyalty.lot l;
SELECT count(*) > 0 AS control FROM unbalanced;
ROLLBACK TO many;

-- ---- what a partner's role sees ----
SELECT loyalty.grant_access('loyalty_test_fuel', 'partner'), loyalty.grant_access('loyalty_test_grocer', 'partner'), loyalty.grant_access('loyalty_test_nobody', 'partner');
SELECT points FROM loyalty.redeem(2, 'wine', program => 'coalition') UNION ALL SELECT points FROM loyalty.redeem(2, points => 1, program => 'coalition');
INSERT INTO fuel VALUES (3, 2, 7, '2024-03-04', 11);
SET ROLE loyalty_test_fuel;
SELECT * FROM loyalty.my_settlement();
SELECT * FROM loyalty.my_flow();
SELECT * FROM loyalty.my_awards();
SELECT partner, at, state, reward, quantity, source, source_key, points FROM loyalty.my_redemptions();
SELECT count(*) FROM loyalty.my_awards('2024-01-15', '2024-02-01');
SET ROLE loyalty_test_grocer;
SELECT DISTINCT partner FROM loyalty.my_settlement();
SELECT DISTINCT partner, source, rule FROM loyalty.my_awards() ORDER BY 3;
SELECT partner, reward, points FROM loyalty.my_redemptions();
SET ROLE loyalty_test_nobody;
SELECT (SELECT count(*) FROM loyalty.my_settlement()) + (SELECT count(*) FROM loyalty.my_flow()) + (SELECT count(*) FROM loyalty.my_awards()) + (SELECT count(*) FROM loyalty.my_redemptions()) AS seen;
RESET ROLE;
-- attacks: everything that the role can reach is tried.  Tables and views: none
CREATE FUNCTION partner_test.readable(role name) RETURNS SETOF text LANGUAGE plpgsql AS $$
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
SELECT * FROM readable('loyalty_test_fuel');
SELECT count(*) > 50 AS control FROM readable(current_user);
-- functions beyond what PUBLIC may
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND has_function_privilege('loyalty_test_fuel', p.oid, 'EXECUTE')
  AND NOT has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY p.proname;
-- with every argument that a hostile caller could think of, nothing of grocer is seen but the sums that crossed
SET ROLE loyalty_test_fuel;
SELECT count(*) AS leaked FROM (
  SELECT to_jsonb(s)::text AS row FROM loyalty.my_settlement() s UNION ALL SELECT to_jsonb(s)::text FROM loyalty.my_flow() s
  UNION ALL SELECT to_jsonb(s)::text FROM loyalty.my_awards(NULL, NULL) s UNION ALL SELECT to_jsonb(s)::text FROM loyalty.my_awards('-infinity', 'infinity') s
  UNION ALL SELECT to_jsonb(s)::text FROM loyalty.my_redemptions() s) x WHERE x.row ~ 'grocer|wine|member';
SELECT * FROM loyalty.my_settlement_as_owner();
SELECT * FROM loyalty.partners_of('loyalty_test_grocer');
SET LOCAL loyalty.restoring = on;
SELECT DISTINCT partner FROM loyalty.my_settlement();
UPDATE loyalty.partner SET role = 'loyalty_test_fuel';
SELECT points FROM loyalty.redeem(1, points => 1, program => 'coalition');
SELECT available FROM loyalty.balance(1, 'coalition');
RESET ROLE;
SET LOCAL loyalty.restoring = off;
SELECT loyalty.revoke_access('loyalty_test_fuel', 'partner');
SET ROLE loyalty_test_fuel;
SELECT * FROM loyalty.my_settlement();
RESET ROLE;
-- support: what an application can, and corrections
SELECT loyalty.grant_access('loyalty_test_nobody', 'support');
SET ROLE loyalty_test_nobody;
SELECT points FROM loyalty.adjust(2, 5, 'sorry', program => 'coalition');
SELECT count(*) FROM loyalty.member_balance WHERE member_id = 2 AND program = 'coalition';
UPDATE loyalty.program SET decimals = 4;
SELECT count(*) FROM loyalty.verify();
RESET ROLE;

-- ---- exchange ----
INSERT INTO loyalty.exchange_rate (program, name, to_program, rate, minimum, step, starts_at, ends_at) VALUES
  ('coalition', 'to miles', 'miles', 0.31, 20, 10, '-infinity', '2024-06-01'),
  ('coalition', 'spring', 'miles', 0.5, 20, 10, '2024-03-01', '2024-03-20');
INSERT INTO loyalty.exchange_rate (program, name, to_program, rate) VALUES ('coalition', 'x', 'coalition', 1);
INSERT INTO loyalty.exchange_rate (program, name, to_program, rate) VALUES ('coalition', 'x', 'nowhere', 1);
INSERT INTO loyalty.exchange_rate (program, name, to_program, rate) VALUES ('coalition', 'x', 'miles', 'infinity');
SELECT available FROM loyalty.balance(2, 'coalition');
SELECT taken, given, rate FROM loyalty.exchange(2, 'coalition', 'miles', 30, key => 'e1');
SELECT taken, given, rate FROM loyalty.exchange(2, 'coalition', 'miles', 30.0, key => 'e1');
SET LOCAL loyalty.now = '2024-03-20';
SELECT taken, given, rate FROM loyalty.exchange(2, 'coalition', 'miles', 30, key => 'e1');
SELECT taken, given, rate FROM loyalty.exchange(2, 'coalition', 'miles', 20);
-- both entries name the exchange
SELECT program, kind, points, regexp_replace(what, '\d+', 'N') AS what FROM loyalty.statement WHERE member_id = 2 AND what LIKE 'exchange%' ORDER BY program, entry_no;
SELECT e.taken, e.given, f.kind, -f.points = e.taken AS same_taken, t.kind AS lot, t.points = e.given AS same_given, e.by = session_user AS me FROM loyalty.exchange e
JOIN loyalty.movement f ON f.member_id = e.member_id AND f.program_id = e.from_program_id AND f.entry_no = e.from_entry
JOIN loyalty.lot t ON t.member_id = e.member_id AND t.program_id = e.to_program_id AND t.entry_no = e.to_entry WHERE e.member_id = 2 ORDER BY e.exchange_id;
SELECT from_program, to_program, month, exchanges, members, taken, given FROM loyalty.exchange_monthly;
-- refused
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 40, key => 'e1');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.adjust(2, 1, 'x', program => 'coalition', key => 'e1');
\echo :LAST_ERROR_SQLSTATE
SELECT points FROM loyalty.adjust(2, 1, 'x', program => 'coalition', key => 'a1');
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 30, key => 'a1');
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 10);
\echo :LAST_ERROR_SQLSTATE
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 25);
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 5000);
\echo :LAST_ERROR_SQLSTATE
SELECT taken FROM loyalty.exchange(2, 'miles', 'coalition', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT taken FROM loyalty.exchange(2, 'coalition', 'coalition', 1);
SELECT taken FROM loyalty.exchange(2, 'coalition', 'nowhere', 1);
SELECT taken FROM loyalty.exchange(77, 'coalition', 'miles', 30);
\echo :LAST_ERROR_SQLSTATE
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', NULL);
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 'NaN');
SELECT taken FROM loyalty.exchange(NULL, 'coalition', 'miles', 30);
SELECT loyalty.block(2, 'miles', 'x');
SELECT taken FROM loyalty.exchange(2, 'coalition', 'miles', 20);
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.unblock(2, 'miles', 'x');
DELETE FROM loyalty.exchange_rate WHERE name = 'spring';
\echo :LAST_ERROR_SQLSTATE
-- somebody who turns out to be somebody else takes exchanges along
SELECT program, available FROM loyalty.merge_members(2, 1, 'twice');
SELECT e.member_id, f.kind, -f.points = e.taken AS same_taken, t.points = e.given AS same_given FROM loyalty.exchange e
JOIN loyalty.movement f ON f.member_id = e.member_id AND f.program_id = e.from_program_id AND f.entry_no = e.from_entry
JOIN loyalty.lot t ON t.member_id = e.member_id AND t.program_id = e.to_program_id AND t.entry_no = e.to_entry WHERE e.member_id IN (1, 2) ORDER BY e.exchange_id;
SELECT taken, given FROM loyalty.exchange(2, 'coalition', 'miles', 30, key => 'e1');
SELECT * FROM unbalanced;
SELECT * FROM loyalty.verify();
ROLLBACK;
