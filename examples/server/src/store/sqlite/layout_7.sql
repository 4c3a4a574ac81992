-- What layout 7 adds to layout 6.
BEGIN;
-- What the video of an analysis looks like: hashes of frames, 8 bytes each.
CREATE TABLE looks (
    analysis TEXT PRIMARY KEY REFERENCES analyses (id) ON DELETE CASCADE,
    hashes BLOB NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 7;
COMMIT;
