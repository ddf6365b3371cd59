//! What the keys of a domain are kept together by in a cluster.

use crate::engine::StableHash;

/// What makes one atomic step of the limits of a request, and one slot of their keys, in a store that spreads
/// keys over several machines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashTag {
    /// Everything in the domain.
    Domain,
    /// Every descriptor that has the same value for this entry key; one without the key is on its own.
    Entry(Box<str>),
}

impl HashTag {
    /// The word for the whole domain.
    pub const DOMAIN: &'static str = "domain";

    /// What `name` means in rule files and settings; `None` if it is empty.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "" => None,
            Self::DOMAIN => Some(Self::Domain),
            key => Some(Self::Entry(key.into())),
        }
    }

    /// Its name in rule files and settings.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Domain => Self::DOMAIN,
            Self::Entry(key) => key,
        }
    }
}

/// The same, ready to be asked for each descriptor of a domain.
#[derive(Debug)]
pub(super) enum Tagging {
    /// Every identity is on its own.
    Identity,
    /// One tag for the whole domain.
    Domain(u64),
    /// One tag for each value of an entry key.
    Entry { key: Box<[u8]>, domain_and_key: StableHash },
}

impl Tagging {
    pub(super) fn new(tag: &HashTag, domain: &str) -> Self {
        let domain = StableHash::EMPTY.and(domain.as_bytes());
        match tag {
            HashTag::Domain => Self::Domain(domain.value()),
            HashTag::Entry(key) => Self::Entry {
                key: key.as_bytes().into(),
                // A byte between them, so that tags of one domain are seldom those of another.
                domain_and_key: domain.and(&[0]).and(key.as_bytes()).and(&[0]),
            },
        }
    }

    /// The tag of every descriptor, if there is one.
    pub(super) const fn of_all(&self) -> Option<u64> {
        match self {
            Self::Domain(tag) => Some(*tag),
            _ => None,
        }
    }

    /// The tag of a descriptor that is counted under this entry, if the entry decides. It is taken from what
    /// the descriptor is counted under, so descriptors that share a counter have the same tag.
    pub(super) fn of_entry(&self, key: &[u8], value: &[u8]) -> Option<u64> {
        match self {
            Self::Entry { key: own, domain_and_key } if **own == *key => {
                Some(domain_and_key.and(value).value())
            }
            _ => None,
        }
    }
}
