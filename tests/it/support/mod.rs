//! What the integration tests stand on: processes that end with the test, and what runs in them.

mod cluster;
mod collector;
mod cutter;
mod envoy;
mod fluxlimit;
mod http;
mod nobody;
mod postgres;
mod process;
mod prometheus;
mod redis;
mod sentinel;
mod tls;

pub(crate) use cluster::Cluster;
pub(crate) use collector::{Collector, Told};
pub(crate) use cutter::Cutter;
pub(crate) use envoy::{Envoy, Site};
pub(crate) use fluxlimit::{Fluxlimit, RuleDirectory, own_loopback_address};
pub(crate) use http::{Answer, Client};
pub(crate) use nobody::Nobody;
pub(crate) use postgres::Postgres;
pub(crate) use process::{Process, Signal, eventually};
pub(crate) use prometheus::Prometheus;
pub(crate) use redis::{Redis, free_address};
pub(crate) use sentinel::Sentinels;
pub(crate) use tls::Certificates;
