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
    -- The API key's name, or the address of a client without one. Clients take turns in the queue.
    client TEXT NOT NULL,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    -- The summary of the report, or the problem that is the reason for there being none.
    result TEXT,
    problem TEXT
);
CREATE UNIQUE INDEX by_idempotency_key ON analyses (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX by_owner ON analyses (owner, seq);
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
-- Names of the files that the server made in its folder of uploads. It deletes no other file.
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    -- Milliseconds since 1970, UTC.
    added INTEGER NOT NULL
) WITHOUT ROWID;
-- Who did what. It only grows.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Milliseconds since 1970, UTC.
    time INTEGER NOT NULL,
    action TEXT NOT NULL,
    -- Name of the API key; empty without one.
    key TEXT NOT NULL,
    address TEXT NOT NULL,
    -- Id of the request, as in the log.
    request TEXT NOT NULL,
    -- The analysis, the key whose analysis it was, and the hash of its video. They outlive the analysis.
    analysis TEXT,
    owner TEXT,
    sha256 TEXT
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
PRAGMA user_version = 2;
COMMIT;
