//! The store of one Redis: standalone, or the master that Sentinels name.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connect::Connector;
use super::driver::{Driver, Links, Shared};
use super::eviction::Eviction;
use super::reply::{Answer, read};
use super::script::{Script, TEXT};
use super::settings::Settings;
use super::state;
use super::work::{Undone, Work};
use crate::algorithm::State;
use crate::engine::{Key, Settlement};
use crate::store::queue::Queue;
use crate::store::{Observer, Settling, Store, StoreError};
use crate::time::Clock;

/// Keeps states in a Redis. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    key_prefix: Box<[u8]>,
    /// Over which states are looked at, once somebody has looked.
    looks: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    _tasks: JoinSet<()>,
}

impl RedisStore {
    /// A store that connects from now on, at the time of the server's clock. Needs a tokio runtime.
    #[must_use]
    pub fn new(settings: &Settings, observer: Arc<dyn Observer>) -> Self {
        Self::with_script(settings, observer, None, TEXT)
    }

    /// The same at the time of `clock`, for tests.
    #[must_use]
    pub fn with_clock(settings: &Settings, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> Self {
        Self::with_script(settings, observer, Some(clock), TEXT)
    }

    /// The same with another text of the script, for tests that plant mistakes.
    #[doc(hidden)]
    #[must_use]
    pub fn with_script(
        settings: &Settings,
        observer: Arc<dyn Observer>,
        clock: Option<Arc<dyn Clock>>,
        script: &str,
    ) -> Self {
        let connections = settings.connections.max(1);
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.max_waiting),
            connector: Connector::new(settings.clone()),
            script: Script::new(script),
            clock,
            observer,
            timeout: Duration::from_millis(settings.timeout_ms),
            links: Links::new(connections),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(Driver::new(shared.clone()).run());
        }
        Self {
            shared,
            key_prefix: settings.key_prefix.as_bytes().into(),
            looks: tokio::sync::Mutex::default(),
            _tasks: tasks,
        }
    }

    /// The text of the script, for tests that plant mistakes.
    #[doc(hidden)]
    #[must_use]
    pub const fn script() -> &'static str {
        TEXT
    }

    /// How many settlements wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.queue.len()
    }

    /// What was seen of the servers' memory.
    #[must_use]
    pub fn eviction(&self) -> &Eviction {
        self.shared.connector.eviction()
    }

    /// The state that is stored under a key, over a connection for this alone.
    ///
    /// # Errors
    /// The server cannot be reached or refuses; what it keeps is no state of this version.
    pub async fn state(&self, key: &Key) -> Result<Option<State>, StoreError> {
        let mut get = redis::cmd("GET");
        get.arg([&*self.key_prefix, key.as_bytes()].concat());
        let state = match self.look(&get).await? {
            Value::Nil => return Ok(None),
            Value::BulkString(bytes) => state::decode(key.algorithm(), &bytes),
            _ => None,
        };
        let unreadable =
            || StoreError::Unreadable { reason: format!("{key:?} holds no state of this version") };
        state.map(Some).ok_or_else(unreadable)
    }

    /// Applies `settlement`, then gives back what a refused one would not have booked, as a settlement over
    /// several nodes of a cluster does. For tests.
    ///
    /// # Errors
    /// Those of the store.
    #[doc(hidden)]
    pub async fn settle_and_undo(&self, settlement: &Settlement) -> Result<(), StoreError> {
        let Answer { booked, .. } = self.call(&Work::settle(&self.key_prefix, &[], settlement, true)).await?;
        let charges = settlement.charges().iter().zip(booked);
        let undone: Vec<Undone<'_>> = charges
            .filter(|(charge, booked)| booked.hits > 0 && !charge.limit.count_refused())
            .map(|(charge, booked)| Undone {
                charge,
                hits: booked.hits.unsigned_abs(),
                place_ms: booked.place_ms,
            })
            .collect();
        self.call(&Work::undo(&self.key_prefix, &[], &undone)).await.map(drop)
    }

    async fn call(&self, work: &Work) -> Result<Answer, StoreError> {
        let now = self.shared.clock.as_ref().map(|clock| clock.now());
        let value = self.look(&self.shared.script.call(std::iter::once(work), now, true)).await?;
        let no_answer = || StoreError::Unreadable { reason: "there is no answer".to_owned() };
        read(&value, std::iter::once(work)).pop().unwrap_or_else(|| Err(no_answer()))
    }

    /// Asks over a connection that carries no settlements.
    async fn look(&self, command: &Cmd) -> Result<Value, StoreError> {
        let mut looks = self.looks.lock().await;
        let mut connection = match looks.take() {
            Some(connection) => connection,
            None => self.shared.connector.connect().await?,
        };
        let value = command.query_async(&mut connection).await;
        let value = value.map_err(|error| StoreError::Refused { reason: error.to_string() })?;
        *looks = Some(connection);
        Ok(value)
    }

    fn send(&self, work: Work) -> Settling {
        if let Some(failure) = self.shared.links.failure() {
            return Settling::Ready(Err(failure));
        }
        match self.shared.queue.push(work) {
            Ok(ticket) => Settling::Later(ticket),
            Err(error) => Settling::Ready(Err(error)),
        }
    }
}

impl Store for RedisStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        self.send(Work::settle(&self.key_prefix, &[], settlement, false))
    }

    fn names(&self, settlement: &Settlement) -> Vec<Box<[u8]>> {
        Work::settle(&self.key_prefix, &[], settlement, false).keys().map(Into::into).collect()
    }

    /// Whether the server runs the script, which a mere `PING` would not show.
    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        let answer = self.send(Work::nothing());
        Box::pin(async move {
            let answered = timeout(self.shared.timeout, answer.outcome()).await;
            answered.unwrap_or(Err(StoreError::TimedOut)).map(drop)
        })
    }
}
