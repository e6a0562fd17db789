-- What rooms written in SQL share: who a member is now, when it is for an account, keys of calls.

CREATE OR REPLACE FUNCTION loyalty.member_now(member_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  into_member bigint;
BEGIN
  IF member_id IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  END IF;
  LOOP
    SELECT m.merged_into INTO into_member FROM loyalty.member m WHERE m.member_id = member_now.member_id AND m.status = 'merged';
    EXIT WHEN NOT FOUND;
    member_id := into_member;
  END LOOP;
  RETURN member_id;
END $$;
COMMENT ON FUNCTION loyalty.member_now(bigint) IS 'who a member is now: whoever they were merged into';
REVOKE ALL ON FUNCTION loyalty.member_now(bigint) FROM PUBLIC;

-- The instant of a call, as C has it: call_settle().
CREATE OR REPLACE FUNCTION loyalty.account_instant(member_id bigint, program_id integer) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT greatest(CASE WHEN p.sandbox THEN loyalty.instant() ELSE statement_timestamp() END,
    (SELECT a.settled_at FROM loyalty.account a WHERE a.member_id = account_instant.member_id AND a.program_id = p.id))
  FROM loyalty.program p WHERE p.id = account_instant.program_id
$$;
COMMENT ON FUNCTION loyalty.account_instant(bigint, integer) IS 'what time it is for a call that writes to this account';
REVOKE ALL ON FUNCTION loyalty.account_instant(bigint, integer) FROM PUBLIC;

-- LY002 and LY009, as the calls in C have them.
CREATE OR REPLACE FUNCTION loyalty.check_account(member_id bigint, program_id integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  standing text;
BEGIN
  SELECT coalesce((SELECT m.status FROM loyalty.member m WHERE m.member_id = a.member_id AND m.status <> 'active'), a.status) INTO standing
  FROM loyalty.account a WHERE a.member_id = check_account.member_id AND a.program_id = check_account.program_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no account in program "%"', member_id, (SELECT p.name FROM loyalty.program p WHERE p.id = check_account.program_id)
      USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
  ELSIF standing <> 'active' THEN
    RAISE EXCEPTION 'the account of member % is %', member_id, standing USING ERRCODE = 'LY009';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_account(bigint, integer) IS 'raise LY002 without an account, LY009 unless it is active';
REVOKE ALL ON FUNCTION loyalty.check_account(bigint, integer) FROM PUBLIC;

-- Was the key used?  By the same call with the same arguments: what it answered.  Under the account's lock.
CREATE OR REPLACE FUNCTION loyalty.request_find(member_id bigint, program_id integer, key text, call text, arguments jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  q loyalty.request;
  name text;
BEGIN
  IF key IS NULL THEN
    RETURN NULL;
  ELSIF key = '' THEN
    RAISE EXCEPTION 'key is empty' USING ERRCODE = 'LY017', HINT = 'Give each call a key of its own, or leave it out.';
  ELSIF octet_length(key) > 500 THEN
    RAISE EXCEPTION 'key is too long'
      USING ERRCODE = 'LY008', DETAIL = format('It has %s bytes, and at most 500 are allowed.', octet_length(key));
  END IF;
  SELECT r.* INTO q FROM loyalty.request r
  WHERE r.member_id = request_find.member_id AND r.program_id = request_find.program_id AND r.key = request_find.key;
  IF NOT FOUND THEN
    RETURN NULL;
  ELSIF q.call <> call THEN
    RAISE EXCEPTION 'key "%" was used by another call', key
      USING ERRCODE = 'LY004', DETAIL = format('It was used by %s, and now by %s.', q.call, call),
            HINT = 'A key names one call for ever: give each call a key of its own.';
  END IF;
  FOR name IN SELECT k FROM jsonb_object_keys(q.arguments || jsonb_strip_nulls(arguments)) k ORDER BY k LOOP
    IF q.arguments -> name IS DISTINCT FROM jsonb_strip_nulls(arguments) -> name THEN
      RAISE EXCEPTION 'key "%" was used with other arguments', key
        USING ERRCODE = 'LY004', DETAIL = format('%s was %s and is now %s.', name, coalesce(q.arguments ->> name, 'left out'),
                                                 coalesce(arguments ->> name, 'left out')),
              HINT = 'Repeat a call with the same arguments, or give it a key of its own.';
    END IF;
  END LOOP;
  RETURN coalesce(q.answer, '{}');
END $$;
COMMENT ON FUNCTION loyalty.request_find(bigint, integer, text, text, jsonb) IS 'what a call with this key has answered, NULL when it is new; LY004 when the key was used by another call or with other arguments';
REVOKE ALL ON FUNCTION loyalty.request_find(bigint, integer, text, text, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.request_keep(member_id bigint, program_id integer, key text, call text, arguments jsonb, at timestamptz, answer jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.request (member_id, program_id, key, call, arguments, at, answer)
  SELECT request_keep.member_id, request_keep.program_id, request_keep.key, request_keep.call, jsonb_strip_nulls(request_keep.arguments), request_keep.at, request_keep.answer
  WHERE request_keep.key IS NOT NULL
$$;
COMMENT ON FUNCTION loyalty.request_keep(bigint, integer, text, text, jsonb, timestamptz, jsonb) IS 'keep the key of a call and what it answered; without a key nothing';
REVOKE ALL ON FUNCTION loyalty.request_keep(bigint, integer, text, text, jsonb, timestamptz, jsonb) FROM PUBLIC;
