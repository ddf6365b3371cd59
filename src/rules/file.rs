//! A rule file's own shape: what the YAML says, checked node by node, before it becomes a tree.

use super::{HashTag, OnStoreFailure};
use crate::engine::Map;
use crate::limit::{Algorithm, Limit};
use crate::yaml::Position;

/// One rule file, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// How messages name the file.
    pub name: String,
    /// The domain whose rules it holds.
    pub domain: String,
    /// Where `domain` stands.
    pub domain_at: Position,
    /// Whether overrides of this domain count what they refuse (`defaults`); `None` if the file does not say.
    pub overrides_count_refused: Option<bool>,
    /// What is answered while the store does not answer, and where that stands; `None` if the file does not
    /// say.
    pub on_store_failure: Option<(OnStoreFailure, Position)>,
    /// What the keys of the domain are kept together by in a cluster; `None` if neither the file nor the
    /// settings say.
    pub hash_tag: Option<HashTag>,
    /// The top level of the tree, in file order.
    pub descriptors: Vec<Node>,
}

/// What the limits of a file, or of all files, are that do not say it themselves (`defaults`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// How hits are held against the count; `None` is the reference's fixed window.
    pub algorithm: Option<Algorithm>,
    /// Whether a refused hit is booked as well.
    pub count_refused: Option<bool>,
    /// Size of the bucket, in hits; windows ignore it.
    pub burst: Option<u64>,
}

impl Defaults {
    /// These, completed by `general` ones.
    #[must_use]
    pub fn or(self, general: Self) -> Self {
        Self {
            algorithm: self.algorithm.or(general.algorithm),
            count_refused: self.count_refused.or(general.count_refused),
            burst: self.burst.or(general.burst),
        }
    }
}

/// One node of the descriptor tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts in its file.
    pub position: Position,
    /// The entry key; never empty.
    pub key: String,
    /// The entry value; empty means that any value matches.
    pub value: String,
    /// What is enforced for requests that end here.
    pub limits: NodeLimits,
    /// Whether its limits join the quota instead of refusing alone.
    pub quota_mode: bool,
    /// Whether its metrics name every entry of the request.
    pub detailed_metric: bool,
    /// Whether its metrics name the value of the request at this level.
    pub value_to_metric: bool,
    /// Whether all values that its pattern matches share one counter.
    pub share_threshold: bool,
    /// What is answered as dynamic metadata while it is not refused.
    pub metadata: Option<Map>,
    /// Nodes for the next entry.
    pub children: Vec<Node>,
}

impl Node {
    /// A node that enforces nothing and says nothing, not even its key.
    #[must_use]
    pub const fn without_limit(position: Position) -> Self {
        Self {
            position,
            key: String::new(),
            value: String::new(),
            limits: NodeLimits::None,
            quota_mode: false,
            detailed_metric: false,
            value_to_metric: false,
            share_threshold: false,
            metadata: None,
            children: Vec::new(),
        }
    }
}

/// What a node enforces.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeLimits {
    /// Nothing: no `rate_limit`.
    None,
    /// Everything passes.
    Unlimited {
        /// The rule's `name`; may be empty.
        name: String,
        /// Names of the rules that it replaces.
        replaces: Vec<String>,
    },
    /// One limit or several.
    Limited {
        /// The limits in file order; at least one.
        limits: Vec<NodeLimit>,
        /// Whether they were written as a list.
        is_list: bool,
    },
}

/// One `rate_limit` of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLimit {
    /// Where it starts in its file.
    pub position: Position,
    /// The numbers.
    pub limit: Limit,
    /// The rule's `name`; may be empty.
    pub name: String,
    /// Names of the rules that it replaces.
    pub replaces: Vec<String>,
    /// Whether it is measured only; for a single limit also set by the node's `shadow_mode`.
    pub shadow_mode: bool,
}
