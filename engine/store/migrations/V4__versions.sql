-- What the functions of a graph were found to be, and what plugins are granted over HTTP.

-- A JSON object from the name in the graph to the exact function; null where the graph is of an older format.
ALTER TABLE graphs ADD COLUMN functions TEXT;

CREATE TABLE policies (
    name TEXT PRIMARY KEY NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 4;
