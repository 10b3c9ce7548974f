-- The command after a run, on record with the end of the run. It has ended where `ended_at` says when.

CREATE TABLE hooks (
    run INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    verdict TEXT,
    exit_code INTEGER,
    signal INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    log TEXT,
    error TEXT
) STRICT;

CREATE INDEX hooks_open ON hooks (run) WHERE ended_at IS NULL;
