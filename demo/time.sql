\echo '== 5. Any instant ========================================================'
\echo
\echo 'Balance and tier are exact at every instant, with no nightly job. Deniz, if'
\echo 'nothing is bought any more:'
SELECT at::date AS "at 00:00 of", b.available, b.tier, b.next_expiry_points AS "next to die", b.next_expiry_at::date AS "on"
  FROM unnest(ARRAY[date_trunc('week', now()) - interval '14 days', date_trunc('day', now()),
                    date_trunc('month', now()) + interval '12 months', date_trunc('month', now()) + interval '13 months',
                    date_trunc('year', now()) + interval '2 years', date_trunc('year', now()) + interval '3 years']) at
  LEFT JOIN LATERAL loyalty.balance(5001, 'stars', at) b ON true
 ORDER BY at;

\echo 'The same statement, read two years from now. What has died by then is a line'
\echo 'like any other, though nothing has run:'
SELECT set_config('loyalty.now', (date_trunc('month', now()) + interval '24 months')::text, false) AS "SET loyalty.now TO";
SELECT at::date AS day, kind, points, balance_after AS balance, what FROM loyalty.statement
 WHERE member_id = 5001 AND program = 'stars' ORDER BY entry_no;
RESET loyalty.now;

\echo 'Somebody of the two years: what a month brought and took.'
SELECT member_id AS regular FROM loyalty.member_balance WHERE tier = 'black' ORDER BY member_id LIMIT 1 \gset
SELECT to_char(at, 'YYYY-MM') AS month, count(*) AS lines, coalesce(sum(points) FILTER (WHERE points > 0), 0) AS plus,
       coalesce(sum(points) FILTER (WHERE points < 0), 0) AS minus, (array_agg(balance_after ORDER BY entry_no DESC))[1] AS balance
  FROM loyalty.statement
 WHERE member_id = :regular AND program = 'stars'
 GROUP BY 1 ORDER BY 1 DESC LIMIT 8;

\echo 'What accounting sees, the last week:'
SELECT day, opening, issued, redeemed, expired, closing FROM loyalty.program_daily
 WHERE program = 'stars' AND day >= current_date - 7 ORDER BY day;

\echo 'And does it all add up?'
SELECT count(*) AS "broken invariants of the ledger" FROM loyalty.verify();

\echo 'Next: README.md for your own table, docs/ for what exactly happens.'
