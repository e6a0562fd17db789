\echo '== 4. One week of Deniz, customer 5001 ==================================='

-- Days of last week, so that Saturday is one whenever this runs; and how a statement is refused.
SELECT monday + interval '1 day 10 hours' AS tuesday, monday + interval '2 days 8 hours' AS wednesday,
       monday + interval '5 days 15 hours' AS saturday
  FROM (SELECT date_trunc('week', now()) - interval '7 days' AS monday) w \gset

CREATE FUNCTION demo.refusal(statement text, OUT error text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
EXCEPTION WHEN others THEN
  GET STACKED DIAGNOSTICS error = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END $$;

\echo
\echo 'Tuesday, a toy for 480. Earned, by rule:'
INSERT INTO shop.orders (customer_id, ordered_at, category, total) VALUES (5001, :'tuesday', 'toy', 480) RETURNING order_id \gset
SELECT rule, points, last_day FROM loyalty.award('shop.orders', :'order_id');

\echo 'Wednesday, coffee beans for 25. That makes 505 this year, and 500 is gold:'
INSERT INTO shop.orders (customer_id, ordered_at, category, total) VALUES (5001, :'wednesday', 'coffee', 25) RETURNING order_id \gset
SELECT rule, points, last_day FROM loyalty.award('shop.orders', :'order_id');
SELECT tier, available, to_next_tier AS "missing to next", next_tier FROM loyalty.member_balance WHERE member_id = 5001;

\echo 'Saturday, food for 60. Double at weekends, and a quarter more for gold:'
INSERT INTO shop.orders (customer_id, ordered_at, category, total) VALUES (5001, :'saturday', 'food', 60) RETURNING order_id \gset
SELECT rule, points, last_day FROM loyalty.award('shop.orders', :'order_id');

\echo 'An order that is not paid yet earns nothing. When it is paid, it does:'
INSERT INTO shop.orders (customer_id, ordered_at, category, total, status) VALUES (5001, :'saturday', 'book', 40, 'open') RETURNING order_id \gset
SELECT 'open' AS status, available FROM loyalty.balance(5001, 'stars');
UPDATE shop.orders SET status = 'paid' WHERE order_id = :order_id;
SELECT 'paid' AS status, available FROM loyalty.balance(5001, 'stars');

\echo 'Points are part of the sale. A sale that is rolled back takes its points along:'
BEGIN;
INSERT INTO shop.orders (customer_id, category, total) VALUES (5001, 'toy', 300);
SELECT 'inside the transaction' AS "when", available FROM loyalty.balance(5001, 'stars');
ROLLBACK;
SELECT 'after ROLLBACK' AS "when", available FROM loyalty.balance(5001, 'stars');

\echo 'A free coffee, please. The till asks twice because the line was bad; the key'
\echo '"till-7/0815" makes it one coffee:'
SELECT redemption_id, points, state FROM loyalty.redeem(5001, reward => 'free coffee', program => 'stars', key => 'till-7/0815');
SELECT redemption_id, points, state FROM loyalty.redeem(5001, reward => 'free coffee', program => 'stars', key => 'till-7/0815');
SELECT available FROM loyalty.balance(5001, 'stars');

\echo 'More than there is:'
SELECT * FROM demo.refusal($$SELECT * FROM loyalty.redeem(5001, points => 100000, program => 'stars', key => 'till-7/0816')$$);

\echo 'The member''s statement:'
SELECT at::date AS day, kind, points, balance_after AS balance, what FROM loyalty.statement
 WHERE member_id = 5001 AND program = 'stars' ORDER BY entry_no;
