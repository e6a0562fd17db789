-- explain(): from a balance, or a redemption, to the lots, the rules and the purchases behind it.

-- Where a lot's points were earned is found by following loyalty.lot_origin to its end, over members if need be.
CREATE OR REPLACE FUNCTION loyalty.explain_of(member_id bigint, program_id integer, redemption_id bigint)
RETURNS TABLE (lot bigint, points numeric, state text, what text, source text, source_key text, amount numeric, kept numeric,
  earned_at timestamptz, available_at timestamptz, expires_at timestamptz, last_day date, of_member bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = explain_of.member_id AND a.program_id = explain_of.program_id) THEN
    RAISE EXCEPTION 'member % has no account in this program', explain_of.member_id
      USING ERRCODE = 'LY002', HINT = 'A member gets an account by a first purchase, or by loyalty.enroll().';
  END IF;
  IF explain_of.redemption_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM loyalty.redemption r
    WHERE r.member_id = explain_of.member_id AND r.redemption_id = explain_of.redemption_id AND r.program_id = explain_of.program_id) THEN
    RAISE EXCEPTION 'member % has no redemption % in this program', explain_of.member_id, explain_of.redemption_id
      USING ERRCODE = 'LY017', HINT = 'loyalty.redemption lists the redemptions; leave it out for the balance.';
  END IF;
  RETURN QUERY
  WITH RECURSIVE part AS (
    SELECT l.expires_at, l.entry_no, l.remaining AS points, CASE WHEN l.available_at > n.at THEN 'pending' ELSE 'available' END AS state, l.entry_no AS place
    FROM loyalty.account a
    LEFT JOIN LATERAL loyalty.settled(CASE WHEN a.active_at = 'infinity' AND loyalty.instant() >= a.next_change_at THEN a.member_id END, a.program_id, loyalty.instant()) s ON true
    CROSS JOIN LATERAL (SELECT greatest(loyalty.instant(), a.settled_at) AS at, coalesce(s.inactive_at, a.inactive_at) AS inactive_at) n
    JOIN loyalty.lot l ON l.member_id = a.member_id AND l.program_id = a.program_id
      AND (l.expires_at, l.entry_no) >= (a.open_from_expires_at, a.open_from_entry_no) AND l.remaining > 0
      AND CASE WHEN l.life = -a.life THEN greatest(l.expires_at, n.inactive_at) > n.at
        ELSE l.expires_at > n.at AND (l.life <= 0 OR l.life = a.life AND n.inactive_at > n.at) END
    WHERE a.member_id = explain_of.member_id AND a.program_id = explain_of.program_id AND explain_of.redemption_id IS NULL
    UNION ALL
    SELECT m.lot_expires_at, m.lot_entry_no, -sum(m.points)::bigint, min(r.state), min(m.entry_no)
    FROM loyalty.redemption r
    JOIN loyalty.movement m ON m.member_id = r.member_id AND m.program_id = r.program_id AND m.redemption_id = r.redemption_id
    WHERE r.member_id = explain_of.member_id AND r.redemption_id = explain_of.redemption_id AND m.kind IN ('redeem', 'hold', 'restore')
    GROUP BY m.lot_expires_at, m.lot_entry_no HAVING sum(m.points) <> 0
  ), path AS (
    SELECT p.entry_no, explain_of.member_id AS root_member, p.entry_no AS root_no, p.expires_at AS root_expires_at, 0 AS steps FROM part p
    UNION ALL
    SELECT h.entry_no, o.origin_member_id, o.origin_entry_no, o.origin_expires_at, h.steps + 1
    FROM path h JOIN loyalty.lot_origin o ON o.member_id = h.root_member AND o.program_id = explain_of.program_id AND o.entry_no = h.root_no
  ), root AS (
    SELECT DISTINCT ON (h.entry_no) h.* FROM path h ORDER BY h.entry_no, h.steps DESC
  )
  SELECT p.entry_no, trim_scale(p.points * 0.0001), p.state,
    CASE WHEN g.kind = 'a' THEN (
        SELECT string_agg(format('%s +%s', coalesce(k.name, 'tier ' || t.name, 'rule ' || b.rule), b.points), ', ' ORDER BY b.place)
        FROM loyalty.breakdown_shares(g.breakdown::loyalty.breakdown) WITH ORDINALITY b (rule, own, units, points, place)
        LEFT JOIN loyalty.rule k ON k.id = b.rule
        LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
        WHERE b.own AND b.points::numeric > 0)
      ELSE (SELECT concat(i.action, ': ' || i.reason) FROM loyalty.intervention i
            WHERE i.member_id = g.member_id AND i.program_id = g.program_id AND i.entry_no = g.entry_no) END,
    s.name, g.source_key, g.amount, g.kept_amount, l.earned_at, l.available_at,
    CASE WHEN isfinite(d.ends_at) THEN d.ends_at END,
    CASE WHEN isfinite(d.ends_at) THEN loyalty.last_day(d.ends_at, c.timezone) END,
    nullif(g.member_id, explain_of.member_id)
  FROM part p
  JOIN root h ON h.entry_no = p.entry_no
  JOIN loyalty.lot l ON l.member_id = explain_of.member_id AND l.program_id = explain_of.program_id AND l.expires_at = p.expires_at AND l.entry_no = p.entry_no
  CROSS JOIN LATERAL (SELECT CASE WHEN l.life = 0 THEN l.expires_at ELSE loyalty.lot_end(l.member_id, l.program_id, l.expires_at, l.entry_no, l.life) END) d (ends_at)
  JOIN loyalty.lot g ON g.member_id = h.root_member AND g.program_id = explain_of.program_id AND g.expires_at = h.root_expires_at AND g.entry_no = h.root_no
  JOIN loyalty.program c ON c.id = explain_of.program_id
  LEFT JOIN loyalty.source s ON s.id = g.source_id
  ORDER BY CASE WHEN explain_of.redemption_id IS NULL THEN l.expires_at END, p.place;
END $$;
COMMENT ON FUNCTION loyalty.explain_of(bigint, integer, bigint) IS 'the body of explain()';
REVOKE ALL ON FUNCTION loyalty.explain_of(bigint, integer, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.explain(member_id bigint, program text DEFAULT NULL, redemption_id bigint DEFAULT NULL)
RETURNS TABLE (lot bigint, points numeric, state text, what text, source text, source_key text, amount numeric, kept numeric,
  earned_at timestamptz, available_at timestamptz, expires_at timestamptz, last_day date, of_member bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_explain';
COMMENT ON FUNCTION loyalty.explain(bigint, text, bigint) IS
  'where points come from, one row a lot in burn order: those of the balance now, or those that a redemption took; what and source_key say which rules gave the lot for which purchase, of_member who earned what was transferred';
REVOKE ALL ON FUNCTION loyalty.explain(bigint, text, bigint) FROM PUBLIC;
