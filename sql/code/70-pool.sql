-- Pools: who is in, their tier, and burns across the accounts of all.  Whoever changes or burns a pool locks its row, then the accounts in
-- the order of all locks; so do sales where a pool shares its tier, and else they lock accounts alone: nobody waits in a ring.  Membership changes update the row, so that a burn of an older snapshot fails.

CREATE OR REPLACE FUNCTION loyalty.redeem_share(
  member_id bigint, reward text, points numeric, quantity integer, program text, key text, hold interval, reason text)
RETURNS TABLE (redemption_id bigint, points numeric, state text, voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_redeem_share';
COMMENT ON FUNCTION loyalty.redeem_share(bigint, text, numeric, integer, text, text, interval, text) IS
  'inside of rooms where several pay: redeem() of a part of what a reward costs';
REVOKE ALL ON FUNCTION loyalty.redeem_share(bigint, text, numeric, integer, text, text, interval, text) FROM PUBLIC;

-- The pool in which a member is, its row locked; NULL: none.
CREATE OR REPLACE FUNCTION loyalty.lock_pool_of(member_id bigint, program_id integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_pool bigint;
BEGIN
  LOOP
    SELECT m.pool_id INTO found_pool FROM loyalty.pool_member m
    WHERE m.member_id = lock_pool_of.member_id AND m.program_id = lock_pool_of.program_id AND m.left_at IS NULL;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
    PERFORM FROM loyalty.pool p WHERE p.pool_id = found_pool FOR UPDATE;
    -- who left while we waited is in another one, or in none
    IF EXISTS (SELECT FROM loyalty.pool_member m WHERE m.member_id = lock_pool_of.member_id AND m.pool_id = found_pool AND m.left_at IS NULL) THEN
      RETURN found_pool;
    END IF;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.lock_pool_of(bigint, integer) IS 'the pool of a member, locked; NULL: none';
REVOKE ALL ON FUNCTION loyalty.lock_pool_of(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.refuse_no_pool(member_id bigint, program_id integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION 'member % is in no pool of program "%"', member_id, (SELECT p.name FROM loyalty.program p WHERE p.id = refuse_no_pool.program_id)
    USING ERRCODE = 'LY006', HINT = 'loyalty.create_pool() makes one, loyalty.join_pool() puts members in.';
END $$;
COMMENT ON FUNCTION loyalty.refuse_no_pool(bigint, integer) IS 'raise LY006: the member is in no pool';
REVOKE ALL ON FUNCTION loyalty.refuse_no_pool(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_pool_role(role text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF role IS NULL OR role NOT IN ('owner', 'burner', 'member') THEN
    RAISE EXCEPTION 'role "%" is not known', role USING ERRCODE = 'LY017', HINT = 'It is owner, burner or member.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_pool_role(text) IS 'raise LY017 unless this is a role in a pool';
REVOKE ALL ON FUNCTION loyalty.check_pool_role(text) FROM PUBLIC;

-- asked_by NULL: the application answers for it.
CREATE OR REPLACE FUNCTION loyalty.check_pool_owner(pool_id bigint, asked_by bigint) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
  IF asked_by IS NOT NULL AND NOT EXISTS (
    SELECT FROM loyalty.pool_member m WHERE m.member_id = asked_by AND m.pool_id = check_pool_owner.pool_id AND m.left_at IS NULL AND m.role = 'owner') THEN
    RAISE EXCEPTION 'member % is no owner of pool %', asked_by, pool_id USING ERRCODE = 'LY016', HINT = 'Its owners say who is in it and who burns.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_pool_owner(bigint, bigint) IS 'raise LY016 unless this member is an owner of the pool';
REVOKE ALL ON FUNCTION loyalty.check_pool_owner(bigint, bigint) FROM PUBLIC;

-- A pool that members are left in has an owner: of those who are longest in it, a burner before others.
CREATE OR REPLACE FUNCTION loyalty.pool_changed(pool_id bigint, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  heir loyalty.pool_member;
BEGIN
  UPDATE loyalty.pool p SET changed_at = greatest(p.changed_at, pool_changed.at) WHERE p.pool_id = pool_changed.pool_id;
  IF EXISTS (SELECT FROM loyalty.pool_member m WHERE m.pool_id = pool_changed.pool_id AND m.left_at IS NULL AND m.role = 'owner') THEN
    RETURN;
  END IF;
  SELECT m.* INTO heir FROM loyalty.pool_member m WHERE m.pool_id = pool_changed.pool_id AND m.left_at IS NULL
  ORDER BY m.role <> 'burner', (SELECT min(f.place) FROM loyalty.pool_member f WHERE f.pool_id = m.pool_id AND f.member_id = m.member_id), m.member_id LIMIT 1;
  IF FOUND THEN
    PERFORM loyalty.put_pool_member(heir.member_id, heir.pool_id, heir.program_id, 'owner', greatest(pool_changed.at, heir.joined_at), NULL);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.pool_changed(bigint, timestamptz) IS 'after somebody joined, left or got another role: who has an older snapshot fails, and somebody is the owner';
REVOKE ALL ON FUNCTION loyalty.pool_changed(bigint, timestamptz) FROM PUBLIC;

-- role NULL: out of it.
CREATE OR REPLACE FUNCTION loyalty.put_pool_member(member_id bigint, pool_id bigint, program_id integer, role text, at timestamptz, asked_by bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE loyalty.pool_member m SET left_at = greatest(m.joined_at, put_pool_member.at)
  WHERE m.member_id = put_pool_member.member_id AND m.pool_id = put_pool_member.pool_id AND m.left_at IS NULL;
  INSERT INTO loyalty.pool_member (member_id, pool_id, program_id, role, joined_at, asked_by, by, set_role)
  SELECT put_pool_member.member_id, put_pool_member.pool_id, put_pool_member.program_id, put_pool_member.role, put_pool_member.at, put_pool_member.asked_by,
    session_user, loyalty.caller()
  WHERE put_pool_member.role IS NOT NULL;
END $$;
COMMENT ON FUNCTION loyalty.put_pool_member(bigint, bigint, integer, text, timestamptz, bigint) IS 'from now on a member is this in a pool';
REVOKE ALL ON FUNCTION loyalty.put_pool_member(bigint, bigint, integer, text, timestamptz, bigint) FROM PUBLIC;

-- ---- who is in ----

CREATE OR REPLACE FUNCTION loyalty.create_pool(member_id bigint, name text, kind text DEFAULT 'household', program text DEFAULT NULL, key text DEFAULT NULL,
  shares_tier boolean DEFAULT false)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.create_pool(bigint, text, text, text, text, boolean) IS 'make a household or a company with this member as its owner; returns pool_id. shares_tier: its members have at least the tier that their figures give together. The same key and arguments again give the same pool';
REVOKE ALL ON FUNCTION loyalty.create_pool(bigint, text, text, text, text, boolean) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.create_pool_as_owner(member_id bigint, name text, kind text, program text, key text, shares_tier boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.member_now(member_id);
  program_name text := loyalty.program_name(program);
  program_no integer := (SELECT p.id FROM loyalty.program p WHERE p.name = program_name);
  arguments json := json_build_object('name', name, 'kind', kind, 'shares_tier', nullif(shares_tier, false));
  former jsonb;
  at timestamptz;
  pool_no bigint;
BEGIN
  PERFORM loyalty.check_name('pool', coalesce(name, ''));
  IF kind IS NULL OR kind NOT IN ('household', 'company') THEN
    RAISE EXCEPTION 'kind "%" is not known', kind USING ERRCODE = 'LY017', HINT = 'It is household or company.';
  END IF;
  PERFORM loyalty.call_begin(who, program_no);
  former := loyalty.find_call(who, program_no, key, 'create_pool', arguments);
  IF former IS NOT NULL THEN
    RETURN (former ->> 'pool_id')::bigint;
  END IF;
  PERFORM loyalty.check_active(who, program_no), loyalty.check_in_no_pool(who, program_no);
  at := loyalty.account_instant(who, program_no);
  INSERT INTO loyalty.pool (program_id, name, kind, created_at, changed_at, by, set_role)
  VALUES (program_no, create_pool_as_owner.name, create_pool_as_owner.kind, at, at, session_user, loyalty.caller()) RETURNING pool_id INTO pool_no;
  PERFORM loyalty.put_pool_member(who, pool_no, program_no, 'owner', at, NULL);
  IF shares_tier THEN
    PERFORM loyalty.begin_sharing(pool_no, program_no, at);
  END IF;
  PERFORM loyalty.keep_call(who, program_no, key, 'create_pool', arguments, at, jsonb_build_object('pool_id', pool_no));
  RETURN pool_no;
END $$;
COMMENT ON FUNCTION loyalty.create_pool_as_owner(bigint, text, text, text, text, boolean) IS 'the body of create_pool()';
REVOKE ALL ON FUNCTION loyalty.create_pool_as_owner(bigint, text, text, text, text, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_in_no_pool(member_id bigint, program_id integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other bigint;
BEGIN
  SELECT m.pool_id INTO other FROM loyalty.pool_member m
  WHERE m.member_id = check_in_no_pool.member_id AND m.program_id = check_in_no_pool.program_id AND m.left_at IS NULL;
  IF FOUND THEN
    RAISE EXCEPTION 'member % is in pool % already', member_id, other USING ERRCODE = 'LY006', HINT = 'Call loyalty.leave_pool() first: a member is in one pool of a program at a time.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_in_no_pool(bigint, integer) IS 'raise LY006 when the member is in a pool of the program';
REVOKE ALL ON FUNCTION loyalty.check_in_no_pool(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.join_pool(member_id bigint, pool_id bigint, role text DEFAULT 'member', asked_by bigint DEFAULT NULL, key text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.join_pool(bigint, bigint, text, bigint, text) IS
  'put a member into a pool, from now on; asked_by: the owner on whose word; false when it was so already. What was earned before can be burnt, too';
REVOKE ALL ON FUNCTION loyalty.join_pool(bigint, bigint, text, bigint, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.join_pool_as_owner(member_id bigint, pool_id bigint, role text, asked_by bigint, key text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.member_now(member_id);
  program_no integer;
  arguments json := json_build_object('pool_id', pool_id, 'role', role, 'asked_by', asked_by);
  former jsonb;
  at timestamptz;
  new boolean;
BEGIN
  PERFORM loyalty.check_pool_role(role);
  SELECT p.program_id INTO program_no FROM loyalty.pool p WHERE p.pool_id = join_pool_as_owner.pool_id FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no pool %', pool_id USING ERRCODE = 'LY017', HINT = 'loyalty.create_pool() returns its number.';
  END IF;
  PERFORM loyalty.lock_accounts(program_no, loyalty.pool_accounts(pool_id) || who);
  former := loyalty.find_call(who, program_no, key, 'join_pool', arguments);
  IF former IS NOT NULL THEN
    RETURN (former ->> 'joined')::boolean;
  END IF;
  PERFORM loyalty.check_active(who, program_no);
  PERFORM loyalty.check_pool_owner(pool_id, loyalty.member_now(asked_by)) WHERE asked_by IS NOT NULL;
  new := NOT EXISTS (SELECT FROM loyalty.pool_member m
    WHERE m.member_id = who AND m.pool_id = join_pool_as_owner.pool_id AND m.left_at IS NULL AND m.role = join_pool_as_owner.role);
  at := loyalty.account_instant(who, program_no);
  IF new THEN
    PERFORM loyalty.check_in_no_pool(who, program_no);
    IF (SELECT count(*) FROM loyalty.pool_member m WHERE m.pool_id = join_pool_as_owner.pool_id AND m.left_at IS NULL) >= 1000 THEN
      RAISE EXCEPTION 'pool % is full', pool_id USING ERRCODE = 'LY008', DETAIL = 'A pool has at most 1000 members.';
    END IF;
    PERFORM loyalty.put_pool_member(who, pool_id, program_no, role, at, asked_by), loyalty.pool_changed(pool_id, at);
    PERFORM loyalty.review_pools_of(program_no, ARRAY[who]);
  END IF;
  PERFORM loyalty.keep_call(who, program_no, key, 'join_pool', arguments, at, jsonb_build_object('joined', new));
  RETURN new;
END $$;
COMMENT ON FUNCTION loyalty.join_pool_as_owner(bigint, bigint, text, bigint, text) IS 'the body of join_pool()';
REVOKE ALL ON FUNCTION loyalty.join_pool_as_owner(bigint, bigint, text, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.leave_pool(member_id bigint, program text DEFAULT NULL, asked_by bigint DEFAULT NULL, key text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.leave_pool(bigint, text, bigint, text) IS
  'take a member, with all points, out of their pool; false when they were in none. When its last owner goes, the burner, else the member, who is longest in it is the owner';
REVOKE ALL ON FUNCTION loyalty.leave_pool(bigint, text, bigint, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.leave_pool_as_owner(member_id bigint, program text, asked_by bigint, key text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN loyalty.change_pool_role(member_id, NULL, program, asked_by, key, 'leave_pool');
END $$;
COMMENT ON FUNCTION loyalty.leave_pool_as_owner(bigint, text, bigint, text) IS 'the body of leave_pool()';
REVOKE ALL ON FUNCTION loyalty.leave_pool_as_owner(bigint, text, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.pool_role(member_id bigint, role text, program text DEFAULT NULL, asked_by bigint DEFAULT NULL, key text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.pool_role(bigint, text, text, bigint, text) IS 'make a member owner, burner or member of their pool, from now on; false when it was so already';
REVOKE ALL ON FUNCTION loyalty.pool_role(bigint, text, text, bigint, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.pool_role_as_owner(member_id bigint, role text, program text, asked_by bigint, key text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.check_pool_role(role);
  RETURN loyalty.change_pool_role(member_id, role, program, asked_by, key, 'pool_role');
END $$;
COMMENT ON FUNCTION loyalty.pool_role_as_owner(bigint, text, text, bigint, text) IS 'the body of pool_role()';
REVOKE ALL ON FUNCTION loyalty.pool_role_as_owner(bigint, text, text, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.change_pool_role(member_id bigint, role text, program text, asked_by bigint, key text, call text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.member_now(member_id);
  program_name text := loyalty.program_name(program);
  program_no integer := (SELECT p.id FROM loyalty.program p WHERE p.name = program_name);
  arguments json := json_build_object('role', role, 'asked_by', asked_by);
  pool_no bigint;
  former jsonb;
  at timestamptz;
  changed boolean := false;
BEGIN
  pool_no := loyalty.lock_pool_of(who, program_no);
  PERFORM loyalty.lock_accounts(program_no, loyalty.pool_accounts(pool_no) || who);
  former := loyalty.find_call(who, program_no, key, call, arguments);
  IF former IS NOT NULL THEN
    RETURN (former ->> 'changed')::boolean;
  END IF;
  at := loyalty.account_instant(who, program_no);
  IF pool_no IS NULL AND role IS NOT NULL THEN
    PERFORM loyalty.refuse_no_pool(who, program_no);
  ELSIF pool_no IS NOT NULL THEN
    PERFORM loyalty.check_pool_owner(pool_no, loyalty.member_now(asked_by)) WHERE asked_by IS NOT NULL;
    changed := NOT EXISTS (SELECT FROM loyalty.pool_member m WHERE m.member_id = who AND m.pool_id = pool_no AND m.left_at IS NULL AND m.role = change_pool_role.role);
  END IF;
  IF changed THEN
    PERFORM loyalty.put_pool_member(who, pool_no, program_no, role, at, asked_by);
    PERFORM loyalty.pool_changed(pool_no, at);
    IF role IS NULL THEN
      PERFORM loyalty.leave_tier(who, pool_no, program_no, at);
    END IF;
  END IF;
  PERFORM loyalty.keep_call(who, program_no, key, call, arguments, at, jsonb_build_object('changed', changed));
  RETURN changed;
END $$;
COMMENT ON FUNCTION loyalty.change_pool_role(bigint, text, text, bigint, text, text) IS 'part of pool_role() and leave_pool()';
REVOKE ALL ON FUNCTION loyalty.change_pool_role(bigint, text, text, bigint, text, text) FROM PUBLIC;

-- ---- the tier of a pool ----

-- Where a pool shares its tier, whoever changes who is in it or what they have counted locks the pool and then all of these.
CREATE OR REPLACE FUNCTION loyalty.pool_accounts(pool_id bigint) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN coalesce((
    SELECT array_agg(m.member_id) FROM loyalty.pool_member m JOIN loyalty.pool o ON o.pool_id = m.pool_id
    WHERE m.pool_id = pool_accounts.pool_id AND m.left_at IS NULL AND o.shares_tier), '{}');
END $$;
COMMENT ON FUNCTION loyalty.pool_accounts(bigint) IS 'who is in a pool that shares its tier; none of another';
REVOKE ALL ON FUNCTION loyalty.pool_accounts(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.review_pool(pool_id bigint, program_id integer, members bigint[], at timestamptz) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_review_pool';
COMMENT ON FUNCTION loyalty.review_pool(bigint, integer, bigint[], timestamptz) IS
  'the tier of a pool that shares it follows the figures of its members, who are locked, and they have it, at this instant or the greatest one of theirs; pool_id 0: these are in none, and have their own alone';
REVOKE ALL ON FUNCTION loyalty.review_pool(bigint, integer, bigint[], timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.pool_of(member_id bigint, program_id integer) RETURNS TABLE (pool_id bigint, members bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT o.pool_id, array_agg(m.member_id) FROM loyalty.pool_member i
  JOIN loyalty.pool o ON o.pool_id = i.pool_id AND o.shares_tier
  JOIN loyalty.pool_member m ON m.pool_id = o.pool_id AND m.left_at IS NULL
  WHERE i.member_id = pool_of.member_id AND i.program_id = pool_of.program_id AND i.left_at IS NULL
  GROUP BY o.pool_id;
END $$;
COMMENT ON FUNCTION loyalty.pool_of(bigint, integer) IS 'the pool of a member that shares its tier, and who is in it; no row: none';
REVOKE ALL ON FUNCTION loyalty.pool_of(bigint, integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.program_shares_tiers(program_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN EXISTS (SELECT FROM loyalty.tier_sharing s WHERE s.program_id = program_shares_tiers.program_id);
END $$;
COMMENT ON FUNCTION loyalty.program_shares_tiers(integer) IS 'does any pool of the program share its tier, or has it';
REVOKE ALL ON FUNCTION loyalty.program_shares_tiers(integer) FROM PUBLIC;

-- The pools of these members, locked so that nobody joins or leaves, and who is in those that share their tier.
CREATE OR REPLACE FUNCTION loyalty.pools_involve(program_id integer, members bigint[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pools bigint[];
  locked bigint[] := '{}';
BEGIN
  LOOP
    SELECT coalesce(array_agg(DISTINCT m.pool_id), '{}') INTO pools FROM loyalty.pool_member m
    WHERE m.member_id = ANY (members) AND m.program_id = pools_involve.program_id AND m.left_at IS NULL;
    -- in order, as DISTINCT leaves them: there may be many
    EXIT WHEN pools = locked;
    PERFORM FROM loyalty.pool o WHERE o.pool_id = ANY (pools) ORDER BY o.pool_id FOR SHARE;
    locked := pools;
  END LOOP;
  RETURN (SELECT array_agg(m.member_id) FROM loyalty.pool_member m JOIN loyalty.pool o ON o.pool_id = m.pool_id
          WHERE m.pool_id = ANY (pools) AND m.left_at IS NULL AND o.shares_tier);
END $$;
COMMENT ON FUNCTION loyalty.pools_involve(integer, bigint[]) IS 'part of sales_involve(): who has the tier of a pool that one of these members is in';
REVOKE ALL ON FUNCTION loyalty.pools_involve(integer, bigint[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.lock_pools_of(program_id integer, members bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.lock_accounts(program_id, loyalty.pools_involve(program_id, members) || members);
END $$;
COMMENT ON FUNCTION loyalty.lock_pools_of(integer, bigint[]) IS 'lock the pools of these members, then the accounts of all who have their tiers, and of the members';
REVOKE ALL ON FUNCTION loyalty.lock_pools_of(integer, bigint[]) FROM PUBLIC;

-- members NULL: those of all pools.
CREATE OR REPLACE FUNCTION loyalty.review_pools_of(program_id integer, members bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  pool bigint;
BEGIN
  FOR pool IN
    SELECT o.pool_id FROM loyalty.pool o
    WHERE members IS NOT NULL AND o.shares_tier AND o.pool_id IN (
      SELECT m.pool_id FROM loyalty.pool_member m WHERE m.member_id = ANY (members) AND m.program_id = review_pools_of.program_id AND m.left_at IS NULL)
    UNION ALL
    SELECT o.pool_id FROM loyalty.pool o WHERE members IS NULL AND o.shares_tier AND o.program_id = review_pools_of.program_id
    ORDER BY 1
  LOOP
    PERFORM loyalty.review_pool(pool, review_pools_of.program_id, loyalty.pool_accounts(pool), '-infinity');
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.review_pools_of(integer, bigint[]) IS 'the tiers of the pools of these members follow what these have counted; all who have them are locked';
REVOKE ALL ON FUNCTION loyalty.review_pools_of(integer, bigint[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_pools(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.review_pools_of(program_id, (SELECT array_agg(DISTINCT s.member_id) FROM unnest(sales) s));
END $$;
COMMENT ON FUNCTION loyalty.follow_pools(integer, loyalty.sale[]) IS 'part of follow_sales(): the tiers of pools';
REVOKE ALL ON FUNCTION loyalty.follow_pools(integer, loyalty.sale[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.review_pools(program text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.review_pools(text) IS 'find the tiers of all pools that share them anew from what their members have counted; returns how many pools. apply_tiers() calls it';
REVOKE ALL ON FUNCTION loyalty.review_pools(text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.review_pools_as_owner(program text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  program_no integer := (SELECT p.id FROM loyalty.program p WHERE p.name = loyalty.program_name(review_pools_as_owner.program));
  members bigint[];
BEGIN
  SELECT array_agg(m.member_id) INTO members FROM loyalty.pool_member m JOIN loyalty.pool o ON o.pool_id = m.pool_id
  WHERE o.program_id = program_no AND o.shares_tier AND m.left_at IS NULL;
  IF members IS NOT NULL THEN
    PERFORM loyalty.lock_pools_of(program_no, members);
    PERFORM loyalty.review_pools_of(program_no, members);
  END IF;
  RETURN (SELECT count(*) FROM loyalty.pool o WHERE o.program_id = program_no AND o.shares_tier);
END $$;
COMMENT ON FUNCTION loyalty.review_pools_as_owner(text) IS 'the body of review_pools()';
REVOKE ALL ON FUNCTION loyalty.review_pools_as_owner(text) FROM PUBLIC;

-- Periods of a pool are those of all of its members.
CREATE OR REPLACE FUNCTION loyalty.check_pools_count(program_id integer, program text, period text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF period = 'membership year' AND EXISTS (SELECT FROM loyalty.pool o WHERE o.program_id = check_pools_count.program_id AND o.shares_tier) THEN
    RAISE EXCEPTION 'tiers of program "%" cannot be counted by membership year: pools share them', program
      USING ERRCODE = 'LY017', HINT = 'Each member of a pool would have a year of their own: take a period that is the same for all.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_pools_count(integer, text, text) IS 'raise LY017 unless all members of a pool have the same period';
REVOKE ALL ON FUNCTION loyalty.check_pools_count(integer, text, text) FROM PUBLIC;

-- All are locked.
CREATE OR REPLACE FUNCTION loyalty.begin_sharing(pool_id bigint, program_id integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO loyalty.tier_sharing (program_id, since) VALUES (begin_sharing.program_id, at) ON CONFLICT ON CONSTRAINT tier_sharing_pkey DO NOTHING;
  UPDATE loyalty.pool o SET shares_tier = true WHERE o.pool_id = begin_sharing.pool_id;
  PERFORM loyalty.check_pools_count(p.id, p.name, v.period) FROM loyalty.program p JOIN loyalty.ladder_now n ON n.program_id = p.id
  CROSS JOIN LATERAL (VALUES (p.tier_period::text), (n.tier_period)) v (period) WHERE p.id = begin_sharing.program_id;
  PERFORM loyalty.review_pool(begin_sharing.pool_id, begin_sharing.program_id, loyalty.pool_accounts(begin_sharing.pool_id), at);
END $$;
COMMENT ON FUNCTION loyalty.begin_sharing(bigint, integer, timestamptz) IS 'part of create_pool() and share_pool_tier()';
REVOKE ALL ON FUNCTION loyalty.begin_sharing(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.end_sharing(pool_id bigint, program_id integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  members bigint[] := loyalty.pool_accounts(pool_id);
BEGIN
  UPDATE loyalty.pool o SET shares_tier = false WHERE o.pool_id = end_sharing.pool_id;
  DELETE FROM loyalty.shared_tier t WHERE t.pool_id = end_sharing.pool_id;
  PERFORM loyalty.review_pool(0, end_sharing.program_id, members, at);
END $$;
COMMENT ON FUNCTION loyalty.end_sharing(bigint, integer, timestamptz) IS 'part of share_pool_tier()';
REVOKE ALL ON FUNCTION loyalty.end_sharing(bigint, integer, timestamptz) FROM PUBLIC;

-- Who has left has their own tier alone, and the pool what the others have counted.
CREATE OR REPLACE FUNCTION loyalty.leave_tier(member_id bigint, pool_id bigint, program_id integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM loyalty.pool o WHERE o.pool_id = leave_tier.pool_id AND o.shares_tier) THEN
    PERFORM loyalty.review_pool(0, program_id, ARRAY[member_id], at), loyalty.review_pool(pool_id, program_id, loyalty.pool_accounts(pool_id), at);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.leave_tier(bigint, bigint, integer, timestamptz) IS 'part of leave_pool()';
REVOKE ALL ON FUNCTION loyalty.leave_tier(bigint, bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.share_pool_tier(member_id bigint, shares boolean DEFAULT true, program text DEFAULT NULL, asked_by bigint DEFAULT NULL, key text DEFAULT NULL)
RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.share_pool_tier(bigint, boolean, text, bigint, text) IS
  'let the pool of this member share its tier from now on, or not any more: all members have at least the tier that their figures give together; false when it was so already';
REVOKE ALL ON FUNCTION loyalty.share_pool_tier(bigint, boolean, text, bigint, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.share_pool_tier_as_owner(member_id bigint, shares boolean, program text, asked_by bigint, key text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  who bigint := loyalty.member_now(member_id);
  program_name text := loyalty.program_name(program);
  program_no integer := (SELECT p.id FROM loyalty.program p WHERE p.name = program_name);
  arguments json := json_build_object('shares', shares, 'asked_by', asked_by);
  pool_no bigint := loyalty.lock_pool_of(who, program_no);
  former jsonb;
  at timestamptz;
  changed boolean;
BEGIN
  IF shares IS NULL THEN
    RAISE EXCEPTION 'shares is null' USING ERRCODE = 'LY017', HINT = 'Say true or false.';
  END IF;
  PERFORM loyalty.lock_accounts(program_no, (SELECT array_agg(m.member_id) FROM loyalty.pool_member m WHERE m.pool_id = pool_no AND m.left_at IS NULL) || who);
  former := loyalty.find_call(who, program_no, key, 'share_pool_tier', arguments);
  IF former IS NOT NULL THEN
    RETURN (former ->> 'changed')::boolean;
  END IF;
  PERFORM loyalty.refuse_no_pool(who, program_no) WHERE pool_no IS NULL;
  PERFORM loyalty.check_pool_owner(pool_no, loyalty.member_now(asked_by)) WHERE asked_by IS NOT NULL;
  at := loyalty.account_instant(who, program_no);
  changed := EXISTS (SELECT FROM loyalty.pool o WHERE o.pool_id = pool_no AND o.shares_tier <> shares);
  IF changed AND shares THEN
    PERFORM loyalty.begin_sharing(pool_no, program_no, at);
  ELSIF changed THEN
    PERFORM loyalty.end_sharing(pool_no, program_no, at);
  END IF;
  PERFORM loyalty.keep_call(who, program_no, key, 'share_pool_tier', arguments, at, jsonb_build_object('changed', changed));
  RETURN changed;
END $$;
COMMENT ON FUNCTION loyalty.share_pool_tier_as_owner(bigint, boolean, text, bigint, text) IS 'the body of share_pool_tier()';
REVOKE ALL ON FUNCTION loyalty.share_pool_tier_as_owner(bigint, boolean, text, bigint, text) FROM PUBLIC;

-- ---- burning ----

-- Lots of all members in one order: those first that die first, of equals those that were written first, then by member.
-- Accounts that are blocked or owe something pay nothing.  The accounts are locked; what is due is written down.
CREATE OR REPLACE FUNCTION loyalty.pool_shares(program_id integer, members bigint[], needed bigint) RETURNS TABLE (member_id bigint, points bigint, place bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  who bigint;
  now_here timestamptz := loyalty.writing_instant(pool_shares.program_id);
BEGIN
  FOREACH who IN ARRAY members LOOP
    PERFORM FROM loyalty.settle_batch(who, pool_shares.program_id - 1, 1);
  END LOOP;
  RETURN QUERY
  SELECT l.member_id, sum(least(l.remaining, needed - l.upto + l.remaining))::bigint, min(l.place)
  FROM (
    SELECT k.member_id, k.remaining, sum(k.remaining) OVER w AS upto, row_number() OVER w AS place
    FROM loyalty.account a
    JOIN loyalty.lot k ON k.member_id = a.member_id AND k.program_id = a.program_id
      AND (k.expires_at, k.entry_no) >= (a.open_from_expires_at, a.open_from_entry_no)
    WHERE a.member_id = ANY (members) AND a.program_id = pool_shares.program_id AND a.status = 'active' AND a.debt = 0 AND k.remaining > 0
      AND k.available_at <= greatest(now_here, a.settled_at)
      AND CASE WHEN k.life = 0 THEN k.expires_at ELSE loyalty.lot_end(k.member_id, k.program_id, k.expires_at, k.entry_no, k.life) END > greatest(now_here, a.settled_at)
    WINDOW w AS (ORDER BY k.expires_at, k.at, k.member_id, k.entry_no ROWS UNBOUNDED PRECEDING)) l
  WHERE l.upto - l.remaining < needed
  GROUP BY l.member_id;
END $$;
COMMENT ON FUNCTION loyalty.pool_shares(integer, bigint[], bigint) IS 'who pays how much of so many points (counts of 1/10,000), in one burn order over all members';
REVOKE ALL ON FUNCTION loyalty.pool_shares(integer, bigint[], bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.redeem_pool(member_id bigint, reward text DEFAULT NULL, points numeric DEFAULT NULL, quantity integer DEFAULT 1, program text DEFAULT NULL,
  key text DEFAULT NULL, hold interval DEFAULT NULL, reason text DEFAULT NULL)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text, voucher text, payers bigint)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.redeem_pool(bigint, text, numeric, integer, text, text, interval, text) IS
  'spend, or with hold reserve, points of all members of the pool of this member, who is its owner or a burner: those first that die first, whoever has them. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.redeem_pool(bigint, text, numeric, integer, text, text, interval, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.redeem_pool_as_owner(acting bigint, what text, asked numeric, pieces integer, program text, key text, hold interval, why text)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text, voucher text, payers bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  who bigint := loyalty.member_now(acting);
  program_name text := loyalty.program_name(redeem_pool_as_owner.program);
  program_no integer := (SELECT p.id FROM loyalty.program p WHERE p.name = program_name);
  arguments json := json_build_object('reward', what, 'points', trim_scale(asked), 'quantity', nullif(pieces, 1), 'hold', hold::text, 'reason', why);
  pool_no bigint := loyalty.lock_pool_of(who, program_no);
  members bigint[];
  former jsonb;
  number bigint;
  at timestamptz;
BEGIN
  SELECT array_agg(m.member_id ORDER BY m.member_id DESC) INTO members FROM loyalty.pool_member m WHERE m.pool_id = pool_no AND m.left_at IS NULL;
  PERFORM loyalty.lock_accounts(program_no, coalesce(members, ARRAY[who]));
  former := loyalty.find_call(who, program_no, redeem_pool_as_owner.key, 'redeem_pool', arguments);
  IF former IS NULL THEN
    PERFORM loyalty.refuse_no_pool(who, program_no) WHERE pool_no IS NULL;
    PERFORM loyalty.check_active(who, program_no);
    IF NOT EXISTS (SELECT FROM loyalty.pool_member m WHERE m.member_id = who AND m.pool_id = pool_no AND m.left_at IS NULL AND m.role IN ('owner', 'burner')) THEN
      RAISE EXCEPTION 'member % may not burn the points of pool %', who, pool_no
        USING ERRCODE = 'LY016', HINT = 'loyalty.pool_role() makes a burner; loyalty.redeem() spends the member''s own points.';
    END IF;
    at := loyalty.account_instant(who, program_no);
    number := loyalty.burn_pool(who, pool_no, program_no, members, what, asked, pieces, redeem_pool_as_owner.key, hold, why, at);
    PERFORM loyalty.keep_call(who, program_no, redeem_pool_as_owner.key, 'redeem_pool', arguments, at, jsonb_build_object('pool_redemption_id', number));
  ELSE
    number := (former ->> 'pool_redemption_id')::bigint;
  END IF;
  RETURN QUERY
  SELECT b.pool_redemption_id, b.points, b.state,
    (SELECT string_agg(v.voucher, ' ') FROM loyalty.pool_payment y CROSS JOIN LATERAL loyalty.vouchers_of(y.member_id, y.redemption_id) v WHERE y.pool_redemption_id = number),
    b.payers
  FROM loyalty.pool_burn b WHERE b.pool_redemption_id = number;
END $$;
COMMENT ON FUNCTION loyalty.redeem_pool_as_owner(bigint, text, numeric, integer, text, text, interval, text) IS 'the body of redeem_pool()';
REVOKE ALL ON FUNCTION loyalty.redeem_pool_as_owner(bigint, text, numeric, integer, text, text, interval, text) FROM PUBLIC;

-- One redemption for each who pays.  The one that pays first names the reward: of what is given back it is the last.
CREATE OR REPLACE FUNCTION loyalty.burn_pool(who bigint, pool_no bigint, program_no integer, members bigint[], what text, asked numeric, pieces integer, key text, hold interval, why text, at timestamptz)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  program_name text := (SELECT p.name FROM loyalty.program p WHERE p.id = program_no);
  reward_no integer;
  cost numeric := asked;
  number bigint;
  found_points numeric;
  note text;
  share record;
  paid record;
BEGIN
  IF (what IS NULL) = (asked IS NULL) THEN
    RAISE EXCEPTION '%', CASE WHEN what IS NULL THEN 'neither reward nor points is given' ELSE 'both reward and points are given' END
      USING ERRCODE = 'LY017', HINT = 'Name a reward, or say how many points.';
  ELSIF coalesce(pieces, 1) < 1 OR (what IS NULL AND coalesce(pieces, 1) <> 1) THEN
    RAISE EXCEPTION 'quantity is %', pieces USING ERRCODE = 'LY017', HINT = 'It is 1 or more, and only rewards have it.';
  ELSIF asked IN ('NaN', 'Infinity', '-Infinity') OR asked <= 0 OR asked >= 1e14 THEN
    RAISE EXCEPTION 'points is %', asked USING ERRCODE = 'LY017', HINT = 'It is a number above 0.';
  ELSIF asked <> (SELECT trunc(asked, p.decimals) FROM loyalty.program p WHERE p.id = program_no) THEN
    RAISE EXCEPTION 'points is %', asked
      USING ERRCODE = 'LY017', DETAIL = format('Points of program "%s" have at most %s decimals.', program_name, (SELECT p.decimals FROM loyalty.program p WHERE p.id = program_no));
  END IF;
  IF what IS NOT NULL THEN
    SELECT w.id, w.cost * coalesce(pieces, 1) INTO reward_no, cost FROM loyalty.reward w WHERE w.program = program_name AND w.name = what;
    IF EXISTS (SELECT FROM loyalty.reward_price x WHERE x.program = program_name AND x.reward = what)
       OR EXISTS (SELECT FROM loyalty.reward_step x WHERE x.program = program_name AND x.reward = what) THEN
      RAISE EXCEPTION 'reward "%" of program "%" is not available to a pool', what, program_name
        USING ERRCODE = 'LY005', DETAIL = 'Its price is not the same for all members, or it has steps.',
              HINT = 'loyalty.transfer() the points to one member, who redeems them.';
    ELSIF reward_no IS NULL OR cost >= 1e14 THEN
      RAISE EXCEPTION 'reward "%" of program "%" is not available', what, program_name
        USING ERRCODE = 'LY005', DETAIL = 'There is no reward of this name, or so many pieces cost more points than there can be.',
              HINT = 'SELECT name, starts_at, ends_at, enabled FROM loyalty.reward lists the rewards.';
    END IF;
  END IF;
  SELECT coalesce(sum(s.points), 0) * 0.0001 INTO found_points FROM loyalty.pool_shares(program_no, members, (cost * 10000)::bigint) s;
  IF found_points < cost THEN
    RAISE EXCEPTION 'insufficient points'
      USING ERRCODE = 'LY001', DETAIL = format('%s points are available in pool %s and %s are needed.', trim_scale(found_points), pool_no, trim_scale(cost)),
            HINT = 'Pending, held and expired points cannot be spent, nor those of members who owe some or are blocked; see loyalty.pool_balance.';
  END IF;
  number := nextval(pg_get_serial_sequence('loyalty.pool_redemption', 'pool_redemption_id'));
  note := concat_ws(': ', format('pool redemption %s by member %s', number, who), coalesce(why, what));
  INSERT INTO loyalty.pool_redemption (member_id, pool_redemption_id, pool_id, program_id, reward_id, quantity, points, reason, key, at, posted_at, by, set_role)
  VALUES (who, number, pool_no, program_no, reward_no, coalesce(pieces, 1), cost * 10000, why, key, at, statement_timestamp(), session_user, loyalty.caller());
  FOR share IN
    SELECT s.member_id, trim_scale(s.points * 0.0001) AS points, s.place = 1 AS is_first
    FROM loyalty.pool_shares(program_no, members, (cost * 10000)::bigint) s ORDER BY s.member_id DESC
  LOOP
    SELECT r.redemption_id INTO paid
    FROM loyalty.redeem_share(share.member_id, CASE WHEN share.is_first THEN what END, share.points, CASE WHEN share.is_first THEN pieces END, program_name,
                              'pool redemption ' || number, hold, note) r;
    INSERT INTO loyalty.pool_payment (member_id, redemption_id, pool_redemption_id, points) VALUES (share.member_id, paid.redemption_id, number, share.points * 10000);
  END LOOP;
  RETURN number;
END $$;
COMMENT ON FUNCTION loyalty.burn_pool(bigint, bigint, integer, bigint[], text, numeric, integer, text, interval, text, timestamptz) IS 'part of redeem_pool(): the accounts are locked';
REVOKE ALL ON FUNCTION loyalty.burn_pool(bigint, bigint, integer, bigint[], text, numeric, integer, text, interval, text, timestamptz) FROM PUBLIC;

-- ---- what becomes of a burn ----

CREATE OR REPLACE FUNCTION loyalty.capture_pool(member_id bigint, pool_redemption_id bigint, points numeric DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.capture_pool(bigint, bigint, numeric, text) IS
  'spend what a burn of the pool holds, all or so many points; the rest, last taken first over all who pay, goes back to its lots';
REVOKE ALL ON FUNCTION loyalty.capture_pool(bigint, bigint, numeric, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.capture_pool_as_owner(acting bigint, number bigint, asked numeric, key text)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT c.pool_redemption_id, c.points, c.state FROM loyalty.change_burn('capture_pool', acting, number, asked, key) c;
END $$;
COMMENT ON FUNCTION loyalty.capture_pool_as_owner(bigint, bigint, numeric, text) IS 'the body of capture_pool()';
REVOKE ALL ON FUNCTION loyalty.capture_pool_as_owner(bigint, bigint, numeric, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.release_pool(member_id bigint, pool_redemption_id bigint, key text DEFAULT NULL)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.release_pool(bigint, bigint, text) IS 'give up a hold of the pool: its points go back to the lots that they came from';
REVOKE ALL ON FUNCTION loyalty.release_pool(bigint, bigint, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.release_pool_as_owner(acting bigint, number bigint, key text)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT c.pool_redemption_id, c.points, c.state FROM loyalty.change_burn('release_pool', acting, number, NULL, key) c;
END $$;
COMMENT ON FUNCTION loyalty.release_pool_as_owner(bigint, bigint, text) IS 'the body of release_pool()';
REVOKE ALL ON FUNCTION loyalty.release_pool_as_owner(bigint, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.reverse_pool(member_id bigint, pool_redemption_id bigint, points numeric DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text, alive numeric, dead numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.reverse_pool(bigint, bigint, numeric, text) IS
  'undo a burn of the pool, all or part of it, in the opposite order of taking over all who paid: points go back to their own lots, also of members who have left';
REVOKE ALL ON FUNCTION loyalty.reverse_pool(bigint, bigint, numeric, text) FROM PUBLIC;
CREATE OR REPLACE FUNCTION loyalty.reverse_pool_as_owner(acting bigint, number bigint, asked numeric, key text)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text, alive numeric, dead numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY SELECT c.pool_redemption_id, c.points, c.state, c.alive, c.dead FROM loyalty.change_burn('reverse_pool', acting, number, asked, key) c;
END $$;
COMMENT ON FUNCTION loyalty.reverse_pool_as_owner(bigint, bigint, numeric, text) IS 'the body of reverse_pool()';
REVOKE ALL ON FUNCTION loyalty.reverse_pool_as_owner(bigint, bigint, numeric, text) FROM PUBLIC;

-- Of so many points that go back, who gets which: the last taken first, in the order of pool_shares().
CREATE OR REPLACE FUNCTION loyalty.burn_shares(number bigint, going_back bigint) RETURNS TABLE (member_id bigint, redemption_id bigint, state text, taken bigint, back bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH part AS (
    SELECT r.member_id, r.redemption_id, r.state, r.taken, m.lot_expires_at, m.lot_entry_no, l.at,
      greatest(0, least(-m.points, r.taken - (sum(-m.points) OVER (PARTITION BY r.member_id, r.redemption_id ORDER BY m.entry_no) + m.points))) AS still
    FROM loyalty.pool_payment y
    JOIN loyalty.redemption r ON r.member_id = y.member_id AND r.redemption_id = y.redemption_id
    JOIN loyalty.movement m ON m.member_id = r.member_id AND m.program_id = r.program_id AND m.entry_no BETWEEN r.first_entry AND r.last_entry
    JOIN loyalty.lot l ON l.member_id = m.member_id AND l.program_id = m.program_id AND l.expires_at = m.lot_expires_at AND l.entry_no = m.lot_entry_no
    WHERE y.pool_redemption_id = number
  ), placed AS (
    SELECT p.*, sum(p.still) OVER (ORDER BY p.lot_expires_at DESC, p.at DESC, p.member_id DESC, p.lot_entry_no DESC ROWS UNBOUNDED PRECEDING) AS upto FROM part p
  )
  SELECT p.member_id, p.redemption_id, p.state, p.taken, sum(greatest(0, least(p.still, going_back - p.upto + p.still)))::bigint
  FROM placed p GROUP BY p.member_id, p.redemption_id, p.state, p.taken
$$;
COMMENT ON FUNCTION loyalty.burn_shares(bigint, bigint) IS 'of so many points (counts of 1/10,000) of a burn that go back, whose they are';
REVOKE ALL ON FUNCTION loyalty.burn_shares(bigint, bigint) FROM PUBLIC;

-- Whoever burnt, or an owner of the pool.
CREATE OR REPLACE FUNCTION loyalty.change_burn(call text, acting bigint, number bigint, asked numeric, key text)
RETURNS TABLE (pool_redemption_id bigint, points numeric, state text, alive numeric, dead numeric)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  who bigint := loyalty.member_now(acting);
  arguments json := json_build_object('pool_redemption_id', number, 'points', trim_scale(asked));
  burn loyalty.pool_redemption;
  former jsonb;
  wanted text := CASE call WHEN 'reverse_pool' THEN 'captured' ELSE 'held' END;
  here text;
  share record;
  gone record;
BEGIN
  SELECT r.* INTO burn FROM loyalty.pool_redemption r WHERE r.pool_redemption_id = number;
  IF NOT FOUND OR burn.member_id <> who AND NOT EXISTS (
       SELECT FROM loyalty.pool_member m WHERE m.member_id = who AND m.pool_id = burn.pool_id AND m.left_at IS NULL AND m.role = 'owner') THEN
    RAISE EXCEPTION 'member % has no pool redemption %', who, coalesce(number::text, 'null')
      USING ERRCODE = 'LY017', HINT = 'loyalty.redeem_pool() returns its number; it belongs to who burnt, and to the owners of the pool.';
  END IF;
  PERFORM loyalty.lock_accounts(burn.program_id, (SELECT array_agg(y.member_id) || who FROM loyalty.pool_payment y WHERE y.pool_redemption_id = number));
  former := loyalty.find_call(who, burn.program_id, key, call, arguments);
  IF former IS NOT NULL THEN
    RETURN QUERY SELECT number, (former ->> 'points')::numeric, former ->> 'state', (former ->> 'alive')::numeric, (former ->> 'dead')::numeric;
    RETURN;
  END IF;
  FOR share IN SELECT y.member_id FROM loyalty.pool_payment y WHERE y.pool_redemption_id = number ORDER BY y.member_id DESC LOOP
    PERFORM FROM loyalty.settle_batch(share.member_id, burn.program_id - 1, 1);
  END LOOP;
  SELECT b.state, b.taken INTO here, points FROM loyalty.pool_burn b WHERE b.pool_redemption_id = number;
  IF here <> wanted THEN
    RAISE EXCEPTION 'pool redemption % cannot be %', number, CASE call WHEN 'reverse_pool' THEN 'reversed' WHEN 'capture_pool' THEN 'captured' ELSE 'released' END
      USING ERRCODE = 'LY006', DETAIL = format('It is %s.', here), HINT = 'A hold is captured or released once, and only what was captured can be reversed.';
  ELSIF asked IS NOT NULL AND (asked IN ('NaN', 'Infinity', '-Infinity') OR asked <= 0
          OR asked <> (SELECT trunc(asked, p.decimals) FROM loyalty.program p WHERE p.id = burn.program_id)) THEN
    RAISE EXCEPTION 'points is %', asked USING ERRCODE = 'LY017', HINT = 'It is above 0, with no more decimals than points have; leave it out for all.';
  ELSIF asked > points THEN
    RAISE EXCEPTION 'pool redemption % has fewer points', number
      USING ERRCODE = 'LY006', DETAIL = format('%s points are %s, and %s are asked for.', points, CASE here WHEN 'held' THEN 'held' ELSE 'left of it' END, asked),
            HINT = 'Leave points out for all that there are.';
  END IF;
  alive := 0;
  dead := 0;
  FOR share IN
    SELECT s.member_id, s.redemption_id, s.state, trim_scale((s.taken - s.back) * 0.0001) AS kept, trim_scale(s.back * 0.0001) AS back
    FROM loyalty.burn_shares(number, (CASE call WHEN 'capture_pool' THEN points - coalesce(asked, points) ELSE coalesce(asked, points) END * 10000)::bigint) s
    WHERE s.state = wanted ORDER BY s.member_id DESC
  LOOP
    IF call = 'capture_pool' AND share.kept > 0 THEN
      PERFORM FROM loyalty.capture(share.member_id, share.redemption_id, share.kept);
    ELSIF call <> 'reverse_pool' THEN
      PERFORM FROM loyalty.release(share.member_id, share.redemption_id);
    ELSIF share.back > 0 THEN
      SELECT v.alive, v.dead INTO gone FROM loyalty.reverse(share.member_id, share.redemption_id, share.back) v;
      alive := alive + gone.alive;
      dead := dead + gone.dead;
    END IF;
  END LOOP;
  pool_redemption_id := number;
  points := trim_scale(coalesce(asked, points));
  SELECT b.state INTO state FROM loyalty.pool_burn b WHERE b.pool_redemption_id = number;
  PERFORM loyalty.keep_call(who, burn.program_id, key, call, arguments, loyalty.account_instant(who, burn.program_id),
    jsonb_build_object('points', points, 'state', state, 'alive', alive, 'dead', dead));
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION loyalty.change_burn(text, bigint, bigint, numeric, text) IS 'part of capture_pool(), release_pool() and reverse_pool()';
REVOKE ALL ON FUNCTION loyalty.change_burn(text, bigint, bigint, numeric, text) FROM PUBLIC;

-- Part of merge_members(): the survivor's pool stays; the other one's is the survivor's where they have none.
CREATE OR REPLACE FUNCTION loyalty.merge_pools(from_member bigint, to_member bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  m loyalty.pool_member;
  touched bigint[];
BEGIN
  SELECT array_agg(DISTINCT f.pool_id) INTO touched FROM loyalty.pool_member f WHERE f.member_id IN (from_member, to_member) AND f.left_at IS NULL;
  FOR m IN
    SELECT f.* FROM loyalty.pool_member f WHERE f.member_id = from_member AND f.left_at IS NULL
      AND EXISTS (SELECT FROM loyalty.pool_member t WHERE t.member_id = to_member AND t.program_id = f.program_id AND t.left_at IS NULL)
  LOOP
    PERFORM loyalty.put_pool_member(from_member, m.pool_id, m.program_id, NULL, loyalty.account_instant(to_member, m.program_id), NULL);
    PERFORM loyalty.pool_changed(m.pool_id, loyalty.account_instant(to_member, m.program_id));
  END LOOP;
  UPDATE loyalty.pool_member t SET member_id = to_member WHERE t.member_id = from_member;
  UPDATE loyalty.pool_redemption t SET member_id = to_member WHERE t.member_id = from_member;
  UPDATE loyalty.pool_payment t SET member_id = to_member WHERE t.member_id = from_member;
  PERFORM loyalty.review_pool(o.pool_id, o.program_id, loyalty.pool_accounts(o.pool_id), loyalty.account_instant(to_member, o.program_id))
  FROM loyalty.pool o WHERE o.pool_id = ANY (touched) AND o.shares_tier;
END $$;
COMMENT ON FUNCTION loyalty.merge_pools(bigint, bigint) IS 'part of merge_members(): pools and their burns';
REVOKE ALL ON FUNCTION loyalty.merge_pools(bigint, bigint) FROM PUBLIC;

-- Pools before accounts, as those who burn.
CREATE OR REPLACE FUNCTION loyalty.lock_pools(members bigint[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
  SELECT FROM loyalty.pool p WHERE p.pool_id IN (SELECT m.pool_id FROM loyalty.pool_member m WHERE m.member_id = ANY (members) AND m.left_at IS NULL)
  ORDER BY p.pool_id FOR UPDATE
$$;
COMMENT ON FUNCTION loyalty.lock_pools(bigint[]) IS 'part of merge_members() and erase_member(): lock the pools in which these members are';
REVOKE ALL ON FUNCTION loyalty.lock_pools(bigint[]) FROM PUBLIC;

-- Pools and accounts are locked.  A name is that of those who are in the pool: when nobody is left, it goes.
CREATE OR REPLACE FUNCTION loyalty.erase_pools(member bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  m loyalty.pool_member;
  at timestamptz;
  n bigint;
BEGIN
  FOR m IN SELECT t.* FROM loyalty.pool_member t WHERE t.member_id = member AND t.left_at IS NULL ORDER BY t.pool_id LOOP
    at := loyalty.account_instant(member, m.program_id);
    PERFORM loyalty.put_pool_member(member, m.pool_id, m.program_id, NULL, at, NULL);
    PERFORM loyalty.pool_changed(m.pool_id, at), loyalty.leave_tier(member, m.pool_id, m.program_id, at);
  END LOOP;
  UPDATE loyalty.pool p SET name = 'erased'
  WHERE p.name <> 'erased' AND p.pool_id IN (SELECT t.pool_id FROM loyalty.pool_member t WHERE t.member_id = member)
    AND NOT EXISTS (SELECT FROM loyalty.pool_member t WHERE t.pool_id = p.pool_id AND t.left_at IS NULL);
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN CASE WHEN n > 0 THEN jsonb_build_object('pool', n) ELSE '{}' END;
END $$;
COMMENT ON FUNCTION loyalty.erase_pools(bigint) IS 'part of erase_member(): the member leaves their pools; names of pools that nobody is left in go';
REVOKE ALL ON FUNCTION loyalty.erase_pools(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_pools(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'pool_payment', b.program_id, b.member_id, NULL::bigint,
    format('pool redemption %s burnt %s points, and redemptions of its members took %s', b.pool_redemption_id, trim_scale(b.points * 0.0001), trim_scale(coalesce(y.points, 0) * 0.0001))
  FROM loyalty.pool_redemption b
  LEFT JOIN (SELECT p.pool_redemption_id, sum(CASE WHEN d.points = p.points THEN d.points END) AS points FROM loyalty.pool_payment p
             LEFT JOIN loyalty.redemption d ON d.member_id = p.member_id AND d.redemption_id = p.redemption_id GROUP BY 1) y ON y.pool_redemption_id = b.pool_redemption_id
  WHERE y.points IS DISTINCT FROM b.points LIMIT most;
  RETURN QUERY
  SELECT 'pool_owner', p.program_id, min(m.member_id), NULL::bigint, format('pool %s has members and no owner', p.pool_id)
  FROM loyalty.pool p JOIN loyalty.pool_member m ON m.pool_id = p.pool_id AND m.left_at IS NULL
  GROUP BY p.pool_id, p.program_id HAVING NOT bool_or(m.role = 'owner') LIMIT most;
  -- what is over by the account's instant has gone from it, what is by the pool's from there
  RETURN QUERY
  SELECT 'pool_tier', a.program_id, a.member_id, NULL::bigint,
    format('is lent tiers %s until %s; %s shares tiers %s until %s', coalesce(a.lent_tier_ids, '{}'), coalesce(a.lent_until, '{}'), coalesce('pool ' || o.pool_id, 'no pool'),
           coalesce(s.tier_ids, '{}'), coalesce(s.until, '{}'))
  FROM loyalty.account a
  LEFT JOIN loyalty.pool_member m ON m.member_id = a.member_id AND m.program_id = a.program_id AND m.left_at IS NULL
  LEFT JOIN loyalty.pool o ON o.pool_id = m.pool_id AND o.shares_tier
  LEFT JOIN loyalty.shared_tier t ON t.pool_id = o.pool_id
  CROSS JOIN LATERAL (
    SELECT array_agg(u.tier_id ORDER BY u.until) AS tier_ids, array_agg(u.until ORDER BY u.until) AS until
    FROM unnest(t.step_tier_ids, t.step_until) u (tier_id, until) WHERE u.until > a.settled_at) s
  CROSS JOIN LATERAL (
    SELECT array_agg(u.tier_id ORDER BY u.until) AS tier_ids, array_agg(u.until ORDER BY u.until) AS until
    FROM unnest(a.lent_tier_ids, a.lent_until) u (tier_id, until) WHERE u.until > coalesce(t.settled_at, a.settled_at)) l
  WHERE (l.tier_ids, l.until) IS DISTINCT FROM (s.tier_ids, s.until) AND (o.pool_id IS NOT NULL OR a.lent_tier_ids IS NOT NULL) LIMIT most;
  -- what its members have counted since is not there
  RETURN QUERY
  SELECT 'pool_figures', t.program_id, NULL::bigint, NULL::bigint,
    format('pool %s has counted spend %s, points %s, visits %s; its members %s, %s, %s', t.pool_id, trim_scale(t.spend), trim_scale(t.earned * 0.0001), t.visits,
           trim_scale(f.spend), trim_scale(f.earned * 0.0001), f.visits)
  FROM loyalty.shared_tier t
  JOIN loyalty.ladder_now n ON n.program_id = t.program_id AND n.ladder_no = t.ladder_no
  CROSS JOIN LATERAL (
    SELECT coalesce(sum(g.spend), 0) AS spend, coalesce(sum(g.earned), 0) AS earned, coalesce(sum(g.visits), 0) AS visits, max(g.as_of) AS as_of
    FROM loyalty.pool_member m CROSS JOIN LATERAL loyalty.settled(m.member_id, t.program_id, t.settled_at) g WHERE m.pool_id = t.pool_id AND m.left_at IS NULL) f
  WHERE (t.spend, t.earned, t.visits) IS DISTINCT FROM (f.spend, f.earned, f.visits) AND f.as_of < t.period_end LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_pools(integer) IS 'part of verify(): pools and what their members paid';
REVOKE ALL ON FUNCTION loyalty.verify_pools(integer) FROM PUBLIC;
