-- What entry functions written in plpgsql share; call.c and request.c are the same for those in C.

-- Chains end: merge_members() refuses who was merged.
CREATE OR REPLACE FUNCTION loyalty.member_now(member_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := member_now.member_id;
  into_member bigint;
BEGIN
  LOOP
    SELECT m.merged_into INTO into_member FROM loyalty.member m WHERE m.member_id = who AND m.status = 'merged';
    IF NOT FOUND THEN
      RETURN who;
    END IF;
    who := into_member;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.member_now(bigint) IS 'who this member is now: whoever they were merged into, else they themselves';
REVOKE ALL ON FUNCTION loyalty.member_now(bigint) FROM PUBLIC;

-- LY002 without an account, LY017 for NULL.  The row is written as it is: at REPEATABLE READ and SERIALIZABLE whoever waited
-- for this call has to try again, and does not go by what it cannot see.
CREATE OR REPLACE FUNCTION loyalty.call_begin(member_id bigint, program_id integer) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF call_begin.member_id IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  ELSIF loyalty.lock_accounts(call_begin.program_id, ARRAY[call_begin.member_id]) = 0 THEN
    RAISE EXCEPTION 'member % has no account in program "%"', call_begin.member_id,
      (SELECT p.name FROM loyalty.program p WHERE p.id = call_begin.program_id)
      USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
  END IF;
  UPDATE loyalty.account a SET settled_at = a.settled_at
  WHERE a.member_id = call_begin.member_id AND a.program_id = call_begin.program_id;
  RETURN loyalty.account_instant(call_begin.member_id, call_begin.program_id);
END $$;
COMMENT ON FUNCTION loyalty.call_begin(bigint, integer) IS 'lock a member''s account; returns the instant of the call';
REVOKE ALL ON FUNCTION loyalty.call_begin(bigint, integer) FROM PUBLIC;

-- The words of request.c.
CREATE OR REPLACE FUNCTION loyalty.check_call_key(key text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF key = '' THEN
    RAISE EXCEPTION 'key is empty' USING ERRCODE = 'LY017', HINT = 'Give each call a key of its own, or leave it out.';
  ELSIF octet_length(key) > 500 THEN
    RAISE EXCEPTION 'key is too long'
      USING ERRCODE = 'LY008', DETAIL = format('It has %s bytes, and at most 500 are allowed.', octet_length(key));
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_call_key(text) IS 'raise LY017 or LY008 for keys that no call can have';
REVOKE ALL ON FUNCTION loyalty.check_call_key(text) FROM PUBLIC;

-- `arguments` in the order of the function, what was left out as null, numbers trimmed, times in UTC, so that equal ones are
-- equal text; `former` as it was kept, without what was left out: an argument that a later version adds finds old calls unchanged.
CREATE OR REPLACE FUNCTION loyalty.check_arguments(key text, former jsonb, arguments json) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  a record;
BEGIN
  SELECT n.name, former ->> n.name AS was, n.value AS now INTO a
  FROM json_each_text(arguments) WITH ORDINALITY n (name, value, place)
  WHERE n.value IS DISTINCT FROM former ->> n.name ORDER BY n.place LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'key "%" was used with other arguments', key
      USING ERRCODE = 'LY004', DETAIL = format('%s was %s and is now %s.', a.name, coalesce(a.was, 'left out'), coalesce(a.now, 'left out')),
            HINT = 'Repeat a call with the same arguments, or give it a key of its own.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_arguments(text, jsonb, json) IS 'raise LY004 when a key comes with other arguments than before; the first that differs is named';
REVOKE ALL ON FUNCTION loyalty.check_arguments(text, jsonb, json) FROM PUBLIC;

-- Under the account's lock.
CREATE OR REPLACE FUNCTION loyalty.find_call(member_id bigint, program_id integer, key text, call text, arguments json) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  former loyalty.request;
BEGIN
  IF key IS NULL THEN
    RETURN NULL;
  END IF;
  PERFORM loyalty.check_call_key(key);
  SELECT r.* INTO former FROM loyalty.request r
  WHERE r.member_id = find_call.member_id AND r.program_id = find_call.program_id AND r.key = find_call.key COLLATE "C";
  IF NOT FOUND THEN
    RETURN NULL;
  ELSIF former.call <> find_call.call THEN
    RAISE EXCEPTION 'key "%" was used by another call', key
      USING ERRCODE = 'LY004', DETAIL = format('It was used by %s, and now by %s.', former.call, find_call.call),
            HINT = 'A key names one call for ever: give each call a key of its own.';
  END IF;
  PERFORM loyalty.check_arguments(key, former.arguments, find_call.arguments);
  RETURN coalesce(former.answer, '{}');
END $$;
COMMENT ON FUNCTION loyalty.find_call(bigint, integer, text, text, json) IS
  'what a call of this key answered; NULL: the key is new, or none was given; LY004 for another call or other arguments';
REVOKE ALL ON FUNCTION loyalty.find_call(bigint, integer, text, text, json) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.keep_call(
  member_id bigint, program_id integer, key text, call text, arguments json, at timestamptz, answer jsonb) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.request (member_id, program_id, key, call, arguments, at, answer)
  SELECT keep_call.member_id, keep_call.program_id, keep_call.key, keep_call.call, jsonb_strip_nulls(keep_call.arguments::jsonb), keep_call.at,
    keep_call.answer
  WHERE keep_call.key IS NOT NULL
$$;
COMMENT ON FUNCTION loyalty.keep_call(bigint, integer, text, text, json, timestamptz, jsonb) IS 'keep what a call of this key answered, for ever; nothing without a key';
REVOKE ALL ON FUNCTION loyalty.keep_call(bigint, integer, text, text, json, timestamptz, jsonb) FROM PUBLIC;

-- Money as people write it.
CREATE OR REPLACE FUNCTION loyalty.check_money(what text, amount numeric, decimals integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF amount IN ('NaN', 'Infinity', '-Infinity') OR amount < 0 OR amount >= 1e15 OR amount <> trunc(amount, decimals) THEN
    RAISE EXCEPTION '% is %', what, amount
      USING ERRCODE = 'LY017', HINT = format('It is 0 or more, with at most %s decimals (program.money_decimals).', decimals);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_money(text, numeric, integer) IS 'raise LY017 unless this is an amount of money with so many decimals';
REVOKE ALL ON FUNCTION loyalty.check_money(text, numeric, integer) FROM PUBLIC;

-- The instant of a call, as C has it: call_settle().
CREATE OR REPLACE FUNCTION loyalty.account_instant(member_id bigint, program_id integer) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT greatest(loyalty.writing_instant(account_instant.program_id),
    (SELECT a.settled_at FROM loyalty.account a WHERE a.member_id = account_instant.member_id AND a.program_id = account_instant.program_id))
$$;
COMMENT ON FUNCTION loyalty.account_instant(bigint, integer) IS 'what time it is for a call that writes to this account';
REVOKE ALL ON FUNCTION loyalty.account_instant(bigint, integer) FROM PUBLIC;

-- LY002, LY006 and LY009, as the calls in C have them.
CREATE OR REPLACE FUNCTION loyalty.check_active(member_id bigint, program_id integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  standing text;
BEGIN
  IF member_id IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  END IF;
  SELECT coalesce((SELECT m.status FROM loyalty.member m WHERE m.member_id = a.member_id AND m.status <> 'active'), a.status) INTO standing
  FROM loyalty.account a WHERE a.member_id = check_active.member_id AND a.program_id = check_active.program_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no account in program "%"', member_id, (SELECT p.name FROM loyalty.program p WHERE p.id = check_active.program_id)
      USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
  ELSIF standing = 'erased' THEN
    RAISE EXCEPTION 'member % was erased', member_id USING ERRCODE = 'LY006', HINT = 'That cannot be undone: the person joins again under another number.';
  ELSIF standing <> 'active' THEN
    RAISE EXCEPTION 'account of member % in program "%" is %', member_id, (SELECT p.name FROM loyalty.program p WHERE p.id = check_active.program_id), standing
      USING ERRCODE = 'LY009', HINT = CASE standing WHEN 'blocked' THEN 'loyalty.unblock() lifts it.' ELSE 'The status in loyalty.member says so.' END;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_active(bigint, integer) IS 'raise LY002 without an account, LY006 when it was erased, LY009 unless it is active';
REVOKE ALL ON FUNCTION loyalty.check_active(bigint, integer) FROM PUBLIC;
