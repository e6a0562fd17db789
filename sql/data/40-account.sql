-- Who: members, their other names, and their standing in each program.  The account row is the lock.
-- Built-in types only: points are bigint, a count of 1/10,000 point.

CREATE TABLE loyalty.member (
  member_id bigint PRIMARY KEY,
  attributes jsonb NOT NULL DEFAULT '{}',
  birth_date date,
  status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'excluded', 'erased')),
  erased_at timestamptz
);
CREATE INDEX member_excluded ON loyalty.member (member_id) WHERE status <> 'active';

CREATE TABLE loyalty.member_alias (
  member_id bigint NOT NULL,
  external_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (member_id, external_id),
  UNIQUE (external_id)
);

CREATE TABLE loyalty.account (
  member_id bigint NOT NULL,
  enrolled_at timestamptz NOT NULL,
  settled_at timestamptz NOT NULL,
  next_change_at timestamptz NOT NULL,
  available bigint NOT NULL,
  pending bigint NOT NULL,
  held bigint NOT NULL,
  debt bigint NOT NULL,
  next_entry bigint NOT NULL,
  open_from_expires_at timestamptz NOT NULL,
  open_from_entry_no bigint NOT NULL,
  tier_until timestamptz NOT NULL,
  period_start timestamptz NOT NULL,
  period_end timestamptz NOT NULL,
  previous_start timestamptz NOT NULL,
  program_id integer NOT NULL,
  tier_id integer,
  visits integer NOT NULL,
  visits_previous integer NOT NULL,
  earned bigint NOT NULL,
  earned_previous bigint NOT NULL,
  spend numeric NOT NULL,
  spend_previous numeric NOT NULL,
  status text NOT NULL DEFAULT 'active',
  PRIMARY KEY (member_id, program_id)
) WITH (fillfactor = 70);

-- replay
