//! Deletes runs: hides them at once, and frees their disk space in small steps.
//!
//! Deleting a run removes its row and its requests, and puts its id into the table `trash`. That hides its events and
//! snapshots from every reader. Each engine deletes these rows in small steps, each a transaction of its own. Two engines
//! never work on the same run.

use std::time::Duration;

use heddle_kernel::RunId;
use heddle_runtime::ports::StoreError;
use tokio::time::sleep;
use uuid::Uuid;

use super::connect::Readers;

/// How many runs one statement deletes at most.
pub(super) const DELETE_RUNS: usize = 256;

/// How many runs, and rows of each table, one step removes at most.
const STEP_RUNS: i64 = 64;
const STEP_ROWS: i64 = 512;

/// The pause after a step, and after one that found nothing to do.
const PAUSE: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_secs(5);

/// Deletes those of these runs that are over, and returns how many these were.
pub(super) async fn delete_runs(readers: &Readers, runs: &[RunId]) -> Result<usize, StoreError> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
    let sql = "WITH gone AS (
            DELETE FROM runs WHERE id = ANY($1) AND status IN ('finished', 'failed', 'cancelled') AND engine IS NULL
            RETURNING id),
        answered AS (DELETE FROM requests USING gone WHERE requests.run = gone.id),
        trashed AS (INSERT INTO trash (run) SELECT id FROM gone ON CONFLICT DO NOTHING)
        SELECT count(*) FROM gone";
    let rows = readers.write(sql, &[&ids]).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| super::rows::get(row, 0))?;
    Ok(count as usize)
}

/// Removes the rows of deleted runs, step by step, as long as the store is open.
pub(super) async fn sweep(readers: Readers) {
    loop {
        match step(&readers).await {
            Ok(true) => sleep(PAUSE).await,
            Ok(false) => sleep(IDLE).await,
            Err(error) => {
                tracing::debug!(%error, "the rows of deleted runs could not be removed; trying again later");
                sleep(IDLE).await;
            }
        }
    }
}

/// Does one step, and returns whether it removed anything.
async fn step(readers: &Readers) -> Result<bool, StoreError> {
    let sql = "WITH taken AS MATERIALIZED (SELECT run FROM trash LIMIT $1 FOR UPDATE SKIP LOCKED),
        old_events AS MATERIALIZED (
            SELECT e.run, e.first_seq FROM taken, LATERAL (
                SELECT run, first_seq FROM events WHERE events.run = taken.run ORDER BY first_seq LIMIT $2) AS e LIMIT $2),
        old_snapshots AS MATERIALIZED (
            SELECT s.run, s.seq FROM taken, LATERAL (
                SELECT run, seq FROM snapshots WHERE snapshots.run = taken.run ORDER BY seq LIMIT $2) AS s LIMIT $2),
        gone_events AS (
            DELETE FROM events USING old_events o WHERE events.run = o.run AND events.first_seq = o.first_seq),
        gone_snapshots AS (
            DELETE FROM snapshots USING old_snapshots o WHERE snapshots.run = o.run AND snapshots.seq = o.seq),
        empty AS (
            DELETE FROM trash USING taken WHERE trash.run = taken.run
                AND (SELECT count(*) FROM old_events) < $2 AND (SELECT count(*) FROM old_snapshots) < $2)
        SELECT count(*) FROM taken";
    let rows = readers.write(sql, &[&STEP_RUNS, &STEP_ROWS]).await?;
    let taken: i64 = rows.first().map_or(Ok(0), |row| super::rows::get(row, 0))?;
    Ok(taken > 0)
}
