-- A trigger of the user's changes the very row that is on its way into the ledger: what is earned is what the row says
-- in the end, whichever trigger comes first.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_own_row;
\c loyalty_test_own_row
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
CREATE SCHEMA shop;
SET search_path = shop;
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total int, at timestamptz NOT NULL DEFAULT now());
INSERT INTO loyalty.program (name) VALUES ('p');
SELECT loyalty.attach('sale', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one', 'earn.amount');
CREATE VIEW wrong AS
SELECT id, who, s.total, l.points FROM sale s
FULL JOIN (SELECT source_key::int AS id, member_id AS who, sum(remaining) / 10000 AS points FROM loyalty.lot GROUP BY 1, 2) l USING (id, who)
WHERE coalesce(s.total, 0) <> coalesce(l.points, 0) ORDER BY 1, 2;
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() = 1 THEN
    EXECUTE TG_ARGV[0] USING NEW.id;
  END IF;
  RETURN NULL;
END $$;
-- name of the trigger, so before and after ours; event; what it does
CREATE PROCEDURE try(event text, level text, what text, statement text) LANGUAGE plpgsql AS $$
DECLARE
  w record;
  prefix text;
BEGIN
  FOREACH prefix IN ARRAY '{a, z}'::text[] LOOP
    DELETE FROM shop.sale;
    INSERT INTO shop.sale VALUES (1, 1, 10), (2, 2, 20), (3, 3, 30);
    EXECUTE format('CREATE TRIGGER %I AFTER %s ON shop.sale FOR EACH %s EXECUTE FUNCTION shop.change(%L)', prefix, event, level, what);
    EXECUTE statement;
    EXECUTE format('DROP TRIGGER %I ON shop.sale', prefix);
    FOR w IN SELECT * FROM shop.wrong LOOP
      RAISE INFO '% % trigger % (%), then %: purchase % of member % is %, and holds %', event, level, prefix, what, statement, w.id, w.who, w.total, w.points::int;
    END LOOP;
  END LOOP;
END $$;
CALL try('INSERT', 'ROW', 'UPDATE shop.sale SET total = total / 2 WHERE id = $1', 'INSERT INTO shop.sale VALUES (11, 1, 10), (12, 2, 20)');
CALL try('INSERT', 'ROW', 'UPDATE shop.sale SET total = total * 2 WHERE id = $1', 'INSERT INTO shop.sale VALUES (21, 1, 10), (22, 2, 20)');
CALL try('INSERT', 'ROW', 'UPDATE shop.sale SET who = who + 5 WHERE id = $1', 'INSERT INTO shop.sale VALUES (31, 1, 10), (32, 2, 20)');
CALL try('INSERT', 'ROW', 'UPDATE shop.sale SET id = id + 1000 WHERE id = $1', 'INSERT INTO shop.sale VALUES (41, 1, 10), (42, 2, 20)');
CALL try('INSERT', 'ROW', 'DELETE FROM shop.sale WHERE id = $1', 'INSERT INTO shop.sale VALUES (51, 1, 10), (52, 2, 20)');
CALL try('INSERT', 'ROW', 'UPDATE shop.sale SET total = total + 1', 'INSERT INTO shop.sale VALUES (61, 1, 10), (62, 2, 20), (63, 1, 5)');
CALL try('UPDATE', 'ROW', 'UPDATE shop.sale SET total = total / 2 WHERE id = $1', 'UPDATE shop.sale SET total = total + 4');
CALL try('UPDATE', 'ROW', 'UPDATE shop.sale SET who = 7 WHERE id = $1', 'UPDATE shop.sale SET total = total + 4');
CALL try('UPDATE', 'ROW', 'UPDATE shop.sale SET who = id WHERE id = $1', 'UPDATE shop.sale SET who = who + 1');
CALL try('UPDATE', 'ROW', 'DELETE FROM shop.sale WHERE id = $1', 'UPDATE shop.sale SET total = total + 4');
CALL try('UPDATE', 'ROW', 'UPDATE shop.sale SET id = id - 70 WHERE id = $1 AND id > 70', 'UPDATE shop.sale SET id = id + 70');
CALL try('INSERT', 'STATEMENT', 'UPDATE shop.sale SET total = total / 2', 'INSERT INTO shop.sale VALUES (71, 1, 10), (72, 2, 20)');
CALL try('UPDATE', 'STATEMENT', 'UPDATE shop.sale SET total = total / 2, who = who + 1', 'UPDATE shop.sale SET total = total + 4');
CALL try('INSERT', 'STATEMENT', 'DELETE FROM shop.sale WHERE id > 3', 'INSERT INTO shop.sale VALUES (81, 1, 10), (82, 2, 20)');
SELECT * FROM wrong;
SELECT * FROM loyalty.verify();
SELECT * FROM loyalty.reconcile('sale');

\c :here
DROP DATABASE loyalty_test_own_row;
