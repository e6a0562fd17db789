-- Other names of members by hand: cards, partner ids.  enroll() and member_id() name members, too.

CREATE OR REPLACE FUNCTION loyalty.add_alias(member_id bigint, external_id text) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_add_alias';
COMMENT ON FUNCTION loyalty.add_alias(bigint, text) IS
  'give a member one more name (a card, a partner''s id), by which text members of sources and member_id() find them; false when they have it already; LY017 when it is another member''s';
REVOKE ALL ON FUNCTION loyalty.add_alias(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION loyalty.remove_alias(member_id bigint, external_id text) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_remove_alias';
COMMENT ON FUNCTION loyalty.remove_alias(bigint, text) IS
  'take away a name that was given to the wrong member; false when they do not have it. Purchases that carry it are those of whoever has it next, when they change or reconcile() meets them: a lost card keeps its name';
REVOKE ALL ON FUNCTION loyalty.remove_alias(bigint, text) FROM PUBLIC;
