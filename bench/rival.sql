-- What the hand-written contestants write to: tables of the same shape as the ledger's, with the same keys and
-- indexes and fill factors.  Only the breakdown differs: an array of numeric, in the fixed order of the rules
-- (one per lira, weekend, coffee, tier), because nobody packs bytes by hand.

CREATE SCHEMA rival;

CREATE TABLE rival.member (LIKE loyalty.member INCLUDING ALL);
CREATE TABLE rival.account (LIKE loyalty.account INCLUDING ALL) WITH (fillfactor = 70);
CREATE TABLE rival.lot (LIKE loyalty.lot INCLUDING ALL) WITH (fillfactor = 90);
ALTER TABLE rival.lot ALTER COLUMN breakdown TYPE numeric[] USING NULL;
CREATE TABLE rival.tier_change (LIKE loyalty.tier_change INCLUDING ALL);

CREATE TABLE rival.tier (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO rival.tier VALUES (1, 'green'), (2, 'gold'), (3, 'black');
