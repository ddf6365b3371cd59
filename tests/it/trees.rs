//! Rule files put together in code, without YAML.

use fluxlimit::limit::{Algorithm, LimitSpec, Unit};
use fluxlimit::rules::file::{Node, NodeLimit, NodeLimits, RuleFile};
use fluxlimit::yaml::Position;

use crate::steps::limit;

/// A file of those nodes for `domain`.
pub(crate) fn file(domain: &str, descriptors: Vec<Node>) -> RuleFile {
    RuleFile {
        name: format!("{domain}.yaml"),
        domain: domain.to_owned(),
        domain_at: Position::START,
        overrides_count_refused: None,
        on_store_failure: None,
        hash_tag: None,
        descriptors,
    }
}

/// A node without a limit. An empty value is any value.
pub(crate) fn node(key: &str, value: &str) -> Node {
    Node { key: key.to_owned(), value: value.to_owned(), ..Node::without_limit(Position::START) }
}

/// So many hits an hour, in a window of the clock, as rules without our keys have it but for booking refusals.
pub(crate) fn per_hour(count: u32) -> NodeLimit {
    spec(LimitSpec::new(Algorithm::FixedWindow, count, Unit::Hour))
}

/// A limit of those numbers.
pub(crate) fn spec(spec: LimitSpec) -> NodeLimit {
    NodeLimit {
        position: Position::START,
        limit: limit(spec),
        name: String::new(),
        replaces: Vec::new(),
        shadow_mode: false,
    }
}

/// What can be said of a limit, in the way of a sentence.
pub(crate) trait NodeLimitExt: Sized {
    fn named(self, name: &str) -> Self;
    fn replacing(self, names: &[&str]) -> Self;
    fn shadow(self) -> Self;
}

impl NodeLimitExt for NodeLimit {
    fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    fn replacing(self, names: &[&str]) -> Self {
        Self { replaces: names.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    fn shadow(self) -> Self {
        Self { shadow_mode: true, ..self }
    }
}

/// What can be said of a node, in the way of a sentence.
pub(crate) trait NodeExt: Sized {
    fn limited(self, limit: NodeLimit) -> Self;
    fn limited_by(self, limits: Vec<NodeLimit>) -> Self;
    fn unlimited(self, replaces: &[&str]) -> Self;
    fn quota(self) -> Self;
    fn shared(self) -> Self;
    fn with(self, children: Vec<Node>) -> Self;
}

impl NodeExt for Node {
    fn limited(self, limit: NodeLimit) -> Self {
        Self { limits: NodeLimits::Limited { limits: vec![limit], is_list: false }, ..self }
    }

    fn limited_by(self, limits: Vec<NodeLimit>) -> Self {
        Self { limits: NodeLimits::Limited { limits, is_list: true }, ..self }
    }

    fn unlimited(self, replaces: &[&str]) -> Self {
        let replaces = replaces.iter().map(|name| (*name).to_owned()).collect();
        Self { limits: NodeLimits::Unlimited { name: String::new(), replaces }, ..self }
    }

    fn quota(self) -> Self {
        Self { quota_mode: true, ..self }
    }

    fn shared(self) -> Self {
        Self { share_threshold: true, ..self }
    }

    fn with(self, children: Vec<Node>) -> Self {
        Self { children, ..self }
    }
}
