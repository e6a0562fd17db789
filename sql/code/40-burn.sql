-- redeem(): points for a reward, and the stock of rewards.  capture(), release(), reverse(): what becomes of it.

CREATE OR REPLACE FUNCTION loyalty.redeem(
  member_id bigint, reward text DEFAULT NULL, points numeric DEFAULT NULL, quantity integer DEFAULT 1,
  program text DEFAULT NULL, key text DEFAULT NULL, hold interval DEFAULT NULL, reason text DEFAULT NULL)
RETURNS TABLE (redemption_id bigint, points numeric, state text, voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_redeem';
COMMENT ON FUNCTION loyalty.redeem(bigint, text, numeric, integer, text, text, interval, text) IS
  'spend a member''s points, for a reward (so many pieces, or where it has a value so many points) or just so many, or with hold only reserve them for so long (''0'': 15 minutes); the same key and arguments again give the same answer and no second effect';
REVOKE ALL ON FUNCTION loyalty.redeem(bigint, text, numeric, integer, text, text, interval, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.capture(member_id bigint, redemption_id bigint, points numeric DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (redemption_id bigint, points numeric, state text, voucher text, value numeric, value_unit text, valid_until timestamptz)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_capture';
COMMENT ON FUNCTION loyalty.capture(bigint, bigint, numeric, text) IS
  'spend what a redemption holds, all or so many points; the rest, last taken first, goes back to its lots';
REVOKE ALL ON FUNCTION loyalty.capture(bigint, bigint, numeric, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.release(member_id bigint, redemption_id bigint, key text DEFAULT NULL)
RETURNS TABLE (redemption_id bigint, points numeric, state text)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_release';
COMMENT ON FUNCTION loyalty.release(bigint, bigint, text) IS
  'give up a hold: its points go back to the lots that they came from, and are dead where the lot has died';
REVOKE ALL ON FUNCTION loyalty.release(bigint, bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.reverse(member_id bigint, redemption_id bigint, points numeric DEFAULT NULL, key text DEFAULT NULL)
RETURNS TABLE (redemption_id bigint, points numeric, state text, alive numeric, dead numeric)
LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'loyalty_reverse';
COMMENT ON FUNCTION loyalty.reverse(bigint, bigint, numeric, text) IS
  'undo a redemption, all or part of it, in the opposite order of taking: points go back to their own lots; alive can be spent, dead came back to a lot that has died, what is in neither paid what the lot owed';
REVOKE ALL ON FUNCTION loyalty.reverse(bigint, bigint, numeric, text) FROM PUBLIC;

-- reward.stock is what was put up in all.  A change of it changes what is left by the difference, evenly; what
-- buyers hold is waited for.
CREATE OR REPLACE FUNCTION loyalty.reward_stock_follow() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  former bigint;
  total bigint;
BEGIN
  IF loyalty.restoring() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    former := OLD.stock;
    IF NEW.stock IS NOT DISTINCT FROM former THEN
      RETURN NULL;
    END IF;
  END IF;
  IF TG_OP = 'DELETE' OR NEW.stock IS NULL THEN
    DELETE FROM loyalty.reward_stock s WHERE s.reward_id = OLD.id;
    RETURN NULL;
  END IF;

  INSERT INTO loyalty.reward_stock AS s (reward_id, slot, left_over)
  SELECT NEW.id, n, 0 FROM generate_series(0, 15) n ON CONFLICT (reward_id, slot) DO NOTHING;
  SELECT sum(l.left_over) INTO total
  FROM (SELECT s.left_over FROM loyalty.reward_stock s WHERE s.reward_id = NEW.id ORDER BY s.slot FOR UPDATE) l;
  IF former IS NULL THEN
    total := 0;
  END IF;
  IF total + NEW.stock - coalesce(former, 0) < 0 THEN
    RAISE EXCEPTION 'stock of reward "%" of program "%" cannot go from % to %', NEW.name, NEW.program, former, NEW.stock
      USING ERRCODE = 'LY017', DETAIL = format('%s of %s pieces are left.', total, former),
            HINT = format('It can go down to %s.', former - total);
  END IF;
  total := total + NEW.stock - coalesce(former, 0);
  UPDATE loyalty.reward_stock s SET left_over = total / 16 + CASE WHEN s.slot < total % 16 THEN 1 ELSE 0 END
  WHERE s.reward_id = NEW.id;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION loyalty.reward_stock_follow() IS 'trigger: keeps reward_stock in step with reward.stock';
REVOKE ALL ON FUNCTION loyalty.reward_stock_follow() FROM PUBLIC;
