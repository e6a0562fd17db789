-- Keys of a statement's rows: many at once are looked for by a walk along the index, wherever they lie.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;

BEGIN;
CREATE SCHEMA key_test;
SET LOCAL search_path = key_test;
CREATE TABLE sale (id text PRIMARY KEY, member_id bigint, total numeric, at timestamptz);
INSERT INTO loyalty.program (name) VALUES ('keys');
SELECT loyalty.attach('sale', program => 'keys', member => 'member_id', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('keys', 'sale', 'one', 'earn.amount');

-- purchases whose points are not their amount, those of rows that are gone
CREATE VIEW wrong AS
SELECT coalesce(id, source_key) AS key, total, points
  FROM sale FULL JOIN (SELECT source_key, sum(remaining) / 10000 AS points FROM loyalty.lot JOIN loyalty.source s ON s.id = source_id
                        WHERE s.program = 'keys' GROUP BY 1) l ON l.source_key = id
 WHERE coalesce(total, 0) IS DISTINCT FROM coalesce(points, 0);

-- of one length and of several, in no order
INSERT INTO sale SELECT i, 1 + i % 3, 10 + i, '2024-01-01' FROM generate_series(1, 1200) i ORDER BY md5(i::text);
SELECT * FROM wrong;
-- neighbours grow (a second award each) and shrink
UPDATE sale SET total = total + 5 WHERE id::int BETWEEN 95 AND 125;
UPDATE sale SET total = total - 7 WHERE id::int BETWEEN 100 AND 130;
SELECT * FROM wrong;
SELECT count(*) AS second_awards FROM loyalty.lot JOIN loyalty.source s ON s.id = source_id WHERE s.program = 'keys' AND part > 0;
-- far from each other: the walk is given up, some keys before and some behind the place
UPDATE sale SET total = total + 3 WHERE id::int % 100 = 7 OR id IN ('100', '1000', '1001', '1002', '1003');
UPDATE sale SET total = 1 WHERE id::int % 100 = 8 OR id IN ('1', '10', '100', '1000', '1001', '1002');
SELECT * FROM wrong;
-- gone, and there again among others that are new
DELETE FROM sale WHERE id::int BETWEEN 300 AND 330;
SELECT * FROM wrong;
INSERT INTO sale SELECT i, 1 + i % 3, 20, '2024-01-01' FROM generate_series(290, 1300) i WHERE i BETWEEN 305 AND 320 OR i > 1200;
SELECT * FROM wrong;
-- a statement that brings each key twice: purchases that change hands, and grow on the way
UPDATE sale SET member_id = 1 + member_id % 3, total = total + 1 WHERE id::int BETWEEN 500 AND 540;
SELECT * FROM wrong;
SELECT * FROM loyalty.verify();
SELECT count(*) AS purchases, sum(total) AS total FROM sale;
ROLLBACK;
