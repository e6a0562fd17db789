-- What a member's own role sees and does: access kind member.  No function takes a member: it is who the calling role is, by a row
-- that an administrator has written.  No setting counts, as whoever calls could set it; nor does membership in roles.

CREATE OR REPLACE FUNCTION loyalty.member_of_role(role_name text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT m.member_id FROM loyalty.member_role m
  WHERE m.role_name = member_of_role.role_name AND m.removed_at IS NULL AND m.role = to_regrole(quote_ident(member_of_role.role_name))
$$;
COMMENT ON FUNCTION loyalty.member_of_role(text) IS 'the member that a role is, NULL: none';
REVOKE ALL ON FUNCTION loyalty.member_of_role(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.calling_member(program text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.member_of_role(loyalty.caller());
BEGIN
  IF who IS NULL THEN
    RAISE EXCEPTION 'role "%" is no member', loyalty.caller()
      USING ERRCODE = 'LY016', HINT = 'An administrator says by loyalty.add_member_role() which member a role is.';
  END IF;
  IF program IS NOT NULL THEN
    PERFORM loyalty.check_program(program);
  END IF;
  RETURN who;
END $$;
COMMENT ON FUNCTION loyalty.calling_member(text) IS 'the member that the calling role is; raises LY016 when it is none, LY003 for a program that is not there';
REVOKE ALL ON FUNCTION loyalty.calling_member(text) FROM PUBLIC;

-- ---- which role is which member ----

CREATE OR REPLACE FUNCTION loyalty.add_member_role(member_id bigint, role regrole, may_redeem boolean DEFAULT false) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.add_member_role(bigint, regrole, boolean) IS
  'from now on this role is this member for my_balance() and the other functions of access kind member, with may_redeem also for my_redeem(); false when it was so already. LY017 when the role is another member, or sees all members';
REVOKE ALL ON FUNCTION loyalty.add_member_role(bigint, regrole, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.add_member_role_as_owner(in_member bigint, in_role regrole, in_may_redeem boolean) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.lock_member(in_member);
  its_name text := (SELECT r.rolname FROM pg_roles r WHERE r.oid = in_role);
  redeems boolean := coalesce(in_may_redeem, false);
  former loyalty.member_role;
BEGIN
  IF its_name IS NULL THEN
    RAISE EXCEPTION 'role % does not exist', coalesce(in_role::text, 'null')
      USING ERRCODE = 'LY017', HINT = 'CREATE ROLE makes one.';
  ELSIF has_table_privilege(in_role, 'loyalty.account', 'SELECT') OR has_function_privilege(in_role, 'loyalty.balance(bigint, text, timestamptz)', 'EXECUTE') THEN
    RAISE EXCEPTION 'role "%" can see all members', its_name
      USING ERRCODE = 'LY017', DETAIL = 'It is a superuser, or has another kind of access, itself or by a role that it is a member of.',
        HINT = 'Give the member a role of its own.';
  END IF;
  LOCK TABLE loyalty.member_role IN SHARE ROW EXCLUSIVE MODE;
  SELECT m.* INTO former FROM loyalty.member_role m WHERE m.role_name = its_name AND m.removed_at IS NULL;
  IF former.role = in_role AND former.member_id <> who THEN
    RAISE EXCEPTION 'role "%" is member %', its_name, former.member_id
      USING ERRCODE = 'LY017', HINT = 'loyalty.remove_member_role() ends that.';
  ELSIF former.role = in_role AND former.may_redeem = redeems THEN
    RETURN false;
  END IF;
  -- what it might, or another role of this name was, is over
  UPDATE loyalty.member_role m SET removed_at = statement_timestamp(), removed_by = session_user
  WHERE m.removed_at IS NULL AND (m.role_name = its_name OR m.role = in_role);
  INSERT INTO loyalty.member_role (member_id, role, role_name, may_redeem, added_at, by, set_role)
  VALUES (who, in_role, its_name, redeems, statement_timestamp(), session_user, loyalty.caller());
  RETURN true;
END $$;
COMMENT ON FUNCTION loyalty.add_member_role_as_owner(bigint, regrole, boolean) IS 'the body of add_member_role()';
REVOKE ALL ON FUNCTION loyalty.add_member_role_as_owner(bigint, regrole, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.remove_member_role(role regrole) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.remove_member_role(regrole) IS 'from now on this role is nobody; false when it was nobody';
REVOKE ALL ON FUNCTION loyalty.remove_member_role(regrole) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.remove_member_role_as_owner(in_role regrole) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE loyalty.member_role m SET removed_at = statement_timestamp(), removed_by = session_user WHERE m.role = in_role AND m.removed_at IS NULL;
  RETURN FOUND;
END $$;
COMMENT ON FUNCTION loyalty.remove_member_role_as_owner(regrole) IS 'the body of remove_member_role()';
REVOKE ALL ON FUNCTION loyalty.remove_member_role_as_owner(regrole) FROM PUBLIC;

-- ---- what the role calls ----

CREATE OR REPLACE FUNCTION loyalty.my_member() RETURNS bigint
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_member() IS
  'the member that the calling role is, NULL when it is none. For policies on tables of the application: in a query write (SELECT loyalty.my_member()), which asks once';
REVOKE ALL ON FUNCTION loyalty.my_member() FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_member_as_owner() RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN loyalty.member_of_role(loyalty.caller());
END $$;
COMMENT ON FUNCTION loyalty.my_member_as_owner() IS 'the body of my_member()';
REVOKE ALL ON FUNCTION loyalty.my_member_as_owner() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_balance(program text DEFAULT NULL)
RETURNS TABLE (program text, available numeric, pending numeric, held numeric, debt numeric, tier text, next_tier text, to_next_tier numeric,
  next_expiry_at timestamptz, next_expiry_points numeric, as_of timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_balance(text) IS 'member_balance of the calling member, in one program or all';
REVOKE ALL ON FUNCTION loyalty.my_balance(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_balance_as_owner(in_program text)
RETURNS TABLE (program text, available numeric, pending numeric, held numeric, debt numeric, tier text, next_tier text, to_next_tier numeric,
  next_expiry_at timestamptz, next_expiry_points numeric, as_of timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT b.program, b.available, b.pending, b.held, b.debt, b.tier, b.next_tier, b.to_next_tier, b.next_expiry_at, b.next_expiry_points, b.as_of
  FROM loyalty.member_balance b WHERE b.member_id = who AND (in_program IS NULL OR b.program = in_program) ORDER BY b.program;
END $$;
COMMENT ON FUNCTION loyalty.my_balance_as_owner(text) IS 'the body of my_balance()';
REVOKE ALL ON FUNCTION loyalty.my_balance_as_owner(text) FROM PUBLIC;

-- Who gave points, or got them, and with what words is that member's, too.
CREATE OR REPLACE FUNCTION loyalty.my_statement(program text DEFAULT NULL, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', most integer DEFAULT 100)
RETURNS TABLE (program text, entry_no bigint, at timestamptz, kind text, points numeric, balance_after numeric, what text, source text, source_key text,
  expires_at timestamptz, last_day date)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_statement(text, timestamptz, timestamptz, integer) IS 'the latest entries of the calling member in [since, until), newest first, so many at most (NULL: all)';
REVOKE ALL ON FUNCTION loyalty.my_statement(text, timestamptz, timestamptz, integer) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_statement_as_owner(in_program text, since timestamptz, until timestamptz, most integer)
RETURNS TABLE (program text, entry_no bigint, at timestamptz, kind text, points numeric, balance_after numeric, what text, source text, source_key text,
  expires_at timestamptz, last_day date)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT s.program, s.entry_no, s.at, s.kind, s.points, s.balance_after,
    CASE WHEN s.kind = 'merge' THEN 'two registrations became one' WHEN s.kind <> 'transfer' THEN s.what WHEN s.what LIKE 'another life%' THEN 'another life'
         WHEN s.points > 0 THEN 'from another member' ELSE 'to another member' END, s.source, s.source_key, s.expires_at, s.last_day
  FROM loyalty.statement s
  WHERE s.member_id = who AND (in_program IS NULL OR s.program = in_program) AND s.at >= coalesce(since, '-infinity') AND s.at < coalesce(until, 'infinity')
  ORDER BY s.at DESC, s.entry_no DESC NULLS FIRST LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.my_statement_as_owner(text, timestamptz, timestamptz, integer) IS 'the body of my_statement()';
REVOKE ALL ON FUNCTION loyalty.my_statement_as_owner(text, timestamptz, timestamptz, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_tier(program text DEFAULT NULL)
RETURNS TABLE (program text, tier text, held_until timestamptz, metric text, value numeric, next_tier text, to_next numeric, to_keep numeric,
  projected_tier text, falls_to text)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_tier(text) IS 'tier_standing of the calling member';
REVOKE ALL ON FUNCTION loyalty.my_tier(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_tier_as_owner(in_program text)
RETURNS TABLE (program text, tier text, held_until timestamptz, metric text, value numeric, next_tier text, to_next numeric, to_keep numeric,
  projected_tier text, falls_to text)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT t.program, t.tier, t.held_until, t.metric, t.value, t.next_tier, t.to_next, t.to_keep, t.projected_tier, t.falls_to
  FROM loyalty.tier_standing t WHERE t.member_id = who AND (in_program IS NULL OR t.program = in_program) ORDER BY t.program;
END $$;
COMMENT ON FUNCTION loyalty.my_tier_as_owner(text) IS 'the body of my_tier()';
REVOKE ALL ON FUNCTION loyalty.my_tier_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_expiring(program text DEFAULT NULL)
RETURNS TABLE (program text, last_day date, expires_at timestamptz, points numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_expiring(text) IS 'points of the calling member that will die, by the day';
REVOKE ALL ON FUNCTION loyalty.my_expiring(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_expiring_as_owner(in_program text)
RETURNS TABLE (program text, last_day date, expires_at timestamptz, points numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT e.program, e.last_day, e.expires_at, e.points FROM loyalty.expiring e
  WHERE e.member_id = who AND (in_program IS NULL OR e.program = in_program) ORDER BY e.expires_at, e.program;
END $$;
COMMENT ON FUNCTION loyalty.my_expiring_as_owner(text) IS 'the body of my_expiring()';
REVOKE ALL ON FUNCTION loyalty.my_expiring_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_rewards(program text DEFAULT NULL)
RETURNS TABLE (reward text, kind text, cost numeric, value numeric, value_unit text, affordable boolean, missing numeric, why_not text,
  again_at timestamptz, left_over bigint, ends_at timestamptz, argument text)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_rewards(text) IS 'rewards_for() the calling member, now';
REVOKE ALL ON FUNCTION loyalty.my_rewards(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_rewards_as_owner(in_program text)
RETURNS TABLE (reward text, kind text, cost numeric, value numeric, value_unit text, affordable boolean, missing numeric, why_not text,
  again_at timestamptz, left_over bigint, ends_at timestamptz, argument text)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY SELECT r.* FROM loyalty.rewards_for(who, in_program) r;
END $$;
COMMENT ON FUNCTION loyalty.my_rewards_as_owner(text) IS 'the body of my_rewards()';
REVOKE ALL ON FUNCTION loyalty.my_rewards_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_vouchers(program text DEFAULT NULL)
RETURNS TABLE (voucher_id bigint, reward text, kind text, code text, value numeric, value_unit text, state text, issued_at timestamptz,
  valid_until timestamptz, last_day date, reference text, redemption_id bigint, argument text, left_over numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_vouchers(text) IS 'vouchers() of the calling member with their codes, now';
REVOKE ALL ON FUNCTION loyalty.my_vouchers(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_vouchers_as_owner(in_program text)
RETURNS TABLE (voucher_id bigint, reward text, kind text, code text, value numeric, value_unit text, state text, issued_at timestamptz,
  valid_until timestamptz, last_day date, reference text, redemption_id bigint, argument text, left_over numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY SELECT v.* FROM loyalty.vouchers(who, in_program) v;
END $$;
COMMENT ON FUNCTION loyalty.my_vouchers_as_owner(text) IS 'the body of my_vouchers()';
REVOKE ALL ON FUNCTION loyalty.my_vouchers_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_benefits(program text DEFAULT NULL)
RETURNS TABLE (program text, benefit text, kind text, title text, value text, because text, since timestamptz, until timestamptz,
  quantity integer, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_benefits(text) IS 'member_benefits() of the calling member, now';
REVOKE ALL ON FUNCTION loyalty.my_benefits(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_benefits_as_owner(in_program text)
RETURNS TABLE (program text, benefit text, kind text, title text, value text, because text, since timestamptz, until timestamptz,
  quantity integer, used bigint, left_over bigint, period_end timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY SELECT b.* FROM loyalty.member_benefits(who, program => in_program) b;
END $$;
COMMENT ON FUNCTION loyalty.my_benefits_as_owner(text) IS 'the body of my_benefits()';
REVOKE ALL ON FUNCTION loyalty.my_benefits_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_offers(program text DEFAULT NULL)
RETURNS TABLE (offer text, title text, state text, activated_at timestamptz, until timestamptz, uses bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_offers(text) IS 'offers_for() the calling member, now';
REVOKE ALL ON FUNCTION loyalty.my_offers(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_offers_as_owner(in_program text)
RETURNS TABLE (offer text, title text, state text, activated_at timestamptz, until timestamptz, uses bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY SELECT o.* FROM loyalty.offers_for(who, in_program) o;
END $$;
COMMENT ON FUNCTION loyalty.my_offers_as_owner(text) IS 'the body of my_offers()';
REVOKE ALL ON FUNCTION loyalty.my_offers_as_owner(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.my_challenges(program text DEFAULT NULL)
RETURNS TABLE (program text, challenge text, kind text, metric text, value numeric, target numeric, to_go numeric, completed numeric,
  completed_at timestamptz, deadline timestamptz, streak bigint, streak_target integer, joined_at timestamptz)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_challenges(text) IS 'challenge_progress of the calling member';
REVOKE ALL ON FUNCTION loyalty.my_challenges(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_challenges_as_owner(in_program text)
RETURNS TABLE (program text, challenge text, kind text, metric text, value numeric, target numeric, to_go numeric, completed numeric,
  completed_at timestamptz, deadline timestamptz, streak bigint, streak_target integer, joined_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT c.program, c.challenge, c.kind, c.metric, c.value, c.target, c.to_go, c.completed::numeric, c.completed_at, c.deadline, c.streak::bigint, c.streak_target, c.joined_at
  FROM loyalty.challenge_progress c WHERE c.member_id = who AND (in_program IS NULL OR c.program = in_program) ORDER BY c.program, c.challenge;
END $$;
COMMENT ON FUNCTION loyalty.my_challenges_as_owner(text) IS 'the body of my_challenges()';
REVOKE ALL ON FUNCTION loyalty.my_challenges_as_owner(text) FROM PUBLIC;

-- Who burns for the pool sees what there is to burn; nobody sees what another one has.
CREATE OR REPLACE FUNCTION loyalty.my_pools(program text DEFAULT NULL)
RETURNS TABLE (program text, pool text, kind text, role text, joined_at timestamptz, members bigint, available numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_pools(text) IS 'the pools that the calling member is in: its role there, how many they are, and for who may burn (owner, burner) what can be burnt';
REVOKE ALL ON FUNCTION loyalty.my_pools(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_pools_as_owner(in_program text)
RETURNS TABLE (program text, pool text, kind text, role text, joined_at timestamptz, members bigint, available numeric)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  RETURN QUERY
  SELECT b.program, b.name, b.kind, m.role, m.joined_at, b.members, CASE WHEN m.role IN ('owner', 'burner') THEN b.available END
  FROM loyalty.pool_member m JOIN loyalty.pool_balance b ON b.pool_id = m.pool_id
  WHERE m.member_id = who AND m.left_at IS NULL AND (in_program IS NULL OR b.program = in_program) ORDER BY b.program;
END $$;
COMMENT ON FUNCTION loyalty.my_pools_as_owner(text) IS 'the body of my_pools()';
REVOKE ALL ON FUNCTION loyalty.my_pools_as_owner(text) FROM PUBLIC;

-- A reward for its cost, once and for all: no bare points, no hold.  Its keys are its own: none is used up that another caller goes by.
CREATE OR REPLACE FUNCTION loyalty.my_redeem(reward text, quantity integer DEFAULT 1, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (redemption_id bigint, points numeric, state text, voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE c VOLATILE ROWS 1 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.my_redeem(text, integer, text, text) IS 'spend the calling member''s points for a reward, where add_member_role(may_redeem) allows it; the same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.my_redeem(text, integer, text, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.my_redeem_as_owner(in_reward text, in_quantity integer, in_program text, key text)
RETURNS TABLE (redemption_id bigint, points numeric, state text, voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.calling_member(in_program);
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.member_role m WHERE m.member_id = who AND m.role_name = loyalty.caller() AND m.removed_at IS NULL AND m.may_redeem) THEN
    RAISE EXCEPTION 'role "%" may not redeem', loyalty.caller()
      USING ERRCODE = 'LY016', HINT = 'loyalty.add_member_role(…, may_redeem => true) allows it.';
  ELSIF in_reward IS NULL THEN
    RAISE EXCEPTION 'reward is null' USING ERRCODE = 'LY017', HINT = 'loyalty.my_rewards() lists what there is.';
  END IF;
  RETURN QUERY SELECT r.* FROM loyalty.redeem(who, in_reward, quantity => in_quantity, program => in_program, key => 'member: ' || key) r;
END $$;
COMMENT ON FUNCTION loyalty.my_redeem_as_owner(text, integer, text, text) IS 'the body of my_redeem()';
REVOKE ALL ON FUNCTION loyalty.my_redeem_as_owner(text, integer, text, text) FROM PUBLIC;

