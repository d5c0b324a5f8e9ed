-- Runs that are queued or paused, snapshots of runs, answered requests, schedules, forgetting, and
-- sums by which damage is found.

-- The check of `status` is part of the table, so the table is made anew.
CREATE TABLE runs_anew (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    graph       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('queued', 'running', 'waiting', 'paused', 'finished', 'failed', 'cancelled')),
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    error       TEXT,
    -- When a run that waits is due; null where only a signal wakes it.
    wake_at     INTEGER CHECK (wake_at IS NULL OR status = 'waiting'),
    -- Of the queued ones, the highest goes first.
    priority    INTEGER NOT NULL,
    -- The group that it counts in.
    grp         TEXT,
    -- What started it, where that was no request of its own.
    origin      TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO runs_anew (id, graph, status, created_at, finished_at, error, wake_at, priority)
SELECT id, graph, status, created_at, finished_at, error, wake_at, 0 FROM runs ORDER BY id;

DROP TABLE runs;
ALTER TABLE runs_anew RENAME TO runs;

CREATE INDEX runs_of_graph ON runs (graph);
-- All but the most, so that a start and a list need not pass by every run that finished. One
-- index for all of them: a run that begins and finishes pays for each that there is. What is
-- queued is found by it, too, and sorted when an engine starts, which is the one time that it is asked for.
CREATE INDEX runs_by_status ON runs (status, id) WHERE status <> 'finished';
-- Of these there may be a great many, of other graphs.
CREATE INDEX runs_held_of_graph ON runs (graph, status, id) WHERE status = 'waiting' OR status = 'queued';
CREATE INDEX runs_due ON runs (wake_at, id) WHERE wake_at IS NOT NULL;
-- What a group counts. A run without a group is in none of its entries.
CREATE INDEX runs_in_group ON runs (grp, status) WHERE grp IS NOT NULL AND status IN ('running', 'waiting', 'paused');

-- The CRC-32 of the run's id and the body; null in rows of older formats.
ALTER TABLE events ADD COLUMN sum INTEGER;

-- Runs as they were at some of their events. Rows are only ever added at the end, as in `events`.
CREATE TABLE snapshots (
    run  BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    sum  INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX snapshots_of_run ON snapshots (run, seq);

-- Requests that were answered, by where they went: a run, or, where they started one, nothing.
CREATE TABLE requests (
    scope  BLOB NOT NULL CHECK (length(scope) IN (0, 16)),
    key    TEXT NOT NULL,
    digest TEXT NOT NULL,
    run    BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_of_run ON requests (run);

CREATE TABLE schedules (
    name TEXT PRIMARY KEY NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs that are forgotten, while their events and snapshots are deleted bit by bit. No reader sees
-- anything of them.
CREATE TABLE trash (
    run BLOB PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 3;
