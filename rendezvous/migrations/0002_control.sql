-- Admin tokens beside the two kinds there were.
CREATE TABLE credentials_new (
    kid        TEXT PRIMARY KEY,
    -- Of an admin token, `*` is the operator's.
    tenant     TEXT NOT NULL,
    -- 'executor' registers and validates, 'harness' connects, 'admin' administers.
    kind       TEXT NOT NULL CHECK (kind IN ('executor', 'harness', 'admin')),
    -- An environment's id, or the beginning of one and `*`.
    scope      TEXT NOT NULL,
    digest     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
INSERT INTO credentials_new SELECT * FROM credentials;
DROP TABLE credentials;
ALTER TABLE credentials_new RENAME TO credentials;

-- What an executor says of itself, and what its tenant signed about its key.
ALTER TABLE environments ADD COLUMN info_json TEXT NOT NULL DEFAULT '{}';
ALTER TABLE environments ADD COLUMN attestation TEXT;
-- Which connection of which node has it; both absent when none does. It counts while the node's
-- lease lives.
ALTER TABLE environments ADD COLUMN node TEXT;
ALTER TABLE environments ADD COLUMN connection INTEGER;
-- Why it is away, and why it was last refused.
ALTER TABLE environments ADD COLUMN closed_code INTEGER;
ALTER TABLE environments ADD COLUMN closed_by TEXT;
ALTER TABLE environments ADD COLUMN rejected_at INTEGER;
ALTER TABLE environments ADD COLUMN rejected_because TEXT;

-- Nodes that live, by their own word.
CREATE TABLE nodes (
    id         TEXT PRIMARY KEY,
    address    TEXT NOT NULL,
    version    TEXT NOT NULL,
    executors  INTEGER NOT NULL,
    until      INTEGER NOT NULL
) STRICT;

-- Who may connect and register, when that is fewer than everybody with a credential.
CREATE TABLE policies (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    json   TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
INSERT INTO policies (tenant, id, json)
    SELECT tenant, id, json_object('harness_keys', json_group_array(fingerprint))
    FROM welcome GROUP BY tenant, id;
DROP TABLE welcome;

-- The nonce of a URL is a secret for as long as it is good. Those under way are lost with this.
DROP TABLE tickets;
CREATE TABLE tickets (
    digest     BLOB PRIMARY KEY,
    kid        TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
