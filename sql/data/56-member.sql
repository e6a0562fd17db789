-- What people did to accounts by hand, and numbers for members whom the application has not numbered.

CREATE TABLE loyalty.intervention (
  member_id bigint NOT NULL,
  program_id integer NOT NULL,
  entry_no bigint NOT NULL,
  last_entry bigint,
  action text NOT NULL CHECK (action IN ('adjust', 'unit', 'undo', 'redo', 'opening', 'transfer', 'expiry', 'merge', 'block', 'unblock', 'erase', 'grant tier', 'revoke tier')),
  points bigint,
  available_at timestamptz,
  expires_at timestamptz,
  reason text,
  key text,
  at timestamptz NOT NULL,
  posted_at timestamptz NOT NULL,
  by text NOT NULL,
  set_role text NOT NULL,
  counts_for_tier boolean NOT NULL DEFAULT false,
  tier_id integer,
  held_until timestamptz,
  unit_id integer,
  value numeric,
  counted_at timestamptz,
  PRIMARY KEY (member_id, program_id, entry_no)
);

-- Beyond what applications number, and still exact in JSON.
CREATE SEQUENCE loyalty.member_number START 1000000000000000;

COMMENT ON TABLE loyalty.intervention IS 'what people did to accounts by hand, and who and why; append-only';
COMMENT ON COLUMN loyalty.intervention.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.intervention.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.intervention.entry_no IS 'number of the entry in its account; of several the first';
COMMENT ON COLUMN loyalty.intervention.last_entry IS 'number of the last one; NULL: no entry changed points';
COMMENT ON COLUMN loyalty.intervention.action IS 'adjust, unit (a status unit), undo and redo (of an adjust, when its reason went or came back), opening (of a balance), transfer, expiry (points got another life), merge, block, unblock, erase, grant tier, revoke tier';
COMMENT ON COLUMN loyalty.intervention.points IS 'count of 1/10,000 point, signed; NULL: none';
COMMENT ON COLUMN loyalty.intervention.available_at IS 'of points that were given';
COMMENT ON COLUMN loyalty.intervention.expires_at IS 'of points that were given';
COMMENT ON COLUMN loyalty.intervention.reason IS 'what the caller said';
COMMENT ON COLUMN loyalty.intervention.key IS 'the callers key; see request';
COMMENT ON COLUMN loyalty.intervention.at IS 'the instant of the account';
COMMENT ON COLUMN loyalty.intervention.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.intervention.by IS 'who called (session_user)';
COMMENT ON COLUMN loyalty.intervention.set_role IS 'as which role (current_user)';
COMMENT ON COLUMN loyalty.intervention.counts_for_tier IS 'do the points count for the tier';
COMMENT ON COLUMN loyalty.intervention.tier_id IS 'loyalty.tier.id that was granted or revoked; NULL: none';
COMMENT ON COLUMN loyalty.intervention.held_until IS 'first instant at which it is not granted any more; infinity: until it is revoked';
COMMENT ON COLUMN loyalty.intervention.counts_for_tier IS 'do the points, or the status unit, count for the tier';
COMMENT ON COLUMN loyalty.intervention.unit_id IS 'loyalty.unit.id of what was given or taken; NULL: none';
COMMENT ON COLUMN loyalty.intervention.value IS 'of the status unit, signed';
COMMENT ON COLUMN loyalty.intervention.counted_at IS 'in which period the status unit counts';
COMMENT ON SEQUENCE loyalty.member_number IS 'numbers of members whom loyalty.member_id() creates';

-- replay
SELECT loyalty.watch_ledger('intervention');
