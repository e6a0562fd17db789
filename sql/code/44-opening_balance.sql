-- Balances of another system: what INSERT and COPY into the view loyalty.opening_balance do.

CREATE OR REPLACE FUNCTION loyalty.open_balance(
  member_id bigint, points numeric, earned_at timestamptz, available_at timestamptz, expires_at timestamptz, reason text, program text,
  key text, counts_for_tier boolean) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_open_balance';
COMMENT ON FUNCTION loyalty.open_balance(bigint, numeric, timestamptz, timestamptz, timestamptz, text, text, text, boolean) IS
  'the body of the view opening_balance: one lot that a member brings along; false when the key has brought it before';
REVOKE ALL ON FUNCTION loyalty.open_balance(bigint, numeric, timestamptz, timestamptz, timestamptz, text, text, text, boolean) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.opening_balance_insert() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NEW.member_id IS NULL AND NEW.external_id IS NULL THEN
    RAISE EXCEPTION 'neither member_id nor external_id is given'
      USING ERRCODE = 'LY017', DETAIL = format('The row brings %s points under key %s.', NEW.points, coalesce(quote_ident(NEW.key), 'null'));
  END IF;
  PERFORM loyalty.open_balance(coalesce(NEW.member_id, loyalty.member_id(NEW.external_id, NEW.program)), NEW.points, NEW.earned_at,
    NEW.available_at, NEW.expires_at, NEW.reason, NEW.program, NEW.key, NEW.counts_for_tier);
  IF NEW.member_id IS NOT NULL AND NEW.external_id IS NOT NULL THEN
    PERFORM loyalty.add_alias(NEW.member_id, NEW.external_id);
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION loyalty.opening_balance_insert() IS 'trigger: a row of the view opening_balance becomes a lot';
REVOKE ALL ON FUNCTION loyalty.opening_balance_insert() FROM PUBLIC;
