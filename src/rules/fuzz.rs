//! Rule files from anybody: every mistake is told, and what loads means the same when it is printed and loaded
//! again.

use std::fmt::Write;

use super::explain::Explainer;
use super::file::{Node, NodeLimit, NodeLimits, RuleFile};
use super::load::{LoadOptions, Loaded, Source, load};
use super::{Modes, RuleSet};
use crate::engine::Value;
use crate::request::{Descriptor, Entry, MAX_DESCRIPTORS, MAX_ENTRIES, Request};
use crate::yaml::{Position, Problems};

/// A rule file.
pub(crate) fn rules(data: &[u8]) {
    let loaded = loaded(data);
    check_problems(&loaded, data);
    if !loaded.is_ok() {
        return;
    }
    let printed = print(&loaded.files[0]);
    let again = self::loaded(printed.as_bytes());
    assert!(again.is_ok(), "{printed}\n{:?}", again.problems);
    let (before, after) = (without_places(&loaded.files[0]), without_places(&again.files[0]));
    // As text, since numbers in metadata may be none.
    assert_eq!(format!("{before:?}"), format!("{after:?}"), "{printed}");
    ask(&loaded.files);
}

fn loaded(text: &[u8]) -> Loaded {
    load(&[Source { name: "f".to_owned(), text: text.to_vec() }], &LoadOptions::default())
}

/// Problems are bounded in number and size, stand in the file, and are one line each but for the hint.
fn check_problems(loaded: &Loaded, data: &[u8]) {
    assert!(loaded.problems.len() <= 4 * Problems::MAX + 4);
    let lines = data.split(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for problem in &loaded.problems {
        let line =
            problem.position.map_or(1, |position| usize::try_from(position.line).unwrap_or(usize::MAX));
        assert!(line <= lines, "{problem}");
        let message = problem.message.to_string();
        assert!(message.lines().count() <= 2 && message.len() < 2000, "{message:?}");
        assert!(!message.contains(|letter: char| letter.is_control() && letter != '\n'), "{message:?}");
    }
}

/// Asks about every node, and looks that the question holds together.
fn ask(files: &[RuleFile]) {
    let rules = RuleSet::compile(files);
    let explainer = Explainer::new(files);
    assert!(rules.describe().lines().count() >= rules.limits().len());
    let mut descriptors = Vec::new();
    for file in files {
        collect(&file.descriptors, &mut Vec::new(), &mut descriptors);
        for some in descriptors.chunks(MAX_DESCRIPTORS) {
            let request = Request {
                domain: file.domain.clone().into(),
                descriptors: some.iter().cloned().collect(),
                ..Request::default()
            };
            let question = rules.question(&request, Modes::default());
            assert_eq!(question.matched.len(), some.len());
            let charges = question.settlement.charges().len();
            assert_eq!(question.settlement.groups().map(|(group, _)| group.charges).sum::<usize>(), charges);
            assert_eq!(question.limits.len(), charges);
            assert_eq!(explainer.explain(&request).descriptors.len(), some.len());
        }
    }
}

/// A descriptor for every node, as far as a request may be that large.
fn collect(nodes: &[Node], above: &mut Vec<Entry>, descriptors: &mut Vec<Descriptor>) {
    for node in nodes {
        if above.len() == MAX_ENTRIES || descriptors.len() == 2 * MAX_DESCRIPTORS {
            return;
        }
        let value = if node.value.is_empty() { "any".to_owned() } else { node.value.replace('*', "x") };
        above.push(Entry::new(node.key.clone(), value));
        descriptors.push(Descriptor { entries: above.iter().cloned().collect(), ..Descriptor::default() });
        collect(&node.children, above, descriptors);
        above.pop();
    }
}

/// Two texts that mean the same have their nodes at different places.
fn without_places(file: &RuleFile) -> RuleFile {
    let mut file = file.clone();
    file.domain_at = Position::START;
    if let Some((_, position)) = &mut file.on_store_failure {
        *position = Position::START;
    }
    let mut open: Vec<&mut Node> = file.descriptors.iter_mut().collect();
    while let Some(node) = open.pop() {
        node.position = Position::START;
        if let NodeLimits::Limited { limits, .. } = &mut node.limits {
            for limit in limits {
                limit.position = Position::START;
            }
        }
        open.extend(&mut node.children);
    }
    file
}

/// The file with everything said that defaults would say.
fn print(file: &RuleFile) -> String {
    let mut text = format!("{{domain: {}", quoted(&file.domain));
    if let Some(count_refused) = file.overrides_count_refused {
        put(&mut text, "defaults", &format!("{{count_refused: {count_refused}}}"));
    }
    if let Some((policy, _)) = file.on_store_failure {
        put(&mut text, "on_store_failure", policy.name());
    }
    if let Some(tag) = &file.hash_tag {
        put(&mut text, "hash_tag", &quoted(tag.name()));
    }
    put(&mut text, "descriptors", &list(file.descriptors.iter().map(node)));
    text + "}\n"
}

fn node(node: &Node) -> String {
    let mut text = format!("{{key: {}", quoted(&node.key));
    if !node.value.is_empty() {
        put(&mut text, "value", &quoted(&node.value));
    }
    match &node.limits {
        NodeLimits::None => {}
        NodeLimits::Unlimited { name, replaces } => {
            put(&mut text, "rate_limit", &format!("{{unlimited: true{}}}", names(name, replaces)));
        }
        NodeLimits::Limited { limits, is_list: false } => {
            put(&mut text, "rate_limit", &format!("{}}}", limit(&limits[0])));
            put(&mut text, "shadow_mode", &limits[0].shadow_mode.to_string());
        }
        NodeLimits::Limited { limits, is_list: true } => {
            let limits = limits.iter().map(|of| format!("{}, shadow_mode: {}}}", limit(of), of.shadow_mode));
            put(&mut text, "rate_limit", &list(limits));
        }
    }
    for (name, flag) in [
        ("quota_mode", node.quota_mode),
        ("detailed_metric", node.detailed_metric),
        ("value_to_metric", node.value_to_metric),
        ("share_threshold", node.share_threshold),
    ] {
        if flag {
            put(&mut text, name, "true");
        }
    }
    if let Some(metadata) = &node.metadata {
        put(&mut text, "metadata", &value(&Value::Map(metadata.clone())));
    }
    if !node.children.is_empty() {
        put(&mut text, "descriptors", &list(node.children.iter().map(self::node)));
    }
    text + "}"
}

fn limit(of: &NodeLimit) -> String {
    let NodeLimit { limit, name, replaces, .. } = of;
    let mut text = format!("{{unit: {}, requests_per_unit: {}", limit.unit().name(), limit.count());
    put(&mut text, "unit_multiplier", &limit.unit_multiplier().to_string());
    put(&mut text, "algorithm", limit.algorithm().name());
    put(&mut text, "count_refused", &limit.count_refused().to_string());
    if limit.algorithm().is_bucket() && limit.capacity() > 0 {
        put(&mut text, "burst", &limit.capacity().to_string());
    }
    text + &names(name, replaces)
}

fn names(name: &str, replaces: &[String]) -> String {
    let mut text = String::new();
    if !name.is_empty() {
        put(&mut text, "name", &quoted(name));
    }
    if !replaces.is_empty() {
        put(&mut text, "replaces", &list(replaces.iter().map(|name| format!("{{name: {}}}", quoted(name)))));
    }
    text
}

fn put(text: &mut String, name: &str, value: &str) {
    write!(text, ", {name}: {value}").expect("writing to a string cannot fail");
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn value(of: &Value) -> String {
    match of {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) if number.is_nan() => ".nan".to_owned(),
        Value::Number(number) if number.is_infinite() && *number > 0.0 => ".inf".to_owned(),
        Value::Number(number) if number.is_infinite() => "-.inf".to_owned(),
        Value::Number(number) => format!("{number:?}"),
        Value::Text(text) => quoted(text),
        Value::List(items) => list(items.iter().map(value)),
        Value::Map(map) => {
            let fields = map.iter().map(|(name, field)| format!("? {} : {}", quoted(name), value(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text between double quotes, with everything escaped that is not plain.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => write!(quoted, "\\U{:08x}", u32::from(letter)).expect("writing to a string cannot fail"),
        }
    }
    quoted + "\""
}
