//! Lists of runs, newest first.
//!
//! Each index of `runs` sorts its rows by one value (the graph, the origin or the kind of origin), then by status, then by
//! time. So the runs of one value and one status form a range, which is read from its end. A list of several values or
//! statuses merges their ranges. No range is read further than the list needs.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
};

use heddle_kernel::{Status, Timestamp};
use heddle_runtime::ports::{
    ErrorText, OriginFilter, OriginKind, RunFilter, RunPosition, RunRow, StoreError,
};
use rusqlite::{Connection, Row, params};
use serde::Deserialize;

use super::{
    read::{RUN, row, rows},
    rows::{run_id, run_row},
    store_error,
};

/// The statuses in which a run may have an error.
const WITH_ERROR: [Status; 2] = [Status::Failed, Status::Cancelled];

/// If a filter has both a graph and a kind of origin, one of them selects the index and the other is checked row by row.
/// The kind selects the index if it has at most this many runs.
const KIND_SCAN_MAX: i64 = 10_000;

/// The sort key of a run in a list: start time and id.
type Key = (i64, [u8; 16]);
/// A bound of a part of a list. An empty id sorts before every run of the same time.
type Bound = (i64, Vec<u8>);

/// The runs that match the filter, newest first, starting after `before`; at most `limit`.
pub(super) fn runs(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<RunPosition>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    let failed = |error: rusqlite::Error| store_error(&error);
    // One read transaction: all ranges show the same state, so a run that changes meanwhile is listed once.
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let newest = Newest::new(filter, before, limit);
    let found = Ranges::of(&transaction, filter).and_then(|ranges| newest.of(&transaction, &ranges));
    match found {
        Ok(keys) => keys
            .into_iter()
            .rev()
            .filter_map(|(_, id)| by_id(&transaction, &id).transpose())
            .collect(),
        Err(StoreError::Damaged(message)) => {
            tracing::error!(%message, "an index is damaged, so listing runs reads every run; run `heddle store check` for details");
            without_index(&transaction, filter, before, limit)
        }
        Err(other) => Err(other),
    }
}

/// The run with this id. A row that cannot be read is logged and left out.
pub(super) fn by_id(connection: &Connection, id: &[u8]) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("SELECT {RUN} FROM runs WHERE id = ?1");
    Ok(row(connection, &sql, params![id], |row| Ok(listed(row)))?.flatten())
}

/// A row as lists show it. A row that cannot be read is logged and left out, so that the other rows are still listed.
fn listed(row: &Row<'_>) -> Option<RunRow> {
    let read = run_row(row).map(RunRow::listed);
    if let Err(error) = &read {
        let run = run_id(row).map_or_else(|_| "unknown".to_owned(), |run| run.to_string());
        tracing::error!(%run, %error, "the row of a run is damaged");
    }
    read.ok()
}

/// The same list, made from every row of the table.
fn without_index(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<RunPosition>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    // No index has all of these columns, so SQLite reads the table.
    let sql = format!("SELECT {RUN} FROM runs");
    let all = rows(connection, &sql, &[], |row| Ok(listed(row)))?;
    let fits = |row: &RunRow| before.is_none_or(|before| row.position() < before) && filter.fits(row);
    let mut found: Vec<RunRow> = all.into_iter().flatten().filter(fits).collect();
    found.sort_by_key(|row| std::cmp::Reverse(row.position()));
    found.truncate(limit);
    Ok(found)
}

/// The ranges that contain every run of a list, and the checks that their rows must pass.
struct Ranges {
    sql: String,
    /// The values of the first column of the index, one range each.
    values: Vec<String>,
    statuses: Vec<Status>,
    checks: Vec<Check>,
}

/// A condition that the index does not cover.
enum Check {
    Kind(OriginKind),
    Graph(HashSet<String>),
    Error(ErrorText),
}

/// The part of a stored error that is checked.
#[derive(Deserialize)]
struct Message<'e> {
    #[serde(borrow)]
    message: Cow<'e, str>,
}

impl Ranges {
    fn of(connection: &Connection, filter: &RunFilter) -> Result<Self, StoreError> {
        let graphs = match &filter.graph {
            Some(graph) => Some(graphs(connection, graph)?),
            None => None,
        };
        let name = |kind: OriginKind| kind.as_str().to_owned();
        let mut checks = Vec::new();
        let (index, column, values) = match (&filter.origin, graphs) {
            (Some(OriginFilter::Exactly(origin)), graphs) => {
                checks.extend(graphs.map(|graphs| Check::Graph(graphs.into_iter().collect())));
                ("runs_of_origin", "origin", vec![origin.to_string()])
            }
            (Some(OriginFilter::Kind(kind)), Some(graphs)) if is_rare(connection, *kind)? => {
                checks.push(Check::Graph(graphs.into_iter().collect()));
                ("runs_by_kind", "origin_kind", vec![name(*kind)])
            }
            (Some(OriginFilter::Kind(kind)), Some(graphs)) => {
                checks.push(Check::Kind(*kind));
                ("runs_of_graph", "graph", graphs)
            }
            (None, Some(graphs)) => ("runs_of_graph", "graph", graphs),
            (Some(OriginFilter::Kind(kind)), None) => ("runs_by_kind", "origin_kind", vec![name(*kind)]),
            (None, None) => ("runs_by_kind", "origin_kind", OriginKind::ALL.map(name).into()),
        };
        let wanted = |status: &Status| filter.statuses.is_empty() || filter.statuses.contains(status);
        let has_error = |status: &Status| filter.error.is_none() || WITH_ERROR.contains(status);
        let statuses = Status::ALL.into_iter();
        let statuses = statuses.filter(|status| wanted(status) && has_error(status));
        checks.extend(
            filter
                .error
                .as_deref()
                .map(|text| Check::Error(ErrorText::new(text))),
        );
        Ok(Self {
            sql: range_sql(index, column, &checks),
            values,
            statuses: statuses.collect(),
            checks,
        })
    }

    /// Whether a row of a range passes every check.
    fn matches(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        for (check, column) in self.checks.iter().zip(2..) {
            let text = row.get_ref(column)?.as_str_or_null()?;
            let fits = match check {
                Check::Kind(kind) => OriginKind::of(text) == *kind,
                Check::Graph(graphs) => text.is_some_and(|graph| graphs.contains(graph)),
                Check::Error(wanted) => text
                    .and_then(|error| serde_json::from_str::<Message<'_>>(error).ok())
                    .is_some_and(|error| wanted.is_in(&error.message)),
            };
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Check {
    /// The column to check. Reading it takes an access to the table besides the index, so a query has only the columns
    /// that it needs.
    fn column(&self) -> &'static str {
        match self {
            Self::Kind(_) => "origin",
            Self::Graph(_) => "graph",
            Self::Error(_) => "error",
        }
    }
}

/// The query for a range: the rows with the value ?1 and the status ?2, between the bounds (?5, ?6) and (?3, ?4).
fn range_sql(index: &str, value: &str, checks: &[Check]) -> String {
    let columns: String = checks
        .iter()
        .map(|check| format!(", {}", check.column()))
        .collect();
    format!(
        "SELECT created_at, id{columns} FROM runs INDEXED BY {index}
         WHERE {value} = ?1 AND status = ?2 AND (created_at, id) < (?3, ?4) AND (created_at, id) > (?5, ?6)
         ORDER BY created_at DESC, id DESC"
    )
}

/// Whether at most [`KIND_SCAN_MAX`] runs have this kind of origin.
fn is_rare(connection: &Connection, kind: OriginKind) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM runs INDEXED BY runs_by_kind WHERE origin_kind = ?1 LIMIT 1 OFFSET ?2";
    let more = row(connection, sql, params![kind.as_str(), KIND_SCAN_MAX], |_| Ok(()))?;
    Ok(more.is_none())
}

/// The ids of the graphs with this id or name.
fn graphs(connection: &Connection, graph: &str) -> Result<Vec<String>, StoreError> {
    // The newest version first: most of the newest runs are of it.
    let sql = "SELECT id FROM graphs WHERE id = ?1 OR name = ?1 ORDER BY position DESC";
    let mut found = rows(connection, sql, params![graph], |row| row.get::<_, String>(0))?;
    if !found.iter().any(|id| id == graph) {
        // The graph of a run may have been deleted.
        found.push(graph.to_owned());
    }
    Ok(found)
}

/// The newest runs of several ranges.
struct Newest {
    limit: usize,
    /// Only runs that sort before this bound.
    upper: Bound,
    /// Only runs that sort after this bound: when enough runs are found, the oldest of them.
    lower: Bound,
    found: BTreeSet<Key>,
}

impl Newest {
    fn new(filter: &RunFilter, before: Option<RunPosition>, limit: usize) -> Self {
        let time = |at: Timestamp| (at.0, Vec::new());
        let page = before.map(|before| (before.created_at.0, before.id.0.as_bytes().to_vec()));
        let upper = page.into_iter().chain(filter.started_before.map(time)).min();
        Self {
            limit,
            upper: upper.unwrap_or_else(|| (i64::MAX, vec![0xff; 17])),
            lower: filter.started_from.map_or((i64::MIN, Vec::new()), time),
            found: BTreeSet::new(),
        }
    }

    /// The sort keys of the newest runs, oldest first.
    fn of(mut self, connection: &Connection, ranges: &Ranges) -> Result<BTreeSet<Key>, StoreError> {
        if self.limit > 0 {
            for value in &ranges.values {
                for status in &ranges.statuses {
                    let read = self.read(connection, ranges, value, *status);
                    read.map_err(|error| store_error(&error))?;
                }
            }
        }
        Ok(self.found)
    }

    /// Reads a range from its end, until its runs are older than the newest that were found.
    fn read(
        &mut self,
        connection: &Connection,
        ranges: &Ranges,
        value: &str,
        status: Status,
    ) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached(&ranges.sql)?;
        let (upper, lower) = (&self.upper, &self.lower);
        let status = status.as_str();
        let mut rows = query.query(params![value, status, upper.0, upper.1, lower.0, lower.1])?;
        while let Some(row) = rows.next()? {
            if !ranges.matches(row)? {
                continue;
            }
            let key: Key = (row.get(0)?, row.get(1)?);
            self.found.insert(key);
            // The remaining runs of this range are older.
            if self.found.len() > self.limit && self.found.pop_first() == Some(key) {
                break;
            }
        }
        if self.found.len() == self.limit
            && let Some((at, id)) = self.found.first()
        {
            self.lower = (*at, id.to_vec());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::open;

    /// The query plan of a range in a store without `ANALYZE` statistics.
    fn plan(index: &str, value: &str, checks: &[Check]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let store = open::open(&folder.path().join("store.db")).expect("a new store");
        let sql = format!("EXPLAIN QUERY PLAN {}", range_sql(index, value, checks));
        let mut query = store.connection.prepare(&sql).expect("a query");
        let steps = query.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(|step| step.expect("a step of the plan")).collect()
    }

    #[test]
    fn a_range_is_read_from_its_end_and_not_sorted() {
        let ends = "status=? AND (created_at,id)>(?,?) AND (created_at,id)<(?,?)";
        for (index, value, covering) in [
            ("runs_by_kind", "origin_kind", ""),
            ("runs_of_graph", "graph", "COVERING "),
            ("runs_of_origin", "origin", "COVERING "),
        ] {
            let found = plan(index, value, &[]);
            assert_eq!(
                found,
                [format!(
                    "SEARCH runs USING {covering}INDEX {index} ({value}=? AND {ends})"
                )]
            );
            let found = plan(index, value, &[Check::Error(ErrorText::new("x"))]);
            assert_eq!(
                found,
                [format!("SEARCH runs USING INDEX {index} ({value}=? AND {ends})")]
            );
        }
    }
}
