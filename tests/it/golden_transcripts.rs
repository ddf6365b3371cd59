//! What the reference server answered, replayed: same codes, statuses, headers, metadata and counters.
//!
//! `tests/golden/README.md` says how the transcripts were recorded and how to read them.
//! What we knowingly do otherwise stands in [`DEVIATIONS`], each with its reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fluxlimit::engine::{Code, Decision, HeaderNames, HeaderStyle, Map, Status, Value};
use fluxlimit::limiter::{CheckError, Limiter, Settings};
use fluxlimit::metrics::Metrics;
use fluxlimit::request::{Descriptor, Entry, Override, Request, RequestError};
use fluxlimit::rules::RuleSet;
use fluxlimit::rules::load::{Defaults, LoadOptions, Source, load};
use fluxlimit::store::memory::{self, MemoryStore};
use fluxlimit::time::{ManualClock, Timestamp};
use serde_json::{Value as Json, json};

/// What differs on purpose: the transcript, what is compared all the same, and why.
const DEVIATIONS: [(&str, &str); 17] = [
    ("counter-of-other-entries", "keys have their lengths in front, so entries cannot run together"),
    ("counter-of-two-units", "the period is part of the key"),
    ("hits-beyond-63-bits", "amounts saturate instead of becoming refunds"),
    ("hits-that-overflow", "amounts saturate instead of overflowing"),
    ("hits-that-turn-a-count-negative", "amounts saturate, so a count is never negative"),
    ("key-and-value-run-together", "keys and values are matched apart"),
    ("local-cache-and-override", "a refusal is remembered with the numbers of the limit that refused"),
    ("metadata-lost-with-pattern-in-key", "metadata is never lost"),
    ("metadata-lost-with-value-to-metric", "metadata is never lost"),
    ("metadata-merge-changes-the-rules", "answering does not change the rules"),
    ("name-in-status", "names are answered without what Envoy would print wrongly into a header"),
    ("negative-hits", "negative hits give back instead of being charged"),
    ("override-multiplier", "the multiplier of an override is honoured"),
    ("override-without-unit", "a bad override is an error instead of a crash"),
    ("pattern-across-the-underscore", "keys and values are matched apart"),
    ("pattern-in-key-without-value", "a pattern in a key is held against the key"),
    ("stop-increment-when-over", "it sets `count_refused: false`, which is exact and atomic"),
];

/// Transcripts whose counters tell of the reference's local cache, which remembers refusals in front of a
/// store that has to be asked over the network. The memory store has none; answers are the same.
const LOCAL_CACHE: [&str; 4] =
    ["local-cache", "local-cache-next-window", "local-cache-several", "local-cache-shadow"];

/// Transcripts whose counters have odd names in the reference where a star stands in a key; answers are the
/// same.
const PATTERN_IN_KEY: [&str; 3] = ["pattern-in-key", "pattern-in-key-and-value", "pattern-key-is-a-star"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn transcripts(of: &str) -> Vec<(String, Json)> {
    let mut found: Vec<(String, Json)> = std::fs::read_dir(folder(of))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// A limiter as the transcript's settings and rules make it, on a clock of its own.
pub(crate) struct Replay {
    pub(crate) limiter: Arc<Limiter>,
    metrics: Arc<Metrics>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Replay {
    pub(crate) fn of(transcript: &Json) -> Self {
        let setting = |name: &str| transcript["settings"][name].as_str();
        let is_on = |name: &str| setting(name) == Some("true");
        let mut settings = Settings { near_limit_ratio: 0.8, ..Settings::default() };
        if let Some(ratio) = setting("NEAR_LIMIT_RATIO") {
            settings.near_limit_ratio = ratio.parse().unwrap();
        }
        settings.modes.global_shadow = is_on("SHADOW_MODE");
        settings.modes.global_quota = is_on("QUOTA_MODE");
        settings.answer.dynamic_metadata = is_on("RESPONSE_DYNAMIC_METADATA");
        if is_on("LIMIT_RESPONSE_HEADERS_ENABLED") {
            settings.answer.headers = HeaderStyle::Reference;
        }
        let names = &mut settings.answer.header_names;
        let HeaderNames { limit, remaining, reset } = names;
        for (name, header) in [("LIMIT", limit), ("REMAINING", remaining), ("RESET", reset)] {
            if let Some(own) = setting(&format!("LIMIT_{name}_HEADER")) {
                *header = own.into();
            }
        }
        let options = LoadOptions {
            hash_tag: None,
            merge_domains: is_on("MERGE_DOMAIN_CONFIG"),
            strict: false,
            defaults: Defaults {
                count_refused: is_on("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT").then_some(false),
                ..Defaults::default()
            },
        };
        let sources: Vec<Source> = transcript["rules"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, text)| Source { name: name.clone(), text: text.as_str().unwrap().into() })
            .collect();
        let clock = Arc::new(ManualClock::default());
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(MemoryStore::new(memory::Settings::default(), clock.clone()));
        let limiter = Arc::new(Limiter::new(store, metrics.clone(), settings));
        let loaded = load(&sources, &options);
        if loaded.is_ok() {
            limiter.put_rules(Arc::new(RuleSet::compile(&loaded.files)));
        }
        Self { limiter, metrics, clock }
    }

    /// The replies to all steps, in the form of the transcript.
    fn replies(&self, transcript: &Json) -> Vec<Json> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let steps = transcript["steps"].as_array().unwrap();
        let replies = steps.iter().map(|step| {
            self.clock.set(Timestamp::from_ms(step["at_s"].as_u64().unwrap() * 1000));
            let decision = request(&step["request"]).map_err(CheckError::from);
            match decision.and_then(|request| runtime.block_on(self.limiter.check(&request, Duration::MAX))) {
                Ok(decision) => json!({ "reply": reply(&decision) }),
                Err(error) => json!({ "error": error.to_string() }),
            }
        });
        replies.collect()
    }

    /// Our counters under the reference's names.
    fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = BTreeMap::new();
        for line in self.metrics.text().lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            if let Some(name) = reference_name(series)
                && value > 0.0
            {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers")]
                let value = value as u64;
                *counters.entry(name).or_default() += value;
            }
        }
        counters
    }
}

/// The reference's counter that one of our series corresponds to.
fn reference_name(series: &str) -> Option<String> {
    let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
    let label = |name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let count = match metric {
        "fluxlimit_hits_total" => "total_hits",
        "fluxlimit_hits_within_limit_total" => "within_limit",
        "fluxlimit_hits_near_limit_total" => "near_limit",
        "fluxlimit_hits_over_limit_total" => "over_limit",
        "fluxlimit_hits_shadow_mode_total" => "shadow_mode",
        "fluxlimit_global_shadow_total" => return Some("global_shadow_mode".to_owned()),
        "fluxlimit_unmatched_total" if label("reason") == Some("no_such_domain") => {
            return Some(format!("rate_limit.{}.domain_not_found", label("domain")?));
        }
        "fluxlimit_decisions_total" if label("code") == Some("error") => {
            return Some("call.should_rate_limit.service_error".to_owned());
        }
        _ => return None,
    };
    let rule: Vec<String> =
        label("rule")?.split(" > ").map(|step| cleaned(&step.replacen('=', "_", 1))).collect();
    Some(format!("rate_limit.{}.{}.{count}", label("domain")?, rule.join(".")))
}

/// As the reference cleans the names of its counters: `:` and `|`, and the dots of an IPv4 address.
fn cleaned(step: &str) -> String {
    let step = step.replace([':', '|'], "_");
    let is_address =
        |text: &str| text.split('.').count() == 4 && text.split('.').all(|n| n.parse::<u8>().is_ok());
    let parts: Vec<String> = step
        .split('_')
        .map(|part| if is_address(part) { part.replace('.', "_") } else { part.to_owned() })
        .collect();
    parts.join("_")
}

fn request(json: &Json) -> Result<Request, RequestError> {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let descriptors = json["descriptors"].as_array().into_iter().flatten().map(|descriptor| {
        let limit = &descriptor["limit"];
        let limit = limit.as_object().map(|limit| {
            let number =
                |name: &str| limit.get(name).and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
            let unit = &limit.get("unit").cloned().unwrap_or_default();
            let unit = unit.as_str().map_or_else(
                || i32::try_from(unit.as_i64().unwrap_or(0)).unwrap(),
                |name| fluxlimit::limit::Unit::from_name(name).map_or(0, fluxlimit::limit::Unit::number),
            );
            Override::new(number("requestsPerUnit").unwrap_or(0), unit, number("unitMultiplier"))
        });
        let hits = &descriptor["hitsAddend"];
        let entries = descriptor["entries"].as_array().into_iter().flatten();
        Ok(Descriptor {
            entries: entries.map(|entry| Entry::new(text(&entry["key"]), text(&entry["value"]))).collect(),
            limit: limit.transpose()?,
            hits_addend: hits.as_u64().or_else(|| hits.as_str().map(|text| text.parse().unwrap())),
            is_negative_hits: descriptor["isNegativeHits"].as_bool().unwrap_or(false),
        })
    });
    Ok(Request {
        domain: text(&json["domain"]).into(),
        descriptors: descriptors.collect::<Result<_, _>>()?,
        hits_addend: json["hitsAddend"].as_u64().map_or(0, |hits| u32::try_from(hits).unwrap()),
    })
}

fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::OverLimit => "OVER_LIMIT",
    }
}

fn reply(decision: &Decision) -> Json {
    let status = |status: &Status| {
        let mut json = json!({ "code": code(status.code), "limitRemaining": status.remaining });
        if let Some(limit) = &status.limit {
            json["currentLimit"] = json!({
                "requestsPerUnit": limit.requests_per_unit,
                "unit": limit.unit.name().to_uppercase(),
                "name": limit.name.as_deref().unwrap_or_default(),
            });
        }
        if let Some(reset_s) = status.reset_s {
            json["durationUntilReset"] = json!(format!("{reset_s}s"));
        }
        json
    };
    let mut json = json!({
        "overallCode": code(decision.code),
        "statuses": decision.statuses.iter().map(status).collect::<Vec<_>>(),
    });
    if !decision.headers.is_empty() {
        let headers = decision.headers.iter();
        json["responseHeadersToAdd"] =
            headers.map(|header| json!({ "key": &*header.name, "value": header.value })).collect();
    }
    if let Some(metadata) = &decision.metadata {
        let mut metadata = metadata.clone();
        metadata.remove("decided_by");
        json["dynamicMetadata"] = map(&metadata);
    }
    json
}

fn map(map: &Map) -> Json {
    Json::Object(map.iter().map(|(name, value)| (name.clone(), self::value(value))).collect())
}

fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => json!(bool),
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers are written without a fraction")]
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => json!(*number as i64),
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::List(values) => values.iter().map(self::value).collect(),
        Value::Map(inner) => map(inner),
    }
}

/// What the transcript expects of each step; texts of errors are our own.
fn expected(transcript: &Json) -> Vec<Json> {
    let steps = transcript["steps"].as_array().unwrap().iter();
    steps.map(|step| step.get("reply").map_or(json!("error"), |reply| json!({ "reply": reply }))).collect()
}

fn without_error_texts(replies: Vec<Json>) -> Vec<Json> {
    replies
        .into_iter()
        .map(|reply| if reply.get("error").is_some() { json!("error") } else { reply })
        .collect()
}

/// What differs from the transcript, as text; empty if nothing does.
fn differences(name: &str, transcript: &Json) -> String {
    let replay = Replay::of(transcript);
    let (said, expected) = (without_error_texts(replay.replies(transcript)), expected(transcript));
    let mut differences = Vec::new();
    for (step, (said, expected)) in said.iter().zip(&expected).enumerate() {
        if said != expected {
            differences.push(format!("{name}: step {step}:\n  reference {expected}\n  ours      {said}\n"));
        }
    }
    let expected: BTreeMap<String, u64> = serde_json::from_value(transcript["counters"].clone()).unwrap();
    let mut said = replay.counters();
    // The reference's counters go out line by line, so one with a line break in its name got lost.
    said.retain(|name, _| !name.contains("\\n"));
    let odd_names = PATTERN_IN_KEY.contains(&name) || LOCAL_CACHE.contains(&name);
    if said != expected && !odd_names {
        differences.push(format!("{name}: counters:\n  reference {expected:?}\n  ours      {said:?}\n"));
    }
    differences.concat()
}

#[test]
fn every_transcript_of_the_reference_is_answered_the_same() {
    let transcripts = transcripts("transcripts");
    assert!(transcripts.len() > 120, "only {} transcripts", transcripts.len());
    let differences: String =
        transcripts.iter().map(|(name, transcript)| differences(name, transcript)).collect();
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn every_deviation_from_the_reference_is_known_and_has_a_reason() {
    let recorded: Vec<String> = transcripts("deviations").into_iter().map(|(name, _)| name).collect();
    let listed: Vec<&str> = DEVIATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(recorded, listed);
    for (name, transcript) in transcripts("deviations") {
        let same = differences(&name, &transcript).is_empty();
        // In memory there is no local cache that could answer for another limit, and how the reference goes
        // on counting the limit that refuses does not show before its window ends.
        let may_be_same = ["local-cache-and-override", "stop-increment-when-over"].contains(&&*name);
        assert!(!same || may_be_same, "{name} is no deviation: it is answered as the reference does");
    }
}
