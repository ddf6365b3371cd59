//! A request after matching: what it is held against, and what an answer says about it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Map, Path, Settlement};

/// A request whose descriptors have been matched.
#[derive(Debug)]
pub struct Question<'r> {
    /// What each descriptor matched, in the order of the request.
    pub matched: SmallVec<[Matched<'r>; 2]>,
    /// The charges of the limited descriptors: the n-th group belongs to the n-th [`Matched::Limited`].
    pub settlement: Settlement,
    /// For each charge of the settlement, the limit of the rule set that it comes from; `None` for an
    /// override.
    pub limits: SmallVec<[Option<&'r LimitFacts>; 2]>,
    /// For each charge, the path that its metrics are counted under, where it is not that of the rule.
    pub metric_paths: SmallVec<[Option<Box<Path>>; 2]>,
}

/// What one descriptor matched.
#[derive(Debug, Clone, Copy)]
pub enum Matched<'r> {
    /// No limit applies, for this reason.
    Nothing(Miss),
    /// A rule without a limit, or whose limits were all replaced.
    Exempt,
    /// A rule that says `unlimited`.
    Unlimited,
    /// The limits of a rule; `None` for an override.
    Limited(Option<&'r RuleFacts>),
}

/// Why no limit applies to a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Miss {
    /// No rules for the domain.
    Domain,
    /// No rule at that level has the key.
    Key,
    /// Rules at that level have the key, but not with that value.
    Value,
    /// The entries end at a node that only has deeper rules.
    DeeperEntry,
    /// The entries go on where the rules end.
    ExtraEntry,
    /// The descriptor has no entries.
    NoEntries,
}

impl Miss {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Domain, Self::Key, Self::Value, Self::DeeperEntry, Self::ExtraEntry, Self::NoEntries];

    /// The reason in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Domain => "no_such_domain",
            Self::Key => "no_such_key",
            Self::Value => "value_not_listed",
            Self::DeeperEntry => "deeper_entry_missing",
            Self::ExtraEntry => "extra_entry",
            Self::NoEntries => "no_entries",
        }
    }
}

/// What an answer says of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFacts {
    /// The way to the rule in its domain, such as `tenant=acme > user`.
    pub path: Box<str>,
    /// What is answered as dynamic metadata while the rule is not over its limit.
    pub metadata: Option<Map>,
}

/// What an answer says of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFacts {
    /// Its place among all limits of the rule set.
    pub index: usize,
    /// Its name, made safe for a header; `None` if it has none.
    pub name: Option<Arc<str>>,
}

impl LimitFacts {
    /// `name` as it is answered: Envoy prints it into a header without escaping, so `"`, `\` and bytes
    /// outside printable ASCII are left out.
    #[must_use]
    pub fn answered_name(name: &str) -> Option<Arc<str>> {
        let safe: String =
            name.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
        (!safe.is_empty()).then(|| safe.into())
    }
}
