-- The first format of the store.
--
-- A run's events are rows that are only ever added: `body` holds events `first_seq` to
-- `last_seq` as JSON, one after the other. The table grows at its end, whatever run a row is
-- of, so that a commit of many runs dirties few pages; the index is what finds a run's rows,
-- and tells its last event without touching a body.

CREATE TABLE runs (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    graph       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed')),
    created_at  INTEGER NOT NULL,
    finished_at INTEGER,
    error       TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_of_graph ON runs (graph);
-- The rare ones, so that a start and a list need not pass by every run that finished.
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';
CREATE INDEX runs_failed ON runs (id) WHERE status = 'failed';

CREATE TABLE events (
    run       BLOB NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    body      BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_of_run ON events (run, first_seq, last_seq);

CREATE TABLE graphs (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT,
    definition TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX graphs_named ON graphs (name, created_at);

CREATE TABLE plugins (
    position  INTEGER PRIMARY KEY AUTOINCREMENT,
    digest    TEXT NOT NULL UNIQUE,
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    active    INTEGER NOT NULL CHECK (active IN (0, 1)),
    added_at  INTEGER NOT NULL,
    component BLOB NOT NULL
) STRICT;

-- "Hddl": tells a store of Heddle from any other SQLite file.
PRAGMA application_id = 1214538860;
-- The format, which `heddle_store::sqlite` compares with the ones that it knows.
PRAGMA user_version = 1;
