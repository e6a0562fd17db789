-- Segments as conditions of rules, asked by themselves, and offers to segments and single members.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT loyalty.install() >= 0 AS installed;
\pset null '-'
\set ON_ERROR_ROLLBACK on
BEGIN;
SET LOCAL timezone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
CREATE SCHEMA segment_test;
SET LOCAL search_path = segment_test, public;
INSERT INTO loyalty.program (name, timezone, sandbox) VALUES ('seg', 'Europe/Istanbul', true);
INSERT INTO loyalty.tier (program, name, rank, threshold, earn_bonus) VALUES ('seg', 'green', 0, 0, 0), ('seg', 'gold', 1, 500, 0);
CREATE TABLE sale (id int PRIMARY KEY, who bigint, total numeric, at timestamptz);
SELECT loyalty.attach('sale', program => 'seg', member => 'who', amount => 'total', occurred_at => 'at') > 0 AS attached;
SET loyalty.now = '2026-03-10 10:00+00';

-- what a segment may not say
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', 'earn.amount > 5');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', 'total > 5');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', 'account.spend');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', 'random() > 0.5');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', '(SELECT true)');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('seg', 'bad', 'account.nothing = 1');
INSERT INTO loyalty.segment (program, name, condition) VALUES ('nowhere', 'bad', 'true');
INSERT INTO loyalty.rule (program, source, name, points, segment) VALUES ('seg', 'sale', 'one', 'earn.amount', 'nobody');

INSERT INTO loyalty.segment (program, name, condition) VALUES
  ('seg', 'students', $$member.attributes ->> 'student' = 'yes'$$),
  ('seg', 'big', 'account.spend >= 300'),
  ('seg', 'golden', $$account.tier = 'gold'$$),
  ('seg', 'lapsed', $$loyalty.last_purchase_at(member.member_id, 'seg') < loyalty.instant() - interval '60 days'$$),
  ('seg', 'regular', $$loyalty.purchases(member.member_id, loyalty.instant() - interval '90 days', program => 'seg') >= 3$$);
INSERT INTO loyalty.rule (program, source, name, points) VALUES ('seg', 'sale', 'one', 'earn.amount');
INSERT INTO loyalty.rule (program, source, name, kind, points, segment) VALUES
  ('seg', 'sale', 'student', 'bonus', '7', 'students'), ('seg', 'sale', 'big', 'bonus', '100', 'big');
SELECT count(*) FROM loyalty.enroll(1, 'seg', attributes => '{"student": "yes"}');
INSERT INTO sale VALUES (1, 1, 100, '2026-01-01'), (2, 1, 250, '2026-01-02'), (3, 1, 10, '2026-03-09'), (4, 2, 10, '2026-03-09'), (5, 3, 600, '2026-01-05');
SELECT source_key, rule, points FROM loyalty.award_share WHERE program = 'seg' ORDER BY source_key, rule;
SELECT rule, why_not FROM loyalty.why_not('sale', '4');
SELECT rule, points, why_not FROM loyalty.quote('sale', '{"who": 2, "total": 10, "at": "2026-03-10"}');
SELECT s.name, (SELECT string_agg(m.member_id::text, ' ' ORDER BY m.member_id) FROM loyalty.segment_members(s.name, 'seg') m) AS members
FROM loyalty.segment s WHERE s.program = 'seg' ORDER BY s.name;
-- a tier that is due to fall has fallen, and what is in the future can be asked
SELECT loyalty.in_segment(3, 'golden', 'seg') AS now, loyalty.in_segment(3, 'golden', 'seg', '2027-12-31 20:59:59.999999+00') AS before, loyalty.in_segment(3, 'golden', 'seg', '2027-12-31 21:00+00') AS fallen;
SELECT loyalty.in_segment(999, 'golden', 'seg') AS without_account, loyalty.in_segment(1, NULL, 'seg') AS unknown;
SELECT loyalty.in_segment(1, 'no such', 'seg');
-- a return takes the member out
SELECT loyalty.in_segment(1, 'big', 'seg') AS before;
DELETE FROM sale WHERE id = 2;
SELECT loyalty.in_segment(1, 'big', 'seg') AS after;
SELECT loyalty.purchases(1, program => 'seg'), loyalty.spent(1, program => 'seg'), loyalty.spent(1, '2026-03-01', program => 'seg', source => 'sale') AS march,
  loyalty.last_purchase_at(1, 'seg'), loyalty.spent(1, program => 'seg', source => 'another') AS elsewhere;
UPDATE loyalty.segment SET enabled = false WHERE program = 'seg' AND name = 'students';
SELECT loyalty.in_segment(1, 'students', 'seg'), (SELECT count(*) FROM loyalty.segment_members('students', 'seg'));
DELETE FROM loyalty.segment WHERE program = 'seg' AND name = 'students';
UPDATE loyalty.segment SET name = 'pupils', enabled = true WHERE program = 'seg' AND name = 'students';
SELECT name, segment FROM loyalty.rule WHERE program = 'seg' AND segment = 'pupils';
INSERT INTO sale VALUES (6, 1, 1, '2026-03-09');
SELECT rule, points FROM loyalty.award('sale', '6');

-- ---- offers
INSERT INTO loyalty.offer (program, name, title, segment) VALUES ('seg', 'come back', 'Fifty points on your next visit', 'lapsed');
INSERT INTO loyalty.offer (program, name, activation, ends_at) VALUES ('seg', 'sorry', false, '2026-06-01');
INSERT INTO loyalty.rule (program, source, name, kind, points, offer) VALUES ('seg', 'sale', 'come back +50', 'bonus', '50', 'come back'), ('seg', 'sale', 'sorry +5', 'bonus', '5', 'sorry');
SELECT name, max_uses, uses_period FROM loyalty.rule WHERE program = 'seg' AND offer IS NOT NULL ORDER BY name;
SELECT m, o.* FROM unnest('{1,2,3}'::bigint[]) m, loyalty.offers_for(m, 'seg') o ORDER BY 1, 2;
SELECT loyalty.activate_offer(1, 'come back', 'seg');
SELECT loyalty.activate_offer(3, 'no such', 'seg');
SELECT loyalty.activate_offer(77, 'come back', 'seg');
SELECT loyalty.activate_offer(3, 'come back', 'seg');
SET loyalty.now = '2026-03-10 11:00+00';
SELECT loyalty.activate_offer(3, 'come back', 'seg') AS still_the_first;
SELECT loyalty.give_offer(2, 'sorry', 'seg', '2026-04-01');
SELECT loyalty.give_offer(2, 'sorry', 'seg', '2026-01-01');
SELECT m, o.* FROM unnest('{1,2,3}'::bigint[]) m, loyalty.offers_for(m, 'seg') o ORDER BY 1, 2;
INSERT INTO sale VALUES (7, 3, 10, '2026-03-10 11:00+00'), (8, 2, 10, '2026-03-10 11:00+00'), (9, 1, 10, '2026-03-10 11:00+00');
SELECT source_key, rule, points FROM loyalty.award_share WHERE program = 'seg' AND source_key IN ('7', '8', '9') ORDER BY source_key, rule;
-- used once; not before it was activated
SELECT m, o.* FROM unnest('{1,2,3}'::bigint[]) m, loyalty.offers_for(m, 'seg') o ORDER BY 1, 2;
INSERT INTO sale VALUES (10, 2, 10, '2026-03-10 11:00+00');
SELECT rule, points FROM loyalty.award('sale', '10');
SELECT rule, why_not FROM loyalty.why_not('sale', '10') ORDER BY rule;
-- a return gives it back
DELETE FROM sale WHERE id = 8;
SELECT o.* FROM loyalty.offers_for(2, 'seg') o;
INSERT INTO sale VALUES (11, 2, 10, '2026-03-10 11:00+00');
SELECT rule, points FROM loyalty.award('sale', '11');
SELECT loyalty.withdraw_offer(3, 'come back', 'seg'), loyalty.withdraw_offer(3, 'come back', 'seg') AS again;
SELECT loyalty.has_offer(3, 'come back', NULL, 'seg'), loyalty.has_offer(2, 'sorry', '2026-03-31 23:59:59.999999+00', 'seg'), loyalty.has_offer(2, 'sorry', '2026-04-01', 'seg');
SELECT * FROM loyalty.offer_performance WHERE program = 'seg' ORDER BY offer;
-- as often as it holds, bounded by a cap: a category that members activate; without a cap it is counted all the same
INSERT INTO loyalty.offer (program, name, segment, once) VALUES ('seg', 'quarter', 'lapsed', false), ('seg', 'always', NULL, false);
INSERT INTO loyalty.rule (program, source, name, kind, points, offer, cap, cap_period) VALUES ('seg', 'sale', 'quarter +5', 'bonus', '5', 'quarter', 12, 'calendar quarter'),
 ('seg', 'sale', 'always +1', 'bonus', '1', 'always', NULL, NULL);
SELECT name, max_uses FROM loyalty.rule WHERE program = 'seg' AND offer IN ('quarter', 'always') ORDER BY name;
SELECT loyalty.give_offer(2, o, 'seg') = loyalty.activate_offer(2, o, 'seg') AS active FROM unnest('{quarter,always}'::text[]) o;
INSERT INTO sale VALUES (21, 2, 10, '2026-03-10 11:00+00'), (22, 2, 10, '2026-03-10 11:00+00'), (23, 2, 10, '2026-03-10 11:00+00'), (24, 2, 10, '2026-03-10 11:00+00');
SELECT source_key, rule, points FROM loyalty.award_share WHERE program = 'seg' AND source_key IN ('21', '22', '23', '24') AND rule ~ 'quarter|always' ORDER BY source_key, rule;
SELECT o.* FROM loyalty.offers_for(2, 'seg') o WHERE offer IN ('quarter', 'always') ORDER BY 1;
SELECT offer, used, points FROM loyalty.offer_performance WHERE program = 'seg' AND offer IN ('quarter', 'always') ORDER BY offer;
DELETE FROM sale WHERE id > 20;
SELECT offer, used, points FROM loyalty.offer_performance WHERE program = 'seg' AND offer IN ('quarter', 'always') ORDER BY offer;
DELETE FROM loyalty.offer WHERE program = 'seg';
SELECT * FROM loyalty.verify();
-- an application has no rights on tables and asks all the same
CREATE ROLE segment_app;
SELECT loyalty.grant_access('segment_app', 'app');
GRANT USAGE ON SCHEMA segment_test TO segment_app;
SET ROLE segment_app;
SELECT loyalty.in_segment(1, 'big', 'seg'), loyalty.has_offer(2, 'sorry', NULL, 'seg'), loyalty.spent(1, program => 'seg');
SELECT loyalty.give_offer(1, 'sorry', 'seg');
SELECT count(*) FROM loyalty.segment_members('big', 'seg');
RESET ROLE;
ROLLBACK;
