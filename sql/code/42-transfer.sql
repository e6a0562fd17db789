-- Points that go on to other lots: to another member, or to another life.

CREATE OR REPLACE FUNCTION loyalty.transfer(
  from_member bigint, to_member bigint, points numeric, program text DEFAULT NULL, key text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS TABLE (entry_no bigint, points numeric, origin_entry_no bigint, earned_at timestamptz, available_at timestamptz, expires_at timestamptz)
LANGUAGE c VOLATILE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_transfer';
COMMENT ON FUNCTION loyalty.transfer(bigint, bigint, numeric, text, text, text) IS
  'give available points to another member, those first that die first; returns the new lots, which live as long as the old ones. No tier credit. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.transfer(bigint, bigint, numeric, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.change_expiry(
  member_id bigint, expires_at timestamptz, reason text, lots bigint[] DEFAULT NULL, program text DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (entry_no bigint, points numeric, origin_entry_no bigint, earned_at timestamptz, available_at timestamptz, expires_at timestamptz)
LANGUAGE c VOLATILE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_change_expiry';
COMMENT ON FUNCTION loyalty.change_expiry(bigint, timestamptz, text, bigint[], text, text) IS
  'let a member''s live points die at another instant, those of the lots named by entry_no or all; they go on to new lots, which are returned. The same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.change_expiry(bigint, timestamptz, text, bigint[], text, text) FROM PUBLIC;
