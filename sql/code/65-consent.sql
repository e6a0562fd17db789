-- What members allow.  A person's, not a program's; rules ask loyalty.has_consent(member.member_id, 'marketing', earn.occurred_at).

-- Who that is by now; LY002 when nobody knows the member, LY006 when it was erased.  Locks the person.
CREATE OR REPLACE FUNCTION loyalty.lock_member(member bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  person record;
BEGIN
  IF member IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  END IF;
  IF NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = member) THEN
    IF NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = member)
       AND NOT EXISTS (SELECT FROM loyalty.member_alias a WHERE a.member_id = member) THEN
      RAISE EXCEPTION 'member % is not known', member
        USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
    END IF;
    INSERT INTO loyalty.member (member_id) VALUES (member) ON CONFLICT (member_id) DO NOTHING;
  END IF;
  SELECT m.status, m.merged_into INTO person FROM loyalty.member m WHERE m.member_id = member FOR NO KEY UPDATE;
  IF person.status = 'merged' THEN
    RETURN loyalty.lock_member(person.merged_into);
  ELSIF person.status = 'erased' THEN
    RAISE EXCEPTION 'member % was erased', member
      USING ERRCODE = 'LY006', HINT = 'That cannot be undone: the person joins again under another number.';
  END IF;
  RETURN member;
END $$;
COMMENT ON FUNCTION loyalty.lock_member(bigint) IS 'the number of a member now, whose row is locked; raise LY002 unless it is known, LY006 when it was erased';
REVOKE ALL ON FUNCTION loyalty.lock_member(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_word(argument text, value text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF value IS NULL OR value = '' OR value <> btrim(value) OR octet_length(value) > 200 THEN
    RAISE EXCEPTION '% is %', argument, coalesce('"' || value || '"', 'null')
      USING ERRCODE = 'LY017', HINT = 'It has 1 to 200 bytes and no space around it.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_word(text, text) IS 'raise LY017 for empty and overlong words';
REVOKE ALL ON FUNCTION loyalty.check_word(text, text) FROM PUBLIC;

-- One statement of a member about one purpose.
CREATE OR REPLACE FUNCTION loyalty.say_consent(
  member bigint, given boolean, purpose text, source text, said_at timestamptz, key text, wording text, said_until timestamptz)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  arguments json := json_build_object('given', given, 'purpose', purpose, 'source', source,
    'at', said_at AT TIME ZONE 'UTC', 'wording', wording, 'until', said_until AT TIME ZONE 'UTC');
  now timestamptz := statement_timestamp();
  c record;
BEGIN
  PERFORM loyalty.check_word('purpose', purpose);
  PERFORM loyalty.check_word('source', source);
  PERFORM loyalty.check_call_key(key);
  IF said_at > now OR NOT isfinite(said_at) THEN
    RAISE EXCEPTION 'at is %', said_at USING ERRCODE = 'LY017', HINT = 'A member says it now or has said it before.';
  ELSIF said_until <= coalesce(said_at, now) THEN
    RAISE EXCEPTION 'until is %', said_until USING ERRCODE = 'LY017', HINT = 'It lies behind the instant from which the consent holds.';
  END IF;
  member := loyalty.lock_member(member);
  SELECT o.* INTO c FROM loyalty.consent o WHERE o.member_id = member AND o.key = key;
  IF FOUND THEN
    PERFORM loyalty.check_arguments(key, c.arguments, arguments);
    RETURN c.consent_no;
  END IF;
  INSERT INTO loyalty.consent AS o (member_id, consent_no, purpose, given, at, until, source, wording, key, arguments, posted_at, by, set_role)
  SELECT member, coalesce(max(l.consent_no), 0) + 1, purpose, given, coalesce(said_at, now), coalesce(said_until, 'infinity'), source, wording, key,
    jsonb_strip_nulls(arguments::jsonb), now, session_user, loyalty.caller()
  FROM loyalty.consent l WHERE l.member_id = member
  RETURNING o.consent_no INTO c;
  RETURN c.consent_no;
END $$;
COMMENT ON FUNCTION loyalty.say_consent(bigint, boolean, text, text, timestamptz, text, text, timestamptz) IS 'the body of give_consent() and withdraw_consent()';
REVOKE ALL ON FUNCTION loyalty.say_consent(bigint, boolean, text, text, timestamptz, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.give_consent(
  member_id bigint, purpose text, source text, at timestamptz DEFAULT NULL, key text DEFAULT NULL, wording text DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS TABLE (consent_no bigint, purpose text, given boolean, at timestamptz, until timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.give_consent(bigint, text, text, timestamptz, text, text, timestamptz) IS
  'a member allows something: what for, where it was said, which text was agreed to; holds from at (now) until it is withdrawn, or until. The same key and arguments again do nothing';
REVOKE ALL ON FUNCTION loyalty.give_consent(bigint, text, text, timestamptz, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.give_consent_as_owner(
  member bigint, what_for text, source text, said_at timestamptz, key text, wording text, said_until timestamptz)
RETURNS TABLE (consent_no bigint, purpose text, given boolean, at timestamptz, until timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  said bigint;
BEGIN
  said := loyalty.say_consent(member, true, what_for, source, said_at, key, wording, said_until);
  RETURN QUERY SELECT c.consent_no, c.purpose, c.given, c.at, c.until
  FROM loyalty.consent c WHERE c.member_id = loyalty.member_now(member) AND c.consent_no = said;
END $$;
COMMENT ON FUNCTION loyalty.give_consent_as_owner(bigint, text, text, timestamptz, text, text, timestamptz) IS 'the body of give_consent()';
REVOKE ALL ON FUNCTION loyalty.give_consent_as_owner(bigint, text, text, timestamptz, text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_consent(
  member_id bigint, purpose text, source text, at timestamptz DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (consent_no bigint, purpose text, given boolean, at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.withdraw_consent(bigint, text, text, timestamptz, text) IS
  'a member forbids something, whether or not it was ever allowed; the same key and arguments again do nothing';
REVOKE ALL ON FUNCTION loyalty.withdraw_consent(bigint, text, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_consent_as_owner(member bigint, what_for text, source text, said_at timestamptz, key text)
RETURNS TABLE (consent_no bigint, purpose text, given boolean, at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  said bigint;
BEGIN
  said := loyalty.say_consent(member, false, what_for, source, said_at, key, NULL, NULL);
  RETURN QUERY SELECT c.consent_no, c.purpose, c.given, c.at
  FROM loyalty.consent c WHERE c.member_id = loyalty.member_now(member) AND c.consent_no = said;
END $$;
COMMENT ON FUNCTION loyalty.withdraw_consent_as_owner(bigint, text, text, timestamptz, text) IS 'the body of withdraw_consent()';
REVOKE ALL ON FUNCTION loyalty.withdraw_consent_as_owner(bigint, text, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_consent(member_id bigint, purpose text, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.has_consent(bigint, text, timestamptz) IS
  'does a member allow this, now or at an instant; false for whoever never spoke about it; for rules and applications';
REVOKE ALL ON FUNCTION loyalty.has_consent(bigint, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_consent_as_owner(member bigint, what_for text, asked_at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((
    SELECT c.given AND c.until > coalesce(asked_at, loyalty.instant()) FROM loyalty.consent c
    WHERE c.member_id = loyalty.member_now(member)
      AND c.purpose = what_for AND c.at <= coalesce(asked_at, loyalty.instant())
    ORDER BY c.at DESC, c.consent_no DESC LIMIT 1), false)
    AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = loyalty.member_now(member) AND m.status = 'erased');
END $$;
COMMENT ON FUNCTION loyalty.has_consent_as_owner(bigint, text, timestamptz) IS 'the body of has_consent()';
REVOKE ALL ON FUNCTION loyalty.has_consent_as_owner(bigint, text, timestamptz) FROM PUBLIC;
