//! One Redis under the store: what is sent, what is not, and what an error costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fluxlimit::algorithm::{FixedWindow, State};
use fluxlimit::engine::{Charge, Group, Identity, Key, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::store::redis::{RedisStore, Settings};
use fluxlimit::store::{Observer, RoundTrip, Settling, Store, StoreError};
use parking_lot::Mutex;

use crate::support::{Redis, Signal, eventually, free_address};

/// Keeps how the exchanges ended.
#[derive(Debug, Default)]
struct Trips {
    settlements: AtomicUsize,
    failures: Mutex<Vec<&'static str>>,
}

impl Observer for Trips {
    fn ended(&self, trip: &RoundTrip<'_>) {
        self.settlements.fetch_add(trip.settlements, Ordering::Relaxed);
        self.failures.lock().extend(trip.failure.map(StoreError::kind));
    }
}

fn store(url: &str, timeout_ms: u64) -> (RedisStore, Arc<Trips>) {
    let settings = Settings { timeout_ms, ..Settings::from_url(url).unwrap() };
    let trips = Arc::new(Trips::default());
    (RedisStore::new(&settings, trips.clone()), trips)
}

/// Longer than any test waits.
const PATIENT_MS: u64 = 20_000;

/// Ten a year, so that no window ends during a test.
fn limit() -> Limit {
    Limit::new(LimitSpec::new(Algorithm::FixedWindow, 10, Unit::Year)).unwrap()
}

fn key(name: &str) -> Key {
    Identity::of(name.as_bytes(), 0).into_key(&limit(), false)
}

fn one(name: &str) -> Settlement {
    of(&[name])
}

fn of(names: &[&str]) -> Settlement {
    let charge = |name: &&str| Charge {
        key: key(name),
        limit: limit(),
        hits: 1,
        shadow: false,
        mark: false,
        limit_id: 0,
    };
    let group = Group { charges: 1, quota: false, tag: None };
    Settlement::new(names.iter().map(charge).collect(), names.iter().map(|_| group).collect())
}

/// What Redis calls the key.
fn redis_key(name: &str) -> Vec<u8> {
    [b"fluxlimit:", key(name).as_bytes()].concat()
}

async fn set(server: &Redis, command: &str, name: &str, value: &[u8]) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut asked = redis::cmd(command);
    let () = asked.arg(redis_key(name)).arg(value).query_async(&mut connection).await.unwrap();
}

async fn used(store: &RedisStore, name: &str) -> u64 {
    match store.state(&key(name)).await.expect("a state or none") {
        Some(State::FixedWindow(FixedWindow { used, .. })) => used,
        _ => 0,
    }
}

async fn admitted(answers: impl IntoIterator<Item = Settling>) -> usize {
    let mut admitted = 0;
    for answer in answers {
        admitted += usize::from(!answer.outcome().await.expect("an answer").refused);
    }
    admitted
}

#[tokio::test]
async fn a_flushed_script_costs_no_charge_and_none_twice() {
    let server = Redis::start().await;
    let (store, trips) = store(&server.url(), PATIENT_MS);
    let mut total = 0;
    for round in 0..20 {
        let _: String = server.ask(&["SCRIPT", "FLUSH"]).await.unwrap();
        total += admitted((0..=round % 3).map(|_| store.settle(&one("flushed")))).await;
    }
    assert_eq!((total, used(&store, "flushed").await), (10, 10));
    assert_eq!(*trips.failures.lock(), [""; 0], "nobody was told");
}

#[tokio::test]
async fn a_key_that_holds_no_state_fails_whoever_needs_it_and_nobody_else() {
    let server = Redis::start().await;
    let (store, trips) = store(&server.url(), PATIENT_MS);
    set(&server, "RPUSH", "list", b"1").await;
    set(&server, "SET", "later", &[2; 23]).await;
    set(&server, "SET", "short", &[1; 22]).await;
    // On one thread nothing is sent before the first wait, so all of it goes together.
    let names = ["list", "good", "later", "good", "short", "good"];
    let asked: Vec<Settling> = names.iter().map(|name| store.settle(&one(name))).collect();
    for (name, asked) in names.iter().zip(asked) {
        match (asked.outcome().await, *name) {
            (Ok(outcome), "good") => assert!(!outcome.refused),
            (Err(StoreError::Unreadable { reason }), "list") => assert!(reason.ends_with("of another type")),
            (Err(StoreError::Unreadable { reason }), "later" | "short") => {
                assert!(reason.contains("another version"), "{reason}");
            }
            (other, name) => panic!("{name}: {other:?}"),
        }
    }
    // Neither is a request that needs both of them paid for half.
    let both = store.settle(&of(&["good", "later"])).outcome().await;
    assert!(matches!(both, Err(StoreError::Unreadable { .. })), "{both:?}");
    assert_eq!(used(&store, "good").await, 3);
    assert_eq!(trips.settlements.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn a_ticket_that_is_dropped_before_sending_costs_nothing() {
    let server = Redis::start().await;
    let (store, trips) = store(&server.url(), PATIENT_MS);
    store.ping().await.unwrap();
    drop((0..5).map(|_| store.settle(&one("dropped"))).collect::<Vec<_>>());
    assert_eq!(admitted([store.settle(&one("dropped"))]).await, 1);
    assert_eq!((used(&store, "dropped").await, trips.settlements.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn a_ticket_that_is_dropped_after_sending_is_charged_whole() {
    let server = Redis::start().await;
    let (store, _) = store(&server.url(), PATIENT_MS);
    store.ping().await.unwrap();
    let _: String = server.ask(&["CLIENT", "PAUSE", "20000", "WRITE"]).await.unwrap();
    let asked = store.settle(&of(&["one", "two"]));
    // The server stops reading from a client whose command it keeps.
    eventually("the call at the server", async || {
        let clients: String = server.ask(&["CLIENT", "LIST"]).await.unwrap();
        clients.contains("cmd=evalsha").then_some(())
    })
    .await;
    drop(asked);
    let _: String = server.ask(&["CLIENT", "UNPAUSE"]).await.unwrap();
    eventually("both charges", async || {
        ((used(&store, "one").await, used(&store, "two").await) == (1, 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_charge_without_an_answer_is_not_repeated() {
    let mut server = Redis::start().await;
    let (store, trips) = store(&server.url(), 200);
    eventually("an answer", async || store.ping().await.ok()).await;
    trips.failures.lock().clear();
    server.signal(Signal::STOP);
    let lost = store.settle(&one("silent")).outcome().await;
    assert_eq!(lost, Err(StoreError::TimedOut));
    // The connection is not trusted any more; a new one is not answered either.
    let next = store.settle(&one("other")).outcome().await;
    assert!(next.is_err(), "{next:?}");
    server.signal(Signal::CONT);
    eventually("a connection that answers", async || store.settle(&one("other")).outcome().await.ok()).await;
    assert_eq!(used(&store, "silent").await, 1, "it ran once, when the server went on");
    assert_eq!(trips.failures.lock().first(), Some(&"timed_out"));

    server.kill();
    let gone = store.settle(&one("silent")).outcome().await.unwrap_err();
    assert!(gone.is_outage(), "{gone:?}");
    server.start_again().await;
    eventually("the server that came back", async || store.settle(&one("silent")).outcome().await.ok()).await;
}

#[tokio::test]
async fn without_a_redis_nothing_waits_for_long() {
    let address = free_address();
    let (store, trips) = store(&format!("redis://{address}"), PATIENT_MS);
    let first = store.settle(&one("nobody")).outcome().await.unwrap_err();
    assert_eq!(first.kind(), "unavailable");
    // While it pauses before the next attempt, it says so at once.
    assert!(matches!(store.settle(&one("nobody")), Settling::Ready(Err(StoreError::Unavailable { .. }))));
    assert_eq!((store.queued(), trips.settlements.load(Ordering::Relaxed)), (0, 0));
    let failed = async || (trips.failures.lock().len() >= 3).then_some(());
    eventually("further attempts", failed).await;
}

#[tokio::test]
async fn a_full_redis_refuses_whole_requests() {
    let server = Redis::with(&["--maxmemory", "1mb"]).await;
    let (store, trips) = store(&server.url(), PATIENT_MS);
    store.ping().await.unwrap();
    let full = store.settle(&of(&["one", "two"])).outcome().await;
    let Err(StoreError::Refused { reason }) = &full else { panic!("{full:?}") };
    assert!(reason.starts_with("OOM"), "{reason}");
    assert_eq!((used(&store, "one").await, used(&store, "two").await), (0, 0));
    assert_eq!(*trips.failures.lock(), ["refused"]);
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_eq!(admitted([store.settle(&of(&["one", "two"]))]).await, 1);
}

#[tokio::test]
async fn keys_live_a_minute_longer_than_their_state_at_least() {
    let server = Redis::start().await;
    let (store, _) = store(&server.url(), PATIENT_MS);
    let second = Limit::new(LimitSpec::new(Algorithm::SlidingWindow, 10, Unit::Second)).unwrap();
    let key = Identity::of(b"short", 0).into_key(&second, false);
    let mut charge = one("x").first_charge(0).clone();
    (charge.key, charge.limit) = (key.clone(), second);
    let group = Group { charges: 1, quota: false, tag: None };
    let settlement = Settlement::new([charge].into_iter().collect(), [group].into_iter().collect());
    for _ in 0..3 {
        assert_eq!(admitted([store.settle(&settlement)]).await, 1);
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let name = [b"fluxlimit:", key.as_bytes()].concat();
        let left: u64 = redis::cmd("PTTL").arg(name).query_async(&mut connection).await.unwrap();
        assert!((60_000..=121_000).contains(&left), "{left} ms");
    }
}
