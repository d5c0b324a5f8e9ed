//! Converts rows of the tables to the types of the port.

use heddle_kernel::{Digest, FailureKind, GraphId, RunError, RunId, Status, Timestamp};
use heddle_runtime::ports::{GraphRow, GraphSummary, PluginRow, RunRow};
use rusqlite::Row;

pub(super) fn graph_row(row: &Row<'_>) -> rusqlite::Result<(i64, GraphRow)> {
    let functions: Option<String> = row.get(5)?;
    let functions = functions.map(|text| serde_json::from_str(&text)).transpose();
    let damaged = |error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, error.into())
    };
    Ok((
        row.get(0)?,
        GraphRow {
            id: GraphId(row.get(1)?),
            name: row.get(2)?,
            definition: row.get(3)?,
            created_at: Timestamp(row.get(4)?),
            functions: functions.map_err(damaged)?.unwrap_or_default(),
        },
    ))
}

pub(super) fn graph_summary(row: &Row<'_>) -> rusqlite::Result<(i64, GraphSummary)> {
    let summary = GraphSummary {
        id: GraphId(row.get(1)?),
        name: row.get(2)?,
        created_at: Timestamp(row.get(3)?),
    };
    Ok((row.get(0)?, summary))
}

pub(crate) fn run_id(row: &Row<'_>) -> rusqlite::Result<RunId> {
    Ok(RunId(uuid::Uuid::from_bytes(row.get(0)?)))
}

/// Parses the status in this column.
pub(crate) fn status_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    let name = row.get_ref(column)?.as_str()?;
    let known = Status::ALL.into_iter().find(|status| status.as_str() == name);
    known.ok_or_else(|| {
        let message = format!("`{name}` is not a status of a run").into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, message)
    })
}

pub(super) fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let status = status_of(row, 2)?;
    let error: Option<String> = row.get(5)?;
    Ok(RunRow {
        id: run_id(row)?,
        graph: GraphId(row.get(1)?),
        graph_name: row.get(11)?,
        status,
        created_at: Timestamp(row.get(3)?),
        finished_at: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        wake_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        priority: row.get(7)?,
        group: row.get(8)?,
        origin: row.get(9)?,
        last_seq: row.get::<_, Option<i64>>(10)?.unwrap_or(0) as u64,
        error: error.map(|text| serde_json::from_str(&text).unwrap_or_else(|error| unreadable(&error))),
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

pub(super) fn plugin_row(row: &Row<'_>) -> rusqlite::Result<PluginRow> {
    Ok(PluginRow {
        digest: Digest(row.get(0)?),
        name: row.get(1)?,
        version: row.get(2)?,
        active: row.get(3)?,
        component: row.get_ref(5)?.as_blob()?.into(),
        added_at: Timestamp(row.get(4)?),
    })
}
