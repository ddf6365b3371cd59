//! One node of a cluster: its connections, each with a task of its own and what waits for it.
//!
//! What arrives while a task is busy goes out together: everything in one write, and all that is in one slot
//! in one call of the script, since a script reaches one slot. Answers come in the order of the calls, and
//! nobody waits for a free connection.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Sleep, sleep};

use super::super::refusal::words;
use super::super::settings::Address;
use super::call::{Ended, Trouble, call};
use super::errand::Errand;
use super::refusal::{NotRun, not_run};
use super::routes::Routes;
use super::wire::Wire;
use crate::store::pause::Pause;
use crate::store::{RoundTrip, StoreError};
use crate::time::Stopwatch;

/// Errands that are taken from a queue at once.
const MAX_TAKEN: usize = 128;

/// Calls that may be on their way on one connection: enough for a round trip of 1 ms at 100,000 calls a
/// second, few enough that what waits behind them still goes out together.
const MAX_CALLS: usize = 128;

/// A node. Dropping it ends its tasks once what they took is answered.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it listens.
    pub(super) address: Address,
    lines: Box<[mpsc::Sender<Errand>]>,
}

impl Node {
    /// A node to which `routes` lead. It is being connected to from now on.
    pub(super) fn new(address: Address, routes: &Arc<Routes>) -> Arc<Self> {
        let connections = routes.settings().connections.max(1);
        let max_waiting = (routes.settings().max_waiting / connections).max(1);
        let lines = (0..connections).map(|_| {
            let (sender, inbox) = mpsc::channel(max_waiting);
            tokio::spawn(Line::new(&address, routes).run(inbox));
            sender
        });
        Arc::new(Self { lines: lines.collect(), address })
    }

    /// Puts `errand` where it waits to be sent. Errands of one slot wait together.
    pub(super) fn push(&self, errand: Errand) {
        let line = &self.lines[usize::from(errand.slot) % self.lines.len()];
        match line.try_send(errand) {
            Ok(()) => {}
            Err(TrySendError::Full(errand)) => errand.fail(StoreError::Overloaded),
            Err(TrySendError::Closed(errand)) => {
                errand.fail(StoreError::Unavailable { reason: "the store's task has ended".to_owned() });
            }
        }
    }

    /// Errands that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.lines.iter().map(|line| line.max_capacity() - line.capacity()).sum()
    }
}

type Connecting = BoxFuture<'static, Result<MultiplexedConnection, StoreError>>;

/// The connection of a line.
enum Link {
    Connecting(Connecting),
    Up(MultiplexedConnection),
    /// Until the next attempt.
    Pause(Pin<Box<Sleep>>),
}

/// What happens to a link by itself.
enum Turn {
    Connected(MultiplexedConnection),
    Failed(StoreError),
    PauseIsOver,
}

/// The task of one connection.
struct Line {
    routes: Weak<Routes>,
    address: Address,
    wire: Arc<Wire>,
    timeout: Duration,
    link: Link,
    /// How many connections there have been: a call that fails says nothing about a later one.
    generation: u64,
    /// Attempts to connect that failed since the last that did not, and how the last one did.
    pause: Pause,
    failure: Option<StoreError>,
    attempt: Stopwatch,
    calls: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Since when nothing has come back on the connection.
    silence: Stopwatch,
}

impl Line {
    fn new(address: &Address, routes: &Arc<Routes>) -> Self {
        Self {
            routes: Arc::downgrade(routes),
            address: address.clone(),
            wire: Arc::clone(routes.wire()),
            timeout: Duration::from_millis(routes.settings().timeout_ms),
            link: Link::Connecting(routes.connecting(address.clone())),
            generation: 0,
            pause: Pause::default(),
            failure: None,
            attempt: Stopwatch::start(),
            calls: FuturesUnordered::new(),
            silence: Stopwatch::start(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Errand>) {
        let mut taken = Vec::with_capacity(MAX_TAKEN);
        loop {
            // What arrives waits for the first attempt to connect; after a failure it is told at once.
            let may_take = match &self.link {
                Link::Up(_) => self.calls.len() < MAX_CALLS,
                Link::Connecting(_) | Link::Pause(_) => self.pause.has_failed(),
            };
            tokio::select! {
                biased;
                Some(ended) = self.calls.next() => self.ended(ended),
                turn = turn(&mut self.link) => self.turned(turn),
                count = inbox.recv_many(&mut taken, MAX_TAKEN), if may_take => {
                    if count == 0 {
                        break;
                    }
                    self.took(&mut taken);
                }
            }
        }
        while let Some(ended) = self.calls.next().await {
            self.ended(ended);
        }
    }

    fn turned(&mut self, turn: Turn) {
        match turn {
            Turn::PauseIsOver => self.connect(),
            Turn::Connected(connection) => {
                if self.pause.has_failed() {
                    tracing::info!(node = %self.address, "a node of the cluster is reached again");
                }
                self.generation += 1;
                self.pause = Pause::default();
                self.failure = None;
                self.silence = Stopwatch::start();
                self.link = Link::Up(connection);
            }
            Turn::Failed(error) => {
                if !self.pause.has_failed() {
                    tracing::warn!(node = %self.address, %error, "a node of the cluster cannot be reached");
                }
                let pause = self.pause.next();
                self.report(self.attempt.elapsed(), 0, Some(&error));
                self.failure = Some(error);
                self.link = Link::Pause(Box::pin(sleep(pause)));
                // Another node may have taken its place.
                self.doubt();
            }
        }
    }

    fn connect(&mut self) {
        self.attempt = Stopwatch::start();
        if let Some(routes) = self.routes.upgrade() {
            self.link = Link::Connecting(routes.connecting(self.address.clone()));
        }
    }

    /// Sends what was taken, or says why not.
    fn took(&mut self, taken: &mut Vec<Errand>) {
        let Link::Up(connection) = &self.link else {
            let unknown = || StoreError::Unavailable { reason: format!("redis at {}", self.address) };
            let failure = self.failure.clone().unwrap_or_else(unknown);
            taken.drain(..).for_each(|errand| errand.fail(failure.clone()));
            return;
        };
        // Nothing is sent for callers that have gone, or that can have no answer in time.
        taken.retain(|errand| !errand.is_unwanted());
        for late in taken.extract_if(.., |errand| errand.watch.elapsed() >= self.timeout) {
            let reason = format!("redis at {} was not reached in time", self.address);
            late.fail(StoreError::Unavailable { reason });
        }
        taken.sort_by_key(Errand::place);
        let mut errands = taken.drain(..).peekable();
        while let Some(first) = errands.next() {
            let mut together = vec![first];
            while let Some(next) = errands.next_if(|next| next.goes_with(&together)) {
                together.push(next);
            }
            let wire = Arc::clone(&self.wire);
            let calling = call(connection.clone(), self.generation, together, wire, self.timeout);
            self.calls.push(Box::pin(calling));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { errands, since, took, answer, generation } = ended;
        let settlements = errands.len();
        let current = generation == self.generation && matches!(self.link, Link::Up(_));
        match answer {
            Ok(answer) => {
                self.silence = Stopwatch::start();
                let failure = Wire::finish(errands, &answer, &self.address, since);
                self.report(took, settlements, failure.as_ref());
            }
            Err(Trouble::Server(error)) => {
                self.silence = Stopwatch::start();
                let Some(why) = not_run(&error, &self.address) else {
                    return self.failed(errands, took, &StoreError::Refused { reason: words(&error) });
                };
                let failure = StoreError::Refused { reason: words(&error) };
                let is_down = matches!(why, NotRun::Down(_));
                self.report(took, settlements, is_down.then_some(&failure));
                let routes = self.routes.upgrade();
                for errand in errands {
                    match &routes {
                        Some(routes) => routes.send_again(errand, &why),
                        None => errand.fail(failure.clone()),
                    }
                }
            }
            Err(Trouble::Lost(reason)) => {
                if current {
                    self.connect();
                    self.doubt();
                }
                let reason = format!("redis at {}: {reason}", self.address);
                self.failed(errands, took, &StoreError::Lost { reason });
            }
            Err(Trouble::TimedOut) => {
                // A peer that has gone without a word would otherwise be asked until the kernel gives up.
                if current && self.silence.elapsed() >= self.timeout {
                    self.connect();
                    self.doubt();
                }
                self.failed(errands, took, &StoreError::TimedOut);
            }
        }
    }

    fn failed(&self, errands: Vec<Errand>, took: Duration, error: &StoreError) {
        self.report(took, errands.len(), Some(error));
        for errand in errands {
            errand.fail(error.clone());
        }
    }

    fn report(&self, took: Duration, settlements: usize, failure: Option<&StoreError>) {
        if let Some(routes) = self.routes.upgrade() {
            routes.observer().ended(&RoundTrip { took, settlements, failure });
        }
    }

    /// Has the map of the slots asked for anew.
    fn doubt(&self) {
        if let Some(routes) = self.routes.upgrade() {
            routes.doubt();
        }
    }
}

/// What happens next to a link, if anything does by itself. Dropping the future loses nothing.
async fn turn(link: &mut Link) -> Turn {
    match link {
        Link::Up(_) => pending().await,
        Link::Connecting(connecting) => match connecting.await {
            Ok(connection) => Turn::Connected(connection),
            Err(error) => Turn::Failed(error),
        },
        Link::Pause(pause) => {
            pause.await;
            Turn::PauseIsOver
        }
    }
}
