-- What members and campaigns have used of the limits of rules.  All of it is a sum over the ledger, kept up under the
-- locks of its writers: loyalty.recount_limits() finds it again.
-- Figures are counts of 1/100,000,000 point: rules are limited before the one rounding of an award.

CREATE TABLE loyalty.rule_usage (
  member_id bigint NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  used bigint NOT NULL,
  program_id integer NOT NULL,
  rule_id integer NOT NULL,
  uses integer NOT NULL,
  PRIMARY KEY (member_id, program_id, rule_id, period_start, period_end)
) WITH (fillfactor = 70);

-- 16 rows a rule: an award takes from one that has enough and is not locked, else from all in order.
CREATE TABLE loyalty.rule_budget (
  rule_id integer NOT NULL,
  slot smallint NOT NULL CHECK (slot BETWEEN 0 AND 15),
  left_over bigint NOT NULL,
  PRIMARY KEY (rule_id, slot)
) WITH (fillfactor = 50);

COMMENT ON TABLE loyalty.rule_usage IS 'what a member has had from a rule with a cap, max_uses or a cooldown in one period, or (rolling periods, cooldowns) at one instant: kept awards alone';
COMMENT ON COLUMN loyalty.rule_usage.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.rule_usage.period_start IS 'first instant of the period';
COMMENT ON COLUMN loyalty.rule_usage.period_end IS 'first instant after it; the same as period_start: the rule has a cooldown or a rolling period, and paid at that instant';
COMMENT ON COLUMN loyalty.rule_usage.used IS 'count of 1/100,000,000 point, before rounding';
COMMENT ON COLUMN loyalty.rule_usage.program_id IS 'loyalty.program.id';
COMMENT ON COLUMN loyalty.rule_usage.rule_id IS 'loyalty.rule.id';
COMMENT ON COLUMN loyalty.rule_usage.uses IS 'purchases on which the rule paid';

COMMENT ON TABLE loyalty.rule_budget IS 'what is left of a rule''s budget, spread over 16 rows so that sales do not queue';
COMMENT ON COLUMN loyalty.rule_budget.rule_id IS 'loyalty.rule.id';
COMMENT ON COLUMN loyalty.rule_budget.slot IS '0 to 15';
COMMENT ON COLUMN loyalty.rule_budget.left_over IS 'count of 1/100,000,000 point left in this slot; slot 0 is below zero when cancelled purchases came back after all was spent';

-- replay
CREATE OR REPLACE TRIGGER limits_follow AFTER INSERT OR UPDATE OR DELETE ON loyalty.rule
  FOR EACH ROW EXECUTE FUNCTION loyalty.rule_limits_follow();
CREATE OR REPLACE TRIGGER limits_follow AFTER UPDATE OF timezone ON loyalty.program
  FOR EACH ROW WHEN (NEW.timezone <> OLD.timezone) EXECUTE FUNCTION loyalty.program_limits_follow();
SELECT loyalty.watch_ledger('rule_usage');
