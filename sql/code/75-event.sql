-- The outbox.  Events are written by tell(), in the transaction of what they tell; they get their position when they are
-- read, under one lock: all that has been committed by then, in the order of writing.  So who reads by position sees every
-- event once, whatever overlaps; and a dump keeps positions.

CREATE OR REPLACE FUNCTION loyalty.config_event_kind() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() OR TG_OP = 'DELETE' THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  PERFORM loyalty.check_name('event_kind', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_interval('ahead', NEW.ahead);
  PERFORM loyalty.check_interval('keep', NEW.keep);
  IF NEW.name <> ALL (loyalty.event_kinds()) THEN
    RAISE EXCEPTION 'kind "%" is not known', NEW.name
      USING ERRCODE = 'LY017', HINT = 'It is one of ' || array_to_string(loyalty.event_kinds(), ', ') || '.';
  ELSIF NEW.ahead IS NOT NULL AND NEW.name NOT IN ('expiring', 'tier_ending') THEN
    RAISE EXCEPTION 'events of kind "%" are not told ahead', NEW.name
      USING ERRCODE = 'LY017', HINT = 'ahead is for expiring and tier_ending.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_event_kind() IS 'trigger: checks a kind of events';
REVOKE ALL ON FUNCTION loyalty.config_event_kind() FROM PUBLIC;

-- The first twelve are event.c's.  A room that calls tell() adds its own.
CREATE OR REPLACE FUNCTION loyalty.event_kinds() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '{enrolled,earned,clawed_back,expired,adjusted,transferred,redeemed,held,released,reversed,promoted,demoted,expiring,tier_ending,donated,donation_returned,detractor,voucher_issued,referral_rewarded,referral_taken_back,challenge_completed,challenge_taken_back}'::text[] $$;
COMMENT ON FUNCTION loyalty.event_kinds() IS 'the kinds of events that can be told';
REVOKE ALL ON FUNCTION loyalty.event_kinds() FROM PUBLIC;

-- For rooms that tell of many rows: nothing is read for a program that tells nothing.
CREATE OR REPLACE FUNCTION loyalty.tells(program_id integer, kinds text[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT EXISTS (SELECT FROM loyalty.event_kind k JOIN loyalty.program p ON p.name = k.program
                 WHERE p.id = tells.program_id AND k.name = ANY (kinds) AND k.enabled)
$$;
COMMENT ON FUNCTION loyalty.tells(integer, text[]) IS 'does a program tell one of these kinds of events';
REVOKE ALL ON FUNCTION loyalty.tells(integer, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.tell(program_id integer, kind text, member_id bigint, at timestamptz, data jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  k record;
BEGIN
  SELECT x.program, x.notify INTO k FROM loyalty.event_kind x JOIN loyalty.program p ON p.name = x.program
  WHERE p.id = tell.program_id AND x.name = tell.kind AND x.enabled;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO loyalty.event (member_id, program_id, kind, at, posted_at, data)
  VALUES (tell.member_id, tell.program_id, tell.kind, tell.at, statement_timestamp(), tell.data);
  IF k.notify THEN
    PERFORM pg_notify('loyalty', k.program || ' ' || kind);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.tell(integer, text, bigint, timestamptz, jsonb) IS 'write an event, where the program tells this kind; called by the core and by rooms, as the ledger''s owner';
REVOKE ALL ON FUNCTION loyalty.tell(integer, text, bigint, timestamptz, jsonb) FROM PUBLIC;

-- ---- reading

CREATE OR REPLACE FUNCTION loyalty.place_events() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last bigint;
  placed bigint;
BEGIN
  -- nothing fresh: no lock, nothing written, also on a standby
  IF NOT EXISTS (SELECT FROM loyalty.event e WHERE e.position IS NULL) OR current_setting('transaction_read_only')::boolean THEN
    RETURN 0;
  END IF;
  SELECT p.last_position INTO last FROM loyalty.event_place p FOR UPDATE;
  UPDATE loyalty.event e SET position = last + n.number
  FROM (SELECT x.member_id, x.event_no, row_number() OVER (ORDER BY x.event_no) AS number FROM loyalty.event x WHERE x.position IS NULL) n
  WHERE e.member_id = n.member_id AND e.event_no = n.event_no;
  GET DIAGNOSTICS placed = ROW_COUNT;
  UPDATE loyalty.event_place p SET last_position = last + placed;
  RETURN placed;
END $$;
COMMENT ON FUNCTION loyalty.place_events() IS 'give a position to all events that are committed and have none; returns how many';
REVOKE ALL ON FUNCTION loyalty.place_events() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.events_after("position" bigint, n integer DEFAULT 100, program text DEFAULT NULL, kinds text[] DEFAULT NULL)
RETURNS TABLE ("position" bigint, program text, kind text, member_id bigint, at timestamptz, data jsonb)
LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.events_after(bigint, integer, text, text[]) IS
  'the next n events after a position, for consumers that keep their own; of one program and of some kinds where that is asked for; 0: from the first; LY006 when some have been forgotten since';
REVOKE ALL ON FUNCTION loyalty.events_after(bigint, integer, text, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.events_after_as_owner(after bigint, n integer, of_program text, of_kinds text[])
RETURNS TABLE ("position" bigint, program text, kind text, member_id bigint, at timestamptz, data jsonb)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  forgotten bigint;
BEGIN
  IF after IS NULL OR after < 0 OR n IS NULL OR n < 1 OR n > 100000 THEN
    RAISE EXCEPTION 'position is %, and n is %', coalesce(after::text, 'null'), coalesce(n::text, 'null')
      USING ERRCODE = 'LY017', HINT = 'A position is 0 or more, n is 1 to 100,000.';
  END IF;
  IF of_program IS NOT NULL THEN
    PERFORM loyalty.check_program(of_program);
  END IF;
  PERFORM loyalty.place_events();
  SELECT p.forgotten_to INTO forgotten FROM loyalty.event_place p;
  IF after > 0 AND after < forgotten THEN
    RAISE EXCEPTION 'events after position % were forgotten', after
      USING ERRCODE = 'LY006', DETAIL = format('What was written up to position %s is older than event_kind.keep.', forgotten),
        HINT = 'Take the state afresh from the views, then read on from that position.';
  END IF;
  RETURN QUERY
  SELECT e.position, p.name, e.kind, e.member_id, e.at, e.data
  FROM loyalty.event e JOIN loyalty.program p ON p.id = e.program_id
  WHERE e.position > after AND (of_program IS NULL OR p.name = of_program) AND (of_kinds IS NULL OR e.kind = ANY (of_kinds))
  ORDER BY e.position LIMIT n;
END $$;
COMMENT ON FUNCTION loyalty.events_after_as_owner(bigint, integer, text, text[]) IS 'the body of events_after()';
REVOKE ALL ON FUNCTION loyalty.events_after_as_owner(bigint, integer, text, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.read_events(consumer text, n integer DEFAULT 100, program text DEFAULT NULL, kinds text[] DEFAULT NULL)
RETURNS TABLE ("position" bigint, program text, kind text, member_id bigint, at timestamptz, data jsonb)
LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.read_events(text, integer, text, text[]) IS
  'the next n events after those that the consumer has confirmed: the same again until confirm_events(); an unknown consumer begins with the first that is kept';
REVOKE ALL ON FUNCTION loyalty.read_events(text, integer, text, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.read_events_as_owner(consumer text, n integer, of_program text, of_kinds text[])
RETURNS TABLE ("position" bigint, program text, kind text, member_id bigint, at timestamptz, data jsonb)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_name('consumer', consumer);
  RETURN QUERY
  SELECT a.* FROM loyalty.events_after(coalesce((SELECT c.position FROM loyalty.event_consumer c WHERE c.name = consumer), 0), n, of_program, of_kinds) a;
END $$;
COMMENT ON FUNCTION loyalty.read_events_as_owner(text, integer, text, text[]) IS 'the body of read_events()';
REVOKE ALL ON FUNCTION loyalty.read_events_as_owner(text, integer, text, text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.confirm_events(consumer text, "position" bigint) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.confirm_events(text, bigint) IS 'all events up to this position are worked off by the consumer: read_events() goes on behind it; never backwards; returns the position';
REVOKE ALL ON FUNCTION loyalty.confirm_events(text, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.confirm_events_as_owner(consumer text, confirmed bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  last bigint := (SELECT p.last_position FROM loyalty.event_place p);
BEGIN
  PERFORM loyalty.check_name('consumer', consumer);
  IF confirmed IS NULL OR confirmed < 0 OR confirmed > last THEN
    RAISE EXCEPTION 'position is %', coalesce(confirmed::text, 'null')
      USING ERRCODE = 'LY017', DETAIL = format('The last one that was given is %s.', last);
  END IF;
  INSERT INTO loyalty.event_consumer AS c (name, position, confirmed_at, by)
  VALUES (consumer, confirmed, statement_timestamp(), session_user)
  ON CONFLICT (name) DO UPDATE SET position = greatest(c.position, excluded.position), confirmed_at = excluded.confirmed_at, by = excluded.by;
  RETURN (SELECT c.position FROM loyalty.event_consumer c WHERE c.name = consumer);
END $$;
COMMENT ON FUNCTION loyalty.confirm_events_as_owner(text, bigint) IS 'the body of confirm_events()';
REVOKE ALL ON FUNCTION loyalty.confirm_events_as_owner(text, bigint) FROM PUBLIC;

-- ---- tending

-- What will happen soon, told once.  A tier is told of only when it would really fall.
CREATE OR REPLACE FUNCTION loyalty.tell_ahead() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  k record;
  e record;
  told bigint := 0;
BEGIN
  FOR k IN
    SELECT p.id, p.name AS program, x.name, coalesce(x.ahead, interval '30 days') AS ahead
    FROM loyalty.event_kind x JOIN loyalty.program p ON p.name = x.program
    WHERE x.enabled AND x.name IN ('expiring', 'tier_ending')
  LOOP
    FOR e IN
      SELECT v.member_id, v.expires_at AS subject, jsonb_build_object('points', v.points, 'expires_at', v.expires_at, 'last_day', v.last_day) AS data
      FROM loyalty.expiring v
      WHERE k.name = 'expiring' AND v.program = k.program AND v.expires_at <= loyalty.instant() + k.ahead
      UNION ALL
      SELECT a.member_id, a.tier_until, jsonb_build_object('tier', f.name, 'falls_to', t.name, 'held_until', a.tier_until)
      FROM loyalty.account_now a
      JOIN loyalty.tier f ON f.id = a.tier_id
      CROSS JOIN LATERAL loyalty.settled(a.member_id, a.program_id, a.tier_until) s
      LEFT JOIN loyalty.tier t ON t.id = s.tier_id
      WHERE k.name = 'tier_ending' AND a.program_id = k.id AND a.tier_until <= loyalty.instant() + k.ahead
        AND (t.id IS NULL OR t.rank < f.rank)
    LOOP
      INSERT INTO loyalty.event_ahead (member_id, program_id, kind, subject) VALUES (e.member_id, k.id, k.name, e.subject)
      ON CONFLICT DO NOTHING;
      IF FOUND THEN
        PERFORM loyalty.tell(k.id, k.name, e.member_id, loyalty.instant(), e.data);
        told := told + 1;
      END IF;
    END LOOP;
  END LOOP;
  DELETE FROM loyalty.event_ahead a WHERE a.subject < loyalty.instant() - interval '1 day';
  RETURN told;
END $$;
COMMENT ON FUNCTION loyalty.tell_ahead() IS 'tell of points that will die soon and of tiers that will fall soon, each once; returns how many';
REVOKE ALL ON FUNCTION loyalty.tell_ahead() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.forget_events() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone bigint;
  last bigint;
BEGIN
  WITH d AS (
    DELETE FROM loyalty.event e USING loyalty.program p
    WHERE p.id = e.program_id AND e.position IS NOT NULL
      AND e.posted_at < statement_timestamp() - coalesce((SELECT k.keep FROM loyalty.event_kind k WHERE k.program = p.name AND k.name = e.kind), interval '30 days')
    RETURNING e.position)
  SELECT count(*), max(d.position) INTO gone, last FROM d;
  IF gone > 0 THEN
    UPDATE loyalty.event_place p SET forgotten_to = greatest(p.forgotten_to, last);
  END IF;
  RETURN gone;
END $$;
COMMENT ON FUNCTION loyalty.forget_events() IS 'delete events that are older than event_kind.keep; returns how many';
REVOKE ALL ON FUNCTION loyalty.forget_events() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.tend_events() RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.tend_events() IS 'part of run_maintenance(): tell ahead, give positions, forget what is old; returns how many events were told';
REVOKE ALL ON FUNCTION loyalty.tend_events() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.tend_events_as_owner() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  told bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.event_kind) AND NOT EXISTS (SELECT FROM loyalty.event) THEN
    RETURN 0;
  END IF;
  told := loyalty.tell_ahead();
  PERFORM loyalty.place_events();
  PERFORM loyalty.forget_events();
  RETURN told;
END $$;
COMMENT ON FUNCTION loyalty.tend_events_as_owner() IS 'the body of tend_events()';
REVOKE ALL ON FUNCTION loyalty.tend_events_as_owner() FROM PUBLIC;
