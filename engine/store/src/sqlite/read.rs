//! Reading: a few connections that see what is durable, each used on a thread that may block.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use heddle_kernel::{Digest, FailureKind, GraphId, Recorded, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{GraphRow, PluginRow, RunFilter, RunRow, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use tokio::sync::Semaphore;

use super::{open, store_error};
use crate::codec;

/// One answer's events take no further one from this many bytes on.
const PAGE_BYTES: usize = 1024 * 1024;

const RUN: &str = "id, graph, status, created_at, finished_at, error, wake_at,
    (SELECT last_seq FROM events WHERE run = runs.id ORDER BY first_seq DESC LIMIT 1)";
const UNFINISHED: &str = "SELECT id FROM runs WHERE status = 'running' AND status <> 'finished' ORDER BY id";
const DUE: &str = "SELECT id FROM runs WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2";
const NEXT_DUE: &str = "SELECT wake_at FROM runs WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1";
const GRAPH: &str = "position, id, name, definition, created_at";
const PLUGIN: &str = "digest, name, version, active, added_at, component";

/// The connections that read.
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

    /// Runs a query when a connection is free.
    pub(super) async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("nobody closes this semaphore");
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
            .unwrap_or_else(|error| Err(StoreError::Failed(format!("a query ended early: {error}"))))
    }

    /// Closes the connections that nobody uses; later reads open new ones.
    pub(super) fn close_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every row that a query gives.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let query =
        || -> rusqlite::Result<Vec<T>> { connection.prepare_cached(sql)?.query_map(values, read)?.collect() };
    query().map_err(|error| store_error(&error))
}

/// The row that a query gives, if it gives one.
fn row<T>(
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
) -> Result<Vec<(i64, GraphRow)>, StoreError> {
    let sql = format!("SELECT {GRAPH} FROM graphs WHERE position < ?1 ORDER BY position DESC LIMIT ?2");
    rows(
        connection,
        &sql,
        params![after.unwrap_or(i64::MAX), count(limit)],
        graph_row,
    )
}

pub(super) fn run(connection: &Connection, id: RunId) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("SELECT {RUN} FROM runs WHERE id = ?1");
    row(connection, &sql, params![id.0.as_bytes().as_slice()], run_row)
}

pub(super) fn runs(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    let last = [0xff; 16];
    let before = before.as_ref().map_or(&last, |run| run.0.as_bytes()).as_slice();
    let limit = count(limit);
    let mut values: Vec<&dyn ToSql> = vec![&before, &limit];
    let graph = filter.graph.as_ref().map(|graph| &*graph.0);
    if graph.is_some() {
        values.push(&graph);
    }
    rows(connection, &runs_sql(filter), &values, run_row)
}

/// The query for a list: of the runs before ?1, at most ?2, of the graph ?3 where there is one.
fn runs_sql(filter: &RunFilter) -> String {
    let mut conditions = String::from("id < ?1");
    if let Some(status) = filter.status {
        // In the text and not as a value: only so the indexes of the rare ones apply, and only
        // where the text says what they say.
        conditions.push_str(&format!(" AND status = '{}'", status.as_str()));
        if status != Status::Finished {
            conditions.push_str(" AND status <> 'finished'");
        }
    }
    if filter.graph.is_some() {
        // Of most statuses there are fewer runs than of a graph: the sign hides the graph's index.
        conditions.push_str(match filter.status {
            Some(Status::Running | Status::Failed | Status::Cancelled) => " AND +graph = ?3",
            None | Some(_) => " AND graph = ?3",
        });
    }
    format!("SELECT {RUN} FROM runs WHERE {conditions} ORDER BY id DESC LIMIT ?2")
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<RunId>, StoreError> {
    rows(connection, UNFINISHED, &[], run_id)
}

pub(super) fn due(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
    rows(connection, DUE, params![now.0, count(limit)], run_id)
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    row(connection, NEXT_DUE, &[], |row| row.get(0).map(Timestamp))
}

pub(super) fn events(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<Recorded>>, StoreError> {
    let mut events = Vec::new();
    if limit == 0 {
        return Ok(events);
    }
    let damaged = |message: String| StoreError::Damaged(format!("run {run}: {message}"));
    let failed = |error: rusqlite::Error| match store_error(&error) {
        StoreError::Damaged(message) => damaged(message),
        other => other,
    };
    // From the row that holds the next event, or else the one after it: then there is a gap.
    let sql = "SELECT first_seq, last_seq, body FROM events
               WHERE run = ?1 AND last_seq > ?2 AND first_seq >= coalesce(
                   (SELECT max(first_seq) FROM events WHERE run = ?1 AND first_seq <= ?2 + 1), 0)
               ORDER BY first_seq";
    let mut query = connection.prepare_cached(sql).map_err(failed)?;
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

pub(super) fn active_plugins(connection: &Connection) -> Result<Vec<PluginRow>, StoreError> {
    rows(
        connection,
        &format!("SELECT {PLUGIN} FROM plugins WHERE active ORDER BY position"),
        &[],
        plugin_row,
    )
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn graph_row(row: &Row<'_>) -> rusqlite::Result<(i64, GraphRow)> {
    Ok((
        row.get(0)?,
        GraphRow {
            id: GraphId(row.get(1)?),
            name: row.get(2)?,
            definition: row.get(3)?,
            created_at: Timestamp(row.get(4)?),
        },
    ))
}

fn run_id(row: &Row<'_>) -> rusqlite::Result<RunId> {
    Ok(RunId(uuid::Uuid::from_bytes(row.get(0)?)))
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let status = match row.get_ref(2)?.as_str()? {
        "running" => Status::Running,
        "waiting" => Status::Waiting,
        "finished" => Status::Finished,
        "failed" => Status::Failed,
        "cancelled" => Status::Cancelled,
        other => {
            let message = format!("no run has the status `{other}`").into();
            return Err(rusqlite::Error::FromSqlConversionFailure(
                2,
                rusqlite::types::Type::Text,
                message,
            ));
        }
    };
    let error: Option<String> = row.get(5)?;
    Ok(RunRow {
        id: run_id(row)?,
        graph: GraphId(row.get(1)?),
        status,
        created_at: Timestamp(row.get(3)?),
        finished_at: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        priority: 0,
        group: None,
        origin: None,
        wake_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        last_seq: row.get::<_, Option<i64>>(7)?.unwrap_or(0) as u64,
        error: error.map(|text| serde_json::from_str(&text).unwrap_or_else(|error| unreadable(&error))),
    })
}

/// Stands for an error that was damaged: the row still lists, and so do the others.
fn unreadable(error: &serde_json::Error) -> RunError {
    RunError {
        kind: FailureKind::Unreadable,
        message: format!("why the run failed can no longer be read in the store: {error}").into(),
        node: "".into(),
        step: 0,
        attempt: 0,
        data: None,
    }
}

fn plugin_row(row: &Row<'_>) -> rusqlite::Result<PluginRow> {
    Ok(PluginRow {
        digest: Digest(row.get(0)?),
        name: row.get(1)?,
        version: row.get(2)?,
        active: row.get(3)?,
        component: row.get_ref(5)?.as_blob()?.into(),
        added_at: Timestamp(row.get(4)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite would find the runs of a query, in a store that was never analysed.
    fn plan(sql: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let mut query = store
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("a query");
        let steps = query.raw_query().mapped(|row| row.get::<_, String>(3));
        let steps: Vec<String> = steps.map(|step| step.expect("a step of the plan")).collect();
        assert!(
            !steps.iter().any(|step| step.contains("TEMP B-TREE")),
            "{steps:?}"
        );
        steps[0].clone()
    }

    #[test]
    fn what_waits_and_what_runs_is_found_without_passing_by_the_rest() {
        assert_eq!(plan(DUE), "SEARCH runs USING COVERING INDEX runs_due (wake_at<?)");
        assert_eq!(
            plan(NEXT_DUE),
            "SEARCH runs USING COVERING INDEX runs_due (wake_at>?)"
        );
        assert_eq!(
            plan(UNFINISHED),
            "SEARCH runs USING COVERING INDEX runs_by_status (status=?)"
        );
    }

    #[test]
    fn a_list_is_found_by_what_it_is_filtered_by() {
        use Status::{Cancelled, Failed, Finished, Running, Waiting};
        let by_status = "INDEX runs_by_status (status=? AND id<?)";
        let by_graph = "INDEX runs_of_graph (graph=? AND id<?)";
        let waiting = "INDEX runs_waiting_of_graph (graph=? AND id<?)";
        let by_id = "PRIMARY KEY (id<?)";
        for (status, alone, with_graph) in [
            (None, by_id, by_graph),
            (Some(Finished), by_id, by_graph),
            (Some(Running), by_status, by_status),
            (Some(Waiting), by_status, waiting),
            (Some(Failed), by_status, by_status),
            (Some(Cancelled), by_status, by_status),
        ] {
            for (graph, index) in [(None, alone), (Some(GraphId("g".into())), with_graph)] {
                let found = plan(&runs_sql(&RunFilter { graph, status }));
                assert_eq!(found, format!("SEARCH runs USING {index}"), "{status:?}");
            }
        }
    }
}
