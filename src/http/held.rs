//! What is held for clients of HTTP: bodies that arrive, and pages that leave.
//!
//! Either may be megabytes, and a client may take its time, so the number of connections bounds neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pages::apart;

/// What one body may take of its own, in bytes: an ordinary question is smaller, so no other body keeps it out.
const OWN_BODY_BYTES: usize = 16 * 1024;

/// Large pages that are written or on their way at once. Two Prometheus and somebody with curl.
const PAGES: usize = 4;

/// How long a page waits for its turn, in milliseconds.
const PAGE_WAIT_MS: u64 = 5_000;

/// The bytes of bodies of all connections.
#[derive(Debug)]
pub(super) struct Bodies {
    bytes: AtomicUsize,
    max_bytes: usize,
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    bodies: &'a Bodies,
    bytes: usize,
}

impl Bodies {
    /// Bodies that hold at most `max_bytes` together, beyond a little of each.
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max_bytes }
    }

    /// A body of which nothing has arrived.
    pub(super) const fn begin(&self) -> Held<'_> {
        Held { bodies: self, bytes: 0 }
    }
}

impl Held<'_> {
    /// Counts what has arrived; whether there was room for it.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let all = self.bodies.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.bytes += bytes;
        self.bytes <= OWN_BODY_BYTES || all <= self.bodies.max_bytes
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bodies.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// The turns of large pages.
#[derive(Debug, Clone)]
pub(super) struct Pages(Arc<Semaphore>);

/// A page, which has its turn until the last of it has left.
struct Page {
    text: String,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Pages {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(PAGES)))
    }

    /// Writes a page as [`apart`] does, once it is its turn.
    pub(super) async fn page(
        &self,
        write: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Bytes, StatusCode> {
        let turn = self.0.clone().acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(Duration::from_millis(PAGE_WAIT_MS), turn).await else {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        // The turn goes with it: a client that has gone does not end what a thread does.
        apart(move || Page { text: write(), _turn: turn }).await.map(Bytes::from_owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_a_bound_and_small_ones_have_their_own() {
        let bodies = Bodies::new(100_000);
        let (mut large, mut small) = (bodies.begin(), bodies.begin());
        assert!(large.add(100_000));
        assert!(!large.add(1));
        assert!(small.add(OWN_BODY_BYTES));
        assert!(!small.add(1));
        drop((large, small));
        assert_eq!(bodies.bytes.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_has_its_turn_until_it_has_left() {
        let pages = Pages::new();
        let page = || pages.page(|| "page".to_owned());
        let mut leaving = Vec::new();
        for _ in 0..PAGES {
            leaving.push(page().await.unwrap());
        }
        assert_eq!(page().await, Err(StatusCode::SERVICE_UNAVAILABLE));
        // A part of it is enough to hold all of it.
        let part = leaving.pop().unwrap().slice(1..2);
        assert_eq!(page().await, Err(StatusCode::SERVICE_UNAVAILABLE));
        drop(part);
        assert_eq!(page().await.unwrap(), "page");
    }
}
