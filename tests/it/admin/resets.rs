//! Resets between charges that come at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fluxlimit::engine::{Charge, Group, Identity, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::store::Store;
use fluxlimit::store::memory::MemoryStore;
use fluxlimit::store::postgres::{self, PostgresStore};
use fluxlimit::store::redis::cluster::ClusterStore;
use fluxlimit::store::redis::{RedisStore, Settings};
use fluxlimit::time::SystemClock;

use crate::support::{Cluster, Nobody, Postgres, Redis};

const COUNT: u32 = 20;
const RESETS: u64 = 10;

/// A hit on two descriptors, which a cluster keeps in two slots; in each order.
fn hit(turned: bool) -> Settlement {
    let charge = |name: &[u8], algorithm| {
        let limit = Limit::new(LimitSpec::new(algorithm, COUNT, Unit::Year)).unwrap();
        let mut identity = Identity::of(b"racing", 0);
        identity.entry(b"key", name);
        Charge {
            key: identity.into_key(&limit, false),
            limit,
            hits: 1,
            shadow: false,
            mark: false,
            limit_id: 1,
        }
    };
    let mut charges = [charge(b"a", Algorithm::SlidingWindow), charge(b"b", Algorithm::FixedWindow)];
    if turned {
        charges.reverse();
    }
    let group = Group { charges: 1, quota: false, tag: None };
    Settlement::new(charges.into_iter().collect(), [group, group].into_iter().collect())
}

/// Many at once hit the limit while it is reset ten times, each time after it was reached.
async fn check(store: Arc<dyn Store>) {
    let admitted = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let hitting = (0..8).map(|number| {
        let (store, admitted, ended) = (store.clone(), admitted.clone(), ended.clone());
        tokio::spawn(async move {
            while !ended.load(Ordering::SeqCst) {
                let outcome = store.settle(&hit(number % 2 == 0)).outcome().await.unwrap();
                admitted.fetch_add(u64::from(!outcome.refused), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        })
    });
    let hitting: Vec<_> = hitting.collect();
    for round in 1..=RESETS {
        crate::support::eventually("a limit that is reached", async || {
            (admitted.load(Ordering::SeqCst) >= round * u64::from(COUNT)).then_some(())
        })
        .await;
        if round < RESETS {
            store.settle(&hit(false).resetting(|_| true)).outcome().await.unwrap();
        }
    }
    // The last limit is reached: whoever asks now is refused.
    assert!(store.settle(&hit(false)).outcome().await.unwrap().refused);
    ended.store(true, Ordering::SeqCst);
    for task in hitting {
        task.await.unwrap();
    }
    assert_eq!(admitted.load(Ordering::SeqCst), RESETS * u64::from(COUNT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reset_in_memory_admits_one_more_limit() {
    check(Arc::new(MemoryStore::new(fluxlimit::store::memory::Settings::default(), Arc::new(SystemClock))))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reset_in_redis_admits_one_more_limit() {
    let redis = Redis::start().await;
    let settings = Settings { timeout_ms: 20_000, ..Settings::from_url(&redis.url()).unwrap() };
    check(Arc::new(RedisStore::new(&settings, Arc::new(Nobody)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reset_in_a_redis_cluster_admits_one_more_limit() {
    let cluster = Cluster::start().await;
    let url = format!("redis+cluster://{}", cluster.addresses());
    let settings = Settings { timeout_ms: 20_000, ..Settings::from_url(&url).unwrap() };
    check(Arc::new(ClusterStore::new(&settings, Arc::new(Nobody)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reset_in_postgres_admits_one_more_limit() {
    let server = Postgres::start().await;
    let settings =
        postgres::Settings { timeout_ms: 20_000, ..postgres::Settings::of(&server.url()).unwrap() };
    check(Arc::new(PostgresStore::new(&settings, Arc::new(Nobody)))).await;
}
