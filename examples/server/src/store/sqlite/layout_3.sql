-- What layout 3 adds to layout 2.
BEGIN;
-- Finds earlier analyses of the same file.
CREATE INDEX by_sha256 ON analyses (sha256, seq);
-- An analyst's own label; null without one.
ALTER TABLE analyses ADD COLUMN label TEXT CHECK (label IN ('real', 'fake', 'unclear'));
-- An analyst's tags, as a JSON array of texts.
ALTER TABLE analyses ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
-- An analyst's note.
ALTER TABLE analyses ADD COLUMN note TEXT NOT NULL DEFAULT '';
-- What an action changed, as a JSON object; null if it changed nothing that can be told.
ALTER TABLE audit ADD COLUMN change TEXT;
PRAGMA user_version = 3;
COMMIT;
