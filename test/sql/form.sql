-- Rows of the ledger's tables are those that PostgreSQL makes of the same values, byte for byte: store_heap_form.c lays them out itself.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
BEGIN;
CREATE SCHEMA form_test;
SET LOCAL search_path = form_test, public;
SET LOCAL TimeZone = 'UTC';
CREATE EXTENSION pageinspect SCHEMA form_test;

-- keys of 1 to 500 characters around the length at which a header grows from one byte to four, members with tiers, units, caps, a pool that lends its tier,
-- challenges, returns, debts and redemptions
CREATE TABLE sale (id text PRIMARY KEY, who bigint, total numeric, at timestamptz, nights int);
INSERT INTO loyalty.program (name, sandbox, clawback, decimals) VALUES ('p', true, 'debt', 2);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('p', 'green', 0, 0, 0), ('p', 'gold', 1, 250, 0.1), ('p', 'black', 2, 5000, 0.5);
SELECT loyalty.attach('sale', program => 'p', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('p', 'sale', 'one for one', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, kind, points, cap, cap_period) VALUES ('p', 'sale', 'capped', 'bonus', '5', 50, 'calendar month');
INSERT INTO loyalty.rule (program, source, name, unit, points) VALUES ('p', 'sale', 'nights', 'night', 'nights');
INSERT INTO loyalty.reward (program, name, cost) VALUES ('p', 'toy', 30);
INSERT INTO loyalty.challenge (program, name, kind, source, target, points, starts_at) VALUES ('p', 'ten', 'stamp', 'sale', 10, 7, '2023-01-01');
INSERT INTO sale SELECT 'home' || g, 100 + g, 100, '2024-01-01', 1 FROM generate_series(1, 3) g;
SELECT loyalty.create_pool(101, 'the Does', program => 'p', key => 'c', shares_tier => true) AS home \gset
SELECT loyalty.join_pool(102, :home), loyalty.join_pool(103, :home);
CREATE FUNCTION key_of(g int) RETURNS text LANGUAGE sql AS $$ SELECT g || CASE WHEN g % 3 = 0 THEN repeat(chr(97 + g % 26), g % 260) WHEN g % 97 = 0 THEN repeat('long', 124) ELSE '' END $$;
INSERT INTO sale SELECT key_of(g), g % 40, round(g * (ARRAY[1, 70, 4900])[1 + g % 3] / 7.0 / (1 + g % 5), g % 9), timestamptz '2024-01-02' + g * interval '1 hour', g % 4 FROM generate_series(1, 3000) g;
DO $$ BEGIN FOR g IN 3001..3100 LOOP INSERT INTO form_test.sale SELECT form_test.key_of(g), g % 40, g / 3.0, timestamptz '2024-06-02' + g * interval '1 hour', 1; END LOOP; END $$;
SELECT count(r) AS redeemed FROM (SELECT loyalty.redeem(who, points => 12.5, program => 'p', key => 'k' || who) AS r FROM generate_series(2, 30, 2) who
  UNION ALL SELECT loyalty.redeem(who, reward => 'toy', program => 'p', key => 'k' || who) FROM generate_series(1, 30, 2) who) r;
SELECT count(*) AS emptied FROM unnest('{7,14,21,28}'::int[]) who, loyalty.balance(who, 'p') b, loyalty.redeem(who, points => b.available, program => 'p', key => 'all ' || who) r;
UPDATE sale SET total = total / 2 WHERE who % 5 = 0;
DELETE FROM sale WHERE who % 7 = 0;

-- a table's rows as they lie on its pages
CREATE FUNCTION rows_of(t regclass) RETURNS TABLE (columns int, masks int, t_hoff int, t_bits text, t_data bytea) LANGUAGE plpgsql AS $$ BEGIN
  RETURN QUERY EXECUTE format('SELECT i.t_infomask2 & 2047, i.t_infomask & 7, i.t_hoff::int, i.t_bits, i.t_data
    FROM generate_series(0, pg_relation_size(%1$L) / current_setting(''block_size'')::int - 1) b CROSS JOIN heap_page_items(get_raw_page(%1$L, b::int)) i
    JOIN %1$s ON %1$s.ctid = format(''(%%s,%%s)'', b, i.lp)::tid', t);
END $$;
-- and how many of them lie otherwise than in a copy
CREATE FUNCTION otherwise(t regclass, change text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  EXECUTE format('DROP TABLE IF EXISTS form_test.copy; CREATE TABLE form_test.copy (LIKE %s INCLUDING STORAGE)', t);
  IF change IS NOT NULL THEN EXECUTE change; END IF;
  EXECUTE format('INSERT INTO form_test.copy SELECT * FROM %s', t);
  SELECT count(*) INTO n FROM ((SELECT * FROM form_test.rows_of(t) EXCEPT ALL SELECT * FROM form_test.rows_of('form_test.copy'))
    UNION ALL (SELECT * FROM form_test.rows_of('form_test.copy') EXCEPT ALL SELECT * FROM form_test.rows_of(t))) d;
  RETURN n;
END $$;
CREATE FUNCTION number_of(t regclass) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %s', t) INTO n; RETURN n; END $$;
SELECT t.name, number_of(t.name::regclass) > 0 AS has_rows, otherwise(t.name::regclass)
FROM unnest('{loyalty.account,loyalty.lot,loyalty.movement,loyalty.debt,loyalty.redemption,loyalty.rule_usage,loyalty.tier_change,loyalty.counter,loyalty.progress,loyalty.challenge_award,loyalty.request}'::text[]) t (name) ORDER BY 1;
-- what was to be seen is there
SELECT bool_or(octet_length(source_key) > 490) AS long, bool_or(octet_length(source_key) BETWEEN 120 AND 126) AS short, bool_or(octet_length(source_key) BETWEEN 127 AND 140) AS longer,
  bool_or(source_key IS NULL) AS nulls, bool_or(breakdown IS NULL) AS nothing FROM loyalty.lot;
SELECT bool_or(lent_tier_ids IS NOT NULL AND lent_until IS NOT NULL) AS lent, bool_or(lent_until IS NULL) AS not_lent FROM loyalty.account;
-- the control: a copy whose amounts are rounded, one with a column more
SELECT otherwise('loyalty.lot', 'ALTER TABLE form_test.copy ALTER amount TYPE numeric(30, 3)') > 0 AS is_seen, otherwise('loyalty.account', 'ALTER TABLE form_test.copy ADD more int') > 0 AS is_seen_too;
ROLLBACK;
