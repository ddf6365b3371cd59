//! `rate_limit`: one limit, several, or none.

use crate::limit::{Algorithm, Limit, LimitError, LimitSpec, Unit};
use crate::yaml::{Fields, Kind, Message, Node as Tree, Severity, Value, either, nearest, quoted};

use super::super::file::{NodeLimit, NodeLimits};
use super::{Context, ReplacedName, misplaced};

/// Most limits of one descriptor. Each is counted for every request that matches; more is a mistake.
const MAX_LIMITS: usize = 16;

/// What stands under `rate_limit`.
enum Limited {
    By(NodeLimit),
    Unlimited { name: String, replaces: Vec<String> },
}

/// The limits of a node; `shadow_mode` is that of the node.
pub(super) fn limits(
    value: &mut Value<'_, '_>,
    shadow_mode: bool,
    context: &mut Context,
) -> Option<NodeLimits> {
    match &value.node().kind {
        Kind::Scalar(scalar) if scalar.is_absent() => None,
        // `Null` and `NULL` are an empty map to the reference.
        Kind::Scalar(_) if value.node().is_null() => {
            let empty = Tree::empty_map(value.position());
            single(&mut value.instead(&empty), shadow_mode, context)
        }
        Kind::Scalar(_) => value.wrong_type("a map, or a list of maps"),
        Kind::Map(_) => single(value, shadow_mode, context),
        Kind::List(items) => {
            if !(1..=MAX_LIMITS).contains(&items.len()) {
                let message = Message::new("wrong number of limits in a list").found(items.len().to_string());
                value.error(message.expected(format!("1 to {MAX_LIMITS}")));
                return None;
            }
            let limits = value.list(|item| listed(item, shadow_mode, context))?;
            report_twins(&limits, items, value);
            Some(NodeLimits::Limited { limits, is_list: true })
        }
    }
}

fn single(value: &mut Value<'_, '_>, shadow_mode: bool, context: &mut Context) -> Option<NodeLimits> {
    let limited = value.map(|fields| {
        let hint = "it belongs in the descriptor, or in a limit of a list";
        fields.misplaced("shadow_mode", Severity::Warning, hint);
        limit(fields, shadow_mode, context)
    })??;
    Some(match limited {
        Limited::By(limit) => NodeLimits::Limited { limits: vec![limit], is_list: false },
        Limited::Unlimited { name, replaces } => NodeLimits::Unlimited { name, replaces },
    })
}

fn listed(value: &mut Value<'_, '_>, shadow_mode: bool, context: &mut Context) -> Option<NodeLimit> {
    let limited = value.map(|fields| {
        let own = fields.bool("shadow_mode").unwrap_or_default();
        limit(fields, shadow_mode || own, context)
    })??;
    match limited {
        Limited::By(limit) => Some(limit),
        Limited::Unlimited { .. } => {
            value.error(Message::new("`unlimited` cannot be one of several limits"));
            None
        }
    }
}

/// Two limits of a list would share a counter if these were the same.
fn report_twins(limits: &[NodeLimit], items: &[Tree], list: &mut Value<'_, '_>) {
    let identity = |limit: &NodeLimit| (limit.limit.algorithm(), limit.limit.period_ms(), limit.shadow_mode);
    for (index, limit) in limits.iter().enumerate() {
        if let Some(first) = limits[..index].iter().find(|first| identity(first) == identity(limit)) {
            let message = Message::new("two limits of one descriptor have the same algorithm and period")
                .expected("a different period or algorithm, or `shadow_mode` in one of them")
                .hint(format!("the first is in line {}", first.position.line));
            // Items that are no limit were left out, so the index is that of the place.
            let index = items.iter().position(|item| item.position == limit.position).unwrap_or(index);
            list.item_error(index, limit.position, message);
        }
    }
}

fn limit(fields: &mut Fields<'_, '_>, shadow_mode: bool, context: &mut Context) -> Option<Limited> {
    let position = fields.position();
    let unlimited = fields.bool("unlimited").unwrap_or_default();
    let name = fields.field("name", name).unwrap_or_default();
    let replaces = replaces(fields, &name, context);
    let limit = if unlimited {
        check_unlimited(fields);
        None
    } else {
        numbers(fields, context)
    };
    misplaced(fields, "rate_limit");
    if unlimited {
        return Some(Limited::Unlimited { name, replaces });
    }
    Some(Limited::By(NodeLimit { position, limit: limit?, name, replaces, shadow_mode }))
}

fn numbers(fields: &mut Fields<'_, '_>, context: &Context) -> Option<Limit> {
    let unit = unit(fields);
    let count = fields.u32("requests_per_unit");
    if !fields.has("requests_per_unit") {
        let message = Message::new("`requests_per_unit` is missing, so every request is refused")
            .hint("write `requests_per_unit: 0` if that is what you want");
        fields.warn(message);
    }
    let own_algorithm =
        fields.choice("algorithm", &Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)));
    let own_burst = fields.u64("burst");
    let unit_multiplier = fields.u32("unit_multiplier");
    let count_refused = fields.bool("count_refused");

    let defaults = context.defaults;
    let chosen = own_algorithm.or(defaults.algorithm);
    let algorithm = chosen.unwrap_or(Algorithm::FixedWindow);
    let spec = LimitSpec {
        algorithm,
        count: count.unwrap_or_default(),
        unit: unit?,
        unit_multiplier: unit_multiplier.unwrap_or(1),
        burst: own_burst.or(defaults.burst.filter(|_| algorithm.is_bucket())),
        count_refused: count_refused.or(defaults.count_refused).unwrap_or(chosen.is_none()),
    };
    match Limit::new(spec) {
        Ok(limit) => Some(limit),
        Err(error) => {
            let field = match error {
                LimitError::NoMultiplier | LimitError::PeriodTooLong { .. } => "unit_multiplier",
                LimitError::NoBurst | LimitError::BurstWithoutBucket { .. } => "burst",
                LimitError::BucketTooLarge { .. } => "requests_per_unit",
            };
            fields.report_at(field, Severity::Error, Message::new(error.to_string()));
            None
        }
    }
}

fn unit(fields: &mut Fields<'_, '_>) -> Option<Unit> {
    let names = || Unit::ALL.map(Unit::name);
    if !fields.has("unit") {
        fields.entry("unit");
        fields.error(Message::new("`unit` is missing").expected(either(names())));
        return None;
    }
    fields.field("unit", |value| {
        let text = value.text()?;
        let unit = Unit::from_name(&text);
        if unit.is_none() {
            let message = Message::new(format!("unknown unit {}", quoted(&text))).expected(either(names()));
            // A plural or a blank is no typing error to the edit distance of short words.
            let meant = nearest(text.trim().trim_end_matches('s'), names());
            value.error(message.did_you_mean(meant));
        }
        unit
    })
}

fn check_unlimited(fields: &mut Fields<'_, '_>) {
    let unit = fields.text("unit");
    if unit.as_deref().and_then(Unit::from_name).is_some() {
        let message = Message::new("an unlimited rule has no unit").hint("leave out `unit`, or `unlimited`");
        fields.report_at("unit", Severity::Error, message);
    }
    fields.u32("requests_per_unit");
    let others = ["algorithm", "burst", "unit_multiplier", "count_refused"];
    let bad_unit = unit.is_some_and(|unit| Unit::from_name(&unit).is_none()).then_some("unit");
    for name in others.into_iter().chain(["requests_per_unit"]).chain(bad_unit) {
        // Asked for, so that it is not reported as unknown as well.
        if fields.entry(name).is_some() {
            let message = Message::new(format!("`{name}` has no meaning in an unlimited rule"));
            fields.report_at(name, Severity::Warning, message);
        }
    }
}

/// The name of a rule; Envoy puts it between quotes in a header, unescaped.
fn name(value: &mut Value<'_, '_>) -> Option<String> {
    let name = value.text()?;
    let is_safe = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
    if !name.bytes().all(is_safe) {
        let message = Message::new(format!("Envoy would print the name {} wrongly", quoted(&name)))
            .expected("printable ASCII without `\"` and `\\`")
            .hint("in answers the other characters are left out");
        value.warn(message);
    }
    Some(name)
}

fn replaces(fields: &mut Fields<'_, '_>, own: &str, context: &mut Context) -> Vec<String> {
    let names = fields.list("replaces", |item| {
        if let Some(scalar) = item.node().scalar() {
            let hint = format!("write `- name: {}`", quoted(&scalar.text).trim_matches('`'));
            let message = Message::new("wrong type").found(item.found()).expected("a map with a `name`");
            item.error(message.hint(hint));
            return None;
        }
        let name = item.map(|fields| {
            let name = fields.text("name");
            misplaced(fields, "replaces");
            name
        })?;
        let name = name.unwrap_or_default();
        if name.is_empty() {
            item.error(Message::new("a replaced rule needs a `name`"));
            return None;
        }
        if name == own {
            item.error(Message::new(format!("the rule {} replaces itself", quoted(own))));
            return None;
        }
        let (position, path) = (item.position(), item.path());
        context.replaced_names.push(ReplacedName { name: name.clone(), position, path });
        Some(name)
    });
    names.unwrap_or_default()
}
