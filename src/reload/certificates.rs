//! The certificates of listeners, read again whenever their files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::watch::{settle_down, watch_directories};
use crate::tls::Acceptor;

/// Which certificates are read again, and when.
#[derive(Debug)]
pub struct Certificates {
    /// The listeners that speak TLS.
    pub acceptors: Vec<Arc<Acceptor>>,
    /// How long the files have to be left alone before they are read, in milliseconds.
    pub debounce_ms: u64,
    /// How often they are read even if nothing was said to have changed, in milliseconds.
    pub poll_ms: u64,
}

impl Certificates {
    /// Reads them again whenever a file changes or `asked` is notified; ends when it is dropped.
    pub async fn watch(self, asked: Arc<Notify>) {
        if self.acceptors.is_empty() {
            return std::future::pending().await;
        }
        let paths: Vec<PathBuf> = self.acceptors.iter().flat_map(|acceptor| acceptor.files()).collect();
        let changed = Arc::new(Notify::new());
        let mut is_asked = false;
        loop {
            // Before reading, and anew each time, as for rules.
            let _watcher = watch_directories(&paths, &changed);
            self.reload(is_asked).await;
            is_asked = tokio::select! {
                () = asked.notified() => true,
                () = changed.notified() => {
                    settle_down(self.debounce_ms, &changed).await;
                    false
                }
                () = tokio::time::sleep(Duration::from_millis(self.poll_ms)) => false,
            };
        }
    }

    async fn reload(&self, is_asked: bool) {
        for acceptor in &self.acceptors {
            let acceptor = acceptor.clone();
            // On a thread of its own, since it waits for the disk.
            if let Err(error) = tokio::task::spawn_blocking(move || acceptor.reload(is_asked)).await {
                tracing::error!(%error, "reading certificates failed");
            }
        }
    }
}
