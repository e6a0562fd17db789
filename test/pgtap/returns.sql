-- Returns: where a clawback is taken from, and that nobody gains by returning.  One assertion a rule of docs/reference.md.
-- The law: after any sequence that ends with the same rows, what a member holds and has spent, less what he owes, is the
-- same, under each clawback policy; and points that come back die when they would have died.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty;
SELECT loyalty.install();
SELECT plan(84);
SET LOCAL TimeZone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz, kind text DEFAULT 'base', paid boolean DEFAULT true);
CREATE TABLE shop.policy (name text PRIMARY KEY);
INSERT INTO shop.policy VALUES ('pending_only'), ('to_zero'), ('debt');
INSERT INTO loyalty.program (name, clawback, expiry, sandbox) SELECT name, name, '12 months', true FROM shop.policy;
SELECT loyalty.attach('shop.sale', program => name, member => 'who', amount => 'total', occurred_at => 'at', condition => 'paid') FROM shop.policy;
INSERT INTO loyalty.rule (program, source, name, points, condition, expiry, pending)
SELECT p.name, 'sale', r.* FROM shop.policy p, (VALUES
  ('base', 'earn.amount', $$kind IN ('base', 'both')$$, NULL::loyalty.expiry, NULL::interval),
  ('pending', 'earn.amount * 0.5', $$kind IN ('pending', 'both')$$, NULL, '10 days'),
  ('short', 'earn.amount', $$kind = 'short'$$, '30 days', NULL)) r;

-- what a member has: available, pending, debt, and what his lots owe
CREATE FUNCTION shop.has(program text, member bigint) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s %s %s %s', b.available, b.pending, b.debt, (SELECT trim_scale(coalesce(sum(l.owed), 0) * 0.0001) FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE l.member_id = member AND p.name = program))
  FROM loyalty.balance(member, program) b $$;
-- held and spent and died, less what is owed
CREATE FUNCTION shop.law(program text, member bigint) RETURNS numeric LANGUAGE sql AS $$
  SELECT b.available + b.pending + b.held - b.debt - (SELECT trim_scale(sum(l.owed) * 0.0001) FROM loyalty.lot l JOIN loyalty.program p ON p.id = l.program_id WHERE l.member_id = member AND p.name = program)
    - (SELECT coalesce(sum(s.points), 0) FROM loyalty.statement s WHERE s.member_id = member AND s.program = law.program AND s.kind IN ('redeem', 'hold', 'restore', 'expire'))
  FROM loyalty.balance(member, program) b $$;
CREATE FUNCTION shop.burn(program text, member bigint, points numeric) RETURNS void LANGUAGE sql AS $$ SELECT FROM loyalty.redeem(member, points => points, program => program) $$;
-- one assertion a policy
CREATE FUNCTION shop.all_have(member bigint, pending_only text, to_zero text, debt text, what text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT is(shop.has(v.name, member), v.expected, what || ' (' || v.name || ')')
  FROM (VALUES (1, 'pending_only', pending_only), (2, 'to_zero', to_zero), (3, 'debt', debt)) v (n, name, expected) ORDER BY v.n $$;
CREATE FUNCTION shop.all_law(member bigint, points numeric, what text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT is(shop.law(v.name, member), points, 'the law: ' || what || ' (' || v.name || ')') FROM shop.policy v ORDER BY v.name $$;

-- (1) the award's own lots, (3) then the shortfall by policy
SET LOCAL loyalty.now = '2024-01-01 12:00';
INSERT INTO shop.sale VALUES (1, 1, 100, '2024-01-01 12:00'), (2, 1, 30, '2024-01-01 12:00');
SELECT shop.burn(name, 1, 60) FROM shop.policy;
UPDATE shop.sale SET paid = false WHERE id = 1;
SELECT shop.all_have(1, '70 0 0 100', '0 0 0 30', '0 0 30 0', 'own lot, then others in burn order, then owed; available points stay under pending_only');
UPDATE shop.sale SET paid = true WHERE id = 1;
SELECT shop.all_have(1, '70 0 0 0', '70 0 0 0', '70 0 0 0', 'un-cancelled: what is owed is cancelled first, and who paid has it back');

-- pending first, over all lots of an award
INSERT INTO shop.sale VALUES (3, 2, 100, '2024-01-01 12:00', 'both');
UPDATE shop.sale SET total = 60 WHERE id = 3;
SELECT shop.all_have(2, '100 0 0 10', '90 0 0 0', '90 0 0 0', 'of 150 points 60 are taken: 50 pending ones first, then available ones');
UPDATE shop.sale SET total = 100 WHERE id = 3;
SELECT shop.all_have(2, '100 50 0 0', '100 50 0 0', '100 50 0 0', 'and all come back to where they were');

-- (2) what has expired counts as taken
INSERT INTO shop.sale VALUES (4, 3, 100, '2024-01-01 12:00', 'short'), (5, 3, 70, '2024-01-01 12:00', 'base');
SELECT shop.burn(name, 3, 40) FROM shop.policy;
SET LOCAL loyalty.now = '2024-02-15';
DELETE FROM shop.sale WHERE id = 4;
SELECT shop.all_have(3, '70 0 0 40', '30 0 0 0', '30 0 0 0', '60 had expired: the 40 that were spent are the shortfall');
INSERT INTO shop.sale VALUES (4, 3, 100, '2024-01-01 12:00', 'short');
SELECT shop.all_have(3, '70 0 0 0', '70 0 0 0', '70 0 0 0', 'the same key again: they go back to the lot that paid, the dead ones stay dead');
SELECT shop.all_law(3, 170, 'returned after expiry and bought back');

-- a clawback does not ask today's rules
INSERT INTO shop.sale VALUES (6, 4, 100, '2024-02-15'), (7, 4, 100, '2024-02-15');
UPDATE loyalty.rule SET points = 'earn.amount * 2' WHERE name = 'base';
UPDATE shop.sale SET total = 50 WHERE id = 6;
UPDATE loyalty.rule SET enabled = false WHERE name = 'base';
UPDATE shop.sale SET total = 25 WHERE id = 7;
SELECT shop.all_have(4, '200 0 0 125', '75 0 0 0', '75 0 0 0', 'a rule doubled or disabled in between: taken is what was given');
DELETE FROM shop.sale WHERE id IN (6, 7);
SELECT shop.all_have(4, '200 0 0 200', '0 0 0 0', '0 0 0 0', 'to the last point');
UPDATE loyalty.rule SET points = 'earn.amount', enabled = true WHERE name = 'base';

-- ---- exploits ----

-- buy, burn, return, buy again
SET LOCAL loyalty.now = '2024-03-01';
INSERT INTO shop.sale VALUES (10, 10, 100, '2024-03-01');
SELECT shop.burn(name, 10, 100) FROM shop.policy;
DELETE FROM shop.sale WHERE id = 10;
INSERT INTO shop.sale VALUES (11, 10, 100, '2024-03-01');
SELECT shop.all_have(10, '100 0 0 100', '100 0 0 100', '0 0 0 0', 'buy, burn, return, buy another: only a debt is repaid by it');
SELECT shop.all_law(10, 100, 'one purchase is there');
INSERT INTO shop.sale VALUES (10, 10, 100, '2024-03-01');
SELECT shop.all_have(10, '100 0 0 0', '100 0 0 0', '100 0 0 0', 'and with the first one back it is as if nothing had been returned');

-- cancel and un-cancel, again and again, after burning
INSERT INTO shop.sale VALUES (12, 11, 100, '2024-03-01');
SELECT shop.burn(name, 11, 80) FROM shop.policy;
DO $$ BEGIN FOR i IN 1..7 LOOP UPDATE shop.sale SET paid = NOT paid WHERE id = 12; UPDATE shop.sale SET paid = NOT paid WHERE id = 12; END LOOP; END $$;
SELECT shop.all_have(11, '20 0 0 0', '20 0 0 0', '20 0 0 0', 'cancelled and un-cancelled seven times');

-- the same with points that are pending, and in one statement each with others
INSERT INTO shop.sale VALUES (13, 12, 100, '2024-03-01', 'pending'), (14, 12, 100, '2024-03-01', 'both'), (15, 12, 40, '2024-03-01', 'base');
SELECT shop.burn(name, 12, 120) FROM shop.policy;
DO $$ BEGIN FOR i IN 1..5 LOOP UPDATE shop.sale SET paid = NOT paid WHERE who = 12; UPDATE shop.sale SET paid = NOT paid WHERE who = 12; END LOOP; END $$;
SELECT shop.all_have(12, '20 100 0 0', '20 100 0 0', '20 100 0 0', 'pending ones too');
UPDATE shop.sale SET paid = false WHERE id = 14;
SET LOCAL loyalty.now = '2024-03-20';
UPDATE shop.sale SET paid = true WHERE id = 14;
SELECT shop.all_have(12, '120 0 0 0', '120 0 0 0', '120 0 0 0', 'cancelled while pending, un-cancelled after: as if never cancelled');

-- nobody gains a longer life: the points that paid for a return die when they would have died
SET LOCAL loyalty.now = '2024-04-01';
INSERT INTO shop.sale VALUES (16, 13, 100, '2024-04-01');
SELECT shop.burn(name, 13, 100) FROM shop.policy;
INSERT INTO shop.sale VALUES (17, 13, 100, '2024-04-01', 'short');
UPDATE shop.sale SET paid = false WHERE id = 16;
SET LOCAL loyalty.now = '2024-06-01';
UPDATE shop.sale SET paid = true WHERE id = 16;
SELECT shop.all_have(13, '0 0 0 0', '0 0 0 0', '0 0 0 0', 'cancelled before the others expire and un-cancelled after: they have expired');
SELECT shop.all_law(13, 200, 'over an expiry');

-- in pieces against at once
INSERT INTO shop.sale VALUES (18, 14, 99.99, '2024-06-01', 'both'), (19, 15, 99.99, '2024-06-01', 'both');
SELECT shop.burn(name, who, 70) FROM shop.policy, (VALUES (14), (15)) w (who);
DO $$ BEGIN FOR i IN REVERSE 99..25 LOOP UPDATE shop.sale SET total = i * 0.97 WHERE id = 18; END LOOP; END $$;
UPDATE shop.sale SET total = 24.25 WHERE id = 19;
SELECT is(shop.has(name, 14), shop.has(name, 15), 'returned in 75 pieces or at once: the same (' || name || ')') FROM shop.policy ORDER BY name;

-- raised and lowered: every further part is taken back first
INSERT INTO shop.sale VALUES (20, 16, 10, '2024-06-01'), (21, 16, 5, '2024-06-01');
SELECT shop.burn(name, 16, 12) FROM shop.policy;
DO $$ BEGIN FOR i IN 1..5 LOOP UPDATE shop.sale SET total = 10 + 20 * i WHERE id = 20; UPDATE shop.sale SET total = 1 WHERE id = 20; UPDATE shop.sale SET total = 10 WHERE id = 20; END LOOP; END $$;
SELECT shop.all_law(16, 15, 'raised and lowered');
SELECT shop.has('to_zero', 16) = '3 0 0 0' AND shop.has('debt', 16) = '3 0 0 0' AS ok \gset
SELECT ok(:'ok', 'raised and lowered: what is left is what was left');

-- to another member and back
INSERT INTO shop.sale VALUES (22, 17, 50, '2024-06-01'), (23, 18, 5, '2024-06-01');
SELECT shop.burn(name, 17, 30) FROM shop.policy;
UPDATE shop.sale SET who = 18 WHERE id = 22;
SELECT shop.burn(name, 18, 55) FROM shop.policy;
UPDATE shop.sale SET who = 17 WHERE id = 22;
SELECT shop.all_have(17, '20 0 0 0', '20 0 0 0', '20 0 0 0', 'moved to another member and back: here as before');
SELECT shop.all_have(18, '0 0 0 50', '0 0 0 50', '0 0 50 0', 'and there what was spent meanwhile is owed');

-- what paid for another return is missed when its own purchase is returned, and not found again
INSERT INTO shop.sale VALUES (24, 19, 100, '2024-06-01'), (25, 19, 100, '2024-06-01');
SELECT shop.burn(name, 19, 100) FROM shop.policy;
UPDATE shop.sale SET paid = false WHERE id = 24;
UPDATE shop.sale SET paid = false WHERE id = 25;
UPDATE shop.sale SET paid = true WHERE id = 24;
SELECT shop.all_have(19, '100 0 0 100', '0 0 0 0', '0 0 0 0', 'A spent, B paid for it, B returned, A back: what A gets back pays what B owes');
SELECT shop.all_law(19, 100, 'one of two is there');

-- buy, burn, return, reverse: stands here with reverse(); expected for 100 bought and burned, returned, reversed:
-- '100 0 0 100' under pending_only, '0 0 0 0' under to_zero and debt, and the law says 0

-- debts: nothing can be spent, and what becomes available pays at its instant
INSERT INTO shop.sale VALUES (26, 20, 100, '2024-06-01', 'base'), (27, 20, 60, '2024-06-01', 'pending');
SELECT shop.burn('debt', 20, 100);
DELETE FROM shop.sale WHERE id = 26;
SELECT throws_ok($$SELECT shop.burn('debt', 20, 1)$$, 'LY001', 'insufficient points', 'in debt nothing can be spent');
SELECT is((SELECT available + debt FROM loyalty.balance(20, 'debt', '2024-06-10 23:59:59.999999')), 100::numeric, 'what is pending pays nothing');
SELECT is((SELECT array[available, debt] FROM loyalty.balance(20, 'debt', '2024-06-11')), array[0, 70]::numeric[], 'and pays at the instant at which it becomes available, with no job');

-- ---- the tier after a return ----
INSERT INTO loyalty.program (name, on_return, grace, tier_validity, sandbox) VALUES ('fall', 'fall', '0', '12 months', true), ('keep', 'keep', '0', '12 months', true), ('grace', 'grace', '20 days', '12 months', true);
INSERT INTO loyalty.tier (program, name, rank, threshold) SELECT p, t, r, r * 500 FROM unnest('{fall,keep,grace}'::text[]) p, (VALUES ('green', 0), ('gold', 1), ('black', 2)) t (t, r);
SELECT loyalty.attach('shop.sale', program => p, member => 'who', amount => 'total', occurred_at => 'at', condition => 'paid', name => 'tiers') FROM unnest('{fall,keep,grace}'::text[]) p;
CREATE FUNCTION shop.tier(program text, at timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT tier FROM loyalty.balance(30, program, at) $$;
SET LOCAL loyalty.now = '2024-07-01';
INSERT INTO shop.sale VALUES (30, 30, 400, '2024-07-01'), (31, 30, 300, '2024-07-01'), (32, 30, 400, '2024-07-01');
SELECT is(array(SELECT shop.tier(p, NULL) FROM unnest('{fall,keep,grace}'::text[]) p), '{black,black,black}', 'all are black');
SET LOCAL loyalty.now = '2024-08-01';
UPDATE shop.sale SET total = 350 WHERE id = 32;
SELECT is(array(SELECT shop.tier(p, NULL) FROM unnest('{fall,keep,grace}'::text[]) p), '{black,black,black}', 'the figures still reach it: nothing falls');
DELETE FROM shop.sale WHERE id = 32;
SELECT is(array(SELECT spend FROM loyalty.account a JOIN loyalty.program p ON p.id = a.program_id WHERE a.member_id = 30 AND p.name IN ('fall', 'keep', 'grace')), '{700,700,700}', 'the counter falls at once');
SELECT is(shop.tier('fall', NULL), 'gold', 'fall: the tier at once, to what the figures give');
SELECT is(shop.tier('keep', '2025-12-31 23:59:59.999999'), 'black', 'keep: not before its time');
SELECT is(shop.tier('keep', '2026-01-01'), 'green', 'keep: then as without a return');
SELECT is(shop.tier('grace', '2024-08-20 23:59:59.999999'), 'black', 'grace: held for the grace period');
SELECT is(shop.tier('grace', '2024-08-21'), 'gold', 'grace: then what the figures give');
INSERT INTO shop.sale VALUES (32, 30, 400, '2024-07-01');
SELECT is(array(SELECT shop.tier(p, '2025-06-01') FROM unnest('{fall,keep,grace}'::text[]) p), '{black,black,black}', 'the purchase comes back: so does the tier');
DELETE FROM shop.sale WHERE id IN (30, 31, 32);
SELECT is(shop.tier('fall', NULL), 'green', 'all returned: to the lowest');

SELECT is_empty('SELECT * FROM loyalty.verify()', 'every invariant of the ledger holds');
SELECT * FROM finish();
ROLLBACK;
