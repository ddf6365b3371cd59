//! A store that is far away and does what it is told, with a limiter and a supervisor on it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fluxlimit::engine::Settlement;
use fluxlimit::health::Health;
use fluxlimit::limiter::breaker;
use fluxlimit::limiter::{Limiter, Settings, StoreWatch};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Request};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::{LoadOptions, Source, load};
use fluxlimit::server::Supervisor;
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::store::queue::Reply;
use fluxlimit::store::{Observer, RoundTrip, Settling, Store, StoreError};
use fluxlimit::time::SystemClock;
use parking_lot::Mutex;

/// What the store gives a request before it gives up, and how long a ping may take.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(100);

/// What the store does when it is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood {
    /// Answers as the memory store does.
    Answers,
    /// Swallows everything: each exchange ends after [`TIMEOUT`].
    Silent,
    /// Says so at once.
    Fails(StoreError),
    /// Its task, or its ping, ends in a panic.
    Panics,
}

/// A store that is far away.
#[derive(Debug)]
pub(crate) struct FakeStore {
    mood: Mutex<Mood>,
    memory: MemoryStore,
    observer: Arc<StoreWatch>,
    settled: AtomicUsize,
    pinged: AtomicUsize,
    /// Callers that had gone when their exchange ended.
    unwanted: Arc<AtomicUsize>,
}

impl FakeStore {
    pub(crate) fn become_(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// How often it was asked.
    pub(crate) fn settled(&self) -> usize {
        self.settled.load(Ordering::SeqCst)
    }

    /// How often it was pinged.
    pub(crate) fn pinged(&self) -> usize {
        self.pinged.load(Ordering::SeqCst)
    }

    /// How many callers had gone when their exchange ended.
    pub(crate) fn unwanted(&self) -> usize {
        self.unwanted.load(Ordering::SeqCst)
    }
}

impl Store for FakeStore {
    fn settle(&self, settlement: &Settlement) -> Settling {
        self.settled.fetch_add(1, Ordering::SeqCst);
        let (reply, ticket) = Reply::new();
        let (observer, unwanted) = (self.observer.clone(), self.unwanted.clone());
        let ended = move |took, failure: Option<&StoreError>| {
            observer.ended(&RoundTrip { took, settlements: 1, failure });
        };
        match self.mood.lock().clone() {
            Mood::Answers => {
                let Settling::Ready(outcome) = self.memory.settle(settlement) else { unreachable!() };
                ended(Duration::ZERO, None);
                reply.send(outcome);
            }
            Mood::Fails(error) => {
                ended(Duration::ZERO, Some(&error));
                reply.send(Err(error));
            }
            Mood::Silent => {
                tokio::spawn(async move {
                    tokio::time::sleep(TIMEOUT).await;
                    unwanted.fetch_add(usize::from(reply.is_unwanted()), Ordering::SeqCst);
                    ended(TIMEOUT, Some(&StoreError::TimedOut));
                    reply.send(Err(StoreError::TimedOut));
                });
            }
            Mood::Panics => {
                tokio::spawn(async move {
                    let _reply = reply;
                    panic!("the store's task is broken");
                });
            }
        }
        Settling::Later(ticket)
    }

    fn ping(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + '_>> {
        self.pinged.fetch_add(1, Ordering::SeqCst);
        let mood = self.mood.lock().clone();
        Box::pin(async move {
            match mood {
                Mood::Answers => Ok(()),
                Mood::Silent => std::future::pending().await,
                Mood::Fails(error) => Err(error),
                Mood::Panics => panic!("the ping is broken"),
            }
        })
    }
}

/// A limiter on a store that answers, under some rules.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) watch: Arc<StoreWatch>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Site {
    /// With the rules of one file.
    pub(crate) fn new(rules: &str, settings: Settings) -> Self {
        let metrics = Arc::new(Metrics::new());
        let watch = Arc::new(StoreWatch::new(&metrics, breaker::Settings::default()));
        let store = Arc::new(FakeStore {
            mood: Mutex::new(Mood::Answers),
            memory: MemoryStore::new(memory::Settings::default(), Arc::new(SystemClock)),
            observer: watch.clone(),
            settled: AtomicUsize::new(0),
            pinged: AtomicUsize::new(0),
            unwanted: Arc::default(),
        });
        let limiter = Limiter::new(store.clone(), metrics.clone(), settings).with_watch(watch.clone());
        let source = Source { name: "rules.yaml".to_owned(), text: rules.as_bytes().to_vec() };
        let loaded = load(&[source], &LoadOptions::default());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
        let health = Arc::new(Health::new());
        health.set_rules_loaded(true);
        Self { limiter: Arc::new(limiter), store, watch, health, metrics }
    }

    /// What pings its store.
    pub(crate) fn supervisor(&self, ready_follows_store: bool) -> Supervisor {
        Supervisor {
            store: self.store.clone(),
            watch: self.watch.clone(),
            health: self.health.clone(),
            timeout_ms: 100,
            ready_follows_store,
        }
    }

    /// Whether `/metrics` has the line.
    pub(crate) fn shows(&self, line: &str) -> bool {
        self.metrics.text().lines().any(|found| found == line)
    }
}

/// A request of so many hits in the domain `d`: for each word, a descriptor with that entry.
pub(crate) fn request(descriptors: &str, hits: i64) -> Request {
    let descriptor = |entry: &str| {
        let (key, value) = entry.split_once('=').unwrap_or((entry, "x"));
        Descriptor {
            hits_addend: Some(hits.unsigned_abs()),
            is_negative_hits: hits < 0,
            ..Descriptor::of([Entry::new(key.to_owned(), value.to_owned())])
        }
    };
    let descriptors = descriptors.split_whitespace().map(descriptor).collect();
    Request { domain: "d".into(), descriptors, hits_addend: 0 }
}
