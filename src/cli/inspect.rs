//! `fluxlimit ask --look` and `--reset`: how the keys of a request stand, from the admin listener.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::admin::block_on;
use super::ask::OVER_LIMIT;
use super::numbers::duration;
use super::output::{self, aligned, bad, counted, faint, good, printable, strong};
use crate::admin::client::{AdminError, Client};
use crate::request::{Descriptor, Request};

/// How the program ends if no limit applies.
const NO_LIMIT: u8 = 3;

/// What is done.
#[derive(Debug)]
pub(super) enum Action {
    Look,
    Reset {
        /// The number or the name of the one limit that is meant.
        only: Option<String>,
    },
}

/// What the listener answers, as far as people are told.
#[derive(Debug, Deserialize)]
struct Found {
    passes: bool,
    descriptors: Vec<FoundDescriptor>,
}

#[derive(Debug, Deserialize)]
struct FoundDescriptor {
    entries: Vec<Pair>,
    #[serde(rename = "match")]
    matched: String,
    reason: Option<String>,
    rule: Option<String>,
    #[serde(default)]
    limits: Vec<FoundLimit>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Pair {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct FoundLimit {
    number: usize,
    name: Option<String>,
    algorithm: String,
    requests_per_unit: u32,
    unit: String,
    unit_multiplier: u32,
    shadow_mode: bool,
    counted_as: Option<Vec<Pair>>,
    overflow: bool,
    reset: bool,
    readable: bool,
    allowed: Option<bool>,
    used: Option<u64>,
    remaining: Option<u64>,
    retry_after_ms: Option<u64>,
    reset_after_ms: Option<u64>,
}

pub(super) fn run(
    client: &Client,
    request: &Request,
    action: &Action,
    as_json: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let page = match action {
        Action::Look => "/v1/look".to_owned(),
        Action::Reset { only: None } => "/v1/reset".to_owned(),
        Action::Reset { only: Some(limit) } => format!("/v1/reset?limit={}", encoded(limit)),
    };
    let answer = match block_on(client.ask(&page, Some(&body(request))))? {
        Ok(answer) => answer,
        Err(AdminError::Refused { status, reason, .. }) if status == 404 => {
            output::print_error(&format!("fluxlimit: {}\n", printable(&reason)))?;
            return Ok(ExitCode::from(NO_LIMIT));
        }
        Err(error) => return Err(error.into()),
    };
    let found = Found::deserialize(&answer)?;
    output::print(&if as_json { output::json(&answer) } else { text(&found, action) })?;
    let is_limited = found.descriptors.iter().any(|descriptor| !descriptor.limits.is_empty());
    Ok(match action {
        Action::Reset { .. } => ExitCode::SUCCESS,
        Action::Look if !is_limited => ExitCode::from(NO_LIMIT),
        Action::Look if found.passes => ExitCode::SUCCESS,
        Action::Look => ExitCode::from(OVER_LIMIT),
    })
}

/// The request as `/json` takes it.
fn body(request: &Request) -> Json {
    let descriptor = |descriptor: &Descriptor| {
        let entries = descriptor.entries.iter().map(|entry| {
            json!({ "key": String::from_utf8_lossy(&entry.key), "value": String::from_utf8_lossy(&entry.value) })
        });
        let limit = descriptor.limit.map(|limit| {
            json!({
                "requestsPerUnit": limit.requests_per_unit(),
                "unit": limit.unit().name().to_uppercase(),
                "unitMultiplier": limit.unit_multiplier(),
            })
        });
        json!({
            "entries": entries.collect::<Vec<_>>(),
            "limit": limit,
            "hitsAddend": descriptor.hits_addend,
        })
    };
    json!({
        "domain": String::from_utf8_lossy(&request.domain),
        "descriptors": request.descriptors.iter().map(descriptor).collect::<Vec<_>>(),
    })
}

/// A word as it stands in a query.
fn encoded(word: &str) -> String {
    word.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

fn text(found: &Found, action: &Action) -> String {
    let limits = || found.descriptors.iter().flat_map(|descriptor| &descriptor.limits);
    let head = match action {
        Action::Reset { .. } => {
            let reset = limits().filter(|limit| limit.reset).count();
            format!("{}: {} unused now; before:", good("RESET"), counted(reset, "limit"))
        }
        Action::Look if limits().next().is_none() => "NO LIMIT APPLIES".to_owned(),
        Action::Look if found.passes => good("WOULD PASS").to_string(),
        Action::Look => bad("WOULD BE REFUSED").to_string(),
    };
    let resets = matches!(action, Action::Reset { .. });
    found.descriptors.iter().fold(format!("{head}\n"), |text, found| text + &descriptor(found, resets))
}

fn descriptor(found: &FoundDescriptor, resets: bool) -> String {
    let entries = printable(&pairs(&found.entries));
    let matched = match (&*found.matched, &found.rule, &found.reason) {
        (_, Some(rule), _) => format!("rule {}", printable(rule)),
        ("override", ..) => "the limit that came with it".to_owned(),
        (_, _, Some(reason)) => format!("no limit: {}", printable(&reason.replace('_', " "))),
        (matched, ..) => printable(&matched.replace('_', " ")),
    };
    let mut text = format!("\n{}  {matched}\n", strong(entries));
    if found.limits.is_empty() {
        return text;
    }
    let titles = ["#", "limit", "algorithm", "used", "remaining", "state"];
    let mut rows = vec![titles.map(|title| strong(title).to_string()).to_vec()];
    rows.extend(found.limits.iter().map(|limit| row(limit, resets)));
    text += &aligned("  ", &rows);
    let shared = found.limits.iter().find_map(|limit| limit.counted_as.as_ref());
    if let Some(shared) = shared.filter(|shared| **shared != found.entries) {
        let _ = writeln!(text, "  {}", faint(format!("shared: counted as {}", printable(&pairs(shared)))));
    }
    if found.limits.iter().any(|limit| limit.overflow) {
        let note = "overflow: the store is full, so this limit counts all new keys as one";
        let _ = writeln!(text, "  {}", faint(note));
    }
    text
}

fn row(limit: &FoundLimit, resets: bool) -> Vec<String> {
    let period = match limit.unit_multiplier {
        1 => printable(&limit.unit),
        units => format!("{units} {}s", printable(&limit.unit)),
    };
    let name = limit.name.as_ref().map_or(String::new(), |name| format!(" ({})", printable(name)));
    let shadow = if limit.shadow_mode { ", shadow" } else { "" };
    let seconds = |ms: u64| duration(ms.div_ceil(1000));
    let state = match (limit.readable, limit.allowed, limit.retry_after_ms, limit.reset_after_ms) {
        (false, ..) => bad("cannot be read").to_string(),
        (_, Some(false), Some(retry_ms), _) => format!("retry in {}", seconds(retry_ms)),
        (_, Some(false), None, _) => "never passes".to_owned(),
        (_, _, _, Some(0)) => "unused".to_owned(),
        (_, _, _, reset_ms) => format!("as if unused in {}", seconds(reset_ms.unwrap_or_default())),
    };
    let number = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
    vec![
        limit.number.to_string(),
        format!("{} per {period}{name}{shadow}", limit.requests_per_unit),
        printable(&limit.algorithm),
        number(limit.used),
        number(limit.remaining),
        state,
        if limit.reset {
            good("reset").to_string()
        } else if resets {
            "kept".to_owned()
        } else {
            String::new()
        },
    ]
}

fn pairs(pairs: &[Pair]) -> String {
    pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_a_query_as_it_is() {
        assert_eq!(encoded("per-day 1&2/ü"), "per-day%201%262%2F%C3%BC");
    }
}
