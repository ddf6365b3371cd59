//! Redis Cluster: keys spread over the nodes, by a tag for each descriptor.
//!
//! A request whose charges are in one slot is one atomic step, as everywhere. A script reaches one slot, so
//! a request over several is settled slot by slot, in a task of its own, which a caller that goes away does
//! not end: see `parts`. Never is a hit admitted over the limit. What may happen instead: a request is
//! refused by hits that another request books and gives back a moment later; and hits of a request that
//! was not answered stay charged until they expire.
//!
//! `routes` knows the way to the slots and sends again what a node says it has not run, and nothing else.

mod asker;
mod call;
mod errand;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod map;
mod node;
mod parts;
mod reader;
mod refusal;
mod routes;
mod slot;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::eviction::Eviction;
use super::settings::Settings;
use crate::algorithm::State;
use crate::engine::{Key, Outcome, Settlement};
use crate::store::queue::Reply;
use crate::store::{Observer, Settling, Store, StoreError};
use crate::time::{Clock, Stopwatch};
use errand::{Caller, Errand, Settled};
pub use parts::only_slot;
use parts::{GiveBack, Part, Walk, parts};
use reader::Readers;
use routes::{Routes, keep_current};
pub(super) use slot::Tag;

/// Keeps states in a Redis Cluster.
#[derive(Debug)]
pub struct ClusterStore {
    routes: Arc<Routes>,
    readers: Readers,
    upkeep: JoinHandle<()>,
}

impl ClusterStore {
    /// A store that begins to look for the cluster of `settings`; it need not be reachable yet. Needs a
    /// runtime, where its tasks run until it is dropped.
    #[must_use]
    pub fn new(settings: &Settings, observer: Arc<dyn Observer>) -> Self {
        Self::on(Routes::new(settings, observer, None))
    }

    /// The same, with a clock that is believed instead of the cluster's: for tests.
    #[must_use]
    pub fn with_clock(settings: &Settings, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> Self {
        Self::on(Routes::new(settings, observer, Some(clock)))
    }

    fn on(routes: Arc<Routes>) -> Self {
        let upkeep = tokio::spawn(keep_current(Arc::downgrade(&routes), routes.doubted()));
        Self { routes, readers: Readers::default(), upkeep }
    }

    /// The state that is stored under a key whose tag is its identity, over a connection for such questions.
    ///
    /// # Errors
    /// The node cannot be reached or refuses; what it keeps is no state of this version.
    pub async fn state(&self, key: &Key) -> Result<Option<State>, StoreError> {
        self.readers.state(&self.routes, key).await
    }

    /// What was seen of the nodes' memory.
    #[must_use]
    pub fn eviction(&self) -> &Eviction {
        self.routes.connector().eviction()
    }

    /// Settlements that wait to be sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.routes.waiting()
    }

    /// Settlements that may wait to be sent: the settings' bound for each node that is known.
    #[must_use]
    pub fn max_queued(&self) -> usize {
        self.routes.max_waiting()
    }
}

impl Drop for ClusterStore {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl Store for ClusterStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        let (reply, ticket) = Reply::new();
        match only_slot(settlement) {
            Some(slot) => {
                let work = self.routes.wire().settle(settlement, false);
                self.routes.send(Errand::new(slot, work, Caller::Whole(reply), Stopwatch::start()));
            }
            None if settlement.resets => {
                tokio::spawn(reset_in_parts(Arc::clone(&self.routes), settlement.clone(), reply));
            }
            None => {
                tokio::spawn(settle_in_parts(Arc::clone(&self.routes), settlement.clone(), reply));
            }
        }
        Settling::Later(ticket)
    }

    fn names(&self, settlement: &Settlement) -> Vec<Box<[u8]>> {
        self.routes.wire().settle(settlement, false).keys().map(Into::into).collect()
    }

    /// Asks any node for the map of the slots.
    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        Box::pin(self.routes.refresh())
    }
}

/// Settles a request slot by slot, and gives back what a refused request does not owe.
///
/// After an error nothing more is sent and nothing is given back: of a part whose answer was lost nobody knows
/// whether it was booked, and a request that is answered with an error may have been let through.
async fn settle_in_parts(routes: Arc<Routes>, whole: Settlement, reply: Reply) {
    if reply.is_unwanted() {
        return;
    }
    let watch = Stopwatch::start();
    let mut walk = Walk::over(whole);
    while let Some(part) = walk.next(reply.is_unwanted()) {
        match settle_part(&routes, part, watch).await {
            Ok(settled) => walk.took(settled),
            Err(error) => return reply.send(Err(error)),
        }
    }
    // They are in different slots, so they need not wait for each other. One that fails leaves hits charged
    // that nobody made, which expire; it is not repeated, since it may have come through.
    let given_back = join_all(walk.give_backs().map(|owed| give_back(&routes, owed))).await;
    for error in given_back.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "hits of a refused request could not be given back");
    }
    reply.send(Ok(walk.outcome()));
}

/// Resets the keys of each slot. The slots need not wait for each other; after an error some may be reset and some
/// not, and to do it again is no harm.
async fn reset_in_parts(routes: Arc<Routes>, whole: Settlement, reply: Reply) {
    if reply.is_unwanted() {
        return;
    }
    let (watch, parts) = (Stopwatch::start(), parts(&whole));
    let reset = join_all(parts.iter().map(|part| settle_part(&routes, part, watch))).await;
    let failure = reset.into_iter().find_map(Result::err);
    reply.send(failure.map_or_else(|| Ok(Outcome::default()), Err));
}

async fn settle_part(routes: &Routes, part: &Part, watch: Stopwatch) -> Result<Settled, StoreError> {
    let (sender, receiver) = oneshot::channel();
    let work = routes.wire().settle(&part.settlement, true);
    routes.send(Errand::new(part.slot, work, Caller::Part(sender), watch));
    receiver.await.unwrap_or_else(|_| Err(gone()))
}

async fn give_back(routes: &Routes, owed: GiveBack<'_>) -> Result<(), StoreError> {
    let (sender, receiver) = oneshot::channel();
    let work = routes.wire().give_back(&owed.undone);
    // A give-back is worth some more time than its request had.
    let mut errand = Errand::new(owed.slot, work, Caller::GivenBack(sender), Stopwatch::start());
    errand.home = Some(owed.node.clone());
    routes.send(errand);
    receiver.await.unwrap_or_else(|_| Err(gone()))
}

fn gone() -> StoreError {
    StoreError::Unavailable { reason: "the store's task has ended".to_owned() }
}
