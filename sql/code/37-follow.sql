-- Rooms that follow sales, told inside of the sale after its awards are written: src/follow.c.  A room that begins or
-- ends to be in use changes a configuration table that src/config.c watches (config_tables).

CREATE TYPE loyalty.sale AS (
  member_id bigint,
  source_id integer,
  source_key text,
  unit integer,
  occurred_at timestamptz,
  at timestamptz,
  amount numeric,
  kept numeric,
  spend numeric,
  points bigint,
  first boolean
);
COMMENT ON TYPE loyalty.sale IS 'inside of rooms that follow sales: an award that was made, or of which another part is kept now; unit 0: points, else a status unit; spend and points (count of 1/10,000) are changes';

-- Whether any is in use, and whether one changes accounts of others than those who buy, is known to src/config_program.c.
CREATE OR REPLACE FUNCTION loyalty.sales_involve(program_id integer, members bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  involved bigint[] := loyalty.referral_involves(program_id, members);
BEGIN
  IF loyalty.program_shares_tiers(program_id) THEN
    -- last: these are locked, and whoever may be given something is known
    involved := involved || loyalty.pools_involve(program_id, members || involved);
  END IF;
  RETURN involved;
END $$;
COMMENT ON FUNCTION loyalty.sales_involve(integer, bigint[]) IS 'whose accounts sales to these members may change beside their own: locked with them';
REVOKE ALL ON FUNCTION loyalty.sales_involve(integer, bigint[]) FROM PUBLIC;

-- In the order in which they are told.  Pools come last: they look at what all others have left.  That there is one is what
-- read_rooms() of src/config_program.c reads with the program, too: a new room comes into both.
CREATE OR REPLACE FUNCTION loyalty.rooms_in_use(program_id integer) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN CASE WHEN loyalty.program_refers(program_id) THEN '{referral}' ELSE '{}'::text[] END
    || CASE WHEN EXISTS (SELECT FROM loyalty.giving g JOIN loyalty.program p ON p.name = g.program WHERE p.id = rooms_in_use.program_id) THEN '{charity}' ELSE '{}'::text[] END
    || CASE WHEN loyalty.has_visit_challenges(program_id) THEN '{visits}' ELSE '{}'::text[] END
    || CASE WHEN loyalty.program_shares_tiers(program_id) THEN '{pools}' ELSE '{}'::text[] END;
END $$;
COMMENT ON FUNCTION loyalty.rooms_in_use(integer) IS 'part of follow_sales(): which rooms follow the sales of a program';
REVOKE ALL ON FUNCTION loyalty.rooms_in_use(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_room(room text, program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CASE room
    WHEN 'referral' THEN PERFORM loyalty.follow_referral(program_id, sales);
    WHEN 'charity' THEN PERFORM loyalty.follow_charity(program_id, sales);
    WHEN 'visits' THEN PERFORM loyalty.follow_visits(program_id, sales);
    WHEN 'pools' THEN PERFORM loyalty.follow_pools(program_id, sales);
    -- counted in the sale (src/challenge.c): once more, what all counts give
    WHEN 'challenge' THEN PERFORM loyalty.settle_challenges(follow_room.program_id, array_agg(g.member_id), array_agg(g.challenge_id), array_agg(g.period_start), '-infinity')
      FROM loyalty.progress g WHERE g.program_id = follow_room.program_id AND g.member_id = ANY (SELECT s.member_id FROM unnest(sales) s) HAVING count(*) > 0;
  END CASE;
END $$;
COMMENT ON FUNCTION loyalty.follow_room(text, integer, loyalty.sale[]) IS 'part of follow_sales(): tell one room';
REVOKE ALL ON FUNCTION loyalty.follow_room(text, integer, loyalty.sale[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_sales(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  room text;
BEGIN
  FOREACH room IN ARRAY loyalty.rooms_in_use(program_id) LOOP
    PERFORM loyalty.follow_room(room, program_id, sales);
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.follow_sales(integer, loyalty.sale[]) IS 'tells the rooms in use what happened to awards; called by the sale';
REVOKE ALL ON FUNCTION loyalty.follow_sales(integer, loyalty.sale[]) FROM PUBLIC;

-- ---- on_error = skip: a room that fails does not stop the sale ----

-- What src/review.c lets stop a sale all the same: rolled back by the server, out of resources, ended by somebody, broken.
CREATE OR REPLACE FUNCTION loyalty.must_stop(code text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT left(code, 2) IN ('40', '53', '57', '58', 'XX') $$;
COMMENT ON FUNCTION loyalty.must_stop(text) IS 'does an error of this SQLSTATE stop a sale also under on_error = skip';
REVOKE ALL ON FUNCTION loyalty.must_stop(text) FROM PUBLIC;

-- What a room did not hear before of these members, at the instants of their accounts.
CREATE OR REPLACE FUNCTION loyalty.untold_sales(told text, in_program integer, members bigint[]) RETURNS loyalty.sale[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(array_agg(ROW (u.member_id, u.source_id, u.source_key, u.unit, u.occurred_at, a.settled_at, u.amount, u.kept, u.spend, u.points, u.first)::loyalty.sale
    ORDER BY u.member_id DESC, u.untold_no), '{}')
  FROM loyalty.untold u JOIN loyalty.account a ON a.member_id = u.member_id AND a.program_id = u.program_id
  WHERE u.member_id = ANY (members) AND u.program_id = in_program AND u.room = told
$$;
COMMENT ON FUNCTION loyalty.untold_sales(text, integer, bigint[]) IS 'part of tell_room(): what is to be told still';
REVOKE ALL ON FUNCTION loyalty.untold_sales(text, integer, bigint[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.note_untold(failed text, in_program integer, sales loyalty.sale[], message text, code text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO loyalty.untold (member_id, program_id, room, source_id, source_key, unit, occurred_at, amount, kept, spend, points, first, posted_at)
  SELECT s.member_id, in_program, failed, s.source_id, s.source_key, s.unit, s.occurred_at, s.amount, s.kept, s.spend, s.points, s.first, statement_timestamp()
  FROM unnest(sales) WITH ORDINALITY s ORDER BY s.ordinality;
  INSERT INTO loyalty.review AS r (member_id, source_id, source_key, error, sqlstate)
  SELECT DISTINCT s.member_id, s.source_id, s.source_key, format('%s: %s', failed, message), code FROM unnest(sales) s
  ON CONFLICT ON CONSTRAINT review_pkey DO UPDATE
  SET error = CASE WHEN strpos(r.error, excluded.error) > 0 THEN r.error ELSE r.error || '; ' || excluded.error END, settled_at = NULL;
END $$;
COMMENT ON FUNCTION loyalty.note_untold(text, integer, loyalty.sale[], text, text) IS 'part of tell_room(): the room failed; its purchases are listed, and what it is to hear is kept';
REVOKE ALL ON FUNCTION loyalty.note_untold(text, integer, loyalty.sale[], text, text) FROM PUBLIC;

-- It has heard all of them.
CREATE OR REPLACE FUNCTION loyalty.forget_untold(told text, in_program integer, members bigint[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  WITH gone AS (
    DELETE FROM loyalty.untold u WHERE u.member_id = ANY (members) AND u.program_id = in_program AND u.room = told
    RETURNING u.member_id, u.untold_no, u.source_id, u.source_key)
  UPDATE loyalty.review r SET settled_at = now()
  FROM (SELECT DISTINCT g.member_id, g.source_id, g.source_key FROM gone g) d
  WHERE r.source_id = d.source_id AND r.source_key = d.source_key AND r.settled_at IS NULL
    AND NOT EXISTS (SELECT FROM loyalty.untold u WHERE u.member_id = d.member_id AND u.source_id = d.source_id AND u.source_key = d.source_key
                    AND u.program_id = in_program AND u.room <> told)
$$;
COMMENT ON FUNCTION loyalty.forget_untold(text, integer, bigint[]) IS 'part of tell_room(): the room has heard all, and purchases that no room waits for are settled';
REVOKE ALL ON FUNCTION loyalty.forget_untold(text, integer, bigint[]) FROM PUBLIC;

-- One room, of these sales to these members and of what it did not hear before.  When it fails, what it did is undone, and it is told of one half
-- of the members and of the other: who is not to blame is not kept waiting.
CREATE OR REPLACE FUNCTION loyalty.tell_room(room text, program_id integer, members bigint[], sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n integer := cardinality(members);
  half bigint[];
  everything loyalty.sale[] := loyalty.untold_sales(room, program_id, members) || sales;
BEGIN
  BEGIN
    IF cardinality(everything) > 0 THEN
      PERFORM loyalty.follow_room(room, program_id, everything);
      PERFORM loyalty.forget_untold(room, program_id, members);
    END IF;
    RETURN;
  EXCEPTION WHEN OTHERS THEN
    IF loyalty.must_stop(SQLSTATE) THEN
      RAISE;
    END IF;
    IF n = 1 THEN
      PERFORM loyalty.note_untold(room, program_id, tell_room.sales, SQLERRM, SQLSTATE);
      RETURN;
    END IF;
  END;
  FOR i IN 0 .. 1 LOOP
    half := members[1 + i * (n / 2) : CASE i WHEN 0 THEN n / 2 ELSE n END];
    PERFORM loyalty.tell_room(room, program_id, half, ARRAY(SELECT s::loyalty.sale FROM unnest(sales) s WHERE s.member_id = ANY (half)));
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.tell_room(text, integer, bigint[], loyalty.sale[]) IS 'part of follow_sales_or_note(): tell a room, and note whose sales it fails at';
REVOKE ALL ON FUNCTION loyalty.tell_room(text, integer, bigint[], loyalty.sale[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_sales_or_note(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  members bigint[] := ARRAY(SELECT s.member_id FROM unnest(sales) WITH ORDINALITY s GROUP BY 1 ORDER BY min(s.ordinality));
  waiting text[] := ARRAY(SELECT DISTINCT u.room FROM loyalty.untold u WHERE u.member_id = ANY (members) AND u.program_id = follow_sales_or_note.program_id);
  room text;
BEGIN
  IF waiting = '{}' THEN
    BEGIN
      PERFORM loyalty.follow_sales(program_id, sales);
      RETURN;
    EXCEPTION WHEN OTHERS THEN
      IF loyalty.must_stop(SQLSTATE) THEN
        RAISE;
      END IF;
    END;
  END IF;
  IF 'challenge' = ANY (waiting) THEN
    PERFORM loyalty.tell_room('challenge', program_id, members, '{}');
  END IF;
  FOREACH room IN ARRAY loyalty.rooms_in_use(program_id) LOOP
    PERFORM loyalty.tell_room(room, program_id, members, sales);
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.follow_sales_or_note(integer, loyalty.sale[]) IS 'follow_sales() for sources with on_error = skip: a room that fails is noted, and told again later';
REVOKE ALL ON FUNCTION loyalty.follow_sales_or_note(integer, loyalty.sale[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.settle_challenges_or_note(program_id integer, members bigint[], challenges integer[], periods timestamptz[], sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.settle_challenges(program_id, members, challenges, periods, '-infinity');
EXCEPTION WHEN OTHERS THEN
  IF loyalty.must_stop(SQLSTATE) THEN
    RAISE;
  END IF;
  PERFORM loyalty.tell_room('challenge', program_id, w.members, ARRAY(SELECT s::loyalty.sale FROM unnest(sales) s WHERE s.member_id = ANY (w.members)))
  FROM (SELECT array_agg(DISTINCT m ORDER BY m DESC) AS members FROM unnest(members) m) w;
END $$;
COMMENT ON FUNCTION loyalty.settle_challenges_or_note(integer, bigint[], integer[], timestamptz[], loyalty.sale[]) IS
  'settle_challenges() for sources with on_error = skip';
REVOKE ALL ON FUNCTION loyalty.settle_challenges_or_note(integer, bigint[], integer[], timestamptz[], loyalty.sale[]) FROM PUBLIC;

-- reconcile(): what rooms have not heard of a source's purchases.
CREATE OR REPLACE FUNCTION loyalty.tell_again(of_source integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  in_program integer := (SELECT p.id FROM loyalty.source s JOIN loyalty.program p ON p.name = s.program WHERE s.id = of_source);
  members bigint[] := (SELECT array_agg(DISTINCT u.member_id ORDER BY u.member_id DESC) FROM loyalty.untold u WHERE u.source_id = of_source);
  room text;
BEGIN
  IF members IS NULL THEN
    RETURN;
  END IF;
  PERFORM loyalty.lock_accounts(in_program, members || loyalty.sales_involve(in_program, members));
  FOREACH room IN ARRAY '{challenge}' || loyalty.rooms_in_use(in_program) LOOP
    PERFORM loyalty.tell_room(room, in_program, members, '{}');
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.tell_again(integer) IS 'part of reconcile(): tell rooms what they failed at before';
REVOKE ALL ON FUNCTION loyalty.tell_again(integer) FROM PUBLIC;
