-- Rooms that follow sales: what they are told, when, and that what they do is part of the sale.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\set ON_ERROR_ROLLBACK on
BEGIN;
SET LOCAL timezone = UTC;
CREATE SCHEMA follow_shop;
CREATE TABLE follow_shop.orders (id bigint PRIMARY KEY, customer bigint, total numeric, at timestamptz NOT NULL DEFAULT '2026-01-05 12:00+00');
INSERT INTO loyalty.program (name) VALUES ('follow');
SELECT loyalty.attach('follow_shop.orders', 'follow', member => 'customer', amount => 'total', occurred_at => 'at', name => 'follow orders') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('follow', 'follow orders', 'one per one', 'earn.amount');

-- a room that notes what it hears, and gives a tenth to the member's neighbour, whose number is one higher
CREATE TABLE follow_shop.told (no bigint GENERATED ALWAYS AS IDENTITY, statement integer, member_id bigint, source_key text, unit integer,
  amount numeric, kept numeric, spend numeric, points bigint, first boolean, balance numeric);
CREATE SEQUENCE follow_shop.statement;
-- a room is in use: only then is anybody asked
INSERT INTO loyalty.referral_program (program, name, referrer_points, friend_points) VALUES ('follow', 'friends', 0, 0);
CREATE OR REPLACE FUNCTION loyalty.sales_involve(program_id integer, members bigint[]) RETURNS bigint[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN (SELECT array_agg(m + 1) FROM unnest(members) m); END $$;
CREATE OR REPLACE FUNCTION loyalty.follow_sales(program_id integer, sales loyalty.sale[]) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n integer := nextval('follow_shop.statement');
  s record;
BEGIN
  -- what the sale did is seen
  INSERT INTO follow_shop.told (statement, member_id, source_key, unit, amount, kept, spend, points, first, balance)
  SELECT n, x.member_id, x.source_key, x.unit, x.amount, x.kept, x.spend, x.points, x.first,
    (SELECT a.available * 0.0001 FROM loyalty.account a WHERE a.member_id = x.member_id AND a.program_id = follow_sales.program_id)
  FROM unnest(sales) x;
  -- and the accounts are locked: this takes no other lock
  FOR s IN SELECT x.member_id + 1 AS neighbour, x.source_key, x.points FROM unnest(sales) x WHERE x.points > 0
           AND EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = x.member_id + 1 AND a.program_id = follow_sales.program_id) LOOP
    PERFORM loyalty.adjust(s.neighbour, s.points / 100000, 'neighbour of ' || s.source_key, program => 'follow');
  END LOOP;
  IF EXISTS (SELECT FROM unnest(sales) x WHERE x.amount = 666) THEN
    RAISE EXCEPTION 'no' USING ERRCODE = 'LY017';
  END IF;
END $$;

INSERT INTO follow_shop.orders VALUES (1, 1, 100), (2, 2, 50), (3, 1, 30), (4, NULL, 9);
UPDATE follow_shop.orders SET total = 40 WHERE id = 1;
UPDATE follow_shop.orders SET total = 140 WHERE id = 1;
UPDATE follow_shop.orders SET customer = 3 WHERE id = 3;
DELETE FROM follow_shop.orders WHERE id = 2;
INSERT INTO follow_shop.orders VALUES (2, 2, 50), (5, 2, 0);
SELECT statement, member_id, source_key, amount, kept, spend, points / 10000 AS points, first, balance FROM follow_shop.told ORDER BY no;
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'follow' ORDER BY member_id;
-- nothing that a room does outlives a sale that fails
INSERT INTO follow_shop.orders VALUES (6, 1, 666);
SAVEPOINT s;
INSERT INTO follow_shop.orders VALUES (7, 1, 70);
ROLLBACK TO s;
SELECT max(statement) FROM follow_shop.told;
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'follow' ORDER BY member_id;
-- many rows, several batches: told once each, neighbours are not enrolled
INSERT INTO follow_shop.orders SELECT g, 100 + g % 7, 10 FROM generate_series(1001, 3500) g;
SELECT count(*), count(DISTINCT source_key), sum(points) / 10000 AS points, bool_and(first) AS all_first FROM follow_shop.told WHERE source_key::bigint > 1000;
SELECT member_id, available FROM loyalty.member_balance WHERE program = 'follow' AND member_id >= 100 ORDER BY member_id;
SELECT * FROM loyalty.verify();
-- another program hears nothing
INSERT INTO loyalty.program (name) VALUES ('follow not');
CREATE TABLE follow_shop.others (LIKE follow_shop.orders INCLUDING ALL);
SELECT loyalty.attach('follow_shop.others', 'follow not', member => 'customer', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO follow_shop.others VALUES (1, 1, 1);
SELECT count(*) FROM follow_shop.told WHERE amount = 1;
-- a status unit is told as an award of its own, without money
TRUNCATE follow_shop.told;
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('follow', 'follow orders', 'a stay', 'follow stays', '2');
INSERT INTO follow_shop.orders VALUES (9001, 7, 100);
UPDATE follow_shop.orders SET total = 50 WHERE id = 9001;
DELETE FROM follow_shop.orders WHERE id = 9001;
SELECT member_id, source_key, u.name AS unit, amount, kept, spend, points / 10000 AS points, first
FROM follow_shop.told t LEFT JOIN loyalty.unit u ON u.id = t.unit ORDER BY no;
ROLLBACK;
