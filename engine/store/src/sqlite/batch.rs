//! A batch: the jobs that are checked and written in one transaction.
//!
//! Planning only reads. The cached journal heads change after the transaction is committed, so a batch that failed can be
//! committed again.

use std::collections::{HashMap, HashSet};

use heddle_kernel::{Digest, GraphId, RunId};
use heddle_runtime::ports::{GraphRow, NewRun, Request, RunDisposition, RunSnapshot};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    deletion_queue,
    job::{Entry, Job},
    rows::status_of,
};
use crate::{
    append::{AFTER_REFUSED, JournalHead, mismatch},
    codec::{self, Chunk},
    prepared::PreparedAppend,
};

/// How many journal heads are cached. When there are more, the cache is emptied.
const MAX_CACHED_HEADS: usize = 65_536;

/// The result of a job in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The job wrote or deleted a row, and that is durable.
    Written,
    /// The job changed nothing: the row to insert existed, or the row to delete did not.
    Unchanged,
    /// This many runs were deleted.
    RunsDeleted(usize),
    /// The append breaks a rule or does not continue the journal of its run.
    Conflict(String),
    /// A request of the append was answered before, with this result.
    Duplicate(Box<Request>),
    /// The rows that the job needs are damaged.
    Damaged(String),
}

/// The last event number of running runs, so that most appends need no query. Runs that rest or are over are not cached,
/// so the cache stays small however many there are.
#[derive(Default)]
pub(super) struct HeadCache {
    last: HashMap<RunId, u64>,
    /// Runs of which an append was refused, with the verdict: later appends are refused too. The file lock excludes
    /// other writers, so the journal cannot have changed since.
    refused: HashMap<RunId, Verdict>,
    /// Runs whose last append was refused because a request was answered before. Appends that were sent before the run is
    /// loaded again do not continue its journal, and are refused without harm to the run.
    outdated: HashSet<RunId>,
    /// Whether rows of deleted runs may remain. A run whose id is among them can be imported again.
    pub(super) deletions_pending: bool,
}

/// What a batch writes of one run.
struct RunWrite<'a> {
    run: RunId,
    /// The head before the batch.
    before: JournalHead,
    /// The head after the appends that were planned so far.
    head: JournalHead,
    /// Whether the last append was refused because a request was answered before.
    is_outdated: bool,
    begins: Option<&'a NewRun>,
    /// The graph to which the run was upgraded.
    upgraded: Option<&'a GraphId>,
    chunks: Vec<&'a Chunk>,
    requests: Vec<&'a Request>,
    snapshots: Vec<&'a RunSnapshot>,
    /// How the last accepted append leaves the run.
    disposition: &'a RunDisposition,
    /// The error of a run that failed, as JSON.
    error: Option<&'a str>,
}

/// Commits these jobs in order, in one transaction, and returns a verdict for each.
pub(super) fn commit(
    connection: &Connection,
    heads: &mut HeadCache,
    jobs: &[Job],
) -> rusqlite::Result<Vec<Verdict>> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = write(connection, heads, jobs).and_then(|written| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(written)
    });
    match result {
        Ok((verdicts, runs)) => {
            heads.update(&runs);
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
    heads: &HeadCache,
    jobs: &'a [Job],
) -> rusqlite::Result<(Vec<Verdict>, Vec<RunWrite<'a>>)> {
    let mut plan = Plan {
        connection,
        heads,
        runs: Vec::new(),
        indexes: HashMap::new(),
        keys: HashMap::new(),
    };
    let mut verdicts = Vec::with_capacity(jobs.len());
    for job in jobs {
        verdicts.push(match job {
            Job::Append(append) => plan.add(append)?,
            other => write_other(connection, other)?,
        });
    }
    let runs = plan.runs;
    for run in &runs {
        run.write(connection)?;
    }
    Ok((verdicts, runs))
}

/// Writes a job that is not an append.
fn write_other(connection: &Connection, job: &Job) -> rusqlite::Result<Verdict> {
    let changed = match job {
        Job::Graph(graph, _) => write_graph(connection, graph)?,
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
        Job::DeleteRuns(runs, _) => {
            let count = deletion_queue::delete_runs(connection, runs)?;
            return Ok(Verdict::RunsDeleted(count));
        }
        Job::Append(_) | Job::Close(_) | Job::InjectFault(..) => {
            unreachable!("appends are planned, and the writer handles the others itself")
        }
    };
    Ok(match changed {
        0 => Verdict::Unchanged,
        _ => Verdict::Written,
    })
}

/// Inserts a graph, or completes the row that is there. Returns the number of inserted rows.
fn write_graph(connection: &Connection, graph: &GraphRow) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO graphs (id, name, definition, created_at, functions) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (id) DO NOTHING";
    let (id, name) = (&*graph.id.0, graph.name.as_deref());
    let functions = (!graph.functions.is_empty()).then(|| serde_json::to_string(&graph.functions));
    let functions = functions
        .transpose()
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let new = connection.prepare_cached(sql)?.execute(params![
        id,
        name,
        &*graph.definition,
        graph.created_at.0,
        functions,
    ])?;
    if new == 0 && name.is_some() {
        // The graph was imported without its name and is now created.
        let sql = "UPDATE graphs SET name = ?2, created_at = ?3 WHERE id = ?1 AND name IS NULL";
        let named = params![id, name, graph.created_at.0];
        connection.prepare_cached(sql)?.execute(named)?;
    }
    if new == 0 && functions.is_some() {
        let sql = "UPDATE graphs SET functions = ?2 WHERE id = ?1 AND functions IS NOT ?2";
        connection.prepare_cached(sql)?.execute(params![id, functions])?;
    }
    Ok(new)
}

/// Groups the appends of a batch by run, and checks that each continues the journal.
struct Plan<'a, 'c> {
    connection: &'c Connection,
    heads: &'c HeadCache,
    runs: Vec<RunWrite<'a>>,
    /// The index in `runs` of each run.
    indexes: HashMap<RunId, usize>,
    /// The requests that the batch answers, by scope and key.
    keys: HashMap<(Option<RunId>, &'a str), &'a Request>,
}

impl<'a> Plan<'a, '_> {
    /// Adds an append to the plan, or refuses it and all that follow of its run.
    fn add(&mut self, append: &'a PreparedAppend) -> rusqlite::Result<Verdict> {
        let index = self.index(append.run)?;
        let head = self.runs[index].head;
        let problem = append
            .fault
            .clone()
            .or_else(|| mismatch(head, append.begins.is_some(), append.reopens, append.first));
        if let Some(message) = problem {
            let run = &mut self.runs[index];
            if !run.is_outdated || append.fault.is_some() {
                run.head = JournalHead::Refused;
            }
            let earlier = self.heads.refused.get(&append.run);
            return Ok(earlier.cloned().unwrap_or(Verdict::Conflict(message)));
        }
        let answered = self.answered_before(&append.requests)?;
        let run = &mut self.runs[index];
        run.is_outdated = answered.is_some();
        if let Some(request) = answered {
            return Ok(Verdict::Duplicate(request));
        }
        run.begins = run.begins.or(append.begins.as_ref());
        run.upgraded = append.upgraded.as_ref().or(run.upgraded);
        run.chunks.extend(&append.chunks);
        run.requests.extend(&append.requests);
        run.snapshots.extend(&append.snapshot);
        run.disposition = &append.disposition;
        run.error = append.error.as_deref();
        run.head = JournalHead::new(append.disposition.status(), append.last);
        Ok(Verdict::Written)
    }

    /// The index of a run in the plan; a run that is not there yet is added.
    fn index(&mut self, run: RunId) -> rusqlite::Result<usize> {
        if let Some(index) = self.indexes.get(&run) {
            return Ok(*index);
        }
        let head = self.heads.of(run, self.connection)?;
        if head == JournalHead::Absent && self.heads.deletions_pending {
            deletion_queue::delete_remains(self.connection, run)?;
        }
        let index = self.runs.len();
        self.runs.push(RunWrite {
            run,
            before: head,
            head,
            is_outdated: self.heads.outdated.contains(&run),
            begins: None,
            upgraded: None,
            chunks: Vec::new(),
            requests: Vec::new(),
            snapshots: Vec::new(),
            disposition: &RunDisposition::Running,
            error: None,
        });
        self.indexes.insert(run, index);
        Ok(index)
    }

    /// The first of these requests that was answered before, with its result then. Adds the requests to the plan otherwise.
    fn answered_before(&mut self, requests: &'a [Request]) -> rusqlite::Result<Option<Box<Request>>> {
        for (index, request) in requests.iter().enumerate() {
            let mut earlier = requests[..index].iter();
            let planned = self.keys.get(&(request.to, &*request.key)).copied();
            let planned = planned
                .or_else(|| earlier.find(|earlier| (earlier.to, &earlier.key) == (request.to, &request.key)));
            let first = match planned {
                Some(first) => Some(first.clone()),
                None => stored_request(self.connection, request)?,
            };
            if first.is_some() {
                return Ok(first.map(Box::new));
            }
        }
        let planned = requests
            .iter()
            .map(|request| ((request.to, &*request.key), request));
        self.keys.extend(planned);
        Ok(None)
    }
}

/// The stored request with the same scope and key.
fn stored_request(connection: &Connection, request: &Request) -> rusqlite::Result<Option<Request>> {
    let sql = "SELECT digest, run, seq FROM requests WHERE scope = ?1 AND key = ?2";
    let mut found = connection.prepare_cached(sql)?;
    let row = found.query_row(params![scope(request.to.as_ref()), &*request.key], |row| {
        Ok(Request {
            to: request.to,
            key: request.key.clone(),
            digest: Digest(row.get(0)?),
            run: RunId(uuid::Uuid::from_bytes(row.get(1)?)),
            seq: row.get::<_, i64>(2)? as u64,
        })
    });
    row.optional()
}

/// The stored scope of a request: the id of the run that it went to, or empty if it started a run.
pub(super) fn scope(to: Option<&RunId>) -> &[u8] {
    to.map_or(&[], |run| run.0.as_bytes().as_slice())
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
        let (wake_at, finished_at) = match self.disposition {
            RunDisposition::Queued | RunDisposition::Running | RunDisposition::Paused => (None, None),
            RunDisposition::Waiting(wait) => (wait.until.map(|at| at.0), None),
            RunDisposition::Over(end) => (None, Some(end.at.0)),
        };
        let (status, error) = (self.disposition.status().as_str(), self.error);
        if let Some(begins) = self.begins {
            let sql = "INSERT INTO runs (id, graph, status, created_at, finished_at, error, wake_at,
                                         priority, grp, origin, group_limit)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
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
                origin,
                begins.group_limit,
            ])?;
            return Ok(());
        }
        if let Some(graph) = self.upgraded {
            let sql = "UPDATE runs SET graph = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![id, &*graph.0])?;
        }
        match (self.before, self.disposition) {
            (JournalHead::Running(_), RunDisposition::Running) => {}
            // Does not set `wake_at`, so that runs that never wait do not touch the index of due times.
            (JournalHead::Running(_), RunDisposition::Over(_)) => {
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
        for (first, last, body) in codec::rows(&self.chunks) {
            let sum = codec::checksum(self.run, &body);
            insert.execute(params![id, first as i64, last as i64, &*body, sum])?;
        }
        Ok(())
    }

    fn write_snapshots(&self, connection: &Connection) -> rusqlite::Result<()> {
        for taken in &self.snapshots {
            let sql = "INSERT INTO snapshots (run, seq, sum, body) VALUES (?1, ?2, ?3, ?4)";
            let (id, body) = (self.run.0.as_bytes().as_slice(), taken.body.get().as_bytes());
            let row = params![id, taken.seq as i64, codec::checksum(self.run, body), body];
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

impl HeadCache {
    fn of(&self, run: RunId, connection: &Connection) -> rusqlite::Result<JournalHead> {
        if self.refused.contains_key(&run) {
            return Ok(JournalHead::Refused);
        }
        if let Some(last) = self.last.get(&run) {
            return Ok(JournalHead::Running(*last));
        }
        let sql = "SELECT status,
                          (SELECT last_seq FROM events WHERE run = runs.id ORDER BY first_seq DESC LIMIT 1)
                   FROM runs WHERE id = ?1";
        let mut found = connection.prepare_cached(sql)?;
        let row = found
            .query_row([run.0.as_bytes().as_slice()], |row| {
                let last = row.get::<_, Option<i64>>(1)?.unwrap_or(0) as u64;
                Ok(JournalHead::new(status_of(row, 0)?, last))
            })
            .optional()?;
        Ok(row.unwrap_or(JournalHead::Absent))
    }

    /// Gives this verdict to every later append of the run.
    pub(super) fn refuse(&mut self, run: RunId, verdict: Verdict) {
        self.last.remove(&run);
        self.refused.entry(run).or_insert(verdict);
    }

    /// Caches the heads that a committed batch leaves.
    fn update(&mut self, runs: &[RunWrite<'_>]) {
        if self.last.len() > MAX_CACHED_HEADS {
            self.last.clear();
        }
        if self.outdated.len() > MAX_CACHED_HEADS {
            self.outdated.clear();
        }
        for write in runs {
            match write.is_outdated {
                true => drop(self.outdated.insert(write.run)),
                false if self.outdated.is_empty() => {}
                false => drop(self.outdated.remove(&write.run)),
            }
            match write.head {
                JournalHead::Running(last) => {
                    self.last.insert(write.run, last);
                }
                JournalHead::Resting(_) | JournalHead::Failed(_) | JournalHead::Over => {
                    self.last.remove(&write.run);
                }
                JournalHead::Refused => {
                    self.refuse(write.run, Verdict::Conflict(AFTER_REFUSED.to_owned()));
                }
                JournalHead::Absent => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use heddle_kernel::{Status, Timestamp};
    use heddle_runtime::ports::{Ack, AppendError, EngineId, RunEnd, RunWait};

    use super::{super::open, *};

    struct NoAck;

    impl Ack for NoAck {
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
        let pending = PreparedAppend {
            run: RunId(uuid::Uuid::from_u128(number)),
            owner: EngineId::EXCLUSIVE,
            begins: (seq == 1).then_some(NewRun {
                graph,
                created_at,
                priority: 0,
                group: None,
                group_limit: None,
                origin: None,
            }),
            reopens: false,
            upgraded: None,
            chunks: vec![chunk],
            first: seq,
            last: seq,
            disposition,
            error: None,
            requests: Vec::new(),
            commands: Vec::new(),
            snapshot: None,
            fault: None,
            ack: Arc::new(NoAck),
        };
        Job::Append(pending.into())
    }

    #[test]
    fn only_running_runs_are_cached() {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let mut heads = HeadCache::default();
        let mut commit = |disposition: fn() -> RunDisposition, seq| {
            let jobs: Vec<Job> = (0..500)
                .map(|number| append(number, seq, disposition()))
                .collect();
            let verdicts = commit(&store.connection, &mut heads, &jobs).expect("a commit");
            assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Written));
            assert!(heads.refused.is_empty());
            heads.last.len()
        };
        let over = || {
            RunDisposition::Over(RunEnd {
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
