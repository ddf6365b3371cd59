//! One HTTP/2 connection: its calls are answered inside its own task.
//!
//! The usual server hands every call to `tokio::spawn`: a wake-up to another thread when the request
//! arrives, and one back when the answer is to be written, which together cost more than the decision.
//! Here a burst of frames is read, all its requests are answered, and all answers leave in one write, without
//! a hand-over. Threads are still used evenly: Envoy opens one connection per worker thread, and a
//! connection's task may run on any thread. The price is that one call that computes for long delays its
//! neighbours. No decision does.
//!
//! h2 is driven directly. A layer above it would box a future for each call, which is answered at once.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use super::burst::Burst;
use super::service::Calls;
use super::settings::Settings;
use super::upkeep::{Due, Overdue, Upkeep};

/// Most turns of reading and answering before the task lets others run: a client that sends without
/// pause must not hold a thread.
const MAX_TURNS: usize = 16;

/// Most calls that are taken before they are answered, in one turn.
const MAX_BURST: usize = 64;

/// What h2 holds against a small message that was received and not yet read, in bytes, at most. A burst on
/// every stream must not end the connection, which it could with h2's default of half a connection's window.
const SMALL_MESSAGE_BYTES: usize = 256;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error(transparent)]
    Overdue(#[from] Overdue),
}

/// A call that is not answered yet.
pub(super) type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers the calls on `io` until it ends. When `stop` is ready, or the connection is old, the client is told
/// to open no more, and what is in flight is finished. Calls end with their connection, as if the client had reset them.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    calls: Arc<Calls>,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectionError> {
    let mut connection = http2(calls.settings()).handshake::<_, Bytes>(io).await?;
    let mut upkeep = Upkeep::new(*calls.settings(), connection.ping_pong().expect("taken once"));
    let mut stop = pin!(stop);
    let mut is_stopping = false;
    let mut burst = Burst::default();
    let mut waiting = FuturesUnordered::<Waiting>::new();
    let mut counted = calls.waiting();
    poll_fn(move |context| {
        if !is_stopping && stop.as_mut().poll(context).is_ready() {
            is_stopping = true;
            connection.graceful_shutdown();
        }
        while let Poll::Ready(due) = upkeep.poll(context, !waiting.is_empty()) {
            match due {
                Due::GoAway => connection.graceful_shutdown(),
                Due::CutOff(overdue) => return Poll::Ready(Err(overdue.into())),
            }
        }
        for _ in 0..MAX_TURNS {
            // Everything that is here is taken before anything is answered: every look for more also writes.
            while burst.len() < MAX_BURST {
                match connection.poll_accept(context)? {
                    Poll::Ready(Some((request, respond))) => burst.push(request, respond),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            let mut has_moved = burst.len() > 0;
            if has_moved {
                upkeep.mark_used();
                burst.answer(&calls, &mut waiting);
            }
            // Ends: every turn takes a call away, and none is added here.
            while let Poll::Ready(Some(())) = waiting.poll_next_unpin(context) {
                has_moved = true;
            }
            counted.set(waiting.len());
            // The answers are written by the connection, so it has another turn.
            if !has_moved {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn http2(settings: &Settings) -> h2::server::Builder {
    let streams = settings.streams as usize;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(settings.streams)
        // When many calls time out at once, Envoy resets them all; with h2's default of 20 the connection
        // would be closed for it. Never more than all streams can be such, so an honest client never reaches
        // it, and a hostile one is cut off there.
        .max_pending_accept_reset_streams(streams)
        .max_header_list_size(settings.header_bytes)
        .initial_window_size(settings.stream_window_bytes)
        .initial_connection_window_size(settings.connection_window_bytes)
        .data_frame_budget(streams * SMALL_MESSAGE_BYTES);
    builder
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use hyper::Request;
    use tokio::io::ReadBuf;

    use super::super::service::Service;
    use super::*;
    use crate::health::Health;
    use crate::limiter::{self, Limiter};
    use crate::metrics::Metrics;
    use crate::store::memory::{self, MemoryStore};
    use crate::time::SystemClock;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// A frame without a setting.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    fn calls() -> Arc<Calls> {
        calls_with(Settings::default())
    }

    fn calls_with(settings: Settings) -> Arc<Calls> {
        let store = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
        let limiter = Limiter::new(Arc::new(store), Arc::new(Metrics::new()), limiter::Settings::default());
        Arc::new(Calls::new(Arc::new(Service::new(Arc::new(limiter), Arc::new(Health::new()), settings))))
    }

    /// A client that has sent another request whenever its server comes back to look.
    struct Restless {
        unread: Vec<u8>,
        stream: u32,
    }

    impl AsyncRead for Restless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.unread.is_empty() {
                // HEADERS with END_HEADERS and END_STREAM: `POST / http`, from HPACK's static table.
                let stream = self.stream.to_be_bytes();
                self.unread = [&[0, 0, 3, 1, 5], &stream[..], &[0x83, 0x84, 0x86]].concat();
                self.stream += 2;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..length]);
            self.unread.drain(..length);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Restless {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_connection_that_never_rests_lets_others_run() {
        let mut client = Restless { unread: [PREFACE, SETTINGS].concat(), stream: 1 };
        let mut serving = Box::pin(serve(&mut client, calls(), std::future::pending()));
        let mut context = Context::from_waker(Waker::noop());
        // Twice for the greeting.
        for _ in 0..3 {
            assert!(serving.as_mut().poll(&mut context).is_pending());
        }
        drop(serving);
        let answered = client.stream as usize / 2;
        assert!((MAX_TURNS..=3 * MAX_TURNS * MAX_BURST).contains(&answered), "{answered}");
    }

    /// The paused clock jumps ahead as soon as everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_client_without_a_sign_of_life_is_given_up() {
        let (client, server) = tokio::io::duplex(4096);
        let greeting = async {
            use tokio::io::AsyncWriteExt;
            let mut client = client;
            client.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
            client
        };
        let (_client, ended) = tokio::join!(greeting, serve(server, calls(), std::future::pending()));
        assert!(matches!(ended, Err(ConnectionError::Overdue(Overdue::Silent { .. }))), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_pings_stays() {
        let (client, server) = tokio::io::duplex(4096);
        let server = tokio::spawn(serve(server, calls(), std::future::pending()));
        // h2's client answers pings by itself.
        let (_sender, connection) = h2::client::handshake(client).await.unwrap();
        let client = tokio::spawn(connection);
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert!(!server.is_finished());
        client.abort();
    }

    /// Serves with these settings to a client of h2 that holds a call open if it is to, until the connection ends,
    /// and gives back what the client failed to do in time. Who closes first is a matter of chance.
    async fn overdue(settings: Settings, holds_a_call: bool) -> Option<Overdue> {
        let (client, server) = tokio::io::duplex(4096);
        let server = tokio::spawn(serve(server, calls_with(settings), std::future::pending()));
        let (sender, connection) = h2::client::handshake(client).await.unwrap();
        let client = tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let head = Request::post("http://front/grpc.health.v1.Health/Watch");
        let head = head.header("content-type", "application/grpc").body(()).unwrap();
        let call = holds_a_call.then(|| {
            let (response, mut stream) = sender.send_request(head, false).unwrap();
            stream.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
            (response, stream)
        });
        let ended = tokio::time::timeout(Duration::from_hours(2), server).await;
        let ended = ended.expect("it ends").unwrap();
        drop((call, sender));
        client.abort();
        match ended {
            Err(ConnectionError::Overdue(overdue)) => Some(overdue),
            Ok(()) | Err(ConnectionError::Http2(_)) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_ends_and_is_cut_off_if_its_calls_do_not() {
        let settings = Settings { max_age_ms: 1000, max_age_grace_ms: 500, ..Settings::default() };
        let begun = tokio::time::Instant::now();
        assert_eq!(overdue(settings, false).await, None);
        assert!((900..=1100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        assert_eq!(overdue(settings, true).await, Some(Overdue::Lingering { grace_ms: 500 }));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_and_one_with_a_call_does_not() {
        let settings = Settings { max_age_ms: 3_600_000, max_idle_ms: 1000, ..Settings::default() };
        let begun = tokio::time::Instant::now();
        assert_eq!(overdue(settings, false).await, None);
        assert!(begun.elapsed() <= Duration::from_secs(2), "{:?}", begun.elapsed());
        let busy = tokio::time::timeout(Duration::from_mins(10), overdue(settings, true)).await;
        assert!(busy.is_err(), "it ended: {busy:?}");
    }
}
