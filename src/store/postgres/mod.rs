//! States in a table of Postgres, shared by all servers that use it.
//!
//! A few tasks with a connection each take what queues up and apply it in one transaction: they lock the rows of
//! all keys, read them and the database's clock, call the pure `settle` in the order of arrival, and write once.
//! So a hot key costs one row version for hundreds of requests, and no arithmetic is repeated in SQL.

mod batch;
mod connect;
mod connector;
mod conninfo;
mod driver;
mod error;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod login;
mod migrate;
mod options;
mod pgpass;
mod server;
mod settings;
mod sql;
mod state;
mod sweep;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::queue::Queue;
use super::{Observer, Settling, Store, StoreError};
use crate::algorithm::State;
use crate::engine::{Key, Settlement};
use crate::time::Clock;
use connect::Links;
use connector::Connector;
pub use conninfo::Parameters;
use driver::Shared;
use exchange::Time;
pub use migrate::{Migrated, migrate};
pub use options::{Options, VARIABLES};
pub use server::{ChannelBinding, DEFAULT_PORT, Host, Server, SslMode};
pub use settings::{DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_CONNECTIONS, Durability, Migrations, Settings};
use sql::Sql;
pub use sql::{MAX_NAME_BYTES, is_name};
pub use tls::{Roots, TlsFiles};

/// Keeps states in Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// The tasks; they end with the store, and with them the connections.
    _tasks: JoinSet<()>,
}

impl PostgresStore {
    /// A store as the settings say, which begins to connect. Postgres need not be there yet.
    ///
    /// # Panics
    /// Outside of a runtime, which its tasks need.
    #[must_use]
    pub fn new(settings: &Settings, observer: Arc<dyn Observer>) -> Self {
        Self::with_time(settings, observer, Time::Database)
    }

    /// The same with a clock in the hands of a test instead of the database's.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_clock(settings: &Settings, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> Self {
        Self::with_time(settings, observer, Time::Given(clock))
    }

    fn with_time(settings: &Settings, observer: Arc<dyn Observer>, time: Time) -> Self {
        let settings = Settings { connections: settings.connections.max(1), ..settings.clone() };
        let connector = Connector::new(&settings);
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.max_waiting),
            // One more for the sweeper and for pings, which are not to wait for a batch.
            links: Links::new(connector, settings.connections + 1),
            sql: Sql::new(&settings),
            time,
            settings,
            observer,
            has_table: AtomicBool::new(false),
            looking: Mutex::new(()),
            turn: Mutex::new(()),
            without: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..shared.settings.connections {
            tasks.spawn(driver::drive(shared.clone()));
        }
        tasks.spawn(sweep::sweep(shared.clone()));
        Self { shared, _tasks: tasks }
    }

    /// How many settlements wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    /// The state that is stored under a key, for tests.
    ///
    /// # Errors
    /// Postgres does not answer, or what it holds cannot be read.
    pub async fn state(&self, key: &Key) -> Result<Option<State>, StoreError> {
        let link = self.shared.link().await?;
        let statement = format!("SELECT state FROM {} WHERE key = $1", self.shared.sql.table);
        let parameters = [(&key.as_bytes() as _, tokio_postgres::types::Type::BYTEA)];
        let row = link.client.query_typed_opt(&statement, &parameters).await;
        let row = row.map_err(|error| error::before_commit(&error).error)?;
        let bytes = row.as_ref().map_or(&[][..], |row| row.get(0));
        if bytes.is_empty() {
            return Ok(None);
        }
        state::decode(bytes).map(Some).map_err(|reason| StoreError::Unreadable { reason })
    }
}

impl Store for PostgresStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        // The settlement outlives the call that asks it.
        match self.shared.queue.push(settlement.clone()) {
            Ok(ticket) => Settling::Later(ticket),
            Err(error) => Settling::Ready(Err(error)),
        }
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        Box::pin(async {
            let shared = &self.shared;
            let asking = async {
                let mut link = shared.link().await?;
                link.busy = true;
                let answer = link.client.query_typed(&shared.sql.ping, &[]).await;
                link.busy = false;
                answer.map(drop).map_err(|error| {
                    let failure = error::before_commit(&error);
                    shared.note(&failure);
                    failure.error
                })
            };
            tokio::time::timeout(shared.patience(), asking).await.unwrap_or(Err(StoreError::TimedOut))
        })
    }
}
