//! Redis Cluster under fire: whatever happens to requests, slots and nodes, no limit is overrun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fluxlimit::engine::{Charge, Group, Identity, Outcome, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::store::redis::Settings;
use fluxlimit::store::redis::cluster::{ClusterStore, only_slot};
use fluxlimit::store::{Store, StoreError};

use crate::redis_forms::{ready, statuses};
use crate::support::{Cluster, Nobody, eventually};

/// The settings of a cluster, with more patience than a loaded machine needs.
pub(crate) fn patient(cluster: &Cluster) -> Settings {
    let url = format!("redis+cluster://{}", cluster.addresses());
    Settings { timeout_ms: 5000, ..Settings::from_url(&url).expect("the URL is good") }
}

pub(crate) fn store(cluster: &Cluster) -> ClusterStore {
    ClusterStore::new(&patient(cluster), Arc::new(Nobody))
}

/// So many a day, in one window that no test outlives.
pub(crate) fn limit(algorithm: Algorithm, count: u32) -> Limit {
    let burst = algorithm.is_bucket().then_some(u64::from(count));
    Limit::new(LimitSpec { burst, unit_multiplier: 100, ..LimitSpec::new(algorithm, count, Unit::Year) })
        .expect("the limit is good")
}

/// A request for one hit on each of these counters.
pub(crate) fn request(counters: &[(&str, Limit)]) -> Settlement {
    asking(counters, 1)
}

fn asking(counters: &[(&str, Limit)], hits: i64) -> Settlement {
    let charges = counters.iter().map(|(name, limit)| {
        let mut identity = Identity::of(b"cluster", 0);
        identity.entry(b"counter", name.as_bytes());
        let key = identity.into_key(limit, false);
        Charge { key, limit: *limit, hits, shadow: false, mark: false, limit_id: 0 }
    });
    let groups = counters.iter().map(|_| Group { charges: 1, quota: false, tag: None });
    Settlement::new(charges.collect(), groups.collect())
}

pub(crate) async fn ask(store: &ClusterStore, settlement: &Settlement) -> Result<Outcome, StoreError> {
    store.settle(settlement).outcome().await
}

/// What is left under a counter, without touching it.
pub(crate) async fn left(store: &ClusterStore, counter: (&str, Limit)) -> u64 {
    eventually("an answer of the cluster", async || {
        ask(store, &asking(&[counter], 0)).await.ok().map(|outcome| outcome.verdicts[0].remaining)
    })
    .await
}

pub(crate) fn slot(counter: (&str, Limit)) -> u16 {
    only_slot(&request(&[counter])).expect("one counter is in one slot")
}

/// Counters of these limits in slots that begin on different nodes, lowest slot first.
pub(crate) fn spread(limits: &[Limit]) -> Vec<(String, Limit)> {
    let mut counters: Vec<(String, Limit)> = Vec::new();
    for number in 0.. {
        let Some(limit) = limits.get(counters.len()) else { break };
        let name = number.to_string();
        if Cluster::first_home(slot((&name, *limit))) == counters.len() % 3 {
            counters.push((name, *limit));
        }
    }
    counters
}

pub(crate) fn borrowed(counters: &[(String, Limit)]) -> Vec<(&str, Limit)> {
    counters.iter().map(|(name, limit)| (name.as_str(), *limit)).collect()
}

/// Asks `times` for this from each of many tasks at once: how often it was admitted, refused, failed.
pub(crate) async fn flood(
    store: &Arc<ClusterStore>,
    requests: Vec<Settlement>,
    tasks: usize,
    times: usize,
) -> Vec<[u64; 3]> {
    let counts: Arc<Vec<[AtomicU64; 3]>> = Arc::new(requests.iter().map(|_| Default::default()).collect());
    let requests = Arc::new(requests);
    let flooding = (0..tasks).map(|task| {
        let (store, requests, counts) = (Arc::clone(store), Arc::clone(&requests), Arc::clone(&counts));
        tokio::spawn(async move {
            for turn in 0..times {
                let index = (task + turn) % requests.len();
                let outcome = ask(&store, &requests[index]).await;
                let which = outcome.map_or(2, |outcome| usize::from(outcome.refused));
                counts[index][which].fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in flooding.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    counts.iter().map(|counts| counts.each_ref().map(|count| count.load(Ordering::Relaxed))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cross_slots_never_admit_more_than_the_limit() {
    let cluster = Cluster::start().await;
    let store = Arc::new(store(&cluster));
    // The shared counter stands in the middle, so that half of the requests give back on it.
    let limits = [
        limit(Algorithm::TokenBucket, 120),
        limit(Algorithm::SlidingWindow, 200),
        limit(Algorithm::FixedWindow, 120),
    ];
    let counters = spread(&limits);
    let pairs = [&counters[..2], &counters[1..]];
    let asked = flood(&store, pairs.iter().map(|pair| request(&borrowed(pair))).collect(), 32, 40).await;
    assert!(asked.iter().all(|[_, _, failed]| *failed == 0), "{asked:?}");
    let (first, second) = (asked[0][0], asked[1][0]);
    assert!(first + second <= 200 && first <= 120 && second <= 120, "{asked:?}");
    // Nothing is charged but what was admitted: all that was booked for refused requests was given back.
    for (counter, admitted) in borrowed(&counters).into_iter().zip([first, first + second, second]) {
        let count = u64::from(counter.1.count());
        assert_eq!(left(&store, counter).await, count - admitted, "{counter:?}: {asked:?}");
    }
    // False refusals are for a moment: alone, a request gets what is left.
    for pair in pairs {
        while !ask(&store, &request(&borrowed(pair))).await.unwrap().refused {}
    }
    assert_eq!(left(&store, (&counters[1].0, limits[1])).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_between_two_slots_leaves_no_limit_overrun() {
    let cluster = Cluster::start().await;
    let settings = patient(&cluster);
    let limits = [limit(Algorithm::FixedWindow, 3000), limit(Algorithm::TokenBucket, 3000)];
    let counters = spread(&limits);
    let asked = request(&borrowed(&counters));
    let admitted = Arc::new(AtomicU64::new(0));
    for _ in 0..5 {
        // A server of its own, which ends with its tasks in the middle of everything.
        let (settings, asked, counted) = (settings.clone(), asked.clone(), Arc::clone(&admitted));
        let before = admitted.load(Ordering::SeqCst);
        let server =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        server.spawn(async move {
            let store = Arc::new(ClusterStore::new(&settings, Arc::new(Nobody)));
            for _ in 0..16 {
                let (store, asked, counted) = (Arc::clone(&store), asked.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    loop {
                        let outcome = ask(&store, &asked).await.expect("the cluster answers");
                        if !outcome.refused {
                            counted.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        eventually("some requests", async || (admitted.load(Ordering::SeqCst) > before + 100).then_some(()))
            .await;
        server.shutdown_background();
    }
    let store = Arc::new(store(&cluster));
    let rest = flood(&store, vec![asked], 8, 400).await;
    let total = admitted.load(Ordering::SeqCst) + rest[0][0];
    assert!(rest[0][1] > 0, "the limit was reached");
    assert!(total <= 3000, "{total} of 3000 were admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_one_cluster_count_as_one() {
    let cluster = Cluster::start().await;
    // With the rights that docs/redis.md and docs/redis-cluster.md name.
    let rights = "on >hunter2 resetkeys ~fluxlimit:* resetchannels -@all +eval +evalsha +time +mget +exists +set +info \
                  +client|setname +asking +cluster|slots";
    for node in &cluster.nodes {
        let command: Vec<&str> = ["ACL", "SETUSER", "app"].into_iter().chain(rights.split(' ')).collect();
        node.ask::<String>(&command).await.unwrap();
    }
    // One node is enough to find the others.
    let url = format!("redis+cluster://app:hunter2@{}", cluster.nodes[1].address());
    let (_first_rules, first) = ready(&[("STORE", &url)]).await;
    let (_second_rules, second) = ready(&[("STORE", &url)]).await;
    for user in ["alice", "bob", "carol", "dave"] {
        assert_eq!(statuses(&first, user, 2).await, [200, 200]);
        assert_eq!(statuses(&second, user, 2).await, [200, 429]);
    }
    for node in &cluster.nodes {
        let keys: Vec<String> = node.ask(&["KEYS", "*"]).await.unwrap();
        assert!(keys.iter().all(|key| key.starts_with("fluxlimit:{")), "{keys:?}");
    }
}
