-- Is the ledger sound, and is all around it as it should be.
-- verify() asks the ledger as its owner.  Each invariant is one set-based query that lists at most `most` violations;
-- together they walk a million lots in seconds and lock nothing.

-- NULL: the mapping and the rules of this attached table compile.
CREATE OR REPLACE FUNCTION loyalty.mapping_error(relation regclass) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM loyalty.compile_mapping(relation);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLERRM;
END $$;
COMMENT ON FUNCTION loyalty.mapping_error(regclass) IS 'why the expressions of an attached table do not compile; NULL: they do';
REVOKE ALL ON FUNCTION loyalty.mapping_error(regclass) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.compile_mapping(relation regclass) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_compile_mapping';
COMMENT ON FUNCTION loyalty.compile_mapping(regclass) IS 'compile the expressions of an attached table as its triggers would; LY007 when one is bad';
REVOKE ALL ON FUNCTION loyalty.compile_mapping(regclass) FROM PUBLIC;

-- Lots and movements of accounts.
-- Every check reads whole tables: by hash joins alone it takes seconds also where nobody has analyzed yet, or where
-- one account holds most entries.
CREATE OR REPLACE FUNCTION loyalty.verify_lots(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH moved AS (
    SELECT m.member_id, m.program_id, m.lot_expires_at, m.lot_entry_no, sum(m.points) FILTER (WHERE m.kind <> 'expire') AS changed,
      sum(m.points) FILTER (WHERE m.kind = 'clawback' AND m.origin_entry_no IS NULL) AS given,
      sum(m.points) FILTER (WHERE m.kind = 'expire') AS expired
    FROM loyalty.movement m GROUP BY 1, 2, 3, 4
  ), lots AS (
    SELECT l.program_id, l.member_id, l.entry_no, l.points, l.remaining, l.owed, l.kept_amount, l.amount, coalesce(v.changed, 0) AS changed, greatest(v.given, 0) AS given, coalesce(v.expired, 0) AS expired,
      CASE WHEN CASE WHEN l.life = -a.life THEN greatest(l.expires_at, a.inactive_at) ELSE l.expires_at END <= a.settled_at
        OR l.life > 0 AND l.life < a.life THEN l.remaining ELSE 0 END AS dead
    FROM loyalty.lot l
    LEFT JOIN moved v ON v.member_id = l.member_id AND v.program_id = l.program_id AND v.lot_expires_at = l.expires_at AND v.lot_entry_no = l.entry_no
    LEFT JOIN loyalty.account a ON a.member_id = l.member_id AND a.program_id = l.program_id
    OFFSET 0  -- each expression once
  ), bad AS (
    SELECT l.*, l.remaining < 0 OR l.owed < 0
      -- of a purchase that is kept in part, one of several lots can have a unit more than of the whole: award_clawback
      OR l.remaining > l.points + l.given AND NOT coalesce(l.kept_amount > 0 AND l.kept_amount < l.amount, false) AS out_of_range
    FROM lots l
  ), broken AS (
    SELECT l.* FROM bad l  -- texts are for these alone
    WHERE l.remaining <> l.points + l.changed OR -l.expired <> l.dead OR l.out_of_range
  )
  SELECT i.invariant, l.program_id, l.member_id, l.entry_no, i.detail
  FROM broken l
  CROSS JOIN LATERAL (VALUES
    ('lot_remaining', l.remaining <> l.points + l.changed,
      format('remaining is %s, granted and moved are %s', trim_scale(l.remaining * 0.0001), trim_scale((l.points + l.changed) * 0.0001))),
    ('lot_expired', -l.expired <> l.dead,
      format('%s points have died, and %s are written down', trim_scale(l.dead * 0.0001), trim_scale(-l.expired * 0.0001))),
    ('lot_range', l.out_of_range,
      format('of %s points remain %s, owed are %s', trim_scale(l.points * 0.0001), trim_scale(l.remaining * 0.0001), trim_scale(l.owed * 0.0001)))
    ) i (invariant, broken, detail)
  WHERE i.broken LIMIT most;

  RETURN QUERY
  SELECT 'movement_lot', m.program_id, m.member_id, m.entry_no, format('it names lot %s, which is not there', m.lot_entry_no)
  FROM loyalty.movement m
  WHERE NOT EXISTS (SELECT FROM loyalty.lot l WHERE l.member_id = m.member_id AND l.program_id = m.program_id
                    AND l.expires_at = m.lot_expires_at AND l.entry_no = m.lot_entry_no)
  LIMIT most;

  RETURN QUERY
  SELECT 'account_missing', e.program_id, e.member_id, min(e.entry_no), format('%s of a member without an account', e.what)
  FROM (SELECT l.program_id, l.member_id, l.entry_no, 'lot' AS what FROM loyalty.lot l
        UNION ALL SELECT m.program_id, m.member_id, m.entry_no, 'movement' FROM loyalty.movement m
        UNION ALL SELECT t.program_id, t.member_id, t.change_no, 'tier change' FROM loyalty.tier_change t
        UNION ALL SELECT d.program_id, d.member_id, d.entry_no, 'debt' FROM loyalty.debt d
        UNION ALL SELECT v.program_id, v.member_id, v.entry_no, 'intervention' FROM loyalty.intervention v
        UNION ALL SELECT r.program_id, r.member_id, NULL, 'redemption' FROM loyalty.redemption r) e
  WHERE NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = e.member_id AND a.program_id = e.program_id)
  GROUP BY e.program_id, e.member_id, e.what LIMIT most;

  RETURN QUERY
  SELECT 'entry_number', e.program_id, e.member_id, e.entry_no,
    CASE WHEN count(*) > 1 THEN 'two entries have this number'
         ELSE format('the account''s next number is %s and its instant %s', min(a.next_entry), min(a.settled_at)) END
  FROM (SELECT l.program_id, l.member_id, l.entry_no, l.at FROM loyalty.lot l
        UNION ALL SELECT m.program_id, m.member_id, m.entry_no, m.at FROM loyalty.movement m
        UNION ALL SELECT t.program_id, t.member_id, t.change_no, t.at FROM loyalty.tier_change t
        UNION ALL SELECT v.program_id, v.member_id, v.entry_no, v.at FROM loyalty.intervention v WHERE v.last_entry IS NULL) e
  JOIN loyalty.account a ON a.member_id = e.member_id AND a.program_id = e.program_id
  GROUP BY e.program_id, e.member_id, e.entry_no
  HAVING count(*) > 1 OR e.entry_no < 1 OR e.entry_no >= min(a.next_entry) OR max(e.at) > min(a.settled_at)
  LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_lots(integer) IS 'part of verify(): lots, movements, entry numbers';
REVOKE ALL ON FUNCTION loyalty.verify_lots(integer) FROM PUBLIC;

-- Lots whose points lay elsewhere before.
CREATE OR REPLACE FUNCTION loyalty.verify_origins(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'lot_origin', coalesce(l.program_id, o.program_id), coalesce(l.member_id, o.member_id), coalesce(l.entry_no, o.entry_no),
    CASE WHEN o.entry_no IS NULL THEN 'nothing says where its points lay before'
         WHEN l.entry_no IS NULL THEN 'it is said where the points of this lot lay before, and there is no such lot'
         ELSE format('it holds %s points and %s came from entry %s of member %s', trim_scale(l.points * 0.0001),
                     trim_scale(coalesce(-m.points, 0) * 0.0001), o.moved_by, o.origin_member_id) END
  FROM (SELECT t.* FROM loyalty.lot t WHERE t.kind = 't') l
  FULL JOIN loyalty.lot_origin o ON o.member_id = l.member_id AND o.program_id = l.program_id AND o.entry_no = l.entry_no AND o.expires_at = l.expires_at
  LEFT JOIN (SELECT v.* FROM loyalty.movement v WHERE v.kind = 'transfer') m ON m.member_id = o.origin_member_id AND m.program_id = o.program_id
    AND m.entry_no = o.moved_by AND m.lot_entry_no = o.origin_entry_no AND m.lot_expires_at = o.origin_expires_at
  WHERE m.points IS DISTINCT FROM -l.points OR l.entry_no IS NULL OR o.entry_no IS NULL
  LIMIT most;

  RETURN QUERY
  SELECT 'lot_origin', m.program_id, m.member_id, m.entry_no, format('%s points went on, and no lot has them', trim_scale(-m.points * 0.0001))
  FROM loyalty.movement m
  WHERE m.kind = 'transfer' AND NOT EXISTS (SELECT FROM loyalty.lot_origin o WHERE o.origin_member_id = m.member_id AND o.program_id = m.program_id AND o.moved_by = m.entry_no)
  LIMIT most;

  RETURN QUERY
  SELECT 'member_merged', a.program_id, a.member_id, NULL::bigint,
    CASE WHEN a.status <> 'merged' THEN format('the member was merged into %s, and this account was not; call merge_members() again', m.merged_into)
         WHEN m.merged_into IS NULL THEN 'the account was merged, and the member was not'
         ELSE 'the account was merged, and has something' END
  FROM loyalty.account a
  LEFT JOIN loyalty.member m ON m.member_id = a.member_id AND m.merged_into IS NOT NULL
  WHERE (a.status = 'merged') <> (m.merged_into IS NOT NULL)
    OR (a.status = 'merged' AND (a.available <> 0 OR a.pending <> 0 OR a.held <> 0 OR a.debt <> 0
      OR EXISTS (SELECT FROM loyalty.lot l WHERE l.member_id = a.member_id AND l.program_id = a.program_id)
      OR EXISTS (SELECT FROM loyalty.movement v WHERE v.member_id = a.member_id AND v.program_id = a.program_id)
      OR EXISTS (SELECT FROM loyalty.redemption r WHERE r.member_id = a.member_id AND r.program_id = a.program_id)))
  LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_origins(integer) IS 'part of verify(): lots whose points lay elsewhere before';
REVOKE ALL ON FUNCTION loyalty.verify_origins(integer) FROM PUBLIC;

-- Awards: shares, parts of a key, what was taken back.
CREATE OR REPLACE FUNCTION loyalty.verify_awards(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'award_kept', l.program_id, l.member_id, l.entry_no, format('kept %s of %s', coalesce(l.kept_amount::text, 'nothing'), coalesce(l.amount::text, 'no amount'))
  FROM loyalty.lot l
  WHERE l.kind = 'a' AND (l.amount IS NULL OR l.source_key IS NULL OR (l.kept_amount IS NULL AND l.amount <> 0 AND l.available_at < 'infinity')
    OR (l.amount >= 0 AND (l.kept_amount < 0 OR l.kept_amount > l.amount)))
  LIMIT most;

  RETURN QUERY
  SELECT 'award_parts', l.program_id, l.member_id, l.entry_no,
    format('the lots of purchase "%s" of source %s do not belong together', l.source_key, l.source_id)
  FROM loyalty.lot l
  WHERE l.part % 64 <> 0 AND NOT EXISTS (
    SELECT FROM loyalty.lot b
    WHERE b.source_id = l.source_id AND b.source_key = l.source_key AND b.part = l.part - 1 AND b.member_id = l.member_id
      AND b.program_id = l.program_id AND b.amount = l.amount AND b.kept_amount IS NOT DISTINCT FROM l.kept_amount)
  LIMIT most;

  -- what is kept is what the row says less what was returned; without returns the row alone says it
  RETURN QUERY
  WITH returned AS (
    SELECT f.of_source_id, f.of_key, f.member_id, f.program_id, sum(f.amount) AS amount, bool_or(f.part >= 0) AS by_others
    FROM loyalty.refund f WHERE f.of_key IS NOT NULL GROUP BY 1, 2, 3, 4
  ), sold AS (
    SELECT l.source_id, l.source_key, l.member_id, sum(l.amount) AS amount, sum(coalesce(l.kept_amount, 0)) AS kept_amount, min(l.entry_no) AS entry_no,
      bool_or(l.kept_amount IS NOT NULL AND l.amount = 0) AS kept_nothing
    FROM loyalty.lot l WHERE l.kind = 'a' AND l.part % 64 = 0 AND NOT (l.available_at = 'infinity' AND l.kept_amount IS NULL)
      AND EXISTS (SELECT FROM returned e WHERE e.of_source_id = l.source_id AND e.of_key = l.source_key)
    GROUP BY 1, 2, 3
  )
  SELECT 'refund_kept', r.program_id, r.member_id, s.entry_no,
    format('purchase "%s" of source %s keeps %s; it was made for %s, and %s are returned', r.of_key, r.of_source_id,
           coalesce(s.kept_amount, 0), coalesce(s.amount, 0), r.amount)
  FROM returned r
  LEFT JOIN sold s ON s.source_id = r.of_source_id AND s.source_key = r.of_key AND s.member_id = r.member_id
  WHERE NOT r.by_others
    OR CASE WHEN s.source_id IS NULL THEN EXISTS (SELECT FROM sold o WHERE o.source_id = r.of_source_id AND o.source_key = r.of_key)
            WHEN r.amount = 0 AND s.amount > 0 THEN false  -- returns of nothing: the row alone says it
            ELSE s.kept_amount <> greatest(s.amount - r.amount, 0) OR s.kept_nothing AND s.amount <= r.amount END
  LIMIT most;

  RETURN QUERY
  WITH clawed AS (
    SELECT c.member_id, c.program_id, coalesce(c.origin_entry_no, c.lot_entry_no) AS entry_no, sum(c.points) AS points
    FROM loyalty.movement c WHERE c.kind = 'clawback' GROUP BY 1, 2, 3
  )
  SELECT 'grant_kept', l.program_id, l.member_id, l.entry_no,
    format('%s points were given and %s; taken back are %s and owed %s', trim_scale(l.points * 0.0001),
           CASE WHEN l.kept_amount IS NULL THEN 'are kept' ELSE 'are not kept' END, trim_scale(coalesce(-c.points, 0) * 0.0001), trim_scale(l.owed * 0.0001))
  FROM loyalty.lot l
  LEFT JOIN clawed c ON c.member_id = l.member_id AND c.program_id = l.program_id AND c.entry_no = l.entry_no
  WHERE l.kind = 'j' AND CASE WHEN l.kept_amount IS NULL THEN l.points ELSE 0 END <> l.points + coalesce(c.points, 0) - l.owed
  LIMIT most;

  -- a damaged breakdown ends the query: say which by looking at each
  BEGIN
    RETURN QUERY
    WITH clawed AS (
      SELECT c.member_id, c.program_id, coalesce(c.origin_entry_no, c.lot_entry_no) AS entry_no, sum(c.points) AS points
      FROM loyalty.movement c WHERE c.kind = 'clawback' GROUP BY 1, 2, 3
    ), shares AS (
      SELECT l.program_id, l.member_id, l.entry_no, l.points, l.owed, l.kept_amount, l.amount, l.breakdown, coalesce(c.points, 0) AS clawed,
        coalesce(loyalty.points_to_ledger(loyalty.breakdown_points(l.breakdown::loyalty.breakdown)), 0) AS shares
      FROM loyalty.lot l
      LEFT JOIN clawed c ON c.member_id = l.member_id AND c.program_id = l.program_id AND c.entry_no = l.entry_no
      WHERE l.kind = 'a' AND l.unit = 0
      OFFSET 0  -- each expression once
    ), award AS (
      SELECT h.*,
        CASE WHEN h.kept_amount IS NULL OR (h.kept_amount = 0 AND h.amount <> 0) THEN 0
             WHEN h.kept_amount = h.amount THEN h.shares
             WHEN h.kept_amount < 0 OR h.kept_amount > h.amount THEN NULL  -- award_kept says so
             ELSE coalesce(loyalty.points_to_ledger(loyalty.breakdown_points(h.breakdown::loyalty.breakdown, h.kept_amount, h.amount)), 0) END AS kept
      FROM shares h
      OFFSET 0
    ), bad AS (
      SELECT w.* FROM award w WHERE w.shares <> w.points OR w.kept <> w.points + w.clawed - w.owed
    )
    SELECT i.invariant, w.program_id, w.member_id, w.entry_no, i.detail
    FROM bad w
    CROSS JOIN LATERAL (VALUES
      ('award_shares', w.shares <> w.points,
        format('the shares of its rules are %s, the lot %s', trim_scale(w.shares * 0.0001), trim_scale(w.points * 0.0001))),
      ('award_clawback', w.kept <> w.points + w.clawed - w.owed,
        format('%s points should be kept; taken back are %s and owed %s of %s', trim_scale(w.kept * 0.0001), trim_scale(-w.clawed * 0.0001),
               trim_scale(w.owed * 0.0001), trim_scale(w.points * 0.0001)))
      ) i (invariant, broken, detail)
    WHERE i.broken LIMIT most;
  EXCEPTION WHEN SQLSTATE 'LY012' THEN
    RETURN QUERY
    SELECT 'award_breakdown', l.program_id, l.member_id, l.entry_no, e.error
    FROM loyalty.lot l CROSS JOIN LATERAL loyalty.breakdown_error(l.breakdown) e (error)
    WHERE e.error IS NOT NULL LIMIT most;
  END;
END $$;
COMMENT ON FUNCTION loyalty.verify_awards(integer) IS 'part of verify(): awards, their shares, what was taken back';
REVOKE ALL ON FUNCTION loyalty.verify_awards(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.breakdown_error(breakdown bytea) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM breakdown::loyalty.breakdown;
  RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LY012' THEN
  RETURN SQLERRM;
END $$;
COMMENT ON FUNCTION loyalty.breakdown_error(bytea) IS 'why these bytes are no breakdown; NULL: they are one';
REVOKE ALL ON FUNCTION loyalty.breakdown_error(bytea) FROM PUBLIC;

-- Accounts: the cached figures are those of the entries.
CREATE OR REPLACE FUNCTION loyalty.verify_accounts(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH alive AS (
    SELECT l.member_id, l.program_id,
      sum(l.remaining) FILTER (WHERE l.available_at <= a.settled_at) AS available,
      sum(l.remaining) FILTER (WHERE l.available_at > a.settled_at) AS pending,
      min(least(CASE WHEN l.life = -a.life THEN greatest(l.expires_at, a.inactive_at) ELSE l.expires_at END, CASE WHEN l.available_at > a.settled_at THEN l.available_at END)) AS next_change_at,
      min(l.entry_no) FILTER (WHERE (l.expires_at, l.entry_no) < (a.open_from_expires_at, a.open_from_entry_no)) AS passed_over
    FROM loyalty.lot l
    JOIN loyalty.account a ON a.member_id = l.member_id AND a.program_id = l.program_id
    WHERE l.remaining > 0 AND CASE WHEN l.life = -a.life THEN greatest(l.expires_at, a.inactive_at) ELSE l.expires_at END > a.settled_at AND (l.life <= 0 OR l.life = a.life)
    GROUP BY 1, 2
  ), debts AS (
    SELECT d.member_id, d.program_id, sum(d.left_over) AS left_over, bool_or(d.left_over > d.amount) AS grown FROM loyalty.debt d GROUP BY 1, 2
  ), holds AS (
    SELECT r.member_id, r.program_id, sum(r.taken) AS held, min(r.held_until) AS first_lapse FROM loyalty.redemption r WHERE r.state = 'held' GROUP BY 1, 2
  ), accounts AS (
    SELECT a.*, coalesce(v.available, 0) AS lots_available, coalesce(v.pending, 0) AS lots_pending, v.passed_over,
      least(v.next_change_at, a.period_end, a.tier_until, a.own_until, a.granted_until, a.lent_until[1], h.first_lapse, CASE WHEN a.inactive_at > a.settled_at THEN a.inactive_at END) AS first_change_at, h.first_lapse,
      coalesce(d.left_over, 0) AS debts, coalesce(d.grown, false) AS debt_grown, coalesce(h.held, 0) AS holds
    FROM loyalty.account a
    LEFT JOIN alive v ON v.member_id = a.member_id AND v.program_id = a.program_id
    LEFT JOIN debts d ON d.member_id = a.member_id AND d.program_id = a.program_id
    LEFT JOIN holds h ON h.member_id = a.member_id AND h.program_id = a.program_id
  )
  SELECT i.invariant, a.program_id, a.member_id, i.entry_no, i.detail
  FROM accounts a
  CROSS JOIN LATERAL (VALUES
    ('account_balance', a.available <> a.lots_available OR a.pending <> a.lots_pending, NULL::bigint,
      format('available is %s and pending %s; its lots hold %s and %s', trim_scale(a.available * 0.0001), trim_scale(a.pending * 0.0001),
             trim_scale(a.lots_available * 0.0001), trim_scale(a.lots_pending * 0.0001))),
    ('account_held', a.held <> a.holds, NULL,
      format('held is %s; its redemptions hold %s', trim_scale(a.held * 0.0001), trim_scale(a.holds * 0.0001))),
    ('hold_lapsed', a.first_lapse <= a.settled_at, NULL,
      format('a hold has lapsed at %s, and the account is settled to %s', a.first_lapse, a.settled_at)),
    ('account_debt', a.debt <> a.debts OR a.debt_grown, NULL,
      format('debt is %s; its debts are %s', trim_scale(a.debt * 0.0001), trim_scale(a.debts * 0.0001))),
    ('account_open_from', a.passed_over IS NOT NULL, a.passed_over, 'this lot is open and lies before open_from'),
    ('account_next_change', a.next_change_at > a.first_change_at, NULL,
      format('next_change_at is %s, and something changes at %s', a.next_change_at, a.first_change_at)),
    ('account_tier', NOT EXISTS (SELECT FROM loyalty.tier t JOIN loyalty.program p ON p.name = t.program WHERE t.id = a.tier_id AND p.id = a.program_id)
      AND a.tier_id IS NOT NULL, NULL, format('tier %s is not one of the program', a.tier_id))
    ) i (invariant, broken, entry_no, detail)
  WHERE i.broken LIMIT most;

  -- purchases count from when the program began to count activity: their lots have a life
  RETURN QUERY
  WITH kept AS (
    SELECT l.member_id, l.program_id, max(l.life) AS life,
      max(least(l.earned_at, l.at)) FILTER (WHERE l.kind = 'a' AND (l.kept_amount <> 0 OR l.kept_amount = l.amount) AND l.life > 0) AS active_at,
      max(least(l.earned_at, l.at)) FILTER (WHERE l.kind = 'a' AND (l.kept_amount <> 0 OR l.kept_amount = l.amount) OR l.kind = 'j' AND l.earned_at < l.at) AS shown_at
    FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE p.expiry::text LIKE '% inactive' GROUP BY 1, 2
  )
  SELECT i.invariant, a.program_id, a.member_id, NULL::bigint, i.detail
  FROM loyalty.account a
  JOIN loyalty.program p ON p.id = a.program_id
  LEFT JOIN kept k ON k.member_id = a.member_id AND k.program_id = a.program_id
  CROSS JOIN LATERAL (VALUES
    ('account_active', k.active_at > a.active_at OR a.active_at > coalesce(k.shown_at, '-infinity'),
      format('active_at is %s; the last purchase that is kept was made at %s', a.active_at, k.shown_at)),
    ('account_life', k.life > a.life OR k.life = a.life AND a.inactive_at <= a.settled_at AND EXISTS (
        SELECT FROM loyalty.lot l WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.life = a.life AND l.remaining > 0),
      format('its life %s ends at %s, it is settled to %s, and points belong to life %s', a.life, a.inactive_at, a.settled_at, k.life))
    ) i (invariant, broken, detail)
  WHERE p.expiry::text LIKE '% inactive' AND a.status <> 'merged' AND i.broken LIMIT most;

  RETURN QUERY
  SELECT 'account_tier', a.program_id, a.member_id, k.change_no, format('the last change of tier led to %s, and the account says %s', k.to_tier_id, a.tier_id)
  FROM loyalty.account a
  JOIN (SELECT DISTINCT ON (c.member_id, c.program_id) c.* FROM loyalty.tier_change c
        ORDER BY c.member_id, c.program_id, c.at DESC, c.change_no DESC) k ON k.member_id = a.member_id AND k.program_id = a.program_id
  WHERE k.to_tier_id IS DISTINCT FROM a.tier_id LIMIT most;

  BEGIN
    RETURN QUERY
    WITH counted AS (
      SELECT a.member_id, a.program_id, a.spend, a.spend_previous, a.earned, a.earned_previous, c.*
      FROM loyalty.account a
      CROSS JOIN LATERAL (
        SELECT coalesce(sum(v.points) FILTER (WHERE v.at >= a.period_start), 0) AS points,
          coalesce(sum(v.points) FILTER (WHERE v.at < a.period_start), 0) AS points_previous
        FROM loyalty.intervention v
        WHERE v.member_id = a.member_id AND v.program_id = a.program_id AND v.counts_for_tier AND v.unit_id IS NULL AND v.at >= a.previous_start) i
      LEFT JOIN LATERAL (
        SELECT coalesce(sum(l.kept_amount) FILTER (WHERE l.part % 64 = 0 AND least(l.earned_at, l.at) >= a.period_start), 0) AS amount,
          coalesce(sum(l.kept_amount) FILTER (WHERE l.part % 64 = 0 AND least(l.earned_at, l.at) < a.period_start), 0) AS amount_previous,
          coalesce(sum(k.points) FILTER (WHERE least(l.earned_at, l.at) >= a.period_start), 0) + i.points AS points,
          coalesce(sum(k.points) FILTER (WHERE least(l.earned_at, l.at) < a.period_start), 0) + i.points_previous AS points_previous
        FROM loyalty.lot l
        CROSS JOIN LATERAL (SELECT CASE
            WHEN l.unit <> 0 OR l.breakdown IS NULL OR l.kept_amount IS NULL OR (l.kept_amount = 0 AND l.amount <> 0) THEN 0
            WHEN l.kept_amount = l.amount THEN l.points
            ELSE loyalty.points_to_ledger(loyalty.breakdown_points(l.breakdown::loyalty.breakdown, l.kept_amount, l.amount)) END AS points) k
        WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.kind = 'a' AND least(l.earned_at, l.at) >= a.previous_start) c ON true
      -- rolling windows: verify_counters()
      WHERE NOT EXISTS (SELECT FROM loyalty.ladder_now p WHERE p.program_id = a.program_id AND p.tier_period LIKE 'rolling %')
    )
    SELECT i.invariant, c.program_id, c.member_id, NULL::bigint, i.detail
    FROM counted c
    CROSS JOIN LATERAL (VALUES
      ('account_spend', c.spend <> c.amount OR c.spend_previous <> c.amount_previous,
        format('spend is %s and was %s; kept purchases are %s and %s', c.spend, c.spend_previous, c.amount, c.amount_previous)),
      ('account_earned', c.earned <> c.points OR c.earned_previous <> c.points_previous,
        format('earned is %s and was %s; kept awards are %s and %s', trim_scale(c.earned * 0.0001), trim_scale(c.earned_previous * 0.0001),
               trim_scale(c.points * 0.0001), trim_scale(c.points_previous * 0.0001)))
      ) i (invariant, broken, detail)
    WHERE i.broken LIMIT most;
  EXCEPTION WHEN SQLSTATE 'LY012' OR SQLSTATE 'LY017' THEN
    NULL;  -- award_breakdown, award_kept
  END;
END $$;
COMMENT ON FUNCTION loyalty.verify_accounts(integer) IS 'part of verify(): balances, debts, holds, counters, tiers';
REVOKE ALL ON FUNCTION loyalty.verify_accounts(integer) FROM PUBLIC;

-- Debts: each is what its movements say, and nothing is available beside one.
CREATE OR REPLACE FUNCTION loyalty.verify_debts(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'debt_available', a.program_id, a.member_id, NULL::bigint,
    format('%s points are owed and %s are available', trim_scale(a.debt * 0.0001), trim_scale(a.available * 0.0001))
  FROM loyalty.account a WHERE a.debt > 0 AND a.available > 0 LIMIT most;

  RETURN QUERY
  WITH moved AS (
    SELECT m.member_id, m.program_id, CASE WHEN k.made THEN m.entry_no ELSE m.origin_entry_no END AS entry_no, sum(m.points) AS left_over,
      max(m.points) FILTER (WHERE k.made) AS amount, max(m.lot_expires_at) FILTER (WHERE k.made) AS lot_expires_at,
      max(m.lot_entry_no) FILTER (WHERE k.made) AS lot_entry_no
    FROM loyalty.movement m CROSS JOIN LATERAL (SELECT m.kind = 'debt' AND m.points > 0) k (made)
    WHERE m.kind IN ('debt', 'repay') GROUP BY 1, 2, 3
  )
  SELECT 'debt_movements', coalesce(d.program_id, v.program_id), coalesce(d.member_id, v.member_id), coalesce(d.entry_no, v.entry_no),
    format('of %s points of lot %s are left %s; its movements say %s, %s, %s', trim_scale(d.amount * 0.0001), d.lot_entry_no, trim_scale(d.left_over * 0.0001),
           coalesce(trim_scale(v.amount * 0.0001)::text, 'nothing'), v.lot_entry_no, trim_scale(v.left_over * 0.0001))
  FROM loyalty.debt d
  FULL JOIN moved v ON v.member_id = d.member_id AND v.program_id = d.program_id AND v.entry_no = d.entry_no
  WHERE (d.amount, d.left_over, d.lot_expires_at, d.lot_entry_no) IS DISTINCT FROM (v.amount, v.left_over, v.lot_expires_at, v.lot_entry_no)
  LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_debts(integer) IS 'part of verify(): debts, their movements, and that nothing is available beside them';
REVOKE ALL ON FUNCTION loyalty.verify_debts(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_redemptions(most integer)
RETURNS TABLE (invariant text, program_id integer, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'redemption_points', r.program_id, r.member_id, r.first_entry,
    format('redemption %s (%s) says that %s of %s points are taken; its movements have taken %s, hold %s and took %s at first', r.redemption_id,
           r.state, trim_scale(r.taken * 0.0001), trim_scale(r.points * 0.0001), trim_scale(coalesce(t.taken, 0) * 0.0001),
           trim_scale(coalesce(t.held, 0) * 0.0001), trim_scale(coalesce(t.first_taken, 0) * 0.0001))
  FROM loyalty.redemption r
  LEFT JOIN (SELECT m.member_id, m.redemption_id, -sum(m.points) AS taken, -sum(m.points) FILTER (WHERE m.kind = 'hold') AS held,
               -sum(m.points) FILTER (WHERE m.entry_no BETWEEN d.first_entry AND d.last_entry) AS first_taken
             FROM loyalty.movement m
             JOIN loyalty.redemption d ON d.member_id = m.member_id AND d.redemption_id = m.redemption_id
             WHERE m.redemption_id IS NOT NULL AND m.kind IN ('redeem', 'hold', 'restore') GROUP BY 1, 2) t
    ON t.member_id = r.member_id AND t.redemption_id = r.redemption_id
  WHERE coalesce(t.taken, 0) <> r.taken OR coalesce(t.first_taken, 0) <> r.points
    OR coalesce(t.held, 0) <> CASE WHEN r.state = 'held' THEN r.taken ELSE 0 END
    OR NOT CASE r.state WHEN 'held' THEN r.taken = r.points WHEN 'captured' THEN r.taken > 0 ELSE r.taken = 0 END
  LIMIT most;

  RETURN QUERY
  SELECT 'redemption_source', r.program_id, r.member_id, min(r.first_entry),
    format('%s points are spent on purchase "%s" of source %s, which said %s at most and is kept%s', trim_scale(sum(r.taken) * 0.0001), r.source_key,
           r.source_id, trim_scale(max(r.stated) * 0.0001), CASE WHEN bool_or(l.gone) THEN ' no more' END)
  FROM loyalty.redemption r
  LEFT JOIN (SELECT k.member_id, k.source_id, k.source_key, bool_and(k.kept_amount IS NULL OR (k.kept_amount = 0 AND k.amount <> 0)) AS gone
             FROM loyalty.lot k WHERE k.source_id IN (SELECT d.source_id FROM loyalty.redemption d) GROUP BY 1, 2, 3) l
    ON l.member_id = r.member_id AND l.source_id = r.source_id AND l.source_key = r.source_key
  WHERE r.source_id IS NOT NULL
  GROUP BY r.program_id, r.member_id, r.source_id, r.source_key
  HAVING sum(r.taken) > max(r.stated) OR (bool_or(l.gone) AND sum(r.taken) > 0)
  LIMIT most;

  RETURN QUERY
  SELECT 'movement_redemption', m.program_id, m.member_id, m.entry_no, format('it names redemption %s, which is not there', m.redemption_id)
  FROM loyalty.movement m
  WHERE m.redemption_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM loyalty.redemption r WHERE r.member_id = m.member_id AND r.redemption_id = m.redemption_id)
  LIMIT most;
END $$;
COMMENT ON FUNCTION loyalty.verify_redemptions(integer) IS 'part of verify(): redemptions and what they took';
REVOKE ALL ON FUNCTION loyalty.verify_redemptions(integer) FROM PUBLIC;

-- Triggers of attached tables, mappings, stock, history.
CREATE OR REPLACE FUNCTION loyalty.verify_configuration()
RETURNS TABLE (invariant text, program text, detail text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'source_triggers', s.program,
    format('source "%s": trigger %s of %s %s', s.name, t.name, s.relation,
           CASE g.tgenabled WHEN 'D' THEN 'is disabled' WHEN 'R' THEN 'fires for replication alone'
             WHEN 'O' THEN 'does not fire for replication' WHEN 'A' THEN 'fires for replication, too' ELSE 'is missing' END)
  FROM loyalty.source s CROSS JOIN LATERAL loyalty.source_triggers(s.relation) t
  LEFT JOIN pg_trigger g ON g.tgrelid = s.relation AND g.tgname = t.name
  WHERE s.attached AND g.tgenabled IS DISTINCT FROM loyalty.source_triggers_state(s.relation)
  ORDER BY s.program, s.name, t.name;

  RETURN QUERY
  SELECT 'source_triggers', s.program,
    format('source "%s": trigger %s of %s is not what the mapping asks for; loyalty.attach_triggers(%L) makes it anew', s.name, t.name, s.relation, s.relation)
  FROM loyalty.source s CROSS JOIN LATERAL loyalty.source_triggers(s.relation) t
  JOIN pg_trigger g ON g.tgrelid = s.relation AND g.tgname = t.name
  WHERE s.attached AND pg_get_triggerdef(g.oid) <> t.definition
  ORDER BY s.program, s.name, t.name;

  RETURN QUERY
  SELECT 'source_table', s.program, format('source "%s": its table %s is gone', s.name, s.relation)
  FROM loyalty.source s WHERE s.attached AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation);

  RETURN QUERY
  SELECT 'source_mapping', s.program, format('source "%s": %s', s.name, e.error)
  FROM loyalty.source s JOIN pg_class c ON c.oid = s.relation CROSS JOIN LATERAL loyalty.mapping_error(s.relation) e (error)
  WHERE s.attached AND s.enabled AND e.error IS NOT NULL;

  RETURN QUERY
  SELECT 'reward_stock', w.program, format('reward "%s": %s pieces were put up, %s are left in %s places', w.name, w.stock, k.left_over, k.slots)
  FROM loyalty.reward w
  CROSS JOIN LATERAL (SELECT count(*) AS slots, coalesce(sum(s.left_over), 0) AS left_over FROM loyalty.reward_stock s WHERE s.reward_id = w.id) k
  WHERE k.left_over > w.stock OR k.slots <> CASE WHEN w.stock IS NULL THEN 0 ELSE 16 END;

  RETURN QUERY
  SELECT 'config_history', NULL::text, format('%s %s: state from %s to %s %s', h.config, h.id, h.valid_from, h.valid_to,
    CASE WHEN h.valid_from >= h.valid_to THEN 'has no length' ELSE format('overlaps the next, from %s', h.next_from) END)
  FROM (SELECT c.*, lead(c.valid_from) OVER (PARTITION BY c.config, c.id ORDER BY c.valid_from, c.valid_to) AS next_from FROM loyalty.config_history c) h
  WHERE h.valid_from >= h.valid_to OR h.valid_to > h.next_from;
END $$;
COMMENT ON FUNCTION loyalty.verify_configuration() IS 'part of verify(): triggers, mappings, stock, history';
REVOKE ALL ON FUNCTION loyalty.verify_configuration() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify_all(most integer)
RETURNS TABLE (invariant text, program text, member_id bigint, entry_no bigint, detail text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT v.invariant, coalesce(p.name, v.program_id::text), v.member_id, v.entry_no, v.detail
  FROM (SELECT * FROM loyalty.verify_lots(most)
        UNION ALL SELECT * FROM loyalty.verify_origins(most)
        UNION ALL SELECT * FROM loyalty.verify_awards(most)
        UNION ALL SELECT * FROM loyalty.verify_accounts(most)
        UNION ALL SELECT * FROM loyalty.verify_debts(most)
        UNION ALL SELECT * FROM loyalty.verify_redemptions(most)
        UNION ALL SELECT * FROM loyalty.verify_pools(most)
        UNION ALL SELECT * FROM loyalty.verify_limits(most)
        UNION ALL SELECT * FROM loyalty.verify_counters(most)
        UNION ALL SELECT * FROM loyalty.verify_vouchers(most)
        UNION ALL SELECT * FROM loyalty.verify_subscriptions(most)
        UNION ALL SELECT * FROM loyalty.verify_donations(most)
        UNION ALL SELECT * FROM loyalty.verify_referrals(most)
        UNION ALL SELECT * FROM loyalty.verify_challenges(most)
        UNION ALL SELECT * FROM loyalty.verify_recognition(most)) v
  LEFT JOIN loyalty.program p ON p.id = v.program_id;
  RETURN QUERY
  SELECT c.invariant, c.program, NULL::bigint, NULL::bigint, c.detail FROM loyalty.verify_configuration() c;
END $$;
COMMENT ON FUNCTION loyalty.verify_all(integer) IS 'the body of verify()';
REVOKE ALL ON FUNCTION loyalty.verify_all(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.verify()
RETURNS TABLE (invariant text, program text, member_id bigint, entry_no bigint, detail text)
LANGUAGE c VOLATILE ROWS 10 COST 1000000 AS 'MODULE_PATHNAME', 'loyalty_verify';
COMMENT ON FUNCTION loyalty.verify() IS
  'one row a violated invariant of ledger, triggers and configuration; none when all is sound; at most 1000 rows a group of invariants. Walks all entries';
REVOKE ALL ON FUNCTION loyalty.verify() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.status_rows()
RETURNS TABLE (item text, value text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  missing text;
BEGIN
  SELECT string_agg(s.word, ', ' ORDER BY s.step) INTO missing FROM loyalty.install_steps() s
  WHERE NOT EXISTS (SELECT FROM loyalty.installed i WHERE i.step = s.step);
  RETURN QUERY SELECT 'version', loyalty.version(), NULL::text;
  RETURN QUERY SELECT 'tables', format('step %s of %s', (SELECT max(i.step) FROM loyalty.installed i), (SELECT max(s.step) FROM loyalty.install_steps() s)),
    CASE WHEN missing IS NOT NULL THEN format('SELECT loyalty.install(): missing are %s', missing) END;
  RETURN QUERY SELECT 'owner', (SELECT pg_get_userbyid(c.relowner)::text FROM pg_class c WHERE c.oid = 'loyalty.account'::regclass), NULL::text;
  RETURN QUERY
  SELECT 'program ' || p.name,
    concat_ws(', ', CASE WHEN NOT p.enabled THEN 'disabled' END, CASE WHEN p.is_default THEN 'default' END, CASE WHEN p.sandbox THEN 'sandbox' END,
      format('%s accounts', (SELECT count(*) FROM loyalty.account a WHERE a.program_id = p.id)),
      (SELECT format('%s overdue', count(*)) FROM loyalty.account a WHERE a.program_id = p.id AND a.next_change_at <= loyalty.instant())),
    CASE WHEN EXISTS (SELECT FROM loyalty.account a WHERE a.program_id = p.id AND a.next_change_at <= loyalty.instant())
      THEN 'Balances are right all the same; CALL loyalty.run_maintenance() writes down what is due.' END
  FROM loyalty.program p ORDER BY p.id;
  RETURN QUERY
  SELECT format('source %s of %s', s.name, s.program),
    concat_ws(', ', s.relation::text, CASE WHEN NOT s.attached THEN 'detached' WHEN NOT s.enabled THEN 'disabled' ELSE 'enabled' END,
      CASE WHEN s.attached THEN CASE WHEN t.are_on THEN 'triggers on' ELSE 'triggers off' END END),
    CASE WHEN s.attached AND NOT t.are_on THEN format('SELECT loyalty.attach_triggers(%L) makes and enables them; then SELECT * FROM loyalty.reconcile() posts what they missed.', s.relation) END
  FROM loyalty.source s
  CROSS JOIN LATERAL (
    SELECT coalesce(bool_and(g.tgenabled IS NOT NULL AND g.tgenabled <> 'D'), false) AS are_on
    FROM loyalty.source_triggers(s.relation) w LEFT JOIN pg_trigger g ON g.tgrelid = s.relation AND g.tgname = w.name) t
  ORDER BY s.id;
  RETURN QUERY
  SELECT format('unit %s of %s', u.name, u.program), 'no rule awards it', 'Tiers ask for it: is its name the one that rules have? It can also be given by loyalty.adjust_unit().'
  FROM loyalty.unit u JOIN loyalty.program p ON p.name = u.program
  WHERE NOT EXISTS (SELECT FROM loyalty.rule r WHERE r.program = u.program AND r.unit = u.name AND r.enabled)
    AND (p.tier_metric = u.name OR EXISTS (SELECT FROM loyalty.tier_requirement q WHERE q.program = u.program AND q.metric = u.name))
  ORDER BY u.id;
  RETURN QUERY
  SELECT 'review', format('%s purchases', count(*)),
    CASE WHEN count(*) > 0 THEN 'Their rules failed, or what follows their sales: see loyalty.review; SELECT * FROM loyalty.reconcile() posts them.' END
  FROM loyalty.review r WHERE r.settled_at IS NULL;
  IF to_regclass('loyalty.code_pool_level') IS NOT NULL THEN
    RETURN QUERY
    SELECT format('pool %s of %s', l.pool, l.program), format('%s codes left', l.left_over), 'Load more: COPY loyalty.code (program, pool, code).'
    FROM loyalty.code_pool_level l WHERE l.low ORDER BY l.program, l.pool;
  END IF;
  RETURN QUERY
  SELECT 'job ' || j.name, format('%s, %s of %s changed', CASE WHEN j.finished_at IS NOT NULL THEN format('finished %s', j.finished_at)
      WHEN j.stopped_at IS NOT NULL THEN format('stopped %s', j.stopped_at) ELSE format('runs, or was broken off after %s', j.updated_at) END, j.done, j.seen),
    CASE WHEN j.finished_at IS NULL AND j.stopped_at IS NOT NULL THEN 'Call it again: it goes on from its place.' END
  FROM (SELECT DISTINCT ON (b.name) b.* FROM loyalty.job b ORDER BY b.name, b.job_id DESC) j ORDER BY j.name;
  RETURN QUERY SELECT 'members excluded', count(*)::text, NULL::text FROM loyalty.member m WHERE m.status <> 'active';
  RETURN QUERY
  SELECT 'setting ' || v.name, v.value, CASE WHEN v.value NOT IN ('off', '') THEN v.hint END
  FROM (VALUES ('loyalty.allow_drop', current_setting('loyalty.allow_drop'), 'A ledger can be dropped in this session.'),
               ('loyalty.archiving', current_setting('loyalty.archiving'), 'Deleted purchases keep their points in this session.'),
               ('loyalty.now', current_setting('loyalty.now'), 'Balances and views of this session are those of another instant.'),
               ('loyalty.restoring', current_setting('loyalty.restoring'), 'Purchases of this session earn nothing.')) v (name, value, hint);
END $$;
COMMENT ON FUNCTION loyalty.status_rows() IS 'the body of status()';
REVOKE ALL ON FUNCTION loyalty.status_rows() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.status() RETURNS TABLE (item text, value text, hint text)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20 COST 10000 AS 'MODULE_PATHNAME', 'loyalty_status';
COMMENT ON FUNCTION loyalty.status() IS 'how things are: versions, programs, accounts with something due, attached tables and their triggers, review, settings; hint: what to do where something is to be done';
REVOKE ALL ON FUNCTION loyalty.status() FROM PUBLIC;
