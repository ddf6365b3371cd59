//! What leaves for a collector: made of the settings, and told to finish at the stop.

use std::sync::Arc;

use crate::config::{Config, StoreKind};
use crate::metrics::Metrics;
use crate::otlp;
use crate::store::postgres::Settings as PostgresSettings;
use crate::store::redis::{Address, Endpoint, Form, Settings as RedisSettings};
use crate::traces::{Backend, Tracer};

/// Everything that is counted, pushed if `config` says so.
pub(super) fn metrics(config: &Config) -> Metrics {
    if !config.metrics.otlp {
        return Metrics::new();
    }
    match otlp::metric_exporter(&config.otlp) {
        Ok(exporter) => {
            let interval_ms = config.metrics.otlp_interval_ms;
            Metrics::pushed(exporter, interval_ms, otlp::resource(&config.otlp))
        }
        // Rate limits are worth more than what is told of them.
        Err(error) => {
            tracing::error!(%error, "metrics are not pushed");
            Metrics::new()
        }
    }
}

/// What traces requests, if `config` says so.
pub(super) fn tracer(config: &Config) -> Option<Arc<Tracer>> {
    if !config.traces.otlp {
        return None;
    }
    match otlp::span_exporter(&config.otlp) {
        Ok(exporter) => {
            Some(Tracer::new(&config.traces, exporter, otlp::resource(&config.otlp), backend(config)))
        }
        Err(error) => {
            tracing::error!(%error, "nothing is traced");
            None
        }
    }
}

/// Sends what is left, in bounded time.
pub(super) async fn stop(tracer: Option<&Arc<Tracer>>, metrics: &Metrics) {
    let spans = async {
        if let Some(tracer) = tracer {
            tracer.stop().await;
        }
    };
    tokio::join!(spans, metrics.stop());
}

/// The store that is far away, as traces name it; `None` for the memory of this process.
fn backend(config: &Config) -> Option<Backend> {
    match config.store {
        StoreKind::Memory => None,
        StoreKind::Redis => Some(redis(&config.redis)),
        StoreKind::Postgres => Some(postgres(&config.postgres)),
    }
}

fn redis(settings: &RedisSettings) -> Backend {
    let (address, port) = match &settings.form {
        Form::Standalone(Endpoint::Tcp(Address { host, port })) => (host.clone(), Some(*port)),
        Form::Standalone(Endpoint::Socket(path)) => (path.display().to_string(), None),
        // Which server it is changes; this is what all of them are reached by.
        Form::Sentinel(sentinel) => (sentinel.master.clone(), None),
        Form::Cluster(seeds) => {
            let seeds: Vec<_> = seeds.iter().map(Address::to_string).collect();
            (seeds.join(","), None)
        }
    };
    Backend {
        system: "redis",
        operation: "EVALSHA",
        namespace: Some(settings.database.to_string()),
        collection: None,
        address: Some(address),
        port,
    }
}

fn postgres(settings: &PostgresSettings) -> Backend {
    let host = settings.server.hosts.first();
    Backend {
        system: "postgresql",
        // One transaction of several statements, whose names would say less.
        operation: "TRANSACTION",
        namespace: Some(format!("{}|{}", settings.server.database, settings.schema)),
        collection: Some(settings.table.clone()),
        address: host.map(|host| host.name.clone()),
        port: host.map(|host| host.port),
    }
}
