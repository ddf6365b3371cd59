//! Which limits apply to which descriptors: from rule files to the question that a store is asked.
//!
//! [`source`] finds the files, [`load`] turns their texts into [`file::RuleFile`]s or into every problem
//! that they have, [`RuleSet::compile`] makes the tree of them that [`RuleSet::question`] asks.

mod check;
pub mod compare;
mod compile;
mod decode;
mod describe;
pub mod explain;
mod failure;
pub mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hash_tag;
pub mod load;
mod pattern;
mod question;
pub mod source;
mod tree;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::engine::Path;
use crate::limit::Limit;
use compile::limit_id;
pub use failure::OnStoreFailure;
pub use hash_tag::HashTag;
use hash_tag::Tagging;
use tree::Level;

/// All rules in force. Built once from checked files, then never changed.
#[derive(Debug, Default)]
pub struct RuleSet {
    domains: Vec<Domain>,
    by_name: HashMap<Box<[u8]>, usize, RandomState>,
    limits: Vec<LimitInfo>,
}

/// The rules of one domain.
#[derive(Debug)]
struct Domain {
    name: Box<str>,
    root: Level,
    /// Whether any of its rules replaces others by name.
    replaces: bool,
    /// Whether limits that come with a request count what they refuse.
    overrides_count_refused: bool,
    /// Names the overrides of this domain as one, for a store that is full.
    overrides_id: u64,
    /// What is answered while the store does not answer; `None` if no file of the domain says it.
    on_store_failure: Option<OnStoreFailure>,
    /// What its keys are kept together by in a cluster.
    hash_tag: Option<HashTag>,
    /// The same, ready to be asked.
    tagging: Tagging,
}

/// Modes of the whole server that change what a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// Nothing refuses a request.
    pub global_shadow: bool,
    /// Every descriptor joins the quota.
    pub global_quota: bool,
}

/// One limit of the rule set, for listings and metrics. Its place in [`RuleSet::limits`] is its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitInfo {
    /// The domain of its rule.
    pub domain: Box<str>,
    /// The way to its rule.
    pub path: Path,
    /// Its name as written; empty if it has none.
    pub name: Box<str>,
    /// The numbers; `None` for an unlimited rule.
    pub limit: Option<Limit>,
    /// Whether it only measures.
    pub shadow_mode: bool,
    /// Whether its rule joins the quota.
    pub quota_mode: bool,
    /// Whether it is one of several limits of its rule.
    pub in_list: bool,
}

impl RuleSet {
    /// Every limit, in file order; unlimited rules have an entry as well.
    #[must_use]
    pub fn limits(&self) -> &[LimitInfo] {
        &self.limits
    }

    /// The names of the domains, in file order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| &*domain.name)
    }

    /// What the files of a domain, given by its place among [`Self::domains`], say is answered while the
    /// store does not answer; `None` if they do not say it.
    #[must_use]
    pub fn on_store_failure(&self, domain: usize) -> Option<OnStoreFailure> {
        self.domains[domain].on_store_failure
    }
}

impl Domain {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            root: Level::default(),
            replaces: false,
            overrides_count_refused: true,
            overrides_id: limit_id(name, &Path::default(), 0),
            on_store_failure: None,
            hash_tag: None,
            tagging: Tagging::Identity,
        }
    }
}
