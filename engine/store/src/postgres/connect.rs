//! Connections: how they are opened, and the pool of those that read.
//!
//! Every connection limits how long a statement runs, waits for a lock or leaves a transaction open. The limits of the
//! connections that write are shorter than a lease, so a stopped process holds no row for longer than that.

use std::{future::Future, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use heddle_runtime::ports::StoreError;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Connection, Row, Socket, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PostgresSettings,
    error::{OpenError, store_error, text},
    tls,
};

/// The settings of a session that writes for an engine.
///
/// The plans of its statements are made once, when their tables may still be empty, and must be right for full tables: so
/// they always use the indexes.
pub(super) const WRITER_SESSION: &str = "-c statement_timeout=2000 -c lock_timeout=1500 \
    -c idle_in_transaction_session_timeout=2000 -c default_transaction_isolation=read\\ committed \
    -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";

/// The settings of the session that renews the lease, claims runs and listens.
pub(super) const CONTROL_SESSION: &str = "-c statement_timeout=2000 -c lock_timeout=1500 \
    -c idle_in_transaction_session_timeout=2000 -c default_transaction_isolation=read\\ committed -c jit=off";

/// The settings of a session that reads, and changes what is not of a run.
pub(super) const READER_SESSION: &str = "-c statement_timeout=30000 -c lock_timeout=2000 \
    -c idle_in_transaction_session_timeout=2000 -c default_transaction_isolation=read\\ committed -c jit=off";

/// The settings of a session that migrates. It waits for other engines that migrate.
pub(super) const MIGRATION_SESSION: &str = "-c statement_timeout=0 -c lock_timeout=0 -c jit=off";

/// How long the response to a write may take before the connection counts as broken. Longer than the statement timeout, so
/// that the server reports first if it can.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(2_700);

/// How long a read may take before its connection counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(35);

/// How long a read waits for a free connection.
const POOL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long opening a connection may take, with all its round trips.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The parameters of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Opens connections of one store.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) settings: PostgresSettings,
    tls: MakeRustlsConnect,
}

impl Connector {
    pub(super) fn new(settings: PostgresSettings) -> Result<Self, OpenError> {
        let tls = tls::connector(&settings)?;
        Ok(Self { settings, tls })
    }

    /// Opens a connection whose notifications are ignored. The current runtime drives it.
    pub(super) async fn connect(&self, session: &str) -> Result<Client, StoreError> {
        let (client, connection) = self.open(session).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = text(&error), "a connection to PostgreSQL was lost");
            }
        });
        Ok(client)
    }

    /// Opens a connection and passes its notifications to `listen`, which is called with `None` when the connection ends.
    pub(super) async fn listen(
        &self,
        session: &str,
        mut listen: impl FnMut(Option<tokio_postgres::Notification>) + Send + 'static,
    ) -> Result<Client, StoreError> {
        let (client, mut connection) = self.open(session).await?;
        tokio::spawn(async move {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(notification))) => listen(Some(notification)),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(error = text(&error), "a connection to PostgreSQL was lost");
                        break;
                    }
                    None => break,
                }
            }
            listen(None);
        });
        Ok(client)
    }

    async fn open(
        &self,
        session: &str,
    ) -> Result<
        (
            Client,
            Connection<Socket, impl tokio_postgres::tls::TlsStream + Unpin + Send + 'static>,
        ),
        StoreError,
    > {
        let config = self.settings.with_options(session);
        match timeout(OPEN_TIMEOUT, config.connect(self.tls.clone())).await {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(error)) => Err(store_error(&error)),
            Err(_) => Err(no_response()),
        }
    }

    /// A pool of connections that read.
    pub(super) fn pool(&self) -> Readers {
        let manager = Manager::from_config(
            self.settings.with_options(READER_SESSION),
            self.tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(self.settings.readers.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_TIMEOUT))
            .create_timeout(Some(OPEN_TIMEOUT))
            .build();
        Readers(pool.expect("a runtime is named, which is all that the pool's timeouts need"))
    }
}

/// Waits for the response to a write.
pub(super) async fn response<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, WriteError> {
    match timeout(RESPONSE_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(WriteError::Server),
        Err(_) => Err(WriteError::NoResponse),
    }
}

/// Why a write failed.
#[derive(Debug)]
pub(super) enum WriteError {
    Server(tokio_postgres::Error),
    /// The server did not respond in time. Whether the write is stored is unknown.
    NoResponse,
}

impl WriteError {
    pub(super) fn store_error(&self) -> StoreError {
        match self {
            Self::Server(error) => store_error(error),
            Self::NoResponse => no_response(),
        }
    }
}

fn no_response() -> StoreError {
    StoreError::Unavailable("PostgreSQL does not respond".to_owned())
}

/// Connections that read, and that change what is not of a run. Each statement is a transaction of its own.
#[derive(Clone)]
pub(super) struct Readers(Pool);

impl Readers {
    /// All rows of a query. If the connection was lost, tries again with another one.
    pub(super) async fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, StoreError> {
        match self.once(sql, values).await {
            Err((_, true)) => self.once(sql, values).await.map_err(|(error, _)| error),
            other => other.map_err(|(error, _)| error),
        }
    }

    /// The first row of a query, if there is one.
    pub(super) async fn row(&self, sql: &str, values: Values<'_>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Changes rows, and returns those that the statement returns. A lost connection is an error, because the statement may
    /// have been executed.
    pub(super) async fn write(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, StoreError> {
        self.once(sql, values).await.map_err(|(error, _)| error)
    }

    /// Executes a statement. An error says whether the connection was lost.
    async fn once(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, (StoreError, bool)> {
        let client = self.0.get().await.map_err(|error| (pool_error(&error), false))?;
        let query = async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, values).await
        };
        match timeout(READ_TIMEOUT, query).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                let lost = super::error::needs_reconnect(&error);
                if lost {
                    drop(Object::take(client));
                }
                Err((store_error(&error), lost))
            }
            Err(_) => {
                drop(Object::take(client));
                Err((no_response(), false))
            }
        }
    }
}

fn pool_error(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => store_error(error),
        PoolError::Timeout(_) => StoreError::Unavailable("all connections to PostgreSQL are busy".to_owned()),
        other => StoreError::Failed(other.to_string()),
    }
}
