//! Connections from the first byte to the last: accepted, bounded in number, ended gracefully.
//!
//! What is spoken on a connection is the business of `grpc` and `http`.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// How many connections a listener holds and how long it waits for them at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections at once; more wait in the kernel's queue until one ends.
    pub connections: usize,
    /// How long what is in flight may take to finish after the stop, in milliseconds.
    pub stop_ms: u64,
}

/// How long accepting pauses when the process is out of file descriptors or memory, in milliseconds:
/// the failed connection stays in the kernel's queue, so trying again at once would spin.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Tells a connection that the server stops.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the server stops.
    pub async fn told(mut self) {
        // An error means that the sender is gone, and so is the server.
        let _ = self.0.wait_for(|told| *told).await;
    }
}

/// Serves every connection to `listener` with `connection`, in a task of its own, until `stop`;
/// then closes the listener, tells the connections, and returns when they have ended or
/// `bounds.stop_ms` have passed. Those that are left then are cut off.
///
/// Dropping the future cuts off every connection at once.
pub async fn serve<Serve, Served>(
    listener: TcpListener,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
    connection: Serve,
) where
    Serve: Fn(TcpStream, Stop) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let (tell, told) = watch::channel(false);
    let mut open = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = open.join_next() => report(ended),
            stream = accept(&listener), if open.len() < bounds.connections => {
                open.spawn(connection(stream, Stop(told.clone())));
                if open.len() == bounds.connections {
                    tracing::warn!(connections = open.len(), "no more connections are accepted until one ends");
                }
            }
        }
    }
    drop(listener);
    tell.send_replace(true);
    let all_ended = async {
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(Duration::from_millis(bounds.stop_ms), all_ended).await.is_err() {
        tracing::warn!(connections = open.len(), stop_ms = bounds.stop_ms, "connections cut off at the stop");
        open.shutdown().await;
    }
}

/// The next connection. Failures to accept one do not end the server.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Answers are small and must not wait for an acknowledgement (Nagle's algorithm).
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not set TCP_NODELAY");
                }
                return stream;
            }
            Err(error) if is_of_the_peer(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::error!(%error, pause_ms = ACCEPT_PAUSE_MS, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Whether a failed `accept(2)` concerns only the connection that it took from the queue.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::sync::{Notify, oneshot};

    use super::*;

    async fn listen() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn the_stop_is_told_and_waited_for() {
        let (listener, address) = listen().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let started = Arc::new(Notify::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let (start, end) = (started.clone(), ended.clone());
        let server = tokio::spawn(serve(
            listener,
            Bounds { connections: 10, stop_ms: 60_000 },
            async { drop(stopped.await) },
            move |_stream, stop| {
                let (start, end) = (start.clone(), end.clone());
                async move {
                    start.notify_one();
                    stop.told().await;
                    tokio::task::yield_now().await;
                    end.fetch_add(1, Ordering::SeqCst);
                }
            },
        ));
        let _client = TcpStream::connect(address).await.unwrap();
        started.notified().await;
        stop.send(()).unwrap();
        server.await.unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_does_not_end_is_cut_off() {
        let (listener, address) = listen().await;
        let started = Arc::new(Notify::new());
        let start = started.clone();
        let server = tokio::spawn(serve(
            listener,
            Bounds { connections: 10, stop_ms: 1 },
            async move { started.notified().await },
            move |stream, _stop| {
                let start = start.clone();
                async move {
                    start.notify_one();
                    std::future::pending::<()>().await;
                    drop(stream);
                }
            },
        ));
        let mut client = TcpStream::connect(address).await.unwrap();
        server.await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn more_connections_than_the_bound_wait_for_one_to_end() {
        let (listener, address) = listen().await;
        let server = tokio::spawn(serve(
            listener,
            Bounds { connections: 1, stop_ms: 1 },
            std::future::pending(),
            |mut stream, _stop| async move {
                use tokio::io::AsyncWriteExt;
                stream.write_all(b"!").await.unwrap();
                // Until the client closes.
                let _ = stream.read(&mut [0; 1]).await;
            },
        ));
        let mut first = TcpStream::connect(address).await.unwrap();
        first.read_exact(&mut [0; 1]).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(second.try_read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        second.read_exact(&mut [0; 1]).await.unwrap();
        server.abort();
    }
}
