//! The bytes that a state is kept as: a version, the algorithm, and its numbers.
//!
//! Numbers are LEB128, seven bits a byte with the lowest first; signed ones are zigzag-coded before. The slots
//! of a sliding window are kept as differences, so that a full window needs a quarter of its plain size.

use crate::algorithm::{FixedWindow, LeakyBucket, SlidingWindow, Slot, State, TokenBucket};

/// The version of this format.
const VERSION: u8 = 1;

const TOKEN_BUCKET: u8 = 0;
const LEAKY_BUCKET: u8 = 1;
const FIXED_WINDOW: u8 = 2;
const SLIDING_WINDOW: u8 = 3;

/// Largest amount that is believed: no state holds more, and arithmetic on it cannot overflow.
const MAX_BELIEVED: u64 = 1 << 54;

/// Appends the bytes of `state`.
pub(super) fn encode(state: &State, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    match state {
        State::TokenBucket(bucket) => {
            bytes.push(TOKEN_BUCKET);
            put_signed(bytes, bucket.level);
            put(bytes, bucket.at_tick);
        }
        State::LeakyBucket(bucket) => {
            bytes.push(LEAKY_BUCKET);
            put_signed(bytes, bucket.water);
            put(bytes, bucket.at_tick);
        }
        State::FixedWindow(window) => {
            bytes.push(FIXED_WINDOW);
            put(bytes, window.start_ms);
            put(bytes, window.used);
        }
        State::SlidingWindow(window) => {
            bytes.push(SLIDING_WINDOW);
            put(bytes, window.at_ms);
            let mut before_ms = 0;
            for slot in &window.slots {
                // Slots are in order of time, so the difference is never negative.
                put(bytes, slot.end_ms.wrapping_sub(before_ms));
                put(bytes, slot.hits);
                before_ms = slot.end_ms;
            }
        }
    }
}

/// The state that `bytes` hold.
///
/// # Errors
/// What is wrong with them. They are never taken for no state: that would hand out a new burst.
pub(super) fn decode(bytes: &[u8]) -> Result<State, String> {
    let [version, algorithm, numbers @ ..] = bytes else {
        return Err(format!("a state of {} bytes", bytes.len()));
    };
    if *version != VERSION {
        return Err(format!("a state of version {version}, not {VERSION}"));
    }
    read(*algorithm, numbers).ok_or_else(|| "a state whose numbers make no sense".to_owned())
}

fn read(algorithm: u8, mut numbers: &[u8]) -> Option<State> {
    let from = &mut numbers;
    let state = match algorithm {
        TOKEN_BUCKET => State::TokenBucket(TokenBucket { level: take_signed(from)?, at_tick: take(from)? }),
        LEAKY_BUCKET => State::LeakyBucket(LeakyBucket { water: take_signed(from)?, at_tick: take(from)? }),
        FIXED_WINDOW => State::FixedWindow(FixedWindow { start_ms: take(from)?, used: take_amount(from)? }),
        SLIDING_WINDOW => {
            let at_ms = take(from)?;
            let mut slots = Vec::new();
            let mut end_ms = 0_u64;
            while !from.is_empty() {
                end_ms = end_ms.checked_add(take(from)?)?;
                slots.push(Slot { end_ms, hits: take_amount(from)? });
            }
            State::SlidingWindow(SlidingWindow { at_ms, slots })
        }
        _ => return None,
    };
    numbers.is_empty().then_some(state)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put(bytes, (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if place == 9 && part > 1 {
            return None;
        }
        number |= part << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_amount(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).filter(|amount| *amount <= MAX_BELIEVED)
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let coded = take(bytes)?;
    let number = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
    (number.unsigned_abs() <= MAX_BELIEVED).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = State> {
        let amount = || prop_oneof![0..=MAX_BELIEVED, 0..200_u64];
        let signed =
            || amount().prop_flat_map(|n| prop_oneof![Just(n.cast_signed()), Just(-n.cast_signed())]);
        let time = || prop_oneof![any::<u64>(), 1_700_000_000_000..1_800_000_000_000_u64];
        let slots = prop::collection::vec((0..1000_u64, amount()), 0..70);
        prop_oneof![
            (signed(), time())
                .prop_map(|(level, at_tick)| State::TokenBucket(TokenBucket { level, at_tick })),
            (signed(), time())
                .prop_map(|(water, at_tick)| State::LeakyBucket(LeakyBucket { water, at_tick })),
            (time(), amount())
                .prop_map(|(start_ms, used)| State::FixedWindow(FixedWindow { start_ms, used })),
            (time(), slots).prop_map(|(at_ms, slots)| {
                let mut end_ms = at_ms / 2;
                let slots = slots.into_iter().map(|(later_ms, hits)| {
                    end_ms += later_ms;
                    Slot { end_ms, hits }
                });
                State::SlidingWindow(SlidingWindow { at_ms, slots: slots.collect() })
            }),
        ]
    }

    fn bytes(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(state, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_was(state in states()) {
            prop_assert_eq!(decode(&bytes(&state)), Ok(state));
        }

        #[test]
        fn half_a_state_is_none(state in states(), cut in 1..12_usize) {
            let whole = bytes(&state);
            let half = &whole[..whole.len().saturating_sub(cut)];
            // A sliding window that lost whole slots looks like one with fewer.
            prop_assert!(decode(half).as_ref() != Ok(&state));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let state = State::TokenBucket(TokenBucket { level: -3, at_tick: 300 });
        assert_eq!(bytes(&state), [1, 0, 5, 0xac, 2]);
        let slots = vec![Slot { end_ms: 129, hits: 1 }, Slot { end_ms: 131, hits: 2 }];
        let state = State::SlidingWindow(SlidingWindow { at_ms: 130, slots });
        assert_eq!(bytes(&state), [1, 3, 0x82, 1, 0x81, 1, 1, 2, 2]);
    }

    #[test]
    fn another_version_or_rubbish_is_told() {
        assert_eq!(decode(&[2, 0, 0, 0]), Err("a state of version 2, not 1".to_owned()));
        assert_eq!(decode(&[]), Err("a state of 0 bytes".to_owned()));
        for rubbish in [&[1, 9, 0, 0][..], &[1, 0, 0], &[1, 0, 0, 0, 0], &[1, 0, 0xff, 0xff]] {
            assert!(decode(rubbish).is_err(), "{rubbish:?}");
        }
    }
}
