//! The store that the settings name, opened, with its upkeep running and its numbers shown.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, StoreKind};
use crate::metrics::{Gauge, Metrics};
use crate::store::memory::MemoryStore;
use crate::store::postgres::PostgresStore;
use crate::store::redis::cluster::ClusterStore;
use crate::store::redis::{Form, RedisStore};
use crate::store::{Observer, Store};
use crate::time::SystemClock;

/// Opens the store of `config`. It need not be reachable yet. One that is far away tells `observer` how its
/// exchanges end.
pub(super) fn open(config: &Config, metrics: &Metrics, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
    match config.store {
        StoreKind::Memory => {
            // It has no exchanges.
            drop(observer);
            memory(config, metrics)
        }
        StoreKind::Redis => redis(config, metrics, observer),
        StoreKind::Postgres => postgres(config, metrics, observer),
    }
}

fn postgres(config: &Config, metrics: &Metrics, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
    tracing::info!("the store is {}", config.postgres.server);
    let store = Arc::new(PostgresStore::new(&config.postgres, observer));
    let waiting = store.clone();
    let max_waiting = config.max_waiting;
    metrics.show_waiting(move || waiting.queued(), move || max_waiting);
    store
}

fn redis(config: &Config, metrics: &Metrics, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
    tracing::info!("the store is {}", config.redis.form);
    if let Form::Cluster(_) = config.redis.form {
        let store = Arc::new(ClusterStore::new(&config.redis, observer));
        let (waiting, max_waiting, shown) = (store.clone(), store.clone(), store.clone());
        metrics.show_waiting(move || waiting.queued(), move || max_waiting.max_queued());
        show_evicting(metrics, move || shown.eviction().servers());
        return store;
    }
    let store = Arc::new(RedisStore::new(&config.redis, observer));
    let (waiting, max_waiting, shown) = (store.clone(), config.max_waiting, store.clone());
    metrics.show_waiting(move || waiting.queued(), move || max_waiting);
    show_evicting(metrics, move || shown.eviction().servers());
    store
}

fn show_evicting(metrics: &Metrics, evicting: impl Fn() -> usize + Send + Sync + 'static) {
    metrics.show(Gauge {
        name: "fluxlimit.redis.evicting_servers",
        description: "Redis servers that may throw keys away when their memory is full",
        read: Box::new(move || evicting() as u64),
    });
}

fn memory(config: &Config, metrics: &Metrics) -> Arc<dyn Store> {
    let store = Arc::new(MemoryStore::new(config.memory, Arc::new(SystemClock)));
    let (keys, max_keys, overflow_keys) = (store.clone(), store.clone(), store.clone());
    metrics.show(Gauge {
        name: "fluxlimit.memory.keys",
        description: "Keys that the memory store keeps",
        read: Box::new(move || keys.len() as u64),
    });
    metrics.show(Gauge {
        name: "fluxlimit.memory.max_keys",
        description: "Keys that the memory store keeps at most",
        read: Box::new(move || max_keys.max_keys() as u64),
    });
    metrics.show(Gauge {
        name: "fluxlimit.memory.overflow_keys",
        description: "Keys that the new keys of a limit share because the memory store is full",
        read: Box::new(move || overflow_keys.overflow_keys() as u64),
    });
    tokio::spawn(sweep(store.clone(), config.memory.sweep_ms));
    store
}

/// Sweeps shard by shard, so that all keys are swept once in `sweep_ms`.
async fn sweep(store: Arc<MemoryStore>, sweep_ms: u64) {
    let shards = u64::try_from(store.shards()).unwrap_or(1).max(1);
    let mut pause = tokio::time::interval(Duration::from_millis((sweep_ms / shards).max(1)));
    // After a pause of the machine there is nothing to catch up with.
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pause.tick().await;
        store.sweep_next();
    }
}
