//! The connection that renews the lease, claims runs, and receives notifications. It is never busy for long, so a slow read
//! or a large commit cannot delay a renewal.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use heddle_runtime::ports::StoreError;
use tokio::{runtime::Handle, sync};
use tokio_postgres::{Client, Row, Statement};

use super::{
    connect::{CONTROL_SESSION, Connector, Values, WriteError, response},
    error::needs_reconnect,
    signals::Received,
    writer::closed,
};

/// The control connection. Clones share it.
#[derive(Clone)]
pub(super) struct Control(Arc<Shared>);

struct Shared {
    connector: Connector,
    /// The runtime of the store's thread, which drives the connection.
    runtime: Handle,
    received: Received,
    session: sync::Mutex<Option<Arc<Session>>>,
}

struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
}

impl Control {
    pub(super) fn new(connector: Connector, runtime: Handle, received: Received) -> Self {
        Self(Arc::new(Shared {
            connector,
            runtime,
            received,
            session: sync::Mutex::default(),
        }))
    }

    /// Executes a statement, which is a transaction of its own. If the connection is lost, whether it was executed is
    /// unknown.
    pub(super) async fn rows(&self, sql: &str, values: Values<'_>) -> Result<Vec<Row>, StoreError> {
        let session = self.session().await?;
        let query = async {
            let statement = session.prepare(sql).await?;
            session.client.query(&statement, values).await
        };
        let result = response(query).await;
        if let Err(error) = &result {
            let lost = match error {
                WriteError::NoResponse => true,
                WriteError::Server(error) => needs_reconnect(error),
            };
            if lost {
                self.forget(&session).await;
            }
        }
        result.map_err(|error| error.store_error())
    }

    /// The first row of a statement, if there is one.
    pub(super) async fn row(&self, sql: &str, values: Values<'_>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The open session; opens one if there is none.
    async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut open = self.0.session.lock().await;
        if let Some(session) = open.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(session.clone());
        }
        let shared = self.0.clone();
        let connecting = self.0.runtime.spawn(async move {
            let received = shared.received.clone();
            let client = shared
                .connector
                .listen(CONTROL_SESSION, move |notification| received.add(notification))
                .await?;
            let channels = shared.received.channels();
            if !channels.is_empty() {
                let listens: String = channels
                    .iter()
                    .map(|channel| format!("LISTEN {channel};"))
                    .collect();
                response(client.batch_execute(&listens))
                    .await
                    .map_err(|error| error.store_error())?;
            }
            Ok::<_, StoreError>(client)
        });
        let client = connecting.await.map_err(|_| closed())??;
        let session = Arc::new(Session {
            client,
            statements: Mutex::default(),
        });
        *open = Some(session.clone());
        Ok(session)
    }

    /// Drops a session whose connection was lost.
    async fn forget(&self, lost: &Arc<Session>) {
        let mut open = self.0.session.lock().await;
        if open.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            *open = None;
        }
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        *self.0.session.lock().await = None;
    }
}

impl Session {
    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.statements().get(sql).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
