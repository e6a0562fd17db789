-- Members: enrolment by hand, their other names, blocking, corrections.

CREATE OR REPLACE FUNCTION loyalty.enroll(
  member_id bigint, program text DEFAULT NULL, at timestamptz DEFAULT NULL, external_id text DEFAULT NULL, attributes jsonb DEFAULT NULL)
RETURNS TABLE (member_id bigint, program text, tier text, enrolled_at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_enroll';
COMMENT ON FUNCTION loyalty.enroll(bigint, text, timestamptz, text, jsonb) IS
  'make somebody a member of a program, now or at an earlier instant; whoever is one stays as they are. external_id is another name for ever; attributes merge into what is known';
REVOKE ALL ON FUNCTION loyalty.enroll(bigint, text, timestamptz, text, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.member_id(external_id text, program text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_member_id';
COMMENT ON FUNCTION loyalty.member_id(text, text) IS
  'the member of an external id; where the program enrolls automatically an unknown one becomes a member with a number from 1,000,000,000,000,000 on';
REVOKE ALL ON FUNCTION loyalty.member_id(text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.set_status(member_id bigint, status text, program text, reason text) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_set_status';
COMMENT ON FUNCTION loyalty.set_status(bigint, text, text, text) IS 'the body of block() and unblock()';
REVOKE ALL ON FUNCTION loyalty.set_status(bigint, text, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.block(member_id bigint, program text DEFAULT NULL, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT loyalty.set_status(block.member_id, 'blocked', block.program, block.reason) $$;
COMMENT ON FUNCTION loyalty.block(bigint, text, text) IS 'from now on the account earns and spends nothing; false when it was blocked already';
REVOKE ALL ON FUNCTION loyalty.block(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.unblock(member_id bigint, program text DEFAULT NULL, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT loyalty.set_status(unblock.member_id, 'active', unblock.program, unblock.reason) $$;
COMMENT ON FUNCTION loyalty.unblock(bigint, text, text) IS 'the account earns and spends again; false when it was not blocked';
REVOKE ALL ON FUNCTION loyalty.unblock(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.adjust(
  member_id bigint, points numeric, reason text, program text DEFAULT NULL, key text DEFAULT NULL,
  expires_at timestamptz DEFAULT NULL, available_at timestamptz DEFAULT NULL, counts_for_tier boolean DEFAULT false)
RETURNS TABLE (entry_no bigint, points numeric, available_at timestamptz, expires_at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_adjust';
COMMENT ON FUNCTION loyalty.adjust(bigint, numeric, text, text, text, timestamptz, timestamptz, boolean) IS
  'give points for no purchase, or take available ones away; the same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.adjust(bigint, numeric, text, text, text, timestamptz, timestamptz, boolean) FROM PUBLIC;

-- For rooms that follow sales: what they give happens at the sale's instant, and goes when its reason goes.
CREATE OR REPLACE FUNCTION loyalty.adjust_at(
  member_id bigint, points numeric, reason text, program text, key text,
  expires_at timestamptz, available_at timestamptz, counts_for_tier boolean, at timestamptz)
RETURNS TABLE (entry_no bigint, points numeric, available_at timestamptz, expires_at timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_adjust';
COMMENT ON FUNCTION loyalty.adjust_at(bigint, numeric, text, text, text, timestamptz, timestamptz, boolean, timestamptz) IS
  'adjust() at the later of an instant of the past and the account''s, for what follows from a sale; NULL: now';
REVOKE ALL ON FUNCTION loyalty.adjust_at(bigint, numeric, text, text, text, timestamptz, timestamptz, boolean, timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.keep_adjust(member_id bigint, program text, entry_no bigint, kept boolean, reason text, at timestamptz) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_keep_adjust';
COMMENT ON FUNCTION loyalty.keep_adjust(bigint, text, bigint, boolean, text, timestamptz) IS
  'take the lot that adjust() gave back as a return would (program.clawback), or undo that when its reason has come back; false when it is so already';
REVOKE ALL ON FUNCTION loyalty.keep_adjust(bigint, text, bigint, boolean, text, timestamptz) FROM PUBLIC;
