//! What rule files define.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::cli::numbers;
use crate::cli::output::{aligned, counted, faint, printable, strong};
use crate::engine::Path;
use crate::rules::HashTag;
use crate::rules::file::{Node, NodeLimit, NodeLimits, RuleFile};

/// How many lines of one domain are printed: more is for machines.
const MAX_LINES: usize = 500;

/// How much there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) domains: usize,
    pub(super) rules: usize,
    pub(super) limits: usize,
}

impl Totals {
    pub(super) fn of(files: &[RuleFile]) -> Self {
        let domains: BTreeSet<&str> = files.iter().map(|file| file.domain.as_str()).collect();
        let mut totals = Self { domains: domains.len(), ..Self::default() };
        let mut open: Vec<&Node> = files.iter().flat_map(|file| &file.descriptors).collect();
        while let Some(node) = open.pop() {
            open.extend(&node.children);
            totals.rules += usize::from(says(node));
            if let NodeLimits::Limited { limits, .. } = &node.limits {
                totals.limits += limits.len();
            }
        }
        totals
    }
}

/// Whether requests can end at a node with a result: at a limit, or at nothing on purpose.
fn says(node: &Node) -> bool {
    node.limits != NodeLimits::None || node.children.is_empty()
}

/// The domains in the order of the files, with the files of each.
fn domains(files: &[RuleFile]) -> Vec<(&str, Vec<&RuleFile>)> {
    let mut domains: Vec<(&str, Vec<&RuleFile>)> = Vec::new();
    for file in files {
        match domains.iter_mut().find(|(domain, _)| *domain == file.domain) {
            Some((_, of_domain)) => of_domain.push(file),
            None => domains.push((&file.domain, vec![file])),
        }
    }
    domains
}

/// What the files of a domain say is answered while the store does not answer.
fn on_store_failure(files: &[&RuleFile]) -> Option<&'static str> {
    files.iter().find_map(|file| file.on_store_failure).map(|(policy, _)| policy.name())
}

/// What the keys of a domain are kept together by in a cluster.
fn hash_tag<'f>(files: &[&'f RuleFile]) -> Option<&'f str> {
    files.iter().find_map(|file| file.hash_tag.as_ref()).map(HashTag::name)
}

/// Each domain as a tree, one line for each limit.
pub(super) fn text(files: &[RuleFile]) -> String {
    let mut text = String::new();
    for (domain, files) in domains(files) {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let _ = writeln!(text, "{}  {}", strong(printable(domain)), faint(names.join(", ")));
        if let Some(policy) = on_store_failure(&files) {
            let _ = writeln!(text, "  on_store_failure: {policy}");
        }
        if let Some(tag) = hash_tag(&files) {
            let _ = writeln!(text, "  hash_tag: {}", printable(tag));
        }
        let mut rows = Vec::new();
        for file in files {
            add_rows(&file.descriptors, 0, &mut rows);
        }
        let left_out = rows.len().saturating_sub(MAX_LINES);
        rows.truncate(MAX_LINES);
        if rows.is_empty() {
            text.push_str("  no rules\n");
        }
        text += &aligned("  ", &rows);
        if left_out > 0 {
            let _ = writeln!(text, "  and {}; `--json` lists all", counted(left_out, "more line"));
        }
        text.push('\n');
    }
    text
}

fn add_rows(nodes: &[Node], depth: usize, rows: &mut Vec<Vec<String>>) {
    for node in nodes {
        let indent = "  ".repeat(depth);
        let written = match node.value.as_str() {
            "" => format!("{indent}{}", printable(&node.key)),
            value => format!("{indent}{}", printable(&format!("{}={value}", node.key))),
        };
        match &node.limits {
            NodeLimits::None if node.children.is_empty() => rows.push(vec![written, "exempt".to_owned()]),
            NodeLimits::None => rows.push(vec![written]),
            NodeLimits::Unlimited { name, .. } => {
                rows.push(vec![written, "unlimited".to_owned(), printable(name)]);
            }
            NodeLimits::Limited { limits, .. } => {
                rows.extend(limits.iter().enumerate().map(|(index, limit)| {
                    let written = if index == 0 { written.clone() } else { format!("{indent}  and") };
                    vec![written, numbers::line(&limit.limit), printable(&limit.name), marks(node, limit)]
                }));
            }
        }
        add_rows(&node.children, depth + 1, rows);
    }
}

/// What else there is to know.
fn marks(node: &Node, limit: &NodeLimit) -> String {
    let mut marks = Vec::new();
    if limit.shadow_mode {
        marks.push("shadow".to_owned());
    }
    if node.quota_mode {
        marks.push("quota".to_owned());
    }
    if node.share_threshold {
        marks.push("shared".to_owned());
    }
    if !limit.replaces.is_empty() {
        marks.push(format!("replaces {}", printable(&limit.replaces.join(", "))));
    }
    marks.join(", ")
}

/// Each domain with all its rules.
pub(super) fn json(files: &[RuleFile]) -> Json {
    let domain = |(domain, files): (&str, Vec<&RuleFile>)| {
        let mut rules = Vec::new();
        for file in &files {
            add_json(&file.name, &file.descriptors, &Path::default(), &mut rules);
        }
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        json!({
            "domain": domain,
            "files": names,
            "on_store_failure": on_store_failure(&files),
            "hash_tag": hash_tag(&files),
            "rules": rules,
        })
    };
    domains(files).into_iter().map(domain).collect()
}

fn add_json(file: &str, nodes: &[Node], above: &Path, rules: &mut Vec<Json>) {
    for node in nodes {
        let path = above.then(&node.key, (!node.value.is_empty()).then_some(&*node.value));
        if says(node) {
            let (kind, limits) = match &node.limits {
                NodeLimits::None => ("exempt", vec![]),
                NodeLimits::Unlimited { .. } => ("unlimited", vec![]),
                NodeLimits::Limited { limits, .. } => ("limited", limits.iter().map(limit_json).collect()),
            };
            rules.push(json!({
                "path": path.to_string(),
                "file": file,
                "line": node.position.line,
                "column": node.position.column,
                "kind": kind,
                "limits": limits,
                "quota_mode": node.quota_mode,
                "share_threshold": node.share_threshold,
            }));
        }
        add_json(file, &node.children, &path, rules);
    }
}

pub(super) fn limit_json(limit: &NodeLimit) -> Json {
    let mut told = numbers::json(&limit.limit);
    told["name"] = limit.name.as_str().into();
    told["replaces"] = limit.replaces.clone().into();
    told["shadow_mode"] = limit.shadow_mode.into();
    told["line"] = limit.position.line.into();
    told["column"] = limit.position.column.into();
    told
}
