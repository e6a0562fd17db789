-- What an account has at an instant.  settled(), due_tier_changes() and due_movements() are what views read; balance() is for people.
-- They are C and ask for no right on tables: EXECUTE says who may see balances.

CREATE OR REPLACE FUNCTION loyalty.instant() RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_instant';
COMMENT ON FUNCTION loyalty.instant() IS 'the instant at which views and balance() are read: loyalty.now when it is set, else statement_timestamp()';
REVOKE ALL ON FUNCTION loyalty.instant() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.settled(
  member_id bigint, program_id integer, at timestamptz,
  OUT as_of timestamptz, OUT available bigint, OUT pending bigint, OUT held bigint, OUT debt bigint,
  OUT tier_id integer, OUT tier_until timestamptz, OUT spend numeric, OUT earned bigint, OUT visits integer,
  OUT period_start timestamptz, OUT period_end timestamptz, OUT next_change_at timestamptz,
  OUT next_expiry_at timestamptz, OUT next_expiry_points bigint, OUT inactive_at timestamptz,
  OUT own_tier_id integer, OUT own_until timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_settled';
COMMENT ON FUNCTION loyalty.settled(bigint, integer, timestamptz) IS
  'an account brought forward to the later of an instant and its settled_at, as a writer would store it: points as count of 1/10,000; no row without an account';
REVOKE ALL ON FUNCTION loyalty.settled(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.due_tier_changes(
  member_id bigint, program_id integer, instant timestamptz,
  OUT at timestamptz, OUT from_tier_id integer, OUT to_tier_id integer, OUT held_until timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_due_tier_changes';
COMMENT ON FUNCTION loyalty.due_tier_changes(bigint, integer, timestamptz) IS
  'the tier changes of an account that have become true by an instant and are not written down yet';
REVOKE ALL ON FUNCTION loyalty.due_tier_changes(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.due_movements(
  member_id bigint, program_id integer, instant timestamptz,
  OUT at timestamptz, OUT kind text, OUT points bigint, OUT lot_expires_at timestamptz, OUT lot_entry_no bigint,
  OUT redemption_id bigint, OUT origin_entry_no bigint, OUT due_no bigint)
RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 10 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_due_movements';
COMMENT ON FUNCTION loyalty.due_movements(bigint, integer, timestamptz) IS
  'the movements of an account that have become true by an instant and are not written down yet, due_no in the order of time; points as count of 1/10,000';
REVOKE ALL ON FUNCTION loyalty.due_movements(bigint, integer, timestamptz) FROM PUBLIC;

-- When the points of a lot that has a life die: with the account, as things stand, or at the end of a former life (NULL: nothing
-- of it was left then).
CREATE OR REPLACE FUNCTION loyalty.lot_end(member_id bigint, program_id integer, expires_at timestamptz, entry_no bigint, life smallint) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED COST 1000 SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN a.life = lot_end.life THEN least(i.inactive_at, lot_end.expires_at)
    WHEN a.life = -lot_end.life THEN greatest(i.inactive_at, lot_end.expires_at)
    WHEN lot_end.life < 0 THEN lot_end.expires_at
    ELSE (SELECT max(m.at) FROM loyalty.movement m
          WHERE m.member_id = a.member_id AND m.program_id = a.program_id AND m.lot_entry_no = lot_end.entry_no AND m.kind = 'expire' AND m.points < 0) END
  FROM loyalty.account a
  LEFT JOIN LATERAL loyalty.settled(CASE WHEN a.active_at = 'infinity' AND loyalty.instant() >= a.next_change_at THEN a.member_id END, a.program_id, loyalty.instant()) s ON true
  CROSS JOIN LATERAL (SELECT coalesce(s.inactive_at, a.inactive_at)) i (inactive_at)
  WHERE a.member_id = lot_end.member_id AND a.program_id = lot_end.program_id
$$;
COMMENT ON FUNCTION loyalty.lot_end(bigint, integer, timestamptz, bigint, smallint) IS 'inside of views: when the points of a lot die that live as long as their account is active, as things stand';
REVOKE ALL ON FUNCTION loyalty.lot_end(bigint, integer, timestamptz, bigint, smallint) FROM PUBLIC;

-- The past: lots and movements up to the instant, added up.  Called by balance() as the owner of the ledger.
-- What is held and what is left of debts are the sums of their movements.
CREATE OR REPLACE FUNCTION loyalty.balance_before(member_id bigint, program_id integer, at timestamptz)
RETURNS TABLE (available numeric, pending numeric, held numeric, debt numeric, tier text, next_expiry_at timestamptz, next_expiry_points numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off  -- compiling costs a hundred times what it runs
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH moved AS (
    SELECT m.lot_entry_no, m.points, m.kind
    FROM loyalty.movement m
    WHERE m.member_id = balance_before.member_id AND m.program_id = balance_before.program_id AND m.at <= balance_before.at
  ), activity AS (
    -- purchases that are kept now, or were returned after the instant
    SELECT CASE WHEN c.inactive_at = 'infinity' THEN c.inactive_at ELSE
      loyalty.inactive_at(greatest(c.enrolled_at, (
        SELECT max(least(l.earned_at, l.at)) FROM loyalty.lot l
        WHERE l.member_id = c.member_id AND l.program_id = c.program_id AND l.at <= balance_before.at
          AND CASE l.kind WHEN 'a' THEN l.kept_amount <> 0 OR l.kept_amount = l.amount OR EXISTS (
              SELECT FROM loyalty.movement m WHERE m.member_id = c.member_id AND m.program_id = c.program_id AND m.kind = 'clawback'
                AND coalesce(m.origin_entry_no, m.lot_entry_no) = l.entry_no AND m.points < 0 AND m.at > balance_before.at)
            WHEN 'j' THEN l.earned_at < l.at ELSE false END)), p.expiry, p.timezone) END AS inactive_at
    FROM loyalty.account c JOIN loyalty.program p ON p.id = c.program_id
    WHERE c.member_id = balance_before.member_id AND c.program_id = balance_before.program_id
  ), alive AS (
    SELECT CASE WHEN l.life > 0 THEN least(l.expires_at, y.inactive_at) WHEN l.life < 0 THEN greatest(l.expires_at, y.inactive_at) ELSE l.expires_at END AS expires_at,
      l.available_at > balance_before.at AS waits, l.points + coalesce(t.points, 0) AS remaining
    FROM loyalty.lot l
    CROSS JOIN activity y
    LEFT JOIN (SELECT m.lot_entry_no, sum(m.points) AS points FROM moved m GROUP BY m.lot_entry_no) t ON t.lot_entry_no = l.entry_no
    WHERE l.member_id = balance_before.member_id AND l.program_id = balance_before.program_id
      AND l.at <= balance_before.at AND (l.expires_at > balance_before.at OR l.life < 0)
  ), total AS (
    SELECT coalesce(sum(a.remaining) FILTER (WHERE NOT a.waits), 0) AS available,
           coalesce(sum(a.remaining) FILTER (WHERE a.waits), 0) AS pending,
           min(a.expires_at) FILTER (WHERE a.remaining > 0 AND a.expires_at < 'infinity' AND a.expires_at > balance_before.at) AS next_expiry_at,
           (SELECT coalesce(sum(m.points), 0) FROM moved m WHERE m.kind IN ('debt', 'repay')) AS debt
    FROM alive a
  )
  SELECT trim_scale(t.available * 0.0001), trim_scale(t.pending * 0.0001), trim_scale(h.held * 0.0001), trim_scale(t.debt * 0.0001),
         (SELECT k.name FROM loyalty.tier k
          WHERE k.enabled AND balance_before.at >= c.enrolled_at AND k.id = CASE WHEN n.found THEN n.from_tier_id ELSE c.tier_id END),
         t.next_expiry_at,
         (SELECT trim_scale(sum(a.remaining) * 0.0001) FROM alive a WHERE a.expires_at = t.next_expiry_at)
  FROM total t
  CROSS JOIN (SELECT -coalesce(sum(m.points), 0) AS held FROM moved m WHERE m.kind = 'hold') h
  JOIN loyalty.account c ON c.member_id = balance_before.member_id AND c.program_id = balance_before.program_id
  LEFT JOIN LATERAL (
    SELECT true AS found, k.from_tier_id FROM loyalty.tier_change k
    WHERE k.member_id = c.member_id AND k.program_id = c.program_id AND k.at > balance_before.at
    ORDER BY k.at, k.change_no LIMIT 1) n ON true;
END $$;
COMMENT ON FUNCTION loyalty.balance_before(bigint, integer, timestamptz) IS 'balance() of an instant before the account''s settled_at';
REVOKE ALL ON FUNCTION loyalty.balance_before(bigint, integer, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.balance(member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS TABLE (available numeric, pending numeric, held numeric, debt numeric, tier text, next_expiry_at timestamptz, next_expiry_points numeric)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_balance';
COMMENT ON FUNCTION loyalty.balance(bigint, text, timestamptz) IS
  'what a member has in a program at an instant, past or to come; left out: now. LY002 without an account, LY003 unknown program';
REVOKE ALL ON FUNCTION loyalty.balance(bigint, text, timestamptz) FROM PUBLIC;
