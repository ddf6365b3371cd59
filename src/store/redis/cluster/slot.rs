//! In which of a cluster's slots a charge is counted.
//!
//! A key is the prefix, a tag in braces, and the bytes of the charge's key. Redis takes the slot from what
//! stands in the first braces alone, so the tag decides. It is a hash in hexadecimal: no byte of a client
//! ever stands in it, and a prefix may not hold a brace.

use smallvec::SmallVec;

use crate::engine::{Charge, Group, Key, Settlement, stable_hash};

/// How many slots a cluster has, whatever its size.
pub(super) const SLOTS: usize = 16_384;

/// Bytes of a tag: 16 hexadecimal digits in braces.
const TAG_LEN: usize = 18;

/// What decides the slot of a key, braces included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redis) struct Tag([u8; TAG_LEN]);

impl Tag {
    /// The tag of all charges of a group: what the rules keep it together by, or else their identity, so that
    /// several limits of one descriptor stay together.
    pub(super) fn of(group: Group, charge: &Charge) -> Self {
        group.tag.map_or_else(|| Self::of_identity(&charge.key), Self::with)
    }

    /// The tag of a key that says nothing else.
    pub(super) fn of_identity(key: &Key) -> Self {
        Self::with(stable_hash(key.identity()))
    }

    /// The tag that shows `hash`.
    fn with(hash: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut tag = [b'{'; TAG_LEN];
        for (index, byte) in hash.to_be_bytes().into_iter().enumerate() {
            tag[1 + 2 * index] = DIGITS[usize::from(byte >> 4)];
            tag[2 + 2 * index] = DIGITS[usize::from(byte & 15)];
        }
        tag[TAG_LEN - 1] = b'}';
        Self(tag)
    }

    /// It as it stands in a key.
    pub(in crate::store::redis) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its slot, below [`SLOTS`].
    pub(super) fn slot(&self) -> u16 {
        crc16(&self.0[1..TAG_LEN - 1]) % 16_384
    }
}

/// The tag of each different key of a settlement, in the order of [`Settlement::keys`].
pub(super) fn key_tags(settlement: &Settlement) -> SmallVec<[Tag; 2]> {
    let mut tags = SmallVec::new();
    for (group, range) in settlement.groups() {
        for index in range {
            // Keys are numbered as they first appear.
            if settlement.slot(index) == tags.len() {
                tags.push(Tag::of(group, &settlement.charges()[index]));
            }
        }
    }
    tags
}

/// CRC-16/XMODEM, by which the cluster specification finds a slot.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) ^ u16::from(*byte))])
}

/// The remainders of all bytes.
static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;
    use crate::engine::Identity;
    use crate::limit::{Algorithm, Limit, LimitSpec, Unit};

    #[test]
    fn a_tag_never_changes() {
        assert_eq!(Tag::with(0x0123_4567_89ab_cdef).as_bytes(), b"{0123456789abcdef}");
        let limit = Limit::new(LimitSpec::new(Algorithm::FixedWindow, 5, Unit::Hour)).unwrap();
        let key = Identity::of(b"edge", 0).into_key(&limit, false);
        let charge = Charge { key, limit, hits: 1, shadow: false, mark: false, limit_id: 0 };
        let group = |tag| Group { charges: 1, quota: false, tag };
        assert_eq!(Tag::of(group(None), &charge), Tag::with(stable_hash(b"\0\x04edge")));
        assert_eq!(Tag::of(group(Some(7)), &charge).as_bytes(), b"{0000000000000007}");
    }

    #[test]
    fn the_slot_is_the_one_that_redis_finds_in_the_whole_key() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        for number in 0..1000 {
            let tag = Tag::with(stable_hash(format!("identity {number}").as_bytes()));
            let key = [b"fluxlimit:", tag.as_bytes(), b"\0{x}y"].concat();
            assert_eq!(Slot::new(tag.slot()), Some(Slot::for_key(key)));
        }
    }

    #[test]
    fn identities_spread_over_all_slots() {
        let mut keys = [0_u32; 16];
        for number in 0..16_000 {
            let identity = format!("\0\x05edge\x06client{number}");
            keys[usize::from(Tag::with(stable_hash(identity.as_bytes())).slot()) / 1024] += 1;
        }
        assert!(keys.iter().all(|count| (850..1150).contains(count)), "{keys:?}");
    }
}
