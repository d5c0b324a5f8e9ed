//! The lease of the only engine of a store.
//!
//! The engine has a row in `engines`, like every engine of a shared store, and every write checks the row. A second engine is
//! refused while the row's lease is valid. If an engine dies, the next one deletes its row and takes over its runs, at most
//! a lease later. If the engine cannot renew its lease and another engine has taken over, its writes are refused.

use std::{sync::Arc, time::Duration};

use heddle_runtime::ports::{EngineId, StoreError};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::{
    connect::{Connector, WRITER_SESSION},
    control::Control,
    error::{OpenError, plain, store_error},
    settings::LEASE,
    writer::Health,
};

/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(600);

/// How often an engine that starts looks whether the lease of the engine before it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The key of the advisory lock under which engines join: `HeddleJ`, as a number.
pub(super) const JOIN_LOCK: i64 = 0x48_6564_646c_654a;

/// How many runs one statement takes over.
const TAKE_OVER: i64 = 1_000;

/// Adds a row for this engine. Waits until the lease of a dead engine has ended.
pub(super) async fn join(connector: &Connector) -> Result<EngineId, OpenError> {
    let settings = &connector.settings;
    let failed = |error: StoreError| OpenError::Connect {
        target: settings.target.clone(),
        message: plain(error),
    };
    let mut client = connector.connect(WRITER_SESSION).await.map_err(failed)?;
    let started = Instant::now();
    let engine = loop {
        match try_join(&mut client, &settings.name)
            .await
            .map_err(|error| failed(store_error(&error)))?
        {
            Ok(engine) => break engine,
            Err(other) if started.elapsed() > LEASE + RENEW_EVERY => {
                return Err(OpenError::InUse {
                    target: settings.target.clone(),
                    engine: other,
                });
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    };
    let sql = "UPDATE runs SET engine = $1 WHERE id IN (
                   SELECT id FROM runs WHERE engine IS NOT NULL AND engine < $1 ORDER BY engine, id LIMIT $2)";
    while client
        .execute(sql, &[&engine.0, &TAKE_OVER])
        .await
        .map_err(|error| failed(store_error(&error)))?
        > 0
    {}
    Ok(engine)
}

/// Adds the row, or returns the name of the engine whose lease is valid.
async fn try_join(
    client: &mut Client,
    name: &str,
) -> Result<Result<EngineId, String>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&JOIN_LOCK])
        .await?;
    transaction
        .execute("DELETE FROM engines WHERE lease_until < clock_timestamp()", &[])
        .await?;
    if let Some(row) = transaction
        .query_opt("SELECT name FROM engines LIMIT 1", &[])
        .await?
    {
        return Ok(Err(row.try_get(0)?));
    }
    let sql = "INSERT INTO engines (name, version, lease_ms, lease_until, exclusive)
               VALUES ($1, $2, $3::bigint, clock_timestamp() + $3::bigint * interval '1 millisecond', true) RETURNING id";
    let lease = LEASE.as_millis() as i64;
    let row = transaction
        .query_one(sql, &[&name, &env!("CARGO_PKG_VERSION"), &lease])
        .await?;
    let engine = EngineId(row.try_get(0)?);
    transaction.commit().await?;
    Ok(Ok(engine))
}

/// Renews the lease until the row is gone, and reports that as the health of the store.
pub(super) async fn renew(control: Control, engine: EngineId, health: Arc<Health>) {
    let sql = "UPDATE engines SET lease_until = clock_timestamp() + lease_ms * interval '1 millisecond' WHERE id = $1 RETURNING id";
    loop {
        sleep(RENEW_EVERY).await;
        match control.rows(sql, &[&engine.0]).await {
            Ok(rows) if rows.is_empty() => break,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the lease could not be renewed; trying again"),
        }
    }
    tracing::error!(
        "another engine has taken over the store, because the lease of this engine had ended: restart this engine"
    );
    health.end(StoreError::Failed(
        "another engine has taken over the store, because the lease of this engine had ended".to_owned(),
    ));
}

/// Deletes the row, so that the next engine need not wait.
pub(super) async fn leave(control: &Control, engine: EngineId) {
    if let Err(error) = control
        .rows("DELETE FROM engines WHERE id = $1", &[&engine.0])
        .await
    {
        tracing::warn!(%error, "the engine could not leave the store; the next start waits until its lease has ended");
    }
}
