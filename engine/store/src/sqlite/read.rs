//! Queries on committed data. They use a small pool of connections on blocking threads.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use heddle_json::{Json, object::json};
use heddle_kernel::{Digest, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    GraphRow, GraphSummary, GroupCounts, PluginRow, PluginSummary, PolicyRow, QueuedRun, Request, RunRow,
    RunSnapshot, ScheduleRow, SecretText, StoreError, Usage,
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use tokio::sync::Semaphore;

use super::{
    batch::scope,
    list, open,
    rows::{graph_row, graph_summary, plugin_row, run_id, run_row},
    store_error,
};
use crate::codec;

/// The size in bytes from which a page of events takes no further event.
const PAGE_BYTES: usize = 1024 * 1024;

/// Run ids sort by start time, except those from a machine with another clock. So a search for runs that began before
/// some time ends after this many consecutive later runs.
const LATER_IN_A_ROW: usize = 10_000;

pub(super) const RUN: &str =
    "id, graph, status, created_at, finished_at, error, wake_at, priority, grp, origin,
    (SELECT last_seq FROM events WHERE run = runs.id ORDER BY first_seq DESC LIMIT 1),
    (SELECT name FROM graphs WHERE id = runs.graph)";
// Sorted by the query, like the queued runs: an engine reads both once, when it starts.
const UNFINISHED: &str = "SELECT id FROM runs
    WHERE origin_kind IN ('api', 'schedule', 'fork', 'import') AND status = 'running' ORDER BY id";
const DUE: &str = "SELECT id FROM runs WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2";
const NEXT_DUE: &str = "SELECT wake_at FROM runs WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1";
// The length of a body is read without the body.
const QUEUED: &str = "SELECT id, priority, grp, group_limit,
        (SELECT length(body) FROM events WHERE run = runs.id ORDER BY first_seq LIMIT 1) FROM runs
    WHERE origin_kind IN ('api', 'schedule', 'fork', 'import') AND status = 'queued'
    ORDER BY priority DESC, id";
const GROUPS: &str = "SELECT grp, count(*) FROM runs
    WHERE grp IS NOT NULL AND status IN ('running', 'waiting', 'paused') GROUP BY grp";
const SNAPSHOTS: &str = "SELECT seq FROM snapshots WHERE run = ?1 AND seq <= ?2
    AND NOT EXISTS (SELECT 1 FROM trash WHERE run = ?1) ORDER BY seq DESC";
const REQUEST: &str = "SELECT digest, run, seq FROM requests WHERE scope = ?1 AND key = ?2";
const RUNS_BY_ID: &str = "SELECT id, created_at FROM runs WHERE id > ?1 ORDER BY id";
const EVENTS: &str = "SELECT first_seq, last_seq, body, sum FROM events
    WHERE run = ?1 AND last_seq > ?2 AND first_seq >= coalesce(
        (SELECT max(first_seq) FROM events WHERE run = ?1 AND first_seq <= ?2 + 1), 0)
    AND NOT EXISTS (SELECT 1 FROM trash WHERE run = ?1)
    ORDER BY first_seq";
const GRAPH: &str = "position, id, name, definition, created_at, functions";
const PLUGIN: &str = "digest, name, version, active, added_at, component";

/// A pool of connections that read.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf, count: usize) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            permits: Semaphore::new(count.max(1)),
        }
    }

    /// Runs a query on a blocking thread, as soon as a connection is free.
    pub(super) async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("this semaphore is never closed");
        let readers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let idle = readers.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open::reader(&readers.path).map_err(|error| store_error(&error))?,
            };
            let answer = query(&connection);
            if answer.is_ok() {
                readers.idle().push(connection);
            }
            answer
        });
        read.await
            .unwrap_or_else(|error| Err(StoreError::Failed(format!("a query was aborted: {error}"))))
    }

    /// Closes the idle connections; later reads open new ones.
    pub(super) fn close_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All rows of a query.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let query =
        || -> rusqlite::Result<Vec<T>> { connection.prepare_cached(sql)?.query_map(values, read)?.collect() };
    query().map_err(|error| store_error(&error))
}

/// The first row of a query, if there is one.
pub(super) fn row<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let query = || connection.prepare_cached(sql)?.query_row(values, read).optional();
    query().map_err(|error| store_error(&error))
}

pub(super) fn graph(connection: &Connection, id: &GraphId) -> Result<Option<GraphRow>, StoreError> {
    let sql = format!("SELECT {GRAPH} FROM graphs WHERE id = ?1");
    Ok(row(connection, &sql, params![&*id.0], graph_row)?.map(|(_, graph)| graph))
}

pub(super) fn graph_named(connection: &Connection, name: &str) -> Result<Option<GraphRow>, StoreError> {
    let sql =
        format!("SELECT {GRAPH} FROM graphs WHERE name = ?1 ORDER BY created_at DESC, position DESC LIMIT 1");
    Ok(row(connection, &sql, params![name], graph_row)?.map(|(_, graph)| graph))
}

pub(super) fn graphs(
    connection: &Connection,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<(i64, GraphSummary)>, StoreError> {
    let sql = "SELECT position, id, name, created_at FROM graphs WHERE position < ?1
        ORDER BY position DESC LIMIT ?2";
    rows(
        connection,
        sql,
        params![after.unwrap_or(i64::MAX), count(limit)],
        graph_summary,
    )
}

/// The count and size of graphs and plugins. SQLite stores lengths in the row headers, so no text or component is read.
pub(super) fn usage(connection: &Connection) -> Result<Usage, StoreError> {
    let sum = |sql: &str| {
        let found = row(connection, sql, &[], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
        let (count, bytes) = found.unwrap_or_default();
        Ok::<_, StoreError>((count.cast_unsigned(), bytes.cast_unsigned()))
    };
    let (graphs, graph_bytes) = sum("SELECT count(*), ifnull(sum(octet_length(definition)), 0) FROM graphs")?;
    let (plugins, plugin_bytes) =
        sum("SELECT count(*), ifnull(sum(octet_length(component)), 0) FROM plugins")?;
    Ok(Usage {
        graphs,
        graph_bytes,
        plugins,
        plugin_bytes,
    })
}

pub(super) fn run(connection: &Connection, id: RunId) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("SELECT {RUN} FROM runs WHERE id = ?1");
    row(connection, &sql, params![id.0.as_bytes().as_slice()], run_row).map_err(|error| with_run(id, error))
}

/// Adds the id of the run to the message of a damaged row.
fn with_run(run: RunId, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(message) => StoreError::Damaged(format!("run {run}: {message}")),
        other => other,
    }
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<RunId>, StoreError> {
    indexed(connection, UNFINISHED, &[], run_id)
}

pub(super) fn queued(connection: &Connection) -> Result<Vec<QueuedRun>, StoreError> {
    indexed(connection, QUEUED, &[], |row| {
        Ok(QueuedRun {
            run: run_id(row)?,
            priority: row.get(1)?,
            group: row.get(2)?,
            group_limit: row.get(3)?,
            bytes: row.get::<_, Option<i64>>(4)?.unwrap_or_default().unsigned_abs(),
        })
    })
}

pub(super) fn groups(connection: &Connection) -> Result<GroupCounts, StoreError> {
    indexed(connection, GROUPS, &[], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)? as usize))
    })
}

pub(super) fn due(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
    indexed(connection, DUE, params![now.0, count(limit)], run_id)
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let first = indexed(connection, NEXT_DUE, &[], |row| row.get(0).map(Timestamp))?;
    Ok(first.into_iter().next())
}

/// All rows of a query of `runs` that uses an index. If the index is damaged, reads the table without it.
fn indexed<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    rows(connection, sql, values, read).or_else(|error| match error {
        StoreError::Damaged(message) => {
            tracing::error!(%message, "an index is damaged; run `heddle store check` for details");
            rows(connection, &unindexed(sql), values, read)
        }
        other => Err(other),
    })
}

/// The same query without an index: SQLite uses no index for a column inside a function call.
fn unindexed(sql: &str) -> String {
    sql.replace(" origin_kind ", " ifnull(origin_kind, NULL) ")
        .replace(" status ", " ifnull(status, NULL) ")
        .replace(" wake_at ", " ifnull(wake_at, NULL) ")
}

pub(super) fn runs_before(
    connection: &Connection,
    before: Timestamp,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    let after = after.as_ref().map_or([].as_slice(), |run| run.0.as_bytes());
    let found_ids = || -> rusqlite::Result<Vec<RunId>> {
        let mut query = connection.prepare_cached(RUNS_BY_ID)?;
        let (mut found, mut rows, mut later) = (Vec::new(), query.query([after])?, 0);
        while found.len() < limit
            && later < LATER_IN_A_ROW
            && let Some(row) = rows.next()?
        {
            match row.get::<_, i64>(1)? < before.0 {
                true => {
                    found.push(run_id(row)?);
                    later = 0;
                }
                false => later += 1,
            }
        }
        Ok(found)
    };
    let found_ids = found_ids().map_err(|error| store_error(&error))?;
    let read = |id: RunId| list::by_id(connection, id.0.as_bytes()).transpose();
    found_ids.into_iter().filter_map(read).collect()
}

pub(super) fn snapshot(
    connection: &Connection,
    run: RunId,
    until: u64,
) -> Result<Option<RunSnapshot>, StoreError> {
    let id = run.0.as_bytes().as_slice();
    let until = until.min(i64::MAX as u64) as i64;
    let taken = rows(connection, SNAPSHOTS, params![id, until], |row| {
        row.get::<_, i64>(0)
    });
    for seq in skip_damaged(run, taken)?.unwrap_or_default() {
        let sql = "SELECT body, sum FROM snapshots WHERE run = ?1 AND seq = ?2";
        let read = row(connection, sql, params![id, seq], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
        });
        let read = read.and_then(|found| found.map(|(body, sum)| snapshot_body(run, body, sum)).transpose());
        if let Some(body) = skip_damaged(run, read)?.flatten() {
            let seq = seq as u64;
            return Ok(Some(RunSnapshot { seq, body }));
        }
    }
    Ok(None)
}

fn snapshot_body(run: RunId, body: Vec<u8>, sum: i64) -> Result<Json, StoreError> {
    codec::verify(run, &body, Some(sum)).map_err(StoreError::Damaged)?;
    let text = String::from_utf8(body).map_err(|error| StoreError::Damaged(error.to_string()))?;
    json(&text).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Logs a damaged snapshot and skips it: the run can be loaded from its events.
fn skip_damaged<T>(run: RunId, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Damaged(message)) => {
            tracing::warn!(%run, %message, "a snapshot of the run is damaged; using an older one");
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

pub(super) fn request(
    connection: &Connection,
    to: Option<RunId>,
    key: &str,
) -> Result<Option<Request>, StoreError> {
    let found = row(connection, REQUEST, params![scope(to.as_ref()), key], |row| {
        let run = RunId(uuid::Uuid::from_bytes(row.get(1)?));
        Ok((Digest(row.get(0)?), run, row.get::<_, i64>(2)?))
    })?;
    Ok(found.map(|(digest, run, seq)| Request {
        to,
        key: key.into(),
        digest,
        run,
        seq: seq as u64,
    }))
}

/// The graphs with a node that runs this graph, given by name or id.
pub(super) fn graphs_naming(
    connection: &Connection,
    named: &str,
    limit: usize,
) -> Result<Vec<GraphId>, StoreError> {
    let sql = "SELECT id, definition FROM graphs WHERE instr(definition, ?1) ORDER BY position";
    let query = || -> rusqlite::Result<Vec<GraphId>> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([codec::graph_reference(named)])?;
        let mut graphs = Vec::new();
        while let Some(row) = rows.next()?.filter(|_| graphs.len() < limit) {
            // A value in a node may have the same text.
            if codec::runs_graph(row.get_ref(1)?.as_str()?, named) {
                graphs.push(GraphId(row.get(0)?));
            }
        }
        Ok(graphs)
    };
    query().map_err(|error| store_error(&error))
}

/// A run with an event that names this graph, among the event rows after `after`. Also returns the last event row.
pub(super) fn run_naming(
    connection: &Connection,
    graph: &GraphId,
    after: i64,
) -> Result<(Option<RunId>, i64), StoreError> {
    let last = "SELECT coalesce(max(rowid), 0) FROM events";
    let last: Option<i64> = row(connection, last, &[], |row| row.get(0))?;
    let sql = "SELECT run, first_seq, last_seq, body FROM events WHERE rowid > ?1 AND instr(body, ?2)
               AND NOT EXISTS (SELECT 1 FROM trash WHERE trash.run = events.run)";
    let query = || -> rusqlite::Result<Option<RunId>> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![after, graph.0.as_bytes()])?;
        while let Some(row) = rows.next()? {
            let (first, last) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
            let mut names = false;
            // The state of a run may have the same text.
            let read = codec::decode(first, last, row.get_ref(3)?.as_bytes()?, |record, _| {
                names = record.event.names_graph(graph);
                !names
            });
            // A damaged row may name the graph.
            if names || read.is_err() {
                return run_id(row).map(Some);
            }
        }
        Ok(None)
    };
    let found = query().map_err(|error| store_error(&error))?;
    Ok((found, last.unwrap_or_default()))
}

/// The graphs that use a function of this component.
pub(super) fn graphs_with(
    connection: &Connection,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<GraphId>, StoreError> {
    let sql = "SELECT id FROM graphs WHERE instr(functions, ?1) ORDER BY position LIMIT ?2";
    rows(connection, sql, &[&&*digest.0, &count(limit)], |row| {
        Ok(GraphId(row.get(0)?))
    })
}

pub(super) fn policies(connection: &Connection) -> Result<Vec<PolicyRow>, StoreError> {
    let sql = "SELECT name, body FROM policies ORDER BY name";
    rows(connection, sql, &[], |row| {
        Ok(PolicyRow {
            name: row.get(0)?,
            body: row.get(1)?,
        })
    })
}

pub(super) fn secret(connection: &Connection, name: &str) -> Result<Option<SecretText>, StoreError> {
    let sql = "SELECT body FROM secrets WHERE name = ?1";
    let found = rows(connection, sql, &[&name], |row| Ok(SecretText(row.get(0)?)))?;
    Ok(found.into_iter().next())
}

pub(super) fn schedules(connection: &Connection) -> Result<Vec<ScheduleRow>, StoreError> {
    rows(
        connection,
        "SELECT name, body FROM schedules ORDER BY name",
        &[],
        |row| {
            Ok(ScheduleRow {
                name: row.get(0)?,
                body: row.get(1)?,
            })
        },
    )
}

pub(super) fn events(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<EventRecord>>, StoreError> {
    let mut events = Vec::new();
    if limit == 0 {
        return Ok(events);
    }
    let damaged = |message: String| with_run(run, StoreError::Damaged(message));
    let failed = |error: rusqlite::Error| with_run(run, store_error(&error));
    // The query starts at the row that contains the next event. If that row is missing, a later one comes first.
    let mut query = connection.prepare_cached(EVENTS).map_err(failed)?;
    let after = after.min(i64::MAX as u64 - 1);
    let mut chunks = query
        .query(params![run.0.as_bytes().as_slice(), after as i64])
        .map_err(failed)?;
    let (mut next, mut bytes) = (after + 1, 0);
    while let Some(chunk) = chunks.next().map_err(failed)? {
        let (first, last): (i64, i64) = (chunk.get(0).map_err(failed)?, chunk.get(1).map_err(failed)?);
        let (first, last) = (first as u64, last as u64);
        if first > next {
            return Err(damaged(format!("event {next} is missing")));
        }
        let body = chunk
            .get_ref(2)
            .map_err(failed)?
            .as_blob()
            .map_err(|error| damaged(error.to_string()))?;
        codec::verify(run, body, chunk.get(3).map_err(failed)?)
            .map_err(|problem| damaged(format!("events {first} to {last}: {problem}")))?;
        let mut full = false;
        codec::decode(first, last, body, |event, size| {
            if event.seq < next {
                return true;
            }
            next = event.seq + 1;
            bytes += size;
            events.push(Arc::new(event));
            full = events.len() >= limit || bytes >= PAGE_BYTES;
            !full
        })
        .map_err(damaged)?;
        if full {
            break;
        }
    }
    Ok(events)
}

pub(super) fn plugin(connection: &Connection, digest: &Digest) -> Result<Option<PluginRow>, StoreError> {
    row(
        connection,
        &format!("SELECT {PLUGIN} FROM plugins WHERE digest = ?1"),
        params![&*digest.0],
        plugin_row,
    )
}

pub(super) fn active_plugins(connection: &Connection) -> Result<Vec<PluginSummary>, StoreError> {
    let sql = "SELECT digest, name, version FROM plugins WHERE active ORDER BY position";
    rows(connection, sql, &[], |row| {
        Ok(PluginSummary {
            digest: Digest(row.get(0)?),
            name: row.get(1)?,
            version: row.get(2)?,
        })
    })
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use heddle_runtime::ports::OriginKind;

    use super::*;

    /// The query plan in a store without `ANALYZE` statistics.
    fn steps(sql: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let mut query = store
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("a query");
        let steps = query.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(|step| step.expect("a step of the plan")).collect()
    }

    /// The first step of a plan that does not sort.
    fn plan(sql: &str) -> String {
        let steps = steps(sql);
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );
        steps[0].clone()
    }

    #[test]
    fn active_and_waiting_runs_are_found_by_an_index() {
        assert_eq!(plan(DUE), "SEARCH runs USING COVERING INDEX runs_due (wake_at<?)");
        assert_eq!(
            plan(NEXT_DUE),
            "SEARCH runs USING COVERING INDEX runs_due (wake_at>?)"
        );
        assert_eq!(
            plan(GROUPS),
            "SEARCH runs USING COVERING INDEX runs_in_group (grp>?)"
        );
        // Sorted once, when an engine starts. An index for this order would cost every queued run.
        for sql in [UNFINISHED, QUEUED] {
            let found = steps(sql);
            assert_eq!(
                found[0],
                "SEARCH runs USING INDEX runs_by_kind (origin_kind=? AND status=?)"
            );
            let size = [
                "CORRELATED SCALAR SUBQUERY 1",
                "SEARCH events USING INDEX events_of_run (run=?)",
            ];
            let size = if sql == QUEUED { &size[..] } else { &[] };
            assert_eq!(found[1..], [size, &["USE TEMP B-TREE FOR ORDER BY"]].concat());
            let all = OriginKind::ALL
                .map(|kind| format!("'{}'", kind.as_str()))
                .join(", ");
            assert!(sql.contains(&format!("origin_kind IN ({all})")), "{sql}");
        }
    }

    #[test]
    fn active_and_waiting_runs_are_found_without_an_index_too() {
        for sql in [UNFINISHED, QUEUED, GROUPS, DUE, NEXT_DUE] {
            let found = steps(&unindexed(sql));
            assert_eq!(found[0], "SCAN runs", "{sql}");
        }
    }

    #[test]
    fn the_rows_of_a_run_are_found_by_an_index() {
        assert_eq!(
            plan(EVENTS),
            "SEARCH events USING INDEX events_of_run (run=? AND first_seq>?)"
        );
        assert_eq!(
            plan(SNAPSHOTS),
            "SEARCH snapshots USING COVERING INDEX snapshots_of_run (run=? AND seq<?)"
        );
        assert_eq!(
            plan(REQUEST),
            "SEARCH requests USING PRIMARY KEY (scope=? AND key=?)"
        );
        assert_eq!(plan(RUNS_BY_ID), "SEARCH runs USING PRIMARY KEY (id>?)");
        let with_run = "DELETE FROM requests WHERE run = ?1";
        assert_eq!(
            plan(with_run),
            "SEARCH requests USING INDEX requests_of_run (run=?)"
        );
    }
}
