//! Rules, the memory store and a clock together, without a network: requests in, decisions out.

use std::sync::Arc;

use fluxlimit::engine::{AnswerSettings, Code, Decision, Outcome, answer};
use fluxlimit::request::{Descriptor, Entry, Request};
use fluxlimit::rules::file::Node;
use fluxlimit::rules::{Modes, RuleSet};
use fluxlimit::store::memory::{MemoryStore, Settings};
use fluxlimit::store::{Settling, Store};
use fluxlimit::time::{ManualClock, Timestamp};

use crate::trees::file;

/// A full hour since the epoch, and a full day.
pub(crate) const FULL_DAY_MS: u64 = 19_675 * 86_400_000;

/// A server for tests.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) rules: RuleSet,
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) settings: AnswerSettings,
    pub(crate) modes: Modes,
}

impl Served {
    /// Serves those rules for the domain `d`.
    pub(crate) fn new(tree: Vec<Node>) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_ms(FULL_DAY_MS)));
        Self {
            rules: RuleSet::compile(&[file("d", tree)]),
            store: MemoryStore::new(Settings::default(), clock.clone()),
            clock,
            settings: AnswerSettings::default(),
            modes: Modes::default(),
        }
    }

    pub(crate) fn decide(&self, request: &Request) -> Decision {
        let question = self.rules.question(request, self.modes);
        let outcome = if question.settlement.is_empty() {
            Outcome::default()
        } else {
            match self.store.settle(&question.settlement) {
                Settling::Ready(outcome) => outcome.expect("memory always answers"),
                Settling::Later(_) => unreachable!("memory never waits"),
            }
        };
        answer(request, &question, &outcome, &self.settings)
    }

    /// Decides on descriptors of one entry each, written `key hits`.
    pub(crate) fn ask(&self, descriptors: &str) -> Decision {
        self.decide(&request(descriptors))
    }

    /// [`Self::ask`], and only what the decision says: `OVER: OK 5 of a, 3600 s / OVER 0 of 10, 7 s`.
    pub(crate) fn told(&self, descriptors: &str) -> String {
        let decision = self.ask(descriptors);
        let statuses = decision.statuses.iter().map(|status| {
            let of = match (&status.limit, status.reset_s) {
                (Some(limit), Some(reset_s)) => {
                    let count = limit.requests_per_unit.to_string();
                    format!(" of {}, {reset_s} s", limit.name.as_deref().unwrap_or(&count))
                }
                (None, None) => String::new(),
                _ => panic!("a limit without a reset or the reverse: {status:?}"),
            };
            format!("{} {}{of}", code(status.code), status.remaining)
        });
        format!("{}: {}", code(decision.code), statuses.collect::<Vec<_>>().join(" / "))
    }
}

/// A request of one entry per descriptor, written `key hits / key hits`; without hits it is one.
pub(crate) fn request(descriptors: &str) -> Request {
    let descriptor = |text: &str| {
        let (key, hits) = text.split_once(' ').unwrap_or((text, "1"));
        let hits: i64 = hits.parse().expect("hits");
        Descriptor {
            hits_addend: Some(hits.unsigned_abs()),
            is_negative_hits: hits < 0,
            ..Descriptor::of([Entry::new(key.as_bytes().to_vec(), "v")])
        }
    };
    let descriptors = descriptors.split(" / ").map(descriptor).collect();
    Request { domain: "d".into(), descriptors, hits_addend: 0 }
}

fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER",
    }
}
