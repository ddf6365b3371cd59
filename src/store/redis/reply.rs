//! What the script answers, checked to the last byte.

use redis::Value;
use smallvec::SmallVec;

use super::work::Work;
use crate::algorithm::{MAX_DURATION_MS, Verdict};
use crate::engine::Outcome;
use crate::store::StoreError;

const PASSES: u8 = 0;
const REFUSED: u8 = 1;
const OTHER_VERSION: u8 = 2;
const OTHER_TYPE: u8 = 3;

/// The answer to one piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// What it came to.
    pub(super) outcome: Outcome,
    /// What was booked, per charge; empty unless it was wanted.
    pub(super) booked: SmallVec<[Booked; 2]>,
    /// The verdicts that it would have come to had the request been refused elsewhere; empty unless what was
    /// booked was wanted.
    pub(super) if_refused: SmallVec<[Verdict; 2]>,
}

/// What one charge booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Booked {
    /// How many hits; negative were given back, 0: nothing was booked.
    pub(super) hits: i64,
    /// Where: the end of their slot in a sliding window, the start of a fixed window, in milliseconds since the
    /// Unix epoch; 0 for a bucket.
    pub(super) place_ms: u64,
}

/// The answers to `works`, in order. An answer of another shape is no answer to any of them.
pub(super) fn read<'a>(
    value: &Value,
    works: impl ExactSizeIterator<Item = &'a Work>,
) -> Vec<Result<Answer, StoreError>> {
    let len = works.len();
    let answers = match value {
        Value::BulkString(bytes) => read_all(bytes, works),
        _ => None,
    };
    answers.unwrap_or_else(|| {
        let reason = "the answer of the script has another shape".to_owned();
        vec![Err(StoreError::Unreadable { reason }); len]
    })
}

fn read_all<'a>(
    mut bytes: &[u8],
    works: impl ExactSizeIterator<Item = &'a Work>,
) -> Option<Vec<Result<Answer, StoreError>>> {
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        answers.push(read_one(&mut bytes, work)?);
    }
    bytes.is_empty().then_some(answers)
}

fn read_one(bytes: &mut &[u8], work: &Work) -> Option<Result<Answer, StoreError>> {
    let [fate] = take(bytes)?;
    match fate {
        PASSES | REFUSED => {}
        OTHER_VERSION | OTHER_TYPE => return unreadable(bytes, work, fate).map(Err),
        _ => return None,
    }
    let mut answer = Answer::default();
    answer.outcome.refused = fate == REFUSED;
    answer.outcome.verdicts.reserve(work.verdicts);
    for _ in 0..work.verdicts {
        answer.outcome.verdicts.push(verdict(bytes)?);
        if work.wants_booked {
            let (hits, place_ms) = (i64::from_be_bytes(take(bytes)?), u64::from_be_bytes(take(bytes)?));
            answer.booked.push(Booked { hits, place_ms });
        }
    }
    if work.wants_booked {
        answer.if_refused = match fate {
            REFUSED => answer.outcome.verdicts.clone(),
            _ => (0..work.verdicts).map(|_| verdict(bytes)).collect::<Option<_>>()?,
        };
    }
    Some(Ok(answer))
}

fn unreadable(bytes: &mut &[u8], work: &Work, problem: u8) -> Option<StoreError> {
    let number = u16::from_be_bytes(take(bytes)?);
    let key = work.keys().nth(usize::from(number))?.escape_ascii();
    let problem = match problem {
        OTHER_VERSION => "holds a state of another version of fluxlimit",
        _ => "is of another type",
    };
    Some(StoreError::Unreadable { reason: format!("`{key}` {problem}") })
}

fn verdict(bytes: &mut &[u8]) -> Option<Verdict> {
    let allowed = match take(bytes)? {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let (available, remaining) = (number(bytes)?, number(bytes)?);
    let retry_after_ms = match number(bytes)? {
        NEVER => None,
        ms => Some(ms),
    };
    let reset_after_ms = number(bytes)?;
    let bounded = retry_after_ms.unwrap_or(0).max(reset_after_ms) <= MAX_DURATION_MS;
    let verdict = Verdict { allowed, available, remaining, retry_after_ms, reset_after_ms };
    (bounded && (!allowed || retry_after_ms == Some(0))).then_some(verdict)
}

/// −1 in six bytes.
const NEVER: u64 = (1 << 48) - 1;

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let six: [u8; 6] = take(bytes)?;
    Some(six.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::engine::{Charge, Group, Identity, Settlement};
    use crate::limit::{Algorithm, Limit, LimitSpec, Unit};

    fn work(charges: usize, wants_booked: bool) -> Work {
        let limit = Limit::new(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Second)).unwrap();
        let key = Identity::of(b"d", 0).into_key(&limit, false);
        let charge = Charge { key, limit, hits: 1, shadow: false, mark: false, limit_id: 0 };
        let settlement = Settlement::new(
            vec![charge; charges].into(),
            smallvec![Group { charges, quota: false, tag: None }],
        );
        Work::settle(b"p:", &[], &settlement, wants_booked)
    }

    const ALLOWED: [u8; 25] = [1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 232];

    fn answer(parts: &[&[u8]]) -> Value {
        Value::BulkString(parts.concat())
    }

    #[test]
    fn answers_are_read_in_order_and_a_problem_names_its_key() {
        let works = [work(1, false), work(1, true), work(0, false)];
        let booked = [[0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 9]].concat();
        let problem: &[u8] = &[OTHER_TYPE, 0, 0];
        let mut unbooked = ALLOWED;
        unbooked[12] = 5;
        let parts = [problem, &[PASSES], &ALLOWED, &booked, &unbooked, &[REFUSED]];
        let answers = read(&answer(&parts), works.iter());
        let Err(StoreError::Unreadable { reason }) = &answers[0] else { panic!("{answers:?}") };
        assert!(reason.starts_with("`p:") && reason.ends_with("is of another type"), "{reason}");
        let Ok(Answer { outcome, booked, if_refused }) = &answers[1] else { panic!("{answers:?}") };
        let verdict = Verdict {
            allowed: true,
            available: 5,
            remaining: 4,
            retry_after_ms: Some(0),
            reset_after_ms: 1000,
        };
        assert_eq!(outcome.verdicts[..], [verdict]);
        assert_eq!(booked[..], [Booked { hits: 1, place_ms: 9 }]);
        assert_eq!(if_refused[..], [Verdict { remaining: 5, ..verdict }]);
        assert!(answers[2].as_ref().unwrap().outcome.refused);
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_and_no_verdict() {
        let works = [work(1, false), work(1, false)];
        let mut never = ALLOWED;
        never[13..19].fill(0xff);
        let mut neither = ALLOWED;
        neither[0] = 2;
        for value in [
            Value::Nil,
            Value::Okay,
            answer(&[]),
            answer(&[&[PASSES], &ALLOWED, &[PASSES]]),
            answer(&[&[PASSES], &ALLOWED, &[PASSES], &ALLOWED, &[0]]),
            answer(&[&[PASSES], &ALLOWED, &[PASSES], &never]),
            answer(&[&[PASSES], &ALLOWED, &[PASSES], &neither]),
            answer(&[&[PASSES], &ALLOWED, &[OTHER_TYPE, 0, 7]]),
            answer(&[&[PASSES], &ALLOWED, &[9], &ALLOWED]),
        ] {
            let answers = read(&value, works.iter());
            assert!(
                answers.iter().all(|answer| matches!(answer, Err(StoreError::Unreadable { .. }))),
                "{value:?}"
            );
            assert_eq!(answers.len(), 2);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(0..6u8, 0..120)) {
            let works = [work(1, false), work(2, true)];
            prop_assert_eq!(read(&Value::BulkString(bytes), works.iter()).len(), 2);
        }
    }
}
