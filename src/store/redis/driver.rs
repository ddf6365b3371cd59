//! A task per connection: takes what waits, sends it in one call of the script, and gives the answers out.
//!
//! What arrives while calls are on their way goes out together with the next. The tasks of all connections
//! take from one queue, so a connection that is broken delays nobody as long as another is not.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::time::{sleep, timeout};

use super::connect::Connector;
use super::refusal::{Trouble, trouble};
use super::reply::{Answer, read};
use super::script::Script;
use super::work::Work;
use crate::store::pause::Pause;
use crate::store::queue::{Exchange, Job, Queue};
use crate::store::{Observer, RoundTrip, StoreError};
use crate::time::{Clock, Stopwatch};

/// The most settlements in one call: what comes later waits no longer than these take, about 0.2 ms.
const MAX_SETTLEMENTS: usize = 64;

/// The most bytes in one call, unless one settlement alone has more.
const MAX_BYTES: usize = 64 << 10;

/// Calls on their way at once per connection. While the server works on one the next is there already; with
/// more, the calls get smaller and Redis has more to do for the same settlements.
const MAX_CALLS: usize = 2;

/// What the tasks of one Redis share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue<Work>,
    pub(super) connector: Connector,
    pub(super) script: Script,
    /// Says what time it is for the script; `None`: the server's clock does.
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) observer: Arc<dyn Observer>,
    /// From sending to the answer.
    pub(super) timeout: Duration,
    pub(super) links: Links,
}

/// How many connections are up or may come up at once, and why the last went down.
#[derive(Debug)]
pub(super) struct Links {
    hopeful: AtomicUsize,
    failure: Mutex<Option<StoreError>>,
}

impl Links {
    pub(super) fn new(connections: usize) -> Self {
        Self { hopeful: AtomicUsize::new(connections), failure: Mutex::default() }
    }

    /// Why nothing can be sent soon, if so.
    pub(super) fn failure(&self) -> Option<StoreError> {
        if self.hopeful.load(Ordering::Acquire) > 0 {
            return None;
        }
        let unknown = || StoreError::Unavailable { reason: "there is no connection".to_owned() };
        Some(self.failure.lock().clone().unwrap_or_else(unknown))
    }
}

/// A call as it ended: who waits for it, and what came back.
struct Ended {
    jobs: Vec<Job<Work>>,
    /// Of which connection, counted from the first.
    generation: u64,
    by_text: bool,
    since: Stopwatch,
    /// `None`: nothing in time.
    answer: Option<Result<Value, RedisError>>,
}

/// The task of one connection.
pub(super) struct Driver {
    shared: Arc<Shared>,
    calls: FuturesUnordered<BoxFuture<'static, Ended>>,
    connection: Option<MultiplexedConnection>,
    /// How many connections there have been: a call that fails says nothing of a later one.
    generation: u64,
    pause: Pause,
    /// How long to wait before the next attempt to connect.
    wait: Duration,
    is_hopeful: bool,
    /// Since when nothing has come back on the connection.
    silence: Stopwatch,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            calls: FuturesUnordered::new(),
            connection: None,
            generation: 0,
            pause: Pause::default(),
            wait: Duration::ZERO,
            is_hopeful: true,
            silence: Stopwatch::start(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.connection.is_none() {
                self.connect().await;
                continue;
            }
            let shared = self.shared.clone();
            let takes = self.calls.len() < MAX_CALLS;
            let (mut settlements, mut bytes) = (0, 0);
            let fits = |work: &Work| {
                settlements += 1;
                bytes += work.len();
                settlements <= MAX_SETTLEMENTS && bytes <= MAX_BYTES
            };
            tokio::select! {
                biased;
                Some(ended) = self.calls.next() => self.ended(ended),
                jobs = shared.queue.take(fits), if takes => self.send(jobs, false),
            }
        }
    }

    /// One attempt, after a pause if the last failed; calls of the last connection go on meanwhile.
    async fn connect(&mut self) {
        let (shared, wait) = (self.shared.clone(), self.wait);
        let mut attempt = pin!(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let since = Stopwatch::start();
            (shared.connector.connect().await, since.elapsed())
        });
        let (connected, took) = loop {
            tokio::select! {
                biased;
                connected = &mut attempt => break connected,
                Some(ended) = self.calls.next() => self.ended(ended),
            }
        };
        match connected {
            Ok(connection) => {
                self.generation += 1;
                self.silence = Stopwatch::start();
                self.connection = Some(connection);
                if !self.is_hopeful {
                    self.is_hopeful = true;
                    self.shared.links.hopeful.fetch_add(1, Ordering::AcqRel);
                }
            }
            Err(error) => {
                self.shared.observer.ended(&RoundTrip { took, settlements: 0, failure: Some(&error) });
                self.give_up(&error);
            }
        }
    }

    /// Closes the connection for a while; what waits fails unless another connection takes it.
    fn give_up(&mut self, error: &StoreError) {
        self.connection = None;
        self.wait = self.pause.next();
        let links = &self.shared.links;
        *links.failure.lock() = Some(error.clone());
        let was_hopeful = std::mem::replace(&mut self.is_hopeful, false);
        let left = links.hopeful.fetch_sub(usize::from(was_hopeful), Ordering::AcqRel);
        if left == usize::from(was_hopeful) {
            self.shared.queue.fail_all(error);
        }
    }

    fn send(&mut self, jobs: Vec<Job<Work>>, by_text: bool) {
        let Some(connection) = self.connection.clone() else {
            let reason = "the connection was closed before it was sent".to_owned();
            return finish_all(jobs, &StoreError::Unavailable { reason }, None);
        };
        let now = self.shared.clock.as_ref().map(|clock| clock.now());
        let command = self.shared.script.call(jobs.iter().map(|job| &job.work), now, by_text);
        let (generation, patience) = (self.generation, self.shared.timeout);
        self.calls.push(Box::pin(async move {
            let since = Stopwatch::start();
            let answer = timeout(patience, ask(connection, command)).await.ok();
            Ended { jobs, generation, by_text, since, answer }
        }));
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { jobs, generation, by_text, since, answer } = ended;
        let is_current = generation == self.generation;
        let trouble = match answer {
            Some(Ok(value)) => {
                self.heard(is_current);
                return self.give_out(jobs, &since, &value);
            }
            Some(Err(error)) => trouble(&error),
            None => Trouble::TimedOut,
        };
        let failure = match trouble {
            // It did not run, and with the text it will.
            Trouble::NoScript if !by_text && is_current && self.connection.is_some() => {
                self.heard(is_current);
                return self.send(jobs, true);
            }
            Trouble::NoScript => {
                StoreError::Refused { reason: "the server does not keep the script".to_owned() }
            }
            Trouble::TimedOut => {
                // A peer that has gone without a word would otherwise be asked until the kernel gives up.
                if is_current && self.silence.elapsed() >= self.shared.timeout {
                    self.connection = None;
                }
                StoreError::TimedOut
            }
            Trouble::Lost(reason) => {
                if is_current {
                    self.connection = None;
                }
                StoreError::Lost { reason }
            }
            Trouble::Elsewhere(reason) => {
                if is_current {
                    self.give_up(&StoreError::Unavailable { reason: reason.clone() });
                }
                StoreError::Refused { reason }
            }
            Trouble::Refused(reason) => {
                self.heard(is_current);
                StoreError::Refused { reason }
            }
        };
        self.report(&since, jobs.len(), Some(&failure));
        let exchange = Exchange { since, settlements: jobs.len() };
        finish_all(jobs, &failure, Some(exchange));
    }

    fn heard(&mut self, is_current: bool) {
        if is_current {
            self.silence = Stopwatch::start();
            self.pause = Pause::default();
            self.wait = Duration::ZERO;
        }
    }

    fn give_out(&self, jobs: Vec<Job<Work>>, since: &Stopwatch, value: &Value) {
        let answers = read(value, jobs.iter().map(|job| &job.work));
        let failure = answers.iter().find_map(|answer| answer.as_ref().err());
        self.report(since, jobs.len(), failure);
        let exchange = Exchange { since: *since, settlements: jobs.len() };
        for (job, answer) in jobs.into_iter().zip(answers) {
            job.finish(answer.map(|Answer { outcome, .. }| outcome), Some(exchange));
        }
    }

    fn report(&self, since: &Stopwatch, settlements: usize, failure: Option<&StoreError>) {
        self.shared.observer.ended(&RoundTrip { took: since.elapsed(), settlements, failure });
    }
}

async fn ask(mut connection: MultiplexedConnection, command: Cmd) -> Result<Value, RedisError> {
    match connection.send_packed_command(&command).await? {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

fn finish_all(jobs: Vec<Job<Work>>, failure: &StoreError, exchange: Option<Exchange>) {
    for job in jobs {
        job.finish(Err(failure.clone()), exchange);
    }
}
