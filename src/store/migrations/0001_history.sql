-- Runs of flows, their stages and attempts, and what these left behind.
--
-- Times are nanoseconds after 1970. A column with a `_size` beside it holds JSON as text, or, where `_size` is not
-- null, compressed by zstd, from that many bytes. Large values lie in rows that are not updated while a run goes on.

PRAGMA application_id = 1381192775;

CREATE TABLE definitions (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    text ANY NOT NULL,
    text_size INTEGER
) STRICT;

-- The last number that a run of the flow was given.
CREATE TABLE numbers (
    flow TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Names of other runs are plain text: history goes on naming a run that was deleted.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    number INTEGER NOT NULL,
    flow TEXT NOT NULL,
    definition INTEGER NOT NULL REFERENCES definitions (id),
    status TEXT NOT NULL,
    cause TEXT NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    duration_seconds REAL,
    cost REAL,
    parent TEXT,
    root TEXT NOT NULL,
    caller TEXT,
    retry_from TEXT,
    retry_depth INTEGER NOT NULL,
    key TEXT UNIQUE,
    deadline INTEGER,
    branch TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    approve_all INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    error TEXT
) STRICT;

-- The id comes last in each of them by itself, so that they give the newest first.
CREATE INDEX runs_of_flow ON runs (flow);
CREATE INDEX runs_of_status ON runs (status, flow);
CREATE INDEX runs_of_root ON runs (root);
CREATE INDEX runs_since ON runs (created_at);
CREATE INDEX runs_of_definition ON runs (definition);

CREATE TABLE inputs (
    run INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    value ANY NOT NULL,
    value_size INTEGER
) STRICT;

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    stage TEXT NOT NULL,
    version INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    branch TEXT NOT NULL,
    parent TEXT,
    status TEXT NOT NULL,
    approval TEXT NOT NULL,
    hash TEXT NOT NULL,
    recipe TEXT,
    input TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT,
    edited_from TEXT,
    approved_by TEXT,
    approved_at INTEGER,
    note TEXT,
    outputs ANY NOT NULL,
    outputs_size INTEGER,
    UNIQUE (root, stage, version)
) STRICT;

CREATE INDEX checkpoints_of_run ON checkpoints (run, id);

CREATE TABLE artifacts (
    checkpoint INTEGER NOT NULL REFERENCES checkpoints (id) ON DELETE CASCADE,
    ord INTEGER NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    PRIMARY KEY (checkpoint, ord)
) STRICT, WITHOUT ROWID;

-- The highest version of a stage that was deleted: no other is to be given its number.
CREATE TABLE deleted_versions (
    root TEXT NOT NULL,
    stage TEXT NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (root, stage)
) STRICT, WITHOUT ROWID;

CREATE TABLE stages (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ord INTEGER NOT NULL,
    status TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT,
    source TEXT,
    checkpoint INTEGER REFERENCES checkpoints (id),
    started_at INTEGER,
    ended_at INTEGER,
    retry_at INTEGER,
    items INTEGER,
    error TEXT,
    feedback TEXT,
    PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX stages_of_status ON stages (run, status, ord);
CREATE INDEX stages_of_checkpoint ON stages (checkpoint, run) WHERE checkpoint IS NOT NULL;

-- The item of a stage that does not fan out is -1.
CREATE TABLE attempts (
    run INTEGER NOT NULL,
    stage TEXT NOT NULL,
    item INTEGER NOT NULL,
    number INTEGER NOT NULL,
    verdict TEXT,
    exit_code INTEGER,
    signal INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    cpu_seconds REAL,
    peak_rss_bytes INTEGER,
    cost REAL,
    blameless INTEGER NOT NULL,
    log TEXT,
    error TEXT,
    PRIMARY KEY (run, stage, item, number),
    FOREIGN KEY (run, stage) REFERENCES stages (run, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    stage TEXT NOT NULL,
    item INTEGER NOT NULL,
    input TEXT NOT NULL,
    status TEXT NOT NULL,
    outputs ANY NOT NULL,
    outputs_size INTEGER,
    UNIQUE (run, stage, item),
    FOREIGN KEY (run, stage) REFERENCES stages (run, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE item_artifacts (
    item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    ord INTEGER NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    PRIMARY KEY (item, ord)
) STRICT, WITHOUT ROWID;

CREATE TABLE branches (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    name TEXT NOT NULL,
    forked_from TEXT,
    created_at INTEGER NOT NULL,
    created_by TEXT,
    UNIQUE (root, name)
) STRICT;

CREATE TABLE locks (
    root TEXT NOT NULL,
    branch TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    PRIMARY KEY (root, branch)
) STRICT, WITHOUT ROWID;
