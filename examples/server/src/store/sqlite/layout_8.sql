-- What layout 8 adds to layout 7.
BEGIN;
-- Uploads that arrive in parts and are not analyzed yet. The length of the file is how much has arrived.
CREATE TABLE partial_uploads (
    name TEXT PRIMARY KEY REFERENCES uploads (name) ON DELETE CASCADE,
    -- The API key's name; empty without one.
    owner TEXT NOT NULL,
    -- The API key's name, or the address of a client without one.
    client TEXT NOT NULL,
    -- The client's name of the file.
    file_name TEXT NOT NULL,
    -- As the client sent it with the name.
    metadata TEXT NOT NULL,
    -- Length of the whole file.
    bytes INTEGER NOT NULL,
    -- When the last part arrived. Milliseconds since 1970, UTC.
    changed INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 8;
COMMIT;
