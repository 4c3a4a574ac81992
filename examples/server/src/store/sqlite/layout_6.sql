-- What layout 6 adds to layout 5.
BEGIN;
-- API keys that an admin made on the page, beside those of the configuration. A revoked one is deleted.
CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    -- In hexadecimal.
    sha256 TEXT NOT NULL UNIQUE,
    is_admin INTEGER NOT NULL,
    -- Milliseconds since 1970, UTC.
    created INTEGER NOT NULL,
    -- Name of the key of the admin who made it.
    maker TEXT NOT NULL
) WITHOUT ROWID;
-- The last day on which a key was used, as in 2026-11-29 (UTC), by the name of the key.
CREATE TABLE key_uses (
    name TEXT PRIMARY KEY,
    day TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 6;
COMMIT;
