-- Two members who are one: the tables' part of merge_members(), which calls all of this as the owner of the ledger, both
-- accounts locked and settled to one instant.

-- Whoever makes a table of entries says here that merge_entries() knows it.
CREATE OR REPLACE FUNCTION loyalty.merge_check(from_member bigint, to_member bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  other name;
  found_there boolean;
  person loyalty.member;
BEGIN
  FOR other IN
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'member_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relname <> ALL ('{member,member_alias,member_role,account,lot,lot_origin,movement,debt,tier_change,review,untold,refund,redemption,request,rule_usage,counter,visit,visit_of,intervention,job,offer_member,benefit_use,event,event_ahead,exchange,pool_member,pool_redemption,pool_payment,voucher,voucher_change,subscription,subscription_event,plan_payment,cause_choice,donation,consent,erasure,referral,referral_code,referral_change,response,follow_up,follow_up_change,challenge_join,progress,challenge_day,challenge_award,recognition_given}')
    ORDER BY c.relname
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM loyalty.%I t WHERE t.member_id = $1)', other) INTO found_there USING merge_check.from_member;
    IF found_there THEN
      RAISE EXCEPTION 'table loyalty.% names member %, and merge_members() does not know it', other, merge_check.from_member
        USING ERRCODE = 'LY014', HINT = 'A table that is not ours does not belong into schema loyalty.';
    END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = merge_check.from_member UNION ALL
                 SELECT FROM loyalty.member m WHERE m.member_id = merge_check.from_member UNION ALL
                 SELECT FROM loyalty.member_alias m WHERE m.member_id = merge_check.from_member) THEN
    RAISE EXCEPTION 'member % is not known', merge_check.from_member USING ERRCODE = 'LY002';
  END IF;
  IF NOT EXISTS (SELECT FROM loyalty.account a WHERE a.member_id = merge_check.to_member UNION ALL
                 SELECT FROM loyalty.member m WHERE m.member_id = merge_check.to_member) THEN
    RAISE EXCEPTION 'member % is not known', merge_check.to_member USING ERRCODE = 'LY002';
  END IF;
  -- one merge at a time of either member
  INSERT INTO loyalty.member (member_id) SELECT v.id FROM (VALUES (merge_check.from_member), (merge_check.to_member)) v (id) ORDER BY v.id
  ON CONFLICT (member_id) DO NOTHING;
  FOR person IN SELECT l.* FROM loyalty.member l WHERE l.member_id IN (merge_check.from_member, merge_check.to_member) ORDER BY l.member_id FOR UPDATE LOOP
    IF person.status = 'merged' AND person.member_id = merge_check.from_member AND person.merged_into = merge_check.to_member THEN
      CONTINUE;  -- once more: what came meanwhile follows
    ELSIF person.status = 'merged' THEN
      RAISE EXCEPTION 'member % is member % by now', person.member_id, person.merged_into
        USING ERRCODE = 'LY006', HINT = 'Merge that member.';
    ELSIF person.status <> 'active' THEN
      RAISE EXCEPTION 'member % is %', person.member_id, person.status USING ERRCODE = 'LY006';
    END IF;
  END LOOP;
  PERFORM loyalty.lock_pools(ARRAY[merge_check.from_member, merge_check.to_member]);
  PERFORM loyalty.lock_pools_of(s.program_id, ARRAY[merge_check.from_member, merge_check.to_member]) FROM loyalty.tier_sharing s ORDER BY s.program_id;
END $$;
COMMENT ON FUNCTION loyalty.merge_check(bigint, bigint) IS 'part of merge_members(): can these two be merged; locks both';
REVOKE ALL ON FUNCTION loyalty.merge_check(bigint, bigint) FROM PUBLIC;

-- Of purchases that went from one of the two to the other, awards of both are now one member's: those that keep something
-- come first, as in the life of one member.
CREATE OR REPLACE FUNCTION loyalty.merge_parts(to_member bigint, program_id integer, behind bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  k record;
  g record;
  last_award integer;
BEGIN
  FOR k IN
    SELECT l.source_id, l.source_key FROM loyalty.lot l
    WHERE l.member_id = merge_parts.to_member AND l.program_id = merge_parts.program_id AND l.source_key IS NOT NULL
    GROUP BY l.source_id, l.source_key HAVING bool_or(l.entry_no > behind) AND bool_or(l.entry_no <= behind)
  LOOP
    SELECT max(l.part) / 64 INTO last_award FROM loyalty.lot l WHERE l.source_id = k.source_id AND l.source_key = k.source_key;
    FOR g IN
      SELECT l.part / 64 AS award FROM loyalty.lot l
      WHERE l.source_id = k.source_id AND l.source_key = k.source_key AND l.member_id = merge_parts.to_member
      GROUP BY l.part / 64 HAVING bool_and(l.kept_amount IS NULL OR l.kept_amount = 0) ORDER BY l.part / 64
    LOOP
      last_award := last_award + 1;
      UPDATE loyalty.lot l SET part = last_award * 64 + l.part % 64
      WHERE l.source_id = k.source_id AND l.source_key = k.source_key AND l.part / 64 = g.award;
    END LOOP;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.merge_parts(bigint, integer, bigint) IS 'part of merge_members(): the order of awards of purchases that both members have had';
REVOKE ALL ON FUNCTION loyalty.merge_parts(bigint, integer, bigint) FROM PUBLIC;

-- Caps and uses are those of one member; years of membership are the survivor's.
CREATE OR REPLACE FUNCTION loyalty.merge_usage(from_member bigint, to_member bigint, program_id integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  yearly integer;
BEGIN
  INSERT INTO loyalty.rule_usage AS t (member_id, program_id, rule_id, period_start, period_end, used, uses)
  SELECT to_member, u.program_id, u.rule_id, u.period_start, u.period_end, u.used, u.uses FROM loyalty.rule_usage u
  WHERE u.member_id = from_member AND u.program_id = merge_usage.program_id
  ON CONFLICT (member_id, program_id, rule_id, period_start, period_end) DO UPDATE SET used = t.used + excluded.used, uses = t.uses + excluded.uses;
  DELETE FROM loyalty.rule_usage u WHERE u.member_id = from_member AND u.program_id = merge_usage.program_id;
  FOR yearly IN
    SELECT r.id FROM loyalty.rule r JOIN loyalty.program p ON p.name = r.program
    WHERE p.id = merge_usage.program_id AND 'membership year' IN (CASE WHEN r.cap IS NOT NULL THEN r.cap_period::text END, CASE WHEN r.max_uses IS NOT NULL THEN r.uses_period::text END)
  LOOP
    DELETE FROM loyalty.rule_usage u WHERE u.member_id = to_member AND u.rule_id = yearly;
    INSERT INTO loyalty.rule_usage (member_id, program_id, rule_id, period_start, period_end, used, uses)
    SELECT g.member_id, g.program_id, yearly, g.period_start, g.period_end, g.used, g.uses
    FROM loyalty.usage_of_ledger(yearly) g WHERE g.member_id = to_member;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.merge_usage(bigint, bigint, integer) IS 'part of merge_members(): what was used of caps and uses';
REVOKE ALL ON FUNCTION loyalty.merge_usage(bigint, bigint, integer) FROM PUBLIC;

-- Keys that both have used stay the survivor's; the other one's call is not repeated, its effect is an entry like any other.
CREATE OR REPLACE FUNCTION loyalty.merge_entries(from_member bigint, to_member bigint, program_id integer, at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
  f loyalty.account;
  t loyalty.account;
  behind bigint;
  joined_life smallint;
BEGIN
  SELECT a.* INTO f FROM loyalty.account a WHERE a.member_id = merge_entries.from_member AND a.program_id = merge_entries.program_id;
  SELECT a.* INTO t FROM loyalty.account a WHERE a.member_id = merge_entries.to_member AND a.program_id = merge_entries.program_id;
  behind := t.next_entry - 1;
  -- points that live with their account live with the one that is; what has died stays of a former life
  joined_life := greatest(f.life, t.life);
  IF t.life < joined_life THEN
    UPDATE loyalty.lot l SET life = sign(l.life) * joined_life WHERE l.member_id = to_member AND l.program_id = merge_entries.program_id AND abs(l.life) = t.life;
  END IF;
  UPDATE loyalty.lot l SET member_id = to_member, entry_no = l.entry_no + behind, life = CASE WHEN abs(l.life) = f.life THEN sign(l.life) * joined_life ELSE l.life END
  WHERE l.member_id = from_member AND l.program_id = merge_entries.program_id;
  UPDATE loyalty.movement m SET member_id = to_member, entry_no = m.entry_no + behind, lot_entry_no = m.lot_entry_no + behind,
    origin_entry_no = m.origin_entry_no + behind
  WHERE m.member_id = from_member AND m.program_id = merge_entries.program_id;
  UPDATE loyalty.lot_origin o SET member_id = to_member, entry_no = o.entry_no + behind
  WHERE o.member_id = from_member AND o.program_id = merge_entries.program_id;
  UPDATE loyalty.lot_origin o SET origin_member_id = to_member, origin_entry_no = o.origin_entry_no + behind, moved_by = o.moved_by + behind
  WHERE o.origin_member_id = from_member AND o.program_id = merge_entries.program_id;
  UPDATE loyalty.debt d SET member_id = to_member, entry_no = d.entry_no + behind, lot_entry_no = d.lot_entry_no + behind
  WHERE d.member_id = from_member AND d.program_id = merge_entries.program_id;
  UPDATE loyalty.redemption r SET member_id = to_member, first_entry = r.first_entry + behind, last_entry = r.last_entry + behind
  WHERE r.member_id = from_member AND r.program_id = merge_entries.program_id;
  UPDATE loyalty.intervention i SET member_id = to_member, entry_no = i.entry_no + behind, last_entry = i.last_entry + behind
  WHERE i.member_id = from_member AND i.program_id = merge_entries.program_id AND i.action <> 'merge';
  UPDATE loyalty.request q SET member_id = to_member, entry_no = q.entry_no + behind
  WHERE q.member_id = from_member AND q.program_id = merge_entries.program_id
    AND NOT EXISTS (SELECT FROM loyalty.request k WHERE k.member_id = to_member AND k.program_id = merge_entries.program_id AND k.key = q.key);
  UPDATE loyalty.refund r SET member_id = to_member WHERE r.member_id = from_member AND r.program_id = merge_entries.program_id;
  UPDATE loyalty.exchange e SET from_entry = e.from_entry + behind WHERE e.member_id = from_member AND e.from_program_id = merge_entries.program_id;
  UPDATE loyalty.exchange e SET to_entry = e.to_entry + behind WHERE e.member_id = from_member AND e.to_program_id = merge_entries.program_id;
  UPDATE loyalty.subscription s SET member_id = to_member WHERE s.member_id = from_member AND s.program_id = merge_entries.program_id;
  UPDATE loyalty.subscription_event v SET member_id = to_member WHERE v.member_id = from_member AND v.program_id = merge_entries.program_id;
  UPDATE loyalty.plan_payment y SET member_id = to_member WHERE y.member_id = from_member AND y.program_id = merge_entries.program_id;
  UPDATE loyalty.cause_choice c SET member_id = to_member WHERE c.member_id = from_member AND c.program_id = merge_entries.program_id;
  UPDATE loyalty.donation d SET member_id = to_member WHERE d.member_id = from_member AND d.program_id = merge_entries.program_id;
  PERFORM loyalty.merge_usage(from_member, to_member, merge_entries.program_id);
  PERFORM loyalty.merge_challenges(from_member, to_member, merge_entries.program_id, behind);
  PERFORM loyalty.merge_recognition(from_member, to_member, merge_entries.program_id, behind);
  PERFORM loyalty.merge_parts(to_member, merge_entries.program_id, behind);

  UPDATE loyalty.account a
  SET available = t.available + f.available, pending = t.pending + f.pending, held = t.held + f.held, debt = t.debt + f.debt,
    next_entry = behind + f.next_entry, next_change_at = least(t.next_change_at, f.next_change_at),
    open_from_expires_at = least(t.open_from_expires_at, f.open_from_expires_at),
    open_from_entry_no = CASE
      WHEN f.open_from_expires_at = 'infinity' AND f.open_from_entry_no > 9223372036854775807 - behind THEN t.open_from_entry_no
      WHEN f.open_from_expires_at > t.open_from_expires_at THEN t.open_from_entry_no
      WHEN f.open_from_expires_at < t.open_from_expires_at THEN f.open_from_entry_no + behind
      ELSE least(t.open_from_entry_no, f.open_from_entry_no + behind) END,
    active_at = greatest(t.active_at, f.active_at), life = joined_life,
    inactive_at = CASE WHEN 'infinity' IN (t.inactive_at, f.inactive_at) THEN least(t.inactive_at, f.inactive_at) ELSE greatest(t.inactive_at, f.inactive_at) END
  WHERE a.member_id = to_member AND a.program_id = merge_entries.program_id;
  UPDATE loyalty.account a
  SET available = 0, pending = 0, held = 0, debt = 0, open_from_expires_at = 'infinity', open_from_entry_no = 9223372036854775807,
    next_change_at = 'infinity', active_at = '-infinity', inactive_at = 'infinity', life = 1, period_start = '-infinity', previous_start = '-infinity', period_end = 'infinity', tier_until = 'infinity',
    spend = 0, spend_previous = 0, earned = 0, earned_previous = 0, visits = 0, visits_previous = 0, status = 'merged',
    own_tier_id = NULL, own_until = NULL, granted_tier_id = NULL, granted_until = NULL, kept_tier_id = NULL, lent_tier_ids = NULL, lent_until = NULL
  WHERE a.member_id = from_member AND a.program_id = merge_entries.program_id;
  DELETE FROM loyalty.counter c WHERE c.member_id = from_member AND c.program_id = merge_entries.program_id;
  DELETE FROM loyalty.visit v WHERE v.member_id = from_member AND v.program_id = merge_entries.program_id;
  INSERT INTO loyalty.visit_of (member_id, program_id, source_id, source_key, visit)
  SELECT to_member, o.program_id, o.source_id, o.source_key, o.visit FROM loyalty.visit_of o
  WHERE o.member_id = from_member AND o.program_id = merge_entries.program_id
  ON CONFLICT ON CONSTRAINT visit_of_pkey DO NOTHING;
  DELETE FROM loyalty.visit_of o WHERE o.member_id = from_member AND o.program_id = merge_entries.program_id;
  PERFORM loyalty.recount_counters_of(merge_entries.program_id, to_member, to_member);
END $$;
COMMENT ON FUNCTION loyalty.merge_entries(bigint, bigint, integer, timestamptz) IS 'part of merge_members(): all entries of one account become another one''s';
REVOKE ALL ON FUNCTION loyalty.merge_entries(bigint, bigint, integer, timestamptz) FROM PUBLIC;

-- What is the person's and not an account's.  What both say, the survivor says.
CREATE OR REPLACE FUNCTION loyalty.merge_names(from_member bigint, to_member bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  UPDATE loyalty.member_alias a SET member_id = to_member WHERE a.member_id = from_member;
  UPDATE loyalty.member_role m SET member_id = to_member WHERE m.member_id = from_member;
  UPDATE loyalty.voucher v SET member_id = to_member WHERE v.member_id = from_member;
  UPDATE loyalty.voucher_change c SET member_id = to_member WHERE c.member_id = from_member;
  UPDATE loyalty.review r SET member_id = to_member WHERE r.member_id = from_member;
  UPDATE loyalty.untold u SET member_id = to_member WHERE u.member_id = from_member;
  UPDATE loyalty.benefit_use u SET member_id = to_member WHERE u.member_id = from_member;
  UPDATE loyalty.exchange e SET member_id = to_member WHERE e.member_id = from_member;
  PERFORM loyalty.merge_pools(from_member, to_member);
  UPDATE loyalty.referral_code c SET member_id = to_member WHERE c.member_id = from_member;
  UPDATE loyalty.referral_change c SET member_id = to_member WHERE c.member_id = from_member;
  UPDATE loyalty.referral r SET member_id = to_member WHERE r.member_id = from_member;
  UPDATE loyalty.referral r SET referrer_member_id = to_member WHERE r.referrer_member_id = from_member;
  UPDATE loyalty.referral r SET state = 'refused', refused_at = statement_timestamp(), reason = 'same member'
  WHERE r.member_id = to_member AND r.referrer_member_id = to_member AND r.state = 'registered';
  UPDATE loyalty.consent c SET member_id = to_member, consent_no = c.consent_no + (SELECT coalesce(max(o.consent_no), 0) FROM loyalty.consent o WHERE o.member_id = to_member),
    key = CASE WHEN EXISTS (SELECT FROM loyalty.consent o WHERE o.member_id = to_member AND o.key = c.key) THEN NULL ELSE c.key END
  WHERE c.member_id = from_member;
  -- what both have answered in one period stays answered twice
  UPDATE loyalty.response r SET member_id = to_member,
    slot = r.slot + coalesce((SELECT max(k.slot) + 1 FROM loyalty.response k WHERE k.member_id = to_member AND k.survey_id = r.survey_id AND k.period_start = r.period_start), 0)
  WHERE r.member_id = from_member;
  UPDATE loyalty.follow_up f SET member_id = to_member WHERE f.member_id = from_member;
  UPDATE loyalty.follow_up_change c SET member_id = to_member WHERE c.member_id = from_member;
  UPDATE loyalty.event e SET member_id = to_member WHERE e.member_id = from_member AND e.position IS NULL;
  DELETE FROM loyalty.event_ahead a WHERE a.member_id = from_member;
  INSERT INTO loyalty.offer_member SELECT to_member, o.program_id, o.offer_id, o.given_at, o.until, o.activated_at, o.withdrawn_at, o.by, o.set_role, o.posted_at
  FROM loyalty.offer_member o WHERE o.member_id = from_member
  ON CONFLICT (member_id, program_id, offer_id) DO NOTHING;
  DELETE FROM loyalty.offer_member o WHERE o.member_id = from_member;
  UPDATE loyalty.member t SET attributes = f.attributes || t.attributes, birth_date = coalesce(t.birth_date, f.birth_date)
  FROM loyalty.member f WHERE t.member_id = to_member AND f.member_id = from_member;
  UPDATE loyalty.member m SET status = 'merged', merged_into = to_member, attributes = '{}', birth_date = NULL WHERE m.member_id = from_member;
END $$;
COMMENT ON FUNCTION loyalty.merge_names(bigint, bigint) IS 'part of merge_members(): names and attributes';
REVOKE ALL ON FUNCTION loyalty.merge_names(bigint, bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.merge_members(from_member bigint, to_member bigint, reason text)
RETURNS TABLE (program text, available numeric, pending numeric, tier text)
LANGUAGE c VOLATILE ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_merge_members';
COMMENT ON FUNCTION loyalty.merge_members(bigint, bigint, text) IS
  'all that from_member has in every program (points, purchases, redemptions, keys, names) becomes to_member''s, and so do later purchases and calls of from_member; returns the accounts that grew, none when that was done before';
REVOKE ALL ON FUNCTION loyalty.merge_members(bigint, bigint, text) FROM PUBLIC;
