//! One rule file: its tree becomes a [`RuleFile`], and everything wrong in it is said.

mod limit;
mod metadata;

use crate::limit::Algorithm;
use crate::yaml::{self, Fields, Kind, Message, Node as Tree, Position, Problem, Severity, Value, quoted};

use super::file::{Defaults, Node, NodeLimits, RuleFile};
use super::pattern::is_pattern;
use super::{HashTag, OnStoreFailure};

/// What came of one file.
pub(super) struct DecodedFile {
    /// The file, whole only if there is no error among the problems.
    pub(super) file: Option<RuleFile>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    /// The names that its rules replace.
    pub(super) replaced_names: Vec<ReplacedName>,
    /// Where its `hash_tag` stands, if it has one.
    pub(super) hash_tag_at: Option<Position>,
}

/// A name under `replaces`.
pub(super) struct ReplacedName {
    pub(super) name: String,
    pub(super) position: Position,
    /// Where it stands in the document.
    pub(super) path: String,
}

/// The keys of the reference, each of which it lets pass anywhere, though most have a meaning in one place only.
const REFERENCE_KEYS: [&str; 16] = [
    "domain",
    "key",
    "value",
    "descriptors",
    "rate_limit",
    "unit",
    "requests_per_unit",
    "unlimited",
    "shadow_mode",
    "quota_mode",
    "name",
    "replaces",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
];

const DESCRIPTOR_KEYS: [&str; 10] = [
    "key",
    "value",
    "rate_limit",
    "descriptors",
    "shadow_mode",
    "quota_mode",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
];

/// Our own keys inside `rate_limit`; elsewhere they are mistakes, since no file of the reference has them.
const OWN_LIMIT_KEYS: [&str; 4] = ["algorithm", "burst", "unit_multiplier", "count_refused"];

/// Our own keys at the root of a file.
const OWN_ROOT_KEYS: [&str; 3] = ["defaults", "on_store_failure", "hash_tag"];

/// What the decoding of a file carries along.
struct Context {
    defaults: Defaults,
    replaced_names: Vec<ReplacedName>,
    hash_tag_at: Option<Position>,
}

/// Decodes one file; `general` are the defaults of the settings.
pub(super) fn decode(name: &str, text: &[u8], general: Defaults) -> DecodedFile {
    let mut context = Context { defaults: general, replaced_names: Vec::new(), hash_tag_at: None };
    let decoded = yaml::decode(name, text, |fields| root(name, fields, &mut context));
    DecodedFile {
        file: decoded.value,
        problems: decoded.problems,
        replaced_names: context.replaced_names,
        hash_tag_at: context.hash_tag_at,
    }
}

fn root(name: &str, fields: &mut Fields<'_, '_>, context: &mut Context) -> RuleFile {
    let mut domain_at = fields.position();
    let domain = fields.field("domain", |value| {
        domain_at = value.position();
        value.text()
    });
    // A value of the wrong type was reported already.
    if domain.as_deref().map_or(!fields.has("domain"), str::is_empty) {
        fields.report_at("domain", Severity::Error, Message::new("a rule file needs a domain"));
    }
    let defaults = fields.map("defaults", defaults).unwrap_or_default();
    context.defaults = defaults.or(context.defaults);
    let on_store_failure = fields.field("on_store_failure", |value| {
        let policies = OnStoreFailure::ALL.map(|policy| (policy.name(), policy));
        Some((value.choice(&policies)?, value.position()))
    });
    let hash_tag = fields.field("hash_tag", |value| {
        context.hash_tag_at = Some(value.position());
        hash_tag(value)
    });
    let descriptors = descriptors(fields, context);
    misplaced(fields, "root");
    RuleFile {
        name: name.to_owned(),
        domain: domain.unwrap_or_default(),
        domain_at,
        overrides_count_refused: defaults.count_refused,
        on_store_failure,
        hash_tag,
        descriptors,
    }
}

/// What the keys of a domain are kept together by, in rule files and settings alike.
pub fn hash_tag(value: &mut Value<'_, '_>) -> Option<HashTag> {
    let tag = HashTag::from_name(&value.text()?);
    if tag.is_none() {
        value.error(
            Message::new("this is empty").expected("`domain` or the key of an entry, such as `tenant`"),
        );
    }
    tag
}

fn defaults(fields: &mut Fields<'_, '_>) -> Defaults {
    Defaults {
        algorithm: fields.choice("algorithm", &Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm))),
        count_refused: fields.bool("count_refused"),
        burst: fields.u64_in("burst", 1..=u64::MAX),
    }
}

/// The nodes of a level. An item that is no descriptor leaves an empty node, so that indices are those of the file.
fn descriptors(fields: &mut Fields<'_, '_>, context: &mut Context) -> Vec<Node> {
    let list = fields.list("descriptors", |value| {
        let position = value.position();
        let node = value.map(|fields| descriptor(fields, context));
        Some(node.unwrap_or_else(|| Node::without_limit(position)))
    });
    list.unwrap_or_default()
}

fn descriptor(fields: &mut Fields<'_, '_>, context: &mut Context) -> Node {
    let key = fields.text("key");
    if key.as_deref().map_or(!fields.has("key"), str::is_empty) {
        fields.report_at("key", Severity::Error, Message::new("a descriptor needs a key"));
    }
    let value = fields.text("value").unwrap_or_default();
    let shadow_mode = fields.bool("shadow_mode").unwrap_or_default();
    let limits = fields.layered("rate_limit", |value| limit::limits(value, shadow_mode, context));
    let node = Node {
        position: fields.position(),
        key: key.unwrap_or_default(),
        value,
        limits: limits.unwrap_or(NodeLimits::None),
        quota_mode: fields.bool("quota_mode").unwrap_or_default(),
        detailed_metric: fields.bool("detailed_metric").unwrap_or_default(),
        value_to_metric: fields.bool("value_to_metric").unwrap_or_default(),
        share_threshold: fields.bool("share_threshold").unwrap_or_default(),
        metadata: fields.layered("metadata", metadata::metadata),
        children: descriptors(fields, context),
    };
    check_switches(&node, shadow_mode, fields);
    misplaced(fields, "descriptor");
    node
}

fn check_switches(node: &Node, shadow_mode: bool, fields: &mut Fields<'_, '_>) {
    if node.share_threshold && !is_pattern(&node.key) && !is_pattern(&node.value) {
        let message = Message::new("`share_threshold` needs a pattern with `*` in the key or the value")
            .found(format!("key {} and value {}", quoted(&node.key), quoted(&node.value)));
        fields.report_at("share_threshold", Severity::Error, message);
    }
    if fields.has("rate_limit") {
        return;
    }
    for (name, is_on) in [("shadow_mode", shadow_mode), ("quota_mode", node.quota_mode)] {
        if is_on {
            let message = Message::new(format!("`{name}` has no meaning without a `rate_limit` beside it"));
            fields.report_at(name, Severity::Warning, message);
        }
    }
}

/// Reports the keys that are known but do not belong here; `place` names where we are.
fn misplaced(fields: &mut Fields<'_, '_>, place: &str) {
    if fields.is_spent() {
        return;
    }
    for key in REFERENCE_KEYS {
        let belongs = match key {
            "domain" => "root",
            _ if DESCRIPTOR_KEYS.contains(&key) => "descriptor",
            _ => "rate_limit",
        };
        let is_at_home = belongs == place
            // The two keys that stand in two places.
            || key == "descriptors" && place == "root"
            || key == "name" && place == "replaces";
        if !is_at_home {
            if let Some(value) = fields.peek(key) {
                check_ignored(value, key, fields);
            }
            fields.misplaced(key, Severity::Warning, &format!("it belongs in {}", place_name(belongs)));
        }
    }
    for key in OWN_LIMIT_KEYS {
        if place != "rate_limit" {
            let hint = match key {
                "unit_multiplier" => "it belongs in a `rate_limit`",
                _ => "it belongs in a `rate_limit`, or in the `defaults` of the file",
            };
            fields.misplaced(key, Severity::Error, hint);
        }
    }
    if place != "root" {
        for key in OWN_ROOT_KEYS {
            fields.misplaced(key, Severity::Error, "it belongs at the root of the file");
        }
    }
}

fn place_name(place: &str) -> &'static str {
    match place {
        "root" => "the root of the file",
        "descriptor" => "a descriptor",
        _ => "a `rate_limit`",
    }
}

/// What the reference ignores it still searches for unknown keys, and so do we.
fn check_ignored(value: &Tree, key: &'static str, fields: &mut Fields<'_, '_>) {
    let mut rest = if key == "metadata" { vec![] } else { vec![value] };
    while let Some(node) = rest.pop() {
        let mut error = |message| fields.report_in(key, Severity::Error, node.position, message);
        match &node.kind {
            Kind::Scalar(scalar) if scalar.is_oversized_integer() => {
                error(Message::new(format!("{} is too large for a number", quoted(&scalar.text))));
            }
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                if items.iter().any(|item| !matches!(item.kind, Kind::Map(_))) {
                    error(Message::new("wrong type").expected("a list of maps"));
                }
                rest.extend(items);
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let text = entry.key.scalar().map_or("", |scalar| &scalar.text);
                    match REFERENCE_KEYS.contains(&text) {
                        true if text != "metadata" => rest.push(&entry.value),
                        true => {}
                        false => error(Message::new(format!("unknown key {}", quoted(text)))),
                    }
                }
            }
        }
    }
}
