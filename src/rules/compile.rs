//! From checked rule files to the rule set that answers.

use sha2::{Digest, Sha256};

use super::file::{Node as FileNode, NodeLimits, RuleFile};
use super::hash_tag::Tagging;
use super::tree::{Level, Limited, Node, Rule, RuleLimit, answered_metadata};
use super::{Domain, LimitInfo, RuleSet};
use crate::engine::{LimitFacts, Path, RuleFacts};

impl RuleSet {
    /// The rules of those files, which have been checked together. Files of one domain are merged in order.
    #[must_use]
    pub fn compile(files: &[RuleFile]) -> Self {
        let mut rules = Self::default();
        for file in files {
            let index = *rules.by_name.entry(file.domain.as_bytes().into()).or_insert(rules.domains.len());
            if index == rules.domains.len() {
                rules.domains.push(Domain::new(&file.domain));
            }
            let mut compiler = Compiler { domain: &file.domain, limits: &mut rules.limits, replaces: false };
            let nodes = compiler.nodes(&file.descriptors, &Path::default(), false);
            let domain = &mut rules.domains[index];
            domain.replaces |= compiler.replaces;
            for node in nodes {
                domain.root.add(node);
            }
            if let Some(count_refused) = file.overrides_count_refused {
                domain.overrides_count_refused = count_refused;
            }
            // Files that say it say the same.
            if let Some((policy, _)) = file.on_store_failure {
                domain.on_store_failure = Some(policy);
            }
            if let Some(tag) = &file.hash_tag {
                domain.hash_tag = Some(tag.clone());
                domain.tagging = Tagging::new(tag, &file.domain);
            }
        }
        rules
    }
}

struct Compiler<'a> {
    domain: &'a str,
    limits: &'a mut Vec<LimitInfo>,
    /// Whether any rule so far replaces others.
    replaces: bool,
}

impl Compiler<'_> {
    fn nodes(&mut self, nodes: &[FileNode], path: &Path, has_metric_path: bool) -> Vec<Node> {
        nodes.iter().map(|node| self.node(node, path, has_metric_path)).collect()
    }

    fn node(&mut self, node: &FileNode, above: &Path, has_metric_path: bool) -> Node {
        let path = above.then(&node.key, (!node.value.is_empty()).then_some(&*node.value));
        let has_metric_path = has_metric_path || node.value_to_metric;
        let rule = self.rule(node, &path);
        let mut children = Level::default();
        for child in self.nodes(&node.children, &path, has_metric_path) {
            children.add(child);
        }
        Node {
            key: node.key.as_str().into(),
            value: node.value.as_str().into(),
            rule,
            children,
            share_threshold: node.share_threshold,
            value_to_metric: node.value_to_metric,
            has_metric_path: has_metric_path || node.detailed_metric,
        }
    }

    fn rule(&mut self, node: &FileNode, path: &Path) -> Rule {
        let (limits, is_list) = match &node.limits {
            NodeLimits::None => return Rule::None,
            NodeLimits::Unlimited { name, replaces } => {
                self.limits.push(LimitInfo::unlimited(self.domain, path, name));
                self.replaces |= !replaces.is_empty();
                return Rule::Unlimited { replaces: boxed(replaces) };
            }
            NodeLimits::Limited { limits, is_list } => (limits, *is_list),
        };
        let limits: Vec<RuleLimit> = limits
            .iter()
            .enumerate()
            .map(|(place, limit)| {
                let facts =
                    LimitFacts { index: self.limits.len(), name: LimitFacts::answered_name(&limit.name) };
                self.limits.push(LimitInfo {
                    domain: self.domain.into(),
                    path: path.clone(),
                    name: limit.name.as_str().into(),
                    limit: Some(limit.limit),
                    shadow_mode: limit.shadow_mode,
                    quota_mode: node.quota_mode,
                    in_list: is_list,
                });
                RuleLimit {
                    facts,
                    limit: limit.limit,
                    limit_id: limit_id(self.domain, path, place),
                    shadow: limit.shadow_mode,
                    mark: limit.shadow_mode && is_list,
                    name: limit.name.as_str().into(),
                    replaces: boxed(&limit.replaces),
                }
            })
            .collect();
        let replaces = limits.iter().any(|limit| !limit.replaces.is_empty());
        self.replaces |= replaces;
        Rule::Limited(Limited {
            facts: RuleFacts {
                path: path.to_string().into(),
                metadata: answered_metadata(node.metadata.as_ref()),
            },
            quota: node.quota_mode,
            detailed_metric: node.detailed_metric,
            replaces,
            limits,
        })
    }
}

fn boxed(names: &[String]) -> Vec<Box<str>> {
    names.iter().map(|name| name.as_str().into()).collect()
}

/// A number that stays the same over restarts and replicas while the rule keeps its path and place.
pub(super) fn limit_id(domain: &str, path: &Path, place: usize) -> u64 {
    let mut hash = Sha256::new();
    hash.update(domain);
    hash.update([0]);
    hash.update(path.to_string());
    hash.update(place.to_be_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(id)
}
