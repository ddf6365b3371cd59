//! A stored state, read back: a format version, when its key expires, then the numbers, as `settle.lua` says.

use crate::algorithm::{FixedWindow, LeakyBucket, SlidingWindow, Slot, State, TokenBucket};
use crate::limit::Algorithm;

const VERSION: u8 = 1;
/// Bytes of the time at which the key expires.
const EXPIRES: usize = 6;

/// The state of that algorithm in `bytes`; `None` if it is none of this version.
pub(super) fn decode(algorithm: Algorithm, bytes: &[u8]) -> Option<State> {
    let (VERSION, numbers) = bytes.split_first().map(|(version, numbers)| (*version, numbers))? else {
        return None;
    };
    let (numbers, rest) = numbers.split_at_checked(EXPIRES)?.1.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|number| i64::from_be_bytes(*number));
    let (own, rest_is_empty) = (u64::try_from(numbers.next()?).ok()?, rest.is_empty());
    let state = match algorithm {
        Algorithm::TokenBucket => State::TokenBucket(TokenBucket { level: numbers.next()?, at_tick: own }),
        Algorithm::LeakyBucket => State::LeakyBucket(LeakyBucket { water: numbers.next()?, at_tick: own }),
        Algorithm::FixedWindow => {
            let used = u64::try_from(numbers.next()?).ok()?;
            State::FixedWindow(FixedWindow { start_ms: own, used })
        }
        Algorithm::SlidingWindow => {
            let mut slots = Vec::with_capacity(numbers.len() / 2);
            while let Some(end_ms) = numbers.next() {
                let (end_ms, hits) = (u64::try_from(end_ms).ok()?, u64::try_from(numbers.next()?).ok()?);
                slots.push(Slot { end_ms, hits });
            }
            State::SlidingWindow(SlidingWindow { at_ms: own, slots })
        }
    };
    (rest_is_empty && numbers.next().is_none()).then_some(state)
}
