//! The settings of connections: how many, how large, how long.

use super::{MAX_WAIT_MS, Setting, count, put, setting};
use crate::yaml::{Message, Value};

/// The oldest that a connection may become, in milliseconds: a day. Who wants it older wants no bound.
const MAX_AGE_MS: u64 = 86_400_000;

/// The largest message that may be allowed, in bytes: what is read of it is held several times over.
const MAX_MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

/// The largest window of HTTP/2, in bytes.
const MAX_WINDOW_BYTES: u64 = (1 << 31) - 1;

/// The settings of both listeners.
pub(super) const CONNECTIONS: &[Setting] = &[
    setting("limits.grpc_connections", |value, to| {
        put(&mut to.grpc_settings.bounds.connections, count(value));
    }),
    setting("limits.grpc_streams", |value, to| {
        put(&mut to.grpc_settings.streams, number(value, 1, 65_536));
    }),
    setting("limits.grpc_header_bytes", |value, to| {
        put(&mut to.grpc_settings.header_bytes, number(value, 1024, 1 << 20));
    }),
    setting("limits.grpc_message_bytes", |value, to| {
        put(&mut to.grpc_settings.message_bytes, number(value, 1024, MAX_MESSAGE_BYTES));
    }),
    setting("limits.grpc_stream_window_bytes", |value, to| {
        put(&mut to.grpc_settings.stream_window_bytes, number(value, 1024, MAX_WINDOW_BYTES));
    }),
    setting("limits.grpc_connection_window_bytes", |value, to| {
        put(&mut to.grpc_settings.connection_window_bytes, number(value, 65_535, MAX_WINDOW_BYTES));
    }),
    setting("limits.grpc_unfinished_calls", |value, to| {
        put(&mut to.grpc_settings.unfinished_calls, number(value, 0, 1 << 32));
    }),
    setting("limits.grpc_unfinished_bytes", |value, to| {
        put(&mut to.grpc_settings.unfinished_bytes, number(value, 0, 1 << 40));
    }),
    setting("limits.http_connections", |value, to| {
        put(&mut to.http_settings.bounds.connections, count(value));
    }),
    setting("limits.http_body_bytes", |value, to| {
        put(&mut to.http_settings.body_bytes, number(value, 1024, MAX_MESSAGE_BYTES));
    }),
    setting("limits.http_bodies_bytes", |value, to| {
        put(&mut to.http_settings.bodies_bytes, number(value, 0, 1 << 40));
    }),
    setting("http_timeout_ms", |value, to| {
        put(&mut to.http_settings.timeout_ms, value.u64_in(100..=MAX_WAIT_MS));
    }),
    setting("keep_alive.interval_ms", |value, to| {
        put(&mut to.grpc_settings.keep_alive_interval_ms, value.u64_in(100..=MAX_WAIT_MS));
    }),
    setting("keep_alive.timeout_ms", |value, to| {
        put(&mut to.grpc_settings.keep_alive_timeout_ms, value.u64_in(100..=MAX_WAIT_MS));
    }),
    setting("max_connection_age_ms", |value, to| {
        put(&mut to.grpc_settings.max_age_ms, never_or(value, 100));
    }),
    setting("max_connection_age_grace_ms", |value, to| {
        put(&mut to.grpc_settings.max_age_grace_ms, value.u64_in(0..=MAX_WAIT_MS));
    }),
    setting("max_connection_idle_ms", |value, to| {
        put(&mut to.grpc_settings.max_idle_ms, never_or(value, 100));
    }),
    setting("stop_grace_ms", |value, to| {
        if let Some(stop_ms) = value.u64_in(0..=MAX_WAIT_MS) {
            to.grpc_settings.bounds.stop_ms = stop_ms;
            to.http_settings.bounds.stop_ms = stop_ms;
        }
    }),
];

fn number<T: TryFrom<u64>>(value: &mut Value<'_, '_>, least: u64, most: u64) -> Option<T> {
    value.u64_in(least..=most).and_then(|number| T::try_from(number).ok())
}

/// A time in milliseconds of at least `least`, or 0 for never.
fn never_or(value: &mut Value<'_, '_>, least: u64) -> Option<u64> {
    let ms = value.u64_in(0..=MAX_AGE_MS)?;
    if (1..least).contains(&ms) {
        value
            .error(Message::new(format!("{ms} ms are too short")).expected(format!("0 or at least {least}")));
        return None;
    }
    Some(ms)
}
