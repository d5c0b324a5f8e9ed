//! The ownership of runs in a shared store.
//!
//! Each statement is a transaction of its own and checks the engine's row first. A claim reads a partial index that has
//! exactly the runs that can be claimed, locks at most as many as it claims, and skips those that another engine locks.

use std::sync::Mutex;

use heddle_kernel::{RunId, Timestamp};
use heddle_runtime::ports::{
    Changes, Claim, CommandAnswer, CommandId, EngineId, EngineRow, Joined, NewCommand, NewEngine, OwnerError,
    QueuedRun, Renewed, StoreError, StoredCommand,
};
use tokio::time::{Duration, Instant};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    connect::{Readers, Values},
    control::Control,
    exclusive::JOIN_LOCK,
    read::{count, queued_run},
    rows::{get, text},
    signals::Received,
};

/// The engine's row, locked so that it cannot be deleted before the statement is committed.
const ME: &str = "WITH me AS MATERIALIZED (SELECT id FROM engines WHERE id = $1 FOR KEY SHARE)";

/// Milliseconds since 1970 at the start of the statement.
const NOW: &str = "(extract(epoch FROM statement_timestamp()) * 1000)::bigint";

/// How a run that changes its owner counts in its group: unless it is over.
const COUNTED: &str = "(runs.grp IS NOT NULL AND runs.status NOT IN ('finished', 'failed', 'cancelled'))";

/// How long the length of the queue is remembered.
const QUEUE_LEN_FOR: Duration = Duration::from_secs(1);

/// How many batches of orphaned runs one claim looks at for one that runs.
const ORPHAN_BATCHES: usize = 8;

type Result<T> = std::result::Result<T, OwnerError>;

/// The ownership of runs in a shared store.
pub(super) struct Owners {
    control: Control,
    received: Received,
    queue_len: Mutex<Option<(Instant, usize, usize)>>,
}

impl Owners {
    pub(super) fn new(control: Control, received: Received) -> Self {
        Self {
            control,
            received,
            queue_len: Mutex::default(),
        }
    }

    /// The one row of a statement whose first column says whether the engine's row exists.
    async fn checked(&self, sql: &str, values: Values<'_>) -> Result<Row> {
        let row = self.control.row(&format!("{ME} {sql}"), values).await?;
        let row = row.ok_or_else(|| StoreError::Failed("a statement returned no row".to_owned()))?;
        match get::<bool>(&row, 0)? {
            true => Ok(row),
            false => Err(OwnerError::Fenced),
        }
    }

    pub(super) async fn join(&self, engine: NewEngine) -> std::result::Result<Joined, StoreError> {
        let none = || StoreError::Failed("a statement returned no row".to_owned());
        let sql = format!(
            "INSERT INTO engines (name, version, lease_ms, lease_until)
             VALUES ($1, $2, $3::bigint, clock_timestamp() + $3::bigint * interval '1 millisecond') RETURNING id, {NOW}"
        );
        let lease = i64::try_from(engine.lease.as_millis()).unwrap_or(i64::MAX);
        let row = self
            .control
            .row(&sql, &[&&*engine.name, &&*engine.version, &lease])
            .await?;
        let row = row.ok_or_else(none)?;
        let (id, now) = (EngineId(get(&row, 0)?), Timestamp(get(&row, 1)?));
        // Waits for an engine that joins alone at this moment. One of the two sees the other.
        self.control
            .row("SELECT pg_advisory_xact_lock_shared($1)", &[&JOIN_LOCK])
            .await?;
        let sql = "SELECT name FROM engines WHERE exclusive AND lease_until >= clock_timestamp() LIMIT 1";
        if let Some(row) = self.control.row(sql, &[]).await? {
            let other: String = text(&row, 0)?;
            self.control
                .row("DELETE FROM engines WHERE id = $1", &[&id.0])
                .await?;
            return Err(StoreError::Unavailable(format!(
                "the engine {other} uses the store alone"
            )));
        }
        self.received.listen_for(id.0);
        // The next statement opens a connection that listens for the new id.
        self.control.close().await;
        Ok(Joined {
            engine: id,
            now: Some(now),
        })
    }

    pub(super) async fn renew(&self, engine: EngineId, applied: Changes) -> Result<Renewed> {
        let sql = format!(
            "UPDATE engines SET lease_until = clock_timestamp() + lease_ms * interval '1 millisecond',
                 graphs = $2, plugins = $3, policies = $4, schedules = $5
             WHERE id = $1 RETURNING {NOW}, draining"
        );
        let [graphs, plugins, policies, schedules] = [
            applied.graphs,
            applied.plugins,
            applied.policies,
            applied.schedules,
        ]
        .map(u64::cast_signed);
        let row = self
            .control
            .row(&sql, &[&engine.0, &graphs, &plugins, &policies, &schedules])
            .await?;
        let row = row.ok_or(OwnerError::Fenced)?;
        Ok(Renewed {
            now: Some(Timestamp(get(&row, 0)?)),
            is_drain_requested: get(&row, 1)?,
        })
    }

    pub(super) async fn leave(&self, engine: EngineId) -> Result<()> {
        let sql = "WITH gone AS (DELETE FROM engines WHERE id = $1 RETURNING id),
                       unwatched AS (DELETE FROM watched USING gone WHERE watched.engine = gone.id),
                       unanswered AS (DELETE FROM answers USING gone WHERE answers.sender = gone.id)
                   SELECT pg_notify('heddle', 'work') FROM gone";
        match self.control.row(sql, &[&engine.0]).await? {
            Some(_) => Ok(()),
            None => Err(OwnerError::Fenced),
        }
    }

    pub(super) async fn request_drain(&self, name: &str) -> std::result::Result<usize, StoreError> {
        let sql = "UPDATE engines SET draining = true WHERE name = $1 RETURNING id";
        Ok(self.control.rows(sql, &[&name]).await?.len())
    }

    pub(super) async fn claim_housekeeping(&self, engine: EngineId) -> Result<bool> {
        let sql = ", taken AS (UPDATE housekeeping SET engine = me.id FROM me
                       WHERE NOT EXISTS (SELECT FROM engines e WHERE e.id = housekeeping.engine) RETURNING 1)
                   SELECT EXISTS (SELECT FROM me),
                       EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM housekeeping WHERE engine = $1)";
        let row = self.checked(sql, &[&engine.0]).await?;
        Ok(get(&row, 1)?)
    }

    pub(super) async fn claim(&self, engine: EngineId, run: RunId) -> Result<Claim> {
        match self.try_claim(engine, run).await? {
            Claim::OwnedBy(other) => {
                // The owner may be dead without anybody having noticed.
                match self.bury().await?.contains(&other) {
                    true => self.try_claim(engine, run).await,
                    false => Ok(Claim::OwnedBy(other)),
                }
            }
            claim => Ok(claim),
        }
    }

    async fn try_claim(&self, engine: EngineId, run: RunId) -> Result<Claim> {
        let sql = format!(
            ", taken AS (UPDATE runs SET engine = me.id, counted = {COUNTED},
                     counted_by = {COUNTED}::int - runs.counted::int
                 FROM me WHERE runs.id = $2 AND (runs.engine IS NULL OR runs.engine = me.id
                     OR NOT EXISTS (SELECT FROM engines e WHERE e.id = runs.engine))
                 RETURNING runs.grp, runs.counted_by),
             grouped AS (UPDATE groups SET active = active + taken.counted_by FROM taken
                 WHERE groups.name = taken.grp AND taken.counted_by <> 0)
             SELECT EXISTS (SELECT FROM me), EXISTS (SELECT FROM taken), r.id IS NOT NULL, r.engine
             FROM (SELECT) AS one LEFT JOIN runs r ON r.id = $2"
        );
        let row = self.checked(&sql, &[&engine.0, &run.0]).await?;
        Ok(
            match (
                get::<bool>(&row, 1)?,
                get::<bool>(&row, 2)?,
                get::<Option<i64>>(&row, 3)?,
            ) {
                (true, ..) => Claim::Owned,
                (false, true, Some(other)) => Claim::OwnedBy(EngineId(other)),
                // The run was created or released after the statement began to read.
                (false, true, None) => Claim::OwnedBy(EngineId(0)),
                (false, false, _) => Claim::Absent,
            },
        )
    }

    pub(super) async fn claim_due(&self, engine: EngineId, limit: usize) -> Result<Vec<RunId>> {
        let sql = format!(
            ", due AS MATERIALIZED (SELECT id FROM runs WHERE wake_at <= {NOW} AND engine IS NULL
                 ORDER BY wake_at, id LIMIT $2 FOR UPDATE SKIP LOCKED),
             taken AS (UPDATE runs SET engine = me.id FROM me, due WHERE runs.id = due.id RETURNING runs.id, runs.wake_at)
             SELECT EXISTS (SELECT FROM me), ARRAY(SELECT id FROM taken ORDER BY wake_at, id)"
        );
        let row = self.checked(&sql, &[&engine.0, &count(limit)]).await?;
        Ok(get::<Vec<Uuid>>(&row, 1)?.into_iter().map(RunId).collect())
    }

    /// Takes the first runs without a group, and the first of each group that is not full. The rows of the groups are checked
    /// again when they are locked: a group that another engine has filled meanwhile is left out.
    pub(super) async fn claim_queued(&self, engine: EngineId, limit: usize) -> Result<Vec<QueuedRun>> {
        let sql = format!(
            "{ME}, first AS MATERIALIZED (
                 SELECT id, priority FROM (
                     (SELECT id, priority FROM runs WHERE status = 'queued' AND engine IS NULL AND grp IS NULL
                      ORDER BY priority DESC, id LIMIT $2)
                     UNION ALL
                     SELECT r.id, r.priority FROM groups g CROSS JOIN LATERAL (
                         SELECT id, priority FROM runs WHERE status = 'queued' AND engine IS NULL AND grp = g.name
                         ORDER BY priority DESC, id LIMIT least($2, g.run_limit - g.active)) AS r
                     WHERE g.run_limit IS NULL OR g.active < g.run_limit) AS all_first
                 ORDER BY priority DESC, id LIMIT $2),
             locked AS MATERIALIZED (
                 SELECT r.id, r.grp FROM first JOIN runs r ON r.id = first.id
                 WHERE r.status = 'queued' AND r.engine IS NULL FOR UPDATE OF r SKIP LOCKED),
             counts AS (SELECT grp, count(*) AS more FROM locked WHERE grp IS NOT NULL GROUP BY grp),
             grouped AS (UPDATE groups g SET active = g.active + counts.more FROM counts, me
                 WHERE g.name = counts.grp AND (g.run_limit IS NULL OR g.active + counts.more <= g.run_limit)
                 RETURNING g.name),
             taken AS (UPDATE runs SET engine = me.id, counted = runs.grp IS NOT NULL, counted_by = 0
                 FROM me, locked WHERE runs.id = locked.id
                     AND (locked.grp IS NULL OR locked.grp IN (SELECT name FROM grouped))
                 RETURNING runs.id, runs.priority, runs.grp, runs.group_limit)
             SELECT t.id, t.priority, t.grp, t.group_limit,
                 (SELECT octet_length(body) FROM events WHERE run = t.id ORDER BY first_seq LIMIT 1),
                 EXISTS (SELECT FROM me)
             FROM (SELECT) AS one LEFT JOIN taken t ON true ORDER BY t.priority DESC, t.id"
        );
        let rows = self.control.rows(&sql, &[&engine.0, &count(limit)]).await?;
        let first = rows.first().map(|row| get::<bool>(row, 5)).transpose()?;
        if first == Some(false) {
            return Err(OwnerError::Fenced);
        }
        let taken = rows
            .iter()
            .filter(|row| matches!(get::<Option<Uuid>>(row, 0), Ok(Some(_))));
        Ok(taken.map(queued_run).collect::<std::result::Result<_, _>>()?)
    }

    pub(super) async fn claim_orphaned(&self, engine: EngineId, limit: usize) -> Result<Vec<RunId>> {
        self.bury().await?;
        let sql = ", free AS MATERIALIZED (SELECT id FROM runs WHERE status = 'running' AND engine IS NULL
                       ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
                   taken AS (UPDATE runs SET engine = me.id FROM me, free WHERE runs.id = free.id RETURNING runs.id)
                   SELECT EXISTS (SELECT FROM me), ARRAY(SELECT id FROM taken ORDER BY id)";
        let row = self.checked(sql, &[&engine.0, &count(limit)]).await?;
        let mut claimed = get::<Vec<Uuid>>(&row, 1)?;
        for _ in 0..ORPHAN_BATCHES {
            let left = limit.saturating_sub(claimed.len());
            if left == 0 {
                break;
            }
            let (running, others) = self.claim_of_dead(engine, left).await?;
            claimed.extend(&running);
            if running.is_empty() && others == 0 {
                break;
            }
        }
        Ok(claimed.into_iter().map(RunId).collect())
    }

    /// Claims runs whose owner has no row, and releases those that are not running. Returns the claimed ones, and how many
    /// were released. The owners are found with one look into the index for each.
    async fn claim_of_dead(&self, engine: EngineId, limit: usize) -> Result<(Vec<Uuid>, i64)> {
        let sql = ", owners AS (
                WITH RECURSIVE found AS (
                    (SELECT engine FROM runs WHERE engine IS NOT NULL ORDER BY engine LIMIT 1)
                    UNION ALL
                    SELECT (SELECT r.engine FROM runs r WHERE r.engine > found.engine ORDER BY r.engine LIMIT 1)
                    FROM found WHERE found.engine IS NOT NULL)
                SELECT engine FROM found WHERE engine IS NOT NULL
                    AND NOT EXISTS (SELECT FROM engines e WHERE e.id = found.engine)),
            dead AS MATERIALIZED (SELECT r.id FROM owners CROSS JOIN LATERAL (
                SELECT id FROM runs WHERE runs.engine = owners.engine ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED) AS r
                LIMIT $2),
            taken AS (UPDATE runs SET engine = CASE WHEN runs.status = 'running' THEN me.id END,
                    counted = runs.counted AND runs.status <> 'queued',
                    counted_by = (runs.counted AND runs.status <> 'queued')::int - runs.counted::int
                FROM me, dead WHERE runs.id = dead.id RETURNING runs.id, runs.engine, runs.grp, runs.counted_by),
            counts AS (SELECT grp, sum(counted_by) AS more FROM taken WHERE counted_by <> 0 GROUP BY grp),
            grouped AS (UPDATE groups SET active = active + counts.more FROM counts WHERE groups.name = counts.grp)
            SELECT EXISTS (SELECT FROM me), ARRAY(SELECT id FROM taken WHERE engine IS NOT NULL ORDER BY id),
                (SELECT count(*) FROM taken WHERE engine IS NULL)";
        let row = self.checked(sql, &[&engine.0, &count(limit)]).await?;
        Ok((get(&row, 1)?, get(&row, 2)?))
    }

    /// Deletes the rows of engines whose leases have ended. Waits until their open transactions have ended.
    async fn bury(&self) -> std::result::Result<Vec<EngineId>, StoreError> {
        let sql = "WITH gone AS (DELETE FROM engines WHERE lease_until < clock_timestamp() RETURNING id),
                       unwatched AS (DELETE FROM watched USING gone WHERE watched.engine = gone.id),
                       unanswered AS (DELETE FROM answers USING gone WHERE answers.sender = gone.id)
                   SELECT id FROM gone";
        let ended = "SELECT 1 FROM engines WHERE lease_until < clock_timestamp() LIMIT 1";
        if self.control.row(ended, &[]).await?.is_none() {
            return Ok(Vec::new());
        }
        let rows = self.control.rows(sql, &[]).await?;
        rows.iter().map(|row| get(row, 0).map(EngineId)).collect()
    }

    pub(super) async fn release(&self, engine: EngineId, runs: &[RunId]) -> Result<()> {
        let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
        let sql = ", released AS (UPDATE runs SET engine = NULL, counted = runs.counted AND runs.status <> 'queued',
                    counted_by = (runs.counted AND runs.status <> 'queued')::int - runs.counted::int
                FROM me WHERE runs.id = ANY($2) AND runs.engine = me.id RETURNING runs.grp, runs.counted_by),
            counts AS (SELECT grp, sum(counted_by) AS more FROM released WHERE counted_by <> 0 GROUP BY grp),
            grouped AS (UPDATE groups SET active = active + counts.more FROM counts WHERE groups.name = counts.grp)
            SELECT EXISTS (SELECT FROM me), pg_notify('heddle', 'work')";
        self.checked(sql, &[&engine.0, &ids]).await.map(|_| ())
    }

    pub(super) async fn queue_len(
        &self,
        readers: &Readers,
        limit: usize,
    ) -> std::result::Result<usize, StoreError> {
        let known = *self
            .queue_len
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, len, up_to)) = known
            && at.elapsed() < QUEUE_LEN_FOR
            && (limit <= up_to || len < up_to)
        {
            return Ok(len.min(limit));
        }
        let sql = "SELECT (SELECT count(*) FROM (SELECT FROM runs
                       WHERE status = 'queued' AND engine IS NULL AND grp IS NULL LIMIT $1) AS single)
                 + (SELECT count(*) FROM (SELECT FROM runs
                       WHERE status = 'queued' AND engine IS NULL AND grp IS NOT NULL LIMIT $1) AS grouped)";
        let row = readers.row(sql, &[&count(limit)]).await?;
        let len: i64 = row.map_or(Ok(0), |row| get(&row, 0))?;
        let len = usize::try_from(len).unwrap_or(0).min(limit);
        let remembered = Some((Instant::now(), len, limit));
        *self
            .queue_len
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = remembered;
        Ok(len)
    }

    pub(super) async fn send_command(&self, engine: EngineId, command: NewCommand) -> Result<CommandId> {
        let sql =
            ", sent AS (INSERT INTO inbox (run, sender, body) SELECT $2, me.id, $3 FROM me RETURNING id)
                   SELECT EXISTS (SELECT FROM me), (SELECT id FROM sent),
                       (SELECT pg_notify('heddle_' || engine, 'commands') IS NULL FROM runs
                        WHERE id = $2 AND engine IS NOT NULL)";
        let row = self
            .checked(sql, &[&engine.0, &command.run.0, &&*command.body])
            .await?;
        Ok(CommandId(get(&row, 1)?))
    }

    pub(super) async fn commands(
        &self,
        engine: EngineId,
        after: CommandId,
        limit: usize,
    ) -> Result<Vec<StoredCommand>> {
        let sql = format!(
            "{ME} SELECT EXISTS (SELECT FROM me), i.id, i.run, i.body FROM (SELECT) AS one LEFT JOIN (
                 SELECT inbox.id, inbox.run, inbox.body FROM inbox JOIN runs r ON r.id = inbox.run
                 WHERE r.engine = $1 AND inbox.id > $2 ORDER BY inbox.id LIMIT $3) AS i ON true ORDER BY i.id"
        );
        let rows = self
            .control
            .rows(&sql, &[&engine.0, &after.0, &count(limit)])
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            if !get::<bool>(row, 0)? {
                return Err(OwnerError::Fenced);
            }
            if let Some(id) = get::<Option<i64>>(row, 1)? {
                found.push(StoredCommand {
                    id: CommandId(id),
                    run: RunId(get(row, 2)?),
                    body: text(row, 3)?,
                });
            }
        }
        Ok(found)
    }

    pub(super) async fn refuse_command(&self, engine: EngineId, answer: CommandAnswer) -> Result<()> {
        let sql = ", gone AS (DELETE FROM inbox USING me WHERE inbox.id = $2 RETURNING inbox.id, inbox.sender),
                   answered AS (INSERT INTO answers (id, sender, body) SELECT id, sender, $3 FROM gone)
                   SELECT EXISTS (SELECT FROM me), (SELECT pg_notify('heddle_' || sender, 'answers') IS NULL FROM gone)";
        self.checked(sql, &[&engine.0, &answer.id.0, &&*answer.body])
            .await
            .map(|_| ())
    }

    pub(super) async fn take_answers(&self, engine: EngineId) -> Result<Vec<CommandAnswer>> {
        let sql = ", taken AS (DELETE FROM answers USING me WHERE answers.sender = me.id RETURNING answers.id, answers.body)
                   SELECT EXISTS (SELECT FROM me), ARRAY(SELECT id FROM taken ORDER BY id),
                       ARRAY(SELECT body FROM taken ORDER BY id)";
        let row = self.checked(sql, &[&engine.0]).await?;
        let (ids, bodies): (Vec<i64>, Vec<String>) = (get(&row, 1)?, get(&row, 2)?);
        let answers = ids.into_iter().zip(bodies).map(|(id, body)| CommandAnswer {
            id: CommandId(id),
            body: body.into(),
        });
        Ok(answers.collect())
    }

    pub(super) async fn withdraw_command(&self, engine: EngineId, command: CommandId) -> Result<bool> {
        let sql = ", gone AS (DELETE FROM inbox USING me WHERE inbox.id = $2 RETURNING inbox.id),
                   unanswered AS (DELETE FROM answers USING me WHERE answers.id = $2)
                   SELECT EXISTS (SELECT FROM me), EXISTS (SELECT FROM gone)";
        let row = self.checked(sql, &[&engine.0, &command.0]).await?;
        Ok(get(&row, 1)?)
    }

    pub(super) async fn watch(&self, engine: EngineId, run: RunId) -> Result<()> {
        let sql =
            ", added AS (INSERT INTO watched (run, engine) SELECT $2, me.id FROM me ON CONFLICT DO NOTHING)
                   SELECT EXISTS (SELECT FROM me)";
        self.checked(sql, &[&engine.0, &run.0]).await.map(|_| ())
    }

    pub(super) async fn unwatch(&self, engine: EngineId, run: RunId) -> Result<()> {
        let sql = ", gone AS (DELETE FROM watched USING me WHERE watched.run = $2 AND watched.engine = me.id)
                   SELECT EXISTS (SELECT FROM me)";
        self.checked(sql, &[&engine.0, &run.0]).await.map(|_| ())
    }
}

/// All engines that have a row.
pub(super) async fn engines(readers: &Readers) -> std::result::Result<Vec<EngineRow>, StoreError> {
    let sql = "SELECT id, name, version, (extract(epoch FROM started_at) * 1000)::bigint,
                   (extract(epoch FROM lease_until) * 1000)::bigint, lease_until >= clock_timestamp(), draining,
                   (SELECT count(*) FROM runs WHERE runs.engine = engines.id), graphs, plugins, policies, schedules
               FROM engines ORDER BY id";
    let read = |row: &Row| {
        let number = |at: usize| get::<i64>(row, at).map(i64::cast_unsigned);
        Ok(EngineRow {
            id: EngineId(get(row, 0)?),
            name: text(row, 1)?,
            version: text(row, 2)?,
            joined_at: Timestamp(get(row, 3)?),
            lease_until: Timestamp(get(row, 4)?),
            is_live: get(row, 5)?,
            is_drain_requested: get(row, 6)?,
            runs: number(7)?,
            applied: Changes {
                graphs: number(8)?,
                plugins: number(9)?,
                policies: number(10)?,
                schedules: number(11)?,
            },
        })
    };
    readers.rows(sql, &[]).await?.iter().map(read).collect()
}

/// The counters of changes.
pub(super) async fn changes(readers: &Readers) -> std::result::Result<Changes, StoreError> {
    let mut changes = Changes::default();
    for row in readers.rows("SELECT name, counter FROM changes", &[]).await? {
        let counter = get::<i64>(&row, 1)?.cast_unsigned();
        match get::<&str>(&row, 0)? {
            "graphs" => changes.graphs = counter,
            "plugins" => changes.plugins = counter,
            "policies" => changes.policies = counter,
            "schedules" => changes.schedules = counter,
            _ => {}
        }
    }
    Ok(changes)
}
