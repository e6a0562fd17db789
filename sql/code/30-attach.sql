-- attach() and detach(): a table of the application becomes a source, and stops being one.

CREATE OR REPLACE FUNCTION loyalty.key_column(expression text, relation regclass, author regrole, what text)
RETURNS integer LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'loyalty_key_column';
COMMENT ON FUNCTION loyalty.key_column(text, regclass, regrole, text) IS
  'check an expression of a key; the number of the column that it is, 0 for anything else';
REVOKE ALL ON FUNCTION loyalty.key_column(text, regclass, regrole, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.split_expressions(list text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_split_expressions';
COMMENT ON FUNCTION loyalty.split_expressions(text) IS 'the expressions of a comma-separated list';
REVOKE ALL ON FUNCTION loyalty.split_expressions(text) FROM PUBLIC;

-- NULL means the default program; the same answer as config_program() in C.
CREATE OR REPLACE FUNCTION loyalty.program_name(program text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_name text;
BEGIN
  IF program IS NOT NULL THEN
    PERFORM loyalty.check_program(program);
    RETURN program;
  END IF;
  SELECT p.name INTO found_name FROM loyalty.program p WHERE p.is_default;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no program is the default'
      USING ERRCODE = 'LY003', HINT = 'Name the program, or UPDATE loyalty.program SET is_default = true for one.';
  END IF;
  RETURN found_name;
END $$;
COMMENT ON FUNCTION loyalty.program_name(text) IS 'the program, or the default one for NULL; raises LY003 when there is none';
REVOKE ALL ON FUNCTION loyalty.program_name(text) FROM PUBLIC;

-- Row triggers must see every row that comes and goes, and the caller must be allowed to put them there.
CREATE OR REPLACE FUNCTION loyalty.check_relation(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c record;
BEGIN
  SELECT r.oid, r.relkind, r.relpersistence, r.relispartition, r.relowner, n.nspname INTO c
  FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE r.oid = relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no table %', relation
      USING ERRCODE = 'LY015', HINT = 'Name it with its schema.';
  ELSIF c.nspname = 'loyalty' OR c.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
    RAISE EXCEPTION '% cannot be attached', relation
      USING ERRCODE = 'LY015', HINT = 'Attach a table of the application.';
  ELSIF c.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION '% is not a table', relation
      USING ERRCODE = 'LY015', HINT = 'Attach the table into which its rows are written: row triggers do not fire here.';
  ELSIF c.relpersistence = 't' THEN
    RAISE EXCEPTION '% is a temporary table', relation
      USING ERRCODE = 'LY015', HINT = 'Its purchases would be gone with the session.';
  ELSIF c.relispartition THEN
    RAISE EXCEPTION '% is a partition', relation
      USING ERRCODE = 'LY015', HINT = format('Attach the partitioned table %s.', pg_partition_root(relation));
  ELSIF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = relation OR (i.inhparent = relation AND c.relkind = 'r')) THEN
    RAISE EXCEPTION '% has parents or children by inheritance', relation
      USING ERRCODE = 'LY015', HINT = 'Rows of the children would be missed: use partitions.';
  ELSIF NOT pg_has_role(current_user, c.relowner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', relation
      USING ERRCODE = 'LY016', HINT = 'Its triggers act on every row: only the owner can attach it.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_relation(regclass) IS 'raise LY015 or LY016 unless the current role can attach this table';
REVOKE ALL ON FUNCTION loyalty.check_relation(regclass) FROM PUBLIC;

-- Unique indexes that name a row for ever: whole table, plain columns that are never NULL, checked at once.
CREATE OR REPLACE FUNCTION loyalty.unique_keys(relation regclass) RETURNS TABLE (index_oid oid, is_primary boolean, columns integer[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT i.indexrelid, i.indisprimary, k.columns
  FROM pg_index i
  CROSS JOIN LATERAL (
    SELECT array_agg(u.n::integer ORDER BY u.place) AS columns, bool_and(coalesce(a.attnotnull, false)) AS usable
    FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (n, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n AND u.n > 0
    WHERE u.place <= i.indnkeyatts) k
  WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND k.usable
$$;
COMMENT ON FUNCTION loyalty.unique_keys(regclass) IS 'the indexes of a table that can name its purchases';
REVOKE ALL ON FUNCTION loyalty.unique_keys(regclass) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.default_key(relation regclass) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key text[];
BEGIN
  SELECT (SELECT array_agg(quote_ident(a.attname) ORDER BY u.place)
          FROM unnest(k.columns) WITH ORDINALITY u (n, place)
          JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = u.n)
  INTO key FROM loyalty.unique_keys(relation) k ORDER BY k.is_primary DESC, k.index_oid LIMIT 1;
  IF key IS NULL THEN
    RAISE EXCEPTION '% has no key', relation
      USING ERRCODE = 'LY015', HINT = 'A purchase earns once because its key is unique: add a primary key, or a unique index over NOT NULL columns.';
  END IF;
  RETURN key;
END $$;
COMMENT ON FUNCTION loyalty.default_key(regclass) IS 'the columns that name a row of this table: the primary key, else the first unique one; raises LY015';
REVOKE ALL ON FUNCTION loyalty.default_key(regclass) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_key(relation regclass, key text[], author regrole, what text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key_columns integer[];
BEGIN
  IF coalesce(cardinality(key), 0) NOT BETWEEN 1 AND 32 OR array_position(key, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'a key has 1 to 32 expressions'
      USING ERRCODE = 'LY017', HINT = 'Leave key out to use the primary key.';
  END IF;
  SELECT array_agg(loyalty.key_column(k.expression, relation, author, what)) INTO key_columns FROM unnest(key) k (expression);
  IF NOT EXISTS (SELECT FROM loyalty.unique_keys(relation) u WHERE u.columns <@ key_columns) THEN
    RAISE EXCEPTION 'the key (%) is not unique in %', array_to_string(key, ', '), relation
      USING ERRCODE = 'LY015', HINT = 'Make a unique index over these columns, all NOT NULL, without WHERE and not deferrable.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_key(regclass, text[], regrole, text) IS 'raise LY007 or LY015 unless these expressions name a row of the table';
REVOKE ALL ON FUNCTION loyalty.check_key(regclass, text[], regrole, text) FROM PUBLIC;

-- A row names the purchase that it returns as that purchase's source makes its keys: as many parts, of the same kind.
CREATE OR REPLACE FUNCTION loyalty.check_refund_of(
  program text, name text, relation regclass, key text[], author regrole, refund_of text[], refund_source text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  returned_key text[] := key;
  holds_returns boolean;
BEGIN
  IF refund_source = name THEN
    RAISE EXCEPTION 'source "%" returns itself', name
      USING ERRCODE = 'LY017', HINT = 'Leave refund_source out: a row whose refund_of is NULL is then a purchase, and any other one a return.';
  ELSIF refund_source IS NOT NULL THEN
    SELECT s.key, s.refund_source IS NOT NULL INTO returned_key, holds_returns FROM loyalty.source s
    WHERE s.program = check_refund_of.program AND s.name = check_refund_of.refund_source;
    IF NOT FOUND OR holds_returns THEN
      RAISE EXCEPTION 'program "%" has no source "%" of purchases', program, refund_source
        USING ERRCODE = 'LY017', HINT = 'Attach the table of the purchases first, and name its source.';
    END IF;
  END IF;
  IF array_position(refund_of, NULL) IS NOT NULL OR cardinality(refund_of) <> cardinality(returned_key) THEN
    RAISE EXCEPTION 'refund_of has % parts, and the keys of source "%" have %', cardinality(refund_of), coalesce(refund_source, name), cardinality(returned_key)
      USING ERRCODE = 'LY017', HINT = format('They are made of: %s.', array_to_string(returned_key, ', '));
  END IF;
  PERFORM loyalty.key_column(r.expression, relation, author, format('refund_of of source "%s" of program "%s"', name, program))
  FROM unnest(refund_of) r (expression);
END $$;
COMMENT ON FUNCTION loyalty.check_refund_of(text, text, regclass, text[], regrole, text[], text) IS
  'raise LY007 or LY017 unless refund_of and refund_source of a source can name purchases';
REVOKE ALL ON FUNCTION loyalty.check_refund_of(text, text, regclass, text[], regrole, text[], text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.columns_named(expression text, relation regclass) RETURNS integer[]
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_columns_named';
COMMENT ON FUNCTION loyalty.columns_named(text, regclass) IS
  'numbers of the columns whose names stand in an expression; 0 among them: any other, as far as names say';
REVOKE ALL ON FUNCTION loyalty.columns_named(text, regclass) FROM PUBLIC;

-- Where values that are equal are the same byte for byte, or nearly: 1.0 is not 1.00 in a text, and numeric(12,2) has one form of each.
CREATE OR REPLACE FUNCTION loyalty.column_differs(name text, type oid, typmod integer, collation_oid oid) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT array_agg(format(d.term, quote_ident(name)))
  FROM (SELECT EXISTS (SELECT FROM pg_collation k WHERE k.oid = collation_oid AND k.collisdeterministic) AS by_bytes) c
  CROSS JOIN LATERAL (VALUES
    ('(old.%1$s IS DISTINCT FROM new.%1$s)',
     type IN ('bool'::regtype, '"char"'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'numeric'::regtype, 'date'::regtype,
              'timestamp'::regtype, 'timestamptz'::regtype, 'uuid'::regtype, 'bytea'::regtype)
     OR type = 'text'::regtype AND c.by_bytes
     OR EXISTS (SELECT FROM pg_type t WHERE t.oid = type AND t.typtype = 'e')),
    ('(scale(old.%1$s) IS DISTINCT FROM scale(new.%1$s))', type = 'numeric'::regtype AND typmod < 0),
    ('((old.%1$s)::text IS DISTINCT FROM (new.%1$s)::text)', type = 'varchar'::regtype AND c.by_bytes)) d (term, holds)
  WHERE d.holds
$$;
COMMENT ON FUNCTION loyalty.column_differs(text, oid, integer, oid) IS
  'conditions of which one holds when a column of a row differs from what it was; NULL: only its bytes tell';
REVOKE ALL ON FUNCTION loyalty.column_differs(text, oid, integer, oid) FROM PUBLIC;

-- Which updates can matter to a source of the table: those that change a column that a mapping names, as pg_get_triggerdef()
-- writes it: the expressions that compile_mapping() in config_source.c counts.  occurred_at is none of them: an award stays
-- where it was earned.  Sources that are disabled count: whoever enables them need not be the table's owner.
CREATE OR REPLACE FUNCTION loyalty.update_condition(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH named AS (
    SELECT DISTINCT n.attnum
    FROM loyalty.source s
    CROSS JOIN LATERAL unnest(ARRAY[s.member, s.amount, s.condition, s.release, s.points_spent, s.visit] || s.key || s.refund_of) e (expression)
    CROSS JOIN LATERAL unnest(loyalty.columns_named(e.expression, s.relation)) n (attnum)
    WHERE s.relation = update_condition.relation AND s.attached
  ), watched AS (
    SELECT a.attnum, quote_ident(a.attname) AS name, loyalty.column_differs(a.attname, a.atttypid, a.atttypmod, a.attcollation) AS terms
    FROM named n JOIN pg_attribute a ON a.attrelid = update_condition.relation AND a.attnum = n.attnum
  ), term AS (
    SELECT t.term, w.attnum, t.place FROM watched w CROSS JOIN LATERAL unnest(w.terms) WITH ORDINALITY t (term, place)
    UNION ALL
    SELECT format('record_image_ne(ROW(%s), ROW(%s))', string_agg('old.' || w.name, ', ' ORDER BY w.attnum),
                  string_agg('new.' || w.name, ', ' ORDER BY w.attnum)), NULL, NULL
    FROM watched w WHERE w.terms IS NULL HAVING count(*) > 0
  )
  SELECT CASE WHEN count(*) > 1 THEN format('(%s)', string_agg(t.term, ' OR ' ORDER BY t.attnum, t.place)) ELSE min(t.term) END
  FROM term t WHERE NOT EXISTS (SELECT FROM named n WHERE n.attnum = 0)
$$;
COMMENT ON FUNCTION loyalty.update_condition(regclass) IS 'when an update of a row matters to a source of its table; NULL: always';
REVOKE ALL ON FUNCTION loyalty.update_condition(regclass) FROM PUBLIC;

-- One set of triggers, however many programs use the table, defined as pg_get_triggerdef() does.
-- Updates have a trigger of their own, because only it can be asked before an event is queued for the row.
CREATE OR REPLACE FUNCTION loyalty.source_triggers(relation regclass) RETURNS TABLE (name text, definition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.name, format('CREATE TRIGGER %s %s ON %s FOR EACH %s EXECUTE FUNCTION loyalty.%s()', v.name, v.event, qualified.name, v.level, v.function)
  FROM (SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = source_triggers.relation) qualified
  CROSS JOIN (VALUES
    ('loyalty_level_open', 'BEFORE INSERT OR DELETE OR UPDATE', 'STATEMENT', 'source_open'),
    ('loyalty_row', 'AFTER INSERT OR DELETE', 'ROW', 'source_row'),
    ('loyalty_row_update', 'AFTER UPDATE', 'ROW' || coalesce(' WHEN (' || loyalty.update_condition(source_triggers.relation) || ')', ''), 'source_row'),
    ('loyalty_level_close', 'AFTER INSERT OR DELETE OR UPDATE', 'STATEMENT', 'source_close'),
    ('loyalty_truncate', 'BEFORE TRUNCATE', 'STATEMENT', 'source_truncate')) v (name, event, level, function)
$$;
COMMENT ON FUNCTION loyalty.source_triggers(regclass) IS 'the triggers of an attached table';
REVOKE ALL ON FUNCTION loyalty.source_triggers(regclass) FROM PUBLIC;

-- The state that they have, as pg_trigger.tgenabled writes it.
CREATE OR REPLACE FUNCTION loyalty.source_triggers_state(relation regclass) RETURNS "char"
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM loyalty.source s WHERE s.relation = source_triggers_state.relation AND s.attached AND s.replicated) THEN 'A' ELSE 'O' END::"char"
$$;
COMMENT ON FUNCTION loyalty.source_triggers_state(regclass) IS 'O: the triggers of a table fire where its rows are written; A: where they are replicated to, too';
REVOKE ALL ON FUNCTION loyalty.source_triggers_state(regclass) FROM PUBLIC;

-- With enable => false triggers that somebody disabled stay so.
CREATE OR REPLACE FUNCTION loyalty.attach_triggers(relation regclass, enable boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  t record;
BEGIN
  FOR t IN
    SELECT s.name, s.definition, pg_get_triggerdef(g.oid) AS found, f.pronamespace = 'loyalty'::regnamespace AS ours,
      CASE WHEN enable OR g.oid IS NULL THEN loyalty.source_triggers_state(relation) ELSE g.tgenabled END AS state
    FROM loyalty.source_triggers(relation) s
    LEFT JOIN pg_trigger g ON g.tgrelid = relation AND g.tgname = s.name
    LEFT JOIN pg_proc f ON f.oid = g.tgfoid
  LOOP
    IF t.found IS DISTINCT FROM t.definition THEN
      IF t.ours THEN
        EXECUTE format('DROP TRIGGER %I ON %s', t.name, relation);
      END IF;
      EXECUTE t.definition;
    END IF;
    IF enable OR t.found IS DISTINCT FROM t.definition THEN
      EXECUTE format('ALTER TABLE %s %s TRIGGER %I', relation,
                     CASE t.state WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'D' THEN 'DISABLE' ELSE 'ENABLE' END, t.name);
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.attach_triggers(regclass, boolean) IS
  'create or complete the triggers of an attached table; enable => false leaves disabled what is';
REVOKE ALL ON FUNCTION loyalty.attach_triggers(regclass, boolean) FROM PUBLIC;

-- A mapping that names other columns watches other updates.  Where the ledger is only replicated to, tables have no triggers.
CREATE OR REPLACE FUNCTION loyalty.source_watch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT NEW.attached OR loyalty.restoring()
     OR NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = NEW.relation AND g.tgname = 'loyalty_row') THEN
    RETURN NULL;
  END IF;
  -- whoever stops a source need not be the owner of its table
  IF TG_OP = 'INSERT' OR (NEW.relation, NEW.attached, NEW.member, NEW.amount, NEW.key, NEW.condition, NEW.refund_of, NEW.release, NEW.points_spent, NEW.visit)
     IS DISTINCT FROM (OLD.relation, OLD.attached, OLD.member, OLD.amount, OLD.key, OLD.condition, OLD.refund_of, OLD.release, OLD.points_spent, OLD.visit) THEN
    PERFORM loyalty.attach_triggers(NEW.relation, enable => false);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.source_watch() IS 'trigger: the triggers of a table follow the mappings of its sources';
REVOKE ALL ON FUNCTION loyalty.source_watch() FROM PUBLIC;

-- The name that a table's source has, or had when it was detached.
CREATE OR REPLACE FUNCTION loyalty.source_name(program text, relation regclass, name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(
    source_name.name,
    (SELECT s.name FROM loyalty.source s WHERE s.program = source_name.program AND s.relation = source_name.relation
     ORDER BY s.attached DESC, s.id LIMIT 1),
    (SELECT c.relname::text FROM pg_class c WHERE c.oid = source_name.relation))
$$;
COMMENT ON FUNCTION loyalty.source_name(text, regclass, text) IS 'the name of a table''s source: as given, as it was, or the table''s';
REVOKE ALL ON FUNCTION loyalty.source_name(text, regclass, text) FROM PUBLIC;

-- Rules that a source had before must fit its table as it is now.  Others' rules are checked at the first sale.
CREATE OR REPLACE FUNCTION loyalty.check_rules(program text, source text, relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_expression(e.expression, r.kind || e.role, check_rules.relation, r.author,
                                   format('%s of rule "%s" of program "%s"', btrim(e.role), r.name, r.program))
  FROM loyalty.rule r CROSS JOIN LATERAL (VALUES (' points', r.points), (' condition', r.condition)) e (role, expression)
  WHERE r.program = check_rules.program AND r.source = check_rules.source AND r.enabled AND e.expression IS NOT NULL
    AND pg_has_role(r.author, 'USAGE');
END $$;
COMMENT ON FUNCTION loyalty.check_rules(text, text, regclass) IS 'raise LY007 unless the enabled rules of a source fit its table';
REVOKE ALL ON FUNCTION loyalty.check_rules(text, text, regclass) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.attach(
  relation regclass, program text DEFAULT NULL, member text DEFAULT NULL, amount text DEFAULT NULL,
  occurred_at text DEFAULT NULL, key text DEFAULT NULL, condition text DEFAULT NULL, name text DEFAULT NULL,
  refund_of text DEFAULT NULL, points_spent text DEFAULT NULL, revenue text DEFAULT NULL, visit text DEFAULT NULL,
  on_delete text DEFAULT 'clawback', on_error text DEFAULT 'fail', backfill boolean DEFAULT false, replicated boolean DEFAULT false,
  refund_source text DEFAULT NULL, release text DEFAULT NULL, release_within interval DEFAULT NULL, partner text DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  in_program text := loyalty.program_name(attach.program);
  source_name text;
  keys text[];
  other record;
  source_id integer;
BEGIN
  PERFORM loyalty.refuse_unavailable('argument', a.argument)
  FROM (VALUES ('revenue', revenue)) a (argument, value)
  WHERE a.value IS NOT NULL;
  IF attach.member IS NULL OR attach.amount IS NULL OR attach.occurred_at IS NULL THEN
    RAISE EXCEPTION '% is missing', CASE WHEN attach.member IS NULL THEN 'member' WHEN attach.amount IS NULL THEN 'amount' ELSE 'occurred_at' END
      USING ERRCODE = 'LY017', HINT = 'It is an SQL expression over the row, mostly the name of a column.';
  END IF;
  IF on_delete NOT IN ('clawback', 'keep') OR on_error NOT IN ('fail', 'skip') THEN
    RAISE EXCEPTION 'on_delete "%" or on_error "%" is not known', on_delete, on_error
      USING ERRCODE = 'LY017', HINT = 'on_delete is clawback or keep, on_error is fail or skip.';
  END IF;

  PERFORM loyalty.check_relation(attach.relation);
  EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', attach.relation);
  keys := coalesce(loyalty.split_expressions(attach.key), loyalty.default_key(attach.relation));
  source_name := loyalty.source_name(in_program, attach.relation, attach.name);

  SELECT s.name, s.relation INTO other FROM loyalty.source s
  WHERE s.program = in_program AND s.attached
    AND (s.relation = attach.relation OR s.name = source_name AND EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation));
  IF FOUND THEN
    RAISE EXCEPTION 'source "%" of program "%" is attached to % already', other.name, in_program, other.relation
      USING ERRCODE = 'LY015', HINT = 'To change the mapping UPDATE loyalty.source, or call loyalty.detach() first. A table is one source of a program, and rules have conditions of their own; another table needs another name.';
  END IF;

  INSERT INTO loyalty.source AS s (program, name, relation, attached, member, amount, occurred_at, key, condition, refund_of, refund_source,
                                   release, release_within, points_spent, visit, on_delete, on_error, replicated, partner)
  VALUES (in_program, source_name, attach.relation, true, attach.member, attach.amount, attach.occurred_at, keys, attach.condition,
          loyalty.split_expressions(attach.refund_of), attach.refund_source, attach.release, attach.release_within, attach.points_spent,
          attach.visit, attach.on_delete, attach.on_error, attach.replicated, attach.partner)
  ON CONFLICT (program, name) DO UPDATE
  SET (relation, attached, member, amount, occurred_at, key, condition, refund_of, refund_source, release, release_within, points_spent, visit, on_delete,
       on_error, replicated, enabled, partner) =
      (excluded.relation, true, excluded.member, excluded.amount, excluded.occurred_at, excluded.key, excluded.condition,
       excluded.refund_of, excluded.refund_source, excluded.release, excluded.release_within, excluded.points_spent, excluded.visit, excluded.on_delete,
       excluded.on_error, excluded.replicated, true, excluded.partner)
  RETURNING s.id INTO source_id;
  PERFORM loyalty.check_rules(in_program, source_name, attach.relation);
  PERFORM loyalty.attach_triggers(attach.relation);

  IF backfill THEN
    EXECUTE 'SELECT loyalty.backfill($1, $2)' USING attach.relation, in_program;
  END IF;
  RETURN source_id;
END $$;
COMMENT ON FUNCTION loyalty.attach(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, boolean, boolean, text, text, interval, text) IS
  'make a table a source of a program: from now on its rows earn. member, amount, occurred_at, key, condition, refund_of, points_spent, visit and release are SQL expressions over the row; returns the source''s id';
REVOKE ALL ON FUNCTION loyalty.attach(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, boolean, boolean, text, text, interval, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.detach(relation regclass, program text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  sources text[];
  t text;
BEGIN
  SELECT array_agg(s.program ORDER BY s.program) INTO sources FROM loyalty.source s
  WHERE s.relation = detach.relation AND s.attached AND s.program = coalesce(detach.program, s.program);
  IF sources IS NULL THEN
    RAISE EXCEPTION '% is not attached', detach.relation
      USING ERRCODE = 'LY015', HINT = 'SELECT * FROM loyalty.source WHERE attached lists what is.';
  ELSIF cardinality(sources) > 1 THEN
    RAISE EXCEPTION '% is attached to several programs', detach.relation
      USING ERRCODE = 'LY003', HINT = 'Name one of: ' || array_to_string(sources, ', ') || '.';
  END IF;

  UPDATE loyalty.source s SET attached = false WHERE s.relation = detach.relation AND s.program = sources[1] AND s.attached;
  IF EXISTS (SELECT FROM loyalty.source s WHERE s.relation = detach.relation AND s.attached) THEN
    PERFORM loyalty.attach_triggers(detach.relation);
  ELSIF EXISTS (SELECT FROM pg_class c WHERE c.oid = detach.relation) THEN
    FOR t IN SELECT g.name FROM loyalty.source_triggers(detach.relation) g LOOP
      EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', t, detach.relation);
    END LOOP;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.detach(regclass, text) IS
  'rows of this table earn no more: its triggers go, the source and all that was earned stay';
REVOKE ALL ON FUNCTION loyalty.detach(regclass, text) FROM PUBLIC;
