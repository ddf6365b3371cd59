//! Connections from the first byte to the last: accepted, bounded in number, ended gracefully.
//!
//! What is spoken on a connection is the business of `grpc` and `http`.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// How many connections a listener holds and how long it waits for them at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections at once.
    pub connections: usize,
    /// What becomes of a connection beyond them.
    pub beyond: Beyond,
    /// How long what is in flight may take to finish after the stop, in milliseconds.
    pub stop_ms: u64,
}

/// What becomes of a connection that arrives while all places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It waits in the kernel's queue until another ends: nobody who has a place loses it.
    Waits,
    /// It takes the place of the connection that was not used for longest, which is cut off: nobody who holds
    /// places can keep others out. For fronts whose clients ask, read and are done.
    Replaces,
}

/// How long accepting pauses when the process is out of file descriptors or memory, in milliseconds:
/// the failed connection stays in the kernel's queue, so trying again at once would spin.
const ACCEPT_PAUSE_MS: u64 = 100;

/// What a connection knows of its listener, and its listener of it.
#[derive(Debug, Clone)]
pub struct Place {
    stopped: watch::Receiver<bool>,
    /// Counts uses of all connections, so that two uses can be told apart by their order.
    uses: Arc<AtomicU64>,
    /// The last use of this one.
    used: Arc<AtomicU64>,
}

impl Place {
    /// Waits until the server stops.
    pub async fn stopped(mut self) {
        // An error means that the sender is gone, and so is the server.
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Says that the connection was used just now: a request began.
    pub fn mark_used(&self) {
        self.used.store(self.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// When it was used last: a number that grows with each use of any connection.
    #[must_use]
    pub fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
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
    Serve: Fn(TcpStream, Place) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let (tell, stopped) = watch::channel(false);
    let uses = Arc::<AtomicU64>::default();
    let mut open = Open::new(bounds);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = open.one_ended(), if !open.is_empty() => {}
            stream = accept(&listener), if open.accepts() => {
                open.make_room().await;
                let place = Place { stopped: stopped.clone(), uses: uses.clone(), used: Arc::default() };
                place.mark_used();
                open.add(&place, connection(stream, place.clone()));
            }
        }
    }
    drop(listener);
    tell.send_replace(true);
    open.end().await;
}

/// The connections of one listener.
struct Open {
    bounds: Bounds,
    tasks: JoinSet<()>,
    /// What is needed to choose one to cut off and to do it; empty if none ever is.
    replaceable: HashMap<Id, (AbortHandle, Arc<AtomicU64>)>,
    /// Whether the log says that the bound was reached, and how many were cut off since.
    full: Option<u64>,
}

impl Open {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, tasks: JoinSet::new(), replaceable: HashMap::new(), full: None }
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn is_full(&self) -> bool {
        self.tasks.len() >= self.bounds.connections
    }

    /// Whether another connection may be taken from the kernel's queue.
    fn accepts(&self) -> bool {
        self.bounds.beyond == Beyond::Replaces || !self.is_full()
    }

    /// Cuts off the connection that was not used for longest, if there is no room for one more.
    async fn make_room(&mut self) {
        if !self.is_full() {
            return;
        }
        let longest_unused = self.replaceable.values().min_by_key(|(_, used)| used.load(Ordering::Relaxed));
        if let Some((task, _)) = longest_unused {
            task.abort();
            *self.full.get_or_insert(0) += 1;
        }
        while self.is_full() {
            self.one_ended().await;
        }
    }

    fn add(&mut self, place: &Place, served: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(served);
        if self.bounds.beyond == Beyond::Replaces {
            self.replaceable.insert(task.id(), (task, place.used.clone()));
        }
        if self.is_full() && self.full.is_none() {
            self.full = Some(0);
            let connections = self.bounds.connections;
            match self.bounds.beyond {
                Beyond::Waits => {
                    tracing::warn!(connections, "all places are taken; more connections wait until one ends");
                }
                Beyond::Replaces => {
                    tracing::warn!(
                        connections,
                        "all places are taken; another takes the place of the one that was not used for longest"
                    );
                }
            }
        }
    }

    /// Waits until a connection has ended; at once if there is none.
    async fn one_ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return };
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.replaceable.remove(&id);
        report(ended.map(|(_, ())| ()));
        // Half of the bound, or each connection at the bound that ends would be two lines in the log.
        let connections = self.tasks.len();
        if let Some(replaced) = self.full
            && connections <= self.bounds.connections / 2
        {
            self.full = None;
            tracing::info!(connections, replaced, "there are places again");
        }
    }

    /// Waits for all to end, but only so long; then cuts off the rest.
    async fn end(mut self) {
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        let stop_ms = self.bounds.stop_ms;
        if tokio::time::timeout(Duration::from_millis(stop_ms), all_ended).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), stop_ms, "connections cut off at the stop");
            self.tasks.shutdown().await;
        }
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
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};

    use super::*;

    const BOUNDS: Bounds = Bounds { connections: 10, beyond: Beyond::Waits, stop_ms: 60_000 };

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Answers every byte with one, until the client closes.
    async fn echo(mut stream: TcpStream, place: Place) {
        let mut byte = [0; 1];
        while let Ok(1) = stream.read(&mut byte).await {
            place.mark_used();
            stream.write_all(&byte).await.unwrap();
        }
    }

    async fn use_once(client: &mut TcpStream) {
        client.write_all(b"!").await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
    }

    async fn is_cut_off(client: &mut TcpStream) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(20), client.read(&mut [0; 1])).await;
        read.expect("it is cut off in time").unwrap_or(0) == 0
    }

    #[tokio::test]
    async fn the_stop_is_told_and_waited_for() {
        let (listener, address) = listen().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let started = Arc::new(Notify::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let (start, end) = (started.clone(), ended.clone());
        let server =
            tokio::spawn(serve(listener, BOUNDS, async { drop(stopped.await) }, move |_stream, place| {
                let (start, end) = (start.clone(), end.clone());
                async move {
                    start.notify_one();
                    place.stopped().await;
                    tokio::task::yield_now().await;
                    end.fetch_add(1, Ordering::SeqCst);
                }
            }));
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
            Bounds { stop_ms: 1, ..BOUNDS },
            async move { started.notified().await },
            move |stream, _place| {
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
        assert!(is_cut_off(&mut client).await);
    }

    #[tokio::test]
    async fn more_connections_than_the_bound_wait_for_one_to_end() {
        let (listener, address) = listen().await;
        let bounds = Bounds { connections: 1, ..BOUNDS };
        let server = tokio::spawn(serve(listener, bounds, std::future::pending(), echo));
        let mut first = TcpStream::connect(address).await.unwrap();
        use_once(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"!").await.unwrap();
        use_once(&mut first).await;
        assert_eq!(second.try_read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        second.read_exact(&mut [0; 1]).await.unwrap();
        server.abort();
    }

    #[tokio::test]
    async fn beyond_the_bound_the_longest_unused_connection_gives_up_its_place() {
        let (listener, address) = listen().await;
        let bounds = Bounds { connections: 3, beyond: Beyond::Replaces, ..BOUNDS };
        let server = tokio::spawn(serve(listener, bounds, std::future::pending(), echo));
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            use_once(&mut client).await;
            clients.push(client);
        }
        use_once(&mut clients[0]).await;
        let mut fourth = TcpStream::connect(address).await.unwrap();
        use_once(&mut fourth).await;
        assert!(is_cut_off(&mut clients[1]).await);
        for client in [0, 2] {
            use_once(&mut clients[client]).await;
        }
        server.abort();
    }
}
