//! One transaction: many runs' appends and whatever else waits, checked and written.
//!
//! Planning looks and writes nothing. What a commit changes in memory is taken over when the
//! transaction is through, so a batch that failed can be committed again as it is.

use std::collections::{HashMap, HashSet};

use heddle_kernel::{GraphId, RunId, Status};
use heddle_runtime::ports::{NewRun, Request, RunSnapshot};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    job::{Entry, Job, Pending, RunDisposition},
    rows::status_of,
    trash,
};
use crate::codec::{self, CHUNK_BYTES, Chunk};

/// How many running runs are remembered; beyond that their positions are read again.
const POSITIONS: usize = 65_536;

/// What became of a job that was in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is durable; of a graph, it is new; of a schedule to delete, it was there.
    Durable,
    /// It was there before, or, to be deleted, was not.
    Known,
    /// So many runs were forgotten.
    Forgotten(usize),
    /// It does not follow the run's last event.
    Conflict(String),
    /// What it is to be written to is damaged.
    Damaged(String),
}

/// Where running runs stand, so that few appends must look it up. Runs that wait or are over
/// are not among them, however many there are.
#[derive(Default)]
pub(super) struct Positions {
    last: HashMap<RunId, u64>,
    /// Runs of which an append was refused, and how: nothing that follows it is taken. For one to be at
    /// another position, another writer would have to be on the file, and the lock forbids that.
    broken: HashMap<RunId, Verdict>,
    /// Whether runs that were forgotten are still being deleted: one of them may begin again.
    pub(super) has_trash: bool,
}

/// Where a run stands at some point of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Absent,
    /// It goes on, after so many events.
    Running(u64),
    /// It is queued, waits or is paused.
    Resting(u64),
    /// It failed, and may be taken up again.
    Failed(u64),
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
    /// The graph that it was upgraded to.
    upgraded: Option<&'a GraphId>,
    chunks: Vec<&'a Chunk>,
    requests: Vec<&'a Request>,
    snapshots: Vec<&'a RunSnapshot>,
    /// How the last append that was taken leaves it.
    disposition: &'a RunDisposition,
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
        keys: HashSet::new(),
    };
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(match job {
            Job::Append(append) => plan.place(append)?,
            other => write_other(connection, other)?,
        });
    }
    let runs = plan.runs;
    for run in &runs {
        run.write(connection)?;
    }
    Ok((verdicts, runs))
}

/// Writes what is of no run.
fn write_other(connection: &Connection, job: &Job) -> rusqlite::Result<Verdict> {
    let changed = match job {
        Job::Graph(graph, _) => {
            let sql =
                "INSERT INTO graphs (id, name, definition, created_at, functions) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT (id) DO NOTHING";
            let (id, name) = (&*graph.id.0, graph.name.as_deref());
            let functions = (!graph.functions.is_empty()).then(|| serde_json::to_string(&graph.functions));
            let functions = functions.transpose();
            let functions =
                functions.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let new = connection.prepare_cached(sql)?.execute(params![
                id,
                name,
                &*graph.definition,
                graph.created_at.0,
                functions,
            ])?;
            if new == 0 && name.is_some() {
                // It was imported without its name, and is created now.
                let sql = "UPDATE graphs SET name = ?2, created_at = ?3 WHERE id = ?1 AND name IS NULL";
                let named = params![id, name, graph.created_at.0];
                connection.prepare_cached(sql)?.execute(named)?;
            }
            if new == 0 && functions.is_some() {
                let sql = "UPDATE graphs SET functions = ?2 WHERE id = ?1 AND functions IS NOT ?2";
                connection.prepare_cached(sql)?.execute(params![id, functions])?;
            }
            new
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
            ])?
        }
        Job::DeletePlugin(digest, _) => {
            let sql = "DELETE FROM plugins WHERE digest = ?1";
            connection.prepare_cached(sql)?.execute([&*digest.0])?
        }
        Job::DeleteGraph(id, _) => {
            let sql = "DELETE FROM graphs WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([&*id.0])?
        }
        Job::Put(table, Entry { name, body }, _) => {
            let sql = format!(
                "INSERT INTO {} (name, body) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                table.name()
            );
            connection
                .prepare_cached(&sql)?
                .execute(params![&**name, &**body])?
        }
        Job::Delete(table, name, _) => {
            let sql = format!("DELETE FROM {} WHERE name = ?1", table.name());
            connection.prepare_cached(&sql)?.execute([&**name])?
        }
        Job::Forget(runs, _) => return Ok(Verdict::Forgotten(trash::forget(connection, runs)?)),
        Job::Append(_) | Job::Close(_) | Job::Hinder(..) => {
            unreachable!("the writer keeps these out of its queue, and appends are planned")
        }
    };
    Ok(match changed {
        0 => Verdict::Known,
        _ => Verdict::Durable,
    })
}

/// Sorts a batch's appends by run, and checks that each follows what is there.
struct Plan<'a, 'c> {
    connection: &'c Connection,
    positions: &'c Positions,
    runs: Vec<RunWrite<'a>>,
    slots: HashMap<RunId, usize>,
    /// The requests that the batch answers.
    keys: HashSet<(Option<RunId>, &'a str)>,
}

impl<'a> Plan<'a, '_> {
    fn place(&mut self, append: &'a Pending) -> rusqlite::Result<Verdict> {
        let slot = match self.slots.get(&append.run) {
            Some(slot) => *slot,
            None => {
                let at = self.positions.of(append.run, self.connection)?;
                if at == At::Absent && self.positions.has_trash {
                    trash::empty_of(self.connection, append.run)?;
                }
                let slot = self.runs.len();
                self.runs.push(RunWrite {
                    run: append.run,
                    before: at,
                    at,
                    begins: None,
                    upgraded: None,
                    chunks: Vec::new(),
                    requests: Vec::new(),
                    snapshots: Vec::new(),
                    disposition: &RunDisposition::Running,
                });
                self.slots.insert(append.run, slot);
                slot
            }
        };
        let misfit = match misfit(self.runs[slot].at, append) {
            None => self.answered(&append.requests)?,
            some => some,
        };
        let run = &mut self.runs[slot];
        if let Some(message) = misfit {
            run.at = At::Broken;
            let before = self.positions.broken.get(&append.run);
            return Ok(before.cloned().unwrap_or(Verdict::Conflict(message)));
        }
        run.begins = run.begins.or(append.begins.as_ref());
        run.upgraded = append.upgraded.as_ref().or(run.upgraded);
        run.chunks.extend(&append.chunks);
        run.requests.extend(&append.requests);
        run.snapshots.extend(&append.snapshot);
        run.disposition = &append.disposition;
        run.at = match &append.disposition {
            RunDisposition::Running => At::Running(append.last),
            RunDisposition::Queued | RunDisposition::Waiting(_) | RunDisposition::Paused => {
                At::Resting(append.last)
            }
            RunDisposition::Over(end) if end.status == Status::Failed => At::Failed(append.last),
            RunDisposition::Over(_) => At::Over,
        };
        Ok(Verdict::Durable)
    }

    /// Why requests cannot be answered: one of them was.
    fn answered(&mut self, requests: &'a [Request]) -> rusqlite::Result<Option<String>> {
        for request in requests {
            let sql = "SELECT 1 FROM requests WHERE scope = ?1 AND key = ?2";
            let mut found = self.connection.prepare_cached(sql)?;
            if !self.keys.insert((request.to, &request.key))
                || found.exists(params![scope(request.to.as_ref()), &*request.key])?
            {
                return Ok(Some(format!(
                    "a request with the key `{}` was answered before",
                    request.key
                )));
            }
        }
        Ok(None)
    }
}

/// Where a request went, as it is stored.
pub(super) fn scope(to: Option<&RunId>) -> &[u8] {
    to.map_or(&[], |run| run.0.as_bytes().as_slice())
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
        (At::Absent, Some(_)) => None,
        (_, Some(_)) => Some("the store has this run".to_owned()),
        (At::Over, None) => Some("the run is over".to_owned()),
        (At::Failed(_), None) if !append.reopens => Some("the run is over".to_owned()),
        (At::Running(last) | At::Resting(last) | At::Failed(last), None) if append.first != last + 1 => {
            Some(format!(
                "its last event is {last} and the append begins with {}",
                append.first
            ))
        }
        (At::Running(_) | At::Resting(_) | At::Failed(_), None) => None,
    }
}

impl RunWrite<'_> {
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.write_row(connection)?;
        self.write_events(connection)?;
        self.write_snapshots(connection)?;
        self.write_requests(connection)
    }

    fn write_row(&self, connection: &Connection) -> rusqlite::Result<()> {
        let id = self.run.0.as_bytes().as_slice();
        let (status, wake_at, ended) = match self.disposition {
            RunDisposition::Queued => (Status::Queued, None, None),
            RunDisposition::Running => (Status::Running, None, None),
            RunDisposition::Paused => (Status::Paused, None, None),
            RunDisposition::Waiting(wait) => (Status::Waiting, wait.until, None),
            RunDisposition::Over(ended) => (ended.status, None, Some(ended)),
        };
        let (status, wake_at) = (status.as_str(), wake_at.map(|at| at.0));
        let finished_at = ended.map(|ended| ended.at.0);
        let error = ended.and_then(|ended| ended.error.as_deref());
        if let Some(begins) = self.begins {
            let sql = "INSERT INTO runs (id, graph, status, created_at, finished_at, error, wake_at,
                                         priority, grp, origin)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let graph = self.upgraded.unwrap_or(&begins.graph);
            let (graph, created_at) = (&*graph.0, begins.created_at.0);
            let (group, origin) = (begins.group.as_deref(), begins.origin.as_deref());
            connection.prepare_cached(sql)?.execute(params![
                id,
                graph,
                status,
                created_at,
                finished_at,
                error,
                wake_at,
                begins.priority,
                group,
                origin
            ])?;
            return Ok(());
        }
        if let Some(graph) = self.upgraded {
            let sql = "UPDATE runs SET graph = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![id, &*graph.0])?;
        }
        match (self.before, self.disposition) {
            (At::Running(_), RunDisposition::Running) => {}
            // Apart from the other so that most runs, which never wait, do not touch the index of due times.
            (At::Running(_), RunDisposition::Over(_)) => {
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
        let sql = "INSERT INTO events (run, first_seq, last_seq, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = connection.prepare_cached(sql)?;
        let mut add = |first: u64, last: u64, body: &[u8]| {
            let sum = codec::sum(self.run, body);
            insert
                .execute(params![id, first as i64, last as i64, body, sum])
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

    fn write_snapshots(&self, connection: &Connection) -> rusqlite::Result<()> {
        for taken in &self.snapshots {
            let sql = "INSERT INTO snapshots (run, seq, sum, body) VALUES (?1, ?2, ?3, ?4)";
            let (id, body) = (self.run.0.as_bytes().as_slice(), taken.body.get().as_bytes());
            let row = params![id, taken.seq as i64, codec::sum(self.run, body), body];
            connection.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }

    fn write_requests(&self, connection: &Connection) -> rusqlite::Result<()> {
        for request in &self.requests {
            let sql = "INSERT INTO requests (scope, key, digest, run, seq) VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.prepare_cached(sql)?.execute(params![
                scope(request.to.as_ref()),
                &*request.key,
                &*request.digest.0,
                self.run.0.as_bytes().as_slice(),
                request.seq as i64
            ])?;
        }
        Ok(())
    }
}

impl Positions {
    fn of(&self, run: RunId, connection: &Connection) -> rusqlite::Result<At> {
        if self.broken.contains_key(&run) {
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
                Ok(match status_of(row, 0)? {
                    Status::Running => At::Running(last),
                    Status::Queued | Status::Waiting | Status::Paused => At::Resting(last),
                    Status::Failed => At::Failed(last),
                    Status::Finished | Status::Cancelled => At::Over,
                })
            })
            .optional()?;
        Ok(row.unwrap_or(At::Absent))
    }

    /// From here on every append of this run is answered so.
    pub(super) fn refuse(&mut self, run: RunId, verdict: Verdict) {
        self.last.remove(&run);
        self.broken.entry(run).or_insert(verdict);
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
                At::Resting(_) | At::Failed(_) | At::Over => {
                    self.last.remove(&write.run);
                }
                At::Broken => self.refuse(
                    write.run,
                    Verdict::Conflict("an append before this one was refused".to_owned()),
                ),
                At::Absent => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use heddle_kernel::{Status, Timestamp};
    use heddle_runtime::ports::{Ack, AppendError, RunWait};

    use super::{super::open, *};
    use crate::sqlite::job::Ended;

    struct Nobody;

    impl Ack for Nobody {
        fn durable(&self, _seq: u64) {}
        fn failed(&self, _error: AppendError) {}
    }

    fn append(number: u128, seq: u64, disposition: RunDisposition) -> Job {
        let created_at = Timestamp(0);
        let graph = GraphId("graph".into());
        let chunk = Chunk {
            first: seq,
            last: seq,
            body: b"{}\n".to_vec(),
        };
        let pending = Pending {
            run: RunId(uuid::Uuid::from_u128(number)),
            begins: (seq == 1).then_some(NewRun {
                graph,
                created_at,
                priority: 0,
                group: None,
                origin: None,
            }),
            reopens: false,
            upgraded: None,
            chunks: vec![chunk],
            first: seq,
            last: seq,
            disposition,
            requests: Vec::new(),
            snapshot: None,
            fault: None,
            ack: Arc::new(Nobody),
        };
        Job::Append(pending.into())
    }

    #[test]
    fn only_running_runs_are_remembered() {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let mut positions = Positions::default();
        let mut commit = |disposition: fn() -> RunDisposition, seq| {
            let jobs: Vec<Job> = (0..500)
                .map(|number| append(number, seq, disposition()))
                .collect();
            let verdicts = commit(&store.connection, &mut positions, &jobs).expect("a commit");
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Durable));
            assert!(positions.broken.is_empty());
            positions.last.len()
        };
        let over = || {
            RunDisposition::Over(Ended {
                status: Status::Finished,
                at: Timestamp(0),
                error: None,
            })
        };
        assert_eq!(commit(|| RunDisposition::Waiting(RunWait::default()), 1), 0);
        assert_eq!(commit(|| RunDisposition::Running, 2), 500);
        assert_eq!(commit(|| RunDisposition::Running, 3), 500);
        assert_eq!(commit(|| RunDisposition::Waiting(RunWait::default()), 4), 0);
        assert_eq!(commit(over, 5), 0);
    }
}
