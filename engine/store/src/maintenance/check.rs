//! Checks a store for damage: every row is read, and every run is rebuilt from its events.
//!
//! The check reads one consistent state and changes nothing. Damage in one part does not keep the other parts from being
//! checked.

use std::{collections::HashMap, fmt::Display, path::Path, sync::Arc};

use heddle_json::object::json;
use heddle_kernel::{
    Digest, EventRecord, GraphId, Run, RunId, Status,
    graph::Pins,
    run::{NamedGraphs, Snapshot},
};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{Counts, MaintenanceError, Problem, Report};
use crate::{
    codec,
    sqlite::{open_read_only, run_id, status_of},
};

/// How many problems the report lists of the file's structure and of orphaned rows, each.
const MAX_PROBLEMS: usize = 100;

/// The first format whose bodies have checksums and whose runs have snapshots.
const FORMAT_WITH_CHECKSUMS: i32 = 3;

/// Checks the store at this path: the structure of the file, and every run by folding its events. An engine may have the
/// store open; its write-ahead log grows until the check ends.
///
/// # Errors
/// If the file cannot be opened or is not a store. Damage inside the store is in the report.
pub fn check(path: &Path) -> Result<Report, MaintenanceError> {
    let (connection, path, format) = open_read_only(path)?;
    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
    let mut check = Check {
        connection: &connection,
        format,
        unreadable: HashMap::new(),
        counts: Counts::default(),
        problems: Vec::new(),
    };
    check.all().map_err(|error| MaintenanceError::Failed {
        path: path.clone(),
        message: error.to_string(),
    })?;
    let Check { counts, problems, .. } = check;
    Ok(Report {
        path,
        format,
        bytes,
        counts,
        problems,
    })
}

struct Check<'c> {
    connection: &'c Connection,
    format: i32,
    /// Graphs whose definitions cannot be read, with the reason.
    unreadable: HashMap<GraphId, String>,
    counts: Counts,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn all(&mut self) -> rusqlite::Result<()> {
        // One read transaction, so that every query sees the same state.
        self.connection.execute_batch("BEGIN")?;
        self.part("the file", Self::structure);
        self.part("the table of plugins", Self::plugins);
        self.part("the table of graphs", Self::definitions);
        self.part("the table of runs", Self::runs);
        self.part("the table of events", Self::orphans);
        if self.format >= FORMAT_WITH_CHECKSUMS {
            self.part("the table of schedules", Self::schedules);
        }
        self.connection.execute_batch("ROLLBACK")
    }

    /// Checks one part. If reading it fails, reports that; the caller goes on with the next part.
    fn part(&mut self, name: &str, check: fn(&mut Self) -> rusqlite::Result<()>) {
        if let Err(error) = check(self) {
            self.report(None, format!("{name} cannot be read completely: {error}"));
        }
    }

    fn report(&mut self, run: impl Into<Option<RunId>>, message: String) {
        let run = run.into();
        self.problems.push(Problem { run, message });
    }

    fn structure(&mut self) -> rusqlite::Result<()> {
        let sql = format!("PRAGMA integrity_check({MAX_PROBLEMS})");
        let found: Vec<String> = self.rows(&sql, &[], |row| row.get(0))?;
        for message in found.into_iter().filter(|message| message != "ok") {
            self.report(None, message);
        }
        Ok(())
    }

    fn plugins(&mut self) -> rusqlite::Result<()> {
        let all: Vec<(i64, Arc<str>, Arc<str>)> =
            self.rows("SELECT position, name, digest FROM plugins", &[], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        for (position, name, digest) in all {
            self.counts.plugins += 1;
            let sql = "SELECT component FROM plugins WHERE position = ?1";
            let found = self.connection.query_row(sql, [position], |row| {
                Ok(Digest::of(row.get_ref(0)?.as_blob()?).0 == digest)
            });
            match found {
                Ok(true) => {}
                Ok(false) => self.report(
                    None,
                    format!("the component of plugin {name} ({digest}) does not match its digest"),
                ),
                Err(error) => self.report(
                    None,
                    format!("the component of plugin {name} ({digest}) cannot be read: {error}"),
                ),
            }
        }
        Ok(())
    }

    fn definitions(&mut self) -> rusqlite::Result<()> {
        let ids: Vec<Arc<str>> = self.rows("SELECT id FROM graphs", &[], |row| row.get(0))?;
        for id in ids {
            self.counts.graphs += 1;
            let id = GraphId(id);
            if let Err(error) = self.definition(&id) {
                let error = error.to_string();
                self.report(
                    None,
                    format!("the definition of graph {id} cannot be read: {error}"),
                );
                self.unreadable.insert(id, error);
            }
        }
        Ok(())
    }

    /// The definition of a graph. It is not cached, because all definitions together may exceed the memory.
    fn definition(&self, id: &GraphId) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT definition FROM graphs WHERE id = ?1";
        let mut query = self.connection.prepare_cached(sql)?;
        query.query_row([&*id.0], |row| row.get(0)).optional()
    }

    fn schedules(&mut self) -> rusqlite::Result<()> {
        let all: Vec<(String, String)> = self.rows("SELECT name, body FROM schedules", &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        for (name, body) in all {
            self.counts.schedules += 1;
            if let Err(error) = json(&body) {
                self.report(None, format!("schedule {name} is not valid JSON: {error}"));
            }
        }
        Ok(())
    }

    /// Events and snapshots whose run does not exist.
    fn orphans(&mut self) -> rusqlite::Result<()> {
        let sql = match self.format {
            ..FORMAT_WITH_CHECKSUMS => "SELECT DISTINCT run FROM events EXCEPT SELECT id FROM runs",
            _ => {
                "SELECT * FROM (SELECT DISTINCT run FROM events UNION SELECT DISTINCT run FROM snapshots)
                 EXCEPT SELECT id FROM runs EXCEPT SELECT run FROM trash"
            }
        };
        for run in self.rows(sql, &[], run_id)?.into_iter().take(MAX_PROBLEMS) {
            self.report(
                run,
                "its events or snapshots exist, but the table of runs does not list it".to_owned(),
            );
        }
        Ok(())
    }

    fn runs(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT id, status FROM runs ORDER BY id";
        let connection = self.connection;
        let mut query = connection.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            self.counts.runs += 1;
            let id = run_id(row)?;
            let listed = match status_of(row, 1) {
                Ok(status) => Some(status),
                Err(error) => {
                    self.report(id, format!("its row cannot be read: {error}"));
                    None
                }
            };
            self.counts.unfinished += u64::from(listed.is_some_and(|status| !status.is_over()));
            let problem = match self.replay(id) {
                Ok(run) => status_mismatch(listed, run.status),
                Err(problem) => Some(problem),
            };
            if let Some(problem) = problem {
                self.report(id, problem);
            }
            if self.format >= FORMAT_WITH_CHECKSUMS {
                self.snapshots(id);
            }
        }
        Ok(())
    }

    /// Rebuilds a run from its events.
    fn replay(&mut self, id: RunId) -> Result<Run, String> {
        let sum = match self.format {
            ..FORMAT_WITH_CHECKSUMS => "NULL",
            _ => "sum",
        };
        let sql =
            format!("SELECT first_seq, last_seq, body, {sum} FROM events WHERE run = ?1 ORDER BY first_seq");
        let text = |error: rusqlite::Error| error.to_string();
        let connection = self.connection;
        let mut query = connection.prepare_cached(&sql).map_err(text)?;
        let mut rows = query.query([id.0.as_bytes().as_slice()]).map_err(text)?;
        let mut run = None;
        while let Some(row) = rows.next().map_err(text)? {
            let numbers = (row.get::<_, i64>(0), row.get::<_, i64>(1));
            let (first, last) = (numbers.0.map_err(text)? as u64, numbers.1.map_err(text)? as u64);
            let body = row.get_ref(2).map_err(text)?;
            let body = body.as_blob().map_err(|error| error.to_string())?;
            codec::verify(id, body, row.get(3).map_err(text)?)
                .map_err(|problem| format!("events {first} to {last}: {problem}"))?;
            let mut problem = None;
            codec::decode(first, last, body, |event, _| {
                self.counts.events += 1;
                problem = self.fold(id, &mut run, &event).err();
                problem.is_none()
            })?;
            if let Some(problem) = problem {
                return Err(problem);
            }
        }
        run.ok_or_else(|| "it has no events".to_owned())
    }

    fn fold(&self, id: RunId, run: &mut Option<Run>, event: &EventRecord) -> Result<(), String> {
        let graphs = Pins::of(&event.event)
            .map(|pins| self.pinned_graphs(&pins))
            .transpose()?;
        Run::fold_next(run, id, event, graphs).map_err(|error| error.to_string())
    }

    /// The graphs that a run is pinned to.
    fn pinned_graphs(&self, pins: &Pins<'_>) -> Result<NamedGraphs, String> {
        pins.resolve(|id| {
            let unreadable = |error: &dyn Display| format!("its graph {id} cannot be read: {error}");
            if let Some(error) = self.unreadable.get(id) {
                return Err(unreadable(error));
            }
            let definition = self.definition(id).map_err(|error| unreadable(&error))?;
            let definition = definition.ok_or_else(|| format!("its graph {id} is not stored"))?;
            let graph = pins.rebuild(&definition).map_err(|found| {
                let first = found.first().map_or("", |first| &first.message);
                format!("its graph {id} is no longer valid: {first}")
            })?;
            match graph.id == *id {
                true => Ok(Arc::new(graph)),
                false => Err(format!("the definition of its graph {id} does not match the id")),
            }
        })
    }

    /// Reads every snapshot of a run and reports those that are damaged.
    fn snapshots(&mut self, id: RunId) {
        let run = id.0.as_bytes().as_slice();
        let sql = "SELECT seq FROM snapshots WHERE run = ?1 ORDER BY seq";
        let all = match self.rows(sql, params![run], |row| row.get::<_, i64>(0)) {
            Ok(all) => all,
            Err(error) => return self.report(id, format!("its snapshots cannot be read: {error}")),
        };
        for seq in all {
            self.counts.snapshots += 1;
            let sql = "SELECT body, sum FROM snapshots WHERE run = ?1 AND seq = ?2";
            let read = self.connection.query_row(sql, params![run, seq], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
            });
            let read = read.map_err(|error| error.to_string());
            if let Err(problem) = read.and_then(|(body, sum)| check_snapshot(id, seq as u64, body, sum)) {
                let message =
                    format!("its snapshot at event {seq}: {problem}; the run can be loaded without it");
                self.report(id, message);
            }
        }
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut query = self.connection.prepare_cached(sql)?;
        query.query_map(values, read)?.collect()
    }
}

fn check_snapshot(id: RunId, seq: u64, body: Vec<u8>, sum: Option<i64>) -> Result<(), String> {
    codec::verify(id, &body, sum)?;
    let text = String::from_utf8(body).map_err(|error| error.to_string())?;
    let read = Snapshot::read(&text).map_err(|error| error.to_string())?;
    match read.seq == seq {
        true => Ok(()),
        false => Err(format!("it contains the run at event {}", read.seq)),
    }
}

/// The contradiction between the row of a run and its events, if one of them says that the run is over.
fn status_mismatch(listed: Option<Status>, replayed: Status) -> Option<String> {
    let listed = listed?;
    let over = listed.is_over() || replayed.is_over();
    (over && listed != replayed).then(|| {
        format!(
            "the table of runs says {}, but its events say {}",
            listed.as_str(),
            replayed.as_str()
        )
    })
}
