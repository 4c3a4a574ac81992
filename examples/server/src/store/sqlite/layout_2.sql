-- What layout 2 adds to layout 1.
BEGIN;
-- Names of the files that the server made in its folder of uploads. It deletes no other file.
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    -- Milliseconds since 1970, UTC.
    added INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO uploads (name, added) SELECT upload, created FROM analyses WHERE upload IS NOT NULL;
-- The API key's name, or the address of a client without one. Clients take turns in the queue.
ALTER TABLE analyses ADD COLUMN client TEXT NOT NULL DEFAULT '';
UPDATE analyses SET client = owner;
CREATE INDEX by_owner ON analyses (owner, seq);
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
