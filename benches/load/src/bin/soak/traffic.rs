//! What servers are asked, and which answers are right.

use crate::rules::Policy;
use fluxlimit_load::http2::Outcome;
use fluxlimit_load::message::{Code, framed, put_bytes, put_number};

/// `INVALID_ARGUMENT` and `UNAVAILABLE` of gRPC.
const INVALID: u8 = 3;
const UNAVAILABLE: u8 = 14;

/// Keys that come again and again.
const KNOWN: u64 = 500;
/// The keys of limits that are low.
const LIMITED: u64 = 3;
/// `HOUR` of a limit in a request.
const HOUR: u64 = 3;

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key that comes again and again, far below its limit.
    Known,
    /// Keys that nobody has seen before, one kind for each algorithm.
    FreshToken,
    FreshLeaky,
    FreshFixed,
    FreshSliding,
    /// More than the limit lets pass.
    Limited,
    /// A limit that lets nothing pass.
    Refused,
    /// Three descriptors, one of them with a new key.
    Several,
    /// More hits at once than the limit ever lets pass.
    Costly,
    /// Hits that are given back.
    GiveBack,
    /// A limit that comes with the request.
    Override,
    /// A limit that every second version of the rules sets to 0.
    Changing,
    /// No rule, and always another value.
    Unmatched,
    /// Domains without rules, always another.
    Stranger,
    /// No protobuf.
    Garbage,
    /// No domain.
    Senseless,
}

/// How often each kind comes among so many.
const MIX: [(Kind, u64); 16] = [
    (Kind::Known, 14),
    (Kind::FreshToken, 10),
    (Kind::FreshLeaky, 10),
    (Kind::FreshFixed, 10),
    (Kind::FreshSliding, 10),
    (Kind::Limited, 12),
    (Kind::Refused, 5),
    (Kind::Several, 7),
    (Kind::Costly, 4),
    (Kind::GiveBack, 4),
    (Kind::Override, 4),
    (Kind::Changing, 4),
    (Kind::Unmatched, 2),
    (Kind::Stranger, 2),
    (Kind::Garbage, 1),
    (Kind::Senseless, 1),
];

/// Which part of all requests makes a new key.
pub(crate) const FRESH_SHARE: f64 = 0.47;

/// Keys that are there whatever comes: those of the three domains that come again and again, with some to spare.
pub(crate) const OTHER_KEYS: f64 = 3.0 * (2 * KNOWN + 100) as f64;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Allowed,
    Refused,
    Status(u8),
    /// Not even a status.
    Broken(&'static str),
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Decided(Code::Allowed) => Self::Allowed,
            Outcome::Decided(Code::Refused) => Self::Refused,
            Outcome::Status(status) => Self::Status(status),
            Outcome::Failed(reason) => Self::Broken(reason),
        }
    }
}

impl Kind {
    /// Whether this is right while the store answers.
    pub(crate) fn permits(self, answer: Answer) -> bool {
        match self {
            Self::Limited | Self::Changing => matches!(answer, Answer::Allowed | Answer::Refused),
            Self::Refused | Self::Costly => answer == Answer::Refused,
            Self::Garbage | Self::Senseless => answer == Answer::Status(INVALID),
            _ => answer == Answer::Allowed,
        }
    }

    /// Whether this may be the policy's answer while the store is away.
    pub(crate) fn permits_by(self, policy: Policy, answer: Answer) -> bool {
        let asks_store = !matches!(self, Self::Unmatched | Self::Stranger | Self::Garbage | Self::Senseless);
        asks_store
            && answer
                == match policy {
                    Policy::Error => Answer::Status(UNAVAILABLE),
                    Policy::Allow => Answer::Allowed,
                    Policy::Deny => Answer::Refused,
                }
    }
}

/// A request, and what is known of it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) kind: Kind,
    pub(crate) policy: Policy,
    /// With its prefix.
    pub(crate) body: Vec<u8>,
}

/// An endless mix, the same in every run.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    asked: u64,
}

impl Traffic {
    pub(crate) fn next(&mut self) -> Question {
        let number = self.asked;
        self.asked += 1;
        let round: u64 = MIX.iter().map(|(_, share)| share).sum();
        // 37 has no divisor in common with the 100 of a round, so each of its places comes once.
        let mut place = number * 37 % round;
        let is_here = |(_, share): &&(Kind, u64)| {
            let is_here = place < *share;
            place = place.saturating_sub(*share);
            is_here
        };
        let kind = MIX.iter().find(is_here).map_or(Kind::Known, |(kind, _)| *kind);
        // Domains take turns; three rounds bring every kind in all of them.
        let policy = Policy::ALL[(number % 3) as usize];
        Question { kind, policy, body: framed(&message(kind, policy, number)) }
    }
}

fn message(kind: Kind, policy: Policy, number: u64) -> Vec<u8> {
    let domain = policy.domain();
    let of = |tenant: &str, user: u64| descriptor(&[("tenant", tenant), ("user", &format!("u{user}"))]);
    let known = number % KNOWN;
    let low = number % LIMITED;
    match kind {
        Kind::Known => request(&domain, &[of("known", known)]),
        Kind::FreshToken => request(&domain, &[of("fresh-token", number)]),
        Kind::FreshLeaky => request(&domain, &[of("fresh-leaky", number)]),
        Kind::FreshFixed => request(&domain, &[of("fresh-fixed", number)]),
        Kind::FreshSliding => request(&domain, &[of("fresh-sliding", number)]),
        Kind::Limited => request(&domain, &[of("limited", low)]),
        Kind::Refused => request(&domain, &[of("refused", low)]),
        Kind::Several => {
            request(&domain, &[of("known", known), of("fresh-token", number), of("shared", low)])
        }
        Kind::Costly => {
            let mut message = request(&domain, &[of("costly", low)]);
            put_number(&mut message, 3, 11);
            message
        }
        Kind::GiveBack => {
            let mut descriptor = of("known", known);
            let mut hits = Vec::new();
            put_number(&mut hits, 1, 3);
            put_bytes(&mut descriptor, 3, &hits);
            put_number(&mut descriptor, 4, 1);
            request(&domain, &[descriptor])
        }
        Kind::Override => {
            let mut descriptor = descriptor(&[("own", &format!("u{known}"))]);
            let mut limit = Vec::new();
            put_number(&mut limit, 1, 1_000_000_000);
            put_number(&mut limit, 2, HOUR);
            put_bytes(&mut descriptor, 2, &limit);
            request(&domain, &[descriptor])
        }
        Kind::Changing => request(&domain, &[of("changing", low)]),
        Kind::Unmatched => request(&domain, &[descriptor(&[("nobody", &format!("u{number}"))])]),
        Kind::Stranger => request(&format!("strange-{number}"), &[of("known", known)]),
        // A field of 127 bytes of which three are there.
        Kind::Garbage => vec![0x0a, 0x7f, 1, 2, 3],
        Kind::Senseless => request("", &[of("known", known)]),
    }
}

fn request(domain: &str, descriptors: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, domain.as_bytes());
    for descriptor in descriptors {
        put_bytes(&mut message, 2, descriptor);
    }
    message
}

fn descriptor(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut descriptor = Vec::new();
    for (key, value) in entries {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        put_bytes(&mut descriptor, 1, &entry);
    }
    descriptor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rounds_bring_every_kind_in_every_domain_as_often_as_it_should() {
        let mut traffic = Traffic::default();
        let questions: Vec<_> = (0..300).map(|_| traffic.next()).collect();
        for (kind, share) in MIX {
            for policy in Policy::ALL {
                let is_it = |question: &&Question| question.kind == kind && question.policy == policy;
                assert_eq!(questions.iter().filter(is_it).count() as u64, share, "{kind:?} {policy:?}");
            }
        }
        let fresh =
            MIX.iter().filter(|(kind, _)| *kind == Kind::Several || format!("{kind:?}").starts_with("Fresh"));
        let fresh: u64 = fresh.map(|(_, share)| share).sum();
        assert!((fresh as f64 / 100.0 - FRESH_SHARE).abs() < 1e-9);
    }

    #[test]
    fn an_answer_is_explained_by_the_limit_or_by_the_policy_and_by_nothing_else() {
        assert!(Kind::Known.permits(Answer::Allowed) && !Kind::Known.permits(Answer::Refused));
        assert!(!Kind::Known.permits(Answer::Status(UNAVAILABLE)));
        assert!(Kind::Known.permits_by(Policy::Error, Answer::Status(UNAVAILABLE)));
        assert!(Kind::Known.permits_by(Policy::Deny, Answer::Refused));
        assert!(!Kind::Known.permits_by(Policy::Allow, Answer::Refused));
        assert!(!Kind::Known.permits_by(Policy::Error, Answer::Status(4)));
        assert!(!Kind::Refused.permits(Answer::Allowed));
        assert!(Kind::Refused.permits_by(Policy::Allow, Answer::Allowed));
        assert!(!Kind::Unmatched.permits_by(Policy::Error, Answer::Status(UNAVAILABLE)));
        assert!(Kind::Garbage.permits(Answer::Status(INVALID)) && !Kind::Garbage.permits(Answer::Allowed));
        assert!(!Kind::Limited.permits(Answer::Broken("reset")));
    }
}
