-- One row: the number of the layout, and the data folder that belongs to the database.
CREATE TABLE deepsight (layout BIGINT NOT NULL, folder TEXT);
INSERT INTO deepsight (layout) VALUES (0);

-- Returns the milliseconds since 1970, UTC. The clocks of the processes' machines may differ, so only this one counts.
CREATE FUNCTION deepsight_now() RETURNS BIGINT LANGUAGE sql VOLATILE
AS $$ SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) $$;

-- The processes that share the database. Each renews its row. The others delete the row of one that does not, and with
-- that all that it holds is free.
CREATE TABLE processes (
    id TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    -- Analyses that it can run at the same time.
    workers BIGINT NOT NULL,
    -- By `deepsight_now()`.
    alive_until BIGINT NOT NULL
);

CREATE TABLE analyses (
    -- Order of arrival. The pages of the list follow it.
    seq BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed')),
    -- Milliseconds since 1970, UTC.
    created BIGINT NOT NULL,
    started BIGINT,
    finished BIGINT,
    -- With the collation "C", lower() changes the letters A to Z alone, as in SQLite.
    file_name TEXT COLLATE "C" NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    settings TEXT NOT NULL,
    -- Name of the file in the folder of uploads; null before it has arrived, and once it is deleted.
    upload TEXT,
    -- Number of starts. It is limited, because the video may be what crashes the server.
    attempts BIGINT NOT NULL DEFAULT 0,
    -- Name of the sender's API key; empty if no key is needed.
    owner TEXT NOT NULL,
    -- The API key's name, or the address of a client without one. Clients take turns in the queue.
    client TEXT NOT NULL,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    -- Where the video was fetched from, without query and fragment, which may hold secrets; null for an upload.
    source TEXT,
    -- The summary of the report, or the problem that is the reason for there being none.
    result JSON,
    problem TEXT,
    -- An analyst's own label, null without one; tags, as a JSON array of texts; and note.
    label TEXT CHECK (label IN ('real', 'fake', 'unclear')),
    tags TEXT NOT NULL DEFAULT '[]',
    note TEXT COLLATE "C" NOT NULL DEFAULT '',
    -- The process that runs it, or downloads its video; null if none does.
    process TEXT REFERENCES processes (id) ON DELETE SET NULL,
    -- The process that waits for the result of a prediction, which ends with it; null for a stored analysis.
    asker TEXT REFERENCES processes (id) ON DELETE CASCADE,
    -- How far it is, as JSON; null if no process runs it.
    progress TEXT,
    -- Size of its report and pictures.
    kept_bytes BIGINT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX by_idempotency_key ON analyses (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX by_status ON analyses (status, finished);
CREATE INDEX by_owner ON analyses (owner, seq);
CREATE INDEX by_sha256 ON analyses (sha256, seq);
CREATE INDEX by_upload ON analyses (upload) WHERE upload IS NOT NULL;
CREATE INDEX by_process ON analyses (process) WHERE process IS NOT NULL;
CREATE INDEX by_asker ON analyses (asker) WHERE asker IS NOT NULL;
CREATE INDEX waiting ON analyses (client, seq) WHERE status = 'queued' AND upload IS NOT NULL;

CREATE TABLE reports (
    id TEXT PRIMARY KEY REFERENCES analyses (id) ON DELETE CASCADE,
    json TEXT NOT NULL,
    html TEXT NOT NULL
);
CREATE TABLE pictures (
    id TEXT NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
    frame BIGINT NOT NULL,
    face BIGINT NOT NULL,
    jpeg BYTEA NOT NULL,
    PRIMARY KEY (id, frame, face)
);
-- What the video of an analysis looks like: hashes of frames, 8 bytes each.
CREATE TABLE looks (
    analysis TEXT PRIMARY KEY REFERENCES analyses (id) ON DELETE CASCADE,
    hashes BYTEA NOT NULL
);
-- Faces that were scored while an analysis runs, as JSON arrays. `first` is the number of faces before.
CREATE TABLE scores (
    analysis TEXT NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
    first BIGINT NOT NULL,
    faces TEXT NOT NULL,
    PRIMARY KEY (analysis, first)
);
-- Results of predictions, until the process that waits for one reads it: a report, or the problem.
CREATE TABLE answers (
    id TEXT PRIMARY KEY,
    asker TEXT NOT NULL REFERENCES processes (id) ON DELETE CASCADE,
    report TEXT,
    problem TEXT
);

-- Places in the queue of videos that are still arriving.
CREATE TABLE admissions (
    id TEXT PRIMARY KEY,
    client TEXT NOT NULL,
    process TEXT NOT NULL REFERENCES processes (id) ON DELETE CASCADE
);
-- Counts the analyses that processes have taken from the queue.
CREATE SEQUENCE claims;
-- The order in which clients have their turn: the smallest number first. It is odd for one that had its turn (twice the
-- count of the claim, plus 1), and even for one that came since then, which therefore comes before the last one.
CREATE TABLE turns (
    client TEXT PRIMARY KEY,
    turn BIGINT NOT NULL
);

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    analysis TEXT NOT NULL UNIQUE REFERENCES analyses (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    -- Content to send; null until the analysis has ended.
    body TEXT,
    attempts BIGINT NOT NULL DEFAULT 0,
    -- When to send it next; null when it was delivered or given up.
    due BIGINT,
    -- The process that sends it now.
    process TEXT REFERENCES processes (id) ON DELETE SET NULL
);
CREATE INDEX by_due ON webhooks (due) WHERE due IS NOT NULL;
CREATE INDEX webhooks_by_process ON webhooks (process) WHERE process IS NOT NULL;

-- Names of the files that the server made in its folder of uploads. It deletes no other file.
CREATE TABLE uploads (
    name TEXT PRIMARY KEY,
    -- Milliseconds since 1970, UTC.
    added BIGINT NOT NULL,
    -- The process that made it, while that runs.
    process TEXT REFERENCES processes (id) ON DELETE SET NULL
);
CREATE INDEX uploads_by_process ON uploads (process) WHERE process IS NOT NULL;
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
    bytes BIGINT NOT NULL,
    -- When the last part arrived. Milliseconds since 1970, UTC.
    changed BIGINT NOT NULL,
    -- The process that handles a request on it.
    process TEXT REFERENCES processes (id) ON DELETE SET NULL
);

-- Links that show an analysis without a key. A revoked one is deleted.
CREATE TABLE shares (
    id TEXT PRIMARY KEY,
    analysis TEXT NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
    -- SHA-256 of the secret in the link, in hexadecimal.
    token TEXT NOT NULL UNIQUE,
    -- Name of the API key that made it; empty without one.
    key TEXT NOT NULL,
    -- Milliseconds since 1970, UTC.
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    -- Whether it shows label, tags and note.
    remarks BOOLEAN NOT NULL,
    -- Number of times that it was opened.
    opened BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX shares_by_analysis ON shares (analysis, created);

-- API keys that an admin made on the page, beside those of the configuration. A revoked one is deleted.
CREATE TABLE keys (
    name TEXT COLLATE "C" PRIMARY KEY,
    -- In hexadecimal.
    sha256 TEXT NOT NULL UNIQUE,
    is_admin BOOLEAN NOT NULL,
    -- Milliseconds since 1970, UTC.
    created BIGINT NOT NULL,
    -- Name of the key of the admin who made it.
    maker TEXT NOT NULL
);
-- The last day on which a key was used, as in 2026-11-29 (UTC), by the name of the key.
CREATE TABLE key_uses (
    name TEXT PRIMARY KEY,
    day TEXT NOT NULL
);
-- Browsers that are signed in.
CREATE TABLE sessions (
    -- SHA-256 of the secret in the cookie, and of the key that the browser was signed in with, in hexadecimal.
    cookie TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    -- By `deepsight_now()`.
    ends BIGINT NOT NULL
);

-- Who did what. It only grows.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    -- Milliseconds since 1970, UTC.
    time BIGINT NOT NULL,
    action TEXT NOT NULL,
    -- Name of the API key; empty without one.
    key TEXT NOT NULL,
    address TEXT NOT NULL,
    -- Id of the request, as in the log.
    request TEXT NOT NULL,
    -- The analysis, the key whose analysis it was, and the hash of its video. They outlive the analysis.
    analysis TEXT,
    owner TEXT,
    sha256 TEXT,
    -- What an action changed, as a JSON object; null if it changed nothing that can be told.
    change TEXT
);
CREATE FUNCTION audit_only_grows() RETURNS TRIGGER LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'the audit only grows'; END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();

-- An analysis that has ended, or waits for a worker, is no process's.
CREATE FUNCTION let_analysis_go() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status IN ('done', 'failed') OR (NEW.status = 'queued' AND NEW.upload IS NOT NULL) THEN
        NEW.process := NULL;
        NEW.progress := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER let_analysis_go BEFORE UPDATE OF status, upload ON analyses
    FOR EACH ROW EXECUTE FUNCTION let_analysis_go();

-- Gives a client its turn when its first analysis waits, removes scores that are not needed any more, and notifies the
-- processes.
CREATE FUNCTION tell_of_analysis() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify('deepsight', 'analysis ' || OLD.id);
        RETURN NULL;
    END IF;
    IF NEW.status = 'queued' AND NEW.upload IS NOT NULL THEN
        IF NOT EXISTS (
            SELECT 1 FROM analyses
            WHERE client = NEW.client AND status = 'queued' AND upload IS NOT NULL AND id <> NEW.id
        ) THEN
            INSERT INTO turns (client, turn) SELECT NEW.client, 2 * last_value FROM claims
            ON CONFLICT (client) DO UPDATE SET turn = greatest(turns.turn, excluded.turn);
        END IF;
        PERFORM pg_notify('deepsight', 'queue');
    END IF;
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM scores WHERE analysis = NEW.id;
    END IF;
    PERFORM pg_notify('deepsight', 'analysis ' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_analysis AFTER INSERT OR DELETE OR UPDATE OF status, upload ON analyses
    FOR EACH ROW EXECUTE FUNCTION tell_of_analysis();

CREATE FUNCTION tell_of_answer() RETURNS TRIGGER LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('deepsight', 'analysis ' || NEW.id); RETURN NULL; END $$;
CREATE TRIGGER tell_of_answer AFTER INSERT ON answers FOR EACH ROW EXECUTE FUNCTION tell_of_answer();

CREATE FUNCTION tell_of_webhook() RETURNS TRIGGER LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('deepsight', 'webhook'); RETURN NULL; END $$;
CREATE TRIGGER tell_of_webhook AFTER UPDATE OF due, process ON webhooks
    FOR EACH ROW WHEN (NEW.due IS NOT NULL AND NEW.process IS NULL) EXECUTE FUNCTION tell_of_webhook();

CREATE FUNCTION tell_of_keys() RETURNS TRIGGER LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify('deepsight', 'keys'); RETURN NULL; END $$;
CREATE TRIGGER tell_of_keys AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_keys();
