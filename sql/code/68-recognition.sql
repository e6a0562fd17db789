-- Recognition: members give each other points from an allowance.  The giver's account row is the lock of the allowance, the
-- receiver's account gets the points; both are locked, in the order of all locks, before anything is read.

CREATE OR REPLACE FUNCTION loyalty.config_recognition() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  decimals integer;
  f record;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('recognition', OLD.name, OLD.program, loyalty.in_ledger('recognition', OLD.id));
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('recognition', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_interval('back_within', NEW.back_within);
  SELECT p.decimals INTO decimals FROM loyalty.program p WHERE p.name = NEW.program;
  FOR f IN SELECT * FROM (VALUES ('allowance', NEW.allowance), ('minimum', NEW.minimum), ('maximum', NEW.maximum), ('per_receiver', NEW.per_receiver),
                            ('back_maximum', NEW.back_maximum)) v (setting, value) WHERE v.value <> trunc(v.value, decimals) OR v.value >= 1e10 OR v.value < 0 LOOP
    RAISE EXCEPTION '% is %', f.setting, f.value
      USING ERRCODE = 'LY017', HINT = format('It lies between 0 and 10,000,000,000, with at most %s decimals.', decimals);
  END LOOP;
  NEW.period := NEW.period::loyalty.period::text;
  IF NEW.period LIKE 'rolling %' THEN
    RAISE EXCEPTION 'the period of an allowance is %', NEW.period
      USING ERRCODE = 'LY017', HINT = 'It is to be used or lost when it ends: calendar month.';
  ELSIF jsonb_typeof(NEW.givers) <> 'object' OR jsonb_typeof(NEW.receivers) <> 'object' THEN
    RAISE EXCEPTION 'givers and receivers are attributes of members'
      USING ERRCODE = 'LY017', HINT = 'Write a JSON object: {"staff": true}; {} for all.';
  ELSIF NEW.minimum > coalesce(NEW.maximum, NEW.allowance) OR NEW.minimum > NEW.allowance OR NEW.minimum > NEW.per_receiver THEN
    RAISE EXCEPTION 'minimum is %', NEW.minimum USING ERRCODE = 'LY017', HINT = 'It is at most maximum, per_receiver and allowance.';
  ELSIF NEW.choices = '{}' OR array_position(NEW.choices, NULL) IS NOT NULL OR '' = ANY (NEW.choices) THEN
    RAISE EXCEPTION 'choices is %', NEW.choices USING ERRCODE = 'LY017', HINT = 'Name some, or leave it out.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_recognition() IS 'trigger: checks a recognition';
REVOKE ALL ON FUNCTION loyalty.config_recognition() FROM PUBLIC;

-- What a member can give away at an instant, one row a recognition.
CREATE OR REPLACE FUNCTION loyalty.allowance_at(member_id bigint, program_id integer, at timestamptz)
RETURNS TABLE (recognition_id integer, recognition text, allowance bigint, given bigint, period_start timestamptz, period_end timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.id, r.name, (r.allowance * 10000)::bigint, coalesce((
      SELECT sum(g.points) FROM loyalty.recognition_given g
      WHERE g.member_id = a.member_id AND g.program_id = a.program_id AND g.recognition_id = r.id AND g.at >= w.starts_at AND g.at < w.ends_at
        AND g.at <= allowance_at.at AND (g.withdrawn_at IS NULL OR g.withdrawn_at > allowance_at.at)), 0)::bigint,
    w.starts_at, w.ends_at
  FROM loyalty.program p
  JOIN loyalty.recognition r ON r.program = p.name AND r.enabled AND allowance_at.at >= r.starts_at AND allowance_at.at < r.ends_at
  JOIN loyalty.account a ON a.member_id = allowance_at.member_id AND a.program_id = p.id AND a.status = 'active'
  LEFT JOIN loyalty.member m ON m.member_id = a.member_id
  CROSS JOIN LATERAL loyalty.period_bounds(r.period::loyalty.period, allowance_at.at, p.timezone, a.enrolled_at) w
  WHERE p.id = allowance_at.program_id AND p.enabled AND coalesce(m.status, 'active') = 'active' AND coalesce(m.attributes, '{}') @> r.givers
  ORDER BY r.priority DESC, r.id
$$;
COMMENT ON FUNCTION loyalty.allowance_at(bigint, integer, timestamptz) IS 'part of allowance() and recognise(): count of 1/10,000 point';
REVOKE ALL ON FUNCTION loyalty.allowance_at(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.allowance(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (recognition text, allowance numeric, given numeric, left_over numeric, period_start timestamptz, period_end timestamptz)
LANGUAGE c STABLE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.allowance(bigint, text, timestamptz) IS
  'what a member can give away in the period that holds an instant (now when left out), and has; no row for who may not give; the first row is what recognise() uses';
REVOKE ALL ON FUNCTION loyalty.allowance(bigint, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.allowance_as_owner(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (recognition text, allowance numeric, given numeric, left_over numeric, period_start timestamptz, period_end timestamptz)
LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT x.recognition, trim_scale(x.allowance * 0.0001), trim_scale(x.given * 0.0001), trim_scale(greatest(x.allowance - x.given, 0) * 0.0001),
    nullif(x.period_start, '-infinity'), nullif(x.period_end, 'infinity')
  FROM loyalty.program p
  CROSS JOIN LATERAL loyalty.allowance_at(loyalty.member_now(allowance_as_owner.member_id), p.id, coalesce(allowance_as_owner.at, loyalty.instant())) x
  WHERE p.name = loyalty.program_name(allowance_as_owner.program);
END $$;
COMMENT ON FUNCTION loyalty.allowance_as_owner(bigint, text, timestamptz) IS 'the body of allowance()';
REVOKE ALL ON FUNCTION loyalty.allowance_as_owner(bigint, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recognise(
  from_member bigint, to_member bigint, points numeric, message text, choice text DEFAULT NULL, program text DEFAULT NULL, recognition text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (given_no bigint, entry_no bigint, left_over numeric, period_end timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.recognise(bigint, bigint, numeric, text, text, text, text, text) IS
  'give another member points from the allowance of from_member, with a message; returns the number of the giving, the receiver''s entry, and what is left to give until period_end. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.recognise(bigint, bigint, numeric, text, text, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recognise_as_owner(
  from_member bigint, to_member bigint, points numeric, message text, choice text DEFAULT NULL, program text DEFAULT NULL, recognition text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (given_no bigint, entry_no bigint, left_over numeric, period_end timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  giver bigint := loyalty.member_now(from_member);
  receiver bigint := loyalty.member_now(to_member);
  p loyalty.program;
  r loyalty.recognition;
  x record;
  granted record;
  arguments json;
  answer jsonb;
  instant timestamptz;
BEGIN
  SELECT y.* INTO p FROM loyalty.program y WHERE y.name = loyalty.program_name(program);
  IF points IS NULL OR points IN ('NaN', 'Infinity', '-Infinity') OR points <= 0 OR points >= 1e10 OR points <> trunc(points, p.decimals) THEN
    RAISE EXCEPTION 'points is %', coalesce(points::text, 'null')
      USING ERRCODE = 'LY017', HINT = format('It lies above 0, below 10,000,000,000, and has at most %s decimals.', p.decimals);
  ELSIF coalesce(btrim(message), '') = '' THEN
    RAISE EXCEPTION 'message is missing' USING ERRCODE = 'LY017', HINT = 'Say what for.';
  ELSIF octet_length(message) > 10000 THEN
    RAISE EXCEPTION 'message is too long'
      USING ERRCODE = 'LY008', DETAIL = format('It has %s bytes, and at most 10000 are allowed.', octet_length(message));
  ELSIF giver = receiver THEN
    RAISE EXCEPTION 'member % cannot recognise themselves', giver USING ERRCODE = 'LY017';
  END IF;
  PERFORM loyalty.lock_accounts(p.id, ARRAY[giver, receiver]);
  arguments := json_build_object('to_member', receiver, 'points', trim_scale(points), 'message', message, 'choice', choice, 'recognition', recognition);
  answer := loyalty.find_call(giver, p.id, key, 'recognise', arguments);
  IF answer IS NULL THEN
    PERFORM loyalty.check_active(giver, p.id);
    PERFORM loyalty.check_active(receiver, p.id);
    instant := loyalty.account_instant(giver, p.id);
    SELECT y.* INTO x FROM loyalty.allowance_at(giver, p.id, instant) y WHERE recognition IS NULL OR y.recognition = recognise_as_owner.recognition LIMIT 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'member % may not give points away in program "%"', giver, p.name
        USING ERRCODE = 'LY016', HINT = 'SELECT * FROM loyalty.recognition says who may.';
    END IF;
    SELECT y.* INTO r FROM loyalty.recognition y WHERE y.id = x.recognition_id;
    PERFORM loyalty.check_recognition(r.id, p.id, giver, receiver, points, choice, x.given * 0.0001, x.period_start, x.period_end, instant);
    SELECT a.entry_no, a.expires_at INTO granted
    FROM loyalty.adjust(receiver, points, format('recognised by member %s%s', giver, coalesce(': ' || choice, '')), program => p.name, counts_for_tier => r.counts_for_tier) a;
    SELECT coalesce(max(g.given_no), 0) + 1 INTO given_no FROM loyalty.recognition_given g WHERE g.member_id = giver AND g.program_id = p.id;
    BEGIN
      INSERT INTO loyalty.recognition_given (member_id, program_id, given_no, recognition_id, to_member, points, message, choice, entry_no, expires_at, at, posted_at, by, set_role)
      VALUES (giver, p.id, given_no, r.id, receiver, (points * 10000)::bigint, message, choice, granted.entry_no, granted.expires_at, instant, statement_timestamp(), session_user, loyalty.caller());
    EXCEPTION WHEN unique_violation THEN
      RAISE EXCEPTION 'could not serialize access: member % has given points meanwhile', giver
        USING ERRCODE = 'serialization_failure', HINT = 'The transaction might succeed if retried.';
    END;
    answer := jsonb_build_object('given_no', given_no, 'entry_no', granted.entry_no, 'left_over', trim_scale((x.allowance - x.given) * 0.0001 - points), 'period_end', x.period_end);
    PERFORM loyalty.keep_call(giver, p.id, key, 'recognise', arguments, instant, answer);
  END IF;
  RETURN QUERY SELECT (answer ->> 'given_no')::bigint, (answer ->> 'entry_no')::bigint, (answer ->> 'left_over')::numeric, nullif((answer ->> 'period_end')::timestamptz, 'infinity');
END $$;
COMMENT ON FUNCTION loyalty.recognise_as_owner(bigint, bigint, numeric, text, text, text, text, text) IS 'the body of recognise()';
REVOKE ALL ON FUNCTION loyalty.recognise_as_owner(bigint, bigint, numeric, text, text, text, text, text) FROM PUBLIC;

-- Both accounts are locked.  `given`: of the allowance, in its period.
CREATE OR REPLACE FUNCTION loyalty.check_recognition(recognition_id integer, program_id integer, giver bigint, receiver bigint, points numeric, choice text,
  given numeric, period_start timestamptz, period_end timestamptz, instant timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  r loyalty.recognition;
  zone text;
  so_far numeric;
BEGIN
  SELECT y.* INTO r FROM loyalty.recognition y WHERE y.id = recognition_id;
  SELECT p.timezone INTO zone FROM loyalty.program p WHERE p.id = program_id;
  IF NOT coalesce((SELECT m.attributes FROM loyalty.member m WHERE m.member_id = receiver), '{}') @> r.receivers THEN
    RAISE EXCEPTION 'member % may not receive points of recognition "%"', receiver, r.name USING ERRCODE = 'LY016', HINT = 'SELECT receivers FROM loyalty.recognition says who may.';
  ELSIF r.choices IS NOT NULL AND coalesce(choice, '') <> ALL (r.choices) THEN
    RAISE EXCEPTION '%', CASE WHEN choice IS NULL THEN 'choice is missing' ELSE format('choice "%s" is not known', choice) END USING ERRCODE = 'LY017', HINT = format('It is one of: %s.', array_to_string(r.choices, ', '));
  ELSIF points < r.minimum OR points > r.maximum THEN
    RAISE EXCEPTION '% points at once', points
      USING ERRCODE = 'LY008', DETAIL = format('Recognition "%s" takes %s.', r.name, concat_ws(' and ', 'at least ' || r.minimum, 'at most ' || r.maximum));
  ELSIF given + points > r.allowance THEN
    RAISE EXCEPTION 'the allowance of member % does not suffice', giver
      USING ERRCODE = 'LY008', DETAIL = format('Of %s points %s are given, and %s are wanted.', r.allowance, trim_scale(given), trim_scale(points)),
            HINT = CASE WHEN isfinite(period_end) THEN format('The next one begins at %s.', period_end) ELSE 'It does not come again.' END;
  END IF;
  IF r.per_receiver IS NOT NULL THEN
    SELECT coalesce(sum(g.points), 0) * 0.0001 INTO so_far FROM loyalty.recognition_given g
    WHERE g.member_id = giver AND g.program_id = check_recognition.program_id AND g.recognition_id = r.id AND g.to_member = receiver AND g.withdrawn_at IS NULL
      AND g.at >= period_start AND g.at < period_end;
    IF so_far + points > r.per_receiver THEN
      RAISE EXCEPTION 'member % has given member % enough', giver, receiver
        USING ERRCODE = 'LY008', DETAIL = format('Of %s points for one receiver %s are given, and %s are wanted.', r.per_receiver, trim_scale(so_far), trim_scale(points));
    END IF;
  END IF;
  IF r.back_within IS NOT NULL AND EXISTS (
      SELECT FROM loyalty.recognition_given g
      WHERE g.member_id = receiver AND g.program_id = check_recognition.program_id AND g.to_member = giver AND g.withdrawn_at IS NULL
        AND ((g.at AT TIME ZONE zone) + r.back_within) AT TIME ZONE zone > instant) THEN
    SELECT coalesce(sum(g.points), 0) * 0.0001 INTO so_far FROM loyalty.recognition_given g
    WHERE g.member_id = giver AND g.program_id = check_recognition.program_id AND g.to_member = receiver AND g.withdrawn_at IS NULL
      AND ((g.at AT TIME ZONE zone) + r.back_within) AT TIME ZONE zone > instant;
    IF so_far + points > r.back_maximum THEN
      RAISE EXCEPTION 'member % has been given points by member % just now', giver, receiver
        USING ERRCODE = 'LY008', DETAIL = format('Within %s at most %s points go back; %s did, and %s are wanted.', r.back_within, r.back_maximum, trim_scale(so_far), trim_scale(points));
    END IF;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_recognition(integer, integer, bigint, bigint, numeric, text, numeric, timestamptz, timestamptz, timestamptz) IS 'part of recognise(): raise LY008, LY016, LY017 for what a recognition does not allow';
REVOKE ALL ON FUNCTION loyalty.check_recognition(integer, integer, bigint, bigint, numeric, text, numeric, timestamptz, timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_recognition(member_id bigint, given_no bigint, reason text, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (points numeric, taken numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.withdraw_recognition(bigint, bigint, text, text, text) IS
  'undo what member_id gave: it counts against no limit any more, and the receiver loses the points as far as they are neither dead nor spent (taken). The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.withdraw_recognition(bigint, bigint, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.withdraw_recognition_as_owner(member_id bigint, given_no bigint, reason text, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (points numeric, taken numeric)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  giver bigint := loyalty.member_now(member_id);
  p loyalty.program;
  g loyalty.recognition_given;
  arguments json := json_build_object('given_no', given_no, 'reason', reason);
  answer jsonb;
  instant timestamptz;
  back bigint := 0;
BEGIN
  SELECT y.* INTO p FROM loyalty.program y WHERE y.name = loyalty.program_name(program);
  IF coalesce(reason, '') = '' THEN
    RAISE EXCEPTION 'reason is missing' USING ERRCODE = 'LY017', HINT = 'Say why.';
  END IF;
  SELECT y.* INTO g FROM loyalty.recognition_given y WHERE y.member_id = giver AND y.program_id = p.id AND y.given_no = withdraw_recognition_as_owner.given_no;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has given nothing under number % in program "%"', giver, given_no, p.name
      USING ERRCODE = 'LY017', HINT = 'SELECT * FROM loyalty.recognition_feed lists it.';
  END IF;
  PERFORM loyalty.lock_accounts(p.id, ARRAY[giver, g.to_member]);
  answer := loyalty.find_call(giver, p.id, key, 'withdraw_recognition', arguments);
  IF answer IS NULL THEN
    SELECT y.* INTO g FROM loyalty.recognition_given y WHERE y.member_id = giver AND y.program_id = p.id AND y.given_no = withdraw_recognition_as_owner.given_no;
    IF g.withdrawn_at IS NOT NULL THEN
      RAISE EXCEPTION 'it was withdrawn before' USING ERRCODE = 'LY006', DETAIL = format('By %s at %s: %s.', g.withdrawn_by, g.withdrawn_at, g.withdrawn_reason);
    END IF;
    instant := loyalty.account_instant(g.to_member, p.id);
    IF g.expires_at > instant THEN
      SELECT least(g.points, greatest(s.available, 0)) INTO back FROM loyalty.settled(g.to_member, p.id, instant) s;
    END IF;
    IF back > 0 THEN
      PERFORM FROM loyalty.adjust(g.to_member, back * -0.0001, format('recognition withdrawn: %s', reason), program => p.name,
        counts_for_tier => (SELECT r.counts_for_tier FROM loyalty.recognition r WHERE r.id = g.recognition_id));
    END IF;
    UPDATE loyalty.recognition_given t
    SET withdrawn_at = greatest(instant, t.at), withdrawn_points = back, withdrawn_by = concat_ws(' as ', session_user, nullif(loyalty.caller(), session_user)), withdrawn_reason = reason
    WHERE t.member_id = giver AND t.program_id = p.id AND t.given_no = g.given_no;
    answer := jsonb_build_object('points', trim_scale(g.points * 0.0001), 'taken', trim_scale(back * 0.0001));
    PERFORM loyalty.keep_call(giver, p.id, key, 'withdraw_recognition', arguments, instant, answer);
  END IF;
  RETURN QUERY SELECT (answer ->> 'points')::numeric, (answer ->> 'taken')::numeric;
END $$;
COMMENT ON FUNCTION loyalty.withdraw_recognition_as_owner(bigint, bigint, text, text, text) IS 'the body of withdraw_recognition()';
REVOKE ALL ON FUNCTION loyalty.withdraw_recognition_as_owner(bigint, bigint, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.merge_recognition(from_member bigint, to_member bigint, program_id integer, behind bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  UPDATE loyalty.recognition_given g SET to_member = merge_recognition.to_member, entry_no = g.entry_no + behind
  WHERE g.to_member = from_member AND g.program_id = merge_recognition.program_id;
  UPDATE loyalty.recognition_given g SET member_id = merge_recognition.to_member, given_no = g.given_no + (
    SELECT coalesce(max(o.given_no), 0) FROM loyalty.recognition_given o WHERE o.member_id = merge_recognition.to_member AND o.program_id = g.program_id)
  WHERE g.member_id = from_member AND g.program_id = merge_recognition.program_id;
END $$;
COMMENT ON FUNCTION loyalty.merge_recognition(bigint, bigint, integer, bigint) IS 'part of merge_members(): what either has given and received';
REVOKE ALL ON FUNCTION loyalty.merge_recognition(bigint, bigint, integer, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_recognition(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT 'recognition_points', g.program_id, g.to_member, g.entry_no, format('member %s gave %s points, and no entry of member %s says so', g.member_id, trim_scale(g.points * 0.0001), g.to_member)
  FROM loyalty.recognition_given g
  LEFT JOIN loyalty.intervention i ON i.member_id = g.to_member AND i.program_id = g.program_id AND i.entry_no = g.entry_no AND i.action = 'adjust' AND i.points = g.points
  WHERE i.entry_no IS NULL
  LIMIT most
$$;
COMMENT ON FUNCTION loyalty.verify_recognition(integer) IS 'part of verify(): what was given is an entry of the receiver';
REVOKE ALL ON FUNCTION loyalty.verify_recognition(integer) FROM PUBLIC;
