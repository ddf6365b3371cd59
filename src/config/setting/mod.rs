//! Every setting: its name, and where its value goes.

mod admin;
mod connection;
mod failure;
mod local_cache;
mod otlp;
mod postgres;
mod redis;
mod tls;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use self::postgres as postgres_settings;
use self::redis as redis_settings;
use super::{Config, StoreKind};
use crate::engine::HeaderStyle;
use crate::limit::Algorithm;
use crate::rules::load::hash_tag;
use crate::store::{Mistake, Secret};
use crate::telemetry::{Filter, Format};
use crate::yaml::{Kind, Message, Problem, Reading, Value, quoted};

/// One setting. All sources read it with the same function, so it means the same in all of them.
pub(super) struct Setting {
    /// Its place in the settings file: names from the root, with dots between them.
    pub(super) path: &'static str,
    /// Puts a value in its place, or reports what is wrong with it.
    pub(super) read: fn(&mut Value<'_, '_>, &mut Config),
}

/// The longest time that a setting may be, in milliseconds: an hour. Longer ones are typing errors.
const MAX_WAIT_MS: u64 = 3_600_000;

/// The most rule files and directories that are named one by one.
const MAX_RULE_PATHS: usize = 1000;

/// Every setting: those of one part after those of another.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    [
        SERVER,
        tls::GRPC,
        tls::HTTP,
        tls::ADMIN,
        connection::CONNECTIONS,
        admin::SETTINGS,
        failure::FAILURE,
        local_cache::LOCAL_CACHE,
        redis_settings::SETTINGS,
        postgres_settings::SETTINGS,
        otlp::SETTINGS,
    ]
    .into_iter()
    .flatten()
}

/// Reads the variables of others that mean something here.
pub(super) fn read_foreign_variables(environment: &[(OsString, OsString)], config: &mut Config) {
    postgres_settings::read_variables(environment, config);
    otlp::read_variables(environment, config);
}

/// Puts together what several settings say.
pub(super) fn complete(config: &mut Config) -> Vec<Problem> {
    let mut problems = match config.store {
        StoreKind::Memory => Vec::new(),
        StoreKind::Redis => redis_settings::complete(config),
        StoreKind::Postgres => postgres_settings::complete(config),
    };
    problems.extend(tls::complete(config));
    problems.extend(otlp::complete(config));
    problems.extend(admin::complete(config));
    problems
}

/// Mistakes that show only when all settings are read.
pub(super) fn problems(mistakes: Vec<Mistake>) -> Vec<Problem> {
    let source: Arc<str> = Arc::from("settings");
    let problem = |mistake: Mistake| Problem {
        path: mistake.setting.to_owned(),
        ..Problem::of_file(source.clone(), mistake.message)
    };
    mistakes.into_iter().map(problem).collect()
}

/// A text that is not empty.
fn filled(value: &mut Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() {
        value.error(Message::new("this text is empty"));
        return None;
    }
    Some(text)
}

/// A text that no message repeats.
fn secret(value: &mut Value<'_, '_>) -> Option<Secret> {
    let text = match &value.node().kind {
        Kind::Scalar(scalar) => match scalar.reading() {
            Reading::Null => return None,
            Reading::Text(text) => Some(text.into_owned()),
            Reading::Bytes(_) => None,
            // Passwords of digits alone are passwords.
            _ => Some(scalar.text.as_ref().to_owned()),
        },
        Kind::List(_) | Kind::Map(_) => None,
    };
    let text = text.filter(|text| !text.is_empty());
    if text.is_none() {
        value.error(Message::new("this is no password").expected("a text that is not empty"));
    }
    text.map(Secret::new)
}

/// The settings of everything but the shared stores.
const SERVER: &[Setting] = &[
    setting("rules", rules),
    setting("strict_rules", |value, to| put(&mut to.reload.options.strict, value.bool())),
    setting("merge_domains", |value, to| put(&mut to.reload.options.merge_domains, value.bool())),
    setting("defaults.algorithm", |value, to| {
        let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), Some(algorithm)));
        put(&mut to.reload.options.defaults.algorithm, value.choice(&algorithms));
    }),
    setting("defaults.count_refused", |value, to| {
        put(&mut to.reload.options.defaults.count_refused, value.bool().map(Some));
    }),
    setting("defaults.burst", |value, to| {
        put(&mut to.reload.options.defaults.burst, value.u64_in(1..=u64::from(u32::MAX)).map(Some));
    }),
    setting("hash_tag", |value, to| put(&mut to.reload.options.hash_tag, hash_tag(value).map(Some))),
    setting("reload.debounce_ms", |value, to| {
        put(&mut to.reload.debounce_ms, value.u64_in(1..=MAX_WAIT_MS));
    }),
    setting("reload.poll_ms", |value, to| put(&mut to.reload.poll_ms, value.u64_in(100..=MAX_WAIT_MS))),
    setting("grpc", |value, to| put(&mut to.grpc, address(value))),
    setting("http", |value, to| put(&mut to.http, address(value))),
    setting("store", store),
    setting("memory.max_keys", |value, to| put(&mut to.memory.max_keys, count(value))),
    setting("memory.sweep_ms", |value, to| put(&mut to.memory.sweep_ms, value.u64_in(1000..=MAX_WAIT_MS))),
    setting("response_headers", |value, to| {
        let styles = [
            ("off", HeaderStyle::Off),
            ("reference", HeaderStyle::Reference),
            ("ietf", HeaderStyle::Ietf),
            ("both", HeaderStyle::Both),
        ];
        put(&mut to.limiter.answer.headers, value.choice(&styles));
    }),
    setting("header_names.limit", |value, to| {
        put(&mut to.limiter.answer.header_names.limit, header_name(value));
    }),
    setting("header_names.remaining", |value, to| {
        put(&mut to.limiter.answer.header_names.remaining, header_name(value));
    }),
    setting("header_names.reset", |value, to| {
        put(&mut to.limiter.answer.header_names.reset, header_name(value));
    }),
    setting("dynamic_metadata", |value, to| put(&mut to.limiter.answer.dynamic_metadata, value.bool())),
    setting("global_shadow_mode", |value, to| put(&mut to.limiter.modes.global_shadow, value.bool())),
    setting("global_quota_mode", |value, to| put(&mut to.limiter.modes.global_quota, value.bool())),
    setting("near_limit_ratio", |value, to| {
        #[expect(clippy::cast_possible_truncation, reason = "the reference reckons with 32 bits as well")]
        let ratio = ratio(value).map(|ratio| ratio as f32);
        put(&mut to.limiter.near_limit_ratio, ratio);
    }),
    setting("drain_delay_ms", |value, to| put(&mut to.drain_delay_ms, value.u64_in(0..=MAX_WAIT_MS))),
    setting("worker_threads", |value, to| {
        let threads = value.u64_in(1..=1024).and_then(|threads| usize::try_from(threads).ok());
        put(&mut to.worker_threads, threads.map(Some));
    }),
    setting("log.filter", |value, to| {
        let parsed = value.text().map(|text| Filter::parse(&text));
        match parsed {
            Some(Ok(filter)) => to.telemetry.filter = filter,
            Some(Err(message)) => value.error(message),
            None => {}
        }
    }),
    setting("log.format", |value, to| {
        let formats = [("text", Format::Text), ("json", Format::Json)];
        put(&mut to.telemetry.format, value.choice(&formats));
    }),
];

impl Setting {
    /// The name of its variable in the environment.
    pub(super) fn variable(&self) -> String {
        format!("FLUXLIMIT_{}", self.path.replace('.', "__").to_uppercase())
    }
}

const fn setting(path: &'static str, read: fn(&mut Value<'_, '_>, &mut Config)) -> Setting {
    Setting { path, read }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn rules(value: &mut Value<'_, '_>, config: &mut Config) {
    let directory = config.relative_to.clone();
    let paths = value.list(|item| {
        let text = item.text().filter(|text| !text.is_empty());
        if text.is_none() {
            item.error(
                Message::new("this path is empty").expected("a rule file or a directory of such files"),
            );
        }
        // Joining an absolute path gives that path.
        Some(directory.join(text?))
    });
    let Some(paths) = paths else { return };
    if paths.len() > MAX_RULE_PATHS {
        let message = Message::new(format!("{} rule paths are too many", paths.len()));
        value.error(message.expected(format!("at most {MAX_RULE_PATHS}")).hint("name their directory"));
        return;
    }
    config.reload.paths = paths;
}

fn store(value: &mut Value<'_, '_>, config: &mut Config) {
    let Some(text) = value.text() else { return };
    // The rest of a URL may hold a password, so it is not shown.
    let scheme = text.split_once("://").map_or(&*text, |(scheme, _)| scheme);
    match scheme {
        "memory" if text == scheme => config.store = StoreKind::Memory,
        _ if redis_settings::is_url(&text) => redis_settings::url(value, &text, config),
        _ if postgres_settings::is_connection(&text) => postgres_settings::connection(value, &text, config),
        _ => {
            // Without a scheme it may still be a URL with a password, or pairs of them.
            let is_word =
                scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-._".contains(letter));
            let shown = if is_word {
                format!("unknown store {}", quoted(scheme))
            } else {
                "unknown store".to_owned()
            };
            let message = Message::new(shown);
            value.error(message.expected("`memory` or a URL such as `redis://localhost:6379`"));
        }
    }
}

/// A file or directory; relative ones start from the directory of the settings file, or from where the process
/// runs if it is named elsewhere.
fn path(value: &mut Value<'_, '_>, config: &Config) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() {
        value.error(Message::new("this path is empty"));
        return None;
    }
    // Joining an absolute path gives that path.
    Some(config.relative_to.join(text))
}

fn count(value: &mut Value<'_, '_>) -> Option<usize> {
    value.u64_in(1..=1 << 32).and_then(|count| usize::try_from(count).ok())
}

fn ratio(value: &mut Value<'_, '_>) -> Option<f64> {
    let ratio = value.f64()?;
    if !(0.0..=1.0).contains(&ratio) {
        let message = Message::new(format!("the ratio `{ratio}` is out of range"));
        value.error(message.expected("a number from 0 to 1"));
        return None;
    }
    Some(ratio)
}

fn header_name(value: &mut Value<'_, '_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if http::HeaderName::try_from(text.as_str()).is_err() {
        let message = Message::new(format!("{} cannot be the name of a header", quoted(&text)));
        value.error(message.expected("letters, digits and `-`"));
        return None;
    }
    Some(text.into())
}

/// An address and a port. A name would have to be looked up, and could be several addresses.
fn address(value: &mut Value<'_, '_>) -> Option<SocketAddr> {
    let text = value.text()?;
    let address = text.parse().ok();
    if address.is_none() {
        let message = Message::new(format!("{} is no address to listen on", quoted(&text)));
        value.error(message.expected("ADDRESS:PORT such as `0.0.0.0:8081` or `[::]:8081`"));
    }
    address
}
