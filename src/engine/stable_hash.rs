//! A hash that never changes.

/// FNV-1a of 64 bits, while it is put together: the same in every version and on every machine, or counters
/// would be lost when either changes.
///
/// It need not withstand an attacker. What is hashed chooses a slot of a cluster and nothing else: equal
/// hashes share a slot, and whoever picks values can aim at one of 16,384 slots through any hash that has no
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StableHash(u64);

impl StableHash {
    /// The hash of nothing.
    pub const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// The hash of what was hashed so far and then `bytes`. Parts run together.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// The [`StableHash`] of `bytes`.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    StableHash::EMPTY.and(bytes).value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        // The vectors of its authors.
        assert_eq!(stable_hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_hash(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(StableHash::EMPTY.and(b"foo").and(b"").and(b"bar").value(), stable_hash(b"foobar"));
    }
}
