BEGIN;
CREATE TABLE analyses (
    -- The order of arrival, which pages of the list go by.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed')),
    -- Milliseconds since 1970, UTC.
    created INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    file_name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    settings TEXT NOT NULL,
    -- The file among the uploads, while it is there.
    upload TEXT,
    -- How often it was begun: a video that brings the server down is not tried for ever.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Who sent it: the API key's name, empty without keys.
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    -- The result without its report, and why there is none.
    result TEXT,
    problem TEXT
);
CREATE UNIQUE INDEX by_idempotency_key ON analyses (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX by_status ON analyses (status, finished);
CREATE TABLE reports (
    id TEXT PRIMARY KEY REFERENCES analyses (id) ON DELETE CASCADE,
    json TEXT NOT NULL,
    html TEXT NOT NULL
);
CREATE TABLE pictures (
    id TEXT NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
    frame INTEGER NOT NULL,
    face INTEGER NOT NULL,
    jpeg BLOB NOT NULL,
    PRIMARY KEY (id, frame, face)
) WITHOUT ROWID;
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    analysis TEXT NOT NULL UNIQUE REFERENCES analyses (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- What is sent; null until the analysis has ended.
    body TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- When to send it next; null when it was delivered or given up.
    due INTEGER
);
PRAGMA user_version = 1;
COMMIT;
