//! A copy from and to a SQLite file.

use std::{fs, path::Path};

use rusqlite::{Connection, Row, ToSql, types::ToSqlOutput};

use super::{
    super::MaintenanceError,
    postgres::PostgresTarget,
    table::{Kind, Table, Value},
};
use crate::sqlite::{FORMAT, create_new, open_read_only};

/// The size of the rows in bytes after which a part is passed on or committed.
const PART_BYTES: usize = 1024 * 1024;
const COMMIT_BYTES: usize = 16 * 1024 * 1024;

/// A file that is read in one transaction. An engine may have the store open.
pub(super) struct SqliteSource(Connection);

impl SqliteSource {
    pub(super) fn open(path: &Path) -> Result<Self, MaintenanceError> {
        let (connection, path, format) = open_read_only(path)?;
        if format != FORMAT {
            return Err(MaintenanceError::Failed {
                path,
                message: format!(
                    "it has format {format}, and only a store of format {FORMAT} can be copied: use `heddle store migrate` first"
                ),
            });
        }
        connection.execute_batch("BEGIN").map_err(failed)?;
        Ok(Self(connection))
    }

    /// Copies a table, and returns the number of rows.
    pub(super) async fn copy(&self, table: &Table, to: &mut PostgresTarget) -> Result<u64, MaintenanceError> {
        let mut query = self.0.prepare(&table.select()).map_err(failed)?;
        let mut rows = query.query([]).map_err(failed)?;
        let (mut part, mut bytes, mut count) = (Vec::new(), 0, 0);
        while let Some(row) = rows.next().map_err(failed)? {
            let values = read(table, row).map_err(failed)?;
            bytes += values.iter().map(Value::size).sum::<usize>();
            part.push(values);
            count += 1;
            if part.len() >= table.rows || bytes >= PART_BYTES {
                to.add(table, &std::mem::take(&mut part)).await?;
                bytes = 0;
            }
        }
        to.add(table, &part).await?;
        Ok(count)
    }
}

fn read(table: &Table, row: &Row<'_>) -> rusqlite::Result<Vec<Value>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Kind::Id => Value::Id(row.get(at)?),
                Kind::Scope => match row.get_ref(at)?.as_blob()? {
                    [] => Value::Id([0; 16]),
                    _ => Value::Id(row.get(at)?),
                },
                Kind::Int | Kind::Short => row.get::<_, Option<i64>>(at)?.map_or(Value::Null, Value::Int),
                Kind::Bool => Value::Bool(row.get(at)?),
                Kind::Text => row.get::<_, Option<String>>(at)?.map_or(Value::Null, Value::Text),
                Kind::Bytes => Value::Bytes(row.get(at)?),
            })
        })
        .collect()
}

/// A new file. It is deleted if the copy is not finished.
pub(super) struct SqliteTarget {
    connection: Option<Connection>,
    path: std::path::PathBuf,
    bytes: usize,
    is_complete: bool,
}

impl SqliteTarget {
    pub(super) fn create(path: &Path) -> Result<Self, MaintenanceError> {
        if path.exists() {
            return Err(MaintenanceError::Exists(path.to_owned()));
        }
        let connection = create_new(path)?;
        let target = Self {
            connection: Some(connection),
            path: path.to_owned(),
            bytes: 0,
            is_complete: false,
        };
        target.connection().execute_batch("BEGIN").map_err(failed)?;
        Ok(target)
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("it is closed at the end only")
    }

    /// Adds rows to a table.
    pub(super) fn add(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<(), MaintenanceError> {
        let places = vec!["?"; table.columns.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({places})", table.name, table.names());
        {
            let mut insert = self.connection().prepare_cached(&sql).map_err(failed)?;
            for row in rows {
                let values = row
                    .iter()
                    .zip(table.columns)
                    .map(|(value, (_, kind))| Column(value, *kind));
                insert
                    .execute(rusqlite::params_from_iter(values))
                    .map_err(failed)?;
            }
        }
        self.bytes += rows.iter().flatten().map(Value::size).sum::<usize>();
        if self.bytes >= COMMIT_BYTES {
            self.bytes = 0;
            self.connection().execute_batch("COMMIT; BEGIN").map_err(failed)?;
        }
        Ok(())
    }

    /// Syncs the file to the disk.
    pub(super) fn finish(mut self) -> Result<(), MaintenanceError> {
        self.connection().execute_batch("COMMIT").map_err(failed)?;
        let copied = self
            .connection()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        copied.map_err(failed)?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for SqliteTarget {
    fn drop(&mut self) {
        self.connection = None;
        if !self.is_complete {
            // An incomplete file must not be mistaken for a store.
            for suffix in ["", "-wal", "-shm", ".lock"] {
                let mut name = self.path.clone().into_os_string();
                name.push(suffix);
                let _ = fs::remove_file(name);
            }
        }
    }
}

/// A value for a column of this type.
struct Column<'a>(&'a Value, Kind);

impl ToSql for Column<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match (self.0, self.1) {
            (Value::Null, _) => rusqlite::types::Null.into(),
            (Value::Id(id), Kind::Scope) if *id == [0; 16] => ToSqlOutput::from(&[] as &[u8]),
            (Value::Id(id), _) => ToSqlOutput::from(id.as_slice()),
            (Value::Int(number), _) => (*number).into(),
            (Value::Bool(is), _) => (*is).into(),
            (Value::Text(text), _) => ToSqlOutput::from(text.as_str()),
            (Value::Bytes(bytes), _) => ToSqlOutput::from(bytes.as_slice()),
        })
    }
}

fn failed(error: rusqlite::Error) -> MaintenanceError {
    MaintenanceError::Copy(error.to_string())
}
