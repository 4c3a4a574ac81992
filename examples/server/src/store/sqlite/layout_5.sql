-- What layout 5 adds to layout 4.
BEGIN;
-- Links that show an analysis without a key. A revoked one is deleted.
CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    analysis TEXT NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
    -- SHA-256 of the secret in the link, in hexadecimal.
    token TEXT NOT NULL UNIQUE,
    -- Name of the API key that made it; empty without one.
    key TEXT NOT NULL,
    -- Milliseconds since 1970, UTC.
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    -- Whether it shows label, tags and note.
    remarks INTEGER NOT NULL,
    -- Number of times that it was opened.
    opened INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX shares_by_analysis ON shares (analysis, created);
PRAGMA user_version = 5;
COMMIT;
