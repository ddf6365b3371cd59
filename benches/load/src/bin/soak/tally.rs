//! What one server has answered, and what was wrong with it.

use crate::outages::Outages;
use crate::stalls::Stalls;
use crate::traffic::{Answer, Kind, Question};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most complaints that are told; what follows is usually more of the same.
const MOST_COMPLAINTS: usize = 10;

/// Counts answers, and holds each against what is right.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
    /// What explains an answer that its limit does not give.
    outages: Arc<Outages>,
    stalls: Arc<Stalls>,
}

/// How many answers of which sort there were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) allowed: u64,
    pub(crate) refused: u64,
    /// Any error.
    pub(crate) errors: u64,
    /// Of all these, what only a policy explains.
    pub(crate) by_policy: u64,
    /// What was allowed and what was refused of the limits of which both should come.
    pub(crate) limited: [u64; 2],
    pub(crate) changing: [u64; 2],
    pub(crate) complaints: Vec<String>,
}

impl Counts {
    pub(crate) fn all(&self) -> u64 {
        self.allowed + self.refused + self.errors
    }
}

impl Tally {
    pub(crate) fn new(outages: Arc<Outages>, stalls: Arc<Stalls>) -> Self {
        Self { counts: Mutex::default(), outages, stalls }
    }

    /// An answer has come.
    pub(crate) fn answered(&self, asked: &Question, answer: Answer, started: Instant) {
        let ended = Instant::now();
        let mut counts = self.lock();
        match answer {
            Answer::Allowed => counts.allowed += 1,
            Answer::Refused => counts.refused += 1,
            Answer::Status(_) | Answer::Broken(_) => counts.errors += 1,
        }
        let Question { kind, policy, .. } = asked;
        if !kind.permits(answer) {
            // Waits for the watch of stalls, and nobody else has to.
            drop(counts);
            let was_away = self.outages.touch(started, ended);
            let is_excused = was_away || self.stalls.excuse(started, ended);
            if is_excused && kind.permits_by(*policy, answer) {
                self.lock().by_policy += 1;
                return;
            }
            let when = if was_away { "while its store was away" } else { "although its store answers" };
            let (took_ms, domain) = ((ended - started).as_millis(), policy.domain());
            self.complain(format!(
                "a request of kind {kind:?} in {domain} got {answer:?} after {took_ms} ms, {when}"
            ));
            return;
        }
        let both = match kind {
            Kind::Limited => &mut counts.limited,
            Kind::Changing => &mut counts.changing,
            _ => return,
        };
        both[usize::from(answer == Answer::Refused)] += 1;
    }

    pub(crate) fn complain(&self, complaint: String) {
        let mut counts = self.lock();
        if counts.complaints.len() < MOST_COMPLAINTS {
            counts.complaints.push(complaint);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Policy;

    fn told(kind: Kind, policy: Policy, answer: Answer, is_away: bool) -> Counts {
        let outages = Arc::new(Outages::default());
        let tally = Tally::new(outages.clone(), Arc::default());
        if is_away {
            outages.begin();
        }
        let asked = Question { kind, policy, body: Vec::new() };
        tally.answered(&asked, answer, Instant::now());
        tally.counts()
    }

    #[test]
    fn an_error_is_explained_by_an_outage_and_a_policy_together() {
        let error = Answer::Status(14);
        let explained = told(Kind::Known, Policy::Error, error, true);
        assert_eq!((explained.by_policy, explained.errors, explained.complaints.len()), (1, 1, 0));
        let complaints = told(Kind::Known, Policy::Error, error, false).complaints;
        assert!(complaints[0].contains("Known in soak-error got Status(14)"), "{complaints:?}");
        assert_eq!(told(Kind::Known, Policy::Allow, error, true).complaints.len(), 1);
        assert_eq!(told(Kind::Limited, Policy::Allow, Answer::Refused, false).limited, [0, 1]);
    }
}
