-- Vouchers: what redemptions give with a code, a value or an end; and pools of codes, each given once.
-- All but the entry functions are called by redeem(), capture() and their like as the owner of the ledger, the account locked.

-- A code that was given stays so: nothing makes it free again.
CREATE OR REPLACE FUNCTION loyalty.code_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF loyalty.restoring() THEN
    RETURN coalesce(NEW, OLD);
  ELSIF TG_OP = 'INSERT' THEN
    NEW.valid_until := coalesce(NEW.valid_until, 'infinity');
    NEW.loaded_at := statement_timestamp();
    NEW.loaded_by := session_user;
    NEW.redemption_id := NULL;
    NEW.held_until := NULL;
    NEW.given_at := NULL;
  ELSIF TG_OP = 'DELETE' THEN
    IF OLD.redemption_id IS NOT NULL THEN
      RAISE EXCEPTION 'a code of pool "%" of program "%" is named by the ledger', OLD.pool, OLD.program
        USING ERRCODE = 'LY011', HINT = 'Withdraw codes that are free: DELETE … WHERE redemption_id IS NULL.';
    END IF;
    RETURN OLD;
  ELSIF OLD.given_at IS NOT NULL AND (NEW.code, NEW.redemption_id, NEW.given_at) IS DISTINCT FROM (OLD.code, OLD.redemption_id, OLD.given_at) THEN
    RAISE EXCEPTION 'a code of pool "%" of program "%" was given', OLD.pool, OLD.program
      USING ERRCODE = 'LY011', HINT = 'A code is given once.';
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.code_check() IS 'trigger: a code comes in free, is given once, and stays when the ledger names it';
REVOKE ALL ON FUNCTION loyalty.code_check() FROM PUBLIC;

-- Codes that are free, those first that end first, and then those whose hold has lapsed, locked.  Either nobody is waited
-- for; or those that others are about to take are, because they may not take them after all: in one order, so that two who
-- want several do not wait for each other.
CREATE OR REPLACE FUNCTION loyalty.lock_codes(program text, pool text, n integer, at timestamptz, wait boolean) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  locked text[];
BEGIN
  IF wait THEN
    locked := ARRAY(SELECT c.code FROM loyalty.code c
      WHERE c.program = program AND c.pool = pool AND c.redemption_id IS NULL AND c.valid_until > at
      ORDER BY c.valid_until, c.code LIMIT n FOR UPDATE);
    IF cardinality(locked) < n THEN
      locked := locked || ARRAY(SELECT c.code FROM loyalty.code c
        WHERE c.program = program AND c.pool = pool AND c.held_until <= at AND c.valid_until > at
        ORDER BY c.held_until, c.code LIMIT n - cardinality(locked) FOR UPDATE);
    END IF;
  ELSE
    locked := ARRAY(SELECT c.code FROM loyalty.code c
      WHERE c.program = program AND c.pool = pool AND c.redemption_id IS NULL AND c.valid_until > at
      ORDER BY c.valid_until, c.code LIMIT n FOR UPDATE SKIP LOCKED);
    IF cardinality(locked) < n THEN
      locked := locked || ARRAY(SELECT c.code FROM loyalty.code c
        WHERE c.program = program AND c.pool = pool AND c.held_until <= at AND c.valid_until > at
        ORDER BY c.held_until, c.code LIMIT n - cardinality(locked) FOR UPDATE SKIP LOCKED);
    END IF;
  END IF;
  RETURN locked;
END $$;
COMMENT ON FUNCTION loyalty.lock_codes(text, text, integer, timestamptz, boolean) IS
  'part of take_codes(): up to n codes of a pool that can be given, locked; with wait those that others have locked are waited for';
REVOKE ALL ON FUNCTION loyalty.lock_codes(text, text, integer, timestamptz, boolean) FROM PUBLIC;

-- Whoever finds too few waits for all, and must not hold any meanwhile: what was locked is let go with its subtransaction.
-- That may be codes that were given by then, too: PostgreSQL locks a row before it finds that it has changed.
CREATE OR REPLACE FUNCTION loyalty.take_codes(
  program text, pool text, n integer, redemption_id bigint, held_until timestamptz, at timestamptz) RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  taken text[];
BEGIN
  BEGIN
    taken := loyalty.lock_codes(program, pool, n, at, false);
    IF cardinality(taken) < n THEN
      RAISE EXCEPTION SQLSTATE 'LY005';
    END IF;
  EXCEPTION WHEN SQLSTATE 'LY005' THEN
    taken := '{}';
  END;
  IF cardinality(taken) < n THEN
    taken := loyalty.lock_codes(program, pool, n, at, true);
  END IF;
  IF cardinality(taken) < n THEN
    RAISE EXCEPTION 'pool "%" of program "%" has no codes left', pool, program
      USING ERRCODE = 'LY005', DETAIL = format('%s codes are left and %s are needed.', cardinality(taken), n),
            HINT = 'Load more: COPY loyalty.code (program, pool, code).';
  END IF;
  UPDATE loyalty.code c SET redemption_id = redemption_id, held_until = held_until, given_at = CASE WHEN held_until IS NULL THEN at END
  WHERE c.program = program AND c.pool = pool AND c.code = ANY (taken);
  RETURN taken;
END $$;
COMMENT ON FUNCTION loyalty.take_codes(text, text, integer, bigint, timestamptz, timestamptz) IS
  'give free codes of a pool to a redemption, or hold them for it; LY005 when there are fewer';
REVOKE ALL ON FUNCTION loyalty.take_codes(text, text, integer, bigint, timestamptz, timestamptz) FROM PUBLIC;

-- 64 random bits that no table needs to be asked about.
CREATE OR REPLACE FUNCTION loyalty.new_code() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT upper(substr(u, 1, 4) || '-' || substr(u, 5, 4) || '-' || substr(u, 9, 4) || '-' || substr(u, 18, 4))
  FROM (SELECT replace(gen_random_uuid()::text, '-', '') AS u) x
$$;
COMMENT ON FUNCTION loyalty.new_code() IS 'a code of 16 random digits that nobody can guess';
REVOKE ALL ON FUNCTION loyalty.new_code() FROM PUBLIC;

-- The held vouchers of a redemption get their codes, and their life begins.
CREATE OR REPLACE FUNCTION loyalty.issue_held(member_id bigint, redemption_id bigint, codes text[], at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  UPDATE loyalty.voucher v SET state = 'issued', code = coalesce(n.code, loyalty.new_code()), issued_at = at, changed_at = at,
    valid_until = least(coalesce(loyalty.expires_at(at, w.validity, p.timezone), 'infinity'), coalesce(n.valid_until, 'infinity')),
    posted_at = statement_timestamp(), by = session_user
  FROM (SELECT h.voucher_id, c.code, c.valid_until
        FROM (SELECT x.voucher_id, x.reward_id, row_number() OVER (ORDER BY x.voucher_id) AS i FROM loyalty.voucher x
              WHERE x.member_id = member_id AND x.redemption_id = redemption_id AND x.state = 'held') h
        JOIN loyalty.reward w ON w.id = h.reward_id
        LEFT JOIN unnest(codes) WITH ORDINALITY k (code, i) ON k.i = h.i
        LEFT JOIN loyalty.code c ON c.program = w.program AND c.pool = w.pool AND c.code = k.code) n,
    loyalty.reward w, loyalty.program p
  WHERE v.member_id = member_id AND v.voucher_id = n.voucher_id AND w.id = v.reward_id AND p.id = v.program_id;
  -- without the code, which is its holder's
  PERFORM loyalty.tell(v.program_id, 'voucher_issued', v.member_id, at, jsonb_build_object('voucher_id', v.voucher_id, 'redemption_id', v.redemption_id,
    'reward', w.name, 'value', v.value, 'value_unit', v.value_unit, 'valid_until', CASE WHEN isfinite(v.valid_until) THEN v.valid_until END))
  FROM loyalty.voucher v JOIN loyalty.reward w ON w.id = v.reward_id
  WHERE v.member_id = member_id AND v.redemption_id = redemption_id AND v.state = 'issued' AND loyalty.tells(v.program_id, '{voucher_issued}') ORDER BY v.voucher_id;
END $$;
COMMENT ON FUNCTION loyalty.issue_held(bigint, bigint, text[], timestamptz) IS 'part of redeem() and capture(): held vouchers are issued';
REVOKE ALL ON FUNCTION loyalty.issue_held(bigint, bigint, text[], timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.give_vouchers(
  member_id bigint, redemption_id bigint, reward_id integer, n integer, value numeric, held_until timestamptz, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  w record;
  codes text[] := '{}';
BEGIN
  SELECT r.program, r.pool, r.value_unit, p.id AS program_id INTO w
  FROM loyalty.reward r JOIN loyalty.program p ON p.name = r.program WHERE r.id = reward_id;
  INSERT INTO loyalty.voucher (member_id, program_id, reward_id, redemption_id, state, value, value_unit, issued_at, valid_until, changed_at, posted_at, by)
  SELECT member_id, w.program_id, reward_id, redemption_id, 'held', value, w.value_unit, at, coalesce(held_until, 'infinity'), at, statement_timestamp(), session_user
  FROM generate_series(1, n);
  IF w.pool IS NOT NULL THEN
    codes := loyalty.take_codes(w.program, w.pool, n, redemption_id, held_until, at);
  END IF;
  IF held_until IS NULL THEN
    PERFORM loyalty.issue_held(member_id, redemption_id, codes, at);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.give_vouchers(bigint, bigint, integer, integer, numeric, timestamptz, timestamptz) IS
  'part of redeem(): the vouchers of a new redemption, issued, or held with it';
REVOKE ALL ON FUNCTION loyalty.give_vouchers(bigint, bigint, integer, integer, numeric, timestamptz, timestamptz) FROM PUBLIC;

-- What became of a redemption becomes of its vouchers.  A code that was only held is free again; one that was given is burnt,
-- because its holder may have written it down.
CREATE OR REPLACE FUNCTION loyalty.follow_redemption(member_id bigint, redemption_id bigint, state text, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  w record;
  codes text[] := '{}';
  used bigint;
BEGIN
  IF state = 'captured' THEN
    SELECT r.program, r.pool, count(*)::integer AS n INTO w
    FROM loyalty.voucher v JOIN loyalty.reward r ON r.id = v.reward_id
    WHERE v.member_id = member_id AND v.redemption_id = redemption_id AND v.state = 'held' GROUP BY r.program, r.pool;
    IF w.n IS NULL THEN
      RETURN;
    END IF;
    IF w.pool IS NOT NULL THEN
      WITH mine AS (
        UPDATE loyalty.code c SET held_until = NULL, given_at = at
        WHERE c.redemption_id = redemption_id AND c.held_until IS NOT NULL AND c.program = w.program AND c.pool = w.pool RETURNING c.code)
      SELECT coalesce(array_agg(m.code), '{}') INTO codes FROM mine m;
      -- by the clock of whoever took the others meanwhile, the hold had lapsed
      IF cardinality(codes) < w.n THEN
        codes := codes || loyalty.take_codes(w.program, w.pool, w.n - cardinality(codes), redemption_id, NULL, at);
      END IF;
    END IF;
    PERFORM loyalty.issue_held(member_id, redemption_id, codes, at);
  ELSIF state = 'released' THEN
    UPDATE loyalty.voucher v SET state = 'cancelled', changed_at = at, posted_at = statement_timestamp(), by = session_user
    WHERE v.member_id = member_id AND v.redemption_id = redemption_id AND v.state = 'held';
    UPDATE loyalty.code c SET redemption_id = NULL, held_until = NULL WHERE c.redemption_id = redemption_id AND c.held_until IS NOT NULL;
  ELSIF state = 'reversed' THEN
    SELECT min(v.voucher_id) INTO used FROM loyalty.voucher v
    WHERE v.member_id = member_id AND v.redemption_id = redemption_id AND (v.state = 'used' OR v.used > 0);
    IF used IS NOT NULL THEN
      RAISE EXCEPTION 'redemption % cannot be reversed', redemption_id
        USING ERRCODE = 'LY006', DETAIL = format('Voucher %s of it was used.', used), HINT = 'Undo the use first: loyalty.restore_voucher().';
    END IF;
    UPDATE loyalty.voucher v SET state = 'cancelled', changed_at = at, posted_at = statement_timestamp(), by = session_user
    WHERE v.member_id = member_id AND v.redemption_id = redemption_id AND v.state = 'issued';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.follow_redemption(bigint, bigint, text, timestamptz) IS
  'part of capture(), release(), reverse() and of lapses: what becomes of the vouchers of a redemption';
REVOKE ALL ON FUNCTION loyalty.follow_redemption(bigint, bigint, text, timestamptz) FROM PUBLIC;

-- What redeem() and capture() answer: codes in the order of their vouchers.
CREATE OR REPLACE FUNCTION loyalty.vouchers_of(member_id bigint, redemption_id bigint)
RETURNS TABLE (voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(v.code, ', ' ORDER BY v.voucher_id), min(v.value), min(v.value_unit),
    min(v.valid_until) FILTER (WHERE v.state <> 'held' AND v.code IS NOT NULL AND isfinite(v.valid_until))
  FROM loyalty.voucher v WHERE v.member_id = vouchers_of.member_id AND v.redemption_id = vouchers_of.redemption_id
$$;
COMMENT ON FUNCTION loyalty.vouchers_of(bigint, bigint) IS 'part of redeem() and capture(): what a redemption has given';
REVOKE ALL ON FUNCTION loyalty.vouchers_of(bigint, bigint) FROM PUBLIC;

-- ---- using ----

-- The code is unknown, or another member's: one answer.
CREATE OR REPLACE FUNCTION loyalty.find_voucher(member_id bigint, code text, voucher_id bigint, OUT holder bigint, OUT number bigint, OUT program_id integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF (code IS NULL) = (voucher_id IS NULL) OR member_id IS NULL AND code IS NULL THEN
    RAISE EXCEPTION 'no voucher is named' USING ERRCODE = 'LY017', HINT = 'Say its code, or whose it is and its voucher_id.';
  END IF;
  -- a pool of another program may hold the same code
  SELECT v.member_id, v.voucher_id, v.program_id INTO holder, number, program_id FROM loyalty.voucher v
  WHERE (code IS NULL OR v.code = code) AND (voucher_id IS NULL OR v.voucher_id = voucher_id) AND (member_id IS NULL OR v.member_id = member_id)
  ORDER BY v.state = 'issued' DESC, v.voucher_id DESC LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no such voucher'
      USING ERRCODE = 'LY017', DETAIL = CASE WHEN code IS NULL THEN format('Member %s has no voucher of this number.', member_id) ELSE format('The code is "%s".', code) END,
            HINT = 'loyalty.vouchers() lists the vouchers of a member.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.find_voucher(bigint, text, bigint) IS 'part of use_voucher(): whose voucher has this code, or number; LY017 when there is none';
REVOKE ALL ON FUNCTION loyalty.find_voucher(bigint, text, bigint) FROM PUBLIC;

-- Can this be done with the voucher, as it is at an instant?  Of one that is worth money parts can be used, and given back.
CREATE OR REPLACE FUNCTION loyalty.check_voucher(member_id bigint, voucher_id bigint, what text, amount numeric, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  v loyalty.voucher;
  p loyalty.program;
  now_is text;
  most numeric;
BEGIN
  SELECT x.* INTO v FROM loyalty.voucher x WHERE x.member_id = member_id AND x.voucher_id = voucher_id;
  SELECT o.* INTO p FROM loyalty.program o WHERE o.id = v.program_id;
  now_is := CASE WHEN v.state = 'issued' AND v.valid_until <= at THEN 'expired' ELSE v.state END;
  most := trim_scale(CASE what WHEN 'restored' THEN v.used ELSE v.value - v.used END);
  IF (CASE what WHEN 'restored' THEN v.used = 0 AND now_is <> 'used' WHEN 'used' THEN now_is <> 'issued' ELSE now_is <> 'issued' OR v.used > 0 END) THEN
    RAISE EXCEPTION 'voucher % cannot be %', v.voucher_id, what
      USING ERRCODE = 'LY006',
        DETAIL = CASE now_is WHEN 'expired' THEN format('Its last day was %s.', loyalty.last_day(v.valid_until, p.timezone))
                             WHEN 'used' THEN concat('It was used ', loyalty.instant_text(v.changed_at, p.timezone), ', for ' || quote_literal(v.reference), '.')
                             WHEN 'issued' THEN CASE WHEN v.used > 0 THEN format('%s of %s was used.', v.used, v.value) ELSE 'It was not used.' END
                             ELSE format('It is %s.', now_is) END,
        HINT = CASE WHEN now_is = 'held' THEN 'Its redemption is held: capture it first.' WHEN v.used > 0 AND what = 'cancelled' THEN 'Undo the use first: loyalty.restore_voucher().'
                    WHEN v.value_unit = 'money' THEN 'A voucher is used until nothing is left of it, or until its last day.' ELSE 'A voucher is used once, as a whole, until its last day.' END;
  ELSIF amount IS NOT NULL AND (v.value IS NULL OR v.value_unit <> 'money') THEN
    RAISE EXCEPTION 'amount is %', amount USING ERRCODE = 'LY017', HINT = format('Voucher %s is not worth money: it is used as a whole, leave amount out.', v.voucher_id);
  END IF;
  PERFORM loyalty.check_money('amount', amount, p.money_decimals);
  IF amount = 0 THEN
    RAISE EXCEPTION 'amount is 0' USING ERRCODE = 'LY017', HINT = 'Leave it out for all that there is.';
  ELSIF amount > most THEN
    RAISE EXCEPTION 'voucher % has less', v.voucher_id
      USING ERRCODE = 'LY006', DETAIL = format('%s is %s, and %s is asked for.', most, CASE what WHEN 'restored' THEN 'used' ELSE 'left of it' END, amount),
            HINT = 'Leave amount out for all that there is.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_voucher(bigint, bigint, text, numeric, timestamptz) IS
  'part of use_voucher(), restore_voucher() and cancel_voucher(): raise LY006 when the voucher is not in a state for that, LY017 for amounts that it cannot have';
REVOKE ALL ON FUNCTION loyalty.check_voucher(bigint, bigint, text, numeric, timestamptz) FROM PUBLIC;

-- what: used, restored, cancelled.  Returns the points that go back for one that is cancelled, as count of 1/10,000.
CREATE OR REPLACE FUNCTION loyalty.change_voucher(member_id bigint, voucher_id bigint, what text, words text, at timestamptz, role text, amount numeric,
  OUT redemption_id bigint, OUT points bigint, OUT new_state text, OUT left_over numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  v loyalty.voucher;
  change numeric;
BEGIN
  SELECT x.* INTO v FROM loyalty.voucher x WHERE x.member_id = member_id AND x.voucher_id = voucher_id FOR UPDATE;
  PERFORM loyalty.check_voucher(member_id, voucher_id, what, amount, at);
  IF v.value_unit = 'money' AND what <> 'cancelled' THEN
    change := CASE what WHEN 'used' THEN coalesce(amount, v.value - v.used) ELSE -coalesce(amount, v.used) END;
    left_over := trim_scale(v.value - v.used - change);
  END IF;
  new_state := CASE WHEN what = 'restored' OR what = 'used' AND left_over > 0 THEN 'issued' ELSE what END;
  UPDATE loyalty.voucher x SET state = new_state, changed_at = at, used = x.used + coalesce(change, 0),
    reference = CASE what WHEN 'used' THEN words WHEN 'restored' THEN CASE WHEN x.used + change > 0 THEN x.reference END ELSE x.reference END,
    reason = CASE what WHEN 'used' THEN x.reason ELSE words END, posted_at = statement_timestamp(), by = session_user
  WHERE x.member_id = member_id AND x.voucher_id = voucher_id;
  INSERT INTO loyalty.voucher_change (member_id, voucher_id, change_no, state, amount, words, at, posted_at, by, set_role)
  SELECT member_id, voucher_id, coalesce(max(c.change_no), 0) + 1, new_state, change, words, at, statement_timestamp(), session_user, role
  FROM loyalty.voucher_change c WHERE c.member_id = member_id AND c.voucher_id = voucher_id;
  redemption_id := v.redemption_id;
  -- its share of the redemption; what was reversed by hand before is no more to be had
  SELECT least(r.points / r.vouchers, r.taken) INTO points FROM loyalty.redemption r
  WHERE r.member_id = member_id AND r.redemption_id = v.redemption_id;
END $$;
COMMENT ON FUNCTION loyalty.change_voucher(bigint, bigint, text, text, timestamptz, text, numeric) IS
  'part of use_voucher(), restore_voucher() and cancel_voucher(): its new state; LY006 when it is in another than that needs';
REVOKE ALL ON FUNCTION loyalty.change_voucher(bigint, bigint, text, text, timestamptz, text, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.use_voucher(
  member_id bigint, code text DEFAULT NULL, voucher_id bigint DEFAULT NULL, reference text DEFAULT NULL, key text DEFAULT NULL, amount numeric DEFAULT NULL)
RETURNS TABLE (voucher_id bigint, member_id bigint, state text, reward text, value numeric, value_unit text, argument text, at timestamptz, left_over numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_use_voucher';
COMMENT ON FUNCTION loyalty.use_voucher(bigint, text, bigint, text, text, numeric) IS
  'use a voucher, by its code (member_id may be NULL then) or number: all that is left of it, or, of one worth money, so much; reference: what for; LY006 when it was used up, has expired or was cancelled';
REVOKE ALL ON FUNCTION loyalty.use_voucher(bigint, text, bigint, text, text, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.restore_voucher(
  member_id bigint, code text DEFAULT NULL, voucher_id bigint DEFAULT NULL, reason text DEFAULT NULL, key text DEFAULT NULL, amount numeric DEFAULT NULL)
RETURNS TABLE (voucher_id bigint, member_id bigint, state text, reward text, value numeric, value_unit text, argument text, at timestamptz, left_over numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_restore_voucher';
COMMENT ON FUNCTION loyalty.restore_voucher(bigint, text, bigint, text, text, numeric) IS
  'undo use_voucher(), because the purchase came back: all of it, or so much; the voucher can be used again until its last day';
REVOKE ALL ON FUNCTION loyalty.restore_voucher(bigint, text, bigint, text, text, numeric) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.cancel_voucher(
  member_id bigint, code text DEFAULT NULL, voucher_id bigint DEFAULT NULL, reason text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (voucher_id bigint, state text, redemption_id bigint, points numeric, alive numeric, dead numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_cancel_voucher';
COMMENT ON FUNCTION loyalty.cancel_voucher(bigint, text, bigint, text, text) IS
  'give up a voucher that is not used: its points go back to the lots that paid, as by reverse(); a code of a pool is burnt';
REVOKE ALL ON FUNCTION loyalty.cancel_voucher(bigint, text, bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.voucher_row(member_id bigint, voucher_id bigint)
RETURNS TABLE (voucher_id bigint, member_id bigint, state text, reward text, value numeric, value_unit text, argument text, at timestamptz, left_over numeric)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT v.voucher_id, v.member_id, v.state, w.name, v.value, v.value_unit, w.argument, v.changed_at, CASE WHEN v.value_unit = 'money' THEN trim_scale(v.value - v.used) END
  FROM loyalty.voucher v JOIN loyalty.reward w ON w.id = v.reward_id
  WHERE v.member_id = voucher_row.member_id AND v.voucher_id = voucher_row.voucher_id
$$;
COMMENT ON FUNCTION loyalty.voucher_row(bigint, bigint) IS 'part of use_voucher(): what it answers';
REVOKE ALL ON FUNCTION loyalty.voucher_row(bigint, bigint) FROM PUBLIC;

-- What the holder sees, codes and all.
CREATE OR REPLACE FUNCTION loyalty.vouchers(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (voucher_id bigint, reward text, kind text, code text, value numeric, value_unit text, state text, issued_at timestamptz,
               valid_until timestamptz, last_day date, reference text, redemption_id bigint, argument text, left_over numeric)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.vouchers(bigint, text, timestamptz) IS
  'the vouchers of a member with their codes, the first to end first; state at an instant: held, issued, used, expired, cancelled';
REVOKE ALL ON FUNCTION loyalty.vouchers(bigint, text, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.vouchers_as_owner(of_member bigint, of_program text, at timestamptz)
RETURNS TABLE (voucher_id bigint, reward text, kind text, code text, value numeric, value_unit text, state text, issued_at timestamptz,
               valid_until timestamptz, last_day date, reference text, redemption_id bigint, argument text, left_over numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  named text := loyalty.program_name(of_program);
  instant timestamptz := coalesce(vouchers_as_owner.at, loyalty.instant());
BEGIN
  RETURN QUERY
  SELECT v.voucher_id, w.name, w.kind, v.code, v.value, v.value_unit,
    CASE WHEN v.state = 'issued' AND v.valid_until <= instant THEN 'expired'
         WHEN v.state = 'held' AND v.valid_until <= instant THEN 'cancelled' ELSE v.state END,
    v.issued_at,
    CASE WHEN v.state <> 'held' AND isfinite(v.valid_until) THEN v.valid_until END,
    CASE WHEN v.state <> 'held' AND isfinite(v.valid_until) THEN loyalty.last_day(v.valid_until, p.timezone) END,
    v.reference, v.redemption_id, w.argument, CASE WHEN v.value_unit = 'money' THEN trim_scale(v.value - v.used) END
  FROM loyalty.voucher v
  JOIN loyalty.program p ON p.id = v.program_id
  JOIN loyalty.reward w ON w.id = v.reward_id
  WHERE v.member_id = of_member AND p.name = named
  ORDER BY v.valid_until, v.voucher_id;
END $$;
COMMENT ON FUNCTION loyalty.vouchers_as_owner(bigint, text, timestamptz) IS 'the body of vouchers()';
REVOKE ALL ON FUNCTION loyalty.vouchers_as_owner(bigint, text, timestamptz) FROM PUBLIC;

-- A redemption that lapsed and was not written is held still, and so are its vouchers.
CREATE OR REPLACE FUNCTION loyalty.verify_vouchers(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'voucher', coalesce(r.program_id, v.program_id), coalesce(r.member_id, v.member_id), r.first_entry,
    format('redemption %s is %s and has made %s vouchers: there are %s, %s of them in another state',
           coalesce(r.redemption_id, v.redemption_id), r.state, coalesce(r.vouchers, 0), coalesce(v.n, 0),
           coalesce(CASE r.state WHEN 'held' THEN v.n - v.held WHEN 'captured' THEN v.held ELSE v.n - v.cancelled END, 0))
  FROM (SELECT d.* FROM loyalty.redemption d WHERE d.vouchers <> 0) r
  FULL JOIN (
    SELECT x.member_id, x.redemption_id, min(x.program_id) AS program_id, count(*) AS n,
      count(*) FILTER (WHERE x.state = 'held') AS held, count(*) FILTER (WHERE x.state = 'cancelled') AS cancelled
    FROM loyalty.voucher x GROUP BY x.member_id, x.redemption_id) v ON v.member_id = r.member_id AND v.redemption_id = r.redemption_id
  WHERE r.vouchers IS DISTINCT FROM v.n
    OR CASE r.state WHEN 'held' THEN v.held <> v.n WHEN 'captured' THEN v.held <> 0 ELSE v.cancelled <> v.n END
  LIMIT most;
  RETURN QUERY
  SELECT 'code', coalesce(p.id, v.program_id), v.member_id, NULL::bigint,
    format('pool "%s": a code is in %s vouchers and was given %s', coalesce(k.pool, v.pool), coalesce(v.n, 0),
           CASE WHEN k.given_at IS NULL THEN 'to nobody' ELSE 'to redemption ' || k.redemption_id || ', not to that of its voucher' END)
  FROM (SELECT c.* FROM loyalty.code c WHERE c.given_at IS NOT NULL) k
  FULL JOIN (
    SELECT w.program, w.pool, x.code, min(x.program_id) AS program_id, min(x.member_id) AS member_id, count(*) AS n, min(x.redemption_id) AS redemption_id
    FROM loyalty.voucher x JOIN loyalty.reward w ON w.id = x.reward_id WHERE w.pool IS NOT NULL AND x.code IS NOT NULL
    GROUP BY w.program, w.pool, x.code) v ON v.program = k.program AND v.pool = k.pool AND v.code = k.code
  LEFT JOIN loyalty.program p ON p.name = k.program
  WHERE v.n > 1 OR v.redemption_id IS DISTINCT FROM k.redemption_id
    -- a reward whose pool was changed since says nothing of the vouchers that it had given
    AND (v.code IS NULL OR EXISTS (SELECT FROM loyalty.code e WHERE e.program = v.program AND e.pool = v.pool AND e.code = v.code))
    AND (k.code IS NULL OR NOT EXISTS (SELECT FROM loyalty.voucher o WHERE o.redemption_id = k.redemption_id AND o.code = k.code))
  LIMIT most;
  RETURN QUERY
  SELECT 'voucher_used', v.program_id, v.member_id, NULL::bigint,
    format('voucher %s is %s; of %s are used %s, and by what was done with it %s', v.voucher_id, v.state, coalesce(v.value::text, 'no value'), v.used, coalesce(c.amount, 0))
  FROM loyalty.voucher v
  LEFT JOIN (SELECT x.member_id, x.voucher_id, sum(x.amount) AS amount FROM loyalty.voucher_change x GROUP BY 1, 2) c ON c.member_id = v.member_id AND c.voucher_id = v.voucher_id
  WHERE v.used <> coalesce(c.amount, 0) OR v.used < 0
    OR CASE WHEN v.value_unit = 'money' AND v.value IS NOT NULL THEN CASE v.state WHEN 'used' THEN v.used <> v.value WHEN 'issued' THEN v.used >= v.value AND v.value > 0 ELSE v.used <> 0 END ELSE v.used <> 0 END
  LIMIT most;
  -- those that are cancelled with their redemption have no row of their own
  RETURN QUERY
  SELECT 'voucher_change', v.program_id, v.member_id, NULL::bigint,
    format('voucher %s is %s, and what was done with it last makes it %s', v.voucher_id, v.state, coalesce(c.state, 'issued'))
  FROM loyalty.voucher v
  LEFT JOIN (SELECT DISTINCT ON (x.member_id, x.voucher_id) x.* FROM loyalty.voucher_change x ORDER BY x.member_id, x.voucher_id, x.change_no DESC) c
    ON c.member_id = v.member_id AND c.voucher_id = v.voucher_id
  WHERE CASE v.state WHEN 'held' THEN c.state IS NOT NULL WHEN 'cancelled' THEN c.state = 'used' ELSE v.state <> coalesce(c.state, 'issued') END
  LIMIT most;
  RETURN QUERY
  SELECT 'voucher_change', NULL::integer, c.member_id, NULL::bigint, format('voucher %s, of which change %s tells, is not there', c.voucher_id, c.change_no)
  FROM loyalty.voucher_change c LEFT JOIN loyalty.voucher v ON v.member_id = c.member_id AND v.voucher_id = c.voucher_id
  WHERE v.member_id IS NULL LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_vouchers(integer) IS
  'part of verify(): redemptions have the vouchers that they made, each code that was given is in one of them, and what was done with a voucher says its state';
REVOKE ALL ON FUNCTION loyalty.verify_vouchers(integer) FROM PUBLIC;
