-- A person's data: exported as one JSON, or erased for ever with the amounts and proofs kept.
-- Every column of every table that names members is declared here.  What is not declared stops erase_member(), and the
-- test `privacy` compares the list with the catalog: a new table needs one line.

-- members: columns that name a member, the row's owner first; empty: the table is no person's (then its columns are not
-- listed).  points: counts of 1/10,000.  personal: made empty when the member is erased; '*': the rows go.  kept: the rest.
CREATE OR REPLACE FUNCTION loyalty.personal_data() RETURNS TABLE (relation text, members text, points text, personal text, kept text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ VALUES
  ('member', 'member_id', '', 'attributes birth_date', 'status erased_at merged_into'),
  ('member_alias', 'member_id', '', '*', 'external_id'),
  ('member_role', 'member_id', '', '*', 'place role role_name may_redeem added_at by set_role removed_at removed_by'),
  ('account', 'member_id', 'available pending held debt earned earned_previous', '', 'own_tier_id own_until granted_tier_id granted_until kept_tier_id ladder_no lent_tier_ids lent_until enrolled_at settled_at next_change_at next_entry open_from_expires_at open_from_entry_no tier_until period_start period_end previous_start program_id tier_id active_at inactive_at life visits visits_previous spend spend_previous status'),
  ('lot', 'member_id', 'points remaining owed', '', 'expires_at entry_no earned_at available_at at posted_at program_id source_id unit part life kind source_key amount kept_amount breakdown'),
  ('lot_origin', 'member_id origin_member_id', '', '', 'entry_no expires_at origin_entry_no origin_expires_at moved_by program_id'),
  ('movement', 'member_id', 'points', 'reason', 'entry_no lot_expires_at lot_entry_no at posted_at redemption_id origin_entry_no program_id kind'),
  ('debt', 'member_id', 'amount left_over', '', 'entry_no lot_expires_at lot_entry_no at posted_at program_id'),
  ('refund', 'member_id first_member_id', '', '', 'program_id source_id source_key part of_source_id of_key amount at posted_at'),
  ('tier_change', 'member_id', '', '', 'program_id at change_no posted_at from_tier_id to_tier_id held_until reason'),
  ('review', 'member_id', '', 'error', 'source_id source_key posted_at sqlstate settled_at'),
  ('untold', 'member_id', 'points', '', 'program_id untold_no room source_id source_key unit occurred_at amount kept spend first posted_at'),
  ('rule_usage', 'member_id', '', '', 'period_start period_end used program_id rule_id uses'),
  ('counter', 'member_id', '', '', 'bucket program_id metric value'),
  ('visit', 'member_id', '', '', 'bucket program_id purchases visit'),
  ('visit_of', 'member_id', '', '', 'program_id source_id source_key visit'),
  ('redemption', 'member_id', 'points taken stated', 'reason', 'redemption_id program_id reward_id quantity state key vouchers held_until first_entry last_entry at posted_at by changed_at source_id source_key'),
  ('voucher', 'member_id', '', 'reference reason', 'voucher_id program_id reward_id redemption_id state code value value_unit used issued_at valid_until changed_at issue posted_at by'),
  ('voucher_change', 'member_id', '', 'words', 'voucher_id change_no state amount at posted_at by set_role'),
  ('code', '', '', '', ''), ('voucher_issue', '', '', '', ''),
  ('request', 'member_id', '', 'arguments', 'program_id key call redemption_id entry_no at answer'),
  ('intervention', 'member_id', 'points', 'reason', 'tier_id held_until program_id entry_no last_entry action available_at expires_at key at posted_at by set_role counts_for_tier unit_id value counted_at'),
  ('consent', 'member_id', '', 'arguments', 'consent_no purpose given at until source wording key posted_at by set_role'),
  ('erasure', 'member_id', '', '', 'at reason key forfeited touched posted_at by set_role'),
  ('referral', 'member_id referrer_member_id', 'friend_points referrer_points', 'attributes', 'referral_id program_id referral_program_id state registered_at qualify_until qualified_at rewarded_at reversed_at refused_at final_at source_id source_key reason key posted_at by set_role'),
  ('referral_code', 'member_id', '', '*', 'program_id code posted_at by'),
  ('referral_change', 'member_id', '', '', 'referral_id change_no state at reason source_id source_key posted_at by'),
  ('referral_count', '', '', '', ''),
  ('event', 'member_id', '', 'data', 'event_no position program_id kind at posted_at'),
  ('event_ahead', 'member_id', '', '', 'program_id kind subject'),
  ('event_place', '', '', '', ''), ('event_consumer', '', '', '', ''),
  ('subscription', 'member_id', '', '', 'subscription_id program_id plan_id started_at trial_until paid_from period periods paid_until ends_at cancelled_at changed_to changed_from'),
  ('subscription_event', 'member_id', '', 'reason', 'event_id subscription_id program_id plan_id action at posted_at paid_until ends_at key by set_role'),
  ('plan_payment', 'member_id', '', 'reference', 'payment_id subscription_id program_id plan_id kind amount covers_from covers_until of_payment at posted_at by set_role'),
  ('cause_choice', 'member_id', '', '', 'choice_id program_id giving_id cause_id share step at posted_at key by set_role'),
  ('donation', 'member_id', 'points', 'reason', 'donation_id program_id cause_id giving_id funded_by amount redemption_id of_donation source_id source_key kept most given share step maximum at posted_at by'),
  ('offer_member', 'member_id', '', '', 'program_id offer_id given_at until activated_at withdrawn_at by set_role posted_at'),
  ('exchange', 'member_id', 'taken given', '', 'exchange_id from_program_id to_program_id rate_id rate from_entry to_entry key at posted_at by set_role'),
  ('pool', '', '', '', ''),
  ('shared_tier', '', '', '', ''),
  ('tier_sharing', '', '', '', ''),
  ('pool_member', 'member_id asked_by', '', '', 'pool_id place program_id role joined_at left_at by set_role'),
  ('pool_redemption', 'member_id', 'points', 'reason', 'pool_redemption_id pool_id program_id reward_id quantity key at posted_at by set_role'),
  ('pool_payment', 'member_id', 'points', '', 'redemption_id pool_redemption_id'),
  ('benefit_use', 'member_id', '', 'reason cancel_reason', 'use_id program_id benefit_id quantity at posted_at key by set_role cancelled_at cancelled_by'),
  ('ladder', '', '', '', ''), ('ladder_rung', '', '', '', ''),
  ('response', 'member_id', 'points', 'comment', 'survey_id period_start slot response_id program_id score category touchpoint source source_key entry_no at posted_at by set_role'),
  ('follow_up', 'member_id', '', 'outcome', 'response_id owner due opened_at closed_at'),
  ('follow_up_change', 'member_id', '', 'note', 'response_id change_no action owner due at posted_at by set_role'),
  ('challenge_join', 'member_id', '', '', 'program_id challenge_id joined_at posted_at by set_role'),
  ('progress', 'member_id', '', '', 'period_start period_end completed_at program_id challenge_id times value'),
  ('challenge_day', 'member_id', '', '', 'program_id challenge_id day purchases added occurred_at enrolled_at'),
  ('challenge_award', 'member_id', 'points_each points points_taken owed', '', 'program_id challenge_id period_start award_no completions taken_back entry_no expires_at reward_id redemption_id reward_kept badge at taken_at posted_at'),
  ('recognition_given', 'member_id to_member', 'points withdrawn_points', 'message withdrawn_reason', 'program_id given_no recognition_id choice entry_no expires_at at posted_at by set_role withdrawn_at withdrawn_by'),
  -- no person's (configuration need not be listed); job: a place in a walk over all accounts
  ('job', '', '', '', 'member_id'),
  ('installed', '', '', '', ''), ('config_history', '', '', '', ''), ('rule_budget', '', '', '', ''), ('reward_stock', '', '', '', '')
$$;
COMMENT ON FUNCTION loyalty.personal_data() IS 'what the columns of each table say of a member: who, points, personal data, what is kept for ever';
REVOKE ALL ON FUNCTION loyalty.personal_data() FROM PUBLIC;

-- What stands between this list and the catalog.  No rows when all is declared.
CREATE OR REPLACE FUNCTION loyalty.undeclared_data() RETURNS TABLE (relation text, column_name text, problem text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH declared AS (
    SELECT d.relation, w.role, w.name FROM loyalty.personal_data() d
    CROSS JOIN LATERAL (
      SELECT r.role, unnest(string_to_array(nullif(r.names, ''), ' ')) AS name
      FROM (VALUES ('member', d.members), ('points', d.points), ('personal', d.personal), ('kept', d.kept)) r (role, names)) w
  ), found AS (
    SELECT c.oid AS id, c.relname AS relation, a.attname AS name, a.attnotnull AS filled, t.typname AS type, t.typcategory AS category
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  )
  SELECT f.relation::text, NULL::text, 'table is not declared' FROM found f
  WHERE NOT EXISTS (SELECT FROM loyalty.personal_data() d WHERE d.relation = f.relation)
  GROUP BY f.relation, f.id
  HAVING bool_or(f.name LIKE '%member\_id')
    OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = f.id AND t.tgname = 'config_check')
  UNION ALL
  SELECT f.relation, f.name, 'column is not declared' FROM found f JOIN loyalty.personal_data() d ON d.relation = f.relation
  WHERE (d.members <> '' OR f.name LIKE '%member\_id') AND NOT EXISTS (SELECT FROM declared w WHERE w.relation = f.relation AND w.name = f.name)
  UNION ALL
  SELECT w.relation, w.name, 'column is declared more than once' FROM declared w GROUP BY w.relation, w.name HAVING count(*) > 1
  UNION ALL
  SELECT w.relation, w.name, 'column is not there' FROM declared w
  WHERE w.name <> '*' AND NOT EXISTS (SELECT FROM found f WHERE f.relation = w.relation AND f.name = w.name)
  UNION ALL
  SELECT w.relation, w.name, 'column cannot be made empty' FROM declared w JOIN found f ON f.relation = w.relation AND f.name = w.name
  WHERE w.role = 'personal' AND f.filled AND f.category NOT IN ('S', 'A') AND f.type <> 'jsonb'
$$;
COMMENT ON FUNCTION loyalty.undeclared_data() IS 'tables and columns of which personal_data() says nothing, or something wrong';
REVOKE ALL ON FUNCTION loyalty.undeclared_data() FROM PUBLIC;

-- A member's numbers: its own, and those of who was merged into it.
CREATE OR REPLACE FUNCTION loyalty.member_numbers(member bigint) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE one (id) AS (
    SELECT loyalty.member_now(member)
    UNION
    SELECT m.member_id FROM one o JOIN loyalty.member m ON m.merged_into = o.id
  )
  SELECT array_agg(o.id ORDER BY o.id <> loyalty.member_now(member), o.id) FROM one o
$$;
COMMENT ON FUNCTION loyalty.member_numbers(bigint) IS 'all numbers of a person, the present one first';
REVOKE ALL ON FUNCTION loyalty.member_numbers(bigint) FROM PUBLIC;

-- ---- export ----

-- A column as people read it: points as numbers, names of what is configured, other members not named.
CREATE OR REPLACE FUNCTION loyalty.export_column(name text, type text, declared jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  config text := regexp_replace(regexp_replace(name, '_id$', ''), '^(from|to|of)_', '');
BEGIN
  IF type = 'bytea' THEN
    RETURN NULL;
  ELSIF declared -> 'points' ? name THEN
    RETURN format('trim_scale(t.%1$I * 0.0001) AS %1$I', name);
  ELSIF declared -> 'members' ? name THEN
    RETURN format('CASE WHEN t.%1$I = ANY ($1) THEN t.%1$I END AS %1$I', name);
  ELSIF declared -> 'personal' ? name THEN
    RETURN format('CASE WHEN t.%2$I = ANY ($1) THEN t.%1$I END AS %1$I', name, declared -> 'members' ->> 0);
  ELSIF name LIKE '%\_id' AND type = 'integer' AND (
      SELECT count(*) = 2 FROM pg_attribute a WHERE a.attrelid = to_regclass(format('loyalty.%I', config)) AND a.attname IN ('id', 'name')) THEN
    RETURN format('(SELECT x.name FROM loyalty.%I x WHERE x.id = t.%I) AS %I', config, name, regexp_replace(name, '_id$', ''));
  END IF;
  RETURN format('t.%I', name);
END $$;
COMMENT ON FUNCTION loyalty.export_column(text, text, jsonb) IS 'part of export_member(): the expression of one column';
REVOKE ALL ON FUNCTION loyalty.export_column(text, text, jsonb) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.export_table(relation text, members text, points text, personal text, numbers bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whose text[] := string_to_array(members, ' ');
  declared jsonb := jsonb_build_object('members', whose, 'points', string_to_array(points, ' '), 'personal', string_to_array(personal, ' '));
  columns text;
  ordered text;
  rows jsonb;
BEGIN
  SELECT string_agg(loyalty.export_column(a.attname, format_type(a.atttypid, NULL), declared), ', ' ORDER BY a.attnum) INTO columns
  FROM pg_attribute a WHERE a.attrelid = format('loyalty.%I', relation)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
  SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY k.place) INTO ordered
  FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY k (attnum, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  WHERE i.indrelid = format('loyalty.%I', relation)::regclass AND i.indisprimary;
  EXECUTE format('SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(s))) FROM (SELECT %s FROM loyalty.%I t WHERE %s%s) s', columns, relation,
    (SELECT string_agg(format('t.%I = ANY ($1)', w), ' OR ') FROM unnest(whose) w), ' ORDER BY ' || ordered)
  INTO rows USING numbers;
  RETURN rows;
END $$;
COMMENT ON FUNCTION loyalty.export_table(text, text, text, text, bigint[]) IS 'part of export_member(): the rows of one table; NULL: none';
REVOKE ALL ON FUNCTION loyalty.export_table(text, text, text, text, bigint[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_declared() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  u record;
BEGIN
  SELECT d.* INTO u FROM loyalty.undeclared_data() d ORDER BY d.relation, d.column_name LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'loyalty does not know what % says of members', 'loyalty.' || u.relation || coalesce('.' || u.column_name, '')
      USING ERRCODE = 'LY014', DETAIL = u.problem || '.',
        HINT = 'A table that is not ours does not belong into schema loyalty; ours are listed in loyalty.personal_data().';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_declared() IS 'raise LY014 when a table or column could hold personal data that nobody has declared';
REVOKE ALL ON FUNCTION loyalty.check_declared() FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.export_member(member_id bigint) RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.export_member(bigint) IS
  'all that schema loyalty says of a person, by table, with the balances and the statement; points as numbers, configuration by name, other members not named';
REVOKE ALL ON FUNCTION loyalty.export_member(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.export_member_as_owner(member bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  numbers bigint[];
  tables jsonb;
BEGIN
  IF member IS NULL THEN
    RAISE EXCEPTION 'member_id is null' USING ERRCODE = 'LY017';
  END IF;
  PERFORM loyalty.check_declared();
  numbers := loyalty.member_numbers(member);
  SELECT jsonb_object_agg(e.relation, e.rows) INTO tables
  FROM (SELECT d.relation, loyalty.export_table(d.relation, d.members, d.points, d.personal, numbers) AS rows
        FROM loyalty.personal_data() d WHERE d.members <> '' OFFSET 0) e  -- each table once, not once more to see whether there was any
  WHERE e.rows IS NOT NULL;
  IF tables IS NULL THEN
    RAISE EXCEPTION 'member % is not known', member
      USING ERRCODE = 'LY002', HINT = 'The first purchase enrolls a member, or loyalty.enroll().';
  END IF;
  RETURN jsonb_build_object(
    'member_id', numbers[1],
    'formerly', to_jsonb(numbers[2:]),
    'as_of', loyalty.instant(),
    'balances', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(b)) ORDER BY b.program) FROM loyalty.member_balance b WHERE b.member_id = numbers[1]), '[]'),
    'statement', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(s)) - 'member_id' ORDER BY s.program, s.entry_no, s.at)
                           FROM loyalty.statement s WHERE s.member_id = numbers[1]), '[]'),
    'tables', tables);
END $$;
COMMENT ON FUNCTION loyalty.export_member_as_owner(bigint) IS 'the body of export_member()';
REVOKE ALL ON FUNCTION loyalty.export_member_as_owner(bigint) FROM PUBLIC;

-- ---- erasure ----

CREATE OR REPLACE FUNCTION loyalty.close_account(member_id bigint, program text, reason text) RETURNS numeric
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_close_account';
COMMENT ON FUNCTION loyalty.close_account(bigint, text, text) IS
  'part of erase_member(): all points of the account are forfeited, debts written off, and it is erased; returns how many points there were';
REVOKE ALL ON FUNCTION loyalty.close_account(bigint, text, text) FROM PUBLIC;

-- Returns in how many rows there was something.
CREATE OR REPLACE FUNCTION loyalty.erase_table(relation text, members text, personal text, numbers bigint[]) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  whose text;
  blanks text;
  filled text;
  n bigint := 0;
BEGIN
  SELECT string_agg(format('t.%I = ANY ($1)', w), ' OR ') INTO whose FROM unnest(string_to_array(members, ' ')) w;
  IF personal = '*' THEN
    EXECUTE format('DELETE FROM loyalty.%I t WHERE %s', relation, whose) USING numbers;
  ELSE
    SELECT string_agg(format('%I = %s', a.attname, b.blank), ', '), string_agg(format('t.%I IS DISTINCT FROM %s', a.attname, b.blank), ' OR ')
    INTO blanks, filled
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
    CROSS JOIN LATERAL (SELECT CASE WHEN NOT a.attnotnull THEN format('NULL::%s', y.oid::regtype) WHEN y.typname = 'jsonb' THEN '''{}''::jsonb'
                                    WHEN y.typcategory = 'A' THEN format('''{}''::%s', y.oid::regtype) ELSE '''erased''::text' END AS blank) b
    WHERE a.attrelid = format('loyalty.%I', relation)::regclass AND a.attname = ANY (string_to_array(personal, ' '));
    EXECUTE format('UPDATE loyalty.%I t SET %s WHERE (%s) AND (%s)', relation, blanks, whose, filled) USING numbers;
  END IF;
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
COMMENT ON FUNCTION loyalty.erase_table(text, text, text, bigint[]) IS 'part of erase_member(): personal data of one table; returns in how many rows there was some';
REVOKE ALL ON FUNCTION loyalty.erase_table(text, text, text, bigint[]) FROM PUBLIC;

-- Accounts are closed: what is held goes back first, then all is forfeited.
CREATE OR REPLACE FUNCTION loyalty.close_accounts(member bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  a record;
  h bigint;
  points numeric;
  forfeited jsonb := '{}';
BEGIN
  FOR a IN SELECT o.program_id, p.name FROM loyalty.account o JOIN loyalty.program p ON p.id = o.program_id
           WHERE o.member_id = member ORDER BY o.program_id LOOP
    PERFORM loyalty.lock_accounts(a.program_id, ARRAY[member]);
    FOR h IN SELECT r.redemption_id FROM loyalty.redemption r
             WHERE r.member_id = member AND r.program_id = a.program_id AND r.state = 'held'
             ORDER BY r.redemption_id LOOP
      BEGIN
        PERFORM loyalty.release(member, h);
      EXCEPTION WHEN SQLSTATE 'LY006' THEN
        NULL;  -- it has lapsed: closing the account writes that down
      END;
    END LOOP;
    PERFORM loyalty.erase_subscriptions(member, a.program_id);
    points := loyalty.close_account(member, a.name, 'erased');
    forfeited := forfeited || jsonb_build_object(a.name, points);
  END LOOP;
  RETURN forfeited;
END $$;
COMMENT ON FUNCTION loyalty.close_accounts(bigint) IS 'part of erase_member(): the accounts of a member in all programs; returns what was forfeited';
REVOKE ALL ON FUNCTION loyalty.close_accounts(bigint) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.erase_member(member_id bigint, reason text DEFAULT 'on request', key text DEFAULT NULL)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE c VOLATILE ROWS 20 AS 'MODULE_PATHNAME', 'loyalty_as_owner';
COMMENT ON FUNCTION loyalty.erase_member(bigint, text, text) IS
  'personal data of a member is gone from all tables for ever, amounts and proofs stay; subscriptions end, without a refund, pools are left, open holds are released, what is left of points is forfeited, later purchases earn nothing. Returns in how many rows of which table there was something; once more: the same answer';
REVOKE ALL ON FUNCTION loyalty.erase_member(bigint, text, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.erase_member_as_owner(member bigint, why text, call_key text)
RETURNS TABLE (relation text, rows bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  numbers bigint[];
  person bigint := loyalty.member_now(member);
  former record;
  touched jsonb;
  forfeited jsonb;
BEGIN
  PERFORM loyalty.check_word('reason', why);
  PERFORM loyalty.check_call_key(call_key);
  PERFORM loyalty.check_declared();
  SELECT e.* INTO former FROM loyalty.erasure e WHERE e.member_id = person;
  IF NOT FOUND THEN
    person := loyalty.lock_member(person);
    numbers := loyalty.member_numbers(person);
    PERFORM loyalty.lock_pools(numbers);
    PERFORM loyalty.lock_accounts(a.program_id, loyalty.pool_accounts(a.pool_id) || person) FROM (
      SELECT o.program_id, (SELECT t.pool_id FROM loyalty.pool_member t WHERE t.member_id = person AND t.program_id = o.program_id AND t.left_at IS NULL) AS pool_id FROM loyalty.account o WHERE o.member_id = person ORDER BY o.program_id) a;
    PERFORM loyalty.say_consent(person, false, c.purpose, 'erasure', NULL, NULL, NULL, NULL)
    FROM (SELECT DISTINCT o.purpose FROM loyalty.consent o WHERE o.member_id = person ORDER BY o.purpose) c WHERE loyalty.has_consent(person, c.purpose, NULL);
    SELECT coalesce(jsonb_object_agg(t.relation, t.n) FILTER (WHERE t.n > 0), '{}') INTO touched
    FROM (SELECT d.relation, loyalty.erase_table(d.relation, d.members, d.personal, numbers) AS n
          FROM loyalty.personal_data() d WHERE d.members <> '' AND d.personal <> '') t;
    touched := touched || loyalty.erase_pools(person);
    forfeited := loyalty.close_accounts(person);
    UPDATE loyalty.member m SET status = CASE m.status WHEN 'merged' THEN 'merged' ELSE 'erased' END, erased_at = statement_timestamp()
    WHERE m.member_id = ANY (numbers);
    INSERT INTO loyalty.erasure AS e (member_id, at, reason, key, forfeited, touched, posted_at, by, set_role)
    VALUES (person, statement_timestamp(), why, call_key, forfeited, touched, statement_timestamp(), session_user, loyalty.caller())
    RETURNING e.* INTO former;
  ELSIF former.key = call_key THEN
    PERFORM loyalty.check_arguments(call_key, jsonb_build_object('reason', former.reason), json_build_object('reason', why));
  END IF;
  RETURN QUERY SELECT t.name, t.n::bigint FROM jsonb_each_text(former.touched) t (name, n) ORDER BY t.name;
END $$;
COMMENT ON FUNCTION loyalty.erase_member_as_owner(bigint, text, text) IS 'the body of erase_member()';
REVOKE ALL ON FUNCTION loyalty.erase_member_as_owner(bigint, text, text) FROM PUBLIC;
