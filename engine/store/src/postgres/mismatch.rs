//! Why a run was not written: what the store has of it.

use std::collections::HashMap;

use heddle_kernel::{RunId, Status};
use heddle_runtime::ports::EngineId;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{plan::RunWrite, statement::event_rows};
use crate::append::{JournalHead, mismatch};

/// What the store has of a run.
#[derive(Default)]
pub(super) struct Stored {
    /// The owner, the last event and the status; none if the store has no such run.
    row: Option<(Option<i64>, u64, Status)>,
    /// Whether rows of a deleted run with this id were found. They are deleted then.
    pub(super) is_in_trash: bool,
    /// Whether the events of the batch are stored, with the same checksums.
    has_events: bool,
    /// Whether all commands that the events answer are stored.
    has_commands: bool,
}

impl Stored {
    /// Whether the batch is stored already, by an earlier attempt of the same engine.
    pub(super) fn is_written(&self, run: &RunWrite<'_>, owner: EngineId) -> bool {
        self.has_events
            && self.row.is_some_and(|(engine, last, status)| {
                let expected = (status == Status::Running).then_some(owner.0);
                last == run.last && status == run.disposition.status() && engine == expected
            })
    }

    /// Why the run cannot be continued; `None` if it can.
    pub(super) fn mismatch(&self, run: &RunWrite<'_>, owner: EngineId) -> Option<String> {
        let head = match self.row {
            None => JournalHead::Absent,
            Some((Some(engine), ..)) if engine != owner.0 => {
                return Some(format!("the engine {engine} owns the run"));
            }
            Some((_, last, status)) => JournalHead::new(status, last),
        };
        mismatch(head, run.begins.is_some(), run.reopens, run.first).or_else(|| {
            (!self.has_commands).then(|| "a command that the events answer was withdrawn".to_owned())
        })
    }
}

/// Reads what the store has of these runs. Deletes the rows of those that are in the trash, because they begin again.
pub(super) async fn stored(
    client: &Client,
    runs: &[&RunWrite<'_>],
) -> Result<HashMap<RunId, Stored>, tokio_postgres::Error> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.run.0).collect();
    let sql = "SELECT i.id, r.engine, r.last_seq, r.status, t.run IS NOT NULL
               FROM unnest($1::uuid[]) AS i(id)
               LEFT JOIN runs r ON r.id = i.id LEFT JOIN trash t ON t.run = i.id";
    let mut found = HashMap::with_capacity(runs.len());
    for row in client.query(sql, &[&ids]).await? {
        let status: Option<String> = row.try_get(3)?;
        let status = status.and_then(|name| Status::ALL.into_iter().find(|status| status.as_str() == name));
        let last: Option<i64> = row.try_get(2)?;
        let engine: Option<i64> = row.try_get(1)?;
        let stored = Stored {
            row: status
                .zip(last)
                .map(|(status, last)| (engine, last as u64, status)),
            is_in_trash: row.try_get(4)?,
            has_events: false,
            has_commands: true,
        };
        found.insert(RunId(row.try_get(0)?), stored);
    }
    for run in runs {
        let Some(stored) = found.get_mut(&run.run) else {
            continue;
        };
        if stored.is_in_trash && run.begins.is_some() {
            delete_remains(client, run.run).await?;
        }
        if stored.row.is_some_and(|(_, last, _)| last >= run.last) {
            stored.has_events = has_events(client, run).await?;
        }
        if !run.commands.is_empty() {
            let ids: Vec<i64> = run.commands.iter().map(|command| command.id.0).collect();
            let sql = "SELECT count(*) FROM inbox WHERE run = $1 AND id = ANY($2)";
            let count: i64 = client.query_one(sql, &[&run.run.0, &ids]).await?.try_get(0)?;
            stored.has_commands = count as usize == ids.len();
        }
    }
    Ok(found)
}

/// Whether exactly the rows that the batch adds to the run are stored.
async fn has_events(client: &Client, run: &RunWrite<'_>) -> Result<bool, tokio_postgres::Error> {
    let expected = event_rows(run);
    let sql = "SELECT first_seq, last_seq, sum FROM events
               WHERE run = $1 AND first_seq >= $2 AND first_seq <= $3 ORDER BY first_seq";
    let rows = client
        .query(sql, &[&run.run.0, &(run.first as i64), &(run.last as i64)])
        .await?;
    let same = rows.iter().zip(&expected).all(|(row, expected)| {
        let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        found == (expected.first as i64, expected.last as i64, expected.sum)
    });
    Ok(rows.len() == expected.len() && same)
}

/// Deletes the remaining rows of a deleted run.
async fn delete_remains(client: &Client, run: RunId) -> Result<(), tokio_postgres::Error> {
    let sql = "WITH gone AS (DELETE FROM trash WHERE run = $1 RETURNING run),
                    events AS (DELETE FROM events USING gone WHERE events.run = gone.run)
               DELETE FROM snapshots USING gone WHERE snapshots.run = gone.run";
    client.execute(sql, &[&run.0]).await.map(|_| ())
}
