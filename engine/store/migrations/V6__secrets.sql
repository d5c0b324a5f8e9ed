-- Keys that the engine makes for itself. A copy of the store that `heddle store backup` makes has none.

CREATE TABLE secrets (
    name TEXT PRIMARY KEY NOT NULL,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 6;
