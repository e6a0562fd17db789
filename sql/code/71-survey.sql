-- Surveys: an answer, the points for it, and the follow-up that a bad one opens.  For applications that have no table of
-- answers; one that has attaches it as a source, and its rows earn by rules.
-- Rules: an answer is written under the lock of its account, so that a member answers once in a period; its points have a
-- key of their own that names survey and period.

CREATE OR REPLACE FUNCTION loyalty.config_survey() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('survey', OLD.name, OLD.program,
      EXISTS (SELECT FROM loyalty.response r WHERE r.survey_id = OLD.id), 'has been answered');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('survey', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_word('kind', NEW.kind, 'nps', 'rating', 'comment');
  IF NEW.points IN ('NaN', 'Infinity') OR NEW.points >= 1e10
     OR NEW.points <> (SELECT trunc(NEW.points, p.decimals) FROM loyalty.program p WHERE p.name = NEW.program) THEN
    RAISE EXCEPTION 'points is %', NEW.points
      USING ERRCODE = 'LY017', HINT = 'It lies below 10,000,000,000 and has no more decimals than the program''s points.';
  ELSIF NEW.once_per::text LIKE 'rolling %' THEN
    RAISE EXCEPTION 'once_per is %', NEW.once_per
      USING ERRCODE = 'LY017', HINT = 'A survey is answered once in a calendar period, in a membership year, or once ever (lifetime).';
  ELSIF TG_OP = 'UPDATE' AND (NEW.kind, NEW.scale_from, NEW.scale_to) <> (OLD.kind, OLD.scale_from, OLD.scale_to)
     AND EXISTS (SELECT FROM loyalty.response r WHERE r.survey_id = OLD.id) THEN
    RAISE EXCEPTION 'kind and scale of survey "%" cannot be changed', NEW.name
      USING ERRCODE = 'LY011', DETAIL = 'It has been answered.', HINT = 'Disable it and write another.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_survey() IS 'trigger: checks a survey';
REVOKE ALL ON FUNCTION loyalty.config_survey() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_answer(survey_id integer, score integer, comment text, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s loyalty.survey;
BEGIN
  SELECT x.* INTO s FROM loyalty.survey x WHERE x.id = survey_id;
  IF NOT s.enabled OR at < s.starts_at OR at >= s.ends_at THEN
    RAISE EXCEPTION 'survey "%" cannot be answered now', s.name
      USING ERRCODE = 'LY006', DETAIL = CASE WHEN NOT s.enabled THEN 'It is disabled.' WHEN at < s.starts_at THEN format('It begins at %s.', s.starts_at)
        ELSE format('It ended at %s.', s.ends_at) END;
  ELSIF score IS NULL AND s.kind <> 'comment' THEN
    RAISE EXCEPTION 'score is null' USING ERRCODE = 'LY017', HINT = format('Survey "%s" is answered by %s to %s.', s.name, s.scale_from, s.scale_to);
  ELSIF score < s.scale_from OR score > s.scale_to THEN
    RAISE EXCEPTION 'score is %', score USING ERRCODE = 'LY017', HINT = format('Survey "%s" is answered by %s to %s.', s.name, s.scale_from, s.scale_to);
  ELSIF score IS NULL AND coalesce(comment, '') = '' THEN
    RAISE EXCEPTION 'nothing was answered' USING ERRCODE = 'LY017', HINT = 'Give a comment or a score.';
  ELSIF octet_length(comment) > 100000 THEN
    RAISE EXCEPTION 'comment is too long' USING ERRCODE = 'LY008', DETAIL = format('It has %s bytes; 100000 are allowed.', octet_length(comment));
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_answer(integer, integer, text, timestamptz) IS 'part of answer(): raise LY006 or LY017 for what is no answer to the survey';
REVOKE ALL ON FUNCTION loyalty.check_answer(integer, integer, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.answer(
  member_id bigint, survey text, score integer DEFAULT NULL, comment text DEFAULT NULL, program text DEFAULT NULL, key text DEFAULT NULL,
  touchpoint text DEFAULT NULL, source text DEFAULT NULL, source_key text DEFAULT NULL)
RETURNS TABLE (response_id bigint, category text, points numeric, follow_up_due date)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.answer(bigint, text, integer, text, text, text, text, text, text) IS
  'a member answers a survey, once in its period: points for it are given at once, a bad score opens a follow-up; the same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.answer(bigint, text, integer, text, text, text, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.answer_as_owner(
  member_id bigint, survey text, score integer, comment text, program text, key text, touchpoint text, source text, source_key text)
RETURNS TABLE (response_id bigint, category text, points numeric, follow_up_due date)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.member_now(member_id);
  in_program text := loyalty.program_name(program);
  arguments json := json_build_object('survey', survey, 'score', score, 'comment', comment, 'touchpoint', touchpoint, 'source', source, 'source_key', source_key);
  s loyalty.survey;
  p loyalty.program;
  a loyalty.account;
  r loyalty.response;
  former jsonb;
  begins timestamptz;
  now_at timestamptz;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.name = in_program;
  SELECT x.* INTO s FROM loyalty.survey x WHERE x.program = in_program AND x.name = survey;
  IF s.id IS NULL THEN
    RAISE EXCEPTION 'program "%" has no survey "%"', in_program, survey
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.survey lists the surveys.';
  END IF;
  now_at := loyalty.call_begin(who, p.id);
  former := loyalty.find_call(who, p.id, key, 'answer', arguments);
  IF former IS NOT NULL THEN
    RETURN QUERY SELECT (former ->> 'response_id')::bigint, former ->> 'category', (former ->> 'points')::numeric, (former ->> 'follow_up_due')::date;
    RETURN;
  END IF;
  SELECT x.* INTO a FROM loyalty.account x WHERE x.member_id = who AND x.program_id = p.id;
  PERFORM loyalty.check_answer(s.id, score, comment, now_at);
  SELECT b.starts_at INTO begins FROM loyalty.period_bounds(s.once_per, now_at, p.timezone, a.enrolled_at) b;
  IF EXISTS (SELECT FROM loyalty.response x WHERE x.member_id = who AND x.survey_id = s.id AND x.period_start = begins) THEN
    RAISE EXCEPTION 'member % has answered survey "%"', who, s.name
      USING ERRCODE = 'LY008', DETAIL = format('It is answered once in %s.', CASE s.once_per::text WHEN 'lifetime' THEN 'a lifetime' ELSE 'each ' || s.once_per END);
  END IF;
  r.category := CASE WHEN s.kind <> 'nps' THEN NULL WHEN score >= 9 THEN 'promoter' WHEN score >= 7 THEN 'passive' ELSE 'detractor' END;
  points := CASE WHEN a.status = 'active' THEN coalesce(s.points, 0) ELSE 0 END;
  IF points > 0 THEN
    SELECT g.entry_no INTO r.entry_no
    FROM loyalty.adjust(who, points, 'survey ' || s.name, in_program,
      format('survey %s %s', s.id, CASE WHEN isfinite(begins) THEN to_char(begins AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') ELSE 'ever' END)) g;
  END IF;
  INSERT INTO loyalty.response AS x (member_id, survey_id, period_start, program_id, score, category, comment, touchpoint, source, source_key, points, entry_no, at, posted_at, by, set_role)
  VALUES (who, s.id, begins, p.id, score, r.category, comment, touchpoint, source, source_key, loyalty.points_to_ledger(points::loyalty.points), r.entry_no, now_at, statement_timestamp(), session_user, loyalty.caller())
  RETURNING x.response_id INTO response_id;
  category := r.category;
  IF score < coalesce(s.follow_up_below, CASE s.kind WHEN 'nps' THEN 7 END) THEN
    follow_up_due := (now_at AT TIME ZONE p.timezone)::date + s.follow_up_days;
    INSERT INTO loyalty.follow_up (member_id, response_id, owner, due, opened_at) VALUES (who, response_id, s.follow_up_owner, follow_up_due, now_at);
    PERFORM loyalty.note_follow_up(who, response_id, 'opened', NULL, now_at);
    PERFORM loyalty.tell(p.id, 'detractor', who, now_at, jsonb_build_object('survey', s.name, 'response_id', response_id, 'score', score, 'due', follow_up_due));
  END IF;
  PERFORM loyalty.keep_call(who, p.id, key, 'answer', arguments, now_at,
    jsonb_build_object('response_id', response_id, 'category', category, 'points', points, 'follow_up_due', follow_up_due));
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.answer_as_owner(bigint, text, integer, text, text, text, text, text, text) IS 'the body of answer()';
REVOKE ALL ON FUNCTION loyalty.answer_as_owner(bigint, text, integer, text, text, text, text, text, text) FROM PUBLIC;

-- ---- follow-ups

CREATE OR REPLACE FUNCTION loyalty.note_follow_up(member_id bigint, response_id bigint, action text, note text, at timestamptz) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.follow_up_change (member_id, response_id, change_no, action, owner, due, note, at, posted_at, by, set_role)
  SELECT f.member_id, f.response_id, 1 + (SELECT count(*) FROM loyalty.follow_up_change c WHERE c.member_id = f.member_id AND c.response_id = f.response_id),
    note_follow_up.action, f.owner, f.due, note_follow_up.note, note_follow_up.at, statement_timestamp(), session_user, loyalty.caller()
  FROM loyalty.follow_up f WHERE f.member_id = note_follow_up.member_id AND f.response_id = note_follow_up.response_id
$$;
COMMENT ON FUNCTION loyalty.note_follow_up(bigint, bigint, text, text, timestamptz) IS 'part of answer(), close_follow_up(), reassign_follow_up(): who did what';
REVOKE ALL ON FUNCTION loyalty.note_follow_up(bigint, bigint, text, text, timestamptz) FROM PUBLIC;

-- Locked, so that two people do not close it differently.
CREATE OR REPLACE FUNCTION loyalty.open_follow_up(member_id bigint, response_id bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  f loyalty.follow_up;
BEGIN
  SELECT x.* INTO f FROM loyalty.follow_up x
  WHERE x.member_id = loyalty.member_now(open_follow_up.member_id) AND x.response_id = open_follow_up.response_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no follow-up of response %', member_id, response_id
      USING ERRCODE = 'LY017', HINT = 'The view loyalty.detractor lists them.';
  END IF;
  RETURN f.member_id;
END $$;
COMMENT ON FUNCTION loyalty.open_follow_up(bigint, bigint) IS 'part of close_follow_up() and reassign_follow_up(): lock it and say whose it is now; LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.open_follow_up(bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_up_instant(member_id bigint, response_id bigint) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT greatest(loyalty.writing_instant(r.program_id), r.at) FROM loyalty.response r
  WHERE r.member_id = follow_up_instant.member_id AND r.response_id = follow_up_instant.response_id
$$;
COMMENT ON FUNCTION loyalty.follow_up_instant(bigint, bigint) IS 'part of close_follow_up() and reassign_follow_up(): now, in the program';
REVOKE ALL ON FUNCTION loyalty.follow_up_instant(bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.close_follow_up(member_id bigint, response_id bigint, outcome text) RETURNS timestamptz
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.close_follow_up(bigint, bigint, text) IS 'the member was called back, and this came of it; returns when it was closed, also when it is called again with the same outcome; LY006 when it was closed with another one';
REVOKE ALL ON FUNCTION loyalty.close_follow_up(bigint, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.close_follow_up_as_owner(member_id bigint, response_id bigint, outcome text) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.open_follow_up(member_id, response_id);
  f loyalty.follow_up;
  now_at timestamptz := loyalty.follow_up_instant(who, response_id);
BEGIN
  SELECT x.* INTO f FROM loyalty.follow_up x WHERE x.member_id = who AND x.response_id = close_follow_up_as_owner.response_id;
  IF coalesce(outcome, '') = '' THEN
    RAISE EXCEPTION 'outcome is missing' USING ERRCODE = 'LY017', HINT = 'Say what came of it.';
  ELSIF f.outcome = outcome THEN
    RETURN f.closed_at;
  ELSIF f.outcome IS NOT NULL THEN
    RAISE EXCEPTION 'the follow-up of response % is closed', response_id
      USING ERRCODE = 'LY006', DETAIL = format('It was closed at %s: %s', f.closed_at, f.outcome);
  END IF;
  UPDATE loyalty.follow_up x SET outcome = close_follow_up_as_owner.outcome, closed_at = now_at
  WHERE x.member_id = f.member_id AND x.response_id = f.response_id;
  PERFORM loyalty.note_follow_up(f.member_id, f.response_id, 'closed', outcome, now_at);
  RETURN now_at;
END $$;
COMMENT ON FUNCTION loyalty.close_follow_up_as_owner(bigint, bigint, text) IS 'the body of close_follow_up()';
REVOKE ALL ON FUNCTION loyalty.close_follow_up_as_owner(bigint, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.reassign_follow_up(member_id bigint, response_id bigint, owner text, due date DEFAULT NULL, note text DEFAULT NULL) RETURNS date
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.reassign_follow_up(bigint, bigint, text, date, text) IS 'give an open follow-up to somebody, and another day if one is said; returns when it is due; LY006 when it is closed';
REVOKE ALL ON FUNCTION loyalty.reassign_follow_up(bigint, bigint, text, date, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.reassign_follow_up_as_owner(member_id bigint, response_id bigint, owner text, due date, note text) RETURNS date
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.open_follow_up(member_id, response_id);
  f loyalty.follow_up;
BEGIN
  SELECT x.* INTO f FROM loyalty.follow_up x WHERE x.member_id = who AND x.response_id = reassign_follow_up_as_owner.response_id;
  IF coalesce(owner, '') = '' THEN
    RAISE EXCEPTION 'owner is missing' USING ERRCODE = 'LY017', HINT = 'Say whose it is from now on.';
  ELSIF f.outcome IS NOT NULL THEN
    RAISE EXCEPTION 'the follow-up of response % is closed', response_id
      USING ERRCODE = 'LY006', DETAIL = format('It was closed at %s: %s', f.closed_at, f.outcome);
  END IF;
  due := coalesce(due, f.due);
  IF (owner, due) IS DISTINCT FROM (f.owner, f.due) THEN
    UPDATE loyalty.follow_up x SET owner = reassign_follow_up_as_owner.owner, due = reassign_follow_up_as_owner.due WHERE x.member_id = f.member_id AND x.response_id = f.response_id;
    PERFORM loyalty.note_follow_up(f.member_id, f.response_id, 'reassigned', note, loyalty.follow_up_instant(f.member_id, f.response_id));
  END IF;
  RETURN due;
END $$;
COMMENT ON FUNCTION loyalty.reassign_follow_up_as_owner(bigint, bigint, text, date, text) IS 'the body of reassign_follow_up()';
REVOKE ALL ON FUNCTION loyalty.reassign_follow_up_as_owner(bigint, bigint, text, date, text) FROM PUBLIC;
