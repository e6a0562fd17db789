-- Two years of purchases, made up but lifelike: some customers come often and most seldom, the shop grows, Saturdays
-- are full, coffee is cheap and toys are not.  The same every time, except that the dates end last Sunday.

CREATE SCHEMA demo;

-- A number in [0, 1) that depends on nothing but its arguments.
CREATE FUNCTION demo.dice(i bigint, salt bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (pg_catalog.hashint8extended(i, salt) & 1048575) / 1048576.0::double precision $$;

CREATE TABLE demo.purchase AS
WITH thrown AS (
  SELECT i, 1 + floor(5000 * power(demo.dice(i, 1), 2.2))::bigint AS customer_id,
         floor(728 * power(demo.dice(i, 2), 0.85))::integer AS day,
         demo.dice(i, 3) AS crowd, 9 + 6 * (demo.dice(i, 4) + demo.dice(i, 5)) AS hour,
         demo.dice(i, 6) AS kind, demo.dice(i, 7) AS price, demo.dice(i, 8) AS state
    FROM generate_series(1, 200000) i
), dated AS (
  SELECT t.*, date_trunc('week', now() AT TIME ZONE 'Europe/Istanbul') - interval '728 days'
              + make_interval(days => CASE WHEN crowd < 0.15 THEN day - day % 7 + 5 ELSE day END)
              + make_interval(secs => round(hour * 3600)) AS local_time
    FROM thrown t
)
SELECT row_number() OVER (ORDER BY local_time, i) AS order_id, customer_id,
       local_time AT TIME ZONE 'Europe/Istanbul' AS ordered_at,
       CASE WHEN kind < 0.35 THEN 'coffee' WHEN kind < 0.75 THEN 'food' WHEN kind < 0.93 THEN 'book' ELSE 'toy' END AS category,
       round((CASE WHEN kind < 0.35 THEN 6 + 24 * price
                   WHEN kind < 0.75 THEN 8 * exp(2.6 * price)
                   WHEN kind < 0.93 THEN 15 + 40 * price
                   ELSE 30 + 270 * price * price END)::numeric, 2) AS total,
       CASE WHEN state < 0.97 THEN 'paid' ELSE 'cancelled' END AS status
  FROM dated;
