-- The ledger: lots (grants of points) and movements (what happened to a lot afterwards), numbered per account.
-- Two indexes on lots and no more: the burn order, and the promise that a purchase earns once.
-- Of a lot only remaining, kept_amount, owed and life change, and no index covers them: with a tenth of each page left free,
-- nearly all such updates are HOT (of one purchase in ten of a year, changed in one statement, 88 of 100; 36 with a twentieth).

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
  life smallint NOT NULL DEFAULT 0,
  kind "char" NOT NULL DEFAULT 'a',
  source_key text COLLATE "C",
  amount numeric,
  kept_amount numeric,
  breakdown bytea,
  PRIMARY KEY (member_id, program_id, expires_at, entry_no)
) WITH (fillfactor = 90);
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
-- Who paid for a return or for a debt: asked when the purchase comes back.
CREATE INDEX movement_origin ON loyalty.movement (member_id, program_id, origin_entry_no) WHERE origin_entry_no IS NOT NULL;

CREATE TABLE loyalty.debt (
  member_id bigint NOT NULL,
  entry_no bigint NOT NULL,
  lot_expires_at timestamptz NOT NULL,
  lot_entry_no bigint NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  left_over bigint NOT NULL CHECK (left_over >= 0),
  at timestamptz NOT NULL,
  posted_at timestamptz NOT NULL,
  program_id integer NOT NULL,
  PRIMARY KEY (member_id, program_id, entry_no)
) WITH (fillfactor = 90);

-- What lowers the kept amount of purchases: rows that are returns.  Part by part, because a return that names no
-- purchase takes from several; part -1: by how much a purchase that has returns has been lowered by its own row.
CREATE TABLE loyalty.refund (
  member_id bigint NOT NULL,
  program_id integer NOT NULL,
  source_id integer NOT NULL,
  source_key text COLLATE "C" NOT NULL,
  part integer NOT NULL CHECK (part >= -1),
  of_source_id integer NOT NULL,
  of_key text COLLATE "C",
  amount numeric NOT NULL CHECK (amount >= 0),
  at timestamptz NOT NULL,
  posted_at timestamptz NOT NULL,
  PRIMARY KEY (member_id, source_id, source_key, part)
);
CREATE UNIQUE INDEX refund_source_key ON loyalty.refund (source_id, source_key, part);
CREATE INDEX refund_of_key ON loyalty.refund (of_source_id, of_key);

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

COMMENT ON TABLE loyalty.lot IS 'grants of points, in the order in which they are spent';
COMMENT ON COLUMN loyalty.lot.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.lot.expires_at IS 'first instant at which the points are dead; infinity: never; -infinity: granted nothing, kept for returns and counters';
COMMENT ON COLUMN loyalty.lot.entry_no IS 'number of the entry in its account';
COMMENT ON COLUMN loyalty.lot.points IS 'count of 1/10,000 point: granted';
COMMENT ON COLUMN loyalty.lot.remaining IS 'count of 1/10,000 point: not yet spent, held, moved or taken back; counts while expires_at lies ahead';
COMMENT ON COLUMN loyalty.lot.owed IS 'count of 1/10,000 point: to be taken back and not found; paid by what is restored to this lot, cancelled when the purchase comes back; clawback pending_only: left to the member';
COMMENT ON COLUMN loyalty.lot.earned_at IS 'when they were earned: the purchases occurred_at';
COMMENT ON COLUMN loyalty.lot.available_at IS 'from when they can be spent';
COMMENT ON COLUMN loyalty.lot.at IS 'the instant of the account at which they were granted';
COMMENT ON COLUMN loyalty.lot.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.lot.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.lot.source_id IS 'loyalty.source.id; NULL: no purchase';
COMMENT ON COLUMN loyalty.lot.unit IS '0: points; else loyalty.unit.id: the lot has no points, and its breakdown says how much of the status unit';
COMMENT ON COLUMN loyalty.lot.part IS 'number of the lot among those of its purchase';
COMMENT ON COLUMN loyalty.lot.life IS 'the points die with this life of the account: at account.inactive_at of the present one, dead in former ones; below 0: not before that life has ended (a tier suspends expiry); 0: at expires_at alone';
COMMENT ON COLUMN loyalty.lot.kind IS 'a award, j adjustment, t transfer';
COMMENT ON COLUMN loyalty.lot.source_key IS 'key of the purchase, in canonical form';
COMMENT ON COLUMN loyalty.lot.amount IS 'of the purchase when it was awarded';
COMMENT ON COLUMN loyalty.lot.kept_amount IS 'of it, what was not returned; of points given by hand: 0 when they were taken back, NULL when not';
COMMENT ON COLUMN loyalty.lot.breakdown IS 'which rule gave how much; see the view award_share';

COMMENT ON TABLE loyalty.movement IS 'what happened to a lot after it was granted; append-only';
COMMENT ON COLUMN loyalty.movement.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.movement.entry_no IS 'number of the entry in its account';
COMMENT ON COLUMN loyalty.movement.lot_expires_at IS 'with lot_entry_no: the lot';
COMMENT ON COLUMN loyalty.movement.lot_entry_no IS 'see lot_expires_at';
COMMENT ON COLUMN loyalty.movement.points IS 'count of 1/10,000 point, signed: what the lot gained';
COMMENT ON COLUMN loyalty.movement.at IS 'the instant at which it became true';
COMMENT ON COLUMN loyalty.movement.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.movement.redemption_id IS 'loyalty.redemption.redemption_id; NULL: none';
COMMENT ON COLUMN loyalty.movement.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.movement.origin_entry_no IS 'of a clawback: the entry of the award for which this lot paid; NULL: its own. Of a repayment, and of a debt that is cancelled: the debt; of a new debt: the award';
COMMENT ON COLUMN loyalty.movement.kind IS 'redeem, hold, restore, expire, clawback, transfer, repay, adjust; debt: what the member owes in the place of this lot, negative where it is cancelled';
COMMENT ON COLUMN loyalty.movement.reason IS 'what the caller said';

COMMENT ON TABLE loyalty.debt IS 'points that members owe their program after returns';
COMMENT ON COLUMN loyalty.debt.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.debt.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.debt.entry_no IS 'number of the movement that made it; debts are repaid in this order';
COMMENT ON COLUMN loyalty.debt.lot_expires_at IS 'with lot_entry_no: the award that was returned';
COMMENT ON COLUMN loyalty.debt.lot_entry_no IS 'see lot_expires_at';
COMMENT ON COLUMN loyalty.debt.amount IS 'count of 1/10,000 point: at first';
COMMENT ON COLUMN loyalty.debt.left_over IS 'count of 1/10,000 point: neither repaid nor cancelled';
COMMENT ON COLUMN loyalty.debt.at IS 'the instant at which it arose';
COMMENT ON COLUMN loyalty.debt.posted_at IS 'when the row was written';

COMMENT ON TABLE loyalty.refund IS 'rows that are returns, and which purchases they lower; a purchase keeps its amount less these, at least 0';
COMMENT ON COLUMN loyalty.refund.member_id IS 'loyalty.member.member_id: whose purchase it is; while that is not known, whom the row names';
COMMENT ON COLUMN loyalty.refund.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.refund.source_id IS 'loyalty.source.id of the row';
COMMENT ON COLUMN loyalty.refund.source_key IS 'key of the row, in canonical form';
COMMENT ON COLUMN loyalty.refund.part IS '0 and up: what the row takes, from one purchase each; -1: by how much a purchase that has returns was lowered by its own row';
COMMENT ON COLUMN loyalty.refund.of_source_id IS 'loyalty.source.id of the purchase';
COMMENT ON COLUMN loyalty.refund.of_key IS 'key of the purchase, in canonical form; NULL: no purchase was found to take from';
COMMENT ON COLUMN loyalty.refund.amount IS 'how much of the purchase is returned';
COMMENT ON COLUMN loyalty.refund.at IS 'the instant at which it was returned';
COMMENT ON COLUMN loyalty.refund.posted_at IS 'when the row was written';

COMMENT ON TABLE loyalty.tier_change IS 'when members rose and fell';
COMMENT ON COLUMN loyalty.tier_change.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.tier_change.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.tier_change.at IS 'the instant at which it became true';
COMMENT ON COLUMN loyalty.tier_change.change_no IS 'order among changes of the same instant';
COMMENT ON COLUMN loyalty.tier_change.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.tier_change.from_tier_id IS 'loyalty.tier.id; NULL: none';
COMMENT ON COLUMN loyalty.tier_change.to_tier_id IS 'loyalty.tier.id; NULL: none';
COMMENT ON COLUMN loyalty.tier_change.held_until IS 'until when the new tier is held';
COMMENT ON COLUMN loyalty.tier_change.reason IS 'why';

COMMENT ON TABLE loyalty.review IS 'rows that a source with on_error = skip let pass without points';
COMMENT ON COLUMN loyalty.review.member_id IS 'loyalty.member.member_id; NULL: not known';
COMMENT ON COLUMN loyalty.review.source_id IS 'loyalty.source.id';
COMMENT ON COLUMN loyalty.review.source_key IS 'key of the purchase, in canonical form';
COMMENT ON COLUMN loyalty.review.posted_at IS 'when it was passed';
COMMENT ON COLUMN loyalty.review.error IS 'the message';
COMMENT ON COLUMN loyalty.review.sqlstate IS 'its code';
COMMENT ON COLUMN loyalty.review.settled_at IS 'when it was posted after all; NULL: open';

-- replay
SELECT loyalty.watch_ledger('lot');
SELECT loyalty.watch_ledger('movement');
SELECT loyalty.watch_ledger('debt');
SELECT loyalty.watch_ledger('refund');
SELECT loyalty.watch_ledger('tier_change');
SELECT loyalty.watch_ledger('review');
