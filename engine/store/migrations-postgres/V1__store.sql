-- The first format of a store in PostgreSQL.
--
-- Every row that belongs to a run starts with the run's id, so that tables can be distributed by run. Texts compare byte
-- by byte, as in SQLite. Times of runs are milliseconds since 1970 (UTC) by the engines' clocks; times of leases are
-- PostgreSQL's own.

-- A row is a running engine. Its id is never reused: it is the fencing token of every write.
CREATE SEQUENCE engine_ids;

CREATE TABLE engines (
    id          bigint PRIMARY KEY DEFAULT nextval('engine_ids'),
    name        text COLLATE "C" NOT NULL,
    version     text COLLATE "C" NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_ms    bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    -- Whether no other engine can join meanwhile.
    exclusive   boolean NOT NULL DEFAULT false,
    -- Whether an operator has requested that the engine drain.
    draining    boolean NOT NULL DEFAULT false,
    -- The counters of `changes` that the engine had applied at its last renewal.
    graphs      bigint NOT NULL DEFAULT 0,
    plugins     bigint NOT NULL DEFAULT 0,
    policies    bigint NOT NULL DEFAULT 0,
    schedules   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE runs (
    id          uuid PRIMARY KEY,
    -- The engine that executes the run; null if the run is queued, waiting, paused or over.
    engine      bigint,
    -- The number of the run's last event.
    last_seq    bigint NOT NULL,
    graph       text COLLATE "C" NOT NULL,
    -- The other graphs that the run's events name.
    graphs      text[] COLLATE "C",
    status      text COLLATE "C" NOT NULL
        CHECK (status IN ('queued', 'running', 'waiting', 'paused', 'finished', 'failed', 'cancelled')),
    created_at  bigint NOT NULL,
    finished_at bigint,
    -- When a waiting run is due; null if only a signal resumes it.
    wake_at     bigint CHECK (wake_at IS NULL OR status = 'waiting'),
    -- Of the queued runs, the highest starts first.
    priority    integer NOT NULL,
    -- The group that the run counts in, and how many of its runs may be active.
    grp         text COLLATE "C",
    group_limit integer,
    -- Whether the run counts as active in `groups`, and the change of that count by the run's last write.
    counted     boolean NOT NULL DEFAULT false,
    counted_by  integer NOT NULL DEFAULT 0,
    -- What started the run, if that was no request of its own.
    origin      text COLLATE "C",
    origin_kind text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN origin LIKE 'schedule:%' THEN 'schedule'
            WHEN origin LIKE 'fork:%' THEN 'fork'
            WHEN origin = 'import' THEN 'import'
            ELSE 'api'
        END
    ) STORED,
    -- The error as JSON.
    error       text COLLATE "C"
) WITH (fillfactor = 70);

-- For lists: the runs of one value and one status are a range in the order of the list.
CREATE INDEX runs_by_kind ON runs (origin_kind, status, created_at, id);
CREATE INDEX runs_of_graph ON runs (graph, status, created_at, id);
CREATE INDEX runs_of_origin ON runs (origin, status, created_at, id) WHERE origin IS NOT NULL;
-- For claims: exactly the runs that can be claimed, in the order of the claim.
CREATE INDEX runs_queued ON runs (priority DESC, id)
    WHERE status = 'queued' AND engine IS NULL AND grp IS NULL;
CREATE INDEX runs_queued_in_group ON runs (grp, priority DESC, id)
    WHERE status = 'queued' AND engine IS NULL AND grp IS NOT NULL;
CREATE INDEX runs_due ON runs (wake_at, id) WHERE wake_at IS NOT NULL AND engine IS NULL;
CREATE INDEX runs_of_engine ON runs (engine, id) WHERE engine IS NOT NULL;
CREATE INDEX runs_without_engine ON runs (id) WHERE status = 'running' AND engine IS NULL;
CREATE INDEX runs_in_group ON runs (grp, status) WHERE grp IS NOT NULL AND status IN ('running', 'waiting', 'paused');

-- The event records of a run, in chunks. `body` holds the events `first_seq` to `last_seq` as JSON; `sum` is the CRC-32
-- of the run's id and the body.
CREATE TABLE events (
    run       uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL,
    sum       bigint NOT NULL,
    body      bytea NOT NULL,
    PRIMARY KEY (run, first_seq)
);

-- A run's state after one of its events.
CREATE TABLE snapshots (
    run  uuid NOT NULL,
    seq  bigint NOT NULL,
    sum  bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Answered requests. The scope is the run that the request was sent to, or the nil UUID if it started a run.
CREATE TABLE requests (
    scope  uuid NOT NULL,
    key    text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    run    uuid NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE INDEX requests_of_run ON requests (run);

-- Deleted runs whose events and snapshots still use disk space. No reader sees anything of them.
CREATE TABLE trash (
    run uuid PRIMARY KEY
);

CREATE TABLE graphs (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    name       text COLLATE "C",
    definition text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    -- A JSON object from the name in the graph to the exact function.
    functions  text COLLATE "C"
);

CREATE INDEX graphs_named ON graphs (name, created_at, position);

CREATE TABLE plugins (
    position  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest    text COLLATE "C" NOT NULL UNIQUE,
    name      text COLLATE "C" NOT NULL,
    version   text COLLATE "C" NOT NULL,
    active    boolean NOT NULL,
    added_at  bigint NOT NULL,
    component bytea NOT NULL
);

CREATE TABLE schedules (
    name text COLLATE "C" PRIMARY KEY,
    body text COLLATE "C" NOT NULL
);

CREATE TABLE policies (
    name text COLLATE "C" PRIMARY KEY,
    body text COLLATE "C" NOT NULL
);

-- Keys that the engine makes for itself.
CREATE TABLE secrets (
    name text COLLATE "C" PRIMARY KEY,
    body text COLLATE "C" NOT NULL
);

-- How often graphs, plugins, policies and schedules were changed, so that engines see that they must read them again.
CREATE TABLE changes (
    name    text COLLATE "C" PRIMARY KEY,
    counter bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO changes (name, counter) VALUES ('graphs', 0), ('plugins', 0), ('policies', 0), ('schedules', 0);

-- A group of runs: how many are active, and how many may be, as the run that was created last has it.
CREATE TABLE groups (
    name       text COLLATE "C" PRIMARY KEY,
    active     bigint NOT NULL,
    run_limit  integer,
    created_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Commands to runs that other engines own, until they are answered.
CREATE SEQUENCE command_ids;

CREATE TABLE inbox (
    run    uuid NOT NULL,
    id     bigint NOT NULL DEFAULT nextval('command_ids'),
    sender bigint NOT NULL,
    body   text COLLATE "C" NOT NULL,
    PRIMARY KEY (run, id)
);

CREATE INDEX inbox_by_id ON inbox (id);

-- The answers to commands, until their senders take them.
CREATE TABLE answers (
    id     bigint PRIMARY KEY,
    sender bigint NOT NULL,
    body   text COLLATE "C" NOT NULL
);

CREATE INDEX answers_of_sender ON answers (sender);

-- The engines that want to know of a run's new events.
CREATE TABLE watched (
    run    uuid NOT NULL,
    engine bigint NOT NULL,
    PRIMARY KEY (run, engine)
);

CREATE INDEX watched_by_engine ON watched (engine);

-- One row: the engine that does the housekeeping of the whole store.
CREATE TABLE housekeeping (
    engine bigint
) WITH (fillfactor = 10);

INSERT INTO housekeeping (engine) VALUES (NULL);
