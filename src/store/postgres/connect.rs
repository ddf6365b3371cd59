//! How connections are kept and given up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bb8::{ErrorSink, ManageConnection, Pool};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::Client;

use super::connector::{Cancel, Connector, Opened};
use crate::store::StoreError;

/// One connection to Postgres.
pub(super) struct Link {
    /// What sends requests on it.
    pub(super) client: Client,
    /// A transaction is open whose end has not been seen. Whoever gives the connection back like that gives it
    /// up: its next user would join a transaction that is not its own.
    pub(super) busy: bool,
    cancel: Cancel,
}

/// The connections that are kept.
#[derive(Clone)]
pub(super) struct Links {
    pool: Pool<Connector>,
    failures: Failures,
}

/// How much longer than for an attempt to connect a connection is waited for: for its turn to be made.
const SPARE: Duration = Duration::from_millis(500);

/// A connection that goes back to the pool when it is dropped.
pub(super) type Borrowed<'a> = bb8::PooledConnection<'a, Connector>;

/// Attempts to connect that failed.
#[derive(Debug, Clone, Default)]
struct Failures {
    last: Arc<Mutex<Option<StoreError>>>,
    told: Arc<Notify>,
}

impl ManageConnection for Connector {
    type Connection = Link;
    type Error = StoreError;

    async fn connect(&self) -> Result<Link, StoreError> {
        let Opened { client, cancel } = self.connect().await?;
        Ok(Link { client, busy: false, cancel })
    }

    async fn is_valid(&self, link: &mut Link) -> Result<(), StoreError> {
        link.client.check_connection().await.map_err(|error| super::error::before_commit(&error).error)
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.busy || link.client.is_closed()
    }
}

impl Link {
    /// Asks the server to stop what it does for this connection. Nothing waits for it, and it may come too late.
    pub(super) fn cancel(&self, patience: Duration) {
        let cancel = self.cancel.clone();
        tokio::spawn(async move { drop(tokio::time::timeout(patience, cancel.cancel()).await) });
    }
}

impl Links {
    /// Room for `most` connections; none is opened yet.
    pub(super) fn new(connector: Connector, most: usize) -> Self {
        let failures = Failures::default();
        let pool = Pool::builder()
            .max_size(u32::try_from(most).unwrap_or(u32::MAX))
            // A round trip before each batch would double what a batch costs.
            .test_on_check_out(false)
            // Whoever needs a connection decides when to try again.
            .retry_connection(false)
            .idle_timeout(None)
            .connection_timeout(connector.patience() + SPARE)
            .error_sink(Box::new(failures.clone()))
            .build_unchecked(connector);
        Self { pool, failures }
    }

    /// A connection that was alive a moment ago.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(&self) -> Result<Borrowed<'_>, StoreError> {
        loop {
            let failed = self.failures.told.notified();
            let found = tokio::select! {
                biased;
                found = self.pool.get() => found.ok(),
                () = failed => None,
            };
            match found {
                // Dropping it makes room for a new one.
                Some(link) if link.client.is_closed() => {}
                Some(link) => return Ok(link),
                None => return Err(self.failures.last()),
            }
        }
    }
}

impl Failures {
    fn last(&self) -> StoreError {
        let last = self.last.lock().clone();
        last.unwrap_or_else(|| StoreError::Unavailable { reason: "no connection became free".to_owned() })
    }
}

impl ErrorSink<StoreError> for Failures {
    fn sink(&self, error: StoreError) {
        *self.last.lock() = Some(error);
        self.told.notify_waiters();
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<StoreError>> {
        Box::new(self.clone())
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("pool", &self.pool.state()).finish_non_exhaustive()
    }
}
