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

COMMENT ON COLUMN loyalty.installed.step IS 'number of the piece of sql/data';
COMMENT ON COLUMN loyalty.installed.word IS 'its name';
COMMENT ON COLUMN loyalty.installed.at IS 'when it ran';
COMMENT ON COLUMN loyalty.installed.by IS 'who ran it (session_user)';
COMMENT ON COLUMN loyalty.installed.extension_version IS 'the code that ran it';

COMMENT ON COLUMN loyalty.config_history.config IS 'table of the row, without schema';
COMMENT ON COLUMN loyalty.config_history.id IS 'its id';
COMMENT ON COLUMN loyalty.config_history.valid_from IS 'first instant of this state';
COMMENT ON COLUMN loyalty.config_history.valid_to IS 'first instant after it';
COMMENT ON COLUMN loyalty.config_history.former IS 'the row as it was';
COMMENT ON COLUMN loyalty.config_history.changed_by IS 'who changed it (session_user)';
COMMENT ON COLUMN loyalty.config_history.set_role IS 'as which role (current_user)';

-- replay
