//! The Postgres store on a real Postgres.

use std::sync::Arc;
use std::time::Duration;

use fluxlimit::algorithm::State;
use fluxlimit::engine::{Charge, Group, Identity, Key, Outcome, Settlement};
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::store::postgres::{Migrations, PostgresStore, Settings};
use fluxlimit::store::{Store, StoreError};
use fluxlimit::time::{Clock, ManualClock, Timestamp};

use crate::steps::START_MS;
use crate::support::{Nobody, Postgres, eventually, free_address};

/// Settings for a server of a test, with time enough for a loaded machine.
pub(crate) fn settings(url: &str) -> Settings {
    Settings { timeout_ms: 10_000, ..Settings::of(url).unwrap() }
}

pub(crate) fn open(settings: &Settings) -> PostgresStore {
    PostgresStore::new(settings, Arc::new(Nobody))
}

fn open_at(settings: &Settings, clock: &Arc<ManualClock>) -> PostgresStore {
    let clock: Arc<dyn Clock> = clock.clone();
    PostgresStore::with_clock(settings, Arc::new(Nobody), clock)
}

pub(crate) fn limit(algorithm: Algorithm, count: u32, unit: Unit) -> Limit {
    let burst = algorithm.is_bucket().then_some(count.into());
    Limit::new(LimitSpec { burst, ..LimitSpec::new(algorithm, count, unit) }).unwrap()
}

fn key(name: &str, limit: &Limit) -> Key {
    let mut identity = Identity::of(b"d", 0);
    identity.entry(b"name", name.as_bytes());
    identity.into_key(limit, false)
}

/// A request with a descriptor for each of those.
fn request(charges: &[(&str, Limit, i64)]) -> Settlement {
    let groups = charges.iter().map(|_| Group { charges: 1, quota: false, tag: None });
    let charges = charges.iter().map(|(name, limit, hits)| Charge {
        key: key(name, limit),
        limit: *limit,
        hits: *hits,
        shadow: false,
        mark: false,
        limit_id: 1,
    });
    Settlement::new(charges.collect(), groups.collect())
}

pub(crate) async fn ask(
    store: &PostgresStore,
    charges: &[(&str, Limit, i64)],
) -> Result<Outcome, StoreError> {
    let answer = tokio::time::timeout(Duration::from_secs(20), store.settle(&request(charges)).outcome());
    answer.await.expect("an answer, if only that there is none")
}

pub(crate) async fn used(store: &PostgresStore, name: &str, limit: &Limit) -> u64 {
    match store.state(&key(name, limit)).await.expect("the database answers") {
        Some(State::FixedWindow(window)) => window.used,
        None => 0,
        Some(other) => panic!("{other:?} is no fixed window"),
    }
}

/// Hits of 1 that four stores admit together on `limit` and on limits of their own, from many tasks at once.
async fn admitted(stores: &[Arc<PostgresStore>], limit: Limit) -> usize {
    let wide = self::limit(Algorithm::FixedWindow, 1_000_000, Unit::Year);
    let tasks = (0..24).map(|task: usize| {
        let store = stores[task % stores.len()].clone();
        tokio::spawn(async move {
            let mut admitted = 0;
            for round in 0..12 {
                let new = format!("new {}", (task / 6 + round) % 40);
                // The same keys in opposite orders, and keys that nobody has created yet.
                let mut charges = vec![("shared", limit, 1), ("other", wide, 1), (new.as_str(), wide, 1)];
                if task.is_multiple_of(2) {
                    charges.reverse();
                }
                let outcome = ask(&store, &charges).await.expect("no request fails");
                admitted += usize::from(!outcome.refused);
            }
            admitted
        })
    });
    let mut sum = 0;
    for task in tasks.collect::<Vec<_>>() {
        sum += task.await.unwrap();
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn four_stores_on_one_database_admit_exactly_the_limit() {
    let server = Postgres::start().await;
    // The sweeper makes a step every millisecond.
    let settings = Settings { sweep_ms: 1, ..settings(&server.url()) };
    let stores: Vec<_> = (0..4).map(|_| Arc::new(open(&settings))).collect();
    for algorithm in Algorithm::ALL {
        let limit = limit(algorithm, 100, Unit::Year);
        assert_eq!(admitted(&stores, limit).await, 100, "{algorithm:?}");
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(server.number(deadlocks).await, 0);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test]
async fn a_key_that_another_session_creates_meanwhile_is_counted_from_there() {
    let server = Postgres::start().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = open_at(&settings(&server.url()), &clock);
    let limit = limit(Algorithm::FixedWindow, 10, Unit::Year);
    ask(&store, &[("model", limit, 7)]).await.unwrap();
    let other = server.client().await;
    other.batch_execute("BEGIN").await.unwrap();
    // What is counted under one name, under another name as well.
    let copy = "INSERT INTO fluxlimit SELECT $1, state, expires_at_ms FROM fluxlimit WHERE key = $2";
    let (new, model) = (key("new", &limit), key("model", &limit));
    other.execute(copy, &[&new.as_bytes(), &model.as_bytes()]).await.unwrap();
    let asked = store.settle(&request(&[("new", limit, 2), ("newer", limit, 1)]));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    eventually("a wait for the other session", async || (server.number(waits).await == 1).then_some(()))
        .await;
    other.batch_execute("COMMIT").await.unwrap();
    let outcome = asked.outcome().await.unwrap();
    assert_eq!(outcome.verdicts.iter().map(|verdict| verdict.remaining).collect::<Vec<_>>(), [1, 9]);
    assert_eq!((used(&store, "new", &limit).await, used(&store, "newer", &limit).await), (9, 1));
}

#[tokio::test]
async fn a_key_that_another_session_holds_costs_its_batch_and_nothing_more() {
    let server = Postgres::start().await;
    let limit = limit(Algorithm::FixedWindow, 10, Unit::Year);
    let patient = open(&settings(&server.url()));
    ask(&patient, &[("held", limit, 1)]).await.unwrap();
    let store = open(&Settings { timeout_ms: 200, ..settings(&server.url()) });
    let other = server.client().await;
    other.batch_execute("BEGIN; SELECT FROM fluxlimit WHERE key <> '' FOR UPDATE").await.unwrap();
    let failed = ask(&store, &[("free", limit, 1), ("held", limit, 1)]).await;
    assert_eq!(failed, Err(StoreError::TimedOut));
    other.batch_execute("ROLLBACK").await.unwrap();
    let asked = async || ask(&store, &[("free", limit, 1), ("held", limit, 1)]).await.ok();
    eventually("an answer once the key is free", asked).await;
    let (free, held) = (used(&patient, "free", &limit).await, used(&patient, "held", &limit).await);
    assert_eq!(held, free + 1, "both keys were charged by the same requests");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_its_own_requests_only() {
    let server = Postgres::start().await;
    let store = open(&Settings { connections: 1, ..settings(&server.url()) });
    let limit = limit(Algorithm::FixedWindow, 10, Unit::Year);
    ask(&store, &[("broken", limit, 1)]).await.unwrap();
    server.run(r"UPDATE fluxlimit SET state = '\x09ff' WHERE key <> ''").await;
    let requests = [
        request(&[("good", limit, 1)]),
        request(&[("good", limit, 1), ("broken", limit, 1)]),
        request(&[("good", limit, 1)]),
    ];
    let asked: Vec<_> = requests.iter().map(|request| store.settle(request)).collect();
    let mut answers = Vec::new();
    for asked in asked {
        answers.push(asked.outcome().await);
    }
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let told = "the store holds or answered what cannot be read: a state of version 9, not 1";
    assert_eq!(answers[1].as_ref().unwrap_err().to_string(), told);
    assert_eq!(used(&store, "good", &limit).await, 2);
}

#[tokio::test]
async fn what_has_expired_is_removed_and_what_lives_is_not() {
    let server = Postgres::start().await;
    let clock = Arc::new(ManualClock::at(Timestamp::from_ms(START_MS)));
    let store = open_at(&Settings { sweep_ms: 1000, ..settings(&server.url()) }, &clock);
    let (short, long) =
        (limit(Algorithm::FixedWindow, 9, Unit::Second), limit(Algorithm::FixedWindow, 9, Unit::Year));
    let names: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    for names in names.chunks(50) {
        let charges: Vec<_> = names.iter().map(|name| (name.as_str(), short, 1)).collect();
        ask(&store, &charges).await.unwrap();
    }
    ask(&store, &[("long", long, 3)]).await.unwrap();
    let rows = "SELECT count(*) FROM fluxlimit WHERE key <> ''";
    // The slack is kept.
    clock.set(Timestamp::from_ms(START_MS + 50_000));
    assert_eq!(server.number(rows).await, 2001);
    let swept = async || {
        clock.advance_ms(10_000);
        (server.number(rows).await == 1).then_some(())
    };
    eventually("a sweep of all pages", swept).await;
    assert_eq!(used(&store, "long", &long).await, 3);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_charged_whole_or_not_at_all() {
    let server = Postgres::start().await;
    let store = open(&settings(&server.url()));
    let limit = limit(Algorithm::FixedWindow, 1_000_000, Unit::Year);
    for round in 0..200_u64 {
        let asked = store.settle(&request(&[("one", limit, 1), ("two", limit, 1)])).outcome();
        // From before it is sent to after its answer.
        let _ = tokio::time::timeout(Duration::from_micros(round * 20), asked).await;
    }
    ask(&store, &[("one", limit, 1), ("two", limit, 1)]).await.unwrap();
    let (one, two) = (used(&store, "one", &limit).await, used(&store, "two", &limit).await);
    assert_eq!(one, two);
    assert!((1..=201).contains(&one), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_replaced_inside_their_page() {
    let server = Postgres::start().await;
    let store = open(&settings(&server.url()));
    let limit = limit(Algorithm::TokenBucket, 1_000_000, Unit::Hour);
    let names: Vec<String> = (0..50).map(|number| format!("key {number}")).collect();
    for round in 0..1500 {
        ask(&store, &[(&names[round % 50], limit, 1)]).await.unwrap();
    }
    // A backend tells what it did when it ends.
    drop(store);
    let counts = "SELECT n_tup_hot_upd * 100 / greatest(n_tup_upd, 1), n_tup_upd \
                  FROM pg_stat_user_tables WHERE relname = 'fluxlimit'";
    let percent = eventually("the statistics", async || {
        let row = &server.rows(counts).await[0];
        (row.get::<_, i64>(1) > 1000).then(|| row.get::<_, i64>(0))
    });
    assert!(percent.await >= 90);
    assert!(server.number("SELECT pg_relation_size('fluxlimit')").await < 1 << 20);
}

#[tokio::test]
async fn a_store_without_its_database_says_so_and_works_once_it_is_there() {
    let nobody = format!("postgres://postgres@{}/postgres", free_address());
    let store = open(&settings(&nobody));
    let limit = limit(Algorithm::FixedWindow, 10, Unit::Year);
    let failed = ask(&store, &[("a", limit, 1)]).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable { .. })));

    let mut server = Postgres::start().await;
    let store = open(&settings(&server.url()));
    ask(&store, &[("a", limit, 1)]).await.unwrap();
    server.kill();
    let gone = async || ask(&store, &[("a", limit, 1)]).await.err();
    eventually("an error", gone).await;
    server.start_again().await;
    let back = async || ask(&store, &[("a", limit, 1)]).await.ok();
    let outcome = eventually("an answer", back).await;
    assert!(outcome.verdicts[0].remaining >= 6, "what was answered is still counted, and hardly more");
    store.ping().await.unwrap();
}

#[tokio::test]
async fn the_role_that_serves_can_neither_make_nor_drop_a_table() {
    let server = Postgres::start().await;
    let owner = settings(&server.url());
    fluxlimit::store::postgres::migrate(&owner, false).await.unwrap();
    server
        .run(
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE serving LOGIN; \
             ALTER ROLE serving SET default_transaction_isolation = 'serializable'; \
             GRANT USAGE ON SCHEMA public TO serving; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON fluxlimit TO serving",
        )
        .await;
    let settings =
        Settings { migrations: Migrations::Check, sweep_ms: 1, ..settings(&server.url_of("serving")) };
    let store = open(&settings);
    let limit = limit(Algorithm::FixedWindow, 10, Unit::Year);
    server
        .run("INSERT INTO fluxlimit SELECT decode(md5(i::text), 'hex'), '', 0 FROM generate_series(1, 9) i")
        .await;
    ask(&store, &[("a", limit, 1)]).await.unwrap();
    store.ping().await.unwrap();
    let rows = "SELECT count(*) FROM fluxlimit WHERE key <> ''";
    eventually("a sweep", async || (server.number(rows).await == 1).then_some(())).await;
    let serving = server.client_of("serving").await;
    for forbidden in ["CREATE TABLE mine (a int)", "DROP TABLE fluxlimit", "TRUNCATE fluxlimit"] {
        assert!(serving.batch_execute(forbidden).await.is_err(), "{forbidden}");
    }
}
