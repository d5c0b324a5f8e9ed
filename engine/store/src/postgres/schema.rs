//! The schema of a store: its format, its migrations, and what a server must offer.

use heddle_runtime::ports::StoreError;
use tokio_postgres::Client;

use super::{
    connect::{Connector, MIGRATION_SESSION},
    error::{OpenError, plain, store_error},
};

/// The newest format: the number of the last migration.
pub(crate) const FORMAT: i32 = 1;

/// The oldest version of PostgreSQL that is supported, as in `server_version_num`.
const OLDEST_SERVER: i32 = 140_000;

/// The key of the advisory lock under which migrations run: `Heddle`, as a number.
const MIGRATION_LOCK: i64 = 0x4865_6464_6c65;

mod embedded {
    refinery::embed_migrations!("migrations-postgres");
}

/// Checks the server and the format, and migrates an older format. Returns the format that was found; 0 if there was none.
pub(super) async fn prepare(connector: &Connector) -> Result<i32, OpenError> {
    let target = &connector.settings.target;
    let unusable = |error: StoreError| OpenError::Connect {
        target: target.clone(),
        message: plain(error),
    };
    let mut client = connector.connect(MIGRATION_SESSION).await.map_err(unusable)?;
    let failed = |error: tokio_postgres::Error| unusable(store_error(&error));
    check_server(connector, &client).await?;
    let found = format(&client).await.map_err(failed)?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            target: target.clone(),
            found,
            known: FORMAT,
        });
    }
    if found == FORMAT {
        return Ok(found);
    }
    // The lock ends with the session. Another engine that migrates has finished when this returns.
    client
        .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
        .await
        .map_err(failed)?;
    if format(&client).await.map_err(failed)? < FORMAT {
        client
            .batch_execute("CREATE SCHEMA IF NOT EXISTS heddle")
            .await
            .map_err(failed)?;
        let migrated = embedded::migrations::runner()
            .set_grouped(true)
            .run_async(&mut client)
            .await;
        migrated.map_err(|error| OpenError::Connect {
            target: target.clone(),
            message: format!("the migration from format {found} to {FORMAT} failed: {error}"),
        })?;
    }
    Ok(found)
}

async fn check_server(connector: &Connector, client: &Client) -> Result<(), OpenError> {
    let target = &connector.settings.target;
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
               current_setting('server_encoding')";
    let row = client
        .query_one(sql, &[])
        .await
        .map_err(|error| OpenError::Connect {
            target: target.clone(),
            message: super::error::text(&error),
        })?;
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    let problem = if number < OLDEST_SERVER {
        format!("it is PostgreSQL {version}; version 14 or later is needed")
    } else if encoding != "UTF8" {
        format!("the database has the encoding {encoding}; create it with ENCODING 'UTF8'")
    } else {
        return Ok(());
    };
    Err(OpenError::Unsupported {
        target: target.clone(),
        message: problem,
    })
}

/// The format of the store; 0 if the database has none.
pub(super) async fn format(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let sql = "SELECT to_regclass('heddle.refinery_schema_history') IS NOT NULL";
    if !client.query_one(sql, &[]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(version), 0)::int FROM heddle.refinery_schema_history";
    Ok(client.query_one(sql, &[]).await?.get(0))
}
