//! The load generator: few connections with many calls in flight, as Envoy's worker threads have them.
//!
//! It speaks just enough HTTP/2 to make unary gRPC calls with bodies encoded beforehand. Beside it: what the commands
//! that use it share, which are servers and stores that run for the time of a measurement.

mod requests;

pub mod child;
pub mod http2;
pub mod latency;
pub mod message;
pub mod options;
pub mod pages;
pub mod process;
pub mod report;
pub mod run;
pub mod server;
pub mod store;
