//! The way of an errand to the node that serves its slot, however often the slot moves.
//!
//! The map of the slots is asked for at the start, from time to time, when a node is lost, and when a node
//! says that a slot has moved. Meanwhile every node goes on serving, and what a node says of one slot counts at
//! once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::super::connect::Connector;
use super::super::settings::{Address, Form, Settings};
use super::asker::Asker;
use super::errand::Errand;
use super::map::Range;
use super::node::Node;
use super::refusal::NotRun;
use super::slot::SLOTS;
use super::wire::Wire;
use crate::store::{Observer, RoundTrip, StoreError};
use crate::time::{Clock, Stopwatch};

/// How often the map is asked for when nothing happens.
const REFRESH_EVERY: Duration = Duration::from_secs(15);

/// The shortest time between two questions for the map: a reshard moves thousands of slots, each of which
/// is told by the node that it left.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause after questions that nobody answered.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long an errand waits before it is sent again to a node that could not run it: a key in motion takes about
/// a millisecond, a cluster that is down rather longer.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(2);
const DOWN_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Redirections that are followed at once; two nodes that each name the other are left to their talk for a
/// moment.
const MAX_HOPS: u8 = 5;

/// A slot that no node serves.
const NOBODY: u16 = u16::MAX;

/// Who serves which slot.
#[derive(Debug, Clone)]
struct Map {
    nodes: Vec<Arc<Node>>,
    /// By slot, the index of its node.
    slots: Box<[u16]>,
}

/// The nodes of a cluster and the ways to them.
#[derive(Debug)]
pub(super) struct Routes {
    own: Weak<Self>,
    settings: Settings,
    connector: Arc<Connector>,
    wire: Arc<Wire>,
    observer: Arc<dyn Observer>,
    map: ArcSwap<Map>,
    doubted: Arc<Notify>,
    asker: Mutex<Asker>,
    /// Why the map could not be had when it was last asked for.
    unknown: parking_lot::Mutex<Option<StoreError>>,
}

impl Routes {
    /// Ways that are not known yet.
    pub(super) fn new(
        settings: &Settings,
        observer: Arc<dyn Observer>,
        clock: Option<Arc<dyn Clock>>,
    ) -> Arc<Self> {
        let nowhere = Map { nodes: Vec::new(), slots: vec![NOBODY; SLOTS].into_boxed_slice() };
        Arc::new_cyclic(|own| Self {
            own: own.clone(),
            settings: settings.clone(),
            connector: Arc::new(Connector::new(settings.clone())),
            wire: Arc::new(Wire::new(settings, clock)),
            observer,
            map: ArcSwap::from_pointee(nowhere),
            doubted: Arc::default(),
            asker: Mutex::default(),
            unknown: parking_lot::Mutex::default(),
        })
    }

    /// What is known of the cluster from outside.
    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How errands are written and answers are read.
    pub(super) const fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Told when the map may be wrong.
    pub(super) fn doubted(&self) -> Arc<Notify> {
        Arc::clone(&self.doubted)
    }

    /// Who hears of round trips.
    pub(super) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// An attempt to connect to the node at `address`.
    pub(super) fn connecting(
        &self,
        address: Address,
    ) -> BoxFuture<'static, Result<MultiplexedConnection, StoreError>> {
        let connector = Arc::clone(&self.connector);
        async move { connector.connect_to(&address).await }.boxed()
    }

    /// Errands that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.map.load().nodes.iter().map(|node| node.waiting()).sum()
    }

    /// How many may.
    pub(super) fn max_waiting(&self) -> usize {
        self.map.load().nodes.len() * self.settings.max_waiting
    }

    /// Sends `errand` to the node that it is for, or else to the one that serves its slot.
    pub(super) fn send(&self, errand: Errand) {
        let map = self.map.load();
        if let Some(home) = &errand.home {
            if let Some(node) = map.at(home) {
                return node.push(errand);
            }
            let reason = format!("redis at {home} serves nothing any more");
            return errand.fail(StoreError::Unavailable { reason });
        }
        match map.nodes.get(usize::from(map.slots[usize::from(errand.slot)])) {
            Some(node) => node.push(errand),
            None => self.send_nowhere(errand, map.nodes.is_empty()),
        }
    }

    /// What has no node waits for one: at the start, and while the cluster has nobody for the slot.
    fn send_nowhere(&self, errand: Errand, no_node_is_known: bool) {
        let unreachable = self.unknown.lock().clone().filter(|_| no_node_is_known);
        if let Some(error) = unreachable {
            self.doubt();
            return errand.fail(error);
        }
        let nobody = format!("no node is known to serve slot {}", errand.slot);
        self.send_again(errand, &NotRun::Down(nobody));
    }

    /// Sends what a node has not run once more, if there is time.
    pub(super) fn send_again(&self, mut errand: Errand, why: &NotRun) {
        if errand.is_unwanted() {
            return;
        }
        if errand.watch.elapsed() >= Duration::from_millis(self.settings.timeout_ms) {
            return errand.fail(late(why));
        }
        errand.hops = errand.hops.saturating_add(1);
        errand.asking = false;
        match why {
            NotRun::Moved(address) => {
                let node = self.moved(errand.slot, address);
                self.doubt();
                if errand.home.is_some() {
                    // The node is there and has handed over what it had.
                    errand.home = Some(address.clone());
                }
                if errand.hops <= MAX_HOPS {
                    return node.push(errand);
                }
                self.send_later(errand, TRY_AGAIN_AFTER);
            }
            NotRun::Ask(address) => {
                let node = self.node(address);
                errand.asking = true;
                node.push(errand);
            }
            NotRun::TryAgain => {
                // Alone it may have all its keys on one side.
                errand.alone = true;
                self.send_later(errand, TRY_AGAIN_AFTER);
            }
            NotRun::NoScript | NotRun::Down(_) => {
                self.doubt();
                self.send_later(errand, DOWN_AGAIN_AFTER);
            }
        }
    }

    fn send_later(&self, errand: Errand, after: Duration) {
        let own = self.own.clone();
        tokio::spawn(async move {
            sleep(after).await;
            match own.upgrade() {
                Some(routes) => routes.send(errand),
                None => errand.fail(StoreError::Unavailable { reason: "the server stops".to_owned() }),
            }
        });
    }

    /// The node at `address`, which serves `slot` from now on.
    fn moved(&self, slot: u16, address: &Address) -> Arc<Node> {
        let node = self.node(address);
        self.map.rcu(|map| {
            let mut map = Map::clone(map);
            let index = map.index(&node);
            map.slots[usize::from(slot)] = index;
            map
        });
        node
    }

    /// The node at `address`, known from now on.
    fn node(&self, address: &Address) -> Arc<Node> {
        if let Some(node) = self.map.load().at(address) {
            return node;
        }
        let Some(own) = self.own.upgrade() else { unreachable!("it is being used") };
        let new = Node::new(address.clone(), &own);
        self.map.rcu(|map| {
            let mut map = Map::clone(map);
            if map.at(address).is_none() {
                map.nodes.push(Arc::clone(&new));
            }
            map
        });
        // Somebody else may have been faster.
        self.map.load().at(address).unwrap_or(new)
    }

    /// Has the map asked for soon.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Asks for the map, unless somebody else is just doing so: then waits for that.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if no node could tell.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let watch = Stopwatch::start();
        let told = self.asker.lock().await.ranges(self).await;
        let learned = told.map(|ranges| self.learn(&ranges));
        let failure = learned.as_ref().err();
        *self.unknown.lock() = failure.cloned();
        if failure.is_some() {
            self.observer.ended(&RoundTrip { took: watch.elapsed(), settlements: 0, failure });
        }
        learned
    }

    /// Where the node listens that serves a slot, if one is known.
    pub(super) fn address_of(&self, slot: u16) -> Option<Address> {
        let map = self.map.load();
        Some(map.nodes.get(usize::from(map.slots[usize::from(slot)]))?.address.clone())
    }

    /// Where the map may be asked for: the nodes that are known, then those of the settings.
    pub(super) fn addresses(&self) -> Vec<Address> {
        let mut addresses: Vec<Address> =
            self.map.load().nodes.iter().map(|node| node.address.clone()).collect();
        if let Form::Cluster(seeds) = &self.settings.form {
            addresses
                .extend(seeds.iter().filter(|seed| !addresses.contains(seed)).cloned().collect::<Vec<_>>());
        }
        addresses
    }

    /// Who makes connections to the nodes.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Takes a map for true. Nodes that serve nothing any more end once they have answered what they took.
    fn learn(&self, told: &[Range]) {
        let mut primaries: Vec<Arc<Node>> = Vec::new();
        let mut slots = vec![NOBODY; SLOTS].into_boxed_slice();
        for Range { first, last, primary } in told {
            let known = primaries.iter().position(|node| node.address == *primary);
            let index = known.unwrap_or_else(|| {
                primaries.push(self.node(primary));
                primaries.len() - 1
            });
            let index = u16::try_from(index).unwrap_or(NOBODY);
            slots[usize::from(*first)..=usize::from(*last)].fill(index);
        }
        self.map.store(Arc::new(Map { nodes: primaries, slots }));
    }
}

/// Asks for the map again and again, as long as `routes` is there.
pub(super) async fn keep_current(routes: Weak<Routes>, doubted: Arc<Notify>) {
    let mut failures = 0;
    loop {
        let Some(current) = routes.upgrade() else { return };
        failures = if current.refresh().await.is_ok() { 0 } else { failures + 1 };
        drop(current);
        if failures > 0 {
            sleep((REFRESH_PAUSE * (1 << failures.min(5))).min(LONGEST_PAUSE)).await;
            continue;
        }
        sleep(REFRESH_PAUSE).await;
        // Either way it is time.
        let _ = timeout(REFRESH_EVERY, doubted.notified()).await;
    }
}

fn late(why: &NotRun) -> StoreError {
    let reason = match why {
        NotRun::Moved(address) => format!("the slot moves, at last to {address}"),
        NotRun::Ask(address) => format!("the slot is on its way to {address}"),
        NotRun::TryAgain => "the slot is on its way".to_owned(),
        NotRun::NoScript => "the node forgets its script".to_owned(),
        NotRun::Down(words) => words.clone(),
    };
    StoreError::Refused { reason }
}

impl Map {
    fn at(&self, address: &Address) -> Option<Arc<Node>> {
        self.nodes.iter().find(|node| node.address == *address).cloned()
    }

    fn index(&mut self, node: &Arc<Node>) -> u16 {
        let known = self.nodes.iter().position(|known| known.address == node.address);
        let index = known.unwrap_or(self.nodes.len());
        if known.is_none() {
            self.nodes.push(Arc::clone(node));
        }
        u16::try_from(index).unwrap_or(NOBODY)
    }
}
