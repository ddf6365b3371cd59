//! How many files the process may have open: a connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one.
///
/// The soft one is mostly 1,024, for the sake of programs that use `select`; this is none of them. Without more, the
/// 1,025th connection would find no room, whatever `limits` say.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(from = current, to = maximum, "more files may be open"),
        // Some systems have a bound of their own below the hard limit.
        Err(error) => tracing::warn!(%error, may = current, "the limit of open files stays as it is"),
    }
}
