//! The executor of a connection: its streams are polled inside the connection's own task.
//!
//! hyper hands every HTTP/2 stream to an executor as a future. `tokio::spawn` would make a task of each:
//! a wake-up to another thread when the request arrives, and one back when the answer is to be written,
//! which together cost more than the decision. Here a burst of frames is read, all its requests are
//! answered, and all answers leave in one write, without a hand-over. Threads are still used evenly:
//! Envoy opens one connection per worker thread, and a connection's task may run on any thread.
//! The price is that one stream that computes for long delays its neighbours. No decision does.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;

/// Most turns of reading and answering before the task lets others run: a client that sends without
/// pause must not hold a thread. One turn handles everything that one read brought.
const MAX_TURNS: usize = 32;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the streams that a connection opens, and where [`drive`] takes them from.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Vec<Stream>>>);

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Streams").field(&self.0.lock().len()).finish()
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        // A panic must cost its own stream, which is reset when it is dropped, not its neighbours.
        // Combinators, since an `async` block would hold the stream twice.
        let stream = AssertUnwindSafe(stream).catch_unwind().map(|ended| {
            if let Err(panic) = ended {
                tracing::error!(message = message_of(panic.as_ref()), "a stream ended in a panic");
            }
        });
        self.0.lock().push(Box::pin(stream));
    }
}

impl Streams {
    /// Moves the newly opened streams to `opened`, which is empty. The lock is not held while they are polled.
    fn take(&self, opened: &mut Vec<Stream>) {
        std::mem::swap(&mut *self.0.lock(), opened);
    }
}

/// Runs `connection` and its `streams` to the end. When `stop` is ready, `end` is called once: it tells
/// the connection to finish. A connection that is gone takes its unfinished streams with it, as a reset
/// by the client does.
pub(super) async fn drive<C: Future>(
    connection: C,
    streams: Streams,
    stop: impl Future<Output = ()>,
    end: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    let mut stop = pin!(stop);
    let mut end = Some(end);
    let mut opened = Vec::new();
    let mut running = FuturesUnordered::new();
    poll_fn(move |context| {
        if end.is_some()
            && stop.as_mut().poll(context).is_ready()
            && let Some(end) = end.take()
        {
            end(connection.as_mut());
        }
        for _ in 0..MAX_TURNS {
            if let Poll::Ready(output) = connection.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            streams.take(&mut opened);
            let mut moved = !opened.is_empty();
            for mut stream in opened.drain(..) {
                // Most are answered at their first poll and never need a place among those that wait.
                if stream.as_mut().poll(context).is_pending() {
                    running.push(stream);
                }
            }
            // Ends: every turn takes a stream away, and none is added here.
            while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                moved = true;
            }
            // What the streams answered is written by the connection, so it has another turn.
            if !moved {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::rt::Executor;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn streams_run_beside_their_connection_and_a_panic_ends_only_its_own() {
        let streams = Streams::default();
        let ended = Arc::new(AtomicUsize::new(0));
        let both = Arc::new(Notify::new());
        streams.execute(async { panic!("this stream is broken") });
        for _ in 0..2 {
            let (ended, both) = (ended.clone(), both.clone());
            streams.execute(async move {
                tokio::task::yield_now().await;
                if ended.fetch_add(1, Ordering::SeqCst) == 1 {
                    both.notify_one();
                }
            });
        }
        drive(async { both.notified().await }, streams, std::future::pending(), |_| {}).await;
        assert_eq!(ended.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_stream_may_open_another() {
        let streams = Streams::default();
        let done = Arc::new(Notify::new());
        let (inner, notify) = (streams.clone(), done.clone());
        streams.execute(async move { inner.execute(async move { notify.notify_one() }) });
        drive(async { done.notified().await }, streams, std::future::pending(), |_| {}).await;
    }

    #[tokio::test]
    async fn the_end_is_told_once() {
        let told = AtomicUsize::new(0);
        let end = Notify::new();
        let connection = async { end.notified().await };
        drive(connection, Streams::default(), std::future::ready(()), |_| {
            told.fetch_add(1, Ordering::SeqCst);
            end.notify_one();
        })
        .await;
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_connection_that_never_rests_lets_others_run() {
        let streams = Streams::default();
        let opener = streams.clone();
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        // Opens a stream at every poll, so there is always something to do.
        let connection = poll_fn(move |_| {
            opener.execute(async {});
            counted.fetch_add(1, Ordering::SeqCst);
            Poll::<()>::Pending
        });
        let mut drive = pin!(drive(connection, streams, std::future::pending(), |_| {}));
        let once = poll_fn(|context| Poll::Ready(drive.as_mut().poll(context))).await;
        assert!(once.is_pending());
        assert_eq!(turns.load(Ordering::SeqCst), MAX_TURNS);
    }
}
