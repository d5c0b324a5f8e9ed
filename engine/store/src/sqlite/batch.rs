//! One transaction: many runs' appends and whatever else waits, checked and written.
//!
//! Planning looks and writes nothing. What a commit changes in memory is taken over when the
//! transaction is through, so a batch that failed can be committed again as it is.

use std::collections::{HashMap, HashSet};

use heddle_kernel::{RunId, Status};
use heddle_runtime::ports::NewRun;
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::{Job, Leaves, Pending};
use crate::codec::{CHUNK_BYTES, Chunk};

/// How many running runs are remembered; beyond that their positions are read again.
const POSITIONS: usize = 65_536;

/// What became of a job that was in a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is durable; of a graph, it is new.
    Durable,
    /// It was there before.
    Known,
    /// It does not follow the run's last event.
    Conflict(String),
}

/// Where running runs stand, so that few appends must look it up. Runs that wait or are over
/// are not among them, however many there are.
#[derive(Default)]
pub(super) struct Positions {
    last: HashMap<RunId, u64>,
    /// Runs of which an append did not fit: nothing that follows it is taken. Another writer
    /// would have to be on the file for this to grow, and the lock forbids that.
    broken: HashSet<RunId>,
}

/// Where a run stands at some point of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Absent,
    Running(u64),
    Waiting(u64),
    Over,
    Broken,
}

/// What a batch writes of one run.
struct RunWrite<'a> {
    run: RunId,
    /// Where it stood before the batch.
    before: At,
    at: At,
    begins: Option<&'a NewRun>,
    chunks: Vec<&'a Chunk>,
    /// How the last append that was taken leaves it.
    leaves: &'a Leaves,
}

/// Commits these jobs in order, as one transaction, and says what became of each.
pub(super) fn commit(
    connection: &Connection,
    positions: &mut Positions,
    jobs: &[Job],
) -> rusqlite::Result<Vec<Verdict>> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = write(connection, positions, jobs).and_then(|written| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(written)
    });
    match result {
        Ok((verdicts, runs)) => {
            positions.take_over(&runs);
            Ok(verdicts)
        }
        Err(error) => {
            // Some errors end the transaction by themselves.
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
            Err(error)
        }
    }
}

fn write<'a>(
    connection: &Connection,
    positions: &Positions,
    jobs: &'a [Job],
) -> rusqlite::Result<(Vec<Verdict>, Vec<RunWrite<'a>>)> {
    let mut plan = Plan {
        connection,
        positions,
        runs: Vec::new(),
        slots: HashMap::new(),
    };
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(match job {
            Job::Append(append) => plan.place(append)?,
            Job::Graph(graph, _) => {
                let sql = "INSERT INTO graphs (id, name, definition, created_at) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (id) DO NOTHING";
                let row = params![
                    &*graph.id.0,
                    graph.name.as_deref(),
                    &*graph.definition,
                    graph.created_at.0
                ];
                match connection.prepare_cached(sql)?.execute(row)? {
                    0 => Verdict::Known,
                    _ => Verdict::Durable,
                }
            }
            Job::Plugin(plugin, _) => {
                let sql = "INSERT INTO plugins (digest, name, version, active, added_at, component)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                           ON CONFLICT (digest) DO UPDATE
                           SET active = 1, name = excluded.name, version = excluded.version
                           WHERE excluded.active = 1 AND active = 0";
                connection.prepare_cached(sql)?.execute(params![
                    &*plugin.digest.0,
                    &*plugin.name,
                    &*plugin.version,
                    plugin.active,
                    plugin.added_at.0,
                    &*plugin.component,
                ])?;
                Verdict::Durable
            }
            Job::Close(_) | Job::MaxPages(..) => unreachable!("the writer keeps these out of its queue"),
        });
    }
    let runs = plan.runs;
    for run in &runs {
        run.write(connection)?;
    }
    Ok((verdicts, runs))
}

/// Sorts a batch's appends by run, and checks that each follows what is there.
struct Plan<'a, 'c> {
    connection: &'c Connection,
    positions: &'c Positions,
    runs: Vec<RunWrite<'a>>,
    slots: HashMap<RunId, usize>,
}

impl<'a> Plan<'a, '_> {
    fn place(&mut self, append: &'a Pending) -> rusqlite::Result<Verdict> {
        let slot = match self.slots.get(&append.run) {
            Some(slot) => *slot,
            None => {
                let at = self.positions.of(append.run, self.connection)?;
                let slot = self.runs.len();
                self.runs.push(RunWrite {
                    run: append.run,
                    before: at,
                    at,
                    begins: None,
                    chunks: Vec::new(),
                    leaves: &Leaves::Running,
                });
                self.slots.insert(append.run, slot);
                slot
            }
        };
        let run = &mut self.runs[slot];
        if let Some(message) = misfit(run.at, append) {
            run.at = At::Broken;
            return Ok(Verdict::Conflict(message));
        }
        run.begins = run.begins.or(append.begins.as_ref());
        run.chunks.extend(&append.chunks);
        run.leaves = &append.leaves;
        run.at = match append.leaves {
            Leaves::Running => At::Running(append.last),
            Leaves::Waiting(_) => At::Waiting(append.last),
            Leaves::Over(_) => At::Over,
        };
        Ok(Verdict::Durable)
    }
}

/// Why an append cannot be taken where its run is here.
fn misfit(at: At, append: &Pending) -> Option<String> {
    if let Some(fault) = &append.fault {
        return Some(fault.clone());
    }
    match (at, &append.begins) {
        (At::Broken, _) => Some("an append before this one was refused".to_owned()),
        (At::Absent, None) => Some("the store has no such run".to_owned()),
        (At::Absent, Some(_)) if append.first != 1 => {
            Some(format!("a run begins with event 1 and not {}", append.first))
        }
        (At::Over | At::Running(_) | At::Waiting(_), Some(_)) => Some("the store has this run".to_owned()),
        (At::Over, None) => Some("the run is over".to_owned()),
        (At::Running(last) | At::Waiting(last), None) if append.first != last + 1 => Some(format!(
            "its last event is {last} and the append begins with {}",
            append.first
        )),
        _ => None,
    }
}

impl RunWrite<'_> {
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.write_row(connection)?;
        self.write_events(connection)
    }

    fn write_row(&self, connection: &Connection) -> rusqlite::Result<()> {
        let id = self.run.0.as_bytes().as_slice();
        let (status, wake_at, ended) = match self.leaves {
            Leaves::Running => (Status::Running, None, None),
            Leaves::Waiting(wait) => (Status::Waiting, wait.until, None),
            Leaves::Over(ended) => (ended.status, None, Some(ended)),
        };
        let (status, wake_at) = (status.as_str(), wake_at.map(|at| at.0));
        let finished_at = ended.map(|ended| ended.at.0);
        let error = ended.and_then(|ended| ended.error.as_deref());
        if let Some(begins) = self.begins {
            let sql = "INSERT INTO runs (id, graph, status, created_at, finished_at, error, wake_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let (graph, created_at) = (&*begins.graph.0, begins.created_at.0);
            connection.prepare_cached(sql)?.execute(params![
                id,
                graph,
                status,
                created_at,
                finished_at,
                error,
                wake_at
            ])?;
            return Ok(());
        }
        match (self.before, self.leaves) {
            (At::Running(_), Leaves::Running) => {}
            // Apart from the other so that most runs, which never wait, do not touch the index of due times.
            (At::Running(_), Leaves::Over(_)) => {
                let sql = "UPDATE runs SET status = ?2, finished_at = ?3, error = ?4 WHERE id = ?1";
                connection
                    .prepare_cached(sql)?
                    .execute(params![id, status, finished_at, error])?;
            }
            _ => {
                let sql =
                    "UPDATE runs SET status = ?2, finished_at = ?3, error = ?4, wake_at = ?5 WHERE id = ?1";
                connection
                    .prepare_cached(sql)?
                    .execute(params![id, status, finished_at, error, wake_at])?;
            }
        }
        Ok(())
    }

    fn write_events(&self, connection: &Connection) -> rusqlite::Result<()> {
        let id = self.run.0.as_bytes().as_slice();
        let sql = "INSERT INTO events (run, first_seq, last_seq, body) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = connection.prepare_cached(sql)?;
        let mut add = |first: u64, last: u64, body: &[u8]| {
            insert
                .execute(params![id, first as i64, last as i64, body])
                .map(|_| ())
        };
        let mut rest = self.chunks.as_slice();
        while let [head, tail @ ..] = rest {
            let mut size = head.body.len();
            let more = tail.iter().take_while(|chunk| {
                size += chunk.body.len();
                size <= CHUNK_BYTES
            });
            let (row, others) = rest.split_at(1 + more.count());
            match row {
                [one] => add(one.first, one.last, &one.body)?,
                many => {
                    let body = many
                        .iter()
                        .map(|chunk| chunk.body.as_slice())
                        .collect::<Vec<_>>()
                        .concat();
                    add(head.first, many[many.len() - 1].last, &body)?;
                }
            }
            rest = others;
        }
        Ok(())
    }
}

impl Positions {
    fn of(&self, run: RunId, connection: &Connection) -> rusqlite::Result<At> {
        if self.broken.contains(&run) {
            return Ok(At::Broken);
        }
        if let Some(last) = self.last.get(&run) {
            return Ok(At::Running(*last));
        }
        let sql = "SELECT status,
                          (SELECT last_seq FROM events WHERE run = runs.id ORDER BY first_seq DESC LIMIT 1)
                   FROM runs WHERE id = ?1";
        let mut found = connection.prepare_cached(sql)?;
        let row = found
            .query_row([run.0.as_bytes().as_slice()], |row| {
                let last = row.get::<_, Option<i64>>(1)?.unwrap_or(0) as u64;
                Ok(match row.get_ref(0)?.as_str()? {
                    "running" => At::Running(last),
                    "waiting" => At::Waiting(last),
                    _ => At::Over,
                })
            })
            .optional()?;
        Ok(row.unwrap_or(At::Absent))
    }

    fn take_over(&mut self, runs: &[RunWrite<'_>]) {
        if self.last.len() > POSITIONS {
            self.last.clear();
        }
        for write in runs {
            match write.at {
                At::Running(last) => {
                    self.last.insert(write.run, last);
                }
                At::Waiting(_) | At::Over => {
                    self.last.remove(&write.run);
                }
                At::Broken => {
                    self.last.remove(&write.run);
                    self.broken.insert(write.run);
                }
                At::Absent => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use heddle_kernel::{GraphId, Status, Timestamp};
    use heddle_runtime::ports::{Ack, AppendError, RunWait};

    use super::{super::open, *};
    use crate::sqlite::writer::Ended;

    struct Nobody;

    impl Ack for Nobody {
        fn durable(&self, _seq: u64) {}
        fn failed(&self, _error: AppendError) {}
    }

    fn append(number: u128, seq: u64, leaves: Leaves) -> Job {
        let created_at = Timestamp(0);
        let graph = GraphId("graph".into());
        let chunk = Chunk {
            first: seq,
            last: seq,
            body: b"{}\n".to_vec(),
        };
        Job::Append(Pending {
            run: RunId(uuid::Uuid::from_u128(number)),
            begins: (seq == 1).then_some(NewRun {
                graph,
                created_at,
                priority: 0,
                group: None,
                origin: None,
            }),
            chunks: vec![chunk],
            first: seq,
            last: seq,
            leaves,
            fault: None,
            ack: Arc::new(Nobody),
        })
    }

    #[test]
    fn only_running_runs_are_remembered() {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let mut positions = Positions::default();
        let mut commit = |leaves: fn() -> Leaves, seq| {
            let jobs: Vec<Job> = (0..500).map(|number| append(number, seq, leaves())).collect();
            let verdicts = commit(&store.connection, &mut positions, &jobs).expect("a commit");
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Durable));
            assert!(positions.broken.is_empty());
            positions.last.len()
        };
        let over = || {
            Leaves::Over(Ended {
                status: Status::Finished,
                at: Timestamp(0),
                error: None,
            })
        };
        assert_eq!(commit(|| Leaves::Waiting(RunWait::default()), 1), 0);
        assert_eq!(commit(|| Leaves::Running, 2), 500);
        assert_eq!(commit(|| Leaves::Running, 3), 500);
        assert_eq!(commit(|| Leaves::Waiting(RunWait::default()), 4), 0);
        assert_eq!(commit(over, 5), 0);
    }
}
