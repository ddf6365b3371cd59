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
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::SendResponse;
use h2::{Ping, PingPong, RecvStream};
use hyper::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::service::Calls;
use super::{
    CONNECTION_WINDOW_BYTES, KEEP_ALIVE_INTERVAL_MS, KEEP_ALIVE_TIMEOUT_MS, MAX_HEADER_BYTES,
    MAX_RESET_STREAMS, MAX_STREAMS, STREAM_WINDOW_BYTES,
};

/// Most turns of reading and answering before the task lets others run: a client that sends without
/// pause must not hold a thread.
const MAX_TURNS: usize = 16;

/// Most calls that are taken before they are answered, in one turn.
const MAX_BURST: usize = 64;

/// What h2 holds against small messages that were received and not yet read, in bytes: it counts each for 256
/// at most. A burst on every stream must not end the connection, which it could with h2's default of half a
/// connection's window.
const SMALL_MESSAGES_BYTES: usize = MAX_STREAMS as usize * 256;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("the client gave no sign of life for {KEEP_ALIVE_TIMEOUT_MS} ms")]
    Silent,
}

/// A call that is not answered yet.
pub(super) type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers the calls on `io` until it ends. When `stop` is ready the client is told to open no more, and
/// what is in flight is finished. Calls end with their connection, as if the client had reset them.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    calls: Arc<Calls>,
    stop: impl Future<Output = ()>,
) -> Result<(), ConnectionError> {
    let mut connection = http2().handshake::<_, Bytes>(io).await?;
    let mut keep_alive = KeepAlive::new(connection.ping_pong().expect("taken once"));
    let mut stop = pin!(stop);
    let mut is_stopping = false;
    let mut arrived: Vec<(Request<RecvStream>, SendResponse<Bytes>)> = Vec::new();
    let mut waiting = FuturesUnordered::<Waiting>::new();
    let mut counted = calls.waiting();
    poll_fn(move |context| {
        if !is_stopping && stop.as_mut().poll(context).is_ready() {
            is_stopping = true;
            connection.graceful_shutdown();
        }
        if keep_alive.poll(context).is_ready() {
            return Poll::Ready(Err(ConnectionError::Silent));
        }
        for _ in 0..MAX_TURNS {
            // Everything that is here is taken before anything is answered: every look for more also writes.
            while arrived.len() < MAX_BURST {
                match connection.poll_accept(context)? {
                    Poll::Ready(Some(call)) => arrived.push(call),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
            }
            let mut has_moved = !arrived.is_empty();
            for (request, respond) in arrived.drain(..) {
                waiting.extend(calls.answer(request, respond));
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

fn http2() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .data_frame_budget(SMALL_MESSAGES_BYTES);
    builder
}

/// Asks the client for a sign of life now and then.
struct KeepAlive {
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    is_asked: bool,
}

impl KeepAlive {
    fn new(pings: PingPong) -> Self {
        let timer = Box::pin(sleep(Duration::from_millis(KEEP_ALIVE_INTERVAL_MS)));
        Self { pings, timer, is_asked: false }
    }

    /// Ready once the client owes an answer for too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // A broken connection is seen by whoever reads from it.
            if self.is_asked && self.pings.poll_pong(context).is_ready() {
                self.is_asked = false;
                self.wait(KEEP_ALIVE_INTERVAL_MS);
            }
            ready!(self.timer.as_mut().poll(context));
            if self.is_asked {
                return Poll::Ready(());
            }
            self.is_asked = self.pings.send_ping(Ping::opaque()).is_ok();
            self.wait(KEEP_ALIVE_TIMEOUT_MS);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.timer.set(sleep(Duration::from_millis(ms)));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Waker;

    use tokio::io::ReadBuf;

    use super::super::service::Service;
    use super::*;
    use crate::health::Health;
    use crate::limiter::{Limiter, Settings};
    use crate::metrics::Metrics;
    use crate::store::memory::{self, MemoryStore};
    use crate::time::SystemClock;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// A frame without a setting.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    fn calls() -> Arc<Calls> {
        let store = MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock));
        let limiter = Limiter::new(Arc::new(store), Arc::new(Metrics::new()), Settings::default());
        Arc::new(Calls::new(Arc::new(Service::new(Arc::new(limiter), Arc::new(Health::new())))))
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
        assert!(matches!(ended, Err(ConnectionError::Silent)), "{ended:?}");
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
}
