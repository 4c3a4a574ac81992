BEGIN;
CREATE TABLE analyses (
    -- Order of arrival. The pages of the list follow it.
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
    -- Name of the file in the folder of uploads; null once it is deleted.
    upload TEXT,
    -- Number of starts. It is limited, because the video may be what crashes the server.
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Name of the sender's API key; empty if no key is needed.
    owner TEXT NOT NULL,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    -- The summary of the report, or the problem that is the reason for there being none.
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
    -- Content to send; null until the analysis has ended.
    body TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- When to send it next; null when it was delivered or given up.
    due INTEGER
);
PRAGMA user_version = 1;
COMMIT;
