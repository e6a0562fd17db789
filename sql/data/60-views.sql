-- What people and reports read.  Every view reads written entries plus those that are due at loyalty.instant(): it
-- agrees with loyalty.balance() whether or not maintenance has run.  Figures come as numeric, never as a type of ours.
-- All columns of a UNION are named: what pg_dump writes reads back the same.
-- Views have the rights of who reads them: policies on the tables count, and readers need SELECT on what is read.

-- replay
-- Inside of the other views: the ladder of each program that is in force, which may not be the one that is written.
CREATE OR REPLACE VIEW loyalty.ladder_now WITH (security_invoker = true) AS
SELECT p.id AS program_id, p.name AS program, p.timezone, coalesce(l.ladder_no, 0) AS ladder_no, l.since,
  coalesce(l.tier_metric, p.tier_metric) AS tier_metric, coalesce(l.tier_period, p.tier_period::text) AS tier_period,
  l.tier_metric IS NOT NULL AS waiting
FROM loyalty.program p
LEFT JOIN loyalty.ladder l ON l.program_id = p.id
  AND NOT EXISTS (SELECT FROM loyalty.ladder k WHERE k.program_id = l.program_id AND k.ladder_no > l.ladder_no);

-- Inside of the other views: accounts as they are at the instant.  settled() is asked for those alone to which
-- something has happened since they were written, or that die of inactivity (NULL for the others, and it is STRICT).
CREATE OR REPLACE VIEW loyalty.account_now WITH (security_invoker = true) AS
SELECT a.member_id, a.program_id, p.program, p.timezone, p.tier_metric,
  CASE WHEN s.as_of IS NULL THEN a.available ELSE s.available END AS available,
  CASE WHEN s.as_of IS NULL THEN a.pending ELSE s.pending END AS pending,
  CASE WHEN s.as_of IS NULL THEN a.held ELSE s.held END AS held,
  CASE WHEN s.as_of IS NULL THEN a.debt ELSE s.debt END AS debt,
  CASE WHEN s.as_of IS NULL THEN a.tier_id ELSE s.tier_id END AS tier_id,
  CASE WHEN s.as_of IS NULL THEN a.tier_until ELSE s.tier_until END AS tier_until,
  CASE p.tier_metric
    WHEN 'points' THEN trim_scale(0.0001 * CASE WHEN s.as_of IS NULL THEN a.earned ELSE s.earned END)
    WHEN 'visits' THEN CASE WHEN s.as_of IS NULL THEN a.visits ELSE s.visits END
    WHEN 'spend' THEN CASE WHEN s.as_of IS NULL THEN a.spend ELSE s.spend END
    ELSE (SELECT trim_scale(u.value) FROM loyalty.units_at(a.member_id, a.program_id, loyalty.instant()) u
          JOIN loyalty.unit n ON n.id = u.unit_id WHERE n.program = p.program AND n.name = p.tier_metric)
  END AS value,
  greatest(loyalty.instant(), a.settled_at) AS as_of,
  a.settled_at, a.open_from_expires_at, a.open_from_entry_no,
  s.as_of IS NOT NULL AS due, s.next_expiry_at, s.next_expiry_points,
  CASE WHEN s.as_of IS NULL THEN a.spend ELSE s.spend END AS spend,
  trim_scale(0.0001 * CASE WHEN s.as_of IS NULL THEN a.earned ELSE s.earned END) AS earned,
  CASE WHEN s.as_of IS NULL THEN a.visits ELSE s.visits END::numeric AS visits,
  CASE WHEN s.as_of IS NULL THEN a.period_start ELSE s.period_start END AS period_start,
  CASE WHEN s.as_of IS NULL THEN a.period_end ELSE s.period_end END AS period_end
FROM loyalty.account a
JOIN loyalty.ladder_now p ON p.program_id = a.program_id
LEFT JOIN LATERAL loyalty.settled(CASE WHEN loyalty.instant() >= a.next_change_at OR coalesce(a.ladder_no, 0) < p.ladder_no
  OR a.inactive_at < 'infinity' OR a.active_at = 'infinity' THEN a.member_id END, a.program_id, loyalty.instant()) s ON true
WHERE a.status <> 'merged';

-- Inside of the other views: what tiers ask for on the ladder in force, option by option.
CREATE OR REPLACE VIEW loyalty.tier_asks WITH (security_invoker = true) AS
SELECT a.*, EXISTS (SELECT FROM loyalty.unit u WHERE u.program = a.program AND u.name = a.metric AND (u.lifetime OR u.carries_over)) AS lasting
FROM (
  SELECT t.program, t.id, t.name, t.rank, 'threshold' AS option, l.tier_metric AS metric,
    CASE WHEN r.tier_id IS NULL THEN t.threshold ELSE r.threshold END AS threshold
  FROM loyalty.tier t
  JOIN loyalty.ladder_now l ON l.program = t.program
  LEFT JOIN loyalty.ladder_rung r ON r.program_id = l.program_id AND r.ladder_no = l.ladder_no AND r.tier_id = t.id AND r.option = 0 AND r.metric = ''
  WHERE t.enabled AND CASE WHEN r.tier_id IS NULL THEN t.threshold ELSE r.threshold END IS NOT NULL
  UNION ALL
  SELECT t.program, t.id, t.name, t.rank, q.option::text AS option, q.metric, q.threshold
  FROM loyalty.tier t
  JOIN loyalty.ladder_now l ON l.program = t.program
  JOIN loyalty.tier_requirement q ON q.program = t.program AND q.tier = t.name
  WHERE t.enabled AND NOT EXISTS (SELECT FROM loyalty.ladder_rung r
    WHERE r.program_id = l.program_id AND r.ladder_no = l.ladder_no AND r.tier_id = t.id AND r.option = 0 AND r.metric = '')
  UNION ALL
  SELECT t.program, t.id, t.name, t.rank, r.option::text AS option, r.metric, r.threshold
  FROM loyalty.tier t
  JOIN loyalty.ladder_now l ON l.program = t.program
  JOIN loyalty.ladder_rung r ON r.program_id = l.program_id AND r.ladder_no = l.ladder_no AND r.tier_id = t.id AND r.metric <> ''
  WHERE t.enabled) a;

-- Inside of the other views: tiers that figures can reach, and how much of the programs own metric suffices for that;
-- NULL where other metrics are asked for, too.
CREATE OR REPLACE VIEW loyalty.tier_reach WITH (security_invoker = true) AS
SELECT o.program, o.id, o.name, o.rank, min(o.threshold) FILTER (WHERE o.alone) AS needs
FROM (
  SELECT k.program, k.id, k.name, k.rank, k.option, min(k.threshold) AS threshold,
    bool_and(k.metric = l.tier_metric) AS alone
  FROM loyalty.tier_asks k JOIN loyalty.ladder_now l ON l.program = k.program
  GROUP BY k.program, k.id, k.name, k.rank, k.option) o
GROUP BY o.program, o.id, o.name, o.rank;

CREATE OR REPLACE VIEW loyalty.member_balance WITH (security_invoker = true) AS
SELECT a.member_id,
  (SELECT min(m.external_id) FROM loyalty.member_alias m WHERE m.member_id = a.member_id) AS external_id,
  a.program,
  trim_scale(a.available * 0.0001) AS available,
  trim_scale(a.pending * 0.0001) AS pending,
  trim_scale(a.held * 0.0001) AS held,
  trim_scale(a.debt * 0.0001) AS debt,
  t.name AS tier,
  (SELECT n.name FROM loyalty.tier_reach n WHERE n.program = a.program AND (t.rank IS NULL OR n.rank > t.rank)
   ORDER BY n.rank LIMIT 1) AS next_tier,
  (SELECT trim_scale(n.needs - least(a.value, n.needs)) FROM loyalty.tier_reach n
   WHERE n.program = a.program AND (t.rank IS NULL OR n.rank > t.rank)
   ORDER BY n.rank LIMIT 1) AS to_next_tier,
  CASE WHEN a.due THEN a.next_expiry_at ELSE (SELECT min(l.expires_at) FROM loyalty.lot l
   WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.remaining > 0 AND l.life = 0 AND l.expires_at < 'infinity' AND l.expires_at > a.as_of
     AND (l.expires_at, l.entry_no) >= (a.open_from_expires_at, a.open_from_entry_no)) END AS next_expiry_at,
  CASE WHEN a.due THEN trim_scale(a.next_expiry_points * 0.0001) ELSE (SELECT trim_scale(sum(l.remaining) * 0.0001) FROM loyalty.lot l
   WHERE l.member_id = a.member_id AND l.program_id = a.program_id AND l.remaining > 0 AND l.life = 0 AND l.expires_at = (
     SELECT min(n.expires_at) FROM loyalty.lot n
     WHERE n.member_id = a.member_id AND n.program_id = a.program_id AND n.remaining > 0 AND n.life = 0 AND n.expires_at < 'infinity' AND n.expires_at > a.as_of
       AND (n.expires_at, n.entry_no) >= (a.open_from_expires_at, a.open_from_entry_no))) END AS next_expiry_points,
  a.as_of
FROM loyalty.account_now a
LEFT JOIN loyalty.tier t ON t.id = a.tier_id AND t.enabled;

-- Written entries by their number, then due ones by their time: where nothing is held and no life ends, expiries are all
-- that can be due, and cheap to find; else the ledger is asked.  A member's rows are found by index.
CREATE OR REPLACE VIEW loyalty.statement WITH (security_invoker = true) AS
SELECT e.member_id, p.name AS program, e.entry_no, e.at, e.kind,
  trim_scale(e.points * 0.0001) AS points,
  trim_scale(e.balance_after * 0.0001) AS balance_after,
  CASE
    WHEN e.kind IN ('earn', 'clawback', 'expire') THEN coalesce(e.reason, nullif(concat_ws(', ', (
      SELECT string_agg(concat(coalesce(r.name, 'tier ' || t.name, 'rule ' || b.rule), ' +', b.points, ' ' || r.unit), ', ' ORDER BY b.place)
      FROM loyalty.breakdown_shares(e.breakdown::loyalty.breakdown) WITH ORDINALITY b (rule, own, units, points, place)
      LEFT JOIN loyalty.rule r ON r.id = b.rule
      LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
      WHERE b.own AND b.points::numeric > 0), s.name || ' ' || e.source_key), ''))
    WHEN e.kind = 'transfer' THEN (
      SELECT concat(CASE WHEN o.origin_member_id = o.member_id THEN 'another life'
                         WHEN e.entry_no = e.lot_entry_no THEN format('given by member %s', o.origin_member_id)
                         ELSE format('given to member %s', o.member_id) END, ': ' || m.reason)
      FROM (SELECT i.* FROM loyalty.lot_origin i
            WHERE e.entry_no = e.lot_entry_no AND i.member_id = e.member_id AND i.program_id = e.program_id AND i.entry_no = e.entry_no
            UNION ALL
            SELECT i.* FROM loyalty.lot_origin i
            WHERE e.entry_no <> e.lot_entry_no AND i.origin_member_id = e.member_id AND i.program_id = e.program_id
              AND i.origin_entry_no = e.lot_entry_no AND i.moved_by = e.entry_no) o
      LEFT JOIN loyalty.movement m ON m.member_id = o.origin_member_id AND m.program_id = o.program_id AND m.entry_no = o.moved_by)
    WHEN e.redemption_id IS NOT NULL THEN (
      SELECT coalesce(w.name, d.reason, 'paid ' || o.name || ' ' || d.source_key, e.reason)
      FROM loyalty.redemption d LEFT JOIN loyalty.reward w ON w.id = d.reward_id LEFT JOIN loyalty.source o ON o.id = d.source_id
      WHERE d.member_id = e.member_id AND d.redemption_id = e.redemption_id)
    WHEN e.kind = 'adjust' THEN coalesce(e.reason, (
      SELECT i.reason FROM loyalty.intervention i
      WHERE i.member_id = e.member_id AND i.program_id = e.program_id AND i.entry_no = e.entry_no))
    ELSE e.reason
  END AS what,
  s.name AS source, e.source_key,
  CASE WHEN isfinite(x.ends_at) THEN x.ends_at END AS expires_at,
  CASE WHEN isfinite(x.ends_at) THEN loyalty.last_day(x.ends_at, p.timezone) END AS last_day
FROM (
  SELECT u.*, sum(u.points) OVER (PARTITION BY u.member_id, u.program_id ORDER BY u.entry_no NULLS LAST, u.at, u.due_no, u.lot_entry_no
                                  ROWS UNBOUNDED PRECEDING) AS balance_after
  FROM (
    SELECT l.member_id, l.program_id, l.entry_no, l.at, l.entry_no AS lot_entry_no,
      CASE l.kind WHEN 'a' THEN 'earn' WHEN 'j' THEN 'adjust' WHEN 't' THEN 'transfer' END AS kind,
      l.points, l.breakdown, NULL::bigint AS redemption_id, NULL::text AS reason, l.source_id, l.source_key, l.expires_at, l.life, NULL::bigint AS due_no
    FROM loyalty.lot l
    UNION ALL
    SELECT m.member_id, m.program_id, m.entry_no, m.at, m.lot_entry_no, m.kind, m.points, NULL::bytea AS breakdown, m.redemption_id, m.reason,
      coalesce(o.source_id, l.source_id) AS source_id, coalesce(o.source_key, l.source_key) AS source_key, m.lot_expires_at AS expires_at, l.life, NULL::bigint AS due_no
    FROM loyalty.movement m
    LEFT JOIN loyalty.lot l ON l.member_id = m.member_id AND l.program_id = m.program_id AND l.expires_at = m.lot_expires_at AND l.entry_no = m.lot_entry_no
    LEFT JOIN loyalty.lot o ON o.member_id = m.member_id AND o.program_id = m.program_id AND o.entry_no = m.origin_entry_no
    UNION ALL
    SELECT i.member_id, i.program_id, i.entry_no, i.at, i.entry_no AS lot_entry_no, 'merge' AS kind, 0::bigint AS points, NULL::bytea AS breakdown,
      NULL::bigint AS redemption_id, i.reason, NULL::integer AS source_id, NULL::text AS source_key, NULL::timestamptz AS expires_at, 0::smallint AS life, NULL::bigint AS due_no
    FROM loyalty.intervention i WHERE i.action = 'merge'
    UNION ALL
    SELECT l.member_id, l.program_id, NULL::bigint AS entry_no, l.expires_at AS at, l.entry_no AS lot_entry_no, 'expire' AS kind, -l.remaining AS points,
      NULL::bytea AS breakdown, NULL::bigint AS redemption_id, NULL::text AS reason, l.source_id, l.source_key, l.expires_at, l.life, NULL::bigint AS due_no
    FROM loyalty.lot l
    JOIN loyalty.account a ON a.member_id = l.member_id AND a.program_id = l.program_id
    WHERE l.remaining > 0 AND l.expires_at > a.settled_at AND l.expires_at <= loyalty.instant() AND a.debt = 0 AND a.held = 0 AND a.inactive_at = 'infinity' AND a.active_at < 'infinity' AND l.life = 0
    UNION ALL
    SELECT a.member_id, a.program_id, NULL::bigint AS entry_no, d.at, d.lot_entry_no, d.kind, d.points,
      NULL::bytea AS breakdown, d.redemption_id, NULL::text AS reason, l.source_id, l.source_key, d.lot_expires_at AS expires_at, l.life, d.due_no
    FROM loyalty.account a
    CROSS JOIN LATERAL loyalty.due_movements(CASE WHEN loyalty.instant() >= a.next_change_at THEN a.member_id END, a.program_id, loyalty.instant()) d
    LEFT JOIN loyalty.lot l ON l.member_id = a.member_id AND l.program_id = a.program_id AND l.expires_at = d.lot_expires_at AND l.entry_no = d.lot_entry_no
    WHERE a.debt > 0 OR a.held > 0 OR a.inactive_at < 'infinity' OR a.active_at = 'infinity') u) e
JOIN loyalty.program p ON p.id = e.program_id
CROSS JOIN LATERAL (SELECT CASE WHEN e.life <> 0 THEN loyalty.lot_end(e.member_id, e.program_id, e.expires_at, e.lot_entry_no, e.life) ELSE e.expires_at END) x (ends_at)
LEFT JOIN loyalty.source s ON s.id = e.source_id;

CREATE OR REPLACE VIEW loyalty.award_share WITH (security_invoker = true) AS
SELECT l.member_id, p.name AS program, s.name AS source, l.source_key,
  coalesce(r.name, 'tier ' || t.name, 'rule ' || b.rule) AS rule,
  b.points::numeric AS points, l.earned_at
FROM loyalty.lot l
CROSS JOIN LATERAL loyalty.breakdown_shares(
  CASE WHEN l.kept_amount <> 0 OR l.kept_amount = l.amount THEN l.breakdown::loyalty.breakdown END,
  CASE WHEN l.kept_amount <> l.amount THEN l.kept_amount END,
  CASE WHEN l.kept_amount <> l.amount THEN l.amount END) b
JOIN loyalty.program p ON p.id = l.program_id
LEFT JOIN loyalty.source s ON s.id = l.source_id
LEFT JOIN loyalty.rule r ON r.id = b.rule
LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
WHERE l.unit = 0 AND b.own AND b.points::numeric > 0;

CREATE OR REPLACE VIEW loyalty.expiring WITH (security_invoker = true) AS
SELECT l.member_id, p.name AS program, loyalty.last_day(l.expires_at, p.timezone) AS last_day, l.expires_at,
  trim_scale(sum(l.points) * 0.0001) AS points
FROM (
  SELECT l.member_id, l.program_id, d.ends_at AS expires_at, l.remaining AS points
  FROM loyalty.account a
  LEFT JOIN LATERAL loyalty.settled(CASE WHEN a.active_at = 'infinity' AND loyalty.instant() >= a.next_change_at THEN a.member_id END, a.program_id, loyalty.instant()) s ON true
  JOIN loyalty.lot l ON l.member_id = a.member_id AND l.program_id = a.program_id
    AND (l.expires_at, l.entry_no) >= (a.open_from_expires_at, a.open_from_entry_no)
  CROSS JOIN LATERAL (SELECT CASE
      WHEN l.life = 0 OR l.life < 0 AND -l.life < a.life THEN l.expires_at
      WHEN l.life = a.life THEN least(l.expires_at, coalesce(s.inactive_at, a.inactive_at))
      WHEN l.life = -a.life THEN greatest(l.expires_at, coalesce(s.inactive_at, a.inactive_at)) END) d (ends_at)
  WHERE l.remaining > 0 AND d.ends_at > greatest(loyalty.instant(), a.settled_at) AND d.ends_at < 'infinity'
  UNION ALL
  SELECT a.member_id, a.program_id, CASE WHEN o.life <> 0 THEN loyalty.lot_end(a.member_id, a.program_id, o.expires_at, o.entry_no, o.life) ELSE d.lot_expires_at END AS expires_at, d.points
  FROM loyalty.account a
  CROSS JOIN LATERAL loyalty.due_movements(CASE WHEN loyalty.instant() >= a.next_change_at THEN a.member_id END, a.program_id, loyalty.instant()) d
  LEFT JOIN loyalty.lot o ON o.member_id = a.member_id AND o.program_id = a.program_id AND o.expires_at = d.lot_expires_at AND o.entry_no = d.lot_entry_no AND o.life <> 0
  WHERE (a.debt > 0 OR a.held > 0)
    AND CASE WHEN o.life <> 0 THEN loyalty.lot_end(a.member_id, a.program_id, o.expires_at, o.entry_no, o.life) > greatest(loyalty.instant(), a.settled_at)
        AND loyalty.lot_end(a.member_id, a.program_id, o.expires_at, o.entry_no, o.life) < 'infinity'
             ELSE d.lot_expires_at > greatest(loyalty.instant(), a.settled_at) AND d.lot_expires_at < 'infinity' END) l
JOIN loyalty.program p ON p.id = l.program_id
GROUP BY l.member_id, p.name, p.timezone, l.expires_at
HAVING sum(l.points) > 0;

-- Movements of kind hold, debt and repay are left out: held points are outstanding, a return counts with what it could not
-- take, and what pays a debt was taken then.  While something is owed, what is due is more than expiry: settling tells.
-- Entries are added up by quarters of an hour before anybody asks for their local day: every zone's midnight is one, since
-- 1972.  Before, each instant counts for itself.
CREATE OR REPLACE VIEW loyalty.program_daily WITH (security_invoker = true) AS
WITH due AS MATERIALIZED (  -- an account whose next change lies ahead has nothing due; of a plain one, expiry alone
  SELECT a.member_id, a.program_id, a.settled_at,
    a.debt = 0 AND a.held = 0 AND a.inactive_at = 'infinity' AND a.active_at < 'infinity' AS plain
  FROM loyalty.account a WHERE a.next_change_at <= (SELECT loyalty.instant())
), entry AS (
  SELECT e.program_id, e.at, e.kind, e.points
  FROM (
    SELECT loyalty.sum_by_quarter(l.program_id, l.at,
      CASE l.kind WHEN 'a' THEN 'issue' WHEN 'j' THEN 'adjust' WHEN 't' THEN 'transfer' END, l.points) AS sums FROM loyalty.lot l
    UNION ALL
    SELECT loyalty.sum_by_quarter(m.program_id, m.at, m.kind, m.points) FROM loyalty.movement m
    UNION ALL
    SELECT loyalty.sum_by_quarter(l.program_id, l.expires_at, 'expire', -l.remaining)
    FROM loyalty.lot l
    JOIN due a ON a.member_id = l.member_id AND a.program_id = l.program_id AND a.plain
    WHERE l.remaining > 0 AND l.expires_at > a.settled_at AND l.expires_at <= (SELECT loyalty.instant()) AND l.life = 0
  ) s
  CROSS JOIN LATERAL loyalty.quarter_sums(s.sums) e
  UNION ALL
  SELECT a.program_id, d.at, d.kind, d.points
  FROM due a
  CROSS JOIN LATERAL loyalty.due_movements(a.member_id, a.program_id, loyalty.instant()) d
  WHERE NOT a.plain
), daily AS (
  SELECT p.name AS program, (e.at AT TIME ZONE p.timezone)::date AS day,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'issue'), 0) AS issued,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'clawback'), 0) AS clawed_back,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'redeem'), 0) AS redeemed,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'restore'), 0) AS restored,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'expire'), 0) AS expired,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'transfer'), 0) AS transferred,
    coalesce(sum(e.points) FILTER (WHERE e.kind = 'adjust'), 0) AS adjusted
  FROM entry e JOIN loyalty.program p ON p.id = e.program_id
  GROUP BY 1, 2
), closed AS (
  SELECT d.*, d.issued + d.clawed_back + d.redeemed + d.restored + d.expired + d.transferred + d.adjusted AS change,
    sum(d.issued + d.clawed_back + d.redeemed + d.restored + d.expired + d.transferred + d.adjusted)
      OVER (PARTITION BY d.program ORDER BY d.day) AS closing
  FROM daily d
)
SELECT c.program, c.day,
  trim_scale((c.closing - c.change) * 0.0001) AS opening,
  trim_scale(c.issued * 0.0001) AS issued,
  trim_scale(c.clawed_back * 0.0001) AS clawed_back,
  trim_scale(c.redeemed * 0.0001) AS redeemed,
  trim_scale(c.restored * 0.0001) AS restored,
  trim_scale(c.expired * 0.0001) AS expired,
  trim_scale(c.transferred * 0.0001) AS transferred,
  trim_scale(c.adjusted * 0.0001) AS adjusted,
  trim_scale(c.closing * 0.0001) AS closing
FROM closed c;

-- Which figure of an account a metric is: here, and once more in tier_standing, which asks for all tiers of an account at once.
CREATE OR REPLACE VIEW loyalty.tier_progress WITH (security_invoker = true) AS
WITH asks AS MATERIALIZED (SELECT k.* FROM loyalty.tier_asks k)
SELECT a.member_id, a.program, k.name AS tier, k.rank, k.option, k.metric, v.value, k.threshold,
  trim_scale(greatest(k.threshold - v.value, 0)) AS missing,
  CASE WHEN k.threshold > 0 THEN greatest(least(v.value / k.threshold, 1), 0) ELSE 1 END AS done,
  v.value * CASE WHEN isfinite(a.period_start) AND isfinite(a.period_end) AND a.as_of > a.period_start AND NOT k.lasting
    THEN extract(epoch FROM a.period_end - a.period_start) / extract(epoch FROM least(a.as_of, a.period_end) - a.period_start) ELSE 1 END AS projected
FROM loyalty.account_now a
JOIN asks k ON k.program = a.program
CROSS JOIN LATERAL (SELECT CASE k.metric WHEN 'points' THEN a.earned WHEN 'visits' THEN a.visits WHEN 'spend' THEN a.spend
    ELSE (SELECT trim_scale(u.value) FROM loyalty.units_at(a.member_id, a.program_id, a.as_of) u
          JOIN loyalty.unit n ON n.id = u.unit_id WHERE n.program = a.program AND n.name = k.metric) END AS value) v;

-- Of several options the one of which most is done counts, and of its metrics the one of which least is.
CREATE OR REPLACE VIEW loyalty.tier_standing WITH (security_invoker = true) AS
WITH asks AS MATERIALIZED (SELECT k.* FROM loyalty.tier_asks k)
SELECT a.member_id, a.program, t.name AS tier,
  CASE WHEN isfinite(a.tier_until) THEN a.tier_until END AS held_until,
  a.tier_metric AS metric, a.value, w.next[1] AS next_tier, w.next[2]::numeric AS to_next,
  CASE WHEN isfinite(a.tier_until) THEN w.keep[2]::numeric END AS to_keep,
  w.next[3] AS to_next_metric, CASE WHEN isfinite(a.tier_until) THEN w.keep[3] END AS to_keep_metric,
  coalesce(CASE WHEN w.projected_rank > coalesce(e.rank, w.projected_rank - 1) THEN w.projected END, e.name) AS projected_tier,
  f.name AS falls_to
FROM loyalty.account_now a
LEFT JOIN loyalty.tier t ON t.id = a.tier_id AND t.enabled
LEFT JOIN LATERAL loyalty.settled(CASE WHEN isfinite(a.tier_until) THEN a.member_id END, a.program_id, a.tier_until) s ON true
LEFT JOIN loyalty.tier f ON f.id = s.tier_id AND f.enabled
LEFT JOIN LATERAL loyalty.settled(CASE WHEN a.tier_until < a.period_end AND isfinite(a.period_end) THEN a.member_id END, a.program_id,
  a.period_end - interval '1 microsecond') l ON true
LEFT JOIN loyalty.tier e ON e.enabled AND e.id = CASE WHEN l.as_of IS NULL THEN a.tier_id ELSE l.tier_id END
CROSS JOIN LATERAL (
  SELECT
    (array_agg(ARRAY[q.name, q.missing::text, q.metric] ORDER BY q.rank, q.option_done DESC, q.option, q.done, q.metric)
       FILTER (WHERE t.rank IS NULL OR q.rank > t.rank))[1:1] AS nexts,
    (array_agg(ARRAY[q.name, q.missing::text, q.metric] ORDER BY q.option_done DESC, q.option, q.done, q.metric)
       FILTER (WHERE q.rank = t.rank))[1:1] AS keeps,
    max(q.rank) FILTER (WHERE q.reached) AS projected_rank,
    (array_agg(q.name ORDER BY q.rank DESC) FILTER (WHERE q.reached))[1] AS projected
  FROM (
    SELECT k.name, k.rank, k.option, k.metric, trim_scale(greatest(k.threshold - v.value, 0)) AS missing, d.done,
      min(d.done) OVER (PARTITION BY k.rank, k.option) AS option_done,
      bool_and(v.value * CASE WHEN isfinite(a.period_start) AND isfinite(a.period_end) AND a.as_of > a.period_start AND NOT k.lasting
    THEN extract(epoch FROM a.period_end - a.period_start) / extract(epoch FROM least(a.as_of, a.period_end) - a.period_start) ELSE 1 END >= k.threshold) OVER (PARTITION BY k.rank, k.option) AS reached
    FROM asks k
    CROSS JOIN LATERAL (SELECT CASE k.metric WHEN 'points' THEN a.earned WHEN 'visits' THEN a.visits WHEN 'spend' THEN a.spend
    ELSE (SELECT trim_scale(u.value) FROM loyalty.units_at(a.member_id, a.program_id, a.as_of) u
          JOIN loyalty.unit n ON n.id = u.unit_id WHERE n.program = a.program AND n.name = k.metric) END AS value) v
    CROSS JOIN LATERAL (SELECT CASE WHEN k.threshold > 0 THEN greatest(least(v.value / k.threshold, 1), 0) ELSE 1 END AS done) d
    WHERE k.program = a.program) q) o
CROSS JOIN LATERAL (
  SELECT ARRAY[o.nexts[1][1], o.nexts[1][2], o.nexts[1][3]] AS next, ARRAY[o.keeps[1][1], o.keeps[1][2], o.keeps[1][3]] AS keep,
    o.projected_rank, o.projected) w;

-- What a member has of each status unit in the running period.
CREATE OR REPLACE VIEW loyalty.member_unit WITH (security_invoker = true) AS
SELECT a.member_id, p.name AS program, n.name AS unit, trim_scale(u.value) AS value, greatest(loyalty.instant(), a.settled_at) AS as_of
FROM loyalty.account a
JOIN loyalty.program p ON p.id = a.program_id
CROSS JOIN LATERAL loyalty.units_at(a.member_id, a.program_id, loyalty.instant()) u
JOIN loyalty.unit n ON n.id = u.unit_id
WHERE a.status <> 'merged' AND EXISTS (SELECT FROM loyalty.unit k WHERE k.program = p.name);

-- Which rule awarded how much of which status unit.
CREATE OR REPLACE VIEW loyalty.unit_share WITH (security_invoker = true) AS
SELECT l.member_id, p.name AS program, s.name AS source, l.source_key, coalesce(r.name, 'rule ' || b.rule) AS rule, u.name AS unit,
  trim_scale(b.points::numeric) AS value, l.earned_at
FROM loyalty.lot l
CROSS JOIN LATERAL loyalty.breakdown_shares(
  CASE WHEN l.kept_amount <> 0 OR l.kept_amount = l.amount THEN l.breakdown::loyalty.breakdown END,
  CASE WHEN l.kept_amount <> l.amount THEN l.kept_amount END,
  CASE WHEN l.kept_amount <> l.amount THEN l.amount END) b
JOIN loyalty.unit u ON u.id = l.unit
JOIN loyalty.program p ON p.id = l.program_id
LEFT JOIN loyalty.source s ON s.id = l.source_id
LEFT JOIN loyalty.rule r ON r.id = b.rule
WHERE b.points::numeric > 0;

CREATE OR REPLACE VIEW loyalty.tier_movement WITH (security_invoker = true) AS
SELECT p.name AS program, date_trunc('month', c.at AT TIME ZONE p.timezone)::date AS month,
  f.name AS from_tier, t.name AS to_tier, count(DISTINCT c.member_id) AS members
FROM (
  SELECT k.member_id, k.program_id, k.at, k.from_tier_id, k.to_tier_id FROM loyalty.tier_change k
  UNION ALL
  SELECT a.member_id, a.program_id, d.at, d.from_tier_id, d.to_tier_id
  FROM loyalty.account a
  JOIN loyalty.ladder_now l ON l.program_id = a.program_id
  CROSS JOIN LATERAL loyalty.due_tier_changes(
    CASE WHEN loyalty.instant() >= a.next_change_at OR coalesce(a.ladder_no, 0) < l.ladder_no THEN a.member_id END, a.program_id, loyalty.instant()) d) c
JOIN loyalty.program p ON p.id = c.program_id
LEFT JOIN loyalty.tier f ON f.id = c.from_tier_id
LEFT JOIN loyalty.tier t ON t.id = c.to_tier_id
GROUP BY 1, 2, 3, 4;

-- From the lots, not from award_share: rules that nobody liked have a row too, and so has each tier's bonus.
CREATE OR REPLACE VIEW loyalty.rule_performance WITH (security_invoker = true) AS
WITH paid AS (
  SELECT l.program_id, b.rule, count(*) AS awards, sum(b.points::numeric) AS points, count(DISTINCT l.member_id) AS members
  FROM loyalty.lot l
  CROSS JOIN LATERAL loyalty.breakdown_shares(
    CASE WHEN l.kept_amount <> 0 OR l.kept_amount = l.amount THEN l.breakdown::loyalty.breakdown END,
    CASE WHEN l.kept_amount <> l.amount THEN l.kept_amount END,
    CASE WHEN l.kept_amount <> l.amount THEN l.amount END) b
  WHERE l.unit = 0 AND b.own AND b.points::numeric > 0
  GROUP BY l.program_id, b.rule
), named AS (
  SELECT r.program, r.name AS rule, r.id::bigint AS id FROM loyalty.rule r
  UNION ALL
  SELECT t.program, 'tier ' || t.name AS rule, t.id + 4294967296 AS id FROM loyalty.tier t WHERE t.earn_bonus > 0
    OR EXISTS (SELECT FROM paid d WHERE d.rule = t.id + 4294967296)
)
SELECT n.program, n.rule, coalesce(d.awards, 0) AS awards, coalesce(d.points, 0) AS points, coalesce(d.members, 0) AS members,
  coalesce(round(d.points / nullif(sum(d.points) OVER (PARTITION BY n.program), 0), 4), 0) AS share
FROM named n
LEFT JOIN paid d ON d.rule = n.id;

CREATE OR REPLACE VIEW loyalty.reward_performance WITH (security_invoker = true) AS
SELECT w.program, w.name AS reward, count(d.redemption_id) AS redemptions,
  trim_scale(coalesce(sum(d.taken), 0) * 0.0001) AS points, count(DISTINCT d.member_id) AS members
FROM loyalty.reward w
LEFT JOIN loyalty.redemption d ON d.reward_id = w.id AND (d.state = 'captured' OR d.state = 'held' AND d.held_until > loyalty.instant())
GROUP BY w.program, w.name;

COMMENT ON VIEW loyalty.ladder_now IS 'which ladder of tiers is in force in each program: what apply_tiers() applied last, or what is written where nothing waits';
COMMENT ON COLUMN loyalty.ladder_now.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.ladder_now.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.ladder_now.timezone IS 'of the program';
COMMENT ON COLUMN loyalty.ladder_now.ladder_no IS 'loyalty.ladder.ladder_no';
COMMENT ON COLUMN loyalty.ladder_now.since IS 'since when; NULL: no ladder was ever changed';
COMMENT ON COLUMN loyalty.ladder_now.tier_metric IS 'what its thresholds count';
COMMENT ON COLUMN loyalty.ladder_now.tier_period IS 'over which period';
COMMENT ON COLUMN loyalty.ladder_now.waiting IS 'is a change written that waits for apply_tiers()';

COMMENT ON VIEW loyalty.tier_asks IS 'what each tier asks for on the ladder in force: all rows of one option, any option';
COMMENT ON COLUMN loyalty.tier_asks.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.tier_asks.id IS 'loyalty.tier.id';
COMMENT ON COLUMN loyalty.tier_asks.name IS 'loyalty.tier.name';
COMMENT ON COLUMN loyalty.tier_asks.rank IS 'order on the ladder';
COMMENT ON COLUMN loyalty.tier_asks.option IS 'threshold: the one of the tier; else tier_requirement.option';
COMMENT ON COLUMN loyalty.tier_asks.metric IS 'which figure';
COMMENT ON COLUMN loyalty.tier_asks.threshold IS 'what it must reach';
COMMENT ON COLUMN loyalty.tier_asks.lasting IS 'does it have more than what the running period counts: a unit of a lifetime, or one that carries over';

COMMENT ON VIEW loyalty.account_now IS 'inside of the other views: accounts as they are at loyalty.instant(), points as count of 1/10,000';
COMMENT ON COLUMN loyalty.account_now.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.account_now.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.account_now.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.account_now.timezone IS 'of the program';
COMMENT ON COLUMN loyalty.account_now.tier_metric IS 'what the programs tiers count';
COMMENT ON COLUMN loyalty.account_now.available IS 'count of 1/10,000 point: can be spent';
COMMENT ON COLUMN loyalty.account_now.pending IS 'count of 1/10,000 point: granted, cannot be spent yet';
COMMENT ON COLUMN loyalty.account_now.held IS 'count of 1/10,000 point: reserved by redemptions';
COMMENT ON COLUMN loyalty.account_now.debt IS 'count of 1/10,000 point: owed to the program';
COMMENT ON COLUMN loyalty.account_now.tier_id IS 'loyalty.tier.id; NULL: none';
COMMENT ON COLUMN loyalty.account_now.tier_until IS 'until when the tier is held; infinity without end';
COMMENT ON COLUMN loyalty.account_now.value IS 'the metric in the running period';
COMMENT ON COLUMN loyalty.account_now.as_of IS 'the instant of these figures';
COMMENT ON COLUMN loyalty.account_now.settled_at IS 'the instant to which the account is written';
COMMENT ON COLUMN loyalty.account_now.open_from_expires_at IS 'with open_from_entry_no: lots before this one in burn order are closed';
COMMENT ON COLUMN loyalty.account_now.open_from_entry_no IS 'see open_from_expires_at';
COMMENT ON COLUMN loyalty.account_now.due IS 'has something become true that is not written down yet; then these two are known:';
COMMENT ON COLUMN loyalty.account_now.next_expiry_at IS 'first instant at which the next points are dead';
COMMENT ON COLUMN loyalty.account_now.next_expiry_points IS 'count of 1/10,000 point: how many die then';

COMMENT ON COLUMN loyalty.account_now.spend IS 'amount of the running periods purchases';
COMMENT ON COLUMN loyalty.account_now.earned IS 'points awarded in the running period';
COMMENT ON COLUMN loyalty.account_now.visits IS 'visits of the running period';
COMMENT ON COLUMN loyalty.account_now.period_start IS 'first instant of the running period';
COMMENT ON COLUMN loyalty.account_now.period_end IS 'first instant after it';

COMMENT ON VIEW loyalty.tier_reach IS 'inside of the other views: tiers that figures can reach';
COMMENT ON COLUMN loyalty.tier_reach.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.tier_reach.id IS 'loyalty.tier.id';
COMMENT ON COLUMN loyalty.tier_reach.name IS 'loyalty.tier.name';
COMMENT ON COLUMN loyalty.tier_reach.rank IS 'order on the ladder';
COMMENT ON COLUMN loyalty.tier_reach.needs IS 'how much of the programs tier_metric is enough by itself; NULL: nothing is';

COMMENT ON VIEW loyalty.member_balance IS 'what every member has in every program, now';
COMMENT ON COLUMN loyalty.member_balance.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.member_balance.external_id IS 'another name of the member; the first one where there are several';
COMMENT ON COLUMN loyalty.member_balance.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.member_balance.available IS 'points that can be spent';
COMMENT ON COLUMN loyalty.member_balance.pending IS 'points that can be spent later';
COMMENT ON COLUMN loyalty.member_balance.held IS 'points reserved by redemptions';
COMMENT ON COLUMN loyalty.member_balance.debt IS 'points owed to the program';
COMMENT ON COLUMN loyalty.member_balance.tier IS 'loyalty.tier.name; NULL: none';
COMMENT ON COLUMN loyalty.member_balance.next_tier IS 'the next tier above that figures can reach; NULL: none';
COMMENT ON COLUMN loyalty.member_balance.to_next_tier IS 'what the programs tier_metric lacks for it in the running period; NULL: that alone does not reach it';
COMMENT ON COLUMN loyalty.member_balance.next_expiry_at IS 'first instant at which the next points are dead; NULL: none will be';
COMMENT ON COLUMN loyalty.member_balance.next_expiry_points IS 'how many die then if they are not spent';
COMMENT ON COLUMN loyalty.member_balance.as_of IS 'the instant of these figures: loyalty.instant(), or the accounts own when that is later';

COMMENT ON VIEW loyalty.statement IS 'every entry of every account, one row each: grants, and what happened to them; expiries and lapses that are due and not written down yet have no number and come last';
COMMENT ON COLUMN loyalty.statement.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.statement.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.statement.entry_no IS 'number of the entry in its account: the order of what happened; tier changes take numbers too; NULL: due, not written down yet';
COMMENT ON COLUMN loyalty.statement.at IS 'the instant at which it became true';
COMMENT ON COLUMN loyalty.statement.kind IS 'earn, redeem, hold, restore, expire, clawback, transfer, repay, adjust; debt: of the clawback just before, what was not there and is owed now, negative where that is cancelled';
COMMENT ON COLUMN loyalty.statement.points IS 'what the account gained, signed';
COMMENT ON COLUMN loyalty.statement.balance_after IS 'available and pending points after this entry';
COMMENT ON COLUMN loyalty.statement.what IS 'the rules that paid and the purchase, the reward, to or from whom, or the reason given';
COMMENT ON COLUMN loyalty.statement.source IS 'loyalty.source.name of the purchase';
COMMENT ON COLUMN loyalty.statement.source_key IS 'key of the purchase; of a clawback: the returned purchase';
COMMENT ON COLUMN loyalty.statement.expires_at IS 'first instant at which the points are dead; NULL: never';
COMMENT ON COLUMN loyalty.statement.last_day IS 'last local day on which they can be spent; NULL: without end';

COMMENT ON VIEW loyalty.award_share IS 'which rule gave how many points for which purchase, of what is kept of it; shares add up to the award';
COMMENT ON COLUMN loyalty.award_share.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.award_share.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.award_share.source IS 'loyalty.source.name';
COMMENT ON COLUMN loyalty.award_share.source_key IS 'key of the purchase, in canonical form';
COMMENT ON COLUMN loyalty.award_share.rule IS 'loyalty.rule.name as it is now; tier … for the bonus of a tier';
COMMENT ON COLUMN loyalty.award_share.points IS 'its share';
COMMENT ON COLUMN loyalty.award_share.earned_at IS 'the purchases occurred_at';

COMMENT ON VIEW loyalty.expiring IS 'points that will die unless they are spent, by member and instant';
COMMENT ON COLUMN loyalty.expiring.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.expiring.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.expiring.last_day IS 'last local day on which they can be spent';
COMMENT ON COLUMN loyalty.expiring.expires_at IS 'first instant at which they are dead';
COMMENT ON COLUMN loyalty.expiring.points IS 'how many';

COMMENT ON VIEW loyalty.program_daily IS 'what happened to the points of a program on each local day that had entries, signed: opening plus all of it is closing, and closing is outstanding';
COMMENT ON COLUMN loyalty.program_daily.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.program_daily.day IS 'local day of the program';
COMMENT ON COLUMN loyalty.program_daily.opening IS 'outstanding before: the closing of the last day with entries';
COMMENT ON COLUMN loyalty.program_daily.issued IS 'awarded for purchases';
COMMENT ON COLUMN loyalty.program_daily.clawed_back IS 'taken back for returned purchases, also what is owed since: negative; given back for purchases that came back';
COMMENT ON COLUMN loyalty.program_daily.redeemed IS 'spent: negative';
COMMENT ON COLUMN loyalty.program_daily.restored IS 'given back by redemptions that were reversed';
COMMENT ON COLUMN loyalty.program_daily.expired IS 'died: negative; positive where an expiry became a clawback';
COMMENT ON COLUMN loyalty.program_daily.transferred IS 'moved between members: adds up to 0 over the program';
COMMENT ON COLUMN loyalty.program_daily.adjusted IS 'granted or taken by hand';
COMMENT ON COLUMN loyalty.program_daily.closing IS 'outstanding after: available + pending + held - debt of all members';

COMMENT ON VIEW loyalty.tier_standing IS 'where every member stands on the ladder, now';
COMMENT ON COLUMN loyalty.tier_standing.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.tier_standing.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.tier_standing.tier IS 'loyalty.tier.name; NULL: none';
COMMENT ON COLUMN loyalty.tier_standing.held_until IS 'when the tier is reviewed; NULL: without end';
COMMENT ON COLUMN loyalty.tier_standing.metric IS 'what counts: the programs tier_metric';
COMMENT ON COLUMN loyalty.tier_standing.value IS 'of it, in the running period';
COMMENT ON COLUMN loyalty.tier_standing.next_tier IS 'the next tier above that figures can reach; NULL: none';
COMMENT ON COLUMN loyalty.tier_standing.to_next IS 'what is missing for it in the running period, of to_next_metric; where several figures are asked for see tier_progress';
COMMENT ON COLUMN loyalty.tier_standing.to_keep IS 'what is missing in the running period to reach the present tier again, of to_keep_metric; 0: reached; NULL: nothing is needed, or figures do not reach it';
COMMENT ON COLUMN loyalty.tier_standing.to_next_metric IS 'of the option that is nearest, the figure that is farthest from it';
COMMENT ON COLUMN loyalty.tier_standing.to_keep_metric IS 'the same for the present tier';
COMMENT ON COLUMN loyalty.tier_standing.projected_tier IS 'the tier at the end of the running period if it goes on as it went so far: figures grow in proportion to time; without a period, what the figures of now give';
COMMENT ON COLUMN loyalty.tier_standing.falls_to IS 'the tier from held_until on if nothing more is earned; NULL: none, or held without end';

COMMENT ON VIEW loyalty.tier_progress IS 'how far every member is from what each tier asks for, figure by figure: all rows of one option, any option';
COMMENT ON COLUMN loyalty.tier_progress.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.tier_progress.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.tier_progress.tier IS 'loyalty.tier.name';
COMMENT ON COLUMN loyalty.tier_progress.rank IS 'its rank';
COMMENT ON COLUMN loyalty.tier_progress.option IS 'threshold: the one of the tier; else tier_requirement.option';
COMMENT ON COLUMN loyalty.tier_progress.metric IS 'which figure';
COMMENT ON COLUMN loyalty.tier_progress.value IS 'what the member has of it in the running period';
COMMENT ON COLUMN loyalty.tier_progress.threshold IS 'what it must reach';
COMMENT ON COLUMN loyalty.tier_progress.missing IS 'what is missing; 0: reached';
COMMENT ON COLUMN loyalty.tier_progress.done IS 'how much of it is reached, 0 to 1';
COMMENT ON COLUMN loyalty.tier_progress.projected IS 'the figure at the end of the running period if it grows as it grew so far';

COMMENT ON VIEW loyalty.member_unit IS 'what every member has of every status unit of the program in the running tier_period (rolling: in the window; a unit of a lifetime: ever), now';
COMMENT ON COLUMN loyalty.member_unit.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.member_unit.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.member_unit.unit IS 'loyalty.unit.name';
COMMENT ON COLUMN loyalty.member_unit.value IS 'how much, net of returns';
COMMENT ON COLUMN loyalty.member_unit.as_of IS 'the instant of these figures';

COMMENT ON VIEW loyalty.unit_share IS 'which rule awarded how much of which status unit for which purchase, of what is kept of it';
COMMENT ON COLUMN loyalty.unit_share.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.unit_share.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.unit_share.source IS 'loyalty.source.name';
COMMENT ON COLUMN loyalty.unit_share.source_key IS 'key of the purchase, in canonical form';
COMMENT ON COLUMN loyalty.unit_share.rule IS 'loyalty.rule.name as it is now';
COMMENT ON COLUMN loyalty.unit_share.unit IS 'loyalty.unit.name';
COMMENT ON COLUMN loyalty.unit_share.value IS 'its share';
COMMENT ON COLUMN loyalty.unit_share.earned_at IS 'the purchases occurred_at';

COMMENT ON VIEW loyalty.tier_movement IS 'how many members rose and fell between which tiers in which month';
COMMENT ON COLUMN loyalty.tier_movement.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.tier_movement.month IS 'first day of the local month';
COMMENT ON COLUMN loyalty.tier_movement.from_tier IS 'loyalty.tier.name; NULL: none';
COMMENT ON COLUMN loyalty.tier_movement.to_tier IS 'loyalty.tier.name; NULL: none';
COMMENT ON COLUMN loyalty.tier_movement.members IS 'members who made this step at least once';

COMMENT ON VIEW loyalty.rule_performance IS 'what each rule has given, of what is kept of the purchases; the bonus of a tier is a row of its own';
COMMENT ON COLUMN loyalty.rule_performance.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.rule_performance.rule IS 'loyalty.rule.name; tier … for the bonus of a tier';
COMMENT ON COLUMN loyalty.rule_performance.awards IS 'how often it paid';
COMMENT ON COLUMN loyalty.rule_performance.points IS 'how much';
COMMENT ON COLUMN loyalty.rule_performance.members IS 'to how many members';
COMMENT ON COLUMN loyalty.rule_performance.share IS 'its part of all that the programs rules gave, 0 to 1';

COMMENT ON VIEW loyalty.reward_performance IS 'what each reward was taken for, released and reversed redemptions left out';
COMMENT ON COLUMN loyalty.reward_performance.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.reward_performance.reward IS 'loyalty.reward.name';
COMMENT ON COLUMN loyalty.reward_performance.redemptions IS 'how often';
COMMENT ON COLUMN loyalty.reward_performance.points IS 'for how many points';
COMMENT ON COLUMN loyalty.reward_performance.members IS 'by how many members';
