-- Offers: given to a segment or to one member, activated, used once.  That a rule has paid to a member is in rule_usage,
-- which a return gives back: so an offer that was used on a purchase can be used again when that is returned.

CREATE OR REPLACE FUNCTION loyalty.config_offer() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('offer', OLD.name, OLD.program,
      EXISTS (SELECT FROM loyalty.rule r WHERE r.program = OLD.program AND r.offer = OLD.name)
       OR EXISTS (SELECT FROM loyalty.offer_member m WHERE m.offer_id = OLD.id), 'is named by rules or was given');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('offer', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_audience(NEW.program, NEW.segment, NULL);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_offer() IS 'trigger: checks an offer';
REVOKE ALL ON FUNCTION loyalty.config_offer() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.named_offer(program text, offer text)
RETURNS TABLE (program_id integer, program_name text, offer_id integer, segment text, activation boolean, starts_at timestamptz, ends_at timestamptz, enabled boolean)
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  in_program text := loyalty.program_name(program);
BEGIN
  RETURN QUERY
  SELECT p.id, p.name, o.id, o.segment, o.activation, o.starts_at, o.ends_at, o.enabled
  FROM loyalty.offer o JOIN loyalty.program p ON p.name = o.program WHERE o.program = in_program AND o.name = named_offer.offer;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no offer "%"', in_program, named_offer.offer
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.offer lists the offers.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.named_offer(text, text) IS 'an offer by its name; raises LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.named_offer(text, text) FROM PUBLIC;

-- Is it the member's at an instant, activated or not?
CREATE OR REPLACE FUNCTION loyalty.is_offered(member_id bigint, program_id integer, offer_id integer, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  o record;
  m record;
BEGIN
  SELECT x.program, x.segment, x.starts_at, x.ends_at, x.enabled INTO o FROM loyalty.offer x WHERE x.id = is_offered.offer_id;
  IF NOT o.enabled OR at < o.starts_at OR at >= o.ends_at THEN
    RETURN false;
  END IF;
  SELECT x.given_at, x.until, x.withdrawn_at INTO m FROM loyalty.offer_member x
  WHERE x.member_id = is_offered.member_id AND x.program_id = is_offered.program_id AND x.offer_id = is_offered.offer_id;
  IF m.withdrawn_at <= at THEN
    RETURN false;
  END IF;
  RETURN coalesce(m.given_at <= at AND at < m.until, false)
    OR o.segment IS NOT NULL AND coalesce(loyalty.in_segment(is_offered.member_id, o.segment, o.program, at), false);
END $$;
COMMENT ON FUNCTION loyalty.is_offered(bigint, integer, integer, timestamptz) IS 'inside of has_offer(): is the offer the member''s, activated or not';
REVOKE ALL ON FUNCTION loyalty.is_offered(bigint, integer, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_offer(member_id bigint, offer text, at timestamptz DEFAULT NULL, program text DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.has_offer(bigint, text, timestamptz, text) IS 'does the offer count for the member at an instant: given or by its segment, activated where that is asked for, not withdrawn';
REVOKE ALL ON FUNCTION loyalty.has_offer(bigint, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_offer_as_owner(member_id bigint, offer text, at timestamptz, program text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  o record;
BEGIN
  at := coalesce(at, loyalty.instant());
  SELECT * INTO o FROM loyalty.named_offer(program, offer);
  IF o.activation AND NOT EXISTS (
       SELECT FROM loyalty.offer_member m
       WHERE m.member_id = has_offer_as_owner.member_id AND m.program_id = o.program_id AND m.offer_id = o.offer_id AND m.activated_at <= at) THEN
    RETURN false;
  END IF;
  RETURN loyalty.is_offered(member_id, o.program_id, o.offer_id, at);
END $$;
COMMENT ON FUNCTION loyalty.has_offer_as_owner(bigint, text, timestamptz, text) IS 'the body of has_offer()';
REVOKE ALL ON FUNCTION loyalty.has_offer_as_owner(bigint, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_account(member_id bigint, program_id integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = check_account.member_id AND a.program_id = check_account.program_id) THEN
    RAISE EXCEPTION 'member % has no account in program "%"', member_id, (SELECT p.name FROM loyalty.program p WHERE p.id = check_account.program_id)
      USING ERRCODE = 'LY002', HINT = 'A member gets an account by a first purchase, or by loyalty.enroll().';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_account(bigint, integer) IS 'raise LY002 unless the member has an account in the program';
REVOKE ALL ON FUNCTION loyalty.check_account(bigint, integer) FROM PUBLIC;

-- ---- calls.  Each makes a state true; when it is so already, nothing happens.

CREATE OR REPLACE FUNCTION loyalty.give_offer(member_id bigint, offer text, program text DEFAULT NULL, until timestamptz DEFAULT 'infinity') RETURNS timestamptz
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.give_offer(bigint, text, text, timestamptz) IS 'make an offer one member''s own, also once more after it was withdrawn; returns since when it is';
REVOKE ALL ON FUNCTION loyalty.give_offer(bigint, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.give_offer_as_owner(member_id bigint, offer text, program text, until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  o record;
  now_at timestamptz;
BEGIN
  SELECT * INTO o FROM loyalty.named_offer(program, offer);
  PERFORM loyalty.check_account(member_id, o.program_id);
  now_at := loyalty.writing_instant(o.program_id);
  IF until IS NULL OR until <= now_at THEN
    RAISE EXCEPTION 'until is %', coalesce(until::text, 'null')
      USING ERRCODE = 'LY017', HINT = 'It lies ahead; leave it out for without end.';
  END IF;
  INSERT INTO loyalty.offer_member AS m (member_id, program_id, offer_id, given_at, until, by, set_role, posted_at)
  VALUES (member_id, o.program_id, o.offer_id, now_at, until, session_user, loyalty.caller(), statement_timestamp())
  ON CONFLICT ON CONSTRAINT offer_member_pkey DO UPDATE
  SET given_at = CASE WHEN m.withdrawn_at IS NULL THEN coalesce(m.given_at, excluded.given_at) ELSE excluded.given_at END,
    until = excluded.until, withdrawn_at = NULL, activated_at = CASE WHEN m.withdrawn_at IS NULL THEN m.activated_at END,
    by = excluded.by, set_role = excluded.set_role, posted_at = excluded.posted_at
  WHERE (m.given_at IS NULL OR m.until <> excluded.until OR m.withdrawn_at IS NOT NULL);
  RETURN (SELECT m.given_at FROM loyalty.offer_member m WHERE m.member_id = give_offer_as_owner.member_id AND m.program_id = o.program_id AND m.offer_id = o.offer_id);
END $$;
COMMENT ON FUNCTION loyalty.give_offer_as_owner(bigint, text, text, timestamptz) IS 'the body of give_offer()';
REVOKE ALL ON FUNCTION loyalty.give_offer_as_owner(bigint, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.activate_offer(member_id bigint, offer text, program text DEFAULT NULL) RETURNS timestamptz
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.activate_offer(bigint, text, text) IS 'from now on the offer counts for the member''s purchases, until it ends, also when the member leaves its segment; returns since when it does; LY005 when the member has not got it';
REVOKE ALL ON FUNCTION loyalty.activate_offer(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.activate_offer_as_owner(member_id bigint, offer text, program text) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  o record;
  now_at timestamptz;
BEGIN
  SELECT * INTO o FROM loyalty.named_offer(program, offer);
  PERFORM loyalty.check_account(member_id, o.program_id);
  now_at := loyalty.writing_instant(o.program_id);
  IF NOT loyalty.is_offered(member_id, o.program_id, o.offer_id, now_at) THEN
    RAISE EXCEPTION 'member % has not got offer "%"', member_id, offer
      USING ERRCODE = 'LY005',
        DETAIL = CASE WHEN NOT o.enabled THEN 'It is disabled.'
                      WHEN now_at < o.starts_at THEN format('It begins at %s.', o.starts_at)
                      WHEN now_at >= o.ends_at THEN format('It ended at %s.', o.ends_at)
                      WHEN o.segment IS NOT NULL THEN format('It was not given to the member, or was withdrawn, and the member is not in segment "%s".', o.segment)
                      ELSE 'It was not given to the member, or it was withdrawn, or its time is over.' END,
        HINT = 'loyalty.offers_for() lists what a member has.';
  END IF;
  -- whoever has activated it keeps it, also when the segment is left
  INSERT INTO loyalty.offer_member AS m (member_id, program_id, offer_id, given_at, activated_at, by, set_role, posted_at)
  VALUES (member_id, o.program_id, o.offer_id, now_at, now_at, session_user, loyalty.caller(), statement_timestamp())
  ON CONFLICT ON CONSTRAINT offer_member_pkey DO UPDATE
  SET given_at = coalesce(m.given_at, excluded.given_at), activated_at = excluded.activated_at, by = excluded.by, set_role = excluded.set_role, posted_at = excluded.posted_at
  WHERE m.activated_at IS NULL;
  RETURN (SELECT m.activated_at FROM loyalty.offer_member m WHERE m.member_id = activate_offer_as_owner.member_id AND m.program_id = o.program_id AND m.offer_id = o.offer_id);
END $$;
COMMENT ON FUNCTION loyalty.activate_offer_as_owner(bigint, text, text) IS 'the body of activate_offer()';
REVOKE ALL ON FUNCTION loyalty.activate_offer_as_owner(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_offer(member_id bigint, offer text, program text DEFAULT NULL) RETURNS timestamptz
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.withdraw_offer(bigint, text, text) IS 'the member has not got the offer any more, whatever segment there is; returns since when';
REVOKE ALL ON FUNCTION loyalty.withdraw_offer(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_offer_as_owner(member_id bigint, offer text, program text) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  o record;
BEGIN
  SELECT * INTO o FROM loyalty.named_offer(program, offer);
  PERFORM loyalty.check_account(member_id, o.program_id);
  INSERT INTO loyalty.offer_member AS m (member_id, program_id, offer_id, withdrawn_at, by, set_role, posted_at)
  VALUES (member_id, o.program_id, o.offer_id, loyalty.writing_instant(o.program_id), session_user, loyalty.caller(), statement_timestamp())
  ON CONFLICT ON CONSTRAINT offer_member_pkey DO UPDATE
  SET withdrawn_at = excluded.withdrawn_at, by = excluded.by, set_role = excluded.set_role, posted_at = excluded.posted_at
  WHERE m.withdrawn_at IS NULL;
  RETURN (SELECT m.withdrawn_at FROM loyalty.offer_member m WHERE m.member_id = withdraw_offer_as_owner.member_id AND m.program_id = o.program_id AND m.offer_id = o.offer_id);
END $$;
COMMENT ON FUNCTION loyalty.withdraw_offer_as_owner(bigint, text, text) IS 'the body of withdraw_offer()';
REVOKE ALL ON FUNCTION loyalty.withdraw_offer_as_owner(bigint, text, text) FROM PUBLIC;

-- ---- reading

CREATE OR REPLACE FUNCTION loyalty.offers_for(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (offer text, title text, state text, activated_at timestamptz, until timestamptz, uses bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.offers_for(bigint, text, timestamptz) IS
  'the offers of a member at an instant: offered (to be activated), active, or used (its rules have paid as often as they do); until when, and on how many purchases it has paid';
REVOKE ALL ON FUNCTION loyalty.offers_for(bigint, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.offers_for_as_owner(of_member bigint, in_program text, given_at timestamptz)
RETURNS TABLE (offer text, title text, state text, activated_at timestamptz, until timestamptz, uses bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  number integer := loyalty.program_number(in_program);
  instant timestamptz := coalesce(given_at, loyalty.instant());
BEGIN
  PERFORM loyalty.check_account(of_member, number);
  RETURN QUERY
  SELECT o.name, coalesce(o.title, o.name),
    CASE WHEN u.rules > 0 AND u.used_up = u.rules THEN 'used'
         WHEN NOT o.activation OR m.activated_at <= instant THEN 'active'
         ELSE 'offered' END,
    m.activated_at,
    nullif(CASE WHEN o.segment IS NULL THEN least(o.ends_at, m.until) ELSE o.ends_at END, 'infinity'),
    u.uses
  FROM loyalty.offer o
  JOIN loyalty.program p ON p.name = o.program AND p.id = number
  LEFT JOIN loyalty.offer_member m ON m.member_id = of_member AND m.program_id = number AND m.offer_id = o.id
  CROSS JOIN LATERAL (
    SELECT count(*) AS rules, count(*) FILTER (WHERE r.max_uses <= coalesce(k.uses, 0)) AS used_up, coalesce(sum(k.uses), 0)::bigint AS uses
    FROM loyalty.rule r
    LEFT JOIN LATERAL (
      SELECT sum(g.uses) AS uses FROM loyalty.rule_usage g
      WHERE g.member_id = of_member AND g.program_id = number AND g.rule_id = r.id AND g.period_start <= instant AND g.period_end > instant) k ON true
    WHERE r.program = o.program AND r.offer = o.name AND r.enabled) u
  WHERE loyalty.is_offered(of_member, number, o.id, instant)
  ORDER BY o.name;
END $$;
COMMENT ON FUNCTION loyalty.offers_for_as_owner(bigint, text, timestamptz) IS 'the body of offers_for()';
REVOKE ALL ON FUNCTION loyalty.offers_for_as_owner(bigint, text, timestamptz) FROM PUBLIC;
