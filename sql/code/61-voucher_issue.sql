-- Vouchers for a statement period: whoever has enough points gets them as a voucher, in steps, once an issue.

-- What members would get: all whole steps (reward.cost) of what can be spent now, from the fewest (min_quantity) on; or, where
-- points have a value by steps (reward_step), the best of those.  Debts, blocks and limits leave members out.
CREATE OR REPLACE FUNCTION loyalty.issue_due(reward_id integer, members bigint[])
RETURNS TABLE (member_id bigint, points numeric, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  w loyalty.reward;
  p loyalty.program;
  instant timestamptz;
  stepped boolean;
BEGIN
  SELECT r.* INTO w FROM loyalty.reward r WHERE r.id = issue_due.reward_id;
  SELECT r.* INTO p FROM loyalty.program r WHERE r.name = w.program;
  stepped := EXISTS (SELECT FROM loyalty.reward_step s WHERE s.program = w.program AND s.reward = w.name);
  instant := loyalty.writing_instant(p.id);
  RETURN QUERY
  SELECT a.member_id, trim_scale(o.points), o.value
  FROM (
    SELECT c.member_id, c.enrolled_at, greatest(instant, c.settled_at) AS at,
      0.0001 * CASE WHEN s.as_of IS NULL THEN c.available ELSE s.available END AS available,
      CASE WHEN s.as_of IS NULL THEN c.debt ELSE s.debt END AS debt,
      CASE WHEN s.as_of IS NULL THEN c.tier_id ELSE s.tier_id END AS tier_id
    FROM loyalty.account c
    LEFT JOIN LATERAL loyalty.settled(CASE WHEN instant >= c.next_change_at THEN c.member_id END, c.program_id, instant) s ON true
    WHERE c.program_id = p.id AND c.member_id = ANY (issue_due.members) AND c.status = 'active') a
  CROSS JOIN LATERAL (
    SELECT b.price, least(div(a.available, b.price), coalesce(w.max_quantity, 'infinity'::numeric)) AS blocks
    FROM (SELECT loyalty.reward_cost(w.id, a.tier_id, a.member_id, a.at) AS price) b) q
  LEFT JOIN LATERAL (
    SELECT s.points, s.value FROM loyalty.reward_step s
    WHERE s.program = w.program AND s.reward = w.name AND s.points <= a.available ORDER BY s.points DESC LIMIT 1) t ON stepped
  CROSS JOIN LATERAL (
    SELECT CASE WHEN stepped THEN t.points ELSE q.blocks * q.price END AS points,
           CASE WHEN stepped THEN t.value ELSE q.blocks * w.value END AS value) o
  WHERE a.debt = 0 AND (stepped AND t.points IS NOT NULL OR NOT stepped AND q.blocks >= w.min_quantity)
    AND (w.max_per_member IS NULL AND w.min_tier IS NULL AND w.segment IS NULL
         OR (SELECT r.code IS NULL FROM loyalty.reward_refusal(w.id, a.member_id, a.tier_id, a.at, a.enrolled_at, w.min_quantity, 1) r));
END $$;
COMMENT ON FUNCTION loyalty.issue_due(integer, bigint[]) IS 'part of issue_vouchers(): which of these members would get a voucher now, for how many points, of what value';
REVOKE ALL ON FUNCTION loyalty.issue_due(integer, bigint[]) FROM PUBLIC;

-- The rewards of kind voucher that are meant; LY005 when there is none that can be had.
CREATE OR REPLACE FUNCTION loyalty.issue_rewards(of_program text, of_reward text) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  named text := loyalty.program_name(of_program);
  instant timestamptz;
  ids integer[];
BEGIN
  SELECT loyalty.writing_instant(p.id) INTO instant FROM loyalty.program p WHERE p.name = named;
  ids := ARRAY(SELECT w.id FROM loyalty.reward w
    WHERE w.program = named AND w.kind = 'voucher' AND w.value_unit = 'money' AND (of_reward IS NULL OR w.name = of_reward)
      AND w.enabled AND w.starts_at <= instant AND w.ends_at > instant ORDER BY w.id);
  IF ids = '{}' THEN
    RAISE EXCEPTION 'program "%" has no vouchers to issue', named
      USING ERRCODE = 'LY005', DETAIL = CASE WHEN of_reward IS NULL THEN 'There is no enabled reward of kind voucher that is worth money, in its time.'
                    ELSE format('Reward "%s" is not there, not of kind voucher and worth money, disabled, or out of its time.', of_reward) END,
            HINT = 'INSERT INTO loyalty.reward (program, name, kind, cost, value, min_quantity, validity): cost points are worth value, from min_quantity times cost on.';
  END IF;
  RETURN ids;
END $$;
COMMENT ON FUNCTION loyalty.issue_rewards(text, text) IS 'part of issue_vouchers(): the rewards of kind voucher';
REVOKE ALL ON FUNCTION loyalty.issue_rewards(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.issue_begin(program text, reward text, issue text) RETURNS integer[]
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.issue_begin(text, text, text) IS 'part of issue_vouchers(): note that an issue has begun; the rewards with which it is not finished';
REVOKE ALL ON FUNCTION loyalty.issue_begin(text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.issue_begin_as_owner(of_program text, of_reward text, of_issue text) RETURNS integer[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  ids integer[];
BEGIN
  IF of_issue IS NULL OR of_issue = '' OR octet_length(of_issue) > 200 THEN
    RAISE EXCEPTION 'issue is %', coalesce(quote_literal(of_issue), 'null')
      USING ERRCODE = 'LY017', HINT = 'It names the period, 2024-Q1 for instance: the same name issues once.';
  END IF;
  ids := loyalty.issue_rewards(of_program, of_reward);
  INSERT INTO loyalty.voucher_issue (program_id, reward_id, issue, at, started_at, by)
  SELECT p.id, w.id, of_issue, loyalty.writing_instant(p.id), statement_timestamp(), session_user
  FROM loyalty.reward w JOIN loyalty.program p ON p.name = w.program WHERE w.id = ANY (ids)
  ON CONFLICT ON CONSTRAINT voucher_issue_pkey DO NOTHING;
  RETURN ARRAY(SELECT i.reward_id FROM loyalty.voucher_issue i WHERE i.reward_id = ANY (ids) AND i.issue = of_issue AND i.finished_at IS NULL ORDER BY i.reward_id);
END $$;
COMMENT ON FUNCTION loyalty.issue_begin_as_owner(text, text, text) IS 'the body of issue_begin()';
REVOKE ALL ON FUNCTION loyalty.issue_begin_as_owner(text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.issue_batch(reward_id integer, issue text, n integer)
RETURNS TABLE (last_member bigint, program integer, seen bigint, issued bigint, finished boolean)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.issue_batch(integer, text, integer) IS 'part of issue_vouchers(): the vouchers of the next n members';
REVOKE ALL ON FUNCTION loyalty.issue_batch(integer, text, integer) FROM PUBLIC;

-- The row of the issue is its place and its lock: two callers take turns.  What members have is looked at again when their
-- accounts are locked.
CREATE OR REPLACE FUNCTION loyalty.issue_batch_as_owner(of_reward integer, of_issue text, n integer)
RETURNS TABLE (last_member bigint, program integer, seen bigint, issued bigint, finished boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  i loyalty.voucher_issue;
  w record;
  members bigint[];
  due record;
  made record;
  points numeric := 0;
  value numeric := 0;
BEGIN
  SELECT x.* INTO i FROM loyalty.voucher_issue x WHERE x.reward_id = of_reward AND x.issue = of_issue FOR UPDATE;
  IF n < 1 THEN
    RAISE EXCEPTION 'batch is %', n USING ERRCODE = 'LY017', HINT = 'It is 1 or more.';
  END IF;
  SELECT r.name, r.program, r.validity, p.timezone INTO w FROM loyalty.reward r JOIN loyalty.program p ON p.name = r.program WHERE r.id = of_reward;
  program := i.program_id;
  issued := 0;
  members := CASE WHEN i.finished_at IS NULL THEN ARRAY(
    SELECT a.member_id FROM loyalty.account a WHERE a.program_id = i.program_id AND a.member_id > coalesce(i.place, -9223372036854775808)
    ORDER BY a.member_id LIMIT n) ELSE '{}' END;
  seen := cardinality(members);
  last_member := coalesce(members[seen], i.place);
  finished := seen < n;
  members := ARRAY(SELECT d.member_id FROM loyalty.issue_due(of_reward, members) d);
  IF members <> '{}' THEN
    PERFORM loyalty.lock_accounts(i.program_id, members);
  END IF;
  FOR due IN SELECT d.* FROM loyalty.issue_due(of_reward, members) d ORDER BY d.member_id DESC LOOP
    SELECT r.redemption_id, r.points, r.value INTO made
    FROM loyalty.redeem(due.member_id, w.name, points => due.points, program => w.program,
                        key => format('vouchers %s %s', of_reward, of_issue), reason => format('%s, issue %s', w.name, of_issue)) r;
    UPDATE loyalty.voucher v SET issue = of_issue,
      valid_until = least(v.valid_until, coalesce(loyalty.expires_at(i.at, w.validity, w.timezone), 'infinity'))
    WHERE v.member_id = due.member_id AND v.redemption_id = made.redemption_id;
    issued := issued + 1;
    points := points + made.points;
    value := value + made.value;
  END LOOP;
  UPDATE loyalty.voucher_issue x
  SET place = last_member, seen = x.seen + issue_batch_as_owner.seen, vouchers = x.vouchers + issued, points = x.points + (points * 10000)::bigint,
    value = x.value + value, finished_at = CASE WHEN finished THEN coalesce(x.finished_at, statement_timestamp()) END
  WHERE x.program_id = i.program_id AND x.reward_id = of_reward AND x.issue = of_issue;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.issue_batch_as_owner(integer, text, integer) IS 'the body of issue_batch()';
REVOKE ALL ON FUNCTION loyalty.issue_batch_as_owner(integer, text, integer) FROM PUBLIC;

-- One batch, in the caller's transaction; true while there is more to do and time left.
CREATE OR REPLACE FUNCTION loyalty.issue_step(job bigint, reward_id integer, issue text, batch integer, stop_at timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s record;
BEGIN
  SELECT b.* INTO s FROM loyalty.issue_batch(issue_step.reward_id, issue_step.issue, batch) b;
  PERFORM loyalty.job_step(job, s.last_member, s.program, s.seen, s.issued, s.finished, clock_timestamp() >= stop_at);
  RETURN NOT s.finished AND clock_timestamp() < stop_at;
END $$;
COMMENT ON FUNCTION loyalty.issue_step(bigint, integer, text, integer, timestamptz) IS 'one batch of issue_vouchers(); false at the end';
REVOKE ALL ON FUNCTION loyalty.issue_step(bigint, integer, text, integer, timestamptz) FROM PUBLIC;

-- Commits, and so cannot pin its search_path: nothing here but qualified names.
CREATE OR REPLACE PROCEDURE loyalty.issue_vouchers(
  program text, issue text, reward text DEFAULT NULL, batch integer DEFAULT 1000, max_seconds numeric DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
  stop_at pg_catalog.timestamptz := loyalty.job_deadline(max_seconds);
  rewards pg_catalog.int4[] := loyalty.issue_begin(program, reward, issue);
  one pg_catalog.int4;
  job pg_catalog.int8;
BEGIN
  COMMIT;
  FOREACH one IN ARRAY rewards LOOP
    job := loyalty.job_begin(pg_catalog.format('vouchers %s %s', one, issue));
    COMMIT;
    WHILE loyalty.issue_step(job, one, issue, batch, stop_at) LOOP
      COMMIT;
    END LOOP;
    COMMIT;
  END LOOP;
END $$;
COMMENT ON PROCEDURE loyalty.issue_vouchers(text, text, text, integer, numeric) IS
  'give every member of a program whose points suffice a voucher for them, by its rewards of kind voucher: batch members a transaction, progress in loyalty.job and loyalty.voucher_issue; the same issue again goes on where it was broken off, and does nothing when it is finished';
REVOKE ALL ON PROCEDURE loyalty.issue_vouchers(text, text, text, integer, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.preview_vouchers(program text DEFAULT NULL, reward text DEFAULT NULL)
RETURNS TABLE (reward text, members bigint, points numeric, value numeric)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.preview_vouchers(text, text) IS
  'what issue_vouchers() would issue now, each reward for itself: to how many members, for how many points, of what value';
REVOKE ALL ON FUNCTION loyalty.preview_vouchers(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.preview_vouchers_as_owner(of_program text, of_reward text)
RETURNS TABLE (reward text, members bigint, points numeric, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  one integer;
  named text := loyalty.program_name(of_program);
BEGIN
  FOREACH one IN ARRAY loyalty.issue_rewards(of_program, of_reward) LOOP
    RETURN QUERY
    SELECT w.name, count(d.member_id), coalesce(sum(d.points), 0), coalesce(sum(d.value), 0)
    FROM loyalty.reward w
    LEFT JOIN loyalty.issue_due(one, ARRAY(SELECT a.member_id FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE p.name = named)) d ON true
    WHERE w.id = one GROUP BY w.name;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.preview_vouchers_as_owner(text, text) IS 'the body of preview_vouchers()';
REVOKE ALL ON FUNCTION loyalty.preview_vouchers_as_owner(text, text) FROM PUBLIC;
