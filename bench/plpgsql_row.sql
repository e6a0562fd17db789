-- A row trigger in plpgsql that does what the extension does for this programme, written in good faith: one locked
-- read of the account, one insert of the lot, one update of the account; the programme's figures are constants.
-- It does less than the extension: it knows neither late purchases of an earlier period, nor expiry of what the
-- account holds, nor rules that change.

CREATE FUNCTION rival.earn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  account rival.account;
  local_time timestamp := NEW.ordered_at AT TIME ZONE 'Europe/Istanbul';
  year timestamp := date_trunc('year', local_time);
  instant timestamptz;
  expires timestamptz;
  shares numeric[];
  points bigint;
  new_spend numeric;
  new_tier integer;
BEGIN
  IF NEW.status <> 'paid' OR NEW.customer_id IS NULL THEN
    RETURN NULL;
  END IF;

  SELECT * INTO account FROM rival.account a
   WHERE a.member_id = NEW.customer_id AND a.program_id = 1 FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    INSERT INTO rival.member (member_id) VALUES (NEW.customer_id) ON CONFLICT DO NOTHING;
    INSERT INTO rival.account (
      member_id, program_id, enrolled_at, settled_at, next_change_at, next_entry, available, earned, spend, tier_id,
      tier_until, period_start, period_end, pending, held, debt, open_from_expires_at, open_from_entry_no,
      previous_start, visits, visits_previous, earned_previous, spend_previous)
    VALUES (
      NEW.customer_id, 1, NEW.ordered_at, NEW.ordered_at, 'infinity', 1, 0, 0, 0, 1, 'infinity',
      year AT TIME ZONE 'Europe/Istanbul', (year + interval '1 year') AT TIME ZONE 'Europe/Istanbul',
      0, 0, 0, '-infinity', 0, '-infinity', 0, 0, 0, 0)
    ON CONFLICT DO NOTHING;
    SELECT * INTO account FROM rival.account a
     WHERE a.member_id = NEW.customer_id AND a.program_id = 1 FOR NO KEY UPDATE;
  END IF;

  instant := greatest(least(NEW.ordered_at, statement_timestamp()), account.settled_at);
  IF NEW.ordered_at >= account.period_end THEN
    account.previous_start := account.period_start;
    account.period_start := year AT TIME ZONE 'Europe/Istanbul';
    account.period_end := (year + interval '1 year') AT TIME ZONE 'Europe/Istanbul';
    account.spend_previous := account.spend;
    account.earned_previous := account.earned;
    account.spend := 0;
    account.earned := 0;
  END IF;

  shares := ARRAY[
    NEW.total,
    CASE WHEN extract(isodow FROM local_time) IN (6, 7) THEN NEW.total END,
    CASE WHEN NEW.category = 'coffee' AND NEW.total >= 20 THEN 50 END,
    CASE account.tier_id WHEN 2 THEN NEW.total * 0.25 WHEN 3 THEN NEW.total * 0.70 END];
  points := trunc(shares[1] + coalesce(shares[2], 0) + coalesce(shares[3], 0) + coalesce(shares[4], 0)) * 10000;
  expires := (date_trunc('month', local_time) + interval '13 months') AT TIME ZONE 'Europe/Istanbul';

  INSERT INTO rival.lot (member_id, expires_at, entry_no, points, remaining, owed, earned_at, available_at, at,
                         posted_at, program_id, source_id, source_key, amount, kept_amount, breakdown)
  VALUES (NEW.customer_id, expires, account.next_entry, points, points, 0, NEW.ordered_at, NEW.ordered_at, instant,
          now(), 1, 1, NEW.order_id::text, NEW.total, NEW.total, shares)
  ON CONFLICT (source_id, source_key, part) DO NOTHING;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;

  new_spend := account.spend + NEW.total;
  new_tier := greatest(account.tier_id, CASE WHEN new_spend >= 2500 THEN 3 WHEN new_spend >= 500 THEN 2 ELSE 1 END);
  UPDATE rival.account a
     SET settled_at = instant, next_change_at = least(a.next_change_at, expires),
         available = a.available + points, next_entry = account.next_entry + 1,
         period_start = account.period_start, period_end = account.period_end,
         previous_start = account.previous_start, spend_previous = account.spend_previous,
         earned_previous = account.earned_previous,
         spend = new_spend, earned = account.earned + points, tier_id = new_tier,
         tier_until = CASE WHEN new_tier > account.tier_id
                           THEN (year + interval '2 years') AT TIME ZONE 'Europe/Istanbul' ELSE a.tier_until END
   WHERE a.member_id = NEW.customer_id AND a.program_id = 1;

  IF new_tier > account.tier_id THEN
    INSERT INTO rival.tier_change (member_id, program_id, at, change_no, posted_at, from_tier_id, to_tier_id,
                                   held_until, reason)
    VALUES (NEW.customer_id, 1, instant, account.next_entry, now(), account.tier_id, new_tier,
            (year + interval '2 years') AT TIME ZONE 'Europe/Istanbul', 'promotion');
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER earn AFTER INSERT ON shop.orders_row FOR EACH ROW EXECUTE FUNCTION rival.earn();
