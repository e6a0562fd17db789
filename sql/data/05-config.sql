-- The version of the data side, and what configuration rows were before.

CREATE TABLE loyalty.installed (
  step integer PRIMARY KEY,
  word text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  by text NOT NULL DEFAULT session_user,
  extension_version text NOT NULL
);
COMMENT ON TABLE loyalty.installed IS 'which numbered steps loyalty.install() has run here; the code refuses tables of another version';

CREATE TABLE loyalty.config_history (
  config text NOT NULL,
  id integer NOT NULL,
  valid_from timestamptz NOT NULL,
  valid_to timestamptz NOT NULL,
  former jsonb NOT NULL,
  changed_by text NOT NULL,
  set_role text NOT NULL,
  PRIMARY KEY (config, id, valid_from, valid_to)
);
COMMENT ON TABLE loyalty.config_history IS 'former states of configuration rows, valid from (inclusive) to (exclusive)';

-- replay
