-- Everything one node knows. Times are Unix seconds. Secrets are digests, keys of URLs excepted.

CREATE TABLE credentials (
    kid        TEXT PRIMARY KEY,
    tenant     TEXT NOT NULL,
    -- 'executor' registers and validates, 'harness' connects.
    kind       TEXT NOT NULL CHECK (kind IN ('executor', 'harness')),
    -- An environment's id, or the beginning of one and `*`.
    scope      TEXT NOT NULL,
    digest     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE TABLE enrolments (
    digest     BLOB PRIMARY KEY,
    tenant     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE environments (
    tenant          TEXT NOT NULL,
    id              TEXT NOT NULL,
    -- Grows when another executor takes the environment over.
    generation      INTEGER NOT NULL,
    registration    TEXT NOT NULL,
    key_json        TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    kid             TEXT NOT NULL,
    registered_at   INTEGER NOT NULL,
    online_at       INTEGER,
    offline_at      INTEGER,
    offline_because TEXT,
    PRIMARY KEY (tenant, id)
) STRICT;

-- Executors that were superseded: they are refused for good, or the two would displace each other
-- for ever.
CREATE TABLE superseded (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (tenant, id, fingerprint)
) STRICT;

-- What a `connect` gave out and nobody has used yet.
CREATE TABLE authorizations (
    digest       BLOB PRIMARY KEY,
    tenant       TEXT NOT NULL,
    id           TEXT NOT NULL,
    registration TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    kid          TEXT NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE tickets (
    nonce      TEXT PRIMARY KEY,
    kid        TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- Who may connect, when that is fewer than everybody with a token.
CREATE TABLE welcome (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    PRIMARY KEY (tenant, id, fingerprint)
) STRICT;

CREATE TABLE url_keys (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    secret     BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Grows with every revocation and takeover, so that a node sees quickly that there was one.
CREATE TABLE changes (count INTEGER NOT NULL) STRICT;
INSERT INTO changes (count) VALUES (0);
