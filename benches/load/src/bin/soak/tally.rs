//! What one server has answered, and what was wrong with it.

use crate::outages::Outages;
use crate::traffic::{Answer, Kind, Question};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most complaints that are told; what follows is usually more of the same.
const MOST_COMPLAINTS: usize = 10;

/// Counts answers, and holds each against what is right.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

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
    /// An answer has come.
    pub(crate) fn answered(&self, asked: &Question, answer: Answer, started: Instant, outages: &Outages) {
        let ended = Instant::now();
        let mut counts = self.lock();
        match answer {
            Answer::Allowed => counts.allowed += 1,
            Answer::Refused => counts.refused += 1,
            Answer::Status(_) | Answer::Broken(_) => counts.errors += 1,
        }
        let Question { kind, policy, .. } = asked;
        if !kind.permits(answer) {
            if outages.touch(started, ended) && kind.permits_by(*policy, answer) {
                counts.by_policy += 1;
                return;
            }
            let away = if outages.touch(started, ended) {
                "while its store was away"
            } else {
                "although its store answers"
            };
            let took_ms = (ended - started).as_millis();
            let domain = policy.domain();
            drop(counts);
            self.complain(format!(
                "a request of kind {kind:?} in {domain} got {answer:?} after {took_ms} ms, {away}"
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Policy;

    fn told(kind: Kind, policy: Policy, answer: Answer, is_away: bool) -> Counts {
        let (tally, outages) = (Tally::default(), Outages::default());
        if is_away {
            outages.begin();
        }
        let asked = Question { kind, policy, body: Vec::new() };
        tally.answered(&asked, answer, Instant::now(), &outages);
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
