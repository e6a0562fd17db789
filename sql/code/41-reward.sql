-- What rewards are, what they ask of a member, what they cost, and what their redemption gives.

CREATE OR REPLACE FUNCTION loyalty.check_cost(program text, what text, cost numeric) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_finite(what, cost);
  IF cost <> trunc(cost, 4) OR cost >= 10::numeric ^ 14 THEN
    RAISE EXCEPTION '% is %', what, cost
      USING ERRCODE = 'LY017', HINT = 'Points have at most 4 decimals and 14 digits before them.';
  ELSIF cost <> (SELECT trunc(check_cost.cost, p.decimals) FROM loyalty.program p WHERE p.name = check_cost.program) THEN
    RAISE EXCEPTION '% is %', what, cost
      USING ERRCODE = 'LY017', HINT = 'It has more decimals than the program''s points.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_cost(text, text, numeric) IS 'raise LY017 for points that a program cannot have';
REVOKE ALL ON FUNCTION loyalty.check_cost(text, text, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_value(value numeric, unit text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_finite('value', value);
  IF value >= 1e12 OR value <> trunc(value, 4) THEN
    RAISE EXCEPTION 'value is %', value USING ERRCODE = 'LY017', HINT = 'It is below 1,000,000,000,000 and has at most 4 decimals.';
  ELSIF unit = 'percent' AND value > 100 THEN
    RAISE EXCEPTION 'value is % percent', value USING ERRCODE = 'LY017', HINT = 'It is 100 at most.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_value(numeric, text) IS 'raise LY017 for what no voucher is worth';
REVOKE ALL ON FUNCTION loyalty.check_value(numeric, text) FROM PUBLIC;

-- One list of what kinds there are: a word that nobody knows would be read by no report and no till.
CREATE OR REPLACE FUNCTION loyalty.config_reward() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM loyalty.check_deletion('reward', OLD.name, OLD.program, loyalty.in_ledger('reward', OLD.id));
    RETURN OLD;
  END IF;
  PERFORM loyalty.check_name('reward', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  PERFORM loyalty.check_partner(NEW.program, NEW.partner);
  PERFORM loyalty.check_cost(NEW.program, 'cost', NEW.cost);
  PERFORM loyalty.check_value(NEW.value, NEW.value_unit);
  IF NEW.kind NOT IN ('product', 'discount', 'cashback', 'code', 'donation', 'experience', 'partner_voucher', 'voucher') THEN
    RAISE EXCEPTION 'kind "%" of reward "%" is not known', NEW.kind, NEW.name
      USING ERRCODE = 'LY017', HINT = 'It is product, discount, cashback, code, donation, experience, partner_voucher or voucher; argument takes a word of the application.';
  ELSIF NEW.value_unit = 'percent' AND NEW.kind NOT IN ('discount', 'voucher', 'partner_voucher') THEN
    RAISE EXCEPTION 'a % is worth money, not percent', NEW.kind
      USING ERRCODE = 'LY017', HINT = 'Of the kinds discount, voucher and partner_voucher value_unit can be percent.';
  ELSIF NEW.kind = 'cashback' AND (SELECT p.money = '' FROM loyalty.program p WHERE p.name = NEW.program) THEN
    RAISE EXCEPTION 'money of program "%" is not said', NEW.program
      USING ERRCODE = 'LY017', HINT = 'Cashback pays it out: UPDATE loyalty.program SET money = ''EUR''.';
  ELSIF NEW.kind = 'code' AND NEW.pool IS NULL THEN
    RAISE EXCEPTION 'pool of reward "%" is not said', NEW.name
      USING ERRCODE = 'LY017', HINT = 'INSERT INTO loyalty.code_pool, load loyalty.code, and name the pool.';
  ELSIF NEW.kind = 'voucher' AND NEW.value IS NULL THEN
    RAISE EXCEPTION 'value of reward "%" is not said', NEW.name
      USING ERRCODE = 'LY017', HINT = 'It is what cost points are worth as a voucher.';
  ELSIF NEW.max_period IS NOT NULL AND NEW.max_per_member IS NULL THEN
    RAISE EXCEPTION 'max_period is %, and max_per_member is not said', NEW.max_period
      USING ERRCODE = 'LY017', HINT = 'max_per_member says how many pieces a member can have in it.';
  ELSIF NEW.validity::text LIKE '% inactive' THEN
    RAISE EXCEPTION 'validity is %', NEW.validity
      USING ERRCODE = 'LY017', HINT = 'A voucher ends at a date: 12 months, end of month, for instance.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_reward() IS 'trigger: checks a reward';
REVOKE ALL ON FUNCTION loyalty.config_reward() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_code_pool() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() OR TG_OP = 'DELETE' THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  PERFORM loyalty.check_name('pool', NEW.name);
  PERFORM loyalty.check_program(NEW.program);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_code_pool() IS 'trigger: checks a pool of codes';
REVOKE ALL ON FUNCTION loyalty.config_code_pool() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_reward_price() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() OR TG_OP = 'DELETE' THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  PERFORM loyalty.check_cost(NEW.program, 'cost', NEW.cost);
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_reward_price() IS 'trigger: checks the price of a reward for a tier';
REVOKE ALL ON FUNCTION loyalty.config_reward_price() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.config_reward_step() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() OR TG_OP = 'DELETE' THEN
    RETURN coalesce(NEW, OLD);
  END IF;
  PERFORM loyalty.check_cost(NEW.program, 'points', NEW.points);
  PERFORM loyalty.check_value(NEW.value, (SELECT w.value_unit FROM loyalty.reward w WHERE w.program = NEW.program AND w.name = NEW.reward));
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.config_reward_step() IS 'trigger: checks what so many points are worth';
REVOKE ALL ON FUNCTION loyalty.config_reward_step() FROM PUBLIC;

-- What a piece costs on a tier: the price of the highest tier up to it that has one.  A segment's price is for those to whom
-- it is the better one.
CREATE OR REPLACE FUNCTION loyalty.reward_cost(reward_id integer, tier_id integer, member_id bigint, at timestamptz) RETURNS numeric
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least((
    SELECT min(p.cost) FROM loyalty.reward_price p
    WHERE p.program = w.program AND p.reward = w.name AND p.segment IS NOT NULL
      AND loyalty.in_segment(reward_cost.member_id, p.segment, p.program, reward_cost.at)), coalesce((
    SELECT p.cost FROM loyalty.reward_price p
    JOIN loyalty.tier t ON t.program = p.program AND t.name = p.tier
    JOIN loyalty.tier m ON m.id = reward_cost.tier_id
    WHERE p.program = w.program AND p.reward = w.name AND t.rank <= m.rank ORDER BY t.rank DESC LIMIT 1), w.cost))
  FROM loyalty.reward w WHERE w.id = reward_cost.reward_id
$$;
COMMENT ON FUNCTION loyalty.reward_cost(integer, integer, bigint, timestamptz) IS 'what a piece of a reward costs a member, who is on that tier, at an instant';
REVOKE ALL ON FUNCTION loyalty.reward_cost(integer, integer, bigint, timestamptz) FROM PUBLIC;

-- The same for redeem(), which raises it, and for rewards_for(), which says it.  Lapsed holds have given their pieces back,
-- written or not.
CREATE OR REPLACE FUNCTION loyalty.reward_limit(
  reward_id integer, member_id bigint, at timestamptz, enrolled_at timestamptz, OUT had bigint, OUT again_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  w record;
  b record;
BEGIN
  had := 0;
  SELECT r.max_per_member, coalesce(r.max_period, 'lifetime') AS period, coalesce(r.max_period::text LIKE 'rolling %', false) AS rolling, p.timezone INTO w
  FROM loyalty.reward r JOIN loyalty.program p ON p.name = r.program WHERE r.id = reward_limit.reward_id;
  IF w.max_per_member IS NULL THEN
    RETURN;
  END IF;
  SELECT x.starts_at, x.ends_at INTO b FROM loyalty.period_bounds(w.period, reward_limit.at, w.timezone, reward_limit.enrolled_at) x;
  SELECT coalesce(sum(x.quantity), 0),
    CASE WHEN w.rolling
         -- when enough of them have left the window that one more fits
         THEN min(x.leaves_at) FILTER (WHERE x.after < w.max_per_member)
         WHEN isfinite(b.ends_at) THEN b.ends_at END
  INTO had, again_at
  FROM (
    SELECT u.quantity, u.leaves_at, sum(u.quantity) OVER (ORDER BY u.leaves_at DESC, u.redemption_id DESC) - u.quantity AS after
    FROM (
      SELECT r.quantity, r.redemption_id, CASE WHEN w.rolling THEN loyalty.period_bucket(w.period, r.at, w.timezone, reward_limit.enrolled_at) END AS leaves_at
      FROM loyalty.redemption r
      WHERE r.member_id = reward_limit.member_id AND r.reward_id = reward_limit.reward_id
        -- months differ: who looks back from an instant misses the first that leave after it by days
        AND r.at >= CASE WHEN w.rolling THEN b.starts_at - interval '8 days' ELSE b.starts_at END AND r.at < b.ends_at
        AND (r.state = 'captured' OR r.state = 'held' AND r.held_until > reward_limit.at)) u
    WHERE u.leaves_at IS NULL OR u.leaves_at > reward_limit.at) x;
END $$;
COMMENT ON FUNCTION loyalty.reward_limit(integer, bigint, timestamptz, timestamptz) IS
  'how many pieces of a reward with max_per_member a member has had in the period that holds an instant, and when the next can be had after all of them';
REVOKE ALL ON FUNCTION loyalty.reward_limit(integer, bigint, timestamptz, timestamptz) FROM PUBLIC;

-- A local date where it is midnight.
CREATE OR REPLACE FUNCTION loyalty.instant_text(at timestamptz, timezone text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN (at AT TIME ZONE timezone)::time = '00:00' THEN 'on ' || to_char(at AT TIME ZONE timezone, 'YYYY-MM-DD')
              ELSE 'at ' || to_char(at AT TIME ZONE timezone, 'YYYY-MM-DD HH24:MI:SS') END
$$;
COMMENT ON FUNCTION loyalty.instant_text(timestamptz, text) IS 'an instant in words, in a time zone';
REVOKE ALL ON FUNCTION loyalty.instant_text(timestamptz, text) FROM PUBLIC;

-- Why a member cannot have so many pieces, NULL when nothing speaks against it: points, window, stock and codes are asked elsewhere.
CREATE OR REPLACE FUNCTION loyalty.reward_refusal(
  reward_id integer, member_id bigint, tier_id integer, at timestamptz, enrolled_at timestamptz, blocks bigint, pieces bigint,
  OUT code text, OUT detail text, OUT hint text, OUT again_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  w record;
  had bigint;
BEGIN
  SELECT r.*, p.timezone, t.rank, coalesce(m.rank >= t.rank, false) AS reached INTO w
  FROM loyalty.reward r JOIN loyalty.program p ON p.name = r.program
  LEFT JOIN loyalty.tier t ON t.program = r.program AND t.name = r.min_tier
  LEFT JOIN loyalty.tier m ON m.id = reward_refusal.tier_id
  WHERE r.id = reward_refusal.reward_id;
  IF w.min_tier IS NOT NULL AND NOT w.reached THEN
    code := 'LY005';
    detail := format('It takes tier "%s", or one above.', w.min_tier);
    hint := 'loyalty.tier_standing says what is missing for a tier.';
    RETURN;
  ELSIF w.segment IS NOT NULL AND NOT coalesce(loyalty.in_segment(reward_refusal.member_id, w.segment, w.program, reward_refusal.at), false) THEN
    code := 'LY005';
    detail := format('It is for members who are in segment "%s".', w.segment);
    hint := 'loyalty.in_segment() says who is.';
    RETURN;
  ELSIF blocks < w.min_quantity OR blocks > w.max_quantity THEN
    code := 'LY008';
    detail := format('%s pieces of %s points are asked for, and %s.', blocks, trim_scale(w.cost),
      CASE WHEN blocks < w.min_quantity THEN format('%s are the fewest of one redemption', w.min_quantity)
           ELSE format('%s are the most of one redemption', w.max_quantity) END);
    hint := 'min_quantity and max_quantity of loyalty.reward say how many one redemption can have.';
    RETURN;
  END IF;
  SELECT l.had, l.again_at INTO had, again_at FROM loyalty.reward_limit(w.id, reward_refusal.member_id, reward_refusal.at, reward_refusal.enrolled_at) l;
  IF had + pieces > w.max_per_member THEN
    code := 'LY008';
    detail := format('The member has had %s of %s pieces%s; %s more are asked for.', had, w.max_per_member,
      CASE WHEN w.max_period IS NOT NULL THEN format(' (%s)', w.max_period) ELSE '' END, pieces);
    hint := CASE WHEN pieces > w.max_per_member THEN format('It can be had %s times at most.', w.max_per_member)
                 WHEN again_at IS NULL THEN 'It is not available again.'
                 ELSE format('Available again %s.', loyalty.instant_text(again_at, w.timezone)) END;
  ELSE
    again_at := NULL;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.reward_refusal(integer, bigint, integer, timestamptz, timestamptz, bigint, bigint) IS
  'why a member of a tier cannot have so many pieces of a reward at an instant: SQLSTATE, figures, a way out; NULL: nothing speaks against it';
REVOKE ALL ON FUNCTION loyalty.reward_refusal(integer, bigint, integer, timestamptz, timestamptz, bigint, bigint) FROM PUBLIC;

-- Called by redeem(), the account locked, for rewards that are more than a price.  asked: points as count of 1/10,000, 0: pieces.
-- Given points buy one voucher, worth what the best step says, or so much for each block of cost; pieces one voucher each.
CREATE OR REPLACE FUNCTION loyalty.reward_terms(
  reward_id integer, member_id bigint, tier_id integer, at timestamptz, enrolled_at timestamptz, asked bigint, quantity integer,
  OUT points bigint, OUT pieces integer, OUT vouchers integer, OUT value numeric, OUT value_unit text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  w loyalty.reward;
  step loyalty.reward_step;
  price numeric := loyalty.reward_cost(reward_terms.reward_id, reward_terms.tier_id, reward_terms.member_id, reward_terms.at);
  given numeric;
  blocks bigint := quantity;
  no record;
BEGIN
  SELECT r.* INTO w FROM loyalty.reward r WHERE r.id = reward_terms.reward_id;
  given := CASE WHEN asked > 0 THEN asked * 0.0001 ELSE price * quantity END;
  pieces := CASE WHEN asked > 0 THEN 1 ELSE quantity END;
  value := w.value;
  IF EXISTS (SELECT FROM loyalty.reward_step s WHERE s.program = w.program AND s.reward = w.name) THEN
    SELECT s.* INTO step FROM loyalty.reward_step s
    WHERE s.program = w.program AND s.reward = w.name AND s.points <= given ORDER BY s.points DESC LIMIT 1;
    IF NOT FOUND THEN
      SELECT s.* INTO step FROM loyalty.reward_step s WHERE s.program = w.program AND s.reward = w.name ORDER BY s.points LIMIT 1;
      RAISE EXCEPTION 'too few points for reward "%"', w.name
        USING ERRCODE = 'LY008', DETAIL = format('%s points are asked for, and %s are the fewest.', trim_scale(given), trim_scale(step.points)),
              HINT = format('%s points are worth %s.', trim_scale(step.points), step.value);
    END IF;
    given := step.points;
    value := step.value;
    pieces := 1;
  ELSIF asked > 0 THEN
    blocks := div(given, price);
    IF blocks * price <> given THEN
      RAISE EXCEPTION 'reward "%" is bought in blocks of % points', w.name, trim_scale(price)
        USING ERRCODE = 'LY017', DETAIL = format('%s points are asked for.', trim_scale(given)),
              HINT = format('%s%s would do.', CASE WHEN blocks > 0 THEN format('%s or ', trim_scale(blocks * price)) ELSE '' END, trim_scale((blocks + 1) * price));
    ELSIF w.value_unit = 'percent' AND blocks > 1 THEN
      RAISE EXCEPTION 'reward "%" is bought by the piece', w.name
        USING ERRCODE = 'LY017', DETAIL = 'Percent do not add up.', HINT = 'Say quantity instead of points: each piece is a voucher.';
    END IF;
    value := w.value * blocks;
  END IF;

  SELECT f.* INTO no FROM loyalty.reward_refusal(w.id, reward_terms.member_id, reward_terms.tier_id, reward_terms.at, reward_terms.enrolled_at, blocks, pieces) f;
  IF no.code IS NOT NULL THEN
    RAISE EXCEPTION '%', CASE WHEN no.code = 'LY005' THEN format('reward "%s" of program "%s" is not available', w.name, w.program)
                              ELSE format('limit of reward "%s" of program "%s" is exceeded', w.name, w.program) END
      USING ERRCODE = no.code, DETAIL = no.detail, HINT = no.hint;
  END IF;
  IF given >= 10::numeric ^ 14 THEN
    RAISE EXCEPTION 'quantity is %', quantity USING ERRCODE = 'LY017', HINT = 'So many pieces cost more points than there can be.';
  END IF;
  points := (given * 10000)::bigint;
  value_unit := w.value_unit;
  vouchers := CASE WHEN value IS NOT NULL OR w.pool IS NOT NULL OR w.validity IS NOT NULL THEN pieces ELSE 0 END;
  IF vouchers > 1000 THEN
    RAISE EXCEPTION 'limit of reward "%" of program "%" is exceeded', w.name, w.program
      USING ERRCODE = 'LY008', DETAIL = format('%s vouchers are asked for, and 1000 are the most of one redemption.', vouchers),
            HINT = CASE WHEN value IS NULL THEN 'Redeem them in several calls.'
                        ELSE 'Redeem them in several calls, or say points instead of quantity: that gives one voucher of all that they are worth.' END;
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.reward_terms(integer, bigint, integer, timestamptz, timestamptz, bigint, integer) IS
  'part of redeem(): what a member pays for a reward and what it gives; LY005 and LY008 when it cannot be had';
REVOKE ALL ON FUNCTION loyalty.reward_terms(integer, bigint, integer, timestamptz, timestamptz, bigint, integer) FROM PUBLIC;

-- ---- what a member can have ----

CREATE OR REPLACE FUNCTION loyalty.rewards_for(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (reward text, kind text, cost numeric, value numeric, value_unit text, affordable boolean, missing numeric, why_not text,
               again_at timestamptz, left_over bigint, ends_at timestamptz, argument text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.rewards_for(bigint, text, timestamptz) IS
  'every reward that is not over, what it costs this member, how many points are missing, and why it cannot be had (NULL: it can); those that could be had by points first, the fewest missing points first';
REVOKE ALL ON FUNCTION loyalty.rewards_for(bigint, text, timestamptz) FROM PUBLIC;

-- One redemption of the fewest pieces, or of the lowest step, is what is asked about.
CREATE OR REPLACE FUNCTION loyalty.rewards_for_as_owner(of_member bigint, of_program text, at timestamptz)
RETURNS TABLE (reward text, kind text, cost numeric, value numeric, value_unit text, affordable boolean, missing numeric, why_not text,
               again_at timestamptz, left_over bigint, ends_at timestamptz, argument text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  named text := loyalty.program_name(of_program);
  instant timestamptz := coalesce(rewards_for_as_owner.at, loyalty.instant());
  has record;
  a record;
BEGIN
  SELECT b.available, b.debt, t.id AS tier_id INTO has FROM loyalty.balance(of_member, named, instant) b
  LEFT JOIN loyalty.tier t ON t.program = named AND t.name = b.tier;
  SELECT c.enrolled_at, c.status, p.timezone INTO a
  FROM loyalty.program p JOIN loyalty.account c ON c.program_id = p.id AND c.member_id = of_member WHERE p.name = named;
  RETURN QUERY
  SELECT o.name, o.kind, o.price, coalesce(o.step_value, o.value), o.value_unit, o.fewest <= has.available AND has.debt = 0,
    greatest(o.fewest - has.available, 0),
    CASE WHEN a.status <> 'active' THEN format('The account is %s.', a.status)
         WHEN has.debt > 0 THEN format('%s points are owed.', has.debt)
         WHEN o.starts_at > instant THEN format('It starts %s.', loyalty.instant_text(o.starts_at, a.timezone))
         WHEN o.code IS NOT NULL THEN o.detail || CASE WHEN o.code = 'LY008' THEN ' ' || o.hint ELSE '' END
         WHEN o.left_over < o.min_quantity THEN format('%s pieces are left.', o.left_over)
         WHEN NOT o.has_codes THEN 'No codes are left.'
         WHEN o.fewest > has.available THEN format('%s points to go.', trim_scale(o.fewest - has.available)) END,
    CASE WHEN o.starts_at > instant THEN o.starts_at ELSE o.again_at END, o.left_over, CASE WHEN isfinite(o.ends_at) THEN o.ends_at END, o.argument
  FROM (
    SELECT w.*, c.price, coalesce(f.points, c.price * w.min_quantity) AS fewest, b.value AS step_value, r.code, r.detail, r.hint, r.again_at,
      (SELECT sum(s.left_over)::bigint FROM loyalty.reward_stock s WHERE s.reward_id = w.id) AS left_over,
      w.pool IS NULL OR EXISTS (
        SELECT FROM loyalty.code k WHERE k.program = w.program AND k.pool = w.pool AND k.redemption_id IS NULL AND k.valid_until > instant
        UNION ALL
        SELECT FROM loyalty.code k WHERE k.program = w.program AND k.pool = w.pool AND k.held_until <= instant AND k.valid_until > instant) AS has_codes
    FROM loyalty.reward w
    CROSS JOIN LATERAL (SELECT trim_scale(loyalty.reward_cost(w.id, has.tier_id, of_member, instant)) AS price) c
    LEFT JOIN LATERAL (SELECT min(s.points) AS points FROM loyalty.reward_step s WHERE s.program = w.program AND s.reward = w.name) f ON true
    LEFT JOIN LATERAL (
      SELECT s.value FROM loyalty.reward_step s
      WHERE s.program = w.program AND s.reward = w.name AND s.points <= greatest(has.available, f.points) ORDER BY s.points DESC LIMIT 1) b ON true
    CROSS JOIN LATERAL loyalty.reward_refusal(w.id, of_member, has.tier_id, instant, a.enrolled_at, w.min_quantity,
      CASE WHEN f.points IS NULL AND w.value IS NULL THEN w.min_quantity ELSE 1 END) r
    WHERE w.program = named AND w.enabled AND w.ends_at > instant) o
  ORDER BY (o.code IS NOT NULL), greatest(o.fewest - has.available, 0), o.price, o.name;
END $$;
COMMENT ON FUNCTION loyalty.rewards_for_as_owner(bigint, text, timestamptz) IS 'the body of rewards_for()';
REVOKE ALL ON FUNCTION loyalty.rewards_for_as_owner(bigint, text, timestamptz) FROM PUBLIC;
