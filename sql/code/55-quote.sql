-- What a purchase earned, why it did not earn more, and what one would earn.

-- The body of award(), called as the owner of the ledger.
CREATE OR REPLACE FUNCTION loyalty.award_of(relation regclass, key text)
RETURNS TABLE (rule text, points numeric, available_at timestamptz, expires_at timestamptz, last_day date, program text, wanted numeric, limited_by text, unit text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT FROM loyalty.source s WHERE s.relation = award_of.relation) THEN
    RAISE EXCEPTION 'table % is not attached', award_of.relation
      USING ERRCODE = 'LY017', HINT = 'Attach it by loyalty.attach(); of a partitioned table the root is attached.';
  END IF;
  RETURN QUERY
  SELECT coalesce(r.name, 'tier ' || t.name, 'rule ' || b.rule), sum(b.points::numeric), CASE WHEN isfinite(l.available_at) THEN l.available_at END,
    CASE WHEN isfinite(d.ends_at) THEN d.ends_at END,
    CASE WHEN isfinite(d.ends_at) THEN loyalty.last_day(d.ends_at, p.timezone) END,
    p.name,
    -- what a purchase grew by was asked for once more: the last award says what is still missing
    trim_scale(sum(b.units) + (array_agg(CASE WHEN m.limited_by IS NOT NULL THEN m.wanted - b.units END ORDER BY l.part DESC))[1]),
    (array_agg(m.limited_by ORDER BY l.part DESC))[1],
    u.name
  FROM loyalty.source s
  JOIN loyalty.program p ON p.name = s.program
  JOIN loyalty.lot l ON l.source_id = s.id AND l.source_key = award_of.key
  CROSS JOIN LATERAL (SELECT CASE WHEN l.life = 0 THEN l.expires_at ELSE loyalty.lot_end(l.member_id, l.program_id, l.expires_at, l.entry_no, l.life) END) d (ends_at)
  CROSS JOIN LATERAL loyalty.breakdown_shares(
    CASE WHEN l.kept_amount <> 0 OR l.kept_amount = l.amount THEN l.breakdown::loyalty.breakdown END,
    CASE WHEN l.kept_amount <> l.amount THEN l.kept_amount END,
    CASE WHEN l.kept_amount <> l.amount THEN l.amount END) WITH ORDINALITY b (rule, own, units, points, place)
  LEFT JOIN LATERAL loyalty.breakdown_limits(l.breakdown::loyalty.breakdown) m ON m.rule = b.rule
  LEFT JOIN loyalty.rule r ON r.id = b.rule
  LEFT JOIN loyalty.tier t ON t.id = b.rule - 4294967296
  LEFT JOIN loyalty.unit u ON u.id = l.unit
  WHERE s.relation = award_of.relation AND b.own AND b.points::numeric > 0
  GROUP BY p.id, p.name, p.timezone, b.rule, r.name, t.name, u.name, l.available_at, d.ends_at
  ORDER BY p.id, min(l.part * 100000 + b.place), d.ends_at;
END $$;
COMMENT ON FUNCTION loyalty.award_of(regclass, text) IS 'the body of award()';
REVOKE ALL ON FUNCTION loyalty.award_of(regclass, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.award(relation regclass, key text)
RETURNS TABLE (rule text, points numeric, available_at timestamptz, expires_at timestamptz, last_day date, program text, wanted numeric, limited_by text, unit text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 3 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_award';
COMMENT ON FUNCTION loyalty.award(regclass, text) IS
  'what a purchase has earned and still keeps, one row a rule (or bonus of a tier) that paid; wanted and limited_by: what the rule gave before a limit (cap, uses, budget, cooldown) left less; unit: what a rule gave instead of points; key in canonical text';
REVOKE ALL ON FUNCTION loyalty.award(regclass, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.why_not(relation regclass, key text)
RETURNS TABLE (rule text, why_not text, program text)
LANGUAGE c STABLE STRICT ROWS 5 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_why_not';
COMMENT ON FUNCTION loyalty.why_not(regclass, text) IS
  'each rule of a purchase and why it did not pay (NULL: it did), as things are now; a row without rule says why the purchase as such earned nothing. Reads the table with the rights of the caller';
REVOKE ALL ON FUNCTION loyalty.why_not(regclass, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.quote(relation regclass, "row" jsonb)
RETURNS TABLE (rule text, points numeric, why_not text, tier text, program text, unit text)
LANGUAGE c STABLE STRICT ROWS 5 COST 1000 AS 'MODULE_PATHNAME', 'loyalty_quote';
COMMENT ON FUNCTION loyalty.quote(regclass, jsonb) IS
  'what inserting a row would earn, one row a rule (unit: of a status unit instead of points), and the tier that it would reach; columns that are left out are NULL, defaults do not count. Nothing is written, and nobody is bound';
REVOKE ALL ON FUNCTION loyalty.quote(regclass, jsonb) FROM PUBLIC;
