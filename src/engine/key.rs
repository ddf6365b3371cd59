//! Where a charge is counted.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::limit::{Algorithm, Limit};

/// Longest identity that is stored as it is, in bytes; a longer one is stored as its 128-bit hash.
///
/// Keys and values come from clients: a header of 10,000 bytes must cost no more memory than a short one.
pub const MAX_IDENTITY: usize = 256;

/// Bytes before the identity: algorithm, mark and period.
const HEADER: usize = 8;

const ENTRIES: u8 = 0;
const HASH: u8 = 1;
const OVERFLOW: u8 = 2;

/// The name of one counter: identity (domain and entries), algorithm, period, and a mark if it is a shadow
/// limit in a list.
///
/// The parts are length-prefixed, so no two different keys have the same bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

/// The identity of a descriptor while it is put together: one buffer for all limits of the descriptor.
#[derive(Debug, Clone)]
pub struct Identity(Vec<u8>);

/// What a key counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<'k> {
    /// The domain.
    pub domain: &'k [u8],
    /// Keys and values, in order.
    pub entries: Vec<(&'k [u8], &'k [u8])>,
}

impl Identity {
    /// The identity of nothing yet in `domain`, with room for entries of `entries_len` bytes in all.
    #[must_use]
    pub fn of(domain: &[u8], entries_len: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + 1 + prefixed_len(domain.len()) + entries_len);
        bytes.resize(HEADER, 0);
        bytes.push(ENTRIES);
        let mut identity = Self(bytes);
        identity.push(domain);
        identity
    }

    /// Bytes that an entry takes.
    #[must_use]
    pub const fn entry_len(key: &[u8], value: &[u8]) -> usize {
        prefixed_len(key.len()) + prefixed_len(value.len())
    }

    /// Adds an entry. A value that is shared by a pattern is given as the pattern.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) {
        self.push(key);
        self.push(value);
    }

    fn push(&mut self, part: &[u8]) {
        // LEB128, as in protobuf.
        let mut length = part.len();
        while length >= 0x80 {
            self.0.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        self.0.push(length.to_le_bytes()[0]);
        self.0.extend_from_slice(part);
    }

    /// The key of one limit of this descriptor. `mark` tells a shadow limit in a list from the enforced
    /// limit of the same algorithm and period.
    #[must_use]
    pub fn into_key(mut self, limit: &Limit, mark: bool) -> Key {
        if self.0.len() - HEADER > MAX_IDENTITY {
            let hash = Sha256::digest(&self.0[HEADER..]);
            self.0.truncate(HEADER);
            self.0.push(HASH);
            self.0.extend_from_slice(&hash[..16]);
        }
        self.0[..HEADER].copy_from_slice(&header(limit, mark));
        Key(self.0.into_boxed_slice())
    }
}

/// Takes a part and its length from the front.
fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut len = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (part, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            return Some(part);
        }
    }
    None
}

const fn prefixed_len(len: usize) -> usize {
    // 7 bits a byte; one byte for an empty part.
    let bits = usize::BITS - (len | 1).leading_zeros();
    bits.div_ceil(7) as usize + len
}

impl Key {
    /// The one counter that new keys of a limit share once a store is full; `limit_id` tells limits apart.
    #[must_use]
    pub fn overflow(limit: &Limit, mark: bool, limit_id: u64) -> Self {
        let mut key = Vec::with_capacity(HEADER + 9);
        key.extend_from_slice(&header(limit, mark));
        key.push(OVERFLOW);
        key.extend_from_slice(&limit_id.to_be_bytes());
        Self(key.into_boxed_slice())
    }

    /// Whether it is the counter that the new keys of a limit share once a store is full.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        self.0[HEADER] == OVERFLOW
    }

    /// How its hits are held against their limit.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        // The mark is the top bit.
        match self.0[0] & 0x7f {
            0 => Algorithm::TokenBucket,
            1 => Algorithm::LeakyBucket,
            2 => Algorithm::FixedWindow,
            _ => Algorithm::SlidingWindow,
        }
    }

    /// What is counted without how: the same for all limits of a descriptor.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    /// The domain and the entries that are counted under it, shared values as their pattern; `None` if they were too
    /// long to be kept, and for an overflow key.
    #[must_use]
    pub fn counted(&self) -> Option<Counted<'_>> {
        let (ENTRIES, mut rest) = self.0[HEADER..].split_first().map(|(kind, rest)| (*kind, rest))? else {
            return None;
        };
        let domain = take_part(&mut rest)?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            entries.push((take_part(&mut rest)?, take_part(&mut rest)?));
        }
        Some(Counted { domain, entries })
    }

    /// The bytes that name the counter in a store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Bits 0–41 the period in milliseconds (100 years need 42), 56–57 the algorithm, 63 the mark.
fn header(limit: &Limit, mark: bool) -> [u8; HEADER] {
    let algorithm: u64 = match limit.algorithm() {
        Algorithm::TokenBucket => 0,
        Algorithm::LeakyBucket => 1,
        Algorithm::FixedWindow => 2,
        Algorithm::SlidingWindow => 3,
    };
    (limit.period_ms() | algorithm << 56 | u64::from(mark) << 63).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{LimitSpec, Unit};

    fn limit(algorithm: Algorithm, unit: Unit) -> Limit {
        Limit::new(LimitSpec::new(algorithm, 5, unit)).unwrap()
    }

    fn key(entries: &[(&str, &str)]) -> Key {
        let parts = entries.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        let mut identity = Identity::of(b"d", parts.clone().map(|(k, v)| Identity::entry_len(k, v)).sum());
        parts.for_each(|(key, value)| identity.entry(key, value));
        assert_eq!(identity.0.len(), identity.0.capacity(), "the room was measured exactly");
        identity.into_key(&limit(Algorithm::FixedWindow, Unit::Hour), false)
    }

    #[test]
    fn keys_and_values_cannot_run_together() {
        assert_ne!(key(&[("a", "b_c")]), key(&[("a_b", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "b\u{1}c\u{1}d")]));
        assert_ne!(key(&[("a", "")]), key(&[("a", ""), ("", "")]));
    }

    #[test]
    fn algorithm_period_and_mark_tell_counters_of_one_identity_apart() {
        let identity = Identity::of(b"d", 0);
        let keys = [
            identity.clone().into_key(&limit(Algorithm::FixedWindow, Unit::Hour), false),
            identity.clone().into_key(&limit(Algorithm::FixedWindow, Unit::Hour), true),
            identity.clone().into_key(&limit(Algorithm::FixedWindow, Unit::Day), false),
            identity.clone().into_key(&limit(Algorithm::SlidingWindow, Unit::Hour), false),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key));
        }
    }

    #[test]
    fn a_key_says_what_it_counts_unless_that_was_too_long() {
        let long = "x".repeat(200);
        let found = key(&[("a", &long), ("", "b_c")]);
        let entries = vec![(&b"a"[..], long.as_bytes()), (b"", b"b_c")];
        assert_eq!(found.counted(), Some(Counted { domain: b"d", entries }));
        assert_eq!(key(&[]).counted(), Some(Counted { domain: b"d", entries: vec![] }));
        assert_eq!(key(&[("a", &"x".repeat(300))]).counted(), None);
        let limit = limit(Algorithm::FixedWindow, Unit::Hour);
        assert_eq!(Key::overflow(&limit, false, u64::MAX).counted(), None);
    }

    #[test]
    fn a_long_identity_becomes_a_short_one_of_its_own() {
        let long = |last: &str| key(&[("k", &format!("{}{last}", "x".repeat(10_000)))]);
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        assert_eq!(long("a").as_bytes().len(), 25);
    }
}
