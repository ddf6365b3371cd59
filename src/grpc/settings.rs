//! What one gRPC client may take of the server, and for how long.

use crate::connections::{Beyond, Bounds};

/// What a connection may make the server hold of calls whose message is not whole, whatever the others hold:
/// so a client that fills the common bounds is refused more, and the others go on.
pub(super) const OWN_UNFINISHED_CALLS: usize = 64;
pub(super) const OWN_UNFINISHED_BYTES: usize = 32 * 1024;

/// Messages of the largest size that one connection may have unfinished: without it, 4,096 streams that each
/// stop one byte short of 1 MiB would hold 4 GiB.
pub(super) const UNFINISHED_MESSAGES: usize = 4;

/// The bounds of the gRPC listener, of a connection, and of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Connections, and the end of all of them.
    pub bounds: Bounds,
    /// Calls of one connection at once, from 1. What Envoy has beyond them waits in Envoy, or opens another
    /// connection.
    pub streams: u32,
    /// Headers of one call, in bytes as HTTP/2 counts them.
    pub header_bytes: u32,
    /// Largest message, in bytes.
    pub message_bytes: usize,
    /// What a client may send on one call before it is read, in bytes, from 1 to 2³¹ − 1.
    pub stream_window_bytes: u32,
    /// The same on all calls of one connection; HTTP/2 allows no less than 65,535.
    pub connection_window_bytes: u32,
    /// Calls of all connections whose message is not whole, beyond a few of each connection.
    pub unfinished_calls: usize,
    /// What has arrived of messages of all connections that are not whole, in bytes, beyond a little of each.
    pub unfinished_bytes: usize,
    /// How often a client is asked for a sign of life, in milliseconds.
    pub keep_alive_interval_ms: u64,
    /// How long it may take to give it, in milliseconds.
    pub keep_alive_timeout_ms: u64,
    /// After how long a client is told to open another connection, in milliseconds, a tenth more or less;
    /// 0 is never.
    pub max_age_ms: u64,
    /// How long the calls of such a connection may take to end, in milliseconds.
    pub max_age_grace_ms: u64,
    /// After how long without a call a client is told so as well, in milliseconds, and at most twice that long;
    /// 0 is never.
    pub max_idle_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds {
                // Envoy opens one connection per worker thread and endpoint, so this is about a thousand Envoys.
                connections: 16_384,
                // An Envoy that is connected must not lose its place to one that is not, or to nobody.
                beyond: Beyond::Waits,
                // A decision takes a store timeout at most, and Kubernetes waits 30 s for drain delay and stop
                // together.
                stop_ms: 10_000,
            },
            // hyper's 200 would make Envoy queue.
            streams: 4_096,
            // Envoy sends less than 1 KiB; `grpc-timeout` and tracing fit.
            header_bytes: 16 * 1024,
            // Envoy's are below 1 KiB unless a header of the request is huge.
            message_bytes: 1024 * 1024,
            // Messages are small, so a stream needs no more than HTTP/2's default; a connection has many.
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 1024 * 1024,
            unfinished_calls: 65_536,
            unfinished_bytes: 64 * 1024 * 1024,
            // A peer that is gone (a pulled cable, a half-open stream) holds its connection for no longer than
            // both together.
            keep_alive_interval_ms: 30_000,
            keep_alive_timeout_ms: 10_000,
            max_age_ms: 30 * 60 * 1000,
            // As long as a call may take.
            max_age_grace_ms: 10_000,
            // Ages end idle connections as well, and a connection that is there saves the first call its
            // handshake, of the 20 ms that Envoy waits.
            max_idle_ms: 0,
        }
    }
}
