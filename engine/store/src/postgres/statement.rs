//! The one statement that writes a batch of appends.
//!
//! It checks the engine's row, the owner and the last event of each run, and writes the runs that match. The others are
//! left unchanged and are missing in its answer. One statement is one transaction and one round trip.
//!
//! The statement has only the parts that a batch needs, so there are a few variants, each prepared once per connection.

use std::{borrow::Cow, fmt::Write as _};

use heddle_kernel::{Digest, RunId};
use heddle_runtime::ports::{CommandId, EngineId, Request, RunDisposition};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::plan::{Plan, RunWrite};
use crate::codec;

/// The parts that a variant of the statement has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Whether it changes existing runs.
    changes: bool,
    /// Whether it creates runs.
    begins: bool,
    /// Whether a run in a group can be created.
    begins_in_group: bool,
    requests: bool,
    commands: bool,
    snapshots: bool,
    /// Whether it returns the engines that watch the runs.
    watched: bool,
}

impl Shape {
    pub(super) fn of(plan: &Plan<'_>, watched: bool) -> Self {
        let any = |has: fn(&RunWrite<'_>) -> bool| plan.runs.iter().any(has);
        Self {
            changes: any(|run| run.begins.is_none()),
            begins: any(|run| run.begins.is_some()),
            begins_in_group: any(|run| run.begins.is_some_and(|begins| begins.group.is_some())),
            requests: any(|run| !run.requests.is_empty()),
            commands: any(|run| !run.commands.is_empty()),
            snapshots: any(|run| !run.snapshots.is_empty()),
            watched,
        }
    }

    /// Whether the statement stores requests.
    pub(super) fn has_requests(self) -> bool {
        self.requests
    }

    /// The text of the statement. Its parameters are the engine's id and [`Columns::values`].
    pub(super) fn sql(self) -> String {
        let mut parts = Parts::default();
        parts.add("me", "SELECT id FROM engines WHERE id = $1 FOR KEY SHARE", true);
        if self.requests {
            let requests = parts.unnest(&["uuid", "text", "text", "uuid", "bigint"]);
            parts.add(
                "asked",
                &format!("SELECT * FROM {requests} AS a(scope, key, digest, run, seq)"),
                true,
            );
            parts.add(
                "repeated",
                "SELECT asked.run AS of_run, r.* FROM asked JOIN requests r ON r.scope = asked.scope AND r.key = asked.key",
                true,
            );
        }
        if self.commands {
            let commands = parts.unnest(&["uuid", "bigint", "text"]);
            parts.add(
                "answered",
                &format!("SELECT * FROM {commands} AS a(run, id, body)"),
                true,
            );
            parts.add(
                "held",
                "SELECT i.run, i.id, i.sender FROM answered a JOIN inbox i ON i.run = a.run AND i.id = a.id FOR UPDATE OF i",
                true,
            );
        }
        if self.changes {
            let sql = self.change(&mut parts);
            parts.add("changed", &sql, false);
        }
        if self.begins {
            let sql = self.begin(&mut parts);
            parts.add("begun", &sql, false);
        }
        self.write_rest(&mut parts);
        parts.finish(&self.answer())
    }

    /// The conditions that an append has beyond those of its run.
    fn conditions(self, alias: &str) -> String {
        let mut sql = String::new();
        if self.requests {
            let _ = write!(
                sql,
                " AND ({alias}.run IN (SELECT of_run FROM repeated)) IS NOT TRUE"
            );
        }
        if self.commands {
            // A command that its sender has withdrawn is not applied.
            let _ = write!(
                sql,
                " AND (SELECT count(*) FROM answered WHERE answered.run = {alias}.run)
                    = (SELECT count(*) FROM held WHERE held.run = {alias}.run)"
            );
        }
        sql
    }

    fn change(self, parts: &mut Parts) -> String {
        let appends = parts.unnest(&[
            "uuid", "bigint", "bigint", "boolean", "text", "bigint", "bigint", "text", "text", "text",
        ]);
        let counted = "(runs.grp IS NOT NULL AND a.status IN ('running', 'waiting', 'paused'))";
        format!(
            "UPDATE runs SET last_seq = a.last_seq, status = a.status,
                 engine = CASE WHEN a.status = 'running' THEN me.id END,
                 wake_at = a.wake_at, finished_at = a.finished_at, error = a.error,
                 graph = coalesce(a.graph, runs.graph),
                 graphs = CASE WHEN a.graphs IS NULL THEN runs.graphs
                          ELSE coalesce(runs.graphs, '{{}}') || string_to_array(a.graphs, ',') END,
                 counted = {counted}, counted_by = {counted}::int - runs.counted::int
             FROM me, {appends}
                 AS a(run, before, last_seq, reopens, status, wake_at, finished_at, error, graph, graphs)
             WHERE runs.id = a.run AND runs.last_seq = a.before
                 AND (runs.engine = me.id OR runs.engine IS NULL)
                 AND (runs.status NOT IN ('finished', 'failed', 'cancelled') OR (a.reopens AND runs.status = 'failed'))
                 {}
             RETURNING runs.id, runs.grp, runs.counted_by",
            self.conditions("a")
        )
    }

    fn begin(self, parts: &mut Parts) -> String {
        let begins = parts.unnest(&[
            "uuid", "bigint", "text", "text", "text", "bigint", "bigint", "bigint", "integer", "text",
            "integer", "text", "text",
        ]);
        let counted = "(b.grp IS NOT NULL AND b.status IN ('running', 'waiting', 'paused'))";
        format!(
            "INSERT INTO runs (id, engine, last_seq, graph, graphs, status, created_at, finished_at, wake_at, priority, grp,
                 group_limit, origin, error, counted, counted_by)
             SELECT b.run, CASE WHEN b.status = 'running' THEN me.id END, b.last_seq, b.graph,
                 string_to_array(b.graphs, ','), b.status, b.created_at, b.finished_at, b.wake_at, b.priority, b.grp,
                 b.group_limit, b.origin, b.error, {counted}, {counted}::int
             FROM me, {begins}
                 AS b(run, last_seq, graph, graphs, status, created_at, finished_at, wake_at, priority, grp, group_limit,
                      origin, error)
             WHERE NOT EXISTS (SELECT FROM trash WHERE trash.run = b.run) {}
             ON CONFLICT (id) DO NOTHING
             RETURNING id, grp, counted_by, group_limit, created_at",
            self.conditions("b")
        )
    }

    /// The parts that depend on which runs match.
    fn write_rest(self, parts: &mut Parts) {
        let written = match (self.changes, self.begins) {
            (true, true) => "SELECT id FROM changed UNION ALL SELECT id FROM begun",
            (true, false) => "SELECT id FROM changed",
            (false, _) => "SELECT id FROM begun",
        };
        parts.add("written", written, true);
        // A subquery that is compared with TRUE is hashed and not joined, so its cost is one look-up for each row.
        let of_written = |alias: &str| format!("({alias}.run IN (SELECT id FROM written)) IS TRUE");
        let events = parts.unnest(&["uuid", "bigint", "bigint", "bigint", "bytea"]);
        let sql = format!(
            "INSERT INTO events (run, first_seq, last_seq, sum, body)
             SELECT * FROM {events} AS e(run, first_seq, last_seq, sum, body) WHERE {}",
            of_written("e")
        );
        parts.add("added_events", &sql, false);
        if self.snapshots {
            let snapshots = parts.unnest(&["uuid", "bigint", "bigint", "bytea"]);
            let sql = format!(
                "INSERT INTO snapshots (run, seq, sum, body)
                 SELECT * FROM {snapshots} AS s(run, seq, sum, body) WHERE {}",
                of_written("s")
            );
            parts.add("added_snapshots", &sql, false);
        }
        if self.requests {
            let sql = format!(
                "INSERT INTO requests (scope, key, digest, run, seq)
                 SELECT scope, key, digest, run, seq FROM asked WHERE {}",
                of_written("asked")
            );
            parts.add("added_requests", &sql, false);
        }
        if self.commands {
            let sql = format!(
                "DELETE FROM inbox USING held WHERE inbox.run = held.run AND inbox.id = held.id AND {}
                 RETURNING inbox.id, inbox.sender",
                of_written("held")
            );
            parts.add("handled", &sql, false);
            let sql = "INSERT INTO answers (id, sender, body)
                       SELECT handled.id, handled.sender, answered.body
                       FROM handled JOIN answered ON answered.id = handled.id";
            parts.add("added_answers", sql, false);
        }
        if self.changes || self.begins_in_group {
            parts.add("counted", &self.count(), false);
        }
    }

    /// Changes the counts of the groups. A group's row is locked only if its count or limit changes, in the order of the
    /// names.
    fn count(self) -> String {
        let mut sources = Vec::new();
        if self.changes {
            sources.push(
                "SELECT grp, counted_by, NULL::integer AS group_limit, NULL::bigint AS created_at
                 FROM changed WHERE counted_by <> 0",
            );
        }
        if self.begins_in_group {
            sources.push("SELECT grp, counted_by, group_limit, created_at FROM begun WHERE grp IS NOT NULL");
        }
        format!(
            "INSERT INTO groups AS g (name, active, run_limit, created_at)
             SELECT grp, sum(counted_by), (array_agg(group_limit ORDER BY created_at DESC NULLS LAST))[1],
                 coalesce(max(created_at), -1)
             FROM ({}) AS changes WHERE grp IS NOT NULL GROUP BY grp ORDER BY grp
             ON CONFLICT (name) DO UPDATE SET active = g.active + excluded.active,
                 run_limit = CASE WHEN excluded.created_at >= g.created_at THEN excluded.run_limit ELSE g.run_limit END,
                 created_at = greatest(g.created_at, excluded.created_at)",
            sources.join(" UNION ALL ")
        )
    }

    fn answer(self) -> String {
        let mut sql = "SELECT EXISTS (SELECT FROM me), ARRAY(SELECT id FROM written)".to_owned();
        if self.requests {
            for column in ["scope", "key", "digest", "run", "seq"] {
                let _ = write!(sql, ", ARRAY(SELECT {column} FROM repeated)");
            }
        }
        if self.commands {
            sql += ", ARRAY(SELECT sender FROM handled)";
        }
        if self.watched {
            let watchers = "FROM written JOIN watched w ON w.run = written.id AND w.engine <> $1";
            let _ = write!(
                sql,
                ", ARRAY(SELECT w.run {watchers} ORDER BY w.run, w.engine), ARRAY(SELECT w.engine {watchers} ORDER BY w.run, w.engine)"
            );
        }
        sql
    }
}

/// The common table expressions of a statement, and the number of its parameters.
struct Parts {
    sql: String,
    parameters: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            sql: String::new(),
            parameters: 1,
        }
    }
}

impl Parts {
    fn add(&mut self, name: &str, sql: &str, is_materialized: bool) {
        self.sql += if self.sql.is_empty() { "WITH " } else { ",\n" };
        let materialized = if is_materialized { "MATERIALIZED " } else { "" };
        let _ = write!(self.sql, "{name} AS {materialized}({sql})");
    }

    /// `unnest` of the next parameters, arrays of these types.
    fn unnest(&mut self, types: &[&str]) -> String {
        let mut arrays = Vec::with_capacity(types.len());
        for name in types {
            self.parameters += 1;
            arrays.push(format!("${}::{name}[]", self.parameters));
        }
        format!("unnest({})", arrays.join(", "))
    }

    fn finish(self, answer: &str) -> String {
        format!("{}\n{answer}", self.sql)
    }
}

/// The parameters of a statement, a column for each array.
pub(super) struct Columns<'a>(Vec<Box<dyn ToSql + Sync + Send + 'a>>);

/// Collects a column.
macro_rules! column {
    ($rows:expr, $value:expr) => {
        Box::new($rows.map($value).collect::<Vec<_>>())
    };
}

impl<'a> Columns<'a> {
    pub(super) fn new(shape: Shape, engine: EngineId, plan: &'a Plan<'a>) -> Self {
        let mut columns = Self(vec![Box::new(engine.0)]);
        if shape.requests {
            columns.requests(plan);
        }
        if shape.commands {
            columns.commands(plan);
        }
        if shape.changes {
            columns.changes(plan);
        }
        if shape.begins {
            columns.begins(plan);
        }
        columns.events(plan);
        if shape.snapshots {
            columns.snapshots(plan);
        }
        columns
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0
            .iter()
            .map(|value| &**value as &(dyn ToSql + Sync))
            .collect()
    }

    fn requests(&mut self, plan: &'a Plan<'a>) {
        let rows = || plan.runs.iter().flat_map(|run| &run.requests);
        self.0.push(column!(rows(), |request| scope(request.to)));
        self.0.push(column!(rows(), |request| &*request.key));
        self.0.push(column!(rows(), |request| &*request.digest.0));
        self.0.push(column!(rows(), |request| request.run.0));
        self.0.push(column!(rows(), |request| request.seq as i64));
    }

    fn commands(&mut self, plan: &'a Plan<'a>) {
        let rows = || {
            let of_run = |run: &'a RunWrite<'a>| run.commands.iter().map(move |answer| (run.run.0, *answer));
            plan.runs.iter().flat_map(of_run)
        };
        self.0.push(column!(rows(), |(run, _)| run));
        self.0.push(column!(rows(), |(_, answer)| {
            let CommandId(id) = answer.id;
            id
        }));
        self.0.push(column!(rows(), |(_, answer)| &*answer.body));
    }

    fn changes(&mut self, plan: &'a Plan<'a>) {
        let rows = || plan.runs.iter().filter(|run| run.begins.is_none());
        self.0.push(column!(rows(), |run| run.run.0));
        self.0.push(column!(rows(), |run| run.first as i64 - 1));
        self.0.push(column!(rows(), |run| run.last as i64));
        self.0.push(column!(rows(), |run| run.reopens));
        self.0
            .push(column!(rows(), |run| run.disposition.status().as_str()));
        self.0.push(column!(rows(), |run| wake_at(run.disposition)));
        self.0.push(column!(rows(), |run| finished_at(run.disposition)));
        self.0.push(column!(rows(), |run| run.error));
        self.0
            .push(column!(rows(), |run| run.upgraded.map(|graph| &*graph.0)));
        self.0.push(column!(rows(), graphs));
    }

    fn begins(&mut self, plan: &'a Plan<'a>) {
        let rows = || plan.runs.iter().filter_map(|run| Some((run, run.begins?)));
        self.0.push(column!(rows(), |(run, _)| run.run.0));
        self.0.push(column!(rows(), |(run, _)| run.last as i64));
        self.0.push(column!(rows(), |(run, begins)| &*run
            .upgraded
            .unwrap_or(&begins.graph)
            .0));
        self.0.push(column!(rows(), |(run, _)| graphs(run)));
        self.0
            .push(column!(rows(), |(run, _)| run.disposition.status().as_str()));
        self.0.push(column!(rows(), |(_, begins)| begins.created_at.0));
        self.0
            .push(column!(rows(), |(run, _)| finished_at(run.disposition)));
        self.0.push(column!(rows(), |(run, _)| wake_at(run.disposition)));
        self.0.push(column!(rows(), |(_, begins)| begins.priority));
        self.0
            .push(column!(rows(), |(_, begins)| begins.group.as_deref()));
        self.0.push(column!(rows(), |(_, begins)| begins
            .group_limit
            .map(|limit| i32::try_from(limit).unwrap_or(i32::MAX))));
        self.0
            .push(column!(rows(), |(_, begins)| begins.origin.as_deref()));
        self.0.push(column!(rows(), |(run, _)| run.error));
    }

    fn events(&mut self, plan: &'a Plan<'a>) {
        let mut rows: Vec<(Uuid, EventRow<'a>)> = Vec::with_capacity(plan.runs.len());
        for run in &plan.runs {
            rows.extend(event_rows(run).into_iter().map(|row| (run.run.0, row)));
        }
        self.0.push(column!(rows.iter(), |(run, _)| *run));
        self.0.push(column!(rows.iter(), |(_, row)| row.first as i64));
        self.0.push(column!(rows.iter(), |(_, row)| row.last as i64));
        self.0.push(column!(rows.iter(), |(_, row)| row.sum));
        self.0.push(column!(rows.into_iter(), |(_, row)| row.body));
    }

    fn snapshots(&mut self, plan: &'a Plan<'a>) {
        let rows = || {
            let of_run = |run: &'a RunWrite<'a>| run.snapshots.iter().map(move |taken| (run.run, *taken));
            plan.runs.iter().flat_map(of_run)
        };
        let body = |(_, taken): (RunId, &'a heddle_runtime::ports::RunSnapshot)| taken.body.get().as_bytes();
        self.0.push(column!(rows(), |(run, _)| run.0));
        self.0.push(column!(rows(), |(_, taken)| taken.seq as i64));
        self.0.push(column!(rows(), |row| i64::from(codec::checksum(
            row.0,
            body(row)
        ))));
        self.0.push(column!(rows(), body));
    }
}

/// A row of the table `events`.
pub(super) struct EventRow<'a> {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) sum: i64,
    pub(super) body: Cow<'a, [u8]>,
}

/// The rows of the table `events` that a batch adds to a run.
pub(super) fn event_rows<'a>(run: &RunWrite<'a>) -> Vec<EventRow<'a>> {
    codec::rows(&run.chunks)
        .map(|(first, last, body)| EventRow {
            first,
            last,
            sum: i64::from(codec::checksum(run.run, &body)),
            body,
        })
        .collect()
}

/// The stored scope of a request: the run that it went to, or the nil UUID if it started a run.
pub(super) fn scope(to: Option<RunId>) -> Uuid {
    to.map_or(Uuid::nil(), |run| run.0)
}

fn wake_at(disposition: &RunDisposition) -> Option<i64> {
    match disposition {
        RunDisposition::Waiting(wait) => wait.until.map(|at| at.0),
        _ => None,
    }
}

fn finished_at(disposition: &RunDisposition) -> Option<i64> {
    match disposition {
        RunDisposition::Over(end) => Some(end.at.0),
        _ => None,
    }
}

/// The graphs that the events of a run name, separated by commas.
fn graphs(run: &RunWrite<'_>) -> Option<String> {
    (!run.graphs.is_empty()).then(|| run.graphs.join(","))
}

/// The answer of the statement.
pub(super) struct Answer {
    /// Whether the engine's row exists.
    pub(super) is_live: bool,
    /// The runs that were written.
    pub(super) written: Vec<Uuid>,
    /// The stored requests with the keys of the batch.
    pub(super) repeated: Vec<Request>,
    /// The engines whose commands were answered.
    pub(super) answered: Vec<i64>,
    /// Runs that were written, with an engine that watches them.
    pub(super) watched: Vec<(Uuid, i64)>,
}

impl Answer {
    pub(super) fn read(shape: Shape, row: &Row) -> Result<Self, tokio_postgres::Error> {
        let mut columns = 2..;
        let mut next = || columns.next().expect("an unbounded range");
        let mut answer = Self {
            is_live: row.try_get(0)?,
            written: row.try_get(1)?,
            repeated: Vec::new(),
            answered: Vec::new(),
            watched: Vec::new(),
        };
        if shape.requests {
            let scopes: Vec<Uuid> = row.try_get(next())?;
            let keys: Vec<String> = row.try_get(next())?;
            let digests: Vec<String> = row.try_get(next())?;
            let runs: Vec<Uuid> = row.try_get(next())?;
            let seqs: Vec<i64> = row.try_get(next())?;
            for (at, scope) in scopes.into_iter().enumerate() {
                answer.repeated.push(Request {
                    to: (!scope.is_nil()).then_some(RunId(scope)),
                    key: keys[at].as_str().into(),
                    digest: Digest(digests[at].as_str().into()),
                    run: RunId(runs[at]),
                    seq: seqs[at] as u64,
                });
            }
        }
        if shape.commands {
            answer.answered = row.try_get(next())?;
        }
        if shape.watched {
            let runs: Vec<Uuid> = row.try_get(next())?;
            let engines: Vec<i64> = row.try_get(next())?;
            answer.watched = runs.into_iter().zip(engines).collect();
        }
        Ok(answer)
    }
}
