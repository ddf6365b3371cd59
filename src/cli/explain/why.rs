//! Misses and hints in words.

use super::{node, place};
use crate::cli::entries::shown;
use crate::engine::Miss;
use crate::request::{Descriptor, Entry};
use crate::rules::explain::{Explained, Spot, Why};
use crate::yaml::quoted;

/// Why no limit applies, as a statement; `domain` is the one that was asked for.
pub(super) fn statement(miss: Miss, domain: &str, explained: &Explained<'_>, entries: &[Entry]) -> String {
    let at = explained.steps.len();
    let entry = entries.get(at);
    let text = |bytes: Option<&[u8]>| quoted(&String::from_utf8_lossy(bytes.unwrap_or_default()));
    let key = text(entry.map(|entry| &*entry.key));
    let last = explained.steps.last().map(|step| step.spot);
    let below = last.map_or(String::new(), |spot| format!(" below {}", quoted(&node(spot))));
    match (miss, last) {
        (Miss::Domain, _) => format!("no rule file has the domain {}", quoted(domain)),
        (Miss::Value, _) => {
            let value = text(entry.map(|entry| &*entry.value));
            format!("the key {key} has rules{below}, but none for the value {value}, and none for any value")
        }
        (Miss::DeeperEntry, Some(spot)) => {
            format!(
                "the entries end at {}, which has no `rate_limit` of its own, only deeper rules",
                quoted(&node(spot))
            )
        }
        (Miss::ExtraEntry, Some(spot)) => {
            let entry = entry.map(shown).unwrap_or_default();
            format!("the rules end at {}, and the entries go on with {}", quoted(&node(spot)), quoted(&entry))
        }
        (Miss::NoEntries, _) => "the descriptor has no entries".to_owned(),
        _ => format!("no rule{below} has the key {key}"),
    }
}

/// The name of a hint for machines.
pub(super) fn kind(why: &Why<'_>) -> &'static str {
    match why {
        Why::NearDomain(_) => "near_domain",
        Why::OtherDomain(_) => "other_domain",
        Why::NearKey(_) => "near_key",
        Why::NearValue(_) => "near_value",
        Why::OtherOrder(_) => "other_order",
        Why::OneDescriptor { .. } => "one_descriptor",
        Why::ManyDescriptors(_) => "many_descriptors",
        Why::ExtraEntry { .. } => "extra_entry",
        Why::OneMoreEntry { .. } => "one_more_entry",
        Why::EntriesBefore { .. } => "entries_before",
        Why::LimitOnTheWay { .. } => "limit_on_the_way",
        Why::NoWayBack { .. } => "no_way_back",
    }
}

/// A hint in words: lines, the first of which is the hint itself. `own` is the place of its descriptor.
pub(super) fn words(why: &Why<'_>, own: usize, descriptors: &[Descriptor]) -> Vec<String> {
    let entries: &[Entry] = descriptors.get(own).map_or(&[], |descriptor| &descriptor.entries);
    let entry = |at: usize| quoted(&entries.get(at).map(shown).unwrap_or_default());
    match why {
        Why::NearDomain(file) => {
            let at = file.domain_at;
            vec![format!(
                "did you mean the domain {} ({}:{}:{})?",
                quoted(&file.domain),
                file.name,
                at.line,
                at.column
            )]
        }
        Why::OtherDomain(rule) => {
            vec![format!("another domain has a rule for these entries: {}", named(*rule))]
        }
        Why::NearKey(spot) => {
            vec![format!("did you mean the key {} ({})?", quoted(&spot.node.key), place(*spot))]
        }
        Why::NearValue(spot) => {
            vec![format!("did you mean the value {} ({})?", quoted(&spot.node.value), place(*spot))]
        }
        Why::OtherOrder(rule) => vec![
            format!("in another order the same entries reach a rule: {}", named(*rule)),
            "rules nest in the order of the entries, and Envoy sends them in the order of its `actions`"
                .to_owned(),
        ],
        Why::OneDescriptor { with, rule } => vec![
            format!(
                "the rule {} wants the entries of descriptors {} and {} in one descriptor",
                named(*rule),
                own.min(*with) + 1,
                own.max(*with) + 1
            ),
            "in Envoy, write their `actions` into one item of `rate_limits`".to_owned(),
        ],
        Why::ManyDescriptors(rules) => vec![
            format!("each part has a rule of its own, as a descriptor of its own: {}", list(rules, "and")),
            "in Envoy, write one item of `rate_limits` for each".to_owned(),
        ],
        Why::ExtraEntry { without, rule } => {
            vec![format!("without {} the other entries reach a rule: {}", entry(*without), named(*rule))]
        }
        Why::OneMoreEntry { at, deeper } => {
            vec![format!("the rules below {} want one more entry: {}", named(*at), list(deeper, "or"))]
        }
        Why::EntriesBefore { above, rule } => {
            let missing: Vec<String> = above.iter().map(|spot| quoted(&node(*spot))).collect();
            vec![format!("the rule {} wants {} before these entries", named(*rule), missing.join(", "))]
        }
        Why::LimitOnTheWay { rule, entries: reached } => vec![
            format!("the limit of {} is passed by: only the node of the last entry counts", named(*rule)),
            format!("it applies to a descriptor that ends with {}", entry(reached.saturating_sub(1))),
        ],
        Why::NoWayBack { at, taken, instead, rule } => {
            let mut lines = vec![format!(
                "{} is taken by {}, which is more specific or stands first; there is no way back from it",
                entry(*at),
                named(*taken)
            )];
            lines.push(if std::ptr::eq(instead.node, rule.node) {
                format!("without it the limit of {} would apply", named(*rule))
            } else {
                let (instead, taken) = (named(*instead), quoted(&node(*taken)));
                format!(
                    "without it {instead} would lead to the limit of {}; write those rules below {taken} too",
                    named(*rule)
                )
            });
            lines
        }
    }
}

/// A node with its place.
pub(super) fn named(spot: Spot<'_>) -> String {
    format!("{} ({})", quoted(&node(spot)), place(spot))
}

fn list(spots: &[Spot<'_>], word: &str) -> String {
    let names: Vec<String> = spots.iter().map(|spot| named(*spot)).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} {word} {last}", others.join(", ")),
        None => String::new(),
    }
}
