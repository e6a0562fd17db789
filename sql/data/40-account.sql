-- Who: members, their other names, and their standing in each program.  The account row is the lock.
-- Built-in types only: points are bigint, a count of 1/10,000 point.

CREATE TABLE loyalty.member (
  member_id bigint PRIMARY KEY,
  attributes jsonb NOT NULL DEFAULT '{}',
  birth_date date,
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'excluded', 'erased', 'merged')),
  erased_at timestamptz,
  merged_into bigint CHECK ((merged_into IS NOT NULL) = (status = 'merged'))
);
CREATE INDEX member_excluded ON loyalty.member (member_id) WHERE status <> 'active';

CREATE TABLE loyalty.member_alias (
  member_id bigint NOT NULL,
  external_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (member_id, external_id),
  UNIQUE (external_id)
);

-- What a purchase changes stands together, from next_change_at to spend: of an update the log has the bytes from the first
-- to the last one that differ.
CREATE TABLE loyalty.account (
  member_id bigint NOT NULL,
  enrolled_at timestamptz NOT NULL,
  tier_until timestamptz NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  previous_start timestamptz NOT NULL,
  open_from_expires_at timestamptz NOT NULL,
  open_from_entry_no bigint NOT NULL,
  inactive_at timestamptz NOT NULL DEFAULT 'infinity',
  held bigint NOT NULL,
  debt bigint NOT NULL,
  pending bigint NOT NULL,
  earned_previous bigint NOT NULL,
  program_id integer NOT NULL,
  visits_previous integer NOT NULL,
  next_change_at timestamptz NOT NULL,
  settled_at timestamptz NOT NULL,
  available bigint NOT NULL,
  next_entry bigint NOT NULL,
  earned bigint NOT NULL,
  active_at timestamptz NOT NULL DEFAULT '-infinity',
  visits integer NOT NULL,
  tier_id integer,
  life smallint NOT NULL DEFAULT 1,
  spend numeric NOT NULL,
  spend_previous numeric NOT NULL,
  status text NOT NULL DEFAULT 'active',
  own_tier_id integer,
  own_until timestamptz,
  granted_tier_id integer,
  granted_until timestamptz,
  kept_tier_id integer,
  ladder_no integer,
  lent_tier_ids integer[],
  lent_until timestamptz[],
  CHECK ((granted_tier_id IS NULL) = (granted_until IS NULL) AND cardinality(lent_tier_ids) IS NOT DISTINCT FROM cardinality(lent_until)
    AND (own_until IS NULL) = (granted_until IS NULL AND lent_until IS NULL)),
  PRIMARY KEY (member_id, program_id)
) WITH (fillfactor = 70);

COMMENT ON TABLE loyalty.member IS 'persons and firms';
COMMENT ON COLUMN loyalty.member.member_id IS 'the applications number of the member';
COMMENT ON COLUMN loyalty.member.attributes IS 'what rules may ask: member.attributes';
COMMENT ON COLUMN loyalty.member.birth_date IS 'member.birth_date in rules';
COMMENT ON COLUMN loyalty.member.status IS 'active (default); excluded: earns nothing, the walk-in customer of a till; erased: personal data is gone; merged: see merged_into';
COMMENT ON COLUMN loyalty.member.merged_into IS 'who this member is now: loyalty.member.member_id; set by loyalty.merge_members()';
COMMENT ON COLUMN loyalty.member.erased_at IS 'when it was erased';

COMMENT ON TABLE loyalty.member_alias IS 'other names of members';
COMMENT ON COLUMN loyalty.member_alias.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.member_alias.external_id IS 'card number, e-mail hash, id in another system';

COMMENT ON TABLE loyalty.account IS 'a members standing in one program at settled_at; the row is the lock of all that is the accounts';
COMMENT ON COLUMN loyalty.account.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.account.enrolled_at IS 'when the membership began';
COMMENT ON COLUMN loyalty.account.settled_at IS 'the instant to which the account was brought forward; never goes back';
COMMENT ON COLUMN loyalty.account.next_change_at IS 'until then the figures below are exact';
COMMENT ON COLUMN loyalty.account.available IS 'count of 1/10,000 point: can be spent';
COMMENT ON COLUMN loyalty.account.pending IS 'count of 1/10,000 point: granted, cannot be spent yet';
COMMENT ON COLUMN loyalty.account.held IS 'count of 1/10,000 point: reserved by redemptions';
COMMENT ON COLUMN loyalty.account.debt IS 'count of 1/10,000 point: owed to the program';
COMMENT ON COLUMN loyalty.account.next_entry IS 'number of the next lot or movement';
COMMENT ON COLUMN loyalty.account.open_from_expires_at IS 'with open_from_entry_no: lots before this one in burn order are closed';
COMMENT ON COLUMN loyalty.account.open_from_entry_no IS 'see open_from_expires_at';
COMMENT ON COLUMN loyalty.account.tier_until IS 'until when the tier is held; infinity without end';
COMMENT ON COLUMN loyalty.account.period_start IS 'first instant of the counters period';
COMMENT ON COLUMN loyalty.account.period_end IS 'first instant after it';
COMMENT ON COLUMN loyalty.account.previous_start IS 'first instant of the period before';
COMMENT ON COLUMN loyalty.account.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.account.tier_id IS 'loyalty.tier.id; NULL: none';
COMMENT ON COLUMN loyalty.account.visits IS 'days with a purchase, this period';
COMMENT ON COLUMN loyalty.account.visits_previous IS 'the same, period before';
COMMENT ON COLUMN loyalty.account.earned IS 'count of 1/10,000 point: awarded this period, net of returns';
COMMENT ON COLUMN loyalty.account.earned_previous IS 'the same, period before';
COMMENT ON COLUMN loyalty.account.active_at IS 'where points die of inactivity: the latest purchase of which something is kept; -infinity: none; infinity: the tier suspends expiry';
COMMENT ON COLUMN loyalty.account.inactive_at IS 'then its points that live as long as it is active die, unless it is active before; infinity: activity does not count, or expiry is suspended; of who has left a tier that suspends it: until then nothing that was suspended dies';
COMMENT ON COLUMN loyalty.account.life IS 'number of the present life: points of former ones have died of inactivity';
COMMENT ON COLUMN loyalty.account.spend IS 'amount of this periods purchases, net of returns, in the applications money';
COMMENT ON COLUMN loyalty.account.spend_previous IS 'the same, period before';
COMMENT ON COLUMN loyalty.account.status IS 'active (default); blocked: earns and spends nothing; erased: so for ever; merged: all is the accounts of member.merged_into';
COMMENT ON COLUMN loyalty.account.own_tier_id IS 'while a tier is granted or lent: loyalty.tier.id of the one that figures gave; NULL: none';
COMMENT ON COLUMN loyalty.account.own_until IS 'while a tier is granted or lent: until when that one is held; NULL: nothing is, tier_id and tier_until are the accounts own';
COMMENT ON COLUMN loyalty.account.granted_tier_id IS 'loyalty.tier.id of the tier that grant_tier() gave; NULL: none';
COMMENT ON COLUMN loyalty.account.granted_until IS 'first instant at which it is over; infinity: until it is revoked';
COMMENT ON COLUMN loyalty.account.kept_tier_id IS 'loyalty.tier.id of the highest tier that is never lost and that figures of periods before the last one gave; NULL: none';
COMMENT ON COLUMN loyalty.account.ladder_no IS 'loyalty.ladder.ladder_no that the account has met; NULL: the first';
COMMENT ON COLUMN loyalty.account.lent_tier_ids IS 'loyalty.tier.id of the tiers that the members pool shares, one after the other if nothing more is earned; NULL: none';
COMMENT ON COLUMN loyalty.account.lent_until IS 'of each of them the first instant at which it is over; infinity: without end';

-- replay
-- Who is excluded is cached, too.  Ordinary members cost nothing here.
CREATE OR REPLACE TRIGGER config_changed_insert AFTER INSERT ON loyalty.member
  FOR EACH ROW WHEN (NEW.status <> 'active') EXECUTE FUNCTION loyalty.config_changed();
CREATE OR REPLACE TRIGGER config_changed_update AFTER UPDATE ON loyalty.member
  FOR EACH ROW WHEN (NEW.status <> OLD.status) EXECUTE FUNCTION loyalty.config_changed();
CREATE OR REPLACE TRIGGER config_changed_delete AFTER DELETE ON loyalty.member
  FOR EACH ROW WHEN (OLD.status <> 'active') EXECUTE FUNCTION loyalty.config_changed();
CREATE OR REPLACE TRIGGER config_changed_truncate AFTER TRUNCATE ON loyalty.member
  FOR EACH STATEMENT EXECUTE FUNCTION loyalty.config_changed();
ALTER TABLE loyalty.member ENABLE ALWAYS TRIGGER config_changed_insert;
ALTER TABLE loyalty.member ENABLE ALWAYS TRIGGER config_changed_update;
ALTER TABLE loyalty.member ENABLE ALWAYS TRIGGER config_changed_delete;
ALTER TABLE loyalty.member ENABLE ALWAYS TRIGGER config_changed_truncate;
SELECT loyalty.watch_ledger('account');
SELECT loyalty.watch_ledger('member');
SELECT loyalty.watch_ledger('member_alias');
