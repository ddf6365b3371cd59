//! A way to a server that can be cut at the worst moment: after the server did what it was asked, before
//! its answer is through.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::own_loopback_address;

/// A listener that passes everything on to a Redis, and back. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Cutter {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    /// How many of the next scripts get no answer.
    cuts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Cutter {
    /// A listener whose target is not known yet.
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind((own_loopback_address(), 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (target, cuts) = (Arc::new(OnceLock::new()), Arc::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&target), Arc::clone(&cuts)));
        Self { address, target, cuts, task }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where everything goes.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.set(target).expect("it is said once");
    }

    /// Cuts the connections of the next `scripts` calls of a script, each once the server has answered it.
    pub(crate) fn cut(&self, scripts: usize) {
        self.cuts.store(scripts, Ordering::SeqCst);
    }

    /// How many cuts are still to come.
    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: Arc<OnceLock<SocketAddr>>, cuts: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        let Some(target) = target.get().copied() else { continue };
        let cuts = Arc::clone(&cuts);
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(target).await {
                // Both ends are closed when it returns, whatever the reason.
                let _ = pass(client, server, &cuts).await;
            }
        });
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, cuts: &AtomicUsize) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_cut = false;
    loop {
        tokio::select! {
            length = client.read(&mut asked) => {
                let request = &asked[..length?];
                if request.is_empty() {
                    return Ok(());
                }
                is_cut |= is_script(request) && take_one(cuts);
                server.write_all(request).await?;
            }
            length = server.read(&mut answered) => {
                let answer = &answered[..length?];
                if answer.is_empty() || is_cut {
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

fn is_script(request: &[u8]) -> bool {
    request.windows(4).any(|word| word.eq_ignore_ascii_case(b"EVAL"))
}

fn take_one(cuts: &AtomicUsize) -> bool {
    cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
