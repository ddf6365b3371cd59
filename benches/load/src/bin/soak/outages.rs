//! When a store was away, so that answers can be held against it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The outages of one store, each from before it is killed until its server has found it again and some time more.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<Vec<Outage>>);

#[derive(Debug)]
struct Outage {
    from: Instant,
    until: Option<Instant>,
}

impl Outages {
    /// The store is about to be killed.
    pub(crate) fn begin(&self) {
        self.with(|outages| outages.push(Outage { from: Instant::now(), until: None }));
    }

    /// From now on every answer has to be the store's.
    pub(crate) fn end(&self) {
        self.with(|outages| {
            if let Some(last) = outages.last_mut() {
                last.until = Some(Instant::now());
            }
        });
    }

    /// How many there were that are over.
    pub(crate) fn over(&self) -> usize {
        self.with(|outages| outages.iter().filter(|outage| outage.until.is_some()).count())
    }

    /// Whether one of them has a moment in common with a call.
    pub(crate) fn touch(&self, started: Instant, ended: Instant) -> bool {
        let touches =
            |outage: &Outage| outage.from <= ended && outage.until.is_none_or(|until| until >= started);
        self.with(|outages| outages.iter().any(touches))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Outage>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[test]
fn a_call_is_excused_only_by_an_outage_that_it_has_seen() {
    let outages = Outages::default();
    let before = Instant::now();
    assert!(!outages.touch(before, Instant::now()));
    let early = Instant::now();
    outages.begin();
    assert!(!outages.touch(before, early), "it was over before");
    assert!(outages.touch(before, Instant::now()) && outages.touch(Instant::now(), Instant::now()));
    outages.end();
    assert!(outages.touch(before, Instant::now()), "it was asked before");
    assert!(!outages.touch(Instant::now(), Instant::now()) && outages.over() == 1);
}
