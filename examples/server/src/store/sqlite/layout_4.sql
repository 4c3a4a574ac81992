-- What layout 4 adds to layout 3.
BEGIN;
-- Where the video was fetched from, without query and fragment, which may hold secrets; null for an upload.
ALTER TABLE analyses ADD COLUMN source TEXT;
PRAGMA user_version = 4;
COMMIT;
