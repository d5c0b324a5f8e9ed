//! Reads of runs and events. Every read sees committed data only.

use std::sync::Arc;

use heddle_json::{Json, object::json};
use heddle_kernel::{Digest, EventRecord, RunId, Timestamp};
use heddle_runtime::ports::{GroupCounts, QueuedRun, Request, RunRow, RunSnapshot, StoreError};
use uuid::Uuid;

use super::{
    connect::Readers,
    rows::{RUN, get, optional, run_id, run_row, text},
    statement::scope,
};
use crate::codec;

/// The size in bytes from which a page of events takes no further row of the table.
const PAGE_BYTES: i64 = 1024 * 1024;

/// The most rows of the table that a page of events reads.
const PAGE_ROWS: i64 = 4_096;

/// How many snapshots of a run are tried, from the newest to the oldest.
const MAX_SNAPSHOTS: i64 = 64;

/// How many runs by id one statement looks at to find those that were created before some time. Run ids sort by creation
/// time, except those from a machine with another clock.
const RUNS_BY_ID: i64 = 10_000;

pub(super) async fn run(readers: &Readers, id: RunId) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("SELECT {RUN} FROM runs r WHERE r.id = $1");
    let row = readers.row(&sql, &[&id.0]).await?;
    row.map(|row| run_row(&row)).transpose()
}

/// A page of events. The query starts at the row that contains the next event. If that row is missing, a later one is first.
///
/// Row sizes are read from the table; only the bodies of the page are loaded.
pub(super) async fn events(
    readers: &Readers,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<EventRecord>>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let after = after.min(i64::MAX as u64 - 1);
    let sql = "SELECT first_seq, last_seq, sum, body FROM (
            SELECT *, sum(octet_length(body)) OVER (ORDER BY first_seq) - octet_length(body) AS before
            FROM (SELECT first_seq, last_seq, sum, body FROM events
                WHERE run = $1 AND last_seq > $2 AND first_seq >= coalesce(
                    (SELECT max(first_seq) FROM events WHERE run = $1 AND first_seq <= $2 + 1), 0)
                AND NOT EXISTS (SELECT FROM trash WHERE run = $1)
                ORDER BY first_seq LIMIT $3) AS chunks) AS page
        WHERE before < $4 ORDER BY first_seq";
    let rows = count(limit).min(PAGE_ROWS);
    let rows = readers
        .rows(sql, &[&run.0, &(after as i64), &rows, &PAGE_BYTES])
        .await?;
    let damaged = |message: String| StoreError::Damaged(format!("run {run}: {message}"));
    let (mut events, mut next) = (Vec::new(), after + 1);
    for row in &rows {
        let (first, last) = (get::<i64>(row, 0)? as u64, get::<i64>(row, 1)? as u64);
        if first > next {
            return Err(damaged(format!("event {next} is missing")));
        }
        let body: &[u8] = get(row, 3)?;
        codec::verify(run, body, Some(get(row, 2)?))
            .map_err(|problem| damaged(format!("events {first} to {last}: {problem}")))?;
        let mut full = false;
        codec::decode(first, last, body, |event, _| {
            if event.seq < next {
                return true;
            }
            next = event.seq + 1;
            events.push(Arc::new(event));
            full = events.len() >= limit;
            !full
        })
        .map_err(damaged)?;
        if full {
            break;
        }
    }
    Ok(events)
}

pub(super) async fn snapshot(
    readers: &Readers,
    run: RunId,
    until: u64,
) -> Result<Option<RunSnapshot>, StoreError> {
    let until = until.min(i64::MAX as u64) as i64;
    let sql = "SELECT seq FROM snapshots WHERE run = $1 AND seq <= $2
               AND NOT EXISTS (SELECT FROM trash WHERE run = $1) ORDER BY seq DESC LIMIT $3";
    for row in readers.rows(sql, &[&run.0, &until, &MAX_SNAPSHOTS]).await? {
        let seq: i64 = get(&row, 0)?;
        let sql = "SELECT body, sum FROM snapshots WHERE run = $1 AND seq = $2";
        let Some(row) = readers.row(sql, &[&run.0, &seq]).await? else {
            continue;
        };
        match snapshot_body(run, get(&row, 0)?, get(&row, 1)?) {
            Ok(body) => {
                let seq = seq as u64;
                return Ok(Some(RunSnapshot { seq, body }));
            }
            // The run can be loaded from its events.
            Err(message) => {
                tracing::warn!(%run, %message, "a snapshot of the run is damaged; using an older one")
            }
        }
    }
    Ok(None)
}

fn snapshot_body(run: RunId, body: &[u8], sum: i64) -> Result<Json, String> {
    codec::verify(run, body, Some(sum))?;
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    json(text).map_err(|error| error.to_string())
}

pub(super) async fn request(
    readers: &Readers,
    to: Option<RunId>,
    key: &str,
) -> Result<Option<Request>, StoreError> {
    let sql = "SELECT run, digest, seq FROM requests WHERE scope = $1 AND key = $2";
    let Some(row) = readers.row(sql, &[&scope(to), &key]).await? else {
        return Ok(None);
    };
    Ok(Some(Request {
        to,
        key: key.into(),
        digest: Digest(text(&row, 1)?),
        run: run_id(&row)?,
        seq: get::<i64>(&row, 2)? as u64,
    }))
}

pub(super) async fn unfinished(readers: &Readers) -> Result<Vec<RunId>, StoreError> {
    let sql = "SELECT id FROM runs
               WHERE origin_kind IN ('api', 'schedule', 'fork', 'import') AND status = 'running' ORDER BY id";
    readers.rows(sql, &[]).await?.iter().map(run_id).collect()
}

pub(super) async fn queued(readers: &Readers) -> Result<Vec<QueuedRun>, StoreError> {
    let sql = "SELECT id, priority, grp, group_limit,
                   (SELECT octet_length(body) FROM events WHERE run = runs.id ORDER BY first_seq LIMIT 1) FROM runs
               WHERE origin_kind IN ('api', 'schedule', 'fork', 'import') AND status = 'queued'
               ORDER BY priority DESC, id";
    readers.rows(sql, &[]).await?.iter().map(queued_run).collect()
}

/// Reads the columns id, priority, group, limit and size of the first row of events.
pub(super) fn queued_run(row: &tokio_postgres::Row) -> Result<QueuedRun, StoreError> {
    Ok(QueuedRun {
        run: run_id(row)?,
        priority: get(row, 1)?,
        group: optional(row, 2)?,
        group_limit: get::<Option<i32>>(row, 3)?.map(|limit| limit.max(0) as u32),
        bytes: get::<Option<i32>>(row, 4)?
            .unwrap_or_default()
            .unsigned_abs()
            .into(),
    })
}

pub(super) async fn groups(readers: &Readers) -> Result<GroupCounts, StoreError> {
    let sql = "SELECT grp, count(*) FROM runs
               WHERE grp IS NOT NULL AND status IN ('running', 'waiting', 'paused') GROUP BY grp ORDER BY grp";
    let rows = readers.rows(sql, &[]).await?;
    let group = |row: &tokio_postgres::Row| Ok((text(row, 0)?, get::<i64>(row, 1)? as usize));
    rows.iter().map(group).collect()
}

pub(super) async fn due(readers: &Readers, now: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
    let sql = "SELECT id FROM runs WHERE wake_at <= $1 AND engine IS NULL ORDER BY wake_at, id LIMIT $2";
    readers
        .rows(sql, &[&now.0, &count(limit)])
        .await?
        .iter()
        .map(run_id)
        .collect()
}

pub(super) async fn next_due(readers: &Readers) -> Result<Option<Timestamp>, StoreError> {
    let sql =
        "SELECT wake_at FROM runs WHERE wake_at IS NOT NULL AND engine IS NULL ORDER BY wake_at LIMIT 1";
    let row = readers.row(sql, &[]).await?;
    row.map(|row| get(&row, 0).map(Timestamp)).transpose()
}

pub(super) async fn runs_before(
    readers: &Readers,
    before: Timestamp,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    let sql = format!(
        "SELECT {RUN} FROM (SELECT * FROM runs WHERE id > $1 ORDER BY id LIMIT {RUNS_BY_ID}) AS r
         WHERE r.created_at < $2 ORDER BY r.id LIMIT $3"
    );
    let after = after.map_or(Uuid::nil(), |run| run.0);
    let rows = readers.rows(&sql, &[&after, &before.0, &count(limit)]).await?;
    rows.iter().filter_map(|row| listed(row).transpose()).collect()
}

/// A row as lists show it. A row that cannot be read is logged and left out, so that the other rows are still listed.
pub(super) fn listed(row: &tokio_postgres::Row) -> Result<Option<RunRow>, StoreError> {
    match run_row(row) {
        Ok(row) => Ok(Some(row.listed())),
        Err(StoreError::Damaged(error)) => {
            tracing::error!(%error, "the row of a run is damaged");
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
