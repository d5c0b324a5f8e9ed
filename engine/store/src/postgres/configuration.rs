//! Policies, secrets and schedules: texts by name.

use heddle_runtime::ports::StoreError;
use tokio_postgres::Row;

use super::connect::Readers;

/// A table that stores texts by name.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Schedules,
    Policies,
    Secrets,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Schedules => "schedules",
            Self::Policies => "policies",
            Self::Secrets => "secrets",
        }
    }
}

pub(super) async fn put(readers: &Readers, table: Table, name: &str, body: &str) -> Result<(), StoreError> {
    let table = table.name();
    let sql = format!(
        "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = '{table}')
         INSERT INTO {table} (name, body) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET body = excluded.body"
    );
    readers.write(&sql, &[&name, &body]).await.map(|_| ())
}

pub(super) async fn delete(readers: &Readers, table: Table, name: &str) -> Result<bool, StoreError> {
    let table = table.name();
    let sql = format!(
        "WITH changed AS (UPDATE changes SET counter = counter + 1 WHERE name = '{table}')
         DELETE FROM {table} WHERE name = $1 RETURNING 1"
    );
    Ok(!readers.write(&sql, &[&name]).await?.is_empty())
}

/// All rows by name: name and body.
pub(super) async fn all(readers: &Readers, table: Table) -> Result<Vec<Row>, StoreError> {
    let sql = format!("SELECT name, body FROM {} ORDER BY name", table.name());
    readers.rows(&sql, &[]).await
}

/// The row with this name: its body.
pub(super) async fn one(readers: &Readers, table: Table, name: &str) -> Result<Option<Row>, StoreError> {
    let sql = format!("SELECT body FROM {} WHERE name = $1", table.name());
    readers.row(&sql, &[&name]).await
}
