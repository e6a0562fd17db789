-- loyalty.period: what a counter runs over.
SET search_path = public, loyalty;
SELECT 'month'::loyalty.period = 'calendar month' AS equal, 'month'::loyalty.period <> 'calendar month' AS different;
SET DateStyle = ISO;
SET TimeZone = 'UTC';
CREATE FUNCTION pg_temp.refused(of regtype, bad text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text;
BEGIN
  EXECUTE format('SELECT %L::%s', bad, of) INTO message;
  RETURN 'accepted as ' || message;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
  RETURN concat_ws(' | ', state, message, nullif(detail, ''));
END $$;

-- text in, canonical text out
SELECT t AS given, t::period AS period
FROM unnest(ARRAY['day', 'week', 'calendar month', 'calendar quarter', 'calendar year', 'year from 1 march', 'Year From March 1',
  'membership year', 'rolling 12 months', 'rolling 30 days', 'rolling 1 week', 'rolling 1 year 1 day', 'lifetime', 'CALENDAR DAY', 'month', 'year']) t;
SELECT bad, pg_temp.refused('period', bad)
FROM unnest(ARRAY['', 'fortnight', 'calendar', 'calendar decade', 'year of 1 march', 'year from march', 'year from 31 june', 'year from 1 march 2024',
  'membership', 'membership month', 'rolling', 'rolling year', 'rolling 0 days', 'rolling 1201 months', 'rolling 12 months, end of month',
  'lifetime and more', 'month from 1 march', 'calendar year from 1 march', 'weeks']) bad;
SELECT 'fortnight'::period;
\echo :LAST_ERROR_SQLSTATE

-- bounds: half-open, in local time
SELECT period, at, zone, starts_at AT TIME ZONE zone AS local_start, ends_at AT TIME ZONE zone AS local_end
FROM (VALUES ('day', '2024-03-10 12:00', 'America/Los_Angeles'), ('day', '2024-11-03 12:00', 'America/Los_Angeles'),
  ('day', '2017-10-15 01:00', 'America/Sao_Paulo'), ('week', '2024-12-30 00:00', 'Europe/Istanbul'), ('week', '2025-01-01 12:00', 'Europe/Istanbul'),
  ('week', '2027-01-03 23:59', 'Europe/Istanbul'), ('week', '2027-01-04 00:00', 'Europe/Istanbul'), ('calendar month', '2024-02-29 23:59', 'Pacific/Auckland'),
  ('calendar quarter', '2024-04-01 00:00', 'Asia/Kathmandu'), ('calendar quarter', '2024-12-31 23:59:59.999999', 'Asia/Kathmandu'),
  ('calendar year', '2024-01-01 00:00', 'Pacific/Auckland'), ('year from 1 march', '2024-02-29 23:59', 'UTC'), ('year from 1 march', '2024-03-01 00:00', 'UTC'),
  ('year from 29 february', '2023-02-28 00:00', 'UTC'), ('year from 29 february', '2024-02-28 12:00', 'UTC'),
  ('membership year', '2024-06-15 14:59', 'UTC'), ('membership year', '2024-06-14 23:59', 'UTC'), ('membership year', '2019-01-01 00:00', 'UTC'),
  ('rolling 12 months', '2024-02-29 10:00', 'UTC'), ('rolling 1 month', '2024-03-31 10:00', 'UTC'), ('rolling 30 days', '2024-03-31 10:00', 'UTC'),
  ('rolling 1 day', '2024-03-10 12:00', 'America/Los_Angeles'), ('lifetime', '2024-03-10 12:00', 'UTC')) p(period, at, zone),
  LATERAL period_bounds(p.period::period, p.at::timestamp AT TIME ZONE zone, zone, timestamp '2020-06-15 15:00' AT TIME ZONE zone);
-- enrolled on 29 February
SELECT at, starts_at, ends_at FROM unnest(ARRAY['2020-02-29', '2021-02-27', '2021-02-28', '2024-02-28', '2024-02-29']::timestamptz[]) at,
  LATERAL period_bounds('membership year', at, 'UTC', '2020-02-29 09:00');

-- nothing, infinities, limits
SELECT * FROM period_bounds(NULL, '2024-01-01', 'UTC');
SELECT * FROM period_bounds('day', NULL, 'UTC');
SELECT * FROM period_bounds('day', 'infinity', 'UTC') UNION ALL SELECT * FROM period_bounds('rolling 1 day', '-infinity', 'UTC')
UNION ALL SELECT * FROM period_bounds('lifetime', 'infinity', 'UTC');
SELECT * FROM period_bounds('membership year', '2024-01-01', 'UTC');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM period_bounds('calendar year', '294276-12-31 12:00', 'UTC');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM period_bounds('rolling 1200 months', '4700-01-01 12:00 BC', 'UTC');
SELECT * FROM period_bounds('day', '2024-01-01', 'Nowhere/Land');
\echo :LAST_ERROR_SQLSTATE

-- every instant lies in its period, neighbours meet, and both agree with AT TIME ZONE
CREATE TEMP TABLE instant AS
SELECT timestamptz '1900-01-01 00:00+00' + random() * interval '200 years' AS at, z AS zone
FROM unnest(ARRAY['UTC', 'Pacific/Auckland', 'America/Los_Angeles', 'Europe/Istanbul', 'America/Sao_Paulo', 'Africa/Cairo', 'Asia/Kathmandu',
  'Australia/Lord_Howe']) z, generate_series(1, 300);
SELECT p, count(*) FILTER (WHERE NOT (b.starts_at <= at AND at < b.ends_at)) AS outside,
  count(*) FILTER (WHERE l.ends_at <> b.starts_at OR n.starts_at <> b.ends_at) AS gap,
  count(*) FILTER (WHERE b.starts_at <> date_trunc(u, at AT TIME ZONE zone) AT TIME ZONE zone) AS wrong
FROM (VALUES ('day', 'day'), ('week', 'week'), ('calendar month', 'month'), ('calendar quarter', 'quarter'), ('calendar year', 'year'),
    ('year from 1 march', NULL), ('year from 29 february', NULL), ('membership year', NULL)) k(p, u),
  instant, LATERAL period_bounds(p::period, at, zone, '2016-02-29 12:00+00') b,
  LATERAL period_bounds(p::period, b.starts_at - interval '1 microsecond', zone, '2016-02-29 12:00+00') l,
  LATERAL period_bounds(p::period, b.ends_at, zone, '2016-02-29 12:00+00') n
GROUP BY p ORDER BY p;
-- also where the clock goes back over midnight: 00:00 twice (Havana, the Azores), or 00:01 to 23:01 (St. John's)
SELECT zone, p, count(*) AS instants, count(*) FILTER (WHERE NOT (starts_at <= at AND at < ends_at)) AS outside
FROM (VALUES ('America/Havana', timestamptz '2020-11-01 00:00+00'), ('Atlantic/Azores', '2021-10-30 12:00+00'), ('America/St_Johns', '2006-10-28 12:00+00')) z(zone, c),
  generate_series(c, c + interval '36 hours', '7 minutes') at, unnest(ARRAY['day', 'calendar month', 'year from 1 november', 'year from 29 october']) p,
  LATERAL period_bounds(p::period, at, zone)
GROUP BY zone, p ORDER BY zone, p;
SELECT DISTINCT starts_at, ends_at FROM generate_series(timestamptz '2020-11-01 02:00+00', '2020-11-01 08:00+00', '30 minutes') at,
  LATERAL period_bounds('day', at, 'America/Havana') ORDER BY 1;

-- equality, order, hash
SELECT 'rolling 1 year'::period = 'rolling 12 months' AS same, 'rolling 1 month'::period = 'calendar month' AS other;
SELECT string_agg(p::text, ' < ' ORDER BY p) FROM unnest(ARRAY['lifetime', 'rolling 30 days', 'membership year', 'year from 1 march', 'calendar year', 'week', 'day']::period[]) p;
SELECT p, count(*) FROM unnest(ARRAY['month', 'calendar month', 'lifetime']::period[]) p GROUP BY p ORDER BY p;

-- binary form, and a false one
CREATE TEMP TABLE carried (p period);
INSERT INTO carried VALUES ('week'), ('year from 1 march'), ('rolling 30 days'), ('lifetime'), ('membership year');
\copy carried TO 'results/period.binary' (FORMAT binary)
\copy carried FROM 'results/period.binary' (FORMAT binary)
SELECT p, count(*) FROM carried GROUP BY p ORDER BY p;
\copy (SELECT '\x0000000100000000000000000000021e'::bytea) TO 'results/period.binary' (FORMAT binary)
\copy carried FROM 'results/period.binary' (FORMAT binary)
\! rm -f results/period.binary
