//! fluxlimit: a rate-limit server for Envoy.
//!
//! The modules in reading order; each uses only those before it (a test holds this).

#![forbid(unsafe_code)]

pub mod sampler;
pub mod text;
pub mod time;
pub mod yaml;

pub mod limit;
pub mod request;

pub mod algorithm;
pub mod engine;

pub mod rules;
pub mod store;

pub mod otlp;

pub mod metrics;
pub mod traces;

pub mod connections;
pub mod health;
pub mod limiter;
pub mod tls;

pub mod grpc;
pub mod http;

pub mod reload;
pub mod telemetry;

pub mod admin;

pub mod config;

pub mod server;

pub mod cli;

// For the fuzzer and the tests that replay what it found.
#[cfg(any(test, fuzzing))]
pub mod fuzz;
