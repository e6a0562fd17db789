\echo '== 3. Two years of purchases ============================================='
\echo
\echo '200,000 purchases of 5,000 customers, loaded by COPY: once into a table without'
\echo 'a programme, once into the one with it. There is no second step: when COPY is'
\echo 'done, every point, tier and expiry of the two years is there.'
\echo

-- The purchases come through a pipe from a second psql, so that no file is written.
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
SELECT clock_timestamp() AS started \gset
\copy shop.orders_alone (order_id, customer_id, ordered_at, category, total, status) FROM PROGRAM 'psql -X -q -c "COPY demo.purchase (order_id, customer_id, ordered_at, category, total, status) TO STDOUT"'
SELECT extract(epoch FROM clock_timestamp() - :'started') AS seconds_alone, clock_timestamp() AS started \gset
\copy shop.orders (order_id, customer_id, ordered_at, category, total, status) FROM PROGRAM 'psql -X -q -c "COPY demo.purchase (order_id, customer_id, ordered_at, category, total, status) TO STDOUT"'
SELECT extract(epoch FROM clock_timestamp() - :'started') AS seconds_loyalty \gset
ALTER TABLE shop.orders ALTER COLUMN order_id RESTART WITH 200001;
ANALYZE;

SELECT 'without loyalty' AS load, round(:seconds_alone, 2) AS seconds, 200000 AS orders, NULL::bigint AS awards, NULL::numeric AS points
UNION ALL
SELECT 'with loyalty', round(:seconds_loyalty, 2), 200000, count(DISTINCT source_key), sum(points) FROM loyalty.award_share;

\echo 'Who stands where now (points older than twelve months are gone already):'
SELECT tier, count(*) AS members, sum(available) AS "points they can spend" FROM loyalty.member_balance GROUP BY tier ORDER BY 3 DESC;
