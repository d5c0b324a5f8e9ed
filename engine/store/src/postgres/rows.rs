//! Converts rows of the tables to the types of the port.

use heddle_kernel::{Digest, FailureKind, GraphId, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{GraphRow, GraphSummary, PluginRow, RunRow, StoreError};
use tokio_postgres::Row;

use super::error::store_error;

/// The columns of [`run_row`], for `runs r`.
pub(super) const RUN: &str = "r.id, r.graph, r.status, r.created_at, r.finished_at, r.error, r.wake_at, r.priority, r.grp, \
    r.origin, r.last_seq, (SELECT name FROM graphs WHERE graphs.id = r.graph)";
/// The columns of [`graph_row`].
pub(super) const GRAPH: &str = "position, id, name, definition, created_at, functions";
/// The columns of [`plugin_row`].
pub(super) const PLUGIN: &str = "digest, name, version, active, added_at, component";

/// The value of a column.
pub(super) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(
    row: &'r Row,
    column: usize,
) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| store_error(&error))
}

/// A text of a column.
pub(super) fn text<T: for<'t> From<&'t str>>(row: &Row, column: usize) -> Result<T, StoreError> {
    get::<&str>(row, column).map(T::from)
}

/// A text of a column that may be null.
pub(super) fn optional<T: for<'t> From<&'t str>>(row: &Row, column: usize) -> Result<Option<T>, StoreError> {
    Ok(get::<Option<&str>>(row, column)?.map(T::from))
}

pub(super) fn run_id(row: &Row) -> Result<RunId, StoreError> {
    get(row, 0).map(RunId)
}

pub(super) fn run_row(row: &Row) -> Result<RunRow, StoreError> {
    let id = run_id(row)?;
    let name: &str = get(row, 2)?;
    let status = Status::ALL.into_iter().find(|status| status.as_str() == name);
    let status =
        status.ok_or_else(|| StoreError::Damaged(format!("run {id}: `{name}` is not a status of a run")))?;
    let error: Option<&str> = get(row, 5)?;
    Ok(RunRow {
        id,
        graph: GraphId(text(row, 1)?),
        graph_name: optional(row, 11)?,
        status,
        created_at: Timestamp(get(row, 3)?),
        finished_at: get::<Option<i64>>(row, 4)?.map(Timestamp),
        wake_at: get::<Option<i64>>(row, 6)?.map(Timestamp),
        priority: get(row, 7)?,
        group: optional(row, 8)?,
        origin: optional(row, 9)?,
        last_seq: get::<i64>(row, 10)? as u64,
        error: error.map(|text| serde_json::from_str(text).unwrap_or_else(|error| unreadable(&error))),
    })
}

/// Replaces the error of a run that cannot be parsed, so that the run is still listed.
fn unreadable(error: &serde_json::Error) -> RunError {
    RunError {
        kind: FailureKind::Unreadable,
        message: format!("the stored error of the run cannot be read: {error}").into(),
        node: "".into(),
        step: None,
        attempt: None,
        data: None,
    }
}

pub(super) fn graph_row(row: &Row) -> Result<GraphRow, StoreError> {
    let functions: Option<&str> = get(row, 5)?;
    let functions = functions.map(serde_json::from_str).transpose();
    let id = GraphId(text(row, 1)?);
    let damaged = |error: serde_json::Error| StoreError::Damaged(format!("graph {id}: {error}"));
    Ok(GraphRow {
        functions: functions.map_err(damaged)?.unwrap_or_default(),
        id,
        name: optional(row, 2)?,
        definition: text(row, 3)?,
        created_at: Timestamp(get(row, 4)?),
    })
}

pub(super) fn graph_summary(row: &Row) -> Result<(i64, GraphSummary), StoreError> {
    let summary = GraphSummary {
        id: GraphId(text(row, 1)?),
        name: optional(row, 2)?,
        created_at: Timestamp(get(row, 3)?),
    };
    Ok((get(row, 0)?, summary))
}

pub(super) fn plugin_row(row: &Row) -> Result<PluginRow, StoreError> {
    Ok(PluginRow {
        digest: Digest(text(row, 0)?),
        name: text(row, 1)?,
        version: text(row, 2)?,
        active: get(row, 3)?,
        added_at: Timestamp(get(row, 4)?),
        component: get::<&[u8]>(row, 5)?.into(),
    })
}
