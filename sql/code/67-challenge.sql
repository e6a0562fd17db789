-- Challenges: progress follows sales, inside of the sale (src/challenge.c; visits here); what is completed is given, and taken back when it is undone.
-- Rules:
-- * value is a sum over kept awards by occurred_at, so it ends the same whatever path led there: progress_of_ledger() adds
--   it up again, verify() compares.
-- * What is due follows from progress alone; what was given is challenge_award.  settle_challenges() makes the one the other,
--   under the account's lock.  What a return should take and does not find is owed, and held against what the challenge gives next:
--   buying and returning gains nothing.
-- * A sale pays one statement a batch, whatever the number of challenges, and another one for visits.

CREATE OR REPLACE FUNCTION loyalty.config_challenge() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p record;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP <> 'INSERT' THEN
    IF loyalty.in_ledger('challenge', OLD.id) THEN
      IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'challenge "%" of program "%" has members on their way', OLD.name, OLD.program
          USING ERRCODE = 'LY011', HINT = 'Disable it instead: UPDATE … SET enabled = false.';
      ELSIF (NEW.kind, NEW.metric, NEW.source, NEW.period, NEW.streak, NEW.opt_in)
            IS DISTINCT FROM (OLD.kind, OLD.metric, OLD.source, OLD.period, OLD.streak, OLD.opt_in)
            AND NOT coalesce(NEW.source <> OLD.source AND NOT EXISTS (SELECT FROM loyalty.source s WHERE s.program = OLD.program AND s.name = OLD.source), false) THEN
        RAISE EXCEPTION 'challenge "%" of program "%" has members on their way', OLD.name, OLD.program
          USING ERRCODE = 'LY011', HINT = 'Its kind, metric, source, period, streak and opt_in stay: disable it and write another.';
      END IF;
    END IF;
    IF TG_OP = 'DELETE' THEN
      RETURN OLD;
    END IF;
  END IF;

  PERFORM loyalty.check_name('challenge', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  SELECT o.id, o.decimals, loyalty.writing_instant(o.id) AS instant INTO p FROM loyalty.program o WHERE o.name = NEW.program;
  -- where there is no account there is no history either that would have to be counted
  NEW.starts_at := coalesce(NEW.starts_at, CASE WHEN EXISTS (SELECT FROM loyalty.account a WHERE a.program_id = p.id) THEN p.instant ELSE '-infinity' END);
  PERFORM loyalty.check_word('kind', NEW.kind, 'target', 'stamp', 'streak');
  PERFORM loyalty.check_finite('target', NEW.target);
  PERFORM loyalty.check_interval('deadline', NEW.deadline);
  NEW.period := NEW.period::loyalty.period::text;
  IF NEW.target <= 0 THEN
    RAISE EXCEPTION 'target is %', NEW.target USING ERRCODE = 'LY017', HINT = 'It is above 0.';
  ELSIF NEW.period LIKE 'rolling %' THEN
    RAISE EXCEPTION 'the period of a challenge is %', NEW.period
      USING ERRCODE = 'LY017', HINT = 'It begins and ends for good: day, week, calendar month, … lifetime; with a deadline it ends some time after a member has joined.';
  ELSIF (NEW.kind = 'streak') <> (NEW.streak IS NOT NULL) THEN
    RAISE EXCEPTION 'streak is % for kind "%"', coalesce(NEW.streak::text, 'missing'), NEW.kind
      USING ERRCODE = 'LY017', HINT = 'A streak, and nothing else, says in how many periods in a row its target is to be reached.';
  ELSIF NEW.kind = 'streak' AND NEW.period = 'lifetime' THEN
    RAISE EXCEPTION 'the period of a streak is lifetime' USING ERRCODE = 'LY017', HINT = 'Give one that comes again: week.';
  ELSIF NEW.kind = 'target' AND NEW.times <> 1 THEN
    RAISE EXCEPTION 'times is % for a target', NEW.times USING ERRCODE = 'LY017', HINT = 'A target is reached once a period; what begins anew is a stamp card.';
  ELSIF NEW.points IS NULL AND NEW.reward IS NULL AND NEW.choices IS NULL AND NEW.badge IS NULL THEN
    RAISE EXCEPTION 'nothing is given for challenge "%"', NEW.name USING ERRCODE = 'LY017', HINT = 'Give points, a reward, choices or a badge.';
  ELSIF NEW.reward IS NOT NULL AND NEW.choices IS NOT NULL THEN
    RAISE EXCEPTION 'challenge "%" has a reward and choices', NEW.name USING ERRCODE = 'LY017', HINT = 'Give the one or the other; another challenge can have the same target.';
  ELSIF NEW.choices = '{}' OR EXISTS (
      SELECT FROM unnest(NEW.choices) u (name) WHERE NOT EXISTS (SELECT FROM loyalty.reward w WHERE w.program = NEW.program AND w.name = u.name)) THEN
    RAISE EXCEPTION 'choices is %', NEW.choices USING ERRCODE = 'LY017', HINT = 'Name some rewards of the program, or leave it out.';
  ELSIF NEW.choice_points IS NOT NULL AND (NEW.choices IS NULL OR NEW.points IS NOT NULL) THEN
    RAISE EXCEPTION 'choice_points is % for challenge "%"', NEW.choice_points, NEW.name
      USING ERRCODE = 'LY017', HINT = 'They are had instead of one of its choices; points that come anyway are those of another challenge with the same target.';
  ELSIF coalesce(NEW.points, NEW.choice_points) <> trunc(coalesce(NEW.points, NEW.choice_points), p.decimals) OR coalesce(NEW.points, NEW.choice_points) >= 1e10 THEN
    RAISE EXCEPTION 'points is %', coalesce(NEW.points, NEW.choice_points)
      USING ERRCODE = 'LY017', HINT = format('It is below 10,000,000,000, with at most %s decimals.', p.decimals);
  END IF;
  IF NEW.badge IS NOT NULL THEN
    PERFORM loyalty.check_name('badge', NEW.badge);
  END IF;
  NEW.unit := 0;
  IF NEW.metric NOT IN ('spend', 'points', 'purchases', 'visits') THEN
    SELECT u.id INTO NEW.unit FROM loyalty.unit u WHERE u.program = NEW.program AND u.name = NEW.metric;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'metric "%" is not known', NEW.metric
        USING ERRCODE = 'LY017', HINT = 'It is spend, points, purchases, visits or a status unit, which the first rule that awards it makes.';
    END IF;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_challenge() IS 'trigger: checks a challenge';
REVOKE ALL ON FUNCTION loyalty.config_challenge() FROM PUBLIC;

-- ---- inside of the sale

CREATE OR REPLACE FUNCTION loyalty.has_visit_challenges(program_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM loyalty.program p JOIN loyalty.challenge c ON c.program = p.name
                 WHERE p.id = has_visit_challenges.program_id AND c.enabled AND c.metric = 'visits');
END $$;
COMMENT ON FUNCTION loyalty.has_visit_challenges(integer) IS 'has a program challenges that count visits';
REVOKE ALL ON FUNCTION loyalty.has_visit_challenges(integer) FROM PUBLIC;

-- A day on which something is kept is a visit: one is added with the first purchase of a day, and taken with the last return.
CREATE OR REPLACE FUNCTION loyalty.follow_visits(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  members bigint[];
  challenges integer[];
  periods timestamptz[];
BEGIN
    WITH running AS MATERIALIZED (
      SELECT c.id, c.kind, c.target, c.times, s.id AS source_id, c.period::loyalty.period AS period, p.timezone, c.starts_at, c.ends_at, c.deadline, c.opt_in,
        c.period = 'membership year' OR c.deadline IS NOT NULL AND NOT c.opt_in AS asks_account
      FROM loyalty.program p
      JOIN loyalty.challenge c ON c.program = p.name AND c.enabled
      LEFT JOIN loyalty.source s ON s.program = c.program AND s.name = c.source
      WHERE p.id = follow_visits.program_id AND c.metric = 'visits'
    ), came AS MATERIALIZED (
      SELECT s.member_id, c.id, (s.occurred_at AT TIME ZONE c.timezone)::date AS day, min(s.occurred_at) AS occurred_at, min(w.enrolled_at) AS enrolled_at,
        sum(CASE WHEN NOT s.first THEN 0
            WHEN s.amount = 0 THEN CASE WHEN s.kept IS NULL THEN -1 ELSE 1 END
            ELSE (s.kept <> 0)::integer - (s.kept <> s.spend)::integer END) AS delta
      FROM unnest(follow_visits.sales) s
      JOIN running c ON s.unit = 0 AND (c.source_id IS NULL OR c.source_id = s.source_id) AND s.occurred_at >= c.starts_at AND s.occurred_at < c.ends_at
      CROSS JOIN LATERAL (
        SELECT CASE WHEN c.asks_account THEN (
            SELECT a.enrolled_at FROM loyalty.account a WHERE a.member_id = s.member_id AND a.program_id = follow_visits.program_id)
          ELSE '-infinity' END AS enrolled_at,
          CASE WHEN c.opt_in THEN (
            SELECT j.joined_at FROM loyalty.challenge_join j
            WHERE j.member_id = s.member_id AND j.program_id = follow_visits.program_id AND j.challenge_id = c.id) END AS joined_at) w
      WHERE (NOT c.opt_in OR s.occurred_at >= w.joined_at)
        AND (c.deadline IS NULL
             OR s.occurred_at < ((CASE WHEN c.opt_in THEN w.joined_at ELSE w.enrolled_at END AT TIME ZONE c.timezone) + c.deadline) AT TIME ZONE c.timezone)
      GROUP BY 1, 2, 3
    ), day AS (
      -- what was there before follows from what is there and how much was added: so the visit is found without a join
      INSERT INTO loyalty.challenge_day AS t (member_id, program_id, challenge_id, day, purchases, added, occurred_at, enrolled_at)
      SELECT v.member_id, follow_visits.program_id, v.id, v.day, v.delta, v.delta, v.occurred_at, v.enrolled_at FROM came v WHERE v.delta <> 0
      ON CONFLICT ON CONSTRAINT challenge_day_pkey DO UPDATE
      SET purchases = t.purchases + excluded.purchases, added = excluded.added
      RETURNING t.member_id, t.challenge_id, t.occurred_at, t.enrolled_at, (t.purchases > 0)::integer - (t.purchases - t.added > 0)::integer AS visits
    ), hit AS (
      SELECT d.member_id, c.id, loyalty.period_start(c.period, d.occurred_at, c.timezone, d.enrolled_at) AS period_start,
        min(d.occurred_at) AS occurred_at, min(d.enrolled_at) AS enrolled_at, sum(d.visits) AS delta
      FROM day d JOIN running c ON c.id = d.challenge_id
      GROUP BY 1, 2, 3
    ), moved AS (
      INSERT INTO loyalty.progress AS t (member_id, program_id, challenge_id, period_start, period_end, value)
      SELECT h.member_id, follow_visits.program_id, h.id, h.period_start,
        loyalty.period_end(c.period, h.occurred_at, c.timezone, h.enrolled_at), h.delta
      FROM hit h JOIN running c ON c.id = h.id
      WHERE h.delta <> 0
      ON CONFLICT ON CONSTRAINT progress_pkey DO UPDATE SET value = t.value + excluded.value
      RETURNING t.member_id, t.challenge_id, t.period_start, t.value, t.times, t.completed_at IS NOT NULL AS reached
    )
    SELECT array_agg(m.member_id), array_agg(m.challenge_id), array_agg(m.period_start) INTO members, challenges, periods
    FROM moved m
    JOIN running c ON c.id = m.challenge_id
    WHERE CASE c.kind
        WHEN 'stamp' THEN least(div(greatest(m.value, 0), c.target), c.times, 2147483647) <> m.times
        ELSE (m.value >= c.target) <> m.reached
      END;
  IF members IS NOT NULL THEN
    PERFORM loyalty.settle_challenges(follow_visits.program_id, members, challenges, periods, '-infinity');
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.follow_visits(integer, loyalty.sale[]) IS 'what sales mean for challenges that count visits: called by the sale';
REVOKE ALL ON FUNCTION loyalty.follow_visits(integer, loyalty.sale[]) FROM PUBLIC;

-- Give what is due and was not given, take what was given and is not due, of these rows of progress.  The accounts are locked;
-- `instant` is the call's, -infinity inside of a sale: the account's own.  Of a run of 9 periods in a row a streak of 4 is
-- complete twice.
CREATE OR REPLACE FUNCTION loyalty.settle_challenges(program_id integer, members bigint[], challenges integer[], periods timestamptz[], instant timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  r record;
BEGIN
  UPDATE loyalty.progress t
  SET completed_at = CASE WHEN t.value >= c.target THEN greatest(a.settled_at, settle_challenges.instant) END
  FROM unnest(settle_challenges.members, settle_challenges.challenges, settle_challenges.periods) u (member_id, challenge_id, period_start)
  JOIN loyalty.challenge c ON c.id = u.challenge_id
  JOIN loyalty.account a ON a.member_id = u.member_id AND a.program_id = settle_challenges.program_id
  WHERE t.member_id = u.member_id AND t.program_id = settle_challenges.program_id AND t.challenge_id = u.challenge_id AND t.period_start = u.period_start
    AND (t.completed_at IS NULL) <> (t.value < c.target);
  FOR r IN
    SELECT k.member_id, k.challenge_id, k.of_period, k.one_by_one, d.due, d.given, greatest(a.settled_at, settle_challenges.instant) AS at
    FROM (SELECT DISTINCT u.member_id, c.id AS challenge_id, c.kind, c.target, c.times, c.streak, c.reward IS NOT NULL OR c.choices IS NOT NULL AS one_by_one,
            CASE WHEN c.kind = 'streak' THEN '-infinity' ELSE u.period_start END AS of_period
          FROM unnest(settle_challenges.members, settle_challenges.challenges, settle_challenges.periods) u (member_id, challenge_id, period_start)
          JOIN loyalty.challenge c ON c.id = u.challenge_id) k
    JOIN loyalty.account a ON a.member_id = k.member_id AND a.program_id = settle_challenges.program_id
    CROSS JOIN LATERAL (
      SELECT CASE WHEN k.kind = 'stamp' THEN least(div(greatest(t.value, 0), k.target), k.times, 2147483647)::integer
                  ELSE (t.value >= k.target)::integer END AS due, t.times AS given
      FROM loyalty.progress t
      WHERE k.kind <> 'streak' AND t.member_id = k.member_id AND t.program_id = settle_challenges.program_id AND t.challenge_id = k.challenge_id
        AND t.period_start = k.of_period
      UNION ALL
      SELECT least(sum(n.length / k.streak), k.times)::integer, (
        SELECT coalesce(sum(x.completions - x.taken_back), 0) FROM loyalty.challenge_award x
        WHERE x.member_id = k.member_id AND x.program_id = settle_challenges.program_id AND x.challenge_id = k.challenge_id)::integer
      FROM (SELECT count(*) AS length
            FROM (SELECT count(*) FILTER (WHERE g.begins) OVER (ORDER BY g.period_start) AS run
                  FROM (SELECT p.period_start, p.period_start <> lag(p.period_end, 1, '-infinity') OVER (ORDER BY p.period_start) AS begins
                        FROM loyalty.progress p
                        WHERE p.member_id = k.member_id AND p.program_id = settle_challenges.program_id AND p.challenge_id = k.challenge_id
                          AND p.value >= k.target) g) q
            GROUP BY q.run
            UNION ALL SELECT 0) n
      WHERE k.kind = 'streak' HAVING k.kind = 'streak') d
    WHERE d.due <> d.given
    ORDER BY k.member_id DESC, k.challenge_id, k.of_period
  LOOP
    IF r.due < r.given THEN
      PERFORM loyalty.take_challenge(settle_challenges.program_id, r.challenge_id, r.member_id, r.of_period, r.given - r.due, r.at);
    ELSE
      -- rewards one by one: each may be had or not, and goes back by itself
      FOR n IN 1 .. CASE WHEN r.one_by_one THEN r.due - r.given ELSE 1 END LOOP
        PERFORM loyalty.give_challenge(settle_challenges.program_id, r.challenge_id, r.member_id, r.of_period, CASE WHEN r.one_by_one THEN 1 ELSE r.due - r.given END, r.at);
      END LOOP;
    END IF;
  END LOOP;
  UPDATE loyalty.progress t
  SET times = d.due
  FROM (SELECT p.member_id, p.challenge_id, p.period_start,
          CASE WHEN c.kind = 'stamp' THEN least(div(greatest(p.value, 0), c.target), c.times, 2147483647)::integer ELSE (p.value >= c.target)::integer END AS due
        FROM unnest(settle_challenges.members, settle_challenges.challenges, settle_challenges.periods) u (member_id, challenge_id, period_start)
        JOIN loyalty.challenge c ON c.id = u.challenge_id AND c.kind <> 'streak'
        JOIN loyalty.progress p ON p.member_id = u.member_id AND p.program_id = settle_challenges.program_id AND p.challenge_id = u.challenge_id AND p.period_start = u.period_start) d
  WHERE t.member_id = d.member_id AND t.program_id = settle_challenges.program_id AND t.challenge_id = d.challenge_id AND t.period_start = d.period_start AND t.times <> d.due;
END $$;
COMMENT ON FUNCTION loyalty.settle_challenges(integer, bigint[], integer[], timestamptz[], timestamptz) IS 'part of challenges: give what is due and was not given, take what was given and is not due';
REVOKE ALL ON FUNCTION loyalty.settle_challenges(integer, bigint[], integer[], timestamptz[], timestamptz) FROM PUBLIC;

-- Less what is still owed from earlier ones.
CREATE OR REPLACE FUNCTION loyalty.pay_challenge(
  program_id integer, challenge_id integer, member_id bigint, period_start timestamptz, award_no integer, points bigint,
  OUT paid bigint, OUT entry_no bigint, OUT expires_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.challenge;
  o record;
BEGIN
  SELECT y.* INTO c FROM loyalty.challenge y WHERE y.id = pay_challenge.challenge_id;
  paid := pay_challenge.points;
  FOR o IN SELECT x.period_start, x.award_no, x.owed FROM loyalty.challenge_award x
           WHERE x.member_id = pay_challenge.member_id AND x.program_id = pay_challenge.program_id AND x.challenge_id = pay_challenge.challenge_id AND x.owed > 0
           ORDER BY x.period_start, x.award_no LOOP
    EXIT WHEN paid = 0;
    UPDATE loyalty.challenge_award t SET owed = t.owed - least(paid, o.owed)
    WHERE t.member_id = pay_challenge.member_id AND t.program_id = pay_challenge.program_id AND t.challenge_id = pay_challenge.challenge_id
      AND t.period_start = o.period_start AND t.award_no = o.award_no;
    paid := paid - least(paid, o.owed);
  END LOOP;
  IF paid > 0 THEN
    SELECT a.entry_no, a.expires_at INTO entry_no, expires_at
    FROM loyalty.adjust(pay_challenge.member_id, paid * 0.0001, format('challenge %s', c.name), program => c.program,
      key => format('challenge %s from %s no %s', c.id, pay_challenge.period_start AT TIME ZONE 'UTC', pay_challenge.award_no), counts_for_tier => c.counts_for_tier) a;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.pay_challenge(integer, integer, bigint, timestamptz, integer, bigint) IS 'part of challenges: the points of an award, and the entry that gave them';
REVOKE ALL ON FUNCTION loyalty.pay_challenge(integer, integer, bigint, timestamptz, integer, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.give_challenge(program_id integer, challenge_id integer, member_id bigint, period_start timestamptz, completions integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c record;
  g record;
BEGIN
  SELECT y.program, y.name, y.counts_for_tier, y.reward, y.choices, y.badge, coalesce(y.points * 10000, 0)::bigint AS each,
    coalesce(max(x.award_no) FILTER (WHERE x.period_start = give_challenge.period_start), 0) + 1 AS n INTO c
  FROM loyalty.challenge y
  LEFT JOIN loyalty.challenge_award x ON x.member_id = give_challenge.member_id AND x.program_id = give_challenge.program_id AND x.challenge_id = y.id
  WHERE y.id = give_challenge.challenge_id
  GROUP BY y.program, y.name;
  SELECT y.* INTO g FROM loyalty.pay_challenge(give_challenge.program_id, give_challenge.challenge_id, give_challenge.member_id, give_challenge.period_start, c.n,
    (c.each::numeric * completions)::bigint) y;
  INSERT INTO loyalty.challenge_award (member_id, program_id, challenge_id, period_start, award_no, completions, points_each, points, entry_no, expires_at,
    reward_id, badge, at, posted_at)
  VALUES (give_challenge.member_id, give_challenge.program_id, give_challenge.challenge_id, give_challenge.period_start, c.n, give_challenge.completions, c.each, g.paid, g.entry_no, g.expires_at,
    CASE WHEN c.reward IS NOT NULL THEN (SELECT w.id FROM loyalty.reward w WHERE w.program = c.program AND w.name = c.reward) WHEN c.choices IS NOT NULL THEN 0 END, c.badge, give_challenge.at, statement_timestamp());
  IF c.reward IS NOT NULL OR c.choices IS NOT NULL THEN
    PERFORM loyalty.give_challenge_reward(give_challenge.program_id, give_challenge.challenge_id, give_challenge.member_id, give_challenge.period_start, c.n, give_challenge.at);
  END IF;
  PERFORM loyalty.tell(give_challenge.program_id, 'challenge_completed', give_challenge.member_id, give_challenge.at, jsonb_build_object('challenge', c.name,
    'completions', give_challenge.completions, 'points', trim_scale(g.paid * 0.0001), 'reward', c.reward, 'badge', c.badge));
END $$;
COMMENT ON FUNCTION loyalty.give_challenge(integer, integer, bigint, timestamptz, integer, timestamptz) IS 'part of challenges: what there is for so many completions';
REVOKE ALL ON FUNCTION loyalty.give_challenge(integer, integer, bigint, timestamptz, integer, timestamptz) FROM PUBLIC;

-- A free reward is paid with points that live for a microsecond: burning takes those first that die first, so no others.  One that
-- cannot be had now stays due, and does not stop the sale.
CREATE OR REPLACE FUNCTION loyalty.give_challenge_reward(program_id integer, challenge_id integer, member_id bigint, period_start timestamptz, award_no integer, at timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.challenge;
  w loyalty.reward;
  x loyalty.challenge_award;
  o loyalty.challenge_award;
  redeemed bigint;
BEGIN
  SELECT y.* INTO x FROM loyalty.challenge_award y
  WHERE y.member_id = give_challenge_reward.member_id AND y.program_id = give_challenge_reward.program_id AND y.challenge_id = give_challenge_reward.challenge_id
    AND y.period_start = give_challenge_reward.period_start AND y.award_no = give_challenge_reward.award_no;
  SELECT y.* INTO c FROM loyalty.challenge y WHERE y.id = x.challenge_id;
  SELECT y.* INTO w FROM loyalty.reward y WHERE y.id = x.reward_id;
  -- a reward that a return could not take back is the next one's
  SELECT y.* INTO o FROM loyalty.challenge_award y
  WHERE y.member_id = x.member_id AND y.program_id = x.program_id AND y.challenge_id = x.challenge_id AND y.reward_kept
  ORDER BY y.at, y.award_no LIMIT 1;
  IF FOUND THEN
    UPDATE loyalty.challenge_award t SET reward_kept = false
    WHERE t.member_id = o.member_id AND t.program_id = o.program_id AND t.challenge_id = o.challenge_id AND t.period_start = o.period_start AND t.award_no = o.award_no;
    UPDATE loyalty.challenge_award t SET redemption_id = o.redemption_id, reward_id = o.reward_id
    WHERE t.member_id = x.member_id AND t.program_id = x.program_id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
    RETURN true;
  ELSIF w.id IS NULL THEN
    RETURN false;  -- the member has not chosen yet
  END IF;
  BEGIN
    -- enough whatever the member's price: what is not needed dies, too
    PERFORM FROM loyalty.adjust(x.member_id,
      greatest(w.cost, (SELECT max(y.cost) FROM loyalty.reward_price y WHERE y.program = w.program AND y.reward = w.name)) * w.min_quantity,
      format('challenge %s: %s', c.name, w.name), program => c.program, expires_at => give_challenge_reward.at + interval '1 microsecond');
    SELECT r.redemption_id INTO redeemed
    FROM loyalty.redeem(x.member_id, reward => w.name, quantity => w.min_quantity, program => c.program, reason => format('challenge %s', c.name)) r;
  EXCEPTION WHEN SQLSTATE 'LY001' OR SQLSTATE 'LY005' OR SQLSTATE 'LY008' OR SQLSTATE 'LY009' THEN
    RETURN false;
  END;
  UPDATE loyalty.challenge_award t SET redemption_id = redeemed
  WHERE t.member_id = x.member_id AND t.program_id = x.program_id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
  RETURN true;
END $$;
COMMENT ON FUNCTION loyalty.give_challenge_reward(integer, integer, bigint, timestamptz, integer, timestamptz) IS 'part of challenges: redeem a reward that costs the member nothing; false when it cannot be had now';
REVOKE ALL ON FUNCTION loyalty.give_challenge_reward(integer, integer, bigint, timestamptz, integer, timestamptz) FROM PUBLIC;

-- The last given first.  Points that have died count as taken; what has been spent is owed.
CREATE OR REPLACE FUNCTION loyalty.take_challenge(program_id integer, challenge_id integer, member_id bigint, period_start timestamptz, completions integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.challenge;
  x loyalty.challenge_award;
  n integer := completions;
  k integer;
  back bigint;
  taken bigint;
  kept boolean := false;
BEGIN
  SELECT y.* INTO c FROM loyalty.challenge y WHERE y.id = take_challenge.challenge_id;
  FOR x IN SELECT y.* FROM loyalty.challenge_award y
           WHERE y.member_id = take_challenge.member_id AND y.program_id = take_challenge.program_id AND y.challenge_id = c.id
             AND y.period_start = take_challenge.period_start AND y.completions > y.taken_back
           ORDER BY y.award_no DESC LOOP
    EXIT WHEN n = 0;
    k := least(n, x.completions - x.taken_back);
    back := x.points_each * k;
    taken := back;
    IF back > 0 AND (x.expires_at IS NULL OR x.expires_at > take_challenge.at) THEN
      SELECT least(back, greatest(s.available, 0)) INTO taken FROM loyalty.settled(x.member_id, x.program_id, take_challenge.at) s;
      IF taken > 0 THEN
        PERFORM FROM loyalty.adjust(x.member_id, taken * -0.0001, format('challenge %s undone', c.name), program => c.program, counts_for_tier => c.counts_for_tier);
      END IF;
    END IF;
    IF x.redemption_id IS NOT NULL THEN
      kept := NOT loyalty.take_challenge_reward(x.member_id, x.redemption_id, c.program);
    END IF;
    UPDATE loyalty.challenge_award t
    SET taken_back = t.taken_back + k, points_taken = t.points_taken + taken, owed = t.owed + back - taken, reward_kept = kept, taken_at = take_challenge.at
    WHERE t.member_id = x.member_id AND t.program_id = x.program_id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
    PERFORM loyalty.tell(x.program_id, 'challenge_taken_back', x.member_id, take_challenge.at, jsonb_build_object('challenge', c.name,
      'completions', k, 'points', trim_scale(taken * 0.0001), 'reward', CASE WHEN x.redemption_id IS NOT NULL AND NOT kept THEN c.reward END, 'badge', x.badge));
    n := n - k;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.take_challenge(integer, integer, bigint, timestamptz, integer, timestamptz) IS 'part of challenges: take back what there was for so many completions';
REVOKE ALL ON FUNCTION loyalty.take_challenge(integer, integer, bigint, timestamptz, integer, timestamptz) FROM PUBLIC;

-- Reversing the redemption gives the piece back.  Its points have died meanwhile, or are taken before they do.  A return goes
-- through also where a voucher has been used.
CREATE OR REPLACE FUNCTION loyalty.take_challenge_reward(member_id bigint, redemption_id bigint, program text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  alive numeric;
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.redemption y
                 WHERE y.member_id = take_challenge_reward.member_id AND y.redemption_id = take_challenge_reward.redemption_id AND y.state = 'captured') THEN
    RETURN true;  -- somebody has reversed it before
  END IF;
  BEGIN
    SELECT r.alive INTO alive FROM loyalty.reverse(take_challenge_reward.member_id, take_challenge_reward.redemption_id) r;
  EXCEPTION WHEN SQLSTATE 'LY005' OR SQLSTATE 'LY006' OR SQLSTATE 'LY008' OR SQLSTATE 'LY009' THEN
    RETURN false;
  END;
  IF alive > 0 THEN
    PERFORM FROM loyalty.adjust(take_challenge_reward.member_id, -alive, 'challenge undone', program => take_challenge_reward.program);
  END IF;
  RETURN true;
END $$;
COMMENT ON FUNCTION loyalty.take_challenge_reward(bigint, bigint, text) IS 'part of challenges: reverse the redemption of a free reward; false when it cannot be: its voucher was used';
REVOKE ALL ON FUNCTION loyalty.take_challenge_reward(bigint, bigint, text) FROM PUBLIC;

-- ---- what members and applications call

CREATE OR REPLACE FUNCTION loyalty.challenge_named(program text, challenge text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.challenge;
  of_program text := loyalty.program_name(program);
BEGIN
  SELECT x.* INTO c FROM loyalty.challenge x WHERE x.program = of_program AND x.name = challenge_named.challenge;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no challenge "%"', of_program, challenge
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.challenge lists them.';
  END IF;
  RETURN c.id;
END $$;
COMMENT ON FUNCTION loyalty.challenge_named(text, text) IS 'the number of a challenge by its name; LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.challenge_named(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.join_challenge(member_id bigint, challenge text, program text DEFAULT NULL)
RETURNS TABLE (joined_at timestamptz, deadline timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.join_challenge(bigint, text, text) IS
  'a member takes part in a challenge with opt_in: purchases count from now on; whoever has joined stays so; deadline: first instant at which purchases do not count any more, NULL: none';
REVOKE ALL ON FUNCTION loyalty.join_challenge(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.join_challenge_as_owner(member_id bigint, challenge text, program text DEFAULT NULL)
RETURNS TABLE (joined_at timestamptz, deadline timestamptz)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.member_now(member_id);
  c loyalty.challenge;
  p loyalty.program;
  ends timestamptz;
BEGIN
  SELECT x.* INTO c FROM loyalty.challenge x WHERE x.id = loyalty.challenge_named(program, challenge);
  SELECT x.* INTO p FROM loyalty.program x WHERE x.name = c.program;
  PERFORM loyalty.lock_accounts(p.id, ARRAY[who]);
  SELECT j.joined_at INTO joined_at FROM loyalty.challenge_join j WHERE j.member_id = who AND j.program_id = p.id AND j.challenge_id = c.id;
  IF NOT FOUND THEN
    PERFORM loyalty.check_active(who, p.id);
    joined_at := greatest(loyalty.account_instant(who, p.id), c.starts_at);
    IF NOT c.opt_in THEN
      RAISE EXCEPTION 'all members take part in challenge "%" of program "%"', c.name, c.program
        USING ERRCODE = 'LY006', HINT = 'Nobody need join it: opt_in is false.';
    ELSIF NOT c.enabled OR joined_at >= c.ends_at THEN
      RAISE EXCEPTION 'challenge "%" of program "%" is over', c.name, c.program
        USING ERRCODE = 'LY006', DETAIL = CASE WHEN c.enabled THEN format('It ended at %s.', c.ends_at) ELSE 'It is disabled.' END;
    END IF;
    INSERT INTO loyalty.challenge_join (member_id, program_id, challenge_id, joined_at, posted_at, by, set_role)
    VALUES (who, p.id, c.id, joined_at, statement_timestamp(), session_user, loyalty.caller());
    -- purchases that are dated later than now were there before
    PERFORM loyalty.recount_progress(c.id, who, loyalty.account_instant(who, p.id));
  END IF;
  ends := least(c.ends_at, ((joined_at AT TIME ZONE p.timezone) + c.deadline) AT TIME ZONE p.timezone);
  deadline := CASE WHEN isfinite(ends) THEN ends END;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.join_challenge_as_owner(bigint, text, text) IS 'the body of join_challenge()';
REVOKE ALL ON FUNCTION loyalty.join_challenge_as_owner(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.claim_challenge_rewards(member_id bigint, program text DEFAULT NULL)
RETURNS TABLE (challenge text, reward text, redemption_id bigint)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.claim_challenge_rewards(bigint, text) IS
  'give the rewards of completed challenges that could not be had when they were won; redemption_id is NULL where they still cannot';
REVOKE ALL ON FUNCTION loyalty.claim_challenge_rewards(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.claim_challenge_rewards_as_owner(member_id bigint, program text DEFAULT NULL)
RETURNS TABLE (challenge text, reward text, redemption_id bigint)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.member_now(member_id);
  p loyalty.program;
  x loyalty.challenge_award;
BEGIN
  SELECT y.* INTO p FROM loyalty.program y WHERE y.name = loyalty.program_name(program);
  PERFORM loyalty.lock_accounts(p.id, ARRAY[who]);
  PERFORM loyalty.check_active(who, p.id);
  FOR x IN SELECT y.* FROM loyalty.challenge_award y
           WHERE y.member_id = who AND y.program_id = p.id AND y.reward_id <> 0 AND y.redemption_id IS NULL AND y.completions > y.taken_back
           ORDER BY y.at, y.challenge_id, y.award_no LOOP
    PERFORM loyalty.give_challenge_reward(p.id, x.challenge_id, who, x.period_start, x.award_no, loyalty.account_instant(who, p.id));
    RETURN QUERY
    SELECT c.name, w.name, t.redemption_id
    FROM loyalty.challenge_award t
    JOIN loyalty.challenge c ON c.id = t.challenge_id
    JOIN loyalty.reward w ON w.id = t.reward_id
    WHERE t.member_id = who AND t.program_id = p.id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.claim_challenge_rewards_as_owner(bigint, text) IS 'the body of claim_challenge_rewards()';
REVOKE ALL ON FUNCTION loyalty.claim_challenge_rewards_as_owner(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.choose_challenge_reward(member_id bigint, challenge text, reward text DEFAULT NULL, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (challenge text, reward text, redemption_id bigint, points numeric, left_over integer)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.choose_challenge_reward(bigint, text, text, text, text) IS
  'a member takes one of the choices of a challenge, free, or without reward its choice_points, for the first completion that has none yet; left_over: for how many it can still choose';
REVOKE ALL ON FUNCTION loyalty.choose_challenge_reward(bigint, text, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.choose_challenge_reward_as_owner(in_member bigint, in_challenge text, in_reward text, in_program text, in_key text)
RETURNS TABLE (challenge text, reward text, redemption_id bigint, points numeric, left_over integer)
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.member_now(in_member);
  c loyalty.challenge;
  in_program_id integer;
  arguments json;
  at timestamptz;
  answer jsonb;
BEGIN
  SELECT y.* INTO c FROM loyalty.challenge y WHERE y.id = loyalty.challenge_named(in_program, in_challenge);
  SELECT p.id INTO in_program_id FROM loyalty.program p WHERE p.name = c.program;
  arguments := json_build_object('challenge', c.id, 'reward', in_reward);
  at := loyalty.call_begin(who, in_program_id);
  answer := loyalty.find_call(who, in_program_id, in_key, 'choose_challenge_reward', arguments);
  IF answer IS NULL THEN
    PERFORM loyalty.check_active(who, in_program_id);
    answer := loyalty.choose_of_challenge(in_program_id, c.id, who, in_reward, at);
    PERFORM loyalty.keep_call(who, in_program_id, in_key, 'choose_challenge_reward', arguments, at, answer);
  END IF;
  RETURN QUERY SELECT c.name, in_reward, (answer ->> 'redemption_id')::bigint, (answer ->> 'points')::numeric, (answer ->> 'left_over')::integer;
END $$;
COMMENT ON FUNCTION loyalty.choose_challenge_reward_as_owner(bigint, text, text, text, text) IS 'the body of choose_challenge_reward()';
REVOKE ALL ON FUNCTION loyalty.choose_challenge_reward_as_owner(bigint, text, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.choose_of_challenge(program_id integer, challenge_id integer, member_id bigint, reward text, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c loyalty.challenge;
  chosen integer;
  x loyalty.challenge_award;
  g record;
  paid bigint;
BEGIN
  SELECT y.* INTO c FROM loyalty.challenge y WHERE y.id = choose_of_challenge.challenge_id;
  SELECT y.id INTO chosen FROM loyalty.reward y WHERE y.program = c.program AND y.name = choose_of_challenge.reward AND y.name = ANY (c.choices);
  IF chosen IS NULL AND (choose_of_challenge.reward IS NOT NULL OR c.choice_points IS NULL) THEN
    RAISE EXCEPTION '% among the choices of challenge "%"', CASE WHEN choose_of_challenge.reward IS NULL THEN 'points are not' ELSE format('reward "%s" is not', choose_of_challenge.reward) END, c.name
      USING ERRCODE = 'LY005', HINT = CASE WHEN c.choices IS NULL THEN 'It has none.' ELSE format('They are: %s.', array_to_string(c.choices, ', ')) END;
  END IF;
  SELECT y.* INTO x FROM loyalty.challenge_award y
  WHERE y.member_id = choose_of_challenge.member_id AND y.program_id = choose_of_challenge.program_id AND y.challenge_id = c.id
    AND y.reward_id = 0 AND y.redemption_id IS NULL AND y.completions > y.taken_back
  ORDER BY y.at, y.period_start, y.award_no LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has nothing to choose for challenge "%"', choose_of_challenge.member_id, c.name
      USING ERRCODE = 'LY006', HINT = 'loyalty.challenge_to_choose shows what can be chosen, loyalty.challenge_progress what is missing.';
  END IF;
  IF chosen IS NOT NULL AND c.choice_points IS NOT NULL AND EXISTS (SELECT FROM loyalty.challenge_award y
      WHERE y.member_id = x.member_id AND y.program_id = x.program_id AND y.challenge_id = x.challenge_id AND y.owed > 0) THEN
    RAISE EXCEPTION 'member % owes points of challenge "%"', x.member_id, c.name
      USING ERRCODE = 'LY006', HINT = 'They were spent before the purchase was returned: the points are the choice that settles it.';
  END IF;
  IF chosen IS NULL THEN
    SELECT y.* INTO g FROM loyalty.pay_challenge(x.program_id, x.challenge_id, x.member_id, x.period_start, x.award_no, (c.choice_points * 10000)::bigint) y;
    paid := g.paid;
    UPDATE loyalty.challenge_award t
    SET reward_id = NULL, points_each = c.choice_points * 10000, points = g.paid, entry_no = g.entry_no, expires_at = g.expires_at
    WHERE t.member_id = x.member_id AND t.program_id = x.program_id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
  ELSE
    UPDATE loyalty.challenge_award t SET reward_id = chosen
    WHERE t.member_id = x.member_id AND t.program_id = x.program_id AND t.challenge_id = x.challenge_id AND t.period_start = x.period_start AND t.award_no = x.award_no;
    IF NOT loyalty.give_challenge_reward(x.program_id, x.challenge_id, x.member_id, x.period_start, x.award_no, choose_of_challenge.at) THEN
      RAISE EXCEPTION 'reward "%" cannot be had now', choose_of_challenge.reward
        USING ERRCODE = 'LY005', HINT = 'loyalty.rewards_for() says what speaks against it; another one can be chosen.';
    END IF;
  END IF;
  RETURN (
    SELECT jsonb_strip_nulls(jsonb_build_object('redemption_id', max(y.redemption_id) FILTER (WHERE y.period_start = x.period_start AND y.award_no = x.award_no),
      'points', trim_scale(paid * 0.0001),
      'left_over', coalesce(sum(y.completions - y.taken_back) FILTER (WHERE y.reward_id = 0 AND y.redemption_id IS NULL), 0)))
    FROM loyalty.challenge_award y
    WHERE y.member_id = x.member_id AND y.program_id = x.program_id AND y.challenge_id = x.challenge_id);
END $$;
COMMENT ON FUNCTION loyalty.choose_of_challenge(integer, integer, bigint, text, timestamptz) IS 'part of choose_challenge_reward(): what is chosen, for the first completion that has none yet';
REVOKE ALL ON FUNCTION loyalty.choose_of_challenge(integer, integer, bigint, text, timestamptz) FROM PUBLIC;

-- ---- from the ledger

-- The rows that progress should have for a challenge, but for periods in which nothing is kept.
-- In plpgsql, which plans for what is asked for: one member, or all.
CREATE OR REPLACE FUNCTION loyalty.progress_of_ledger(challenge_id integer, only_member bigint DEFAULT NULL)
RETURNS TABLE (member_id bigint, period_start timestamptz, period_end timestamptz, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT k.member_id, k.period_start, min(k.period_end),
    CASE k.metric
      WHEN 'spend' THEN coalesce(sum(k.kept_amount) FILTER (WHERE k.part % 64 = 0), 0)
      WHEN 'purchases' THEN count(DISTINCT (k.source_id, k.source_key))
      WHEN 'visits' THEN count(DISTINCT k.day)
      ELSE coalesce(sum(k.points), 0) * 0.0001
    END
  FROM (
    SELECT l.member_id, c.metric, l.part, l.kept_amount, l.source_id, l.source_key, (l.earned_at AT TIME ZONE p.timezone)::date AS day,
      CASE WHEN c.metric IN ('spend', 'purchases', 'visits') OR l.breakdown IS NULL THEN 0
           WHEN l.kept_amount = l.amount AND l.unit = 0 THEN l.points
           WHEN l.kept_amount = l.amount THEN loyalty.points_to_ledger(loyalty.breakdown_points(l.breakdown::loyalty.breakdown))
           ELSE loyalty.points_to_ledger(loyalty.breakdown_points(l.breakdown::loyalty.breakdown, l.kept_amount, l.amount)) END AS points,
      loyalty.period_start(c.period::loyalty.period, l.earned_at, p.timezone, a.enrolled_at) AS period_start,
      loyalty.period_end(c.period::loyalty.period, l.earned_at, p.timezone, a.enrolled_at) AS period_end
    FROM loyalty.challenge c
    JOIN loyalty.program p ON p.name = c.program
    LEFT JOIN loyalty.source s ON s.program = c.program AND s.name = c.source
    JOIN loyalty.lot l ON l.program_id = p.id AND l.kind = 'a' AND l.unit = c.unit AND (c.source IS NULL OR l.source_id = s.id)
      AND l.earned_at >= c.starts_at AND l.earned_at < c.ends_at AND (l.kept_amount <> 0 OR l.kept_amount = l.amount)
      AND (progress_of_ledger.only_member IS NULL OR l.member_id = progress_of_ledger.only_member)
    JOIN loyalty.account a ON a.member_id = l.member_id AND a.program_id = l.program_id
    LEFT JOIN loyalty.challenge_join j ON j.member_id = l.member_id AND j.program_id = l.program_id AND j.challenge_id = c.id
    WHERE c.id = progress_of_ledger.challenge_id AND (NOT c.opt_in OR l.earned_at >= j.joined_at)
      AND (c.deadline IS NULL
           OR l.earned_at < ((CASE WHEN c.opt_in THEN j.joined_at ELSE a.enrolled_at END AT TIME ZONE p.timezone) + c.deadline) AT TIME ZONE p.timezone)) k
  GROUP BY k.member_id, k.period_start, k.metric;
END $$;
COMMENT ON FUNCTION loyalty.progress_of_ledger(integer, bigint) IS 'what progress should say of a challenge, added up from the ledger, of all members or one';
REVOKE ALL ON FUNCTION loyalty.progress_of_ledger(integer, bigint) FROM PUBLIC;

-- The account is locked.  Returns whether anything was wrong.
CREATE OR REPLACE FUNCTION loyalty.recount_progress(challenge_id integer, member_id bigint, instant timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  in_program integer;
  counts_visits boolean;
  wrong boolean := false;
  r record;
BEGIN
  SELECT p.id, c.metric = 'visits' INTO in_program, counts_visits FROM loyalty.challenge c JOIN loyalty.program p ON p.name = c.program WHERE c.id = recount_progress.challenge_id;
  IF counts_visits THEN
    DELETE FROM loyalty.challenge_day d WHERE d.member_id = recount_progress.member_id AND d.program_id = in_program AND d.challenge_id = recount_progress.challenge_id;
    INSERT INTO loyalty.challenge_day (member_id, program_id, challenge_id, day, purchases, added, occurred_at, enrolled_at)
    SELECT k.member_id, in_program, recount_progress.challenge_id, k.day, k.purchases, k.purchases, k.occurred_at, k.enrolled_at FROM loyalty.days_of_ledger(recount_progress.challenge_id, recount_progress.member_id) k;
  END IF;
  FOR r IN
    SELECT coalesce(g.period_start, t.period_start) AS period_start, coalesce(g.period_end, t.period_end) AS period_end,
      coalesce(g.value, 0) AS value, t.value IS DISTINCT FROM coalesce(g.value, 0) AS differs
    FROM loyalty.progress_of_ledger(recount_progress.challenge_id, recount_progress.member_id) g
    FULL JOIN (SELECT x.* FROM loyalty.progress x WHERE x.member_id = recount_progress.member_id AND x.program_id = in_program AND x.challenge_id = recount_progress.challenge_id) t
      ON t.period_start = g.period_start
    ORDER BY 1
  LOOP
    IF r.differs THEN
      wrong := true;
      INSERT INTO loyalty.progress AS t (member_id, program_id, challenge_id, period_start, period_end, value)
      VALUES (recount_progress.member_id, in_program, recount_progress.challenge_id, r.period_start, r.period_end, r.value)
      ON CONFLICT ON CONSTRAINT progress_pkey DO UPDATE SET value = excluded.value;
    END IF;
    PERFORM loyalty.settle_challenges(in_program, ARRAY[recount_progress.member_id], ARRAY[recount_progress.challenge_id], ARRAY[r.period_start], recount_progress.instant);
  END LOOP;
  RETURN wrong;
END $$;
COMMENT ON FUNCTION loyalty.recount_progress(integer, bigint, timestamptz) IS 'part of recount_challenge(): one member';
REVOKE ALL ON FUNCTION loyalty.recount_progress(integer, bigint, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.days_of_ledger(challenge_id integer, only_member bigint DEFAULT NULL)
RETURNS TABLE (member_id bigint, day date, purchases integer, occurred_at timestamptz, enrolled_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT l.member_id, (l.earned_at AT TIME ZONE p.timezone)::date, count(DISTINCT (l.source_id, l.source_key))::integer, min(l.earned_at), min(a.enrolled_at)
  FROM loyalty.challenge c
  JOIN loyalty.program p ON p.name = c.program
  LEFT JOIN loyalty.source s ON s.program = c.program AND s.name = c.source
  JOIN loyalty.lot l ON l.program_id = p.id AND l.kind = 'a' AND l.unit = c.unit AND (c.source IS NULL OR l.source_id = s.id)
    AND l.earned_at >= c.starts_at AND l.earned_at < c.ends_at AND (l.kept_amount <> 0 OR l.kept_amount = l.amount)
    AND (days_of_ledger.only_member IS NULL OR l.member_id = days_of_ledger.only_member)
  JOIN loyalty.account a ON a.member_id = l.member_id AND a.program_id = l.program_id
  LEFT JOIN loyalty.challenge_join j ON j.member_id = l.member_id AND j.program_id = l.program_id AND j.challenge_id = c.id
  WHERE c.id = days_of_ledger.challenge_id AND (NOT c.opt_in OR l.earned_at >= j.joined_at)
    AND (c.deadline IS NULL
         OR l.earned_at < ((CASE WHEN c.opt_in THEN j.joined_at ELSE a.enrolled_at END AT TIME ZONE p.timezone) + c.deadline) AT TIME ZONE p.timezone)
  GROUP BY l.member_id, 2;
END $$;
COMMENT ON FUNCTION loyalty.days_of_ledger(integer, bigint) IS 'what challenge_day should say of a challenge, added up from the ledger, of all members or one';
REVOKE ALL ON FUNCTION loyalty.days_of_ledger(integer, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recount_challenge(challenge text, program text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.recount_challenge(text, text) IS
  'add up a challenge again from the ledger, and give or take what is due by it: after a change of its target, times or dates, or of history; returns how many members had other figures';
REVOKE ALL ON FUNCTION loyalty.recount_challenge(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.recount_challenge_as_owner(challenge text, program text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  c loyalty.challenge;
  in_program integer;
  who bigint;
  changed integer := 0;
BEGIN
  SELECT x.* INTO c FROM loyalty.challenge x WHERE x.id = loyalty.challenge_named(recount_challenge_as_owner.program, recount_challenge_as_owner.challenge);
  IF NOT c.enabled THEN
    RAISE EXCEPTION 'challenge "%" of program "%" is disabled', c.name, c.program USING ERRCODE = 'LY006', HINT = 'UPDATE … SET enabled = true.';
  END IF;
  SELECT p.id INTO in_program FROM loyalty.program p WHERE p.name = c.program;
  FOR who IN
    SELECT g.member_id FROM loyalty.progress_of_ledger(c.id) g
    UNION SELECT t.member_id FROM loyalty.progress t WHERE t.program_id = in_program AND t.challenge_id = c.id
    ORDER BY 1 DESC
  LOOP
    PERFORM loyalty.lock_accounts(in_program, ARRAY[who]);
    changed := changed + loyalty.recount_progress(c.id, who, loyalty.account_instant(who, in_program))::integer;
  END LOOP;
  RETURN changed;
END $$;
COMMENT ON FUNCTION loyalty.recount_challenge_as_owner(text, text) IS 'the body of recount_challenge()';
REVOKE ALL ON FUNCTION loyalty.recount_challenge_as_owner(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_challenges(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  c record;
BEGIN
  FOR c IN SELECT x.id, x.name, x.kind, p.id AS program_id FROM loyalty.challenge x JOIN loyalty.program p ON p.name = x.program WHERE x.enabled LOOP
    RETURN QUERY
    SELECT 'challenge_progress', c.program_id, coalesce(g.member_id, t.member_id), NULL::bigint,
      format('challenge "%s" from %s: progress is %s, kept awards give %s', c.name, coalesce(g.period_start, t.period_start),
             trim_scale(coalesce(t.value, 0)), trim_scale(coalesce(g.value, 0)))
    FROM loyalty.progress_of_ledger(c.id) g
    FULL JOIN (SELECT x.* FROM loyalty.progress x WHERE x.challenge_id = c.id) t ON t.member_id = g.member_id AND t.period_start = g.period_start
    WHERE coalesce(g.value, 0) <> coalesce(t.value, 0)
    LIMIT most;
    RETURN QUERY
    SELECT 'challenge_times', c.program_id, coalesce(t.member_id, x.member_id), NULL::bigint,
      format('challenge "%s" from %s: %s completions are rewarded, %s stand', c.name, coalesce(t.period_start, x.period_start), coalesce(x.given, 0), coalesce(t.times, 0))
    FROM (SELECT y.* FROM loyalty.progress y WHERE y.challenge_id = c.id) t
    FULL JOIN (SELECT y.member_id, y.period_start, sum(y.completions - y.taken_back) AS given FROM loyalty.challenge_award y
               WHERE y.challenge_id = c.id GROUP BY y.member_id, y.period_start) x ON x.member_id = t.member_id AND x.period_start = t.period_start
    WHERE c.kind <> 'streak' AND coalesce(t.times, 0) <> coalesce(x.given, 0)
    LIMIT most;
  END LOOP;
  RETURN QUERY
  SELECT 'challenge_points', x.program_id, x.member_id, x.entry_no, format('award %s of challenge %s gave %s points, and no entry says so', x.award_no, x.challenge_id, trim_scale(x.points * 0.0001))
  FROM loyalty.challenge_award x
  LEFT JOIN loyalty.intervention i ON i.member_id = x.member_id AND i.program_id = x.program_id AND i.entry_no = x.entry_no AND i.action = 'adjust' AND i.points = x.points
  WHERE x.points <> 0 AND i.entry_no IS NULL
  LIMIT most;
EXCEPTION WHEN SQLSTATE 'LY012' OR SQLSTATE 'LY017' THEN
  NULL;  -- award_breakdown, award_kept
END $$;
COMMENT ON FUNCTION loyalty.verify_challenges(integer) IS 'part of verify(): progress is what kept awards give, and rewards are those of completions';
REVOKE ALL ON FUNCTION loyalty.verify_challenges(integer) FROM PUBLIC;

-- Part of merge_members(): progress is that of one member.  What it makes due follows with the next sale; visits on one day
-- are one visit.
CREATE OR REPLACE FUNCTION loyalty.merge_challenges(from_member bigint, to_member bigint, program_id integer, behind bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  INSERT INTO loyalty.challenge_join AS t (member_id, program_id, challenge_id, joined_at, posted_at, by, set_role)
  SELECT to_member, j.program_id, j.challenge_id, j.joined_at, j.posted_at, j.by, j.set_role FROM loyalty.challenge_join j
  WHERE j.member_id = from_member AND j.program_id = merge_challenges.program_id
  ON CONFLICT (member_id, program_id, challenge_id) DO UPDATE SET joined_at = least(t.joined_at, excluded.joined_at);
  DELETE FROM loyalty.challenge_join j WHERE j.member_id = from_member AND j.program_id = merge_challenges.program_id;
  UPDATE loyalty.challenge_award x SET member_id = to_member, entry_no = x.entry_no + behind,
    award_no = x.award_no + coalesce((SELECT max(y.award_no) FROM loyalty.challenge_award y WHERE y.member_id = to_member AND y.program_id = x.program_id
                                      AND y.challenge_id = x.challenge_id AND y.period_start = x.period_start), 0)
  WHERE x.member_id = from_member AND x.program_id = merge_challenges.program_id;
  DELETE FROM loyalty.challenge_day d WHERE d.member_id = from_member AND d.program_id = merge_challenges.program_id;
  DELETE FROM loyalty.progress t WHERE t.member_id = from_member AND t.program_id = merge_challenges.program_id;
  DELETE FROM loyalty.progress t WHERE t.member_id = to_member AND t.program_id = merge_challenges.program_id
    AND EXISTS (SELECT FROM loyalty.challenge c WHERE c.id = t.challenge_id AND c.enabled);
  DELETE FROM loyalty.challenge_day d WHERE d.member_id = to_member AND d.program_id = merge_challenges.program_id
    AND EXISTS (SELECT FROM loyalty.challenge c WHERE c.id = d.challenge_id AND c.enabled);
  INSERT INTO loyalty.progress AS t (member_id, program_id, challenge_id, period_start, period_end, value)
  SELECT g.member_id, merge_challenges.program_id, c.id, g.period_start, g.period_end, g.value
  FROM loyalty.program p JOIN loyalty.challenge c ON c.program = p.name AND c.enabled
  CROSS JOIN LATERAL loyalty.progress_of_ledger(c.id, to_member) g
  WHERE p.id = merge_challenges.program_id;
  INSERT INTO loyalty.challenge_day (member_id, program_id, challenge_id, day, purchases, added, occurred_at, enrolled_at)
  SELECT g.member_id, merge_challenges.program_id, c.id, g.day, g.purchases, g.purchases, g.occurred_at, g.enrolled_at
  FROM loyalty.program p JOIN loyalty.challenge c ON c.program = p.name AND c.enabled AND c.metric = 'visits'
  CROSS JOIN LATERAL loyalty.days_of_ledger(c.id, to_member) g
  WHERE p.id = merge_challenges.program_id;
  -- what was given stands, as far as it is known by now
  INSERT INTO loyalty.progress AS t (member_id, program_id, challenge_id, period_start, period_end, value, times)
  SELECT x.member_id, x.program_id, x.challenge_id, x.period_start, x.period_start, 0, sum(x.completions - x.taken_back)
  FROM loyalty.challenge_award x JOIN loyalty.challenge c ON c.id = x.challenge_id AND c.enabled AND c.kind <> 'streak'
  WHERE x.member_id = to_member AND x.program_id = merge_challenges.program_id
  GROUP BY x.member_id, x.program_id, x.challenge_id, x.period_start
  ON CONFLICT (member_id, program_id, challenge_id, period_start) DO UPDATE SET times = excluded.times;
  UPDATE loyalty.progress t SET completed_at = (SELECT a.settled_at FROM loyalty.account a WHERE a.member_id = to_member AND a.program_id = merge_challenges.program_id)
  FROM loyalty.challenge c
  WHERE c.id = t.challenge_id AND c.enabled AND t.member_id = to_member AND t.program_id = merge_challenges.program_id AND t.value >= c.target;
END $$;
COMMENT ON FUNCTION loyalty.merge_challenges(bigint, bigint, integer, bigint) IS 'part of merge_members(): challenges';
REVOKE ALL ON FUNCTION loyalty.merge_challenges(bigint, bigint, integer, bigint) FROM PUBLIC;
