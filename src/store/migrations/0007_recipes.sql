-- The files that a stage was made by in a run, so that a change of one can be told by its name.

CREATE TABLE recipes (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stage TEXT NOT NULL,
    hash TEXT NOT NULL,
    files TEXT NOT NULL,
    PRIMARY KEY (run, stage)
) STRICT, WITHOUT ROWID;
