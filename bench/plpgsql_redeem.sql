-- Burning by hand, on the ledger's own tables: what loyalty.redeem does for points of one program, in plpgsql.  The
-- account is the lock; the key is looked up and stored; lots are taken in the order of their primary key, from
-- where the open ones begin; each taking is a movement.  It does less than the extension: no settling of what is due.

CREATE FUNCTION rival.redeem(member_id bigint, program_id integer, points numeric, key text) RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  account loyalty.account;
  request loyalty.request;
  lot record;
  wanted bigint := points * 10000;
  left_over bigint := wanted;
  taken bigint;
  entry bigint;
  redemption bigint;
  arguments jsonb := jsonb_build_object('points', redeem.points);
BEGIN
  SELECT * INTO account FROM loyalty.account a
   WHERE a.member_id = redeem.member_id AND a.program_id = redeem.program_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'unknown member %', redeem.member_id;
  END IF;

  SELECT * INTO request FROM loyalty.request r
   WHERE r.member_id = redeem.member_id AND r.program_id = redeem.program_id AND r.key = redeem.key;
  IF FOUND THEN
    IF request.call <> 'redeem' OR request.arguments <> arguments THEN
      RAISE EXCEPTION 'key % was used with other arguments', redeem.key;
    END IF;
    RETURN request.redemption_id;
  END IF;

  IF account.available < wanted THEN
    RAISE EXCEPTION 'insufficient points: % of %', account.available, wanted;
  END IF;

  redemption := nextval('loyalty.redemption_redemption_id_seq');
  entry := account.next_entry;
  FOR lot IN
    SELECT l.expires_at, l.entry_no, l.remaining FROM loyalty.lot l
     WHERE l.member_id = redeem.member_id AND l.program_id = redeem.program_id
       AND (l.expires_at, l.entry_no) >= (account.open_from_expires_at, account.open_from_entry_no)
       AND l.expires_at > statement_timestamp() AND l.remaining > 0 AND l.available_at <= statement_timestamp()
     ORDER BY l.expires_at, l.entry_no
  LOOP
    taken := least(lot.remaining, left_over);
    UPDATE loyalty.lot l SET remaining = l.remaining - taken
     WHERE l.member_id = redeem.member_id AND l.program_id = redeem.program_id
       AND l.expires_at = lot.expires_at AND l.entry_no = lot.entry_no;
    INSERT INTO loyalty.movement (member_id, program_id, entry_no, kind, lot_expires_at, lot_entry_no, points,
                                  redemption_id, at, posted_at)
    VALUES (redeem.member_id, redeem.program_id, entry, 'redeem', lot.expires_at, lot.entry_no, -taken,
            redemption, statement_timestamp(), now());
    entry := entry + 1;
    left_over := left_over - taken;
    EXIT WHEN left_over = 0;
  END LOOP;
  IF left_over > 0 THEN
    RAISE EXCEPTION 'ledger inconsistent: lots lack %', left_over;
  END IF;

  INSERT INTO loyalty.redemption (member_id, redemption_id, program_id, points, taken, state, key, first_entry, last_entry,
                                  at, changed_at, posted_at, by)
  VALUES (redeem.member_id, redemption, redeem.program_id, wanted, wanted, 'captured', redeem.key, account.next_entry, entry - 1,
          statement_timestamp(), statement_timestamp(), now(), session_user);
  INSERT INTO loyalty.request (member_id, program_id, key, call, arguments, redemption_id, at)
  VALUES (redeem.member_id, redeem.program_id, redeem.key, 'redeem', arguments, redemption, statement_timestamp());
  UPDATE loyalty.account a
     SET available = a.available - wanted, next_entry = entry,
         open_from_expires_at = CASE WHEN a.pending = 0 THEN lot.expires_at ELSE a.open_from_expires_at END,
         open_from_entry_no = CASE WHEN a.pending = 0 THEN lot.entry_no ELSE a.open_from_entry_no END
   WHERE a.member_id = redeem.member_id AND a.program_id = redeem.program_id;
  RETURN redemption;
END $$;
