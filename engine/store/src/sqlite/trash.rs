//! Forgetting: runs go at once, and the room that they took bit by bit, between other writes.
//!
//! A run that is forgotten loses its row and its requests, and its id goes to `trash`, which hides its
//! events and snapshots from every reader. Those are deleted in small pieces, each a transaction of its own, and
//! then the file is made smaller in small pieces. A crash leaves the ids in `trash`, and the next
//! engine goes on.

use std::time::{Duration, Instant};

use heddle_kernel::RunId;
use rusqlite::{Connection, OptionalExtension, params};

/// Rows, and bytes of them, that one piece deletes, at most: it bounds how long an append waits for it.
/// A row that is larger goes alone.
const PIECE_ROWS: usize = 256;
const PIECE_BYTES: usize = 1024 * 1024;

/// Pages by which one piece makes the file smaller, at most.
const PIECE_PAGES: u32 = 256;

/// Free pages that the file keeps for what comes: so many, and one in so many of all. Giving back every
/// one would mean to move the newest pages again and again.
const FREE_PAGES: i64 = 256;
const FREE_ONE_IN: i64 = 16;

/// While there is other work without a pause, a piece is done this often.
const PIECE_EVERY: Duration = Duration::from_millis(50);

/// How many runs are forgotten in one transaction, at most.
pub(super) const FORGET_RUNS: usize = 256;

/// How long to wait after a piece that failed.
const REST: Duration = Duration::from_secs(1);

/// How far forgetting has come.
pub(super) struct Trash {
    next: Step,
    /// When the last piece was done.
    since: Instant,
    /// Nothing is done before this.
    rests_until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What is in `trash` is to be deleted.
    Delete,
    /// The file may be smaller than it is; whether it was made smaller already.
    Shrink(bool),
    Nothing,
}

impl Trash {
    /// Begins with looking for what was left.
    pub(super) fn new() -> Self {
        Self {
            next: Step::Delete,
            since: Instant::now(),
            rests_until: None,
        }
    }

    /// Runs were forgotten.
    pub(super) fn filled(&mut self) {
        (self.next, self.rests_until) = (Step::Delete, None);
    }

    /// How long until something is to be done; None where nothing is.
    pub(super) fn waits(&self) -> Option<Duration> {
        let rests = |until: Instant| until.saturating_duration_since(Instant::now());
        (self.next != Step::Nothing).then(|| self.rests_until.map(rests).unwrap_or_default())
    }

    /// Whether runs that were forgotten are still being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.next == Step::Delete
    }

    /// Whether a piece is to be done: when the thread is `idle`, else now and then.
    pub(super) fn is_due(&self, idle: bool) -> bool {
        self.waits() == Some(Duration::ZERO) && (idle || self.since.elapsed() >= PIECE_EVERY)
    }

    /// Does nothing for a while.
    pub(super) fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    /// Does nothing until runs are forgotten again, or the store is opened again.
    pub(super) fn give_up(&mut self) {
        self.next = Step::Nothing;
    }

    /// Does one piece of the work.
    pub(super) fn piece(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.next = match self.next {
            Step::Delete => match in_transaction(connection, delete)? {
                true => Step::Shrink(false),
                false => Step::Delete,
            },
            Step::Shrink(before) => match (shrink(connection)?, before) {
                (true, _) => Step::Shrink(true),
                (false, true) => {
                    // The file itself is cut when the log is copied into it.
                    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
                    Step::Nothing
                }
                (false, false) => Step::Nothing,
            },
            Step::Nothing => Step::Nothing,
        };
        self.since = Instant::now();
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

/// Puts those of these runs that are over into the trash, and answers how many they were.
pub(super) fn forget(connection: &Connection, runs: &[RunId]) -> rusqlite::Result<usize> {
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

/// Deletes what is left of a forgotten run that is about to begin anew.
pub(super) fn empty_of(connection: &Connection, run: RunId) -> rusqlite::Result<()> {
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

/// Deletes as many rows of forgotten runs as one piece may, and answers whether none is left.
fn delete(connection: &Connection) -> rusqlite::Result<bool> {
    let (mut rows, mut bytes) = (PIECE_ROWS, PIECE_BYTES);
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
            // One more than may go tells whether that is all.
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

/// Makes the file smaller by as many pages as one piece may, and answers whether it did.
fn shrink(connection: &Connection) -> rusqlite::Result<bool> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (free, all) = (number("PRAGMA freelist_count")?, number("PRAGMA page_count")?);
    if free <= FREE_PAGES.max(all / FREE_ONE_IN) {
        return Ok(false);
    }
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({PIECE_PAGES})"))?;
    let mut pages = vacuum.raw_query();
    // It frees a page with each row that it is asked for.
    while pages.next()?.is_some() {}
    drop(pages);
    // A file that was not made for it stays as large as it is.
    Ok(number("PRAGMA freelist_count")? < free)
}
