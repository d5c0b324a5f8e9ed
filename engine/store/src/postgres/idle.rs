//! A store that is used without an engine: copied, checked or migrated.

use tokio_postgres::Client;

use super::{
    connect::{Connector, MIGRATION_SESSION},
    error::{OpenError, plain, text},
    exclusive::JOIN_LOCK,
    schema::{self, FORMAT},
    settings::PostgresSettings,
};

/// Opens stores without an engine.
pub(crate) struct Idle;

impl Idle {
    /// Migrates the store, and returns the format that it had.
    pub(crate) async fn migrate(settings: &PostgresSettings) -> Result<i32, OpenError> {
        schema::prepare(&Connector::new(settings.clone())?).await
    }

    /// Connects to a store of the newest format.
    pub(crate) async fn connect(settings: &PostgresSettings) -> Result<Client, OpenError> {
        let client = Self::open(settings).await?;
        let found = schema::format(&client)
            .await
            .map_err(|error| failed(settings, &error))?;
        match found == FORMAT {
            true => Ok(client),
            false => Err(OpenError::Unsupported {
                target: settings.target.clone(),
                message: format!("it has format {found}, and format {FORMAT} is needed"),
            }),
        }
    }

    /// Migrates the store, and begins a transaction until whose end no engine can join.
    pub(crate) async fn lock(settings: &PostgresSettings) -> Result<Client, OpenError> {
        Self::migrate(settings).await?;
        let client = Self::open(settings).await?;
        let failed = |error: tokio_postgres::Error| failed(settings, &error);
        client.batch_execute("BEGIN").await.map_err(failed)?;
        client
            .execute("SELECT pg_advisory_xact_lock($1)", &[&JOIN_LOCK])
            .await
            .map_err(failed)?;
        let sql = "SELECT name FROM engines WHERE lease_until >= clock_timestamp() LIMIT 1";
        match client.query_opt(sql, &[]).await.map_err(failed)? {
            Some(row) => Err(OpenError::InUse {
                target: settings.target.clone(),
                engine: row.get(0),
            }),
            None => Ok(client),
        }
    }

    async fn open(settings: &PostgresSettings) -> Result<Client, OpenError> {
        let connector = Connector::new(settings.clone())?;
        connector
            .connect(MIGRATION_SESSION)
            .await
            .map_err(|error| OpenError::Connect {
                target: settings.target.clone(),
                message: plain(error),
            })
    }
}

fn failed(settings: &PostgresSettings, error: &tokio_postgres::Error) -> OpenError {
    OpenError::Connect {
        target: settings.target.clone(),
        message: text(error),
    }
}
