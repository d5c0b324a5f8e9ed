//! A copy from and to PostgreSQL.

use std::collections::BTreeSet;

use heddle_kernel::{RunId, graph::Pins};
use tokio_postgres::{Client, Row, types::ToSql};
use uuid::Uuid;

use super::{
    super::MaintenanceError,
    sqlite::SqliteTarget,
    table::{Kind, Table, Value},
};
use crate::{
    codec,
    postgres::{Idle, PostgresSettings},
};

/// A store that is read in one transaction. Engines may use it.
pub(super) struct PostgresSource(Client);

impl PostgresSource {
    pub(super) async fn open(settings: &PostgresSettings) -> Result<Self, MaintenanceError> {
        let client = Idle::connect(settings).await?;
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        client.batch_execute(begin).await.map_err(failed)?;
        Ok(Self(client))
    }

    /// Copies a table, and returns the number of rows.
    pub(super) async fn copy(&self, table: &Table, to: &mut SqliteTarget) -> Result<u64, MaintenanceError> {
        let open = format!("DECLARE rows NO SCROLL CURSOR FOR {}", table.select());
        self.0.batch_execute(&open).await.map_err(failed)?;
        let fetch = self
            .0
            .prepare(&format!("FETCH {} FROM rows", table.rows))
            .await
            .map_err(failed)?;
        let mut count = 0;
        loop {
            let rows = self.0.query(&fetch, &[]).await.map_err(failed)?;
            if rows.is_empty() {
                break;
            }
            count += rows.len() as u64;
            let values = rows.iter().map(|row| read(table, row));
            to.add(table, &values.collect::<Result<Vec<_>, _>>().map_err(failed)?)?;
        }
        self.0.batch_execute("CLOSE rows").await.map_err(failed)?;
        Ok(count)
    }

    /// The runs whose rows contradict their events: the id, the number of the last event of the row, and that of the events.
    pub(super) async fn wrong_heads(&self, limit: i64) -> Result<Vec<(RunId, i64, i64)>, MaintenanceError> {
        let sql = "SELECT id, r.last_seq, coalesce(e.last_seq, 0) FROM runs r
            LEFT JOIN LATERAL (SELECT last_seq FROM events WHERE run = r.id ORDER BY first_seq DESC LIMIT 1) AS e ON true
            WHERE r.last_seq IS DISTINCT FROM e.last_seq ORDER BY id LIMIT $1";
        let rows = self.0.query(sql, &[&limit]).await.map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| (RunId(row.get(0)), row.get(1), row.get(2)))
            .collect())
    }

    /// The size of all tables and indexes in bytes.
    pub(super) async fn bytes(&self) -> Result<u64, MaintenanceError> {
        let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                   WHERE relnamespace = 'heddle'::regnamespace AND relkind = 'r'";
        let bytes: i64 = self.0.query_one(sql, &[]).await.map_err(failed)?.get(0);
        Ok(bytes.cast_unsigned())
    }
}

fn read(table: &Table, row: &Row) -> Result<Vec<Value>, tokio_postgres::Error> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Kind::Id | Kind::Scope => Value::Id(*row.try_get::<_, Uuid>(at)?.as_bytes()),
                Kind::Int => row.try_get::<_, Option<i64>>(at)?.map_or(Value::Null, Value::Int),
                Kind::Short => row
                    .try_get::<_, Option<i32>>(at)?
                    .map_or(Value::Null, |number| Value::Int(number.into())),
                Kind::Bool => Value::Bool(row.try_get(at)?),
                Kind::Text => row
                    .try_get::<_, Option<String>>(at)?
                    .map_or(Value::Null, Value::Text),
                Kind::Bytes => Value::Bytes(row.try_get(at)?),
            })
        })
        .collect()
}

/// An empty store that is written in one transaction. No engine can join it until the copy is finished.
pub(super) struct PostgresTarget(Client);

impl PostgresTarget {
    pub(super) async fn create(settings: &PostgresSettings) -> Result<Self, MaintenanceError> {
        let client = Idle::lock(settings).await?;
        let tables: Vec<String> = super::table::TABLES
            .iter()
            .map(|table| format!("EXISTS (SELECT FROM {})", table.name))
            .collect();
        let sql = format!("SELECT {}", tables.join(" OR "));
        let has_rows: bool = client.query_one(&sql, &[]).await.map_err(failed)?.get(0);
        match has_rows {
            true => Err(MaintenanceError::NotEmpty(settings.target().to_string())),
            false => Ok(Self(client)),
        }
    }

    /// Adds rows to a table.
    pub(super) async fn add(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<(), MaintenanceError> {
        if rows.is_empty() {
            return Ok(());
        }
        let types = table.columns.iter().map(|(_, kind)| match kind {
            Kind::Id | Kind::Scope => "uuid",
            Kind::Int => "bigint",
            Kind::Short => "integer",
            Kind::Bool => "boolean",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
        });
        let arrays: Vec<String> = types
            .zip(1..)
            .map(|(name, at)| format!("${at}::{name}[]"))
            .collect();
        let names = table.names();
        let runs = table.name == "runs";
        // The number of the last event is set when the events are there.
        let (more, value) = if runs { (", last_seq", ", 0") } else { ("", "") };
        let sql = format!(
            "INSERT INTO {} ({names}{more}) SELECT {names}{value} FROM unnest({}) WITH ORDINALITY AS r({names}, place) ORDER BY place",
            table.name,
            arrays.join(", ")
        );
        let columns: Vec<Box<dyn ToSql + Sync + Send + '_>> = (0..table.columns.len())
            .map(|at| column(table, rows, at))
            .collect();
        let values: Vec<&(dyn ToSql + Sync)> = columns
            .iter()
            .map(|values| &**values as &(dyn ToSql + Sync))
            .collect();
        self.0.execute(&sql, &values).await.map_err(failed)?;
        match table.name {
            "events" => self.add_heads(rows).await,
            _ => Ok(()),
        }
    }

    /// Sets what the rows of runs repeat of their events: the number of the last event and the graphs.
    async fn add_heads(&mut self, rows: &[Vec<Value>]) -> Result<(), MaintenanceError> {
        let (mut runs, mut lasts) = (Vec::new(), Vec::new());
        let mut graphs: Vec<Option<String>> = Vec::new();
        for row in rows {
            let [
                Value::Id(id),
                Value::Int(first),
                Value::Int(last),
                _,
                Value::Bytes(body),
            ] = row.as_slice()
            else {
                continue;
            };
            let run = Uuid::from_bytes(*id);
            let named = graphs_of(*first, *last, body);
            if runs.last() == Some(&run) {
                let at = runs.len() - 1;
                lasts[at] = *last;
                graphs[at] = [graphs[at].take(), named]
                    .into_iter()
                    .flatten()
                    .reduce(|all, more| all + "," + &more);
            } else {
                runs.push(run);
                lasts.push(*last);
                graphs.push(named);
            }
        }
        let sql = "UPDATE runs SET last_seq = e.last_seq, graphs = CASE WHEN e.graphs IS NULL THEN runs.graphs
                       ELSE coalesce(runs.graphs, '{}') || string_to_array(e.graphs, ',') END
                   FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS e(run, last_seq, graphs) WHERE runs.id = e.run";
        self.0
            .execute(sql, &[&runs, &lasts, &graphs])
            .await
            .map(|_| ())
            .map_err(failed)
    }

    /// Counts the groups and commits.
    pub(super) async fn finish(self) -> Result<(), MaintenanceError> {
        let sql = "UPDATE runs SET counted = true WHERE grp IS NOT NULL AND status IN ('running', 'waiting', 'paused');
            INSERT INTO groups (name, active, run_limit, created_at)
                SELECT grp, count(*) FILTER (WHERE counted), (array_agg(group_limit ORDER BY created_at DESC))[1],
                    max(created_at) FROM runs WHERE grp IS NOT NULL GROUP BY grp;
            UPDATE changes SET counter = counter + 1;
            COMMIT;";
        self.0.batch_execute(sql).await.map_err(failed)
    }
}

/// The graphs that the events of a row name, separated by commas; none if there are none or the row cannot be read.
fn graphs_of(first: i64, last: i64, body: &[u8]) -> Option<String> {
    const UPGRADE: &[u8] = b"run_upgraded";
    if first != 1 && !body.windows(UPGRADE.len()).any(|part| part == UPGRADE) {
        return None;
    }
    let mut found = BTreeSet::new();
    let read = codec::decode(first as u64, last as u64, body, |record, _| {
        if let Some(pins) = Pins::of(&record.event) {
            found.extend(
                pins.graphs
                    .values()
                    .chain([pins.graph])
                    .map(|id| id.0.to_string()),
            );
        }
        true
    });
    read.ok()?;
    let all = found.into_iter().collect::<Vec<_>>().join(",");
    (!all.is_empty()).then_some(all)
}

/// The values of a column as an array.
fn column<'a>(table: &Table, rows: &'a [Vec<Value>], at: usize) -> Box<dyn ToSql + Sync + Send + 'a> {
    let values = rows.iter().map(move |row| &row[at]);
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number),
        _ => None,
    };
    match table.columns[at] {
        ("sum", _) => Box::new(
            rows.iter()
                .map(|row| Some(number(&row[at]).unwrap_or_else(|| sum(row))))
                .collect::<Vec<_>>(),
        ),
        (_, Kind::Id | Kind::Scope) => Box::new(
            values
                .map(|value| match value {
                    Value::Id(id) => Some(Uuid::from_bytes(*id)),
                    _ => None,
                })
                .collect::<Vec<_>>(),
        ),
        (_, Kind::Int) => Box::new(values.map(number).collect::<Vec<_>>()),
        (_, Kind::Short) => {
            let short = |value: &Value| number(value).and_then(|number| i32::try_from(number).ok());
            Box::new(values.map(short).collect::<Vec<_>>())
        }
        (_, Kind::Bool) => Box::new(
            values
                .map(|value| match value {
                    Value::Bool(is) => Some(*is),
                    _ => None,
                })
                .collect::<Vec<_>>(),
        ),
        (_, Kind::Text) => Box::new(
            values
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Vec<_>>(),
        ),
        (_, Kind::Bytes) => Box::new(
            values
                .map(|value| match value {
                    Value::Bytes(bytes) => Some(bytes.as_slice()),
                    _ => None,
                })
                .collect::<Vec<_>>(),
        ),
    }
}

/// The checksum of a row whose format had none.
fn sum(row: &[Value]) -> i64 {
    match (row.first(), row.last()) {
        (Some(Value::Id(id)), Some(Value::Bytes(body))) => {
            i64::from(codec::checksum(RunId(Uuid::from_bytes(*id)), body))
        }
        _ => 0,
    }
}

fn failed(error: tokio_postgres::Error) -> MaintenanceError {
    MaintenanceError::Copy(crate::postgres::error_text(&error))
}
