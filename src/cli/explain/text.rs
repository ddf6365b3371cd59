//! An explanation for people.

use std::fmt::Write;

use serde_yaml::{Mapping, Value as Yaml};

use super::why::{named, statement, words};
use super::{Told, node, place};
use crate::cli::entries::shown;
use crate::cli::numbers;
use crate::cli::output::{aligned, bad, doubtful, faint, good, hint, printable, strong};
use crate::engine::Miss;
use crate::limit::Limit;
use crate::request::{Descriptor, Entry};
use crate::rules::explain::{Applied, End, Explained, Hint, How, Spot, Why};
use crate::rules::{HashTag, OnStoreFailure};
use crate::yaml::quoted;

/// How a step is called.
const fn how(how: How) -> &'static str {
    match how {
        How::Exact => "key and value",
        How::Pattern => "pattern",
        How::KeyAlone => "key, any value",
    }
}

impl Told<'_> {
    /// All of it.
    pub(super) fn text(&self) -> String {
        let domain = quoted(&self.explain.asked.domain);
        let files: Vec<&str> = self.explanation.files.iter().map(|file| file.name.as_str()).collect();
        let mut text = match files.as_slice() {
            [] => format!("domain {domain} has no rules\n"),
            files => format!("domain {domain} has its rules in {}\n", files.join(", ")),
        };
        if let Some(policy) = self.explanation.on_store_failure() {
            let _ = writeln!(text, "{}", if_the_store_fails(policy));
        }
        if let Some(tag) = self.explanation.hash_tag() {
            let _ = writeln!(text, "{}", kept_together(tag));
        }
        let several = self.request.descriptors.len() > 1;
        for (index, explained) in self.explanation.descriptors.iter().enumerate() {
            let descriptor = &self.request.descriptors[index];
            let number = if several { format!("descriptor {}", index + 1) } else { "descriptor".to_owned() };
            let entries: Vec<String> =
                descriptor.entries.iter().map(|entry| printable(&shown(entry))).collect();
            let _ = writeln!(text, "\n{}  {}\n", strong(number), entries.join(", "));
            text += &steps(explained, descriptor);
            text.push('\n');
            text += &self.end(index, explained, descriptor);
        }
        text
    }

    fn end(&self, index: usize, explained: &Explained<'_>, descriptor: &Descriptor) -> String {
        match &explained.end {
            End::Limited { rule, limits } => {
                let mut text = format!("  {} by the rule {}\n", good("limited"), path(explained, *rule));
                text += &self.limits(explained, descriptor, *rule, limits);
                text
            }
            End::Override(limit) => {
                let mut text = format!(
                    "  {} by the limit that came with the request; the rules do not count\n",
                    good("limited")
                );
                let mut rows = vec![row("limit", numbers::line(limit))];
                rows.extend(self.numbers(limit));
                rows.push(self.counted(explained, descriptor));
                text += &aligned("    ", &rows);
                text
            }
            End::Unlimited(rule) => {
                format!(
                    "  {}: the rule {} lets everything pass\n",
                    doubtful("unlimited"),
                    path(explained, *rule)
                )
            }
            End::Exempt(rule) => {
                let text = format!(
                    "  {}: the rule {} has neither a `rate_limit` nor deeper rules, so everything passes\n",
                    doubtful("exempt"),
                    named(*rule)
                );
                text + &self.hints(index, &explained.hints)
            }
            End::Replaced { rule, limits } => {
                let text = format!(
                    "  {}: other rules of this request replace every limit of {}\n",
                    doubtful("exempt"),
                    named(*rule)
                );
                text + &self.limits(explained, descriptor, *rule, limits)
            }
            End::Miss { miss, expected, more } => {
                let domain = &self.explain.asked.domain;
                let said = statement(*miss, domain, explained, &descriptor.entries);
                let mut text = format!("  {}: {said}\n", bad("no limit applies"));
                text += &self.known(*miss, expected, *more);
                text += &self.hints(index, &explained.hints);
                let is_typo = |hint: &Hint<'_>| {
                    matches!(hint.why, Why::NearDomain(_) | Why::NearKey(_) | Why::NearValue(_))
                };
                if !explained.hints.iter().any(is_typo) {
                    text += &self.remedy(*miss, explained, &descriptor.entries);
                }
                text
            }
        }
    }

    /// What is there where the way ended.
    fn known(&self, miss: Miss, expected: &[Spot<'_>], more: usize) -> String {
        let title = match miss {
            Miss::Domain => "domains:",
            Miss::Key => "keys here:",
            Miss::Value => "values here:",
            _ => return String::new(),
        };
        let mut names: Vec<String> = match miss {
            Miss::Domain => self.explainer.domains().take(10).map(quoted).collect(),
            Miss::Key => expected.iter().map(|spot| quoted(&spot.node.key)).collect(),
            _ => expected.iter().map(|spot| quoted(&spot.node.value)).collect(),
        };
        if names.is_empty() {
            return String::new();
        }
        let all = self.explainer.domains().count();
        let more = if miss == Miss::Domain { all.saturating_sub(names.len()) } else { more };
        if more > 0 {
            names.push(format!("{more} more"));
        }
        format!("    {title} {}\n", names.join(", "))
    }

    fn hints(&self, index: usize, hints: &[Hint<'_>]) -> String {
        let mut text = String::new();
        for one in hints {
            let lines = words(&one.why, index, &self.request.descriptors);
            for (number, line) in lines.iter().enumerate() {
                let head = if number == 0 { hint("hint:").to_string() } else { "     ".to_owned() };
                let _ = writeln!(text, "{}  {head} {line}", if number == 0 { "\n" } else { "" });
            }
            if one.domain.is_some() || one.descriptors.is_some() {
                let command = self.command(one.domain, one.descriptors.as_deref());
                let _ = writeln!(text, "          {}", strong(command));
            }
        }
        text
    }

    /// The rule that would limit the request, ready to be pasted.
    fn remedy(&self, miss: Miss, explained: &Explained<'_>, entries: &[Entry]) -> String {
        let last = explained.steps.last().map(|step| step.spot);
        let (title, yaml) = match (miss, last) {
            (Miss::NoEntries, _) => return String::new(),
            (Miss::DeeperEntry, Some(spot)) => {
                (format!("for a limit of its own, add to {}", named(spot)), limit_yaml())
            }
            (_, Some(spot)) => {
                let rest = &entries[explained.steps.len()..];
                (format!("to limit these entries, add below {}", named(spot)), descriptors_yaml(rest))
            }
            (Miss::Domain, None) => {
                let domain = format!("domain: {}\n", scalar(&self.explain.asked.domain));
                ("to limit these entries, write a rule file".to_owned(), domain + &descriptors_yaml(entries))
            }
            (_, None) => {
                let file = self.explanation.files.first().map_or("", |file| file.name.as_str());
                (format!("to limit these entries, add to {file}"), descriptors_yaml(entries))
            }
        };
        let mut text = format!("\n  {} {title}\n", hint("hint:"));
        let any =
            if yaml.contains("value:") { "; without `value`, each value is counted by itself" } else { "" };
        let _ = writeln!(text, "        the numbers are an example{any}");
        for line in yaml.lines() {
            let _ = writeln!(text, "          {line}");
        }
        text
    }

    fn limits(
        &self,
        explained: &Explained<'_>,
        descriptor: &Descriptor,
        rule: Spot<'_>,
        limits: &[Applied<'_>],
    ) -> String {
        let mut text = String::new();
        for Applied { limit, replaced_by } in limits {
            let name = if limit.name.is_empty() { "limit".to_owned() } else { quoted(&limit.name) };
            let at = format!("{}:{}:{}", rule.file, limit.position.line, limit.position.column);
            let _ = writeln!(text, "\n  {}  {}", strong(name), faint(at));
            let mut rows = vec![row("limit", numbers::line(&limit.limit))];
            if let Some(by) = replaced_by {
                rows.push(row("replaced", format!("does not apply: {} replaces it by name", named(*by))));
                text += &aligned("    ", &rows);
                continue;
            }
            rows.extend(self.numbers(&limit.limit));
            if limit.shadow_mode {
                rows.push(row("shadow", "measured only: it refuses nobody (`shadow_mode`)"));
            }
            if !limit.replaces.is_empty() {
                let names: Vec<String> = limit.replaces.iter().map(|name| quoted(name)).collect();
                rows.push(row("replaces", format!("the limits of this request named {}", names.join(", "))));
            }
            if rule.node.quota_mode {
                let words = "refuses only if every descriptor of the quota is refused (`quota_mode`)";
                rows.push(row("quota", words));
            }
            if rule.node.metadata.is_some() {
                rows.push(row("metadata", "answers carry that of the rule while it does not refuse"));
            }
            rows.push(self.counted(explained, descriptor));
            for step in explained.steps.iter().filter(|step| step.spot.node.share_threshold) {
                let words = format!(
                    "all that {} matches share one counter (`share_threshold`)",
                    quoted(&node(step.spot))
                );
                rows.push(row("shared", words));
            }
            text += &aligned("    ", &rows);
        }
        text
    }

    fn numbers(&self, limit: &Limit) -> Vec<Vec<String>> {
        let hits = self.explain.asked.hits;
        let mut rows =
            vec![row("means", numbers::meaning(limit)), row("refused hits", numbers::refused(limit))];
        if let Some(never) = numbers::never(limit, hits) {
            rows.push(row("cost", bad(never).to_string()));
        } else if limit.algorithm().is_bucket() && limit.capacity() == 1 {
            rows.push(row("cost", "above 1 can never pass, since `burst` is 1"));
        } else if hits == 0 {
            rows.push(row("cost", "0 hits look and count nothing"));
        }
        rows
    }

    fn counted(&self, explained: &Explained<'_>, descriptor: &Descriptor) -> Vec<String> {
        let counted = explained.counted(&descriptor.entries);
        let entries: Vec<String> =
            counted.iter().map(|(key, value)| printable(&format!("{key}={value}"))).collect();
        row("counted under", format!("{}: {}", printable(&self.explain.asked.domain), entries.join(", ")))
    }
}

const fn if_the_store_fails(policy: OnStoreFailure) -> &'static str {
    match policy {
        OnStoreFailure::Error => {
            "if the store fails, Envoy's `failure_mode_deny` decides (`on_store_failure: error`)"
        }
        OnStoreFailure::Allow => "if the store fails, everything passes (`on_store_failure: allow`)",
        OnStoreFailure::Deny => "if the store fails, what is limited is refused (`on_store_failure: deny`)",
    }
}

fn kept_together(tag: &HashTag) -> String {
    match tag {
        HashTag::Domain => {
            "in a Redis Cluster, the whole domain is in one slot (`hash_tag: domain`)".to_owned()
        }
        HashTag::Entry(key) => {
            let key = printable(key);
            format!("in a Redis Cluster, what has the same `{key}` is in one slot (`hash_tag: {key}`)")
        }
    }
}

fn row(title: &str, words: impl Into<String>) -> Vec<String> {
    vec![title.to_owned(), words.into()]
}

/// The way to the rule that was reached, and where it is written.
fn path(explained: &Explained<'_>, rule: Spot<'_>) -> String {
    let nodes: Vec<String> = explained.steps.iter().map(|step| node(step.spot)).collect();
    format!("{} ({})", quoted(&nodes.join(" > ")), place(rule))
}

/// Each entry and what took it.
fn steps(explained: &Explained<'_>, descriptor: &Descriptor) -> String {
    let taken = explained.steps.iter().zip(&descriptor.entries).map(|(step, entry)| {
        vec![
            printable(&shown(entry)),
            good(how(step.how)).to_string(),
            printable(&node(step.spot)),
            faint(place(step.spot)).to_string(),
        ]
    });
    let mut rows: Vec<Vec<String>> = taken.collect();
    let rest = descriptor.entries.iter().skip(explained.steps.len());
    rows.extend(rest.enumerate().map(|(index, entry)| {
        let word = match (&explained.end, index) {
            (End::Override(_), _) => faint("not asked").to_string(),
            (_, 0) => bad("no match").to_string(),
            _ => faint("not reached").to_string(),
        };
        vec![printable(&shown(entry)), word]
    }));
    aligned("  ", &rows)
}

/// A text as YAML writes it.
fn scalar(text: &str) -> String {
    serde_yaml::to_string(text).map_or_else(|_| quoted(text), |yaml| yaml.trim_end().to_owned())
}

/// A limit that anybody can change to what is wanted.
fn example() -> Yaml {
    let mut limit = Mapping::new();
    limit.insert("unit".into(), "minute".into());
    limit.insert("requests_per_unit".into(), 100.into());
    limit.into()
}

fn limit_yaml() -> String {
    let mut map = Mapping::new();
    map.insert("rate_limit".into(), example());
    serde_yaml::to_string(&map).unwrap_or_default()
}

/// Nested descriptors for the entries, the last with a limit.
fn descriptors_yaml(entries: &[Entry]) -> String {
    let mut inner: Option<Yaml> = None;
    for entry in entries.iter().rev() {
        let mut map = Mapping::new();
        let text = |bytes: &[u8]| Yaml::from(String::from_utf8_lossy(bytes).into_owned());
        map.insert("key".into(), text(&entry.key));
        if !entry.value.is_empty() {
            map.insert("value".into(), text(&entry.value));
        }
        match inner.take() {
            Some(below) => map.insert("descriptors".into(), Yaml::Sequence(vec![below])),
            None => map.insert("rate_limit".into(), example()),
        };
        inner = Some(map.into());
    }
    let mut root = Mapping::new();
    root.insert("descriptors".into(), Yaml::Sequence(inner.into_iter().collect()));
    serde_yaml::to_string(&root).unwrap_or_default()
}
