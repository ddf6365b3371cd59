//! What a change of rules does, in words.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::listing::limit_json;
use crate::cli::numbers;
use crate::cli::output::{aligned, bad, doubtful, good, printable, strong};
use crate::rules::compare::{Change, Effect, Enforced};
use crate::yaml::quoted;

/// All changes, and how many there are of each kind.
pub(super) fn text(changes: &[Change<'_>]) -> String {
    if changes.is_empty() {
        return format!("{}  none: every rule is what it was\n\n", strong("changes"));
    }
    let count = |effect: &Effect| changes.iter().filter(|change| change.effects.contains(effect)).count();
    let counts = Effect::ALL.iter().filter(|effect| count(effect) > 0);
    let counts: Vec<String> = counts.map(|effect| format!("{} {}", count(effect), effect.name())).collect();
    let mut text = format!("{}  {}\n", strong("changes"), counts.join(", "));
    for change in changes {
        text += &one(change);
    }
    text.push('\n');
    text
}

fn one(change: &Change<'_>) -> String {
    let effects: Vec<String> = change.effects.iter().map(|effect| coloured(*effect)).collect();
    let (file, node) = change.spot;
    let place = format!("{file}:{}:{}", node.position.line, node.position.column);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  {}  {}: {} ({place})",
        effects.join(", "),
        printable(change.domain),
        printable(&change.path.to_string())
    );
    let mut rows = Vec::new();
    rows.extend(change.before.map(|before| vec!["before".to_owned(), enforced(before)]));
    rows.extend(change.after.map(|after| vec!["after".to_owned(), enforced(after)]));
    if let ([Some(before), Some(after)], true) =
        ([change.before, change.after].map(|side| side.map(enforced)), rows.len() == 2)
        && before == after
    {
        rows = vec![vec!["limit".to_owned(), after]];
    }
    let notes = change.effects.iter().filter_map(|effect| note(*effect));
    rows.extend(notes.map(|note| vec!["note".to_owned(), note.to_owned()]));
    text + &aligned("      ", &rows)
}

/// What an effect means where its name does not say it all.
fn note(effect: Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Changed => "admits more in one way and less in another, or cannot be compared",
        Effect::StartedFresh => {
            "hits that were counted are forgotten: they are counted under another key now"
        }
        Effect::ShadowOn => "refuses nobody any more",
        Effect::ShadowOff => "refuses from now on",
        Effect::QuotaOn => "refuses only together with all of the quota",
        Effect::QuotaOff => "refuses alone from now on",
        Effect::Reordered => "stands elsewhere among the patterns, and the first that matches counts",
        Effect::Details => "what it replaces, answers as metadata or measures is different",
        Effect::Added | Effect::Removed | Effect::Loosened | Effect::Tightened | Effect::Renamed => {
            return None;
        }
    })
}

fn coloured(effect: Effect) -> String {
    let name = effect.name();
    match effect {
        Effect::Added | Effect::Loosened => good(name).to_string(),
        Effect::Removed | Effect::Tightened | Effect::ShadowOff => bad(name).to_string(),
        _ => doubtful(name).to_string(),
    }
}

fn enforced(enforced: Enforced<'_>) -> String {
    match enforced {
        Enforced::Limit(limit) => {
            let name =
                if limit.name.is_empty() { String::new() } else { format!(" {}", quoted(&limit.name)) };
            let shadow = if limit.shadow_mode { ", shadow" } else { "" };
            format!("{}{shadow}{name}", numbers::line(&limit.limit))
        }
        Enforced::Unlimited => "unlimited".to_owned(),
        Enforced::Exempt => "exempt".to_owned(),
    }
}

/// One change for machines.
pub(super) fn json(change: &Change<'_>) -> Json {
    let side = |side: Option<Enforced<'_>>| match side {
        None => Json::Null,
        Some(Enforced::Limit(limit)) => limit_json(limit),
        Some(Enforced::Unlimited) => "unlimited".into(),
        Some(Enforced::Exempt) => "exempt".into(),
    };
    let (file, node) = change.spot;
    json!({
        "domain": change.domain,
        "path": change.path.to_string(),
        "file": file,
        "line": node.position.line,
        "column": node.position.column,
        "effects": change.effects.iter().map(|effect| effect.name()).collect::<Vec<_>>(),
        "before": side(change.before),
        "after": side(change.after),
    })
}
