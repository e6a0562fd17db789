-- Every way in which a row can come, change or go in an attached table, in one session: the ledger against an
-- independent computation from the table itself.  What needs several sessions or servers is in
-- test/t/010_trigger_paths.pl.  A path of which no trigger hears is here too: the check must find it.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT current_database() AS here \gset
CREATE DATABASE loyalty_test_paths;
\c loyalty_test_paths
SET client_min_messages = warning;
CREATE EXTENSION loyalty;
SELECT loyalty.install() > 0 AS installed;
CREATE SCHEMA shop;
SET search_path = shop;

-- One point per unit of total, twice as many where kind is x; rounded down, never expiring, so that what a purchase
-- has earned is what its lots hold.
INSERT INTO loyalty.program (name) VALUES ('p'), ('q');
CREATE FUNCTION attach(relation regclass, program text DEFAULT 'p', key text DEFAULT NULL, replicated boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM loyalty.attach(relation, program => program, member => 'who', amount => 'total', occurred_at => 'at', key => key, replicated => replicated);
  INSERT INTO loyalty.rule (program, source, name, points) SELECT s.program, s.name, s.name || ' one', 'earn.amount'
  FROM loyalty.source s WHERE s.relation = attach.relation AND s.program = attach.program;
  INSERT INTO loyalty.rule (program, source, name, points, condition) SELECT s.program, s.name, s.name || ' x', 'earn.amount', 'kind = ''x'''
  FROM loyalty.source s WHERE s.relation = attach.relation AND s.program = attach.program;
END $$;

-- What is there and what it must have earned, against the ledger.  Key: SQL over the row that gives the key's text.
CREATE FUNCTION ledger(relation regclass, program text) RETURNS TABLE (key text, who bigint, points numeric, remaining numeric, lots bigint)
LANGUAGE sql AS $$
  SELECT l.source_key, l.member_id, sum(l.points + coalesce(m.points, 0)) / 10000, sum(l.remaining) / 10000, count(*)
  FROM loyalty.source s JOIN loyalty.lot l ON l.source_id = s.id
  LEFT JOIN (SELECT v.member_id, v.program_id, v.lot_expires_at, v.lot_entry_no, sum(v.points) AS points FROM loyalty.movement v GROUP BY 1, 2, 3, 4) m
    ON (m.member_id, m.program_id, m.lot_expires_at, m.lot_entry_no) = (l.member_id, l.program_id, l.expires_at, l.entry_no)
  WHERE s.relation = ledger.relation AND s.program = ledger.program GROUP BY 1, 2
$$;
CREATE FUNCTION "check"(relation regclass, key text DEFAULT 'id', program text DEFAULT 'p') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  problems text;
  exact text;
BEGIN
  EXECUTE format($q$
    WITH sold AS (SELECT (%s)::text AS key, who::bigint AS who, floor(total * CASE WHEN kind = 'x' THEN 2 ELSE 1 END) AS points FROM %s WHERE who IS NOT NULL),
    found AS (
      SELECT format('%%s of member %%s: %%s instead of %%s', key, who, coalesce(l.points::int::text, 'nothing'), coalesce(s.points, 0)) AS problem
      FROM sold s FULL JOIN shop.ledger($1, $2) l USING (key, who)
      WHERE coalesce(s.points, 0) <> coalesce(l.points, 0) OR l.points <> l.remaining OR (s.key IS NOT NULL AND l.key IS NULL)
      UNION ALL
      SELECT format('balance of member %%s: %%s instead of %%s', a.member_id, a.available / 10000, h.remaining / 10000)
      FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id AND p.name = $2
      LEFT JOIN LATERAL (SELECT coalesce(sum(l.remaining), 0) AS remaining FROM loyalty.lot l WHERE (l.member_id, l.program_id) = (a.member_id, a.program_id)) h ON true
      WHERE a.available <> h.remaining OR a.pending <> 0 OR a.debt <> 0)
    SELECT (SELECT string_agg(problem, '; ' ORDER BY problem COLLATE "C") FROM found),
           (SELECT format('exact: %%s purchases, %%s points', count(*), coalesce(sum(points), 0)) FROM sold)
  $q$, key, relation) INTO problems, exact USING relation, program;
  RETURN coalesce(left(problems, 300), exact);
END $$;
CREATE FUNCTION awards(relation regclass, program text DEFAULT 'p') RETURNS bigint LANGUAGE sql AS
'SELECT sum(lots) FROM shop.ledger(relation, program)';

-- reconcile() posts all that was missed, and takes back what has no row.
CREATE PROCEDURE reconciled(relation regclass, key text DEFAULT 'id') LANGUAGE plpgsql AS $$
BEGIN
  IF shop."check"(relation, key) LIKE 'exact:%' THEN
    RAISE EXCEPTION 'nothing to reconcile in %', relation;
  END IF;
  PERFORM loyalty.reconcile(relation, take_back => true);
  IF shop."check"(relation, key) NOT LIKE 'exact:%' THEN
    RAISE EXCEPTION 'not all reconciled in %: %', relation, shop."check"(relation, key);
  END IF;
END $$;

CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, kind text, at timestamptz NOT NULL DEFAULT now());
SELECT attach('sale');

\echo ---- INSERT
INSERT INTO sale VALUES (1, 1, 10.9, 'x'), (2, 2, 20, NULL), (3, NULL, 30, 'x');
INSERT INTO sale SELECT g, g % 3 + 1, g, CASE WHEN g % 2 = 0 THEN 'x' END FROM generate_series(10, 19) g;
INSERT INTO sale VALUES (20, 1, 1, 'y') RETURNING id, total;
INSERT INTO sale SELECT 0, 1, 1 WHERE false;
CREATE VIEW sale_view AS SELECT id, who, total, kind, at FROM sale WHERE total > 0 WITH CHECK OPTION;
INSERT INTO sale_view VALUES (21, 2, 7, 'x');
INSERT INTO sale_view VALUES (22, 2, -7, 'x');
SELECT "check"('sale');

\echo ---- ON CONFLICT
INSERT INTO sale VALUES (1, 1, 99), (23, 3, 5), (1, 2, 99) ON CONFLICT DO NOTHING;
INSERT INTO sale VALUES (1, 1, 5), (24, 3, 6) ON CONFLICT (id) DO UPDATE SET total = excluded.total;
INSERT INTO sale VALUES (1, 2, 5) ON CONFLICT (id) DO UPDATE SET who = excluded.who;
INSERT INTO sale VALUES (1, 2, 50) ON CONFLICT (id) DO UPDATE SET total = 50 WHERE sale.total > 100;
INSERT INTO sale VALUES (1, 1, 1), (1, 1, 2) ON CONFLICT (id) DO UPDATE SET total = excluded.total;
SELECT "check"('sale');

\echo ---- UPDATE and DELETE, also through a view, also of the key and of the member
UPDATE sale SET total = total - 3 WHERE id BETWEEN 10 AND 12;
UPDATE sale SET total = total + 5 WHERE id IN (11, 13);
UPDATE sale SET who = 7 WHERE id = 14;
UPDATE sale SET id = 100 + id WHERE id BETWEEN 15 AND 16;
UPDATE sale SET id = 200 + id, who = 8 WHERE id = 17;
UPDATE sale SET who = NULL WHERE id = 18;
UPDATE sale SET who = 2 WHERE id = 3;
UPDATE sale_view SET total = 3 WHERE id = 21;
UPDATE sale SET at = at + interval '1 hour' WHERE id = 19;
DELETE FROM sale WHERE id IN (2, 20);
DELETE FROM sale_view WHERE id = 23;
SELECT "check"('sale');
-- two keys change places, in one statement and through a third
INSERT INTO sale VALUES (30, 5, 30), (31, 6, 31);
BEGIN;
UPDATE sale SET id = -id WHERE id IN (30, 31);
UPDATE sale SET id = CASE id WHEN -30 THEN 31 ELSE 30 END WHERE id < 0;
COMMIT;
SELECT "check"('sale');
-- the same row twice in one transaction, in one statement each; back to where it was
BEGIN;
UPDATE sale SET total = 5 WHERE id = 31;
UPDATE sale SET total = 25, who = 9 WHERE id = 31;
SELECT "check"('sale');
UPDATE sale SET total = 31, who = 6 WHERE id = 31;
COMMIT;
SELECT "check"('sale');
-- gone and back
DELETE FROM sale WHERE id = 31;
INSERT INTO sale VALUES (31, 6, 31);
SELECT "check"('sale');

\echo ---- MERGE
MERGE INTO sale s USING (VALUES (1, 4, 11), (24, 4, 12), (40, 4, 13), (41, 5, 14), (3, 1, 0)) v (id, who, total) ON s.id = v.id
WHEN MATCHED AND v.total = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET who = v.who, total = v.total
WHEN NOT MATCHED AND v.id = 41 THEN DO NOTHING
WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.who, v.total, 'x');
SELECT "check"('sale');

\echo ---- COPY
COPY sale (id, who, total, kind) FROM stdin;
50	1	50	x
51	2	51.5	\N
52	\N	52	x
\.
COPY sale (id, who, total, kind) FROM stdin WHERE total > 53;
53	1	53	x
54	2	54	\N
\.
COPY sale (id, who, total) FROM stdin;
55	1	55
55	1	55
\.
SELECT "check"('sale');
-- a line that is no row (17 and later; before, the same rows without it)
SELECT format('COPY sale (id, who, total) FROM PROGRAM %L', 'printf "56\t1\t56\n57\t2\t57\n"') AS copy_lines,
       format('COPY sale (id, who, total) FROM PROGRAM %L (ON_ERROR ignore)', 'printf "56\t1\t56\nnonsense\t1\t1\n57\t2\t57\n"') AS copy_ignoring,
       current_setting('server_version_num')::int >= 170000 AS can_ignore \gset
\if :can_ignore
\set copy_lines :copy_ignoring
\endif
SET client_min_messages = error;
:copy_lines;
SET client_min_messages = warning;
SELECT "check"('sale');
BEGIN;
CREATE TABLE frozen (LIKE sale INCLUDING ALL);
SELECT attach('frozen');
COPY frozen (id, who, total) FROM stdin (FREEZE);
1	1	5
2	1	6
\.
COMMIT;
SELECT "check"('frozen');

\echo ---- data-modifying CTEs
WITH a AS (INSERT INTO sale VALUES (60, 1, 60, 'x') RETURNING id), b AS (INSERT INTO sale VALUES (61, 2, 61, NULL), (62, 1, 62, 'x') RETURNING id)
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b);
WITH gone AS (DELETE FROM sale WHERE id IN (60, 61) RETURNING *), less AS (UPDATE sale SET total = 1 WHERE id = 62)
INSERT INTO sale SELECT id + 3, who, total, kind FROM gone;
SELECT "check"('sale');
-- insert and delete of one key: the deleted row still stands in the unique index, so it is another error or none
WITH gone AS (DELETE FROM sale WHERE id = 63 RETURNING *) INSERT INTO sale SELECT id, who + 1, total, kind FROM gone;
SELECT "check"('sale');
-- a row that moves between two attached tables
CREATE TABLE archive (LIKE sale INCLUDING ALL);
SELECT attach('archive');
WITH gone AS (DELETE FROM sale WHERE id IN (63, 64) RETURNING *) INSERT INTO archive SELECT * FROM gone;
SELECT "check"('sale'), "check"('archive');
-- a CTE that nobody reads is run to its end, also where PL/pgSQL asks for one row
DO $$ DECLARE v int; BEGIN
  WITH a AS (INSERT INTO shop.sale SELECT g, 1, g FROM generate_series(70, 74) g RETURNING id) SELECT id INTO v FROM a;
END $$;
-- INSERT … RETURNING INTO of several rows is stopped after the second: an error, caught, and nothing is left of it
DO $$ DECLARE v int; BEGIN
  INSERT INTO shop.sale SELECT g, 1, g FROM generate_series(75, 79) g RETURNING id INTO v;
EXCEPTION WHEN too_many_rows THEN NULL; END $$;
-- a cursor over INSERT … RETURNING that is left after one row has inserted them all
DO $$ DECLARE r record; BEGIN
  FOR r IN INSERT INTO shop.sale SELECT g, 1, g FROM generate_series(80, 84) g RETURNING id LOOP EXIT; END LOOP;
END $$;
CREATE FUNCTION first_of(a int, b int) RETURNS int LANGUAGE sql AS
'INSERT INTO shop.sale SELECT g, 2, g FROM generate_series(a, b) g RETURNING id';
SELECT first_of(85, 87), first_of(88, 89) LIMIT 1;
SELECT "check"('sale');

\echo ---- savepoints and EXCEPTION
BEGIN;
INSERT INTO sale VALUES (90, 1, 90);
SAVEPOINT a;
INSERT INTO sale VALUES (91, 1, 91);
UPDATE sale SET total = 9 WHERE id = 90;
SAVEPOINT b;
INSERT INTO sale VALUES (92, 2, 92);
RELEASE b;
DELETE FROM sale WHERE id = 50;
ROLLBACK TO a;
SAVEPOINT c;
INSERT INTO sale VALUES (93, 3, 93);
RELEASE c;
INSERT INTO sale VALUES (93, 3, 93);
ROLLBACK TO a;
SELECT "check"('sale');
INSERT INTO sale VALUES (94, 4, 94);
COMMIT;
SELECT "check"('sale');
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE;
END $$;
SELECT try('INSERT INTO shop.sale VALUES (95, 1, 95)'), try('INSERT INTO shop.sale VALUES (96, 1, 96), (95, 1, 1)'),
  try('INSERT INTO shop.sale VALUES (97, 2, ''NaN'')'), try('INSERT INTO shop.sale VALUES (98, 2, 98)');
SELECT "check"('sale');

\echo ---- nested statements
-- a trigger of the user's inserts into the same table (before and after), into another one, and fails in between
CREATE TABLE line (LIKE sale INCLUDING ALL);
SELECT attach('line');
CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.id < 1000 AND TG_ARGV[0] = 'same' THEN
    INSERT INTO shop.sale VALUES (NEW.id + 1000 + CASE TG_WHEN WHEN 'BEFORE' THEN 0 ELSE 1000 END, NEW.who, NEW.total + 1);
  ELSIF NEW.id < 1000 AND TG_ARGV[0] = 'other' THEN
    INSERT INTO shop.line VALUES (NEW.id, NEW.who, 1, 'x'), (NEW.id + 1000, NEW.who + 1, 2, NULL);
    UPDATE shop.line SET total = total + 1 WHERE id = NEW.id;
  ELSIF NEW.id < 1000 AND TG_ARGV[0] = 'fails' THEN
    BEGIN
      INSERT INTO shop.sale VALUES (NEW.id + 3000, NEW.who, 1);
      INSERT INTO shop.sale VALUES (NEW.id + 3000, NEW.who, 1);
    EXCEPTION WHEN unique_violation THEN
      INSERT INTO shop.sale VALUES (NEW.id + 4000, NEW.who, 4);
    END;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER a_before BEFORE INSERT ON sale FOR EACH ROW EXECUTE FUNCTION nest('same');
CREATE TRIGGER m_after AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION nest('same');
CREATE TRIGGER a_other BEFORE INSERT ON sale FOR EACH ROW EXECUTE FUNCTION nest('other');
CREATE TRIGGER z_fails AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION nest('fails');
CREATE TRIGGER b_fails BEFORE UPDATE ON sale FOR EACH ROW EXECUTE FUNCTION nest('fails');
INSERT INTO sale VALUES (110, 1, 110, 'x'), (111, 2, 111, NULL), (112, 1, 112, 'x');
SELECT "check"('sale'), "check"('line');
SELECT count(*) FROM sale WHERE id % 1000 BETWEEN 110 AND 112;
-- the outer statement fails after the nested ones have earned
SELECT try('INSERT INTO shop.sale VALUES (113, 1, 1), (114, 2, 2), (110, 1, 1)');
SELECT "check"('sale'), "check"('line');
-- an update whose row trigger inserts; rows that several statements of one query touch
SELECT try('UPDATE shop.sale SET total = total + 1 WHERE id IN (94, 95)');
SELECT "check"('sale'), "check"('line');
DROP TRIGGER a_before ON sale;
DROP TRIGGER m_after ON sale;
DROP TRIGGER a_other ON sale;
DROP TRIGGER z_fails ON sale;
DROP TRIGGER b_fails ON sale;
-- a function in the SELECT list that inserts into the same table, and that fails and recovers
CREATE FUNCTION sold(id int, who bigint) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO shop.sale VALUES (id, who, 3, 'x');
  INSERT INTO shop.line VALUES (id, who, 4, 'x');
  RETURN id;
END $$;
INSERT INTO sale SELECT sold(g, 3) + 100, g % 2, 7 FROM generate_series(5001, 5003) g;
INSERT INTO sale SELECT 5200 + g, 1, length(try(format('INSERT INTO shop.sale VALUES (%s, 1, 2)', 5200 + g % 2 * 10))) FROM generate_series(1, 4) g;
UPDATE sale SET total = total + 1 WHERE id BETWEEN 5101 AND 5103 AND sold(id + 200, who) > 0;
SELECT "check"('sale'), "check"('line');
-- a statement trigger of the user's that writes into the table after the level was opened, and after it was closed
CREATE FUNCTION nest_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() = 1 THEN
    INSERT INTO shop.sale SELECT max(id) + 1, 4, 4 FROM shop.sale;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER z_before BEFORE INSERT ON sale FOR EACH STATEMENT EXECUTE FUNCTION nest_statement();
CREATE TRIGGER a_after AFTER INSERT ON sale FOR EACH STATEMENT EXECUTE FUNCTION nest_statement();
CREATE TRIGGER z_after AFTER INSERT ON sale FOR EACH STATEMENT EXECUTE FUNCTION nest_statement();
INSERT INTO sale VALUES (130, 1, 130), (131, 2, 131);
SELECT "check"('sale');
DROP TRIGGER z_before ON sale;
DROP TRIGGER a_after ON sale;
DROP TRIGGER z_after ON sale;
-- a trigger that changes or drops the row before it is written
CREATE FUNCTION changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.total = 13 THEN RETURN NULL; END IF;
  NEW.total := NEW.total * 2; RETURN NEW;
END $$;
CREATE TRIGGER changes BEFORE INSERT OR UPDATE ON sale FOR EACH ROW EXECUTE FUNCTION changes();
INSERT INTO sale VALUES (140, 1, 13), (141, 1, 14);
UPDATE sale SET total = 20 WHERE id = 141;
UPDATE sale SET total = 13 WHERE id = 141;
SELECT "check"('sale');
DROP TRIGGER changes ON sale;
-- a rule of the rewriter
CREATE TABLE inbox (id int, who bigint, total numeric);
CREATE RULE redirected AS ON INSERT TO inbox DO INSTEAD INSERT INTO sale VALUES (NEW.id, NEW.who, NEW.total, 'x');
INSERT INTO inbox VALUES (145, 2, 9), (146, 3, 9);
SELECT "check"('sale');

\echo ---- foreign keys
CREATE TABLE customer (id bigint PRIMARY KEY);
CREATE TABLE owned (LIKE sale INCLUDING ALL, FOREIGN KEY (who) REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE);
SELECT attach('owned');
INSERT INTO customer SELECT generate_series(1, 9);
INSERT INTO owned SELECT g, g % 9 + 1, g FROM generate_series(1, 30) g;
DELETE FROM customer WHERE id IN (2, 3);
UPDATE customer SET id = id + 100 WHERE id IN (4, 5);
SELECT "check"('owned');
WITH gone AS (DELETE FROM customer WHERE id = 6), more AS (INSERT INTO owned VALUES (40, 7, 7)) DELETE FROM owned WHERE who = 8;
SELECT try('DELETE FROM shop.customer WHERE id / (id - 7) > 0');
SELECT "check"('owned');
CREATE TABLE tree (LIKE sale INCLUDING ALL, parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE);
SELECT attach('tree');
INSERT INTO tree SELECT g, g % 4 + 1, g, CASE WHEN g % 5 = 0 THEN 'x' END, now(), nullif(g / 2, 0) FROM generate_series(1, 31) g;
SELECT "check"('tree');
UPDATE tree SET id = 100 + id WHERE id IN (2, 3);
SELECT "check"('tree');
DELETE FROM tree WHERE id IN (102, 6);
SELECT "check"('tree'), count(*) FROM tree;
UPDATE tree SET total = total - 1;
DELETE FROM tree;
SELECT "check"('tree');
-- set null, and a check at commit
CREATE TABLE loose (LIKE sale INCLUDING ALL, FOREIGN KEY (who) REFERENCES customer ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
SELECT attach('loose');
BEGIN;
INSERT INTO loose VALUES (1, 900, 5), (2, 901, 6);
INSERT INTO customer VALUES (900), (901);
COMMIT;
DELETE FROM customer WHERE id = 901;
SELECT "check"('loose');
BEGIN;
INSERT INTO loose VALUES (3, 902, 5);
UPDATE loose SET total = 50 WHERE id = 1;
COMMIT;
SELECT "check"('loose');
-- a deferred trigger of the user's sells at commit; one of them fails there
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO shop.sale VALUES (NEW.id + 6000, NEW.who, NEW.total);
  PERFORM 1 / (NEW.id - 5);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON loose DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
BEGIN;
INSERT INTO loose VALUES (4, 900, 5), (6, 900, 7);
COMMIT;
BEGIN;
INSERT INTO loose VALUES (7, 900, 5), (5, 900, 7);
COMMIT;
SELECT "check"('loose'), "check"('sale');

\echo ---- partitions
CREATE TABLE part (id int, region text, who bigint, total numeric, kind text, at timestamptz NOT NULL DEFAULT now(),
  twice numeric GENERATED ALWAYS AS (total * 2) STORED, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_eu (junk int, kind text, twice numeric GENERATED ALWAYS AS (total * 2) STORED, at timestamptz NOT NULL DEFAULT now(), total numeric, gone text, who bigint,
  region text NOT NULL, id int NOT NULL);
ALTER TABLE part_eu DROP COLUMN junk, DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_eu FOR VALUES IN ('eu');
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us', 'ca') PARTITION BY RANGE (id);
CREATE TABLE part_us_low PARTITION OF part_us FOR VALUES FROM (1) TO (100);
SELECT attach('part');
-- one that comes after
CREATE TABLE part_us_high (at timestamptz NOT NULL DEFAULT now(), kind text, who bigint, dropped numeric, id int NOT NULL, total numeric, region text NOT NULL,
  twice numeric GENERATED ALWAYS AS (total * 2) STORED);
ALTER TABLE part_us_high DROP COLUMN dropped;
ALTER TABLE part_us ATTACH PARTITION part_us_high FOR VALUES FROM (100) TO (1000);
ALTER TABLE part DROP COLUMN twice;
ALTER TABLE part ADD COLUMN twice numeric GENERATED ALWAYS AS (total * 3) STORED;
SELECT loyalty.attach('part', program => 'q', member => 'who', amount => 'twice', occurred_at => 'at') > 0 AS by_generated_column;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('q', 'part', 'generated', 'earn.amount');
CREATE FUNCTION part_check() RETURNS text LANGUAGE sql AS $$ SELECT shop."check"('shop.part', $q$id || ',' || region$q$) $$;
INSERT INTO part (id, region, who, total, kind) SELECT g, (ARRAY['eu', 'us', 'ca'])[g % 3 + 1], g % 4 + 1, g, CASE WHEN g % 2 = 0 THEN 'x' END FROM generate_series(91, 110) g;
SELECT part_check();
COPY part (kind, total, who, region, id) FROM stdin;
x	5	1	eu	1
\N	6	2	us	2
x	7	3	ca	500
\.
UPDATE part SET total = total - 2 WHERE id % 5 = 0;
DELETE FROM part WHERE id % 7 = 0;
SELECT part_check();
-- moves: between leaves, between levels, with the member, with the amount
UPDATE part SET region = 'us' WHERE region = 'eu' AND id = 1;
UPDATE part SET region = 'eu', who = who + 10 WHERE region = 'ca' AND id > 100;
UPDATE part SET id = id + 300 WHERE region = 'us' AND id BETWEEN 92 AND 99;
UPDATE part SET region = CASE region WHEN 'eu' THEN 'ca' WHEN 'us' THEN 'eu' ELSE region END, total = total + 1 WHERE id > 90;
SELECT part_check();
MERGE INTO part p USING (SELECT * FROM part) v ON (p.id, p.region) = (v.id, v.region)
WHEN MATCHED AND v.id % 4 = 0 THEN DELETE
WHEN MATCHED AND v.region = 'eu' THEN UPDATE SET region = 'us', who = v.who + 1
WHEN MATCHED AND v.id % 3 = 0 THEN UPDATE SET region = 'eu'
WHEN MATCHED THEN UPDATE SET total = v.total + 2;
SELECT part_check();
MERGE INTO part p USING (VALUES (600, 'us'), (601, 'eu')) v (id, region) ON p.id = v.id
WHEN NOT MATCHED THEN INSERT (id, region, who, total, kind) VALUES (v.id, v.region, 1, 60, 'x');
INSERT INTO part (id, region, who, total) VALUES (600, 'us', 2, 6), (602, 'ca', 2, 8) ON CONFLICT (id, region) DO UPDATE SET total = excluded.total;
SELECT part_check();
-- straight on a leaf, and on a level between
INSERT INTO part_eu (id, region, who, total, kind) VALUES (700, 'eu', 1, 70, 'x'), (701, 'eu', 2, 71, NULL);
INSERT INTO part_us (id, region, who, total, kind) VALUES (702, 'us', 1, 72, 'x'), (50, 'ca', 1, 9, 'x');
COPY part_us_high (id, region, who, total, kind) FROM stdin;
703	us	1	73	x
704	ca	2	74	\N
\.
UPDATE part_eu SET total = total - 10, who = 3 WHERE id = 700;
UPDATE part_us SET id = 720 WHERE id = 50;
DELETE FROM part_us_high WHERE id = 704;
SELECT part_check();
-- a trigger on the root's rows that writes straight into a leaf; a statement on a leaf that writes into the root
CREATE FUNCTION into_leaf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO shop.part_eu (id, region, who, total) VALUES (NEW.id + 1000, 'eu', NEW.who, 1); RETURN NEW;
END $$;
CREATE TRIGGER into_leaf BEFORE INSERT ON part_us_high FOR EACH ROW EXECUTE FUNCTION into_leaf();
INSERT INTO part (id, region, who, total) VALUES (750, 'us', 1, 5), (751, 'ca', 2, 6);
INSERT INTO part_us_high (id, region, who, total) VALUES (752, 'us', 1, 5), (753, 'ca', 2, 6);
DROP TRIGGER into_leaf ON part_us_high;
SELECT part_check();
SELECT (SELECT sum(remaining) FROM ledger('part', 'q')) = (SELECT sum(floor(twice)) FROM part) AS generated_column_too;
-- every purchase that is there has one live award
SELECT count(*) FILTER (WHERE points > 0) = (SELECT count(*) FROM part WHERE floor(total) > 0 OR kind = 'x') AS one_award_each FROM ledger('part', 'p');

\echo ---- what no trigger hears of: the check says what is missing, and reconcile() finds it
CREATE TABLE part_as (LIKE part INCLUDING ALL);
INSERT INTO part_as (id, region, who, total) VALUES (800, 'as', 1, 80);
ALTER TABLE part ATTACH PARTITION part_as FOR VALUES IN ('as');
SELECT part_check();
-- from now on it earns
INSERT INTO part (id, region, who, total) VALUES (801, 'as', 1, 81);
INSERT INTO part_as (id, region, who, total) VALUES (802, 'as', 1, 82);
SELECT part_check();
ALTER TABLE part DETACH PARTITION part_as;
INSERT INTO part_as (id, region, who, total) VALUES (803, 'as', 1, 83);
SELECT part_check();
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgrelid = 'part_as'::regclass AND tgname LIKE 'loyalty%';
ALTER TABLE part ATTACH PARTITION part_as FOR VALUES IN ('as');
TRUNCATE part_as;
TRUNCATE part;
SELECT part_check();
DROP TABLE part_as;
SELECT part_check();
BEGIN;
CALL reconciled('part', $q$id || ',' || region$q$);
ROLLBACK;
CREATE TABLE clone (LIKE line INCLUDING ALL);
INSERT INTO clone SELECT id + 9000, who, total FROM line LIMIT 3;
SELECT count(*) AS of_the_clone FROM ledger('line', 'p') WHERE key::int > 9000;
SET session_replication_role = replica;
INSERT INTO line VALUES (7001, 1, 1);
UPDATE line SET total = total + 1 WHERE id = 110;
DELETE FROM line WHERE id = 111;
RESET session_replication_role;
ALTER TABLE line DISABLE TRIGGER loyalty_row;
INSERT INTO line VALUES (7002, 1, 1);
ALTER TABLE line ENABLE TRIGGER loyalty_row;
ALTER TABLE line DISABLE TRIGGER USER;
INSERT INTO line VALUES (7003, 1, 1);
ALTER TABLE line ENABLE TRIGGER USER;
INSERT INTO line VALUES (7004, 1, 1);
SELECT "check"('line');
CALL reconciled('line');
-- with replicated => true the triggers fire there too
CREATE TABLE subscribed (LIKE sale INCLUDING ALL);
SELECT attach('subscribed', replicated => true);
SET session_replication_role = replica;
INSERT INTO subscribed VALUES (1, 1, 1), (2, 2, 2);
UPDATE subscribed SET total = 5 WHERE id = 1;
DELETE FROM subscribed WHERE id = 2;
RESET session_replication_role;
SELECT "check"('subscribed');
TRUNCATE sale;
TRUNCATE customer CASCADE;

\echo ---- keys of all kinds, two programs
CREATE TABLE two (LIKE sale INCLUDING ALL);
SELECT attach('two');
SELECT attach('two', program => 'q');
INSERT INTO two VALUES (1, 1, 1), (2, 2, 2);
UPDATE two SET who = 3 WHERE id = 2;
DELETE FROM two WHERE id = 1;
SELECT "check"('two'), "check"('two', program => 'q');
CREATE TABLE keys (u uuid, t text, z timestamptz, l timestamp, d date, n numeric, b bytea, i interval, bo boolean, v varchar,
  who bigint, total numeric, kind text, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (u, t, z, l, d, n, b, i, bo, v));
SELECT attach('keys');
INSERT INTO keys VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a,b\c', '2026-01-02 03:04:05+03', '2026-01-02 03:04:05', '2026-01-02', 1.50, '\x00ff', '1 day 02:03', true, 'v', 1, 10);
SELECT key FROM ledger('keys', 'p');
\echo ---- a role that has rights on its own table alone
CREATE ROLE loyalty_test_clerk;
GRANT USAGE ON SCHEMA shop TO loyalty_test_clerk;
GRANT SELECT, INSERT, UPDATE, DELETE ON sale TO loyalty_test_clerk;
SELECT has_schema_privilege('loyalty_test_clerk', 'loyalty', 'USAGE') AS sees_the_schema;
SET ROLE loyalty_test_clerk;
INSERT INTO shop.sale VALUES (8001, 1, 1), (8002, 2, 2);
UPDATE shop.sale SET total = 5 WHERE id = 8001;
DELETE FROM shop.sale WHERE id = 8002;
SET loyalty.restoring = on;
SET loyalty.archiving = on;
SET loyalty.allow_drop = on;
INSERT INTO shop.sale VALUES (8003, 1, 3);
DELETE FROM shop.sale WHERE id = 8003;
INSERT INTO shop.sale VALUES (8004, 1, 4);
RESET loyalty.restoring;
RESET loyalty.archiving;
RESET loyalty.allow_drop;
RESET ROLE;
SELECT "check"('sale');
-- the ledger's owner's settings do count
BEGIN;
SET LOCAL loyalty.restoring = on;
INSERT INTO sale VALUES (8005, 1, 1);
SET LOCAL loyalty.restoring = off;
SET LOCAL loyalty.archiving = on;
DELETE FROM sale WHERE id = 8004;
SELECT "check"('sale');
ROLLBACK;
DROP OWNED BY loyalty_test_clerk;
DROP ROLE loyalty_test_clerk;

\echo ---- statements larger than memory, and loads that come again
-- one statement that spills, one that does not, and row by row: the same lots
CREATE TABLE big1 (LIKE sale INCLUDING ALL);
CREATE TABLE big2 (LIKE sale INCLUDING ALL);
CREATE TABLE big3 (LIKE sale INCLUDING ALL);
SELECT attach('big1'), attach('big2'), attach('big3');
CREATE TABLE history AS SELECT g AS id, (g * 7919::bigint) % 97 + 1000 AS who, (g % 1000)::numeric / 7 AS total, CASE WHEN g % 3 = 0 THEN 'x' ELSE repeat('y', g % 40) END AS kind,
  timestamptz '2026-01-01 00:00+00' + g * interval '1 minute' AS at FROM generate_series(1, 5000) g;
CREATE UNIQUE INDEX ON history (id);
SET work_mem = '64kB';
INSERT INTO big1 SELECT * FROM history;
RESET work_mem;
INSERT INTO big2 SELECT * FROM history;
DO $$ DECLARE n int; BEGIN FOR n IN SELECT id FROM shop.history ORDER BY id LOOP INSERT INTO shop.big3 SELECT * FROM shop.history WHERE id = n; END LOOP; END $$;
CREATE FUNCTION differ(a regclass, b regclass) RETURNS bigint LANGUAGE sql AS $$
  WITH x AS (SELECT s.relation, l.source_key, l.member_id, l.part, l.points, l.remaining, l.amount, l.kept_amount, l.earned_at, l.available_at, l.expires_at
             FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id)
  SELECT count(*) FROM (SELECT to_jsonb(x) - 'relation' AS lot FROM x WHERE relation = a) p
  FULL JOIN (SELECT to_jsonb(x) - 'relation' AS lot FROM x WHERE relation = b) q USING (lot) WHERE p IS NULL OR q IS NULL $$;
SELECT "check"('big1'), differ('big1', 'big2') AS spilled, differ('big2', 'big3') AS row_by_row, awards('big1') AS awards;
SELECT bool_and(remaining >= 0) AND count(*) = 5000 AS whole FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id AND s.name = 'big1';
-- changes that spill
SET work_mem = '64kB';
UPDATE big1 SET total = total / 2, who = CASE WHEN id % 10 = 0 THEN who + 1 ELSE who END;
RESET work_mem;
UPDATE big2 SET total = total / 2, who = CASE WHEN id % 10 = 0 THEN who + 1 ELSE who END;
SELECT "check"('big1'), "check"('big2'), differ('big1', 'big2') AS spilled;
-- all gone and loaded again: every purchase has its own award back
DELETE FROM big2;
SELECT "check"('big2');
INSERT INTO big2 SELECT * FROM history;
SELECT "check"('big2');
-- 3,001 rows of which one in the middle has earned before: the hope is undone, and nothing is doubled
INSERT INTO big2 SELECT 6501, 1050, 9, 'x', now();
DELETE FROM big2 WHERE id = 6501;
SELECT awards('big2') AS before \gset
INSERT INTO big2 SELECT g, 1000 + g % 97, g % 13, NULL, now() FROM generate_series(5001, 8001) g;
SELECT "check"('big2'), awards('big2') - :before AS more;
SELECT who, points::int, lots FROM ledger('big2', 'p') WHERE key = '6501' ORDER BY who;
-- the same with the member of before
INSERT INTO big2 SELECT 9000, 1050, 9, 'x', now();
DELETE FROM big2 WHERE id = 9000;
INSERT INTO big2 SELECT g, 1050, g % 13, CASE WHEN g % 5 = 0 THEN 'x' END, now() FROM generate_series(8500, 11500) g;
SELECT "check"('big2');
-- a table that is emptied behind the ledger's back and loaded from its file again
BEGIN;
SET LOCAL loyalty.restoring = on;
TRUNCATE big3;
COMMIT;
INSERT INTO big3 SELECT * FROM history;
SELECT "check"('big3'), awards('big3') AS awards;
-- a load that fails in the middle leaves nothing, also when the failure is a rule's after 2,000 good rows
SELECT try('INSERT INTO shop.big3 SELECT g, 1, CASE WHEN g = 8900 THEN ''NaN''::numeric ELSE 1 END, NULL, now() FROM generate_series(6000, 9000) g');
SELECT "check"('big3'), awards('big3') AS awards;

-- the ledger's own check is of the same opinion
SELECT * FROM loyalty.verify();

\echo ---- the control: triggers with transition tables, on the same paths
CREATE TABLE naive (id int, region text, points numeric);
CREATE FUNCTION naive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'INSERT' THEN INSERT INTO shop.naive SELECT id, region, floor(total * CASE WHEN kind = 'x' THEN 2 ELSE 1 END) FROM new_rows WHERE who IS NOT NULL;
  ELSE INSERT INTO shop.naive SELECT id, region, -floor(total * CASE WHEN kind = 'x' THEN 2 ELSE 1 END) FROM old_rows WHERE who IS NOT NULL;
    IF TG_OP = 'UPDATE' THEN INSERT INTO shop.naive SELECT id, region, floor(total * CASE WHEN kind = 'x' THEN 2 ELSE 1 END) FROM new_rows WHERE who IS NOT NULL; END IF;
  END IF; RETURN NULL; END $$;
CREATE TRIGGER naive_i AFTER INSERT ON part REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION naive();
CREATE TRIGGER naive_u AFTER UPDATE ON part REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION naive();
CREATE TRIGGER naive_d AFTER DELETE ON part REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION naive();
DELETE FROM part;
TRUNCATE naive;
CREATE FUNCTION control() RETURNS text LANGUAGE sql AS $$
  SELECT format('%s in the table, naive ledger %s, ', sum(floor(total * CASE WHEN kind = 'x' THEN 2 ELSE 1 END)), (SELECT sum(points) FROM shop.naive)) || shop.part_check() FROM shop.part $$;
INSERT INTO part (id, region, who, total) VALUES (901, 'eu', 1, 10), (902, 'us', 1, 20);
SELECT control();
INSERT INTO part_eu (id, region, who, total) VALUES (903, 'eu', 1, 30);
SELECT control();
TRUNCATE naive;
INSERT INTO naive SELECT id, region, total FROM part;
MERGE INTO part p USING (VALUES (901)) v (id) ON p.id = v.id WHEN MATCHED THEN UPDATE SET region = 'us', total = 5;
SELECT control();

\c :here
DROP DATABASE loyalty_test_paths;
