-- loyalty.expiry: how long points live; with it the calendar.
SET search_path = public, loyalty;
SELECT '2 years'::loyalty.expiry = '24 months' AS equal, '2 years'::loyalty.expiry <> '24 months' AS different;
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
SELECT t AS given, t::expiry AS expiry
FROM unnest(ARRAY['never', '365 days', '12 months', '2 years', '3 weeks', '12 months, end of month', '1 day', '1 MONTH , End Of Day',
  '2 quarters, end of quarter', '1 year, end of year', 'every 31 december', 'EVERY February 29', '18 months inactive',
  '1 year 6 months 10 days', 'end of year', '0 days, end of day', '1200 months', '36600 days', '100 years', '30days',
  '3 years, every september 30', '0 days, every 1 may']) t;
SELECT t FROM unnest(ARRAY['never', '24 months', '21 days', '12 months, end of month', 'end of day', 'every 29 february', '24 months inactive',
  '18 months 10 days', '36 months, every 30 september']) t WHERE t::expiry::text <> t;
SELECT bad, pg_temp.refused('expiry', bad)
FROM unnest(ARRAY['', 'soon', '12', '12 moths', 'twelve months', '12 months end of month', '12 months, end', '12 months, end of week',
  '12 months, end of month please', '0 days', '0 months inactive', '1.5 months', '-1 months', '1201 months', '101 years', '36601 days',
  '99999999999999999999 days', 'every december', 'every 31', 'every 31 november', 'every 30 february', 'every 0 may', 'every 32 may',
  'every may 32', 'every december 31 noon', 'never ever', '12 months inactive, end of month', '1 2 3 4 5 6 7 8 9 10 11 12 13', 'ığdır 12',
  '1200 months 1 month', '12 months, noon', '36 months, every 31 september', '36 months, every 30 september inactive', '1201 months, every 1 may']) bad;
SELECT '12 moths'::expiry;
\echo :LAST_ERROR_SQLSTATE

-- programmes as published
SELECT program, granted, rule, expires_at(granted::timestamp AT TIME ZONE zone, rule::expiry, zone) AT TIME ZONE zone AS local_end,
  last_day(expires_at(granted::timestamp AT TIME ZONE zone, rule::expiry, zone), zone)
FROM (VALUES ('Starbucks', '2020-12-15 12:00', '6 months, end of month', 'America/Los_Angeles'),
  ('Starbucks', '2021-08-31 09:30', '6 months, end of month', 'America/Los_Angeles'),
  ('Ulta', '2022-01-01 00:00', '12 months, end of quarter', 'America/Chicago'),
  ('Ulta', '2022-01-31 23:59', '12 months, end of quarter', 'America/Chicago'),
  ('Tesco', '2022-02-01 00:00', '2 years, end of month', 'Europe/London'),
  ('Tesco', '2022-02-28 23:59:59.999999', '2 years, end of month', 'Europe/London'),
  ('Marriott', '2022-02-28 10:00', '24 months inactive', 'America/New_York'),
  ('a till', '2024-03-10 12:00', 'every 31 december', 'Europe/Istanbul'),
  ('a till', '2024-12-31 23:59:59', 'every 31 december', 'Europe/Istanbul'),
  ('a till', '2025-01-01 00:00', 'every 31 december', 'Europe/Istanbul'),
  ('a till', '2024-02-29 00:00', 'every 29 february', 'Europe/Istanbul'),
  ('a till', '2025-02-28 23:00', 'every 29 february', 'Europe/Istanbul'),
  ('a till', '2025-03-01 00:00', 'every 29 february', 'Europe/Istanbul'),
  ('a till', '2024-03-10 12:00', 'never', 'Europe/Istanbul'),
  ('Payback', '2021-09-30 23:59:59.999999', '36 months, every 30 september', 'Europe/Berlin'),
  ('Payback', '2021-10-01 00:00', '36 months, every 30 september', 'Europe/Berlin'),
  ('Payback', '2022-09-30 12:00', '36 months, every 30 september', 'Europe/Berlin'),
  ('leap', '2023-02-28 23:59', '12 months, every 29 february', 'Europe/Berlin'),
  ('leap', '2024-02-29 12:00', '12 months, every 29 february', 'Europe/Berlin')
) p(program, granted, rule, zone);

-- the same wall time, months later; no hidden rounding to a day
SELECT granted, rule, zone, expires_at(granted::timestamp AT TIME ZONE zone, rule::expiry, zone) AT TIME ZONE zone AS local_end,
  expires_at(granted::timestamp AT TIME ZONE zone, rule::expiry, zone) AS "end"
FROM (VALUES ('2023-01-31 10:15:30.000001', '1 month', 'UTC'), ('2024-01-31 10:15', '1 month', 'UTC'), ('2024-02-29 08:00', '12 months', 'UTC'),
  ('2023-02-28 08:00', '12 months', 'UTC'), ('2024-02-29 08:00', '48 months', 'UTC'), ('2024-03-31 00:00', '1 month 1 day', 'UTC'),
  -- the night that is short and the night that is long
  ('2024-03-09 02:30', '1 day', 'America/Los_Angeles'), ('2024-02-10 02:30', '1 month', 'America/Los_Angeles'),
  ('2024-11-02 01:30', '1 day', 'America/Los_Angeles'), ('2024-10-03 01:30', '1 month', 'America/Los_Angeles'),
  ('2024-04-06 02:30', '1 day', 'Pacific/Auckland'), ('2024-09-28 02:30', '1 day', 'Pacific/Auckland'),
  ('2016-09-07 23:30', '12 months', 'Europe/Istanbul'), ('2024-02-29 23:59', '1 year', 'Asia/Kathmandu'),
  -- midnights that do not exist
  ('2017-10-14 00:00', '1 day', 'America/Sao_Paulo'), ('2017-10-14 18:00', 'end of day', 'America/Sao_Paulo'),
  ('2024-04-25 10:00', 'end of day', 'Africa/Cairo'), ('2011-12-29 12:00', '1 day', 'Pacific/Apia'),
  -- and one that occurs twice: the day begins at the first
  ('2020-10-31 12:00', 'end of month', 'America/Havana')) g(granted, rule, zone);
SELECT last_day(expires_at('2020-10-31 16:00+00', 'end of month', 'America/Havana'), 'America/Havana');

-- limits and infinities
SELECT expires_at('infinity', r, 'UTC'), expires_at('-infinity', r, 'UTC')
FROM unnest(ARRAY['never', '1 day', 'every 1 may', '2 months inactive', 'end of month']::expiry[]) r;
SELECT last_day('infinity', 'UTC'), last_day('-infinity', 'UTC'), last_day('2021-07-01 00:00+00', 'UTC'), last_day('2021-07-01 00:00:00.000001+00', 'UTC');
SELECT expires_at('294276-12-31 00:00+00', '1 day', 'UTC');
\echo :LAST_ERROR_SQLSTATE
SELECT expires_at('294276-12-31 00:00+00', '1200 months, end of year', 'UTC');
SELECT expires_at('294276-12-31 00:00+00', 'every 31 december', 'UTC');
SELECT expires_at('4714-11-24 00:00+00 BC', '1 day', 'America/New_York');
SELECT expires_at('2024-01-01', '1 day', 'Mars/Phobos');
\echo :LAST_ERROR_SQLSTATE
SELECT last_day('2024-01-01', '');
SELECT expires_at('2024-01-01 00:00+00', '1 day', 'europe/istanbul') AS case_does_not_matter, expires_at(NULL, '1 day', 'UTC') AS nothing;

-- against AT TIME ZONE: thousands of instants, from 1850 to 2300, in zones of every kind
-- seeded: where a clock change repeats midnight, a date begins at its first instant here and at its second for AT TIME ZONE,
-- which a random instant in 100,000 would meet
SELECT setseed(0.25);
CREATE TEMP TABLE instant AS
SELECT timestamptz '1850-01-01 00:00+00' + random() * interval '450 years' AS at, z AS zone, (random() * 30)::int AS m, (random() * 400)::int AS d
FROM unnest(ARRAY['UTC', 'Pacific/Auckland', 'America/Los_Angeles', 'Europe/Istanbul', 'America/Sao_Paulo', 'Africa/Cairo', 'Asia/Kathmandu',
  'Australia/Lord_Howe', 'Europe/London', 'America/New_York', 'Pacific/Apia', 'Asia/Tehran', 'Africa/Casablanca']) z, generate_series(1, 1500);
-- near clock changes, where it is hard
INSERT INTO instant
SELECT c + (random() * 60 - 30) * interval '1 hour', z, (random() * 3)::int, (random() * 3)::int
FROM (SELECT z, t AS c FROM unnest(ARRAY['Pacific/Auckland', 'America/Los_Angeles', 'America/Sao_Paulo', 'Africa/Cairo', 'Australia/Lord_Howe',
    'Europe/London', 'Africa/Casablanca', 'Asia/Tehran']) z,
    generate_series(timestamptz '1995-01-01 00:00+00', '2026-01-01', '1 day') t
  WHERE (t AT TIME ZONE z) - (t AT TIME ZONE 'UTC') <> ((t + interval '1 day') AT TIME ZONE z) - ((t + interval '1 day') AT TIME ZONE 'UTC')) c,
  generate_series(1, 10);
SELECT count(*) > 20000 AS enough,
  count(*) FILTER (WHERE last_day(at + interval '1 microsecond', zone) <> (at AT TIME ZONE zone)::date) AS wrong_date,
  count(*) FILTER (WHERE m + d > 0 AND expires_at(at, format('%s months %s days', m, d)::expiry, zone)
    <> ((at AT TIME ZONE zone) + make_interval(months => m, days => d)) AT TIME ZONE zone) AS wrong_sum,
  count(*) FILTER (WHERE expires_at(at, format('%s months, end of month', m)::expiry, zone) <> (date_trunc('month',
    (((at AT TIME ZONE zone) + make_interval(months => m)) AT TIME ZONE zone) AT TIME ZONE zone) + interval '1 month') AT TIME ZONE zone) AS wrong_month,
  count(*) FILTER (WHERE expires_at(at, 'end of day', zone) <> (date_trunc('day', at AT TIME ZONE zone) + interval '1 day') AT TIME ZONE zone) AS wrong_day,
  count(*) FILTER (WHERE expires_at(at, 'end of quarter', zone) <> (date_trunc('quarter', at AT TIME ZONE zone) + interval '3 months') AT TIME ZONE zone) AS wrong_quarter,
  count(*) FILTER (WHERE expires_at(at, format('%s months %s days, every 31 december', m, d)::expiry, zone) <> (date_trunc('year',
    (((at AT TIME ZONE zone) + make_interval(months => m, days => d)) AT TIME ZONE zone) AT TIME ZONE zone) + interval '1 year') AT TIME ZONE zone) AS wrong_later,
  count(*) FILTER (WHERE expires_at(at, 'every 31 december', zone) <> (date_trunc('year', at AT TIME ZONE zone) + interval '1 year') AT TIME ZONE zone) AS wrong_every
FROM instant;

-- equality, order, hash
SELECT '2 years'::expiry = '24 MONTHS' AS same, '1 month'::expiry = '30 days' AS other, '3 weeks'::expiry <> '21 days' AS different;
SELECT string_agg(e::text, ' < ' ORDER BY e) FROM unnest(ARRAY['18 months inactive', 'every 1 may', '12 months, end of month', '12 months', '365 days', 'never']::expiry[]) e;
SELECT e, count(*) FROM unnest(ARRAY['2 years', '24 months', 'never', 'never']::expiry[]) e GROUP BY e ORDER BY e;
CREATE TEMP TABLE rule (e expiry PRIMARY KEY);
INSERT INTO rule VALUES ('2 years');
INSERT INTO rule VALUES ('24 months');

-- binary form, and a false one
INSERT INTO rule VALUES ('never'), ('every 29 february'), ('12 months, end of month'), ('18 months inactive'), ('36 months, every 30 september');
CREATE TEMP TABLE carried (e expiry);
\copy rule TO 'results/expiry.binary' (FORMAT binary)
\copy carried FROM 'results/expiry.binary' (FORMAT binary)
SELECT e FROM carried ORDER BY e;
SELECT expiry_send('12 months, end of month');
\copy (SELECT '\x000000010000000c0000000000020000'::bytea) TO 'results/expiry.binary' (FORMAT binary)
\copy carried FROM 'results/expiry.binary' (FORMAT binary)
\! rm -f results/expiry.binary
