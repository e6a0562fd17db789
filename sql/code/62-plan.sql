-- Paid membership.  Whoever changes a subscription holds the account's lock; what it gives is a question of instants.

CREATE OR REPLACE FUNCTION loyalty.config_plan() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p record;
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('plan', OLD.name, OLD.program, loyalty.in_ledger('plan', OLD.id), 'is named by subscriptions');
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('plan', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  SELECT o.decimals, o.money_decimals INTO p FROM loyalty.program o WHERE o.name = NEW.program;
  PERFORM loyalty.check_money('fee', NEW.fee, p.money_decimals);
  PERFORM loyalty.check_word('renewal', NEW.renewal, 'auto', 'none');
  PERFORM loyalty.check_word('pro_rata', NEW.pro_rata, 'time', 'days');
  PERFORM loyalty.check_finite('earn_bonus', NEW.earn_bonus);
  PERFORM loyalty.check_interval('trial', NEW.trial);
  PERFORM loyalty.check_interval('grace', NEW.grace);
  PERFORM loyalty.check_life('plan', NEW.points_expiry);
  IF NEW.period <= interval '0' OR NEW.period > interval '100 years' OR extract(epoch FROM NEW.period - date_trunc('day', NEW.period)) <> 0
     OR (extract(year FROM NEW.period) * 12 + extract(month FROM NEW.period) <> 0 AND extract(day FROM NEW.period) <> 0) THEN
    RAISE EXCEPTION 'period is %', NEW.period
      USING ERRCODE = 'LY017', HINT = 'It is whole months or whole days, for instance 1 month, 1 year, 30 days; at most 100 years.';
  ELSIF NEW.renewal = 'none' AND NEW.grace <> interval '0' THEN
    RAISE EXCEPTION 'grace is % of a plan that does not renew', NEW.grace
      USING ERRCODE = 'LY017', HINT = 'Nobody waits for a payment: set renewal to auto, or grace to 0.';
  ELSIF NEW.points_a_month IN ('NaN', 'Infinity') OR NEW.points_a_month <> trunc(NEW.points_a_month, p.decimals) OR NEW.points_a_month >= 1e10 THEN
    RAISE EXCEPTION 'points_a_month is %', NEW.points_a_month
      USING ERRCODE = 'LY017', HINT = format('It is below 10,000,000,000 and has at most %s decimals, as the program''s points.', p.decimals);
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_plan() IS 'trigger: checks a plan';
REVOKE ALL ON FUNCTION loyalty.config_plan() FROM PUBLIC;

-- The bonus of a plan is a bonus rule of each source whose rows are purchases.  It is found by its condition, which names the
-- plan's id, so that names may change; it has the rights of whoever wrote plan or source.
CREATE OR REPLACE FUNCTION loyalty.write_plan_rules(plan_id integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n record;
  s record;
  ask text := format('loyalty.holds_plan(member.member_id, %s, earn.occurred_at)', plan_id);
BEGIN
  SELECT x.program, x.name, x.earn_bonus INTO n FROM loyalty.plan x WHERE x.id = write_plan_rules.plan_id;
  UPDATE loyalty.rule r
  SET name = format('plan %s: %s', n.name, r.source), points = format('earn.base * %s', trim_scale(n.earn_bonus)), enabled = n.earn_bonus > 0
  WHERE r.program = n.program AND r.condition = ask
    AND (r.name, r.points, r.enabled) IS DISTINCT FROM
        (format('plan %s: %s', n.name, r.source), format('earn.base * %s', trim_scale(n.earn_bonus)), n.earn_bonus > 0);
  FOR s IN SELECT x.name FROM loyalty.source x
           WHERE n.earn_bonus > 0 AND x.program = n.program AND x.attached AND x.refund_source IS NULL AND NOT EXISTS (
             SELECT FROM loyalty.rule r WHERE r.program = x.program AND r.source = x.name AND r.condition = ask) ORDER BY x.id LOOP
    INSERT INTO loyalty.rule (program, source, name, kind, points, condition)
    VALUES (n.program, s.name, format('plan %s: %s', n.name, s.name), 'bonus', format('earn.base * %s', trim_scale(n.earn_bonus)), ask);
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.write_plan_rules(integer) IS 'write the bonus rules of a plan: one for each source, as the plan says';
REVOKE ALL ON FUNCTION loyalty.write_plan_rules(integer) FROM PUBLIC;

-- A renamed program renames its rules by itself.
CREATE OR REPLACE FUNCTION loyalty.plan_rules_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN NULL;
  ELSIF TG_OP = 'DELETE' THEN
    UPDATE loyalty.rule r SET enabled = false
    WHERE r.program = OLD.program AND r.condition = format('loyalty.holds_plan(member.member_id, %s, earn.occurred_at)', OLD.id);
    RETURN NULL;
  ELSIF TG_OP = 'UPDATE' THEN
    IF (NEW.name, NEW.earn_bonus) = (OLD.name, OLD.earn_bonus) THEN
      RETURN NULL;
    END IF;
  ELSIF NEW.earn_bonus = 0 THEN
    RETURN NULL;
  END IF;
  PERFORM loyalty.write_plan_rules(NEW.id);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.plan_rules_follow() IS 'trigger: the bonus rules of a plan say what the plan says';
REVOKE ALL ON FUNCTION loyalty.plan_rules_follow() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.source_plan_rules() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT loyalty.restoring() THEN
    PERFORM loyalty.write_plan_rules(n.id) FROM loyalty.plan n WHERE n.program = NEW.program AND n.earn_bonus > 0;
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.source_plan_rules() IS 'trigger: a new source has the bonus rules of the program''s plans';
REVOKE ALL ON FUNCTION loyalty.source_plan_rules() FROM PUBLIC;

-- ---- who has a plan ----

CREATE OR REPLACE FUNCTION loyalty.holds_plan(member_id bigint, plan_id integer, at timestamptz) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'loyalty_holds_plan';
COMMENT ON FUNCTION loyalty.holds_plan(bigint, integer, timestamptz) IS 'does a member have this plan (plan.id) at an instant; what the bonus rules of plans ask';
REVOKE ALL ON FUNCTION loyalty.holds_plan(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_plan(member_id bigint, plan text, at timestamptz DEFAULT NULL, program text DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.has_plan(bigint, text, timestamptz, text) IS
  'does a member have a plan at an instant, now when left out; in this program, in any when left out. For conditions: loyalty.has_plan(member.member_id, ''prime'', earn.occurred_at)';
REVOKE ALL ON FUNCTION loyalty.has_plan(bigint, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.has_plan_as_owner(in_member bigint, in_plan text, in_at timestamptz, in_program text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((
    SELECT bool_or(loyalty.holds_plan(loyalty.member_now(in_member), n.id, coalesce(in_at, loyalty.instant())))
    FROM loyalty.plan n WHERE n.name = in_plan AND (in_program IS NULL OR n.program = in_program)), false);
END $$;
COMMENT ON FUNCTION loyalty.has_plan_as_owner(bigint, text, timestamptz, text) IS 'the body of has_plan()';
REVOKE ALL ON FUNCTION loyalty.has_plan_as_owner(bigint, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.subscription_state(
  started_at timestamptz, trial_until timestamptz, paid_until timestamptz, ends_at timestamptz, cancelled_at timestamptz,
  changed_to bigint, renewal text, at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN at < started_at THEN NULL
    WHEN at >= ends_at THEN CASE WHEN changed_to IS NOT NULL THEN 'changed' WHEN cancelled_at IS NOT NULL THEN 'cancelled'
                                 WHEN renewal = 'none' THEN 'ended' ELSE 'lapsed' END
    WHEN cancelled_at <= at THEN 'ending'
    WHEN at < trial_until THEN 'trial'
    WHEN at >= paid_until THEN 'grace'
    ELSE 'active' END
$$;
COMMENT ON FUNCTION loyalty.subscription_state(timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, bigint, text, timestamptz) IS
  'the state of a subscription at an instant: trial, active, ending (cancelled, runs on to ends_at), grace; cancelled, changed, lapsed (not paid), ended';
REVOKE ALL ON FUNCTION loyalty.subscription_state(timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, bigint, text, timestamptz) FROM PUBLIC;

-- ---- periods and money ----

-- Counted from one instant, so that a month from 31 January ends on the last of February and the next on 31 March.
CREATE OR REPLACE FUNCTION loyalty.periods_later(first timestamptz, period interval, n integer, timezone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT ((first AT TIME ZONE timezone) + period * n) AT TIME ZONE timezone $$;
COMMENT ON FUNCTION loyalty.periods_later(timestamptz, interval, integer, text) IS 'the instant that lies n periods later on the calendar of a time zone';
REVOKE ALL ON FUNCTION loyalty.periods_later(timestamptz, interval, integer, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.prorated(
  amount numeric, covers_from timestamptz, covers_until timestamptz, at timestamptz, pro_rata text, timezone text, decimals integer) RETURNS numeric
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN at <= covers_from THEN amount
    WHEN at >= covers_until THEN 0
    WHEN pro_rata = 'days' THEN round(amount * extract(day FROM covers_until AT TIME ZONE timezone - at AT TIME ZONE timezone)
      / greatest(1, extract(day FROM covers_until AT TIME ZONE timezone - covers_from AT TIME ZONE timezone)), decimals)
    ELSE round(amount * extract(epoch FROM covers_until - at) / extract(epoch FROM covers_until - covers_from), decimals) END
$$;
COMMENT ON FUNCTION loyalty.prorated(numeric, timestamptz, timestamptz, timestamptz, text, text, integer) IS
  'the part of an amount that pays for what comes after an instant, rounded half up';
REVOKE ALL ON FUNCTION loyalty.prorated(numeric, timestamptz, timestamptz, timestamptz, text, text, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_plan_call(amount numeric, decimals integer, at timestamptz, earliest timestamptz, latest timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_money('amount', amount, decimals);
  IF NOT isfinite(at) OR at > latest THEN
    RAISE EXCEPTION 'at is %', at
      USING ERRCODE = 'LY017', DETAIL = format('It is not after %s.', latest), HINT = 'Leave it out for now.';
  ELSIF at < earliest THEN
    RAISE EXCEPTION 'at is %', at
      USING ERRCODE = 'LY017', DETAIL = format('What happened last with the subscription happened at %s.', earliest),
            HINT = 'Tell what happened in its order; leave at out for now.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_plan_call(numeric, integer, timestamptz, timestamptz, timestamptz) IS 'raise LY017 for amounts and times that a call about a subscription cannot have';
REVOKE ALL ON FUNCTION loyalty.check_plan_call(numeric, integer, timestamptz, timestamptz, timestamptz) FROM PUBLIC;

-- ---- points a month ----

CREATE OR REPLACE FUNCTION loyalty.plan_months(paid_from timestamptz, from_at timestamptz, until_at timestamptz, timezone text)
RETURNS SETOF timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT m.at
  FROM generate_series(0, 2 + 12 * (extract(year FROM until_at) - extract(year FROM paid_from))::integer
         + (extract(month FROM until_at) - extract(month FROM paid_from))::integer) k
  CROSS JOIN LATERAL (SELECT loyalty.periods_later(paid_from, interval '1 month', k, timezone) AS at) m
  WHERE m.at >= from_at AND m.at < until_at ORDER BY k
$$;
COMMENT ON FUNCTION loyalty.plan_months(timestamptz, timestamptz, timestamptz, text) IS 'the months, counted from an instant, that begin in a span of time';
REVOKE ALL ON FUNCTION loyalty.plan_months(timestamptz, timestamptz, timestamptz, text) FROM PUBLIC;

-- The key under which a month gave its points says which month: that is how they are found again.
CREATE OR REPLACE FUNCTION loyalty.plan_month_key(subscription_id bigint, begins_at timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('subscription %s month %s ', subscription_id, to_char(begins_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) $$;
COMMENT ON FUNCTION loyalty.plan_month_key(bigint, timestamptz) IS 'how the key begins of the call that gives the points of a month of a subscription; the number of the payment follows';
REVOKE ALL ON FUNCTION loyalty.plan_month_key(bigint, timestamptz) FROM PUBLIC;

-- What is paid for is granted at once, each month's points available from its first instant: exact without a job.  What
-- would be dead already (a subscription of the past) is not granted.  Points that are paid for do not die of inactivity.
CREATE OR REPLACE FUNCTION loyalty.grant_plan_points(
  member_id bigint, subscription_id bigint, payment_id bigint, from_at timestamptz, now timestamptz) RETURNS numeric
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s loyalty.subscription;
  n loyalty.plan;
  p loyalty.program;
  begins_at timestamptz;
  dies_at timestamptz;
  life loyalty.expiry;
  given numeric := 0;
BEGIN
  SELECT x.* INTO s FROM loyalty.subscription x WHERE x.member_id = grant_plan_points.member_id AND x.subscription_id = grant_plan_points.subscription_id;
  SELECT x.* INTO n FROM loyalty.plan x WHERE x.id = s.plan_id;
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = s.program_id;
  life := coalesce(n.points_expiry, p.expiry);
  IF n.points_a_month = 0 THEN
    RETURN 0;
  END IF;
  FOR begins_at IN SELECT k.at FROM loyalty.plan_months(s.paid_from, from_at, s.paid_until, p.timezone) k (at) LOOP
    dies_at := loyalty.expires_at(begins_at, life, p.timezone);
    IF dies_at > greatest(begins_at, now) THEN
      PERFORM loyalty.adjust(s.member_id, n.points_a_month, format('plan %s', n.name), program => p.name,
        key => loyalty.plan_month_key(s.subscription_id, begins_at) || grant_plan_points.payment_id, expires_at => dies_at, available_at => begins_at);
      given := given + n.points_a_month;
    END IF;
  END LOOP;
  RETURN given;
END $$;
COMMENT ON FUNCTION loyalty.grant_plan_points(bigint, bigint, bigint, timestamptz, timestamptz) IS 'part of subscribe() and renew(): the points of the months that are paid for';
REVOKE ALL ON FUNCTION loyalty.grant_plan_points(bigint, bigint, bigint, timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.take_back(member_id bigint, lots bigint[], reason text, program text) RETURNS numeric
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_take_back';
COMMENT ON FUNCTION loyalty.take_back(bigint, bigint[], text, text) IS
  'for rooms that gave points: take all that remains of these lots (entry_no), pending or available; returns how many points';
REVOKE ALL ON FUNCTION loyalty.take_back(bigint, bigint[], text, text) FROM PUBLIC;

-- Where the points of months lie that begin at an instant or later, also after change_expiry() or merge_members().
CREATE OR REPLACE FUNCTION loyalty.plan_lots(member_id bigint, program_id integer, subscription_id bigint, from_at timestamptz) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE lots AS (
    SELECT i.entry_no FROM loyalty.intervention i
    WHERE i.member_id = plan_lots.member_id AND i.program_id = plan_lots.program_id
      AND i.key >= loyalty.plan_month_key(plan_lots.subscription_id, from_at) COLLATE "C"
      AND i.key <= format('subscription %s month ~', plan_lots.subscription_id) COLLATE "C"
    UNION
    SELECT o.entry_no FROM lots l JOIN loyalty.lot_origin o ON o.origin_member_id = plan_lots.member_id AND o.member_id = plan_lots.member_id
      AND o.program_id = plan_lots.program_id AND o.origin_entry_no = l.entry_no)
  SELECT coalesce(array_agg(l.entry_no ORDER BY l.entry_no), '{}') FROM lots l
$$;
COMMENT ON FUNCTION loyalty.plan_lots(bigint, integer, bigint, timestamptz) IS 'the lots with the points of a subscription''s months from an instant on';
REVOKE ALL ON FUNCTION loyalty.plan_lots(bigint, integer, bigint, timestamptz) FROM PUBLIC;

-- ---- subscribe, renew ----

CREATE OR REPLACE FUNCTION loyalty.plan_named(program text, plan text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  id integer;
BEGIN
  SELECT n.id INTO id FROM loyalty.plan n WHERE n.program = plan_named.program AND n.name = plan_named.plan;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'program "%" has no plan "%"', program, plan
      USING ERRCODE = 'LY017', HINT = 'SELECT program, name FROM loyalty.plan lists the plans.';
  END IF;
  RETURN id;
END $$;
COMMENT ON FUNCTION loyalty.plan_named(text, text) IS 'the id of a plan; LY017 when there is none of this name';
REVOKE ALL ON FUNCTION loyalty.plan_named(text, text) FROM PUBLIC;

-- Can this plan be begun by this member?  LY005, LY006, LY009.
CREATE OR REPLACE FUNCTION loyalty.check_subscribe(member_id bigint, plan_id integer, at timestamptz, not_this bigint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  n loyalty.plan;
  r record;
BEGIN
  SELECT x.* INTO n FROM loyalty.plan x WHERE x.id = check_subscribe.plan_id;
  IF NOT n.enabled OR at < n.starts_at OR at >= n.ends_at THEN
    RAISE EXCEPTION 'plan "%" of program "%" is not offered', n.name, n.program
      USING ERRCODE = 'LY005', DETAIL = CASE WHEN n.enabled THEN format('It is offered from %s to %s.', n.starts_at, n.ends_at) ELSE 'It is disabled.' END;
  END IF;
  SELECT a.status INTO r FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id
  WHERE a.member_id = check_subscribe.member_id AND p.name = n.program AND a.status <> 'active';
  IF FOUND THEN
    RAISE EXCEPTION 'account of member % in program "%" is %', check_subscribe.member_id, n.program, r.status
      USING ERRCODE = 'LY009', HINT = 'loyalty.unblock() lifts it.';
  END IF;
  SELECT s.subscription_id, s.ends_at INTO r FROM loyalty.subscription s
  WHERE s.member_id = check_subscribe.member_id AND s.plan_id = n.id AND s.ends_at > at AND s.subscription_id IS DISTINCT FROM not_this;
  IF FOUND THEN
    RAISE EXCEPTION 'member % has plan "%" already', check_subscribe.member_id, n.name
      USING ERRCODE = 'LY006', DETAIL = format('Subscription %s ends at %s.', r.subscription_id, r.ends_at),
            HINT = 'loyalty.renew() pays for the next period.';
  END IF;
  -- one granted tier an account
  SELECT s.subscription_id, o.name INTO r FROM loyalty.subscription s JOIN loyalty.plan o ON o.id = s.plan_id
  WHERE n.tier IS NOT NULL AND o.tier IS NOT NULL AND o.program = n.program AND s.member_id = check_subscribe.member_id AND s.ends_at > at
    AND s.subscription_id IS DISTINCT FROM not_this;
  IF FOUND THEN
    RAISE EXCEPTION 'member % has plan "%", which gives a tier, too', check_subscribe.member_id, r.name
      USING ERRCODE = 'LY006', HINT = format('loyalty.change_plan() lets "%s" take the place of subscription %s.', n.name, r.subscription_id);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_subscribe(bigint, integer, timestamptz, bigint) IS 'raise unless the member can subscribe to the plan';
REVOKE ALL ON FUNCTION loyalty.check_subscribe(bigint, integer, timestamptz, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.note_subscription(
  member_id bigint, subscription_id bigint, action text, at timestamptz, key text, reason text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.subscription_event (member_id, subscription_id, program_id, plan_id, action, at, posted_at, paid_until, ends_at, reason, key, by, set_role)
  SELECT s.member_id, s.subscription_id, s.program_id, s.plan_id, note_subscription.action, note_subscription.at, statement_timestamp(), s.paid_until,
    s.ends_at, note_subscription.reason, note_subscription.key, session_user, loyalty.caller()
  FROM loyalty.subscription s WHERE s.member_id = note_subscription.member_id AND s.subscription_id = note_subscription.subscription_id
$$;
COMMENT ON FUNCTION loyalty.note_subscription(bigint, bigint, text, timestamptz, text, text) IS 'note what was done with a subscription, and by whom';
REVOKE ALL ON FUNCTION loyalty.note_subscription(bigint, bigint, text, timestamptz, text, text) FROM PUBLIC;

-- One period more, from where what is paid for ends.  A plan whose period was changed counts anew from there.
CREATE OR REPLACE FUNCTION loyalty.charge_period(
  member_id bigint, subscription_id bigint, amount numeric, at timestamptz, reference text, now timestamptz) RETURNS numeric
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s loyalty.subscription;
  n loyalty.plan;
  timezone text;
  until_at timestamptz;
  payment bigint;
BEGIN
  SELECT x.* INTO s FROM loyalty.subscription x WHERE x.member_id = charge_period.member_id AND x.subscription_id = charge_period.subscription_id;
  SELECT x.* INTO n FROM loyalty.plan x WHERE x.id = s.plan_id;
  SELECT x.timezone INTO timezone FROM loyalty.program x WHERE x.id = s.program_id;
  IF s.period <> n.period THEN
    s.paid_from := s.paid_until;
    s.periods := 0;
  END IF;
  until_at := loyalty.periods_later(s.paid_from, n.period, s.periods + 1, timezone);
  INSERT INTO loyalty.plan_payment (member_id, subscription_id, program_id, plan_id, kind, amount, covers_from, covers_until, at, posted_at, reference, by, set_role)
  VALUES (s.member_id, s.subscription_id, s.program_id, n.id, 'charge', coalesce(charge_period.amount, n.fee), s.paid_until, until_at,
          charge_period.at, statement_timestamp(), charge_period.reference, session_user, loyalty.caller())
  RETURNING plan_payment.payment_id INTO payment;
  UPDATE loyalty.subscription x
  SET paid_from = s.paid_from, period = n.period, periods = s.periods + 1, paid_until = until_at, cancelled_at = NULL,
    ends_at = CASE n.renewal WHEN 'auto' THEN loyalty.periods_later(until_at, n.grace, 1, timezone) ELSE until_at END
  WHERE x.member_id = s.member_id AND x.subscription_id = s.subscription_id;
  RETURN loyalty.grant_plan_points(s.member_id, s.subscription_id, payment, s.paid_until, now);
END $$;
COMMENT ON FUNCTION loyalty.charge_period(bigint, bigint, numeric, timestamptz, text, timestamptz) IS 'a payment for the next period of a subscription; returns the points that it brings';
REVOKE ALL ON FUNCTION loyalty.charge_period(bigint, bigint, numeric, timestamptz, text, timestamptz) FROM PUBLIC;

-- What calls about a subscription answer.
CREATE OR REPLACE FUNCTION loyalty.subscription_row(member_id bigint, subscription_id bigint, at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_build_object('subscription_id', s.subscription_id, 'plan', n.name, 'state', loyalty.subscription_state(s.started_at, s.trial_until,
      s.paid_until, s.ends_at, s.cancelled_at, s.changed_to, n.renewal, subscription_row.at),
    'started_at', s.started_at, 'trial_until', s.trial_until, 'paid_until', s.paid_until, 'ends_at', s.ends_at)
  FROM loyalty.subscription s JOIN loyalty.plan n ON n.id = s.plan_id
  WHERE s.member_id = subscription_row.member_id AND s.subscription_id = subscription_row.subscription_id
$$;
COMMENT ON FUNCTION loyalty.subscription_row(bigint, bigint, timestamptz) IS 'a subscription as the calls about it answer it';
REVOKE ALL ON FUNCTION loyalty.subscription_row(bigint, bigint, timestamptz) FROM PUBLIC;

-- A new subscription of `who`, whose account is locked; returns its number.
CREATE OR REPLACE FUNCTION loyalty.begin_subscription(
  member_id bigint, plan_id integer, at timestamptz, trial_until timestamptz, changed_from bigint) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO loyalty.subscription (member_id, program_id, plan_id, started_at, trial_until, paid_from, period, periods, paid_until, ends_at, changed_from)
  SELECT begin_subscription.member_id, p.id, n.id, begin_subscription.at, begin_subscription.trial_until, b.at, n.period, 0, b.at,
    CASE n.renewal WHEN 'auto' THEN loyalty.periods_later(b.at, n.grace, 1, p.timezone) ELSE b.at END, begin_subscription.changed_from
  FROM loyalty.plan n JOIN loyalty.program p ON p.name = n.program,
    LATERAL (SELECT coalesce(begin_subscription.trial_until, begin_subscription.at) AS at) b
  WHERE n.id = begin_subscription.plan_id
  RETURNING subscription_id
$$;
COMMENT ON FUNCTION loyalty.begin_subscription(bigint, integer, timestamptz, timestamptz, bigint) IS 'a new subscription, nothing paid; returns its number';
REVOKE ALL ON FUNCTION loyalty.begin_subscription(bigint, integer, timestamptz, timestamptz, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.subscribe(
  member_id bigint, plan text, program text DEFAULT NULL, key text DEFAULT NULL, at timestamptz DEFAULT NULL, amount numeric DEFAULT NULL,
  trial boolean DEFAULT NULL, reference text DEFAULT NULL)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, trial_until timestamptz, paid_until timestamptz,
  ends_at timestamptz, amount numeric, points numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.subscribe(bigint, text, text, text, timestamptz, numeric, boolean, text) IS
  'a member takes a plan, now or since an earlier instant: with a trial where one is left (trial => false: without), else paid for one period (amount: the fee when left out). The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.subscribe(bigint, text, text, text, timestamptz, numeric, boolean, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.subscribe_as_owner(
  in_member bigint, in_plan text, in_program text, in_key text, in_at timestamptz, in_amount numeric, in_trial boolean, in_reference text)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, trial_until timestamptz, paid_until timestamptz,
  ends_at timestamptz, amount numeric, points numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  n loyalty.plan;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('plan', in_plan, 'at', in_at AT TIME ZONE 'UTC', 'amount', trim_scale(in_amount), 'trial', in_trial, 'reference', in_reference);
  now timestamptz;
  begins timestamptz;
  tried timestamptz;
  id bigint;
  granted numeric := 0;
  answer jsonb;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.name = loyalty.program_name(in_program);
  SELECT x.* INTO n FROM loyalty.plan x WHERE x.id = loyalty.plan_named(p.name, in_plan);
  IF p.enrollment = 'automatic' THEN
    now := loyalty.writing_instant(p.id);
    PERFORM loyalty.enroll(who, p.name, CASE WHEN in_at < now AND isfinite(in_at) THEN in_at END);
  END IF;
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'subscribe', arguments);
  IF answer IS NULL THEN
    begins := coalesce(in_at, now);
    PERFORM loyalty.check_plan_call(in_amount, p.money_decimals, begins, begins, now);
    PERFORM loyalty.check_subscribe(who, n.id, begins, NULL);
    IF n.trial > interval '0' AND NOT EXISTS (SELECT FROM loyalty.subscription s WHERE s.member_id = who AND s.plan_id = n.id) THEN
      tried := loyalty.periods_later(begins, n.trial, 1, p.timezone);
    END IF;
    IF in_trial AND in_amount > 0 THEN
      RAISE EXCEPTION 'amount is % of a trial', in_amount USING ERRCODE = 'LY017', HINT = 'A trial costs nothing: leave out trial or amount.';
    ELSIF in_trial AND tried IS NULL THEN
      RAISE EXCEPTION 'member % has no trial of plan "%"', who, n.name
        USING ERRCODE = 'LY006', DETAIL = 'The plan has none, or the member has had it before.', HINT = 'Leave trial out to pay at once.';
    ELSIF in_trial IS FALSE OR (in_trial IS NULL AND in_amount > 0) THEN
      tried := NULL;
    END IF;
    id := loyalty.begin_subscription(who, n.id, begins, tried, NULL);
    IF tried IS NULL THEN
      granted := loyalty.charge_period(who, id, in_amount, begins, in_reference, now);
    END IF;
    PERFORM loyalty.note_subscription(who, id, 'subscribe', begins, in_key, NULL);
    PERFORM loyalty.hold_plan_tier(who, p.id, now);
    answer := loyalty.subscription_row(who, id, now) || jsonb_build_object('points', granted, 'amount',
      CASE WHEN tried IS NULL THEN coalesce(in_amount, n.fee) ELSE 0 END);
    PERFORM loyalty.keep_call(who, p.id, in_key, 'subscribe', arguments, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (subscription_id bigint, plan text, state text, started_at timestamptz,
    trial_until timestamptz, paid_until timestamptz, ends_at timestamptz, amount numeric, points numeric);
END $$;
COMMENT ON FUNCTION loyalty.subscribe_as_owner(bigint, text, text, text, timestamptz, numeric, boolean, text) IS 'the body of subscribe()';
REVOKE ALL ON FUNCTION loyalty.subscribe_as_owner(bigint, text, text, text, timestamptz, numeric, boolean, text) FROM PUBLIC;

-- The program of a subscription never changes, so that it can be asked before the account is locked.
CREATE OR REPLACE FUNCTION loyalty.subscription_program(member_id bigint, subscription_id bigint) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  id integer;
BEGIN
  SELECT s.program_id INTO id FROM loyalty.subscription s
  WHERE s.member_id = subscription_program.member_id AND s.subscription_id = subscription_program.subscription_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'member % has no subscription %', member_id, subscription_id
      USING ERRCODE = 'LY017', HINT = 'loyalty.subscribe() returns its number, and loyalty.subscription_status shows it.';
  END IF;
  RETURN id;
END $$;
COMMENT ON FUNCTION loyalty.subscription_program(bigint, bigint) IS 'the program of a member''s subscription; LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.subscription_program(bigint, bigint) FROM PUBLIC;

-- Under the account's lock: what happened last with it, and that it still runs at an instant.
CREATE OR REPLACE FUNCTION loyalty.check_subscription(
  member_id bigint, subscription_id bigint, amount numeric, decimals integer, at timestamptz, latest timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s record;
BEGIN
  SELECT x.ends_at, x.changed_to, n.name, (SELECT max(e.at) FROM loyalty.subscription_event e
    WHERE e.member_id = x.member_id AND e.subscription_id = x.subscription_id) AS last_at INTO s
  FROM loyalty.subscription x JOIN loyalty.plan n ON n.id = x.plan_id
  WHERE x.member_id = check_subscription.member_id AND x.subscription_id = check_subscription.subscription_id;
  PERFORM loyalty.check_plan_call(amount, decimals, at, s.last_at, latest);
  IF at >= s.ends_at THEN
    RAISE EXCEPTION 'subscription % to plan "%" has ended', subscription_id, s.name
      USING ERRCODE = 'LY006', DETAIL = format('It ended at %s.', s.ends_at), HINT = 'loyalty.subscribe() begins another one.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_subscription(bigint, bigint, numeric, integer, timestamptz, timestamptz) IS 'raise LY006 when a subscription has ended, LY017 for amounts and times that it cannot have';
REVOKE ALL ON FUNCTION loyalty.check_subscription(bigint, bigint, numeric, integer, timestamptz, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.renew(
  member_id bigint, subscription_id bigint, amount numeric DEFAULT NULL, key text DEFAULT NULL, at timestamptz DEFAULT NULL, reference text DEFAULT NULL)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, trial_until timestamptz, paid_until timestamptz,
  ends_at timestamptz, amount numeric, points numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.renew(bigint, bigint, numeric, text, timestamptz, text) IS
  'a payment came for the next period of a subscription (amount: the plan''s fee when left out), before it ended; a cancellation that has not ended it yet is forgotten. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.renew(bigint, bigint, numeric, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.renew_as_owner(
  in_member bigint, in_subscription bigint, in_amount numeric, in_key text, in_at timestamptz, in_reference text)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, trial_until timestamptz, paid_until timestamptz,
  ends_at timestamptz, amount numeric, points numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  n loyalty.plan;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('subscription_id', in_subscription, 'amount', trim_scale(in_amount), 'at', in_at AT TIME ZONE 'UTC', 'reference', in_reference);
  now timestamptz;
  granted numeric;
  answer jsonb;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = loyalty.subscription_program(who, in_subscription);
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'renew', arguments);
  IF answer IS NULL THEN
    SELECT x.* INTO n FROM loyalty.plan x JOIN loyalty.subscription s ON s.plan_id = x.id WHERE s.member_id = who AND s.subscription_id = in_subscription;
    PERFORM loyalty.check_subscription(who, in_subscription, in_amount, p.money_decimals, coalesce(in_at, now), now);
    IF NOT n.enabled THEN
      RAISE EXCEPTION 'plan "%" of program "%" is not offered', n.name, n.program
        USING ERRCODE = 'LY005', DETAIL = 'It is disabled: what is paid for goes on, and is not renewed.';
    END IF;
    granted := loyalty.charge_period(who, in_subscription, in_amount, coalesce(in_at, now), in_reference, now);
    PERFORM loyalty.note_subscription(who, in_subscription, 'renew', coalesce(in_at, now), in_key, NULL);
    PERFORM loyalty.hold_plan_tier(who, p.id, now);
    answer := loyalty.subscription_row(who, in_subscription, now) || jsonb_build_object('points', granted, 'amount', coalesce(in_amount, n.fee));
    PERFORM loyalty.keep_call(who, p.id, in_key, 'renew', arguments, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (subscription_id bigint, plan text, state text, started_at timestamptz,
    trial_until timestamptz, paid_until timestamptz, ends_at timestamptz, amount numeric, points numeric);
END $$;
COMMENT ON FUNCTION loyalty.renew_as_owner(bigint, bigint, numeric, text, timestamptz, text) IS 'the body of renew()';
REVOKE ALL ON FUNCTION loyalty.renew_as_owner(bigint, bigint, numeric, text, timestamptz, text) FROM PUBLIC;

-- ---- the end ----

-- What was paid for time that will not come goes back; returns how much.
CREATE OR REPLACE FUNCTION loyalty.refund_periods(member_id bigint, subscription_id bigint, refund text, kind text, end_at timestamptz, at timestamptz) RETURNS numeric
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  total numeric;
BEGIN
  WITH charge AS (
    -- what is left of it, where part went back before
    SELECT c.*, coalesce(g.covers_from, c.covers_until) AS until_at, c.amount + coalesce(g.amount, 0) AS left_over
    FROM loyalty.plan_payment c
    LEFT JOIN LATERAL (SELECT min(b.covers_from) AS covers_from, sum(b.amount) AS amount FROM loyalty.plan_payment b
                       WHERE b.member_id = c.member_id AND b.of_payment = c.payment_id) g ON true
    WHERE c.member_id = refund_periods.member_id AND c.subscription_id = refund_periods.subscription_id AND c.kind = 'charge'
  ), back AS (
    SELECT c.*, CASE refund WHEN 'none' THEN 0 WHEN 'full' THEN c.left_over
       ELSE loyalty.prorated(c.left_over, c.covers_from, c.until_at, end_at, n.pro_rata, p.timezone, p.money_decimals) END AS part
    FROM charge c JOIN loyalty.plan n ON n.id = c.plan_id JOIN loyalty.program p ON p.id = c.program_id
    WHERE c.until_at > end_at
  ), given AS (
    INSERT INTO loyalty.plan_payment (member_id, subscription_id, program_id, plan_id, kind, amount, covers_from, covers_until, of_payment, at, posted_at, by, set_role)
    SELECT b.member_id, b.subscription_id, b.program_id, b.plan_id, refund_periods.kind, -b.part,
      CASE WHEN refund = 'full' THEN b.covers_from ELSE greatest(b.covers_from, end_at) END, b.until_at, b.payment_id,
      refund_periods.at, statement_timestamp(), session_user, loyalty.caller()
    FROM back b WHERE b.part > 0 ORDER BY b.payment_id
    RETURNING -plan_payment.amount AS amount)
  SELECT coalesce(sum(g.amount), 0) INTO total FROM given g;
  RETURN total;
END $$;
COMMENT ON FUNCTION loyalty.refund_periods(bigint, bigint, text, text, timestamptz, timestamptz) IS 'part of cancel_subscription() and change_plan(): pay back what was paid for time after an instant';
REVOKE ALL ON FUNCTION loyalty.refund_periods(bigint, bigint, text, text, timestamptz, timestamptz) FROM PUBLIC;

-- Points of months that do not begin any more; with a full refund also what is left of those of its periods.
CREATE OR REPLACE FUNCTION loyalty.take_plan_points(member_id bigint, subscription_id bigint, from_at timestamptz) RETURNS numeric
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  s loyalty.subscription;
  p loyalty.program;
BEGIN
  SELECT x.* INTO s FROM loyalty.subscription x WHERE x.member_id = take_plan_points.member_id AND x.subscription_id = take_plan_points.subscription_id;
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = s.program_id;
  RETURN loyalty.take_back(s.member_id, loyalty.plan_lots(s.member_id, p.id, s.subscription_id, from_at), format('plan %s ended', (SELECT n.name FROM loyalty.plan n WHERE n.id = s.plan_id)), p.name);
END $$;
COMMENT ON FUNCTION loyalty.take_plan_points(bigint, bigint, timestamptz) IS 'part of cancel_subscription() and change_plan(): take back the points of months from an instant on; returns how many';
REVOKE ALL ON FUNCTION loyalty.take_plan_points(bigint, bigint, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.end_subscription(
  member_id bigint, subscription_id bigint, refund text, kind text, end_at timestamptz, at timestamptz, changed_to bigint,
  OUT refunded numeric, OUT points_taken numeric)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  taken_from timestamptz := end_at;
BEGIN
  refunded := loyalty.refund_periods(member_id, subscription_id, refund, kind, end_at, at);
  IF refund = 'full' THEN
    SELECT coalesce(min(b.covers_from), end_at) INTO taken_from FROM loyalty.plan_payment b
    WHERE b.member_id = end_subscription.member_id AND b.subscription_id = end_subscription.subscription_id AND b.kind <> 'charge'
      AND b.at = end_subscription.at AND b.covers_until > end_at;
  END IF;
  points_taken := loyalty.take_plan_points(member_id, subscription_id, taken_from);
  UPDATE loyalty.subscription s
  SET cancelled_at = end_subscription.at, ends_at = end_at, changed_to = end_subscription.changed_to, paid_until = least(s.paid_until, end_at),
    paid_from = CASE WHEN end_at < s.paid_until THEN end_at ELSE s.paid_from END, periods = CASE WHEN end_at < s.paid_until THEN 0 ELSE s.periods END
  WHERE s.member_id = end_subscription.member_id AND s.subscription_id = end_subscription.subscription_id;
END $$;
COMMENT ON FUNCTION loyalty.end_subscription(bigint, bigint, text, text, timestamptz, timestamptz, bigint) IS 'a subscription ends at an instant, with what is paid and taken back';
REVOKE ALL ON FUNCTION loyalty.end_subscription(bigint, bigint, text, text, timestamptz, timestamptz, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cancel_subscription(
  member_id bigint, subscription_id bigint, refund text DEFAULT 'none', key text DEFAULT NULL, at timestamptz DEFAULT NULL, reason text DEFAULT NULL)
RETURNS TABLE (subscription_id bigint, plan text, state text, paid_until timestamptz, ends_at timestamptz, refund numeric, points numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.cancel_subscription(bigint, bigint, text, text, timestamptz, text) IS
  'end a subscription: refund none: with what is paid for; pro_rata: at once (or at a later instant), the rest of the money goes back; full: at once, all of the periods that are not over goes back. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.cancel_subscription(bigint, bigint, text, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cancel_subscription_as_owner(
  in_member bigint, in_subscription bigint, in_refund text, in_key text, in_at timestamptz, in_reason text)
RETURNS TABLE (subscription_id bigint, plan text, state text, paid_until timestamptz, ends_at timestamptz, refund numeric, points numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  s loyalty.subscription;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('subscription_id', in_subscription, 'refund', in_refund, 'at', in_at AT TIME ZONE 'UTC', 'reason', in_reason);
  now timestamptz;
  cancels timestamptz;
  done record;
  answer jsonb;
BEGIN
  IF in_refund IS NULL OR in_refund NOT IN ('none', 'pro_rata', 'full') THEN
    RAISE EXCEPTION 'refund "%" is not known', in_refund USING ERRCODE = 'LY017', HINT = 'It is none, pro_rata or full.';
  END IF;
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = loyalty.subscription_program(who, in_subscription);
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'cancel_subscription', arguments);
  IF answer IS NULL THEN
    cancels := coalesce(in_at, now);
    SELECT x.* INTO s FROM loyalty.subscription x WHERE x.member_id = who AND x.subscription_id = in_subscription;
    PERFORM loyalty.check_subscription(who, in_subscription, NULL, 0, cancels, CASE in_refund WHEN 'none' THEN now ELSE greatest(now, s.paid_until) END);
    IF in_refund = 'none' AND s.cancelled_at IS NOT NULL THEN
      RAISE EXCEPTION 'subscription % is cancelled already', in_subscription
        USING ERRCODE = 'LY006', DETAIL = format('It ends at %s.', s.ends_at), HINT = 'loyalty.renew() lets it go on.';
    END IF;
    SELECT e.* INTO done FROM loyalty.end_subscription(who, in_subscription, in_refund, 'refund',
      CASE in_refund WHEN 'none' THEN greatest(s.paid_until, cancels) ELSE cancels END, least(now, cancels), NULL) e;
    PERFORM loyalty.note_subscription(who, in_subscription, 'cancel', least(now, cancels), in_key, in_reason);
    PERFORM loyalty.hold_plan_tier(who, p.id, now);
    answer := loyalty.subscription_row(who, in_subscription, now) || jsonb_build_object('refund', done.refunded, 'points', done.points_taken);
    PERFORM loyalty.keep_call(who, p.id, in_key, 'cancel_subscription', arguments, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (subscription_id bigint, plan text, state text, paid_until timestamptz,
    ends_at timestamptz, refund numeric, points numeric);
END $$;
COMMENT ON FUNCTION loyalty.cancel_subscription_as_owner(bigint, bigint, text, text, timestamptz, text) IS 'the body of cancel_subscription()';
REVOKE ALL ON FUNCTION loyalty.cancel_subscription_as_owner(bigint, bigint, text, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.change_plan(
  member_id bigint, subscription_id bigint, plan text, key text DEFAULT NULL, at timestamptz DEFAULT NULL, reference text DEFAULT NULL)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, paid_until timestamptz, ends_at timestamptz,
  fee numeric, credit numeric, amount numeric, points numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.change_plan(bigint, bigint, text, text, timestamptz, text) IS
  'another plan of the program takes the place of a subscription''s, at once: a new subscription for one period, the rest of what was paid counts towards its fee; amount = fee - credit is to be paid (below 0: to be paid back). A trial goes on. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.change_plan(bigint, bigint, text, text, timestamptz, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.change_plan_as_owner(
  in_member bigint, in_subscription bigint, in_plan text, in_key text, in_at timestamptz, in_reference text)
RETURNS TABLE (subscription_id bigint, plan text, state text, started_at timestamptz, paid_until timestamptz, ends_at timestamptz,
  fee numeric, credit numeric, amount numeric, points numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  p loyalty.program;
  s loyalty.subscription;
  n loyalty.plan;
  who bigint := loyalty.member_now(in_member);
  arguments json := json_build_object('subscription_id', in_subscription, 'plan', in_plan, 'at', in_at AT TIME ZONE 'UTC', 'reference', in_reference);
  now timestamptz;
  changes timestamptz;
  tried timestamptz;
  id bigint;
  done record;
  granted numeric := 0;
  paid numeric := 0;
  answer jsonb;
BEGIN
  SELECT x.* INTO p FROM loyalty.program x WHERE x.id = loyalty.subscription_program(who, in_subscription);
  SELECT x.* INTO n FROM loyalty.plan x WHERE x.id = loyalty.plan_named(p.name, in_plan);
  now := loyalty.call_begin(who, p.id);
  answer := loyalty.find_call(who, p.id, in_key, 'change_plan', arguments);
  IF answer IS NULL THEN
    changes := coalesce(in_at, now);
    SELECT x.* INTO s FROM loyalty.subscription x WHERE x.member_id = who AND x.subscription_id = in_subscription;
    PERFORM loyalty.check_subscription(who, in_subscription, NULL, 0, changes, now);
    IF s.plan_id = n.id THEN
      RAISE EXCEPTION 'subscription % is to plan "%" already', in_subscription, n.name USING ERRCODE = 'LY006';
    END IF;
    PERFORM loyalty.check_subscribe(who, n.id, changes, in_subscription);
    tried := CASE WHEN changes < s.trial_until AND s.periods = 0 THEN s.trial_until END;
    id := loyalty.begin_subscription(who, n.id, changes, tried, in_subscription);
    SELECT e.* INTO done FROM loyalty.end_subscription(who, in_subscription, 'pro_rata', 'credit', changes, changes, id) e;
    IF tried IS NULL THEN
      granted := loyalty.charge_period(who, id, NULL, changes, in_reference, now);
      paid := n.fee;
    END IF;
    PERFORM loyalty.note_subscription(who, in_subscription, 'change', changes, in_key, NULL);
    PERFORM loyalty.note_subscription(who, id, 'subscribe', changes, in_key, NULL);
    PERFORM loyalty.hold_plan_tier(who, p.id, now);
    answer := loyalty.subscription_row(who, id, now) || jsonb_build_object('fee', paid, 'credit', done.refunded, 'amount', paid - done.refunded,
      'points', granted - done.points_taken);
    PERFORM loyalty.keep_call(who, p.id, in_key, 'change_plan', arguments, now, answer);
  END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_record(answer) AS r (subscription_id bigint, plan text, state text, started_at timestamptz,
    paid_until timestamptz, ends_at timestamptz, fee numeric, credit numeric, amount numeric, points numeric);
END $$;
COMMENT ON FUNCTION loyalty.change_plan_as_owner(bigint, bigint, text, text, timestamptz, text) IS 'the body of change_plan()';
REVOKE ALL ON FUNCTION loyalty.change_plan_as_owner(bigint, bigint, text, text, timestamptz, text) FROM PUBLIC;

-- Under the account's lock.  No money goes back: whoever refunds cancels before.
CREATE OR REPLACE FUNCTION loyalty.erase_subscriptions(member_id bigint, program_id integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  at timestamptz := loyalty.account_instant(erase_subscriptions.member_id, erase_subscriptions.program_id);
  s loyalty.subscription;
  ended bigint := 0;
BEGIN
  FOR s IN SELECT x.* FROM loyalty.subscription x
           WHERE x.member_id = erase_subscriptions.member_id AND x.program_id = erase_subscriptions.program_id AND x.ends_at > at ORDER BY x.subscription_id LOOP
    PERFORM FROM loyalty.end_subscription(s.member_id, s.subscription_id, 'none', 'refund', at, at, NULL);
    PERFORM loyalty.note_subscription(s.member_id, s.subscription_id, 'cancel', at, NULL, 'erased');
    ended := ended + 1;
  END LOOP;
  IF ended > 0 THEN
    PERFORM loyalty.hold_plan_tier(erase_subscriptions.member_id, erase_subscriptions.program_id, at);
  END IF;
  RETURN ended;
END $$;
COMMENT ON FUNCTION loyalty.erase_subscriptions(bigint, integer) IS 'part of erase_member(): subscriptions end at once, with all that they give; returns how many';
REVOKE ALL ON FUNCTION loyalty.erase_subscriptions(bigint, integer) FROM PUBLIC;

-- The tier of a plan is one that was granted (grant_tier) until the subscription ends: it ends at that instant by itself.  Whoever was
-- granted a higher one by hand keeps it.
CREATE OR REPLACE FUNCTION loyalty.hold_plan_tier(member_id bigint, program_id integer, now timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  want record;
  held record;
  program_name text := (SELECT p.name FROM loyalty.program p WHERE p.id = hold_plan_tier.program_id);
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.plan n WHERE n.program = program_name AND n.tier IS NOT NULL) THEN
    RETURN;
  END IF;
  SELECT s.subscription_id, s.ends_at, n.name AS plan, t.name AS tier, t.rank INTO want
  FROM loyalty.subscription s JOIN loyalty.plan n ON n.id = s.plan_id JOIN loyalty.tier t ON t.program = n.program AND t.name = n.tier
  WHERE s.member_id = hold_plan_tier.member_id AND s.program_id = hold_plan_tier.program_id AND s.started_at <= now AND s.ends_at > now;
  SELECT i.tier_id, i.held_until, coalesce(i.key LIKE 'subscription % tier %', false) AS by_plan, t.name AS tier, t.rank INTO held
  FROM (SELECT v.* FROM loyalty.intervention v
        WHERE v.member_id = hold_plan_tier.member_id AND v.program_id = hold_plan_tier.program_id AND v.action IN ('grant tier', 'revoke tier')
        ORDER BY v.entry_no DESC LIMIT 1) i
  JOIN loyalty.tier t ON t.id = i.tier_id
  WHERE i.action = 'grant tier' AND i.held_until > now;
  IF held.by_plan AND (want.tier IS NULL OR held.rank > want.rank) THEN
    PERFORM loyalty.revoke_tier(hold_plan_tier.member_id, program_name, 'plan ended');
  ELSIF want.tier IS NULL OR (held.tier = want.tier AND held.held_until = want.ends_at)
     OR (NOT held.by_plan AND (held.rank > want.rank OR (held.rank = want.rank AND held.held_until >= want.ends_at))) THEN
    RETURN;
  END IF;
  IF want.tier IS NOT NULL THEN
    PERFORM loyalty.grant_tier(hold_plan_tier.member_id, want.tier, program_name, want.ends_at, format('plan %s', want.plan),
      format('subscription %s tier %s', want.subscription_id, a.next_entry))
    FROM loyalty.account a WHERE a.member_id = hold_plan_tier.member_id AND a.program_id = hold_plan_tier.program_id;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.hold_plan_tier(bigint, integer, timestamptz) IS 'the tier that a member''s plan gives is held until the subscription ends';
REVOKE ALL ON FUNCTION loyalty.hold_plan_tier(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_subscriptions(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'subscription', s.program_id, s.member_id, NULL::bigint,
    format('subscription %s is paid until %s and ends at %s; its last event says %s and %s, its payments say %s', s.subscription_id, s.paid_until, s.ends_at,
           coalesce(e.paid_until::text, 'nothing'), coalesce(e.ends_at::text, 'nothing'), c.until)
  FROM loyalty.subscription s
  LEFT JOIN (SELECT DISTINCT ON (v.member_id, v.subscription_id) v.* FROM loyalty.subscription_event v ORDER BY v.member_id, v.subscription_id, v.event_id DESC) e
    ON e.member_id = s.member_id AND e.subscription_id = s.subscription_id
  LEFT JOIN (SELECT DISTINCT ON (y.member_id, y.subscription_id) y.* FROM loyalty.plan_payment y WHERE y.kind = 'charge' ORDER BY y.member_id, y.subscription_id, y.payment_id DESC) k
    ON k.member_id = s.member_id AND k.subscription_id = s.subscription_id
  CROSS JOIN LATERAL (SELECT least(coalesce(k.covers_until, s.trial_until, s.started_at), CASE WHEN s.cancelled_at IS NOT NULL THEN s.ends_at END) AS until) c
  WHERE (s.paid_until, s.ends_at) IS DISTINCT FROM (e.paid_until, e.ends_at) OR s.paid_until <> c.until
  LIMIT most;
  RETURN QUERY
  SELECT 'subscription_change', s.program_id, s.member_id, NULL::bigint,
    format('subscription %s was changed to %s, which %s', s.subscription_id, s.changed_to, CASE WHEN t.member_id IS NULL THEN 'is not there' ELSE 'did not take its place' END)
  FROM loyalty.subscription s LEFT JOIN loyalty.subscription t ON t.member_id = s.member_id AND t.subscription_id = s.changed_to
  WHERE s.changed_to IS NOT NULL AND (t.changed_from, t.started_at) IS DISTINCT FROM (s.subscription_id, s.ends_at)
  LIMIT most;
  RETURN QUERY
  SELECT 'plan_payment', y.program_id, y.member_id, NULL::bigint,
    format('of payment %s, %s, %s went back%s', coalesce(c.payment_id, y.of_payment), coalesce(c.amount::text, 'which is not there'), -sum(y.amount),
           CASE WHEN bool_or(y.subscription_id <> c.subscription_id) THEN ', for another subscription' ELSE '' END)
  FROM loyalty.plan_payment y
  LEFT JOIN loyalty.plan_payment c ON c.member_id = y.member_id AND c.payment_id = y.of_payment AND c.kind = 'charge'
  WHERE y.kind <> 'charge' GROUP BY y.program_id, y.member_id, y.of_payment, c.payment_id, c.amount
  HAVING c.payment_id IS NULL OR -sum(y.amount) > c.amount OR bool_or(y.subscription_id <> c.subscription_id)
  LIMIT most;
  RETURN QUERY
  SELECT 'plan_payment', y.program_id, y.member_id, NULL::bigint, format('payment %s is of subscription %s, which is not there', y.payment_id, y.subscription_id)
  FROM loyalty.plan_payment y LEFT JOIN loyalty.subscription s ON s.member_id = y.member_id AND s.subscription_id = y.subscription_id
  WHERE s.member_id IS NULL LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_subscriptions(integer) IS 'part of verify(): subscriptions are what their events and payments say; no more went back than was paid';
REVOKE ALL ON FUNCTION loyalty.verify_subscriptions(integer) FROM PUBLIC;
