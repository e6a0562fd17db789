-- Offers of one member: given, activated, withdrawn.  Whom a segment gives an offer has a row from the activation on.

CREATE TABLE loyalty.offer_member (
  member_id bigint NOT NULL,
  program_id integer NOT NULL,
  offer_id integer NOT NULL,
  given_at timestamptz,
  until timestamptz NOT NULL DEFAULT 'infinity',
  activated_at timestamptz,
  withdrawn_at timestamptz,
  by text NOT NULL,
  set_role text NOT NULL,
  posted_at timestamptz NOT NULL,
  PRIMARY KEY (member_id, program_id, offer_id)
);
COMMENT ON TABLE loyalty.offer_member IS 'offers that were given to one member, or activated';
COMMENT ON COLUMN loyalty.offer_member.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.offer_member.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.offer_member.offer_id IS 'loyalty.offer.id';
COMMENT ON COLUMN loyalty.offer_member.given_at IS 'since when it is the member''s own, given or activated; NULL: withdrawn without ever being so';
COMMENT ON COLUMN loyalty.offer_member.until IS 'of one that was given: first instant after it';
COMMENT ON COLUMN loyalty.offer_member.activated_at IS 'since when it counts; NULL: not activated';
COMMENT ON COLUMN loyalty.offer_member.withdrawn_at IS 'since when it is taken away, whatever segment there is; NULL: it is not';
COMMENT ON COLUMN loyalty.offer_member.by IS 'who called last (session_user)';
COMMENT ON COLUMN loyalty.offer_member.set_role IS 'as which role';
COMMENT ON COLUMN loyalty.offer_member.posted_at IS 'when';

-- replay
SELECT loyalty.watch_ledger('offer_member');

CREATE OR REPLACE VIEW loyalty.offer_performance WITH (security_invoker = true) AS
SELECT o.program, o.name AS offer,
  count(m.member_id) FILTER (WHERE m.given_at IS NOT NULL) AS members,
  count(m.member_id) FILTER (WHERE m.activated_at IS NOT NULL) AS activated,
  count(m.member_id) FILTER (WHERE m.withdrawn_at IS NOT NULL) AS withdrawn,
  coalesce(min(u.used), 0) AS used, trim_scale(coalesce(min(u.points), 0)) AS points
FROM loyalty.offer o
LEFT JOIN loyalty.offer_member m ON m.offer_id = o.id
LEFT JOIN LATERAL (
  SELECT count(DISTINCT g.member_id) AS used, sum(g.used) / 100000000.0 AS points
  FROM loyalty.rule r JOIN loyalty.rule_usage g ON g.rule_id = r.id
  -- a rule with cooldown or a rolling period has every use by its instant
  WHERE r.program = o.program AND r.offer = o.name AND g.uses > 0 AND (g.period_start = g.period_end
    OR (r.cooldown IS NOT NULL OR r.cap IS NOT NULL AND r.cap_period::text LIKE 'rolling %' OR r.max_uses IS NOT NULL AND r.uses_period::text LIKE 'rolling %') IS NOT TRUE)) u ON true
GROUP BY o.program, o.name;
COMMENT ON VIEW loyalty.offer_performance IS 'what became of each offer';
COMMENT ON COLUMN loyalty.offer_performance.program IS 'loyalty.program.name';
COMMENT ON COLUMN loyalty.offer_performance.offer IS 'loyalty.offer.name';
COMMENT ON COLUMN loyalty.offer_performance.members IS 'members whose own it was: given or activated';
COMMENT ON COLUMN loyalty.offer_performance.activated IS 'members who have activated it';
COMMENT ON COLUMN loyalty.offer_performance.withdrawn IS 'members from whom it was taken';
COMMENT ON COLUMN loyalty.offer_performance.used IS 'members for whom its rules have paid, on purchases that are kept';
COMMENT ON COLUMN loyalty.offer_performance.points IS 'how much, before rounding';
