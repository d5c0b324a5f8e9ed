-- Lists of runs: by graph, status, origin and time, each read from an index in the order in which it is shown.

-- What kind of thing started the run.
ALTER TABLE runs ADD COLUMN origin_kind TEXT GENERATED ALWAYS AS (
    CASE
        WHEN origin GLOB 'schedule:*' THEN 'schedule'
        WHEN origin GLOB 'fork:*' THEN 'fork'
        WHEN origin = 'import' THEN 'import'
        ELSE 'api'
    END
) VIRTUAL;

DROP INDEX runs_of_graph;
DROP INDEX runs_by_status;
DROP INDEX runs_held_of_graph;

-- The id follows in each of them, since it is the key of the table. In a range of one value and one status,
-- runs are in the order of a list; a list of several values or statuses merges their ranges.
CREATE INDEX runs_by_kind ON runs (origin_kind, status, created_at);
CREATE INDEX runs_of_graph ON runs (graph, status, created_at);
-- Most runs have no origin, and pay nothing for this one.
CREATE INDEX runs_of_origin ON runs (origin, status, created_at) WHERE origin IS NOT NULL;

PRAGMA user_version = 5;
