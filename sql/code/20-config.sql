-- What happens when a configuration row is written: it is checked, its former state is kept, every backend
-- forgets its copy.  The triggers that call these functions stand in sql/data, below "-- replay".
-- A check runs as whoever writes the row.  It steps aside for loyalty.restoring, and (as every trigger that is
-- not ENABLE ALWAYS) while replication applies rows that were checked where they were written.

CREATE OR REPLACE FUNCTION loyalty.restoring() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'loyalty_restoring';
COMMENT ON FUNCTION loyalty.restoring() IS 'is the setting loyalty.restoring on, and does the current role have the ledger owner''s rights';
REVOKE ALL ON FUNCTION loyalty.restoring() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_config_changed';
COMMENT ON FUNCTION loyalty.config_changed() IS 'trigger: every backend forgets its copy of the table when the transaction commits';
REVOKE ALL ON FUNCTION loyalty.config_changed() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_timezone(name text) RETURNS void
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'loyalty_check_timezone';
COMMENT ON FUNCTION loyalty.check_timezone(text) IS 'raise LY017 unless this is the full name of a time zone';
REVOKE ALL ON FUNCTION loyalty.check_timezone(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.in_ledger(what text, id integer) RETURNS boolean
LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'loyalty_in_ledger';
COMMENT ON FUNCTION loyalty.in_ledger(text, integer) IS 'does the ledger name this program, source, tier or reward';
REVOKE ALL ON FUNCTION loyalty.in_ledger(text, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_expression(expression text, role text, relation regclass, author regrole, what text)
RETURNS void LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'loyalty_check_expression';
COMMENT ON FUNCTION loyalty.check_expression(text, text, regclass, regrole, text) IS
  'raise LY007 unless this is a good expression over rows of relation in this role: member, amount, occurred_at, key, source condition, release, base condition, bonus condition, base points, bonus points';
REVOKE ALL ON FUNCTION loyalty.check_expression(text, text, regclass, regrole, text) FROM PUBLIC;

-- What the tables can already say and the engine does not do yet.  The one place to take a refusal away.
CREATE OR REPLACE FUNCTION loyalty.refuse_unavailable(setting text, value text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF (CASE setting
       WHEN 'argument' THEN value = 'revenue'
       ELSE false
     END) THEN
    RAISE EXCEPTION '% "%" is not available in this version', setting, value
      USING ERRCODE = 'feature_not_supported';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.refuse_unavailable(text, text) IS 'raise 0A000 for what this version does not do';
REVOKE ALL ON FUNCTION loyalty.refuse_unavailable(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_program(program text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.program p WHERE p.name = check_program.program) THEN
    RAISE EXCEPTION 'unknown program "%"', program
      USING ERRCODE = 'LY003', HINT = 'SELECT name FROM loyalty.program lists the programs.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_program(text) IS 'raise LY003 unless there is a program of this name';
REVOKE ALL ON FUNCTION loyalty.check_program(text) FROM PUBLIC;

-- Not below zero, not beyond what calendars know.
CREATE OR REPLACE FUNCTION loyalty.check_interval(setting text, value interval) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF value < interval '0' OR value > interval '1000 years' THEN
    RAISE EXCEPTION '% is %', setting, value
      USING ERRCODE = 'LY017', HINT = 'It lies between 0 and 1000 years.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_interval(text, interval) IS 'raise LY017 for intervals below 0 or above 1000 years';
REVOKE ALL ON FUNCTION loyalty.check_interval(text, interval) FROM PUBLIC;

-- NaN and infinity pass CHECK (x >= 0).
CREATE OR REPLACE FUNCTION loyalty.check_finite(setting text, value numeric) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF value IN ('NaN', 'Infinity', '-Infinity') THEN
    RAISE EXCEPTION '% is %', setting, value
      USING ERRCODE = 'LY017', HINT = 'Write a number.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_finite(text, numeric) IS 'raise LY017 for NaN and infinity';
REVOKE ALL ON FUNCTION loyalty.check_finite(text, numeric) FROM PUBLIC;

-- Inactivity is an account's: all points that die of it die at once.
CREATE OR REPLACE FUNCTION loyalty.check_life(config text, expiry loyalty.expiry) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF expiry::text LIKE '% inactive' THEN
    RAISE EXCEPTION 'expiry of a % is "%"', config, expiry
      USING ERRCODE = 'LY017', DETAIL = 'Points die of inactivity all at once, by the expiry of their program.',
        HINT = 'Leave it out: NULL is the program''s expiry.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_life(text, loyalty.expiry) IS 'raise LY017 for an expiry that only a program can have';
REVOKE ALL ON FUNCTION loyalty.check_life(text, loyalty.expiry) FROM PUBLIC;

-- What a rule may give a member, or in all.
CREATE OR REPLACE FUNCTION loyalty.check_limit(setting text, value numeric) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF value < 0 OR value > 90000000000 OR value <> trunc(value, 4) THEN
    RAISE EXCEPTION '% is %', setting, value
      USING ERRCODE = 'LY017', HINT = 'It lies between 0 and 90,000,000,000, with at most 4 decimals.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_limit(text, numeric) IS 'raise LY017 for figures that no cap, max_uses or budget can have';
REVOKE ALL ON FUNCTION loyalty.check_limit(text, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_name(config text, name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF name = '' OR name <> btrim(name) OR octet_length(name) > 200 THEN
    RAISE EXCEPTION '"%" is no name of a %', name, config
      USING ERRCODE = 'LY017', HINT = 'A name has 1 to 200 bytes and no space around it.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_name(text, text) IS 'raise LY017 for empty and overlong names';
REVOKE ALL ON FUNCTION loyalty.check_name(text, text) FROM PUBLIC;

-- Before the CHECK of the table, which does not say what would do.
CREATE OR REPLACE FUNCTION loyalty.check_word(setting text, value text, VARIADIC words text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF value <> ALL (words) THEN
    RAISE EXCEPTION '% "%" is not known', setting, value
      USING ERRCODE = 'LY017', HINT = format('It is %s or %s.', array_to_string(words[:cardinality(words) - 1], ', '), words[cardinality(words)]);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_word(text, text, text[]) IS 'raise LY017 unless a setting is one of these words';
REVOKE ALL ON FUNCTION loyalty.check_word(text, text, text[]) FROM PUBLIC;

-- Of a BEFORE DELETE: what is named stays.
CREATE OR REPLACE FUNCTION loyalty.check_deletion(config text, name text, program text, named boolean, why text DEFAULT 'is named by the ledger')
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF named THEN
    RAISE EXCEPTION '% "%" of program "%" %', config, name, program, why
      USING ERRCODE = 'LY011', HINT = 'Disable it instead: UPDATE … SET enabled = false.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_deletion(text, text, text, boolean, text) IS 'raise LY011 when a configuration row that is to be deleted is named';
REVOKE ALL ON FUNCTION loyalty.check_deletion(text, text, text, boolean, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.current_author() RETURNS regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT r.oid::pg_catalog.regrole FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user $$;
COMMENT ON FUNCTION loyalty.current_author() IS 'the role as which an expression that is written now will run';
REVOKE ALL ON FUNCTION loyalty.current_author() FROM PUBLIC;

-- BEFORE ROW, after the check (triggers fire by name): what holds for every configuration table.  id and
-- program stay; a renamed program is not a change of program.
CREATE OR REPLACE FUNCTION loyalty.config_stamp() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.valid_from := now();
    RETURN NEW;
  END IF;
  IF NEW.id <> OLD.id THEN
    RAISE EXCEPTION 'the id of a % cannot be changed', TG_TABLE_NAME
      USING ERRCODE = 'LY017', HINT = 'The ledger names it.';
  END IF;
  IF TG_TABLE_NAME <> 'program' THEN
    IF NEW.program <> OLD.program AND EXISTS (SELECT FROM loyalty.program p WHERE p.name = OLD.program) THEN
      RAISE EXCEPTION 'the program of a % cannot be changed', TG_TABLE_NAME
        USING ERRCODE = 'LY017', HINT = 'Disable this one and write another.';
    END IF;
  END IF;
  NEW.valid_from := OLD.valid_from;
  IF to_jsonb(NEW) <> to_jsonb(OLD) THEN
    NEW.valid_from := CASE WHEN OLD.valid_from = now() THEN now()
                           ELSE greatest(now(), OLD.valid_from + interval '1 microsecond') END;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_stamp() IS 'trigger: since when a configuration row is what it is; refuses to change its id and program';
REVOKE ALL ON FUNCTION loyalty.config_stamp() FROM PUBLIC;

-- AFTER ROW.  A state that its own transaction replaced was never seen, and is not kept.
CREATE OR REPLACE FUNCTION loyalty.config_keep() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  until timestamptz;
BEGIN
  IF loyalty.restoring() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' THEN
    until := CASE WHEN OLD.valid_from = now() THEN now()
                  ELSE greatest(now(), OLD.valid_from + interval '1 microsecond') END;
  ELSE
    until := NEW.valid_from;
  END IF;
  IF until > OLD.valid_from THEN
    INSERT INTO loyalty.config_history (config, id, valid_from, valid_to, former, changed_by, set_role)
    VALUES (TG_TABLE_NAME, OLD.id, OLD.valid_from, until, to_jsonb(OLD), session_user, current_user);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.config_keep() IS 'trigger: keeps the former state of a configuration row in config_history';
REVOKE ALL ON FUNCTION loyalty.config_keep() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_truncate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT loyalty.restoring() AND loyalty.in_ledger('anything', 0) THEN
    RAISE EXCEPTION 'table loyalty.% is named by the ledger', TG_TABLE_NAME
      USING ERRCODE = 'LY011', HINT = 'Disable it instead: UPDATE … SET enabled = false.';
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.config_truncate() IS 'trigger: refuses to empty configuration that the ledger names';
REVOKE ALL ON FUNCTION loyalty.config_truncate() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_program() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other text;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    IF loyalty.in_ledger('program', OLD.id) THEN
      RAISE EXCEPTION 'program "%" is named by the ledger', OLD.name
        USING ERRCODE = 'LY011', HINT = 'Disable it instead: UPDATE … SET enabled = false.';
    END IF;
    RETURN OLD;
  END IF;

  PERFORM loyalty.check_name('program', NEW.name);
  PERFORM loyalty.check_timezone(NEW.timezone);
  PERFORM loyalty.check_word('rounding', NEW.rounding, 'down', 'half_up', 'half_even', 'up');
  PERFORM loyalty.check_word('expiry_from', NEW.expiry_from, 'earned', 'available');
  PERFORM loyalty.check_word('enrollment', NEW.enrollment, 'automatic', 'explicit');
  PERFORM loyalty.check_word('clawback', NEW.clawback, 'pending_only', 'to_zero', 'debt');
  PERFORM loyalty.check_word('on_return', NEW.on_return, 'fall', 'keep', 'grace');
  PERFORM loyalty.check_word('downgrade', NEW.downgrade, 'requalify', 'one_level', 'never');
  PERFORM loyalty.check_word('tier_validity_to', NEW.tier_validity_to, 'day', 'month', 'quarter', 'year');
  PERFORM loyalty.check_interval('pending', NEW.pending);
  PERFORM loyalty.check_interval('tier_validity', NEW.tier_validity);
  PERFORM loyalty.check_interval('grace', NEW.grace);
  PERFORM loyalty.check_finite('point_value', NEW.point_value);
  IF NEW.point_value IS NULL AND (NOT NEW.earn_on_points_paid OR EXISTS (
       SELECT FROM loyalty.source s WHERE s.program = NEW.name AND s.spend_maximum_share IS NOT NULL)) THEN
    RAISE EXCEPTION 'point_value of program "%" is missing', NEW.name
      USING ERRCODE = 'LY017', HINT = 'earn_on_points_paid = false and spend_maximum_share need to know what a point buys.';
  END IF;
  IF NEW.expiry::text LIKE '% inactive' AND EXISTS (SELECT FROM loyalty.tier t WHERE t.program = NEW.name AND t.suspends_expiry) THEN
    RAISE EXCEPTION 'points of program "%" cannot die of inactivity: a tier suspends expiry', NEW.name
      USING ERRCODE = 'LY017', HINT = 'Write tiers whose expiry is never instead.';
  END IF;
  PERFORM loyalty.check_name('tier_metric', NEW.tier_metric);
  NEW.counts_visits := NEW.counts_visits OR NEW.tier_metric = 'visits' OR TG_OP = 'UPDATE' AND OLD.counts_visits;

  IF TG_OP = 'UPDATE' AND (NEW.tier_metric <> OLD.tier_metric OR NEW.tier_period::text <> OLD.tier_period::text) THEN
    PERFORM loyalty.check_pools_count(OLD.id, NEW.name, NEW.tier_period::text);
    PERFORM loyalty.freeze_ladder(OLD.id);
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.is_default := NEW.is_default OR NOT EXISTS (SELECT FROM loyalty.program p);
  ELSIF NEW.decimals < OLD.decimals AND loyalty.in_ledger('points of program', OLD.id) THEN
    RAISE EXCEPTION 'decimals of program "%" cannot go from % to %', OLD.name, OLD.decimals, NEW.decimals
      USING ERRCODE = 'LY017', HINT = 'There are points with more decimals: they may only grow.';
  END IF;
  IF NEW.is_default THEN
    SELECT p.name INTO other FROM loyalty.program p WHERE p.is_default AND p.id <> NEW.id;
    IF FOUND THEN
      RAISE EXCEPTION 'program "%" is the default already', other
        USING ERRCODE = 'LY017', HINT = format('First UPDATE loyalty.program SET is_default = false WHERE name = %L.', other);
    END IF;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_program() IS 'trigger: checks a program';
REVOKE ALL ON FUNCTION loyalty.config_program() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_tier() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('tier', OLD.name, OLD.program, loyalty.in_ledger('tier', OLD.id));
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('tier', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_finite('threshold', NEW.threshold);
  IF TG_OP = 'UPDATE' AND NEW.threshold IS DISTINCT FROM OLD.threshold THEN
    PERFORM loyalty.freeze_ladder(p.id) FROM loyalty.program p WHERE p.name = OLD.program;
  END IF;
  PERFORM loyalty.check_life('tier', NEW.expiry);
  IF NEW.suspends_expiry AND EXISTS (SELECT FROM loyalty.program p WHERE p.name = NEW.program AND p.expiry::text LIKE '% inactive') THEN
    RAISE EXCEPTION 'tier "%" suspends expiry, and points of program "%" die of inactivity', NEW.name, NEW.program
      USING ERRCODE = 'LY017', HINT = 'Give the tier an expiry of its own instead: never.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_tier() IS 'trigger: checks a tier';
REVOKE ALL ON FUNCTION loyalty.config_tier() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_tier_requirement() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  asked loyalty.tier_requirement;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    asked := OLD;
  ELSE
    asked := NEW;
  END IF;
  -- a tier that was renamed asks for the same
  IF TG_OP <> 'UPDATE' OR (NEW.option, NEW.metric, NEW.threshold) IS DISTINCT FROM (OLD.option, OLD.metric, OLD.threshold) THEN
    PERFORM loyalty.freeze_ladder(p.id) FROM loyalty.tier t JOIN loyalty.program p ON p.name = t.program
    WHERE t.program = asked.program AND t.name = asked.tier AND loyalty.in_ledger('tier', t.id);
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_name('metric', NEW.metric);
  PERFORM loyalty.use_metric(NEW.program, NEW.metric);
  PERFORM loyalty.check_finite('threshold', NEW.threshold);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_tier_requirement() IS 'trigger: checks a requirement of a tier';
REVOKE ALL ON FUNCTION loyalty.config_tier_requirement() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_spending(program text, step numeric, minimum numeric, maximum_share numeric) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p record;
BEGIN
  SELECT o.decimals, o.point_value INTO p FROM loyalty.program o WHERE o.name = check_spending.program;
  IF step IN ('NaN', 'Infinity') OR step <> trunc(step, p.decimals) OR step >= 1e10
     OR minimum IN ('NaN', 'Infinity') OR minimum <> trunc(minimum, p.decimals) OR minimum >= 1e10 THEN
    RAISE EXCEPTION 'spend_step is % and spend_minimum %', step, minimum
      USING ERRCODE = 'LY017', HINT = format('They are points below 10,000,000,000 with at most %s decimals.', p.decimals);
  ELSIF maximum_share IS NOT NULL AND p.point_value IS NULL THEN
    RAISE EXCEPTION 'spend_maximum_share needs to know what a point buys'
      USING ERRCODE = 'LY017', HINT = 'UPDATE loyalty.program SET point_value = …';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_spending(text, numeric, numeric, numeric) IS 'raise LY017 for steps, minimum and share that a source cannot have';
REVOKE ALL ON FUNCTION loyalty.check_spending(text, numeric, numeric, numeric) FROM PUBLIC;

-- The mapping is checked here and not in attach(), so that no way of writing it is unchecked.
CREATE OR REPLACE FUNCTION loyalty.config_source() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  of_source text;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('source', OLD.name, OLD.program, loyalty.in_ledger('source', OLD.id));
    IF OLD.attached AND EXISTS (SELECT FROM pg_class c WHERE c.oid = OLD.relation) THEN
      RAISE EXCEPTION 'source "%" of program "%" is attached', OLD.name, OLD.program
        USING ERRCODE = 'LY006', HINT = 'Call loyalty.detach() first.';
    END IF;
    RETURN OLD;
  END IF;

  PERFORM loyalty.check_partner(NEW.program, NEW.partner);
  PERFORM loyalty.check_spending(NEW.program, NEW.spend_step, NEW.spend_minimum, NEW.spend_maximum_share);
  PERFORM loyalty.check_interval('release_within', NEW.release_within);
  IF NEW.release IS NULL AND NEW.release_within IS NOT NULL THEN
    RAISE EXCEPTION 'release_within is %, and nothing says what releases', NEW.release_within
      USING ERRCODE = 'LY017', HINT = 'release is an SQL expression over the row, for instance the column delivered_at.';
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF (NEW.relation, NEW.member, NEW.amount, NEW.occurred_at, NEW.key, NEW.condition, NEW.refund_of, NEW.refund_source, NEW.release, NEW.points_spent, NEW.visit)
       IS NOT DISTINCT FROM (OLD.relation, OLD.member, OLD.amount, OLD.occurred_at, OLD.key, OLD.condition, OLD.refund_of, OLD.refund_source, OLD.release, OLD.points_spent, OLD.visit)
       AND (OLD.attached OR NOT NEW.attached) THEN
      NEW.author := OLD.author;
      RETURN NEW;
    END IF;
    IF NEW.visit IS NULL AND OLD.visit IS NOT NULL AND loyalty.in_ledger('source', OLD.id) THEN
      RAISE EXCEPTION 'visit of source "%" of program "%" is missing', NEW.name, NEW.program
        USING ERRCODE = 'LY011', HINT = 'Purchases were counted by it: write another expression, for instance occurred_at::date or NULL::text.';
    END IF;
    IF NEW.relation <> OLD.relation AND OLD.attached AND EXISTS (SELECT FROM pg_class c WHERE c.oid = OLD.relation) THEN
      RAISE EXCEPTION 'source "%" of program "%" is attached to %', OLD.name, OLD.program, OLD.relation
        USING ERRCODE = 'LY017', HINT = 'Call loyalty.detach() first.';
    END IF;
  END IF;

  NEW.author := loyalty.current_author();
  of_source := format('source "%s" of program "%s"', NEW.name, NEW.program);
  PERFORM loyalty.check_name('source', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_relation(NEW.relation);
  PERFORM loyalty.check_expression(NEW.member, 'member', NEW.relation, NEW.author, 'member of ' || of_source);
  PERFORM loyalty.check_expression(NEW.amount, 'amount', NEW.relation, NEW.author, 'amount of ' || of_source);
  PERFORM loyalty.check_expression(NEW.occurred_at, 'occurred_at', NEW.relation, NEW.author, 'occurred_at of ' || of_source);
  IF NEW.condition IS NOT NULL THEN
    PERFORM loyalty.check_expression(NEW.condition, 'source condition', NEW.relation, NEW.author, 'condition of ' || of_source);
  END IF;
  IF NEW.points_spent IS NOT NULL THEN
    PERFORM loyalty.check_expression(NEW.points_spent, 'amount', NEW.relation, NEW.author, 'points_spent of ' || of_source);
  END IF;
  IF NEW.release IS NOT NULL THEN
    PERFORM loyalty.check_expression(NEW.release, 'release', NEW.relation, NEW.author, 'release of ' || of_source);
  END IF;
  IF NEW.visit IS NOT NULL THEN
    PERFORM loyalty.check_expression(NEW.visit, 'key', NEW.relation, NEW.author, 'visit of ' || of_source);
    PERFORM loyalty.use_metric(NEW.program, 'visits');
  END IF;
  PERFORM loyalty.check_key(NEW.relation, NEW.key, NEW.author, 'key of ' || of_source);
  PERFORM loyalty.check_refund_of(NEW.program, NEW.name, NEW.relation, NEW.key, NEW.author, NEW.refund_of, NEW.refund_source);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_source() IS 'trigger: checks the mapping of a source';
REVOKE ALL ON FUNCTION loyalty.config_source() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_audience(program text, segment text, offer text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF segment IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.segment s WHERE s.program = check_audience.program AND s.name = segment) THEN
    RAISE EXCEPTION 'program "%" has no segment "%"', program, segment
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.segment lists the segments.';
  ELSIF offer IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.offer o WHERE o.program = check_audience.program AND o.name = offer) THEN
    RAISE EXCEPTION 'program "%" has no offer "%"', program, offer
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.offer lists the offers.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_audience(text, text, text) IS 'raise LY017 unless the program has this segment and this offer; NULL: none is named';
REVOKE ALL ON FUNCTION loyalty.check_audience(text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s record;
  of_rule text;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    SELECT x.id INTO s FROM loyalty.source x WHERE x.program = OLD.program AND x.name = OLD.source;
    PERFORM loyalty.check_deletion('rule', OLD.name, OLD.program, FOUND AND loyalty.in_ledger('source', s.id));
    RETURN OLD;
  END IF;

  PERFORM loyalty.check_name('rule', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  SELECT x.id, x.relation INTO s FROM loyalty.source x WHERE x.program = NEW.program AND x.name = NEW.source;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no source "%"', NEW.program, NEW.source
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.source lists the sources; loyalty.attach() makes one.';
  END IF;
  PERFORM loyalty.check_partner(NEW.program, NEW.partner);
  PERFORM loyalty.check_interval('pending', NEW.pending);
  PERFORM loyalty.check_life('rule', NEW.expiry);
  PERFORM loyalty.check_limit('cap', NEW.cap);
  PERFORM loyalty.check_limit('max_uses', NEW.max_uses);
  PERFORM loyalty.check_limit('budget', NEW.budget);
  PERFORM loyalty.check_audience(NEW.program, NEW.segment, NEW.offer);
  IF NEW.max_uses IS NULL THEN
    -- without end, but counted: offers_for() and offer_performance ask for uses
    SELECT CASE WHEN o.once THEN 1 WHEN NEW.cap IS NULL THEN 2147483647 END INTO NEW.max_uses
    FROM loyalty.offer o WHERE o.program = NEW.program AND o.name = NEW.offer;
  END IF;
  PERFORM loyalty.check_interval('cooldown', NEW.cooldown);
  IF NEW.cooldown = interval '0' THEN
    RAISE EXCEPTION 'cooldown is 0' USING ERRCODE = 'LY017', HINT = 'Leave it out: the rule then pays again at once.';
  END IF;
  PERFORM loyalty.check_word('kind', NEW.kind, 'base', 'bonus');

  PERFORM loyalty.check_unit(NEW.program, NEW.unit, CASE WHEN TG_OP = 'UPDATE' THEN OLD.unit END, TG_OP = 'INSERT', NEW.expiry, NEW.pending);
  IF concat(NEW.points, ' ', NEW.condition) ~* '\mvisits\M' THEN
    PERFORM loyalty.use_metric(NEW.program, 'visits');  -- account.visits, or a column of that name: then they are counted for nothing
  END IF;

  IF TG_OP = 'UPDATE' THEN
    IF NEW.source <> OLD.source
       AND EXISTS (SELECT FROM loyalty.source x WHERE x.program = OLD.program AND x.name = OLD.source) THEN
      RAISE EXCEPTION 'the source of a rule cannot be changed'
        USING ERRCODE = 'LY017', HINT = 'Disable this one and write another.';
    END IF;
    IF (NEW.kind, NEW.points, NEW.condition, NEW.offer) IS NOT DISTINCT FROM (OLD.kind, OLD.points, OLD.condition, OLD.offer) THEN
      NEW.author := OLD.author;
      RETURN NEW;
    END IF;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation) THEN
    RAISE EXCEPTION 'the table of source "%" is gone', NEW.source
      USING ERRCODE = 'LY017', HINT = 'Attach a table to it first.';
  END IF;

  NEW.author := loyalty.current_author();
  of_rule := format('rule "%s" of program "%s"', NEW.name, NEW.program);
  PERFORM loyalty.check_expression(NEW.points, NEW.kind || ' points', s.relation, NEW.author, 'points of ' || of_rule);
  IF NEW.condition IS NOT NULL THEN
    PERFORM loyalty.check_expression(NEW.condition, NEW.kind || ' condition', s.relation, NEW.author, 'condition of ' || of_rule);
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_rule() IS 'trigger: checks a rule';
REVOKE ALL ON FUNCTION loyalty.config_rule() FROM PUBLIC;

-- The triggers of a configuration table, for sql/data.  Only what invalidates fires always: what a subscriber
-- applies, or a superuser writes under session_replication_role = replica, was checked where it came from, and
-- keeps its author.
CREATE OR REPLACE FUNCTION loyalty.watch_config(config text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format($ddl$
    CREATE OR REPLACE TRIGGER config_check BEFORE INSERT OR UPDATE OR DELETE ON loyalty.%1$I
      FOR EACH ROW EXECUTE FUNCTION loyalty.%2$I();
    CREATE OR REPLACE TRIGGER config_stamp BEFORE INSERT OR UPDATE ON loyalty.%1$I
      FOR EACH ROW EXECUTE FUNCTION loyalty.config_stamp();
    CREATE OR REPLACE TRIGGER config_keep AFTER UPDATE OR DELETE ON loyalty.%1$I
      FOR EACH ROW EXECUTE FUNCTION loyalty.config_keep();
    CREATE OR REPLACE TRIGGER config_truncate BEFORE TRUNCATE ON loyalty.%1$I
      FOR EACH STATEMENT EXECUTE FUNCTION loyalty.config_truncate();
    CREATE OR REPLACE TRIGGER config_changed AFTER INSERT OR UPDATE OR DELETE ON loyalty.%1$I
      FOR EACH ROW EXECUTE FUNCTION loyalty.config_changed();
    CREATE OR REPLACE TRIGGER config_changed_truncate AFTER TRUNCATE ON loyalty.%1$I
      FOR EACH STATEMENT EXECUTE FUNCTION loyalty.config_changed();
    ALTER TABLE loyalty.%1$I ENABLE ALWAYS TRIGGER config_changed;
    ALTER TABLE loyalty.%1$I ENABLE ALWAYS TRIGGER config_changed_truncate;
  $ddl$, config, 'config_' || config);
END $$;
COMMENT ON FUNCTION loyalty.watch_config(text) IS 'create the triggers of a configuration table';
REVOKE ALL ON FUNCTION loyalty.watch_config(text) FROM PUBLIC;
