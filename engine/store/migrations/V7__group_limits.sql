-- The limit of a run's group, so that queued runs start after a restart without reading their graphs first.

-- How many runs of the group may be active, as the run's graph had it. Null for a run without a group, or of an older format.
ALTER TABLE runs ADD COLUMN group_limit INTEGER;

PRAGMA user_version = 7;
