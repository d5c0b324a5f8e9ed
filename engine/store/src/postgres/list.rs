//! Lists of runs, newest first.
//!
//! Each index of `runs` sorts its rows by one value (the graph, the origin or the kind of origin), then by status, then by
//! time. So the runs of one value and one status form a range, which is read from its end. A list of several values or
//! statuses merges their ranges: the statement reads at most a page from each.

use heddle_kernel::{Status, Timestamp};
use heddle_runtime::ports::{
    ErrorText, OriginFilter, OriginKind, RunFilter, RunPosition, RunRow, StoreError,
};
use uuid::Uuid;

use super::{
    connect::Readers,
    read::{count, listed},
    rows::{RUN, get, text},
};

/// The statuses in which a run may have an error.
const WITH_ERROR: [Status; 2] = [Status::Failed, Status::Cancelled];

/// How many rows one statement reads if the rows are checked one by one afterwards.
const CHECKED_ROWS: usize = 500;

/// The runs that match the filter, newest first, starting after `before`; at most `limit`.
pub(super) async fn runs(
    readers: &Readers,
    filter: &RunFilter,
    before: Option<RunPosition>,
    limit: usize,
) -> Result<Vec<RunRow>, StoreError> {
    let ranges = Ranges::of(readers, filter).await?;
    let error = filter.error.as_deref().map(ErrorText::new);
    let Some(error) = error else {
        return ranges.page(readers, before, limit).await;
    };
    // Case is ignored as Unicode defines it, which the server does not do: the messages are compared here.
    let (mut found, mut before) = (Vec::new(), before);
    while found.len() < limit {
        let page = ranges.messages(readers, before).await?;
        let is_last = page.len() < CHECKED_ROWS;
        before = page.last().map(|(position, _)| *position);
        for (position, message) in page {
            if error.is_in(&message)
                && let Some(row) = super::read::run(readers, position.id).await?
                && filter.fits(&row)
                && found.len() < limit
            {
                found.push(row.listed());
            }
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// The ranges that contain every run of a list.
struct Ranges {
    /// The first column of the index.
    column: &'static str,
    values: Vec<String>,
    statuses: Vec<&'static str>,
    /// A condition that the index does not cover: one more column with the values that it may have.
    check: Option<(&'static str, Vec<String>)>,
    from: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Ranges {
    async fn of(readers: &Readers, filter: &RunFilter) -> Result<Self, StoreError> {
        let graphs = match &filter.graph {
            Some(graph) => Some(graphs(readers, graph).await?),
            None => None,
        };
        let name = |kind: OriginKind| kind.as_str().to_owned();
        let (column, values, check) = match (&filter.origin, graphs) {
            (Some(OriginFilter::Exactly(origin)), graphs) => (
                "origin",
                vec![origin.to_string()],
                graphs.map(|graphs| ("graph", graphs)),
            ),
            (Some(OriginFilter::Kind(kind)), Some(graphs)) => {
                ("graph", graphs, Some(("origin_kind", vec![name(*kind)])))
            }
            (None, Some(graphs)) => ("graph", graphs, None),
            (Some(OriginFilter::Kind(kind)), None) => ("origin_kind", vec![name(*kind)], None),
            (None, None) => ("origin_kind", OriginKind::ALL.map(name).into(), None),
        };
        let wanted = |status: &Status| filter.statuses.is_empty() || filter.statuses.contains(status);
        let has_error = |status: &Status| filter.error.is_none() || WITH_ERROR.contains(status);
        let statuses = Status::ALL.into_iter();
        let statuses = statuses.filter(|status| wanted(status) && has_error(status));
        Ok(Self {
            column,
            values,
            statuses: statuses.map(Status::as_str).collect(),
            check,
            from: filter.started_from,
            before: filter.started_before,
        })
    }

    /// The query of a page. Its parameters are those of [`Self::query`].
    fn sql(&self, columns: &str) -> String {
        let (column, check) = (
            self.column,
            match &self.check {
                Some((column, _)) => format!("AND r.{column} = ANY($8)"),
                None => "AND $8::text[] IS NULL".to_owned(),
            },
        );
        // Only a value that the index of origins has.
        let indexed = if column == "origin" {
            "AND r.origin IS NOT NULL"
        } else {
            ""
        };
        format!(
            "SELECT {columns} FROM unnest($1::text[]) AS v(value), unnest($2::text[]) AS s(status), LATERAL (
                SELECT r.* FROM runs r
                WHERE r.{column} = v.value AND r.status = s.status AND (r.created_at, r.id) < ($3, $4)
                    AND r.created_at >= $5 AND r.created_at < $6 {check} {indexed}
                ORDER BY r.created_at DESC, r.id DESC LIMIT $7) AS r
             ORDER BY r.created_at DESC, r.id DESC LIMIT $7"
        )
    }

    async fn query(
        &self,
        readers: &Readers,
        columns: &str,
        before: Option<RunPosition>,
        limit: usize,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, Uuid::max()), |before| {
            (before.created_at.0, before.id.0)
        });
        let from = self.from.map_or(i64::MIN, |from| from.0);
        let until = self.before.map_or(i64::MAX, |before| before.0);
        let check = self.check.as_ref().map(|(_, values)| values);
        let (sql, limit) = (self.sql(columns), count(limit));
        readers
            .rows(
                &sql,
                &[
                    &self.values,
                    &self.statuses,
                    &at,
                    &id,
                    &from,
                    &until,
                    &limit,
                    &check,
                ],
            )
            .await
    }

    async fn page(
        &self,
        readers: &Readers,
        before: Option<RunPosition>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let rows = self.query(readers, RUN, before, limit).await?;
        rows.iter().filter_map(|row| listed(row).transpose()).collect()
    }

    /// The positions and error messages of the next runs.
    async fn messages(
        &self,
        readers: &Readers,
        before: Option<RunPosition>,
    ) -> Result<Vec<(RunPosition, String)>, StoreError> {
        let columns = "r.created_at, r.id, coalesce(r.error::json ->> 'message', '')";
        let rows = self.query(readers, columns, before, CHECKED_ROWS).await?;
        let read = |row: &tokio_postgres::Row| {
            let position = RunPosition {
                created_at: Timestamp(get(row, 0)?),
                id: heddle_kernel::RunId(get(row, 1)?),
            };
            Ok((position, text(row, 2)?))
        };
        rows.iter().map(read).collect()
    }
}

/// The ids of the graphs with this id or name, the newest first.
async fn graphs(readers: &Readers, graph: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT id FROM graphs WHERE id = $1 OR name = $1 ORDER BY position DESC";
    let rows = readers.rows(sql, &[&graph]).await?;
    let mut found: Vec<String> = rows.iter().map(|row| text(row, 0)).collect::<Result<_, _>>()?;
    if !found.iter().any(|id| id == graph) {
        // The graph of a run may have been deleted.
        found.push(graph.to_owned());
    }
    Ok(found)
}
