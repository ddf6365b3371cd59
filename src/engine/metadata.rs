//! Dynamic metadata: what Envoy's filters and access log can read about a decision.
//!
//! The reference's fields (`domain`, `descriptors`, `hitsAddend`, `metadata`), and beside them `decided_by`,
//! so that an access log can print which rule refused.

use super::judged::{Judged, tightness};
use super::{Code, Map, Value};
use crate::request::{Descriptor, Override, Request};

pub(super) fn metadata(request: &Request, judged: &[Judged<'_>], code: Code) -> Map {
    let mut map = Map::new();
    map.insert("domain".to_owned(), text(&request.domain));
    map.insert("descriptors".to_owned(), Value::List(request.descriptors.iter().map(descriptor).collect()));
    if request.hits_addend != 0 {
        map.insert("hitsAddend".to_owned(), Value::Number(f64::from(request.hits_addend)));
    }
    let mut of_rules = Map::new();
    for judged in judged.iter().filter(|judged| !judged.is_over()) {
        if let Some(metadata) = judged.rule.and_then(|rule| rule.metadata.as_ref()) {
            merge(&mut of_rules, metadata);
        }
    }
    if !of_rules.is_empty() {
        map.insert("metadata".to_owned(), Value::Map(of_rules));
    }
    if let Some(decided) = decided(judged, code) {
        map.insert("decided_by".to_owned(), Value::Map(decided_by(request, decided)));
    }
    map
}

/// The descriptor that decided: the tightest of those that refused, else the one with the fewest hits left.
fn decided<'a, 'j>(judged: &'a [Judged<'j>], code: Code) -> Option<&'a Judged<'j>> {
    if code == Code::OverLimit {
        let refusing = judged.iter().filter(|judged| judged.is_over());
        return refusing.min_by_key(|judged| (judged.quota, tightness(judged.verdict)));
    }
    judged.iter().min_by_key(|judged| (judged.shadow, judged.remaining()))
}

fn decided_by(request: &Request, decided: &Judged<'_>) -> Map {
    let verdict = match (decided.verdict.allowed, decided.shadow) {
        (true, _) => "ok",
        (false, false) => "over_limit",
        (false, true) => "shadow_over_limit",
    };
    let rule = decided.rule.map_or("override", |rule| &*rule.path);
    let name = decided.name().map_or("", |name| &**name);
    Map::from([
        ("domain".to_owned(), text(&request.domain)),
        ("rule".to_owned(), rule.into()),
        ("name".to_owned(), name.into()),
        ("verdict".to_owned(), verdict.into()),
        ("remaining".to_owned(), Value::Number(f64::from(decided.remaining()))),
    ])
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let entries = descriptor.entries.iter().map(|entry| {
        let (key, value) = (String::from_utf8_lossy(&entry.key), String::from_utf8_lossy(&entry.value));
        Value::Text(format!("{key}={value}"))
    });
    let mut map = Map::from([("entries".to_owned(), Value::List(entries.collect()))]);
    if let Some(limit) = descriptor.limit {
        map.insert("limit".to_owned(), Value::Text(override_text(limit)));
    }
    if let Some(hits) = descriptor.hits_addend {
        #[expect(clippy::cast_precision_loss, reason = "a protobuf number is a double")]
        map.insert("hitsAddend".to_owned(), Value::Number(hits as f64));
    }
    Value::Map(map)
}

/// An override in protobuf's text form, as the reference tells it: fields that are zero are left out.
fn override_text(limit: Override) -> String {
    let mut fields = Vec::new();
    if limit.requests_per_unit() != 0 {
        fields.push(format!("requests_per_unit:{}", limit.requests_per_unit()));
    }
    fields.push(format!("unit:{}", limit.unit().name().to_uppercase()));
    if limit.unit_multiplier() != 1 {
        fields.push(format!("unit_multiplier:{{value:{}}}", limit.unit_multiplier()));
    }
    fields.join(" ")
}

/// Adds what `into` lacks; the first value of a name stays, maps are merged all the way down.
fn merge(into: &mut Map, from: &Map) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (None, _) => {
                into.insert(name.clone(), value.clone());
            }
            (Some(Value::Map(into)), Value::Map(from)) => merge(into, from),
            (Some(_), _) => {}
        }
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::Text(String::from_utf8_lossy(bytes).into_owned())
}
