//! Settings: from a file, the environment and the command line, in that order, to what the parts need.
//!
//! Every source is read with the same functions, so a setting means the same in all of them, and all
//! mistakes of all sources are told at once. This is the only module that reads the environment.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod setting;
mod shown;
mod source;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::limiter::breaker;
use crate::store::{Mistake, memory, postgres, redis as redis_store};
use crate::yaml::Problem;
use crate::{admin, grpc, http, limiter, metrics, otlp, reload, telemetry, tls, traces};

pub use shown::Shown;

/// Where gRPC is served unless settings say otherwise; the reference's port.
const DEFAULT_GRPC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8081);

/// Where HTTP is served unless settings say otherwise; the reference's port.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);

/// How long a server that stops still answers, in milliseconds, so that Envoy's health checks find out and
/// Kubernetes takes it out of the endpoints before it closes its connections.
const DEFAULT_DRAIN_DELAY_MS: u64 = 5000;

/// The reference's `NEAR_LIMIT_RATIO`.
const DEFAULT_NEAR_LIMIT_RATIO: f32 = 0.8;

/// How many requests may wait to be sent to a shared store. At 100,000 a second, the last of them goes out
/// when Envoy has given up on it.
const DEFAULT_MAX_WAITING: usize = 10_000;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which rules are loaded, and when again.
    pub reload: reload::Settings,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// What gRPC clients may take of the server.
    pub grpc_settings: grpc::Settings,
    /// What HTTP clients may take of the server.
    pub http_settings: http::Settings,
    /// How connections to gRPC are protected.
    pub grpc_tls: tls::Settings,
    /// How connections to HTTP are protected.
    pub http_tls: tls::Settings,
    /// How connections of operators are protected.
    pub admin_tls: tls::Settings,
    /// Which pages the HTTP listener has that it need not have.
    pub endpoints: http::Endpoints,
    /// Where operators look and reset, and who may.
    pub admin: admin::Settings,
    /// Where states are kept.
    pub store: StoreKind,
    /// Settings of the memory store.
    pub memory: memory::Settings,
    /// How long a shared store may take for what it is sent, in milliseconds.
    pub store_timeout_ms: u64,
    /// How many requests may wait to be sent to a shared store.
    pub max_waiting: usize,
    /// When a shared store that fails is not asked any more.
    pub breaker: breaker::Settings,
    /// Whether an outage of a shared store makes the server not ready.
    pub ready_follows_store: bool,
    /// How Redis is reached, if that is the store.
    pub redis: redis_store::Settings,
    /// How Postgres is reached and used, if that is the store.
    pub postgres: postgres::Settings,
    /// How requests are answered.
    pub limiter: limiter::Settings,
    /// Milliseconds between saying `NOT_SERVING` and closing connections.
    pub drain_delay_ms: u64,
    /// Threads that serve; `None` is one per processor.
    pub worker_threads: Option<usize>,
    /// What is logged, and how.
    pub telemetry: telemetry::Settings,
    /// Where traces and pushed metrics go.
    pub otlp: otlp::Settings,
    /// Which requests are traced.
    pub traces: traces::Settings,
    /// Whether metrics are pushed as well.
    pub metrics: metrics::Settings,
    /// What the sources say about Redis; `redis` is made of it once all are read.
    redis_options: redis_store::Options,
    /// What the sources say about Postgres; `postgres` is completed from it once all are read.
    postgres_options: postgres::Options,
    /// The directory that relative paths of the present source start from.
    relative_to: PathBuf,
    /// What the sources say, in the order in which they were read.
    given: Vec<Shown>,
}

/// Where states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In the memory of this process.
    Memory,
    /// In a Redis.
    Redis,
    /// In a table of Postgres.
    Postgres,
}

/// What the command line says; it overrides all else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flags {
    /// The settings file.
    pub config: Option<PathBuf>,
    /// Rule files and directories.
    pub rules: Vec<PathBuf>,
    /// The store.
    pub store: Option<String>,
    /// Where gRPC is served.
    pub grpc: Option<String>,
    /// Where HTTP is served.
    pub http: Option<String>,
}

/// The settings cannot be used: everything that is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl From<Vec<Mistake>> for ConfigError {
    fn from(mistakes: Vec<Mistake>) -> Self {
        Self(setting::problems(mistakes))
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        write!(f, "{count} mistake{} in the settings", if count == 1 { "" } else { "s" })?;
        // Each on a line that begins with its place, whatever the caller writes before the first line.
        self.0.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for ConfigError {}

impl Default for Config {
    fn default() -> Self {
        Self {
            reload: reload::Settings::default(),
            grpc: DEFAULT_GRPC,
            http: DEFAULT_HTTP,
            grpc_settings: grpc::Settings::default(),
            http_settings: http::Settings::default(),
            grpc_tls: tls::Settings::default(),
            http_tls: tls::Settings::default(),
            admin_tls: tls::Settings::default(),
            endpoints: http::Endpoints::default(),
            admin: admin::Settings::default(),
            store: StoreKind::Memory,
            memory: memory::Settings::default(),
            store_timeout_ms: limiter::DEFAULT_STORE_TIMEOUT_MS,
            max_waiting: DEFAULT_MAX_WAITING,
            breaker: breaker::Settings::default(),
            ready_follows_store: false,
            redis: redis_store::Settings::default(),
            postgres: postgres::Settings::default(),
            limiter: limiter::Settings {
                near_limit_ratio: DEFAULT_NEAR_LIMIT_RATIO,
                ..limiter::Settings::default()
            },
            drain_delay_ms: DEFAULT_DRAIN_DELAY_MS,
            worker_threads: None,
            telemetry: telemetry::Settings::default(),
            otlp: otlp::Settings::default(),
            traces: traces::Settings::default(),
            metrics: metrics::Settings::default(),
            redis_options: redis_store::Options::default(),
            postgres_options: postgres::Options::default(),
            relative_to: PathBuf::new(),
            given: Vec::new(),
        }
    }
}

impl Config {
    /// The settings of this process: those of `flags` over its environment over the settings file.
    ///
    /// # Errors
    /// All mistakes of all three.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::load_with(flags, std::env::vars_os())
    }

    /// The same for a command that needs the store and no rules.
    ///
    /// # Errors
    /// As [`Self::load`], but for rules that are not given.
    pub fn load_without_rules(flags: &Flags) -> Result<Self, ConfigError> {
        source::load(flags, std::env::vars_os(), false)
    }

    /// The same with an environment that is given.
    ///
    /// # Errors
    /// All mistakes of flags, environment and file.
    pub fn load_with(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        source::load(flags, environment, true)
    }
}

#[cfg(test)]
mod tests;
