-- Where points lay before they came to a lot: another member's (transfer), or the same one's (another life).

CREATE TABLE loyalty.lot_origin (
  member_id bigint NOT NULL,
  entry_no bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  origin_member_id bigint NOT NULL,
  origin_entry_no bigint NOT NULL,
  origin_expires_at timestamptz NOT NULL,
  moved_by bigint NOT NULL,
  program_id integer NOT NULL,
  PRIMARY KEY (member_id, program_id, entry_no)
);
-- not on loyalty.lot: two indexes there and no more
CREATE INDEX lot_origin_of ON loyalty.lot_origin (origin_member_id, program_id, origin_entry_no, moved_by);

COMMENT ON TABLE loyalty.lot_origin IS 'of lots whose points lay in another lot before: which; append-only';
COMMENT ON COLUMN loyalty.lot_origin.member_id IS 'whose lot it is: loyalty.member.member_id';
COMMENT ON COLUMN loyalty.lot_origin.entry_no IS 'the lot: number of the entry in its account';
COMMENT ON COLUMN loyalty.lot_origin.expires_at IS 'with entry_no: the lot';
COMMENT ON COLUMN loyalty.lot_origin.origin_member_id IS 'whose the points were before; the same member: their life was changed';
COMMENT ON COLUMN loyalty.lot_origin.origin_entry_no IS 'the lot in which they lay, in the account of origin_member_id';
COMMENT ON COLUMN loyalty.lot_origin.origin_expires_at IS 'with origin_entry_no: that lot';
COMMENT ON COLUMN loyalty.lot_origin.moved_by IS 'the movement that took them out of there: number of the entry in the account of origin_member_id';
COMMENT ON COLUMN loyalty.lot_origin.program_id IS 'loyalty.program.id';

-- replay
SELECT loyalty.watch_ledger('lot_origin');
