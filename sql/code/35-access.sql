-- Who may do what.  The one list, by name; what does not exist (yet) is passed over, so that a new function
-- needs one line here.  Run grant_access() again after an upgrade.

CREATE OR REPLACE FUNCTION loyalty.access_list() RETURNS TABLE (kind text, object text, privileges text, names text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ VALUES
  -- views have their reader's rights (policies on the tables count), so who reads views may SELECT below them
  -- an application: the entry functions, and the views
  -- challenges, recognition
  ('app', 'function', 'EXECUTE', 'join_challenge claim_challenge_rewards choose_challenge_reward allowance recognise'),
  ('app', 'table', 'SELECT', 'challenge challenge_join progress challenge_award recognition recognition_given'),
  ('app', 'view', 'SELECT', 'challenge_progress challenge_to_choose member_badge recognition_feed'),
  ('report', 'table', 'SELECT', 'challenge challenge_join progress challenge_award recognition recognition_given'),
  ('report', 'view', 'SELECT', 'challenge_progress challenge_to_choose member_badge challenge_performance recognition_feed recognition_summary recognition_ring'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'challenge recognition'),
  ('admin', 'view', 'SELECT', 'challenge_performance recognition_summary recognition_ring'),
  ('admin', 'function', 'EXECUTE', 'recount_challenge withdraw_recognition'),
  ('app', 'function', 'EXECUTE', 'in_segment purchases spent last_purchase_at has_offer offers_for activate_offer'),
  ('app', 'function', 'EXECUTE', 'enroll member_id add_alias balance award why_not explain redeem capture release reverse transfer quote'),
  ('app', 'function', 'EXECUTE', 'answer'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'survey'),
  ('admin', 'table', 'SELECT', 'response follow_up follow_up_change'),
  ('admin', 'view', 'SELECT', 'nps survey_result detractor'),
  ('admin', 'function', 'EXECUTE', 'close_follow_up reassign_follow_up'),
  ('report', 'table', 'SELECT', 'survey response follow_up follow_up_change'),
  ('report', 'view', 'SELECT', 'nps survey_result detractor'),
  ('app', 'function', 'EXECUTE', 'instant settled units_at due_movements lot_end'),
  ('app', 'view', 'SELECT', 'ladder_now tier_asks account_now tier_reach member_balance statement award_share expiring tier_standing tier_progress member_unit unit_share'),
  ('app', 'table', 'SELECT', 'account lot lot_origin movement redemption intervention member_alias program tier tier_requirement ladder ladder_rung source rule reward unit'),
  -- a service desk: what an application can, and corrections with a reason
  ('support', 'function', 'EXECUTE', 'adjust change_expiry block unblock set_status remove_alias'),
  -- pools, exchange
  ('app', 'function', 'EXECUTE', 'exchange create_pool join_pool leave_pool pool_role share_pool_tier redeem_pool capture_pool release_pool reverse_pool'),
  ('app', 'table', 'SELECT', 'exchange_rate exchange pool pool_member pool_redemption pool_payment shared_tier'),
  ('app', 'view', 'SELECT', 'pool_balance pool_tier pool_standing pool_burn pool_statement'),
  ('report', 'table', 'SELECT', 'exchange_rate exchange pool pool_member pool_redemption pool_payment shared_tier tier_sharing'),
  ('report', 'view', 'SELECT', 'pool_balance pool_tier pool_standing pool_burn pool_statement exchange_monthly'),
  ('admin', 'view', 'SELECT', 'exchange_monthly'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'exchange_rate partner'),
  ('admin', 'function', 'EXECUTE', 'check_partner exchanged_at'),
  -- partners of a coalition: for a partner its own rows, by functions that look who calls; no table, no view, no member
  ('partner', 'function', 'EXECUTE', 'my_settlement my_flow my_awards my_redemptions'),
  -- members by roles of their own: functions that look who calls; no table, no view, nobody else
  ('member', 'function', 'EXECUTE', 'my_member my_balance my_statement my_tier my_expiring my_rewards my_vouchers my_benefits my_offers my_challenges my_pools my_redeem'),
  ('admin', 'function', 'EXECUTE', 'add_member_role remove_member_role'),
  ('admin', 'table', 'SELECT', 'member_role'),
  ('report', 'table', 'SELECT', 'partner config_history'),
  ('report', 'view', 'SELECT', 'partner_state partner_owns lot_funder lot_root funded_entry partner_settlement partner_flow'),
  ('admin', 'view', 'SELECT', 'partner_state partner_owns lot_funder lot_root funded_entry partner_settlement partner_flow'),
  ('app', 'function', 'EXECUTE', 'has_plan holds_plan subscribe renew cancel_subscription change_plan subscription_state'),
  ('app', 'function', 'EXECUTE', 'choose_cause giving_for donate return_donation donation_receipt cause_report'),
  ('app', 'table', 'SELECT', 'cause giving cause_choice'),
  ('app', 'table', 'SELECT', 'plan subscription plan_payment'),
  ('app', 'view', 'SELECT', 'subscription_status'),
  -- referrals: applications are told no reasons
  ('app', 'function', 'EXECUTE', 'referral_code refer referrals'),
  ('app', 'table', 'SELECT', 'referral_program'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'referral_program'),
  ('admin', 'table', 'SELECT', 'referral referral_code referral_change referral_count'),
  ('report', 'table', 'SELECT', 'referral_program referral referral_code referral_change referral_count'),
  ('admin', 'view', 'SELECT', 'referral_status referral_performance'),
  ('report', 'view', 'SELECT', 'referral_status referral_performance'),
  -- consents: a person's; export_member() and erase_member() are the administrator's
  ('app', 'function', 'EXECUTE', 'give_consent withdraw_consent has_consent'),
  ('app', 'view', 'SELECT', 'consent_status'),
  ('app', 'table', 'SELECT', 'consent'),
  ('report', 'view', 'SELECT', 'consent_status'),
  ('report', 'table', 'SELECT', 'consent erasure'),
  ('admin', 'table', 'SELECT', 'erasure'),
  -- reports: views, and what lies below them; nothing that writes
  ('report', 'function', 'EXECUTE', 'instant settled units_at due_tier_changes due_movements lot_end quarter_sums'),
  ('report', 'table', 'SELECT', 'account lot lot_origin movement debt refund redemption intervention tier_change member_alias program tier tier_requirement ladder ladder_rung source rule reward unit'),
  ('report', 'view', 'SELECT', 'ladder_now tier_asks account_now tier_reach member_balance statement award_share expiring program_daily tier_standing tier_progress member_unit unit_share tier_movement rule_performance reward_performance'),
  -- rewards and vouchers: a code is seen by its holder alone, through redeem(), capture(), vouchers()
  ('app', 'function', 'EXECUTE', 'vouchers use_voucher restore_voucher cancel_voucher rewards_for'),
  ('app', 'table', 'SELECT', 'reward_price reward_step'),
  ('report', 'table', 'SELECT', 'reward_price reward_step reward_stock code_pool'),
  ('report', 'table', 'SELECT (member_id, voucher_id, program_id, reward_id, redemption_id, state, value, value_unit, used, issued_at, valid_until, changed_at, reference, reason, issue, posted_at, by)', 'voucher'),
  ('report', 'table', 'SELECT (program, pool, valid_until, loaded_at, loaded_by, redemption_id, held_until, given_at)', 'code'),
  ('report', 'table', 'SELECT', 'voucher_issue voucher_change'),
  ('report', 'view', 'SELECT', 'voucher_status voucher_issued code_pool_level'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'reward_price reward_step code_pool'),
  ('admin', 'table', 'SELECT (member_id, voucher_id, program_id, reward_id, redemption_id, state, value, value_unit, used, issued_at, valid_until, changed_at, reference, reason, issue, posted_at, by)', 'voucher'),
  ('admin', 'table', 'SELECT (program, pool, valid_until, loaded_at, loaded_by, redemption_id, held_until, given_at), INSERT (program, pool, code, valid_until), DELETE', 'code'),
  ('admin', 'table', 'SELECT', 'voucher_issue voucher_change'),
  ('admin', 'view', 'SELECT', 'voucher_status voucher_issued code_pool_level'),
  ('admin', 'function', 'EXECUTE', 'check_cost check_value issue_vouchers issue_begin issue_batch issue_step preview_vouchers'),
  ('report', 'function', 'EXECUTE', 'subscription_state cause_report'),
  ('report', 'table', 'SELECT', 'plan subscription subscription_event plan_payment cause giving cause_choice donation'),
  ('report', 'view', 'SELECT', 'subscription_status plan_revenue plan_churn cause_total'),
  -- whoever configures: the configuration tables with what their triggers call, attach(), operations
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'program tier tier_requirement source rule reward unit'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'reward_stock rule_budget segment offer'),
  ('app', 'function', 'EXECUTE', 'member_benefits has_benefit use_benefit cancel_use'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'benefit benefit_level'),
  ('admin', 'table', 'SELECT', 'benefit_use'),
  ('report', 'table', 'SELECT', 'benefit benefit_level benefit_use'),
  ('report', 'view', 'SELECT', 'benefit_way benefit_performance'),
  ('admin', 'view', 'SELECT', 'benefit_way benefit_performance'),
  ('admin', 'table', 'SELECT', 'offer_member'),
  ('report', 'table', 'SELECT', 'segment offer offer_member'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'event_kind event_consumer'),
  ('admin', 'table', 'SELECT', 'event event_place'),
  ('admin', 'view', 'SELECT', 'event_lag'),
  ('app', 'function', 'EXECUTE', 'read_events events_after confirm_events'),
  ('admin', 'function', 'EXECUTE', 'tend_events event_kinds'),
  ('report', 'function', 'EXECUTE', 'in_segment segment_members'),
  ('report', 'view', 'SELECT', 'offer_performance'),
  ('admin', 'view', 'SELECT', 'offer_performance'),
  ('admin', 'function', 'EXECUTE', 'segment_members give_offer withdraw_offer check_audience'),
  ('admin', 'table', 'SELECT, INSERT', 'config_history'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE', 'ladder ladder_rung'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'job'),
  ('admin', 'table', 'SELECT', 'installed review untold refund intervention tier_change rule_usage counter visit visit_of'),
  ('report', 'table', 'SELECT', 'rule_usage rule_budget counter visit visit_of'),
  ('admin', 'function', 'EXECUTE', 'due_tier_changes'),
  ('admin', 'view', 'SELECT, INSERT', 'opening_balance'),
  ('admin', 'view', 'SELECT', 'program_daily tier_movement rule_performance reward_performance'),
  ('admin', 'table', 'SELECT, INSERT, UPDATE, DELETE', 'plan cause giving'),
  ('admin', 'table', 'SELECT', 'subscription_event donation'),
  ('admin', 'view', 'SELECT', 'plan_revenue plan_churn cause_total'),
  ('admin', 'function', 'EXECUTE', 'check_money write_plan_rules'),
  ('admin', 'function', 'EXECUTE', 'restoring program_name writing_instant check_program check_timezone in_ledger check_expression refuse_unavailable check_spending check_life check_interval check_finite check_limit check_name check_word check_deletion current_author spread_budget recount_limits use_metric check_unit recount_counters'),
  ('admin', 'function', 'EXECUTE', 'attach detach key_column split_expressions check_relation check_refund_of unique_keys default_key check_key check_rules columns_named column_differs update_condition source_triggers source_triggers_state attach_triggers source_name backfill'),
  ('admin', 'function', 'EXECUTE', 'source_open source_row source_close source_truncate'),
  ('admin', 'function', 'EXECUTE', 'adjust adjust_unit open_balance merge_members change_expiry remove_alias block unblock set_status reconcile run_maintenance settle_batch forget_counters maintenance_step job_begin job_step job_deadline run_backfill backfill_step backfill_ranges backfill_begin backfill_name verify status export_member erase_member apply_tiers review_pools preview_tiers preview_members tier_if_applied check_thresholds freeze_ladder grant_tier revoke_tier')
$$;
COMMENT ON FUNCTION loyalty.access_list() IS 'what grant_access() grants: kind of access, kind of object, privileges, names';
REVOKE ALL ON FUNCTION loyalty.access_list() FROM PUBLIC;

-- The commands that give a role (or take from it) a kind of access.  admin and support hold what app does.
CREATE OR REPLACE FUNCTION loyalty.access_commands(kind text, verb text, preposition text, role_name name) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s USAGE ON SCHEMA loyalty %s %I', verb, preposition, role_name)
  UNION ALL
  SELECT format('%s %s ON TABLE loyalty.%I %s %I', verb, l.privileges, c.relname, preposition, role_name)
  FROM loyalty.access_list() l
  JOIN pg_class c ON c.relnamespace = 'loyalty'::regnamespace AND c.relname = ANY (string_to_array(l.names, ' '))
    AND CASE l.object WHEN 'table' THEN c.relkind IN ('r', 'p') WHEN 'view' THEN c.relkind IN ('v', 'm') END
  WHERE l.kind = access_commands.kind OR access_commands.kind IN ('admin', 'support') AND l.kind = 'app'
  UNION ALL
  SELECT format('%s %s ON ROUTINE %s %s %I', verb, l.privileges, p.oid::regprocedure, preposition, role_name)
  FROM loyalty.access_list() l
  JOIN pg_proc p ON l.object = 'function' AND p.pronamespace = 'loyalty'::regnamespace
    AND p.proname = ANY (string_to_array(l.names, ' ')) AND p.prokind IN ('f', 'p')
    AND p.proacl IS NOT NULL  -- else it is PUBLIC's already
  WHERE l.kind = access_commands.kind OR access_commands.kind IN ('admin', 'support') AND l.kind = 'app'
$$;
COMMENT ON FUNCTION loyalty.access_commands(text, text, text, name) IS 'the commands behind grant_access() and revoke_access()';
REVOKE ALL ON FUNCTION loyalty.access_commands(text, text, text, name) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.check_access(kind text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF kind IS NULL OR kind NOT IN ('admin', 'app', 'support', 'report', 'partner', 'member') THEN
    RAISE EXCEPTION 'access "%" is not known', kind
      USING ERRCODE = 'LY017', HINT = 'It is admin, app, support, report, partner or member.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.check_access(text) IS 'raise LY017 unless grant_access() knows this kind';
REVOKE ALL ON FUNCTION loyalty.check_access(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.grant_access(role regrole, kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  command text;
BEGIN
  PERFORM loyalty.check_access(kind);
  FOR command IN
    SELECT c.command FROM loyalty.access_commands(kind, 'GRANT', 'TO', pg_get_userbyid(role)) c (command)
  LOOP
    EXECUTE command;
  END LOOP;
END $$;
COMMENT ON FUNCTION loyalty.grant_access(regrole, text) IS
  'give a role what it needs: admin configures, app calls the entry functions and reads views, support also corrects, report reads views, partner sees its own rows (loyalty.partner.role), member what is its own (loyalty.add_member_role()); again after an upgrade';
REVOKE ALL ON FUNCTION loyalty.grant_access(regrole, text) FROM PUBLIC;

-- Kinds overlap: what this one takes, another may have given too.
CREATE OR REPLACE FUNCTION loyalty.revoke_access(role regrole, kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  command text;
  written integer;
BEGIN
  PERFORM loyalty.check_access(kind);
  FOR command IN
    SELECT c.command FROM loyalty.access_commands(kind, 'REVOKE', 'FROM', pg_get_userbyid(role)) c (command)
  LOOP
    EXECUTE command;
  END LOOP;
  SELECT count(*) INTO written FROM (
    SELECT FROM loyalty.rule r WHERE r.author = role AND r.enabled
    UNION ALL SELECT FROM loyalty.source s WHERE s.author = role AND s.enabled AND s.attached) w;
  IF written > 0 AND NOT has_schema_privilege(role, 'loyalty', 'USAGE') THEN
    RAISE WARNING '% enabled rules and sources were written by %', written, pg_get_userbyid(role)
      USING HINT = 'They run as that role and fail where they use schema loyalty: let another role write them again.';
  END IF;
END $$;
COMMENT ON FUNCTION loyalty.revoke_access(regrole, text) IS
  'take back what grant_access() gave for this kind; a role that has two kinds gets the other one again by grant_access()';
REVOKE ALL ON FUNCTION loyalty.revoke_access(regrole, text) FROM PUBLIC;
