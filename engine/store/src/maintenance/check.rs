//! Whether everything in a store can be read, and is what it should be.

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
    sqlite::{look, run_id, status_of},
};

/// How many problems of the file as a whole are told.
const MOST_PROBLEMS: usize = 100;

/// The format from which on bodies have sums and runs have snapshots.
const WITH_SUMS: i32 = 3;

/// Looks through the whole store at this path, as it is at this moment: the file's own structure, and every
/// run, whose events are read and folded. An engine may have it open meanwhile; its log grows until the check
/// is over.
///
/// # Errors
/// Where it cannot be opened, or is no store. What is wrong inside of it is in the report.
pub fn check(path: &Path) -> Result<Report, MaintenanceError> {
    let (connection, path, format) = look(path)?;
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
    /// The graphs whose definitions cannot be read, each with the reason.
    unreadable: HashMap<GraphId, String>,
    counts: Counts,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn all(&mut self) -> rusqlite::Result<()> {
        // Everything is seen as it is at one moment.
        self.connection.execute_batch("BEGIN")?;
        self.part("the file", Self::structure);
        self.part("the table of plugins", Self::plugins);
        self.part("the table of graphs", Self::definitions);
        self.part("the table of runs", Self::runs);
        self.part("the table of events", Self::strays);
        if self.format >= WITH_SUMS {
            self.part("the table of schedules", Self::schedules);
        }
        self.connection.execute_batch("ROLLBACK")
    }

    /// Looks at one part; where that cannot be read to its end, the others still are.
    fn part(&mut self, name: &str, look: fn(&mut Self) -> rusqlite::Result<()>) {
        if let Err(error) = look(self) {
            self.tell(None, format!("{name} cannot be read to its end: {error}"));
        }
    }

    fn tell(&mut self, run: impl Into<Option<RunId>>, message: String) {
        let run = run.into();
        self.problems.push(Problem { run, message });
    }

    fn structure(&mut self) -> rusqlite::Result<()> {
        let sql = format!("PRAGMA integrity_check({MOST_PROBLEMS})");
        let found: Vec<String> = self.rows(&sql, &[], |row| row.get(0))?;
        for message in found.into_iter().filter(|message| message != "ok") {
            self.tell(None, message);
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
                Ok(false) => self.tell(
                    None,
                    format!("the component of plugin {name} ({digest}) is not what its digest says"),
                ),
                Err(error) => self.tell(
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
                self.tell(
                    None,
                    format!("the definition of graph {id} cannot be read: {error}"),
                );
                self.unreadable.insert(id, error);
            }
        }
        Ok(())
    }

    /// The definition of a graph, which is read anew each time: together they may take more than there is memory.
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
                self.tell(None, format!("schedule {name} is no JSON: {error}"));
            }
        }
        Ok(())
    }

    /// Events and snapshots that are of no run.
    fn strays(&mut self) -> rusqlite::Result<()> {
        let sql = match self.format {
            ..WITH_SUMS => "SELECT DISTINCT run FROM events EXCEPT SELECT id FROM runs",
            _ => {
                "SELECT * FROM (SELECT DISTINCT run FROM events UNION SELECT DISTINCT run FROM snapshots)
                 EXCEPT SELECT id FROM runs EXCEPT SELECT run FROM trash"
            }
        };
        for run in self.rows(sql, &[], run_id)?.into_iter().take(MOST_PROBLEMS) {
            self.tell(
                run,
                "there are events of it, and it is in no list of runs".to_owned(),
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
                    self.tell(id, format!("its row cannot be read: {error}"));
                    None
                }
            };
            self.counts.unfinished += u64::from(listed.is_some_and(|status| !status.is_over()));
            let problem = match self.folded(id) {
                Ok(run) => differs(listed, run.status),
                Err(problem) => Some(problem),
            };
            if let Some(problem) = problem {
                self.tell(id, problem);
            }
            if self.format >= WITH_SUMS {
                self.snapshots(id);
            }
        }
        Ok(())
    }

    /// The run as its events make it.
    fn folded(&mut self, id: RunId) -> Result<Run, String> {
        let sum = match self.format {
            ..WITH_SUMS => "NULL",
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
                format!("its graph {id} is not as it was checked: {first}")
            })?;
            match graph.id == *id {
                true => Ok(Arc::new(graph)),
                false => Err(format!("its graph {id} is not what its id says")),
            }
        })
    }

    /// Whether every snapshot of a run can be read.
    fn snapshots(&mut self, id: RunId) {
        let run = id.0.as_bytes().as_slice();
        let sql = "SELECT seq FROM snapshots WHERE run = ?1 ORDER BY seq";
        let all = match self.rows(sql, params![run], |row| row.get::<_, i64>(0)) {
            Ok(all) => all,
            Err(error) => return self.tell(id, format!("its snapshots cannot be read: {error}")),
        };
        for seq in all {
            self.counts.snapshots += 1;
            let sql = "SELECT body, sum FROM snapshots WHERE run = ?1 AND seq = ?2";
            let read = self.connection.query_row(sql, params![run, seq], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
            });
            let read = read.map_err(|error| error.to_string());
            if let Err(problem) = read.and_then(|(body, sum)| snapshot(id, seq as u64, body, sum)) {
                let message = format!("its snapshot at event {seq}: {problem}; it is not needed");
                self.tell(id, message);
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

fn snapshot(id: RunId, seq: u64, body: Vec<u8>, sum: Option<i64>) -> Result<(), String> {
    codec::verify(id, &body, sum)?;
    let text = String::from_utf8(body).map_err(|error| error.to_string())?;
    let read = Snapshot::read(&text).map_err(|error| error.to_string())?;
    match read.seq == seq {
        true => Ok(()),
        false => Err(format!("it is of event {}", read.seq)),
    }
}

/// How the row of a run contradicts its events.
fn differs(listed: Option<Status>, folded: Status) -> Option<String> {
    let listed = listed?;
    let over = listed.is_over() || folded.is_over();
    (over && listed != folded).then(|| {
        format!(
            "it is listed as {}, and by its events it is {}",
            listed.as_str(),
            folded.as_str()
        )
    })
}
