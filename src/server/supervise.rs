//! Asks a store that is far away whether it is there, for readiness and for the breaker.

use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::health::Health;
use crate::limiter::StoreWatch;
use crate::store::{Store, StoreError};

/// What supervising a store takes.
#[derive(Debug)]
pub struct Supervisor {
    /// The store that is pinged.
    pub store: Arc<dyn Store>,
    /// Hears how the pings end, and says when the next is due.
    pub watch: Arc<StoreWatch>,
    /// Becomes ready when the store has answered.
    pub health: Arc<Health>,
    /// How long a ping may take, in milliseconds.
    pub timeout_ms: u64,
    /// Whether an outage makes the server not ready.
    pub ready_follows_store: bool,
}

impl Supervisor {
    /// Pings the store until the future is dropped; one that answers at once is not asked again.
    pub async fn run(&self) {
        loop {
            self.check().await;
            if self.store.answers_at_once() {
                std::future::pending::<()>().await;
            }
            self.wait().await;
        }
    }

    /// Pings the store once.
    pub async fn check(&self) {
        let answer = self.ping().await;
        self.watch.pinged(&answer);
        if answer.is_ok() {
            self.health.set_store_answered(true);
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let ping = AssertUnwindSafe(async { self.store.ping().await }).catch_unwind();
        match tokio::time::timeout(Duration::from_millis(self.timeout_ms), ping).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable { reason: "a ping ended in a panic".to_owned() }),
            Err(_) => Err(StoreError::TimedOut),
        }
    }

    /// Waits until the next ping is due, which changes when the breaker opens.
    async fn wait(&self) {
        loop {
            let is_open = self.watch.is_open();
            self.health.set_store_failing(is_open);
            if is_open && self.ready_follows_store {
                self.health.set_store_answered(false);
            }
            tokio::select! {
                () = tokio::time::sleep(self.watch.wait(random())) => return,
                () = self.watch.opened() => {}
            }
        }
    }
}

/// Any number: the standard library's hash maps begin with another one each time.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
