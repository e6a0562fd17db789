-- Balances of another system: COPY into this view, one row a lot; rows that were loaded before do nothing.

-- replay
CREATE OR REPLACE VIEW loyalty.opening_balance WITH (security_invoker = true) AS
SELECT i.member_id,
  (SELECT min(m.external_id) FROM loyalty.member_alias m WHERE m.member_id = i.member_id) AS external_id,
  p.name AS program, trim_scale(i.points * 0.0001) AS points, l.earned_at, i.available_at, i.expires_at, i.reason, i.key, i.counts_for_tier
FROM loyalty.intervention i
JOIN loyalty.program p ON p.id = i.program_id
JOIN loyalty.lot l ON l.member_id = i.member_id AND l.program_id = i.program_id AND l.expires_at = i.expires_at AND l.entry_no = i.entry_no
WHERE i.action = 'opening';
CREATE OR REPLACE TRIGGER opening_balance_insert INSTEAD OF INSERT ON loyalty.opening_balance
  FOR EACH ROW EXECUTE FUNCTION loyalty.opening_balance_insert();

COMMENT ON VIEW loyalty.opening_balance IS 'points that members brought along from another system; COPY or INSERT brings more, each key once';
COMMENT ON COLUMN loyalty.opening_balance.member_id IS 'whose; or external_id; or both: then the member gets that name';
COMMENT ON COLUMN loyalty.opening_balance.external_id IS 'another name of the member; unknown ones become members where the program enrols automatically';
COMMENT ON COLUMN loyalty.opening_balance.program IS 'loyalty.program.name; NULL: the default program';
COMMENT ON COLUMN loyalty.opening_balance.points IS 'how many, above 0';
COMMENT ON COLUMN loyalty.opening_balance.earned_at IS 'when they were earned; NULL: now';
COMMENT ON COLUMN loyalty.opening_balance.available_at IS 'from when they can be spent; NULL: now';
COMMENT ON COLUMN loyalty.opening_balance.expires_at IS 'first instant at which they are dead; infinity: never; NULL: as the program says, from earned_at';
COMMENT ON COLUMN loyalty.opening_balance.reason IS 'what the statement says; NULL: opening balance';
COMMENT ON COLUMN loyalty.opening_balance.key IS 'one for each row of a member, for ever: a row that comes again does nothing';
COMMENT ON COLUMN loyalty.opening_balance.counts_for_tier IS 'do the points count for the tier; NULL: no';
