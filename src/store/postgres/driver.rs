//! The tasks that take the queue, each on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::batch::Batch;
use super::connect::{Borrowed, Link, Links};
use super::error::Failure;
use super::exchange::{self, Outcomes, Time};
use super::migrate;
use super::settings::Settings;
use super::sql::Sql;
use crate::engine::Settlement;
use crate::store::pause::Pause;
use crate::store::queue::{Exchange, Job, Queue, Reply};
use crate::store::{Observer, RoundTrip, StoreError};
use crate::time::Stopwatch;

/// How many charges go together for each settlement of the largest batch, so that a batch of requests with many
/// limits is no longer than one of many requests.
const CHARGES_PER_SETTLEMENT: usize = 4;

/// The right to take jobs; see [`Shared::turn`].
pub(super) type Turn<'a> = MutexGuard<'a, ()>;

/// What the tasks of one store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue<Settlement>,
    pub(super) links: Links,
    pub(super) sql: Sql,
    pub(super) time: Time,
    pub(super) settings: Settings,
    pub(super) observer: Arc<dyn Observer>,
    /// Whether the table was found to be as this program needs it.
    pub(super) has_table: AtomicBool,
    /// One task at a time looks at the table.
    pub(super) looking: Mutex<()>,
    /// Held from taking jobs until their COMMIT is sent. So one batch waits for the disk while the next one locks and
    /// reads, and no second one takes jobs early only to wait for the locks of the first.
    pub(super) turn: Mutex<()>,
    /// How many of the tasks have no connection and wait before they try again.
    pub(super) without: AtomicUsize,
}

impl Shared {
    /// A connection to a database whose table is as it should be.
    ///
    /// # Errors
    /// It cannot be reached, or the table is not there.
    pub(super) async fn link(&self) -> Result<Borrowed<'_>, StoreError> {
        let mut link = self.links.get().await?;
        if !self.has_table.load(Ordering::Acquire) {
            let _turn = self.looking.lock().await;
            if !self.has_table.load(Ordering::Acquire) {
                migrate::look(&mut link, &self.settings).await?;
                self.has_table.store(true, Ordering::Release);
            }
        }
        Ok(link)
    }

    /// How long a batch may take.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_ms)
    }

    /// Takes note of a failure that concerns more than its batch.
    pub(super) fn note(&self, failure: &Failure) {
        if failure.schema_lost {
            self.has_table.store(false, Ordering::Release);
        }
    }
}

/// Applies what queues up, for as long as the store lives.
pub(super) async fn drive(shared: Arc<Shared>) {
    let mut pause = Pause::default();
    loop {
        match shared.link().await {
            Ok(link) => {
                pause = Pause::default();
                serve(&shared, link).await;
            }
            Err(error) => {
                tell(&shared, &Stopwatch::start(), 0, Some(&error));
                wait(&shared, &error, pause.next()).await;
            }
        }
    }
}

/// Applies one batch after the other until the connection is of no use any more.
async fn serve(shared: &Shared, mut link: Borrowed<'_>) {
    let mut room = Room::default();
    loop {
        let turn = shared.turn.lock().await;
        room.clear(shared.settings.max_batch);
        let jobs = shared.queue.take(|settlement| room.fits(settlement)).await;
        if link.client.is_closed() {
            // It ended while there was nothing to do, so nothing was sent on it.
            match shared.link().await {
                Ok(another) => link = another,
                Err(error) => return fail(jobs, &error),
            }
        }
        apply(shared, &mut link, jobs, turn).await;
        if link.busy || link.client.is_closed() || !shared.has_table.load(Ordering::Acquire) {
            return;
        }
    }
}

async fn apply(shared: &Shared, link: &mut Link, jobs: Vec<Job<Settlement>>, turn: Turn<'_>) {
    let watch = Stopwatch::start();
    let (settlements, replies): (Vec<Settlement>, Vec<Reply>) = jobs.into_iter().map(Job::into_parts).unzip();
    let batch = Batch::new(&settlements);
    let settling = exchange::settle(link, &shared.sql, &shared.time, &batch, turn);
    let settled: Result<Outcomes, Failure> =
        tokio::time::timeout(shared.patience(), settling).await.unwrap_or_else(|_| {
            // The transaction is open, and the connection is given up with it.
            Err(StoreError::TimedOut.into())
        });
    if link.busy && !link.client.is_closed() {
        link.cancel(shared.patience());
    }
    if matches!(&settled, Err(Failure { error: StoreError::Unavailable { .. }, .. })) {
        // A server that takes no writes stays one: the next connection may find another.
        link.busy = true;
    }
    let exchange = Some(Exchange { since: watch, settlements: settlements.len() });
    match settled {
        Ok(outcomes) => {
            tell(shared, &watch, settlements.len(), None);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                reply.send_with(outcome, exchange);
            }
        }
        Err(failure) => {
            shared.note(&failure);
            if matches!(failure.error, StoreError::Unavailable { .. }) {
                // It is there and of no use, as a server that takes no writes: the next connection may be to
                // another one.
                link.busy = true;
            }
            tell(shared, &watch, settlements.len(), Some(&failure.error));
            for reply in replies {
                reply.send_with(Err(failure.error.clone()), exchange);
            }
        }
    }
}

fn tell(shared: &Shared, watch: &Stopwatch, settlements: usize, failure: Option<&StoreError>) {
    shared.observer.ended(&RoundTrip { took: watch.elapsed(), settlements, failure });
}

fn fail(jobs: Vec<Job<Settlement>>, error: &StoreError) {
    for job in jobs {
        job.finish(Err(error.clone()), None);
    }
}

/// Waits before the next attempt to connect. Once no task has a connection, what is asked meanwhile fails at once
/// instead of waiting for something that may never come.
async fn wait(shared: &Shared, error: &StoreError, pause: Duration) {
    let without = shared.without.fetch_add(1, Ordering::AcqRel) + 1;
    let is_last = without == shared.settings.connections;
    let mut sleep = std::pin::pin!(tokio::time::sleep(pause));
    loop {
        tokio::select! {
            biased;
            () = &mut sleep => break,
            jobs = shared.queue.take(|_| true), if is_last => fail(jobs, error),
        }
    }
    shared.without.fetch_sub(1, Ordering::AcqRel);
}

/// What still fits into a batch.
#[derive(Debug, Default)]
struct Room {
    settlements: usize,
    charges: usize,
}

impl Room {
    fn clear(&mut self, max_batch: usize) {
        self.settlements = max_batch.max(1);
        self.charges = self.settlements * CHARGES_PER_SETTLEMENT;
    }

    fn fits(&mut self, settlement: &Settlement) -> bool {
        let charges = settlement.charges().len();
        if self.settlements == 0 || self.charges < charges {
            return false;
        }
        self.settlements -= 1;
        self.charges -= charges;
        true
    }
}
