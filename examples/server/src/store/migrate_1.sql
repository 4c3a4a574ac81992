-- From layout 1 to layout 2.
BEGIN;
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    added INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO uploads (name, added) SELECT upload, created FROM analyses WHERE upload IS NOT NULL;
ALTER TABLE analyses ADD COLUMN client TEXT NOT NULL DEFAULT '';
UPDATE analyses SET client = owner;
PRAGMA user_version = 2;
COMMIT;
