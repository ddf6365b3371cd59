//! What is asked of the script, encoded once, in the caller's task.

use smallvec::SmallVec;

use super::cluster::Tag;
use crate::engine::{Charge, Key, Settlement};
use crate::limit::{Algorithm, MAX_AMOUNT};

/// Bytes of `HEAD` in `settle.lua`.
const HEAD: usize = 9;
/// Bytes of `CHARGE`.
const CHARGE: usize = 30;
/// Bytes of `UNDO`.
const UNDO: usize = 38;

/// The kinds of work.
const SETTLE: u8 = 0;
const UNDO_HITS: u8 = 1;
const RESET: u8 = 2;

/// One piece of work for the script: its keys and its argument, ready to be sent.
#[derive(Debug)]
pub(super) struct Work {
    /// The keys, then the argument.
    bytes: Vec<u8>,
    /// Where each key ends, in order.
    ends: SmallVec<[u32; 3]>,
    /// How many verdicts the answer has.
    pub(super) verdicts: usize,
    /// Whether the answer says what was booked and where.
    pub(super) wants_booked: bool,
}

/// Hits that a settlement booked and that are to be given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Undone<'a> {
    /// The charge that booked them.
    pub(super) charge: &'a Charge,
    /// How many; at least 1.
    pub(super) hits: u64,
    /// Where they were booked, as the answer said.
    pub(super) place_ms: u64,
}

impl Work {
    /// Settles `settlement`. Each of its keys has a tag after the prefix, or none has. The answer also says what
    /// was booked and where, and what the verdicts of a refused request are, if that is wanted. Of a settlement
    /// that resets it says nothing.
    pub(super) fn settle(prefix: &[u8], tags: &[Tag], settlement: &Settlement, wants_booked: bool) -> Self {
        let charges = settlement.charges();
        let mut work = Self::with_keys(prefix, tags, || settlement.keys(), HEAD + CHARGE * charges.len());
        if !settlement.resets {
            work.verdicts = charges.len();
            work.wants_booked = wants_booked;
        }
        // A quota descriptor without charges passes as well.
        let quota_passes = settlement.groups().any(|(group, _)| group.quota && group.charges == 0);
        let kind = if settlement.resets { RESET } else { SETTLE };
        let flags = [
            kind,
            u8::from(settlement.global_shadow),
            u8::from(settlement.quota_passes || quota_passes),
            u8::from(settlement.refused),
            u8::from(work.wants_booked),
        ];
        work.head(flags, charges.len());
        for (group, range) in settlement.groups() {
            let first = range.start;
            for index in range {
                let starts = if index > first { 0 } else { 1 + u8::from(group.quota) };
                let charge = &charges[index];
                work.charge(charge, starts, settlement.slot(index), charge.hits);
            }
        }
        work
    }

    /// Gives back exactly those hits, at most once each: what has left its window since stays gone.
    pub(super) fn undo(prefix: &[u8], tags: &[Tag], undone: &[Undone<'_>]) -> Self {
        let keys = || undone.iter().map(|undone| &undone.charge.key);
        let mut work = Self::with_keys(prefix, tags, keys, HEAD + UNDO * undone.len());
        work.head([UNDO_HITS, 0, 0, 0, 0], undone.len());
        for (index, Undone { charge, hits, place_ms }) in undone.iter().enumerate() {
            work.charge(charge, 1, index, (*hits).min(MAX_AMOUNT).cast_signed());
            work.bytes.extend_from_slice(&place_ms.to_be_bytes());
        }
        work
    }

    /// Does nothing, which shows that the server runs the script.
    pub(super) fn nothing() -> Self {
        Self::undo(&[], &[], &[])
    }

    /// The keys, in the order in which the argument numbers them.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start as usize..*end as usize])
    }

    /// How many keys there are.
    pub(super) fn keys_len(&self) -> usize {
        self.ends.len()
    }

    /// The argument.
    pub(super) fn argument(&self) -> &[u8] {
        &self.bytes[self.ends.last().map_or(0, |end| *end as usize)..]
    }

    /// How many bytes it sends.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn with_keys<'a, Keys: Iterator<Item = &'a Key>>(
        prefix: &[u8],
        tags: &[Tag],
        keys: impl Fn() -> Keys,
        argument_len: usize,
    ) -> Self {
        let tag = |index: usize| tags.get(index).map_or(&[][..], Tag::as_bytes);
        let named = |(index, key): (usize, &Key)| prefix.len() + tag(index).len() + key.as_bytes().len();
        let keys_len: usize = keys().enumerate().map(named).sum();
        let mut bytes = Vec::with_capacity(keys_len + argument_len);
        let mut ends = SmallVec::new();
        for (index, key) in keys().enumerate() {
            bytes.extend_from_slice(prefix);
            bytes.extend_from_slice(tag(index));
            bytes.extend_from_slice(key.as_bytes());
            ends.push(narrow(bytes.len()));
        }
        Self { bytes, ends, verdicts: 0, wants_booked: false }
    }

    fn head(&mut self, flags: [u8; 5], charges: usize) {
        self.bytes.extend_from_slice(&flags);
        self.bytes.extend_from_slice(&narrow::<u16>(self.ends.len()).to_be_bytes());
        self.bytes.extend_from_slice(&narrow::<u16>(charges).to_be_bytes());
    }

    fn charge(&mut self, charge: &Charge, starts: u8, key: usize, hits: i64) {
        let limit = &charge.limit;
        let algorithm = match limit.algorithm() {
            Algorithm::TokenBucket => 0,
            Algorithm::LeakyBucket => 1,
            Algorithm::FixedWindow => 2,
            Algorithm::SlidingWindow => 3,
        };
        let most = MAX_AMOUNT.cast_signed();
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(&[algorithm, limit.count_refused().into(), charge.shadow.into(), starts]);
        bytes.extend_from_slice(&narrow::<u16>(key).to_be_bytes());
        bytes.extend_from_slice(&limit.count().to_be_bytes());
        // Six bytes hold both: a bucket of 1 s holds at most 2^52 / 1000 hits, and 100 years are less than 2^42 ms.
        bytes.extend_from_slice(&limit.capacity().to_be_bytes()[2..]);
        bytes.extend_from_slice(&limit.period_ms().to_be_bytes()[2..]);
        bytes.extend_from_slice(&hits.clamp(-most, most).to_be_bytes());
    }
}

/// A request has at most 64 descriptors with at most 16 limits, and a key at most a few hundred bytes.
fn narrow<T: TryFrom<usize>>(number: usize) -> T {
    T::try_from(number).ok().expect("a request is bounded")
}
