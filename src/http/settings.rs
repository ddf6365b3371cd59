//! What one HTTP client may take of the server, and for how long.

use crate::connections::{Beyond, Bounds};

/// How long a client may take for each step unless settings say otherwise, in milliseconds.
pub(crate) const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// The bounds of the HTTP listener and of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Connections, and the end of all of them.
    pub bounds: Bounds,
    /// How long a client may take to send the head of a request, to send its body, and to take the answer, each,
    /// and how long a connection is kept that asks nothing; in milliseconds.
    pub timeout_ms: u64,
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// What is held of the bodies of all connections at once, in bytes, beyond a little of each.
    pub bodies_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds {
                // Probes, a scraper and somebody with curl: far fewer than this.
                connections: 1_024,
                // Whoever takes all places must not keep the probes out, or the server is restarted for it.
                beyond: Beyond::Replaces,
                // As for gRPC.
                stop_ms: 10_000,
            },
            timeout_ms: DEFAULT_TIMEOUT_MS,
            // As for gRPC.
            body_bytes: 1024 * 1024,
            bodies_bytes: 32 * 1024 * 1024,
        }
    }
}
