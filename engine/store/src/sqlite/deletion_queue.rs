//! Deletes runs: hides them at once, and frees their disk space in small steps between other writes.
//!
//! Deleting a run removes its row and its requests, and puts its id into the table `trash`. That hides its events and
//! snapshots from every reader. The queue then deletes these rows in small steps, each in its own transaction, and
//! shrinks the file in small steps. After a crash the ids are still in `trash`, so the next engine continues.

use std::time::{Duration, Instant};

use heddle_kernel::RunId;
use rusqlite::{Connection, OptionalExtension, params};

/// The most rows, and bytes of rows, that one step deletes. This bounds how long an append waits. A larger row is
/// deleted in a separate step.
const STEP_ROWS: usize = 256;
const STEP_BYTES: usize = 1024 * 1024;

/// The most pages by which one step shrinks the file.
const STEP_PAGES: u32 = 256;

/// The file keeps this many free pages for later writes, or one page in `FREE_ONE_IN` if that is more. Freeing every page
/// would move the newest pages again and again.
const FREE_PAGES: i64 = 256;
const FREE_ONE_IN: i64 = 16;

/// The time between two steps while the writer has other work.
const STEP_EVERY: Duration = Duration::from_millis(50);

/// How many runs one transaction deletes at most.
pub(super) const DELETE_RUNS: usize = 256;

/// The pause after a step that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Which deletion work is left.
pub(super) struct DeletionQueue {
    next: Work,
    last_step: Instant,
    /// No step is done before this time.
    paused_until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Delete the events and snapshots of the runs in `trash`.
    DeleteRows,
    /// Shrink the file. The flag says whether an earlier step has shrunk it.
    Shrink(bool),
    Nothing,
}

impl DeletionQueue {
    /// The queue of a store that was just opened. An earlier engine may have left rows to delete.
    pub(super) fn new() -> Self {
        Self {
            next: Work::DeleteRows,
            last_step: Instant::now(),
            paused_until: None,
        }
    }

    /// Reports that runs were deleted, so their remaining rows can be deleted.
    pub(super) fn runs_deleted(&mut self) {
        (self.next, self.paused_until) = (Work::DeleteRows, None);
    }

    /// The time until the next step; none if there is no work.
    pub(super) fn next_step_in(&self) -> Option<Duration> {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        (self.next != Work::Nothing).then(|| self.paused_until.map(left).unwrap_or_default())
    }

    /// Whether rows of deleted runs may remain.
    pub(super) fn has_rows(&self) -> bool {
        self.next == Work::DeleteRows
    }

    /// Whether a step is due: at once if the writer is `idle`, else every [`STEP_EVERY`].
    pub(super) fn is_due(&self, idle: bool) -> bool {
        self.next_step_in() == Some(Duration::ZERO) && (idle || self.last_step.elapsed() >= STEP_EVERY)
    }

    /// Delays the next step by [`PAUSE`].
    pub(super) fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + PAUSE);
    }

    /// Does no step until more runs are deleted or the store is opened again.
    pub(super) fn give_up(&mut self) {
        self.next = Work::Nothing;
    }

    /// Does one step.
    pub(super) fn step(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.next = match self.next {
            Work::DeleteRows => match in_transaction(connection, delete_rows)? {
                true => Work::Shrink(false),
                false => Work::DeleteRows,
            },
            Work::Shrink(shrunk) => match (shrink(connection)?, shrunk) {
                (true, _) => Work::Shrink(true),
                (false, true) => {
                    // SQLite truncates the file when it copies the write-ahead log into it.
                    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                    Work::Nothing
                }
                (false, false) => Work::Nothing,
            },
            Work::Nothing => Work::Nothing,
        };
        self.last_step = Instant::now();
        Ok(())
    }
}

fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Deletes those of these runs that are over, queues their rows for deletion, and returns how many these runs were.
pub(super) fn delete_runs(connection: &Connection, runs: &[RunId]) -> rusqlite::Result<usize> {
    let mut count = 0;
    for run in runs {
        let id = run.0.as_bytes().as_slice();
        let sql = "DELETE FROM runs WHERE id = ?1 AND status IN ('finished', 'failed', 'cancelled')";
        if connection.prepare_cached(sql)?.execute([id])? == 0 {
            continue;
        }
        count += 1;
        for sql in [
            "DELETE FROM requests WHERE run = ?1",
            "INSERT INTO trash (run) VALUES (?1) ON CONFLICT DO NOTHING",
        ] {
            connection.prepare_cached(sql)?.execute([id])?;
        }
    }
    Ok(count)
}

/// Deletes the remaining rows of a deleted run, which is about to be imported again.
pub(super) fn delete_remains(connection: &Connection, run: RunId) -> rusqlite::Result<()> {
    let id = run.0.as_bytes().as_slice();
    let sql = "DELETE FROM trash WHERE run = ?1";
    if connection.prepare_cached(sql)?.execute([id])? > 0 {
        for sql in [
            "DELETE FROM events WHERE run = ?1",
            "DELETE FROM snapshots WHERE run = ?1",
        ] {
            connection.execute(sql, [id])?;
        }
    }
    Ok(())
}

/// Deletes the rows of one step, and returns whether none is left.
fn delete_rows(connection: &Connection) -> rusqlite::Result<bool> {
    let (mut rows, mut bytes) = (STEP_ROWS, STEP_BYTES);
    loop {
        let mut first = connection.prepare_cached("SELECT run FROM trash LIMIT 1")?;
        let Some(run) = first.query_row([], |row| row.get::<_, [u8; 16]>(0)).optional()? else {
            return Ok(true);
        };
        for (find, delete) in [
            (
                "SELECT rowid, length(body) FROM events WHERE run = ?1 ORDER BY first_seq LIMIT ?2",
                "DELETE FROM events WHERE rowid = ?1",
            ),
            (
                "SELECT rowid, length(body) FROM snapshots WHERE run = ?1 ORDER BY seq LIMIT ?2",
                "DELETE FROM snapshots WHERE rowid = ?1",
            ),
        ] {
            let mut found = connection.prepare_cached(find)?;
            // Reads one row more than the limit, to know whether rows remain.
            let found = found.query_map(params![run.as_slice(), rows as i64 + 1], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?;
            for (row, size) in found.collect::<rusqlite::Result<Vec<_>>>()? {
                if rows == 0 || bytes == 0 {
                    return Ok(false);
                }
                connection.prepare_cached(delete)?.execute([row])?;
                rows -= 1;
                bytes = bytes.saturating_sub(usize::try_from(size).unwrap_or(usize::MAX));
            }
        }
        connection
            .prepare_cached("DELETE FROM trash WHERE run = ?1")?
            .execute([run.as_slice()])?;
        match rows {
            0 => return Ok(false),
            _ => rows -= 1,
        }
    }
}

/// Shrinks the file by the pages of one step, and returns whether it did.
fn shrink(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
    if free <= FREE_PAGES.max(all / FREE_ONE_IN) {
        return Ok(false);
    }
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    let mut pages = vacuum.raw_query();
    // SQLite frees one page for each row that is read.
    while pages.next()?.is_some() {}
    drop(pages);
    // A file that was created without incremental auto-vacuum keeps its size.
    Ok(number("PRAGMA freelist_count")? < free)
}
