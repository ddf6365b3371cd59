//! `fluxlimit serve`: runs the server.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Notify};

use super::open_files;
use crate::config::{Config, Flags};
use crate::server::{Orders, Server};
use crate::telemetry::{self, Log};

/// Answers rate-limit requests by the rules
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fluxlimit serve --rules config/rules
  fluxlimit serve --rules edge.yaml --rules tenants/ --grpc 127.0.0.1:8081
  fluxlimit serve --rules config/rules --store redis://localhost:6379
  FLUXLIMIT_RULES=/etc/fluxlimit/rules FLUXLIMIT_DYNAMIC_METADATA=true fluxlimit serve

Settings come from the settings file, then from the environment (FLUXLIMIT_ and the setting's path in \
capitals, `__` between levels), then from these flags; the later one counts.

SIGHUP reads the rules and certificates again. SIGTERM drains and stops; a second one stops at once.")]
pub(super) struct Serve {
    /// Settings file; see config/fluxlimit.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rule file, or directory of *.yaml and *.yml files; may be given several times
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,
    /// Where states are kept: `memory`, or a URL such as `redis://localhost:6379` or `postgres://user@host/database`
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where Envoy asks [default: 0.0.0.0:8081]
    #[arg(long, value_name = "ADDR:PORT")]
    grpc: Option<String>,
    /// Health, metrics and /json [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<String>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Box<dyn Error>> {
        let Self { config, rules, store, grpc, http } = self;
        let config = Config::load(&Flags { config, rules, store, grpc, http })?;
        let log = telemetry::start(&config.telemetry);
        open_files::raise_limit();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.enable_all();
        if let Some(threads) = config.worker_threads {
            runtime.worker_threads(threads);
        }
        let runtime = runtime.build()?;
        let served = runtime.block_on(serve(config, log));
        // Rules that are being read from a disk that hangs must not keep the program from ending.
        runtime.shutdown_background();
        served
    }
}

async fn serve(config: Config, log: Log) -> Result<(), Box<dyn Error>> {
    // Before anything else: a signal that comes during the start must not be lost.
    let stops = Arc::new(Stops::new()?);
    let reload = Arc::new(Notify::new());
    let hangups = signal(SignalKind::hangup())?;
    let forwarding = tokio::spawn(forward(hangups, reload.clone()));
    let server = Server::bind(config).await?.with_log(log);
    let (first, second) = (stops.clone(), stops);
    let (told_once, told) = tokio::sync::oneshot::channel();
    let orders = Orders {
        stop: async move {
            first.next().await;
            // The receiver lives as long as the server.
            let _ = told_once.send(());
        },
        stop_now: async move {
            if told.await.is_ok() {
                second.next().await;
            }
        },
        reload,
    };
    server.run(orders).await;
    forwarding.abort();
    Ok(())
}

/// The signals that stop a server.
struct Stops(Mutex<[Signal; 2]>);

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self(Mutex::new([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])))
    }

    async fn next(&self) {
        let mut signals = self.0.lock().await;
        let [terminate, interrupt] = &mut *signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

async fn forward(mut hangups: Signal, reload: Arc<Notify>) {
    while hangups.recv().await.is_some() {
        reload.notify_one();
    }
}
