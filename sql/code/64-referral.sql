-- Members bring members.  A friend is registered under a referrer's code before the first purchase; the first purchase that
-- qualifies gives both their points, in the sale's own transaction, and its return takes them back.
-- What decides is what is kept of the friend's purchases now; each referral is rewarded once, and gives back and takes
-- again the same lots.  Reasons of a refusal are for the house: neither party is told.

CREATE OR REPLACE FUNCTION loyalty.config_referral_program() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p record;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('referral_program', OLD.name, OLD.program,
      EXISTS (SELECT FROM loyalty.referral r WHERE r.referral_program_id = OLD.id), 'is named by referrals');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('referral_program', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_finite('minimum', NEW.minimum);
  PERFORM loyalty.check_interval('within', NEW.within);
  PERFORM loyalty.check_interval('pending', NEW.pending);
  PERFORM loyalty.check_interval('final_after', NEW.final_after);
  SELECT o.decimals INTO p FROM loyalty.program o WHERE o.name = NEW.program;
  IF NEW.referrer_points >= 1e10 OR NEW.referrer_points <> trunc(NEW.referrer_points, p.decimals)
     OR NEW.friend_points >= 1e10 OR NEW.friend_points <> trunc(NEW.friend_points, p.decimals) THEN
    RAISE EXCEPTION 'referrer_points is % and friend_points %', NEW.referrer_points, NEW.friend_points
      USING ERRCODE = 'LY017', HINT = format('They are points below 10,000,000,000 with at most %s decimals.', p.decimals);
  ELSIF cardinality(NEW.compare) > 20 OR array_position(NEW.compare, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'compare is %', NEW.compare USING ERRCODE = 'LY017', HINT = 'It names at most 20 attributes.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_referral_program() IS 'trigger: checks a referral_program';
REVOKE ALL ON FUNCTION loyalty.config_referral_program() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.program_refers(program_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM loyalty.referral_program r JOIN loyalty.program p ON p.name = r.program WHERE p.id = program_refers.program_id);
END $$;
COMMENT ON FUNCTION loyalty.program_refers(integer) IS 'does the program have a referral_program, enabled or not';
REVOKE ALL ON FUNCTION loyalty.program_refers(integer) FROM PUBLIC;

-- ---- codes ----

-- Twelve of 32 characters that are not mistaken for each other, from the random bytes of a uuid.
CREATE OR REPLACE FUNCTION loyalty.new_referral_code() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(substr('23456789ABCDEFGHJKLMNPQRSTUVWXYZ', (get_byte(u.bytes, n) & 31) + 1, 1), '' ORDER BY n)
  FROM (SELECT uuid_send(gen_random_uuid()) AS bytes OFFSET 0) u, unnest('{0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14}'::integer[]) n
$$;
COMMENT ON FUNCTION loyalty.new_referral_code() IS 'a code that nobody can guess';
REVOKE ALL ON FUNCTION loyalty.new_referral_code() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.referral_code(member_id bigint, program text DEFAULT NULL) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.referral_code(bigint, text) IS 'the code that a member gives to friends: made at the first call, the same ever after';
REVOKE ALL ON FUNCTION loyalty.referral_code(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.referral_code_as_owner(member bigint, in_program text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  person bigint := loyalty.member_now(member);
  p record;
  found_code text;
BEGIN
  SELECT o.id, o.name INTO p FROM loyalty.program o WHERE o.name = loyalty.program_name(in_program);
  PERFORM loyalty.check_open_account(person, p.id, p.name);
  LOOP
    SELECT c.code INTO found_code FROM loyalty.referral_code c WHERE c.member_id = person AND c.program_id = p.id ORDER BY c.posted_at, c.code LIMIT 1;
    IF FOUND THEN
      RETURN found_code;
    END IF;
    INSERT INTO loyalty.referral_code (member_id, program_id, code, posted_at, by)
    VALUES (person, p.id, loyalty.new_referral_code(), statement_timestamp(), session_user) ON CONFLICT (code) DO NOTHING;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.referral_code_as_owner(bigint, text) IS 'the body of referral_code()';
REVOKE ALL ON FUNCTION loyalty.referral_code_as_owner(bigint, text) FROM PUBLIC;

-- Locks it.
CREATE OR REPLACE FUNCTION loyalty.check_open_account(member bigint, program_id integer, program text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  a record;
BEGIN
  IF member IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  END IF;
  PERFORM loyalty.lock_accounts(check_open_account.program_id, ARRAY[member]);
  SELECT o.status INTO a FROM loyalty.account o WHERE o.member_id = member AND o.program_id = check_open_account.program_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no account in program "%"', member, program
      USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
  ELSIF a.status <> 'active' THEN
    RAISE EXCEPTION 'account of member % in program "%" is %', member, program, a.status USING ERRCODE = 'LY009', HINT = 'loyalty.unblock() lifts a block.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_open_account(bigint, integer, text) IS 'raise LY002 or LY009 unless the member has an active account; locks it';
REVOKE ALL ON FUNCTION loyalty.check_open_account(bigint, integer, text) FROM PUBLIC;

-- ---- what stands against a pair ----

-- What is known of a member under the names that are compared: attributes, what refer() was told, other names.
CREATE OR REPLACE FUNCTION loyalty.referral_marks(member bigint, compare text[]) RETURNS TABLE (name text, mark text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.name, k.mark FROM (
    SELECT n.name, lower(btrim(m.attributes ->> n.name)) AS mark FROM unnest(compare) n (name) JOIN loyalty.member m ON m.member_id = member
    UNION
    SELECT n.name, lower(btrim(r.attributes ->> n.name)) FROM unnest(compare) n (name) JOIN loyalty.referral r ON r.member_id = member
    UNION
    SELECT n.name, lower(a.external_id) FROM unnest(compare) n (name) JOIN loyalty.member_alias a ON a.member_id = member) k
  WHERE k.mark <> ''
$$;
COMMENT ON FUNCTION loyalty.referral_marks(bigint, text[]) IS 'part of refer(): what is known of a member under these names';
REVOKE ALL ON FUNCTION loyalty.referral_marks(bigint, text[]) FROM PUBLIC;

-- Asked at refer() and again at the reward: what is known of people grows.
CREATE OR REPLACE FUNCTION loyalty.referral_objection(referrer bigint, friend bigint, program_id integer, compare text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  same text;
BEGIN
  IF referrer = friend THEN
    RETURN 'same member';
  END IF;
  IF EXISTS (
    WITH RECURSIVE above (member) AS (
      SELECT referrer
      UNION
      SELECT r.referrer_member_id FROM above b JOIN loyalty.referral r ON r.member_id = b.member
      WHERE r.program_id = referral_objection.program_id AND r.state <> 'refused'
    )
    SELECT FROM above b WHERE b.member = friend) THEN
    RETURN 'ring';
  END IF;
  SELECT string_agg(DISTINCT f.name, ', ' ORDER BY f.name) INTO same
  FROM loyalty.referral_marks(friend, compare) f JOIN loyalty.referral_marks(referrer, compare) r USING (name, mark);
  RETURN 'same ' || same;
END $$;
COMMENT ON FUNCTION loyalty.referral_objection(bigint, bigint, integer, text[]) IS 'part of refer(): why these two cannot refer to each other; NULL: they can';
REVOKE ALL ON FUNCTION loyalty.referral_objection(bigint, bigint, integer, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.note_referral(member bigint, referral_id bigint, at timestamptz) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.referral_change AS n (member_id, referral_id, change_no, state, at, reason, source_id, source_key, posted_at, by)
  SELECT r.member_id, r.referral_id, 1 + (SELECT count(*) FROM loyalty.referral_change c WHERE c.member_id = r.member_id AND c.referral_id = r.referral_id),
    r.state, note_referral.at, r.reason, r.source_id, r.source_key, statement_timestamp(), session_user
  FROM loyalty.referral r WHERE r.member_id = member AND r.referral_id = note_referral.referral_id
$$;
COMMENT ON FUNCTION loyalty.note_referral(bigint, bigint, timestamptz) IS 'what a referral is now, for its history';
REVOKE ALL ON FUNCTION loyalty.note_referral(bigint, bigint, timestamptz) FROM PUBLIC;

-- ---- refer ----

-- The campaign that is meant: by name, or the one that is open.
CREATE OR REPLACE FUNCTION loyalty.open_referral_program(in_program text, referral text, at timestamptz) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ids integer[];
BEGIN
  SELECT array_agg(c.id) INTO ids FROM loyalty.referral_program c
  WHERE c.program = in_program AND c.enabled AND c.name = coalesce(referral, c.name) AND at >= c.starts_at AND at < c.ends_at;
  IF ids IS NULL THEN
    RAISE EXCEPTION 'no referral_program % is open in program "%"', coalesce('"' || referral || '"', 'at all'), in_program
      USING ERRCODE = 'LY017', HINT = 'SELECT * FROM loyalty.referral_program shows enabled, starts_at, ends_at.';
  ELSIF cardinality(ids) > 1 THEN
    RAISE EXCEPTION '% referral_programs are open in program "%"', cardinality(ids), in_program
      USING ERRCODE = 'LY017', HINT = 'Say which one: refer(…, referral => …).';
  END IF;
  RETURN ids[1];
END $$;
COMMENT ON FUNCTION loyalty.open_referral_program(text, text, timestamptz) IS 'part of refer(): the referral_program of this name, or the only one that is open; LY017';
REVOKE ALL ON FUNCTION loyalty.open_referral_program(text, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.refer(
  code text, friend_member_id bigint, program text DEFAULT NULL, key text DEFAULT NULL, attributes jsonb DEFAULT NULL, referral text DEFAULT NULL)
RETURNS TABLE (referral_id bigint, state text, registered_at timestamptz, qualify_until timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.refer(text, bigint, text, text, jsonb, text) IS
  'a friend came by a member''s code, before buying anything; attributes: what is known of the friend (device, email_hash) and compared with the referrer''s. The same code and friend again do nothing';
REVOKE ALL ON FUNCTION loyalty.refer(text, bigint, text, text, jsonb, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.refer_as_owner(given_code text, friend bigint, in_program text, call_key text, known jsonb, campaign text)
RETURNS TABLE (referral_id bigint, state text, registered_at timestamptz, qualify_until timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  person bigint := loyalty.member_now(friend);
  plain text := upper(regexp_replace(given_code, '[^0-9A-Za-z]', '', 'g'));
  arguments json := json_build_object('code', plain, 'attributes', known::text, 'referral', campaign);
  p record;
  referrer bigint;
  former record;
  answer jsonb;
BEGIN
  IF person IS NULL THEN
    RAISE EXCEPTION 'friend_member_id is null' USING ERRCODE = 'LY017';
  ELSIF jsonb_typeof(known) <> 'object' THEN
    RAISE EXCEPTION 'attributes is not an object' USING ERRCODE = 'LY017', HINT = 'Write it as {"device": "…", …}.';
  END IF;
  SELECT o.id, o.name, loyalty.writing_instant(o.id) AS now, o.enrollment INTO p
  FROM loyalty.program o WHERE o.name = loyalty.program_name(in_program);
  SELECT loyalty.member_now(c.member_id) INTO referrer FROM loyalty.referral_code c WHERE c.code = plain AND c.program_id = p.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'referral code is not known' USING ERRCODE = 'LY017', HINT = 'loyalty.referral_code() gives a member''s.';
  END IF;

  -- one at a time, so that no ring closes between two; before accounts, which sales lock
  PERFORM FROM loyalty.referral_program c WHERE c.program = p.name ORDER BY c.id FOR NO KEY UPDATE;
  IF p.enrollment = 'automatic' THEN
    PERFORM loyalty.enroll(person, p.name);
  END IF;
  PERFORM loyalty.lock_accounts(p.id, ARRAY[person, referrer]);
  answer := loyalty.find_call(person, p.id, call_key, 'refer', arguments);
  IF answer IS NULL THEN
    PERFORM loyalty.check_open_account(person, p.id, p.name);
    SELECT r.* INTO former FROM loyalty.referral r WHERE r.member_id = person AND r.program_id = p.id AND r.state <> 'refused' ORDER BY r.referral_id LIMIT 1;
    IF FOUND AND former.referrer_member_id <> referrer THEN
      RAISE EXCEPTION 'member % was brought by somebody already', person USING ERRCODE = 'LY006';
    END IF;
    answer := jsonb_build_object('referral_id', coalesce(former.referral_id,
      loyalty.register_referral(person, referrer, p.id, loyalty.open_referral_program(p.name, campaign, p.now), p.now, coalesce(known, '{}'), call_key)));
    PERFORM loyalty.keep_call(person, p.id, call_key, 'refer', arguments, loyalty.account_instant(person, p.id), answer);
  END IF;
  RETURN QUERY SELECT r.referral_id, r.state, r.registered_at, r.qualify_until
  FROM loyalty.referral r WHERE r.member_id = person AND r.referral_id = (answer ->> 'referral_id')::bigint;
END $$;
COMMENT ON FUNCTION loyalty.refer_as_owner(text, bigint, text, text, jsonb, text) IS 'the body of refer()';
REVOKE ALL ON FUNCTION loyalty.refer_as_owner(text, bigint, text, text, jsonb, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.register_referral(
  friend bigint, referrer bigint, program_id integer, campaign integer, now timestamptz, known jsonb, call_key text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  c record;
  id bigint;
  at timestamptz;
  objection text;
BEGIN
  SELECT o.* INTO c FROM loyalty.referral_program o WHERE o.id = campaign;
  IF NOT c.known_friends AND EXISTS (SELECT FROM loyalty.lot l WHERE l.member_id = friend AND l.program_id = program_id AND l.kind = 'a') THEN
    RAISE EXCEPTION 'member % has bought before', friend
      USING ERRCODE = 'LY017', HINT = 'Friends are registered before their first purchase, unless referral_program.known_friends says otherwise.';
  END IF;
  SELECT greatest(a.settled_at, now) INTO at FROM loyalty.account a WHERE a.member_id = friend AND a.program_id = program_id;
  INSERT INTO loyalty.referral AS r (member_id, referrer_member_id, program_id, referral_program_id, state, registered_at, qualify_until, attributes,
    key, posted_at, by, set_role)
  VALUES (friend, referrer, program_id, campaign, 'registered', at, coalesce(at + c.within, 'infinity'), known,
    call_key, statement_timestamp(), session_user, loyalty.caller())
  RETURNING r.referral_id INTO id;
  objection := coalesce(loyalty.referral_objection(referrer, friend, program_id, c.compare), (
    SELECT 'referrer is ' || a.status FROM loyalty.account a WHERE a.member_id = referrer AND a.program_id = program_id AND a.status <> 'active'), (
    SELECT 'member ' || m.member_id || ' is ' || m.status FROM loyalty.member m WHERE m.member_id IN (referrer, friend) AND m.status <> 'active' LIMIT 1));
  IF objection IS NOT NULL THEN
    UPDATE loyalty.referral r SET state = 'refused', refused_at = at, reason = objection WHERE r.member_id = friend AND r.referral_id = id;
  END IF;
  PERFORM loyalty.note_referral(friend, id, at);
  RETURN id;
END $$;
COMMENT ON FUNCTION loyalty.register_referral(bigint, bigint, integer, integer, timestamptz, jsonb, text) IS 'part of refer(): the row, registered or refused';
REVOKE ALL ON FUNCTION loyalty.register_referral(bigint, bigint, integer, integer, timestamptz, jsonb, text) FROM PUBLIC;

-- ---- sales ----

-- Referrers of these members, if a sale may give to them or take from them.
CREATE OR REPLACE FUNCTION loyalty.referral_involves(program_id integer, members bigint[]) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(DISTINCT r.referrer_member_id), '{}')
  FROM loyalty.referral r
  LEFT JOIN loyalty.account a ON a.member_id = r.member_id AND a.program_id = r.program_id
  WHERE r.member_id = ANY (members) AND r.program_id = referral_involves.program_id
    AND (r.state = 'registered' AND r.qualify_until > coalesce(a.settled_at, '-infinity') OR r.state = 'reversed'
      OR r.state = 'rewarded' AND r.final_at > coalesce(a.settled_at, '-infinity'))
$$;
COMMENT ON FUNCTION loyalty.referral_involves(integer, bigint[]) IS 'part of sales_involve(): whoever brought one of these members';
REVOKE ALL ON FUNCTION loyalty.referral_involves(integer, bigint[]) FROM PUBLIC;

-- Those of a friend's purchases that qualify, the one that did before first; source_keys NULL: all that there are.
CREATE OR REPLACE FUNCTION loyalty.qualifying_purchase(member bigint, referral_id bigint, source_ids integer[], source_keys text[])
RETURNS TABLE (source_id integer, source_key text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT k.source_id, k.source_key
  FROM loyalty.referral r
  JOIN loyalty.referral_program c ON c.id = r.referral_program_id
  JOIN loyalty.program p ON p.id = r.program_id
  CROSS JOIN LATERAL (
    SELECT l.source_id, l.source_key, min(l.earned_at) AS earned_at, min(l.entry_no) AS entry_no, sum(coalesce(l.kept_amount, 0)) AS kept,
      bool_or(l.kept_amount = l.amount) AS whole
    FROM loyalty.lot l
    WHERE l.member_id = r.member_id AND l.program_id = r.program_id AND l.kind = 'a' AND l.part % 64 = 0
      AND source_keys IS NULL
    GROUP BY l.source_id, l.source_key
    UNION ALL
    SELECT l.source_id, l.source_key, min(l.earned_at), min(l.entry_no), sum(coalesce(l.kept_amount, 0)), bool_or(l.kept_amount = l.amount)
    FROM (SELECT DISTINCT * FROM unnest(source_ids, source_keys)) w (source_id, source_key)
    JOIN loyalty.lot l ON l.source_id = w.source_id AND l.source_key = w.source_key
    WHERE l.member_id = r.member_id AND l.program_id = r.program_id AND l.kind = 'a' AND l.part % 64 = 0
    GROUP BY l.source_id, l.source_key) k
  WHERE r.member_id = member AND r.referral_id = qualifying_purchase.referral_id
    AND k.kept >= c.minimum AND (k.kept > 0 OR k.whole)
    -- a day is enough of a date: purchases may know no more
    AND k.earned_at >= date_trunc('day', r.registered_at, p.timezone) AND k.earned_at < r.qualify_until
    AND (c.source IS NULL OR k.source_id = (SELECT s.id FROM loyalty.source s WHERE s.program = c.program AND s.name = c.source))
  ORDER BY (k.source_id, k.source_key) IS NOT DISTINCT FROM (r.source_id, r.source_key) DESC, k.earned_at, k.entry_no
  LIMIT 1
$$;
COMMENT ON FUNCTION loyalty.qualifying_purchase(bigint, bigint, integer[], text[]) IS 'the purchase of a friend that qualifies now, of those named or of all';
REVOKE ALL ON FUNCTION loyalty.qualifying_purchase(bigint, bigint, integer[], text[]) FROM PUBLIC;

-- What a referral gave to one of the two is kept, or not any more.  An account that was erased is left alone.
CREATE OR REPLACE FUNCTION loyalty.keep_referral_points(member bigint, program_id integer, program text, key text, kept boolean, reason text, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  entry bigint;
BEGIN
  SELECT q.entry_no INTO entry FROM loyalty.request q
  JOIN loyalty.account a ON a.member_id = q.member_id AND a.program_id = q.program_id AND a.status <> 'erased'
  WHERE q.member_id = member AND q.program_id = keep_referral_points.program_id AND q.key = keep_referral_points.key;
  IF FOUND THEN
    PERFORM loyalty.keep_adjust(member, program, entry, kept, reason, at);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.keep_referral_points(bigint, integer, text, text, boolean, text, timestamptz) IS 'part of follow_referral(): take points of a referral back, or undo that';
REVOKE ALL ON FUNCTION loyalty.keep_referral_points(bigint, integer, text, text, boolean, text, timestamptz) FROM PUBLIC;

-- Each of the two of what was theirs.
CREATE OR REPLACE FUNCTION loyalty.tell_referral(member bigint, referral_id bigint, kept boolean, at timestamptz) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  SELECT loyalty.tell(r.program_id, CASE WHEN kept THEN 'referral_rewarded' ELSE 'referral_taken_back' END, w.member, tell_referral.at,
    jsonb_build_object('referral', c.name, 'referral_id', r.referral_id, 'role', w.role, 'points', trim_scale(w.points * 0.0001)))
  FROM loyalty.referral r JOIN loyalty.referral_program c ON c.id = r.referral_program_id
  CROSS JOIN LATERAL (VALUES (r.member_id, 'friend', r.friend_points), (r.referrer_member_id, 'referrer', r.referrer_points)) w (member, role, points)
  JOIN loyalty.account a ON a.member_id = w.member AND a.program_id = r.program_id AND a.status <> 'erased'
  WHERE r.member_id = tell_referral.member AND r.referral_id = tell_referral.referral_id AND w.points > 0 ORDER BY w.role
$$;
COMMENT ON FUNCTION loyalty.tell_referral(bigint, bigint, boolean, timestamptz) IS 'part of follow_referral(): tell both parties what they got, or lost';
REVOKE ALL ON FUNCTION loyalty.tell_referral(bigint, bigint, boolean, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.keep_referral(member bigint, referral_id bigint, kept boolean, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  r record;
BEGIN
  SELECT f.*, p.name AS program, format('referral %s%s', c.name, CASE WHEN kept THEN '' ELSE ': the purchase was returned' END) AS why INTO r
  FROM loyalty.referral f JOIN loyalty.program p ON p.id = f.program_id JOIN loyalty.referral_program c ON c.id = f.referral_program_id
  WHERE f.member_id = member AND f.referral_id = keep_referral.referral_id;
  PERFORM loyalty.keep_referral_points(r.member_id, r.program_id, r.program, format('referral %s friend', r.referral_id), kept, r.why, at);
  PERFORM loyalty.keep_referral_points(r.referrer_member_id, r.program_id, r.program, format('referral %s referrer', r.referral_id), kept, r.why, at);
  UPDATE loyalty.referral_count n SET rewarded = n.rewarded + CASE WHEN kept THEN 1 ELSE -1 END
  WHERE n.referral_program_id = r.referral_program_id AND r.rewarded_at IS NOT NULL;
  PERFORM loyalty.tell_referral(member, keep_referral.referral_id, kept, at);
END $$;
COMMENT ON FUNCTION loyalty.keep_referral(bigint, bigint, boolean, timestamptz) IS 'part of follow_referral(): both parties keep what was given, or do not any more';
REVOKE ALL ON FUNCTION loyalty.keep_referral(bigint, bigint, boolean, timestamptz) FROM PUBLIC;

-- Counted from the referrals when a limit is new.
CREATE OR REPLACE FUNCTION loyalty.begin_referral_count(campaign integer) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.referral_count (referral_program_id, rewarded)
  SELECT campaign, count(*) FROM loyalty.referral r WHERE r.referral_program_id = campaign AND r.state = 'rewarded'
  ON CONFLICT (referral_program_id) DO NOTHING
$$;
COMMENT ON FUNCTION loyalty.begin_referral_count(integer) IS 'part of follow_referral(): from now on the campaign counts whom it rewards';
REVOKE ALL ON FUNCTION loyalty.begin_referral_count(integer) FROM PUBLIC;

-- Friends of several campaigns in one statement, or in two at once: their limits are waited for in one order, after all accounts.
CREATE OR REPLACE FUNCTION loyalty.lock_referral_counts(program_id integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  campaigns integer[] := (
    SELECT array_agg(c.id ORDER BY c.id) FROM loyalty.referral_program c JOIN loyalty.program p ON p.name = c.program
    WHERE p.id = lock_referral_counts.program_id);
  campaign integer;
BEGIN
  FOR campaign IN
    SELECT c.id FROM loyalty.referral_program c
    WHERE c.id = ANY (campaigns) AND c.max_rewarded IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.referral_count n WHERE n.referral_program_id = c.id)
    ORDER BY c.id
  LOOP
    PERFORM loyalty.begin_referral_count(campaign);
  END LOOP;
  PERFORM FROM loyalty.referral_count n WHERE n.referral_program_id = ANY (campaigns) ORDER BY n.referral_program_id FOR NO KEY UPDATE;
END $$;
COMMENT ON FUNCTION loyalty.lock_referral_counts(integer) IS 'part of follow_referral(): lock what all campaigns of the program count, in order';
REVOKE ALL ON FUNCTION loyalty.lock_referral_counts(integer) FROM PUBLIC;

-- One more in a campaign with a limit; false when it is reached.
CREATE OR REPLACE FUNCTION loyalty.count_referral(campaign integer, most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF most IS NULL THEN
    UPDATE loyalty.referral_count n SET rewarded = n.rewarded + 1 WHERE n.referral_program_id = campaign;
    RETURN true;
  END IF;
  IF NOT EXISTS (SELECT FROM loyalty.referral_count n WHERE n.referral_program_id = campaign) THEN
    PERFORM loyalty.begin_referral_count(campaign);
  END IF;
  UPDATE loyalty.referral_count n SET rewarded = n.rewarded + 1 WHERE n.referral_program_id = campaign AND n.rewarded < most;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION loyalty.count_referral(integer, integer) IS 'part of follow_referral(): one more of at most so many; false when there are that many';
REVOKE ALL ON FUNCTION loyalty.count_referral(integer, integer) FROM PUBLIC;

-- May the referrer be rewarded once more?  Under the lock of that account.
CREATE OR REPLACE FUNCTION loyalty.referrer_objection(referrer bigint, program_id integer, campaign integer, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c record;
  a record;
  b record;
BEGIN
  SELECT o.max_per_referrer, coalesce(o.referrer_period, 'lifetime') AS period, p.timezone INTO c
  FROM loyalty.referral_program o JOIN loyalty.program p ON p.name = o.program WHERE o.id = campaign;
  SELECT o.status, o.enrolled_at INTO a FROM loyalty.account o WHERE o.member_id = referrer AND o.program_id = referrer_objection.program_id;
  IF NOT FOUND OR a.status <> 'active' THEN
    RETURN 'referrer is ' || coalesce(a.status, 'gone');
  ELSIF c.max_per_referrer IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT o.* INTO b FROM loyalty.period_bounds(c.period, at, c.timezone, a.enrolled_at) o;
  IF c.max_per_referrer <= (SELECT count(*) FROM loyalty.referral r
      WHERE r.referrer_member_id = referrer AND r.program_id = referrer_objection.program_id AND r.referral_program_id = campaign AND r.state = 'rewarded' AND r.referrer_points > 0
        AND r.rewarded_at >= b.starts_at AND r.rewarded_at < b.ends_at) THEN
    RETURN 'max_per_referrer is reached';
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.referrer_objection(bigint, integer, integer, timestamptz) IS 'part of follow_referral(): why the referrer gets nothing this time; NULL: it does';
REVOKE ALL ON FUNCTION loyalty.referrer_objection(bigint, integer, integer, timestamptz) FROM PUBLIC;

-- The first time that a friend qualifies.
CREATE OR REPLACE FUNCTION loyalty.reward_referral(member bigint, referral_id bigint, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  r record;
  refused text;
  no_points text;
  friend_points numeric;
  referrer_points numeric;
BEGIN
  SELECT f.*, c.program, c.name, c.referrer_points AS for_referrer, c.friend_points AS for_friend, c.pending, c.final_after, c.max_rewarded, c.compare INTO r
  FROM loyalty.referral f JOIN loyalty.referral_program c ON c.id = f.referral_program_id WHERE f.member_id = member AND f.referral_id = referral_id;
  refused := loyalty.referral_objection(r.referrer_member_id, member, r.program_id, r.compare);
  IF refused IS NOT NULL THEN
    UPDATE loyalty.referral f SET state = 'refused', refused_at = at, reason = refused WHERE f.member_id = member AND f.referral_id = referral_id;
    RETURN;
  END IF;
  no_points := loyalty.referrer_objection(r.referrer_member_id, r.program_id, r.referral_program_id, at);
  referrer_points := CASE WHEN no_points IS NULL THEN r.for_referrer ELSE 0 END;
  friend_points := r.for_friend;
  IF NOT loyalty.count_referral(r.referral_program_id, r.max_rewarded) THEN
    UPDATE loyalty.referral f SET state = 'qualified', qualified_at = at, reason = 'max_rewarded is reached' WHERE f.member_id = member AND f.referral_id = referral_id;
    RETURN;
  END IF;
  IF friend_points > 0 THEN
    PERFORM loyalty.adjust_at(member, friend_points, 'referral ' || r.name, r.program, format('referral %s friend', referral_id),
      NULL, CASE WHEN r.pending > '0' THEN at + r.pending END, false, at);
  END IF;
  IF referrer_points > 0 THEN
    PERFORM loyalty.adjust_at(r.referrer_member_id, referrer_points, 'referral ' || r.name, r.program, format('referral %s referrer', referral_id),
      NULL, CASE WHEN r.pending > '0' THEN at + r.pending END, false, at);
  END IF;
  UPDATE loyalty.referral f SET state = 'rewarded', qualified_at = at, rewarded_at = at, final_at = coalesce(at + r.final_after, 'infinity'), reason = no_points,
    friend_points = (friend_points * 10000)::bigint, referrer_points = (referrer_points * 10000)::bigint
  WHERE f.member_id = member AND f.referral_id = referral_id;
  PERFORM loyalty.tell_referral(member, referral_id, true, at);
END $$;
COMMENT ON FUNCTION loyalty.reward_referral(bigint, bigint, timestamptz) IS 'part of follow_referral(): both get their points, as far as limits go';
REVOKE ALL ON FUNCTION loyalty.reward_referral(bigint, bigint, timestamptz) FROM PUBLIC;

-- One friend has bought or returned something: what does that make of the referral?
CREATE OR REPLACE FUNCTION loyalty.review_referral(member bigint, referral_id bigint, source_ids integer[], source_keys text[], at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  r record;
  q record;
BEGIN
  SELECT f.state, f.source_id, f.source_key, f.rewarded_at, f.final_at, c.enabled INTO r
  FROM loyalty.referral f JOIN loyalty.referral_program c ON c.id = f.referral_program_id
  WHERE f.member_id = member AND f.referral_id = referral_id FOR NO KEY UPDATE OF f;
  IF r.state = 'registered' THEN
    SELECT o.* INTO q FROM loyalty.qualifying_purchase(member, referral_id, source_ids, source_keys) o;
  ELSE
    SELECT o.* INTO q FROM loyalty.qualifying_purchase(member, referral_id, ARRAY[r.source_id], ARRAY[r.source_key]) o;
    IF NOT FOUND THEN
      SELECT o.* INTO q FROM loyalty.qualifying_purchase(member, referral_id, NULL, NULL) o;
    END IF;
  END IF;
  IF FOUND THEN
    IF r.state IN ('rewarded', 'qualified') AND (q.source_id, q.source_key) = (r.source_id, r.source_key) OR r.state = 'registered' AND NOT r.enabled THEN
      RETURN;
    END IF;
    UPDATE loyalty.referral f SET source_id = q.source_id, source_key = q.source_key, qualified_at = at WHERE f.member_id = member AND f.referral_id = referral_id;
    IF r.state = 'reversed' AND r.rewarded_at IS NOT NULL THEN
      PERFORM loyalty.keep_referral(member, referral_id, true, at);
      UPDATE loyalty.referral f SET state = 'rewarded' WHERE f.member_id = member AND f.referral_id = referral_id;
    ELSIF r.state IN ('registered', 'reversed') THEN
      PERFORM loyalty.reward_referral(member, referral_id, at);
    END IF;
  ELSIF r.state IN ('rewarded', 'qualified') AND coalesce(at < r.final_at, true) THEN
    IF r.state = 'rewarded' THEN
      PERFORM loyalty.keep_referral(member, referral_id, false, at);
    END IF;
    UPDATE loyalty.referral f SET state = 'reversed', reversed_at = at WHERE f.member_id = member AND f.referral_id = referral_id;
  ELSE
    RETURN;
  END IF;
  PERFORM loyalty.note_referral(member, referral_id, at);
END $$;
COMMENT ON FUNCTION loyalty.review_referral(bigint, bigint, integer[], text[], timestamptz) IS 'part of follow_referral(): one referral after sales or returns of the friend';
REVOKE ALL ON FUNCTION loyalty.review_referral(bigint, bigint, integer[], text[], timestamptz) FROM PUBLIC;

-- Referrals that wait look at every purchase of the friend, those that are rewarded at returns of the one that counted.
CREATE OR REPLACE FUNCTION loyalty.follow_referral(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  r record;
  locked boolean := cardinality(sales) = 1;
BEGIN
  FOR r IN
    WITH sold AS MATERIALIZED (
      SELECT s.member_id, s.source_id, s.source_key, s.at, s.occurred_at, s.spend, s.ordinality
      FROM unnest(sales) WITH ORDINALITY s
    )
    SELECT f.member_id, f.referral_id, array_agg(s.source_id ORDER BY s.ordinality) AS source_ids, array_agg(s.source_key ORDER BY s.ordinality) AS source_keys, max(s.at) AS at
    FROM sold s
    JOIN loyalty.referral f ON f.member_id = s.member_id AND f.program_id = follow_referral.program_id
    WHERE f.state = 'reversed'
      OR f.state = 'registered' AND s.occurred_at < f.qualify_until
      OR f.state IN ('rewarded', 'qualified') AND s.source_id = f.source_id AND s.source_key = f.source_key
    GROUP BY f.member_id, f.referral_id
    ORDER BY max(s.at), f.referral_id
  LOOP
    IF NOT locked THEN
      PERFORM loyalty.lock_referral_counts(program_id);
      locked := true;
    END IF;
    PERFORM loyalty.review_referral(r.member_id, r.referral_id, r.source_ids, r.source_keys, r.at);
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.follow_referral(integer, loyalty.sale[]) IS 'part of follow_sales(): friends who bought or returned';
REVOKE ALL ON FUNCTION loyalty.follow_referral(integer, loyalty.sale[]) FROM PUBLIC;

-- ---- what a member sees ----

CREATE OR REPLACE FUNCTION loyalty.referrals(member_id bigint, program text DEFAULT NULL)
RETURNS TABLE (referral text, state text, registered_at timestamptz, qualify_until timestamptz, rewarded_at timestamptz, points numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.referrals(bigint, text) IS 'whom a member has brought, without names and reasons, and what it has for them';
REVOKE ALL ON FUNCTION loyalty.referrals(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.referrals_as_owner(member bigint, in_program text)
RETURNS TABLE (referral text, state text, registered_at timestamptz, qualify_until timestamptz, rewarded_at timestamptz, points numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT c.name, r.state, r.registered_at, nullif(r.qualify_until, 'infinity'), CASE WHEN r.state = 'rewarded' THEN r.rewarded_at END,
    CASE WHEN r.state = 'rewarded' THEN trim_scale(r.referrer_points * 0.0001) ELSE 0 END
  FROM loyalty.referral r JOIN loyalty.referral_program c ON c.id = r.referral_program_id JOIN loyalty.program p ON p.id = r.program_id
  WHERE r.referrer_member_id = loyalty.member_now(member) AND p.name = loyalty.program_name(in_program)
  ORDER BY r.referral_id;
END $$;
COMMENT ON FUNCTION loyalty.referrals_as_owner(bigint, text) IS 'the body of referrals()';
REVOKE ALL ON FUNCTION loyalty.referrals_as_owner(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_referrals(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'referral_points', r.program_id, w.member, l.entry_no,
    format('referral %s is %s, and the %s %s', r.referral_id, r.state, w.who,
           CASE WHEN l.entry_no IS NULL THEN 'was given nothing' WHEN l.kept_amount IS NULL THEN format('has %s points', trim_scale(l.points * 0.0001)) ELSE 'has lost the points' END)
  FROM loyalty.referral r
  CROSS JOIN LATERAL (VALUES (r.member_id, 'friend', r.friend_points), (r.referrer_member_id, 'referrer', r.referrer_points)) w (member, who, points)
  LEFT JOIN loyalty.account a ON a.member_id = w.member AND a.program_id = r.program_id
  LEFT JOIN loyalty.request q ON q.member_id = w.member AND q.program_id = r.program_id AND q.key = format('referral %s %s', r.referral_id, w.who)
  LEFT JOIN loyalty.lot l ON l.member_id = q.member_id AND l.program_id = q.program_id AND l.entry_no = q.entry_no
  WHERE a.status IS DISTINCT FROM 'erased'
    AND (coalesce(l.points, 0) <> w.points OR w.points > 0 AND (l.kept_amount IS NULL) <> (r.state = 'rewarded'))
  LIMIT most;

  RETURN QUERY
  SELECT 'referral_limit', p.id, NULL::bigint, NULL::bigint,
    format('referral_program "%s" counts %s as rewarded; referrals are %s', c.name, n.rewarded, r.rewarded)
  FROM loyalty.referral_count n
  JOIN loyalty.referral_program c ON c.id = n.referral_program_id
  JOIN loyalty.program p ON p.name = c.program
  CROSS JOIN LATERAL (SELECT count(*) AS rewarded FROM loyalty.referral f WHERE f.referral_program_id = n.referral_program_id AND f.state = 'rewarded') r
  WHERE n.rewarded <> r.rewarded LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_referrals(integer) IS 'part of verify(): what referrals gave, and what campaigns count';
REVOKE ALL ON FUNCTION loyalty.verify_referrals(integer) FROM PUBLIC;
