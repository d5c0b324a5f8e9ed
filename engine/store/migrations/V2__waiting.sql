-- Runs that wait, and runs that were cancelled.
--
-- A run that waits is this row and its events, and nothing in memory. The check of `status`
-- is part of the table, so the table is made anew.

CREATE TABLE runs_anew (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    graph       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('running', 'waiting', 'finished', 'failed', 'cancelled')),
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    error       TEXT,
    -- When a run that waits is due; null where only a signal wakes it.
    wake_at     INTEGER CHECK (wake_at IS NULL OR status = 'waiting')
) STRICT, WITHOUT ROWID;

INSERT INTO runs_anew (id, graph, status, created_at, finished_at, error)
SELECT id, graph, status, created_at, finished_at, error FROM runs ORDER BY id;

DROP TABLE runs;
ALTER TABLE runs_anew RENAME TO runs;

CREATE INDEX runs_of_graph ON runs (graph);
-- All but the most, so that a start and a list need not pass by every run that finished. One
-- index for all of them: a run that begins and finishes pays for each that there is.
CREATE INDEX runs_by_status ON runs (status, id) WHERE status <> 'finished';
-- Of these there may be a great many, of other graphs.
CREATE INDEX runs_waiting_of_graph ON runs (graph, id) WHERE status = 'waiting';
CREATE INDEX runs_due ON runs (wake_at, id) WHERE wake_at IS NOT NULL;

PRAGMA user_version = 2;
