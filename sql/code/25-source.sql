-- Trigger functions of attached tables.  Nobody calls them: loyalty.attach() makes the triggers.

CREATE OR REPLACE FUNCTION loyalty.source_open() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'source_open';
COMMENT ON FUNCTION loyalty.source_open() IS 'BEFORE STATEMENT on an attached table: opens a level that collects the statement''s rows';
CREATE OR REPLACE FUNCTION loyalty.source_row() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'source_row';
COMMENT ON FUNCTION loyalty.source_row() IS 'AFTER ROW on an attached table: puts the row into the level, or posts it at once when there is none';
CREATE OR REPLACE FUNCTION loyalty.source_close() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'source_close';
COMMENT ON FUNCTION loyalty.source_close() IS 'AFTER STATEMENT on an attached table: posts the rows of the level in one ordered pass';
CREATE OR REPLACE FUNCTION loyalty.source_truncate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'source_truncate';
COMMENT ON FUNCTION loyalty.source_truncate() IS 'BEFORE TRUNCATE on an attached table: refuses, because a truncated source is a mass return that says nothing';
REVOKE ALL ON FUNCTION loyalty.source_open(), loyalty.source_row(), loyalty.source_close(), loyalty.source_truncate() FROM PUBLIC;
