//! The load generator: few connections with many calls in flight, as Envoy's worker threads have them.
//!
//! It speaks just enough HTTP/2 to make unary gRPC calls with bodies encoded beforehand.

mod http2;
mod requests;

pub mod latency;
pub mod message;
pub mod options;
pub mod process;
pub mod report;
pub mod run;
