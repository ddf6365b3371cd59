//! Notices when files change.
//!
//! Directories are watched, not files: Kubernetes swaps the symbolic link `..data` of a `ConfigMap`, editors
//! rename a new file over the old one, and neither is an event of the file itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Reloader;

/// How many debounce times a stream of changes may put off a load: a file that is written all the time is
/// read all the same.
const MAX_PUT_OFF: u32 = 10;

impl Reloader {
    /// Loads again whenever a file changes or `asked` is notified; ends when it is dropped.
    pub async fn watch(self: Arc<Self>, asked: Arc<Notify>) {
        let changed = Arc::new(Notify::new());
        loop {
            // Before reading, so that no change after it goes unnoticed; and anew each time, since a
            // directory that was replaced has taken its watch along.
            let _watcher = watch_directories(&self.settings.paths, &changed);
            self.load().await;
            tokio::select! {
                () = asked.notified() => {
                    tracing::info!("the rules are read again, as asked");
                    self.forget();
                }
                () = changed.notified() => settle_down(self.settings.debounce_ms, &changed).await,
                () = tokio::time::sleep(Duration::from_millis(self.settings.poll_ms)) => {}
            }
        }
    }
}

/// Waits until nothing has changed for a while, within bounds.
pub(super) async fn settle_down(debounce_ms: u64, changed: &Notify) {
    let debounce = Duration::from_millis(debounce_ms);
    let settled = async { while tokio::time::timeout(debounce, changed.notified()).await.is_ok() {} };
    // Running into the bound only means that the files are still changing.
    let _ = tokio::time::timeout(debounce * MAX_PUT_OFF, settled).await;
}

/// Watches the directories of the paths for as long as the result lives. What cannot be watched is polled.
pub(super) fn watch_directories(paths: &[PathBuf], changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = changed.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event as well, and we read. An error may mean that events were lost.
        if event.map_or(true, |event| is_change(event.kind)) {
            changed.notify_one();
        }
    });
    let mut watcher = watcher
        .inspect_err(|error| tracing::warn!(%error, "cannot watch files; they are only polled"))
        .ok()?;
    let directories: BTreeSet<PathBuf> = paths.iter().flat_map(|path| directories_of(path)).collect();
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, directory = %directory.display(), "cannot watch this directory");
        }
    }
    Some(watcher)
}

const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// The directory itself and the one it stands in, where it may be replaced.
fn directories_of(path: &Path) -> Vec<PathBuf> {
    let parent = path.parent().map(|parent| {
        // The parent of a bare name is the current directory.
        if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() }
    });
    let own = path.is_dir().then(|| path.to_path_buf());
    parent.into_iter().chain(own).collect()
}
