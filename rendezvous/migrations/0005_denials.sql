-- Tokens of identity providers that count no more: of a subject as `jwt:ISSUER:SUBJECT`, or one by its
-- id as `jti:ISSUER:ID`.
CREATE TABLE denials (
    tenant     TEXT NOT NULL,
    name       TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    -- When it is over; never, if absent.
    until      INTEGER,
    PRIMARY KEY (tenant, name)
) STRICT;

-- What an orchestrator showed goes along with its URL, so that its stream ends with it. Tickets under
-- way are lost with this.
DROP TABLE tickets;
CREATE TABLE tickets (
    digest     BLOB PRIMARY KEY,
    tenant     TEXT NOT NULL,
    kid        TEXT NOT NULL,
    token_id   TEXT,
    ends_at    INTEGER,
    expires_at INTEGER NOT NULL
) STRICT;
