//! The settings of the Redis store.

use super::{MAX_WAIT_MS, Setting, StoreKind, filled, path, problems, put, secret, setting};
use crate::config::Config;
use crate::store::redis::{MAX_DATABASE, Settings, Url};
use crate::yaml::{Message, Problem, Value};

/// The most connections to one Redis: each is a task, and Redis has one thread.
const MAX_CONNECTIONS: u64 = 64;

/// The longest prefix of keys, in bytes: every key carries it.
const MAX_PREFIX_BYTES: usize = 128;

pub(super) const SETTINGS: &[Setting] = &[
    setting("redis.username", |value, to| put(&mut to.redis_options.login.username, filled(value).map(Some))),
    setting("redis.password", |value, to| put(&mut to.redis_options.login.password, secret(value).map(Some))),
    setting("redis.password_file", |value, to| {
        let path = path(value, to);
        put(&mut to.redis_options.login.password_file, path.map(Some));
    }),
    setting("redis.database", |value, to| {
        let database =
            value.u64_in(0..=u64::from(MAX_DATABASE)).and_then(|number| u32::try_from(number).ok());
        put(&mut to.redis_options.database, database.map(Some));
    }),
    setting("redis.key_prefix", |value, to| put(&mut to.redis_options.key_prefix, key_prefix(value))),
    setting("redis.connections", |value, to| {
        let connections = value.u64_in(1..=MAX_CONNECTIONS).and_then(|count| usize::try_from(count).ok());
        put(&mut to.redis_options.connections, connections);
    }),
    setting("redis.connect_timeout_ms", |value, to| {
        put(&mut to.redis_options.connect_timeout_ms, value.u64_in(1..=MAX_WAIT_MS));
    }),
    setting("redis.tls_ca_file", |value, to| {
        let path = path(value, to);
        put(&mut to.redis_options.tls_files.ca, path.map(Some));
    }),
    setting("redis.tls_cert_file", |value, to| {
        let path = path(value, to);
        put(&mut to.redis_options.tls_files.cert, path.map(Some));
    }),
    setting("redis.tls_key_file", |value, to| {
        let path = path(value, to);
        put(&mut to.redis_options.tls_files.key, path.map(Some));
    }),
    setting("redis.sentinel_username", |value, to| {
        put(&mut to.redis_options.sentinel_login.username, filled(value).map(Some));
    }),
    setting("redis.sentinel_password", |value, to| {
        put(&mut to.redis_options.sentinel_login.password, secret(value).map(Some));
    }),
    setting("redis.sentinel_password_file", |value, to| {
        let path = path(value, to);
        put(&mut to.redis_options.sentinel_login.password_file, path.map(Some));
    }),
    setting("redis.sentinel_tls", |value, to| {
        put(&mut to.redis_options.sentinel_tls, value.bool().map(Some));
    }),
];

/// Whether a value of `store` is the URL of a Redis.
pub(super) fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| Url::is_scheme(scheme))
}

/// Reads the URL of a Redis.
pub(super) fn url(value: &mut Value<'_, '_>, text: &str, config: &mut Config) {
    match Url::parse(text) {
        Ok(url) => {
            config.store = StoreKind::Redis;
            config.redis_options.url = Some(url);
        }
        Err(message) => value.error(message),
    }
}

/// Makes the settings of the store of what all sources say about it.
pub(super) fn complete(config: &mut Config) -> Vec<Problem> {
    match config.redis_options.settings() {
        Ok(settings) => {
            let Config { store_timeout_ms: timeout_ms, max_waiting, .. } = *config;
            config.redis = Settings { timeout_ms, max_waiting, ..settings };
            Vec::new()
        }
        Err(mistakes) => problems(mistakes),
    }
}

/// Braces would mean a hash tag in a cluster.
fn key_prefix(value: &mut Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let wrong = if text.contains(['{', '}']) {
        "a prefix of keys may not hold braces: between them a Redis Cluster finds where a key belongs"
    } else if text.len() > MAX_PREFIX_BYTES {
        "a prefix of keys may not be longer than 128 bytes"
    } else {
        return Some(text);
    };
    value.error(Message::new(wrong));
    None
}
