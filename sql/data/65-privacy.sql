-- What members allowed and forbade, and who was erased.  The history is the table: rows are added and never changed.

CREATE TABLE loyalty.consent (
  member_id bigint NOT NULL,
  consent_no bigint NOT NULL,
  purpose text COLLATE "C" NOT NULL,
  given boolean NOT NULL,
  at timestamptz NOT NULL,
  until timestamptz NOT NULL DEFAULT 'infinity',
  source text NOT NULL,
  wording text,
  key text COLLATE "C",
  arguments jsonb NOT NULL,
  posted_at timestamptz NOT NULL,
  by text NOT NULL,
  set_role text NOT NULL,
  PRIMARY KEY (member_id, consent_no),
  CHECK (until > at)
);
CREATE UNIQUE INDEX consent_key ON loyalty.consent (member_id, key) WHERE key IS NOT NULL;

CREATE TABLE loyalty.erasure (
  member_id bigint PRIMARY KEY,
  at timestamptz NOT NULL,
  reason text NOT NULL,
  key text COLLATE "C",
  forfeited jsonb NOT NULL,
  touched jsonb NOT NULL,
  posted_at timestamptz NOT NULL,
  by text NOT NULL,
  set_role text NOT NULL
);

COMMENT ON TABLE loyalty.consent IS 'what members allowed and forbade, one row a statement of theirs; the latest one about a purpose holds; append-only';
COMMENT ON COLUMN loyalty.consent.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.consent.consent_no IS 'order in which they were written down';
COMMENT ON COLUMN loyalty.consent.purpose IS 'what for: marketing, profiling, a word of the application';
COMMENT ON COLUMN loyalty.consent.given IS 'true: given; false: withdrawn, or refused';
COMMENT ON COLUMN loyalty.consent.at IS 'from when on it holds';
COMMENT ON COLUMN loyalty.consent.until IS 'first instant at which a consent holds no more; infinity: until it is withdrawn';
COMMENT ON COLUMN loyalty.consent.source IS 'where it was said: app, web form, store 12';
COMMENT ON COLUMN loyalty.consent.wording IS 'the text that was agreed to, or its version';
COMMENT ON COLUMN loyalty.consent.key IS 'the callers key: one of a member, for ever';
COMMENT ON COLUMN loyalty.consent.arguments IS 'of the call, compared when the key comes again';
COMMENT ON COLUMN loyalty.consent.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.consent.by IS 'who called (session_user)';
COMMENT ON COLUMN loyalty.consent.set_role IS 'as which role';

COMMENT ON TABLE loyalty.erasure IS 'members whose personal data is gone for ever: when, by whom, what was touched; holds none of it';
COMMENT ON COLUMN loyalty.erasure.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.erasure.at IS 'when';
COMMENT ON COLUMN loyalty.erasure.reason IS 'what the caller said; not about the person';
COMMENT ON COLUMN loyalty.erasure.key IS 'the callers key';
COMMENT ON COLUMN loyalty.erasure.forfeited IS 'points by program that the accounts still held';
COMMENT ON COLUMN loyalty.erasure.touched IS 'rows by table in which something was erased';
COMMENT ON COLUMN loyalty.erasure.posted_at IS 'when the row was written';
COMMENT ON COLUMN loyalty.erasure.by IS 'who called (session_user)';
COMMENT ON COLUMN loyalty.erasure.set_role IS 'as which role';

-- replay
CREATE OR REPLACE VIEW loyalty.consent_status WITH (security_invoker = true) AS
SELECT DISTINCT ON (c.member_id, c.purpose) c.member_id, c.purpose,
  c.given AND c.until > loyalty.instant() AS given,
  CASE WHEN c.given THEN c.at END AS given_at,
  CASE WHEN c.given AND c.until < 'infinity' THEN c.until END AS until,
  CASE WHEN NOT c.given THEN c.at END AS withdrawn_at,
  c.source, c.wording, c.by
FROM loyalty.consent c
WHERE c.at <= loyalty.instant()
ORDER BY c.member_id, c.purpose, c.at DESC, c.consent_no DESC;

COMMENT ON VIEW loyalty.consent_status IS 'what members allow now, one row a member and purpose that they ever spoke about';
COMMENT ON COLUMN loyalty.consent_status.member_id IS 'loyalty.member.member_id';
COMMENT ON COLUMN loyalty.consent_status.purpose IS 'what for';
COMMENT ON COLUMN loyalty.consent_status.given IS 'does it hold now; has_consent() says the same';
COMMENT ON COLUMN loyalty.consent_status.given_at IS 'since when; NULL: withdrawn or refused';
COMMENT ON COLUMN loyalty.consent_status.until IS 'when it ends by itself, or did; NULL: never';
COMMENT ON COLUMN loyalty.consent_status.withdrawn_at IS 'when it was withdrawn or refused; NULL: given';
COMMENT ON COLUMN loyalty.consent_status.source IS 'where that was said';
COMMENT ON COLUMN loyalty.consent_status.wording IS 'the text that was agreed to, or its version';
COMMENT ON COLUMN loyalty.consent_status.by IS 'who wrote it down (session_user)';
SELECT loyalty.watch_ledger('consent');
SELECT loyalty.watch_ledger('erasure');
