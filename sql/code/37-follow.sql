-- Rooms that follow sales, told inside of the sale after its awards are written: src/follow.c.  A room that begins or
-- ends to be in use changes a configuration table that src/config.c watches (config_tables).

CREATE TYPE loyalty.sale AS (
  member_id bigint,
  source_id integer,
  source_key text,
  unit integer,
  occurred_at timestamptz,
  at timestamptz,
  amount numeric,
  kept numeric,
  spend numeric,
  points bigint,
  first boolean
);
COMMENT ON TYPE loyalty.sale IS 'inside of rooms that follow sales: an award that was made, or of which another part is kept now; unit 0: points, else a status unit; spend and points (count of 1/10,000) are changes';

-- Whether any is in use, and whether one changes accounts of others than those who buy, is known to src/config_program.c.
CREATE OR REPLACE FUNCTION loyalty.sales_involve(program_id integer, members bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  involved bigint[] := loyalty.referral_involves(program_id, members);
BEGIN
  IF loyalty.program_shares_tiers(program_id) THEN
    -- last: these are locked, and whoever may be given something is known
    involved := involved || loyalty.pools_involve(program_id, members || involved);
  END IF;
  RETURN involved;
END $$;
COMMENT ON FUNCTION loyalty.sales_involve(integer, bigint[]) IS 'whose accounts sales to these members may change beside their own: locked with them';
REVOKE ALL ON FUNCTION loyalty.sales_involve(integer, bigint[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.follow_sales(program_id integer, sales loyalty.sale[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- one line a room: PERFORM loyalty.follow_ROOM(program_id, sales);
  IF loyalty.program_refers(program_id) THEN
    PERFORM loyalty.follow_referral(program_id, sales);
  END IF;
  IF EXISTS (SELECT FROM loyalty.giving g JOIN loyalty.program p ON p.name = g.program WHERE p.id = follow_sales.program_id) THEN
    PERFORM loyalty.follow_charity(program_id, sales);
  END IF;
  IF loyalty.has_visit_challenges(follow_sales.program_id) THEN
    PERFORM loyalty.follow_visits(program_id, sales);
  END IF;
  -- last: it looks at what all others have left
  IF loyalty.program_shares_tiers(follow_sales.program_id) THEN
    PERFORM loyalty.follow_pools(program_id, sales);
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.follow_sales(integer, loyalty.sale[]) IS 'tells the rooms in use what happened to awards; called by the sale';
REVOKE ALL ON FUNCTION loyalty.follow_sales(integer, loyalty.sale[]) FROM PUBLIC;
