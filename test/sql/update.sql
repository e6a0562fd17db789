-- Which updates of an attached table are seen: all that change a column of a mapping, byte for byte, and no others.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

\set ON_ERROR_ROLLBACK on
BEGIN;
CREATE SCHEMA update_test;
SET LOCAL search_path = update_test, public;
INSERT INTO loyalty.program (name) VALUES ('u'), ('v');

-- how many rows of a statement the row triggers saw
CREATE FUNCTION seen(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  line text;
  calls bigint := 0;
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || statement LOOP
    calls := calls + coalesce(substring(line FROM 'Trigger loyalty_row.*calls=(\d+)')::bigint, 0);
  END LOOP;
  RETURN calls;
END $$;
CREATE FUNCTION watched(relation regclass) RETURNS text LANGUAGE sql
AS $$ SELECT coalesce(substring(pg_get_triggerdef(oid) FROM 'WHEN \((.*)\) EXECUTE'), 'always') || coalesce(nullif(' ' || tgenabled::text, ' O'), '')
      FROM pg_trigger WHERE tgrelid = relation AND tgname = 'loyalty_row_update' $$;
CREATE FUNCTION findings() RETURNS SETOF text LANGUAGE sql
AS $$ SELECT format('%s %s %s', invariant, program, detail) FROM loyalty.verify() v WHERE v.program IN ('u', 'v') ORDER BY 1 $$;
CREATE FUNCTION points(program text, key text) RETURNS numeric LANGUAGE sql
AS $$ SELECT sum(l.points + coalesce((SELECT sum(m.points) FROM loyalty.movement m WHERE m.member_id = l.member_id AND m.program_id = l.program_id
                                      AND m.lot_expires_at = l.expires_at AND m.lot_entry_no = l.entry_no), 0)) / 10000
      FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id WHERE s.program = points.program AND l.source_key = points.key $$;

-- ---- what is asked, and what is then seen ----
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE TABLE sale (id bigint PRIMARY KEY, who bigint, total numeric(12,2), state state, at timestamptz DEFAULT now(), note text, "Odd ""name" varchar(20));
SELECT loyalty.attach('sale', 'u', member => 'who', amount => 'total', occurred_at => 'at', condition => $$state = 'paid'$$) > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('u', 'sale', 'one', 'earn.amount');
INSERT INTO sale SELECT i, i, 10, 'paid' FROM generate_series(1, 4) i;
SELECT watched('sale');
SELECT seen($$UPDATE sale SET note = 'x', at = at - interval '1 day'$$) AS not_mapped,
       seen($$UPDATE sale SET id = id, who = who, total = total, state = state$$) AS the_same,
       seen($$UPDATE sale SET total = 7 WHERE id < 3$$) AS amounts,
       seen($$UPDATE sale SET who = NULL WHERE id = 3$$) AS to_null, seen($$UPDATE sale SET who = 3 WHERE id = 3$$) AS from_null,
       seen($$UPDATE sale SET state = 'open', note = 'y' WHERE id = 4$$) AS conditions;
SELECT id, points('u', id::text) FROM sale ORDER BY id;
-- what a trigger in front of ours changes is seen, whatever the statement says
CREATE FUNCTION halve() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := NEW.total - 3; RETURN NEW; END $$;
CREATE TRIGGER halve BEFORE UPDATE ON sale FOR EACH ROW WHEN (NEW.note = 'three less') EXECUTE FUNCTION halve();
SELECT seen($$UPDATE sale SET note = 'three less' WHERE id = 1$$) AS by_trigger, points('u', '1');
INSERT INTO sale VALUES (1, 1, 2, 'paid') ON CONFLICT (id) DO UPDATE SET total = excluded.total, note = NULL;
MERGE INTO sale s USING (VALUES (2, 'z'), (5, 'z')) v (id, note) ON s.id = v.id
  WHEN MATCHED THEN UPDATE SET note = v.note, total = 5
  WHEN NOT MATCHED THEN INSERT (id, who, total, state) VALUES (v.id, 5, 8, 'paid');
SELECT id, points('u', id::text) FROM sale ORDER BY id;
SELECT * FROM findings();

-- ---- mappings change, and programs share the table ----
UPDATE loyalty.source SET member = '"Odd ""name"', condition = NULL WHERE program = 'u';
SELECT watched('sale');
SELECT loyalty.attach('sale', 'v', member => 'who', amount => 'total', occurred_at => 'at', refund_of => 'nullif(length(note), 0)') > 0 AS attached;
SELECT watched('sale');
SELECT seen($$UPDATE sale SET note = note || '' WHERE note IS NOT NULL$$) AS the_same;
UPDATE loyalty.source SET condition = 'source IS NOT NULL' WHERE program = 'v';
SELECT watched('sale') AS whole_row, seen($$UPDATE sale SET note = note WHERE id = 5$$);
SELECT loyalty.detach('sale', 'v');
SELECT watched('sale');
-- one that is stopped is watched all the same, and whoever stops it need not be the owner of the table
CREATE ROLE loyalty_test_stops;
SELECT loyalty.grant_access('loyalty_test_stops', 'admin');
SET LOCAL ROLE loyalty_test_stops;
UPDATE loyalty.source SET enabled = false WHERE program = 'u';
UPDATE loyalty.source SET amount = '2' WHERE program = 'u';
\echo :LAST_ERROR_SQLSTATE
UPDATE loyalty.source SET enabled = true WHERE program = 'u';
RESET ROLE;
SELECT watched('sale');
-- what somebody disabled stays so, what fires for replication, too
ALTER TABLE sale DISABLE TRIGGER loyalty_row_update;
UPDATE loyalty.source SET member = 'who' WHERE program = 'u';
SELECT watched('sale');
ALTER TABLE sale ENABLE ALWAYS TRIGGER loyalty_row_update;
UPDATE loyalty.source SET amount = 'total * 1.5' WHERE program = 'u';
UPDATE loyalty.source SET condition = $$state = 'paid'$$ WHERE program = 'u';
SELECT watched('sale');
SELECT * FROM findings();
SELECT loyalty.attach_triggers('sale');
SELECT watched('sale');
-- a column that is renamed is still watched; the mapping is told, and nothing else changes
ALTER TABLE sale RENAME COLUMN total TO gross;
SELECT watched('sale');
UPDATE loyalty.source SET amount = 'gross' WHERE program = 'u';
SELECT watched('sale');
SELECT * FROM findings();

-- ---- a trigger that was changed ----
CREATE OR REPLACE TRIGGER loyalty_row_update AFTER UPDATE ON sale FOR EACH ROW WHEN (old.who IS DISTINCT FROM new.who) EXECUTE FUNCTION loyalty.source_row();
SELECT * FROM findings();
SELECT loyalty.attach_triggers('sale');
CREATE OR REPLACE TRIGGER loyalty_row AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION loyalty.source_row();
SELECT * FROM findings();
SELECT loyalty.attach_triggers('sale');
DROP TRIGGER loyalty_row_update ON sale;
SELECT value, hint FROM loyalty.status() WHERE item = 'source sale of u';
\set VERBOSITY default
UPDATE sale SET note = 'x';
\set VERBOSITY terse
\echo :LAST_ERROR_SQLSTATE
SELECT loyalty.attach_triggers('sale');
SELECT * FROM findings();

-- a column of the mapping gets another type: neither by the way nor for ever not
ALTER TABLE sale ALTER COLUMN gross TYPE numeric(14,4) USING gross * 2;
ALTER TABLE sale DROP COLUMN gross;
DROP TRIGGER loyalty_row_update ON sale;
ALTER TABLE sale ALTER COLUMN gross TYPE numeric(14,4) USING gross * 2;
SELECT loyalty.attach_triggers('sale');
SELECT * FROM loyalty.reconcile('sale');
SELECT id, points('u', id::text) = gross * (state = 'paid')::int AS follows FROM sale ORDER BY id;
SELECT * FROM findings();

-- ---- values that are equal and not the same ----
CREATE DOMAIN money_of AS numeric;
CREATE TABLE odd (a numeric NOT NULL, b jsonb NOT NULL, i interval NOT NULL, c char(5) NOT NULL, d money_of NOT NULL, t text, doubled numeric GENERATED ALWAYS AS (a * 2) STORED, UNIQUE (a));
SELECT loyalty.attach('odd', 'u', member => '1', amount => 'doubled', occurred_at => $$timestamptz '2024-01-01'$$, condition => $$c IS NOT NULL AND d > 0 AND b::text <> i::text$$, key => 'a') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('u', 'odd', 'odd one', 'earn.amount');
INSERT INTO odd VALUES (1.0, '{"a": 1.0}', '1 day', 'x', 1.0);
SELECT watched('odd');
SELECT seen('UPDATE odd SET a = a, b = b, i = i, c = c, d = d') AS the_same, seen($$UPDATE odd SET t = 'x'$$) AS not_mapped,
       seen('UPDATE odd SET a = 1.00') AS numeric, seen($$UPDATE odd SET b = '{"a": 1.00}'$$) AS jsonb, seen($$UPDATE odd SET i = '24 hours'$$) AS interval,
       seen('UPDATE odd SET d = 1.000') AS domain;
SELECT source_key, sum(remaining) / 10000 AS remaining FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id WHERE s.name = 'odd' GROUP BY 1 ORDER BY 1;
SELECT * FROM findings();

-- ---- partitions, whose columns stand elsewhere ----
CREATE TABLE part (id bigint NOT NULL, region text NOT NULL, who bigint, total numeric(12,2), note text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE part_a (note text, gone int, total numeric(12,2), who bigint, region text NOT NULL, id bigint NOT NULL);
ALTER TABLE part_a DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_a FOR VALUES IN ('a');
CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b') PARTITION BY RANGE (id);
CREATE TABLE part_b_1 PARTITION OF part_b FOR VALUES FROM (0) TO (100);
SELECT loyalty.attach('part', 'u', member => 'who', amount => 'total', occurred_at => $$timestamptz '2024-01-01'$$, key => 'region, id') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('u', 'part', 'part one', 'earn.amount');
INSERT INTO part VALUES (1, 'a', 1, 10), (2, 'b', 1, 20), (3, 'b', 2, 30);
SELECT seen($$UPDATE part SET note = 'x'$$) AS not_mapped, seen($$UPDATE part_a SET note = 'y'$$) AS leaf, seen($$UPDATE part SET total = total + 1$$) AS amounts,
       seen($$UPDATE part_b_1 SET total = total + 1$$) AS leaf_amounts, seen($$UPDATE part SET region = 'a' WHERE id = 3$$) AS moved;
UPDATE loyalty.source SET amount = 'length(note)' WHERE program = 'u' AND name = 'part';
SELECT c.relname, watched(c.oid) FROM pg_class c WHERE c.relname LIKE 'part%' AND c.relkind IN ('r', 'p') AND c.relnamespace = 'update_test'::regnamespace ORDER BY 1;
CREATE TABLE part_c PARTITION OF part FOR VALUES IN ('c');
SELECT watched('part_c');
SELECT seen($$UPDATE part SET total = 0$$) AS not_mapped, seen($$UPDATE part SET note = 'yyy' WHERE region = 'a'$$) AS amounts;
SELECT source_key, sum(remaining) / 10000 AS remaining FROM loyalty.lot l JOIN loyalty.source s ON s.id = l.source_id WHERE s.name = 'part' GROUP BY 1 ORDER BY 1;
SELECT * FROM findings();
SELECT loyalty.detach('part', 'u');
SELECT count(*) AS triggers_left FROM pg_trigger WHERE tgrelid = ANY (ARRAY['part', 'part_a', 'part_b', 'part_b_1', 'part_c']::regclass[]) AND NOT tgisinternal;

-- ---- names ----
SELECT loyalty.columns_named(e, 'sale') AS columns, e FROM unnest(ARRAY['1', 'gross', 'source.gross + id', 'coalesce(note, state::text)', 'length("Odd ""name")', 'source', 'source.*::text',
  'ctid', 'nosuch', 'CASE WHEN gross > 0 THEN who ELSE (ARRAY[id, who])[1] END', '(source).note', 'note(source)', 'earn.amount']) e;
SELECT loyalty.columns_named('a, b', 'sale');
SELECT loyalty.columns_named('(SELECT 1)', 'sale');
ROLLBACK;
