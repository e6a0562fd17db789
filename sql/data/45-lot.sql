-- The ledger: lots (grants of points) and movements (what happened to a lot afterwards), numbered per account.
-- Two indexes on lots and no more: the burn order, and the promise that a purchase earns once.
-- Of a lot only remaining, kept_amount and owed change, and no index covers them.

CREATE TABLE loyalty.lot (
  member_id bigint NOT NULL,
  expires_at timestamptz NOT NULL,
  entry_no bigint NOT NULL,
  points bigint NOT NULL,
  remaining bigint NOT NULL,
  owed bigint NOT NULL,
  earned_at timestamptz NOT NULL,
  available_at timestamptz NOT NULL,
  at timestamptz NOT NULL,
  posted_at timestamptz NOT NULL,
  program_id integer NOT NULL,
  source_id integer,
  unit integer NOT NULL DEFAULT 0,
  part smallint NOT NULL DEFAULT 0,
  kind "char" NOT NULL DEFAULT 'a',
  source_key text COLLATE "C",
  amount numeric,
  kept_amount numeric,
  breakdown bytea,
  origin jsonb,
  PRIMARY KEY (member_id, program_id, expires_at, entry_no)
) WITH (fillfactor = 95);
CREATE UNIQUE INDEX lot_source_key ON loyalty.lot (source_id, source_key, part);

CREATE TABLE loyalty.movement (
  member_id bigint NOT NULL,
  entry_no bigint NOT NULL,
  lot_expires_at timestamptz NOT NULL,
  lot_entry_no bigint NOT NULL,
  points bigint NOT NULL,
  at timestamptz NOT NULL,
  posted_at timestamptz NOT NULL,
  redemption_id bigint,
  origin_entry_no bigint,
  program_id integer NOT NULL,
  kind text NOT NULL,
  reason text,
  PRIMARY KEY (member_id, program_id, entry_no)
);

CREATE TABLE loyalty.debt (
  member_id bigint NOT NULL,
  program_id integer NOT NULL,
  entry_no bigint NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  left_over bigint NOT NULL CHECK (left_over >= 0),
  PRIMARY KEY (member_id, program_id, entry_no)
) WITH (fillfactor = 90);

CREATE TABLE loyalty.tier_change (
  member_id bigint NOT NULL,
  program_id integer NOT NULL,
  at timestamptz NOT NULL,
  change_no bigint NOT NULL,
  posted_at timestamptz NOT NULL,
  from_tier_id integer,
  to_tier_id integer,
  held_until timestamptz NOT NULL,
  reason text NOT NULL,
  PRIMARY KEY (member_id, program_id, at, change_no)
);

CREATE TABLE loyalty.review (
  member_id bigint,
  source_id integer NOT NULL,
  source_key text COLLATE "C" NOT NULL,
  posted_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  error text NOT NULL,
  sqlstate text NOT NULL,
  settled_at timestamptz,
  PRIMARY KEY (source_id, source_key, posted_at)
);

-- replay
