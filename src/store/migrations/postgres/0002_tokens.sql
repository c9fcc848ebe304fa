-- What tokens are made of and ended by. No secret is stored: tokens as digests or not at all, signing keys sealed.

-- What tokens call a principal; NULL = its id. Whoever lives in the application has a row, too, from the first login on.
ALTER TABLE principals ADD COLUMN subject TEXT;
ALTER TABLE principals ADD COLUMN source TEXT NOT NULL DEFAULT 'local' CHECK (source IN ('local', 'directory'));
CREATE UNIQUE INDEX principals_subject ON principals (realm, subject) WHERE source = 'directory';

-- A principal that is removed by a version that knows of no sessions takes them along.
CREATE TABLE sessions (
    id            TEXT PRIMARY KEY,
    realm         TEXT NOT NULL,
    subject_id    TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    grant_type    TEXT NOT NULL,
    client_ip     TEXT,
    user_agent    TEXT,
    created_at    BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    revoked_at    BIGINT,
    revoke_reason TEXT,
    current_jti   TEXT
);
CREATE INDEX sessions_subject ON sessions (subject_id, revoked_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_list ON sessions (realm, id);

-- One family of them a session. What was rotated is no more in force, and was not withdrawn either.
CREATE TABLE refresh_tokens (
    jti        TEXT PRIMARY KEY,
    sid        TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('active', 'rotated', 'revoked')),
    digest     BYTEA,
    issued_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    rotated_at BIGINT,
    successor  TEXT,
    UNIQUE (sid, generation)
);
CREATE UNIQUE INDEX refresh_tokens_active ON refresh_tokens (sid) WHERE state = 'active';
CREATE UNIQUE INDEX refresh_tokens_digest ON refresh_tokens (digest) WHERE digest IS NOT NULL;
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

-- Access tokens that ended one by one.
CREATE TABLE revoked_tokens (
    jti        TEXT PRIMARY KEY,
    realm      TEXT NOT NULL,
    sid        TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_session ON revoked_tokens (sid);
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);

-- Tokens that are spent, or replaced by the next of their slot, or known by their digest alone.
CREATE TABLE issued_tokens (
    id         TEXT PRIMARY KEY,
    realm      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    digest     BYTEA,
    slot       TEXT,
    subject    TEXT NOT NULL,
    issued_by  TEXT,
    owner_id   TEXT,
    sid        TEXT,
    claims     TEXT NOT NULL,
    issued_at  BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT,
    used_ip    TEXT,
    revoked_at BIGINT,
    UNIQUE (realm, digest),
    UNIQUE (realm, kind, slot)
);
CREATE INDEX issued_tokens_expiry ON issued_tokens (expires_at);
CREATE INDEX issued_tokens_subject ON issued_tokens (subject);
CREATE INDEX issued_tokens_key ON issued_tokens (issued_by) WHERE issued_by IS NOT NULL;
CREATE INDEX issued_tokens_owner ON issued_tokens (owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX issued_tokens_session ON issued_tokens (sid) WHERE sid IS NOT NULL;

-- Failed logins, by account and by address.
CREATE TABLE attempts (
    realm           TEXT NOT NULL,
    key             TEXT NOT NULL,
    failed          BIGINT NOT NULL,
    first_failed_at BIGINT NOT NULL,
    locked_until    BIGINT,
    expires_at      BIGINT NOT NULL,
    PRIMARY KEY (realm, key)
);
CREATE INDEX attempts_expiry ON attempts (expires_at);

-- Networks from which an account was used well.
CREATE TABLE known_addresses (
    realm   TEXT NOT NULL,
    key     TEXT NOT NULL,
    network TEXT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (realm, key, network)
);
CREATE INDEX known_addresses_age ON known_addresses (last_at);

CREATE TABLE signing_keys (
    kid            TEXT PRIMARY KEY,
    realm          TEXT NOT NULL,
    alg            TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('next', 'active', 'passive', 'disabled')),
    private_sealed BYTEA NOT NULL,
    public_jwk     TEXT,
    created_by     TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    activate_at    BIGINT NOT NULL,
    retire_at      BIGINT
);
CREATE INDEX signing_keys_realm ON signing_keys (realm);
