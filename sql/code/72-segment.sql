-- Segments: who is in them, and what their conditions may ask about a member's purchases.

CREATE OR REPLACE FUNCTION loyalty.config_segment() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  named_by text;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    SELECT u.what INTO named_by FROM (
      SELECT 'rule "' || r.name || '"' AS what FROM loyalty.rule r WHERE r.program = OLD.program AND r.segment = OLD.name
      UNION ALL SELECT 'offer "' || o.name || '"' FROM loyalty.offer o WHERE o.program = OLD.program AND o.segment = OLD.name) u LIMIT 1;
    PERFORM loyalty.check_deletion('segment', OLD.name, OLD.program, FOUND, 'is named by ' || named_by);
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('segment', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  IF TG_OP = 'UPDATE' THEN
    IF NEW.condition = OLD.condition THEN
      NEW.author := OLD.author;
      RETURN NEW;
    END IF;
  END IF;
  NEW.author := loyalty.current_author();
  PERFORM loyalty.check_expression(NEW.condition, 'segment', 0::regclass, NEW.author, format('condition of segment "%s" of program "%s"', NEW.name, NEW.program));
  IF NEW.condition ~* '\mvisits\M' THEN
    PERFORM loyalty.use_metric(NEW.program, 'visits');
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_segment() IS 'trigger: checks a segment';
REVOKE ALL ON FUNCTION loyalty.config_segment() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.in_segment(member_id bigint, segment text, program text DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_in_segment';
COMMENT ON FUNCTION loyalty.in_segment(bigint, text, text, timestamptz) IS 'is the member in the segment, now or at an instant to come; false for who has no account';
REVOKE ALL ON FUNCTION loyalty.in_segment(bigint, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.segment_members(segment text, program text DEFAULT NULL, at timestamptz DEFAULT NULL) RETURNS TABLE (member_id bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100000 ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_segment_members';
COMMENT ON FUNCTION loyalty.segment_members(text, text, timestamptz) IS 'who is in the segment, now or at an instant to come: every account of the program is asked';
REVOKE ALL ON FUNCTION loyalty.segment_members(text, text, timestamptz) FROM PUBLIC;

-- ---- activity.  What is kept of purchases, by occurred_at in [since, until).

CREATE OR REPLACE FUNCTION loyalty.kept_purchases(member_id bigint, since timestamptz, until timestamptz, program text, source text)
RETURNS TABLE (source_id integer, source_key text, occurred_at timestamptz, amount numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT l.source_id, l.source_key, min(l.earned_at), sum(l.kept_amount)
  FROM loyalty.lot l
  WHERE l.member_id = kept_purchases.member_id AND l.program_id = loyalty.program_number(kept_purchases.program)
    AND l.kind = 'a' AND l.unit = 0 AND l.part % 64 = 0 AND l.kept_amount IS NOT NULL AND (l.kept_amount <> 0 OR l.amount = 0)
    AND l.earned_at >= since AND l.earned_at < until
    AND (kept_purchases.source IS NULL OR l.source_id IN (SELECT s.id FROM loyalty.source s WHERE s.name = kept_purchases.source))
  GROUP BY l.source_id, l.source_key;
END $$;
COMMENT ON FUNCTION loyalty.kept_purchases(bigint, timestamptz, timestamptz, text, text) IS 'inside of purchases(), spent() and last_purchase_at()';
REVOKE ALL ON FUNCTION loyalty.kept_purchases(bigint, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.program_number(program text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT p.id FROM loyalty.program p WHERE p.name = loyalty.program_name(program_number.program));
END $$;
COMMENT ON FUNCTION loyalty.program_number(text) IS 'loyalty.program.id of a program by name; NULL: of the default one; LY003';
REVOKE ALL ON FUNCTION loyalty.program_number(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.purchases(member_id bigint, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', program text DEFAULT NULL, source text DEFAULT NULL) RETURNS bigint
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.purchases(bigint, timestamptz, timestamptz, text, text) IS 'how many purchases of the member are kept, that occurred from since (inclusive) to until (exclusive)';
REVOKE ALL ON FUNCTION loyalty.purchases(bigint, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.purchases_as_owner(member_id bigint, since timestamptz, until timestamptz, program text, source text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT count(*) FROM loyalty.kept_purchases(member_id, since, until, program, source));
END $$;
COMMENT ON FUNCTION loyalty.purchases_as_owner(bigint, timestamptz, timestamptz, text, text) IS 'the body of purchases()';
REVOKE ALL ON FUNCTION loyalty.purchases_as_owner(bigint, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.spent(member_id bigint, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', program text DEFAULT NULL, source text DEFAULT NULL) RETURNS numeric
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.spent(bigint, timestamptz, timestamptz, text, text) IS 'amount that is kept of the member''s purchases that occurred from since (inclusive) to until (exclusive)';
REVOKE ALL ON FUNCTION loyalty.spent(bigint, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.spent_as_owner(member_id bigint, since timestamptz, until timestamptz, program text, source text) RETURNS numeric
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT coalesce(sum(k.amount), 0) FROM loyalty.kept_purchases(member_id, since, until, program, source) k);
END $$;
COMMENT ON FUNCTION loyalty.spent_as_owner(bigint, timestamptz, timestamptz, text, text) IS 'the body of spent()';
REVOKE ALL ON FUNCTION loyalty.spent_as_owner(bigint, timestamptz, timestamptz, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.last_purchase_at(member_id bigint, program text DEFAULT NULL, source text DEFAULT NULL) RETURNS timestamptz
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.last_purchase_at(bigint, text, text) IS 'occurred_at of the member''s latest purchase that is kept; NULL: there is none';
REVOKE ALL ON FUNCTION loyalty.last_purchase_at(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.last_purchase_at_as_owner(member_id bigint, program text, source text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT max(k.occurred_at) FROM loyalty.kept_purchases(member_id, '-infinity', 'infinity', program, source) k);
END $$;
COMMENT ON FUNCTION loyalty.last_purchase_at_as_owner(bigint, text, text) IS 'the body of last_purchase_at()';
REVOKE ALL ON FUNCTION loyalty.last_purchase_at_as_owner(bigint, text, text) FROM PUBLIC;
