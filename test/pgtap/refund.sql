-- Returns: one assertion a sentence of docs/reference.md.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty;
SELECT loyalty.install();
SELECT plan(28);
SET LOCAL TimeZone = 'UTC';
SET LOCAL loyalty.now = '2024-06-01';
CREATE SCHEMA shop;
CREATE TABLE shop.line (id int PRIMARY KEY, who bigint, quantity int, price numeric, at timestamptz DEFAULT '2024-03-01');
CREATE TABLE shop.back (no int PRIMARY KEY, line int, who bigint, amount numeric, at timestamptz DEFAULT '2024-04-01');
INSERT INTO loyalty.program (name, decimals, expiry, sandbox) VALUES ('p', 4, '12 months', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) VALUES ('p', 'green', 0, 0), ('p', 'gold', 1, 500);
SELECT loyalty.attach('shop.line', member => 'who', amount => 'quantity * price', occurred_at => 'at');
SELECT loyalty.attach('shop.back', member => 'who', amount => 'amount', occurred_at => 'at', refund_of => 'line', refund_source => 'line');
INSERT INTO loyalty.rule (program, source, name, kind, points, expiry) VALUES
  ('p', 'line', 'seventh', 'base', 'earn.amount / 7', NULL), ('p', 'line', 'short', 'bonus', 'earn.base * 0.3', '1 month');
CREATE FUNCTION pg_temp.points(key int) RETURNS numeric LANGUAGE sql AS $$ SELECT trim_scale(sum(remaining) / 10000.0) FROM loyalty.lot WHERE source_key = key::text $$;
CREATE FUNCTION pg_temp.kept(key int) RETURNS numeric LANGUAGE sql AS $$ SELECT sum(kept_amount) FROM loyalty.lot WHERE source_key = key::text AND part % 64 = 0 $$;
CREATE FUNCTION pg_temp.state(member bigint) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(format('%s/%s: %s of %s, %s', (l.source_key::int - 1) % 3, l.part, l.remaining, l.points, trim_scale(l.kept_amount)), ', ' ORDER BY l.source_key::int % 3, l.part)
    || format(' spend %s earned %s', (SELECT trim_scale(spend_previous + spend) FROM loyalty.account WHERE member_id = member), (SELECT earned_previous + earned FROM loyalty.account WHERE member_id = member))
  FROM loyalty.lot l WHERE l.member_id = member $$;

-- Three lines; one unit of one goes back, then 30 per cent of the money, then the rest: in all orders, each step as an
-- UPDATE of the line, as a row of the table of returns, or before the sale.
CREATE TABLE shop.step (step int, line int, amount numeric);
INSERT INTO shop.step VALUES (1, 1, 3.33), (2, 0, 2.997), (2, 1, 2.997), (2, 2, 3.8997), (3, 0, 6.993), (3, 1, 3.663), (3, 2, 9.0993);
CREATE FUNCTION pg_temp.buy(member int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO shop.line SELECT member * 3 + l + 1, member, q, p FROM (VALUES (0, 1, 9.99), (1, 3, 3.33), (2, 1, 12.999)) v (l, q, p) $$;
CREATE FUNCTION pg_temp.act(member int, step int, way text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF way = 'update' THEN
    UPDATE shop.line SET price = (quantity * price - s.amount) / quantity FROM shop.step s WHERE s.step = act.step AND id = member * 3 + s.line + 1;
  ELSE
    INSERT INTO shop.back SELECT member * 100 + s.step * 10 + s.line, member * 3 + s.line + 1, member, s.amount FROM shop.step s WHERE s.step = act.step;
  END IF;
END $$;
CREATE FUNCTION pg_temp.runs() RETURNS TABLE (done text, result text) LANGUAGE plpgsql AS $$
DECLARE
  member int := 100;
  o int[];
  n int;
  w text;
BEGIN
  FOREACH n IN ARRAY ARRAY[2, 3] LOOP
    FOR o IN SELECT ARRAY[a, b, c] FROM generate_series(1, 3) a, generate_series(1, 3) b, generate_series(1, 3) c WHERE a <> b AND b <> c AND a <> c LOOP
      FOREACH w IN ARRAY ARRAY['update', 'row', 'row first', 'mixed'] LOOP
        IF w <> 'row first' THEN PERFORM pg_temp.buy(member); END IF;
        FOR i IN 1 .. n LOOP
          PERFORM pg_temp.act(member, o[i], CASE WHEN w = 'update' OR w = 'mixed' AND i = 2 THEN 'update' ELSE 'row' END);
        END LOOP;
        IF w = 'row first' THEN PERFORM pg_temp.buy(member); END IF;
        done := (SELECT array_agg(x ORDER BY x) FROM unnest(o[1:n]) x)::text;
        result := pg_temp.state(member);
        RETURN NEXT;
        member := member + 1;
      END LOOP;
    END LOOP;
  END LOOP;
END $$;
CREATE TABLE shop.run AS SELECT * FROM pg_temp.runs();
SELECT is((SELECT count(*) FROM shop.run), 48::bigint, 'three partial returns in all orders, as updates, as rows, as rows before the sale, mixed');
SELECT is((SELECT count(DISTINCT result) FROM shop.run WHERE done = '{1,2,3}'), 1::bigint, 'all three: one state to the last 1/10,000 point, whatever the order and the way');
SELECT is((SELECT max(n) FROM (SELECT count(DISTINCT result) AS n FROM shop.run GROUP BY done) r), 1::bigint, 'and so after any two of them');
SELECT is((SELECT count(DISTINCT done) FROM shop.run), 4::bigint, 'which are four different states');
SELECT is((SELECT DISTINCT regexp_replace(result, '.* spend', 'spend') FROM shop.run WHERE done = '{1,2,3}'), 'spend 0 earned 0', 'when all has gone back, nothing is left in the counters either');
SELECT is((SELECT sum(remaining) FROM loyalty.lot WHERE source_key::int IN (SELECT line FROM shop.back) AND kept_amount = 0), 0::numeric, 'nor in the lots');

-- which purchase
INSERT INTO shop.line VALUES (1, 1, 1, 100);
INSERT INTO shop.back VALUES (1, 1, 2, 30);
SELECT is(pg_temp.kept(1), 70::numeric, 'a return acts on the account of whoever bought, whoever brings the goods back');
SELECT is((SELECT count(*) FROM loyalty.account WHERE member_id = 2), 0::bigint, 'and nobody else is enrolled');
INSERT INTO shop.back VALUES (2, 1, NULL, -30);
SELECT is(pg_temp.kept(1), 40::numeric, 'positive or negative: the magnitude counts; a return need not name a member');
INSERT INTO shop.back VALUES (3, 1, 1, 1000);
SELECT is(pg_temp.kept(1), 0::numeric, 'more than there was counts as all');
DELETE FROM shop.back WHERE no = 2;
SELECT is(pg_temp.kept(1), 0::numeric, 'still as all, while the returns are more than the purchase');
UPDATE shop.back SET amount = 10 WHERE no = 3;
SELECT is(pg_temp.kept(1), 60::numeric, 'a return that is changed: what is kept is the amount less all of its returns');
DELETE FROM shop.back;
SELECT is(pg_temp.kept(1), 100::numeric, 'a return that is deleted is given back');
SELECT is(pg_temp.points(1), 18.5714, 'with all points: 100 / 7 * 1.3, down, once');

-- today's rules have no say
INSERT INTO shop.back VALUES (4, 1, 1, 50);
UPDATE loyalty.rule SET points = 'earn.amount * 100' WHERE name = 'seventh';
UPDATE loyalty.rule SET enabled = false WHERE name = 'short';
UPDATE shop.back SET amount = 75 WHERE no = 4;
SELECT is(pg_temp.points(1), 4.6428, 'rules changed since the sale change nothing: a quarter of what was awarded');
DELETE FROM shop.back;
SELECT is(pg_temp.points(1), 18.5714, 'nor when it comes back');
UPDATE loyalty.rule SET points = 'earn.amount / 7' WHERE name = 'seventh';
UPDATE loyalty.rule SET enabled = true WHERE name = 'short';

-- time, tier
INSERT INTO shop.line VALUES (2, 3, 1, 600, '2024-02-01');
INSERT INTO shop.back VALUES (5, 2, 3, 200, '2024-05-01');
SELECT is((SELECT at FROM loyalty.refund WHERE source_key = '5'), timestamptz '2024-05-01', 'a return row that is loaded later is worked at its own instant');
SELECT is((SELECT string_agg(reason || ' ' || at::date, ', ' ORDER BY at) FROM loyalty.tier_change WHERE member_id = 3), 'promotion 2024-02-01, return 2024-05-01', 'and the tier falls then');
SELECT is((SELECT spend_previous + spend FROM loyalty.account WHERE member_id = 3), 400::numeric, 'out of the period of the sale');

-- without a reference
INSERT INTO shop.line VALUES (10, 5, 1, 10, '2024-01-01'), (11, 5, 1, 20, '2024-02-01'), (12, 5, 1, 5, '2024-01-15'), (13, 5, 1, 8, '2024-02-01');
INSERT INTO shop.line VALUES (14, 5, -1, 15);
SELECT is((SELECT array_agg(pg_temp.kept(k) ORDER BY k) FROM generate_series(10, 13) k), '{10,13,5,0}', 'from the newest award; of equals from the one that came last');
INSERT INTO shop.line VALUES (15, 5, -1, 1000);
SELECT is((SELECT sum(amount) FILTER (WHERE of_key IS NULL) FROM loyalty.refund WHERE source_key = '15'), 972::numeric, 'what finds none is dropped');
INSERT INTO shop.line VALUES (16, 5, 1, 100);
SELECT is(pg_temp.kept(16), 100::numeric, 'for good: a later purchase does not pay for it');
DELETE FROM shop.line WHERE id = 14;
SELECT is((SELECT array_agg(pg_temp.kept(k) ORDER BY k) FROM generate_series(10, 13) k), '{0,7,0,8}', 'deleted, it gives back exactly what it took, where it took it');
INSERT INTO shop.line VALUES (14, 5, -1, 15);
SELECT is(pg_temp.kept(16), 85::numeric, 'written again, it takes from what is the newest by then');
UPDATE loyalty.program SET expiry = 'never';
INSERT INTO shop.line VALUES (17, 7, 1, 10, '2024-03-05');
INSERT INTO shop.line SELECT 1000 + i, 8, 1, 10, timestamptz '2024-01-01' + i * interval '1 day' FROM generate_series(1, 20) i;
SELECT count(*) FROM loyalty.merge_members(8, 7, 'double');
INSERT INTO shop.line VALUES (19, 8, -1, 10);
SELECT is(pg_temp.kept(17), 0::numeric, 'the newest is the newest also where two members were merged');
SELECT is_empty($$ SELECT * FROM loyalty.reconcile('shop.line') WHERE posted + missing + orphaned > 0 $$, 'a replay finds nothing to do');
SELECT throws_ok('TRUNCATE shop.back', 'LY013', NULL, 'TRUNCATE does not say which returns go, and is refused');
SELECT is_empty('SELECT * FROM loyalty.verify()', 'every invariant of the ledger holds');
SELECT * FROM finish();
ROLLBACK;
