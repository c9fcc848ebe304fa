-- Times are milliseconds since 1970-01-01T00:00:00Z; lists and attributes are JSON text. No secret is stored.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE principals (
    id              TEXT PRIMARY KEY,
    realm           TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('user', 'client', 'owner')),
    identifier      TEXT NOT NULL,
    identifier_norm TEXT NOT NULL,
    password_phc    TEXT,
    status          TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
    roles           TEXT NOT NULL,
    plan            TEXT,
    tenant          TEXT,
    scopes          TEXT,
    attributes      TEXT NOT NULL,
    not_before      BIGINT NOT NULL DEFAULT 0,
    failed_count    BIGINT NOT NULL DEFAULT 0,
    first_failed_at BIGINT,
    locked_until    BIGINT,
    last_login_at   BIGINT,
    last_login_ip   TEXT,
    created_by      TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    UNIQUE (realm, identifier_norm)
);
CREATE INDEX principals_tenant ON principals (realm, tenant);
CREATE INDEX principals_list ON principals (realm, id);

CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    realm         TEXT NOT NULL,
    owner_id      TEXT NOT NULL REFERENCES principals (id),
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    scopes        TEXT,
    attributes    TEXT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('active', 'disabled', 'revoked')),
    expires_at    BIGINT,
    revoked_at    BIGINT,
    revoke_reason TEXT,
    last_used_at  BIGINT,
    last_used_ip  TEXT,
    use_count     BIGINT NOT NULL DEFAULT 0,
    created_by    TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL
);
CREATE INDEX api_keys_list ON api_keys (realm, id);
CREATE INDEX api_keys_owner ON api_keys (owner_id, id);
CREATE INDEX api_keys_expiring ON api_keys (expires_at) WHERE status = 'active';
CREATE INDEX api_keys_inactive ON api_keys (status, id) WHERE status <> 'active';
-- None on last_used_at: stamps are written by the thousand, and asked for once in a while.

-- Rotation adds a row; the key's id stays.
CREATE TABLE api_key_secrets (
    realm        TEXT NOT NULL,
    digest       BYTEA NOT NULL,
    key_id       TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    hint         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('current', 'overlap', 'ended')),
    not_after    BIGINT,
    last_used_at BIGINT,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (realm, digest)
);
CREATE UNIQUE INDEX api_key_secrets_current ON api_key_secrets (key_id) WHERE state = 'current';
CREATE UNIQUE INDEX api_key_secrets_overlap ON api_key_secrets (key_id) WHERE state = 'overlap';
CREATE INDEX api_key_secrets_key ON api_key_secrets (key_id);
CREATE INDEX api_key_secrets_hint ON api_key_secrets (hint);

CREATE TABLE ip_entries (
    id         TEXT PRIMARY KEY,
    realm      TEXT NOT NULL,
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('client', 'key')),
    owner_id   TEXT NOT NULL,
    cidr       TEXT NOT NULL,
    note       TEXT,
    expires_at BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (owner_kind, owner_id, cidr)
);

-- The feed: one counter row, so that the order of numbers is the order of commits.
CREATE TABLE feed_position (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL
);
INSERT INTO feed_position (one, seq) VALUES (1, 0);

CREATE TABLE revocations (
    seq        BIGINT PRIMARY KEY,
    realm      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    value      TEXT NOT NULL,
    at         BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revocations_expiry ON revocations (expires_at);

-- One chain a node; its row is locked by whoever appends.
CREATE TABLE audit_chains (
    chain    TEXT PRIMARY KEY,
    position BIGINT NOT NULL,
    hash     BYTEA NOT NULL,
    pruned_position BIGINT NOT NULL DEFAULT 0,
    pruned_hash     BYTEA NOT NULL
);

CREATE TABLE audit_events (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain       TEXT NOT NULL,
    position    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    realm       TEXT,
    actor_kind  TEXT NOT NULL,
    actor_id    TEXT NOT NULL,
    actor_ip    TEXT,
    action      TEXT NOT NULL,
    target_kind TEXT,
    target_id   TEXT,
    outcome     TEXT NOT NULL CHECK (outcome IN ('ok', 'denied', 'error')),
    reason      TEXT,
    request_id  TEXT,
    detail      TEXT NOT NULL,
    prev_hash   BYTEA NOT NULL,
    hash        BYTEA NOT NULL,
    UNIQUE (chain, position)
);
CREATE INDEX audit_events_target ON audit_events (target_id);
CREATE INDEX audit_events_actor ON audit_events (actor_id);
CREATE INDEX audit_events_at ON audit_events (at);

CREATE TABLE admin_tokens (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    digest       BYTEA NOT NULL UNIQUE,
    hint         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    realms       TEXT,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL
);

-- Answers to creations, for those who ask twice.
CREATE TABLE idempotency (
    actor_id    TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    target_id   TEXT NOT NULL,
    status      BIGINT NOT NULL,
    body        TEXT,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
