//! Settlements that wait to be sent: what queues while the last write is in flight goes out together.
//!
//! The queue belongs to the store's own tasks, not to the calls. So a call that is dropped leaves nothing
//! half done: what was not sent yet is taken back, what was sent runs its course without its caller.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::StoreError;
use crate::engine::Outcome;
use crate::time::Stopwatch;

/// What waits to be sent, oldest first; bounded.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: Mutex<VecDeque<Job<T>>>,
    max_len: usize,
    filled: Notify,
}

/// One settlement in the form in which a store sends it, and who waits for its outcome.
#[derive(Debug)]
pub struct Job<T> {
    /// What is to be sent.
    pub work: T,
    reply: Reply,
}

/// Where the outcome of a job goes.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Replied>);

/// The outcome of a job, once it is there.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Replied>);

/// What a reply says: the outcome, and what carried it.
type Replied = (Result<Outcome, StoreError>, Option<Exchange>);

/// The exchange with a store that answered a job.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// Since when it was under way.
    pub since: Stopwatch,
    /// How many settlements went together.
    pub settlements: usize,
}

impl Reply {
    /// A place for one outcome, and the ticket that waits for it.
    #[must_use]
    pub fn new() -> (Self, Ticket) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), Ticket(receiver))
    }

    /// Whether nobody waits for the outcome any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.0.is_closed()
    }

    /// Gives the outcome to whoever waits for it.
    pub fn send(self, outcome: Result<Outcome, StoreError>) {
        self.send_with(outcome, None);
    }

    /// The same, and says what carried it; `None` if nothing was sent, or more than once.
    pub fn send_with(self, outcome: Result<Outcome, StoreError>, exchange: Option<Exchange>) {
        // A caller that has gone has its answer from the policy.
        let _ = self.0.send((outcome, exchange));
    }
}

impl Ticket {
    /// Waits for the outcome, and for what carried it.
    pub async fn replied(self) -> (Result<Outcome, StoreError>, Option<Exchange>) {
        self.0.await.unwrap_or_else(|_| (Err(gone()), None))
    }
}

/// A store's task that ended without an answer: it panicked, or the server stops.
fn gone() -> StoreError {
    StoreError::Unavailable { reason: "the store's task has ended".to_owned() }
}

impl Future for Ticket {
    type Output = Result<Outcome, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.0).poll(context);
        received.map(|received| received.map_or_else(|_| Err(gone()), |(outcome, _)| outcome))
    }
}

impl<T> Job<T> {
    /// Its parts.
    pub fn into_parts(self) -> (T, Reply) {
        (self.work, self.reply)
    }

    /// Gives the outcome to whoever waits for it, as [`Reply::send_with`] does.
    pub fn finish(self, outcome: Result<Outcome, StoreError>, exchange: Option<Exchange>) {
        self.reply.send_with(outcome, exchange);
    }
}

impl<T> Queue<T> {
    /// An empty queue for at most `max_len` jobs.
    #[must_use]
    pub fn new(max_len: usize) -> Self {
        Self { waiting: Mutex::default(), max_len, filled: Notify::new() }
    }

    /// Appends a job.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if the queue is full.
    pub fn push(&self, work: T) -> Result<Ticket, StoreError> {
        let (reply, ticket) = Reply::new();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.max_len {
            return Err(StoreError::Overloaded);
        }
        waiting.push_back(Job { work, reply });
        drop(waiting);
        self.filled.notify_one();
        Ok(ticket)
    }

    /// Waits for jobs and takes the oldest, as many as `fits` lets pass one after another; at least one.
    /// Jobs that nobody waits for any more are thrown away: they were never sent.
    ///
    /// Dropping the future loses nothing.
    pub async fn take(&self, mut fits: impl FnMut(&T) -> bool) -> Vec<Job<T>> {
        loop {
            let jobs = self.take_now(&mut fits);
            if !jobs.is_empty() {
                return jobs;
            }
            self.filled.notified().await;
        }
    }

    /// The same without waiting; nothing if nothing waits.
    pub fn take_now(&self, mut fits: impl FnMut(&T) -> bool) -> Vec<Job<T>> {
        let mut waiting = self.waiting.lock();
        let mut jobs = Vec::new();
        while let Some(job) = waiting.pop_front() {
            if job.reply.is_unwanted() {
                continue;
            }
            if !fits(&job.work) && !jobs.is_empty() {
                waiting.push_front(job);
                break;
            }
            jobs.push(job);
        }
        let more = !waiting.is_empty();
        drop(waiting);
        if more {
            // One permit is kept however often it is given, so whoever takes passes it on.
            self.filled.notify_one();
        }
        jobs
    }

    /// Fails everything that waits.
    pub fn fail_all(&self, error: &StoreError) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for job in waiting {
            job.finish(Err(error.clone()), None);
        }
    }

    /// How many jobs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome { refused: true, ..Outcome::default() }
    }

    #[tokio::test]
    async fn jobs_go_out_together_in_the_order_in_which_they_came() {
        let queue = Queue::new(10);
        let tickets: Vec<Ticket> = (1..=5).map(|work| queue.push(work).unwrap()).collect();
        let mut room = 3;
        let jobs = queue
            .take(|_| {
                room -= 1;
                room >= 0
            })
            .await;
        assert_eq!(jobs.iter().map(|job| job.work).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(queue.len(), 2);
        for job in jobs {
            job.finish(Ok(outcome()), None);
        }
        let mut tickets = tickets.into_iter();
        assert_eq!(tickets.next().unwrap().await, Ok(outcome()));
        drop(tickets);
        assert_eq!(queue.take_now(|_| true).len(), 0, "nobody waits for the rest any more");
    }

    #[tokio::test]
    async fn a_job_that_fits_nowhere_goes_alone() {
        let queue = Queue::new(10);
        let _tickets = [queue.push(1).unwrap(), queue.push(2).unwrap()];
        assert_eq!(queue.take(|_| false).await.len(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_says_so_at_once() {
        let queue = Queue::new(1);
        let _first = queue.push(1).unwrap();
        assert_eq!(queue.push(2).unwrap_err(), StoreError::Overloaded);
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_an_error_and_not_a_panic() {
        let queue = Queue::new(1);
        let ticket = queue.push(1).unwrap();
        drop(queue);
        assert!(matches!(ticket.await, Err(StoreError::Unavailable { .. })));
    }
}
