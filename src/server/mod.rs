//! The running server: its parts put together, and the order of a start and a stop.

mod administration;
mod exports;
mod stores;
mod supervise;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::admin;
use crate::config::Config;
use crate::grpc;
use crate::health::Health;
use crate::http;
use crate::limiter::{Limiter, StoreWatch};
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::telemetry::Log;
pub use supervise::Supervisor;

/// A server that listens but does not answer yet.
#[derive(Debug)]
pub struct Server {
    config: Config,
    grpc: TcpListener,
    http: TcpListener,
    admin: Option<admin::Listener>,
    log: Log,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {protocol}")]
    Address {
        /// What was to be spoken there.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// There can be no admin listener.
    #[error(transparent)]
    Admin(#[from] admin::BindError),
}

/// What tells a running server what to do; the operating system's signals, or a test.
#[derive(Debug)]
pub struct Orders<Stop, StopNow> {
    /// Ready when the server should drain and stop.
    pub stop: Stop,
    /// Ready when it should stop without waiting for anything.
    pub stop_now: StopNow,
    /// Notified when the rules should be read again.
    pub reload: Arc<Notify>,
}

/// The parts that answer.
struct Parts {
    limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    supervisor: Supervisor,
}

impl Server {
    /// Listens where `config` says; port 0 is any free port.
    ///
    /// # Errors
    /// An address that cannot be listened on, or an admin's token that cannot be read.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let grpc = listen("grpc", config.grpc).await?;
        let http = listen("http", config.http).await?;
        let admin = admin::Listener::bind(&config.admin).await?;
        Ok(Self { config, grpc, http, admin, log: Log::of_others() })
    }

    /// The same, whose operators may change `log`.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log, ..self }
    }

    /// Where operators ask, with the port that was chosen; `None` if nowhere, or if the operating system does not
    /// say.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address().ok())
    }

    /// Where gRPC and HTTP are listened for, with the ports that were chosen.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.http.local_addr()?))
    }

    /// Loads the rules, answers until it is told to stop, drains and returns.
    pub async fn run(self, orders: Orders<impl Future<Output = ()>, impl Future<Output = ()>>) {
        let Self { config, grpc, http, admin, log } = self;
        let Orders { stop, stop_now, reload } = orders;
        let parts = Parts::new(&config);
        let reloader = Arc::new(Reloader::new(
            config.reload.clone(),
            parts.limiter.clone(),
            parts.metrics.clone(),
            parts.health.clone(),
        ));
        let mut stop = pin!(stop);
        let answering = async {
            // Before the first request: a server that listens without rules answers errors.
            tokio::select! {
                () = reloader.load() => {}
                // A disk that hangs must not keep it from ending.
                () = &mut stop => return,
            }
            if parts.supervisor.store.answers_at_once() {
                // Ready before it listens. A store that may be away delays nothing.
                parts.supervisor.check().await;
            }
            announce(&grpc, &http, admin.as_ref());
            let admin = admin.map(|admin| (admin, administration::sources(&config, &parts, &reloader, log)));
            tokio::select! {
                () = serve(&config, &parts, Listeners { grpc, http, admin }, stop) => {}
                // Neither ends.
                () = reloader.watch(reload) => {}
                () = parts.supervisor.run() => {}
            }
        };
        tokio::select! {
            () = answering => {
                exports::stop(parts.limiter.tracer(), &parts.metrics).await;
                tracing::info!("stopped");
            }
            () = stop_now => tracing::warn!("stopped at once, as told"),
        }
    }
}

impl Parts {
    fn new(config: &Config) -> Self {
        let metrics = Arc::new(exports::metrics(config));
        let health = Arc::new(Health::new());
        let watch = Arc::new(StoreWatch::new(&metrics, config.breaker));
        let store = stores::open(config, &metrics, watch.clone());
        let limiter = Limiter::new(store.clone(), metrics.clone(), config.limiter.clone());
        let limiter = Arc::new(limiter.with_watch(watch.clone()).with_tracer(exports::tracer(config)));
        let supervisor = Supervisor {
            store,
            watch,
            health: health.clone(),
            timeout_ms: config.store_timeout_ms,
            ready_follows_store: config.ready_follows_store,
        };
        Self { limiter, metrics, health, supervisor }
    }
}

/// Where requests come from, and what the admin listener shows.
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
    admin: Option<(admin::Listener, admin::Sources)>,
}

/// Serves all fronts until `stop` and through the drain. `/ready` and the admin go on answering until gRPC has
/// ended.
async fn serve(config: &Config, parts: &Parts, listeners: Listeners, stop: impl Future<Output = ()>) {
    let Listeners { grpc, http, admin } = listeners;
    let (close_grpc, grpc_closed) = watch::channel(false);
    let (close_http, http_closed) = watch::channel(false);
    let sources = http::Sources {
        limiter: parts.limiter.clone(),
        metrics: parts.metrics.clone(),
        health: parts.health.clone(),
        endpoints: config.endpoints,
    };
    let admin_closed = http_closed.clone();
    let pages = async {
        let admin = async {
            if let Some((listener, sources)) = admin {
                listener.serve(sources, told(admin_closed)).await;
            }
        };
        tokio::join!(http::serve(http, sources, config.http_settings, told(http_closed)), admin);
    };
    let mut http = pin!(pages);
    let grpc = async {
        let (limiter, health) = (parts.limiter.clone(), parts.health.clone());
        let serving = grpc::serve(grpc, limiter, health, config.grpc_settings, told(grpc_closed));
        let draining = async {
            stop.await;
            parts.health.drain();
            let drain_delay_ms = config.drain_delay_ms;
            tracing::info!(drain_delay_ms, "stopping: no longer ready, still answering");
            tokio::time::sleep(Duration::from_millis(drain_delay_ms)).await;
            tracing::info!("closing connections");
            close_grpc.send_replace(true);
        };
        tokio::join!(serving, draining);
        close_http.send_replace(true);
    };
    let mut grpc = pin!(grpc);
    tokio::select! {
        () = &mut grpc => http.await,
        // It ends only when told, and it is told only after gRPC has ended.
        () = &mut http => grpc.await,
    }
}

async fn told(mut told: watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = told.wait_for(|told| *told).await;
}

async fn listen(protocol: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError::Address { protocol, address, source })
}

/// One line per listener, with the port that was chosen.
fn announce(grpc: &TcpListener, http: &TcpListener, admin: Option<&admin::Listener>) {
    let admin = admin.map(|admin| ("admin", admin.address()));
    let fronts = [("grpc", grpc.local_addr()), ("http", http.local_addr())];
    for (protocol, address) in fronts.into_iter().chain(admin) {
        match address {
            Ok(address) => tracing::info!("listening {protocol}={address}"),
            Err(error) => tracing::error!(%error, "listening {protocol} at an unknown address"),
        }
    }
}
