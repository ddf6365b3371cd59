//! What to ask, how often, and for how long.

use clap::{Parser, ValueEnum};
use std::net::SocketAddr;

/// Asks a rate-limit server as fast as it answers, or at a fixed rate, and prints what it measured
/// as one line of JSON.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// The server; several take turns with the connections.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub addr: Vec<SocketAddr>,
    /// Connections in all; Envoy opens one per worker thread.
    #[arg(short, long, default_value_t = 4)]
    pub connections: usize,
    /// Calls in flight on each connection; at a fixed rate, the most that may be.
    #[arg(short = 'm', long, default_value_t = 32)]
    pub in_flight: usize,
    /// Calls a second in all, with random gaps; without it, a new call starts when one ends.
    /// Latency counts from the moment at which a call was due.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Seconds measured.
    #[arg(short, long, default_value_t = 4.0)]
    pub duration: f64,
    /// Seconds before that, not measured.
    #[arg(short, long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// End after so many calls, even if the time is not over; a warm-up counts too.
    #[arg(long)]
    pub calls: Option<u64>,
    /// Different users, each with a counter; up to 100,000,000.
    #[arg(short, long, default_value_t = 10_000)]
    pub keys: usize,
    /// In which order users come.
    #[arg(long, value_enum, default_value_t = Order::Sequential)]
    pub order: Order,
    /// The tenant that users belong to; rules may give each its own limit.
    #[arg(long, default_value = "acme")]
    pub tenant: String,
    /// Descriptors in each request; the further ones belong to other tenants.
    #[arg(long, default_value_t = 1)]
    pub descriptors: usize,
    /// Entries of each descriptor.
    #[arg(long, default_value_t = 2)]
    pub entries: usize,
    /// Add the headers that Envoy adds, among them its timeout of 20 ms.
    #[arg(long)]
    pub envoy_headers: bool,
    /// Process id of the server, to report what it costs; may be said several times.
    #[arg(long)]
    pub server_pid: Vec<u32>,
    /// The same for what the server keeps its counters in; child processes count as well.
    #[arg(long)]
    pub store_pid: Vec<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self::parse_from(["generator"])
    }
}

/// In which order users come.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub enum Order {
    /// One after the other, round and round.
    Sequential,
    /// Any, all equally often.
    Random,
}
